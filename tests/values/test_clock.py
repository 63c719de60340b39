"""Wall time, which a MockClock moves together with Trio's."""

import time

import trio
from trio.testing import MockClock

from flowd.values.clock import stopwatch, system_clock, trio_clock


def test_the_system_clock_reads_milliseconds_since_1970() -> None:
    before = time.time_ns() // 1_000_000

    now_ms = system_clock()

    assert before <= now_ms <= time.time_ns() // 1_000_000


def test_the_stopwatch_never_runs_backwards() -> None:
    first, second = stopwatch(), stopwatch()

    assert second >= first


async def test_the_trio_clock_reads_its_start_and_moves_with_trio(mock_clock: MockClock) -> None:
    clock = trio_clock(5_000)
    began_ms = clock()

    mock_clock.jump(1.5)

    assert began_ms == 5_000
    assert clock() == 6_500


async def test_two_trio_clocks_begin_when_each_was_made(autojump_clock: MockClock) -> None:
    first = trio_clock(0)
    await trio.sleep(2)
    second = trio_clock(0)
    await trio.sleep(1)

    assert (first(), second()) == (3_000, 1_000)
