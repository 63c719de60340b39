"""How often somebody may do something: token buckets, which allow a pace and, once, more."""

from collections import OrderedDict
from collections.abc import Hashable

from attrs import define

REMEMBERED_MAX = 10_000


@define(eq=False)
class Bucket:
    """Holds `burst` tokens when full, and gets `per_s` of them back each second."""

    per_s: float
    burst: float
    tokens: float
    then: float

    @classmethod
    def full(cls, per_s: float, burst: float, now: float) -> "Bucket":
        """One from which nothing was taken yet."""
        return cls(per_s, burst, burst, now)

    def take(self, now: float, count: float = 1.0) -> bool:
        """Whether so many tokens were there; they are gone then."""
        if not self.holds(now, count):
            return False
        self.tokens -= count
        return True

    def holds(self, now: float, count: float = 1.0) -> bool:
        """Whether there are so many tokens."""
        self.tokens = min(self.burst, self.tokens + (now - self.then) * self.per_s)
        self.then = now
        return self.tokens >= count


class Buckets:
    """One bucket for each key; those not used for the longest time are forgotten, which fills
    them.
    """

    def __init__(self, per_s: float, burst: float) -> None:
        self._per_s = per_s
        self._burst = burst
        self._found: OrderedDict[Hashable, Bucket] = OrderedDict()

    def take(self, key: Hashable, now: float) -> bool:
        """Whether a token was there for this key."""
        return self._of(key, now).take(now)

    def holds(self, key: Hashable, now: float) -> bool:
        """Whether a token is there for this key."""
        found = self._found.get(key)
        return found is None or found.holds(now)

    def _of(self, key: Hashable, now: float) -> Bucket:
        found = self._found.get(key)
        if found is None:
            found = self._found[key] = Bucket.full(self._per_s, self._burst, now)
            if len(self._found) > REMEMBERED_MAX:
                self._found.popitem(last=False)
        self._found.move_to_end(key)
        return found
