"""What changed in an account's positions: pure functions.

Source: domain/leaderboard.md, section 3. Sizes are signed and compared exactly.
"""

from decimal import Context, Decimal

from attrs import frozen

from flowd.market import EXACT, Fill, trimmed
from flowd.traders import Account, Change, OpenPosition, PositionEvent

IMPLIED_MAX = Decimal("0.2")
"""An implied price that is further from the mark, as a fraction of it, was made by more than one
change.
"""
_ZERO = Decimal(0)
_DIGITS = Decimal("1e-10")
_ROUND = Context(prec=100)


@frozen
class Before:
    """What was known of one position: how large it was and when, and its entry price if a state
    told it.
    """

    size: Decimal
    time_ms: int
    entry_price: Decimal | None = None


def change(before: Decimal, now: Decimal) -> Change | None:
    """What kind of change leads from one size to the other; None for none."""
    if before == now:
        return None
    if not before:
        return "OPEN"
    if not now:
        return "CLOSE"
    if (before > 0) != (now > 0):
        return "FLIP"
    return "INCREASE" if abs(now) > abs(before) else "DECREASE"


def compared(
    account: Account,
    symbol: str,
    before: Before,
    now: OpenPosition | None,
    *,
    detected_ms: int,
    least: Decimal,
    mark: Decimal | None = None,
    liquidated: bool = False,
) -> PositionEvent | None:
    """The event of one position between two states, None when there is none.

    `mark` is the price of a position that is no more, where somebody knows it. A change of less
    than `least` quote units is dust, unless it opens or closes.
    """
    size = _ZERO if now is None else now.size
    kind = change(before.size, size)
    if kind is None:
        return None
    if now is not None:
        mark = now.mark_price
    delta = EXACT.subtract(size, before.size)
    notional = _ZERO if mark is None else _price(_ROUND.multiply(abs(delta), mark))
    # Dust is told by what it is worth: what nobody can value is none.
    if kind not in ("OPEN", "CLOSE") and mark is not None and notional < least:
        return None
    entry = None if now is None else now.entry_price
    return PositionEvent(
        f"s:{account.address}:{symbol}:{before.time_ms}:{account.time_ms}",
        account.address,
        account.venue,
        symbol,
        kind,
        "LONG" if (size or before.size) > 0 else "SHORT",
        before.size,
        size,
        before.entry_price,
        entry,
        _implied(kind, before, size, entry, mark),
        None if mark is None else _price(mark),
        notional,
        before.time_ms,
        account.time_ms,
        detected_ms,
        sampled=True,
        liquidated=liquidated and kind in ("CLOSE", "DECREASE"),
    )


def filled(fill: Fill, *, detected_ms: int) -> PositionEvent | None:
    """The event that a fill tells by itself, None when it does not say where it began."""
    before = fill.start_position
    if before is None:
        return None
    size = after(fill, before)
    kind = change(before, size)
    if kind is None:
        return None
    return PositionEvent(
        f"f:{fill.id}",
        fill.address,
        fill.venue,
        fill.symbol,
        kind,
        "LONG" if (size or before) > 0 else "SHORT",
        before,
        size,
        None,
        None,
        fill.price,
        fill.price,
        fill.notional,
        fill.time_ms,
        fill.time_ms,
        detected_ms,
        sampled=False,
        liquidated=fill.role == "liquidated",
    )


def missed(fill: Fill, was: Before, *, detected_ms: int) -> PositionEvent | None:
    """The event that must have been before a fill, where it began with another size than was
    known.
    """
    size = fill.start_position
    kind = None if size is None else change(was.size, size)
    if size is None or kind is None:
        return None
    notional = _ROUND.multiply(abs(EXACT.subtract(size, was.size)), fill.price)
    return PositionEvent(
        f"s:{fill.address}:{fill.symbol}:{was.time_ms}:{fill.id}",
        fill.address,
        fill.venue,
        fill.symbol,
        kind,
        "LONG" if (size or was.size) > 0 else "SHORT",
        was.size,
        size,
        was.entry_price,
        None,
        None,
        fill.price,
        _price(notional),
        was.time_ms,
        fill.time_ms,
        detected_ms,
        sampled=True,
    )


def after(fill: Fill, before: Decimal) -> Decimal:
    """The size that a fill leaves."""
    signed = fill.quantity if fill.side == "BUY" else -fill.quantity
    return trimmed(EXACT.add(before, signed))


def _implied(
    kind: Change, before: Before, size: Decimal, entry: Decimal | None, mark: Decimal | None
) -> Decimal | None:
    """What was paid for the change, as far as the entry prices tell: a closing trade leaves no
    trace in them.
    """
    if entry is None:
        return None
    if kind in ("OPEN", "FLIP"):
        price = entry
    elif kind == "INCREASE" and before.entry_price is not None:
        paid = EXACT.subtract(
            EXACT.multiply(size, entry), EXACT.multiply(before.size, before.entry_price)
        )
        price = _ROUND.divide(paid, EXACT.subtract(size, before.size))
    else:
        return None
    if price <= 0 or (mark is not None and abs(price - mark) > mark * IMPLIED_MAX):
        return None
    return _price(price)


def _price(value: Decimal) -> Decimal:
    return trimmed(_ROUND.quantize(value, _DIGITS))
