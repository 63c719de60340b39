"""The records of a stream by what they are about, found without looking at all the others."""

from bisect import bisect_left, bisect_right
from collections import deque
from collections.abc import Callable
from itertools import islice
from math import inf
from typing import Generic, TypeVar

import trio

from flowd.stream.inputs import Input
from flowd.values.record import Record

T = TypeVar("T")
G = TypeVar("G")

AT_ONCE = 500
"""Records that are noted before others are let run."""
CHECKED = 3
"""Older records that are looked at for each new one, whether the stream has let them go."""


class Index(Generic[T, G]):
    """Finds a stream's records by group and place; kept up to date by whoever asks.

    `group` says what a record is about, a word that can be hashed. `place` is where it lies within
    its group, a time in milliseconds for example; by default groups are in the order of the stream.
    Of two records at one place the later one counts. Both are asked of a record's value, always
    give the same for the same, and do not raise.

    What the stream has let go is found no more. Its memory is given back while new records are
    noted, so that an index never holds much more than half of what the stream retains besides.
    """

    def __init__(
        self,
        records: Input[T],
        group: Callable[[T], G],
        place: Callable[[T], int] | None = None,
    ) -> None:
        self._records = records
        self._group = group
        self._place = place
        self._seq = 0
        self._groups: dict[G, tuple[list[int], list[Record[T]]]] = {}
        self._noted: deque[Record[T]] = deque()
        """All that is held, in the order in which it is looked at again."""

    def __len__(self) -> int:
        """How many records are held, also of those that the stream has let go."""
        return len(self._noted)

    async def update(self) -> None:
        """Note what the stream holds now, in portions between which others run. What comes
        meanwhile is not waited for.
        """
        head = self._records.head.seq
        self._read()
        # Between two checkpoints nothing else runs: whoever asks meanwhile takes the next portion.
        while self._seq < head:
            await trio.lowlevel.checkpoint()
            self._read()

    def groups(self) -> list[G]:
        """The groups of which something is retained."""
        retains = self._records.retains
        # The newest are most likely to be there still.
        return [
            group
            for group, (_, records) in self._groups.items()
            if any(map(retains, reversed(records)))
        ]

    def find(
        self,
        group: G,
        low: float = -inf,
        high: float = inf,
        *,
        most: int | None = None,
        backward: bool = False,
    ) -> list[Record[T]]:
        """A group's records whose places lie in a range, both ends included: in their order, or
        `backward`, and of these the first `most`.
        """
        places, records = self._groups.get(group, ((), ()))
        found = records[bisect_left(places, low) : bisect_right(places, high)]
        retained = filter(self._records.retains, reversed(found) if backward else found)
        return list(islice(retained, most))

    def _read(self) -> None:
        batch = self._records.read(self._seq, first=True, limit=AT_ONCE)
        self._seq = batch.position.seq
        for record in batch.records:
            self._note(record)
        self._noted.extend(batch.records)
        for _ in range(min(CHECKED * len(batch.records), len(self._noted))):
            record = self._noted.popleft()
            if self._records.retains(record):
                self._noted.append(record)
            else:
                self._drop(record)

    def _where(self, record: Record[T]) -> tuple[G, int]:
        place = record.seq if self._place is None else self._place(record.value)
        return self._group(record.value), place

    def _note(self, record: Record[T]) -> None:
        group, place = self._where(record)
        places, records = self._groups.setdefault(group, ([], []))
        index = len(places) if not places or place > places[-1] else bisect_left(places, place)
        if index < len(places) and places[index] == place:
            records[index] = record
        else:
            places.insert(index, place)
            records.insert(index, record)

    def _drop(self, record: Record[T]) -> None:
        group, place = self._where(record)
        places, records = self._groups.get(group, ([], []))
        index = bisect_left(places, place)
        # Unless a later one took its place.
        if index < len(places) and records[index] is record:
            del places[index], records[index]
            if not places:
                del self._groups[group]
