"""Candles: one alone, and many in a row as columns of numbers, which sum up exactly."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from attrs import frozen

from flowd_simulator.noise_arrays import Ints


@frozen
class Candle:
    """An interval of trading, counted in ticks, steps and the smallest unit of the quote."""

    open: int
    high: int
    low: int
    close: int
    volume: int
    taker_buys: int
    quote: int
    taker_quote: int
    trades: int

    def __add__(self, later: "Candle") -> "Candle":
        return Candle(
            self.open,
            max(self.high, later.high),
            min(self.low, later.low),
            later.close,
            self.volume + later.volume,
            self.taker_buys + later.taker_buys,
            self.quote + later.quote,
            self.taker_quote + later.taker_quote,
            self.trades + later.trades,
        )


class Columns(NamedTuple):
    """The candles of intervals in a row: a number of each in every column."""

    open: Ints
    high: Ints
    low: Ints
    close: Ints
    volume: Ints
    taker_buys: Ints
    quote: Ints
    taker_quote: Ints
    trades: Ints

    def candles(self) -> list[Candle]:
        """Each candle by itself."""
        return [Candle(*row) for row in zip(*(c.tolist() for c in self), strict=True)]

    def cut(self, first: int, until: int) -> "Columns":
        """Those from one place up to another."""
        return Columns(*(column[first:until] for column in self))

    def summed(self, firsts: Ints) -> "Columns":
        """Wider candles: one from each of these places up to the next, the last up to the end."""
        lasts = np.append(firsts[1:], len(self.open)) - 1
        return Columns(
            self.open[firsts],
            np.maximum.reduceat(self.high, firsts),
            np.minimum.reduceat(self.low, firsts),
            self.close[lasts],
            *(np.add.reduceat(column, firsts) for column in self[4:]),
        )


def joined(parts: Sequence[Columns]) -> Columns:
    """One part after the other."""
    if len(parts) == 1:
        return parts[0]
    return Columns(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))
