"""A standby's own connections: the sources of a daemon run before it does, in memory, so that what
happens until it has connections itself is not missed.

Nothing here is served or saved. What the sources are told is held by id (`flowd.stream.heard`), and
when they were told nothing is noted like any outage: what is left is what they can vouch for.
"""

import logging
from collections.abc import AsyncGenerator, Iterable, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final

import trio
from attrs import frozen

from flowd.setup import stages, wiring
from flowd.setup.carried import carries
from flowd.setup.config import Component, Config
from flowd.setup.machine import Machine
from flowd.setup.supervisor import Child, Supervisor
from flowd.stream.heard import Heard
from flowd.stream.held import Retain
from flowd.stream.inputs import Input, Streams
from flowd.stream.log import Stream
from flowd.stream.memory import TABLE_RETAIN
from flowd.upstream.feed import Feed
from flowd.upstream.http import Services
from flowd.upstream.outages import ALIVE, NOT_RUNNING, Alive, Outage, Outages
from flowd.upstream.outages import NAME as OUTAGES
from flowd.upstream.watch import Watch
from flowd.values.record import Record

logger = logging.getLogger("flowd")

LEAVE_S: Final = 5.0
"""How long upstream may take to answer a goodbye."""
HELD_S: Final = 10.0
"""So long nothing may be read: a daemon with much state holds the loop for seconds while it starts,
and what comes meanwhile waits in the socket.
"""
EPOCH: Final = "standby"


@frozen
class Span:
    """A time of which everything was heard that upstream told; and `why` nothing was before it."""

    from_ms: int
    to_ms: int
    why: str


class Spare:
    """A source that runs in a standby, and what it was told."""

    def __init__(
        self,
        feed: Feed[Any],
        outages: Outages,
        heard: Mapping[str, Heard],
        supervisor: Supervisor,
    ) -> None:
        self.name = feed.name
        self.heard = heard
        """By the name of the stream."""
        self._feed = feed
        self._outages = outages
        self._supervisor = supervisor

    @property
    def away(self) -> str | None:
        """Why nothing is delivered at the moment; None while it is."""
        outage = self._outages.current(self.name)
        return None if outage is None else outage.reason

    def spans(self) -> list[Span]:
        """When everything was heard, oldest first; as far as it is still held."""
        records = self._outages.stream.after(0)
        ours = [r.value for r in records if r.value.component == self.name]
        lost_ms = max((h.lost_ms for h in self.heard.values() if h.lost_ms is not None), default=0)
        # What happened after that was heard after it, unless the exchange's clock is ahead.
        lost_ms -= min(self._feed.reach.usual_ms, 0)
        holes = [one for one in ours if one.recovered is None]
        return spans_between(holes, self._feed.ends_ms, lost_ms)

    def happened_ms(self, record: Record[Any]) -> int:
        """When this record of it happened, by this machine's clock, as far as its upstream's times
        tell: those of some lie far off.
        """
        told_ms = getattr(record.value, "time_ms", None)
        if type(told_ms) is not int:
            return record.time_ms
        return told_ms + max(0, self._feed.reach.usual_ms)

    async def leave(self) -> bool:
        """End it, once all has come that upstream had under way to it. Whether it is sure that all
        came that was told before.
        """
        upstreams, delivered = list(self._feed.upstreams), self.away is None
        self._supervisor.finish(self.name)
        with trio.move_on_after(LEAVE_S):
            for upstream in upstreams:
                await upstream.leave()
            await self._supervisor.stopped(self.name)
        self._supervisor.stop(self.name)
        answered = all(upstream.answered for upstream in upstreams)
        return bool(upstreams) and delivered and answered

    def figures(self) -> dict[str, Any]:
        """How it stands, for `/status`."""
        spans = self.spans()
        return {
            "delivering": self.away is None,
            "error": self.away,
            "since_ms": spans[-1].from_ms if spans else None,
            "records": sum(len(heard) for heard in self.heard.values()),
            "bytes": sum(heard.bytes for heard in self.heard.values()),
            "limit_bytes": sum(heard.limit_bytes for heard in self.heard.values()),
        }


def spans_between(holes: Iterable[Outage], ends_ms: int | None, lost_ms: int) -> list[Span]:
    """The times between these outages, the last one until `ends_ms`; but nothing before `lost_ms`,
    nor before the first outage that is known.
    """
    found: list[Span] = []
    from_ms: int | None = None
    why = ""
    for hole in sorted(holes, key=lambda one: one.from_ms):
        if from_ms is not None and hole.from_ms > from_ms:
            found.append(Span(from_ms, hole.from_ms, why))
        if hole.to_ms is None:
            ends_ms = None
            break
        if from_ms is None or hole.to_ms > from_ms:
            from_ms, why = hole.to_ms, hole.reason
    if from_ms is not None and ends_ms is not None:
        found.append(Span(from_ms, max(from_ms, ends_ms), why))
    cut = (Span(max(one.from_ms, lost_ms), one.to_ms, one.why) for one in found)
    return [one for one in cut if one.from_ms <= one.to_ms]


