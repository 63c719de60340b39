"""The simulated Binance as its clients see it: real frames, memory streams, a mock clock."""

import json
import os
import re
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from datetime import UTC, datetime
from decimal import Decimal
from functools import partial, reduce
from itertools import pairwise
from pathlib import Path
from random import Random
from typing import Any, cast

import flowd_simulator
import httpx2
import pytest
import trio
import trio.testing
import trustme
from attrs import evolve
from flowd_liquidations import timeframe
from flowd_liquidations.answer import read
from flowd_simulator.binance import Addresses, Binance
from flowd_simulator.binance.control import Subscriptions, answer
from flowd_simulator.candles import Candle
from flowd_simulator.command import simulate
from flowd_simulator.durations import duration
from flowd_simulator.faults import GARBAGE, NONSENSE, Faults, spoil
from flowd_simulator.faults import tell as faults_told
from flowd_simulator.intervals import following, opening, width_ms
from flowd_simulator.market import LISTED_MS, Market
from flowd_simulator.orders import ForcedOrder, OrderFlow
from flowd_simulator.paths import Paths
from flowd_simulator.recording import pace, parse, shifted
from flowd_simulator.web import certified
from trio_websocket import (
    ConnectionClosed,
    ConnectionRejected,
    WebSocketConnection,
    open_websocket_url,
    wrap_client_stream,
)
from typer import Typer
from typer.testing import CliRunner

from tests.plugins.exchange_client import connect, end_of, hear, hear_for, texts_for

START_MS = 1_790_526_540_000
"""A full minute, on 2026-09-27."""

Json = dict[str, Any]


def clock() -> int:
    return START_MS + round(trio.current_time() * 1000)


def make_exchange(**options: Any) -> Binance:
    return Binance(7, clock, **options)


async def dial(
    exchange: Binance, nursery: trio.Nursery, target: str, *, queue: int = 10_000
) -> WebSocketConnection:
    return await connect(exchange.serve_websocket, nursery, target, queue=queue)


async def ask(connection: WebSocketConnection, **request: object) -> Any:
    await connection.send_message(json.dumps(request))
    return await hear(connection)


def order(symbol: str, time_ms: int, quantity: str, average: str = "100.0") -> ForcedOrder:
    return ForcedOrder(symbol, symbol, "SELL", average, average, quantity, quantity, time_ms)


# Addresses and forms


async def test_a_raw_connection_gets_bare_events(autojump_clock, nursery):
    exchange = make_exchange()
    client = await dial(exchange, nursery, "/market/ws/btcusdt@forceOrder")

    exchange.liquidate("BTCUSDT", "SELL", "84500.10", "0.057", time_ms=START_MS - 1000)

    event = await hear(client)
    assert event == {
        "e": "forceOrder",
        "E": START_MS,
        "o": {
            "s": "BTCUSDT",
            "S": "SELL",
            "o": "LIMIT",
            "f": "IOC",
            "q": "0.057",
            "p": "84500.10",
            "ap": "84500.10",
            "X": "FILLED",
            "l": "0.057",
            "z": "0.057",
            "T": START_MS - 1000,
            "ps": "BTCUSDT",
            "st": 1,
        },
    }


async def test_a_combined_connection_gets_each_event_wrapped_once_per_stream(
    autojump_clock, nursery
):
    exchange = make_exchange()
    target = "/market/stream?streams=btcusdt@forceOrder/!forceOrder@arr/ethusdt@forceOrder"
    client = await dial(exchange, nursery, target)

    exchange.liquidate("BTCUSDT", "BUY", "84500.10", "0.057")

    first, second = await hear(client), await hear(client)
    assert (first["stream"], second["stream"]) == ("btcusdt@forceOrder", "!forceOrder@arr")
    assert first["data"] == second["data"]
    assert await hear_for(client, 60) == []


@pytest.mark.parametrize(
    "target", ["/ws", "/ws/btcusdt@forceOrder", "/stream", "/public/ws", "/public/stream?streams="]
)
async def test_retired_and_public_paths_accept_acknowledge_and_stay_silent(
    autojump_clock, nursery, target
):
    exchange = make_exchange(rate=600)
    nursery.start_soon(exchange.run)
    client = await dial(exchange, nursery, target)

    streams = ["btcusdt@forceOrder", "!forceOrder@arr", "btcusdt@markPrice@1s"]
    reply = await ask(client, method="SUBSCRIBE", params=streams, id=1)

    assert reply == {"result": None, "id": 1}
    exchange.liquidate("BTCUSDT", "BUY", "84500.10", "0.057")
    assert await hear_for(client, 60) == []


@pytest.mark.parametrize(
    "target", ["/", "/market", "/market/feed", "/private/feed", "/market/ws?x"]
)
async def test_other_paths_are_not_found(autojump_clock, target):
    exchange = make_exchange()

    with pytest.RaisesGroup(
        pytest.RaisesExc(ConnectionRejected, check=lambda error: error.status_code == 404)
    ):
        async with trio.open_nursery() as nursery:
            await dial(exchange, nursery, target)
    assert exchange.accepted == 0


async def test_a_candle_can_be_told_late_and_again(autojump_clock):
    exchange = make_exchange()
    async with trio.open_nursery() as nursery:
        client = await dial(exchange, nursery, "/market/stream?streams=btcusdt@kline_5m")
        for _ in range(2):
            exchange.tell_candle("BTCUSDT", "5m", START_MS - 900_000)
        told = [json.loads(await client.get_message())["data"] for _ in range(2)]
        nursery.cancel_scope.cancel()

    assert told[0] == told[1]
    assert told[0]["k"]["t"] == (START_MS - 900_000) // 300_000 * 300_000
    assert told[0]["k"]["x"]


async def test_new_connections_can_be_refused(autojump_clock):
    exchange = make_exchange()
    exchange.handshake_status = 451

    with pytest.RaisesGroup(
        pytest.RaisesExc(ConnectionRejected, check=lambda error: error.status_code == 451)
    ):
        async with trio.open_nursery() as nursery:
            await dial(exchange, nursery, "/market/ws")


async def test_names_outside_ascii_may_be_escaped(autojump_clock, nursery):
    exchange = make_exchange()
    escaped = "%E5%B8%81%E5%AE%89%E4%BA%BA%E7%94%9Fusdt@forceOrder"
    client = await dial(exchange, nursery, f"/market/stream?streams={escaped}")

    exchange.liquidate("币安人生USDT", "SELL", "0.1285000", "900")

    message = await hear(client)
    assert message["stream"] == "币安人生usdt@forceOrder"
    assert message["data"]["o"]["s"] == "币安人生USDT"


# Requests on an open connection


async def test_subscriptions_can_be_changed_listed_and_wrapped_while_connected(
    autojump_clock, nursery
):
    exchange = make_exchange()
    client = await dial(exchange, nursery, "/market/ws")

    subscribed = await ask(
        client, method="SUBSCRIBE", params=["btcusdt@aggTrade", "btcusdt@forceOrder"], id=1
    )
    gone = await ask(client, method="UNSUBSCRIBE", params=["btcusdt@aggTrade"], id=312)
    listed = await ask(client, method="LIST_SUBSCRIPTIONS", id=3)
    before = await ask(client, method="GET_PROPERTY", params=["combined"], id=4)
    changed = await ask(client, method="SET_PROPERTY", params=["combined", True], id=5)
    exchange.liquidate("BTCUSDT", "SELL", "84500.10", "0.057")

    assert subscribed == {"result": None, "id": 1}
    assert gone == {"result": None, "id": 312}
    assert listed == {"result": ["btcusdt@forceOrder"], "id": 3}
    assert before == {"result": False, "id": 4}
    assert changed == {"result": None, "id": 5}
    assert (await hear(client))["stream"] == "btcusdt@forceOrder"


async def test_streams_that_do_not_exist_are_acknowledged_and_silent(autojump_clock, nursery):
    exchange = make_exchange()
    nursery.start_soon(exchange.run)
    client = await dial(exchange, nursery, "/market/ws")

    streams = ["BTCUSDT@markPrice@1s", "nobodyusdt@kline_1m", "btcusdt@kline_7m", "btcusdt@magic"]
    reply = await ask(client, method="SUBSCRIBE", params=streams, id=1)

    assert reply == {"result": None, "id": 1}
    assert await hear_for(client, 60) == []


