"""The past of a map as a picture: prices by time, the same rows for all columns.

Pure, and numpy's work, so it may run in a thread.
"""

from base64 import b64encode
from collections.abc import Sequence
from decimal import ROUND_CEILING, Decimal
from itertools import pairwise
from typing import Any

import numpy as np
from attrs import frozen
from numpy.typing import NDArray

from flowd_heatmap.columns import DENSITIES, Codes, codes
from flowd_heatmap.records import Column
from flowd_heatmap.shapes import number

DENSITY = "2^((code-1)/8)"
"""What a code stands for; 0 for nothing."""
RUN_MAX = 65_535
BINS_MAX = 1000
COLUMNS_MAX = 10_000


@frozen
class Decoded:
    """A column, and its codes from the bin `first` on."""

    column: Column
    long: Codes
    short: Codes


@frozen
class Picture:
    """`bins` rows of prices, each `bin` high, from `base` up. `long` and `short` are codes: all of
    the lowest row in the order of `columns`, then those of the next.
    """

    symbol: str
    base: Decimal
    bin: Decimal
    bins: int
    columns: tuple[Column, ...]
    long: Codes
    short: Codes


def draw(
    symbol: str,
    decoded: Sequence[Decoded],
    bins: int,
    low: Decimal | None = None,
    high: Decimal | None = None,
) -> Picture:
    """The picture of some columns of one symbol, oldest first, of at most `bins` rows between two
    prices. By default these lie a tenth of the price beyond what was traded, or a fifth of its span
    where that is more.
    """
    columns = tuple(one.column for one in decoded)
    nothing = np.zeros(0, np.uint8)
    if not columns:
        return Picture(symbol, Decimal(0), Decimal(1), 0, (), nothing, nothing)
    traded_low, traded_high = min(c.low for c in columns), max(c.high for c in columns)
    margin = max((traded_high - traded_low) / 5, traded_high / 10)
    low = max(traded_low - margin, Decimal(0)) if low is None else low
    high = traded_high + margin if high is None else high
    width = _row((high - low) / max(bins - 1, 1), columns[-1].bin)
    first = int(low // width)
    count = min(int(high // width) - first + 1, bins)
    long, short = (
        _rows(columns, side, float(first * width), float(width), count)
        for side in ([one.long for one in decoded], [one.short for one in decoded])
    )
    return Picture(symbol, first * width, width, count, columns, long, short)


def _row(least: Decimal, bin: Decimal) -> Decimal:
    """How high a row is: so many whole bins that it is at least that."""
    return bin * max(1, int((least / bin).to_integral_value(ROUND_CEILING)))


def _rows(
    columns: Sequence[Column], found: Sequence[Codes], base: float, width: float, count: int
) -> Codes:
    """Codes of bins, column by column, as codes of rows, row by row."""
    sizes = np.fromiter(map(len, found), np.int64, len(found))
    every = np.concatenate(found)
    some = np.flatnonzero(every)
    column = np.repeat(np.arange(len(found), dtype=np.int32), sizes)[some]
    firsts = np.fromiter((each.first for each in columns), np.int64, len(columns))
    starts = firsts - (np.cumsum(sizes) - sizes)
    index = some + starts[column]
    bins = {each.bin for each in columns}
    if len(bins) == 1:
        bin = float(bins.pop())
        # A row is a whole number of bins, and begins with one.
        row = (index - round(base / bin)) // round(width / bin)
    else:
        # By the middle of a bin, so that no edge is missed by a rounding.
        each_bin = np.fromiter((float(each.bin) for each in columns), np.float64, len(columns))
        row = np.floor(((index + 0.5) * each_bin[column] - base) / width).astype(np.int64)
    within = np.flatnonzero((row >= 0) & (row < count))
    place = row[within] * len(columns) + column[within]
    densities = DENSITIES[every[some[within]]]
    sums = np.bincount(place, weights=densities, minlength=count * len(columns))
    return codes(sums.astype(np.float64))


def runs(cells: Codes) -> tuple[Codes, NDArray[np.uint16]]:
    """Codes as runs of the same code: which, and how many of it."""
    if not len(cells):
        return cells, np.zeros(0, np.uint16)
    starts = np.concatenate(([0], np.flatnonzero(np.diff(cells)) + 1))
    lengths = np.diff(np.concatenate((starts, [len(cells)])))
    found = cells[starts]
    if int(lengths.max()) > RUN_MAX:
        parts = -(-lengths // RUN_MAX)
        rest = lengths - (parts - 1) * RUN_MAX
        ends = np.cumsum(parts) - 1
        found, lengths = np.repeat(found, parts), np.full(int(parts.sum()), RUN_MAX)
        lengths[ends] = rest
    return found, lengths.astype("<u2")


def told(picture: Picture, start_ms: int, end_ms: int) -> dict[str, Any]:
    """A picture in plain values; codes and lengths are bytes. `interval_ms` is how far columns lie
    apart where none is missing, None for fewer than two.
    """
    columns = picture.columns
    apart = [later.time_ms - one.time_ms for one, later in pairwise(columns)]
    return {
        "symbol": picture.symbol,
        "interval_ms": min(apart, default=None),
        "start": start_ms,
        "end": end_ms,
        "base": number(picture.base),
        "bin": number(picture.bin),
        "bins": picture.bins,
        "density": DENSITY,
        "times": [column.time_ms for column in columns],
        "close": [number(column.close) for column in columns],
        "low": [number(column.low) for column in columns],
        "high": [number(column.high) for column in columns],
        "oi_missing": [column.time_ms for column in columns if column.oi_missing],
        **{
            side: {"codes": found.tobytes(), "lengths": lengths.tobytes()}
            for side, (found, lengths) in (
                ("long", runs(picture.long)),
                ("short", runs(picture.short)),
            )
        },
    }


def in_text(plain: dict[str, Any]) -> dict[str, Any]:
    """The same for formats that have no bytes: in base64."""
    sides = {
        side: {name: b64encode(data).decode() for name, data in plain[side].items()}
        for side in ("long", "short")
    }
    return {**plain, **sides}
