"""What keepers of a history share, whatever they keep it in: what is asked of one that is written
(`Store`) and of one that is read (`Archive`), and how a database is found by its address.

The sink `history` writes and answers; where the records lie is a store's affair. One of its own
keeps them in a file. For `database = "SCHEME://…"` it is the `Database` that an installed plugin
names by an entry point called SCHEME in the group `flowd.histories`.
"""

import importlib.metadata
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Literal, Protocol

from attrs import field, frozen

from flowd.market import VenueSum
from flowd.values import codec
from flowd.values.errors import UserError
from flowd.values.filters import Filter
from flowd.values.record import Gap, Position, Record

GROUP = "flowd.histories"
LIMIT = 1000
SCAN_MAX = 50_000
"""Rows that one page may look at: a filter that few fit makes short pages, not long waits."""
GAPS_MAX = 1000
"""Gaps that one page tells of."""
IDS_MAX = 100_000
"""How many ids of records from before a crash are remembered, to know them when they come again."""
CRASHED = "flowd ended without saving its state; records may be missing here"
FELL_OFF = "the stream's retain was too small: records fell off before they were written"
INT64 = 2**63

Kind = Literal["text", "integer", "number", "decimal", "boolean", "json"]
Columns = list[tuple[str, Kind]]
"""A record class as columns: its fields' names, and in words that are kept what each holds."""

Place = tuple[int, int]
"""Time and row number: where a page ends. Rows keep their numbers for ever."""


class Away(Exception):
    """A history cannot be written or read at the moment, as this says. The same may work later."""


@frozen
class Query:
    """Records from `start_ms` up to but without `end_ms`, ordered by their time."""

    stream: str
    start_ms: int | None = None
    end_ms: int | None = None
    symbols: tuple[str, ...] = ()
    limit: int = LIMIT
    newest_first: bool = False
    place: Place | None = None
    filter: Filter = field(factory=Filter)
    record: type = object
    scan: int = SCAN_MAX


@frozen
class Page:
    """Records as (epoch, JSON), in order. `next` is the place where the next page goes on, None
    after the last one.
    """

    records: list[tuple[str, bytes]]
    next: Place | None
    gaps: list[dict[str, object]]


class Store(Protocol):
    """A history, opened for writing by one thread at a time. All of it may block.

    What it raises: UserError for what somebody must mend, `Away` (or `sqlite3.OperationalError`)
    for what passes; then nothing was done, and the recorder does it again.
    """

    @property
    def where(self) -> str:
        """What messages call it: a path, or an address without its password."""
        ...

    def open(self) -> None:
        """Open it, made if need be."""
        ...

    def add(self, name: str, columns: Columns) -> object:
        """Make room for a stream."""
        ...

    def place(self, name: str) -> Position | None:
        """Up to where the stream is kept; None when nothing is known."""
        ...

    def meet(self, name: str, epoch: str) -> None:
        """The stream has an epoch that is not the place's. What is retained of it comes next."""
        ...

    def write(
        self,
        name: str,
        upto: Position,
        records: Sequence[Record[Any]],
        *,
        gap: Gap | None = None,
        retained: bool = False,
    ) -> None:
        """Add these records, which reach up to this position, all of them or none. With `retained`
        the place stays where it is.
        """
        ...

    def tidy(self, retain_ms: int | None, max_size: int) -> bool:
        """One small step of forgetting and catching up; whether there is more to do."""
        ...

    def figures(self) -> dict[str, float]:
        """What `/status` shows: `used_bytes`, and more."""
        ...

    def problem(self) -> str | None:
        """What is wrong though it is written, for `/health`."""
        ...

    def close(self) -> None:
        """Let go of it."""
        ...


class Takes(Store, Protocol):
    """A store that a whole history can be put into, also behind what it has."""

    def note_gaps(self, name: str, gaps: Sequence[Mapping[str, object]]) -> None:
        """Add gaps as a page tells them, but for those that it knows."""
        ...


class Reading(Protocol):
    """A history as it is at one moment."""

    def kept(self) -> dict[str, Columns]:
        """The streams that it has, with the fields of their records."""
        ...

    def is_keyed(self, stream: str) -> bool:
        """Whether the stream is a table: its records have keys."""
        ...

    def place(self, stream: str) -> Position | None:
        """Up to where the stream was kept."""
        ...

    def page(self, query: Query) -> Page:
        """The records that come next, at most `limit`, and the gaps between them."""
        ...

    def count(self, query: Query) -> int:
        """How many records lie in the range, whatever the filter."""
        ...

    def symbols(self, stream: str) -> list[str]:
        """The symbols of a stream's records, in order."""
        ...


