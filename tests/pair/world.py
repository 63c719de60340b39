"""Two daemons in memory that share a ledger, an exchange that both may follow, and an edge that is
told what the one that leads publishes. Time is virtual, and all chance is from a seed.
"""

from random import Random
from typing import Any

import msgspec
import trio
from attrs import define, field, frozen

from flowd.pair.lead import Lead
from flowd.pair.standby import Standby
from flowd.stream.held import Retain
from flowd.stream.log import Stream
from flowd.stream.memory import Memory
from flowd.stream.volatile import MemoryReplica, MemoryStore
from flowd.testing.ledgers import MemoryLedger
from flowd.values.errors import UpstreamError

TTL_S = 3.0


@frozen
class Order:
    number: int
    symbol: str


@frozen
class Total:
    count: int


class Exchange:
    """Orders, and the newest ones for who comes late."""

    def __init__(self) -> None:
        self.orders: list[Order] = []

    def say(self, random: Random) -> None:
        self.orders.append(Order(len(self.orders) + 1, f"S{random.randrange(5)}"))


@define(eq=False)
class Edge:
    """All that was ever published, by stream, epoch and number. It knows the newest token."""

    seen: dict[str, dict[tuple[str, int], bytes]] = field(factory=dict)
    heads: dict[str, tuple[str, int]] = field(factory=dict)
    ids: set[int] = field(factory=set)
    epochs: dict[str, list[str]] = field(factory=dict)
    fence: int = 0
    refused: int = 0
    last_at: float = 0.0

    def place(self, token: int, stream: str) -> tuple[str, int] | None:
        self.fence = max(self.fence, token)
        return self.heads.get(stream)

    def send(self, token: int, stream: str, epoch: str, seq: int, json: bytes) -> bool:
        if token < self.fence:
            self.refused += 1
            return False
        at = self.heads.get(stream)
        if at is None or at[0] != epoch:
            self.epochs.setdefault(stream, []).append(epoch)
            if stream == "orders":
                self.ids.clear()
        elif stream == "orders":
            assert seq == at[1] + 1, f"{stream}: {seq} after {at}"
        found = self.seen.setdefault(stream, {})
        assert found.get((epoch, seq), json) == json, f"{stream}.{seq} is two records"
        found[epoch, seq] = json
        self.heads[stream] = (epoch, seq)
        if stream == "orders":
            number = msgspec.json.decode(json)["value"]["number"]
            assert number not in self.ids, f"order {number} comes twice"
            self.ids.add(number)
        self.last_at = trio.current_time()
        return True


class Link:
    """One daemon's way to the ledger, which may be cut."""

    def __init__(self, ledger: MemoryLedger) -> None:
        self.cut = False
        self._ledger = ledger
        self.ttl_s, self.first_s = ledger.ttl_s, ledger.first_s

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._ledger, name)

        async def ask(*args: Any, **more: Any) -> Any:
            if self.cut:
                await trio.sleep(0.1)
                raise UpstreamError("the line is cut")
            found = await method(*args, **more)
            if self.cut:
                raise UpstreamError("the line is cut")
            return found

        return ask


