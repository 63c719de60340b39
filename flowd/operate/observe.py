"""Puts the one Status value together from what the parts of the daemon say of themselves.

Each part has a small method `figures`, what there is and was, and where one can run into limits
`bounds`; both answer plain dicts.
"""

import os
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import trio
from attrs import define, field, frozen

from flowd import __version__
from flowd.operate.status import (
    ComponentStatus,
    LoopMeter,
    Rate,
    Status,
    StreamStatus,
    trouble_with,
)
from flowd.setup.config import Component
from flowd.setup.registry import Found
from flowd.setup.supervisor import Child, State
from flowd.stream.inputs import Delivery
from flowd.stream.log import Stream
from flowd.stream.reading import Reading
from flowd.upstream.misses import Misses
from flowd.upstream.outages import Outages
from flowd.upstream.reach import Reach
from flowd.values.clock import Clock
from flowd.values.peers import Peer, Peers
from flowd.values.tally import Tally

RATE_EVERY_S = 5.0

Figures = Callable[[], Mapping[str, Any]]


@define(eq=False)
class Running:
    """One component as it runs: `child` is its task, if it has one, `stream` what it writes, if it
    does, `readings` where it is in what it reads. `reach` is that of a source's feed; where
    upstream pushes, its data may come no later than usual by `lag_max_s`.
    """

    component: Component
    tally: Tally
    child: Child | None
    stream: Stream[Any] | None
    readings: Sequence[Reading]
    outages: Outages
    misses: Misses
    clock: Clock
    loop: LoopMeter
    reach: Reach | None
    lag_max_s: float
    rate: Rate = field(factory=Rate, init=False)

    @property
    def source(self) -> bool:
        """Whether it has an upstream that can deliver or not."""
        return self.component.table == "sources"

    def note(self) -> None:
        """Note the counter, for the rate."""
        if self.component.table != "sinks":
            self.rate.note(trio.current_time(), self.tally.published)

    def figures(self) -> dict[str, Any]:
        """How it is and what it did, for `/status`."""
        part, tally, now_ms = self.component, self.tally, self.clock()
        outage = self.outages.current(part.name) if self.source else None
        limits = [one.behind_max for one in self.readings if one.behind_max is not None]
        return {
            "name": part.name,
            "table": part.table,
            "kind": part.kind,
            **({"state": State.RUNNING.value} if self.child is None else self.child.figures()),
            "problem": self._problem(now_ms),
            "delivering": tally.delivering if self.source else None,
            "outage_since_ms": None if outage is None else outage.from_ms,
            "connections": tally.connections,
            "connected": tally.open > 0 if self.source else None,
            "messages": tally.messages,
            "published": tally.published,
            "duplicates": tally.duplicates,
            "dropped": dict(tally.dropped),
            "figures": tally.told(),
            "missed": tally.missed,
            "rate_per_s": self.rate.per_s(trio.current_time(), tally.published),
            "lag_ms": None if self.stream is None else _lag_ms(self.stream),
            "behind": sum(reading.behind for reading in self.readings),
            "behind_max": min(limits, default=None),
            "overtaken": self.misses.lately(part.name),
            "last_message_ago_ms": _ago_ms(now_ms, tally.last_message_ms),
            "last_record_ago_ms": _ago_ms(now_ms, tally.last_record_ms),
            **self.loop.holds_of(part.name),
        }

    def failed(self, error: str) -> str:
        """It failed of its own. What it had in hand of what it reads, in words that go behind the
        error; of that it may skip what failed it before.
        """
        found = []
        for reading in self.readings:
            taken = reading.taken
            if taken is not None:
                found.append(str(taken))
            if reading.failed(self.component.skips):
                self.tally.dropped["failed twice"] += 1
                self.misses.skipped(self.component.name, found[-1], error)
        return f", with {' and '.join(found)} in hand" if found else ""

    def _problem(self, now_ms: int) -> str | None:
        """What is wrong though it runs: what it says itself, or that it lags. What is polled is
        late by its nature, so only who has a connection can lag.
        """
        if self.tally.problem is not None:
            return self.tally.problem
        late_ms = self.reach.late_ms(now_ms) if self.reach is not None and self.tally.open else None
        if late_ms is None or late_ms <= self.lag_max_s * 1000:
            return None
        return f"data comes {late_ms / 1000:.1f}s late, more than lag_max = {self.lag_max_s:g}s"

    def delivery(self) -> Delivery:
        """How it stands: what sinks may know of it."""
        if self.child is None or self.component.table == "sinks":
            return Delivery()
        tally, runs = self.tally, self.child.state is State.RUNNING
        return Delivery(
            delivering=tally.delivering if self.source else runs,
            connected=tally.open > 0 if self.source else runs,
            connecting=self.child.state in (State.STARTING, State.RUNNING) and not tally.open,
            last_frame_ms=tally.last_frame_ms,
            last_record_ms=tally.last_record_ms,
        )


