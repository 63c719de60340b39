"""The test kit, tested: whoever leans on it must not be let down."""

import pytest
import trio
from attrs import frozen
from trio.testing import MockClock, wait_all_tasks_blocked

from flowd import testing
from flowd.plugin import Sink, Source, StreamName, Transform
from flowd.stream.inputs import Streams
from flowd.upstream.feed import Feed
from flowd.values.errors import UpstreamError, UpstreamSilent

URL = "wss://exchange.test/market"


@frozen
class Config:
    pass


@frozen
class TransformConfig:
    input: StreamName


@frozen
class Tick:
    n: int


class Ticker:
    """A plugin whose source says each message it gets, and whose transform doubles them."""

    @staticmethod
    async def ticks(config: Config, feed: Feed[Tick]) -> None:
        async with feed.websocket(URL) as upstream:
            await upstream.send("hello")
            async for message in upstream:
                feed.publish(Tick(int(message)), id=str(message))

    @staticmethod
    async def doubled(config: TransformConfig, streams: Streams, feed: Feed[Tick]) -> None:
        async for record in streams[config.input].cursor().records():
            feed.publish(Tick(record.value.n * 2))

    @classmethod
    def flowd_sources(cls) -> list[Source]:
        return [Source("ticks", cls.ticks, Config, record=Tick)]

    @classmethod
    def flowd_transforms(cls) -> list[Transform]:
        return [Transform("doubled", cls.doubled, TransformConfig, record=Tick, reads=Tick)]


TOML = """
[sources.ticks]
kind = "ticks"

[transforms.twice]
kind = "doubled"
input = "ticks"
"""


async def converse(feed: testing.ScriptedFeed[Tick]) -> list[str | bytes]:
    """All messages of one connection, until it ends in an error."""
    heard: list[str | bytes] = []
    async with feed.websocket(URL) as upstream:
        async for message in upstream:
            heard.append(message)
    return heard


# -- scripts --


