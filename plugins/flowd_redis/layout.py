"""How streams lie in Redis: the names of keys, and what is in them. Pure functions and values,
which who writes and who reads share; docs/reference/redis.md says the same to everybody.

Of one stream there are three keys, in one slot of a cluster: the hash `flowd:{NAME}` says which
epoch is the current one and how far it goes, the stream `flowd:{NAME}:EPOCH` has the records, and
`flowd:{NAME}:EPOCH:table` the newest one of each key. The set `flowd:streams` has the names, the
hash `flowd:peers` all daemons that live, whether they write or read.
"""

import re
from collections.abc import Mapping

from attrs import frozen

from flowd.plugin import Gap, Mirrored, Position, Record

_ID = re.compile(rb"([0-9]{1,18})-([0-9]{1,18})")
_GAP = re.compile(rb"([0-9]{1,18})-([0-9]{1,18})")

Fields = Mapping[bytes, bytes]


class Malformed(ValueError):
    """What is in Redis was not written by flowd, or by a later one; the message says what."""


@frozen
class Keys:
    """The names of all keys, which begin with `prefix`."""

    prefix: str = "flowd"

    @property
    def streams(self) -> str:
        """The set of all streams' names."""
        return f"{self.prefix}:streams"

    @property
    def peers(self) -> str:
        """The hash of all daemons that live."""
        return f"{self.prefix}:peers"

    def meta(self, stream: str) -> str:
        """The hash that tells of a stream."""
        return f"{self.prefix}:{{{stream}}}"

    def entries(self, stream: str, epoch: str) -> str:
        """The Redis stream with its records."""
        return f"{self.prefix}:{{{stream}}}:{epoch}"

    def table(self, stream: str, epoch: str) -> str:
        """The hash with the newest JSON of each key."""
        return f"{self.prefix}:{{{stream}}}:{epoch}:table"


@frozen
class Meta:
    """What the hash of a stream tells: its current epoch, of which Redis has everything up to
    `seq`; the class of its records; how much the daemon that writes it retains.

    `time_ms` is that of the newest record, 0 before the first. `keys` are how many the hash of its
    table holds: one with others is not whole. `table` is false until a record with
    a key has come. `protected` says that the writer's clients need a token to read it; `kind` is
    that of the component that writes it, empty for what flowd writes itself.
    """

    epoch: str
    record: str
    retain: int
    age_ms: int | None = None
    protected: bool = False
    table: bool = False
    seq: int = 0
    time_ms: int = 0
    kind: str = ""
    keys: int = 0

    @property
    def position(self) -> Position:
        """How far Redis has it."""
        return Position(self.epoch, self.seq)

    def encode(self) -> dict[str, str]:
        """The fields of the hash, all of them."""
        return {
            "epoch": self.epoch,
            "record": self.record,
            "kind": self.kind,
            "retain": str(self.retain),
            "age_ms": "" if self.age_ms is None else str(self.age_ms),
            "protected": str(int(self.protected)),
            "table": str(int(self.table)),
            "seq": str(self.seq),
            "time_ms": str(self.time_ms),
            "keys": str(self.keys),
        }

    @classmethod
    def decode(cls, fields: Fields) -> "Meta | None":
        """What a hash tells, None where there is none; Malformed for what is no such hash. Fields
        that we do not know are a later flowd's.
        """
        if not fields:
            return None
        try:
            age = fields[b"age_ms"]
            return cls(
                fields[b"epoch"].decode("ascii"),
                fields[b"record"].decode(),
                int(fields[b"retain"]),
                int(age) if age else None,
                fields[b"protected"] != b"0",
                fields[b"table"] != b"0",
                int(fields[b"seq"]),
                int(fields[b"time_ms"]),
                fields.get(b"kind", b"").decode(),
                int(fields.get(b"keys", b"0")),
            )
        except (KeyError, ValueError) as error:
            raise Malformed(f"its hash is not as flowd writes it: {error!r}") from None


def mirrored(meta: Meta) -> Mirrored:
    """A stream as its hash tells of it."""
    return Mirrored(
        meta.record,
        meta.epoch,
        meta.retain,
        None if meta.age_ms is None else meta.age_ms / 1000,
        table=meta.table,
        protected=meta.protected,
        kind=meta.kind,
    )


@frozen
class Carried:
    """A record: the JSON that every reader gets, unchanged. `after` is the number that the entry
    before it reached: what lies between was superseded before it was sent, and misses nobody. A
    reader who has less than `after` has a hole up to there.
    """

    seq: int
    json: bytes
    after: int


@frozen
class Forgotten:
    """A key that the stream dropped, when it had reached `seq`."""

    seq: int
    key: str


@frozen
class Missing:
    """Records that Redis never got: `gap`, the last of which is how far the entry reaches."""

    gap: Gap

    @property
    def seq(self) -> int:
        """How far it reaches."""
        return self.gap.last


Entry = Carried | Forgotten | Missing


def record_fields(record: Record[object], epoch: str, after: int) -> dict[str, bytes | str]:
    """The fields of a record's entry, whose id is `<seq>-0`."""
    fields: dict[str, bytes | str] = {"json": record.json, "epoch": epoch, "seq": str(record.seq)}
    if after != record.seq - 1:
        fields["after"] = str(after)
    return fields


def decode_id(id: bytes) -> tuple[int, int]:
    """The two numbers of an entry's id, of which the first is a seq; Malformed."""
    match = _ID.fullmatch(id)
    if match is None:
        raise Malformed(f"not the id of an entry: {id!r:.60}")
    return int(match[1]), int(match[2])


def decode(id: bytes, fields: Fields) -> Entry:
    """What an entry says; Malformed when flowd did not write it."""
    seq, number = decode_id(id)
    if (json := fields.get(b"json")) is not None and number == 0:
        after = _number(fields.get(b"after", b"%d" % (seq - 1)))
        if 0 <= after < seq:
            return Carried(seq, json, after)
    elif (key := fields.get(b"forget")) is not None:
        try:
            return Forgotten(seq, key.decode())
        except UnicodeDecodeError:
            pass
    elif (text := fields.get(b"gap")) is not None:
        match = _GAP.fullmatch(text)
        if match is not None and 0 < int(match[1]) <= int(match[2]) == seq:
            return Missing(Gap(int(match[1]), int(match[2])))
    raise Malformed(f"not an entry of flowd's: {id.decode()} with {sorted(fields)!r:.100}")


def _number(text: bytes) -> int:
    return int(text) if text.isdigit() and len(text) <= 18 else -1
