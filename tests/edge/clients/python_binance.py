"""python-binance: REST, candles of a contract and mark prices of all symbols."""

import asyncio
import json
import sys
from typing import Any

from binance import AsyncClient, BinanceSocketManager  # type: ignore[import-not-found]
from binance.enums import ContractType, FuturesType  # type: ignore[import-not-found]


async def first(socket: Any) -> Any:
    async with socket as stream:
        return await stream.recv()


async def main(websocket: str, rest: str) -> None:
    client = AsyncClient()
    client.FUTURES_URL = f"{rest}/fapi"
    client.FUTURES_DATA_URL = f"{rest}/futures/data"
    manager = BinanceSocketManager(client)
    manager.FSTREAM_URL = f"{websocket}/"
    try:
        info = await client.futures_exchange_info()
        rows = await client.futures_klines(symbol="BTCUSDT", interval="1M", limit=100)
        days = await client.futures_continuous_klines(
            pair="BTCUSDT", contractType="PERPETUAL", interval="1d"
        )
        past = await client.futures_open_interest_hist(symbol="BTCUSDT", period="5m")
        candle = await first(
            manager.kline_futures_socket("BTCUSDT", "1m", FuturesType.USD_M, ContractType.PERPETUAL)
        )
        marks = await first(manager.all_mark_price_socket())
        trade = await first(manager.aggtrade_futures_socket("BTCUSDT"))
    finally:
        await client.close_connection()
    print(
        json.dumps(
            {
                "symbols": len(info["symbols"]),
                "months": len(rows),
                "days": len(days),
                "open interest": len(past),
                "candle": candle,
                "marks": marks,
                "trade": trade,
            }
        )
    )


asyncio.run(main(*sys.argv[1:]))
