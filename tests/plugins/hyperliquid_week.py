"""Tracking for a long time: a week of ten thousand traders takes minutes.

`python -m tests.plugins.hyperliquid_week` runs it whole, at the seed's pace, and prints what was
measured; the tests run a part.
"""

import logging
import sys
from random import Random
from typing import Any

import trio
import trio.testing
from attrs import frozen
from flowd_hyperliquid.tracking import Config, tracking

from flowd import testing
from flowd.plugin import Seconds, StreamName, codec
from flowd.traders import PositionEvent, Trader
from tests.plugins.hyperliquid_kit import T, state, trader

MARKETS: list[Any] = [
    {"universe": [{"name": "BTC"}, {"name": "ETH"}]},
    [{"markPx": "100", "openInterest": "1000"}, {"markPx": "10", "openInterest": "50"}],
]


@frozen
class Ledger:
    """What a service counted of what it was asked, and when each address was asked for last."""

    times: list[float]
    weights: list[int]
    visited: dict[str, float]
    rounds: list[float]

    def ask(self, weight: int, address: str | None = None) -> None:
        now = trio.current_time()
        self.times.append(now)
        self.weights.append(weight)
        if address is not None:
            before = self.visited.get(address)
            if before is not None:
                self.rounds.append(now - before)
            self.visited[address] = now

    def most_in_a_minute(self) -> int:
        most = total = start = 0
        for end, time in enumerate(self.times):
            total += self.weights[end]
            while self.times[start] <= time - 60:
                total -= self.weights[start]
                start += 1
            most = max(most, total)
        return most


async def week(
    traders: int, hours: float, *, seed: int = 1, storms: bool = False, pace: int = 250
) -> tuple[testing.ScriptedFeed[PositionEvent], Ledger]:
    """So many traders are visited for so long, `pace` of them every 75 s, at a service that fails
    now and then if there are `storms`.
    """
    random, ledger = Random(seed), Ledger([], [], {}, [])
    empty = codec.encode(state(0))

    def answer(request: Any) -> Any:
        if request.json["type"] == "metaAndAssetCtxs":
            ledger.ask(20)
            return MARKETS
        ledger.ask(2, request.json["user"])
        chance = random.random() if storms else 1.0
        if chance < 0.02:
            return random.choice(
                [
                    testing.Reply(429, "null"),
                    testing.Reply(502, "<html>502 Bad Gateway</html>"),
                    '{"marginSummary":{"accountValue":"1',
                    b"[" * 3_000_000,
                    ConnectionResetError("gone"),
                    testing.SILENT,
                ]
            )
        return empty.replace(b'"time":0', b'"time":%d' % testing.clock())

    feed = testing.feed(
        record=PositionEvent,
        name="positions",
        rest=testing.rest({"/info": answer}),
        retain=100_000,
    )
    table = testing.stream("traders", record=Trader, retain=100_000)
    for number in range(traders):
        address = f"0x{number:040x}".replace("0x0", "0xa", 1)
        table.append(trader(address, T + number), key=address)
    config = Config(
        StreamName("traders"),
        info_url="http://venue/info",
        batch_size=pace,
        every=Seconds(75),
        weight_per_minute=600,
    )
    with trio.move_on_after(hours * 3600):
        await tracking(config, testing.streams(table), feed)
    return feed, ledger


def main() -> None:
    """A week of ten thousand traders, at the seed's pace, with storms."""
    hours = float(sys.argv[1]) if len(sys.argv) > 1 else 7 * 24
    logging.disable(logging.CRITICAL)
    clock = trio.testing.MockClock(autojump_threshold=0)
    feed, ledger = trio.run(
        lambda: week(10_000, hours, storms=True, pace=50), clock=clock, strict_exception_groups=True
    )
    (told,) = [record.value for record in feed.tables["round"].after(0)]
    kept = len(feed.tables["accounts"])
    sys.stdout.write(
        f"{hours:g} simulated hours, {len(ledger.times)} questions; most weight in any 60 s"
        f" {ledger.most_in_a_minute()} of 600; {kept} of 10000 traders tracked, {told.waiting}"
        f" waiting; a round is {told.round_s / 60:.0f} min, the longest was"
        f" {max(ledger.rounds) / 60:.0f} min; {len(feed.values)} events\n"
    )


if __name__ == "__main__":
    main()
