"""The sink `http-feed`: two feeds in their documented shape, asked for through the real door."""

import gzip
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from decimal import Decimal
from types import SimpleNamespace
from typing import Any

import flowd_feed
import pytest
import trio
from attrs import frozen
from flowd_feed import shapes
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import MockClock

from flowd import testing
from flowd.market import Fill, Total
from flowd.plugin import Delivery, Feed, Source, UserError

CONFIG = """
[flowd]
admin_token = {{ env = "FEED_TEST_TOKEN" }}

[sources.fills]
kind = "by-hand"
retain = {retain}

[sinks.feed]
kind = "http-feed"
path = "/api/{path}"
input = "fills"
items = "{items}"
"""
PATH = "/api/all-fills"
ADMIN = {"Authorization": "Bearer sesame"}


@frozen
class NoConfig:
    pass


async def by_hand(config: NoConfig, feed: Feed[Fill]) -> None:
    await trio.sleep_forever()


BY_HAND = SimpleNamespace(
    flowd_sources=lambda: [
        Source("by-hand", by_hand, NoConfig, record=Fill, tables={"totals": Total})
    ]
)


def fill(tid: int = 1, **changed: Any) -> Fill:
    fields: dict[str, Any] = {
        "symbol": "ETH",
        "side": "BUY",
        "price": Decimal("2150.50"),
        "quantity": Decimal("1.5"),
        "notional": Decimal("3225.750"),
        "time_ms": 1_700_000_000_000 + tid,
        "id": f"h:{tid}",
        "address": "0x742d35cc6634c0532925a3b844bc9e7595f7f2e2",
        "dir": "Close Short",
        "pnl": Decimal("-125.50"),
        "fee": Decimal("0.0000000594"),
        "fee_token": "USDC",
        "taker": True,
        "hash": "0xabc",
    }
    return Fill(**{**fields, **changed})


@asynccontextmanager
async def serving(
    *fills: Fill, items: str = "fills", retain: int = 5000
) -> AsyncIterator[testing.Daemon]:
    config = CONFIG.format(items=items, path=PATH.rpartition("/")[2], retain=retain)
    registry = testing.registry(BY_HAND, flowd_feed)
    async with testing.daemon(config, registry=registry) as daemon:
        for one in fills:
            daemon.streams["fills"].append(one)
        yield daemon


def deliver(daemon: testing.Daemon, *, connected: bool = True) -> None:
    """The upstream is there, and said something just now."""
    tally = daemon.feeds["fills"].tally
    tally.open, tally.delivering = int(connected), connected
    tally.last_frame_ms = tally.last_record_ms = daemon.machine.clock()


@pytest.fixture(autouse=True)
def token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FEED_TEST_TOKEN", "sesame")


# -- rows


def test_a_row_has_the_documented_fields_and_exact_numbers() -> None:
    text = shapes.row(fill(), liquidations=False)

    assert json.loads(text, parse_float=str) == {
        "id": "h:1",
        "address": "0x742d35cc6634c0532925a3b844bc9e7595f7f2e2",
        "coin": "ETH",
        "price": "2150.50",
        "size": "1.5",
        "side": "B",
        "time": 1_700_000_000_001,
        "value": "3225.750",
        "fee": "0.0000000594",
        "pnl": "-125.50",
        "dir": "Close Short",
        "hash": "0xabc",
        "isLong": False,
    }


@pytest.mark.parametrize(
    ("dir", "is_long"),
    [("Open Long", True), ("Close Long", True), ("Short > Long", True), ("Sell", False)],
)
def test_is_long_is_a_label_and_no_direction(dir: str, is_long: bool) -> None:
    assert json.loads(shapes.row(fill(dir=dir), liquidations=False))["isLong"] is is_long


