"""The journal: all that changed since the last save, on disk before anybody is shown it.

A frame is what changed between two flushes, in order, and one `write`. Flushes come at the end of
the task step that changed something (`Journal.flush`, by an instrument): nothing else can have run
by then, so no reader needs to know of the journal, and as a step is never spread over two frames,
any prefix of frames is a consistent state. What was written survives the death of the process; that
of the machine only where it is synced.

Frames lie in segments, files beside the state. Each save begins a new one and drops those that it
contains. This module knows frames and what they mean; `flowd.stream.segments` knows files.
"""

import logging
import struct
import zlib
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Protocol

import msgspec
import trio
from attrs import evolve, field, frozen

from flowd.values.clock import Stopwatch, stopwatch

logger = logging.getLogger("flowd.journal")

MAGIC = b"flj1"
FRAME = struct.Struct("<4sIIQ")
"""What opens a frame: magic, bytes of the payload, CRC of number and payload, number."""
JOURNAL_BYTES = 256 * 1024 * 1024
"""How much may be written between two saves that succeed; above it, flowd goes on without."""

Change = Sequence[Any]
"""One change, told apart by its length: `(stream, name, epoch)` opens a stream under a number,
`(stream, key)` forgets a key, `(stream, key, floor, True)` says that a table's oldest fell off,
`(stream, seq, lost, anew, None)` moves the head of a stream that another daemon numbers, and says
up to where nothing is left, or that nothing is left of what was saved of it, and
`(stream, seq, time_ms, key, json, id)` appends a record and notes its id; with seq 0 it notes the
id alone. What falls off a history needs no word: it follows from what it retains.
"""

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(tuple[list[Any], list[tuple[str, str, int]]]).decode


class Files(Protocol):
    """Where segments lie."""

    def begin(self, head: "Head") -> None:
        """Start a new, empty segment; what is written goes there from now on."""
        ...

    def write(self, data: bytes, number: int) -> None:
        """Write one frame, and then that it was the newest."""
        ...

    def drop_before(self, segment: int) -> None:
        """The segments before this one are not needed any more."""
        ...

    def invalidate(self) -> None:
        """See to it that no segment is taken for whole ever again."""
        ...


class Journaled(Protocol):
    """What can be journaled: a stream."""

    name: str
    epoch: str

    def journal(self, changes: list[Change], number: int) -> None:
        """From here on, note each change there, under this number."""
        ...


@frozen
class Head:
    """What opens a segment: whose it is, and from which boot of the machine."""

    segment: int
    life: str
    boot: str
    synced: bool = False
    """Each frame was on the disk before it was shown: another boot finds it too."""


@frozen
class Frame:
    """One frame as it was read back."""

    number: int
    changes: list[Change]
    places: list[tuple[str, str, int]]
    """(component, stream, seq): where readers are."""


@frozen
class Segment:
    """A segment as it was read back. `newest` is the number of the newest frame that was written
    whole, whether it is still there or not; `damaged` says that a frame before the end is wrong.
    """

    head: Head
    frames: list[Frame] = field(factory=list)
    newest: int = 0
    seal: bytes = b""
    """What was known of the state's file when it was closed in order."""
    damaged: bool = False


@frozen
class Saved:
    """What a saved state says of the journal: the life that saved it, whether that ended in order,
    and the newest frame that it contains. No life: it is from before there was a journal.

    `mark` is what is known of its file now, to be compared with what was noted when it was closed:
    a copy that was put in its place is another file.
    """

    life: str | None
    clean: bool
    frame: int = 0
    mark: bytes = b""


class Broken(Exception):
    """The log cannot go on as if nothing had happened; the text says why."""


