"""Liquidation volume: what does one more liquidation cost, in all timeframes, and what does it
take to remember them?

`python -m bench.volume` measures on its own; `rows` is for `python -m bench`. The transform's own
accumulator runs in a process of its own, over a real stream, without a network. How many orders
come in one flush matters: each flush publishes every bucket that it changed once.
"""

import gc
import json
import sys
import time
import tracemalloc
from collections.abc import Iterator
from decimal import Decimal
from random import Random

from flowd_liquidations.timeframe import STANDARD, parse
from flowd_liquidations.volume import BUCKETS_MAX, Accumulator

from flowd import testing
from flowd.market import EXACT, Bucket, Liquidation
from flowd.stream.log import Stream

from .contenders import FLOWD
from .process import alone
from .report import Goal, Row
from .run import Run

START_MS = 1_795_000_000_000
ORDERS = 20_000
SYMBOLS = [f"SYM{number}USDT" for number in range(20)]
REMEMBERED = 1_500
FLUSHES = (1, 10, 100, 1000)
"""Orders in one flush: a quiet second, a busy one, a cascade, the worst."""


def orders(count: int, seed: int = 1) -> list[Liquidation]:
    """Liquidations of twenty symbols, a few in each second."""
    random = Random(seed)
    made = []
    for number in range(count):
        symbol = random.choice(SYMBOLS)
        price = Decimal(random.randrange(10_000, 9_000_000)) / 100
        quantity = Decimal(random.randrange(1, 90_000)) / 1000
        time_ms = START_MS + number * 50
        made.append(
            Liquidation(
                symbol,
                random.choice(["BUY", "SELL"]),
                price,
                quantity,
                EXACT.multiply(price, quantity),
                time_ms,
                f"b:{symbol}:{time_ms}",
            )
        )
    return made


def accumulator() -> tuple[Accumulator, Stream[Bucket]]:
    """The transform's accumulator in the documented timeframes, and where it publishes."""
    feed = testing.feed(record=Bucket, retain=BUCKETS_MAX, clock=lambda: START_MS + 10**7)
    return Accumulator([parse(name) for name in STANDARD], feed), feed.stream


def cost_us(flush: int) -> float:
    """Processor time per order, all timeframes, with so many in each flush."""
    stream = testing.stream("orders", orders(ORDERS), record=Liquidation, retain=ORDERS)
    records = stream.after(0)
    adding, _ = accumulator()
    gc.collect()
    gc.freeze()
    began = time.process_time()
    for first in range(0, len(records), flush):
        adding.add(records[first : first + flush])
    spent = time.process_time() - began
    gc.unfreeze()
    return spent / len(records) * 1e6


def memory_kib() -> tuple[float, float]:
    """What 1 500 liquidations take in their stream, and their buckets in theirs."""
    made = orders(REMEMBERED)
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    stream = testing.stream("orders", record=Liquidation, retain=REMEMBERED)
    for order in orders(REMEMBERED):
        stream.append(order, id=order.id)
    between = tracemalloc.get_traced_memory()[0]
    adding, buckets = accumulator()
    adding.add(stream.after(0))
    after = tracemalloc.get_traced_memory()[0]
    assert len(stream) == len(made)
    assert len(buckets) > 0
    return (between - before) / 1024, (after - between) / 1024


def child() -> None:
    """Measure, and print JSON: this is the process of its own."""
    costs = {flush: cost_us(flush) for flush in FLUSHES}
    remembered, buckets = memory_kib()
    print(json.dumps({"costs": costs, "orders_kib": remembered, "buckets_kib": buckets}))


def run_once() -> dict[str, object]:
    """One measurement in a process of its own."""
    return alone("bench.volume", timeout_s=300)


def rows(run: Run) -> Iterator[Row]:
    """The cost of a liquidation by how many come together, and memory."""
    costs = {
        flush: Row(
            f"liquidation volume in {len(STANDARD)} timeframes, {flush} per flush",
            "µs of CPU per liquidation",
            [Goal(10.0)],
        )
        for flush in FLUSHES
    }
    kept = Row(f"memory of {REMEMBERED} liquidations", "KiB")
    buckets = Row(f"memory of the buckets of {REMEMBERED} liquidations", "KiB")
    for _ in range(run.plan.rounds):
        found = run_once()
        measured = found["costs"]
        assert isinstance(measured, dict)
        for flush, row in costs.items():
            row.add(FLOWD, float(measured[str(flush)]))
        kept.add(FLOWD, float(str(found["orders_kib"])))
        buckets.add(FLOWD, float(str(found["buckets_kib"])))
    run.say("liquidation volume measured")
    yield from (*costs.values(), kept, buckets)


def main() -> None:
    """Measure once and say it."""
    print(json.dumps(run_once(), indent=2))


if __name__ == "__main__":
    child() if "--child" in sys.argv else main()
