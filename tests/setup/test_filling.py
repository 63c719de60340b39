"""Two daemons at one exchange: the leader dies, the standby takes over with connections of its own,
and what the leader did not write is filled from what the standby heard.
"""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from random import Random
from typing import Any

import flowd_binance
import pytest
import trio
from attrs import evolve
from flowd_simulator.binance import Binance
from flowd_simulator.faults import Faults
from trio.testing import MockClock

from flowd import testing
from flowd.setup.config import parse
from flowd.setup.filling import LIMIT_S
from flowd.setup.machine import Machine
from flowd.setup.warm import Warm
from flowd.stream.volatile import MemoryStore
from flowd.testing import START_MS
from flowd.upstream.outages import Outage
from flowd.values import codec
from tests.simulation.parts import Line

COMPANION = "btcusdt@markPrice@1s"
CONFIG = """
[flowd]
save_every = "1s"

[sources.orders]
kind = "binance-force-order"
symbols = ["*"]
restart_delay = "1s"
restart_delay_max = "1s"
"""


class Side:
    """One of the two daemons' machines: its way to the exchange."""

    def __init__(self, exchange: "Exchange") -> None:
        self.reachable = True
        self.stood_s = 0.0
        """For so long nothing was done."""
        self.slow_s = 0.0
        """How long a dial takes."""
        self.late_s = 0.0
        """For so long what the exchange says is under way."""
        self._exchange = exchange
        self._lines: list[Line] = []

    async def dial(self, url: Any) -> trio.abc.Stream:
        await trio.sleep(self.slow_s)
        if not self.reachable:
            raise ConnectionRefusedError("nobody there")
        line = Line(self)
        self._lines.append(line)
        self._exchange.nursery.start_soon(line.run)
        self._exchange.nursery.start_soon(self._exchange.binance.serve_websocket, line.theirs)
        return line.ours

    def cut(self) -> None:
        """All that is connected is cut, without a word."""
        for line in self._lines:
            line.cut()
        self._lines.clear()

    def stall(self) -> None:
        """Nothing comes any more by what is connected now."""
        for line in self._lines:
            line.stalled = True

    def machine(self, seed: int = 0) -> Machine:
        return Machine(testing.clock, Random(seed), self.dial, trio.current_time, self.uptime)

    def uptime(self) -> float:
        """By which a standstill is noticed."""
        return trio.current_time() + self.stood_s


class Exchange:
    """A simulated Binance that two machines can reach, and all that it told."""

    def __init__(self, nursery: trio.Nursery) -> None:
        self.nursery = nursery
        self.binance = Binance(0, testing.clock, ("BTCUSDT",), faults=Faults())
        self.told: dict[str, float] = {}
        """By quantity, which no two have in common: when."""
        self.late_ms = 0
        """So far off are its times."""

    def liquidate(self) -> str:
        quantity = str(len(self.told) + 1)
        time_ms = testing.clock() - self.late_ms
        self.binance.liquidate("BTCUSDT", "SELL", "100", quantity, time_ms=time_ms)
        self.told[quantity] = trio.current_time()
        return quantity

    async def talk(self) -> None:
        """What is always busy, never at the moment at which a test does something."""
        await trio.sleep(0.1)
        while True:
            event = {"e": "markPriceUpdate", "E": testing.clock(), "s": "BTCUSDT", "p": "100.1"}
            self.binance.send(codec.encode({"stream": COMPANION, "data": event}).decode())
            await trio.sleep(0.5)


class Pair:
    """A leader and a standby; the leader's store is what the standby takes over."""

    def __init__(self, exchange: Exchange, config: str = CONFIG) -> None:
        self.exchange = exchange
        self.config = config
        self.registry = testing.registry(flowd_binance)
        self.store = MemoryStore()
        self.one, self.other = Side(exchange), Side(exchange)
        self.warm = Warm(parse(config, self.registry), self.other.machine())

    @asynccontextmanager
    async def leading(self) -> AsyncGenerator[testing.Daemon, None]:
        """The leader, until it is killed at the end of the block."""
        async with testing.daemon(
            self.config,
            registry=self.registry,
            dial=self.one.dial,
            store=self.store,
            crash=True,
        ) as leader:
            yield leader

    def connect(self) -> None:
        """Have the standby's own connections begin."""
        self.exchange.nursery.start_soon(self.warm.run)

    async def led(self, seconds: float) -> None:
        """The leader runs for so long, and is killed."""
        async with self.leading():
            await trio.sleep(seconds)

    @asynccontextmanager
    async def taken_over(self) -> AsyncGenerator[testing.Daemon, None]:
        """The daemon that the standby becomes; what it published is looked at before it ends."""
        async with testing.daemon(
            self.config,
            registry=self.registry,
            dial=self.other.dial,
            store=self.store,
            seed=1,
            spares=self.warm.spares,
        ) as daemon:
            yield daemon


