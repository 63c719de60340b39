"""What was liquidated in the last hours, against the same sums by hand."""

from collections.abc import AsyncIterator
from decimal import Decimal
from random import Random
from typing import Any

import pytest
import trio
from flowd_liquidations import timeframe
from flowd_liquidations.windows import Windows, chain, span

from flowd import testing
from flowd.market import Bucket, Liquidation, VenueSum
from flowd.stream.held import Retain
from flowd.stream.log import Stream
from tests.plugins.liquidations_kit import order
from tests.plugins.test_liquidations_sink import CONFIG, REGISTRY

NOW_MS = testing.START_MS // 60_000 * 60_000 + 17 * 60_000 + 23_000
MINUTE_MS, HOUR_MS, DAY_MS = 60_000, 3_600_000, 86_400_000
FRAMES = chain(timeframe.STANDARD)
PATH = "/api/v1/liquidation-windows"


class Table:
    """The buckets of orders, of all timeframes, as the transform would have them."""

    def __init__(self, names: list[str] | None = None) -> None:
        self.frames = [timeframe.parse(name) for name in names or timeframe.STANDARD]
        retain = Retain(count=1_000_000)
        self.stream: Stream[Bucket] = Stream(
            "volume", Bucket, clock=lambda: NOW_MS, epoch="e", retain=retain
        )

    def add(
        self,
        symbol: str,
        time_ms: int,
        buy: int,
        sell: int,
        venue: str = "binance",
        parts: tuple[VenueSum, ...] = (),
    ) -> None:
        for frame in self.frames:
            start_ms = frame.start(time_ms)
            if start_ms < NOW_MS - frame.keep_ms:
                continue
            key = timeframe.key(symbol, frame.name, start_ms)
            old = self.stream.get(key)
            sums = (Decimal(0), Decimal(0), 0) if old is None else (old.buy, old.sell, old.count)
            bucket = Bucket(
                symbol, frame.name, start_ms, sums[0] + buy, sums[1] + sell, sums[2] + 1,
                venue=venue, venues=parts,
            )  # fmt: skip
            self.stream.append(bucket, key=key)

    async def answer(self, limit: int = 100) -> dict[str, Any]:
        streams = testing.streams(self.stream)
        windows = Windows(streams["volume"], lambda: NOW_MS)
        return await windows.answer([frame.name for frame in self.frames], limit)


def by_name(answer: dict[str, Any]) -> dict[str, Any]:
    return {one["window"]: one for one in answer["windows"]}


@pytest.mark.parametrize("hours", [1, 4, 12, 24])
def test_a_window_is_every_minute_once(hours: int) -> None:
    end_ms = NOW_MS // MINUTE_MS * MINUTE_MS + MINUTE_MS

    found = span(FRAMES, NOW_MS - hours * HOUR_MS, end_ms, NOW_MS)

    widths = {frame.name: frame.width_ms for frame in FRAMES}
    minutes = [
        at for name, start in found.parts for at in range(start, start + widths[name], 60_000)
    ]
    assert minutes == list(range(found.start_ms, end_ms, MINUTE_MS))
    assert 0 <= found.start_ms - (NOW_MS - hours * HOUR_MS) < MINUTE_MS
    assert len(found.parts) < 40


def test_a_week_begins_where_buckets_of_then_are_still_kept() -> None:
    end_ms = NOW_MS // MINUTE_MS * MINUTE_MS

    found = span(FRAMES, NOW_MS - 8 * DAY_MS, end_ms, NOW_MS)

    assert found.start_ms % (30 * MINUTE_MS) == 0
    assert all(start >= NOW_MS - timeframe.parse(name).keep_ms for name, start in found.parts), (
        "15m are kept for a week only"
    )
    assert found.end_ms == end_ms


def test_only_timeframes_that_divide_one_another_make_up_a_window() -> None:
    names = [frame.name for frame in chain(["1w", "1M", "45m", "30m", "1h", "5m", "1d"])]

    assert names == ["5m", "30m", "1h", "1d"]


