"""What the door lets in, and what it says to whom it does not."""

import socket
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any, cast

import pytest
import trio
import trio.testing
from attrs import frozen
from quart import Blueprint, request
from trio.testing import MockClock, wait_all_tasks_blocked

from flowd import testing
from flowd.door.door import GUESSES_MAX
from flowd.door.room import COMING_S, CONNECTIONS_SPARE
from flowd.plugin import Desk, Feed, Hot, Sink, Source, Streams
from flowd.values.settings import Secret

SPARE = CONNECTIONS_SPARE
GET = b"GET /streams HTTP/1.1\r\nHost: localhost\r\n\r\n"


@frozen
class Config:
    pass


@frozen
class Tick:
    price: int


async def idle(config: Config, feed: Feed[Tick]) -> None:
    await trio.sleep_forever()


def hot(config: Config) -> Hot:
    return Hot("/hot/ticks", lambda batch: b"[]", stream="ticks", others=True)


def routes(config: Config, streams: Streams, desk: Desk) -> Blueprint:
    blueprint = Blueprint("act", __name__)

    @blueprint.post("/hot/ticks")
    async def act() -> str:
        desk.check_admin(request.headers.get("Authorization", ""))
        return "done"

    return blueprint


@asynccontextmanager
async def serving(settings: str = "") -> AsyncGenerator[testing.Daemon, None]:
    kinds = SimpleNamespace(
        flowd_sources=lambda: [Source("idle", idle, Config, record=Tick)],
        flowd_sinks=lambda: [Sink("act", Config, hot=hot, routes=routes)],
    )
    config = f"""
        [flowd]
        {settings}
        [sources.ticks]
        kind = "idle"
        [sinks.act]
        kind = "act"
    """
    async with testing.daemon(config, registry=testing.registry(kinds)) as daemon:
        yield daemon


Pipe = trio.StapledStream[Any, Any]


class Peers:
    """Connections to the door, from the addresses that the test says."""

    def __init__(self, daemon: testing.Daemon, nursery: trio.Nursery) -> None:
        self._daemon = daemon
        self._nursery = nursery

    async def __call__(self, said: bytes = b"", address: str = "127.0.0.1") -> Pipe:
        ours, theirs = trio.testing.memory_stream_pair()
        cast(Any, theirs).socket = SimpleNamespace(
            family=socket.AF_INET,
            getpeername=lambda: (address, 1),
            getsockname=lambda: ("127.0.0.1", 4200),
        )
        self._nursery.start_soon(self._daemon.door._connection, theirs)
        if said:
            await ours.send_all(said)
        await wait_all_tasks_blocked()
        return ours


@asynccontextmanager
async def peers(settings: str = "") -> AsyncGenerator[tuple[testing.Daemon, Peers], None]:
    async with serving(settings) as daemon, trio.open_nursery() as nursery:
        yield daemon, Peers(daemon, nursery)
        nursery.cancel_scope.cancel()


async def status(peer: Pipe) -> int:
    """Of the next answer; 0 where there is none."""
    answer = bytes(await peer.receive_some(65536))
    return int(answer.split(b" ")[1]) if answer else 0


# -- room


async def test_who_waits_longest_between_requests_makes_room_and_nobody_is_reset(
    autojump_clock: MockClock,
) -> None:
    async with peers("max_clients = 1") as (daemon, connect):
        idle = [await connect(GET) for _ in range(SPARE + 1)]
        answered = {await status(peer) for peer in idle}

        newest = await connect(GET)
        told = await status(newest)
        gone = await status(idle[0])
        with trio.move_on_after(1) as waited:
            await status(idle[1])

    assert answered == {200}
    assert (told, gone) == (200, 0)
    assert waited.cancelled_caught
    assert daemon.door.room.made == 1


async def test_where_nobody_can_make_room_the_answer_says_so(autojump_clock: MockClock) -> None:
    async with peers("max_clients = 1") as (daemon, connect):
        for _ in range(SPARE + 1):
            await connect(b"GET /health HT")
        refused = await connect(GET)
        answer = bytes(await refused.receive_some(65536))
        await trio.sleep(COMING_S + 1)
        later = await status(await connect(GET))

    assert answer.startswith(b"HTTP/1.1 503 ")
    assert b"\r\nRetry-After: " in answer
    assert b"TOO_MANY_CONNECTIONS" in answer
    assert later == 200
    assert daemon.door.counts.refused["connections"] == 1


