"""Liquidation volume: the worked example, the text forms, buckets that are exact in any order."""

import json
from decimal import Decimal
from itertools import count
from typing import Any

import pytest
import trio
from attrs import evolve
from flowd_liquidations import flowd_sinks, flowd_transforms, series, shapes, timeframe
from hypothesis import given, settings
from hypothesis import strategies as st
from trio.testing import wait_all_tasks_blocked

from flowd.market import Bucket, Liquidation
from flowd.plugin import BadRequest, Batch, Gap, Position, Record
from flowd.upstream.outages import Outage
from tests.plugins.liquidations_kit import (
    FRAMES,
    NOW_MS,
    WORKED_EXAMPLE,
    Rig,
    accumulate,
    accumulator,
    add,
    order,
)


def test_the_worked_example_comes_to_its_buckets() -> None:
    rig = accumulate(WORKED_EXAMPLE)

    assert rig.bar("1m", 1699999980000) == ("10000", "5000", 3)
    assert rig.bar("1m", 1700000040000) == ("0", "693", 1)
    assert rig.bar("5m", 1699999800000) == ("10000", "5693", 4)
    assert rig.bar("1d", 1699920000000) == ("10000", "5693", 4)


def test_the_worked_example_reads_as_documented() -> None:
    rig = accumulate(WORKED_EXAMPLE)
    first, second = (
        rig.buckets.get(timeframe.key("BTCUSDT", "1m", t)) for t in (1699999980000, 1700000040000)
    )
    assert first is not None
    assert second is not None

    assert shapes.point(first) == {
        "time": 1699999980,
        "buy_volume": "10000",
        "sell_volume": "5000",
        "total_volume": "15000",
        "delta_volume": "5000",
        "buy_volume_formatted": "10K",
        "sell_volume_formatted": "5K",
        "total_volume_formatted": "15K",
        "delta_volume_formatted": "5K",
        "count": 3,
        "timestamp_ms": 1699999980000,
        "venues": {
            "binance": {
                "buy": "10000",
                "sell": "5000",
                "count": 3,
                "price_kind": "fill",
                "coverage": "sampled",
            }
        },
        "approximate": False,
        "lower_bound": True,
    }
    point = shapes.point(second)
    assert (point["delta_volume"], point["delta_volume_formatted"]) == ("-693", "-693.00")
    assert (point["buy_volume"], point["buy_volume_formatted"]) == ("0", "0.00")
    item = shapes.order_item(WORKED_EXAMPLE[0], 3)
    assert item["priceUsdt"] == "5000"
    assert item["priceUsdtFormatted"] == "5,000"
    assert item["quantityFormatted"] == "0.100"
    assert item["displayTime"] == "22:13:21"
    assert item["baseAsset"] == "BTC"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("10000", "10K"),
        ("12345", "12.35K"),
        ("999999", "1M"),
        ("1234567", "1.23M"),
        ("999.999", "1K"),
        ("693", "693.00"),
        ("-693", "-693.00"),
        ("0", "0.00"),
        ("-0.001", "0.00"),
        ("999.994", "999.99"),
        ("999999999", "1B"),
        ("999994999.99", "999.99M"),
        ("1000000000", "1B"),
        ("-12345", "-12.35K"),
        ("123456789012345", "123456.79B"),
        pytest.param("1234." + "9" * 30, "1.23K", id="rounded once, however many digits"),
    ],
)
def test_short_forms_are_those_of_the_specification(value: str, text: str) -> None:
    assert shapes.short(Decimal(value)) == text


@pytest.mark.parametrize(
    ("value", "text"), [("138.74", "139"), ("5000000", "5,000,000"), ("0.05", "0"), ("0.5", "1")]
)
def test_whole_amounts_are_rounded_half_up_and_grouped(value: str, text: str) -> None:
    assert shapes.whole(Decimal(value)) == text


@pytest.mark.parametrize(
    ("value", "precision", "text"),
    [("0.1", 3, "0.100"), ("0.1", None, "0.100000"), ("5", 0, "5.00"), ("1.23456", None, "1.235")],
)
def test_quantities_have_the_precision_of_their_symbol(
    value: str, precision: int | None, text: str
) -> None:
    assert shapes.quantity_text(Decimal(value), precision) == text


