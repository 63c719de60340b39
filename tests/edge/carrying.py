"""Waiting for a sink that carries streams to a broker, and filling what it carries."""

from functools import partial
from typing import Any

import trio

from flowd.plugin import Desk, Stream
from tests.edge.process import until


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
