"""From streams to a store: one task per stream, one writer thread for all of them.

The store itself says where to go on, since a batch and its place are one transaction: a sink that
is restarted writes nothing twice and leaves nothing out. What passes is waited for; a stream that
overflows meanwhile announces a gap, and the gap is written.
"""

import logging
import sqlite3
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, TypeVar

import trio
from attrs import frozen

from flowd.history import Away, Store
from flowd.plugin import Batch, Cursor, Desk, Input, Position, Streams, UserError
from flowd_history.columns import columns_of

logger = logging.getLogger("flowd.history")

R = TypeVar("R")

CLOSE_S = 5.0


@frozen
class Pace:
    """How much at once, how often, and how patiently.

    A write that fails is tried again every `retry_s`, for `patience_s`; then the sink fails, and
    the supervisor shows it and starts it again. With the supervisor's own delays that makes fewer
    failures than those for which it gives a sink up, however long the disk is full.
    """

    every_s: float = 0.1
    batch: int = 2000
    tidy_every_s: float = 2.0
    retry_s: float = 1.0
    patience_s: float = 30.0


class Recorder:
    """Keeps streams in a store, from `run` until they are closed."""

    def __init__(
        self,
        store: Store,
        inputs: Sequence[str],
        streams: Streams,
        desk: Desk,
        *,
        retain_ms: int | None,
        max_size: int,
        pace: Pace,
    ) -> None:
        self._store = store
        self._inputs = list(dict.fromkeys(inputs))
        self._streams = streams
        self._desk = desk
        self._retain_ms = retain_ms
        self._max_size = max_size
        self._pace = pace
        self._limiter = trio.CapacityLimiter(1)
        self._heads: dict[str, Position] = {}
        """Where streams were when this began."""
        self._waiting: dict[str, Cursor[Any]] = {}

    async def run(self) -> None:
        """Write until the streams end. UserError when the store cannot be used."""
        # Until the store has told how far it is, what comes is held from where it was last.
        for name in self._inputs:
            input = self._streams[name]
            self._heads[name], self._waiting[name] = input.head, input.cursor()
        try:
            await self._write(self._store.open)
            for name in self._inputs:
                columns = columns_of(self._streams[name].record)
                await self._write(partial(self._store.add, name, columns))
            async with trio.open_nursery() as keeping:
                keeping.start_soon(self._tidy)
                async with trio.open_nursery() as following:
                    for name in self._inputs:
                        following.start_soon(self._follow, name)
                keeping.cancel_scope.cancel()
        finally:
            with trio.move_on_after(CLOSE_S, shield=True):
                await self._thread(self._store.close)

    async def _follow(self, name: str) -> None:
        """Write one stream from where the file ends until the stream does."""
        input, pace = self._streams[name], self._pace
        cursor = input.cursor(after=await self._begin(input))
        del self._waiting[name]
        cursor.done()  # whatever its place was before
        while True:
            batch = cursor.read(pace.batch)
            if batch.records or batch.gap is not None:
                await self._write_batch(batch)
                cursor.done()
            if len(batch.records) < pace.batch:
                await trio.sleep(pace.every_s)
                if not await input.news(cursor.position.seq):
                    return

    async def _begin(self, input: Input[Any]) -> Position:
        """Where to go on: where the file ends. When it knows nothing of this epoch, all that the
        stream retains is written first, as far as the file has not got it.
        """
        place = self._store.place(input.name)
        if place is not None and input.knows(place):
            return place
        # What came since we began, and comes while we write, is live already.
        head = self._heads[input.name]
        await self._write(partial(self._store.meet, input.name, head.epoch))
        seq = 0
        while seq < head.seq:
            batch = input.read(seq, first=not seq, upto=head.seq, limit=self._pace.batch)
            await self._write_batch(batch, retained=True)
            seq = batch.position.seq
        await self._write(partial(self._store.write, input.name, head, []))
        return head

    async def _write_batch(self, batch: Batch[Any], *, retained: bool = False) -> None:
        write = partial(self._store.write, batch.stream, batch.position, batch.records)
        await self._write(partial(write, gap=batch.gap, retained=retained))
        self._desk.tally.published += len(batch.records)

    async def _tidy(self) -> None:
        """Forget what is too old or too much, a step at a time between the writes."""
        step = partial(self._store.tidy, self._retain_ms, self._max_size)
        while True:
            while await self._write(step):
                pass
            figures = self._desk.tally.figures
            figures |= await self._write(self._store.figures)
            self._desk.tally.problem = self._store.problem()
            figures["max_bytes"] = self._max_size
            await trio.sleep(self._pace.tidy_every_s)

    async def _write(self, work: Callable[[], R]) -> R:
        """Do this in the writer thread, again and again while the disk does not let us."""
        give_up_at = trio.current_time() + self._pace.patience_s
        troubled = False
        while True:
            try:
                done = await self._thread(work)
            except (Away, sqlite3.OperationalError) as error:
                why = f"history: {self._store.where} cannot be written: {error}"
                if trio.current_time() >= give_up_at:
                    raise UserError(why) from None
                if not troubled:
                    logger.error("%s; trying again", why)
                troubled = True
                await trio.sleep(self._pace.retry_s)
            else:
                if troubled:
                    logger.info("history: %s is written again", self._store.where)
                return done

    async def _thread(self, work: Callable[[], R]) -> R:
        # Never abandoned: a transaction that has begun is waited for, also when we are cancelled.
        try:
            return await trio.to_thread.run_sync(work, limiter=self._limiter)
        except sqlite3.DatabaseError as error:
            if type(error) is not sqlite3.DatabaseError:
                raise
            raise UserError(
                f"history: {self._store.where} is damaged or no database: {error}. "
                "Move it away to begin a new history; `sqlite3 FILE .recover` saves what it can"
            ) from None
