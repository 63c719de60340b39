"""What an edge asks Redis, asked of a real one that is killed, paused and filled with anything."""

import re
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio
from flowd_redis.copying import Unreadable
from flowd_redis.layout import Keys, Meta, record_fields
from flowd_redis.reading import RedisReader
from flowd_redis.server import CONNECTIONS_MAX, Login, dialled
from flowd_redis.source import Config, discover

from flowd.plugin import Record, Secret, UpstreamError
from tests.edge.process import until
from tests.edge.redis import RedisServer

KEYS = Keys("test")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with RedisServer(tmp_path_factory.mktemp("redis")) as found:
        trio.run(found.start)
        yield found


@pytest.fixture
async def client(server: RedisServer) -> AsyncIterator[Any]:
    async with server.client() as found:
        await found.flushall()
        yield found


async def written(client: Any, stream: str, count: int, size: int = 10) -> list[Record[Any]]:
    """So many records, as a daemon writes them, and the hash of a stream."""
    records: list[Record[Any]] = []
    for seq in range(1, count + 1):
        record: Record[Any] = Record(seq, 1000 + seq, "x" * size, f"k{seq % 10}")
        await client.xadd(
            KEYS.entries(stream, "e1"), record_fields(record, "e1", seq - 1), identifier=f"{seq}-0"
        )
        await client.hset(KEYS.table(stream, "e1"), {record.key: record.json})
        records.append(record)
    meta = Meta("e1", "Order", 5000, table=True, seq=count, time_ms=1000 + count)
    await client.hset(KEYS.meta(stream), meta.encode())
    await client.sadd(KEYS.streams, [stream])
    return records


async def test_what_there_is_is_found(server: RedisServer, client: Any) -> None:
    await written(client, "orders", 3)

    async with dialled(Login(server.url)) as mine:
        reader = RedisReader(mine, KEYS)
        names = await reader.names()
        metas = await reader.metas(["orders", "nope"])
        alone = await reader.meta("orders")

    assert names == {"orders"}
    assert metas == {
        "orders": Meta("e1", "Order", 5000, table=True, seq=3, time_ms=1003),
        "nope": None,
    }
    assert alone == metas["orders"]


async def test_entries_come_in_portions_of_about_a_megabyte(
    server: RedisServer, client: Any
) -> None:
    records = await written(client, "orders", 60, size=100_000)
    found: list[bytes] = []
    portions: list[int] = []

    async with dialled(Login(server.url)) as mine:
        reader = RedisReader(mine, KEYS)
        at = b"0-0"
        while entries := await reader.page("orders", "e1", at):
            at = entries[-1][0]
            found += [fields[b"json"] for _, fields in entries]
            portions.append(sum(len(fields[b"json"]) for _, fields in entries))
        table = await reader.table("orders", "e1")

    assert found == [record.json for record in records]
    assert len(portions) > 1
    # The first is asked for before it is known how large they are.
    assert all(size <= 2_000_000 for size in portions[1:])
    assert table == {str(record.key).encode(): record.json for record in records[-10:]}


async def test_a_table_of_many_keys_is_read_whole(server: RedisServer, client: Any) -> None:
    wanted = {b"k%d" % number: b"{%d}" % number for number in range(3000)}
    await client.hset(KEYS.table("orders", "e1"), wanted)

    async with dialled(Login(server.url)) as mine:
        assert await RedisReader(mine, KEYS).table("orders", "e1") == wanted


async def test_news_come_as_they_are_written(
    server: RedisServer, client: Any, nursery: trio.Nursery
) -> None:
    async with dialled(Login(server.url)) as mine:
        reader = RedisReader(mine, KEYS)
        places = {("orders", "e1"): b"0-0", ("trades", "e1"): b"0-0"}
        nothing = await reader.news(places, 50)

        async def later() -> None:
            await trio.sleep(0.2)
            await written(client, "orders", 1)

        nursery.start_soon(later)
        began = trio.current_time()
        found = await reader.news(places, 5000)

    assert nothing == {}
    assert [(name, [id for id, _ in entries]) for name, entries in found.items()] == [
        ("orders", [b"1-0"])
    ]
    assert trio.current_time() - began < 3


