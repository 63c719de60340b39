"""The exchange itself: liquidations in contracts, some of them left out, some late, to who follows
them; and their history, which has all.
"""

import json
from collections.abc import Sequence
from decimal import Decimal
from heapq import heappop, heappush
from random import Random
from typing import Any, Final

import trio

from flowd_simulator.binance.sampler import Sampler
from flowd_simulator.cascades import Side
from flowd_simulator.faults import Faults
from flowd_simulator.house import Addresses, House
from flowd_simulator.market import Market
from flowd_simulator.okx.client import CHANNEL, Client
from flowd_simulator.okx.contracts import USDC, contracts
from flowd_simulator.okx.rest import Rest, item
from flowd_simulator.okx.terms import GARBAGE, Terms
from flowd_simulator.orders import ForcedOrder, OrderFlow
from flowd_simulator.session import Clock, Limits, Session

TICK_MS: Final = 250
BEHIND_MAX_MS: Final = 10_000
"""A clock that leaps is not followed further back than this."""
PAST_MS: Final = 600_000
"""So much has happened when the exchange begins."""
LATE_MS: Final = (60_000, 480_000)
USDC_SHARE: Final = 0.05
"""Of the orders in BTC."""
POSITION: Final[dict[Side, str]] = {"SELL": "long", "BUY": "short"}

Json = dict[str, Any]  # Any: JSON
Told = tuple[str, Json]
"""A contract by the market's symbol, and one of its orders."""


