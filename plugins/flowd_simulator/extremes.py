"""How far the price of a day went in each five minutes: the market's own path, a day at once."""

from functools import lru_cache
from typing import Final, NamedTuple

from flowd_simulator.cascades import WINDOW_MS
from flowd_simulator.instruments import Instrument
from flowd_simulator.intervals import DAY_MS, HOUR_MS, MINUTE_MS
from flowd_simulator.noise_arrays import Floats
from flowd_simulator.paths import Paths

HOURS_DAY: Final = DAY_MS // HOUR_MS
MINUTES_WINDOW: Final = WINDOW_MS // MINUTE_MS


class Day(NamedTuple):
    """Of each window of a day, what the price was at most, at least and in the end."""

    high: Floats
    low: Floats
    close: Floats


class Extremes:
    """The days of all symbols."""

    def __init__(self, paths: Paths) -> None:
        self._paths = paths
        self.day = lru_cache(maxsize=1000)(self._make_day)

    def _make_day(self, instrument: Instrument, day: int) -> Day:
        """A day (its number since the epoch), as candles have it but for the rounding."""
        minutes = self._paths.minutes(instrument, day * HOURS_DAY, HOURS_DAY)
        windows = -1, MINUTES_WINDOW
        return Day(
            minutes.high().reshape(windows).max(axis=1),
            minutes.low().reshape(windows).min(axis=1),
            minutes.last.reshape(windows)[:, -1],
        )
