"""What one connection asked for, coin by coin, and what came of it."""

from collections.abc import Iterable, Iterator
from typing import Any, Final

from attrs import define

from flowd.plugin import Feed

ECHO_S: Final = 10.0
"""So long upstream may take to confirm a subscription."""


@define(eq=False)
class _Coin:
    asked_at: float | None = None
    state: str = "waiting"
    told: bool = False
    """Whether its old trades have come."""


class Subscriptions:
    """The coins of one connection: waiting, confirmed, refused, or late, which is not confirmed in
    time and may yet be.
    """

    def __init__(self, feed: Feed[Any], coins: Iterable[str]) -> None:
        self._feed = feed
        self._coins = {coin: _Coin() for coin in coins}
        self._waiting = set(self._coins)
        self._count()

    def __contains__(self, coin: str) -> bool:
        """Whether it was asked for."""
        found = self._coins.get(coin)
        return found is not None and found.asked_at is not None

    def __len__(self) -> int:
        return len(self._coins)

    def __iter__(self) -> Iterator[str]:
        return iter(self._coins)

    def asked(self, coin: str, now: float) -> None:
        """A subscription is on its way. The next trades of this coin are old ones."""
        self._coins[coin] = _Coin(now)
        self._waiting.add(coin)

    def confirm(self, coin: str | None) -> bool:
        """Upstream follows this coin; False when nobody asked it to."""
        if coin is None or coin not in self:
            return False
        self._answered(coin, "confirmed")
        return True

    def refuse(self, coin: str | None, text: object) -> bool:
        """Upstream does not follow this coin; False when nobody asked it to."""
        if coin is None or coin not in self or self._coins[coin].state == "confirmed":
            return False
        self._answered(coin, "refused")
        reason = f"refused: {coin}"
        if not self._feed.tally.dropped[reason]:
            self._feed.log.error(
                "%s: Hyperliquid refuses the coin %r; the others go on. Coins are written as "
                '/info tells them for {"type": "meta"}',
                self._feed.name,
                coin,
            )
        self._feed.drop(reason, text)
        return True

    def first(self, coin: str) -> bool:
        """Whether these are the first trades of a coin since it was asked for: then they are old.
        They confirm it too.
        """
        found = self._coins[coin]
        if found.state != "confirmed":
            self.confirm(coin)
        first, found.told = not found.told, True
        return first

    def late(self, now: float) -> list[str]:
        """The coins that are not confirmed in time; each is told and counted once for each time it
        was asked.
        """
        late = [
            coin
            for coin, one in self._coins.items()
            if coin in self._waiting and one.asked_at is not None and now >= one.asked_at + ECHO_S
        ]
        for coin in late:
            self._answered(coin, "late")
            self._feed.log.error(
                "%s: the subscription to %r was not confirmed within %gs; it is asked for again",
                *(self._feed.name, coin, ECHO_S),
            )
            self._feed.drop(f"not confirmed: {coin}")
        return late

    def of(self, state: str) -> list[str]:
        """The coins in this state."""
        return [coin for coin, one in self._coins.items() if one.state == state]

    @property
    def settled(self) -> bool:
        """Whether upstream has answered for every coin, or been given the time to."""
        return not self._waiting

    def _answered(self, coin: str, state: str) -> None:
        self._coins[coin].state = state
        self._waiting.discard(coin)
        self._count()

    def _count(self) -> None:
        figures, states = self._feed.tally.figures, [one.state for one in self._coins.values()]
        figures["coins"] = len(states)
        figures["coins_confirmed"] = states.count("confirmed")
        figures["coins_refused"] = states.count("refused")
