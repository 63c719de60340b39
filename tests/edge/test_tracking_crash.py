"""Ends of a daemon that follows traders, at any moment and in the middle of visits, under load:
what was told stays true, and nothing is told twice.
"""

import sqlite3
from collections import Counter, defaultdict
from collections.abc import Iterator
from decimal import Decimal
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

import pytest
import trio

from tests.edge.followers import Follower
from tests.edge.process import Flowd
from tests.edge.venue import Venue

KILLS = 3
LONG_S = 300.0
"""On a machine with much else to do: each start wants seconds of a processor."""
LOGS = ("positions", "exact", "traders.trades")
TABLES = ("traders", "positions.accounts", "leaderboard")
FILLS = "told"

Json = dict[str, Any]


@pytest.fixture
def venue() -> Iterator[Venue]:
    with Venue() as found:
        yield found


def daemon(folder: Path, venue: Venue) -> Flowd:
    """Who trades; their positions, told by comparison and by fills; how they compare; a history."""
    visits = f'input = "traders"\n{venue.info}every = "1s"\nbatch_size = 9\nkind = '
    text = f"""
{venue.discovery}
{venue.fills}
[transforms.positions]
{visits}"hyperliquid-tracking"

[transforms.exact]
{visits}"hyperliquid-tracking"
fills = "told"

[transforms.leaderboard]
kind = "leaderboard"
fills = "told"
every = "10s"
{venue.info}

[sinks.history]
kind = "history"
path = "{folder}/history.db"
inputs = ["positions", "exact", "traders.trades"]
"""
    return Flowd(folder, None, settings={"save_every": "700ms"}, extra=text, env=venue.env)


async def whole(daemon: Flowd, stream: str) -> list[Json]:
    """All values that a stream has."""
    return [record["value"] for record in (await daemon.poll(stream=stream))["records"]]


async def computed(daemon: Flowd) -> None:
    """Wait for the next leaderboard."""
    ask = partial(whole, daemon, "leaderboard.computed")
    before = await ask()
    await daemon.until(ask, lambda now: now != before)


async def middle_of_a_batch(venue: Venue) -> None:
    while not venue.exchange.answering:  # noqa: ASYNC110
        await trio.sleep(0.001)


@pytest.mark.timeout(LONG_S)
async def test_kill_9_in_the_middle_of_visits_loses_no_trader_and_tells_no_event_twice(
    venue: Venue, tmp_path: Path
) -> None:
    random = Random(1)
    venue.faults.slow_s = 0.05
    venue.trade()
    told = {
        (stream, way): Follower(stream, way, table=stream in TABLES)
        for stream in (*LOGS, *TABLES, FILLS)
        for way in ("websocket", "events")
    }
    followers = list(told.values())
    with daemon(tmp_path, venue) as flowd:
        for life in range(KILLS + 1):
            await flowd.start(delivering=False)
            async with trio.open_nursery() as nursery:
                for one in followers:
                    nursery.start_soon(one.follow, flowd.port)
                if life == 0:
                    await computed(flowd)
                if life < KILLS:
                    await trio.sleep(random.random() * 1.5)
                    if random.random() < 0.7:
                        await middle_of_a_batch(venue)
                    await flowd.kill()
                    continue
                await computed(flowd)
                venue.trade(on=False)
                await flowd.until(partial(behind, flowd, followers), lambda found: not found)
                traders = await counted(flowd, told["traders.trades", "events"])
                accounts = await whole(flowd, "positions.accounts")
                board = await whole(flowd, "leaderboard")
                await flowd.stop()

    assert "Traceback" not in flowd.log
    assert "reset" not in flowd.log
    for stream in LOGS:
        assert told[stream, "websocket"].told == told[stream, "events"].told
    for stream in ("positions", "exact"):
        events = told[stream, "events"].values
        assert len(events) > 100
        assert [id for id, times in Counter(one["id"] for one in events).items() if times > 1] == []
        assert broken(events) == []
    seen = {one["address"] for one in told["traders", "events"].values}
    assert seen <= {one["address"] for one in traders}
    assert seen <= {one["address"] for one in accounts}
    # Who trades what discovery is not told to follow is known by fills alone.
    known = seen | {one["address"] for one in told[FILLS, "events"].values}
    assert seen <= {one["address"] for one in board} <= known
    assert kept(tmp_path / "history.db") == {
        (stream, seq): 1 for stream in LOGS for seq in told[stream, "events"].told
    }


async def behind(daemon: Flowd, followers: list[Follower]) -> list[str]:
    """What is still under way: readers, transforms, and visits to who was never visited."""
    status = await daemon.status()
    heads = {one["name"]: int(one["position"].rpartition(".")[2]) for one in status["streams"]}
    found = [one.stream for one in followers if one.seq != heads[one.stream]]
    found += [one["name"] for one in status["components"] if one["behind"]]
    found += [one["name"] for one in status["components"] if one["figures"].get("never_tracked")]
    return found


async def counted(daemon: Flowd, trades: Follower) -> list[Json]:
    """Wait until the table of traders is what their trades add up to; that table."""

    def right(traders: list[Json]) -> bool:
        told = {(one["address"], one["trades"], one["volume"]) for one in traders}
        return told == added_up(trades.values)

    found: list[Json] = await daemon.until(partial(whole, daemon, "traders"), right)
    return found


def broken(events: list[Json]) -> list[tuple[Json, Json]]:
    """Where an account's event does not begin with the size that the one before ended with."""
    last: dict[tuple[str, str], Json] = {}
    found = []
    for event in events:
        place = event["address"], event["symbol"]
        before = last.get(place)
        if before is not None and Decimal(before["size"]) != Decimal(event["prev_size"]):
            found.append((before, event))
        last[place] = event
    return found


def added_up(trades: list[Json]) -> set[tuple[str, int, str]]:
    """What the table of traders must say of these trades."""
    counts: Counter[str] = Counter()
    volumes: defaultdict[str, Decimal] = defaultdict(Decimal)
    for trade in trades:
        for address in {trade["buyer"], trade["seller"]}:
            counts[address] += 1
            volumes[address] += Decimal(trade["notional"])
    return {(one, counts[one], f"{volumes[one].normalize():f}") for one in counts}


def kept(path: Path) -> Counter[tuple[str, int]]:
    """How often each record is in the history."""
    db = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
    rows = [
        (stream, seq) for stream in LOGS for (seq,) in db.execute(f'SELECT seq FROM "{stream}"')
    ]
    db.close()
    return Counter(rows)
