"""Binance's candles against the simulated exchange: live, from history, and without holes."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from typing import Any, cast

import attrs
import httpx2
import pytest
import trio
from flowd_binance import flowd_sinks, page
from flowd_binance.candles import CANDLES_MAX, Config, candles
from flowd_binance.page import bar
from flowd_binance.parse import INTERVALS, candle, kline, least_ms, message
from flowd_binance.shelf import Shelf
from hypothesis import given
from hypothesis import strategies as st

from flowd import testing
from flowd.market import Candle
from flowd.plugin import Seconds, Source, Unusable, UpstreamSilent, UserError, codec, unwrap
from flowd.stream.held import Retain
from tests.plugins.candles_kit import World

UPSTREAM = Path(__file__).parents[1] / "frames"
MINUTE_MS = 60_000
BOUNDARY_S = 40.0
"""The test clock begins twenty seconds into a minute."""
BTC = Config("1m", ["BTCUSDT"], history=20, keep=50)
BOTH = attrs.evolve(BTC, symbols=["BTCUSDT", "ETHUSDT"])

Clock = trio.testing.MockClock
Nursery = trio.Nursery


def frames(name: str) -> list[str]:
    return (UPSTREAM / f"binance_{name}.jsonl").read_text(encoding="utf-8").splitlines()


@pytest.fixture
async def world(nursery: Nursery) -> World:
    return World(nursery)


def held(feed: testing.ScriptedFeed[Candle], symbol: str = "BTCUSDT") -> list[Candle]:
    """What the table holds of a symbol, by time."""
    found = [one for one in feed.values if one.symbol == symbol]
    return sorted(found, key=lambda one: one.time_ms)


def assert_whole(found: list[Candle], truth: dict[int, Candle]) -> None:
    """No hole, all but the newest closed, and each as the exchange has it."""
    for earlier, later in pairwise(found):
        assert earlier.close_time_ms + 1 == later.time_ms
        assert earlier == truth.get(earlier.time_ms, earlier)
        assert earlier.closed


def frame(minute: int, trades: int, *, closed: bool = False, symbol: str = "BTCUSDT") -> str:
    """A kline of the minute that lies so many after the test clock's first."""
    start_ms = testing.START_MS // MINUTE_MS * MINUTE_MS + minute * MINUTE_MS
    numbers = {name: "5" for name in "ohlcvqVQ"}
    k = {"t": start_ms, "T": start_ms + MINUTE_MS - 1, "s": symbol, "i": "1m", **numbers}
    event = {"e": "kline", "E": start_ms, "s": symbol, "k": {**k, "n": trades, "x": closed}}
    return json.dumps({"stream": f"{symbol.lower()}@kline_1m", "data": event})


# -- what is recorded --


def test_recorded_klines_are_read_as_they_were_sent() -> None:
    found = [kline(message(text)[1]) for text in frames("klines_2021_three_symbols")]

    assert len({one.symbol for one in found}) == 3
    assert found[0] == Candle(
        symbol="CTKUSDT",
        interval="1m",
        time_ms=1626992700000,
        close_time_ms=1626992759999,
        open=Decimal("1.01"),
        high=Decimal("1.011"),
        low=Decimal("1.01"),
        close=Decimal("1.011"),
        volume=Decimal("3917"),
        quote_volume=Decimal("3957.899"),
        trades=48,
        taker_buy_volume=Decimal("1729"),
        taker_buy_quote_volume=Decimal("1748.019"),
        closed=False,
    )


def test_a_recorded_closing_kline_with_spaces_is_closed() -> None:
    (text,) = frames("kline_2026_closed_with_spaces")

    found = kline(message(text)[1])

    assert (found.key, found.closed) == ("BTCUSDT/1m/1786173300000", True)


def test_recorded_updates_of_one_candle_each_supersede_the_one_before() -> None:
    updates = [kline(message(text)[1]) for text in frames("klines_2026_one_open_candle")]
    feed = testing.feed(record=Candle)
    shelf = Shelf(feed, ["BTCUSDT"], "1m", 10)

    for one in [*updates, *reversed(updates)]:
        shelf.put(one)

    assert feed.values == [updates[-1]]


