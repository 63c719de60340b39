"""What a component may do: publish, drop, keep tables, dial, renew, and read its inputs."""

import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, cast
from urllib.parse import SplitResult

import pytest
import trio
import trio_websocket
from attrs import frozen
from trio.testing import MockClock, memory_stream_pair
from trio_websocket import WebSocketConnection

from flowd import testing
from flowd.plugin import Source
from flowd.stream.held import Retain
from flowd.stream.log import Stream
from flowd.stream.mirror import Mirrored
from flowd.stream.volatile import MemoryStore
from flowd.upstream.feed import PORTION, Feed
from flowd.values.clock import trio_clock
from flowd.values.errors import UpstreamError, UserError

START_MS = 1_700_000_000_000
URL = "wss://exchange.example/ws"


@frozen
class Tick:
    price: int


@frozen
class Nothing:
    """A component without settings."""


async def no_dial(url: SplitResult) -> trio.abc.Stream:
    raise OSError("nobody there")


@frozen
class Order:
    """What has a time of its own."""

    time_ms: int


def make_stream(name: str = "orders", retain: int = 5000, **more: Any) -> Stream[Tick]:
    return Stream(name, Tick, clock=lambda: START_MS, epoch="e", retain=Retain(retain), **more)


def make_feed(
    dial: Callable[[SplitResult], Awaitable[trio.abc.Stream]] = no_dial,
    clock: Callable[[], int] | None = None,
    on_delivering: Callable[[int], None] = lambda from_ms: None,
    retain: int = 5000,
) -> Feed[Tick]:
    tables: dict[str, Stream[Any]] = {}

    def table(name: str, record: type[Any]) -> Stream[Any]:
        return tables.setdefault(
            name, Stream(name, record, clock=lambda: START_MS, epoch="e", private=True)
        )

    return Feed(
        "orders",
        make_stream(retain=retain),
        clock=clock or (lambda: START_MS),
        dial=dial,
        table=table,
        on_delivering=on_delivering,
    )


def exchange(
    nursery: trio.Nursery, serve: Callable[[WebSocketConnection], Awaitable[None]]
) -> Callable[[SplitResult], Awaitable[trio.abc.Stream]]:
    """A dial to an upstream that accepts everybody and then does `serve`."""

    async def answer(stream: trio.abc.Stream) -> None:
        async with trio.open_nursery() as inner:
            request = await trio_websocket.wrap_server_stream(inner, cast(Any, stream))
            with suppress(trio_websocket.ConnectionClosed):
                await serve(await request.accept())
            inner.cancel_scope.cancel()

    async def dial(url: SplitResult) -> trio.abc.Stream:
        ours, theirs = memory_stream_pair()
        nursery.start_soon(answer, theirs)
        await trio.lowlevel.checkpoint()
        return ours

    return dial


async def hold(connection: WebSocketConnection) -> None:
    await trio.sleep_forever()


# -- publish and drop


def test_publishing_appends_and_counts() -> None:
    feed = make_feed()

    record = feed.publish(Tick(1))
    again = [feed.publish(Tick(1), id="x"), feed.publish(Tick(1), id="x")]

    assert record is not None
    assert record.seq == 1
    assert again[1] is None
    assert (feed.tally.published, feed.tally.duplicates) == (2, 1)
    assert feed.tally.last_record_ms == START_MS


def test_what_is_told_as_past_is_no_sign_of_lateness() -> None:
    feed = testing.feed(record=Order)

    feed.publish(Order(START_MS - 500_000), past=True)
    after_past = feed.reach.late_ms(START_MS)
    feed.publish(Order(START_MS - 300))

    assert after_past is None
    assert feed.reach.late_ms(START_MS) == 0
    assert feed.reach.usual_ms == 300
    assert feed.tally.published == 2


def test_what_was_published_under_a_key_is_there_until_it_is_forgotten() -> None:
    feed = make_feed()
    feed.publish(Tick(1), key="BTC")

    equal = feed.publish(Tick(1), key="BTC")
    newest = feed.get("BTC")
    feed.forget("BTC")

    assert (equal, newest, feed.get("BTC")) == (None, Tick(1), None)
    assert feed.tally.duplicates == 1


