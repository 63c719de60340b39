"""The relay, between two daemons in memory: the edge's requests go through the door of the ingest
daemon, or to a service that is as bad as it gets.
"""

from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import flowd_relay
import httpx2
import pytest
import trio
from attrs import frozen
from flowd_relay import Config
from flowd_relay.asking import Asker, Target, Told
from quart import Blueprint, Response, request
from trio.testing import wait_all_tasks_blocked

from flowd import testing
from flowd.door.desk import Desk
from flowd.plugin import Sink, Streams, UserError, codec
from flowd.setup.config import parse
from flowd.testing.rest import SILENT, Reply, turns
from flowd.upstream.http import Services

RELAY = """
[sinks.ranges]
kind = "relay"
url = "http://ingest.example:4200"
paths = ["/streams/{name}/history", "/ranges/*"]
"""


@frozen
class NoConfig:
    pass


class Ranges:
    """A sink of the ingest daemon: what it was asked, and answers with an ETag."""

    def __init__(self) -> None:
        self.asked: list[dict[str, str]] = []
        self.paths: list[str] = []
        self.version = 1
        self.done: list[tuple[str, str, bytes]] = []

    def routes(self, config: NoConfig, streams: Streams) -> Blueprint:
        blueprint = Blueprint("ranges-at-the-ingest", __name__)

        @blueprint.get("/ranges/<path:below>")
        async def ranges(below: str) -> Response:
            """A range."""
            self.asked.append(dict(request.headers.items()))
            self.paths.append(request.full_path.rstrip("?"))
            if request.headers.get("Authorization") == "Bearer wrong":
                return Response(b'{"error":{}}', 401, content_type="application/json")
            etag = f'"v{self.version}"'
            if request.headers.get("If-None-Match") == etag:
                return Response(b"", 304, {"ETag": etag})
            body = codec.encode({"of": below, "version": self.version})
            return Response(body, 200, {"ETag": etag}, content_type="application/json")

        @blueprint.route("/lines", methods=["POST"])
        @blueprint.route("/lines/<id>", methods=["PUT", "DELETE"])
        async def lines(id: str = "new") -> Response:
            """What is done."""
            self.asked.append(dict(request.headers.items()))
            body = bytes(await request.get_data())
            if request.headers.get("Authorization") != "Bearer right":
                return Response(b'{"error":{}}', 401, content_type="application/json")
            self.done.append((request.method, id, body))
            return Response(b'{"line":1}', 201, {"Set-Cookie": "a=b", "Cache-Control": "no-store"})

        return blueprint


class ThroughTheDoor(httpx2.AsyncBaseTransport):
    """What is asked of a daemon in memory."""

    def __init__(self, ingest: testing.Daemon) -> None:
        self.ingest = ingest

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        sent = {"host", "accept-encoding", "connection"}
        headers = {k: v for k, v in request.headers.items() if k.lower() not in sent}
        body = request.read() or None
        headers.pop("content-length", None)
        path = request.url.raw_path.decode()
        answer = await self.ingest.request(request.method, path, headers=headers, body=body)
        return httpx2.Response(
            answer.status, headers=dict(answer.headers), stream=_Once(answer.body)
        )


class _Once(httpx2.AsyncByteStream):
    def __init__(self, body: bytes) -> None:
        self._body = body

    async def __aiter__(self) -> Any:
        yield self._body


@asynccontextmanager
async def relaying(
    rest: Any = None, config: str = RELAY
) -> AsyncGenerator[tuple[testing.Daemon, Ranges], None]:
    """An edge, and what its ingest daemon answers it; or a service that answers as `rest` says."""
    there = Ranges()
    plugin = SimpleNamespace(flowd_sinks=lambda: [Sink("ranges", NoConfig, routes=there.routes)])
    ingest_has = testing.registry(plugin)
    edge_has = testing.registry(flowd_relay)
    async with testing.daemon('[sinks.r]\nkind = "ranges"\n', registry=ingest_has) as ingest:
        transport = ThroughTheDoor(ingest) if rest is None else rest
        async with testing.daemon(config, registry=edge_has, rest=transport) as edge:
            yield edge, there


def figures(edge: testing.Daemon) -> dict[str, Any]:
    return dict(edge.running["ranges"].tally.figures)


async def test_what_the_ingest_answers_is_the_answer() -> None:
    async with relaying() as (edge, there):
        answer = await edge.get("/ranges/BTCUSDT/1m?start=1&end=2%2B3")

        assert (answer.status, answer.json()) == (200, {"of": "BTCUSDT/1m", "version": 1})
        assert answer.headers["content-type"] == "application/json"
        assert there.paths == ["/ranges/BTCUSDT/1m?start=1&end=2%2B3"]


