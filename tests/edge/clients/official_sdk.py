"""Binance's own SDK: it dials the market's, the public and the private path at once, and sends
UUIDs as numbers of its requests.
"""

import asyncio
import json
import sys
from typing import Any

from binance_common.configuration import (  # type: ignore[import-not-found]
    ConfigurationRestAPI,
    ConfigurationWebSocketStreams,
)
from binance_sdk_derivatives_trading_usds_futures.derivatives_trading_usds_futures import (  # type: ignore[import-not-found]
    DerivativesTradingUsdsFutures,
)


async def main(websocket: str, rest: str) -> None:
    client = DerivativesTradingUsdsFutures(
        config_rest_api=ConfigurationRestAPI(api_key="", api_secret="", base_path=rest),
        config_ws_streams=ConfigurationWebSocketStreams(stream_url=websocket),
    )
    time = client.rest_api.check_server_time().data()
    info = client.rest_api.exchange_information().data()
    candles = client.rest_api.kline_candlestick_data("BTCUSDT", "1d", limit=500).data()
    heard: asyncio.Queue[Any] = asyncio.Queue()
    connection = await client.websocket_streams.create_connection()
    streams = [
        await connection.aggregate_trade_streams(symbol="btcusdt"),
        await connection.kline_candlestick_streams(symbol="btcusdt", interval="1m"),
        await connection.mark_price_stream_for_all_market(update_speed="1s"),
        await connection.all_market_liquidation_order_streams(),
    ]
    for number, stream in enumerate(streams):
        stream.on("message", lambda data, number=number: heard.put_nowait((number, str(data))))
    found: dict[int, str] = {}
    try:
        while len(found) < len(streams):
            number, text = await asyncio.wait_for(heard.get(), 60)
            found[number] = text
    finally:
        await connection.close_connection(close_session=True)
    print(
        json.dumps(
            {
                "time": time.server_time,
                "symbols": len(info.symbols),
                "candles": len(candles),
                "heard": found,
            }
        )
    )


asyncio.run(main(*sys.argv[1:]))
