"""A transform: liquidations to volume buckets. Accumulated, never replaced; exact; each order
once.

Once a second it reads what is new, adds it up, publishes the changed buckets as full totals and
says that it is done, all in one step: so a restart at any moment neither loses an order nor counts
one twice, and the stream itself is all the state there is.
"""

import os
from decimal import Decimal
from typing import Any
from urllib.parse import urlsplit

import trio
from attrs import Factory, field, frozen

from flowd.market import EXACT, Bucket, Fill, Liquidation
from flowd.plugin import Feed, Input, Record, Seconds, StreamName, Streams
from flowd_liquidations.backfill import Backfill
from flowd_liquidations.shelf import Shelf
from flowd_liquidations.timeframe import STANDARD, Timeframe, Timeframes, ordered, parse

BATCH_MAX = 2000
"""Orders added up in one step; the rest waits for the next, so that a backlog holds nobody up."""
BUCKETS_MAX = 1_000_000
BASE_URL = "LIQUIDATION_API_BASE_URL"


def _timeframes(_: object, attribute: Any, names: list[str]) -> None:
    if not names:
        raise ValueError("timeframes = []: name at least one, such as 1m")
    for name in names:
        parse(name)
    if len(set(names)) < len(names):
        raise ValueError(f"timeframes = {names}: name each once")


def _retain(_: object, attribute: Any, retain: int | str | None) -> None:
    if retain is not None:
        raise ValueError(
            f"retain = {retain!r}: buckets are kept for as long as their timeframe says, and one "
            "that fell off sooner would begin anew; leave retain out"
        )


@frozen
class Config:
    """`input` is a stream of liquidations or of fills; `every` how often changed buckets are
    published.

    `backfill_from` is another flowd, whose buckets fill the time before our own; without it the
    environment's LIQUIDATION_API_BASE_URL, if set. `retain` cannot be chosen here.
    """

    input: StreamName
    timeframes: list[str] = field(default=Factory(lambda: list(STANDARD)), validator=_timeframes)
    every: Seconds = Seconds(1.0)
    backfill_from: str | None = None
    retain: int | str | None = field(default=None, validator=_retain)

    def __attrs_post_init__(self) -> None:
        name = "backfill_from" if self.backfill_from else BASE_URL
        address = urlsplit(self.history or "http://none")
        if address.scheme not in ("http", "https") or not address.hostname:
            raise ValueError(
                f'{name} = "{self.history}": expected an address such as '
                '"https://flowd.example.org"'
            )

    @property
    def history(self) -> str | None:
        """Where older buckets are asked for, None for nowhere."""
        return self.backfill_from or os.environ.get(BASE_URL) or None


class Accumulator:
    """Adds liquidations up and publishes what changed."""

    def __init__(self, timeframes: list[Timeframe], feed: Feed[Bucket]) -> None:
        self.shelf = Shelf(timeframes, feed)
        self._feed = feed

    def add(self, records: list[Record[Liquidation | Fill]]) -> None:
        """Count each order once in each timeframe, publish the changed buckets ascending."""
        changed: dict[tuple[str, Timeframe, int], tuple[Decimal, Decimal, int]] = {}
        frames = self.shelf.timeframes
        newest_ms = 0
        for record in records:
            order = order_of(record.value)
            if order is None:
                continue
            newest_ms = max(newest_ms, order.time_ms)
            for frame in frames:
                bucket = (order.symbol, frame, frame.start(order.time_ms))
                buy, sell, count = changed.get(bucket, _NOTHING)
                if order.side == "BUY":
                    buy = EXACT.add(buy, order.notional)
                else:
                    sell = EXACT.add(sell, order.notional)
                changed[bucket] = (buy, sell, count + 1)
        self.shelf.saw(newest_ms)
        now_ms = self.shelf.now_ms
        for bucket in sorted(changed, key=_by_time):
            symbol, frame, start_ms = bucket
            if start_ms < now_ms - frame.keep_ms:
                for _ in range(changed[bucket][2]):
                    self._feed.drop(f"too late for {frame.name}")
                continue
            self._publish(symbol, frame, start_ms, *changed[bucket])
        self.shelf.forget_old()

    def _publish(
        self,
        symbol: str,
        frame: Timeframe,
        start_ms: int,
        buy: Decimal,
        sell: Decimal,
        count: int,
    ) -> None:
        before = self.shelf.get(symbol, frame, start_ms)
        if before is not None and before.backfilled:
            # The other daemon counted this order; ours would come on top.
            self._feed.drop("older than our own history")
            return
        if before is not None:
            buy = EXACT.add(buy, before.buy)
            sell = EXACT.add(sell, before.sell)
            count += before.count
        self.shelf.put(symbol, frame, start_ms, buy, sell, count)


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
    names = ordered(config.timeframes)
    feed.table("timeframes", Timeframes).append(Timeframes(names), key="timeframes")
    accumulator = Accumulator([parse(name) for name in names], feed)
    if config.history is None:
        await accumulate(config, streams, accumulator)
        return
    backfill = Backfill(config.history, accumulator.shelf, feed)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(backfill.run)
        await accumulate(config, streams, accumulator)
        nursery.cancel_scope.cancel()


async def accumulate(config: Config, streams: Streams, accumulator: Accumulator) -> None:
    """Add up what comes, until it ends."""
    orders = streams[config.input]
    cursor = orders.cursor()
    while await orders.news(cursor.position.seq):
        # No checkpoint until `done`: buckets and place belong to the same instant.
        batch = cursor.read(limit=BATCH_MAX)
        accumulator.add(batch.records)
        cursor.done()
        if cursor.position == orders.head:
            await pause(orders, config.every)
        else:
            await trio.lowlevel.checkpoint()


async def pause(orders: Input[Any], seconds: float) -> None:
    """Sleep, but not beyond the end of the input."""
    with trio.move_on_after(seconds):
        await orders.ended()
