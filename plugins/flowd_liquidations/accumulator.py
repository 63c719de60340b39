"""Adds liquidations up: each once in each timeframe, at the price of one addition until something
is published.
"""

from collections.abc import Callable
from decimal import Decimal
from math import gcd

from flowd.market import EXACT, Bucket, Coverage, Fill, Liquidation, PriceKind, VenueSum, trimmed
from flowd.plugin import Batch, Feed
from flowd_liquidations.parts import Parts, put
from flowd_liquidations.shelf import Shelf
from flowd_liquidations.timeframe import DAY_MS, MINUTE_MS, Timeframe

Key = tuple[str, Timeframe, int]
"""Of which symbol, how wide, and when it begins."""
Span = tuple[str, int, str, PriceKind, Coverage]
"""Of which symbol, when it begins, and whose orders of which kind."""
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
        self._sums: dict[Span, Sum] = {}
        self._newest_ms = shelf.newest_ms
        self._starts_of = -1
        self._starts: list[tuple[Timeframe, int]] = []
        """When the buckets begin that this span, the last one, is in."""
        self._swept = -1
        """The minute in which what had outlived its retention was forgotten."""

    @property
    def changed(self) -> int:
        """How many buckets are to be published, at most."""
        return len(self._sums) * len(self._frames)

    def add(
        self,
        batch: Batch[Liquidation | Fill],
        newest_ms: int | None = None,
        once: Callable[[str], bool] = lambda id: True,
    ) -> int:
        """Count each order once; those of which `once` says that they are no news, not again. The
        newest one's time.

        What was missed before them leaves a hole, which begins at `newest_ms`: the time of the
        newest order that was counted before of the same input.
        """
        since_ms = self._newest_ms if newest_ms is None else newest_ms
        if batch.gap is not None:
            self._tear(batch, since_ms)
        sums, unit_ms = self._sums, self._unit_ms
        for record in batch.records:
            order = order_of(record.value)
            if order is None or not once(order.id):
                continue
            time_ms = order.time_ms
            if time_ms > since_ms:
                since_ms = time_ms
            start_ms = time_ms - time_ms % unit_ms
            span = order.symbol, start_ms, order.venue, order.price_kind, order.coverage
            buy, sell, count = sums.get(span, _NOTHING)
            if order.side == "BUY":
                sums[span] = EXACT.add(buy, order.notional), sell, count + 1
            else:
                sums[span] = buy, EXACT.add(sell, order.notional), count + 1
        self._newest_ms = max(since_ms, self._newest_ms)
        return since_ms

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
                symbol, frame, start_ms = bucket
                parts = changed[bucket]
                before = shelf.get(symbol, frame, start_ms)
                if start_ms < now_ms - frame.keep_ms:
                    for _ in range(sum(part.count for part in parts.values())):
                        self._feed.drop(f"too late for {frame.name}")
                elif before is not None and before.backfilled:
                    # The other daemon counted this order; ours would come on top.
                    self._feed.drop("older than our own history")
                else:
                    shelf.add(symbol, frame, start_ms, parts, before)
            self._sums.clear()
        minute = now_ms // MINUTE_MS
        if minute != self._swept:
            # Every span begins with a minute, so nothing outlives its retention within one.
            self._swept = minute
            shelf.forget_old(self._frames)

    def _buckets(self) -> dict[Key, Parts]:
        changed: dict[Key, Parts] = {}
        for span, (buy, sell, count) in self._sums.items():
            symbol, span_ms, venue, price_kind, coverage = span
            part = VenueSum(venue, trimmed(buy), trimmed(sell), count, price_kind, coverage)
            if span_ms != self._starts_of:
                self._starts_of = span_ms
                self._starts = [(frame, frame.start(span_ms)) for frame in self._frames]
            for frame, start_ms in self._starts:
                bucket = symbol, frame, start_ms
                parts = changed.get(bucket)
                if parts is None:
                    changed[bucket] = {venue: part}
                else:
                    put(parts, part)
        return changed

    def _tear(self, batch: Batch[Liquidation | Fill], newest_ms: int) -> None:
        """What was missed happened after the newest order that was counted, and before the next."""
        times = [record.value.time_ms for record in batch.records[:1]]
        to_ms = times[0] if times else self._feed.clock()
        self._shelf.tear(min(newest_ms or to_ms, to_ms), to_ms)


def order_of(value: Liquidation | Fill) -> Liquidation | Fill | None:
    """What counts: a liquidation, or the liquidated side of one; neither a plain trade nor the
    other side.
    """
    return None if isinstance(value, Fill) and value.role != "liquidated" else value


_NOTHING = (Decimal(0), Decimal(0), 0)


def _by_time(bucket: Key) -> tuple[int, str, int]:
    symbol, frame, start_ms = bucket
    return start_ms, symbol, frame.width_ms
