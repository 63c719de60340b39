"""Where snapshots lie: in an SQLite file, with the journal beside it."""

import fcntl
import logging
import os
import sqlite3
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import trio
from attrs import evolve

from flowd.stream.cut import Cut
from flowd.stream.journal import Broken, Frame, Head, Journal, Saved, newest, unbroken
from flowd.stream.seen import SEEN_MAX
from flowd.stream.segments import DiskSegments, size_bytes
from flowd.stream.snapshot import Loaded, Rows, Save, cuts_of
from flowd.values.clock import token
from flowd.values.errors import UserError
from flowd.values.record import Record

logger = logging.getLogger("flowd.state")

SCHEMA = 2

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
    death of this process; `disk`, that of the machine.
    """

    def __init__(
        self,
        path: Path,
        *,
        durability: Durability = "process",
        boot: str | None = None,
    ) -> None:
        self.path = path
        self._synced = durability == "disk"
        self._boot = boot or boot_id()
        self._limiter = trio.CapacityLimiter(1)
        self._db: sqlite3.Connection | None = None
        self._file: int | None = None
        self._segments = DiskSegments(path)
        self.journal = Journal(self._segments)
        self._closed_in_order = False
        self._kept_bytes = 0

    def claim(self) -> None:
        """Make sure that no other daemon has this file; it is made if need be. UserError when one
        has, or when it cannot be made. `load` does it too, if it was not done.
        """
        if self._file is not None:
            return
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            file = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise self._unusable(error) from None
        try:
            # On the file itself: a second name of it, or a lock file that somebody removed, would
            # let another daemon in, and the same numbers would mean other records.
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(file)
            raise UserError(
                f"flowd.state: {self.path} is in use by another flowd; stop that one, "
                "or give this one a state file of its own"
            ) from None
        self._file = file

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

    def _unusable(self, error: Exception) -> UserError:
        return UserError(
            f"flowd.state: {self.path} cannot be used: {error}. "
            "Give another path, or move the file away to start without a memory"
        )

    def _load(self) -> Loaded:
        self.claim()
        try:
            connection = sqlite3.connect(self.path, check_same_thread=False, timeout=5.0)
            self._db = connection
            connection.execute("PRAGMA journal_mode=WAL")
            self._create(connection)
            loaded = self._begin(connection)
            connection.execute(f"PRAGMA synchronous={'FULL' if self._synced else 'NORMAL'}")
            connection.execute(f"PRAGMA journal_size_limit={WAL_BYTES}")
            return loaded
        except (OSError, sqlite3.Error) as error:
            raise self._unusable(error) from None

    def _begin(self, db: sqlite3.Connection) -> Loaded:
        """Take up what is there, and note, for good, that this life has begun: only then may it
        show anything to anybody.
        """
        meta = dict(db.execute("SELECT name, value FROM meta"))
        clean, frame = bool(meta.get("clean", 0)), int(meta.get("frame", 0))
        saved = Saved(meta.get("life") or None, clean, frame, self._mark())
        segments = self._segments.read()
        frames: list[Frame] = []
        why: str | None = None
        life = saved.life or token()
        if meta:
            try:
                frames = unbroken(saved, segments, self._boot)
            except Broken as error:
                why = str(error)
                life = token()
                logger.warning("state: %s: %s; all streams begin a new epoch", self.path, why)
        number = max(frame, newest(segments))
        # The new segment is there before the state says that the old ones are not needed.
        self.journal = Journal(self._segments)
        head = Head(self._segments.newest() + 1, life, self._boot, self._synced)
        self.journal.begin(head, number)
        execute = db.execute
        execute("PRAGMA synchronous=FULL")
        with _whole(db):
            if frames:
                self._replay(db, frames)
            if why is not None:
                # Also a stream that is not configured today must not come back in an old epoch.
                execute("UPDATE streams SET epoch = ''")
            self._note(db, clean=0, frame=number, life=self.journal.life or "")
        execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        self.journal.saved()
        return self._read(db, clean=clean, why=why, saved_ms=meta.get("saved_ms"))

    def _mark(self) -> bytes:
        """What is known of the file: a copy that was put in its place is another one, or was
        changed since. The number alone would not tell: that of a file that is gone is used again.
        """
        found = os.stat(self.path)
        return b"inode %d changed %d" % (found.st_ino, found.st_ctime_ns)

    def _note(self, db: sqlite3.Connection, **facts: int | str) -> None:
        db.executemany("INSERT OR REPLACE INTO meta VALUES (?, ?)", list(facts.items()))

    def _replay(self, db: sqlite3.Connection, frames: Iterable[Frame]) -> None:
        """Save what the journal has, as if a save had come after its last frame."""
        execute = db.execute
        heads = {
            name: (floor, 0 if newest_id is None else newest_id + 1)
            for name, floor, newest_id in execute(
                "SELECT name, floor, (SELECT MAX(n) FROM seen WHERE stream = name) FROM streams"
            )
        }
        cuts, places = cuts_of(frames, heads)
        for cut in cuts:
            head = "SELECT seq FROM streams WHERE name = ?"
            before = None if cut.whole else execute(head, [cut.stream]).fetchone()
            self._save_stream(db, evolve(cut, seq=max(cut.seq, before[0] if before else 0)))
            if cut.whole:
                execute("DELETE FROM places WHERE stream = ? OR stream GLOB ?", _places(cut.stream))
            execute(
                "UPDATE streams SET length = (SELECT COUNT(*) FROM records WHERE stream = name) "
                "WHERE name = ?",
                [cut.stream],
            )
        db.executemany(
            "INSERT OR REPLACE INTO places VALUES (?, ?, ?)",
            [(component, stream, seq) for (component, stream), seq in places.items()],
        )

    def _create(self, db: sqlite3.Connection) -> None:
        version = db.execute("PRAGMA user_version").fetchone()[0]
        if version > SCHEMA:
            raise UserError(
                f"flowd.state: {self.path} was written by a newer flowd (format {version}, this "
                f"one knows {SCHEMA}); install that one, or move the file away"
            )
        if version == SCHEMA:
            return
        # Late: it is a twentieth of a start, with the NumPy that it loads where there is one a
        # sixth, and a file is made once.
        from sqlite_utils import Database

        made = Database(db, execute_plugins=False)
        with made.atomic():
            made.table("meta").create({"name": str, "value": int}, pk="name", if_not_exists=True)
            made.table("streams").create(
                {"name": str, "epoch": str, "seq": int, "floor": int}, pk="name", if_not_exists=True
            )
            # A slot is a table's key, or a history's seq: what supersedes a record overwrites its
            # row.
            made.table("records").create(
                {
                    "stream": str,
                    "slot": str,
                    "seq": int,
                    "time_ms": int,
                    "key": str,
                    "json": bytes,
                },
                pk=("stream", "slot"),
                if_not_exists=True,
            )
            if version < 2:
                # What was saved before has neither, and is not checked.
                made.table("streams").add_column("length", int)
                made.table("records").add_column("crc", int)
            made.table("records").create_index(["stream", "seq"], if_not_exists=True)
            made.table("seen").create(
                {"stream": str, "n": int, "id": str}, pk=("stream", "n"), if_not_exists=True
            )
            made.table("places").create(
                {"component": str, "stream": str, "seq": int},
                pk=("component", "stream"),
                if_not_exists=True,
            )
            db.execute(f"PRAGMA user_version = {SCHEMA}")

    def _read(
        self, db: sqlite3.Connection, *, clean: bool, why: str | None, saved_ms: int | None
    ) -> Loaded:
        execute = db.execute
        streams: dict[str, Rows] = {}
        found = execute("SELECT name, epoch, seq, floor, length FROM streams").fetchall()
        for name, epoch, seq, floor, length in found:
            rows = execute(
                "SELECT seq, time_ms, key, json, crc FROM records WHERE stream = ? ORDER BY seq",
                [name],
            ).fetchall()
            records = [row[:4] for row in rows if row[4] is None or row[4] == zlib.crc32(row[3])]
            if len(records) != (len(rows) if length is None else length):
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
        assert self._file is not None
        if os.stat(self.path).st_ino != os.fstat(self._file).st_ino:
            raise OSError(f"{self.path} is not the file that was opened: it was replaced")
        db = self._db
        with _whole(db):
            for cut in save.cuts:
                self._save_stream(db, cut)
            db.execute("DELETE FROM places")
            db.executemany(
                "INSERT INTO places VALUES (?, ?, ?)",
                [(component, stream, seq) for (component, stream), seq in save.places.items()],
            )
            self._note(
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

    def _save_stream(self, connection: Any, cut: Cut) -> None:
        name = cut.stream
        if cut.whole:
            for table in ("records", "seen"):
                connection.execute(f"DELETE FROM {table} WHERE stream = ?", [name])
        connection.execute(
            "INSERT OR REPLACE INTO streams VALUES (?, ?, ?, ?, ?)",
            [name, cut.epoch, cut.seq, cut.floor, cut.length],
        )
        connection.executemany(
            "DELETE FROM records WHERE stream = ? AND slot = ?",
            [(name, f"k{key}") for key in cut.forgotten],
        )
        connection.executemany(
            "INSERT OR REPLACE INTO records VALUES (?, ?, ?, ?, ?, ?, ?)",
            (
                (name, _slot(r), r.seq, r.time_ms, r.key, r.json, zlib.crc32(r.json))
                for r in cut.records
            ),
        )
        connection.execute("DELETE FROM records WHERE stream = ? AND seq <= ?", [name, cut.floor])
        first = cut.seen_total - len(cut.seen)
        connection.executemany(
            "INSERT OR REPLACE INTO seen VALUES (?, ?, ?)",
            [(name, first + index, id) for index, id in enumerate(cut.seen)],
        )
        connection.execute(
            "DELETE FROM seen WHERE stream = ? AND n < ?", [name, cut.seen_total - SEEN_MAX]
        )

    def _close(self) -> None:
        if self._db is not None:
            self._db.close()
            self._db = None
            if self._closed_in_order:
                self._segments.seal(self._mark())
        self._segments.close()
        if self._file is not None:
            os.close(self._file)  # Not before SQLite is done: this gives back its locks too.
            self._file = None


@contextmanager
def _whole(db: sqlite3.Connection) -> Iterator[None]:
    """All of the block in one transaction, or nothing of it."""
    db.execute("BEGIN")
    with db:
        yield


def _places(stream: str) -> list[str]:
    """All places in a stream: names have no character that means something to GLOB."""
    return [stream, f"{stream}#*"]


def _slot(record: Record[Any]) -> str:
    return f"s{record.seq}" if record.key is None else f"k{record.key}"
