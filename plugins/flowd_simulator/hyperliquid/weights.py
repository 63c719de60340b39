"""What one address has asked for within the last minute."""

from collections import deque

from flowd_simulator.intervals import MINUTE_MS
from flowd_simulator.session import Clock


class Count:
    """A sum over a rolling minute."""

    def __init__(self, clock: Clock) -> None:
        self.most = 0
        """The highest that the sum ever was."""
        self.refused = 0
        """What was counted by `refuse`: requests over the limit."""
        self._clock = clock
        self._spent: deque[tuple[int, int]] = deque()
        self._sum = 0

    @property
    def used(self) -> int:
        """The sum now."""
        oldest_ms = self._clock() - MINUTE_MS
        while self._spent and self._spent[0][0] <= oldest_ms:
            self._sum -= self._spent.popleft()[1]
        return self._sum

    def add(self, weight: int = 1) -> None:
        """Count more."""
        self._spent.append((self._clock(), weight))
        self._sum += weight
        self.most = max(self.most, self.used)

    def within(self, limit: int, weight: int = 1) -> bool:
        """Count this if it stays within the limit, and say whether it does."""
        if self.used + weight > limit:
            self.refused += 1
            return False
        self.add(weight)
        return True
