"""What cannot be written yet: a file that only grows, of frames with checksums, until all of it is
in the database.

A frame is one call of the store's, so that catching up is doing again, in order, what was asked.
How far that is done the database says itself, in the transaction that did it: whatever dies
whenever, nothing is done twice and nothing left out. A frame that was torn by a crash was never
promised.
"""

import fcntl
import os
import struct
import zlib
from pathlib import Path
from typing import Any, BinaryIO

from attrs import field, frozen

from flowd.history import Away, Columns
from flowd.plugin import Position, UserError, codec

MAGIC = b"flowdspill1 "
HEAD_MAX = 8192
FRAME = struct.Struct("<II")
"""What opens a frame: bytes and CRC of what follows."""

Row = tuple[int, int, int, str | None, str | None, str | None, str]
"""When a record was recorded, its seq, when it happened, its symbol, key and id, and its JSON."""


@frozen
class Call:
    """One thing to do: `add` a stream, `meet` its epoch, `write` rows that reach up to `seq`, or
    note a `gap` of another history.
    """

    what: str
    name: str
    epoch: str = ""
    seq: int = 0
    rows: list[Row] = field(factory=list)
    gap: tuple[int, int] | None = None
    retained: bool = False
    columns: Columns = field(factory=list)
    noted: list[Any] = field(factory=list)


class Spill:
    """The file. It is there as long as something in it waits."""

    def __init__(self, path: Path, max_bytes: int) -> None:
        self.path = path
        self.max_bytes = max_bytes
        self.id = ""
        """What the database calls it. A new file is another one."""
        self.size = 0
        self.done = 0
        """Up to here the database has it."""
        self.places: dict[str, Position] = {}
        """Up to where each stream is in it."""
        self.oldest_ms: int | None = None
        self.newest_ms: int | None = None
        """When the oldest and the newest record that wait were recorded."""
        self._file: BinaryIO | None = None

    @property
    def waiting(self) -> int:
        """Bytes that are not in the database yet."""
        return self.size - self.done

    def open(self) -> None:
        """Read what a daemon before us left; UserError for what is no such file."""
        try:
            file = self.path.open("r+b")
        except FileNotFoundError:
            return
        except OSError as error:
            raise UserError(f"history: {self.path} cannot be opened: {error.strerror}") from None
        self._claim(file)
        head = file.readline(HEAD_MAX)
        if not head.startswith(MAGIC) or not head.endswith(b"\n"):
            file.close()
            if len(head) < len(MAGIC) and MAGIC.startswith(head):
                self.path.unlink()  # Torn at its birth.
                return
            raise UserError(
                f"history: {self.path} is no file of flowd's; move it away, or give another `spill`"
            )
        self.id, self.done = head[len(MAGIC) :].strip().decode(), len(head)
        self._file, self.size = file, len(head)
        while (read := self._read(self.size)) is not None:
            self.size += read[1]
            self._note(read[0])
        file.truncate(self.size)

    def _claim(self, file: BinaryIO) -> None:
        """Two writers would not know of each other's frames."""
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            file.close()
            raise UserError(
                f"history: {self.path} is in use by another history; "
                "give each [sinks] table of this kind a `spill` of its own"
            ) from None

    def _note(self, call: Call) -> None:
        if call.what == "write" and not call.retained:
            self.places[call.name] = Position(call.epoch, call.seq)
        if call.rows:
            if self.oldest_ms is None:
                self.oldest_ms = call.rows[0][0]
            self.newest_ms = max(self.newest_ms or 0, call.rows[-1][0])

    def append(self, call: Call) -> None:
        """Put it behind the others, on the disk. `Away` when there is no room."""
        if self._file is None:
            self._begin()
        assert self._file is not None
        what = (call.what, call.name, call.epoch, call.seq)
        payload = codec.encode(
            [*what, call.rows, call.gap, call.retained, call.columns, call.noted]
        )
        frame = FRAME.pack(len(payload), zlib.crc32(payload)) + payload
        if self.size + len(frame) > self.max_bytes:
            raise Away(f"{self.path} is full ({self.max_bytes} bytes wait in it)")
        try:
            self._file.seek(self.size)
            self._file.write(frame)
            self._file.flush()
            os.fdatasync(self._file.fileno())
        except OSError as error:
            self._cut()
            raise Away(f"{self.path} cannot be written: {error.strerror}") from error
        self.size += len(frame)
        self._note(call)

    def _begin(self) -> None:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
            self._file = os.fdopen(descriptor, "r+b")
            self._claim(self._file)
            born = os.fstat(descriptor)
            self.id = f"{os.uname().nodename}:{self.path}:{born.st_ino:x}:{born.st_mtime_ns:x}"
            head = MAGIC + self.id.encode() + b"\n"
            self._file.write(head)
            self._file.flush()
        except FileExistsError:
            self._claim(self.path.open("r+b"))
            raise
        except OSError as error:
            if self._file is not None:
                self._drop()
            raise Away(f"{self.path} cannot be written: {error.strerror}") from error
        self.size = self.done = len(head)

    def _cut(self) -> None:
        """Take back what was written of a frame that did not fit on the disk."""
        assert self._file is not None
        try:
            os.ftruncate(self._file.fileno(), self.size)
        except OSError:
            return  # The next frame is written over it.

    def next(self) -> tuple[Call, int] | None:
        """The oldest call that waits, and the place behind it; None when nothing waits."""
        if self.done >= self.size:
            return None
        read = self._read(self.done)
        if read is None:
            raise UserError(
                f"history: {self.path} is damaged at byte {self.done}; move it away to go on "
                "without what it holds"
            )
        if read[0].rows:
            self.oldest_ms = read[0].rows[0][0]
        return read[0], self.done + read[1]

    def _read(self, at: int) -> tuple[Call, int] | None:
        """The call at this place and how many bytes it takes; None where there is no whole one."""
        if self._file is None:
            return None
        self._file.seek(at)
        head = self._file.read(FRAME.size)
        if len(head) < FRAME.size:
            return None
        length, crc = FRAME.unpack(head)
        payload = self._file.read(min(length, self.max_bytes))
        if len(payload) < length or zlib.crc32(payload) != crc:
            return None
        what, name, epoch, seq, rows, gap, retained, columns, noted = codec.decode(payload)
        made: list[Any] = [tuple(row) for row in rows]
        call = Call(
            what, name, epoch, seq, made, gap and (gap[0], gap[1]), retained, columns, noted
        )
        return call, FRAME.size + length

    def finish(self) -> None:
        """All of it is in the database: the file goes."""
        self._drop()
        self.id, self.size, self.done = "", 0, 0
        self.oldest_ms = self.newest_ms = None

    def _drop(self) -> None:
        self.close()
        self.path.unlink(missing_ok=True)

    def close(self) -> None:
        """Let go of the file. What waits stays in it."""
        if self._file is not None:
            self._file.close()
            self._file = None
