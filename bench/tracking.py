"""What tracking costs: a state with fifty positions, from its bytes to its events, and the memory
that a tracked trader takes.

`python -m bench.tracking` measures on its own; `rows` is for `python -m bench`. Each run has a
process of its own.
"""

import gc
import json
import random
import statistics
import sys
import time
import tracemalloc
from collections.abc import Iterator

from flowd_hyperliquid.accounts import Accounts
from flowd_hyperliquid.covered import Coverage, Known, Since, Size, Upto
from flowd_hyperliquid.state import account

from flowd import testing
from flowd.process import settle
from flowd.traders import PositionEvent
from flowd.values import clock

from .contenders import FLOWD
from .process import alone
from .report import Goal, Row
from .run import Run

COMPARISONS = 400
POSITIONS = 50
CHANGED = 5
"""Positions of the fifty that are another size at each visit."""
TRADERS = 5_000
VISITS = 4
FROM_MS = 1_790_000_000_000


def state(chance: random.Random, time_ms: int, sizes: list[float]) -> bytes:
    """What Hyperliquid would answer of an account with these positions."""
    positions = [
        {
            "type": "oneWay",
            "position": {
                "coin": f"COIN{number}",
                "szi": f"{size:.4f}",
                "leverage": {"type": "cross", "value": 10},
                "entryPx": f"{chance.uniform(1, 90_000):.1f}",
                "positionValue": f"{chance.uniform(10, 400_000):.4f}",
                "unrealizedPnl": f"{chance.uniform(-9_000, 9_000):.6f}",
                "returnOnEquity": "0.1",
                "liquidationPx": f"{chance.uniform(1, 90_000):.6f}",
                "marginUsed": f"{chance.uniform(1, 40_000):.4f}",
                "maxLeverage": 40,
                "cumFunding": {"allTime": "1.5", "sinceOpen": "1.5", "sinceChange": "0.0"},
            },
        }
        for number, size in enumerate(sizes)
    ]
    summary = {"accountValue": "38252.7", "totalNtlPos": "377667.0", "totalMarginUsed": "37766.7"}
    return json.dumps(
        {
            "marginSummary": summary,
            "withdrawable": "486.0",
            "assetPositions": positions,
            "time": time_ms,
        }
    ).encode()


def tracked() -> Accounts:
    """Accounts that no fills cover."""
    feed = testing.feed(record=PositionEvent, clock=clock.system_clock, retain=100_000)
    coverage = Coverage(None, None, "positions", feed.table("since", Since), feed.clock)
    known = Known(feed.table("sizes", Size), feed.table("told", Upto))
    return Accounts(feed, coverage, known)


def compare() -> float:
    """Microseconds of processor time from a state's bytes to its events, on average."""
    chance = random.Random(1)
    sizes = [chance.uniform(-10, 10) for _ in range(POSITIONS)]
    bodies = []
    for number in range(COMPARISONS):
        for place in chance.sample(range(POSITIONS), CHANGED):
            sizes[place] = chance.uniform(-10, 10)
        bodies.append(state(chance, FROM_MS + number, sizes))
    accounts = tracked()
    settle()
    took = []
    for body in bodies:
        began = time.process_time_ns()
        accounts.take(account("0x" + 40 * "a", body))
        took.append((time.process_time_ns() - began) / 1000)
    return statistics.median(took)


def weigh() -> float:
    """KiB that a trader takes who holds one to three positions and was visited a few times."""
    chance = random.Random(1)
    tracemalloc.start()
    accounts = tracked()
    before = tracemalloc.get_traced_memory()[0]
    for visit in range(VISITS):
        for number in range(TRADERS):
            # The same at each visit: events have a limit of their own.
            sizes = [float(number % 7 + coin + 1) for coin in range(number % 3 + 1)]
            body = state(chance, FROM_MS + visit, sizes)
            accounts.take(account(f"0x{number:040x}", body))
    gc.collect()
    return (tracemalloc.get_traced_memory()[0] - before) / 1024 / TRADERS


def child() -> None:
    """One run in this process; what it came to, as a line of JSON."""
    print(json.dumps({"compare_us": compare(), "kib": weigh()}))


def run_once() -> dict[str, float]:
    """One run, in a process of its own."""
    found: dict[str, float] = alone("bench.tracking", timeout_s=200)
    return found


def rows(run: Run) -> Iterator[Row]:
    """One comparison, and the memory of one trader."""
    what = f"tracking: a state of {POSITIONS} positions read and compared, {CHANGED} changed"
    compared = Row(what, "µs of CPU")
    weight = Row("tracking: memory of a trader with one to three positions", "KiB", [Goal(2.0)])

    def take(_name: str) -> tuple[float, str]:
        found = run_once()
        weight.add(FLOWD, found["kib"])
        return found["compare_us"], ""

    yield run.rounds(compared, [FLOWD], take)
    yield weight


def main() -> None:
    """Measure once."""
    for name, value in run_once().items():
        print(f"{name}: {value:.2f}")


if __name__ == "__main__":
    child() if "--child" in sys.argv else main()
