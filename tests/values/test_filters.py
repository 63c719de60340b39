"""Filters: what a reader wants to see, following from the record's fields."""

from collections.abc import Mapping
from decimal import Decimal
from typing import Literal

import pytest
from attrs import frozen
from hypothesis import given
from hypothesis import strategies as st

from flowd.values.errors import BadRequest
from flowd.values.filters import ALL, VALUES_MAX, Field, Filter, names, parse


@frozen
class Order:
    symbol: str
    side: Literal["BUY", "SELL"]
    notional: Decimal
    count: int = 0
    ratio: float = 0.0
    maker: bool = False
    venue: str | None = None
    limit_price: Decimal | None = None
    tags: list[str] | None = None


ORDERS = st.builds(
    Order,
    symbol=st.sampled_from(["BTCUSDT", "ETHUSDT", "SOLUSDT", "btcusdt"]),
    side=st.sampled_from(["BUY", "SELL"]),
    notional=st.decimals(-1000, 1000, places=2),
    count=st.integers(-5, 5),
    ratio=st.floats(-2, 2),
    maker=st.booleans(),
    venue=st.sampled_from([None, "a", "b"]),
    limit_price=st.none() | st.decimals(0, 10, places=1),
)


def order(symbol: str = "BTCUSDT", **more: object) -> Order:
    settings: dict[str, object] = {"side": "BUY", "notional": Decimal(100), **more}
    return Order(symbol, **settings)  # type: ignore[arg-type]


def fits(wanted: Mapping[str, object], value: object) -> bool:
    where = parse(type(value), wanted).where
    return where is None or bool(where(value))


def attempt(wanted: dict[str, object]) -> Filter | BadRequest:
    try:
        return parse(Order, wanted)
    except BadRequest as refusal:
        return refusal


def test_filters_follow_from_the_fields_of_the_record() -> None:
    assert names(Order) == {
        "symbol": Field("symbol", "equal"),
        "side": Field("side", "equal", ("BUY", "SELL")),
        "min_notional": Field("notional", "min"),
        "max_notional": Field("notional", "max"),
        "min_count": Field("count", "min"),
        "max_count": Field("count", "max"),
        "min_ratio": Field("ratio", "min"),
        "max_ratio": Field("ratio", "max"),
        "maker": Field("maker", "equal"),
        "venue": Field("venue", "equal"),
        "min_limit_price": Field("limit_price", "min"),
        "max_limit_price": Field("limit_price", "max"),
    }


def test_a_record_that_is_no_attrs_class_has_no_filters() -> None:
    assert names(int) == {}


def test_no_wishes_are_the_filter_that_lets_everything_through() -> None:
    assert parse(Order, {}) is ALL
    assert not ALL
    assert ALL.where is None
    assert str(ALL) == ""


def test_a_text_filters_by_equality() -> None:
    assert fits({"symbol": "BTCUSDT"}, order("BTCUSDT"))
    assert not fits({"symbol": "BTCUSDT"}, order("ETHUSDT"))
    assert not fits({"symbol": "BTCUSDT"}, order("btcusdt"))


@pytest.mark.parametrize(
    "wanted", ["BTCUSDT,ETHUSDT", " BTCUSDT , ETHUSDT,", ["BTCUSDT", "ETHUSDT"]]
)
def test_several_values_are_alternatives(wanted: object) -> None:
    assert fits({"symbol": wanted}, order("BTCUSDT"))
    assert fits({"symbol": wanted}, order("ETHUSDT"))
    assert not fits({"symbol": wanted}, order("SOLUSDT"))


def test_several_filters_must_all_fit() -> None:
    wanted = {"symbol": "BTCUSDT", "side": "SELL"}

    assert fits(wanted, order("BTCUSDT", side="SELL"))
    assert not fits(wanted, order("BTCUSDT", side="BUY"))
    assert not fits(wanted, order("ETHUSDT", side="SELL"))


@pytest.mark.parametrize("bound", ["100", "100.00", "1e2", 100, 100.0])
def test_bounds_include_their_number(bound: object) -> None:
    assert fits({"min_notional": bound}, order(notional=Decimal("100")))
    assert fits({"max_notional": bound}, order(notional=Decimal("100")))
    assert not fits({"min_notional": bound}, order(notional=Decimal("99.99")))
    assert not fits({"max_notional": bound}, order(notional=Decimal("100.01")))


@pytest.mark.parametrize(("wanted", "maker"), [("true", True), ("false", False), (True, True)])
def test_truth_is_written_true_and_false(wanted: object, maker: bool) -> None:
    assert fits({"maker": wanted}, order(maker=maker))
    assert not fits({"maker": wanted}, order(maker=not maker))


def test_a_field_without_a_value_passes_no_filter_on_it() -> None:
    assert not fits({"venue": "a"}, order(venue=None))
    assert not fits({"min_limit_price": "0"}, order(limit_price=None))
    assert not fits({"max_limit_price": "9"}, order(limit_price=None))


