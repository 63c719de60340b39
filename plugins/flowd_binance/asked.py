"""Symbols that somebody asks for: candles of what the configuration does not name, for as long as
somebody looks, and a while longer.

They come by REST alone, and lie in tables of their own, so that nobody who reads the source's
stream takes them for what was configured. All that a reader can cause is bounded: how many symbols
are followed at once, how often one more is begun with, and what each of them costs.
"""

from bisect import insort
from collections import deque
from typing import Any, Literal, Protocol

import trio
from attrs import define, field, frozen

from flowd.market import Candle
from flowd.plugin import Feed, UpstreamError
from flowd_binance.klines import PORTION, newer, read
from flowd_binance.parse import least_ms
from flowd_binance.rest import KLINES_MAX, Rejected, Rest

CANDLES = "asked"
"""The table of the candles; of the component `candles-1m` it is the stream `candles-1m.asked`."""
SYMBOLS = "asked-symbols"
"""The table that says which symbols those are, in one record."""
SYMBOLS_MAX = 100
CANDLES_MAX = SYMBOLS_MAX * KLINES_MAX
CANDLE_BYTES = 2000
"""What one takes in memory, about."""

POLL_S = 5.0
"""Between two requests for a symbol that somebody looks at."""
IDLE_POLL_S = 60.0
"""The same for one that nobody has asked for lately."""
IN_USE_MS = 120_000
"""A symbol that was asked for within this makes room for no other."""
STEP_MS = 10_000
"""When a symbol was asked for last is noted in steps of this, so that asking is no stream of its
own.
"""
BEGUN_MAX = 20
"""Symbols that are begun with in one minute: the first request for one costs most."""
REFUSED_MAX = 50
REFUSED_MS = 3_600_000
"""For so long a symbol that Binance does not know is not asked for again."""
PAUSE_S = 5.0
PAUSE_MAX_S = 300.0

State = Literal["fetching", "followed", "failing", "refused"]


@frozen
class AskedSymbol:
    """One symbol that was asked for: at first it is `fetching`, then `followed`; `failing` when
    Binance did not answer lately, `refused` when it knows no such symbol. `why` says so in words.

    `since_ms` is when it was begun with, `used_ms` when it was asked for last, `until_ms` when it
    is let go unless it is asked for again.
    """

    symbol: str
    interval: str
    state: State
    since_ms: int
    used_ms: int
    until_ms: int
    why: str | None = None


@frozen
class AskedSymbols:
    """What one source follows because it was asked for: at most `most` symbols, no further one
    before `next_ms`. `configured` are those that it follows anyway, and need not be asked for. A
    table of one record, under the key `symbols`.
    """

    interval: str
    most: int
    symbols: tuple[AskedSymbol, ...]
    next_ms: int
    configured: tuple[str, ...]

    def find(self, symbol: str) -> AskedSymbol | None:
        """What is known of a symbol; None when nobody asked for it lately."""
        return next((one for one in self.symbols if one.symbol == symbol), None)

    @property
    def followed(self) -> list[AskedSymbol]:
        """Those that Binance knows, as far as was heard."""
        return [one for one in self.symbols if one.state != "refused"]

    def room(self, now_ms: int) -> bool:
        """Whether one more could be followed at this time."""
        used = [now_ms - one.used_ms <= IN_USE_MS for one in self.followed]
        free = len(used) < self.most or not all(used)
        return self.most > 0 and free and now_ms >= self.next_ms


class Settings(Protocol):
    """What the source's configuration says of them."""

    @property
    def interval(self) -> str:
        """Of the candles."""

    @property
    def names(self) -> list[str]:
        """The symbols that are followed anyway."""

    @property
    def history(self) -> int:
        """How many candles are fetched."""

    @property
    def asked_symbols(self) -> int:
        """How many symbols at once; 0 for none."""

    @property
    def asked_keep(self) -> float:
        """For how many seconds after somebody asked."""


@define(eq=False)
class _One:
    """A symbol that is followed, or was refused; `due` by Trio's clock."""

    symbol: str
    since_ms: int
    used_ms: int
    state: State = "fetching"
    why: str | None = None
    due: float = 0.0
    pause_s: float = PAUSE_S
    known_ms: int = 0
    """Binance was asked then, and told all that it knew."""
    times: list[int] = field(factory=list)


