"""One side of a book: what was opened by each candle and is still open, by leverage.

Removal shrinks all of a side alike, so it is one factor for the side, and no cohort is touched: a
cohort is kept as if the factor were 1 (`held`), and is worth `held · factor`. What was opened with
one leverage is liquidated in the order of its prices, so what a price takes lies on top of a heap.
"""

from collections.abc import Iterator
from decimal import ROUND_FLOOR, Context, Decimal
from heapq import heapify, heappop, heappush
from itertools import takewhile

import numpy as np
from attrs import define, field
from numpy.typing import NDArray

from flowd_heatmap.brackets import MATH, Side
from flowd_heatmap.leverage import Tier

ZERO, ONE = Decimal(0), Decimal(1)
PRICES = Context(prec=28)
"""A price has fewer digits than the quotient it is made with, whose last one must not keep it from
an edge or a tick.
"""


@define
class Opened:
    """What one candle opened on one side, before it is shared among the tiers: `held` base units at
    `entry`. Bit n of `open` says that the cohort of tier n is still there.
    """

    entry: Decimal
    held: Decimal
    open: int


@define
class Bin:
    """The cohorts whose liquidation prices lie in one bin: their notional as if the factor were 1,
    and how many they are.
    """

    held: Decimal = ZERO
    count: int = 0


class Dense:
    """Notional by bin as floats, side by side: nearly what the bins hold, and quick to draw."""

    def __init__(self) -> None:
        self.first = 0
        self.values = np.zeros(0)

    def add(self, index: int, amount: float) -> None:
        """Add to a bin."""
        if not len(self.values):
            self.first, self.values = index, np.zeros(1)
        before = max(0, self.first - index)
        after = max(0, index - self.first - len(self.values) + 1)
        if before or after:
            # By halves of what there is, so that growing costs little.
            room = len(self.values) // 2
            before, after = before and before + room, after and after + room
            self.values = np.concatenate((np.zeros(before), self.values, np.zeros(after)))
            self.first -= before
        self.values[index - self.first] += amount

    def clear(self) -> None:
        """Nothing is there any more."""
        self.values = np.zeros(0)

    def between(self, lowest: int, highest: int) -> NDArray[np.float64]:
        """What lies in these bins."""
        found = np.zeros(highest - lowest + 1)
        begin = max(lowest, self.first)
        end = min(highest + 1, self.first + len(self.values))
        if begin < end:
            found[begin - lowest : end - lowest] = self.values[
                begin - self.first : end - self.first
            ]
        return found


