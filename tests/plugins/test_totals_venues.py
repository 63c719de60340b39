"""Totals of several venues: each named, each row once, whatever is configured."""

from collections import Counter
from decimal import Decimal
from random import Random
from types import SimpleNamespace
from typing import Any

import flowd_totals
import pytest
import trio
from attrs import evolve, frozen
from flowd_totals import totals
from flowd_totals.config import Config
from flowd_totals.records import Rank, Ranking, SavedStep, Share, VenueVolume
from flowd_totals.venues import VENUES_MAX
from hypothesis import given, settings
from hypothesis import strategies as st

from flowd import testing
from flowd.market import Coverage, Fill, Liquidation, PriceKind, Trade, totals_of
from flowd.plugin import Feed, Source, StreamName
from flowd.setup import config, wiring
from flowd.stream.held import Retain
from flowd.stream.log import Stream
from flowd.stream.stores import SqliteStore
from flowd.stream.volatile import MemoryStore
from flowd.values.errors import UserError
from tests.plugins.test_totals import HOUR_MS, NOW_MS, fill, liquidation, public
from tests.plugins.test_totals import Rig as Sums

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


def old(venue: str, amount: int, symbol: str = "BTCUSDT", **changes: Any) -> Liquidation:
    """An order of a venue as of the sums' own clock."""
    kind, coverage = KINDS[venue]
    worth = {"venue": venue, "price_kind": kind, "coverage": coverage}
    return evolve(liquidation(amount, symbol), **worth | changes)


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
    assert (traders.venues, traders.lower_bound) == (["hyperliquid"], False), "okx names nobody"


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


# -- by venue --


def sums(rig: Sums, table: str) -> dict[str, dict[str, tuple[Decimal, Decimal, int]]]:
    """What each venue has in each row of a table; they are the row's own sums."""
    found = {}
    for key, row in rig.table(table).items():
        assert totals_of(row.venues) == (row.buy, row.sell, row.count)
        assert [part.venue for part in row.venues] == sorted(part.venue for part in row.venues)
        found[key] = {part.venue: (part.buy, part.sell, part.count) for part in row.venues}
    return found


def test_every_sum_is_told_by_venue() -> None:
    rig = Sums(Config("orders"), by=("coins",))
    rig.count(old("okx", 5), old("okx", 1, side="BUY"), old("bybit", 7), old("bybit", 9, "ETHUSDT"))
    ranking = rig.ranking("coins/1h")

    assert ranking.rows == [
        Rank(
            *("BTCUSDT", *map(Decimal, (13, 1, 12))),
            [
                Share("bybit", *map(Decimal, (7, 0, 7))),
                Share("okx", *map(Decimal, (6, 1, 5))),
            ],
        ),
        Rank(
            *("ETHUSDT", *map(Decimal, (9, 0, 9))),
            [Share("bybit", *map(Decimal, (9, 0, 9)))],
        ),
    ]
    assert ranking.by_venue == [
        VenueVolume("bybit", Decimal(16), 2, NOW_MS, False, True),
        VenueVolume("okx", Decimal(6), 2, NOW_MS, True, False),
    ]
    assert sums(rig, "minutes") == {str(NOW_MS): {"bybit": (0, 16, 2), "okx": (1, 5, 2)}}
    assert sums(rig, "hours") == {
        f"BTCUSDT/{NOW_MS}": {"bybit": (0, 7, 1), "okx": (1, 5, 2)},
        f"ETHUSDT/{NOW_MS}": {"bybit": (0, 9, 1)},
    }


def test_a_venue_is_known_since_its_first_row_also_one_that_comes_later() -> None:
    rig = Sums(Config("orders"), by=("coins",))
    rig.count(old("okx", 5), old("okx", 5, time_ms=NOW_MS - HOUR_MS))
    rig.publish()
    rig.restart()
    rig.now_ms += HOUR_MS
    rig.count(old("bybit", 5, time_ms=rig.now_ms), old("okx", 5, time_ms=rig.now_ms))

    since = {one.venue: one.since_ms for one in rig.ranking("coins/24h").by_venue}
    assert since == {"bybit": rig.now_ms, "okx": NOW_MS - HOUR_MS}


rows = st.lists(
    st.tuples(
        st.sampled_from(["binance", "bybit", "okx", "hyperliquid"]),
        st.sampled_from(["A", "B", "C"]),
        st.integers(1, 99),
        st.sampled_from(["BUY", "SELL"]),
        st.integers(0, 90),
    ),
    max_size=25,
)


