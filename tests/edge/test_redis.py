"""Streams carried to a real Redis: as documented, each record once, whatever happens to it."""

import gc
from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio
import trustme
from attrs import evolve, frozen
from flowd_redis.layout import Carried, Entry, Forgotten, Keys, Meta, Missing, decode
from flowd_redis.server import Server, dialled
from flowd_redis.sink import Config, publish

from flowd import testing
from flowd.plugin import Gap, Seconds, Secret, Stream, UserError, codec
from flowd.stream.held import Behind, Retain
from flowd.values.errors import unwrap
from tests.edge.carrying import killed_again_and_again
from tests.edge.conftest import Start
from tests.edge.exchange import Exchange
from tests.edge.process import free_port, until
from tests.edge.redis import RedisServer

# coredis does not close the channels within a connection that could not be made; they go with it.
pytestmark = pytest.mark.filterwarnings(
    "ignore:Exception ignored in. <function MemoryObject:pytest.PytestUnraisableExceptionWarning"
)

KEYS = Keys()
WAIT_S = 20.0


@frozen
class Lot:
    number: int
    text: str = ""


@pytest.fixture(autouse=True)
def _collected() -> Iterator[None]:
    """What is said of what a test left behind is said in that test."""
    yield
    gc.collect()


@pytest.fixture
async def redis(tmp_path: Path) -> "AsyncGenerator[RedisServer, None]":
    with RedisServer(tmp_path / "redis") as server:
        yield await server.start()


def lots(name: str = "lots", *, retain: int = 1000, held: int = 0, epoch: str = "k3v9") -> Any:
    made: Stream[Any] = Stream(name, Lot, clock=testing.clock, epoch=epoch, retain=Retain(retain))
    made.held.limit = Behind(count=held)
    return made


def happen(stream: Any, count: int = 1, *, key: str | None = None, text: str = "") -> None:
    for _ in range(count):
        stream.append(Lot(stream.seq + 1, text), key=key)


class Rig:
    """A sink that carries a stream to a server, and somebody who reads there."""

    def __init__(self, nursery: trio.Nursery, config: Config, *streams: Any) -> None:
        self.config = config
        self.streams = streams
        self.places: dict[str, int] = {}
        self.desk = testing.desk("redis")
        self.ended = trio.Event()
        self._nursery = nursery
        self._scope = trio.CancelScope()

    def start(self) -> "Rig":
        self._scope, self.ended = trio.CancelScope(), trio.Event()
        self._nursery.start_soon(self._run, self._scope)
        return self

    async def _run(self, scope: trio.CancelScope) -> None:
        with scope:
            streams = testing.streams(*self.streams, places=self.places)
            await publish(self.config, streams, self.desk)
        self.ended.set()

    async def stop(self) -> None:
        self._scope.cancel()
        await self.ended.wait()

    async def finish(self) -> None:
        """Close the streams, and wait until the sink has ended."""
        for stream in self.streams:
            stream.close()
        with trio.fail_after(WAIT_S):
            await self.ended.wait()

    async def caught_up(self) -> None:
        """Wait until Redis has all that there is."""

        async def all_there() -> bool:
            metas = [await read_meta(self.config, one.name) for one in self.streams]
            there = [None if meta is None else meta.position for meta in metas]
            return not self.desk.tally.problem and there == [one.head for one in self.streams]

        await until(all_there, bool)

    async def problem(self, words: str) -> None:
        """Wait until the sink says this is wrong."""

        async def said() -> str:
            return self.desk.tally.problem or ""

        await until(said, lambda problem: words in problem)


def config(redis: RedisServer, *names: str, **more: Any) -> Config:
    return Config(redis.url, [*(names or ("lots",))], timeout=Seconds(1.0), **more)  # type: ignore[list-item]


@asynccontextmanager
async def reader(config: Config) -> AsyncGenerator[Server, None]:
    """The server, with all rights."""
    login = evolve(config.login, username=None, password=None, timeout_s=5.0)
    async with dialled(login) as server:
        yield server


async def read_meta(config: Config, name: str) -> Meta | None:
    async with reader(config) as server:
        return Meta.decode(await server.ask(server.client.hgetall(KEYS.meta(name))))


async def entries(config: Config, stream: Any) -> list[Entry]:
    async with reader(config) as server:
        key = KEYS.entries(stream.name, stream.epoch)
        found = await server.ask(server.client.xrange(key, "-", "+"))
        return [decode(one.identifier, one.field_values) for one in found]


