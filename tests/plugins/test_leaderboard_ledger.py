"""The trips of many accounts: bounded, saved, and never counted twice."""

from decimal import Decimal
from typing import Any

import pytest
from flowd_leaderboard import legs
from flowd_leaderboard.chain import Leg
from flowd_leaderboard.ledger import Ledger
from flowd_leaderboard.saved import SavedTrips, read, written
from flowd_leaderboard.trips import Trips
from hypothesis import given
from hypothesis import strategies as st

from flowd import testing
from flowd.market import Fill

ADDRESS = "0x" + "ab" * 20
NOW_MS = 1_700_000_000_000


def fill(**changes: Any) -> Fill:
    made: dict[str, Any] = {
        "symbol": "BTC",
        "side": "BUY",
        "price": Decimal(100),
        "quantity": Decimal(2),
        "notional": Decimal(200),
        "time_ms": NOW_MS,
        "id": f"h:{NOW_MS}:BTC:77:{ADDRESS}",
        "address": ADDRESS,
        "dir": "Open Long",
        "pnl": Decimal(3),
        "fee": Decimal("0.1"),
        "fee_token": "USDC",
        "taker": True,
        "hash": "0x0",
        "start_position": Decimal(1),
    }
    return Fill(**made | changes)


def row(**changes: Any) -> dict[str, Any]:
    made = {
        "coin": "BTC",
        "px": "100",
        "sz": "2",
        "side": "B",
        "time": NOW_MS,
        "startPosition": "1",
        "dir": "Open Long",
        "closedPnl": "3",
        "fee": "0.1",
        "feeToken": "USDC",
        "tid": 77,
    }
    return made | changes


def leg(start: int, size: int, pnl: int = 0, at: int = 1) -> Leg:
    return Leg(
        at, f"{start}/{size}", Decimal(start), Decimal(size), Decimal(pnl), Decimal(0), Decimal(1)
    )


def ledger(feed: testing.ScriptedFeed[Any] | None = None, **limits: int) -> Ledger:
    feed = feed or testing.feed()
    return Ledger(feed, feed.table("trips", SavedTrips), **limits)


# -- legs --


def test_a_fill_and_its_row_by_rest_are_the_same_leg() -> None:
    assert legs.of_row(row()) == ("BTC", legs.of_fill(fill()))


def test_what_was_sold_makes_the_position_smaller() -> None:
    found = legs.of_fill(fill(side="SELL"))

    assert found is not None
    assert (found.size, found.end) == (-2, -1)


@pytest.mark.parametrize(
    ("symbol", "direction"),
    [("@107", "Open Long"), ("PURR/USDC", "Open Long"), ("BTC", "Buy"), ("BTC", "Sell")],
)
def test_spot_fills_are_no_legs(symbol: str, direction: str) -> None:
    assert legs.of_fill(fill(symbol=symbol, dir=direction)) is None
    assert legs.of_row(row(coin=symbol, dir=direction)) is None


def test_a_fill_that_does_not_tell_the_position_before_it_is_no_leg() -> None:
    assert legs.of_fill(fill(start_position=None)) is None


@pytest.mark.parametrize(
    ("symbol", "token", "fee"),
    [
        ("BTC", "USDC", "0.1"),
        ("BTC", "HYPE", "0"),
        ("xyz:TSLA", "USDH", "0.1"),
        ("BTC", "USDH", "0"),
    ],
)
def test_fees_count_in_the_collateral_alone(symbol: str, token: str, fee: str) -> None:
    live = legs.of_fill(fill(symbol=symbol, fee_token=token))
    asked = legs.of_row(row(coin=symbol, feeToken=token))

    assert live is not None
    assert asked is not None
    assert live.fee == asked[1].fee == Decimal(fee)


@pytest.mark.parametrize(
    "wrong",
    [
        {"px": 100},
        {"sz": "-1"},
        {"sz": "0"},
        {"side": "C"},
        {"time": "now"},
        {"time": 17},
        {"coin": ""},
        {"coin": None},
        {"startPosition": "NaN"},
        {"closedPnl": None},
    ],
    ids=repr,
)
def test_rows_that_are_no_fills(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"no|expected"):
        legs.of_row(row(**wrong))


def test_rows_of_2023_have_no_number_and_are_told_apart_by_the_rest() -> None:
    without = row(fee="0.0")
    del without["tid"], without["feeToken"]

    first, second = legs.of_row(without), legs.of_row({**without, "startPosition": "3"})

    assert first is not None
    assert second is not None
    assert first[1].id != second[1].id


# -- saving --


