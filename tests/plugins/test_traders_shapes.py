"""Traders, events and rankings, as the documented endpoints word them."""

import json
from decimal import Decimal
from typing import Any

import pytest
from attrs import evolve
from flowd_leaderboard import shapes

from flowd.plugin import Batch, Gap, Position, Record
from flowd.traders import PositionEvent, Round, Shares, Standing
from tests.plugins.hyperliquid_kit import ALICE, BOB, CAROL, T, account, position


def standing(address: str, score: float | None, **more: Any) -> Standing:
    empty = {name: None for name in Standing.__annotations__}
    known = {
        "address": address,
        "venue": "hyperliquid",
        "score": score,
        "trips": 3,
        "partial_trips": 0,
        "first_seen_ms": T,
        "last_seen_ms": T,
        "population": 2,
        "time_ms": T,
    }
    return Standing(**{**empty, **known, **more})


ROWS = [standing(ALICE, 0.75), standing(BOB, None), standing(CAROL, 0.5)]


@pytest.mark.parametrize(
    ("order", "found"), [("desc", [ALICE, CAROL, BOB]), ("asc", [CAROL, ALICE, BOB])]
)
def test_what_is_unknown_is_last_in_both_orders(order: str, found: list[str]) -> None:
    rows = shapes.sorted_by(ROWS, "trader_score", order, 10)

    assert [row.address for row in rows] == found


def test_equal_rows_are_in_the_order_of_their_addresses() -> None:
    rows = [standing(CAROL, 0.5), standing(ALICE, 0.5), standing(BOB, None)]

    assert [row.address for row in shapes.sorted_by(rows, "trips", "desc", 10)] == [
        ALICE,
        BOB,
        CAROL,
    ]


@pytest.mark.parametrize("sort_by", shapes.SORTS)
def test_every_field_can_be_sorted_by(sort_by: str) -> None:
    assert len(shapes.sorted_by(ROWS, sort_by, "asc", 2)) == 2


def test_every_field_that_can_be_sorted_by_is_in_a_row() -> None:
    assert shapes.SORTS.keys() <= shapes.standing(ROWS[0]).keys()


def test_a_row_shows_its_score_as_five_parts_and_where_figures_come_from() -> None:
    row = shapes.standing(
        standing(
            ALICE,
            0.75,
            shares=Shares(0.3, 0.0, 0.25, 0.15, 0.05),
            volume=Decimal("100000.5"),
            volume_source="fills",
        )
    )

    assert sum(row["score_parts"].values()) == pytest.approx(0.75)
    assert (row["total_volume_usd"], row["sources"]["total_volume_usd"]) == (100000.5, "fills")
    assert (row["win_rate"], row["sources"]["win_rate"]) == (None, None)


def test_an_answer_says_of_how_many_it_tells_and_how_old_it_is() -> None:
    body = shapes.leaderboard(ROWS, "trader_score", "desc", 2) + shapes.computed(T, 2, T + 1500)

    told = json.loads(body)
    assert (told["count"], told["total"], told["population"]) == (2, 3, 2)
    assert (told["age_s"], told["updated_at"]) == (1.5, "2026-09-21T14:13:20.000Z")


def test_an_empty_leaderboard_has_no_age() -> None:
    told = json.loads(shapes.leaderboard([], "rank", "asc", 5) + shapes.computed(None, 0, T))

    assert (told["leaderboard"], told["age_s"], told["updated_at"]) == ([], None, None)


def test_a_position_tells_how_far_its_liquidation_is() -> None:
    told = shapes.account(account(0, position("BTC", "-2", "100", mark="110", at="132")))

    (held,) = told["positions"]
    assert (held["side"], held["mark_price"]) == ("SHORT", 110)
    assert held["liquidation_distance"] == 0.2


def test_a_position_that_no_price_liquidates_has_no_distance() -> None:
    (held,) = shapes.account(account(0, position("BTC", "1")))["positions"]

    assert (held["liquidation_price"], held["liquidation_distance"]) == (None, None)


def event() -> PositionEvent:
    return PositionEvent(
        "s:1",
        ALICE,
        "hyperliquid",
        "BTC",
        "FLIP",
        "LONG",
        Decimal(-1),
        Decimal(2),
        Decimal(90),
        Decimal(100),
        Decimal(100),
        Decimal(101),
        Decimal(303),
        T,
        T + 60_000,
        T + 61_000,
        sampled=True,
    )


def test_events_go_out_in_the_seeds_envelope_each_with_its_position() -> None:
    one = evolve(event())
    batch = Batch("positions", [Record(7, T + 62_000, one)], Position("k3v9", 9))

    (message,) = map(json.loads, shapes.updates(batch))

    assert (message["type"], message["position"]) == ("trade_event", "k3v9.7")
    assert message["data"]["event_type"] == "FLIP"
    assert message["data"]["details"]["delta"] == 3


def test_a_gap_and_a_reset_are_told_before_the_events() -> None:
    batch: Batch[PositionEvent] = Batch(
        "positions", [], Position("k3v9", 9), gap=Gap(3, 5), reset=True
    )

    reset, gap = map(json.loads, shapes.updates(batch))

    assert (reset["type"], gap["gap"], gap["position"]) == (
        "reset",
        {"first": 3, "last": 5},
        "k3v9.5",
    )


def test_stats_tell_how_old_the_oldest_visit_is() -> None:
    told = shapes.stats(
        Round("hyperliquid", T, 100, 60, 40, T - 5000, 150.0, 12, 80, 1200), T + 1000, 12
    )

    assert (told["traders_total"], told["oldest_tracked_age_s"]) == (100, 6.0)
