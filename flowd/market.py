"""The vocabulary that exchanges share, so that one sink understands every source.

Numbers are exact decimals. Times are milliseconds UTC. A plugin may publish any attrs class; these
are for what several plugins read.
"""

from collections.abc import Sequence
from decimal import Decimal
from typing import ClassVar, Literal

from attrs import field, frozen

from flowd.values.amounts import EXACT as EXACT
from flowd.values.amounts import number as number
from flowd.values.amounts import trimmed as trimmed

Side = Literal["BUY", "SELL"]

PriceKind = Literal["fill", "mark", "limit", "bankruptcy"]
"""What a liquidation's price is: what it was filled at, or what its venue tells instead."""
Coverage = Literal["all", "sampled"]
"""Whether a venue tells all liquidations or some of them. Sums of the latter are lower bounds."""


@frozen
class Liquidation:
    """One forced order, as far as it was filled.

    `side` is that of the forced order: SELL closed a long, BUY closed a short. `price` is the
    average fill price, or what `price_kind` says, `quantity` what was filled (base units),
    `notional` their exact product (quote units), `time_ms` the trade time. `id` names the order for
    ever: the same event seen again has the same id. `coverage` is the venue's.

    The last three have defaults for what was saved before they were: it was all Binance's.
    """

    symbol: str
    side: Side
    price: Decimal
    quantity: Decimal
    notional: Decimal
    time_ms: int
    id: str
    venue: str = "binance"
    price_kind: PriceKind = "fill"
    coverage: Coverage = "sampled"


Role = Literal["liquidated", "counterparty"]


@frozen
class Fill:
    """One account's side of one trade, as Hyperliquid tells it.

    `side` is what this account did; `price` in quote units, `quantity` in base units, `notional`
    their exact product, `time_ms` the block's time. `pnl` is what the fill closed, without `fee`,
    which is below zero when it is a rebate, in `fee_token`. `dir` is Hyperliquid's own word for
    what happened to the position ("Open Long", "Close Short", ...): a label, the set is open.
    `taker` says that this account's order crossed the spread. `hash` is the transaction, all zeros
    where the engine itself made the fill. `id` names the fill for ever.

    `role` is None for a plain trade. In a liquidation `liquidated` marks the account that was
    closed by force, `counterparty` the one that took it over; `liquidated_user`, `mark_price` and
    `method` ("market" or "backstop") are what the exchange says of it. `inferred` marks a
    liquidated row that was concluded from its counterparty. `start_position` is how large the
    account's position was before, signed, where the exchange tells it.
    """

    price_kind: ClassVar[PriceKind] = "fill"
    coverage: ClassVar[Coverage] = "all"

    symbol: str
    side: Side
    price: Decimal
    quantity: Decimal
    notional: Decimal
    time_ms: int
    id: str
    address: str
    dir: str
    pnl: Decimal
    fee: Decimal
    fee_token: str
    taker: bool
    hash: str
    role: Role | None = None
    liquidated_user: str | None = None
    mark_price: Decimal | None = None
    method: str | None = None
    inferred: bool = False
    start_position: Decimal | None = None
    venue: str = "hyperliquid"

    @property
    def liquidation(self) -> Liquidation | None:
        """The forced order that this fill was part of; None when it is a plain trade or the other
        side of one.
        """
        if self.role != "liquidated":
            return None
        return Liquidation(
            self.symbol,
            self.side,
            self.price,
            self.quantity,
            self.notional,
            self.time_ms,
            self.id,
            self.venue,
            "fill",
            "all",
        )


@frozen
class Total:
    """All that a stream of fills or liquidations ever carried, since its state began: `volume` is
    the sum of notionals, in quote units, `count` how many were summed. `venue` is empty where the
    sum began before venues were noted.
    """

    volume: Decimal
    count: int
    since_ms: int
    venue: str = ""


