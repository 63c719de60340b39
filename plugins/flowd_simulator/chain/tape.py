"""The trading: seeded random walks, orders that meet several others, and liquidation cascades.

Both rows of every trade are made, as the chain has them: number and hash are the same; position,
direction, fee and profit are each side's own.
"""

from collections.abc import Iterator
from random import Random
from typing import Any, Final

from attrs import define

from flowd_simulator.chain.accounts import ZERO_HASH, Accounts, digits
from flowd_simulator.chain.coins import COINS, PERPETUALS, Coin
from flowd_simulator.chain.rows import Block, Row, row
from flowd_simulator.noise import key

TAKER_FEE, MAKER_FEE, REBATE = 0.00045, 0.00015, -0.00003
CASCADES_PER_S: Final = 1 / 45
QUIET_SHARE: Final = 0.01
"""Share of the orders that are forced when there is no cascade."""
CASCADE_SHARE: Final = 0.5
FIRST_BLOCK: Final = 1_052_000_000
TID_MAX: Final = 2**50


@define
class Cascade:
    """Forced orders of one side in one market, until it is over."""

    coin: Coin
    sells: bool
    left_s: float


class Tape:
    """Makes one block after the other. The same seed and the same times make the same blocks."""

    def __init__(self, seed: int, fills_per_s: float = 40.0) -> None:
        assert fills_per_s >= 0
        self.fills_per_s = fills_per_s
        self.accounts = Accounts(seed)
        self._random = Random(f"{seed}/tape")
        self._prices = {coin.name: coin.price for coin in COINS}
        self._weights = [coin.weight for coin in COINS]
        self._cascade: Cascade | None = None
        self._owed = 0.0
        self._oid = 481_000_000_000
        self._number = FIRST_BLOCK

    def block(self, time_ms: int, seconds: float) -> Block:
        """The trading of the last `seconds`."""
        self._owed += self.fills_per_s * seconds
        self._move(seconds)
        rows: list[Row] = []
        index = 0
        while self._owed >= 2:
            made = list(self._order(time_ms, index))
            index += 1
            self._owed -= len(made)
            rows += made
        return self.seal(time_ms, rows)

    def seal(self, time_ms: int, rows: list[Row]) -> Block:
        """The next block, with these rows."""
        self._number += 1
        return Block(self._number, time_ms, tuple(rows))

    def _move(self, seconds: float) -> None:
        """Prices walk, cascades begin and end."""
        random, cascade = self._random, self._cascade
        step = seconds**0.5
        for coin in COINS:
            self._prices[coin.name] *= 1 + random.gauss(0, coin.volatility) * step
        if cascade is not None:
            cascade.left_s -= seconds
            push = -0.0015 if cascade.sells else 0.0015
            self._prices[cascade.coin.name] *= 1 + push * min(seconds, 1)
            if cascade.left_s <= 0:
                self._cascade = None
        elif random.random() < CASCADES_PER_S * seconds:
            coin = random.choice(PERPETUALS[:8])
            self._cascade = Cascade(coin, random.random() < 0.6, random.uniform(3, 15))

    def _order(self, time_ms: int, index: int) -> Iterator[Row]:
        """The rows of one order, which meets one or several others."""
        random, cascade = self._random, self._cascade
        chance = random.random()
        if cascade is not None and chance < CASCADE_SHARE:
            yield from self._forced(cascade.coin, cascade.sells, time_ms, index)
        elif chance < QUIET_SHARE:
            coin = random.choice(PERPETUALS)
            yield from self._forced(coin, random.random() < 0.5, time_ms, index)
        else:
            (coin,) = random.choices(COINS, self._weights)
            taker = self.accounts.taker(random)
            buys = random.random() < 0.5
            usd = random.lognormvariate(6, 1.8)
            yield from self._meet(coin, taker, buys, usd, time_ms, index)

    def _forced(self, coin: Coin, sells: bool, time_ms: int, index: int) -> Iterator[Row]:
        """A liquidation: of a whole position, mostly in the market, now and then by the vault."""
        random = self._random
        address = self.accounts.taker(random)
        usd = random.lognormvariate(7.5, 1.6)
        chance = random.random()
        if chance < 0.01:
            yield from self._deleverage(coin, sells, usd, time_ms, index)
            return
        stamp = {
            "liquidatedUser": address,
            "markPx": self._price(coin, 1.0),
            "method": "backstop" if chance < 0.05 else "market",
        }
        steps = self._steps(coin, usd)
        position = self.accounts.position(address, coin)
        position.steps = steps if sells else -steps
        position.entry = self._prices[coin.name] * (1.05 if sells else 0.95)
        # Takeovers by the vault carry a word of their own, and no stamp on this side.
        word = f"Liquidated Isolated {'Long' if sells else 'Short'}" if chance < 0.02 else None
        yield from self._meet(
            coin, address, not sells, usd, time_ms, index, stamp=stamp, word=word, steps=steps
        )

    def _deleverage(
        self, coin: Coin, sells: bool, usd: float, time_ms: int, index: int
    ) -> Iterator[Row]:
        address = self.accounts.taker(self._random)
        stamp = {
            "liquidatedUser": self.accounts.vault,
            "markPx": self._price(coin, 1.0),
            "method": "backstop",
        }
        trade = self._trade(coin, self._steps(coin, usd), time_ms, index, ZERO_HASH)
        trade["liquidation"] = stamp
        word = "Auto-Deleveraging"
        yield self._side(trade, coin, self.accounts.vault, not sells, taker=True, word=word)
        yield self._side(trade, coin, address, sells, taker=False, word=word)

    def _meet(
        self,
        coin: Coin,
        taker: str,
        buys: bool,
        usd: float,
        time_ms: int,
        index: int,
        *,
        stamp: dict[str, Any] | None = None,
        word: str | None = None,
        steps: int | None = None,
    ) -> Iterator[Row]:
        """Split an order over those who had quoted; each part is a trade, and so two rows."""
        random = self._random
        left = self._steps(coin, usd) if steps is None else steps
        hash = "0x" + digits(random.getrandbits(64), 64)
        self._oid += 1
        oid = self._oid
        while left > 0:
            part = left if random.random() < 0.6 else random.randint(1, left)
            left -= part
            trade = self._trade(coin, part, time_ms, index, hash)
            vault = stamp is not None and stamp["method"] == "backstop"
            maker = self.accounts.vault if vault else self.accounts.other(random, taker)
            mine = {**trade, "oid": oid}
            self._oid += 1
            theirs = {**trade, "oid": self._oid - random.randrange(1, 10**6)}
            if stamp is not None:
                theirs["liquidation"] = stamp
                if word is None:
                    mine["liquidation"] = stamp
            yield self._side(mine, coin, taker, buys, taker=True, word=word)
            yield self._side(theirs, coin, maker, not buys, taker=False)

    def _trade(self, coin: Coin, steps: int, time_ms: int, index: int, hash: str) -> dict[str, Any]:
        """What both sides have in common. Any is JSON."""
        return {
            "coin": coin.name,
            "px": self._price(coin, 1 + self._random.gauss(0, 0.00003)),
            "sz": _amount(steps, coin.size_decimals),
            "steps": steps,
            "time": time_ms,
            "hash": hash,
            "oid": self._oid,
            "tid": self._random.randrange(TID_MAX),
            "txIndex": index,
        }

    def _side(
        self,
        trade: dict[str, Any],
        coin: Coin,
        address: str,
        buys: bool,
        *,
        taker: bool,
        word: str | None = None,
    ) -> Row:
        steps = trade["steps"] if buys else -trade["steps"]
        price = float(trade["px"])
        if coin.spot:
            before, said, pnl = abs(steps) * 3, "Buy" if buys else "Sell", 0.0
        else:
            before, said, pnl = self.accounts.position(address, coin).trade(coin, steps, price)
        rate = TAKER_FEE if taker else REBATE if key(address) % 4 == 0 else MAKER_FEE
        paid_in_base = coin.spot and buys and not coin.name.startswith("#")
        size = abs(steps) * 10.0**-coin.size_decimals
        fill: dict[str, Any] = {
            "coin": coin.name,
            "px": trade["px"],
            "sz": trade["sz"],
            "side": "B" if buys else "A",
            "time": trade["time"],
            "startPosition": _amount(before, coin.size_decimals),
            "dir": word or said,
            "closedPnl": _money(pnl),
            "hash": trade["hash"],
            "oid": trade["oid"],
            "crossed": taker,
            "fee": _money(rate * size * (1 if paid_in_base else price)),
            "tid": trade["tid"],
            "feeToken": coin.base if paid_in_base else "USDC",
            "twapId": None,
            "txIndex": trade["txIndex"],
        }
        if "liquidation" in trade:
            fill["liquidation"] = trade["liquidation"]
        return row(address, fill)

    def _price(self, coin: Coin, factor: float) -> str:
        price = max(self._prices[coin.name] * factor, 10.0**-coin.price_decimals)
        return f"{price:.{max(coin.price_decimals, 1)}f}"

    def _steps(self, coin: Coin, usd: float) -> int:
        return max(1, int(usd / self._prices[coin.name] * 10**coin.size_decimals))


def _amount(steps: int, decimals: int) -> str:
    """So many of the smallest steps, written as the exchange does."""
    sign, whole = "-" if steps < 0 else "", abs(steps)
    if not decimals:
        return f"{sign}{whole}.0"
    unit = 10**decimals
    text = f"{sign}{whole // unit}.{whole % unit:0{decimals}d}".rstrip("0")
    return text + "0" if text.endswith(".") else text


def _money(amount: float) -> str:
    text = f"{amount:.6f}".rstrip("0")
    text = text + "0" if text.endswith(".") else text
    return "0.0" if text == "-0.0" else text
