"""From an upstream's socket to an appended record: the CPU time of one Binance frame.

`python -m bench.intake` measures on its own; `rows` is for `python -m bench`. The source runs alone
in a process of its own, over a real loopback socket, with the event loop as the daemon has it: what
is measured is receiving, decoding, checking, making the value and appending it, with its JSON. What
the whole daemon needs, which also saves and tells of itself, is in the rows of `ingest`.

Beside it is cryptofeed with the same frames, up to its callback, which does nothing: it decodes and
makes a value, but checks nothing, remembers nothing and knows no repetition.
"""

import argparse
import gc
import json
import logging
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import trio
from attrs import define
from flowd_binance import Config
from flowd_binance.connection import follow, take_forced_order

from flowd.market import Liquidation
from flowd.operate.status import LoopMeter
from flowd.process import GC_THRESHOLDS
from flowd.stream.log import Stream
from flowd.upstream.connection import dial
from flowd.upstream.feed import Feed
from flowd.values.clock import system_clock

from . import contenders, machine
from .contenders import CRYPTOFEED, FLOWD, Bench
from .process import BenchError, Helper
from .report import Goal, Row
from .run import Run

MODULES = {FLOWD: "bench.intake", CRYPTOFEED: "bench.peers.cryptofeed_futures"}
WARM = 1_000
FRAMES = 30_000
RATE = 1_000.0


@define
class Count:
    """Counts what was taken: `warm` of it first, then `wanted`, whose CPU time it tells."""

    warm: int
    wanted: int
    taken: int = 0
    began_cpu: float = 0.0
    began: float = 0.0

    def one(self) -> bool:
        """One more; true when that was the last one, and its cost was told."""
        self.taken += 1
        if self.taken == self.warm:
            self.began_cpu, self.began = time.process_time(), time.monotonic()
        if self.taken < self.warm + self.wanted:
            return False
        spent, took = time.process_time() - self.began_cpu, time.monotonic() - self.began
        print(json.dumps({"cost_us": spent / self.wanted * 1e6, "took_s": took}), flush=True)
        return True


# -- the source alone, in a process of its own --


def no_table(name: str, _record: type[Any]) -> Stream[Any]:
    """This source keeps none."""
    raise NotImplementedError(name)


async def source(port: int, count: Count) -> None:
    """The source, until all has come that is to be counted."""
    stream = Stream("force-orders", Liquidation, clock=system_clock, epoch="bench")
    feed = Feed("force-orders", stream, clock=system_clock, dial=dial, table=no_table)
    config = Config(["*"], url=f"ws://127.0.0.1:{port}/market")
    # As the daemon's own process does it.
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLDS)
    with trio.CancelScope() as scope:

        def take(feed: Feed[Any], event: Any) -> bool:
            taken = take_forced_order(feed, event)
            if taken and count.one():
                scope.cancel()
            return taken

        await follow(config, feed, lambda: None, take)
    assert stream.seq >= count.taken


def child() -> None:
    """One run of the source in this process."""
    given = arguments()
    logging.basicConfig(level=logging.WARNING)
    count = Count(given.warm, given.count)
    trio.run(source, given.port, count, instruments=[LoopMeter()])


# -- what the benchmark sees --


def cost_us(bench: Bench, name: str, count: int, rate: float | None) -> float:
    """CPU microseconds of one frame, of so many at this rate or at full speed."""
    command = ["--port", str(bench.exchange_port), "--count", str(count), "--warm", str(WARM)]
    with Helper.run(MODULES[name], bench.cores.server, *command) as taker:
        if not bench.feeder.ask(do="wait", to="exchange", timeout_s=20.0)["ready"]:
            raise BenchError(f"{name} did not connect to its upstream")
        for frames, pace in ((WARM, None), (count, rate)):
            bench.feeder.ask(do="emit", to="exchange", count=frames, rate=pace)
            bench.feeder.answer()
        return float(taker.answer()["cost_us"])


def rows(run: Run) -> Iterator[Row]:
    """One frame at full speed, and one at a steady pace, where each has passes to itself."""
    names = run.present(FLOWD, CRYPTOFEED)
    frames = run.plan.frames
    full = Row("intake: a source alone, full speed", "µs of CPU per frame", [Goal(18)])
    paced = Row("intake: a source alone, 1 000 frames/s", "µs of CPU per frame", [Goal(45)])
    yield run.rounds(full, names, lambda name: (cost_us(run.bench, name, frames, None), ""))
    yield run.rounds(paced, names, lambda name: (cost_us(run.bench, name, frames // 10, RATE), ""))


def arguments() -> argparse.Namespace:
    """What was asked for on the command line."""
    parser = argparse.ArgumentParser(prog="python -m bench.intake", description=__doc__)
    parser.add_argument("--count", type=int, default=FRAMES, help="frames at full speed")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--port", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--warm", type=int, default=WARM, help=argparse.SUPPRESS)
    return parser.parse_args()


def main() -> None:
    """Measure in turn, and tell medians and ratios."""
    given = arguments()
    cores = machine.Cores.choose()
    names = [name for name in MODULES if name not in contenders.missing_packages()]
    with (
        tempfile.TemporaryDirectory(prefix="flowd-bench-") as directory,
        Helper.start("bench.feeder", cores.others) as (feeder, ports),
    ):
        bench = Bench(cores, feeder, ports["exchange"], ports["line"], Path(directory))
        for what, count, rate in (
            ("full speed", given.count, None),
            ("1 000 frames/s", given.count // 10, RATE),
        ):
            found: dict[str, list[float]] = {name: [] for name in names}
            for _ in range(given.runs):
                for name in names:
                    found[name].append(cost_us(bench, name, count, rate))
            medians = {name: statistics.median(costs) for name, costs in found.items()}
            for name, costs in found.items():
                print(
                    f"{what}: {name} {medians[name]:.1f} µs of CPU per frame"
                    f" ({min(costs):.1f} to {max(costs):.1f}),"
                    f" {medians[name] / medians[names[-1]]:.2f} x {names[-1]}"
                )


if __name__ == "__main__":
    child() if "--port" in sys.argv else main()
