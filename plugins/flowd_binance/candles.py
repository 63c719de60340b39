"""A flowd source: Binance's candles (klines), live, with their history and without holes.

The stream is a table: the open candle supersedes itself until it is closed. Binance says the last
word about a candle only once, so whenever one is missing its predecessor, REST is asked. That is
one rule for the first start, for a connection that was lost across a boundary, and for a day when
the daemon was off.
"""

from importlib import import_module
from typing import Any

import trio
from attrs import Factory, field, frozen

from flowd.market import Candle
from flowd.plugin import Feed, Seconds, Unusable, UpstreamError, UserError, validators
from flowd_binance import connection
from flowd_binance.asked import SYMBOLS_MAX, AskedFor
from flowd_binance.klines import PORTION, read
from flowd_binance.parse import INTERVALS, kline, least_ms
from flowd_binance.rest import KLINES_MAX, Rejected, Rest
from flowd_binance.shelf import Shelf

CANDLES_MAX = 1_000_000
"""Candles of all symbols together that one source may keep."""
AGAIN_S = 10.0
"""Between two requests for one symbol: REST may know a boundary later than the live stream."""
REJECTED_S = 3600.0
PAUSE_S = 5.0
PAUSE_MAX_S = 300.0


def _interval(_: object, attribute: Any, interval: str) -> None:
    if interval not in INTERVALS:
        raise ValueError(f'interval = "{interval}": there are {", ".join(INTERVALS)}')


@frozen
class Config:
    """`history` candles of each symbol are fetched at first, `keep` are kept.

    `weight_per_minute` is what REST calls may cost, of the 2400 that Binance grants an address;
    what other components and programs on this address spend is taken into account.

    Of other symbols `asked_symbols` are followed at once when readers ask for them, each for
    `asked_keep` after it was asked for last.
    """

    interval: str = field(validator=_interval)
    symbols: list[str] = field(
        default=Factory(lambda: ["BTCUSDT"]),
        validator=connection.symbols("Binance has no stream of all candles"),
    )
    url: str = field(default="wss://fstream.binance.com/market", validator=validators.websocket_url)
    rest_url: str = field(default="https://fapi.binance.com", validator=validators.http_url)
    history: int = 500
    keep: int = 1500
    weight_per_minute: int = field(default=1200, validator=validators.between(20, 2400))
    asked_symbols: int = field(default=10, validator=validators.between(0, SYMBOLS_MAX))
    asked_keep: Seconds = field(default=Seconds(900.0), validator=validators.between("1m", "24h"))
    silence: Seconds = Seconds(60.0)
    ping_every: Seconds = Seconds(15.0)
    renew_every: Seconds = Seconds(23.5 * 3600)
    renew_overlap: Seconds = Seconds(5.0)

    def __attrs_post_init__(self) -> None:
        # Only who configures candles pays for it, and before the loop turns.
        import_module("httpx2")
        if not 1 <= self.history <= self.keep:
            raise ValueError(f"history = {self.history}: expected 1 to keep = {self.keep}")
        if self.keep * len(self.names) > CANDLES_MAX:
            raise ValueError(
                f"keep = {self.keep}: {len(self.names)} symbols of these would be more than "
                f"{CANDLES_MAX} candles"
            )

    @property
    def names(self) -> list[str]:
        """The symbols as Binance writes them, each once."""
        return list(dict.fromkeys(symbol.upper() for symbol in self.symbols))

    @property
    def streams(self) -> list[str]:
        """What to subscribe to, in Binance's names."""
        return [f"{symbol.lower()}@kline_{self.interval}" for symbol in self.names]

    @property
    def companion(self) -> str:
        """Candles are busy by themselves: the first of them stands in the address."""
        return self.streams[0]


async def candles(config: Config, feed: Feed[Candle]) -> None:
    """Follow the candles and fetch what is missing, for ever. A REST service that fails costs the
    live candles nothing.
    """

    retain, needed = feed.retain, config.keep * len(config.names)
    if retain.age_s is not None or retain.count < needed:
        raise UserError(
            f"sources.{feed.name}.retain: {len(config.names)} symbols with keep = {config.keep} "
            f"are {needed} candles; leave retain out"
        )
    shelf = Shelf(feed, config.names, config.interval, config.keep)
    budget = feed.budget("binance", per_minute=config.weight_per_minute)
    rest = Rest(config.rest_url, feed.http, budget, feed.clock)
    history = History(config, feed, shelf, rest)
    asked = AskedFor(config, feed, rest)

    def take(feed: Feed[Any], event: dict[str, Any]) -> bool:
        if event.get("e") != "kline":
            return False
        live = kline(event)
        if live.symbol not in shelf or live.interval != config.interval:
            raise Unusable("not asked for")
        shelf.put(live)
        if not shelf.whole(live):
            history.want(live.symbol)
        return True

    async with trio.open_nursery() as nursery:
        nursery.start_soon(history.run)
        nursery.start_soon(asked.run)
        await connection.keep(config, feed, take, on_ready=history.want_all)


