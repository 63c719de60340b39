"""What the totals publish, in quote units, and the form in which they keep their state."""

from collections.abc import Iterable
from decimal import ROUND_HALF_UP, Context, Decimal, InvalidOperation
from typing import Literal

from attrs import Factory, evolve, field, frozen

from flowd.market import EXACT, Coverage, Fill, Liquidation, PriceKind, Role, Side, Trade, VenueSum

By = Literal["coins", "traders"]
Counted = Literal["takers", "liquidated"]

_ROUNDED = Context(prec=100, rounding=ROUND_HALF_UP, traps=[InvalidOperation])

REST = "*"
"""The name under which an hour's coins are summed that are too many to be told one by one."""


@frozen
class Share:
    """What one venue adds to a row's volume; `venue` is empty for what nobody knows the venue
    of.
    """

    venue: str
    volume: Decimal
    buy: Decimal
    sell: Decimal


@frozen
class Rank:
    """One coin's or trader's volume in a window: `buy` and `sell` are its parts. A coin's `venues`
    are what each of them adds, by name.
    """

    name: str
    volume: Decimal
    buy: Decimal
    sell: Decimal
    venues: list[Share] = Factory(list)


@frozen
class VenueVolume:
    """All that one venue adds to a ranking, exact, and what it is worth. `since_ms` is when the
    first span began of which something was counted, None where nobody noted it.
    """

    venue: str
    volume: Decimal
    count: int
    since_ms: int | None
    lower_bound: bool
    approximate: bool


@frozen
class Ranking:
    """The coins or traders with the largest volume in a window, the largest first.

    `volume` and `count` are of everything that was ranked, also of what is in no row. A row's
    volume is never too high, and too low by at most `error`; what is in no row may be larger than
    the last row by at most as much.

    `venues` are those of which something is in the window, by name; `lower_bound` says that one of
    them tells but a sample, `approximate` that one tells other prices than were traded at. Of coins
    `by_venue` is what each adds; of traders it is empty.
    """

    by: By
    window: str
    time_ms: int = field(eq=False)
    volume: Decimal
    count: int
    error: Decimal
    rows: list[Rank]
    venues: list[str] = Factory(list)
    lower_bound: bool = False
    approximate: bool = False
    by_venue: list[VenueVolume] = Factory(list)

    @property
    def key(self) -> str:
        """Its key in the stream."""
        return f"{self.by}/{self.window}"


@frozen
class Minute:
    """Market volume in one minute, which begins at `time_ms`; `venues` are its parts, by name."""

    time_ms: int
    buy: Decimal
    sell: Decimal
    count: int
    venues: tuple[VenueSum, ...] = ()


@frozen
class CoinHour:
    """A coin's volume in one hour, which begins at `time_ms`; `venues` are its parts, by name."""

    symbol: str
    time_ms: int
    buy: Decimal
    sell: Decimal
    count: int
    venues: tuple[VenueSum, ...] = ()


@frozen
class Row:
    """One of the largest fills, trades or liquidations. `address` is the taker's, or who was
    liquidated; `price_kind` what the price is. What one account lost in one transaction is one row
    of so many `fills`, with the name and time of the first of them, and their average price.
    """

    id: str
    symbol: str
    side: Side
    price: Decimal
    quantity: Decimal
    notional: Decimal
    time_ms: int
    address: str | None
    dir: str | None
    hash: str | None
    role: Role | None
    venue: str = ""
    fills: int = 1
    price_kind: PriceKind = "fill"


@frozen
class Largest:
    """The largest fills or liquidations in a window, the largest first."""

    window: str
    time_ms: int = field(eq=False)
    rows: list[Row]


@frozen
class Venue:
    """Of a venue, with what its rows are worth, something was counted in the span that begins at
    `newest_ms`, and nothing later; nor before `oldest_ms`, where that was noted. `accounts` says
    whether it tells whose its rows are.
    """

    venue: str
    price_kind: PriceKind
    coverage: Coverage
    newest_ms: int
    oldest_ms: int | None = None
    accounts: bool = True


@frozen
class SavedBoard:
    """A `Board`, its sketches serialised."""

    volume: Decimal
    count: int
    lost: int
    buy: bytes
    sell: bytes


@frozen
class SavedVenue:
    """The coins of one venue."""

    venue: str
    coins: SavedBoard


@frozen
class SavedStep:
    """A `Step`. `coins` are those of which nobody noted the venue, all others are in `venues`."""

    width_ms: int
    time_ms: int
    coins: SavedBoard
    traders: SavedBoard
    largest: list[Row]
    venues: list[SavedVenue] = Factory(list)


def row_of(value: Fill | Liquidation | Trade, address: str | None) -> Row:
    """A fill, liquidation or trade as a row."""
    fill = value if isinstance(value, Fill) else None
    return Row(
        value.id,
        value.symbol,
        value.side,
        value.price,
        value.quantity,
        value.notional,
        value.time_ms,
        address,
        None if fill is None else fill.dir,
        None if fill is None else fill.hash,
        "liquidated" if isinstance(value, Liquidation) else None if fill is None else fill.role,
        value.venue,
        price_kind=value.price_kind if isinstance(value, Liquidation) else "fill",
    )


def largest_of(rows: list[Row], count: int) -> list[Row]:
    """The largest of these rows, the largest first; in whatever order they came. Fills of one
    liquidation are put together.
    """
    return sorted(together(rows), key=_by_size)[:count]


def together(rows: Iterable[Row]) -> list[Row]:
    """These rows, the fills of each liquidation as one."""
    whole: list[Row] = []
    parts: dict[tuple[object, ...], Row] = {}
    for row in rows:
        # An exchange's forced order is one already, and has no word for its direction.
        if row.role != "liquidated" or row.dir is None:
            whole.append(row)
            continue
        # What the engine did by itself has no transaction: then it is what it did in one block.
        act = row.hash if row.hash and row.hash.strip("0x") else row.time_ms
        of = act, row.venue, row.address, row.symbol, row.side
        known = parts.get(of)
        parts[of] = row if known is None else _sum(known, row)
    return whole + list(parts.values())


def _sum(one: Row, other: Row) -> Row:
    first = min(one, other, key=lambda row: (row.time_ms, row.id))
    quantity = EXACT.add(one.quantity, other.quantity)
    notional = EXACT.add(one.notional, other.notional)
    price = one.price
    if price != other.price and quantity:
        step = min(one.price, other.price, key=lambda price: price.as_tuple().exponent)
        price = _ROUNDED.quantize(_ROUNDED.divide(notional, quantity), step)
    fills = one.fills + other.fills
    return evolve(first, price=price, quantity=quantity, notional=notional, fills=fills)


def _by_size(row: Row) -> tuple[Decimal, int, str]:
    return -row.notional, row.time_ms, row.id
