"""A sink's desk, and who gets it."""

import logging
from functools import partial, wraps
from typing import Any

import pytest

from flowd import testing
from flowd.door.desk import Desk, bind
from flowd.plugin import Streams

CONFIG = object()


def two(config: object, streams: Streams) -> tuple[object, ...]:
    return config, streams


def three(config: object, streams: Streams, desk: Desk) -> tuple[object, ...]:
    return config, streams, desk


def two_and_its_own(config: object, streams: Streams, retries: int = 5) -> tuple[object, ...]:
    return config, streams, retries


def three_and_its_own(
    config: object, streams: Streams, desk: Desk, *others: object, retries: int = 5
) -> tuple[object, ...]:
    return config, streams, desk, *others, retries


@wraps(three)
def wrapped(*all: Any) -> tuple[object, ...]:
    return three(*all)


def whatever(*all: object) -> tuple[object, ...]:
    return all


class Method:
    def run(self, config: object, streams: Streams, desk: Desk) -> tuple[object, ...]:
        return config, streams, desk


@pytest.mark.parametrize("function", [two, partial(two), whatever])
def test_a_function_of_two_parameters_gets_no_desk(function: Any) -> None:
    streams, desk = testing.streams(), testing.desk()

    assert bind(function, CONFIG, streams, desk)() == (CONFIG, streams)


@pytest.mark.parametrize("function", [three, wrapped, Method().run])
def test_a_third_parameter_is_for_the_desk(function: Any) -> None:
    streams, desk = testing.streams(), testing.desk()

    assert bind(function, CONFIG, streams, desk)() == (CONFIG, streams, desk)


def test_a_parameter_with_a_default_is_the_functions_own_affair() -> None:
    streams, desk = testing.streams(), testing.desk()

    assert bind(two_and_its_own, CONFIG, streams, desk)() == (CONFIG, streams, 5)
    assert bind(three_and_its_own, CONFIG, streams, desk)() == (CONFIG, streams, desk, 5)


def test_what_a_sink_could_not_do_is_counted_and_logged(caplog: pytest.LogCaptureFixture) -> None:
    desk = testing.desk("hook")

    with caplog.at_level(logging.WARNING):
        desk.drop("too big", "xxl", count=2)

    assert desk.tally.dropped == {"too big": 2}
    assert "hook: dropped (too big, 2 so far): 'xxl'" in caplog.text


def test_a_desk_hands_on_who_asks_for_a_reconnect() -> None:
    asked: list[str] = []
    desk = Desk("page", clock=lambda: 42, check_admin=asked.append, reconnect=asked.append)

    desk.check_admin("Bearer t")
    desk.reconnect("orders")

    assert asked == ["Bearer t", "orders"]
    assert (desk.name, desk.now_ms()) == ("page", 42)
