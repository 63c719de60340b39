"""Daemons that hear of each other at a real Redis."""

import socket
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve
from flowd_redis import scripts
from flowd_redis.beats import Beats
from flowd_redis.layout import Keys
from flowd_redis.server import Login, dialled

from flowd import testing
from flowd.plugin import Peer, Peers, Secret, codec
from tests.edge.redis import RedisServer, wire

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
