"""How much is kept of a stream, and what fell off and somebody within the daemon has still to read.

`retain` is what clients may go back to. A transform that was held up for a moment, or a sink whose
disk was full, must not lose what fell off meanwhile: the stream holds it, up to a limit.
"""

from bisect import bisect_right
from collections.abc import Callable
from operator import attrgetter
from typing import Generic, TypeVar

from attrs import frozen

from flowd.values.record import Record

T = TypeVar("T")

Place = Callable[[], int | None]
"""The seq up to which a reader has dealt with everything; None while it reads nothing here."""

RETAIN_MAX = 1_000_000
"""The most records that any stream may be told to retain."""
COMPACT_FROM = 256
"""What all have read is given back in portions of so many: one by one would cost more."""

DROP_AT_MOST = 1000
"""So many are let go of at once: a whole backlog would hold the loop."""

DROP_FOR_ONE = 10
"""So many are let go of for each that comes: in one step of a source there may be hundreds."""

_seq = attrgetter("seq")


@frozen
class Retain:
    """How much of a stream is kept: the newest `count` records, none older than `age_s` seconds."""

    count: int = 5000
    age_s: float | None = None


@frozen
class Behind:
    """How much a stream holds for readers within the daemon beyond what it retains: so many
    records, and so many bytes of their JSON.
    """

    count: int = 200_000
    bytes: int = 64 * 1024 * 1024


class Held(Generic[T]):
    """Records that fell off, oldest first, until all who have joined have read them."""

    def __init__(self, limit: Behind) -> None:
        self.limit = limit
        self.lost = 0
        """Everything up to this seq is gone for readers within, too."""
        self.bytes = 0
        self._records: list[Record[T]] = []
        self._start = 0
        self._places: list[Place] = []
        self._read: float = 0
        """All have read everything up to here; perhaps more, places only ever grow."""

    def __len__(self) -> int:
        return len(self._records) - self._start

    def join(self, place: Place) -> None:
        """Hold what this reader has not read yet. To be said again when its place was set back."""
        if place not in self._places:
            self._places.append(place)
        self._read = 0

    def leave(self, place: Place) -> None:
        """Hold nothing for this reader any more."""
        self._places.remove(place)
        self._read = 0

    def take(self, record: Record[T]) -> None:
        """This record has fallen off what clients may go back to."""
        if record.seq > self._read:
            self._look()
        if record.seq <= self._read and not self._records:
            self.lost = record.seq
            return
        # Also one that all have read, behind others that are still here: there must be no hole.
        self._records.append(record)
        self.bytes += len(record.json)
        self._drop(DROP_FOR_ONE)

    def let_go(self) -> None:
        """Give back what all have read since."""
        if self._records:
            self._look()
            self._drop(DROP_AT_MOST)

    def clear(self, lost: int) -> None:
        """Let go of all, and of what would have come up to here."""
        self._records, self._start, self.bytes, self.lost = [], 0, 0, lost

    def _look(self) -> None:
        places = [place() for place in self._places]
        self._read = min((seq for seq in places if seq is not None), default=float("inf"))

    def _drop(self, most: int) -> None:
        """Let go of what all have read, and of what is over the limit; of so many at most."""
        records, start, limit = self._records, self._start, self.limit
        end = min(len(records), start + most)
        while start < end and (
            records[start].seq <= self._read
            or len(records) - start > limit.count
            or self.bytes > limit.bytes
        ):
            self.lost = records[start].seq
            self.bytes -= len(records[start].json)
            start += 1
        if start > COMPACT_FROM or start == len(records):
            del records[:start]
            start = 0
        self._start = start

    def after(self, seq: int, upto: int, most: int | None = None) -> list[Record[T]]:
        """What is held that is newer than `seq`, up to and including `upto`; the oldest `most`."""
        low = bisect_right(self._records, seq, self._start, key=_seq)
        high = bisect_right(self._records, upto, low, key=_seq)
        return self._records[low : high if most is None else min(high, low + most)]
