"""Looking at a daemon while it runs."""

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import pytest
import trio
from attrs import evolve, frozen
from trio.testing import MockClock, wait_all_tasks_blocked

from flowd import __version__, testing
from flowd.operate.observe import RATE_EVERY_S, Observer, resident, resident_bytes
from flowd.operate.status import ComponentStatus
from flowd.plugin import Feed, Sink, Source, StreamName, Streams, Transform
from flowd.setup.registry import Found, Registry
from flowd.stream.volatile import MemoryStore
from flowd.values.errors import UpstreamError

CONFIG = """
[sources.orders]
kind = "fake"

[transforms.volume]
kind = "sum"
input = "orders"

[sinks.page]
kind = "none"
"""


@frozen
class Nothing:
    pass


@frozen
class OneInput:
    input: StreamName


@frozen
class Tick:
    price: int
    time_ms: int = 0


Run = Callable[[Any, Feed[Tick]], Awaitable[None]]


async def idle(config: Any, feed: Feed[Tick]) -> None:
    await trio.sleep_forever()


async def follow(config: OneInput, streams: Streams, feed: Feed[Tick]) -> None:
    async for record in streams[config.input].cursor().records():
        feed.publish(record.value)


async def stuck(config: OneInput, streams: Streams, feed: Feed[Tick]) -> None:
    async for record in streams[config.input].cursor().records():
        if record.seq == 3:
            await trio.sleep_forever()


def plugins(source: Run = idle, transform: Any = follow) -> Registry:
    made = Registry()
    made.found.append(Found("mine", "here", ["source fake"]))
    made.sources["fake"] = Source("fake", source, Nothing, record=Tick)
    made.transforms["sum"] = Transform("sum", transform, OneInput, record=Tick, reads=Tick)
    made.sinks["none"] = Sink("none", Nothing)
    return made


def part(daemon: testing.Daemon, name: str) -> ComponentStatus:
    found = daemon.observer.status().component(name)
    assert found is not None
    return found


async def test_every_component_stream_and_plugin_is_seen(autojump_clock: MockClock) -> None:
    async with testing.daemon(CONFIG, registry=plugins()) as daemon:
        status = daemon.observer.status()

    assert [(p.name, p.table, p.kind) for p in status.components] == [
        ("orders", "sources", "fake"),
        ("volume", "transforms", "sum"),
        ("page", "sinks", "none"),
    ]
    assert {"orders", "volume", "outages"} <= {stream.name for stream in status.streams}
    assert status.plugins == [{"name": "mine", "origin": "here", "disabled": False, "error": None}]
    assert status.limits["max_clients"] == 1000
    assert all(limit is None or limit > 0 for limit in status.limits.values())


async def test_each_section_has_what_its_parts_say_of_themselves(
    autojump_clock: MockClock,
) -> None:
    async with testing.daemon(CONFIG, registry=plugins()) as daemon:
        status = daemon.observer.status()

    assert set(status.clients) == {
        *("live", "behind", "channels", "connections_open", "connections", "delivered"),
        *("made_room", "slow", "gone_slow", "gaps", "requests", "refused", "gone", "audiences"),
    }
    assert set(status.snapshot) == {
        *("path", "bytes", "kept_bytes", "saves", "failures", "error", "saved_ago_ms", "took_ms"),
        *("journal_frames", "journal_bytes", "journal_failures", "journal_error", "journal_ago_ms"),
        "dropped_rows",
    }
    assert set(status.loop) == {
        *("longest_hold_ms", "longest_hold_task", "longest_work_ms", "recent_hold_ms", "steps"),
    }
    assert set(status.memory) == {
        *("rss_bytes", "prepared_bytes", "heads_bytes", "outgoing_bytes"),
        *("outgoing_refused", "outgoing_cut"),
    }
    assert set(status.limits) == {
        *("max_clients", "max_clients_per_address", "connections_spare", "send_buffer"),
        *("slow_consumer_timeout_s", "slow_consumer_limit_s", "filters"),
        *("filters_per_address", "client_frames_per_s"),
        *("streams_per_connection", "unread_answers_bytes", "client_message_bytes"),
        *("client_messages_per_s", "request_head_bytes", "memory_budget"),
        *("max_connections_per_address", "requests_per_s", "outgoing_bytes"),
        *("prepared_bytes", "journal_bytes", "seen_ids_per_stream"),
    }


