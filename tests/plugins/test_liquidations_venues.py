"""Liquidation volume of several venues: each named, each order once, whatever is configured."""

from decimal import Decimal
from random import Random
from types import SimpleNamespace
from typing import Any

import flowd_liquidations
import pytest
import trio
from attrs import evolve, frozen
from flowd_liquidations import parts, shapes, timeframe
from hypothesis import given, settings
from hypothesis import strategies as st
from trio.testing import wait_all_tasks_blocked

from flowd import testing
from flowd.market import Bucket, Coverage, Liquidation, PriceKind, VenueSum
from flowd.plugin import Feed, Source
from flowd.setup import config, wiring
from flowd.stream.held import Retain
from flowd.stream.log import Stream
from flowd.stream.stores import SqliteStore
from flowd.stream.volatile import MemoryStore
from flowd.values.errors import UserError
from tests.plugins.liquidations_kit import FRAMES, NOW_MS, Rig, accumulator, add, order

DAY_MS = FRAMES[-1].start(NOW_MS)
KINDS: dict[str, tuple[PriceKind, Coverage]] = {
    "binance": ("fill", "sampled"),
    "bybit": ("bankruptcy", "all"),
    "okx": ("mark", "sampled"),
    "hyperliquid": ("fill", "all"),
}


def at(venue: str, number: int, side: str = "BUY", z: str = "1", ap: str = "10") -> Liquidation:
    """An order of a venue, the `number` names it."""
    kind, coverage = KINDS[venue]
    one = order(NOW_MS - 1000 + number, side, z, ap)
    return evolve(one, venue=venue, id=f"{venue}:{number}", price_kind=kind, coverage=coverage)


def day(rig: Rig) -> Bucket:
    bucket = rig.buckets.get(timeframe.key("BTCUSDT", "1d", DAY_MS))
    assert bucket is not None
    return bucket


def counts(rig: Rig, frame: str = "1d") -> dict[str, int]:
    start_ms = timeframe.parse(frame).start(NOW_MS - 1000)
    bucket = rig.buckets.get(timeframe.key("BTCUSDT", frame, start_ms))
    return {} if bucket is None else {part.venue: part.count for part in bucket.venues}


def tell(rig: Rig, name: str, *orders: Liquidation) -> None:
    for one in orders:
        rig.input(name).append(one, id=one.id)


