"""Totals and rankings: exact where they can be, close where they must be, each row counted once."""

from collections import Counter
from collections.abc import Callable, Iterable
from decimal import Decimal
from itertools import count, pairwise
from random import Random
from typing import Any

import flowd_totals
import pytest
import trio
from attrs import evolve, frozen
from flowd_totals import totals
from flowd_totals.board import Board
from flowd_totals.config import Config
from flowd_totals.records import (
    CoinHour,
    Largest,
    Minute,
    Rank,
    Ranking,
    SavedBoard,
    SavedStep,
)
from flowd_totals.run import Totals
from flowd_totals.sums import COINS_MAX
from flowd_totals.window import levels, parse
from hypothesis import given, settings
from hypothesis import strategies as st

from flowd import testing
from flowd.market import Fill, Liquidation, Trade, VenueSum
from flowd.plugin import Feed, Seconds, Source, UserError
from flowd.values import codec

NOW_MS = 1_700_006_400_000
"""A full hour."""
MINUTE_MS, HOUR_MS = 60_000, 3_600_000
BOTH = ("coins", "traders")

Clock = trio.testing.MockClock
Nursery = trio.Nursery
numbers = count()


def fill(notional: int | str, address: str = "0xa", **changes: Any) -> Fill:
    """A fill that took liquidity just now."""
    amount = Decimal(notional)
    made: dict[str, Any] = {"symbol": "BTC", "side": "BUY", "time_ms": NOW_MS, "taker": True}
    return Fill(
        price=amount,
        quantity=Decimal(1),
        notional=amount,
        id=f"h:{next(numbers)}",
        address=address,
        dir="Open Long",
        pnl=Decimal(0),
        fee=Decimal(0),
        fee_token="USDC",
        hash="0x0",
        **made | changes,
    )


def trade(amount: int | str, taker: str = "0xa", maker: str = "0xb", **changes: Any) -> list[Fill]:
    """Both sides of a trade; `side` is the taker's."""
    side = changes.pop("side", "BUY")
    other = "SELL" if side == "BUY" else "BUY"
    return [
        fill(amount, taker, side=side, **changes),
        fill(amount, maker, side=other, **changes | {"taker": False}),
    ]


def public(notional: int | str, **changes: Any) -> Trade:
    """A public trade of just now, in which 0xa bought and 0xb sold."""
    amount, one = Decimal(notional), Decimal(1)
    made: dict[str, Any] = {"side": "BUY", "time_ms": NOW_MS, "buyer": "0xa", "seller": "0xb"}
    made |= changes
    side, time_ms = made.pop("side"), made.pop("time_ms")
    id = f"hl:{next(numbers)}"
    return Trade("BTC", side, amount, one, amount, time_ms, id, "hyperliquid", **made)


def liquidation(notional: int | str, symbol: str = "BTCUSDT", **changes: Any) -> Liquidation:
    amount, one = Decimal(notional), Decimal(1)
    id = f"b:{next(numbers)}"
    made: dict[str, Any] = {"side": "SELL", "time_ms": NOW_MS} | changes
    return Liquidation(symbol, made["side"], amount, one, amount, made["time_ms"], id)


def whole(buy: Decimal, sell: Decimal, count: int) -> tuple[VenueSum, ...]:
    """The venues of what was counted at one alone."""
    return (VenueSum("hyperliquid", buy, sell, count, "fill", "all"),)


class Rig:
    """The sums on their own, with a clock that can be set; `restart` is a component's."""

    def __init__(self, config: Config | None = None, by: Any = BOTH, now_ms: int = NOW_MS) -> None:
        self.now_ms = now_ms
        self.config = config or Config("fills")
        self.by = by
        self.feed = testing.feed(record=Ranking, clock=lambda: self.now_ms, retain=100_000)
        self.restart()

    def restart(self, config: Config | None = None) -> None:
        self.config = config or self.config
        self.totals = Totals(self.config, self.feed, self.by)
        trio.run(self.totals.load)

    def count(self, *values: Fill | Liquidation) -> None:
        self.totals.add(values)

    def publish(self) -> None:
        self.totals.save()
        trio.run(self.totals.publish)

    def ranking(self, key: str) -> Ranking:
        self.publish()
        return self.feed.stream.get(key)  # type: ignore[return-value]  # it is published by now

    def rows(self, key: str) -> list[tuple[str, Decimal, Decimal, Decimal]]:
        return [(r.name, r.volume, r.buy, r.sell) for r in self.ranking(key).rows]

    def largest(self, window: str) -> list[Any]:
        self.publish()
        return self.feed.tables["largest"].get(window).rows  # type: ignore[union-attr]

    def table(self, name: str) -> dict[str, Any]:
        """What a table holds, by key."""
        self.publish()
        return {str(r.key): r.value for r in self.feed.tables[name].after(0)}

    def everything(self) -> dict[str, Any]:
        """All that is published."""
        self.publish()
        found: dict[str, Any] = {ranking.key: ranking for ranking in self.feed.values}
        for name in ("minutes", "hours", "largest"):
            found |= {f"{name}/{key}": value for key, value in self.table(name).items()}
        return found


