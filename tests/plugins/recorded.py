"""Streams, records and a history file, for the tests of the history."""

import sqlite3
from contextlib import closing
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal

from attrs import evolve, frozen
from flowd_history import Config, keep, query
from flowd_history.recorder import Pace, Recorder
from flowd_history.store import Store

from flowd import testing
from flowd.history import Page, Query
from flowd.market import Liquidation
from flowd.plugin import Size, Stream, codec

T = 1_790_000_000_000
"""When the first order happened; each further one 10 ms later."""

AT_ONCE = Pace(every_s=0, batch=7, retry_s=0.001, patience_s=30)


def order(number: int, symbol: str = "", side: Literal["BUY", "SELL"] = "SELL") -> Liquidation:
    symbol = symbol or ("BTCUSDT", "ETHUSDT", "SOLUSDT")[number % 3]
    price = Decimal(number)
    return Liquidation(symbol, side, price, Decimal(1), price, T + number * 10, f"order-{number}")


@frozen
class Bar:
    """A value that a table holds."""

    symbol: str
    total: int


def orders(count: int, **options: Any) -> Stream[Liquidation]:
    """A stream of so many orders."""
    values = [order(number) for number in range(count)]
    return testing.stream("orders", values, record=Liquidation, **options)


def config(path: Path, *inputs: str, **options: Any) -> Config:
    """The settings of a history that does not pause."""
    return Config(list(inputs) or ["orders"], str(path), **{"every": 0.0, **options})


async def record(path: Path, *streams: Stream[Any], **options: Any) -> None:
    """Close these streams, and write them to the file."""
    for stream in streams:
        stream.close()
    names = [stream.name for stream in streams]
    await keep(config(path, *names, **options), testing.streams(*streams), testing.desk())


def making(
    store: Store,
    *streams: Stream[Any],
    pace: Pace = AT_ONCE,
    places: dict[str, int] | None = None,
) -> Recorder:
    """A recorder of these streams, to run."""
    return Recorder(
        store,
        [stream.name for stream in streams],
        testing.streams(*streams, places=places),
        testing.desk(),
        retain_ms=None,
        max_size=Size(1024**3),
        pace=pace,
    )


def page(path: Path, wanted: Query | None = None, **options: Any) -> Page:
    """One page of the file."""
    with query.reading(path) as connection:
        return query.page(connection, evolve(wanted or Query("orders", limit=10_000), **options))


def rows(path: Path, stream: str = "orders") -> list[Any]:
    """All records of a stream in the file, decoded, in the order in which they happened."""
    return [codec.decode(json) for _, json in page(path, Query(stream, limit=10_000)).records]


def seqs(path: Path, stream: str = "orders") -> list[int]:
    return [row["seq"] for row in rows(path, stream)]


def gaps(path: Path, stream: str = "orders") -> list[dict[str, Any]]:
    return page(path, Query(stream)).gaps


def ask(path: Path, sql: str) -> list[Any]:
    """What SQLite itself says about the file."""
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute(sql).fetchall()
