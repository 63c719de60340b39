"""What is measured of a trader's past, and how it compares: the formulas alone."""

from collections.abc import Iterable
from decimal import Decimal
from random import Random

import pytest
from flowd_leaderboard import figures
from flowd_leaderboard.drawdown import Drawdown, of_portfolio, of_values
from flowd_leaderboard.figures import Known, Portfolio
from flowd_leaderboard.score import Contender, Ranking, ranking
from flowd_leaderboard.trips import Sums, Trip
from flowd_leaderboard.weights import VolumeScale, Weights
from hypothesis import given
from hypothesis import strategies as st

from flowd.traders import Account, Trader


def series(values: Iterable[float | str]) -> list[tuple[int, Decimal]]:
    return [(at, Decimal(str(value))) for at, value in enumerate(values, 1)]


def drawdown(equities: Iterable[float | str], pnls: Iterable[float | str]) -> float | None:
    return of_portfolio(series(equities), series(pnls))


@pytest.mark.parametrize(
    ("equities", "pnls", "expected"),
    [
        ([1000, 1200, 600, 540], [0, 200, 200, 140], 0.10),
        ([1000, 1200, 2200, 1980], [0, 200, 200, -20], 0.10),
        ([1000, 0], [0, -1000], 1.0),
        ([1000, -500], [0, -1500], 1.0),
        ([1000, 1100, 1210], [0, 100, 210], 0.0),
        ([0, 1000, 900], [0, 0, -100], 0.1),
        ([-5, -10], [0, -5], 0.0),
    ],
    ids=["withdrawal", "deposit", "total loss", "below zero", "gains", "from nothing", "debt"],
)
def test_drawdown_of_a_portfolio(equities: list[float], pnls: list[float], expected: float) -> None:
    assert drawdown(equities, pnls) == pytest.approx(expected)


@pytest.mark.parametrize("points", [[], [1000]])
def test_less_than_two_points_tell_no_drawdown(points: list[float]) -> None:
    assert drawdown(points, points) is None
    found = of_values(series(points))
    assert found is None or found.fraction is None


def test_only_times_that_both_series_have_count() -> None:
    equities = [(1, Decimal(100)), (2, Decimal(5)), (3, Decimal(90))]
    pnls = [(1, Decimal(0)), (3, Decimal(-10)), (4, Decimal(50))]

    assert of_portfolio(equities, pnls) == pytest.approx(0.1)


def test_account_values_alone_take_a_withdrawal_for_a_loss() -> None:
    found = of_values(series([1000, 1200, 600, 540]))

    assert found is not None
    assert found.fraction == pytest.approx(0.55)


def test_a_sample_that_is_not_newer_changes_nothing() -> None:
    found = Drawdown(100.0, 5)

    assert found.value(1.0, 5) is found
    assert found.value(1.0, 4) is found


amounts = st.floats(1, 1e6)
profits = st.lists(st.floats(-0.9, 2.0), min_size=1, max_size=20)


@given(amounts, profits, st.data())
def test_deposits_and_withdrawals_do_not_change_the_drawdown(
    begin: float, returns: list[float], data: st.DataObject
) -> None:
    plain, plain_pnls = [begin], [0.0]
    moved, moved_pnls = [begin], [0.0]
    for one in returns:
        plain_pnls.append(plain_pnls[-1] + plain[-1] * one)
        plain.append(plain[-1] * (1 + one))
        # Money moves between steps, at a sample of its own.
        payment = data.draw(st.floats(-0.9, 3.0)) * moved[-1]
        moved.append(moved[-1] + payment)
        moved_pnls.append(moved_pnls[-1])
        moved_pnls.append(moved_pnls[-1] + moved[-1] * one)
        moved.append(moved[-1] * (1 + one))

    assert drawdown(moved, moved_pnls) == pytest.approx(drawdown(plain, plain_pnls), abs=1e-6)


@given(st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=30))
def test_a_drawdown_is_a_fraction_and_never_heals(values: list[float]) -> None:
    found = [of_values(series(values[:count])) for count in range(2, len(values) + 1)]

    fractions = [one.fraction for one in found if one is not None and one.fraction is not None]
    assert len(fractions) == len(values) - 1
    assert all(0 <= one <= 1 for one in fractions)
    assert fractions == sorted(fractions)


@given(st.lists(st.floats(0.01, 1e6), min_size=2, max_size=30))
def test_account_values_alone_are_a_portfolio_in_which_nothing_was_paid(
    values: list[float],
) -> None:
    found = of_values(series(values))

    assert found is not None
    pnls = [value - values[0] for value in values]
    assert found.fraction == pytest.approx(drawdown(values, pnls), abs=1e-6)


