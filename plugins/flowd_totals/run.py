"""The loop of the transform `totals`: read, add up, save, publish.

What was added up is saved in one step with the place up to which it was read, every so often: so a
restart at any moment neither loses a row nor counts one twice. What is published follows from what
is saved: full totals, which a later publication only repeats or corrects.
"""

from collections.abc import Iterable
from functools import partial

import trio

from flowd.market import Fill, Liquidation, Trade
from flowd.plugin import Feed, Input, Streams, UserError, news_of
from flowd_totals.board import ERROR_SHARE, NAMES_EXACT, together, top_of
from flowd_totals.config import Config
from flowd_totals.intake import Intake, Part, Value
from flowd_totals.places import Places
from flowd_totals.records import (
    By,
    CoinHour,
    Largest,
    Minute,
    Ranking,
    SavedStep,
    Venue,
    largest_of,
)
from flowd_totals.steps import Steps, merged
from flowd_totals.sums import COINS_MAX, MINUTE_MS, hours, minutes
from flowd_totals.venues import UNKNOWN, Venues, Worth
from flowd_totals.window import Window, parse

BATCH_MIN, BATCH_MAX = 16, 250
"""Records added up without letting other tasks run: few where they are from many different times,
as in a past that is read at the first start.
"""
SUMS_MAX, STEPS_MAX = 400, 8
"""With so many changed sums or steps it is time to save, so that saving holds nobody up."""
PAUSE_S = 0.05
"""Between reads, so that a busy input is read in batches and not record by record."""


class Totals:
    """All sums, and what follows from them."""

    def __init__(self, config: Config, feed: Feed[Ranking], by: tuple[By, ...]) -> None:
        self._feed = feed
        self._by = by
        self._top = config.top
        self._windows = [parse(name) for name in config.windows]
        self.steps = Steps(self._windows, config.top, feed.table("steps", SavedStep))
        self._minutes = minutes(feed.table("minutes", Minute))
        self._hours = hours(feed.table("hours", CoinHour))
        self._largest = feed.table("largest", Largest)
        self._venues = Venues(feed.table("venues", Venue))
        # A minute must be whole spans of the intake, as all steps and hours then are.
        width_ms = min(self.steps.levels[0].step_ms, MINUTE_MS)
        self.intake = Intake(config.count, width_ms, feed.drop)
        self._published: dict[str, list[tuple[int, int, int]]] = {}

    async def load(self) -> None:
        """Go on from the tables."""
        only = self._venues.only
        await self.steps.load(partial(self._feed.drop, "unreadable step"), only[0])
        if not self._venues and self.steps.newest_ms is not None:
            self._venues.note(UNKNOWN, self.steps.newest_ms)
        await self._minutes.load(only)
        await self._hours.load(only)
        self._forget_other_windows()
        self._feed.tally.figures |= {
            "names_exact_per_step": NAMES_EXACT,
            "coins_per_hour": COINS_MAX,
            "error_share": ERROR_SHARE,
        }

    def add(self, values: Iterable[Value]) -> None:
        """Count these rows; nothing of them is in a table before `save`."""
        now_ms = self._feed.clock()
        for (start_ms, worth), part in self.intake.sum(values, now_ms).items():
            if not self._add(part, start_ms, self._venues.known(worth), now_ms):
                for _ in range(part.count):
                    self._feed.drop("too late")

    @property
    def scattered(self) -> bool:
        """Whether what was added is from many different times."""
        return self.steps.changed >= STEPS_MAX

    @property
    def full(self) -> bool:
        """Whether it is time to save."""
        return self.scattered or self._hours.changed >= SUMS_MAX

    def save(self) -> None:
        """Write what was added. To be called in one step with `places.done()`."""
        now_ms = self._feed.clock()
        self.steps.save()
        self._venues.save()
        self._minutes.save(now_ms)
        self._hours.save(now_ms)

    async def publish(self) -> None:
        """Put old steps together, and publish what is different now."""
        now_ms = self._feed.clock()
        await trio.lowlevel.checkpoint()
        while self.steps.age(now_ms):
            await trio.lowlevel.checkpoint()
        for window in self._windows:
            await self._publish(window, now_ms)

    def _add(self, part: Part, start_ms: int, worth: Worth, now_ms: int) -> bool:
        """False when nothing reaches back so far."""
        step = self.steps.at(start_ms, now_ms)
        if step is not None:
            self._venues.note(worth, start_ms, bool(part.traders))
            for name, (buy, sell, count) in part.coins.items():
                step.coins_of(worth[0]).add(name, buy, sell, count)
            for name, (buy, sell, count) in part.traders.items():
                step.traders.add(name, buy, sell, count)
            rows = part.largest(self._top, step.least(self._top), self.intake.trader)
            if rows:
                step.largest = largest_of(step.largest + rows, self._top)
        in_minutes = self._minutes.keeps(start_ms, now_ms)
        if in_minutes and part.coins:
            self._minutes.add("", start_ms, worth, part.market())
        in_hours = self._hours.keeps(start_ms, now_ms)
        if in_hours:
            for name, sum in part.coins.items():
                self._hours.add(name, start_ms, worth, sum)
        return step is not None or in_minutes or in_hours

    def _forget_other_windows(self) -> None:
        """What was published for windows that are not configured any more would stand for ever."""
        names = {window.name for window in self._windows}
        for ranking in [record.value for record in self._feed.records()]:
            if ranking.window not in names:
                self._feed.forget(ranking.key)
        for largest in [record.value for record in self._largest.after(0)]:
            if largest.window not in names:
                self._largest.forget(largest.window)

    async def _publish(self, window: Window, now_ms: int) -> None:
        steps = self.steps.within(window, now_ms)
        marks = [step.mark for step in steps]
        if self._published.get(window.name) == marks:
            return
        coins, traders, rows = await merged(steps, self._top)
        for by in self._by:
            await trio.lowlevel.checkpoint()
            told = self._venues.within(window, now_ms, coins if by == "coins" else None)
            board = together(coins) if by == "coins" else traders
            ranking = Ranking(
                by,
                window.name,
                now_ms,
                board.volume,
                board.count,
                board.error,
                top_of(coins, board, self._top) if by == "coins" else board.top(self._top),
                told.venues,
                told.lower_bound,
                told.approximate,
                self._venues.volumes(window, now_ms, coins) if by == "coins" else [],
            )
            self._feed.publish(ranking, key=ranking.key)
        self._largest.append(Largest(window.name, now_ms, rows), key=window.name)
        self._published[window.name] = marks
        await trio.lowlevel.checkpoint()


