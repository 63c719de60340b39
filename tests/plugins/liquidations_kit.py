"""Orders, and the transform that adds them up, for the tests of liquidation volume."""

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import httpx2
from flowd_liquidations import shapes, timeframe, volume
from flowd_liquidations.accumulator import Accumulator
from flowd_liquidations.shelf import Shelf
from flowd_liquidations.timeframe import Timeframe

from flowd import testing
from flowd.market import Bucket, Liquidation, number, trimmed
from flowd.plugin import Feed, StreamName
from flowd.stream.held import Retain
from flowd.stream.log import Stream
from flowd.upstream.http import Services

NOW_MS = 1_700_000_060_000
FRAMES = [timeframe.parse(name) for name in timeframe.STANDARD]


def order(time_ms: int, side: str, z: str, ap: str, symbol: str = "BTCUSDT") -> Liquidation:
    notional = trimmed(number(z) * number(ap))
    id = f"b:{symbol}:{time_ms}:{side}:{z}:{ap}"
    return Liquidation(symbol, side, number(ap), number(z), notional, time_ms, id)  # type: ignore[arg-type]


WORKED_EXAMPLE = [
    order(1700000001000, "BUY", "0.100", "50000"),
    order(1700000005000, "BUY", "0.100", "50000"),
    order(1700000039999, "SELL", "0.100", "50000"),
    order(1700000040000, "SELL", "0.014", "49500"),
    order(1700000005000, "BUY", "0.100", "50000"),
]


class Elsewhere(httpx2.AsyncBaseTransport):
    """To whom a rig asks for history, as a test has it at the time."""

    def __init__(self, rig: "Rig") -> None:
        self._rig = rig

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        answer: httpx2.Response = await self._rig.elsewhere.handle_async_request(request)
        return answer


class Rig:
    """A stream of orders, the transform's feed, and a clock that can be set."""

    def __init__(self, now_ms: int = NOW_MS) -> None:
        self.now_ms = now_ms
        self.orders: Stream[Liquidation] = self.stream("orders", Liquidation)
        self.buckets: Stream[Bucket] = self.stream("volume", Bucket)
        self.inputs: dict[str, Stream[Liquidation]] = {}
        self.places: dict[str, int] = {}
        self.tables: dict[str, Stream[Any]] = {}
        self.elsewhere: Any = None
        """The transport to who is asked for history."""
        self.feed: Feed[Bucket] = self.new_feed()

    def stream(self, name: str, record: type) -> Stream[Any]:
        retain = Retain(count=100_000)
        return Stream(name, record, clock=lambda: self.now_ms, epoch="e", retain=retain)

    def new_feed(self) -> Feed[Bucket]:
        return Feed(
            "volume",
            self.buckets,
            clock=lambda: self.now_ms,
            dial=None,  # type: ignore[arg-type]  # a transform that dials nowhere
            table=self.table,
            services=Services(lambda: self.now_ms, Elsewhere(self)),
        )

    def table(self, name: str, record: type) -> Stream[Any]:
        return self.tables.setdefault(name, self.stream(f"volume.{name}", record))

    def run(
        self, *inputs: str, timeframes: Iterable[str] = timeframe.STANDARD
    ) -> Callable[[], Any]:
        """The transform over `orders`, or over these inputs."""
        names = inputs or ("orders",)
        found = [self.orders if name == "orders" else self.input(name) for name in names]
        config = volume.Config(None, [StreamName(name) for name in names], list(timeframes))
        streams = testing.streams(*found, places=self.places)
        return partial(volume.volume, config, streams, self.feed)

    def input(self, name: str) -> Stream[Liquidation]:
        """A further stream of orders."""
        return self.inputs.setdefault(name, self.stream(name, Liquidation))

    def happen(self, orders: Iterable[Liquidation]) -> None:
        for one in orders:
            self.orders.append(one, id=one.id)

    def bar(self, frame: str, time_ms: int, symbol: str = "BTCUSDT") -> tuple[str, str, int] | None:
        bucket = self.buckets.get(timeframe.key(symbol, frame, time_ms))
        return bucket and (shapes.plain(bucket.buy), shapes.plain(bucket.sell), bucket.count)


def accumulate(orders: Iterable[Liquidation]) -> Rig:
    rig = Rig()
    rig.happen(orders)
    add(accumulator(rig), rig)
    return rig


def accumulator(rig: Rig, frames: list[Timeframe] = FRAMES) -> Accumulator:
    return Accumulator(frames, Shelf(frames, rig.feed), rig.feed)


def add(accumulator: Accumulator, rig: Rig, after: int = 0) -> None:
    accumulator.add(rig.orders.read(after))
    accumulator.publish()
