"""The simulated Binance on loopback, for daemons in processes that draw a heatmap, and the map that
they should come to.

It has a thread and a Trio loop of its own: tests and daemons may stall, it goes on.
"""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import trio
from flowd_heatmap import Config, heatmap
from flowd_heatmap.records import Column
from flowd_simulator.binance import Addresses, Binance
from flowd_simulator.faults import Faults

from flowd import testing
from flowd.market import Candle, LiquidationMap, OpenInterest
from flowd.plugin import StreamName
from flowd.values import codec
from tests.edge.beside import Beside
from tests.edge.process import Flowd

SYMBOL = "BTCUSDT"
UNLIMITED = 1_000_000
"""Each life of a daemon counts its weight anew: the exchange does not."""


class Futures:
    """Open it with `with`. `act` may be called from any thread, and never waits."""

    def __init__(self, *symbols: str) -> None:
        self.faults = Faults()
        self.exchange = Binance(
            *(1, now_ms, list(symbols or (SYMBOL,))),
            rate=0,
            faults=self.faults,
            weight_limit=UNLIMITED,
        )
        self.at: Addresses
        self._beside = Beside("futures", self._serve)

    def __enter__(self) -> "Futures":
        self._beside.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._beside.stop()

    def act(self, what: Callable[[], object]) -> None:
        """Have something done in the exchange's thread."""
        self._beside.soon(what)

    def daemon(self, folder: Path, *, history: int, database: Path | None = None) -> Flowd:
        """A heatmap of one symbol, and what it is made of."""
        text = f"""
[sources.candles-5m]
kind = "binance-candles"
interval = "5m"
symbols = ["{SYMBOL}"]
url = "{self.at.market}"
rest_url = "{self.at.rest}"
history = {history}
keep = 1000
restart_delay = "200ms"

[sources.open-interest]
kind = "binance-open-interest"
symbols = ["{SYMBOL}"]
rest_url = "{self.at.rest}"
history = {history}
every = "5s"

[transforms.heatmap]
kind = "liquidation-heatmap"
candles = "candles-5m"
open_interest = "open-interest"
"""
        text += "" if database is None else f'database = "{database}"\n'
        return Flowd(folder, None, settings={"save_every": "700ms"}, extra=text)

    async def _serve(self, ready: Callable[[], None]) -> None:
        async with trio.open_nursery() as nursery:
            self.at = await nursery.start(self.exchange.serve)
            ready()


async def whole(daemon: Flowd, stream: str, kind: type[Any]) -> list[Any]:
    """All values that a stream has."""
    answer = await daemon.poll(stream=stream)
    return [codec.loads(codec.encode(one["value"]), kind) for one in answer["records"]]


async def component(daemon: Flowd, name: str) -> dict[str, Any]:
    """One component in `/status`."""
    found = (await daemon.status())["components"]
    return next(one for one in found if one["name"] == name)


async def columns(daemon: Flowd) -> int:
    """How many candles are drawn."""
    return int((await component(daemon, "heatmap"))["figures"].get("columns", 0))


async def inputs(daemon: Flowd) -> tuple[list[Candle], list[OpenInterest]]:
    """What the map is made of: candles, then open interest."""
    return (
        await whole(daemon, "candles-5m", Candle),
        await whole(daemon, "open-interest", OpenInterest),
    )


async def differing(
    found: list[Column], candles: list[Candle], samples: list[OpenInterest]
) -> list[Column]:
    """The columns that are not those which a transform draws of these inputs in one run."""
    expected = {one.time_ms: one for one in await drawn_at_once(candles, samples)}
    return [one for one in found if one != expected.get(one.time_ms)]


async def drawn_at_once(candles: list[Candle], samples: list[OpenInterest]) -> list[Column]:
    """The columns that a transform draws of these, in one run."""
    feed = testing.feed(record=LiquidationMap, name="heatmap", clock=now_ms)
    streams = testing.stream("candles", record=Candle), testing.stream("oi", record=OpenInterest)
    for stream, values in zip(streams, (candles, samples), strict=True):
        for value in values:
            stream.append(value, key=value.key)
    config = Config(candles=StreamName("candles"), open_interest=StreamName("oi"))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(heatmap, config, testing.streams(*streams), feed)
        while feed.get(SYMBOL) is None:  # noqa: ASYNC110
            await trio.sleep(0.01)
        nursery.cancel_scope.cancel()
    return [record.value for record in feed.tables["columns"].after(0)]


def now_ms() -> int:
    return time.time_ns() // 1_000_000
