"""The table of buckets: where each series begins, what comes late, what has outlived its retention.

The stream holds the buckets. What is here is only where they lie, and is made anew at each start.
"""

from collections.abc import Callable
from decimal import Decimal

from attrs import evolve, frozen

from flowd.market import Bucket, totals_of, trimmed
from flowd.plugin import Feed, Stream
from flowd_liquidations.parts import Parts, Venues, joined, only, ordered
from flowd_liquidations.timeframe import Timeframe, key

Begin = Callable[[str, str, int], None]
"""Symbol, timeframe and time of the oldest bucket of our own."""


@frozen
class Hole:
    """Between these times some orders were missed."""

    from_ms: int
    to_ms: int


class Shelf:
    """The buckets of all symbols in these timeframes, our own and those from elsewhere.

    `alone` says that all orders are of one input, so what an older flowd saved of them and did not
    name is of the venue that comes.
    """

    def __init__(
        self, timeframes: list[Timeframe], feed: Feed[Bucket], *, alone: bool = True
    ) -> None:
        self.timeframes = timeframes
        self._feed = feed
        self._alone = alone
        self.newest_ms = 0
        """The newest order's time; with the clock it decides what has outlived its retention."""
        self._last: dict[tuple[str, str], int] = {}
        """Each series' newest bucket that was published."""
        self._begun: dict[tuple[str, str], int] = {}
        self._on_begin: Begin = lambda symbol, timeframe, time_ms: None
        self._keys: dict[str, dict[int, list[str]]] = {frame.name: {} for frame in timeframes}
        self._oldest: dict[str, int] = {}
        self._holes: Stream[Hole] = feed.table("holes", Hole)
        self._whole = not len(self._holes)
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
        venues: Venues = (),
    ) -> None:
        """Publish a bucket as it was counted elsewhere, with its venues where they are told."""
        late = time_ms < self._last.get((symbol, frame.name), time_ms)
        bucket = Bucket(
            symbol,
            frame.name,
            time_ms,
            trimmed(buy),
            trimmed(sell),
            count,
            late,
            backfilled=True,
            venue=only(venues),
            venues=venues,
        )
        self._feed.publish(bucket, key=key(symbol, frame.name, time_ms))
        self._note(bucket)

    def add(
        self, symbol: str, frame: Timeframe, time_ms: int, parts: Parts, before: Bucket | None
    ) -> None:
        """Add what venues told to a bucket of our own, which is there as `before`, and publish its
        full totals, marked as late where a newer one of its series came before.
        """
        series = (symbol, frame.name)
        if before is None:
            if series not in self._begun:
                self._begun[series] = time_ms
                self._on_begin(symbol, frame.name, time_ms)
            venues = ordered(parts)
        else:
            assert not before.backfilled
            venues = joined(before, parts, alone=self._alone)
        buy, sell, count = totals_of(venues)
        late = time_ms < self._last.get(series, time_ms)
        torn = not self._whole and self._torn(frame, time_ms)
        bucket = Bucket(
            symbol,
            frame.name,
            time_ms,
            buy,
            sell,
            count,
            late,
            False,
            torn,
            only(venues),
            venues,
        )
        self._feed.publish(bucket, key=key(symbol, frame.name, time_ms))
        if before is None:
            self._note(bucket)

    def tear(self, from_ms: int, to_ms: int) -> None:
        """Between these times some orders were missed: the buckets there are incomplete."""
        self._holes.append(Hole(from_ms, to_ms), key=str(from_ms))
        self._whole = False
        for frame in self.timeframes:
            starts = [start_ms for start_ms in self._keys[frame.name] if start_ms <= to_ms]
            for start_ms in [one for one in starts if frame.following(one) > from_ms]:
                for name in self._keys[frame.name][start_ms]:
                    bucket = self._feed.get(name)
                    if bucket is not None and not bucket.backfilled:
                        self._feed.publish(evolve(bucket, incomplete=True), key=name)

    def _torn(self, frame: Timeframe, start_ms: int) -> bool:
        end_ms = frame.following(start_ms)
        holes = [record.value for record in self._holes.after(0)]
        return any(start_ms <= hole.to_ms and hole.from_ms < end_ms for hole in holes)

    def oldest_ms(self, timeframe: str) -> int | None:
        """When the oldest bucket of our own in this timeframe begins, None while there is none."""
        times = [time_ms for (_, name), time_ms in self._begun.items() if name == timeframe]
        return min(times, default=None)

    def saw(self, time_ms: int) -> None:
        """An order of this time has come."""
        self.newest_ms = max(self.newest_ms, time_ms)

    @property
    def now_ms(self) -> int:
        """What retention is counted from: the clock, or the newest order where a recording is
        played.
        """
        return min(self.newest_ms, self._feed.clock())

    def forget_old(self, timeframes: list[Timeframe]) -> None:
        """Drop the buckets of these timeframes that have outlived their retention, whenever the
        horizon moves on, and the holes that are older than any bucket.
        """
        now_ms = self.now_ms
        for frame in timeframes:
            horizon = frame.start(now_ms - frame.keep_ms)
            if self._oldest.get(frame.name) == horizon:
                continue
            self._oldest[frame.name] = horizon
            keys = self._keys[frame.name]
            for start_ms in [start_ms for start_ms in keys if start_ms < now_ms - frame.keep_ms]:
                for name in keys.pop(start_ms):
                    self._feed.forget(name)
            if not self._whole:
                keep_ms = max(frame.keep_ms for frame in self.timeframes)
                for record in self._holes.after(0):
                    if record.value.to_ms < now_ms - 2 * keep_ms:
                        self._holes.forget(str(record.value.from_ms))

    def _note(self, bucket: Bucket) -> None:
        series = (bucket.symbol, bucket.timeframe)
        self._last[series] = max(bucket.time_ms, self._last.get(series, 0))
        keys = self._keys.get(bucket.timeframe)
        if keys is not None:
            name = key(bucket.symbol, bucket.timeframe, bucket.time_ms)
            keys.setdefault(bucket.time_ms, []).append(name)
            self.saw(bucket.time_ms)
