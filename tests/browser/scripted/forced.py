"""Sources of liquidations and candles which say what a test tells them by POST."""

import json
from decimal import Decimal
from typing import Any

import trio
from attrs import frozen
from quart import Blueprint, request

from flowd.market import EXACT, Candle, Liquidation
from flowd.plugin import Feed, Sink, Source, Streams, hookimpl


@frozen
class Config:
    """Nothing to say."""


FEEDS: dict[str, Feed[Any]] = {}


async def speak(config: Config, feed: Feed[Any]) -> None:
    """Publishes what is said."""
    FEEDS[feed.name] = feed
    feed.delivering()
    await trio.sleep_forever()


def order(feed: Feed[Any], said: dict[str, Any], number: int) -> Liquidation:
    """A forced order: half a bitcoin for the notional that is said, now, but for what is said."""
    notional = Decimal(said["notional"])
    time_ms = feed.clock() - int(said.get("ago_ms", 0))
    venue = said.get("venue", "binance")
    return Liquidation(
        said.get("symbol", "BTCUSDT"),
        said.get("side", "SELL"),
        EXACT.multiply(notional, Decimal(2)),
        Decimal("0.5"),
        notional,
        time_ms,
        f"s:{time_ms}:{number}",
        venue,
        price_kind="bankruptcy" if venue == "bybit" else "fill",
        coverage="sampled" if venue == "binance" else "all",
    )


def candle(said: dict[str, Any]) -> Candle:
    """A candle of five minutes that opened and closed at these prices."""
    opened, closed, time_ms = Decimal(said["open"]), Decimal(said["close"]), said["time_ms"]
    zero = Decimal(0)
    return Candle(
        said["symbol"], "5m", time_ms, time_ms + 299_999, opened, max(opened, closed),
        min(opened, closed), closed, zero, zero, 0, zero, zero, True,
    )  # fmt: skip


def routes(config: Config, streams: Streams) -> Blueprint:
    """What tests say."""
    blueprint = Blueprint("scripted_forced", __name__)

    @blueprint.post("/orders/<name>")
    async def orders_said(name: str) -> str:
        feed = FEEDS[name]
        for number, one in enumerate(json.loads(await request.get_data())):
            value = order(feed, one, len(streams[name]) + number)
            feed.publish(value, id=value.id)
        return "said"

    @blueprint.post("/candles/<name>")
    async def candles_said(name: str) -> str:
        for one in json.loads(await request.get_data()):
            value = candle(one)
            FEEDS[name].publish(value, key=value.key)
        return "said"

    return blueprint


@hookimpl
def flowd_sources() -> list[Source]:
    """The kinds `scripted-forced` and `scripted-prices`."""
    return [
        Source("scripted-forced", speak, Config, record=Liquidation),
        Source("scripted-prices", speak, Config, record=Candle),
    ]


@hookimpl
def flowd_sinks() -> list[Sink]:
    """The kind `scripted-speaker`."""
    return [Sink("scripted-speaker", Config, routes=routes)]
