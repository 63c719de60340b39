"""`flowd import`: a whole history, or an export of a stream, into a database, also while flowd
writes to it.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import groupby
from pathlib import Path
from types import SimpleNamespace
from typing import Annotated, Any

import typer
from attrs import evolve

from flowd.history import Archive, Away, Query, Reading, Settings, Takes, database
from flowd.plugin import Position, Record, UserError, codec
from flowd_history import command, places
from flowd_history.places import Mistake
from flowd_history.query import LIMIT_MAX

Rows = list[tuple[str, bytes]]


def import_history(
    source: Annotated[
        str,
        typer.Argument(help="A history file, the address of a database, or an export (.jsonl)."),
    ],
    config: Annotated[
        Path, typer.Option("--config", "-c", help="The configuration that names the database.")
    ] = Path("flowd.toml"),
    db: Annotated[
        str | None, typer.Option("--db", help="The database's address; no --config is needed.")
    ] = None,
    stream: Annotated[
        list[str] | None,
        typer.Option("--stream", "-s", help="Only this one; again for more. Of an export: its."),
    ] = None,
) -> None:
    """Put a history into the database of the `history` sink. What is there is not written twice.

    From a history: records, gaps and how far each stream was kept, so that flowd goes on with the
    database where it left the file. From an export: its records. Exits 2 when it cannot.

        flowd import history.db
        flowd import november.jsonl --stream force-orders
    """
    try:
        address, versions, unique = _target(config, db)
        store = database(address).store(address, Settings(versions, unique, spill_max=0))
        store.open()
        try:
            if Path(source).suffix == ".jsonl":
                _import_lines(Path(source), stream or [], address, store)
            else:
                _import_archive(source, stream, store)
        finally:
            store.close()
    except Away as error:
        command.fail(f"{error}; run the same again: what is there is not written twice", "import")
    except (Mistake, UserError) as error:
        command.fail(str(error), "import")
    except OSError as error:
        command.fail(f"{error.filename or source}: {error.strerror or error}", "import")


def _target(config: Path, db: str | None) -> tuple[str, bool, str]:
    """The address, whether tables are kept in versions, and the field that is unique."""
    if db is not None:
        if "://" not in db:
            raise Mistake("--db: a history is put into a database, such as postgresql://host/name")
        return places.checked(db), False, "id"
    found = [(places.address_of(sink), sink) for sink in places.histories(config)]
    bases = [(address, sink) for address, sink in found if address is not None]
    if len(bases) != 1:
        raise Mistake(
            f'{config}: has {len(bases) or "no"} sinks of kind = "history" with a `database`; '
            "name it with --db"
        )
    ((address, sink),) = bases
    versions = sink.get("tables") == "versions"
    return places.checked(address), versions, str(sink.get("unique", "id"))


def _import_archive(source: str, wanted: list[str] | None, store: Takes) -> None:
    archive = places.archive(source)
    with _look(archive) as reading:
        kept = reading.kept()
        for name in wanted or ():
            if name not in kept:
                known = ", ".join(kept) or "none yet"
                raise Mistake(f"{archive.where} has no stream {name!r}; there are: {known}")
        names = wanted or list(kept)
        total = sum(reading.count(Query(name)) for name in names)
        places_of = {name: reading.place(name) for name in names}
    with command.progress(total, "importing") as advance:
        for name in names:
            store.add(name, kept[name])
            query = Query(name, limit=LIMIT_MAX)
            while True:
                with _look(archive) as reading:
                    page = reading.page(query)
                _put(store, name, page.records, advance)
                store.note_gaps(name, page.gaps)
                if page.next is None:
                    break
                query = evolve(query, place=page.next)
            place = places_of[name]
            if place is not None and store.place(name) is None:
                store.write(name, place, [])


@contextmanager
def _look(archive: Archive) -> Iterator[Reading]:
    try:
        with archive.reading() as reading:
            yield reading
    except Away as error:
        raise Mistake(f"{archive.where} cannot be read: {error}") from None


def _import_lines(path: Path, wanted: list[str], address: str, store: Takes) -> None:
    if len(wanted) != 1:
        raise Mistake("an export has one stream: say which, with --stream NAME")
    (name,) = wanted
    with database(address).archive(address).reading() as reading:
        columns = reading.kept().get(name, [])
    with path.open("rb") as file:
        total = sum(1 for _ in file)
    store.add(name, columns)
    with command.progress(total, "importing") as advance:
        batch: Rows = []
        for row in _lines(path):
            batch.append(row)
            if len(batch) == LIMIT_MAX:
                _put(store, name, batch, advance)
                batch = []
        _put(store, name, batch, advance)


def _lines(path: Path) -> Iterator[tuple[str, bytes]]:
    """Records as (epoch, JSON) of an export."""
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            try:
                found = codec.decode(line)
                epoch, json = found.pop("epoch"), line.strip()
                Position.parse(f"{epoch}.{found['seq']}")
                head = b'{"epoch":%b,' % codec.encode(epoch)
                # What flowd wrote is kept as it is, byte for byte.
                own = json.startswith(head)
                yield epoch, b"{" + json[len(head) :] if own else codec.encode(found)
            except (ValueError, TypeError, KeyError, AttributeError):
                raise Mistake(
                    f"{path}:{number}: is no line of an export with its `epoch`; export it again: "
                    "flowd export … --format jsonl"
                ) from None


def _put(store: Takes, name: str, rows: Rows, advance: command.Advance) -> None:
    for epoch, group in groupby(rows, key=lambda row: row[0]):
        records = [_record(json) for _, json in group]
        upto = Position(epoch, max(record.seq for record in records))
        records.sort(key=lambda record: (record.time_ms, record.seq))
        store.write(name, upto, records, retained=True)
        advance(len(records))


def _record(json: bytes) -> Record[Any]:
    """A record as it was written. Of its value only what a store looks at is read."""
    try:
        found = codec.decode(json)
        record = Record.written(found["seq"], found["time_ms"], found.get("key"), json)
        value = found["value"]
    except (ValueError, TypeError, KeyError):
        raise Mistake(f"{json[:200]!r} is no record") from None
    record.value = SimpleNamespace(**value) if isinstance(value, dict) else value
    return record
