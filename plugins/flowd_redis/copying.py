"""One stream as it is copied from Redis: what its entries do to it, where something is missing, and
how it is filled again.

Nothing here knows the network: `Reader` is what is asked, which raises when it cannot answer.
"""

import logging
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import trio
from attrs import define, field

from flowd.plugin import Mirror, UpstreamError, codec
from flowd_redis.layout import (
    Carried,
    Entry,
    Fields,
    Forgotten,
    Malformed,
    Meta,
    Missing,
    decode,
    decode_id,
    mirrored,
)

logger = logging.getLogger("flowd.redis")

PORTION = 100
"""Entries that are taken before others are let run."""
FILLS_MAX = 5
"""What Redis lets go of faster than it can be read is not filled for ever."""
LARGE_KEYS = 2000
"""A table with more is filled while no other such one is, since all of it is held meanwhile."""

Entries = Sequence[tuple[bytes, Fields]]
"""Ids and fields, in order."""


class Reader(Protocol):
    """What is asked of Redis about one stream at a time. UpstreamError where it does not answer,
    Unreadable where that stream alone cannot be read.
    """

    async def meta(self, stream: str) -> Meta | None:
        """What its hash says; None where there is none."""
        ...

    async def page(self, stream: str, epoch: str, after: bytes) -> Entries:
        """The entries behind this id, as many as go at once; none at the end."""
        ...

    async def gone(self, stream: str, epoch: str) -> bool:
        """Whether its entries were taken away, which is not the same as that there are none."""
        ...

    async def table(self, stream: str, epoch: str) -> Mapping[bytes, bytes]:
        """The JSON of each key, each as it was at some time while this was read."""
        ...


class Unreadable(UpstreamError):
    """One stream cannot be read as it is there; the others can. The message says why, and what to
    do.
    """


class Anew(Exception):
    """What is in Redis is not what this daemon was wired for: the message says why."""


class Hole(Exception):
    """Redis no longer has what comes next of a table, which is to be filled from its hash."""


