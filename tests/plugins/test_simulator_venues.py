"""The simulated Bybit and OKX as their clients see them, and as flowd's own sources do: real frames
over memory streams, a mock clock.
"""

import json
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from decimal import Decimal
from functools import partial
from itertools import pairwise
from typing import Any, cast
from urllib.parse import SplitResult

import flowd_bybit
import flowd_okx
import pytest
import trio
from flowd_bybit.listed import Config as BybitListed
from flowd_bybit.listed import instruments as bybit_instruments
from flowd_okx.listed import Config as OkxListed
from flowd_okx.listed import instruments as okx_instruments
from flowd_simulator.binance import Binance
from flowd_simulator.bybit import Bybit
from flowd_simulator.bybit import terms as bybit_terms
from flowd_simulator.door import Answer
from flowd_simulator.faults import Faults
from flowd_simulator.market import Market
from flowd_simulator.okx import Okx
from flowd_simulator.okx import terms as okx_terms
from trio_websocket import ConnectionRejected, WebSocketConnection

from flowd import testing
from flowd.market import Instrument, Liquidation
from flowd.plugin import UpstreamError, unwrap
from flowd.stream.held import Retain
from tests.plugins.exchange_client import connect, end_of, hear, hear_for, texts_for

Nursery = trio.Nursery
Json = dict[str, Any]
Exchange = Bybit | Okx
SYMBOLS = ("BTCUSDT", "ETHUSDT", "DOGEUSDT")
BUSY = 600
"""Forced orders a minute."""
PATHS = {"Bybit": "/v5/public/linear", "Okx": "/ws/v5/public"}


def market(rate: float = 0) -> Market:
    return Market(7, SYMBOLS, rate=rate)


def bybit(rate: float = 0, **options: Any) -> Bybit:
    return Bybit(7, testing.clock, market=market(rate), **options)


def okx(rate: float = 0, **options: Any) -> Okx:
    return Okx(7, testing.clock, market=market(rate), **options)


async def dial(exchange: Exchange, nursery: Nursery) -> WebSocketConnection:
    path = PATHS[type(exchange).__name__]
    return await connect(exchange.house.serve_stream, nursery, path)


async def say(client: WebSocketConnection, message: object) -> None:
    await client.send_message(message if isinstance(message, str) else json.dumps(message))


def topics(*symbols: str, id: str = "1", op: str = "subscribe") -> Json:
    return {"req_id": id, "op": op, "args": [f"allLiquidation.{symbol}" for symbol in symbols]}


SWAPS = {
    "id": "7",
    "op": "subscribe",
    "args": [{"channel": "liquidation-orders", "instType": "SWAP", "instFamily": "ignored"}],
}


def asked(answer: Answer) -> Any:
    assert answer.status == 200
    return json.loads(answer.body)


# -- Bybit's protocol --


async def test_bybit_echoes_the_number_of_a_request(
    autojump_clock: object, nursery: Nursery
) -> None:
    client = await dial(bybit(), nursery)

    await say(client, topics("BTCUSDT", id="abc"))
    acknowledged = await hear(client)
    await say(client, {"op": "ping"})
    pong = await hear(client)

    assert acknowledged | {"conn_id": ""} == {
        **{"success": True, "ret_msg": "", "conn_id": "", "req_id": "abc", "op": "subscribe"}
    }
    assert (pong["ret_msg"], pong["op"], pong["req_id"]) == ("pong", "ping", "")


@pytest.mark.parametrize(
    ("request_", "words"),
    [
        (topics("BTCUSDT", "NOPEUSDT"), "error:handler not found,topic:allLiquidation.NOPEUSDT"),
        (
            {"op": "subscribe", "args": ["liquidation.BTCUSDT"]},
            "error:handler not found,topic:liquidation.BTCUSDT",
        ),
        (topics("BTCUSDT", *("X" * 100,) * 250), "error:args size >21000"),
        ({"op": "subscribe", "args": 5}, "error:args is not a list of topics"),
        ({"op": "dance"}, "unknown op: dance"),
        ("<html>", "Params Error"),
    ],
)
async def test_bybit_refuses_a_whole_request(
    autojump_clock: object, nursery: Nursery, request_: object, words: str
) -> None:
    exchange = bybit()
    client = await dial(exchange, nursery)

    await say(client, request_)
    refused = await hear(client)
    exchange.liquidate("BTCUSDT", "SELL", "84000", "0.1")

    assert (refused["success"], refused["ret_msg"]) == (False, words)
    assert await hear_for(client, 1) == []


