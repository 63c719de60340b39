"""Trips: what each position brought, whatever order its fills come in."""

from collections.abc import Sequence
from decimal import Decimal
from itertools import pairwise
from random import Random
from typing import Any

from flowd_leaderboard.chain import Leg, chained
from flowd_leaderboard.trips import COINS_MAX, Trips
from hypothesis import given
from hypothesis import strategies as st

LATER_MS = 10**15


def leg(
    start: str | Decimal,
    size: str | Decimal,
    pnl: str | Decimal = "0",
    fee: str | Decimal = "0",
    *,
    at: int = 1,
    id: str = "",
    price: str = "1",
) -> Leg:
    """A fill; `size` is signed."""
    signed = Decimal(size)
    name = id or f"{start}/{size}"
    return Leg(
        at, name, Decimal(start), signed, Decimal(pnl), Decimal(fee), abs(signed) * Decimal(price)
    )


WORKED = [
    leg("0", "1", "0", "0.05", at=1, price="100"),
    leg("1", "-0.4", "4", "0.02", at=2, price="110"),
    leg("0.6", "-0.6", "-6", "0.03", at=3, price="90"),
    leg("0", "-2", "0", "0.09", at=4, price="90"),
    leg("-2", "3", "20", "0.12", at=5, price="80"),
    leg("1", "-1", "15", "0.05", at=6, price="95"),
]


def trips(*legs: Leg, symbol: str = "BTC") -> Trips:
    made = Trips()
    for one in legs:
        made.add(symbol, one)
    made.settle(LATER_MS)
    return made


def sums(made: Trips) -> dict[str, Any]:
    return {name: getattr(made.sums, name) for name in type(made.sums).__slots__}


def test_the_worked_trips() -> None:
    found = trips(*WORKED).sums

    assert (found.trips, found.wins, found.losses, found.partial) == (3, 2, 1, 0)
    assert found.won == Decimal("34.74")
    assert found.lost == Decimal("2.10")
    assert found.most_won == Decimal("19.83")
    assert found.most_lost == Decimal("2.10")
    assert found.volume == 713
    assert (found.first_ms, found.last_ms, found.fills) == (1, 6, 6)


def test_an_open_trip_does_not_count() -> None:
    found = trips(leg("0", "1", at=1), leg("1", "-0.5", "10", at=2)).sums

    assert (found.trips, found.partial) == (0, 0)
    assert found.volume == Decimal("1.5")


def test_a_trip_whose_start_is_unknown_is_partial() -> None:
    found = trips(leg("3", "-3", "100", at=1), leg("0", "1", at=2), leg("1", "-1", "1", at=3)).sums

    assert (found.trips, found.partial, found.won) == (1, 1, 1)


def test_a_trip_of_unknown_start_that_crosses_zero_begins_a_known_one() -> None:
    found = trips(leg("3", "-4", "100", "4", at=1), leg("-1", "1", "5", at=2)).sums

    assert (found.trips, found.partial) == (1, 1)
    assert found.won == 4


def test_missed_fills_void_the_trip_that_they_belong_to() -> None:
    found = trips(leg("0", "1", at=1), leg("0.5", "-0.5", "9", at=2), leg("0", "1", at=3)).sums

    assert (found.trips, found.partial) == (0, 1)


def test_a_trip_whose_end_was_missed_counts_as_partial_and_the_next_is_whole() -> None:
    found = trips(leg("0", "1", at=1), leg("0", "2", at=2), leg("2", "-2", "7", at=3)).sums

    assert (found.trips, found.partial, found.won) == (1, 1, 7)


def test_a_position_that_turned_unseen_is_two_partial_trips() -> None:
    found = trips(leg("0", "1", at=1), leg("-2", "2", "7", at=2)).sums

    assert (found.trips, found.partial) == (0, 2)


def test_a_net_of_nothing_neither_wins_nor_loses() -> None:
    found = trips(leg("0", "1", fee="1", at=1), leg("1", "-1", "1", at=2)).sums

    assert (found.trips, found.wins, found.losses) == (1, 0, 0)


def test_a_rebate_is_a_gain() -> None:
    found = trips(leg("0", "1", fee="-0.5", at=1), leg("1", "-1", at=2)).sums

    assert found.won == Decimal("0.5")


def test_a_fill_that_comes_again_counts_once() -> None:
    once = trips(*WORKED)
    twice = Trips()

    for legs in (WORKED[:3], WORKED[1:5], WORKED):
        for one in legs:
            twice.add("BTC", one)
    twice.settle(LATER_MS)
    again = [twice.add("BTC", one) for one in WORKED]

    assert sums(twice) == sums(once)
    assert again == [False] * 6


def test_coins_do_not_mix() -> None:
    made = Trips()

    for one in WORKED:
        made.add("BTC", one)
        made.add("ETH", one)
    made.settle(LATER_MS)

    assert made.sums.trips == 6


def test_the_newest_millisecond_waits_for_the_rest_of_it() -> None:
    made = Trips()
    made.add("BTC", leg("1", "-1", "3", at=5))

    early = made.sums.partial
    made.settle(5)
    made.add("BTC", leg("0", "1", at=5))
    made.settle(6)

    assert early == 0
    assert (made.sums.trips, made.sums.partial, made.sums.won) == (1, 0, 3)


