"""When a source was not delivering: records like any other, so that clients, pages and history get
them too.
"""

from collections.abc import Mapping

from attrs import evolve, field, frozen

from flowd.stream.log import Stream
from flowd.values.clock import Clock

NAME = "outages"
"""The name of the built-in stream."""
HERE = "outages.edge"
"""Its name where `outages` is that of another daemon, whose streams are carried here."""
ALIVE = "outages/alive"
"""A private table: how far each source's data reaches, as of the save."""


NOT_RUNNING = "the daemon was not running"

TOGETHER_MS = 60_000
"""Losses that are no further apart are one outage."""


@frozen
class Outage:
    """A time without data from a component: from `from_ms` to `to_ms`, both UTC; still open while
    `to_ms` is None. It begins where the data ends that was delivered, however late that came.
    """

    component: str
    from_ms: int
    to_ms: int | None
    reason: str = field(default="")
    recovered: int | None = None
    """How many records of it came later, by a replay or from a history; None where nothing did:
    what was told then is lost.
    """


@frozen
class Alive:
    """Up to this time everything that a source was told is here."""

    time_ms: int


class Outages:
    """Opens and closes outages in their stream, a table keyed by component and beginning."""

    def __init__(self, stream: Stream[Outage], clock: Clock) -> None:
        self.stream = stream
        self._clock = clock
        self._open: dict[str, Outage] = {}
        self._past: dict[str, Outage] = {}

    def resume(self, alive_ms: Mapping[str, int | None]) -> None:
        """Take up what the snapshot left: while the daemon was not running, nobody delivered.

        `alive_ms` says of each component when the snapshot last knew it to deliver, None when there
        was no snapshot.
        """
        for record in self.stream.after(0):
            if record.value.to_ms is None:
                self._open[record.value.component] = record.value
        for component in [component for component in self._open if component not in alive_ms]:
            self.close(component)
        for component, from_ms in alive_ms.items():
            if from_ms is not None:
                self.open(component, NOT_RUNNING, from_ms)

    def open(self, component: str, reason: str, from_ms: int | None = None) -> None:
        """This component delivers nothing, since `from_ms` or now. Nothing new when that is known
        already.
        """
        if component not in self._open:
            from_ms = self._clock() if from_ms is None else min(from_ms, self._clock())
            self._put(Outage(component, from_ms, None, reason))

    def close(self, component: str, to_ms: int | None = None) -> None:
        """This component delivers again, from `to_ms` on or from now."""
        outage = self._open.pop(component, None)
        if outage is not None:
            to_ms = max(self._clock() if to_ms is None else to_ms, outage.from_ms)
            self._put(evolve(outage, to_ms=to_ms))

    def explain(self, component: str, reason: str) -> None:
        """What is told of the outage that is open was only what came of this."""
        outage = self._open.get(component)
        if outage is not None:
            self._put(evolve(outage, reason=f"{reason}; {outage.reason}"))

    def past(self, component: str, reason: str, from_ms: int, to_ms: int | None = None) -> None:
        """This component missed something from `from_ms` until `to_ms` or now, though it delivers.
        Nothing new while it does not; and what is missed again and again is one outage that grows.
        """
        if component not in self._open:
            now_ms = self._clock() if to_ms is None else to_ms
            last = self._past.get(component)
            if last is not None and last.reason == reason and last.to_ms is not None:
                from_ms = last.from_ms if from_ms - last.to_ms < TOGETHER_MS else from_ms
            self._past[component] = Outage(component, min(from_ms, now_ms), now_ms, reason)
            self._put(self._past[component])

    def note(self, outage: Outage) -> None:
        """Something that is over already, or has grown since it was noted."""
        self._put(outage)

    def recovered(self, component: str, from_ms: int, to_ms: int, count: int) -> None:
        """All that was missed between these times has come after all, `count` records. An outage
        that is longer is split; of several that are shorter the last one gets the count.
        """
        for record in reversed(self.stream.after(0)):
            outage = record.value
            first_ms = max(from_ms, outage.from_ms)
            last_ms = to_ms if outage.to_ms is None else min(to_ms, outage.to_ms)
            if outage.component != component or outage.recovered is not None or first_ms > last_ms:
                continue
            if first_ms == last_ms and outage.from_ms != outage.to_ms:
                continue  # They only touch.
            self._past.pop(component, None)
            if outage.from_ms < first_ms:
                self._put(evolve(outage, to_ms=first_ms))
            self._put(evolve(outage, from_ms=first_ms, to_ms=last_ms, recovered=count))
            if outage.to_ms is None or last_ms < outage.to_ms:
                self._put(evolve(outage, from_ms=last_ms))
            count = 0

    def current(self, component: str) -> Outage | None:
        """The outage that is still open, None while the component delivers."""
        return self._open.get(component)

    def _put(self, outage: Outage) -> None:
        if outage.to_ms is None:
            self._open[outage.component] = outage
        if not self.stream.closed:
            self.stream.append(outage, key=f"{outage.component}@{outage.from_ms}")
