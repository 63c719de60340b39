"""History at full speed: can the sink keep up with many records a second, and at what cost to the
loop?

`python -m bench.history` measures on its own; `rows` is for `python -m bench`. A whole daemon is
measured: a source that publishes at a pace, the state file, the sink, and, if asked for, clients
who query meanwhile. The stream is full before measuring begins.
"""

import argparse
import os
import sys
import time
from collections.abc import Iterator
from decimal import Decimal
from functools import partial
from pathlib import Path

import flowd_history
import trio
from attrs import frozen

from flowd.history import Query
from flowd.market import Liquidation
from flowd.operate.status import LoopMeter
from flowd.plugin import Feed, Source
from flowd.process import settle

from . import whole
from .contenders import FLOWD
from .process import BenchError, alone
from .report import Goal, Row
from .run import Run

NONE = "no history"
RATE, SECONDS, QUERIES_PER_S = 20_000, 10.0, 10.0
SYMBOLS = [f"S{number:03}USDT" for number in range(300)]
CONFIG = """\
[flowd]
listen = "127.0.0.1:0"

[sources.orders]
kind = "bench-orders"
rate = {rate}
retain = {retain}
"""
SINK = """
[sinks.history]
kind = "history"
inputs = ["orders"]
path = "{path}"
"""


@frozen
class Found:
    """What one run came to.

    `hold_ms` is the loop's longest hold by one step of any task, on the clock, and `work_ms` the
    longest in processor time: where they differ, threads or other processes had the processor.
    `own_ms` is the longest on the clock by a step of the sink. `late_ms` is the longest time for
    which a task that was due had to wait. `behind` is how many records the sink had still to
    write, at most; `missing` how many of all are not in the file.
    """

    records: int
    per_s: float
    hold_ms: float
    work_ms: float
    hold_task: str
    own_ms: float
    late_ms: float
    behind: int
    missing: int
    cpu_us: float
    queries: int
    query_ms: float


# -- the run itself, in a process of its own --


@frozen
class Config:
    """The source's settings."""

    rate: int


async def orders(config: Config, feed: Feed[Liquidation]) -> None:
    """Publish liquidations at a pace, for ever."""
    price, quantity = Decimal("43000.50"), Decimal("0.250")

    def publish(number: int) -> None:
        symbol, time_ms = SYMBOLS[number * 7919 % len(SYMBOLS)], feed.clock()
        id = f"b:{symbol}:{time_ms}:SELL:0.25:{number}"
        notional = price * quantity
        feed.publish(Liquidation(symbol, "SELL", price, quantity, notional, time_ms, id), id=id)

    await whole.at_a_pace(config.rate, publish)


SOURCE = Source("bench-orders", orders, Config, record=Liquidation)


class Own(trio.abc.Instrument):
    """The longest hold by the sink's own tasks."""

    def __init__(self) -> None:
        self.longest_s = 0.0
        self._began = time.perf_counter()

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        """A task begins to hold the loop."""
        self._began = time.perf_counter()

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        """It gives it back."""
        if task.name.startswith("flowd_history"):
            self.longest_s = max(self.longest_s, time.perf_counter() - self._began)


async def measure(directory: Path, rate: int, seconds: float, queries: float, sink: bool) -> Found:
    """Run the daemon, wait until its stream is full, and watch it for so many seconds."""
    text = CONFIG.format(rate=rate, retain=rate)
    path = directory / "history.db"
    if sink:
        text += SINK.format(path=path)
    asked: list[float] = []
    behind = 0
    async with whole.daemon(text, directory, SOURCE, flowd_history) as daemon:
        stream = daemon.streams["orders"]

        async def ask() -> None:
            while True:
                began = time.perf_counter()
                answer = await daemon.get(f"/streams/orders/history?order=desc&symbol={SYMBOLS[0]}")
                if answer.status != 200:
                    raise BenchError(f"the history answered {answer.body!r}")
                asked.append(time.perf_counter() - began)
                await trio.sleep(1 / queries)

        settle()
        async with trio.open_nursery() as nursery:
            while len(stream) < stream.retain.count:  # noqa: ASYNC110
                await trio.sleep(0.1)
            meter, own, punctuality = LoopMeter(), Own(), whole.Punctuality()
            trio.lowlevel.add_instrument(meter)
            trio.lowlevel.add_instrument(own)
            nursery.start_soon(punctuality.run)
            if sink and queries:
                nursery.start_soon(ask)
            first, spent, began = stream.seq, time.process_time(), time.perf_counter()
            while (took := time.perf_counter() - began) < seconds:
                await trio.sleep(0.05)
                if sink:
                    behind = max(behind, daemon.readings["history"][0].behind)
            records, spent = stream.seq - first, time.process_time() - spent
            trio.lowlevel.remove_instrument(meter)
            trio.lowlevel.remove_instrument(own)
            nursery.cancel_scope.cancel()
    missing = stream.seq - rows_in(path) if sink else 0
    return Found(
        records,
        records / took,
        meter.longest_s * 1000,
        meter.longest_work_s * 1000,
        meter.longest_task,
        own.longest_s * 1000,
        punctuality.worst_s * 1000,
        behind,
        missing,
        spent / records * 1e6,
        len(asked),
        max(asked, default=0.0) * 1000,
    )