# -- what counts --


def test_a_trade_counts_once_for_the_market_and_once_for_each_account() -> None:
    rig = Rig()
    half = Decimal("50.5")
    rig.count(*trade(100, "0xa", "0xb"), *trade("50.5", "0xb", "0xa", side="SELL", symbol="ETH"))

    assert rig.rows("coins/5m") == [("BTC", 100, 100, 0), ("ETH", half, 0, half)]
    assert rig.rows("traders/5m") == [
        ("0xa", Decimal("150.5"), Decimal("150.5"), 0),
        ("0xb", Decimal("150.5"), 0, Decimal("150.5")),
    ]
    coins, traders = rig.ranking("coins/5m"), rig.ranking("traders/5m")
    assert (coins.volume, coins.count, coins.error) == (Decimal("150.5"), 2, 0)
    assert (traders.volume, traders.count, traders.error) == (301, 4, 0)
    all, btc, eth = (Decimal(100), half, 2), (Decimal(100), Decimal(0), 1), (Decimal(0), half, 1)
    assert rig.table("minutes") == {str(NOW_MS): Minute(NOW_MS, *all, whole(*all))}
    assert rig.table("hours") == {
        f"BTC/{NOW_MS}": CoinHour("BTC", NOW_MS, *btc, whole(*btc)),
        f"ETH/{NOW_MS}": CoinHour("ETH", NOW_MS, *eth, whole(*eth)),
    }
    assert [(r.symbol, r.notional, r.address) for r in rig.largest("5m")] == [
        ("BTC", 100, "0xa"),
        ("ETH", Decimal("50.5"), "0xb"),
    ]


def test_of_fills_only_the_liquidated_side_counts_when_that_is_asked_for() -> None:
    rig = Rig(Config("fills", count="liquidated"))
    forced = {"liquidated_user": "0xa", "mark_price": Decimal(99), "method": "market"}
    rig.count(
        fill(4301, "0xa", symbol="ETH", side="SELL", role="liquidated", **forced),
        fill(4301, "0xb", symbol="ETH", side="BUY", role="counterparty", **forced),
        fill(10, "0xc", role="liquidated", taker=False, liquidated_user=None),
        *trade(1_000_000),
    )

    assert rig.rows("coins/5m") == [("ETH", 4301, 0, 4301), ("BTC", 10, 10, 0)]
    assert rig.rows("traders/5m") == [("0xa", 4301, 0, 4301), ("0xc", 10, 10, 0)]
    assert [(row.address, row.role) for row in rig.largest("5m")] == [
        ("0xa", "liquidated"),
        ("0xc", "liquidated"),
    ]


def forced(
    notional: int | str, address: str, price: str, hash: str = "0x1", **changes: Any
) -> Fill:
    """A fill of a liquidation."""
    told: dict[str, Any] = {"price": Decimal(price), "quantity": Decimal(notional) / Decimal(price)}
    told |= {"hash": hash}
    made = fill(notional, address, role="liquidated", side="SELL", **changes)
    return evolve(made, **told)


def test_what_one_account_lost_in_one_transaction_is_one_of_the_largest_rows() -> None:
    rig = Rig(Config("fills", count="liquidated", top=2))
    rig.count(forced(400, "0xa", "100.0"), forced(401, "0xa", "100.25"), forced(500, "0xb", "100"))
    rig.publish()
    rig.restart()
    rig.count(forced(900, "0xc", "90"), forced(399, "0xa", "99.75"), forced(10, "0xd", "1"))

    first, second = rig.largest("5m")

    assert (first.address, first.notional, first.fills) == ("0xa", 1200, 3)
    assert (first.quantity, first.price) == (12, Decimal("100.00"))
    assert (second.address, second.notional, second.fills) == ("0xc", 900, 1)


def test_what_has_no_transaction_is_one_liquidation_where_it_is_of_one_block() -> None:
    rig = Rig(Config("fills", count="liquidated"))
    none = "0x" + "0" * 64
    later = {"time_ms": NOW_MS + 1}
    rig.count(
        *(forced(notional, "0xa", "10", none) for notional in (10, 20)),
        forced(5, "0xa", "10", none, **later),
        forced(7, "0xa", "10", none, symbol="ETH"),
    )

    assert [(row.notional, row.fills) for row in rig.largest("5m")] == [(30, 2), (7, 1), (5, 1)]


def test_no_fill_of_a_large_liquidation_takes_the_place_of_a_smaller_one() -> None:
    rig = Rig(Config("fills", count="liquidated", top=2))
    rig.count(*(forced(100, "0xa", "10") for _ in range(5)), forced(50, "0xb", "10"))

    assert [(row.address, row.notional) for row in rig.largest("5m")] == [("0xa", 500), ("0xb", 50)]


