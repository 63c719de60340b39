"""Whether an ingest daemon publishes, as an edge finds out: from what it hears of others, and from
what comes.
"""

import math
from collections.abc import Iterable

import trio
from attrs import define, field

from flowd.plugin import Peer
from flowd_redis.beats import Heard

INGEST, EDGE = "ingest", "edge"
"""What daemons are for each other that a sink or a source of kind `redis` makes so."""
SILENT_S = 5.0
"""An ingest daemon that was not heard of for so long is gone, and one that could send nothing for
so long is no better.
"""


@define(eq=False)
class Ingest:
    """What is known of the ingest daemons; times are Trio's. Where there are several, one that
    publishes is enough.
    """

    where: str
    """Where they are heard of: of Redis."""
    _since: float = field(factory=trio.current_time)
    _alive: float = -math.inf
    _heard: Heard | None = None
    _stuck: Peer | None = None

    @property
    def clock_ms(self) -> int:
        """By how much its clock is ahead of Redis'."""
        return 0 if self._heard is None else self._heard.clock_ms

    def came(self) -> None:
        """Something came from it just now."""
        self._alive = trio.current_time()

    def hear(self, others: Iterable[Heard]) -> None:
        """These are all daemons that were heard of."""
        now, self._stuck = trio.current_time(), None
        for one in sorted(others, key=lambda other: -other.peer.age_ms):
            peer = one.peer
            if INGEST not in peer.role.split("+"):
                continue
            self._heard = one
            if peer.problem is not None and (peer.lag_ms or 0) >= SILENT_S * 1000:
                self._stuck = peer
            else:
                self._alive = max(self._alive, now - peer.age_ms / 1000)

    @property
    def publishes(self) -> bool:
        """Whether it is known to."""
        return trio.current_time() - self._alive < SILENT_S

    @property
    def silent_s(self) -> float:
        """For how long nothing was heard that would be a sign of it."""
        return trio.current_time() - max(self._alive, self._since)

    @property
    def trouble(self) -> str | None:
        """Why nothing comes, in a sentence; None while that is not sure."""
        if self.silent_s < SILENT_S:
            return None
        stays = "what is here is served"
        if self._stuck is not None:
            return f"the ingest daemon at {_at(self._stuck)} cannot send: {self._stuck.problem}"
        if self._heard is None:
            return f"no ingest daemon publishes at {self.where}: {stays}. Does one run there?"
        peer = self._heard.peer
        return (
            f"the ingest daemon at {_at(peer)} was last heard of {self.silent_s:.0f}s ago: "
            f"{stays}. Does it run, and does it reach Redis?"
        )


def _at(peer: Peer) -> str:
    return peer.addresses[0] if peer.addresses else f"{peer.host}, process {peer.pid}"
