"""Wider candles that are built of narrower ones: exact, and marked where something is missing."""

from decimal import Decimal
from random import Random
from types import SimpleNamespace
from typing import Any

import pytest
import trio
from attrs import evolve, frozen
from flowd_binance import flowd_sinks, page
from flowd_binance.parse import INTERVALS, least_ms
from flowd_binance.wider import Builder, Wide, fits, following, start, widest

from flowd import testing
from flowd.market import Candle
from flowd.plugin import Feed, Source

MINUTE_MS, HOUR_MS, DAY_MS = 60_000, 3_600_000, 86_400_000
START_MS = testing.START_MS // DAY_MS * DAY_MS
Clock = trio.testing.MockClock


def candles(
    count: int, interval: str = "1m", from_ms: int = START_MS, seed: int = 1
) -> list[Candle]:
    """So many candles in a row, of which the last is open."""
    random, width_ms = Random(seed), least_ms(interval)
    made = []
    for number in range(count):
        low, open, close, high = sorted(Decimal(random.randrange(1, 10**7)) / 100 for _ in range(4))
        made.append(
            Candle(
                "BTCUSDT",
                interval,
                from_ms + number * width_ms,
                from_ms + (number + 1) * width_ms - 1,
                open,
                high,
                low,
                close,
                Decimal(random.randrange(10**6)) / 1000,
                Decimal(random.randrange(10**9)) / 100000,
                random.randrange(500),
                Decimal(random.randrange(10**5)) / 1000,
                Decimal(random.randrange(10**8)) / 100000,
                number < count - 1,
            )
        )
    return made


def built(parts: list[Candle], interval: str) -> list[Wide]:
    builder = Builder(interval)
    for part in parts:
        builder.add(part)
    return builder.finish()


def test_a_wide_candle_is_all_of_its_parts() -> None:
    parts = candles(6)

    (first, second) = built(parts, "5m")

    five = parts[:5]
    assert first.whole
    assert first.candle == Candle(
        "BTCUSDT",
        "5m",
        START_MS,
        START_MS + 5 * MINUTE_MS - 1,
        five[0].open,
        max(one.high for one in five),
        min(one.low for one in five),
        five[-1].close,
        sum((one.volume for one in five), Decimal(0)),
        sum((one.quote_volume for one in five), Decimal(0)),
        sum(one.trades for one in five),
        sum((one.taker_buy_volume for one in five), Decimal(0)),
        sum((one.taker_buy_quote_volume for one in five), Decimal(0)),
        True,
    )
    assert second == Wide(evolve(second.candle, closed=False), True)
    assert (second.candle.open, second.candle.close) == (parts[5].open, parts[5].close)


@pytest.mark.parametrize("between", ["5m", "15m", "1h"])
def test_it_is_the_same_by_whichever_way_it_is_built(between: str) -> None:
    parts = candles(4 * 60)

    halfway = [one.candle for one in built(parts, between)]

    assert built(halfway, "4h") == built(parts, "4h")


@pytest.mark.parametrize(
    ("gone", "whole"),
    [
        ([], [True, True, True]),
        ([0], [False, True, True]),
        ([2], [False, True, True]),
        ([4], [False, True, True]),
        ([5, 6, 7, 8, 9], [True, True]),
        ([9, 10], [True, False, False]),
        ([13], [True, True, True]),
    ],
)
def test_what_is_missing_leaves_a_mark_where_it_is_missing(
    gone: list[int], whole: list[bool]
) -> None:
    parts = [one for number, one in enumerate(candles(14)) if number not in gone]

    found = built(parts, "5m")

    assert [one.whole for one in found] == whole
    assert all(one.whole or not one.candle.closed for one in found)


def test_a_part_that_was_never_closed_leaves_a_mark() -> None:
    parts = candles(11)
    parts[3] = evolve(parts[3], closed=False)
    parts[9] = evolve(parts[9], closed=False)

    assert [one.whole for one in built(parts, "5m")] == [False, False, True]


def test_weeks_begin_on_monday_and_months_on_the_first() -> None:
    november_ms, monday_ms = 1_698_796_800_000, 1_699_833_600_000

    assert start("1M", testing.START_MS) == november_ms
    assert following("1M", november_ms) == november_ms + 30 * DAY_MS
    assert start("1w", testing.START_MS) == monday_ms
    days = candles(61, "1d", november_ms)
    assert [one.candle.time_ms for one in built(days, "1M")] == [
        november_ms,
        november_ms + 30 * DAY_MS,
    ]
    assert [one.whole for one in built(days, "1w")] == [False] + [True] * 8


