"""A third party's plugin that carries the streams of one daemon to another in the same process, as
far as a test tells it to.
"""

from collections import defaultdict
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import trio
from attrs import define, field, frozen

from flowd import testing
from flowd.plugin import Feed, Mirrored, Source, UpstreamError
from flowd.stream.log import Stream


@frozen
class Order:
    symbol: str
    price: int = 0


@frozen
class Nothing:
    """A component without settings."""


async def by_hand(config: Nothing, feed: Feed[Any]) -> None:
    """Publishes nothing: the test does."""
    feed.delivering()
    await trio.sleep_forever()


@define(eq=False)
class Ferry:
    """What one daemon has, for another one's source of the kind `ferry`."""

    streams: dict[str, Stream[Any]] = field(factory=dict)
    tables: set[str] = field(factory=set)
    protected: set[str] = field(factory=set)
    reachable: bool = True
    asked: int = 0
    feeds: list[Feed[Any]] = field(factory=list)
    runs: defaultdict[int, trio.Event] = field(factory=lambda: defaultdict(trio.Event))
    """Set when its source runs for the first time, the second, and so on."""
    over: str | None = None
    """Why the daemon is to start over."""
    missed: trio.Event = field(factory=trio.Event)
    """Set when it was asked and could not be reached."""
    _moved: trio.Event = field(factory=trio.Event)

    async def there(self, config: Nothing) -> Mapping[str, Mirrored]:
        await trio.lowlevel.checkpoint()
        self.asked += 1
        if not self.reachable:
            self.missed.set()
            raise UpstreamError("cannot be reached")
        return {
            name: Mirrored(
                one.record.__name__,
                one.epoch,
                one.retain.count,
                one.retain.age_s,
                table=name in self.tables,
                protected=name in self.protected,
                kind="hand" if name == "orders" else "",
            )
            for name, one in self.streams.items()
        }

    async def run(self, config: Nothing, feed: Feed[Any]) -> None:
        self.runs[len(self.feeds)].set()
        self.feeds.append(feed)
        feed.delivering()
        while self.over is None:
            await self._moved.wait()
        why, self.over = self.over, None
        await feed.start_over(why)

    def move(self, name: str, upto: int | None = None) -> None:
        """Carry what the other one does not have yet; what fell off is skipped."""
        mirror, source = self.feeds[-1].mirror(name), self.streams[name]
        if not mirror.table and source.floor > mirror.head.seq:
            mirror.skip(source.floor)
        for record in source.after(mirror.head.seq, upto=upto):
            mirror.take(record.json)

    def start_over(self, why: str) -> None:
        """Have the daemon start over."""
        self.over = why
        self._moved.set()
        self._moved = trio.Event()

    def plugin(self) -> Any:
        """Its hooks; they bring `hand` too, which publishes what the test does."""
        kinds = [
            Source("ferry", self.run, Nothing, record=object, streams=self.there),
            Source("hand", by_hand, Nothing, record=Order),
        ]
        return SimpleNamespace(flowd_sources=lambda: kinds)

    def registry(self, *modules: Any) -> Any:
        return testing.registry(self.plugin(), *modules)
