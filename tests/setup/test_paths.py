"""Each path belongs to one sink, and `flowd check` knows."""

import re
from collections.abc import Callable
from typing import Any

import pytest
from attrs import frozen
from trio.testing import MockClock

from flowd import testing
from flowd.plugin import Hot, Live, Sink, UserError
from flowd.setup import config, wiring
from flowd.setup.paths import BUILT_IN
from flowd.setup.registry import Registry

HEAD = b"HTTP/1.1 200 OK\r\n\r\n"


@frozen
class Config:
    path: str = "/ours/{stream}"


def encode(batch: Any) -> bytes:
    return b""


def live(settings: Config) -> Live:
    return Live(settings.path, encode, head=HEAD)


def hot(settings: Config) -> list[Hot]:
    return [Hot(settings.path, encode)]


def plan(text: str, make: Callable[[Any], Any] = live) -> wiring.Plan:
    kinds = Registry()
    kinds.sinks["live"] = Sink("live", Config, live=make)
    kinds.sinks["hot"] = Sink("hot", Config, hot=hot)
    return wiring.plan(config.parse(text, kinds))


def sink(name: str, kind: str = "live", path: str | None = None) -> str:
    return f'[sinks.{name}]\nkind = "{kind}"\n' + (f'path = "{path}"\n' if path else "")


def test_the_paths_of_each_sink_are_known() -> None:
    found = plan(sink("a", "hot") + sink("b", path="/theirs")).paths

    assert {name: [one.path for one in paths] for name, paths in found.items()} == {
        "a": ["/ours/{stream}"],
        "b": ["/theirs"],
    }


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (sink("a") + sink("b"), "[sinks.b]: the path /ours/{stream} is sinks.a's already"),
        (sink("a") + sink("b", "hot", "/ours/{symbol}"), "/ours/{symbol} is sinks.a's already"),
        (sink("a", path="ours"), '[sinks.a]: the path "ours" has to begin with "/"'),
        (sink("a", path="/health"), "the path /health is flowd's own (/health)"),
        (sink("a", path="/health/{stream}"), "is flowd's own (/health/NAME)"),
        (sink("a", "hot", "/{stream}"), "the path /{stream} is flowd's own"),
    ],
)
def test_a_path_that_is_taken_or_none_is_refused(text: str, told: str) -> None:
    with pytest.raises(UserError, match=re.escape(told)):
        plan(text)


def test_what_lies_beside_flowds_own_paths_is_free() -> None:
    plan(sink("a", path="/") + sink("b", path="/streams/{stream}") + sink("c", path="/healthy"))


def fails(settings: Config) -> Live:
    raise KeyError("path")


def refuses(settings: Config) -> Live:
    raise UserError("not like this")


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (fails, "[sinks.a]: live's live failed: KeyError('path')"),
        (refuses, "[sinks.a]: not like this"),
        (lambda settings: None, "[sinks.a]: live answers None; expected a Live or a Hot"),
        (lambda settings: Live("/x", encode), "live's /x has to be one of two: a Live with a head"),
        (
            lambda settings: Live("/x", encode, head=HEAD, websocket=True),
            "live's /x has to be one of two",
        ),
    ],
)
def test_a_definition_that_makes_no_path_is_told(make: Any, told: str) -> None:
    with pytest.raises(UserError, match=re.escape(told)):
        plan(sink("a"), make)


async def test_the_paths_that_are_flowds_own_are_all_that_it_answers(
    autojump_clock: MockClock,
) -> None:
    async with testing.daemon("", registry=testing.registry()) as daemon:
        answered = {re.sub(r"\{\w+\}", "NAME", path) for path, *_ in daemon.web.routes()}

    assert answered - {"/"} == set(BUILT_IN)
