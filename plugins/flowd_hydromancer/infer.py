"""Counterparties that wait for the other side of their trade: the liquidated row may never come."""

from collections import deque
from collections.abc import Iterator
from typing import Final

from flowd.market import Fill
from flowd_hydromancer import parse

PATIENCE_S: Final = 5.0
WAITING_MAX: Final = 20_000
"""Trades that are remembered; of more than that the oldest is given up."""


class Waiting:
    """Trades of the last seconds, and which of them lack their liquidated row."""

    def __init__(self) -> None:
        self._trades: dict[str, Fill | None] = {}
        """The counterparty's row of each trade; None once the liquidated row came."""
        self._order: deque[tuple[float, str]] = deque()

    def note(self, fill: Fill, now: float) -> None:
        """A row of a liquidation came."""
        trade = parse.trade(fill)
        if not trade:
            return
        if trade not in self._trades:
            self._order.append((now + PATIENCE_S, trade))
            self._trades[trade] = fill
        if fill.role == "liquidated":
            self._trades[trade] = None
        if len(self._order) > WAITING_MAX:
            del self._trades[self._order.popleft()[1]]

    def due(self, now: float) -> Iterator[Fill]:
        """The counterparties that waited long enough. What is not taken stays."""
        while self._order and self._order[0][0] <= now:
            _, trade = self._order.popleft()
            fill = self._trades.pop(trade)
            if fill is not None:
                yield fill
