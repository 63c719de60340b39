"""What readers ask of the component behind a stream."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import trio
from attrs import frozen
from trio.testing import wait_all_tasks_blocked

from flowd import testing
from flowd.plugin import Feed, Sink, Source, StreamName, Streams
from flowd.upstream.asked import ASKED_CHARACTERS, ASKED_MAX, Asked
from flowd.values.tally import Tally


async def test_questions_are_taken_in_their_order_each_once() -> None:
    asked = Asked(Tally())
    for what in ("a", "b", "a"):
        asked.put(what)

    assert [await asked.take(), await asked.take()] == ["a", "b"]


async def test_who_takes_waits_for_a_question(nursery: trio.Nursery) -> None:
    asked, took = Asked(Tally()), []

    async def take() -> None:
        took.append(await asked.take())

    nursery.start_soon(take)
    await wait_all_tasks_blocked()
    asked.put("a")
    await wait_all_tasks_blocked()

    assert took == ["a"]


async def test_too_many_questions_push_the_oldest_out_and_that_is_counted() -> None:
    tally = Tally()
    asked = Asked(tally)
    for number in range(ASKED_MAX + 3):
        asked.put(str(number))

    assert await asked.take() == "3"
    assert tally.dropped == {"asked for too much at once": 3}


async def test_what_is_too_long_is_no_question(nursery: trio.Nursery) -> None:
    asked = Asked(Tally())

    asked.put("x" * (ASKED_CHARACTERS + 1))
    asked.put("fine")

    assert await asked.take() == "fine"


@frozen
class Answer:
    what: str


@frozen
class NoConfig:
    pass


@frozen
class Reads:
    input: StreamName


async def test_a_sink_asks_the_component_behind_a_stream(autojump_clock: Any) -> None:
    async def answers(config: NoConfig, feed: Feed[Answer]) -> None:
        while True:
            feed.publish(Answer(await feed.asked()))

    async def asks(config: Reads, streams: Streams) -> None:
        streams[config.input].ask("who goes there")
        streams["outages"].ask("nobody writes this one")
        await trio.sleep_forever()

    made: Callable[..., Any] = SimpleNamespace
    plugin = made(
        flowd_sources=lambda: [Source("answers", answers, NoConfig, record=Answer)],
        flowd_sinks=lambda: [Sink("asks", Reads, run=asks)],
    )
    config = '[sources.oracle]\nkind = "answers"\n[sinks.guest]\nkind = "asks"\ninput = "oracle"\n'

    async with testing.daemon(config, registry=testing.registry(plugin)) as daemon:
        await trio.sleep(1)

        assert [record.value for record in daemon.streams["oracle"].after(0)] == [
            Answer("who goes there")
        ]
