"""Open interest as it was sampled, and what it was at the ends of candles.

Source: domain/heatmap.md, section 3.1.
"""

from bisect import bisect_left, bisect_right, insort
from decimal import Decimal

from flowd_heatmap.model import Interest


class Samples:
    """The samples of one symbol, in base units, in whatever order they come."""

    def __init__(self) -> None:
        self._times: list[int] = []
        self._values: dict[int, Decimal] = {}

    def __len__(self) -> int:
        return len(self._times)

    def add(self, time_ms: int, contracts: Decimal) -> None:
        """One more. What is told again of the same moment replaces what was told."""
        if time_ms not in self._values:
            insort(self._times, time_ms)
        self._values[time_ms] = contracts

    def at(self, time_ms: int, age_ms: int) -> Decimal | None:
        """The newest sample at this time or before, None if none is younger than `age_ms`."""
        index = bisect_right(self._times, time_ms) - 1
        if index < 0 or self._times[index] < time_ms - age_ms:
            return None
        return self._values[self._times[index]]

    def around(self, start_ms: int, width_ms: int) -> Interest:
        """What is known of a candle's two ends."""
        age_ms = width_ms // 2
        return Interest(self.at(start_ms, age_ms), self.at(start_ms + width_ms, age_ms))

    def reach(self, time_ms: int) -> bool:
        """Whether a sample is as new as this, so that what was before it is settled."""
        return bool(self._times) and self._times[-1] >= time_ms

    def forget(self, before_ms: int) -> None:
        """Let go of older ones."""
        count = bisect_left(self._times, before_ms)
        for time_ms in self._times[:count]:
            del self._values[time_ms]
        del self._times[:count]

    def newest(self) -> tuple[int, Decimal] | None:
        """The newest sample, None for none."""
        return (self._times[-1], self._values[self._times[-1]]) if self._times else None
