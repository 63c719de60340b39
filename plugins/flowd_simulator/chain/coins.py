"""What is traded: a few perpetuals of the main dex, some of a builder's, spot and an outcome."""

from typing import Final

from attrs import field, frozen

MICRO_DECIMALS: Final = 6
"""Money is counted in millionths of a dollar: prices times sizes are whole numbers of them."""


@frozen
class Coin:
    """A market, where its price comes from, and how prices and sizes are written."""

    name: str
    symbol: str
    """The symbol of the simulated market whose price it has."""
    price_decimals: int
    size_decimals: int
    weight: float
    leverage_max: int = 0
    base: str = ""
    """The token that a spot buyer pays fees in; perpetuals have none."""
    micro: int = field(init=False)
    """What a step of the size is worth at a price of one tick, in millionths of a dollar."""

    @micro.default
    def _micro(self) -> int:
        unit: int = 10 ** (MICRO_DECIMALS - self.price_decimals - self.size_decimals)
        return unit

    @property
    def spot(self) -> bool:
        """Whether it is bought and sold, and no positions are held."""
        return bool(self.base)

    @property
    def dex(self) -> str:
        """The builder's dex that it is traded on; empty for the main one."""
        dex, colon, _ = self.name.partition(":")
        return dex if colon else ""

    def ticks(self, price: float) -> int:
        """The nearest price that is quoted, at least one tick."""
        return max(1, round(price * float(10**self.price_decimals)))

    def price_text(self, ticks: int) -> str:
        """A price, as the exchange writes it."""
        return amount(ticks, self.price_decimals)

    def size_text(self, steps: int) -> str:
        """A size, below zero for what is sold or short."""
        return amount(steps, self.size_decimals)


def amount(count: int, decimals: int) -> str:
    """So many units of the last decimal, written as the exchange does: `4.5`, `0.0`, `-120.0`."""
    sign, whole = "-" if count < 0 else "", abs(count)
    if not decimals:
        return f"{sign}{whole}.0"
    unit = 10**decimals
    text = f"{sign}{whole // unit}.{whole % unit:0{decimals}d}".rstrip("0")
    return text + "0" if text.endswith(".") else text


def money(micro: int) -> str:
    """Millionths of a dollar, in dollars."""
    return amount(micro, MICRO_DECIMALS)


COINS = (
    Coin("BTC", "BTCUSDT", 0, 5, 30, 40),
    Coin("ETH", "ETHUSDT", 1, 4, 20, 25),
    Coin("SOL", "SOLUSDT", 2, 2, 12, 20),
    Coin("HYPE", "HYPEUSDT", 3, 2, 14, 10),
    Coin("XRP", "XRPUSDT", 4, 0, 4, 20),
    Coin("DOGE", "DOGEUSDT", 5, 0, 3, 10),
    Coin("AVAX", "AVAXUSDT", 3, 2, 3, 10),
    Coin("ARB", "ARBUSDT", 5, 1, 2, 10),
    Coin("FARTCOIN", "FARTCOINUSDT", 4, 1, 3, 10),
    Coin("kPEPE", "1000PEPEUSDT", 6, 0, 2, 10),
    Coin("PUMP", "PUMPUSDT", 6, 0, 2, 10),
    Coin("xyz:TSLA", "TSLAUSDT", 2, 3, 2, 10),
    Coin("xyz:SP500", "SP500USDT", 1, 4, 2, 50),
    Coin("xyz:CRWV", "CRWVUSDT", 2, 2, 1, 10),
    Coin("@107", "HYPEUSDT", 3, 2, 2, base="HYPE"),
    Coin("@142", "BTCUSDT", 0, 5, 1, base="UBTC"),
    Coin("PURR/USDC", "PURRUSDT", 5, 0, 0.5, base="PURR"),
    Coin("#90", "OUTCOME90USDT", 3, 0, 0.5, base="#90"),
)
PERPETUALS = tuple(coin for coin in COINS if not coin.spot)
BY_NAME: Final = {coin.name: coin for coin in COINS}
