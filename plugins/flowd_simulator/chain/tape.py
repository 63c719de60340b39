"""The trading: orders that meet several others, and liquidations where the mark has come too far.

Both rows of every trade are made, as the chain has them: number and hash are the same; position,
direction, fee and profit are each side's own.
"""

from collections.abc import Iterator
from random import Random
from typing import Any, Final

from attrs import frozen

from flowd_simulator.chain.accounts import ACCOUNTS, ZERO_HASH, Account, Accounts, digits
from flowd_simulator.chain.coins import COINS, Coin
from flowd_simulator.chain.liquidator import SAMPLE_MS, Liquidator
from flowd_simulator.chain.past import Past
from flowd_simulator.chain.prices import Prices
from flowd_simulator.chain.rows import Block, Row
from flowd_simulator.chain.sides import Said, side
from flowd_simulator.chain.turnover import Turnover
from flowd_simulator.intervals import HOUR_MS
from flowd_simulator.market import Market

FORCED_SHARE: Final = 0.75
"""Share of the orders that liquidations have while there are any."""
ZERO_HASH_SHARE: Final = 0.25
RECKLESS_SHARE: Final = 0.16
"""Share of a bold account's orders after which it leaves itself next to no margin."""
FIRST_BLOCK: Final = 1_052_000_000
TID_MAX: Final = 2**50


@frozen
class Order:
    """What somebody wants: so many steps, sold if negative. `stamp` says of a liquidation whose,
    and `word` what the chain calls it if it is not called by what happens to the position.
    """

    coin: Coin
    taker: Account
    steps: int
    oid: int
    hash: str
    index: int
    stamp: dict[str, Any] | None = None  # Any: JSON
    word: str | None = None


