"""Range queries: what a client asks for, checked; and the page that answers it, read from the file.

Each page is read on a connection of its own and in a short transaction, so that neither the writer
nor its log ever waits for a reader.
"""

import base64
import binascii
import re
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from heapq import merge
from pathlib import Path
from urllib.parse import quote

from attrs import frozen

from flowd.history import GAPS_MAX, LIMIT, Archive, Away, Columns, Page, Place, Query, gather, span
from flowd.plugin import BadRequest, Filter, Position, codec, filters
from flowd_history.sql import GAPS, STREAMS, quoted

LIMIT_MAX = 10_000
PARAMETERS = ("start", "end", "order", "limit", "cursor")
TIME_MAX = 2**53


def parse(stream: str, record: type, wanted: Mapping[str, str]) -> Query:
    """What a client asks for; BadRequest names what is wrong with it."""
    own = {name: text for name, text in wanted.items() if name in PARAMETERS}
    known = sorted(filters.names(record))
    for name in wanted:
        if name not in PARAMETERS and name not in known:
            raise BadRequest(
                f"there is no parameter {name!r:.60} here",
                parameter=name,
                value=wanted[name],
                allowed=[*PARAMETERS, *known],
            )
    filter = filters.parse(record, {name: wanted[name] for name in wanted if name not in own})
    terms = dict(filter.terms)
    symbols = terms.pop("symbol", ())
    order = own.get("order", "asc")
    if order not in ("asc", "desc"):
        raise BadRequest(
            f"order is never {order!r:.60}", parameter="order", value=order, allowed=["asc", "desc"]
        )
    start_ms, end_ms = (moment(name, own[name]) if name in own else None for name in PARAMETERS[:2])
    if start_ms is not None and end_ms is not None and end_ms < start_ms:
        raise BadRequest(
            "end lies before start", parameter="end", value=own["end"], allowed="start or later"
        )
    return Query(
        stream,
        start_ms,
        end_ms,
        symbols,
        _limit(own.get("limit", str(LIMIT))),
        order == "desc",
        _place(own["cursor"], stream, order) if "cursor" in own else None,
        filter if terms else Filter(),
        record,
    )


def moment(name: str, text: str) -> int:
    """A time as clients write it, in milliseconds since 1970; BadRequest when it is none."""
    text = text.strip()
    try:
        if re.fullmatch(r"-?[0-9]{1,16}", text, re.ASCII):
            found = int(text)
        else:
            # In a query an unescaped plus reads as a space: 12:00:00 02:00 was 12:00:00+02:00.
            text = re.sub(r"(T[0-9:.]+) ([0-9:]+)$", r"\1+\2", text)
            time = datetime.fromisoformat(text)
            since = (time if time.tzinfo else time.replace(tzinfo=UTC)) - _EPOCH
            found = (since.days * 86_400 + since.seconds) * 1000 + since.microseconds // 1000
        if abs(found) > TIME_MAX:
            raise ValueError
    except (ValueError, OverflowError):
        raise BadRequest(
            f"{name} is no time",
            parameter=name,
            value=text[:100],
            allowed="milliseconds since 1970, or ISO 8601 such as 2026-11-20T12:00:00Z (UTC unless "
            "it says otherwise)",
        ) from None
    return found


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def _limit(text: str) -> int:
    if re.fullmatch(r"[0-9]{1,6}", text, re.ASCII) and 1 <= int(text) <= LIMIT_MAX:
        return int(text)
    raise BadRequest(
        f"limit must be a whole number from 1 to {LIMIT_MAX}",
        parameter="limit",
        value=text[:100],
        allowed=f"1 to {LIMIT_MAX}; more by following `next`",
    )


def token(query: Query, place: Place) -> str:
    """The cursor that clients hold. It stays good through restarts."""
    order = "desc" if query.newest_first else "asc"
    text = codec.encode([query.stream, order, *place])
    return base64.urlsafe_b64encode(text).rstrip(b"=").decode()


def _place(text: str, stream: str, order: str) -> Place:
    try:
        data = base64.b64decode(text + "=" * (-len(text) % 4), b"-_", validate=True)
        found = codec.decode(data)
        if found[:2] != [stream, order] or [type(part) for part in found[2:]] != [int, int]:
            raise ValueError
        if max(map(abs, found[2:])) >= 2**63:
            raise ValueError
    except (ValueError, TypeError, KeyError, binascii.Error):
        raise BadRequest(
            "this cursor is not of this query",
            parameter="cursor",
            value=text[:100],
            allowed="`next` of an answer for the same stream and order, or nothing to begin anew",
        ) from None
    return found[2], found[3]


# -- reading --


@contextmanager
def reading(path: Path) -> Iterator[sqlite3.Connection]:
    """A connection that sees the file as it is now, and cannot change it."""
    address = f"file:{quote(str(path))}?mode=ro"
    with closing(sqlite3.connect(address, uri=True, isolation_level=None)) as connection:
        connection.execute("BEGIN")
        yield connection


def kept(connection: sqlite3.Connection) -> dict[str, Columns]:
    """The streams that the file has, with the fields of their records."""
    rows = connection.execute(f"SELECT name, columns FROM {quoted(STREAMS)} ORDER BY name")
    return {name: [(column, kind) for column, kind in codec.decode(text)] for name, text in rows}


