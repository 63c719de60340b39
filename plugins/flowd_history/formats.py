"""How an export is written: JSON lines as they were served, behind their epoch; CSV; and Parquet
through DuckDB.
"""

import csv
import importlib
import io
import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import IO, Any

from attrs import define

from flowd.history import Columns, Kind
from flowd.plugin import codec, how_to_install
from flowd_history.columns import cells, heading

Rows = Iterator[tuple[str, bytes]]
"""Records as (epoch, JSON)."""

NULL = "\\N"
"""Nothing, in the CSV that DuckDB reads; an empty text is something else."""
INT64 = 2**63
WHOLE, FRACTION = 20, 18
"""Digits of a decimal in Parquet, before and behind the point: DECIMAL(38, 18) in every file."""


class Missing(Exception):
    """A format needs what is not installed."""


def write_text(format: str, out: IO[bytes], rows: Rows, columns: Columns, *, keyed: bool) -> None:
    """JSON lines or CSV, as it comes."""
    if format == "jsonl":
        for epoch, json in rows:
            out.write(b'{"epoch":%b,%b\n' % (codec.encode(epoch), json[1:]))
        return
    text = io.TextIOWrapper(out, encoding="utf-8", newline="", write_through=True)
    try:
        writer = csv.writer(text)
        writer.writerow([name for name, _ in heading(columns, keyed=keyed)])
        for epoch, json in rows:
            writer.writerow(cells(epoch, json, columns, keyed=keyed))
    finally:
        text.detach()


def write_file(
    format: str, path: Path, rows: Rows, columns: Columns, *, keyed: bool, by_day: bool = False
) -> list[str]:
    """A whole file, or none: it gets its name when it is complete. With `by_day` it is a folder of
    Parquet files, `day=2026-11-01/data_0.parquet`. Names the columns that are texts since one of
    their values is not what the column holds.
    """
    odd: list[str] = []
    duckdb = _duckdb() if format == "parquet" else None
    with tempfile.TemporaryDirectory(prefix=".flowd-export-", dir=path.parent) as directory:
        made = Path(directory) / "export"
        if duckdb is None:
            with made.open("wb") as out:
                write_text(format, out, rows, columns, keyed=keyed)
        else:
            odd = _write_parquet(duckdb, made, rows, columns, keyed=keyed, by_day=by_day)
        if by_day and path.exists():
            os.replace(path, Path(directory) / "before")
        os.replace(made, path)
    return odd


def _duckdb() -> Any:
    try:
        return importlib.import_module("duckdb")
    except ImportError:
        raise Missing(
            "parquet needs DuckDB, which is not installed: "
            + how_to_install("flowd-daemon[duckdb]")
        ) from None


def _write_parquet(
    duckdb: Any, path: Path, rows: Rows, columns: Columns, *, keyed: bool, by_day: bool
) -> list[str]:
    """By way of a CSV beside it, which tells whether all values fit: none is ever rounded."""
    kinds = [_Column(name, kind) for name, kind in heading(columns, keyed=keyed)]
    names = [column.name for column in kinds]
    day = "day" if "day" not in names else "day_utc"
    when = names.index("time_ms" if "time_ms" in names else "recorded_ms")
    between = path.with_suffix(".csv")
    with between.open("w", encoding="utf-8", newline="") as out:
        writer = csv.writer(out)
        for epoch, json in rows:
            row = cells(epoch, json, columns, keyed=keyed)
            for column, cell in zip(kinds, row, strict=True):
                column.note(cell)
            days = [_day(row[when], row[names.index("recorded_ms")])] if by_day else []
            writer.writerow([NULL if cell is None else cell for cell in [*row, *days]])
    if by_day:
        kinds.append(_Column(day, "text"))
        path.mkdir()
    types = ", ".join(f"{_text(column.name)}: {_text(column.type)}" for column in kinds)
    connection = duckdb.connect()
    try:
        # All that is needed is built in; nothing may be downloaded.
        connection.execute("SET autoinstall_known_extensions = false")
        connection.execute(
            f"COPY (SELECT * FROM read_csv({_text(str(between))}, auto_detect = false, "
            "header = false, delim = ',', quote = '\"', escape = '\"', new_line = '\\r\\n', "
            f"nullstr = {_text(NULL)}, columns = {{{types}}})) "
            f"TO {_text(str(path))} (FORMAT parquet{f', PARTITION_BY ({day})' if by_day else ''})"
        )
    finally:
        connection.close()
    return [column.name for column in kinds if not column.fits]


def _day(time_ms: str | None, recorded_ms: str | None) -> str:
    """The day on which it happened, in UTC; for what has no time that a calendar knows, the day on
    which it was recorded.
    """
    for text in (time_ms, recorded_ms):
        with suppress(ValueError, OverflowError):
            return f"{_EPOCH + timedelta(milliseconds=int(text or '')):%Y-%m-%d}"
    return f"{_EPOCH:%Y-%m-%d}"


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def _text(text: str) -> str:
    """A text as SQL writes it."""
    return "'" + text.replace("'", "''") + "'"


_FORMS: dict[Kind, re.Pattern[str]] = {
    "integer": re.compile(r"-?[0-9]{1,19}", re.ASCII),
    "number": re.compile(r"-?[0-9]+(\.[0-9]+)?(e[-+]?[0-9]+)?|nan|-?inf", re.ASCII),
    "decimal": re.compile(r"-?([0-9]+)(?:\.([0-9]+))?", re.ASCII),
    "boolean": re.compile("true|false"),
}
_TYPES: dict[Kind, str] = {
    "integer": "BIGINT",
    "number": "DOUBLE",
    "decimal": f"DECIMAL({WHOLE + FRACTION}, {FRACTION})",
    "boolean": "BOOLEAN",
}


@define
class _Column:
    """A column, and whether all cells that were seen are what it holds: then it has the type that
    it has in every export, so that several can be read together.
    """

    name: str
    kind: Kind
    fits: bool = True

    def note(self, cell: str | None) -> None:
        """Take a cell into account. One that is of another kind makes the column a text."""
        if cell is None or self.kind not in _FORMS or not self.fits:
            return
        match = _FORMS[self.kind].fullmatch(cell)
        if match is None or (self.kind == "integer" and not -INT64 <= int(cell) < INT64):
            self.fits = False
        elif self.kind == "decimal":
            whole, fraction = match[1].lstrip("0"), (match[2] or "").rstrip("0")
            self.fits = len(whole) <= WHOLE and len(fraction) <= FRACTION

    @property
    def type(self) -> str:
        """As DuckDB calls it."""
        return _TYPES.get(self.kind, "VARCHAR") if self.fits else "VARCHAR"
