"""Time, and a name that is taken by nobody, in the one place where flowd asks the machine for them.

Wall time is a `Clock`: a function that answers milliseconds since 1970, UTC. The daemon runs on
`system_clock`; tests run on `trio_clock`, which moves with Trio's own clock, so that one MockClock
moves both.
"""

import secrets
import time
from collections.abc import Callable

import trio

Clock = Callable[[], int]
Stopwatch = Callable[[], float]

BACK_MAX_MS = 60_000

stopwatch: Stopwatch = time.perf_counter
"""Seconds of real time for measuring how long a piece of code held the loop."""

processor_time: Stopwatch = time.thread_time
"""Seconds of processor time that this thread was given."""


def uptime() -> float:
    """Seconds since the machine was started, also those in which it was suspended, where the system
    counts them. It is never set, as a wall clock is.
    """
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


def system_clock() -> int:
    """The machine's wall clock, in milliseconds since 1970."""
    return time.time_ns() // 1_000_000


def onward(before_ms: int, now_ms: int) -> int:
    """The time of what comes after something of `before_ms`. It does not go back, unless the clock
    was set back by more than `BACK_MAX_MS`: else it would stand still for as long as the clock had
    been ahead. Where an age is retained, what is stamped ahead of its time stays until that is
    over, and keeps what came after it.
    """
    return before_ms if before_ms - BACK_MAX_MS <= now_ms < before_ms else now_ms


def trio_clock(start_ms: int = 1_700_000_000_000) -> Clock:
    """A wall clock that reads `start_ms` now and from here on moves with Trio's clock."""
    began = trio.current_time()

    def now_ms() -> int:
        return start_ms + round((trio.current_time() - began) * 1000)

    return now_ms


def token() -> str:
    """A word that nobody has had before, of letters and digits; it begins with a letter."""
    return f"t{secrets.token_hex(8)}"
