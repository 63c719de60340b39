"""One symbol's candles in their order, each with the open interest at its ends: what is to be
applied next, and when.

A candle is due once its end's open interest is settled: when a sample from after it is there, or
none came for half a candle. A candle that is missing is waited for, since histories fill holes.
What comes later still is for a model that is made anew.
"""

from decimal import Decimal
from heapq import heappop, heappush
from typing import Any

from attrs import define, evolve, field

from flowd.market import Candle
from flowd_heatmap.model import Model
from flowd_heatmap.samples import Samples

HOLE_MS = 600_000
"""So long a missing candle is waited for."""


class Line:
    """The candles that wait to be applied, and the one under way. Pure: times are told to it. There
    is no model before the first candle's price is known.

    `since_ms` is since when somebody listens: what was told before may take its time to come.
    """

    def __init__(self, model: Model | None = None, since_ms: int = 0) -> None:
        self.model = model
        self.samples = Samples()
        self.under_way: Candle | None = None
        self.holes = 0
        """Missing candles that were waited for in vain."""
        self.blind: set[int] = set()
        """When candles opened that the model took in without their open interest, or without the
        candle before.
        """
        self._passed = False
        """Whether candles were passed by, since the open interest of none was known yet."""
        self._since_ms = since_ms
        self._width_ms = 0
        self._closed: dict[int, Candle] = {}
        self._order: list[int] = []
        """When those opened: a heap."""

    @property
    def waiting(self) -> int:
        """Closed candles that are not applied yet."""
        return len(self._closed)

    def add(self, candle: Candle) -> bool:
        """One more candle, or a newer state of one. True when the model might be another one with
        it: it is older than all that the model knows, or one that was done without.
        """
        model = self.model
        self._width_ms = candle.width_ms
        if not candle.closed:
            if self.under_way is None or candle.time_ms >= self.under_way.time_ms:
                self.under_way = candle
            return False
        if model is None or model.applied_ms is None or candle.time_ms > model.applied_ms:
            if candle.time_ms not in self._closed:
                heappush(self._order, candle.time_ms)
            self._closed[candle.time_ms] = candle
            return False
        model.late += candle.time_ms < model.applied_ms
        if model.history_from_ms is not None and candle.time_ms < model.history_from_ms:
            return True
        return candle.time_ms + candle.width_ms in self.blind

    def sample(self, time_ms: int, contracts: Decimal) -> bool:
        """The open interest at one moment. True when the model might be another one with it."""
        self.samples.add(time_ms, contracts)
        model, width_ms = self.model, self._width_ms
        if model is None:
            return False
        if model.history_from_ms is None:
            return self._passed
        if time_ms < model.history_from_ms:
            return True
        if not self.blind or not width_ms:
            # Before the first candle nobody knows how wide they are: it may be of any.
            return bool(self.blind)
        end_ms = -(-time_ms // width_ms) * width_ms
        near = end_ms - time_ms <= width_ms // 2
        return near and not self.blind.isdisjoint((end_ms, end_ms - width_ms))

    def knows_more(self, than: "Line") -> bool:
        """Whether a model that is made of this, of which nothing is applied yet, begins sooner, or
        as soon and with what the other one did without.
        """
        begins_ms = self.first_known()
        known_ms = None if than.model is None else than.model.history_from_ms
        if begins_ms is None or known_ms is None:
            return begins_ms is not None and than._passed
        if begins_ms != known_ms:
            return begins_ms < known_ms
        return any(self._is_whole(time_ms) for time_ms in than.blind)

    def _is_whole(self, time_ms: int) -> bool:
        candle = self._closed.get(time_ms)
        if candle is None or time_ms - candle.width_ms not in self._closed:
            return False
        interest = self.samples.around(time_ms, candle.width_ms)
        return interest.before is not None and interest.after is not None

    def first_known(self) -> int | None:
        """The first waiting candle of which the open interest is known at both ends."""
        for time_ms in sorted(self._closed):
            candle = self._closed[time_ms]
            interest = self.samples.around(time_ms, candle.width_ms)
            if interest.before is not None and interest.after is not None:
                return time_ms
        return None

    def due(self, now_ms: int) -> Candle | None:
        """The candle to apply next, None if it is not time yet."""
        if not self._order:
            return None
        first = self._closed[self._order[0]]
        end_ms = first.close_time_ms + 1
        applied_ms = None if self.model is None else self.model.applied_ms
        if applied_ms is not None:
            missing = (first.time_ms - applied_ms) // first.width_ms - 1
            if missing > 0 and now_ms < end_ms + HOLE_MS:
                return None
        told_ms = max(end_ms, self._since_ms)
        if not self.samples.reach(end_ms) and now_ms < told_ms + first.width_ms // 2:
            return None
        return first

    def apply(self, candle: Candle, model: Model) -> bool:
        """Apply a candle that is due; whether it changed the model."""
        width_ms = candle.width_ms
        interest = self.samples.around(candle.time_ms, width_ms)
        applied_ms = model.applied_ms
        if applied_ms is not None and candle.time_ms > applied_ms + width_ms:
            # Nobody knows what was opened and closed in between: as after missing samples.
            self.holes += (candle.time_ms - applied_ms) // width_ms - 1
            interest = evolve(interest, before=None)
        changed = model.step(candle, interest)
        self._passed |= not changed and model.history_from_ms is None
        if changed and model.oi_missing:
            self.blind.add(candle.time_ms)
        del self._closed[heappop(self._order)]
        self.samples.forget(candle.time_ms)
        return changed

    def touch(self) -> int:
        """Let the candle under way consume what it reached, if all before it was applied; how many
        cohorts that were.
        """
        candle, model = self.under_way, self.model
        if candle is None or model is None or model.applied_ms is None:
            return 0
        if candle.time_ms != model.applied_ms + candle.width_ms:
            return 0
        return model.touch(candle.low, candle.high)


@define(eq=False)
class Symbol:
    """One symbol: its candles and model, and what was told of it last."""

    name: str
    line: Line
    made_of: str = ""
    """What its model assumes, in words that change with it."""
    venue: str = ""
    unsaved: bool = False
    time_ms: int = 0
    """Of when the model is: the end of the newest candle, or when a price last consumed."""
    shown: tuple[Any, ...] = ()
    """What makes one map another."""
    told: tuple[int, int] = (0, 0)
    """Cohorts ever created and consumed, when the last map was published."""
    columns: list[int] = field(factory=list)
    """When the candles opened of which a column is kept, in order."""
