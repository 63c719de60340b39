"""What keeps candles and open interest for longer than the streams: read at the start for what the
streams lack, then written as they come.

It is a reader of both streams like any other: what it has not written they hold for it. So a file
that is locked, or a disk that is full, is waited for, and after a crash it goes on where it was.
"""

from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import trio
from attrs import define, field

from flowd.market import Candle, OpenInterest
from flowd.plugin import Cursor, Feed, Input
from flowd_heatmap.config import Config
from flowd_heatmap.engines import engine_of
from flowd_heatmap.files import File, Reader, Unusable
from flowd_heatmap.rows import CANDLES, INTEREST, Table

R = TypeVar("R")

Takes = tuple[Callable[[Any], object], Callable[[Any], object]]
"""What takes samples of open interest, and what takes candles."""

EVERY_S = 5.0
"""How often is written."""
BATCH = 1000
RETRY_S, RETRY_MAX_S = 1.0, 60.0
CLOSE_S = 5.0
INTERRUPT_S = 0.05


@define(eq=False)
class Way:
    """From one stream to its table."""

    table: Table[Any]
    input: Input[Any]
    wanted: Callable[[Any], bool]
    cursor: Cursor[Any] | None = None
    waiting: list[Any] = field(factory=list)
    """What was read and is not written yet."""


class Store:
    """The file beside the streams. `run` writes to it until they end; whatever is wrong with it is
    a problem of the component, and tried again.
    """

    def __init__(
        self,
        path: Path,
        candles: Input[Candle],
        interest: Input[OpenInterest],
        symbols: list[str],
        feed: Feed[Any],
    ) -> None:
        self._file = File(path, engine_of(path))
        self._symbols = symbols
        self._feed = feed
        self._ways = (
            Way(INTEREST, interest, self._is_wanted),
            Way(CANDLES, candles, lambda one: one.closed and self._is_wanted(one)),
        )
        self._writer = trio.CapacityLimiter(1)
        self._readers = trio.CapacityLimiter(1)
        self._filled = 0
        """At which opening it got all which the streams had."""
        self._was_read = False
        self._end = trio.Event()
        self._written = self._refused = 0

    def _is_wanted(self, value: Any) -> bool:
        return not self._symbols or value.symbol in self._symbols

    def begin(self) -> None:
        """From now on the streams hold what is to be written."""
        for way in self._ways:
            way.cursor = way.input.cursor()

    async def read(self, since_ms: int, takes: Takes) -> bool:
        """Hand out what the file has from this time on, open interest first; False, and the problem
        is told, when it cannot be read now.
        """
        try:
            await self._read_all(since_ms, takes)
        except Unusable as error:
            self._say(error)
            return False
        return True

    async def _read_all(self, since_ms: int, takes: Takes) -> None:
        await self._open()
        for way, take in zip(self._ways, takes, strict=True):
            await self._read(way.table, since_ms, take)
        self._was_read = True
        if self._file.foreign is not None:
            # Its owner may want to write to it.
            await self._thread(self._file.close)

    async def _read(self, table: Table[Any], since_ms: int, take: Callable[[Any], object]) -> None:
        make = partial(self._file.reader, table, since_ms, self._symbols)
        reader: Reader = await self._thread(make)
        try:
            while True:
                page = await uncut(reader.page, reader.interrupt, self._readers)
                if page is None:
                    break
                for value in page:
                    take(value)
        finally:
            with trio.move_on_after(CLOSE_S, shield=True):
                await trio.to_thread.run_sync(reader.close, limiter=self._readers)
        self._refuse(reader.refused, "stored ")

    async def run(self, since_ms: int, takes: Takes) -> None:
        """Write what the streams have until they end. What could not be read at the start is handed
        out when it can be.
        """
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._watch_end)
            try:
                await self._keep(since_ms, takes)
            finally:
                with trio.move_on_after(CLOSE_S, shield=True):
                    await trio.to_thread.run_sync(self._file.close, limiter=self._writer)
            nursery.cancel_scope.cancel()

    async def _keep(self, since_ms: int, takes: Takes) -> None:
        retry_s = RETRY_S
        while True:
            # Looked at before what there is, so that nothing is left.
            ended, more = self._end.is_set(), False
            try:
                if not self._was_read:
                    await self._read_all(since_ms, takes)
                if self._file.foreign is None:
                    await self._open()
                if self._file.foreign is None:
                    await self._fill()
                    more = await self._write_news()
            except Unusable as error:
                self._say(error)
                if ended:
                    return  # What is not written is held until the next start.
                await self._pause(retry_s)
                retry_s = min(2 * retry_s, RETRY_MAX_S)
                continue
            self._feed.problem(None)
            retry_s = RETRY_S
            if self._file.foreign is not None:
                self._leave_alone(self._file.foreign)
                return
            self._feed.tally.figures |= {
                "stored": self._written,
                "stored_refused": self._refused,
            }
            if ended and not more:
                return
            if not more:
                await self._pause(EVERY_S)

    def _leave_alone(self, why: str) -> None:
        """Somebody else's file is not written to."""
        for way in self._ways:
            way.cursor = None
        self._feed.log.warning(
            "%s: %s is read and not written to, since it was made by somebody else: %s. "
            'To keep what comes, name another file as "database"',
            self._feed.name,
            self._file.path,
            why,
        )

    async def _watch_end(self) -> None:
        for way in self._ways:
            await way.input.ended()
        self._end.set()

    async def _pause(self, seconds: float) -> None:
        """Wait, less if the streams end."""
        with trio.move_on_after(seconds):
            await self._end.wait()

    async def _open(self) -> None:
        await self._thread(self._file.open)

    async def _fill(self) -> None:
        """Write what the streams had before our place in them: the file may be another one."""
        if self._filled == self._file.openings:
            return
        for way in self._ways:
            assert way.cursor is not None, "it begins before it writes"
            seq, upto = 0, way.cursor.position.seq
            while seq < upto:
                batch = way.input.read(seq, first=True, upto=upto, limit=BATCH)
                await self._write(way, [one.value for one in batch.records])
                seq = batch.position.seq
        self._filled = self._file.openings

    async def _write_news(self) -> bool:
        """Write what came; whether there may be more."""
        more = False
        for way in self._ways:
            assert way.cursor is not None, "it begins before it writes"
            if not way.waiting:
                batch = way.cursor.read(BATCH)
                way.waiting = [one.value for one in batch.records]
                more |= len(batch.records) == BATCH
            await self._write(way, way.waiting)
            way.waiting = []
            way.cursor.done()
        return more

    async def _write(self, way: Way, values: list[Any]) -> None:
        refused: Counter[str] = Counter()
        wanted = [value for value in values if way.wanted(value)]
        if wanted:
            write = partial(self._file.write, way.table, wanted, refused)
            self._written += await self._thread(write)
        self._refuse(refused, "")

    def _refuse(self, refused: Counter[str], where: str) -> None:
        for reason, count in refused.items():
            self._refused += count
            for _ in range(count):
                self._feed.drop(f"{where}{reason}")

    def _say(self, error: Unusable) -> None:
        self._feed.problem(
            f"{error}. The map goes on with what the streams have; they hold what is to be written"
        )

    async def _thread(self, work: Callable[[], R]) -> R:
        return await uncut(work, self._file.interrupt, self._writer)


