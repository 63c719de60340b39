"""Binance's messages to records: pure functions. What cannot be used is refused with its reason."""

from decimal import Decimal
from typing import Any

from flowd.market import EXACT, Candle, Liquidation, OpenInterest, Side, number, trimmed
from flowd.plugin import Unusable, codec

VENUE = "binance"
COIN_M = 2
_HOURS = ("1h", "2h", "4h", "6h", "8h", "12h")
INTERVALS = ("1m", "3m", "5m", "15m", "30m", *_HOURS, "1d", "3d", "1w", "1M")
WIDEST_MS = 31 * 86_400_000
_DAY_MS = 86_400_000
_UNITS_MS = {"m": 60_000, "h": 3_600_000, "d": _DAY_MS, "w": 7 * _DAY_MS, "M": 28 * _DAY_MS}
_KLINE = ("t", "o", "h", "l", "c", "v", "T", "q", "n", "V", "Q")


def least_ms(interval: str) -> int:
    """How long a candle lasts at least: all of an interval last as long, but months."""
    return int(interval[:-1]) * _UNITS_MS[interval[-1]]


def message(text: str | bytes) -> tuple[str | None, dict[str, Any]]:
    """(stream, event) of a combined message, (None, object) of a bare one: an event, an answer or
    an error.
    """
    found = codec.decode_object(text)
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
    return Liquidation(
        symbol, side, price, quantity, notional, time_ms, id, VENUE, "fill", "sampled"
    )


def _looks_like_coin_m(order: dict[str, Any]) -> bool:
    """An event without `st`, whose symbol is a COIN-M contract: `BTCUSD_PERP`, `BTCUSD_200925`."""
    symbol = order.get("s")
    if order.get("st") is not None or not isinstance(symbol, str):
        return False
    pair, _, delivery = symbol.partition("_")
    return pair.endswith("USD") and (delivery == "PERP" or delivery.isdigit())


def kline(event: dict[str, Any]) -> Candle:
    """The candle in a `kline` event; Unusable as `candle` says."""
    k = event.get("k")
    if not isinstance(k, dict) or type(k.get("x")) is not bool:
        raise Unusable("malformed")
    symbol, interval = k.get("s", event.get("s")), k.get("i")
    if not isinstance(symbol, str) or not 0 < len(symbol) <= 64 or interval not in INTERVALS:
        raise Unusable("malformed")
    return candle(symbol, interval, [k.get(name) for name in _KLINE], closed=k["x"])


def candle(symbol: str, interval: str, row: object, *, closed: bool) -> Candle:
    """The candle in a row of REST's klines: open time, open, high, low, close, volume, close time,
    quote volume, trades, taker's base and quote volume.

    Unusable: `malformed`, `bad time`, `bad number`, and `impossible candle`, whose prices lie
    outside its own low and high.
    """
    if not isinstance(row, list) or len(row) < len(_KLINE):
        raise Unusable("malformed")
    time_ms, close_ms, trades = row[0], row[6], row[8]
    if type(time_ms) is not int or type(close_ms) is not int:
        raise Unusable("bad time")
    if not 0 < time_ms < close_ms < 10**14 or close_ms - time_ms > WIDEST_MS:
        raise Unusable("bad time")
    if type(trades) is not int or trades < 0:
        raise Unusable("bad number")
    opened, high, low, close, volume, quote, base_bought, quote_bought = _amounts(
        [*row[1:6], row[7], row[9], row[10]]
    )
    if not low <= min(opened, close) or not max(opened, close) <= high:
        raise Unusable("impossible candle")
    return Candle(
        symbol=symbol,
        interval=interval,
        time_ms=time_ms,
        close_time_ms=close_ms,
        open=opened,
        high=high,
        low=low,
        close=close,
        volume=volume,
        quote_volume=quote,
        trades=trades,
        taker_buy_volume=base_bought,
        taker_buy_quote_volume=quote_bought,
        closed=closed,
        venue=VENUE,
    )


def open_interest(symbol: str, answer: object) -> OpenInterest:
    """What REST says is open of this symbol; Unusable: `malformed`, `not asked for`, `bad time`,
    `bad number`.
    """
    return _sample(symbol, answer, "openInterest", None, "time")


def past_interest(symbol: str, row: object) -> OpenInterest:
    """The sample in a row of REST's history; Unusable as `open_interest` says."""
    return _sample(symbol, row, "sumOpenInterest", "sumOpenInterestValue", "timestamp")


def _sample(
    symbol: str, told: object, contracts: str, value: str | None, time: str
) -> OpenInterest:
    if not isinstance(told, dict):
        raise Unusable("malformed")
    if told.get("symbol") != symbol:
        raise Unusable("not asked for")
    # Binance documents the time of a history's row as text, and sends a number.
    at = told.get(time)
    if isinstance(at, str) and at.isascii() and at.isdigit() and len(at) < 15:
        at = int(at)
    if type(at) is not int or not 0 < at < 10**14:
        raise Unusable("bad time")
    worth = None if value is None else told.get(value)
    (amount, *others) = _amounts([told.get(contracts), *([] if worth is None else [worth])])
    return OpenInterest(
        symbol=symbol,
        time_ms=at,
        contracts=amount,
        value=others[0] if others else None,
        venue=VENUE,
    )


def _amounts(texts: list[object]) -> list[Decimal]:
    try:
        found = [number(text) for text in texts]
    except ValueError:
        raise Unusable("bad number") from None
    if any(amount < 0 for amount in found):
        raise Unusable("bad number")
    return found
