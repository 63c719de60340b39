"""What was liquidated in the last hours, by symbol, side and venue, beside what is usual: sums of
buckets.

A window ends now and begins at a boundary of the narrowest buckets, so it is up to one of them
shorter than its name says, and its beginning is told. Buckets of all widths make it up, the widest
that fit, so that a day of minutes is two dozen of them.
"""

from collections.abc import Callable, Iterable, Sequence
from decimal import Decimal
from typing import Any

import trio
from attrs import define, field, frozen

from flowd.market import EXACT, Bucket, VenueSum, trimmed
from flowd.plugin import Input
from flowd_liquidations.timeframe import DAY_MS, Timeframe, key, parse

WINDOWS = ("1h", "4h", "12h", "24h")
USUAL_MS = 7 * DAY_MS
"""What is usual is the mean of so long a time before the window."""
USUAL_EVERY_MS = 60_000
"""It is computed anew once in so long …"""
EVERY_MS = 1000
"""… and all else at most once in so long, however many ask."""
FINE = 4
"""A window is at least so many of the narrowest buckets wide, else there is none of it."""
PORTION, SYMBOLS_PORTION = 500, 8
"""Records, and symbols, that are looked at before others are let run."""


@frozen
class Span:
    """From when until when, both at boundaries of buckets, and the buckets that make it up."""

    start_ms: int
    end_ms: int
    parts: Sequence[tuple[str, int]]


@define(eq=False)
class Sum:
    """What was liquidated, in quote units."""

    buy: Decimal = Decimal(0)
    sell: Decimal = Decimal(0)
    count: int = 0
    incomplete: bool = False
    lower_bound: bool = False
    approximate: bool = False
    venues: dict[str, "Sum"] = field(factory=dict)

    @property
    def total(self) -> Decimal:
        """Both sides together."""
        return EXACT.add(self.buy, self.sell)

    def add(self, other: "Sum") -> None:
        """Add all that another sum has."""
        self.buy, self.sell = EXACT.add(self.buy, other.buy), EXACT.add(self.sell, other.sell)
        self.count += other.count
        self.incomplete |= other.incomplete
        self.lower_bound |= other.lower_bound
        self.approximate |= other.approximate
        for venue, one in other.venues.items():
            self.venues.setdefault(venue, Sum()).add(one)

    def plain(self) -> dict[str, Any]:
        """As it is answered, venues in the order of their names."""
        told: dict[str, Any] = {
            "buy": f"{trimmed(self.buy):f}",
            "sell": f"{trimmed(self.sell):f}",
            "count": self.count,
            "lower_bound": self.lower_bound,
            "approximate": self.approximate,
        }
        if self.incomplete:
            told["incomplete"] = True
        if self.venues:
            told["venues"] = {name: one.plain() for name, one in sorted(self.venues.items())}
        return told


def sum_of(bucket: Bucket) -> Sum:
    """One bucket as a sum. What nobody knows the venue of is in no venue's."""
    return Sum(
        bucket.buy,
        bucket.sell,
        bucket.count,
        bucket.incomplete,
        bucket.lower_bound,
        bucket.approximate,
        {part.venue: _of_venue(part) for part in bucket.parts if part.venue},
    )


def _of_venue(part: VenueSum) -> Sum:
    return Sum(
        part.buy,
        part.sell,
        part.count,
        lower_bound=part.coverage == "sampled",
        approximate=part.price_kind in ("bankruptcy", "limit"),
    )


def chain(names: Iterable[str]) -> list[Timeframe]:
    """Those of these timeframes, the narrowest first, of which each divides the next."""
    found: list[Timeframe] = []
    for frame in sorted(map(parse, names), key=lambda frame: frame.width_ms):
        if not 0 < frame.width_ms <= DAY_MS:
            continue
        if not found or frame.width_ms % found[-1].width_ms == 0:
            found.append(frame)
    return found


