"""The observed liquidation map: where tracked positions would be liquidated, by price.

Source: domain/heatmap.md, section 6. Liquidation prices are the venue's own, which know of cross
margin, funding and tiers. Plain functions over one copy of the accounts.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from decimal import ROUND_FLOOR, Context, Decimal

from attrs import define, field

from flowd.market import Level, LiquidationMap, bin_width, trimmed
from flowd.traders import Account
from flowd_hyperliquid.markets import Market
from flowd_hyperliquid.parse import VENUE

SLICE = 50
"""Accounts that are added up at once."""
_ZERO = Decimal(0)
_CONTEXT = Context(prec=60)
_DIGITS = Decimal("1e-8")


@define
class _Side:
    total: Decimal = _ZERO
    unplaced: Decimal = _ZERO
    outside: Decimal = _ZERO
    bins: dict[Decimal, Decimal] = field(factory=lambda: defaultdict(Decimal))


@define
class _Coin:
    """What was added up of one coin, and the bins into which it goes."""

    width: Decimal
    lowest: Decimal
    highest: Decimal
    long: _Side = field(factory=_Side)
    short: _Side = field(factory=_Side)
    positions: int = 0


Sums = dict[str, _Coin]


def add_up(
    coins: Sums, accounts: Iterable[Account], markets: dict[str, Market], span: Decimal
) -> Iterator[None]:
    """Add the positions of these accounts up by coin and bin. Yields after each slice, so that
    others may run.

    `span` is the fraction of the mark price within which levels are shown. Without a mark price
    the first position's own stands in.
    """
    for number, account in enumerate(accounts, 1):
        for position in account.positions:
            symbol, notional = position.symbol, position.notional
            mark = position.mark_price
            if mark is None or not notional:
                continue
            if symbol not in coins:
                market = markets.get(symbol)
                mark = mark if market is None else market.mark_price
                coins[symbol] = _Coin(bin_width(mark), mark * (1 - span), mark * (1 + span))
            coin = coins[symbol]
            coin.positions += 1
            side = coin.long if position.size > 0 else coin.short
            side.total += notional
            price = position.liquidation_price
            if price is None:
                side.unplaced += notional
            elif not coin.lowest <= price <= coin.highest:
                side.outside += notional
            else:
                steps = (price / coin.width).to_integral_value(ROUND_FLOOR, _CONTEXT)
                side.bins[steps * coin.width] += notional
        if number % SLICE == 0:
            yield


def maps(
    coins: Sums,
    markets: dict[str, Market],
    *,
    time_ms: int,
    accounts: int,
    oi_sides: int,
    created: dict[str, int],
    consumed: dict[str, int],
) -> Iterator[LiquidationMap]:
    """The map of each coin, made of so many accounts."""
    for symbol, coin in sorted(coins.items()):
        market = markets.get(symbol)
        long, short = coin.long, coin.short
        prices = sorted(long.bins.keys() | short.bins.keys())
        total = long.total + short.total
        mark = None if market is None else market.mark_price
        yield LiquidationMap(
            symbol,
            VENUE,
            "observed",
            time_ms,
            mark,
            coin.width,
            tuple(
                Level(
                    trimmed(price),
                    _amount(long.bins.get(price, _ZERO)),
                    _amount(short.bins.get(price, _ZERO)),
                )
                for price in prices
            ),
            _amount(long.outside),
            _amount(short.outside),
            _amount(long.unplaced + short.unplaced),
            0.0,
            _coverage(total, market, oi_sides),
            oi_sides,
            accounts,
            coin.positions,
            created.get(symbol, 0),
            consumed.get(symbol, 0),
        )


def _coverage(total: Decimal, market: Market | None, oi_sides: int) -> float | None:
    """The share of the open interest that these positions make up."""
    if market is None:
        return None
    whole = market.open_interest * market.mark_price * oi_sides
    return round(float(total / whole), 6) if whole else None


def _amount(value: Decimal) -> Decimal:
    return trimmed(_CONTEXT.quantize(value, _DIGITS))
