"""Hydromancer's rows: what is recorded, what is documented, which side of a liquidation a row is,
and what cannot be used.
"""

import json
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import flowd_hydromancer
import pytest
from flowd_hydromancer import Config
from flowd_hydromancer.frames import Bad, Frame, decode
from flowd_hydromancer.parse import fill, inferred, trade
from hypothesis import given
from hypothesis import strategies as st

from flowd.market import EXACT, Fill, Total
from flowd.plugin import Secret, Unusable, codec
from flowd.setup.config import parse
from flowd.testing import registry
from flowd.values.errors import UserError
from tests.plugins.hydromancer_kit import (
    KEY,
    MAKER,
    THIRD,
    UPSTREAM,
    WHALE,
    block,
    config,
    counterparty,
    frames,
    liquidated,
    row,
    stamp,
)


def read(*rows: Any) -> list[Fill]:
    """The fills in a message with these rows; all of them can be used."""
    frame, bad = decode(block(1, *rows))
    assert bad == []
    return [fill(*item) for item in frame.items]


def refusal(sent: Any) -> str:
    """The reason for which a row is refused, wherever that is noticed."""
    frame, bad = decode(block(1, sent, row(7)))
    for item in frame.items:
        try:
            fill(*item)
        except Unusable as error:
            bad.append(Bad(error.reason, item))
    (one,) = bad
    assert len(frame.items) >= 1, "the good row behind it is still there"
    return one.reason


# -- what is recorded and documented --


def test_every_documented_message_of_the_server_is_a_frame() -> None:
    kinds = [decode(text)[0].kind for text in frames("hydromancer_documented")]

    assert kinds == [
        *("connected", "connected", "subscribe", "subscribe", "unsubscribe"),
        *("subscriptionUpdate", "subscriptionUpdate", "liquidationFills", "allFills"),
        *("ping", "pong", "reconnected", "replay", "error", "error"),
    ]


def test_the_documented_liquidation_is_read_as_it_says() -> None:
    (frame, bad) = decode(frames("hydromancer_documented")[7])

    ((address, sent),) = frame.items
    found = fill(address, sent)

    assert bad == []
    assert (frame.seq, frame.cursor) == (1, "500:1704067200000:3")
    assert found == Fill(
        symbol="ETH",
        side="BUY",
        price=Decimal("2150.50"),
        quantity=Decimal("1.5"),
        notional=Decimal("3225.75"),
        time_ms=1704067200000,
        id="h:1704067200000:ETH:87654321:0x742d35cc6634c0532925a3b844bc9e7595f7f2e2",
        address="0x742d35cc6634c0532925a3b844bc9e7595f7f2e2",
        dir="Open Long",
        pnl=Decimal("125.50"),
        fee=Decimal("2.50"),
        fee_token="USDC",
        taker=False,
        hash="0xabc...def",
        role="liquidated",
        liquidated_user="0x742d35cc6634c0532925a3b844bc9e7595f7f2e2",
        mark_price=Decimal("2150.00"),
        method="market",
        start_position=Decimal("1.5"),
    )


def test_the_documented_replay_holds_the_same_fill() -> None:
    documented = [decode(text)[0] for text in frames("hydromancer_documented")]

    (live,), (replayed,) = documented[7].items, documented[12].items

    assert fill(*live) == fill(*replayed)
    assert documented[12].has_gap is False


def test_a_part_of_a_block_says_which_part_it_is() -> None:
    frame, _ = decode(frames("hydromancer_documented")[8])

    assert (frame.chunk, frame.total_chunks, frame.batch_id) == (1, 3, 7)
    assert (frame.seq, frame.items) == (42, [])


def test_a_recorded_stamp_that_names_somebody_else_marks_the_counterparty() -> None:
    ((address, sent),) = json.loads(frames("hyperliquid_node_fills")[0])["events"]

    (found,) = read([address, sent])

    assert (found.symbol, found.side, found.role) == ("SOL", "SELL", "counterparty")
    assert found.liquidated_user == "0x5ef843ccf26810073ee689a954f6d05f5b48fccb"
    assert found.fee == Decimal("-0.001255"), "a rebate"
    assert found.liquidation is None


def test_both_sides_of_a_recorded_spot_trade_are_two_fills_of_one_trade() -> None:
    bought, sold = read(*json.loads(frames("hyperliquid_node_fills")[1])["events"])

    assert (bought.side, bought.fee_token, bought.taker) == ("BUY", "UBTC", True)
    assert (sold.side, sold.fee_token, sold.taker) == ("SELL", "USDC", False)
    assert trade(bought) == trade(sold) == "h:1754017199857:@142:343451763467020:"
    assert bought.id != sold.id
    assert bought.notional == Decimal("11.5865")


