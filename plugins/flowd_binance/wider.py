"""Wider candles from narrower ones: exact, and honest about what is missing."""

from collections.abc import Iterable
from datetime import UTC, datetime
from decimal import Decimal

from attrs import frozen

from flowd.market import EXACT, Candle
from flowd_binance.parse import least_ms

DAY_MS = 86_400_000
WEEK_MS = 7 * DAY_MS
MONDAY_MS = 4 * DAY_MS
"""1970-01-05, the first Monday of the epoch."""


@frozen
class Wide:
    """A candle that was put together. `whole` says that nothing of it is missing, but what is
    still to come.
    """

    candle: Candle
    whole: bool


def start(interval: str, time_ms: int) -> int:
    """When the candle begins that `time_ms` lies in: weeks on Monday, months on the first, UTC."""
    if interval == "1M":
        at = datetime.fromtimestamp(time_ms / 1000, UTC)
        return round(datetime(at.year, at.month, 1, tzinfo=UTC).timestamp() * 1000)
    if interval == "1w":
        return (time_ms - MONDAY_MS) // WEEK_MS * WEEK_MS + MONDAY_MS
    return time_ms // least_ms(interval) * least_ms(interval)


def following(interval: str, start_ms: int) -> int:
    """When the next candle begins."""
    if interval == "1M":
        return start(interval, start_ms + 31 * DAY_MS)
    return start_ms + least_ms(interval)


def fits(narrow: str, wide: str) -> bool:
    """Whether candles of one interval make up those of another exactly. Where those of three days
    begin is the exchange's affair, so there is nothing of them here.
    """
    if "3d" in (narrow, wide) or narrow in ("1w", "1M"):
        return False
    width_ms = DAY_MS if wide in ("1w", "1M") else least_ms(wide)
    return narrow != wide and width_ms % least_ms(narrow) == 0


def widest(there: Iterable[str], interval: str) -> str | None:
    """Of these intervals the widest that candles of `interval` can be made of, None if none can."""
    fitting = [name for name in there if fits(name, interval)]
    return max(fitting, key=least_ms, default=None)


class Builder:
    """Puts candles of one symbol, which come in their order, together to wider ones: one at a time,
    so that whoever has many may let others run in between.
    """

    def __init__(self, interval: str) -> None:
        self._interval = interval
        self._made: list[Wide] = []
        self._first: Candle | None = None
        self._last: Candle | None = None
        self._start_ms = self._after_ms = self._trades = 0
        self._chained = True
        self._high = self._low = self._volume = self._quote = Decimal(0)
        self._taker = self._taker_quote = Decimal(0)

    def add(self, part: Candle) -> None:
        """One more. A hole before it leaves a mark."""
        if self._first is None or part.time_ms >= self._after_ms:
            self._close(open=False)
            self._begin(part)
            return
        assert self._last is not None
        self._chained &= self._last.closed and self._last.close_time_ms + 1 == part.time_ms
        self._last = part
        self._high, self._low = max(self._high, part.high), min(self._low, part.low)
        self._volume = EXACT.add(self._volume, part.volume)
        self._quote = EXACT.add(self._quote, part.quote_volume)
        self._taker = EXACT.add(self._taker, part.taker_buy_volume)
        self._taker_quote = EXACT.add(self._taker_quote, part.taker_buy_quote_volume)
        self._trades += part.trades

    def finish(self) -> list[Wide]:
        """All of them; the last one may go on."""
        self._close(open=True)
        return self._made

    def _begin(self, part: Candle) -> None:
        self._first = self._last = part
        self._start_ms = start(self._interval, part.time_ms)
        self._after_ms = following(self._interval, self._start_ms)
        self._chained = part.time_ms == self._start_ms
        self._high, self._low, self._trades = part.high, part.low, part.trades
        self._volume, self._quote = part.volume, part.quote_volume
        self._taker, self._taker_quote = part.taker_buy_volume, part.taker_buy_quote_volume

    def _close(self, *, open: bool) -> None:
        first, last = self._first, self._last
        if first is None or last is None:
            return
        over = last.close_time_ms + 1 == self._after_ms and last.closed
        whole = self._chained and (over or open)
        candle = Candle(
            first.symbol,
            self._interval,
            self._start_ms,
            self._after_ms - 1,
            first.open,
            self._high,
            self._low,
            last.close,
            self._volume,
            self._quote,
            self._trades,
            self._taker,
            self._taker_quote,
            whole and over,
            first.venue,
        )
        self._made.append(Wide(candle, whole))
        self._first = self._last = None
