"""Histories in PostgreSQL, for the sink `history`: `database = "postgresql://…"`.

Psycopg works in the sink's threads. It is imported where it is used, since it is an extra: who
keeps no history in PostgreSQL needs none of it.
"""

from flowd.history import Adds, Database, Settings, Takes
from flowd.plugin import how_to_install


def _store(address: str, settings: Settings) -> Takes:
    from flowd_postgres.store import PostgresStore

    return PostgresStore(address, settings)


def _archive(address: str) -> Adds:
    from flowd_postgres.reading import PostgresArchive

    return PostgresArchive(address)


def _check(address: str) -> None:
    try:
        from flowd_postgres.connecting import check
    except ImportError:
        raise ValueError(
            "PostgreSQL needs psycopg, which is not installed: "
            + how_to_install("flowd-daemon[postgres]")
        ) from None
    check(address)


DATABASE = Database(_store, _archive, _check)
"""What the entry points `postgresql` and `postgres` name."""
