"""Liquidation cascades: when they happen, to whom and how hard. Prices and forced orders obey them.

A cascade lies within one minute of a five-minute window, so that a candle's shape can follow it,
and is decided by the seed and the window alone.
"""

from collections.abc import Callable, Sequence
from functools import lru_cache
from random import Random
from typing import Final, Literal

from attrs import frozen

from flowd_simulator.intervals import MINUTE_MS
from flowd_simulator.noise import key

Side = Literal["BUY", "SELL"]
WINDOW_MS: Final = 5 * MINUTE_MS
LIKELIHOOD: Final = 0.6
"""Share of the windows that see a cascade."""
MEMORY_WINDOWS: Final = 3
"""A cascade's mark on the price fades over so many windows."""


@frozen
class Cascade:
    """Forced orders of one side feed on each other; the price runs away and comes back half way."""

    start_ms: int
    end_ms: int
    side: Side
    depth: float
    symbols: tuple[str, ...]

    def push(self, symbol: str, time_ms: int) -> float:
        """What is left of the move at this time, as a share of the price."""
        age_ms = time_ms - self.end_ms
        lasting_ms = MEMORY_WINDOWS * WINDOW_MS
        if symbol not in self.symbols or not 0 <= age_ms < lasting_ms:
            return 0.0
        return 0.6 * self.reach * (1 - age_ms / lasting_ms)

    @property
    def reach(self) -> float:
        """How far the price goes, with its sign: forced selling sends it down."""
        return -self.depth if self.side == "SELL" else self.depth


def cascades(seed: int, symbols: Sequence[str]) -> Callable[[int], Cascade | None]:
    """The cascade, if any, of each window (its number since the epoch)."""

    def decide(window: int) -> Cascade | None:
        random = Random(key(seed, "cascade", window))
        if random.random() > LIKELIHOOD:
            return None
        minute_ms = window * WINDOW_MS + random.randrange(1, 5) * MINUTE_MS
        start_ms = minute_ms + random.randrange(5_000, 25_000)
        struck = max(1, round(len(symbols) * random.uniform(0.3, 0.8)))
        return Cascade(
            start_ms=start_ms,
            end_ms=start_ms + random.randrange(8_000, 25_000),
            side=random.choice(("BUY", "SELL")),
            depth=random.uniform(0.004, 0.02),
            symbols=tuple(random.sample(symbols, struck)),
        )

    return lru_cache(maxsize=10_000)(decide)
