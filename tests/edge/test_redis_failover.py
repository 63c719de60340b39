"""A Redis that fails over to its replica, is slow, or cannot be reached any more: what one daemon
writes there and another one reads is on both sides the same in the end, each record once.
"""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio
from attrs import evolve
from flowd_redis import source
from flowd_redis.layout import Missing
from flowd_redis.server import Login, dialled

from flowd import testing
from flowd.plugin import Gap, Mirrored, Peer, Peers, Seconds, UpstreamError
from flowd.values.errors import unwrap
from tests.edge.networks import Network
from tests.edge.process import until
from tests.edge.redis import RedisServer
from tests.edge.test_redis import Lot, Rig, _collected, as_sent, config, entries, happen, lots

__all__ = ["_collected"]

pytestmark = pytest.mark.filterwarnings(
    "ignore:Exception ignored in. <function MemoryObject:pytest.PytestUnraisableExceptionWarning"
)


class Edge:
    """A source that follows, started again whenever it falls, as a daemon does."""

    def __init__(self, url: str, timeout: Seconds, retain: int) -> None:
        self.config = source.Config(url, ["lots"], timeout=timeout)
        carries = {"lots": (Mirrored("Lot", "k3v9", retain), Lot)}
        self.feed = testing.feed(name="upstream", carries=carries)
        self.feed.peers = Peers(lambda: Peer("edge:1:0"))
        self.falls: list[str] = []

    async def run(self) -> None:
        while True:
            try:
                await source.follow(self.config, self.feed)
            except Exception as group:
                error = unwrap(group) if isinstance(group, ExceptionGroup) else group
                assert isinstance(error, UpstreamError), error
                self.falls.append(str(error))
            self.feed.tally.delivering = False
            await trio.sleep(0.1)

    @property
    def stream(self) -> Any:
        return self.feed.carried["lots"]

    async def has(self, stream: Any) -> None:
        """Wait until it has all that there is, and all is well."""

        async def asked() -> tuple[bool, int, str | None]:
            tally = self.feed.tally
            return tally.delivering, self.stream.seq, tally.problem

        await until(asked, lambda found: found == (True, stream.seq, None), 20)
        assert [one.json for one in self.stream.after(0)] == [one.json for one in stream.after(0)]
        assert not self.feed.tally.dropped

    async def problem(self, words: str) -> None:
        """Wait until it says this is wrong."""

        async def asked() -> str:
            return "; ".join([*self.falls[-1:], self.feed.tally.problem or ""])

        await until(asked, lambda found: words in found, 20)


class Pair:
    """A primary and its replica."""

    def __init__(self, primary: RedisServer, replica: RedisServer) -> None:
        self.primary = primary
        self.replica = replica
        self.url = f"redis://127.0.0.1:{primary.port},127.0.0.1:{replica.port}/0"

    async def copied(self) -> None:
        """Wait until the replica has what the primary has."""

        async def offsets() -> list[str]:
            servers = (self.primary, self.replica)
            told = [server.answers("INFO", "replication") for server in servers]
            return [one.partition("master_repl_offset:")[2].split("\r")[0] for one in told]

        await until(offsets, lambda found: found[0] == found[1] != "")

    def cut_off(self) -> None:
        """The replica gets nothing new, and goes on as one."""
        self.replica.answers("REPLICAOF", "127.0.0.1", "1")

    def promote(self) -> None:
        """The replica is the primary now."""
        assert "OK" in self.replica.answers("REPLICAOF", "NO", "ONE")


@pytest.fixture
async def pair(tmp_path: Path) -> "AsyncGenerator[Pair, None]":
    with RedisServer(tmp_path / "one") as one:
        options = ("--replicaof", f"127.0.0.1 {one.port}", "--repl-diskless-sync-delay", "0")
        await one.start()
        one.answers("CONFIG", "SET", "repl-diskless-sync-delay", "0")
        with RedisServer(tmp_path / "two", *options) as two:
            await two.start()
            found = Pair(one, two)
            await until(partial(_role, two), lambda role: "connected" in role)
            yield found


async def _role(server: RedisServer) -> str:
    return server.answers("ROLE")


@asynccontextmanager
async def carried(url: str, rig_config: Any, stream: Any) -> AsyncGenerator[tuple[Rig, Edge], None]:
    """An ingest's sink and an edge's source, both with this address."""
    async with trio.open_nursery() as nursery:
        rig = Rig(nursery, evolve(rig_config, url=url), stream)
        edge = Edge(url, rig_config.timeout, stream.retain.count)
        rig.desk.peers = Peers(lambda: Peer("ingest:2:0"))
        rig.start()
        await rig.caught_up()
        nursery.start_soon(edge.run)
        await edge.has(stream)
        yield rig, edge
        nursery.cancel_scope.cancel()


