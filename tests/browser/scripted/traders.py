"""Traders, their positions and standings, and candles, as a test tells them by POST."""

import json
from decimal import Decimal
from typing import Any

import cattrs
from attrs import evolve, frozen
from flowd_leaderboard.records import Computation
from quart import Blueprint, request

from flowd.market import Candle
from flowd.plugin import Feed, Sink, Source, Streams, hookimpl
from flowd.traders import Account, Equity, PositionEvent, Round, Standing, Trader

converter = cattrs.Converter()
converter.register_structure_hook(Decimal, lambda value, _: Decimal(str(value)))

RECORDS: dict[str, tuple[type, dict[str, type]]] = {
    "traders": (Trader, {}),
    "positions": (PositionEvent, {"accounts": Account, "equity": Equity, "round": Round}),
    "leaderboard": (Standing, {"computed": Computation}),
    "candles": (Candle, {}),
}
feeds: dict[str, Feed[Any]] = {}
asked: list[str] = []


@frozen
class Config:
    """Nothing to say."""


async def silent(config: Config, feed: Feed[Any]) -> None:
    """Publishes what is told, and keeps what it is asked for."""
    feeds[feed.name] = feed
    feed.delivering()
    while True:
        asked.append(await feed.asked())


def routes(config: Config, streams: Streams) -> Blueprint:
    """What tests tell."""
    blueprint = Blueprint("scripted_traders", __name__)

    @blueprint.post("/tell/<name>")
    async def told(name: str) -> str:
        name, _, table = name.partition(".")
        feed, (record, tables) = feeds[name], RECORDS[name]
        for said in json.loads(await request.get_data()):
            key = said.get("address", {"round": "round", "computed": "leaderboard"}.get(table))
            value = converter.structure(said, tables[table] if table else record)
            if table:
                feed.table(table, tables[table]).append(value, key=key)
            elif name == "positions":
                feed.publish(value, id=value.id)
            elif name == "candles":
                feed.publish(value, key=value.key)
            else:
                feed.publish(value, key=key)
        return "told"

    @blueprint.get("/asked")
    async def was_asked() -> list[str]:
        return asked

    @blueprint.post("/crowd/<int:count>")
    async def crowded(count: int) -> str:
        one = converter.structure(json.loads(await request.get_data()), Standing)
        for n in range(count):
            address = f"0x{n:040x}"
            feeds["leaderboard"].publish(
                evolve(one, address=address, volume=Decimal(n)), key=address
            )
        return "told"

    return blueprint


@hookimpl
def flowd_sources() -> list[Source]:
    """A kind for each of the records, such as `scripted-traders`."""
    return [
        Source(f"scripted-{name}", silent, Config, record=record, tables=tables)
        for name, (record, tables) in RECORDS.items()
    ]


@hookimpl
def flowd_sinks() -> list[Sink]:
    """The kind `scripted-teller`."""
    return [Sink("scripted-teller", Config, routes=routes)]
