"""One call of the store's, done in the database: rows, place and gaps in one transaction.

Streams are locked for as long as that takes, so daemons that write the same stream come one after
the other; what one has, the other finds.
"""

from typing import LiteralString

import psycopg

from flowd.history import CRASHED, FELL_OFF, IDS_MAX
from flowd.plugin import codec
from flowd_postgres import days
from flowd_postgres.schema import DAY_MS
from flowd_postgres.spill import Call, Row

BATCH: LiteralString = """CREATE TEMPORARY TABLE IF NOT EXISTS flowd_batch (
    recorded_ms bigint, seq bigint, time_ms bigint, symbol text, key text, id text, json json
) ON COMMIT DELETE ROWS"""
COPY: LiteralString = (
    "COPY flowd_batch (recorded_ms, seq, time_ms, symbol, key, id, json) FROM STDIN"
)
INTO: LiteralString = "(stream, recorded_ms, seq, time_ms, epoch, symbol, key, json)"
CHOSEN: LiteralString = "%(stream)s, recorded_ms, seq, time_ms, %(epoch)s, symbol, key, json"
EVENTS: LiteralString = (
    "INSERT INTO flowd.records " + INTO + " SELECT " + CHOSEN + " FROM flowd_batch "
    "WHERE key IS NULL OR %(versions)s ORDER BY recorded_ms, seq ON CONFLICT DO NOTHING"
)
NEWEST: LiteralString = (
    "INSERT INTO flowd.tables AS old " + INTO + " SELECT " + CHOSEN + " FROM ("
    "SELECT DISTINCT ON (key) * FROM flowd_batch WHERE key IS NOT NULL "
    "ORDER BY key, recorded_ms DESC, seq DESC) AS newest ORDER BY recorded_ms, seq "
    "ON CONFLICT (stream, key) DO UPDATE SET (recorded_ms, seq, number, time_ms, epoch, symbol, "
    "json) = (excluded.recorded_ms, excluded.seq, excluded.number, excluded.time_ms, "
    "excluded.epoch, excluded.symbol, excluded.json) "
    "WHERE (excluded.recorded_ms, excluded.seq) > (old.recorded_ms, old.seq)"
)
GAP = ("epoch", "first", "last", "from_ms", "to_ms", "reason")
NOTED: LiteralString = (
    "INSERT INTO flowd.gaps (stream, epoch, first, last, from_ms, to_ms, reason) "
    "SELECT %s, new.* FROM (VALUES (%s::text, %s::bigint, %s::bigint, %s::bigint, %s::bigint, "
    "%s::text)) AS new WHERE NOT EXISTS (SELECT 1 FROM flowd.gaps AS old WHERE "
    "(stream, epoch, first, last, from_ms, to_ms, reason) IS NOT DISTINCT FROM (%s, new.*))"
)
STREAM: LiteralString = (
    "SELECT id, epoch, written, newest_ms, crash_ms, EXISTS (SELECT 1 FROM flowd.gaps "
    "WHERE stream = s.id AND to_ms IS NULL) FROM flowd.streams s WHERE name = %s FOR UPDATE OF s"
)


