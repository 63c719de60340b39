"""Watches over the sources, and writes down when they did not deliver: what their feeds and their
runs tell becomes outages, and so does that this process did not run itself.
"""

import logging
from collections.abc import Collection
from typing import Any

import trio

from flowd.stream.log import Stream
from flowd.upstream.feed import Feed
from flowd.upstream.outages import Alive, Outages
from flowd.values.clock import Clock, Stopwatch

logger = logging.getLogger("flowd")

BEAT_S = 1.0
SLEPT_S = 3.0
"""A beat that comes so much later than it should was slept through."""


class Watch:
    """Knows of all sources how far their data reaches, also across restarts."""

    def __init__(
        self,
        outages: Outages,
        alive: Stream[Alive],
        clock: Clock,
        uptime: Stopwatch,
        slept_s: float = SLEPT_S,
    ) -> None:
        self.outages = outages
        self._alive = alive
        self._clock = clock
        self._uptime = uptime
        self._slept_s = slept_s
        self._started_ms = clock()
        self.feeds: dict[str, Feed[Any]] = {}
        """Those of the sources, by name."""
        self._delivering: set[str] = set()
        self._covered: set[str] = set()

    def add(self, feed: Feed[Any]) -> None:
        """Watch over this source's feed too."""
        self.feeds[feed.name] = feed

    def resume(self, saved_ms: int | None, covered: Collection[str] = ()) -> None:
        """Take up what the snapshot left, which was saved then if there was one: while the daemon
        was not running, nobody delivered. For the sources that are `covered`, as by `cover`,
        somebody else may have.
        """
        self._covered.update(covered)
        since_ms: dict[str, int | None] = {}
        for name, feed in self.feeds.items():
            alive = self._alive.get(name)
            ended_ms = since_ms[name] = saved_ms if alive is None else alive.time_ms
            if ended_ms is not None:
                feed.reach.resume(ended_ms)
        self.outages.resume(since_ms | dict.fromkeys(self._covered))

    def note(self) -> None:
        """Of one instant with what is saved: after a crash, the outage begins here."""
        for name, feed in self.feeds.items():
            time_ms = feed.saved_ms
            if time_ms is not None and not self._alive.closed:
                self._alive.append(Alive(time_ms), key=name)

    def cover(self, name: str, *, covered: bool) -> None:
        """As long as a connection of somebody else stands in for this source's own, it is no outage
        that it does not deliver: whoever covers it tells what is missing.
        """
        if covered:
            self._covered.add(name)
        else:
            self._covered.discard(name)

    def lost(self, name: str, reason: str, from_ms: int, to_ms: int | None) -> None:
        """Upstream left something out between these times, by the source's own words."""
        if name not in self._covered:
            self.outages.past(name, reason, from_ms, to_ms)

    def fell(self, name: str, why: str | None) -> None:
        """This component does not run, or does so anew; it was stopped where there is no other
        reason. Nothing for who is no source, or has a connection still.
        """
        feed = self.feeds.get(name)
        if feed is not None and not feed.tally.open:
            from_ms = feed.saved_ms if why is None else feed.ends_ms
            feed.tally.delivering = False
            if name not in self._covered:
                self.outages.open(name, why or "stopped", from_ms or self._started_ms)

    async def run(self) -> None:
        """Beat for ever. Who is late slept: the process was stopped, the machine suspended, or the
        loop held; what upstream told meanwhile may be lost.
        """
        while True:
            self._delivering = {n for n, feed in self.feeds.items() if feed.tally.delivering}
            began_s, began_ms = self._uptime(), self._clock()
            await trio.sleep(BEAT_S)
            took_s = self._uptime() - began_s
            if took_s - BEAT_S >= self._slept_s:
                self._slept(took_s - BEAT_S)
            set_s = (self._clock() - began_ms) / 1000 - took_s
            if abs(set_s) >= SLEPT_S:
                logger.warning("the clock was set by %+.0fs", set_s)
                for feed in self.feeds.values():
                    feed.reach.forget()

    def _slept(self, seconds: float) -> None:
        why = f"suspended for {seconds:.0f}s"
        logger.warning("%s: stopped, or held by something, or the machine slept", why)
        for name in self._delivering:
            feed = self.feeds[name]
            if feed.tally.delivering:
                feed.slept()
                if name not in self._covered:
                    self.outages.open(name, why, feed.ends_ms)
            else:
                self.outages.explain(name, why)