def test_a_row_of_a_liquidation_says_who_and_how() -> None:
    forced = fill(
        side="SELL",
        role="liquidated",
        liquidated_user="0x742d",
        method="market",
        mark_price=Decimal("2150.00"),
    )

    found = json.loads(shapes.row(forced, liquidations=True), parse_float=str)

    assert found["side"] == "A"
    assert found["role"] == "liquidated"
    assert found["liquidated_user"] == "0x742d"
    assert found["method"] == "market"
    assert found["mark_price"] == "2150.00"
    assert "isLong" not in found


@given(st.text(), st.text(), st.text())
def test_whatever_upstream_says_stays_a_string(coin: str, dir: str, hash: str) -> None:
    found = json.loads(shapes.row(fill(symbol=coin, dir=dir, hash=hash), liquidations=False))

    assert (found["coin"], found["dir"], found["hash"]) == (coin, dir, hash)


def test_rows_are_made_once_and_forgotten_in_time() -> None:
    rows = shapes.Rows(liquidations=False)
    stream = testing.stream("fills", [fill(tid) for tid in range(2 * shapes.ROWS_MAX + 1)])

    made = [rows.of(record) for record in stream.after(0)]
    again = [rows.of(record) for record in stream.after(0)]

    assert all(one is other for one, other in zip(made[1:], again[1:], strict=False))
    for tid in range(20_000, 35_000):
        stream.append(fill(tid))
        rows.of(stream.after(stream.seq - 1)[0])
    assert len(rows) <= 2 * shapes.ROWS_MAX


# -- polls


async def test_a_poll_gets_the_newest_rows_first(autojump_clock: MockClock) -> None:
    async with serving(fill(1), fill(2), fill(3)) as daemon:
        answer = await daemon.get(PATH)

    body = answer.json()
    assert [row["id"] for row in body["fills"]] == ["h:3", "h:2", "h:1"]
    assert body["totalFills"] == 3
    assert (body["gap"], body["reset"]) == (None, False)


async def test_a_feed_of_liquidations_calls_them_so(autojump_clock: MockClock) -> None:
    async with serving(fill(1, role="liquidated"), items="liquidations") as daemon:
        body = (await daemon.get(PATH)).json()

    assert [row["role"] for row in body["liquidations"]] == ["liquidated"]
    assert body["totalLiquidations"] == 1


async def test_limit_is_how_many_of_the_newest(autojump_clock: MockClock) -> None:
    async with serving(fill(1), fill(2), fill(3)) as daemon:
        body = (await daemon.get(f"{PATH}?limit=2")).json()

    assert [row["id"] for row in body["fills"]] == ["h:3", "h:2"]
    assert body["totalFills"] == 3


@pytest.mark.parametrize("limit", ["0", "5001", "-1", "all"])
async def test_a_limit_that_cannot_be_is_refused(limit: str, autojump_clock: MockClock) -> None:
    async with serving(fill()) as daemon:
        answer = await daemon.get(f"{PATH}?limit={limit}")

    assert answer.status == 400
    assert answer.json()["error"]["parameter"] == "limit"
    assert answer.json()["error"]["allowed"].startswith("1 to 5000")


async def test_no_more_than_5000_rows_are_sent(autojump_clock: MockClock) -> None:
    async with serving(*(fill(tid) for tid in range(5100)), retain=6000) as daemon:
        body = (await daemon.get(PATH)).json()

    assert len(body["fills"]) == body["totalFills"] == 5000


async def test_what_is_newer_than_a_position(autojump_clock: MockClock) -> None:
    async with serving(fill(1)) as daemon:
        position = (await daemon.get(PATH)).json()["position"]
        daemon.streams["fills"].append(fill(2))

        body = (await daemon.get(f"{PATH}?after={position}")).json()

    assert [row["id"] for row in body["fills"]] == ["h:2"]


async def test_what_fell_off_before_it_was_asked_for_is_a_gap(autojump_clock: MockClock) -> None:
    async with serving(fill(1), retain=2) as daemon:
        position = (await daemon.get(PATH)).json()["position"]
        for tid in range(2, 6):
            daemon.streams["fills"].append(fill(tid))

        body = (await daemon.get(f"{PATH}?after={position}")).json()

    assert body["gap"] == {"first": 2, "last": 3}
    assert [row["id"] for row in body["fills"]] == ["h:5", "h:4"]


