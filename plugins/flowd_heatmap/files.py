"""The file that keeps candles and open interest: DuckDB, or SQLite by its name. Nothing here waits
on the loop: it runs in threads, one call at a time for each connection.

A file that somebody else made is read as it is, and never written to.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from flowd.market import Candle, OpenInterest
from flowd_heatmap.engines import Engine
from flowd_heatmap.rows import CANDLES, INTEREST, Kind, Refused, Table

TABLES: tuple[Table[Any], ...] = (INTEREST, CANDLES)
PAGE = 200
"""Rows that are taken out of a query at once."""
REMEDIES = {
    "lock": "stop who has it open",
    "can only read versions": "a newer DuckDB wrote it: pip install --upgrade duckdb",
    "not a valid duckdb": "move it away to begin a new one, or name another",
    "not a database": "move it away to begin a new one, or name another",
    "malformed": "move it away to begin a new one",
    "corrupt": "move it away to begin a new one",
    "no space": "make room on its disk",
    "is full": "make room on its disk",
    "readonly": "let flowd's user write to it and its directory",
    "read-only": "let flowd's user write to it and its directory",
    "denied": "let flowd's user write to it and its directory",
}


class Unusable(Exception):
    """The file cannot be read or written now; in words that say what to do."""


class File:
    """One file, opened for writing unless it is somebody else's."""

    def __init__(self, path: Path, engine: Engine) -> None:
        self.path = path
        self.foreign: str | None = None
        """Why it is never written to."""
        self.openings = 0
        """How often it was opened: each time it may be another file."""
        self._identity: tuple[int, int] | None = None
        self._engine = engine
        self._connection: Any = None
        self._found: dict[str, dict[str, str]] = {}
        """The tables that are there, and the types of their columns."""

    def open(self, *, read_only: bool = False) -> None:
        """Open it, made if need be; also where another lies in its place by now. Somebody else's is
        opened for reading alone.
        """
        with self._told("opened"):
            if self._connection is not None:
                if self._identity == self._look_at():
                    return
                self.close()
            self._open(read_only)
            self._identity = self._look_at()
            self.openings += 1

    def _look_at(self) -> tuple[int, int] | None:
        """Which file lies there."""
        try:
            stat = self.path.stat()
        except FileNotFoundError:
            return None
        return stat.st_dev, stat.st_ino

    def _open(self, read_only: bool) -> None:
        if self.path.exists() and self.path.stat().st_size:
            self._connection = self._engine.connect(self.path, read_only=True)
            self._look()
            if read_only or self.foreign is not None:
                return
            self._disconnect()
        elif read_only:
            raise FileNotFoundError(2, "there is no such file")
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._connection = self._engine.connect(self.path, read_only=False)
        for table in TABLES:
            self._connection.execute(_create(table, self._engine))
        self._look()

    def _look(self) -> None:
        """What tables there are, and whether they are ours."""
        self._found, self.foreign = {}, None
        for table in TABLES:
            # DuckDB has this name for it, too.
            there = self._connection.execute(
                "SELECT count(*) FROM sqlite_master WHERE name = ?", [table.name]
            )
            if not there.fetchone()[0]:
                continue
            columns = self._connection.execute(f"PRAGMA table_info('{table.name}')").fetchall()
            self._found[table.name] = {row[1]: str(row[2]).upper() for row in columns}
            key = {row[1] for row in columns if row[5]}
            if key != set(table.key):
                by = ", ".join(sorted(key)) or "nothing"
                self.foreign = f"{table.name} knows its rows by {by}, not by {', '.join(table.key)}"
            elif missing := [name for name in table.columns if name not in self._found[table.name]]:
                self.foreign = f"{table.name} has no {', '.join(missing)}"

    def write(self, table: Table[Any], values: Sequence[Any], refused: Counter[str]) -> int:
        """Add these, all or none; what is there already stays. How many were new. What is no row is
        counted in `refused`.
        """
        rows = []
        for value in values:
            try:
                rows.append(table.row(value))
            except Refused as error:
                refused[str(error)] += 1
        if not rows:
            return 0
        with self._told("written"):
            self._connection.execute("BEGIN TRANSACTION")
            added = self._engine.insert(self._connection, table, rows)
            self._connection.execute("COMMIT")
        return added

    def interrupt(self) -> None:
        """End what is being done; from any thread."""
        connection = self._connection
        if connection is not None:
            connection.interrupt()

    def reader(self, table: Table[Any], since_ms: int, symbols: Sequence[str] = ()) -> "Reader":
        """What a table has from this time on, in its order; of all symbols or these."""
        with self._told("read"):
            types = self._found.get(table.name)
            if types is None:
                return Reader(table, None, "read", self)
            if missing := [name for name in table.needed if name not in types]:
                raise OSError(f"{table.name} has no {', '.join(missing)}")
            picked = [self._picked(name, kind, types) for name, kind in table.columns.items()]
            time = self._picked(table.key[1], "time", types)
            wanted = f" AND symbol IN ({', '.join('?' * len(symbols))})" if symbols else ""
            cursor = self._engine.reader(self._connection, self.path)
            query = (
                f"SELECT {', '.join(picked)} FROM {table.name} WHERE {time} >= ?{wanted} "
                f"ORDER BY {time}"
            )
            return Reader(table, cursor, query, self, (since_ms, *symbols))

    def _picked(self, name: str, kind: Kind, types: dict[str, str]) -> str:
        if name not in types:
            return "NULL"
        column = f'"{name}"'
        return self._engine.time(column, types[name]) if kind == "time" else column

    def close(self) -> None:
        """Close it. What was not committed is gone."""
        # It may be the disk that does not let it; what was committed is in the log beside it.
        with suppress(*self._engine.errors):
            self._disconnect()

    def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    @contextmanager
    def _told(self, what: str) -> Iterator[None]:
        """What goes wrong is told in our words, and the file is closed: a connection that failed
        may be good for nothing any more.
        """
        try:
            yield
        except self._engine.errors as error:
            if what != "read":
                self.close()
            raise Unusable(f"{self.path} cannot be {what}: {_reason(error)}") from None


