"""What was liquidated in the last hours, by the minute: as a flowd that ran meanwhile would answer,
but for which of a second's orders is told where the exchange's own delay decides that.

The exchange itself has no such past. A daemon that begins on the simulator takes it by its usual
`backfill_from`.
"""

from decimal import Decimal
from random import Random
from typing import Final

import trio

from flowd_simulator.binance.query import BadRequest, Query, number
from flowd_simulator.binance.sampler import Rule, Sampler
from flowd_simulator.cascades import WINDOW_MS
from flowd_simulator.intervals import HOUR_MS, INTERVALS, MINUTE_MS, opening
from flowd_simulator.orders import ForcedOrder, OrderFlow

KEPT_MS: Final = 49 * HOUR_MS
"""So that the last day is known, and as much before it to hold it against."""
WINDOWS_MAX: Final = (KEPT_MS + HOUR_MS) // WINDOW_MS

Sums = tuple[Decimal, Decimal, int]
"""What was bought and sold by force, in the quote, and in how many orders that were told."""
ZERO: Final = Decimal(0)
NOTHING: Final[Sums] = (ZERO, ZERO, 0)
Window = dict[str, dict[int, Sums]]
"""By symbol and minute."""


class Volume:
    """The sums of all symbols, made window by window when somebody first asks."""

    def __init__(self, flow: OrderFlow, rule: Rule) -> None:
        self._flow = flow
        self._rule: Rule = rule
        self._windows: dict[int, Window] = {}

    async def answer(self, symbol: str, timeframe: str, query: Query, now_ms: int) -> object:
        """The bars of a range with orders in them; all before the last hours is a gap."""
        if timeframe not in INTERVALS:
            raise BadRequest(-1120, "Invalid interval.")
        since_ms = (now_ms - KEPT_MS) // WINDOW_MS * WINDOW_MS
        start_ms = opening(timeframe, number(query, "start", since_ms))
        end_ms = min(number(query, "end", now_ms), now_ms)
        first_ms = max(start_ms, since_ms)
        bars: dict[int, Sums] = {}
        for window in range(first_ms // WINDOW_MS, -(-end_ms // WINDOW_MS)):
            await trio.lowlevel.checkpoint()  # Hours take a while; others get a turn.
            for minute_ms, sums in self._window(window, now_ms).get(symbol, {}).items():
                if first_ms <= minute_ms < end_ms:
                    opened = opening(timeframe, minute_ms)
                    bars[opened] = _added(bars.get(opened, NOTHING), sums)
        data = [_bar(time_ms, *sums) for time_ms, sums in sorted(bars.items())]
        return {
            "symbol": symbol,
            "timeframe": timeframe,
            "data": data,
            "start_time": start_ms,
            "end_time": end_ms,
            "gaps": [[start_ms, since_ms]] if start_ms < since_ms else [],
        }

    def _window(self, window: int, now_ms: int) -> Window:
        found = self._windows.get(window)
        if found is None:
            found = self._make(window, now_ms)
            if (window + 1) * WINDOW_MS <= now_ms:
                self._windows[window] = found
                if len(self._windows) > WINDOWS_MAX:
                    del self._windows[min(self._windows)]
        return found

    def _make(self, window: int, now_ms: int) -> Window:
        """The orders that the exchange told of, one of a symbol and second, as it samples them."""
        end_ms = min((window + 1) * WINDOW_MS - 1, now_ms)
        sampler, told = Sampler(self._rule, Random(window)), list[ForcedOrder]()
        for order in self._flow.between(window * WINDOW_MS - 1, end_ms):
            told += sampler.due(order.time_ms)
            sampler.add(order)
        told += sampler.due(end_ms + 2 * MINUTE_MS)
        found: Window = {}
        for order in told:
            minutes = found.setdefault(order.symbol, {})
            minute_ms = order.time_ms - order.time_ms % MINUTE_MS
            sums = (order.notional, ZERO, 1) if order.side == "BUY" else (ZERO, order.notional, 1)
            minutes[minute_ms] = _added(minutes.get(minute_ms, NOTHING), sums)
        return found


def _bar(time_ms: int, buy: Decimal, sell: Decimal, count: int) -> dict[str, object]:
    """One bar, all of it this exchange's, which tells only some of its orders."""
    part = {
        "buy": f"{buy:f}",
        "sell": f"{sell:f}",
        "count": count,
        "price_kind": "fill",
        "coverage": "sampled",
    }
    return {
        "timestamp_ms": time_ms,
        "buy_volume": part["buy"],
        "sell_volume": part["sell"],
        "count": count,
        "venues": {"binance": part},
    }


def _added(one: Sums, other: Sums) -> Sums:
    return one[0] + other[0], one[1] + other[1], one[2] + other[2]
