"""What becomes of rows: published, counted in the total, left out, or refused with a reason."""

from collections.abc import Callable, Iterator, Sequence
from decimal import Decimal
from itertools import islice
from typing import Final

import trio
from attrs import evolve

from flowd.market import EXACT, Fill, Total, trimmed
from flowd.plugin import Feed, Unusable
from flowd_hydromancer import parse
from flowd_hydromancer.balance import Balance
from flowd_hydromancer.frames import Bad, Item
from flowd_hydromancer.infer import Waiting
from flowd_hydromancer.place import Place
from flowd_hydromancer.veil import Veil

TOTAL: Final = "total"
SLICE: Final = 100
"""Rows dealt with between two checkpoints: a large block must not hold the loop."""
INFER_EVERY_S: Final = 0.5

_ZERO = Decimal(0)

Where = Callable[[Fill], bool]


class Intake:
    """Publishes rows, each once. Rows and the total that counts them are appended in one step, so
    that a snapshot has both or neither.
    """

    def __init__(
        self,
        feed: Feed[Fill],
        place: Place,
        veil: Veil,
        *,
        liquidations: bool,
        where: Where | None = None,
        counterparties: bool = False,
        infer: bool = False,
    ) -> None:
        self._feed = feed
        self._veil = veil
        self._liquidations = liquidations
        self._where = where
        self._counterparties = counterparties
        self._balance = Balance(feed, place)
        self._waiting = Waiting() if infer else None
        self._totals = feed.table("totals", Total)
        total = self._totals.get(TOTAL) or Total(_ZERO, 0, feed.clock())
        # One that an older flowd saved does not say whose it is; but nobody else writes this table.
        self._totals.append(evolve(total, venue=parse.VENUE), key=TOTAL)

    async def take(self, items: Sequence[Item], bad: Sequence[Bad] = ()) -> None:
        """Publish these rows, in their order."""
        for one in bad:
            self._feed.drop(one.reason, self._veil.sample(one.item))
        if len(items) <= SLICE:
            self.put(items)
            return
        for start in range(0, len(items), SLICE):
            self.put(items[start : start + SLICE])
            await trio.lowlevel.checkpoint()

    def put(self, items: Sequence[Item]) -> None:
        """Publish these rows and count them, without letting others run."""
        self._publish(self._liquidated(items) if self._liquidations else self._all(items))

    async def infer(self) -> None:
        """Let counterparties stand in for liquidated rows that do not come, for ever."""
        assert self._waiting is not None
        while True:
            await trio.sleep(INFER_EVERY_S)
            due = self._waiting.due(trio.current_time())
            while part := [parse.inferred(one) for one in islice(due, SLICE)]:
                self._publish(part)
                await trio.lowlevel.checkpoint()

    def _publish(self, fills: Iterator[Fill] | list[Fill]) -> None:
        publish, add, liquidations = self._feed.publish, EXACT.add, self._liquidations
        volume, count = _ZERO, 0
        for fill in fills:
            counts = not liquidations or fill.role == "liquidated"
            if publish(fill, id=fill.id) is not None and counts:
                volume = add(volume, fill.notional)
                count += 1
        if count:
            before = self._totals.get(TOTAL)
            assert before is not None
            volume = trimmed(add(before.volume, volume))
            total = evolve(before, volume=volume, count=before.count + count)
            self._totals.append(total, key=TOTAL)

    def _all(self, items: Sequence[Item]) -> Iterator[Fill]:
        make = parse.fill
        for item in items:
            try:
                fill = make(*item)
            except Unusable as error:
                self._feed.drop(error.reason, self._veil.sample(item))
            else:
                if fill.role is not None:
                    self._balance.note(fill)
                yield fill

    def _liquidated(self, items: Sequence[Item]) -> Iterator[Fill]:
        """The rows of liquidations that were asked for."""
        for fill in self._all(items):
            if self._where is not None and not self._where(fill):
                continue
            if fill.role is None:
                self._feed.drop(parse.no_liquidation(fill.dir), self._veil.sample(fill))
                continue
            if self._waiting is not None:
                self._waiting.note(fill, trio.current_time())
            if fill.role == "liquidated" or self._counterparties:
                yield fill
