"""OKX's liquidations and instruments: what is recorded, what a contract is, what is listed."""

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import trio
from flowd_okx import Config, listed
from flowd_okx.parse import Order, Swap, liquidation, orders, swaps, told
from hypothesis import given
from hypothesis import strategies as st

from flowd import testing
from flowd.market import Instrument, Liquidation
from flowd.plugin import Unusable, UpstreamError, codec
from tests.plugins.okx_kit import (
    BTC,
    ETH,
    INSTRUMENTS,
    INVERSE,
    bad,
    detail,
    frame,
    good,
    item,
    row,
)

FRAMES = Path(__file__).parents[1] / "frames"
NOW_MS = 1_792_000_000_000


def text(name: str) -> str:
    return (FRAMES / f"okx_{name}").read_text(encoding="utf-8")


def read(line: str) -> list[Order | str]:
    """What a frame holds; of what cannot be used, the reason."""
    return [
        one.reason if isinstance(one, Unusable) else one
        for one in told(codec.decode_object(line), NOW_MS)
    ]


def contract(family: str, size: str) -> Swap:
    (found,) = swaps([row(family, size)], NOW_MS)
    return found


RECORDED = {
    one.id: one
    for one in swaps(json.loads(text("rest_instruments_inverse_and_linear.json"))["data"], NOW_MS)
}


# -- what is recorded --


@pytest.mark.parametrize(
    ("line", "family", "size", "side", "quantity", "notional", "time_ms"),
    [
        (0, "LA-USDT", "1", "SELL", "508", "26.24836", 1786221914184),
        (1, "CNPY-USDT", "1", "BUY", "2137", "889.4194", 1789669898955),
        (2, "BTC-USDT", "0.01", "SELL", "0.0855", "7067.06235", 1791565600771),
        (3, "COAI-USDT", "1", "SELL", "2532", "20030.652", 1761105581663),
        (4, "APT-USDT", "1", "SELL", "86", "495.446", 1723904954052),
        (5, "APT-USDT", "0.1", "SELL", "20.5", "118.0349", 1723904962637),
    ],
)
def test_a_recorded_order_is_read_in_base_units(
    line: int, family: str, size: str, side: str, quantity: str, notional: str, time_ms: int
) -> None:
    (order,) = read(text("longs_and_shorts.jsonl").splitlines()[line])

    assert isinstance(order, Order)
    found = liquidation(order, contract(family, size))
    assert (found.symbol, found.side, found.time_ms) == (family.replace("-", ""), side, time_ms)
    assert (str(found.quantity), str(found.notional)) == (quantity, notional)


def test_a_sample_is_told_at_the_mark_price() -> None:
    (order,) = read(text("longs_and_shorts.jsonl").splitlines()[2])

    assert isinstance(order, Order)
    found = liquidation(order, RECORDED["BTC-USDT-SWAP"])
    assert (found.venue, found.price_kind, found.coverage) == ("okx", "mark", "sampled")
    assert found.id == "o:BTC-USDT-SWAP:1791565600771:sell:8.55:82655.7"


def test_a_future_that_is_margined_in_its_coin_is_no_linear_perpetual() -> None:
    assert read(text("inverse_future.jsonl")) == ["not linear USDT perpetual"]


def test_the_documented_order_has_an_id_more_and_is_bought() -> None:
    (order,) = read(text("documented_with_id.jsonl"))

    assert isinstance(order, Order)
    assert (order.contract, order.side, order.size) == ("IOST-USDT-SWAP", "BUY", Decimal(13))


def test_a_page_of_the_history_holds_every_order_of_its_seconds() -> None:
    page = json.loads(text("rest_several_in_a_second.json"))["data"]

    found = [
        liquidation(one, RECORDED["BTC-USDT-SWAP"])
        for one in orders(page, NOW_MS)
        if isinstance(one, Order)
    ]

    def notional(side: str) -> Decimal:
        return sum((one.notional for one in found if one.side == side), Decimal(0))

    assert len(found) == len({one.id for one in found}) == 25
    assert sum(one.quantity for one in found) == Decimal("4.7594")
    assert notional("SELL") == Decimal("395373.73819")
    assert notional("BUY") == Decimal("192.15453")


