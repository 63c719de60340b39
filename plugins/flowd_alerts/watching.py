"""A flowd transform: keeps alert lines, looks at prices, and says when one was at a line.

A line, the price that it was last held against and the place in the stream change in one step. So a
restart at any moment neither misses a crossing nor tells of it twice.
"""

from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import trio
from attrs import evolve

from flowd.market import Candle, Fill, Trade
from flowd.plugin import BadRequest, Feed, Input, Streams, suggestion
from flowd_alerts.crossing import Known, Step, Way, crossed, seen
from flowd_alerts.lines import (
    SPAN_MS,
    SYMBOL_LINES_MAX,
    AlertLine,
    Answered,
    Ask,
    Config,
    LineAlert,
    State,
    Wanted,
    alert_of,
    side,
)

OUTAGES = "outages"
PORTION = 250
"""Records that are looked at in one step."""
PAUSE_S = 0.05
"""Between looks, so that what is busy is read in batches."""
EVERY_S, QUIET_MS = 5.0, 15_000
"""How often is looked for lines without a price, and how long an outage may be that is none."""
REMOVED_MS, REMOVED_MAX = 86_400_000, 1000
ANSWERS_MAX = 100
SYMBOLS_MAX = 20_000
"""Symbols whose price is known."""

Price = Candle | Trade | Fill


