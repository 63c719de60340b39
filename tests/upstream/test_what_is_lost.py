"""Whatever an exchange sent and no reader got lies inside an outage that is told, however late it
was when flowd read what came before.
"""

import json
from collections import deque
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import pytest
import trio
import trio.testing
from attrs import frozen
from trio.testing import MockClock

from flowd import testing
from flowd.plugin import Feed, Outage, Source
from flowd.stream.volatile import MemoryStore
from flowd.testing import Connection, plays, upstream

CONFIG = """
[sources.ticks]
kind = "ticks"
"""

UNDER_WAY = 5
"""So many ticks fit between the exchange and flowd."""
PATIENCE_S = 8
"""The exchange ends a connection that took nothing for so long."""


@frozen
class Tick:
    number: int
    time_ms: int


@frozen
class Config:
    pass


class Exchange:
    """Sends a tick each second to whom it has on the line, and knows what it sent."""

    def __init__(self) -> None:
        self.sent: dict[int, int] = {}
        self.open = True
        """Whether anything passes between it and flowd."""
        self.patience_s: float = PATIENCE_S
        self.work_s = 0.0
        """How long flowd is busy with one tick."""
        self._waiting: deque[tuple[float, str]] = deque()
        self._under_way = 0
        self._line: Connection | None = None

    async def run(self) -> None:
        await trio.sleep(0.25)  # Never in the same instant as what the tests do.
        while True:
            await trio.sleep(1)
            number, time_ms = len(self.sent), testing.clock()
            self.sent[number] = time_ms
            self._waiting.append((trio.current_time(), json.dumps([number, time_ms])))
            await self.push()

    async def push(self) -> None:
        if self._line is None:
            self._waiting.clear()
        for _ in range(UNDER_WAY - self._under_way):
            if self._line is None or not self.open or not self._waiting:
                break
            self._under_way += 1
            await self._line.say(self._waiting.popleft()[1])
        if self._waiting and trio.current_time() - self._waiting[0][0] > self.patience_s:
            await self.cut()

    async def cut(self) -> None:
        line, self._line = self._line, None
        assert line is not None
        await line.drop()

    async def answer(self, connection: Connection) -> None:
        self._line = connection
        self._under_way = 0
        self._waiting.clear()
        await trio.lowlevel.checkpoint()

    async def ticks(self, config: Config, feed: Feed[Tick]) -> None:
        async with feed.websocket("wss://exchange.example") as socket:
            async for text in socket:
                self._under_way -= 1
                feed.publish(Tick(*json.loads(text)))
                await trio.sleep(self.work_s)


class Scene:
    """A daemon that follows an exchange."""

    def __init__(self, daemon: testing.Daemon, exchange: Exchange) -> None:
        self.daemon = daemon
        self.exchange = exchange

    def lost(self) -> list[int]:
        """What was sent and reached nobody."""
        got = {record.value.number for record in self.daemon.streams["ticks"].after(0)}
        return [number for number in self.exchange.sent if number not in got]

    def outages(self) -> list[Outage]:
        """What is told of the times without data."""
        return [record.value for record in self.daemon.streams["outages"].after(0)]

    def unannounced(self) -> list[int]:
        """What was lost and lies in no outage."""
        outages = self.outages()
        return [
            number
            for number in self.lost()
            if not any(
                outage.from_ms <= self.exchange.sent[number] <= (outage.to_ms or testing.clock())
                for outage in outages
            )
        ]


def told(outage: Outage) -> tuple[int, int | None]:
    """When an outage was, in milliseconds of the mock clock."""
    to_ms = outage.to_ms
    return outage.from_ms - testing.START_MS, None if to_ms is None else to_ms - testing.START_MS


