"""Liquidation maps, what is told beside them, and liquidations, as a test tells them by POST."""

import json
from decimal import Decimal
from typing import Any

import cattrs
from attrs import frozen
from flowd_heatmap.records import Column, MapModel, Score
from quart import Blueprint, request

from flowd.market import Liquidation, LiquidationMap
from flowd.plugin import Feed, Sink, Source, Streams, hookimpl

converter = cattrs.Converter()
converter.register_structure_hook(Decimal, lambda value, _: Decimal(str(value)))
feeds: dict[str, Feed[Any]] = {}
BESIDE: dict[str, Any] = {"model": MapModel, "score": Score}


@frozen
class Config:
    """Nothing to say."""


async def silent(config: Config, feed: Feed[Any]) -> None:
    """Publishes what is told."""
    feeds[feed.name] = feed
    feed.delivering()
    while True:
        await feed.asked()


def column(said: dict[str, Any]) -> Column:
    """A column whose codes are said by bin, `{"950": 161}`, from 900 on."""
    import numpy as np
    from flowd_heatmap.columns import pack

    packed = {}
    for side in ("long", "short"):
        codes = np.zeros(200, np.uint8)
        for bin, code in said.pop(side, {}).items():
            codes[int(bin) - 900] = code
        packed[side] = pack(codes)
    return converter.structure({**said, **packed, "first": 900}, Column)


def routes(config: Config, streams: Streams) -> Blueprint:
    """What tests tell."""
    blueprint = Blueprint("scripted_maps", __name__)

    @blueprint.post("/tell-maps/<name>")
    async def told(name: str) -> str:
        for said in json.loads(await request.get_data()):
            if name == "columns":
                found = column(said)
                feeds["heatmap"].table("columns", Column).append(found, key=found.key)
            elif name in BESIDE:
                made = converter.structure(said, BESIDE[name])
                feeds["heatmap"].table(name, BESIDE[name]).append(made, key=made.symbol)
            elif name == "orders":
                order = converter.structure(said, Liquidation)
                feeds[name].publish(order, id=order.id)
            else:
                told = converter.structure(said, LiquidationMap)
                feeds[name].publish(told, key=told.symbol)
        return "told"

    return blueprint


@hookimpl
def flowd_sources() -> list[Source]:
    """Maps with a past, maps without one, and liquidations."""
    return [
        Source(
            "scripted-map",
            silent,
            Config,
            record=LiquidationMap,
            tables={"columns": Column, **BESIDE},
        ),
        Source("scripted-observed", silent, Config, record=LiquidationMap),
        Source("scripted-orders", silent, Config, record=Liquidation),
    ]


@hookimpl
def flowd_sinks() -> list[Sink]:
    """The kind `scripted-maps-teller`."""
    return [Sink("scripted-maps-teller", Config, routes=routes)]