def test_what_was_published_and_is_retained_can_be_read() -> None:
    feed = make_feed(retain=2)
    for price in (1, 2, 3):
        feed.publish(Tick(price))

    assert [record.value for record in feed.records()] == [Tick(2), Tick(3)]
    assert feed.retain == Retain(2)


async def test_a_list_replaces_all_that_was_in_the_table(autojump_clock: MockClock) -> None:
    feed = make_feed()
    first = await feed.replace({"BTC": Tick(1), "ETH": Tick(2), "LUNA": Tick(3)})

    changed = await feed.replace({"BTC": Tick(1), "ETH": Tick(5), "SOL": Tick(4)})
    again = await feed.replace({"SOL": Tick(4), "ETH": Tick(5), "BTC": Tick(1)})

    assert (first, changed) == ({"BTC", "ETH", "LUNA"}, {"ETH", "SOL", "LUNA"})
    assert again == set()
    assert {r.key: r.value.price for r in feed.records()} == {"BTC": 1, "ETH": 5, "SOL": 4}
    assert (feed.tally.published, feed.tally.duplicates) == (5, 4)
    assert await feed.replace({}) == {"BTC", "ETH", "SOL"}
    assert feed.records() == []


async def test_a_list_replaces_nothing_that_has_no_key(autojump_clock: MockClock) -> None:
    feed = make_feed()
    feed.publish(Tick(7))

    await feed.replace({"BTC": Tick(1)})
    await feed.replace({})

    assert [record.value for record in feed.records()] == [Tick(7)]


async def test_a_record_of_a_list_that_cannot_be_published_forgets_nothing(
    autojump_clock: MockClock,
) -> None:
    feed = make_feed()
    await feed.replace({"BTC": Tick(1), "ETH": Tick(2)})
    bad = cast(Tick, Order(5))

    with pytest.raises(TypeError, match="orders carries Tick, not Order"):
        await feed.replace({"SOL": Tick(3), "LUNA": bad, "DOGE": Tick(4)})

    assert [record.key for record in feed.records()] == ["BTC", "ETH", "SOL"]


async def test_a_long_list_lets_others_run_in_between(autojump_clock: MockClock) -> None:
    feed = make_feed()
    steps: list[int] = []

    class Steps(trio.abc.Instrument):
        before = 0

        def before_task_step(self, task: Any) -> None:
            self.before = len(feed.records())

        def after_task_step(self, task: Any) -> None:
            steps.append(len(feed.records()) - self.before)

    watch = Steps()
    trio.lowlevel.add_instrument(watch)
    await feed.replace({str(number): Tick(number) for number in range(1000)})
    await feed.replace({"1": Tick(1)})
    trio.lowlevel.remove_instrument(watch)

    assert (max(steps), min(steps)) == (PORTION, -PORTION)
    assert len(feed.records()) == 1


async def test_what_a_list_held_before_a_restart_is_forgotten_after_it(
    autojump_clock: MockClock,
) -> None:
    lists = [{"BTC": Tick(1), "LUNA": Tick(2)}, {"BTC": Tick(1), "ETH": Tick(3)}]
    changed: list[set[str]] = []

    async def tell(config: Nothing, feed: Feed[Tick]) -> None:
        changed.append(await feed.replace(lists[len(changed)]))
        feed.delivering()
        await trio.sleep_forever()

    class Plugin:
        @staticmethod
        def flowd_sources() -> list[Source]:
            return [Source("listed", tell, Nothing, record=Tick)]

    toml, registry = '[sources.all]\nkind = "listed"\n', testing.registry(Plugin)
    store = MemoryStore()
    for _ in lists:
        async with testing.daemon(toml, registry=registry, store=store) as daemon:
            await trio.sleep(5)
            keys = [record.key for record in daemon.streams["all"].after(0)]

    assert keys == ["BTC", "ETH"]
    assert changed == [{"BTC", "LUNA"}, {"ETH", "LUNA"}]