class Warm:
    """The sources of a configuration whose kinds may run in a standby. `run` until all have left,
    which each does by its own `Spare`.
    """

    def __init__(self, config: Config, machine: Machine | None = None) -> None:
        self._machine = machine = machine or Machine()
        self._services = Services(machine.clock, machine.transport)
        self._supervisor = Supervisor(machine.random, self._changed)
        self._outages = Outages(self._made(OUTAGES, Outage, Retain()), machine.clock)
        alive = self._made(ALIVE, Alive, Retain())
        self._watch = Watch(self._outages, alive, machine.clock, machine.uptime, HELD_S)
        self._public: dict[str, Stream[Any]] = {}
        self._private: dict[tuple[str, str], Stream[Any]] = {}
        self._begun = trio.Event()
        self.spares: dict[str, Spare] = {}
        """By the name of the source."""
        plan = wiring.plan(config)
        for part in plan.order:
            if part.table != "sinks" and not carries(part):
                self._open(part)
        for part in plan.order:
            if part.table == "sources" and stands_by(part):
                self._add(part)

    def _made(self, name: str, record: type, retain: Retain) -> Stream[Any]:
        clock = self._machine.clock
        return Stream(name, record, clock=clock, epoch=EPOCH, retain=retain, private=True)

    def _open(self, part: Component) -> None:
        """The streams that others may read: those of who does not run here stay empty."""
        definition = part.definition
        self._public[part.name] = self._made(part.name, definition.record, part.retain)
        for table, record in definition.tables.items():
            name = wiring.table_name(part.name, table)
            count = definition.tables_retain.get(table, TABLE_RETAIN.count)
            self._public[name] = self._made(name, record, Retain(count))

    def _table(self, part: Component, name: str, record: type) -> Stream[Any]:
        if name in part.definition.tables:
            return self._public[wiring.table_name(part.name, name)]
        key = (part.name, name)
        if key not in self._private:
            self._private[key] = self._made(f"{part.name}/{name}", record, TABLE_RETAIN)
        return self._private[key]

    def _add(self, part: Component) -> None:
        name, machine = part.name, self._machine
        feed: Feed[Any] = Feed(
            name,
            self._public[name],
            clock=machine.clock,
            dial=machine.dial,
            table=lambda table, record: self._table(part, table, record),
            on_delivering=lambda from_ms: self._outages.close(name, from_ms),
            on_lost=lambda *told: self._outages.past(name, *told),
            on_recovered=lambda *told: self._outages.recovered(name, *told),
            services=self._services,
        )
        tables = [wiring.table_name(name, table) for table in part.definition.tables]
        heard = {stream: Heard() for stream in (name, *tables)}
        for stream, one in heard.items():
            self._public[stream].journal(one, 0)
        places: dict[str, int] = {}
        streams = Streams(Input(one, places) for one in self._public.values())
        child = self._supervisor.add(name, stages.bound(part, streams, feed), part.restart)
        child.fruitful = feed.fruitful
        self._watch.add(feed)
        self._outages.open(name, NOT_RUNNING, 0)
        self.spares[name] = Spare(feed, self._outages, heard, self._supervisor)

    def _changed(self, child: Child) -> None:
        if child.down:
            self._watch.fell(child.name, child.why)

    async def run(self) -> None:
        """Keep the sources running, each until it has left. Whoever is cancelled leaves at once."""
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._watch.run)
                async with trio.open_nursery() as sources:
                    for name in self.spares:
                        self._supervisor.start(name, sources)
                nursery.cancel_scope.cancel()
        finally:
            with trio.CancelScope(shield=True, deadline=trio.current_time() + LEAVE_S):
                await self._services.aclose()

    def begin(self) -> None:
        """Have `warmed` run them: there is one who leads."""
        self._begun.set()

    @property
    def ready(self) -> Mapping[str, Spare]:
        """What a daemon that takes over now may be filled from; none, where they never began."""
        return self.spares if self._begun.is_set() else {}

    async def when_begun(self) -> None:
        """`run`, once they are begun."""
        await self._begun.wait()
        await self.run()

    def figures(self) -> dict[str, Any]:
        """What each source is told and how much of it is held, for `/status`."""
        return {"sources": {name: spare.figures() for name, spare in self.ready.items()}}


@asynccontextmanager
async def warmed(config: Config, machine: Machine | None = None) -> AsyncGenerator[Warm, None]:
    """A standby's sources, which run in this block once they are begun, until they leave."""
    warm = Warm(config, machine)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(warm.when_begun)
        yield warm
        nursery.cancel_scope.cancel()


def stands_by(part: Component) -> bool:
    """Whether this source may run in a standby, as its kind says of its settings. A mistake of the
    plugin's own stops nobody.
    """
    standby = part.definition.standby
    try:
        return bool(standby(part.settings) if callable(standby) else standby)
    except Exception as error:
        logger.error("%s: whether it stands by cannot be told: %r", part.name, error)
        return False
