"""A plugin that somebody else wrote may do anything, and hurts only itself."""

from types import SimpleNamespace
from typing import Any

import flowd_http
import pytest
import trio
from attrs import frozen
from quart import Blueprint
from trio.testing import MockClock

from flowd import testing
from flowd.plugin import (
    Feed,
    Sink,
    Source,
    StreamName,
    Streams,
    Transform,
    UpstreamError,
    UserError,
)


@frozen
class NoConfig:
    pass


@frozen
class OneInput:
    input: StreamName


@frozen
class Number:
    n: int


async def numbers(config: NoConfig, feed: Feed[Number]) -> None:
    feed.delivering()
    while True:
        feed.publish(Number(len(feed.records()) + 1))
        await trio.sleep(1)


GOOD = SimpleNamespace(flowd_sources=lambda: [Source("numbers", numbers, NoConfig, record=Number)])
TOML = '[sources.numbers]\nkind = "numbers"\n[sinks.http]\nkind = "http"\n'


def registry(**hooks: Any) -> Any:
    """What flowd has here, and what a stranger's plugin brings."""
    foreign = {f"flowd_{name}": lambda kinds=kinds: kinds for name, kinds in hooks.items()}
    return testing.registry(GOOD, flowd_http, SimpleNamespace(**foreign))


async def test_a_page_that_calls_exit_costs_its_request(autojump_clock: MockClock) -> None:
    def pages(config: NoConfig, streams: Streams) -> Blueprint:
        blueprint = Blueprint("foreign", __name__)

        @blueprint.get("/leave")
        async def leave() -> str:
            raise SystemExit(3)

        return blueprint

    kinds = registry(sinks=[Sink("foreign", NoConfig, routes=pages)])
    config = TOML + '[sinks.foreign]\nkind = "foreign"'
    async with testing.daemon(config, registry=kinds) as daemon:
        with trio.move_on_after(5):
            await daemon.get("/leave")

        assert (await daemon.get("/health")).status == 200


async def test_a_component_that_calls_exit_is_started_again_and_the_others_go_on(
    autojump_clock: MockClock,
) -> None:
    async def leaves(config: NoConfig, feed: Feed[Number]) -> None:
        raise SystemExit(3)

    kinds = registry(sources=[Source("leaves", leaves, NoConfig, record=Number)])
    config = TOML + '[sources.foreign]\nkind = "leaves"'
    async with testing.daemon(config, registry=kinds) as daemon:
        await trio.sleep(10)
        health = (await daemon.get("/health")).json()

        assert health["problems"] == {"foreign": "backoff: it called exit(): SystemExit(3)"}
        assert (await daemon.get("/streams/numbers")).json()["records"]


async def test_what_is_published_is_of_the_class_that_the_kind_says(
    autojump_clock: MockClock,
) -> None:
    async def careless(config: NoConfig, feed: Feed[Any]) -> None:
        feed.publish(Number(1))
        feed.publish({"n": 2})

    async def table(config: NoConfig, feed: Feed[Any]) -> None:
        feed.table("state", Number).append("2", key="all")

    kinds = registry(
        sources=[
            Source("careless", careless, NoConfig, record=Number),
            Source("table", table, NoConfig, record=Number),
        ]
    )
    config = TOML + '[sources.careless]\nkind = "careless"\n[sources.table]\nkind = "table"'
    async with testing.daemon(config, registry=kinds) as daemon:
        await trio.sleep(1)
        problems = (await daemon.get("/health")).json()["problems"]

        assert problems == {
            "careless": "backoff: careless carries Number, not dict: {'n': 2}",
            "table": "backoff: table/state carries Number, not str: '2'",
        }
        assert (await daemon.get("/streams/careless?min_n=1")).status == 200


