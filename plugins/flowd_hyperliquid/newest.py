"""The newest trade of each coin, by which an old one that is told again is known.

The ids that a stream remembers do not suffice: where one coin trades ten times a second, the last
trade of a quiet one is forgotten within the hour, and is told again at each subscription.
"""

from collections.abc import Iterator
from typing import Any

from attrs import define, frozen

from flowd.market import Trade
from flowd.plugin import Feed


@frozen
class Told:
    """Up to which time a coin's trades were published, and those of that time, by their ids."""

    coin: str
    time_ms: int
    ids: tuple[str, ...]


@define(eq=False)
class _Last:
    time_ms: int
    ids: dict[str, None]
    saved: bool = False


class Newest:
    """Up to where each coin has been told. In a table, which may lag behind: what was published
    since is noted again at the start.
    """

    def __init__(self, feed: Feed[Any]) -> None:
        self._table = feed.table("newest", Told)
        self._last = {
            told.coin: _Last(told.time_ms, dict.fromkeys(told.ids), saved=True)
            for told in (record.value for record in self._table.after(0))
        }

    def __getitem__(self, coin: str) -> int | None:
        """The time of a coin's newest trade; None before the first."""
        last = self._last.get(coin)
        return None if last is None else last.time_ms

    def knows(self, trade: Trade) -> bool:
        """Whether this trade was told before: a coin's trades come in the order of their time."""
        last = self._last.get(trade.symbol)
        if last is None or trade.time_ms > last.time_ms:
            return False
        return trade.time_ms < last.time_ms or trade.id in last.ids

    def note(self, trade: Trade) -> None:
        """A trade is published."""
        last = self._last.get(trade.symbol)
        if last is None or trade.time_ms > last.time_ms:
            self._last[trade.symbol] = _Last(trade.time_ms, {trade.id: None})
        elif trade.time_ms == last.time_ms and trade.id not in last.ids:
            last.ids[trade.id] = None
            last.saved = False

    def save(self) -> Iterator[None]:
        """Write what has changed, coin by coin."""
        for coin, last in list(self._last.items()):
            if not last.saved:
                self._table.append(Told(coin, last.time_ms, tuple(last.ids)), key=coin)
                last.saved = True
                yield
