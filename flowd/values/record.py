"""The values that pass through flowd: a record, a position in a stream, a batch of records."""

import re
from typing import Any, Generic, TypeVar

from attrs import define, field, frozen

from flowd.values import codec

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)

SEQ_END = 10**18
"""No seq has more digits than a position may have."""

_POSITION = re.compile(r"([a-z0-9]{1,16})\.([0-9]{1,18})", re.ASCII)


@frozen
class Position:
    """A place in a stream, written `epoch.seq`: all that a client ever needs to hold.

    Within one epoch the same `seq` is the same record, for ever and on every daemon. Everything up
    to and including `seq` has been seen.
    """

    epoch: str
    seq: int

    def __str__(self) -> str:
        return f"{self.epoch}.{self.seq}"

    @classmethod
    def parse(cls, text: str) -> "Position":
        """The position that `text` writes; ValueError when it writes none."""
        match = _POSITION.fullmatch(text)
        if match is None:
            raise ValueError(f'a position looks like "k3v9.18231", not {text!r:.60}')
        return cls(match[1], int(match[2]))


@define(eq=False)
class Record(Generic[T_co]):
    """One thing that happened. `time_ms` is when flowd appended it; the value's own times are in
    the value.
    """

    seq: int
    time_ms: int
    value: T_co
    key: str | None = None
    _json: bytes | None = field(default=None, repr=False)

    @classmethod
    def written(cls, seq: int, time_ms: int, key: str | None, json: bytes) -> "Record[Any]":
        """A record as it was written, for who writes it again: it has its JSON, and no value."""
        return Record(seq, time_ms, None, key, json)

    @classmethod
    def read(cls, json: bytes, kind: type[T]) -> "Record[T]":
        """The record that another daemon wrote as this `json`, which it keeps as it is. ValueError
        when there is none, or its value is no `kind`.
        """
        found = codec.decode(json)
        try:
            seq, time_ms, key = found["seq"], found["time_ms"], found.get("key")
            plain = found["value"]
        except (TypeError, KeyError, AttributeError):
            raise ValueError(f"not a record: {json!r:.60}") from None
        numbered = type(seq) is type(time_ms) is int and 0 < seq < SEQ_END
        # One line: so it is in many a format in which it travels.
        if not numbered or not isinstance(key, str | None) or b"\n" in json or b"\r" in json:
            raise ValueError(f"not a record: {json!r:.60}")
        return Record(seq, time_ms, codec.structure(plain, kind), key, json)

    def hollow(self) -> "Record[Any]":
        """What keeps its place in a log once nobody reads it there any more: it has no value."""
        return Record(self.seq, self.time_ms, None, self.key)

    @property
    def json(self) -> bytes:
        """`{"seq", "time_ms", "value"}`, with `"key"` in a table; made once, whoever asks first."""
        made = self._json
        if made is None:
            key = b"" if self.key is None else b',"key":' + codec.encode(self.key)
            value = codec.dumps(self.value)
            made = b'{"seq":%d,"time_ms":%d%b,"value":%b}' % (self.seq, self.time_ms, key, value)
            self._json = made
        return made


@frozen
class Gap:
    """Records `first` to `last` (both included) are gone and this reader did not get them."""

    first: int
    last: int


@frozen(eq=False)
class Batch(Generic[T_co]):
    """What a reader gets at once: records in order, and the position that reading them leads to.

    `first` marks the start of a snapshot: forget what you had, this is all that is retained. `gap`
    is what fell off the log before this reader came by. `reset` says that the reader's own
    position was of another epoch and means nothing any more; a reset batch is also `first`. It was
    read from `after` on: that is where the reader was.
    """

    stream: str
    records: list[Record[T_co]]
    position: Position
    first: bool = False
    gap: Gap | None = None
    reset: bool = False
    after: int = 0
