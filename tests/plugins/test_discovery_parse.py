"""Hyperliquid's messages: what is recorded, and what cannot be used."""

import json
from contextlib import suppress
from decimal import Decimal
from typing import Any

import pytest
from flowd_hyperliquid.parse import Echo, Objection, echo, message, objection
from flowd_hyperliquid.parse import trade as made
from hypothesis import given
from hypothesis import strategies as st

from flowd.market import Trade
from flowd.plugin import Unusable
from flowd.traders import address_of
from tests.plugins.discovery_kit import account, echoed, frames, refused, sent, told


def read(text: str) -> list[Trade]:
    """The trades of a message, all of which can be used."""
    found = message(text)
    assert found.channel == "trades"
    assert found.bad == []
    return [made(one) for one in found.trades]


def refusal(one: Any) -> str:
    """Why a trade is refused, wherever that is noticed."""
    found = message(told(one, sent(7)))
    reasons = [bad.reason for bad in found.bad]
    for item in found.trades:
        try:
            good = made(item)
        except Unusable as error:
            reasons.append(error.reason)
    (reason,) = reasons
    assert good.id.endswith(":1007"), "the good one behind it is still there"
    return reason


# -- what is recorded


def test_the_recorded_old_trades_are_thirty_and_in_order() -> None:
    first, *later = [read(line) for line in frames("trades_2026-09-27")]

    assert [len(first), *map(len, later)] == [30, 2, 1]
    assert [trade.time_ms for trade in first] == sorted(trade.time_ms for trade in first)
    assert first[0] == Trade(
        symbol="BTC",
        side="SELL",
        price=Decimal("84502.0"),
        quantity=Decimal("0.00303"),
        notional=Decimal("256.04106"),
        time_ms=1790488093562,
        id="hl:1790488093562:BTC:390029514147266",
        venue="hyperliquid",
        buyer="0x4588595ee0047982cd5ca4a82ab69c3174fbc832",
        seller="0x2820501b4ad59d873a450d2b77d24834b57a37b0",
    )


def test_every_recorded_trade_has_an_id_of_its_own_though_blocks_share_their_time() -> None:
    lines = frames("trades_2026-09-27") + frames("trades_more") + frames("trades_2024_no_users")

    found = [trade for line in lines for trade in read(line)]

    assert len({trade.id for trade in found}) == len(found) == 43
    assert len({trade.time_ms for trade in found}) < len(found)


def test_recorded_trades_of_2024_name_nobody() -> None:
    found = [trade for line in frames("trades_2024_no_users") for trade in read(line)]

    assert [trade.symbol for trade in found] == ["FXS", "FXS", "BTC", "BTC", "BTC", "BTC"]
    assert {(trade.buyer, trade.seller) for trade in found} == {(None, None)}


def test_the_side_is_the_aggressors() -> None:
    bought, sold = read(frames("trades_more")[1])

    assert (bought.side, sold.side) == ("BUY", "SELL")
    assert bought.buyer == "0x10d944a35f99c141b9121ec3693000531825bef8"


def test_recorded_control_messages_are_echoes_a_pong_and_an_error() -> None:
    found = [message(line) for line in frames("control")]

    assert [one.channel for one in found] == ["subscriptionResponse"] * 5 + ["pong", "error"]
    assert [echo(one.data) for one in found[:5]] == [
        Echo("subscribe", "trades", "BTC"),
        Echo("subscribe", "l2Book", "BTC"),
        Echo("subscribe", "activeAssetCtx", "BTC"),
        Echo("subscribe", "candle", "BTC"),
        Echo("subscribe", "userFills", None),
    ]
    assert objection(found[6].data) == Objection("other", "trades", "ETH")


def test_recorded_messages_of_other_channels_are_told_by_their_channel() -> None:
    found = [message(line).channel for line in frames("asset_ctx_candle")]

    assert found == ["activeAssetCtx"] * 3 + ["candle"] * 2


# -- echoes and errors


def test_an_echo_is_matched_by_what_it_means_not_by_its_text() -> None:
    text = echoed("kPEPE", nSigFigs=None, fast=False)

    assert echo(message(text).data) == Echo("subscribe", "trades", "kPEPE")


@pytest.mark.parametrize("data", [None, "", [], {}, {"method": 1}, {"method": "subscribe"}])
def test_an_echo_of_nothing_is_malformed(data: Any) -> None:
    with pytest.raises(Unusable, match="malformed"):
        echo(data)