def test_a_recorded_row_of_rest_reads_like_a_kline() -> None:
    (text,) = frames("rest_klines_last_row_open")

    found = [candle("BTCUSDT", "1m", row, closed=False) for row in json.loads(text)]

    assert [one.trades for one in found] == [632, 1333, 1103, 768, 416]
    assert found[0].taker_buy_quote_volume == Decimal("1910363.6783")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"x": 1}, "malformed"),
        ({"x": None}, "malformed"),
        ({"s": ""}, "malformed"),
        ({"s": 5}, "malformed"),
        ({"i": "7m"}, "malformed"),
        ({"t": "0"}, "bad time"),
        ({"t": -60000}, "bad time"),
        ({"T": 1}, "bad time"),
        ({"T": True}, "bad time"),
        ({"T": 10**13}, "bad time"),
        ({"n": -1}, "bad number"),
        ({"n": "5"}, "bad number"),
        ({"o": "NaN"}, "bad number"),
        ({"v": "-1"}, "bad number"),
        ({"q": 5}, "bad number"),
        ({"h": "4"}, "impossible candle"),
        ({"l": "6"}, "impossible candle"),
    ],
)
def test_a_kline_that_cannot_be_is_refused(change: dict[str, Any], reason: str) -> None:
    event = json.loads(frame(0, 5))["data"]
    event["k"] |= change

    with pytest.raises(Unusable, match=f"^{reason}$"):
        kline(event)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=5),
        lambda inner: st.lists(inner, max_size=12),
        max_leaves=15,
    )
)
def test_no_row_is_a_bug(row: object) -> None:
    with pytest.raises(Unusable):
        candle("BTCUSDT", "1m", row, closed=False)


# -- the table --


@given(st.permutations([(n, closed) for n in range(4) for closed in (False, True) if n or closed]))
def test_the_newest_state_wins_in_any_order(states: list[tuple[int, bool]]) -> None:
    async def main() -> list[Candle]:
        feed = testing.feed(record=Candle)
        shelf = Shelf(feed, ["BTCUSDT"], "1m", 10)
        for trades, closed in states:
            shelf.put(kline(json.loads(frame(0, trades, closed=closed))["data"]))
        return cast(list[Candle], feed.values)

    (last,) = trio.run(main)

    assert (last.trades, last.closed) == (3, True)


