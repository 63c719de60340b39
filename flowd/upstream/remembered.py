"""What an upstream is asked for now and then, such as what it lists, remembered from run to run:
who needs it does not wait for a REST service, nor fails with it.
"""

from collections.abc import Awaitable, Callable
from typing import Any, Generic, Protocol, TypeVar

import trio

from flowd.upstream.feed import Feed
from flowd.values.errors import UpstreamError


class Told(Protocol):
    """A record of the table: what was told, and when, in wall time."""

    @property
    def time_ms(self) -> int:
        """When it was told."""


V = TypeVar("V", bound=Told)


class Remembered(Generic[V]):
    """What `ask` brought last, in the private table `name` of the component, whose records are of
    the class `record` and have a `time_ms`.

    It is `fresh_s` as good as new, and is done with until it is `old_s` old where there is nothing
    newer to be had. What fails is counted as dropped, by the reason "no `what`".
    """

    def __init__(
        self,
        feed: Feed[Any],
        name: str,
        record: type[V],
        ask: Callable[[], Awaitable[V]],
        *,
        what: str,
        fresh_s: float,
        old_s: float,
        retry_s: float,
    ) -> None:
        self._feed = feed
        self._name = name
        self._table = feed.table(name, record)
        self._ask = ask
        self._what = what
        self._fresh_s = fresh_s
        self._old_s = old_s
        self._retry_s = retry_s

    @property
    def known(self) -> V | None:
        """What was told last, however long ago; None if nothing ever was."""
        newest = self._table.newest_record
        return None if newest is None else newest.value

    async def get(self) -> V:
        """What is known, anew if it is time. UpstreamError when it is not to be had, and nothing is
        known that is young enough to do without.
        """
        known = self.known
        if known is not None and self._due_s(known) > 0:
            return known
        try:
            return await self.refresh()
        except UpstreamError as error:
            if known is None or self._age_s(known) > self._old_s:
                raise
            self._drop(error)
            return known

    async def refresh(self) -> V:
        """Ask, whatever is known. UpstreamError when it is not to be had."""
        told = await self._ask()
        self._table.append(told, key=self._name)
        return told

    async def next(self) -> V:
        """Wait until it is time, and for an answer; after one that does not come, `retry_s`."""
        while True:
            known = self.known
            due_s = 0.0 if known is None else self._due_s(known)
            await trio.sleep(due_s or self._retry_s)
            try:
                return await self.refresh()
            except UpstreamError as error:
                self._drop(error)

    def _age_s(self, known: V) -> float:
        return (self._feed.clock() - known.time_ms) / 1000

    def _due_s(self, known: V) -> float:
        """In how many seconds it is to be asked for again; never longer than if it were new, though
        the clock was set back.
        """
        return min(max(0.0, self._fresh_s - self._age_s(known)), self._fresh_s)

    def _drop(self, error: UpstreamError) -> None:
        self._feed.drop(f"no {self._what}", str(error))