async def run(config: Config, streams: Streams, feed: Feed[Ranking]) -> None:
    """Read, add up, save and publish; ends when its inputs do."""
    inputs: list[Input[Value]] = [streams[name] for name in config.names]
    check(config, inputs)
    # A liquidation does not tell whose it was.
    nobodys = all(one.record is Liquidation for one in inputs)
    totals = Totals(config, feed, ("coins",) if nobodys else ("coins", "traders"))
    await totals.load()
    places = Places(inputs, totals.intake.counts)
    await places.load()
    more = True
    while more:
        due = trio.current_time() + config.every
        more = await _read(inputs, places, totals, due)
        # No checkpoint in between: sums and places belong to the same instant.
        totals.save()
        places.done()
        await totals.publish()
        if more:
            await trio.sleep_until(due)


def check(config: Config, inputs: Iterable[Input[Value]]) -> None:
    """UserError where what these carry cannot be one sum."""
    named = {one.record: one.name for one in inputs}
    if Trade in named and config.count == "liquidated":
        raise UserError(
            f'count = "liquidated": {named[Trade]} carries public trades, which do not say whose '
            "were liquidations; leave count out, or read fills or liquidations"
        )
    if Trade in named and len(named) > 1:
        raise UserError(
            f"inputs: {named[Trade]} carries public trades, the others do not, and a sum of both "
            "would count trades twice or with forced orders; give each a totals of its own"
        )
    if {Fill, Liquidation} <= named.keys() and config.count == "takers":
        raise UserError(
            f"inputs: {named[Fill]} carries all trades of its accounts and {named[Liquidation]} "
            'forced orders, which are no one sum; count = "liquidated" takes only forced ones of '
            "both"
        )


async def _read(inputs: list[Input[Value]], places: Places, totals: Totals, due: float) -> bool:
    """Add up what comes until a time; False when no more will come."""
    limit = BATCH_MIN
    with trio.move_on_at(due):
        while await news_of(inputs, places.seqs):
            for values in places.read(limit):
                totals.add(values)
            limit = BATCH_MIN if totals.scattered else min(2 * limit, BATCH_MAX)
            if totals.full:
                totals.save()
                places.done()
            if places.level:
                await trio.sleep(PAUSE_S)
            else:
                await trio.lowlevel.checkpoint()
        return False
    return True
