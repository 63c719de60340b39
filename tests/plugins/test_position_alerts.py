"""Alerts of positions: what somebody watches, each told once."""

from decimal import Decimal
from typing import Any

import pytest
import trio
from attrs import evolve
from flowd_alerts.positions import Config, PositionAlert, alert_of, alerts
from trio.testing import wait_all_tasks_blocked

from flowd import testing
from flowd.plugin import StreamName
from flowd.traders import PositionEvent
from tests.plugins.hyperliquid_kit import ALICE, BOB
from tests.plugins.test_traders_shapes import event


def now(**changes: Any) -> PositionEvent:
    return evolve(event(), time_ms=testing.clock(), **changes)


EVENTS = [
    {"id": "1"},
    {"id": "2", "address": BOB},
    {"id": "3", "event": "OPEN"},
    {"id": "4", "symbol": "ETH"},
    {"id": "5", "notional": Decimal(5)},
    {"id": "6", "event": "CLOSE", "liquidated": True},
]


@pytest.mark.parametrize(
    ("settings", "found"),
    [
        ({"events": ["FLIP"]}, "1245"),
        ({"addresses": [BOB.upper().replace("0X", "0x")]}, "2"),
        ({"symbols": ["ETH"]}, "4"),
        ({"min_notional": Decimal(100)}, "12346"),
        ({"liquidated": True}, "6"),
        ({"events": ["OPEN", "CLOSE"], "addresses": [ALICE]}, "36"),
    ],
)
async def test_what_is_watched_is_told_and_nothing_else(
    settings: dict[str, Any], found: str, autojump_clock: Any, nursery: trio.Nursery
) -> None:
    feed = testing.feed(record=PositionAlert)
    stream = testing.stream("positions", [now(**one) for one in EVENTS], record=PositionEvent)
    config = Config(StreamName("positions"), **settings)

    nursery.start_soon(alerts, config, testing.streams(stream), feed)
    await wait_all_tasks_blocked()

    assert "".join(value.event_id for value in feed.values) == found


async def test_each_is_told_once_also_after_a_restart(autojump_clock: Any) -> None:
    feed = testing.feed(record=PositionAlert)
    stream = testing.stream("positions", [now(id="1")], record=PositionEvent)
    config = Config(StreamName("positions"), events=["FLIP"])

    for _ in range(2):
        with trio.move_on_after(1):
            await alerts(config, testing.streams(stream), feed)

    assert len(feed.values) == 1


async def test_what_happened_long_ago_is_not_told(
    autojump_clock: Any, nursery: trio.Nursery
) -> None:
    feed = testing.feed(record=PositionAlert)
    old = evolve(now(), time_ms=testing.clock() - 90_000_000)
    stream = testing.stream("positions", [old], record=PositionEvent)
    config = Config(StreamName("positions"), events=["FLIP"])

    nursery.start_soon(alerts, config, testing.streams(stream), feed)
    await wait_all_tasks_blocked()

    assert feed.values == []


def test_an_alert_says_in_a_sentence_who_did_what() -> None:
    told = alert_of(event())

    assert told.text == "0xaaaa…aaaa flipped to LONG BTC: 303 at 101, now 2"
    assert alert_of(evolve(event(), liquidated=True)).text.endswith(", liquidated")


@pytest.mark.parametrize(
    ("settings", "remedy"),
    [
        ({}, "name addresses"),
        ({"events": ["NAP"]}, "OPEN, INCREASE"),
        ({"events": []}, "name at least one"),
        ({"addresses": ["0x12"]}, "40 digits"),
        ({"symbols": []}, "name at least one"),
        ({"min_notional": Decimal(-1)}, "0 or more"),
    ],
)
def test_a_mistake_in_the_settings_names_its_remedy(settings: dict[str, Any], remedy: str) -> None:
    with pytest.raises(ValueError, match=remedy):
        Config(StreamName("positions"), **settings)