async def live(rig: Rig, *inputs: str, seconds: float = 10) -> None:
    """A life of the transform, ended at some moment."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(rig.run(*inputs))
        await trio.sleep(seconds)
        nursery.cancel_scope.cancel()
    rig.feed = rig.new_feed()


def test_orders_of_two_venues_are_one_sum_that_names_them() -> None:
    rig = Rig()
    adding = accumulator(rig)
    rig.happen([at("okx", 1, z="3"), at("bybit", 2, "SELL"), at("okx", 3)])

    add(adding, rig)

    bucket = day(rig)
    assert (bucket.buy, bucket.sell, bucket.count, bucket.venue) == (40, 10, 3, "")
    assert bucket.venues == (
        VenueSum("bybit", Decimal(0), Decimal(10), 1, "bankruptcy", "all"),
        VenueSum("okx", Decimal(40), Decimal(0), 2, "mark", "sampled"),
    )


def test_a_venue_that_comes_later_is_added_to_what_is_there() -> None:
    rig = Rig()
    rig.happen([at("okx", 1)])
    add(accumulator(rig), rig)

    rig.happen([at("binance", 2, "SELL"), at("okx", 3)])
    add(accumulator(rig), rig, 1)

    assert day(rig).venues == (
        VenueSum("binance", Decimal(0), Decimal(10), 1),
        VenueSum("okx", Decimal(20), Decimal(0), 2, "mark", "sampled"),
    )
    assert (day(rig).total, day(rig).count) == (30, 3)


@pytest.mark.parametrize(
    ("venues", "approximate", "lower_bound"),
    [
        (["hyperliquid"], False, False),
        (["binance"], False, True),
        (["bybit"], True, False),
        (["bybit", "hyperliquid"], True, False),
        (["hyperliquid", "okx"], False, True),
        (["binance", "bybit"], True, True),
    ],
)
def test_a_sum_is_worth_what_the_least_of_its_venues_is(
    venues: list[str], approximate: bool, lower_bound: bool
) -> None:
    rig = Rig()
    rig.happen([at(venue, number) for number, venue in enumerate(venues)])

    add(accumulator(rig), rig)

    assert (day(rig).approximate, day(rig).lower_bound) == (approximate, lower_bound)


def test_what_one_venue_words_in_two_ways_is_worth_the_lesser() -> None:
    rig = Rig()
    better = evolve(at("bybit", 1), price_kind="fill", coverage="all")
    rig.happen([better, evolve(at("bybit", 2), coverage="sampled"), evolve(better, id="3")])

    add(accumulator(rig), rig)

    assert day(rig).venues == (VenueSum("bybit", Decimal(30), Decimal(0), 3, "bankruptcy"),)


def test_an_empty_bucket_promises_nothing_and_an_older_one_no_more_than_is_known() -> None:
    empty = Bucket("BTCUSDT", "1d", 0, Decimal(0), Decimal(0), 0)
    older = evolve(empty, buy=Decimal(5), count=1, venue="binance")

    assert (empty.parts, empty.lower_bound, empty.approximate) == ((), False, False)
    assert older.parts == (VenueSum("binance", Decimal(5), Decimal(0), 1),)
    assert older.lower_bound


def test_what_nobody_named_stays_apart_where_several_venues_are_added_up() -> None:
    older = Bucket("BTCUSDT", "1d", DAY_MS, Decimal(5), Decimal(0), 1)
    new = {"bybit": VenueSum("bybit", Decimal(1), Decimal(0), 1, "bankruptcy", "all")}

    assert [one.venue for one in parts.joined(older, new, alone=True)] == ["bybit"]
    assert [one.venue for one in parts.joined(older, new, alone=False)] == ["", "bybit"]
    (named,) = parts.joined(older, new, alone=True)
    assert (named.buy, named.price_kind, named.coverage) == (6, "bankruptcy", "sampled")


def test_a_bar_tells_its_venues_and_what_it_is_worth() -> None:
    rig = Rig()
    rig.happen([at("okx", 1, z="3"), at("bybit", 2, "SELL")])
    add(accumulator(rig), rig)

    point = shapes.point(day(rig))

    assert point["venues"] == {
        "bybit": {
            "buy": "0",
            "sell": "10",
            "count": 1,
            "price_kind": "bankruptcy",
            "coverage": "all",
        },
        "okx": {
            "buy": "30",
            "sell": "0",
            "count": 1,
            "price_kind": "mark",
            "coverage": "sampled",
        },
    }
    assert (point["approximate"], point["lower_bound"]) == (True, True)


async def test_several_inputs_are_shown_together_and_each_from_its_own_place(
    autojump_clock: Any,
) -> None:
    rig = Rig()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(rig.run("a", "b"))
        await trio.sleep(20)
        before = rig.buckets.seq
        tell(rig, "a", at("okx", 1))
        tell(rig, "b", at("bybit", 1), at("bybit", 2))
        await wait_all_tasks_blocked()
        shown = counts(rig, "1m"), counts(rig), rig.buckets.seq - before
        nursery.cancel_scope.cancel()

    assert shown == ({"bybit": 2, "okx": 1}, {"bybit": 2, "okx": 1}, len(FRAMES))
    assert rig.places == {"a": 1, "b": 2, "a#wide": 1, "b#wide": 2}


async def test_an_input_that_ends_does_not_end_the_others(autojump_clock: Any) -> None:
    rig = Rig()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(rig.run("a", "b"))
        tell(rig, "a", at("okx", 1))
        rig.input("a").close()
        await trio.sleep(60)
        tell(rig, "b", at("bybit", 1))
        await trio.sleep(60)
        during = counts(rig)
        tell(rig, "b", at("bybit", 2))
        rig.input("b").close()

    assert during == {"bybit": 1, "okx": 1}
    assert counts(rig) == {"bybit": 2, "okx": 1}


async def test_an_order_that_two_inputs_tell_counts_once_whoever_tells_it_first(
    autojump_clock: Any,
) -> None:
    rig = Rig()
    tell(rig, "a", at("okx", 1), at("okx", 2))
    await live(rig, "a", "b")
    tell(rig, "b", at("okx", 2), at("okx", 3), at("okx", 1))
    await live(rig, "a", "b")
    tell(rig, "a", at("okx", 3), at("okx", 4))
    await live(rig, "a", "b")

    assert counts(rig) == counts(rig, "1m") == {"okx": 4}


async def test_an_input_that_is_left_out_for_a_while_neither_loses_nor_counts_anew(
    autojump_clock: Any,
) -> None:
    rig = Rig()
    tell(rig, "a", at("okx", 1))
    tell(rig, "b", at("bybit", 1))
    await live(rig, "a", "b")
    tell(rig, "a", at("okx", 2))
    tell(rig, "b", at("bybit", 2))
    await live(rig, "a")
    without = counts(rig)
    await live(rig, "b", "a")

    assert without == {"bybit": 1, "okx": 2}
    assert counts(rig) == counts(rig, "1m") == {"bybit": 2, "okx": 2}


async def test_what_fell_off_meanwhile_leaves_a_hole_since_that_inputs_own_newest_order(
    autojump_clock: Any,
) -> None:
    rig = Rig(NOW_MS + 600_000)
    tell(rig, "b", at("bybit", 1))
    await live(rig, "a", "b")
    tell(rig, "a", evolve(at("okx", 1), time_ms=NOW_MS + 590_000))
    await live(rig, "a")
    rig.inputs["b"] = Stream(
        "b", Liquidation, clock=lambda: rig.now_ms, epoch="e", retain=Retain(count=1)
    )
    for number in (1, 2, 3):
        tell(rig, "b", evolve(at("bybit", number), time_ms=NOW_MS + 595_000))
    await live(rig, "a", "b")

    torn = [one.value for one in rig.buckets.after(0) if one.value.incomplete]
    minutes = sorted(one.time_ms for one in torn if one.timeframe == "1m")
    assert minutes[0] == FRAMES[0].start(NOW_MS - 1000), "it began after the first of b's"
    assert counts(rig) == {"bybit": 2, "okx": 1}


async def test_a_first_input_becomes_one_of_several_and_goes_on(autojump_clock: Any) -> None:
    rig = Rig()
    rig.happen([at("binance", 1)])
    await live(rig)
    tell(rig, "b", at("bybit", 1))
    rig.happen([at("binance", 2)])
    await live(rig, "orders", "b")
    rig.happen([at("binance", 3)])
    await live(rig)

    assert counts(rig) == counts(rig, "1m") == {"binance": 3, "bybit": 1}


LIVES = st.lists(
    st.tuples(
        st.lists(st.sampled_from(["a", "b", "c"]), min_size=1, max_size=3, unique=True),
        st.floats(0, 12),
        st.lists(st.tuples(st.sampled_from("abc"), st.integers(1, 30)), max_size=12),
    ),
    min_size=1,
    max_size=6,
)
OF = {"a": "binance", "b": "bybit", "c": "okx"}


@given(LIVES)
@settings(deadline=None, max_examples=60)
def test_whatever_is_configured_when_and_killed_when_each_order_counts_once(
    lives: list[tuple[list[str], float, list[tuple[str, int]]]],
) -> None:
    rig = Rig()
    told: dict[str, set[int]] = {}

    async def world() -> None:
        for inputs, seconds, news in lives:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(rig.run(*inputs))
                for name, number in news:
                    tell(rig, name, at(OF[name], number))
                    told.setdefault(OF[name], set()).add(number)
                    await trio.sleep(seconds / 12)
                nursery.cancel_scope.cancel()
            rig.feed = rig.new_feed()
        await live(rig, "a", "b", "c")

    trio.run(world, clock=trio.testing.MockClock(autojump_threshold=0))

    wanted = {venue: len(numbers) for venue, numbers in told.items()}
    assert counts(rig) == counts(rig, "1m") == wanted


# -- in a daemon --


@frozen
class NoConfig:
    pass


async def by_hand(config: NoConfig, feed: Feed[Any]) -> None:
    await trio.sleep_forever()


BY_HAND = SimpleNamespace(
    flowd_sources=lambda: [Source("by-hand", by_hand, NoConfig, record=Liquidation)]
)
REGISTRY = testing.registry(BY_HAND, flowd_liquidations)


def configured(sources: str, inputs: str) -> str:
    lines = [f'{name} = {{ kind = "by-hand" }}' for name in sources]
    names = ", ".join(f'"{name}"' for name in inputs)
    return "\n".join(
        [
            "[sources]",
            *lines,
            "[transforms]",
            f'volume = {{ kind = "liquidation-volume", inputs = [{names}] }}',
        ]
    )


@pytest.mark.usefixtures("work_at_once")
@pytest.mark.parametrize("lasting", [False, True])
@pytest.mark.parametrize("sources", ["ab", "a"])
async def test_between_two_runs_of_the_daemon_an_input_may_go_and_come_back(
    sources: str, lasting: bool, tmp_path: Any, autojump_clock: Any
) -> None:
    memory = MemoryStore()
    number = 0

    async def run(sources: str, inputs: str) -> dict[str, int]:
        nonlocal number
        store = SqliteStore(tmp_path / "flowd.db") if lasting else memory
        text = configured(sources, inputs)
        async with testing.daemon(text, registry=REGISTRY, store=store) as daemon:
            for name in sources:
                number += 1
                one = at(OF[name], number)
                daemon.feeds[name].publish(one, id=one.id)
            await trio.sleep(20)
            bucket = daemon.streams["volume"].get(timeframe.key("BTCUSDT", "1d", DAY_MS))
            assert bucket is not None
            return {part.venue: part.count for part in bucket.venues}

    first = await run("ab", "ab")
    second = await run(sources, "a")
    third = await run("ab", "ab")

    assert first == {"binance": 1, "bybit": 1}
    assert second == {"binance": 2, "bybit": 1}
    assert third == {"binance": 3, "bybit": 1 + len(sources)}


def planned(text: str) -> wiring.Plan:
    return wiring.plan(config.parse(text, REGISTRY))


def test_the_streams_are_named_as_one_or_as_a_list_and_each_counts_once() -> None:
    text = configured("ab", "ab").replace("inputs", 'input = "a", inputs')

    assert planned(text).inputs["volume"].count("b") == 1
    with pytest.raises(UserError, match="neither input nor inputs"):
        planned(configured("ab", ""))
    with pytest.raises(UserError, match='inputs = "c": there is no such stream'):
        planned(configured("ab", "ac"))


def test_a_thousand_orders_told_twice_in_any_order_are_a_thousand() -> None:
    random = Random(7)
    rig = Rig()
    rig.inputs["b"] = testing.stream("b", record=Liquidation, retain=Retain().count)
    orders = [at("okx", number % 1000) for number in range(1000)]
    tell(rig, "a", *orders)
    random.shuffle(orders)
    tell(rig, "b", *orders)

    async def world() -> None:
        await live(rig, "a", "b", seconds=60)

    trio.run(world, clock=trio.testing.MockClock(autojump_threshold=0))

    assert counts(rig) == {"okx": 1000}