async def test_a_source_that_delivers_is_healthy(autojump_clock: MockClock) -> None:
    async def delivering(config: Any, feed: Feed[Tick]) -> None:
        feed.delivering()
        feed.publish(Tick(1), id="a")
        feed.publish(Tick(1), id="a")
        feed.drop("not JSON")
        await trio.sleep_forever()

    async with testing.daemon(CONFIG, registry=plugins(delivering)) as daemon:
        await wait_all_tasks_blocked()
        found = part(daemon, "orders")
        status = daemon.observer.status()

    assert (found.healthy, found.delivering, found.state) == (True, True, "running")
    assert (found.published, found.duplicates, found.dropped) == (1, 1, {"not JSON": 1})
    assert found.outage_since_ms is None
    assert status.healthy


async def test_a_source_that_delivers_nothing_is_not_healthy(autojump_clock: MockClock) -> None:
    async with testing.daemon(CONFIG, registry=plugins()) as daemon:
        await wait_all_tasks_blocked()
        status = daemon.observer.status()

    assert not status.healthy
    assert status.health()["problems"] == {"orders": "connecting"}


async def test_a_source_that_is_away_has_an_outage_until_it_delivers(
    autojump_clock: MockClock,
) -> None:
    async def silent(config: Any, feed: Feed[Tick]) -> None:
        feed.delivering()
        await trio.sleep(10)
        feed.away("nobody sends", feed.clock() - 4000)
        await trio.sleep(10)
        feed.away("nobody sends still", feed.clock())
        await trio.sleep(10)
        feed.problem(None)
        feed.delivering()
        await trio.sleep_forever()

    async with testing.daemon(CONFIG, registry=plugins(silent)) as daemon:
        await trio.sleep(15)
        away, health = part(daemon, "orders"), daemon.observer.status().health()
        await trio.sleep(20)
        back, outages = part(daemon, "orders"), daemon.streams["outages"].after(0)

    assert health == {"status": "degraded", "problems": {"orders": "nobody sends"}}
    assert (away.delivering, away.outage_since_ms) == (False, testing.START_MS + 6000)
    assert (back.healthy, back.outage_since_ms) == (True, None)
    (outage,) = [record.value for record in outages]
    assert (outage.reason, outage.from_ms) == ("nobody sends", testing.START_MS + 6000)
    assert outage.to_ms == testing.START_MS + 30_000


async def test_what_plugins_tell_of_other_daemons_is_seen(autojump_clock: MockClock) -> None:
    async def connected(config: Any, feed: Feed[Tick]) -> None:
        await trio.sleep(1)
        feed.delivering()
        feed.peers.tell(feed.name, "edge", behind=0, lag_ms=7)
        feed.peers.heard(feed.name, [evolve(feed.peers.own, id="other", role="ingest")])
        await trio.sleep_forever()

    async with testing.daemon(CONFIG, registry=plugins(connected)) as daemon:
        alone = daemon.observer.status()
        await trio.sleep(2)
        status, own = daemon.observer.status(), daemon.peers.own

    assert (alone.role, alone.lag_ms, alone.peers) == ("alone", None, [])
    assert (status.role, status.behind, status.lag_ms) == ("edge", 0, 7)
    assert [(peer["id"], peer["role"]) for peer in status.peers] == [("other", "ingest")]
    assert (own.host, own.version, own.healthy, own.role) == ("test", __version__, True, "edge")


