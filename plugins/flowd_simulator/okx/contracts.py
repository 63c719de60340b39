"""OKX's contracts: what the market's instruments are called and counted in there, and two of other
kinds that begin alike.
"""

from collections.abc import Mapping
from decimal import ROUND_UP, Decimal
from math import floor, log10
from typing import Any, Final

from attrs import frozen

from flowd_simulator.instruments import Instrument
from flowd_simulator.orders import ForcedOrder

LOT: Final = Decimal("0.01")
"""Contracts are traded in hundredths."""
SIZES: Final = {"BTC": "0.01", "ETH": "0.1", "SOL": "1", "XRP": "100", "DOGE": "1000"}
"""Base units of a contract; of other coins, what is worth some ten dollars."""
USDC_SIZE: Final = "0.0001"
USDC: Final = "BTC-USDC"


@frozen
class Contract:
    """A perpetual contract."""

    family: str
    size: Decimal
    """Base units of it; dollars if it is `inverse`."""
    tick: Decimal
    base: str
    settle: str
    inverse: bool = False

    @property
    def id(self) -> str:
        """Its name."""
        return f"{self.family}-SWAP"

    def contracts(self, order: ForcedOrder) -> str:
        """How many of it an order is, as OKX writes it."""
        if self.inverse:
            return order.quantity  # These are counted in contracts everywhere.
        count = (Decimal(order.quantity) / self.size).quantize(LOT, ROUND_UP)
        return f"{count.normalize():f}"

    def row(self) -> dict[str, Any]:
        """What OKX lists of it. Any: JSON."""
        return {
            "instType": "SWAP",
            "instId": self.id,
            "instFamily": self.family,
            "uly": self.family,
            "ctType": "inverse" if self.inverse else "linear",
            "ctVal": f"{self.size:f}",
            "ctValCcy": "USD" if self.inverse else self.base,
            "ctMult": "1",
            "settleCcy": self.settle,
            "baseCcy": "",
            "quoteCcy": "",
            "state": "live",
            "tickSz": f"{self.tick.normalize():f}",
            "lotSz": "1" if self.inverse else f"{LOT:f}",
            "minSz": "1" if self.inverse else f"{LOT:f}",
            "expTime": "",
            "ruleType": "normal",
        }


def contracts(
    linear: Mapping[str, Instrument], inverse: Mapping[str, Instrument]
) -> dict[str, Contract]:
    """The contracts of these instruments, by the symbol that they have on the market; the USDC
    contract by its family.
    """
    found = {
        symbol: Contract(f"{one.base}-{one.quote}", _size(one), one.tick, one.base, one.quote)
        for symbol, one in linear.items()
    }
    for symbol, one in inverse.items():
        size = Decimal(one.contract_usd or 1)
        found[symbol] = Contract(f"{one.base}-USD", size, one.tick, one.base, one.base, True)
    if "BTCUSDT" in found:
        found[USDC] = Contract(USDC, Decimal(USDC_SIZE), Decimal("0.1"), "BTC", "USDC")
    return found


def _size(one: Instrument) -> Decimal:
    if one.base in SIZES:
        return Decimal(SIZES[one.base])
    return Decimal(1).scaleb(floor(1 - log10(one.price)))
