"""The recent past in steps: fine ones for what is recent, coarser ones for what is older.

What happened is in exactly one step at any time. A step that has outlived the windows for which it
is fine becomes part of a coarser one; the coarsest are forgotten. Each step is a record of a
private table, so that all this survives.
"""

from collections.abc import Callable, Iterator
from decimal import Decimal

import trio
from attrs import define, field

from flowd.plugin import Stream
from flowd_totals.board import MERGED_LG, Board
from flowd_totals.records import Row, SavedStep, SavedVenue, largest_of
from flowd_totals.window import Level, Window, levels

MERGES_MAX = 8
"""Steps put together without letting other tasks run."""


@define(eq=False)
class Step:
    """What happened in one span of time."""

    width_ms: int
    time_ms: int
    coins: dict[str, Board] = field(factory=dict)
    """By venue."""
    traders: Board = field(factory=Board)
    largest: list[Row] = field(factory=list)
    changes: int = 0

    @property
    def key(self) -> str:
        """Its key in the table."""
        return f"{self.width_ms}/{self.time_ms}"

    @property
    def mark(self) -> tuple[int, int, int]:
        """Another one whenever anything was added."""
        return self.width_ms, self.time_ms, self.changes

    def coins_of(self, venue: str) -> Board:
        """The coins of one venue, to be added to."""
        board = self.coins.get(venue)
        if board is None:
            board = self.coins[venue] = Board()
        return board

    def least(self, top: int) -> Decimal:
        """What a row must come to at least to be among the largest."""
        return self.largest[-1].notional if len(self.largest) >= top else Decimal(0)

    def merge(self, other: "Step", top: int) -> None:
        """Add all that another step has."""
        for venue, board in other.coins.items():
            self.coins_of(venue).merge(board)
        self.traders.merge(other.traders)
        self.largest = largest_of(self.largest + other.largest, top)
        self.changes += 1

    def saved(self) -> SavedStep:
        """This step as it is kept."""
        venues = [SavedVenue(venue, board.saved()) for venue, board in self.coins.items() if venue]
        unnamed = self.coins.get("") or Board()
        return SavedStep(
            self.width_ms,
            self.time_ms,
            unnamed.saved(),
            self.traders.saved(),
            self.largest,
            venues,
        )

    @classmethod
    def load(cls, saved: SavedStep, unnamed: str) -> "Step":
        """The step that was kept; ValueError when it cannot be read. Coins of which nobody noted
        the venue are `unnamed`'s.
        """
        step = cls(saved.width_ms, saved.time_ms, {}, Board.load(saved.traders), saved.largest)
        if saved.coins.count:
            step.coins[unnamed] = Board.load(saved.coins)
        for one in saved.venues:
            step.coins_of(one.venue).merge(Board.load(one.coins))
        return step


