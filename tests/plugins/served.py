"""A daemon whose streams the test writes itself, for the tests of sinks."""

from contextlib import AbstractAsyncContextManager
from decimal import Decimal
from types import SimpleNamespace
from typing import Any, Literal

import trio
from attrs import frozen

from flowd import testing
from flowd.plugin import Feed, Source
from flowd.values.record import Batch

CONFIG = """
[sources.orders]
kind = "by-hand"
retain = 5

[sources.prices]
kind = "by-hand-prices"

[sinks.under-test]
kind = "{kind}"
"""


@frozen
class Order:
    symbol: str
    side: Literal["BUY", "SELL"] = "BUY"
    price: Decimal = Decimal("1.50")


@frozen
class Price:
    pair: str
    open: bool = True


@frozen
class NoConfig:
    pass


async def by_hand(config: NoConfig, feed: Feed[Any]) -> None:
    await trio.sleep_forever()


BY_HAND = SimpleNamespace(
    flowd_sources=lambda: [
        Source("by-hand", by_hand, NoConfig, record=Order),
        Source("by-hand-prices", by_hand, NoConfig, record=Price),
    ]
)


def serving(plugin: Any, kind: str) -> AbstractAsyncContextManager[testing.Daemon]:
    """A daemon with the streams `orders` (five are retained) and `prices`, and one sink."""
    registry = testing.registry(BY_HAND, plugin)
    return testing.daemon(CONFIG.format(kind=kind), registry=registry)


def batch(*values: Any, after: int = 0, retain: int = 100, first: bool = False) -> Batch[Any]:
    """What a reader at `after` of a stream with these values gets."""
    stream = testing.stream("orders", values, retain=retain)
    return stream.read(after, first=first)
