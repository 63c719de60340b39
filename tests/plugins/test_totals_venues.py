"""Totals of several venues: each named, each row once, whatever is configured."""

from decimal import Decimal
from types import SimpleNamespace
from typing import Any

import flowd_totals
import pytest
import trio
from attrs import evolve, frozen
from flowd_totals import totals
from flowd_totals.config import Config
from flowd_totals.records import Ranking
from hypothesis import given, settings
from hypothesis import strategies as st

from flowd import testing
from flowd.market import Coverage, Fill, Liquidation, PriceKind, Trade
from flowd.plugin import Feed, Source, StreamName
from flowd.setup import config, wiring
from flowd.stream.log import Retain, Stream
from flowd.stream.stores import SqliteStore
from flowd.stream.volatile import MemoryStore
from flowd.values.errors import UserError
from tests.plugins.test_totals import fill, liquidation, public

Clock = trio.testing.MockClock

KINDS: dict[str, tuple[PriceKind, Coverage]] = {
    "binance": ("fill", "sampled"),
    "bybit": ("bankruptcy", "all"),
    "okx": ("mark", "sampled"),
    "hyperliquid": ("fill", "all"),
}


def at(venue: str, number: int, amount: int = 10, **changes: Any) -> Liquidation:
    """An order of a venue just now, the `number` names it."""
    kind, coverage = KINDS[venue]
    made = {"venue": venue, "id": f"{venue}:{number}", "price_kind": kind, "coverage": coverage}
    return evolve(liquidation(amount, time_ms=testing.clock()), **made | changes)


def forced(number: int, amount: int = 10) -> Fill:
    """A liquidated fill of Hyperliquid just now."""
    one = fill(amount, time_ms=testing.clock(), role="liquidated", taker=False)
    return evolve(one, id=f"hyperliquid:{number}")


class Rig:
    """Streams of orders, and the transform's feed, which goes on from life to life."""

    def __init__(self) -> None:
        self.streams: dict[str, Stream[Any]] = {}
        self.places: dict[str, int] = {}
        self.feed = testing.feed(record=Ranking, retain=100_000)

    def stream(self, name: str, record: type = Liquidation) -> Stream[Any]:
        """A stream of orders, made when it is first asked for."""
        if name not in self.streams:
            self.streams[name] = testing.stream(name, record=record, retain=Retain().count)
        return self.streams[name]

    def tell(self, name: str, *orders: Any) -> None:
        for one in orders:
            self.stream(name, type(one)).append(one, id=one.id)

    async def live(self, *inputs: str, seconds: float = 10, count: Any = "liquidated") -> None:
        """A life of the transform, ended at some moment."""
        with trio.move_on_after(seconds):
            settings = Config(inputs=[StreamName(name) for name in inputs], count=count)
            found = [self.stream(name) for name in inputs]
            await totals(settings, testing.streams(*found, places=self.places), self.feed)

    @property
    def count(self) -> int:
        """How many rows the longest window has, which all other sums agree with."""
        ranking = self.feed.stream.get("coins/24h")
        assert ranking is not None
        for name in ("minutes", "hours"):
            assert sum(one.value.count for one in self.feed.tables[name].after(0)) == ranking.count
        return ranking.count

    @property
    def largest(self) -> list[str]:
        """Whose rows are the largest."""
        return sorted(row.venue for row in self.feed.tables["largest"].get("24h").rows)  # type: ignore[union-attr]


async def test_several_inputs_are_one_sum_and_each_is_read_from_its_own_place(
    autojump_clock: Clock,
) -> None:
    rig = Rig()
    rig.tell("a", at("okx", 1), at("okx", 2))
    rig.tell("b", at("bybit", 1))

    await rig.live("a", "b")

    assert rig.count == 3
    assert rig.largest == ["bybit", "okx", "okx"]
    assert rig.places == {"a": 2, "b": 1}
    ranking = rig.feed.stream.get("coins/24h")
    assert (ranking.venues, ranking.lower_bound, ranking.approximate) == (  # type: ignore[union-attr]
        ["bybit", "okx"],
        True,
        True,
    )


async def test_an_input_that_ends_does_not_end_the_others(autojump_clock: Clock) -> None:
    rig = Rig()
    rig.tell("a", at("okx", 1))
    rig.stream("a").close()
    async with trio.open_nursery() as nursery:
        rig.stream("b")
        nursery.start_soon(lambda: rig.live("a", "b", seconds=1000))
        await trio.sleep(60)
        rig.tell("b", at("bybit", 1))
        await trio.sleep(60)
        during = rig.count
        rig.tell("b", at("bybit", 2))
        rig.stream("b").close()

    assert (during, rig.count) == (2, 3)
    assert trio.current_time() < 200, "it ended when both had"


async def test_forced_orders_and_the_forced_of_fills_are_one_sum(autojump_clock: Clock) -> None:
    rig = Rig()
    rig.tell("a", at("okx", 1, 7))
    rig.tell("b", forced(1, 5), fill(100, time_ms=testing.clock()))

    await rig.live("a", "b")

    ranking, traders = (rig.feed.stream.get(f"{by}/24h") for by in ("coins", "traders"))
    assert ranking is not None
    assert traders is not None
    assert {row.name: row.volume for row in ranking.rows} == {"BTC": 5, "BTCUSDT": 7}
    assert (ranking.venues, ranking.lower_bound) == (["hyperliquid", "okx"], True)
    assert [(row.name, row.volume) for row in traders.rows] == [("0xa", 5)]


