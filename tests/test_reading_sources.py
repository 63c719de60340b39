"""Sources that read streams beside their upstream: each other's, and what is made of their own."""

from types import SimpleNamespace

import pytest
import trio
from attrs import field, frozen
from trio.testing import MockClock

from flowd import testing
from flowd.plugin import Feed, Source, StreamName, Streams, Transform, UserError
from flowd.setup import config, wiring
from flowd.stream.volatile import MemoryStore

TOML = """
[sources.counting]
kind = "counting"

[sources.echo]
kind = "echo"
input = "counting"
"""
CIRCLE = """
[transforms.double]
kind = "double"
input = "echo"

[sources.echo]
kind = "echo"
input = "double"
first = 1
"""


@frozen
class Number:
    n: int


@frozen
class Text:
    text: str


@frozen
class NoConfig:
    pass


@frozen
class OneInput:
    input: StreamName
    first: int | None = None
    hint: StreamName = field(
        default=StreamName("hints"), metadata={"reads": Text, "optional": True}
    )


async def counting(config: NoConfig, feed: Feed[Number]) -> None:
    while True:
        feed.publish(Number(len(feed.records()) + 1))
        await trio.sleep(1)


async def echo(config: OneInput, streams: Streams, feed: Feed[Number]) -> None:
    if config.first is not None and not feed.records():
        feed.publish(Number(config.first))
    async for record in streams[config.input].cursor().records():
        feed.publish(record.value)


async def double(config: OneInput, streams: Streams, feed: Feed[Number]) -> None:
    async for record in streams[config.input].cursor().records():
        if record.value.n < 100:
            feed.publish(Number(record.value.n * 2))


PLUGIN = SimpleNamespace(
    flowd_sources=lambda: [
        Source("counting", counting, NoConfig, record=Number),
        Source("echo", echo, OneInput, record=Number, reads=Number),
        Source("texts", counting, NoConfig, record=Text),
    ],
    flowd_transforms=lambda: [Transform("double", double, OneInput, record=Number, reads=Number)],
)
REGISTRY = testing.registry(PLUGIN)


def numbers(daemon: testing.Daemon, stream: str) -> list[int]:
    return [record.value.n for record in daemon.streams[stream].after(0)]


async def test_a_source_of_three_arguments_reads_what_its_settings_name(
    autojump_clock: MockClock,
) -> None:
    async with testing.daemon(TOML, registry=REGISTRY) as daemon:
        await trio.sleep(2.5)

        assert numbers(daemon, "echo") == numbers(daemon, "counting") == [1, 2, 3]


async def test_a_source_that_was_stopped_goes_on_where_it_was(autojump_clock: MockClock) -> None:
    store = MemoryStore()
    async with testing.daemon(TOML, registry=REGISTRY, store=store):
        await trio.sleep(2.5)

    async with testing.daemon(TOML, registry=REGISTRY, store=store) as daemon:
        await trio.sleep(1.5)

        assert numbers(daemon, "echo") == numbers(daemon, "counting") == [1, 2, 3, 4, 5]


async def test_a_source_may_read_what_is_made_of_its_own_records(
    autojump_clock: MockClock,
) -> None:
    async with testing.daemon(CIRCLE, registry=REGISTRY) as daemon:
        await trio.sleep(1)

        assert numbers(daemon, "echo") == [1, 2, 4, 8, 16, 32, 64, 128]
        began = trio.current_time()
    assert trio.current_time() - began < 0.5, "and the stop waits for nobody"


def test_a_source_that_reads_what_is_not_there_is_refused() -> None:
    with pytest.raises(UserError, match=r'sources.echo.input = "countin": .*"counting"'):
        wiring.plan(config.parse(TOML.replace('input = "counting"', 'input = "countin"'), REGISTRY))


def test_a_source_that_reads_another_kind_of_record_is_refused() -> None:
    other = TOML.replace('kind = "counting"', 'kind = "texts"')

    with pytest.raises(UserError, match="carries Text, but echo reads Number"):
        wiring.plan(config.parse(other, REGISTRY))


def test_a_source_does_without_a_stream_that_is_optional() -> None:
    plan = wiring.plan(config.parse(TOML, REGISTRY))

    assert plan.inputs["echo"] == ["counting"]
    assert [component.name for component in plan.order] == ["counting", "echo"]