@define(eq=False)
class Book:
    """One side of one symbol. `ratios` are the liquidation prices of the tiers by share of the
    entry, None where a tier has none; `width` is that of a bin.
    """

    side: Side
    tiers: tuple[Tier, ...]
    ratios: tuple[Decimal | None, ...]
    width: Decimal
    factor: Decimal = ONE
    held: Decimal = ZERO
    """The sum over all cohorts, as if the factor were 1."""
    count: int = 0
    opened: dict[int, Opened] = field(factory=dict)
    """By the opening time of the candle, in the order of time."""
    bins: dict[int, Bin] = field(factory=dict)
    about: Dense = field(factory=Dense)
    changed: set[int] = field(factory=set)
    """Candles whose cohorts changed since somebody cleared this."""
    _heaps: list[list[tuple[Decimal, int]]] = field(init=False)
    _small: list[tuple[Decimal, int, int]] = field(init=False, factory=list)
    """A heap of the cohorts by their notional, as if the factor were 1; some may be gone."""

    def __attrs_post_init__(self) -> None:
        self._heaps = [[] for _ in self.tiers]

    @property
    def quantity(self) -> Decimal:
        """All that is open on this side, in base units."""
        return MATH.multiply(self.held, self.factor)

    def open(self, time_ms: int, entry: Decimal, quantity: Decimal) -> int:
        """What a candle opened here; how many cohorts that are."""
        tiers = 0
        for index, ratio in enumerate(self.ratios):
            tiers |= (ratio is not None) << index
        self.restore(time_ms, Opened(entry, MATH.divide(quantity, self.factor), tiers))
        self.changed.add(time_ms)
        return tiers.bit_count()

    def restore(self, time_ms: int, opened: Opened) -> None:
        """Take over what a candle opened, as it was saved."""
        self.opened[time_ms] = opened
        for index, held, notional, price in self._cohorts(opened):
            first = price.copy_negate() if self.side == "LONG" else price
            heappush(self._heaps[index], (first, time_ms))
            self.held = MATH.add(self.held, held)
            self.count += 1
            heappush(self._small, (notional, time_ms, index))
            number = self._bin(price)
            place = self.bins.setdefault(number, Bin())
            place.held = MATH.add(place.held, notional)
            place.count += 1
            self.about.add(number, float(notional))

    def consume(self, low: Decimal, high: Decimal) -> tuple[Decimal, int]:
        """Liquidate what lies between these prices or on them: base units, and cohorts."""
        taken, cohorts = ZERO, 0
        long = self.side == "LONG"
        limit = -low if long else high
        for index, heap in enumerate(self._heaps):
            while heap and heap[0][0] <= limit:
                price, time_ms = heappop(heap)
                opened = self.opened.get(time_ms)
                if opened is None or not opened.open >> index & 1:
                    continue
                taken = MATH.add(taken, self._drop(time_ms, opened, index, price.copy_abs()))
                cohorts += 1
        taken = MATH.multiply(taken, self.factor)
        self._tidy()
        return taken, cohorts

    def shrink(self, factor: Decimal) -> None:
        """All of this side is worth so much less."""
        if factor <= 0:
            self.clear()
        else:
            self.factor = MATH.multiply(self.factor, factor)

    def prune(self) -> int:
        """Let go of cohorts worth less than one quote unit; how many they were."""
        pruned = 0
        while self._small and MATH.multiply(self._small[0][0], self.factor) < ONE:
            _, time_ms, index = heappop(self._small)
            if self._is_open(time_ms, index):
                opened = self.opened[time_ms]
                ratio = self.ratios[index]
                assert ratio is not None, "what has no liquidation price is not opened"
                self._drop(time_ms, opened, index, PRICES.multiply(opened.entry, ratio))
                pruned += 1
        self._tidy()
        return pruned

    def forget(self, before_ms: int) -> None:
        """Let go of what was opened before this time."""
        # They stand in the order of time: what is kept is not looked at.
        for time_ms in list(takewhile(lambda time_ms: time_ms < before_ms, self.opened)):
            opened = self.opened[time_ms]
            for index, _, _, price in list(self._cohorts(opened)):
                self._drop(time_ms, opened, index, price)
        self._tidy()

    def clear(self) -> None:
        """Nothing is open any more."""
        self.changed |= self.opened.keys()
        self.opened.clear()
        self.bins.clear()
        self._heaps = [[] for _ in self.tiers]
        self._tidy()

    def levels(self) -> dict[int, Decimal]:
        """Notional by bin; bin n begins at `n · width`."""
        return {n: MATH.multiply(bin.held, self.factor) for n, bin in self.bins.items()}

    def _bin(self, price: Decimal) -> int:
        return bin_of(price, self.width)

    def _cohorts(self, opened: Opened) -> Iterator[tuple[int, Decimal, Decimal, Decimal]]:
        """The cohorts that are still there: number of the tier, base units, notional, liquidation
        price.
        """
        for index, (tier, ratio) in enumerate(zip(self.tiers, self.ratios, strict=True)):
            if opened.open >> index & 1 and ratio is not None:
                held = MATH.multiply(opened.held, tier.weight)
                notional = MATH.multiply(held, opened.entry)
                yield index, held, notional, PRICES.multiply(opened.entry, ratio)

    def _drop(self, time_ms: int, opened: Opened, index: int, price: Decimal) -> Decimal:
        """Take a cohort out; its base units, as if the factor were 1."""
        held = MATH.multiply(opened.held, self.tiers[index].weight)
        opened.open &= ~(1 << index)
        self.changed.add(time_ms)
        if not opened.open:
            del self.opened[time_ms]
        self.held = MATH.subtract(self.held, held)
        self.count -= 1
        number = self._bin(price)
        place = self.bins[number]
        place.count -= 1
        notional = MATH.multiply(held, opened.entry)
        place.held = MATH.subtract(place.held, notional)
        self.about.add(number, -float(notional))
        if not place.count:
            del self.bins[number]
        return held

    def _tidy(self) -> None:
        """An empty side is exactly empty, whatever was rounded; heaps keep to what is there."""
        if not self.opened:
            self.factor, self.held, self.count = ONE, ZERO, 0
            self._heaps = [[] for _ in self.tiers]
            self._small = []
            self.about.clear()
        elif sum(map(len, self._heaps)) + len(self._small) > 4 * self.count + 1000:
            for index, heap in enumerate(self._heaps):
                heap[:] = [one for one in heap if self._is_open(one[1], index)]
                heapify(heap)
            self._small = [one for one in self._small if self._is_open(one[1], one[2])]
            heapify(self._small)

    def _is_open(self, time_ms: int, index: int) -> bool:
        opened = self.opened.get(time_ms)
        return opened is not None and bool(opened.open >> index & 1)


def bin_of(price: Decimal, width: Decimal) -> int:
    """The bin of a price: one that lies on an edge belongs to the bin which begins there."""
    return int(MATH.divide(price, width).to_integral_value(ROUND_FLOOR))
