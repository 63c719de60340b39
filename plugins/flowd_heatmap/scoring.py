"""How well the running map knew the liquidations that came since, hour by hour.

As `flowd_heatmap.validate`, with the map of the candle before an event, and with the days before it
alone: the days after it are not known yet. What is remembered are sums by hour.
"""

from collections import OrderedDict, defaultdict
from collections.abc import Callable, Sequence
from functools import partial
from hashlib import sha256
from typing import Any

import trio
from attrs import evolve, frozen

from flowd.market import Liquidation
from flowd.plugin import Feed, Input, Record, Stream
from flowd_heatmap.columns import unpack
from flowd_heatmap.records import Column, Score
from flowd_heatmap.validate import HOUR_MS, Moment, event_of, interval, lift_of

EVERY_S = 3600.0
SETTLE_S = 400.0
"""So long after an event the map of the candle before it is surely drawn."""
BATCH = 500
KEPT_MS = 30 * 86_400_000
DECODED = 64
SHIFTS = (-3, -2, -1)


@frozen
class Hour:
    """The events of one symbol in one hour: how many were scored and the sum of their lifts, how
    many were dropped, and which model it was.
    """

    symbol: str
    time_ms: int
    model: str
    events: int = 0
    lift: float = 0.0
    dropped: int = 0

    @property
    def key(self) -> str:
        """Its key in the table."""
        return f"{self.symbol}/{self.time_ms}"


class Drawn:
    """The maps of one symbol, as its columns have them."""

    def __init__(self, symbol: str, columns: Stream[Column], width_ms: int) -> None:
        self._symbol = symbol
        self._columns = columns
        self._width_ms = width_ms
        self._decoded: OrderedDict[int, Moment] = OrderedDict()

    def before(self, time_ms: int, age_ms: int) -> Moment | None:
        """The newest of this time or before, None if none is younger than `age_ms`."""
        end_ms = time_ms - time_ms % self._width_ms
        while end_ms >= time_ms - age_ms:
            found = self._at(end_ms)
            if found is not None:
                return found
            end_ms -= self._width_ms
        return None

    def _at(self, end_ms: int) -> Moment | None:
        column = self._columns.get(f"{self._symbol}/{end_ms - self._width_ms}")
        if column is None:
            return None
        if end_ms not in self._decoded:
            self._decoded[end_ms] = Moment(
                end_ms,
                float(column.close),
                float(column.bin),
                column.first,
                unpack(column.long),
                unpack(column.short),
            )
            if len(self._decoded) > DECODED:
                self._decoded.popitem(last=False)
        return self._decoded[end_ms]


class Scorer:
    """Scores the events of a stream, and publishes what came of it each hour. `model` says what the
    map of a symbol is made of, None for one that is not drawn; `width_ms` how long a candle is.
    """

    def __init__(
        self,
        liquidations: Input[Liquidation],
        feed: Feed[Any],
        columns: Stream[Column],
        span: float,
        model: Callable[[str], str | None],
        width_ms: Callable[[], int],
    ) -> None:
        self._liquidations = liquidations
        self._feed = feed
        self._columns = columns
        self._span = span
        self._model = model
        self._width_ms = width_ms
        self._hours = feed.table("scored", Hour)
        self._scores = feed.table("score", Score)

    async def run(self) -> None:
        """Go on for ever, where it was."""
        cursor = self._liquidations.cursor()
        while True:
            upto = self._liquidations.head.seq
            await trio.sleep(SETTLE_S)
            while (left := upto - cursor.position.seq) > 0:
                hours = await self._score(cursor.read(min(BATCH, left)).records)
                # With the place that they reach to in one step, so that nothing counts twice.
                for hour in hours:
                    self._hours.append(hour, key=hour.key)
                cursor.done()
            await self._publish()
            await trio.sleep(EVERY_S - SETTLE_S)

    async def _score(self, records: Sequence[Record[Liquidation]]) -> list[Hour]:
        """What these make of their hours."""
        found: dict[str, Hour] = {}
        drawn: dict[str, Drawn] = {}
        for record in records:
            liquidation = record.value
            model = self._name(liquidation.symbol)
            if model is None:
                continue
            await trio.lowlevel.checkpoint()
            event = event_of(liquidation)
            maps = drawn.setdefault(
                liquidation.symbol, Drawn(liquidation.symbol, self._columns, self._width_ms())
            )
            lift = lift_of(
                event,
                maps,
                horizon_ms=0,
                age_ms=2 * self._width_ms(),
                span=self._span,
                shifts=SHIFTS,
            )
            hour = Hour(liquidation.symbol, event.time_ms - event.time_ms % HOUR_MS, model)
            before = found.get(hour.key) or self._hours.get(hour.key)
            if before is not None and before.model == model:
                hour = before
            if isinstance(lift, str):
                hour = evolve(hour, dropped=hour.dropped + 1)
            else:
                hour = evolve(hour, events=hour.events + 1, lift=hour.lift + lift)
            found[hour.key] = hour
        return list(found.values())

    def _name(self, symbol: str) -> str | None:
        """A short name of what a map is made of."""
        made_of = self._model(symbol)
        return None if not made_of else sha256(made_of.encode()).hexdigest()[:16]

    async def _publish(self) -> None:
        """Tell each symbol's score; hours of another model, or too old, are let go of."""
        by_symbol: dict[str, list[Hour]] = defaultdict(list)
        oldest_ms = self._feed.clock() - KEPT_MS
        for record in self._hours.after(0):
            hour = record.value
            # A model that is just being made anew has no name yet.
            if hour.time_ms < oldest_ms or hour.model != (self._name(hour.symbol) or hour.model):
                self._hours.forget(hour.key)
            else:
                by_symbol[hour.symbol].append(hour)
        for told in self._scores.after(0):
            if told.value.symbol not in by_symbol:
                self._scores.forget(told.value.symbol)
        for symbol, hours in by_symbol.items():
            blocks = {hour.time_ms: (hour.events, hour.lift) for hour in hours if hour.events}
            found = await trio.to_thread.run_sync(partial(interval, blocks))
            score = Score(
                symbol,
                min(hour.time_ms for hour in hours),
                found.events,
                sum(hour.dropped for hour in hours),
                found.lift,
                found.low,
                found.high,
            )
            self._scores.append(score, key=symbol)
