"""A stream's reader, which is a number: batch by batch, or one record at a time."""

from collections.abc import Callable, Iterable
from typing import Generic, Protocol, TypeVar

import trio
from attrs import define, evolve, field

from flowd.values.filters import ALL, Filter
from flowd.values.record import Batch, Gap, Position, Record

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


class Readable(Protocol[T_co]):
    """What a cursor needs of a stream."""

    epoch: str

    def read(
        self,
        after: int,
        *,
        first: bool = ...,
        limit: int | None = ...,
        filter: Filter = ...,
        held: bool = ...,
    ) -> Batch[T_co]:
        """What is newer than `after`, at once."""
        ...

    async def news(self, seq: int) -> bool:
        """Wait for what is newer; False when no more will come."""
        ...


@define(eq=False)
class Hand:
    """What a cursor handed out and what was not dealt with: the numbers `first` to `last`; no
    `first`, nothing. It outlives the cursor.
    """

    first: int = 0
    last: int = 0
    place: str = ""
    """Under which its component remembers how far it is."""
    singly_upto: int = 0
    """Up to here batches have one record: one of them failed the component."""


@define(eq=False)
class Mark:
    """How far a cursor has dealt with its records. It counts as long as its cursor is there."""

    seq: int = 0
    hand: Hand = field(factory=Hand)
    on_read: Callable[["Mark", int], None] = lambda mark, seq: None

    def done(self, seq: int) -> None:
        """All up to here has been dealt with, and nothing is in hand."""
        self.hand.first = 0
        self.on_read(self, seq)


class Cursor(Generic[T]):
    """One reader's place in a stream. Iterate for batches, or `records()` for one record at a
    time.

    A cursor belongs to one task. It is only a number: nobody closes it, and it may be left in the
    middle. `read` answers at once; a loop waits for what is new, and ends after the last batch of a
    stream that was closed. Asking for the next batch or record says that the last one has been
    dealt with, for components whose place is kept: what an exception or a cancellation interrupts
    does not count as read, and comes again when the component is started again. What fell off the
    log before it was read is told as the batch's gap; else nothing is missing. Nothing here raises.
    """

    def __init__(
        self,
        stream: Readable[T],
        seq: int,
        *,
        first: bool = False,
        reset: bool = False,
        filter: Filter = ALL,
        on_gap: Callable[[Gap, int | None], None] | None = None,
        held: bool = False,
        mark: Mark | None = None,
    ) -> None:
        self._stream = stream
        self._mark = mark or Mark()
        self._filter = filter
        self._seq = seq
        self._first = first
        self._reset = reset
        self._on_gap = on_gap
        self._held = held
        self._pending: int | None = None
        self._read_ms: int | None = None
        """The time of the newest record that was read: a gap that is found begins there."""

    @property
    def position(self) -> Position:
        """Everything up to here has been read."""
        return Position(self._stream.epoch, self._seq)

    def read(self, limit: int | None = None) -> Batch[T]:
        """What is new, at once; perhaps nothing. For polls."""
        hand = self._mark.hand
        limit = 1 if self._seq < hand.singly_upto else limit
        batch = self._stream.read(
            self._seq, first=self._first, limit=limit, filter=self._filter, held=self._held
        )
        if self._reset:
            batch = evolve(batch, reset=True)
        if batch.gap is not None and self._on_gap is not None:
            self._on_gap(batch.gap, self._read_ms)
        hand.first = 0
        if batch.records:
            self._read_ms = batch.records[-1].time_ms
            hand.first, hand.last = batch.records[0].seq, batch.records[-1].seq
        self._seq = batch.position.seq
        self._first = self._reset = False
        return batch

    def done(self) -> None:
        """Say that all that was read has been dealt with: after a restart it is not read again.

        For who polls with `read` and commits in the same step as publishing; loops say it by going
        on.
        """
        self._mark.done(self._seq)

    def __aiter__(self) -> "Cursor[T]":
        return self

    async def __anext__(self) -> Batch[T]:
        """The next batch. A new reader's first one comes at once, even when the stream is still
        empty.

        Asking for the next batch says that the last one has been dealt with.
        """
        if self._pending is not None:
            self._mark.done(self._pending)
        self._pending = None
        await trio.lowlevel.checkpoint()
        while True:
            fresh = self._first
            if not fresh and not await self._stream.news(self._seq):
                raise StopAsyncIteration
            batch = self.read()
            self._pending = self._seq
            if batch.records or batch.gap or fresh:
                return batch

    def records(self) -> "Records[T]":
        """One record at a time, each counted as read when the loop body is done with it."""
        return Records(self, self._stream, self._mark)


class Records(Generic[T]):
    """A cursor's records one by one. Lets other tasks run every hundred, so that a backlog holds
    nobody up.
    """

    def __init__(self, cursor: Cursor[T], stream: Readable[T], mark: Mark) -> None:
        self._cursor = cursor
        self._mark = mark
        self._stream = stream
        self._done: int | None = None
        self._left: Iterable[Record[T]] = iter(())
        self._end = 0
        self._since_yield = 0

    def __aiter__(self) -> "Records[T]":
        return self

    async def __anext__(self) -> Record[T]:
        mark, hand = self._mark, self._mark.hand
        if self._done is not None:
            mark.done(self._done)
        self._done = None
        while True:
            if self._since_yield >= 100:
                # Before a record is taken: one that was taken and cancelled would be lost.
                self._since_yield = 0
                await trio.lowlevel.checkpoint()
            for record in self._left:
                self._since_yield += 1
                self._done = hand.first = hand.last = record.seq
                return record
            if self._end:
                mark.done(self._end)
            await trio.lowlevel.checkpoint()
            if not await self._stream.news(self._cursor.position.seq):
                raise StopAsyncIteration
            batch = self._cursor.read()
            self._end, hand.first = batch.position.seq, 0
            self._left = iter(batch.records)
