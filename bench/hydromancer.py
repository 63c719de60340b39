"""Fills at full speed: from the text of a message to records in the stream, and what they weigh.

`python -m bench.hydromancer` measures on its own; `rows` is for `python -m bench`. Each run has a
process of its own. What is measured is all that the source does with a message once the WebSocket
codec has it: decode it, read each row, append it under its id, add it to the total, note the
cursor. The rows are the simulator's, in messages of fifty.
"""

import argparse
import gc
import json
import logging
import statistics
import sys
import time
import tracemalloc
from collections.abc import Iterator
from functools import partial

import trio
from attrs import asdict, frozen
from flowd_hydromancer import Config
from flowd_hydromancer.frames import decode
from flowd_hydromancer.intake import Intake
from flowd_hydromancer.place import Place
from flowd_hydromancer.veil import Veil
from flowd_simulator.chain.tape import Tape

from flowd import testing
from flowd.plugin import Secret
from flowd.process import settle
from flowd.values import clock

from .contenders import FLOWD
from .process import alone
from .report import Goal, Row
from .run import Run

BATCH, RETAIN = 50, 5000
FILLS = 100_000
BLOCKS_FROM_MS = 1_790_000_000_000
KEY = "bench"


@frozen
class Found:
    """What one run came to: `per_s` over all messages, `message_us` the median message's time,
    `worst_ms` the longest, `megabytes` what a full stream of 5 000 rows takes.
    """

    fills: int
    per_s: float
    message_us: float
    worst_ms: float
    megabytes: float


# -- the run itself, in a process of its own --


def messages(count: int) -> list[str]:
    """Messages with so many rows in all, as the service would send them."""
    tape = Tape(1, 10_000.0)
    found: list[bytes] = []
    time_ms = BLOCKS_FROM_MS
    while len(found) < count:
        time_ms += 100
        found += [row.json for row in tape.block(time_ms, 0.1).rows]
    return [
        f'{{"type":"allFills","channel":"allFills","seq":{number},'
        f'"cursor":"{number}:{BLOCKS_FROM_MS}:0",'
        f'"fills":[{b",".join(found[start : start + BATCH]).decode()}]}}'
        for number, start in enumerate(range(0, count, BATCH), 1)
    ]


class Source:
    """All of the source but its connection."""

    def __init__(self) -> None:
        config = Config("allFills", Secret("the benchmark", KEY))
        self.feed = testing.feed(clock=clock.system_clock, retain=RETAIN)
        self._place = Place(self.feed, config.url, config.wanted)
        self._place.begin("bench-session", resumed=False)
        veil = Veil(KEY, list)
        self._intake = Intake(self.feed, self._place, veil, liquidations=False)

    async def take(self, text: str) -> None:
        """What becomes of one message."""
        frame, bad = decode(text)
        await self._intake.take(frame.items, bad)
        self._place.move(frame.cursor)


async def measure(count: int) -> Found:
    """Take so many fills, at once."""
    texts = messages(count)
    source = Source()
    settle()
    took: list[float] = []
    for text in texts:
        began = time.perf_counter()
        await source.take(text)
        took.append(time.perf_counter() - began)
    fills = source.feed.tally.published
    return Found(
        fills,
        fills / sum(took),
        statistics.median(took) * 1e6,
        max(took) * 1e3,
        await weigh(texts[: RETAIN // BATCH]),
    )


async def weigh(texts: list[str]) -> float:
    """The megabytes of the stream that these messages fill, with ids, totals and JSON."""
    gc.collect()
    tracemalloc.start()
    source = Source()
    for text in texts:
        await source.take(text)
    gc.collect()
    size, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(source.feed.stream) == RETAIN
    return size / 1e6


def child() -> None:
    """One run in this process; what it came to, as a line of JSON."""
    logging.basicConfig(level=logging.WARNING)
    found = trio.run(measure, arguments().fills)
    print(json.dumps(asdict(found)))


# -- what the benchmark sees --


def run_once(fills: int = FILLS) -> Found:
    """One run, in a process of its own."""
    return Found(**alone("bench.hydromancer", "--fills", str(fills), timeout_s=120))


def rows(run: Run) -> Iterator[Row]:
    """Fills a second on one core, and the memory of a full stream."""
    speed = Row(
        f"fills: parsed and appended, messages of {BATCH}",
        "per second",
        [Goal(50_000, at_least=True)],
    )
    memory = Row(f"fills: memory of a stream of {RETAIN}", "MB")

    def measure_with(added: Row, name: str) -> tuple[float, str]:
        found = run_once()
        added.add(name, found.megabytes)
        return found.per_s, ""

    yield run.rounds(speed, [FLOWD], partial(measure_with, memory))
    yield memory


def arguments() -> argparse.Namespace:
    """What was asked for on the command line."""
    parser = argparse.ArgumentParser(prog="python -m bench.hydromancer", description=__doc__)
    parser.add_argument("--fills", type=int, default=FILLS, help="in one run")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    return parser.parse_args()


def main() -> None:
    """Measure some runs and tell their medians."""
    given = arguments()
    found = [run_once(given.fills) for _ in range(given.runs)]
    per_s = [one.per_s for one in found]
    print(
        f"medians of {given.runs} runs of {found[0].fills} fills: "
        f"{statistics.median(per_s):.0f} fills/s ({min(per_s):.0f} to {max(per_s):.0f}), "
        f"{statistics.median(one.message_us for one in found):.0f} µs for {BATCH} of them, "
        f"{statistics.median(one.worst_ms for one in found):.1f} ms at worst; "
        f"{statistics.median(one.megabytes for one in found):.2f} MB for {RETAIN}"
    )


if __name__ == "__main__":
    child() if "--child" in sys.argv else main()
