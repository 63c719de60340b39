"""How traders compare: each figure as a share of the range that all of them span, weighted.

Ten thousand are compared in a few steps, between which the caller may let others run. NumPy does
the arithmetic, since in Python alone it would take several times as long.
"""

from collections.abc import Generator, Mapping, Sequence
from math import nan
from struct import Struct
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

    @property
    def numbers(self) -> bytes:
        """Its figures, packed: what is not known is NaN."""
        return _pack(*[nan if value is None else value for value in self[1:]])


class Scored(NamedTuple):
    """How a contender came out. `parts` are what each figure adds to its score."""

    rank: int
    score: float
    parts: Sequence[float]

    @property
    def shares(self) -> Shares:
        """Its parts by name."""
        return Shares(*self.parts)


_SCALED: Final = ("volume", "max_profit")
_INVERTED: Final = "max_drawdown"
_VOLUME: Final = Contender._fields.index("volume") - 1
_FIGURES: Final = len(Contender._fields) - 1
_pack = Struct(f"{_FIGURES}d").pack
_Column = NDArray[np.float64]


class Ranking:
    """How all contenders came out."""

    def __init__(self, places: dict[str, int]) -> None:
        self._places = places
        self._ranks: list[int] = []
        self._scores: list[float] = []
        self._parts: list[list[float]] = []

    def add(self, ranks: NDArray[np.intp], scores: _Column, parts: _Column) -> None:
        """How the next ones came out, in the order of their places."""
        self._ranks += ranks.tolist()
        self._scores += scores.tolist()
        self._parts += parts.T.tolist()

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, address: str) -> Scored:
        place = self._places[address]
        return Scored(self._ranks[place], self._scores[place], self._parts[place])

    def get(self, address: str) -> Scored | None:
        """How this one came out; None who was not compared."""
        return self[address] if address in self._places else None

    def __contains__(self, address: object) -> bool:
        return address in self._places


def ranking(
    contenders: Mapping[str, bytes], weights: Weights, scale: VolumeScale = "linear"
) -> Generator[None, None, Ranking]:
    """Score and rank all of them, the best first. Yields after each step.

    A contender is an address, and its `numbers`.
    """
    addresses = list(contenders)
    found = Ranking(dict(zip(addresses, range(len(addresses)), strict=True)))
    yield
    table = np.frombuffer(b"".join(contenders.values())).reshape(-1, _FIGURES).T
    columns = np.ascontiguousarray(table)
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
    order = np.argsort(-volumes, kind="stable")
    yield
    order = order[np.argsort(-scores[order], kind="stable")]
    yield
    yield from _untie(order, scores[order], volumes[order], addresses)
    ranks = np.empty_like(order)
    ranks[order] = np.arange(1, len(order) + 1)
    yield
    for first in range(0, len(ranks), SLICE):
        some = slice(first, first + SLICE)
        found.add(ranks[some], scores[some], table[:, some])
        yield
    return found


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