# -- figures --

DAY_MS = 86_400_000


def sums(*nets: int | str) -> Sums:
    made = Sums()
    for net in nets:
        made.complete(Trip(True, Decimal(net)))
    return made


def trader(volume: int = 10, trades: int = 1, first_ms: int = 5 * DAY_MS) -> Trader:
    return Trader("0xa", "hyperliquid", first_ms, first_ms, Decimal(volume), trades, ("BTC",))


def account(time_ms: int) -> Account:
    zero = Decimal(0)
    return Account("0xa", "hyperliquid", time_ms, zero, zero, zero, zero, ())


def portfolio(
    volume: int | None = None, since_ms: int | None = None, max_drawdown: float | None = None
) -> Portfolio:
    return Portfolio("0xa", 1, None if volume is None else Decimal(volume), since_ms, max_drawdown)


def test_the_figures_of_the_worked_trips() -> None:
    known = Known("0xa", sums=sums("-2.10", "19.83", "14.91"))

    assert figures.win_rate(known) == pytest.approx(2 / 3)
    assert figures.risk_ratio(known) == 3.0
    assert figures.contender(known).max_profit == 19.83


@pytest.mark.parametrize(
    ("nets", "rate", "ratio"),
    [
        ((), None, None),
        ((5,), 1.0, 3.0),
        ((-5,), 0.0, 0.0),
        ((0,), 0.0, 0.0),
        ((5, 0), 0.5, 3.0),
        ((3, -2), 0.5, 1.5),
        ((1, 2, -3), 2 / 3, 0.5),
        ((100, -1), 0.5, 3.0),
    ],
)
def test_win_rate_and_pay_off(
    nets: tuple[int, ...], rate: float | None, ratio: float | None
) -> None:
    known = Known("0xa", sums=sums(*nets))

    assert figures.win_rate(known) == pytest.approx(rate)
    assert figures.risk_ratio(known) == pytest.approx(ratio)


def test_volume_is_of_the_best_source_alone() -> None:
    traded = sums()
    traded.volume, traded.fills = Decimal(20), 2
    public = trader(volume=50)

    found = [
        figures.volume(known)
        for known in (
            Known("0xa", public, sums=traded, portfolio=portfolio(volume=7)),
            Known("0xa", public, sums=traded, portfolio=portfolio()),
            Known("0xa", public, sums=sums()),
            Known("0xa", trader(volume=0, trades=0)),
            Known("0xa"),
        )
    ]

    assert found == [(7, "portfolio"), (20, "fills"), (50, "trades"), (None, None), (None, None)]


def test_drawdown_of_the_portfolio_comes_before_the_one_of_our_own_samples() -> None:
    own = Drawdown(100.0, 1).value(60.0, 2)

    found = [
        figures.max_drawdown(known)
        for known in (
            Known("0xa", portfolio=portfolio(max_drawdown=0.1), drawdown=own),
            Known("0xa", portfolio=portfolio(), drawdown=own),
            Known("0xa", drawdown=Drawdown(100.0, 1)),
        )
    ]

    assert found == [(0.1, "portfolio"), (pytest.approx(0.4), "account_value"), (None, None)]


def test_age_is_counted_from_the_first_evidence() -> None:
    traded = sums()
    traded.first_ms = 4 * DAY_MS
    known = Known("0xa", trader(), account(9 * DAY_MS), traded, portfolio(since_ms=3 * DAY_MS))

    since = [
        figures.first_evidence(one)
        for one in (
            known,
            Known("0xa", trader(), sums=traded),
            Known("0xa", trader(), account(9 * DAY_MS)),
            Known("0xa", account=account(9 * DAY_MS)),
            Known("0xa"),
        )
    ]

    assert since == [
        (3 * DAY_MS, "portfolio"),
        (4 * DAY_MS, "fills"),
        (5 * DAY_MS, "trades"),
        (9 * DAY_MS, "snapshots"),
        (None, None),
    ]
    assert figures.age_days(3 * DAY_MS, 5 * DAY_MS - 1) == 1
    assert figures.age_days(3 * DAY_MS, 0) == 0
    assert figures.age_days(None, 0) is None


# -- score --


