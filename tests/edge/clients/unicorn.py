"""unicorn-binance-websocket-api: two streams of two symbols in one connection; all forced orders,
and all mark prices, in connections of their own.
"""

import json
import sys
import time
from typing import Any

from unicorn_binance_websocket_api import (  # type: ignore[import-not-found]
    BinanceWebSocketApiManager,
)


def main(websocket: str, rest: str) -> None:
    manager = BinanceWebSocketApiManager(
        exchange="binance.com-futures",
        websocket_base_uri=f"{websocket}/",
        warn_on_update=False,
    )
    manager.create_stream(["aggTrade", "kline_1m"], ["btcusdt", "ethusdt"])
    manager.create_stream(["arr"], ["!forceOrder"])
    manager.create_stream(["arr"], ["!markPrice"])
    found: dict[str, Any] = {}
    deadline = time.monotonic() + 60
    try:
        while len(found) < 6 and time.monotonic() < deadline:
            text = manager.pop_stream_data_from_stream_buffer()
            if not text:
                time.sleep(0.05)
                continue
            message = json.loads(text)
            if "stream" in message:
                found[message["stream"]] = message["data"]
            elif isinstance(message, list):
                found["mark prices"] = message
            elif "e" in message:
                found[message["e"]] = message
    finally:
        manager.stop_manager()
    print(json.dumps(found))


main(*sys.argv[1:])
