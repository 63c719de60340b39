"""The two kinds of file that keep candles and open interest, and what differs between them."""

import sqlite3
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

from flowd_heatmap.rows import Kind, Table

SQLITE = (".db", ".sqlite", ".sqlite3")
BUSY_S = 1.0
"""How long SQLite waits for a lock that somebody else holds."""


class Engine(Protocol):
    """What differs between the two kinds of file."""

    errors: tuple[type[Exception], ...]

    def connect(self, path: Path, *, read_only: bool) -> Any:
        """A connection."""
        ...

    def reader(self, connection: Any, path: Path) -> Any:
        """A further one for one reader."""
        ...

    def type(self, kind: Kind) -> str:
        """A column's type."""
        ...

    def compared(self, column: str) -> str:
        """A number in a check."""
        ...

    def time(self, column: str, type: str) -> str:
        """A time in milliseconds."""
        ...

    def insert(self, connection: Any, table: Table[Any], rows: Sequence[Sequence[Any]]) -> int:
        """Add rows whose keys are not there; how many those were."""
        ...


class Duck:
    """DuckDB, from 1.4 on."""

    def __init__(self) -> None:
        self._module: Any = import_module("duckdb")
        self.errors: tuple[type[Exception], ...] = (self._module.Error, OSError)

    def connect(self, path: Path, *, read_only: bool) -> Any:
        """A connection. All that is needed is built in; nothing may be downloaded. What it writes
        can be read by any DuckDB that we know.
        """
        if not read_only and path.exists() and not path.stat().st_size:
            # Made and never written to, as by a full disk: it would be taken for damaged.
            path.unlink()
        settings = {
            "storage_compatibility_version": "v1.4.0",
            "threads": "1",
            "autoinstall_known_extensions": "false",
            "autoload_known_extensions": "false",
        }
        return self._module.connect(str(path), read_only=read_only, config=settings)

    def reader(self, connection: Any, path: Path) -> Any:
        """A further one for one reader."""
        return connection.cursor()

    def type(self, kind: Kind) -> str:
        """A column's type."""
        return {
            "time": "BIGINT",
            "text": "VARCHAR",
            "count": "BIGINT",
            "price": "DECIMAL(18,8)",
            "amount": "DECIMAL(20,8)",
        }[kind]

    def compared(self, column: str) -> str:
        """A number in a check."""
        return column

    def time(self, column: str, type: str) -> str:
        """A time in milliseconds. Not all widths of timestamps can be asked for them."""
        if "INT" in type:
            return column
        if "ZONE" in type:
            return f"epoch_ms({column})"
        return f"epoch_ms(CAST({column} AS TIMESTAMP))"

    def insert(self, connection: Any, table: Table[Any], rows: Sequence[Sequence[Any]]) -> int:
        """Add rows whose keys are not there; how many those were.

        By way of arrays: parameters cost 1.4 milliseconds each.
        """
        import numpy as np

        whole = ("time", "count")
        arriving = {
            name: np.array(cells, np.int64 if kind in whole else object)
            for (name, kind), cells in zip(
                table.columns.items(), zip(*rows, strict=True), strict=True
            )
        }
        casts = ", ".join(f'"{name}"::{self.type(kind)}' for name, kind in table.columns.items())
        connection.register("arriving", arriving)
        try:
            added = connection.execute(
                f"INSERT INTO {table.name} ({_names(table)}) SELECT {casts} FROM arriving "
                "ON CONFLICT DO NOTHING"
            )
            return int(added.fetchone()[0])
        finally:
            connection.unregister("arriving")


class Lite:
    """SQLite."""

    errors: tuple[type[Exception], ...] = (sqlite3.Error, OSError)

    def connect(self, path: Path, *, read_only: bool) -> Any:
        """A connection. It is used from one thread at a time, and not always the same."""
        address = f"{path.absolute().as_uri()}?mode={'ro' if read_only else 'rwc'}"
        connection = sqlite3.connect(
            address, uri=True, timeout=BUSY_S, isolation_level=None, check_same_thread=False
        )
        if not read_only:
            connection.execute("PRAGMA journal_mode = WAL")
        return connection

    def reader(self, connection: Any, path: Path) -> Any:
        """A further one for one reader."""
        return self.connect(path, read_only=True)

    def type(self, kind: Kind) -> str:
        """A column's type: text keeps all digits."""
        return "INTEGER" if kind in ("time", "count") else "TEXT"

    def compared(self, column: str) -> str:
        """A number in a check. As floats these may seem equal, but never the other way round."""
        return f"CAST({column} AS REAL)"

    def time(self, column: str, type: str) -> str:
        """A time in milliseconds."""
        if type == "INTEGER":
            return column
        return (
            f"CASE typeof({column}) WHEN 'integer' THEN {column} "
            f"ELSE CAST(strftime('%s', {column}) AS INTEGER) * 1000 END"
        )

    def insert(self, connection: Any, table: Table[Any], rows: Sequence[Sequence[Any]]) -> int:
        """Add rows whose keys are not there; how many those were."""
        places = ", ".join("?" * len(table.columns))
        before = connection.total_changes
        connection.executemany(
            f"INSERT INTO {table.name} ({_names(table)}) VALUES ({places}) ON CONFLICT DO NOTHING",
            rows,
        )
        return int(connection.total_changes - before)


def engine_of(path: Path) -> Engine:
    """The kind of file that a name stands for. ImportError where DuckDB is not installed."""
    return Lite() if path.suffix in SQLITE else Duck()


def _names(table: Table[Any]) -> str:
    return ", ".join(f'"{name}"' for name in table.columns)
