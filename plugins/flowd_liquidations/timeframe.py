"""Spans of time: `1m` to `1d`, any width that divides a day, weeks from Monday, calendar months.
UTC.
"""

import re
from collections.abc import Iterable
from datetime import UTC, datetime
from functools import lru_cache

from attrs import Factory, frozen

MINUTE_MS = 60_000
DAY_MS = 86_400_000
WEEK_MS = 7 * DAY_MS
MONDAY_MS = 4 * DAY_MS
"""1970-01-05, the first Monday of the epoch."""

STANDARD = ("1m", "5m", "15m", "30m", "1h", "4h", "1d")

_UNITS_MS = {"m": MINUTE_MS, "h": 3_600_000, "d": DAY_MS, "w": WEEK_MS}
_NAME = re.compile(r"([1-9][0-9]{0,3})([mhdwM])", re.ASCII)
_KEEP_DAYS = {"1m": 1, "5m": 3, "15m": 7, "30m": 14, "1h": 30, "4h": 90, "1d": 365}
WEEKS_KEEP_DAYS = 5 * 365
MONTHS_KEEP_DAYS = 10 * 365


@frozen(eq=False)
class Timeframe:
    """One width of buckets. `width_ms` is 0 for months, whose lengths differ."""

    name: str
    width_ms: int
    keep_ms: int

    def start(self, time_ms: int) -> int:
        """The beginning of the span that `time_ms` lies in."""
        if self.width_ms == WEEK_MS:
            return (time_ms - MONDAY_MS) // WEEK_MS * WEEK_MS + MONDAY_MS
        if self.width_ms:
            return time_ms // self.width_ms * self.width_ms
        return _month(time_ms)[0]

    def following(self, start_ms: int) -> int:
        """The beginning of the next span."""
        return start_ms + self.width_ms if self.width_ms else _month(start_ms)[1]


@frozen
class Timeframes:
    """Which timeframes there are buckets of, the narrowest first, and since when each is counted:
    of before then only what was filled in from elsewhere is known. While `filling`, that is still
    coming for some symbols.
    """

    timeframes: list[str]
    since_ms: dict[str, int] = Factory(dict)
    filling: bool = False


@lru_cache(maxsize=1024)
def _month(time_ms: int) -> tuple[int, int]:
    at = datetime.fromtimestamp(time_ms / 1000, UTC)
    first = datetime(at.year, at.month, 1, tzinfo=UTC)
    after = datetime(at.year + at.month // 12, at.month % 12 + 1, 1, tzinfo=UTC)
    return round(first.timestamp() * 1000), round(after.timestamp() * 1000)


def key(symbol: str, timeframe: str, time_ms: int) -> str:
    """A bucket's key in its table."""
    return f"{symbol}/{timeframe}/{time_ms}"


def parse(name: str) -> Timeframe:
    """The timeframe of this name; ValueError that says which there are."""
    match = _NAME.fullmatch(name)
    if match is None:
        raise ValueError(_unknown(name))
    count, unit = int(match[1]), match[2]
    if unit == "M" and count == 1:
        return Timeframe(name, 0, MONTHS_KEEP_DAYS * DAY_MS)
    if unit == "w" and count == 1:
        return Timeframe(name, WEEK_MS, WEEKS_KEEP_DAYS * DAY_MS)
    width_ms = count * _UNITS_MS.get(unit, 0)
    if unit in "wM" or not width_ms or DAY_MS % width_ms:
        raise ValueError(_unknown(name))
    # A width of one's own is kept as long as the standard one that is next below it.
    days = max(days for known, days in _KEEP_DAYS.items() if _standard_ms(known) <= width_ms)
    return Timeframe(name, width_ms, days * DAY_MS)


def ordered(names: Iterable[str]) -> list[str]:
    """Timeframes by their width, the narrowest first."""
    frames = [parse(name) for name in names]
    return [f.name for f in sorted(frames, key=lambda frame: frame.width_ms or 31 * DAY_MS)]


def _standard_ms(name: str) -> int:
    return int(name[:-1]) * _UNITS_MS[name[-1]]


def _unknown(name: str) -> str:
    return (
        f"there is no timeframe {name!r:.20}; there are {', '.join(STANDARD)}, 1w, 1M, "
        "and widths such as 2h that divide a day"
    )
