"""The app, before anybody asks it for anything."""

from types import SimpleNamespace

import pytest
import trio
from attrs import frozen
from trio.testing import MockClock

from flowd import testing
from flowd.operate.status import Status
from flowd.plugin import Feed, Source
from flowd.values import codec


@frozen
class Config:
    pass


@frozen
class Tick:
    price: int


async def idle(config: Config, feed: Feed[Tick]) -> None:
    await trio.sleep_forever()


KINDS = SimpleNamespace(flowd_sources=lambda: [Source("idle", idle, Config, record=Tick)])


async def test_how_a_status_is_written_is_worked_out_before_anybody_waits_for_it(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[type] = []
    monkeypatch.setattr(codec, "to_plain", lambda value: written.append(type(value)))

    async with testing.daemon('[sources.ticks]\nkind = "idle"', registry=testing.registry(KINDS)):
        assert Status in written
