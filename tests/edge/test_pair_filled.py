"""Two ingest daemons while liquidations flow: the one that leads comes to an end, and an edge has
every one of them once, since the other one was told them too.
"""

import signal
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import trio

from tests.edge.exchange import Exchange
from tests.edge.process import Flowd, prices
from tests.edge.redis import RedisServer

INGEST = """
[pair]
kind = "redis"
url = "{url}"

[sinks.redis]
kind = "redis"
url = "{url}"
inputs = ["orders", "outages"]
"""

EDGE = """
[sources.upstream]
kind = "redis"
url = "{url}"
restart_delay = "100ms"
restart_delay_max = "200ms"
"""


@pytest.mark.timeout(240)
@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGSTOP])
async def test_what_flows_while_the_leader_ends_is_at_an_edge_once_and_nothing_is_told_as_lost(
    end: signal.Signals, exchange: Exchange, tmp_path: Path
) -> None:
    with ExitStack() as stack:
        redis = await stack.enter_context(RedisServer(tmp_path / "redis")).start()
        extra = INGEST.format(url=redis.url)
        first, second = (
            stack.enter_context(Flowd(tmp_path / name, exchange.url, extra=extra)) for name in "ab"
        )
        await first.start()
        await second.start(words="stands by on", delivering=False)
        edge = Flowd(tmp_path / "edge", None, extra=EDGE.format(url=redis.url))
        await stack.enter_context(edge).start()
        await second.paired(connected)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(flow, exchange)
            await edge.reached(50)
            before = exchange.orders
            first.tell(end)
            await second.paired(leads)
            meanwhile = exchange.orders - before
            await second.settled(lambda found: found["healthy"], 30)
            nursery.cancel_scope.cancel()
        last = exchange.say(10)[-1]
        # In which order, where two connections are told: by what has come first.
        found = await edge.until(
            lambda: edge.poll("?limit=5000"), lambda found: len(found["records"]) >= last, 30
        )
        outages = await edge.poll(stream="outages")
        first.tell(signal.SIGKILL)
        sys.stdout.write(f"{end.name}: {meanwhile} of {last} came while nobody led\n")

    assert meanwhile > 0
    assert sorted(prices(found)) == list(range(1, last + 1))
    assert [one["value"] for one in outages["records"] if one["value"]["recovered"] is None] == []


def connected(pair: dict[str, Any]) -> bool:
    """The standby knows what the leader does, and is told what that is told."""
    told = [one["delivering"] for one in pair.get("sources", {}).values()]
    return pair.get("behind") is not None and told == [True]


def leads(pair: dict[str, Any]) -> bool:
    return pair.get("role") == "leader"


async def flow(exchange: Exchange) -> None:
    """Orders, fifty in a second."""
    while True:
        exchange.say()
        await trio.sleep(0.02)
