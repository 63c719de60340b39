"""The store: what the recorder asks is done in the database, or put on the disk until it can be.

Once something waits in the spill file everything goes there, behind it; `tidy` catches up, a frame
at a time, between the recorder's calls. All of it runs in one thread at a time.
"""

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import psycopg
from attrs import evolve

from flowd.history import Away, Columns, Settings, time_and_symbol
from flowd.plugin import Gap, Position, Record, UserError
from flowd_postgres import days
from flowd_postgres.connecting import Dropped, Refused, connect, rows, shown, told
from flowd_postgres.schema import DAY_MS, prepare
from flowd_postgres.spill import Call, Row, Spill
from flowd_postgres.writing import GAP, Writer, cleaned, halves

logger = logging.getLogger("flowd.history")

ROW_BY_ROW_MS = 2 * DAY_MS
"""Who keeps for less than this does not wait until a whole day is too old."""
MEASURED_EVERY = 10
"""Sizes are asked for at each so many looks."""


class PostgresStore:
    """A history in PostgreSQL, opened for writing."""

    def __init__(self, address: str, settings: Settings) -> None:
        self._address = address
        self._settings = settings
        self._where = shown(address)
        self._spill = Spill(settings.spill, settings.spill_max)
        self._writer: Writer | None = None
        self._added: dict[str, Columns] = {}
        self._places: dict[str, Position] = {}
        self._away: str | None = None
        self._refused = 0
        self._spilled = 0
        self._sizes: dict[int, int] = {}
        self._tables_bytes = 0
        self._looks = 0

    @property
    def where(self) -> str:
        """Its address, without the password."""
        return self._where

    def open(self) -> None:
        """Connect, and read what waits on the disk. A database that is away is no error: what
        comes waits until it is there. UserError when it cannot be used as it is.
        """
        if self._settings.spill_max:
            self._spill.open()
        try:
            self._connected()
        except (Away, Dropped, Refused) as error:
            self._is_away(str(error))

    def close(self) -> None:
        """Let go of connection and file. What waits in it is written by who opens it next."""
        self._disconnect()
        self._spill.close()

    # -- the recorder's calls --

    def add(self, name: str, columns: Columns) -> None:
        """Make room for a stream."""
        self._added[name] = columns
        self._do(Call("add", name, columns=columns))
        place = self._spill.places.get(name) if self._spill.waiting else None
        place = place or self._asked_place(name)
        if place is not None:
            self._places[name] = place

    def place(self, name: str) -> Position | None:
        """Up to where the stream is in the database or on the disk; None when that is not known,
        since the database is away: what is there already will not be written twice.
        """
        return self._places.get(name)

    def meet(self, name: str, epoch: str) -> None:
        """The stream is new or begins anew: from where it ends until the next live record,
        something may be missing, and what came last may be delivered once more.
        """
        self._do(Call("meet", name, epoch))

    def write(
        self,
        name: str,
        upto: Position,
        records: Sequence[Record[Any]],
        *,
        gap: Gap | None = None,
        retained: bool = False,
    ) -> None:
        """Add these records, all of them or none. `Away` when the spill file is full, too."""
        missing = None if gap is None else (gap.first, gap.last)
        made = [self._row(record) for record in records]
        self._do(Call("write", name, upto.epoch, upto.seq, made, missing, retained))
        if not retained:
            self._places[name] = upto

    def note_gaps(self, name: str, gaps: Sequence[Mapping[str, object]]) -> None:
        """Add gaps of another history, but for those that are known."""
        for gap in gaps:
            self._do(Call("gap", name, noted=[gap[column] for column in GAP]))

    def _row(self, record: Record[Any]) -> Row:
        value, key = record.value, record.key
        time_ms, symbol = time_and_symbol(value, record.time_ms)
        id = getattr(value, self._settings.unique, None) if self._settings.unique else None
        return (
            record.time_ms,
            record.seq,
            time_ms,
            cleaned(symbol),
            cleaned(key),
            cleaned(id) if isinstance(id, str) else None,
            record.json.decode(),
        )

    def _do(self, call: Call) -> None:
        if not self._spill.waiting and self._away is None:
            try:
                self._write(call)
                return
            except Away as error:
                self._is_away(str(error))
            except UserError as error:
                # It was right when it was opened, and may be mended while records wait.
                self._is_away(str(error).removeprefix("history: "))
        if not self._settings.spill_max:
            raise Away(self._away or "it is away")
        self._spill.append(call)
        self._spilled += len(call.rows)

    # -- doing it --

    def _write(self, call: Call, done: tuple[str, int] | None = None) -> None:
        """Have it in the database. `Away` when that is not possible now."""
        for again in (False, True):
            try:
                writer = self._connected()
                with told(writer.connection):
                    writer.do(call, done)
                return
            except Dropped as error:
                # What flowd made was taken away: it is made anew, once, by connecting again.
                self._disconnect()
                if again:
                    raise Away(str(error)) from error
                logger.error("history: %s: %s; made anew", self._where, error)
            except Refused as error:
                self._disconnect()
                self._write_rest(call, done, str(error))
                return
            except Away:
                self._disconnect()
                raise

    def _write_rest(self, call: Call, done: tuple[str, int] | None, why: str) -> None:
        """Find the records that are not taken, and write all others."""
        if len(call.rows) <= 1:
            self._refused += len(call.rows)
            shown = call.rows[0][-1] if call.rows else call.what
            logger.error(
                "history: %s does not take a record of %s (%s): %.200s",
                *(self._where, call.name, why, shown),
            )
            self._write(evolve(call, rows=[]), done)
            return
        first, second = halves(call.rows)
        self._write(evolve(call, rows=first, retained=True))
        self._write(evolve(call, rows=second, gap=None), done)

    def _connected(self) -> Writer:
        if self._writer is not None:
            return self._writer
        connection = connect(self._address)
        try:
            with told(connection):
                hypertable = prepare(connection, self._where)
                self._writer = Writer(
                    connection,
                    versions=self._settings.versions,
                    unique=self._settings.unique,
                    hypertable=hypertable,
                )
                for name, columns in self._added.items():
                    self._writer.do(Call("add", name, columns=columns))
                if self._spill.id:
                    sql = "SELECT done FROM flowd.spills WHERE id = %s"
                    for (done,) in connection.execute(sql, [self._spill.id]):
                        self._spill.done = max(self._spill.done, done)
                self._finish_spill(connection)
        except BaseException:
            self._writer = None
            connection.close()
            raise
        return self._writer

    def _asked_place(self, name: str) -> Position | None:
        if self._away is not None or self._writer is None:
            return None
        with told(self._writer.connection):
            sql = "SELECT epoch, seq FROM flowd.streams WHERE name = %s AND epoch <> ''"
            found = self._writer.connection.execute(sql, [name]).fetchone()
        return None if found is None else Position(*found)

    def _disconnect(self) -> None:
        if self._writer is not None:
            self._writer.connection.close()
            self._writer = None

    def _is_away(self, why: str) -> None:
        if self._away is None and self._settings.spill_max:
            logger.error(
                "history: %s cannot be written: %s; records wait in %s",
                *(self._where, why, self._spill.path),
            )
        self._away = why

    # -- between the calls --

    def tidy(self, retain_ms: int | None, max_size: int) -> bool:
        """Catch up with a frame of what waits, or forget a step's worth; whether there is more."""
        try:
            writer = self._connected()
            with told(writer.connection):
                if self._spill.waiting:
                    return self._catch_up()
                if self._away is not None:
                    logger.info("history: %s is written again", self._where)
                    self._away = None
                return self._forget(writer, retain_ms, max_size)
        except (Away, Dropped, Refused) as error:
            self._disconnect()
            self._is_away(str(error))
        except UserError as error:
            self._disconnect()
            self._is_away(str(error).removeprefix("history: "))
        return False

    def _catch_up(self) -> bool:
        found = self._spill.next()
        if found is not None:
            call, done = found
            self._write(call, (self._spill.id, done))
            self._spill.done = done
        if self._writer is not None:
            self._finish_spill(self._writer.connection)
        return True

    def _finish_spill(self, connection: psycopg.Connection) -> None:
        if self._spill.id and not self._spill.waiting:
            id = self._spill.id
            self._spill.finish()
            connection.execute("DELETE FROM flowd.spills WHERE id = %s", [id])

    def _forget(self, writer: Writer, retain_ms: int | None, max_size: int) -> bool:
        """Whole days by age and by size; the day of the newest record stays, however large."""
        connection, hypertable = writer.connection, writer.hypertable
        if self._looks % MEASURED_EVERY == 0:
            self._sizes = days.sizes(connection, hypertable=hypertable)
            ((size,),) = rows(connection, "SELECT pg_total_relation_size('flowd.tables')")
            self._tables_bytes = int(str(size))
        self._looks += 1
        ((newest,),) = rows(connection, "SELECT max(newest_ms) FROM flowd.streams")
        if not isinstance(newest, int) or not self._sizes:
            return False
        horizon = None if retain_ms is None else newest - retain_ms
        oldest = next(iter(self._sizes))
        too_old = horizon is not None and (oldest + 1) * DAY_MS <= horizon
        if too_old or (self._used > max_size and oldest < newest // DAY_MS):
            days.drop(connection, oldest, hypertable=hypertable)
            writer.forget_day(oldest)
            del self._sizes[oldest]
            return True
        if horizon is None:
            return False
        connection.execute("DELETE FROM flowd.gaps WHERE to_ms < %s", [horizon])
        whole_days = retain_ms is not None and retain_ms >= ROW_BY_ROW_MS
        first = horizon // DAY_MS if whole_days else oldest
        # Of whole days there is nothing left to delete but what tables have, which have no days.
        before = first * DAY_MS if whole_days else horizon
        return days.drop_rows(connection, before, first) == days.STEP_ROWS

    @property
    def _used(self) -> int:
        return sum(self._sizes.values()) + self._tables_bytes

    def figures(self) -> dict[str, float]:
        """How large it is, and what waits on the disk: bytes, records, and for how long the oldest
        of them.
        """
        spill = self._spill
        lag_ms = 0
        if spill.waiting and spill.oldest_ms is not None and spill.newest_ms is not None:
            lag_ms = spill.newest_ms - spill.oldest_ms
        return {
            "used_bytes": self._used,
            "spilled_bytes": spill.waiting,
            "spilled_max_bytes": spill.max_bytes,
            "spilled": self._spilled,
            "lag_ms": lag_ms,
            "refused": self._refused,
        }

    def problem(self) -> str | None:
        """That the database is away, or that it is not caught up with yet."""
        waiting = f"{self._spill.waiting} bytes wait in {self._spill.path}"
        if self._away is not None:
            return f"{self._where} cannot be written: {self._away}; {waiting}"
        if self._spill.waiting:
            return f"{self._where} is being caught up with: {waiting}"
        return None
