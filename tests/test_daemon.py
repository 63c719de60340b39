"""The composition root: tables that all may read, who may start what again, what is described."""

import gc
import logging
import weakref
from types import SimpleNamespace
from typing import Any

import flowd_http
import pytest
import trio
from attrs import evolve, frozen
from quart import Blueprint
from trio.testing import MockClock

from flowd import testing
from flowd.plugin import Desk, Feed, Input, Outage, Sink, Source, StreamName, Streams, Transform
from flowd.stream.held import Retain
from flowd.stream.snapshot import Loaded, Rows
from flowd.stream.volatile import MemoryStore
from flowd.values.errors import UserError

TOML = """
[flowd]
admin_token = { env = "DAEMON_TEST_TOKEN" }

[sources.numbers]
kind = "numbers"

[transforms.again]
kind = "again"
input = "numbers.sums"

[sinks.http]
kind = "http"

[sinks.pages]
kind = "pages-by-hand"
"""
ADMIN = {"Authorization": "Bearer sesame"}


@frozen
class Number:
    n: int


@frozen
class Sum:
    total: int


@frozen
class NoConfig:
    pass


@frozen
class OneInput:
    input: StreamName


async def numbers(config: NoConfig, feed: Feed[Number]) -> None:
    sums = feed.table("sums", Sum)
    secret = feed.table("secret", Sum)
    while True:
        await trio.sleep(1)
        n = len(feed.records()) + 1
        feed.publish(Number(n))
        before = sums.get("all")
        sums.append(Sum((before.total if before else 0) + n), key="all")
        secret.append(Sum(n), key="all")


async def again(config: OneInput, streams: Streams, feed: Feed[Sum]) -> None:
    async for record in streams[config.input].cursor().records():
        feed.publish(record.value)


async def once(config: NoConfig, feed: Feed[Number]) -> None:
    feed.publish(Number(1))


def by_hand(config: NoConfig, streams: Streams) -> Blueprint:
    blueprint = Blueprint("by-hand", __name__)

    @blueprint.get("/pages/<name>")
    async def page(name: str) -> str:
        """A page by hand.

        With more to say about it.
        """
        return name

    return blueprint


PLUGIN = SimpleNamespace(
    flowd_sources=lambda: [
        Source("numbers", numbers, NoConfig, record=Number, tables={"sums": Sum}),
        Source("once", once, NoConfig, record=Number),
    ],
    flowd_transforms=lambda: [Transform("again", again, OneInput, record=Sum, reads=Sum)],
    flowd_sinks=lambda: [Sink("pages-by-hand", NoConfig, routes=by_hand)],
)
REGISTRY = testing.registry(PLUGIN, flowd_http)


@pytest.fixture(autouse=True)
def token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DAEMON_TEST_TOKEN", "sesame")


def sums(answer: Any) -> list[int]:
    return [record["value"]["total"] for record in answer.json()["records"]]


# -- tables


async def test_a_declared_table_is_a_stream_for_all_and_others_are_private(
    autojump_clock: MockClock,
) -> None:
    async with testing.daemon(TOML, registry=REGISTRY) as daemon:
        await trio.sleep(3.5)

        listed = (await daemon.get("/streams")).json()["streams"]
        found = await daemon.get("/streams/numbers.sums")
        hidden = await daemon.get("/streams/numbers/secret")

    assert {"numbers", "numbers.sums", "again"} <= {stream["name"] for stream in listed}
    assert all("secret" not in stream["name"] for stream in listed)
    assert sums(found) == [6]
    assert hidden.status == 404


async def test_a_transform_reads_a_table_as_any_stream(autojump_clock: MockClock) -> None:
    async with testing.daemon(TOML, registry=REGISTRY) as daemon:
        await trio.sleep(3.5)

        assert [record.value.total for record in daemon.streams["again"].after(0)] == [1, 3, 6]


async def test_a_table_goes_on_after_a_restart(autojump_clock: MockClock) -> None:
    store = MemoryStore()
    async with testing.daemon(TOML, registry=REGISTRY, store=store) as daemon:
        await trio.sleep(3.5)
        epoch = daemon.streams["numbers.sums"].epoch

    async with testing.daemon(TOML, registry=REGISTRY, store=store) as daemon:
        await trio.sleep(1.5)

        assert daemon.streams["numbers.sums"].epoch == epoch
        assert daemon.streams["numbers.sums"].get("all") == Sum(10)


