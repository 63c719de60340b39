"""Whether both sides of liquidations come. The protocol does not say; volumes depend on it."""

from typing import Any, Final

from flowd.market import Fill
from flowd.plugin import Feed
from flowd_hydromancer import parse
from flowd_hydromancer.place import Place

TRADES: Final = 100


class Balance:
    """Watches a hundred trades at a time, and says once when all rows are of one side."""

    def __init__(self, feed: Feed[Any], place: Place) -> None:
        self._feed = feed
        self._place = place
        self._trades: set[str] = set()
        self._liquidated = 0
        self._counterparties = 0

    def note(self, fill: Fill) -> None:
        """A row of a liquidation came by."""
        self._trades.add(parse.trade(fill) or fill.id)
        if fill.role == "liquidated":
            self._liquidated += 1
        else:
            self._counterparties += 1
        if len(self._trades) >= TRADES:
            self._judge()

    def _judge(self) -> None:
        if not self._liquidated:
            self._tell("all", "volumes and totals are missing what was liquidated")
        elif not self._counterparties:
            self._tell("none", "Hydromancer seems to send the liquidated side alone")
        self._trades.clear()
        self._liquidated = self._counterparties = 0

    def _tell(self, what: str, means: str) -> None:
        if self._place.told != what:
            self._place.told = what
            self._feed.log.warning(
                "%s: of the rows of %d liquidation trades %s are counterparties': %s",
                *(self._feed.name, TRADES, what, means),
            )
