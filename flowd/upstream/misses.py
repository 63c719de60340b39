"""What components missed of their inputs: announced as outages, and told by `/health` for a while.

A transform or sink misses something only when it was behind by more than its stream holds. What it
derives then lacks it for ever, so it must not pass in silence.
"""

import logging

import trio
from attrs import define, evolve, frozen

from flowd.upstream.outages import TOGETHER_MS, Outage, Outages
from flowd.values.clock import Clock
from flowd.values.record import Gap

logger = logging.getLogger("flowd")

TOLD_S = 3600.0
"""So long `/health` tells of what was missed."""
FULL_EVERY_S = 10.0
"""An outage of a table that loses one key after the other grows once in so long."""


@frozen
class Missed:
    """Records `first` to `last` of a stream fell off, `count` of them, before one component read
    them.
    """

    stream: str
    first: int
    last: int
    count: int
    from_ms: int
    to_ms: int
    at: float

    @property
    def words(self) -> str:
        """What happened, in a few words."""
        return f"missed {self.count} records of {self.stream}"


@define
class Full:
    """A table from which keys fall off for number: how many did, and when it was told last."""

    keys: int = 0
    told_at: float = float("-inf")


class Misses:
    """What each component missed of each stream lately, and what its tables had no room for."""

    def __init__(self, outages: Outages, clock: Clock) -> None:
        self._outages = outages
        self._clock = clock
        self._missed: dict[str, dict[str, Missed]] = {}
        self._full: dict[str, dict[str, Full]] = {}

    def note(self, component: str, stream: str, gap: Gap, since_ms: int | None) -> int:
        """These records fell off, after what the component read last at `since_ms`. Answers how
        many of them are news: another cursor of the component may have told of them.
        """
        now_ms = self._clock()
        of_it = self._missed.setdefault(component, {})
        known = of_it.get(stream)
        first = gap.first if known is None else max(gap.first, known.last + 1)
        count = gap.last - first + 1
        if count <= 0:
            return 0
        from_ms = min(now_ms if since_ms is None else since_ms, now_ms)
        found = Missed(stream, first, gap.last, count, from_ms, now_ms, trio.current_time())
        if known is not None and from_ms - known.to_ms < TOGETHER_MS:
            # What is missed again and again is one outage that grows.
            begun = min(known.from_ms, from_ms)
            found = evolve(found, first=known.first, count=known.count + count, from_ms=begun)
        of_it[stream] = found
        reason = f"{found.words} ({found.first} to {found.last})"
        logger.error("%s: %s: they fell off before it read them", component, reason)
        self._outages.note(Outage(component, found.from_ms, now_ms, reason))
        return count

    def skipped(self, component: str, what: str, error: str) -> None:
        """A component goes on without a record on which it failed twice: it is told like a loss."""
        logger.error("%s: skips %s, on which it failed twice: %s", component, what, error)
        self._outages.past(component, f"skipped {what}: {error:.200}", self._clock())

    def full(self, component: str, table: str, room: int) -> None:
        """A table, which is the component's state, has lost its oldest key to a new one."""
        now = trio.current_time()
        found = self._full.setdefault(component, {}).setdefault(table, Full())
        found.keys += 1
        if now - found.told_at >= FULL_EVERY_S:
            found.told_at = now
            reason = f"its table {table} is full, at {room} keys: the oldest fall off"
            logger.error("%s: %s", component, reason)
            self._outages.past(component, reason, self._clock())

    def lately(self, component: str) -> str | None:
        """What `/health` says of a component, None when there was nothing in the last hour."""
        now = trio.current_time()
        found = [one for one in self._missed.get(component, {}).values() if now - one.at < TOLD_S]
        words = [one.words for one in found]
        for table, full in self._full.get(component, {}).items():
            if now - full.told_at < TOLD_S:
                words.append(f"its table {table} is full, {full.keys} keys fell off")
        return " and ".join(words) or None

    def acknowledge(self, component: str) -> None:
        """Somebody has seen it."""
        self._missed.pop(component, None)
        self._full.pop(component, None)