async def test_an_address_has_only_so_many_connections(autojump_clock: MockClock) -> None:
    async with peers("max_connections_per_address = 3") as (daemon, connect):
        for _ in range(3):
            await connect(b"GET ", "192.0.2.1")
        here = await status(await connect(GET, "192.0.2.1"))
        there = await status(await connect(GET, "192.0.2.2"))

    assert here == 503
    assert there == 200
    assert daemon.door.counts.refused["connections"] == 1


async def test_a_trusted_proxy_has_as_many_as_it_likes(autojump_clock: MockClock) -> None:
    settings = 'max_connections_per_address = 3\ntrusted_proxies = ["192.0.2.1"]'
    async with peers(settings) as (daemon, connect):
        for _ in range(10):
            await connect(b"GET ", "192.0.2.1")

        assert daemon.door.room.open == 10


# -- how often


async def test_an_address_asks_only_so_often(autojump_clock: MockClock) -> None:
    async with peers("max_requests_per_second = 2") as (_daemon, connect):
        peer = await connect(GET * 11)
        text = b""
        while text.count(b"HTTP/1.1 ") < 11:
            text += await peer.receive_some(65536)
        await trio.sleep(1)
        await peer.send_all(GET)
        again = await status(peer)

    assert text.count(b"HTTP/1.1 429 ") == 1
    assert b"Retry-After" in text
    assert again == 200


async def test_who_tries_many_wrong_tokens_is_not_listened_to_for_a_while(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOKEN", "right")
    async with serving('admin_token = { env = "TOKEN" }') as daemon:

        async def tries(token: str) -> int:
            headers = {"Authorization": f"Bearer {token}"}
            return (await daemon.request("POST", "/hot/ticks", headers)).status

        assert await tries("right") == 200
        wrong = [await tries("wrong") for _ in range(GUESSES_MAX + 1)]
        meanwhile = await tries("right")
        await trio.sleep(60)
        later = await tries("right")

    assert wrong == [401] * GUESSES_MAX + [429]
    assert (meanwhile, later) == (429, 200)
    assert repr(Secret("x", "right")) == "***"


# -- who may ask for what


async def test_what_changes_something_is_answered_under_our_names_alone(
    autojump_clock: MockClock,
) -> None:
    async with serving() as daemon:
        ours = await daemon.request("POST", "/hot/ticks")
        theirs = await daemon.request("POST", "/hot/ticks", {"Host": "evil.example"})
        page = await daemon.request("POST", "/hot/ticks", {"Origin": "https://evil.example"})
        reads = await daemon.get("/hot/ticks", {"Origin": "https://evil.example"})

    assert ours.json()["error"]["code"] == "FORBIDDEN"
    assert theirs.json()["error"]["code"] == "FORBIDDEN_HOST"
    assert "flowd.allow_hosts" in theirs.json()["error"]["allowed"]
    assert page.json()["error"]["code"] == "FORBIDDEN_ORIGIN"
    assert "flowd.allow_origins" in page.json()["error"]["allowed"]
    assert (reads.status, reads.headers["access-control-allow-origin"]) == (200, "*")


async def test_a_lent_connection_is_looked_at_again_for_what_changes_something(
    autojump_clock: MockClock,
) -> None:
    post = b"POST /hot/ticks HTTP/1.1\r\nHost: evil.example\r\n\r\n"
    async with peers() as (_daemon, connect):
        peer = await connect(GET)
        await peer.receive_some(65536)
        await peer.send_all(post)
        answer = bytes(await peer.receive_some(65536))

    assert b"FORBIDDEN_HOST" in answer


async def test_a_path_says_all_its_methods(autojump_clock: MockClock) -> None:
    async with serving() as daemon:
        answer = await daemon.request("OPTIONS", "/hot/ticks")

    assert {"GET", "HEAD", "POST"} <= set(answer.headers["allow"].split(", "))


@pytest.mark.parametrize("path", ["//health", "/health//orders", "//evil.example/health"])
async def test_two_slashes_are_no_redirect_to_the_client_s_own_host(
    autojump_clock: MockClock, path: str
) -> None:
    async with serving() as daemon:
        answer = await daemon.get(path, {"Host": "evil.example"})

    assert not 300 <= answer.status < 400
    assert "location" not in answer.headers
