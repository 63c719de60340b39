"""Buckets of long ago: the orders that lie in a history's database, added up there as the transform
adds up what comes.
"""

from collections.abc import Callable, Sequence

import trio
from attrs import frozen

from flowd.history import Away, Volume, database
from flowd.market import Bucket, totals_of
from flowd.plugin import BadRequest
from flowd_liquidations.parts import Parts, only, ordered, put
from flowd_liquidations.series import Get
from flowd_liquidations.timeframe import Timeframe, key

QUERIES_MAX = 4
"""Ranges that are added up at the same time; further ones wait."""


@frozen
class Range:
    """The buckets of a range by their keys, and when the history begins that they are from."""

    buckets: dict[str, Bucket]
    since_ms: int | None

    def before(self, get: Get) -> Get:
        """Of two buckets the one that counted more orders: each may have begun in the midst."""

        def fuller(name: str) -> Bucket | None:
            here, there = get(name), self.buckets.get(name)
            if here is None or there is None:
                return here or there
            return there if there.count > here.count else here

        return fuller


class Past:
    """The orders of these streams in the history at an address."""

    def __init__(self, address: str, streams: Sequence[str]) -> None:
        self._archive = database(address).archive(address)
        self._streams = streams
        self._limiter = trio.CapacityLimiter(QUERIES_MAX)

    async def range(self, symbol: str, frame: Timeframe, start_ms: int, end_ms: int) -> Range:
        """The buckets that begin from `start_ms`' up to, but without, `end_ms`. BadRequest while
        the history cannot be read.
        """
        edges = [frame.start(start_ms)]
        while edges[-1] < end_ms:
            edges.append(frame.following(edges[-1]))

        def look() -> Volume:
            with self._archive.reading() as reading:
                return reading.volume(self._streams, symbol, edges)

        try:
            # A client who leaves does not wait for the end of what is added up for it.
            found = await trio.to_thread.run_sync(
                look, limiter=self._limiter, abandon_on_cancel=True
            )
        except Away as error:
            raise BadRequest(
                f"the history cannot be read at the moment: {error}",
                parameter="start",
                value=start_ms,
                allowed="the same again later, or a later start; flowd's log may say more",
                code="UNAVAILABLE",
                status=503,
            ) from None
        return Range(buckets_of(found, symbol, frame), found.since_ms)


def buckets_of(found: Volume, symbol: str, frame: Timeframe) -> dict[str, Bucket]:
    """What was added up, as buckets by their keys."""
    spans: dict[int, Parts] = {}
    for start_ms, part in found.parts:
        put(spans.setdefault(start_ms, {}), part)
    torn = _torn(found, frame)
    buckets: dict[str, Bucket] = {}
    for start_ms, parts in spans.items():
        venues = ordered(parts)
        buy, sell, count = totals_of(venues)
        buckets[key(symbol, frame.name, start_ms)] = Bucket(
            symbol,
            frame.name,
            start_ms,
            buy,
            sell,
            count,
            incomplete=torn(start_ms),
            venue=only(venues),
            venues=venues,
        )
    return buckets


def _torn(found: Volume, frame: Timeframe) -> Callable[[int], bool]:
    def torn(start_ms: int) -> bool:
        end_ms = frame.following(start_ms)
        return any(start_ms <= to_ms and from_ms < end_ms for from_ms, to_ms in found.holes)

    return torn