def test_what_begins_like_a_known_contract_is_another() -> None:
    (order,) = read(frame(item(detail(), family="BTC-USD")))

    assert isinstance(order, Order)
    with pytest.raises(Unusable, match="not linear USDT perpetual"):
        liquidation(order, RECORDED["BTC-USD-SWAP"])


@pytest.mark.parametrize(
    ("side", "position", "read_as", "contradicts"),
    [
        ("sell", "long", "SELL", False),
        ("buy", "short", "BUY", False),
        ("sell", "net", "SELL", False),
        ("buy", "long", "BUY", True),
        (None, "long", "SELL", False),
        ("", "short", "BUY", False),
        ("sell", None, "SELL", False),
    ],
)
def test_the_order_s_side_counts_and_the_position_s_where_that_is_missing(
    side: str | None, position: str | None, read_as: str, contradicts: bool
) -> None:
    (order,) = read(frame(item(detail(side=side, posSide=position))))

    assert isinstance(order, Order)
    assert (order.side, order.contradicts) == (read_as, contradicts)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"side": "SELL"}, "unknown side"),
        ({"side": None, "posSide": "net"}, "unknown side"),
        ({"side": ["sell"]}, "unknown side"),
        ({"sz": "0"}, "bad number"),
        ({"sz": "-8.55"}, "bad number"),
        ({"sz": None}, "bad number"),
        ({"bkPx": ""}, "bad number"),
        ({"bkPx": 82655.7}, "bad number"),
        ({"ts": NOW_MS}, "bad time"),
        ({"ts": ""}, "bad time"),
        ({"ts": "0"}, "bad time"),
        ({"ts": str(NOW_MS + 60_001)}, "in the future"),
    ],
)
def test_one_bad_order_loses_none_of_the_others(changes: dict[str, Any], reason: str) -> None:
    found = read(
        frame(item(detail(sz="1"), detail(**changes), detail(sz="2")), item(detail(sz="3")))
    )

    assert [one if isinstance(one, str) else str(one.size) for one in found] == [
        *("1", reason, "2", "3")
    ]


def test_one_bad_item_loses_none_of_the_others() -> None:
    found = read(frame({"details": 5}, item(detail(sz="1")), {}))

    assert [one if isinstance(one, str) else str(one.size) for one in found] == [
        *("malformed", "1", "malformed")
    ]


def test_another_channel_is_not_read_as_this_one() -> None:
    assert read('{"arg":{"channel":"trades"},"data":[{"px":"1"}]}') == ["unknown channel"]


def test_digits_without_end_are_a_bad_number_and_no_crash() -> None:
    digits = "9" * 24 + "." + "9" * 24
    (order,) = read(frame(item(detail(sz=digits, bkPx=digits))))

    assert isinstance(order, Order)
    with pytest.raises(Unusable, match="bad number"):
        liquidation(order, contract("BTC-USDT", digits))


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(), st.lists))
def test_nothing_in_a_message_breaks_the_reader(data: Any) -> None:
    assert all(isinstance(one, str) for one in read(frame(data)))


# -- what is listed --


def test_a_contract_is_as_large_as_value_times_multiplier() -> None:
    assert RECORDED["BTC-USDT-SWAP"].instrument == Instrument(
        "BTCUSDT", "okx", "BTC", "USDT", Decimal("0.1"), Decimal("0.01"), Decimal("0.01"),
        "USDT", "live", NOW_MS,
    )  # fmt: skip
    (found,) = swaps([row("DOGE-USDT", "1000", ctMult="0.1")], NOW_MS)
    assert found.instrument is not None
    assert found.instrument.contract == 100