async def table(config: Config, stream: Any) -> dict[str, bytes]:
    async with reader(config) as server:
        key = KEYS.table(stream.name, stream.epoch)
        found = await server.ask(server.client.hgetall(key))
        return {name.decode(): json for name, json in found.items()}


def as_sent(stream: Any) -> list[Entry]:
    """The entries of a history of which all is retained."""
    return [Carried(record.seq, record.json, record.seq - 1) for record in stream.after(0)]


# -- what is there --


async def test_a_stream_is_there_as_it_is_documented(
    redis: RedisServer, nursery: trio.Nursery
) -> None:
    stream = lots()
    happen(stream, 3)
    rig = Rig(nursery, config(redis), stream).start()
    await rig.caught_up()
    happen(stream, 2)
    await rig.finish()

    assert await entries(rig.config, stream) == as_sent(stream)
    newest_ms = stream.newest_record.time_ms
    assert await read_meta(rig.config, "lots") == Meta(
        "k3v9", "Lot", 1000, None, False, False, 5, newest_ms
    )
    async with reader(rig.config) as server:
        assert await server.ask(server.client.smembers("flowd:streams")) == {b"lots"}
        (first, *_) = await server.ask(server.client.xrange("flowd:{lots}:k3v9", "-", "+"))
    assert first.identifier == b"1-0"
    assert dict(first.field_values) == {
        b"json": stream.after(0)[0].json,
        b"epoch": b"k3v9",
        b"seq": b"1",
    }


async def test_it_goes_over_a_unix_socket_too(redis: RedisServer, nursery: trio.Nursery) -> None:
    stream = lots()
    happen(stream, 3)
    rig = Rig(nursery, evolve(config(redis), url=f"unix://{redis.socket}"), stream).start()
    await rig.finish()

    assert await entries(config(redis), stream) == as_sent(stream)


async def test_a_table_is_there_beside_its_stream_and_what_was_forgotten_is_told(
    redis: RedisServer, nursery: trio.Nursery
) -> None:
    stream = lots()
    for key in ("a", "b", "a", "ключ"):
        happen(stream, key=key)
    rig = Rig(nursery, config(redis), stream).start()
    await rig.caught_up()
    stream.forget("b")
    happen(stream, key="c")
    await rig.finish()

    held = {record.key: record.json for record in stream.after(0)}
    assert await table(rig.config, stream) == held
    told = await entries(rig.config, stream)
    assert [one for one in told if isinstance(one, Forgotten)] == [Forgotten(5, "b")]
    carried = [(one.seq, one.after) for one in told if isinstance(one, Carried)]
    assert carried == [(2, 0), (3, 2), (4, 3), (5, 4)]
    meta = await read_meta(rig.config, "lots")
    assert meta is not None
    assert meta.table


async def test_no_more_is_kept_than_is_retained(redis: RedisServer, nursery: trio.Nursery) -> None:
    stream = lots(retain=200)
    rig = Rig(nursery, config(redis), stream).start()
    for _ in range(20):
        happen(stream, 100)
        await rig.caught_up()
    await rig.finish()

    there = await entries(rig.config, stream)
    assert 200 <= len(there) <= 400
    assert there[-200:] == as_sent(stream)


async def test_a_new_epoch_takes_over_and_the_old_one_goes_after_a_while(
    redis: RedisServer, nursery: trio.Nursery
) -> None:
    old, new = lots(), lots(epoch="m4w1")
    happen(old, 9)
    happen(new, 2)
    await Rig(nursery, config(redis), old).start().finish()
    await Rig(nursery, config(redis), new).start().finish()

    meta = await read_meta(config(redis), "lots")
    assert meta is not None
    assert str(meta.position) == "m4w1.2"
    assert await entries(config(redis), new) == as_sent(new)
    async with reader(config(redis)) as server:
        left_s = await server.ask(server.client.ttl("flowd:{lots}:k3v9"))
    assert 0 < left_s <= 600


async def test_of_two_daemons_the_first_stops_and_says_so(
    redis: RedisServer, nursery: trio.Nursery
) -> None:
    first, second = lots(), lots(epoch="m4w1")
    happen(first, 2)
    happen(second, 2)
    one = Rig(nursery, config(redis), first).start()
    await one.caught_up()
    other = Rig(nursery, config(redis), second).start()
    await other.caught_up()
    happen(first)
    await one.problem("another daemon writes lots there, as epoch m4w1: stop one of them")
    happen(second)
    await other.caught_up()

    assert await entries(config(redis), second) == as_sent(second)
    assert len(await entries(config(redis), first)) == 2
    nursery.cancel_scope.cancel()


