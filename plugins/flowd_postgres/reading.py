"""Reading: a look at the tables in a transaction of its own, on a connection that is kept for the
next one.
"""

import threading
import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from heapq import merge
from itertools import count as numbers
from typing import LiteralString

import psycopg
from psycopg import sql

from flowd.history import GAPS_MAX, Away, Columns, Page, Place, Query, Volume, gather, span
from flowd.market import VenueSum, trimmed
from flowd.plugin import Position, UserError, codec
from flowd_postgres.connecting import Dropped, Refused, connect, shown, told

IDLE_MAX = 4
"""Connections that are kept for the next query."""
CHUNK = 2000
"""Rows that are fetched at once for a filter, which may want few of them."""
ROWS: LiteralString = "SELECT time_ms, number, epoch, json::text FROM {} WHERE {} {}"
GAPS: LiteralString = (
    "SELECT epoch, first, last, from_ms, to_ms, reason FROM flowd.gaps WHERE stream = %(stream)s "
    "AND (%(low)s::bigint IS NULL OR to_ms IS NULL OR to_ms >= %(low)s) "
    "AND (%(high)s::bigint IS NULL OR from_ms IS NULL OR from_ms <= %(high)s) "
    "ORDER BY id LIMIT %(limit)s"
)
ORDERS: LiteralString = """
    SELECT r.stream, r.recorded_ms, r.time_ms, v.id, v.side, v.notional,
        coalesce(v.venue, CASE WHEN v.address IS NULL THEN 'binance' ELSE 'hyperliquid' END)
            AS venue,
        coalesce(v.price_kind, 'fill') AS price_kind,
        coalesce(v.coverage, CASE WHEN v.address IS NULL THEN 'sampled' ELSE 'all' END) AS coverage
    FROM flowd.records r, json_to_record(r.json->'value') AS v(
        id text, side text, notional numeric, venue text, price_kind text, coverage text,
        address text, role text)
    WHERE r.stream = ANY(%(streams)s) AND r.symbol = %(symbol)s
        AND r.time_ms >= %(start)s AND r.time_ms < %(end)s
        AND (v.address IS NULL OR v.role = 'liquidated')"""
"""Liquidations, and fills, which alone have an address. What was saved before venues were noted has
those that its class has.
"""
ONCE: LiteralString = "SELECT DISTINCT ON (id) * FROM orders ORDER BY id, recorded_ms, stream"
"""An order that two streams tell."""
VOLUME: LiteralString = """
    WITH orders AS ({}), once AS ({})
    SELECT width_bucket(time_ms, %(edges)s::bigint[]), venue,
        coalesce(sum(notional) FILTER (WHERE side = 'BUY'), 0),
        coalesce(sum(notional) FILTER (WHERE side <> 'BUY'), 0),
        count(*), price_kind, coverage
    FROM once GROUP BY 1, venue, price_kind, coverage ORDER BY 1, venue, price_kind, coverage"""
PLANS: tuple[LiteralString, ...] = ("enable_sort", "enable_seqscan", "enable_bitmapscan")
"""Ways to answer that are never ours: rows are read in the order of an index, as far as a page
goes. The planner knows little of a day that is being written, and would read and sort all of it.
Where there is no other way, as for sums, it takes that for so dear that it would compile it first.
"""
BEGIN: LiteralString = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"


