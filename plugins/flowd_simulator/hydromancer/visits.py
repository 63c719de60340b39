"""Sessions: what the service remembers of clients, so that they may come back."""

from random import Random
from typing import Final

from attrs import define, field

from flowd_simulator.chain.accounts import digits
from flowd_simulator.hydromancer.terms import Terms
from flowd_simulator.hydromancer.wish import Wish
from flowd_simulator.session import Clock

VISITS_MAX: Final = 1000


@define(eq=False)
class Visit:
    """A client that may come back, and what it follows."""

    id: str
    key: str
    wishes: dict[str, Wish] = field(factory=dict)
    block: int = 0
    """The newest block that it could see."""
    left_ms: int | None = None


class Visits:
    """All that are remembered; the oldest are forgotten first."""

    def __init__(self, terms: Terms, clock: Clock, random: Random) -> None:
        self._terms = terms
        self._clock = clock
        self._random = random
        self._known: dict[str, Visit] = {}

    def begin(self, key: str) -> Visit:
        """A new session."""
        visit = Visit(digits(self._random.getrandbits(64), 32), key)
        self._known[visit.id] = visit
        while len(self._known) > VISITS_MAX:
            del self._known[next(iter(self._known))]
        return visit

    def find(self, id: str, key: str) -> Visit | None:
        """The session of this name, if it may be resumed."""
        visit = self._known.get(id)
        if visit is None or visit.key != key or self._terms.sessions != "resumed":
            return None
        gone_ms = 0 if visit.left_ms is None else self._clock() - visit.left_ms
        return None if gone_ms > self._terms.session_life_s * 1000 else visit