async def test_bybit_tells_positions_in_batches_beyond_the_market(
    autojump_clock: object, nursery: Nursery
) -> None:
    exchange = bybit(BUSY)
    nursery.start_soon(exchange.run)
    client = await dial(exchange, nursery)
    await say(client, topics(*SYMBOLS))
    await hear(client)

    frames = await hear_for(client, 600)

    events = [(frame["ts"], event) for frame in frames for event in frame["data"]]
    assert {event["S"] for _, event in events} == {"Buy", "Sell"}
    assert max(len(frame["data"]) for frame in frames) > 1
    assert any(len(set(map(str, frame["data"]))) < len(frame["data"]) for frame in frames)
    for ts, event in events:
        assert 200 <= ts - event["T"] <= 500
        price = exchange.market.price(event["s"], event["T"])
        beyond = float(event["p"]) / price - 1
        assert 0.001 < (-beyond if event["S"] == "Buy" else beyond) < 0.06


async def test_bybit_cuts_off_who_is_silent_whatever_the_codec_pings(
    autojump_clock: object, nursery: Nursery
) -> None:
    client = await dial(bybit(terms=bybit_terms.Terms(silence_s=100)), nursery)
    with trio.move_on_after(90):
        while True:
            await client.ping()
            await trio.sleep(10)

    code, _ = await end_of(client, 20)

    assert code == 1006
    assert trio.current_time() == pytest.approx(100, abs=1)


async def test_bybit_lists_page_by_page_and_what_is_not_linear_usdt_too() -> None:
    exchange = bybit()

    first = asked(
        exchange.answer("/v5/market/instruments-info", {"category": "linear", "limit": "2"})
    )
    cursor = first["result"]["nextPageCursor"]
    rest = asked(
        exchange.answer(
            "/v5/market/instruments-info", {"category": "linear", "limit": "9", "cursor": cursor}
        )
    )
    wrong = asked(exchange.answer("/v5/market/instruments-info", {"category": "spot"}))

    rows = first["result"]["list"] + rest["result"]["list"]
    assert {row["symbol"] for row in rows} == {*SYMBOLS, "BTCPERP", "BTCUSDT-26DEC26"}
    assert rest["result"]["nextPageCursor"] == ""
    assert wrong["retCode"] == 10001


@pytest.mark.parametrize("make", [bybit, okx])
async def test_a_region_is_refused_at_the_handshake(
    autojump_clock: object, make: Callable[[], Exchange]
) -> None:
    exchange = make()
    exchange.house.handshake_status = 403

    with pytest.RaisesGroup(
        pytest.RaisesExc(ConnectionRejected, check=lambda error: error.status_code == 403)
    ):
        async with trio.open_nursery() as nursery:
            await dial(exchange, nursery)


# -- OKX's protocol --


async def test_okx_ignores_keys_beside_the_two_that_count(
    autojump_clock: object, nursery: Nursery
) -> None:
    client = await dial(okx(), nursery)

    await say(client, SWAPS)

    acknowledged = await hear(client)
    assert (acknowledged["event"], acknowledged["id"]) == ("subscribe", "7")
    assert acknowledged["arg"] == {"channel": "liquidation-orders", "instType": "SWAP"}


@pytest.mark.parametrize(
    ("request_", "code"),
    [
        ("<html>", "60012"),
        ({"op": "subscribe", "args": []}, "60012"),
        ({"op": "dance", "args": [{}]}, "60012"),
        ({"op": "subscribe", "args": [{"channel": "liquidation-orders"}]}, "60018"),
        ({"op": "subscribe", "args": [{"channel": "x", "instType": "SWAP"}]}, "60018"),
    ],
)
async def test_okx_says_what_it_does_not_understand(
    autojump_clock: object, nursery: Nursery, request_: object, code: str
) -> None:
    client = await dial(okx(), nursery)

    await say(client, request_)

    refused = await hear(client)
    assert (refused["event"], refused["code"]) == ("error", code)


