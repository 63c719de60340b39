"""What a position must keep as margin, by its size, and at which price it is liquidated.

Source: domain/heatmap.md, section 4: Binance USD-M futures, isolated margin, one-way mode. Pure
functions of decimals, with 40 digits.
"""

import tomllib
from collections.abc import Mapping
from decimal import Context, Decimal
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

from attrs import frozen

MATH = Context(prec=40)
"""All arithmetic of the model: far more digits than any exchange tells."""
Side = Literal["LONG", "SHORT"]
SHIPPED = Path(__file__).with_name("brackets.toml")
OTHERS = "*"
_ONE = Decimal(1)


@frozen
class Bracket:
    """Positions worth more than `floor` and up to `cap` keep `rate` of that less `amount`."""

    leverage_max: int
    floor: Decimal
    cap: Decimal
    rate: Decimal
    amount: Decimal


@frozen
class Brackets:
    """A symbol's brackets in ascending order, and when they were true. `assumed` says that they are
    those of no symbol in particular.
    """

    rows: tuple[Bracket, ...]
    dated: str
    assumed: bool = False

    @property
    def leverage_max(self) -> int:
        """The most leverage that there is."""
        return self.rows[0].leverage_max

    def index_of(self, notional: Decimal) -> int:
        """Which bracket a notional is in; the last one, for all above it."""
        for index, row in enumerate(self.rows):
            if notional <= row.cap:
                return index
        return len(self.rows) - 1


def liquidation_ratio(
    brackets: Brackets, side: Side, leverage: int, notional: Decimal
) -> Decimal | None:
    """The liquidation price of a position as a share of its entry price, None where it has none.

    `notional` is the position's at its entry. The bracket is that of the notional at the
    liquidation price, which depends on the bracket: so it is looked for until it stays.
    """
    index = brackets.index_of(notional)
    sign = _ONE if side == "LONG" else -_ONE
    ratio = _ONE
    for _ in range(len(brackets.rows) + 1):
        row = brackets.rows[index]
        relief = MATH.divide(row.amount, notional)
        kept = _ONE - sign * MATH.add(MATH.divide(_ONE, Decimal(leverage)), relief)
        ratio = MATH.divide(kept, _ONE - sign * row.rate)
        if ratio <= 0:
            return None
        found = brackets.index_of(MATH.multiply(notional, ratio))
        if found == index:
            return ratio
        index = found
    return ratio


def liquidation_price(
    brackets: Brackets, side: Side, leverage: int, entry: Decimal, quantity: Decimal
) -> Decimal | None:
    """Where a position of `quantity` base units is liquidated, None for nowhere."""
    ratio = liquidation_ratio(brackets, side, leverage, MATH.multiply(entry, quantity))
    return None if ratio is None else MATH.multiply(entry, ratio)


def read(text: str) -> Mapping[str, Brackets]:
    """The tables of a file. ValueError that names the row which breaks a rule: the brackets follow
    each other, and what must be kept has no step where they meet.
    """
    try:
        content = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"no TOML: {error}") from None
    dated = content.pop("dated", None)
    if not isinstance(dated, str):
        raise ValueError('dated: say when the tables were true, such as "2024-10-24"')
    return {symbol: _table(symbol, table, dated) for symbol, table in content.items()}


def _table(symbol: str, table: Any, dated: str) -> Brackets:
    rows: list[Bracket] = []
    floor = Decimal(0)
    found = table.get("rows") if isinstance(table, dict) else None
    if not isinstance(found, list) or not found:
        raise ValueError(f"{symbol}: rows: expected a list of [leverage, cap, rate, amount]")
    for number, row in enumerate(found, 1):
        where = f"{symbol}, row {number}"
        try:
            leverage, cap, rate, amount = row[0], *(Decimal(text) for text in row[1:])
        except (TypeError, ValueError, ArithmeticError):
            raise ValueError(f"{where}: expected [leverage, cap, rate, amount]") from None
        if not isinstance(leverage, int) or leverage < 1 or not 0 <= rate < 1 or cap <= floor:
            raise ValueError(f"{where}: expected rising caps, rates below 1, leverage of 1 or more")
        if rows and leverage > rows[-1].leverage_max:
            raise ValueError(f"{where}: a larger position cannot have more leverage")
        before = rows[-1] if rows else Bracket(leverage, floor, floor, rate, Decimal(0))
        expected = before.amount + floor * (rate - before.rate)
        if amount != expected:
            raise ValueError(f"{where}: the amount must be {expected}, so that margin has no step")
        rows.append(Bracket(leverage, floor, cap, rate, amount))
        floor = cap
    return Brackets(tuple(rows), dated, assumed=symbol == OTHERS)


@lru_cache(maxsize=4)
def tables(path: Path = SHIPPED) -> Mapping[str, Brackets]:
    """The tables of a file. OSError and ValueError say what is wrong with it."""
    return read(path.read_text(encoding="utf-8"))


def brackets_of(symbol: str, path: Path = SHIPPED) -> Brackets:
    """A symbol's brackets, or what is assumed where nobody told them."""
    known = tables(path)
    return known.get(symbol) or known.get(OTHERS) or tables()[OTHERS]