@pytest.mark.parametrize("name", ["7m", "25h", "2w", "2M", "0m", "1x", "", "m", "1.5h", "1441m"])
def test_a_width_that_does_not_divide_a_day_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="there is no timeframe"):
        timeframe.parse(name)


@pytest.mark.parametrize(
    ("name", "time_ms", "start_ms", "after_ms"),
    [
        ("4h", 1700000000000, 1699992000000, 1700006400000),
        ("1w", 1700000000000, 1699833600000, 1700438400000),
        ("1M", 1700000000000, 1698796800000, 1701388800000),
        ("1M", 1706745599999, 1704067200000, 1706745600000),
        ("2h", 1700000000000, 1699999200000, 1700006400000),
    ],
)
def test_spans_begin_where_the_calendar_says(
    name: str, time_ms: int, start_ms: int, after_ms: int
) -> None:
    frame = timeframe.parse(name)

    assert frame.start(time_ms) == start_ms
    assert frame.following(start_ms) == after_ms


ORDERS = st.lists(
    st.builds(
        order,
        st.integers(NOW_MS - 7_200_000, NOW_MS),
        st.sampled_from(["BUY", "SELL"]),
        st.decimals("0.001", "1000", places=3).map(str),
        st.decimals("0.0001", "90000", places=4).map(str),
        st.sampled_from(["BTCUSDT", "ETHUSDT"]),
    ),
    max_size=30,
)


@given(ORDERS, st.randoms(use_true_random=False))
@settings(deadline=None, max_examples=60)
def test_any_order_and_any_repetition_of_the_same_events_give_the_same_buckets(
    orders: list[Liquidation], random: Any
) -> None:
    shuffled = orders * 2
    random.shuffle(shuffled)

    one, other = accumulate(orders), accumulate(shuffled)

    def bars(rig: Rig) -> dict[str | None, tuple[Decimal, Decimal, int]]:
        return {r.key: (r.value.buy, r.value.sell, r.value.count) for r in rig.buckets.after(0)}

    assert bars(one) == bars(other)


@given(ORDERS)
@settings(deadline=None, max_examples=60)
def test_minutes_add_up_to_hours_and_hours_to_the_orders(orders: list[Liquidation]) -> None:
    rig = accumulate(orders)

    sums: dict[str, Decimal] = {}
    for record in rig.buckets.after(0):
        bucket = record.value
        sums[bucket.timeframe] = sums.get(bucket.timeframe, Decimal(0)) + bucket.total

    truth = sum((one.notional for one in {one.id: one for one in orders}.values()), Decimal(0))
    assert all(total == truth for total in sums.values())


async def test_changed_buckets_are_published_once_a_second(autojump_clock: Any) -> None:
    rig = Rig()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(rig.run())
        rig.happen(WORKED_EXAMPLE[:1])
        await wait_all_tasks_blocked()
        before = rig.buckets.seq
        rig.happen(WORKED_EXAMPLE[1:3])
        await wait_all_tasks_blocked()
        within = rig.buckets.seq
        await trio.sleep(1.01)
        nursery.cancel_scope.cancel()

    assert before == within == len(FRAMES)
    assert rig.bar("1m", 1699999980000) == ("10000", "5000", 3)


async def test_wide_buckets_are_published_every_five_seconds(autojump_clock: Any) -> None:
    rig = Rig()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(rig.run())
        rig.happen(WORKED_EXAMPLE[:1])
        await trio.sleep(1)
        rig.happen(WORKED_EXAMPLE[1:3])
        await trio.sleep(3.9)
        before = rig.bar("1m", 1699999980000), rig.bar("5m", 1699999800000)
        await trio.sleep(0.2)
        after = rig.bar("5m", 1699999800000)
        nursery.cancel_scope.cancel()

    assert before == (("10000", "5000", 3), ("5000", "0", 1))
    assert after == ("10000", "5000", 3)


async def test_an_order_after_a_quiet_time_is_shown_at_once_in_every_timeframe(
    autojump_clock: Any,
) -> None:
    rig = Rig()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(rig.run())
        rig.happen(WORKED_EXAMPLE[:1])
        await trio.sleep(20)
        rig.happen(WORKED_EXAMPLE[1:2])
        await wait_all_tasks_blocked()
        shown = [rig.bar(frame.name, frame.start(1700000005000)) for frame in FRAMES]
        nursery.cancel_scope.cancel()

    assert shown == [("10000", "0", 2)] * len(FRAMES)


