"""What is remembered of each symbol: its model, the columns of its map, and what is said of both.

Written in one step with what is published, so that a crash at any moment loses nothing and applies
nothing twice: no checkpoint lies within what writes.
"""

from decimal import Decimal

import trio

from flowd.market import Candle, LiquidationMap
from flowd.plugin import Feed
from flowd_heatmap.brackets import brackets_of
from flowd_heatmap.config import Config
from flowd_heatmap.drawn import column, described, floor_of
from flowd_heatmap.line import Line, Symbol
from flowd_heatmap.model import Model
from flowd_heatmap.records import Column, MapModel
from flowd_heatmap.saved import READ, Head, Hour, by_symbol, made_of, restore, save_hours


class Memory:
    """The tables of one transform."""

    def __init__(self, config: Config, feed: Feed[LiquidationMap]) -> None:
        self.columns = feed.table("columns", Column)
        self._config = config
        self._feed = feed
        self._heads = feed.table("heads", Head)
        self._hours = feed.table("hours", Hour)
        self._models = feed.table("model", MapModel)
        self._span = Decimal(config.span_pct) / 100

    async def restore(self, oldest_ms: int, since_ms: int) -> dict[str, Symbol]:
        """The symbols whose models were saved, by name. One of other assumptions, or that ends
        before `oldest_ms`, is let go of: it would be made anew of what the inputs have. Candles
        have been listened for since `since_ms`.
        """
        found: dict[str, Symbol] = {}
        hours, columns = await by_symbol(self._hours), await by_symbol(self.columns)
        for record in self._heads.after(0):
            head: Head = record.value
            own = [one for one in hours.pop(head.symbol, []) if isinstance(one, Hour)]
            model = self.model(head.symbol, head.bin)
            made = made_of(model, self._config.bin.get(head.symbol))
            wanted = not self._config.symbols or head.symbol in self._config.symbols
            if wanted and head.made_of == made and head.applied_ms >= oldest_ms:
                for _ in restore(model, head, own):
                    await trio.lowlevel.checkpoint()
                symbol = Symbol(head.symbol, Line(model, since_ms), made)
                symbol.told = head.told_created, head.told_consumed
                last = self._feed.get(head.symbol)
                if last is not None and last.mark_price is not None:
                    symbol.venue, symbol.time_ms = last.venue, last.time_ms
                    symbol.shown = (
                        last.candle_ms,
                        last.created_ever,
                        last.consumed_ever,
                        last.oi_missing,
                        floor_of(last.mark_price, last.bin),
                    )
                if head.interest_ms is not None and head.interest is not None:
                    symbol.line.samples.add(head.interest_ms, head.interest)
                kept = [one for one in columns.pop(head.symbol, []) if isinstance(one, Column)]
                symbol.columns = sorted(one.time_ms for one in kept)
                symbol.line.blind = {one.time_ms for one in kept if one.oi_missing}
                self.describe(symbol, model)
                found[symbol.name] = symbol
            else:
                self._feed.log.info("%s: its model is let go of, or made anew", head.symbol)
                self._heads.forget(head.symbol)
                self._feed.forget(head.symbol)
                self._models.forget(head.symbol)
                for hour in own:
                    self._hours.forget(hour.key)
            await trio.lowlevel.checkpoint()
        # What belongs to no model any more.
        for table, left in ((self._hours, hours), (self.columns, columns)):
            for number, one in enumerate(one for some in left.values() for one in some):
                table.forget(one.key)
                if number % READ == 0:
                    await trio.lowlevel.checkpoint()
        return found

    def model(self, symbol: str, width: Decimal) -> Model:
        """A new one, of what is configured."""
        brackets = brackets_of(symbol, self._config.tables)
        return Model.empty(self._config.assumptions, brackets, width)

    def add_column(self, symbol: Symbol, model: Model, candle: Candle) -> None:
        """Keep what the map was after this candle."""
        one = column(model, symbol.name, candle, self._span)
        self.columns.append(one, key=one.key)
        symbol.columns.append(candle.time_ms)

    def forget_old(self, symbol: Symbol, model: Model) -> None:
        """Let go of columns and positions that are older than they are kept."""
        assert model.applied_ms is not None, "something was applied"
        before_ms = model.applied_ms - int(self._config.keep * 1000)
        while symbol.columns and symbol.columns[0] <= before_ms:
            symbol.line.blind.discard(symbol.columns[0])
            self.columns.forget(f"{symbol.name}/{symbol.columns.pop(0)}")
        model.forget(self._config.positions_for_ms)

    def describe(self, symbol: Symbol, model: Model) -> None:
        """Say what the model assumes and where it stands, for who asks the sink."""
        self._models.append(described(model, symbol.name, self._config), key=symbol.name)

    def save(self, symbol: Symbol, model: Model) -> None:
        """Write down what must be remembered."""
        symbol.unsaved = False
        assert model.applied_ms is not None, "something was applied"
        assert model.history_from_ms is not None, "something was applied"
        save_hours(model, symbol.name, self._hours)
        newest = symbol.line.samples.newest()
        self._heads.append(
            Head(
                symbol.name,
                symbol.made_of,
                model.long.width,
                model.applied_ms,
                model.history_from_ms,
                model.oi_missing,
                model.created,
                model.consumed,
                *model.taken,
                model.long.factor,
                model.short.factor,
                None if newest is None else newest[0],
                None if newest is None else newest[1],
                *symbol.told,
            ),
            key=symbol.name,
        )

    def drop(self, symbol: Symbol) -> None:
        """Forget all of a symbol but what is published of it: its model is made anew."""
        for record in self._hours.after(0):
            if record.value.symbol == symbol.name:
                self._hours.forget(record.value.key)
        for time_ms in symbol.columns:
            self.columns.forget(f"{symbol.name}/{time_ms}")
        self._heads.forget(symbol.name)
        symbol.columns, symbol.told, symbol.shown = [], (0, 0), ()
