"""A stream that another daemon writes, as it is written again here: each record with its number,
time, key and JSON, so that a reader may go on at any of the daemons with the position it holds.
"""

from collections.abc import Callable, Collection, Iterable
from typing import Any, Generic, TypeVar

import trio
from attrs import frozen

from flowd.stream.log import Stream
from flowd.values.record import Position, Record

T = TypeVar("T")

PORTION = 100
"""Records of a table that are taken in one step: a few milliseconds' work."""


@frozen
class Mirrored:
    """A stream of another daemon, as that one has it.

    `record` is the name of its class, which a plugin here must bring too. `retain` and `age_s` are
    how much is kept of it. Of a `table` some numbers never come: what was superseded or forgotten.
    What is `protected` there by a token must be so here. `kind` is that of the component that
    writes it there, empty where that is not known.
    """

    record: str
    epoch: str
    retain: int = 5000
    age_s: float | None = None
    table: bool = False
    protected: bool = False
    kind: str = ""


class Mirror(Generic[T]):
    """What a source does to one stream that it carries. Nothing here waits but `fill`.

    A history is taken number by number: where some will never come, `skip` says so before the next
    is taken. A table is filled with its newest records, and from then on taken as they come.
    Whatever raises leaves no trace, and what was taken stays, also over restarts.
    """

    def __init__(
        self,
        stream: Stream[T],
        there: Mirrored,
        *,
        on_taken: Callable[[Record[T]], None] = lambda record: None,
        on_lost: Callable[[str, int, int | None], None] = lambda reason, from_ms, to_ms: None,
    ) -> None:
        assert stream.mirrored
        self.there = there
        """What the other daemon said of it when this one was wired."""
        self.table = there.table
        """Whether some of its numbers never come."""
        self._stream = stream
        self._on_taken = on_taken
        self._on_lost = on_lost
        self._since_ms: int | None = None
        """When the record came that was the newest before the gap that was told last."""

    @property
    def name(self) -> str:
        """The stream's name, here and there."""
        return self._stream.name

    @property
    def head(self) -> Position:
        """Everything up to here is here, or was skipped: what comes next is to be newer."""
        return self._stream.head

    @property
    def newest_ms(self) -> int | None:
        """When the newest record was appended, by the clock of who did; None when there is none."""
        newest = self._stream.newest_record
        return None if newest is None else newest.time_ms

    @property
    def keys(self) -> list[str]:
        """The keys of a table."""
        return [record.key for record in self._stream.after(0) if record.key is not None]

    def take(self, json: bytes, *, id: str | None = None) -> Record[T] | None:
        """Append the record that another daemon wrote as this JSON, which is served unchanged; `id`
        is the one that it had there. None when it is no newer than the head.

        ValueError when it is no such record, and when some of a history's are missing before it.
        """
        record = Record.read(json, self._stream.record)
        head = self._stream.seq
        if record.seq <= head:
            return None
        if not self.table and record.seq > head + 1:
            raise ValueError(
                f"{self.name}: after record {head} comes {record.seq}: skip what is missing first"
            )
        self._stream.take(record, id=id)
        self._on_taken(record)
        return record

    def skip(self, upto: int, *, to_ms: int | None = None) -> None:
        """Say that all up to this seq which is not here will not come: who is level is told exactly
        that gap. What was retained before falls off, so that there is no hole; of a table too, so
        `fill` is what a table needs. Nothing to say when the head is there already.

        Where there was something before, it is an outage: from the last record until `to_ms`, when
        the next one was appended, or now.
        """
        first = self.head.seq + 1
        if upto < first:
            return
        # Of a gap right behind another one, what was before both has fallen off already.
        since_ms = self._since_ms = self._since_ms if self.newest_ms is None else self.newest_ms
        self._stream.skip(upto)
        if since_ms is not None:
            reason = f"records {first} to {upto} of {self.name} are missing"
            self._on_lost(reason, since_ms, to_ms)

    def forget(self, key: str) -> None:
        """Drop a key's record, as was done there."""
        self._stream.forget(key)

    async def fill(self, records: Iterable[tuple[bytes, str | None]], upto: int) -> None:
        """Make this table what it was there when its head was `upto`: `records` are its newest, the
        JSON and id of each key, in any order. What is not among them is forgotten, what is newer
        than the head taken, and no reader lacks anything. ValueError as in `take`.

        Others run between portions; in the order of numbers, so that a fill that is cut short goes
        on where it was.
        """
        assert self.table
        read = [(Record.read(json, self._stream.record), id) for json, id in records]
        await self._drop({record.key for record, _ in read})
        newer = [(record, id) for record, id in read if record.seq > self._stream.seq]
        newer.sort(key=lambda one: one[0].seq)
        for number, (record, id) in enumerate(newer, 1):
            self._stream.take(record, id=id)
            self._on_taken(record)
            if not number % PORTION:
                await trio.lowlevel.checkpoint()
        if upto > self._stream.seq:
            self._stream.skip(upto, lost=False)
        await trio.lowlevel.checkpoint()

    async def _drop(self, kept: Collection[Any]) -> None:
        for number, key in enumerate([key for key in self.keys if key not in kept], 1):
            self.forget(key)
            if not number % PORTION:
                await trio.lowlevel.checkpoint()
