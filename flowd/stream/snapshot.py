"""The snapshot: all streams and cursors of one instant, saved every few seconds and at stop,
restored at start.

A cut is taken without a checkpoint, so that streams and the places of their readers belong
together; one worker thread writes only what is new. What came after the last save is in the journal
(`flowd.stream.journal`). Where that is whole, streams go on in their epochs, as if nothing had
happened; where it is not, they take new ones, because what was served is gone.
"""

import logging
import sqlite3
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol

import trio
from attrs import define, field, frozen

from flowd.stream.cut import OTHERS, Cut, Saved, saved_epoch
from flowd.stream.frames import Frame
from flowd.stream.handover import Handover
from flowd.stream.journal import Journal
from flowd.stream.log import Stream
from flowd.values import codec
from flowd.values.clock import Clock
from flowd.values.record import Record

logger = logging.getLogger("flowd.snapshot")


@frozen
class Rows:
    """A stream as it lies in the store: records as (seq, time_ms, key, JSON), oldest first; ids in
    order.
    """

    epoch: str
    seq: int
    floor: int
    records: list[tuple[int, int, str | None, bytes]] = field(factory=list)
    seen: list[str] = field(factory=list)
    seen_total: int = 0
    """How many ids the stream ever saw: the newest of them are `seen`."""


@frozen
class Loaded:
    """All that a store holds, with what its journal had. `saved_ms` is None when it was never
    saved to. `why` says why it cannot go on as if nothing had happened, None when it can.
    """

    clean: bool = False
    """It was closed in order."""
    why: str | None = None
    saved_ms: int | None = None
    streams: dict[str, Rows] = field(factory=dict)
    places: dict[tuple[str, str], int] = field(factory=dict)


@frozen
class Save:
    """What one save writes: what is new in each stream, all places, the journal's frame that it
    reaches and whose journal that is, and whether this was the last one.
    """

    cuts: list[Cut]
    places: dict[tuple[str, str], int]
    saved_ms: int
    clean: bool
    frame: int = 0
    life: str | None = None


class Store(Protocol):
    """Where snapshots and the journal between them lie."""

    journal: Journal
    """This life's, once `load` has returned."""

    async def load(self) -> Loaded:
        """All that was saved and journaled; from now on the store counts as not closed in order,
        and the journal is being written.
        """
        ...

    async def save(self, save: Save) -> None:
        """Write all of this or nothing, and let go of the journal that it contains."""
        ...

    def handover(self) -> AbstractAsyncContextManager[Handover | None]:
        """All that the last save left, to give to another daemon; None where that cannot be said.
        OSError or sqlite3.Error for what the disk does.
        """
        ...

    def disown(self) -> None:
        """Another daemon has gone on: this is not what counts any more, though it stays."""
        ...

    async def close(self) -> None:
        """Let go of the store. Clean only if the last save was."""
        ...

    def figures(self) -> dict[str, Any]:
        """Where it is and what it takes, for `/status`: its `path`, None for none, its `bytes`, and
        `kept_bytes`, those that could not be given back.
        """
        ...


@define(eq=False)
class _Mark:
    seq: int = 0
    seen_total: int = 0


