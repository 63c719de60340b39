"""How traders compare: each figure as a share of the range that all of them span, weighted.

Ten thousand are compared in a few steps, between which the caller may let others run. NumPy does
the arithmetic, since in Python alone it would take several times as long.
"""

from collections.abc import Generator, Sequence
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


class Scored(NamedTuple):
    """How a contender came out."""

    rank: int
    score: float
    shares: Shares


_SCALED: Final = ("volume", "max_profit")
_INVERTED: Final = "max_drawdown"
_VOLUME: Final = Contender._fields.index("volume") - 1
_Column = NDArray[np.float64]


class Ranking:
    """How all contenders came out."""

    def __init__(self, places: dict[str, tuple[int, int]], parts: _Column, scores: _Column) -> None:
        self._places = places
        self._parts = parts
        self._scores = scores

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, address: str) -> Scored:
        rank, index = self._places[address]
        shares = Shares(*self._parts[:, index].tolist())
        return Scored(rank, float(self._scores[index]), shares)

    def get(self, address: str) -> Scored | None:
        """How this one came out; None who was not compared."""
        return self[address] if address in self._places else None

    def __contains__(self, address: object) -> bool:
        return address in self._places


def ranking(
    contenders: Sequence[Contender], weights: Weights, scale: VolumeScale = "linear"
) -> Generator[None, None, Ranking]:
    """Score and rank all of them, the best first. Yields after each step."""
    columns: list[_Column] = []
    parts: list[_Column] = []
    names = Contender._fields[1:]
    for index, (name, weight) in enumerate(zip(names, weights.each, strict=True), 1):
        # What is not known becomes NaN.
        column = np.array([one[index] for one in contenders], dtype=np.float64)
        columns.append(column)
        if scale == "log" and name in _SCALED:
            column = np.log1p(np.maximum(column, 0.0))
        parts.append(_part(column, weight, name == _INVERTED))
        yield
    table = np.array(parts)
    scores = np.round(np.clip(table.sum(axis=0), 0.0, 1.0), 4)
    volumes = np.nan_to_num(columns[_VOLUME], nan=-1.0)
    yield
    order = np.lexsort((-volumes, -scores))
    yield
    yield from _untie(order, scores[order], volumes[order], contenders)
    places: dict[str, tuple[int, int]] = {}
    for start in range(0, len(order), SLICE):
        for rank, index in enumerate(order[start : start + SLICE].tolist(), start + 1):
            places[contenders[index].address] = rank, index
        yield
    return Ranking(places, table, scores)


def _part(column: _Column, weight: float, inverted: bool) -> _Column:
    """What this figure adds to each score. Unknown ones add nothing. Where all are equal they are
    as good as the least, which is the best of what is inverted.
    """
    known = column[~np.isnan(column)]
    low, high = (known.min(), known.max()) if known.size else (0.0, 0.0)
    share = (column - low) / (high - low) if high > low else np.where(np.isnan(column), np.nan, 0.0)
    return np.nan_to_num(weight * (1 - share if inverted else share), nan=0.0)


def _untie(
    order: NDArray[np.intp], scores: _Column, volumes: _Column, contenders: Sequence[Contender]
) -> Generator[None, None, None]:
    """Who is equal in score and volume stands in the order of the addresses."""
    same = (np.diff(scores) == 0) & (np.diff(volumes) == 0)
    edges = np.flatnonzero(np.diff(np.concatenate(([False], same, [False])).astype(np.int8)))
    for first, last in edges.reshape(-1, 2).tolist():
        tied = order[first : last + 1].tolist()
        tied.sort(key=lambda index: contenders[index].address)
        order[first : last + 1] = tied
        if last - first > SLICE:
            yield
    yield
