"""Who trades: few accounts much, many a little. Each has a position in each perpetual it trades."""

from random import Random
from typing import Final

from attrs import define

from flowd_simulator.chain.coins import Coin
from flowd_simulator.noise import key, mix

ACCOUNTS: Final = 3000
MAKERS: Final = 40
ZERO_HASH: Final = "0x" + 64 * "0"


@define
class Position:
    """What an account holds of a perpetual, in the smallest steps of its size."""

    steps: int = 0
    entry: float = 0.0

    def trade(self, coin: Coin, steps: int, price: float) -> tuple[int, str, float]:
        """Buy so many steps, or sell if negative: (position before, word for it, closed PnL)."""
        assert steps
        before, after = self.steps, self.steps + steps
        unit = 10.0**-coin.size_decimals
        closed = 0
        if before * steps < 0:
            closed = min(abs(before), abs(steps)) * (1 if before > 0 else -1)
        pnl = closed * unit * (price - self.entry)
        if before * after <= 0 or not before:
            self.entry = price
        elif not closed:
            self.entry = (self.entry * abs(before) + price * abs(steps)) / abs(after)
        self.steps = after
        return before, _word(before, after, steps), pnl


def _word(before: int, after: int, steps: int) -> str:
    if before > 0 > after:
        return "Long > Short"
    if before < 0 < after:
        return "Short > Long"
    if steps > 0:
        return "Open Long" if before >= 0 else "Close Short"
    return "Open Short" if before <= 0 else "Close Long"


class Accounts:
    """All accounts there are. The earlier an account's number, the more it trades."""

    def __init__(self, seed: int) -> None:
        self.addresses = [_address(key(seed, "account", number)) for number in range(ACCOUNTS)]
        self.vault = _address(key(seed, "vault"))
        self._positions: dict[tuple[str, str], Position] = {}

    def maker(self, random: Random) -> str:
        """One of those who always quote."""
        return self.addresses[int(MAKERS * random.random() ** 2)]

    def taker(self, random: Random) -> str:
        """Anybody, but the busy ones more often."""
        return self.addresses[MAKERS + int((ACCOUNTS - MAKERS) * random.random() ** 4)]

    def other(self, random: Random, address: str) -> str:
        """A maker who is not this account."""
        while (maker := self.maker(random)) == address:
            pass
        return maker

    def position(self, address: str, coin: Coin) -> Position:
        """What an account holds."""
        return self._positions.setdefault((address, coin.name), Position())


def _address(state: int) -> str:
    return "0x" + digits(state, 40)


def digits(state: int, count: int) -> str:
    """So many hexadecimal digits which follow from a number."""
    text = ""
    while len(text) < count:
        state = mix(state)
        text += f"{state:016x}"
    return text[:count]
