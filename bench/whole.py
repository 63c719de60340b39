"""What the measures of a whole daemon have in common: its process, the pace at which it is fed, and
how punctual its loop is.

The daemon runs whole in a process of its own, on the machine's clocks and with a state file. A
source of the measure's publishes at a pace; what is looked at is the loop.
"""

import argparse
import json
import logging
import tempfile
import time
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import trio
from attrs import asdict

from flowd import testing
from flowd.plugin import Source
from flowd.stream.snapshot import Store
from flowd.stream.stores import SqliteStore
from flowd.values import clock

TICK_S = 0.001
STEP_MAX = 40
"""Records published without a checkpoint: a source that fell behind must not hold the loop."""


def daemon(
    text: str, directory: Path, source: Source, *plugins: Any, store: Store | None = None
) -> AbstractAsyncContextManager[testing.Daemon]:
    """A daemon of this configuration, which knows this source and these plugins."""

    class Kinds:
        @staticmethod
        def flowd_sources() -> list[Source]:
            return [source]

    return testing.daemon(
        text,
        registry=testing.registry(Kinds, *plugins),
        store=store or SqliteStore(directory / "flowd.db"),
        clock=clock.system_clock,
        stopwatch=clock.stopwatch,
        # Each is another daemon to a broker, which may have the stream of the one before.
        seed=time.time_ns(),
    )


async def at_a_pace(rate: int, publish: Callable[[int], None]) -> None:
    """Publish number 0, 1, 2 and so on, so many a second, for ever."""
    began, made = trio.current_time(), 0
    while True:
        due = int((trio.current_time() - began) * rate)
        for number in range(made, min(due, made + STEP_MAX)):
            publish(number)
            made = number + 1
        await trio.sleep(TICK_S if made >= due else 0)


class Punctuality:
    """How late a task may come at worst that only wants to run every millisecond."""

    def __init__(self) -> None:
        self.worst_s = 0.0

    async def run(self) -> None:
        """Watch for ever."""
        while True:
            due = time.perf_counter() + TICK_S
            await trio.sleep(TICK_S)
            self.worst_s = max(self.worst_s, time.perf_counter() - due)


def answer(measure: Callable[..., Awaitable[Any]], *arguments: Any) -> None:
    """The other side of `process.alone`: measure in a directory that is gone afterwards, and print
    what it came to, an attrs value, as a line of JSON.
    """
    logging.basicConfig(level=logging.WARNING)
    with tempfile.TemporaryDirectory(prefix="flowd-bench-") as directory:
        found = trio.run(measure, Path(directory), *arguments)
    print(json.dumps(asdict(found)))


def parser(module: str, about: str | None, rate: int, seconds: float) -> argparse.ArgumentParser:
    """The command line of such a measure, to which it adds what is its own."""
    found = argparse.ArgumentParser(prog=f"python -m {module}", description=about)
    found.add_argument("--rate", type=int, default=rate, help="records a second")
    found.add_argument("--seconds", type=float, default=seconds, help="for how long")
    found.add_argument("--without", action="store_true", help=argparse.SUPPRESS)
    found.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    return found