class Okx:
    """A simulated OKX, on a market that others may trade on too.

    `serve` plays it on loopback. Tests run `run` in a nursery instead, or not at all: they give
    `house.serve_stream` one end of a stream, ask `rest` directly, and `liquidate` speaks at once.
    """

    def __init__(
        self,
        seed: int,
        clock: Clock,
        *,
        market: Market | None = None,
        terms: Terms | None = None,
        faults: Faults | None = None,
        limits: Limits | None = None,
    ) -> None:
        self.clock = clock
        self.market = market or Market(seed)
        self.terms = terms or Terms()
        self.faults = faults or Faults()
        self.contracts = contracts(self.market.instruments, self.market.coin_margined)
        self.rest = Rest(list(self.contracts.values()), clock, self.terms)
        self._limits = limits or Limits(messages_per_s=100)
        self.house = House(
            "OKX",
            "/ws/v5/public",
            self._client,
            self.rest.answer,
            clock=clock,
            faults=self.faults,
            limits=self._limits,
            garbage=GARBAGE,
            chance=Random(f"{seed}/okx/faults"),
        )
        self._flow = OrderFlow(self.market, "okx")
        self._sampler = Sampler("latest", Random(f"{seed}/okx/sampler"))
        self._chance = Random(f"{seed}/okx")
        self._late: list[tuple[int, int, Told]] = []
        """Orders that are told later, by when; with a number, since orders have no order."""
        self._count = 0
        self._newest: Told | None = None

    # What a test or an operator can make happen

    def liquidate(
        self,
        symbol: str,
        side: Side,
        price: str | Decimal,
        contracts: str | Decimal,
        *,
        time_ms: int | None = None,
        told: bool = True,
    ) -> Json:
        """Have a forced order happen: the history has it, and if it is told, followers hear of it
        at once. `symbol` is the market's; `time_ms` is now unless given. Returns the order.
        """
        time_ms = self.clock() if time_ms is None else time_ms
        one = detail(side, POSITION[side], str(price), str(contracts), time_ms)
        self.rest.history[self.contracts[symbol].family].append(one)
        if told:
            self.tell([(symbol, one)])
        return one

    def tell(self, orders: Sequence[Told]) -> None:
        """Tell followers of these orders in one message, by contract."""
        if not orders:
            return
        self._newest = orders[-1]
        by_contract: dict[str, list[Json]] = {}
        for symbol, one in orders:
            by_contract.setdefault(symbol, []).append(one)
        text = self._text(by_contract)
        for client in self.house.clients:
            if "SWAP" in client.kinds:
                self.house.tell(client, text)

    def announce_end(self, within_s: float = 60.0) -> None:
        """Tell all clients that their connection will be closed, and close it then."""
        for client in self.house.clients:
            client.notice(within_s)

    # Running

    async def serve(
        self,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        task_status: trio.TaskStatus[Addresses] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """Play on a loopback port until cancelled; port 0 takes a free one."""
        await self.house.serve(self._trade, host, port, task_status=task_status)

    async def run(self) -> None:
        """Let the market go on, and the scheduled faults happen, until cancelled."""
        await self.house.run(self._trade)

    def _client(self, session: Session) -> Client:
        number, lifetime_s = self.house.accepted + 1, self._limits.lifetime_s
        return Client(session, number, self.terms, lifetime_s, self._begin)

    def _begin(self, client: Client, kind: str) -> None:
        """Who begins to follow swaps is told of the newest order first, which is an old one."""
        if kind == "SWAP" and self._newest is not None:
            symbol, one = self._newest
            client.say(self._text({symbol: [one]}))

    async def _trade(self) -> None:
        """The market's pulse. What happens is decided elsewhere, as a function of time."""
        after_ms = self.clock()
        for order in self._flow.between(after_ms - PAST_MS, after_ms):
            self._newest = self._happen(order)
        while True:
            now_ms = self.clock()
            after_ms = max(after_ms, now_ms - BEHIND_MAX_MS)
            told: list[Told] = []
            for order in self._flow.between(after_ms, now_ms):
                if self.terms.one_per_second:
                    self._sampler.add(order)
                    self._happen(order)
                else:
                    self._say_now_or_later(self._happen(order), now_ms, told)
            for order in self._sampler.due(now_ms):
                self._say_now_or_later(self._told(order), now_ms, told)
            while self._late and self._late[0][0] <= now_ms:
                told.append(heappop(self._late)[2])
            self.tell(told)
            after_ms = now_ms
            await trio.sleep((TICK_MS - now_ms % TICK_MS) / 1000)

    def _happen(self, order: ForcedOrder) -> Told:
        """The history has it."""
        symbol, one = self._told(order)
        self.rest.history[self.contracts[symbol].family].append(one)
        return symbol, one

    def _told(self, order: ForcedOrder) -> Told:
        """An order in OKX's form: the same each time."""
        chance = Random(f"{self.market.seed}/okx/{order.symbol}/{order.time_ms}/{order.quantity}")
        usdc = chance.random() < USDC_SHARE and order.symbol == "BTCUSDT"
        symbol = USDC if usdc else order.symbol
        size = self.contracts[symbol].contracts(order)
        position = "net" if chance.random() < self.terms.one_way else POSITION[order.side]
        price = f"{Decimal(order.average).normalize():f}"
        return symbol, detail(order.side, position, price, size, order.time_ms)

    def _say_now_or_later(self, one: Told, now_ms: int, told: list[Told]) -> None:
        if self._chance.random() < self.terms.late:
            self._count += 1
            heappush(self._late, (now_ms + self._chance.randrange(*LATE_MS), self._count, one))
        else:
            told.append(one)

    def _text(self, by_contract: dict[str, list[Json]]) -> str:
        items = [item(self.contracts[symbol], orders) for symbol, orders in by_contract.items()]
        arg = {"channel": CHANNEL, "instType": "SWAP"}
        said = {"arg": arg, "data": items}
        return json.dumps(said, ensure_ascii=False, separators=(",", ":"))


def detail(side: Side, position: str, price: str, contracts: str, time_ms: int) -> Json:
    """A forced order, as OKX tells of it."""
    return {
        "bkLoss": "0",
        "bkPx": price,
        "ccy": "",
        "posSide": position,
        "side": side.lower(),
        "sz": contracts,
        "ts": str(time_ms),
    }
