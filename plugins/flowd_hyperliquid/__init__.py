"""A flowd plugin: Hyperliquid, where everybody's positions are public. Who trades there, found in
its public trades, and what they hold and do.
"""

from flowd.market import LiquidationMap, Trade
from flowd.plugin import Source, Transform, hookimpl
from flowd.traders import Account, Equity, PositionEvent, Round, Trader
from flowd_hyperliquid import discovery, probe, tracking
from flowd_hyperliquid.discovery import TRADERS_MAX, TRADES, TRADES_RETAIN

EVENTS_RETAIN = 20_000


@hookimpl
def flowd_sources() -> list[Source]:
    """The kind `hyperliquid-discovery`."""
    return [
        Source(
            "hyperliquid-discovery",
            discovery.discover,
            discovery.Config,
            record=Trader,
            retain=TRADERS_MAX,
            tables={TRADES: Trade},
            tables_retain={TRADES: TRADES_RETAIN},
            probe=lambda config, http: probe.unlisted(config.url, config.coins, http),
            standby=discovery.may_stand_by,
        )
    ]


@hookimpl
def flowd_transforms() -> list[Transform]:
    """The kind `hyperliquid-tracking`."""
    return [
        Transform(
            "hyperliquid-tracking",
            tracking.tracking,
            tracking.Config,
            record=PositionEvent,
            reads=Trader,
            retain=EVENTS_RETAIN,
            tables={
                "accounts": Account,
                "equity": Equity,
                "map": LiquidationMap,
                "round": Round,
            },
        )
    ]