def test_recorded_fills_of_2026_are_a_counterparty_and_three_plain_trades() -> None:
    sent = json.loads((UPSTREAM / "hyperliquid_user_fills_2026.json").read_text(encoding="utf-8"))

    found = read(*([WHALE, one] for one in sent))

    assert [(one.symbol, one.dir, one.role) for one in found] == [
        ("xyz:CRWV", "Open Short", "counterparty"),
        ("ARB", "Open Long", None),
        ("@156", "Buy", None),
        ("@142", "Spot Dust Conversion", None),
    ]
    assert found[3].id == f"h:1762732800049:@142:0:{WHALE}"
    assert found[3].quantity == Decimal("0.0000086141")


def test_recorded_fills_without_a_trade_number_are_told_apart_by_what_they_are() -> None:
    file = UPSTREAM / "hyperliquid_user_fills_2023_without_tid.json"
    sent = json.loads(file.read_text(encoding="utf-8"))

    found = read(*([WHALE, one] for one in sent))

    assert len({one.id for one in found}) == len(sent) == 40
    assert found[0].id == f"h:1683245884863:None:SUI:189324432:{WHALE}:1.3189:142.7"
    assert trade(found[0]) == "", "no trade that another row could belong to"
    assert {one.fee_token for one in found} == {"USDC"}


# -- which side --


@pytest.mark.parametrize(
    ("sent", "role", "forced"),
    [
        pytest.param(row(), None, None, id="plain"),
        pytest.param(liquidated(), "liquidated", WHALE, id="rule 1"),
        pytest.param(
            liquidated(liquidation=stamp(WHALE.upper().replace("X", "x"))),
            *("liquidated", WHALE),
            id="rule 1, other case",
        ),
        pytest.param(counterparty(), "counterparty", WHALE, id="rule 2"),
        pytest.param(
            counterparty(dir="Liquidated Cross Long"), "counterparty", WHALE, id="the stamp first"
        ),
        *(
            pytest.param(row(dir=f"Liquidated {how}"), "liquidated", WHALE, id=f"rule 3, {how}")
            for how in ("Cross Long", "Cross Short", "Isolated Long", "Isolated Short")
        ),
        pytest.param(
            row(dir="Auto-Deleveraging", liquidation=stamp(WHALE, method="backstop")),
            *(None, None),
            id="rule 4",
        ),
        pytest.param(row(dir="Auto-Deleveraging"), None, None, id="rule 4, without a stamp"),
        *(
            pytest.param(row(dir=f"{how} Borrow Liquidation"), None, None, id=f"rule 4, {how}")
            for how in ("Partial", "Backstop")
        ),
        pytest.param(row(dir="Net Child Vaults"), None, None, id="something new"),
    ],
)
def test_a_row_is_classified_by_its_direction_and_whom_its_stamp_names(
    sent: list[Any], role: str | None, forced: str | None
) -> None:
    (found,) = read(sent)

    assert (found.role, found.liquidated_user) == (role, forced)
    assert (found.liquidation is None) == (role != "liquidated")


def test_the_liquidation_in_a_fill_is_the_forced_order() -> None:
    (found,) = read(liquidated(px="2150.5", sz="2", coin="ETH"))

    forced = found.liquidation
    assert forced is not None
    assert (forced.side, forced.notional, forced.id) == ("SELL", Decimal(4301), found.id)


def test_an_inferred_row_is_its_counterparty_reversed_under_the_id_of_the_missing_one() -> None:
    (missing,), (other,) = read(liquidated()), read(counterparty())

    found = inferred(other)

    assert found.inferred
    assert (found.id, found.address, found.role) == (missing.id, WHALE, "liquidated")
    assert (found.side, found.dir) == ("SELL", "Close Long")
    assert (found.price, found.quantity, found.notional) == (
        *(missing.price, missing.quantity, missing.notional),
    )
    assert (found.mark_price, found.method) == (Decimal("84490.5"), "market")
    assert found.taker is True
    assert codec.loads(codec.dumps(found), Fill) == found


# -- what a row says --


def test_addresses_are_in_lower_case_wherever_they_stand() -> None:
    (found,) = read(row(address="0x" + "Ab" * 20))

    assert found.address == "0x" + "ab" * 20
    assert found.id.endswith(found.address)


