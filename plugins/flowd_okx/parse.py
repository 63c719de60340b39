"""OKX's messages to records: pure functions. What cannot be used is refused with its reason.

An order's size is in contracts. Only the list of instruments makes base units of it, so an order is
read first, and becomes a liquidation once its contract is known: never by a size that is assumed,
and never by the beginning of its name.
"""

from collections.abc import Iterator
from decimal import Decimal
from typing import Any, Final

from attrs import frozen

from flowd.market import EXACT, Instrument, Liquidation, Side, number, trimmed
from flowd.plugin import Unusable

VENUE: Final = "okx"
CHANNEL: Final = "liquidation-orders"
KIND: Final = "SWAP"
QUOTE: Final = "USDT"
FOREIGN: Final = "not linear USDT perpetual"
AHEAD_MS: Final = 60_000
"""What happens later than so long from now is refused."""

_SIDES: Final[dict[object, Side]] = {"buy": "BUY", "sell": "SELL"}
_CLOSES: Final[dict[object, Side]] = {"long": "SELL", "short": "BUY"}
"""The order that closes a position of this side; one that is `net` says nothing."""


@frozen
class Swap:
    """A perpetual contract. `instrument` is what it is to flowd: None where it is no linear USDT
    perpetual.
    """

    id: str
    family: str
    instrument: Instrument | None


@frozen
class Order:
    """A forced order of one contract. `contradicts` says that the side of its position does not
    fit.
    """

    contract: str
    side: Side
    price: Decimal
    size: Decimal
    time_ms: int
    contradicts: bool

    @property
    def id(self) -> str:
        """Names it for ever: the channel and REST tell the same five values."""
        size, price = trimmed(self.size), trimmed(self.price)
        side = self.side.lower()
        return f"o:{self.contract}:{self.time_ms}:{side}:{size:f}:{price:f}"


def told(found: dict[str, Any], now_ms: int) -> Iterator[Order | Unusable]:
    """Each order in a message of the channel, or why it cannot be used: `unknown channel`, or as
    `orders` says.
    """
    arg = found.get("arg")
    if not isinstance(arg, dict) or arg.get("channel") != CHANNEL:
        yield Unusable("unknown channel")
        return
    yield from orders(found.get("data"), now_ms)


def orders(items: object, now_ms: int) -> Iterator[Order | Unusable]:
    """Each order of some instruments' items, of the channel or of REST: one that is bad loses none
    of the others.

    Unusable: `malformed`, `not linear USDT perpetual`, `unknown side`, `bad number`, `bad time`,
    `in the future`.
    """
    if not isinstance(items, list):
        yield Unusable("malformed")
        return
    for item in items:
        details = item.get("details") if isinstance(item, dict) else None
        contract = item.get("instId") if isinstance(item, dict) else None
        if not isinstance(details, list) or not isinstance(contract, str) or len(contract) > 64:
            yield Unusable("malformed")
            continue
        for detail in details:
            try:
                if item.get("instType") != KIND:
                    raise Unusable(FOREIGN)
                yield _order(contract, detail, now_ms)
            except Unusable as error:
                yield error


def _order(contract: str, detail: object, now_ms: int) -> Order:
    if not isinstance(detail, dict):
        raise Unusable("malformed")
    said, position = detail.get("side"), detail.get("posSide")
    closing = _CLOSES.get(position) if isinstance(position, str) else None
    side = _SIDES.get(said) if isinstance(said, str) else None
    if said in (None, ""):
        side = closing
    if side is None:
        raise Unusable("unknown side")
    size, price, time = _amount(detail.get("sz")), _amount(detail.get("bkPx")), detail.get("ts")
    if not isinstance(time, str) or not (time.isascii() and time.isdigit() and len(time) < 15):
        raise Unusable("bad time")
    time_ms = int(time)
    if not time_ms:
        raise Unusable("bad time")
    if time_ms > now_ms + AHEAD_MS:
        raise Unusable("in the future")
    return Order(contract, side, price, size, time_ms, closing not in (None, side))


def liquidation(order: Order, swap: Swap) -> Liquidation:
    """The order in base units, now that its contract is known. Unusable: `not linear USDT
    perpetual`, `bad number`.
    """
    instrument = swap.instrument
    if instrument is None or instrument.contract is None:
        raise Unusable(FOREIGN)
    try:
        quantity = trimmed(EXACT.multiply(order.size, instrument.contract))
        notional = trimmed(EXACT.multiply(quantity, order.price))
    except ArithmeticError:
        raise Unusable("bad number") from None
    return Liquidation(
        symbol=instrument.symbol,
        side=order.side,
        price=order.price,
        quantity=quantity,
        notional=notional,
        time_ms=order.time_ms,
        id=order.id,
        venue=VENUE,
        price_kind="mark",
        coverage="sampled",
    )


def swaps(rows: object, now_ms: int) -> list[Swap]:
    """The perpetual contracts in a list of instruments, linear and others; ValueError for what is
    no such list. A row that cannot be read is left out: its contract stays unknown.
    """
    if not isinstance(rows, list):
        raise ValueError(f"expected a list of instruments, got {rows!r:.100}")
    return [swap for row in rows if isinstance(row, dict) and (swap := _swap(row, now_ms))]


def _swap(row: dict[str, Any], now_ms: int) -> Swap | None:
    id, family = row.get("instId"), row.get("instFamily")
    if row.get("instType") != KIND or not isinstance(id, str) or not isinstance(family, str):
        return None
    base = row.get("ctValCcy")
    linear = (
        row.get("ctType") == "linear"
        and row.get("settleCcy") == QUOTE
        and isinstance(base, str)
        and family == f"{base}-{QUOTE}"
    )
    if not linear:
        return Swap(id, family, None)
    try:
        contract = EXACT.multiply(_amount(row.get("ctVal")), _amount(row.get("ctMult")))
    except (Unusable, ArithmeticError):
        return None
    instrument = Instrument(
        symbol=f"{base}{QUOTE}",
        venue=VENUE,
        base=str(base),
        quote=QUOTE,
        tick=_step(row.get("tickSz")),
        step=_step(row.get("lotSz")),
        contract=trimmed(contract),
        settle=QUOTE,
        status=str(row.get("state", "")),
        time_ms=now_ms,
    )
    return Swap(id, family, instrument)


def _amount(text: object) -> Decimal:
    try:
        found = number(text)
    except ValueError:
        raise Unusable("bad number") from None
    if found <= 0:
        raise Unusable("bad number")
    return found


def _step(text: object) -> Decimal | None:
    """A step of prices or quantities; None where it is not told, or is none."""
    try:
        return trimmed(_amount(text))
    except Unusable:
        return None
