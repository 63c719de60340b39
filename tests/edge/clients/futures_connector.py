"""binance-futures-connector: REST, and a thread whose streams are asked for while connected."""

import json
import queue
import sys
from typing import Any

from binance.um_futures import UMFutures  # type: ignore[import-not-found]
from binance.websocket.um_futures.websocket_client import (  # type: ignore[import-not-found]
    UMFuturesWebsocketClient,
)


def main(websocket: str, rest: str) -> None:
    calls = UMFutures(base_url=rest)
    heard: queue.Queue[Any] = queue.Queue()
    client = UMFuturesWebsocketClient(
        stream_url=f"{websocket}/market", on_message=lambda _, text: heard.put(json.loads(text))
    )
    client.agg_trade(symbol="btcusdt")
    client.kline(symbol="btcusdt", interval="1m")
    client.continuous_kline(pair="btcusdt", contractType="perpetual", interval="5m")
    client.mark_price(symbol="btcusdt", speed=1)
    found: dict[str, Any] = {}
    wanted = {"aggTrade", "kline", "continuous_kline", "markPriceUpdate"}
    try:
        while not wanted <= found.keys():
            event = heard.get(timeout=30)
            if "e" in event:
                found[event["e"]] = event
    finally:
        client.stop()
    time = calls.time()["serverTime"]
    candles = calls.klines("BTCUSDT", "12h", limit=1500)
    premium = calls.mark_price("BTCUSDT")
    prices = calls.ticker_price()
    day = calls.ticker_24hr_price_change("BTCUSDT")
    print(
        json.dumps(
            {
                "time": time,
                "candles": len(candles),
                "premium": premium["markPrice"],
                "prices": len(prices),
                "day": day["weightedAvgPrice"],
                "events": found,
            }
        )
    )


main(*sys.argv[1:])
