"""A flowd transform: visits traders in turn, and tells what changed in their positions.

A visit is one request. Traders who are new come first, then who was visited longest ago; an address
that somebody asked for comes before all. A visit that fails costs its turn and nothing else.
"""

from decimal import Decimal
from importlib import import_module
from typing import Any

import trio
from attrs import field, frozen

from flowd.market import Fill, LiquidationMap
from flowd.plugin import (
    Budget,
    Feed,
    Input,
    Outage,
    RateLimited,
    Seconds,
    StreamName,
    Streams,
    UpstreamError,
    validators,
)
from flowd.traders import PositionEvent, Round, Trader, address_of
from flowd_hyperliquid.accounts import Accounts
from flowd_hyperliquid.covered import Coverage, Known, Since, Size, Upto
from flowd_hyperliquid.markets import Market, markets
from flowd_hyperliquid.observed import Sums, add_up, maps
from flowd_hyperliquid.parse import NOBODY, VENUE
from flowd_hyperliquid.rounds import Rounds
from flowd_hyperliquid.service import Service
from flowd_hyperliquid.state import account

WEIGHT, MARKET_WEIGHT = 2, 20
"""What a visit and a look at all markets cost. Source: upstreams/hyperliquid.md, section 3.1."""
ASKED, VISIT, MARKET = 0, 1, 2
"""Priorities: what somebody is looking at comes first."""
AT_ONCE = 4
"""Visits under way together, so that one slow answer does not hold up a batch."""
GUESTS_MAX = 1000
"""Addresses that somebody asked for and nobody saw trade."""
FRESH_MS = 10_000
"""Who asks for an account that was visited so recently has it already."""
STATE_MAX = 2 * 1024 * 1024
MARKETS_MAX = 4 * 1024 * 1024
"""Bytes of an answer."""


def _optional(default: str, reads: type) -> Any:
    """A stream that tracking does without."""
    return field(default=StreamName(default), metadata={"reads": reads, "optional": True})


@frozen
class Config:
    """`batch_size` traders of `input` are visited `every` so often, within `weight_per_minute` of
    the venue's budget. Where the stream `fills` covers an account, its events come from there.
    """

    input: StreamName = field(metadata={"reads": Trader})
    info_url: str = field(default="https://api.hyperliquid.xyz/info", validator=validators.http_url)
    batch_size: int = 50
    every: Seconds = Seconds(75.0)
    weight_per_minute: int = 1200
    min_event_usd: int = 0
    map_every: Seconds = Seconds(60.0)
    span_pct: int = 30
    oi_sides: int = 2
    fills: StreamName = _optional("all-fills", Fill)
    liquidations: StreamName = _optional("liquidations", Fill)
    outages: StreamName = _optional("outages", Outage)

    def __attrs_post_init__(self) -> None:
        if not 1 <= self.weight_per_minute <= 1200:
            raise ValueError(
                f"weight_per_minute = {self.weight_per_minute}: expected 1 to 1200, which is what "
                "Hyperliquid grants an address"
            )
        if self.every < 1 or self.map_every < 1:
            raise ValueError("every, map_every: expected at least 1s")
        if self.batch_size < 1:
            raise ValueError(f"batch_size = {self.batch_size}: expected at least 1")
        spent = self.batch_size * WEIGHT * 60 / self.every + MARKET_WEIGHT * 60 / self.map_every
        if spent > self.weight_per_minute:
            left = self.weight_per_minute - MARKET_WEIGHT * 60 / self.map_every
            most = int(left * self.every / 60 / WEIGHT)
            raise ValueError(
                f"batch_size = {self.batch_size}: visits every {self.every:g}s and a map every "
                f"{self.map_every:g}s would cost {spent:.0f} weight per minute, of "
                f"{self.weight_per_minute}; take at most {max(most, 0)}, or visit less often"
            )
        if self.oi_sides not in (1, 2):
            raise ValueError(f"oi_sides = {self.oi_sides}: expected 1 or 2")
        if not 1 <= self.span_pct <= 100:
            raise ValueError(f"span_pct = {self.span_pct}: expected 1 to 100")
        if self.min_event_usd < 0:
            raise ValueError(f"min_event_usd = {self.min_event_usd}: expected 0 (off) or more")
        # Only who configures this pays for it, and before the loop turns.
        import_module("httpx2")


