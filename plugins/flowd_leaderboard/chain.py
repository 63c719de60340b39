"""One account's fills of one coin, and the order in which they happened.

Fills of one millisecond come in any order, and their trade numbers are hashes. What orders them is
that each begins with the position that the one before left.
"""

from collections import Counter
from collections.abc import Iterable
from decimal import Decimal
from typing import NamedTuple

from flowd.market import EXACT

_FLAT = Decimal(0)


class Leg(NamedTuple):
    """One fill, as far as a trip is concerned: the position before it, and by how much it changed,
    both signed. `pnl` is without `fee`, which is in the collateral token, 0 where it was paid in
    another. `id` tells it from others of its millisecond.
    """

    time_ms: int
    id: str
    start: Decimal
    size: Decimal
    pnl: Decimal
    fee: Decimal
    notional: Decimal

    @property
    def end(self) -> Decimal:
        """The position after it."""
        return EXACT.add(self.start, self.size)


def chained(legs: list[Leg], position: Decimal | None) -> list[Leg]:
    """Legs of one millisecond in the order in which each begins where the one before ended, the
    first one at `position`, None where that is not known. Always the same, in whatever order they
    are given. Where no such order exists, since some are missing, there are several such chains one
    after the other.

    Positions are places and legs are ways between them: a chain is a walk that takes each way once.
    """
    if len(legs) == 1:
        return legs
    left = _Left(legs)
    found: list[Leg] = []
    while len(found) < len(legs):
        walk = left.walk(left.begin(position))
        found += walk
        position = walk[-1].end
    return found


class _Left:
    """The legs that are in no chain yet, by where they begin."""

    def __init__(self, legs: Iterable[Leg]) -> None:
        self._from: dict[Decimal, list[Leg]] = {}
        self._surplus: Counter[Decimal] = Counter()
        # Taken from the end: the least id first.
        for leg in sorted(legs, key=_by_id, reverse=True):
            self._from.setdefault(leg.start, []).append(leg)
            self._surplus[leg.start] += 1
            self._surplus[leg.end] -= 1

    def begin(self, position: Decimal | None) -> Decimal:
        """Where the next chain begins: where more legs begin than end, or else anywhere on a
        circle. At `position`, if that is such a place, or without any: then all of it is known.
        """
        places = [place for place, legs in self._from.items() if legs]
        sources = [place for place in places if self._surplus[place] > 0]
        choice = sources or places
        if position is not None and position in choice:
            return position
        return _FLAT if _FLAT in choice else min(choice)

    def walk(self, place: Decimal) -> list[Leg]:
        """Take a chain from here, with all circles that lie on its way (Hierholzer)."""
        taken: list[Leg] = []
        done: list[Leg] = []
        while True:
            ways = self._from.get(place)
            if ways:
                taken.append(ways.pop())
                place = taken[-1].end
            elif taken:
                done.append(taken.pop())
                place = done[-1].start
            else:
                break
        done.reverse()
        for leg in done:
            self._surplus[leg.start] -= 1
            self._surplus[leg.end] += 1
        return done


def _by_id(leg: Leg) -> str:
    return leg.id
