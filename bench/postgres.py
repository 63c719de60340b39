"""The history in PostgreSQL: rows per second into it, onto the disk while it is away, and from
there when it is back.

`python -m bench.postgres` measures on its own, with a server of its own that syncs as servers do;
`rows` is for `python -m bench`.
"""

import argparse
import tempfile
import time
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import pytest
from attrs import frozen
from flowd_history.columns import columns_of
from flowd_postgres import DATABASE

from flowd.history import Query, Settings, Takes
from flowd.market import Liquidation
from flowd.plugin import Position, Record
from tests.edge.postgres import Cluster

from .contenders import FLOWD
from .process import BenchError
from .report import Row
from .run import Run

RECORDS, BATCH = 100_000, 2000
T = 1_790_000_000_000


@frozen
class Found:
    """Rows per second, bytes per row with its indexes, and how long a page of 1000 takes."""

    written: float
    spilled: float
    caught_up: float
    row_bytes: float
    page_ms: float


def orders(count: int) -> list[Record[Liquidation]]:
    """Liquidations of 300 symbols, a hundred milliseconds apart, as they were served."""
    price, quantity, notional = Decimal("43000.50"), Decimal("0.250"), Decimal("10750.125")
    made = []
    for seq in range(1, count + 1):
        symbol, time_ms = f"S{seq * 7919 % 300:03}USDT", T + seq * 100
        id = f"b:{symbol}:{time_ms}:SELL:0.25:{seq}"
        value = Liquidation(symbol, "SELL", price, quantity, notional, time_ms, id)
        made.append(Record(seq, time_ms, value))
        assert made[-1].json  # it was served before it is kept
    return made


def measure(count: int = RECORDS) -> Found:
    """Write half of so many records, the other half while the server is away, and catch up."""
    records = orders(count)
    half = count // 2
    with tempfile.TemporaryDirectory() as folder, Cluster() as cluster:
        cluster.stop()
        cluster.start(fsync="on")
        address = cluster.database()
        store = DATABASE.store(address, Settings(spill=Path(folder) / "spill"))
        store.open()
        store.add("orders", columns_of(Liquidation))
        written = write(store, records[:half])
        cluster.stop()
        spilled = write(store, records[half:])
        cluster.start(fsync="on")
        began = time.perf_counter()
        while store.tidy(None, 1 << 40):
            pass
        caught_up = half / (time.perf_counter() - began)
        used = store.figures()["used_bytes"]
        store.close()
        archive = DATABASE.archive(address)
        for _ in range(2):  # the first one connects
            began = time.perf_counter()
            with archive.reading() as reading:
                page = reading.page(Query("orders"))
                page_s = time.perf_counter() - began
                assert reading.count(Query("orders")) == count
        assert len(page.records) == 1000
    return Found(written, spilled, caught_up, used / count, page_s * 1000)


def write(store: Takes, records: list[Record[Liquidation]]) -> float:
    """Write these in batches; how many a second that were."""
    began = time.perf_counter()
    for first in range(0, len(records), BATCH):
        batch = records[first : first + BATCH]
        store.write("orders", Position("bench", batch[-1].seq), batch)
    return len(records) / (time.perf_counter() - began)


def rows(run: Run) -> Iterator[Row]:
    """Rows per second, as the recorder writes them."""
    made = [
        Row(f"history in PostgreSQL: {what}", "records/s")
        for what in ("written", "put on the disk while it is away", "caught up with")
    ]
    try:
        found = measure()
    except pytest.skip.Exception as error:
        raise BenchError(str(error)) from None
    for row, value in zip(made, (found.written, found.spilled, found.caught_up), strict=True):
        row.add(FLOWD, value)
    yield from made


def main() -> None:
    """Measure, and say it."""
    parser = argparse.ArgumentParser(prog="bench.postgres", description=__doc__)
    parser.add_argument("--records", type=int, default=RECORDS)
    found = measure(parser.parse_args().records)
    print(
        f"written {found.written:.0f} records/s; on the disk while it is away "
        f"{found.spilled:.0f}/s; caught up with {found.caught_up:.0f}/s; "
        f"{found.row_bytes:.0f} bytes a row with indexes; a page of 1000 in {found.page_ms:.1f} ms"
    )


if __name__ == "__main__":
    main()