def quantities(daemon: testing.Daemon) -> list[str]:
    return [str(record.value.quantity) for record in daemon.streams["orders"].after(0)]


def outages(daemon: testing.Daemon) -> list[Outage]:
    return [record.value for record in daemon.outages.stream.after(0)]


@asynccontextmanager
async def pair(config: str = CONFIG) -> AsyncGenerator[Pair, None]:
    async with trio.open_nursery() as nursery:
        exchange = Exchange(nursery)
        nursery.start_soon(exchange.talk)
        made = Pair(exchange, config)
        yield made
        nursery.cancel_scope.cancel()


@pytest.fixture
async def apart(autojump_clock: MockClock) -> AsyncGenerator[Pair, None]:
    """A pair whose standby has no connections yet."""
    async with pair() as made:
        yield made


@pytest.fixture
def two(apart: Pair) -> Pair:
    """A pair whose standby has connections of its own."""
    apart.connect()
    return apart


def ms(seconds: float) -> int:
    return START_MS + round(seconds * 1000)


async def test_what_the_leader_did_not_write_is_filled_and_nothing_is_an_outage(
    two: Pair, autojump_clock: MockClock
) -> None:
    async with two.leading():
        await trio.sleep(20)
        two.exchange.liquidate()
        await trio.sleep(5)
        two.store.freeze()
        two.exchange.liquidate()  # Received, and never written.
        await trio.sleep(0.1)
    two.exchange.liquidate()
    await trio.sleep(4)
    two.other.slow_s = 3
    async with two.taken_over() as daemon:
        at_once = quantities(daemon)
        await trio.sleep(1)
        two.exchange.liquidate()
        await trio.sleep(10)
        two.exchange.liquidate()
        await trio.sleep(1)

        assert at_once == ["1", "2", "3"]
        assert quantities(daemon) == ["1", "2", "3", "4", "5"]
        assert outages(daemon) == []
        assert two.exchange.binance.connections == 1


async def test_without_a_standby_or_with_one_that_was_never_connected_the_same_is_an_outage(
    apart: Pair, autojump_clock: MockClock
) -> None:
    await apart.led(20)
    apart.exchange.liquidate()
    await trio.sleep(4)
    async with apart.taken_over() as daemon:
        await trio.sleep(10)

        assert outages(daemon) == [
            Outage("orders", ms(16.6), ms(24.1), "the daemon was not running")
        ]
        assert quantities(daemon) == []


async def test_what_happened_before_the_standby_was_connected_is_an_outage_and_no_more(
    apart: Pair, autojump_clock: MockClock
) -> None:
    await apart.led(20)
    apart.exchange.liquidate()
    await trio.sleep(2)
    apart.connect()
    await trio.sleep(2)
    apart.exchange.liquidate()
    await trio.sleep(1)
    async with apart.taken_over() as daemon:
        await trio.sleep(10)
        apart.exchange.liquidate()
        await trio.sleep(1)

        (outage,) = outages(daemon)
        assert quantities(daemon) == ["2", "3"]
        assert (outage.from_ms, outage.to_ms) == (ms(16.6), ms(22.1))
        assert outage.reason == "the daemon was not running"


async def test_a_time_in_which_neither_was_connected_is_an_outage_and_no_more(
    two: Pair, autojump_clock: MockClock
) -> None:
    await two.led(20)
    await trio.sleep(1)
    two.exchange.liquidate()
    await trio.sleep(1)
    two.other.reachable = False
    two.other.cut()
    async with two.taken_over() as daemon:
        await trio.sleep(2)
        before = outages(daemon)
        two.exchange.liquidate()
        await trio.sleep(1)
        two.other.reachable = True
        await trio.sleep(5)
        two.exchange.liquidate()
        await trio.sleep(5)

        assert quantities(daemon) == ["1", "3"]
        (outage,) = outages(daemon)
        (told,) = before
        assert (told.from_ms, told.to_ms) == (ms(21), None)
        assert outage.from_ms == ms(21)
        assert outage.to_ms is not None
        assert ms(23) < outage.to_ms < ms(26)


async def test_an_outage_of_the_leader_alone_is_filled_and_told_as_such(
    two: Pair, autojump_clock: MockClock
) -> None:
    async with two.leading():
        await trio.sleep(20)
        two.one.reachable = False
        two.one.cut()
        two.exchange.liquidate()
        await trio.sleep(2)
        two.exchange.liquidate()
        await trio.sleep(5)
    await trio.sleep(1)
    async with two.taken_over() as daemon:
        await trio.sleep(5)

        assert quantities(daemon) == ["1", "2"]
        (outage,) = outages(daemon)
        assert (outage.from_ms, outage.recovered) == (ms(17.6), 2)
        assert outage.to_ms == ms(25.6)


