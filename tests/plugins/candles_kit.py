"""Candles against the simulated exchange, in memory."""

import json
from typing import Any, cast
from urllib.parse import SplitResult

import httpx2
import trio
from flowd_binance.candles import CANDLES_MAX, Config, candles
from flowd_binance.parse import candle
from flowd_simulator.binance import Binance

from flowd import testing
from flowd.market import Candle
from flowd.plugin import UpstreamError
from flowd.stream.held import Retain


class World(httpx2.AsyncBaseTransport):
    """The simulated exchange, reached from memory; what REST is asked is noted, and can fail."""

    def __init__(self, nursery: trio.Nursery) -> None:
        self.exchange = Binance(7, self.clock)
        self.skipped_ms = 0
        """Wall time that went by at once."""
        self.asked: list[tuple[float, dict[str, str]]] = []
        self.refused = 0
        """The request of this number is refused by a firewall."""
        self.firewall = False
        """All of them are."""
        self.reachable = True
        self._nursery = nursery
        self._rest = httpx2.ASGITransport(app=cast(Any, self.exchange.rest.app))
        nursery.start_soon(self.exchange.run)

    def clock(self) -> int:
        return testing.clock() + self.skipped_ms

    async def dial(self, url: SplitResult) -> trio.abc.Stream:
        await trio.lowlevel.checkpoint()
        if not self.reachable:
            raise ConnectionRefusedError("nobody there")
        ours, theirs = trio.testing.memory_stream_pair()
        self._nursery.start_soon(self.exchange.serve_websocket, theirs)
        return ours

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        self.asked.append((trio.current_time(), dict(request.url.params)))
        if len(self.asked) == self.refused or self.firewall:
            return httpx2.Response(403, stream=httpx2.ByteStream(b"<html>"))
        return await self._rest.handle_async_request(request)

    def feed(self, retain: Retain | None = None) -> testing.ScriptedFeed[Candle]:
        kept = retain or Retain(CANDLES_MAX)
        stream = testing.stream("candles", record=Candle, retain=kept.count)
        stream.retain = kept
        upstream = cast(testing.ScriptedUpstream, self)
        return testing.ScriptedFeed(upstream, stream, self.clock, kept, testing.rest(self))

    async def keep(self, config: Config, feed: testing.ScriptedFeed[Candle]) -> None:
        """Run the source as the supervisor does: again, five seconds after it failed."""
        while True:
            try:
                await candles(config, feed)
            except* UpstreamError:
                await trio.sleep(5)

    async def truth(self, symbol: str = "BTCUSDT", count: int = 100) -> dict[int, Candle]:
        """The candles that are over, as the exchange itself has them."""
        request = httpx2.Request(
            "GET",
            "https://exchange/fapi/v1/klines",
            params={"symbol": symbol, "interval": "1m", "limit": str(count)},
        )
        answer = await self._rest.handle_async_request(request)
        rows = json.loads(await answer.aread())
        found = [candle(symbol, "1m", row, closed=True) for row in rows[:-1]]
        return {one.time_ms: one for one in found}
