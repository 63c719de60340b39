"""How well a map knew where liquidations would happen. Pure, and numpy's work.

Source: domain/heatmap.md, section 9. What lies at an event's price is ranked among bins at about
the same distance from the mark, in a map from before the event. Nearby bins always hold other
amounts than distant ones, so the same is done at the same distance in maps of the same hour on
other days. The lift is how much higher the event's rank is than those: zero where the map knows
nothing, at most a half. Its interval is a bootstrap over hours, or over spans
as long as the horizon, since liquidations come in bursts.
"""

from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from math import ceil, floor
from typing import Literal, Protocol

import numpy as np
from attrs import Factory, define, frozen
from numpy.typing import NDArray

from flowd.market import Liquidation
from flowd_heatmap.columns import DENSITIES, Codes

Side = Literal["LONG", "SHORT"]
Floats = NDArray[np.float64]

DAY_MS, HOUR_MS = 86_400_000, 3_600_000
SHIFTS = (-3, -2, -1, 1, 2, 3)
"""Days by which placebo times are shifted."""
NEAR = 1
"""So many bins on either side of an event's count with its own."""
BAND, BAND_BINS = 1.5, 10
"""Bins at about the same distance: up to so many times nearer or further, and at least so many."""
RESAMPLES = 2000
CONFIDENCE = 0.95
SEED = 1


@frozen
class Moment:
    """A map at one moment: the codes of its bins from `first` on, each `width` wide, and the price
    then.
    """

    time_ms: int
    mark: float
    width: float
    first: int
    long: Codes
    short: Codes

    def codes(self, side: Side) -> Codes:
        """One side's."""
        return self.long if side == "LONG" else self.short


@frozen
class Event:
    """A liquidation: which side lost its position, when, where, and how much it was."""

    side: Side
    time_ms: int
    price: float
    notional: float


@define
class Scored:
    """The events of one symbol: block by block of time, how many they were and the sum of their
    lifts; and the dropped ones by why.
    """

    block_ms: int = HOUR_MS
    blocks: dict[int, tuple[int, float]] = Factory(dict)
    dropped: Counter[str] = Factory(Counter)

    @property
    def events(self) -> int:
        """How many were scored."""
        return sum(count for count, _ in self.blocks.values())

    def add(self, time_ms: int, lift: float) -> None:
        """One more."""
        block = time_ms - time_ms % self.block_ms
        count, total = self.blocks.get(block, (0, 0.0))
        self.blocks[block] = count + 1, total + lift


@frozen
class Lift:
    """How much more the map knew than chance, and between what that lies; None for no events."""

    events: int
    lift: float | None
    low: float | None
    high: float | None

    @property
    def holds(self) -> bool:
        """Whether it surely knew something."""
        return self.low is not None and self.low > 0


class Before(Protocol):
    """Where maps are looked up."""

    def before(self, time_ms: int, age_ms: int) -> Moment | None:
        """The newest of this time or before, None if none is younger than `age_ms`."""
        ...


class Moments:
    """The maps of one symbol, in their order."""

    def __init__(self, moments: Iterable[Moment]) -> None:
        self._moments = sorted(moments, key=lambda one: one.time_ms)
        self._times = [one.time_ms for one in self._moments]

    def __len__(self) -> int:
        return len(self._moments)

    def before(self, time_ms: int, age_ms: int) -> Moment | None:
        """The newest of this time or before, None if none is younger than `age_ms`."""
        index = bisect_right(self._times, time_ms) - 1
        if index < 0 or self._times[index] < time_ms - age_ms:
            return None
        return self._moments[index]


def event_of(liquidation: Liquidation) -> Event:
    """A liquidation as it is scored. A forced sale closed a long."""
    return Event(
        "LONG" if liquidation.side == "SELL" else "SHORT",
        liquidation.time_ms,
        float(liquidation.price),
        float(liquidation.notional),
    )


