"""A flowd plugin: traders on Hyperliquid, where everybody's positions are public."""

from flowd.market import LiquidationMap
from flowd.plugin import Transform, hookimpl
from flowd.traders import Account, Equity, PositionEvent, Round, Trader
from flowd_hyperliquid.tracking import Config, tracking


@hookimpl
def flowd_transforms() -> list[Transform]:
    """The kind `hyperliquid-tracking`."""
    return [
        Transform(
            "hyperliquid-tracking",
            tracking,
            Config,
            record=PositionEvent,
            reads=Trader,
            retain=20_000,
            tables={
                "accounts": Account,
                "equity": Equity,
                "map": LiquidationMap,
                "round": Round,
            },
        )
    ]
