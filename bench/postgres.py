"""The history in PostgreSQL: rows per second into it, beside the file of SQLite in turns; onto the
disk while it is away, and from there when it is back.

`python -m bench.postgres` measures on its own, with a server of its own that syncs as servers do;
`rows` is for `python -m bench`.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import pytest
from attrs import frozen
from flowd_history.columns import columns_of
from flowd_history.store import Store
from flowd_postgres import DATABASE

from flowd import history
from flowd.history import Query, Settings
from flowd.market import Liquidation
from flowd.plugin import Position, Record
from tests.edge.postgres import Cluster

from .contenders import FLOWD
from .process import BenchError
from .report import Row
from .run import Run

RECORDS, BATCH, TURNS = 100_000, 2000, 5
T = 1_790_000_000_000


@frozen
class Found:
    """Rows per second, bytes per row with its indexes, and how long a page of 1000 takes; `file` is
    what a plain history writes.
    """

    written: float
    file: float
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
        file = Store(Path(folder) / "history.db")
        file.open()
        file.add("orders", columns_of(Liquidation))
        speeds: dict[str, list[float]] = {"database": [], "file": []}
        for first in range(0, half, half // TURNS):
            turn = records[first : first + half // TURNS]
            speeds["database"].append(write(store, turn))
            speeds["file"].append(write(file, turn))
        file.close()
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
    return Found(
        statistics.median(speeds["database"]),
        statistics.median(speeds["file"]),
        spilled,
        caught_up,
        used / count,
        page_s * 1000,
    )


def write(store: history.Store, records: list[Record[Liquidation]]) -> float:
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
    made[0].add("a file of SQLite", found.file)
    yield from made


def main() -> None:
    """Measure, and say it."""
    parser = argparse.ArgumentParser(prog="bench.postgres", description=__doc__)
    parser.add_argument("--records", type=int, default=RECORDS)
    found = measure(parser.parse_args().records)
    print(
        f"written {found.written:.0f} records/s, into a file {found.file:.0f}/s; "
        f"on the disk while it is away {found.spilled:.0f}/s, "
        f"caught up with {found.caught_up:.0f}/s; "
        f"{found.row_bytes:.0f} bytes a row with indexes; a page of 1000 in {found.page_ms:.1f} ms"
    )


if __name__ == "__main__":
    main()
