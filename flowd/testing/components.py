"""What a component gets, in memory: a feed, streams, a clock, a registry of its plugin alone."""

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any, Generic, TypeVar

import httpx2
import trio

from flowd.door.desk import Desk
from flowd.setup.registry import Registry
from flowd.stream.held import Retain
from flowd.stream.inputs import Input, Streams
from flowd.stream.log import Stream
from flowd.stream.mirror import Mirrored
from flowd.testing.rest import Rest
from flowd.testing.scripts import Script, ScriptedUpstream, upstream
from flowd.upstream.feed import Feed
from flowd.upstream.http import Services
from flowd.values.clock import Clock

T = TypeVar("T")

START_MS = 1_700_000_000_000
"""What `clock` says at Trio's zero, where a MockClock begins: 2023-11-14, 22:13:20 UTC."""
EPOCH = "test"


def clock() -> int:
    """Wall time in milliseconds: moves with Trio's clock, and goes on from daemon to daemon.

    Outside of Trio it stands still, for tests of plain functions.
    """
    return START_MS + (round(trio.current_time() * 1000) if trio.lowlevel.in_trio_run() else 0)


class ScriptedFeed(Feed[T], Generic[T]):
    """A feed whose `websocket` dials the `upstream`. What was published is in its `stream`."""

    def __init__(
        self,
        upstream: ScriptedUpstream,
        stream: Stream[T],
        clock: Clock,
        retain: Retain,
        rest: Rest | None = None,
        carries: Mapping[str, tuple[Mirrored, type[Any]]] = MappingProxyType({}),
    ) -> None:
        rest = rest or Rest({})
        self.carried: dict[str, Stream[Any]] = {
            name: Stream(
                name,
                record,
                clock=clock,
                epoch=there.epoch,
                retain=Retain(there.retain, there.age_s),
                mirrored=True,
            )
            for name, (there, record) in carries.items()
        }
        """The streams of another daemon, by name."""
        super().__init__(
            stream.name,
            stream,
            clock=clock,
            dial=upstream.dial,
            table=self._keep,
            on_lost=lambda *told: self.losses.append(told),
            on_recovered=lambda *told: self.recoveries.append(told),
            services=Services(clock, rest),
            mirrored=self.carried,
            there={name: there for name, (there, _) in carries.items()},
        )
        self.rest = rest
        self.losses: list[tuple[str, int, int | None]] = []
        """What was lost: why, from when, and until when if that is known."""
        self.recoveries: list[tuple[int, int, int]] = []
        """What `recovered` was told."""
        self.stream = stream
        self.upstream = upstream
        self.tables: dict[str, Stream[Any]] = {}
        """The private tables that the component asked for."""
        self._retain = retain

    @property
    def values(self) -> list[T]:
        """What was published and is retained, oldest first."""
        return [record.value for record in self.records()]

    def _keep(self, name: str, record: type[Any]) -> Stream[Any]:
        if name not in self.tables:
            self.tables[name] = Stream(
                name, record, clock=self.clock, epoch=EPOCH, retain=self._retain, private=True
            )
        return self.tables[name]


def feed(
    *scripts: Script,
    record: type[Any] = object,
    clock: Clock = clock,
    retain: int = 5000,
    name: str = "test",
    rest: Rest | None = None,
    carries: Mapping[str, tuple[Mirrored, type[Any]]] = MappingProxyType({}),
) -> ScriptedFeed[Any]:
    """A feed for a source or transform under test, whose upstream plays these scripts, and whose
    REST services answer as `rest` says. `carries` are streams of another daemon, each with its
    class of record.
    """
    kept = Retain(retain)
    own: Stream[Any] = Stream(name, record, clock=clock, epoch=EPOCH, retain=kept)
    return ScriptedFeed(upstream(*scripts), own, clock, kept, rest or Rest({}), carries)


def stream(
    name: str, values: Iterable[Any] = (), *, record: type[Any] = object, retain: int = 5000
) -> Stream[Any]:
    """A stream that holds these values; append more as the test goes on, close it to end it."""
    made: Stream[Any] = Stream(name, record, clock=clock, epoch=EPOCH, retain=Retain(retain))
    for value in values:
        made.append(value)
    return made


def streams(*inputs: Stream[Any], places: dict[str, int] | None = None) -> Streams:
    """These streams as a transform or sink gets them. Who reads on from `places` was restarted."""
    kept = {} if places is None else places
    return Streams(Input(one, kept) for one in inputs)


def desk(
    name: str = "test", *, clock: Clock = clock, rest: httpx2.AsyncBaseTransport | None = None
) -> Desk:
    """A desk for a sink under test: everybody is an admin, and nothing is started again."""
    return Desk(name, clock=clock, services=Services(clock, rest or Rest({})))


def registry(*modules: Any) -> Registry:
    """A registry of these plugins alone: modules, or whatever else has the hooks."""
    found = Registry()
    kinds: dict[str, dict[str, Any]] = {
        "flowd_sources": found.sources,
        "flowd_transforms": found.transforms,
        "flowd_sinks": found.sinks,
    }
    for module in modules:
        for hook, known in kinds.items():
            known |= {one.kind: one for one in getattr(module, hook, list)()}
    return found
