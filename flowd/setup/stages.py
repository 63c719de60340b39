"""What a plan's streams and components go through at the start and at the end, in order."""

from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any, Protocol

import trio

from flowd.door.desk import needed
from flowd.door.door import Door
from flowd.setup.carried import carries
from flowd.setup.config import Component, Config
from flowd.setup.supervisor import Supervisor
from flowd.setup.wiring import Plan, table_name
from flowd.stream.held import Retain
from flowd.stream.inputs import Streams
from flowd.stream.log import Stream
from flowd.stream.memory import TABLE_RETAIN, Memory
from flowd.upstream.feed import Feed

FINISH_S = 2.0
"""How long transforms and sinks may take, each group, to deal with what they have when the daemon
stops.
"""
AGAIN_S = 10.0
"""For so long at least a daemon lives before it starts over."""
GRACE_S = 1.5
"""How long clients who are behind may take to catch up when the daemon stops."""
END_S = 1.5
"""How long each group may take to end once it is cancelled. With the other two, and a loop that is
held, less than the 15 s after which systemd kills.
"""


def open_streams(plan: Plan, memory: Memory) -> None:
    """Open the streams of all sources and transforms, and those of other daemons."""
    behind = {part.name: part.behind for part in plan.order}
    for part in plan.order:
        if part.table == "sinks":
            continue
        if not carries(part):
            memory.open(part.name, part.definition.record, part.retain, part.behind)
        for table, record in part.definition.tables.items():
            count = part.definition.tables_retain.get(table, TABLE_RETAIN.count)
            memory.open(table_name(part.name, table), record, Retain(count))
    for name, one in plan.carried.items():
        there = one.there
        retain = Retain(there.retain, there.age_s)
        memory.open(name, one.record, retain, behind[plan.writers[name]], epoch=there.epoch)


def carrying(plan: Plan, source: str, streams: Mapping[str, Stream[Any]]) -> dict[str, Any]:
    """What a source's feed is told of the streams of another daemon that it carries."""
    carried = {name: one for name, one in plan.carried.items() if plan.writers[name] == source}
    return {
        "mirrored": {name: streams[name] for name in carried},
        "there": {name: one.there for name, one in carried.items()},
        "left_out": plan.left_out.get(source, {}),
    }


def bound(part: Component, streams: Streams, feed: Feed[Any]) -> Callable[[], Awaitable[None]]:
    """The run of a source or transform, with what it takes."""
    run = part.definition.run
    if part.table == "sources" and needed(run) < 3:
        return partial(run, part.settings, feed)
    return partial(run, part.settings, streams, feed)


@contextmanager
def instrumented(*instruments: trio.abc.Instrument) -> Iterator[None]:
    """What happens within the block is told to these."""
    for one in instruments:
        trio.lowlevel.add_instrument(one)
    try:
        yield
    finally:
        for one in reversed(instruments):
            trio.lowlevel.remove_instrument(one)


def no_stream(name: str) -> Stream[Any]:
    """What a source has that only carries streams of others: nothing can be published there."""
    stream: Stream[Any] = Stream(name, object, clock=lambda: 0, epoch="none", private=True)
    stream.close()
    return stream


class Ending(Protocol):
    """The app: it ends what it has under way."""

    async def end(self, grace_s: float) -> None:
        """Within so long."""
        ...


async def close(door: Door, app: Ending) -> None:
    """Let nobody in any more, and say goodbye to all who are there."""
    await door.close(GRACE_S)
    await app.end(GRACE_S)


async def end(
    config: Config, plan: Plan, supervisor: Supervisor, streams: Mapping[str, Stream[Any]]
) -> None:
    """Sources first, which ends what they write and the outages; then streams in wiring order, so
    that all who read finish what they have.
    """
    await supervisor.end([part.name for part in config.of("sources")], END_S)
    for name in supervisor.children:
        # All of them: with a stream that several read, they end together.
        supervisor.finish(name)
    for table in ("transforms", "sinks"):
        with trio.move_on_after(FINISH_S):
            for part in plan.order:
                if part.table == table and part.name in supervisor.children:
                    for name in plan.inputs[part.name]:
                        streams[name].close()
                    await supervisor.stopped(part.name)
        tasks = [part.name for part in config.of(table) if part.name in supervisor.children]
        await supervisor.end(tasks, END_S)
    for stream in streams.values():
        stream.close()
