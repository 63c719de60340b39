"""The simulated world: an exchange with its market and its weather, a daemon that crashes and comes
back, and readers of every temper. One seed decides all of it, and every step is checked.
"""

import hashlib
import logging
import threading
from collections.abc import Awaitable, Callable
from itertools import cycle
from random import Random
from typing import Any

import flowd_binance
import flowd_http
import flowd_simulator.binance
import flowd_sse
import flowd_websocket
import trio
import trio.testing
from attrs import define, frozen
from flowd_simulator.binance.exchange import HANDSHAKE_S
from flowd_simulator.faults import Faults, spoil

from flowd import testing
from flowd.market import Liquidation
from flowd.values import codec
from tests.simulation.model import Ledger, Log
from tests.simulation.parts import Disk, Line, Sum, plugin
from tests.simulation.reader import Reader

SYMBOLS = ("BTCUSDT", "ETHUSDT", "SOLUSDT", "龙虾USDT")
SILENCE_S = 20
RETAIN = 30
CROWD = 22
COMPANION = "btcusdt@markPrice@1s"

CONFIG = f"""
[flowd]
save_every = "5s"
slow_consumer_limit = "90s"

[sources.all]
kind = "binance-force-order"
symbols = ["*"]
silence = "{SILENCE_S}s"
ping_every = "7s"
renew_every = "45s"
renew_overlap = "3s"
restart_delay = "1s"
restart_delay_max = "8s"
retain = {RETAIN}

[transforms.counts]
kind = "count"
input = "all"
restart_delay = "100ms"
restart_delay_max = "200ms"
restart_limit = 1000

[sinks.clumsy]
kind = "clumsy"

[sinks.polls]
kind = "http"

[sinks.events]
kind = "sse"

[sinks.sockets]
kind = "websocket"
"""

SECOND = f"""
[sources.majors]
kind = "binance-force-order"
symbols = ["BTCUSDT", "ETHUSDT"]
silence = "{SILENCE_S}s"
renew_every = "70s"
restart_delay = "2s"
restart_delay_max = "5s"
retain = {RETAIN}
"""

SUMS = """
[transforms.sums]
kind = "sum"
input = "all"
behind_max = 20
restart_delay = "100ms"
restart_delay_max = "200ms"
restart_limit = 1000
"""
"""A component that is left out of some lives, and may be overtaken."""

SOURCES = {"all": frozenset(SYMBOLS), "majors": frozenset(SYMBOLS[:2])}
TABLES = ("counts", "outages")


ENDS = ("stop", "crash", "crash", "crash while stopping", "power loss")


@frozen
class Told:
    """A liquidation that the exchange made."""

    number: int
    time_ms: int
    symbol: str
    side: str
    frame: str


