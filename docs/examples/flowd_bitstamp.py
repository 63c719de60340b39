"""Live trades of one pair from Bitstamp, as a flowd source."""

import json
from decimal import Decimal

from attrs import frozen

from flowd.plugin import Feed, Source, hookimpl


@frozen
class Config:
    """Which pair to follow, in Bitstamp's spelling, and where."""

    pair: str = "btcusd"
    url: str = "wss://ws.bitstamp.net"


@frozen
class Trade:
    """One trade: `amount` of the pair's first currency at `price` in its second."""

    pair: str
    price: Decimal
    amount: Decimal


def parse(pair: str, message: str | bytes) -> tuple[str, Trade] | None:
    """The trade in a message, with Bitstamp's id for it; None for all other events."""
    event = json.loads(message)
    if event["event"] != "trade":
        return None
    data = event["data"]
    trade = Trade(pair, Decimal(data["price_str"]), Decimal(data["amount_str"]))
    return str(data["id"]), trade


async def trades(config: Config, feed: Feed[Trade]) -> None:
    """Subscribe, then publish each trade once, until the connection ends."""
    wish = {"event": "bts:subscribe", "data": {"channel": f"live_trades_{config.pair}"}}
    async with feed.websocket(config.url) as upstream:
        await upstream.send(json.dumps(wish))
        async for message in upstream:
            found = parse(config.pair, message)
            if found is not None:
                id, trade = found
                feed.publish(trade, id=id)


@hookimpl
def flowd_sources() -> list[Source]:
    """The kind `bitstamp-trades`."""
    return [Source("bitstamp-trades", trades, Config, record=Trade)]
