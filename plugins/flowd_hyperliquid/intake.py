"""What becomes of trades as they were sent: published once, or refused with a reason."""

from operator import attrgetter
from typing import Any, Final

import trio

from flowd.market import Trade
from flowd.plugin import Feed, Stream, Unusable
from flowd_hyperliquid import parse
from flowd_hyperliquid.newest import Newest
from flowd_hyperliquid.parse import Sent

SLICE: Final = 100
"""Trades dealt with between two checkpoints: a large message must not hold the loop."""


class Intake:
    """Publishes trades. What cannot be used is counted, and costs the others nothing."""

    def __init__(self, feed: Feed[Any], trades: Stream[Trade], newest: Newest) -> None:
        self._feed = feed
        self._trades = trades
        self._newest = newest

    async def live(self, sent: list[Sent]) -> int | None:
        """Trades as they happen; answers the time of the newest."""
        newest_ms: int | None = None
        for number, one in enumerate(sent, 1):
            trade = self._made(one, backfilled=False)
            if trade is not None:
                self._publish(trade)
                newest_ms = max(newest_ms or 0, trade.time_ms)
            if number % SLICE == 0:
                await trio.lowlevel.checkpoint()
        return newest_ms

    async def old(self, sent: list[Sent], upto_ms: int, since_ms: int) -> tuple[list[Trade], int]:
        """One coin's trades that are told as history, as far as they happened up to `upto_ms`.
        Those that were told in an earlier life are no news, however long ago that was. Answers the
        trades, and how many of them are news that happened after `since_ms`.
        """
        told: list[Trade] = []
        missed = 0
        for number, one in enumerate(sorted(sent, key=attrgetter("time")), 1):
            trade = self._made(one, backfilled=one.time <= upto_ms)
            if trade is not None:
                told.append(trade)
                if self._newest.knows(trade):
                    self._feed.tally.duplicates += 1
                elif self._publish(trade) and trade.time_ms > since_ms:
                    missed += 1
            if number % SLICE == 0:
                await trio.lowlevel.checkpoint()
        return told, missed

    def _made(self, sent: Sent, *, backfilled: bool) -> Trade | None:
        try:
            trade = parse.trade(sent, backfilled=backfilled)
        except Unusable as error:
            self._feed.drop(error.reason, sent)
            return None
        if sent.users is not None and None in (trade.buyer, trade.seller):
            self._feed.drop("bad address", sent)
        return trade

    def _publish(self, trade: Trade) -> bool:
        """Append it, unless it is known; whether it was news."""
        if self._trades.append(trade, id=trade.id) is None:
            self._feed.tally.duplicates += 1
            return False
        self._newest.note(trade)
        return True
