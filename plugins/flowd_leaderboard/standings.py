"""All standings of one instant: measured, compared, and published where they changed.

Everything that they follow from is copied in one step. What follows from the copy is computed and
published in slices, in between of which others run and the originals change.
"""

import gc
from collections.abc import Callable, Generator, Iterator, Mapping
from decimal import Decimal
from heapq import heappush, heappushpop
from itertools import chain, islice
from typing import Final, TypeVar

import trio
from attrs import evolve, field, frozen

from flowd.plugin import Feed
from flowd.traders import Account, Standing, Trader
from flowd_leaderboard import figures
from flowd_leaderboard.drawdown import Drawdown
from flowd_leaderboard.figures import Known, Portfolio
from flowd_leaderboard.records import Computation
from flowd_leaderboard.score import Ranking, ranking
from flowd_leaderboard.trips import Trips
from flowd_leaderboard.weights import VolumeScale, Weights

T = TypeVar("T")

SLICE_S: Final = 0.002
STEP: Final = 25
"""So many accounts are measured without looking at the clock."""
FRESH_MAX: Final = 500
"""After so many new objects garbage is collected. As old ones go while fills are settled, the
interpreter would not think of it before there are so many that it holds the loop.
"""
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
        """All addresses, some of them more than once."""
        return chain(self.traders, self.accounts, self.trips, self.portfolios)

    def of(self, address: str, before: Known | None = None) -> Known:
        """What is known of one account: `before`, if that is all that is known now."""
        trips, sums = self.trips.get(address), None
        if trips is not None:
            if trips.settle(self.time_ms - SETTLED_MS):
                before = None
            sums = trips.sums
        trader, account = self.traders.get(address), self.accounts.get(address)
        portfolio, drawdown = self.portfolios.get(address), self.drawdowns.get(address)
        # What changes is another object: none of these is ever changed where it is, but for `sums`
        # by what was settled just now.
        if (
            before is not None
            and before.trader is trader
            and before.account is account
            and before.sums is sums
            and before.portfolio is portfolio
            and before.drawdown is drawdown
        ):
            return before
        return Known(address, trader, account, sums, portfolio, drawdown)


class Measured:
    """One account: what is known of it, and what of that is compared, None for who is not.

    It is kept from one computation to the next as long as nothing else is known. `told` says that
    the row which was published last follows from it.
    """

    __slots__ = ("known", "numbers", "told")

    def __init__(self, known: Known, min_trips: int) -> None:
        self.known = known
        compared = known.trips >= min_trips
        self.numbers = figures.contender(known).numbers if compared else None
        self.told = False


@frozen
class Standings:
    """All who are listed, in the order in which they were measured, and how those came out who were
    compared.
    """

    evidence: Evidence
    listed: Mapping[str, Measured]
    ranking: Ranking
    unlisted: int

    @property
    def computation(self) -> Computation:
        """In figures."""
        population, listed = len(self.ranking), len(self.listed)
        return Computation(self.evidence.time_ms, population, listed, self.unlisted)

    def stands(self, one: Measured, row: Standing) -> bool:
        """Whether this row, which was published last, is still what would be published."""
        since_ms, age_days = row.first_seen_ms, row.account_age_days
        return (
            one.told
            and age_days is not None
            and figures.age_days(since_ms, self.evidence.time_ms) == age_days
            and self._comes_out(row)
        )

    def _comes_out(self, row: Standing) -> bool:
        """Whether this account compares with all others as this row says."""
        came, was = self.ranking.get(row.address), row.shares
        if came is None or was is None:
            return came is None and was is None and row.population == len(self.ranking)
        parts = [was.win_rate, was.volume, was.max_drawdown, was.risk_ratio, was.max_profit]
        return came == (row.rank, row.score, parts) and row.population == len(self.ranking)

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
    evidence: Evidence,
    min_trips: int,
    weights: Weights,
    scale: VolumeScale,
    listed_max: int,
    before: Mapping[str, Measured],
) -> Generator[None, None, Standings]:
    """Measure and compare all of them. Yields every so often.

    Who was measured `before`, with the same `min_trips`, and of whom nothing else is known now is
    not measured again.
    """
    found: dict[str, Measured] = {}
    contenders: dict[str, bytes] = {}
    fresh = 0
    for number, address in enumerate(evidence):
        if number % STEP == 0:
            yield
        if address in found:
            continue
        one = before.get(address)
        known = evidence.of(address, None if one is None else one.known)
        if one is None or one.known is not known:
            one = Measured(known, min_trips)
            fresh += 1
            if fresh % FRESH_MAX == 0:
                gc.collect(1)
        found[address] = one
        if one.numbers is not None:
            contenders[address] = one.numbers
    ranked = yield from ranking(contenders, weights, scale)
    unlisted = max(len(found) - listed_max, 0)
    if unlisted:
        found = yield from _largest(found, ranked, listed_max)
    return Standings(evidence, found, ranked, unlisted)


def _largest(
    found: dict[str, Measured], ranked: Ranking, count: int
) -> Generator[None, None, dict[str, Measured]]:
    """Those who were compared, and of the others those who were seen to trade most."""
    kept = {address: one for address, one in found.items() if address in ranked}
    yield
    heap: list[tuple[Decimal, str]] = []
    for number, (address, one) in enumerate(found.items()):
        if address not in ranked:
            _push(heap, (one.known.seen, address), max(count - len(kept), 0))
        if number % STEP == 0:
            yield
    others = {address for _, address in heap}
    yield
    kept |= {address: one for address, one in found.items() if address in others}
    return dict(islice(kept.items(), count))


def to_ask(
    listed: Mapping[str, Measured], due: Callable[[str, Decimal], bool]
) -> Generator[None, None, list[tuple[Decimal, str]]]:
    """Whom to ask about: of those who are due the ones seen to trade most, least first."""
    heap: list[tuple[Decimal, str]] = []
    for number, (address, one) in enumerate(listed.items()):
        seen = one.known.seen
        if due(address, seen):
            _push(heap, (seen, address), QUEUE_MAX)
        if number % STEP == 0:
            yield
    return sorted(heap)


def publish(feed: Feed[Standing], found: Standings) -> Generator[None, None, None]:
    """Publish who stands otherwise than before; forget who is not listed any more."""
    time_ms = found.evidence.time_ms
    for number, record in enumerate(feed.records()):
        if record.value.address not in found.listed:
            feed.forget(record.value.address)
        if number % STEP == 0:
            yield
    for number, (address, one) in enumerate(found.listed.items()):
        before = feed.get(address)
        if before is None:
            feed.publish(found.row(one.known, time_ms), key=address)
        elif not found.stands(one, before):
            row = found.row(one.known, before.time_ms)
            if row != before:
                feed.publish(evolve(row, time_ms=time_ms), key=address)
        one.told = True
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
