"""A source's candles, in order: the newer state wins, so many are kept, and holes are found.

The stream holds the candles. What is here is only where they lie, and is made anew at each start.
"""

from bisect import bisect_left, insort

from flowd.market import Candle
from flowd.plugin import Feed
from flowd_binance.klines import newer


class Shelf:
    """The candles of one interval, by symbol."""

    def __init__(self, feed: Feed[Candle], symbols: list[str], interval: str, keep: int) -> None:
        self._feed = feed
        self._interval = interval
        self._keep = keep
        self._times: dict[str, list[int]] = {symbol: [] for symbol in symbols}
        self._checked_ms: dict[str, int] = {}
        """Where the newest row of a symbol's last REST answer lies: holes before it are Binance's
        own.
        """
        for record in feed.records():
            candle = record.value
            if candle.interval == interval and candle.symbol in self._times:
                self._place(candle)
            else:
                feed.forget(candle.key)

    def __contains__(self, symbol: str) -> bool:
        return symbol in self._times

    def put(self, candle: Candle) -> None:
        """Publish a candle, unless what is known of it is newer: has more trades, or is closed."""
        before = self._feed.get(candle.key)
        if before is not None:
            if newer(candle, before):
                self._feed.publish(candle, key=candle.key)
            return
        times = self._times[candle.symbol]
        if len(times) < self._keep or candle.time_ms > times[0]:
            self._feed.publish(candle, key=candle.key)
            self._place(candle)

    def checked(self, symbol: str, time_ms: int) -> None:
        """REST was asked for what is missing, and the newest that it knew began at `time_ms`."""
        self._checked_ms[symbol] = time_ms

    def whole(self, candle: Candle) -> bool:
        """Whether the candle before this one is here and closed, so that nothing is missing."""
        times = self._times[candle.symbol]
        index = bisect_left(times, candle.time_ms)
        if candle.time_ms <= self._checked_ms.get(candle.symbol, -1):
            return True
        return index > 0 and _meet(self._get(candle.symbol, times[index - 1]), candle)

    def hole(self, symbol: str, now_ms: int, history: int) -> int | None:
        """Since when candles are missing, None if none are; 0 when there are none at all."""
        times = self._times[symbol]
        if not times:
            return 0
        later = self._get(symbol, times[-1])
        # A closed candle is followed by one that may be open still: live data brings that.
        over_ms = later.close_time_ms + (later.width_ms if later.closed else 0)
        since = _end(later) if over_ms < now_ms else None
        checked_ms = self._checked_ms.get(symbol, -1)
        for time_ms in reversed(times[:-1]):
            if later.time_ms <= checked_ms:
                break
            candle = self._get(symbol, time_ms)
            if not _meet(candle, later):
                since = _end(candle)
            later = candle
        if symbol not in self._checked_ms and len(times) < history:
            since = min(since or now_ms, now_ms - history * later.width_ms)
        if since is None:
            return None
        return max(since, now_ms - self._keep * later.width_ms)

    def width_ms(self, symbol: str) -> int:
        """How long a candle lasts, by the newest one; only where there is one."""
        return self._get(symbol, self._times[symbol][-1]).width_ms

    def _get(self, symbol: str, time_ms: int) -> Candle:
        candle = self._feed.get(f"{symbol}/{self._interval}/{time_ms}")
        assert candle is not None, "the stream's retain is larger than what is kept here"
        return candle

    def _place(self, candle: Candle) -> None:
        times = self._times[candle.symbol]
        insort(times, candle.time_ms)
        while len(times) > self._keep:
            self._feed.forget(f"{candle.symbol}/{self._interval}/{times.pop(0)}")


def _meet(earlier: Candle, later: Candle) -> bool:
    """Whether nothing is missing between two candles."""
    return earlier.closed and earlier.close_time_ms + 1 == later.time_ms


def _end(candle: Candle) -> int:
    """From where on to ask: a candle that is not closed is asked for again."""
    return candle.close_time_ms + 1 if candle.closed else candle.time_ms
