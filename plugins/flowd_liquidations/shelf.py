"""The table of buckets: where each series begins, what comes late, what has outlived its retention.

The stream holds the buckets. What is here is only where they lie, and is made anew at each start.
"""

from collections.abc import Callable
from decimal import Decimal

from flowd.market import Bucket, trimmed
from flowd.plugin import Feed
from flowd_liquidations.timeframe import Timeframe, key

Begin = Callable[[str, str, int], None]
"""Symbol, timeframe and time of the oldest bucket of our own."""


class Shelf:
    """The buckets of all symbols in these timeframes, our own and those from elsewhere."""

    def __init__(self, timeframes: list[Timeframe], feed: Feed[Bucket]) -> None:
        self.timeframes = timeframes
        self._feed = feed
        self._newest_ms = 0
        """The newest order's time; with the clock it decides what has outlived its retention."""
        self._last: dict[tuple[str, str], int] = {}
        """Each series' newest bucket that was published."""
        self._begun: dict[tuple[str, str], int] = {}
        self._on_begin: Begin = lambda symbol, timeframe, time_ms: None
        self._keys: dict[str, dict[int, list[str]]] = {frame.name: {} for frame in timeframes}
        self._oldest: dict[str, int] = {}
        for record in feed.records():
            bucket = record.value
            self._note(bucket)
            if not bucket.backfilled:
                series = (bucket.symbol, bucket.timeframe)
                self._begun[series] = min(bucket.time_ms, self._begun.get(series, bucket.time_ms))

    def tell(self, on_begin: Begin) -> None:
        """Say where our own buckets of each series begin: of those there are, and of each new
        one.
        """
        self._on_begin = on_begin
        for (symbol, timeframe), time_ms in self._begun.items():
            on_begin(symbol, timeframe, time_ms)

    def get(self, symbol: str, frame: Timeframe, time_ms: int) -> Bucket | None:
        """The bucket that begins at `time_ms`, None when nothing is known of it."""
        return self._feed.get(key(symbol, frame.name, time_ms))

    def put(
        self,
        symbol: str,
        frame: Timeframe,
        time_ms: int,
        buy: Decimal,
        sell: Decimal,
        count: int,
        *,
        backfilled: bool = False,
    ) -> None:
        """Publish a bucket's totals, marked as late where a newer one of its series came before."""
        series = (symbol, frame.name)
        if not backfilled and series not in self._begun:
            self._begun[series] = time_ms
            self._on_begin(symbol, frame.name, time_ms)
        late = time_ms < self._last.get(series, time_ms)
        buy, sell = trimmed(buy), trimmed(sell)
        bucket = Bucket(symbol, frame.name, time_ms, buy, sell, count, late, backfilled)
        name = key(symbol, frame.name, time_ms)
        known = self._feed.get(name) is not None
        self._feed.publish(bucket, key=name)
        if not known:
            self._note(bucket)

    def saw(self, time_ms: int) -> None:
        """An order of this time has come."""
        self._newest_ms = max(self._newest_ms, time_ms)

    @property
    def now_ms(self) -> int:
        """What retention is counted from: the clock, or the newest order where a recording is
        played.
        """
        return min(self._newest_ms, self._feed.clock())

    def forget_old(self) -> None:
        """Drop the buckets that have outlived their retention, whenever a timeframe's horizon
        moves on.
        """
        now_ms = self.now_ms
        for frame in self.timeframes:
            horizon = frame.start(now_ms - frame.keep_ms)
            if self._oldest.get(frame.name) == horizon:
                continue
            self._oldest[frame.name] = horizon
            keys = self._keys[frame.name]
            for start_ms in [start_ms for start_ms in keys if start_ms < now_ms - frame.keep_ms]:
                for name in keys.pop(start_ms):
                    self._feed.forget(name)

    def _note(self, bucket: Bucket) -> None:
        series = (bucket.symbol, bucket.timeframe)
        self._last[series] = max(bucket.time_ms, self._last.get(series, 0))
        keys = self._keys.get(bucket.timeframe)
        if keys is not None:
            name = key(bucket.symbol, bucket.timeframe, bucket.time_ms)
            keys.setdefault(bucket.time_ms, []).append(name)
            self.saw(bucket.time_ms)
