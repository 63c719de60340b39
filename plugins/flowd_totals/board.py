"""Volumes of any number of names in little memory: exact for a few hundred, close for the largest
of more.

Two sketches, one for what was bought and one for what was sold, of Apache DataSketches' frequent
items. Each has so many counters; when they are used up, all are lowered by the same amount, and
those that come to nothing make room. So a name's volume is never told too high.
"""

from collections.abc import Mapping
from decimal import Decimal
from functools import reduce
from typing import Any

from datasketches import (  # type: ignore[import-untyped]  # it brings no types
    frequent_items_error_type,
    frequent_strings_sketch,
)

from flowd.market import EXACT, trimmed
from flowd_totals.records import Rank, SavedBoard, Share

STEP_LG, MERGED_LG = 10, 12
"""Binary logarithms of the sketches' sizes; three quarters of that many names are told exactly."""
NAMES_EXACT = 3 * 2**STEP_LG // 4
"""So many names in a step are summed without any error."""
ERROR_SHARE = 3.5 / 1024
"""What the error of a volume is at most, as a share of all that was counted."""
DIGITS = 6
"""Sketches count whole numbers: here millionths of a quote unit. What is below is cut off."""

_ALL = frequent_items_error_type.NO_FALSE_NEGATIVES


class Board:
    """How much each name bought and sold; `volume` and `count` of all of them are exact."""

    def __init__(self, size_lg: int = STEP_LG) -> None:
        self.volume = Decimal(0)
        self.count = 0
        self._lost = 0
        """How often something was cut off, which is at most a millionth each time."""
        self._buy: Any = frequent_strings_sketch(size_lg)
        self._sell: Any = frequent_strings_sketch(size_lg)

    def add(self, name: str, buy: Decimal, sell: Decimal, count: int) -> None:
        """Count what a name bought and sold in so many rows."""
        self.volume = EXACT.add(self.volume, EXACT.add(buy, sell))
        self.count += count
        for amount, sketch in ((buy, self._buy), (sell, self._sell)):
            if amount:
                scaled = EXACT.scaleb(amount, DIGITS)
                weight = int(scaled)
                self._lost += scaled != weight
                sketch.update(name, weight)

    def merge(self, other: "Board") -> None:
        """Count all that another board has."""
        self.volume = EXACT.add(self.volume, other.volume)
        self.count += other.count
        self._lost += other._lost
        self._buy.merge(other._buy)
        self._sell.merge(other._sell)

    @property
    def error(self) -> Decimal:
        """How much any name's volume may be told too low."""
        return _amount(_offset(self._buy) + _offset(self._sell) + self._lost)

    def top(self, count: int) -> list[Rank]:
        """The names with the largest volume, the largest first."""
        threshold = int(self._buy.total_weight + self._sell.total_weight) // (2 * count)
        while True:
            # What is above the threshold on neither side cannot come to more than twice that.
            sizes = self._above(threshold)
            least = sorted(sizes.values())[-count:][:1]
            if not threshold or (len(sizes) >= count and least[0] > 2 * threshold):
                names = [name for name, size in sizes.items() if size >= least[0]]
                names.sort(key=lambda name: (-sizes[name], name))
                return [self._rank(name) for name in names[:count]]
            threshold //= 8

    def share(self, venue: str, name: str) -> Share:
        """What a name has here, where all is of this venue."""
        one = self._rank(name)
        return Share(venue, one.volume, one.buy, one.sell)

    def saved(self) -> SavedBoard:
        """This board as it can be kept in a stream."""
        volume, buy, sell = trimmed(self.volume), self._buy.serialize(), self._sell.serialize()
        return SavedBoard(volume, self.count, self._lost, buy, sell)

    @classmethod
    def load(cls, saved: SavedBoard) -> "Board":
        """The board that was kept; ValueError when it cannot be read."""
        board = cls()
        board.volume, board.count, board._lost = saved.volume, saved.count, saved.lost
        try:
            board._buy = frequent_strings_sketch.deserialize(saved.buy)
            board._sell = frequent_strings_sketch.deserialize(saved.sell)
        except (IndexError, RuntimeError) as error:
            raise ValueError(f"not a sketch: {error}") from None
        return board

    def _above(self, threshold: int) -> dict[str, int]:
        """The volumes of all names that bought, or sold, for more than this."""
        sizes: dict[str, int] = {}
        for sketch, other in ((self._buy, self._sell), (self._sell, self._buy)):
            for name, _, least, _ in sketch.get_frequent_items(_ALL, threshold):
                if name not in sizes:
                    sizes[name] = least + other.get_lower_bound(name)
        return sizes

    def _rank(self, name: str) -> Rank:
        buy, sell = self._buy.get_lower_bound(name), self._sell.get_lower_bound(name)
        return Rank(name, _amount(buy + sell), _amount(buy), _amount(sell))


def together(boards: Mapping[str, Board]) -> Board:
    """All venues in one board."""
    if len(boards) == 1:
        return next(iter(boards.values()))
    whole = Board(MERGED_LG)
    for venue in sorted(boards):
        whole.merge(boards[venue])
    return whole


def top_of(boards: Mapping[str, Board], whole: Board, count: int) -> list[Rank]:
    """The names with the largest volume `together`, each with what every venue adds.

    What a venue tells of a name is no less than its part in the whole, and never too high: so a
    row is the sum of its venues, and no further off than the whole's error.
    """
    rows = [_of_venues(row.name, boards) for row in whole.top(count)]
    return sorted(rows, key=lambda row: (-row.volume, row.name))


def _of_venues(name: str, boards: Mapping[str, Board]) -> Rank:
    shares = [boards[venue].share(venue, name) for venue in sorted(boards)]
    sums = ([getattr(one, part) for one in shares] for part in ("volume", "buy", "sell"))
    volume, buy, sell = (trimmed(reduce(EXACT.add, found)) for found in sums)
    return Rank(name, volume, buy, sell, [one for one in shares if one.volume])


def _offset(sketch: Any) -> int:
    """By how much all counters were lowered: the same for every name, also one without counter."""
    return int(sketch.get_upper_bound("") - sketch.get_lower_bound(""))


def _amount(millionths: int) -> Decimal:
    return trimmed(EXACT.scaleb(Decimal(millionths), -DIGITS))
