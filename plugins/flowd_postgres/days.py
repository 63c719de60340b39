"""Days: each has a partition of its own, made before its first record and dropped as a whole.

Dropping a day costs the same however much is in it, and leaves nothing behind that would have to be
vacuumed. Where `records` is a hypertable, TimescaleDB makes its chunks itself.
"""

import re
from datetime import UTC, datetime, timedelta
from typing import LiteralString

import psycopg
from psycopg import sql

from flowd_postgres.schema import DAY_MS, LOCK

STEP_ROWS = 2000
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
PARTITIONS: LiteralString = (
    "SELECT c.relname, pg_total_relation_size(c.oid) FROM pg_inherits i "
    "JOIN pg_class c ON c.oid = i.inhrelid WHERE i.inhparent = 'flowd.records'::regclass"
)
CHUNKS: LiteralString = (
    "SELECT range_start_integer, total_bytes FROM timescaledb_information.chunks "
    "JOIN chunks_detailed_size('flowd.records') USING (chunk_name) "
    "WHERE hypertable_schema = 'flowd' AND hypertable_name = 'records'"
)


def name_of(day: int) -> str:
    """What a day's partition is called, in UTC."""
    return f"records_{EPOCH + timedelta(days=day):%Y%m%d}"


def day_of(name: str) -> int | None:
    """The day of a partition; None for one that is not ours."""
    found = re.fullmatch(r"records_(\d{4})(\d\d)(\d\d)", name, re.ASCII)
    if found is None:
        return None
    year, month, day = map(int, found.groups())
    return (datetime(year, month, day, tzinfo=UTC) - EPOCH).days


def make(connection: psycopg.Connection, day: int) -> None:
    """Make the partition of a day, if nobody has yet. Those who read and write wait for nothing:
    the table is made beside the others and then attached.
    """
    name = sql.Identifier("flowd", name_of(day))
    with connection.transaction():
        connection.execute("SELECT pg_advisory_xact_lock(%s)", [LOCK])
        connection.execute(
            sql.SQL("CREATE TABLE IF NOT EXISTS {} (LIKE flowd.records INCLUDING DEFAULTS)").format(
                name
            )
        )
        attached = connection.execute(
            "SELECT 1 FROM pg_inherits WHERE inhrelid = to_regclass(%s)",
            [f"flowd.{name_of(day)}"],
        ).fetchone()
        if attached is None:
            connection.execute(
                sql.SQL(
                    "ALTER TABLE flowd.records ATTACH PARTITION {} FOR VALUES FROM ({}) TO ({})"
                ).format(name, sql.Literal(day * DAY_MS), sql.Literal((day + 1) * DAY_MS))
            )


def sizes(connection: psycopg.Connection, *, hypertable: bool) -> dict[int, int]:
    """The days there are, in order, and the bytes that each takes."""
    if hypertable:
        found = [(int(low) // DAY_MS, size) for low, size in connection.execute(CHUNKS)]
    else:
        every = ((day_of(name), size) for name, size in connection.execute(PARTITIONS))
        found = [(day, size) for day, size in every if day is not None]
    return dict(sorted(found))


def drop(connection: psycopg.Connection, day: int, *, hypertable: bool) -> None:
    """Forget a day, and all before it that a hypertable has."""
    if hypertable:
        connection.execute(
            "SELECT drop_chunks('flowd.records', older_than => %s::bigint)", [(day + 1) * DAY_MS]
        )
        return
    name = sql.Identifier("flowd", name_of(day))
    connection.execute(sql.SQL("DROP TABLE IF EXISTS {}").format(name))


def drop_rows(connection: psycopg.Connection, horizon_ms: int, first_day: int) -> int:
    """Forget a step's worth of what is older than this, row by row; how much it was."""
    found = 0
    for statement, since in (
        (
            "DELETE FROM flowd.records WHERE (stream, recorded_ms, seq) IN (SELECT stream, "
            "recorded_ms, seq FROM flowd.records WHERE recorded_ms >= %s AND recorded_ms < %s "
            "LIMIT %s) AND recorded_ms < %s",
            first_day * DAY_MS,
        ),
        (
            "DELETE FROM flowd.tables WHERE (stream, key) IN (SELECT stream, key FROM flowd.tables "
            "WHERE recorded_ms >= %s AND recorded_ms < %s LIMIT %s) AND recorded_ms < %s",
            -DAY_MS,
        ),
    ):
        done = connection.execute(statement, [since, horizon_ms, STEP_ROWS, horizon_ms])
        found = max(found, done.rowcount)
    return found