def rows_in(path: Path) -> int:
    """How many records the file has."""
    with flowd_history.query.reading(path) as connection:
        return flowd_history.query.count(connection, Query("orders"))


def child() -> None:
    """One run in this process; what it came to, as a line of JSON."""
    given = arguments()
    # A thread writes beside the loop: like any daemon, this one may use all the cores there are.
    os.sched_setaffinity(0, range(os.cpu_count() or 1))
    whole.answer(measure, given.rate, given.seconds, given.queries, not given.without)


# -- what the benchmark sees --


def run_once(
    *,
    seconds: float = SECONDS,
    rate: int = RATE,
    queries: float = 0.0,
    without: bool = False,
) -> Found:
    """One run, in a process of its own."""
    wanted = ["--rate", str(rate), "--seconds", str(seconds), "--queries", str(queries)]
    wanted += ["--without"] if without else []
    return Found(**alone("bench.history", *wanted, timeout_s=seconds + 60))


def rows(run: Run) -> Iterator[Row]:
    """20 000 records a second into the history, also while it is queried; and without one, to see
    what of it is the history's doing.
    """
    written = Row(f"history: written of {RATE} records/s", "per second")
    own = Row(f"history: longest hold by the sink itself, {RATE} records/s", "ms", [Goal(5.0)])

    def measure_with(queries: float, name: str) -> tuple[float, str]:
        found = run_once(queries=queries, without=name == NONE)
        short = f"missed {found.missing} of its records" if found.missing else ""
        if name == FLOWD:
            written.add(name, found.per_s, short)
            own.add(name, found.own_ms)
        return found.work_ms, short

    for queries in (0.0, QUERIES_PER_S):
        what = f"{RATE} records/s" + (f", {queries:g} queries/s" if queries else "")
        work = Row(f"history: most work of the loop at once, {what}", "ms", [Goal(5.0)])
        names = [FLOWD] if queries else [FLOWD, NONE]
        yield run.rounds(work, names, partial(measure_with, queries))
    yield own
    yield written


def arguments() -> argparse.Namespace:
    """What was asked for on the command line."""
    parser = whole.parser("bench.history", __doc__, RATE, SECONDS)
    parser.add_argument("--queries", type=float, default=QUERIES_PER_S, help="a second, meanwhile")
    return parser.parse_args()


def main() -> None:
    """Measure without a history, with one, and with one that is queried."""
    given = arguments()
    for what, options in (
        ("without a history", {"without": True}),
        ("with a history", {}),
        (f"and {given.queries:g} queries/s", {"queries": given.queries}),
    ):
        found = run_once(seconds=given.seconds, rate=given.rate, **options)
        print(
            f"{what}: {found.per_s:.0f} records/s, missing {found.missing}, "
            f"behind {found.behind} at most, {found.cpu_us:.1f} µs of CPU per record;\n  "
            f"longest hold {found.hold_ms:.2f} ms by {found.hold_task}, {found.work_ms:.2f} ms of "
            f"work; by the sink {found.own_ms:.2f} ms; a task came {found.late_ms:.2f} ms late;\n  "
            f"{found.queries} queries, {found.query_ms:.1f} ms at most"
        )


if __name__ == "__main__":
    child() if "--child" in sys.argv else main()
