"""Hyperliquid's `clearinghouseState` to an account: a pure function.

Source: upstreams/hyperliquid.md, section 3.2. Keys that are not known are ignored, those that
answers of earlier years lack may be missing.
"""

from decimal import Decimal
from sys import intern

import msgspec

from flowd.market import number
from flowd.traders import Account, OpenPosition
from flowd_hyperliquid.parse import COIN_MAX, TIME_MAX_MS, TIME_MIN_MS, VENUE

POSITIONS_MAX = 1000
"""Positions of one account; a venue has some hundred markets."""


class _Leverage(msgspec.Struct, gc=False):
    type: str = "cross"
    value: int = 1


class _Funding(msgspec.Struct, gc=False, rename="camel"):
    since_open: str | None = None


class _Position(msgspec.Struct, gc=False, rename="camel"):
    coin: str
    szi: str
    position_value: str
    unrealized_pnl: str = "0"
    margin_used: str = "0"
    entry_px: str | None = None
    liquidation_px: str | None = None
    leverage: _Leverage = msgspec.field(default_factory=_Leverage)
    max_leverage: int | None = None
    cum_funding: _Funding | None = None


class _Item(msgspec.Struct, gc=False):
    position: _Position


class _Summary(msgspec.Struct, gc=False, rename="camel"):
    account_value: str
    total_ntl_pos: str
    total_margin_used: str


class _State(msgspec.Struct, gc=False, rename="camel"):
    margin_summary: _Summary
    asset_positions: list[_Item]
    time: int
    withdrawable: str = "0"


_decode = msgspec.json.Decoder(_State).decode


def account(address: str, body: bytes) -> Account:
    """The account that an answer describes. ValueError, saying what, for anything else.

    A position of size 0 is none. Positions are in the order of their coins, so that equal states
    are equal values.
    """
    try:
        state = _decode(body)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
        raise ValueError(f"no account state: {error}") from None
    if not TIME_MIN_MS <= state.time < TIME_MAX_MS:
        raise ValueError(f"bad time {state.time}")
    if len(state.asset_positions) > POSITIONS_MAX:
        raise ValueError(f"more than {POSITIONS_MAX} positions")
    found = [_position(item.position) for item in state.asset_positions]
    positions = {one.symbol: one for one in found if one.size}
    if len(positions) < sum(1 for one in found if one.size):
        raise ValueError("a coin with two positions")
    summary = state.margin_summary
    return Account(
        address,
        VENUE,
        state.time,
        number(summary.account_value),
        number(summary.total_ntl_pos),
        number(summary.total_margin_used),
        number(state.withdrawable),
        tuple(positions[symbol] for symbol in sorted(positions)),
    )


def _position(sent: _Position) -> OpenPosition:
    coin = sent.coin
    if not coin or len(coin) > COIN_MAX or not coin.isprintable():
        raise ValueError("bad coin")
    funding = None if sent.cum_funding is None else sent.cum_funding.since_open
    price = _optional(sent.liquidation_px)
    return OpenPosition(
        intern(coin),  # Thousands hold the same few.
        number(sent.szi),
        _optional(sent.entry_px),
        abs(number(sent.position_value)),
        number(sent.unrealized_pnl),
        price if price is not None and price > 0 else None,
        sent.leverage.value,
        sent.leverage.type == "isolated",
        number(sent.margin_used),
        sent.max_leverage,
        _optional(funding),
    )


def _optional(text: str | None) -> Decimal | None:
    return None if text is None else number(text)