async def test_a_path_with_signs_arrives_as_it_was_sent() -> None:
    async with relaying() as (edge, _):
        answer = await edge.get("/ranges/k:é ?x=%26")

        assert answer.json()["of"] == "k:é "


async def test_other_paths_are_not_relayed() -> None:
    async with relaying() as (edge, there):
        statuses = [
            (await edge.get(path)).status
            for path in ("/rangesx/a", "/other", "/streams/a/b/history", "/ranges/../status")
        ]

        assert statuses == [404, 404, 404, 404]
        assert there.asked == []


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
async def test_only_reading_is_relayed(method: str) -> None:
    async with relaying() as (edge, there):
        answer = await edge.request(method, "/ranges/a", body=b"{}")

        assert (answer.status, there.asked) == (405, [])


WRITES = RELAY + 'writes = ["/lines", "/lines/{id}"]\nwrite_max = "1KiB"\n'
RIGHT = {"Authorization": "Bearer right", "Content-Type": "application/json", "Cookie": "t=1"}


@pytest.mark.parametrize(
    ("method", "path", "done"),
    [
        ("POST", "/lines", ("POST", "new", b'{"price":"1"}')),
        ("PUT", "/lines/a", ("PUT", "a", b'{"price":"1"}')),
        ("DELETE", "/lines/a", ("DELETE", "a", b"")),
    ],
)
async def test_what_is_to_be_done_is_done_there_by_the_rights_of_who_wants_it(
    method: str, path: str, done: tuple[str, str, bytes]
) -> None:
    async with relaying(config=WRITES) as (edge, there):
        body = done[2] or None
        refused = await edge.request(
            method, path, headers={"Authorization": "Bearer wrong"}, body=body
        )
        answer = await edge.request(method, path, headers=RIGHT, body=body)

        assert (refused.status, answer.status, answer.json()) == (401, 201, {"line": 1})
        assert there.done == [done]
        assert "set-cookie" not in answer.headers
        assert answer.headers["cache-control"] == "no-store"
        last = there.asked[-1]
        assert "Cookie" not in last
        assert (last["Via"], last["X-Forwarded-For"]) == ("1.1 flowd-relay", "127.0.0.1")
        assert body is None or last["Content-Type"] == "application/json"


async def test_what_is_done_is_done_once_for_each_who_wants_it(nursery: trio.Nursery) -> None:
    gate = Gate()
    async with relaying(gate, WRITES + "at_once = 2\nwaiting = 3\n") as (edge, _):
        statuses: list[int] = []

        async def post() -> None:
            answer = await edge.request("POST", "/lines", headers=RIGHT, body=b"{}")
            statuses.append(answer.status)

        for _ in range(6):
            nursery.start_soon(post)
        await wait_all_tasks_blocked()
        assert (gate.requests, statuses) == (2, [503])
        gate.open.set()
        await wait_all_tasks_blocked()

        assert sorted(statuses) == [200] * 5 + [503]
        assert gate.requests == 5


async def test_without_an_answer_it_is_not_sent_again_and_said_that_it_may_be_done() -> None:
    rest = testing.rest({"/lines": turns(OSError("Connection reset"), {"line": 1})})
    async with relaying(rest, WRITES) as (edge, _):
        answer = await edge.request("POST", "/lines", headers=RIGHT, body=b"{}")

        assert (answer.status, answer.json()["error"]["code"]) == (503, "UNAVAILABLE")
        assert "may have done this" in answer.json()["error"]["message"]
        assert len(rest.requests) == 1


async def test_a_body_that_is_too_large_goes_nowhere() -> None:
    async with relaying(config=WRITES) as (edge, there):
        answer = await edge.request("POST", "/lines", headers=RIGHT, body=b"x" * 1025)

        assert (answer.status, answer.json()["error"]["code"]) == (413, "BAD_PARAMETER")
        assert there.asked == []


async def test_what_is_done_goes_in_no_circle() -> None:
    async with relaying(config=WRITES) as (edge, there):
        headers = {**RIGHT, "Via": "1.1 flowd-relay"}
        answer = await edge.request("POST", "/lines", headers=headers, body=b"{}")

        assert (answer.status, there.asked) == (508, [])


async def test_what_this_daemon_answers_itself_is_not_relayed() -> None:
    config = RELAY.replace('"/ranges/*"', '"/streams"')

    with pytest.raises(UserError, match="GET /streams is flowd's own"):
        async with relaying(config=config):
            pass


