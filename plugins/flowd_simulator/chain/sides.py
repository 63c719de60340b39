"""One account's side of a trade: what it does to the account, and the row that tells of it."""

from typing import Any, Final

from attrs import frozen

from flowd_simulator.chain.accounts import Account
from flowd_simulator.chain.coins import Coin, amount, money
from flowd_simulator.chain.rows import Row, row
from flowd_simulator.chain.turnover import Turnover
from flowd_simulator.noise import key

TAKER_FEE: Final = 450
"""In millionths of what is traded; and for who was there first, who is even paid if he is large:"""
MAKER_FEE: Final = 150
REBATE: Final = -30
FEE_UNIT: Final = 1_000_000


@frozen
class Said:
    """What is this side's own: the order, whether it crossed, another word for what happens, and
    the stamp of a liquidation.
    """

    oid: int
    taker: bool
    word: str | None
    stamp: dict[str, Any]  # Any: JSON


def side(
    account: Account,
    coin: Coin,
    steps: int,
    ticks: int,
    trade: dict[str, Any],
    own: Said,
    index: int,
    turnover: Turnover,
) -> Row:
    """Have an account buy so many steps, or sell if negative; `trade` is what both sides say."""
    maker = REBATE if key(account.address) % 4 == 0 else MAKER_FEE
    rate = TAKER_FEE if own.taker else maker
    value = abs(steps) * ticks * coin.micro
    fee, token = money(value * rate // FEE_UNIT), "USDC"
    if coin.spot:
        account.volume += value
        before, word, profit = abs(steps) * 3, "Buy" if steps > 0 else "Sell", 0
        if steps > 0 and not coin.name.startswith("#"):
            # Spot buyers pay in what they buy.
            fee = amount(abs(steps) * rate, coin.size_decimals + 6)
            token = coin.base
    else:
        change = account.trade(coin, steps, ticks * coin.micro, value * rate // FEE_UNIT, index)
        before, word, profit = change.before, change.word, change.profit
        turnover.moved(coin, before, before + steps)
    fill: dict[str, Any] = {
        "coin": trade["coin"],
        "px": trade["px"],
        "sz": trade["sz"],
        "side": "B" if steps > 0 else "A",
        "time": trade["time"],
        "startPosition": coin.size_text(before),
        "dir": own.word or word,
        "closedPnl": money(profit),
        "hash": trade["hash"],
        "oid": own.oid,
        "crossed": own.taker,
        "fee": fee,
        "tid": trade["tid"],
        "feeToken": token,
        "twapId": trade["twapId"],
        "txIndex": trade["txIndex"],
        **own.stamp,
    }
    made = row(account.address, fill)
    account.rows.append(made.json)
    return made
