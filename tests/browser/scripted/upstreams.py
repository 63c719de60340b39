"""A source that carries the streams of another daemon, for as long as a file is there."""

from collections.abc import Mapping
from typing import Any

import trio
from attrs import frozen

from flowd.market import Liquidation
from flowd.plugin import Feed, Mirrored, Source, UpstreamError, hookimpl

STEP_S = 0.05
ORDER = (
    b'{"seq":1,"time_ms":1790000000000,"value":{"symbol":"BTCUSDT","side":"SELL","price":"64000",'
    b'"quantity":"2","notional":"128000","time_ms":1790000000000,"id":"one"}}'
)


@frozen
class Config:
    """The file without which nothing comes."""

    way: str


async def there(config: Config) -> Mapping[str, Mirrored]:
    """What another daemon would have."""
    return {
        "force-orders": Mirrored(Liquidation.__name__, "k3v9", kind="binance-force-order"),
        "outages": Mirrored("Outage", "k3v9"),
    }


async def follow(config: Config, feed: Feed[Any]) -> None:
    """Brings one order."""
    feed.mirror("force-orders").take(ORDER)
    feed.delivering()
    while True:
        await trio.sleep(STEP_S)
        if not await trio.Path(config.way).exists():
            raise UpstreamError("the test cut the way")


@hookimpl
def flowd_sources() -> list[Source]:
    """The kind `scripted-upstream`."""
    return [Source("scripted-upstream", follow, Config, object, streams=there)]
