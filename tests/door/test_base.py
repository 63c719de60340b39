"""A path below which a proxy has the daemon: with it and without it, the same is answered."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import flowd_http
import flowd_sse
import flowd_websocket
import pytest
import trio
from attrs import frozen
from hypothesis import given
from hypothesis import strategies as st
from quart import Blueprint, redirect, request, url_for
from trio.testing import MockClock

from flowd import testing
from flowd.door.base import stripped
from flowd.door.head import BadHead, Head, Heads
from flowd.door.visit import Visit, Waiting
from flowd.plugin import Feed, Sink, Source, Streams, UserError
from flowd.setup import config
from flowd.setup.registry import Registry

SEGMENTS = st.text("abz09.-_~", min_size=1).filter(lambda text: text not in (".", ".."))
BASES = st.lists(SEGMENTS, min_size=1, max_size=3).map(
    lambda parts: "".join(f"/{p}" for p in parts)
)
WRONG = [
    *("flowd", "/flowd/", "/", "//flowd", "/a//b", "/a\tb", "/a?b", "/a#b", "/%41", "/..", "/a/."),
    *("http://h/flowd", "/ä", "/<b>", "/a;b", " /a"),
]


@frozen
class NoConfig:
    pass


@frozen
class Tick:
    price: int


async def two(settings: NoConfig, feed: Feed[Tick]) -> None:
    for price in (1, 2):
        feed.publish(Tick(price))
    await trio.sleep_forever()


def routes(settings: NoConfig, streams: Streams) -> Blueprint:
    blueprint = Blueprint("theirs", __name__)

    @blueprint.get("/theirs/there")
    async def there() -> dict[str, str]:
        return {"path": request.path, "root_path": request.root_path}

    @blueprint.get("/theirs/here")
    async def here() -> Any:
        return redirect(url_for("theirs.there"))

    @blueprint.post("/theirs")
    async def body() -> bytes:
        return bytes(await request.get_data())

    return blueprint


@asynccontextmanager
async def serving(base: str, more: str = "") -> AsyncGenerator[testing.Daemon, None]:
    theirs = SimpleNamespace(
        flowd_sources=lambda: [Source("two", two, NoConfig, record=Tick)],
        flowd_sinks=lambda: [Sink("theirs", NoConfig, routes=routes)],
    )
    kinds = testing.registry(theirs, flowd_http, flowd_sse, flowd_websocket)
    text = f'[flowd]\nbase_path = "{base}"\n{more}[sources.ticks]\nkind = "two"\n'
    text += "".join(f'[sinks.{kind}]\nkind = "{kind}"\n' for kind in ("theirs", "http"))
    async with testing.daemon(text, registry=kinds) as daemon:
        yield daemon


# -- what is stripped


@pytest.mark.parametrize(
    ("target", "rest"),
    [
        (b"/flowd/status", b"/status"),
        (b"/flowd/", b"/"),
        (b"/flowd", b"/"),
        (b"/flowd?after=1", b"/?after=1"),
        (b"/flowd/flowd/x", b"/flowd/x"),
        (b"/flowd//x", b"//x"),
        (b"/status", b"/status"),
        (b"/", b"/"),
        (b"/flowdy/x", b"/flowdy/x"),
        (b"/x/flowd/status", b"/x/flowd/status"),
        (b"/x?back=/flowd/status", b"/x?back=/flowd/status"),
        (b"*", b"*"),
    ],
)
def test_what_is_asked_for_is_found_without_the_base(target: bytes, rest: bytes) -> None:
    assert stripped(target, b"/flowd") == rest
    assert stripped(target, b"") == target


@given(BASES, st.text("abc/?&=%~.", max_size=20))
def test_with_the_base_and_without_it_a_head_is_the_same(base: str, rest: str) -> None:
    heads, bare = Heads(100_000, base), f"/Q{rest}"

    def read(target: str) -> Head | str:
        try:
            return heads.parse(f"GET {target} HTTP/1.1\r\nHost: h\r\n\r\n".encode())
        except BadHead as error:
            return str(error)

    assert read(base + bare) == read(bare)


async def test_a_head_that_is_put_back_is_not_stripped_again() -> None:
    ours, theirs = trio.socket.socketpair()
    with ours, theirs:
        visit = Visit(trio.SocketStream(ours), Heads(100_000, "/a"), Waiting())
        await theirs.send(2 * b"GET /a/a/x HTTP/1.1\r\nHost: h\r\n\r\n")
        found = await visit.next_head()
        assert found is not None
        visit.put_back(found)

        again, after = await visit.next_head(), await visit.next_head()

    assert again is found
    assert found.path == "/a/x"
    assert after == found


# -- what is answered


@pytest.mark.parametrize(
    "path",
    ["/health", "/streams", "/openapi.json", "/theirs/there", "/theirs/here", "/nowhere", "/"],
)
async def test_both_are_answered_alike(autojump_clock: MockClock, path: str) -> None:
    async with serving("/deep/flowd") as daemon:
        bare, based = await daemon.get(path), await daemon.get("/deep/flowd" + path)

    assert (bare.status, bare.body) == (based.status, based.body)
    assert bare.headers.get("location") == based.headers.get("location")


async def test_polls_are_answered_below_it(autojump_clock: MockClock) -> None:
    async with serving("/flowd") as daemon:
        answer = await daemon.get("/flowd/streams/ticks?limit=1")
        tag = {"If-None-Match": answer.headers["etag"]}
        again = await daemon.get("/streams/ticks?limit=1", tag)

    assert [record["value"] for record in answer.json()["records"]] == [{"price": 2}]
    assert again.status == 304


async def test_what_only_begins_like_it_is_not_below_it(autojump_clock: MockClock) -> None:
    async with serving("/flowd") as daemon:
        answers = [await daemon.get(path) for path in ("/flowdy/health", "/x/flowd/health")]

    assert [answer.status for answer in answers] == [404, 404]


async def test_a_plugin_writes_addresses_as_asgi_has_it(autojump_clock: MockClock) -> None:
    async with serving("/flowd") as daemon:
        there = await daemon.get("/theirs/there")
        here = await daemon.get("/theirs/here")
        body = await daemon.request("POST", "/flowd/theirs", body=b"whole")

    assert there.json() == {"path": "/theirs/there", "root_path": "/flowd"}
    assert (here.status, here.headers["location"]) == (302, "/flowd/theirs/there")
    assert body.body == b"whole"


async def test_openapi_and_the_index_say_where_it_is(autojump_clock: MockClock) -> None:
    async with serving("/flowd") as daemon:
        described = (await daemon.get("/openapi.json")).json()
        index = (await daemon.get("/flowd")).body.decode()
    async with serving("") as daemon:
        plain = (await daemon.get("/openapi.json")).json()
        plain_index = (await daemon.get("/")).body.decode()

    assert described["servers"] == [{"url": "/flowd"}]
    assert plain["servers"] == [{"url": "/"}]
    assert described["paths"] == plain["paths"]
    assert "GET   /flowd/health " in index
    assert "GET   /health " in plain_index


async def test_a_live_path_stays_below_it_and_says_so(autojump_clock: MockClock) -> None:
    text = '[sinks.websocket]\nkind = "websocket"\n'
    async with serving("/flowd", text) as daemon:
        refused = await daemon.get("/flowd/ws")
        upgrade = {"Upgrade": "websocket", "Connection": "upgrade"}
        elsewhere = await daemon.get("/flowd/none", upgrade)

    assert refused.status == 426
    assert "ws://HOST/flowd/ws" in refused.json()["error"]["allowed"]
    assert elsewhere.status == 404
    assert elsewhere.json()["error"]["allowed"] == ["/flowd/ws"]


# -- what may be one


@given(BASES)
def test_what_is_a_path_is_taken(base: str) -> None:
    text = f'[flowd]\nbase_path = "{base}"\n'

    assert config.parse(text, Registry()).settings.base_path == base


@pytest.mark.parametrize("wrong", WRONG)
def test_what_is_none_is_refused_with_an_example(wrong: str) -> None:
    with pytest.raises(UserError, match=r'(?s)base_path = .*expected a path such as "/flowd"'):
        config.parse(f'[flowd]\nbase_path = "{wrong}"\n', Registry())


@pytest.mark.parametrize(
    ("base", "who"),
    [
        ("/health", "flowd answers /health itself"),
        ("/streams", "flowd answers /streams itself"),
        ("/ws", "sinks.websocket answers /ws itself"),
        ("/theirs", "sinks.theirs answers /theirs/there itself"),
    ],
)
async def test_it_is_no_path_that_is_answered_itself(
    autojump_clock: MockClock, base: str, who: str
) -> None:
    with pytest.raises(UserError) as raised:
        async with serving(base, '[sinks.websocket]\nkind = "websocket"\n'):
            pass

    assert f'flowd.base_path = "{base}": {who}; choose another' in str(raised.value)
