"""Liquidations and buckets as the chart endpoints word them: pure functions, tested by the worked
example.

The forms are those of the liquidation volume documents that flowd grew from; text such as `10K`
lives here and nowhere else.
"""

from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from decimal import ROUND_HALF_UP, Context, Decimal
from functools import lru_cache
from typing import Any

from attrs import field, frozen

from flowd.market import Bucket, Liquidation, VenueSum, trimmed
from flowd.plugin import Batch, Clock, codec

ORDERS_FIRST = 50
"""How many orders the first message holds."""

_QUOTES = ("USDT", "USDC", "FDUSD", "BUSD", "TUSD", "USD1", "BTC", "ETH", "BNB")
_WIDE = Context(prec=100, rounding=ROUND_HALF_UP)
_SUFFIXES = ((Decimal(10**9), "B"), (Decimal(10**6), "M"), (Decimal(10**3), "K"))
_CENT = Decimal("0.01")


def plain(number: Decimal) -> str:
    """`10000`, `138.74`, `0`: no exponent, no trailing zeros, no minus zero."""
    return format(trimmed(number), "f")


def short(number: Decimal) -> str:
    """`10K`, `12.35K`, `1.23M`, and below a thousand always two decimals: `693.00`, `-693.00`,
    `0.00`.
    """
    size = number.copy_abs()  # `abs` would round it to 28 digits, and so it would be rounded twice.
    rounded = size.quantize(_CENT, context=_WIDE)
    text = format(rounded, "f") if rounded < 1000 else _scaled(size)
    return f"-{text}" if number < 0 and rounded else text


def _scaled(size: Decimal) -> str:
    for index, (unit, suffix) in enumerate(_SUFFIXES):
        if size >= unit or unit == 1000:
            scaled = _WIDE.divide(size, unit).quantize(_CENT, context=_WIDE)
            if scaled >= 1000 and index:
                unit, suffix = _SUFFIXES[index - 1]
                scaled = _WIDE.divide(size, unit).quantize(_CENT, context=_WIDE)
            return f"{plain(scaled)}{suffix}"
    raise AssertionError("the smallest unit takes all")


def whole(number: Decimal) -> str:
    """`139`, `5,000,000`: whole units, half up, in groups of three."""
    return f"{number.quantize(Decimal(1), context=_WIDE):,}"


def quantity_text(quantity: Decimal, precision: int | None = None) -> str:
    """`0.100` with the symbol's precision 3, at least two decimals; without one three from 1 up,
    else six.
    """
    decimals = (3 if quantity >= 1 else 6) if precision is None else max(2, precision)
    return format(quantity.quantize(Decimal(1).scaleb(-decimals), context=_WIDE), "f")


def base_asset(symbol: str) -> str:
    """`BTC` of `BTCUSDT`; empty where the quote asset is not known."""
    for quote in _QUOTES:
        if symbol.endswith(quote) and len(symbol) > len(quote):
            return symbol.removesuffix(quote)
    return ""


def iso(time_ms: int) -> str:
    """`2023-11-14T22:13:21.000Z`."""
    at = datetime.fromtimestamp(time_ms / 1000, UTC)
    return f"{at:%Y-%m-%dT%H:%M:%S}.{time_ms % 1000:03d}Z"


