"""Daemons that hear of each other at a real Redis, and of an ingest that is gone while Redis is
not.
"""

import socket
from collections.abc import AsyncGenerator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio
from attrs import evolve
from flowd_redis import scripts
from flowd_redis.beats import Beats
from flowd_redis.layout import Keys
from flowd_redis.server import Login, dialled

from flowd import testing
from flowd.plugin import Peer, Peers, Secret, codec
from tests.edge.exchange import Exchange
from tests.edge.process import Flowd, command
from tests.edge.redis import RedisServer, wire
from tests.edge.test_redis_edges import fleet

KEYS = Keys()
ME = Peer("me:1:0", "edge", "me", 1, "1.0", ("http://me:4200/",), 5000, clients=3)


@pytest.fixture
async def redis(tmp_path: Path) -> "AsyncGenerator[RedisServer, None]":
    with RedisServer(tmp_path / "redis") as server:
        yield await server.start()


async def beat(login: Login, own: Peer = ME) -> list[Peer]:
    """Whom a daemon hears of that says once that it lives."""
    async with dialled(login) as server:
        beats = Beats("upstream", Peers(lambda: own), testing.clock, server, KEYS)
        return [heard.peer for heard in await beats.beat()]


async def said(redis: RedisServer) -> dict[str, Any]:
    """What there is in Redis, by id."""
    async with redis.client() as client:
        found = await client.hgetall(KEYS.peers)
    return {id.decode(): codec.decode(text.partition(b" ")[2]) for id, text in found.items()}


async def test_daemons_hear_of_each_other_as_it_is_documented(redis: RedisServer) -> None:
    login, other = Login(redis.url), evolve(ME, id="other:2:0", role="ingest", host="other")
    assert await beat(login) == []

    (me,) = await beat(login, other)
    (there,) = await beat(login)

    assert evolve(me, age_ms=0, role="edge") == ME
    assert 0 <= me.age_ms < 5000
    assert (there.id, there.host) == ("other:2:0", "other")
    found = (await said(redis))["me:1:0"]
    assert found["addresses"] == ["http://me:4200/"]
    assert found["clients"] == 3
    assert found["clock_ms"] == 0


async def test_what_others_write_there_does_no_harm_and_goes_away(redis: RedisServer) -> None:
    async with redis.client() as client:
        now_ms = round((await client.time()).timestamp() * 1000)
        text = {f"t{number}": b"anything" for number in range(500)}
        old = {f"o{number}": b"%d {}" % (now_ms - 61_000) for number in range(500)}
        many = {f"m{n}": b"%d " % (now_ms - n) + codec.encode({"id": f"m{n}"}) for n in range(1000)}
        await client.hset(
            KEYS.peers, {**text, **old, **many, "large": b"%d " % now_ms + 5000 * b"x"}
        )
        await client.hset(KEYS.peers, {"none": b"%d [1]" % now_ms, "odd": b"%d \xff" % now_ms})

        heard = await beat(Login(redis.url))
        left = await client.hlen(KEYS.peers)
        ttl_s = await client.ttl(KEYS.peers)

    assert len(heard) >= scripts.PEERS_MAX - 3
    assert left == scripts.PEERS_MAX
    assert 0 < ttl_s <= 60


async def test_who_may_only_read_hears_and_is_not_heard_of(redis: RedisServer) -> None:
    login = Login(redis.url)
    await beat(login)
    redis.answers("ACL", "SETUSER", "mute", "on", ">secret", "~flowd:*", "+@read", "+@connection")
    redis.answers("ACL", "SETUSER", "mute", "+time")
    mute = evolve(login, username="mute", password=Secret("a test", "secret"))

    heard = await beat(mute, evolve(ME, id="mute:1:0"))

    assert [peer.id for peer in heard] == ["me:1:0"]
    assert list(await said(redis)) == ["me:1:0"]


async def test_a_key_in_the_way_of_all_peers_is_said_and_stops_no_stream(
    exchange: Exchange, tmp_path: Path
) -> None:
    async with fleet(exchange, tmp_path) as all_of_them:
        edge = all_of_them.edges[0]
        await all_of_them.say(20)
        all_of_them.redis.answers("DEL", KEYS.peers)
        all_of_them.redis.answers("SET", KEYS.peers, "by hand")

        async def problem() -> str:
            return str((await edge.get("/health")).json["problems"].get("upstream", ""))

        said = await edge.until(problem, lambda words: KEYS.peers in words)
        await all_of_them.say(20)
        all_of_them.redis.answers("DEL", KEYS.peers)
        await edge.until(partial(edge.get, "/health"), lambda answer: answer.status == 200)
        starts = [part["restarts"] for part in (await edge.status())["components"]]

    assert f"the key {KEYS.peers} is not flowd's: delete it" in said
    assert not any(starts)


async def test_the_documented_rights_of_a_reader_suffice(redis: RedisServer) -> None:
    page = (Path(__file__).parents[2] / "docs/reference/redis.md").read_text("utf-8")
    (line,) = [one for one in page.splitlines() if one.startswith("ACL SETUSER reader ")]
    assert "OK" in redis.answers(*line.replace(">PASSWORD", ">secret").split())
    reader = Login(redis.url, "reader", Secret("a test", "secret"))

    await beat(reader)

    assert list(await said(redis)) == ["me:1:0"]
    login = ("AUTH", "reader", "secret")
    assert "NOPERM" in both(redis, login, ("HSET", KEYS.meta("orders"), "seq", "9"))
    assert "NOPERM" not in both(redis, login, ("HGETALL", KEYS.meta("orders")))


