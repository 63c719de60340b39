"""A Redis that is written in by hand, with the entries that a daemon writes, for the tests of who
reads them.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import trio
from attrs import define, evolve, field
from flowd_redis.beats import Heard
from flowd_redis.copying import Entries, Unreadable
from flowd_redis.layout import Meta, decode_id, record_fields

from flowd.plugin import Peer, Record
from flowd.stream.log import Stream


def wire(fields: Mapping[str, bytes | str]) -> dict[bytes, bytes]:
    """Fields as Redis gives them back."""
    return {
        name.encode(): text.encode() if isinstance(text, str) else text
        for name, text in fields.items()
    }


@define(eq=False)
class Kept:
    """What Redis has of one stream."""

    meta: Meta
    entries: list[tuple[bytes, dict[bytes, bytes]]] = field(factory=list)
    table: dict[bytes, bytes] = field(factory=dict)
    forgets: int = 0


class Shelf:
    """All that Redis has. `pages` is how many entries it gives at once."""

    def __init__(self, pages: int = 3) -> None:
        self.kept: dict[str, Kept] = {}
        self.pages = pages
        self.asked: list[str] = []
        self.during: list[Callable[[], None]] = []
        """What happens while a hash is read: one for each time."""
        self.held = False
        """Whether what is new is kept from who follows."""
        self.error: Exception | None = None
        self.strange: set[tuple[str, str]] = set()
        """What somebody else wrote a string over: the hash, entries or table of these streams."""
        self.lost: set[str] = set()
        """Streams whose entries were taken away."""
        self.ingest = Peer("one:7:0", "ingest", "one", 7, "1", ("http://one:4200/",))
        self.silent_since: float | None = None
        """Since when the ingest daemon says nothing; None while it does."""
        self.ahead_ms = 0
        """By how much the clock of the ingest daemon is ahead of Redis', and …"""
        self.clock_ms = 0
        self.trouble: str | None = None
        """… that of who reads here."""

    # -- written by the ingest daemon --

    def begin(self, stream: str, *, epoch: str = "e1", table: bool = False) -> Kept:
        """A stream, with nothing in it yet."""
        kept = self.kept[stream] = Kept(Meta(epoch, "Order", 5000, table=table))
        return kept

    def write(self, stream: str, record: Record[Any]) -> None:
        """One more record."""
        kept = self.kept[stream]
        fields = record_fields(record, kept.meta.epoch, kept.meta.seq)
        kept.entries.append((b"%d-0" % record.seq, wire(fields)))
        kept.meta = evolve(kept.meta, seq=record.seq, time_ms=record.time_ms)
        kept.forgets = 0
        if record.key is not None:
            kept.table[record.key.encode()] = record.json
            kept.meta = evolve(kept.meta, keys=len(kept.table))

    def carry(self, source: Stream[Any], after: int = 0) -> None:
        """All that a stream retains and is newer."""
        for record in source.after(after):
            self.write(source.name, record)

    def forget(self, stream: str, key: str) -> None:
        """A key holds nothing any more."""
        kept = self.kept[stream]
        kept.forgets += 1
        id = b"%d-%d" % (kept.meta.seq, kept.forgets)
        kept.entries.append((id, {b"forget": key.encode()}))
        kept.table.pop(key.encode(), None)
        kept.meta = evolve(kept.meta, keys=len(kept.table))

    def gap(self, stream: str, first: int, last: int) -> None:
        """Numbers that never come."""
        kept = self.kept[stream]
        kept.entries.append((b"%d-1" % last, {b"gap": b"%d-%d" % (first, last)}))
        kept.meta = evolve(kept.meta, seq=last)

    def trim(self, stream: str, count: int) -> None:
        """Only the newest entries are left."""
        kept = self.kept[stream]
        kept.entries = kept.entries[-count:] if count else []

    def silence(self) -> None:
        """The ingest daemon says no more that it lives."""
        self.silent_since = trio.current_time()

    # -- what is asked --

    async def beat(self) -> list[Heard]:
        await self._answer("beat")
        silent_s = 0.0 if self.silent_since is None else trio.current_time() - self.silent_since
        heard = Heard(evolve(self.ingest, age_ms=round(silent_s * 1000)), self.ahead_ms)
        return [heard] if silent_s < 60 else []

    async def names(self) -> set[str]:
        await self._answer("names")
        return set(self.kept)

    async def metas(self, streams: Iterable[str]) -> dict[str, Meta | Unreadable | None]:
        await self._answer("metas")
        return {
            name: self._unreadable("hash", name)
            or (self.kept[name].meta if name in self.kept else None)
            for name in streams
        }

    async def meta(self, stream: str) -> Meta | None:
        await self._answer("meta")
        self._read("hash", stream)
        return self.kept[stream].meta if stream in self.kept else None

    async def page(self, stream: str, epoch: str, after: bytes) -> Entries:
        await self._answer("page")
        self._read("entries", stream)
        return await self._entries(stream, epoch, after)

    async def _entries(self, stream: str, epoch: str, after: bytes) -> Entries:
        kept = self.kept.get(stream)
        if kept is None or kept.meta.epoch != epoch:
            return []
        newer = [entry for entry in kept.entries if decode_id(entry[0]) > decode_id(after)]
        return newer[: self.pages]

    async def gone(self, stream: str, epoch: str) -> bool:
        await self._answer("gone")
        return stream in self.lost

    async def table(self, stream: str, epoch: str) -> Mapping[bytes, bytes]:
        await self._answer("table")
        self._read("table", stream)
        keys = list(self.kept[stream].table) if stream in self.kept else []
        found: dict[bytes, bytes] = {}
        for number, key in enumerate(keys):
            if number == len(keys) // 2 and self.during:
                self.during.pop(0)()
            if stream in self.kept and (json := self.kept[stream].table.get(key)) is not None:
                found[key] = json
        return found

    async def news(
        self, places: Mapping[tuple[str, str], bytes], block_ms: int
    ) -> dict[str, Entries | Unreadable]:
        assert places, "XREAD of nothing is an error"
        wrong = {at[0]: self._unreadable("entries", at[0]) for at in places}
        if any(wrong.values()):
            return {name: why for name, why in wrong.items() if why is not None}
        if self.held:
            await trio.sleep(block_ms / 1000)
            return {}
        pages = {at[0]: await self._entries(*at, id) for at, id in places.items()}
        found = {name: entries for name, entries in pages.items() if entries}
        if not found:
            await trio.sleep(block_ms / 1000)
        return {**found}

    def _unreadable(self, what: str, stream: str) -> Unreadable | None:
        why = f"{stream} cannot be read: its {what} is a string"
        return Unreadable(why) if (what, stream) in self.strange else None

    def _read(self, what: str, stream: str) -> None:
        if (why := self._unreadable(what, stream)) is not None:
            raise why

    async def _answer(self, what: str) -> None:
        self.asked.append(what)
        await trio.lowlevel.checkpoint()
        if self.error is not None:
            raise self.error
