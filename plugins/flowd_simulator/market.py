"""The simulated market: prices, candles, trades and open interest as functions of time.

Nothing is stored and nothing moves: the same seed has the same price at the same millisecond
whether it is asked for live, a year later or by another process. So history and live data agree.
"""

from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Final, NamedTuple

import numpy as np
from attrs import frozen

from flowd_simulator.candles import Candle, Columns, joined
from flowd_simulator.cascades import WINDOW_MS, Cascade, Cascades
from flowd_simulator.crowd import Crowd
from flowd_simulator.instruments import COIN_MARGINED, DEFAULT_SYMBOLS, Instrument, instruments
from flowd_simulator.intervals import DAY_MS, HOUR_MS, MINUTE_MS, following, opening, width_ms
from flowd_simulator.noise import key, unit
from flowd_simulator.paths import MINUTES_HOUR, Minutes, Paths

LISTED_MS: Final = 1_483_228_800_000
"""2017-01-01: nothing was traded before."""
TRADES_MAX_MINUTE: Final = 4096
"""Trade ids are the minute times this, plus a count: unique, and rising with time."""
TRADE_SLOT_MS: Final = 250
FUNDING_MS: Final = 8 * HOUR_MS
HOURS_DAY: Final = DAY_MS // HOUR_MS
DAYS_AT_ONCE: Final = 40


class Point(NamedTuple):
    """A turn of the price within a minute."""

    into_ms: int
    price: float


@frozen
class Trade:
    """One trade of the live feed."""

    id: int
    time_ms: int
    ticks: int
    steps: int
    buyer_is_maker: bool