class Snapshots:
    """Takes the cuts, hands them to the store, and fills streams from it at start."""

    def __init__(
        self,
        store: Store,
        streams: Mapping[str, Stream[Any]],
        places: Mapping[str, Mapping[str, int]],
        clock: Clock,
        before_save: Callable[[], None] = lambda: None,
    ) -> None:
        self.saves = 0
        self.failures = 0
        self.error: str | None = None
        self.saved_ms: int | None = None
        self.took_ms: float | None = None
        self.dropped_rows = 0
        self._store = store
        self._streams = streams
        self._places = places
        self._clock = clock
        self._before_save = before_save
        self._marks: dict[str, _Mark] = {}
        self._left_out: dict[tuple[str, str], int] = {}
        self._saving = trio.Lock()
        self._ended = False

    def restore(self, stream: Stream[Any], loaded: Loaded) -> bool:
        """Fill a new stream with what was saved of it, and let it go on in the right epoch. False,
        and it stays empty, when another daemon numbers it, and what was saved is of another epoch
        or not whole.
        """
        rows = loaded.streams.get(stream.name)
        if rows is None:
            return True
        if stream.mirrored and rows.epoch != saved_epoch(stream):
            return False
        records: list[Record[Any]] = []
        dropped = 0
        for seq, time_ms, key, json in rows.records:
            try:
                value = codec.loads_value(json, stream.record)
            except ValueError as error:
                if not dropped:
                    logger.warning("%s: a saved record no longer fits: %s", stream.name, error)
                dropped += 1
                continue
            # As it was written: what another daemon wrote, this one would perhaps write otherwise.
            records.append(Record(seq, time_ms, value, key, json if stream.mirrored else None))
        if stream.mirrored and dropped:
            return False
        stream.restore(Saved(rows.seq, rows.floor, records, rows.seen, rows.seen_total))
        self.dropped_rows += dropped
        # With a record less it is not the same log any more, and its readers must know. So must
        # those of a log that another daemon has numbered until now.
        same = rows.epoch and rows.epoch.startswith(OTHERS) == stream.mirrored
        if loaded.why is None and same and not dropped:
            stream.epoch = rows.epoch.removeprefix(OTHERS)
            self._marks[stream.name] = _Mark(stream.seq, stream.seen.total)
        return True

    def keep_places(self, places: Mapping[tuple[str, str], int]) -> None:
        """Save these too: places of components that are not configured today, and may come back."""
        self._left_out = dict(places)

    async def save(self, *, clean: bool = False) -> bool:
        """Write what is new since the last save; False, and a line in the log, when that failed.
        After a clean one, which is the last, nothing is saved any more.
        """
        async with self._saving:
            if self._ended:
                return False
            self._ended = clean
            # No checkpoint between these lines: streams and places are of one instant.
            self._before_save()
            journal = self._store.journal
            frame = journal.cut(again=self.error is not None)
            cuts = [
                stream.cut(mark.seq, mark.seen_total)
                for stream, mark in self._marked(self._streams.values())
            ]
            places = {
                (component, stream): seq
                for component, seqs in self._places.items()
                for stream, seq in seqs.items()
            }
            places = self._left_out | places
            save = Save(cuts, places, self._clock(), clean, frame, journal.life)
            began = trio.current_time()
            try:
                await self._store.save(save)
            except (OSError, sqlite3.Error) as error:
                self.failures += 1
                if self.error is None:
                    logger.error("state cannot be saved: %s; trying again with every save", error)
                self.error = str(error)
                return False
            if self.error is not None:
                logger.info("state is saved again")
            self.error = None
            self.saves += 1
            self.saved_ms = save.saved_ms
            self.took_ms = (trio.current_time() - began) * 1000
            for cut in cuts:
                self._marks[cut.stream] = _Mark(cut.seq, cut.seen_total)
                self._streams[cut.stream].was_saved(cut)
            return True

    def outcome(self) -> str:
        """What became of the last save, behind a word; nothing where nothing is kept."""
        if self.error is not None:
            return f"; state could not be saved: {self.error}"
        return "" if self._store.figures()["path"] is None else "; state saved"

    async def run(self, every_s: float) -> None:
        """Save for ever, `every_s` seconds apart."""
        while True:
            await trio.sleep(every_s)
            await self.save()

    def figures(self) -> dict[str, Any]:
        """How saving goes, for `/status`."""
        ago_ms = None if self.saved_ms is None else max(0, self._clock() - self.saved_ms)
        return {
            **self._store.figures(),
            **self._store.journal.figures(),
            "saves": self.saves,
            "failures": self.failures,
            "error": self.error,
            "saved_ago_ms": ago_ms,
            "took_ms": self.took_ms,
            "dropped_rows": self.dropped_rows,
        }

    def _marked(self, streams: Iterable[Stream[Any]]) -> Iterable[tuple[Stream[Any], _Mark]]:
        return [(stream, self._marks.get(stream.name, _Mark())) for stream in streams]


def cuts_of(
    frames: Iterable[Frame], heads: Mapping[str, tuple[int, int]]
) -> tuple[list[Cut], dict[tuple[str, str], int]]:
    """Frames of a journal as what a save would have written: cuts, and the places that moved.

    `heads` has, of each stream that is saved already, its floor and how many ids it ever saw. Where
    a cut is whole, the places in its stream that are saved mean nothing any more.
    """
    names: dict[int, str] = {}
    found: dict[str, _Replayed] = {}
    places: dict[tuple[str, str], int] = {}
    for frame in frames:
        for change in frame.changes:
            if len(change) == 3:
                number, name, epoch = change
                names[number] = name
                found.setdefault(name, _Replayed()).epoch = epoch
            elif len(change) == 5 and change[3]:
                name = names[change[0]]
                found[name] = _Replayed(found[name].epoch, whole=True)
                places = {at: seq for at, seq in places.items() if not is_place_in(at[1], name)}
            else:
                found[names[change[0]]].apply(change)
        places |= {(component, stream): seq for component, stream, seq in frame.places}
    return [one.cut(name, *heads.get(name, (0, 0))) for name, one in found.items()], places


@define(eq=False)
class _Replayed:
    """What frames did to one stream."""

    epoch: str = ""
    seq: int = 0
    floor: int = 0
    records: dict[str | int, Record[object]] = field(factory=dict)
    forgotten: dict[str, None] = field(factory=dict)
    seen: list[str] = field(factory=list)
    whole: bool = False

    def apply(self, change: Sequence[Any]) -> None:
        if len(change) in (2, 4):
            self.records.pop(change[1], None)
            self.forgotten[change[1]] = None
            self.floor = max([self.floor, *change[2:3]])
            return
        if len(change) == 5:
            self.seq, self.floor = change[1], max(self.floor, change[2])
            return
        _, seq, time_ms, key, json, id = change
        if id is not None:
            self.seen.append(id)
        if seq:
            self.seq = seq
            slot = seq if key is None else key
            self.forgotten.pop(slot, None)
            self.records.pop(slot, None)
            self.records[slot] = Record.written(seq, time_ms, key, json)

    def cut(self, name: str, floor: int, seen_total: int) -> Cut:
        records, forgotten = list(self.records.values()), list(self.forgotten)
        if self.whole:
            floor = seen_total = 0
        total, floor = seen_total + len(self.seen), max(floor, self.floor)
        head = (name, self.epoch, self.seq, floor)
        return Cut(*head, records, forgotten, self.seen, total, -1, self.whole)


def is_place_in(place: str, stream: str) -> bool:
    """Whether a component's place, of however many, is one in this stream."""
    return place.partition("#")[0] == stream
