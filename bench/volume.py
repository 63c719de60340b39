"""Liquidation volume: what does one more liquidation cost, in all timeframes, and what does it
take to remember them?

`python -m bench.volume` measures on its own; `rows` is for `python -m bench`. The transform's own
accumulators run in a process of its own, over a real stream, without a network, at their pace: so
many orders in each second, narrow buckets published every second and wide ones every five. How
many come together matters, and of how many symbols: each time every bucket that was changed is
published once.
"""

import gc
import json
import sys
import time
import tracemalloc
from collections.abc import Iterator
from decimal import Decimal
from random import Random

from flowd_liquidations.accumulator import Accumulator
from flowd_liquidations.shelf import Shelf
from flowd_liquidations.timeframe import STANDARD, parse
from flowd_liquidations.volume import BUCKETS_MAX, WIDE_MS, WIDER

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
SLICE = 100
CASES = {
    "alone in its second": (1, 1, 1),
    "alone in its second, of 20 symbols in turn": (1, 20, 1),
    "10 a second": (10, 20, 1),
    "100 a second": (100, 20, 1),
    "1000 a second": (1000, 20, 1),
    "10 a second, of three venues": (10, 20, 3),
    "1000 a second, of three venues": (1000, 20, 3),
}
"""A quiet market, a busy one, a cascade, the worst: how many come in a second, of how many
symbols and venues.
"""
VENUES = ("binance", "bybit", "okx")


def orders(
    count: int, seed: int = 1, *, per_s: int = 20, symbols: int = len(SYMBOLS), venues: int = 1
) -> list[Liquidation]:
    """Liquidations of so many symbols and venues, so many in each second."""
    random = Random(seed)
    made = []
    for number in range(count):
        symbol = random.choice(SYMBOLS[:symbols])
        price = Decimal(random.randrange(10_000, 9_000_000)) / 100
        quantity = Decimal(random.randrange(1, 90_000)) / 1000
        time_ms = START_MS + number * 1000 // per_s
        made.append(
            Liquidation(
                symbol,
                random.choice(["BUY", "SELL"]),
                price,
                quantity,
                EXACT.multiply(price, quantity),
                time_ms,
                f"b:{symbol}:{time_ms}",
                VENUES[number % venues],
            )
        )
    return made


def accumulators() -> tuple[list[Accumulator], Stream[Bucket]]:
    """The transform's accumulators, narrow and wide, and where they publish."""
    feed = testing.feed(record=Bucket, retain=BUCKETS_MAX, clock=lambda: START_MS + 10**8)
    frames = [parse(name) for name in STANDARD]
    shelf = Shelf(frames, feed)
    parts = ([f for f in frames if (f.width_ms >= WIDE_MS) == wide] for wide in (False, True))
    return [Accumulator(part, shelf, feed) for part in parts], feed.stream


def cost_us(per_s: int, symbols: int, venues: int) -> float:
    """Processor time per order, all timeframes."""
    made = orders(ORDERS, per_s=per_s, symbols=symbols, venues=venues)
    stream = testing.stream("orders", made, record=Liquidation, retain=ORDERS)
    (narrow, wide), _ = accumulators()
    gc.collect()
    gc.freeze()
    began = time.process_time()
    for second, first in enumerate(range(0, ORDERS, per_s), 1):
        for seq in range(first, first + per_s, SLICE):
            batch = stream.read(seq, upto=first + per_s, limit=SLICE)
            narrow.add(batch)
            wide.add(batch)
        narrow.publish()
        if second % WIDER == 0:
            wide.publish()
    wide.publish()
    spent = time.process_time() - began
    gc.unfreeze()
    return spent / ORDERS * 1e6


def memory_kib() -> tuple[float, float]:
    """What 1 500 liquidations take in their stream, and their buckets in theirs."""
    made = orders(REMEMBERED)
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    stream = testing.stream("orders", record=Liquidation, retain=REMEMBERED)
    for order in orders(REMEMBERED):
        stream.append(order, id=order.id)
    between = tracemalloc.get_traced_memory()[0]
    adding, buckets = accumulators()
    for one in adding:
        one.add(stream.read(0))
        one.publish()
    after = tracemalloc.get_traced_memory()[0]
    assert len(stream) == len(made)
    assert len(buckets) > 0
    return (between - before) / 1024, (after - between) / 1024


def child() -> None:
    """Measure, and print JSON: this is the process of its own."""
    costs = {case: cost_us(*given) for case, given in CASES.items()}
    remembered, buckets = memory_kib()
    print(json.dumps({"costs": costs, "orders_kib": remembered, "buckets_kib": buckets}))


def run_once() -> dict[str, object]:
    """One measurement in a process of its own."""
    return alone("bench.volume", timeout_s=300)


def rows(run: Run) -> Iterator[Row]:
    """The cost of a liquidation by how many come together, and memory."""
    costs = {
        case: Row(
            f"liquidation volume in {len(STANDARD)} timeframes, {case}",
            "µs of CPU per liquidation",
            [Goal(10.0)],
        )
        for case in CASES
    }
    kept = Row(f"memory of {REMEMBERED} liquidations", "KiB")
    buckets = Row(f"memory of the buckets of {REMEMBERED} liquidations", "KiB")
    for _ in range(run.plan.rounds):
        found = run_once()
        measured = found["costs"]
        assert isinstance(measured, dict)
        for case, row in costs.items():
            row.add(FLOWD, float(measured[case]))
        kept.add(FLOWD, float(str(found["orders_kib"])))
        buckets.add(FLOWD, float(str(found["buckets_kib"])))
    run.say("liquidation volume measured")
    yield from (*costs.values(), kept, buckets)


def main() -> None:
    """Measure once and say it."""
    print(json.dumps(run_once(), indent=2))


if __name__ == "__main__":
    child() if "--child" in sys.argv else main()
