"""What was traded of each coin in the last day, and how much of it is held."""

from collections import Counter, defaultdict

from flowd_simulator.chain.coins import Coin

HOURS = 24


class Turnover:
    """Steps and millionths of a dollar by coin and hour, and open interest in steps."""

    def __init__(self) -> None:
        self.interest: Counter[str] = Counter()
        """What all longs of a coin hold together, and so what all shorts do."""
        self._steps: defaultdict[str, Counter[int]] = defaultdict(Counter)
        self._value: defaultdict[str, Counter[int]] = defaultdict(Counter)

    def add(self, coin: Coin, hour: int, steps: int, ticks: int) -> None:
        """A trade happened."""
        for counts in self._steps[coin.name], self._value[coin.name]:
            if hour not in counts:
                for old in [each for each in counts if each <= hour - HOURS]:
                    del counts[old]
        self._steps[coin.name][hour] += steps
        self._value[coin.name][hour] += steps * ticks * coin.micro

    def moved(self, coin: Coin, before: int, after: int) -> None:
        """A position changed."""
        self.interest[coin.name] += max(0, after) - max(0, before)

    def day(self, coin: Coin) -> tuple[int, int]:
        """The last day's steps and value."""
        return self._steps[coin.name].total(), self._value[coin.name].total()
