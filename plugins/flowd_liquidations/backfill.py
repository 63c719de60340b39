"""History from elsewhere: fills the buckets that lie wholly before the first of our own.

It asks another flowd, or any service with the same REST endpoint, one range after the other and
slowly. How far it came is kept in a private table, so that a restart goes on there. What it fills
is marked, and never touches a bucket of our own.
"""

from collections.abc import Callable
from urllib.parse import quote

import trio
from attrs import evolve, frozen

from flowd.market import Bucket
from flowd.plugin import BadBody, Feed, NoAnswer, RateLimited, Stream
from flowd_liquidations.answer import Answer, read
from flowd_liquidations.series import Gap, merged
from flowd_liquidations.shelf import Shelf
from flowd_liquidations.timeframe import DAY_MS

PATH = "/api/v1/liquidation-volume"
EVERY_S = 0.5
"""Between requests: two a second at most."""
RETRY_S = 30.0
RETRY_MAX_S = 600.0
REFUSED_S = 3600.0
"""How long a series waits that the service does not have."""
BARS_MAX = 1000
"""Bars asked for at once."""
GAPS_MAX = 1000
"""Gaps that are kept of a series, the newest ones."""


@frozen
class Progress:
    """How far one series is filled: from `until_ms` (our own begins there) back to `reached_ms`."""

    symbol: str
    timeframe: str
    until_ms: int
    reached_ms: int
    done: bool = False


@frozen
class Gaps:
    """When the other service had no data either, `[from_ms, to_ms]` each, before our own begins."""

    symbol: str
    timeframe: str
    gaps: list[Gap]


class Failed(Exception):
    """The service cannot answer now. `after_s` is how long it asks to be left alone."""

    def __init__(self, message: str, after_s: float | None = None) -> None:
        super().__init__(message)
        self.after_s = after_s


class Refused(Exception):
    """The service does not have this series, or words it in a way that cannot be used."""