async def test_okx_lets_go_who_does_not_ping_by_text(
    autojump_clock: object, nursery: Nursery
) -> None:
    exchange = okx()
    pinging, silent = await dial(exchange, nursery), await dial(exchange, nursery)
    await say(pinging, SWAPS)
    await say(silent, SWAPS)

    async def ping_by_codec() -> None:
        while True:
            await silent.ping()
            await trio.sleep(5)

    async def ping_by_text() -> None:
        while True:
            await say(pinging, "ping")
            await trio.sleep(20)

    nursery.start_soon(ping_by_text)
    with trio.move_on_after(25):
        await ping_by_codec()
    code, reason = await end_of(silent, 10)

    assert (code, trio.current_time()) == (4004, pytest.approx(30, abs=1))
    assert "No data" in str(reason)
    assert "pong" in await texts_for(pinging, 300)


async def test_okx_announces_the_end_of_a_connection(
    autojump_clock: object, nursery: Nursery
) -> None:
    exchange = okx()
    client = await dial(exchange, nursery)

    exchange.announce_end(20)
    notice = await hear(client)
    code, _ = await end_of(client, 30)

    assert (notice["event"], notice["code"]) == ("notice", "64008")
    assert code == 1001
    assert trio.current_time() == pytest.approx(20, abs=1)


async def test_okx_begins_with_an_old_order_and_tells_several_contracts_at_once(
    autojump_clock: object, nursery: Nursery
) -> None:
    exchange = okx(BUSY, terms=okx_terms.Terms(one_per_second=False, late=0.05))
    nursery.start_soon(exchange.run)
    await trio.sleep(1)
    client = await dial(exchange, nursery)
    begun_ms = testing.clock()
    await say(client, SWAPS)
    await hear(client)

    frames = await hear_for(client, 29)
    nursery.start_soon(ping_forever, client)
    frames += [json.loads(text) for text in await texts_for(client, 400) if text != "pong"]

    items = [item for frame in frames for item in frame["data"]]
    details = [one for item in items for one in item["details"]]
    assert int(frames[0]["data"][0]["details"][0]["ts"]) < begun_ms
    assert max(len(frame["data"]) for frame in frames) > 1
    assert max(len(item["details"]) for item in items) > 1
    assert {item["instId"] for item in items} >= {
        *("BTC-USDT-SWAP", "BTC-USD-SWAP", "BTC-USDC-SWAP", "DOGE-USDT-SWAP")
    }
    assert {one["posSide"] for one in details} == {"long", "short", "net"}
    assert any("." in one["sz"] for one in details)
    times = [int(one["ts"]) for one in details]
    assert any(newer - older > 60_000 for newer, older in pairwise(times))


async def ping_forever(client: WebSocketConnection) -> None:
    while True:
        await say(client, "ping")
        await trio.sleep(20)