class PostgresArchive:
    """A history in PostgreSQL, for who reads it. Any number of threads may."""

    def __init__(self, address: str) -> None:
        self._address = address
        self._idle: list[psycopg.Connection] = []
        self._lock = threading.Lock()
        # Who answers requests has no end of its own: what is kept is closed when nobody asks more.
        weakref.finalize(self, _close, self._idle)

    @property
    def where(self) -> str:
        """Its address, without the password."""
        return shown(self._address)

    @contextmanager
    def reading(self) -> Iterator["PostgresReading"]:
        """A look at it as it is now; `Away` when it cannot be had."""
        connection = self._begun()
        try:
            with told(connection):
                reading = PostgresReading(connection)
                yield reading
                connection.execute("COMMIT")
        except (Dropped, Refused) as error:
            connection.close()
            raise Away(str(error)) from error
        except BaseException:
            connection.close()
            raise
        with self._lock:
            if len(self._idle) < IDLE_MAX:
                self._idle.append(connection)
                return
        connection.close()

    def _connected(self) -> psycopg.Connection:
        connection = connect(self._address)
        try:
            with told(connection):
                for plan in (*PLANS, "jit"):
                    connection.execute("SET " + plan + " = off")
        except BaseException:
            connection.close()
            raise
        return connection

    def _begun(self) -> psycopg.Connection:
        """A connection with a transaction: one that was kept, if the server has not gone since."""
        while True:
            with self._lock:
                kept = self._idle.pop() if self._idle else None
            try:
                connection = kept or self._connected()
                with told(connection):
                    connection.execute(BEGIN)
                return connection
            except UserError as error:
                raise Away(str(error).removeprefix("history: ")) from error
            except Away:
                if kept is None:
                    raise
                kept.close()


def _close(connections: list[psycopg.Connection]) -> None:
    while connections:
        connections.pop().close()


