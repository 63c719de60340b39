"""The sink `http`: snapshots and polls, asked for through the real door."""

import json
from typing import Any

import flowd_http
import pytest
from trio.testing import MockClock

from tests.plugins.served import Order, Price, batch, serving

BTC, ETH = Order("BTCUSDT"), Order("ETHUSDT", "SELL")


def test_a_batch_is_one_object_with_records_oldest_first() -> None:
    body = json.loads(flowd_http.render(batch(BTC, ETH)))

    assert body["stream"] == "orders"
    assert body["position"] == "test.2"
    assert [record["seq"] for record in body["records"]] == [1, 2]
    assert body["records"][1]["value"] == {"symbol": "ETHUSDT", "side": "SELL", "price": "1.50"}
    assert (body["gap"], body["reset"]) == (None, False)


def test_what_fell_off_is_a_gap() -> None:
    body = json.loads(flowd_http.render(batch(BTC, BTC, BTC, BTC, after=1, retain=1)))

    assert body["gap"] == {"first": 2, "last": 3}
    assert [record["seq"] for record in body["records"]] == [4]


def test_nothing_new_is_an_empty_list_at_the_same_position() -> None:
    body = json.loads(flowd_http.render(batch(BTC, after=1)))

    assert body["records"] == []
    assert body["position"] == "test.1"


async def test_a_poll_gets_what_is_retained(autojump_clock: MockClock) -> None:
    async with serving(flowd_http, "http") as daemon:
        for _ in range(7):
            daemon.streams["orders"].append(BTC)

        answer = await daemon.get("/streams/orders")

    assert answer.status == 200
    assert answer.headers["content-type"] == "application/json"
    assert [record["seq"] for record in answer.json()["records"]] == [3, 4, 5, 6, 7]
    assert answer.json()["gap"] is None


async def test_an_unchanged_poll_is_a_304(autojump_clock: MockClock) -> None:
    async with serving(flowd_http, "http") as daemon:
        daemon.streams["orders"].append(BTC)
        first = await daemon.get("/streams/orders")
        tag = {"If-None-Match": first.headers["etag"]}

        unchanged = await daemon.get("/streams/orders", tag)
        daemon.streams["orders"].append(ETH)
        changed = await daemon.get("/streams/orders", tag)

    assert (unchanged.status, unchanged.body) == (304, b"")
    assert changed.status == 200
    assert len(changed.json()["records"]) == 2


async def test_after_asks_for_what_is_newer_and_names_what_is_gone(
    autojump_clock: MockClock,
) -> None:
    async with serving(flowd_http, "http") as daemon:
        orders = daemon.streams["orders"]
        orders.append(BTC)
        position = (await daemon.get("/streams/orders")).json()["position"]
        for _ in range(8):
            orders.append(ETH)

        body = (await daemon.get(f"/streams/orders?after={position}")).json()

    assert body["gap"] == {"first": 2, "last": 4}
    assert [record["seq"] for record in body["records"]] == [5, 6, 7, 8, 9]
    assert not body["reset"]


async def test_a_position_of_another_life_is_a_reset(autojump_clock: MockClock) -> None:
    async with serving(flowd_http, "http") as daemon:
        daemon.streams["orders"].append(BTC)

        body = (await daemon.get("/streams/orders?after=0ld.77")).json()

    assert body["reset"]
    assert [record["seq"] for record in body["records"]] == [1]


async def test_filter_and_limit_choose_the_newest_that_match(autojump_clock: MockClock) -> None:
    async with serving(flowd_http, "http") as daemon:
        for value in (BTC, BTC, ETH, BTC, ETH):
            daemon.streams["orders"].append(value)

        body = (await daemon.get("/streams/orders?symbol=BTCUSDT&limit=2")).json()

    assert [record["seq"] for record in body["records"]] == [2, 4]
    assert body["position"].endswith(".5")


@pytest.mark.parametrize(
    ("target", "status", "parameter", "allowed"),
    [
        ("/streams/nope", 404, "stream", "orders"),
        ("/streams/orders?limit=-1", 400, "limit", "0 to"),
        ("/streams/orders?limit=ten", 400, "limit", "0 to"),
        ("/streams/orders?after=yesterday", 400, "after", "a position"),
        ("/streams/orders?side=HOLD", 400, "side", "BUY"),
        ("/streams/orders?min_price=cheap", 400, "min_price", "decimal number"),
        ("/streams/orders?colour=red", 400, "colour", "symbol"),
        ("/streams/orders?symbol=A&symbol=B", 400, "symbol", "commas"),
        ("/streams/prices?symbol=BTCUSDT", 400, "symbol", "pair"),
    ],
)
async def test_a_wrong_question_is_told_what_is_wrong_and_what_would_be_right(
    target: str, status: int, parameter: str, allowed: Any, autojump_clock: MockClock
) -> None:
    async with serving(flowd_http, "http") as daemon:
        answer = await daemon.get(target)

    error = answer.json()["error"]
    assert answer.status == status
    assert error["parameter"] == parameter
    assert allowed in str(error["allowed"])
    assert error["message"]


async def test_all_streams_have_the_same_path(autojump_clock: MockClock) -> None:
    async with serving(flowd_http, "http") as daemon:
        daemon.streams["prices"].append(Price("BTC"), key="BTC")

        body = (await daemon.get("/streams/prices?open=true")).json()

    assert body["records"][0]["key"] == "BTC"
