"""When the trading was that happened before anybody looked."""

from collections.abc import Iterator
from typing import Final

from attrs import frozen

from flowd_simulator.intervals import DAY_MS

SPREAD_MS: Final = 30_000


@frozen
class Past:
    """So many orders within so many days, more of them the nearer to now."""

    days: float = 1.0
    orders: int = 1500
    steps: int = 40
    rows_kept: int = 4000

    @property
    def sample_ms(self) -> int:
        """How far apart the points of an account's equity are."""
        return round(self.days * DAY_MS / 20)

    def moments(self, now_ms: int) -> Iterator[tuple[int, int]]:
        """Times in their order, and how many orders there were at each."""
        for step in range(self.steps):
            age = (1 - step / self.steps) ** 1.3
            orders = self.orders * (step + 1) // self.steps - self.orders * step // self.steps
            yield now_ms - round(self.days * DAY_MS * age), orders

    def apart_ms(self, orders: int) -> int:
        """How far apart the orders of one such time are, so that all are within its minute."""
        return SPREAD_MS // max(1, orders)


NO_PAST = Past(0.0, 0, 0)
LONG_PAST = Past(30.0, 4000, 60)
"""For who wants to see something: takes a few seconds."""
