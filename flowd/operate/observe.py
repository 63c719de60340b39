"""Looks at everything that runs and makes the one Status value of it."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import trio
from attrs import frozen

from flowd import __version__
from flowd.channel.channel import CHANNELS_MAX, Channels
from flowd.channel.client import PLACES_MAX, URGENT_MAX
from flowd.door.clients import MESSAGES_PER_S
from flowd.door.door import CONNECTIONS_SPARE, Door
from flowd.door.head import HEAD_MAX
from flowd.door.websocket import MESSAGE_MAX
from flowd.operate.status import ComponentStatus, LoopMeter, Rate, Status, StreamStatus
from flowd.setup.config import Component, Config
from flowd.setup.registry import Registry
from flowd.setup.supervisor import Child, State, Supervisor
from flowd.setup.wiring import Plan
from flowd.stream.inputs import Delivery
from flowd.stream.log import SEEN_MAX, Stream
from flowd.stream.snapshot import Snapshots, size_bytes
from flowd.upstream.feed import Feed
from flowd.upstream.outages import Outages
from flowd.values.clock import Clock
from flowd.values.tally import Tally

RATE_EVERY_S = 5.0


@frozen
class Observer:
    """Knows where to look. Looking changes nothing."""

    config: Config
    plan: Plan
    registry: Registry
    clock: Clock
    started_ms: int
    streams: Mapping[str, Stream[Any]]
    feeds: Mapping[str, Feed[Any]]
    tallies: Mapping[str, Tally]
    places: Mapping[str, Mapping[str, int]]
    supervisor: Supervisor
    outages: Outages
    snapshots: Snapshots
    channels: Channels
    door: Door
    loop: LoopMeter
    state: Path | None
    rates: dict[str, Rate]

    async def run(self) -> None:
        """Note the counters now and then, for the rates."""
        while True:
            for name, feed in self.feeds.items():
                rate = self.rates.setdefault(name, Rate())
                rate.note(trio.current_time(), feed.tally.published)
            await trio.sleep(RATE_EVERY_S)

    def status(self) -> Status:
        """Everything at this instant."""
        now_ms = self.clock()
        components = [self._component(part, now_ms) for part in self.plan.order]
        healthy = all(part.healthy for part in components) and self.snapshots.error is None
        return Status(
            version=__version__,
            healthy=healthy,
            started_ms=self.started_ms,
            uptime_s=round((now_ms - self.started_ms) / 1000, 1),
            time_ms=now_ms,
            components=components,
            streams=[_stream(stream) for stream in self.streams.values()],
            clients=self._clients(),
            snapshot=self._snapshot(now_ms),
            loop={
                "longest_hold_ms": round(self.loop.longest_s * 1000, 2),
                "longest_hold_task": self.loop.longest_task,
                "longest_work_ms": round(self.loop.longest_work_s * 1000, 2),
                "recent_hold_ms": round(self.loop.recent_s * 1000, 2),
                "steps": self.loop.steps,
            },
            memory={"rss_bytes": resident_bytes(), "prepared_bytes": self.channels.prepared.bytes},
            limits=self._limits(),
            plugins=[
                {"name": found.name, "origin": found.origin, "error": found.error}
                for found in self.registry.found
            ],
        )

    def _component(self, part: Component, now_ms: int) -> ComponentStatus:
        child = self.supervisor.children.get(part.name)
        feed = self.feeds.get(part.name)
        tally = self.tallies.get(part.name, Tally())
        source = part.table == "sources"
        places = self.places.get(part.name, {})
        rate = self.rates.get(part.name)
        outage = self.outages.current(part.name) if source else None
        return ComponentStatus(
            name=part.name,
            table=part.table,
            kind=part.kind,
            state="running" if child is None else child.state.value,
            error=None if child is None else child.error,
            restarts=0 if child is None else child.restarts,
            retry_in_s=_retry_in_s(child),
            delivering=tally.delivering if source else None,
            outage_since_ms=None if outage is None else outage.from_ms,
            connections=tally.connections,
            connected=tally.open > 0 if source else None,
            messages=tally.messages,
            published=tally.published,
            duplicates=tally.duplicates,
            dropped=dict(tally.dropped),
            figures=dict(tally.figures),
            missed=tally.missed,
            rate_per_s=rate.per_s(trio.current_time(), tally.published) if rate else 0.0,
            lag_ms=None if feed is None else _lag_ms(self.streams[part.name]),
            # A saved place may be in a stream that is not configured any more.
            behind=sum(self.streams[n].seq - seq for n, seq in places.items() if n in self.streams),
            last_message_ago_ms=_ago_ms(now_ms, tally.last_message_ms),
            last_record_ago_ms=_ago_ms(now_ms, tally.last_record_ms),
        )

    def delivery(self, name: str) -> Delivery:
        """How one component stands: what sinks may know of it."""
        child = self.supervisor.children.get(name)
        feed = self.feeds.get(name)
        if child is None or feed is None:
            return Delivery()
        tally, runs = feed.tally, child.state is State.RUNNING
        source = any(part.name == name for part in self.config.of("sources"))
        return Delivery(
            delivering=tally.delivering if source else runs,
            connected=tally.open > 0 if source else runs,
            connecting=child.state in (State.STARTING, State.RUNNING) and not tally.open,
            last_frame_ms=tally.last_frame_ms,
            last_record_ms=tally.last_record_ms,
        )

    def _clients(self) -> dict[str, Any]:
        counts, door = self.channels.crowd.counts, self.door.counts
        return {
            "live": len(self.door.clients),
            "behind": len(self.channels.crowd.behind),
            "channels": len(self.channels),
            "connections_open": self.door.open_connections,
            "connections": door.connections,
            "delivered": counts.delivered,
            "slow": counts.slow,
            "gone_slow": counts.gone_slow,
            "gaps": counts.gaps,
            "requests": dict(door.requests),
            "refused": dict(door.refused),
            "gone": dict(self.door.clients.gone),
        }

    def _snapshot(self, now_ms: int) -> dict[str, Any]:
        snapshots = self.snapshots
        return {
            "path": None if self.state is None else str(self.state),
            "bytes": 0 if self.state is None else size_bytes(self.state),
            "saves": snapshots.saves,
            "failures": snapshots.failures,
            "error": snapshots.error,
            "saved_ago_ms": _ago_ms(now_ms, snapshots.saved_ms),
            "took_ms": snapshots.took_ms,
            "dropped_rows": snapshots.dropped_rows,
        }

    def _limits(self) -> dict[str, Any]:
        settings = self.config.settings
        return {
            "max_clients": settings.max_clients,
            "max_clients_per_address": settings.max_clients_per_address,
            "connections_spare": CONNECTIONS_SPARE,
            "send_buffer": settings.send_buffer,
            "slow_consumer_timeout_s": settings.slow_consumer_timeout,
            "slow_consumer_limit_s": settings.slow_consumer_limit,
            "channels": CHANNELS_MAX,
            "streams_per_connection": PLACES_MAX,
            "unread_answers_bytes": URGENT_MAX,
            "client_message_bytes": MESSAGE_MAX,
            "client_messages_per_s": MESSAGES_PER_S,
            "request_head_bytes": HEAD_MAX,
            "prepared_bytes": self.channels.prepared.most_bytes,
            "seen_ids_per_stream": SEEN_MAX,
        }


def _stream(stream: Stream[Any]) -> StreamStatus:
    return StreamStatus(
        name=stream.name,
        record=stream.record.__name__,
        position=str(stream.head),
        records=len(stream),
        retain=stream.retain.count,
        retain_age_s=stream.retain.age_s,
        oldest_seq=stream.floor + 1,
        seen_ids=stream.seen,
    )


def _retry_in_s(child: Child | None) -> float | None:
    if child is None or child.retry_at is None or child.state is not State.BACKOFF:
        return None
    return round(max(0.0, child.retry_at - trio.current_time()), 1)


def _lag_ms(stream: Stream[Any]) -> int | None:
    newest = stream.newest_record
    happened: Any = getattr(newest.value, "time_ms", None) if newest is not None else None
    return newest.time_ms - happened if newest is not None and type(happened) is int else None


def _ago_ms(now_ms: int, then_ms: int | None) -> int | None:
    return None if then_ms is None else max(0, now_ms - then_ms)


def resident_bytes() -> int:
    """The memory that this process has in RAM; 0 where the system does not say."""
    try:
        with open("/proc/self/statm") as statm:
            return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        return 0
