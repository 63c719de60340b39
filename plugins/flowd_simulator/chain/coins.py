"""What is traded: a few perpetuals of the main dex, some of a builder's, spot and an outcome."""

from attrs import frozen


@frozen
class Coin:
    """A market, its price at the beginning, and how prices and sizes are written."""

    name: str
    price: float
    price_decimals: int
    size_decimals: int
    weight: float
    volatility: float = 0.00005
    base: str = ""
    """The token that a spot buyer pays fees in; perpetuals have none."""

    @property
    def spot(self) -> bool:
        """Whether it is bought and sold, and no positions are held."""
        return bool(self.base)


COINS = (
    Coin("BTC", 84_500, 0, 5, 30),
    Coin("ETH", 2_700, 1, 4, 20),
    Coin("SOL", 142, 2, 2, 12, 0.0001),
    Coin("HYPE", 38.4, 3, 2, 14, 0.0001),
    Coin("XRP", 1.49, 4, 0, 4),
    Coin("DOGE", 0.0965, 5, 0, 3, 0.0001),
    Coin("ARB", 0.0748, 5, 1, 2, 0.0001),
    Coin("FARTCOIN", 0.387, 4, 1, 3, 0.0002),
    Coin("kPEPE", 0.00912, 6, 0, 2, 0.0002),
    Coin("PUMP", 0.00487, 6, 0, 2, 0.0002),
    Coin("xyz:TSLA", 425.3, 2, 3, 2),
    Coin("xyz:SP500", 6_712.5, 1, 4, 2),
    Coin("xyz:CRWV", 116.8, 2, 2, 1),
    Coin("@107", 38.4, 3, 2, 2, 0.0001, "HYPE"),
    Coin("@142", 84_500, 0, 5, 1, 0.00005, "UBTC"),
    Coin("PURR/USDC", 0.121, 5, 0, 0.5, 0.0002, "PURR"),
    Coin("#90", 0.453, 3, 0, 0.5, 0.0002, "#90"),
)
PERPETUALS = tuple(coin for coin in COINS if not coin.spot)
