"""Candles and open interest, for the tests of what is made of them."""

from decimal import Decimal
from itertools import chain
from pathlib import Path
from typing import Any

from flowd_heatmap.assumptions import Assumptions, SideModel
from flowd_heatmap.brackets import Brackets, read
from flowd_heatmap.engines import engine_of
from flowd_heatmap.files import File
from flowd_heatmap.leverage import DEFAULT, parse
from flowd_heatmap.model import Interest, Model
from flowd_heatmap.rows import CANDLES, INTEREST

from flowd.market import Candle, OpenInterest

WIDTH_MS = 300_000
T = 1_699_999_800_000
"""Where a candle opens; the test clock begins 200 s later."""


def flat(rate: str = "0.004") -> Brackets:
    """One bracket for all sizes."""
    return read(f'dated = "today"\n[T]\nrows = [[125, "1e15", "{rate}", "0"]]')["T"]


def candle(
    number: int,
    open: str,
    high: str,
    low: str,
    close: str,
    *,
    symbol: str = "BTCUSDT",
    bought: str = "0.5",
    volume: str = "1",
    closed: bool = True,
) -> Candle:
    """The candle that opens `number` widths after `T`."""
    start_ms = T + number * WIDTH_MS
    prices = Decimal(open), Decimal(high), Decimal(low), Decimal(close)
    one = Decimal(1)
    return Candle(
        symbol,
        "5m",
        start_ms,
        start_ms + WIDTH_MS - 1,
        *prices,
        Decimal(volume),
        one,
        2 if closed else 1,
        Decimal(bought),
        one,
        closed,
    )


def at(number: float, contracts: str, symbol: str = "BTCUSDT") -> OpenInterest:
    """The open interest so many widths after `T`."""
    return OpenInterest(symbol, T + round(number * WIDTH_MS), Decimal(contracts))


def interest(before: str | None, after: str | None) -> Interest:
    """What is known of a candle's two ends."""
    return Interest(
        None if before is None else Decimal(before), None if after is None else Decimal(after)
    )


def model(
    side_model: SideModel = "both", leverage: str = DEFAULT, rate: str = "0.004", bin: str = "100"
) -> Model:
    """An empty model under a flat rate."""
    return Model.empty(Assumptions(parse(leverage), side_model), flat(rate), Decimal(bin))


def levels(book_of: Model, side: str) -> dict[int, Decimal]:
    """A side's densities by the lower edges of their bins."""
    book = book_of.long if side == "long" else book_of.short
    return {index * int(book.width): amount for index, amount in sorted(book.levels().items())}


def kept(path: Path) -> list[Any]:
    """What a file has: open interest, then candles, each by time."""
    file = File(path, engine_of(path))
    file.open(read_only=True)
    found: list[Any] = []
    for table in (INTEREST, CANDLES):
        reader = file.reader(table, 0)
        found += chain.from_iterable(iter(reader.page, None))
        reader.close()
    file.close()
    return found


A = candle(0, "99500", "100200", "99400", "100000")
B = candle(1, "100000", "100500", "98350", "98600")
C = candle(2, "98600", "98700", "98400", "98500")
OI = ("1000", "1010", "1008", "1013")
"""The worked example of domain/heatmap.md, section 8."""
