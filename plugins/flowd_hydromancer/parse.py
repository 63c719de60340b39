"""Rows to fills: pure functions. What cannot be used is refused with its reason."""

import re
from decimal import Decimal

from flowd.market import EXACT, Fill, Role, Side, number, trimmed
from flowd.plugin import Unusable
from flowd.traders import address_of
from flowd_hydromancer.frames import Row, Stamp

VENUE = "hyperliquid"
SIDES: dict[str, Side] = {"B": "BUY", "A": "SELL"}
LABEL_MAX = 64
HASH_MAX = 80
TIME_MIN_MS, TIME_MAX_MS = 10**12, 10**14
"""Outside of these a time was not given in milliseconds."""

AUTO_DELEVERAGING = "Auto-Deleveraging"
BORROW = "Borrow Liquidation"
LIQUIDATED = "Liquidated"

_amount = re.compile(r"[0-9]{1,18}(?:\.[0-9]{1,18})?", re.ASCII).fullmatch
_ZERO = Decimal(0)
_OPPOSITE: dict[Side, Side] = {"BUY": "SELL", "SELL": "BUY"}


def fill(address: str, row: Row) -> Fill:
    """The fill in a row, as domain/liquidation-volume 2.2 reads it.

    Unusable: `bad address`, `bad coin`, `unknown side`, `bad number`, `not positive`, `bad time`,
    `bad liquidation`, `malformed`.
    """
    if address_of(address) is None:
        raise Unusable("bad address")
    coin, time_ms, direction = row.coin, row.time, row.dir
    if not coin or len(coin) > LABEL_MAX or not coin.isprintable():
        raise Unusable("bad coin")
    side = SIDES.get(row.side)
    if side is None:
        raise Unusable("unknown side")
    if not _amount(row.px) or not _amount(row.sz):
        raise Unusable("bad number")
    price, quantity = Decimal(row.px), Decimal(row.sz)
    if not price or not quantity:
        raise Unusable("not positive")
    if not TIME_MIN_MS <= time_ms < TIME_MAX_MS:
        raise Unusable("bad time")
    address = address.lower()
    hash, token = row.hash or "", row.fee_token or "USDC"
    _check_labels(direction, token, hash)
    special = _liquidation(address, row) if _is_special(row) else (None, None, None, None)
    return Fill(
        coin,
        side,
        price,
        quantity,
        trimmed(EXACT.multiply(price, quantity)),
        time_ms,
        f"h:{time_ms}:{coin}:{row.tid}:{address}"
        if row.tid is not None
        else _id(address, row, price, quantity),
        address,
        direction,
        _signed(row.closed_pnl),
        _signed(row.fee),
        token,
        bool(row.crossed),
        hash,
        *special,
        start_position=_position(row.start_position),
        venue=VENUE,
    )


def inferred(counterparty: Fill) -> Fill:
    """The liquidated row of a trade, concluded from the row of its other side."""
    forced = counterparty.liquidated_user
    assert forced is not None
    assert counterparty.role == "counterparty"
    side = _OPPOSITE[counterparty.side]
    return Fill(
        counterparty.symbol,
        side,
        counterparty.price,
        counterparty.quantity,
        counterparty.notional,
        counterparty.time_ms,
        trade(counterparty) + forced,
        forced,
        "Close Long" if side == "SELL" else "Close Short",
        _ZERO,
        _ZERO,
        counterparty.fee_token,
        not counterparty.taker,
        counterparty.hash,
        "liquidated",
        forced,
        counterparty.mark_price,
        counterparty.method,
        inferred=True,
        venue=VENUE,
    )


def trade(fill: Fill) -> str:
    """What both rows of a trade have in common, empty when the trade has no number. With an address
    behind it, it is that side's id.
    """
    common = fill.id.removesuffix(fill.address)
    return "" if common == fill.id else common


def no_liquidation(direction: str) -> str:
    """By what a row is counted that is not part of a liquidation."""
    if direction == AUTO_DELEVERAGING:
        return "auto-deleveraging"
    return "borrow liquidation" if direction.endswith(BORROW) else "not a liquidation"


def _is_special(row: Row) -> bool:
    """Whether this may be part of a liquidation."""
    return row.liquidation is not None or row.dir.startswith(LIQUIDATED)


def _liquidation(
    address: str, row: Row
) -> tuple[Role | None, str | None, Decimal | None, str | None]:
    """(role, liquidated user, mark price, method). The direction is looked at first: the stamp of
    an auto-deleveraging names the liquidator's vault.
    """
    stamp = row.liquidation
    if row.dir == AUTO_DELEVERAGING or row.dir.endswith(BORROW):
        return None, None, None, None
    if stamp is None:
        return "liquidated", address, None, None
    forced, method = stamp.liquidated_user.lower(), stamp.method
    if address_of(forced) is None or (method is not None and not _is_label(method, LABEL_MAX)):
        raise Unusable("bad liquidation")
    role: Role = "liquidated" if forced == address else "counterparty"
    return role, forced, _mark(stamp), method


def _mark(stamp: Stamp) -> Decimal | None:
    if stamp.mark_px is None:
        return None
    try:
        return number(stamp.mark_px)
    except ValueError:
        raise Unusable("bad liquidation") from None


def _id(address: str, row: Row, price: Decimal, quantity: Decimal) -> str:
    """The name of a fill whose trade has no number."""
    amounts = f"{trimmed(price):f}:{trimmed(quantity):f}"
    return f"h:{row.time}:{row.tx_index}:{row.coin}:{row.oid}:{address}:{amounts}"


def _signed(text: str | None) -> Decimal:
    if text is None:
        return _ZERO
    try:
        return number(text)
    except ValueError:
        raise Unusable("bad number") from None


def _position(text: str | None) -> Decimal | None:
    """A fill is of use without it, so a bad one is none."""
    try:
        return None if text is None else trimmed(number(text))
    except ValueError:
        return None


def _check_labels(direction: str, token: str, hash: str) -> None:
    """They are shown as they are, so they must be short and fit to be shown."""
    if (
        len(direction) > LABEL_MAX
        or len(token) > LABEL_MAX
        or len(hash) > HASH_MAX
        or not (direction.isprintable() and token.isprintable() and hash.isprintable())
    ):
        raise Unusable("malformed")


def _is_label(text: str, length: int) -> bool:
    return len(text) <= length and text.isprintable()
