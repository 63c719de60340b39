"""The file: one SQLite database (WAL) with a table for each stream. This module alone writes to it.

Rows, the place in the stream up to which they reach, and the gaps between them are written in one
transaction, so that the file says by itself where to go on. Nothing here waits on the loop: all of
it runs in one worker thread at a time.
"""

import fcntl
import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from attrs import define, evolve, field

from flowd.history import CRASHED, FELL_OFF, IDS_MAX, Columns, time_and_symbol
from flowd.plugin import Gap, Position, Record, UserError, codec
from flowd_history import retention
from flowd_history.sql import GAPS, STREAMS, quoted

if TYPE_CHECKING:
    from sqlite_utils import Database

APPLICATION_ID = 0x666C7764
"""`flwd`, in the file's header: this database is one of ours."""
SCHEMA = 1
BUSY_S = 1.0
"""How long SQLite waits for a lock that somebody else holds; so long may that delay a stop."""
CACHE_KIB = 8192
CHECKPOINT_PAGES = 2000
"""How long the write-ahead log gets: about 8 MiB."""
WAL_MAX_BYTES = 64 * 1024 * 1024
"""What the log is cut back to, should a reader have kept it from being reused."""


@define
class Kept:
    """What the file has of one stream."""

    epoch: str = ""
    seq: int = 0
    newest_ms: int | None = None
    gap_open: bool = False
    """Whether the newest gap has no end yet."""
    ids: frozenset[str] = field(default=frozenset(), repr=False)
    """Ids of records from before the daemon's last crash, which may come again."""

    @property
    def position(self) -> Position | None:
        """Everything up to here is in the file; None when nothing is."""
        return Position(self.epoch, self.seq) if self.epoch else None


