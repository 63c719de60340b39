"""The events of the market streams, written as Binance has written them since 2026."""

import json
from collections.abc import Iterator
from decimal import Decimal
from typing import Final, Literal

from flowd_simulator.binance.names import Stream
from flowd_simulator.candles import Candle
from flowd_simulator.instruments import Instrument
from flowd_simulator.intervals import following, opening
from flowd_simulator.market import FUNDING_MS, TRADE_SLOT_MS, Market
from flowd_simulator.orders import ForcedOrder

Place = Literal["inside", "beside", "absent"]
"""Where an event names its pair and margin type (`ps`, `st`): captures show all three."""

KLINE_MS: Final = 500
KLINE_PHASE_MS: Final = 250
"""Kline updates come at these milliseconds of each half second, so a candle's last word comes a
moment after its end, as on the exchange."""


def forced_order(order: ForcedOrder, now_ms: int, place: Place) -> str:
    """A forced order. Coin-margined ones always say so, else nobody could tell."""
    where = "inside" if order.coin_margined and place == "absent" else place
    margin = {"ps": order.pair, "st": 2 if order.coin_margined else 1}
    numbers: dict[str, object] = {
        "s": order.symbol,
        "S": order.side,
        "o": "LIMIT",
        "f": "IOC",
        "q": order.quantity,
        "p": order.limit,
        "ap": order.average,
        "X": "FILLED",
        "l": order.last_fill,
        "z": order.quantity,
        "T": order.time_ms,
        **(margin if where == "inside" else {}),
    }
    beside = margin if where == "beside" else {}
    return _text({"e": "forceOrder", "E": now_ms, **beside, "o": numbers})


def pushes(market: Market, stream: Stream, after_ms: int, until_ms: int) -> Iterator[str]:
    """What a stream other than forced orders says from one instant to another."""
    if stream.kind in ("markPrice", "markPrices"):
        every_ms = 1000 if stream.option == "1s" else 3000
        if after_ms // every_ms != until_ms // every_ms:
            told_ms = until_ms - until_ms % 1000
            of_all = stream.kind == "markPrices"
            yield (
                mark_prices(market, told_ms)
                if of_all
                else _text(mark_price(market, stream.symbol, told_ms))
            )
    elif stream.kind in ("kline", "continuousKline"):
        yield from _klines(market, stream, after_ms, until_ms)
    elif stream.kind in ("aggTrade", "trade"):
        for slot in range(after_ms // TRADE_SLOT_MS, until_ms // TRADE_SLOT_MS):
            yield from trade(market, stream, slot, until_ms)


def mark_prices(market: Market, now_ms: int) -> str:
    """The mark prices of all symbols, in one event."""
    return _text([mark_price(market, symbol, now_ms) for symbol in market.instruments])


def mark_price(market: Market, symbol: str, now_ms: int) -> dict[str, object]:
    """The price of this moment, with an index and a funding rate that follow from it."""
    instrument = market.instrument(symbol)
    price = market.price(symbol, now_ms)
    return {
        "e": "markPriceUpdate",
        "E": now_ms,
        "s": symbol,
        "p": f"{price:.8f}",
        "ap": f"{price:.8f}",
        "P": f"{price * 0.9999:.8f}",
        "i": f"{price * 1.0003:.8f}",
        "r": f"{instrument.volatility / 10:.8f}",
        "T": now_ms - now_ms % FUNDING_MS + FUNDING_MS,
        "st": 1,
    }


def trade(market: Market, stream: Stream, slot: int, now_ms: int) -> Iterator[str]:
    """The trade of a quarter of a second, alone or as an aggregate of one, or nothing if there was
    none.
    """
    instrument = market.instrument(stream.symbol)
    happened = market.trade(stream.symbol, slot)
    if happened is None:
        return
    quantity = instrument.quantity_text(happened.steps)
    number = market.last_trade(stream.symbol, happened.time_ms)
    what: dict[str, object] = {
        "s": stream.symbol,
        "p": instrument.price_text(happened.ticks),
        "q": quantity,
    }
    maker = {"m": happened.buyer_is_maker, "st": 1}
    if stream.kind == "trade":
        told = {"e": "trade", "E": now_ms, "T": happened.time_ms, "t": number}
        yield _text({**told, **what, "X": "MARKET", **maker})
        return
    numbers = {"nq": quantity, "f": number, "l": number, "T": happened.time_ms}
    yield _text({"e": "aggTrade", "E": now_ms, "a": happened.id, **what, **numbers, **maker})


def kline(market: Market, stream: Stream, time_ms: int, now_ms: int) -> str:
    """The candle that holds `time_ms`, of a symbol or of a pair's perpetual contract. Spaces after
    the commas of `k` are the server's habit.
    """
    symbol, interval = stream.symbol, stream.option
    start_ms = opening(interval, time_ms)
    end_ms = following(interval, start_ms) - 1
    candle = market.candle_at(symbol, interval, time_ms, now_ms)
    numbers = candle_texts(market.instrument(symbol), candle)
    continuous = stream.kind == "continuousKline"
    k = {
        "t": start_ms,
        "T": end_ms,
        **({} if continuous else {"s": symbol}),
        "i": interval,
        "f": market.first_trade(start_ms),
        "L": market.last_trade(symbol, min(now_ms, end_ms)),
        **{name: numbers[name] for name in "ochlv"},
        "n": candle.trades,
        "x": now_ms > end_ms,
        **{name: numbers[name] for name in "qVQ"},
        "B": "0",
    }
    inner = json.dumps(k, ensure_ascii=False, separators=(", ", ":"))
    if continuous:
        pair = f'"ps":{_text(symbol)},"ct":"PERPETUAL"'
        return f'{{"e":"continuous_kline","E":{now_ms},{pair},"k":{inner}}}'
    return f'{{"e":"kline","E":{now_ms},"s":{_text(symbol)},"k":{inner}}}'


def candle_texts(instrument: Instrument, candle: Candle) -> dict[str, str]:
    """The numbers of a candle under the letters of the kline stream."""
    unit = Decimal(1).scaleb(-instrument.quote_decimals)
    return {
        "o": instrument.price_text(candle.open),
        "h": instrument.price_text(candle.high),
        "l": instrument.price_text(candle.low),
        "c": instrument.price_text(candle.close),
        "v": instrument.quantity_text(candle.volume),
        "V": instrument.quantity_text(candle.taker_buys),
        "q": f"{candle.quote * unit:.{instrument.quote_decimals}f}",
        "Q": f"{candle.taker_quote * unit:.{instrument.quote_decimals}f}",
    }


def _klines(market: Market, stream: Stream, after_ms: int, until_ms: int) -> Iterator[str]:
    earlier = (after_ms - KLINE_PHASE_MS) // KLINE_MS
    if earlier == (until_ms - KLINE_PHASE_MS) // KLINE_MS:
        return
    told_ms = earlier * KLINE_MS + KLINE_PHASE_MS
    if opening(stream.option, told_ms) != opening(stream.option, until_ms):
        yield kline(market, stream, told_ms, until_ms)
    yield kline(market, stream, until_ms, until_ms)


def _text(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