async def test_others_are_asked_while_one_waits_for_news(server: RedisServer, client: Any) -> None:
    await written(client, "orders", 1)
    async with dialled(Login(server.url)) as mine:
        reader = RedisReader(mine, KEYS)
        with trio.fail_after(2):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(reader.news, {("orders", "e1"): b"1-0"}, 5000)
                await trio.sleep(0.1)
                assert await reader.names() == {"orders"}
                nursery.cancel_scope.cancel()


async def test_a_redis_that_is_killed_is_an_upstream_that_fails(tmp_path: Path) -> None:
    with RedisServer(tmp_path) as server:
        await server.start()

        async def waiting() -> None:
            async with dialled(Login(server.url)) as mine:
                reader = RedisReader(mine, KEYS)
                await reader.names()
                server.kill()
                await reader.news({("orders", "e1"): b"0-0"}, 5000)

        with pytest.raises(UpstreamError, match=f"127.0.0.1:{server.port} cannot be reached"):
            await only(waiting)


async def test_a_redis_that_is_paused_is_given_up(tmp_path: Path) -> None:
    with RedisServer(tmp_path) as server:
        await server.start()

        async def waiting() -> None:
            async with dialled(Login(server.url, timeout_s=0.3)) as mine:
                reader = RedisReader(mine, KEYS)
                await reader.names()
                server.pause()
                await reader.names()

        with pytest.raises(UpstreamError, match=r"does not answer within 0\.3s"):
            await only(waiting)
        server.wake()


async def test_a_redis_that_is_paused_from_the_start_does_not_answer_either(tmp_path: Path) -> None:
    with RedisServer(tmp_path) as server:
        await server.start()
        server.pause()

        async def asking() -> None:
            async with dialled(Login(server.url, timeout_s=0.3)) as mine:
                await RedisReader(mine, KEYS).names()

        with pytest.raises(UpstreamError, match="does not answer"):
            await only(asking)
        server.wake()


@pytest.mark.parametrize("how", ["paused", "killed", "left"])
async def test_it_is_asked_as_before_however_often_it_failed(tmp_path: Path, how: str) -> None:
    with RedisServer(tmp_path) as server:
        await server.start()
        async with dialled(Login(server.url, timeout_s=0.2)) as mine:
            reader = RedisReader(mine, KEYS)

            async def failing(ask: Any, *given: Any) -> None:
                with suppress(UpstreamError):
                    await ask(*given)

            for _ in range(2 * CONNECTIONS_MAX):
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(failing, reader.news, {("orders", "e1"): b"0-0"}, 500)
                    await until(server.clients, lambda found: "blocked_clients:1" in found)
                    if how == "paused":
                        server.pause()
                    elif how == "killed":
                        server.kill()
                    else:
                        nursery.cancel_scope.cancel()
                    for _ in range(6):
                        nursery.start_soon(failing, reader.names)
                if how == "paused":
                    server.wake()
                elif how == "killed":
                    await server.start()

                assert await reader.names() == set()
                assert await reader.news({("orders", "e1"): b"0-0"}, 1) == {}


async def test_a_redis_that_is_not_there_is_an_upstream_that_fails() -> None:
    async def asking() -> None:
        async with dialled(Login("redis://127.0.0.1:1/0")) as mine:
            await RedisReader(mine, KEYS).names()

    with pytest.raises(UpstreamError, match=r"127\.0\.0\.1:1 cannot be reached"):
        await only(asking)


async def test_a_wrong_password_is_told_and_not_shown(tmp_path: Path) -> None:
    with RedisServer(tmp_path, "--requirepass", "right") as server:
        await server.start()

        async def asking(password: str) -> set[str]:
            async with dialled(Login(server.url, password=Secret("a test", password))) as mine:
                return await RedisReader(mine, KEYS).names()

        assert await asking("right") == set()
        with pytest.raises(UpstreamError) as caught:
            await only(lambda: asking("wrong-one"))
        assert "wrong-one" not in str(caught.value)


@pytest.mark.parametrize("kind", ["text", "hash"])
async def test_what_flowd_did_not_write_is_an_error_and_no_crash(
    kind: str, server: RedisServer, client: Any
) -> None:
    if kind == "text":
        await client.set(KEYS.meta("orders"), b"anything")
    else:
        await client.hset(KEYS.meta("orders"), {"anything": b"else"})

    async def asking() -> None:
        async with dialled(Login(server.url)) as mine:
            await RedisReader(mine, KEYS).meta("orders")

    with pytest.raises(UpstreamError, match=r"orders|in the way"):
        await only(asking)