@frozen
class Observer:
    """Asks all parts. Asking changes nothing.

    `sections` are those of the status that are one dict each, and who says what is in them. `up_s`
    says how long the daemon has run, by a clock that nobody sets.
    """

    clock: Clock
    started_ms: int
    up_s: Callable[[], float]
    components: Collection[Running]
    streams: Collection[Stream[Any]]
    kinds: Mapping[str, str]
    plugins: Collection[Found]
    sections: Mapping[str, Sequence[Figures]]
    peers: Peers = field(factory=Peers)

    async def run(self) -> None:
        """Note the counters now and then, for the rates."""
        while True:
            for component in self.components:
                component.note()
            await trio.sleep(RATE_EVERY_S)

    def status(self) -> Status:
        """Everything at this instant."""
        now_ms = self.clock()
        components = [ComponentStatus(**component.figures()) for component in self.components]
        told: dict[str, Any] = {name: self._section(name) for name in self.sections}
        return Status(
            version=__version__,
            healthy=_well(components, told["snapshot"]) and not told.get("pair", {}).get("problem"),
            started_ms=self.started_ms,
            uptime_s=round(self.up_s(), 1),
            time_ms=now_ms,
            components=components,
            streams=[StreamStatus.of(one, self.kinds.get(one.name, "")) for one in self.streams],
            plugins=[
                {
                    "name": found.name,
                    "origin": found.origin,
                    "disabled": found.disabled,
                    "error": found.error,
                }
                for found in self.plugins
            ],
            **self.peers.figures(),
            **told,
        )

    def own(self, host: str, addresses: Sequence[str]) -> Peer:
        """What other daemons may be told of this one, which serves there."""
        pid = os.getpid()
        components = [ComponentStatus(**component.figures()) for component in self.components]
        return Peer(
            id=f"{host}:{pid}:{self.started_ms}",
            host=host,
            pid=pid,
            version=__version__,
            addresses=tuple(addresses),
            started_ms=self.started_ms,
            healthy=_well(components, self._section("snapshot")),
            clients=self._section("clients")["live"],
        )

    def _section(self, name: str) -> dict[str, Any]:
        parts = self.sections[name]
        return {name: figure for figures in parts for name, figure in figures().items()}


def _well(components: Sequence[ComponentStatus], snapshot: Mapping[str, Any]) -> bool:
    return trouble_with(snapshot) is None and all(part.healthy for part in components)


def _lag_ms(stream: Stream[Any]) -> int | None:
    newest = stream.newest_record
    if newest is None or newest.key is not None:
        return None  # What has a key is a state, and its time may be when that began.
    happened: Any = getattr(newest.value, "time_ms", None)
    return newest.time_ms - happened if type(happened) is int else None


def _ago_ms(now_ms: int, then_ms: int | None) -> int | None:
    return None if then_ms is None else max(0, now_ms - then_ms)


def resident() -> dict[str, Any]:
    """The memory that this process has in RAM, for `/status`; 0 where the system does not say."""
    return {"rss_bytes": resident_bytes()}


def resident_bytes() -> int:
    """The memory that this process has in RAM; 0 where the system does not say."""
    try:
        with open("/proc/self/statm") as statm:
            return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        return 0
