"""How traders compare: each figure as a share of the range that all of them span, weighted.

Ten thousand are compared in a few steps, between which the caller may let others run. NumPy does
the arithmetic, since in Python alone it would take several times as long.
"""

from array import array
from collections.abc import Generator
from math import nan
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from flowd.traders import Shares
from flowd_leaderboard.weights import VolumeScale, Weights

SLICE: Final = 2_000
"""So many names are put in order between two yields."""


class Contender(NamedTuple):
    """One of the population: what is not known is None."""

    address: str
    win_rate: float | None
    volume: float | None
    max_drawdown: float | None
    risk_ratio: float | None
    max_profit: float | None


class Contenders:
    """The population: addresses, and a table of figures in which what is not known is NaN."""

    def __init__(self) -> None:
        self.addresses: list[str] = []
        self.places: dict[str, int] = {}
        self._figures = array("d")

    def __len__(self) -> int:
        return len(self.addresses)

    def add(self, one: Contender) -> None:
        """One more, who is not among them."""
        self.places[one.address] = len(self.addresses)
        self.addresses.append(one.address)
        self._figures.extend([nan if value is None else value for value in one[1:]])

    @property
    def columns(self) -> "_Column":
        """The table, a row for each figure."""
        flat = np.frombuffer(self._figures) if self._figures else np.empty(0)
        return flat.reshape(-1, _FIGURES).T


class Scored(NamedTuple):
    """How a contender came out."""

    rank: int
    score: float
    shares: Shares


_SCALED: Final = ("volume", "max_profit")
_INVERTED: Final = "max_drawdown"
_VOLUME: Final = Contender._fields.index("volume") - 1
_FIGURES: Final = len(Contender._fields) - 1
_Column = NDArray[np.float64]


class Ranking:
    """How all contenders came out."""

    def __init__(
        self, places: dict[str, int], ranks: NDArray[np.intp], parts: _Column, scores: _Column
    ) -> None:
        self._places = places
        self._ranks = ranks
        self._parts = parts
        self._scores = scores

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, address: str) -> Scored:
        place = self._places[address]
        shares = Shares(*self._parts[:, place].tolist())
        return Scored(int(self._ranks[place]), float(self._scores[place]), shares)

    def get(self, address: str) -> Scored | None:
        """How this one came out; None who was not compared."""
        return self[address] if address in self._places else None

    def __contains__(self, address: object) -> bool:
        return address in self._places


def ranking(
    contenders: Contenders, weights: Weights, scale: VolumeScale = "linear"
) -> Generator[None, None, Ranking]:
    """Score and rank all of them, the best first. Yields after each step."""
    columns = contenders.columns
    parts: list[_Column] = []
    yield
    for column, name, weight in zip(columns, Contender._fields[1:], weights.each, strict=True):
        scaled = scale == "log" and name in _SCALED
        shown = np.log1p(np.maximum(column, 0.0)) if scaled else column
        parts.append(_part(shown, weight, name == _INVERTED))
    yield
    table = np.array(parts)
    scores = np.round(np.clip(table.sum(axis=0), 0.0, 1.0), 4)
    volumes = np.nan_to_num(columns[_VOLUME], nan=-1.0)
    yield
    order = np.lexsort((-volumes, -scores))
    yield
    addresses = contenders.addresses
    yield from _untie(order, scores[order], volumes[order], addresses)
    ranks = np.empty_like(order)
    ranks[order] = np.arange(1, len(order) + 1)
    return Ranking(contenders.places, ranks, table, scores)


def _part(column: _Column, weight: float, inverted: bool) -> _Column:
    """What this figure adds to each score. Unknown ones add nothing. Where all are equal they are
    as good as the least, which is the best of what is inverted.
    """
    known = column[~np.isnan(column)]
    low, high = (known.min(), known.max()) if known.size else (0.0, 0.0)
    share = (column - low) / (high - low) if high > low else np.where(np.isnan(column), np.nan, 0.0)
    return np.nan_to_num(weight * (1 - share if inverted else share), nan=0.0)


def _untie(
    order: NDArray[np.intp], scores: _Column, volumes: _Column, addresses: list[str]
) -> Generator[None, None, None]:
    """Who is equal in score and volume stands in the order of the addresses."""
    same = (np.diff(scores) == 0) & (np.diff(volumes) == 0)
    edges = np.flatnonzero(np.diff(np.concatenate(([False], same, [False])).astype(np.int8)))
    sorted_since = 0
    for first, last in edges.reshape(-1, 2).tolist():
        tied = order[first : last + 1].tolist()
        tied.sort(key=addresses.__getitem__)
        order[first : last + 1] = tied
        sorted_since += len(tied)
        if sorted_since >= SLICE // 4:
            sorted_since = 0
            yield
    yield
