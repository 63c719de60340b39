"""Rows as the service sends them: the pair of an address and a fill, encoded once."""

from typing import Any

import msgspec
from attrs import frozen

encode = msgspec.json.encode


@frozen(eq=False)
class Row:
    """One side of one trade: an address and a fill. `liquidation` says that it was part of one,
    `forced` that it is the side that was closed.
    """

    coin: str
    liquidation: bool
    forced: bool
    address: str
    fill: dict[str, Any]  # Any: JSON
    json: bytes

    @property
    def dex(self) -> str | None:
        """The dex of a perpetual; None for spot and outcome markets."""
        if self.coin.startswith(("@", "#")) or "/" in self.coin:
            return None
        dex, colon, _ = self.coin.partition(":")
        return dex if colon else "main"

    @property
    def outcome(self) -> bool:
        """Whether this is a market of outcomes."""
        return self.coin.startswith("#")


def row(address: str, fill: dict[str, Any]) -> Row:
    """The row of a fill; Any is JSON."""
    stamp = fill.get("liquidation")
    liquidated = fill["dir"].startswith("Liquidated")
    forced = liquidated if stamp is None else stamp["liquidatedUser"] == address
    return Row(
        coin=fill["coin"],
        liquidation=stamp is not None or liquidated,
        forced=forced,
        address=address,
        fill=fill,
        json=encode([address, fill]),
    )


@frozen(eq=False)
class Block:
    """The rows of one block of the chain."""

    number: int
    time_ms: int
    rows: tuple[Row, ...]

    @property
    def cursor(self) -> str:
        """The place after this block."""
        return f"{self.number}:{self.time_ms}:{len(self.rows)}"
