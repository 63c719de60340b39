"""The traders with leverage: what they hold open, and what they lose when the price reaches them.

They follow the price and never move it. In each five minutes some open positions at the price of
their end, long and short, with the leverages that people use; some are closed as time goes by, and
those that the price reaches are liquidated. What is open after a window follows from the two days
before it, so any day can be had alone, and history and the live market have the same past.
"""

from functools import lru_cache
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from flowd_simulator.cascades import WINDOW_MS, WINDOWS_DAY, Side
from flowd_simulator.extremes import Extremes
from flowd_simulator.instruments import Instrument
from flowd_simulator.noise import key
from flowd_simulator.noise_arrays import Floats, signs, units
from flowd_simulator.paths import Paths

SHARES: Final = {5: 0.15, 10: 0.30, 25: 0.25, 50: 0.20, 100: 0.10}
"""How much of what is opened has which leverage."""
MAINTENANCE: Final = 0.004
DAYS: Final = 2
"""Who is in for longer has left."""
LASTING: Final = 144.0
"""So many windows, and of e positions one is open still."""
LEVERAGED: Final = 0.15
"""The crowd's part of what is usually open, if nobody were liquidated; others never move."""
CALM: Final = 6
"""The higher, the more of what is opened is opened in a few windows."""


class Day(NamedTuple):
    """Of each window of a day: what is open after it, and what longs and shorts lost in it, all in
    base units.
    """

    open: list[float]
    longs_lost: list[float]
    shorts_lost: list[float]


class Crowd:
    """The crowds of all symbols."""

    def __init__(self, seed: int, paths: Paths) -> None:
        self._seed = seed
        self._extremes = Extremes(paths)
        self._day = lru_cache(maxsize=1000)(self._make_day)

    def open_interest(self, instrument: Instrument, time_ms: int) -> float:
        """What is open at this time, in base units: on its way from one full window to the next."""
        window, into_ms = divmod(time_ms, WINDOW_MS)
        before, after = self._after(instrument, window - 1), self._after(instrument, window)
        return before + (after - before) * into_ms / WINDOW_MS

    def lost(self, instrument: Instrument, window: int, side: Side) -> float:
        """What is liquidated in a window by forced orders of this side, in base units."""
        day, at = divmod(window, WINDOWS_DAY)
        found = self._day(instrument, day)
        return (found.longs_lost if side == "SELL" else found.shorts_lost)[at]

    def _after(self, instrument: Instrument, window: int) -> float:
        day, at = divmod(window, WINDOWS_DAY)
        return self._day(instrument, day).open[at]

    def _make_day(self, instrument: Instrument, day: int) -> Day:
        days = [self._extremes.day(instrument, each) for each in range(day - DAYS, day + 1)]
        high, low, entry = (np.concatenate(parts) for parts in zip(*days, strict=True))
        longs, shorts = self._opened(instrument, (day - DAYS) * WINDOWS_DAY, len(entry))
        long_open, long_lost = _fate(longs, entry, low, sign=1)
        short_open, short_lost = _fate(shorts, -entry, -high, sign=-1)
        # Each contract has two holders; the other side of the crowd's is anybody.
        others = (1 - LEVERAGED) * usual(instrument)
        return Day(
            (others + (long_open + short_open) / 2).tolist(),
            long_lost.tolist(),
            short_lost.tolist(),
        )

    def _opened(self, instrument: Instrument, first: int, count: int) -> tuple[Floats, Floats]:
        """What longs and shorts open in so many windows: little in most of them, much in some."""
        places = 2 * np.arange(first, first + count)
        seed = key(self._seed, "crowd", instrument.symbol)
        mean = LEVERAGED * usual(instrument) / LASTING
        sizes = mean * (CALM + 1) * units(seed, places) ** CALM
        lean = 0.4 * signs(seed, places + 1)
        return sizes * (1 + lean), sizes * (1 - lean)


def usual(instrument: Instrument) -> float:
    """What is open in a usual market, in base units."""
    return instrument.turnover_usd * 1300 / instrument.price


def liquidation(leverage: int, sign: int) -> float:
    """The liquidation price of a long (`sign` 1) or short (-1), as a share of its entry."""
    return (1 - sign / leverage) / (1 - sign * MAINTENANCE)


def _fate(opened: Floats, entry: Floats, low: Floats, *, sign: int) -> tuple[Floats, Floats]:
    """What of all that was opened is open after each window of the last day, and what was lost in
    it. Of shorts all prices are below zero, so that high is low.
    """
    count = len(opened)
    first = count - WINDOWS_DAY
    windows = np.arange(count)
    # Open in one window, and gone in another: the sum of both is what there is.
    change, lost = np.zeros(count + 1), np.zeros(count + 1)
    for leverage, share in SHARES.items():
        dead = _deaths(entry * liquidation(leverage, sign), low, first)
        until = np.minimum(windows + DAYS * WINDOWS_DAY, count)
        left = np.minimum(dead, until)
        there = left > np.maximum(windows, first - 1)
        amount = share * opened * np.exp((windows - first) / LASTING)
        born = np.maximum(windows, first)
        change += np.bincount(born[there], amount[there], count + 1)
        change -= np.bincount(left[there], amount[there], count + 1)
        died = there & (dead < until)
        worth = amount * np.exp((first + 1 - dead) / LASTING)
        lost += np.bincount(dead[died], worth[died], count + 1)
    fading = np.exp((first - windows[first:]) / LASTING)
    return np.cumsum(change)[first:count] * fading, lost[first:count]


def _deaths(level: Floats, low: Floats, first: int) -> npt.NDArray[np.int64]:
    """In which window the price reaches each level, of those behind the level's own; any before
    `first` if it is before that, and their number if it is never.
    """
    count = len(level)
    # What came before the last day is told by one number: the lowest since a level's window.
    since = np.minimum.accumulate(low[1:first][::-1])[::-1]
    over = np.append(since, np.inf) <= level[:first]
    ahead = first + np.searchsorted(-np.minimum.accumulate(low[first:]), -level[:first])
    reached = np.triu(low[None, first:] <= level[first:, None], 1)
    later = np.where(reached.any(axis=1), first + reached.argmax(axis=1), count)
    return np.append(np.where(over, 0, ahead), later)
