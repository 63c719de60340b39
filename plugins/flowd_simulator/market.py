"""The simulated market: prices, candles, trades and open interest as functions of time.

Nothing is stored and nothing moves: the same seed has the same price at the same millisecond
whether it is asked for live, a year later or by another process. So history and live data agree.
"""

from collections.abc import Sequence
from functools import lru_cache
from itertools import pairwise
from math import exp
from typing import Final, NamedTuple

from attrs import frozen

from flowd_simulator.cascades import MEMORY_WINDOWS, WINDOW_MS, Cascade, cascades
from flowd_simulator.crowd import Crowd
from flowd_simulator.instruments import COIN_MARGINED, DEFAULT_SYMBOLS, Instrument, instruments
from flowd_simulator.intervals import HOUR_MS, MINUTE_MS, following, opening
from flowd_simulator.noise import key, signed, unit, walk

TRADES_MAX_MINUTE: Final = 4096
"""Trade ids are the minute times this, plus a count: unique, and rising with time."""
TRADE_SLOT_MS: Final = 250
FUNDING_MS: Final = 8 * HOUR_MS


class Point(NamedTuple):
    """A turn of the price within a minute."""

    into_ms: int
    price: float


@frozen
class Candle:
    """An interval of trading, counted in ticks, steps and the smallest unit of the quote."""

    open: int
    high: int
    low: int
    close: int
    volume: int
    taker_buys: int
    quote: int
    taker_quote: int
    trades: int

    def __add__(self, later: "Candle") -> "Candle":
        return Candle(
            self.open,
            max(self.high, later.high),
            min(self.low, later.low),
            later.close,
            self.volume + later.volume,
            self.taker_buys + later.taker_buys,
            self.quote + later.quote,
            self.taker_quote + later.taker_quote,
            self.trades + later.trades,
        )


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
        self._walks = {
            symbol: walk(key(seed, "price", symbol))
            for symbol in {*self.instruments, *(self._followed(each) for each in COIN_MARGINED)}
        }
        self.cascade_in = cascades(seed, tuple(self.instruments))
        self.crowd = Crowd(seed, self.cascade_in if rate else None)
        self._level = lru_cache(maxsize=50_000)(self._make_level)
        self._path = lru_cache(maxsize=5_000)(self._make_path)
        self._minute = lru_cache(maxsize=50_000)(self._make_minute)
        self._hour = lru_cache(maxsize=20_000)(self._make_hour)

    def instrument(self, symbol: str) -> Instrument:
        """Raises KeyError for what is not traded here."""
        return self.instruments.get(symbol) or self.coin_margined[symbol]

    def price(self, symbol: str, time_ms: int) -> float:
        """The price of this millisecond, not yet rounded to a tick."""
        minute, into_ms = divmod(time_ms, MINUTE_MS)
        return _price_at(self._path(symbol, minute), into_ms)

    def candle(self, symbol: str, start_ms: int, until_ms: int) -> Candle:
        """What was traded from `start_ms` (a full minute) up to and including `until_ms`."""
        assert start_ms % MINUTE_MS == 0, "candles open on full minutes"
        assert start_ms <= until_ms, "a candle cannot end before it opens"
        total: Candle | None = None
        while start_ms <= until_ms:
            if start_ms % HOUR_MS == 0 and start_ms + HOUR_MS - 1 <= until_ms:
                part, width_ms = self._hour(symbol, start_ms // HOUR_MS), HOUR_MS
            elif start_ms + MINUTE_MS - 1 <= until_ms:
                part, width_ms = self._minute(symbol, start_ms // MINUTE_MS), MINUTE_MS
            else:
                part, width_ms = self._part(symbol, start_ms, until_ms), MINUTE_MS
            total = part if total is None else total + part
            start_ms += width_ms
        assert total is not None
        return total

    def candle_at(self, symbol: str, interval: str, time_ms: int, now_ms: int) -> Candle:
        """The candle that holds `time_ms`, as far as it had come at `now_ms`."""
        start_ms = opening(interval, time_ms)
        return self.candle(symbol, start_ms, min(now_ms, following(interval, start_ms) - 1))

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

    def _followed(self, instrument: Instrument) -> str:
        """Coin-margined contracts have the price of their coin's main contract."""
        return f"{instrument.base}USDT" if instrument.contract_usd else instrument.symbol

    def _make_level(self, symbol: str, minute: int) -> float:
        """The price at the start of a minute."""
        instrument = self.instrument(symbol)
        followed = self._followed(instrument)
        move = instrument.volatility * self._walks[followed](minute)
        if self.rate:
            time_ms = minute * MINUTE_MS
            newest = time_ms // WINDOW_MS
            for window in range(newest - MEMORY_WINDOWS, newest + 1):
                cascade = self.cascade_in(window)
                move += cascade.push(followed, time_ms) if cascade else 0.0
        return instrument.price * exp(move)

    def _make_path(self, symbol: str, minute: int) -> tuple[Point, ...]:
        """The turns which the price takes within a minute."""
        instrument = self.instrument(symbol)
        first, last = self._level(symbol, minute), self._level(symbol, minute + 1)
        cascade = self.cascade_of(self._followed(instrument), minute * MINUTE_MS)
        if cascade is not None:
            start_ms, end_ms = cascade.start_ms % MINUTE_MS, cascade.end_ms % MINUTE_MS
            turns = Point(start_ms, first), Point(end_ms, first * exp(cascade.reach))
        else:
            shape = key(self.seed, "shape", self._followed(instrument))
            high = max(first, last) * (1 + instrument.volatility * unit(shape, 5 * minute))
            low = min(first, last) * (1 - instrument.volatility * unit(shape, 5 * minute + 1))
            early_ms = 5_000 + int(20_000 * unit(shape, 5 * minute + 2))
            late_ms = 30_000 + int(25_000 * unit(shape, 5 * minute + 3))
            one, other = (high, low) if unit(shape, 5 * minute + 4) < 0.5 else (low, high)
            turns = Point(early_ms, one), Point(late_ms, other)
        return Point(0, first), *turns, Point(MINUTE_MS, last)

    def _part(self, symbol: str, start_ms: int, until_ms: int) -> Candle:
        """A minute, as far as it has come; volumes only grow while it comes."""
        instrument = self.instrument(symbol)
        minute = start_ms // MINUTE_MS
        path = self._path(symbol, minute)
        into_ms = until_ms - start_ms
        assert 0 <= into_ms < MINUTE_MS
        now = Point(into_ms, _price_at(path, into_ms))
        passed = [*(point for point in path if point.into_ms < into_ms), now]
        prices = [instrument.ticks(point.price) for point in passed]
        flow = key(self.seed, "flow", symbol)
        levels = [point.price for point in path]
        busy = 1 + (max(levels) / min(levels) - 1) / instrument.volatility
        usd = instrument.turnover_usd * (0.1 + unit(flow, 3 * minute)) * busy / 2
        elapsed = (into_ms + 1) / MINUTE_MS
        volume = int(instrument.quantity_for(usd, path[0].price) * elapsed)
        buys = int(volume * (0.5 + 0.3 * signed(flow, 3 * minute + 1)))
        count = 100 + int(1500 * unit(flow, 3 * minute + 2))
        mean = instrument.ticks(_mean(passed))
        scale = int(instrument.tick.scaleb(instrument.price_decimals))
        return Candle(
            open=prices[0],
            high=max(prices),
            low=min(prices),
            close=prices[-1],
            volume=volume,
            taker_buys=buys,
            quote=volume * mean * scale,
            taker_quote=buys * mean * scale,
            trades=max(1, int(count * elapsed)),
        )

    def _make_minute(self, symbol: str, minute: int) -> Candle:
        return self._part(symbol, minute * MINUTE_MS, (minute + 1) * MINUTE_MS - 1)

    def _make_hour(self, symbol: str, hour: int) -> Candle:
        total = self._minute(symbol, hour * 60)
        for minute in range(hour * 60 + 1, (hour + 1) * 60):
            total = total + self._minute(symbol, minute)
        return total


def _price_at(path: Sequence[Point], into_ms: int) -> float:
    for left, right in pairwise(path):
        if into_ms < right.into_ms:
            share = (into_ms - left.into_ms) / (right.into_ms - left.into_ms)
            return left.price + (right.price - left.price) * share
    return path[-1].price


def _mean(path: Sequence[Point]) -> float:
    """The average price along a path, each moment counting the same."""
    area = sum(
        (left.price + right.price) / 2 * (right.into_ms - left.into_ms)
        for left, right in pairwise(path)
    )
    return area / path[-1].into_ms if path[-1].into_ms else path[-1].price
