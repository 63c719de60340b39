"""The streams of an edge that are filled from Redis: several at once, each by a task of its own,
while all others are followed.
"""

from collections.abc import Callable, Collection, Mapping

import trio

from flowd_redis.copying import Copying, Reader, Unreadable

AT_ONCE = 16
"""Streams that are filled together: each waits for answers most of the time."""
AGAIN_S = 5.0
"""How soon one that cannot be read is tried again."""


class Filling:
    """Who is filled, who waits for that, and who cannot be. Who follows does not touch those."""

    def __init__(self, reader: Reader, copies: Mapping[str, Copying]) -> None:
        self.unreadable: dict[str, str] = {}
        """Why these cannot be read, in a sentence."""
        self._reader = reader
        self._copies = copies
        self._wanted: dict[str, None] = {}
        self._under_way: set[str] = set()
        self._again_at = 0.0
        self._since = trio.current_time()
        self._all_done = trio.Event()
        self._turns = trio.CapacityLimiter(AT_ONCE)
        self._large = trio.Lock()

    def want(self, names: Collection[str]) -> None:
        """These are to be filled with the next `start`."""
        if names and not self.left:
            self._since, self._all_done = trio.current_time(), trio.Event()
        self._wanted |= dict.fromkeys(names)

    def refuse(self, name: str, why: Unreadable) -> None:
        """This one cannot be read."""
        self.unreadable[name] = str(why)

    def again(self, readable: Callable[[str], bool]) -> None:
        """Try those again that could not be read, and may be now."""
        now = trio.current_time()
        if now >= self._again_at:
            self._again_at = now + AGAIN_S
            self.want([name for name in self.unreadable if readable(name)])

    def start(self, nursery: trio.Nursery) -> None:
        """Begin with all that are wanted, except for those that are under way."""
        for name in [name for name in self._wanted if name not in self._under_way]:
            del self._wanted[name]
            self._under_way.add(name)
            nursery.start_soon(self._fill, self._copies[name])

    def follows(self, name: str) -> bool:
        """Whether it is filled, so that what comes now comes next."""
        return name not in self._under_way and name not in self.unreadable

    @property
    def left(self) -> int:
        """How many are still to be filled."""
        return len(self._under_way | self._wanted.keys())

    @property
    def lasts_s(self) -> float:
        """For how long some have been."""
        return trio.current_time() - self._since if self.left else 0.0

    async def pause(self, seconds: float) -> None:
        """Wait for so long; but where some are filled, at most until all are."""
        if self.left:
            with trio.move_on_after(seconds):
                await self._all_done.wait()
        else:
            await trio.sleep(seconds)

    async def _fill(self, copy: Copying) -> None:
        async with self._turns:
            try:
                await copy.fill(self._reader, self._large)
            except Unreadable as error:
                self.refuse(copy.name, error)
            else:
                self.unreadable.pop(copy.name, None)
        self._under_way.discard(copy.name)
        if not self.left:
            self._all_done.set()