async def test_an_answer_that_did_not_change_is_not_sent_again() -> None:
    async with relaying() as (edge, there):
        first = await edge.get("/ranges/a")
        second = await edge.get("/ranges/a")
        there.version = 2
        third = await edge.get("/ranges/a")

        assert [a.json()["version"] for a in (first, second, third)] == [1, 1, 2]
        assert [asked.get("If-None-Match") for asked in there.asked] == [None, '"v1"', '"v1"']
        assert figures(edge)["unchanged"] == 1


async def test_a_client_who_has_it_is_told_that_nothing_changed() -> None:
    async with relaying() as (edge, there):
        first = await edge.get("/ranges/a")
        second = await edge.get("/ranges/a", {"If-None-Match": first.headers["etag"]})
        there.version = 2
        third = await edge.get("/ranges/a", {"If-None-Match": first.headers["etag"]})

        assert (second.status, second.body) == (304, b"")
        assert (third.status, third.json()["version"]) == (200, 2)


async def test_who_asks_with_a_token_is_answered_by_its_rights() -> None:
    async with relaying() as (edge, there):
        allowed = await edge.get("/ranges/a", {"Authorization": "Bearer right"})
        refused = await edge.get("/ranges/a", {"Authorization": "Bearer wrong"})

        assert (allowed.status, refused.status) == (200, 401)
        assert [asked["Authorization"] for asked in there.asked] == ["Bearer right", "Bearer wrong"]


async def test_the_ingest_is_told_who_asks() -> None:
    async with relaying() as (edge, there):
        await edge.get("/ranges/a")
        await edge.get("/ranges/b", {"X-Forwarded-For": "203.0.113.7"})

        assert there.asked[0]["X-Forwarded-For"] == "127.0.0.1"
        assert there.asked[1]["X-Forwarded-For"] == "203.0.113.7, 127.0.0.1"


async def test_two_daemons_that_ask_each_other_end_it() -> None:
    async with relaying() as (edge, _):
        answer = await edge.get("/ranges/a", {"Via": "1.1 flowd-relay"})

        assert (answer.status, answer.json()["error"]["code"]) == (508, "RELAY_LOOP")


async def asked_by(count: int, edge: testing.Daemon, path: Callable[[int], str]) -> list[int]:
    statuses: list[int] = []

    async def one(number: int) -> None:
        statuses.append((await edge.get(path(number))).status)

    async with trio.open_nursery() as nursery:
        for number in range(count):
            nursery.start_soon(one, number)
    return sorted(statuses)


class Gate(httpx2.AsyncBaseTransport):
    """A service that answers once it is opened."""

    def __init__(self) -> None:
        self.requests = 0
        self.open = trio.Event()

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        self.requests += 1
        await self.open.wait()
        return httpx2.Response(200, stream=_Once(b"{}"))


async def test_a_hundred_who_ask_alike_ask_once(nursery: trio.Nursery) -> None:
    gate = Gate()
    async with relaying(gate) as (edge, _):
        statuses: list[int] = []

        async def all_of_them() -> None:
            statuses.extend(await asked_by(100, edge, lambda number: "/ranges/a"))

        nursery.start_soon(all_of_them)
        await wait_all_tasks_blocked()
        gate.open.set()
        await wait_all_tasks_blocked()

        assert statuses == [200] * 100
        assert gate.requests == 1
        assert figures(edge)["shared"] == 99


async def test_who_leaves_while_others_wait_leaves_them_an_answer(nursery: trio.Nursery) -> None:
    gate = Gate()
    desk = Desk("ranges", clock=testing.clock, services=Services(testing.clock, gate))
    asker = Asker(desk, timeout_s=10, body_max=1000, cache_max=1000, at_once=1, waiting=0)
    told: list[Told] = []

    async def ask() -> None:
        told.append(await asker.ask(Target("http://ingest.example/ranges/a")))

    async def ask_and_leave(leave: trio.CancelScope) -> None:
        with leave:
            await ask()

    leaves = trio.CancelScope()
    nursery.start_soon(ask_and_leave, leaves)
    await wait_all_tasks_blocked()
    nursery.start_soon(ask)
    await wait_all_tasks_blocked()
    leaves.cancel()
    await wait_all_tasks_blocked()
    gate.open.set()
    await wait_all_tasks_blocked()

    assert [one.body for one in told] == [b"{}"]
    assert gate.requests == 2


async def test_an_ingest_that_is_away_is_told_and_counted(
    autojump_clock: trio.testing.MockClock,
) -> None:
    away = turns(OSError("Connection refused"), {"version": 1})
    async with relaying(testing.rest({"/ranges/a": away})) as (edge, _):
        first = await edge.get("/ranges/a")
        second = await edge.get("/ranges/a")

        assert (first.status, first.json()["error"]["code"]) == (503, "UNAVAILABLE")
        assert "Connection refused" in first.json()["error"]["message"]
        assert first.headers["retry-after"] == "5"
        assert second.status == 200
        assert edge.running["ranges"].tally.dropped == {"unreachable": 1}