async def test_so_many_are_kept_of_each_symbol_and_the_oldest_forgotten(
    autojump_clock: Clock,
) -> None:
    feed = testing.feed(record=Candle)
    shelf = Shelf(feed, ["BTCUSDT", "ETHUSDT"], "1m", 3)

    for minute in (5, 3, 1, 4, 2, 6):
        shelf.put(kline(json.loads(frame(minute, 1, closed=True))["data"]))
    shelf.put(kline(json.loads(frame(0, 1, symbol="ETHUSDT"))["data"]))

    first_ms = testing.START_MS // MINUTE_MS * MINUTE_MS
    minutes = [(one.time_ms - first_ms) // MINUTE_MS for one in held(feed)]
    assert minutes == [4, 5, 6]
    assert len(held(feed, "ETHUSDT")) == 1


async def test_what_is_no_longer_asked_for_is_forgotten(autojump_clock: Clock) -> None:
    feed = testing.feed(record=Candle)
    for symbol in ("BTCUSDT", "ETHUSDT"):
        one = kline(json.loads(frame(0, 1, symbol=symbol))["data"])
        for each in (one, attrs.evolve(one, interval="5m")):
            feed.publish(each, key=each.key)

    Shelf(feed, ["BTCUSDT"], "5m", 10)

    assert [(one.symbol, one.interval) for one in feed.values] == [("BTCUSDT", "5m")]


# -- start --


async def test_the_last_candles_of_each_symbol_are_there_at_the_start(
    world: World, autojump_clock: Clock
) -> None:
    feed = world.feed()
    async with running(world, BOTH, feed):
        await trio.sleep(3)

        for symbol in ("BTCUSDT", "ETHUSDT"):
            found = held(feed, symbol)
            assert len(found) == 20
            assert [one.closed for one in found] == [True] * 19 + [False]
            assert_whole(found, await world.truth(symbol))
        assert [query["limit"] for _, query in world.asked] == ["22", "22"]
        assert feed.tally.delivering


async def test_live_candles_follow_and_each_is_closed_with_its_last_word(
    world: World, autojump_clock: Clock
) -> None:
    feed = world.feed()
    async with running(world, BTC, feed):
        await trio.sleep(600)

        found = held(feed)
        assert len(found) == 30
        assert_whole(found, await world.truth())
        assert len(world.asked) == 1, "live candles need no REST"
        assert feed.tally.dropped == {}


async def test_the_open_candle_supersedes_itself(world: World, autojump_clock: Clock) -> None:
    feed = world.feed()
    async with running(world, BTC, feed):
        await trio.sleep(5)
        before = feed.stream.head.seq
        await trio.sleep(30)

        assert feed.stream.head.seq > before + 50
        assert len(feed.values) == 20


@asynccontextmanager
async def running(
    world: World, config: Config, feed: testing.ScriptedFeed[Candle]
) -> AsyncIterator[None]:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(world.keep, config, feed)
        yield
        nursery.cancel_scope.cancel()


# -- holes --


async def test_a_hole_over_a_boundary_is_filled_after_the_reconnect(
    world: World, autojump_clock: Clock
) -> None:
    feed = world.feed()
    async with running(world, BOTH, feed):
        await trio.sleep(BOUNDARY_S - 3)
        world.reachable = False
        world.exchange.drop_all()
        await trio.sleep(10)
        unclosed = held(feed)[-1]
        world.reachable = True
        await trio.sleep(20)

        for symbol in ("BTCUSDT", "ETHUSDT"):
            assert_whole(held(feed, symbol), await world.truth(symbol))
        assert not unclosed.closed
        assert feed.get(unclosed.key) == (await world.truth())[unclosed.time_ms]
        assert feed.tally.connections == 2


async def test_an_outage_is_recovered_when_the_history_of_every_symbol_is_here(
    world: World, autojump_clock: Clock
) -> None:
    feed = world.feed()
    async with running(world, BOTH, feed):
        await trio.sleep(BOUNDARY_S - 3)
        assert feed.recoveries == []
        world.reachable = False
        world.exchange.drop_all()
        ended_ms = feed.ends_ms
        await trio.sleep(10)
        world.reachable = True
        await trio.sleep(20)

        ((from_ms, to_ms, count),) = feed.recoveries
        assert from_ms == ended_ms
        assert from_ms + 10_000 <= to_ms <= feed.clock()
        assert count >= 2, "of both symbols the last word of a candle"


async def test_only_what_is_missing_is_asked_for(world: World, autojump_clock: Clock) -> None:
    feed = world.feed()
    async with running(world, BTC, feed):
        await trio.sleep(5)
        newest = held(feed)[-1]
        world.reachable = False
        world.exchange.drop_all()
        await trio.sleep(10 * 60)
        world.reachable = True
        await trio.sleep(20)

        (_, query) = world.asked[-1]
        assert len(world.asked) == 2
        assert query["startTime"] == str(newest.time_ms)
        assert int(query["limit"]) <= 12
        assert_whole(held(feed), await world.truth())


async def test_a_reconnect_within_a_candle_asks_for_nothing(
    world: World, autojump_clock: Clock
) -> None:
    feed = world.feed()
    async with running(world, BTC, feed):
        await trio.sleep(5)
        world.exchange.drop_all()
        await trio.sleep(20)

        assert feed.tally.connections == 2
        assert len(world.asked) == 1


async def test_a_hole_soon_after_the_last_request_is_filled_though_nothing_more_is_traded(
    world: World, autojump_clock: Clock
) -> None:
    feed = testing.feed(
        testing.answers(acknowledge)
        + testing.waits(BOUNDARY_S - 5)
        + testing.says(frame(0, 1))
        + testing.waits(6)
        + testing.says(frame(1, 1)),
        record=Candle,
        retain=CANDLES_MAX,
        rest=testing.rest(world),
    )
    async with running(world, BTC, feed):
        await trio.sleep(BOUNDARY_S + 10)

        assert [round(time) for time, _ in world.asked] == [35, 45]
        assert [one.closed for one in held(feed)] == [True] * 20 + [False]


async def test_a_day_without_us_is_fetched_up_to_what_is_kept(
    world: World, autojump_clock: Clock
) -> None:
    feed = world.feed()
    async with running(world, BTC, feed):
        await trio.sleep(5)
    world.skipped_ms += 86_400_000
    async with running(world, BTC, feed):
        await trio.sleep(20)

        found = held(feed)
        assert len(found) == BTC.keep
        assert_whole(found, await world.truth())


async def test_a_hole_of_more_than_one_page_is_fetched_page_by_page(
    world: World, autojump_clock: Clock
) -> None:
    config = attrs.evolve(BTC, keep=4000)
    feed = world.feed()
    async with running(world, config, feed):
        await trio.sleep(5)
    world.skipped_ms += 2000 * MINUTE_MS
    async with running(world, config, feed):
        await trio.sleep(30)

        assert [query["limit"] for _, query in world.asked] == ["22", "1500", "502"]
        found = held(feed)
        assert len(found) == 2020
        assert_whole(found, await world.truth())


async def test_a_history_of_more_than_one_page_is_fetched_oldest_first(
    world: World, autojump_clock: Clock
) -> None:
    feed = world.feed()
    async with running(world, attrs.evolve(BTC, history=2016, keep=2100), feed):
        await trio.sleep(5)

        assert [query["limit"] for _, query in world.asked] == ["1500", "517"]
        assert len(held(feed)) >= 2016
        assert_whole(held(feed), await world.truth(count=1500))
        fetched = [one.time_ms for one in feed.values if one.closed]
        assert fetched == sorted(fetched)


async def test_a_long_history_does_not_wait_for_a_first_candle(
    world: World, autojump_clock: Clock
) -> None:
    script = testing.answers(acknowledge) + testing.says(frame(0, 10**6))
    rest = testing.rest(world)
    feed = testing.feed(script, record=Candle, retain=CANDLES_MAX, rest=rest)
    config = attrs.evolve(BOTH, history=2016, keep=2100)
    async with running(world, config, feed):
        await trio.sleep(5)

        found = held(feed, "ETHUSDT")
        assert len(found) >= 2016
        assert_whole(found, await world.truth("ETHUSDT", count=1500))


async def test_a_page_that_fails_is_gone_on_from(world: World, autojump_clock: Clock) -> None:
    feed = world.feed()
    world.refused = 2
    async with running(world, attrs.evolve(BTC, history=2016, keep=2100), feed):
        await trio.sleep(4)
        assert feed.tally.dropped == {"history failed": 1}
        assert len(held(feed)) == 1501
        await trio.sleep(10)

        assert [query["limit"] for _, query in world.asked] == ["1500", "517", "517"]
        assert len(held(feed)) >= 2016
        assert_whole(held(feed), await world.truth(count=1500))


@pytest.mark.parametrize(
    ("interval", "least"),
    [
        ("1m", 60_000),
        ("15m", 900_000),
        ("12h", 43_200_000),
        ("3d", 259_200_000),
        ("1w", 604_800_000),
    ],
)
def test_an_interval_lasts_as_long_as_it_says(interval: str, least: int) -> None:
    assert least_ms(interval) == least


async def test_a_closing_message_that_never_came_is_fetched_without_a_reconnect(
    world: World,
    autojump_clock: Clock,
) -> None:
    script = (
        testing.answers(acknowledge)
        + testing.says(frame(0, 10**6))
        + testing.waits(BOUNDARY_S + 1)
        + testing.says(frame(1, 10**6))
    )
    rest = testing.rest(world)
    feed = testing.feed(script, record=Candle, retain=CANDLES_MAX, rest=rest)
    async with running(world, BTC, feed):
        await trio.sleep(BOUNDARY_S + 20)

        assert len(world.asked) == 2
        assert world.asked[-1][1]["startTime"] == str(kline_time(frame(0, 1)))


def acknowledge(text: str) -> str | None:
    said = json.loads(text)
    return json.dumps({"result": None, "id": said["id"]}) if said["id"] else None


def kline_time(text: str) -> int:
    return kline(json.loads(text)["data"]).time_ms


async def test_a_hole_of_the_exchanges_own_is_not_asked_for_again_and_again(
    world: World,
    autojump_clock: Clock,
) -> None:
    class Halted(httpx2.AsyncBaseTransport):
        asked = 0

        async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
            self.asked += 1
            await trio.lowlevel.checkpoint()
            minutes = [m for m in range(-19, 1) if m not in (-5, -6)]
            rows = [row(frame(minute, 5)) for minute in minutes]
            return httpx2.Response(200, stream=httpx2.ByteStream(codec.encode(rows)))

    async def trade(connection: testing.Connection) -> None:
        for minute in range(20):
            await connection.say(frame(minute, 6))
            await trio.sleep(30)
            await connection.say(frame(minute, 7, closed=True))
            await trio.sleep(30)

    rest = Halted()
    script = testing.answers(acknowledge) + testing.plays(trade)
    service = testing.rest(rest)
    feed = testing.feed(script, record=Candle, retain=CANDLES_MAX, rest=service)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(candles, BTC, feed)
        await trio.sleep(15 * 60)

        assert rest.asked == 1
        assert len(feed.values) == 18 + 14
        nursery.cancel_scope.cancel()


def row(text: str) -> list[Any]:
    k = json.loads(text)["data"]["k"]
    return [k[name] for name in ("t", "o", "h", "l", "c", "v", "T", "q", "n", "V", "Q")]


# -- a REST service that fails --


@pytest.mark.parametrize("status", [403, 418, 429, 451, 503])
async def test_a_refusing_rest_service_costs_the_live_candles_nothing(
    status: int, world: World, autojump_clock: Clock
) -> None:
    feed = world.feed()
    world.exchange.rest.refuse(status)
    async with running(world, BTC, feed):
        await trio.sleep(200)
        live = held(feed)
        world.exchange.rest.refuse(None)
        await trio.sleep(400)

        assert len(live) == 4
        assert feed.tally.connections == 1
        assert_whole(held(feed), await world.truth())
        assert len(held(feed)) >= 20


async def test_a_ban_is_not_answered_by_asking(world: World, autojump_clock: Clock) -> None:
    feed = world.feed()
    world.exchange.rest.refuse(418, retry_after_s=300)
    async with running(world, BOTH, feed):
        await trio.sleep(290)

        assert len(world.asked) == 1


async def test_a_symbol_that_binance_does_not_know_keeps_no_other_from_its_history(
    world: World,
    autojump_clock: Clock,
) -> None:
    feed = world.feed()
    config = attrs.evolve(BTC, symbols=["NOSUCHUSDT", "BTCUSDT"])
    async with running(world, config, feed):
        await trio.sleep(300)

        assert len(held(feed)) >= 20
        assert feed.tally.dropped["history refused"] == 1
        assert {query["symbol"] for _, query in world.asked} == {"NOSUCHUSDT", "BTCUSDT"}
        assert len(world.asked) == 2


async def test_the_budget_of_weight_is_kept_with_many_symbols(
    world: World, autojump_clock: Clock
) -> None:
    feed = world.feed()
    config = attrs.evolve(
        BTC, symbols=list(world.exchange.market.instruments)[:8], history=500, keep=1500
    )
    config = attrs.evolve(config, weight_per_minute=20)
    async with running(world, config, feed):
        await trio.sleep(180)

        for time, _ in world.asked:
            within = [at for at, _ in world.asked if time - 60 < at <= time]
            assert len(within) * 5 <= 20
        assert {one.symbol for one in feed.values} == set(config.symbols)


# -- the connection --


async def test_a_silent_exchange_is_a_dead_upstream(world: World, autojump_clock: Clock) -> None:
    feed = world.feed()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trip_into_silence, world)
        with pytest.raises(ExceptionGroup) as caught:
            await candles(BTC, feed)
        nursery.cancel_scope.cancel()

    error = unwrap(caught.value)
    assert isinstance(error, UpstreamSilent)
    assert str(error).startswith("upstream silent for 60s")
    assert 69 < trio.current_time() < 72


