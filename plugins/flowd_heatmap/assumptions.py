"""What the model of a heatmap assumes where nobody can know."""

from decimal import Decimal
from typing import Literal

from attrs import frozen

from flowd_heatmap.leverage import Tier

SideModel = Literal["both", "taker", "candle"]
SIDE_MODELS: tuple[SideModel, ...] = ("both", "taker", "candle")


@frozen
class Assumptions:
    """What the model assumes where nobody can know. `typical_notional` is the size of a position,
    by which its bracket is chosen; `half_life_ms` how long until half of what is open was turned
    over unseen, None for never.
    """

    tiers: tuple[Tier, ...]
    side_model: SideModel = "both"
    typical_notional: Decimal = Decimal(10_000)
    half_life_ms: int | None = None