class Reader:
    """One reader's way through a table, in a connection of its own."""

    def __init__(
        self,
        table: Table[Any],
        cursor: Any,
        query: str,
        file: File,
        values: Sequence[Any] = (),
    ) -> None:
        self.refused: Counter[str] = Counter()
        self._table = table
        self._cursor = cursor
        self._query: str | None = query
        self._file = file
        self._values = values
        self._answer: Any = None

    def page(self) -> list[Candle | OpenInterest] | None:
        """Some more, None when there is no more."""
        if self._cursor is None:
            return None
        with self._file._told("read"):
            if self._query is not None:
                self._answer = self._cursor.execute(self._query, list(self._values))
                self._query = None
            rows = self._answer.fetchmany(PAGE)
        if not rows:
            return None
        found = []
        for row in rows:
            try:
                found.append(self._table.value(row))
            except Refused as error:
                self.refused[str(error)] += 1
        return found

    def interrupt(self) -> None:
        """End what is being done; from any thread."""
        if self._cursor is not None:
            self._cursor.interrupt()

    def close(self) -> None:
        """Let go of the connection."""
        if self._cursor is not None:
            self._cursor.close()
            self._cursor = None


def _create(table: Table[Any], engine: Engine) -> str:
    columns = [
        f'"{name}" {engine.type(kind)}{" NOT NULL" if name in table.needed else ""}'
        for name, kind in table.columns.items()
    ]
    checks = [
        f"CHECK ({engine.compared(one)} {sign} "
        f"{engine.compared(other) if other.isidentifier() else other})"
        for one, sign, other in table.checks
    ]
    return (
        f"CREATE TABLE IF NOT EXISTS {table.name} "
        f"({', '.join([*columns, *checks])}, PRIMARY KEY ({', '.join(table.key)}))"
    )


def _reason(error: Exception) -> str:
    """What an engine says of a failure, in a line, and what to do about it."""
    strerror = getattr(error, "strerror", None)
    said = (strerror or str(error)).partition("\n")[0].partition(". See also")[0].rstrip(".")
    lower = said.lower()
    remedy = next((remedy for word, remedy in REMEDIES.items() if word in lower), None)
    return said if remedy is None else f"{said}; {remedy}"
