"""Bursts larger than anything a stream retains, with default settings: volume and totals have all
of them, and agree.
"""

from decimal import Decimal
from typing import Any

import flowd_liquidations
import flowd_totals
import pytest
import trio
from attrs import frozen
from trio.testing import wait_all_tasks_blocked

from flowd import testing
from flowd.market import Liquidation
from flowd.plugin import Feed, Source
from flowd.stream.volatile import MemoryStore
from tests.plugins.liquidations_kit import order

CONFIG = """
[sources.orders]
kind = "nothing"

[transforms.volume]
kind = "liquidation-volume"
input = "orders"

[transforms.totals]
kind = "totals"
input = "orders"
"""


@frozen
class Nothing:
    pass


class Silent:
    @staticmethod
    def flowd_sources() -> list[Source]:
        async def run(config: Nothing, feed: Feed[Liquidation]) -> None:
            await trio.sleep_forever()

        return [Source("nothing", run, Nothing, record=Liquidation)]


REGISTRY = testing.registry(Silent, flowd_liquidations, flowd_totals)


def burst(daemon: testing.Daemon, count: int) -> None:
    """So many orders in one step."""
    for number in range(1, count + 1):
        one = order(testing.START_MS - number, "BUY", "1", str(number), f"S{number % 30}")
        daemon.streams["orders"].append(one, id=one.id)


def sums(daemon: testing.Daemon) -> dict[str, tuple[Decimal, int]]:
    """What each timeframe, and the ranking, come to."""
    found: dict[str, tuple[Decimal, int]] = {}
    for record in daemon.streams["volume"].after(0):
        bucket = record.value
        volume, count = found.get(bucket.timeframe, (Decimal(0), 0))
        found[bucket.timeframe] = volume + bucket.total, count + bucket.count
    ranking = daemon.streams["totals"].get("coins/1h")
    assert ranking is not None
    return found | {"totals": (ranking.volume, ranking.count)}


@pytest.mark.parametrize("count", [4_000, 6_000, 12_000, 20_000])
async def test_a_burst_is_counted_whole(autojump_clock: Any, count: int) -> None:
    async with testing.daemon(CONFIG, registry=REGISTRY) as daemon:
        await wait_all_tasks_blocked()

        burst(daemon, count)
        await trio.sleep(6)

        found = sums(daemon)
        missed = [daemon.feeds[name].tally.missed for name in ("volume", "totals")]
    truth = Decimal(count * (count + 1) // 2), count
    assert found == dict.fromkeys(["1m", "5m", "15m", "30m", "1h", "4h", "1d", "totals"], truth)
    assert missed == [0, 0]


@pytest.mark.parametrize("after_s", [0.0, 0.06, 1.1, 3.0, 5.1, 10.0])
async def test_a_crash_at_any_moment_counts_each_order_once(
    autojump_clock: Any, after_s: float
) -> None:
    """Wide buckets are published at another pace than narrow ones."""
    store = MemoryStore()
    async with testing.daemon(CONFIG, registry=REGISTRY, store=store) as daemon:
        await wait_all_tasks_blocked()
        burst(daemon, 300)
        await trio.sleep(5.5)
        more = [order(testing.START_MS + i, "SELL", "1", "1", "MORE") for i in range(500)]
        for one in more:
            daemon.streams["orders"].append(one, id=one.id)
        await trio.sleep(after_s)
        await daemon.snapshots.save()
        rows, places = dict(store.rows), dict(store.places)

    store.rows, store.places = rows, places  # Killed right after that save.
    async with testing.daemon(CONFIG, registry=REGISTRY, store=store) as daemon:
        await trio.sleep(6)
        found = sums(daemon)

    truth = Decimal(300 * 301 // 2 + 500), 800
    assert found == dict.fromkeys(["1m", "5m", "15m", "30m", "1h", "4h", "1d", "totals"], truth)


async def test_a_transform_that_is_left_out_for_a_run_counts_each_order_once(
    autojump_clock: Any,
) -> None:
    store = MemoryStore()
    without = CONFIG[: CONFIG.index("[transforms.volume]")]
    for config in (CONFIG, without, CONFIG):
        async with testing.daemon(config, registry=REGISTRY, store=store) as daemon:
            await wait_all_tasks_blocked()
            for _ in range(3):
                one = order(testing.START_MS, "BUY", "1", "1", "LEFT")
                daemon.streams["orders"].append(one)
            await trio.sleep(6)

    found = sums(daemon)
    truth = Decimal(9), 9
    assert found == dict.fromkeys(["1m", "5m", "15m", "30m", "1h", "4h", "1d", "totals"], truth)
