"""ccxt.pro: markets, candles by REST, and trades, candles and liquidations as they happen."""

import asyncio
import json
import sys

import ccxt.pro  # type: ignore[import-not-found]


async def main(websocket: str, rest: str) -> None:
    exchange = ccxt.pro.binanceusdm({"options": {"fetchMarkets": {"types": ["linear"]}}})
    exchange.urls["api"]["ws"]["linear"] = f"{websocket}/ws"
    exchange.urls["api"]["fapiPublic"] = f"{rest}/fapi/v1"
    exchange.urls["api"]["fapiPublicV2"] = f"{rest}/fapi/v2"
    symbol = "BTC/USDT:USDT"
    try:
        markets = await exchange.load_markets()
        candles = await exchange.fetch_ohlcv(symbol, "1d", limit=500)
        ticker = await exchange.fetch_ticker(symbol)
        trades = await exchange.watch_trades(symbol)
        live = await exchange.watch_ohlcv(symbol, "1m")
        forced = await exchange.watch_liquidations_for_symbols(list(markets))
    finally:
        await exchange.close()
    print(
        json.dumps(
            {
                "market": markets[symbol]["settle"],
                "tick": markets[symbol]["precision"]["price"],
                "candles": len(candles),
                "last": ticker["last"],
                "trade": trades[-1]["price"],
                "candle": live[-1][4],
                "liquidation": forced[-1]["symbol"] in markets,
            }
        )
    )


asyncio.run(main(*sys.argv[1:]))