class Watch:
    """All lines, and the prices that they are held against."""

    def __init__(self, config: Config, streams: Streams, feed: Feed[LineAlert]) -> None:
        self._config = config
        self._streams = streams
        self._feed = feed
        self._lines = feed.table("lines", AlertLine)
        self._answers = feed.table("answers", Answered)
        self._prices = feed.table("prices", Known)
        self._known = {(one.input, one.symbol): one for one in _values(self._prices)}
        self._changed: set[tuple[str, str]] = set()
        self._watched: dict[tuple[str, str], dict[str, AlertLine]] = {}
        for line in _values(self._lines):
            if not line.removed:
                self._watched.setdefault((line.input, line.symbol), {})[line.id] = line

    # -- prices

    def look(self, input: str, value: Price, told_ms: int, *, old: bool = False) -> None:
        """A price came. One that is `old` was seen in an earlier life: it is only noted."""
        key = (input, value.symbol)
        before = self._known.get(key)
        if old and key in self._watched:
            return
        if before is None and len(self._known) >= SYMBOLS_MAX:
            self._feed.drop("a price of too many symbols", value.symbol)
            return
        known, step = seen(value, input, told_ms, before)
        if known is not None:
            self._known[key] = known
        lines = None if old else self._watched.get(key)
        if lines:
            self._changed.add(key)
            for line in list(lines.values()):
                self._hold(line, step)

    def save(self) -> None:
        """Write down what lines were held against: in one step with the place up to there."""
        for key in self._changed:
            known = self._known[key]
            self._prices.append(known, key=known.key)
        self._changed.clear()

    def _hold(self, line: AlertLine, step: Step | None) -> None:
        """Hold a line against what the price did."""
        if line.state == "blind" and not (step is not None and step.past):
            line = self._put(evolve(line, state="watched", known_ms=None))
        if step is None:
            return
        since_ms = max(line.set_ms, line.fired_ms or 0)
        if step.past and step.from_ms < since_ms:
            return
        step = step.since(since_ms)
        if line.armed:
            way = next(
                (w for w in crossed(line.price, step) if line.direction in ("both", w)), None
            )
            if way is not None:
                self._fire(line, way, step)
        elif line.repeat and not step.past and _away(line, step.low, step.high):
            self._put(evolve(line, armed=True))

    def _fire(self, line: AlertLine, way: Way, step: Step) -> None:
        blind = self._blind(line.input, step)
        if blind and line.side is None and line.set_ms > step.known_ms:
            return  # Where the price was when the line was set, nobody knows.
        alert = alert_of(line, way, step, blind=blind)
        self._feed.publish(alert, id=f"{line.id}/{line.set_ms}/{alert.fired}", past=step.past)
        state: State = "watched" if line.repeat else "reached"
        fired_ms = max(step.to_ms, line.set_ms)
        armed = line.repeat and _away(line, step.last, step.last)
        self._put(evolve(line, armed=armed, state=state, fired=alert.fired, fired_ms=fired_ms))

    def _blind(self, input: str, step: Step) -> bool:
        """Whether no price was known for a while before this one."""
        silent_ms = step.to_ms - step.known_ms
        if step.whole or silent_ms <= SPAN_MS:
            return False
        if silent_ms > self._config.stale * 1000:
            return True
        return any(
            from_ms < step.to_ms and (to_ms is None or to_ms > step.known_ms)
            for from_ms, to_ms in self._outages(input)
        )

    def _outages(self, input: str) -> Iterator[tuple[int, int | None]]:
        writer = input.partition(".")[0]
        if OUTAGES in self._streams:
            for record in self._streams[OUTAGES].read(0).records:
                if record.value.component == writer:
                    yield record.value.from_ms, record.value.to_ms

    # -- time

    def tick(self) -> None:
        """Say of which lines no price is known, and forget what was removed long ago."""
        now_ms = self._feed.clock()
        for (input, symbol), lines in list(self._watched.items()):
            known = self._known.get((input, symbol))
            if self._silent(input, known, now_ms):
                for line in [line for line in lines.values() if line.state == "watched"]:
                    known_ms = None if known is None else known.time_ms
                    self._put(evolve(line, state="blind", known_ms=known_ms))
        removed = [line for line in _values(self._lines) if line.removed]
        for line in removed:
            if now_ms - line.set_ms > REMOVED_MS:
                self._lines.forget(line.id)
        for line in removed[:-REMOVED_MAX]:
            self._lines.forget(line.id)
        for name in [one.asked for one in _values(self._answers)][:-ANSWERS_MAX]:
            self._answers.forget(name)
        self._feed.tally.figures["lines"] = sum(map(len, self._watched.values()))

    def _silent(self, input: str, known: Known | None, now_ms: int) -> bool:
        if known is None or input not in self._config.names:
            return True
        silent_ms = now_ms - known.time_ms
        delivering = self._streams[input].delivery().delivering
        return silent_ms > self._config.stale * 1000 or (not delivering and silent_ms > QUIET_MS)

    # -- what is asked

    def answer(self, text: str) -> None:
        """Do what was asked, and say what became of it."""
        try:
            ask = Ask.read(text)
        except (ValueError, TypeError) as error:
            self._feed.drop("asked for nothing that there is", str(error))
            return
        try:
            told = Answered(ask.asked, self._do(ask).id)
        except BadRequest as error:
            allowed = (error.allowed,) if isinstance(error.allowed, str) else tuple(error.allowed)
            told = Answered(
                ask.asked,
                ask.id,
                error.code,
                error.status,
                str(error),
                error.parameter,
                str(error.value or ""),
                allowed,
            )
        self._answers.append(told, key=ask.asked)

    def _do(self, ask: Ask) -> AlertLine:
        if ask.what == "add":
            return self._put(self._new(ask.wanted))
        line = self._lines.get(ask.id)
        if line is None or line.removed:
            raise BadRequest(
                f"there is no alert line {ask.id!r:.40}",
                parameter="id",
                value=ask.id,
                allowed="an id of GET /api/v1/alert-lines; somebody may have removed it just now",
                code="UNKNOWN_LINE",
                status=404,
            )
        if ask.what == "remove":
            return self._put(evolve(line, removed=True, set_ms=self._feed.clock()))
        return self._put(self._changed_line(line, ask.wanted))

    def _new(self, wanted: Wanted) -> AlertLine:
        symbol, price = str(wanted.symbol), Decimal(str(wanted.price))
        input = self._input(symbol, wanted.input)
        count = sum(map(len, self._watched.values()))
        of_symbol = sum(len(found) for (_, one), found in self._watched.items() if one == symbol)
        if count >= self._config.most or of_symbol >= SYMBOL_LINES_MAX:
            full = count >= self._config.most
            raise BadRequest(
                f"there are {count} alert lines, which are all that there may be"
                if full
                else f"there are {of_symbol} alert lines of {symbol}, the most for one symbol",
                parameter="symbol",
                value=symbol,
                allowed="removing one first"
                + (f", or a larger most of {self._feed.name}" if full else ""),
                code="TOO_MANY_LINES",
                status=409,
            )
        known = self._known[input, symbol]
        line = AlertLine(
            id=str(self._lines.head.seq + 1),
            symbol=symbol,
            price=price,
            direction=wanted.direction or "both",
            repeat=bool(wanted.repeat),
            hysteresis=Decimal(wanted.hysteresis or self._config.hysteresis),
            text=wanted.text or "",
            input=input,
            side=None,
            set_ms=self._feed.clock(),
        )
        self._prices.append(known, key=known.key)
        return self._set(line)

    def _input(self, symbol: str, wanted: str | None) -> str:
        """The stream to watch a symbol in."""
        names = self._config.names
        if wanted and wanted not in names:
            raise BadRequest(
                f"{wanted!r:.60} is not looked at",
                parameter="input",
                value=wanted,
                allowed=names,
            )
        for name in [wanted] if wanted else names:
            if (name, symbol) in self._known:
                return name
        there = sorted({symbol for name, symbol in self._known if name in names})
        raise BadRequest(
            f"no price of {symbol!r:.60} is known{suggestion(symbol, there)}",
            parameter="symbol",
            value=symbol,
            allowed=there[:20] or "a symbol whose candles or trades come",
            code="UNKNOWN_SYMBOL",
        )

    def _changed_line(self, line: AlertLine, wanted: Wanted) -> AlertLine:
        changed = evolve(
            line,
            price=line.price if wanted.price is None else Decimal(wanted.price),
            direction=wanted.direction or line.direction,
            repeat=line.repeat if wanted.repeat is None else wanted.repeat,
            hysteresis=Decimal(wanted.hysteresis or line.hysteresis),
            text=line.text if wanted.text is None else wanted.text,
        )
        if evolve(changed, text=line.text) == line:
            return changed
        return self._set(evolve(changed, armed=True, fired_ms=None, set_ms=self._feed.clock()))

    def _set(self, line: AlertLine) -> AlertLine:
        """A line as it begins to be watched."""
        known = self._known.get((line.input, line.symbol))
        if known is None or self._silent(line.input, known, self._feed.clock()):
            known_ms = None if known is None else known.time_ms
            return evolve(line, side=None, state="blind", known_ms=known_ms)
        return evolve(line, side=side(known.price, line.price), state="watched", known_ms=None)

    def _put(self, line: AlertLine) -> AlertLine:
        self._lines.append(line, key=line.id)
        lines = self._watched.setdefault((line.input, line.symbol), {})
        lines[line.id] = line
        if line.removed:
            del lines[line.id]
        if not lines:
            del self._watched[line.input, line.symbol]
            self._prices.forget(f"{line.input}/{line.symbol}")
            self._changed.discard((line.input, line.symbol))
        return line


