"""The composition root: builds everything from a configuration, starts it in order and stops it in
order.

This is the one module that knows all the others.
"""

import logging
from collections.abc import Awaitable, Callable
from functools import partial
from types import MappingProxyType
from typing import Any, NoReturn

import trio

from flowd import __version__
from flowd.channel.channels import Channels
from flowd.door.clients import Clients
from flowd.door.desk import Desk, bind
from flowd.door.door import Door
from flowd.door.polls import Polls
from flowd.door.readers import Readers
from flowd.door.routes import Route
from flowd.operate import notify, openapi, web
from flowd.operate.observe import Observer, Running, resident
from flowd.operate.siblings import Siblings
from flowd.operate.status import LoopMeter
from flowd.pair.lead import Lead
from flowd.setup import filling, stages, wiring
from flowd.setup.carried import AllCarried
from flowd.setup.config import Component, Config
from flowd.setup.machine import Machine
from flowd.setup.registry import Registry
from flowd.setup.supervisor import Child, Supervisor
from flowd.stream.held import Retain
from flowd.stream.inputs import Delivery, Input, Streams
from flowd.stream.journal import Flushing
from flowd.stream.log import Stream
from flowd.stream.memory import Memory
from flowd.stream.reading import Reading
from flowd.stream.snapshot import Store
from flowd.stream.volatile import MemoryStore
from flowd.upstream.feed import Feed
from flowd.upstream.http import Services
from flowd.upstream.misses import Misses
from flowd.upstream.outages import ALIVE, Alive, Outage, Outages
from flowd.upstream.outages import NAME as OUTAGES
from flowd.upstream.watch import Watch
from flowd.values.peers import Peers
from flowd.values.record import Gap

logger = logging.getLogger("flowd")