async def test_a_source_in_backoff_says_why_since_when_and_until_when(
    autojump_clock: MockClock,
) -> None:
    async def failing(config: Any, feed: Feed[Tick]) -> None:
        raise UpstreamError("connection lost")

    async with testing.daemon(CONFIG, registry=plugins(failing)) as daemon:
        await trio.sleep(1)
        found = part(daemon, "orders")

    assert (found.state, found.error, found.restarts) == ("backoff", "connection lost", 1)
    assert found.retry_in_s is not None
    assert 3.9 <= found.retry_in_s <= 5
    assert found.outage_since_ms is not None


async def test_a_source_that_publishes_what_cannot_be_written_costs_nobody_else_anything(
    autojump_clock: MockClock,
) -> None:
    @frozen
    class Text(Tick):
        words: str = ""

    async def odd(config: Any, feed: Feed[Any]) -> None:
        feed.publish(Text(1, words="\ud800"))

    registry = plugins(odd, follow)
    async with testing.daemon(CONFIG, registry=registry) as daemon:
        await trio.sleep(30)
        orders, volume = part(daemon, "orders"), part(daemon, "volume")
        saves = daemon.observer.status().snapshot["saves"]

    assert (orders.state, orders.published) == ("backoff", 0)
    assert "surrogates not allowed" in str(orders.error)
    assert (volume.state, saves) == ("running", 6)


async def test_a_sink_without_a_task_of_its_own_runs(autojump_clock: MockClock) -> None:
    async with testing.daemon(CONFIG, registry=plugins()) as daemon:
        found = part(daemon, "page")

    assert (found.state, found.delivering, found.connected, found.healthy) == (
        "running",
        None,
        None,
        True,
    )


async def test_how_far_a_transform_is_behind(autojump_clock: MockClock) -> None:
    async with testing.daemon(CONFIG, registry=plugins(transform=stuck)) as daemon:
        for price in range(10):
            daemon.streams["orders"].append(Tick(price))
        await wait_all_tasks_blocked()
        behind = part(daemon, "volume").behind

    assert behind == 8


async def test_a_transform_that_keeps_up_is_not_behind(autojump_clock: MockClock) -> None:
    async with testing.daemon(CONFIG, registry=plugins()) as daemon:
        for price in range(10):
            daemon.streams["orders"].append(Tick(price))
        await wait_all_tasks_blocked()
        found = part(daemon, "volume")

    assert (found.behind, found.published) == (0, 10)


async def test_a_place_in_a_stream_that_is_gone_does_not_matter(
    autojump_clock: MockClock,
) -> None:
    store = MemoryStore()
    async with testing.daemon(CONFIG, registry=plugins(), store=store) as daemon:
        daemon.streams["orders"].append(Tick(1))
        await wait_all_tasks_blocked()

    renamed = CONFIG.replace("orders", "force-orders")
    async with testing.daemon(renamed, registry=plugins(), store=store) as daemon:
        found = part(daemon, "volume")

    assert found.behind == 0


async def test_the_rate_is_that_of_the_last_minute(autojump_clock: MockClock) -> None:
    async def ticking(config: Any, feed: Feed[Tick]) -> None:
        while True:
            feed.publish(Tick(1))
            await trio.sleep(0.5)

    async with testing.daemon(CONFIG, registry=plugins(ticking)) as daemon:
        await trio.sleep(300)
        rate = part(daemon, "orders").rate_per_s

    assert rate == pytest.approx(2, abs=0.1)
    assert RATE_EVERY_S < 60


async def test_the_lag_is_how_old_an_event_was_when_it_came(autojump_clock: MockClock) -> None:
    async def late(config: Any, feed: Feed[Tick]) -> None:
        feed.publish(Tick(1, time_ms=feed.clock() - 250))
        await trio.sleep_forever()

    async with testing.daemon(CONFIG, registry=plugins(late)) as daemon:
        await trio.sleep(3)
        found = part(daemon, "orders")

    assert (found.lag_ms, found.last_record_ago_ms) == (250, 3000)