def _away(line: AlertLine, low: Decimal, high: Decimal) -> bool:
    """Whether a price that was so low and so high has gone far enough from a line to arm it."""
    far = line.price * line.hysteresis
    below, above = low <= line.price - far, high >= line.price + far
    if not far:
        below, above = low < line.price, high > line.price
    return (below and line.direction != "down") or (above and line.direction != "up")


def _values(table: Any) -> list[Any]:
    return [record.value for record in table.after(0)]


async def watching(config: Config, streams: Streams, feed: Feed[LineAlert]) -> None:
    """Look at each price, and do what is asked; ends when the inputs do."""
    watch = Watch(config, streams, feed)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_answer, watch, feed)
        nursery.start_soon(_tick, watch)
        async with trio.open_nursery() as inputs:
            for name in config.names:
                inputs.start_soon(_look, watch, streams[name])
        nursery.cancel_scope.cancel()


async def _look(watch: Watch, prices: Input[Price]) -> None:
    cursor = prices.cursor()
    await _remember(watch, prices, cursor.position.seq)
    while await prices.news(cursor.position.seq):
        batch = cursor.read(limit=PORTION)
        for record in batch.records:
            watch.look(prices.name, record.value, record.time_ms)
        # No checkpoint in between: lines, prices and place belong to the same instant.
        watch.save()
        cursor.done()
        if cursor.position == prices.head:
            await trio.sleep(PAUSE_S)
        else:
            await trio.lowlevel.checkpoint()


async def _remember(watch: Watch, prices: Input[Price], upto: int) -> None:
    """Know the prices of before this life, so that lines can be set on them."""
    after = 0
    while after < upto:
        batch = prices.read(after, first=True, upto=upto, limit=PORTION)
        for record in batch.records:
            watch.look(prices.name, record.value, record.time_ms, old=True)
        if batch.position.seq <= after:
            return
        after = batch.position.seq
        await trio.lowlevel.checkpoint()


async def _answer(watch: Watch, feed: Feed[LineAlert]) -> None:
    while True:
        watch.answer(await feed.asked())


async def _tick(watch: Watch) -> None:
    while True:
        watch.tick()
        await trio.sleep(EVERY_S)
