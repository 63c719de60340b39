"""Sources of fills and of what is summed of them, which say what a test tells them by POST."""

import json
from decimal import Decimal
from typing import Any

import cattrs
import trio
from attrs import evolve, frozen
from flowd_totals.records import CoinHour, Largest, Minute, Ranking, row_of
from quart import Blueprint, request

from flowd.market import EXACT, Fill, Liquidation, Total, Trade
from flowd.plugin import Feed, Sink, Source, Streams, UpstreamError, hookimpl

converter = cattrs.Converter()
converter.register_structure_hook(Decimal, lambda value, _: Decimal(str(value)))
STEP_S = 0.05


@frozen
class Config:
    """Nothing to say."""


class Script:
    """What the tests told so far: kept in the module, as the sources come and go."""

    def __init__(self) -> None:
        self.feeds: dict[str, Feed[Any]] = {}
        self.rate = 0.0
        self.owed = 0.0
        self.said = 0
        self.ends: dict[str, trio.Event] = {}


script = Script()


async def fills(config: Config, feed: Feed[Fill]) -> None:
    """Publishes what is said, and `rate` made-up fills a second."""
    script.feeds[feed.name] = feed
    ends = script.ends[feed.name] = trio.Event()
    feed.delivering()
    while not ends.is_set():
        with trio.move_on_after(STEP_S):
            await ends.wait()
        script.owed += script.rate * STEP_S
        while script.owed >= 1:
            script.owed -= 1
            say(feed, made_up(feed.clock()))
    raise UpstreamError("the test pulled the plug")


async def others(config: Config, feed: Feed[Any]) -> None:
    """Publishes what is said: forced orders or public trades."""
    script.feeds[feed.name] = feed
    feed.delivering()
    await trio.sleep_forever()


def say(feed: Feed[Fill], fill: Fill) -> None:
    """One fill, and the new total."""
    totals = feed.table("totals", Total)
    if feed.publish(fill, id=fill.id) is not None:
        so_far = totals.get("total") or Total(Decimal(0), 0, 1_790_000_000_000)
        volume = EXACT.add(so_far.volume, fill.notional)
        totals.append(evolve(so_far, volume=volume, count=so_far.count + 1), key="total")


def made_up(time_ms: int) -> Fill:
    """The next of an endless row of fills."""
    script.said += 1
    n = script.said * 7919 % 10_007
    symbol, price = [("BTC", 64_213), ("ETH", 3_187), ("SOL", 142), ("kPEPE", 1), ("HYPE", 38)][
        n % 5
    ]
    exact = Decimal(price) + Decimal(n % 97) / 100
    quantity = Decimal(n * n % 90_000 + 1) / Decimal(price * 2)
    quantity = quantity.quantize(Decimal("0.00001")) + Decimal("0.00001")
    buy = n % 3 != 0
    closes = n % 4 == 0
    return Fill(
        symbol,
        "BUY" if buy else "SELL",
        exact,
        quantity,
        EXACT.multiply(exact, quantity),
        time_ms,
        f"h:{time_ms}:{script.said}",
        f"0x{n * 104_729:040x}",
        ("Close Short" if buy else "Close Long")
        if closes
        else "Open Long"
        if buy
        else "Open Short",
        Decimal(n % 4001 - 2000) / 10 if closes else Decimal(0),
        Decimal(n % 700) / 100,
        "USDC",
        n % 2 == 0,
        f"0x{time_ms * 10**12 + n * 7_368_787:064x}",
    )


def filled(feed: Feed[Any], said: dict[str, Any]) -> Fill:
    """A made-up fill, but for what is said of it."""
    plain = converter.unstructure(made_up(feed.clock()))
    return converter.structure({**plain, **said}, Fill)


async def rankings(config: Config, feed: Feed[Ranking]) -> None:
    """Publishes what is said."""
    script.feeds[feed.name] = feed
    feed.delivering()
    await trio.sleep_forever()


def routes(config: Config, streams: Streams) -> Blueprint:
    """What tests say."""
    blueprint = Blueprint("scripted_feeds", __name__)

    @blueprint.post("/say/<name>")
    async def fills_said(name: str) -> str:
        feed = script.feeds[name]
        for one in json.loads(await request.get_data()):
            script.said += 1
            say(feed, filled(feed, one))
        return "said"

    @blueprint.post("/forced/<name>")
    async def forced_said(name: str) -> str:
        for one in json.loads(await request.get_data()):
            script.feeds[name].publish(converter.structure(one, Liquidation), id=one["id"])
        return "said"

    @blueprint.post("/trades/<name>")
    async def trades_said(name: str) -> str:
        for one in json.loads(await request.get_data()):
            script.feeds[name].publish(converter.structure(one, Trade), id=one["id"])
        return "said"

    @blueprint.post("/many/<name>/<int:count>")
    async def many_said(name: str, count: int) -> str:
        for _ in range(count):
            say(script.feeds[name], made_up(script.feeds[name].clock()))
        return "said"

    @blueprint.post("/rate/<int:rate>")
    async def rate_said(rate: int) -> str:
        script.rate = rate
        return "said"

    @blueprint.post("/break/<name>")
    async def broken(name: str) -> str:
        script.ends[name].set()
        return "said"

    @blueprint.post("/away/<name>/<int:ago_ms>")
    async def away(name: str, ago_ms: int) -> str:
        feed = script.feeds[name]
        feed.lost("the test was away", feed.clock() - ago_ms)
        return "said"

    @blueprint.post("/sum/<name>")
    async def sums_said(name: str) -> str:
        feed = script.feeds[name]
        said = json.loads(await request.get_data())
        for one in said.get("rankings", []):
            ranking = converter.structure(one, Ranking)
            feed.publish(ranking, key=ranking.key)
        for one in said.get("minutes", []):
            feed.table("minutes", Minute).append(
                converter.structure(one, Minute), key=str(one["time_ms"])
            )
        for one in said.get("hours", []):
            key = f"{one['symbol']}/{one['time_ms']}"
            feed.table("hours", CoinHour).append(converter.structure(one, CoinHour), key=key)
        for one in said.get("largest", []):
            fills = [filled(feed, row) for row in one["rows"]]
            rows = [row_of(fill, fill.address) for fill in fills]
            largest = Largest(one["window"], one["time_ms"], rows)
            feed.table("largest", Largest).append(largest, key=largest.window)
        return "said"

    return blueprint


@hookimpl
def flowd_sources() -> list[Source]:
    """The kinds `scripted-fills`, `-liquidations`, `-trades` and `-sums`."""
    sums = {"minutes": Minute, "hours": CoinHour, "largest": Largest}
    return [
        Source("scripted-fills", fills, Config, record=Fill, tables={"totals": Total}),
        Source("scripted-liquidations", others, Config, record=Liquidation),
        Source("scripted-trades", others, Config, record=Trade),
        Source("scripted-sums", rankings, Config, record=Ranking, tables=sums),
    ]


@hookimpl
def flowd_sinks() -> list[Sink]:
    """The kind `scripted-script`."""
    return [Sink("scripted-script", Config, routes=routes)]
