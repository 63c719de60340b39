"""From orders to the stream: what is wanted of them, and what has to wait until its contract is
known.
"""

from collections import deque
from collections.abc import Callable, Iterable
from typing import Final

import trio

from flowd.market import Liquidation
from flowd.plugin import Feed, Unusable, UpstreamError
from flowd_okx.listed import Listing
from flowd_okx.parse import Order, liquidation

HOLD_S: Final = 10.0
"""An order of an unknown contract waits for so long."""
HELD_MAX: Final = 1000
LATE_MS: Final = 5000
"""An order is usually told within so long. Some come minutes later, and nothing is wrong then."""


class Intake:
    """Publishes orders once their contract is known."""

    def __init__(
        self, feed: Feed[Liquidation], listing: Listing, wanted: Callable[[str], bool]
    ) -> None:
        self.wanted = wanted
        self._feed = feed
        self._listing = listing
        self._held: deque[tuple[float, Order]] = deque()
        """Orders of unknown contracts, and when they are given up; oldest first."""
        self._news = trio.Event()

    def take(self, orders: Iterable[Order | Unusable], sample: object) -> None:
        """Publish what can be, hold what cannot be yet, count the rest."""
        for order in orders:
            if isinstance(order, Unusable):
                self._feed.drop(order.reason, sample)
            elif self._listing.get(order.contract) is None:
                self._hold(order)
            else:
                self.put(order)

    def put(self, order: Order) -> bool:
        """Publish an order of a known contract; whether it was news."""
        swap = self._listing.get(order.contract)
        assert swap is not None
        try:
            found = liquidation(order, swap)
        except Unusable as error:
            self._feed.drop(error.reason, order.contract)
            return False
        if not self.wanted(found.symbol):
            return False
        if order.contradicts:
            figures = self._feed.tally.figures
            figures["contradictions"] = figures.get("contradictions", 0) + 1
        past = self._feed.clock() - found.time_ms > LATE_MS
        return self._feed.publish(found, id=found.id, past=past) is not None

    def _hold(self, order: Order) -> None:
        if len(self._held) >= HELD_MAX:
            self._feed.drop("unknown instrument", order.contract)
            return
        self._held.append((trio.current_time() + HOLD_S, order))
        self._news.set()

    async def settle(self) -> None:
        """See that held orders are published or given up, for ever. An unknown contract is worth a
        new list, once a minute at most.
        """
        while True:
            await self._news.wait()
            self._news = trio.Event()
            if self._listing.may_ask:
                # Those that come meanwhile have their own ten seconds.
                with trio.move_on_at(self._held[0][0]):
                    try:
                        await self._listing.refresh()
                    except UpstreamError as error:
                        self._feed.drop("no list of instruments", str(error))
            self._release()
            with trio.move_on_at(self._held[0][0] if self._held else trio.current_time()):
                await self._news.wait()
            self._give_up()
            if self._held:
                self._news.set()

    def _release(self) -> None:
        """Publish those whose contract is known by now."""
        held, self._held = self._held, deque()
        for until, order in held:
            if self._listing.get(order.contract) is None:
                self._held.append((until, order))
            else:
                self.put(order)

    def _give_up(self) -> None:
        while self._held and self._held[0][0] <= trio.current_time():
            _, order = self._held.popleft()
            self._feed.drop("unknown instrument", order.contract)
