"""The model over stored candles and open interest: its maps, and what each candle consumed."""

from collections.abc import Callable, Iterable, Sequence
from decimal import Decimal

import numpy as np
from attrs import define, field

from flowd.market import Candle, OpenInterest
from flowd_heatmap.assumptions import Assumptions
from flowd_heatmap.brackets import Brackets
from flowd_heatmap.columns import spread
from flowd_heatmap.drawn import within
from flowd_heatmap.line import Line
from flowd_heatmap.model import Model
from flowd_heatmap.side import bin_of
from flowd_heatmap.validate import Event, Floats, Moment, Side

FOR_EVER_MS = 10**15


@define
class Replayed:
    """What came of one symbol: its maps, and candle by candle when it opened and what was consumed
    in it, in quote units.
    """

    moments: list[Moment] = field(factory=list)
    opened_ms: list[int] = field(factory=list)
    long: list[float] = field(factory=list)
    short: list[float] = field(factory=list)

    def consumed(self, side: Side) -> Floats:
        """One side's, as an array."""
        return np.array(self.long if side == "LONG" else self.short, np.float64)

    def liquidated(self, side: Side, events: Iterable[Event]) -> Floats:
        """What really was liquidated of a side in each candle. The candles between which one is
        missing get nothing of it.
        """
        found = np.zeros(len(self.opened_ms))
        if not self.opened_ms:
            return found
        opened = np.array(self.opened_ms)
        width = int(np.diff(opened).min()) if len(opened) > 1 else 1
        for event in events:
            index = int(np.searchsorted(opened, event.time_ms, "right")) - 1
            if event.side == side and index >= 0 and event.time_ms < opened[index] + width:
                found[index] += event.notional
        return found


def replay(
    candles: Sequence[Candle],
    samples: Iterable[OpenInterest],
    assumptions: Assumptions,
    brackets: Brackets,
    width: Decimal,
    *,
    span: Decimal,
    positions_for_ms: int,
    on_candle: Callable[[], object] = lambda: None,
) -> Replayed:
    """Apply the candles of one symbol in their order, as the running transform would have."""
    model = Model.empty(assumptions, brackets, width)
    line = Line(model)
    for sample in samples:
        line.samples.add(sample.time_ms, sample.contracts)
    for one in candles:
        line.add(one)
    found = Replayed()
    while (candle := line.due(FOR_EVER_MS)) is not None:
        long, short = _reached(model, candle)
        on_candle()
        if not line.apply(candle, model):
            continue
        model.forget(positions_for_ms)
        found.opened_ms.append(candle.time_ms)
        found.long.append(long)
        found.short.append(short)
        lowest, highest = within(candle.close, span, width)
        first, (longs, shorts) = spread((model.long, model.short), lowest, highest)
        found.moments.append(
            Moment(
                candle.close_time_ms + 1, float(candle.close), float(width), first, longs, shorts
            )
        )
    return found


def _reached(model: Model, candle: Candle) -> tuple[float, float]:
    """What lies where a candle went, before it is applied: to the width of a bin."""
    low, high = bin_of(candle.low, model.long.width), bin_of(candle.high, model.long.width)
    long, short = model.long, model.short
    longs = long.about.values[max(0, low - long.about.first) :].sum() * float(long.factor)
    shorts = short.about.values[: max(0, high - short.about.first + 1)].sum() * float(short.factor)
    return float(longs), float(shorts)