class AskedFor:
    """Follows what is asked for. It goes on with what its tables hold, if it is not too old."""

    def __init__(self, config: Settings, feed: Feed[Candle], rest: Rest) -> None:
        self._config = config
        self._feed = feed
        self._rest = rest
        self._candles = feed.table(CANDLES, Candle)
        self._told = feed.table(SYMBOLS, AskedSymbols)
        self._keep_ms = round(config.asked_keep * 1000)
        self._history = min(config.history, KLINES_MAX)
        self._ones: dict[str, _One] = {}
        self._begun: deque[float] = deque()
        self._news = trio.Event()
        self._restore()

    async def run(self) -> None:
        """Listen and fetch, for ever. A REST service that fails is asked again after a pause."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._listen)
            nursery.start_soon(self._fetch_all)

    # -- who is followed --

    def _restore(self) -> None:
        told = self._told.get("symbols")
        for was in told.symbols if told is not None else ():
            if was.state != "refused" and was.symbol not in self._config.names:
                self._ones[was.symbol] = _One(was.symbol, was.since_ms, was.used_ms)
        for record in self._candles.after(0):
            candle: Candle = record.value
            known = self._ones.get(candle.symbol)
            if known is not None and candle.interval == self._config.interval:
                insort(known.times, candle.time_ms)
            else:
                self._candles.forget(candle.key)
        for one in sorted(self._followed(), key=lambda one: one.used_ms):
            if len(self._followed()) > self._config.asked_symbols:
                self._let_go(one)
        self._tell()

    async def _listen(self) -> None:
        while True:
            self._ask(await self._feed.asked())

    def _ask(self, symbol: str) -> None:
        """Somebody wants this symbol."""
        if not is_symbol(symbol) or symbol in self._config.names:
            return
        now_ms, now = self._feed.clock(), trio.current_time()
        self._expire()
        one = self._ones.get(symbol)
        if one is None:
            if not self._take(now_ms, now):
                self._feed.drop("asked for more symbols than there is room for", symbol)
                self._tell()
                return
            one = self._ones[symbol] = _One(symbol, now_ms, 0)
        if one.state != "refused":
            one.used_ms = now_ms // STEP_MS * STEP_MS
            if one.state == "followed":
                one.due = min(one.due, now + POLL_S)
        self._tell()
        self._news.set()

    def _take(self, now_ms: int, now: float) -> bool:
        """Make room for one more; whether there is."""
        if not self._state(now_ms, now).room(now_ms):
            return False
        followed = self._followed()
        if len(followed) >= self._config.asked_symbols:
            self._let_go(min(followed, key=lambda one: one.used_ms))
        self._begun.append(now)
        return True

    def _followed(self) -> list[_One]:
        return [one for one in self._ones.values() if one.state != "refused"]

    def _expire(self) -> None:
        """Let go what nobody wants any more, and forget refusals."""
        now_ms = self._feed.clock()
        for one in list(self._ones.values()):
            if self._until_ms(one) <= now_ms:
                self._let_go(one)
        refused = [one for one in self._ones.values() if one.state == "refused"]
        for one in refused[: max(0, len(refused) - REFUSED_MAX)]:
            self._let_go(one)

    def _until_ms(self, one: _One) -> int:
        return one.used_ms + (REFUSED_MS if one.state == "refused" else self._keep_ms)

    def _let_go(self, one: _One) -> None:
        del self._ones[one.symbol]
        for time_ms in one.times:
            self._candles.forget(self._key(one, time_ms))

    def _key(self, one: _One, time_ms: int) -> str:
        return f"{one.symbol}/{self._config.interval}/{time_ms}"

    # -- what is told --

    def _tell(self) -> None:
        """Say how all of them stand: to readers, and in `/status`."""
        self._told.append(
            self._state(self._feed.clock(), trio.current_time()),
            key="symbols",
        )
        figures = self._feed.tally.figures
        candles = sum(len(one.times) for one in self._ones.values())
        most = self._config.asked_symbols
        figures["asked_symbols"] = len(self._followed())
        figures["asked_symbols_max"] = most
        figures["asked_bytes"] = candles * CANDLE_BYTES
        figures["asked_bytes_max"] = most * self._history * CANDLE_BYTES

    def _state(self, now_ms: int, now: float) -> AskedSymbols:
        while self._begun and self._begun[0] <= now - 60:
            self._begun.popleft()
        full = len(self._begun) >= BEGUN_MAX
        wait_ms = int((self._begun[0] + 60 - now) * 1000) + 1 if full else 0
        return AskedSymbols(
            self._config.interval,
            self._config.asked_symbols,
            tuple(
                AskedSymbol(
                    one.symbol,
                    self._config.interval,
                    one.state,
                    one.since_ms,
                    one.used_ms,
                    self._until_ms(one),
                    one.why,
                )
                for one in self._ones.values()
            ),
            now_ms + wait_ms if full else 0,
            tuple(self._config.names),
        )

    # -- what is fetched --

    async def _fetch_all(self) -> None:
        while True:
            one = await self._next()
            try:
                await self._fetch(one)
            except Rejected as error:
                self._settle(one, "refused", str(error))
            except UpstreamError as error:
                self._feed.drop("asked for, and failed", f"{one.symbol}: {error}")
                one.due = trio.current_time() + one.pause_s
                one.pause_s = min(one.pause_s * 2, PAUSE_MAX_S)
                self._settle(one, "failing", str(error))
            else:
                idle = self._feed.clock() - one.used_ms > IN_USE_MS
                one.due = trio.current_time() + (IDLE_POLL_S if idle else POLL_S)
                one.pause_s = PAUSE_S
                self._settle(one, "followed", None)

    def _settle(self, one: _One, state: State, why: str | None) -> None:
        if self._ones.get(one.symbol) is not one:
            return
        one.state, one.why = state, why
        if state == "refused":
            for time_ms in one.times:
                self._candles.forget(self._key(one, time_ms))
            one.times.clear()
        self._tell()

    async def _next(self) -> _One:
        """The next one that is due. What expires meanwhile is let go."""
        await trio.lowlevel.checkpoint()
        while True:
            before = len(self._ones)
            self._expire()
            if len(self._ones) != before:
                self._tell()
            now, waiting = trio.current_time(), self._followed()
            # Who waits for its first candles comes first.
            due = [one for one in waiting if one.due <= now]
            if due:
                return min(due, key=lambda one: (bool(one.times), one.due))
            ends_ms = min(map(self._until_ms, self._ones.values()), default=float("inf"))
            ends = now + (ends_ms - self._feed.clock()) / 1000
            self._news = trio.Event()
            with trio.move_on_at(min([ends, *(one.due for one in waiting)])):
                await self._news.wait()

    async def _fetch(self, one: _One) -> None:
        """Fetch what is new of a symbol: always its newest candles, as many as were not known to be
        closed, so that there are no holes.
        """
        asked_ms = self._feed.clock()
        limit, width_ms = self._history, least_ms(self._config.interval)
        if one.times:
            # What is older than the last answer and not there was never traded.
            since_ms = max(one.times[-1], one.known_ms - width_ms)
            limit = min((asked_ms - since_ms) // width_ms + 2, limit)
        rows = await self._rest.klines(
            one.symbol, self._config.interval, limit=max(limit, 1), priority=1
        )
        for start in range(0, len(rows), PORTION):
            if self._ones.get(one.symbol) is not one:
                return
            interval = self._config.interval
            for candle in read(self._feed, one.symbol, interval, rows, start, asked_ms):
                self._put(one, candle)
            await trio.lowlevel.checkpoint()
        one.known_ms = asked_ms

    def _put(self, one: _One, candle: Candle) -> None:
        before: Any = self._candles.get(candle.key)
        if before is None:
            insort(one.times, candle.time_ms)
        elif not newer(candle, before):
            return
        self._candles.append(candle, key=candle.key)
        while len(one.times) > self._history:
            self._candles.forget(self._key(one, one.times.pop(0)))


def is_symbol(text: str) -> bool:
    """Whether this could be a symbol of Binance's. Not all of them are ASCII."""
    return 1 <= len(text) <= 40 and all(c.isalnum() or c in "_-" for c in text)
