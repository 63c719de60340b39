"""Where snapshots lie: in an SQLite file, with the journal beside it."""

import logging
import os
import sqlite3
import zlib
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, suppress
from pathlib import Path
from typing import Any, Literal

import trio

from flowd.stream import rows
from flowd.stream.claim import StateFile
from flowd.stream.frames import Broken, Frame, Head, Saved, newest, unbroken
from flowd.stream.handover import Handover
from flowd.stream.journal import Journal
from flowd.stream.replica import copied
from flowd.stream.segments import DiskSegments, size_bytes
from flowd.stream.snapshot import Loaded, Rows, Save
from flowd.values.clock import token

logger = logging.getLogger("flowd.state")

Durability = Literal["process", "disk"]


def boot_id() -> str:
    """Which boot of the machine this is; the same text for as long as it runs."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return "unknown"  # Nothing is taken for whole after a crash on a machine that cannot say.


WAL_BYTES = 64 * 1024 * 1024
"""Up to here SQLite's write-ahead log is left to itself."""
LET_GO_AT_ONCE = 1000
"""Records of a save that are given back before the loop may have the interpreter."""


class SqliteStore:
    """Snapshots in one SQLite file (WAL), written by one thread at a time, and the journal beside
    it.

    `durability` says what a record must have outlived before anybody is shown it: `process`, the
    death of this process; `disk`, that of the machine. `anew` says why all streams are to begin new
    epochs, whatever the file looks like.
    """

    def __init__(
        self,
        path: Path,
        *,
        durability: Durability = "process",
        boot: str | None = None,
        anew: str | None = None,
    ) -> None:
        self.path = path
        self._synced = durability == "disk"
        self._boot = boot or boot_id()
        self._limiter = trio.CapacityLimiter(1)
        self._db: sqlite3.Connection | None = None
        self._state = StateFile(path)
        self._segments = DiskSegments(path)
        self.journal = Journal(self._segments)
        self._anew = anew
        self._closed_in_order = False
        self._disowned = False
        self._kept_bytes = 0

    def claim(self) -> None:
        """Make sure that no other daemon has this file; it is made if need be. UserError when one
        has, or when it cannot be made. `load` does it too, if it was not done.
        """
        self._state.claim()

    async def load(self) -> Loaded:
        """Open the file, made if need be. UserError when another daemon has it or it is no state
        file.
        """
        loaded: Loaded = await self._thread(self._load_or_close)
        return loaded

    async def save(self, save: Save) -> None:
        """One transaction. The segments that it contains and the records that only it still has are
        given back here: that takes milliseconds where there are many.
        """

        def write() -> None:
            self._save(save)
            self.journal.saved()
            for cut in save.cuts:
                while cut.records:
                    # A few at a time: the loop has the interpreter in between.
                    del cut.records[-LET_GO_AT_ONCE:]

        await self._thread(write)

    def handover(self) -> AbstractAsyncContextManager[Handover | None]:
        """A copy of the file, as its last save left it, to give to another daemon."""
        return copied(self.path, lambda: self.journal.opened)

    def disown(self) -> None:
        """Note, when it is closed, that it is not what another daemon goes on with."""
        self._disowned = True

    async def close(self) -> None:
        """Close the file."""
        await self._thread(self._close)

    def figures(self) -> dict[str, Any]:
        """Where the file is, what it takes with its write-ahead log, and how much of that cannot be
        given back, for somebody reads it in a transaction that does not end.
        """
        taken = size_bytes(self.path)
        return {"path": str(self.path), "bytes": taken, "kept_bytes": self._kept_bytes}

    async def _thread(self, work: Callable[[], Any]) -> Any:
        # Never abandoned: a transaction that has begun is waited for, also when we are cancelled.
        return await trio.to_thread.run_sync(work, limiter=self._limiter)

    def _load_or_close(self) -> Loaded:
        try:
            return self._load()
        except BaseException:
            self._close()
            raise

    def _load(self) -> Loaded:
        self.claim()
        try:
            connection = sqlite3.connect(self.path, check_same_thread=False, timeout=5.0)
            self._db = connection
            connection.execute("PRAGMA journal_mode=WAL")
            rows.create(connection, self.path)
            loaded = self._begin(connection)
            connection.execute(f"PRAGMA synchronous={'FULL' if self._synced else 'NORMAL'}")
            connection.execute(f"PRAGMA journal_size_limit={WAL_BYTES}")
            return loaded
        except (OSError, sqlite3.Error) as error:
            raise self._state.unusable(error) from None

    def _begin(self, db: sqlite3.Connection) -> Loaded:
        """Take up what is there, and note, for good, that this life has begun: only then may it
        show anything to anybody.
        """
        meta = rows.facts(db)
        clean, frame = bool(meta.get("clean", 0)), int(meta.get("frame", 0))
        saved = Saved(meta.get("life") or None, clean, frame, self._state.mark())
        segments = self._segments.read()
        frames: list[Frame] = []
        why: str | None = None
        life = saved.life or token()
        if meta:
            try:
                frames = unbroken(saved, segments, self._boot)
            except Broken as error:
                why = str(error)
        why = self._anew or why
        if why is not None:
            life = token()
            logger.warning("state: %s: %s; all streams begin a new epoch", self.path, why)
        number = max(frame, newest(segments))
        # The new segment is there before the state says that the old ones are not needed.
        self.journal = Journal(self._segments)
        head = Head(self._segments.newest() + 1, life, self._boot, self._synced)
        self.journal.begin(head, number)
        execute = db.execute
        execute("PRAGMA synchronous=FULL")
        with rows.whole(db):
            if frames:
                rows.replay(db, frames)
            if why is not None:
                # Also a stream that is not configured today must not come back in an old epoch.
                execute("UPDATE streams SET epoch = ''")
            execute("DELETE FROM meta WHERE name IN ('copy_of', 'numbers')")
            rows.note(db, clean=0, frame=number, life=self.journal.life or "", led=1)
        execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        self.journal.saved()
        return self._read(db, clean=clean, why=why, saved_ms=meta.get("saved_ms"))

    def _read(
        self, db: sqlite3.Connection, *, clean: bool, why: str | None, saved_ms: int | None
    ) -> Loaded:
        execute = db.execute
        streams: dict[str, Rows] = {}
        found = execute("SELECT name, epoch, seq, floor, length FROM streams").fetchall()
        for name, epoch, seq, floor, length in found:
            saved = execute(
                "SELECT seq, time_ms, key, json, crc FROM records WHERE stream = ? ORDER BY seq",
                [name],
            ).fetchall()
            records = [row[:4] for row in saved if row[4] is None or row[4] == zlib.crc32(row[3])]
            if len(records) != (len(saved) if length is None else length):
                logger.error(
                    "%s: %s is damaged: of %s records of this stream %d are right; "
                    "it begins a new epoch",
                    *(name, self.path, length, len(records)),
                )
                epoch = ""
            seen = execute("SELECT n, id FROM seen WHERE stream = ? ORDER BY n", [name]).fetchall()
            seen_total = seen[-1][0] + 1 if seen else 0
            streams[name] = Rows(epoch, seq, floor, records, [id for _, id in seen], seen_total)
        places = {
            (component, stream): seq
            for component, stream, seq in execute("SELECT component, stream, seq FROM places")
        }
        return Loaded(clean, why, saved_ms, streams, places)

    def _save(self, save: Save) -> None:
        assert self._db is not None
        self._state.check()
        db = self._db
        with rows.whole(db):
            for cut in save.cuts:
                rows.save_stream(db, cut)
            db.execute("DELETE FROM places")
            db.executemany(
                "INSERT INTO places VALUES (?, ?, ?)",
                [(component, stream, seq) for (component, stream), seq in save.places.items()],
            )
            rows.note(
                db,
                saved_ms=save.saved_ms,
                clean=int(save.clean),
                frame=save.frame,
                life=save.life or "",
            )
        self._closed_in_order = save.clean
        self._kept_bytes = self._kept(db)

    def _kept(self, db: sqlite3.Connection) -> int:
        """How much of the write-ahead log cannot be given back."""
        try:
            if os.stat(f"{self.path}-wal").st_size <= WAL_BYTES:
                return 0
        except FileNotFoundError:
            return 0
        _, pages, moved = db.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
        kept: int = (pages - moved) * db.execute("PRAGMA page_size").fetchone()[0]
        return kept

    def _close(self) -> None:
        if self._db is not None:
            if self._disowned:
                with suppress(sqlite3.Error), rows.whole(self._db):
                    rows.note(self._db, led=0)
            self._db.close()
            self._db = None
            if self._closed_in_order:
                self._segments.seal(self._state.mark())
        self._segments.close()
        self._state.release()