def span(frames: Sequence[Timeframe], from_ms: int, end_ms: int, now_ms: int) -> Span:
    """The buckets from the first boundary that is not before `from_ms` up to `end_ms`, the widest
    that fit. Narrow ones of long ago are kept no more, so that boundary may be one of wider ones.
    """
    kept = [frame for frame in frames if from_ms >= now_ms - frame.keep_ms]
    if not kept:
        return Span(end_ms, end_ms, ())
    first = kept[0]
    at_ms = start_ms = first.start(from_ms + first.width_ms - 1)
    parts = []
    while at_ms < end_ms:
        fitting = [f for f in frames if at_ms % f.width_ms == 0 and at_ms + f.width_ms <= end_ms]
        wide = [frame for frame in fitting if at_ms >= now_ms - frame.keep_ms]
        if not wide:
            break
        parts.append((wide[-1].name, at_ms))
        at_ms += wide[-1].width_ms
    return Span(start_ms, max(at_ms, start_ms), parts)


class Known:
    """Which symbols a table of buckets has, and since when: learnt once, then kept up to date."""

    def __init__(self, buckets: Input[Bucket]) -> None:
        self._buckets = buckets
        self._seq = 0
        self._newest: dict[str, int] = {}
        self._oldest: dict[tuple[str, str], int] = {}
        """By timeframe and venue; the venue `""` is for all together."""

    async def update(self, now_ms: int) -> None:
        """Look at what is new, in portions between which others run."""
        head = self._buckets.head.seq
        while self._seq < head:
            batch = self._buckets.read(self._seq, first=True, limit=PORTION)
            self._seq = batch.position.seq
            for record in batch.records:
                self._note(record.value)
            await trio.lowlevel.checkpoint()
        gone_ms = now_ms - USUAL_MS - 2 * DAY_MS
        for symbol in [name for name, time_ms in self._newest.items() if time_ms < gone_ms]:
            del self._newest[symbol]

    @property
    def symbols(self) -> list[str]:
        """Those of the last nine days."""
        return list(self._newest)

    def since_ms(self, frames: Sequence[Timeframe], venue: str = "") -> int | None:
        """Since when something is known, at the latest: of the narrowest buckets the first counts,
        of wider ones only what comes after the first, since that may be known in part.
        """
        found = []
        for number, frame in enumerate(frames):
            oldest_ms = self._oldest.get((frame.name, venue))
            if oldest_ms is not None:
                found.append(oldest_ms + (frame.width_ms if number else 0))
        return min(found, default=None)

    @property
    def venues(self) -> list[str]:
        """All venues that there ever were."""
        return sorted({venue for _, venue in self._oldest if venue})

    def _note(self, bucket: Bucket) -> None:
        time_ms, symbol = bucket.time_ms, bucket.symbol
        self._newest[symbol] = max(time_ms, self._newest.get(symbol, 0))
        for venue in ("", *sum_of(bucket).venues):
            place = bucket.timeframe, venue
            self._oldest[place] = min(time_ms, self._oldest.get(place, time_ms))


