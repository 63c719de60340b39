"""Follow two streams at once, with values of a type of our own."""

import sys
from dataclasses import dataclass
from decimal import Decimal

import trio
from flowd_client import Flowd, connect


@dataclass
class Order:
    """What we want to know of a forced order; its other fields are passed over."""

    symbol: str
    side: str
    notional: Decimal


async def orders(flowd: Flowd) -> None:
    """Print large orders."""
    async for batch in flowd.follow("force-orders", of=Order, limit=100, min_notional=3):
        for record in batch.records:
            print(record.value.symbol, record.value.notional, flush=True)


async def outages(flowd: Flowd) -> None:
    """Print when a source brings nothing."""
    async for batch in flowd.follow("outages"):
        for record in batch.records:
            print(record.value["component"], record.value["reason"], flush=True)


async def main(url: str) -> None:
    """Follow for ever."""
    async with connect(url) as flowd, trio.open_nursery() as nursery:
        nursery.start_soon(orders, flowd)
        nursery.start_soon(outages, flowd)


if __name__ == "__main__":
    trio.run(main, sys.argv[1])