class Node:
    """One daemon: it stands by, leads, is killed and comes back, as the test likes."""

    def __init__(self, name: str, world: "World", patience_s: float) -> None:
        self.name = name
        self.world = world
        self.patience_s = patience_s
        self.store = MemoryStore(f"{name}-")
        self.link = Link(world.ledger)
        self.lead: Lead | None = None
        self.standby: Standby | None = None
        self.memory: Memory | None = None
        self.replica: MemoryReplica | None = None
        self.led = 0
        self.anew: list[str] = []
        self.ends: list[str] = []
        self._scope = trio.CancelScope()
        self._stopping = False

    async def run(self) -> None:
        """From the start of the process to its end."""
        self._stopping = False
        with trio.CancelScope() as self._scope:
            while not self._stopping:
                self.replica = MemoryReplica(self.store)
                self.standby = Standby(
                    self.link, self.replica, self.name, self.patience_s, trio.current_time
                )
                taken = await self.standby.run()
                self.standby = None
                if taken.anew:
                    self.anew.append(taken.anew)
                self.store.anew = taken.anew
                self.lead = Lead(self.link, taken.token, self.name, trio.current_time, taken.at)
                await self._live(self.lead)
                self.lead = self.memory = None

    def kill(self) -> None:
        """`kill -9`."""
        self.store.freeze()
        self._scope.cancel()
        self.lead = self.standby = self.memory = None

    def stop(self) -> None:
        """An orderly end, if it leads; else it just goes."""
        self._stopping = True
        if self.lead is None:
            self._scope.cancel()
        else:
            self.lead.on_deposed("")

    async def _live(self, lead: Lead) -> None:
        self.led += 1
        ended = trio.Event()
        memory = Memory(self.store, self.world.clock, self.world.random)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(lead.run)
            await memory.load()
            lead.begin(memory.journal, self.store)
            lead.on_deposed = lambda why: (self.ends.append(why), ended.set())[0]
            orders = memory.open("orders", Order, Retain(500))
            totals = memory.open("totals", Total, Retain(100))
            memory.journal.flush()
            self.memory = memory
            lead.serve()
            async with trio.open_nursery() as components:
                components.start_soon(self._source, memory, orders, totals)
                components.start_soon(self._save, memory)
                for stream in (orders, totals):
                    components.start_soon(self._publish, lead, stream)
                await ended.wait()
                components.cancel_scope.cancel()
            if lead.deposed is None:
                await memory.snapshots.save(clean=True)
                await lead.end()
            nursery.cancel_scope.cancel()

    async def _source(self, memory: Memory, orders: Stream[Any], totals: Stream[Any]) -> None:
        """All newest orders are asked for at the start, as some exchanges allow."""
        at = max(0, len(self.world.exchange.orders) - 300)
        while True:
            for order in self.world.exchange.orders[at:]:
                if orders.append(order, id=str(order.number)) is not None:
                    before = totals.get(order.symbol)
                    count = 0 if before is None else before.count
                    totals.append(Total(count + 1), key=order.symbol)
                at += 1
            memory.journal.flush()
            await trio.sleep(0.05)

    async def _save(self, memory: Memory) -> None:
        while True:
            await trio.sleep(self.world.random.uniform(0.5, 5))
            await memory.snapshots.save()

    async def _publish(self, lead: Lead, stream: Stream[Any]) -> None:
        edge, name = self.world.edge, stream.name
        place = edge.place(lead.token, name)
        at = place[1] if place is not None and place[0] == stream.epoch else stream.floor
        while True:
            for record in stream.after(at):
                await lead.reached()
                await trio.sleep(self.world.random.uniform(0, 0.02))
                if not edge.send(lead.token, name, stream.epoch, record.seq, record.json):
                    await trio.sleep_forever()
                at = record.seq
            await trio.sleep(0.02)


class World:
    """All of it."""

    def __init__(self, seed: int = 0, patience_s: float = 1e6) -> None:
        self.random = Random(seed)
        self.ledger = MemoryLedger(TTL_S)
        self.exchange = Exchange()
        self.edge = Edge()
        self.a, self.b = (Node(name, self, patience_s) for name in "ab")
        self._began = trio.current_time()

    def clock(self) -> int:
        return 1_700_000_000_000 + round((trio.current_time() - self._began) * 1000)

    async def trade(self) -> None:
        """Orders come for ever."""
        while True:
            self.exchange.say(self.random)
            await trio.sleep(self.random.uniform(0.01, 0.2))

    @property
    def leader(self) -> Node | None:
        return next((n for n in (self.a, self.b) if n.memory is not None), None)

    def check(self) -> None:
        """What was published is what who leads has, under the same numbers."""
        leader = self.leader
        if leader is None or leader.memory is None:
            return
        for name, stream in leader.memory.streams.items():
            found = self.edge.seen.get(name, {})
            for record in stream.after(0):
                json = found.get((stream.epoch, record.seq))
                assert json is None or json == record.json, f"{name}.{record.seq} differs"
            newest = max((seq for epoch, seq in found if epoch == stream.epoch), default=0)
            assert newest <= stream.seq, f"{name}: {newest} was seen, it has {stream.seq}"
