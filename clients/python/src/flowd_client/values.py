"""What a reader is given: records in batches, and how it stands with the connection."""

from typing import Generic, Literal, NamedTuple, TypeVar

from msgspec import Struct

T = TypeVar("T")


class Record(Struct, Generic[T], frozen=True):
    """One thing that happened. `key` is there in tables: the record before it with the same key is
    superseded. Decimal numbers in a `value` are texts, unless `of` says otherwise.
    """

    seq: int
    time_ms: int
    value: T
    key: str | None = None


class Gap(NamedTuple):
    """The records `first` to `last`, both included, will not come."""

    first: int
    last: int


class Batch(Struct, Generic[T], frozen=True):
    """What came at once, oldest first.

    `position` is where it leads to: kept, and given as `after`, it is where another reader goes on.
    With `first` a snapshot begins, which takes the place of all that came before; it may be empty.
    A `gap` lies before these records. `reset` says that the position was of another epoch: the
    daemon lost its past, and everything comes anew.
    """

    records: tuple[Record[T], ...]
    position: str
    first: bool = False
    gap: Gap | None = None
    reset: bool = False


class Status(Struct, frozen=True):
    """How it stands with the connection. `slow` is connected too, but we read more slowly than
    records come, and were `behind` by so many when the daemon last said so.

    `since_ms` is when this began, in milliseconds since 1970. `reconnects` counts connections after
    the first. `reason` says why it is disconnected, and `retry_in_s` how long after `since_ms` it
    tries again.
    """

    state: Literal["connected", "slow", "disconnected"]
    since_ms: int
    reconnects: int = 0
    reason: str = ""
    retry_in_s: float | None = None
    behind: int | None = None


class Position(NamedTuple):
    """Everything up to `seq` has been seen, in the life of the stream that `epoch` names."""

    epoch: str
    seq: int

    @classmethod
    def parse(cls, text: str) -> "Position":
        """ValueError when it is none."""
        epoch, dot, seq = text.rpartition(".")
        if not epoch or not dot or not seq.isascii() or not seq.isdigit():
            raise ValueError(f"{text!r:.80} is no position")
        return cls(epoch, int(seq))

    def __str__(self) -> str:
        return f"{self.epoch}.{self.seq}"