def test_numbers_keep_their_digits_and_the_notional_is_exact() -> None:
    (found,) = read(row(px="0.000123456789012345", sz="123456789012345678.5"))

    assert str(found.price) == "0.000123456789012345"
    assert found.notional == EXACT.multiply(found.price, found.quantity)


def test_what_need_not_be_said_has_its_usual_meaning() -> None:
    sparse = row(
        **dict.fromkeys(("closedPnl", "fee", "feeToken", "hash", "crossed", "dir", "startPosition"))
    )

    (found,) = read(sparse)

    assert (found.pnl, found.fee, found.fee_token) == (0, 0, "USDC")
    assert (found.hash, found.taker, found.dir) == ("", False, "")


def test_unknown_members_and_directions_are_no_trouble() -> None:
    (found,) = read(row(dir="Brand New", deployerFee="0.1", priorityGas=None, extra={"a": [1]}))

    assert found.dir == "Brand New"


# -- what cannot be used --


@pytest.mark.parametrize(
    ("sent", "reason"),
    [
        pytest.param([WHALE], "not a pair", id="one element"),
        pytest.param([WHALE, {}, 3], "not a pair", id="three elements"),
        pytest.param({"a": 1}, "not a pair", id="an object"),
        pytest.param(None, "not a pair", id="null"),
        pytest.param("x", "not a pair", id="a text"),
        pytest.param([5, {}], "bad address", id="address is a number"),
        pytest.param(row(address="0x12"), "bad address", id="short address"),
        pytest.param(row(address="0x" + "g" * 40), "bad address", id="no hexadecimal"),
        pytest.param(row(address=WHALE + "\n"), "bad address", id="line feed behind the address"),
        pytest.param([WHALE, []], "malformed", id="fill is a list"),
        pytest.param([WHALE, None], "malformed", id="fill is null"),
        *(
            pytest.param(row(**{field: value}), "bad number", id=f"{field} {value!r}")
            for field in ("px", "sz")
            for value in ("NaN", "Infinity", "-1", "1e5", "", " 1", "+1", "1.", ".5", "٣", 5, [])
        ),
        pytest.param(row(px="9" * 19), "bad number", id="more digits than can be summed"),
        pytest.param(row(px=None), "bad number", id="no price"),
        pytest.param(row(px="0"), "not positive", id="price 0"),
        pytest.param(row(sz="0.000"), "not positive", id="size 0"),
        pytest.param(row(fee="a lot"), "bad number", id="fee"),
        pytest.param(row(closedPnl=4), "bad number", id="profit is a number"),
        pytest.param(row(closedPnl="1" * 30), "bad number", id="profit without bounds"),
        pytest.param(row(side="HOLD"), "unknown side", id="side"),
        pytest.param(row(side=None), "unknown side", id="no side"),
        pytest.param(row(side="b"), "unknown side", id="side in lower case"),
        pytest.param(row(time="soon"), "bad time", id="time is a text"),
        pytest.param(row(time=None), "bad time", id="no time"),
        pytest.param(row(time=1_790_000_000), "bad time", id="seconds"),
        pytest.param(row(time=1_790_000_000_000_000), "bad time", id="microseconds"),
        pytest.param(row(time=-(2**70)), "bad time", id="absurd"),
        pytest.param(row(time=True), "bad time", id="truth for a time"),
        pytest.param(row(coin=""), "bad coin", id="no coin"),
        pytest.param(row(coin="B" * 65), "bad coin", id="a long coin"),
        pytest.param(row(coin="BTC\x00\x1b[31m"), "bad coin", id="control characters"),
        pytest.param(row(coin="\ud800"), "bad coin", id="half a surrogate pair"),
        pytest.param(row(coin=5), "bad coin", id="coin is a number"),
        pytest.param(row(dir="x" * 100_000), "malformed", id="a huge direction"),
        pytest.param(row(hash="x" * 81), "malformed", id="a long hash"),
        pytest.param(row(hash="\u202e"), "malformed", id="writing backwards"),
        pytest.param(row(feeToken="\n"), "malformed", id="a line feed"),
        pytest.param(row(tid="7"), "malformed", id="trade number is a text"),
        pytest.param(row(crossed="yes"), "malformed", id="crossed"),
        pytest.param(row(liquidation=5), "bad liquidation", id="stamp is a number"),
        pytest.param(row(liquidation={}), "bad liquidation", id="stamp without a user"),
        pytest.param(row(liquidation=stamp("0x1")), "bad liquidation", id="stamp's user"),
        pytest.param(row(liquidation=stamp(markPx="NaN")), "bad liquidation", id="mark price"),
        pytest.param(row(liquidation=stamp(method="m" * 65)), "bad liquidation", id="method"),
    ],
)
def test_a_row_that_cannot_be_used_is_refused_with_its_reason_and_alone(
    sent: list[Any], reason: str
) -> None:
    assert refusal(sent) == reason