@pytest.mark.parametrize(
    ("text", "kind", "coin"),
    [
        ('Already subscribed: {"type":"trades","coin":"BTC"}', "already subscribed", "BTC"),
        ('Invalid subscription {"type":"trades","coin":"xyz:NONE"}', "refused", "xyz:NONE"),
        (
            'Error parsing JSON into valid websocket request: {"method":"subscribe",'
            '"subscription":{"type":"trades","coin":"X"}}',
            "refused",
            "X",
        ),
        ("Invalid subscription {broken", "refused", None),
        ("Invalid subscription", "refused", None),
        ("Too many subscriptions", "other", None),
    ],
)
def test_an_error_tells_which_coin_it_is_about(text: str, kind: Any, coin: str | None) -> None:
    found = objection(text)

    assert (found.kind, found.coin) == (kind, coin)


def test_an_error_may_be_anything() -> None:
    assert objection({"code": 3}) == Objection("other", None, None)
    assert objection(json.loads(refused("ZZZ"))["data"]).coin == "ZZZ"


# -- what cannot be used


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"coin": None}, "bad coin"),
        ({"coin": ""}, "bad coin"),
        ({"coin": "B\n"}, "bad coin"),
        ({"coin": "B" * 65}, "bad coin"),
        ({"coin": 7}, "bad coin"),
        ({"side": "S"}, "unknown side"),
        ({"side": None}, "unknown side"),
        ({"px": None}, "bad number"),
        ({"px": 100.5}, "bad number"),
        ({"px": "1e5"}, "bad number"),
        ({"px": "-1"}, "bad number"),
        ({"px": "NaN"}, "bad number"),
        ({"px": "1" * 19}, "bad number"),
        ({"sz": "0.0"}, "not positive"),
        ({"px": "0"}, "not positive"),
        ({"time": 1_700_000_000}, "bad time"),
        ({"time": 10**17}, "bad time"),
        ({"time": "1700000000000"}, "bad time"),
        ({"tid": -1}, "bad tid"),
        ({"tid": None}, "bad tid"),
        ({"users": [account(1)]}, "bad users"),
        ({"users": "nobody"}, "bad users"),
        ({"users": [1, 2]}, "bad users"),
    ],
)
def test_a_trade_that_cannot_be_used_costs_the_others_nothing(changes: Any, reason: str) -> None:
    assert refusal(sent(**changes)) == reason


@pytest.mark.parametrize("one", [None, 1, "x", []])
def test_what_is_no_trade_is_malformed(one: Any) -> None:
    assert refusal(one) == "malformed"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("Websocket connection established.", "not JSON"),
        ("{", "not JSON"),
        (b"\xff", "not JSON"),
        ("[]", "not an object"),
        ('{"channel":"trades"}', "not a list"),
        ('{"channel":"trades","data":{}}', "not a list"),
        ("[" * 100_000, "not JSON"),
    ],
)
def test_a_message_that_is_none_is_refused(text: str | bytes, reason: str) -> None:
    with pytest.raises(Unusable, match=reason):
        message(text)


def test_a_channel_may_be_missing() -> None:
    assert message("{}").channel == message('{"channel":7}').channel == ""


def test_a_party_that_is_no_address_is_left_out_and_the_trade_is_not() -> None:
    (found,) = read(told(sent(users=["0x123", account(2)])))

    assert (found.buyer, found.seller) == (None, account(2))


def test_addresses_are_compared_in_lower_case() -> None:
    assert address_of("0x" + "Ab" * 20) == "0x" + "ab" * 20
    assert address_of("0X" + "ab" * 20) is None
    assert address_of("0x" + "ab" * 20 + "\n") is None
    assert address_of("0x" + "٣" * 40) is None


@given(st.text() | st.binary())
def test_whatever_comes_is_a_message_or_refused(text: str | bytes) -> None:
    with suppress(Unusable):
        message(text)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
        max_leaves=10,
    )
)
def test_whatever_a_field_holds_the_trade_is_made_or_refused(value: Any) -> None:
    for name in ("coin", "side", "px", "sz", "time", "tid", "users"):
        found = message(told(sent(**{name: value} if value is not None else {name: [None]})))
        for one in found.trades:
            with suppress(Unusable):
                made(one)
