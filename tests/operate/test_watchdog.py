"""A thread beside the loop that says who holds it, and ends the process when it is told twice."""

import os
import signal
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import trio
from attrs import define

from flowd.operate.watchdog import HOLD_S, LOOK_EVERY_S, STOP_HOLD_S, STOP_S, Loop, Watchdog


class Meter:
    """Says that somebody is in a step, since a time of the test's choice."""

    def __init__(self) -> None:
        self.held: tuple[str, float] | None = None

    def holder(self) -> tuple[str, float] | None:
        return self.held


@define
class Bench:
    """A watchdog without its thread, on a stopwatch that the test moves."""

    watchdog: Watchdog
    meter: Meter
    left: list[int]
    stops: list[int]
    move: Callable[[float], None]

    def look(self, task: str, held_s: float) -> None:
        self.meter.held = (task, held_s)
        self.watchdog._look()


@pytest.fixture
async def bench(monkeypatch: pytest.MonkeyPatch) -> Bench:
    now = [100.0]
    monkeypatch.setattr("flowd.operate.watchdog.stopwatch", lambda: now[0])
    left: list[int] = []
    stops: list[int] = []
    meter = Meter()
    watchdog = Watchdog(left.append)
    watchdog._loop = Loop(trio.lowlevel.current_trio_token(), lambda: stops.append(1), meter)

    def move(seconds: float) -> None:
        now[0] += seconds

    return Bench(watchdog, meter, left, stops, move)


async def test_who_holds_the_loop_is_named_once_with_the_stack(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    bench.look("component slow", HOLD_S - 0.1)
    before = caplog.text

    for _ in range(3):
        bench.look("component slow", HOLD_S + 0.1)
        bench.move(0)

    assert before == ""
    assert caplog.text.count("component slow has held the event loop for 5.1s") == 1
    assert "in test_who_holds_the_loop_is_named_once_with_the_stack" in caplog.text
    assert bench.left == []


async def test_the_next_hold_is_named_again(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    bench.look("component slow", HOLD_S)
    bench.move(2 * HOLD_S)

    bench.look("component slow", HOLD_S)

    assert caplog.text.count("has held the event loop") == 2


async def test_nobody_is_named_while_the_loop_turns(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    bench.meter.held = None

    bench.watchdog._look()

    assert caplog.text == ""


async def test_a_hold_while_the_daemon_is_to_stop_is_named_sooner(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    bench.watchdog._end(signal.SIGTERM)

    bench.look("component slow", STOP_HOLD_S)

    assert "component slow has held the event loop" in caplog.text
    assert bench.left == []


async def test_who_holds_the_loop_does_not_keep_a_daemon_that_is_to_stop(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    bench.watchdog._end(signal.SIGTERM)
    bench.move(STOP_S + 0.1)

    bench.look("component slow", STOP_S)

    assert bench.left == [1]
    assert "component slow does not let the daemon stop: ending without saving" in caplog.text
    assert STOP_S + STOP_HOLD_S + 2 * LOOK_EVERY_S < 15


async def test_the_first_signal_stops_and_the_second_ends(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    bench.watchdog._end(signal.SIGHUP)
    await trio.testing.wait_all_tasks_blocked()
    first = (list(bench.stops), list(bench.left))

    bench.watchdog._end(signal.SIGTERM)

    assert first == ([1], [])
    assert bench.left == [1]
    assert "told twice: ending at once" in caplog.text


def test_a_signal_before_there_is_a_daemon_ends_in_peace() -> None:
    left: list[int] = []

    Watchdog(left.append)._end(signal.SIGTERM)

    assert left == [0]


@pytest.fixture
def ignored() -> Iterator[None]:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    yield
    signal.signal(signal.SIGHUP, before)


@pytest.mark.usefixtures("ignored")
def test_what_was_ignored_before_is_ignored_and_all_is_as_before_at_the_end() -> None:
    before = signal.getsignal(signal.SIGTERM)

    with Watchdog():
        within = signal.getsignal(signal.SIGHUP)
        ours = signal.getsignal(signal.SIGTERM)

    assert within is signal.SIG_IGN
    assert ours != before
    assert signal.getsignal(signal.SIGTERM) is before


@pytest.mark.edge
async def test_signals_are_heard_whatever_the_main_thread_does() -> None:
    heard: list[Any] = []
    left = trio.Event()
    token = trio.lowlevel.current_trio_token()

    def leave(code: int) -> None:
        heard.append(code)
        token.run_sync_soon(left.set)

    stopped = trio.Event()
    with Watchdog(leave) as watchdog:
        watchdog.watch(stopped.set, Meter())
        os.kill(os.getpid(), signal.SIGTERM)
        with trio.fail_after(20):
            await stopped.wait()
            first = list(heard)
            os.kill(os.getpid(), signal.SIGTERM)
            await left.wait()

    assert (first, heard) == ([], [1])
