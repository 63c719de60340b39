"""A state file that is a copy of another daemon's, and the copy that a daemon gives of its own."""

import logging
import os
import sqlite3
import zlib
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing, asynccontextmanager, closing, suppress
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

import msgspec
import trio

from flowd.stream import rows
from flowd.stream.claim import StateFile
from flowd.stream.frames import Broken, Frame, Saved, newest, unbroken
from flowd.stream.handover import PART_BYTES, Handover, Known, Names, Opening, Unusable
from flowd.stream.segments import DiskSegments

logger = logging.getLogger("flowd.state")

READ_BYTES = 4 * PART_BYTES


@asynccontextmanager
async def copied(state: Path, streams: Callable[[], list[Any]]) -> AsyncGenerator[Handover | None]:
    """A state file as its last save left it, while its owner goes on; None when its journal does
    not say whose it is. `streams` are asked for what its frames know by number. The copy lies
    beside it within this block. OSError or sqlite3.Error for what the disk does.
    """
    copy = state.with_name(f"{state.name}.handover")
    try:
        facts = await trio.to_thread.run_sync(_copy, state, copy)
        if not facts.get("life"):
            yield None
            return
        opening = Opening(facts["life"], facts["frame"], streams())
        with copy.open("rb") as file:
            async with aclosing(_packed(file)) as parts:
                yield Handover(opening, parts)
    finally:
        with suppress(OSError):
            copy.unlink(missing_ok=True)


def _copy(state: Path, copy: Path) -> dict[str, Any]:
    with closing(sqlite3.connect(state, timeout=5.0)) as db:
        _vacuum(db, copy)
    with closing(sqlite3.connect(copy)) as db:
        return rows.facts(db)


def _vacuum(db: sqlite3.Connection, to: Path) -> None:
    """Write a copy that only its owner reads."""
    _private(to).close()
    db.execute("VACUUM INTO ?", [str(to)])


async def _packed(file: BinaryIO) -> AsyncGenerator[bytes, None]:
    """A file, compressed, in parts."""
    packer = zlib.compressobj(1)
    ended = False

    def more() -> bytes:
        nonlocal ended
        found = bytearray()
        while len(found) < PART_BYTES and not ended:
            read = file.read(PART_BYTES)
            ended = not read
            found += packer.flush() if ended else packer.compress(read)
        return bytes(found)

    while not ended:
        yield await trio.to_thread.run_sync(more)


class SqliteReplica:
    """A state file that stands by. It lies where a daemon's own state lies, and is one once it is
    closed: `SqliteStore` goes on with it as after an orderly end.
    """

    def __init__(self, path: Path, boot: str) -> None:
        self.path = path
        self._boot = boot
        self._state = StateFile(path)
        self._segments = DiskSegments(path)
        self._db: sqlite3.Connection | None = None
        self._names = Names()
        self._written: list[tuple[int, str, str]] = []
        self._limiter = trio.CapacityLimiter(1)

    async def known(self) -> Known:
        """How far it goes; it is claimed and opened, if it was not."""
        known: Known = await self._thread(self._known)
        return known

    async def install(self, handover: Handover) -> None:
        """Be this; a state that was led is kept beside it as its last save left it. OSError when
        the disk takes nothing.
        """
        came = self.path.with_name(f"{self.path.name}.handover")
        try:
            await self._unpack(handover, came)
            await self._thread(partial(self._install, handover.opening, came))
        except zlib.error as error:
            raise Unusable(str(error)) from None
        except sqlite3.Error as error:
            raise OSError(str(error)) from None
        finally:
            with suppress(OSError):
                came.unlink(missing_ok=True)

    async def apply(self, frames: Sequence[Frame]) -> None:
        """Go on by these frames, in one transaction. OSError when the disk takes nothing."""
        if frames:
            try:
                await self._thread(partial(self._apply, frames))
            except sqlite3.Error as error:
                raise OSError(str(error)) from None

    async def close(self) -> None:
        """Let go of the file."""
        await self._thread(self._close)

    async def _thread(self, work: Callable[[], Any]) -> Any:
        return await trio.to_thread.run_sync(work, limiter=self._limiter)

    def _opened(self) -> sqlite3.Connection:
        self._state.claim()
        if self._db is None:
            try:
                self._db = sqlite3.connect(self.path, check_same_thread=False, timeout=5.0)
                self._db.execute("PRAGMA journal_mode=WAL")
                self._db.execute("PRAGMA synchronous=NORMAL")
                rows.create(self._db, self.path)
            except (OSError, sqlite3.Error) as error:
                raise self._state.unusable(error) from None
        return self._db

    def _known(self) -> Known:
        db = self._opened()
        facts = rows.facts(db)
        frame, clean, led = int(facts.get("frame", 0)), bool(facts.get("clean")), facts.get("led")
        if "copy_of" in facts:
            self._names = Names(msgspec.json.decode(facts["numbers"]))
            return Known(str(facts["copy_of"]), frame)
        if not facts:
            return Known()
        segments = self._segments.read()
        saved = Saved(facts.get("life") or None, clean, frame, self._state.mark())
        led = bool(facts.get("led", 1))
        try:
            unbroken(saved, segments, self._boot)
        except Broken as error:
            logger.warning("state: %s: %s", self.path, error)
            return Known(None, 0, led)
        return Known(saved.life, max(frame, newest(segments)), led)

    async def _unpack(self, handover: Handover, to: Path) -> None:
        unpacker = zlib.decompressobj()
        with _private(to) as file:

            def write(part: bytes) -> None:
                found = unpacker.decompress(part, READ_BYTES)
                while found:
                    file.write(found)
                    found = unpacker.decompress(unpacker.unconsumed_tail, READ_BYTES)

            async for part in handover.parts:
                await trio.to_thread.run_sync(write, part)
        if not unpacker.eof:
            raise Unusable("its end is missing")

    def _install(self, opening: Opening, came: Path) -> None:
        db = self._opened()
        facts = rows.facts(db)
        with closing(sqlite3.connect(came)) as source:
            with rows.whole(source):
                told = rows.facts(source)
                if (told.get("life"), told.get("frame")) != (opening.life, opening.frame):
                    raise Unusable("it is another one than was announced")
                # No journal beside it is its own: it is whole by itself.
                rows.note(source, life="", clean=1, copy_of=opening.life)
                rows.note(source, numbers=_numbers(opening.streams))
            if facts and "copy_of" not in facts:
                kept = self.path.with_name(f"{self.path.name}.replaced")
                _vacuum(db, kept)
                logger.warning(
                    "state: %s is replaced by that of the daemon that leads; as it was saved last, "
                    "it is kept as %s",
                    *(self.path, kept),
                )
            self._segments.invalidate()
            source.backup(db)
        self._names = Names(opening.streams)

    def _apply(self, frames: Sequence[Frame]) -> None:
        db = self._opened()
        before = dict(self._names.streams)
        try:
            whole = self._names.complete(frames)
            with rows.whole(db):
                rows.replay(db, whole)
                rows.note(db, frame=frames[-1].number)
                if self._names.streams != before:
                    rows.note(db, numbers=_numbers(self._names.openings()))
        except BaseException:
            self._names = Names((number, *named) for number, named in before.items())
            raise

    def _close(self) -> None:
        if self._db is not None:
            self._db.close()
            self._db = None
        self._state.release()


def _private(path: Path) -> BinaryIO:
    """A new file that only its owner reads."""
    path.unlink(missing_ok=True)
    return os.fdopen(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "wb")


def _numbers(streams: Sequence[tuple[int, str, str]]) -> str:
    return msgspec.json.encode(streams).decode()
