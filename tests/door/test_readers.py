"""Streams that are read with a token: every way in asks for it, and none tells of it."""

import logging
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import flowd_http
import flowd_sse
import flowd_websocket
import pytest
import trio
from attrs import frozen
from quart import Blueprint
from trio.testing import MockClock, wait_all_tasks_blocked

from flowd import testing
from flowd.door.door import GUESSES_MAX
from flowd.door.head import parse_head
from flowd.door.readers import TICKET_S
from flowd.plugin import Feed, Hot, Sink, Source, StreamName, Streams, UserError
from flowd.setup.config import parse
from tests.door.test_door import Peers

TOKENS = {"READ_TOKEN": "for-all", "TICKS_TOKEN": "for-ticks", "ADMIN_TOKEN": "for-admins"}
ADMIN, ALL, TICKS, WRONG = ("for-admins", "for-all", "for-ticks", "guess")


@frozen
class Nothing:
    pass


@frozen
class Reads:
    input: StreamName


@frozen
class Tick:
    price: int


async def ticking(config: Nothing, feed: Feed[Tick]) -> None:
    feed.delivering()
    feed.publish(Tick(1), key="BTC")
    await trio.sleep_forever()


def hot(config: Reads) -> Hot:
    return Hot("/hot", lambda batch: b"[%d]" % len(batch.records), stream=config.input, others=True)


def routes(config: Reads, streams: Streams) -> Blueprint:
    """Some ways in which a page may come to what is in a stream."""
    blueprint, early = Blueprint("pages", __name__), streams[config.input]
    ways = {
        "page": lambda: None,
        "late": lambda: streams[config.input].record,
        "read": lambda: early.read(0),
        "get": lambda: early.get("BTC"),
        "cursor": early.cursor,
    }
    for path, way in ways.items():

        async def answer(way: Any = way) -> str:
            way()
            return "read"

        blueprint.add_url_rule(f"/{path}", path, answer)
    return blueprint


BRINGS = SimpleNamespace(
    flowd_sources=lambda: [Source("ticking", ticking, Nothing, Tick, tables={"last": Tick})],
    flowd_sinks=lambda: [Sink("pages", Reads, hot=hot, routes=routes)],
)
REGISTRY = testing.registry(BRINGS, flowd_http, flowd_sse, flowd_websocket)
BOTH = 'read_token = { env = "READ_TOKEN" }'
OWN = 'read_token = { env = "TICKS_TOKEN" }'


@asynccontextmanager
async def serving(
    for_all: str = BOTH, own: str = OWN, seed: int = 0
) -> AsyncGenerator[testing.Daemon, None]:
    config = f"""
        [flowd]
        admin_token = {{ env = "ADMIN_TOKEN" }}
        {for_all}
        [sources.ticks]
        kind = "ticking"
        {own}
        [sources.quotes]
        kind = "ticking"
        [sinks.http]
        kind = "http"
        [sinks.sse]
        kind = "sse"
        [sinks.websocket]
        kind = "websocket"
        [sinks.pages]
        kind = "pages"
        input = "ticks"
    """
    async with testing.daemon(config, registry=REGISTRY, seed=seed) as daemon:
        await wait_all_tasks_blocked()
        yield daemon


