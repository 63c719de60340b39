"""What is traded: symbols, with their tick, step and usual size and how numbers are written."""

from collections.abc import Iterable
from decimal import Decimal

from attrs import evolve, frozen

from flowd_simulator.noise import key, unit

QUOTES = ("USDT", "USDC", "BUSD")


@frozen
class Instrument:
    """One perpetual contract.

    Prices are counted in ticks and quantities in steps, so that sums and comparisons are exact;
    `price_decimals` may be more than the tick needs, since the exchange pads its prices.
    """

    symbol: str
    base: str
    quote: str
    price: float
    tick: Decimal
    price_decimals: int
    quantity_decimals: int
    turnover_usd: float
    """Traded per minute, on average."""
    volatility: float
    """Usual relative change within a minute."""
    contract_usd: int | None = None
    """Set for a contract margined in the coin: the dollars that one contract is worth."""

    @property
    def pair(self) -> str:
        """The two sides of it, as `BTCUSDT`, or `BTCUSD` for `BTCUSD_PERP`."""
        return self.base + self.quote

    @property
    def followed(self) -> str:
        """Whose price it has: a coin-margined contract has that of its coin's main one."""
        return f"{self.base}USDT" if self.contract_usd else self.symbol

    @property
    def step(self) -> Decimal:
        """The smallest quantity, and what quantities are multiples of."""
        return Decimal(1).scaleb(-self.quantity_decimals)

    @property
    def quote_decimals(self) -> int:
        """Of price times quantity, written exactly."""
        return self.price_decimals + self.quantity_decimals

    def ticks(self, price: float) -> int:
        """The nearest price that can be quoted, at least one tick."""
        return max(1, round(price / float(self.tick)))

    def steps(self, quantity: float) -> int:
        """The nearest quantity that can be traded, at least one step."""
        return max(1, round(quantity / float(self.step)))

    def price_text(self, ticks: int) -> str:
        """A price, padded as the exchange pads it."""
        return f"{ticks * self.tick:.{self.price_decimals}f}"

    def average_text(self, price: float) -> str:
        """An average of fills, which need not lie on a tick."""
        return f"{price:.{self.price_decimals}f}"

    def quantity_text(self, steps: int) -> str:
        """A quantity, with as many decimals as its step has."""
        return f"{steps * self.step:.{self.quantity_decimals}f}"

    def quantity_for(self, usd: float, price: float) -> int:
        """How many steps are worth this much."""
        return self.steps(usd / (self.contract_usd or price))


def _instrument(
    base: str, price: float, tick: str, price_decimals: int, steps: int, millions: float
) -> Instrument:
    volatility = 0.0004 if base in {"BTC", "ETH", "BNB"} else 0.0008
    usd = millions * 1e6
    return Instrument(
        base + "USDT", base, "USDT", price, Decimal(tick), price_decimals, steps, usd, volatility
    )


CATALOGUE = {
    instrument.symbol: instrument
    for instrument in (
        _instrument("BTC", 84_500, "0.10", 2, 3, 6),
        _instrument("ETH", 2_700, "0.01", 2, 3, 4),
        _instrument("SOL", 142, "0.01", 4, 2, 1.5),
        _instrument("XRP", 1.49, "0.0001", 4, 1, 0.8),
        _instrument("BNB", 905, "0.010", 3, 2, 0.5),
        _instrument("DOGE", 0.0965, "0.00001", 6, 0, 0.4),
        _instrument("PUMP", 0.00487, "0.000001", 7, 0, 0.1),
        _instrument("币安人生", 0.1285, "0.00001", 7, 0, 0.05),
    )
}
DEFAULT_SYMBOLS = tuple(CATALOGUE)
ELSEWHERE = {
    instrument.symbol: instrument
    for instrument in (
        _instrument("HYPE", 38.4, "0.001", 3, 2, 0.8),
        _instrument("AVAX", 21.4, "0.001", 3, 2, 0.2),
        _instrument("ARB", 0.0748, "0.00001", 5, 1, 0.1),
        _instrument("FARTCOIN", 0.387, "0.0001", 4, 1, 0.1),
        _instrument("1000PEPE", 0.00912, "0.000001", 6, 0, 0.1),
        _instrument("TSLA", 425.3, "0.01", 2, 3, 0.05),
        _instrument("SP500", 6_712.5, "0.1", 1, 4, 0.05),
        _instrument("CRWV", 116.8, "0.01", 2, 2, 0.05),
        _instrument("PURR", 0.121, "0.00001", 5, 0, 0.02),
        _instrument("OUTCOME90", 0.453, "0.001", 3, 0, 0.02),
    )
}
"""Traded on Hyperliquid's chain, and here only if asked for."""

COIN_MARGINED = tuple(
    evolve(
        CATALOGUE[f"{base}USDT"],
        symbol=f"{base}USD_PERP",
        quote="USD",
        price_decimals=decimals,
        quantity_decimals=0,
        contract_usd=contract_usd,
    )
    for base, decimals, contract_usd in (("BTC", 1, 100), ("ETH", 2, 10))
)


def instruments(symbols: Iterable[str]) -> dict[str, Instrument]:
    """The instruments of these symbols, in this order; symbols nobody heard of are made up."""
    wanted = {symbol.upper(): None for symbol in symbols}
    return {
        symbol: CATALOGUE.get(symbol) or ELSEWHERE.get(symbol) or _made_up(symbol)
        for symbol in wanted
    }


def _made_up(symbol: str) -> Instrument:
    """A plausible instrument which follows from the name alone."""
    quote = next((quote for quote in QUOTES if symbol.endswith(quote)), "USDT")
    magnitude = int(unit(key(symbol), 0) * 6) - 3
    return Instrument(
        symbol=symbol,
        base=symbol.removesuffix(quote),
        quote=quote,
        price=(1 + 8 * unit(key(symbol), 1)) * 10.0**magnitude,
        tick=Decimal(1).scaleb(magnitude - 4),
        price_decimals=max(0, 5 - magnitude),
        quantity_decimals=max(0, magnitude),
        turnover_usd=100_000,
        volatility=0.001,
    )