class Journal:
    """Collects what changes, and writes it in frames.

    It never raises for what the disk does: where a frame cannot be written, the journal is made
    invalid first (and, where that cannot be done either, `on_lost` is called, which must give every
    stream a new epoch), and flowd goes on without until the next save begins a new segment.
    """

    def __init__(
        self,
        files: Files,
        *,
        limit_bytes: int = JOURNAL_BYTES,
        watch: Stopwatch = stopwatch,
    ) -> None:
        self.pending: list[Change] = []
        """What changed since the last flush. Streams append to it themselves."""
        self.moved: dict[tuple[str, str], int] = {}
        """Where components have read up to since, by component and stream."""
        self.frame = 0
        """The newest frame that was written."""
        self.bytes = 0
        self.frames = 0
        self.failures = 0
        self.error: str | None = None
        """Why nothing is written at the moment."""
        self.limit_bytes = limit_bytes
        self.on_lost: Callable[[], None] = lambda: None
        self._files = files
        self._watch = watch
        self._written: float | None = None
        self._streams: list[Journaled] = []
        self._head: Head | None = None

    # -- what changes

    def add(self, stream: Journaled, *, anew: bool = False) -> None:
        """Journal this stream from here on; `anew`, where nothing of what was saved counts."""
        number = len(self._streams)
        self._streams.append(stream)
        self.pending.append((number, stream.name, stream.epoch))
        if anew:
            self.pending.append((number, 0, 0, True, None))
        stream.journal(self.pending, number)

    def move(self, component: str, stream: str, seq: int) -> None:
        """A component has read up to here."""
        self.moved[component, stream] = seq

    # -- writing

    @property
    def life(self) -> str | None:
        """Whose segments these are; None while nothing is written."""
        return None if self._head is None or self.error is not None else self._head.life

    def begin(self, head: Head, frame: int) -> None:
        """Start writing, as the life and boot that `head` says, after the frame that the loaded
        state contains.
        """
        self.frame = frame
        self._begin(head)

    def flush(self) -> None:
        """Write what changed, if anything did. Nothing may have been shown of it before."""
        if not self.pending and not self.moved:
            return
        if self.error is not None or self._head is None:
            self.pending.clear()
            self.moved.clear()
            return
        moved = [(component, stream, seq) for (component, stream), seq in self.moved.items()]
        number = self.frame + 1
        try:
            payload = _encode((self.pending, moved))
            head = FRAME.pack(MAGIC, len(payload), _check(number, payload), number)
            self._files.write(head + payload, number)
        except (OSError, struct.error, msgspec.MsgspecError, TypeError) as error:
            self._lose(f"cannot be written: {error}")
        else:
            self.frame = number
            self.frames += 1
            self._written = self._watch()
            self.bytes += len(payload) + FRAME.size
            if self.bytes > self.limit_bytes:
                self._lose(f"has grown over {self.limit_bytes} bytes since the last save")
        self.pending.clear()
        self.moved.clear()

    def cut(self, *, again: bool) -> int:
        """Begin a new segment for what comes after a save that is taken in this very step; `again`
        says that the one before it failed, so that this segment is needed as it is. The number of
        the newest frame that the save contains.
        """
        self.flush()
        if self._head is not None and (self.error is not None or not again):
            return self._begin(evolve(self._head, segment=self._head.segment + 1))
        return self.frame

    def saved(self) -> None:
        """The save that was cut last is safe: what lies before its segment is not needed. May be
        called from a thread, while nothing is cut.
        """
        if self._head is not None and self.error is None:
            try:
                self._files.drop_before(self._head.segment)
            except OSError as error:
                logger.warning("old segments of the journal cannot be removed: %s", error)

    def _begin(self, head: Head) -> int:
        """Start a segment; the number of the newest frame before it."""
        self._head, before = head, self.frame
        try:
            self._files.begin(head)
        except OSError as error:
            self._lose(f"cannot be begun: {error}")
            return self.frame
        if self.error is not None:
            logger.info("the journal is written again")
        self.bytes, self.error = 0, None
        self.pending += [(n, one.name, one.epoch) for n, one in enumerate(self._streams)]
        self.flush()
        return before

    def _lose(self, why: str) -> None:
        self.failures += 1
        self.frame += 1  # What is lost had a number: no later frame may seem to follow on the last.
        if self.error is None:
            logger.error(
                "the journal %s; flowd goes on without it until the state is saved: "
                "a crash before that makes clients start anew",
                why,
            )
        self.error = why
        try:
            self._files.invalidate()
        except OSError as error:
            logger.error(
                "the journal cannot be made invalid: %s; all streams begin a new epoch", error
            )
            self.on_lost()

    def figures(self) -> dict[str, Any]:
        """How it does, for `/status`."""
        ago_ms = None if self._written is None else round((self._watch() - self._written) * 1000)
        return {
            "journal_frames": self.frames,
            "journal_ago_ms": ago_ms,
            "journal_bytes": self.bytes,
            "journal_failures": self.failures,
            "journal_error": self.error,
        }

    def bounds(self) -> dict[str, Any]:
        """The limit that it keeps, for `/status`."""
        return {"journal_bytes": self.limit_bytes}


