"""What Hyperliquid's `portfolio` says of an account, as far as it is needed, and how it is kept."""

from collections.abc import Iterator
from decimal import Decimal
from typing import Any, Final

from flowd.market import number
from flowd.plugin import Stream
from flowd_leaderboard.drawdown import Sample, of_portfolio
from flowd_leaderboard.figures import Portfolio

KEPT_MAX: Final = 20_000
POINTS_MAX: Final = 10_000
"""A window has some dozens; with more, an answer is none."""


def read(answer: Any, address: str, time_ms: int) -> Portfolio:
    """The portfolio that an answer tells; ValueError when it tells none.

    Volume is that of perpetuals alone, since the total has spot in it. The drawdown is that of the
    longest window of perpetuals which has one.
    """
    if not isinstance(answer, list):
        raise ValueError(f"no portfolio: {answer!r:.60}")
    windows = {
        pair[0]: pair[1]
        for pair in answer
        if isinstance(pair, list) and len(pair) == 2 and isinstance(pair[1], dict)
        if isinstance(pair[0], str)
    }
    if not windows:
        raise ValueError(f"no portfolio: {answer!r:.60}")
    drawdowns = (_drawdown(windows.get(name)) for name in ("perpAllTime", "perpMonth"))
    return Portfolio(
        address,
        time_ms,
        _volume(windows.get("perpAllTime")),
        min((at for at, _ in _series(windows.get("allTime"), "accountValueHistory")), default=None),
        next((one for one in drawdowns if one is not None), None),
    )


def _volume(window: dict[str, Any] | None) -> Decimal | None:
    return None if window is None or window.get("vlm") is None else number(window["vlm"])


def _drawdown(window: dict[str, Any] | None) -> float | None:
    equities = _series(window, "accountValueHistory")
    return of_portfolio(equities, _series(window, "pnlHistory"))


def _series(window: dict[str, Any] | None, name: str) -> list[Sample]:
    points = [] if window is None else window.get(name, [])
    if not isinstance(points, list) or len(points) > POINTS_MAX:
        raise ValueError(f"no {name}: {points!r:.60}")
    found: list[Sample] = []
    for point in points:
        if not isinstance(point, list) or len(point) != 2 or type(point[0]) is not int:
            raise ValueError(f"no point of {name}: {point!r:.60}")
        found.append((point[0], number(point[1])))
    return found


class Portfolios:
    """The newest portfolio of each account, saved; the one that was asked for longest ago first,
    and dropped when there are too many.
    """

    def __init__(self, table: Stream[Portfolio], kept_max: int = KEPT_MAX) -> None:
        self._table = table
        self._kept_max = kept_max
        self._kept = {record.value.address: record.value for record in table.after(0)}

    def __len__(self) -> int:
        return len(self._kept)

    def __iter__(self) -> Iterator[str]:
        return iter(self._kept)

    def get(self, address: str) -> Portfolio | None:
        """An account's portfolio, None while it is not known."""
        return self._kept.get(address)

    def copy(self) -> dict[str, Portfolio]:
        """All of them as they are now."""
        return dict(self._kept)

    def put(self, portfolio: Portfolio) -> None:
        """Keep what was told of an account."""
        address = portfolio.address
        self._kept.pop(address, None)
        self._kept[address] = portfolio
        self._table.append(portfolio, key=address)
        while len(self._kept) > self._kept_max:
            oldest = next(iter(self._kept))
            del self._kept[oldest]
            self._table.forget(oldest)
