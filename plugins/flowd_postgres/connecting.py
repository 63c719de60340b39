"""Connections to PostgreSQL: how they are opened, how long they are waited for, and what their
errors mean. Everything here blocks and is for threads.
"""

import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import LiteralString

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from flowd.history import Away
from flowd.plugin import UserError

CONNECT_S = 3
"""For an address to answer."""
WAIT_S = 15.0
"""For anything else. A server that is stopped, or a network that swallows all, looks like nothing
at all; then the connection is cut from this side.
"""
STATEMENT_MS, LOCK_MS = 10_000, 2000
"""For the server itself: it gives up before we do where it can, and says why."""
DEFAULTS: dict[str, str | int] = {
    "application_name": "flowd",
    "client_encoding": "utf8",
    "connect_timeout": CONNECT_S,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 2,
}

LASTING = (
    "authentication failed",
    "no password supplied",
    "does not exist",
    "is not permitted to log in",
    "no pg_hba.conf entry",
    "invalid port number",
)
"""Words of refusals that do not pass by themselves. The server says no more than words when it
refuses a connection, in its own language; one that is not known here is tried again.
"""
REFUSED = ("22", "23", "54")
"""Classes of errors that are about the data: it is this record that cannot be written, for ever."""
GONE = ("3F000", "42P01", "42703", "42883", "23514")
"""A schema, table, column, function or day is not there: somebody dropped it."""


class Refused(Exception):
    """PostgreSQL does not take a record, and never will."""


class Dropped(Exception):
    """Something that flowd made is not there any more."""


def check(address: str) -> None:
    """ValueError for what is no address. It does not quote it, since there may be a password."""
    try:
        conninfo_to_dict(address)
    except psycopg.ProgrammingError:
        raise ValueError(
            "database: this address cannot be read; expected "
            "postgresql://user:password@host:5432/name"
        ) from None


def shown(address: str) -> str:
    """An address as messages show it: without what is secret."""
    parts = conninfo_to_dict(address)
    user, host, port = (str(parts.get(name) or "") for name in ("user", "host", "port"))
    at = f"{user}@" if user else ""
    return f"postgresql://{at}{host}{f':{port}' if port else ''}/{parts.get('dbname') or user}"


def connect(address: str) -> psycopg.Connection:
    """A connection that commits each statement by itself. UserError when the address, the user or
    the password are wrong; `Away` when nobody answers.
    """
    given = conninfo_to_dict(address)
    own = {name: value for name, value in DEFAULTS.items() if name not in given}
    try:
        connection = psycopg.connect(make_conninfo(address, **own), autocommit=True)
        connection.execute(f"SET statement_timeout = {STATEMENT_MS}")
        connection.execute(f"SET lock_timeout = {LOCK_MS}")
    except psycopg.OperationalError as error:
        why = said(error)
        if any(words in why for words in LASTING):
            raise UserError(f"history: {shown(address)}: {why}") from None
        raise Away(why) from error
    return connection


def said(error: psycopg.Error) -> str:
    """What PostgreSQL says, in a line."""
    if error.diag.message_primary:
        return error.diag.message_primary
    return " ".join(str(error).split()) or type(error).__name__


@contextmanager
def told(connection: psycopg.Connection) -> Iterator[None]:
    """Work with a connection, for `WAIT_S` at most. Errors are `Away`, `Refused` or `Dropped`."""
    timer = threading.Timer(WAIT_S, cut, [connection])
    timer.daemon = True
    timer.start()
    try:
        yield
    except psycopg.Error as error:
        state = error.sqlstate or ""
        if state in GONE:
            raise Dropped(said(error)) from error
        if state[:2] in REFUSED:
            raise Refused(said(error)) from error
        raise Away(said(error)) from error
    finally:
        timer.cancel()


def cut(connection: psycopg.Connection) -> None:
    """End a connection under the thread that waits for it, which then fails."""
    with suppress(psycopg.Error, OSError):
        other = socket.socket(fileno=os.dup(connection.fileno()))
        with other:
            other.shutdown(socket.SHUT_RDWR)


def rows(
    connection: psycopg.Connection, sql: LiteralString, *values: object
) -> list[tuple[object, ...]]:
    """All rows of a query."""
    return connection.execute(sql, values).fetchall()
