"""What is measured of a trader's past, and how it compares: the formulas alone."""

from collections.abc import Iterable
from decimal import Decimal

import pytest
from flowd_leaderboard.drawdown import Drawdown, of_portfolio, of_values
from hypothesis import given
from hypothesis import strategies as st


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
