"""What a client subscribes to, and which rows that means."""

import json
from typing import Any

from attrs import frozen

from flowd_simulator.chain.rows import Row

FEEDS = ("allFills", "liquidationFills")


@frozen
class Wish:
    """A subscription, as the client wrote it, and its filters."""

    text: str
    feed: str
    dex: str | None = None
    coins: frozenset[str] = frozenset()
    outcomes: str | None = None

    def shows(self, row: Row, *, both_sides: bool) -> bool:
        """Whether this row belongs to it."""
        if self.feed == "liquidationFills":
            return row.liquidation and (both_sides or row.forced)
        if self.dex is not None and row.dex != self.dex:
            return False
        if self.outcomes is not None and row.outcome != (self.outcomes == "only"):
            return False
        return not self.coins or row.coin in self.coins


def wish(subscription: dict[str, Any]) -> Wish:
    """The wish in a subscription object; ValueError with the service's words for anything else."""
    feed = subscription.get("type")
    if feed not in FEEDS:
        raise ValueError("unknown subscription type")
    text = json.dumps(subscription, sort_keys=True)
    if feed == "liquidationFills":
        return Wish(text, feed)
    coins = subscription.get("coins") or [subscription.get("coin")]
    return Wish(
        text,
        feed,
        subscription.get("dex"),
        frozenset(coin for coin in coins if isinstance(coin, str)),
        subscription.get("outcomeMarkets"),
    )