class Windows:
    """The sums of all windows, computed when somebody asks."""

    def __init__(
        self,
        buckets: Input[Bucket],
        clock: Callable[[], int],
        counted_ms: Callable[[Timeframe], int | None] = lambda frame: None,
        filling: Callable[[], bool] = lambda: False,
    ) -> None:
        """`counted_ms` says since when buckets of a timeframe are counted, where that is known, and
        `filling` whether the past of some symbols is still to come.
        """
        self._buckets = buckets
        self._clock = clock
        self._counted_ms = counted_ms
        self._filling = filling
        self._known = Known(buckets)
        self._usual: dict[tuple[str, str], Decimal] = {}
        self._usual_over: dict[str, int] = {}
        self._usual_ms = -USUAL_EVERY_MS
        self._last: tuple[int, list[str], int, dict[str, Any]] | None = None
        self._lock = trio.Lock()

    async def answer(self, names: Iterable[str], limit: int) -> dict[str, Any]:
        """What is to be answered where there are buckets of these timeframes: at most so many
        symbols, those with most in the longest window first.
        """
        wanted = list(names)
        async with self._lock:
            if self._last is not None:
                then_ms, *same, found = self._last
                if same == [wanted, limit] and 0 <= self._clock() - then_ms < EVERY_MS:
                    return found
            found = await self._answer(chain(wanted), limit)
            self._last = found["time_ms"], wanted, limit, found
            return found

    async def _answer(self, frames: list[Timeframe], limit: int) -> dict[str, Any]:
        now_ms = self._clock()
        await self._known.update(now_ms)
        spans = _spans(frames, now_ms)
        counted = [self._known.since_ms(frames), *map(self._counted_ms, frames[:1])]
        since_ms = min((one for one in counted if one is not None), default=None)
        filling = self._filling()
        if filling:
            # A past that is there in part is no measure.
            self._forget()
        elif now_ms - self._usual_ms >= USUAL_EVERY_MS:
            await self._learn(frames, spans, since_ms, now_ms)
        totals = {name: Sum() for name in spans}
        rows: list[tuple[str, dict[str, Sum]]] = []
        for number, symbol in enumerate(self._known.symbols):
            await _let_others_run(number)
            found = {name: self._add_up(symbol, span) for name, span in spans.items()}
            for name, one in found.items():
                totals[name].add(one)
            if any(one.count for one in found.values()):
                rows.append((symbol, found))
        longest = next(reversed(spans), "")
        rows.sort(key=lambda row: (-row[1][longest].total, row[0]))
        return {
            "time_ms": now_ms,
            "since_ms": since_ms,
            "filling": filling,
            "venues": [
                {"venue": venue, "since_ms": self._known.since_ms(frames, venue)}
                for venue in self._known.venues
            ],
            "windows": [
                {
                    "window": name,
                    "start_ms": span.start_ms,
                    "usual_over_ms": self._usual_over.get(name, 0),
                    **self._told("", name, totals[name]),
                }
                for name, span in spans.items()
            ],
            "symbols": [
                {
                    "symbol": symbol,
                    "windows": {name: self._told(symbol, name, one) for name, one in found.items()},
                }
                for symbol, found in rows[:limit]
            ],
        }

    def _told(self, symbol: str, window: str, one: Sum) -> dict[str, Any]:
        usual = self._usual.get((symbol, window))
        return {**one.plain(), "usual": None if usual is None else f"{usual:.2f}"}

    def _forget(self) -> None:
        self._usual_ms = -USUAL_EVERY_MS
        self._usual.clear()
        self._usual_over.clear()

    async def _learn(
        self, frames: list[Timeframe], spans: dict[str, Span], since_ms: int | None, now_ms: int
    ) -> None:
        """Compute what is usual. It is unknown until there is as much before a window as in it."""
        self._forget()
        self._usual_ms = now_ms
        before: dict[str, Span] = {}
        for name, one in spans.items():
            from_ms = max(one.start_ms - USUAL_MS, now_ms if since_ms is None else since_ms)
            past = span(frames, min(from_ms, one.start_ms), one.start_ms, now_ms)
            if past.end_ms - past.start_ms >= parse(name).width_ms:
                before[name] = past
                self._usual_over[name] = past.end_ms - past.start_ms
        all_of: dict[str, Decimal] = dict.fromkeys(before, Decimal(0))
        for number, symbol in enumerate(self._known.symbols):
            await _let_others_run(number)
            for name, past in before.items():
                mean = self._add_up(symbol, past).total * parse(name).width_ms
                mean /= past.end_ms - past.start_ms
                self._usual[symbol, name] = mean
                all_of[name] += mean
        self._usual |= {("", name): mean for name, mean in all_of.items()}

    def _add_up(self, symbol: str, span: Span) -> Sum:
        found = Sum()
        for frame, start_ms in span.parts:
            bucket = self._buckets.get(key(symbol, frame, start_ms))
            if bucket is not None:
                found.add(sum_of(bucket))
        return found


async def _let_others_run(number: int) -> None:
    if number % SYMBOLS_PORTION == 0:
        await trio.lowlevel.checkpoint()


def _spans(frames: list[Timeframe], now_ms: int) -> dict[str, Span]:
    found: dict[str, Span] = {}
    for name in WINDOWS:
        width_ms = parse(name).width_ms
        if not frames or frames[0].width_ms * FINE > width_ms:
            continue
        # The bucket of now is not over, and what it holds is all that there is.
        end_ms = frames[0].start(now_ms) + frames[0].width_ms
        found[name] = span(frames, now_ms - width_ms, end_ms, now_ms)
    return found