@frozen
class VenueSum:
    """What one venue added to a bucket, in quote units, and what its numbers are worth: as those of
    `Liquidation`, the worst that was added. `venue` is empty for what nobody knows the venue of.
    """

    venue: str
    buy: Decimal
    sell: Decimal
    count: int
    price_kind: PriceKind = "fill"
    coverage: Coverage = "sampled"

    def joined(self, other: "VenueSum") -> "VenueSum":
        """This and more of the same venue, as little exact as the lesser of them. Numbers are, and
        stay, in their plain form.
        """
        price_kind, coverage = self.price_kind, self.coverage
        if price_kind != other.price_kind:
            price_kind = max(price_kind, other.price_kind, key=_WORSE.__getitem__)
        if coverage != other.coverage:
            coverage = "sampled"
        return VenueSum(
            self.venue,
            trimmed(EXACT.add(self.buy, other.buy)) if other.buy else self.buy,
            trimmed(EXACT.add(self.sell, other.sell)) if other.sell else self.sell,
            self.count + other.count,
            price_kind,
            coverage,
        )


_WORSE: dict[PriceKind, int] = {"fill": 0, "mark": 1, "limit": 2, "bankruptcy": 3}


def totals_of(venues: Sequence[VenueSum]) -> tuple[Decimal, Decimal, int]:
    """All that was bought, all that was sold, by how many."""
    if len(venues) == 1:
        return venues[0].buy, venues[0].sell, venues[0].count
    buy, sell, count = Decimal(0), Decimal(0), 0
    for part in venues:
        buy, sell = EXACT.add(buy, part.buy), EXACT.add(sell, part.sell)
        count += part.count
    return trimmed(buy), trimmed(sell), count


@frozen
class Bucket:
    """What was liquidated of one symbol in one span of time: full totals, in quote units.

    `time_ms` is the span's beginning, UTC; `buy` is shorts liquidated (forced buying), `sell`
    longs; `count` how many orders. `late` says that a newer bucket of this series was published
    before. `venues` are its parts, by name. `venue` is where it was liquidated, empty where these
    are several, or nobody knows: of before venues were noted, or of another's history.
    """

    symbol: str
    timeframe: str
    time_ms: int
    buy: Decimal
    sell: Decimal
    count: int
    late: bool = False
    backfilled: bool = False
    """Not seen by this daemon, but taken from another's history."""
    incomplete: bool = False
    """Orders were missed that may belong here."""
    venue: str = ""
    venues: tuple[VenueSum, ...] = ()

    @property
    def total(self) -> Decimal:
        """All that was liquidated."""
        return trimmed(EXACT.add(self.buy, self.sell))

    @property
    def delta(self) -> Decimal:
        """Positive when more shorts than longs were liquidated."""
        return trimmed(EXACT.subtract(self.buy, self.sell))

    @property
    def parts(self) -> tuple[VenueSum, ...]:
        """Its venues; what was saved before there were parts is one of them, of which no more is
        said than is known.
        """
        if self.venues or not self.count:
            return self.venues
        return (VenueSum(self.venue, self.buy, self.sell, self.count),)

    @property
    def lower_bound(self) -> bool:
        """Whether more was liquidated than this says, since a venue tells a sample."""
        return any(part.coverage == "sampled" for part in self.parts)

    @property
    def approximate(self) -> bool:
        """Whether a venue tells other prices than those at which was traded."""
        return any(part.price_kind in ("limit", "bankruptcy") for part in self.parts)


@frozen
class Candle:
    """The trading of one symbol in one interval; `closed` once nothing can be added to it.

    `time_ms` is the interval's first millisecond, UTC, `close_time_ms` its last. `volume` is in
    base units, `quote_volume` in quote units; `taker_buy_volume` and `taker_buy_quote_volume` are
    the parts of them that were bought at the seller's price.
    """

    symbol: str
    interval: str
    time_ms: int
    close_time_ms: int
    open: Decimal
    high: Decimal
    low: Decimal
    close: Decimal
    volume: Decimal
    quote_volume: Decimal
    trades: int
    taker_buy_volume: Decimal
    taker_buy_quote_volume: Decimal
    closed: bool
    venue: str = "binance"

    @property
    def key(self) -> str:
        """Its key in a table of candles."""
        return f"{self.symbol}/{self.interval}/{self.time_ms}"

    @property
    def width_ms(self) -> int:
        """How long it lasts."""
        return self.close_time_ms - self.time_ms + 1


