"""Daemons that serve the same streams, as each tells of itself: what it is, and how far behind.

How they hear of each other is the plugins' business; here is what they tell.
"""

from collections.abc import Callable, Iterable
from typing import Any

import trio
from attrs import define, evolve, field, frozen

from flowd.values import codec

ALONE = "alone"
"""The role of a daemon that no plugin connects with others."""
PEERS_MAX = 128
"""Peers that are told at most."""
FORGET_S = 60.0
"""Who was not heard of for so long is told no more."""
SILENT_S = 6.0
"""Who was not heard of for so long may be gone: who is there says that he is every two seconds."""
FRESH_S = 3.0
"""How far behind a daemon is grows with time, where nobody has said it for so long."""


@frozen
class Peer:
    """A daemon at one instant, in its own words.

    `id` is that of one life of it, `role` what it is for others, in a word such as "ingest" or
    "edge". `behind` are records that it has still to take or to send, and `lag_ms` how much later
    than the ingest's its readers, or others, get what comes; None where it does neither. `problem`
    says why, in a sentence. It was heard of `age_ms` ago.
    """

    id: str = ""
    role: str = ALONE
    host: str = ""
    pid: int = 0
    version: str = ""
    addresses: tuple[str, ...] = ()
    started_ms: int = 0
    healthy: bool = True
    clients: int = 0
    behind: int | None = None
    lag_ms: int | None = None
    problem: str | None = None
    age_ms: int = 0


@frozen
class _Told:
    """What one component told of this daemon."""

    role: str
    behind: int | None
    lag_ms: int | None
    problem: str | None
    at: float

    @property
    def lag_now_ms(self) -> int | None:
        silent_s = trio.current_time() - self.at
        if self.lag_ms is None or silent_s < FRESH_S:
            return self.lag_ms
        return self.lag_ms + round(silent_s * 1000)


@define(eq=False)
class Peers:
    """This daemon among others: its plugins tell what it is and whom they heard of. Nothing here
    waits; what is told stays until it is told anew by the same component.

    Where several processes are this daemon, `ours` says of whom was heard whether he is one.
    """

    _own: Callable[[], Peer] = Peer
    ours: Callable[[Peer], bool] = lambda peer: False
    _told: dict[str, _Told] = field(factory=dict)
    _heard: dict[str, tuple[float, list[Peer]]] = field(factory=dict)

    def tell(
        self,
        component: str,
        role: str,
        *,
        behind: int | None = None,
        lag_ms: int | None = None,
        problem: str | None = None,
    ) -> None:
        """This component makes the daemon one of this role, and it is so far behind."""
        self._told[component] = _Told(role, behind, lag_ms, problem, trio.current_time())

    def heard(self, component: str, others: Iterable[Peer]) -> None:
        """These are all others whom this component knows of, at this instant."""
        found = [one for one in others if not self.ours(one)]
        self._heard[component] = (trio.current_time(), found[:PEERS_MAX])

    @property
    def own(self) -> Peer:
        """How this daemon is, as others may be told."""
        problem = next((one.problem for one in self._told.values() if one.problem), None)
        return evolve(self._own(), **self._place(), problem=problem)

    @property
    def others(self) -> list[Peer]:
        """Who was heard of lately, the longest-lived of each role first."""
        found: dict[str, Peer] = {}
        for at, peers in self._heard.values():
            since_ms = round((trio.current_time() - at) * 1000)
            for peer in peers:
                peer = evolve(peer, age_ms=peer.age_ms + since_ms)
                known = found.get(peer.id)
                fresher = known is None or peer.age_ms < known.age_ms
                if peer.age_ms <= FORGET_S * 1000 and fresher:
                    found[peer.id] = peer
        return sorted(found.values(), key=lambda one: (one.role != "ingest", one.started_ms))

    def figures(self) -> dict[str, Any]:
        """For `/status`: what this daemon is, and who else there is."""
        return {**self._place(), "peers": [codec.to_plain(one) for one in self.others]}

    def _place(self) -> dict[str, Any]:
        told = list(self._told.values())
        return {
            "role": "+".join(dict.fromkeys(one.role for one in told)) or ALONE,
            "behind": _most(one.behind for one in told),
            "lag_ms": _most(one.lag_now_ms for one in told),
        }


def _most(figures: Iterable[int | None]) -> int | None:
    return max((one for one in figures if one is not None), default=None)