async def trip_into_silence(world: World) -> None:
    await trio.sleep(10)
    world.exchange.stall()


async def test_the_unrouted_path_is_explained(world: World, autojump_clock: Clock) -> None:
    config = attrs.evolve(BTC, url="wss://fstream.binance.com")

    with pytest.raises(ExceptionGroup) as caught:
        await candles(config, world.feed())

    assert "url must end in the routed path, /market" in str(unwrap(caught.value))


async def test_renewing_the_connection_loses_nothing_and_asks_for_nothing(
    world: World, autojump_clock: Clock
) -> None:
    feed = world.feed()
    config = attrs.evolve(BTC, renew_every=Seconds(50.0), keep=1500)
    async with running(world, config, feed):
        await trio.sleep(900)

        assert feed.tally.connections > 15
        assert len(world.asked) == 1
        assert_whole(held(feed), await world.truth())


async def test_a_symbol_that_is_no_ascii_is_followed_too(
    world: World, autojump_clock: Clock
) -> None:
    feed = testing.feed(record=Candle, retain=CANDLES_MAX)
    config = attrs.evolve(BTC, symbols=["币安人生USDT"])

    with pytest.raises(ExceptionGroup):
        await candles(config, feed)

    (url,) = feed.upstream.urls
    assert url.endswith("=%E5%B8%81%E5%AE%89%E4%BA%BA%E7%94%9Fusdt@kline_1m")


