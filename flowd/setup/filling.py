"""From a standby's connections to the daemon's own: what the spares heard goes in until the sources
of the daemon deliver by themselves, and only what nobody heard is told as an outage.
"""

import logging
from collections.abc import Iterable, Mapping
from typing import Any, Final

import trio

from flowd.setup.supervisor import Child, Supervisor
from flowd.setup.warm import Span, Spare
from flowd.stream.log import Stream
from flowd.upstream.outages import Outage
from flowd.upstream.watch import Watch
from flowd.values.record import Record

logger = logging.getLogger("flowd")

Spares = Mapping[str, Spare]
"""By the name of the source."""

EVERY_S: Final = 0.2
"""What the spares hear goes in so often."""
LIMIT_S: Final = 30.0
"""For so long a spare stands in for a source that does not deliver."""
BEFORE_MS: Final = 60_000
"""What happened so long before the end of what the leader wrote was written by it, perhaps so long
ago that it is forgotten; or the leader told that it was missing.
"""
PORTION: Final = 100
"""Records that go in between two checkpoints."""
STANDBY: Final = "the standby's connection"


async def run(
    spares: Spares,
    watch: Watch,
    streams: Mapping[str, Stream[Any]],
    supervisor: Supervisor,
    *,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Fill, until no spare is needed any more, or the source is to end. Started once all is in that
    was heard so far.
    """
    filling = [
        _Filling(spare, watch, streams, supervisor.children[name]) for name, spare in spares.items()
    ]
    for one in filling:
        await one.begin()
    task_status.started()
    async with trio.open_nursery() as nursery:
        for one in filling:
            nursery.start_soon(one.run)


class _Filling:
    """One source of the daemon, for which a spare stands in."""

    def __init__(
        self, spare: Spare, watch: Watch, streams: Mapping[str, Stream[Any]], child: Child
    ) -> None:
        self._spare = spare
        self._watch = watch
        self._child = child
        self._feed = feed = watch.feeds[spare.name]
        self._outages = outages = watch.outages
        self._streams = {name: streams[name] for name in spare.heard}
        told = outages.current(feed.name)
        self._upto_ms = feed.ends_ms if told is None else told.from_ms
        """Until then nothing is missing that is not told as such; None where nothing ever came."""
        self._since_ms = 0 if self._upto_ms is None else self._upto_ms - BEFORE_MS
        """What happened before is left out where ids are forgotten: upstream tells of the past too.
        """
        self._whole: set[str] = set()
        """The streams that have never forgotten an id."""
        self._told = False
        """Whether an outage of it is open."""
        self._taken: dict[str, int] = {}
        """By stream: which of what the spare heard is to go in next."""
        self._count = 0

    async def begin(self) -> None:
        """Take what was heard so far."""
        for name, stream in self._streams.items():
            if len(stream.seen) == stream.seen.total:
                self._whole.add(name)
            newest = stream.newest_record
            newest_ms = None if newest is None else newest.time_ms
            self._taken[name] = self._spare.heard[name].start(stream.seen, newest_ms)
        await self._take()

    async def run(self) -> None:
        """Take what is heard until the source delivers by itself, and let the spare go."""
        until = trio.current_time() + LIMIT_S
        while not self._feed.tally.delivering and trio.current_time() < until:
            await trio.sleep(EVERY_S)
            if self._child.stopping:
                return
            await self._take()
        await self._end()

    # -- records

    async def _take(self) -> None:
        """Publish what the spare has heard since, and say up to when nothing is missing."""
        before, covered = self._count, self._tell(self._spare.spans())
        for name in self._streams:
            await self._fill(name)
        for from_ms, to_ms in covered:
            self._outages.recovered(self._spare.name, from_ms, to_ms, self._count - before)
            before = self._count
        if self._upto_ms is not None and not self._feed.tally.delivering:
            # If this daemon dies now, the next one goes on from here.
            self._feed.reach.resume(self._upto_ms)

    async def _fill(self, name: str) -> None:
        heard, stream = self._spare.heard[name], self._streams[name]
        told = list(heard.since(self._taken[name]))
        self._taken[name] = heard.end
        for number, record in enumerate(told, 1):
            if self._child.stopping:
                return  # Somebody else may lead already, and number by himself.
            if record.id not in stream.seen:
                found = Record.read(record.json, stream.record)
                if name in self._whole or self._spare.happened_ms(found) >= self._since_ms:
                    self._count += self._publish(name, found.value, record.id)
            if number % PORTION == 0:
                await trio.lowlevel.checkpoint()

    def _publish(self, name: str, value: Any, id: str) -> bool:
        if name == self._feed.name:
            return self._feed.publish(value, id=id, past=True) is not None
        return self._streams[name].append(value, id=id) is not None

    # -- outages

    def _tell(self, spans: Iterable[Span]) -> list[tuple[int, int]]:
        """Say what nobody heard. Answers the outages that were told before, of which all was heard
        after all.
        """
        name, outages = self._spare.name, self._outages
        covered: list[tuple[int, int]] = []
        for span in spans:
            if self._upto_ms is None:
                self._upto_ms = span.to_ms
            if span.to_ms <= self._upto_ms:
                continue
            told = outages.current(name)
            if span.from_ms > self._upto_ms:
                outages.open(name, span.why, self._upto_ms)
                outages.close(name, span.from_ms)
            elif told is not None:
                outages.close(name, span.to_ms)
                covered.append((told.from_ms, span.to_ms))
            self._upto_ms = span.to_ms
        delivering = self._feed.tally.delivering
        self._watch.cover(name, covered=self._spare.away is None and not delivering)
        if self._spare.away is not None and not delivering and self._upto_ms is not None:
            outages.open(name, self._spare.away, self._upto_ms)
        if not delivering:
            self._told = outages.current(name) is not None
        return covered

    async def _end(self) -> None:
        """The spare is needed no more, or stood in for long enough: it leaves once all has come
        that was under way to it.
        """
        name, feed, outages = self._spare.name, self._feed, self._outages
        left_ms = feed.clock()
        began_ms = left_ms if feed.tally.delivering else None
        self._watch.cover(name, covered=began_ms is None and self._spare.away is None)
        all_came = await self._spare.leave()
        for stream in self._streams:
            await self._fill(stream)
        if self._child.stopping:
            return
        upto_ms = self._upto_ms
        for span in self._spare.spans():
            if upto_ms is not None and span.from_ms <= upto_ms:
                upto_ms = max(upto_ms, span.to_ms)
        if all_came and upto_ms is not None:
            upto_ms = max(upto_ms, left_ms)
        self._watch.cover(name, covered=False)
        if began_ms is None and feed.tally.delivering:
            began_ms = feed.clock()
        if began_ms is None and upto_ms is not None:
            feed.reach.resume(upto_ms)
            outages.open(name, f"{STANDBY} has left, and nothing is delivered yet", upto_ms)
        elif began_ms is not None and upto_ms is not None and upto_ms < began_ms and not self._told:
            outages.note(Outage(name, upto_ms, began_ms, f"{STANDBY} ended before all had come"))
        logger.info("%s: %s is needed no more: %d records came by it", name, STANDBY, self._count)