@frozen
class Volume:
    """Liquidations of one symbol added up: what each venue told in each span, by the span's
    beginning; `holes`, between which times records are missing; `since_ms`, when the oldest record
    of all happened, None where there is none.
    """

    parts: list[tuple[int, VenueSum]]
    holes: list[tuple[int, int]]
    since_ms: int | None


class Adding(Reading, Protocol):
    """A look at a history that lies in a database."""

    def volume(self, streams: Sequence[str], symbol: str, edges: Sequence[int]) -> Volume:
        """What the liquidations in these streams come to between each two of these times, exactly:
        of fills the liquidated side, each id once, numbers in their plain form. A venue may have
        several parts in a span, which differ in what they are worth.
        """
        ...


class Archive(Protocol):
    """A history for who reads: any number of threads at a time."""

    @property
    def where(self) -> str:
        """What messages call it."""
        ...

    def reading(self) -> AbstractContextManager[Reading]:
        """A look at it. `Away` when it cannot be had."""
        ...


class Adds(Archive, Protocol):
    """One that lies in a database."""

    def reading(self) -> AbstractContextManager[Adding]:
        """As above."""
        ...


@frozen
class Settings:
    """How a store keeps: `versions` of tables or the newest of each key, and the field `unique` by
    which an event is known that comes again. What cannot be written goes to the file `spill`, which
    is bounded; with 0 there is none, and it is `Away`.
    """

    versions: bool = False
    unique: str = "id"
    spill: Path = Path("history.spill")
    spill_max: int = 1024**3


@frozen
class Database:
    """One sort of database: `store(address, settings)` is for the writer, `archive(address)` for
    readers. Neither connects before it is used.

    `check(address)` raises ValueError with what is wrong about an address, or is not installed.
    """

    store: Callable[[str, Settings], Takes]
    archive: Callable[[str], Adds]
    check: Callable[[str], None]


def database(address: str) -> Database:
    """Who keeps histories at such an address; UserError with a remedy when nobody does."""
    scheme = address.partition("://")[0]
    entries = {one.name: one for one in importlib.metadata.entry_points(group=GROUP)}
    if "://" not in address or scheme not in entries:
        known = ", ".join(f"{name}://" for name in sorted(entries)) or "none"
        raise UserError(
            "database: expected an address such as postgresql://user@host/name; "
            f"installed plugins know: {known}"
        )
    found: Database = entries[scheme].load()
    return found


def gather(
    rows: Iterator[tuple[int, int, str, bytes]], query: Query
) -> tuple[list[tuple[str, bytes]], Place | None]:
    """A page of rows (time, number, epoch, JSON), which come in order from behind the query's
    place, and where the next one goes on; None after the last.
    """
    records: list[tuple[str, bytes]] = []
    last = query.place
    for scanned, (time_ms, row, epoch, json) in enumerate(rows):
        if len(records) == query.limit or scanned == query.scan:
            return records, last
        last = (time_ms, row)
        if query.filter.where is None or _fits(json, query):
            records.append((epoch, json))
    return records, None


def _fits(json: bytes, query: Query) -> bool:
    """Whether the filter shows a record. It shows none that no longer fits the stream's class."""
    assert query.filter.where is not None
    try:
        value: Any = codec.loads_value(json, query.record)
    except ValueError:
        return False
    return query.filter.where(value)


def span(query: Query, reached: Place | None) -> tuple[int | None, int | None]:
    """The part of the range that a page covers which ends at this place: whose gaps it tells of."""
    began = None if query.place is None else query.place[0]
    ended = None if reached is None else reached[0]
    if query.newest_first:
        began, ended = ended, began
    return (
        query.start_ms if began is None else began,
        query.end_ms if ended is None else ended,
    )


def time_and_symbol(value: object, recorded_ms: int) -> tuple[int, str | None]:
    """When a value happened and of what it is, as far as it says so in a way that can be kept."""
    time_ms = getattr(value, "time_ms", None)
    if type(time_ms) is not int or not -INT64 <= time_ms < INT64:
        time_ms = recorded_ms
    symbol = getattr(value, "symbol", None)
    return time_ms, symbol if isinstance(symbol, str) else None
