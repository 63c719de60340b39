"""Fills and liquidations of one batch, summed up by time and name: which of them count, and as
whose.
"""

from collections.abc import Callable, Iterable
from decimal import Decimal

from flowd.market import EXACT, Fill, Liquidation, Trade
from flowd_totals.records import Counted, Row, row_of, together
from flowd_totals.venues import Worth, worth_of

AHEAD_MS = 60_000
"""What is further ahead of the clock is counted as of now."""
AMOUNT_MAX = Decimal(10**10)
"""A single notional above this is no fill; it would endanger the sketches' whole numbers."""

Drop = Callable[[str, object], None]
Value = Fill | Liquidation | Trade
Sum = tuple[Decimal, Decimal, int]
"""What was bought, what was sold, and in how many rows."""


class Part:
    """What happened in one span of time at one venue."""

    __slots__ = ("coins", "count", "rows", "traders")

    def __init__(self) -> None:
        self.coins: dict[str, Sum] = {}
        self.traders: dict[str, Sum] = {}
        self.rows: list[Value] = []
        """What makes up the market's volume."""
        self.count = 0
        """How many counted at all."""

    def market(self) -> Sum:
        """The market's volume."""
        buy, sell, count = _NOTHING
        for bought, sold, rows in self.coins.values():
            buy, sell, count = EXACT.add(buy, bought), EXACT.add(sell, sold), count + rows
        return buy, sell, count

    def largest(self, top: int, least: Decimal, trader: Callable[[Value], str | None]) -> list[Row]:
        """Rows that may be among the largest, of which the smallest so far comes to `least`."""
        rows: list[Row] = []
        values = self.rows
        if any(map(_is_part, values)):
            # Small ones, too: they may be the rest of a liquidation that is among the largest.
            parts = (row_of(value, trader(value)) for value in values if _is_part(value))
            rows = together(parts)
            values = [value for value in values if not _is_part(value)]
        large = [value for value in values if value.notional >= least]
        if len(large) > top:
            # Those as large as the smallest stay: what remains of them is not decided by order.
            least = sorted(value.notional for value in large)[-top]
            large = [value for value in large if value.notional >= least]
        return rows + [row_of(value, trader(value)) for value in large]


class Intake:
    """Reads rows as the setting `count` says."""

    def __init__(
        self, counted: Counted, width_ms: int, drop: Callable[[str, object], None]
    ) -> None:
        self.trader = _liquidated_user if counted == "liquidated" else _account
        """Whose row it is; None where that is not told."""
        self._liquidated = counted == "liquidated"
        self._width_ms = width_ms
        self._drop = drop

    def counts(self, value: Value) -> bool:
        """Whether a row is in any sum, the market's or a trader's."""
        return not self._liquidated or not isinstance(value, Fill) or value.role == "liquidated"

    def sum(self, values: Iterable[Value], now_ms: int) -> dict[tuple[int, Worth], Part]:
        """What happened in each span, by the span's beginning and the venue."""
        parts: dict[tuple[int, Worth], Part] = {}
        ahead_ms, width_ms, liquidated = now_ms + AHEAD_MS, self._width_ms, self._liquidated
        for value in values:
            counts, trader = True, None
            if isinstance(value, Fill):
                counts = value.role == "liquidated" if liquidated else value.taker
                if liquidated and not counts:
                    continue
                trader = self.trader(value)
            elif liquidated and isinstance(value, Trade):
                continue
            notional = value.notional
            if not 0 < notional <= AMOUNT_MAX:
                self._drop("impossible amount", value)
                continue
            time_ms = value.time_ms if value.time_ms <= ahead_ms else now_ms
            start_ms = time_ms - time_ms % width_ms
            at = start_ms, worth_of(value)
            part = parts.get(at)
            if part is None:
                part = parts[at] = Part()
            part.count += 1
            if trader is not None:
                _add(part.traders, trader, value.side, notional)
            elif isinstance(value, Trade):
                # One row for both accounts, where fills are two.
                if value.buyer is not None:
                    _add(part.traders, value.buyer, "BUY", notional)
                if value.seller is not None:
                    _add(part.traders, value.seller, "SELL", notional)
            if counts:
                _add(part.coins, value.symbol, value.side, notional)
                part.rows.append(value)
        return parts


def _add(sums: dict[str, Sum], name: str, side: str, notional: Decimal) -> None:
    buy, sell, count = sums.get(name, _NOTHING)
    if side == "BUY":
        sums[name] = EXACT.add(buy, notional), sell, count + 1
    else:
        sums[name] = buy, EXACT.add(sell, notional), count + 1


_NOTHING = (Decimal(0), Decimal(0), 0)


def _is_part(value: Value) -> bool:
    """Whether it is one of the fills of a liquidation."""
    return isinstance(value, Fill) and value.role == "liquidated"


def _account(value: Value) -> str | None:
    if isinstance(value, Trade):
        return value.buyer if value.side == "BUY" else value.seller
    return value.address if isinstance(value, Fill) else None


def _liquidated_user(value: Value) -> str | None:
    return value.liquidated_user or value.address if isinstance(value, Fill) else None
