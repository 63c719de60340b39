"""cryptofeed: trades, candles, funding and liquidations. It only dials wss://."""

import asyncio
import json
import os
import sys
from typing import Any

from cryptofeed import FeedHandler  # type: ignore[import-not-found]
from cryptofeed.connection import (  # type: ignore[import-not-found]
    RestEndpoint,
    Routes,
    WebsocketEndpoint,
)
from cryptofeed.defines import (  # type: ignore[import-not-found]
    CANDLES,
    FUNDING,
    LIQUIDATIONS,
    OPEN_INTEREST,
    TRADES,
)
from cryptofeed.exchanges import BinanceFutures  # type: ignore[import-not-found]


def main(websocket: str, rest: str) -> None:
    BinanceFutures.websocket_endpoints = [
        WebsocketEndpoint(f"{websocket}/market", options={"compression": None})
    ]
    routes = Routes("/fapi/v1/exchangeInfo", open_interest="/fapi/v1/openInterest?symbol={}")
    BinanceFutures.rest_endpoints = [RestEndpoint(rest, routes=routes)]
    found: dict[str, Any] = {}
    handler = FeedHandler()

    def hear(name: str) -> Any:
        async def heard(one: Any, receipt: float) -> None:
            found[name] = str(one.symbol)
            if len(found) == 5:
                handler.loop.call_soon(handler.loop.stop)

        return heard

    symbols = BinanceFutures.symbols()
    perpetuals = [name for name in symbols if name.endswith("-PERP")]
    kinds = (TRADES, CANDLES, FUNDING, OPEN_INTEREST)
    feed = {"symbols": ["BTC-USDT-PERP"], "channels": list(kinds)}
    handler.add_feed(
        BinanceFutures(**feed, candle_closed_only=False, callbacks={k: hear(k) for k in kinds})
    )
    handler.add_feed(
        BinanceFutures(
            symbols=perpetuals,
            channels=[LIQUIDATIONS],
            callbacks={LIQUIDATIONS: hear(LIQUIDATIONS)},
        )
    )
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    handler.loop = loop
    handler.run(start_loop=False, install_signal_handlers=False)
    loop.run_forever()
    print(json.dumps({"symbols": len(perpetuals), "heard": found}))
    sys.stdout.flush()
    os._exit(0)  # Its tasks have no end of their own.


main(*sys.argv[1:])