def ranked(
    *contenders: Contender, weights: Weights | None = None, scale: VolumeScale = "linear"
) -> Ranking:
    population = {one.address: one.numbers for one in contenders}
    steps = ranking(population, weights or Weights(), scale)
    while True:
        try:
            next(steps)
        except StopIteration as end:
            found: Ranking = end.value
            return found


A = Contender("0xa", 0.60, 100_000, 0.10, 2.0, 5_000)
B = Contender("0xb", 0.50, 400_000, 0.25, 1.0, 10_000)
C = Contender("0xc", 0.40, 200_000, 0.40, 1.5, 0)


def outcome(found: Ranking, *contenders: Contender) -> list[tuple[int, float]]:
    return [found[one.address][:2] for one in contenders]


def test_the_worked_scores() -> None:
    found = ranked(A, B, C)

    assert outcome(found, A, B, C) == [(1, 0.75), (2, 0.575), (3, 0.1417)]
    shares = found["0xb"].shares
    assert shares.win_rate == pytest.approx(0.15)
    assert shares.volume == pytest.approx(0.20)
    assert shares.max_drawdown == pytest.approx(0.125)
    assert (shares.risk_ratio, shares.max_profit) == (0.0, pytest.approx(0.10))


def test_an_unknown_drawdown_is_worth_nothing_and_leaves_the_range_to_the_others() -> None:
    unknown = A._replace(max_drawdown=None)

    found = ranked(unknown, B, C)

    assert outcome(found, unknown, B, C) == [(2, 0.5), (1, 0.7), (3, 0.1417)]


def test_a_population_of_one() -> None:
    assert outcome(ranked(A), A) == [(1, 0.25)]


def test_a_population_of_none() -> None:
    assert len(ranked()) == 0


def test_who_is_equal_stands_by_volume_and_then_by_address() -> None:
    nothing = Contender("", None, None, None, None, None)
    names = [f"0x{number:04}" for number in range(3_000)]
    tied = [nothing._replace(address=name) for name in reversed(names)]
    traded = nothing._replace(address="0xff", volume=1)

    found = ranked(*tied, traded, weights=Weights(0.5, 0, 0.5, 0, 0))

    assert found["0xff"].rank == 1
    assert [found[name].rank for name in names] == list(range(2, 3_002))
    assert found["0xff"].score == 0.0


def test_logarithms_of_volume_and_profit_leave_room_beside_the_largest() -> None:
    huge = Contender("0xd", 0.5, 1e9, 0.2, 1.0, 1e8)

    linear, log = ranked(A, B, C, huge), ranked(A, B, C, huge, scale="log")

    assert linear["0xb"].shares.volume < 0.001
    assert log["0xb"].shares.volume > 0.02
    assert log["0xd"].shares.volume == pytest.approx(0.20)


@pytest.mark.parametrize(
    ("weights", "wrong"),
    [
        ({"win_rate": 0.5}, "sum up to 1.2"),
        ({"win_rate": -0.1, "volume": 0.6}, "win_rate = -0.1"),
        ({"win_rate": float("nan")}, "win_rate = nan"),
    ],
)
def test_weights_that_are_none(weights: dict[str, float], wrong: str) -> None:
    with pytest.raises(ValueError, match=wrong):
        Weights(**weights)


known_or_not = st.none() | st.floats(0, 1e9)
populations = st.lists(
    st.builds(
        Contender,
        st.integers(0, 10**6).map("0x{:040x}".format),
        st.none() | st.floats(0, 1),
        known_or_not,
        st.none() | st.floats(0, 1),
        st.none() | st.floats(0, 3),
        known_or_not,
    ),
    max_size=20,
    unique_by=lambda one: one.address,
)


@given(populations, st.randoms(use_true_random=False), st.sampled_from(["linear", "log"]))
def test_scores_are_shares_of_one_and_ranks_follow_them(
    contenders: list[Contender], random: Random, scale: VolumeScale
) -> None:
    found = ranked(*contenders, scale=scale)
    again = ranked(*random.sample(contenders, len(contenders)), scale=scale)

    for one in contenders:
        rank, score, parts = found[one.address]
        assert 0 <= score <= 1
        assert score == pytest.approx(sum(parts), abs=1e-4)
        assert again[one.address][:2] == (rank, score)
    in_order = sorted(contenders, key=lambda one: found[one.address].rank)
    assert [found[one.address].rank for one in in_order] == list(range(1, len(in_order) + 1))
    assert in_order == sorted(
        in_order,
        key=lambda one: (
            -found[one.address].score,
            -(-1 if one.volume is None else one.volume),
            one.address,
        ),
    )