class History:
    """Fetches what is missing of the symbols that are wanted, one after the other."""

    def __init__(self, config: Config, feed: Feed[Candle], shelf: Shelf, rest: Rest) -> None:
        self._config = config
        self._feed = feed
        self._shelf = shelf
        self._rest = rest
        self._wanted: dict[str, None] = {}
        self._not_before: dict[str, float] = {}
        self._news = trio.Event()
        self._since_ms = feed.ends_ms
        """Where the data ended before, until all that was missed is here."""
        self._until_ms = 0
        self._missing: set[str] = set()
        self._count = 0

    def want(self, symbol: str) -> None:
        """Something may be missing of this symbol. It is asked for at most once in ten seconds."""
        self._wanted[symbol] = None
        self._news.set()

    def want_all(self) -> None:
        """A connection begins to deliver: something may be missing of every symbol."""
        if self._since_ms is not None and not self._missing:
            self._until_ms = self._feed.clock()
            self._missing = set(self._config.names)
        for symbol in self._config.names:
            self.want(symbol)

    async def run(self) -> None:
        """Fetch for ever. What fails is counted, and tried again after a pause."""
        pause_s = PAUSE_S
        while True:
            symbol = await self._next()
            try:
                await self._fill(symbol)
            except Rejected as error:
                self._feed.drop("history refused", f"{symbol}: {error}")
                self._not_before[symbol] = trio.current_time() + REJECTED_S
            except UpstreamError as error:
                self._feed.drop("history failed", f"{symbol}: {error}; again in {pause_s:g}s")
                self.want(symbol)
                await trio.sleep(pause_s)
                pause_s = min(pause_s * 2, PAUSE_MAX_S)
            else:
                self._not_before[symbol] = trio.current_time() + AGAIN_S
                pause_s = PAUSE_S
                self._filled(symbol)

    def _filled(self, symbol: str) -> None:
        """Nothing is missing of this symbol. When that is true of all, the outage is recovered, as
        far back as candles are kept.
        """
        self._missing.discard(symbol)
        if self._since_ms is not None and self._until_ms and not self._missing:
            kept_ms = self._config.keep * self._shelf.width_ms(symbol)
            from_ms = max(self._since_ms, self._until_ms - kept_ms)
            self._feed.recovered(from_ms, self._until_ms, self._count)
            self._since_ms = None

    async def _next(self) -> str:
        """The next symbol that is wanted and may be asked for again."""
        await trio.lowlevel.checkpoint()
        while True:
            now, soonest = trio.current_time(), float("inf")
            for symbol in self._wanted:
                due = self._not_before.get(symbol, now)
                if due <= now:
                    del self._wanted[symbol]
                    return symbol
                soonest = min(soonest, due)
            self._news = trio.Event()
            with trio.move_on_at(soonest):
                await self._news.wait()

    async def _fill(self, symbol: str) -> None:
        """Fetch a symbol's candles from its oldest hole on, or its history if it has none: oldest
        first, so that what fails on the way is gone on from.
        """
        history, width_ms = self._config.history, least_ms(self._config.interval)
        since_ms = self._shelf.hole(symbol, self._feed.clock(), history)
        if since_ms == 0 and history > KLINES_MAX:
            since_ms = self._feed.clock() - history * width_ms
        while since_ms is not None:
            asked_ms = self._feed.clock()
            limit = history
            if since_ms:
                limit = min(max((asked_ms - since_ms) // width_ms + 2, 2), KLINES_MAX)
            rows = await self._rest.klines(
                symbol, self._config.interval, limit=limit, start_ms=since_ms or None
            )
            newest: Candle | None = None
            for start in range(0, len(rows), PORTION):
                newest = self._take(symbol, rows, start, asked_ms) or newest
                await trio.lowlevel.checkpoint()
            more = since_ms and newest and len(rows) == limit == KLINES_MAX
            since_ms = newest.close_time_ms + 1 if newest and more else None

    def _take(self, symbol: str, rows: list[object], start: int, asked_ms: int) -> Candle | None:
        """Publish a portion of these rows, in one step with that they were asked for. The newest of
        them.
        """
        found = read(self._feed, symbol, self._config.interval, rows, start, asked_ms)
        before = self._feed.tally.published
        for one in found:
            self._shelf.put(one)
        self._count += self._feed.tally.published - before
        if found:
            self._shelf.checked(symbol, found[-1].time_ms)
        return found[-1] if found else None
