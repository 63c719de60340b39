"""Alert lines through the door of a daemon: set, changed and removed by admins, seen by all."""

import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from decimal import Decimal
from types import SimpleNamespace
from typing import Any

import flowd_alerts
import flowd_http
import pytest
import trio
from attrs import frozen

from flowd import testing
from flowd.market import Trade
from flowd.plugin import Feed, Source
from flowd.setup import config, wiring
from flowd.values.errors import UserError

PATH = "/api/v1/alert-lines"
ADMIN = {"Authorization": "Bearer sesame"}
LINE = {"symbol": "BTCUSDT", "price": "101"}
CONFIG = """
[flowd]
admin_token = { env = "ADMIN_TOKEN" }
[sources.prices]
kind = "prices"
[transforms.alert-lines]
kind = "alert-lines"
input = "prices"
most = 30
[sinks.alert-lines-api]
kind = "alert-lines-http"
[sinks.http]
kind = "http"
"""


@frozen
class NoConfig:
    pass


async def prices(config: NoConfig, feed: Feed[Trade]) -> None:
    feed.delivering()
    await trio.sleep_forever()


SOURCES = SimpleNamespace(
    flowd_sources=lambda: [Source("prices", prices, NoConfig, record=Trade)],
)
KINDS = testing.registry(flowd_alerts, flowd_http, SOURCES)


@pytest.fixture(autouse=True)
def token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ADMIN_TOKEN", "sesame")


@asynccontextmanager
async def serving(
    text: str = CONFIG, first: str | None = "100", **more: Any
) -> AsyncGenerator[testing.Daemon, None]:
    """A daemon that knows a price of BTCUSDT."""
    async with testing.daemon(text, registry=KINDS, **more) as daemon:
        if first is not None:
            await at(daemon, first)
        yield daemon


async def at(daemon: testing.Daemon, price: str) -> None:
    """The price is there, and was looked at."""
    value = Decimal(price)
    time_ms = testing.clock()
    one = Trade("BTCUSDT", "BUY", value, Decimal(1), value, time_ms, f"{time_ms}/{price}", "test")
    daemon.streams["prices"].append(one)
    await trio.sleep(1)


async def send(
    daemon: testing.Daemon, method: str, path: str, body: Any = None, **headers: str
) -> testing.Answer:
    raw = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
    return await daemon.request(method, path, headers or ADMIN, raw)


async def lines(daemon: testing.Daemon, query: str = "") -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = (await daemon.get(PATH + query)).json()["lines"]
    return found


async def alerts(daemon: testing.Daemon) -> list[dict[str, Any]]:
    told = (await daemon.get("/streams/alert-lines")).json()
    return [record["value"] for record in told["records"]]


async def test_a_line_that_an_admin_sets_is_seen_by_all_and_told_of(autojump_clock: Any) -> None:
    async with serving() as daemon:
        answer = await send(daemon, "POST", PATH, LINE)
        seen = await lines(daemon)
        await at(daemon, "102")
        told = await alerts(daemon)
        reached = await lines(daemon)

    assert answer.status == 201
    line = answer.json()["line"]
    assert seen == [line]
    assert (line["price"], line["side"], line["state"]) == ("101", "below", "watched")
    assert [(one["line"], one["price"], one["value"]) for one in told] == [
        (line["id"], "101", "102")
    ]
    assert (reached[0]["state"], reached[0]["fired"]) == ("reached", 1)


async def test_a_line_is_changed_and_removed(autojump_clock: Any) -> None:
    async with serving() as daemon:
        id = (await send(daemon, "POST", PATH, LINE)).json()["line"]["id"]
        moved = await send(daemon, "PUT", f"{PATH}/{id}", {"price": "105.5", "text": "exit"})
        seen = await lines(daemon)
        removed = await send(daemon, "DELETE", f"{PATH}/{id}")
        gone = await lines(daemon)
        again = await send(daemon, "DELETE", f"{PATH}/{id}")

    assert (moved.status, removed.status, again.status) == (200, 200, 404)
    assert [(one["id"], one["price"], one["text"]) for one in seen] == [(id, "105.5", "exit")]
    assert removed.json()["line"]["removed"] is True
    assert gone == []
    assert again.json()["error"]["code"] == "UNKNOWN_LINE"


async def test_others_see_it_move_in_the_stream(autojump_clock: Any) -> None:
    async with serving() as daemon:
        id = (await send(daemon, "POST", PATH, LINE)).json()["line"]["id"]
        table = (await daemon.get("/streams/alert-lines.lines")).json()
        await send(daemon, "PUT", f"{PATH}/{id}", {"price": "103"})
        news = await daemon.get(f"/streams/alert-lines.lines?after={table['position']}")

    (record,) = news.json()["records"]
    assert (record["key"], record["value"]["price"]) == (id, "103")


