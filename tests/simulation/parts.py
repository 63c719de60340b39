"""What a simulated world is made of beside its exchange and its readers: components that count,
one that stumbles over every client, a line to the exchange that may be slow, and a disk that may
fail.
"""

from collections import deque
from copy import deepcopy
from random import Random
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Protocol

import trio
from attrs import frozen

from flowd.market import Liquidation
from flowd.plugin import Feed, Live, Sink, StreamName, Streams, Transform
from flowd.stream.snapshot import Loaded, Save
from flowd.stream.volatile import MemoryStore
from flowd.values import codec

if TYPE_CHECKING:
    from tests.simulation.world import World


# -- components --


@frozen
class CountConfig:
    input: StreamName


@frozen
class Count:
    symbol: str
    count: int


@frozen
class Total:
    count: int


@frozen
class Sum:
    """All of a stream from its record after `start` on: how many came, and how many fell off."""

    start: int
    count: int
    missed: int


@frozen
class NoConfig:
    pass


class Stumble(Exception):
    """A bug in a plugin, now and then."""


def plugin(world: "World") -> SimpleNamespace:
    """The kinds `count`: records per symbol, and all of them in a private table; `sum`: whole
    batches, by a component that is not always there; and `clumsy`: a sink whose callbacks raise.
    """

    async def count(config: CountConfig, streams: Streams, feed: Feed[Count]) -> None:
        table = feed.table("total", Total)
        async for record in streams[config.input].cursor().records():
            if world.chance("stumble", 0.01):
                raise Stumble
            symbol = record.value.symbol
            before = feed.get(symbol)
            total = table.get("all")
            table.append(Total(1 if total is None else total.count + 1), key="all")
            made = feed.publish(
                Count(symbol, 1 if before is None else before.count + 1), key=symbol
            )
            assert made is not None
            # Told here, since what a table supersedes at once is nowhere to be found later.
            world.logs["counts"].note(codec.decode(made.json))

    async def sums(config: CountConfig, streams: Streams, feed: Feed[Sum]) -> None:
        async for batch in streams[config.input].cursor():
            if world.chance("stumble", 0.02):
                raise Stumble
            came = len(batch.records)
            before = feed.get("all") or Sum(batch.position.seq - came, 0, 0)
            gap = batch.gap
            fell = 0 if gap is None else gap.last - gap.first + 1
            if fell:
                world.trace("sums missed", fell)
            feed.publish(Sum(before.start, before.count + came, before.missed + fell), key="all")

    def stumbles(*args: object) -> Any:
        if world.chance("clumsy", 0.2):
            world.trace("clumsy")
            raise Stumble
        return b"."

    clumsy = Live(
        "/clumsy/{stream}",
        stumbles,
        head=b"HTTP/1.1 200 OK\r\n\r\n",
        idle=b".",
        warn=stumbles,
        heartbeat=stumbles,
    )
    reads: dict[str, Any] = {"reads": Liquidation}
    return SimpleNamespace(
        flowd_transforms=lambda: [
            Transform("count", count, CountConfig, record=Count, **reads),
            Transform("sum", sums, CountConfig, record=Sum, **reads),
        ],
        flowd_sinks=lambda: [Sink("clumsy", NoConfig, live=lambda config: clumsy)],
    )


# -- the line to the exchange --


class Late(Protocol):
    """Who says how late a line is."""

    late_s: float


class Line:
    """A connection to the exchange on which what it says is under way for as long as the world's
    `late_s` says. When the line is `cut`, what is under way is gone.
    """

    def __init__(self, world: Late) -> None:
        self._scope = trio.CancelScope()
        self._world = world
        self.ours, self._far = trio.testing.memory_stream_pair()
        self._near, self.theirs = trio.testing.memory_stream_pair()
        self._way: deque[tuple[float, bytes]] = deque()
        self._news = trio.lowlevel.ParkingLot()
        self.stalled = False
        """Nothing comes any more, of what is under way neither."""

    async def run(self) -> None:
        """Carry until one of the two ends it."""
        with self._scope:
            async with trio.open_nursery() as nursery:
                for task in (self._up, self._take, self._down):
                    nursery.start_soon(task)
        for end in (self._near, self._far):
            end.send_stream.close()
            end.receive_stream.close()

    def cut(self) -> None:
        """End it for both, without a word."""
        self._scope.cancel()

    async def _up(self) -> None:
        try:
            while data := await self._far.receive_some():
                await self._near.send_all(data)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass
        self.cut()

    async def _take(self) -> None:
        data = b"."
        while data:
            try:
                data = bytes(await self._near.receive_some())
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                data = b""
            self._way.append((trio.current_time() + self._world.late_s, data))
            self._news.unpark()

    async def _down(self) -> None:
        while True:
            while not self._way or self.stalled:
                await self._news.park()
            due, data = self._way.popleft()
            await trio.sleep_until(due)
            try:
                if data:
                    await self._far.send_all(data)
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                data = b""
            if not data:
                self.cut()
                return


# -- the disk --


class Disk(MemoryStore):
    """A disk that is full at times, that may lose its last save when the machine dies, and whose
    files somebody may damage or exchange.
    """

    def __init__(self) -> None:
        super().__init__()
        self._synced = self._state()
        self._copy: dict[str, Any] | None = None

    @property
    def full(self) -> bool:
        return self.segments.full

    async def save(self, save: Save) -> None:
        if self.full:
            await trio.lowlevel.checkpoint()
            raise OSError(28, "No space left on device")
        before = self._state()
        await super().save(save)
        self._synced = before

    async def load(self) -> Loaded:
        loaded = await super().load()
        self._synced = self._state()  # that a life has begun is on the disk before it goes on
        return loaded

    def die(self, *, unsynced: bool) -> None:
        """The machine is restarted, and has forgotten what was not synced."""
        self.boot += "'"
        if unsynced:
            vars(self).update(self._synced)

    def damage(self, random: Random) -> bool:
        """Somebody cuts the journal off, flips a bit of it, or puts an older copy of the state in
        its place. Whether anything was there to be damaged.
        """
        kept = self.segments.kept
        data = kept[-1].data if kept else bytearray()
        match random.choice(("cut", "flip", "copy", "exchange")):
            case "cut" if data and not self.clean:
                del data[random.randrange(len(data)) :]
                return True
            case "flip" if data and not self.clean:
                data[random.randrange(len(data))] ^= 1 << random.randrange(8)
                return True
            case "copy":
                self._copy = deepcopy(self._state())
            case "exchange" if self._copy is not None and not self.clean:
                older = self._copy["frame"] != self.frame
                vars(self).update(deepcopy(self._copy))
                return older
        return False

    def _state(self) -> dict[str, Any]:
        names = ("rows", "places", "saved_ms", "clean", "frame", "life")
        return {name: getattr(self, name) for name in names} | {
            "rows": dict(self.rows),
            "places": dict(self.places),
        }