class World:
    """Everything there is, and what it must be like."""

    def __init__(self, seed: int, *, readers: int, minutes: float, second: bool) -> None:
        self.seed = seed
        self._hash = hashlib.sha256()
        self._randoms: dict[str, Random] = {}
        self.sources = SOURCES if second else {"all": SOURCES["all"]}
        self.config = CONFIG + SECOND if second else CONFIG
        self.minutes = minutes
        self.symbols = SYMBOLS
        self.calm = False
        self.daemon: testing.Daemon | None = None
        self.disk = Disk()
        self.told: dict[int, Told] = {}
        self.logs = {name: Log(name, name in TABLES) for name in (*self.sources, *TABLES)}
        self.ledgers = {name: Ledger() for name in self.sources}
        self.first_delivery_ms: dict[str, int] = {}
        self.lives = 0
        self.happened: dict[str, int] = {}
        self.unreachable: str | None = None
        self.late_s = 0.0
        """For so long what the exchange says is under way."""
        self.distant = self.random("distance").random() < 0.5
        self.exchange = flowd_simulator.binance.Binance(
            seed, testing.clock, SYMBOLS, faults=Faults()
        )
        # Many on one channel, so that a pass over them is long enough to be interrupted.
        crowd = self.random("crowd").choice(("sse", "websocket")) if readers > 20 else None
        self.readers = [
            Reader(self, number, crowd if number < CROWD else None) for number in range(readers)
        ]
        self.registry = testing.registry(
            flowd_binance, flowd_http, flowd_sse, flowd_websocket, plugin(self)
        )
        self._nursery: trio.Nursery
        self._watch_s = 0.0
        self._number = 0
        self._lines: list[Line] = []
        chances = self.random("stopwatch")
        self._ticks = cycle([chances.random() * 0.005 for _ in range(997)])

    # -- chance, and what it did --

    def random(self, who: str) -> Random:
        """Everybody has chances of their own, so that one more throw here changes nothing there."""
        if who not in self._randoms:
            self._randoms[who] = Random(f"{self.seed}/{who}")
        return self._randoms[who]

    def chance(self, who: str, probability: float) -> bool:
        """Whether it happens; nothing does in calm."""
        return not self.calm and self.random(who).random() < probability

    def trace(self, what: str, *more: object) -> None:
        """Something happened: it is counted, and it is part of the trace."""
        self.happened[what] = self.happened.get(what, 0) + 1
        self._hash.update(repr((trio.current_time(), what, *more)).encode())

    def digest(self) -> str:
        """All that happened, as one number."""
        return self._hash.hexdigest()

    def stopwatch(self) -> float:
        """Real time as the daemon measures it: passes over clients yield at random places."""
        self._watch_s += next(self._ticks)
        return self._watch_s

    # -- the run --

    async def run(self) -> None:
        """Live for so many minutes, then a calm in which everything must come right."""
        async with trio.open_nursery() as self._nursery:
            for task in (
                *(self._market, self._companion, self._weather, self._clumsiness),
                self._check,
            ):
                self._nursery.start_soon(task)
            for reader in self.readers:
                self._nursery.start_soon(reader.run)
            await trio.testing.wait_all_tasks_blocked()
            self._tasks = trio.lowlevel.current_statistics().tasks_living
            while trio.current_time() < self.minutes * 60:
                await self._live()
                await self._down()
            await self._live(last=True)
            await self._down()
            self._nursery.cancel_scope.cancel()
        self._nothing_lost_upstream()

    async def _live(self, *, last: bool = False) -> None:
        """One life of the daemon, ended in one of the ways in which lives end."""
        self.lives += 1
        random = self.random("lives")
        seconds = min(random.expovariate(1 / 120), 400)
        end = "stop" if last else random.choice(ENDS)
        config = self.config + (SUMS if random.random() < 0.6 else "")
        async with testing.daemon(
            config,
            registry=self.registry,
            dial=self._dial,
            store=self.disk,
            seed=random.getrandbits(32),
            stopwatch=self.stopwatch,
            crash=end != "stop",
        ) as daemon:
            self._begin(daemon)
            async with trio.open_nursery() as taps:
                for name in self.logs:
                    taps.start_soon(self._tap, daemon, name)
                if last:
                    await self._calm_down()
                else:
                    await trio.sleep(seconds)
                if end == "crash while stopping":
                    daemon.stop()
                    await trio.sleep(random.random() * 3)
                elif end == "stop":
                    daemon.stop()
                    await daemon.ended.wait()
                self.trace(end, daemon.loop.steps)
                # What is there now, everybody may have been shown: all steps before this one are
                # over. What tasks do while they come to an end, has never been: nothing of it is
                # kept, and nobody hears of it.
                self.sync()
                for reader in self.readers:
                    reader.lose(clean=end == "stop")
                self.disk.freeze()
                self.daemon, journaled = None, daemon.memory.journal.error is None
                taps.cancel_scope.cancel()
        self._ended(end, journaled=journaled)

    async def _down(self) -> None:
        """Between two lives: nothing of the daemon may be left."""
        await trio.sleep(self.random("lives").choice((0, 0.1, 3, 60)))
        await trio.testing.wait_all_tasks_blocked()
        await trio.testing.wait_all_tasks_blocked()
        assert self.exchange.connections == 0
        if self._living() > self._tasks:
            # The exchange's codec does not notice that a client left in its handshake: such a one
            # is given up after a while.
            await trio.sleep(HANDSHAKE_S)
            await trio.testing.wait_all_tasks_blocked()
        left = self._living() - self._tasks
        assert left <= 0, f"{left} tasks were left behind"

    def _living(self) -> int:
        return trio.lowlevel.current_statistics().tasks_living

    def _begin(self, daemon: testing.Daemon) -> None:
        """What a new daemon must have made of the snapshot."""
        rows, same = self.disk.rows, self.goes_on
        nothing = not any(row.seq for row in rows.values())
        if nothing:
            # Nothing is left: this is the first life, whatever went before.
            self.first_delivery_ms.clear()
        if same or not nothing:
            assert (daemon.memory.why is None) == same
        for name, log in self.logs.items():
            saved = rows[name].seq if name in rows else 0
            stream = daemon.streams[name]
            assert stream.seq >= saved
            log.begin(stream.epoch, same=same, seq=saved)
            for record in stream.after(0, upto=saved):
                log.note(codec.decode(record.json))
            if name in self.ledgers:
                self.ledgers[name].crash(saved)
        self.daemon = daemon
        self.trace("start", daemon.outages.stream.head)
        self.sync()

    goes_on = False
    """The next life must go on as if nothing had happened."""

    def _ended(self, end: str, *, journaled: bool) -> None:
        if not self.disk.full:
            assert self.disk.clean or end != "stop"
        if end == "power loss":
            self.disk.die(unsynced=self.random("lives").random() < 0.5)
            self.goes_on = self.disk.clean
        else:
            self.goes_on = self.disk.clean or journaled
        if self.random("damage").random() < 0.3 and self.disk.damage(self.random("damage")):
            self.trace("damage")
            self.goes_on = False

    async def _tap(self, daemon: testing.Daemon, name: str) -> None:
        stream = daemon.streams[name]
        async for _ in stream.cursor(after=stream.head):
            self.sync()
            if self.chance("fidgeting", 0.3):
                # In the very moment in which channels pass the news on.
                for reader in self.random("fidgeting").sample(self.readers, len(self.readers) // 4):
                    reader.fidget()

    async def _calm_down(self) -> None:
        """No more weather: soon everything is delivered to everybody."""
        self.calm = True
        self._clear_up()
        await trio.sleep(150)
        daemon = self.daemon
        assert daemon is not None
        self.exchange.faults.stalled = False
        for name in self.sources:
            assert daemon.feeds[name].tally.delivering, f"{name} does not deliver in calm"
            assert daemon.outages.current(name) is None, f"{name}: the outage has no end"
        # What somebody missed is told for an hour.
        wrong = daemon.observer.status().health()["problems"]
        assert not {who: why for who, why in wrong.items() if who != "sums"}
        for reader in self.readers:
            reader.read()
            reader.must_be_level()
        self.sync()
        seq = self.logs["all"].seq
        assert daemon.memory.places["counts"]["all"] == seq, "the transform did not catch up"

    # -- upstream --

    async def _dial(self, url: Any) -> trio.abc.Stream:
        await trio.lowlevel.checkpoint()
        if self.unreachable == "refused":
            raise ConnectionRefusedError("nobody there")
        ours, theirs = trio.testing.memory_stream_pair()
        if self.distant:
            line = Line(self)
            ours, theirs = line.ours, line.theirs
            self._lines.append(line)
            self._nursery.start_soon(line.run)
        if self.unreachable != "hangs":
            self._nursery.start_soon(self.exchange.serve_websocket, theirs)
        return ours

    async def _market(self) -> None:
        """Liquidations, one by one and in cascades; some are not ours to count."""
        random = self.random("market")
        while True:
            await trio.sleep(random.expovariate(1 / 6))
            for _ in range(random.choice((1, 1, 1, 1, 2, 12))):
                self._liquidate(random)

    def _liquidate(self, random: Random) -> None:
        self._number = number = self._number + 1
        symbol, side = random.choice(SYMBOLS), random.choice(("BUY", "SELL"))
        if random.random() < 0.05:
            self.exchange.liquidate("BTCUSD_PERP", side, "100", number)
            return
        time_ms = testing.clock()
        place = random.choice(("inside", "beside", "absent"))
        event = self.exchange.liquidate(symbol, side, "100.10", number, place=place)
        frame = f'{{"stream":"{symbol.lower()}@forceOrder","data":{event}}}'
        self.told[number] = Told(number, time_ms, symbol, side, frame)

    async def _companion(self) -> None:
        """The busy stream that proves life, and tells Binance's time as all of its events do."""
        while True:
            await trio.sleep(5)
            event = {"e": "markPriceUpdate", "E": testing.clock(), "s": "BTCUSDT", "p": "100.1"}
            self.exchange.send(codec.encode({"stream": COMPANION, "data": event}).decode())

    async def _weather(self) -> None:
        random = self.random("weather")
        kinds: list[Callable[[Random], Awaitable[None]]] = [
            self._cut,
            self._close,
            self._stall,
            self._garbage,
            self._refuse,
            self._error,
            self._kick,
            self._full_disk,
            self._replay,
            self._hold,
            *([self._late] if self.distant else []),
        ]
        while not self.calm:
            await trio.sleep(random.expovariate(1 / 25))
            if not self.calm:
                kind = random.choice(kinds)
                self.trace(kind.__name__)
                await kind(random)

    def _drop_all(self) -> None:
        self.exchange.drop_all()
        for line in self._lines:
            line.cut()
        self._lines.clear()

    async def _cut(self, random: Random) -> None:
        self._drop_all()

    async def _close(self, random: Random) -> None:
        self.exchange.close_all(random.choice((1000, 1001, 1008, 1012)), "so long")

    async def _stall(self, random: Random) -> None:
        """Longer than it takes to be found out: a shorter one nobody could know of."""
        self.exchange.stall()
        await trio.sleep(SILENCE_S + random.random() * 40)
        self.exchange.resume()

    async def _garbage(self, random: Random) -> None:
        faults = self.exchange.faults
        faults.garbage, faults.duplicate = random.random() / 2, random.random() / 2
        good = '{"stream":"!forceOrder@arr","data":{"e":"forceOrder","o":{"s":"BTCUSDT"}}}'
        for kind in random.sample(("html", "empty", "truncated", "array", "null"), 3):
            self.exchange.send(spoil(kind, good))
        await trio.sleep(random.random() * 60)
        faults.garbage = faults.duplicate = 0.0

    async def _refuse(self, random: Random) -> None:
        self.exchange.handshake_status = random.choice((None, 503, 451))
        self.unreachable = random.choice((None, "refused", "hangs"))
        self._drop_all()
        await trio.sleep(random.random() * 60)
        self._clear_up()

    async def _error(self, random: Random) -> None:
        self.exchange.send(
            random.choice(
                (
                    '{"code":2,"msg":"Invalid request: too many parameters"}',
                    '{"error":{"code":2,"msg":"Invalid request: invalid stream"},"id":1}',
                )
            )
        )

    async def _kick(self, random: Random) -> None:
        if self.daemon is not None:
            self.daemon.supervisor.kick(random.choice((*self.sources, "counts")))

    async def _replay(self, random: Random) -> None:
        """What was told long ago is told again: news only to who never heard it."""
        old = list(self.told.values())
        for told in random.sample(old, min(10, len(old))):
            if told.symbol in SOURCES["majors"]:
                self.exchange.send(told.frame)

    async def _full_disk(self, random: Random) -> None:
        self.disk.segments.full = True
        await trio.sleep(random.random() * 30)
        self.disk.segments.full = False

    async def _hold(self, random: Random) -> None:
        """The event loop is held, or the process stopped; the exchange goes on."""
        clock = trio.lowlevel.current_clock()
        assert isinstance(clock, trio.testing.MockClock)
        for _ in range(random.randint(1, 8)):
            clock.jump(random.random() * 2)
            self._liquidate(random)
        if random.random() < 0.5:
            self._drop_all()

    async def _late(self, random: Random) -> None:
        """What the exchange says comes late; the line may be cut with much of it under way."""
        self.late_s = 1 + random.random() * 14
        await trio.sleep(random.random() * 60)
        if random.random() < 0.6:
            self._drop_all()
        self.late_s = 0.0

    def _clear_up(self) -> None:
        self.late_s = 0.0
        self.exchange.resume()
        self.exchange.handshake_status = self.unreachable = None
        self.exchange.faults.garbage = self.exchange.faults.duplicate = 0.0
        self.disk.segments.full = False

    async def _clumsiness(self) -> None:
        """Clients of a sink whose callbacks raise: they cost nobody else anything."""
        random = self.random("clumsiness")
        while True:
            await trio.sleep(random.expovariate(1 / 15))
            if self.daemon is not None and not self.daemon.stopping.is_set():
                client = self.daemon.connect("/clumsy/all")
                await trio.sleep(random.expovariate(1 / 15))
                if client.gone is None:
                    client.leave()

    # -- what must be true --

    async def _check(self) -> None:
        while True:
            await trio.sleep(5)
            self.sync()

    def sync(self) -> None:
        """Take note of what the streams hold, and check it against what the exchange told."""
        daemon = self.daemon
        if daemon is None or self.disk.segments.frozen:
            return
        for name, log in self.logs.items():
            stream = daemon.streams[name]
            assert stream.floor <= log.seq, f"{name}: records fell off that the model never saw"
            for record in stream.after(log.seq):
                log.note(codec.decode(record.json))
                if name in self.ledgers:
                    self._published(name, record.seq, record.value)
            if daemon.feeds.get(name) and daemon.feeds[name].tally.delivering:
                self.first_delivery_ms.setdefault(name, testing.clock())
            if name in self.sources:
                assert daemon.feeds[name].tally.open <= 2, f"{name}: connections pile up"
        self._totals_agree(daemon)
        bound = len(daemon.channels) + len(self.readers) + 8
        assert len(daemon.channels.crowd.nursery.child_tasks) <= bound
        assert daemon.feeds["counts"].tally.missed == 0
        if "sums" in daemon.feeds:
            self._nothing_missed_unannounced(daemon)

    def _published(self, name: str, seq: int, value: Liquidation) -> None:
        told = self.told[int(value.quantity)]
        assert (told.symbol, told.side) == (value.symbol, value.side)
        assert told.time_ms == value.time_ms
        assert told.symbol in self.sources[name]
        self.ledgers[name].publish(seq, told.number, told.symbol)

    def _totals_agree(self, daemon: testing.Daemon) -> None:
        """At every instant the transform has counted what it has read, each liquidation once."""
        read = daemon.memory.places["counts"].get("all", 0)
        expected = self.ledgers["all"].totals(read)
        counted = {symbol: daemon.streams["counts"].get(symbol) for symbol in SYMBOLS}
        assert {s: c.count for s, c in counted.items() if c is not None} == expected
        table = daemon.streams.get("counts/total")
        total = None if table is None else table.get("all")
        if table is not None:
            assert (0 if total is None else total.count) == read

    def _nothing_missed_unannounced(self, daemon: testing.Daemon) -> None:
        """Who was left out or overtaken has counted each record once, or knows that it fell off."""
        found: Sum | None = daemon.streams["sums"].get("all")
        if found is not None:
            read = daemon.memory.places["sums"].get("all", 0)
            assert found.start + found.count + found.missed == read
        if daemon.feeds["sums"].tally.missed:
            outages = daemon.outages.stream.after(0)
            assert any(record.value.component == "sums" for record in outages)

    def _nothing_lost_upstream(self) -> None:
        """Each liquidation was published, or lies in an outage that is on record."""
        rows = self.disk.rows["outages"].records
        outages = [codec.decode(json)["value"] for _, _, _, json in rows]
        for name, symbols in self.sources.items():
            spans = [(o["from_ms"], o["to_ms"]) for o in outages if o["component"] == name]
            known = self.ledgers[name].known
            for told in self.told.values():
                if told.number in known or told.symbol not in symbols:
                    continue
                if told.time_ms <= self.first_delivery_ms[name]:
                    continue
                assert any(
                    start <= told.time_ms and (end is None or told.time_ms <= end)
                    for start, end in spans
                ), f"{name}: {told} was lost, and no outage says so"


@define(eq=False)
class Outcome:
    """What became of a simulated world."""

    digest: str
    happened: dict[str, int]
    lives: int
    told: int
    published: int
    seconds: float


class Chance(threading.local):
    """Trio's own chance, for each thread one: another thread's loop draws nothing from ours."""

    def __init__(self) -> None:
        mine = Random()
        self.seed, self.random = mine.seed, mine.random
        self.shuffle, self.uniform = mine.shuffle, mine.uniform


SIZES = ((3, 12), (4, 11), (6, 10), (28, 4))
"""Readers, and for how many minutes."""


def simulate(seed: int) -> Outcome:
    """Run the world of this seed; AssertionError when something in it is not as it must be.

    Trio shuffles the tasks that are ready by chance of its own. To repeat a run exactly that chance
    is seeded, and the order before the shuffle made a fixed one, as pytest-trio does for
    Hypothesis: by private names, which this and only this place knows.
    """
    size = Random(f"{seed}/size")
    readers, minutes = size.choice(SIZES)
    world = World(seed, readers=readers, minutes=minutes, second=size.random() < 0.3)
    core: Any = trio._core._run
    before = core._ALLOW_DETERMINISTIC_SCHEDULING, core._r
    core._ALLOW_DETERMINISTIC_SCHEDULING, core._r = True, Chance()
    core._r.seed(seed)
    logging.disable(logging.CRITICAL)
    clock = trio.testing.MockClock(autojump_threshold=0)
    try:
        trio.run(world.run, clock=clock, strict_exception_groups=True)
    finally:
        logging.disable(logging.NOTSET)
        core._ALLOW_DETERMINISTIC_SCHEDULING, core._r = before
    return Outcome(
        world.digest(),
        world.happened,
        world.lives,
        len(world.told),
        len(world.ledgers["all"].known),
        clock.current_time(),
    )