async def uncut(
    work: Callable[[], R], interrupt: Callable[[], None], limiter: trio.CapacityLimiter
) -> R:
    """Do this in a thread, and never leave it alone: when cancelled it is interrupted, and waited
    for.
    """
    found: list[R] = []
    failed: list[Exception] = []
    done = False

    def caught() -> None:
        try:
            found.append(work())
        except Exception as error:
            failed.append(error)

    async def watch() -> None:
        try:
            await trio.sleep_forever()
        finally:
            with trio.CancelScope(shield=True):
                while not done:
                    # Again, for it may not have begun what is to be interrupted.
                    interrupt()
                    await trio.sleep(INTERRUPT_S)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(watch)
        with trio.CancelScope(shield=True):
            await trio.to_thread.run_sync(caught, limiter=limiter)
        done = True
        nursery.cancel_scope.cancel()
    await trio.lowlevel.checkpoint_if_cancelled()
    if failed:
        raise failed[0]
    return found[0]


def open_store(
    config: Config, candles: Input[Candle], interest: Input[OpenInterest], feed: Feed[Any]
) -> Store | None:
    """The store that is configured; None where there is none, or what it needs is not there."""
    file = config.file
    if file is None:
        feed.log.info('%s: no "database" is named: its past is what the streams retain', feed.name)
        return None
    try:
        return Store(file, candles, interest, config.symbols, feed)
    except ImportError:
        return None  # A remark said at the start what to install.