async def test_no_component_may_have_the_name_of_a_table(autojump_clock: MockClock) -> None:
    with pytest.raises(UserError, match=r"numbers\.sums"):
        async with testing.daemon(
            TOML + '[sources."numbers.sums"]\nkind = "once"', registry=REGISTRY
        ):
            pass


# -- what was saved


class Watched(MemoryStore):
    """A store that knows which of the rows that it gave away are still there."""

    def __init__(self) -> None:
        super().__init__()
        self._given: dict[str, weakref.ref[Rows]] = {}

    async def load(self) -> Loaded:
        loaded = await super().load()
        given = {name: evolve(rows) for name, rows in loaded.streams.items()}
        self._given = {name: weakref.ref(rows) for name, rows in given.items()}
        return evolve(loaded, streams=given)

    @property
    def held(self) -> set[str]:
        gc.collect()
        return {name for name, rows in self._given.items() if rows() is not None}


async def test_what_was_loaded_is_held_only_until_its_stream_has_it(
    autojump_clock: MockClock,
) -> None:
    async def tardy(config: NoConfig, feed: Feed[Number]) -> None:
        feed.publish(Number(1))
        await trio.sleep(10)
        feed.table("late", Sum).append(Sum(feed.table("late", Sum).seq), key="all")
        await trio.sleep_forever()

    plugin = SimpleNamespace(
        flowd_sources=lambda: [Source("tardy", tardy, NoConfig, record=Number)],
    )
    registry = testing.registry(plugin)
    stays, goes = ('[sources.stays]\nkind = "tardy"\n', '[sources.goes]\nkind = "tardy"\n')
    store = Watched()
    async with testing.daemon(stays + goes, registry=registry, store=store):
        await trio.sleep(20)
    assert set(store.rows) >= {"stays", "stays/late", "goes", "goes/late", "outages"}

    async with testing.daemon(stays, registry=registry, store=store) as daemon:
        await trio.sleep(5)
        assert store.held == {"stays/late"}

        await trio.sleep(10)
        assert store.held == set()
        assert daemon.streams["stays/late"].get("all") == Sum(1)


