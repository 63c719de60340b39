"""Liquidation volume of long ago, added up by a real PostgreSQL: the same as the transform has."""

from collections.abc import Iterable
from decimal import Decimal
from itertools import count
from pathlib import Path
from typing import Any

import flowd_history
import flowd_liquidations
import pytest
import trio
from attrs import evolve
from flowd_history.columns import columns_of
from flowd_liquidations import timeframe
from flowd_liquidations.past import Past
from flowd_postgres import DATABASE
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from trio.testing import MockClock, wait_all_tasks_blocked

from flowd import testing
from flowd.history import Settings
from flowd.market import Bucket, Fill, Liquidation, number, trimmed
from flowd.plugin import Gap, Position, Stream
from tests.edge.postgres import Cluster
from tests.plugins.liquidations_kit import NOW_MS, Rig, order
from tests.plugins.test_liquidations_sink import BY_HAND

DAY_MS = 86_400_000
FRAMES = ["1m", "5m", "1h", "1d", "1w", "1M"]
NAMES = count()

VENUES = st.sampled_from(
    [
        ("binance", "fill", "sampled"),
        ("bybit", "bankruptcy", "all"),
        ("okx", "mark", "sampled"),
        ("okx", "fill", "all"),
    ]
)
SIZES = st.decimals("0.00000001", "12345678.9", places=8)
TIMES = st.integers(NOW_MS - DAY_MS // 2, NOW_MS)


@st.composite
def liquidations(draw: st.DrawFn) -> Liquidation:
    time_ms, side = draw(TIMES), draw(st.sampled_from(["BUY", "SELL"]))
    symbol = draw(st.sampled_from(["BTCUSDT", "ETHUSDT"]))
    one = order(time_ms, side, f"{draw(SIZES):f}", f"{draw(SIZES):f}", symbol)
    venue, kind, coverage = draw(VENUES)
    return evolve(one, venue=venue, price_kind=kind, coverage=coverage)


@st.composite
def fills(draw: st.DrawFn) -> Fill:
    price, quantity, time_ms = draw(SIZES), draw(SIZES), draw(TIMES)
    role: Any = draw(st.sampled_from([None, "liquidated", "counterparty"]))
    side: Any = draw(st.sampled_from(["BUY", "SELL"]))
    notional = trimmed(number(f"{price:f}") * number(f"{quantity:f}"))
    zero = Decimal(0)
    return Fill(
        *("BTCUSDT", side, price, quantity, notional, time_ms, f"f:{time_ms}:{role}:{price}"),
        *("0xa", "Close Long", zero, zero, "USDC", True, "0x0"),
        role=role,
    )


def keep(db: str, folder: Path, streams: dict[str, Stream[Any]], gap: Gap | None = None) -> None:
    """Write what streams have to the database, under these names."""
    store = DATABASE.store(db, Settings(spill=folder / f"spill-{next(NAMES)}"))
    store.open()
    for name, stream in streams.items():
        store.add(name, columns_of(stream.record))
        after = 0
        if gap is not None:
            store.write(name, Position("e", gap.first - 1), stream.after(0, upto=gap.first - 1))
            after = gap.last
        store.write(name, stream.head, stream.after(after), gap=gap)
    store.close()


def added_up(db: str, names: Iterable[str], *frames: str) -> dict[str, Bucket]:
    """All buckets of the last days, by their keys."""

    async def ask() -> dict[str, Bucket]:
        past, found = Past(db, list(names)), dict[str, Bucket]()
        for frame in map(timeframe.parse, frames):
            for symbol in ("BTCUSDT", "ETHUSDT"):
                there = await past.range(symbol, frame, NOW_MS - DAY_MS, NOW_MS + 1)
                found |= there.buckets
        return found

    return trio.run(ask)


@pytest.fixture(scope="module")
def db(shared_cluster: Cluster) -> str:
    return shared_cluster.database()


@settings(max_examples=20, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    some=st.lists(liquidations(), max_size=40),
    more=st.lists(fills(), max_size=20),
    told=st.lists(st.integers(0, 39), max_size=5),
)
def test_what_it_adds_up_is_what_the_transform_publishes(
    db: str, tmp_path: Path, some: list[Liquidation], more: list[Fill], told: list[int]
) -> None:
    rig = Rig(NOW_MS)
    rig.inputs["fills"] = rig.stream("fills", Fill)  # type: ignore[assignment]
    streams: dict[str, Stream[Any]] = {name: rig.input(name) for name in ("one", "two", "fills")}
    for value in some:
        streams["one"].append(value, id=value.id)
    for index in told:  # Two tell the same one.
        if index < len(some):
            streams["two"].append(some[index], id=some[index].id)
    for value in more:
        streams["fills"].append(value, id=value.id)
    for stream in streams.values():
        stream.close()
    trio.run(rig.run(*streams, timeframes=FRAMES), clock=MockClock(autojump_threshold=0))

    kept = {f"{name}-{next(NAMES)}": stream for name, stream in streams.items()}
    keep(db, tmp_path, kept)
    found = added_up(db, kept, *FRAMES)

    expected = {one.key: evolve(one.value, late=False) for one in rig.buckets.after(0)}
    assert found == expected


def test_what_was_saved_before_venues_were_noted_is_of_the_venue_that_there_was(
    db: str, tmp_path: Path, shared_cluster: Cluster
) -> None:
    rig = Rig()
    rig.happen([order(NOW_MS - 60_000, "BUY", "2", "10")])
    keep(db, tmp_path, {"old": rig.orders})
    shared_cluster.ask(
        "UPDATE flowd.records SET json = json_build_object('value', (json->'value')::jsonb "
        "- 'venue' - 'price_kind' - 'coverage') WHERE stream = "
        "(SELECT id FROM flowd.streams WHERE name = 'old')",
        db,
    )

    (bucket,) = added_up(db, ["old"], "1m").values()

    (part,) = bucket.venues
    assert (part.venue, part.buy, part.price_kind, part.coverage) == (
        *("binance", Decimal(20), "fill"),
        "sampled",
    )


def test_a_bar_in_which_records_are_missing_is_incomplete(db: str, tmp_path: Path) -> None:
    rig = Rig()
    for minute in range(5):
        rig.now_ms = NOW_MS - (5 - minute) * 60_000
        rig.happen([order(rig.now_ms, "BUY", "2", str(minute + 1))])
    keep(db, tmp_path, {"torn": rig.orders}, Gap(3, 3))

    found = added_up(db, ["torn"], "1m")

    told = [(one.time_ms - NOW_MS) // 60_000 for one in found.values() if one.incomplete]
    assert (sorted(told), len(found)) == ([-5, -3], 4)


CONFIG = """
[sources.orders]
kind = "by-hand"
[transforms.volume]
kind = "liquidation-volume"
input = "orders"
timeframes = ["1m", "1d"]
[sinks.charts]
kind = "liquidation-websocket"
orders = "orders"
volume = "volume"
history = "{db}"
"""


async def test_a_range_older_than_the_buckets_is_answered_from_there(
    mock_clock: MockClock, db: str, tmp_path: Path
) -> None:
    mock_clock.rate = 1
    long_ago = testing.START_MS // DAY_MS * DAY_MS - 400 * DAY_MS
    rig = Rig()
    rig.happen([order(long_ago, "BUY", "3", "10"), order(long_ago + 2 * 60_000, "SELL", "1", "10")])
    rig.happen([order(testing.START_MS - ago, "SELL", "3.5", "10") for ago in (60_000, 1000)])
    keep(db, tmp_path, {"orders": rig.orders})
    registry = testing.registry(BY_HAND, flowd_liquidations, flowd_history)
    async with testing.daemon(CONFIG.format(db=db), registry=registry) as daemon:
        await wait_all_tasks_blocked()
        daemon.feeds["orders"].publish(order(testing.START_MS, "BUY", "5", "10"), id="now")
        await wait_all_tasks_blocked()
        path = "/api/v1/liquidation-volume/BTCUSDT"
        old = (await daemon.get(f"{path}/1m?start={long_ago}&end={long_ago + 300_000}")).json()
        new = (await daemon.get(f"{path}/1d")).json()
        no = await daemon.get(f"{path}/1m?start={long_ago}&end={long_ago + 2 * DAY_MS}")

    bars = [(bar["timestamp_ms"], bar["buy_volume"], bar["sell_volume"]) for bar in old["data"]]
    assert bars == [
        (long_ago, "30", "0"),
        (long_ago + 60_000, "0", "0"),
        (long_ago + 120_000, "0", "10"),
    ]
    assert (old["since"], old["venues"]) == (long_ago, ["binance"])
    # Today began before this daemon did: the history has more of it.
    assert [(bar["sell_volume"], bar["count"]) for bar in new["data"]] == [("70", 2)]
    assert (no.status, no.json()["error"]["code"]) == (400, "BAD_PARAMETER")


async def test_while_it_is_away_what_is_newer_is_served(
    mock_clock: MockClock, cluster: Cluster
) -> None:
    mock_clock.rate = 1
    registry = testing.registry(BY_HAND, flowd_liquidations, flowd_history)
    text = CONFIG.format(db=cluster.database())
    cluster.stop()
    async with testing.daemon(text, registry=registry) as daemon:
        start_ms = testing.START_MS // 60_000 * 60_000 + 60_000
        await wait_all_tasks_blocked()
        mock_clock.jump(120)
        path = "/api/v1/liquidation-volume/BTCUSDT/1m"
        away = await daemon.get(f"{path}?start={start_ms - 300_000}")
        there = await daemon.get(f"{path}?start={start_ms}")

    assert (away.status, away.json()["error"]["code"]) == (503, "UNAVAILABLE")
    assert there.status == 200