@frozen
class OpenInterest:
    """How much of one symbol was open at one moment; a table, by `symbol/time_ms`.

    `contracts` are base units, each counted once though it has two holders; `value` the same in
    quote units at that moment's price, where the venue tells it.
    """

    symbol: str
    time_ms: int
    contracts: Decimal
    value: Decimal | None = None
    venue: str = "binance"

    @property
    def key(self) -> str:
        """Its key in a table of samples."""
        return f"{self.symbol}/{self.time_ms}"


@frozen
class Instrument:
    """What a venue lists under one symbol; a table, by `venue/symbol`.

    `symbol` is the name that all venues share, `BTCUSDT`. `base` is what is traded, `quote` what it
    is priced in, `settle` what gains and losses are paid in. Prices are multiples of `tick`,
    quantities (as that venue counts them) of `step`; None where that is not told. `contract` is how
    many base units one contract is, None where quantities are base units. `status` is the venue's
    own word. `time_ms` is when it was asked for; the same told again is no news.
    """

    symbol: str
    venue: str
    base: str
    quote: str
    tick: Decimal | None
    step: Decimal | None
    contract: Decimal | None
    settle: str
    status: str
    time_ms: int = field(eq=False)

    @property
    def key(self) -> str:
        """Its key in a table of instruments."""
        return f"{self.venue}/{self.symbol}"


@frozen
class Trade:
    """One public trade: `price` in quote units, `quantity` in base units, `notional` their exact
    product.

    `side` is the aggressor's: BUY took the seller's price. `buyer` and `seller` are the accounts,
    where the venue tells them. `backfilled` marks what happened before the connection that told of
    it, or was told as recent history: it is no new activity. `id` names the trade for ever.
    """

    symbol: str
    side: Side
    price: Decimal
    quantity: Decimal
    notional: Decimal
    time_ms: int
    id: str
    venue: str
    buyer: str | None = None
    seller: str | None = None
    backfilled: bool = False


def bin_width(price: Decimal) -> Decimal:
    """How wide the bins of a map of prices are, where nobody says: of 1, 2 and 5 times the powers
    of ten the width that is nearest to a thousandth of the price, as a ratio.
    """
    wanted = price / 1000
    power = Decimal(1).scaleb(wanted.adjusted())
    widths = [step * power for step in (1, 2, 5, 10)]
    return trimmed(min(widths, key=lambda width: max(width / wanted, wanted / width)))


@frozen
class Level:
    """What would be liquidated if the price came to this bin: notional in quote units. `price` is
    the bin's lower edge.
    """

    price: Decimal
    long: Decimal
    short: Decimal


@frozen
class LiquidationMap:
    """Where open positions would be liquidated, by price; a table, by `symbol`.

    `source` says whether liquidation prices are the venue's own (`observed`) or a model's
    (`estimated`). `levels` are in ascending order, only bins that hold something; what lies
    further from `mark_price` than is shown is summed up in `outside_long` and `outside_short`,
    what has no liquidation price in `unplaced`. `derived` is the share of the placed notional
    whose price was computed here. `coverage` is the share of the market's open interest that the
    positions seen make up, where one contract counts `oi_sides` times; None when it is unknown.
    `accounts` were looked at and have so many `positions` here. `created` and `consumed` count what
    opened and what was liquidated since the last map, `created_ever` and `consumed_ever` since the
    first, where that is known.

    A model says further: `candle_ms` is the opening time of the newest candle that it took in,
    `history_from_ms` since when it sees positions open, `side_model` how it shares them between
    long and short, `oi_missing` that open interest was not known lately.
    """

    symbol: str
    venue: str
    source: Literal["observed", "estimated"]
    time_ms: int
    mark_price: Decimal | None
    bin: Decimal
    levels: tuple[Level, ...]
    outside_long: Decimal
    outside_short: Decimal
    unplaced: Decimal
    derived: float
    coverage: float | None
    oi_sides: int
    accounts: int
    positions: int
    created: int
    consumed: int
    candle_ms: int | None = None
    history_from_ms: int | None = None
    side_model: str = ""
    oi_missing: bool = False
    created_ever: int = 0
    consumed_ever: int = 0
