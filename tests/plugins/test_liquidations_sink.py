"""The sink `liquidation-websocket` in a daemon: what it offers, and what it refuses."""

import json
from collections.abc import AsyncIterator
from decimal import Decimal
from types import SimpleNamespace
from typing import Any

import flowd_liquidations
import pytest
import trio
from attrs import evolve, frozen
from flowd_liquidations import precisions, volume
from flowd_liquidations.shelf import Shelf
from flowd_liquidations.timeframe import Timeframes

from flowd import testing
from flowd.market import Instrument, Liquidation, VenueSum
from flowd.plugin import Feed, Source
from flowd.setup import config, wiring
from flowd.values.errors import UserError
from tests.plugins.liquidations_kit import FRAMES, NOW_MS, Rig, order


@frozen
class NoConfig:
    pass


async def by_hand(config: NoConfig, feed: Feed[Any]) -> None:
    await trio.sleep_forever()


BY_HAND = SimpleNamespace(
    flowd_sources=lambda: [Source("by-hand", by_hand, NoConfig, record=Liquidation)]
)
LISTS = SimpleNamespace(
    flowd_sources=lambda: [Source("lists", by_hand, NoConfig, record=Instrument)]
)
REGISTRY = testing.registry(BY_HAND, flowd_liquidations)
LISTING = testing.registry(BY_HAND, LISTS, flowd_liquidations)
CONFIG = """
[sources.orders]
kind = "by-hand"

[transforms.volume]
kind = "liquidation-volume"
input = "orders"
timeframes = ["1h", "1m"]

[sinks.charts]
kind = "liquidation-websocket"
orders = "orders"
volume = "volume"
"""
REST = "/api/v1/liquidation-volume/BTCUSDT"
SOCKET = "/api/v1/ws/liquidations/BTCUSDT"
SENTENCE = "there is no timeframe {!r}; there are 1m, 1h"

Clock = trio.testing.MockClock


@pytest.fixture
async def daemon(autojump_clock: Clock) -> AsyncIterator[testing.Daemon]:
    async with testing.daemon(CONFIG, registry=REGISTRY) as daemon:
        await trio.testing.wait_all_tasks_blocked()
        yield daemon


async def test_which_timeframes_there_are_is_a_stream_of_its_own(
    daemon: testing.Daemon, autojump_clock: Clock
) -> None:
    stream = daemon.streams["volume.timeframes"]

    (record,) = stream.after(0)

    assert not stream.private
    assert json.loads(record.json)["value"]["timeframes"] == ["1m", "1h"]


async def test_bars_say_since_when_they_are_counted_over_restarts(autojump_clock: Clock) -> None:
    store = testing.MemoryStore()
    since: list[Any] = []
    for frames in ('["1h", "1m"]', '["1m", "5m"]', '["1h", "1m"]'):
        changed = CONFIG.replace('["1h", "1m"]', frames)
        async with testing.daemon(changed, registry=REGISTRY, store=store) as daemon:
            await trio.testing.wait_all_tasks_blocked()
            for name in json.loads(frames):
                since.append((name, (await daemon.get(f"{REST}/{name}")).json()["since"]))
            await trio.sleep(60)

    first, second, third = (testing.START_MS + minutes * 60_000 for minutes in range(3))
    assert since[:2] == [("1h", first), ("1m", first)]
    assert since[2:4] == [("1m", first), ("5m", second)], "a timeframe that is new begins later"
    assert since[4:] == [("1h", third), ("1m", first)], "one that was left out begins anew"


def test_what_was_counted_before_that_was_noted_is_as_old_as_its_oldest_bucket() -> None:
    rig = Rig()
    shelf = Shelf(FRAMES, rig.feed)
    for time_ms in (NOW_MS - 60_000, NOW_MS - 180_000):
        one = VenueSum("binance", Decimal(1), Decimal(0), 1)
        shelf.add("BTCUSDT", FRAMES[0], time_ms, {"binance": one}, None)

    again = Shelf(FRAMES, rig.feed)
    found = volume.offered(["1m", "5m", "1h"], Timeframes(["1m", "5m"]), again, NOW_MS)

    assert found.since_ms == {"1m": NOW_MS - 180_000, "5m": NOW_MS, "1h": NOW_MS}


async def test_other_timeframes_than_last_time_replace_the_old_ones(autojump_clock: Clock) -> None:
    store = testing.MemoryStore()
    async with testing.daemon(CONFIG, registry=REGISTRY, store=store):
        await trio.testing.wait_all_tasks_blocked()
    changed = CONFIG.replace('["1h", "1m"]', '["5m"]')

    async with testing.daemon(changed, registry=REGISTRY, store=store) as daemon:
        await trio.testing.wait_all_tasks_blocked()
        answer = await daemon.get(f"{REST}/1m")

    assert answer.json()["error"]["allowed"] == ["5m"]


