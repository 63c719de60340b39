"""How much of an account was ever lost from its best: a fraction from 0 to 1, whatever was paid in
or out.

What counts is the return of each step: profit over what was at stake. Where only the account's
value is known, and not what was paid in or out, all of its changes count as profit.
"""

from collections.abc import Iterable
from decimal import Decimal

from attrs import evolve, frozen

Sample = tuple[int, Decimal]
"""A time in milliseconds, and an amount."""


@frozen
class Drawdown:
    """So far: what is `left` of the best that there ever was, and the `worst` fall from it.
    `equity` is the newest account value, `points` how many were seen.
    """

    equity: float
    time_ms: int
    left: float = 1.0
    worst: float = 0.0
    points: int = 1

    @property
    def fraction(self) -> float | None:
        """None with less than two points."""
        return self.worst if self.points > 1 else None

    def step(self, equity: float, time_ms: int, profit: float) -> "Drawdown":
        """The account came to this value, of which so much was profit."""
        stake = self.equity + max(equity - self.equity - profit, 0.0)
        change = max(profit / stake, -1.0) if stake > 0 else 0.0
        left = min(self.left * (1 + change), 1.0)
        return Drawdown(equity, time_ms, left, max(self.worst, 1 - left), self.points + 1)

    def value(self, equity: float, time_ms: int) -> "Drawdown":
        """The account came to this value. What is not newer than what is known changes nothing."""
        if time_ms <= self.time_ms:
            return self
        if equity == self.equity:
            return evolve(self, time_ms=time_ms, points=self.points + 1)
        return self.step(equity, time_ms, equity - self.equity)


def of_portfolio(equities: Iterable[Sample], pnls: Iterable[Sample]) -> float | None:
    """The drawdown that two series tell: account values, and profits since the first of them. Only
    times that both have count; None with less than two.
    """
    profits = dict(pnls)
    points = sorted({time_ms: equity for time_ms, equity in equities if time_ms in profits}.items())
    if len(points) < 2:
        return None
    first_ms, equity = points[0]
    found = Drawdown(float(equity), first_ms)
    before = profits[first_ms]
    for time_ms, equity in points[1:]:
        found = found.step(float(equity), time_ms, float(profits[time_ms] - before))
        before = profits[time_ms]
    return found.fraction


def of_values(equities: Iterable[Sample]) -> Drawdown | None:
    """What account values alone tell; None without any."""
    found: Drawdown | None = None
    for time_ms, equity in equities:
        value = float(equity)
        found = Drawdown(value, time_ms) if found is None else found.value(value, time_ms)
    return found
