"""Public trades at full speed: from the text of a message to the trade in its stream.

`python -m bench.discovery` measures on its own; `rows` is for `python -m bench`. Each run has a
process of its own. What is measured is all that the source does with a message once the WebSocket
codec has it: decode it, read each trade, append it under its id, note its coin's newest; and, where
it says so, counting the traders, which the source does once a second.
"""

import argparse
import json
import logging
import random
import statistics
import sys
import time
from collections.abc import Iterator

import trio
from attrs import asdict, frozen
from flowd_hyperliquid.census import Census
from flowd_hyperliquid.connection import Connection
from flowd_hyperliquid.newest import Newest

from flowd import testing
from flowd.market import Trade
from flowd.process import settle
from flowd.traders import Trader
from flowd.values import clock

from .contenders import FLOWD
from .process import alone
from .report import Row
from .run import Run

TRADES = 40_000
RETAIN = 20_000
SECOND = 1000
"""Trades between two counts: a busy second."""
ACCOUNTS = 20_000
COINS = ("BTC", "ETH", "SOL", "AVAX")
FROM_MS = 1_790_000_000_000


@frozen
class Found:
    """What one run came to: trades a second, without the counting and with it, the longest message,
    and the longest step of the counting.
    """

    trades: int
    per_s: float
    counted_per_s: float
    worst_ms: float
    step_ms: float


def messages(count: int, batch: int) -> list[str]:
    """Messages of so many trades of one coin each, by accounts of which some trade often."""
    chance = random.Random(1)
    found: list[str] = []
    for start in range(0, count, batch):
        trades = [
            {
                "coin": COINS[start // batch % len(COINS)],
                "side": chance.choice("BA"),
                "px": f"{chance.uniform(100, 90_000):.1f}",
                "sz": f"{chance.uniform(0.001, 5):.5f}",
                "time": FROM_MS + number // 10,
                "hash": f"0x{chance.getrandbits(256):064x}",
                "tid": chance.getrandbits(50),
                "users": [f"0x{int(ACCOUNTS * chance.random() ** 3):040x}" for _ in range(2)],
            }
            for number in range(start, start + batch)
        ]
        found.append(json.dumps({"channel": "trades", "data": trades}, separators=(",", ":")))
    return found


async def measure(batch: int) -> Found:
    """Take the trades, at once."""
    texts = messages(TRADES, batch)
    feed = testing.feed(record=Trader, clock=clock.system_clock, retain=100_000)
    trades = testing.stream("trades", record=Trade, retain=RETAIN)
    newest = Newest(feed)
    coins = list(COINS)
    connection = Connection(feed, trades, newest, coins=coins, url="ws://bench", silence_s=60)
    census = Census(
        feed,
        trades,
        newest,
        coins=frozenset(coins),
        excluded=frozenset(),
        max_traders=50_000,
    )
    for coin in coins:
        connection.asked(coin)
    settle()
    took: list[float] = []
    counting = step = 0.0
    for number, text in enumerate(texts, 1):
        began = time.perf_counter()
        await connection.receive(text)
        took.append(time.perf_counter() - began)
        if number * batch % SECOND == 0:
            began = last = time.perf_counter()
            for _ in census.count():
                step, last = max(step, time.perf_counter() - last), time.perf_counter()
            step = max(step, time.perf_counter() - last)
            counting += time.perf_counter() - began
    assert trades.seq == TRADES
    told = sum(took)
    return Found(TRADES, TRADES / told, TRADES / (told + counting), max(took) * 1e3, step * 1e3)


def child() -> None:
    """One run in this process; what it came to, as a line of JSON."""
    logging.basicConfig(level=logging.ERROR)
    found = trio.run(measure, arguments().batch)
    print(json.dumps(asdict(found)))


# -- what the benchmark sees --


def run_once(batch: int) -> Found:
    """One run, in a process of its own."""
    return Found(**alone("bench.discovery", "--batch", str(batch), timeout_s=120))


def rows(run: Run) -> Iterator[Row]:
    """Trades a second on one core, in messages of one and of twenty."""
    for batch in (1, 20):
        speed = Row(f"public trades: parsed and appended, messages of {batch}", "per second")
        counted = Row(
            f"public trades: and their traders counted, messages of {batch}", "per second"
        )

        def measure_with(name: str, batch: int = batch, added: Row = counted) -> tuple[float, str]:
            found = run_once(batch)
            added.add(name, found.counted_per_s)
            return found.per_s, ""

        yield run.rounds(speed, [FLOWD], measure_with)
        yield counted


def arguments() -> argparse.Namespace:
    """What was asked for on the command line."""
    parser = argparse.ArgumentParser(prog="python -m bench.discovery", description=__doc__)
    parser.add_argument("--batch", type=int, default=20, help="trades in a message")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    return parser.parse_args()


def main() -> None:
    """Measure some runs and tell their medians."""
    given = arguments()
    for batch in (1, 20):
        found = [run_once(batch) for _ in range(given.runs)]
        print(
            f"messages of {batch}, medians of {given.runs} runs of {TRADES} trades: "
            f"{statistics.median(one.per_s for one in found):.0f} trades/s, with counting "
            f"{statistics.median(one.counted_per_s for one in found):.0f}; a message takes "
            f"{statistics.median(one.worst_ms for one in found):.1f} ms at worst, a step of "
            f"counting {statistics.median(one.step_ms for one in found):.1f} ms"
        )


if __name__ == "__main__":
    child() if "--child" in sys.argv else main()