async def test_a_stream_without_records_has_no_lag(autojump_clock: MockClock) -> None:
    async with testing.daemon(CONFIG, registry=plugins()) as daemon:
        found = part(daemon, "orders")

    assert (found.lag_ms, found.last_record_ago_ms, found.last_message_ago_ms) == (None,) * 3


async def test_streams_say_where_they_are_and_what_limits_them(autojump_clock: MockClock) -> None:
    config = CONFIG.replace('kind = "fake"', 'kind = "fake"\nretain = 3')

    async with testing.daemon(config, registry=plugins()) as daemon:
        for price in range(10):
            daemon.streams["orders"].append(Tick(price), id=str(price))
        (found,) = [s for s in daemon.observer.status().streams if s.name == "orders"]
        head = daemon.streams["orders"].head

    assert (found.record, found.position) == ("Tick", str(head))
    assert (found.records, found.retain, found.oldest_seq, found.seen_ids) == (3, 3, 8, 10)


async def test_the_time_since_the_start_and_the_last_save_is_seen(
    autojump_clock: MockClock,
) -> None:
    async with testing.daemon(CONFIG, registry=plugins()) as daemon:
        await trio.sleep(7)
        status = daemon.observer.status()

    assert status.uptime_s == 7
    assert status.time_ms - status.started_ms == 7000
    assert (status.snapshot["saves"], status.snapshot["saved_ago_ms"]) == (2, 2000)
    assert (status.snapshot["path"], status.snapshot["bytes"]) == (None, 0)


async def test_the_time_since_the_start_is_right_though_the_clock_was_set_back(
    autojump_clock: MockClock,
) -> None:
    set_ms = 0
    async with testing.daemon("", clock=lambda: testing.clock() + set_ms) as daemon:
        await trio.sleep(7)
        set_ms = -86_400_000
        status = daemon.observer.status()

    assert status.uptime_s == 7


async def test_state_that_cannot_be_saved_makes_the_daemon_unhealthy(
    autojump_clock: MockClock,
) -> None:
    class Full(MemoryStore):
        async def save(self, save: Any) -> None:
            await trio.sleep(0.1)
            raise OSError(28, "No space left on device")

    async with testing.daemon("", registry=plugins(), store=Full()) as daemon:
        before = daemon.observer.status().healthy
        await trio.sleep(6)
        status = daemon.observer.status()

    assert (before, status.healthy) == (True, False)
    assert "No space left" in status.health()["problems"]["snapshot"]


async def test_a_journal_that_cannot_be_written_makes_the_daemon_unhealthy(
    autojump_clock: MockClock,
) -> None:
    store = MemoryStore()

    async with testing.daemon(CONFIG, registry=plugins(), store=store) as daemon:
        await trio.sleep(6)
        before = daemon.observer.status().health()["problems"].get("snapshot")
        store.segments.full = True
        await trio.sleep(6)
        during = daemon.observer.status()
        store.segments.full = False
        await trio.sleep(6)
        after = daemon.observer.status().health()["problems"].get("snapshot")

    assert (before, during.healthy, after) == (None, False, None)
    told = during.health()["problems"]["snapshot"]
    assert told.startswith("the journal cannot be begun: ")


async def test_looking_changes_nothing(autojump_clock: MockClock) -> None:
    async with testing.daemon(CONFIG, registry=plugins()) as daemon:
        first, second = daemon.observer.status(), daemon.observer.status()

    assert (first.components, first.streams, first.clients) == (
        second.components,
        second.streams,
        second.clients,
    )


def test_this_process_has_memory() -> None:
    assert 1_000_000 < resident_bytes() < 10**12


