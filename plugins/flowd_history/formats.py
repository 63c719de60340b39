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
from pathlib import Path
from typing import IO, Any

from attrs import define

from flowd.history import Columns, Kind
from flowd.plugin import codec
from flowd_history.columns import cells, heading

Rows = Iterator[tuple[str, bytes]]
"""Records as (epoch, JSON)."""

NULL = "\\N"
"""Nothing, in the CSV that DuckDB reads; an empty text is something else."""
INT64 = 2**63
DIGITS_MAX = 38
"""Of a decimal number in Parquet."""


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


def write_file(format: str, path: Path, rows: Rows, columns: Columns, *, keyed: bool) -> None:
    """A whole file, or none: it gets its name when it is complete."""
    duckdb = _duckdb() if format == "parquet" else None
    with tempfile.TemporaryDirectory(prefix=".flowd-export-", dir=path.parent) as directory:
        made = Path(directory) / "export"
        if duckdb is None:
            with made.open("wb") as out:
                write_text(format, out, rows, columns, keyed=keyed)
        else:
            _write_parquet(duckdb, made, rows, columns, keyed=keyed)
        os.replace(made, path)


def _duckdb() -> Any:
    try:
        return importlib.import_module("duckdb")
    except ImportError:
        raise Missing(
            "parquet needs DuckDB, which is not installed: pip install 'flowd-daemon[duckdb]'"
        ) from None


def _write_parquet(duckdb: Any, path: Path, rows: Rows, columns: Columns, *, keyed: bool) -> None:
    """By way of a CSV beside it, which tells how wide the decimals are: none is ever rounded."""
    kinds = [_Column(name, kind) for name, kind in heading(columns, keyed=keyed)]
    between = path.with_suffix(".csv")
    with between.open("w", encoding="utf-8", newline="") as out:
        writer = csv.writer(out)
        for epoch, json in rows:
            row = cells(epoch, json, columns, keyed=keyed)
            for column, cell in zip(kinds, row, strict=True):
                column.note(cell)
            writer.writerow([NULL if cell is None else cell for cell in row])
    types = ", ".join(f"{_text(column.name)}: {_text(column.type)}" for column in kinds)
    connection = duckdb.connect()
    try:
        # All that is needed is built in; nothing may be downloaded.
        connection.execute("SET autoinstall_known_extensions = false")
        connection.execute(
            f"COPY (SELECT * FROM read_csv({_text(str(between))}, auto_detect = false, "
            "header = false, delim = ',', quote = '\"', escape = '\"', new_line = '\\r\\n', "
            f"nullstr = {_text(NULL)}, columns = {{{types}}})) "
            f"TO {_text(str(path))} (FORMAT parquet)"
        )
    finally:
        connection.close()


def _text(text: str) -> str:
    """A text as SQL writes it."""
    return "'" + text.replace("'", "''") + "'"


_FORMS: dict[Kind, re.Pattern[str]] = {
    "integer": re.compile(r"-?[0-9]{1,19}", re.ASCII),
    "number": re.compile(r"-?[0-9]+(\.[0-9]+)?(e[-+]?[0-9]+)?|nan|-?inf", re.ASCII),
    "decimal": re.compile(r"-?([0-9]+)(?:\.([0-9]+))?", re.ASCII),
    "boolean": re.compile("true|false"),
}
_TYPES: dict[Kind, str] = {"integer": "BIGINT", "number": "DOUBLE", "boolean": "BOOLEAN"}


@define
class _Column:
    """A column whose cells have all been seen: its type is the narrowest that holds them all."""

    name: str
    kind: Kind
    whole: int = 1
    fraction: int = 0
    fits: bool = True

    def note(self, cell: str | None) -> None:
        """Take a cell into account. One that is of another kind makes the column a text."""
        if cell is None or self.kind not in _FORMS or not self.fits:
            return
        match = _FORMS[self.kind].fullmatch(cell)
        if match is None or (self.kind == "integer" and not -INT64 <= int(cell) < INT64):
            self.fits = False
        elif self.kind == "decimal":
            self.whole = max(self.whole, len(match[1]))
            self.fraction = max(self.fraction, len(match[2] or ""))

    @property
    def type(self) -> str:
        """As DuckDB calls it."""
        if not self.fits or self.whole + self.fraction > DIGITS_MAX:
            return "VARCHAR"
        if self.kind == "decimal":
            return f"DECIMAL({self.whole + self.fraction}, {self.fraction})"
        return _TYPES.get(self.kind, "VARCHAR")
