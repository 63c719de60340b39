"""`flowd export`: a stream's history as a file, also while the daemon writes it."""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import Annotated, NoReturn

import typer
from attrs import evolve

from flowd.history import Archive, Away, Columns, Query, Reading
from flowd.plugin import BadRequest, UserError, suggestion
from flowd_history import formats, places, query
from flowd_history.places import Mistake
from flowd_history.query import LIMIT_MAX

Advance = Callable[[int], None]
CANNOT = 2
SHOWN_MAX = 20
"""Symbols that a sentence lists."""


class Format(StrEnum):
    """What an export is written as."""

    csv = "csv"
    jsonl = "jsonl"
    parquet = "parquet"


def export(
    stream: Annotated[str, typer.Argument(help="The stream's name, such as force-orders.")],
    config: Annotated[
        Path, typer.Option("--config", "-c", help="The configuration that names the history.")
    ] = Path("flowd.toml"),
    db: Annotated[
        str | None,
        typer.Option("--db", help="The history itself, a file or address; no --config is needed."),
    ] = None,
    format: Annotated[
        Format | None, typer.Option("--format", "-f", help="Else by --output's name, else jsonl.")
    ] = None,
    start: Annotated[
        str | None, typer.Option(help="From here: 2026-11-20, 2026-11-20T12:00Z, or ms since 1970.")
    ] = None,
    end: Annotated[str | None, typer.Option(help="Up to, but without, this time.")] = None,
    symbol: Annotated[
        str | None, typer.Option(help="Only this one, or several separated by commas.")
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="A file; else standard output.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite a file that exists.")] = False,
    by_day: Annotated[
        bool, typer.Option("--by-day", help="Parquet in a folder, a file for each day (UTC).")
    ] = False,
) -> None:
    """Write a stream's history as CSV, JSON lines or Parquet, oldest record first.

    Reads the file or database of the `history` sink, also while the daemon runs. Exits 2 when it
    cannot.

        flowd export force-orders --symbol BTCUSDT --start 2026-11-01 -o november.csv
    """
    try:
        wanted = _wanted(stream, start, end, symbol)
        chosen = format or (Format.parquet if by_day else _format_of(output))
        if by_day and (chosen is not Format.parquet or output is None):
            raise Mistake("--by-day: makes a folder of Parquet files; name it with --output")
        _check_output(chosen, output, force=force)
        archive = places.archive(db) if db is not None else places.find(config, stream)
        with archive.reading() as reading:
            streams = reading.kept()
            if stream not in streams:
                known = ", ".join(streams) or "none yet"
                raise Mistake(f"{archive.where} has no stream {stream!r}; there are: {known}")
            if wanted.symbols and streams[stream] and "symbol" not in dict(streams[stream]):
                raise Mistake(f"--symbol: the records of {stream} have no symbol")
            keyed = reading.is_keyed(stream)
            total = reading.count(wanted)
            note = "" if total else _nothing(reading, wanted)
        with progress(total) as advance:
            rows = _rows(archive, wanted, advance)
            odd = _write(chosen, output, rows, streams[stream], keyed=keyed, by_day=by_day)
        if odd:
            note = (
                f"{', '.join(odd)}: a text here, since a value is no such number or has too many "
                "digits; nothing is rounded"
            )
        if note:
            _say(note)
    except BadRequest as error:
        fail(f"--{error.parameter} {error.value}: {error}; expected {error.allowed}")
    except Away as error:
        fail(f"{archive.where} cannot be read: {error}")
    except BrokenPipeError:
        # Who read us has seen enough; what is left in the buffer must not fail at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except (places.Mistake, UserError, formats.Missing) as error:
        fail(str(error))
    except OSError as error:
        fail(f"{error.filename or output}: {error.strerror or error}")


def _wanted(stream: str, start: str | None, end: str | None, symbol: str | None) -> Query:
    symbols = tuple(sorted({part.strip() for part in (symbol or "").split(",")} - {""}))
    if symbol is not None and not symbols:
        raise Mistake("--symbol: name at least one")
    start_ms = None if start is None else query.moment("start", start)
    end_ms = None if end is None else query.moment("end", end)
    if start_ms is not None and end_ms is not None and start_ms >= end_ms:
        raise Mistake(f"--start {start} is not before --end {end}")
    return Query(
        stream,
        start_ms,
        end_ms,
        symbols,
        LIMIT_MAX,
    )


def _nothing(reading: Reading, wanted: Query) -> str:
    """Why nothing is exported, in a sentence: an empty file is none."""
    stream, known = wanted.stream, reading.symbols(wanted.stream)
    missing = [symbol for symbol in wanted.symbols if symbol not in known]
    if not missing:
        return f"{stream} has no record in this range"
    shown = ", ".join(known[:SHOWN_MAX]) + (", …" if len(known) > SHOWN_MAX else "")
    remedy = suggestion(missing[0], known) or f"; there are: {shown or 'none yet'}"
    return f"{stream} has no record of {', '.join(missing)}{remedy}"


def _format_of(output: Path | None) -> Format:
    suffix = "" if output is None else output.suffix.removeprefix(".")
    return Format(suffix) if suffix in list(Format) else Format.jsonl


def _rows(archive: Archive, wanted: Query, advance: Advance) -> Iterator[tuple[str, bytes]]:
    """All records of the range, page by page, so that none keeps the daemon's log for long."""
    while True:
        with archive.reading() as reading:
            page = reading.page(wanted)
        yield from page.records
        advance(len(page.records))
        if page.next is None:
            return
        wanted = evolve(wanted, place=page.next)


@contextmanager
def progress(total: int, what: str = "exporting") -> Iterator[Advance]:
    """A bar on standard error, which is told of so many records more. The daemon may write some
    meanwhile: they count to the whole.
    """
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
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(what, total=total)
        done = 0

        def advance(count: int) -> None:
            nonlocal done
            done += count
            bar.update(task, completed=done, total=max(done, total))

        yield advance


def _check_output(format: Format, output: Path | None, *, force: bool) -> None:
    if output is None and format is Format.parquet:
        raise Mistake("parquet is no text: name a file with --output")
    if output is not None and output.exists() and not force:
        raise Mistake(f"{output} exists; give another name, or --force to overwrite it")


def _write(
    format: Format,
    output: Path | None,
    rows: Iterator[tuple[str, bytes]],
    columns: Columns,
    *,
    keyed: bool,
    by_day: bool,
) -> list[str]:
    if output is None:
        formats.write_text(format, sys.stdout.buffer, rows, columns, keyed=keyed)
        sys.stdout.buffer.flush()
        return []
    return formats.write_file(format, output, rows, columns, keyed=keyed, by_day=by_day)


def _say(message: str, command: str = "export") -> None:
    from rich.console import Console

    console = Console(stderr=True, highlight=False, soft_wrap=True)
    console.print(f"flowd {command}: {message}", markup=False)


def fail(message: str, command: str = "export") -> NoReturn:
    """Say so, and end with the code for what cannot be done."""
    _say(message, command)
    raise typer.Exit(CANNOT)
