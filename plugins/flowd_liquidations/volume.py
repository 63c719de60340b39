"""A transform: liquidations to volume buckets. Accumulated, never replaced; exact; each order
once.

Once a second it reads what is new, adds it up, publishes the changed buckets as full totals and
says that it is done, all in one step: so a restart at any moment neither loses an order nor counts
one twice, and the stream itself is all the state there is.
"""

import os
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import trio
from attrs import Factory, field, frozen

from flowd.market import EXACT, Bucket, Fill, Liquidation, trimmed
from flowd.plugin import Feed, Record, Seconds, Streams
from flowd_liquidations.backfill import Backfill
from flowd_liquidations.timeframe import STANDARD, Timeframe, key, parse

BATCH_MAX = 2000
"""Orders added up in one step; the rest waits for the next, so that a backlog holds nobody up."""
BUCKETS_MAX = 1_000_000


def _timeframes(_: object, attribute: Any, names: list[str]) -> None:
    if not names:
        raise ValueError("timeframes = []: name at least one, such as 1m")
    for name in names:
        parse(name)


@frozen
class Config:
    """`input` is a stream of liquidations or of fills; `every` how often changed buckets are
    published.

    `backfill_from` is another flowd, whose buckets fill the time before our own; without it the
    environment's LIQUIDATION_API_BASE_URL, if set.
    """

    input: str
    timeframes: list[str] = field(default=Factory(lambda: list(STANDARD)), validator=_timeframes)
    every: Seconds = Seconds(1.0)
    backfill_from: str | None = None

    @property
    def history(self) -> str | None:
        """Where older buckets are asked for, None for nowhere."""
        return self.backfill_from or os.environ.get("LIQUIDATION_API_BASE_URL") or None


class Accumulator:
    """Adds liquidations up and publishes what changed."""

    def __init__(
        self,
        timeframes: list[Timeframe],
        feed: Feed[Bucket],
        first_seen: Callable[[str, int], None] = lambda symbol, time_ms: None,
    ) -> None:
        self.timeframes = timeframes
        self._feed = feed
        self._first_seen = first_seen
        self._symbols: set[str] = set()
        self._newest_ms = 0
        """The newest order's time; with the clock it decides what has outlived its retention."""
        self._last: dict[tuple[str, str], int] = {}
        """Each series' newest bucket that was published."""
        self._keys: dict[str, dict[int, list[str]]] = {frame.name: {} for frame in timeframes}
        self._oldest: dict[str, int] = {}
        began: dict[str, int] = {}
        for record in feed.stream.after(0):
            bucket = record.value
            self._note(bucket)
            if not bucket.backfilled:
                began[bucket.symbol] = min(bucket.time_ms, began.get(bucket.symbol, bucket.time_ms))
        for symbol, time_ms in began.items():
            self._symbols.add(symbol)
            first_seen(symbol, time_ms)

    def add(self, records: list[Record[Liquidation | Fill]]) -> None:
        """Count each order once in each timeframe, publish the changed buckets ascending."""
        changed: dict[tuple[str, Timeframe, int], tuple[Decimal, Decimal, int]] = {}
        frames = self.timeframes
        for record in records:
            order = order_of(record.value)
            if order is None:
                continue
            self._newest_ms = max(self._newest_ms, order.time_ms)
            if order.symbol not in self._symbols:
                self._symbols.add(order.symbol)
                self._first_seen(order.symbol, order.time_ms)
            for frame in frames:
                bucket = (order.symbol, frame, frame.start(order.time_ms))
                buy, sell, count = changed.get(bucket, _NOTHING)
                if order.side == "BUY":
                    buy = EXACT.add(buy, order.notional)
                else:
                    sell = EXACT.add(sell, order.notional)
                changed[bucket] = (buy, sell, count + 1)
        now_ms = self.now_ms
        for bucket in sorted(changed, key=_by_time):
            symbol, frame, start_ms = bucket
            if start_ms < now_ms - frame.keep_ms:
                for _ in range(changed[bucket][2]):
                    self._feed.drop(f"too late for {frame.name}")
                continue
            self._publish(symbol, frame, start_ms, *changed[bucket])
        self._forget_old()

    @property
    def now_ms(self) -> int:
        """What retention is counted from: the clock, or the newest order where a recording is
        played.
        """
        return min(self._newest_ms, self._feed.clock())

    def _publish(
        self,
        symbol: str,
        frame: Timeframe,
        start_ms: int,
        buy: Decimal,
        sell: Decimal,
        count: int,
    ) -> None:
        name = key(symbol, frame.name, start_ms)
        before = self._feed.get(name)
        late = start_ms < self._last.get((symbol, frame.name), start_ms)
        if before is not None and before.backfilled:
            # The other daemon counted this order; ours would come on top.
            self._feed.drop("older than our own history")
            return
        if before is not None:
            buy = EXACT.add(buy, before.buy)
            sell = EXACT.add(sell, before.sell)
            count += before.count
        after = Bucket(symbol, frame.name, start_ms, trimmed(buy), trimmed(sell), count, late)
        self._feed.publish(after, key=name)
        if before is None:
            self._note(after)

    def _note(self, bucket: Bucket) -> None:
        series = (bucket.symbol, bucket.timeframe)
        self._last[series] = max(bucket.time_ms, self._last.get(series, 0))
        keys = self._keys.get(bucket.timeframe)
        if keys is not None:
            name = key(bucket.symbol, bucket.timeframe, bucket.time_ms)
            keys.setdefault(bucket.time_ms, []).append(name)
            self._newest_ms = max(self._newest_ms, bucket.time_ms)

    def _forget_old(self) -> None:
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


def order_of(value: Liquidation | Fill) -> Liquidation | Fill | None:
    """What counts: a liquidation, or the liquidated side of one; neither a plain trade nor the
    other side.
    """
    return None if isinstance(value, Fill) and value.role != "liquidated" else value


_NOTHING = (Decimal(0), Decimal(0), 0)


def _by_time(bucket: tuple[str, Timeframe, int]) -> tuple[int, str, int]:
    symbol, frame, start_ms = bucket
    return start_ms, symbol, frame.width_ms


async def volume(config: Config, streams: Streams, feed: Feed[Bucket]) -> None:
    """Read, add up, publish, once every second; ends when its input does."""
    frames = [parse(name) for name in config.timeframes]
    if config.history is None:
        await accumulate(config, streams, Accumulator(frames, feed))
        return
    backfill = Backfill(config.history, frames, feed)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(backfill.run)
        await accumulate(config, streams, Accumulator(frames, feed, backfill.first_seen))
        nursery.cancel_scope.cancel()


async def accumulate(config: Config, streams: Streams, accumulator: Accumulator) -> None:
    """Add up what comes, until it ends."""
    orders = streams[config.input]
    cursor = orders.cursor()
    while await orders.stream.news(cursor.position.seq):
        # No checkpoint until `done`: buckets and place belong to the same instant.
        batch = cursor.read(limit=BATCH_MAX)
        accumulator.add(batch.records)
        cursor.done()
        if cursor.position == orders.head:
            await pause(orders, config.every)
        else:
            await trio.lowlevel.checkpoint()


async def pause(orders: Any, seconds: float) -> None:
    """Sleep, but not beyond the end of the input."""
    with trio.move_on_after(seconds):
        await orders.stream.ended()