@pytest.mark.parametrize(
    "other",
    [
        INVERSE,
        row("BTC-USDC", "0.0001"),
        row("BTC-USDT", settleCcy="USDC"),
        row("BTC-USDT", ctValCcy="ETH"),
    ],
)
def test_a_contract_of_another_kind_is_known_and_not_used(other: dict[str, Any]) -> None:
    (found,) = swaps([other], NOW_MS)

    assert found.instrument is None


@pytest.mark.parametrize(
    "broken", [row("BTC-USDT", ""), row("BTC-USDT", "0"), row("BTC-USDT", ctMult=None), {}, 5]
)
def test_a_contract_whose_size_is_not_told_stays_unknown(broken: Any) -> None:
    assert swaps([broken, ETH], NOW_MS) == swaps([ETH], NOW_MS)


async def test_linear_perpetuals_are_in_the_table_of_instruments(autojump_clock: object) -> None:
    answers = testing.turns(good(INVERSE, BTC, ETH), good(BTC))
    feed = testing.feed(record=Instrument, rest=testing.rest({INSTRUMENTS: answers}))

    with trio.move_on_after(1):
        await listed.instruments(listed.Config(), feed)
    first = [one.key for one in feed.values]
    with trio.move_on_after(1):
        await listed.instruments(listed.Config(), feed)

    assert first == ["okx/BTCUSDT", "okx/ETHUSDT"]
    assert [one.key for one in feed.values] == ["okx/BTCUSDT"]
    assert feed.tally.published == 2
    assert feed.rest.requests[0].query == {"instType": "SWAP"}


@pytest.mark.parametrize(
    ("answer", "words", "retry_s"),
    [
        (bad("51155", "Local compliance restrictions"), "refused: OKX answers 51155 Local", 600),
        (testing.Reply(403, "<html>"), "refused: OKX answers .* HTTP 403", 600),
        (bad("50011", "Too Many Requests"), "asked too much, again and again", 0),
        (testing.Reply(429), "asked too much, again and again", 0),
        (bad("51000", "Parameter instType error"), "51000 Parameter instType", 0),
        (testing.Reply(404), "HTTP 404", 0),
        (testing.Reply(502, "<html>"), "HTTP 502", 0),
        (b"<html>", "HTTP 200", 0),
        ({"code": "0", "data": {}}, "expected a list", 0),
        (good(), "lists no perpetual contract", 0),
        (OSError("nobody there"), "nobody there", 0),
    ],
)
async def test_a_list_that_cannot_be_had_says_why(
    autojump_clock: object, answer: Any, words: str, retry_s: float
) -> None:
    feed = testing.feed(record=Instrument, rest=testing.rest({INSTRUMENTS: answer}))

    with pytest.raises(UpstreamError, match=words) as raised:
        await listed.instruments(listed.Config(), feed)

    assert raised.value.retry_s == retry_s


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"symbols": []}, "at least one symbol"),
        ({"symbols": ["*", "BTCUSDT"]}, "already means all"),
        ({"symbols": ["BTC-USDT-SWAP"]}, "BTC-USDT-SWAP is BTCUSDT here"),
        ({"symbols": ["*"], "url": "wss://ws.okx.com:8443/ws/v5/public"}, "closed port 8443"),
        ({"symbols": ["*"], "url": "https://ws.okx.com"}, 'such as "wss://'),
        ({"symbols": ["*"], "rest_url": "wss://okx.com"}, 'such as "https://'),
        ({"symbols": ["*"], "ping_every": 30.0}, "expected 1s to 25s"),
        ({"symbols": ["*"], "silence": 20.0}, "more than ping_every"),
    ],
)
def test_a_setting_that_cannot_work_is_refused(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Config(**settings)


def test_liquidations_survive_being_saved() -> None:
    (order,) = read(text("longs_and_shorts.jsonl").splitlines()[2])
    assert isinstance(order, Order)
    found = liquidation(order, RECORDED["BTC-USDT-SWAP"])

    assert codec.loads(codec.dumps(found), Liquidation) == found
