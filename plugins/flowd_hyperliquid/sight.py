"""What was newly seen of one account, until it is written into the table of traders."""

from decimal import Decimal

from attrs import define, field

from flowd.market import EXACT, trimmed
from flowd.traders import Trader
from flowd_hyperliquid.parse import VENUE

_ZERO = Decimal(0)


@define(eq=False)
class Sight:
    """First and last time, and what counts: how many trades of which volume, in what."""

    first_ms: int
    last_ms: int = 0
    volume: Decimal = _ZERO
    trades: int = 0
    symbols: set[str] = field(factory=set)

    def see(self, time_ms: int, symbol: str) -> None:
        """It traded, and that is all that counts here."""
        if time_ms < self.first_ms:
            self.first_ms = time_ms
        if time_ms > self.last_ms:
            self.last_ms = time_ms
        self.symbols.add(symbol)

    def count(self, time_ms: int, symbol: str, notional: Decimal) -> None:
        """It traded so much."""
        self.see(time_ms, symbol)
        self.volume = EXACT.add(self.volume, notional)
        self.trades += 1

    def added(self, address: str, before: Trader | None) -> Trader:
        """The account as it stands in the table from now on."""
        if before is None:
            symbols = tuple(sorted(self.symbols))
            volume = trimmed(self.volume)
            return Trader(address, VENUE, self.first_ms, self.last_ms, volume, self.trades, symbols)
        symbols = before.symbols
        if not self.symbols.issubset(symbols):
            symbols = tuple(sorted({*symbols, *self.symbols}))
        return Trader(
            address,
            VENUE,
            min(before.first_seen_ms, self.first_ms),
            max(before.last_seen_ms, self.last_ms),
            trimmed(EXACT.add(before.volume, self.volume)),
            before.trades + self.trades,
            symbols,
        )