async def test_a_position_of_another_life_is_reset(autojump_clock: MockClock) -> None:
    async with serving(fill(1)) as daemon:
        body = (await daemon.get(f"{PATH}?after=other.7")).json()

    assert body["reset"] is True
    assert len(body["fills"]) == 1


async def test_an_unchanged_feed_is_a_304(autojump_clock: MockClock) -> None:
    async with serving(fill(1)) as daemon:
        tag = {"If-None-Match": (await daemon.get(PATH)).headers["etag"]}

        unchanged = await daemon.get(PATH, tag)
        daemon.streams["fills"].append(fill(2))
        changed = await daemon.get(PATH, tag)

    assert (unchanged.status, changed.status) == (304, 200)


async def test_an_upstream_that_was_lost_is_news_too(autojump_clock: MockClock) -> None:
    async with serving(fill(1)) as daemon:
        deliver(daemon)
        live = await daemon.get(PATH)
        deliver(daemon, connected=False)

        lost = await daemon.get(PATH, {"If-None-Match": live.headers["etag"]})

    assert live.json()["isConnected"] is True
    assert lost.status == 200
    assert lost.json()["isConnected"] is False


async def test_how_long_ago_is_never_from_a_cache(autojump_clock: MockClock) -> None:
    async with serving(fill(1)) as daemon:
        deliver(daemon)
        first = (await daemon.get(PATH)).json()
        await trio.sleep(7)

        second = (await daemon.get(PATH)).json()

    assert second["lastMessageAgo"] - first["lastMessageAgo"] == 7000
    assert second["lastEventAgo"] - first["lastEventAgo"] == 7000
    assert second["timestamp"] - first["timestamp"] == 7000


async def test_gzip_is_one_stream_with_the_newest_tail(autojump_clock: MockClock) -> None:
    async with serving(*(fill(tid) for tid in range(60))) as daemon:
        deliver(daemon)
        packed = await daemon.get(PATH, {"Accept-Encoding": "gzip"})
        await trio.sleep(3)
        later = await daemon.get(PATH, {"Accept-Encoding": "gzip"})

    assert packed.headers["content-encoding"] == "gzip"
    assert len(packed.body) < 5000
    assert len(json.loads(gzip.decompress(packed.body))["fills"]) == 60
    assert json.loads(gzip.decompress(later.body))["lastMessageAgo"] == 3000


async def test_stats_are_the_running_totals(autojump_clock: MockClock) -> None:
    async with serving(fill(1)) as daemon:
        empty = (await daemon.get(PATH)).json()["stats"]
        total = Total(Decimal("577432.59"), 308, since_ms=1)
        daemon.streams["fills.totals"].append(total, key="total")
        daemon.streams["fills"].append(fill(2))

        stats = (await daemon.get(PATH)).json()["stats"]

    assert empty == {"totalVol": 0, "tradeCount": 0}
    assert stats == {"totalVol": 577432.59, "tradeCount": 308}


async def test_filters_of_the_stream_work_here_too(autojump_clock: MockClock) -> None:
    async with serving(fill(1), fill(2, symbol="BTC")) as daemon:
        body = (await daemon.get(f"{PATH}?symbol=BTC")).json()

    assert [row["coin"] for row in body["fills"]] == ["BTC"]


async def test_a_wrong_parameter_is_named(autojump_clock: MockClock) -> None:
    async with serving() as daemon:
        answer = await daemon.get(f"{PATH}?colour=red")

    assert answer.status == 400
    assert answer.json()["error"]["parameter"] == "colour"


async def test_head_has_no_body(autojump_clock: MockClock) -> None:
    async with serving(fill(1)) as daemon:
        head, whole = await daemon.request("HEAD", PATH), await daemon.get(PATH)
        health = await daemon.request("HEAD", f"{PATH}?health=true")

    assert head.body == health.body == b""
    assert head.headers["etag"] == whole.headers["etag"]
    assert head.headers["content-length"] == str(len(whole.body))


