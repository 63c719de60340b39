"""The sources that run in a standby, and what they can vouch for."""

from collections.abc import Awaitable, Callable
from random import Random
from types import SimpleNamespace
from typing import Any

import pytest
import trio
from attrs import frozen
from trio.testing import MockClock

from flowd import testing
from flowd.plugin import Feed, Source, StreamName, Streams, Transform
from flowd.setup.config import parse
from flowd.setup.machine import Machine
from flowd.setup.warm import Span, Spare, Warm, spans_between, warmed
from flowd.testing import START_MS
from flowd.upstream.outages import Outage
from flowd.values import codec


@frozen
class Config:
    name: str = ""


@frozen
class Reading:
    input: StreamName


@frozen
class Tick:
    number: int


TICK = "tick"


async def ticks(config: Config, feed: Feed[Tick]) -> None:
    """Publishes what it is told, with ids; and how many there were, in tables."""
    table, private = feed.table("counts", Tick), feed.table("private", Tick)
    async with feed.websocket("ws://exchange/") as upstream:
        async for text in upstream:
            tick = Tick(int(text))
            feed.publish(tick, id=str(text))
            table.append(tick, key="newest")
            table.append(tick, id=f"c{tick.number}")
            private.append(tick, id=f"p{tick.number}")


async def reads(config: Reading, streams: Streams, feed: Feed[Tick]) -> None:
    cursor = streams[config.input].cursor()
    async with feed.websocket("ws://exchange/"):
        async for record in cursor.records():
            feed.publish(record.value, id=f"r{record.value.number}")


async def counts(config: Reading, streams: Streams, feed: Feed[Tick]) -> None:
    raise AssertionError("a standby runs no transforms")


def plugin(standby: bool | Callable[[Any], bool] = True) -> Any:
    return SimpleNamespace(
        flowd_sources=lambda: [
            Source(TICK, ticks, Config, record=Tick, tables={"counts": Tick}, standby=standby),
            Source("reads", reads, Reading, record=Tick, reads=Tick, standby=True),
            Source("alone", ticks, Config, record=Tick, tables={"counts": Tick}),
        ],
        flowd_transforms=lambda: [Transform("counts", counts, Reading, record=Tick, reads=Tick)],
    )


def warm(config: str, *scripts: testing.Script, kinds: Any = None) -> Warm:
    machine = Machine(
        testing.clock,
        Random(0),
        testing.upstream(*scripts).dial,
        trio.current_time,
        trio.current_time,
    )
    return Warm(parse(config, testing.registry(kinds or plugin())), machine)


def heard(spare: Spare) -> dict[str, list[int]]:
    return {
        stream: [codec.decode(one.json)["value"]["number"] for one in told.since(0)]
        for stream, told in spare.heard.items()
    }