async def test_an_order_that_comes_alone_wakes_the_transform_once(autojump_clock: Any) -> None:
    rig = Rig()
    woken: list[str] = []

    class Steps(trio.abc.Instrument):
        def before_task_step(self, task: Any) -> None:
            woken.append(task.name)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(rig.run(), name="volume")
        await trio.sleep(20)
        instrument = Steps()
        trio.lowlevel.add_instrument(instrument)
        rig.happen(WORKED_EXAMPLE[:1])
        await trio.sleep(20)
        trio.lowlevel.remove_instrument(instrument)
        nursery.cancel_scope.cancel()

    assert len(rig.buckets) == len(FRAMES)
    assert [name for name in woken if name == "volume" or "liquidations" in name] == ["volume"]


async def test_a_burst_after_a_quiet_time_is_shown_together(autojump_clock: Any) -> None:
    rig = Rig()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(rig.run())
        await trio.sleep(20)
        rig.happen(order(1700000001000 + i, "BUY", "1", "10") for i in range(1000))
        await wait_all_tasks_blocked()
        shown = rig.bar("1m", 1699999980000), rig.bar("1d", 1699920000000)
        nursery.cancel_scope.cancel()

    assert shown == (("10000", "0", 1000),) * 2


async def test_a_wide_bucket_that_is_over_is_shown_whole_before_the_next_one(
    autojump_clock: Any,
) -> None:
    rig = Rig(1700000101000)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(rig.run())
        rig.happen([order(1700000098000, "BUY", "1", "10")])
        await trio.sleep(1)
        rig.happen([order(1700000099999, "BUY", "1", "20")])
        await trio.sleep(1)
        rig.happen([order(1700000100000, "BUY", "1", "40")])
        await trio.sleep(15)
        nursery.cancel_scope.cancel()

    values = [record.value for record in rig.buckets.after(0)]
    fives = [(one.time_ms, one.buy, one.late) for one in values if one.timeframe == "5m"]
    assert fives == [
        (1699999800000, Decimal(30), False),
        (1700000100000, Decimal(40), False),
    ]


async def test_a_restart_between_two_publications_of_wide_buckets_counts_each_order_once(
    autojump_clock: Any,
) -> None:
    rig = Rig()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(rig.run())
        rig.happen(WORKED_EXAMPLE[:1])
        await trio.sleep(1)
        rig.happen(WORKED_EXAMPLE[1:3])
        await trio.sleep(3)
        killed = rig.bar("1m", 1699999980000), rig.bar("1h", 1699999200000)
        nursery.cancel_scope.cancel()
    rig.feed = rig.new_feed()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(rig.run())
        await wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()

    assert killed == (("10000", "5000", 3), ("5000", "0", 1))
    assert rig.bar("1m", 1699999980000) == rig.bar("1h", 1699999200000) == ("10000", "5000", 3)


async def test_a_burst_is_added_up_in_slices_and_published_in_portions(
    autojump_clock: Any,
) -> None:
    rig = Rig()
    rig.happen(order(NOW_MS - 60_000 * (i % 50), "BUY", "1", str(i), f"S{i}") for i in range(1000))
    steps: list[int] = []

    class Published(trio.abc.Instrument):
        before = 0

        def before_task_step(self, task: Any) -> None:
            self.before = rig.buckets.seq

        def after_task_step(self, task: Any) -> None:
            steps.append(rig.buckets.seq - self.before)

    instrument = Published()
    trio.lowlevel.add_instrument(instrument)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(rig.run())
        await trio.sleep(6)
        nursery.cancel_scope.cancel()
    trio.lowlevel.remove_instrument(instrument)

    assert sum(steps) == 7000
    assert max(steps) <= 1000