@pytest.mark.parametrize(
    ("request_text", "code", "says"),
    [
        ("not json", 3, "Invalid JSON"),
        ("[]", 2, "expected a request object"),
        ('{"method":"SUBSCRIBE","params":["a@b"]}', 2, "request ID must be an unsigned integer"),
        ('{"method":"SUBSCRIBE","params":["a@b"],"id":-1}', 2, "must be an unsigned integer"),
        ('{"method":"SUBSCRIBE","params":["a@b"],"id":"a b"}', 2, "must be an unsigned integer"),
        ('{"method":"SUBSCRIBE","params":["a@b"],"id":true}', 2, "must be an unsigned integer"),
        ('{"method":"SUBSCRIBE","params":"a@b","id":1}', 2, "expected a sequence"),
        ('{"params":[],"id":1}', 2, "missing field `method`"),
        ('{"method":"SHOUT","id":1}', 2, "unknown variant `SHOUT`"),
        ('{"method":"GET_PROPERTY","params":["combined",1],"id":1}', 2, "too many parameters"),
        ('{"method":"GET_PROPERTY","params":[1],"id":1}', 2, "property name must be a string"),
        ('{"method":"GET_PROPERTY","params":["colour"],"id":1}', 0, "Unknown property"),
        ('{"method":"SET_PROPERTY","params":["combined",1],"id":1}', 1, "expected Boolean"),
    ],
)
def test_wrong_requests_get_the_documented_errors_and_change_nothing(request_text, code, says):
    subscriptions = Subscriptions(combined=False)

    reply = json.loads(answer(subscriptions, request_text))

    assert reply["code"] == code
    assert says in reply["msg"]
    assert subscriptions == Subscriptions(combined=False)


def test_a_bad_stream_name_gets_the_nested_error_and_subscribes_to_nothing():
    subscriptions = Subscriptions(combined=True)

    reply = json.loads(
        answer(subscriptions, '{"method":"SUBSCRIBE","params":["a@b","bad"],"id":1}')
    )

    assert reply == {"error": {"code": 2, "msg": "Invalid request: invalid stream"}, "id": 1}
    assert not subscriptions.streams


# Limits


async def test_ten_messages_a_second_are_fine_and_the_eleventh_ends_the_connection(
    autojump_clock, nursery
):
    exchange = make_exchange()
    patient = await dial(exchange, nursery, "/market/ws")
    hasty = await dial(exchange, nursery, "/market/ws")

    for _ in range(3):
        for number in range(10):
            await ask(patient, method="LIST_SUBSCRIPTIONS", id=number)
        await trio.sleep(1.001)
    for number in range(11):
        await hasty.send_message(json.dumps({"method": "LIST_SUBSCRIPTIONS", "id": number}))

    assert (await end_of(hasty))[0] == 1008
    assert patient.closed is None


async def test_a_connection_carries_1024_streams_and_no_more(autojump_clock, nursery):
    exchange = make_exchange()
    client = await dial(exchange, nursery, "/market/ws")

    names = [f"s{number}usdt@forceOrder" for number in range(1025)]
    reply = await ask(client, method="SUBSCRIBE", params=names[:1024], id=1)
    await client.send_message(json.dumps({"method": "SUBSCRIBE", "params": names[1024:], "id": 2}))

    assert reply == {"result": None, "id": 1}
    assert (await end_of(client))[0] == 1008


async def test_a_connection_ends_after_its_lifetime(autojump_clock, nursery):
    exchange = make_exchange()
    client = await dial(exchange, nursery, "/market/ws")

    code, _ = await end_of(client, within_s=25 * 3600)

    assert code == 1001
    assert trio.current_time() == pytest.approx(24 * 3600, abs=1)


async def test_a_client_that_answers_no_ping_is_cut_off_after_ten_minutes(autojump_clock, nursery):
    exchange = make_exchange()
    # Its codec stops reading, pings included, while a message waits to be taken.
    client = await dial(exchange, nursery, "/market/ws", queue=0)
    exchange.send("{}")

    await trio.sleep(3 * 60 + 10 * 60 - 1)
    before = exchange.connections
    await trio.sleep(2)

    assert (before, exchange.connections) == (1, 0)
    assert client.closed is None


# Forced orders


async def test_coin_margined_orders_come_in_the_stream_of_all_only(autojump_clock, nursery):
    exchange = make_exchange()
    target = "/market/stream?streams=!forceOrder@arr/btcusd_perp@forceOrder"
    client = await dial(exchange, nursery, target)

    exchange.liquidate("BTCUSD_PERP", "BUY", "84500.1", "12", place="beside")

    (message,) = await hear_for(client, 60)
    assert message["stream"] == "!forceOrder@arr"
    assert (message["data"]["ps"], message["data"]["st"]) == ("BTCUSD", 2)


@pytest.mark.parametrize(("rule", "told"), [("latest", "1.0"), ("largest", "9.0")])
async def test_of_the_orders_of_a_second_one_is_told_about_a_second_late(
    autojump_clock, nursery, rule, told
):
    exchange = make_exchange(sampling=rule)
    nursery.start_soon(exchange.run)
    client = await dial(exchange, nursery, "/market/ws/btcusdt@forceOrder")

    for offset_ms, quantity in ((0, "2.0"), (300, "9.0"), (600, "1.0")):
        exchange.fill(order("BTCUSDT", START_MS + offset_ms, quantity))

    (event,) = await hear_for(client, 60)
    assert event["o"]["z"] == told
    assert START_MS + 1000 <= event["E"] <= START_MS + 1020


async def test_the_sampler_treats_symbols_apart(autojump_clock, nursery):
    exchange = make_exchange()
    nursery.start_soon(exchange.run)
    client = await dial(exchange, nursery, "/market/ws/!forceOrder@arr")

    exchange.fill(order("BTCUSDT", START_MS, "1.0"))
    exchange.fill(order("ETHUSDT", START_MS, "2.0"))

    assert {(await hear(client))["o"]["s"] for _ in range(2)} == {"BTCUSDT", "ETHUSDT"}


async def test_forced_orders_have_all_that_recordings_show(autojump_clock, nursery):
    exchange = make_exchange(rate=360)
    nursery.start_soon(exchange.run)
    client = await dial(exchange, nursery, "/market/ws/!forceOrder@arr")

    events = await hear_for(client, 1200)

    newest: dict[str, int] = {}
    for event in events:
        order = event["o"]
        assert event["E"] - newest.get(order["s"], 0) >= 1000
        newest[order["s"]] = event["E"]
        assert 0 <= event["E"] - order["T"] <= 1020
        assert 0 < float(order["l"]) <= float(order["z"])
        limit, average = float(order["p"]), float(order["ap"])
        assert (limit < average) == (order["S"] == "SELL")
    late = [event for event in events if event["E"] - event["o"]["T"] >= 1000]
    assert len(late) > len(events) / 3
    places = Counter("o" if "st" in event["o"] else "st" in event for event in events)
    assert set(places) == {"o", True, False}
    margins = Counter(event.get("st", event["o"].get("st")) for event in events)
    assert set(margins) == {None, 1, 2}
    assert any(not event["o"]["s"].isascii() for event in events)
    assert any(order["o"]["l"] != order["o"]["z"] for order in events)


async def test_the_same_seed_tells_the_same_story(autojump_clock):
    stories = []
    for _ in range(2):
        began = trio.current_time()

        def fresh_clock(began: float = began) -> int:
            return START_MS + round((trio.current_time() - began) * 1000)

        exchange = Binance(11, fresh_clock, rate=120, faults=Faults(garbage=0.1, duplicate=0.1))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(exchange.run)
            client = await dial(exchange, nursery, "/market/ws/!forceOrder@arr")
            stories.append(await texts_for(client, 300))
            nursery.cancel_scope.cancel()

    assert len(stories[0]) > 20
    assert stories[0] == stories[1]


def mean_notional(orders: list[ForcedOrder]) -> float:
    return float(sum(order.notional for order in orders)) / len(orders)