@pytest.mark.parametrize("name", ["5m", "2h", "1w", "7m", "constructor"])
async def test_a_timeframe_that_is_not_configured_is_refused(
    name: str, daemon: testing.Daemon, autojump_clock: Clock
) -> None:
    answer = await daemon.get(f"{REST}/{name}")

    assert answer.status == 400
    refusal = answer.json()["error"]
    assert refusal["code"] == "BAD_TIMEFRAME"
    assert refusal["message"] == SENTENCE.format(name)
    assert refusal["allowed"] == ["1m", "1h"]


@pytest.mark.parametrize("name", ["5m", "7m"])
async def test_a_live_client_of_a_timeframe_that_is_not_configured_is_told_and_let_go(
    name: str, daemon: testing.Daemon, autojump_clock: Clock
) -> None:
    visitor = daemon.connect(f"{SOCKET}?timeframe={name}")

    assert visitor.session.ended == (1008, "BAD_TIMEFRAME")
    assert not visitor.session.follows


async def test_a_configured_timeframe_is_served_and_followed(
    daemon: testing.Daemon, autojump_clock: Clock
) -> None:
    daemon.streams["orders"].append(order(testing.START_MS, "BUY", "1", "7"))
    visitor = daemon.connect(f"{SOCKET}?timeframe=1h")
    await trio.sleep(2)

    answer = await daemon.get(f"{REST}/1h")

    assert [bar["count"] for bar in answer.json()["data"]] == [1]
    _, first, update = visitor.messages()
    assert (first["data"], first["is_update"]) == ([], False)
    assert [bar["count"] for bar in update["data"]] == [1]


async def test_a_symbol_of_which_nothing_is_known_has_no_bars(
    daemon: testing.Daemon, autojump_clock: Clock
) -> None:
    answer = await daemon.get("/api/v1/liquidation-volume/NOSUCH/1m")

    assert (answer.status, answer.json()["data"]) == (200, [])


async def test_a_parameter_that_does_not_exist_is_refused(
    daemon: testing.Daemon, autojump_clock: Clock
) -> None:
    answer = await daemon.get(f"{REST}/1m?strat=5")

    assert answer.status == 400
    refusal = answer.json()["error"]
    assert (refusal["parameter"], refusal["value"]) == ("strat", "5")
    assert "start" in refusal["allowed"]


def planned(text: str) -> None:
    wiring.plan(config.parse(text, REGISTRY))


def test_orders_are_no_volume_and_volume_is_no_orders() -> None:
    with pytest.raises(UserError, match=r'volume = "orders": carries Liquidation.*"volume"'):
        planned(CONFIG.replace('volume = "volume"', 'volume = "orders"'))
    with pytest.raises(UserError, match=r'orders = "volume": carries Bucket.*"orders"'):
        planned(CONFIG.replace('orders = "orders"', 'orders = "volume"'))


VOLUME = 'input = "orders"\n'


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ('backfill_from = "foo"', 'backfill_from = "foo": expected an address such as "https://'),
        ('backfill_from = "ftp://x"', 'backfill_from = "ftp://x": expected an address'),
        ('backfill_from = "http://"', 'backfill_from = "http://": expected an address'),
        ("retain = 20", "retain = 20: buckets are kept .* leave retain out"),
        ('retain = "1h"', "retain = '1h': buckets are kept"),
    ],
)
def test_a_volume_that_cannot_work_is_refused_with_words(line: str, words: str) -> None:
    with pytest.raises(UserError, match=words):
        planned(CONFIG.replace(VOLUME, f"{VOLUME}{line}\n"))


def test_a_timeframe_is_named_once() -> None:
    with pytest.raises(UserError, match="name each once"):
        planned(CONFIG.replace('["1h", "1m"]', '["1m", "1m"]'))


def test_an_address_from_the_environment_is_checked_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIQUIDATION_API_BASE_URL", "foo")

    with pytest.raises(UserError, match='LIQUIDATION_API_BASE_URL = "foo": expected an address'):
        planned(CONFIG)


INSTRUMENTS = """
[sources.listed]
kind = "lists"

[sources.more]
kind = "by-hand"

[sinks.charts]
kind = "liquidation-websocket"
orders = ["orders", "more"]
volume = "volume"
instruments = ["listed"]
precisions = { ETHUSDT = 5 }
"""


