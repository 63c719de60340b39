"""Hyperliquid's `/info` fails in every way, for a daemon in a process: it says so, serves all
others, and goes on when it is over.
"""

from collections import Counter
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest
import trio
from flowd_simulator.faults import InfoFault

from tests.edge.followers import Follower
from tests.edge.process import Flowd
from tests.edge.venue import Venue

SAID_S = 90.0
"""It waits for 20 s itself for a server that says nothing."""
LONG_S = 300.0


@pytest.fixture(scope="module")
def venue() -> Iterator[Venue]:
    with Venue() as found:
        found.trade()
        yield found


@pytest.fixture(scope="module")
def tracker(venue: Venue, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Flowd]:
    """A daemon that visits all traders again and again."""
    text = f"""
{venue.discovery}
[transforms.positions]
kind = "hyperliquid-tracking"
input = "traders"
every = "1s"
batch_size = 9
{venue.info}
"""
    with Flowd(tmp_path_factory.mktemp("tracker"), None, extra=text) as found:
        trio.run(partial(found.start, delivering=False))
        yield found
        trio.run(found.stop)
        assert "Traceback" not in found.log


@pytest.mark.timeout(LONG_S)
@pytest.mark.parametrize(
    ("fault", "says", "remedy"),
    [
        (InfoFault.limited, "asked too much (HTTP 429); again in 10s", "weight_per_minute"),
        (InfoFault.limited_until, "asked too much (HTTP 429); again in 2s", "weight_per_minute"),
        (InfoFault.silent, "no answer within 20s", "info_url can be reached"),
        (InfoFault.cut, "cannot be asked: ", "info_url can be reached"),
        (InfoFault.truncated, "no account state: ", "info_url is that of"),
        (InfoFault.huge, "more than 2097152 bytes", "info_url is that of"),
        (InfoFault.page, "no account state: ", "info_url is that of"),
        (InfoFault.bad_gateway, "status 502: <html>", "goes on by itself"),
        (InfoFault.error, "status 500: Internal Server Error", "goes on by itself"),
    ],
)
async def test_while_info_fails_it_is_said_and_nothing_is_lost(
    venue: Venue, tracker: Flowd, fault: InfoFault, says: str, remedy: str
) -> None:
    events, trades = Follower("positions", "events"), Follower("traders.trades", "websocket")
    await tracker.until(partial(health, tracker), lambda found: not found)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(events.follow, tracker.port)
        nursery.start_soon(trades.follow, tracker.port)
        await tracker.until(partial(heard, events), lambda count: count > 0)
        known = {one["key"] for one in await records(tracker, "positions.accounts")}

        venue.act(partial(setattr, venue.faults, "info", fault))
        problems = await tracker.until(partial(health, tracker), bool, SAID_S)
        status = await tracker.status()
        before = len(trades.told)
        await tracker.until(partial(heard, trades), lambda count: count > before + 20)
        failed_at = len(events.told)
        venue.act(partial(setattr, venue.faults, "info", None))
        await tracker.until(partial(health, tracker), lambda found: not found, SAID_S)
        await tracker.until(partial(heard, events), lambda count: count > failed_at + 20, SAID_S)
        nursery.cancel_scope.cancel()

    assert list(problems) == ["positions"]
    assert says in problems["positions"]
    assert remedy in problems["positions"]
    assert (
        says in next(one for one in status["components"] if one["name"] == "positions")["problem"]
    )
    assert known <= {one["key"] for one in await records(tracker, "positions.accounts")}
    assert max(Counter(one["id"] for one in events.values).values()) == 1


async def health(daemon: Flowd) -> dict[str, str]:
    """What is wrong, by component."""
    found: dict[str, str] = (await daemon.get("/health")).json["problems"]
    return found


async def heard(follower: Follower) -> int:
    """How many records a reader was told."""
    await trio.lowlevel.checkpoint()
    return len(follower.told)


async def records(daemon: Flowd, stream: str) -> list[dict[str, Any]]:
    """All records of a stream."""
    found: list[dict[str, Any]] = (await daemon.poll(stream=stream))["records"]
    return found