def test_a_cascade_is_a_burst_of_one_side_that_grows_and_moves_the_price():
    market = Market(7, rate=120)
    cascade = next(filter(None, map(market.cascade_in, range(START_MS // 300_000, 10**7))))

    orders = OrderFlow(market).between(cascade.start_ms - 1, cascade.end_ms)
    of_cascade = [order for order in orders if order.side == cascade.side]
    middle = (cascade.start_ms + cascade.end_ms) / 2
    early = [order for order in of_cascade if order.time_ms < middle]
    late = [order for order in of_cascade if order.time_ms >= middle]

    assert len(of_cascade) > 0.8 * len(orders) > 100
    assert {order.symbol for order in of_cascade} >= set(cascade.symbols)
    assert len(early) < len(late)
    assert mean_notional(late) > 1.3 * mean_notional(early)
    for symbol in cascade.symbols:
        before = market.price(symbol, cascade.start_ms)
        after = market.price(symbol, cascade.end_ms)
        # The wick of an hour's turn may lie a little beyond or before it.
        assert after / before - 1 == pytest.approx(cascade.reach, abs=0.006)


def test_the_price_recovers_from_a_cascade_by_half_at_once_and_then_slowly():
    market, calm = Market(7, rate=120), Market(7, rate=0)
    windows = range(START_MS // 300_000, 10**7)
    lone = next(
        cascade
        for cascade in filter(None, map(market.cascade_in, windows))
        if not any(market.cascade_in(cascade.start_ms // 300_000 + n) for n in (-3, -2, -1, 1, 2))
    )

    def mark(after_ms: int) -> float:
        minute_ms = lone.end_ms - lone.end_ms % 60_000 + 60_000
        symbol, time_ms = lone.symbols[0], minute_ms + after_ms
        return market.price(symbol, time_ms) / calm.price(symbol, time_ms) - 1

    assert mark(0) == pytest.approx(0.6 * lone.reach, rel=0.1)
    assert 0 < mark(8 * 60_000) / mark(0) < 0.6
    assert mark(15 * 60_000) == pytest.approx(0, abs=1e-9)


def test_a_candle_knows_nothing_of_its_future():
    market = Market(7, rate=60)

    newborn = market.candle_at("BTCUSDT", "1m", START_MS, START_MS)

    assert newborn.open == newborn.high == newborn.low == newborn.close
    assert newborn.trades == 1


def test_a_market_without_forced_orders_has_prices_all_the_same():
    market = Market(7, rate=0)

    assert OrderFlow(market).between(START_MS, START_MS + 3_600_000) == []
    assert 70_000 < market.price("BTCUSDT", START_MS) < 100_000
    assert 2_200 < market.price("ETHUSDT", START_MS) < 3_300
    assert market.price("BTCUSDT", START_MS) != market.price("BTCUSDT", START_MS + 60_000)


@pytest.mark.parametrize("rate", [1, 20, 300])
def test_forced_orders_come_at_about_the_rate_asked_for(rate):
    flow = OrderFlow(Market(3, rate=rate))

    hours = flow.between(START_MS, START_MS + 3 * 3_600_000)

    assert len(hours) / 180 == pytest.approx(rate, rel=0.3)


# Streams that tick


async def test_trades_are_of_the_public_class_and_of_the_retired_paths(autojump_clock, nursery):
    exchange = make_exchange()
    nursery.start_soon(exchange.run)
    paths = ("/public/ws", "/ws", "/market/ws", "/private/ws")
    clients = [await dial(exchange, nursery, f"{path}/btcusdt@trade") for path in paths]

    heard = [await hear_for(client, 30) for client in clients]

    assert len(heard[0]) > 30
    assert [bool(each) for each in heard] == [True, True, False, False]
    numbers = [trade["t"] for trade in heard[0]]
    assert numbers == sorted(numbers)
    for trade in heard[0]:
        assert (trade["e"], trade["X"], trade["s"]) == ("trade", "MARKET", "BTCUSDT")
        price = exchange.market.price("BTCUSDT", trade["T"])
        assert float(trade["p"]) == pytest.approx(price, abs=0.06)


async def test_candles_of_a_contract_are_those_of_its_symbol(autojump_clock, nursery):
    exchange = make_exchange(rate=60)
    nursery.start_soon(exchange.run)
    streams = "btcusdt_perpetual@continuousKline_1m/btcusdt@kline_1m"
    client = await dial(exchange, nursery, f"/market/stream?streams={streams}")

    events = [message["data"] for message in await hear_for(client, 5)]

    found: dict[str, list[Json]] = {"kline": [], "continuous_kline": []}
    for event in events:
        found[event["e"]].append(event)
    assert len(found["kline"]) > 8
    for one, other in zip(found["continuous_kline"], found["kline"], strict=True):
        assert (one["ps"], one["ct"]) == ("BTCUSDT", "PERPETUAL")
        assert {"s": "BTCUSDT", **one["k"]} == other["k"]


@pytest.mark.parametrize(("stream", "count"), [("!markPrice@arr@1s", 30), ("!markPrice@arr", 10)])
async def test_mark_prices_of_all_symbols_come_in_one_event(autojump_clock, nursery, stream, count):
    exchange = make_exchange(faults=Faults(garbage=1.0))
    nursery.start_soon(exchange.run)
    client = await dial(exchange, nursery, f"/market/ws/{stream}")

    texts = await texts_for(client, 30.1)

    assert len(texts) == pytest.approx(2 * count, abs=2)
    prices = json.loads(texts[1])
    assert [each["s"] for each in prices] == list(exchange.market.instruments)
    assert {each["e"] for each in prices} == {"markPriceUpdate"}


async def test_private_paths_take_any_key_and_requests_with_texts_for_numbers(
    autojump_clock, nursery
):
    exchange = make_exchange(rate=600)
    nursery.start_soon(exchange.run)
    name = "0c3c9eb8-83a1-4ff7-9ed1-b2c5a2d7d7a1"

    for target in ("/private/stream", "/private/ws/a-key", "/private/ws?listenKey=a&events=b"):
        client = await dial(exchange, nursery, target)
        reply = await ask(client, method="SUBSCRIBE", params=["!forceOrder@arr"], id=name)
        assert reply == {"result": None, "id": name}
        assert await hear_for(client, 30) == []


async def test_the_mark_price_ticks_every_second_or_every_third(autojump_clock, nursery):
    exchange = make_exchange()
    nursery.start_soon(exchange.run)
    target = "/market/stream?streams=btcusdt@markPrice@1s/btcusdt@markPrice"
    client = await dial(exchange, nursery, target)

    messages = await hear_for(client, 60)

    ticks = Counter(message["stream"] for message in messages)
    assert ticks["btcusdt@markPrice@1s"] == pytest.approx(60, abs=1)
    assert ticks["btcusdt@markPrice"] == pytest.approx(20, abs=1)
    assert {message["data"]["e"] for message in messages} == {"markPriceUpdate"}


async def test_trades_have_rising_ids_and_the_price_of_the_market(autojump_clock, nursery):
    exchange = make_exchange()
    nursery.start_soon(exchange.run)
    client = await dial(exchange, nursery, "/market/ws/btcusdt@aggTrade")

    trades = await hear_for(client, 60)

    assert len(trades) > 60
    ids = [trade["a"] for trade in trades]
    assert ids == sorted(set(ids))
    for trade in trades:
        price = exchange.market.price("BTCUSDT", trade["T"])
        assert float(trade["p"]) == pytest.approx(price, abs=0.06)
        assert 0 <= trade["E"] - trade["T"] <= 500


async def test_a_candle_closes_once_shortly_after_its_end_and_history_agrees(
    autojump_clock, nursery
):
    exchange = make_exchange(rate=300)
    nursery.start_soon(exchange.run)
    client = await dial(exchange, nursery, "/market/ws/ethusdt@kline_1m/ethusdt@kline_5m")

    events = await hear_for(client, 600.5)

    closed = [event for event in events if event["k"]["x"] and event["k"]["T"] > START_MS]
    assert Counter(event["k"]["i"] for event in closed) == {"1m": 10, "5m": 2}
    for event in closed:
        assert 100 <= event["E"] - event["k"]["T"] <= 900
    history = {
        interval: await rows(exchange, symbol="ETHUSDT", interval=interval, limit=20)
        for interval in ("1m", "5m")
    }
    for event in closed:
        k = event["k"]
        row = next(row for row in history[k["i"]] if row[0] == k["t"])
        assert row == [k[name] for name in ("t", *"ohlcv", "T", "q", "n", *"VQB")]


async def test_an_open_candle_only_widens_and_grows(autojump_clock, nursery):
    exchange = make_exchange(rate=300)
    nursery.start_soon(exchange.run)
    client = await dial(exchange, nursery, "/market/ws/btcusdt@kline_1m")

    candles = [event["k"] for event in await hear_for(client, 900)]

    for earlier, later in pairwise(candles):
        if earlier["t"] == later["t"]:
            assert earlier["o"] == later["o"]
            assert float(earlier["h"]) <= float(later["h"])
            assert float(earlier["l"]) >= float(later["l"])
            assert float(earlier["v"]) <= float(later["v"])
            assert earlier["n"] <= later["n"]
    assert len(candles) > 1500


def test_long_candles_are_the_sum_of_short_ones():
    market = Market(7, rate=60)
    start_ms = opening("4h", START_MS)

    whole = market.candle_at("SOLUSDT", "4h", start_ms, START_MS + 86_400_000)
    minutes = [
        market.candle_at("SOLUSDT", "1m", start_ms + 60_000 * minute, START_MS + 86_400_000)
        for minute in range(240)
    ]

    assert whole.open == minutes[0].open
    assert whole.close == minutes[-1].close
    assert whole.high == max(minute.high for minute in minutes)
    assert whole.low == min(minute.low for minute in minutes)
    assert whole.volume == sum(minute.volume for minute in minutes)
    assert whole.quote == sum(minute.quote for minute in minutes)


def summed(candles: list[Candle]) -> Candle:
    return reduce(lambda one, other: one + other, candles)


@pytest.mark.parametrize("symbol", ["BTCUSDT", "PUMPUSDT", "MADEUPUSDT"])
@pytest.mark.parametrize("rate", [0, 60])
def test_every_interval_is_the_exact_sum_of_minutes_also_where_those_are_never_made(symbol, rate):
    market = Market(7, [symbol, "ETHUSDT"], rate=rate)
    now_ms = START_MS + 33 * 60_000 + 12_345
    long_ago_ms = opening("1d", START_MS - 2000 * 86_400_000)

    for start_ms in (opening("1d", START_MS), long_ago_ms):
        times = range(start_ms, min(now_ms + 1, start_ms + 86_400_000), 60_000)
        minutes = market.candles(symbol, "1m", times, now_ms)
        assert minutes == [market.candle_at(symbol, "1m", time, now_ms) for time in times]
        for interval in ("3m", "30m", "1h", "4h", "12h", "1d"):
            step = width_ms(interval)
            wanted = range(start_ms, times[-1] + 1, step)
            wider = market.candles(symbol, interval, wanted, now_ms)
            for candle, opened in zip(wider, wanted, strict=True):
                first = (opened - start_ms) // 60_000
                assert candle == summed(minutes[first : first + step // 60_000])
                assert candle == market.candle_at(symbol, interval, opened, now_ms)


@pytest.mark.parametrize("interval", ["3d", "1w", "1M"])
def test_the_widest_candles_are_the_sum_of_days(interval):
    market = Market(7, rate=60)
    start_ms = opening(interval, START_MS - 100 * 86_400_000)
    end_ms = following(interval, start_ms)
    days = market.candles("XRPUSDT", "1d", range(start_ms, end_ms, 86_400_000), START_MS)

    whole = market.candles("XRPUSDT", interval, [start_ms], START_MS)

    assert whole == [summed(days)]


def test_minutes_are_plausible_although_their_hour_is_decided_before_them():
    market = Market(7, rate=60)
    start_ms = opening("1d", START_MS)
    minutes = market.candles(
        "BTCUSDT", "1m", range(start_ms, start_ms + 86_400_000, 60_000), 2 * START_MS
    )

    for earlier, candle in pairwise(minutes):
        assert candle.low <= min(candle.open, candle.close)
        assert candle.high >= max(candle.open, candle.close)
        assert abs(candle.open - earlier.close) <= 1
        assert 0 < candle.taker_buys < candle.volume
        assert 0 < candle.taker_quote < candle.quote
        assert candle.low * 0.999 < candle.quote / candle.volume / 10 < candle.high * 1.001
        assert 100 <= candle.trades < 4096
    shares = [candle.taker_buys / candle.volume for candle in minutes]
    assert max(shares) > 0.7
    assert min(shares) < 0.3


def test_a_minute_is_the_same_alone_and_among_others():
    times = range(START_MS - 300 * 60_000, START_MS, 60_000)

    among = Market(7, rate=60).candles("SOLUSDT", "1m", times, START_MS)
    alone = Market(7, rate=60)

    assert [alone.candle_at("SOLUSDT", "1m", time, START_MS) for time in times] == among


@pytest.mark.parametrize(
    ("interval", "count"),
    [("1m", 1500), ("15m", 1500), ("1h", 1500), ("12h", 1500), ("1d", 500), ("1M", 100)],
)
async def test_candles_of_every_interval_are_there_at_once(interval, count, autojump_clock):
    exchange = Binance(7, lambda: START_MS, rate=60)
    await rows(exchange, symbol="ETHUSDT", interval=interval, limit=count)

    began = time.process_time()
    found = await rows(exchange, symbol="BTCUSDT", interval=interval, limit=count)

    assert len(found) == count
    # A hundredth of a second or two on a machine of its own; this is not what it took before.
    assert time.process_time() - began < 0.5


async def test_weeks_and_months_cost_each_hour_once_and_hold_nobody_up(autojump_clock, monkeypatch):
    steps = ["turn"]
    make, minutes = Paths._make_span, Paths.minutes

    def counted(self, instrument, span):
        steps.append("made")
        return make(self, instrument, span)

    def hourly(self, instrument, first, count):
        steps.append("minutes")
        return minutes(self, instrument, first, count)

    async def another():
        while True:
            steps.append("turn")
            await trio.lowlevel.checkpoint()

    monkeypatch.setattr(Paths, "_make_span", counted)
    monkeypatch.setattr(Paths, "minutes", hourly)
    exchange = Binance(7, lambda: START_MS, rate=60)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(another)
        weeks = await rows(exchange, symbol="BTCUSDT", interval="1w", limit=1500)
        made = steps.copy()
        months = await rows(exchange, symbol="BTCUSDT", interval="1M", limit=1500)
        nursery.cancel_scope.cancel()

    days = (START_MS - LISTED_MS) / 86_400_000
    assert days / 40 <= made.count("made") <= days / 40 + 2
    # Trio throws dice over who is next, so the others' turn may be just before or just after.
    assert not re.search("made made made", " ".join(made))
    assert made.count("minutes") <= 2  # Of the hour that is not over.
    assert steps.count("made") == made.count("made")
    assert len(weeks) > 4 * len(months) > 400


async def test_nothing_was_traded_before_the_listing(autojump_clock):
    exchange = Binance(7, lambda: START_MS)

    months = await rows(exchange, symbol="BTCUSDT", interval="1M", limit=1500)
    earlier = await rows(exchange, symbol="BTCUSDT", interval="1d", endTime=LISTED_MS - 1)
    first = await rows(exchange, symbol="BTCUSDT", interval="1d", startTime=0, limit=1)

    assert months[0][0] == first[0][0] == LISTED_MS
    assert earlier == []


@pytest.mark.parametrize(
    ("interval", "opens", "follows"),
    [
        ("1m", "2026-09-27T16:29:00", "2026-09-27T16:30:00"),
        ("4h", "2026-09-27T16:00:00", "2026-09-27T20:00:00"),
        ("1d", "2026-09-27T00:00:00", "2026-09-28T00:00:00"),
        ("1w", "2026-09-21T00:00:00", "2026-09-28T00:00:00"),
        ("1M", "2026-09-01T00:00:00", "2026-10-01T00:00:00"),
    ],
)
def test_candles_open_where_the_calendar_says(interval, opens, follows):
    def instant(text: str) -> int:
        return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * 1000)

    assert opening(interval, START_MS) == instant(opens)
    assert following(interval, instant(opens)) == instant(follows)


async def test_december_is_followed_by_january():
    december = opening("1M", 1_796_500_000_000)

    assert following("1M", december) == opening("1M", december + 40 * 86_400_000)


# Faults


async def test_drop_all_cuts_connections_without_a_goodbye(autojump_clock, nursery):
    exchange = make_exchange()
    clients = [await dial(exchange, nursery, "/market/ws") for _ in range(2)]

    exchange.drop_all()

    assert [(await end_of(client))[0] for client in clients] == [1006, 1006]
    assert exchange.connections == 0
    again = await dial(exchange, nursery, "/market/ws")
    assert await ask(again, method="LIST_SUBSCRIPTIONS", id=1) == {"result": [], "id": 1}


async def test_close_all_says_goodbye(autojump_clock, nursery):
    exchange = make_exchange()
    client = await dial(exchange, nursery, "/market/ws")

    exchange.close_all(1012, "service restart")

    assert (await end_of(client))[0] == 1012


async def test_a_stalled_exchange_keeps_connections_and_says_nothing(autojump_clock, nursery):
    exchange = make_exchange()
    nursery.start_soon(exchange.run)
    client = await dial(exchange, nursery, "/market/ws/btcusdt@markPrice@1s")
    await hear(client)

    exchange.stall()
    await hear_for(client, 0.1)
    silence = await hear_for(client, 900)
    await client.send_message('{"method":"LIST_SUBSCRIPTIONS","id":1}')
    unanswered = await hear_for(client, 60)
    late_client = await dial(exchange, nursery, "/market/ws/btcusdt@markPrice@1s")
    still_silent = await hear_for(late_client, 60)
    exchange.resume()

    assert silence == unanswered == still_silent == []
    assert (await hear(client))["e"] == "markPriceUpdate"
    assert (await hear(late_client))["e"] == "markPriceUpdate"


async def test_scheduled_drops_and_stalls_happen_on_time(autojump_clock, nursery):
    faults = Faults(drop_every_s=300, stall_every_s=100, stall_for_s=70)
    exchange = make_exchange(faults=faults)
    nursery.start_soon(exchange.run)
    client = await dial(exchange, nursery, "/market/ws/btcusdt@markPrice@1s")

    heard = []
    with suppress(ConnectionClosed):
        while True:
            heard.append(json.loads(await client.get_message())["E"])

    assert trio.current_time() == pytest.approx(300, abs=1)
    gaps = [later - earlier for earlier, later in pairwise(heard)]
    assert [gap for gap in gaps if gap > 1000] == [71_000]


async def test_garbage_comes_before_good_frames_and_replaces_none(autojump_clock, nursery):
    exchange = make_exchange(faults=Faults(garbage=1.0))
    client = await dial(exchange, nursery, "/market/ws/btcusdt@forceOrder")

    sent = [exchange.liquidate("BTCUSDT", "SELL", "84500.10", f"{n}.000") for n in range(1, 200)]
    heard = await texts_for(client, 1)

    assert heard[1::2] == sent
    assert not set(heard[::2]) & set(sent)
    assert len(set(heard[::2])) > len(GARBAGE)


@pytest.mark.parametrize("kind", GARBAGE)
@pytest.mark.parametrize("combined", [False, True])
def test_each_kind_of_garbage_is_broken_in_its_way(kind, combined):
    exchange = Binance(7, lambda: START_MS)
    event = exchange.liquidate("BTCUSDT", "SELL", "84500.10", "0.057")
    good = Subscriptions(combined).wrap("btcusdt@forceOrder", event)

    bad = spoil(kind, good)

    assert bad != good
    if kind in ("html", "empty", "truncated"):
        with pytest.raises(ValueError, match=r"Expecting|Unterminated"):
            json.loads(bad)
        return
    frame = json.loads(bad)
    if kind in ("array", "null"):
        assert not isinstance(frame, dict)
        return
    frame = frame["data"] if combined else frame
    assert {
        "not-numbers": "NaN" in bad and "Infinity" in bad and frame["o"]["ap"] != "NaN",
        "not-number-texts": frame["o"].get("ap") == "NaN",
        "unknown-side": frame["o"].get("S") == "HOLD",
        "missing-fields": "s" not in frame["o"] and "z" not in frame["o"],
        "unknown-event": frame["e"] == "brandNewEvent",
    }[kind]


async def test_duplicates_are_the_same_frame_twice(autojump_clock, nursery):
    exchange = make_exchange(faults=Faults(duplicate=1.0))
    client = await dial(exchange, nursery, "/market/ws/btcusdt@forceOrder")

    event = exchange.liquidate("BTCUSDT", "SELL", "84500.10", "0.057")

    assert await texts_for(client, 60) == [event, event]


def test_faults_strike_at_the_rate_asked_for():
    faults, random = Faults(duplicate=0.1), Random(1)

    sent = [faults.frames("{}", random) for _ in range(2000)]

    assert sum(len(frames) - 1 for frames in sent) == pytest.approx(200, abs=60)


async def test_an_exchange_that_is_slow_on_purpose_is_told_as_such(autojump_clock, nursery, caplog):
    caplog.set_level("INFO")
    nursery.start_soon(make_exchange(faults=Faults(slow_s=0.1)).run)
    await trio.sleep(1)

    (record,) = caplog.records
    assert record.message == "Binance holds back all that it says for 0.1s, on purpose"


async def test_what_exchanges_send_wrong_on_purpose_is_one_line_a_minute(
    autojump_clock, nursery, caplog
):
    caplog.set_level("INFO")
    faults = Faults(garbage=1.0, duplicate=1.0)
    exchanges = {"Binance": faults, "Bybit": evolve(faults), "OKX": Faults()}
    nursery.start_soon(faults_told, exchanges)
    random = Random(1)

    for minute in range(3):
        for name in ("Binance", "Bybit", "OKX")[minute:]:
            for _ in range(minute + 2):
                exchanges[name].frames("{}", random, NONSENSE)
        await trio.sleep(61 if not minute else 60)

    assert [record.message for record in caplog.records] == [
        "on purpose 1 frame in 1 is broken, 1 frame in 1 is doubled: "
        "how often it happened is told every 60s",
        "on purpose within 60s: Binance 2 broken, 2 doubled; Bybit 2 broken, 2 doubled",
        "on purpose within 60s: Bybit 3 broken, 3 doubled",
    ]


async def test_slow_frames_are_late_but_not_fewer(autojump_clock, nursery):
    exchange = make_exchange()
    exchange.faults.slow_s = 0.2
    client = await dial(exchange, nursery, "/market/ws/btcusdt@forceOrder")

    sent = [exchange.liquidate("BTCUSDT", "SELL", "84500.10", f"{n}.000") for n in range(1, 50)]
    began = trio.current_time()
    heard = [str(await client.get_message()) for _ in sent]

    assert heard == sent
    assert trio.current_time() - began == pytest.approx(0.2, abs=0.01)


async def test_a_client_with_too_many_unsent_frames_is_cut_off(autojump_clock, nursery):
    exchange = make_exchange(faults=Faults(slow_s=3600))
    client = await dial(exchange, nursery, "/market/ws")
    await trio.testing.wait_all_tasks_blocked()

    for _ in range(10_001):
        exchange.send("{}")
    connected = exchange.connections
    exchange.send("{}")

    assert connected == 1
    assert (await end_of(client))[0] == 1006


async def test_any_text_can_be_sent_to_everybody(autojump_clock, nursery):
    exchange = make_exchange()
    clients = [await dial(exchange, nursery, path) for path in ("/market/ws", "/ws")]

    exchange.send("anything at all")

    assert [await client.get_message() for client in clients] == ["anything at all"] * 2


@pytest.mark.parametrize("babble", [b"", b"GET / HTTP/1.1\r\n\r\n", b"\x00\xff" * 100])
async def test_a_client_that_speaks_no_websocket_harms_nobody(autojump_clock, nursery, babble):
    exchange = make_exchange()
    ours, theirs = trio.testing.memory_stream_pair()

    async with trio.open_nursery() as other:
        other.start_soon(exchange.serve_websocket, theirs)
        if babble:
            await ours.send_all(babble)
        await ours.send_stream.aclose()

    client = await dial(exchange, nursery, "/market/ws")
    assert await ask(client, method="LIST_SUBSCRIPTIONS", id=1) == {"result": [], "id": 1}


async def test_a_client_that_vanishes_is_forgotten(autojump_clock, nursery):
    exchange = make_exchange()
    nursery.start_soon(exchange.run)
    ours, theirs = trio.testing.memory_stream_pair()
    nursery.start_soon(exchange.serve_websocket, theirs)
    socket = cast(trio.SocketStream, ours)
    target = "/market/ws/btcusdt@markPrice@1s"
    client = await wrap_client_stream(nursery, socket, "exchange", target, message_queue_size=10)
    await hear(client)

    await trio.aclose_forcefully(ours)
    await trio.sleep(5)

    assert exchange.connections == 0


# Recordings

RECORDED = [
    '{"e":"forceOrder","E":1000,"o":{"s":"BTCUSDT","S":"SELL","z":"1","ap":"2","T":990}}',
    '{"stream":"!forceOrder@arr","data":{"e":"forceOrder","E":3000,"o":{"s":"ETHUSDT","T":2000}}}',
    '{"result":null,"id":1}',
    "",
    '{"stream":"btcusdt@kline_1m","data":{"e":"kline","E":63500,"s":"BTCUSDT",'
    '"k":{"t":0, "T":59999, "i":"1m", "o":"1"}}}',
]


async def test_a_recording_plays_at_its_own_pace_to_those_who_subscribed(autojump_clock, nursery):
    exchange = make_exchange()
    target = "/market/ws/btcusdt@forceOrder/ethusdt@forceOrder/btcusdt@kline_1m"
    client = await dial(exchange, nursery, target)

    nursery.start_soon(exchange.replay, parse(RECORDED))
    heard = []
    for _ in range(3):
        with trio.fail_after(100):
            text = await client.get_message()
        heard.append((text, round(trio.current_time(), 3)))

    events = [RECORDED[0]] + [line.partition('"data":')[2][:-1] for line in RECORDED[1::3]]
    assert heard == list(zip(events, [0, 2, 62.5], strict=True))


async def test_a_recording_can_play_faster_and_again(autojump_clock, nursery):
    exchange = make_exchange()
    client = await dial(exchange, nursery, "/market/stream?streams=!forceOrder@arr")

    async def play() -> None:
        await exchange.replay(parse(RECORDED[:2]), speed=1000, loop=True)

    nursery.start_soon(play)
    messages = await hear_for(client, 10)

    assert [message["data"]["E"] for message in messages[:4]] == [1000, 3000, 1000, 3000]
    assert {message["stream"] for message in messages} == {"!forceOrder@arr"}
    assert len(messages) == pytest.approx(20, abs=2)


async def test_a_recording_silences_the_market_on_its_own_streams(autojump_clock, nursery):
    exchange = make_exchange()
    nursery.start_soon(exchange.run)
    nursery.start_soon(exchange.replay, parse(RECORDED))
    target = "/market/stream?streams=btcusdt@kline_1m/btcusdt@markPrice@1s"
    client = await dial(exchange, nursery, target)

    messages = await hear_for(client, 120)

    heard = Counter(message["stream"] for message in messages)
    assert heard["btcusdt@kline_1m"] == 1
    assert heard["btcusdt@markPrice@1s"] > 100


async def test_a_recording_can_be_shifted_to_now(autojump_clock, nursery):
    exchange = make_exchange()
    client = await dial(exchange, nursery, "/market/ws/btcusdt@forceOrder")

    async def play() -> None:
        await exchange.replay(parse(RECORDED), shift_to_now=True)

    nursery.start_soon(play)

    event = await hear(client)
    assert event["E"] == START_MS
    assert event["o"] == {"s": "BTCUSDT", "S": "SELL", "z": "1", "ap": "2", "T": START_MS - 10}


def test_shifted_candles_stay_on_their_grid():
    candle = parse(RECORDED)[2]

    k = json.loads(shifted(candle, START_MS + 30_000))["k"]

    assert k["t"] % 60_000 == 0
    assert k["T"] == k["t"] + 59_999
    assert -60_000 < k["t"] - (START_MS + 30_000 - 63_500) <= 0


def test_a_recording_whose_times_go_back_does_not_wait():
    lines = [f'{{"e":"x","E":{time_ms},"s":"A"}}' for time_ms in (5000, 1000, 6000)]

    waits = [wait_s for wait_s, _ in pace(parse(lines), 10)]

    assert waits == [0, 0, 0.1]


@pytest.mark.parametrize(
    ("lines", "says"),
    [
        (["{}", "half a line"], "line 2"),
        (['{"e":"forceOrder"}'], "line 1"),
        (['{"stream":"x","data":7}'], "line 1"),
        (["", '{"id":1,"result":null}'], "holds no events"),
    ],
)
def test_a_recording_that_cannot_be_played_says_why(lines, says):
    with pytest.raises(ValueError, match=says):
        parse(lines, name="tape.jsonl")


# REST


async def rows(exchange: Binance, **query: object) -> list[list[Any]]:
    """Candles by REST, without a socket."""
    transport = httpx2.ASGITransport(app=exchange.rest.app)
    async with httpx2.AsyncClient(transport=transport, base_url="http://exchange") as http:
        answer = await http.get("/fapi/v1/klines", params=query)
    assert answer.status_code == 200
    return answer.json()


class Wall:
    """A clock that stands until it is moved."""

    now_ms = START_MS + 90_000

    def __call__(self) -> int:
        return self.now_ms


@pytest.fixture
def wall() -> Wall:
    return Wall()


@pytest.fixture
def quiet_exchange(wall: Wall) -> Binance:
    return Binance(7, wall)


@pytest.fixture
async def addresses(quiet_exchange: Binance, nursery: trio.Nursery) -> Addresses:
    return await nursery.start(quiet_exchange.serve)


@pytest.fixture
async def http(addresses: Addresses) -> AsyncIterator[httpx2.AsyncClient]:
    async with httpx2.AsyncClient(base_url=addresses.rest, trust_env=False) as client:
        yield client


async def test_ping_time_and_exchange_info_are_answered(http):
    ping = await http.get("/fapi/v1/ping")
    now = await http.get("/fapi/v1/time")
    info = await http.get("/fapi/v1/exchangeInfo")

    assert ping.json() == {}
    assert now.json() == {"serverTime": START_MS + 90_000}
    assert info.headers["X-MBX-USED-WEIGHT-1M"] == "3"
    symbols = {symbol["symbol"]: symbol for symbol in info.json()["symbols"]}
    assert symbols["BTCUSDT"]["quantityPrecision"] == 3
    assert symbols["BTCUSDT"]["pricePrecision"] == 2
    assert "币安人生USDT" in symbols


async def test_a_symbol_is_described_as_far_as_clients_read(http):
    info = (await http.get("/fapi/v1/exchangeInfo")).json()

    (bitcoin,) = [each for each in info["symbols"] if each["symbol"] == "BTCUSDT"]
    assert (bitcoin["marginAsset"], bitcoin["status"]) == ("USDT", "TRADING")
    filters = {each["filterType"]: each for each in bitcoin["filters"]}
    assert filters["PRICE_FILTER"]["tickSize"] == "0.10"
    assert filters["LOT_SIZE"]["minQty"] == filters["LOT_SIZE"]["stepSize"] == "0.001"
    assert not any("E" in str(value) for each in info["symbols"] for value in _texts(each))
    assert [asset["asset"] for asset in info["assets"]] == ["USDT"]


def _texts(value: Any) -> list[str]:
    """All numbers that are written as text."""
    if isinstance(value, dict):
        return [text for each in value.values() for text in _texts(each)]
    if isinstance(value, list):
        return [text for each in value for text in _texts(each)]
    return [value] if isinstance(value, str) and value[:1].isdigit() else []


async def test_tickers_agree_with_candles_and_the_mark(http, quiet_exchange, wall):
    one = {"symbol": "ETHUSDT"}
    day = (await http.get("/fapi/v1/ticker/24hr", params=one)).json()
    price = (await http.get("/fapi/v2/ticker/price", params=one)).json()
    premium = (await http.get("/fapi/v1/premiumIndex", params=one)).json()
    everything = [
        (await http.get(path)).json()
        for path in ("/fapi/v1/ticker/24hr", "/fapi/v1/ticker/price", "/fapi/v1/premiumIndex")
    ]
    minutes = (
        await http.get("/fapi/v1/klines", params={**one, "interval": "1m", "limit": 1440})
    ).json()

    assert day["lastPrice"] == price["price"] == minutes[-1][4]
    assert float(premium["markPrice"]) == pytest.approx(float(price["price"]), abs=0.01)
    assert day["openPrice"] == minutes[0][1]
    assert day["highPrice"] == max((row[2] for row in minutes), key=float)
    assert float(day["volume"]) == pytest.approx(sum(float(row[5]) for row in minutes))
    assert float(day["lowPrice"]) < float(day["weightedAvgPrice"]) < float(day["highPrice"])
    assert [len(each) for each in everything] == [8, 8, 8]


async def test_candles_of_a_contract_can_be_asked_for(http):
    query = {"interval": "1d", "limit": 3}
    path = "/fapi/v1/continuousKlines"
    pair = {"pair": "BTCUSDT", "contractType": "PERPETUAL"}

    told = await http.get(path, params={**query, **pair})
    usual = await http.get("/fapi/v1/klines", params={**query, "symbol": "BTCUSDT"})
    other = await http.get(path, params={**query, **pair, "contractType": "NEXT_QUARTER"})

    assert told.json() == usual.json()
    assert other.json()["code"] == -1130


async def test_klines_are_oldest_first_and_end_with_the_open_candle(http):
    answer = await http.get(
        "/fapi/v1/klines", params={"symbol": "BTCUSDT", "interval": "1m", "limit": 5}
    )

    candles = answer.json()
    assert [candle[0] for candle in candles] == [START_MS + 60_000 * n for n in range(-3, 2)]
    assert all(candle[6] == candle[0] + 59_999 for candle in candles)
    assert all(len(candle) == 12 and candle[11] == "0" for candle in candles)
    for _, open_, high, low, close, *_ in candles:
        assert float(low) <= min(float(open_), float(close))
        assert float(high) >= max(float(open_), float(close))
        assert len(open_.partition(".")[2]) == 2


async def test_klines_can_be_asked_for_by_time(http):
    query = {"symbol": "ETHUSDT", "interval": "5m"}
    five = START_MS - START_MS % 300_000

    onwards = await http.get(
        "/fapi/v1/klines", params={**query, "startTime": five - 3_000_000, "limit": 2}
    )
    between = await http.get(
        "/fapi/v1/klines",
        params={**query, "startTime": five - 899_999, "endTime": five - 1},
    )
    until = await http.get("/fapi/v1/klines", params={**query, "endTime": five - 1, "limit": 1})

    assert [row[0] for row in onwards.json()] == [five - 3_000_000, five - 2_700_000]
    assert [row[0] for row in between.json()] == [five - 600_000, five - 300_000]
    assert [row[0] for row in until.json()] == [five - 300_000]


@pytest.mark.parametrize(("limit", "weight"), [(99, 1), (100, 2), (500, 5), (1000, 5), (1500, 10)])
async def test_klines_weigh_by_their_number(http, limit, weight):
    answer = await http.get(
        "/fapi/v1/klines", params={"symbol": "BTCUSDT", "interval": "1m", "limit": limit}
    )

    assert len(answer.json()) == limit
    assert answer.headers["X-MBX-USED-WEIGHT-1M"] == str(weight)


async def test_open_interest_now_and_then(http, wall):
    now = await http.get("/fapi/v1/openInterest", params={"symbol": "BTCUSDT"})
    wall.now_ms = START_MS - START_MS % 300_000
    same = await http.get("/fapi/v1/openInterest", params={"symbol": "BTCUSDT"})
    past = await http.get(
        "/futures/data/openInterestHist",
        params={"symbol": "BTCUSDT", "period": "5m", "limit": 500},
    )

    assert now.json()["symbol"] == "BTCUSDT"
    assert 60_000 < float(now.json()["openInterest"]) < 130_000
    history = past.json()
    assert len(history) == 500
    assert [row["timestamp"] for row in history] == list(
        range(wall.now_ms - 499 * 300_000, wall.now_ms + 1, 300_000)
    )
    assert float(history[-1]["sumOpenInterest"]) == float(same.json()["openInterest"])
    value = float(history[-1]["sumOpenInterestValue"])
    assert value / float(history[-1]["sumOpenInterest"]) == pytest.approx(84_500, rel=0.1)


@pytest.mark.parametrize(
    ("path", "query", "code"),
    [
        ("/fapi/v1/klines", {"interval": "1m"}, -1102),
        ("/fapi/v1/klines", {"symbol": "NOBODY", "interval": "1m"}, -1121),
        ("/fapi/v1/klines", {"symbol": "BTCUSDT", "interval": "7m"}, -1120),
        ("/fapi/v1/klines", {"symbol": "BTCUSDT", "interval": "1m", "limit": "1501"}, -1130),
        ("/fapi/v1/klines", {"symbol": "BTCUSDT", "interval": "1m", "limit": "x"}, -1130),
        (
            "/fapi/v1/klines",
            {"symbol": "BTCUSDT", "interval": "1m", "startTime": "2", "endTime": "1"},
            -1023,
        ),
        ("/fapi/v1/openInterest", {"symbol": "btcusdt"}, -1121),
        ("/futures/data/openInterestHist", {"symbol": "BTCUSDT", "period": "1m"}, -1130),
        (
            "/futures/data/openInterestHist",
            {"symbol": "BTCUSDT", "period": "5m", "startTime": "1"},
            -1130,
        ),
    ],
)
async def test_bad_requests_get_the_error_bodies_of_the_exchange(http, path, query, code):
    answer = await http.get(path, params=query)

    assert answer.status_code == 400
    assert answer.json()["code"] == code


async def test_weight_runs_out_then_comes_the_ban_and_then_forgiveness(wall, nursery):
    exchange = Binance(7, wall, weight_limit=3)
    at = await nursery.start(exchange.serve)
    async with httpx2.AsyncClient(base_url=at.rest, trust_env=False) as http:
        answers = [await http.get("/fapi/v1/ping") for _ in range(9)]
        wall.now_ms += 119_000
        still = await http.get("/fapi/v1/ping")
        wall.now_ms += 1_000
        forgiven = await http.get("/fapi/v1/ping")

    assert [answer.status_code for answer in answers] == [200] * 3 + [429] * 5 + [418]
    assert answers[3].headers["Retry-After"] == "30"
    assert answers[8].headers["Retry-After"] == "120"
    assert f"IP banned until {START_MS + 90_000 + 120_000}." in answers[8].json()["msg"]
    assert still.status_code == 418
    assert forgiven.status_code == 200


async def test_history_of_open_interest_has_a_limit_of_its_own(quiet_exchange, http):
    for _ in range(1000):
        assert quiet_exchange.rest.weights.spend_history() is None

    answer = await http.get(
        "/futures/data/openInterestHist", params={"symbol": "BTCUSDT", "period": "5m"}
    )
    other = await http.get("/fapi/v1/ping")

    assert answer.status_code == 429
    assert 0 < int(answer.headers["Retry-After"]) <= 300
    assert other.status_code == 200


@pytest.mark.parametrize(
    ("status", "retry_after"),
    [(403, None), (408, None), (418, "60"), (429, "60"), (451, None), (503, None)],
)
async def test_calls_can_be_refused_at_will(quiet_exchange, http, status, retry_after):
    quiet_exchange.rest.refuse(status)
    refused = await http.get("/fapi/v1/ping")
    quiet_exchange.rest.refuse(None)
    answered = await http.get("/fapi/v1/ping")

    assert refused.status_code == status
    assert refused.headers.get("Retry-After") == retry_after
    assert ("html" in refused.headers["Content-Type"]) == (status == 403)
    assert answered.status_code == 200


async def test_calls_of_one_kind_can_be_refused(quiet_exchange, http):
    quiet_exchange.rest.refuse(503, only="openInterest")
    refused = await http.get("/fapi/v1/openInterest?symbol=BTCUSDT")
    past = await http.get("/futures/data/openInterestHist?symbol=BTCUSDT&period=5m")
    other = await http.get("/fapi/v1/klines?symbol=BTCUSDT&interval=5m&limit=1")
    quiet_exchange.rest.refuse(None, only="openInterest")
    answered = await http.get("/fapi/v1/openInterest?symbol=BTCUSDT")

    assert [one.status_code for one in (refused, past, other, answered)] == [503, 503, 200, 200]


async def test_the_past_of_liquidations_is_what_the_stream_told(autojump_clock):
    exchange = Binance(7, clock, ("BTCUSDT", "ETHUSDT"), rate=40)
    began_ms = clock() // 300_000 * 300_000 + 300_000
    async with trio.open_nursery() as nursery:
        nursery.start_soon(exchange.run)
        client = await dial(exchange, nursery, "/market/ws/btcusdt@forceOrder")
        heard = [event["o"] for event in await hear_for(client, 1800)]
        nursery.cancel_scope.cancel()
    transport = httpx2.ASGITransport(app=exchange.rest.app)
    async with httpx2.AsyncClient(transport=transport, base_url="http://exchange") as http:
        path = "/api/v1/liquidation-volume/BTCUSDT"
        query = {"start": began_ms, "end": began_ms + 1_200_000}
        minutes = (await http.get(f"{path}/1m", params=query)).json()
        fives = (await http.get(f"{path}/5m", params=query)).json()
        day = (await http.get(f"{path}/1m", params={"start": began_ms - 3 * 86_400_000})).json()
        wrong = [
            await http.get(f"{path}/7m"),
            await http.get("/api/v1/liquidation-volume/NOBODY/1m"),
        ]

    told: dict[str, Any] = {"BUY": 0, "SELL": 0}
    inside = [o for o in heard if began_ms <= o["T"] < began_ms + 1_200_000]
    for o in inside:
        told[o["S"]] += Decimal(o["z"]) * Decimal(o["ap"])
    for found in (minutes, fives):
        assert sum(bar["count"] for bar in found["data"]) == pytest.approx(len(inside), abs=2)
        for side in ("buy", "sell"):
            summed_up = sum(Decimal(bar[f"{side}_volume"]) for bar in found["data"])
            assert float(summed_up) == pytest.approx(float(told[side.upper()]), rel=0.3)
        assert found["gaps"] == []
        for bar in read(json.dumps(found).encode(), timeframe.parse(found["timeframe"])).bars:
            (part,) = bar.venues
            assert (part.venue, part.price_kind, part.coverage) == ("binance", "fill", "sampled")
            assert (part.buy, part.sell, part.count) == (bar.buy, bar.sell, bar.count)
    assert len(inside) > 20
    ((first, last),) = day["gaps"]
    assert first == began_ms - 3 * 86_400_000
    assert last <= day["data"][0]["timestamp_ms"]
    assert len(day["data"]) > 1500
    assert [each.status_code for each in wrong] == [400, 404]


# Real sockets, and the program


@pytest.mark.edge
async def test_it_plays_over_a_real_socket(quiet_exchange, addresses, nursery):
    port = int(addresses.websocket.rpartition(":")[2])
    # The library leaves its socket open when the other side cuts the connection.
    async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
        target = "/market/stream?streams=btcusdt@forceOrder"
        client = await wrap_client_stream(nursery, stream, "exchange", target)
        quiet_exchange.liquidate("BTCUSDT", "SELL", "84500.10", "0.057")
        message = await hear(client)
        quiet_exchange.drop_all()
        code, _ = await end_of(client)

    assert message["data"]["o"]["z"] == "0.057"
    assert code == 1006


@pytest.mark.parametrize("host", ["0.0.0.0", "192.168.1.4", "example.com", "::"])
async def test_it_refuses_to_be_reachable_by_others(quiet_exchange, host):
    with pytest.raises(ValueError, match="not a loopback address"):
        await quiet_exchange.serve(host=host)


def run_command(*arguments: str) -> Any:
    app = Typer()
    app.command()(simulate)
    return CliRunner().invoke(app, arguments, env={"COLUMNS": "200"})


def test_the_plugin_brings_one_command_whose_help_has_an_example():
    (app,) = flowd_simulator.flowd_commands()

    result = CliRunner().invoke(app, ["--help"], env={"COLUMNS": "200"})

    assert result.exit_code == 0
    assert "flowd simulate --rate 120 --drop-every 30s --garbage 0.01" in result.output


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--host", "0.0.0.0"], "not a loopback address"),
        (["--replay", "/nowhere/tape.jsonl"], "No such file"),
        (["--drop-every", "30"], "write 200ms, 30s, 3m or 24h"),
        (["--garbage", "2"], "a number from 0 to 1"),
    ],
)
def test_the_command_says_what_is_wrong_and_exits_with_2(arguments, says):
    result = run_command(*arguments)

    assert result.exit_code == 2
    assert says in " ".join(result.output.split())


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("200ms", 0.2), ("30s", 30), ("3m", 180), ("24h", 86400), ("1.5d", 129600)],
)
def test_durations_are_read_with_their_unit(text, seconds):
    assert duration(text) == pytest.approx(seconds)


@pytest.fixture
def start_program() -> Callable[..., subprocess.Popen[str]]:
    plugins = Path(flowd_simulator.__file__).parents[1]
    script = "import typer; from flowd_simulator.command import simulate; typer.run(simulate)"

    def start(*arguments: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-c", script, "--port", "0", "--rest-port", "0", *arguments],
            env={**os.environ, "PYTHONPATH": f"{plugins}{os.pathsep}{plugins.parent}"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    return start


def welcome(program: subprocess.Popen[str]) -> str:
    """What the program says once it plays."""
    told = program.stdout.readline()
    while "Ctrl+C" not in told.splitlines()[-1]:
        told += program.stdout.readline()
    return told


@pytest.mark.edge
def test_flowd_accepts_what_the_program_says_for_flowd_toml(start_program, tmp_path):
    with start_program() as program:
        told = welcome(program)
        program.terminate()
        program.communicate(timeout=20)
    lines, _, rest = told.partition("In flowd.toml:\n")[2].partition("\nand HYDROMANCER_API_KEY=")
    config = tmp_path / "flowd.toml"
    config.write_text(f'[flowd]\nstate = "{tmp_path}/state.db"\n{lines}')

    checked = subprocess.run(
        [sys.executable, "-m", "flowd.cli", "check", "-c", str(config)],
        env={**os.environ, "HYDROMANCER_API_KEY": rest.partition(" ")[0]},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert lines.count("127.0.0.1") == 13


@pytest.fixture
def certificate(tmp_path):
    """A certificate for loopback and its key, as files, and who trusts it."""
    authority = trustme.CA()
    issued = authority.issue_cert("127.0.0.1", "localhost")
    chain, key = tmp_path / "chain.pem", tmp_path / "key.pem"
    for pem in issued.cert_chain_pems:
        pem.write_to_path(chain, append=True)
    issued.private_key_pem.write_to_path(key)
    trust = ssl.create_default_context()
    authority.configure_trust(trust)
    return chain, key, trust


@pytest.mark.edge
async def test_it_plays_over_tls_with_a_certificate_of_ones_own(
    quiet_exchange, certificate, nursery
):
    chain, key, trust = certificate
    at = await nursery.start(partial(quiet_exchange.serve, tls=certified(chain, key)))
    assert at.market.startswith("wss://127.0.0.1:")

    async with httpx2.AsyncClient(base_url=at.rest, trust_env=False, verify=trust) as http:
        answer = await http.get("/fapi/v1/ping")
    target = f"{at.market}/ws/btcusdt@forceOrder"
    async with open_websocket_url(target, ssl_context=trust) as client:
        quiet_exchange.liquidate("BTCUSDT", "SELL", "84500.10", "0.057")
        event = await hear(client)

    assert answer.status_code == 200
    assert event["o"]["z"] == "0.057"


def test_a_key_that_fits_no_certificate_is_named(tmp_path, certificate):
    chain, *_ = certificate
    result = run_command("--tls", str(chain), str(tmp_path / "nowhere.pem"))

    assert result.exit_code == 2
    assert "nowhere.pem" in "".join(result.output.split())
    with pytest.raises(ValueError, match=r"chain\.pem"):
        certified(chain, chain)


@pytest.mark.edge
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_the_program_says_where_it_is_and_ends_cleanly_on_a_signal(start_program, how):
    with start_program() as program:
        told = welcome(program)
        program.send_signal(how)
        _, errors = program.communicate(timeout=20)

    assert "ws://127.0.0.1:" in told
    assert errors == ""
    assert program.returncode == 0


@pytest.mark.edge
def test_the_program_says_when_its_port_is_taken(start_program):
    with start_program() as first:
        line = first.stdout.readline()
        port = line.partition("ws://127.0.0.1:")[2].partition("/")[0]
        with start_program("--port", port) as second:
            _, errors = second.communicate(timeout=20)
        first.terminate()

    assert second.returncode == 2
    assert f"cannot start: port {port} of 127.0.0.1: Address already in use" in errors
    assert "--port" in errors


@pytest.mark.edge
def test_rest_is_at_the_port_behind_the_first_where_nobody_says():
    # Below those that the system gives away: nobody takes one by chance.
    port = 20_000 + os.getpid() % 10_000
    with socket.socket() as behind:
        behind.bind(("127.0.0.1", port + 1))
        script = "import typer; from flowd_simulator.command import simulate; typer.run(simulate)"
        said = subprocess.run(
            [sys.executable, "-c", script, "--port", str(port)],
            capture_output=True,
            text=True,
            timeout=20,
            check=False,
        )

    assert said.returncode == 2
    assert "cannot start" in said.stderr
    assert f"port {port + 1} of 127.0.0.1" in said.stderr
    assert "--rest-port" in said.stderr