async def test_a_spare_stands_in_for_so_long_and_what_comes_after_it_is_an_outage(
    two: Pair, autojump_clock: MockClock
) -> None:
    await two.led(20)
    two.other.reachable = False
    async with two.taken_over() as daemon:
        await trio.sleep(LIMIT_S - 1)
        two.exchange.liquidate()
        before = outages(daemon)
        await trio.sleep(10)
        two.exchange.liquidate()
        during = outages(daemon)
        two.other.reachable = True
        await trio.sleep(10)
        two.exchange.liquidate()
        await trio.sleep(1)

        assert before == []
        assert quantities(daemon) == ["1", "3"]
        reason = "the standby's connection has left, and nothing is delivered yet"
        assert during == [Outage("orders", ms(20 + LIMIT_S), None, reason)]
        (outage,) = outages(daemon)
        assert outage.to_ms is not None
        assert outage.to_ms < ms(20 + LIMIT_S + 15)


async def test_a_daemon_that_dies_while_it_takes_over_leaves_the_rest_to_the_next(
    two: Pair, autojump_clock: MockClock
) -> None:
    await two.led(20)
    two.exchange.liquidate()
    two.other.reachable = False
    async with testing.daemon(
        two.config,
        registry=two.registry,
        dial=two.other.dial,
        store=two.store,
        spares=two.warm.spares,
        crash=True,
    ):
        await trio.sleep(10)
    two.other.reachable = True
    async with testing.daemon(
        two.config, registry=two.registry, dial=two.one.dial, store=two.store
    ) as daemon:
        await trio.sleep(10)

        assert quantities(daemon) == ["1"]
        (outage,) = outages(daemon)
        # It saves every second, and the spare had told up to about two seconds before.
        assert ms(26) <= outage.from_ms <= ms(28)


async def test_a_daemon_that_is_stopped_while_it_takes_over_ends_in_order(
    two: Pair, autojump_clock: MockClock
) -> None:
    await two.led(20)
    two.other.reachable = False
    async with two.taken_over() as daemon:
        await trio.sleep(5)
        daemon.stop()
        two.exchange.liquidate()
        await daemon.ended.wait()

    assert daemon.saved
    assert two.store.clean


async def test_what_is_under_way_to_the_standby_is_waited_for(
    apart: Pair, autojump_clock: MockClock
) -> None:
    apart.other.late_s = 2
    apart.connect()
    await apart.led(20)
    apart.exchange.liquidate()
    apart.exchange.nursery.start_soon(_soon_fast, apart.other)
    async with apart.taken_over() as daemon:
        for _ in range(10):
            await trio.sleep(0.1)
            apart.exchange.liquidate()
        await trio.sleep(10)

        found = quantities(daemon)
        assert sorted(found, key=int) == [str(number) for number in range(1, 12)]
        # One that the daemon was told at once came before one that the standby is told late.
        assert found != sorted(found, key=int)
        assert outages(daemon) == []


async def _soon_fast(side: Side) -> None:
    """What is said from now on overtakes what is under way."""
    side.late_s = 0
    await trio.lowlevel.checkpoint()


async def test_what_is_under_way_and_never_comes_is_an_outage(
    two: Pair, autojump_clock: MockClock
) -> None:
    await two.led(20)
    await trio.sleep(1)
    two.other.stall()
    two.exchange.liquidate()
    async with two.taken_over() as daemon:
        await trio.sleep(10)
        two.exchange.liquidate()
        await trio.sleep(1)

        assert quantities(daemon) == ["2"]
        (outage,) = outages(daemon)
        assert outage.reason == "the standby's connection ended before all had come"
        assert outage.to_ms is not None
        assert outage.from_ms <= ms(21) <= outage.to_ms <= ms(22)