# -- what happens to it --


async def test_a_sink_that_is_started_again_sends_nothing_twice(
    redis: RedisServer, nursery: trio.Nursery
) -> None:
    stream = lots()
    happen(stream, 300)
    rig = Rig(nursery, config(redis), stream).start()
    await rig.caught_up()
    await rig.stop()
    happen(stream, 300)
    rig.start()
    await rig.finish()

    assert await entries(rig.config, stream) == as_sent(stream)
    assert rig.desk.tally.published == 600


async def test_one_that_comes_late_gets_everything(tmp_path: Path, nursery: trio.Nursery) -> None:
    with RedisServer(tmp_path / "redis") as redis:
        stream = lots()
        happen(stream, 5)
        rig = Rig(nursery, config(redis), stream).start()
        await rig.problem(f"lots to Redis at 127.0.0.1:{redis.port} cannot be reached")
        await redis.start()
        await rig.finish()

        assert await entries(rig.config, stream) == as_sent(stream)


@pytest.mark.parametrize("emptied", [False, True])
async def test_one_that_was_killed_and_comes_back_has_each_record_once(
    redis: RedisServer, nursery: trio.Nursery, emptied: bool
) -> None:
    stream = lots()
    happen(stream, 500)
    rig = Rig(nursery, config(redis), stream).start()
    await rig.caught_up()
    redis.kill()
    happen(stream, 300)
    await rig.problem("cannot be reached")
    if emptied:
        redis.forget_all()
    await redis.start()
    await rig.caught_up()
    happen(stream, 10)
    await rig.finish()

    assert await entries(rig.config, stream) == as_sent(stream)
    assert rig.desk.tally.published == (1310 if emptied else 810)


async def test_one_that_was_killed_again_and_again_while_records_come(
    redis: RedisServer, nursery: trio.Nursery
) -> None:
    stream = lots(retain=100_000)
    rig = Rig(nursery, evolve(config(redis), batch=50), stream).start()
    for _ in range(4):
        for _ in range(100):
            happen(stream, 20)
            await trio.sleep(0.001)
        redis.kill()
        happen(stream, 20)
        await redis.start()
    await rig.finish()

    assert await entries(rig.config, stream) == as_sent(stream)


async def test_one_that_is_paused_does_late_what_it_was_asked_and_nothing_twice(
    redis: RedisServer, nursery: trio.Nursery
) -> None:
    stream = lots()
    happen(stream, 10)
    rig = Rig(nursery, config(redis), stream).start()
    await rig.caught_up()
    for _ in range(2):
        redis.pause()
        happen(stream, 50)
        await rig.problem("does not answer within 1s")
        redis.wake()
        await rig.caught_up()
    await rig.finish()

    assert await entries(rig.config, stream) == as_sent(stream)


async def test_what_is_more_than_is_held_is_told_as_a_gap(
    redis: RedisServer, nursery: trio.Nursery
) -> None:
    stream = lots(retain=10, held=20)
    happen(stream, 10)
    rig = Rig(nursery, config(redis), stream).start()
    await rig.caught_up()
    redis.kill()
    happen(stream, 100)
    await rig.problem("cannot be reached")
    await redis.start()
    await rig.finish()

    told = await entries(rig.config, stream)
    assert [one for one in told if isinstance(one, Missing)] == [Missing(Gap(11, 80))]
    seqs = [one.seq for one in told if isinstance(one, Carried)]
    assert seqs[-30:] == list(range(81, 111))
    assert [one.after for one in told if isinstance(one, Carried)][-30] == 80


async def test_one_whose_memory_is_full_says_so_and_goes_on_when_there_is_room(
    redis: RedisServer, nursery: trio.Nursery
) -> None:
    stream = lots()
    happen(stream, 10)
    rig = Rig(nursery, config(redis), stream).start()
    await rig.caught_up()
    redis.answers("CONFIG", "SET", "maxmemory", "1mb")
    happen(stream, 10, text="x" * 1000)
    await rig.problem("its memory is full: raise its maxmemory")
    assert len(await entries(rig.config, stream)) == 10
    redis.answers("CONFIG", "SET", "maxmemory", "0")
    await rig.caught_up()
    await rig.finish()

    assert await entries(rig.config, stream) == as_sent(stream)


