"""The tables, and how those of older versions become those of this one.

All of it lies in the schema `flowd`. A migration is a list of statements, never changed once it was
released; the version that the tables have is the number of those that ran. Daemons that start at
the same time wait for each other.
"""

from typing import LiteralString

import psycopg

from flowd.plugin import UserError

LOCK = 0x666C7764
"""`flwd`, the advisory lock under which tables are made."""
DAY_MS = 86_400_000

COLUMNS: LiteralString = """
    stream integer NOT NULL,
    recorded_ms bigint NOT NULL,
    seq bigint NOT NULL,
    number bigint NOT NULL DEFAULT nextval('flowd.numbers'),
    time_ms bigint NOT NULL,
    epoch text NOT NULL,
    symbol text,
    key text,
    json json NOT NULL"""

FIRST: list[LiteralString] = [
    """CREATE TABLE flowd.streams (
        id integer PRIMARY KEY GENERATED ALWAYS AS IDENTITY,
        name text NOT NULL UNIQUE,
        columns text NOT NULL,
        epoch text NOT NULL DEFAULT '',
        seq bigint NOT NULL DEFAULT 0,
        written text NOT NULL DEFAULT '',
        newest_ms bigint,
        crash_ms bigint
    )""",
    "CREATE SEQUENCE flowd.numbers",
    # Where TimescaleDB is, `records` is a hypertable: see below.
    "CREATE TABLE flowd.records (" + COLUMNS + ", PRIMARY KEY (stream, recorded_ms, seq)) {days}",
    "CREATE INDEX ON flowd.records (stream, time_ms, number)",
    "CREATE INDEX ON flowd.records (stream, symbol, time_ms, number) WHERE symbol IS NOT NULL",
    "CREATE TABLE flowd.tables (" + COLUMNS + ", PRIMARY KEY (stream, key))",
    "CREATE INDEX ON flowd.tables (stream, time_ms, number)",
    "CREATE INDEX ON flowd.tables (stream, symbol, time_ms, number) WHERE symbol IS NOT NULL",
    "CREATE INDEX ON flowd.tables (recorded_ms)",
    """CREATE TABLE flowd.gaps (
        id bigint PRIMARY KEY GENERATED ALWAYS AS IDENTITY,
        stream integer NOT NULL,
        epoch text NOT NULL,
        first bigint,
        last bigint,
        from_ms bigint,
        to_ms bigint,
        reason text NOT NULL
    )""",
    "CREATE INDEX ON flowd.gaps (stream)",
    "CREATE TABLE flowd.spills (id text PRIMARY KEY, done bigint NOT NULL)",
    """CREATE VIEW flowd.history AS
        SELECT name AS stream, epoch, seq, recorded_ms, time_ms, symbol, key, json FROM (
            SELECT stream, epoch, seq, recorded_ms, time_ms, symbol, key, json FROM flowd.records
            UNION ALL
            SELECT stream, epoch, seq, recorded_ms, time_ms, symbol, key, json FROM flowd.tables
        ) AS one JOIN (SELECT id, name FROM flowd.streams) AS named ON id = stream""",
    """CREATE FUNCTION flowd.volume(stream text, step_ms bigint, from_ms bigint, to_ms bigint)
        RETURNS TABLE (symbol text, start_ms bigint, orders bigint, buy numeric, sell numeric)
        LANGUAGE sql STABLE AS $$
        SELECT r.symbol, r.time_ms - r.time_ms % $2, count(*),
            coalesce(sum((r.json->'value'->>'notional')::numeric)
                FILTER (WHERE r.json->'value'->>'side' = 'BUY'), 0),
            coalesce(sum((r.json->'value'->>'notional')::numeric)
                FILTER (WHERE r.json->'value'->>'side' = 'SELL'), 0)
        FROM flowd.records r JOIN flowd.streams s ON s.id = r.stream
        WHERE s.name = $1 AND r.time_ms >= $3 AND r.time_ms < $4
        GROUP BY 1, 2 ORDER BY 1, 2 $$""",
]
MIGRATIONS = [FIRST]
VERSION = len(MIGRATIONS)
BY_DAY: LiteralString = "PARTITION BY RANGE (recorded_ms)"
HYPERTABLE: LiteralString = (
    "SELECT create_hypertable('flowd.records', 'recorded_ms', chunk_time_interval => 86400000)"
)


def prepare(connection: psycopg.Connection, where: str) -> bool:
    """Make the tables, or bring them up to this version; whether `records` is a hypertable.

    UserError when they are of a newer flowd, or the database cannot hold them.
    """
    encoding = _one(connection, "SHOW server_encoding")
    if encoding != "UTF8":
        raise UserError(
            f"history: {where} has the encoding {encoding}; records are UTF8: "
            "CREATE DATABASE … ENCODING 'UTF8' TEMPLATE template0"
        )
    timescale = _one(connection, "SELECT count(*) FROM pg_extension WHERE extname = 'timescaledb'")
    try:
        with connection.transaction():
            connection.execute("SELECT pg_advisory_xact_lock(%s)", [LOCK])
            _migrate(connection, where, timescale=bool(timescale))
    except psycopg.errors.InsufficientPrivilege as error:
        raise UserError(
            f"history: {where}: {error.diag.message_primary}: let this user make a schema, "
            "GRANT CREATE ON DATABASE … TO …, or make the schema flowd as its owner"
        ) from None
    if not timescale:
        return False
    # TimescaleDB may have come after the tables.
    sql: LiteralString = "SELECT relkind = 'p' FROM pg_class WHERE oid = 'flowd.records'::regclass"
    return not _one(connection, sql)


def _migrate(connection: psycopg.Connection, where: str, *, timescale: bool) -> None:
    # Nothing is said about what is there: a user without the right to make one may have one.
    if _one(connection, "SELECT count(*) FROM pg_namespace WHERE nspname = 'flowd'") == 0:
        connection.execute("CREATE SCHEMA flowd")
    connection.execute("CREATE TABLE IF NOT EXISTS flowd.version (version integer NOT NULL)")
    found = _one(connection, "SELECT max(version) FROM flowd.version")
    version = found if isinstance(found, int) else 0
    if version > VERSION:
        raise UserError(
            f"history: {where} was written by a newer flowd (format {version}, this one knows "
            f"{VERSION}); install that one, or give another database"
        )
    whole = _one(connection, "SELECT to_regclass('flowd.records') IS NOT NULL")
    if version and not whole:
        raise UserError(
            f"history: in {where} the table flowd.records was dropped; restore it, or begin anew "
            "by DROP SCHEMA flowd CASCADE"
        )
    for migration in MIGRATIONS[version:]:
        for statement in migration:
            connection.execute(statement.replace("{days}", "" if timescale else BY_DAY))
        if timescale and migration is FIRST:
            connection.execute(HYPERTABLE)
    if version < VERSION:
        connection.execute("DELETE FROM flowd.version")
        connection.execute("INSERT INTO flowd.version VALUES (%s)", [VERSION])


def _one(connection: psycopg.Connection, sql: LiteralString) -> object:
    found = connection.execute(sql).fetchone()
    return None if found is None else found[0]
