"""What is measured of one trader's past, each figure from the best evidence that there is, which it
names. Nothing is estimated: what is not known is None.
"""

from decimal import Decimal
from typing import Final, NamedTuple

from attrs import frozen

from flowd.market import EXACT
from flowd.traders import Account, Evidence, Trader
from flowd_leaderboard.drawdown import Drawdown
from flowd_leaderboard.score import Contender
from flowd_leaderboard.trips import Sums

RATIO_MAX: Final = 3.0
DAY_MS: Final = 86_400_000
_NOTHING: Final = Decimal(0)


@frozen
class Portfolio:
    """What Hyperliquid said of an account's past, as far as it is needed, at `time_ms`.

    `volume` is what it ever traded of perpetuals, `since_ms` the first point of its history.
    `seen` is how much it was seen to trade until then: who trades much since is asked about again.
    """

    address: str
    time_ms: int
    volume: Decimal | None
    since_ms: int | None
    max_drawdown: float | None
    seen: Decimal = Decimal(0)


class Known(NamedTuple):
    """All evidence about one account at one instant."""

    address: str
    trader: Trader | None = None
    account: Account | None = None
    sums: Sums | None = None
    portfolio: Portfolio | None = None
    drawdown: Drawdown | None = None

    @property
    def trips(self) -> int:
        """How many completed trips are known."""
        return 0 if self.sums is None else self.sums.trips

    @property
    def seen(self) -> Decimal:
        """How much it was seen to trade, by fills or else by public trades."""
        fills = _NOTHING if self.sums is None else self.sums.volume
        trades = _NOTHING if self.trader is None else self.trader.volume
        return max(fills, trades)


def win_rate(known: Known) -> float | None:
    """The share of completed trips with a net above zero."""
    sums = known.sums
    return sums.wins / sums.trips if sums is not None and sums.trips else None


def risk_ratio(known: Known) -> float | None:
    """What a winning trip brings on average, over what a losing one costs; at most 3."""
    sums = known.sums
    if sums is None or not sums.trips:
        return None
    if not sums.wins:
        return 0.0
    if not sums.losses:
        return RATIO_MAX
    won, lost = float(sums.won) / sums.wins, float(sums.lost) / sums.losses
    return min(won / lost, RATIO_MAX)


def volume(known: Known) -> tuple[Decimal | None, Evidence | None]:
    """What was traded, in quote units. What the exchange says is whole; the others are not added to
    it, nor to each other.
    """
    if known.portfolio is not None and known.portfolio.volume is not None:
        return known.portfolio.volume, "portfolio"
    if known.sums is not None and known.sums.fills:
        return known.sums.volume, "fills"
    if known.trader is not None and known.trader.trades:
        return known.trader.volume, "trades"
    return None, None


def max_drawdown(known: Known) -> tuple[float | None, Evidence | None]:
    """How much was ever lost from the best."""
    if known.portfolio is not None and known.portfolio.max_drawdown is not None:
        return known.portfolio.max_drawdown, "portfolio"
    fraction = None if known.drawdown is None else known.drawdown.fraction
    return fraction, None if fraction is None else "account_value"


def first_evidence(known: Known) -> tuple[int | None, Evidence | None]:
    """When the account was first there, as far as anything tells."""
    trader, account, sums, portfolio = known.trader, known.account, known.sums, known.portfolio
    by: Evidence = "portfolio"
    first_ms = None if portfolio is None else portfolio.since_ms
    at = None if sums is None else sums.first_ms
    if at is not None and (first_ms is None or at < first_ms):
        first_ms, by = at, "fills"
    if trader is not None and (first_ms is None or trader.first_seen_ms < first_ms):
        first_ms, by = trader.first_seen_ms, "trades"
    if account is not None and (first_ms is None or account.time_ms < first_ms):
        first_ms, by = account.time_ms, "snapshots"
    return first_ms, None if first_ms is None else by


def age_days(since_ms: int | None, now_ms: int) -> int | None:
    """Whole days since then, at least 0."""
    return None if since_ms is None else max((now_ms - since_ms) // DAY_MS, 0)


def unrealized_pnl(account: Account) -> Decimal:
    """What its open positions would bring now."""
    total = Decimal(0)
    for position in account.positions:
        total = EXACT.add(total, position.unrealized_pnl)
    return total


def contender(known: Known) -> Contender:
    """What is compared of it."""
    sums = known.sums
    won = None if sums is None or not sums.trips else float(sums.most_won)
    traded, lost = volume(known)[0], max_drawdown(known)[0]
    amount = None if traded is None else float(traded)
    return Contender(known.address, win_rate(known), amount, lost, risk_ratio(known), won)
