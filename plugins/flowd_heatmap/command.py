"""`flowd import-open-interest`: Binance's archive into the file of the heatmap."""

import io
import sqlite3
import zipfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer
from attrs import define, field

from flowd.plugin import UserError, how_to_install
from flowd_heatmap.archive import Refused, samples
from flowd_heatmap.engines import engine_of
from flowd_heatmap.files import File, Unusable
from flowd_heatmap.rows import INTEREST
from flowd_heatmap.shapes import iso

if TYPE_CHECKING:
    from rich.progress import Progress

CANNOT = 2
BATCH = 5000


class Mistake(Exception):
    """Something that cannot work; the message says what to do."""


@define
class Tally:
    """What came of an import."""

    read: int = 0
    added: int = 0
    symbols: Counter[str] = field(factory=Counter)
    first_ms: int | None = None
    last_ms: int | None = None
    refused: int = 0
    not_kept: Counter[str] = field(factory=Counter)


def import_open_interest(
    files: Annotated[
        list[Path], typer.Argument(help="Daily files called metrics, as .csv or .zip.")
    ],
    database: Annotated[
        Path,
        typer.Option(
            "--database",
            "-d",
            help="The heatmap's file, made if need be: SQLite if it ends in .db, else DuckDB.",
        ),
    ],
) -> None:
    """Import open interest from Binance's archive, for months that its REST service has forgotten.

    The files lie at https://data.binance.vision under data/futures/um/daily/metrics. What the file
    has already stays as it is, so an import may be repeated. Rows that are no samples are left
    out and named with their lines. A running daemon keeps a DuckDB file to itself: stop it first;
    SQLite can be imported to meanwhile, and counts from its next start on. Exits 2 when it cannot.

        flowd import-open-interest BTCUSDT-metrics-2026-*.zip --database market.duckdb
    """
    tally = Tally()
    try:
        missing = [str(path) for path in files if not path.is_file()]
        if missing:
            raise Mistake(f"there is no file {', '.join(missing[:5])}")
        with opened(database, read_only=False) as into, bar("importing", len(files)) as progress:
            for path in files:
                _import(path, into, tally)
                progress.advance(progress.task_ids[0])
    except (Mistake, Unusable, UserError) as error:
        fail("import-open-interest", str(error))
    except (OSError, zipfile.BadZipFile, UnicodeDecodeError, sqlite3.Error) as error:
        fail("import-open-interest", f"{path}: {getattr(error, 'strerror', None) or error}")
    _tell(database, tally)


def _import(path: Path, into: File, tally: Tally) -> None:
    for name, lines in _texts(path):
        refused = Refused()
        try:
            found = samples(lines, refused)
            while batch := list(islice(found, BATCH)):
                tally.added += into.write(INTEREST, batch, tally.not_kept)
                tally.read += len(batch)
                for one in batch:
                    tally.symbols[one.symbol] += 1
                times = [one.time_ms for one in batch]
                tally.first_ms = min(times + ([] if tally.first_ms is None else [tally.first_ms]))
                tally.last_ms = max([*times, tally.last_ms or 0])
        except UserError as error:
            raise Mistake(f"{name}: {error}") from None
        for reason, count in refused.counts.items():
            tally.refused += count
            say(f"{name}: {count} rows left out: {reason}; the first is {refused.first[reason]}")


def _texts(path: Path) -> Iterator[tuple[str, io.TextIOBase]]:
    """The tables in a file, with what to call them."""
    if path.suffix != ".zip":
        with path.open(encoding="utf-8", newline="") as lines:
            yield str(path), lines
        return
    with zipfile.ZipFile(path) as archive:
        names = [name for name in archive.namelist() if name.endswith(".csv")]
        if not names:
            raise Mistake(f"{path}: there is no .csv in it")
        for name in names:
            with archive.open(name) as data:
                yield f"{path}:{name}", io.TextIOWrapper(data, encoding="utf-8", newline="")


def _tell(database: Path, tally: Tally) -> None:
    if tally.first_ms is None or tally.last_ms is None:
        say(f"{database}: there was no sample in these files")
        return
    for reason, count in tally.not_kept.items():
        say(f"{count} samples left out: {reason}")
    span = f"{day(tally.first_ms)} to {day(tally.last_ms)}"
    say(
        f"{database}: {tally.added} samples of {', '.join(sorted(tally.symbols))} are new, {span}; "
        f"{tally.read - tally.added} were there already or twice"
    )


@contextmanager
def opened(path: Path, *, read_only: bool) -> Iterator[File]:
    """A file of candles and open interest. Mistake or Unusable when it cannot be opened."""
    try:
        file = File(path, engine_of(path))
    except ImportError:
        raise Mistake(
            f"{path} is a file of DuckDB, which is not installed: "
            f"{how_to_install('flowd-daemon[duckdb]')}, or name one that ends in .db"
        ) from None
    file.open(read_only=read_only)
    try:
        if file.foreign is not None and not read_only:
            raise Mistake(
                f"{path} was made by somebody else and is not written to: {file.foreign}. "
                "Name another file"
            )
        yield file
    finally:
        file.close()


@contextmanager
def bar(what: str, total: int) -> "Iterator[Progress]":
    """A bar on a terminal, with the time that is left."""
    # Late: every command reads this one's options.
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    columns = (TextColumn(what), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress:
        progress.add_task(what, total=total)
        yield progress


def day(time_ms: int) -> str:
    """A time as people write it."""
    return iso(time_ms - time_ms % 1000)


def say(text: str) -> None:
    """A line for who runs it."""
    from rich.console import Console

    Console(stderr=True, highlight=False, soft_wrap=True).print(text, markup=False)


def fail(command: str, message: str) -> NoReturn:
    """Say what is wrong, and end."""
    say(f"flowd {command}: {message}")
    raise typer.Exit(CANNOT)