async def test_a_field_that_cannot_be_written_is_named(autojump_clock: MockClock) -> None:
    async def odd(config: NoConfig, feed: Feed[Number]) -> None:
        what: Any = object
        feed.publish(Number(what))

    kinds = registry(sources=[Source("odd", odd, NoConfig, record=Number)])
    async with testing.daemon(TOML + '[sources.odd]\nkind = "odd"', registry=kinds) as daemon:
        await trio.sleep(1)
        problem = (await daemon.get("/health")).json()["problems"]["odd"]

    assert "Number.n = <class 'object'> cannot be written as JSON: " in problem


async def test_who_holds_the_loop_is_not_healthy_for_a_minute(autojump_clock: MockClock) -> None:
    async def sleeps(config: NoConfig, streams: Streams) -> None:
        await trio.sleep(10)
        autojump_clock.jump(3)  # As `time.sleep(3)` would.
        await trio.sleep_forever()

    kinds = registry(sinks=[Sink("sleeps", NoConfig, run=sleeps)])
    config = TOML + '[sinks.foreign]\nkind = "sleeps"'
    async with testing.daemon(config, registry=kinds) as daemon:
        await trio.sleep(5)
        before = await daemon.get("/health")
        await trio.sleep(10)
        health = await daemon.get("/health")
        status = (await daemon.get("/status")).json()
        await trio.sleep(65)
        after = await daemon.get("/health")

    assert (before.status, health.status, after.status) == (200, 503, 200)
    told = "held the event loop for 3.0s a moment ago: nobody was served"
    assert health.json()["problems"] == {"foreign": told}
    assert status["components"][-1]["loop_holds"] == 1


