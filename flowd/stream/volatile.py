"""A store and a journal in memory, for tests: they outlive every daemon, and no process."""

from collections.abc import AsyncGenerator, Iterable, Sequence
from contextlib import aclosing, asynccontextmanager
from typing import Any

import msgspec
import trio
from attrs import asdict, define, evolve, field

from flowd.stream.cut import Cut
from flowd.stream.frames import Broken, Frame, Head, Saved, Segment, newest, read, unbroken
from flowd.stream.handover import Handover, Known, Names, Opening, Unusable
from flowd.stream.journal import Journal
from flowd.stream.seen import SEEN_MAX
from flowd.stream.snapshot import Loaded, Rows, Save, cuts_of, is_place_in


@define(eq=False)
class _Kept:
    head: Head
    data: bytearray = field(factory=bytearray)
    newest: int = 0


@define(eq=False)
class MemorySegments:
    """Segments that live as long as this object, for tests: through any crash of a daemon, and,
    once `frozen`, through all that a dying one still does. With `full`, nothing can be written.
    """

    kept: list[_Kept] = field(factory=list)
    full: bool = False
    frozen: bool = False
    """Nothing is written any more: the process is dead, whatever its tasks still do."""

    def read(self) -> list[Segment]:
        """All that is there."""
        return [read(one.head, bytes(one.data), one.newest) for one in self.kept]

    def newest(self) -> int:
        """The number of the newest segment, 0 if there is none."""
        return max((one.head.segment for one in self.kept), default=0)

    def begin(self, head: Head) -> None:
        """Start a new, empty segment."""
        self._room()
        if not self.frozen:
            self.kept.append(_Kept(head))

    def write(self, data: bytes, number: int) -> None:
        """Write one frame."""
        self._room()
        if not self.frozen:
            self.kept[-1].data += data
            self.kept[-1].newest = number

    def _room(self) -> None:
        if self.full:
            raise OSError(28, "No space left on device")

    def drop_before(self, segment: int) -> None:
        """Forget the segments before this one."""
        if not self.frozen:
            self.kept = [one for one in self.kept if one.head.segment >= segment]

    def invalidate(self) -> None:
        """Forget all."""
        if not self.frozen:
            self.kept.clear()