async def test_a_components_table_that_is_full_is_told(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flowd.stream.memory.TABLE_RETAIN", Retain(3))

    async def fills(config: NoConfig, feed: Feed[Number]) -> None:
        for n in range(5):
            feed.table("sums", Sum).append(Sum(n), key=str(n))
        feed.delivering()
        await trio.sleep_forever()

    plugin = SimpleNamespace(
        flowd_sources=lambda: [Source("fills", fills, NoConfig, record=Number)],
    )
    config = '[sources.fills]\nkind = "fills"\n'
    async with testing.daemon(config, registry=testing.registry(plugin)) as daemon:
        await trio.sleep(1)

        health = daemon.observer.status().health()

    assert health["problems"] == {"fills": "its table sums is full, 2 keys fell off"}


# -- stopping


async def test_who_reads_the_outages_gets_the_last_one_and_ends_by_itself(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    ended: list[tuple[str, list[str], float]] = []

    async def delivers(config: NoConfig, feed: Feed[Number]) -> None:
        feed.delivering()
        await trio.sleep_forever()

    async def read(who: str, outages: Input[Outage]) -> None:
        reasons = [record.value.reason async for record in outages.cursor().records()]
        ended.append((who, reasons, trio.current_time()))

    async def transform(config: OneInput, streams: Streams, feed: Feed[Outage]) -> None:
        await read("transform", streams[config.input])

    async def sink(config: OneInput, streams: Streams) -> None:
        await read("sink", streams[config.input])

    plugin = SimpleNamespace(
        flowd_sources=lambda: [Source("delivers", delivers, NoConfig, record=Number)],
        flowd_transforms=lambda: [
            Transform("reads", transform, OneInput, record=Outage, reads=Outage)
        ],
        flowd_sinks=lambda: [Sink("reads", OneInput, run=sink, reads=Outage)],
    )
    config = """
        [sources.one]
        kind = "delivers"
        [sources.two]
        kind = "delivers"
        [transforms.copy]
        kind = "reads"
        input = "outages"
        [sinks.teller]
        kind = "reads"
        input = "outages"
    """
    with caplog.at_level(logging.WARNING):
        async with testing.daemon(config, registry=testing.registry(plugin)):
            await trio.sleep(10)

    reasons = ["stopped", "stopped"]
    assert "again in" not in caplog.text
    assert sorted(ended) == [("sink", reasons, 10), ("transform", reasons, 10)]


# -- starting again


async def test_an_admin_may_start_a_component_again(autojump_clock: MockClock) -> None:
    async with testing.daemon(TOML, registry=REGISTRY) as daemon:
        answer = await daemon.request("POST", "/components/numbers/reconnect", ADMIN)

        assert answer.status == 202
        assert daemon.supervisor.children["numbers"].restarts == 1


async def test_what_has_ended_for_good_is_a_conflict(autojump_clock: MockClock) -> None:
    config = TOML.replace('kind = "numbers"', 'kind = "once"\nrestart = "on-failure"')
    config = config.replace('"numbers.sums"', '"numbers"').replace('"again"\n', '"any"\n')
    plugin = SimpleNamespace(
        flowd_transforms=lambda: [Transform("any", again, OneInput, record=Sum)]
    )
    registry = testing.registry(PLUGIN, plugin, flowd_http)
    async with testing.daemon(config, registry=registry) as daemon:
        await trio.sleep(1)

        answer = await daemon.request("POST", "/components/numbers/reconnect", ADMIN)

    assert (answer.status, answer.json()["error"]["code"]) == (409, "ENDED")


@pytest.mark.parametrize(
    ("path", "headers", "status"),
    [
        ("/components/nobody/reconnect", ADMIN, 404),
        ("/components/numbers/reconnect", {}, 401),
        ("/components/numbers/reconnect", {"Authorization": "Bearer guess"}, 401),
    ],
)
async def test_nobody_else_may_and_nothing_else_can(
    path: str, headers: dict[str, str], status: int, autojump_clock: MockClock
) -> None:
    async with testing.daemon(TOML, registry=REGISTRY) as daemon:
        answer = await daemon.request("POST", path, headers)

    assert answer.status == status


# -- the end


async def test_whoever_reads_finishes_what_there_is_whatever_its_settings_are_called(
    autojump_clock: MockClock,
) -> None:
    told: list[int] = []
    finished: list[str] = []

    @frozen
    class Legs:
        legs: dict[str, StreamName]

    async def slowly(config: Legs, streams: Streams, feed: Feed[Number]) -> None:
        async for record in streams[config.legs["long"]].cursor().records():
            await trio.sleep(0.1)
            feed.publish(record.value)
        finished.append(feed.name)

    async def tell(config: Legs, streams: Streams) -> None:
        async for batch in streams[config.legs["short"]].cursor():
            told.extend(record.value.n for record in batch.records)
        finished.append("told")

    plugin = SimpleNamespace(
        flowd_transforms=lambda: [Transform("slowly", slowly, Legs, record=Number)],
        flowd_sinks=lambda: [Sink("tells", Legs, run=tell)],
    )
    config = """
    sources.numbers = { kind = "once" }
    transforms.slow = { kind = "slowly", legs = { long = "numbers" } }
    sinks.told = { kind = "tells", legs = { short = "slow" } }
    """

    async with testing.daemon(config, registry=testing.registry(PLUGIN, plugin)):
        await trio.sleep(0.05)

    assert told == [1]
    assert finished == ["slow", "told"]


# -- what is told


async def test_the_description_has_what_sinks_answer_by_themselves(
    autojump_clock: MockClock,
) -> None:
    async with testing.daemon(TOML, registry=REGISTRY) as daemon:
        paths = (await daemon.get("/openapi.json")).json()["paths"]

    assert paths["/pages/{name}"]["get"]["summary"] == "A page by hand."
    assert [p["name"] for p in paths["/pages/{name}"]["get"]["parameters"]] == ["name"]
    assert paths["/health"]["get"]["summary"] == "Whether everything works; 503 when not"


async def test_a_page_of_another_site_may_ask_whether_it_may(autojump_clock: MockClock) -> None:
    async with testing.daemon(TOML, registry=REGISTRY) as daemon:
        answer = await daemon.request("OPTIONS", "/streams/numbers")

    assert answer.status == 200
    assert "If-None-Match" in answer.headers["access-control-allow-headers"]
    assert answer.headers["access-control-allow-origin"] == "*"
    assert answer.headers["access-control-expose-headers"] == "ETag"


async def test_a_component_sees_the_public_streams_and_no_others(
    autojump_clock: MockClock,
) -> None:
    seen: list[str] = []

    async def looks(config: NoConfig, streams: Streams) -> None:
        await trio.sleep(2)
        seen.extend(streams)

    plugin = SimpleNamespace(flowd_sinks=lambda: [Sink("looks", NoConfig, run=looks)])
    config = TOML + '[sinks.looking]\nkind = "looks"'
    async with testing.daemon(
        config, registry=testing.registry(PLUGIN, plugin, flowd_http)
    ) as daemon:
        await trio.sleep(3)

        assert "numbers/secret" in daemon.streams
    assert seen == ["numbers", "numbers.sums", "again", "outages"]


async def test_a_sinks_task_and_routes_share_its_desk(autojump_clock: MockClock) -> None:
    desks: list[Desk] = []

    async def run(config: NoConfig, streams: Streams, desk: Desk) -> None:
        desks.append(desk)
        await trio.sleep_forever()

    def routes(config: NoConfig, streams: Streams, desk: Desk) -> Blueprint:
        desks.append(desk)
        return Blueprint("asking", __name__)

    plugin = SimpleNamespace(
        flowd_sinks=lambda: [Sink("asks", NoConfig, run=run, routes=routes)],
    )
    config = TOML + '[sinks.asking]\nkind = "asks"'
    async with testing.daemon(
        config, registry=testing.registry(PLUGIN, plugin, flowd_http)
    ) as daemon:
        await trio.sleep(1)

        assert desks[0] is desks[1]
        assert desks[0].name == "asking"
        assert desks[0].now_ms() == daemon.machine.clock()


async def test_a_sink_counts_into_the_status(autojump_clock: MockClock) -> None:
    async def struggles(config: NoConfig, streams: Streams, desk: Desk) -> None:
        desk.drop("too big", "xxl", count=2)
        desk.tally.figures["queue_max"] = 7
        await trio.sleep_forever()

    plugin = SimpleNamespace(flowd_sinks=lambda: [Sink("struggles", NoConfig, run=struggles)])
    config = TOML + '[sinks.struggling]\nkind = "struggles"'
    async with testing.daemon(
        config, registry=testing.registry(PLUGIN, plugin, flowd_http)
    ) as daemon:
        await trio.sleep(1)
        components = (await daemon.get("/status")).json()["components"]

    found = next(part for part in components if part["name"] == "struggling")
    assert (found["dropped"], found["figures"]) == ({"too big": 2}, {"queue_max": 7})


async def test_a_sink_that_says_what_is_wrong_is_unwell_and_knows_what_needs_a_token(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DAEMON_TEST_TOKEN", "sesame")
    found: dict[str, bool] = {}

    async def ails(config: NoConfig, streams: Streams, desk: Desk) -> None:
        found.update((name, desk.protected(name)) for name in streams)
        desk.problem("the broker is full; make room")
        await trio.sleep(10)
        desk.problem(None)
        await trio.sleep_forever()

    plugin = SimpleNamespace(flowd_sinks=lambda: [Sink("ails", NoConfig, run=ails)])
    token = 'kind = "numbers"\nread_token = { env = "DAEMON_TEST_TOKEN" }'
    config = TOML.replace('kind = "numbers"', token) + '[sinks.ailing]\nkind = "ails"'
    async with testing.daemon(
        config, registry=testing.registry(PLUGIN, plugin, flowd_http)
    ) as daemon:
        await trio.sleep(5)
        during = (await daemon.get("/health")).json()["problems"]
        await trio.sleep(10)
        after = (await daemon.get("/health")).json()["problems"]

    assert during["ailing"] == "the broker is full; make room"
    assert "ailing" not in after
    assert found == {"numbers": True, "numbers.sums": True, "again": False, "outages": False}