def test_numbers_that_json_does_not_have_cost_one_row_only() -> None:
    broken = row(1, px=float("nan"))

    assert "NaN" in block(1, broken)
    assert refusal(broken) == "bad number"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        pytest.param("<html>502 Bad Gateway</html>", "not JSON", id="html"),
        pytest.param("", "not JSON", id="empty"),
        pytest.param(block(1, row())[:90], "not JSON", id="cut off"),
        pytest.param(b"\xff\xfe{", "not JSON", id="no UTF-8"),
        pytest.param("[" * 100_000, "not JSON", id="nested without end"),
        pytest.param("9" * 10_000, "not JSON", id="a number without end"),
        pytest.param("[1,null,[]]", "not an object", id="list"),
        pytest.param("null", "not an object", id="null"),
        pytest.param('"allFills"', "not an object", id="text"),
    ],
)
def test_what_is_no_message_is_refused(text: str | bytes, reason: str) -> None:
    with pytest.raises(Unusable, match=f"^{reason}$"):
        decode(text)


def test_rows_that_are_no_list_are_one_bad_item() -> None:
    frame, bad = decode('{"type":"allFills","seq":3,"fills":{"a":1}}')

    assert (frame.kind, frame.seq, frame.items) == ("allFills", 3, [])
    assert [one.reason for one in bad] == ["not a list"]


def test_members_of_the_wrong_type_are_as_if_they_were_not_there() -> None:
    text = json.dumps({**json.loads(block(1, row())), "seq": "1", "cursor": 5, "chunk": True})

    frame, bad = decode(text)

    assert (frame.seq, frame.cursor, frame.chunk) == (None, None, None)
    assert (len(frame.items), bad) == (1, [])


# -- configuration --


@pytest.mark.parametrize(
    ("options", "subscription"),
    [
        ({}, {"type": "allFills"}),
        ({"dex": "main"}, {"type": "allFills", "dex": "main"}),
        (
            {"coins": ["BTC", "xyz:SP500", "BTC"]},
            {"type": "allFills", "coins": ["BTC", "xyz:SP500"]},
        ),
        ({"outcome_markets": "only"}, {"type": "allFills", "outcomeMarkets": "only"}),
        ({"aggregate_by_time": False}, {"type": "allFills", "aggregateByTime": False}),
    ],
)
def test_the_subscription_says_what_was_configured_and_nothing_else(
    options: dict[str, Any], subscription: dict[str, Any]
) -> None:
    assert config(**options).wanted == subscription


def test_the_feed_of_liquidations_takes_no_filters() -> None:
    chosen = config("liquidationFills", dex="main", coins=["BTC"], aggregate_by_time=True)

    assert chosen.wanted == {"type": "liquidationFills", "aggregateByTime": True}


@pytest.mark.parametrize(
    ("options", "shown"),
    [
        ({}, ["BTC", "xyz:TSLA", "@107", "PURR/USDC", "#90"]),
        ({"dex": "main"}, ["BTC"]),
        ({"dex": "xyz"}, ["xyz:TSLA"]),
        ({"coins": ["BTC", "#90"]}, ["BTC", "#90"]),
        ({"outcome_markets": "only"}, ["#90"]),
        ({"outcome_markets": "exclude", "dex": "main"}, ["BTC"]),
    ],
)
def test_what_the_service_does_not_choose_is_chosen_here(
    options: dict[str, Any], shown: list[str]
) -> None:
    every = read(*(row(coin=c) for c in ("BTC", "xyz:TSLA", "@107", "PURR/USDC", "#90")))
    chosen = config("liquidationFills", **options)

    assert [one.symbol for one in every if chosen.shows(one)] == shown


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: config(include_counterparty=True), "are for liquidationFills"),
        (lambda: config(infer_from_counterparty=True), "are for liquidationFills"),
        (lambda: config(chunked=True, login="message"), 'needs login = "query"'),
        (lambda: config(dex=""), "expected a name"),
        (lambda: config(coins=["BTC", "\n"]), "expected at most 1000 names"),
        (lambda: config(silence=0.0), "at least"),
        (lambda: config(url="https://api.hydromancer.xyz"), "without a query"),
    ],
)
def test_a_configuration_that_cannot_work_is_refused(
    make: Callable[[], Config], words: str
) -> None:
    with pytest.raises(ValueError, match=words):
        make()