@pytest.mark.parametrize("forgets", [False, True])
async def test_what_upstream_tells_as_its_past_may_be_forgotten_and_is_not_there_twice(
    forgets: bool, apart: Pair, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    if forgets:
        monkeypatch.setattr("flowd.stream.seen.SEEN_MAX", 20)
        monkeypatch.setattr("flowd.stream.heard.HEARD_MAX", 18)
    apart.exchange.liquidate()
    apart.connect()
    async with apart.leading() as leader:
        await trio.sleep(20)
        for _ in range(25):
            apart.exchange.liquidate()
        await trio.sleep(100)
        now = apart.exchange.liquidate()
        await trio.sleep(1)
        first = leader.streams["orders"].after(0, most=1)[0].value
        # The standby alone is told of it once more.
        apart.warm.spares["orders"]._feed.publish(evolve(first, id="x"), id="x", past=True)
    async with apart.taken_over() as daemon:
        await trio.sleep(5)

        assert quantities(daemon) == [
            *map(str, range(2, int(now) + 1)),
            *([] if forgets else ["2"]),
        ]


async def test_an_upstream_whose_times_lie_far_off_is_filled_too(
    apart: Pair, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flowd.stream.seen.SEEN_MAX", 20)
    monkeypatch.setattr("flowd.stream.heard.HEARD_MAX", 18)
    apart.exchange.late_ms = 40 * 86_400_000
    apart.connect()
    async with apart.leading():
        await trio.sleep(20)
        for _ in range(25):
            apart.exchange.liquidate()
        await trio.sleep(5)
    apart.exchange.liquidate()
    await trio.sleep(1)
    async with apart.taken_over() as daemon:
        await trio.sleep(5)

        assert quantities(daemon) == [*map(str, range(1, 27))]
        assert outages(daemon) == []


async def test_from_the_moment_in_which_the_source_is_to_end_nothing_goes_in(
    two: Pair, autojump_clock: MockClock
) -> None:
    await two.led(20)
    two.other.reachable = False
    async with two.taken_over() as daemon:
        two.exchange.liquidate()
        await trio.sleep(1)
        two.exchange.liquidate()
        await trio.sleep(0.01)
        assert len(two.warm.spares["orders"].heard["orders"]) == 2
        daemon.supervisor.stop("orders")
        await trio.sleep(5)

        assert quantities(daemon) == ["1"]


@pytest.mark.parametrize(("seconds", "lost"), [(8, 0), (12, 1)])
async def test_a_loop_that_is_held_while_the_daemon_starts_loses_nothing_unless_it_is_for_long(
    seconds: float, lost: int, two: Pair, autojump_clock: MockClock
) -> None:
    await two.led(20.3)
    await trio.sleep(2)
    two.other.stood_s = seconds
    await trio.sleep(1)
    async with two.taken_over() as daemon:
        await trio.sleep(5)

        assert [outage.reason for outage in outages(daemon)] == [f"suspended for {seconds}s"] * lost


# -- sources that do not stand by


async def test_a_source_whose_kind_does_not_stand_by_is_not_dialled_and_its_outage_is_told(
    autojump_clock: MockClock,
) -> None:
    config = CONFIG + (
        '[sources.candles]\nkind = "binance-candles"\nsymbols = ["BTCUSDT"]\ninterval = "1m"\n'
    )
    async with pair(config) as two:
        two.connect()
        async with two.leading():
            await trio.sleep(20)
            connected = two.exchange.binance.connections
        await trio.sleep(4)
        async with two.taken_over() as daemon:
            await trio.sleep(20)

            assert connected == 3  # The leader's two, and one of the standby.
            assert [*two.warm.spares] == ["orders"]
            assert [outage.component for outage in outages(daemon)] == ["candles"]


# -- whatever happens


async def live(seed: int) -> None:
    """One pair's life, in which the leader dies; and what must be true of it."""
    random = Random(seed)

    async def weather(side: Side, until: float) -> None:
        while trio.current_time() < until:
            await trio.sleep(random.expovariate(1 / 20))
            side.reachable = random.random() < 0.5
            side.cut()
            await trio.sleep(random.expovariate(1 / 3))
            side.reachable = True

    async def market(exchange: Exchange) -> None:
        while True:
            await trio.sleep(random.expovariate(1))
            exchange.liquidate()

    async with pair() as two:
        nursery, stormy = two.exchange.nursery, random.random() < 0.7
        nursery.start_soon(market, two.exchange)
        two.connect()
        died = random.uniform(15, 60)
        if stormy:
            nursery.start_soon(weather, two.one, died)
            nursery.start_soon(weather, two.other, died + 60)
        async with two.leading():
            await trio.sleep_until(died - random.random())
            if random.random() < 0.5:
                two.store.freeze()
            await trio.sleep_until(died)
        await trio.sleep(random.uniform(0.5, 5))
        two.other.slow_s = random.uniform(0, 8)
        async with two.taken_over() as daemon:
            await trio.sleep_until(died + 160)
            two.other.slow_s = 0
            two.other.reachable = True
            await trio.sleep(20)
            found, lost = quantities(daemon), outages(daemon)
            current = daemon.outages.current("orders")
    assert len(found) == len(set(found)), "twice"
    assert current is None, "the outage has no end"
    holes = [one for one in lost if one.recovered is None]
    for quantity, at in two.exchange.told.items():
        if quantity not in found and at > 10 and at < died + 175:
            told = [one for one in holes if one.from_ms <= ms(at) <= (one.to_ms or 0)]
            assert told, f"{quantity} of {at:.3f} is missing, and nobody said so: {holes}"
    if not stormy:
        assert holes == [], "the standby was connected all the time"
    assert two.exchange.binance.connections <= 1


@pytest.mark.parametrize("seed", range(10))
async def test_whatever_is_missing_is_told_and_nothing_is_there_twice(
    seed: int, autojump_clock: MockClock
) -> None:
    await live(seed)