async def test_a_row_that_two_inputs_tell_counts_once_whoever_tells_it_first(
    autojump_clock: Clock,
) -> None:
    rig = Rig()
    rig.tell("a", at("okx", 1), at("okx", 2))
    await rig.live("a", "b")
    rig.tell("b", at("okx", 2), at("okx", 3), at("okx", 1))
    await rig.live("a", "b")
    rig.tell("a", at("okx", 3), at("okx", 4))
    await rig.live("a", "b")

    assert rig.count == 4


async def test_an_input_that_is_left_out_for_a_while_neither_loses_nor_counts_anew(
    autojump_clock: Clock,
) -> None:
    rig = Rig()
    rig.tell("a", at("okx", 1))
    rig.tell("b", at("bybit", 1))
    await rig.live("a", "b")
    rig.tell("a", at("okx", 2))
    rig.tell("b", at("bybit", 2))
    await rig.live("a")
    without = rig.count
    await rig.live("b", "a")

    assert (without, rig.count) == (3, 4)


async def test_a_long_past_of_two_inputs_is_known_again_after_a_restart(
    autojump_clock: Clock,
) -> None:
    rig = Rig()
    orders = [at("okx", number, 1 + number % 7) for number in range(3000)]
    rig.tell("a", *orders)
    await rig.live("a", "b", seconds=60)
    rig.tell("b", *reversed(orders))
    await rig.live("a", "b", seconds=60)

    assert rig.count == 3000


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
@settings(deadline=None, max_examples=40)
def test_whatever_is_configured_when_and_killed_when_each_row_counts_once(
    lives: list[tuple[list[str], float, list[tuple[str, int]]]],
) -> None:
    rig = Rig()
    told: set[tuple[str, int]] = set()

    async def world() -> None:
        for inputs, seconds, news in lives:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(lambda inputs=inputs: rig.live(*inputs, seconds=1000))
                for name, number in news:
                    rig.tell(name, at(OF[name], number))
                    told.add((name, number))
                    await trio.sleep(seconds / 12)
                nursery.cancel_scope.cancel()
        await rig.live("a", "b", "c")

    trio.run(world, clock=Clock(autojump_threshold=0))

    assert rig.count == len(told)


@pytest.mark.parametrize(
    ("counted", "rows", "words"),
    [
        ("takers", [at("okx", 1), forced(1)], 'b carries all trades .* a forced .* "liquidated"'),
        ("takers", [public(1), forced(1)], "inputs: a carries public trades, the others do not"),
        ("takers", [public(1), at("okx", 1)], "inputs: a carries public trades, the others do not"),
        ("liquidated", [public(1), forced(1)], "a carries public trades, which do not say whose"),
    ],
)
async def test_what_cannot_be_one_sum_is_refused_with_words(
    counted: Any, rows: list[Fill | Liquidation | Trade], words: str
) -> None:
    rig = Rig()
    for name, row in zip("ab", rows, strict=True):
        rig.tell(name, row)

    with pytest.raises(UserError, match=words):
        await rig.live("a", "b", count=counted)


# -- in a daemon --


@frozen
class NoConfig:
    pass


async def by_hand(config: NoConfig, feed: Feed[Any]) -> None:
    await trio.sleep_forever()


BY_HAND = SimpleNamespace(
    flowd_sources=lambda: [Source("by-hand", by_hand, NoConfig, record=Liquidation)]
)
REGISTRY = testing.registry(BY_HAND, flowd_totals)


def configured(sources: str, inputs: str) -> str:
    lines = [f'{name} = {{ kind = "by-hand" }}' for name in sources]
    names = ", ".join(f'"{name}"' for name in inputs)
    sums = f'sums = {{ kind = "totals", inputs = [{names}] }}'
    return "\n".join(["[sources]", *lines, "[transforms]", sums])


@pytest.mark.parametrize(("lasting", "crash"), [(False, False), (False, True), (True, False)])
@pytest.mark.parametrize("sources", ["ab", "a"])
async def test_between_two_runs_of_the_daemon_an_input_may_go_and_come_back(
    sources: str, crash: bool, lasting: bool, tmp_path: Any, autojump_clock: Clock
) -> None:
    memory = MemoryStore()
    number = 0

    async def run(sources: str, inputs: str) -> dict[str, Decimal]:
        nonlocal number
        store = SqliteStore(tmp_path / "flowd.db") if lasting else memory
        text = configured(sources, inputs)
        async with testing.daemon(text, registry=REGISTRY, store=store, crash=crash) as daemon:
            await trio.sleep(20)
            for name in sources:
                number += 1
                one = at(OF[name], number, symbol=name)
                daemon.feeds[name].publish(one, id=one.id)
            await trio.sleep(20)
            ranking = daemon.streams["sums"].get("coins/1h")
            assert ranking is not None
            return {row.name: row.volume for row in ranking.rows}

    first = await run("ab", "ab")
    second = await run(sources, "a")
    third = await run("ab", "ab")

    assert first == {"a": 10, "b": 10}
    assert second == {"a": 20, "b": 10}
    assert third == {"a": 30, "b": 10 + 10 * len(sources)}


def planned(text: str) -> wiring.Plan:
    return wiring.plan(config.parse(text, REGISTRY))


def test_the_streams_are_named_as_one_or_as_a_list_and_each_counts_once() -> None:
    text = configured("ab", "ab").replace("inputs", 'input = "a", inputs')

    assert planned(text).inputs["sums"].count("b") == 1
    with pytest.raises(UserError, match="neither input nor inputs"):
        planned(configured("ab", ""))
    with pytest.raises(UserError, match='inputs = "c": there is no such stream'):
        planned(configured("ab", "ac"))
