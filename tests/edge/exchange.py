"""An exchange on loopback that says exactly what a test wants: Binance's combined streams.

It accepts, acknowledges every SUBSCRIBE, keeps the companion stream busy, and sends each forced
order when told to. The nth order has the price n, so that a test sees what is missing and what came
twice. It has a thread and a Trio loop of its own: tests and daemons may stall, it goes on.
"""

import json
from collections.abc import Callable
from typing import Any

import trio
import trio_websocket

from tests.edge.beside import Beside

COMPANION = "btcusdt@markPrice@1s"
COMPANION_EVERY_S = 0.1
FIRST_MS = 1_790_000_000_000


def order(ordinal: int, symbol: str = "BTCUSDT", side: str = "SELL") -> dict[str, Any]:
    """The nth forced order, as Binance writes it."""
    time_ms = FIRST_MS + ordinal
    content = {
        **{"s": symbol, "S": side, "o": "LIMIT", "f": "IOC", "q": "2", "p": f"{ordinal}.5"},
        **{"ap": str(ordinal), "X": "FILLED", "l": "1", "z": "1", "T": time_ms},
        **{"ps": symbol, "st": 1},
    }
    return {
        "stream": f"{symbol.lower()}@forceOrder",
        "data": {"e": "forceOrder", "E": time_ms + 1000, "o": content},
    }


class Exchange:
    """Open it with `with`. `say` and `cut` may be called from any thread, and never wait."""

    def __init__(self) -> None:
        self.orders = 0
        """How many forced orders were said."""
        self.dials = 0
        self.pongs = 0
        self._port = 0
        self._open: set[Any] = set()
        self._connections: dict[Any, trio.MemorySendChannel[str]] = {}
        self._beside = Beside("exchange", self._serve)

    def __enter__(self) -> "Exchange":
        self._beside.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._beside.stop()

    @property
    def url(self) -> str:
        """The routed base, as `url` in a source's configuration."""
        return f"ws://127.0.0.1:{self._port}/market"

    @property
    def old_url(self) -> str:
        """The path that accepts everything and delivers nothing."""
        return f"ws://127.0.0.1:{self._port}"

    def say(self, count: int = 1, symbol: str = "BTCUSDT", side: str = "SELL") -> range:
        """Send `count` forced orders to all who are connected; which ones they are."""
        first = self.orders + 1
        self.orders += count
        ordinals = range(first, self.orders + 1)
        self.send([json.dumps(order(n, symbol, side)) for n in ordinals])
        return ordinals

    def send(self, texts: list[str]) -> None:
        """Send any texts."""

        def put() -> None:
            for channel in self._connections.values():
                for text in texts:
                    channel.send_nowait(text)

        self._beside.soon(put)

    def cut(self) -> None:
        """Break all connections."""

        def cut() -> None:
            for connection in list(self._open):
                connection._stream.socket.close()

        self._beside.soon(cut)

    async def _serve(self, ready: Callable[[], None]) -> None:
        async with trio.open_nursery() as nursery:
            server = await nursery.start(
                trio_websocket.serve_websocket, self._guarded, "127.0.0.1", 0, None
            )
            self._port = server.port
            ready()
            await trio.sleep_forever()

    async def _guarded(self, request: trio_websocket.WebSocketRequest) -> None:
        try:
            await self._talk(request)
        except* (trio_websocket.ConnectionClosed, OSError, trio.ClosedResourceError):
            pass
        except* (trio_websocket.HandshakeError, trio.BrokenResourceError):
            pass

    async def _talk(self, request: trio_websocket.WebSocketRequest) -> None:
        routed = request.path.startswith("/market/stream?")
        connection = await request.accept()
        self._open.add(connection)
        self.dials += 1
        put, take = trio.open_memory_channel[str](1_000_000)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._push, connection, take)
            if routed:
                put.send_nowait(_companion())
                nursery.start_soon(self._keep_busy, put)
            try:
                while True:
                    said = json.loads(await connection.get_message())
                    if routed and said["method"] == "SUBSCRIBE":
                        self._connections[connection] = put
                    put.send_nowait(json.dumps({"result": None, "id": said["id"]}))
            finally:
                self._connections.pop(connection, None)
                self._open.discard(connection)
                nursery.cancel_scope.cancel()

    async def _push(self, connection: Any, take: trio.MemoryReceiveChannel[str]) -> None:
        async for text in take:
            await connection.send_message(text)

    async def _keep_busy(self, put: trio.MemorySendChannel[str]) -> None:
        while True:
            await trio.sleep(COMPANION_EVERY_S)
            put.send_nowait(_companion())


def _companion() -> str:
    mark = {"e": "markPriceUpdate", "E": FIRST_MS, "s": "BTCUSDT", "p": "43000.1"}
    return json.dumps({"stream": COMPANION, "data": mark})