async def test_a_script_says_what_it_is_told_to_and_stays(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    feed = testing.feed(testing.says("1", "2"))
    nursery.start_soon(Ticker.ticks, Config(), feed)

    await trio.sleep(3600)

    assert feed.values == [Tick(1), Tick(2)]
    assert feed.tally.open == 1, "pings are answered"
    nursery.cancel_scope.cancel()


async def test_what_the_client_said_can_be_looked_at(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    feed = testing.feed(testing.says())
    nursery.start_soon(Ticker.ticks, Config(), feed)

    await wait_all_tasks_blocked()

    assert feed.upstream.urls == [URL]
    assert feed.upstream.heard == ["hello"]
    assert feed.upstream.connections[0].heard == ["hello"]
    nursery.cancel_scope.cancel()


async def test_each_dial_plays_the_next_script_and_the_last_one_goes_on(
    autojump_clock: MockClock,
) -> None:
    feed = testing.feed(
        testing.says("1") + testing.waits(1) + testing.drops(),
        testing.unreachable(),
        testing.says("2") + testing.closes(1001, "bye"),
    )

    ends = []
    for _ in range(4):
        with pytest.raises(UpstreamError) as ended:
            await Ticker.ticks(Config(), feed)
        ends.append(str(ended.value).partition(" (")[0])

    closed = "closed by upstream with 1001 bye"
    assert ends == ["connection lost", "cannot connect: nobody there", closed, closed]
    assert feed.values == [Tick(1), Tick(2)]


@pytest.mark.parametrize(
    ("script", "words"),
    [
        (testing.unreachable(), "cannot connect"),
        (testing.hangs(), "no answer within 10s"),
        (testing.refuses(503), "refused with HTTP 503"),
        (testing.drops(), "connection lost"),
        (testing.closes(4000, "why"), "closed by upstream with 4000 why"),
        (testing.sends_garbage(), "closed by upstream with 1002"),
        (testing.sends_garbage(b"\x81\x02\xff\xff"), "closed by upstream with 1007"),
        (testing.waits(10) + testing.drops(), "connection lost"),
    ],
)
async def test_every_kind_of_trouble_is_what_the_real_codec_makes_of_it(
    script: testing.Script, words: str, autojump_clock: MockClock
) -> None:
    with pytest.raises(UpstreamError, match=words):
        await converse(testing.feed(script))


async def test_falling_silent_is_sending_not_even_a_pong(autojump_clock: MockClock) -> None:
    with pytest.raises(UpstreamSilent, match="silent for 60s"):
        await converse(testing.feed(testing.says("1") + testing.falls_silent()))

    assert trio.current_time() == pytest.approx(60)


async def test_an_upstream_can_wait_for_words_and_answer_them(autojump_clock: MockClock) -> None:
    feed = testing.feed(
        testing.hears()
        + testing.answers(lambda text: "7" if text == "more" else None)
        + testing.says("1")
    )
    heard = []

    async with feed.websocket(URL) as upstream:
        await upstream.send("more")
        heard.append(await anext(upstream))
        await upstream.send("nothing")
        await upstream.send("more")
        heard.append(await anext(upstream))

    assert heard == ["1", "7"]


async def test_a_play_of_ones_own_has_the_connection(autojump_clock: MockClock) -> None:
    async def play(connection: testing.Connection) -> None:
        await connection.say(f"{connection.headers['x-key']} {await connection.hear()}")

    feed = testing.feed(testing.plays(play))

    async with feed.websocket(URL, headers=[(b"X-Key", b"secret")]) as upstream:
        await upstream.send("words")

        assert await anext(upstream) == "secret words"


async def test_a_play_that_fails_is_not_silent(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    async def play(connection: testing.Connection) -> None:
        assert await connection.hear() == "something else"

    feed = testing.feed(testing.plays(play))

    with pytest.raises(UpstreamError):
        await Ticker.ticks(Config(), feed)
    with pytest.raises(AssertionError):
        await Ticker.ticks(Config(), feed)

    assert "a script failed" in caplog.text


# -- what components get --


async def test_a_feed_keeps_its_tables_through_a_restart_of_the_component(
    autojump_clock: MockClock,
) -> None:
    feed = testing.feed()
    feed.table("state", Tick).append(Tick(1), key="a")

    again = feed.table("state", Tick)

    assert again is feed.tables["state"]
    assert again.get("a") == Tick(1)


async def test_a_transform_reads_streams_and_goes_on_from_its_places(
    autojump_clock: MockClock,
) -> None:
    ticks = testing.stream("ticks", [Tick(1), Tick(2)])
    places: dict[str, int] = {}
    feed = testing.feed()
    with trio.move_on_after(1):
        await Ticker.doubled(TransformConfig("ticks"), testing.streams(ticks, places=places), feed)
    ticks.append(Tick(3))
    ticks.close()

    await Ticker.doubled(TransformConfig("ticks"), testing.streams(ticks, places=places), feed)

    assert feed.values == [Tick(2), Tick(4), Tick(6)]
    assert places == {"ticks": 3}


def test_plain_functions_need_no_trio() -> None:
    batch = testing.stream("ticks", [Tick(1)]).cursor().read()

    assert [record.time_ms for record in batch.records] == [testing.START_MS]


# -- a daemon --


async def test_a_daemon_runs_what_its_configuration_says(autojump_clock: MockClock) -> None:
    upstream = testing.upstream(testing.says("1", "2"))

    async with testing.daemon(
        TOML, registry=testing.registry(Ticker), dial=upstream.dial
    ) as daemon:
        await trio.sleep(1)

        found = [record.value for record in daemon.streams["twice"].after(0)]
        assert found == [Tick(2), Tick(4)]
        assert (await daemon.get("/health")).status == 200


async def test_without_a_dial_nothing_can_be_reached(autojump_clock: MockClock) -> None:
    async with testing.daemon(TOML, registry=testing.registry(Ticker)) as daemon:
        await trio.sleep(1)

        answer = await daemon.get("/health")

    assert answer.status == 503
    assert "cannot connect: nobody there" in answer.json()["problems"]["ticks"]


@pytest.mark.parametrize("crash", [False, True])
async def test_a_store_outlives_its_daemon_however_that_ended(
    crash: bool, autojump_clock: MockClock
) -> None:
    store = testing.MemoryStore()
    upstream = testing.upstream(testing.says("1"), testing.waits(1))
    heads = []

    for seconds in (8, 1):
        async with testing.daemon(
            TOML,
            registry=testing.registry(Ticker),
            dial=upstream.dial,
            store=store,
            seed=seconds,
            crash=crash,
        ) as daemon:
            await trio.sleep(seconds)
            heads.append(daemon.streams["ticks"].head)

    before, after = heads
    assert after == before
    assert before.seq == 1


async def test_a_failure_inside_the_block_is_raised_as_it_is(autojump_clock: MockClock) -> None:
    with pytest.raises(KeyError):
        async with testing.daemon("", registry=testing.registry()):
            raise KeyError("mine")


async def test_installed_plugins_are_there_without_a_registry(autojump_clock: MockClock) -> None:
    async with testing.daemon('[sinks.events]\nkind = "sse"') as daemon:
        client = daemon.connect("/sse/outages")

        assert client.news().startswith(b"HTTP/1.1 200 OK\r\n")


async def test_the_door_answers_with_what_is_asked_in_any_script(
    autojump_clock: MockClock,
) -> None:
    async with testing.daemon("", registry=testing.registry()) as daemon:
        found = await daemon.get("/streams")
        missing = await daemon.get("/nowhere/龙虾?q=ü")

    assert [stream["name"] for stream in found.json()["streams"]] == ["outages"]
    assert missing.status == 404


# -- clients --


def test_a_socket_takes_everything_until_it_is_told_otherwise() -> None:
    socket = testing.FakeSocket()

    taken = [socket.send(b"12345")]
    socket.takes(3)
    taken.append(socket.send(b"abcdef"))
    with pytest.raises(BlockingIOError):
        socket.send(b"def")
    socket.recovers()
    taken.append(socket.send(b"def"))

    assert taken == [5, 3, 3]
    assert socket.taken == b"12345abcdef"


async def test_who_waits_for_room_is_woken_by_it(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    socket = testing.FakeSocket()
    socket.blocks()
    woken = []

    async def wait() -> None:
        await socket.writable()
        woken.append(trio.current_time())

    nursery.start_soon(wait)
    await trio.sleep(5)
    socket.takes(1)
    await wait_all_tasks_blocked()

    assert woken == [5]


async def test_a_socket_that_breaks_or_closes_lets_nobody_wait(autojump_clock: MockClock) -> None:
    socket = testing.FakeSocket()
    socket.blocks()
    socket.breaks()

    await socket.writable()

    with pytest.raises(BrokenPipeError):
        socket.send(b"x")
    socket.close()
    with pytest.raises(trio.ClosedResourceError):
        await socket.writable()


async def test_a_client_who_leaves_is_gone(autojump_clock: MockClock) -> None:
    async with testing.daemon('[sinks.ws]\nkind = "websocket"') as daemon:
        client = daemon.connect("/ws?streams=outages")

        client.leave()

        assert client.gone == "left"
        assert client.socket.closed
        assert len(daemon.channels) == 0


async def test_a_client_of_no_path_is_told_which_there_are(autojump_clock: MockClock) -> None:
    async with testing.daemon('[sinks.ws]\nkind = "websocket"') as daemon:
        with pytest.raises(LookupError, match="/ws"):
            daemon.connect("/sse/outages")


def test_a_registry_knows_only_what_it_was_given() -> None:
    found = testing.registry(Ticker)

    assert list(found.sources) == ["ticks"]
    assert list(found.transforms) == ["doubled"]
    assert found.sinks == dict[str, Sink]()