async def test_what_was_missed_leaves_its_buckets_incomplete(autojump_clock: Any) -> None:
    rig = Rig(1700000300000)
    rig.happen(WORKED_EXAMPLE[:2])
    adding = accumulator(rig)
    add(adding, rig)

    rig.happen([order(1700000200000, "BUY", "1", "10"), order(1700000280000, "BUY", "1", "10")])
    adding.add(evolve(rig.orders.read(3), gap=Gap(3, 3)))
    adding.publish()

    found = {record.key: record.value.incomplete for record in rig.buckets.after(0)}
    assert found["BTCUSDT/1m/1699999980000"], "more of its orders may have been missed"
    assert found["BTCUSDT/1d/1699920000000"]
    assert found["BTCUSDT/1m/1700000280000"]
    bucket = rig.buckets.get("BTCUSDT/1d/1699920000000")
    assert bucket is not None
    assert shapes.point(bucket)["incomplete"] is True
    assert (bucket.buy, bucket.count) == (Decimal(10010), 3)


async def test_a_symbol_that_comes_up_after_a_restart_is_incomplete_too(
    autojump_clock: Any,
) -> None:
    rig = Rig(1700000300000)
    rig.happen(WORKED_EXAMPLE[:2])
    add(accumulator(rig), rig)
    accumulator(rig).add(evolve(rig.orders.read(2), gap=Gap(3, 3)))

    rig.happen([order(1700000299000, "BUY", "1", "10", "ETHUSDT")])
    add(accumulator(rig), rig, 2)

    assert rig.buckets.get("ETHUSDT/1d/1699920000000").incomplete  # type: ignore[union-attr]
    rig.now_ms += 86_400_000
    rig.happen([order(rig.now_ms, "BUY", "1", "10", "ETHUSDT")])
    add(accumulator(rig), rig, 3)
    later = rig.buckets.get(timeframe.key("ETHUSDT", "1d", FRAMES[-1].start(rig.now_ms)))
    assert later is not None
    assert not later.incomplete


async def test_a_restart_at_any_moment_counts_each_order_once(autojump_clock: Any) -> None:
    rig = Rig()
    for step, one in enumerate(WORKED_EXAMPLE):
        rig.happen([one])
        async with trio.open_nursery() as nursery:
            nursery.start_soon(rig.run())
            await trio.sleep(0.3 * step)
            nursery.cancel_scope.cancel()
        rig.feed = rig.new_feed()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(rig.run())
        await trio.sleep(2)
        nursery.cancel_scope.cancel()

    assert rig.bar("1d", 1699920000000) == ("10000", "5693", 4)


async def test_when_its_input_ends_all_of_it_has_been_counted(autojump_clock: Any) -> None:
    rig = Rig()
    rig.happen(WORKED_EXAMPLE[:2])
    async with trio.open_nursery() as nursery:
        nursery.start_soon(rig.run())
        await wait_all_tasks_blocked()
        rig.happen(WORKED_EXAMPLE[2:])
        rig.orders.close()

    assert rig.bar("1d", 1699920000000) == ("10000", "5693", 4)


def test_a_late_order_is_added_and_marked() -> None:
    rig = Rig(1700000300000)
    adding = accumulator(rig)
    rig.happen([order(1700000100000, "BUY", "1", "10")])
    add(adding, rig)

    rig.happen([order(1700000000000, "BUY", "1", "10")])
    add(adding, rig, 1)

    late = rig.buckets.get(timeframe.key("BTCUSDT", "1m", 1699999980000))
    same = rig.buckets.get(timeframe.key("BTCUSDT", "1d", 1699920000000))
    assert late is not None
    assert late.late
    assert same is not None
    assert not same.late


def test_another_symbol_or_a_later_bucket_may_be_of_another_venue() -> None:
    here = order(NOW_MS, "BUY", "1", "10")
    rig = accumulate([here])
    adding = accumulator(rig)
    later_ms = NOW_MS + timeframe.DAY_MS // 2  # the next day
    rig.now_ms = later_ms
    coin = evolve(here, symbol="BTC", venue="hyperliquid", id="h:1")
    rig.happen([coin, evolve(here, time_ms=later_ms, venue="bybit", id="y:1")])

    add(adding, rig, 1)

    venues = {(one.symbol, one.time_ms): one.venue for one in _values(rig, "1d")}
    today_ms, tomorrow_ms = FRAMES[-1].start(NOW_MS), FRAMES[-1].start(later_ms)
    assert venues == {
        ("BTCUSDT", today_ms): "binance",
        ("BTC", today_ms): "hyperliquid",
        ("BTCUSDT", tomorrow_ms): "bybit",
    }


