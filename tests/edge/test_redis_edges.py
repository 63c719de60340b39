"""One ingest daemon, a real Redis and two edges: the same bytes under the same numbers everywhere,
whatever is killed.
"""

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio

from tests.edge.exchange import Exchange
from tests.edge.followers import Follower
from tests.edge.process import Flowd, prices
from tests.edge.redis import RedisServer

INGEST = """
[transforms.volume]
kind = "liquidation-volume"
input = "orders"

[sinks.redis]
kind = "redis"
url = "{url}"
inputs = ["orders", "volume", "outages"]
"""

EDGE = """
[sources.upstream]
kind = "redis"
url = "{url}"
restart_delay = "100ms"
restart_delay_max = "200ms"
"""

STREAMS = ("orders", "volume", "outages")


class Fleet:
    """All daemons, and what is between them."""

    def __init__(self, exchange: Exchange, redis: RedisServer, ingest: Flowd, edges: list[Flowd]):
        self.exchange = exchange
        self.redis = redis
        self.ingest = ingest
        self.edges = edges

    @property
    def daemons(self) -> list[Flowd]:
        return [self.ingest, *self.edges]

    async def say(self, number: int) -> None:
        """So many orders come, and are everywhere."""
        last = self.exchange.say(number)[-1]
        for daemon in self.daemons:
            await daemon.reached(last)

    async def alike(self, *streams: str) -> None:
        """Every stream, or each of these, is the same everywhere, byte by byte."""
        for stream in streams or STREAMS:
            for edge in self.edges:

                async def both(edge: Flowd = edge, stream: str = stream) -> list[bytes]:
                    found = [
                        await daemon.get(f"/streams/{stream}") for daemon in (self.ingest, edge)
                    ]
                    return [one.body for one in found]

                await edge.until(both, lambda bodies: bodies[0] == bodies[1])


@asynccontextmanager
async def fleet(
    exchange: Exchange, folder: Path, edges: int = 2, **settings: Any
) -> AsyncIterator[Fleet]:
    """They run, and no log has a traceback at the end."""
    async with AsyncExitStack() as stack:
        redis = stack.enter_context(RedisServer(folder / "redis", "--appendonly", "no"))
        await redis.start()
        extra = INGEST.format(url=redis.url)
        ingest = stack.enter_context(Flowd(folder / "ingest", exchange.url, extra=extra))
        await ingest.start()
        others = []
        for number in range(edges):
            extra = EDGE.format(url=redis.url)
            edge = Flowd(folder / f"edge-{number}", None, extra=extra, settings=settings)
            others.append(stack.enter_context(edge))
            await edge.start()
        found = Fleet(exchange, redis, ingest, others)
        yield found
        for daemon in found.daemons:
            if daemon.process is not None and daemon.process.poll() is None:
                await daemon.stop()
            assert "Traceback" not in daemon.log


async def test_every_stream_is_the_same_on_every_daemon(exchange: Exchange, tmp_path: Path) -> None:
    async with fleet(exchange, tmp_path) as all_of_them:
        await all_of_them.say(50)
        await all_of_them.alike()
        await all_of_them.say(20)
        await all_of_them.alike()
        told = (await all_of_them.edges[0].get("/streams")).json["streams"]
        there = (await all_of_them.ingest.get("/streams")).json["streams"]

    told, there = ({one["name"]: one for one in found} for found in (told, there))
    assert {name: told[name] for name in STREAMS} == {name: there[name] for name in STREAMS}


async def test_who_polls_goes_on_at_any_daemon(exchange: Exchange, tmp_path: Path) -> None:
    async with fleet(exchange, tmp_path) as all_of_them:
        position, seen = "", list[int]()
        for turn in range(9):
            await all_of_them.say(5)
            daemon = all_of_them.daemons[turn % 3]
            query = f"?after={position}" if position else ""
            found = await daemon.poll(query)
            assert found["gap"] is None
            assert not found["reset"]
            seen += [record["seq"] for record in found["records"]]
            position = found["position"]

    assert seen == list(range(1, 46))


@pytest.mark.parametrize("way", ["websocket", "events"])
async def test_who_stays_goes_on_at_any_daemon(
    way: str, exchange: Exchange, tmp_path: Path
) -> None:
    async with fleet(exchange, tmp_path) as all_of_them:
        reader = Follower("orders", way)
        for turn in range(6):
            daemon = all_of_them.daemons[turn % 3]
            async with trio.open_nursery() as nursery:
                nursery.start_soon(reader.follow, daemon.port)
                await all_of_them.say(7)
                await daemon.until(partial(_seq, reader), reaches(7 * (turn + 1)))
                nursery.cancel_scope.cancel()

    assert list(reader.told) == list(range(1, 43))
    assert [int(value["price"]) for value in reader.values] == list(range(1, 43))


async def _seq(reader: Follower) -> int:
    await trio.lowlevel.checkpoint()
    return reader.seq


def reaches(wanted: int) -> Callable[[int], bool]:
    return lambda seq: seq >= wanted


async def test_an_edge_that_is_killed_goes_on_where_it_was(
    exchange: Exchange, tmp_path: Path
) -> None:
    async with fleet(exchange, tmp_path) as all_of_them:
        edge, other = all_of_them.edges
        await all_of_them.say(20)
        before = await edge.poll()
        await edge.kill()
        last = exchange.say(30)[-1]
        await other.reached(last)
        await edge.start()
        await edge.reached(last)

        after = await edge.poll(f"?after={before['position']}")
        assert after["gap"] is None
        assert [record["seq"] for record in after["records"]] == list(range(21, 51))
        await all_of_them.alike()
        local = await edge.poll("", "outages.edge")
        assert all(one["value"]["to_ms"] is not None for one in local["records"])