# -- health


async def test_health_says_how_the_feed_stands_and_no_rows(autojump_clock: MockClock) -> None:
    async with serving(fill(1)) as daemon:
        deliver(daemon)
        answer = await daemon.get(f"{PATH}?health=true")

    now_ms = daemon.machine.clock()
    assert answer.json() == {
        "healthy": True,
        "isConnected": True,
        "isConnecting": False,
        "wsState": 1,
        "lastMessageAgo": 0,
        "lastEventAgo": 0,
        "totalFills": 1,
        "timestamp": now_ms,
    }


@pytest.mark.parametrize(
    ("delivery", "state", "healthy"),
    [
        (Delivery(delivering=True, connected=True, last_frame_ms=40_001), 1, True),
        (Delivery(delivering=True, connected=True, last_frame_ms=40_000), 1, False),
        (Delivery(delivering=False, connected=True, last_frame_ms=99_999), 1, False),
        (Delivery(connecting=True), 0, False),
        (Delivery(), 3, False),
    ],
)
def test_a_feed_is_healthy_if_it_delivers_and_its_upstream_is_heard_of(
    delivery: Delivery, state: int, healthy: bool
) -> None:
    told = shapes.State("fills", 100_000, delivery, 0, None).health()

    assert (told["wsState"], told["healthy"]) == (state, healthy)


# -- admin


async def test_an_admin_may_reconnect(autojump_clock: MockClock) -> None:
    async with serving() as daemon:
        runs = daemon.supervisor.children["fills"].restarts
        answer = await daemon.request("POST", PATH, ADMIN, b'{"action": "reconnect"}')
        await trio.sleep(1)

        assert answer.status == 200
        assert answer.json() == {"success": True, "message": "Reconnection initiated"}
        assert daemon.supervisor.children["fills"].restarts > runs


async def test_an_admin_may_ask_how_it_stands(autojump_clock: MockClock) -> None:
    async with serving() as daemon:
        answer = await daemon.request("POST", PATH, ADMIN, b'{"action": "status"}')

    assert (answer.status, answer.json()["wsState"]) == (200, 0)


@pytest.mark.parametrize("body", [b'{"action": "dance"}', b"[]", b"not json", b'{"action": 3}'])
async def test_any_other_action_is_invalid(body: bytes, autojump_clock: MockClock) -> None:
    async with serving() as daemon:
        answer = await daemon.request("POST", PATH, ADMIN, body)

    assert (answer.status, answer.json()) == (400, {"error": "Invalid action"})


@pytest.mark.parametrize("headers", [{}, {"Authorization": "Bearer guess"}])
async def test_nobody_else_may(headers: dict[str, str], autojump_clock: MockClock) -> None:
    async with serving() as daemon:
        answer = await daemon.request("POST", PATH, headers, b'{"action": "reconnect"}')

    assert answer.status == 401


async def test_other_methods_are_not_for_a_feed(autojump_clock: MockClock) -> None:
    async with serving() as daemon:
        answer = await daemon.request("DELETE", PATH)

    assert answer.status == 405


# -- configuration


@pytest.mark.parametrize(
    ("line", "mistake"),
    [
        ('path = "api"', "expected a fixed path"),
        ('path = "/api/{stream}"', "expected a fixed path"),
        ('items = "trades"', "expected one of fills, liquidations"),
        ('input = "fillz"', 'Did you mean "fills"?'),
    ],
)
async def test_a_mistake_in_the_configuration_is_named(line: str, mistake: str) -> None:
    config = CONFIG.format(items="fills", path="all-fills", retain=5)
    key = line.partition(" ")[0]
    lines = [line if one.startswith(f"{key} ") else one for one in config.splitlines()]

    with pytest.raises(UserError) as caught:
        async with testing.daemon("\n".join(lines), registry=testing.registry(BY_HAND, flowd_feed)):
            pass

    assert mistake in str(caught.value)