class Tape:
    """Makes one block after the other. The same seed and the same times make the same blocks.

    Prices are those of `market`. There is a past from the first block on: see `begin`.
    """

    def __init__(
        self,
        seed: int,
        fills_per_s: float = 40.0,
        *,
        market: Market | None = None,
        past: Past | None = None,
        accounts: int = ACCOUNTS,
    ) -> None:
        assert fills_per_s >= 0
        self.fills_per_s = fills_per_s
        self.accounts = Accounts(seed, accounts)
        self.prices = Prices(market or Market(seed, rate=1.0))
        self.turnover = Turnover()
        self.past_rows: list[Row] = []
        """The newest rows of the past, oldest first."""
        self.marks: dict[str, int] = {}
        """What a step of each coin was worth in the newest block."""
        self._past: Past | None = past or Past()
        self._liquidator = Liquidator(self.accounts, self.prices)
        self._random = Random(f"{seed}/tape")
        self._weights = [coin.weight for coin in COINS]
        self._time_ms = 0
        self._owed = 0.0
        self._oid = 481_000_000_000
        self._number = FIRST_BLOCK

    def begin(self, now_ms: int) -> None:
        """Have the past happen, unless it has."""
        past, self._past = self._past, None
        if past is None:
            return
        rows = self.past_rows
        for time_ms, orders in past.moments(now_ms):
            self._look(time_ms, 0.1, past.sample_ms)
            for _ in range(orders):
                self._time_ms += past.apart_ms(orders)
                rows += self._next()
            del rows[: -past.rows_kept]
        self._look(now_ms, 1.0)
        while (forced := self._liquidator.next(self.marks)) is not None:
            rows += self._forced(*forced, 0)
        del rows[: -past.rows_kept]

    def block(self, time_ms: int, seconds: float) -> Block:
        """The trading of the last `seconds`."""
        if not self.fills_per_s:
            return self.seal(time_ms, [])
        self.begin(time_ms)
        self._owed += self.fills_per_s * seconds
        self._look(time_ms, seconds)
        rows: list[Row] = []
        while self._owed >= 2:
            made = self._next(len(rows))
            self._owed -= len(made)
            rows += made
        return self.seal(time_ms, rows)

    def seal(self, time_ms: int, rows: list[Row]) -> Block:
        """The next block, with these rows."""
        self._number += 1
        return Block(self._number, time_ms, tuple(rows))

    def _look(self, time_ms: int, share: float, sample_ms: int = SAMPLE_MS) -> None:
        """It is now `time_ms`: prices have moved, and some have too little left."""
        self._time_ms = time_ms
        self.marks = self.prices.marks(time_ms)
        self._liquidator.look(time_ms, self.marks, share, sample_ms)

    def _next(self, index: int = 0) -> list[Row]:
        """The rows of one order, which meets one or several others."""
        random = self._random
        if random.random() < FORCED_SHARE:
            forced = self._liquidator.next(self.marks)
            if forced is not None:
                return list(self._forced(*forced, index))
        (coin,) = random.choices(COINS, self._weights)
        taker = self.accounts.taker(random)
        steps = self._wanted(taker, coin, random.lognormvariate(6, 1.8))
        hash = "0x" + digits(random.getrandbits(64), 64)
        if random.random() < ZERO_HASH_SHARE:
            hash = ZERO_HASH
        rows = list(self._meet(Order(coin, taker, steps, self._new_oid(), hash, index)))
        if taker.bold and random.random() < RECKLESS_SHARE and taker.held(coin):
            taker.strip(coin, self.marks, random.uniform(0.0001, 0.002))
        return rows

    def _wanted(self, taker: Account, coin: Coin, usd: float) -> int:
        """What somebody does next: who holds something closes it, adds to it, or turns it over."""
        random = self._random
        size = max(1, int(usd * 1e6 / self.marks[coin.name]))
        held, chance = taker.held(coin), random.random()
        if not held:
            return size if chance < 0.5 else -size
        sign = 1 if held > 0 else -1
        patience = 0.4 if taker.bold else 1.0
        if chance < 0.35 * patience:
            return -held
        if chance < 0.5 * patience:
            return -sign * max(1, int(abs(held) * random.uniform(0.2, 0.8)))
        if chance < 0.58 * patience:
            return -held - sign * size
        return sign * size

    def _forced(self, account: Account, coin: Coin, index: int) -> Iterator[Row]:
        """A liquidation: of a whole position, mostly in the market, now and then by the vault."""
        random = self._random
        steps, chance = account.held(coin), random.random()
        vault = chance < 0.06
        stamp = {
            "liquidatedUser": account.address,
            "markPx": coin.price_text(self.marks[coin.name] // coin.micro),
            "method": "backstop" if vault else "market",
        }
        # Takeovers by the vault may carry a word of their own, and no stamp on this side.
        kind = "Isolated" if account.positions[coin.name].isolated else "Cross"
        side = "Long" if steps > 0 else "Short"
        word = f"Liquidated {kind} {side}" if chance < 0.03 else None
        hash = "0x" + digits(random.getrandbits(64), 64)
        yield from self._meet(
            Order(coin, account, -steps, self._new_oid(), hash, index, stamp, word)
        )
        if vault and random.random() < 0.5:
            yield from self._deleverage(coin, index)

    def _deleverage(self, coin: Coin, index: int) -> Iterator[Row]:
        """The vault hands a position on to somebody who holds the opposite of it."""
        vault = self.accounts.vault
        held = vault.held(coin)
        account = self.accounts.against(self._random, coin, held) if held else None
        if account is None:
            return
        steps = min(abs(held), abs(account.held(coin))) * (-1 if held > 0 else 1)
        stamp = {
            "liquidatedUser": vault.address,
            "markPx": coin.price_text(self.marks[coin.name] // coin.micro),
            "method": "backstop",
        }
        word = "Auto-Deleveraging"
        order = Order(coin, vault, steps, self._new_oid(), ZERO_HASH, index, stamp, word)
        yield from self._trade(order, account, steps, word)

    def _meet(self, order: Order) -> Iterator[Row]:
        """Split an order over those who had quoted; each part is a trade, and so two rows."""
        random = self._random
        left, sign = abs(order.steps), 1 if order.steps > 0 else -1
        whole = 0.6 if order.stamp is None else 0.3
        while left > 0:
            part = left if random.random() < whole else random.randint(1, left)
            left -= part
            maker = self.accounts.other(random, order.coin, sign * part, order.taker)
            if order.stamp is not None and order.stamp["method"] == "backstop":
                maker = self.accounts.vault
            yield from self._trade(order, maker, sign * part)

    def _trade(
        self, order: Order, maker: Account, steps: int, word: str | None = None
    ) -> Iterator[Row]:
        random, coin, taker = self._random, order.coin, order.taker
        factor = random.gauss(0, 0.00003)
        if order.stamp is not None:
            # Who must trade gets a worse price.
            factor = random.uniform(0, 0.0004) * (1 if steps > 0 else -1)
        price = self.prices.price(coin, self._time_ms) * (1 + factor)
        ticks = coin.ticks(price)
        for account in (taker, maker):
            self.accounts.meet(account, self.prices, self._time_ms)
        if order.stamp is None and not coin.spot:
            spare = 3 * random.random() * (1 - taker.appetite)
            taker.fund(coin, steps, ticks * coin.micro, self.marks, spare)
        self.turnover.add(coin, self._time_ms // HOUR_MS, abs(steps), ticks)
        trade = {
            "coin": coin.name,
            "px": coin.price_text(ticks),
            "sz": coin.size_text(abs(steps)),
            "time": self._time_ms,
            "hash": order.hash,
            "tid": random.randrange(TID_MAX),
            "twapId": None,
            "txIndex": order.index,
        }
        resting = self._new_oid() - random.randrange(1, 10**6)
        stamp = {} if order.stamp is None else {"liquidation": order.stamp}
        # Of a takeover with a word of its own only the vault's side has the stamp.
        told = {} if order.word is not None and word is None else stamp
        index = self.prices.index(coin, self._time_ms // HOUR_MS)
        for account, signed, mine in (
            (taker, steps, Said(order.oid, True, order.word, told)),
            (maker, -steps, Said(resting, False, word, stamp)),
        ):
            yield side(account, coin, signed, ticks, trade, mine, index, self.turnover)

    def _new_oid(self) -> int:
        self._oid += 1
        return self._oid
