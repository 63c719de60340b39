"""What is published beside the map."""

from decimal import Decimal

from attrs import frozen


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