async def test_okx_tells_one_order_per_second_and_its_history_has_all(
    autojump_clock: object, nursery: Nursery
) -> None:
    exchange = okx(BUSY, terms=okx_terms.Terms(late=0))
    nursery.start_soon(exchange.run)
    client = await dial(exchange, nursery)
    nursery.start_soon(ping_forever, client)
    await say(client, SWAPS)

    texts = await texts_for(client, 600)

    frames = [json.loads(text) for text in texts if text.startswith('{"arg"')]
    told = {
        (item["instId"], one["ts"], one["sz"])
        for frame in frames
        for item in frame["data"]
        for one in item["details"]
    }
    query = {"instType": "SWAP", "state": "filled", "instFamily": "ETH-USDT", "limit": "100"}
    (page,) = asked(exchange.rest.answer("/api/v5/public/liquidation-orders", query))["data"]
    rows = page["details"]
    seconds = Counter(int(one["ts"]) // 1000 for one in rows)
    assert rows == sorted(rows, key=lambda one: -int(one["ts"]))
    assert max(seconds.values()) > 1
    assert len({("ETH-USDT-SWAP", one["ts"], one["sz"]) for one in rows} - told) > 5
    oldest = rows[-1]["ts"]
    (older,) = asked(
        exchange.rest.answer("/api/v5/public/liquidation-orders", {**query, "after": oldest})
    )["data"]
    assert max(int(one["ts"]) for one in older["details"]) < int(oldest)


async def test_okx_says_what_goes_wrong_with_http_200() -> None:
    exchange = okx()
    ask = partial(exchange.rest.answer, "/api/v5/public/instruments")
    history = partial(exchange.rest.answer, "/api/v5/public/liquidation-orders")

    codes = [asked(ask({"instType": "SWAP"}))["code"] for _ in range(41)]
    exchange.rest.code = "51155"
    region = asked(ask({"instType": "SWAP"}))["code"]
    exchange.rest.has_history = False

    assert codes == ["0"] * 40 + ["50011"]
    assert region == "51155"
    assert history({}).status == 404


# -- what they say agrees --


async def test_all_venues_have_the_same_prices_and_their_own_orders(
    autojump_clock: object, nursery: Nursery
) -> None:
    everywhere = market(BUSY)
    binance = Binance(7, testing.clock, SYMBOLS, rate=BUSY)
    others = Bybit(7, testing.clock, market=everywhere), Okx(7, testing.clock, market=everywhere)

    for each in others:
        for symbol in SYMBOLS:
            now_ms = testing.clock()
            assert each.market.price(symbol, now_ms) == binance.market.price(symbol, now_ms)
    flows = [one._flow.between(now_ms, now_ms + 60_000) for one in (binance, *others)]
    times = [{order.time_ms for order in flow} for flow in flows]
    assert all(len(flow) > 10 for flow in flows)
    assert times[0] != times[1] != times[2] != times[0]


# -- flowd's own sources --


class World:
    """An exchange in memory, and what a source sees of it."""

    def __init__(self, exchange: Exchange, nursery: Nursery) -> None:
        self.exchange = exchange
        self._nursery = nursery
        nursery.start_soon(exchange.run)

    async def dial(self, url: SplitResult) -> trio.abc.Stream:
        await trio.lowlevel.checkpoint()
        ours, theirs = trio.testing.memory_stream_pair()
        self._nursery.start_soon(self.exchange.house.serve_stream, theirs)
        return ours

    def feed(self, record: type[Any] = Liquidation) -> testing.ScriptedFeed[Any]:
        kept = Retain(100_000)
        stream = testing.stream("test", record=record, retain=kept.count)
        upstream = cast(testing.ScriptedUpstream, self)
        paths = (
            "/v5/market/instruments-info",
            "/api/v5/public/instruments",
            "/api/v5/public/liquidation-orders",
        )
        rest = testing.rest(dict.fromkeys(paths, self._reply))
        return testing.ScriptedFeed(upstream, stream, testing.clock, kept, rest)

    def _reply(self, request: testing.Request) -> testing.Reply:
        exchange = self.exchange
        respond = exchange.answer if isinstance(exchange, Bybit) else exchange.rest.answer
        answer = respond(request.path, request.query)
        return testing.Reply(answer.status, answer.body)

    async def keep(self, feed: testing.ScriptedFeed[Any]) -> None:
        """Run the source as the supervisor does: again, five seconds after it failed."""
        while True:
            try:
                if isinstance(self.exchange, Bybit):
                    await flowd_bybit.all_liquidations(flowd_bybit.Config(["*"]), feed)
                else:
                    await flowd_okx.liquidation_orders(flowd_okx.Config(["*"]), feed)
            except* UpstreamError as group:
                error = unwrap(group)
                assert isinstance(error, UpstreamError)
                await trio.sleep(max(5, error.retry_s))


@asynccontextmanager
async def running(
    exchange: Exchange, nursery: Nursery
) -> AsyncIterator[tuple[World, testing.ScriptedFeed[Any]]]:
    world = World(exchange, nursery)
    feed = world.feed()
    nursery.start_soon(world.keep, feed)
    await trio.sleep(1)
    yield world, feed
    nursery.cancel_scope.cancel()


async def test_the_source_reads_each_of_bybit_s_orders_once(
    autojump_clock: object, nursery: Nursery
) -> None:
    exchange = bybit()
    async with running(exchange, nursery) as (_, feed):
        exchange.liquidate("BTCUSDT", "SELL", "84000.5", "0.25")
        exchange.liquidate("DOGEUSDT", "BUY", "0.11", "1000", count=3)
        await trio.sleep(1)

        assert [(one.symbol, one.side, str(one.notional)) for one in feed.values] == [
            ("BTCUSDT", "SELL", "21000.125"),
            *[("DOGEUSDT", "BUY", "110")] * 3,
        ]
        assert len({one.id for one in feed.values}) == 4


async def test_the_source_reads_okx_s_contracts_as_base_units(
    autojump_clock: object, nursery: Nursery
) -> None:
    exchange = okx()
    async with running(exchange, nursery) as (_, feed):
        exchange.liquidate("BTCUSDT", "SELL", "82655.7", "8.55")
        exchange.liquidate("BTCUSD_PERP", "SELL", "82655.7", "8")
        exchange.liquidate("BTC-USDC", "SELL", "82655.7", "8")
        await trio.sleep(1)

        (found,) = feed.values
        assert (found.symbol, str(found.quantity)) == ("BTCUSDT", "0.0855")
        assert str(found.notional) == "7067.06235"
        assert feed.tally.dropped == {"not linear USDT perpetual": 2}


@pytest.mark.parametrize("make", [bybit, okx])
async def test_a_storm_is_read_whole_but_for_what_was_broken(
    autojump_clock: object, nursery: Nursery, make: Callable[..., Exchange]
) -> None:
    faults = Faults(drop_every_s=100, garbage=0.05, duplicate=0.05)
    async with running(make(BUSY, faults=faults), nursery) as (world, feed):
        await trio.sleep(600)

        assert world.exchange.house.accepted >= 5
        assert len(feed.values) > 200
        assert feed.tally.duplicates > 5
        assert sum(feed.tally.dropped.values()) > 5
        assert len({one.id for one in feed.values}) == len(feed.values)
        for one in feed.values:
            assert one.notional == one.price * one.quantity
            price = world.exchange.market.price(one.symbol, one.time_ms)
            assert float(one.price) == pytest.approx(price, rel=0.06)


async def test_a_stall_is_noticed_within_a_minute(autojump_clock: object, nursery: Nursery) -> None:
    for number, exchange in enumerate((bybit(), okx())):
        async with trio.open_nursery() as inner, running(exchange, inner) as (_, feed):
            exchange.faults.stalled = True
            await trio.sleep(85)

            assert feed.tally.connections >= 2, number


async def test_what_okx_told_while_nobody_listened_comes_from_its_history(
    autojump_clock: object, nursery: Nursery
) -> None:
    exchange = okx()
    async with running(exchange, nursery) as (_, feed):
        exchange.liquidate("BTCUSDT", "SELL", "84000", "1")
        await trio.sleep(10)
        exchange.house.drop_all()
        await trio.sleep(0.1)
        exchange.liquidate("BTCUSDT", "SELL", "84001", "2")
        exchange.liquidate("DOGEUSDT", "BUY", "0.11", "3")
        await trio.sleep(10)
        exchange.liquidate("ETHUSDT", "BUY", "2700", "4")
        await trio.sleep(660)

        assert {str(one.quantity) for one in feed.values} == {"0.01", "0.02", "3000", "0.4"}
        ((_, _, count),) = feed.recoveries
        # The newest of what was missed is what the channel begins with.
        assert count == 1


async def test_a_change_over_of_okx_loses_nothing(autojump_clock: object, nursery: Nursery) -> None:
    exchange = okx()
    async with running(exchange, nursery) as (_, feed):
        exchange.announce_end(60)
        for number in range(100):
            exchange.liquidate("BTCUSDT", "SELL", "84000", str(number + 1))
            await trio.sleep(1)

        assert len(feed.values) == 100
        assert feed.tally.connections == 2
        assert feed.recoveries == []


@pytest.mark.parametrize("make", [bybit, okx])
async def test_a_refused_region_is_left_alone_for_ten_minutes(
    autojump_clock: object, nursery: Nursery, make: Callable[[], Exchange]
) -> None:
    exchange = make()
    exchange.house.handshake_status = 403
    async with running(exchange, nursery) as (_, feed):
        await trio.sleep(590)
        before = exchange.house.accepted
        exchange.house.handshake_status = None
        await trio.sleep(30)

        assert before == 0
        assert feed.tally.delivering


async def test_instruments_of_both_have_the_market_s_ticks(
    autojump_clock: object, nursery: Nursery
) -> None:
    found: dict[str, Instrument] = {}
    for exchange, run, config in (
        (bybit(), bybit_instruments, BybitListed()),
        (okx(), okx_instruments, OkxListed()),
    ):
        feed = World(cast(Exchange, exchange), nursery).feed(Instrument)
        with trio.move_on_after(1):
            await run(cast(Any, config), feed)
        found |= {one.key: one for one in feed.values}

    assert set(found) == {f"{venue}/{symbol}" for venue in ("bybit", "okx") for symbol in SYMBOLS}
    assert found["bybit/BTCUSDT"].tick == found["okx/BTCUSDT"].tick == Decimal("0.1")
    assert found["okx/DOGEUSDT"].contract == 1000
    nursery.cancel_scope.cancel()
