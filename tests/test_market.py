"""The vocabulary that exchanges share: exact numbers."""

import re
from decimal import Decimal, Inexact, InvalidOperation, Overflow

import attrs
import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from flowd import market, testing
from flowd.market import (
    EXACT,
    Bucket,
    Candle,
    Fill,
    Instrument,
    Liquidation,
    Total,
    number,
    trimmed,
)
from flowd.values import codec

NUMBERS = st.from_regex(r"-?[0-9]{1,24}(\.[0-9]{1,24})?", fullmatch=True).filter(str.isascii)


@given(NUMBERS)
def test_a_number_is_exactly_what_was_written(text: str) -> None:
    assert codec.plain(number(text)) == codec.plain(Decimal(text))


@pytest.mark.parametrize(
    "text",
    [
        "",
        " 1",
        "1 ",
        "1\n",
        "+1",
        ".5",
        "5.",
        "1e5",
        "1E+3",
        "NaN",
        "sNaN",
        "Infinity",
        "-inf",
        "1_000",
        "1,5",
        "٣",
        "0x10",
        "1" * 25,
        "1." + "1" * 25,
        "--1",
        "-",
    ],
)
def test_what_is_no_plain_number_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="expected a decimal number in a string"):
        number(text)


@pytest.mark.parametrize("thing", [1, 1.5, None, True, Decimal(1), b"1", ["1"]])
def test_a_number_that_is_no_string_is_refused(thing: object) -> None:
    with pytest.raises(ValueError, match="expected a decimal number in a string"):
        number(thing)


def test_the_refusal_shows_only_the_beginning_of_what_came() -> None:
    with pytest.raises(ValueError, match="expected") as caught:
        number("x" * 10_000)

    assert len(str(caught.value)) < 150


@pytest.mark.parametrize(
    ("written", "form"),
    [
        ("0.0071500", "0.00715"),
        ("1.000", "1"),
        ("100", "100"),
        ("1E+3", "1000"),
        ("1.50E+1", "15"),
        ("0.000", "0"),
        ("-0.0", "0"),
        ("0E+9", "0"),
        ("-2.50", "-2.5"),
        ("10.010", "10.01"),
    ],
)
def test_the_trimmed_form_of_a_number(written: str, form: str) -> None:
    assert str(trimmed(Decimal(written))) == form


@given(NUMBERS)
def test_trimming_keeps_the_number_and_gives_equal_numbers_one_form(text: str) -> None:
    value = Decimal(text)

    form = trimmed(value)

    assert form == value
    assert str(trimmed(form)) == str(form)
    assert str(trimmed(Decimal(f"{value:f}" + ("0" if "." in f"{value:f}" else ".0")))) == str(form)
    assert re.fullmatch(r"-?(0|[1-9][0-9]*)(\.[0-9]*[1-9])?", str(codec.plain(form)))


@given(NUMBERS, NUMBERS)
def test_products_of_numbers_are_exact(left: str, right: str) -> None:
    product = EXACT.multiply(number(left), number(right))

    scaled = int(Decimal(left).scaleb(24, EXACT)) * int(Decimal(right).scaleb(24, EXACT))
    assert int(product.scaleb(48, EXACT)) == scaled


def test_arithmetic_that_would_round_is_refused() -> None:
    with pytest.raises(Inexact):
        EXACT.divide(Decimal(1), Decimal(3))


def test_nonsense_and_overflow_are_refused_too() -> None:
    with pytest.raises(InvalidOperation):
        EXACT.add(Decimal("Infinity"), Decimal("-Infinity"))
    with pytest.raises(Overflow):
        EXACT.multiply(Decimal("9E+999999"), Decimal("9E+999999"))


def test_a_liquidation_travels_as_json_and_comes_back() -> None:
    liquidation = Liquidation(
        "BTCUSDT", "SELL", Decimal("43000.50"), Decimal("0.250"), Decimal("10750.125"), 5, "b:1"
    )

    assert codec.loads(codec.dumps(liquidation), Liquidation) == liquidation


def test_the_sums_of_a_bucket_are_plain_numbers() -> None:
    bucket = Bucket("BTCUSDT", "1m", 0, buy=Decimal("1.2500"), sell=Decimal("0.2500"), count=2)

    assert (str(bucket.total), str(bucket.delta)) == ("1.5", "1")


OLDER = {
    Liquidation: b'{"value":{"symbol":"BTCUSDT","side":"SELL","price":"50000","quantity":"0.1",'
    b'"notional":"5000","time_ms":1700000000000,"id":"b:1"}}',
    Candle: b'{"value":{"symbol":"BTCUSDT","interval":"5m","time_ms":0,"close_time_ms":299999,'
    b'"open":"1","high":"2","low":"1","close":"2","volume":"3","quote_volume":"4","trades":5,'
    b'"taker_buy_volume":"1","taker_buy_quote_volume":"1","closed":true}}',
    Fill: b'{"value":{"symbol":"BTC","side":"BUY","price":"1","quantity":"1","notional":"1",'
    b'"time_ms":1,"id":"h:1","address":"0x","dir":"Open Long","pnl":"0","fee":"0",'
    b'"fee_token":"USDC","taker":true,"hash":"0x","role":null,"liquidated_user":null,'
    b'"mark_price":null,"method":null,"inferred":false}}',
    Bucket: b'{"value":{"symbol":"BTCUSDT","timeframe":"1m","time_ms":0,"buy":"1","sell":"0",'
    b'"count":1,"late":false,"backfilled":false,"incomplete":false}}',
    Total: b'{"value":{"volume":"1","count":1,"since_ms":1}}',
}
"""Records as they were saved before venues were noted."""


@pytest.mark.parametrize(
    ("record", "venue"),
    [
        (Liquidation, "binance"),
        (Candle, "binance"),
        (Fill, "hyperliquid"),
        (Bucket, ""),
        (Total, ""),
    ],
)
def test_what_was_saved_before_venues_were_noted_is_still_read(record: type, venue: str) -> None:
    read = codec.loads_value(OLDER[record], record)

    assert read.venue == venue  # type: ignore[attr-defined]


def test_an_older_liquidation_was_a_sample_at_the_price_it_was_filled_at() -> None:
    read = codec.loads_value(OLDER[Liquidation], Liquidation)

    assert (read.price_kind, read.coverage) == ("fill", "sampled")


def test_the_liquidation_in_a_fill_is_hyperliquids_and_one_of_all() -> None:
    fill = evolve(codec.loads_value(OLDER[Fill], Fill), role="liquidated")

    assert fill.liquidation is not None
    assert (fill.liquidation.venue, fill.liquidation.coverage) == ("hyperliquid", "all")


def test_every_market_record_has_a_venue() -> None:
    records = [one for one in vars(market).values() if isinstance(one, type) and attrs.has(one)]

    assert [one.__name__ for one in records if not hasattr(one, "venue")] == ["Level"]


def test_an_instrument_that_is_told_again_is_no_news_in_its_table() -> None:
    told = Instrument(
        "BTCUSDT",
        "okx",
        "BTC",
        "USDT",
        number("0.1"),
        number("0.01"),
        number("0.01"),
        "USDT",
        "live",
        1,
    )
    table = testing.stream("instruments", record=Instrument)

    first = table.append(told, key=told.key)
    again = table.append(evolve(told, time_ms=2), key=told.key)
    other = table.append(evolve(told, tick=number("0.5"), time_ms=3), key=told.key)

    assert first is not None
    assert first.key == "okx/BTCUSDT"
    assert again is None
    assert other is not None
    assert codec.loads(codec.dumps(told), Instrument) == told
