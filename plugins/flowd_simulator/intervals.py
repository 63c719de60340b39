"""Candle intervals and where their candles begin, in UTC."""

from datetime import UTC, datetime
from typing import Final

MINUTE_MS: Final = 60_000
HOUR_MS: Final = 60 * MINUTE_MS
DAY_MS: Final = 24 * HOUR_MS
FIRST_MONDAY_MS: Final = 4 * DAY_MS
"""1970-01-05; weeks are counted from a Monday, the epoch was a Thursday."""

WIDTHS_MS: Final = {
    "1m": MINUTE_MS,
    "3m": 3 * MINUTE_MS,
    "5m": 5 * MINUTE_MS,
    "15m": 15 * MINUTE_MS,
    "30m": 30 * MINUTE_MS,
    "1h": HOUR_MS,
    "2h": 2 * HOUR_MS,
    "4h": 4 * HOUR_MS,
    "6h": 6 * HOUR_MS,
    "8h": 8 * HOUR_MS,
    "12h": 12 * HOUR_MS,
    "1d": DAY_MS,
    "3d": 3 * DAY_MS,
}
INTERVALS: Final = frozenset({*WIDTHS_MS, "1w", "1M"})


def opening(interval: str, time_ms: int) -> int:
    """When the candle that holds this instant opened."""
    if interval == "1M":
        moment = datetime.fromtimestamp(time_ms / 1000, UTC)
        return _month_ms(moment.year, moment.month)
    if interval == "1w":
        return time_ms - (time_ms - FIRST_MONDAY_MS) % (7 * DAY_MS)
    return time_ms - time_ms % WIDTHS_MS[interval]


def following(interval: str, opening_ms: int) -> int:
    """When the next candle opens."""
    if interval == "1M":
        moment = datetime.fromtimestamp(opening_ms / 1000, UTC)
        return _month_ms(moment.year + moment.month // 12, moment.month % 12 + 1)
    return opening_ms + (7 * DAY_MS if interval == "1w" else WIDTHS_MS[interval])


def width_ms(interval: str) -> int:
    """How long a candle is; months, whose lengths differ, count as one day."""
    return WIDTHS_MS.get(interval, 7 * DAY_MS if interval == "1w" else DAY_MS)


def _month_ms(year: int, month: int) -> int:
    return int(datetime(year, month, 1, tzinfo=UTC).timestamp()) * 1000
