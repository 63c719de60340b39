"""What the exchange tells of a symbol: how it is traded, and how it stands."""

from decimal import Decimal
from typing import Final

from flowd_simulator.binance.events import candle_texts, mark_price
from flowd_simulator.instruments import Instrument
from flowd_simulator.intervals import DAY_MS, MINUTE_MS
from flowd_simulator.market import LISTED_MS, Market

DELIVERY_MS: Final = 4_133_404_800_000
"""In the year 2100, which is how the exchange writes never."""


def asset(name: str) -> dict[str, object]:
    """What contracts are margined in."""
    return {"asset": name, "marginAvailable": True, "autoAssetExchange": "-10000"}


def symbol(instrument: Instrument) -> dict[str, object]:
    """How it is traded."""
    tick, step = f"{instrument.tick:f}", f"{instrument.step:f}"
    most = f"{100_000_000 * instrument.tick:f}"
    amount = {"minQty": step, "maxQty": f"{10_000_000 * instrument.step:f}", "stepSize": step}
    return {
        "symbol": instrument.symbol,
        "pair": instrument.pair,
        "contractType": "PERPETUAL",
        "deliveryDate": DELIVERY_MS,
        "onboardDate": LISTED_MS,
        "status": "TRADING",
        "maintMarginPercent": "2.5000",
        "requiredMarginPercent": "5.0000",
        "baseAsset": instrument.base,
        "quoteAsset": instrument.quote,
        "marginAsset": instrument.quote,
        "pricePrecision": instrument.price_decimals,
        "quantityPrecision": instrument.quantity_decimals,
        "baseAssetPrecision": 8,
        "quotePrecision": 8,
        "underlyingType": "COIN",
        "underlyingSubType": [],
        "triggerProtect": "0.0500",
        "liquidationFee": "0.012500",
        "marketTakeBound": "0.05",
        "maxMoveOrderLimit": 10000,
        "filters": [
            {"filterType": "PRICE_FILTER", "minPrice": tick, "maxPrice": most, "tickSize": tick},
            {"filterType": "LOT_SIZE", **amount},
            {"filterType": "MARKET_LOT_SIZE", **amount},
            {"filterType": "MAX_NUM_ORDERS", "limit": 200},
            {"filterType": "MAX_NUM_ALGO_ORDERS", "limit": 10},
            {"filterType": "MIN_NOTIONAL", "notional": "5"},
            {
                "filterType": "PERCENT_PRICE",
                "multiplierUp": "1.0500",
                "multiplierDown": "0.9500",
                "multiplierDecimal": "4",
            },
        ],
        "orderTypes": ["LIMIT", "MARKET", "STOP", "STOP_MARKET", "TAKE_PROFIT"],
        "timeInForce": ["GTC", "IOC", "FOK", "GTX", "GTD"],
    }


def price(market: Market, instrument: Instrument, now_ms: int) -> dict[str, object]:
    """The newest price."""
    ticks = instrument.ticks(market.price(instrument.symbol, now_ms))
    return {
        "symbol": instrument.symbol,
        "price": instrument.price_text(ticks),
        "time": now_ms,
    }


def day(market: Market, instrument: Instrument, now_ms: int) -> dict[str, object]:
    """What was traded in the last day, which begins with a full minute."""
    start_ms = (now_ms - DAY_MS) // MINUTE_MS * MINUTE_MS + MINUTE_MS
    candle = market.candle(instrument.symbol, start_ms, now_ms)
    texts = candle_texts(instrument, candle)
    change = (candle.close - candle.open) * instrument.tick
    average = Decimal(texts["q"]) / Decimal(texts["v"]) if candle.volume else Decimal(0)
    last = market.candle(instrument.symbol, now_ms - now_ms % MINUTE_MS, now_ms)
    return {
        "symbol": instrument.symbol,
        "priceChange": f"{change:.{instrument.price_decimals}f}",
        "priceChangePercent": f"{100 * (candle.close - candle.open) / candle.open:.3f}",
        "weightedAvgPrice": f"{average:.{instrument.price_decimals}f}",
        "lastPrice": texts["c"],
        "lastQty": instrument.quantity_text(max(1, last.volume // max(1, last.trades))),
        "openPrice": texts["o"],
        "highPrice": texts["h"],
        "lowPrice": texts["l"],
        "volume": texts["v"],
        "quoteVolume": texts["q"],
        "openTime": start_ms,
        "closeTime": now_ms,
        "firstId": market.first_trade(start_ms),
        "lastId": market.last_trade(instrument.symbol, now_ms),
        "count": candle.trades,
    }


def premium(market: Market, instrument: Instrument, now_ms: int) -> dict[str, object]:
    """Mark price, index and funding."""
    told = mark_price(market, instrument.symbol, now_ms)
    return {
        "symbol": instrument.symbol,
        "markPrice": told["p"],
        "indexPrice": told["i"],
        "estimatedSettlePrice": told["P"],
        "lastFundingRate": told["r"],
        "interestRate": "0.00010000",
        "nextFundingTime": told["T"],
        "time": now_ms,
    }