async def test_sums_are_those_of_the_orders_themselves() -> None:
    random, table = Random(5), Table()
    orders = [
        (random.choice(["BTCUSDT", "ETHUSDT"]), NOW_MS - random.randrange(2 * DAY_MS), *sides)
        for sides in [(7, 0), (0, 11)] * 300
    ]
    for order_ in sorted(orders, key=lambda one: one[1]):
        table.add(*order_)

    answer = await table.answer()

    assert [one["window"] for one in answer["windows"]] == ["1h", "4h", "12h", "24h"]
    for window in answer["windows"]:
        inside = [one for one in orders if one[1] >= window["start_ms"]]
        assert int(window["buy"]) == sum(one[2] for one in inside)
        assert int(window["sell"]) == sum(one[3] for one in inside)
        assert window["count"] == len(inside)
        assert window["venues"]["binance"]["count"] == len(inside)
    of_eth = next(one for one in answer["symbols"] if one["symbol"] == "ETHUSDT")["windows"]["4h"]
    start_ms = by_name(answer)["4h"]["start_ms"]
    assert of_eth["count"] == sum(1 for o in orders if o[0] == "ETHUSDT" and o[1] >= start_ms)


async def test_symbols_come_by_what_a_day_liquidated_of_them_and_no_more_than_asked() -> None:
    table = Table()
    for symbol, amount in (("A", 5), ("B", 50), ("C", 20)):
        table.add(symbol, NOW_MS - HOUR_MS // 2, amount, 0)

    answer = await table.answer(limit=2)

    assert [one["symbol"] for one in answer["symbols"]] == ["B", "C"]
    assert by_name(answer)["1h"]["buy"] == "75", "also of those that are not told"


async def test_what_is_usual_is_the_mean_before_the_window_and_says_of_how_long() -> None:
    table = Table()
    for hour in range(1, 25 * 7):
        table.add("BTCUSDT", NOW_MS - hour * HOUR_MS - 10 * MINUTE_MS, 100, 0)
    table.add("BTCUSDT", NOW_MS - MINUTE_MS, 300, 0)

    hour, *_, day = (await table.answer())["windows"]

    assert hour["buy"] == "300"
    assert 99 < float(hour["usual"]) < 101
    assert 6.9 * DAY_MS < hour["usual_over_ms"] <= 7 * DAY_MS
    assert 2300 < float(day["usual"]) < 2500


async def test_nothing_is_called_usual_before_there_was_as_much_as_a_window() -> None:
    table = Table()
    for minute in range(0, 150, 10):
        table.add("BTCUSDT", NOW_MS - minute * MINUTE_MS, 10, 0)

    found = by_name(await table.answer())

    assert found["1h"]["usual"] is not None
    assert (found["4h"]["usual"], found["4h"]["usual_over_ms"]) == (None, 0)


async def test_while_the_past_is_filled_in_it_says_so_and_calls_nothing_usual() -> None:
    table, now_ms, filling = Table(), [NOW_MS], [True]
    for minute in range(0, 150, 10):
        table.add("BTCUSDT", NOW_MS - minute * MINUTE_MS, 10, 0)
    streams = testing.streams(table.stream)
    windows = Windows(streams["volume"], lambda: now_ms[0], filling=lambda: filling[0])
    names = [frame.name for frame in table.frames]

    before = await windows.answer(names, 10)
    filling[0] = False
    now_ms[0] += 1000
    after = await windows.answer(names, 10)

    assert [one["filling"] for one in (before, after)] == [True, False]
    assert by_name(before)["1h"]["usual"] is None
    assert float(by_name(after)["1h"]["usual"]) > 0, "at once, not after the usual wait"


async def test_it_says_since_when_it_knows_and_of_which_venue() -> None:
    table = Table()
    first_ms = NOW_MS // MINUTE_MS * MINUTE_MS - 50 * MINUTE_MS
    table.add("BTCUSDT", first_ms + 5000, 1, 0)
    table.add("BTCUSDT", NOW_MS, 1, 0, venue="bybit")

    answer = await table.answer()

    assert answer["since_ms"] == first_ms
    assert [one["venue"] for one in answer["venues"]] == ["binance", "bybit"]
    assert answer["venues"][0]["since_ms"] == first_ms
    assert answer["venues"][1]["since_ms"] == NOW_MS // MINUTE_MS * MINUTE_MS


def part(venue: str, buy: int, coverage: Any = "all", kind: Any = "fill") -> VenueSum:
    return VenueSum(venue, Decimal(buy), Decimal(0), 1, kind, coverage)


async def test_a_sum_has_its_venues_and_is_worth_what_the_worst_of_them_is() -> None:
    table = Table()
    table.add("A", NOW_MS, 7, 0, parts=(part("binance", 2, "sampled"), part("okx", 5)))
    table.add("B", NOW_MS, 9, 0, parts=(part("bybit", 9, kind="bankruptcy"),))
    table.add("C", NOW_MS, 1, 0, parts=(part("hyperliquid", 1),))

    answer = await table.answer()

    found = {one["symbol"]: one["windows"]["1h"] for one in answer["symbols"]}
    worth = {name: (one["lower_bound"], one["approximate"]) for name, one in found.items()}
    assert worth == {"A": (True, False), "B": (False, True), "C": (False, False)}
    assert {name: one["buy"] for name, one in found["A"]["venues"].items()} == {
        "binance": "2",
        "okx": "5",
    }
    hour = by_name(answer)["1h"]
    assert (hour["lower_bound"], hour["approximate"]) == (True, True)
    assert list(hour["venues"]) == ["binance", "bybit", "hyperliquid", "okx"]
    assert hour["venues"]["okx"]["lower_bound"] is False


async def test_quiet_minutes_before_the_first_order_are_known_where_they_were_counted() -> None:
    table = Table()
    table.add("A", NOW_MS, 1, 0)
    streams = testing.streams(table.stream)
    windows = Windows(streams["volume"], lambda: NOW_MS, lambda frame: NOW_MS - HOUR_MS)

    answer = await windows.answer(timeframe.STANDARD, 10)

    assert answer["since_ms"] == NOW_MS - HOUR_MS


async def test_there_is_no_window_that_the_buckets_are_too_wide_for() -> None:
    table = Table(["1h", "1d"])
    table.add("BTCUSDT", NOW_MS, 1, 0)

    answer = await table.answer()

    assert [one["window"] for one in answer["windows"]] == ["4h", "12h", "24h"]


async def test_without_any_bucket_nothing_is_known() -> None:
    answer = await Table().answer()

    assert (answer["since_ms"], answer["venues"], answer["symbols"]) == (None, [], [])
    assert by_name(answer)["24h"]["count"] == 0


async def test_who_asks_within_a_second_shares_an_answer() -> None:
    table, now = Table(), [NOW_MS]
    windows = Windows(testing.streams(table.stream)["volume"], lambda: now[0])
    first = await windows.answer(timeframe.STANDARD, 10)
    table.add("BTCUSDT", NOW_MS, 1, 0)

    assert await windows.answer(timeframe.STANDARD, 10) is first
    now[0] += 1000
    assert by_name(await windows.answer(timeframe.STANDARD, 10))["1h"]["count"] == 1


# -- in a daemon


@pytest.fixture
async def daemon(autojump_clock: trio.testing.MockClock) -> AsyncIterator[testing.Daemon]:
    async with testing.daemon(CONFIG, registry=REGISTRY) as daemon:
        await trio.testing.wait_all_tasks_blocked()
        yield daemon


async def test_the_sink_answers_the_windows_of_its_volume(daemon: testing.Daemon) -> None:
    made: Liquidation = order(testing.clock(), "BUY", "2", "7")
    daemon.streams["orders"].append(made)
    await trio.sleep(6)

    answer = (await daemon.get(PATH)).json()

    assert by_name(answer)["1h"]["buy"] == "14"
    assert answer["symbols"][0]["symbol"] == "BTCUSDT"
    assert answer["filling"] is False


@pytest.mark.parametrize("query", ["limit=0", "limit=x", "limit=5000", "window=1h", "limit=-1"])
async def test_a_wrong_parameter_is_refused_by_name(query: str, daemon: testing.Daemon) -> None:
    answer = await daemon.get(f"{PATH}?{query}")

    assert answer.status == 400
    assert answer.json()["error"]["parameter"] == query.partition("=")[0]
