"""The exchange's sampling of forced orders: one per symbol and second, told about a second late."""

from random import Random
from typing import Final, Literal

from attrs import define

from flowd_simulator.orders import ForcedOrder

Rule = Literal["latest", "largest"]
HOLD_MS: Final = 1000
LATE_MS: Final = 16
"""The push comes up to so much later than the second is over."""


@define
class _Held:
    order: ForcedOrder
    due_ms: int


class Sampler:
    """Holds the first order of a symbol for a second. Others replace it, by the rule; one is told.

    Which of them, the exchange's documents disagree; recordings fit both.
    """

    def __init__(self, rule: Rule, random: Random) -> None:
        assert rule in ("latest", "largest"), f"no such sampling rule: {rule}"
        self._rule = rule
        self._random = random
        self._held: dict[str, _Held] = {}

    @property
    def next_due_ms(self) -> int | None:
        """When there will be something to tell, as far as is known."""
        return min((held.due_ms for held in self._held.values()), default=None)

    def add(self, order: ForcedOrder) -> None:
        """An order was filled. Orders must come in the order of their times."""
        held = self._held.get(order.symbol)
        if held is None:
            due_ms = order.time_ms + HOLD_MS + self._random.randint(0, LATE_MS)
            self._held[order.symbol] = _Held(order, due_ms)
        elif self._rule == "latest" or order.notional > held.order.notional:
            held.order = order

    def due(self, now_ms: int) -> list[ForcedOrder]:
        """The orders to tell about now. Each is given once."""
        ready = [symbol for symbol, held in self._held.items() if held.due_ms <= now_ms]
        return [self._held.pop(symbol).order for symbol in ready]
