"""What a price did between two looks at it, and whether it came to a line: plain functions.

A trade tells where the price is. A candle also tells how far it went since the last look, and where
candles follow each other without a hole nothing can have been missed between them.
"""

from decimal import Decimal
from typing import Literal

from attrs import evolve, frozen

from flowd.market import Candle, Fill, Trade

Way = Literal["up", "down"]
LATE_MS = 10_000
"""Trades are looked at in the order in which they come, unless one is so much older than others."""


@frozen
class Known:
    """The price of one symbol in one stream, as it was seen last. Of candles also which one that
    was (0 for none), how far it went, and how long such a candle is.
    """

    input: str
    symbol: str
    price: Decimal
    time_ms: int
    candle_ms: int = 0
    low: Decimal = Decimal(0)
    high: Decimal = Decimal(0)
    width_ms: int = 0

    @property
    def key(self) -> str:
        """Its key in the table of prices."""
        return f"{self.input}/{self.symbol}"


@frozen
class Step:
    """What is new: the price went from `first` to `last`, and in between to `low` and `high`, in
    whatever order, which holds from `within_ms` on. All that happened between `from_ms` and
    `to_ms`; the price before is of `known_ms`.

    `whole` says that nothing between can have been missed, `past` that it was told after what came
    later.
    """

    first: Decimal
    low: Decimal
    high: Decimal
    last: Decimal
    known_ms: int
    from_ms: int
    to_ms: int
    within_ms: int
    whole: bool = False
    past: bool = False

    def since(self, time_ms: int) -> "Step":
        """As far as it happened after a time: of how far the price went before it nothing is
        said.
        """
        if time_ms <= self.within_ms:
            return self
        low, high = sorted((self.first, self.last))
        return evolve(self, low=low, high=high)


def seen(
    value: Candle | Trade | Fill, input: str, told_ms: int, known: Known | None
) -> tuple[Known | None, Step | None]:
    """What is known of a price after a record that came at `told_ms`, and the step to there: None
    for the first one, and for what says nothing new.
    """
    if isinstance(value, Candle):
        return _candle(value, input, told_ms, known)
    time_ms = min(value.time_ms, told_ms)
    if known is not None and time_ms < known.time_ms - LATE_MS:
        return known, None
    time_ms = time_ms if known is None else max(time_ms, known.time_ms)
    now = Known(input, value.symbol, value.price, time_ms)
    if known is None:
        return now, None
    low, high = sorted((known.price, value.price))
    step = Step(known.price, low, high, value.price, known.time_ms, time_ms, time_ms, known.time_ms)
    return now, step


def _candle(
    candle: Candle, input: str, told_ms: int, known: Known | None
) -> tuple[Known | None, Step | None]:
    end_ms = candle.close_time_ms + 1
    time_ms = min(told_ms, end_ms)
    now = Known(
        input,
        candle.symbol,
        candle.close,
        time_ms,
        candle.time_ms,
        candle.low,
        candle.high,
        candle.width_ms,
    )
    if known is None or not known.width_ms or candle.width_ms < known.width_ms:
        return now, None
    if candle.width_ms > known.width_ms:
        return known, None  # The narrowest say most.
    if candle.time_ms < known.candle_ms:
        return known, Step(
            candle.open,
            candle.low,
            candle.high,
            candle.close,
            candle.time_ms,
            candle.time_ms,
            end_ms,
            candle.time_ms,
            whole=True,
            past=True,
        )
    ends = (known.price, candle.close)
    if candle.time_ms == known.candle_ms:
        # Of how far it went only what is new.
        low = min(*ends, candle.low) if candle.low < known.low else min(ends)
        high = max(*ends, candle.high) if candle.high > known.high else max(ends)
        from_ms, within_ms, whole = known.time_ms, known.time_ms, True
    else:
        low, high = min(known.price, candle.low), max(known.price, candle.high)
        whole = candle.time_ms == known.candle_ms + known.width_ms
        from_ms, within_ms = max(known.time_ms, candle.time_ms), candle.time_ms
    now = evolve(now, time_ms=max(time_ms, known.time_ms))
    known_ms = from_ms if whole else known.time_ms
    return now, Step(
        known.price, low, high, candle.close, known_ms, from_ms, now.time_ms, within_ms, whole
    )


def crossed(price: Decimal, step: Step) -> tuple[Way, ...]:
    """The ways in which the price came to a line or went over it, the first one first; only those
    that are certain.

    On the line counts as there. A price that begins there does not come to it, and who leaves a
    line does not cross it.
    """
    up = step.first < price <= step.high or step.low < price <= step.last
    down = step.first > price >= step.low or step.high > price >= step.last
    if up and down:
        return ("up", "down") if step.first < price else ("down", "up")
    return ("up",) if up else ("down",) if down else ()