class Steps:
    """All steps that these windows need."""

    def __init__(self, windows: list[Window], top: int, table: Stream[SavedStep]) -> None:
        self.levels = levels(windows)
        self._steps: dict[int, dict[int, Step]] = {level.step_ms: {} for level in self.levels}
        self._top = top
        self._table = table
        self._touched: dict[str, Step] = {}
        self._gone: list[str] = []
        """Keys to forget with the next save: steps of widths that are not used any more."""

    def __len__(self) -> int:
        return sum(map(len, self._steps.values()))

    @property
    def newest_ms(self) -> int | None:
        """When the newest step begins."""
        return max((max(steps) for steps in self._steps.values() if steps), default=None)

    @property
    def changed(self) -> int:
        """How many steps the next save will write."""
        return len(self._touched)

    async def load(self, on_bad: Callable[[str], None], unnamed: str = "") -> None:
        """Go on from what the table holds, also where it was kept for other windows. Coins of which
        nobody noted the venue are `unnamed`'s.
        """
        others: list[Step] = []
        for record in self._table.after(0):
            saved = record.value
            try:
                step = Step.load(saved, unnamed)
            except ValueError as error:
                on_bad(str(error))
                self._gone.append(f"{saved.width_ms}/{saved.time_ms}")
                continue
            if step.width_ms in self._steps:
                self._steps[step.width_ms][step.time_ms] = step
            else:
                others.append(step)
            await trio.lowlevel.checkpoint()
        for step in others:
            self._gone.append(step.key)
            wider = [level.step_ms for level in self.levels if level.step_ms > step.width_ms]
            if wider:
                self._step(wider[0], step.time_ms).merge(step, self._top)
            await trio.lowlevel.checkpoint()

    def at(self, time_ms: int, now_ms: int) -> Step | None:
        """The step that something of this time belongs to, to be added to; None when no window
        reaches back so far.
        """
        for level, wider_ms in self._with_wider():
            if wider_ms is None:
                break
            if time_ms - time_ms % wider_ms + wider_ms > now_ms - level.keep_ms:
                return self._step(level.step_ms, time_ms)
        level = self.levels[-1]
        inside = time_ms - time_ms % level.step_ms >= now_ms - level.keep_ms
        return self._step(level.step_ms, time_ms) if inside else None

    def within(self, window: Window, now_ms: int) -> list[Step]:
        """The steps of a window: those that lie in it from their beginning."""
        return [
            step
            for steps in self._steps.values()
            for time_ms, step in steps.items()
            if time_ms >= now_ms - window.width_ms
        ]

    def save(self) -> None:
        """Keep what was added since the last save."""
        for step in self._touched.values():
            self._table.append(step.saved(), key=step.key)
        for key in self._gone:
            self._table.forget(key)
        self._touched.clear()
        self._gone.clear()

    def age(self, now_ms: int) -> bool:
        """Put the oldest steps that are due together, or forget one; False when none is due.

        To be called when all is saved, so that the table stays of one instant.
        """
        assert not self._touched
        for level, wider_ms in self._with_wider():
            steps = self._steps[level.step_ms]
            if not steps:
                continue
            oldest_ms = min(steps)
            width_ms = wider_ms or level.step_ms
            start_ms = oldest_ms - oldest_ms % width_ms
            if wider_ms is None and start_ms < now_ms - level.keep_ms:
                self._table.forget(steps.pop(start_ms).key)
                return True
            if wider_ms is not None and start_ms + width_ms <= now_ms - level.keep_ms:
                self._put_together(steps, start_ms, wider_ms)
                return True
        return False

    def _put_together(self, steps: dict[int, Step], start_ms: int, wider_ms: int) -> None:
        wide = self._step(wider_ms, start_ms)
        for time_ms in [time_ms for time_ms in steps if time_ms < start_ms + wider_ms]:
            step = steps.pop(time_ms)
            wide.merge(step, self._top)
            self._table.forget(step.key)
        self.save()

    def _step(self, width_ms: int, time_ms: int) -> Step:
        start_ms = time_ms - time_ms % width_ms
        steps = self._steps[width_ms]
        step = steps.get(start_ms)
        if step is None:
            step = steps[start_ms] = Step(width_ms, start_ms)
        step.changes += 1
        self._touched[step.key] = step
        return step

    def _with_wider(self) -> Iterator[tuple[Level, int | None]]:
        """The levels, each with the width of the next one's steps."""
        following = [level.step_ms for level in self.levels[1:]]
        yield from zip(self.levels, [*following, None], strict=True)


async def merged(steps: list[Step], top: int) -> tuple[dict[str, Board], Board, list[Row]]:
    """All of these steps together: coins by venue, traders, the largest rows."""
    coins, traders, rows = dict[str, Board](), Board(MERGED_LG), list[Row]()
    merges = 0
    for step in steps:
        for venue, board in step.coins.items():
            if venue not in coins:
                coins[venue] = Board(MERGED_LG)
            coins[venue].merge(board)
        traders.merge(step.traders)
        rows = largest_of(rows + step.largest, top)
        merges += max(1, len(step.coins))
        if merges >= MERGES_MAX:
            merges = 0
            await trio.lowlevel.checkpoint()
    return coins, traders, rows