@define(eq=False)
class Copying:
    """A stream on its way from Redis. `fill` first; then `apply` what comes behind `at`."""

    mirror: Mirror[Any]
    at: bytes = b"0-0"
    """The id of the entry that was read last."""
    malformed: int = 0
    last_ms: int | None = field(init=False)
    """When the newest record that was taken was appended, by the clock of the ingest daemon."""

    def __attrs_post_init__(self) -> None:
        self.last_ms = self.mirror.newest_ms
        self._go_on()

    @property
    def name(self) -> str:
        """The stream's name."""
        return self.mirror.name

    @property
    def epoch(self) -> str:
        """In which it is numbered."""
        return self.mirror.head.epoch

    async def fill(self, reader: Reader, large: trio.Lock | None = None) -> None:
        """Take all that Redis has as this begins, from the head on. Where it has less than is here,
        as after its data was lost, what is here stays, and nothing is taken twice. Unreadable where
        that goes for this stream alone. Of many keys `large` is held meanwhile.
        """
        why = ""
        for _ in range(FILLS_MAX):
            meta = await reader.meta(self.name)
            if meta is None:
                return
            self.check(meta)
            try:
                if meta.table and meta.keys > LARGE_KEYS and large is not None:
                    async with large:
                        await self._fill_table(reader, await self._now(reader))
                elif meta.table:
                    await self._fill_table(reader, meta)
                self._go_on()
                # No further: of one that is busy there would be no end.
                while self.mirror.head.seq < meta.seq:
                    entries = await reader.page(self.name, self.epoch, self.at)
                    if not entries:
                        break
                    await self.apply(entries)
            except Hole as hole:
                why = str(hole)
                continue  # It was let go of while it was read: once more, from further on.
            if not self.mirror.table and meta.seq > self.mirror.head.seq:
                if await reader.gone(self.name, self.epoch):
                    raise Unreadable(
                        f"Redis lost the entries of {self.name}: the ingest daemon has to send "
                        "them again"
                    )
                # Its entries are too old, and there are none any more; the newest are here.
                self.mirror.skip(meta.seq)
                self._go_on()
            return
        raise Unreadable(f"{self.name} cannot be read whole: {why}")

    async def _now(self, reader: Reader) -> Meta:
        meta = await reader.meta(self.name)
        if meta is None or meta.epoch != self.epoch:
            raise Hole(f"{self.name}: it was taken away while it was read")
        return meta

    def astray(self, meta: Meta) -> bool:
        """Whether an entry that is not flowd's was read, behind which none of flowd's will come."""
        return decode_id(self.at)[0] > max(self.mirror.head.seq, meta.seq)

    def check(self, meta: Meta) -> None:
        """Anew where this cannot go on: in another epoch, or where it is not served as it was wired
        any more, such as without a token. What was empty may turn out a table.
        """
        if meta.epoch != self.epoch:
            raise Anew(f"{self.name} is numbered anew, in epoch {meta.epoch}")
        now = mirrored(meta)
        for what in ("record", "kind", "protected", "retain", "age_s"):
            before, after = getattr(self.mirror.there, what), getattr(now, what)
            if before != after:
                raise Anew(f"{self.name} is another one now: {what} is {after!r}, not {before!r}")
        self.mirror.table = self.mirror.table or meta.table

    async def apply(self, entries: Entries) -> None:
        """Take these. Hole where a table has to be filled first."""
        for number, (id, fields) in enumerate(entries, 1):
            try:
                entry = decode(id, fields)
            except Malformed as error:
                self._refuse(error)
            else:
                self._apply(entry)
            self.at = id
            if not number % PORTION:
                await trio.lowlevel.checkpoint()

    def _apply(self, entry: Entry) -> None:
        mirror = self.mirror
        head = mirror.head.seq
        if isinstance(entry, Forgotten):
            # What was forgotten before the head may have come again since.
            if entry.seq >= head:
                mirror.forget(entry.key)
        elif entry.seq <= head:
            return
        elif isinstance(entry, Missing):
            if mirror.table:
                raise Hole(f"{self.name}: {entry.gap.first} to {entry.gap.last} never came")
            mirror.skip(entry.seq)
        else:
            self._take(entry, head)

    def _take(self, entry: Carried, head: int) -> None:
        mirror = self.mirror
        mirror.table = mirror.table or (entry.seq > head + 1 and _key(entry.json) != b"")
        if mirror.table and entry.after > head:
            raise Hole(f"{self.name}: {head + 1} to {entry.after} are gone")
        if not mirror.table and entry.seq > head + 1:
            # Without keys nothing is superseded: what is not here is missing.
            mirror.skip(entry.seq - 1)
        try:
            record = mirror.take(entry.json)
        except (ValueError, TypeError) as error:
            self._refuse(error)
            record = None
        if record is not None:
            self.last_ms = record.time_ms
        if mirror.head.seq < entry.seq and not mirror.table:
            mirror.skip(entry.seq)

    async def _fill_table(self, reader: Reader, before: Meta) -> None:
        """Make it what it was at one number. A hash is read while it changes, so what came since is
        put over what was read: Hole where some of that is gone, or the hash is not whole.
        """
        upto = before.seq
        found = dict(await reader.table(self.name, self.epoch))
        meta = await self._now(reader)
        if meta == before and meta.keys != len(found):
            raise Hole(f"{self.name}: its table has {len(found)} keys, and should have {meta.keys}")
        at = b"%d-0" % upto
        while upto < meta.seq:
            entries = await reader.page(self.name, self.epoch, at)
            if not entries:
                raise Hole(f"{self.name}: {upto + 1} to {meta.seq} are gone")
            for id, fields in entries:
                try:
                    entry = decode(id, fields)
                except Malformed as error:
                    self._refuse(error)
                    continue
                if isinstance(entry, Carried):
                    if entry.after > upto:
                        raise Hole(f"{self.name}: {upto + 1} to {entry.after} are gone")
                    found[_key(entry.json)] = entry.json
                elif isinstance(entry, Forgotten):
                    found.pop(entry.key.encode(), None)
                upto, at = max(upto, entry.seq), id
            await trio.lowlevel.checkpoint()
        try:
            await self.mirror.fill([(json, None) for json in found.values()], upto)
        except ValueError as error:
            raise Unreadable(
                f"{self.name}: what is in Redis does not fit here: {error}. "
                "Is it the same flowd, with the same plugins, on both sides?"
            ) from None

    def _go_on(self) -> None:
        self.at = b"%d-0" % self.mirror.head.seq

    def _refuse(self, error: Exception) -> None:
        self.malformed += 1
        if self.malformed == 1 or not self.malformed % 1000:
            logger.warning("%s: not taken: %s (%d so far)", self.name, error, self.malformed)


def _key(json: bytes) -> bytes:
    """The key of a record; empty where it has none."""
    try:
        found = codec.decode(json)
        return str(found.get("key") or "").encode()
    except (ValueError, AttributeError):
        return b""
