"""A flowd transform: candles and open interest to a map of where positions would be liquidated.

One symbol's model moves on by a closed candle at a time; in between, prices that are reached
consume what lies there. What is published and what must be remembered is written in one step, so
that a crash at any moment loses nothing and applies nothing twice.
"""

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import trio

from flowd.market import Candle, LiquidationMap, OpenInterest
from flowd.plugin import Feed, Input, Position, Streams
from flowd_heatmap.config import CANDLE_S, SYMBOLS_MAX, Config
from flowd_heatmap.drawn import drawn, floor_of
from flowd_heatmap.line import Line, Symbol
from flowd_heatmap.memory import Memory
from flowd_heatmap.model import Model
from flowd_heatmap.saved import READ, made_of
from flowd_heatmap.scoring import Scorer
from flowd_heatmap.store import open_store

STEPS = 2
"""Candles that are applied in one step of the loop."""
SAVED = 24
"""Of a backlog, the model is saved every so many candles."""
SETTLE_S = 3.0
"""So long nothing older must have come, before a model is made anew of what did."""


class Heatmap:
    """One run of the transform."""

    def __init__(self, config: Config, streams: Streams, feed: Feed[LiquidationMap]) -> None:
        self._config = config
        self._feed = feed
        self._candles: Input[Candle] = streams[config.candles]
        self._interest: Input[OpenInterest] = streams[config.open_interest]
        self._memory = Memory(config, feed)
        self._span = Decimal(config.span_pct) / 100
        self._symbols: dict[str, Symbol] = {}
        self._width_ms = 0
        self._older: dict[str, float] = {}
        """Of which symbols something came that their models did without, and when, by Trio."""
        self._since_ms = feed.clock()
        self._news = trio.Event()
        self._store = open_store(config, self._candles, self._interest, feed)
        self._scorer: Scorer | None = None
        if config.liquidations in streams:
            span, events = float(self._span), streams[config.liquidations]
            self._scorer = Scorer(
                events, feed, self._memory.columns, span, self._model_of, self._width
            )

    async def run(self) -> None:
        """Go on from what was saved, take in what came meanwhile, then what comes; ends with its
        inputs.
        """
        self._symbols = await self._memory.restore(self._oldest_ms(), self._since_ms)
        if self._store is not None:
            self._store.begin()
            await self._store.read(self._oldest_ms(), (self._sample, self._take))
        interest = await self._read(self._interest, self._sample)
        candles = await self._read(self._candles, self._take)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._keep_on)
            if self._scorer is not None:
                nursery.start_soon(self._scorer.run)
            async with trio.open_nursery() as reading:
                reading.start_soon(self._follow, self._candles, candles, self._take)
                reading.start_soon(self._follow, self._interest, interest, self._sample)
                if self._store is not None:
                    takes = self._sample, self._take
                    reading.start_soon(self._store.run, self._oldest_ms(), takes)
            nursery.cancel_scope.cancel()

    # -- what comes in --

    async def _read(self, source: Input[Any], take: Callable[[Any], None]) -> Position:
        """Take all that an input retains; from where on it is to be followed."""
        position = Position(source.head.epoch, 0)
        while position.seq < source.head.seq:
            batch = source.read(position.seq, first=True, limit=READ)
            for record in batch.records:
                take(record.value)
            position = batch.position
            await trio.lowlevel.checkpoint()
        return position

    async def _follow(
        self, source: Input[Any], after: Position, take: Callable[[Any], None]
    ) -> None:
        async for record in source.cursor(after=after).records():
            take(record.value)

    def _take(self, candle: Candle) -> None:
        """A candle, or a newer state of one."""
        if not self._fits(candle):
            return
        symbol = self._symbol(candle.symbol)
        if symbol is None:
            return
        symbol.venue = candle.venue or symbol.venue
        if symbol.line.add(candle):
            self._older[candle.symbol] = trio.current_time()
        if candle.closed:
            self._news.set()

    def _fits(self, candle: Candle) -> bool:
        """Whether a candle is as wide as the others, and not too old."""
        self._width_ms = self._width_ms or candle.width_ms
        if candle.width_ms != self._width_ms:
            self._feed.drop("candle of another interval", candle.interval)
            return False
        low, high = min(candle.open, candle.close), max(candle.open, candle.close)
        if not 0 < candle.low <= low <= high <= candle.high or candle.volume < 0:
            self._feed.drop("impossible candle", candle)
            return False
        return candle.time_ms >= self._oldest_ms()

    def _oldest_ms(self) -> int:
        """From when on candles and samples are taken."""
        return self._feed.clock() - self._config.backfill_ms

    def _sample(self, interest: OpenInterest) -> None:
        """Open interest at one moment."""
        if interest.contracts < 0:
            self._feed.drop("impossible open interest", interest)
            return
        symbol = self._symbol(interest.symbol)
        if symbol is None or interest.time_ms < self._oldest_ms():
            return
        if symbol.line.sample(interest.time_ms, interest.contracts):
            self._older[interest.symbol] = trio.current_time()
        self._news.set()

    def _symbol(self, name: str) -> Symbol | None:
        """A symbol that is drawn; None for one that is not asked for, or too many."""
        found = self._symbols.get(name)
        if found is not None:
            return found
        if self._config.symbols and name not in self._config.symbols:
            return None
        if len(self._symbols) >= SYMBOLS_MAX:
            self._feed.drop("too many symbols", name)
            return None
        found = self._symbols[name] = Symbol(name, Line(since_ms=self._since_ms))
        return found

    def _model_of(self, name: str) -> str | None:
        return self._symbols[name].made_of if name in self._symbols else None

    def _width(self) -> int:
        return self._width_ms or CANDLE_S * 1000

    # -- how it goes on --

    async def _keep_on(self) -> None:
        """Apply what is due, again and again."""
        while True:
            self._news = trio.Event()
            for symbol in list(self._symbols.values()):
                while self._advance(symbol):
                    await trio.lowlevel.checkpoint()
                await trio.lowlevel.checkpoint()
            if await self._make_anew():
                continue
            self._count()
            await trio.sleep(self._config.every)
            if not any(symbol.line.under_way for symbol in self._symbols.values()):
                with trio.move_on_after(10 * self._config.every):
                    await self._news.wait()

    def _advance(self, symbol: Symbol) -> bool:
        """Apply a few candles that are due, or publish what came of those before; true when there
        is more to do. Each takes its time, so others are let run in between.

        No checkpoint in here: what is published and what is remembered belong together.
        """
        line, now_ms = symbol.line, self._feed.clock()
        applied: Candle | None = None
        for _ in range(STEPS):
            candle = line.due(now_ms)
            if candle is None:
                break
            if line.model is None:
                width = self._config.bin_of(symbol.name, candle.close)
                line.model = self._memory.model(symbol.name, width)
                symbol.made_of = made_of(line.model, self._config.bin.get(symbol.name))
            if line.apply(candle, line.model):
                applied = candle
                self._memory.add_column(symbol, line.model, candle)
        model = line.model
        if model is None or model.applied_ms is None:
            return line.due(now_ms) is not None
        if applied is not None:
            self._memory.forget_old(symbol, model)
            self._memory.describe(symbol, model)
            symbol.time_ms, symbol.unsaved = applied.close_time_ms + 1, True
            # On the way through a backlog only now and then: what is not saved is applied again.
            if line.waiting % SAVED < STEPS and line.due(now_ms) is not None:
                self._memory.save(symbol, model)
            return True
        if line.touch():
            symbol.time_ms, symbol.unsaved = now_ms, True
        self._tell(symbol, model)
        if symbol.unsaved:
            self._memory.save(symbol, model)
        return False

    def _tell(self, symbol: Symbol, model: Model) -> None:
        """Publish the map, if it is another one than was published last."""
        live, applied_ms = symbol.line.under_way, model.applied_ms
        newest = self._memory.columns.get(f"{symbol.name}/{applied_ms}")
        price = live.close if live is not None else newest.close if newest is not None else None
        if price is None or applied_ms is None:
            return
        floor = floor_of(price, model.long.width)
        shown = applied_ms, model.created, model.consumed, model.oi_missing, floor
        if shown == symbol.shown:
            return
        told = drawn(
            model,
            symbol.name,
            symbol.venue,
            price,
            symbol.time_ms,
            span=self._span,
            history_from_ms=model.begins_ms(self._config.positions_for_ms),
            created=symbol.told[0],
            consumed=symbol.told[1],
        )
        self._feed.publish(told, key=symbol.name)
        symbol.shown, symbol.told = shown, (model.created, model.consumed)

    # -- what came late --

    async def _make_anew(self) -> bool:
        """Make models anew of which candles or samples came that they did without, where they then
        know more; whether one was.
        """
        now = trio.current_time()
        names = {name for name, at in self._older.items() if at <= now - SETTLE_S}
        if not names:
            return False
        for name in names:
            del self._older[name]
        fresh = {name: Line() for name in names}

        def take(candle: Candle) -> None:
            if candle.symbol in names and self._fits(candle):
                fresh[candle.symbol].add(candle)

        def sample(interest: OpenInterest) -> None:
            if interest.symbol in names:
                fresh[interest.symbol].sample(interest.time_ms, interest.contracts)

        if self._store is not None:
            await self._store.read(self._oldest_ms(), (sample, take))
        await self._read(self._interest, sample)
        await self._read(self._candles, take)
        older = False
        for name, line in fresh.items():
            if line.knows_more(self._symbols[name].line):
                self._feed.log.info("%s: its model is made anew, of what came late", name)
                self._memory.drop(self._symbols[name])
                self._symbols[name].line = line
                older = True
        return older

    def _count(self) -> None:
        lines = [symbol.line for symbol in self._symbols.values()]
        models = [line.model for line in lines if line.model is not None]
        self._feed.tally.figures |= {
            "symbols": len(lines),
            "symbols_max": SYMBOLS_MAX,
            "cohorts": sum(model.long.count + model.short.count for model in models),
            "candles_waiting": sum(line.waiting for line in lines),
            "candles_late": sum(model.late for model in models),
            "candles_missing": sum(line.holes for line in lines),
            "oi_missing": sum(model.oi_missing for model in models),
            "columns": len(self._memory.columns),
        }
