"""The vocabulary of accounts whose trading is public: who trades, what they hold, what they did,
and how it went. Beside `flowd.market`, for the plugins that find, track and rank traders.

Numbers are exact decimals, except for fractions and scores. Times are milliseconds UTC. Addresses
are lower-case.
"""

import re
from decimal import Decimal
from typing import Literal

from attrs import frozen

from flowd.market import EXACT

_address = re.compile(r"0x[0-9a-fA-F]{40}").fullmatch


def address_of(text: str) -> str | None:
    """An account's address as it is compared and kept, in lower case; None for what is none: one is
    `0x` and 40 hexadecimal digits, in either case.
    """
    return text.lower() if _address(text) else None


@frozen
class Trader:
    """An account that was seen to trade; a table, by `address` (lower-case).

    `volume` is the sum of the notionals of the trades that were seen, in quote units, `trades`
    their number, `symbols` what it traded, in alphabetical order.
    """

    address: str
    venue: str
    first_seen_ms: int
    last_seen_ms: int
    volume: Decimal
    trades: int
    symbols: tuple[str, ...]


@frozen
class OpenPosition:
    """What an account holds of one symbol. `size` is signed, in base units: below zero is short.

    `notional` is |size| times the mark price, `entry_price`, `liquidation_price` in quote units;
    a `liquidation_price` of None is one that the venue does not tell, since no price would
    liquidate. `margin` is what is set aside for it, `funding` what it paid since it was opened
    (below zero: received), `isolated` whether its margin is its own.
    """

    symbol: str
    size: Decimal
    entry_price: Decimal | None
    notional: Decimal
    unrealized_pnl: Decimal
    liquidation_price: Decimal | None
    leverage: int
    isolated: bool
    margin: Decimal
    max_leverage: int | None = None
    funding: Decimal | None = None

    @property
    def mark_price(self) -> Decimal | None:
        """What one unit is worth, by the venue's own mark; None for no position."""
        return self.notional / abs(self.size) if self.size else None


@frozen
class Account:
    """An account's state at one instant, `time_ms` by the venue's clock; a table, by `address`.

    `equity` is the account's value, unrealised profit included, and may be below zero; `notional`
    the sum of its positions'. `margin_used` and `withdrawable` as the venue tells them.
    """

    address: str
    venue: str
    time_ms: int
    equity: Decimal
    notional: Decimal
    margin_used: Decimal
    withdrawable: Decimal
    positions: tuple[OpenPosition, ...]


@frozen
class Equity:
    """How an account's equity went, as far as it was tracked; a table, by `address`.

    `points` are `time_ms:equity`, oldest first, with spaces between them: the more of them come,
    the further apart are the old ones.
    """

    address: str
    venue: str
    points: str

    @property
    def samples(self) -> list[tuple[int, Decimal]]:
        """Times and equities, oldest first."""
        pairs = (point.split(":") for point in self.points.split())
        return [(int(time_ms), Decimal(equity)) for time_ms, equity in pairs]


@frozen
class Round:
    """How far the visits to all traders have come: a table, under the key `round`.

    `tracked` traders have been visited, `waiting` have not yet. `oldest_tracked_ms` is when the
    one was visited whose turn is next, `round_s` how long a whole round takes at this pace.
    `weight_used` is what was spent of the budget in the last minute, by everybody on this address.
    """

    venue: str
    time_ms: int
    traders: int
    tracked: int
    waiting: int
    oldest_tracked_ms: int | None
    round_s: float
    events: int
    weight_used: int
    weight_per_minute: int


Change = Literal["OPEN", "INCREASE", "DECREASE", "CLOSE", "FLIP"]


@frozen
class PositionEvent:
    """An account's position in one symbol changed, from `prev_size` to `size` (signed, base units).

    `side` is that of the position now, of the one before for CLOSE. `sampled` says that two states
    were compared: the change lies between `from_ms` and `time_ms`, and is at least what happened.
    Otherwise a fill told it, at `time_ms`. `implied_price` is what was paid for the change, as far
    as the states tell it, None where they do not. `notional` is |delta| times `mark_price` (times
    the fill's price where a fill told it). `liquidated` says that it was closed by force.
    """

    id: str
    address: str
    venue: str
    symbol: str
    event: Change
    side: Literal["LONG", "SHORT"]
    prev_size: Decimal
    size: Decimal
    prev_entry_price: Decimal | None
    entry_price: Decimal | None
    implied_price: Decimal | None
    mark_price: Decimal | None
    notional: Decimal
    from_ms: int
    time_ms: int
    detected_ms: int
    sampled: bool
    liquidated: bool = False

    @property
    def delta(self) -> Decimal:
        """By how much the size changed, signed."""
        return EXACT.subtract(self.size, self.prev_size)


Evidence = Literal["fills", "portfolio", "trades", "snapshots", "account_value"]
"""What a figure about a trader was measured from."""


@frozen
class Shares:
    """What each of five figures adds to a score: they sum up to it, before rounding."""

    win_rate: float
    volume: float
    max_drawdown: float
    risk_ratio: float
    max_profit: float


@frozen
class Standing:
    """What is known of one trader's past, and how it compares; a table, by `address`.

    Each figure is None while it is unknown, and its `..._source` says what it was measured from.
    `score` (0 to 1) and its `shares` compare the trader with the `population` of this computation,
    those with enough completed trips; others have neither score nor `rank`. `win_rate` and
    `max_drawdown` are fractions, amounts in quote units, `max_loss` is positive. A trip is the
    life of one position; `partial_trips` began before what is known.
    """

    address: str
    venue: str
    rank: int | None
    score: float | None
    shares: Shares | None
    win_rate: float | None
    win_rate_source: Evidence | None
    volume: Decimal | None
    volume_source: Evidence | None
    account_age_days: int | None
    account_age_source: Evidence | None
    risk_ratio: float | None
    max_drawdown: float | None
    max_drawdown_source: Evidence | None
    max_profit: Decimal | None
    max_loss: Decimal | None
    trips: int
    partial_trips: int
    equity: Decimal | None
    unrealized_pnl: Decimal | None
    first_seen_ms: int
    last_seen_ms: int
    tracked_ms: int | None
    population: int
    time_ms: int