def test_a_row_that_was_concluded_from_its_counterparty_is_the_liquidated_users() -> None:
    rig = Rig(Config("fills", count="liquidated"))
    rig.count(fill(10, "0xb", role="liquidated", liquidated_user="0xa", inferred=True))

    assert rig.rows("traders/5m") == [("0xa", 10, 10, 0)]


@pytest.mark.parametrize("counted", ["takers", "liquidated"])
def test_a_liquidation_always_counts_and_has_no_trader(counted: Any) -> None:
    rig = Rig(Config("orders", count=counted), by=("coins",))
    rig.count(liquidation(10), liquidation(5, side="BUY"))

    assert rig.rows("coins/1h") == [("BTCUSDT", 15, 5, 10)]
    assert [(row.notional, row.address, row.role) for row in rig.largest("1h")] == [
        (10, None, "liquidated"),
        (5, None, "liquidated"),
    ]
    assert {ranking.by for ranking in rig.feed.values} == {"coins"}


def test_a_public_trade_counts_once_and_for_both_its_accounts() -> None:
    rig = Rig(Config("trades"))
    rig.count(public(100), public(30, side="SELL"), public(7, seller=None))

    assert rig.rows("coins/5m") == [("BTC", 137, 107, 30)]
    assert rig.rows("traders/5m") == [("0xa", 137, 137, 0), ("0xb", 130, 0, 130)]
    assert rig.ranking("coins/5m").count == 3
    assert [(row.notional, row.address, row.role) for row in rig.largest("5m")] == [
        (100, "0xa", None),
        (30, "0xb", None),
        (7, "0xa", None),
    ]


@pytest.mark.parametrize("seed", range(5))
def test_public_trades_sum_up_to_what_the_fills_of_both_accounts_do(seed: int) -> None:
    random = Random(seed)
    of_fills, of_trades = Rig(Config("fills")), Rig(Config("trades"))
    for _ in range(200):
        amount, side = random.randint(1, 10**6), random.choice(["BUY", "SELL"])
        one, other = random.sample([f"0x{n}" for n in range(12)], 2)
        buyer, seller = (one, other) if side == "BUY" else (other, one)
        time_ms = NOW_MS - random.randrange(4 * MINUTE_MS)
        of_fills.count(*trade(amount, one, other, side=side, time_ms=time_ms))
        of_trades.count(public(amount, side=side, buyer=buyer, seller=seller, time_ms=time_ms))

    for key in ("coins/5m", "coins/1h", "traders/5m", "traders/1h"):
        assert of_trades.rows(key) == of_fills.rows(key)
    assert of_trades.table("minutes") == of_fills.table("minutes")
    assert of_trades.table("hours") == of_fills.table("hours")


async def test_public_trades_do_not_say_whose_were_liquidations() -> None:
    trades = testing.stream("trades", [public(5)], record=Trade)

    with pytest.raises(UserError, match='count = "liquidated": trades carries public trades'):
        await totals(
            Config("trades", count="liquidated"),
            testing.streams(trades),
            testing.feed(record=Ranking),
        )


@pytest.mark.parametrize("amount", ["0", "-1", "10000000000.01"])
def test_an_impossible_amount_is_dropped_and_counted(amount: str) -> None:
    rig = Rig()
    rig.count(fill(amount), fill(10_000_000_000))

    assert rig.ranking("coins/5m").volume == 10_000_000_000
    assert rig.feed.tally.dropped == {"impossible amount": 1}


def test_what_is_less_than_a_millionth_is_cut_off_and_told_as_error() -> None:
    rig = Rig()
    rig.count(fill("1.00000099"), fill("0.00000099", symbol="ETH"), fill("2.5", symbol="SOL"))

    ranking = rig.ranking("coins/5m")
    assert [(row.name, row.volume) for row in ranking.rows] == [
        ("SOL", Decimal("2.5")),
        ("BTC", Decimal(1)),
    ]
    assert ranking.volume == Decimal("3.50000198")
    assert ranking.error == Decimal("0.000002")


def test_only_the_top_is_told_and_of_equals_the_first_by_name() -> None:
    rig = Rig(Config("fills", top=2))
    for name, amount in {"0xc": 5, "0xb": 5, "0xd": 5, "0xa": 4}.items():
        rig.count(fill(amount, name))

    assert [row[0] for row in rig.rows("traders/5m")] == ["0xb", "0xc"]
    assert len(rig.largest("5m")) == 2


# -- windows --


@pytest.mark.parametrize(
    ("name", "step_s"),
    [
        *[("1m", 2), ("5m", 10), ("15m", 30), ("1h", 120), ("60m", 120), ("4h", 360)],
        *[("24h", 1800), ("1d", 1800), ("7d", 21_600)],
    ],
)
def test_a_window_has_steps_of_a_48th_or_somewhat_more(name: str, step_s: int) -> None:
    window = parse(name)

    assert window.step_ms == step_s * 1000
    assert window.step_ms * 10 <= window.width_ms <= window.step_ms * 48


