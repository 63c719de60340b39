"""The settings of the kind `liquidation-heatmap`."""

import os
from contextlib import suppress
from decimal import Decimal
from importlib import import_module
from pathlib import Path
from typing import Any

from attrs import Factory, field, frozen

from flowd.market import Candle, Liquidation, OpenInterest, bin_width
from flowd.plugin import Seconds, StreamName, how_to_install
from flowd_heatmap import leverage
from flowd_heatmap.assumptions import SIDE_MODELS, Assumptions
from flowd_heatmap.brackets import SHIPPED, brackets_of
from flowd_heatmap.engines import SQLITE, engine_of

BINS = {"BTCUSDT": Decimal(100)}
SYMBOLS_MAX = 100
COLUMNS_MAX = 500_000
"""Pictures of single candles that one transform may keep, of all symbols together."""
CANDLE_S = 300
"""A candle lasts so long, where columns are counted beforehand."""


def _leverage(_: object, attribute: Any, text: str) -> None:
    try:
        leverage.parse(text)
    except ValueError as error:
        raise ValueError(f'leverage = "{text:.80}": {error}') from None


def _side_model(_: object, attribute: Any, name: str) -> None:
    if name not in SIDE_MODELS:
        raise ValueError(f'side_model = "{name}": expected one of {", ".join(SIDE_MODELS)}')


@frozen
class Config:
    """`candles` and `open_interest` are the streams that the map is made of, of the `symbols`; none
    named means all that both have.

    The rest are assumptions: see `flowd_heatmap.assumptions.Assumptions`. `bin` is the width of a
    bin by symbol; 100 for BTCUSDT, else about a thousandth of the price. Levels further from the
    price than `span_pct` are only summed up. Candles of `backfill_days` are read at first;
    positions older than `positions_for` are let go, pictures older than `keep`. `database` is a
    file that keeps both inputs for longer than their streams: SQLite where its name ends in .db or
    .sqlite, else DuckDB. Against what comes in the stream `liquidations`, if there is one, the map
    is scored.
    """

    candles: StreamName = field(metadata={"reads": Candle})
    open_interest: StreamName = field(metadata={"reads": OpenInterest})
    liquidations: StreamName = field(
        default=StreamName("force-orders"), metadata={"reads": Liquidation, "optional": True}
    )
    symbols: list[str] = Factory(list)
    database: str | None = None
    side_model: str = field(default="both", validator=_side_model)
    leverage: str = field(default=leverage.DEFAULT, validator=_leverage)
    typical_notional: int = 10_000
    half_life: Seconds = Seconds(0.0)
    brackets: str | None = None
    bin: dict[str, float] = Factory(dict)
    span_pct: int = 30
    backfill_days: int = 7
    positions_for: Seconds = Seconds(30 * 86_400.0)
    keep: Seconds = Seconds(7 * 86_400.0)
    every: Seconds = Seconds(1.0)

    def __attrs_post_init__(self) -> None:
        # Only who configures this pays for it, and before the loop turns.
        import_module("flowd_heatmap.transform")
        if self.database is not None and not self.database.endswith(SQLITE):
            # Without it the map has no such past, which a remark says.
            with suppress(ImportError):
                import_module("duckdb")
        if self.typical_notional < 1:
            raise ValueError(f"typical_notional = {self.typical_notional}: expected 1 or more")
        if self.database == "":
            raise ValueError('database = "": name a file such as "market.duckdb"; unset, none')
        if len(self.symbols) > SYMBOLS_MAX:
            raise ValueError(f"symbols: {len(self.symbols)}; at most {SYMBOLS_MAX} are drawn")
        if not 1 <= self.span_pct <= 100:
            raise ValueError(f"span_pct = {self.span_pct}: expected 1 to 100")
        if not 1 <= self.backfill_days <= 30:
            raise ValueError(f"backfill_days = {self.backfill_days}: expected 1 to 30")
        if self.positions_for < self.backfill_days * 86_400:
            raise ValueError("positions_for: expected at least backfill_days")
        if self.every < 0.2:
            raise ValueError("every: expected at least 200ms")
        columns = int(self.keep / CANDLE_S) * max(1, len(self.symbols))
        if columns > COLUMNS_MAX:
            raise ValueError(
                f"keep: {len(self.symbols) or 1} symbols for so long are {columns} columns; at "
                f"most {COLUMNS_MAX} are kept"
            )
        for symbol, width in self.bin.items():
            if not 0 < width < 1e9:
                raise ValueError(f"bin.{symbol} = {width}: expected a width in quote units")
        try:
            # A file with a mistake is told before anything starts.
            known = [brackets_of(symbol, self.tables) for symbol in self.symbols or ["BTCUSDT"]]
        except (OSError, ValueError) as error:
            raise ValueError(f'brackets = "{self.brackets}": {error}') from None
        highest = leverage.parse(self.leverage)[-1].leverage
        for symbol, brackets in zip(self.symbols or ["BTCUSDT"], known, strict=True):
            if highest > brackets.leverage_max:
                raise ValueError(
                    f'leverage = "{self.leverage:.80}": {symbol} allows at most '
                    f"{brackets.leverage_max}x"
                )

    @property
    def file(self) -> Path | None:
        """Where candles and open interest are kept: like flowd's state, in systemd's state
        directory if there is one.
        """
        if self.database is None:
            return None
        return Path(os.environ.get("STATE_DIRECTORY", "").split(":")[0]) / self.database

    @property
    def tables(self) -> Path:
        """The file of brackets."""
        return SHIPPED if self.brackets is None else Path(self.brackets)

    @property
    def assumptions(self) -> Assumptions:
        """What the model assumes."""
        return Assumptions(
            leverage.parse(self.leverage),
            self.side_model,  # type: ignore[arg-type]  # the validator knows which there are
            Decimal(self.typical_notional),
            int(self.half_life * 1000) or None,
        )

    @property
    def backfill_ms(self) -> int:
        """How far back candles are read at first."""
        return self.backfill_days * 86_400_000

    @property
    def positions_for_ms(self) -> int:
        """How long positions are kept."""
        return int(self.positions_for * 1000)

    def bin_of(self, symbol: str, price: Decimal) -> Decimal:
        """How wide a symbol's bins are."""
        if symbol in self.bin:
            return Decimal(str(self.bin[symbol]))
        return BINS.get(symbol) or bin_width(price)


def remarks(config: Config) -> list[str]:
    """What works and may not be meant."""
    if config.file is None:
        return []
    try:
        engine_of(config.file)
    except ImportError:
        return [
            f'database = "{config.database}" needs DuckDB, which is not installed '
            f"({how_to_install('flowd-daemon[duckdb]')}), or a name that ends in .db, for SQLite; "
            "its past is what the streams retain"
        ]
    return []