class Writer:
    """What is known about one connection to the tables, so that it need not be asked each time."""

    def __init__(
        self, connection: psycopg.Connection, *, versions: bool, unique: str, hypertable: bool
    ) -> None:
        self.connection = connection
        self.hypertable = hypertable
        self._versions = versions
        self._unique = unique
        self._days = set() if hypertable else set(days.sizes(connection, hypertable=False))
        self._ids: dict[str, tuple[int, frozenset[str]]] = {}
        """Ids that may come again, of each stream, with the crash before which they came."""
        connection.execute(BATCH)

    def forget_day(self, day: int) -> None:
        """Its partition is gone."""
        self._days.discard(day)

    def do(self, call: Call, done: tuple[str, int] | None = None) -> None:
        """All of it or nothing. `done` is the place in the spill file behind it, which is noted
        with it.
        """
        for day in {row[0] // DAY_MS for row in call.rows} - self._days:
            if not self.hypertable:
                days.make(self.connection, day)
            self._days.add(day)
        with self.connection.transaction():
            what = {
                "add": self._add,
                "meet": self._meet,
                "write": self._write,
                "gap": self._note_gap,
            }
            what[call.what](call)
            if done is not None:
                self.connection.execute(
                    "INSERT INTO flowd.spills VALUES (%s, %s) "
                    "ON CONFLICT (id) DO UPDATE SET done = excluded.done",
                    done,
                )

    def _add(self, call: Call) -> None:
        self.connection.execute(
            "INSERT INTO flowd.streams (name, columns) VALUES (%s, %s) "
            "ON CONFLICT (name) DO UPDATE SET columns = excluded.columns",
            [call.name, codec.encode(call.columns).decode()],
        )

    def _stream(self, name: str) -> tuple[int, str, str, int | None, int | None, bool]:
        found = self.connection.execute(STREAM, [name]).fetchone()
        if found is None:  # Somebody emptied the table.
            self._add(Call("add", name))
            found = self.connection.execute(STREAM, [name]).fetchone()
        assert found is not None
        return found

    def _meet(self, call: Call) -> None:
        stream, epoch, written, newest_ms, _, gap_open = self._stream(call.name)
        if (written or epoch) in ("", call.epoch):
            return  # Met for the first time, interrupted when it was, or met by another daemon.
        self.connection.execute(
            "UPDATE flowd.streams SET crash_ms = newest_ms WHERE id = %s", [stream]
        )
        if not gap_open:
            self._add_gap(stream, call.epoch, None, newest_ms, CRASHED)

    def _write(self, call: Call) -> None:
        stream, _, _, newest_ms, crash_ms, gap_open = self._stream(call.name)
        first_ms = call.rows[0][0] if call.rows else None
        if call.gap is not None and not self._has(stream, call):
            known = [ms for ms in (newest_ms, first_ms) if ms is not None]
            self._add_gap(stream, call.epoch, call.gap, min(known, default=None), FELL_OFF)
            gap_open = True
        if call.rows:
            if gap_open and not call.retained:
                self.connection.execute(
                    "UPDATE flowd.gaps SET to_ms = %s WHERE stream = %s AND to_ms IS NULL",
                    [first_ms, stream],
                )
            self._insert(stream, call, crash_ms)
            self.connection.execute(
                "UPDATE flowd.streams SET newest_ms = greatest(newest_ms, %s), written = %s "
                "WHERE id = %s",
                [call.rows[-1][0], call.epoch, stream],
            )
        if not call.retained:
            # Of daemons that write the same epoch the slower one takes nothing back.
            self.connection.execute(
                "UPDATE flowd.streams SET epoch = %(epoch)s, seq = CASE WHEN epoch = %(epoch)s "
                "THEN greatest(seq, %(seq)s) ELSE %(seq)s END WHERE id = %(id)s",
                {"epoch": call.epoch, "seq": call.seq, "id": stream},
            )

    def _note_gap(self, call: Call) -> None:
        stream, *_ = self._stream(call.name)
        self.connection.execute(NOTED, [stream, *call.noted, stream])

    def _has(self, stream: int, call: Call) -> bool:
        """Whether another daemon wrote what this one says is missing."""
        assert call.gap is not None
        first, last = call.gap
        since_ms = call.rows[0][0] - DAY_MS if call.rows else 0
        found = self.connection.execute(
            "SELECT count(*) FROM flowd.records WHERE stream = %s AND epoch = %s "
            "AND recorded_ms >= %s AND seq BETWEEN %s AND %s",
            [stream, call.epoch, since_ms, first, last],
        ).fetchone()
        return found is not None and found[0] == last - first + 1

    def _add_gap(
        self,
        stream: int,
        epoch: str,
        gap: tuple[int, int] | None,
        from_ms: int | None,
        reason: str,
    ) -> None:
        first, last = gap or (None, None)
        self.connection.execute(
            "INSERT INTO flowd.gaps (stream, epoch, first, last, from_ms, reason) "
            "VALUES (%s, %s, %s, %s, %s, %s)",
            [stream, epoch, first, last, from_ms, reason],
        )

    def _insert(self, stream: int, call: Call, crash_ms: int | None) -> None:
        """A record is known by its seq and the time at which it was appended: that pair outlives a
        change of epoch, and a new record that takes a lost one's seq has another time.
        """
        ids = self._known(stream, call.name, crash_ms)
        keyed = events = False
        with self.connection.cursor() as cursor, cursor.copy(COPY) as copy:
            for row in call.rows:
                if row[4] is None and row[5] in ids:
                    continue
                events = events or row[4] is None
                keyed = keyed or row[4] is not None
                copy.write_row(row)
        values = {"stream": stream, "epoch": call.epoch, "versions": self._versions}
        if events or self._versions:
            self.connection.execute(EVENTS, values)
        if keyed and not self._versions:
            self.connection.execute(NEWEST, values)

    def _known(self, stream: int, name: str, crash_ms: int | None) -> frozenset[str]:
        """The ids of the newest records from before the last crash: those may come again."""
        if crash_ms is None or not self._unique:
            return frozenset()
        known = self._ids.get(name)
        if known is None or known[0] != crash_ms:
            rows = self.connection.execute(
                "SELECT json->'value'->>%s FROM flowd.records WHERE stream = %s AND key IS NULL "
                "AND recorded_ms <= %s ORDER BY recorded_ms DESC, seq DESC LIMIT %s",
                [self._unique, stream, crash_ms, IDS_MAX],
            )
            known = crash_ms, frozenset(id for (id,) in rows if id is not None)
            self._ids[name] = known
        return known[1]


def cleaned(text: str | None) -> str | None:
    """PostgreSQL's texts have no NUL; where one has, it is shown as Unicode draws it."""
    return text if text is None or "\0" not in text else text.replace("\0", "\u2400")


def halves(rows: list[Row]) -> tuple[list[Row], list[Row]]:
    """A batch in two, to find the record that cannot be written."""
    middle = len(rows) // 2
    return rows[:middle], rows[middle:]