def test_steps_become_coarser_by_small_factors_so_that_they_stay_few() -> None:
    found = levels([parse("1m"), parse("7d")])

    assert [level.step_ms // 1000 for level in found] == [
        *(2, 10, 30, 60, 120, 360, 1800, 3600, 7200, 21_600)
    ]
    assert all(b.step_ms % a.step_ms == 0 and a.keep_ms <= b.keep_ms for a, b in pairwise(found))


@pytest.mark.parametrize(("name", "step_ms"), [("5m", 10_000), ("1h", 120_000), ("24h", 1_800_000)])
@pytest.mark.parametrize("inside", [0, 1, 0.5])
def test_a_value_is_in_its_window_up_to_its_width_and_leaves_at_most_a_step_early(
    name: str, step_ms: int, inside: float
) -> None:
    rig = Rig()
    time_ms = NOW_MS + min(int(inside * step_ms), step_ms - 1)
    leaves_ms = NOW_MS + parse(name).width_ms
    """When the beginning of its step is so long ago."""
    rig.now_ms = time_ms
    rig.count(fill(7, time_ms=time_ms))

    for now_ms in range(time_ms, leaves_ms, step_ms // 3):
        rig.now_ms = now_ms
        assert rig.ranking(f"coins/{name}").volume == 7
    rig.now_ms = leaves_ms
    assert rig.ranking(f"coins/{name}").volume == 7
    rig.now_ms = leaves_ms + 1
    assert rig.ranking(f"coins/{name}") == Ranking("coins", name, 0, Decimal(0), 0, Decimal(0), [])
    assert rig.largest(name) == []
    assert rig.ranking(f"traders/{name}").rows == []
    assert time_ms <= leaves_ms - parse(name).width_ms + step_ms


def test_a_late_row_counts_where_it_happened() -> None:
    rig = Rig()
    for minutes in (1, 10, 100, 1000):
        rig.count(
            fill(10**minutes if minutes == 1 else minutes, time_ms=NOW_MS - minutes * MINUTE_MS)
        )

    assert [rig.ranking(f"coins/{name}").volume for name in ("5m", "1h", "24h")] == [10, 20, 1120]
    assert rig.table("minutes")[str(NOW_MS - 100 * MINUTE_MS)].buy == 100
    assert rig.table("hours")[f"BTC/{NOW_MS - 17 * HOUR_MS}"].buy == 1000
    assert not rig.feed.tally.dropped


def test_what_no_sum_reaches_back_to_is_dropped_and_counted() -> None:
    rig = Rig()
    rig.count(
        fill(1, time_ms=NOW_MS - 25 * HOUR_MS),
        fill(2, time_ms=NOW_MS - 48 * HOUR_MS - 1),
        *trade(4, time_ms=NOW_MS - 49 * HOUR_MS),
    )

    assert rig.ranking("coins/24h").count == 0
    assert rig.table("minutes") == {}
    assert [hour.buy for hour in rig.table("hours").values()] == [1]
    assert rig.feed.tally.dropped == {"too late": 3}


@pytest.mark.parametrize(
    ("ahead_ms", "minute"), [(59_999, 0), (60_000, 1), (60_001, 0), (10**9, 0)]
)
def test_what_is_more_than_a_minute_ahead_of_the_clock_counts_as_now(
    ahead_ms: int, minute: int
) -> None:
    rig = Rig()
    rig.count(fill(5, time_ms=NOW_MS + ahead_ms))

    assert list(rig.table("minutes")) == [str(NOW_MS + minute * MINUTE_MS)]
    assert rig.ranking("coins/5m").volume == 5
    assert [row.time_ms for row in rig.largest("5m")] == [NOW_MS + ahead_ms]


def test_minutes_are_forgotten_after_a_day_and_hours_after_two() -> None:
    rig = Rig()
    rig.count(fill(1), fill(2, time_ms=NOW_MS + MINUTE_MS - 1))

    rig.now_ms = NOW_MS + 24 * HOUR_MS + MINUTE_MS - 1
    assert list(rig.table("minutes")) == [str(NOW_MS)]
    rig.now_ms += 1
    assert rig.table("minutes") == {}
    rig.now_ms = NOW_MS + 49 * HOUR_MS - 1
    assert list(rig.table("hours")) == [f"BTC/{NOW_MS}"]
    rig.now_ms += 1
    assert rig.table("hours") == {}


def test_steps_become_coarser_and_fewer_and_lose_nothing() -> None:
    rig = Rig()
    for second in range(0, 30 * 3600, 30):
        rig.now_ms = NOW_MS + second * 1000
        rig.count(*trade(1, time_ms=rig.now_ms))
        rig.totals.save()
        while rig.totals.steps.age(rig.now_ms):
            pass
        assert len(rig.totals.steps) <= 130

    rig.now_ms += 1
    assert rig.ranking("coins/5m").count == 10
    assert rig.ranking("coins/1h").count == 120
    assert rig.ranking("coins/24h").volume == 24 * 120
    assert rig.ranking("traders/24h").count == 2 * 24 * 120
    assert len(rig.feed.tables["steps"]) == len(rig.totals.steps)


def test_other_windows_go_on_from_what_is_kept() -> None:
    rig = Rig(Config("fills", windows=["5m", "24h"]))
    times_ms = [NOW_MS - 20 * HOUR_MS, NOW_MS - 30 * MINUTE_MS, NOW_MS]
    rig.count(*(fill(10**n, time_ms=time_ms) for n, time_ms in enumerate(times_ms)))
    rig.publish()

    rig.restart(Config("fills", windows=["1h", "7d"]))

    assert not rig.feed.values, "nobody would keep up to date what was said of other windows"
    assert rig.ranking("coins/7d").volume == 111
    assert rig.ranking("coins/1h").volume == 110
    keys = set(rig.table("steps"))
    rig.restart(Config("fills", windows=["1m"]))
    rig.publish()
    assert not keys & set(rig.table("steps")), "those are of no use any more"


def test_a_step_that_cannot_be_read_is_dropped_and_the_others_stay() -> None:
    rig = Rig()
    rig.count(fill(1), fill(2, time_ms=NOW_MS - 2 * MINUTE_MS))
    rig.publish()
    table = rig.feed.tables["steps"]
    (key, step), _ = rig.table("steps").items()
    broken = SavedBoard(Decimal(1), 1, 0, b"not a sketch", b"")
    table.append(evolve(step, coins=broken), key=key)

    rig.restart()

    assert rig.feed.tally.dropped == {"unreadable step": 1}
    assert rig.ranking("coins/5m").count == 1
    assert key not in rig.table("steps")


# -- properties --

NAMES = ["0xa", "0xb", "0xc"]
rows_of_a_day = st.lists(
    st.builds(
        fill,
        st.decimals("0.000001", 10**6, places=6),
        st.sampled_from(NAMES),
        symbol=st.sampled_from(["BTC", "ETH", "@107"]),
        side=st.sampled_from(["BUY", "SELL"]),
        taker=st.booleans(),
        time_ms=st.integers(NOW_MS - 23 * HOUR_MS, NOW_MS + MINUTE_MS),
    ),
    max_size=40,
)


@given(rows_of_a_day, st.randoms(use_true_random=False))
@settings(max_examples=50, deadline=None)
def test_the_order_of_rows_does_not_matter(rows: list[Fill], random: Random) -> None:
    other = random.sample(rows, len(rows))
    together, one_by_one = Rig(), Rig()

    together.count(*rows)
    for row in other:
        one_by_one.count(row)

    assert together.everything() == one_by_one.everything()


@given(rows_of_a_day)
@settings(max_examples=50, deadline=None)
def test_all_sums_agree_with_each_other_and_with_the_rows(rows: list[Fill]) -> None:
    rig = Rig()
    rig.count(*rows)

    market = [row for row in rows if row.taker]
    volume = sum((row.notional for row in market), Decimal(0))
    day = rig.ranking("coins/24h")
    assert (day.volume, day.count, day.error) == (volume, len(market), 0)
    for sums in (rig.table("minutes").values(), rig.table("hours").values()):
        assert sum(one.buy + one.sell for one in sums) == volume
        assert sum(one.count for one in sums) == len(market)
        bought = sum(row.notional for row in market if row.side == "BUY")
        assert sum(one.buy for one in sums) == bought == sum(row.buy for row in day.rows)
    own: Counter[str] = Counter()
    for row in rows:
        own[row.address] += row.notional  # type: ignore[assignment]  # a Counter of decimals
    traders = rig.ranking("traders/24h")
    assert {row.name: row.volume for row in traders.rows} == dict(own)
    assert (traders.volume, traders.count) == (sum(own.values()), len(rows))
    largest = sorted(market, key=lambda row: (-row.notional, row.time_ms, row.id))[:20]
    assert [row.id for row in rig.largest("24h")] == [row.id for row in largest]


@given(st.dictionaries(st.text(max_size=5), st.integers(1, 1000), max_size=60), st.integers(1, 9))
def test_the_top_is_that_of_a_plain_sort(amounts: dict[str, int], top: int) -> None:
    board = Board()
    for name, amount in amounts.items():
        board.add(name, Decimal(amount // 2), Decimal(amount - amount // 2), 1)

    names = sorted(amounts, key=lambda name: (-amounts[name], name))[:top]
    assert board.top(top) == [
        Rank(name, *map(Decimal, (amounts[name], amounts[name] // 2, -(-amounts[name] // 2))))
        for name in names
    ]


moves = st.lists(
    st.one_of(
        st.tuples(st.just("rows"), st.integers(1, 30)),
        st.tuples(st.just("later"), st.sampled_from([1, 9, 100, 1000, 10_000, 40_000])),
        st.sampled_from([("save", 0), ("publish", 0), ("crash", 0)]),
    ),
    max_size=30,
)


@given(moves, st.integers(0, 2**32))
@settings(max_examples=100, deadline=None)
def test_restarts_at_any_point_lose_nothing_and_count_nothing_twice(
    moves: list[tuple[str, int]], seed: int
) -> None:
    random = Random(seed)
    rig, calm = Rig(), Rig()
    unsaved: list[tuple[int, Fill]] = []
    """What was counted since the last save, and when: it is read again."""
    for move, number in [*moves, ("crash", 0)]:
        if move == "rows":
            for _ in range(number):
                time_ms = rig.now_ms - random.choice([0, 0, 3, 500, 9000, 80_000]) * 1000
                row = fill(random.randint(1, 100), random.choice(NAMES), time_ms=time_ms)
                rig.count(row)
                calm.count(row)
                unsaved.append((rig.now_ms, row))
        elif move == "crash":
            rig.restart()
            rig.count(*(row for _, row in unsaved))
        elif move == "later":
            for one in (rig, calm):
                one.publish()
                one.now_ms += number * 1000
            unsaved.clear()
        elif move == "save":
            rig.totals.save()
            unsaved.clear()
        else:
            rig.publish()
            unsaved.clear()

    assert rig.everything() == calm.everything()


# -- bounds --


def test_of_a_hundred_thousand_traders_the_largest_is_found_within_the_stated_error() -> None:
    rig = Rig()
    true: Counter[str] = Counter()
    random = Random(7)
    for number in range(100):
        rig.now_ms = NOW_MS + number * 3000
        rows = []
        for _ in range(1000):
            name = "0xbig" if random.random() < 0.02 else f"0x{random.randrange(100_000):040x}"
            amount, side = random.randint(50, 150), random.choice(["BUY", "SELL"])
            rows.append(fill(amount, name, side=side, time_ms=rig.now_ms))
            true[name] += amount
        rig.count(*rows)

    for window in ("5m", "1h", "24h"):
        ranking = rig.ranking(f"traders/{window}")
        assert ranking.rows[0].name == "0xbig"
        assert ranking.volume == sum(true.values())
        assert 0 < ranking.error <= ranking.volume * Decimal("0.0035")
        for row in ranking.rows:
            assert row.volume <= true[row.name] <= row.volume + ranking.error
    steps = rig.table("steps").values()
    assert all(len(step.traders.buy) <= 768 * (12 + 42) + 32 for step in steps)
    assert all(len(step.traders.sell) <= 768 * (12 + 42) + 32 for step in steps)


def test_an_hours_coins_beyond_a_thousand_are_summed_together_also_after_a_restart() -> None:
    rig = Rig()
    rig.count(*(fill(1, symbol=f"C{number}") for number in range(COINS_MAX)))
    rig.publish()
    rig.restart()
    rig.count(*(fill(1, symbol=f"C{number}") for number in range(COINS_MAX + 50)))

    hours = rig.table("hours")
    assert len(hours) == COINS_MAX + 1
    assert hours[f"*/{NOW_MS}"].buy == 50
    assert hours[f"C7/{NOW_MS}"].buy == 2
    assert sum(hour.count for hour in hours.values()) == 2 * COINS_MAX + 50


# -- as a transform --


def at_now(*rows: Fill) -> list[Fill]:
    """The same rows, as of the running clock."""
    return [evolve(row, time_ms=testing.clock()) for row in rows]


async def test_it_publishes_what_came_and_what_leaves_without_news(
    autojump_clock: Clock, nursery: Nursery
) -> None:
    rows = testing.stream("fills", record=Fill)
    feed = testing.feed(record=Ranking)
    nursery.start_soon(totals, Config("fills"), testing.streams(rows), feed)
    await trio.sleep(1)
    for row in at_now(*trade(100)):
        rows.append(row)

    await trio.sleep(1.5)
    assert feed.stream.get("coins/5m").volume == 100  # type: ignore[union-attr]
    await trio.sleep(290)
    assert feed.stream.get("coins/5m").volume == 100  # type: ignore[union-attr]
    await trio.sleep(10)
    assert feed.stream.get("coins/5m").volume == 0  # type: ignore[union-attr]
    assert feed.stream.get("coins/1h").volume == 100  # type: ignore[union-attr]
    nursery.cancel_scope.cancel()


async def test_it_publishes_at_most_once_per_span_and_only_what_changed(
    autojump_clock: Clock, nursery: Nursery
) -> None:
    rows = testing.stream("fills", record=Fill)
    feed = testing.feed(record=Ranking)
    nursery.start_soon(
        totals, Config("fills", ["24h"], every=Seconds(5.0)), testing.streams(rows), feed
    )
    for _ in range(100):
        for row in at_now(*trade(1)):
            rows.append(row)
        await trio.sleep(0.2)
    await trio.sleep(4)
    published = feed.stream.head.seq
    await trio.sleep(60)

    assert published == 2 * 4
    assert feed.stream.head.seq == published
    assert feed.stream.get("coins/24h").count == 100  # type: ignore[union-attr]
    nursery.cancel_scope.cancel()


async def test_an_empty_input_has_empty_rankings_and_its_end_is_the_transforms(
    autojump_clock: Clock,
) -> None:
    rows = testing.stream("fills", record=Fill)
    feed = testing.feed(record=Ranking)
    rows.close()

    await totals(Config("fills", ["5m"]), testing.streams(rows), feed)

    nothing = Decimal(0)
    assert feed.values == [Ranking(by, "5m", 0, nothing, 0, nothing, []) for by in BOTH]
    assert feed.tables["largest"].get("5m") == Largest("5m", 0, [])
    assert not feed.tables["steps"].after(0)


async def test_liquidations_have_no_ranking_of_traders(autojump_clock: Clock) -> None:
    orders = testing.stream("orders", [liquidation(5)], record=Liquidation)
    feed = testing.feed(record=Ranking)
    orders.close()

    await totals(Config("orders", ["24h"]), testing.streams(orders), feed)

    assert [ranking.key for ranking in feed.values] == ["coins/24h"]


async def test_a_backlog_is_read_to_its_end_before_it_ends(autojump_clock: Clock) -> None:
    rows = testing.stream("fills", at_now(*trade(1) * 2500), record=Fill)
    feed = testing.feed(record=Ranking)
    rows.close()

    await totals(Config("fills"), testing.streams(rows), feed)

    assert feed.stream.get("coins/5m").count == 2500  # type: ignore[union-attr]


async def test_a_past_from_many_different_times_is_counted_too(autojump_clock: Clock) -> None:
    random = Random(1)
    past = [fill(1, symbol=f"C{random.randrange(400)}") for _ in range(2000)]
    times_ms = [testing.clock() - random.randrange(23 * HOUR_MS) for _ in past]
    rows = testing.stream(
        "fills",
        [evolve(row, time_ms=time_ms) for row, time_ms in zip(past, times_ms, strict=True)],
        record=Fill,
    )
    feed = testing.feed(record=Ranking)
    rows.close()

    await totals(Config("fills"), testing.streams(rows), feed)

    assert feed.stream.get("coins/24h").count == 2000  # type: ignore[union-attr]
    assert sum(r.value.count for r in feed.tables["minutes"].after(0)) == 2000


async def test_cancelled_at_any_moment_it_goes_on_where_it_had_saved(autojump_clock: Clock) -> None:
    rows = testing.stream("fills", record=Fill)
    feed = testing.feed(record=Ranking)
    places: dict[str, int] = {}
    for number in range(60):
        for row in at_now(*trade(1, f"0x{number}") * 5):
            rows.append(row)
        with trio.move_on_after(number * 0.11):
            await totals(Config("fills"), testing.streams(rows, places=places), feed)
    rows.close()
    await totals(Config("fills"), testing.streams(rows, places=places), feed)

    ranking = feed.stream.get("traders/1h")
    assert ranking is not None
    assert (ranking.volume, ranking.count) == (600, 600)
    assert sum(r.value.count for r in feed.tables["minutes"].after(0)) == 300
    assert sum(r.value.count for r in feed.tables["hours"].after(0)) == 300


CONFIG = """
[sources.fills]
kind = "scripted-fills"

[transforms.totals]
kind = "totals"
input = "fills"
"""


@frozen
class Nothing:
    """No settings."""


def scripted(publish: Callable[[Feed[Fill]], None]) -> Any:
    """A registry with a source that publishes three times, some seconds apart."""

    async def fills(config: Nothing, feed: Feed[Fill]) -> None:
        for _ in range(3):
            publish(feed)
            await trio.sleep(3)
        await trio.sleep_forever()

    class Plugin:
        @staticmethod
        def flowd_sources() -> Iterable[Source]:
            return [Source("scripted-fills", fills, Nothing, record=Fill)]

    return testing.registry(Plugin, flowd_totals)


@pytest.mark.parametrize("crash", [False, True])
@pytest.mark.parametrize("stays_s", [5.5, 7.9, 11.0])
async def test_a_daemon_that_comes_back_agrees_with_what_it_kept_of_its_input(
    crash: bool, stays_s: float, autojump_clock: Clock
) -> None:
    def publish(feed: Feed[Fill]) -> None:
        for row in at_now(*trade("12.34", f"0x{next(numbers)}")):
            feed.publish(row, id=row.id)

    kinds = scripted(publish)
    store = testing.MemoryStore()
    for _ in range(3):
        async with testing.daemon(CONFIG, registry=kinds, store=store, crash=crash):
            await trio.sleep(stays_s)

    async with testing.daemon(CONFIG, registry=kinds, store=store) as daemon:
        await trio.sleep(20)
        kept = daemon.streams["fills"].seq
        assert kept == len(daemon.streams["fills"])
        ranking = daemon.streams["totals"].get("traders/1h")
        assert (ranking.count, ranking.volume) == (kept, kept * Decimal("12.34"))
        assert len(ranking.rows) == min(20, kept // 2 + 1)
        minutes = [record.value for record in daemon.streams["totals.minutes"].after(0)]
        assert sum(minute.count for minute in minutes) == kept // 2
        hours = [record.value for record in daemon.streams["totals.hours"].after(0)]
        assert sum(hour.buy for hour in hours) == kept // 2 * Decimal("12.34")
        largest = {record.key for record in daemon.streams["totals.largest"].after(0)}
        assert largest == {"5m", "1h", "4h", "12h", "24h"}
        assert daemon.streams["totals/steps"].private


# -- the configuration --


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("windows = []", "name 1 to 8, each once"),
        ('windows = ["5m", "5m"]', "name 1 to 8, each once"),
        ('windows = ["5s"]', "'5s' is none; they look like 5m"),
        ('windows = ["8d"]', "from 1m to 7d"),
        ('windows = ["0m"]', "'0m' is none"),
        ('windows = "5m"', "expected a list"),
        ("top = 0", "from 1 to 100"),
        ("top = 101", "from 1 to 100"),
        ('every = "50ms"', "at least 100ms"),
        ('count = "all"', "expected one of 'takers', 'liquidated'"),
        ('inptu = "fills"', "input"),
    ],
)
async def test_a_configuration_that_cannot_work_is_refused_with_words(
    setting: str, words: str
) -> None:
    with pytest.raises(UserError, match=words):
        async with testing.daemon(CONFIG + setting, registry=scripted(lambda feed: None)):
            pass  # pragma: no cover


def test_a_saved_step_survives_its_form_in_the_store() -> None:
    board = SavedBoard(Decimal("1.5"), 2, 1, b"\x00\xff", b"")
    step = SavedStep(10_000, NOW_MS, board, board, [])

    assert codec.loads(codec.dumps(step), SavedStep) == step


# -- what the sums are worth --


def of(venue: str, kind: str, coverage: str, **changes: Any) -> Liquidation:
    changes = {"venue": venue, "price_kind": kind, "coverage": coverage} | changes
    return evolve(liquidation(10), **changes)


def told(rig: Rig, key: str = "coins/5m") -> tuple[list[str], bool, bool]:
    ranking = rig.ranking(key)
    return ranking.venues, ranking.lower_bound, ranking.approximate


def test_a_ranking_names_its_venues_and_says_what_its_sums_are_worth() -> None:
    rig = Rig()
    nothing = told(rig)
    rig.count(fill(10))
    fills = told(rig)
    rig.count(of("bybit", "bankruptcy", "all"))
    about = told(rig)
    rig.count(of("binance", "fill", "sampled"))

    assert nothing == ([], False, False)
    assert fills == (["hyperliquid"], False, False)
    assert about == (["bybit", "hyperliquid"], False, True)
    assert told(rig) == (["binance", "bybit", "hyperliquid"], True, True)
    assert {row.venue for row in rig.largest("5m")} == {"binance", "bybit", "hyperliquid"}


@pytest.mark.parametrize("window", ["5m", "1h", "24h"])
def test_a_venue_leaves_a_window_with_its_last_row(window: str) -> None:
    rig = Rig()
    rig.count(of("bybit", "bankruptcy", "all"), of("okx", "mark", "sampled"))
    rig.publish()
    width_ms = {"5m": 5 * MINUTE_MS, "1h": HOUR_MS, "24h": 24 * HOUR_MS}[window]
    for part in range(1, 48):
        rig.now_ms = NOW_MS + width_ms * part // 48
        rig.restart()
        rig.count(of("okx", "mark", "sampled", time_ms=rig.now_ms))
        venues, _, approximate = told(rig, f"coins/{window}")
        assert (venues, approximate) == (["bybit", "okx"], True), part
    rig.now_ms = NOW_MS + width_ms + 1
    rig.count(of("okx", "mark", "sampled", time_ms=rig.now_ms))

    assert told(rig, f"coins/{window}") == (["okx"], True, False)


def test_of_what_was_counted_before_venues_were_noted_no_more_is_said_than_is_known() -> None:
    rig = Rig()
    rig.count(fill(10))
    rig.publish()
    for key in list(rig.table("venues")):
        rig.feed.tables["venues"].forget(key)

    rig.restart()
    rig.count(fill(10))

    assert told(rig) == (["hyperliquid"], True, False)


def test_what_is_too_late_for_a_window_is_no_venue_of_it() -> None:
    rig = Rig()
    rig.count(of("okx", "mark", "sampled", time_ms=NOW_MS - 2 * HOUR_MS), fill(10))

    assert told(rig, "coins/1h")[0] == ["hyperliquid"]
    assert told(rig, "coins/24h")[0] == ["hyperliquid", "okx"]
