"""Values to JSON and back, decimals digit by digit."""

import json
from decimal import Decimal
from typing import Literal

import pytest
from attrs import field, frozen
from hypothesis import given
from hypothesis import strategies as st

from flowd.values import codec
from flowd.values.errors import Unusable


@frozen
class Level:
    price: Decimal
    quantity: Decimal


@frozen
class Book:
    symbol: str
    bids: list[Level]
    best: Level | None = None
    side: Literal["BUY", "SELL"] = "BUY"
    open: bool = True
    depth: int = 0
    tags: dict[str, int] = field(factory=dict)


FINITE = st.decimals(allow_nan=False, allow_infinity=False, places=None).filter(
    lambda number: abs(number.adjusted()) < 60
)


@given(FINITE)
def test_a_decimal_travels_as_a_string_and_comes_back_equal(number: Decimal) -> None:
    data = codec.dumps(Level(number, number))

    assert codec.loads(data, Level) == Level(number, number)
    assert isinstance(json.loads(data)["price"], str)


@given(FINITE)
def test_plain_notation_has_no_exponent(number: Decimal) -> None:
    text = codec.plain(number)

    assert set(text) <= set("-.0123456789")
    assert Decimal(text) == number


@given(st.from_regex(r"(0|[1-9][0-9]{0,11})(\.[0-9]{1,12})?", fullmatch=True))
def test_the_digits_of_a_decimal_are_kept_as_they_were_given(text: str) -> None:
    data = codec.dumps(Level(Decimal(text), Decimal(0)))

    assert json.loads(data)["price"] == text
    assert str(codec.loads(data, Level).price) in (text, f"{Decimal(text)}")


@pytest.mark.parametrize(
    ("number", "text"),
    [("1E+3", "1000"), ("0.100", "0.100"), ("1E-7", "0.0000001"), ("-2.50", "-2.50")],
)
def test_plain_notation_by_example(number: str, text: str) -> None:
    assert codec.plain(Decimal(number)) == text


def test_fields_come_in_the_order_in_which_the_class_declares_them() -> None:
    book = Book("BTCUSDT", [Level(Decimal("1.0"), Decimal("2"))], tags={"a": 1})

    assert codec.dumps(book) == (
        b'{"symbol":"BTCUSDT","bids":[{"price":"1.0","quantity":"2"}],"best":null,'
        b'"side":"BUY","open":true,"depth":0,"tags":{"a":1}}'
    )


def test_a_nested_value_comes_back_whole() -> None:
    level = Level(Decimal("1.0"), Decimal("2"))
    book = Book("BTCUSDT", [level, level], level, "SELL", False, 3, {"a": 1})

    assert codec.loads(codec.dumps(book), Book) == book


def test_to_plain_is_what_the_json_says() -> None:
    book = Book("BTCUSDT", [Level(Decimal("1.0"), Decimal("2"))])

    assert codec.to_plain(book) == json.loads(codec.dumps(book))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"nonsense",
        b"[]",
        b"1",
        b"null",
        b"{}",
        b'{"price":"1"}',
        b'{"price":"1","quantity":"many"}',
        b'{"price":"1","quantity":1.5}',
        b'{"price":"1","quantity":null}',
        b'{"price":"1","quantity":["1"]}',
        b"\xff\xfe",
    ],
)
def test_json_that_does_not_fit_is_a_value_error_which_names_the_class(data: bytes) -> None:
    with pytest.raises(ValueError, match="not a Level"):
        codec.loads(data, Level)


def test_a_literal_with_another_word_does_not_fit() -> None:
    with pytest.raises(ValueError, match="not a Book"):
        codec.loads(b'{"symbol":"B","bids":[],"side":"HOLD"}', Book)


def test_the_value_of_a_record_is_found_in_its_json() -> None:
    data = b'{"seq":1,"time_ms":2,"value":{"price":"1","quantity":"2"}}'

    assert codec.loads_value(data, Level) == Level(Decimal(1), Decimal(2))


@pytest.mark.parametrize(
    "data", [b"[]", b"{}", b'{"value":1}', b'{"value":null}', b"{", b'"value"']
)
def test_a_record_without_a_fitting_value_is_a_value_error(data: bytes) -> None:
    with pytest.raises(ValueError, match="not a Level"):
        codec.loads_value(data, Level)


def test_a_whole_number_will_do_where_a_decimal_is_expected() -> None:
    assert codec.loads(b'{"price":5,"quantity":"2"}', Level).price == Decimal(5)


def test_plain_python_values_are_encoded_and_decoded() -> None:
    value = {"a": [1, "ü", None, True]}

    assert codec.decode(codec.encode(value)) == value


def test_bad_json_is_a_value_error() -> None:
    with pytest.raises(ValueError, match="malformed"):
        codec.decode(b"{nonsense")


@pytest.mark.parametrize("text", ["[" * 20_000, '{"a":' * 20_000, "[" * 20_000 + "]" * 20_000])
def test_what_is_nested_too_deeply_is_no_json(text: str) -> None:
    for data in (text, text.encode()):
        with pytest.raises(ValueError):  # noqa: PT011
            codec.decode(data)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "not JSON"),
        ("<html>", "not JSON"),
        (b"\xff", "not JSON"),
        ("[" * 100_000, "not JSON"),
        ("[1]", "not an object"),
        ("null", "not an object"),
        ("5", "not an object"),
    ],
)
def test_a_message_without_an_object_is_unusable(text: str | bytes, reason: str) -> None:
    with pytest.raises(Unusable) as unusable:
        codec.decode_object(text)

    assert unusable.value.reason == str(unusable.value) == reason


def test_the_object_in_a_message_is_read() -> None:
    assert codec.decode_object(b'{"op": "pong", "id": 1}') == {"op": "pong", "id": 1}
