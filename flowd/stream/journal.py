"""The journal: all that changed since the last save, on disk before anybody is shown it.

A frame is what changed between two flushes, in order, and one `write`. Flushes come at the end of
the task step that changed something (`Journal.flush`, by an instrument): nothing else can have run
by then, so no reader needs to know of the journal, and as a step is never spread over two frames,
any prefix of frames is a consistent state. What was written survives the death of the process; that
of the machine only where it is synced.

Frames lie in segments, files beside the state. Each save begins a new one and drops those that it
contains. What frames are made of is in `flowd.stream.frames`; `flowd.stream.segments` knows files.
"""

import logging
from collections.abc import Callable
from typing import Any, Protocol

import trio
from attrs import evolve

from flowd.stream.cut import Numbered, saved_epoch
from flowd.stream.frames import FRAME, Change, Head, Unwritable, packed, payload
from flowd.values.clock import Stopwatch, stopwatch

logger = logging.getLogger("flowd.journal")

JOURNAL_BYTES = 256 * 1024 * 1024
"""How much may be written between two saves that succeed; above it, flowd goes on without."""


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


class Journaled(Numbered, Protocol):
    """What can be journaled: a stream."""

    name: str
    seq: int
    floor: int

    def journal(self, changes: list[Change], number: int) -> None:
        """From here on, note each change there, under this number."""
        ...


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
        self.on_frame: Callable[[int, bytes], None] | None = None
        """Is told the number and payload of each frame that was written, in the same step. Then the
        first frame behind a save also says what fell off: another daemon saves frames alone.
        """
        self.safe = 0
        """The newest frame that a save contains which is on the disk."""
        self._files = files
        self._watch = watch
        self._written: float | None = None
        self._streams: list[Journaled] = []
        self._head: Head | None = None
        self._cut = 0

    # -- what changes

    def add(self, stream: Journaled, *, anew: bool = False) -> None:
        """Journal this stream from here on; `anew`, where nothing of what was saved counts."""
        number = len(self._streams)
        self._streams.append(stream)
        self.pending.append((number, stream.name, saved_epoch(stream)))
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

    @property
    def lineage(self) -> str | None:
        """Whose frames these are, whether they are written or not; None before the first one."""
        return None if self._head is None else self._head.life

    @property
    def opened(self) -> list[tuple[int, str, str]]:
        """The streams that frames know by number: that, name, epoch."""
        return [(number, one.name, saved_epoch(one)) for number, one in enumerate(self._streams)]

    def begin(self, head: Head, frame: int) -> None:
        """Start writing, as the life and boot that `head` says, after the frame that the loaded
        state contains.
        """
        self.frame = self.safe = frame
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
            said = payload(self.pending, moved)
            self._files.write(packed(number, said), number)
        except (OSError, Unwritable) as error:
            self._lose(f"cannot be written: {error}")
        else:
            self.frame = number
            self.frames += 1
            self._written = self._watch()
            self.bytes += len(said) + FRAME.size
            if self.on_frame is not None:
                self.on_frame(number, said)
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
        self._cut = self.frame
        if self._head is not None and (self.error is not None or not again):
            self._cut = self._begin(evolve(self._head, segment=self._head.segment + 1))
        return self._cut

    def saved(self) -> None:
        """The save that was cut last is safe: what lies before its segment is not needed. May be
        called from a thread, while nothing is cut.
        """
        self.safe = max(self.safe, self._cut)
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
        self.pending += self.opened
        if self.on_frame is not None:
            streams = enumerate(self._streams)
            self.pending += [(n, one.seq, one.floor, False, None) for n, one in streams]
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
