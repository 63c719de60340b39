"""A long run that can be told to end: at once, or with a verdict on what was seen so far."""

import signal
from collections.abc import Awaitable, Callable
from typing import TypeVar

import trio

V = TypeVar("V")


async def until_told(run: Callable[[], Awaitable[V]], enough: Callable[[], None]) -> V | None:
    """What the run came to. The first Ctrl-C calls `enough`; at the second, or at SIGTERM, it is
    cancelled, so that all that was started is ended on the way out, and there is None.
    """
    verdict = None

    async def listen(*, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        asked = False
        with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
            task_status.started()
            async for number in signals:
                if asked or number == signal.SIGTERM:
                    nursery.cancel_scope.cancel()
                asked = True
                enough()

    async with trio.open_nursery() as nursery:
        await nursery.start(listen)
        verdict = await run()
        nursery.cancel_scope.cancel()
    return verdict
