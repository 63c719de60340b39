"""Bybit's messages to records: pure functions. What cannot be used is refused with its reason.

Three things differ from other venues: `S` is the side of the position, not of the forced order; `p`
is its bankruptcy price, not the fill; and events have no number, so that identical twins in one
message are told apart by their place among each other.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Any, Final

from flowd.market import EXACT, Instrument, Liquidation, Side, number, trimmed
from flowd.plugin import Unusable

VENUE: Final = "bybit"
TOPIC: Final = "allLiquidation."
QUOTE: Final = "USDT"
AHEAD_MS: Final = 60_000
"""What happens later than so long from now is refused."""

_SIDES: Final[dict[object, Side]] = {"Buy": "SELL", "Sell": "BUY"}
"""The forced order closes the position, so its side is the opposite one."""


def is_pong(found: dict[str, Any]) -> bool:
    """Whether this answers a ping. Bybit's endpoints word that in different ways."""
    return "pong" in (found.get("op"), found.get("ret_msg"))


def liquidations(
    found: dict[str, Any], now_ms: int, wanted: Callable[[str], bool]
) -> Iterator[Liquidation | Unusable]:
    """Each event of a message of the topic, as venues.md reads it, or why it cannot be used: one
    bad event loses none of the others.

    Unusable: `unknown topic`, `malformed`, `not asked for` (a symbol that is not `wanted`),
    `unknown side`, `bad number`, `bad time`, `in the future`.
    """
    topic, events = found.get("topic"), found.get("data")
    if not isinstance(topic, str) or not topic.startswith(TOPIC):
        yield Unusable("unknown topic")
        return
    if not isinstance(events, list):
        yield Unusable("malformed")
        return
    twins: Counter[str] = Counter()
    for event in events:
        try:
            yield _liquidation(event, topic.removeprefix(TOPIC), now_ms, wanted, twins)
        except Unusable as error:
            yield error


def _liquidation(
    event: object, symbol: str, now_ms: int, wanted: Callable[[str], bool], twins: Counter[str]
) -> Liquidation:
    if not isinstance(event, dict) or event.get("s") != symbol:
        raise Unusable("malformed")
    if not wanted(symbol):
        raise Unusable("not asked for")
    position = event.get("S")
    side = _SIDES.get(position) if isinstance(position, str) else None
    if side is None:
        raise Unusable("unknown side")
    quantity, price = _amount(event.get("v")), _amount(event.get("p"))
    time_ms = event.get("T")
    if type(time_ms) is not int or not 0 < time_ms < 10**14:
        raise Unusable("bad time")
    if time_ms > now_ms + AHEAD_MS:
        raise Unusable("in the future")
    id = f"y:{symbol}:{time_ms}:{position}:{trimmed(quantity):f}:{trimmed(price):f}"
    ordinal = twins[id]
    twins[id] += 1
    notional = trimmed(EXACT.multiply(quantity, price))
    return Liquidation(
        symbol=symbol,
        side=side,
        price=price,
        quantity=quantity,
        notional=notional,
        time_ms=time_ms,
        id=f"{id}:{ordinal}" if ordinal else id,
        venue=VENUE,
        price_kind="bankruptcy",
        coverage="all",
    )


def _amount(text: object) -> Decimal:
    try:
        found = number(text)
    except ValueError:
        raise Unusable("bad number") from None
    if found <= 0:
        raise Unusable("bad number")
    return found


def page(answer: object, now_ms: int) -> tuple[list[Instrument], str]:
    """The linear USDT perpetuals in a page of `instruments-info`, and the cursor of the next page,
    empty at the last; ValueError for what is no such page.

    What is margined in other coins, or ends some day, has symbols of its own and is left out.
    """
    result = answer.get("result") if isinstance(answer, dict) else None
    rows = result.get("list") if isinstance(result, dict) else None
    if not isinstance(result, dict) or not isinstance(rows, list):
        raise ValueError(f"expected a list of instruments, got {answer!r:.100}")
    cursor = result.get("nextPageCursor")
    found = [_instrument(row, now_ms) for row in rows if _is_linear_usdt_perpetual(row)]
    return found, cursor if isinstance(cursor, str) else ""


def _is_linear_usdt_perpetual(row: object) -> bool:
    return (
        isinstance(row, dict)
        and row.get("contractType") == "LinearPerpetual"
        and row.get("quoteCoin") == QUOTE
        and isinstance(row.get("symbol"), str)
        and 0 < len(row["symbol"]) <= 64
    )


def _instrument(row: dict[str, Any], now_ms: int) -> Instrument:
    return Instrument(
        symbol=row["symbol"],
        venue=VENUE,
        base=str(row.get("baseCoin", "")),
        quote=QUOTE,
        tick=_step(row.get("priceFilter"), "tickSize"),
        step=_step(row.get("lotSizeFilter"), "qtyStep"),
        contract=None,
        settle=str(row.get("settleCoin", "")),
        status=str(row.get("status", "")),
        time_ms=now_ms,
    )


def _step(rules: object, name: str) -> Decimal | None:
    """A step of prices or quantities; None where it is not told, or is none."""
    try:
        found = number(rules.get(name) if isinstance(rules, dict) else None)
    except ValueError:
        return None
    return trimmed(found) if found > 0 else None
