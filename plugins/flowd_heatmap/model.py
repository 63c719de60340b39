"""The estimated map of one symbol, moved on by one closed candle at a time.

Source: domain/heatmap.md, section 3. Pure: no clock, no streams; decimals throughout.
"""

from decimal import Decimal
from typing import Literal

from attrs import define, field, frozen

from flowd.market import Candle
from flowd_heatmap.assumptions import Assumptions
from flowd_heatmap.brackets import MATH, Brackets, liquidation_ratio
from flowd_heatmap.side import ONE, ZERO, Book

_HALF = Decimal("0.5")
_TWO = Decimal(2)


@frozen
class Interest:
    """Open interest at a candle's two ends, in base units, None where it is not known."""

    before: Decimal | None
    after: Decimal | None


@define(eq=False)
class Model:
    """All that is open of one symbol, as far as it can be concluded.

    `applied_ms` is the opening time of the newest candle that was applied, `history_from_ms` that
    of the first: what was opened before is not here. `created` and `consumed` count cohorts, ever.
    `taken` are the base units, long and short, that were consumed within the candle under way.
    """

    assumptions: Assumptions
    long: Book
    short: Book
    applied_ms: int | None = None
    history_from_ms: int | None = None
    oi_missing: bool = False
    created: int = 0
    consumed: int = 0
    taken: tuple[Decimal, Decimal] = (ZERO, ZERO)
    late: int = field(default=0)
    """Candles that came after a later one, and changed nothing."""

    @classmethod
    def empty(cls, assumptions: Assumptions, brackets: Brackets, width: Decimal) -> "Model":
        """Nothing is open yet. `width` is that of a bin of prices."""

        def book(side: Literal["LONG", "SHORT"]) -> Book:
            ratios = [
                liquidation_ratio(brackets, side, tier.leverage, assumptions.typical_notional)
                for tier in assumptions.tiers
            ]
            return Book(side, assumptions.tiers, tuple(ratios), width)

        return cls(assumptions, book("LONG"), book("SHORT"))

    def touch(self, low: Decimal, high: Decimal) -> int:
        """Prices of the candle under way: what lies between them is consumed at once. How many
        cohorts that were. The candle's own step counts their size, and takes nothing twice.
        """
        return self._consume(low, high)

    def step(self, candle: Candle, interest: Interest) -> bool:
        """Apply a closed candle. False for one that was applied before, is older than one that was,
        or comes before the first of which the open interest is known.
        """
        if self.applied_ms is not None and candle.time_ms <= self.applied_ms:
            self.late += candle.time_ms < self.applied_ms
            return False
        known = interest.before is not None and interest.after is not None
        if self.history_from_ms is None:
            if not known:
                return False
            self.history_from_ms = candle.time_ms
        self._age(candle.width_ms)
        self._consume(candle.low, candle.high)
        if interest.before is not None and interest.after is not None:
            change = MATH.subtract(interest.after, interest.before)
            if change > 0:
                self._open(candle, change)
            elif change < 0:
                self._remove(-change)
        elif interest.after is not None:
            self._scale_to(interest.after)
        self.oi_missing = not known
        self.taken = ZERO, ZERO
        self.applied_ms = candle.time_ms
        self.long.prune()
        self.short.prune()
        return True

    def begins_ms(self, keep_ms: int) -> int:
        """Since when positions are in the map, where older ones than this are let go of. Only when
        a candle was applied.
        """
        assert self.applied_ms is not None, "something was applied"
        assert self.history_from_ms is not None, "something was applied"
        return max(self.history_from_ms, self.applied_ms - keep_ms)

    def forget(self, keep_ms: int) -> None:
        """Let go of what was opened longer ago than that. Only when a candle was applied."""
        begins_ms = self.begins_ms(keep_ms)
        self.long.forget(begins_ms)
        self.short.forget(begins_ms)

    def _age(self, span_ms: int) -> None:
        half_life_ms = self.assumptions.half_life_ms
        if half_life_ms is not None:
            share = MATH.divide(Decimal(-span_ms), Decimal(half_life_ms))
            factor = MATH.power(_TWO, share)
            self.long.shrink(factor)
            self.short.shrink(factor)

    def _consume(self, low: Decimal, high: Decimal) -> int:
        long, longs = self.long.consume(low, high)
        short, shorts = self.short.consume(low, high)
        self.taken = MATH.add(self.taken[0], long), MATH.add(self.taken[1], short)
        self.consumed += longs + shorts
        return longs + shorts

    def _open(self, candle: Candle, change: Decimal) -> None:
        for book, share in zip((self.long, self.short), self._shares(candle), strict=True):
            if share > 0:
                quantity = MATH.multiply(change, share)
                self.created += book.open(candle.time_ms, candle.close, quantity)

    def _shares(self, candle: Candle) -> tuple[Decimal, Decimal]:
        """How much of what was opened is long, and how much short."""
        model = self.assumptions.side_model
        if model == "both":
            return ONE, ONE
        if model == "candle":
            return (ONE, ZERO) if candle.close >= candle.open else (ZERO, ONE)
        bought = _HALF
        if candle.volume:
            bought = MATH.divide(candle.taker_buy_volume, candle.volume)
        return bought, MATH.subtract(ONE, bought)

    def _remove(self, fall: Decimal) -> None:
        """Open interest fell by so much: what liquidations do not explain was closed."""
        long, short = self.taken
        if self.assumptions.side_model == "both":
            for book, taken in ((self.long, long), (self.short, short)):
                _shrink_by([book], MATH.subtract(fall, taken))
        else:
            _shrink_by([self.long, self.short], MATH.subtract(MATH.subtract(fall, long), short))

    def _scale_to(self, interest: Decimal) -> None:
        """Open interest is known again: a side cannot hold more of it than there is."""
        for book in (self.long, self.short):
            _shrink_by([book], MATH.subtract(book.quantity, interest))


def _shrink_by(books: list[Book], quantity: Decimal) -> None:
    """Take so much out of these together, of each cohort the same share."""
    there = ZERO
    for book in books:
        there = MATH.add(there, book.quantity)
    if quantity <= 0 or not there:
        return
    factor = MATH.subtract(ONE, min(ONE, MATH.divide(quantity, there)))
    for book in books:
        book.shrink(factor)