@asynccontextmanager
async def following(
    exchange: Exchange, store: MemoryStore | None = None, **options: Any
) -> AsyncGenerator[Scene, None]:
    """A daemon that follows the exchange from its first tick on."""
    source = Source("ticks", exchange.ticks, Config, record=Tick)
    async with (
        testing.daemon(
            CONFIG,
            registry=testing.registry(SimpleNamespace(flowd_sources=lambda: [source])),
            dial=upstream(*[plays(exchange.answer)] * 50).dial,
            store=store,
            **options,
        ) as daemon,
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(exchange.run)
        yield Scene(daemon, exchange)
        nursery.cancel_scope.cancel()


async def test_a_stopped_process_tells_all_that_it_lost(autojump_clock: MockClock) -> None:
    exchange = Exchange()

    async with following(exchange) as scene:
        await trio.sleep(60)
        exchange.work_s = 20
        await trio.sleep(2)
        exchange.work_s = 0
        await trio.sleep(60)

        assert len(scene.lost()) > PATIENCE_S
        assert scene.unannounced() == []


async def test_a_line_that_was_half_open_tells_all_that_it_lost(
    autojump_clock: MockClock,
) -> None:
    exchange = Exchange()
    exchange.patience_s = 1000

    async with following(exchange) as scene:
        await trio.sleep(60)
        exchange.open = False
        await trio.sleep(55)
        exchange.open = True
        await exchange.push()
        await exchange.cut()
        await trio.sleep(60)

        assert len(scene.lost()) > 40
        assert scene.unannounced() == []


async def test_a_machine_that_falls_behind_tells_all_that_it_lost(
    autojump_clock: MockClock,
) -> None:
    exchange = Exchange()

    async with following(exchange) as scene:
        await trio.sleep(60)
        exchange.work_s = 2
        await trio.sleep(300)
        exchange.work_s = 0
        await trio.sleep(60)

        assert len(scene.lost()) > 50
        assert scene.unannounced() == []


async def test_a_process_that_slept_says_so_of_every_source_that_delivered(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    exchange = Exchange()

    async with following(exchange) as scene:
        await trio.sleep(10.5)
        exchange.open = False
        autojump_clock.jump(20)
        await trio.sleep(0.2)
        exchange.open = True
        await trio.sleep(5)

        (outage,) = scene.outages()
        assert outage.reason == "suspended for 20s"
        assert told(outage) == (10_250, 31_500), "from the last tick to the next"
        assert scene.daemon.feeds["ticks"].tally.delivering
    assert "suspended for 20s: stopped, or held by something, or the machine slept" in [
        record.message for record in caplog.records
    ]


async def test_until_something_comes_a_source_is_not_healthy_after_a_sleep(
    autojump_clock: MockClock,
) -> None:
    exchange = Exchange()

    async with following(exchange) as scene:
        await trio.sleep(10.5)
        exchange.open = False
        autojump_clock.jump(20)
        await trio.sleep(5)

        assert not scene.daemon.observer.status().healthy
        exchange.open = True
        await trio.sleep(2)
        assert scene.daemon.observer.status().healthy


async def test_a_connection_that_died_of_a_sleep_is_told_with_that_reason(
    autojump_clock: MockClock,
) -> None:
    exchange = Exchange()

    async with following(exchange) as scene:
        await trio.sleep(10.5)
        await exchange.cut()
        await trio.testing.wait_all_tasks_blocked()
        autojump_clock.jump(20)
        await trio.sleep(5)

        (outage,) = scene.outages()
        assert outage.reason == "suspended for 20s; connection lost (wss://exchange.example)"


async def test_a_machine_that_slept_is_noticed_though_its_clock_for_waiting_stood_still(
    autojump_clock: MockClock,
) -> None:
    exchange = Exchange()
    slept_s = 0

    async with following(
        exchange,
        clock=lambda: testing.clock() + slept_s * 1000,
        uptime=lambda: trio.current_time() + slept_s,
    ) as scene:
        await trio.sleep(10.5)
        exchange.open = False
        slept_s = 3600
        await trio.sleep(0.8)
        exchange.open = True
        await trio.sleep(5)

        (outage,) = scene.outages()
        assert outage.reason == "suspended for 3600s"
        assert told(outage) == (10_250, 3_612_250)


async def test_a_clock_that_is_set_is_no_sleep(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    exchange = Exchange()
    ahead_s = 0

    async with following(exchange, clock=lambda: testing.clock() + ahead_s * 1000) as scene:
        await trio.sleep(10.5)
        ahead_s = 300
        await trio.sleep(100)

        assert scene.outages() == []
        assert scene.daemon.feeds["ticks"].reach.late_ms(scene.daemon.machine.clock()) == 0
    assert "the clock was set by +300s" in [record.message for record in caplog.records]


async def test_a_connection_that_had_delivered_is_back_within_a_second_each_time(
    autojump_clock: MockClock,
) -> None:
    exchange = Exchange()

    async with following(exchange) as scene:
        for _ in range(5):
            await trio.sleep(10.5)
            await exchange.cut()
        await trio.sleep(10.5)

        lasted = [(o.to_ms or 0) - o.from_ms for o in scene.outages()]
        assert len(lasted) == 5
        assert max(lasted) <= 2500, "a tick comes each second only"


async def test_a_first_life_that_is_cut_short_leaves_an_outage_too(
    autojump_clock: MockClock,
) -> None:
    exchange, store = Exchange(), MemoryStore()

    async with following(exchange, store, crash=True):
        await trio.sleep(3)
    async with following(exchange, store) as scene:
        await trio.sleep(10)

        (outage,) = scene.outages()
        assert outage.reason == "the daemon was not running"
        assert scene.unannounced() == []


async def test_a_life_that_ends_while_it_is_behind_tells_all_that_it_lost(
    autojump_clock: MockClock,
) -> None:
    exchange, store = Exchange(), MemoryStore()
    exchange.patience_s = 1000

    async with following(exchange, store, crash=True):
        await trio.sleep(60)
        exchange.work_s = 2
        await trio.sleep(60)
    exchange.work_s = 0
    async with following(exchange, store) as scene:
        await trio.sleep(10)

        assert len(scene.lost()) > 20
        assert scene.unannounced() == []


async def test_a_source_that_falls_behind_is_not_healthy_until_it_has_caught_up(
    autojump_clock: MockClock,
) -> None:
    exchange = Exchange()
    exchange.patience_s = 1000

    async with following(exchange) as scene:
        await trio.sleep(60)
        before = scene.daemon.observer.status().health()
        exchange.work_s = 2
        await trio.sleep(60)
        during = scene.daemon.observer.status().health()
        exchange.work_s = 0
        await trio.sleep(60)
        after = scene.daemon.observer.status().health()

        assert (before["status"], after["status"]) == ("ok", "ok")
        assert during["status"] == "degraded"
        assert "s late, more than lag_max = 5s" in during["problems"]["ticks"]