@pytest.fixture(autouse=True)
def tokens(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, token in TOKENS.items():
        monkeypatch.setenv(name, token)


def bearer(token: str) -> dict[str, str]:
    return {"authorization": f"Bearer {token}"} if token else {}


async def ticket(daemon: testing.Daemon, token: str) -> str:
    answer = await daemon.request("POST", "/tickets", bearer(token))
    assert answer.status == 200
    return str(answer.json()["ticket"])


def refused(daemon: testing.Daemon) -> Mapping[str, int]:
    return daemon.door.counts.refused


# -- who may read what


@pytest.mark.parametrize(
    ("token", "opens"),
    [
        ("", set()),
        (WRONG, set()),
        (TICKS, {"ticks", "ticks.last", "outages"}),
        (ALL, {"quotes", "quotes.last", "outages"}),
        (ADMIN, {"ticks", "ticks.last", "quotes", "quotes.last", "outages"}),
    ],
)
async def test_a_components_own_token_stands_in_for_the_one_for_all(
    token: str, opens: set[str], autojump_clock: MockClock
) -> None:
    names = ("ticks", "ticks.last", "quotes", "quotes.last", "outages")
    async with serving() as daemon:
        answers = {name: await daemon.get(f"/streams/{name}", bearer(token)) for name in names}

    assert {name for name, answer in answers.items() if answer.status == 200} == opens
    assert {answer.status for answer in answers.values()} <= {200, 401}


async def test_without_a_token_for_all_only_that_stream_is_locked(
    autojump_clock: MockClock,
) -> None:
    async with serving(for_all="") as daemon:
        found = {n: (await daemon.get(f"/streams/{n}")).status for n in ("ticks", "quotes")}

    assert found == {"ticks": 401, "quotes": 200}


async def test_a_token_that_is_not_there_opens_nothing(
    monkeypatch: pytest.MonkeyPatch, autojump_clock: MockClock
) -> None:
    monkeypatch.delenv("TICKS_TOKEN")
    async with serving() as daemon:
        found = [await daemon.get("/streams/ticks", bearer(t)) for t in ("", "None", ALL, ADMIN)]

    assert [answer.status for answer in found] == [401, 401, 401, 200]


async def test_without_tokens_all_may_read_and_there_are_no_tickets(
    autojump_clock: MockClock,
) -> None:
    async with serving("", "") as daemon:
        read = await daemon.get("/streams/ticks", bearer(WRONG))
        ticket = await daemon.request("POST", "/tickets", bearer(ADMIN))

    assert (read.status, ticket.status) == (200, 403)
    assert "flowd.read_token" in ticket.json()["error"]["message"]


def test_a_sink_has_no_stream_to_lock() -> None:
    sink = f'[sinks.http]\nkind = "http"\n{OWN}'

    with pytest.raises(UserError, match=r"sinks\.http\.read_token: a sink has no stream"):
        parse(sink, REGISTRY)


# -- every way in


PATHS = ["/streams/ticks", "/hot", "/sse/ticks", "/late", "/read", "/get", "/cursor"]


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("token", ["", WRONG, ALL])
async def test_who_may_not_read_is_told_how_one_may(
    path: str, token: str, autojump_clock: MockClock
) -> None:
    async with serving() as daemon:
        answer = await daemon.get(path, bearer(token))
        counted = refused(daemon)["UNAUTHORIZED"]

    error = answer.json()["error"]
    assert (answer.status, answer.headers["www-authenticate"]) == (401, "Bearer")
    assert error["code"] == "UNAUTHORIZED"
    assert error["message"].startswith("ticks ")
    assert "POST /tickets" in error["allowed"]
    assert counted == 1


@pytest.mark.parametrize("path", [path for path in PATHS if not path.startswith("/sse")])
@pytest.mark.parametrize("token", [TICKS, ADMIN])
async def test_who_may_read_reads_with_a_token_or_a_ticket(
    path: str, token: str, autojump_clock: MockClock
) -> None:
    async with serving() as daemon:
        by_token = await daemon.get(path, bearer(token))
        by_ticket = await daemon.get(f"{path}?ticket={await ticket(daemon, token)}")

    assert (by_token.status, by_ticket.status) == (200, 200)
    assert by_token.body == by_ticket.body


async def test_what_is_no_stream_stays_open(autojump_clock: MockClock) -> None:
    async with serving() as daemon:
        open_to_all = ("/health", "/status", "/metrics", "/streams", "/openapi.json", "/page")
        found = {path: (await daemon.get(path)).status for path in open_to_all}

    assert found == dict.fromkeys(open_to_all, 200)


async def test_an_answer_that_has_not_changed_is_not_told_to_strangers(
    autojump_clock: MockClock,
) -> None:
    async with serving() as daemon:
        known = await daemon.get("/streams/ticks", bearer(TICKS))
        etag = {"if-none-match": known.headers["etag"]}
        again = await daemon.get("/streams/ticks", {**bearer(TICKS), **etag})
        stranger = await daemon.get("/streams/ticks", etag)
        anything = await daemon.get("/streams/ticks", {"if-none-match": "*"})

    assert (again.status, stranger.status, anything.status) == (304, 401, 401)
    assert "etag" not in stranger.headers


async def test_a_websocket_is_told_for_each_stream(autojump_clock: MockClock) -> None:
    async with serving() as daemon:
        client = daemon.connect("/ws?streams=quotes", headers=bearer(ALL))
        client.say({"action": "subscribe", "streams": ["ticks"], "id": 7})
        await wait_all_tasks_blocked()
        heard = client.messages()

    error = next(message for message in heard if message["type"] == "error")
    assert [m["stream"] for m in heard if m["type"] == "records"] == ["quotes"]
    assert (error["code"], error["id"]) == ("UNAUTHORIZED", 7)
    assert error["message"].startswith("ticks ")
    assert "POST /tickets" in error["allowed"]


# -- tickets


async def test_a_ticket_ends_soon_and_who_follows_by_then_goes_on(
    autojump_clock: MockClock,
) -> None:
    async with serving() as daemon:
        answer = (await daemon.request("POST", "/tickets", bearer(TICKS))).json()
        ends_s = (answer["expires_ms"] - testing.clock()) / 1000
        client = daemon.connect("/ws", headers=bearer(answer["ticket"]))
        path = f"/streams/ticks?ticket={answer['ticket']}"

        await trio.sleep(ends_s - 0.001)
        before = await daemon.get(path)
        await trio.sleep(0.001)
        after = await daemon.get(path)
        client.say({"action": "subscribe", "streams": ["ticks"]})
        heard = client.messages()

    assert ends_s == TICKET_S
    assert (before.status, after.status) == (200, 401)
    assert [message["type"] for message in heard] == ["records"]


async def test_a_ticket_is_no_token(autojump_clock: MockClock) -> None:
    async with serving() as daemon:
        found = await ticket(daemon, ADMIN)
        renewed = await daemon.request("POST", f"/tickets?ticket={found}")
        admin = await daemon.request("POST", f"/components/ticks/reconnect?ticket={found}")

    assert (renewed.status, admin.status) == (401, 401)


async def test_nobody_else_can_make_a_ticket(autojump_clock: MockClock) -> None:
    async with serving() as daemon:
        found = await ticket(daemon, TICKS)
        number, expires_ms, signature = found.split(".")
        forged = [
            f"{int(number) + 1}.{expires_ms}.{signature}",
            f"{number}.{int(expires_ms) + 1}.{signature}",
            f"{number}.{expires_ms}.{'0' * len(signature)}",
            "%0d%0aX:%20y",
            "",
        ]
        statuses = [(await daemon.get(f"/streams/ticks?ticket={f}")).status for f in forged]
    async with serving(seed=1) as another:
        kept = await another.get(f"/streams/ticks?ticket={found}")

    assert statuses == [401] * len(forged)
    assert kept.status == 401, "each start has a key of its own"


KEY = 'ticket_key = { env = "TICKET_KEY" }'


async def test_daemons_with_one_key_take_each_other_s_tickets(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TICKET_KEY", "k" * 32)
    async with serving(f"{BOTH}\n{KEY}") as daemon:
        found = await ticket(daemon, TICKS)
        beyond = "999" + found[found.index(".") :]
    async with serving(f"{BOTH}\n{KEY}", seed=1) as another:
        kept = await another.get(f"/streams/ticks?ticket={found}")
        others = await another.get(f"/streams/quotes?ticket={found}")
        forged = await another.get(f"/streams/ticks?ticket={beyond}")
    monkeypatch.setenv("TICKS_TOKEN", "another one than there")
    async with serving(f"{BOTH}\n{KEY}", seed=2) as another:
        of_another = await another.get(f"/streams/ticks?ticket={found}")
    monkeypatch.setenv("TICKET_KEY", "j" * 32)
    monkeypatch.setenv("TICKS_TOKEN", TICKS)
    async with serving(f"{BOTH}\n{KEY}", seed=3) as another:
        by_another = await another.get(f"/streams/ticks?ticket={found}")

    assert kept.status == 200
    assert (others.status, forged.status, of_another.status, by_another.status) == (401,) * 4


def test_a_key_that_can_be_guessed_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TICKET_KEY", "sesame")

    with pytest.raises(UserError, match="ticket_key: expected at least 32") as told:
        parse(f"[flowd]\n{KEY}", REGISTRY)

    assert "sesame" not in str(told.value)


async def test_a_ticket_is_not_among_the_parameters_and_in_no_log(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    async with serving() as daemon:
        found = await ticket(daemon, TICKS)
        path = f"/streams/ticks?limit=1&t%69cket={found}&key=BTC"
        head = parse_head(f"GET {path} HTTP/1.1\r\nHost: x\r\nauthorization: a\r\n\r\n".encode())
        unveiled = daemon.readers.unveil(head)
        status = (await daemon.get("/status")).body.decode()

    assert unveiled.raw == (
        b"GET /streams/ticks?limit=1&key=BTC HTTP/1.1\r\n"
        b"Authorization: Bearer " + found.encode() + b"\r\nHost: x\r\n\r\n"
    )
    assert unveiled == parse_head(unveiled.raw)
    for secret in (found, *TOKENS.values()):
        assert secret not in status
        assert secret not in caplog.text


async def test_a_connection_that_was_lent_is_asked_for_each_request(
    autojump_clock: MockClock,
) -> None:
    async with serving() as daemon, trio.open_nursery() as nursery:
        found = await ticket(daemon, TICKS)
        peer = await Peers(daemon, nursery)()
        answers = []
        for path in ("/page", f"/read?ticket={found}", "/read", "/read?ticket=x", "/page"):
            await peer.send_all(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            await wait_all_tasks_blocked()
            answers.append(bytes(await peer.receive_some(65536)).split(b" ")[1])
        nursery.cancel_scope.cancel()

    assert answers == [b"200", b"200", b"401", b"401", b"200"]


# -- guesses


@pytest.mark.parametrize("path", ["/streams/ticks", "/sse/ticks", "/read", "/ws", "/tickets"])
async def test_who_guesses_is_told_to_wait(path: str, autojump_clock: MockClock) -> None:
    method = "POST" if path == "/tickets" else "GET"
    socket = {"upgrade": "websocket", "connection": "upgrade"} if path == "/ws" else {}
    async with serving() as daemon:
        asked = range(GUESSES_MAX + 1)
        guess = {**bearer(WRONG), **socket}
        told = [(await daemon.request(method, path, guess)).status for _ in asked]
        without = await daemon.get("/streams/ticks")

    assert told == [401] * GUESSES_MAX + [429]
    assert without.status == 401


async def test_what_is_too_old_or_for_another_stream_is_no_guess(
    autojump_clock: MockClock,
) -> None:
    async with serving() as daemon:
        old = await ticket(daemon, TICKS)
        await trio.sleep(TICKET_S)
        for _ in range(GUESSES_MAX):
            await daemon.get(f"/streams/ticks?ticket={old}")
            await daemon.get("/streams/ticks", bearer(ALL))

        answer = await daemon.get("/streams/ticks", bearer(TICKS))

    assert answer.status == 200


async def test_a_page_of_another_site_may_send_a_token(autojump_clock: MockClock) -> None:
    async with serving() as daemon:
        asked = [await daemon.request("OPTIONS", path) for path in ("/streams/ticks", "/read")]

    for answer in asked:
        assert answer.status == 200
        assert "Authorization" in answer.headers["access-control-allow-headers"]