async def test_a_redis_that_lost_its_data_costs_no_record(
    exchange: Exchange, tmp_path: Path
) -> None:
    async with fleet(exchange, tmp_path) as all_of_them:
        edge = all_of_them.edges[0]
        await all_of_them.say(20)
        reader = Follower("orders", "websocket")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(reader.follow, edge.port)
            await edge.until(partial(_seq, reader), reaches(20))
            all_of_them.redis.kill()
            exchange.say(10)
            await edge.until(partial(edge.get, "/health"), lambda answer: answer.status == 503)
            told = await edge.poll()
            await all_of_them.redis.start()
            await all_of_them.say(10)
            await edge.until(partial(_seq, reader), reaches(40))
            nursery.cancel_scope.cancel()

        assert prices(told)[-1] == 20
        assert list(reader.told) == list(range(1, 41))
        await all_of_them.alike()
        await edge.until(partial(edge.get, "/health"), lambda answer: answer.status == 200)
        outages = (await edge.poll("", "outages.edge"))["records"]
        assert outages
        assert all(one["value"]["to_ms"] is not None for one in outages)


async def test_a_redis_that_is_paused_is_an_outage_that_is_caught_up(
    exchange: Exchange, tmp_path: Path
) -> None:
    async with fleet(exchange, tmp_path, edges=1) as all_of_them:
        (edge,) = all_of_them.edges
        await all_of_them.say(10)
        all_of_them.redis.pause()
        exchange.say(10)
        await edge.until(partial(edge.get, "/health"), lambda answer: answer.status == 503, 20)
        all_of_them.redis.wake()
        await all_of_them.say(10)

        found = await edge.poll()
        assert [record["seq"] for record in found["records"]] == list(range(1, 31))
        await all_of_them.alike()


async def test_an_ingest_that_is_restarted_goes_on_in_its_epoch(
    exchange: Exchange, tmp_path: Path
) -> None:
    async with fleet(exchange, tmp_path, edges=1) as all_of_them:
        (edge,) = all_of_them.edges
        await all_of_them.say(10)
        before = await edge.poll()
        await all_of_them.ingest.stop()
        await all_of_them.ingest.start()
        await all_of_them.say(10)

        after = await edge.poll(f"?after={before['position']}")
        assert (after["reset"], after["gap"]) == (False, None)
        assert [record["seq"] for record in after["records"]] == list(range(11, 21))


async def test_an_ingest_that_forgot_everything_resets_the_readers_of_its_edges(
    exchange: Exchange, tmp_path: Path
) -> None:
    async with fleet(exchange, tmp_path, edges=1) as all_of_them:
        (edge,) = all_of_them.edges
        await all_of_them.say(10)
        before = await edge.poll()
        await all_of_them.ingest.stop()
        for file in all_of_them.ingest.folder.glob("flowd.db*"):
            file.unlink()
        await all_of_them.ingest.start()

        exchange.say(3)
        # Nobody is refused while the edge starts over, and it is found where it was.
        found = await edge.until(
            partial(edge.poll, f"?after={before['position']}"),
            lambda one: one["reset"] and len(one["records"]) == 3,
            40,
        )

        assert [record["seq"] for record in found["records"]] == [1, 2, 3]
        await all_of_them.alike()


async def test_an_edge_waits_for_a_redis_that_is_not_there(
    exchange: Exchange, tmp_path: Path
) -> None:
    with RedisServer(tmp_path / "redis") as redis:
        extra = EDGE.format(url=redis.url)
        with Flowd(tmp_path / "edge", None, extra=extra) as edge:
            edge.spawn()
            await edge.until(partial(_log, edge), lambda log: "cannot be reached" in log)
            await edge.stop()
            assert "Traceback" not in edge.log


async def _log(daemon: Flowd) -> str:
    await trio.lowlevel.checkpoint()
    return daemon.log


IN_THE_WAY = {
    "hash": ("orders", "flowd:{{orders}}"),
    "entries": ("orders", "flowd:{{orders}}:{epoch}"),
    "table": ("volume", "flowd:{{volume}}:{epoch}:table"),
}
"""Keys of a stream that somebody writes a string over."""


@pytest.mark.parametrize("what", IN_THE_WAY)
async def test_a_key_in_the_way_of_one_stream_is_no_other_one_s_trouble(
    what: str, exchange: Exchange, tmp_path: Path
) -> None:
    stream, pattern = IN_THE_WAY[what]
    (other,) = {"orders", "volume"} - {stream}
    async with fleet(exchange, tmp_path) as all_of_them:
        ingest, new = all_of_them.ingest, all_of_them.edges[1]
        await all_of_them.say(20)
        await new.stop()
        for file in new.folder.glob("flowd.db*"):
            file.unlink()
        key = pattern.format(epoch=(await ingest.poll("", stream))["position"].partition(".")[0])
        all_of_them.redis.answers("SET", key, "by hand")

        await new.start(delivering=False)
        last = exchange.say(10)[-1]
        await ingest.reached(last)

        async def problem() -> str:
            return str((await new.get("/health")).json["problems"].get("upstream", ""))

        said = await new.until(problem, lambda words: key in words)
        await all_of_them.alike(other)
        all_of_them.redis.answers("DEL", key)
        await all_of_them.alike()
        for edge in all_of_them.edges:
            await edge.until(partial(edge.get, "/health"), lambda answer: answer.status == 200)

    assert f"the key {key} is a string, and not flowd's: delete it" in said
