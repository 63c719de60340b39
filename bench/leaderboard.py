"""The leaderboard of ten thousand traders: how long does it take, and how long is the loop held?

`python -m bench.leaderboard` measures on its own; `rows` is for `python -m bench`. The transform's
own steps run in a process of its own, without a network: all traders have trips, public trades and
samples, a quarter a portfolio, and everybody is compared. The first time all are new, as after a
start; from then on a tenth have traded since the time before. Processor time is told, since others
on the machine are not the leaderboard's.
"""

import json
import sys
import time
from collections.abc import Generator, Iterator
from decimal import Decimal
from random import Random
from typing import Any

from attrs import evolve
from flowd_leaderboard.chain import Leg
from flowd_leaderboard.drawdown import Drawdown
from flowd_leaderboard.figures import Portfolio
from flowd_leaderboard.standings import SLICE_S, Evidence, publish, standings
from flowd_leaderboard.trips import Trips
from flowd_leaderboard.weights import Weights

from flowd import testing
from flowd.process import settle
from flowd.traders import Standing, Trader

from .contenders import FLOWD
from .process import alone
from .report import Goal, Row
from .run import Run

TRADERS, ROUNDS = 10_000, 5
NOW_MS = 1_795_000_000_000
EVERY_MS = 600_000


def evidence(count: int) -> Evidence:
    """What might be known of so many traders."""
    random = Random(7)
    traders, trips, portfolios, drawdowns = {}, {}, {}, {}
    for number in range(count):
        address = f"0x{random.getrandbits(160):040x}"
        volume = Decimal(int(random.paretovariate(0.7) * 1000))
        traders[address] = Trader(
            address, "hyperliquid", NOW_MS - 10**9, NOW_MS, volume, 9, ("BTC", "ETH")
        )
        trips[address] = traded(random, volume)
        if number % 4 == 0:
            portfolios[address] = Portfolio(address, NOW_MS, 9 * volume, 10**12, random.random())
        drawdowns[address] = Drawdown(1.0, NOW_MS, 0.5, random.random(), 9)
    return Evidence(NOW_MS, traders, {}, trips, portfolios, drawdowns)


def traded(random: Random, volume: Decimal) -> Trips:
    """Five trips of one trader."""
    trips, fee, flat, one = Trips(), Decimal("0.1"), Decimal(0), Decimal(1)
    for number in range(5):
        at, pnl = NOW_MS - 10**6 + 2 * number, Decimal(random.randrange(-5000, 6000)) / 100
        trips.add("BTC", Leg(at, "1", flat, one, flat, fee, volume))
        trips.add("BTC", Leg(at + 1, "2", one, -one, pnl, fee, volume))
    return trips


def later(known: Evidence) -> Evidence:
    """What is known when a tenth of them have traded once more, as long as a run takes later."""
    traders, trips, zero, one = {**known.traders}, {**known.trips}, Decimal(0), Decimal(1)
    for address in list(traders)[::10]:
        traders[address] = evolve(traders[address], trades=traders[address].trades + 1)
        trips[address] = trips[address].copy()
        leg = Leg(known.time_ms, str(known.time_ms), zero, one, zero, zero, one)
        trips[address].add("BTC", leg)
    return evolve(known, time_ms=known.time_ms + EVERY_MS, traders=traders, trips=trips)


def timed(steps: Generator[None, None, Any]) -> tuple[Any, float, float]:
    """What a computation comes to, its time and the longest that it holds the loop, in
    milliseconds.
    """
    whole = longest = held = 0.0
    while True:
        began = time.process_time()
        try:
            next(steps)
        except StopIteration as end:
            took = (time.process_time() - began) * 1000
            return end.value, whole + took, max(longest, held + took)
        took = (time.process_time() - began) * 1000
        whole, held = whole + took, held + took
        longest = max(longest, held)
        if held >= SLICE_S * 1000:
            held = 0.0


def child() -> None:
    """Compute and publish a few times: the first, and the best of the others, as a line of JSON."""
    known, before = evidence(TRADERS), {}
    feed = testing.feed(record=Standing, retain=2 * TRADERS)
    settle()
    found: dict[str, float] = {}
    for number in range(ROUNDS):
        made, *computed = timed(standings(known, 3, Weights(), "linear", TRADERS, before))
        _, *published = timed(publish(feed, made))
        known, before = later(known), made.listed
        names = ("compute_ms", "compute_longest_ms", "publish_ms", "publish_longest_ms")
        for name, took in zip(names, [*computed, *published], strict=True):
            full = name if number else f"first_{name}"
            found[full] = min(took, found.get(full, took))
    sys.stdout.write(json.dumps(found))


def run_once() -> dict[str, float]:
    """One run, in a process of its own."""
    found: dict[str, float] = alone("bench.leaderboard", timeout_s=120)
    return found


def rows(run: Run) -> Iterator[Row]:
    """Measure and compare ten thousand traders; and find and publish the rows that changed."""
    what = f"leaderboard of {TRADERS} traders"
    whole = Row(f"{what}: measured, compared and ranked", "ms of CPU", [Goal(50.0)])
    first = Row(f"{what}: the same after a start", "ms of CPU")
    step = Row(f"{what}: the longest that it holds the loop", "ms of CPU", [Goal(5.0)])
    rest = Row(f"{what}: publish the rows that changed, a tenth", "ms of CPU")

    def take(_name: str) -> tuple[float, str]:
        found = run_once()
        step.add(FLOWD, max(took for name, took in found.items() if "longest" in name))
        rest.add(FLOWD, found["publish_ms"])
        first.add(FLOWD, found["first_compute_ms"])
        return found["compute_ms"], ""

    yield run.rounds(whole, [FLOWD], take)
    yield first
    yield step
    yield rest


def main() -> None:
    """Measure once."""
    for name, took in run_once().items():
        print(f"{name}: {took:.2f}")


if __name__ == "__main__":
    child() if "--child" in sys.argv else main()