# -- the configuration --


def test_without_symbols_bitcoin_is_followed() -> None:
    assert Config("5m").streams == ["btcusdt@kline_5m"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"interval": "7m"}, 'interval = "7m": there are 1m, 3m, 5m'),
        ({"symbols": []}, "name at least one symbol"),
        ({"symbols": ["*"]}, "no stream of all candles"),
        ({"symbols": ["BTC/USDT"]}, "is no symbol"),
        ({"symbols": [f"A{n}USDT" for n in range(1024)]}, "at most 1023"),
        ({"url": "https://fstream.binance.com"}, 'such as "wss://'),
        ({"rest_url": "fapi.binance.com"}, 'such as "https://'),
        ({"history": 51}, "history = 51"),
        ({"history": 0}, "history = 0"),
        ({"keep": 2_000_000}, "more than 1000000 candles"),
        ({"weight_per_minute": 3000}, "expected 20 to 2400"),
        ({"asked_symbols": 101}, "asked_symbols = 101: expected 0 to 100"),
        ({"asked_keep": Seconds(59)}, "asked_keep = 59s: expected 1m to 24h"),
    ],
)
def test_a_configuration_that_cannot_work_is_refused_with_words(
    change: dict[str, Any], words: str
) -> None:
    with pytest.raises(ValueError, match=words):
        attrs.evolve(BTC, **change)


