"""Liquidated volume per symbol and minute, as a flowd transform: its stream is the table."""

from decimal import Decimal
from typing import Literal

from attrs import evolve, frozen

from flowd.market import EXACT, Liquidation
from flowd.plugin import Feed, StreamName, Streams, Transform, hookimpl

WIDTH_MS = {"1m": 60_000, "5m": 300_000, "1h": 3_600_000}


@frozen
class Config:
    """Which stream of liquidations to add up, in buckets how wide."""

    input: StreamName
    timeframe: Literal["1m", "5m", "1h"] = "1m"


@frozen
class Bucket:
    """What was liquidated of one symbol in the time that begins at `time_ms`, in quote units."""

    symbol: str
    time_ms: int
    buy: Decimal = Decimal(0)
    sell: Decimal = Decimal(0)
    count: int = 0


def add(bucket: Bucket, order: Liquidation) -> Bucket:
    """The bucket with one more order in it."""
    buy = order.notional if order.side == "BUY" else Decimal(0)
    return evolve(
        bucket,
        buy=EXACT.add(bucket.buy, buy),
        sell=EXACT.add(bucket.sell, order.notional - buy),
        count=bucket.count + 1,
    )


async def volume(config: Config, streams: Streams, feed: Feed[Bucket]) -> None:
    """Add each order to its bucket, exactly once whatever is restarted."""
    width_ms = WIDTH_MS[config.timeframe]
    async for record in streams[config.input].cursor().records():
        order = record.value
        time_ms = order.time_ms // width_ms * width_ms
        key = f"{order.symbol}/{time_ms}"
        bucket = feed.get(key) or Bucket(order.symbol, time_ms)
        feed.publish(add(bucket, order), key=key)


@hookimpl
def flowd_transforms() -> list[Transform]:
    """The kind `volume-per-minute`."""
    return [Transform("volume-per-minute", volume, Config, record=Bucket, reads=Liquidation)]