class Store:
    """The history file, opened for writing."""

    def __init__(
        self, path: Path, *, versions: bool = False, unique: str = "id", busy_s: float = BUSY_S
    ) -> None:
        self.path = path
        self._versions = versions
        self._unique = unique
        self._busy_s = busy_s
        self._lock: TextIO | None = None
        self._db: Database | None = None
        self.kept: dict[str, Kept] = {}

    @property
    def db(self) -> "Database":
        """The open database."""
        assert self._db is not None
        return self._db

    @property
    def where(self) -> str:
        """The file's path."""
        return str(self.path)

    def place(self, name: str) -> Position | None:
        """Up to where the stream is in the file."""
        return self.kept[name].position

    def tidy(self, retain_ms: int | None, max_size: int) -> bool:
        """Forget a step's worth; whether there is more."""
        return retention.tidy(self, retain_ms, max_size)

    def figures(self) -> dict[str, float]:
        """How large it is."""
        return {"used_bytes": retention.used_bytes(self)}

    def problem(self) -> str | None:
        """None: what cannot be written is not written."""
        return None

    def open(self) -> None:
        """Open the file, made if need be. UserError when it is in use or is no history."""
        from sqlite_utils import Database  # The configuration has loaded it already.

        try:
            self._claim()
            # What SQLite puts beside it gets the same mode.
            self.path.touch(mode=0o600)
            connection = sqlite3.connect(
                self.path, check_same_thread=False, timeout=self._busy_s, isolation_level=None
            )
            self._db = Database(connection, execute_plugins=False)
            self._prepare(self._db)
        except BaseException:
            self.close()
            raise

    def _claim(self) -> None:
        """Two daemons would each think that they alone know where to go on."""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._lock = open(f"{self.path}.lock", "w")  # noqa: SIM115
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(
                f"history: {self.path} is in use by another history; "
                "give each [sinks] table of this kind a path of its own"
            ) from None
        except OSError as error:
            raise UserError(
                f"history: {self.path} cannot be opened: {error.strerror}; give another path"
            ) from None

    def _prepare(self, db: "Database") -> None:
        ours, version, tables = (
            db.conn.execute(f"SELECT * FROM {table}").fetchone()[0]
            for table in (
                "pragma_application_id",
                "pragma_user_version",
                "(SELECT count(*) FROM sqlite_master)",
            )
        )
        if tables and ours != APPLICATION_ID:
            raise UserError(
                f"history: {self.path} is a database of something else; give another path"
            )
        if version > SCHEMA:
            raise UserError(
                f"history: {self.path} was written by a newer flowd (format {version}, this one "
                f"knows {SCHEMA}); install that one, or give another path"
            )
        # Before the first page is written: it cannot be changed later without a VACUUM.
        db.conn.execute("PRAGMA auto_vacuum = INCREMENTAL")
        db.enable_wal()
        for pragma in (
            "synchronous = NORMAL",
            f"cache_size = -{CACHE_KIB}",
            f"wal_autocheckpoint = {CHECKPOINT_PAGES}",
            f"journal_size_limit = {WAL_MAX_BYTES}",
        ):
            db.conn.execute(f"PRAGMA {pragma}")
        if tables:
            return
        with db.atomic():
            db.conn.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            db.conn.execute(f"PRAGMA user_version = {SCHEMA}")
            db.table(STREAMS).create(
                {"name": str, "columns": str, "epoch": str, "seq": int, "crash_row": int},
                pk="name",
            )
            db.table(GAPS).create(
                {
                    "stream": str,
                    "epoch": str,
                    "first": int,
                    "last": int,
                    "from_ms": int,
                    "to_ms": int,
                    "reason": str,
                },
            )
            db.table(GAPS).create_index(["stream"])

    def add(self, name: str, columns: Columns) -> Kept:
        """Make room for a stream; what the file has of it already."""
        self._check(name)
        db, table = self.db, quoted(name)
        with db.atomic():
            db.table(name).create(
                {
                    "row": int,
                    "epoch": str,
                    "seq": int,
                    "recorded_ms": int,
                    "time_ms": int,
                    "symbol": str,
                    "key": str,
                    "json": str,
                },
                pk="row",
                if_not_exists=True,
            )
            for index, on in (
                ("UNIQUE INDEX", "(seq, recorded_ms)"),
                ("INDEX", "(time_ms)"),
                ("INDEX", "(symbol, time_ms) WHERE symbol IS NOT NULL"),
                ("INDEX", "(key) WHERE key IS NOT NULL"),
            ):
                label = quoted(f"{name}:{on.partition(')')[0][1:]}")
                db.conn.execute(f"CREATE {index} IF NOT EXISTS {label} ON {table} {on}")
            db.conn.execute(
                f"INSERT INTO {quoted(STREAMS)} (name, columns, epoch, seq) VALUES (?, ?, '', 0) "
                "ON CONFLICT (name) DO UPDATE SET columns = excluded.columns",
                [name, codec.encode(columns).decode()],
            )
        self.kept[name] = kept = self._look(name)
        return kept

    def _check(self, name: str) -> None:
        """SQLite does not tell names apart by case, and keeps some for itself."""
        alike = [
            known
            for (known,) in self.db.conn.execute(f"SELECT name FROM {quoted(STREAMS)}")
            if known != name and known.lower() == name.lower()
        ]
        if alike or name.lower().startswith("sqlite_"):
            why = f"there is {alike[0]!r} already" if alike else "it keeps such names for itself"
            raise UserError(
                f"history: SQLite cannot have a table called {name!r}, since {why}; "
                "give the stream another name, or this sink another path"
            )

    def _look(self, name: str) -> Kept:
        execute, table = self.db.conn.execute, quoted(name)
        epoch, seq, crash_row = execute(
            f"SELECT epoch, seq, crash_row FROM {quoted(STREAMS)} WHERE name = ?", [name]
        ).fetchone()
        newest = execute(f"SELECT recorded_ms FROM {table} ORDER BY row DESC LIMIT 1").fetchone()
        gap_open = execute(
            f"SELECT 1 FROM {quoted(GAPS)} WHERE stream = ? AND to_ms IS NULL", [name]
        ).fetchone()
        return Kept(
            epoch, seq, newest and newest[0], gap_open is not None, self._ids(name, crash_row or 0)
        )

    def _ids(self, name: str, upto_row: int) -> frozenset[str]:
        """The ids of the newest records up to this row."""
        if not self._unique or not upto_row:
            return frozenset()
        rows = self.db.conn.execute(
            "SELECT json_extract(json, ?) FROM "
            f"(SELECT json, key FROM {quoted(name)} WHERE row <= ? ORDER BY row DESC LIMIT ?) "
            "WHERE key IS NULL",
            [f"$.value.{self._unique}", upto_row, IDS_MAX],
        )
        return frozenset(id for (id,) in rows if isinstance(id, str))

    def write(
        self,
        name: str,
        upto: Position,
        records: Sequence[Record[Any]],
        *,
        gap: Gap | None = None,
        retained: bool = False,
    ) -> None:
        """Add these records, which reach up to this position, all of them or none.

        `retained` are records that the stream had when it was met: the place stays where it is
        until a write without them says that they are all there.
        """
        kept, db = evolve(self.kept[name]), self.db
        with db.atomic():
            if gap is not None:
                since_ms = kept.newest_ms
                if since_ms is None and records:
                    since_ms = records[0].time_ms
                self._add_gap(name, (upto.epoch, gap.first, gap.last, since_ms, FELL_OFF))
                kept.gap_open = True
            if records:
                if kept.gap_open and not retained:
                    db.conn.execute(
                        f"UPDATE {quoted(GAPS)} SET to_ms = ? WHERE stream = ? AND to_ms IS NULL",
                        [records[0].time_ms, name],
                    )
                    kept.gap_open = False
                self._insert(name, upto.epoch, records, kept.ids)
                kept.newest_ms = max(kept.newest_ms or 0, records[-1].time_ms)
            if not retained:
                kept.epoch, kept.seq = upto.epoch, upto.seq
                db.conn.execute(
                    f"UPDATE {quoted(STREAMS)} SET epoch = ?, seq = ? WHERE name = ?",
                    [kept.epoch, kept.seq, name],
                )
        self.kept[name] = kept

    def meet(self, name: str, epoch: str) -> None:
        """The stream is new, or begins anew since what it appended after its last save is gone.

        From where the file ends until the next live record, something may be missing. And what
        came last may be delivered once more: the stream has forgotten its ids, the file has not.
        """
        kept, db = evolve(self.kept[name]), self.db
        row, before = db.conn.execute(
            f"SELECT row, epoch FROM {quoted(name)} ORDER BY row DESC LIMIT 1"
        ).fetchone() or (0, kept.epoch)
        if before in ("", epoch):
            return  # Met for the first time, or interrupted when it was.
        with db.atomic():
            db.conn.execute(
                f"UPDATE {quoted(STREAMS)} SET crash_row = ? WHERE name = ?", [row, name]
            )
            kept.ids = self._ids(name, row)
            if not kept.gap_open:
                self._add_gap(name, (epoch, None, None, kept.newest_ms, CRASHED))
                kept.gap_open = True
        self.kept[name] = kept

    def _add_gap(self, name: str, gap: tuple[str, int | None, int | None, int | None, str]) -> None:
        self.db.conn.execute(
            f"INSERT INTO {quoted(GAPS)} (stream, epoch, first, last, from_ms, reason) "
            "VALUES (?, ?, ?, ?, ?, ?)",
            (name, *gap),
        )

    def _insert(
        self, name: str, epoch: str, records: Sequence[Record[Any]], ids: frozenset[str]
    ) -> None:
        """A record is known by its seq and the time at which it was appended: that pair outlives a
        change of epoch, and a new record that takes a lost one's seq has another time.
        """
        conn, table = self.db.conn, quoted(name)
        keyed = [] if self._versions else [one for one in records if one.key is not None]
        if keyed:
            conn.executemany(
                f"DELETE FROM {table} WHERE key = ? AND (recorded_ms, seq) <= (?, ?)",
                [(record.key, record.time_ms, record.seq) for record in keyed],
            )
        # The newest row of a key may be newer than what a restarted stream still knows of it.
        newest = "" if not keyed else f" WHERE NOT EXISTS (SELECT 1 FROM {table} WHERE key = ?6)"
        conn.executemany(
            f"INSERT OR IGNORE INTO {table} "
            "(epoch, seq, recorded_ms, time_ms, symbol, key, json) "
            f"SELECT ?1, ?2, ?3, ?4, ?5, ?6, CAST(?7 AS TEXT){newest}",
            self._rows(epoch, records, ids),
        )

    def _rows(
        self, epoch: str, records: Sequence[Record[Any]], ids: frozenset[str]
    ) -> Iterator[tuple[object, ...]]:
        # Rows are made one by one while SQLite takes them: it lets go of the interpreter at each,
        # so that the loop never waits for a whole batch. A record's JSON may be made here and on
        # the loop at the same time; both make the same bytes.
        unique = self._unique
        for record in records:
            value, key = record.value, record.key
            if ids and key is None and getattr(value, unique, None) in ids:
                continue
            time_ms, symbol = time_and_symbol(value, record.time_ms)
            yield epoch, record.seq, record.time_ms, time_ms, symbol, key, record.json

    def close(self) -> None:
        """Close the file, and let go of it."""
        if self._db is not None:
            self._db.conn.close()
            self._db = None
        if self._lock is not None:
            self._lock.close()
            self._lock = None
