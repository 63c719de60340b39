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