async def test_what_is_told_with_ids_is_held_of_the_stream_and_its_tables(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    made = warm('[sources.a]\nkind = "tick"', testing.says("1", "2", "2"))
    nursery.start_soon(made.run)
    await trio.sleep(1)

    assert heard(made.spares["a"]) == {"a": [1, 2], "a.counts": [1, 2]}
    assert made.spares["a"].away is None


async def test_only_kinds_that_stand_by_run_and_the_streams_of_others_are_empty(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    config = """
    [sources.a]
    kind = "alone"
    [transforms.b]
    kind = "counts"
    input = "a"
    [sources.c]
    kind = "reads"
    input = "b"
    """
    made = warm(config, testing.says("1"))
    nursery.start_soon(made.run)
    await trio.sleep(1)

    assert [*made.spares] == ["c"]
    assert heard(made.spares["c"]) == {"c": []}


async def test_a_source_reads_what_another_one_was_told(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    config = '[sources.a]\nkind = "tick"\n[sources.b]\nkind = "reads"\ninput = "a"'
    made = warm(config, testing.says("1"), testing.says("2"))
    nursery.start_soon(made.run)
    await trio.sleep(1)

    assert heard(made.spares["b"])["b"] == heard(made.spares["a"])["a"]


@pytest.mark.parametrize("name", ["yes", "no"])
def test_whether_a_source_stands_by_may_depend_on_its_settings(name: str) -> None:
    kinds = plugin(lambda config: config.name == "yes")

    made = warm(f'[sources.a]\nkind = "tick"\nname = "{name}"', kinds=kinds)

    assert [*made.spares] == (["a"] if name == "yes" else [])


def test_a_plugin_that_cannot_say_costs_nobody_anything(caplog: pytest.LogCaptureFixture) -> None:
    def wrong(config: Config) -> bool:
        raise ZeroDivisionError

    config = '[sources.a]\nkind = "tick"\n[sources.b]\nkind = "reads"\ninput = "a"'
    made = warm(config, kinds=plugin(wrong))

    assert [*made.spares] == ["b"]
    assert "a: whether it stands by cannot be told: ZeroDivisionError()" in caplog.text


async def test_it_vouches_for_the_times_in_which_it_was_told(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    config = '[sources.a]\nkind = "tick"\nrestart_delay = "10s"'
    script = testing.waits(5) + testing.says("1") + testing.waits(4) + testing.says("2")
    script += testing.waits(3) + testing.drops()
    made = warm(config, script, testing.unreachable(), testing.says("3"))
    nursery.start_soon(made.run)
    spare = made.spares["a"]
    assert spare.spans() == []
    assert spare.away == "the daemon was not running"

    await trio.sleep(8)
    first = spare.spans()
    await trio.sleep(5)
    away, second = spare.away, spare.spans()
    await trio.sleep(30)
    third = spare.spans()

    assert first == [Span(ms(5), ms(5), "the daemon was not running")]
    assert away is not None
    assert away.startswith("connection lost")
    assert second == [Span(ms(5), ms(9), "the daemon was not running")]
    assert third[0] == second[0]
    assert third[1].why == away
    assert ms(12) < third[1].from_ms <= ms(35)


def ms(seconds: float) -> int:
    return START_MS + round(seconds * 1000)


async def test_it_vouches_for_nothing_that_has_made_room(
    autojump_clock: MockClock, nursery: trio.Nursery, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[testing.Script] = [testing.waits(1) + testing.says(str(n)) for n in range(1, 9)]
    made = warm('[sources.a]\nkind = "tick"', sum_of(told))
    for one in made.spares["a"].heard.values():
        one._limit = 3
    nursery.start_soon(made.run)

    await trio.sleep(8.5)

    figures = made.spares["a"].figures()
    assert heard(made.spares["a"])["a"] == [6, 7, 8]
    assert [span.from_ms for span in made.spares["a"].spans()] == [ms(5)]
    assert (figures["records"], figures["since_ms"]) == (6, ms(5))
    assert 0 < figures["bytes"] < figures["limit_bytes"]


def sum_of(scripts: list[testing.Script]) -> testing.Script:
    whole, *rest = scripts
    for one in rest:
        whole += one
    return whole


async def test_it_leaves_once_all_has_come_and_ends_when_all_have_left(
    autojump_clock: MockClock,
) -> None:
    made = warm('[sources.a]\nkind = "tick"', testing.says("1"))
    ended: list[bool] = []

    async def run(of: Callable[[], Awaitable[None]]) -> None:
        await of()
        ended.append(True)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(run, made.run)
        await trio.sleep(1)
        all_came = await made.spares["a"].leave()

    assert all_came
    assert ended == [True]


async def test_they_run_from_when_they_are_begun_until_the_block_ends(
    autojump_clock: MockClock,
) -> None:
    upstream = testing.upstream(testing.says("1"))
    made = Machine(testing.clock, Random(0), upstream.dial, trio.current_time, trio.current_time)
    config = parse('[sources.a]\nkind = "tick"', testing.registry(plugin()))

    async with warmed(config, made) as warm:
        await trio.sleep(1)
        before = (dict(warm.ready), warm.figures(), len(upstream.connections))
        warm.begin()
        warm.begin()
        await trio.sleep(1)
        during = (list(warm.ready), list(warm.figures()["sources"]), len(upstream.connections))

    assert before == ({}, {"sources": {}}, 0)
    assert during == (["a"], ["a"], 1)


# -- the times between outages


@pytest.mark.parametrize(
    ("holes", "ends_ms", "spans"),
    [
        ([], 100, []),
        ([(0, None)], 100, []),
        ([(0, 10)], 100, [(10, 100)]),
        ([(0, 10)], 5, [(10, 10)]),
        ([(0, 10)], None, []),
        ([(0, 10), (20, 30)], 100, [(10, 20), (30, 100)]),
        ([(20, 30), (0, 10)], 100, [(10, 20), (30, 100)]),
        ([(0, 10), (20, 30), (25, 28)], 100, [(10, 20), (30, 100)]),
        ([(0, 10), (20, 30), (25, 50)], 100, [(10, 20), (50, 100)]),
        ([(0, 10), (20, None)], 100, [(10, 20)]),
    ],
)
def test_what_lies_between_outages_was_heard(
    holes: list[tuple[int, int | None]], ends_ms: int | None, spans: list[tuple[int, int]]
) -> None:
    found = spans_between([Outage("a", *hole) for hole in holes], ends_ms, 0)

    assert [(one.from_ms, one.to_ms) for one in found] == spans


def test_what_lies_before_the_newest_that_made_room_does_not_count() -> None:
    holes = [Outage("a", 0, 10), Outage("a", 20, 30)]

    assert [(o.from_ms, o.to_ms) for o in spans_between(holes, 100, 15)] == [(15, 20), (30, 100)]
    assert [(o.from_ms, o.to_ms) for o in spans_between(holes, 100, 50)] == [(50, 100)]
