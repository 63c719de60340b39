"""What a history brings of an outage: told once every symbol has what it missed."""

from collections.abc import Iterable
from typing import Any

from flowd.plugin import Feed


class Recovery:
    """The outage that is being recovered, if there is one."""

    def __init__(self, feed: Feed[Any], reach_ms: int) -> None:
        self._feed = feed
        self._reach_ms = reach_ms
        """How far back the history is asked for."""
        self._since_ms: int | None = None
        self._until_ms: int | None = None
        self._missing: set[str] = set()
        self._count = 0

    def begin(self, symbols: Iterable[str]) -> None:
        """Something comes. If nothing did before, that was an outage, and these symbols are to be
        recovered.
        """
        if self._feed.tally.delivering:
            return
        if self._since_ms is None:
            self._since_ms, self._count = self._feed.ends_ms, 0
        self._missing, self._until_ms = set(symbols), None

    def add(self, count: int) -> None:
        """So many records came of a history."""
        self._count += count

    def done(self, symbol: str) -> None:
        """Of this symbol nothing is missing any more, or nothing will come."""
        if self._since_ms is None:
            return
        self._missing.discard(symbol)
        if self._until_ms is None and self._feed.tally.delivering:
            self._until_ms = self._feed.clock()
        if self._until_ms is not None and not self._missing:
            from_ms = max(self._since_ms, self._until_ms - self._reach_ms)
            self._feed.recovered(from_ms, self._until_ms, self._count)
            self._since_ms = None