async def test_a_cut_in_the_midst_of_an_answer_costs_nothing(
    redis: RedisServer, nursery: trio.Nursery
) -> None:
    stream = lots(retain=100_000)
    proxy = Cutting(redis.port)
    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    nursery.start_soon(trio.serve_listeners, proxy.serve, [listener])
    port = listener.socket.getsockname()[1]
    through = evolve(config(redis), url=f"redis://127.0.0.1:{port}/0", batch=20)
    rig = Rig(nursery, through, stream).start()

    async def cuts() -> int:
        happen(stream, 10)
        return proxy.cuts

    await until(cuts, lambda count: count > 5)
    proxy.every = None
    rig.config = config(redis)
    await rig.finish()

    assert await entries(rig.config, stream) == as_sent(stream)
    assert rig.desk.tally.figures["retries"] > 3
    nursery.cancel_scope.cancel()


class Cutting:
    """Passes bytes on, and cuts each connection after so many bytes of answers."""

    def __init__(self, port: int) -> None:
        self._port = port
        self.every: int | None = 400
        self.cuts = 0

    async def serve(self, client: trio.SocketStream) -> None:
        server = await trio.open_tcp_stream("127.0.0.1", self._port)
        async with client, server, trio.open_nursery() as nursery:
            nursery.start_soon(self._pass, client, server, None)
            await self._pass(server, client, self.every)
            self.cuts += 1
            nursery.cancel_scope.cancel()

    async def _pass(
        self, one: trio.SocketStream, other: trio.SocketStream, most: int | None
    ) -> None:
        try:
            async for data in one:
                await other.send_all(data if most is None else data[:most])
                if most is not None and (most := most - len(data)) <= 0:
                    return
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            return


# -- what is wrong with it --


async def test_a_wrong_password_is_told_and_can_be_set_right_there(
    redis: RedisServer, nursery: trio.Nursery
) -> None:
    stream = lots()
    happen(stream, 3)
    redis.answers("ACL", "SETUSER", "flowd", "on", ">right", "~flowd:*", "+@all")
    wrong = evolve(config(redis), username="flowd", password=Secret("a test", "wrong"))
    rig = Rig(nursery, wrong, stream).start()
    await rig.problem("it knows no such user and password")
    assert "wrong" not in str(rig.desk.tally.problem)
    redis.answers("ACL", "SETUSER", "flowd", ">wrong")
    await rig.finish()

    assert await entries(config(redis), stream) == as_sent(stream)


async def test_one_that_wants_a_password_says_so(redis: RedisServer, nursery: trio.Nursery) -> None:
    redis.answers("CONFIG", "SET", "requirepass", "secret")
    rig = Rig(nursery, config(redis), lots()).start()
    await rig.problem("it wants a password")
    nursery.cancel_scope.cancel()


async def test_the_documented_rights_suffice_and_fewer_do_not(
    redis: RedisServer, nursery: trio.Nursery
) -> None:
    page = (Path(__file__).parents[2] / "docs/reference/redis.md").read_text("utf-8")
    (line,) = [one for one in page.splitlines() if one.startswith("ACL SETUSER ingest ")]
    rights = line.replace(">PASSWORD", ">secret").split()
    assert "OK" in redis.answers(*rights)
    stream = lots()
    happen(stream, 3, key="a")
    user = evolve(config(redis), username="ingest", password=Secret("a test", "secret"))
    rig = Rig(nursery, user, stream).start()
    await rig.caught_up()
    stream.forget("a")
    happen(stream, key="b")
    await until(partial(table, rig.config, stream), lambda found: list(found) == ["b"])
    redis.answers("ACL", "SETUSER", "ingest", "-evalsha")
    happen(stream, key="c")
    await rig.problem("its user may not do that")
    nursery.cancel_scope.cancel()


async def test_a_key_of_another_type_stops_its_own_stream_only(
    redis: RedisServer, nursery: trio.Nursery
) -> None:
    bad, good = lots(), lots("others")
    happen(bad, 3)
    happen(good, 3)
    redis.answers("SET", "flowd:{lots}", "mine")
    rig = Rig(nursery, config(redis, "lots", "others"), bad, good).start()
    await rig.problem("a key that is not flowd's is in the way: delete it")
    await until(partial(entries, rig.config, good), lambda found: len(found) == 3)
    redis.answers("DEL", "flowd:{lots}")
    await rig.finish()

    assert await entries(rig.config, bad) == as_sent(bad)