class Market:
    """Every price there is. `rate` 0 is a market without forced orders, hence without cascades."""

    def __init__(
        self, seed: int, symbols: Sequence[str] = DEFAULT_SYMBOLS, *, rate: float = 0.0
    ) -> None:
        assert rate >= 0, "rate is forced orders per minute"
        self.seed = seed
        self.rate = rate
        self.instruments = instruments(symbols)
        assert self.instruments, "a market needs at least one symbol"
        self.coin_margined = {each.symbol: each for each in COIN_MARGINED}
        self.cascade_in = Cascades(seed, tuple(self.instruments))
        self._paths = Paths(seed, self.cascade_in if rate else None)
        self.crowd = Crowd(seed, self._paths)
        self._days = lru_cache(maxsize=4_000)(self._make_days)
        self._minute_candles = lru_cache(maxsize=200)(self._make_minute_candles)
        self._minutes = lru_cache(maxsize=500)(self._make_minutes)
        self._path = lru_cache(maxsize=5_000)(self._make_path)
        self._sum = lru_cache(maxsize=5_000)(self._make_sum)

    def instrument(self, symbol: str) -> Instrument:
        """Raises KeyError for what is not traded here."""
        return self.instruments.get(symbol) or self.coin_margined[symbol]

    def price(self, symbol: str, time_ms: int) -> float:
        """The price of this millisecond, not yet rounded to a tick."""
        minute, into_ms = divmod(time_ms, MINUTE_MS)
        if not time_ms % HOUR_MS:
            return self._paths.at_hour(self.instrument(symbol), time_ms // HOUR_MS)
        return _price_at(self._path(symbol, minute), into_ms)

    def candle(self, symbol: str, start_ms: int, until_ms: int) -> Candle:
        """What was traded from `start_ms` (a full minute) up to and including `until_ms`."""
        assert start_ms % MINUTE_MS == 0, "candles open on full minutes"
        assert start_ms <= until_ms, "a candle cannot end before it opens"
        parts = [self._sum(symbol, *each) for each in _whole(start_ms, until_ms + 1)]
        if (until_ms + 1) % MINUTE_MS:
            parts.append(self._part(symbol, until_ms - until_ms % MINUTE_MS, until_ms))
        total = parts[0]
        for part in parts[1:]:
            total = total + part
        return total

    def candle_at(self, symbol: str, interval: str, time_ms: int, now_ms: int) -> Candle:
        """The candle that holds `time_ms`, as far as it had come at `now_ms`."""
        start_ms = opening(interval, time_ms)
        return self.candle(symbol, start_ms, min(now_ms, following(interval, start_ms) - 1))

    def candles(
        self, symbol: str, interval: str, openings: Sequence[int], now_ms: int
    ) -> list[Candle]:
        """The candles in a row that open at these times; the last as far as it had come."""
        if not openings:
            return []
        end_ms = following(interval, openings[-1])
        last = [self.candle_at(symbol, interval, openings[-1], now_ms)] if end_ms > now_ms else []
        whole = openings[:-1] if last else openings
        if not whole:
            return last
        end_ms = openings[-1] if last else end_ms
        unit_ms = next(
            unit for unit in (DAY_MS, HOUR_MS, MINUTE_MS) if width_ms(interval) % unit == 0
        )
        first = whole[0] // unit_ms
        columns = self._columns(symbol, unit_ms, first, end_ms // unit_ms)
        return [*columns.summed(np.array(whole) // unit_ms - first).candles(), *last]

    def prepare(self, symbol: str, now_ms: int, since_ms: int = LISTED_MS) -> Iterator[None]:
        """Have the days of a symbol at hand, some weeks at each step, the newest first."""
        newest = now_ms // DAY_MS // DAYS_AT_ONCE
        for span in range(newest, since_ms // DAY_MS // DAYS_AT_ONCE - 1, -1):
            yield
            self._days(symbol, span)

    def trade(self, symbol: str, slot: int) -> Trade | None:
        """The trade of this quarter of a second, if there was one."""
        trade_key = key(self.seed, "trade", symbol)
        if unit(trade_key, 4 * slot) < 0.5:
            return None
        instrument = self.instrument(symbol)
        time_ms = slot * TRADE_SLOT_MS + int(unit(trade_key, 4 * slot + 1) * TRADE_SLOT_MS)
        price = self.price(symbol, time_ms)
        usd = instrument.turnover_usd / 500 * (0.1 + unit(trade_key, 4 * slot + 2))
        return Trade(
            id=slot,
            time_ms=time_ms,
            ticks=instrument.ticks(price),
            steps=instrument.quantity_for(usd, price),
            buyer_is_maker=unit(trade_key, 4 * slot + 3) < 0.5,
        )

    def open_interest(self, symbol: str, time_ms: int) -> int:
        """Open positions, in steps."""
        instrument = self.instrument(symbol)
        return instrument.steps(self.crowd.open_interest(instrument, time_ms))

    def first_trade(self, start_ms: int) -> int:
        """The id of the first trade from this minute on."""
        return start_ms // MINUTE_MS * TRADES_MAX_MINUTE

    def last_trade(self, symbol: str, time_ms: int) -> int:
        """The id of the newest trade at this instant."""
        start_ms = time_ms - time_ms % MINUTE_MS
        count = self._part(symbol, start_ms, time_ms).trades
        return self.first_trade(start_ms) + max(0, count - 1)

    def cascade_of(self, symbol: str, time_ms: int) -> Cascade | None:
        """The cascade that strikes this symbol in this minute."""
        if not self.rate:
            return None
        cascade = self.cascade_in(time_ms // WINDOW_MS)
        if cascade is None or cascade.start_ms // MINUTE_MS != time_ms // MINUTE_MS:
            return None
        return cascade if symbol in cascade.symbols else None

    # Units of time: days and hours are known at once, many of them together; minutes hour by hour

    def _columns(self, symbol: str, unit_ms: int, first: int, until: int) -> Columns:
        """The candles of one unit of time, from one number (since the epoch) up to another."""
        instrument = self.instrument(symbol)
        if unit_ms == HOUR_MS:
            return self._paths.hours(instrument, first, until - first).candles
        if unit_ms == DAY_MS:
            spans = range(first // DAYS_AT_ONCE, (until - 1) // DAYS_AT_ONCE + 1)
            begin = first - spans[0] * DAYS_AT_ONCE
            whole = joined([self._days(symbol, span) for span in spans])
            return whole.cut(begin, begin + until - first)
        hour, end = first // MINUTES_HOUR, -(-until // MINUTES_HOUR)
        if end - hour > 1:
            way = self._paths.minutes(instrument, hour, end - hour)
            made = self._paths.candles(instrument, hour, way)
        else:
            made = self._minute_candles(symbol, hour)
        return made.cut(first - hour * MINUTES_HOUR, until - hour * MINUTES_HOUR)

    def _make_days(self, symbol: str, span: int) -> Columns:
        count = DAYS_AT_ONCE * HOURS_DAY
        hours = self._paths.hours(self.instrument(symbol), span * count, count)
        return hours.candles.summed(np.arange(0, count, HOURS_DAY))

    def _make_minutes(self, symbol: str, hour: int) -> Minutes:
        return self._paths.minutes(self.instrument(symbol), hour, 1)

    def _make_minute_candles(self, symbol: str, hour: int) -> Columns:
        return self._paths.candles(self.instrument(symbol), hour, self._minutes(symbol, hour))

    def _make_sum(self, symbol: str, unit_ms: int, first: int, until: int) -> Candle:
        columns = self._columns(symbol, unit_ms, first, until)
        (total,) = columns.summed(np.zeros(1, np.int64)).candles()
        return total

    def _make_path(self, symbol: str, minute: int) -> tuple[Point, ...]:
        """The turns which the price takes within a minute."""
        hour, at = divmod(minute, MINUTES_HOUR)
        found = self._minutes(symbol, hour)
        return (
            Point(0, float(found.first[0, at])),
            Point(int(found.early_ms[0, at]), float(found.early[0, at])),
            Point(int(found.late_ms[0, at]), float(found.late[0, at])),
            Point(MINUTE_MS, float(found.last[0, at])),
        )

    def _part(self, symbol: str, start_ms: int, until_ms: int) -> Candle:
        """A minute, as far as it has come; volumes only grow while it comes."""
        minute, into_ms = start_ms // MINUTE_MS, until_ms - start_ms
        assert 0 <= into_ms < MINUTE_MS
        whole = self._sum(symbol, MINUTE_MS, minute, minute + 1)
        path = self._path(symbol, minute)
        passed = [point.price for point in path if point.into_ms < into_ms]
        ticks = self.instrument(symbol).ticks
        prices = [ticks(price) for price in (*passed, _price_at(path, into_ms))]
        elapsed_ms = into_ms + 1
        return Candle(
            open=prices[0],
            high=max(prices),
            low=min(prices),
            close=prices[-1],
            volume=whole.volume * elapsed_ms // MINUTE_MS,
            taker_buys=whole.taker_buys * elapsed_ms // MINUTE_MS,
            quote=whole.quote * elapsed_ms // MINUTE_MS,
            taker_quote=whole.taker_quote * elapsed_ms // MINUTE_MS,
            trades=max(1, whole.trades * elapsed_ms // MINUTE_MS),
        )


def _whole(start_ms: int, end_ms: int) -> Iterator[tuple[int, int, int]]:
    """The whole minutes, hours and days between two times, as `(unit_ms, first, until)`: the widest
    that there are, in their order.
    """
    at_ms = start_ms
    for unit_ms, wider_ms in ((MINUTE_MS, HOUR_MS), (HOUR_MS, DAY_MS)):
        until_ms = min(-(-at_ms // wider_ms) * wider_ms, end_ms - end_ms % unit_ms)
        if until_ms > at_ms:
            yield unit_ms, at_ms // unit_ms, until_ms // unit_ms
            at_ms = until_ms
    for unit_ms in (DAY_MS, HOUR_MS, MINUTE_MS):
        until_ms = end_ms - end_ms % unit_ms
        if until_ms > at_ms:
            yield unit_ms, at_ms // unit_ms, until_ms // unit_ms
            at_ms = until_ms


def _price_at(path: Sequence[Point], into_ms: int) -> float:
    left = path[0]
    for right in path[1:]:
        if into_ms < right.into_ms:
            share = (into_ms - left.into_ms) / (right.into_ms - left.into_ms)
            return left.price + (right.price - left.price) * share
        left = right
    return left.price
