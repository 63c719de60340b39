"""Who has too little left to hold what it holds. The mark decides, as with a real engine."""

from collections import deque
from typing import Final

from flowd_simulator.chain.accounts import Account, Accounts, Marks
from flowd_simulator.chain.coins import Coin
from flowd_simulator.chain.prices import Prices
from flowd_simulator.intervals import HOUR_MS, MINUTE_MS

SAMPLE_MS: Final = 10 * MINUTE_MS


class Liquidator:
    """Looks at one account after the other, a round a second, and keeps those that are due."""

    def __init__(self, accounts: Accounts, prices: Prices) -> None:
        self._accounts = accounts
        self._prices = prices
        self._round: list[Account] = []
        self._due: deque[tuple[Account, Coin]] = deque()
        self._waiting: set[tuple[str, str]] = set()

    def look(self, time_ms: int, marks: Marks, share: float, sample_ms: int = SAMPLE_MS) -> None:
        """Look at this share of all accounts; their funding is paid up, and those whose last point
        is so old get another.
        """
        for _ in range(round(len(self._accounts.known) * min(1.0, share))):
            if not self._round:
                self._round = list(self._accounts.known.values())
            account = self._round.pop()
            account.pay_funding(self._prices, time_ms // HOUR_MS)
            points = account.series.points
            if not points or points[-1].time_ms <= time_ms - sample_ms:
                account.series.add(account.sample(time_ms, marks))
            self._check(account, marks)

    def next(self, marks: Marks) -> tuple[Account, Coin] | None:
        """A position that must go now, at these marks. Who has recovered meanwhile is spared."""
        while self._due:
            account, coin = self._due.popleft()
            self._waiting.discard((account.address, coin.name))
            if account.held(coin) and account.available(coin, marks) <= 0:
                return account, coin
        return None

    def _check(self, account: Account, marks: Marks) -> None:
        equity, _, maintenance = account.shared(marks)
        for coin, position in account.open():
            if position.isolated:
                worth = marks[coin.name]
                due = position.purse + position.value(worth) <= position.maintenance(worth)
            else:
                due = equity <= maintenance
            place = account.address, coin.name
            if due and place not in self._waiting:
                self._waiting.add(place)
                self._due.append((account, coin))