def test_an_address_that_holds_the_key_is_refused_without_showing_it() -> None:
    with pytest.raises(ValueError, match="the key belongs into api_key") as caught:
        config(url=f"wss://api.hydromancer.xyz/ws?token={KEY}")

    assert KEY not in str(caught.value)


def test_a_configuration_file_can_name_everything() -> None:
    text = """
    [sources.liquidations]
    kind = "hydromancer"
    subscription = "liquidationFills"
    api_key = { env = "HYDROMANCER_API_KEY" }
    dex = "main"
    coins = ["BTC", "ETH"]
    outcome_markets = "exclude"
    aggregate_by_time = true
    include_counterparty = true
    infer_from_counterparty = true
    url = "ws://127.0.0.1:4302/ws"
    login = "query"
    chunked = true
    silence = "95s"
    ping_every = "15s"
    """

    (source,) = parse(text, registry(flowd_hydromancer)).of("sources")

    assert source.settings.subscription == "liquidationFills"
    assert source.settings.aggregate_by_time is True
    with pytest.raises(UserError, match="allFills"):
        parse(text.replace('"liquidationFills"', '"allfills"'), registry(flowd_hydromancer))


def test_the_key_is_not_in_what_a_configuration_shows() -> None:
    assert KEY not in repr(config())
    assert KEY not in str(config().api_key)


def test_the_plugin_brings_the_kind_hydromancer_with_its_totals() -> None:
    (source,) = flowd_hydromancer.flowd_sources()

    assert (source.kind, source.record, source.tables) == ("hydromancer", Fill, {"totals": Total})


def test_a_secret_that_is_not_there_is_no_obstacle_to_checking_a_configuration() -> None:
    assert Config("allFills", Secret("environment variable KEY")).wanted == {"type": "allFills"}


# -- properties --

scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=20),
    st.sampled_from(["B", "A", "0.1", "-1", "NaN", "1e400", "BTC", WHALE, "Liquidated Cross Long"]),
)
values = st.recursive(
    scalars,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=4), inner, max_size=3)
    ),
    max_leaves=6,
)
stamps = st.fixed_dictionaries(
    {}, optional={"liquidatedUser": values, "markPx": values, "method": values}
)
fills = st.builds(
    lambda good, changes: good[1] | changes,
    st.sampled_from([row(), liquidated(), counterparty(), row(address=THIRD, tid=None)]),
    st.dictionaries(
        st.sampled_from(
            [*row()[1], "liquidation", "txIndex", "cloid", "\ud800", "builder", "priorityGas"]
        ),
        st.one_of(values, stamps),
        max_size=3,
    ),
)
items = st.one_of(
    st.tuples(st.one_of(st.sampled_from([WHALE, MAKER]), values), fills), values, st.just(row())
)
messages = st.one_of(
    st.text(),
    st.binary(),
    st.builds(json.dumps, values),
    st.builds(
        lambda rows, more: json.dumps({"type": "allFills", "fills": rows} | more),
        st.lists(items, max_size=4),
        st.dictionaries(
            st.sampled_from(["type", "channel", "seq", "cursor", "fills", "data", "hasGap"]),
            values,
            max_size=3,
        ),
    ),
)


def usable(text: str | bytes) -> list[Fill]:
    """The fills in whatever comes; what is refused has a reason."""
    frame, reasons, found = Frame(), list[str](), list[Fill]()
    try:
        frame, bad = decode(text)
        reasons += [one.reason for one in bad]
    except Unusable as error:
        reasons.append(error.reason)
    for item in frame.items:
        try:
            found.append(fill(*item))
        except Unusable as error:
            reasons.append(error.reason)
    assert all(reasons)
    return found


@given(messages)
def test_whatever_comes_its_rows_are_sound_or_unusable(text: str | bytes) -> None:
    for found in usable(text):
        assert found.side in ("BUY", "SELL")
        assert found.price > 0
        assert found.quantity > 0
        assert found.notional == EXACT.multiply(found.price, found.quantity)
        assert (found.role is None) == (found.liquidated_user is None)
        assert found.id.isprintable()
        assert codec.loads(codec.dumps(found), Fill) == found


@given(st.lists(items, max_size=6))
def test_one_bad_row_costs_no_good_one(sent: list[Any]) -> None:
    alone = [decode(block(1, one)) for one in sent]
    frame, bad = decode(block(1, *sent))

    assert len(frame.items) == sum(len(one.items) for one, _ in alone)
    assert [one.reason for one in bad] == [found.reason for _, all in alone for found in all]
