"""Prices and funding of every coin, as functions of time: those of the one simulated market."""

from typing import Final

from attrs import define

from flowd_simulator.chain.coins import COINS, Coin
from flowd_simulator.intervals import HOUR_MS
from flowd_simulator.market import Market
from flowd_simulator.noise import key, signed

USUAL_FUNDING: Final = 0.0000125
"""What longs pay shorts for an hour, as a share of what they hold."""


FUNDED_HOURS: Final = 4
"""Funding is paid on the price at the beginning of so many hours."""
BEFORE_HOURS: Final = 24
"""Funding is summed up from so long before it is first asked for."""


@define
class Index:
    """Funding summed up, hour by hour."""

    since_hour: int
    paid: list[int]


class Prices:
    """What coins cost. Coins that the market trades have its prices to the tick; the others have
    those of a second one, with the same seed and so with cascades at the same times.
    """

    def __init__(self, market: Market) -> None:
        symbols = dict.fromkeys(coin.symbol for coin in COINS)
        missing = [symbol for symbol in symbols if symbol not in market.instruments]
        other = Market(market.seed, missing, rate=market.rate) if missing else market
        self._market = {symbol: other if symbol in missing else market for symbol in symbols}
        self._seed = market.seed
        self._indices: dict[str, Index] = {}

    def price(self, coin: Coin, time_ms: int) -> float:
        """The mark price of this millisecond, not yet rounded."""
        return self._market[coin.symbol].price(coin.symbol, time_ms)

    def mark(self, coin: Coin, time_ms: int) -> int:
        """The mark price in ticks."""
        return coin.ticks(self.price(coin, time_ms))

    def marks(self, time_ms: int) -> dict[str, int]:
        """What a step of each coin is worth at its mark, in millionths of a dollar."""
        return {coin.name: self.mark(coin, time_ms) * coin.micro for coin in COINS}

    def funding(self, coin: Coin, hour: int) -> float:
        """The rate that longs pay shorts at the end of this hour (its number since the epoch)."""
        noise = signed(key(self._seed, "funding", coin.name), hour)
        return USUAL_FUNDING * (1 + 3 * noise * abs(noise))

    def index(self, coin: Coin, hour: int) -> int:
        """What a step of size that was always held has paid in funding until this hour begins, in
        billionths of a millionth of a dollar. Only differences mean something.
        """
        known = self._indices.setdefault(coin.name, Index(hour - BEFORE_HOURS, [0]))
        assert hour >= known.since_hour, "nobody held anything that long ago"
        while known.since_hour + len(known.paid) <= hour:
            latest = known.since_hour + len(known.paid) - 1
            worth = self.mark(coin, latest // FUNDED_HOURS * FUNDED_HOURS * HOUR_MS) * coin.micro
            known.paid.append(known.paid[-1] + round(self.funding(coin, latest) * worth * 1e9))
        return known.paid[hour - known.since_hour]