class Tracking:
    """One run of the transform."""

    def __init__(self, config: Config, streams: Streams, feed: Feed[PositionEvent]) -> None:
        self._config = config
        self._feed = feed
        self._traders: Input[Trader] = streams[config.input]
        self._fills = _input(streams, config.fills)
        self._liquidations = _input(streams, config.liquidations)
        coverage = Coverage(
            self._fills,
            _input(streams, config.outages),
            feed.name,
            feed.table("since", Since),
            feed.clock,
        )
        known = Known(feed.table("sizes", Size), feed.table("told", Upto))
        self.accounts = Accounts(feed, coverage, known, least=Decimal(config.min_event_usd))
        self._budget: Budget = feed.budget("hyperliquid", per_minute=config.weight_per_minute)
        self._service = Service(feed, config.info_url, self._budget)
        self._round = feed.table("round", Round)
        self._maps = feed.table("map", LiquidationMap)
        self._rounds = Rounds()
        self._guests: dict[str, None] = {}
        self._markets: dict[str, Market] = {}

    async def run(self) -> None:
        """Visit, listen and sum up, for ever."""
        await self._begin()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._discover)
            nursery.start_soon(self._visit_in_turn)
            nursery.start_soon(self._visit_asked)
            nursery.start_soon(self._draw_maps)
            if self._fills is not None:
                nursery.start_soon(self._follow_fills, self._fills)
            if self._liquidations is not None and self._liquidations is not self._fills:
                nursery.start_soon(self._follow_liquidations, self._liquidations)

    # -- whose turn it is --

    async def _begin(self) -> None:
        """Go on from the tables: whoever was visited keeps its place in the queue."""
        visits = self.accounts.visits()
        for number, record in enumerate(self._traders.read(0).records):
            trader = record.value
            visited_ms = visits.pop(trader.address, None)
            self._rounds.add(trader.address, trader.first_seen_ms, visited_ms)
            if number % 500 == 499:
                await trio.lowlevel.checkpoint()
        self._guests = dict.fromkeys(sorted(visits, key=visits.__getitem__))
        self._seq = self._traders.head.seq

    async def _discover(self) -> None:
        while await self._traders.news(self._seq):
            batch = self._traders.read(self._seq, limit=500)
            self._seq = batch.position.seq
            for record in batch.records:
                trader = record.value
                if trader.address not in self._rounds:
                    self._guests.pop(trader.address, None)
                    self._rounds.add(trader.address, trader.first_seen_ms)
            await trio.lowlevel.checkpoint()

    async def _visit_in_turn(self) -> None:
        while True:
            due = trio.current_time() + self._config.every
            turns = [turn for _ in range(self._config.batch_size) if (turn := self._next())]
            await self._visit_all(turns)
            self._sum_up()
            await trio.sleep_until(due)

    def _next(self) -> str | None:
        """Whose turn it is; who was dropped from the traders meanwhile is forgotten."""
        while (address := self._rounds.take()) is not None:
            if self._traders.get(address) is not None:
                return address
            self._rounds.drop(address)
            self.accounts.drop(address)
        return None

    async def _visit_all(self, addresses: list[str]) -> None:
        turns = iter(addresses)

        async def visitor() -> None:
            for address in turns:
                await self._visit(address, VISIT)

        async with trio.open_nursery() as nursery:
            for _ in range(min(AT_ONCE, len(addresses))):
                nursery.start_soon(visitor)

    async def _visit_asked(self) -> None:
        while True:
            asked = (await self._feed.asked()).lower()
            address = address_of(asked)
            if address is None or address == NOBODY:
                self._feed.drop("asked for what is no address", asked)
                continue
            state_ms = self.accounts.state_ms(address)
            if state_ms is not None and self._feed.clock() - state_ms < FRESH_MS:
                continue
            if address not in self._rounds:
                self._welcome(address)
            await self._visit(address, ASKED)

    def _welcome(self, address: str) -> None:
        """Somebody asks for an address that nobody saw trade: it is kept while it is among the
        newest of these.
        """
        self._guests.pop(address, None)
        self._guests[address] = None
        if len(self._guests) > GUESTS_MAX:
            oldest = next(iter(self._guests))
            del self._guests[oldest]
            self.accounts.drop(oldest)

    # -- visits --

    async def _visit(self, address: str, priority: int) -> None:
        """Ask for one account's state. Over the limit, the turn stays this one's until the venue
        answers.
        """
        limited = True
        while limited:
            limited = False
            try:
                await self._visit_once(address, priority)
                self._service.good()
            except RateLimited as error:
                limited = True
                self._service.bad(error)
            except UpstreamError as error:
                self._service.bad(error)
                self._feed.drop("visit failed", f"{address}: {error}")
            except ValueError as error:
                self._service.bad(error)
                self._feed.drop("state makes no sense", f"{address}: {error}")
        self._rounds.visited(address, self._feed.clock())

    async def _visit_once(self, address: str, priority: int) -> None:
        question = {"type": "clearinghouseState", "user": address}
        body = await self._service.ask(
            question, weight=WEIGHT, priority=priority, body_max=STATE_MAX
        )
        self.accounts.take(account(address, body))

    def _sum_up(self) -> None:
        """Say how far the round has come."""
        config, rounds, feed = self._config, self._rounds, self._feed
        now_ms, oldest_ms = feed.clock(), rounds.oldest_ms
        batches = -(-len(rounds) // config.batch_size)
        self._round.append(
            Round(
                VENUE,
                now_ms,
                len(rounds),
                len(rounds) - rounds.waiting,
                rounds.waiting,
                oldest_ms,
                batches * float(config.every),
                feed.tally.published,
                self._budget.used,
                config.weight_per_minute,
            ),
            key="round",
        )
        feed.tally.figures |= {
            "traders": len(rounds),
            "never_tracked": rounds.waiting,
            "oldest_tracked_age_s": 0 if oldest_ms is None else (now_ms - oldest_ms) / 1000,
            "guests": len(self._guests),
            "guests_max": GUESTS_MAX,
        }

    # -- fills --

    async def _follow_fills(self, fills: Input[Fill]) -> None:
        async for record in fills.cursor().records():
            self.accounts.fill(record.value)

    async def _follow_liquidations(self, liquidations: Input[Fill]) -> None:
        seq = 0
        while await liquidations.news(seq):
            batch = liquidations.read(seq, limit=500)
            seq = batch.position.seq
            for record in batch.records:
                if record.value.role == "liquidated":
                    self.accounts.forced(record.value)
            await trio.lowlevel.checkpoint()

    # -- the map --

    async def _draw_maps(self) -> None:
        while True:
            due = trio.current_time() + self._config.map_every
            try:
                await self._look_at_markets()
                self._service.good()
            except RateLimited as error:
                self._service.bad(error)
                continue
            except (UpstreamError, ValueError) as error:
                self._service.bad(error)
                self._feed.drop("markets failed", str(error))
            await self._draw()
            await trio.sleep_until(due)

    async def _look_at_markets(self) -> None:
        question = {"type": "metaAndAssetCtxs"}
        body = await self._service.ask(
            question, weight=MARKET_WEIGHT, priority=MARKET, body_max=MARKETS_MAX
        )
        self._markets = markets(body)
        self.accounts.marks = {name: one.mark_price for name, one in self._markets.items()}

    async def _draw(self) -> None:
        """The maps of one instant, in slices."""
        accounts, time_ms = self.accounts.values(), self._feed.clock()
        created, consumed = self.accounts.created, self.accounts.consumed
        self.accounts.created, self.accounts.consumed = {}, {}
        config, seen = self._config, self._markets
        span = Decimal(config.span_pct) / 100
        coins: Sums = {}
        for _ in add_up(coins, accounts, seen, span):
            await trio.lowlevel.checkpoint()
        for drawn in maps(
            coins,
            seen,
            time_ms=time_ms,
            accounts=len(accounts),
            oi_sides=config.oi_sides,
            created=created,
            consumed=consumed,
        ):
            self._maps.append(drawn, key=drawn.symbol)
            await trio.lowlevel.checkpoint()
        for record in self._maps.after(0):
            if record.value.symbol not in coins:
                self._maps.forget(record.value.symbol)


def _input(streams: Streams, name: str) -> Input[Any] | None:
    if name not in streams:
        return None
    return streams[name]


async def tracking(config: Config, streams: Streams, feed: Feed[PositionEvent]) -> None:
    """Visit the traders of `input`, for ever."""
    await Tracking(config, streams, feed).run()
