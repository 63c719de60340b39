"""Who follows what of a stream that is about many things: clients, messages and slowness, by the
value of one field of its records, such as `symbol`.
"""

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable
from typing import Any

from attrs import define, field

from flowd.values.filters import Filter
from flowd.values.record import Batch

NAMES_MAX = 1000
"""More values than these are counted together, as `other`."""
OTHER = "other"
BOUNDS_S = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0)


@define(eq=False)
class Durations:
    """How long something took: how often at most so long as each of `BOUNDS_S`, or longer."""

    counts: list[int] = field(factory=lambda: [0] * (len(BOUNDS_S) + 1))
    sum_s: float = 0.0

    def add(self, seconds: float) -> None:
        """Once more."""
        self.counts[bisect_left(BOUNDS_S, seconds)] += 1
        self.sum_s += seconds

    def buckets(self) -> list[tuple[str, int]]:
        """As Prometheus counts them: each bound with all that took no longer."""
        made, total = [], 0
        for bound, count in zip((*map(str, BOUNDS_S), "+Inf"), self.counts, strict=True):
            total += count
            made.append((bound, total))
        return made


@define(eq=False)
class Audience:
    """What a path's clients follow, counted by a field of the records. A sink makes one and gives
    it to its `Live`; only channels write into it.

    A client counts for each value that its filter lists, a message for each record in it.
    """

    by: str
    clients: Counter[str] = field(factory=Counter)
    sent: Counter[str] = field(factory=Counter)
    slow: Counter[str] = field(factory=Counter)
    took: dict[str, Durations] = field(factory=dict)
    """How long it took to write one message to all who keep up."""

    def came(self, filter: Filter) -> None:
        """A client follows."""
        for name in self._listed(filter):
            self.clients[name] += 1

    def went(self, filter: Filter) -> None:
        """It does so no more."""
        for name in self._listed(filter):
            self.clients[name] -= 1
            if not self.clients[name]:
                del self.clients[name]

    def was_slow(self, filter: Filter) -> None:
        """A client was stalled for too long, and told so."""
        for name in self._listed(filter):
            self.slow[self._name(name, self.slow)] += 1

    def values(self, batch: Batch[Any]) -> list[str]:
        """What a batch is about: a value for each record."""
        return [str(getattr(record.value, self.by, "")) for record in batch.records]

    def delivered(self, values: Iterable[str], clients: int, seconds: float | None = None) -> None:
        """Messages about these went to so many clients; in a pass, which took so long."""
        for value in values:
            name = self._name(value, self.sent)
            self.sent[name] += clients
            if seconds is not None and clients:
                self.took.setdefault(name, Durations()).add(seconds)

    def _listed(self, filter: Filter) -> tuple[str, ...]:
        return next((values for name, values in filter.terms if name == self.by), ())

    def _name(self, value: str, known: Counter[str]) -> str:
        return value if value in known or len(known) < NAMES_MAX else OTHER

    def figures(self) -> dict[str, Any]:
        """All of it, for `/status`; durations as their buckets, sum and count."""
        took = {
            name: {
                "buckets": durations.buckets(),
                "sum_s": durations.sum_s,
                "count": sum(durations.counts),
            }
            for name, durations in self.took.items()
        }
        counted = {"clients": self.clients, "sent": self.sent, "slow": self.slow}
        return {
            "by": self.by,
            **{name: dict(count) for name, count in counted.items()},
            "took": took,
        }