def order_item(order: Liquidation, precision: int | None = None) -> dict[str, Any]:
    """One order, as the table of the chart page shows it."""
    at = datetime.fromtimestamp(order.time_ms // 1000, UTC)
    return {
        "symbol": order.symbol,
        "baseAsset": base_asset(order.symbol),
        "side": order.side,
        "quantity": format(order.quantity, "f"),
        "quantityFormatted": quantity_text(order.quantity, precision),
        "priceUsdt": plain(order.notional),
        "priceUsdtFormatted": whole(order.notional),
        "avgPrice": plain(order.price),
        "timestamp": order.time_ms,
        "displayTime": f"{at:%H:%M:%S}",
        "venue": order.venue,
    }


UNKNOWN = "unknown"
"""What the venue is called of which nobody knows."""


def venue_of(part: VenueSum) -> dict[str, Any]:
    """What one venue added to a bar."""
    return {
        "buy": plain(part.buy),
        "sell": plain(part.sell),
        "count": part.count,
        "price_kind": part.price_kind,
        "coverage": part.coverage,
    }


def point(bucket: Bucket) -> dict[str, Any]:
    """One bar: decimal strings, their short forms, and the time in seconds and milliseconds; its
    venues, and what it is worth.
    """
    amounts = {
        "buy_volume": bucket.buy,
        "sell_volume": bucket.sell,
        "total_volume": bucket.total,
        "delta_volume": bucket.delta,
    }
    return {
        "time": bucket.time_ms // 1000,
        **{name: plain(amount) for name, amount in amounts.items()},
        **{f"{name}_formatted": short(amount) for name, amount in amounts.items()},
        "count": bucket.count,
        "timestamp_ms": bucket.time_ms,
        "venues": {part.venue or UNKNOWN: venue_of(part) for part in bucket.parts},
        "approximate": bucket.approximate,
        "lower_bound": bucket.lower_bound,
        **({"backfilled": True} if bucket.backfilled else {}),
        **({"incomplete": True} if bucket.incomplete else {}),
    }


def worth(buckets: Iterable[Bucket]) -> dict[str, Any]:
    """Whose orders bars are made of, and what their sums are worth all together."""
    parts = [part for bucket in buckets for part in bucket.parts]
    return {
        "venues": sorted({part.venue or UNKNOWN for part in parts}),
        "approximate": any(part.price_kind in ("limit", "bankruptcy") for part in parts),
        "lower_bound": any(part.coverage == "sampled" for part in parts),
    }


@lru_cache(maxsize=50_000)
def point_json(bucket: Bucket) -> bytes:
    """A bar's JSON, made once for all who ask."""
    return codec.encode(point(bucket))


def points_json(buckets: Iterable[Bucket]) -> bytes:
    """Bars as a JSON list."""
    return b"[%b]" % b",".join([point_json(bucket) for bucket in buckets])


@frozen
class Orders:
    """Batches of one symbol's liquidations as `liquidation_order` messages; equal ones share a
    channel. Of several streams that one client follows, one is `leading`.
    """

    symbol: str
    leading: bool = True
    precision: Callable[[Liquidation], int | None] = lambda order: None
    clock: Clock = field(kw_only=True, eq=False)

    def __call__(self, batch: Batch[Liquidation]) -> list[bytes]:
        """The first message newest first, and possibly empty; all others, also the first ones of
        streams that do not lead, in order of arrival.
        """
        initial = batch.first and self.leading
        if not batch.records and not initial:
            return []
        orders = [record.value for record in batch.records]
        if batch.first:
            orders = orders[-ORDERS_FIRST:]
        if initial:
            orders.reverse()
        message = {
            "type": "liquidation_order",
            "symbol": self.symbol,
            "data": [order_item(order, self.precision(order)) for order in orders],
            "initial": initial,
            "timestamp": iso(self.clock()),
        }
        return [codec.encode(message)]


@frozen
class Volumes:
    """Batches of one series' buckets as `liquidation_volume` messages; equal ones share a channel.

    `span` is the range that the first message covers, `history` reads it.
    """

    symbol: str
    timeframe: str
    span: tuple[int, int]
    history: Callable[[], list[Bucket]] = field(kw_only=True, eq=False)
    clock: Clock = field(kw_only=True, eq=False)

    def __call__(self, batch: Batch[Bucket]) -> list[bytes]:
        """First the bars there are, then the changed ones, ascending, always as full totals."""
        if batch.first:
            return [self.message(self.history(), update=False)]
        if not batch.records:
            return []
        buckets = sorted((record.value for record in batch.records), key=lambda b: b.time_ms)
        return [self.message(buckets, update=True)]

    def message(self, buckets: list[Bucket], *, update: bool) -> bytes:
        """One message; `late` when it holds a bar older than one that was sent before."""
        late = b',"late":true' if update and any(bucket.late for bucket in buckets) else b""
        return (
            b'{"type":"liquidation_volume","symbol":%b,"timeframe":%b,"data":%b,'
            b'"is_update":%b%b,"timestamp":%b}'
            % (
                codec.encode(self.symbol),
                codec.encode(self.timeframe),
                points_json(buckets),
                b"true" if update else b"false",
                late,
                codec.encode(iso(self.clock())),
            )
        )


def heartbeat(symbol: str, now_ms: int) -> bytes:
    """Said after half a minute without a message."""
    return codec.encode({"type": "heartbeat", "symbol": symbol, "timestamp": iso(now_ms)})


def error(message: str, now_ms: int) -> bytes:
    """What is wrong with the address; the connection is closed after it."""
    return codec.encode({"type": "error", "message": message, "timestamp": iso(now_ms)})