def is_keyed(connection: sqlite3.Connection, stream: str) -> bool:
    """Whether the stream is a table: its records have keys."""
    sql = f"SELECT 1 FROM {quoted(stream)} WHERE key IS NOT NULL LIMIT 1"
    return connection.execute(sql).fetchone() is not None


def answer(archive: Archive, query: Query) -> bytes:
    """The JSON that answers a query: `{"stream", "records", "next", "gaps"}`. `Away` when the
    history cannot be read.
    """
    with archive.reading() as reading:
        # A stream that the sink has not come to yet has an empty history.
        found = reading.page(query) if query.stream in reading.kept() else Page([], None, [])
    return b'{"stream":%b,"records":[%b],"next":%b,"gaps":%b}\n' % (
        codec.encode(query.stream),
        b",".join([json for _, json in found.records]),
        codec.encode(None if found.next is None else token(query, found.next)),
        codec.encode(found.gaps),
    )


@frozen
class File:
    """A history file, for who reads it."""

    path: Path

    @property
    def where(self) -> str:
        """The file's path."""
        return str(self.path)

    @contextmanager
    def reading(self) -> Iterator["Opened"]:
        """A look at the file as it is now; `Away` when it cannot be read."""
        try:
            with reading(self.path) as connection:
                yield Opened(connection)
        except sqlite3.Error as error:
            raise Away(str(error)) from error


@frozen
class Opened:
    """The file as it was when it was opened."""

    connection: sqlite3.Connection

    def kept(self) -> dict[str, Columns]:
        """The streams that the file has."""
        return kept(self.connection)

    def is_keyed(self, stream: str) -> bool:
        """Whether the stream is a table."""
        return is_keyed(self.connection, stream)

    def place(self, stream: str) -> Position | None:
        """Up to where the stream was kept."""
        sql = f"SELECT epoch, seq FROM {quoted(STREAMS)} WHERE name = ? AND epoch <> ''"
        found = self.connection.execute(sql, [stream]).fetchone()
        return None if found is None else Position(*found)

    def page(self, query: Query) -> Page:
        """The records that come next."""
        return page(self.connection, query)

    def count(self, query: Query) -> int:
        """How many records lie in the range."""
        return count(self.connection, query)

    def symbols(self, stream: str) -> list[str]:
        """The stream's symbols."""
        return symbols(self.connection, stream)


def page(connection: sqlite3.Connection, query: Query) -> Page:
    """The records that come next, at most `limit`, and the gaps between them."""
    records, reached = gather(_rows(connection, query), query)
    return Page(records, reached, _gaps(connection, query, reached))


def count(connection: sqlite3.Connection, query: Query) -> int:
    """How many records lie in the range, whatever the filter."""
    total = 0
    for sql, values in _selects(query, "count(*)", ordered=False):
        total += connection.execute(sql, values).fetchone()[0]
    return total


def symbols(connection: sqlite3.Connection, stream: str) -> list[str]:
    """The symbols of a stream's records, in order."""
    sql = f"SELECT DISTINCT symbol FROM {quoted(stream)} WHERE symbol IS NOT NULL ORDER BY symbol"
    return [symbol for (symbol,) in connection.execute(sql)]


def _rows(connection: sqlite3.Connection, query: Query) -> Iterator[tuple[int, int, str, bytes]]:
    """One row at a time, each symbol by its index: SQLite reads no more than is asked for."""
    columns = "time_ms, row, epoch, CAST(json AS BLOB)"
    selects = [connection.execute(*one) for one in _selects(query, columns, ordered=True)]
    if len(selects) == 1:
        return selects[0]
    return merge(*selects, reverse=query.newest_first)


def _selects(query: Query, columns: str, *, ordered: bool) -> list[tuple[str, list[object]]]:
    down = query.newest_first
    terms: list[str] = []
    values: list[object] = []
    for term, bound in (("time_ms >= ?", query.start_ms), ("time_ms < ?", query.end_ms)):
        if bound is not None:
            terms.append(term)
            values.append(bound)
    if query.place is not None:
        terms += [f"(time_ms, row) {'<' if down else '>'} (?, ?)"]
        values += query.place
    order = f" ORDER BY time_ms {'DESC' if down else 'ASC'}, row {'DESC' if down else 'ASC'}"
    selects: list[tuple[str, list[object]]] = []
    for symbol in query.symbols or (None,):
        every = terms if symbol is None else ["symbol = ?", *terms]
        sql = f"SELECT {columns} FROM {quoted(query.stream)}"
        sql += f" WHERE {' AND '.join(every)}" if every else ""
        sql += order if ordered else ""
        selects.append((sql, values if symbol is None else [symbol, *values]))
    return selects


def _gaps(
    connection: sqlite3.Connection, query: Query, reached: Place | None
) -> list[dict[str, object]]:
    """The gaps that touch this page's part of the range."""
    low, high = span(query, reached)
    names = ("epoch", "first", "last", "from_ms", "to_ms", "reason")
    rows = connection.execute(
        f"SELECT {', '.join(names)} FROM {quoted(GAPS)} WHERE stream = ?1 "
        "AND (?2 IS NULL OR to_ms IS NULL OR to_ms >= ?2) "
        "AND (?3 IS NULL OR from_ms IS NULL OR from_ms <= ?3) ORDER BY rowid LIMIT ?4",
        [query.stream, low, high, GAPS_MAX],
    )
    return [dict(zip(names, row, strict=True)) for row in rows]
