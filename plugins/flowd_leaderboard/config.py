"""The settings of the transform `leaderboard`."""

from importlib import import_module
from typing import Any

from attrs import field, frozen

from flowd.market import Fill
from flowd.plugin import Seconds, StreamName, validators
from flowd.traders import Account, Equity, PositionEvent, Trader
from flowd_leaderboard.weights import VolumeScale, Weights

EVERY_MIN_S = 10.0
PORTFOLIO_WEIGHT = FILLS_WEIGHT = 20
PAGE = 2_000
"""Fills in an answer of `userFillsByTime`; each 20 weigh one more."""
PAGE_WEIGHT = FILLS_WEIGHT + PAGE // 20
WEIGHT_MIN = PORTFOLIO_WEIGHT + PAGE_WEIGHT


def _stream(default: str, reads: type) -> Any:
    """A stream that the leaderboard does without."""
    return field(default=StreamName(default), metadata={"reads": reads, "optional": True})


@frozen
class Config:
    """`positions` is the stream of a `hyperliquid-tracking`, with its `accounts` and `equity`,
    `traders` that of a `hyperliquid-discovery`, `fills` one of the fills of all accounts. Each is
    read where there is such a stream.

    Every `every` all are measured and compared; who has fewer than `min_trips` completed trips is
    listed without score. `enrich_weight_per_min` of the weight that Hyperliquid grants is spent on
    asking `info_url` for what streams do not tell; 0 asks nothing.
    """

    positions: StreamName = _stream("positions", PositionEvent)
    every: Seconds = Seconds(600.0)
    min_trips: int = 3
    weights: Weights = field(factory=Weights)
    volume_scale: VolumeScale = "linear"
    enrich_weight_per_min: int = 200
    info_url: str = field(default="https://api.hyperliquid.xyz/info", validator=validators.http_url)
    traders: StreamName = _stream("traders", Trader)
    accounts: StreamName = _stream("positions.accounts", Account)
    equity: StreamName = _stream("positions.equity", Equity)
    fills: StreamName = _stream("all-fills", Fill)

    def __attrs_post_init__(self) -> None:
        if self.every < EVERY_MIN_S:
            raise ValueError(f"every = {self.every:g}s: expected at least {EVERY_MIN_S:g}s")
        if self.min_trips < 1:
            raise ValueError(f"min_trips = {self.min_trips}: expected at least 1")
        weight = self.enrich_weight_per_min
        if weight != 0 and not WEIGHT_MIN <= weight <= 1200:
            raise ValueError(
                f"enrich_weight_per_min = {weight}: expected 0 for off, or {WEIGHT_MIN} to 1200; "
                f"a portfolio and a page of fills weigh {WEIGHT_MIN}"
            )
        import_module("httpx2")
        # It brings NumPy: only who configures this pays for that, and before the loop turns.
        import_module("flowd_leaderboard.run")
