"""A flowd plugin: liquidation volume, and the documented endpoints for charts of it."""

from flowd.market import Bucket, Fill, Liquidation
from flowd.plugin import Sink, Transform, hookimpl
from flowd_liquidations import backfill, sink, timeframe, volume


@hookimpl
def flowd_transforms() -> list[Transform]:
    """The kind `liquidation-volume`."""
    return [
        Transform(
            "liquidation-volume",
            volume.volume,
            volume.Config,
            record=Bucket,
            reads=(Liquidation, Fill),
            retain=volume.BUCKETS_MAX,
            tables={"timeframes": timeframe.Timeframes, "gaps": backfill.Gaps},
        )
    ]


@hookimpl
def flowd_sinks() -> list[Sink]:
    """The kind `liquidation-websocket`."""
    return [Sink("liquidation-websocket", sink.Config, live=sink.live, routes=sink.routes)]
