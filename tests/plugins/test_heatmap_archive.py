"""Binance's archive of open interest: what is a sample, and what is said of what is none."""

from decimal import Decimal

import pytest
from flowd_heatmap.archive import Refused, samples
from hypothesis import given
from hypothesis import strategies as st

from flowd.market import OpenInterest
from flowd.plugin import UserError

HEADER = (
    "create_time,symbol,sum_open_interest,sum_open_interest_value,"
    "count_toptrader_long_short_ratio,sum_toptrader_long_short_ratio,"
    "count_long_short_ratio,sum_taker_long_short_vol_ratio"
)
ROW = (
    "2023-05-10 00:05:00,BTCUSDT,118133.8250000000000000,3259889834.2200000000000000,"
    "1.2,1.1,1.3,0.9"
)
SHORT = "create_time,symbol,sum_open_interest,sum_open_interest_value"


def read(*lines: str) -> tuple[list[OpenInterest], Refused]:
    refused = Refused()
    return list(samples([f"{line}\n" for line in lines], refused)), refused


def test_a_row_is_a_sample_of_its_time_in_utc() -> None:
    found, refused = read(HEADER, ROW)

    assert found == [
        OpenInterest("BTCUSDT", 1683677100000, Decimal("118133.825"), Decimal("3259889834.22"))
    ]
    assert not refused.counts


@pytest.mark.parametrize(
    ("text", "time_ms"),
    [
        ("1683677100000", 1683677100000),
        ("2023-05-10T00:05:00Z", 1683677100000),
        ("2023-05-10 00:05:00+00:00", 1683677100000),
        ("2023-05-10 00:05:00.250", 1683677100250),
        ("2024-02-29 23:59:59", 1709251199000),
    ],
)
def test_times_are_text_or_milliseconds(text: str, time_ms: int) -> None:
    (sample,), _ = read(SHORT, f"{text},BTCUSDT,1,2")

    assert sample.time_ms == time_ms


def test_columns_are_found_by_their_names_in_any_order() -> None:
    (sample,), _ = read(
        "\ufeffsymbol, Sum_Open_Interest,other,create_time", "ETHUSDT,5,x,1683677100000"
    )

    assert sample == OpenInterest("ETHUSDT", 1683677100000, Decimal(5))


def test_a_value_that_is_left_out_is_unknown() -> None:
    (sample,), refused = read(SHORT, "1683677100000,BTCUSDT,5,")

    assert sample.value is None
    assert not refused.counts


def test_several_files_in_a_row_are_read_as_one() -> None:
    found, refused = read(HEADER, ROW, "", HEADER, ROW.replace("00:05", "00:10"))

    assert [one.time_ms for one in found] == [1683677100000, 1683677400000]
    assert not refused.counts


def test_symbols_need_not_be_ascii() -> None:
    (sample,), _ = read(SHORT, "1683677100000,币安人生USDT,5,6")

    assert sample.symbol == "币安人生USDT"


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ("2023-05-10,BTCUSDT,1,2", "bad time"),
        ("2023-13-10 00:05:00,BTCUSDT,1,2", "bad time"),
        ("2023-05-10 00:05:00+02:00,BTCUSDT,1,2", "bad time"),
        ("1683677100,BTCUSDT,1,2", "bad time"),
        ("1683677100000000,BTCUSDT,1,2", "bad time"),
        ("1950-01-01 00:00:00,BTCUSDT,1,2", "bad time"),
        ("9999-01-01 00:00:00,BTCUSDT,1,2", "bad time"),
        (",BTCUSDT,1,2", "bad time"),
        ("1683677100000,,1,2", "no symbol"),
        ("1683677100000,BTCUSDT,,2", "bad number"),
        ("1683677100000,BTCUSDT,-1,2", "bad number"),
        ("1683677100000,BTCUSDT,nan,2", "bad number"),
        ("1683677100000,BTCUSDT,1,1e5", "bad number"),
        ("1683677100000,BTCUSDT,1", "too few columns"),
        ("1683677100000,BTCUSDT,1,2,3", "too many columns"),
        ("1683677100000,BTCUSDT,1," + "2" * 200_000, "no CSV"),
    ],
)
def test_a_row_that_is_no_sample_is_counted_and_named(row: str, reason: str) -> None:
    found, refused = read(SHORT, "1683677100000,BTCUSDT,1,2", row, "1683677400000,BTCUSDT,1,2")

    assert len(found) == 2
    assert refused.counts == {reason: 1}
    assert refused.first[reason].startswith("line 3: ")
    assert len(refused.first[reason]) < 220


def test_of_many_rows_the_first_is_named() -> None:
    _, refused = read(SHORT, *["soon,BTCUSDT,1,2", "later,BTCUSDT,1,2"])

    assert refused.counts == {"bad time": 2}
    assert refused.first == {"bad time": "line 2: soon,BTCUSDT,1,2"}


@pytest.mark.parametrize("lines", [[], [""], ["<html>"], ["open_time,open,high,low,close"], [ROW]])
def test_what_is_no_such_file_is_refused_with_what_was_expected(lines: list[str]) -> None:
    with pytest.raises(UserError, match="expected the columns create_time, symbol, sum_open"):
        read(*lines)


@given(st.lists(st.text(max_size=40), max_size=20))
def test_no_row_is_a_bug(lines: list[str]) -> None:
    read(SHORT, *lines)
