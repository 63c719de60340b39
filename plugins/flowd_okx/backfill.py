"""What OKX's REST history brings of a gap: asked for when the gap is over, and again after ten
minutes and after two hours, since its newest orders may come late.

The history tells more orders of a second than the channel does, so of a gap only what lies within
it is taken. OKX documents this call no more: where it ends, backfilling ends, and nothing else.
"""

from typing import Final

import trio
from attrs import evolve, frozen

from flowd.market import Liquidation
from flowd.plugin import Feed, UpstreamError
from flowd_okx.intake import Intake
from flowd_okx.listed import Listing
from flowd_okx.parse import Order, orders
from flowd_okx.rest import ROWS, Refused, Rejected, Rest

AFTER_MS: Final = (0, 600_000, 7_200_000)
"""When after a gap's end the history is asked for."""
REACH_MS: Final = 23 * 3_600_000
"""How far back it reaches, with an hour to spare."""
EDGE_MS: Final = 2000
"""OKX's clock is not this machine's: so much further than the gap is taken."""
PAGES_MAX: Final = 12
APART_S: Final = 0.2
"""Between two requests."""
GAPS_MAX: Final = 100
TABLE: Final = "missed"


@frozen
class Missed:
    """A gap, by this machine's clock: asked for `tries` times, which brought `count` orders. `told`
    says that it was told as recovered.
    """

    from_ms: int
    to_ms: int
    tries: int = 0
    count: int = 0
    told: bool = False

    @property
    def key(self) -> str:
        """Its key in the table of gaps."""
        return str(self.from_ms)

    @property
    def due_ms(self) -> int:
        """When the history is to be asked for next."""
        return self.to_ms + AFTER_MS[self.tries]

    def holds(self, order: Order) -> bool:
        """Whether the order happened in it."""
        return self.from_ms - EDGE_MS <= order.time_ms <= self.to_ms + EDGE_MS


class Backfill:
    """Gaps that are still to be filled; they are remembered from run to run."""

    def __init__(
        self, rest: Rest, feed: Feed[Liquidation], listing: Listing, intake: Intake
    ) -> None:
        self._rest = rest
        self._feed = feed
        self._listing = listing
        self._intake = intake
        self._table = feed.table(TABLE, Missed)
        self._news = trio.Event()
        self._ended = False

    def note(self, from_ms: int, to_ms: int) -> None:
        """Nothing was delivered between these."""
        gap = Missed(max(from_ms, to_ms - REACH_MS), to_ms)
        if self._ended or len(self._gaps) >= GAPS_MAX:
            self._feed.drop("not backfilled", f"{from_ms} to {to_ms}")
            return
        self._table.append(gap, key=gap.key)
        self._news.set()

    @property
    def _gaps(self) -> list[Missed]:
        return [record.value for record in self._table.after(0)]

    async def run(self) -> None:
        """Fill gaps when they are due, until OKX has no history any more."""
        while not self._ended:
            self._news = trio.Event()
            now_ms = self._feed.clock()
            due = [gap for gap in self._gaps if gap.due_ms <= now_ms]
            if due:
                await self._fill(due)
                continue
            next_ms = min((gap.due_ms for gap in self._gaps), default=None)
            wait_s = float("inf") if next_ms is None else (next_ms - now_ms) / 1000
            with trio.move_on_after(wait_s):
                await self._news.wait()

    async def _fill(self, gaps: list[Missed]) -> None:
        """Ask once for what these gaps lack, family by family."""
        counts = [0] * len(gaps)
        from_ms = reached_ms = min(gap.from_ms for gap in gaps)
        whole, newest_ms = True, 0
        try:
            for family in self._listing.families(self._intake.wanted):
                try:
                    found, since_ms = await self._family(family, from_ms)
                except (Rejected, Refused):
                    raise
                except UpstreamError as error:
                    self._feed.drop("backfill failed", f"{family}: {error}")
                    whole = False
                    continue
                reached_ms = max(reached_ms, since_ms)
                newest_ms = max([newest_ms, *(order.time_ms for order in found)])
                for order in sorted(found, key=lambda one: one.time_ms):
                    for number, gap in enumerate(gaps):
                        if gap.holds(order):
                            counts[number] += self._intake.put(order)
                            break
        except (Rejected, Refused) as error:
            self._end(error)
            return
        for gap, count in zip(gaps, counts, strict=True):
            self._asked(evolve(gap, count=gap.count + count), reached_ms, newest_ms, whole=whole)

    async def _family(self, family: str, from_ms: int) -> tuple[list[Order], int]:
        """The orders of a family since a time, and from when on these are all: that time, or a
        later one where the history does not reach as far.
        """
        found: list[Order] = []
        oldest_ms: int | None = None
        for _ in range(PAGES_MAX):
            await trio.sleep(APART_S)
            items = await self._rest.liquidations(family, oldest_ms)
            page = list(orders(items, self._feed.clock()))
            good = [one for one in page if isinstance(one, Order)]
            for bad in page:
                if not isinstance(bad, Order):
                    self._feed.drop(f"history: {bad.reason}", family)
            found += [one for one in good if self._listing.get(one.contract) is not None]
            if not good:
                break
            oldest_ms = min(one.time_ms for one in good)
            if oldest_ms < from_ms or len(page) < ROWS:
                return found, from_ms
        # It ended at a full page, or before the first row: then there was nothing.
        return found, from_ms if oldest_ms is None else max(from_ms, oldest_ms)

    def _asked(self, gap: Missed, reached_ms: int, newest_ms: int, *, whole: bool) -> None:
        """The history was asked for this gap once more. It tells of all that was in it once
        something newer is there, or when even the last attempt brings nothing newer.
        """
        gap = evolve(gap, tries=gap.tries + 1)
        last = gap.tries == len(AFTER_MS)
        if whole and not gap.told and (last or newest_ms > gap.to_ms):
            self._feed.recovered(max(gap.from_ms, min(reached_ms, gap.to_ms)), gap.to_ms, gap.count)
            gap = evolve(gap, told=True)
        if last:
            self._table.forget(gap.key)
        else:
            self._table.append(gap, key=gap.key)

    def _end(self, error: UpstreamError) -> None:
        """There is no history: what is missed from here on is lost."""
        self._ended = True
        self._feed.drop("no history", str(error))
        for gap in self._gaps:
            self._table.forget(gap.key)
