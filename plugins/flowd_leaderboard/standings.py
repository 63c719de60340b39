"""All standings of one instant: measured, compared, and published where they changed.

Everything that they follow from is copied in one step. What follows from the copy is computed and
published in slices, in between of which others run and the originals change.
"""

from collections.abc import Callable, Generator, Iterator, Mapping
from decimal import Decimal
from heapq import heappush, heappushpop
from typing import Final, TypeVar

import trio
from attrs import evolve, field, frozen

from flowd.plugin import Feed
from flowd.traders import Account, Standing, Trader
from flowd_leaderboard import figures
from flowd_leaderboard.drawdown import Drawdown
from flowd_leaderboard.figures import Known, Portfolio
from flowd_leaderboard.records import Computation
from flowd_leaderboard.score import Contenders, Ranking, ranking
from flowd_leaderboard.trips import Trips
from flowd_leaderboard.weights import VolumeScale, Weights

T = TypeVar("T")

SLICE_S: Final = 0.003
STEP: Final = 50
"""So many accounts are measured without looking at the clock."""
SETTLED_MS: Final = 5_000
"""Fills that are older than this have come, all of their millisecond."""
VENUE: Final = "hyperliquid"
QUEUE_MAX: Final = 200


@frozen
class Evidence:
    """All that is known of anybody, at one instant."""

    time_ms: int
    traders: Mapping[str, Trader] = field(factory=dict)
    accounts: Mapping[str, Account] = field(factory=dict)
    trips: Mapping[str, Trips] = field(factory=dict)
    portfolios: Mapping[str, Portfolio] = field(factory=dict)
    drawdowns: Mapping[str, Drawdown] = field(factory=dict)

    def __iter__(self) -> Iterator[str]:
        """All addresses, each once."""
        before: list[Mapping[str, object]] = []
        for some in (self.traders, self.accounts, self.trips, self.portfolios):
            for address in some:
                if not any(address in others for others in before):
                    yield address
            before.append(some)

    def of(self, address: str) -> Known:
        """What is known of one account."""
        trips, sums = self.trips.get(address), None
        if trips is not None:
            trips.settle(self.time_ms - SETTLED_MS)
            sums = trips.sums
        return Known(
            address,
            self.traders.get(address),
            self.accounts.get(address),
            sums,
            self.portfolios.get(address),
            self.drawdowns.get(address),
        )


@frozen
class Standings:
    """All that is known, in the order in which it was measured, and how those came out who were
    compared.
    """

    evidence: Evidence
    known: list[Known]
    ranking: Ranking
    unlisted: int

    @property
    def computation(self) -> Computation:
        """In figures."""
        return Computation(self.evidence.time_ms, len(self.ranking), len(self.known), self.unlisted)

    def row(self, known: Known, time_ms: int) -> Standing:
        """What is published of one account."""
        came = self.ranking.get(known.address)
        traded, traded_by = figures.volume(known)
        lost, lost_by = figures.max_drawdown(known)
        since_ms, since_by = figures.first_evidence(known)
        trader, account, sums = known.trader, known.account, known.sums
        trips = known.trips
        seen = [0 if sums is None else sums.last_ms]
        seen += [] if trader is None else [trader.last_seen_ms]
        venue = trader.venue if trader is not None else account.venue if account else VENUE
        return Standing(
            address=known.address,
            venue=venue,
            rank=None if came is None else came.rank,
            score=None if came is None else came.score,
            shares=None if came is None else came.shares,
            win_rate=figures.win_rate(known),
            win_rate_source="fills" if trips else None,
            volume=traded,
            volume_source=traded_by,
            account_age_days=figures.age_days(since_ms, self.evidence.time_ms),
            account_age_source=since_by,
            risk_ratio=figures.risk_ratio(known),
            max_drawdown=lost,
            max_drawdown_source=lost_by,
            max_profit=sums.most_won if sums is not None and trips else None,
            max_loss=sums.most_lost if sums is not None and trips else None,
            trips=trips,
            partial_trips=0 if sums is None else sums.partial,
            equity=None if account is None else account.equity,
            unrealized_pnl=None if account is None else figures.unrealized_pnl(account),
            first_seen_ms=since_ms or self.evidence.time_ms,
            last_seen_ms=max(seen) or since_ms or self.evidence.time_ms,
            tracked_ms=None if account is None else account.time_ms,
            population=len(self.ranking),
            time_ms=time_ms,
        )


def standings(
    evidence: Evidence, min_trips: int, weights: Weights, scale: VolumeScale, listed_max: int
) -> Generator[None, None, Standings]:
    """Measure and compare all of them. Yields every so often."""
    known: list[Known] = []
    contenders = Contenders()
    for number, address in enumerate(evidence):
        one = evidence.of(address)
        known.append(one)
        if one.trips >= min_trips:
            contenders.add(figures.contender(one))
        if number % STEP == 0:
            yield
    found = yield from ranking(contenders, weights, scale)
    unlisted = max(len(known) - listed_max, 0)
    if unlisted:
        known = yield from _largest(known, found, listed_max)
    return Standings(evidence, known, found, unlisted)


def _largest(known: list[Known], found: Ranking, count: int) -> Generator[None, None, list[Known]]:
    """Those who were compared, and of the others those who were seen to trade most."""
    kept = [one for one in known if one.address in found]
    yield
    heap: list[tuple[Decimal, str]] = []
    for number, one in enumerate(known):
        if one.address not in found:
            _push(heap, (one.seen, one.address), max(count - len(kept), 0))
        if number % STEP == 0:
            yield
    others = {address for _, address in heap}
    return [*kept, *[one for one in known if one.address in others]][:count]


def to_ask(
    known: list[Known], due: Callable[[str, Decimal], bool]
) -> Generator[None, None, list[tuple[Decimal, str]]]:
    """Whom to ask about: of those who are due the ones seen to trade most, least first."""
    heap: list[tuple[Decimal, str]] = []
    for number, one in enumerate(known):
        if due(one.address, one.seen):
            _push(heap, (one.seen, one.address), QUEUE_MAX)
        if number % STEP == 0:
            yield
    return sorted(heap)


def publish(feed: Feed[Standing], found: Standings) -> Generator[None, None, None]:
    """Publish who stands otherwise than before; forget who is not listed any more."""
    time_ms = found.evidence.time_ms
    listed = {one.address for one in found.known}
    yield
    for number, record in enumerate(feed.records()):
        if record.value.address not in listed:
            feed.forget(record.value.address)
        if number % STEP == 0:
            yield
    for number, one in enumerate(found.known):
        before = feed.get(one.address)
        row = found.row(one, time_ms if before is None else before.time_ms)
        if row != before:
            feed.publish(evolve(row, time_ms=time_ms), key=one.address)
        if number % STEP == 0:
            yield


async def in_slices(steps: Generator[None, None, T]) -> T:
    """What a computation comes to, done in slices of a few milliseconds."""
    end = trio.current_time() + SLICE_S
    while True:
        try:
            next(steps)
        except StopIteration as finished:
            result: T = finished.value
            return result
        if trio.current_time() >= end:
            await trio.lowlevel.checkpoint()
            end = trio.current_time() + SLICE_S


def _push(heap: list[tuple[Decimal, str]], one: tuple[Decimal, str], count: int) -> None:
    if len(heap) < count:
        heappush(heap, one)
    elif heap and one > heap[0]:
        heappushpop(heap, one)
