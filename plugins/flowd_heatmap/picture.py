"""The past of a map as a picture: prices by time, the same rows for all columns.

Pure, and numpy's work, so it may run in a thread.
"""

from base64 import b64encode
from collections.abc import Iterator, Sequence
from decimal import ROUND_CEILING, Decimal
from itertools import groupby, pairwise
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
CELLS = 1 << 21
"""Of columns and bins that are looked at together, at most, so that memory is bounded."""


@frozen
class Decoded:
    """A column, and its codes from the bin `first` on, a byte for each."""

    column: Column
    long: bytes
    short: bytes


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
    long, short = _rows(decoded, float(first * width), float(width), count)
    return Picture(symbol, first * width, width, count, columns, long, short)


def _row(least: Decimal, bin: Decimal) -> Decimal:
    """How high a row is: so many whole bins that it is at least that."""
    return bin * max(1, int((least / bin).to_integral_value(ROUND_CEILING)))


def _rows(decoded: Sequence[Decoded], base: float, width: float, count: int) -> tuple[Codes, Codes]:
    """Codes of bins, column by column, as codes of rows, row by row, for both sides."""
    cells = np.zeros((2, count, len(decoded)), np.uint8)
    for begin, end, lowest, highest in _blocks(decoded):
        # By the middle of a bin, so that no edge is missed by a rounding.
        middles = (np.arange(lowest, highest) + 0.5) * float(decoded[begin].column.bin)
        row = np.floor((middles - base) / width).astype(np.int64)
        low, high = np.searchsorted(row, (0, count))
        if low < high:
            table = _table(decoded[begin:end], lowest, highest)[low:high]
            rows, sums = _sums(table, row[low:high])
            cells[:, rows, begin:end] = codes(sums).reshape(len(rows), 2, -1).swapaxes(0, 1)
    return cells[0].ravel(), cells[1].ravel()


def _blocks(decoded: Sequence[Decoded]) -> Iterator[tuple[int, int, int, int]]:
    """Neighbours with the same bins, so few at once that they fit into a table of `CELLS`: from
    which to before which, and so their bins.
    """
    begin = 0
    for _, alike in groupby(decoded, lambda one: one.column.bin):
        bins = [
            (first := one.column.first, first + max(len(one.long), len(one.short))) for one in alike
        ]
        lowest, highest = _reach(bins)
        step = max(1, CELLS // max(1, highest - lowest))
        for at in range(0, len(bins), step):
            some = bins[at : at + step]
            yield begin + at, begin + at + len(some), *_reach(some)
        begin += len(bins)


def _reach(bins: Sequence[tuple[int, int]]) -> tuple[int, int]:
    return min(first for first, _ in bins), max(end for _, end in bins)


def _table(decoded: Sequence[Decoded], lowest: int, highest: int) -> Codes:
    """The codes of some bins: a line for each, of the long sides of all columns and then of their
    short ones.
    """
    wide = highest - lowest
    short = wide * len(decoded)
    found = bytearray(2 * short)
    start = -lowest
    for one in decoded:
        at = start + one.column.first
        found[at : at + len(one.long)] = one.long
        at += short
        found[at : at + len(one.short)] = one.short
        start += wide
    return np.ascontiguousarray(np.frombuffer(found, np.uint8).reshape(-1, wide).T)


def _sums(table: Codes, row: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Which rows there are, and the sums of the densities of each one's bins."""
    starts = np.flatnonzero(np.diff(row, prepend=-1))
    sums = np.empty((len(starts), table.shape[1]))
    for place, (start, end) in enumerate(pairwise([*starts.tolist(), len(row)])):
        np.add.reduce(DENSITIES.take(table[start:end]), axis=0, out=sums[place])
    return row[starts], sums


def runs(cells: Codes) -> tuple[Codes, NDArray[np.uint16]]:
    """Codes as runs of the same code: which, and how many of it."""
    if not len(cells):
        return cells, np.zeros(0, np.uint16)
    starts = np.concatenate(([0], np.flatnonzero(cells[1:] != cells[:-1]) + 1))
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
