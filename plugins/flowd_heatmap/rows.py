"""Candles and open interest as rows of two tables, and back. Pure.

Source: domain/heatmap.md, section 2. Decimals have fixed scales: what a venue tells more finely is
rounded.
"""

from collections.abc import Callable, Mapping, Sequence
from decimal import ROUND_HALF_EVEN, Context, Decimal, InvalidOperation
from typing import Any, Generic, Literal, TypeVar

from attrs import frozen

from flowd.market import Candle, OpenInterest, trimmed

T = TypeVar("T")

Kind = Literal["time", "text", "count", "price", "amount"]
INTERVAL, WIDTH_MS = "5m", 300_000
_SCALE = Decimal("1e-8")
_ROUNDED = Context(prec=100, rounding=ROUND_HALF_EVEN)
_LIMITS: dict[Kind, Decimal] = {"price": Decimal(10**10), "amount": Decimal(10**12)}
"""What no longer fits: DECIMAL(18,8) and DECIMAL(20,8)."""
_ZERO = Decimal(0)


class Refused(ValueError):
    """What cannot be a row. Its words are what it is counted by."""


@frozen
class Table(Generic[T]):
    """One table: its `columns` in order, the first two of which are its key. Of a file that
    somebody else made, those in `needed` must be there. `row` may refuse.
    """

    name: str
    columns: Mapping[str, Kind]
    needed: tuple[str, ...]
    checks: tuple[tuple[str, str, str], ...]
    row: Callable[[T], Sequence[Any]]
    value: Callable[[Sequence[Any]], T]

    @property
    def key(self) -> tuple[str, str]:
        """The columns by which a row is known."""
        symbol, time = list(self.columns)[:2]
        return symbol, time


def mistake(candle: Candle) -> str | None:
    """What is wrong with a candle, None if nothing is."""
    if candle.low > min(candle.open, candle.close):
        return "candle whose low lies above its open or close"
    if candle.high < max(candle.open, candle.close):
        return "candle whose high lies below its open or close"
    if candle.low <= 0:
        return "candle without a price"
    return "candle with a volume below zero" if candle.volume < 0 else None


def _candle_row(candle: Candle) -> Sequence[Any]:
    if candle.interval != INTERVAL or candle.width_ms != WIDTH_MS:
        raise Refused(f"candle of another interval than {INTERVAL}")
    _check(mistake(candle))
    prices = candle.open, candle.high, candle.low, candle.close
    amounts = candle.taker_buy_volume, candle.taker_buy_quote_volume
    return (
        candle.symbol,
        candle.time_ms,
        *(_text(price, "price") for price in prices),
        _text(candle.volume, "amount"),
        candle.close_time_ms,
        _text(candle.quote_volume, "amount"),
        candle.trades,
        *(_text(amount, "amount") for amount in amounts),
    )


def _candle(row: Sequence[Any]) -> Candle:
    symbol, time_ms, open, high, low, close, volume, _, quote, trades, bought, paid = row
    candle = Candle(
        str(symbol),
        INTERVAL,
        _time(time_ms),
        # What others call its end lies a millisecond later at times: it is no news.
        _time(time_ms) + WIDTH_MS - 1,
        _number(open),
        _number(high),
        _number(low),
        _number(close),
        _number(volume),
        _number(quote),
        int(trades or 0),
        _number(bought),
        _number(paid),
        True,
        # The tables have no venue: who fills them knows.
        "",
    )
    _check(mistake(candle))
    return candle


def _sample_row(sample: OpenInterest) -> Sequence[Any]:
    _check("open interest below zero" if sample.contracts < 0 else None)
    value = None if sample.value is None else _text(sample.value, "amount")
    return sample.symbol, sample.time_ms, value, _text(sample.contracts, "amount")


def _sample(row: Sequence[Any]) -> OpenInterest:
    symbol, time_ms, value, contracts = row
    _check("open interest without contracts" if contracts is None else None)
    found = _number(contracts)
    _check("open interest below zero" if found < 0 else None)
    told = None if value is None else _number(value)
    return OpenInterest(str(symbol), _time(time_ms), found, told, "")


CANDLES: Table[Candle] = Table(
    "klines_5m_history",
    {
        "symbol": "text",
        "open_time": "time",
        "open": "price",
        "high": "price",
        "low": "price",
        "close": "price",
        "volume": "amount",
        "close_time": "time",
        "quote_volume": "amount",
        "count": "count",
        "taker_buy_volume": "amount",
        "taker_buy_quote_volume": "amount",
    },
    ("symbol", "open_time", "open", "high", "low", "close"),
    (
        ("low", "<=", "open"),
        ("low", "<=", "close"),
        ("high", ">=", "open"),
        ("high", ">=", "close"),
        ("low", ">", "0"),
        ("volume", ">=", "0"),
    ),
    _candle_row,
    _candle,
)
INTEREST: Table[OpenInterest] = Table(
    "open_interest_history",
    {
        "symbol": "text",
        "timestamp": "time",
        "open_interest_value": "amount",
        "open_interest_contracts": "amount",
    },
    ("symbol", "timestamp", "open_interest_contracts"),
    (("open_interest_contracts", ">=", "0"),),
    _sample_row,
    _sample,
)


def _check(wrong: str | None) -> None:
    if wrong is not None:
        raise Refused(wrong)


def _text(value: Decimal, kind: Kind) -> str:
    """A number in its column's scale."""
    try:
        rounded = value.quantize(_SCALE, context=_ROUNDED)
    except InvalidOperation:
        raise Refused("number that is none") from None
    if abs(rounded) >= _LIMITS[kind]:
        raise Refused("number that is too large")
    if kind == "price" and not rounded:
        raise Refused("price that is too small")
    return f"{rounded:f}"


def _number(told: object) -> Decimal:
    """A number as a file has it: a decimal, its text, or, in others' files, a float."""
    if told is None:
        return _ZERO
    try:
        found = told if isinstance(told, Decimal) else Decimal(str(told))
        return trimmed(found.quantize(_SCALE, context=_ROUNDED))
    except InvalidOperation:
        raise Refused("number that is none") from None


def _time(told: object) -> int:
    if type(told) is not int:
        raise Refused("time that is none")
    return told
