"""A market whose traders are known: candles, open interest, and liquidations that come from their
positions, or from nowhere.
"""

from collections.abc import Iterator
from decimal import Decimal
from random import Random

from attrs import define, field
from flowd_heatmap.leverage import DEFAULT, parse

from flowd.market import Candle, Liquidation, OpenInterest
from tests.plugins.heatmap_kit import T, at, candle

STEPS = 4
RATE = 0.004


@define
class Crowd:
    """Some days of one market. `planted`: liquidations happen to whoever is reached; else the same
    prices are drawn out of what each candle came through, by chance alone.
    """

    seed: int
    days: int
    planted: bool
    candles: list[Candle] = field(factory=list)
    interest: list[OpenInterest] = field(factory=list)
    liquidations: list[Liquidation] = field(factory=list)

    def __attrs_post_init__(self) -> None:
        chance = Random(self.seed)
        price, open_now = 100_000.0, 50_000.0
        positions: list[tuple[bool, float, float]] = []
        self.interest.append(at(0, f"{open_now:.3f}"))
        for number in range(self.days * 288):
            path = [price]
            for _ in range(STEPS):
                path.append(path[-1] * (1 + chance.gauss(0, 0.0008)))
            low, high, price = min(path), max(path), path[-1]
            texts = (f"{each:.1f}" for each in (path[0], high, low, price))
            self.candles.append(candle(number, *texts))
            positions = list(self._meet(chance, number, positions, low, high))
            opened = chance.paretovariate(1.2) * 20 if chance.random() < 0.15 else 0.0
            for tier in parse(DEFAULT):
                size = opened * float(tier.weight)
                below = price * (1 - 1 / tier.leverage) / (1 - RATE)
                above = price * (1 + 1 / tier.leverage) / (1 + RATE)
                if size:
                    positions += [(True, below, size), (False, above, size)]
            open_now += opened
            self.interest.append(at(number + 1, f"{open_now:.3f}"))

    def _meet(
        self,
        chance: Random,
        number: int,
        positions: list[tuple[bool, float, float]],
        low: float,
        high: float,
    ) -> Iterator[tuple[bool, float, float]]:
        """Who is left, once a candle went by; who is not, is liquidated."""
        if not self.planted and chance.random() < 0.2:
            long = chance.random() < 0.5
            self._liquidate(chance, number, long, chance.uniform(low, high), 1.0)
        for long, at_price, size in positions:
            if low > at_price if long else high < at_price:
                yield (long, at_price, size)
            elif self.planted:
                self._liquidate(chance, number, long, at_price, size)

    def _liquidate(
        self, chance: Random, number: int, long: bool, price: float, size: float
    ) -> None:
        paid, quantity = Decimal(f"{price:.1f}"), Decimal(f"{size:.3f}")
        self.liquidations.append(
            Liquidation(
                "BTCUSDT",
                "SELL" if long else "BUY",
                paid,
                quantity,
                paid * quantity,
                T + number * 300_000 + chance.randrange(300_000),
                f"crowd:{len(self.liquidations)}",
            )
        )