def test_a_bucket_of_before_venues_were_noted_goes_on_and_says_whose_it_is() -> None:
    rig = Rig()
    start_ms = FRAMES[-1].start(NOW_MS)
    older = Bucket("BTCUSDT", "1d", start_ms, Decimal(5), Decimal(0), 1)
    rig.buckets.append(older, key=timeframe.key("BTCUSDT", "1d", start_ms))
    adding = accumulator(rig)
    rig.happen([order(NOW_MS, "BUY", "1", "10")])

    add(adding, rig)

    (bucket,) = _values(rig, "1d")
    assert (bucket.buy, bucket.count, bucket.venue) == (15, 2, "binance")


def _values(rig: Rig, name: str) -> list[Bucket]:
    return [one.value for one in rig.buckets.after(0) if one.value.timeframe == name]


def test_an_order_older_than_its_buckets_retention_is_dropped_and_counted() -> None:
    rig = Rig()
    adding = accumulator(rig)
    old = order(NOW_MS - 2 * 86_400_000, "BUY", "1", "10")
    rig.happen([order(NOW_MS, "BUY", "1", "10"), old])

    add(adding, rig)

    assert rig.feed.tally.dropped == {"too late for 1m": 1}
    assert rig.bar("1d", FRAMES[-1].start(old.time_ms)) == ("10", "0", 1)


def test_buckets_that_outlived_their_retention_are_forgotten() -> None:
    rig = accumulate(WORKED_EXAMPLE)
    adding = accumulator(rig)

    rig.now_ms += 2 * 86_400_000
    rig.happen([order(rig.now_ms, "BUY", "1", "10")])
    add(adding, rig, 4)

    assert rig.bar("1m", 1699999980000) is None
    assert rig.bar("1h", 1699999200000) == ("10000", "5693", 4)


def test_a_recording_is_retained_by_its_own_time() -> None:
    rig = Rig(now_ms=1_900_000_000_000)
    rig.happen(WORKED_EXAMPLE)

    add(accumulator(rig), rig)

    assert rig.bar("1m", 1699999980000) == ("10000", "5000", 3)


def bucket(time_ms: int, buy: str = "1") -> Bucket:
    return Bucket("BTCUSDT", "1m", time_ms, Decimal(buy), Decimal(0), 1)


