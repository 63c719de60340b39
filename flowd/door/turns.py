"""Whose answer is prepared next, where each wants one of its own and preparing it takes a while.

Anybody may ask for something that nobody else asks for. So few are prepared at once, those of one
address one after the other, and whoever would wait long is told to come again.
"""

import os
from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import trio

from flowd.door.addresses import is_local
from flowd.values.errors import BadRequest

AT_ONCE = max(1, min(4, (os.cpu_count() or 1) - 1))
"""One processor is left to the loop."""
WAITING_MAX = 64
WAITING_HERE_MAX = 8
"""Of one address, unless it is this machine's own, behind which a proxy may speak for many."""


class Turns:
    """The queue: first come, first served, but for whoever has a turn already."""

    def __init__(self) -> None:
        self._all = trio.CapacityLimiter(AT_ONCE)
        self._here: dict[str, trio.CapacityLimiter] = {}
        self._waiting: Counter[str] = Counter()

    @asynccontextmanager
    async def turn(self, address: str) -> AsyncGenerator[None, None]:
        """Wait for a turn; it is over with the block. BadRequest when too many wait."""
        here_max = WAITING_MAX if is_local(address) else WAITING_HERE_MAX
        if self._waiting[address] >= here_max or self._waiting.total() >= WAITING_MAX:
            raise BadRequest(
                "too many ask for something of their own at the moment",
                parameter="query",
                allowed="try again a little later; ask for what others ask for, or for less",
                code="BUSY",
                status=503,
            )
        self._waiting[address] += 1
        here = self._here.setdefault(address, trio.CapacityLimiter(1))
        try:
            async with here, self._all:
                yield
        finally:
            self._waiting[address] -= 1
            if not self._waiting[address]:
                del self._waiting[address], self._here[address]