@pytest.mark.parametrize("retain", [Retain(49), Retain(CANDLES_MAX, age_s=60)])
async def test_a_stream_too_short_for_what_is_kept_is_refused(
    retain: Retain, world: World, autojump_clock: Clock
) -> None:
    with pytest.raises(UserError, match="leave retain out"):
        await candles(BTC, world.feed(retain))


# -- the page --

PAGE = """
[sources.candles-1m]
kind = "binance-candles"
interval = "1m"
symbols = ["BTCUSDT", "ETHUSDT"]
history = 20
keep = 25

[sinks.candles]
kind = "candles"
inputs = ["candles-1m"]

[sinks.websocket]
kind = "websocket"
"""


@asynccontextmanager
async def served(world: World) -> AsyncIterator[testing.Daemon]:
    """A daemon that has been up for three seconds."""

    class Plugin:
        flowd_sinks = staticmethod(flowd_sinks)

        @staticmethod
        def flowd_sources() -> list[Source]:
            kind = "binance-candles"
            return [Source(kind, candles, Config, record=Candle, retain=CANDLES_MAX)]

    import flowd_websocket

    registry = testing.registry(Plugin, flowd_websocket)
    rest = testing.rest(world)
    async with testing.daemon(PAGE, registry=registry, dial=world.dial, rest=rest) as daemon:
        await trio.sleep(3)
        yield daemon


async def test_the_page_gets_the_newest_candles_oldest_first(
    world: World, autojump_clock: Clock
) -> None:
    async with served(world) as daemon:
        answer = await daemon.get("/api/v1/candles/btcusdt/1m?limit=5")

        body = answer.json()
        assert (body["symbol"], body["interval"]) == ("BTCUSDT", "1m")
        assert len(body["data"]) == 5
        assert [one["closed"] for one in body["data"]] == [True] * 4 + [False]
        times = [one["timestamp_ms"] for one in body["data"]]
        assert times == sorted(times)
        assert body["start_time"] == times[0]
        truth = await world.truth()
        assert body["data"][:4] == [bar(truth[time_ms]) for time_ms in times[:4]]