class MemoryStore:
    """A store without a disk, for tests: what was saved and journaled lives as long as this object,
    through any crash.

    `freeze` is the death of the process that has it: whatever its tasks still do leaves no trace.
    With `boot` another, the next load finds that the machine was restarted.
    """

    def __init__(self, name: str = "life") -> None:
        self.name = name
        """What its lives are called, with a number."""
        self.rows: dict[str, Rows] = {}
        self.places: dict[tuple[str, str], int] = {}
        self.saved_ms: int | None = None
        self.clean = False
        self.frame = 0
        self.life: str | None = None
        self.boot = "boot"
        self.saves = 0
        self.led = True
        self.anew: str | None = None
        """Why all begin new epochs when this is loaded next."""
        self.copy_of: str | None = None
        """Whose frames it has, while it stands by, …"""
        self.names = Names()
        """… and which streams they know by number."""
        self.segments = MemorySegments()
        self.journal = Journal(self.segments)
        self._lives = 0

    def freeze(self) -> None:
        """The process is dead."""
        self.segments.frozen = True

    async def load(self) -> Loaded:
        """What the last save and the journal left."""
        await trio.lowlevel.checkpoint()
        self.segments.frozen = True  # for the daemon that had it
        self.segments = MemorySegments(self.segments.kept)
        segments = self.segments.read()
        saved = Saved(self.life, self.clean, self.frame)
        frames: list[Frame] = []
        why: str | None = None
        self._lives += 1
        life = self.life or f"{self.name}{self._lives}"
        if self.saved_ms is not None or segments or self.copy_of is not None:
            try:
                frames = unbroken(saved, segments, self.boot)
            except Broken as error:
                why = str(error)
            if (why := self.anew or why) is not None:
                life = f"{self.name}{self._lives}"
                self.rows = {name: evolve(rows, epoch="") for name, rows in self.rows.items()}
        self.replay(frames)
        loaded = Loaded(self.clean, why, self.saved_ms, dict(self.rows), dict(self.places))
        number = max(self.frame, newest(segments))
        self.journal = Journal(self.segments)
        self.journal.begin(Head(self.segments.newest() + 1, life, self.boot), number)
        self.clean, self.frame, self.life = False, number, life
        self.led, self.anew, self.copy_of = True, None, None
        self.journal.saved()
        return loaded

    def replay(self, frames: Iterable[Frame]) -> None:
        """Keep what frames have."""
        heads = {name: (rows.floor, rows.seen_total) for name, rows in self.rows.items()}
        cuts, places = cuts_of(frames, heads)
        for cut in cuts:
            old = self.rows.get(cut.stream)
            before = 0 if old is None or cut.whole else old.seq
            self._keep(evolve(cut, seq=max(cut.seq, before)))
            if cut.whole:
                kept = [at for at in self.places if not is_place_in(at[1], cut.stream)]
                self.places = {at: self.places[at] for at in kept}
        self.places |= places

    async def save(self, save: Save) -> None:
        """Keep what is new, in one step."""
        await trio.lowlevel.checkpoint()
        if self.segments.frozen:
            return
        for cut in save.cuts:
            self._keep(cut)
        self.places = dict(save.places)
        self.saved_ms, self.clean = save.saved_ms, save.clean
        self.frame, self.life = save.frame, save.life
        self.saves += 1
        self.journal.saved()

    def _keep(self, cut: Cut) -> None:
        old = self.rows.get(cut.stream, Rows(cut.epoch, 0, 0))
        kept = [] if cut.whole else old.records
        slots = {row[2] if row[2] is not None else row[0]: row for row in kept}
        for key in cut.forgotten:
            slots.pop(key, None)
        for record in cut.records:
            row = (record.seq, record.time_ms, record.key, record.json)
            slots[record.key if record.key is not None else record.seq] = row
        records = sorted(row for row in slots.values() if row[0] > cut.floor)
        # A cut begins anew after a restart that was not clean: its ids take their old places.
        known = len(old.seen) - (old.seen_total - (cut.seen_total - len(cut.seen)))
        seen = [*([] if cut.whole else old.seen[: max(0, known)]), *cut.seen][-SEEN_MAX:]
        self.rows[cut.stream] = Rows(cut.epoch, cut.seq, cut.floor, records, seen, cut.seen_total)

    @asynccontextmanager
    async def handover(self) -> AsyncGenerator[Handover | None]:
        """What the last save left."""
        await trio.lowlevel.checkpoint()
        if self.life is None:
            yield None
            return

        async def parts(data: bytes) -> AsyncGenerator[bytes, None]:
            yield data

        rows = {name: asdict(one) for name, one in self.rows.items()}
        data = msgspec.msgpack.encode((rows, list(self.places.items()), self.saved_ms))
        async with aclosing(parts(data)) as found:
            yield Handover(Opening(self.life, self.frame, self.journal.opened), found)

    def disown(self) -> None:
        """Another one has gone on."""
        self.led = False

    async def close(self) -> None:
        """Nothing to let go of."""
        await trio.lowlevel.checkpoint()

    def figures(self) -> dict[str, Any]:
        """It is nowhere."""
        return {"path": None, "bytes": 0, "kept_bytes": 0}


class MemoryReplica:
    """A `MemoryStore` that stands by, for tests."""

    def __init__(self, store: MemoryStore) -> None:
        self.store = store
        self.bases = 0

    async def known(self) -> Known:
        """How far it goes."""
        await trio.lowlevel.checkpoint()
        store = self.store
        store.segments.frozen = True  # for the daemon that had it
        store.segments = MemorySegments(store.segments.kept)
        if store.copy_of is not None:
            return Known(store.copy_of, store.frame)
        segments = store.segments.read()
        if store.saved_ms is None and not segments:
            return Known()
        try:
            unbroken(Saved(store.life, store.clean, store.frame), segments, store.boot)
        except Broken:
            return Known(None, 0, store.led)
        return Known(store.life, max(store.frame, newest(segments)), store.led)

    async def install(self, handover: Handover) -> None:
        """Be this."""
        data = b"".join([part async for part in handover.parts])
        try:
            rows, places, saved_ms = msgspec.msgpack.decode(data)
        except (msgspec.MsgspecError, ValueError) as error:
            raise Unusable(str(error)) from None
        store, opening = self.store, handover.opening
        for one in rows.values():
            one["records"] = [tuple(record) for record in one["records"]]
        store.rows = {name: Rows(**one) for name, one in rows.items()}
        store.places = {(component, stream): seq for (component, stream), seq in places}
        store.saved_ms, store.clean, store.life = saved_ms, True, None
        store.copy_of, store.frame, store.led = opening.life, opening.frame, False
        store.segments = MemorySegments()
        store.names = Names(opening.streams)
        self.bases += 1

    async def apply(self, frames: Sequence[Frame]) -> None:
        """Go on by these frames."""
        await trio.lowlevel.checkpoint()
        if frames:
            self.store.replay(self.store.names.complete(frames))
            self.store.frame = frames[-1].number

    async def close(self) -> None:
        """Nothing to let go of."""
        await trio.lowlevel.checkpoint()