async def only(asking: Any) -> Any:
    """What it raises, without the group it may come in."""
    try:
        return await asking()
    except BaseExceptionGroup as group:
        (error,) = group.exceptions
        raise error from None


async def test_a_hash_that_flowd_did_not_write_is_nobody_else_s_trouble(
    server: RedisServer, client: Any, caplog: pytest.LogCaptureFixture
) -> None:
    await written(client, "orders", 3)
    await client.hset(KEYS.meta("strange"), {"by": "hand"})

    async with dialled(Login(server.url)) as mine:
        reader = RedisReader(mine, KEYS)
        for _ in range(2):
            metas = await reader.metas(["orders", "strange"])

    assert isinstance(metas["orders"], Meta)
    assert isinstance(metas["strange"], Unreadable)
    (told,) = [one.message for one in caplog.records if one.levelname == "WARNING"]
    assert "strange: its hash is not as flowd writes it" in told


async def test_where_none_is_like_what_is_followed_it_says_which_there_are(
    server: RedisServer, client: Any
) -> None:
    await written(client, "orders", 3)

    with pytest.raises(UpstreamError, match=r"no stream like \['candles-\*'\]; there are: orders"):
        await discover(Config(server.url, ["candles-*"], prefix=KEYS.prefix))


async def test_a_key_in_the_way_is_told_of_its_stream_alone(
    server: RedisServer, client: Any
) -> None:
    for name in ("orders", "hash", "entries", "table"):
        await written(client, name, 3)
    for key in (KEYS.meta("hash"), KEYS.entries("entries", "e1"), KEYS.table("table", "e1")):
        await client.set(key, b"by hand")

    async with dialled(Login(server.url)) as mine:
        reader = RedisReader(mine, KEYS)
        metas = await reader.metas(["hash", "orders"])
        places = {(name, "e1"): b"0-0" for name in ("orders", "entries", "table")}
        news = await reader.news(places, 5000)
        asked = {
            KEYS.entries("entries", "e1"): partial(reader.page, "entries", "e1", b"0-0"),
            KEYS.table("table", "e1"): partial(reader.table, "table", "e1"),
            KEYS.meta("hash"): partial(reader.meta, "hash"),
        }
        for key, ask in asked.items():
            with pytest.raises(Unreadable, match=re.escape(f"the key {key} is a string")):
                await ask()
        gone = [await reader.gone(name, "e1") for name in ("orders", "nope")]

    assert isinstance(metas["orders"], Meta)
    assert "test:{hash} is a string, and not flowd's: delete it" in str(metas["hash"])
    assert list(news) == ["entries"]
    assert "test:{entries}:e1 is a string" in str(news["entries"])
    assert gone == [False, True]


async def test_who_may_not_ask_what_a_key_is_is_told_which_it_is(
    server: RedisServer, client: Any
) -> None:
    await client.set(KEYS.meta("orders"), b"by hand")
    rights = ("on", ">right", "~test:*", "+@all", "-type")
    assert server.answers("ACL", "SETUSER", "reader", *rights).startswith("+OK")

    async with dialled(Login(server.url, "reader", Secret("a test", "right"))) as mine:
        reader = RedisReader(mine, KEYS)
        metas = await reader.metas(["orders"])
        gone = await reader.gone("orders", "e1")

    assert "the key test:{orders} is something else, and not flowd's" in str(metas["orders"])
    assert not gone


async def test_where_the_set_of_names_is_none_it_says_which_key_that_is(
    server: RedisServer, client: Any
) -> None:
    await client.set(KEYS.streams, b"by hand")

    with pytest.raises(UpstreamError, match="the key test:streams is a string, and not flowd's"):
        await discover(Config(server.url, prefix=KEYS.prefix))


@pytest.mark.parametrize("streams", [["*"], ["orders"]])
async def test_who_begins_where_nothing_can_be_read_is_told_why(
    streams: list[str], server: RedisServer, client: Any
) -> None:
    await written(client, "orders", 3)
    await client.set(KEYS.meta("orders"), b"by hand")

    with pytest.raises(UpstreamError, match=r"the key test:\{orders\} is a string"):
        await discover(Config(server.url, streams, prefix=KEYS.prefix))