class Flushing(trio.abc.Instrument):
    """Flushes at the end of every task step in which something changed."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._pending = journal.pending
        self._moved = journal.moved

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        """Nobody else has run since."""
        if self._pending or self._moved:
            self._journal.flush()


# -- reading back


def read(head: Head, data: bytes, newest: int, seal: bytes = b"") -> Segment:
    """The frames in a segment's bytes. One that is torn at the very end was shown to nobody; one
    before it that is wrong is damage.
    """
    frames: list[Frame] = []
    place = 0
    while place < len(data):
        found = _frame(data, place)
        if found is None:
            return Segment(head, frames, newest, seal, damaged=_goes_on(data, place + 1))
        frame, place = found
        frames.append(frame)
    return Segment(head, frames, newest, seal)


def _frame(data: bytes, place: int) -> tuple[Frame, int] | None:
    """The frame at a place, and where it ends; None where there is no whole and right one."""
    if place + FRAME.size > len(data):
        return None
    magic, size, check, number = FRAME.unpack_from(data, place)
    begin = place + FRAME.size
    payload = data[begin : begin + size]
    if magic != MAGIC or len(payload) != size:
        return None
    if _check(number, payload) != check:
        return None
    try:
        changes, places = _decode(payload)
    except msgspec.MsgspecError:
        return None
    return Frame(number, changes, places), begin + size


def _check(number: int, payload: bytes) -> int:
    return zlib.crc32(payload, zlib.crc32(number.to_bytes(8, "little")))


def _goes_on(data: bytes, place: int) -> bool:
    """Whether a right frame follows somewhere behind a wrong one."""
    while (place := data.find(MAGIC, place)) >= 0:
        if _frame(data, place) is not None:
            return True
        place += 1
    return False


def unbroken(saved: Saved, segments: Iterable[Segment], boot: str) -> list[Frame]:
    """The frames to apply to a saved state, in order, so that it is what anybody could have been
    shown; Broken when that cannot be known.
    """
    if saved.life is None:
        if saved.clean:
            return []
        raise Broken("it was not closed in order, and has no journal")
    ours = sorted((s for s in segments if s.head.life == saved.life), key=lambda s: s.head.segment)
    if not ours:
        raise Broken("it was replaced or restored: the journal beside it is not its own")
    if saved.clean:
        end = ours[-1]
        if end.seal not in (saved.mark, b""):
            raise Broken("it is a copy that was put in place of the file that was closed")
        if end.frames and end.frames[0].number != saved.frame + 1:
            raise Broken("it is an older copy: its journal knows of later saves")
        return []
    if any(s.head.boot != boot and not s.head.synced for s in ours):
        raise Broken("the machine was restarted without an orderly stop")
    if any(segment.damaged for segment in ours):
        raise Broken("its journal is damaged")
    frames = [frame for segment in ours for frame in segment.frames]
    numbers = [frame.number for frame in frames]
    first, last = (numbers[0], numbers[-1]) if numbers else (saved.frame + 1, saved.frame)
    if len(numbers) != last - first + 1 or numbers != sorted(set(numbers)):
        raise Broken("its journal has a hole")
    if first > saved.frame + 1:
        raise Broken("its newest saves are gone: they were not on the disk yet")
    if last < max(saved.frame, *(segment.newest for segment in ours)):
        raise Broken("the end of its journal is gone")
    return [frame if frame.number > saved.frame else _opening(frame) for frame in frames]


def _opening(frame: Frame) -> Frame:
    """What later frames need of one that is saved: which stream has which number."""
    return Frame(frame.number, [change for change in frame.changes if len(change) == 3], [])


def newest(segments: Iterable[Segment]) -> int:
    """The highest number that any frame has or had."""
    return max((n for s in segments for n in (s.newest, *(f.number for f in s.frames))), default=0)