def test_a_copy_goes_its_own_way() -> None:
    made = trips(*WORKED[:5])
    copied = made.copy()

    made.add("BTC", WORKED[5])
    made.settle(LATER_MS)

    assert (copied.sums.trips, made.sums.trips) == (2, 3)
    copied.add("BTC", WORKED[5])
    copied.settle(LATER_MS)
    assert sums(copied) == sums(made)


def test_of_too_many_coins_the_flat_ones_are_forgotten_first() -> None:
    made = Trips()
    made.add("OPEN", leg("0", "1", at=1))
    for number in range(COINS_MAX):
        made.add(f"C{number}", leg("0", "1", at=2 * number + 2))
        made.add(f"C{number}", leg("1", "-1", at=2 * number + 3))
        made.settle(LATER_MS)

    assert len(made.holdings) == COINS_MAX
    assert "OPEN" in made.holdings
    assert "C0" not in made.holdings
    assert not made.add("C0", leg("0", "1", at=2))
    assert made.add("C0", leg("0", "1", at=10**6))


def test_of_too_many_open_coins_the_one_traded_longest_ago_is_forgotten() -> None:
    made = Trips()

    for number in range(COINS_MAX + 1):
        made.add(f"C{number}", leg("0", "1", at=number + 1))

    assert len(made.holdings) == COINS_MAX
    assert "C0" not in made.holdings
    assert f"C{COINS_MAX}" in made.holdings


# -- what holds of all fills --

steps = st.lists(st.integers(-4, 4).filter(bool), min_size=1, max_size=25)


def walk(sizes: Sequence[int], at: int = 7, start: int = 0) -> list[Leg]:
    """Fills of one millisecond, one after the other."""
    legs, position = [], start
    for number, size in enumerate(sizes):
        legs.append(
            leg(Decimal(position), Decimal(size), Decimal(size), at=at, id=f"{number * 7919 % 97}")
        )
        position += size
    return legs


@given(steps, st.integers(-3, 3), st.randoms(use_true_random=False))
def test_fills_of_one_time_are_ordered_by_what_they_began_with(
    sizes: list[int], start: int, random: Random
) -> None:
    legs = walk(sizes, start=start)
    shuffled = random.sample(legs, len(legs))

    found = chained(shuffled, Decimal(start))

    assert found[0].start == start
    assert all(before.end == after.start for before, after in pairwise(found))
    assert sorted(found) == sorted(legs)
    assert chained(random.sample(legs, len(legs)), Decimal(start)) == found


@given(steps, st.randoms(use_true_random=False))
def test_any_order_within_a_time_gives_the_same_trips(sizes: list[int], random: Random) -> None:
    legs = walk(sizes)
    shuffled = random.sample(legs, len(legs))

    assert sums(trips(*shuffled)) == sums(trips(*legs))
    assert trips(*legs).sums.partial == 0


@given(steps, st.integers(0, 24), st.randoms(use_true_random=False))
def test_fills_that_are_missing_within_a_time_lose_no_others(
    sizes: list[int], missing: int, random: Random
) -> None:
    legs = walk(sizes)
    del legs[missing % len(legs)]

    found = chained(legs, Decimal(0))

    assert sorted(found) == sorted(legs)
    assert chained(random.sample(legs, len(legs)), Decimal(0)) == found


@given(steps)
def test_all_pnl_and_fees_go_to_trips(sizes: list[int]) -> None:
    legs = [one._replace(time_ms=at, fee=Decimal("0.07")) for at, one in enumerate(walk(sizes), 1)]
    last = legs[-1]
    closing = leg(last.end, -last.end, "0", at=99) if last.end else None

    found = trips(*legs, *([closing] if closing else [])).sums

    gross = sum((one.pnl for one in legs), Decimal(0))
    assert found.won - found.lost == gross - Decimal("0.07") * len(legs)
    assert found.partial == 0


@given(steps, st.integers(0, 24), st.sampled_from(["0.25", "0.5", "0.75"]))
def test_splitting_a_fill_in_two_changes_nothing(sizes: list[int], which: int, part: str) -> None:
    legs = [one._replace(time_ms=at, fee=Decimal(12)) for at, one in enumerate(walk(sizes), 1)]
    split = legs[which % len(legs)]
    size, share = split.size * Decimal(part), Decimal(part)
    if split.start * split.end < 0:
        # The part that closes has all of the profit.
        size, share = -split.start, abs(split.start / split.size)
    fee = split.fee * share
    crossing = split.start * split.end < 0
    halves = [
        split._replace(
            id="a",
            size=size,
            fee=fee,
            pnl=split.pnl if crossing else split.pnl * share,
            notional=split.notional * share,
        ),
        split._replace(
            id="b",
            start=split.start + size,
            size=split.size - size,
            fee=split.fee - fee,
            pnl=Decimal(0) if crossing else split.pnl * (1 - share),
            notional=split.notional * (1 - share),
        ),
    ]
    in_two = [half for one in legs for half in (halves if one is split else [one])]

    whole, parts = trips(*legs).sums, trips(*in_two).sums

    assert (parts.trips, parts.wins, parts.losses) == (whole.trips, whole.wins, whole.losses)
    assert abs(parts.won - whole.won) < Decimal("1e-9")
    assert abs(parts.lost - whole.lost) < Decimal("1e-9")
    assert abs(parts.volume - whole.volume) < Decimal("1e-9")
