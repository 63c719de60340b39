"""The journal's segments, as files beside the state."""

import os
import struct
from collections.abc import Iterator
from pathlib import Path

import msgspec
from attrs import asdict

from flowd.stream.frames import Head, Segment, read

BLOCK = 4096
"""A file begins with a block that says whose it is; frames follow."""
FILE_MAGIC = b"flowd journal 1\n"
NEWEST = struct.Struct("<Q")
NEWEST_AT = 2048
"""Where in the block the number of the newest frame stands: the one thing that is written over."""
SEAL_AT = 3072
SEAL_BYTES = 64

_head = msgspec.msgpack.Decoder(dict[str, str | int | bool]).decode


class DiskSegments:
    """Segments as files, `STATE.journal-00000001` and up. OSError for whatever the disk does."""

    def __init__(self, state: Path) -> None:
        self._state = state
        self._file: int | None = None
        self._end = 0
        self._synced = False

    def paths(self) -> list[Path]:
        """All that are there, oldest first."""
        return sorted(self._state.parent.glob(f"{self._state.name}.journal-*"))

    def read(self) -> list[Segment]:
        """All that can be read. What is no segment, or was begun and no more, is none."""
        return list(self._read())

    def newest(self) -> int:
        """The number of the newest segment, 0 if there is none."""
        return max((_number(path) for path in self.paths()), default=0)

    def begin(self, head: Head) -> None:
        """Start a new, empty segment."""
        self.close()
        path = self._state.with_name(f"{self._state.name}.journal-{head.segment:08d}")
        file = os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, 0o600)
        try:
            _write(file, (FILE_MAGIC + msgspec.msgpack.encode(asdict(head))).ljust(BLOCK, b"\0"), 0)
            if head.synced:
                os.fsync(file)
                _sync_folder(path.parent)
        except OSError:
            os.close(file)
            path.unlink(missing_ok=True)
            raise
        self._file, self._end, self._synced = file, BLOCK, head.synced

    def write(self, data: bytes, number: int) -> None:
        """Write one frame, and then that it was the newest."""
        assert self._file is not None
        _write(self._file, data, self._end)
        self._end += len(data)
        _write(self._file, NEWEST.pack(number), NEWEST_AT)
        if self._synced:
            os.fdatasync(self._file)

    def drop_before(self, segment: int) -> None:
        """Remove the segments before this one."""
        for path in self.paths():
            if _number(path) < segment:
                path.unlink(missing_ok=True)

    def invalidate(self) -> None:
        """Remove all: a truncated one is none, where a full disk lets nothing be written."""
        self.close()
        for path in self.paths():
            path.unlink(missing_ok=True)
        _sync_folder(self._state.parent)

    def seal(self, mark: bytes) -> None:
        """Note what is known of the state's file now that it is closed, and end."""
        assert len(mark) <= SEAL_BYTES
        if self._file is not None:
            _write(self._file, mark.ljust(SEAL_BYTES, b"\0"), SEAL_AT)
            os.fsync(self._file)
        self.close()

    def close(self) -> None:
        """Let go of the newest one."""
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def _read(self) -> Iterator[Segment]:
        for path in self.paths():
            data = path.read_bytes()
            block = data[:BLOCK]
            if len(block) < BLOCK or not block.startswith(FILE_MAGIC):
                continue
            try:
                head = Head(**_head(_unpadded(block)))  # type: ignore[arg-type]  # checked by use
            except (msgspec.MsgspecError, TypeError):
                continue
            (newest,) = NEWEST.unpack_from(block, NEWEST_AT)
            seal = block[SEAL_AT : SEAL_AT + SEAL_BYTES].rstrip(b"\0")
            yield read(head, data[BLOCK:], newest, seal)


def _unpadded(block: bytes) -> bytes:
    return block[len(FILE_MAGIC) : NEWEST_AT].rstrip(b"\0")


def _number(path: Path) -> int:
    text = path.name.rpartition("-")[2]
    return int(text) if text.isdigit() else 0


def _write(file: int, data: bytes, place: int) -> None:
    written = os.pwrite(file, data, place)
    while written < len(data):
        more = os.pwrite(file, memoryview(data)[written:], place + written)
        if not more:
            raise OSError("the disk takes nothing")
        written += more


def _sync_folder(path: Path) -> None:
    folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def size_bytes(path: Path) -> int:
    """What a state file and its write-ahead log take on disk."""
    total = 0
    for name in (str(path), f"{path}-wal"):
        try:
            total += os.stat(name).st_size
        except OSError:
            continue
    return total
