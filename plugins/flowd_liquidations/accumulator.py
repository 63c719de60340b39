"""Adds liquidations up: each once in each timeframe, at the price of one addition until something
is published.
"""

from decimal import Decimal
from math import gcd

from flowd.market import EXACT, Bucket, Fill, Liquidation
from flowd.plugin import Batch, Feed
from flowd_liquidations.shelf import Shelf
from flowd_liquidations.timeframe import DAY_MS, MINUTE_MS, Timeframe

Key = tuple[str, str, Timeframe, int]
"""Of which symbol and venue, how wide, and when it begins."""
Sum = tuple[Decimal, Decimal, int]
"""What was bought, what was sold, by how many orders."""


class Accumulator:
    """Adds up for some timeframes, in the spans that all of them are made of. Nothing of it is
    published before `publish`.
    """

    def __init__(self, timeframes: list[Timeframe], shelf: Shelf, feed: Feed[Bucket]) -> None:
        self._frames = timeframes
        self._shelf = shelf
        self._feed = feed
        self._unit_ms = gcd(DAY_MS, *(frame.width_ms for frame in timeframes))
        self._sums: dict[tuple[str, str, int], Sum] = {}
        self._newest_ms = shelf.newest_ms
        self._swept = -1
        """The minute in which what had outlived its retention was forgotten."""

    @property
    def changed(self) -> int:
        """How many buckets are to be published, at most."""
        return len(self._sums) * len(self._frames)

    def add(self, batch: Batch[Liquidation | Fill]) -> None:
        """Count each order once. What was missed before them leaves a hole."""
        if batch.gap is not None:
            self._tear(batch)
        sums, unit_ms, newest_ms = self._sums, self._unit_ms, self._newest_ms
        for record in batch.records:
            order = order_of(record.value)
            if order is None:
                continue
            time_ms = order.time_ms
            if time_ms > newest_ms:
                newest_ms = time_ms
            span = order.symbol, order.venue, time_ms - time_ms % unit_ms
            buy, sell, count = sums.get(span, _NOTHING)
            if order.side == "BUY":
                sums[span] = EXACT.add(buy, order.notional), sell, count + 1
            else:
                sums[span] = buy, EXACT.add(sell, order.notional), count + 1
        self._newest_ms = newest_ms

    def publish(self) -> None:
        """Publish the changed buckets as full totals, ascending. To be called in one step with
        `cursor.done()`.
        """
        shelf = self._shelf
        shelf.saw(self._newest_ms)
        now_ms = shelf.now_ms
        if self._sums:
            changed = self._buckets()
            for bucket in sorted(changed, key=_by_time) if len(changed) > 1 else changed:
                symbol, venue, frame, start_ms = bucket
                buy, sell, count = changed[bucket]
                before = shelf.get(symbol, frame, start_ms)
                if start_ms < now_ms - frame.keep_ms:
                    for _ in range(count):
                        self._feed.drop(f"too late for {frame.name}")
                elif before is not None and before.backfilled:
                    # The other daemon counted this order; ours would come on top.
                    self._feed.drop("older than our own history")
                elif before is not None and before.venue not in ("", venue):
                    # Venues are never added up in silence. What an older flowd saved names none.
                    for _ in range(count):
                        self._feed.drop(f"not of {before.venue} in {frame.name}", symbol)
                else:
                    shelf.add(symbol, frame, start_ms, buy, sell, count, venue)
            self._sums.clear()
        minute = now_ms // MINUTE_MS
        if minute != self._swept:
            # Every span begins with a minute, so nothing outlives its retention within one.
            self._swept = minute
            shelf.forget_old(self._frames)

    def _buckets(self) -> dict[Key, Sum]:
        changed: dict[Key, Sum] = {}
        for (symbol, venue, span_ms), (buy, sell, count) in self._sums.items():
            for frame in self._frames:
                bucket = symbol, venue, frame, frame.start(span_ms)
                before = changed.get(bucket)
                if before is None:
                    changed[bucket] = buy, sell, count
                else:
                    bought, sold, orders = before
                    total = EXACT.add(bought, buy), EXACT.add(sold, sell), orders + count
                    changed[bucket] = total
        return changed

    def _tear(self, batch: Batch[Liquidation | Fill]) -> None:
        """What was missed happened after the newest order that was counted, and before the next."""
        times = [record.value.time_ms for record in batch.records[:1]]
        to_ms = times[0] if times else self._feed.clock()
        self._shelf.tear(min(self._newest_ms or to_ms, to_ms), to_ms)


def order_of(value: Liquidation | Fill) -> Liquidation | Fill | None:
    """What counts: a liquidation, or the liquidated side of one; neither a plain trade nor the
    other side.
    """
    return None if isinstance(value, Fill) and value.role != "liquidated" else value


_NOTHING = (Decimal(0), Decimal(0), 0)


def _by_time(bucket: Key) -> tuple[int, str, int]:
    symbol, _, frame, start_ms = bucket
    return start_ms, symbol, frame.width_ms