async def test_a_range_gets_its_first_candles_and_says_which_it_was(
    world: World, autojump_clock: Clock
) -> None:
    async with served(world) as daemon:
        everything = (await daemon.get("/api/v1/candles/BTCUSDT/1m")).json()["data"]
        times = [one["timestamp_ms"] for one in everything]

        target = f"/api/v1/candles/BTCUSDT/1m?start={times[3]}&end={times[9]}"
        whole = (await daemon.get(target)).json()
        first = (await daemon.get(f"{target}&limit=2")).json()
        nothing = (await daemon.get("/api/v1/candles/BTCUSDT/1m?start=1&end=2")).json()

        assert whole["data"] == everything[3:10]
        assert (whole["start_time"], whole["end_time"]) == (times[3], times[9])
        assert first["data"] == everything[3:5]
        assert nothing == {
            "on_demand": None,
            "symbol": "BTCUSDT",
            "interval": "1m",
            "data": [],
            "start_time": 1,
            "end_time": 2,
            "built_from": None,
        }


async def test_many_candles_are_written_in_portions_between_which_others_run(
    world: World, autojump_clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = [0]

    class Portions(trio.abc.Instrument):
        def before_task_step(self, task: trio.lowlevel.Task) -> None:
            made.append(0)

    def counted(candle: Candle) -> bytes:
        made[-1] += 1
        return codec.encode(bar(candle))

    monkeypatch.setattr(page, "AT_ONCE", 3)
    monkeypatch.setattr(page, "bar_json", counted)
    async with served(world) as daemon:
        trio.lowlevel.add_instrument(Portions())
        data = (await daemon.get("/api/v1/candles/BTCUSDT/1m")).json()["data"]

    assert max(made) == 3
    assert sum(made) == len(data) > 12


def test_a_bar_has_seconds_and_exact_decimals() -> None:
    (text,) = frames("kline_2026_closed_with_spaces")

    assert bar(kline(message(text)[1])) == {
        "time": 1786173300,
        "timestamp_ms": 1786173300000,
        "open": "64970.80",
        "high": "64970.90",
        "low": "64969.40",
        "close": "64969.40",
        "volume": "9.090",
        "quote_volume": "590577.96880",
        "trades": 194,
        "closed": True,
    }


async def test_the_page_follows_what_happens_and_forgets_what_is_forgotten(
    world: World, autojump_clock: Clock
) -> None:
    async with served(world) as daemon:
        before = (await daemon.get("/api/v1/candles/ETHUSDT/1m")).json()["data"]
        await trio.sleep(600)
        after = (await daemon.get("/api/v1/candles/ETHUSDT/1m")).json()["data"]

        assert len(before) == 20
        assert len(after) == 25
        assert after[0]["time"] > before[4]["time"]


@pytest.mark.parametrize(
    ("target", "parameter", "value", "allowed"),
    [
        ("BTCUSDT/7m", "interval", "7m", [name for name in INTERVALS if name != "3d"]),
        ("BTCUSDT/3d", "interval", "3d", [name for name in INTERVALS if name != "3d"]),
        ("NOSUCH/5m", "symbol", "NOSUCH", ["BTCUSDT", "ETHUSDT"]),
        ("NOSUCH/1m", "symbol", "NOSUCH", ["BTCUSDT", "ETHUSDT"]),
        ("BTCUSDT/1m?start=x", "start", "x", "milliseconds since 1970, UTC"),
        ("BTCUSDT/1m?end=-5", "end", "-5", "milliseconds since 1970, UTC"),
        ("BTCUSDT/1m?limit=0", "limit", "0", "1 to 1500"),
        ("BTCUSDT/1m?limit=1501", "limit", "1501", "1 to 1500"),
        ("BTCUSDT/1m?start=5&end=5", "start", 5, "below 5"),
        ("BTCUSDT/1m?colour=red", "colour", "red", ["start", "end", "limit"]),
    ],
)
async def test_a_wrong_request_is_told_what_would_have_been_right(
    target: str, parameter: str, value: object, allowed: object, world: World, autojump_clock: Clock
) -> None:
    async with served(world) as daemon:
        answer = await daemon.get(f"/api/v1/candles/{target}")

        assert answer.status == 400
        error = answer.json()["error"]
        assert (error["parameter"], error["value"]) == (parameter, value)
        assert error["allowed"] == allowed


async def test_live_candles_are_followed_by_stream_and_symbol(
    world: World, autojump_clock: Clock
) -> None:
    async with served(world) as daemon:
        client = daemon.connect("/ws?streams=candles-1m&symbol=ETHUSDT&limit=1")
        await trio.sleep(5)

        records = [
            one["value"]
            for said in client.messages()
            if said.get("type") == "records"
            for one in said["records"]
        ]
        assert len(records) > 5
        assert {one["symbol"] for one in records} == {"ETHUSDT"}
