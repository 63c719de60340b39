"""The heatmap: a week's cold start, one candle, the picture of a week, and what a symbol takes.

`python -m bench.heatmap` measures on its own; `rows` is for `python -m bench`. The transform runs
in a process of its own, without a network, on a week of made-up candles and open interest.
Processor time is told, since others on the machine are not the heatmap's.
"""

import gzip
import json
import sys
import time
import tracemalloc
from collections.abc import Iterator
from decimal import Decimal
from random import Random
from typing import Any

import trio
from flowd_heatmap import Config, heatmap
from flowd_heatmap.decoder import Decoder
from flowd_heatmap.picture import draw, in_text, told
from flowd_heatmap.records import Column
from flowd_heatmap.timeseries import LEVEL

from flowd import testing
from flowd.market import Candle, LiquidationMap, OpenInterest
from flowd.plugin import Seconds, StreamName, codec
from flowd.process import settle
from flowd.stream.log import Stream

from .contenders import FLOWD
from .process import alone
from .report import Goal, Row
from .run import Run

WEEK, BINS, STEPS, PICTURES = 2016, 300, 50, 5
WIDTH_MS = 300_000
SYMBOL = "BTCUSDT"


class Made:
    """A market of one symbol: one candle, and the open interest at its end, after the other."""

    def __init__(self, start_ms: int) -> None:
        self.candles = testing.stream("candles", record=Candle)
        self.interest = testing.stream("oi", record=OpenInterest, retain=20_000)
        self._random = Random(1)
        self._time_ms, self._price, self._open = start_ms, 100_000.0, 90_000.0
        self._sample()

    def _sample(self) -> None:
        one = OpenInterest(SYMBOL, self._time_ms, Decimal(f"{self._open:.3f}"))
        self.interest.append(one, key=one.key)

    def go_on(self) -> None:
        """One candle more."""
        random, before = self._random, self._price
        self._price *= 1 + random.gauss(0, 0.0015)
        high = max(before, self._price) * (1 + abs(random.gauss(0, 0.0007)))
        low = min(before, self._price) * (1 - abs(random.gauss(0, 0.0007)))
        prices = [Decimal(f"{price:.1f}") for price in (before, high, low, self._price)]
        start_ms, one = self._time_ms, Decimal(1)
        self._time_ms += WIDTH_MS
        self._open = max(1.0, self._open + random.gauss(0, 150))
        self._sample()
        end_ms, half = self._time_ms - 1, Decimal("0.5")
        made = Candle(SYMBOL, "5m", start_ms, end_ms, *prices, one, one, 2, half, one, True)
        self.candles.append(made, key=made.key)


class Holds(trio.abc.Instrument):
    """How long the transform's steps took, together and at most, in seconds of processor time."""

    def __init__(self) -> None:
        self.whole = self.longest = 0.0
        self._began = time.thread_time()

    def taken(self) -> tuple[float, float]:
        """These, from which they begin anew."""
        found = self.whole, self.longest
        self.whole = self.longest = 0.0
        return found

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        """It begins."""
        self._began = time.thread_time()

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        """It ends."""
        if task.name.startswith("flowd_heatmap."):
            took = time.thread_time() - self._began
            self.whole += took
            self.longest = max(self.longest, took)


async def drawn(found: dict[str, float], *, traced: bool = False) -> Stream[Any]:
    """Draw a week, and then some candles one by one; the stream of columns."""
    made = Made(testing.clock() // WIDTH_MS * WIDTH_MS - WEEK * WIDTH_MS)
    for _ in range(WEEK):
        made.go_on()
    feed = testing.feed(record=LiquidationMap, name="heatmap", retain=50_000)
    config = Config(
        candles=StreamName("candles"), open_interest=StreamName("oi"), every=Seconds(0.2)
    )
    holds = Holds()
    if traced:
        tracemalloc.start()
    trio.lowlevel.add_instrument(holds)
    async with trio.open_nursery() as nursery:
        began = time.thread_time()
        nursery.start_soon(heatmap, config, testing.streams(made.candles, made.interest), feed)
        await until(feed, 0)
        found["cold_ms"] = (time.thread_time() - began) * 1000
        if traced:
            found["bytes"] = tracemalloc.get_traced_memory()[0]
            tracemalloc.stop()
        found["cold_hold_ms"] = holds.taken()[1] * 1000
        head = feed.stream.seq
        for _ in range(STEPS if not traced else 0):
            made.go_on()
            await until(feed, head)
            head = feed.stream.seq
        whole, longest = holds.taken()
        found["step_ms"], found["hold_ms"] = whole * 1000 / STEPS, longest * 1000
        nursery.cancel_scope.cancel()
    return feed.tables["columns"]


async def until(feed: Any, seq: int) -> None:
    """Wait for the next map."""
    while feed.stream.seq <= seq:  # noqa: ASYNC110
        await trio.sleep(0.02)


def pictures(columns: list[Column], found: dict[str, float]) -> None:
    """Make the picture of a week a few times, as who asks for it does."""
    decoder = Decoder()
    for number in range(PICTURES):
        began = time.thread_time()
        picture = draw(SYMBOL, decoder.decode(columns), BINS)
        body = codec.encode(in_text(told(picture, 0, 0)))
        packed = gzip.compress(body, LEVEL, mtime=0)
        took = (time.thread_time() - began) * 1000
        name = "picture_ms" if number else "first_picture_ms"
        found[name] = min(took, found.get(name, took))
        found["wire_kb"] = len(packed) / 1000


def child() -> None:
    """Measure, as a line of JSON."""
    settle()
    found: dict[str, float] = {}
    table = trio.run(drawn, found)
    pictures([record.value for record in table.after(0)][-WEEK:], found)
    apart: dict[str, float] = {}

    async def again() -> Any:
        return await drawn(apart, traced=True)

    trio.run(again)
    found["memory_mb"] = apart["bytes"] / 1e6
    sys.stdout.write(json.dumps(found))


def run_once() -> dict[str, float]:
    """One run, in a process of its own."""
    found: dict[str, float] = alone("bench.heatmap", timeout_s=180)
    return found


def rows(run: Run) -> Iterator[Row]:
    """Measure a symbol's week, one candle of it, and its picture."""
    cold = Row("heatmap: a week of one symbol from nothing", "ms of CPU", [Goal(1000.0)])
    step = Row("heatmap: one candle and its map", "ms of CPU", [Goal(5.0)])
    hold = Row("heatmap: the longest that a candle holds the loop", "ms of CPU", [Goal(5.0)])
    picture = Row(f"heatmap: a week in {BINS} rows", "ms of CPU", [Goal(30.0)])
    wire = Row(f"heatmap: a week in {BINS} rows, on the wire", "KB", [Goal(150.0)])
    memory = Row("heatmap: a symbol with a week in memory", "MB")

    def take(_name: str) -> tuple[float, str]:
        found = run_once()
        step.add(FLOWD, found["step_ms"])
        hold.add(FLOWD, found["hold_ms"])
        picture.add(FLOWD, found["picture_ms"])
        wire.add(FLOWD, found["wire_kb"])
        memory.add(FLOWD, found["memory_mb"])
        return found["cold_ms"], ""

    yield run.rounds(cold, [FLOWD], take)
    yield from (step, hold, picture, wire, memory)


def main() -> None:
    """Measure once."""
    for name, took in run_once().items():
        print(f"{name}: {took:.2f}")


if __name__ == "__main__":
    child() if "--child" in sys.argv else main()