async def test_an_entry_that_somebody_else_added_is_taken_out_where_it_is_in_the_way(
    redis: RedisServer, nursery: trio.Nursery
) -> None:
    stream = lots()
    happen(stream, 3)
    rig = Rig(nursery, config(redis), stream).start()
    await rig.caught_up()
    redis.answers("XADD", "flowd:{lots}:k3v9", "*", "by", "hand")
    happen(stream, 2)
    await rig.finish()

    assert await entries(rig.config, stream) == as_sent(stream)


async def test_a_table_of_which_keys_were_lost_is_sent_again(
    redis: RedisServer, nursery: trio.Nursery
) -> None:
    stream = lots()
    for key in "abc":
        happen(stream, key=key)
    rig = Rig(nursery, config(redis), stream).start()
    await rig.caught_up()
    stream.forget("c")
    await until(partial(table, rig.config, stream), lambda found: set(found) == {"a", "b"})
    redis.answers("DEL", "flowd:{lots}:k3v9:table")
    happen(stream, key="d")
    await rig.finish()

    assert await table(rig.config, stream) == {r.key: r.json for r in stream.after(0)}


async def test_names_that_were_lost_are_told_again(
    redis: RedisServer, nursery: trio.Nursery, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flowd_redis.sink.ANNOUNCE_S", 0.0)
    stream = lots()
    happen(stream)
    rig = Rig(nursery, config(redis), stream).start()
    await rig.caught_up()
    redis.answers("DEL", "flowd:streams")
    happen(stream)
    await rig.caught_up()

    assert "lots" in redis.answers("SMEMBERS", "flowd:streams")
    await rig.finish()


async def test_a_password_that_is_not_set_ends_the_sink(
    redis: RedisServer, nursery: trio.Nursery
) -> None:
    without = evolve(config(redis), password=Secret("environment variable REDIS", None))

    with pytest.RaisesGroup(UserError, allow_unwrapped=True) as told:
        await publish(without, testing.streams(lots()), testing.desk())

    assert "REDIS is not set" in str(unwrap(told.value))


# -- the whole daemon, and TLS --


async def test_a_daemon_that_is_killed_again_and_again_has_each_record_there_once(
    redis: RedisServer, exchange: Exchange, flowd: Start
) -> None:
    extra = f'[sinks.redis]\nkind = "redis"\ninputs = ["orders"]\nurl = "{redis.url}"'

    async def there() -> list[Any]:
        async with reader(config(redis)) as server:
            meta = await read_meta(config(redis), "orders")
            assert meta is not None
            key = KEYS.entries("orders", meta.epoch)
            found = await server.ask(server.client.xrange(key, "-", "+"))
        told = [decode(one.identifier, one.field_values) for one in found]
        assert all(isinstance(one, Carried) for one in told)
        return [codec.decode(one.json) for one in told if isinstance(one, Carried)]

    await killed_again_and_again(flowd(extra=extra), exchange, there)


async def test_it_goes_over_tls_with_a_certificate_that_is_checked(
    tmp_path: Path, nursery: trio.Nursery
) -> None:
    authority = trustme.CA()
    certificate = authority.issue_cert("127.0.0.1")
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    certificate.cert_chain_pems[0].write_to_path(tmp_path / "cert.pem")
    certificate.private_key_pem.write_to_path(tmp_path / "key.pem")
    port = str(free_port())
    options = ["--tls-port", port, "--tls-auth-clients", "no"]
    options += ["--tls-cert-file", str(tmp_path / "cert.pem")]
    options += ["--tls-key-file", str(tmp_path / "key.pem")]
    options += ["--tls-ca-cert-file", str(tmp_path / "ca.pem")]
    stream = lots()
    happen(stream, 3)
    with RedisServer(tmp_path / "redis", *options) as redis:
        await redis.start()
        url = f"rediss://127.0.0.1:{port}/0"
        unknown = Rig(nursery, evolve(config(redis), url=url), stream).start()
        await unknown.problem("certificate verify failed")
        await unknown.stop()
        known = evolve(config(redis), url=url, ca=str(tmp_path / "ca.pem"))
        await Rig(nursery, known, stream).start().finish()

        assert await entries(config(redis), stream) == as_sent(stream)
