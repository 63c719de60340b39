"""A source's samples of open interest: in order of time, so many of each symbol, and where some
are missing.

The stream holds the samples. What is here is only when they were taken, and is made anew at each
start.
"""

from collections import deque

from flowd.market import OpenInterest
from flowd.plugin import Feed
from flowd_binance.rest import PERIOD_MS

REACH_MS = PERIOD_MS // 2
"""What is open at a full five minutes is told by a sample that is no older than this."""


class Samples:
    """The samples of each symbol. None is put behind a newer one."""

    def __init__(self, feed: Feed[OpenInterest], symbols: list[str], keep: int) -> None:
        self._feed = feed
        self._keep = keep
        self._times: dict[str, deque[int]] = {symbol: deque() for symbol in symbols}
        for sample in sorted((record.value for record in feed.records()), key=lambda s: s.time_ms):
            if sample.symbol in self._times:
                self._place(sample)
            else:
                feed.forget(sample.key)

    def newest_ms(self, symbol: str) -> int | None:
        """When the newest sample was taken, None if there is none."""
        times = self._times[symbol]
        return times[-1] if times else None

    def put(self, sample: OpenInterest) -> bool:
        """Publish a sample, and forget the oldest beyond what is kept. False for one that is not
        newer than all.
        """
        newest_ms = self.newest_ms(sample.symbol)
        if newest_ms is not None and sample.time_ms <= newest_ms:
            return False
        self._feed.publish(sample, key=sample.key)
        self._place(sample)
        return True

    def missing(self, symbol: str, until_ms: int, history: int) -> range:
        """The full five minutes before `until_ms` of which nothing is known, as far back as
        `history` of them.
        """
        oldest_ms = _full(until_ms - history * PERIOD_MS)
        newest_ms = self.newest_ms(symbol)
        if newest_ms is None:
            return range(oldest_ms, until_ms, PERIOD_MS)
        next_ms = _full(newest_ms)
        if next_ms - newest_ms <= REACH_MS:
            next_ms += PERIOD_MS
        return range(max(next_ms, oldest_ms), until_ms, PERIOD_MS)

    def _place(self, sample: OpenInterest) -> None:
        times = self._times[sample.symbol]
        times.append(sample.time_ms)
        while len(times) > self._keep:
            self._feed.forget(f"{sample.symbol}/{times.popleft()}")


def _full(time_ms: int) -> int:
    """The first full five minutes from then on."""
    return -(-time_ms // PERIOD_MS) * PERIOD_MS
