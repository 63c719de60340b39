"""What is published beside the map."""

from decimal import Decimal

from attrs import frozen

from flowd_heatmap.leverage import Tier


@frozen
class Column:
    """The map of one symbol when the candle that opened at `time_ms` had been applied; a table, by
    `symbol/time_ms`.

    Bin n of `long` and `short` begins at the price `(first + n) * bin`. Both are bytes, one for a
    bin, compressed with zlib and written in base64. `close` is the candle's, `low` and `high` its
    extremes.
    """

    symbol: str
    time_ms: int
    bin: Decimal
    first: int
    long: str
    short: str
    low: Decimal
    high: Decimal
    close: Decimal
    oi_missing: bool = False

    @property
    def key(self) -> str:
        """Its key in the table."""
        return f"{self.symbol}/{self.time_ms}"


@frozen
class Score:
    """How well the map of one symbol knew the liquidations since `since_ms`; a table, by `symbol`.

    `lift` is how much higher what the map had at their prices ranks than at the same distances on
    other days: 0 where it knows nothing, 0.5 at most. It lies between `low` and `high` with 95 %
    confidence, so that only a `low` above 0 says something. `events` were scored, `dropped` could
    not be.
    """

    symbol: str
    since_ms: int
    events: int
    dropped: int
    lift: float | None = None
    low: float | None = None
    high: float | None = None


@frozen
class MapModel:
    """What the map of one symbol is made with, as its transform is set; a table, by `symbol`.

    `since_ms` is when the first candle opened that it took in. `leverage` are the tiers of the
    assumed mix, their weights 1 in sum; `typical_notional` is the size by which a position's
    bracket is chosen, `brackets` when those were true, `brackets_assumed` that they are those of no
    symbol in particular. Of what is open, half is taken to be turned over unseen in `half_life_ms`,
    None for never; what is older than `positions_for_ms` is let go. At first candles of
    `backfill_days` were asked for; `span_pct` of the price are drawn.
    """

    symbol: str
    since_ms: int
    side_model: str
    leverage: tuple[Tier, ...]
    typical_notional: Decimal
    brackets: str
    brackets_assumed: bool
    half_life_ms: int | None
    positions_for_ms: int
    backfill_days: int
    span_pct: int