@given(rows, st.data())
@settings(deadline=None, max_examples=60)
def test_by_venue_as_in_all_whatever_comes_in_which_order(
    found: list[tuple[str, str, int, Any, int]], data: st.DataObject
) -> None:
    rig = Sums(Config("orders"), by=("coins",))
    true: dict[str, dict[str, Decimal]] = {}
    for venue, coin, amount, side, minutes in found:
        time_ms = NOW_MS - minutes * 60_000
        rig.count(old(venue, amount, coin, side=side, time_ms=time_ms))
        of = true.setdefault(coin, {})
        of[venue] = of.get(venue, Decimal(0)) + amount
        step = data.draw(st.sampled_from(["go on", "save", "publish", "restart"]))
        if step == "save":
            rig.totals.save()
        elif step != "go on":
            rig.publish()
        if step == "restart":
            rig.restart()

    ranking = rig.ranking("coins/24h")
    assert {one.name: {s.venue: s.volume for s in one.venues} for one in ranking.rows} == true
    assert all(one.volume == sum(true[one.name].values()) for one in ranking.rows)
    assert all(s.volume == s.buy + s.sell for one in ranking.rows for s in one.venues)
    volumes = {one.venue: one.volume for one in ranking.by_venue}
    assert sum(volumes.values()) == ranking.volume
    assert sum(one.count for one in ranking.by_venue) == ranking.count == len(found)
    assert sorted(volumes) == ranking.venues
    for table in ("minutes", "hours"):
        told = [parts for row in sums(rig, table).values() for parts in row.items()]
        for venue, volume in volumes.items():
            assert sum(buy + sell for one, (buy, sell, _) in told if one == venue) == volume


def test_beyond_what_is_exact_a_row_is_its_venues_and_no_further_off_than_is_said() -> None:
    rig = Sums(Config("orders", top=50), by=("coins",))
    random = Random(3)
    true: Counter[str] = Counter()
    for _ in range(30):
        orders = []
        for _ in range(500):
            coin = f"C{int(random.paretovariate(0.3)) % 5000}"
            amount = random.randint(1, 100)
            orders.append(old(random.choice(["okx", "bybit", "binance"]), amount, coin))
            true[coin] += amount
        rig.count(*orders)

    ranking = rig.ranking("coins/1h")

    assert ranking.error > 0
    assert ranking.volume == true.total()
    for row in ranking.rows:
        assert row.volume == sum(share.volume for share in row.venues)
        assert row.volume <= true[row.name] <= row.volume + ranking.error
    sizes = [row.volume for row in ranking.rows]
    assert sizes == sorted(sizes, reverse=True)


def test_so_many_venues_that_no_market_has_them_are_summed_as_one() -> None:
    rig = Sums(Config("orders"), by=("coins",))
    for number in range(VENUES_MAX + 5):
        rig.count(evolve(old("okx", 1), venue=f"v{number:02}"))
    rig.publish()
    rig.restart()
    rig.count(evolve(old("okx", 1), venue="v03"), evolve(old("okx", 1), venue="v77"))

    ranking = rig.ranking("coins/1h")
    volumes = {one.venue: one.volume for one in ranking.by_venue}
    assert len(volumes) == VENUES_MAX + 1
    assert (volumes["*"], volumes["v03"], ranking.volume) == (6, 2, VENUES_MAX + 7)
    assert rig.table("venues").keys() >= {"*/mark/sampled"}


@pytest.mark.parametrize("noted", [True, False])
def test_what_was_saved_before_sums_had_venues_is_the_only_venues_or_nobodys(noted: bool) -> None:
    rig = Sums(Config("orders"), by=("coins",))
    rig.count(old("okx", 5))
    rig.publish()
    for name in ("steps", "minutes", "hours"):
        table = rig.feed.tables[name]
        for record in table.after(0):
            before = record.value
            if isinstance(before, SavedStep):
                (one,) = before.venues
                changed: Any = evolve(before, coins=one.coins, venues=[])
            else:
                changed = evolve(before, venues=())
            table.append(changed, key=record.key)
    if not noted:
        rig.feed.tables["venues"].forget("okx/mark/sampled")

    rig.restart()
    rig.count(old("okx", 2))
    ranking = rig.ranking("coins/24h")

    (row,) = ranking.rows
    shares = {"okx": 7} if noted else {"": 5, "okx": 2}
    assert {share.venue: share.volume for share in row.venues} == shares
    assert {one.venue: one.volume for one in ranking.by_venue} == shares
    assert ranking.lower_bound
    counted = {"okx": (0, 7, 2)} if noted else {"": (0, 5, 1), "okx": (0, 2, 1)}
    assert list(sums(rig, "minutes").values()) == list(sums(rig, "hours").values()) == [counted]


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


@pytest.mark.usefixtures("work_at_once")
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
