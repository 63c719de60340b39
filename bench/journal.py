"""The journal's price: what a record costs the whole daemon with it, and without.

`python -m bench.journal` measures on its own; `rows` is for `python -m bench`. A source publishes
liquidations at a pace, or as fast as it can; one record in a step of the event loop is one frame of
the journal, and so are all those of a slice. Saves are so rare that none falls into the measure:
what differs is the journal alone.
"""

import argparse
import statistics
import sys
import time
from collections.abc import Iterator
from contextlib import AbstractAsyncContextManager, nullcontext
from pathlib import Path

import trio
from attrs import frozen

from flowd.market import Liquidation
from flowd.plugin import Feed, Source
from flowd.process import settle
from flowd.stream.journal import Journal
from flowd.stream.segments import DiskSegments
from flowd.stream.snapshot import Loaded, Save, Store
from flowd.stream.stores import SqliteStore

from . import volume, whole
from .contenders import FLOWD
from .process import BenchError, alone
from .report import Goal, Row
from .run import Run

DISK, NONE = 'durability = "disk"', "no state file"
NAMES = [FLOWD, DISK, NONE]
SECONDS, WARM_S = 5.0, 1.0
FULL_S = 2.0
"""Of full speed: what is written between two saves has a limit, and no save falls into a run."""
SLICE = 32
"""Records in one step at full speed: about as many as a source takes in its slice of time."""
MADE = 20_000
PACES = {"alone, 100 a second": 100, "1 000 a second": 1_000, "full speed": 0}
PRICES = {"alone, 100 a second": 15.0, "1 000 a second": 15.0, "full speed": 3.0}
"""What the journal may cost: a record that is alone in its frame, and one of many."""
CONFIG = """\
[flowd]
listen = "127.0.0.1:0"
save_every = "10m"

[sources.orders]
kind = "bench-orders"
rate = {rate}
"""


@frozen
class Found:
    """What one run came to."""

    cpu_us: float
    per_s: float


@frozen
class Config:
    """The source's setting: records a second, 0 for as many as there can be."""

    rate: int


async def orders(config: Config, feed: Feed[Liquidation]) -> None:
    """Publish for ever, each at its time."""
    made = volume.orders(MADE)
    began, number = trio.current_time(), 0
    while True:
        for _ in range(1 if config.rate else SLICE):
            order = made[number % MADE]
            feed.publish(order, id=f"{order.id}:{number}")
            number += 1
        if config.rate:
            await trio.sleep_until(began + number / config.rate)
        else:
            await trio.lowlevel.checkpoint()


SOURCE = Source("bench-orders", orders, Config, record=Liquidation)


class Forgetful:
    """A store that keeps nothing, with a journal that was never begun and so writes nothing."""

    def __init__(self, directory: Path) -> None:
        self.journal = Journal(DiskSegments(directory / "flowd.db"))

    async def load(self) -> Loaded:
        """Nothing was saved."""
        await trio.lowlevel.checkpoint()
        return Loaded()

    async def save(self, save: Save) -> None:
        """Nothing is."""
        await trio.lowlevel.checkpoint()

    def handover(self) -> AbstractAsyncContextManager[None]:
        """There is nothing to give to another daemon."""
        return nullcontext()

    def disown(self) -> None:
        """Nothing counts here anyway."""

    async def close(self) -> None:
        """There is nothing to let go of."""
        await trio.lowlevel.checkpoint()

    def figures(self) -> dict[str, object]:
        """It has no file, and that takes no room."""
        return {"path": None, "bytes": 0, "kept_bytes": 0}


def store(name: str, directory: Path) -> Store:
    """Where the daemon keeps its state."""
    if name == NONE:
        return Forgetful(directory)
    durability = "disk" if name == DISK else "process"
    return SqliteStore(directory / "flowd.db", durability=durability)


async def measure(directory: Path, name: str, rate: int, seconds: float) -> Found:
    """Run the daemon, let it come to speed, and watch it for so many seconds."""
    text = CONFIG.format(rate=rate)
    async with whole.daemon(text, directory, SOURCE, store=store(name, directory)) as daemon:
        await trio.sleep(WARM_S)
        settle()
        stream = daemon.streams["orders"]
        first, spent, began = stream.seq, time.process_time(), time.perf_counter()
        await trio.sleep(seconds)
        took, spent = time.perf_counter() - began, time.process_time() - spent
        records = stream.seq - first
        if (error := daemon.memory.journal.error) is not None:
            raise BenchError(f"the journal {error}")
        return Found(spent / records * 1e6, records / took)


def child() -> None:
    """One run in this process; what it came to, as a line of JSON."""
    given = arguments()
    whole.answer(measure, given.name, given.rate, given.seconds)


def run_once(name: str, rate: int, seconds: float = SECONDS) -> Found:
    """One run, in a process of its own."""
    wanted = ["--name", name, "--rate", str(rate), "--seconds", str(seconds)]
    return Found(**alone("bench.journal", *wanted, timeout_s=seconds + 60))


def rows(run: Run) -> Iterator[Row]:
    """A record alone, a thousand a second, and all that can be: with the journal and without; and
    what is the journal's of it.
    """
    seconds = SECONDS if run.plan.rounds > 1 else 1.5
    for what, rate in PACES.items():
        cost = Row(f"journal: the whole daemon, records {what}", "µs of CPU per record")
        limit = [Goal(PRICES[what])]
        price = Row(f"journal: its own price, records {what}", "µs of CPU per record", limit)
        speed = Row(f"journal: the whole daemon, records {what}", "per second")
        for _ in range(run.plan.rounds):
            lasting = seconds if rate else min(seconds, FULL_S)
            found = {name: run_once(name, rate, lasting) for name in NAMES}
            for name, one in found.items():
                cost.add(name, one.cpu_us)
                speed.add(name, one.per_s)
                if name != NONE:
                    price.add(name, one.cpu_us - found[NONE].cpu_us)
        run.say(f"{cost.what}: {cost.columns[1]} beside {cost.columns[2]}")
        yield from (cost, price)
        if not rate:
            yield speed


def arguments() -> argparse.Namespace:
    """What was asked for on the command line."""
    parser = argparse.ArgumentParser(prog="python -m bench.journal", description=__doc__)
    parser.add_argument("--seconds", type=float, default=SECONDS, help="for how long each time")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--name", choices=NAMES, default=FLOWD, help=argparse.SUPPRESS)
    parser.add_argument("--rate", type=int, default=0, help=argparse.SUPPRESS)
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    return parser.parse_args()


def main() -> None:
    """Measure in turn, and tell medians and ratios."""
    given = arguments()
    for what, rate in PACES.items():
        costs: dict[str, list[float]] = {name: [] for name in NAMES}
        for _ in range(given.runs):
            for name in NAMES:
                costs[name].append(run_once(name, rate, given.seconds).cpu_us)
        medians = {name: statistics.median(found) for name, found in costs.items()}
        for name, median in medians.items():
            print(
                f"{what}: {name} {median:.1f} µs of CPU per record,"
                f" {median / medians[NONE]:.2f} x {NONE}"
            )


if __name__ == "__main__":
    child() if "--child" in sys.argv else main()
