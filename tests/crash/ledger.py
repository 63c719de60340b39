"""What the exchange sent, in a form that two processes agree on.

An order follows from its number and its time alone, so the ledger needs a line per batch and no
copy of each. Nothing here or in the referee is flowd's: whoever judges must not share its mistakes.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from attrs import frozen

SYMBOLS = ("BTCUSDT", "ETHUSDT", "SOLUSDT", "1000PEPEUSDT", "币安人生USDT")
UNITS = 2000
"""Amounts are counted in this part of a quote unit, so that sums are of whole numbers."""


@frozen
class Order:
    """One forced order: the nth that the exchange ever had."""

    number: int
    time_ms: int

    @property
    def symbol(self) -> str:
        return SYMBOLS[self.number * 2_654_435_761 % 1009 % len(SYMBOLS)]

    @property
    def side(self) -> str:
        return "BUY" if self.number * 40_503 % 65_537 % 2 else "SELL"

    @property
    def thousandths(self) -> int:
        """The quantity, in thousandths."""
        return self.number * 7919 % 9973 + 1

    @property
    def units(self) -> int:
        """The amount, exactly: quantity times price."""
        return self.thousandths * (2 * self.number + 1)

    @property
    def price(self) -> str:
        """No two orders have the same, so that a price names an order."""
        return f"{self.number}.5"

    @property
    def quantity(self) -> str:
        return f"{self.thousandths // 1000}.{self.thousandths % 1000:03d}"

    def frame(self, pushed_ms: int) -> str:
        """As Binance writes it in a combined stream."""
        content = {
            **{"s": self.symbol, "S": self.side, "o": "LIMIT", "f": "IOC", "q": self.quantity},
            **{"p": f"{self.number}.25", "ap": self.price, "X": "FILLED", "l": "0.001"},
            **{"z": self.quantity, "T": self.time_ms, "ps": self.symbol, "st": 1},
        }
        data = {"e": "forceOrder", "E": pushed_ms, "o": content}
        return json.dumps({"stream": "!forceOrder@arr", "data": data}, ensure_ascii=False)


@frozen
class Batch:
    """Orders that happened in the same millisecond, and the connections that they were sent on."""

    first: int
    last: int
    time_ms: int
    connections: tuple[int, ...]

    @property
    def numbers(self) -> range:
        return range(self.first, self.last + 1)

    @property
    def line(self) -> str:
        return json.dumps([self.first, self.last, self.time_ms, self.connections]) + "\n"


def read(path: Path) -> Iterator[Batch]:
    """All that was written, in order."""
    with path.open() as lines:
        for line in lines:
            first, last, time_ms, connections = json.loads(line)
            yield Batch(first, last, time_ms, tuple(connections))


def number_of(value: dict[str, Any]) -> int:
    """Which order a record is of, by its price."""
    whole, _, half = str(value["price"]).partition(".")
    return int(whole) if half == "5" else 0


def units(amount: str) -> int:
    """An amount as orders count it; -1 when it is none that orders can have."""
    whole, _, rest = amount.partition(".")
    if not (whole + rest).isdigit() or len(rest) > 4:
        return -1
    found, over = divmod(int(whole + rest.ljust(4, "0")), 10_000 // UNITS)
    return -1 if over else found
