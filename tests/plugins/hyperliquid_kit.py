"""Accounts, positions and fills, for the tests of what is made of them."""

from decimal import Decimal
from typing import Any, Literal

from attrs import evolve

from flowd.market import EXACT, Fill, trimmed
from flowd.traders import Account, OpenPosition, Trader

T = 1_790_000_000_000
ALICE, BOB, CAROL = ("0x" + digit * 40 for digit in "abc")


def position(
    symbol: str, size: str, entry: str = "100", *, mark: str | None = None, at: str | None = None
) -> OpenPosition:
    """A position of this signed size, worth its entry price unless there is a mark; `at` is where
    it would be liquidated.
    """
    signed, price = Decimal(size), Decimal(mark or entry)
    return OpenPosition(
        symbol,
        signed,
        Decimal(entry),
        abs(signed) * price,
        signed * (price - Decimal(entry)),
        None if at is None else Decimal(at),
        10,
        False,
        Decimal(1),
    )


def account(
    seconds: float, *positions: OpenPosition, address: str = ALICE, equity: str = "1000"
) -> Account:
    """The state of an account so many seconds after `T`."""
    return Account(
        address,
        "hyperliquid",
        T + round(seconds * 1000),
        Decimal(equity),
        sum((one.notional for one in positions), Decimal(0)),
        Decimal(0),
        Decimal(0),
        tuple(sorted(positions, key=lambda one: one.symbol)),
    )


def fill(
    seconds: float,
    side: Literal["BUY", "SELL"],
    size: str,
    price: str = "100",
    *,
    start: str = "0",
    symbol: str = "BTC",
    address: str = ALICE,
    number: int = 0,
    forced: bool = False,
) -> Fill:
    """A fill so many seconds after `T`, of a position that was `start` before."""
    quantity, paid = Decimal(size), Decimal(price)
    made = Fill(
        symbol,
        side,
        paid,
        quantity,
        trimmed(EXACT.multiply(quantity, paid)),
        T + round(seconds * 1000),
        f"h:{seconds}:{symbol}:{number}:{address}",
        address,
        "",
        Decimal(0),
        Decimal(0),
        "USDC",
        True,
        "0x",
        start_position=Decimal(start),
    )
    return evolve(made, role="liquidated", liquidated_user=address) if forced else made


def trader(address: str, seen_ms: int = T) -> Trader:
    return Trader(address, "hyperliquid", seen_ms, seen_ms, Decimal(1), 1, ("BTC",))


def state(time_ms: int, **sizes: str) -> dict[str, Any]:
    """What Hyperliquid answers of who holds so much of each coin."""
    zero = {"accountValue": "1000", "totalNtlPos": "0", "totalMarginUsed": "0"}
    return {
        "marginSummary": zero,
        "withdrawable": "0",
        "time": time_ms,
        "assetPositions": [
            {
                "position": {
                    "coin": coin,
                    "szi": size,
                    "entryPx": "100",
                    "positionValue": str(abs(Decimal(size)) * 100),
                    "liquidationPx": "80",
                }
            }
            for coin, size in sizes.items()
        ],
    }
