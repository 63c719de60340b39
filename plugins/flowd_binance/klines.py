"""Rows of klines as REST answers them, and which of two states of a candle is the newer."""

from typing import Any

from attrs import evolve

from flowd.market import Candle
from flowd.plugin import Feed, Unusable
from flowd_binance.parse import candle

SETTLE_MS = 2000
"""REST's newest candle counts as closed so long after its end."""
PORTION = 50
"""Rows that are published in one step."""


def read(
    feed: Feed[Any], symbol: str, interval: str, rows: list[object], start: int, asked_ms: int
) -> list[Candle]:
    """A portion of these rows as candles. Each but the newest row is closed; that one if it was
    over for a while when it was asked for. What cannot be read is counted.
    """
    found: list[Candle] = []
    for index in range(start, min(start + PORTION, len(rows))):
        try:
            closed = index < len(rows) - 1
            one = candle(symbol, interval, rows[index], closed=closed)
            over = one.close_time_ms + SETTLE_MS < asked_ms
            found.append(evolve(one, closed=True) if over else one)
        except Unusable as error:
            feed.drop(f"history: {error.reason}", rows[index])
    return found


def newer(candle: Candle, before: Candle) -> bool:
    """Whether a state of a candle supersedes another: it has more trades, or is closed."""
    return (candle.trades, candle.closed) > (before.trades, before.closed)
