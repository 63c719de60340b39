"""A flowd plugin: traders' past, measured from what is public, how they compare, and the endpoints
that tell of it.
"""

from flowd.market import Fill
from flowd.plugin import Feed, Sink, Streams, Transform, hookimpl
from flowd.traders import Account, PositionEvent, Standing, Trader
from flowd_leaderboard import sink
from flowd_leaderboard.config import Config
from flowd_leaderboard.records import Computation

LISTED_MAX = 20_000
"""Rows of the leaderboard, unless the configuration has another `retain`."""


async def leaderboard(config: Config, streams: Streams, feed: Feed[Standing]) -> None:
    """Read, save, ask, compute and publish; ends when its inputs do."""
    from flowd_leaderboard.run import run

    await run(config, streams, feed)


@hookimpl
def flowd_transforms() -> list[Transform]:
    """The kind `leaderboard`."""
    return [
        Transform(
            "leaderboard",
            leaderboard,
            Config,
            record=Standing,
            reads=(PositionEvent, Trader, Account, Fill),
            retain=LISTED_MAX,
            tables={"computed": Computation},
        )
    ]


@hookimpl
def flowd_sinks() -> list[Sink]:
    """The kind `traders-http`."""
    return [Sink("traders-http", sink.Config, hot=sink.hot, live=sink.live, asks=True)]