class Daemon:
    """One flowd. `run` until `stop`."""

    def __init__(
        self,
        config: Config,
        registry: Registry,
        *,
        store: Store | None = None,
        machine: Machine | None = None,
        carried: AllCarried = MappingProxyType({}),
        spares: filling.Spares = MappingProxyType({}),
        lead: Lead | None = None,
    ) -> None:
        self.config, self.registry, self.lead = config, registry, lead
        self.pair = [] if lead is None else [lead.figures]
        self.plan, self._spares = wiring.plan(config, carried=carried), spares
        self.machine = machine = machine or Machine()
        self._store: Store = store or MemoryStore()
        self.memory = Memory(self._store, machine.clock, machine.random, lambda: self.watch.note())
        self.streams, self.snapshots = self.memory.streams, self.memory.snapshots
        self.services = Services(machine.clock, machine.transport)
        self.addresses: list[str] = []  # Where it serves, as others may be told.
        self.peers = Peers(lambda: self.observer.own(machine.host, self.addresses))
        self.siblings: Siblings | None = None  # The processes that are one daemon with this one.
        self.feeds: dict[str, Feed[Any]] = {}
        self.running: dict[str, Running] = {}
        self.supervisor = Supervisor(machine.random, self._changed)
        self.readings: dict[str, list[Reading]] = {}
        tokens, admin = self.plan.tokens, config.settings.admin_token
        key, shared = config.settings.ticket_key, {OUTAGES, self.plan.outages}
        self._check_admin = partial(web.authorize, admin)
        self.readers = Readers(tokens, admin, machine.clock, machine.random, shared, key)
        self.outages: Outages
        self.misses: Misses
        self.watch: Watch
        self.channels: Channels
        self.door: Door
        self.web: web.Web
        self.loop = LoopMeter(machine.stopwatch)
        self.observer: Observer
        self.stopping, self.ended = trio.Event(), trio.Event()
        self.again: str | None = None
        """Why it is to be started again once it has ended; None when it is not."""
        self.saved = False
        """Whether the end was in order: all that is to survive is in the store."""

    def stop(self) -> None:
        """Ask for an orderly end; `run` returns when it is done."""
        self.stopping.set()

    async def run(
        self,
        listeners: list[trio.SocketListener] | None = None,
        *,
        task_status: trio.TaskStatus["Daemon"] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """Start everything, serve until `stop`, end everything in order."""
        await self.memory.load()
        if self.lead is not None:
            self.lead.begin(self.memory.journal, self._store, self._deposed)
        self._began = trio.current_time()
        try:
            async with trio.open_nursery() as nursery:
                self._build(nursery)
                flushing = Flushing(self._store.journal)
                async with trio.open_nursery() as components:
                    with stages.instrumented(flushing, self.loop):
                        await self._start(nursery, components, listeners or [])
                        self.loop.reset()
                        task_status.started(self)
                        await self.stopping.wait()
                        await self._end()
                        if self.supervisor.stuck:
                            # Their tasks keep the nursery open: whoever waits for the end does not.
                            await self._let_go()
                    components.cancel_scope.cancel()
                nursery.cancel_scope.cancel()
        finally:
            await self._let_go()

    async def _let_go(self) -> None:
        """Close the store, if it is not: the last thing that counts."""
        if not self.ended.is_set():
            with trio.CancelScope(shield=True, deadline=trio.current_time() + 5):
                await self.services.aclose()
                await self._store.close()
            self.ended.set()

    # -- building --

    def _build(self, nursery: trio.Nursery) -> None:
        machine, settings, memory = self.machine, self.config.settings, self.memory
        memory.behind = settings.behind
        started_ms, began = machine.clock(), trio.current_time()
        stages.open_streams(self.plan, memory)
        outages = memory.open(self.plan.outages, Outage, Retain(1000))
        self.outages = Outages(outages, machine.clock)
        self.misses = Misses(self.outages, machine.clock)
        alive = memory.open(ALIVE, Alive, Retain(), private=True)
        self.watch = Watch(self.outages, alive, machine.clock, machine.uptime)
        self.channels = Channels(nursery, settings.limits, machine.stopwatch)
        app = web.build(
            status=lambda: self.observer.status(),
            streams=self.streams,
            describe=self._describe,
            check_admin=self._check_admin,
            readers=self.readers,
            reconnect=self._reconnect,
            siblings=self.siblings,
        )
        self.web = web.Web(app, settings.base_path)
        clients = Clients(self.streams, self.channels, machine.clock, self.readers)
        guard, prepared = self.channels.guard, self.channels.prepared
        polls = Polls(self._inputs("door", {}), machine.clock, guard, prepared)
        self.door = Door(self.streams, clients, polls, self.web, settings.rules, settings.base_path)
        self.door.beyond = None if self.siblings is None else self.siblings.beyond
        for part in self.plan.order:
            self._add_component(part)
        self.watch.resume(memory.saved_ms, self._spares)
        self.observer = Observer(
            clock=machine.clock,
            started_ms=started_ms,
            up_s=lambda: trio.current_time() - began,
            components=self.running.values(),
            streams=self.streams.values(),
            kinds=self.plan.kinds,
            plugins=self.registry.found,
            peers=self.peers,
            sections={
                "clients": [clients.figures, self.channels.figures, self.door.figures],
                "snapshot": [self.snapshots.figures],
                "budgets": [self.services.budgets.figures],
                "loop": [self.loop.figures],
                "pair": self.pair,
                "memory": [resident, prepared.figures, *self.door.memory],
                "limits": [
                    clients.bounds,
                    self.channels.bounds,
                    self.door.bounds,
                    prepared.bounds,
                    memory.journal.bounds,
                    outages.seen.bounds,
                    partial(dict, send_buffer=settings.send_buffer),
                ],
            },
        )
        memory.let_go(self.running)

    def _table(self, component: Component, name: str, record: type) -> Stream[Any]:
        """A component's table, public if its definition says so; the same one after a restart of
        the component.
        """
        if name in component.definition.tables:
            table = self.streams[wiring.table_name(component.name, name)]
        else:
            table = self.memory.table(component.name, name, record)
        table.on_full = partial(self.misses.full, component.name, name, table.retain.count)
        return table

    def _inputs(self, component: str, places: dict[str, int]) -> Streams:
        """The streams as one component reads them."""
        reads = self.plan.inputs.get(component, [])
        move = partial(self.memory.journal.move, component)
        readings = {
            name: Reading(stream, places, name in reads, move)
            for name, stream in self.streams.items()
            if not stream.private
        }
        self.readings[component] = list(readings.values())
        return Streams(
            Input(
                self.streams[name],
                places,
                partial(self._missed, component, name),
                partial(self._delivery, name),
                reading,
                web.may_read(self.readers),
                partial(self._ask, name),
            )
            for name, reading in readings.items()
        )

    def _ask(self, stream: str, what: str) -> None:
        if feed := self.feeds.get(self.plan.writers.get(stream, "")):
            feed.ask(what)

    def _live(self, component: str, run: Callable[[], Awaitable[None]]) -> Awaitable[None]:
        """One life of a component."""
        for reading in self.readings.get(component, ()):
            reading.begin()
        return run()

    def _add_component(self, part: Component) -> None:
        definition, name = part.definition, part.name
        places = self.memory.join(name)
        streams = self._inputs(name, places)
        run: Callable[[], Awaitable[None]] | None = None
        if part.table == "sinks":
            desk = Desk(
                name,
                clock=self.machine.clock,
                check_admin=self._check_admin,
                reconnect=self._reconnect,
                services=self.services,
                protected=self.plan.tokens.__contains__,
                kinds=self.plan.kinds,
                peers=self.peers,
                lead=self.lead,
            )
            tally = desk.tally
            if definition.run is not None:
                run = bind(definition.run, part.settings, streams, desk)
            reads = self.plan.inputs[name]
            self.door.routes += [Route(one.path, one, reads) for one in self.plan.paths[name]]
            if definition.routes is not None:
                routes = bind(definition.routes, part.settings, streams, desk)
                self.web.add_routes(part.where, routes)
        else:
            feed: Feed[Any] = Feed(
                name,
                self.streams[name] if name in self.streams else stages.no_stream(name),
                clock=self.machine.clock,
                dial=self.machine.dial,
                table=partial(self._table, part),
                on_delivering=partial(self.outages.close, name),
                on_lost=partial(self.watch.lost, name),
                on_recovered=partial(self.outages.recovered, name),
                services=self.services,
                **stages.carrying(self.plan, name, self.streams),
                on_start_over=partial(self._start_over, name),
                on_away=partial(self.outages.open, name),
                peers=self.peers,
            )
            self.feeds[name] = feed
            tally = feed.tally
            if part.table == "sources":
                self.watch.add(feed)
            run = stages.bound(part, streams, feed)
        live = None if run is None else partial(self._live, name, run)
        child = None if live is None else self.supervisor.add(name, live, part.restart)
        self.running[name] = Running(
            component=part,
            tally=tally,
            child=child,
            stream=self.streams.get(name) if name in self.feeds else None,
            readings=self.readings.get(name, []),
            outages=self.outages,
            misses=self.misses,
            clock=self.machine.clock,
            loop=self.loop,
            reach=self.feeds[name].reach if part.table == "sources" else None,
            lag_max_s=self.config.settings.lag_max,
        )
        if child is not None:
            child.on_failure = self.running[name].failed
            if part.table == "sources":
                child.fruitful = self.feeds[name].fruitful

    def _describe(self) -> dict[str, Any]:
        paths = [(route.path, route.leads_to) for route in self.door.routes]
        at = self.config.settings.base_path
        return openapi.openapi(__version__, self.streams.values(), paths, self.web.routes(), at)

    # -- running --

    async def _start(
        self,
        nursery: trio.Nursery,
        components: trio.Nursery,
        listeners: list[trio.SocketListener],
    ) -> None:
        await nursery.start(self.web.run)
        for run in (self._save, self.observer.run, self.watch.run, notify.beat):
            nursery.start_soon(run)
        nursery.start_soon(self.door.serve, listeners)
        if self._spares:
            fill = filling.run, self._spares, self.watch, self.streams, self.supervisor
            await nursery.start(*fill)
        for part in self.plan.order:
            if part.name in self.supervisor.children:
                self.supervisor.start(part.name, components)
        notify.notify(f"READY=1\nSTATUS=serving {len(self.streams)} streams")

    async def _save(self) -> None:
        """Save at once, so that the next life knows of this one, and then every few seconds."""
        await self.snapshots.save()
        await self.snapshots.run(self.config.settings.save_every)

    def _deposed(self, why: str) -> None:
        """Nothing may be published any more: whoever would ends where it waits."""
        self.again = why
        self.supervisor.stop_all()
        self.stop()

    async def _end(self) -> None:
        if self.lead and self.lead.deposed:
            await self.supervisor.end(self.supervisor.children, stages.END_S)
            await stages.close(self.door, self.web)
            self.saved = True  # There is nothing of it that is to survive.
            return
        if self.again is None:
            notify.notify("STOPPING=1")
        logger.info("stopping" if self.again is None else "starting over")
        await stages.end(self.config, self.plan, self.supervisor, self.streams)
        await stages.close(self.door, self.web)
        self.saved = await self.snapshots.save(clean=True)
        if self.lead is not None:
            await self.lead.end()
        level = logging.INFO if self.saved else logging.ERROR
        logger.log(level, "stopped%s", self.snapshots.outcome())

    def _delivery(self, stream: str) -> Delivery:
        writer = self.running.get(self.plan.writers.get(stream, ""))
        return Delivery() if writer is None else writer.delivery()

    def _reconnect(self, name: str) -> None:
        """Start a component again, by its own name or its stream's; BadRequest when there is
        nothing to start.
        """
        name = self.plan.writers.get(name, name)
        self.misses.acknowledge(name)
        self.supervisor.start_again(name)

    def _changed(self, child: Child) -> None:
        """A component changed its state. A source that does not run does not deliver: that is an
        outage.
        """
        if child.down:
            self.watch.fell(child.name, child.why)

    async def _start_over(self, name: str, why: str) -> NoReturn:
        logger.warning("%s: %s: flowd starts over", name, why)
        await trio.sleep_until(self._began + stages.AGAIN_S)
        self.again = why
        self.stop()
        await trio.sleep_forever()

    def _missed(self, component: str, stream: str, gap: Gap, since_ms: int | None) -> None:
        skipped = self.streams[stream].skipped
        if skipped is not None and skipped.first <= gap.first and gap.last <= skipped.last:
            # It never came here, which its source has told: who reads it is not to blame.
            missed = gap.last - gap.first + 1
        else:
            missed = self.misses.note(component, stream, gap, since_ms)
        self.running[component].tally.missed += missed