@given(
    st.lists(
        st.tuples(st.sampled_from("AB"), st.integers(-3, 3).filter(bool), st.integers(0, 2)),
        max_size=20,
    ),
    st.integers(0, 20),
)
def test_trips_that_were_saved_go_on_as_if_nothing_had_been(
    moves: list[tuple[str, int, int]], cut: int
) -> None:
    fills, position, now = [], {"A": 0, "B": 0}, 10
    for number, (symbol, size, later) in enumerate(moves):
        now += later
        one = leg(position[symbol], size, size, now)._replace(id=str(number))
        fills.append((symbol, one))
        position[symbol] += size
    whole, saved = Trips(), Trips()

    for symbol, one in fills:
        whole.add(symbol, one)
    for symbol, one in fills[:cut]:
        saved.add(symbol, one)
    saved = read(written(saved))
    for symbol, one in fills:
        saved.add(symbol, one)

    assert written(saved) == written(whole)
    saved.settle(10**15)
    assert saved.sums.partial == 0


@pytest.mark.parametrize("text", ["", "[]", "[0,[],[]]", "{}", '[0,["x"],[]]'])
def test_what_is_no_saved_trips(text: str) -> None:
    with pytest.raises(ValueError, match=r"no trips|JSON|decode|truncated"):
        read(text)


async def test_a_ledger_goes_on_from_its_table() -> None:
    feed = testing.feed()
    first = ledger(feed)
    first.add("0xa", "BTC", leg(0, 1, at=1))
    first.save()
    first.add("0xa", "BTC", leg(1, -1, 5, at=2))

    second = ledger(feed)
    await second.load()
    second.add("0xa", "BTC", leg(0, 1, at=1))
    second.add("0xa", "BTC", leg(1, -1, 5, at=2))

    trips = second.get("0xa")
    assert trips is not None
    trips.settle(10)
    assert (trips.sums.trips, trips.sums.won, trips.sums.fills) == (1, 5, 2)
    assert second.bytes == first.bytes > 0


async def test_an_unreadable_row_costs_only_itself() -> None:
    feed = testing.feed()
    table = feed.table("trips", SavedTrips)
    table.append(SavedTrips("0xa", None, "rubbish"), key="0xa")
    table.append(SavedTrips("0xb", 7, written(Trips())), key="0xb")

    found = ledger(feed)
    await found.load()

    assert found.get("0xa") is None
    assert found.asked_ms("0xb") == 7
    assert feed.tally.dropped == {"unreadable trips": 1}


def test_of_too_many_accounts_those_that_traded_longest_ago_are_forgotten() -> None:
    feed = testing.feed()
    found = ledger(feed, accounts_max=2)

    for at, address in enumerate(["0xa", "0xb", "0xa", "0xc"], 1):
        found.add(address, "BTC", leg(0, 1, at=at))
    found.save()

    assert [found.get(one) is None for one in ("0xa", "0xb", "0xc")] == [False, True, False]
    assert (found.forgotten, len(found)) == (1, 2)
    assert {record.key for record in feed.tables["trips"].after(0)} == {"0xa", "0xc"}


def test_bytes_are_bounded_too() -> None:
    found = ledger(bytes_max=1_000)

    for at in range(1, 30):
        found.add(f"0x{at}", "BTC", leg(0, 1, at=at))
        found.save()

    assert 500 < found.bytes <= 1_000
    assert found.forgotten == 29 - len(found)


def test_a_copy_is_of_one_instant() -> None:
    found = ledger()
    found.add("0xa", "BTC", leg(0, 1, at=1))

    copied = found.copy()
    found.add("0xa", "BTC", leg(1, -1, 5, at=2))
    found.add("0xb", "BTC", leg(0, 1, at=3))

    assert list(copied) == ["0xa"]
    assert copied["0xa"].sums.fills == 1
    now = found.get("0xa")
    assert now is not None
    assert now.sums.fills == 2


def test_the_past_replaces_what_was_seen_and_what_came_meanwhile_is_added() -> None:
    found = ledger()
    found.add("0xa", "BTC", leg(1, 1, at=5))
    past = Trips()
    for one in (leg(0, 1, at=1), leg(1, 1, at=5)):
        past.add("BTC", one)
    past.settle(10)

    found.watch("0xa")
    found.add("0xa", "BTC", leg(2, -2, 7, at=6))
    found.replace("0xa", past, 5, asked_ms=99)
    found.unwatch("0xa")
    again = found.add("0xa", "BTC", leg(1, 1, at=5))
    found.save()

    trips = found.get("0xa")
    assert trips is not None
    trips.settle(100)
    assert not again
    assert (trips.sums.trips, trips.sums.partial, trips.sums.won) == (1, 0, 7)
    assert found.asked_ms("0xa") == 99
