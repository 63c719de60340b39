"""Totals at full speed: what does a record cost, and how long is the loop held?

`python -m bench.totals` measures on its own; `rows` is for `python -m bench`. A whole daemon is
measured: a source that publishes both sides of trades at a pace, among so many coins and traders,
the state file, and the transform or nothing.
"""

import argparse
import sys
import time
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from random import Random

import flowd_totals
import trio
from attrs import frozen

from flowd.market import Fill
from flowd.operate.observe import resident_bytes
from flowd.operate.status import LoopMeter
from flowd.plugin import Feed, Source
from flowd.process import settle

from . import whole
from .contenders import FLOWD
from .process import alone
from .report import Goal, Row
from .run import Run

NONE = "no totals"
RATE, SECONDS, TRADERS, COINS = 20_000, 15.0, 100_000, 300
WARM_S = 3.0
CONFIG = """\
[flowd]
listen = "127.0.0.1:0"

[sources.fills]
kind = "bench-fills"
rate = {rate}
traders = {traders}
"""
TRANSFORM = """
[transforms.totals]
kind = "totals"
input = "fills"
"""


@frozen
class Found:
    """What one run came to: processor time per record, the longest holds of the loop on the clock
    and in processor time, how late a task came that was due, the ranking's error as a share of
    its volume, memory.
    """

    per_s: float
    cpu_us: float
    hold_ms: float
    work_ms: float
    late_ms: float
    missed: int
    error: float
    memory_mb: float


@frozen
class Config:
    """The source's settings."""

    rate: int
    traders: int


async def fills(config: Config, feed: Feed[Fill]) -> None:
    """Publish both sides of trades at a pace, for ever."""
    random = Random(7)
    addresses = [f"0x{random.getrandbits(160):040x}" for _ in range(config.traders)]
    # A few of the traders have most of the volume.
    chosen = [
        addresses[min(config.traders, int(random.paretovariate(0.5))) - 1] for _ in range(50_000)
    ]
    price, zero, fee = Decimal("43000.5"), Decimal(0), Decimal("0.35")

    def publish(number: int) -> None:
        trade, maker = divmod(number, 2)
        quantity = Decimal(trade * 7919 % 1000 + 1).scaleb(-3)
        feed.publish(
            Fill(
                f"C{trade * 31 % COINS}",
                "BUY" if (trade + maker) % 2 else "SELL",
                price,
                quantity,
                price * quantity,
                feed.clock(),
                f"h:{number}",
                chosen[number * 13 % len(chosen)],
                "Open Long",
                zero,
                fee,
                "USDC",
                not maker,
                "0x0",
            )
        )

    await whole.at_a_pace(config.rate, publish)


SOURCE = Source("bench-fills", fills, Config, record=Fill)


async def measure(directory: Path, rate: int, seconds: float, traders: int, without: bool) -> Found:
    """Run the daemon, let it come to speed, and watch it for so many seconds."""
    text = CONFIG.format(rate=rate, traders=traders) + ("" if without else TRANSFORM)
    async with whole.daemon(text, directory, SOURCE, flowd_totals) as daemon:
        await trio.sleep(WARM_S)
        settle()
        async with trio.open_nursery() as nursery:
            meter, punctuality = LoopMeter(), whole.Punctuality()
            trio.lowlevel.add_instrument(meter)
            nursery.start_soon(punctuality.run)
            stream = daemon.streams["fills"]
            first, spent, began = stream.seq, time.process_time(), time.perf_counter()
            await trio.sleep(seconds)
            took, spent = time.perf_counter() - began, time.process_time() - spent
            records = stream.seq - first
            trio.lowlevel.remove_instrument(meter)
            nursery.cancel_scope.cancel()
        ranking = None if without else daemon.streams["totals"].get("traders/5m")
        return Found(
            records / took,
            spent / records * 1e6,
            meter.longest_s * 1000,
            meter.longest_work_s * 1000,
            punctuality.worst_s * 1000,
            0 if without else daemon.feeds["totals"].tally.missed,
            0.0 if ranking is None else float(ranking.error / ranking.volume),
            resident_bytes() / 1e6,
        )


def child() -> None:
    """One run in this process; what it came to, as a line of JSON."""
    given = arguments()
    whole.answer(measure, given.rate, given.seconds, given.traders, given.without)


def run_once(
    *, seconds: float = SECONDS, rate: int = RATE, traders: int = TRADERS, without: bool = False
) -> Found:
    """One run, in a process of its own."""
    wanted = ["--rate", str(rate), "--seconds", str(seconds), "--traders", str(traders)]
    wanted += ["--without"] if without else []
    return Found(**alone("bench.totals", *wanted, timeout_s=seconds + 60))


def rows(run: Run) -> Iterator[Row]:
    """20 000 fills a second into the totals; and without them, to see what of it is theirs."""
    what = f"totals of {RATE} fills/s by {TRADERS} traders"
    work = Row(f"{what}: most work of the loop at once", "ms", [Goal(5.0)])
    cost = Row(f"{what}: the whole daemon", "µs of CPU per record")

    def take(name: str) -> tuple[float, str]:
        found = run_once(without=name == NONE)
        cost.add(name, found.cpu_us)
        return found.work_ms, f"missed {found.missed} records" if found.missed else ""

    yield run.rounds(work, [FLOWD, NONE], take)
    yield cost


def arguments() -> argparse.Namespace:
    """What was asked for on the command line."""
    parser = whole.parser("bench.totals", __doc__, RATE, SECONDS)
    parser.add_argument("--traders", type=int, default=TRADERS, help="different ones")
    return parser.parse_args()


def main() -> None:
    """Measure without totals, and with them."""
    given = arguments()
    for what, without in (("without totals", True), ("with totals", False)):
        found = run_once(
            seconds=given.seconds, rate=given.rate, traders=given.traders, without=without
        )
        print(
            f"{what}: {found.per_s:.0f} records/s, {found.cpu_us:.1f} µs of CPU per record, missed "
            f"{found.missed}; longest hold {found.hold_ms:.2f} ms, {found.work_ms:.2f} ms of work; "
            f"a task came {found.late_ms:.2f} ms late; {found.memory_mb:.0f} MB; error "
            f"{found.error:.4%} of the volume"
        )


if __name__ == "__main__":
    child() if "--child" in sys.argv else main()