async def test_a_replica_that_has_everything_goes_on_in_its_primary_s_place(pair: Pair) -> None:
    stream = lots(retain=100_000)
    happen(stream, 100)
    async with carried(pair.url, config(pair.primary), stream) as (rig, edge):
        await pair.copied()
        pair.primary.kill()
        happen(stream, 50)
        await rig.problem("none of ")
        assert "is a slave" in str(rig.desk.tally.problem)
        pair.promote()
        await rig.caught_up()
        happen(stream, 10)
        await rig.caught_up()
        await edge.has(stream)

    assert await entries(config(pair.replica), stream) == as_sent(stream)
    assert edge.feed.recoveries
    assert rig.desk.tally.published == 160


async def test_a_replica_that_lacks_the_newest_is_sent_them_again_and_edges_get_nothing_twice(
    pair: Pair,
) -> None:
    stream = lots(retain=100_000)
    happen(stream, 100)
    async with carried(pair.url, config(pair.primary), stream) as (rig, edge):
        await pair.copied()
        pair.cut_off()
        happen(stream, 30)
        await rig.caught_up()
        await edge.has(stream)
        taken = edge.feed.tally.published
        pair.primary.kill()
        pair.promote()
        happen(stream, 20)
        await rig.caught_up()
        await edge.has(stream)

    assert await entries(config(pair.replica), stream) == as_sent(stream)
    assert rig.desk.tally.published == 180
    assert edge.feed.tally.published == taken + 20


async def test_what_a_replica_lacks_and_nobody_holds_is_a_gap_for_who_comes_later_only(
    pair: Pair,
) -> None:
    stream = lots(retain=10)
    happen(stream, 100)
    async with carried(pair.url, config(pair.primary), stream) as (rig, edge):
        await pair.copied()
        pair.cut_off()
        for _ in range(6):
            happen(stream, 5)
            await rig.caught_up()
        await edge.has(stream)
        pair.primary.kill()
        pair.promote()
        happen(stream)
        await rig.caught_up()
        await edge.has(stream)
        told = await entries(config(pair.replica), stream)

    assert [one for one in told if isinstance(one, Missing)] == [Missing(Gap(101, 121))]
    assert [one.seq for one in told[-10:]] == list(range(122, 132))


async def test_a_primary_that_is_made_a_replica_while_it_runs_is_left(pair: Pair) -> None:
    stream = lots(retain=100_000)
    happen(stream, 100)
    async with carried(pair.url, config(pair.primary), stream) as (rig, edge):
        await pair.copied()
        pair.promote()
        pair.primary.answers("REPLICAOF", "127.0.0.1", str(pair.replica.port))
        happen(stream, 50)
        await rig.caught_up()
        await edge.has(stream)

        async def found() -> str:
            return pair.replica.answers("CLIENT", "LIST")

        # The edge goes too, though a replica would tell it the same, a little later.
        await until(found, lambda clients: clients.count("cmd=xread") == 1, 20)

    assert await entries(config(pair.replica), stream) == as_sent(stream)


async def test_one_address_of_a_replica_says_what_is_wrong(pair: Pair) -> None:
    async with trio.open_nursery() as nursery:
        stream = lots()
        happen(stream, 3)
        rig = Rig(nursery, config(pair.replica), stream).start()
        await rig.problem("it is a replica, which takes nothing: name the primary, or all servers")
        nursery.cancel_scope.cancel()


async def test_that_none_of_them_answers_says_why_of_each() -> None:
    async def asking() -> None:
        async with dialled(Login("redis://127.0.0.1:1,127.0.0.1:2/0")) as server:
            await server.ask(server.client.ping())

    with pytest.raises(BaseExceptionGroup) as told:
        await asking()
    why = str(unwrap(told.value))
    assert why.startswith("none of 127.0.0.1:1, 127.0.0.1:2 is a primary that answers (127.0.0.1:1")
    assert why.count("cannot be reached: connection refused") == 2


# -- cut off --


async def test_a_network_that_is_cut_is_told_and_what_came_meanwhile_comes(tmp_path: Path) -> None:
    with (
        Network() as network,
        RedisServer(tmp_path, host=network.host, within=network.within) as redis,
    ):
        await redis.start()
        stream = lots(retain=100_000)
        happen(stream, 100)
        async with carried(redis.url, config(redis), stream) as (rig, edge):
            network.cut()
            happen(stream, 200)
            await rig.problem(f"{network.host}:{redis.port} ")
            await edge.problem(f"{network.host}:{redis.port} ")
            happen(stream, 200)
            network.mend()
            await rig.caught_up()
            await edge.has(stream)

        assert await entries(config(redis), stream) == as_sent(stream)
        assert edge.feed.recoveries


