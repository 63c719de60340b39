"""How much may be asked of a REST service in a minute: by our own count and by the server's."""

from collections import deque

import trio

WINDOW_S = 60.0


class Budget:
    """Weight per minute. `spend` waits until there is enough of it, in the order of the callers.

    Binance counts by address: what other programs spend is learned from its answers by `told`, and
    `close` lets nobody pass for a while when it refuses.
    """

    def __init__(self, weight_max: int) -> None:
        self.weight_max = weight_max
        self._spent: deque[tuple[float, int]] = deque()
        self._closed_until = 0.0
        self._turn = trio.StrictFIFOLock()

    @property
    def used(self) -> int:
        """The weight spent within the last minute."""
        now = trio.current_time()
        while self._spent and self._spent[0][0] <= now:
            self._spent.popleft()
        return sum(weight for _, weight in self._spent)

    @property
    def closed_s(self) -> float:
        """For how long nobody passes; 0 when it is open."""
        return max(0.0, self._closed_until - trio.current_time())

    async def spend(self, weight: int) -> None:
        """Wait until this much may be asked, and count it."""
        assert 0 < weight <= self.weight_max
        async with self._turn:
            while True:
                if self.closed_s:
                    await trio.sleep_until(self._closed_until)
                elif self.used + weight > self.weight_max:
                    await trio.sleep_until(self._spent[0][0])
                else:
                    break
            self._count(weight)

    def told(self, used: int) -> None:
        """The server counted `used` in its current minute: what exceeds our count was others'."""
        if used > self.used:
            self._count(used - self.used)

    def close(self, seconds: float) -> None:
        """Let nobody pass for so long."""
        self._closed_until = max(self._closed_until, trio.current_time() + seconds)

    def _count(self, weight: int) -> None:
        self._spent.append((trio.current_time() + WINDOW_S, weight))
