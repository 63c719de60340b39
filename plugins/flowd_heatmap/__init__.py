"""A flowd plugin: the liquidation heatmap. Where open positions would be liquidated, by price and
over time.
"""

from collections.abc import Iterable

import typer
from quart import Blueprint

from flowd.market import LiquidationMap
from flowd.plugin import Desk, Feed, Sink, Streams, Transform, hookimpl
from flowd_heatmap import sink
from flowd_heatmap.config import COLUMNS_MAX, SYMBOLS_MAX, Config, remarks
from flowd_heatmap.records import Column, MapModel, Score


async def heatmap(config: Config, streams: Streams, feed: Feed[LiquidationMap]) -> None:
    """Draw the maps of all symbols, until the inputs end."""
    # Loaded by the configuration, for it needs numpy, which takes a while.
    from flowd_heatmap.transform import Heatmap

    await Heatmap(config, streams, feed).run()


def routes(config: sink.Config, streams: Streams, desk: Desk) -> Blueprint:
    """The past of the maps as pictures."""
    from flowd_heatmap import timeseries

    return timeseries.routes(config.columns, streams, desk)


@hookimpl
def flowd_transforms() -> list[Transform]:
    """The kind `liquidation-heatmap`."""
    return [
        Transform(
            "liquidation-heatmap",
            heatmap,
            Config,
            record=LiquidationMap,
            retain=SYMBOLS_MAX,
            tables={"columns": Column, "model": MapModel, "score": Score},
            tables_retain={"columns": COLUMNS_MAX, "model": SYMBOLS_MAX, "score": SYMBOLS_MAX},
            remarks=remarks,
        )
    ]


@hookimpl
def flowd_sinks() -> list[Sink]:
    """The kind `heatmap-websocket`."""
    return [
        Sink(
            "heatmap-websocket",
            sink.Config,
            live=sink.live,
            hot=sink.hot,
            routes=routes,
            reads=LiquidationMap,
        )
    ]


@hookimpl
def flowd_commands() -> Iterable[typer.Typer]:
    """`flowd import-open-interest` and `flowd validate-heatmap`."""
    # Late: only who uses them needs them.
    from flowd_heatmap.command import import_open_interest
    from flowd_heatmap.validating import validate_heatmap

    apps = []
    for command in (import_open_interest, validate_heatmap):
        app = typer.Typer()
        app.command()(command)
        apps.append(app)
    return apps
