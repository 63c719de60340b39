"""Who trades, what they own and what they hold: few accounts much, many a little."""

from collections import deque
from collections.abc import Iterator, Mapping
from random import Random
from typing import Final

from attrs import Factory, define, field

from flowd_simulator.chain.coins import BY_NAME, Coin
from flowd_simulator.chain.positions import Change, Position
from flowd_simulator.chain.prices import Prices
from flowd_simulator.chain.series import Point, Series
from flowd_simulator.intervals import HOUR_MS
from flowd_simulator.noise import key, mix

ACCOUNTS: Final = 3000
MAKERS: Final = 40
ZERO_HASH: Final = "0x" + 64 * "0"
MAKERS_DEPOSIT: Final = 20_000_000_000_000
DEPOSIT_STEP: Final = 1_000_000
FILLS_KEPT: Final = 60
"""So many of an account's newest fills are remembered, and of those who trade most:"""
FILLS_KEPT_MOST: Final = 2000

Marks = Mapping[str, int]
"""What one step of each coin is worth at its mark, in millionths of a dollar."""


@define(eq=False)
class Account:
    """All of one address. `cash` is what it owns outside of isolated positions' purses.

    Whatever happens: cash and purses are deposits + realised - fees - funding - what positions
    cost, in whole millionths of a dollar.
    """

    address: str
    appetite: float
    """From 0 to 1: how much risk it takes."""
    maker: bool
    rows: deque[bytes] = field(repr=False)
    """Its newest fills, oldest first, each as the chain tells it."""
    cash: int = 0
    deposits: int = 0
    realised: int = 0
    fees: int = 0
    funding: int = 0
    volume: int = 0
    perp_volume: int = 0
    positions: dict[str, Position] = Factory(dict)
    """By coin; those that are closed stay, at size 0."""
    series: Series = field(factory=Series, repr=False)
    hour: int = 0
    """Funding is paid until this hour begins."""

    @property
    def bold(self) -> bool:
        """Whether it takes all the leverage there is, keeps no spare money and seldom gives up."""
        return self.appetite > 0.35

    def deposit(self, micro: int) -> None:
        """Bring money along, or take it away if negative."""
        self.cash += micro
        self.deposits += micro

    def fund(self, coin: Coin, steps: int, worth: int, marks: Marks, spare: float) -> None:
        """Bring along what is missing for buying so many steps, or selling them if negative, and so
        much more in proportion.
        """
        before = self.held(coin)
        opened = abs(steps) if before * steps >= 0 else abs(before + steps) - abs(before)
        if opened <= 0:
            return
        position = self.positions.get(coin.name) or Position(coin.leverage_max)
        if not position.steps:
            self.choose(coin, position)
        value = opened * worth
        equity, margin, _ = self.shared(marks)
        missing = value // position.leverage + value // 1000 - (equity - margin)
        if missing > 0:
            self.deposit(round(missing * (1 + spare)) // DEPOSIT_STEP * DEPOSIT_STEP + DEPOSIT_STEP)
        elif self.bold and -missing > DEPOSIT_STEP:
            self.deposit(missing)

    def strip(self, coin: Coin, marks: Marks, share: float) -> None:
        """Take out margin until the price may only move by so much before a position is liquidated.

        Real engines keep more back. But a made-up market is calm between its cascades, and there
        would be nothing to liquidate.
        """
        position, worth = self.positions[coin.name], marks[coin.name]
        excess = self.available(coin, marks) - round(abs(position.value(worth)) * share)
        if excess <= 0:
            return
        self.deposits -= excess
        if position.isolated:
            position.purse -= excess
        else:
            self.cash -= excess

    def held(self, coin: Coin) -> int:
        """The size of its position."""
        position = self.positions.get(coin.name)
        return position.steps if position is not None else 0

    def open(self) -> Iterator[tuple[Coin, Position]]:
        """Its positions that are not closed."""
        for name, position in self.positions.items():
            if position.steps:
                yield BY_NAME[name], position

    def trade(self, coin: Coin, steps: int, worth: int, fee: int, index: int) -> Change:
        """Buy so many steps of a perpetual, or sell if negative. Funding must be paid up, to where
        the coin's index now is.
        """
        position = self.positions.get(coin.name)
        if position is None:
            position = self.positions[coin.name] = Position(coin.leverage_max)
        if not position.steps:
            self.choose(coin, position)
            position.index = index
        change = position.trade(steps, worth)
        value = abs(steps) * worth
        self.cash += change.freed - fee
        self.realised += change.profit
        self.fees += fee
        self.volume += value
        self.perp_volume += value
        return change

    def choose(self, coin: Coin, position: Position) -> None:
        """Leverage and kind of margin of a position that will be opened. Builders' perpetuals are
        isolated only, so that each dex has its own collateral.
        """
        most = coin.leverage_max
        careful = 1 + int(self.appetite * 20)
        position.leverage = most if self.bold else min(most, careful)
        position.isolated = bool(coin.dex) or (0.3 < self.appetite < 0.4 or self.appetite > 0.7)

    def pay_funding(self, prices: Prices, hour: int) -> None:
        """Pay and earn what is due until this hour begins."""
        if hour <= self.hour:
            return
        self.hour = hour
        for coin, position in self.open():
            paid = position.pay_funding(prices.index(coin, hour))
            self.funding += paid
            if not position.isolated:
                self.cash -= paid

    def equity(self, marks: Marks) -> int:
        """All that it is worth."""
        return self.cash + sum(
            position.purse + position.steps * marks[name]
            for name, position in self.positions.items()
        )

    def shared(self, marks: Marks) -> tuple[int, int, int]:
        """Of cross margin: the equity behind all cross positions, their margin, and the equity at
        which they are liquidated.
        """
        equity, margin, maintenance = self.cash, 0, 0
        for name, position in self.positions.items():
            if position.steps and not position.isolated:
                value = position.steps * marks[name]
                equity += value
                margin += abs(value) // position.leverage
                maintenance += abs(value) // (2 * position.leverage_max)
        return equity, margin, maintenance

    def available(self, coin: Coin, marks: Marks) -> int:
        """How far the equity behind a position is above maintenance."""
        position, worth = self.positions[coin.name], marks[coin.name]
        if position.isolated:
            return position.purse + position.value(worth) - position.maintenance(worth)
        equity, _, maintenance = self.shared(marks)
        return equity - maintenance

    def sample(self, time_ms: int, marks: Marks) -> Point:
        """How it stands."""
        equity = self.equity(marks)
        profit = equity - self.deposits
        return Point(time_ms, equity, profit, self.volume, self.perp_volume)


class Accounts:
    """All accounts there are, some more than the makers. The earlier an account's number, the more
    it trades.
    """

    def __init__(self, seed: int, count: int = ACCOUNTS) -> None:
        assert count > MAKERS
        self.vault = _account(key(seed, "vault"), maker=True)
        self._everybody = [
            _account(key(seed, "account", number), maker=number < MAKERS) for number in range(count)
        ]
        self.known: dict[str, Account] = {}
        """Those who ever traded, by address, the first to come first."""

    @property
    def busiest(self) -> Account:
        """Who trades most."""
        return self._everybody[0]

    def maker(self, random: Random) -> Account:
        """One of those who always quote."""
        return self._everybody[int(MAKERS * random.random() ** 2)]

    def taker(self, random: Random) -> Account:
        """Anybody, but the busy ones more often."""
        takers = len(self._everybody) - MAKERS
        return self._everybody[MAKERS + int(takers * random.random() ** 4)]

    def other(self, random: Random, coin: Coin, steps: int, taker: Account) -> Account:
        """The maker who takes the other side of buying so many steps: of two, the one whom it
        rather rids of a position.
        """
        one, two = self.maker(random), self.maker(random)
        if one.held(coin) * steps < two.held(coin) * steps:
            one, two = two, one
        while one is taker:
            one, two = two, self.maker(random)
        return one

    def against(self, random: Random, coin: Coin, steps: int) -> Account | None:
        """Somebody who holds the opposite of this position, if one is found at once."""
        for _ in range(200):
            account = self.taker(random)
            if account.held(coin) * steps < 0:
                return account
        return None

    def meet(self, account: Account, prices: Prices, time_ms: int) -> None:
        """Somebody is about to trade: know the account, and have its funding paid up."""
        hour = time_ms // HOUR_MS
        if account.address not in self.known:
            self.known[account.address] = account
            account.hour = hour
            if account.maker:
                account.deposit(MAKERS_DEPOSIT)
        account.pay_funding(prices, hour)


def _account(state: int, *, maker: bool) -> Account:
    appetite = 0.1 if maker else (mix(state) % 1000) / 1000
    kept = FILLS_KEPT_MOST if maker else FILLS_KEPT
    return Account("0x" + digits(state, 40), appetite, maker, deque(maxlen=kept))


def digits(state: int, count: int) -> str:
    """So many hexadecimal digits which follow from a number."""
    text = ""
    while len(text) < count:
        state = mix(state)
        text += f"{state:016x}"
    return text[:count]