async def test_what_the_ingest_could_not_hold_while_the_network_was_cut_is_an_exact_gap(
    tmp_path: Path,
) -> None:
    with (
        Network() as network,
        RedisServer(tmp_path, host=network.host, within=network.within) as redis,
    ):
        await redis.start()
        stream = lots(retain=50, held=100)
        happen(stream, 50)
        async with carried(redis.url, config(redis), stream) as (rig, edge):
            network.cut()
            happen(stream, 10)
            await rig.problem(f"{network.host}:{redis.port} ")
            happen(stream, 1000)
            assert len(stream) + len(stream.held) <= 150
            network.mend()
            await rig.caught_up()
            await until(partial(_seq, edge), lambda seq: seq == stream.seq, 20)

        # What Redis let go of before the edge was back is missing there too.
        reasons = [reason.split() for reason, _, _ in edge.feed.losses]
        missing = [n for told in reasons for n in range(int(told[1]), int(told[3]) + 1)]
        assert set(missing) >= set(range(51, 911))
        assert len(missing) == len(set(missing)) == stream.seq - edge.feed.tally.published
        assert not set(missing) & {one.seq for one in edge.stream.after(0)}


async def _seq(edge: Edge) -> int:
    return int(edge.stream.seq)


# -- slow --

LATE_S = 0.2


@pytest.fixture
async def redis(tmp_path: Path) -> "AsyncGenerator[RedisServer, None]":
    with RedisServer(tmp_path / "redis") as server:
        yield await server.start()


async def test_one_that_answers_late_delays_everything_and_loses_nothing(
    redis: RedisServer, nursery: trio.Nursery
) -> None:
    slow = Slow(redis.port, LATE_S)
    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    nursery.start_soon(trio.serve_listeners, slow.serve, [listener])
    url = f"redis://127.0.0.1:{listener.socket.getsockname()[1]}/0"
    stream = lots(retain=100_000)
    happen(stream, 10)
    patient = evolve(config(redis), timeout=Seconds(10.0))
    async with carried(url, patient, stream) as (rig, edge):
        for _ in range(20):
            happen(stream, 50)
            await trio.sleep(LATE_S / 10)
        await rig.caught_up()
        await edge.has(stream)
        assert edge.feed.tally.figures["delay_p99_ms"] >= LATE_S * 1000
        assert (rig.desk.tally.figures["retries"], edge.falls) == (0, [])

    assert await entries(config(redis), stream) == as_sent(stream)
    nursery.cancel_scope.cancel()


class Slow:
    """Passes bytes on, answers after so many seconds."""

    def __init__(self, port: int, late_s: float) -> None:
        self._port = port
        self._late_s = late_s

    async def serve(self, client: trio.SocketStream) -> None:
        server = await trio.open_tcp_stream("127.0.0.1", self._port)
        send, receive = trio.open_memory_channel[tuple[float, bytes]](100)
        async with client, server, trio.open_nursery() as nursery:
            nursery.start_soon(self._ask, client, server)
            nursery.start_soon(self._answer, receive, client)
            try:
                async for data in server:
                    await send.send((trio.current_time() + self._late_s, data))
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                pass
            nursery.cancel_scope.cancel()

    async def _ask(self, client: trio.SocketStream, server: trio.SocketStream) -> None:
        try:
            async for data in client:
                await server.send_all(data)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass
        await server.aclose()

    async def _answer(
        self, answers: trio.MemoryReceiveChannel[tuple[float, bytes]], client: trio.SocketStream
    ) -> None:
        async for at, data in answers:
            await trio.sleep_until(at)
            try:
                await client.send_all(data)
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                return


@pytest.mark.parametrize("mode", ["WRITE", "ALL"])
async def test_one_that_holds_its_clients_up_is_told_and_caught_up_with(
    mode: str, redis: RedisServer
) -> None:
    stream = lots(retain=100_000)
    happen(stream, 10)
    async with carried(redis.url, config(redis), stream) as (rig, edge):
        redis.answers("CLIENT", "PAUSE", "5000", mode)
        happen(stream, 50)
        await rig.problem("does not answer within 1s")
        await edge.problem("does not answer within 1s")
        await rig.caught_up()
        await edge.has(stream)

    assert await entries(config(redis), stream) == as_sent(stream)
