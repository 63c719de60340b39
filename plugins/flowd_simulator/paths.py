"""The way of a price: hours, which are decided at once, and the minutes that lie within them.

An hour is known without its minutes, so that years of candles cost what their hours cost. Its
minutes are made to fit: none leaves its range, one touches the top and one the bottom, and their
volumes are parts of its volume, to the last step.
"""

from functools import lru_cache
from typing import Final, NamedTuple

import numpy as np

from flowd_simulator.candles import Columns, joined
from flowd_simulator.cascades import MEMORY_WINDOWS, WINDOW_MS, Cascades, Waves, left_over
from flowd_simulator.instruments import Instrument
from flowd_simulator.intervals import DAY_MS, HOUR_MS, MINUTE_MS
from flowd_simulator.noise import key
from flowd_simulator.noise_arrays import Floats, Ints, units, walks

MINUTES_HOUR: Final = HOUR_MS // MINUTE_MS
WINDOWS_HOUR: Final = HOUR_MS // WINDOW_MS
SPAN_HOURS: Final = 40 * DAY_MS // HOUR_MS
"""So many hours are decided together."""
CALM: Final = (0.2, 0.65)
"""How far an hour without cascades goes beyond where it begins and ends, at least and how much
more: in what the price usually moves in an hour."""
TRADES_MIN_MINUTE: Final = 100
TRADES_MORE_HOUR: Final = 60_000


class Hours(NamedTuple):
    """Hours in a row, and where the price begins and how far it goes in each, not rounded."""

    candles: Columns
    first: Floats
    high: Floats
    low: Floats


class Minutes(NamedTuple):
    """The minutes of hours, a row for each hour: where the price is first and last, and its two
    turns between.
    """

    first: Floats
    early_ms: Ints
    early: Floats
    late_ms: Ints
    late: Floats
    last: Floats

    def high(self) -> Floats:
        """The highest price of each minute."""
        return np.maximum(np.maximum(self.first, self.last), np.maximum(self.early, self.late))

    def low(self) -> Floats:
        """The lowest."""
        return np.minimum(np.minimum(self.first, self.last), np.minimum(self.early, self.late))

    def mean(self) -> Floats:
        """The average price, each moment counting the same."""
        area = (self.first + self.early) * self.early_ms
        area += (self.early + self.late) * (self.late_ms - self.early_ms)
        area += (self.late + self.last) * (MINUTE_MS - self.late_ms)
        found: Floats = area / (2 * MINUTE_MS)
        return found


