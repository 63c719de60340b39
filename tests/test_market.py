"""The vocabulary that exchanges share: exact numbers."""

import re
from decimal import Decimal, Inexact, InvalidOperation, Overflow

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowd.market import EXACT, Bucket, Liquidation, number, trimmed
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
