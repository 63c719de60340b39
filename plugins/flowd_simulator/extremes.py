"""How far the price of a day went in each five minutes: the market's own path, a day at once.

The market makes its path minute by minute. Whoever needs weeks of it, and only its turns, cannot
wait for that.
"""

from collections.abc import Callable
from functools import lru_cache
from math import exp
from typing import Final, NamedTuple

import numpy as np

from flowd_simulator.cascades import MEMORY_WINDOWS, WINDOW_MS, Cascade
from flowd_simulator.instruments import Instrument
from flowd_simulator.intervals import DAY_MS, MINUTE_MS
from flowd_simulator.noise import key
from flowd_simulator.noise_arrays import Floats, units, walks

WINDOWS_DAY: Final = DAY_MS // WINDOW_MS
MINUTES_DAY: Final = DAY_MS // MINUTE_MS
MINUTES_WINDOW: Final = WINDOW_MS // MINUTE_MS


class Day(NamedTuple):
    """Of each window of a day, what the price was at most, at least and in the end."""

    high: Floats
    low: Floats
    close: Floats


class Extremes:
    """The days of all symbols. `cascade_in` is None in a market without cascades."""

    def __init__(self, seed: int, cascade_in: Callable[[int], Cascade | None] | None) -> None:
        self._seed = seed
        self._cascade_in = cascade_in
        self.day = lru_cache(maxsize=1000)(self._make_day)

    def _make_day(self, instrument: Instrument, day: int) -> Day:
        """A day (its number since the epoch), as `Market` has it but for the rounding."""
        minutes = np.arange(day * MINUTES_DAY, (day + 1) * MINUTES_DAY + 1)
        symbol, volatility = instrument.symbol, instrument.volatility
        moves = volatility * walks(key(self._seed, "price", symbol), minutes)
        struck = list(self._struck(symbol, day))
        for cascade in struck:
            first = cascade.end_ms // MINUTE_MS + 1 - int(minutes[0])
            span = slice(max(first, 0), max(first + MEMORY_WINDOWS * MINUTES_WINDOW, 0))
            ages = minutes[span] * MINUTE_MS - cascade.end_ms
            lasting_ms = MEMORY_WINDOWS * WINDOW_MS
            moves[span] += np.where(
                ages < lasting_ms, 0.6 * cascade.reach * (1 - ages / lasting_ms), 0
            )
        levels = instrument.price * np.exp(moves)
        ahead, behind = levels[:-1], levels[1:]
        shape, places = key(self._seed, "shape", symbol), 5 * minutes[:-1]
        high = np.maximum(ahead, behind) * (1 + volatility * units(shape, places))
        low = np.minimum(ahead, behind) * (1 - volatility * units(shape, places + 1))
        for cascade in struck:
            at = cascade.start_ms // MINUTE_MS - int(minutes[0])
            if 0 <= at < MINUTES_DAY:
                turns = ahead[at], ahead[at] * exp(cascade.reach), behind[at]
                high[at], low[at] = max(turns), min(turns)
        return Day(
            high.reshape(-1, MINUTES_WINDOW).max(axis=1),
            low.reshape(-1, MINUTES_WINDOW).min(axis=1),
            levels[MINUTES_WINDOW::MINUTES_WINDOW],
        )

    def _struck(self, symbol: str, day: int) -> "list[Cascade]":
        """The cascades that this symbol feels on a day."""
        if self._cascade_in is None:
            return []
        windows = range(day * WINDOWS_DAY - MEMORY_WINDOWS - 1, (day + 1) * WINDOWS_DAY + 1)
        found = map(self._cascade_in, windows)
        return [cascade for cascade in found if cascade and symbol in cascade.symbols]