class Paths:
    """The ways of all symbols. `cascades` is None in a market without them."""

    def __init__(self, seed: int, cascades: Cascades | None) -> None:
        self._seed = seed
        self._cascades = cascades
        self._span = lru_cache(maxsize=200)(self._make_span)

    def levels(self, instrument: Instrument, minutes: Ints, waves: Waves | None) -> Floats:
        """The prices at the beginning of minutes, which rise; `waves` are those from MEMORY_WINDOWS
        before the first one's window.
        """
        moves = instrument.volatility * walks(self._key("price", instrument), minutes)
        if waves is not None:
            first = int(minutes[0]) * MINUTE_MS // WINDOW_MS - MEMORY_WINDOWS
            moves += left_over(waves, first, minutes)
        return instrument.price * np.exp(moves)

    def hours(self, instrument: Instrument, first: int, count: int) -> Hours:
        """So many hours from one on (its number since the epoch)."""
        spans = range(first // SPAN_HOURS, (first + count - 1) // SPAN_HOURS + 1)
        begin = first - spans[0] * SPAN_HOURS
        within = slice(begin, begin + count)
        parts = [self._span(instrument, span) for span in spans]
        candles = joined([each.candles for each in parts]).cut(begin, begin + count)
        if len(parts) == 1:
            return Hours(candles, *(column[within] for column in parts[0][1:]))
        columns = zip(*(each[1:] for each in parts), strict=True)
        return Hours(candles, *(np.concatenate(column)[within] for column in columns))

    def at_hour(self, instrument: Instrument, hour: int) -> float:
        """The price at the beginning of an hour."""
        span, at = divmod(hour, SPAN_HOURS)
        return float(self._span(instrument, span).first[at])

    def _make_span(self, instrument: Instrument, span: int) -> Hours:
        hours = np.arange(span * SPAN_HOURS, (span + 1) * SPAN_HOURS)
        usual = instrument.volatility * MINUTES_HOUR**0.5
        waves = self._waves(instrument, span * SPAN_HOURS, SPAN_HOURS)
        levels = self.levels(instrument, np.append(hours, hours[-1] + 1) * MINUTES_HOUR, waves)
        opened, closed = levels[:-1], levels[1:]
        shape = self._key("hour", instrument)
        up, down = (usual * (CALM[0] + CALM[1] * units(shape, 4 * hours + n)) for n in (0, 1))
        if waves is not None:
            within = slice(MEMORY_WINDOWS, MEMORY_WINDOWS + SPAN_HOURS * WINDOWS_HOUR)
            reach = waves.reach[within].reshape(SPAN_HOURS, WINDOWS_HOUR)
            up += reach.max(axis=1).clip(min=0)
            down -= reach.min(axis=1).clip(max=0)
        high = np.maximum(opened, closed) * np.exp(up)
        low = np.minimum(opened, closed) * np.exp(-down)
        candles = self._traded(instrument, hours, (opened, high, low, closed))
        return Hours(candles, opened, high, low)

    def minutes(self, instrument: Instrument, first: int, count: int) -> Minutes:
        """The way of the price in the minutes of so many hours from one on."""
        whole = self.hours(instrument, first, count)
        waves = self._waves(instrument, first, count)
        minutes = np.arange(first * MINUTES_HOUR, (first + count) * MINUTES_HOUR + 1)
        levels = self.levels(instrument, minutes, waves)
        top, bottom = whole.high[:, None], whole.low[:, None]
        ahead, behind = (
            np.minimum(np.maximum(each.reshape(count, MINUTES_HOUR), bottom), top)
            for each in (levels[:-1], levels[1:])
        )
        places = minutes[:-1].reshape(count, MINUTES_HOUR)
        early_ms, early, late_ms, late = self._turns(instrument, places, ahead, behind, waves)
        early, late = (np.minimum(np.maximum(each, bottom), top) for each in (early, late))
        return Minutes(ahead, early_ms, *_touching(early, late_ms, late, whole), behind)

    def candles(self, instrument: Instrument, first: int, way: Minutes) -> Columns:
        """The candles of such minutes, a row for each hour: the hour's volume in parts, by how much
        the price moves, so that they make up its average price as well.
        """
        count = len(way.first)
        whole = self.hours(instrument, first, count).candles
        minutes = np.arange(first * MINUTES_HOUR, (first + count) * MINUTES_HOUR)
        places = minutes.reshape(count, MINUTES_HOUR)
        high, low = way.high(), way.low()
        flow = key(self._seed, "minute", instrument.symbol)
        drawn, lean = units(flow, 3 * places), units(flow, 3 * places + 1) - 0.5
        weights = (0.1 + drawn) * (1 + np.log(high / low) / instrument.volatility)
        mean, scale = way.mean() / float(instrument.tick), _scale(instrument)
        fourfold = whole.open + whole.high + whole.low + whole.close
        weights *= _tilt(weights, mean - fourfold[:, None] / 4)
        volume = _split(whole.volume, weights)
        buys = _leaning(volume, whole, lean)
        more = whole.trades - TRADES_MIN_MINUTE * MINUTES_HOUR
        trades = TRADES_MIN_MINUTE + _split(more, 0.2 + 1.6 * drawn)
        rounded = (_ticks(instrument, each) for each in (way.first, high, low, way.last))
        columns = (
            *rounded,
            volume,
            buys,
            _paid(whole.quote, volume, mean * scale),
            _paid(whole.taker_quote, buys, mean * scale),
            trades,
        )
        return Columns(*(each.ravel() for each in columns))

    def _key(self, what: str, instrument: Instrument) -> int:
        """Coin-margined contracts have the prices of their coin's main contract."""
        return key(self._seed, what, instrument.followed)

    def _waves(self, instrument: Instrument, first: int, count: int) -> Waves | None:
        """The cascades of some hours, and those before that are felt in them."""
        if self._cascades is None:
            return None
        start, end = first * WINDOWS_HOUR, (first + count) * WINDOWS_HOUR
        return self._cascades.felt(instrument.followed, np.arange(start - MEMORY_WINDOWS, end + 1))

    def _traded(
        self, instrument: Instrument, hours: Ints, prices: tuple[Floats, Floats, Floats, Floats]
    ) -> Columns:
        """What is traded in hours, more where the price moves more."""
        opened, high, low, closed = (_ticks(instrument, each) for each in prices)
        flow = key(self._seed, "flow", instrument.symbol)
        busy = 1 + np.log(prices[1] / prices[2]) / instrument.volatility / MINUTES_HOUR**0.5
        usd = instrument.turnover_usd * MINUTES_HOUR * (0.3 + 0.8 * units(flow, 4 * hours)) * busy
        step_usd = float(instrument.step) * (instrument.contract_usd or prices[0])
        volume = np.rint(usd / 3 / step_usd).astype(np.int64).clip(min=1)
        buys = (volume * (0.35 + 0.3 * units(flow, 4 * hours + 1))).astype(np.int64)
        more = TRADES_MORE_HOUR * units(flow, 4 * hours + 2)
        trades = MINUTES_HOUR * TRADES_MIN_MINUTE + more.astype(np.int64)
        fourfold = (opened + high + low + closed) * _scale(instrument)
        quote, taker_quote = volume * fourfold // 4, buys * fourfold // 4
        return Columns(opened, high, low, closed, volume, buys, quote, taker_quote, trades)

    def _turns(
        self, instrument: Instrument, places: Ints, ahead: Floats, behind: Floats,
        waves: Waves | None,
    ) -> tuple[Ints, Floats, Ints, Floats]:  # fmt: skip
        """When and where the price turns within each minute: early, and late."""
        shape, volatility = self._key("shape", instrument), instrument.volatility
        high = np.maximum(ahead, behind) * (1 + volatility * units(shape, 5 * places))
        low = np.minimum(ahead, behind) * (1 - volatility * units(shape, 5 * places + 1))
        early_ms = 5_000 + (20_000 * units(shape, 5 * places + 2)).astype(np.int64)
        late_ms = 30_000 + (25_000 * units(shape, 5 * places + 3)).astype(np.int64)
        rising = units(shape, 5 * places + 4) < 0.5
        early, late = np.where(rising, high, low), np.where(rising, low, high)
        if waves is not None:
            at = np.flatnonzero(waves.reach[MEMORY_WINDOWS:-1]) + MEMORY_WINDOWS
            minutes, into_ms = np.divmod(waves.start_ms[at], MINUTE_MS)
            struck = minutes - places[0, 0]
            early_ms.ravel()[struck], early.ravel()[struck] = into_ms, ahead.ravel()[struck]
            late_ms.ravel()[struck] = waves.end_ms[at] % MINUTE_MS
            late.ravel()[struck] = ahead.ravel()[struck] * np.exp(waves.reach[at])
        return early_ms, early, late_ms, late


def _ticks(instrument: Instrument, prices: Floats) -> Ints:
    """`Instrument.ticks` of many prices."""
    return np.maximum(1, np.rint(prices / float(instrument.tick))).astype(np.int64)


def _scale(instrument: Instrument) -> int:
    return int(instrument.tick.scaleb(instrument.price_decimals))


def _touching(
    early: Floats, late_ms: Ints, late: Floats, whole: Hours
) -> tuple[Floats, Ints, Floats]:
    """The turns, once the highest of each hour is at its top and the lowest at its bottom."""
    rows = np.arange(len(early))
    above = early >= late
    highest = rows, np.maximum(early, late).argmax(axis=1)
    lowest = rows, np.minimum(early, late).argmin(axis=1)
    first, second = above[highest], above[lowest]
    early[highest] = np.where(first, whole.high, early[highest])
    late[highest] = np.where(first, late[highest], whole.high)
    early[lowest] = np.where(second, early[lowest], whole.low)
    late[lowest] = np.where(second, whole.low, late[lowest])
    return early, late_ms, late


def _tilt(weights: Floats, beyond: Floats) -> Floats:
    """Factors by which the weighted distances from the average come to nothing."""
    above = np.where(beyond > 0, weights * beyond, 0.0).cumsum(axis=1)[:, -1:]
    below = np.where(beyond < 0, weights * -beyond, 0.0).cumsum(axis=1)[:, -1:]
    both = (above > 0) & (below > 0)
    factor = np.sqrt(np.where(both, below, 1.0) / np.where(both, above, 1.0))
    return np.where(beyond > 0, factor, 1 / factor)


def _split(whole: Ints, weights: Floats) -> Ints:
    """Whole numbers in parts, whose sum they are."""
    sums = weights.cumsum(axis=1)
    until = (whole[:, None] * (sums / sums[:, -1:])).astype(np.int64)
    until[:, -1] = whole
    return _steps(until)


def _leaning(volume: Ints, whole: Columns, lean: Floats) -> Ints:
    """What takers buy of each part, more or less of it, with the whole's sum."""
    ratio = whole.taker_buys / whole.volume
    until = (volume.cumsum(axis=1) * ratio[:, None]).astype(np.int64)
    until[:, -1] = whole.taker_buys
    buys = _steps(until)
    # What a part has more, its neighbour has less; no part can buy more than it is.
    slack = np.minimum(buys, volume - buys) // 2
    moved = (2 * lean[:, :-1] * np.minimum(slack[:, :-1], slack[:, 1:])).astype(np.int64)
    buys[:, :-1] += moved
    buys[:, 1:] -= moved
    return buys


def _paid(whole: Ints, amounts: Ints, prices: Floats) -> Ints:
    """What each part is paid, by its price but for the little that is missing in the sum."""
    paid = amounts * prices
    total = amounts.cumsum(axis=1)[:, -1:]
    until = paid.cumsum(axis=1)
    missing = (whole[:, None] - until[:, -1:]) / np.maximum(1, total)
    rounded = np.rint((paid + amounts * missing).cumsum(axis=1)).astype(np.int64)
    rounded[:, -1] = whole
    return _steps(rounded)


def _steps(sums: Ints) -> Ints:
    """What each part adds to the sum before it."""
    parts = sums.copy()
    parts[:, 1:] -= sums[:, :-1]
    return parts
