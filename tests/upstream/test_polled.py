"""A source that asks now and then, and is told no times, lacks data since its last answer, or while
the daemon did not run: never since the daemon began.
"""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import pytest
import trio
from attrs import frozen
from trio.testing import MockClock

from flowd import testing
from flowd.plugin import Feed, Outage, Source, UpstreamError
from flowd.stream.volatile import MemoryStore

CONFIG = """
[sources.listed]
kind = "listed"
"""
MINUTE_S = 60
HOUR_S = 3600
HOUR_MS = 3_600_000


@frozen
class Row:
    name: str


@frozen
class Config:
    pass


class Exchange:
    """Says what it lists to who asks, unless it is down."""

    def __init__(self) -> None:
        self.down = False

    async def listed(self, config: Config, feed: Feed[Row]) -> None:
        while True:
            await trio.sleep(0.5)
            if self.down:
                raise UpstreamError("status 503")
            feed.publish(Row("BTCUSDT"), key="BTCUSDT")
            feed.delivering()
            await trio.sleep(HOUR_S - 0.5)


@asynccontextmanager
async def following(
    exchange: Exchange, store: MemoryStore | None = None, **options: Any
) -> AsyncGenerator[testing.Daemon, None]:
    source = Source("listed", exchange.listed, Config, record=Row)
    registry = testing.registry(SimpleNamespace(flowd_sources=lambda: [source]))
    async with testing.daemon(CONFIG, registry=registry, store=store, **options) as daemon:
        yield daemon


def outages(daemon: testing.Daemon) -> list[Outage]:
    return [record.value for record in daemon.streams["outages"].after(0)]


@pytest.mark.parametrize("crash", [False, True])
async def test_a_daemon_that_was_down_for_a_minute_tells_of_a_minute_each_time(
    crash: bool, autojump_clock: MockClock
) -> None:
    exchange, store = Exchange(), MemoryStore()

    for life in range(4):
        async with following(exchange, store, crash=crash) as daemon:
            await trio.sleep(40 * MINUTE_S)

            lasted = [(one.to_ms or 0) - one.from_ms for one in outages(daemon)]
            assert len(lasted) == life
            # A crash loses what was not saved, and the first answer takes its time.
            assert all(59_000 <= ms <= 67_000 for ms in lasted), lasted
        await trio.sleep(MINUTE_S)


async def test_an_answer_that_does_not_come_is_an_outage_since_the_last_that_did(
    autojump_clock: MockClock,
) -> None:
    exchange = Exchange()

    async with following(exchange) as daemon:
        await trio.sleep(2 * HOUR_S + 60)
        exchange.down = True
        await trio.sleep(HOUR_S)

        (outage,) = outages(daemon)
        assert outage.reason == "status 503"
        assert outage.to_ms is None
        assert outage.from_ms - testing.START_MS == pytest.approx(2 * HOUR_MS, abs=5_000)


async def test_one_that_is_down_when_the_daemon_starts_lacks_data_since_the_daemon_ended(
    autojump_clock: MockClock,
) -> None:
    exchange, store = Exchange(), MemoryStore()

    async with following(exchange, store):
        await trio.sleep(40 * MINUTE_S)
    exchange.down = True
    for _ in range(2):
        async with following(exchange, store) as daemon:
            await trio.sleep(10 * MINUTE_S)

    (outage,) = outages(daemon)
    assert outage.to_ms is None
    assert outage.from_ms - testing.START_MS == pytest.approx(40 * MINUTE_S * 1000, abs=5_000)
