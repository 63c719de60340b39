"""Binance's messages to records: pure functions. What cannot be used is refused with its reason."""

from typing import Any

import msgspec

from flowd.market import EXACT, Liquidation, Side, number, trimmed

COIN_M = 2


class Unusable(ValueError):
    """A message that must not be published. `reason` is what it is counted by."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def message(text: str | bytes) -> tuple[str | None, dict[str, Any]]:
    """(stream, event) of a combined message, (None, object) of a bare one: an event, an answer or
    an error.
    """
    try:
        found = msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise Unusable("not JSON") from None
    if not isinstance(found, dict):
        raise Unusable("not an object")
    if "stream" in found and "data" in found:
        stream, event = found["stream"], found["data"]
        if not isinstance(stream, str) or not isinstance(event, dict):
            raise Unusable("not an object")
        return stream, event
    return None, found


def forced_order(event: dict[str, Any]) -> Liquidation:
    """The liquidation in a `forceOrder` event, as domain/liquidation-volume 2.1 reads it: `z`
    filled at `ap`.

    Unusable: `COIN-M` (its quantity is in contracts), `unknown side`, `nothing filled`, `bad
    number`, `bad time`, `malformed`.
    """
    order = event.get("o")
    if not isinstance(order, dict):
        raise Unusable("malformed")
    if COIN_M in (order.get("st"), event.get("st")) or _looks_like_coin_m(order):
        raise Unusable("COIN-M")
    symbol = order.get("s")
    if not isinstance(symbol, str) or not 0 < len(symbol) <= 64:
        raise Unusable("malformed")
    side: Side
    match order.get("S"):
        case "BUY":
            side = "BUY"
        case "SELL":
            side = "SELL"
        case _:
            raise Unusable("unknown side")
    try:
        quantity, price = number(order.get("z")), number(order.get("ap"))
    except ValueError:
        raise Unusable("bad number") from None
    if quantity < 0 or price < 0:
        raise Unusable("bad number")
    if not quantity or not price:
        raise Unusable("nothing filled")
    time_ms = order.get("T") or event.get("E")
    if type(time_ms) is not int or not 0 < time_ms < 10**14:
        raise Unusable("bad time")
    # Binance pads the same number differently from year to year: the identity is of values, not of
    # texts.
    id = f"b:{symbol}:{time_ms}:{side}:{trimmed(quantity):f}:{trimmed(price):f}"
    notional = trimmed(EXACT.multiply(quantity, price))
    return Liquidation(symbol, side, price, quantity, notional, time_ms, id)


def _looks_like_coin_m(order: dict[str, Any]) -> bool:
    """An event without `st`, whose symbol is a COIN-M contract: `BTCUSD_PERP`, `BTCUSD_200925`."""
    symbol = order.get("s")
    if order.get("st") is not None or not isinstance(symbol, str):
        return False
    pair, _, delivery = symbol.partition("_")
    return pair.endswith("USD") and (delivery == "PERP" or delivery.isdigit())
