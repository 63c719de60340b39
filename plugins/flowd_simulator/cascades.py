"""Liquidation cascades: when they happen, to whom and how hard. Prices and forced orders obey them.

A cascade lies within one minute of a five-minute window, so that a candle's shape can follow it,
and is decided by the seed and the window alone.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import Final, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
from attrs import frozen

from flowd_simulator.intervals import DAY_MS, MINUTE_MS
from flowd_simulator.noise import key
from flowd_simulator.noise_arrays import Floats, Ints, hashes, part

Side = Literal["BUY", "SELL"]
WINDOW_MS: Final = 5 * MINUTE_MS
WINDOWS_DAY: Final = DAY_MS // WINDOW_MS
LIKELIHOOD: Final = 0.6
"""Share of the windows that see a cascade."""
MEMORY_WINDOWS: Final = 3
"""A cascade's mark on the price fades over so many windows."""
LASTING: Final = 0.6
"""So much of the move is left once its minute is over."""


@frozen
class Cascade:
    """Forced orders of one side feed on each other; the price runs away and comes back half way."""

    start_ms: int
    end_ms: int
    side: Side
    depth: float
    symbols: tuple[str, ...]

    @property
    def reach(self) -> float:
        """How far the price goes, with its sign: forced selling sends it down."""
        return -self.depth if self.side == "SELL" else self.depth


class Waves(NamedTuple):
    """The cascades of windows in a row; `reach` is 0 where there is none, or it is not felt."""

    start_ms: Ints
    end_ms: Ints
    reach: Floats


class Cascades:
    """All cascades of a market of these symbols. Each strikes neighbours in their order."""

    def __init__(self, seed: int, symbols: Sequence[str]) -> None:
        self._key = key(seed, "cascade")
        self._symbols = tuple(symbols)
        self._places = {symbol: place for place, symbol in enumerate(self._symbols)}
        self._day = lru_cache(maxsize=64)(self._make_day)

    def __call__(self, window: int) -> Cascade | None:
        """The cascade, if any, of a window (its number since the epoch)."""
        day, at = divmod(window, WINDOWS_DAY)
        return self._day(day)[at]

    def felt(self, symbol: str, windows: Ints) -> Waves:
        """Those of some windows which strike a symbol."""
        waves, first, struck = self._all(windows)
        place = self._places.get(symbol)
        if place is None:
            return waves._replace(reach=np.zeros(len(windows)))
        mine = (place - first) % len(self._symbols) < struck
        return waves._replace(reach=np.where(mine, waves.reach, 0.0))

    def _all(self, windows: Ints) -> tuple[Waves, Ints, Ints]:
        """Every cascade, the place of the first symbol that it strikes, and how many it does."""
        one, two = hashes(self._key, 2 * windows), hashes(self._key, 2 * windows + 1)
        start_ms = windows * WINDOW_MS + (1 + (4 * part(one, 0)).astype(np.int64)) * MINUTE_MS
        start_ms += 5_000 + (20_000 * part(one, 1)).astype(np.int64)
        end_ms = start_ms + 8_000 + (17_000 * part(one, 2)).astype(np.int64)
        depth = 0.004 + 0.016 * part(two, 0)
        reach = np.where(part(two, 1) < 0.5, -depth, depth)
        reach = np.where(part(one, 3) < LIKELIHOOD, reach, 0.0)
        count = len(self._symbols)
        first = (count * part(two, 2)).astype(np.int64)
        struck = np.maximum(1, np.rint(count * (0.3 + 0.5 * part(two, 3))).astype(np.int64))
        return Waves(start_ms, end_ms, reach), first, struck

    def _make_day(self, day: int) -> list[Cascade | None]:
        windows = np.arange(day * WINDOWS_DAY, (day + 1) * WINDOWS_DAY)
        waves, first, struck = self._all(windows)
        columns = (*waves, first, struck)
        return [self._cascade(*row) for row in zip(*(c.tolist() for c in columns), strict=True)]

    def _cascade(
        self, start_ms: int, end_ms: int, reach: float, first: int, struck: int
    ) -> Cascade | None:
        if not reach:
            return None
        places = (place % len(self._symbols) for place in range(first, first + struck))
        return Cascade(
            start_ms=start_ms,
            end_ms=end_ms,
            side="SELL" if reach < 0 else "BUY",
            depth=abs(reach),
            symbols=tuple(self._symbols[place] for place in places),
        )


def left_over(waves: Waves, first: int, minutes: Ints) -> Floats:
    """What is left of all moves at the beginning of some minutes, as a logarithm of the price.

    The waves are those from the window `first` on, MEMORY_WINDOWS before the first minute's.
    """
    total = np.zeros(len(minutes))
    newest = minutes * MINUTE_MS // WINDOW_MS - first
    times_ms, lasting_ms = minutes * MINUTE_MS, MEMORY_WINDOWS * WINDOW_MS
    for ago in range(MEMORY_WINDOWS + 1):
        at = newest - ago
        ages_ms = times_ms - waves.end_ms[at]
        felt: npt.NDArray[np.bool_] = (ages_ms >= 0) & (ages_ms < lasting_ms)
        total += np.where(felt, LASTING * waves.reach[at] * (1 - ages_ms / lasting_ms), 0.0)
    return total
