"""What is published of a model: the map now, a column for each candle, and what it is made with."""

from decimal import ROUND_FLOOR, Decimal
from typing import Literal

from flowd.market import Candle, Level, LiquidationMap, trimmed
from flowd_heatmap.brackets import MATH, brackets_of
from flowd_heatmap.columns import pack, spread
from flowd_heatmap.config import Config
from flowd_heatmap.model import Model
from flowd_heatmap.records import Column, MapModel
from flowd_heatmap.side import ZERO, bin_of

SOURCE: Literal["estimated"] = "estimated"
_DIGITS = Decimal("1e-8")


def drawn(
    model: Model,
    symbol: str,
    venue: str,
    price: Decimal,
    time_ms: int,
    *,
    span: Decimal,
    history_from_ms: int,
    created: int,
    consumed: int,
) -> LiquidationMap:
    """The map of this moment. Levels further from the price than its fraction `span` are summed up;
    `created` and `consumed` were told before.
    """
    width = model.long.width
    lowest, highest = within(price, span, width)
    sums = [ZERO, ZERO]
    levels: dict[int, list[Decimal]] = {}
    for side, book in enumerate((model.long, model.short)):
        for index, notional in book.levels().items():
            if lowest <= index <= highest:
                amount = _amount(notional)
                if amount:
                    levels.setdefault(index, [ZERO, ZERO])[side] = amount
            else:
                sums[side] = MATH.add(sums[side], notional)
    return LiquidationMap(
        symbol,
        venue,
        SOURCE,
        time_ms,
        price,
        width,
        tuple(Level(trimmed(index * width), *levels[index]) for index in sorted(levels)),
        _amount(sums[0]),
        _amount(sums[1]),
        ZERO,
        1.0,
        None,
        1,
        0,
        model.long.count + model.short.count,
        model.created - created,
        model.consumed - consumed,
        model.applied_ms,
        history_from_ms,
        model.assumptions.side_model,
        model.oi_missing,
        model.created,
        model.consumed,
    )


def column(model: Model, symbol: str, candle: Candle, span: Decimal) -> Column:
    """The map after this candle, in compact form."""
    lowest, highest = within(candle.close, span, model.long.width)
    first, (long, short) = spread((model.long, model.short), lowest, highest)
    return Column(
        symbol,
        candle.time_ms,
        model.long.width,
        first,
        pack(long),
        pack(short),
        candle.low,
        candle.high,
        candle.close,
        model.oi_missing,
    )


def described(model: Model, symbol: str, config: Config) -> MapModel:
    """What a model that took in a candle is made with."""
    assumed, brackets = model.assumptions, brackets_of(symbol, config.tables)
    assert model.history_from_ms is not None, "something was applied"
    return MapModel(
        symbol,
        model.history_from_ms,
        assumed.side_model,
        assumed.tiers,
        assumed.typical_notional,
        brackets.dated,
        brackets.assumed,
        assumed.half_life_ms,
        config.positions_for_ms,
        config.backfill_days,
        config.span_pct,
    )


def floor_of(price: Decimal, width: Decimal) -> Decimal:
    """A price rounded down to the bin that it lies in."""
    return bin_of(price, width) * width


def within(price: Decimal, span: Decimal, width: Decimal) -> tuple[int, int]:
    """The bins that lie within a fraction of the price."""
    return bin_of(price * (1 - span), width), bin_of(price * (1 + span), width)


def _amount(value: Decimal) -> Decimal:
    return trimmed(value.quantize(_DIGITS, ROUND_FLOOR, MATH))
