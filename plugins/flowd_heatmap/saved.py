"""What the model must remember: two private tables, written in one step with what they led to.

`heads` has one record for each symbol, `hours` what was opened in each hour and is still there.
"""

from collections.abc import Iterable, Iterator
from decimal import Decimal
from typing import Any, Protocol

import trio
from attrs import frozen

from flowd.plugin import Stream
from flowd_heatmap.model import Model
from flowd_heatmap.side import ZERO, Book, Opened

HOUR_MS = 3_600_000
READ = 200
"""Records that are read in one step of the loop."""
AT_ONCE = 20
"""Candles of which it is restored in one step what they opened."""


@frozen
class Row:
    """What one candle opened: base units of each side as if its factor were 1, and a bit for each
    tier that is still there.
    """

    time_ms: int
    entry: Decimal
    long: Decimal
    long_open: int
    short: Decimal
    short_open: int


@frozen
class Hour:
    """What the candles of one hour opened."""

    symbol: str
    time_ms: int
    rows: tuple[Row, ...]

    @property
    def key(self) -> str:
        """Its key in the table."""
        return f"{self.symbol}/{self.time_ms}"


@frozen
class Head:
    """All else of one symbol's model. `made_of` is what it assumes: under other assumptions it is
    another model. `interest` is the newest open interest that it knew, `told_created` and
    `told_consumed` what was counted when the last map was published.
    """

    symbol: str
    made_of: str
    bin: Decimal
    applied_ms: int
    history_from_ms: int
    oi_missing: bool
    created: int
    consumed: int
    taken_long: Decimal
    taken_short: Decimal
    factor_long: Decimal
    factor_short: Decimal
    interest_ms: int | None
    interest: Decimal | None
    told_created: int
    told_consumed: int


class Table(Protocol):
    """What is needed of a table."""

    def append(self, value: Hour, *, key: str) -> object:
        """Replace what is there."""
        ...

    def forget(self, key: str) -> None:
        """Drop it."""
        ...


def made_of(model: Model, width: float | None) -> str:
    """What a model assumes, in words that change with it; `width` is what is set of its bins."""
    assumed = model.assumptions
    tiers = ",".join(f"{tier.leverage}:{tier.weight.normalize():f}" for tier in assumed.tiers)
    ratios = ",".join(str(one) for one in (*model.long.ratios, *model.short.ratios))
    return f"{assumed.side_model} {tiers} {ratios} {assumed.half_life_ms} {width or 0}"


def restore(model: Model, head: Head, hours: Iterable[Hour]) -> Iterator[None]:
    """Make a new model the one that was saved, step by step: between them others may run."""
    model.applied_ms, model.history_from_ms = head.applied_ms, head.history_from_ms
    model.oi_missing = head.oi_missing
    model.created, model.consumed = head.created, head.consumed
    model.taken = head.taken_long, head.taken_short
    model.long.factor, model.short.factor = head.factor_long, head.factor_short
    rows = sorted((row for hour in hours for row in hour.rows), key=lambda row: row.time_ms)
    for number, row in enumerate(rows, 1):
        for book, held, still in (
            (model.long, row.long, row.long_open),
            (model.short, row.short, row.short_open),
        ):
            if still:
                book.restore(row.time_ms, Opened(row.entry, held, still))
        if number % AT_ONCE == 0:
            yield


def save_hours(model: Model, symbol: str, table: Table) -> None:
    """Write the hours in which something changed since this was called last."""
    changed = model.long.changed | model.short.changed
    model.long.changed.clear()
    model.short.changed.clear()
    if not changed:
        return
    hours = {time_ms - time_ms % HOUR_MS for time_ms in changed}
    rows: dict[int, list[Row]] = {hour_ms: [] for hour_ms in hours}
    for time_ms in _times(model.long, model.short, hours):
        rows[time_ms - time_ms % HOUR_MS].append(_row(model, time_ms))
    for hour_ms in sorted(hours):
        hour = Hour(symbol, hour_ms, tuple(rows[hour_ms]))
        if hour.rows:
            table.append(hour, key=hour.key)
        else:
            table.forget(hour.key)


def _times(long: Book, short: Book, hours: set[int]) -> Iterator[int]:
    """When the candles opened of which something is left in these hours, in order."""
    if len(hours) * 60 < len(long.opened) + len(short.opened):
        minutes = (hour_ms + minute * 60_000 for hour_ms in sorted(hours) for minute in range(60))
        yield from (ms for ms in minutes if ms in long.opened or ms in short.opened)
    else:
        there = long.opened.keys() | short.opened.keys()
        yield from sorted(ms for ms in there if ms - ms % HOUR_MS in hours)


def _row(model: Model, time_ms: int) -> Row:
    long, short = model.long.opened.get(time_ms), model.short.opened.get(time_ms)
    one = long or short
    assert one is not None, "only what is there is saved"
    return Row(
        time_ms,
        one.entry,
        ZERO if long is None else long.held,
        0 if long is None else long.open,
        ZERO if short is None else short.held,
        0 if short is None else short.open,
    )


async def by_symbol(table: Stream[Any]) -> dict[str, list[Any]]:
    """The values of a table, by their symbols; others run in between."""
    found: dict[str, list[Any]] = {}
    seq = 0
    while seq < table.seq:
        batch = table.read(seq, first=True, limit=READ)
        for record in batch.records:
            found.setdefault(record.value.symbol, []).append(record.value)
        seq = batch.position.seq
        await trio.lowlevel.checkpoint()
    return found
