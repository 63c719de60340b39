"""A stream as a snapshot takes it, and as it is given back."""

from collections.abc import Sequence
from typing import Any, Generic, Protocol, TypeVar

from attrs import frozen

from flowd.values.record import Record

T = TypeVar("T")


class Changes(Protocol):
    """Where a stream notes what changes, as `flowd.stream.journal` words it."""

    def append(self, change: Sequence[Any], /) -> None:
        """One change, in the step in which it happened."""


OTHERS = "~"
"""How the epoch of a stream that another daemon numbers begins where it is saved."""


class Numbered(Protocol):
    """A stream, as far as its numbers go."""

    epoch: str
    mirrored: bool


def saved_epoch(stream: Numbered) -> str:
    """A stream's epoch as it is saved: that of another daemon is none of ours. Who numbers the
    stream himself one day must not go on in it, for one number would be two records.
    """
    return f"{OTHERS}{stream.epoch}" if stream.mirrored else stream.epoch


@frozen
class Saved(Generic[T]):
    """A stream as a snapshot holds it."""

    seq: int
    floor: int
    records: list[Record[T]]
    seen: list[str]
    seen_total: int


@frozen
class Cut:
    """What a stream has that the last save did not: new records, keys forgotten, ids seen. Taken
    at one instant. Whoever has saved it may take the records out.
    """

    stream: str
    epoch: str
    seq: int
    floor: int
    records: list[Record[Any]]
    forgotten: list[str]
    seen: list[str]
    seen_total: int
    length: int
    """How many records it retains, so that one that is missing later is missed."""
    whole: bool = False
    """These are all its records: whatever else is saved of it is there no more."""
