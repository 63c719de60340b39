"""Forced orders: a thin drizzle of them, and the showers of a cascade, as functions of time.

How many there are and when is decided by the rate and the cascades; how large they are, by what
the crowd loses meanwhile.
"""

from bisect import bisect_right
from collections.abc import Iterable
from decimal import Decimal
from functools import lru_cache
from math import exp
from operator import attrgetter
from random import Random

from attrs import frozen

from flowd_simulator.cascades import LIKELIHOOD, WINDOW_MS, Side
from flowd_simulator.intervals import MINUTE_MS
from flowd_simulator.market import Market
from flowd_simulator.noise import key

CASCADE_SHARE = 0.6
"""So much of all forced orders falls in cascades."""
COIN_MARGINED_SHARE = 0.06
CASCADE_ORDERS_MIN = 6
CASCADE_ORDERS_MAX = 2000
SMALL = 0.02
"""Of the usual size are orders that come while the crowd loses nothing."""
DRIZZLE = (8.0, 1.6)
SHOWER = (8.5, 1.2)
"""How sizes in dollars are spread: mean and deviation of their logarithms …"""
GROWTH = 6.0
"""… and so many times larger, and one, is the last order of a cascade than the first."""
EARLINESS = 0.6


@frozen
class ForcedOrder:
    """One forced order, its numbers already written as the exchange writes them."""

    symbol: str
    pair: str
    side: Side
    limit: str
    """The worst price the engine would have taken; not where it traded."""
    average: str
    quantity: str
    last_fill: str
    time_ms: int
    coin_margined: bool = False

    @property
    def notional(self) -> Decimal:
        """In dollars, or contracts times price if coin-margined: good for comparing only."""
        return Decimal(self.quantity) * Decimal(self.average)


Spell = tuple[ForcedOrder, ...]
"""The orders of a second's drizzle or of a shower, oldest first."""
_time = attrgetter("time_ms")


class OrderFlow:
    """All forced orders of a market on one venue, before that samples them for its stream. Venues
    have the same cascades and prices, and orders of their own.
    """

    def __init__(self, market: Market, venue: str = "") -> None:
        self._market = market
        self._venue = venue
        self._symbols = tuple(market.instruments)
        self._coin_margined = tuple(market.coin_margined)
        # The exchange asks several times a second, and one spell answers many times.
        self._drizzle = lru_cache(maxsize=64)(self._make_drizzle)
        self._shower = lru_cache(maxsize=64)(self._make_shower)

    def between(self, after_ms: int, until_ms: int) -> list[ForcedOrder]:
        """The orders after one instant and up to another, oldest first."""
        if not self._market.rate or until_ms <= after_ms:
            return []
        seconds = range(after_ms // 1000, until_ms // 1000 + 1)
        windows = range(after_ms // WINDOW_MS, until_ms // WINDOW_MS + 1)
        orders: list[ForcedOrder] = []
        for spell in (*map(self._drizzle, seconds), *map(self._shower, windows)):
            first = bisect_right(spell, after_ms, key=_time)
            orders += spell[first : bisect_right(spell, until_ms, key=_time)]
        return sorted(orders, key=_time)

    def _make_drizzle(self, second: int) -> Spell:
        """Single orders of one second, of either side."""
        random = Random(key(self._market.seed, f"drizzle{self._venue}", second))
        expected = self._market.rate * (1 - CASCADE_SHARE) / 60
        count = int(expected) + (random.random() < expected % 1)
        times_ms = (second * 1000 + random.randrange(1000) for _ in range(count))
        return _spell(self._single(random, time_ms) for time_ms in times_ms)

    def _single(self, random: Random, time_ms: int) -> ForcedOrder:
        coin_margined = random.random() < COIN_MARGINED_SHARE
        symbol = random.choice(self._coin_margined if coin_margined else self._symbols)
        side: Side = random.choice(("BUY", "SELL"))
        usd = random.lognormvariate(*DRIZZLE) * self._drizzle_scale(symbol, side, time_ms)
        return self._order(random, symbol, side, usd, time_ms)

    def _drizzle_scale(self, symbol: str, side: Side, time_ms: int) -> float:
        """How much larger than usual single orders are, so that they are what the crowd loses."""
        window = time_ms // WINDOW_MS
        cascade = self._market.cascade_in(window)
        if symbol not in self._symbols:
            return 1.0  # The crowd's contracts are margined in dollars.
        if cascade is not None and cascade.side == side and symbol in cascade.symbols:
            return SMALL  # It loses all to that.
        single = self._market.rate * (1 - CASCADE_SHARE) * (1 - COIN_MARGINED_SHARE)
        expected = single * WINDOW_MS / MINUTE_MS / len(self._symbols) / 2
        return self._scale(symbol, side, window, expected * _mean(*DRIZZLE))

    def _scale(self, symbol: str, side: Side, window: int, usual_usd: float) -> float:
        instrument = self._market.instrument(symbol)
        lost = self._market.crowd.lost(instrument, window, side)
        lost_usd = lost * self._market.price(symbol, window * WINDOW_MS)
        return max(SMALL, lost_usd / usual_usd)

    def _make_shower(self, window: int) -> Spell:
        """The orders of a window's cascade: ever more and ever larger ones, all of one side."""
        cascade = self._market.cascade_in(window)
        if cascade is None:
            return ()
        random = Random(key(self._market.seed, f"shower{self._venue}", window))
        expected = self._market.rate * WINDOW_MS / MINUTE_MS * CASCADE_SHARE / LIKELIHOOD
        count = min(CASCADE_ORDERS_MAX, max(CASCADE_ORDERS_MIN, round(expected)))
        usual_usd = _mean(*SHOWER) * (1 + GROWTH / (1 + EARLINESS)) * count / len(cascade.symbols)
        scales = {
            symbol: self._scale(symbol, cascade.side, window, usual_usd)
            for symbol in cascade.symbols
        }
        orders = []
        for _ in range(count):
            progress = random.random() ** EARLINESS
            time_ms = cascade.start_ms + int(progress * (cascade.end_ms - cascade.start_ms))
            usd = random.lognormvariate(*SHOWER) * (1 + GROWTH * progress)
            symbol = random.choice(cascade.symbols)
            usd *= scales[symbol]
            orders.append(self._order(random, symbol, cascade.side, usd, time_ms))
        return _spell(orders)

    def _order(
        self, random: Random, symbol: str, side: Side, usd: float, time_ms: int
    ) -> ForcedOrder:
        instrument = self._market.instrument(symbol)
        worse = -1 if side == "SELL" else 1
        average = self._market.price(symbol, time_ms) * (1 + worse * random.uniform(0, 0.0005))
        limit = average * (1 + worse * random.uniform(0.003, 0.02))
        quantity = instrument.quantity_for(min(usd, instrument.turnover_usd), average)
        last_fill = quantity if random.random() < 0.5 else random.randint(1, quantity)
        return ForcedOrder(
            symbol=symbol,
            pair=instrument.pair,
            side=side,
            limit=instrument.price_text(instrument.ticks(limit)),
            average=instrument.average_text(average),
            quantity=instrument.quantity_text(quantity),
            last_fill=instrument.quantity_text(last_fill),
            time_ms=time_ms,
            coin_margined=instrument.contract_usd is not None,
        )


def _mean(mu: float, sigma: float) -> float:
    """Of what is spread so."""
    return exp(mu + sigma * sigma / 2)


def _spell(orders: Iterable[ForcedOrder]) -> Spell:
    return tuple(sorted(orders, key=_time))