class Backfill:
    """Fills the past of each series that turns up, once. Whether any is still to be filled it tells
    `filling`; one that cannot be filled now is none of them.
    """

    def __init__(
        self,
        base: str,
        shelf: Shelf,
        feed: Feed[Bucket],
        filling: Callable[[bool], None] = lambda _: None,
    ) -> None:
        self._base = base.rstrip("/")
        self._shelf = shelf
        self._frames = {frame.name: frame for frame in shelf.timeframes}
        self._feed = feed
        self._table: Stream[Progress] = feed.table("backfill", Progress)
        self._gaps: Stream[Gaps] = feed.table("gaps", Gaps)
        self._more = trio.Event()
        self._line: dict[str, float] = {}
        """The series that are not filled yet, the next one first, and when each may be asked."""
        self._waits: dict[str, float] = {}
        """How long each series waited after its last failure."""
        self._filling = filling
        self._told: bool | None = None
        for record in self._table.after(0):
            self._note(record.value)
        self._tell()
        shelf.tell(self.begins)

    def begins(self, symbol: str, timeframe: str, time_ms: int) -> None:
        """Our own buckets of a series begin here. Known already when that was said before."""
        if timeframe in self._frames and self._table.get(f"{symbol}/{timeframe}") is None:
            self._note(Progress(symbol, timeframe, time_ms, time_ms))
            self._tell()
            self._more.set()

    async def run(self) -> None:
        """Fill whatever is not yet filled, for ever. A series that cannot be filled is tried again
        later, and holds up no other.
        """
        while True:
            name = await self._next()
            pause_s = EVERY_S
            try:
                await self._fill(name)
            except Refused as error:
                self._later(name, "backfill refused", error, REFUSED_S)
            except Failed as error:
                pause_s = error.after_s or RETRY_S
                wait_s = min(2 * self._waits.get(name, RETRY_S / 2), RETRY_MAX_S)
                self._waits[name] = error.after_s or wait_s
                self._later(name, "backfill failed", error, self._waits[name])
            else:
                self._waits.pop(name, None)
            self._tell()
            await trio.sleep(pause_s)

    def _tell(self) -> None:
        """Say whether something may still be filled that did not fail, where that is news."""
        filling = any(due == 0.0 for due in self._line.values())
        if filling != self._told:
            self._told = filling
            self._filling(filling)

    async def _next(self) -> str:
        """The first series in line that may be asked for."""
        while True:
            now = trio.current_time()
            for name, due in self._line.items():
                if due <= now:
                    return name
            self._more = trio.Event()
            with trio.move_on_at(min(self._line.values(), default=float("inf"))):
                await self._more.wait()

    def _later(self, name: str, reason: str, error: Exception, wait_s: float) -> None:
        """To the end of the line, and not before `wait_s` are over."""
        self._feed.drop(reason, f"{name}: {error}; again in {wait_s:g}s")
        del self._line[name]
        self._line[name] = trio.current_time() + wait_s

    async def _fill(self, name: str) -> None:
        """Fill one range more, back to the end of the series' retention."""
        progress = self._table.get(name)
        assert progress is not None
        frame = self._frames[progress.timeframe]
        now_ms = self._feed.clock()
        oldest_ms = now_ms - frame.keep_ms
        # An exchange's clock may be ahead of ours; more than is kept would be refused.
        end_ms = min(progress.reached_ms, now_ms)
        start_ms = max(end_ms - BARS_MAX * (frame.width_ms or 31 * DAY_MS), oldest_ms)
        if start_ms >= end_ms:
            self._note(evolve(progress, done=True))
            return
        answer = await self._ask(progress, start_ms, end_ms)
        # Bars, gaps and progress belong to the same instant: no checkpoint between them.
        self._take(answer, progress)
        reached_ms, done = frame.start(start_ms), start_ms == oldest_ms
        self._note(evolve(progress, reached_ms=reached_ms, done=done))

    async def _ask(self, progress: Progress, start_ms: int, end_ms: int) -> Answer:
        path = f"{PATH}/{quote(progress.symbol, safe='')}/{progress.timeframe}"
        query = {"start": start_ms, "end": end_ms}
        try:
            answer = await self._feed.http.get(f"{self._base}{path}", query=query)
        except NoAnswer as error:
            raise Failed(str(error)) from None
        except BadBody as error:
            raise Refused(str(error)) from None
        except RateLimited as error:
            after_s = RETRY_S if error.after_s is None else error.after_s
            raise Failed("too many requests", min(after_s, RETRY_MAX_S)) from None
        status, body = answer.status, answer.body
        if status == 408 or status >= 500:
            raise Failed(f"status {status}")
        if status != 200:
            raise Refused(f"status {status}: {body.decode(errors='replace'):.200}")
        try:
            return read(body, self._frames[progress.timeframe])
        except ValueError as error:
            raise Refused(str(error)) from None

    def _take(self, answer: Answer, progress: Progress) -> None:
        symbol, frame = progress.symbol, self._frames[progress.timeframe]
        for item in answer.bad:
            self._feed.drop("backfill: makes no sense", item)
        for bar in answer.bars:
            ours = frame.following(bar.time_ms) > progress.until_ms
            if bar.count and not ours and self._shelf.get(symbol, frame, bar.time_ms) is None:
                totals = (bar.buy, bar.sell, bar.count, bar.venues)
                self._shelf.put(symbol, frame, bar.time_ms, *totals)
        gaps = [(first, min(last, progress.until_ms)) for first, last in answer.gaps]
        gaps = [(first, last) for first, last in gaps if first < last]
        if gaps:
            name = f"{symbol}/{frame.name}"
            known = self._gaps.get(name)
            gaps = merged([*gaps, *(() if known is None else known.gaps)])[-GAPS_MAX:]
            self._gaps.append(Gaps(symbol, frame.name, gaps), key=name)

    def _note(self, progress: Progress) -> None:
        """Remember how far a series is filled, and whether it is still in line."""
        name = f"{progress.symbol}/{progress.timeframe}"
        self._table.append(progress, key=name)
        if progress.done:
            self._line.pop(name, None)
        elif progress.timeframe in self._frames:
            self._line.setdefault(name, 0.0)