def test_only_what_divides_an_interval_makes_it_up_and_the_widest_is_taken() -> None:
    assert widest(["1m", "5m", "15m", "1h"], "4h") == "1h"
    assert widest(["1m", "4h", "6h"], "12h") == "6h"
    assert widest(["6h", "8h"], "4h") is None
    assert widest(["1d", "1h"], "1M") == "1d"
    assert not fits("1d", "3d")
    assert not fits("3d", "1w")
    assert not fits("1w", "1M")
    for narrow in INTERVALS:
        assert not fits(narrow, narrow)


# -- as a page --


@frozen
class NoConfig:
    pass


async def by_hand(config: NoConfig, feed: Feed[Any]) -> None:
    await trio.sleep_forever()


REGISTRY = testing.registry(
    SimpleNamespace(
        flowd_sources=lambda: [Source("by-hand", by_hand, NoConfig, record=Candle, retain=100_000)],
        flowd_sinks=flowd_sinks,
    )
)
CONFIG = """
[sources]
one = { kind = "by-hand" }
hour = { kind = "by-hand" }
[sinks.candles]
kind = "candles"
inputs = ["one", "hour"]
"""


async def answered(target: str, *stored: list[Candle]) -> Any:
    async with testing.daemon(CONFIG, registry=REGISTRY) as daemon:
        for name, some in zip(("one", "hour"), stored, strict=False):
            for one in some:
                daemon.streams[name].append(one, key=one.key)
        return (await daemon.get(f"/api/v1/candles{target}")).json()


async def test_an_interval_that_no_stream_has_is_built_and_says_of_what(
    autojump_clock: Clock,
) -> None:
    parts = candles(14)

    found = await answered("/BTCUSDT/5m", parts)
    stored = await answered("/BTCUSDT/1m", parts)

    assert (found["built_from"], stored["built_from"]) == ("1m", None)
    assert found["data"] == [page.bar(one.candle) for one in built(parts, "5m")]


async def test_a_range_of_built_candles_is_what_begins_in_it_and_each_is_whole(
    autojump_clock: Clock,
) -> None:
    parts = candles(60)
    wide = [page.bar(one.candle) for one in built(parts, "5m")]
    begin_ms, end_ms = START_MS + 10 * MINUTE_MS, START_MS + 31 * MINUTE_MS

    ranged = await answered(f"/BTCUSDT/5m?start={begin_ms + 1}&end={end_ms}", parts)
    first = await answered(f"/BTCUSDT/5m?start={begin_ms}&limit=2", parts)
    newest = await answered("/BTCUSDT/5m?limit=3", parts)
    before = await answered(f"/BTCUSDT/5m?limit=2&end={end_ms}", parts)

    assert ranged["data"] == wide[3:7]
    assert first["data"] == wide[2:4]
    assert newest["data"] == wide[-3:]
    assert before["data"] == wide[5:7]


async def test_what_is_incomplete_is_marked_and_not_closed(autojump_clock: Clock) -> None:
    found = await answered("/BTCUSDT/5m", candles(14)[3:])

    assert [one.get("incomplete", False) for one in found["data"]] == [True, False, False]
    assert [one["closed"] for one in found["data"]] == [False, True, False]


async def test_what_is_older_than_the_parts_of_one_answer_is_left_out(
    autojump_clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(page, "PARTS_MAX", 12)

    found = await answered("/BTCUSDT/5m", candles(60))

    assert [one["timestamp_ms"] - START_MS for one in found["data"]] == [
        50 * MINUTE_MS,
        55 * MINUTE_MS,
    ]
    assert not any("incomplete" in one for one in found["data"])


async def test_which_candles_there_are_is_told_without_asking_for_one(
    autojump_clock: Clock,
) -> None:
    other = [evolve(one, symbol="ETHUSDT") for one in candles(3, "1h")]

    found = await answered("", candles(3), other)
    empty = await answered("")

    told = {one["interval"]: one for one in found["intervals"]}
    nothing = {"intervals": [], "symbols": []}
    assert empty == {"symbols": [], "intervals": [], "on_demand": nothing}
    assert found["symbols"] == ["BTCUSDT", "ETHUSDT"]
    assert list(told) == [name for name in INTERVALS if name != "3d"]
    assert told["1m"] == {
        "interval": "1m",
        "streams": ["one"],
        "stored": ["BTCUSDT"],
        "built": [],
    }
    assert (told["1h"]["stored"], told["1h"]["built"]) == (["ETHUSDT"], ["BTCUSDT"])
    assert (told["5m"]["stored"], told["5m"]["built"]) == ([], ["BTCUSDT"])
    assert told["1d"]["built"] == ["BTCUSDT", "ETHUSDT"]
