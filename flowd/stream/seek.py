"""Where the newest records of a kind begin: looked for in portions, from the newest one back."""

from collections.abc import Iterator
from typing import Any, Protocol

from flowd.values.filters import ALL, Filter
from flowd.values.record import Record

AT_ONCE = 2000
"""Records that are looked at before others are let run."""


class Retained(Protocol):
    """What is asked of a stream."""

    seq: int

    @property
    def floor(self) -> int:
        """All up to here is retained no more."""
        ...

    def __len__(self) -> int: ...

    def after(self, seq: int, *, upto: int | None = ...) -> list[Record[Any]]:
        """All retained records newer than `seq`, up to and including `upto`; oldest first."""
        ...


def seek(stream: Retained, count: int, filter: Filter = ALL) -> Iterator[int | None]:
    """The seq after which exactly the newest `count` matching records lie, 0 when there are fewer:
    the last one that the iterator gives. None says that others may run before it goes on, since a
    filter that finds nothing would hold the loop for long.
    """
    upto = stream.seq
    if count <= 0:
        yield upto
        return
    while upto > stream.floor:
        after = max(stream.floor, upto - AT_ONCE) if len(stream) > AT_ONCE else stream.floor
        for record in reversed(stream.after(after, upto=upto)):
            if filter.where is None or filter.where(record.value):
                count -= 1
                if not count:
                    yield record.seq - 1
                    return
        upto = after
        yield None
    yield 0