@pytest.mark.parametrize("number", [Decimal("NaN"), float("nan")])
def test_what_is_no_number_is_within_no_bounds(number: object) -> None:
    assert not fits({"min_notional": "0"}, order(notional=number))
    assert not fits({"max_notional": "0"}, order(notional=number))


def test_an_unknown_filter_is_refused_with_those_there_are() -> None:
    with pytest.raises(BadRequest, match="no filter is called 'coin'") as caught:
        parse(Order, {"coin": "BTC"})

    assert caught.value.parameter == "coin"
    assert caught.value.value == "BTC"
    assert "symbol" in caught.value.allowed


@pytest.mark.parametrize("wanted", ["HOLD", "BUY,HOLD", "buy", ["BUY", 5]])
def test_a_value_that_the_field_never_has_is_refused_with_those_it_has(wanted: object) -> None:
    with pytest.raises(BadRequest, match="side is never") as caught:
        parse(Order, {"side": wanted})

    assert caught.value.allowed == ("BUY", "SELL")


@pytest.mark.parametrize("wanted", ["", " ", ",", ",,", [], [""]])
def test_a_filter_without_a_value_is_refused(wanted: object) -> None:
    with pytest.raises(BadRequest, match="between 1 and"):
        parse(Order, {"symbol": wanted})


def test_a_filter_lists_at_most_so_many_values() -> None:
    values = [f"S{n}" for n in range(VALUES_MAX)]

    assert parse(Order, {"symbol": values})
    with pytest.raises(BadRequest, match=f"between 1 and {VALUES_MAX}"):
        parse(Order, {"symbol": [*values, "ONE"]})


@pytest.mark.parametrize(
    "wanted", ["much", "1,2", "NaN", "Infinity", "-Infinity", "1e40", "1e-40", "sNaN", "0x1"]
)
def test_a_bound_that_is_no_decent_number_is_refused(wanted: str) -> None:
    with pytest.raises(BadRequest, match="one decimal number") as caught:
        parse(Order, {"min_notional": wanted})

    assert caught.value.parameter == "min_notional"


@pytest.mark.parametrize(
    ("wanted", "fine"),
    [("1e29", True), ("1e30", False), ("1e-29", True), ("1e-30", False), ("0", True)],
)
def test_a_bound_has_at_most_thirty_digits(wanted: str, fine: bool) -> None:
    assert isinstance(attempt({"min_notional": wanted}), Filter) is fine


def test_filters_that_want_the_same_are_the_same() -> None:
    one = parse(Order, {"symbol": "ETHUSDT,BTCUSDT,ETHUSDT", "side": "BUY"})
    two = parse(Order, {"side": ["BUY"], "symbol": [" BTCUSDT", "ETHUSDT"]})

    assert one == two
    assert hash(one) == hash(two)
    assert str(one) == "side=BUY&symbol=BTCUSDT,ETHUSDT"


def test_filters_that_want_different_things_differ() -> None:
    assert parse(Order, {"symbol": "A"}) != parse(Order, {"symbol": "B"})
    assert parse(Order, {"min_count": "1"}) != parse(Order, {"max_count": "1"})
    assert Filter() == ALL


@given(
    ORDERS,
    st.sets(st.sampled_from(["BTCUSDT", "ETHUSDT", "XRPUSDT"]), min_size=1),
    st.decimals(-1000, 1000, places=2),
    st.decimals(-1000, 1000, places=2),
    st.integers(-5, 5),
)
def test_a_filter_lets_through_exactly_what_its_words_say(
    value: Order, symbols: set[str], low: Decimal, high: Decimal, count: int
) -> None:
    wanted: dict[str, object] = {
        "symbol": ",".join(symbols),
        "min_notional": str(low),
        "max_notional": str(high),
        "min_count": count,
    }

    assert fits(wanted, value) == (
        value.symbol in symbols and low <= value.notional <= high and value.count >= count
    )


@given(st.dictionaries(st.sampled_from(sorted(names(Order))), st.text(max_size=12), max_size=4))
def test_any_wish_is_a_filter_or_a_bad_request(wanted: dict[str, object]) -> None:
    found = attempt(wanted)

    if isinstance(found, BadRequest):
        assert found.parameter in wanted
    else:
        assert [name for name, _ in found.terms] == sorted(wanted)


@pytest.mark.parametrize("value", [{"a": 1}, {}, [{"a": 1}], [["BTCUSDT"]], None, [None]])
def test_a_value_is_no_object(value: object) -> None:
    with pytest.raises(BadRequest, match="needs between"):
        parse(Order, {"symbol": value})


def test_a_comma_that_belongs_to_a_value_has_a_backslash() -> None:
    assert fits({"symbol": "A\\,B,C"}, order("A,B"))
    assert fits({"symbol": "A\\,B,C"}, order("C"))
    assert not fits({"symbol": "A\\,B,C"}, order("A"))
    assert fits({"symbol": ["A,B"]}, order("A,B"))