def rank(moment: Moment, side: Side, distance: float) -> float | None:
    """The density at a distance from the mark, as a quantile among bins at about that distance: a
    half where it is as good as any. The distance is a share of the price, and points to where the
    side is liquidated. None where that is on the other side of the mark.
    """
    sign = -1 if side == "LONG" else 1
    here = floor(moment.mark / moment.width)
    steps = sign * (floor(moment.mark * (1 + sign * distance) / moment.width) - here)
    if steps < 0:
        return None
    nearest = max(0, floor(min(steps / BAND, steps - BAND_BINS)))
    furthest = ceil(max(steps * BAND, steps + BAND_BINS))
    # One array of all that any window reaches, in steps away from the mark.
    reach = np.arange(nearest - NEAR, furthest + NEAR + 1)
    index = here + sign * reach - moment.first
    found = moment.codes(side)
    within = (index >= 0) & (index < len(found))
    densities = np.zeros(len(reach))
    densities[within] = DENSITIES[found[index[within]]]
    sums = np.convolve(densities, np.ones(2 * NEAR + 1), mode="valid")
    mine = sums[steps - nearest]
    return float(((sums < mine).sum() + (sums == mine).sum() / 2) / len(sums))


def lift_of(
    event: Event,
    moments: Before,
    *,
    horizon_ms: int,
    age_ms: int,
    span: float,
    shifts: Sequence[int] = SHIFTS,
) -> float | str:
    """How much higher an event's rank is than that of its placebos; or why it is dropped.

    The map is of `horizon_ms` before the event or up to `age_ms` earlier. Further from the mark
    than the share `span` of it, maps tell nothing.
    """
    at_ms = event.time_ms - horizon_ms
    moment = moments.before(at_ms, age_ms)
    if moment is None:
        return "no map from before it"
    distance = event.price / moment.mark - 1
    distance = -distance if event.side == "LONG" else distance
    if distance > span:
        return "further away than the map reaches"
    found = rank(moment, event.side, distance)
    if found is None:
        return "on the other side of the price"
    placebos = []
    for days in shifts:
        other = moments.before(at_ms + days * DAY_MS, age_ms)
        if other is not None:
            placebo = rank(other, event.side, distance)
            if placebo is not None:
                placebos.append(placebo)
    if not placebos:
        return "no map of another day"
    return found - sum(placebos) / len(placebos)


def score(
    events: Iterable[Event], moments: Moments, *, horizon_ms: int, age_ms: int, span: float
) -> Scored:
    """All events of one symbol at one horizon."""
    # Maps that lie within one horizon of each other are much the same.
    scored = Scored(max(HOUR_MS, horizon_ms))
    for event in events:
        lift = lift_of(event, moments, horizon_ms=horizon_ms, age_ms=age_ms, span=span)
        if isinstance(lift, str):
            scored.dropped[lift] += 1
        else:
            scored.add(event.time_ms, lift)
    return scored


def interval(blocks: Mapping[int, tuple[int, float]], seed: int = SEED) -> Lift:
    """The mean lift over all events, and what it would be for other draws of the same blocks."""
    counts = np.array([count for count, _ in blocks.values()], np.float64)
    sums = np.array([total for _, total in blocks.values()], np.float64)
    if not len(counts):
        return Lift(0, None, None, None)
    random = np.random.default_rng(seed)
    means = np.empty(RESAMPLES)
    # In parts, lest years of blocks need gigabytes.
    step = max(1, 2_000_000 // len(counts))
    for begin in range(0, RESAMPLES, step):
        drawn = random.integers(0, len(counts), (min(step, RESAMPLES - begin), len(counts)))
        means[begin : begin + step] = sums[drawn].sum(1) / counts[drawn].sum(1)
    tail = (1 - CONFIDENCE) / 2 * 100
    low, high = np.percentile(means, [tail, 100 - tail])
    events = int(counts.sum())
    # Of one block nothing can be said about others.
    if len(counts) < 2:
        low, high = -1.0, 1.0
    return Lift(events, float(sums.sum() / counts.sum()), float(low), float(high))


def spearman(one: Floats, other: Floats) -> float | None:
    """The correlation of ranks, of ties their middle; None where nothing varies."""
    if len(one) < 3:
        return None
    left, right = _ranks(one), _ranks(other)
    left, right = left - left.mean(), right - right.mean()
    scale = float(np.sqrt((left**2).sum() * (right**2).sum()))
    return float((left * right).sum() / scale) if scale else None


def _ranks(values: Floats) -> Floats:
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    middles: Floats = ends - (counts - 1) / 2.0
    return middles[inverse]
