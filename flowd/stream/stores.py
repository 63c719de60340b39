"""Where snapshots lie: in an SQLite file, or for tests in memory."""

import fcntl
import os
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any, TextIO

import trio
from attrs import evolve
from sqlite_utils import Database

from flowd.stream.cut import Cut
from flowd.stream.log import SEEN_MAX
from flowd.stream.snapshot import Loaded, Rows, Save
from flowd.values.errors import UserError
from flowd.values.record import Record

SCHEMA = 1


class SqliteStore:
    """Snapshots in one SQLite file (WAL), written by one thread at a time."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._limiter = trio.CapacityLimiter(1)
        self._db: Database | None = None
        self._lock: TextIO | None = None

    async def load(self) -> Loaded:
        """Open the file, made if need be. UserError when another daemon has it or it is no state
        file.
        """
        loaded: Loaded = await self._thread(self._load_or_close)
        return loaded

    async def save(self, save: Save) -> None:
        """One transaction."""
        await self._thread(lambda: self._save(save))

    async def close(self) -> None:
        """Close the file."""
        await self._thread(self._close)

    def figures(self) -> dict[str, Any]:
        """Where the file is, and what it takes with its write-ahead log."""
        return {"path": str(self.path), "bytes": size_bytes(self.path)}

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
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._claim()
            connection = sqlite3.connect(self.path, check_same_thread=False, timeout=5.0)
            self._db = Database(connection, execute_plugins=False)
            self._db.enable_wal()
            connection.execute("PRAGMA synchronous=NORMAL")
            self._create(self._db)
            return self._read(self._db)
        except (OSError, sqlite3.Error) as error:
            raise UserError(
                f"flowd.state: {self.path} cannot be used: {error}. "
                "Give another path, or move the file away to start without a memory"
            ) from None

    def _claim(self) -> None:
        """Two daemons on one file would ruin it: hold a lock beside it for as long as we live."""
        self._lock = open(f"{self.path}.lock", "w")  # noqa: SIM115
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(
                f"flowd.state: {self.path} is in use by another flowd; stop that one, "
                "or give this one a state file of its own"
            ) from None

    def _create(self, db: Database) -> None:
        version = db.conn.execute("PRAGMA user_version").fetchone()[0]
        if version > SCHEMA:
            raise UserError(
                f"flowd.state: {self.path} was written by a newer flowd (format {version}, this "
                f"one knows {SCHEMA}); install that one, or move the file away"
            )
        with db.atomic():
            db.table("meta").create({"name": str, "value": int}, pk="name", if_not_exists=True)
            db.table("streams").create(
                {"name": str, "epoch": str, "seq": int, "floor": int}, pk="name", if_not_exists=True
            )
            # A slot is a table's key, or a history's seq: what supersedes a record overwrites its
            # row.
            db.table("records").create(
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
            db.table("records").create_index(["stream", "seq"], if_not_exists=True)
            db.table("seen").create(
                {"stream": str, "n": int, "id": str}, pk=("stream", "n"), if_not_exists=True
            )
            db.table("places").create(
                {"component": str, "stream": str, "seq": int},
                pk=("component", "stream"),
                if_not_exists=True,
            )
            db.conn.execute(f"PRAGMA user_version = {SCHEMA}")

    def _read(self, db: Database) -> Loaded:
        execute = db.conn.execute
        meta = dict(execute("SELECT name, value FROM meta"))
        streams: dict[str, Rows] = {}
        for name, epoch, seq, floor in execute("SELECT name, epoch, seq, floor FROM streams"):
            records = execute(
                "SELECT seq, time_ms, key, json FROM records WHERE stream = ? ORDER BY seq", [name]
            ).fetchall()
            seen = execute("SELECT n, id FROM seen WHERE stream = ? ORDER BY n", [name]).fetchall()
            seen_total = seen[-1][0] + 1 if seen else 0
            streams[name] = Rows(epoch, seq, floor, records, [id for _, id in seen], seen_total)
        places = {
            (component, stream): seq
            for component, stream, seq in execute("SELECT component, stream, seq FROM places")
        }
        with db.atomic():
            if not meta.get("clean", 0):
                # Also a stream that is not configured today must not come back in an old epoch.
                db.conn.execute("UPDATE streams SET epoch = ''")
            db.conn.execute("INSERT OR REPLACE INTO meta VALUES ('clean', 0)")
        return Loaded(bool(meta.get("clean", 0)), meta.get("saved_ms"), streams, places)

    def _save(self, save: Save) -> None:
        assert self._db is not None
        db = self._db
        with db.atomic():
            for cut in save.cuts:
                self._save_stream(db.conn, cut)
            db.conn.execute("DELETE FROM places")
            db.conn.executemany(
                "INSERT INTO places VALUES (?, ?, ?)",
                [(component, stream, seq) for (component, stream), seq in save.places.items()],
            )
            db.conn.executemany(
                "INSERT OR REPLACE INTO meta VALUES (?, ?)",
                [("saved_ms", save.saved_ms), ("clean", int(save.clean))],
            )

    def _save_stream(self, connection: Any, cut: Cut) -> None:
        name = cut.stream
        if cut.whole:
            connection.execute("DELETE FROM records WHERE stream = ?", [name])
        connection.execute(
            "INSERT OR REPLACE INTO streams VALUES (?, ?, ?, ?)",
            [name, cut.epoch, cut.seq, cut.floor],
        )
        connection.executemany(
            "DELETE FROM records WHERE stream = ? AND slot = ?",
            [(name, f"k{key}") for key in cut.forgotten],
        )
        connection.executemany(
            "INSERT OR REPLACE INTO records VALUES (?, ?, ?, ?, ?, ?)",
            [
                (name, _slot(record), record.seq, record.time_ms, record.key, record.json)
                for record in cut.records
            ],
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
            self._db.conn.close()
            self._db = None
        if self._lock is not None:
            self._lock.close()
            self._lock = None


def _slot(record: Record[Any]) -> str:
    return f"s{record.seq}" if record.key is None else f"k{record.key}"


class MemoryStore:
    """A store without a disk, for tests: what was saved lives as long as this object, through any
    crash.
    """

    def __init__(self) -> None:
        self.rows: dict[str, Rows] = {}
        self.places: dict[tuple[str, str], int] = {}
        self.saved_ms: int | None = None
        self.clean = False
        self.saves = 0

    async def load(self) -> Loaded:
        """What the last save left."""
        await trio.lowlevel.checkpoint()
        loaded = Loaded(self.clean, self.saved_ms, dict(self.rows), dict(self.places))
        if not self.clean:
            self.rows = {name: evolve(rows, epoch="") for name, rows in self.rows.items()}
        self.clean = False
        return loaded

    async def save(self, save: Save) -> None:
        """Keep what is new, in one step."""
        await trio.lowlevel.checkpoint()
        for cut in save.cuts:
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
            seen = [*old.seen[: max(0, known)], *cut.seen][-SEEN_MAX:]
            self.rows[cut.stream] = Rows(
                cut.epoch, cut.seq, cut.floor, records, seen, cut.seen_total
            )
        self.places = dict(save.places)
        self.saved_ms, self.clean = save.saved_ms, save.clean
        self.saves += 1

    async def close(self) -> None:
        """Nothing to let go of."""
        await trio.lowlevel.checkpoint()

    def figures(self) -> dict[str, Any]:
        """It is nowhere."""
        return {"path": None, "bytes": 0}


def size_bytes(path: Path) -> int:
    """What a state file and its write-ahead log take on disk."""
    total = 0
    for name in (str(path), f"{path}-wal"):
        try:
            total += os.stat(name).st_size
        except OSError:
            continue
    return total