def test_a_table_is_the_same_whenever_it_is_asked_for() -> None:
    feed = make_feed()

    table = feed.table("prices", Tick)
    table.append(Tick(5), key="BTC")

    assert feed.table("prices", Tick).get("BTC") == Tick(5)
    assert feed.records() == []


def test_what_is_dropped_is_counted_in_the_tally() -> None:
    feed = make_feed()

    feed.drop("not JSON", "<html>")

    assert feed.tally.dropped == {"not JSON": 1}


# -- upstream


async def test_a_connection_is_counted_while_it_is_open(
    nursery: trio.Nursery, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    feed = make_feed(exchange(nursery, hold))

    async with feed.websocket(URL) as upstream, feed.websocket(URL):
        during = (feed.tally.connections, feed.tally.open)

    assert during == (2, 2)
    assert (feed.tally.connections, feed.tally.open) == (2, 0)
    assert upstream.url == URL
    assert f"orders: connected to {URL}" in caplog.messages
    nursery.cancel_scope.cancel()


async def test_messages_are_counted_and_end_the_outage(nursery: trio.Nursery) -> None:
    async def serve(connection: WebSocketConnection) -> None:
        for _ in range(3):
            await connection.send_message("tick")
        await connection.get_message()

    delivering: list[str] = []
    feed = make_feed(exchange(nursery, serve), on_delivering=lambda _: delivering.append("now"))

    async with feed.websocket(URL) as upstream:
        before = feed.tally.delivering
        for _ in range(3):
            await anext(upstream)
        during = feed.tally.delivering

    assert (before, during, feed.tally.delivering) == (False, True, False)
    assert delivering == ["now"]
    assert (feed.tally.messages, feed.tally.last_message_ms) == (3, START_MS)
    assert feed.tally.last_alive_ms == START_MS
    nursery.cancel_scope.cancel()


async def test_a_source_may_know_better_when_data_flows(nursery: trio.Nursery) -> None:
    async def serve(connection: WebSocketConnection) -> None:
        await connection.send_message("welcome")
        await connection.get_message()

    delivering: list[str] = []
    feed = make_feed(exchange(nursery, serve), on_delivering=lambda _: delivering.append("now"))

    async with feed.websocket(URL, delivers=False) as upstream:
        await anext(upstream)
        before = list(delivering)
        feed.delivering()
        feed.delivering()

    assert (before, delivering) == ([], ["now"])
    nursery.cancel_scope.cancel()


async def test_one_of_two_connections_that_ends_does_not_end_the_delivery(
    nursery: trio.Nursery,
) -> None:
    feed = make_feed(exchange(nursery, hold))

    async with feed.websocket(URL):
        async with feed.websocket(URL):
            feed.delivering()
        after_one = feed.tally.delivering

    assert (after_one, feed.tally.delivering) == (True, False)
    nursery.cancel_scope.cancel()


async def test_a_pong_is_a_sign_of_life_where_pongs_count(autojump_clock: MockClock) -> None:
    async def serve(connection: WebSocketConnection) -> None:
        await connection.get_message()

    alive: list[int | None] = []
    async with trio.open_nursery() as nursery:
        for pongs_count in (True, False):
            feed = make_feed(exchange(nursery, serve), clock=trio_clock(0))
            async with feed.websocket(URL, pongs_count=pongs_count, ping_every_s=20):
                await trio.sleep(50)
            alive.append(feed.tally.last_alive_ms)
        nursery.cancel_scope.cancel()

    assert alive == [40_000, None]


async def test_a_connection_that_fails_is_not_counted() -> None:
    feed = make_feed()

    with pytest.raises(UpstreamError, match="nobody there"):
        async with feed.websocket(URL):
            pass

    assert (feed.tally.connections, feed.tally.open) == (0, 0)


# -- renew


class Sessions:
    """Sessions that say ready after `ready_s` and end as `fates` says, by number."""

    def __init__(self, **fates: Callable[[], Awaitable[None]]) -> None:
        self.fates = fates
        self.log: list[tuple[float, str]] = []
        self.count = 0

    async def __call__(self, ready: Callable[[], None]) -> None:
        self.count += 1
        name = f"s{self.count}"
        self.log.append((trio.current_time(), f"{name} begins"))
        try:
            before = self.fates.get(f"{name}_before")
            if before is not None:
                await before()
            await trio.sleep(1)
            ready()
            ready()
            await self.fates.get(name, trio.sleep_forever)()
        finally:
            self.log.append((trio.current_time(), f"{name} ends"))


def after(seconds: float, error: Exception | None = None) -> Callable[[], Awaitable[None]]:
    async def fate() -> None:
        await trio.sleep(seconds)
        if error is not None:
            raise error

    return fate


async def run_for(seconds: float, sessions: Sessions) -> None:
    with trio.move_on_after(seconds):
        await make_feed().renew(sessions, every_s=100, overlap_s=5, retry_s=20)


async def test_a_connection_is_renewed_by_one_that_overlaps_it(autojump_clock: MockClock) -> None:
    sessions = Sessions()

    await run_for(220, sessions)

    assert sessions.log == [
        (0, "s1 begins"),
        (101, "s2 begins"),
        (107, "s1 ends"),
        (207, "s3 begins"),
        (213, "s2 ends"),
        (220, "s3 ends"),
    ]


async def test_a_successor_that_fails_is_tried_again_while_the_old_one_lives(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    sessions = Sessions(s2_before=after(0, UpstreamError("refused with HTTP 429")))

    await run_for(150, sessions)

    assert sessions.log[:5] == [
        (0, "s1 begins"),
        (101, "s2 begins"),
        (101, "s2 ends"),
        (121, "s3 begins"),
        (127, "s1 ends"),
    ]
    assert "orders: cannot renew yet: refused with HTTP 429; again in 20s" in caplog.messages


async def test_a_successor_that_never_gets_ready_is_given_up_and_tried_again(
    autojump_clock: MockClock,
) -> None:
    sessions = Sessions(s2_before=trio.sleep_forever)

    await run_for(160, sessions)

    assert sessions.log[:5] == [
        (0, "s1 begins"),
        (101, "s2 begins"),
        (121, "s2 ends"),
        (141, "s3 begins"),
        (147, "s1 ends"),
    ]


async def test_the_old_one_may_die_in_the_overlap(autojump_clock: MockClock) -> None:
    sessions = Sessions(s1=after(103, UpstreamError("closed by upstream")))

    await run_for(150, sessions)

    assert sessions.log == [
        (0, "s1 begins"),
        (101, "s2 begins"),
        (104, "s1 ends"),
        (150, "s2 ends"),
    ]


async def test_a_session_that_dies_before_its_time_ends_the_renewing(
    autojump_clock: MockClock,
) -> None:
    sessions = Sessions(s1=after(50, UpstreamError("connection lost")))

    with pytest.RaisesGroup(UpstreamError, flatten_subgroups=True):
        await run_for(150, sessions)

    assert trio.current_time() == 51


async def test_the_old_one_that_dies_while_its_successor_is_not_ready_ends_both(
    autojump_clock: MockClock,
) -> None:
    sessions = Sessions(
        s1=after(105, UpstreamError("connection lost")), s2_before=trio.sleep_forever
    )

    with pytest.RaisesGroup(UpstreamError, flatten_subgroups=True):
        await run_for(200, sessions)

    assert sessions.log[-1] == (106, "s2 ends")


@pytest.mark.parametrize("error", [UpstreamError("connection lost"), None])
async def test_a_successor_that_dies_in_the_overlap_costs_the_old_one_nothing(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture, error: Exception | None
) -> None:
    sessions = Sessions(s2=after(2, error))

    await run_for(150, sessions)

    assert sessions.log == [
        (0, "s1 begins"),
        (101, "s2 begins"),
        (104, "s2 ends"),
        (124, "s3 begins"),
        (130, "s1 ends"),
        (150, "s3 ends"),
    ]
    why = error or "ended"
    assert f"orders: cannot renew yet: {why}; again in 20s" in caplog.messages


async def test_if_both_die_in_the_overlap_the_renewing_ends(autojump_clock: MockClock) -> None:
    for old_s, new_s in ((103, 2), (102, 3)):
        began = trio.current_time()
        sessions = Sessions(
            s1=after(old_s, UpstreamError("closed")), s2=after(new_s, UpstreamError("lost"))
        )

        with pytest.RaisesGroup(UpstreamError, flatten_subgroups=True):
            await run_for(200, sessions)

        assert trio.current_time() - began <= 106


async def test_an_old_one_that_dies_after_its_successor_did_ends_the_renewing(
    autojump_clock: MockClock,
) -> None:
    sessions = Sessions(s1=after(110, UpstreamError("closed")), s2=after(2))

    with pytest.RaisesGroup(UpstreamError, flatten_subgroups=True):
        await run_for(200, sessions)

    assert trio.current_time() == 111


@pytest.mark.parametrize("fate", ["s1_before", "s1"])
async def test_a_first_session_that_fails_ends_the_renewing(
    autojump_clock: MockClock, fate: str
) -> None:
    sessions = Sessions(**{fate: after(0, UpstreamError("refused"))})

    with pytest.RaisesGroup(UpstreamError, flatten_subgroups=True):
        await run_for(200, sessions)


@pytest.mark.parametrize("fates", [{"s1": after(2)}, {"s2": after(7)}])
async def test_a_session_that_just_returns_has_ended_and_is_no_connection_any_more(
    autojump_clock: MockClock, fates: dict[str, Callable[[], Awaitable[None]]]
) -> None:
    sessions = Sessions(**fates)

    with pytest.RaisesGroup(UpstreamError, flatten_subgroups=True):
        await run_for(1000, sessions)

    assert trio.current_time() < 110


async def test_an_old_session_that_just_returns_in_the_overlap_is_as_good_as_any_end(
    autojump_clock: MockClock,
) -> None:
    sessions = Sessions(s1=after(103))

    await run_for(150, sessions)

    assert sessions.log[-1] == (150, "s2 ends")


async def test_a_bug_in_a_successor_is_a_bug(autojump_clock: MockClock) -> None:
    sessions = Sessions(s2_before=after(0, ValueError("a bug")))

    with pytest.RaisesGroup(ValueError, flatten_subgroups=True):
        await run_for(200, sessions)


# -- streams of another daemon


def carrying() -> testing.ScriptedFeed[Any]:
    return testing.feed(carries={"ticks": (Mirrored("Tick", "k3v9"), Tick)})


def test_a_source_takes_what_another_daemon_wrote_and_is_counted_as_publishing_it() -> None:
    feed = carrying()

    record = feed.mirror("ticks").take(b'{"seq":1,"time_ms":5,"value":{"price":7}}')

    assert feed.carried["ticks"].after(0) == [record]
    assert str(feed.mirror("ticks").head) == "k3v9.1"
    assert (feed.tally.published, feed.tally.last_record_ms) == (1, testing.START_MS)


def test_a_stream_that_is_not_carried_is_told_with_the_nearest() -> None:
    with pytest.raises(UserError, match=r"no stream 'tick'. Did you mean .ticks."):
        carrying().mirror("tick")


def test_records_that_are_missing_are_counted_by_one_reason_and_told_in_full(
    caplog: pytest.LogCaptureFixture,
) -> None:
    feed = carrying()
    feed.mirror("ticks").take(b'{"seq":1,"time_ms":5,"value":{"price":7}}')

    feed.mirror("ticks").skip(3)
    feed.mirror("ticks").take(b'{"seq":4,"time_ms":6,"value":{"price":7}}')
    feed.mirror("ticks").skip(9)

    assert feed.tally.dropped == {"records missing": 2}
    assert "records 2 to 3 of ticks are missing" in caplog.text
