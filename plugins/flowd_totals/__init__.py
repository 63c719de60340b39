"""A flowd transform: running totals and rankings of fills and liquidations."""

from flowd.market import Fill, Liquidation, Trade
from flowd.plugin import Feed, Streams, Transform, hookimpl
from flowd_totals.config import Config
from flowd_totals.records import CoinHour, Largest, Minute, Ranking


async def totals(config: Config, streams: Streams, feed: Feed[Ranking]) -> None:
    """Read, add up, save and publish; ends when the input does."""
    # The configuration has loaded it already.
    from flowd_totals.run import run

    await run(config, streams, feed)


@hookimpl
def flowd_transforms() -> list[Transform]:
    """The kind `totals`."""
    return [
        Transform(
            "totals",
            totals,
            Config,
            record=Ranking,
            reads=(Fill, Liquidation, Trade),
            tables={"minutes": Minute, "hours": CoinHour, "largest": Largest},
        )
    ]