async def test_lines_are_found_by_symbol_and_an_unchanged_list_is_a_304(
    autojump_clock: Any,
) -> None:
    async with serving() as daemon:
        await send(daemon, "POST", PATH, LINE)
        first = await daemon.get(PATH)
        again = await daemon.get(PATH, headers={"If-None-Match": first.headers["etag"]})
        others = await lines(daemon, "?symbol=ETHUSDT")

    assert (first.json()["count"], again.status, others) == (1, 304, [])


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
async def test_only_an_admin_changes_lines(method: str, autojump_clock: Any) -> None:
    path = PATH if method == "POST" else f"{PATH}/1"
    async with serving() as daemon:
        nobody = await send(daemon, method, path, LINE, Accept="*/*")
        wrong = await send(daemon, method, path, LINE, Authorization="Bearer guess")
        left = await lines(daemon)
    async with serving(CONFIG.replace("admin_token", "# admin_token")) as daemon:
        without = await send(daemon, method, path, LINE)

    assert (nobody.status, wrong.status, without.status) == (401, 401, 403)
    assert left == []


async def test_the_admin_sets_lines_where_all_reading_needs_a_token(
    autojump_clock: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("READ", "reader")
    locked = CONFIG.replace("[flowd]", '[flowd]\nread_token = { env = "READ" }')
    async with serving(locked) as daemon:
        answer = await send(daemon, "POST", PATH, LINE)
        nobody = await daemon.get(PATH)
        reader = await daemon.get(PATH, headers={"Authorization": "Bearer reader"})

    assert (answer.status, nobody.status, reader.status) == (201, 401, 200)


@pytest.mark.parametrize(
    ("body", "parameter"),
    [
        (b"", "body"),
        (b"[]", "body"),
        (b"[" * 3000, "body"),
        (b"\xff\xfe", "body"),
        (b'"' + b"x" * 5000 + b'"', "body"),
        ({}, "symbol"),
        ({"symbol": "BTCUSDT"}, "price"),
        ({**LINE, "colour": "red"}, "colour"),
        ({**LINE, "symbol": ""}, "symbol"),
        ({**LINE, "symbol": "B" * 41}, "symbol"),
        ({**LINE, "symbol": "BTC\nUSDT"}, "symbol"),
        ({**LINE, "symbol": 5}, "symbol"),
        *(
            ({**LINE, "price": price}, "price")
            for price in ("0", "-1", "NaN", "Infinity", "1e9", "", "1" * 16, "0." + "1" * 13, 101)
        ),
        ({**LINE, "price": None}, "price"),
        ({**LINE, "direction": "sideways"}, "direction"),
        ({**LINE, "repeat": "yes"}, "repeat"),
        ({**LINE, "hysteresis": "0.6"}, "hysteresis"),
        ({**LINE, "hysteresis": 0.1}, "hysteresis"),
        ({**LINE, "text": "x" * 41}, "text"),
        ({**LINE, "text": "a\x00b"}, "text"),
        ({**LINE, "text": '"' * 40, "symbol": "\\" * 40}, "text"),
        ({**LINE, "input": "nope"}, "input"),
        ({**LINE, "symbol": "NOSUCH"}, "symbol"),
    ],
)
async def test_what_cannot_be_a_line_is_refused_with_what_can(
    body: Any, parameter: str, autojump_clock: Any
) -> None:
    async with serving() as daemon:
        answer = await send(daemon, "POST", PATH, body)
        left = await lines(daemon)
        status = (await daemon.get("/health")).status

    error = answer.json()["error"]
    assert answer.status in (400, 413)
    assert (error["parameter"], bool(error["allowed"])) == (parameter, True)
    assert (left, status) == ([], 200)


@pytest.mark.parametrize("body", [{}, {"symbol": "ETHUSDT"}, {"price": "0"}, {"set_ms": 1}])
async def test_what_a_line_cannot_become_leaves_it_as_it_is(body: Any, autojump_clock: Any) -> None:
    async with serving() as daemon:
        line = (await send(daemon, "POST", PATH, LINE)).json()["line"]
        answer = await send(daemon, "PUT", f"{PATH}/{line['id']}", body)
        left = await lines(daemon)

    assert (answer.status, left) == (400, [line])


async def test_a_hundred_lines_at_once_are_as_many_as_there_may_be(autojump_clock: Any) -> None:
    answers: list[testing.Answer] = []

    async def add(daemon: testing.Daemon, price: int) -> None:
        answers.append(await send(daemon, "POST", PATH, {**LINE, "price": str(price)}))

    async with serving() as daemon:
        async with trio.open_nursery() as nursery:
            for price in range(101, 201):
                nursery.start_soon(add, daemon, price)
        kept = await lines(daemon)

    assert sorted(answer.status for answer in answers) == [201] * 20 + [409] * 80
    assert len(kept) == 20
    refused = next(answer for answer in answers if answer.status == 409).json()["error"]
    assert (refused["code"], refused["allowed"]) == ("TOO_MANY_LINES", "removing one first")


async def test_two_who_move_one_line_at_once_are_both_answered(autojump_clock: Any) -> None:
    statuses: list[int] = []

    async def move(daemon: testing.Daemon, id: str, price: str) -> None:
        statuses.append((await send(daemon, "PUT", f"{PATH}/{id}", {"price": price})).status)

    async with serving() as daemon:
        id = (await send(daemon, "POST", PATH, LINE)).json()["line"]["id"]
        async with trio.open_nursery() as nursery:
            for price in ("103", "104"):
                nursery.start_soon(move, daemon, id, price)
        (line,) = await lines(daemon)

    assert statuses == [200, 200]
    assert line["price"] in ("103", "104")


async def test_while_nobody_keeps_lines_whoever_sets_one_is_told_so(autojump_clock: Any) -> None:
    async with serving() as daemon:
        daemon.supervisor.finish("alert-lines")
        await daemon.supervisor.end(["alert-lines"], 1)
        answer = await send(daemon, "POST", PATH, LINE)

    assert answer.status == 503
    assert "GET /health/alert-lines" in answer.json()["error"]["allowed"]


# -- restarts --


async def test_lines_and_prices_outlive_a_clean_stop(autojump_clock: Any) -> None:
    store = testing.MemoryStore()
    async with serving(store=store) as daemon:
        line = (await send(daemon, "POST", PATH, LINE)).json()["line"]

    async with serving(store=store, first=None) as daemon:
        kept = await lines(daemon)
        await at(daemon, "102")
        (alert,) = await alerts(daemon)

    assert kept == [line]
    assert (alert["line"], alert["before"]) == (line["id"], "100")


async def test_a_line_that_was_answered_for_outlives_a_crash_before_the_next_save(
    autojump_clock: Any,
) -> None:
    store = testing.MemoryStore()
    slow = CONFIG.replace("[flowd]", '[flowd]\nsave_every = "1h"')
    async with serving(slow, store=store, crash=True) as daemon:
        saves = store.saves
        line = (await send(daemon, "POST", PATH, LINE)).json()["line"]
        assert store.saves == saves

    async with serving(slow, store=store, first=None) as daemon:
        kept = await lines(daemon)
        await at(daemon, "102")
        told = await alerts(daemon)

    assert kept == [line]
    assert [one["before"] for one in told] == ["100"]


async def test_what_was_told_before_a_crash_is_not_told_again_after_it(
    autojump_clock: Any,
) -> None:
    store = testing.MemoryStore()
    async with serving(store=store, crash=True) as daemon:
        await send(daemon, "POST", PATH, {**LINE, "repeat": True, "direction": "up"})
        await at(daemon, "102")
        before = await alerts(daemon)

    async with serving(store=store, first=None) as daemon:
        await at(daemon, "100.95")
        await at(daemon, "101.05")
        after = await alerts(daemon)
        await at(daemon, "90")
        await at(daemon, "101")
        at_last = await alerts(daemon)

    assert (len(before), after) == (1, before)
    assert [one["fired"] for one in at_last] == [1, 2]


async def test_a_crossing_while_the_daemon_was_off_is_told_as_such(
    autojump_clock: trio.testing.MockClock,
) -> None:
    store = testing.MemoryStore()
    async with serving(store=store) as daemon:
        await send(daemon, "POST", PATH, LINE)
    await trio.sleep(360)

    async with serving(store=store, first=None) as daemon:
        await at(daemon, "102")
        (alert,) = await alerts(daemon)

    assert alert["blind"] is True
    assert "while no price was known" in alert["text"]
    assert alert["time_ms"] - alert["from_ms"] >= 360_000


# -- the configuration --


@pytest.mark.parametrize(
    ("line", "instead", "words"),
    [
        ('input = "prices"', 'input = "price"', 'Did you mean "prices"'),
        ('input = "prices"', 'inputs = ["outages"]', "reads Candle or Trade or Fill"),
        ('kind = "alert-lines-http"', 'kind = "alert-lines-http"\ninput = "prices"', "LineAlert"),
    ],
)
def test_a_stream_that_does_not_fit_is_refused_before_anything_starts(
    line: str, instead: str, words: str
) -> None:
    assert line in CONFIG

    with pytest.raises(UserError, match=words):
        wiring.plan(config.parse(CONFIG.replace(line, instead), KINDS))


async def test_the_description_says_what_needs_the_admin_token(autojump_clock: Any) -> None:
    async with serving() as daemon:
        paths = (await daemon.get("/openapi.json")).json()["paths"]

    asked = {
        (path, method): operation["security"]
        for path, methods in paths.items()
        for method, operation in methods.items()
        if "security" in operation
    }
    assert set(asked) == {
        ("/components/{name}/reconnect", "post"),
        (PATH, "post"),
        (PATH + "/{id}", "put"),
        (PATH + "/{id}", "delete"),
    }
    assert all(scheme == [{"admin": []}] for scheme in asked.values())
    assert {"401", "403"} <= set(paths[PATH]["post"]["responses"])