def test_empty_minutes_are_zeros_but_those_within_an_outage_are_left_out() -> None:
    start = 1_699_999_980_000
    table = {
        timeframe.key("BTCUSDT", "1m", start + 60_000 * i): bucket(start + 60_000 * i)
        for i in (1, 6)
    }

    found = series.buckets(
        table.get,
        "BTCUSDT",
        FRAMES[0],
        start,
        start + 600_000,
        [(start + 150_000, start + 300_000)],
    )

    minutes = [((one.time_ms - start) // 60_000, one.count) for one in found]
    assert minutes == [(1, 1), (2, 0), (5, 0), (6, 1)]


def test_a_bucket_belongs_from_the_start_rounded_down_up_to_the_end() -> None:
    start = 1_699_999_980_000
    table = {
        timeframe.key("BTCUSDT", "1m", start + 60_000 * i): bucket(start + 60_000 * i)
        for i in range(4)
    }

    found = series.buckets(table.get, "BTCUSDT", FRAMES[0], start + 59_999, start + 120_000, [])

    assert [(one.time_ms - start) // 60_000 for one in found] == [0, 1, 2]


def test_gaps_are_the_sources_outages_that_overlap_the_range() -> None:
    outages = [
        Outage("orders", 100, 200, "gone"),
        Outage("other", 100, 900, "gone"),
        Outage("orders", 700, None, "gone"),
        Outage("orders", 1100, None, "gone"),
    ]

    assert series.gaps_of(outages, "orders", 150, 1000, 2000) == [(100, 200), (700, 1000)]


def test_an_outage_of_which_all_came_later_is_no_gap() -> None:
    outages = [Outage("orders", 100, 200, "gone", recovered=0), Outage("orders", 300, 400, "gone")]

    assert series.gaps_of(outages, "orders", 0, 1000, 2000) == [(300, 400)]


def test_an_outage_that_is_open_lasts_until_now_and_not_into_the_future() -> None:
    outages = [Outage("orders", 700, None, "gone")]

    assert series.gaps_of(outages, "orders", 150, 1000, 800) == [(700, 800)]
    assert series.gaps_of(outages, "orders", 150, 1000, 600) == []


def test_gaps_of_our_own_and_of_elsewhere_are_told_as_one() -> None:
    outages = [Outage("orders", 300, 400, "gone"), Outage("orders", 700, 800, "gone")]
    elsewhere = [(100, 300), (500, 600), (550, 560), (2000, 3000)]

    found = series.gaps_of(outages, "orders", 0, 1000, 2000, elsewhere)

    assert found == [(100, 400), (500, 600), (700, 800)]


@pytest.mark.parametrize(
    ("start", "end", "parameter"),
    [("5", "5", "start"), ("x", None, "start"), (None, "1e9", "end"), ("0", str(NOW_MS), "start")],
)
def test_a_bad_range_names_its_parameter(
    start: str | None, end: str | None, parameter: str
) -> None:
    with pytest.raises(BadRequest) as refused:
        series.span(FRAMES[0], start, end, NOW_MS)

    assert refused.value.parameter == parameter


@pytest.mark.parametrize(("frame", "words"), [("1m", "1 day at"), ("5m", "3 days at")])
def test_a_range_that_is_not_kept_is_refused_in_days(frame: str, words: str) -> None:
    with pytest.raises(BadRequest, match=f"{frame} is kept and served for {words} most"):
        series.span(timeframe.parse(frame), "0", None, NOW_MS)


def test_timeframes_are_ordered_by_their_width() -> None:
    names = ["1M", "1d", "1m", "90m", "1w", "2h"]

    assert timeframe.ordered(names) == ["1m", "90m", "2h", "1d", "1w", "1M"]


def batch(values: list[Any], *, first: bool = False) -> Batch[Any]:
    records = [Record(seq, NOW_MS, value) for seq, value in zip(count(1), values, strict=False)]
    return Batch("s", records, Position("e", len(values)), first)


def test_the_first_message_of_orders_is_newest_first_and_may_be_empty() -> None:
    shape = shapes.Orders("BTCUSDT", clock=lambda: NOW_MS)

    (empty,) = shape(batch([], first=True))
    (full,) = shape(batch(WORKED_EXAMPLE[:3], first=True))
    (live,) = shape(batch(WORKED_EXAMPLE[:2]))

    assert json.loads(empty)["data"] == []
    assert json.loads(empty)["initial"] is True
    assert json.loads(empty)["timestamp"] == "2023-11-14T22:14:20.000Z"
    times = [item["timestamp"] for item in json.loads(full)["data"]]
    assert times == sorted(times, reverse=True)
    assert json.loads(live)["initial"] is False
    assert [item["timestamp"] for item in json.loads(live)["data"]] == [
        1700000001000,
        1700000005000,
    ]


def test_one_flush_of_two_buckets_is_one_update_ascending() -> None:
    shape = shapes.Volumes(
        "BTCUSDT", "1m", (0, 1), history=lambda: [bucket(60_000)], clock=lambda: NOW_MS
    )

    (first,) = shape(batch([], first=True))
    (update,) = shape(batch([bucket(180_000), bucket(120_000)]))

    assert json.loads(first)["is_update"] is False
    assert [point["time"] for point in json.loads(first)["data"]] == [60]
    assert json.loads(update)["is_update"] is True
    assert [point["time"] for point in json.loads(update)["data"]] == [120, 180]
    assert "late" not in json.loads(update)


def test_clients_of_one_series_share_their_bytes() -> None:
    def shape(span: tuple[int, int]) -> shapes.Volumes:
        return shapes.Volumes("BTCUSDT", "1m", span, history=list, clock=lambda: NOW_MS)

    assert shape((0, 1)) == shape((0, 1))
    assert hash(shape((0, 1))) == hash(shape((0, 1)))
    assert shape((0, 1)) != shape((0, 2))


def test_the_plugin_brings_its_kinds() -> None:
    assert [kind.kind for kind in flowd_transforms()] == ["liquidation-volume"]
    assert [kind.kind for kind in flowd_sinks()] == ["liquidation-websocket"]
