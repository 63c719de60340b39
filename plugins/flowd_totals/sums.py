"""Exact sums per span of time, and per coin, in tables that everybody may read; each names its
venues.
"""

from collections.abc import Callable
from decimal import Decimal
from typing import Any, Generic, TypeVar

import trio

from flowd.market import EXACT, VenueSum, totals_of, trimmed
from flowd.plugin import Stream
from flowd_totals.records import REST, CoinHour, Minute
from flowd_totals.venues import UNKNOWN, Worth

COINS_MAX = 1000
"""Coins told one by one in each hour; further ones are summed as `REST`."""
MINUTE_MS, HOUR_MS = 60_000, 3_600_000
MINUTES_KEEP_MS, HOURS_KEEP_MS = 24 * HOUR_MS, 48 * HOUR_MS

LOADS_MAX = 1000

V = TypeVar("V", Minute, CoinHour)
Make = Callable[[str, int, Decimal, Decimal, int, tuple[VenueSum, ...]], V]
Sum = tuple[Decimal, Decimal, int]
"""What was bought, what was sold, in how many rows."""


class Sums(Generic[V]):
    """Adds up by span and name. Nothing of it is in the table before `save`."""

    def __init__(self, table: Stream[V], width_ms: int, keep_ms: int, make: Make[V]) -> None:
        self._table: Stream[V] = table
        self._width_ms, self._keep_ms = width_ms, keep_ms
        self._make: Make[V] = make
        self._names: dict[int, set[str]] = {}
        """Which names each span has, in the table or soon."""
        self._changed: dict[tuple[str, int], dict[Worth, Sum]] = {}
        """What came since the last save."""
        self._unnamed: Worth = UNKNOWN

    async def load(self, unnamed: Worth = UNKNOWN) -> None:
        """Learn what the table holds. Where no venues were noted, all is `unnamed`'s."""
        self._unnamed = unnamed
        for number, record in enumerate(self._table.after(0), 1):
            value = record.value
            name = value.symbol if isinstance(value, CoinHour) else ""
            self._names.setdefault(value.time_ms, set()).add(name)
            if number % LOADS_MAX == 0:
                await trio.lowlevel.checkpoint()

    @property
    def changed(self) -> int:
        """How many sums the next save will write."""
        return len(self._changed)

    def keeps(self, time_ms: int, now_ms: int) -> bool:
        """Whether the span of this time is recent enough to be kept."""
        return time_ms - time_ms % self._width_ms + self._width_ms > now_ms - self._keep_ms

    def add(self, name: str, time_ms: int, worth: Worth, sum: Sum) -> None:
        """Add to the sum of this name in the span of this time."""
        start_ms = time_ms - time_ms % self._width_ms
        names = self._names.setdefault(start_ms, set())
        if name not in names and len(names) >= COINS_MAX:
            name = REST
        names.add(name)
        added = self._changed.setdefault((name, start_ms), {})
        buy, sell, count = added.get(worth, _NOTHING)
        added[worth] = EXACT.add(buy, sum[0]), EXACT.add(sell, sum[1]), count + sum[2]

    def save(self, now_ms: int) -> None:
        """Write the changed sums as full totals, and forget what has outlived its retention."""
        for (name, start_ms), added in self._changed.items():
            key = _key(name, start_ms)
            parts = {part.venue: part for part in self._parts(self._table.get(key))}
            for (venue, kind, coverage), (buy, sell, count) in added.items():
                part = VenueSum(venue, trimmed(buy), trimmed(sell), count, kind, coverage)
                parts[venue] = parts[venue].joined(part) if venue in parts else part
            venues = tuple(parts[venue] for venue in sorted(parts))
            self._table.append(self._make(name, start_ms, *totals_of(venues), venues), key=key)
        self._changed.clear()
        for start_ms in [start for start in self._names if not self.keeps(start, now_ms)]:
            for name in self._names.pop(start_ms):
                self._table.forget(_key(name, start_ms))

    def _parts(self, before: V | None) -> tuple[VenueSum, ...]:
        if before is None or before.venues:
            return () if before is None else before.venues
        venue, kind, coverage = self._unnamed
        return (VenueSum(venue, before.buy, before.sell, before.count, kind, coverage),)


_NOTHING = (Decimal(0), Decimal(0), 0)


def _key(name: str, start_ms: int) -> str:
    return f"{name}/{start_ms}" if name else str(start_ms)


def minutes(table: Stream[Minute]) -> Sums[Minute]:
    """The market's volume minute by minute, for a day; the name is empty."""

    def make(name: str, *sums: Any) -> Minute:
        return Minute(*sums)

    return Sums(table, MINUTE_MS, MINUTES_KEEP_MS, make)


def hours(table: Stream[CoinHour]) -> Sums[CoinHour]:
    """Each coin's volume hour by hour, for two days."""
    return Sums(table, HOUR_MS, HOURS_KEEP_MS, CoinHour)