def test_a_section_is_what_its_parts_say_together() -> None:
    observer = Observer(
        clock=lambda: 5000,
        started_ms=1000,
        up_s=lambda: 4.0,
        components=[],
        streams=[],
        kinds={},
        plugins=[],
        sections={
            "clients": [lambda: {"live": 3}, lambda: {"gone": {"left": 1}}],
            "snapshot": [lambda: {"error": None}],
            "budgets": [dict],
            "loop": [],
            "memory": [resident],
            "limits": [partial(dict, max_clients=7)],
        },
    )

    status = observer.status()

    assert status.clients == {"live": 3, "gone": {"left": 1}}
    assert (status.loop, status.limits) == ({}, {"max_clients": 7})
    assert status.memory["rss_bytes"] > 0
    assert (status.healthy, status.uptime_s) == (True, 4)


async def test_a_burst_that_is_larger_than_what_is_retained_is_read_whole(
    autojump_clock: MockClock,
) -> None:
    async with testing.daemon(CONFIG, registry=plugins()) as daemon:
        await wait_all_tasks_blocked()
        for price in range(20_000):
            daemon.streams["orders"].append(Tick(price))
        await wait_all_tasks_blocked()
        found, status = part(daemon, "volume"), daemon.observer.status()

    assert (found.missed, found.published, found.behind) == (0, 20_000, 0)
    assert "volume" not in status.health()["problems"]


LIMITED = f'[flowd]\nbehind_max = 100\nadmin_token = {{ env = "TOKEN" }}\n{CONFIG}'


async def overtaken(daemon: testing.Daemon) -> None:
    """More than is retained and held comes at once."""
    daemon.streams["orders"].append(Tick(0))
    await wait_all_tasks_blocked()
    for price in range(1, 6001):
        daemon.streams["orders"].append(Tick(price))
    await wait_all_tasks_blocked()


async def test_what_a_transform_missed_is_an_outage_and_not_healthy(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOKEN", "sesame")
    async with testing.daemon(LIMITED, registry=plugins()) as daemon:
        await overtaken(daemon)
        status = daemon.observer.status()
        outages = [record.value for record in daemon.streams["outages"].after(0)]
        await trio.sleep(3600)
        later = part(daemon, "volume")

    found = status.component("volume")
    assert found is not None
    assert (found.missed, found.behind_max, found.healthy) == (900, 100, False)
    assert status.health()["problems"]["volume"] == "missed 900 records of orders"
    (outage,) = [one for one in outages if one.component == "volume"]
    assert outage.reason == "missed 900 records of orders (2 to 901)"
    assert outage.to_ms is not None
    assert later.healthy


async def test_who_starts_a_component_again_has_seen_what_it_missed(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOKEN", "sesame")
    async with testing.daemon(LIMITED, registry=plugins()) as daemon:
        await overtaken(daemon)

        admin = {"Authorization": "Bearer sesame"}
        await daemon.request("POST", "/components/volume/reconnect", admin)
        await wait_all_tasks_blocked()

        assert part(daemon, "volume").healthy


async def test_a_transform_that_is_far_behind_is_not_healthy(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOKEN", "sesame")
    async with testing.daemon(LIMITED, registry=plugins(transform=stuck)) as daemon:
        for price in range(20):
            daemon.streams["orders"].append(Tick(price))
        await wait_all_tasks_blocked()
        problems = daemon.observer.status().health()["problems"]

    assert problems["volume"] == "18 records behind, and 100 are held for it"


async def test_what_has_a_key_has_no_lag_though_its_time_is_long_ago(
    autojump_clock: MockClock,
) -> None:
    @frozen
    class Span:
        time_ms: int

    async def spans(config: Any, feed: Feed[Any]) -> None:
        feed.publish(Span(testing.START_MS - 280_000), key="open")
        await trio.sleep_forever()

    async with testing.daemon(CONFIG, registry=plugins(spans)) as daemon:
        await trio.sleep(1)

        assert part(daemon, "orders").lag_ms is None