def listed(venue: str, step: str | None, contract: str | None = None) -> Instrument:
    return Instrument(
        "BTCUSDT",
        venue,
        "BTC",
        "USDT",
        Decimal("0.1"),
        None if step is None else Decimal(step),
        None if contract is None else Decimal(contract),
        "USDT",
        "TRADING",
        0,
    )


@pytest.fixture
async def venues(autojump_clock: Clock) -> AsyncIterator[testing.Daemon]:
    config = CONFIG.partition("[sinks")[0].replace(
        'input = "orders"', 'inputs = ["orders", "more"]'
    )
    async with testing.daemon(config + INSTRUMENTS, registry=LISTING) as daemon:
        await trio.testing.wait_all_tasks_blocked()
        yield daemon


@pytest.mark.parametrize(
    ("step", "contract", "decimals"),
    [
        ("0.001", None, 3),
        ("1", None, 0),
        ("1.00", "0.01", 2),
        ("0.1", "0.01", 3),
        (None, None, None),
    ],
)
def test_decimals_are_those_of_the_step_in_base_units(
    step: str | None, contract: str | None, decimals: int | None
) -> None:
    assert precisions.decimals(listed("okx", step, contract)) == decimals


async def test_quantities_are_shown_as_their_exchange_lists_them(
    venues: testing.Daemon, autojump_clock: Clock
) -> None:
    visitor = venues.connect(SOCKET)
    other = venues.connect("/api/v1/ws/liquidations/ETHUSDT")
    for venue, step, contract in (("binance", "0.0001", None), ("okx", "1", "0.01")):
        one = listed(venue, step, contract)
        venues.streams["listed"].append(one, key=one.key)
    here = order(testing.START_MS, "BUY", "0.25", "7")
    venues.streams["orders"].append(here)
    venues.streams["orders"].append(evolve(here, symbol="ETHUSDT"))
    venues.streams["more"].append(evolve(here, venue="okx"))
    venues.streams["more"].append(evolve(here, venue="bybit"))
    await trio.sleep(2)

    shown = {
        (item["symbol"], item["venue"]): item["quantityFormatted"]
        for message in [*visitor.messages(), *other.messages()]
        for item in message["data"]
    }
    assert shown == {
        ("BTCUSDT", "binance"): "0.2500",
        ("BTCUSDT", "okx"): "0.25",
        ("BTCUSDT", "bybit"): "0.250000",
        ("ETHUSDT", "binance"): "0.25000",
    }


async def test_orders_of_several_streams_begin_with_one_message_and_none_is_left_out(
    venues: testing.Daemon, autojump_clock: Clock
) -> None:
    for number in range(3):
        one = order(testing.START_MS + number, "BUY", "1", "7")
        venues.streams["orders"].append(one)
        venues.streams["more"].append(evolve(one, venue="okx"))

    visitor = venues.connect(SOCKET)
    await trio.sleep(2)

    messages = visitor.messages()
    assert [message["initial"] for message in messages] == [True, False]
    times = [[item["timestamp"] - testing.START_MS for item in m["data"]] for m in messages]
    assert times == [[2, 1, 0], [0, 1, 2]]


async def test_an_answer_says_whose_its_bars_are_and_what_they_are_worth(
    venues: testing.Daemon, autojump_clock: Clock
) -> None:
    one = order(testing.START_MS, "BUY", "1", "7")
    venues.streams["orders"].append(evolve(one, venue="hyperliquid", coverage="all"))
    await trio.sleep(2)
    first = (await venues.get(f"{REST}/1m")).json()
    venues.streams["more"].append(evolve(one, id="y", venue="bybit", price_kind="bankruptcy"))
    await trio.sleep(2)
    then = (await venues.get(f"{REST}/1m")).json()
    nothing = (await venues.get("/api/v1/liquidation-volume/NOSUCH/1m")).json()

    def worth(answer: dict[str, Any]) -> tuple[list[str], bool, bool]:
        return answer["venues"], answer["approximate"], answer["lower_bound"]

    assert worth(first) == (["hyperliquid"], False, False)
    assert worth(then) == (["bybit", "hyperliquid"], True, True)
    assert worth(nothing) == ([], False, False)


async def test_an_outage_of_any_of_its_sources_is_a_gap(
    venues: testing.Daemon, autojump_clock: Clock
) -> None:
    now_ms = testing.START_MS
    venues.feeds["more"].lost("gone", now_ms - 60_000)

    answer = (await venues.get(f"{REST}/1m")).json()

    ((first, _),) = answer["gaps"]
    assert first == now_ms - 60_000


def test_a_sink_without_orders_is_refused() -> None:
    with pytest.raises(UserError, match="name at least one stream of liquidations"):
        planned(CONFIG.replace('orders = "orders"', "orders = []"))
