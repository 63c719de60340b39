"""The exchange itself: liquidations in batches, at prices of bankruptcy, to who follows them."""

import json
from collections.abc import Sequence
from decimal import Decimal
from random import Random
from typing import Any, Final

import trio

from flowd_simulator.bybit.client import TOPIC, Client
from flowd_simulator.bybit.listed import PATH, answer, linear
from flowd_simulator.bybit.terms import GARBAGE, Terms
from flowd_simulator.cascades import Side
from flowd_simulator.door import Answer
from flowd_simulator.faults import Faults
from flowd_simulator.house import Addresses, House, Query
from flowd_simulator.market import Market
from flowd_simulator.orders import ForcedOrder, OrderFlow
from flowd_simulator.session import Clock, Limits, Session

BATCH_MS: Final = 500
LATE_LEAST_MS: Final = 200
LATE_MOST_MS: Final = 500
"""Between an event and its batch."""
BEHIND_MAX_MS: Final = 10_000
"""A clock that leaps is not followed further back than this."""
BEYOND: Final = (0.003, 0.05)
"""How far from the market a position is bankrupt: of those with most and with least leverage."""
TWINS: Final = 0.03
"""Share of the events that are two of a kind: equal to the last digit, and two orders."""
POSITION: Final[dict[Side, str]] = {"SELL": "Buy", "BUY": "Sell"}
"""Events name the position's side: a long is closed by selling."""

Json = dict[str, Any]  # Any: JSON


class Bybit:
    """A simulated Bybit, on a market that others may trade on too.

    `serve` plays it on loopback. Tests run `run` in a nursery instead, or not at all: they give
    `house.serve_stream` one end of a stream, ask `answer` directly, and `liquidate` speaks at once.
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
        self.rest_status: int | None = None
        """Set to answer all requests with this HTTP status, as 403."""
        self.house = House(
            "Bybit",
            "/v5/public/linear",
            self._client,
            self.answer,
            clock=clock,
            faults=self.faults,
            limits=limits or Limits(messages_per_s=100),
            garbage=GARBAGE,
            chance=Random(f"{seed}/bybit/faults"),
        )
        self._rows = linear(self.market.instruments.values())
        self._flow = OrderFlow(self.market, "bybit")
        self._chance = Random(f"{seed}/bybit")

    # What a test or an operator can make happen

    def liquidate(
        self,
        symbol: str,
        side: Side,
        price: str | Decimal,
        quantity: str | Decimal,
        *,
        time_ms: int | None = None,
        count: int = 1,
    ) -> str:
        """Tell who follows it of a forced order of this side, at once, as so many equal events of
        one message; `time_ms` is now unless given. Returns the message.
        """
        time_ms = self.clock() if time_ms is None else time_ms
        return self.tell(symbol, [event(symbol, side, str(price), str(quantity), time_ms)] * count)

    def tell(self, symbol: str, events: Sequence[Json]) -> str:
        """Tell who follows a symbol of these events, as they are. Returns the message."""
        topic = TOPIC + symbol
        said = {"topic": topic, "type": "snapshot", "ts": self.clock(), "data": events}
        text = json.dumps(said, ensure_ascii=False, separators=(",", ":"))
        for client in self.house.clients:
            if topic in client.topics:
                self.house.tell(client, text)
        return text

    def answer(self, path: str, query: Query) -> Answer:
        """The answer to a request, without a connection."""
        if self.rest_status is not None:
            return Answer(self.rest_status, b"<html></html>", "text/html")
        if path != PATH:
            return Answer(404, b"", "text/plain")
        return answer(self._rows, query, self.terms, self.clock())

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
        symbols = {str(row["symbol"]) for row in self._rows}
        return Client(session, self.house.accepted + 1, symbols, self.terms)

    async def _trade(self) -> None:
        """A batch every half second. What happens is decided elsewhere, as a function of time."""
        after_ms = self.clock()
        while True:
            now_ms = self.clock()
            await trio.sleep((BATCH_MS - now_ms % BATCH_MS) / 1000)
            now_ms = self.clock()
            after_ms = max(after_ms, now_ms - BEHIND_MAX_MS)
            batch: dict[str, list[Json]] = {}
            for order in self._flow.between(after_ms, now_ms):
                if not order.coin_margined:
                    batch.setdefault(order.symbol, []).extend(self._events(order, now_ms))
            for symbol, events in batch.items():
                self.tell(symbol, events)
            after_ms = now_ms

    def _events(self, order: ForcedOrder, now_ms: int) -> list[Json]:
        least, most = BEYOND
        beyond = least * (most / least) ** self._chance.random()
        market = float(order.average)
        # A long is bankrupt below the market, and a short above.
        bankrupt = market * (1 - beyond if order.side == "SELL" else 1 + beyond)
        instrument = self.market.instrument(order.symbol)
        price = _plain(instrument.price_text(instrument.ticks(bankrupt)))
        age_ms = min(now_ms - order.time_ms, BATCH_MS)
        late_ms = LATE_LEAST_MS + age_ms * (LATE_MOST_MS - LATE_LEAST_MS) // BATCH_MS
        one = event(order.symbol, order.side, price, _plain(order.quantity), now_ms - late_ms)
        return [one, one] if self._chance.random() < TWINS else [one]


def event(symbol: str, side: Side, price: str, quantity: str, time_ms: int) -> Json:
    """A forced order of this side, as Bybit tells of it."""
    return {"T": time_ms, "s": symbol, "S": POSITION[side], "v": quantity, "p": price}


def _plain(text: str) -> str:
    """A number without the zeros at its end, as Bybit writes it."""
    return text.rstrip("0").rstrip(".") if "." in text else text