async def test_an_ingest_that_does_not_answer_keeps_nobody_for_ever(
    autojump_clock: trio.testing.MockClock,
) -> None:
    config = RELAY + 'timeout = "2s"\nat_once = 2\nwaiting = 3\n'
    rest = testing.rest({f"/ranges/{n}": SILENT for n in range(10)})
    async with relaying(rest, config) as (edge, _):
        began = trio.current_time()
        statuses = await asked_by(10, edge, lambda number: f"/ranges/{number}")

        assert statuses == [503] * 10
        assert trio.current_time() - began <= 4.1
        assert len(rest.requests) <= 5


async def test_an_answer_that_is_too_large_is_refused() -> None:
    rest = testing.rest({"/ranges/a": Reply(200, b"x" * 5000)})
    async with relaying(rest, RELAY + 'body_max = "4KiB"\n') as (edge, _):
        answer = await edge.get("/ranges/a")

        assert (answer.status, answer.json()["error"]["code"]) == (502, "BAD_ANSWER")


@pytest.mark.parametrize("status", [400, 404, 429, 500, 503])
async def test_errors_of_the_ingest_are_the_clients_to_read(status: int) -> None:
    told = {"error": {"code": "SOME", "message": "why"}}
    reply = Reply(status, told, {"Content-Type": "application/json", "Set-Cookie": "a=b"})
    async with relaying(testing.rest({"/ranges/a": reply})) as (edge, _):
        answer = await edge.get("/ranges/a")

        assert (answer.status, answer.json()) == (status, told)
        assert "set-cookie" not in answer.headers


async def test_what_is_kept_is_bounded() -> None:
    answers = {
        f"/ranges/{n}": Reply(200, b"x" * 1000, {"ETag": f'"{n}"', "Content-Type": "text/plain"})
        for n in range(20)
    }
    async with relaying(testing.rest(answers), RELAY + 'cache = "4KiB"\n') as (edge, _):
        for number in range(20):
            await edge.get(f"/ranges/{number}")

        assert 0 < figures(edge)["kept_bytes"] <= 4096


async def test_what_is_not_to_be_stored_is_not_kept() -> None:
    headers = {"ETag": '"1"', "Cache-Control": "no-store"}
    rest = testing.rest({"/ranges/a": Reply(200, b"secret", headers)})
    async with relaying(rest) as (edge, _):
        await edge.get("/ranges/a")
        await edge.get("/ranges/a")

        assert "if-none-match" not in rest.requests[1].headers
        assert figures(edge)["kept_bytes"] == 0


async def test_below_a_path_of_a_proxy_the_ingest_is_asked_for_the_path_itself() -> None:
    config = '[flowd]\nbase_path = "/data"\n' + RELAY
    async with relaying(config=config) as (edge, there):
        answer = await edge.get("/data/ranges/a")

        assert (answer.status, there.paths) == (200, ["/ranges/a"])


@pytest.mark.parametrize(
    ("setting", "why"),
    [
        ('url = "ingest:4200"', "expected a daemon's address"),
        ('url = "http://user:secret@ingest:4200"', "expected a daemon's address"),
        ('url = "http://ingest:4200/?a=b"', "expected a daemon's address"),
        ('url = "http://i"\npaths = []', "name at least one"),
        ('url = "http://i"\npaths = ["/*"]', "expected a path such as"),
        ('url = "http://i"\npaths = ["ranges"]', "expected a path such as"),
        ('url = "http://i"\npaths = ["/a/*/b"]', "expected a path such as"),
        ('url = "http://i"\npaths = ["/a/{1}"]', "is no name"),
        ('url = "http://i"\npaths = ["/a/x{name}"]', "a name is a whole part"),
        ('url = "http://i"\nwrites = ["lines"]', 'writes: "lines": expected a path'),
        ('url = "http://i"\ntimeout = 0', "timeout"),
        ('url = "http://i"\nat_once = 100', "at_once from 1 to 20"),
    ],
)
def test_a_relay_that_cannot_work_is_no_configuration(setting: str, why: str) -> None:
    text = f'[sinks.ranges]\nkind = "relay"\n{setting}\n'

    with pytest.raises(UserError, match=why):
        parse(text, testing.registry(flowd_relay))


def test_a_history_is_relayed_where_nobody_says_otherwise() -> None:
    assert Config("http://ingest:4200").paths == ["/streams/{name}/history"]
