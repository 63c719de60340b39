"""The accounts that are in the table, and who makes room when it is full."""

from collections import OrderedDict
from collections.abc import Iterator
from typing import Final

from flowd.plugin import Feed, Input
from flowd.traders import Account, Trader
from flowd_hyperliquid.sight import Sight

PORTION: Final = 1000
SPARED_MAX: Final = 200
"""Of so many in a row who hold a position, the last makes room all the same: one look must not go
through them all.
"""


class Roll:
    """At most so many accounts. Whoever was seen longest ago makes room, unless it is known to hold
    a position.
    """

    def __init__(
        self, feed: Feed[Trader], max_traders: int, accounts: Input[Account] | None
    ) -> None:
        self._feed = feed
        self._accounts = accounts
        self._max = min(max_traders, feed.retain.count)
        self._order: OrderedDict[str, None] = OrderedDict()
        """Everybody, by when they were seen."""
        feed.tally.figures["max_traders"] = self._max

    def __len__(self) -> int:
        return len(self._order)

    def resume(self) -> Iterator[None]:
        """Learn who is there, in portions."""
        records = self._feed.records()
        for start in range(0, len(records), PORTION):
            self._order.update(
                (record.value.address, None) for record in records[start : start + PORTION]
            )
            yield
        while len(self) > self._max:
            self._make_room()
            yield
        self._feed.tally.figures["traders"] = len(self)

    def put(self, address: str, sight: Sight) -> None:
        """Write what was newly seen of an account; a new one may cost another its place."""
        self._feed.publish(sight.added(address, self._feed.get(address)), key=address)
        self._order[address] = None
        self._order.move_to_end(address)
        if len(self) > self._max:
            self._make_room()

    def _make_room(self) -> None:
        for _ in range(min(SPARED_MAX, len(self) - 1)):
            address = next(iter(self._order))
            if not self._holds(address):
                break
            self._order.move_to_end(address)
        address, _none = self._order.popitem(last=False)
        self._feed.forget(address)
        self._feed.drop("too many traders")

    def _holds(self, address: str) -> bool:
        """Whether it is known to have an open position."""
        account = None if self._accounts is None else self._accounts.get(address)
        return account is not None and bool(account.positions)
