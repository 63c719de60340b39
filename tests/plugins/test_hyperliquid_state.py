"""Hyperliquid's account states and markets as they were recorded, and what is none."""

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from flowd_hyperliquid.markets import Market, markets
from flowd_hyperliquid.observed import Sums, add_up, maps
from flowd_hyperliquid.state import account

from flowd.market import Level, bin_width
from tests.plugins.hyperliquid_kit import ALICE, BOB, position
from tests.plugins.hyperliquid_kit import account as state

FRAMES = Path(__file__).parent.parent / "frames"
STATES = "hyperliquid_account_state_cross_isolated_zero_2023.jsonl"
LINES = (FRAMES / STATES).read_text().splitlines()
MARKETS = (FRAMES / "hyperliquid_meta_and_contexts.jsonl").read_text().splitlines()[0]


def test_a_cross_long_is_read_with_its_mark_and_its_liquidation_price() -> None:
    read = account(ALICE, LINES[0].encode())

    (held,) = read.positions
    assert (read.time_ms, read.equity) == (1790360864964, Decimal("38252.7"))
    assert (held.symbol, held.size, held.entry_price) == ("BTC", Decimal("4.5"), Decimal("81285.0"))
    assert held.mark_price == Decimal(83926)
    assert held.liquidation_price == Decimal("74501.802790436")
    assert (held.leverage, held.isolated, held.max_leverage) == (10, False, 40)
    assert held.funding == Decimal("982.43637")


def test_an_isolated_position_says_so() -> None:
    (held,) = account(ALICE, LINES[1].encode()).positions

    assert held.isolated
    assert held.mark_price is not None
    assert round(held.mark_price, 4) == Decimal("2985.9")


def test_an_unknown_account_is_empty() -> None:
    read = account(ALICE, LINES[2].encode())

    assert (read.positions, read.equity) == ((), 0)


def test_the_shape_of_2023_is_read_without_what_it_lacks() -> None:
    sent = json.loads(LINES[3])
    sent["time"] = 1679000000000

    read = account(ALICE, json.dumps(sent).encode())

    short = next(one for one in read.positions if one.symbol == "BTC")
    assert len(read.positions) == 12
    assert [one.symbol for one in read.positions] == sorted(one.symbol for one in read.positions)
    assert (short.size < 0, short.max_leverage, short.funding) == (True, None, None)
    assert next(one for one in read.positions if one.symbol == "ETH").liquidation_price is None


def broken(**changes: Any) -> bytes:
    return json.dumps(json.loads(LINES[0]) | changes).encode()


def held(**changes: Any) -> bytes:
    sent = json.loads(LINES[0])
    sent["assetPositions"][0]["position"] |= changes
    return json.dumps(sent).encode()


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"[]",
        b"<html>502 Bad Gateway</html>",
        LINES[0].encode()[:-20],
        b"[" * 5000,
        b"\xff\xfe",
        broken(time="now"),
        broken(time=12),
        broken(marginSummary=None),
        broken(assetPositions={}),
        broken(withdrawable="much"),
        held(szi="NaN"),
        held(szi=4.5),
        held(coin=""),
        held(coin="B\nTC"),
        held(positionValue="1e400"),
        held(liquidationPx="Infinity"),
        broken(assetPositions=json.loads(LINES[0])["assetPositions"] * 2),
        broken(assetPositions=json.loads(LINES[0])["assetPositions"] * 2000),
    ],
)
def test_what_is_no_state_is_refused_with_a_reason(body: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        account(ALICE, body)


def test_a_size_of_zero_is_no_position() -> None:
    assert account(ALICE, held(szi="0.0")).positions == ()


def test_a_liquidation_price_of_zero_is_none() -> None:
    (one,) = account(ALICE, held(liquidationPx="0.0")).positions

    assert one.liquidation_price is None


# -- markets --


def test_marks_and_open_interest_are_read_of_each_coin() -> None:
    read = markets(MARKETS.encode())

    assert read["BTC"] == Market(Decimal("80639.0"), Decimal("36295.80812"))
    assert "MATIC" not in read or read["MATIC"].mark_price > 0


@pytest.mark.parametrize("body", [b"", b"null", b"[]", b"[{}, []]", b'[{"universe":[]}, [{}]]'])
def test_what_tells_no_markets_is_refused(body: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        markets(body)


# -- the observed map --


@pytest.mark.parametrize(
    ("price", "width"),
    [("100000", "100"), ("83926", "100"), ("3000", "2"), ("150", "0.2"), ("0.45", "0.0005")],
)
def test_a_bin_is_about_a_thousandth_of_the_price(price: str, width: str) -> None:
    assert bin_width(Decimal(price)) == Decimal(width)


def drawn(*accounts: Any, markets: dict[str, Market], oi_sides: int = 2) -> Any:
    coins: Sums = {}
    for _ in add_up(coins, accounts, markets, Decimal("0.3")):
        pass
    return list(
        maps(
            coins,
            markets,
            time_ms=1,
            accounts=len(accounts),
            oi_sides=oi_sides,
            created={"BTC": 2},
            consumed={},
        )
    )


def test_positions_lie_in_the_bins_of_their_liquidation_prices() -> None:
    market = {"BTC": Market(Decimal(100_000), Decimal(10))}
    (one,) = drawn(
        state(0, position("BTC", "1", "100000", at="90050")),
        state(0, position("BTC", "-2", "100000", at="90099.9"), address=BOB),
        markets=market,
    )

    assert one.levels == (Level(Decimal(90_000), Decimal(100_000), Decimal(200_000)),)
    assert (one.bin, one.mark_price, one.positions, one.accounts) == (100, 100_000, 2, 2)
    assert (one.created, one.consumed, one.source) == (2, 0, "observed")


def test_what_is_far_away_or_has_no_price_is_summed_up_beside() -> None:
    market = {"BTC": Market(Decimal(100_000), Decimal(10))}
    (one,) = drawn(
        state(0, position("BTC", "1", "100000", at="69999")),
        state(0, position("BTC", "-1", "100000", at="130001"), address=BOB),
        state(0, position("BTC", "3", "100000")),
        markets=market,
    )

    assert one.levels == ()
    assert (one.outside_long, one.outside_short) == (100_000, 100_000)
    assert one.unplaced == 300_000


@pytest.mark.parametrize(("sides", "coverage"), [(2, 0.15), (1, 0.3)])
def test_coverage_is_the_share_of_the_open_interest(sides: int, coverage: float) -> None:
    market = {"BTC": Market(Decimal(100_000), Decimal(10))}
    (one,) = drawn(
        state(0, position("BTC", "3", "100000", at="90000")), markets=market, oi_sides=sides
    )

    assert (one.coverage, one.oi_sides) == (coverage, sides)


def test_without_a_market_coverage_is_unknown_and_the_position_has_its_own_mark() -> None:
    (one,) = drawn(state(0, position("XYZ", "3", "150", at="140")), markets={})

    assert (one.coverage, one.mark_price, one.bin) == (None, None, Decimal("0.2"))


def test_the_map_of_many_accounts_is_made_in_slices() -> None:
    accounts = [state(0, position("BTC", "1", at="90"), address=f"0x{n:040x}") for n in range(500)]

    slices = sum(1 for _ in add_up({}, accounts, {}, Decimal("0.3")))

    assert slices == 10
