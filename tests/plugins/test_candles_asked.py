"""Candles of symbols that nobody configured: fetched when they are asked for, followed while
somebody looks, let go later; and nobody can have more of it than there is.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import flowd_binance
import flowd_http
import pytest
import trio
from flowd_binance import asked
from flowd_binance.asked import AskedSymbols, is_symbol

from flowd import testing
from flowd.stream.volatile import MemoryStore
from tests.plugins.candles_kit import World

Clock = trio.testing.MockClock
CONFIG = """
[sources.candles-1m]
kind = "binance-candles"
interval = "1m"
symbols = ["BTCUSDT"]
history = 20
asked_symbols = 2

[sinks.candles]
kind = "candles"
inputs = ["candles-1m"]

[sinks.http]
kind = "http"
"""
LISTED = """
[sources.listed]
kind = "binance-instruments"
"""


@pytest.fixture
async def world(nursery: trio.Nursery) -> World:
    return World(nursery)


@asynccontextmanager
async def running(
    world: World, config: str = CONFIG, store: MemoryStore | None = None
) -> AsyncIterator[testing.Daemon]:
    """A daemon that has been up for three seconds."""
    async with testing.daemon(
        config,
        registry=testing.registry(flowd_binance, flowd_http),
        dial=world.dial,
        rest=testing.rest(world),
        clock=world.clock,
        store=store,
    ) as daemon:
        await trio.sleep(3)
        yield daemon


async def get(daemon: testing.Daemon, target: str) -> testing.Answer:
    return await daemon.get(f"/api/v1/candles{target}")


async def refused(daemon: testing.Daemon, target: str) -> tuple[int, str, str]:
    answer = await get(daemon, target)
    error = answer.json()["error"]
    return answer.status, error["code"], error["message"]


async def names(daemon: testing.Daemon) -> list[str]:
    """The symbols that are followed because somebody asked."""
    told: list[str] = (await get(daemon, "")).json()["on_demand"]["symbols"]
    return told


async def figures(daemon: testing.Daemon) -> dict[str, Any]:
    parts = (await daemon.get("/status")).json()["components"]
    found: dict[str, Any] = next(one for one in parts if one["name"] == "candles-1m")
    return found


def requests(world: World, symbol: str) -> list[dict[str, str]]:
    return [query for _, query in world.asked if query.get("symbol") == symbol]


# -- asked for --


async def test_a_symbol_that_nobody_configured_is_fetched_when_it_is_asked_for(
    world: World, autojump_clock: Clock
) -> None:
    async with running(world) as daemon:
        assert await names(daemon) == []

        answer = await get(daemon, "/DOGEUSDT/1m")

        found, truth = answer.json(), await world.truth("DOGEUSDT")
        assert answer.status == 200
        assert len(found["data"]) == 20
        assert [one["close"] for one in found["data"][:-1]] == [
            str(truth[one["timestamp_ms"]].close) for one in found["data"][:-1]
        ]
        assert found["on_demand"]["failing"] is None
        assert 880_000 < found["on_demand"]["until_ms"] - world.clock() <= 900_000
        assert await names(daemon) == ["DOGEUSDT"]
        assert len(requests(world, "DOGEUSDT")) == 1


async def test_all_who_ask_at_once_share_one_request(world: World, autojump_clock: Clock) -> None:
    async with running(world) as daemon:
        found: list[int] = []

        async def ask() -> None:
            found.append((await get(daemon, "/dogeusdt/1m")).status)

        async with trio.open_nursery() as nursery:
            for _ in range(20):
                nursery.start_soon(ask)

        assert found == [200] * 20
        assert len(requests(world, "DOGEUSDT")) == 1


async def test_it_is_followed_candle_by_candle_without_a_hole(
    world: World, autojump_clock: Clock
) -> None:
    async with running(world) as daemon:
        await get(daemon, "/DOGEUSDT/1m")

        for _ in range(5):
            await trio.sleep(70)
            found = (await get(daemon, "/DOGEUSDT/1m")).json()["data"]

            times = [one["timestamp_ms"] for one in found]
            assert times == list(range(times[0], times[0] + 20 * 60_000, 60_000))
            assert times[-1] == world.clock() // 60_000 * 60_000
            assert all(one["closed"] for one in found[:-1])
        assert all(int(one["limit"]) <= 3 for one in requests(world, "DOGEUSDT")[1:])


async def test_wider_candles_are_built_of_what_was_asked_for(
    world: World, autojump_clock: Clock
) -> None:
    async with running(world) as daemon:
        found = (await get(daemon, "/DOGEUSDT/5m")).json()

        assert found["built_from"] == "1m"
        assert len(found["data"]) in (4, 5)
        told = (await get(daemon, "")).json()["on_demand"]["intervals"]
        assert told[:3] == ["1m", "3m", "5m"]


async def test_what_is_configured_is_never_asked_for(world: World, autojump_clock: Clock) -> None:
    async with running(world) as daemon:
        found = (await get(daemon, "/BTCUSDT/1m")).json()

        assert found["on_demand"] is None
        assert await names(daemon) == []


async def test_who_reads_the_sources_stream_is_told_nothing_of_what_was_asked_for(
    world: World, autojump_clock: Clock
) -> None:
    async with running(world) as daemon:
        await get(daemon, "/DOGEUSDT/1m")

        own = (await daemon.get("/streams/candles-1m")).json()["records"]
        asked_for = (await daemon.get("/streams/candles-1m.asked")).json()["records"]
        assert {one["value"]["symbol"] for one in own} == {"BTCUSDT"}
        assert {one["value"]["symbol"] for one in asked_for} == {"DOGEUSDT"}


# -- let go --


async def test_a_symbol_is_let_go_so_long_after_it_was_asked_for_last(
    world: World, autojump_clock: Clock
) -> None:
    config = CONFIG.replace("asked_symbols = 2", 'asked_symbols = 2\nasked_keep = "2m"')
    async with running(world, config) as daemon:
        await get(daemon, "/DOGEUSDT/1m")
        await trio.sleep(100)
        await get(daemon, "/DOGEUSDT/1m")
        await trio.sleep(100)
        assert await names(daemon) == ["DOGEUSDT"]

        await trio.sleep(21)

        assert await names(daemon) == []
        assert (await daemon.get("/streams/candles-1m.asked")).json()["records"] == []
        (told,) = (await daemon.get("/streams/candles-1m.asked-symbols")).json()["records"]
        assert told["value"]["symbols"] == []
        count = len(requests(world, "DOGEUSDT"))
        await trio.sleep(120)
        assert len(requests(world, "DOGEUSDT")) == count


async def test_what_nobody_looks_at_is_asked_for_once_a_minute(
    world: World, autojump_clock: Clock
) -> None:
    async with running(world) as daemon:
        await get(daemon, "/DOGEUSDT/1m")
        await trio.sleep(200)
        before = len(requests(world, "DOGEUSDT"))

        await trio.sleep(300)

        assert 4 <= len(requests(world, "DOGEUSDT")) - before <= 6


async def test_after_a_restart_it_goes_on_without_a_hole(
    world: World, autojump_clock: Clock
) -> None:
    store = MemoryStore()
    async with running(world, store=store) as daemon:
        await get(daemon, "/DOGEUSDT/1m")
    await trio.sleep(250)

    async with running(world, store=store) as daemon:
        assert await names(daemon) == ["DOGEUSDT"]
        data = (await get(daemon, "/DOGEUSDT/1m")).json()["data"]

    times = [one["timestamp_ms"] for one in data]
    assert times == list(range(times[0], times[0] + 20 * 60_000, 60_000))
    assert times[-1] == world.clock() // 60_000 * 60_000


async def test_what_is_too_old_at_a_restart_is_gone(world: World, autojump_clock: Clock) -> None:
    store = MemoryStore()
    async with running(world, store=store) as daemon:
        await get(daemon, "/DOGEUSDT/1m")
    await trio.sleep(1000)

    async with running(world, store=store) as daemon:
        assert await names(daemon) == []
        assert (await daemon.get("/streams/candles-1m.asked")).json()["records"] == []


# -- who asks for too much, or for what is not there --


async def test_a_symbol_that_binance_does_not_list_is_refused_with_the_nearest_name(
    world: World, autojump_clock: Clock
) -> None:
    async with running(world, CONFIG + LISTED) as daemon:
        status, code, message = await refused(daemon, "/DOGUSDT/1m")

        assert (status, code) == (400, "UNKNOWN_SYMBOL")
        assert message.endswith('Binance does not list it. Did you mean "DOGEUSDT"?')
        told = (await get(daemon, "?symbol=DOGUSDT")).json()["on_demand"]
        assert told["unlisted"] == message, "the same, without a refusal"
        told = (await get(daemon, "?symbol=DOGEUSDT")).json()["on_demand"]
        assert told["unlisted"] is None
        assert requests(world, "DOGUSDT") == []
        assert (await get(daemon, "/DOGEUSDT/1m")).status == 200


async def test_without_a_list_binance_is_asked_and_its_refusal_remembered(
    world: World, autojump_clock: Clock
) -> None:
    async with running(world) as daemon:
        for _ in range(3):
            status, code, message = await refused(daemon, "/NOSUCHUSDT/1m")
            assert (status, code) == (400, "UNKNOWN_SYMBOL")
            assert "-1121 Invalid symbol" in message

        assert len(requests(world, "NOSUCHUSDT")) == 1
        assert await names(daemon) == []
        world.skipped_ms += 3_600_000
        await refused(daemon, "/NOSUCHUSDT/1m")
        assert len(requests(world, "NOSUCHUSDT")) == 2


async def test_more_symbols_than_there_is_room_for_wait_and_nobody_in_use_makes_room(
    world: World, autojump_clock: Clock
) -> None:
    async with running(world) as daemon:
        for symbol in ("DOGEUSDT", "ETHUSDT"):
            assert (await get(daemon, f"/{symbol}/1m")).status == 200

        answer = await get(daemon, "/SOLUSDT/1m")

        error = answer.json()["error"]
        assert (answer.status, error["code"]) == (429, "TOO_MANY_SYMBOLS")
        assert int(answer.headers["retry-after"]) > 0
        assert error["allowed"] == ["DOGEUSDT", "ETHUSDT"]
        assert requests(world, "SOLUSDT") == []

        await trio.sleep(100)
        await get(daemon, "/DOGEUSDT/1m")
        await trio.sleep(40)
        assert (await get(daemon, "/SOLUSDT/1m")).status == 200
        assert await names(daemon) == ["DOGEUSDT", "SOLUSDT"]


async def test_a_hostile_client_spends_little_of_the_budget_and_costs_nobody_a_chart(
    world: World, autojump_clock: Clock
) -> None:
    async with running(world) as daemon:
        await get(daemon, "/DOGEUSDT/1m")
        found: list[int] = []
        before = len(world.asked)
        for number in range(200):
            found.append((await get(daemon, f"/EVIL{number}USDT/1m")).status)

        # Each of them is refused by Binance: no more than so many a minute are tried.
        assert set(found) == {400, 429}
        assert len(world.asked) - before <= asked.BEGUN_MAX + 5
        assert (await get(daemon, "/DOGEUSDT/1m")).status == 200
        assert await names(daemon) == ["DOGEUSDT"]
        part = await figures(daemon)
        assert part["figures"]["asked_symbols"] == 1
        assert part["figures"]["asked_bytes"] <= part["figures"]["asked_bytes_max"]
        (told,) = (await daemon.get("/streams/candles-1m.asked-symbols")).json()["records"]
        assert len(told["value"]["symbols"]) <= 1 + asked.REFUSED_MAX

        await trio.sleep(61)
        assert (await get(daemon, "/ETHUSDT/1m")).status == 200


@pytest.mark.parametrize("symbol", ["a b", "DOGE%2FUSDT", "x" * 41, "?", "DOGE:USDT"])
async def test_what_can_be_no_symbol_is_never_asked_for(
    symbol: str, world: World, autojump_clock: Clock
) -> None:
    async with running(world) as daemon:
        before = len(world.asked)
        assert (await get(daemon, f"/{symbol}/1m")).status in (400, 404)
        assert len(world.asked) == before


async def test_an_interval_that_nobody_brings_is_refused_as_before(
    world: World, autojump_clock: Clock
) -> None:
    async with running(world) as daemon:
        status, code, _ = await refused(daemon, "/DOGEUSDT/7m")
        assert (status, code) == (400, "UNKNOWN_INTERVAL")
        assert await names(daemon) == []


async def test_with_no_room_configured_nothing_is_asked_for(
    world: World, autojump_clock: Clock
) -> None:
    config = CONFIG.replace("asked_symbols = 2", "asked_symbols = 0")
    async with running(world, config) as daemon:
        assert (await refused(daemon, "/DOGEUSDT/1m"))[:2] == (400, "UNKNOWN_SYMBOL")
        assert (await get(daemon, "")).json()["on_demand"] == {"intervals": [], "symbols": []}
        assert requests(world, "DOGEUSDT") == []


# -- weather --


async def test_while_binance_refuses_who_asks_is_told_to_come_back_and_then_has_them(
    world: World, autojump_clock: Clock
) -> None:
    async with running(world) as daemon:
        world.firewall = True
        answer = await get(daemon, "/DOGEUSDT/1m")

        assert answer.status == 503
        assert answer.headers["retry-after"]
        error = answer.json()["error"]
        assert error["code"] == "UNAVAILABLE"
        assert "firewall" in error["message"]

        world.firewall = False
        await trio.sleep(20)
        assert (await get(daemon, "/DOGEUSDT/1m")).status == 200


async def test_candles_that_stand_still_say_why(world: World, autojump_clock: Clock) -> None:
    async with running(world) as daemon:
        await get(daemon, "/DOGEUSDT/1m")
        world.firewall = True
        await trio.sleep(30)

        found = (await get(daemon, "/DOGEUSDT/1m")).json()

        assert len(found["data"]) == 20
        assert "firewall" in found["on_demand"]["failing"]
        assert (await figures(daemon))["state"] == "running"


async def test_a_daemon_that_gets_no_answer_says_so_after_ten_seconds(
    world: World, autojump_clock: Clock
) -> None:
    async with running(world) as daemon:
        world.exchange.rest.refuse(418, retry_after_s=600)
        began = trio.current_time()

        answer = await get(daemon, "/DOGEUSDT/1m")

        assert answer.status == 503
        assert "still being fetched" in answer.json()["error"]["message"]
        assert trio.current_time() - began == pytest.approx(10, abs=0.5)


def test_a_board_without_room_says_when_there_is_some() -> None:
    full = AskedSymbols("1m", 1, (), 5000, ())

    assert not full.room(4999)
    assert full.room(5000)


def test_symbols_need_not_be_ascii() -> None:
    assert is_symbol("币安人生USDT")
    assert is_symbol("BTCUSDT_260327")
    assert not is_symbol("")
