"""What an account holds of one perpetual, in whole steps and whole millionths of a dollar, so that
sums are exact.
"""

from typing import Final, NamedTuple

from attrs import define

INDEX_UNIT: Final = 1_000_000_000


class Change(NamedTuple):
    """What a trade did to a position: its size before, the chain's word for it, the profit, and
    the cash that came out of the position's own purse.
    """

    before: int
    word: str
    profit: int
    freed: int


@define
class Position:
    """Long above 0, short below. `cost` is what the open size was bought for, below 0 if sold.
    Prices are told as `worth`: of one step, in millionths of a dollar.

    An isolated position has its cash in `purse`; that of a cross one is always 0, and its cash is
    the account's.
    """

    leverage_max: int
    steps: int = 0
    cost: int = 0
    purse: int = 0
    leverage: int = 1
    isolated: bool = False
    index: int = 0
    """The coin's funding index up to which funding is paid."""
    funding: int = 0
    """Paid in all, through all positions that there were."""
    funding_open: int = 0
    """… since this one was opened, and since its size last changed:"""
    funding_change: int = 0

    def trade(self, steps: int, worth: int) -> Change:
        """Buy so many steps, or sell if negative."""
        assert steps
        before, after = self.steps, self.steps + steps
        closed = min(abs(before), abs(steps)) if before * steps < 0 else 0
        sign = 1 if steps > 0 else -1
        profit = freed = 0
        if closed:
            part = self.cost * closed // abs(before)
            profit = -sign * closed * worth - part
            self.cost -= part
            freed = self._free(before, closed, worth)
            self.purse -= sign * closed * worth
            self.purse -= freed
        opened = abs(steps) - closed
        if opened:
            value = opened * worth
            margin = -(-value // self.leverage)
            self.cost += sign * value
            self.purse += margin - sign * value
            freed -= margin
        self.steps = after
        if before * after <= 0:
            self.funding_open = 0
        self.funding_change = 0
        if not self.isolated:
            # What is a purse's own business is the account's when margin is shared.
            freed, self.purse = freed + self.purse, 0
        return Change(before, _word(before, after, steps), profit, freed)

    def _free(self, before: int, closed: int, worth: int) -> int:
        """The share of the position's equity that goes with the closed part."""
        return (self.purse + before * worth) * closed // abs(before) if self.isolated else 0

    def pay_funding(self, index: int) -> int:
        """Pay up to this index; what was paid, below 0 for what was earned."""
        paid = self.steps * (index - self.index) // INDEX_UNIT
        self.index = index
        self.funding += paid
        self.funding_open += paid
        self.funding_change += paid
        if self.isolated:
            self.purse -= paid
        return paid

    def value(self, worth: int) -> int:
        """What it is worth, below 0 if short."""
        return self.steps * worth

    def unrealised(self, worth: int) -> int:
        """The profit that is not taken yet."""
        return self.value(worth) - self.cost

    def margin(self, worth: int) -> int:
        """What it uses of the account's equity."""
        value = self.value(worth)
        return self.purse + value if self.isolated else abs(value) // self.leverage

    def maintenance(self, worth: int) -> int:
        """The equity at which it is liquidated."""
        return abs(self.value(worth)) // (2 * self.leverage_max)


def _word(before: int, after: int, steps: int) -> str:
    if before > 0 > after:
        return "Long > Short"
    if before < 0 < after:
        return "Short > Long"
    if steps > 0:
        return "Open Long" if before >= 0 else "Close Short"
    return "Open Short" if before <= 0 else "Close Long"


def liquidation_price(position: Position, price: float, value: int, available: int) -> float | None:
    """The price at which equity is down to maintenance: the position has this value at the price
    of now, and its equity so much above maintenance. None where no price can do that.
    """
    side = 1 if position.steps > 0 else -1
    rate = 1 / (2 * position.leverage_max)
    found = price * (1 - side * available / abs(value) / (1 - rate * side))
    return found if found > 0 else None
