"""A sink that carries streams to a broker: at work, waited for, and killed again and again."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import trio

from flowd import testing
from flowd.plugin import Desk, Stream
from tests.edge.exchange import Exchange
from tests.edge.process import Flowd, until

LIVES = 3
AGAIN = 6
"""A broker fails so often, which is more than a sink has connections."""


@asynccontextmanager
async def at_work(
    sink: Callable[..., Awaitable[None]], config: Any, *streams: Stream[Any]
) -> AsyncIterator[Desk]:
    """The sink at work on these streams; its desk."""
    desk = testing.desk("carrying")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(sink, config, testing.streams(*streams), desk)
        yield desk
        nursery.cancel_scope.cancel()


async def killed_again_and_again(
    daemon: Flowd, exchange: Exchange, there: Callable[[], Awaitable[list[Any]]]
) -> None:
    """A daemon that carries `orders` is killed under way, several times. In the end the broker,
    which is asked by `there`, has each record once, in order, as the daemon has it.
    """
    for _ in range(LIVES):
        await daemon.start()
        await daemon.reached(exchange.say(300)[-1])
        await daemon.kill()
    await daemon.start()
    await daemon.reached(exchange.say(1)[-1])
    served = (await daemon.poll("?limit=5000"))["records"]
    found = await until(there, lambda found: found and found[-1]["seq"] == served[-1]["seq"])
    await daemon.stop()

    assert [one["seq"] for one in found] == [*range(1, served[-1]["seq"] + 1)]
    assert found == served
    assert "Traceback" not in daemon.log


async def sent(desk: Desk, count: int) -> None:
    """Wait until so many records were acknowledged, and none is left."""
    await until(
        partial(figures, desk), lambda found: found["sent"] >= count and not found["behind"]
    )


async def figures(desk: Desk) -> dict[str, float]:
    await trio.lowlevel.checkpoint()
    return {"sent": desk.tally.published, **desk.tally.told()}


async def problem(desk: Desk, words: str = "") -> str:
    """Wait until it says that something is wrong, in these words."""

    async def asked() -> str | None:
        await trio.lowlevel.checkpoint()
        return desk.tally.problem

    found: str = await until(asked, lambda found: found is not None and words in found)
    return found


async def well(desk: Desk) -> None:
    """Wait until nothing is wrong any more, and all is there, by whichever attempt."""

    async def asked() -> bool:
        await trio.lowlevel.checkpoint()
        return desk.tally.problem is None and not desk.tally.told()["behind"]

    await until(asked, bool)


def fill(stream: Stream[Any], count: int) -> None:
    for _ in range(count):
        stream.append({"price": stream.head.seq})
