"""Whether the old trades that are told after each subscription close the time without a
connection.
"""

from collections.abc import Iterable
from typing import Final

from flowd.market import Trade
from flowd_hyperliquid.newest import Newest

OLD: Final = 30
"""So many of a coin's newest trades are told after each subscription; fewer are all there are."""


class Gap:
    """What one connection makes of the time before it, `since_ms` by upstream's clock.

    It is closed when every coin's old trades reach back to what was told before. A coin of which
    nothing was ever told and nothing comes has not traded.
    """

    def __init__(self, since_ms: int, coins: Iterable[str], newest: Newest) -> None:
        self.since_ms = since_ms
        self.recovered = 0
        self._before_ms = {coin: newest[coin] for coin in coins}
        self._waiting = set(self._before_ms)
        self._open = False

    def told(self, coin: str, old: list[Trade], published: int) -> None:
        """A coin's old trades, `published` of them new."""
        if coin not in self._waiting:
            return
        self._waiting.discard(coin)
        before_ms = self._before_ms[coin]
        reach_ms = self.since_ms if before_ms is None else before_ms
        oldest_ms = min((trade.time_ms for trade in old), default=reach_ms)
        # Of one block's trades some may have been told and some not: only an older one is sure.
        if len(old) < OLD or oldest_ms < reach_ms:
            self.recovered += published
        else:
            self._open = True

    def refused(self, coins: Iterable[str]) -> None:
        """Of these coins nothing is followed."""
        self._waiting.difference_update(coins)

    @property
    def told_all(self) -> bool:
        """Whether nothing more is to be waited for."""
        return self._open or not self._waiting

    def closed(self) -> bool:
        """Whether nothing of that time is missing, now that no more old trades come."""
        silent = all(self._before_ms[coin] is None for coin in self._waiting)
        return silent and not self._open