class PostgresReading:
    """The tables as they were when a transaction began."""

    def __init__(self, connection: psycopg.Connection) -> None:
        self._connection = connection
        self._names = (f"flowd_{number}" for number in numbers())

    def kept(self) -> dict[str, Columns]:
        """The streams that it has; none where there are no tables yet."""
        if self._connection.execute("SELECT to_regclass('flowd.streams')").fetchone() == (None,):
            return {}
        found = self._connection.execute("SELECT name, columns FROM flowd.streams ORDER BY name")
        return {name: [(one, kind) for one, kind in codec.decode(text)] for name, text in found}

    def _stream(self, name: str) -> int:
        sql = "SELECT id FROM flowd.streams WHERE name = %s"
        found = self._connection.execute(sql, [name]).fetchone()
        return -1 if found is None else int(found[0])

    def is_keyed(self, stream: str) -> bool:
        """Whether the stream is a table."""
        found = self._connection.execute(
            "SELECT EXISTS (SELECT 1 FROM flowd.tables WHERE stream = %(id)s) OR EXISTS "
            "(SELECT 1 FROM (SELECT key FROM flowd.records WHERE stream = %(id)s LIMIT 1) AS one "
            "WHERE key IS NOT NULL)",
            {"id": self._stream(stream)},
        ).fetchone()
        return found is not None and bool(found[0])

    def place(self, stream: str) -> Position | None:
        """Up to where the stream was kept."""
        sql = "SELECT epoch, seq FROM flowd.streams WHERE name = %s AND epoch <> ''"
        found = self._connection.execute(sql, [stream]).fetchone()
        return None if found is None else Position(*found)

    def page(self, query: Query) -> Page:
        """The records that come next, at most `limit`, and the gaps between them."""
        stream = self._stream(query.stream)
        records, reached = gather(self._rows(stream, query), query)
        low, high = span(query, reached)
        values = {"stream": stream, "low": low, "high": high, "limit": GAPS_MAX}
        names = ("epoch", "first", "last", "from_ms", "to_ms", "reason")
        rows = self._connection.execute(GAPS, values)
        return Page(records, reached, [dict(zip(names, row, strict=True)) for row in rows])

    def count(self, query: Query) -> int:
        """How many records lie in the range, whatever the filter."""
        stream, total = self._stream(query.stream), 0
        for table in ("records", "tables"):
            for symbol in query.symbols or (None,):
                where, values = _where(stream, query, symbol)
                select = sql.SQL("SELECT count(*) FROM {} WHERE {}").format(_table(table), where)
                found = self._connection.execute(select, values).fetchone()
                total += 0 if found is None else int(found[0])
        return total

    def symbols(self, stream: str) -> list[str]:
        """The stream's symbols, in order."""
        found = self._connection.execute(
            "SELECT symbol FROM flowd.records WHERE stream = %(id)s AND symbol IS NOT NULL UNION "
            "SELECT symbol FROM flowd.tables WHERE stream = %(id)s AND symbol IS NOT NULL",
            {"id": self._stream(stream)},
        )
        return sorted(symbol for (symbol,) in found)

    def volume(self, streams: Sequence[str], symbol: str, edges: Sequence[int]) -> Volume:
        """What liquidations of a symbol come to between each two of these times."""
        kept = self.kept()
        ids = [self._stream(name) for name in streams if name in kept]
        values = {
            "streams": ids,
            "symbol": symbol,
            "start": edges[0],
            "end": edges[-1],
            "edges": list(edges),
        }
        once = sql.SQL(ONCE if len(ids) > 1 else "SELECT * FROM orders")
        select = sql.SQL(VOLUME).format(sql.SQL(ORDERS), once)
        parts = (
            [
                (edges[span - 1], VenueSum(venue, trimmed(buy), trimmed(sell), *worth))
                for span, venue, buy, sell, *worth in self._connection.execute(select, values)
            ]
            if ids
            else []
        )
        holes = [hole for id in ids for hole in self._holes(id, edges[0], edges[-1])]
        oldest = [time_ms for id in ids if (time_ms := self._oldest(id)) is not None]
        return Volume(parts, holes, min(oldest, default=None))

    def _holes(self, stream: int, low: int, high: int) -> list[tuple[int, int]]:
        values = {"stream": stream, "low": low, "high": high, "limit": GAPS_MAX}
        return [
            (low if from_ms is None else from_ms, high if to_ms is None else to_ms)
            for _, _, _, from_ms, to_ms, _ in self._connection.execute(GAPS, values)
        ]

    def _oldest(self, stream: int) -> int | None:
        select = (
            "SELECT time_ms FROM flowd.records WHERE stream = %s ORDER BY time_ms, number LIMIT 1"
        )
        found = self._connection.execute(select, [stream]).fetchone()
        return None if found is None else int(found[0])

    def _rows(self, stream: int, query: Query) -> Iterator[tuple[int, int, str, bytes]]:
        """Rows in order, each symbol by its index."""
        selects = [
            self._select(stream, query, table, symbol)
            for table in ("records", "tables")
            for symbol in query.symbols or (None,)
        ]
        return merge(*selects, key=lambda row: row[:2], reverse=query.newest_first)

    def _select(
        self, stream: int, query: Query, table: str, symbol: str | None
    ) -> Iterator[tuple[int, int, str, bytes]]:
        where, values = _where(stream, query, symbol)
        direction: LiteralString = "DESC" if query.newest_first else "ASC"
        order = sql.SQL("ORDER BY time_ms " + direction + ", number " + direction + " LIMIT {}")
        # One more than is wanted tells whether there is another page.
        filtered = query.filter.where is not None
        most = query.scan if filtered else min(query.limit, query.scan)
        select = sql.SQL(ROWS).format(_table(table), where, order.format(sql.Literal(most + 1)))
        if not filtered:
            for time_ms, number, epoch, json in self._connection.execute(select, values):
                yield time_ms, number, epoch, json.encode()
            return
        with self._connection.cursor(next(self._names)) as cursor:
            cursor.itersize = CHUNK
            for time_ms, number, epoch, json in cursor.execute(select, values):
                yield time_ms, number, epoch, json.encode()


def _table(name: str) -> sql.Identifier:
    return sql.Identifier("flowd", name)


def _where(stream: int, query: Query, symbol: str | None) -> tuple[sql.Composed, list[object]]:
    terms: list[LiteralString] = ["stream = %s"]
    values: list[object] = [stream]
    if symbol is not None:
        terms.append("symbol = %s")
        values.append(symbol.replace("\0", "\u2400"))
    if query.start_ms is not None:
        terms.append("time_ms >= %s")
        values.append(query.start_ms)
    if query.end_ms is not None:
        terms.append("time_ms < %s")
        values.append(query.end_ms)
    if query.place is not None:
        terms.append(
            "(time_ms, number) < (%s, %s)" if query.newest_first else "(time_ms, number) > (%s, %s)"
        )
        values += _both(query.place)
    return sql.SQL(" AND ").join(map(sql.SQL, terms)), values


def _both(place: Place) -> list[object]:
    return [place[0], place[1]]