def both(redis: RedisServer, login: tuple[str, ...], asked: tuple[str, ...]) -> str:
    """What it answers to a command after a login."""
    with socket.create_connection(("127.0.0.1", redis.port), 5) as found:
        found.sendall(wire(login))
        assert found.recv(100) == b"+OK\r\n"
        found.sendall(wire(asked))
        return found.recv(65536).decode()


async def test_it_is_heard_where_memory_is_full(redis: RedisServer) -> None:
    await beat(Login(redis.url))
    redis.answers("CONFIG", "SET", "maxmemory", "1")
    assert "OOM" in redis.answers("SET", "anything", "else")

    heard = await beat(Login(redis.url), evolve(ME, id="other:2:0"))

    assert [peer.id for peer in heard] == ["me:1:0"]
    assert set(await said(redis)) == {"me:1:0", "other:2:0"}


# -- whole daemons --


def roles(status: dict[str, Any]) -> list[str]:
    """The peers that were heard of just now."""
    return [peer["role"] for peer in status["peers"] if peer["age_ms"] < 5000]


async def test_every_daemon_knows_what_it_is_and_who_the_others_are(
    exchange: Exchange, tmp_path: Path
) -> None:
    async with fleet(exchange, tmp_path) as all_of_them:
        ingest, (edge, other) = all_of_them.ingest, all_of_them.edges
        await all_of_them.say(5)
        there = await ingest.settled(lambda status: roles(status) == ["edge", "edge"])
        here = await edge.settled(lambda status: roles(status) == ["ingest", "edge"])
        shown = await trio.to_thread.run_sync(
            partial(command, "status", "--url", f"http://127.0.0.1:{edge.port}")
        )
        metrics = (await edge.get("/metrics")).body.decode()
        await other.stop()
        await edge.settled(lambda status: roles(status) == ["ingest"])

    assert (there["role"], here["role"]) == ("ingest", "edge")
    assert (here["behind"], there["behind"]) == (0, 0)
    assert 0 <= here["lag_ms"] < 5000
    told = here["peers"][0]
    assert told["addresses"] == [f"http://127.0.0.1:{ingest.port}/"]
    assert told["version"] == here["version"]
    assert told["healthy"]
    (rows,) = [line.split() for line in shown.stdout.splitlines() if line.startswith("ingest ")]
    assert rows[1:3] == [f"127.0.0.1:{ingest.port}", "healthy"]
    assert "healthy, up " in shown.stdout.splitlines()[0]
    assert ", edge, " in shown.stdout.splitlines()[0]
    assert 'flowd_role{role="edge"} 1.0' in metrics
    assert 'flowd_peers{role="ingest"} 1.0' in metrics


async def test_an_ingest_that_is_dead_while_redis_lives_is_an_outage_of_its_edges(
    exchange: Exchange, tmp_path: Path
) -> None:
    async with fleet(exchange, tmp_path, edges=1) as all_of_them:
        ingest, (edge,) = all_of_them.ingest, all_of_them.edges
        await all_of_them.say(10)
        before = await edge.poll()
        address = f"http://127.0.0.1:{ingest.port}/"
        await ingest.kill()
        why = await away(edge)
        served = await edge.poll()
        open_now = (await edge.poll("", "outages.edge"))["records"][-1]["value"]
        await ingest.start()
        await all_of_them.say(10)
        await edge.until(partial(edge.get, "/health"), lambda answer: answer.status == 200)
        after = await edge.poll(f"?after={before['position']}")
        outages = [one["value"] for one in (await edge.poll("", "outages.edge"))["records"]]

    assert why.startswith(f"the ingest daemon at {address} was last heard of ")
    assert served["records"] == before["records"]
    assert open_now["to_ms"] is None
    assert (after["gap"], after["reset"]) == (None, False)
    assert [record["seq"] for record in after["records"]] == list(range(11, 21))
    last = outages[-1]
    assert last["to_ms"] is not None
    assert last["recovered"] is not None
    assert last["component"] == "upstream"


async def away(edge: Flowd) -> str:
    """Wait until an edge says that no ingest publishes; its sentence."""

    async def asked() -> str:
        return str((await edge.get("/health")).json["problems"].get("upstream", ""))

    found: str = await edge.until(asked, lambda why: "ingest daemon" in why, 20)
    return found


async def test_a_redis_whose_memory_is_full_is_told_at_the_edges_and_costs_no_record(
    exchange: Exchange, tmp_path: Path
) -> None:
    async with fleet(exchange, tmp_path, edges=1) as all_of_them:
        (edge,) = all_of_them.edges
        await all_of_them.say(10)
        before = await edge.poll()
        all_of_them.redis.answers("CONFIG", "SET", "maxmemory", "1")
        exchange.say(40)
        why = await away(edge)
        behind = (await all_of_them.ingest.status())["behind"]
        lag_ms = (await edge.status())["lag_ms"]
        all_of_them.redis.answers("CONFIG", "SET", "maxmemory", "0")
        await all_of_them.say(5)
        await edge.until(partial(edge.get, "/health"), lambda answer: answer.status == 200)
        await all_of_them.alike()
        after = await edge.poll(f"?after={before['position']}")

    assert "cannot send: orders to Redis at" in why
    assert "its memory is full: raise its maxmemory" in why
    assert behind >= 40
    assert lag_ms >= 5000
    assert (after["gap"], after["reset"]) == (None, False)
    assert [record["seq"] for record in after["records"]] == list(range(11, 56))