async def test_who_does_not_end_is_named_and_the_rest_ends_in_order(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    async def shielded(config: NoConfig, *rest: Any) -> None:
        with trio.CancelScope(shield=True):
            await trio.sleep(100)

    kinds = registry(
        sources=[Source("shielded", shielded, NoConfig, record=Number)],
        sinks=[Sink("shielded", NoConfig, run=shielded)],
    )
    config = TOML + '[sources.deaf]\nkind = "shielded"\n[sinks.deafer]\nkind = "shielded"'
    store = testing.MemoryStore()
    async with testing.daemon(config, registry=kinds, store=store) as daemon:
        await trio.sleep(10)

        began = trio.current_time()
        daemon.stop()
        await daemon.ended.wait()

        assert trio.current_time() - began < 11
        assert (daemon.saved, store.clean) == (True, True)
        assert daemon.supervisor.stuck == ["deaf", "deafer"]
    for name in ("deaf", "deafer"):
        assert caplog.text.count(f"{name}: does not end: it catches Trio's Cancelled") == 1


async def test_an_end_without_a_last_save_says_why(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    class Full(testing.MemoryStore):
        async def save(self, save: Any) -> None:
            raise OSError(28, "No space left on device")

    async with testing.daemon(TOML, registry=registry(), store=Full()) as daemon:
        daemon.stop()
        await daemon.ended.wait()

    assert daemon.saved is False
    assert "stopped; state could not be saved: [Errno 28] No space left" in caplog.text


# -- a record that fails whoever reads it


async def poisoned(config: OneInput, streams: Streams, feed: Feed[Number]) -> None:
    async for record in streams[config.input].cursor().records():
        feed.publish(Number(record.value.n // (record.value.n % 3)))


async def in_batches(config: OneInput, streams: Streams, feed: Feed[Number]) -> None:
    async for batch in streams[config.input].cursor():
        for record in batch.records:
            if record.value.n == 3:
                raise ValueError("a three")
        for record in batch.records:
            feed.publish(record.value)


async def five(config: NoConfig, feed: Feed[Number]) -> None:
    for n in (1, 2, 3, 4, 5):
        feed.publish(Number(n))
    feed.delivering()
    await trio.sleep_forever()


def poisonous(run: Any) -> Any:
    return registry(
        sources=[Source("five", five, NoConfig, record=Number)],
        transforms=[Transform("poisoned", run, OneInput, record=Number)],
    )


POISON = """
[sources.five]
kind = "five"
[transforms.poisoned]
kind = "poisoned"
input = "five"
restart_delay = "1s"
restart_delay_max = "1s"
[sinks.http]
kind = "http"
"""


def served(answer: testing.Answer) -> list[int]:
    return [record["value"]["n"] for record in answer.json()["records"]]


@pytest.mark.parametrize("run", [poisoned, in_batches])
async def test_a_record_that_fails_a_transform_is_named(
    autojump_clock: MockClock, run: Any, caplog: pytest.LogCaptureFixture
) -> None:
    async with testing.daemon(POISON, registry=poisonous(run)) as daemon:
        await trio.sleep(60)
        health = (await daemon.get("/health")).json()

    assert health["problems"]["poisoned"].endswith(", with record 3 of five in hand")
    assert health["problems"]["poisoned"].startswith("failed: ")
    assert ", with record 3 of five in hand" in caplog.text


@pytest.mark.parametrize(("run", "left"), [(poisoned, [1, 1, 4, 2]), (in_batches, [1, 2, 4, 5])])
async def test_a_record_that_fails_it_twice_is_skipped_where_that_was_asked_for(
    autojump_clock: MockClock, run: Any, left: list[int], caplog: pytest.LogCaptureFixture
) -> None:
    config = POISON.replace("input =", 'on_error = "skip"\ninput =')
    async with testing.daemon(config, registry=poisonous(run)) as daemon:
        await trio.sleep(60)
        health = await daemon.get("/health")
        numbers = served(await daemon.get("/streams/poisoned"))
        outages = (await daemon.get("/streams/outages")).json()["records"]
        status = daemon.observer.status().component("poisoned")

    assert health.status == 200
    assert numbers == left
    assert status is not None
    assert (status.dropped, status.restarts) == ({"failed twice": 1}, 2)
    (told,) = [one["value"] for one in outages if one["value"]["component"] == "poisoned"]
    assert told["reason"].startswith("skipped record 3 of five: ")
    assert told["to_ms"] is not None
    assert caplog.text.count("poisoned: skips record 3 of five, on which it failed twice: ") == 1


async def test_weather_is_no_record_s_fault(autojump_clock: MockClock) -> None:
    lives = 0

    async def stormy(config: OneInput, streams: Streams, feed: Feed[Number]) -> None:
        nonlocal lives
        lives += 1
        async for record in streams[config.input].cursor().records():
            if lives < 4:
                raise UpstreamError("storm")
            feed.publish(record.value)

    config = POISON.replace("input =", 'on_error = "skip"\ninput =')
    async with testing.daemon(config, registry=poisonous(stormy)) as daemon:
        await trio.sleep(60)
        numbers = served(await daemon.get("/streams/poisoned"))

    assert (lives, numbers) == (4, [1, 2, 3, 4, 5])


# -- routes


def quart(rule: str) -> Any:
    def pages(config: NoConfig, streams: Streams) -> Blueprint:
        blueprint = Blueprint(rule.strip("/"), __name__)
        blueprint.add_url_rule(rule, "page", lambda: "here")
        return blueprint

    return pages


def broken(config: NoConfig, streams: Streams) -> Blueprint:
    raise KeyError("template")


@pytest.mark.parametrize(
    ("routes", "told"),
    [
        (quart("/health"), r"\[sinks.a\]: GET /health is flowd's own"),
        (quart("/mine"), r"\[sinks.b\]: its routes cannot be served: .*mine"),
        (broken, r"\[sinks.a\]: its routes cannot be served: KeyError\('template'\)"),
    ],
)
async def test_routes_that_cannot_be_served_are_a_users_error(
    autojump_clock: MockClock, routes: Any, told: str
) -> None:
    kinds = registry(sinks=[Sink("pages", NoConfig, routes=routes)])
    config = '[sinks.a]\nkind = "pages"\n[sinks.b]\nkind = "pages"'

    with pytest.raises(UserError, match=told):
        async with testing.daemon(config, registry=kinds):
            pass
