"""How far the data of one source reaches, by the time at which upstream says that things happened.

When a message is handled says little of what it holds: after a minute in which this process slept
or got no processor, everything that is read is a minute old, and what is lost with the connection
then is not the last second but the last minute.
"""

from collections import deque

SPAN_MS = 10_000
"""The least lag is noted once in so long a time."""
SPANS = 360
"""The usual lag is the least of so many spans in which something came: of an hour, if it always
does.
"""
FITTING_MS = 600_000
"""Times that are further from this machine's clock do not say when something was sent: they are of
old data, or of a clock that is wrong.
"""


class Reach:
    """What upstream's own times say about one source: up to when its data is here, and how late it
    comes.

    An exchange's clock is not this machine's; the usual lag, which is the least, is the difference
    between the two and the way of a message. Somebody who looks an outage up may hold it against
    either clock, so it begins by the earlier and ends by the later of them.
    """

    def __init__(self) -> None:
        self._newest_ms: int | None = None
        self._resumed = False
        """Whether only an earlier life said how far the data reaches."""
        self._noted_ms = 0
        self._turn_ms = 0
        self._least_ms: int | None = None
        self._before_ms: int | None = None
        self._leasts: deque[int] = deque(maxlen=SPANS)

    def note(self, happened_ms: int, now_ms: int) -> None:
        """Upstream tells now what happened then."""
        lag_ms = now_ms - happened_ms
        if lag_ms < -FITTING_MS:
            return
        if now_ms >= self._turn_ms:
            self._turn(now_ms)
        if self._least_ms is None or lag_ms < self._least_ms:
            self._least_ms = lag_ms
        self._noted_ms = now_ms

    def upto(self, told_ms: int, now_ms: int) -> None:
        """All that happened until then has been told."""
        newest_ms = self._newest_ms
        if abs(now_ms - told_ms) <= FITTING_MS and (newest_ms is None or told_ms > newest_ms):
            self._newest_ms, self._resumed = told_ms, False

    def resume(self, ends_ms: int) -> None:
        """Go on from where the data ended in an earlier life, until it is delivered again."""
        self._newest_ms, self._resumed = ends_ms, True

    def _turn(self, now_ms: int) -> None:
        if self._least_ms is not None:
            self._leasts.append(self._least_ms)
        self._before_ms = self._least_ms if now_ms - self._turn_ms < SPAN_MS else None
        self._least_ms = None
        self._turn_ms = now_ms + SPAN_MS

    def forget(self) -> None:
        """The clock of this machine was set: what was learned by it holds no more."""
        self._newest_ms = self._least_ms = self._before_ms = None
        self._resumed = False
        self._turn_ms = 0
        self._leasts.clear()

    @property
    def usual_ms(self) -> int:
        """How late its data comes at best; negative where the exchange's clock is ahead."""
        current = [] if self._least_ms is None else [self._least_ms]
        return min([*self._leasts, *current], default=0)

    def late_ms(self, now_ms: int) -> int | None:
        """How much later than usual its data comes, by the best of the last ten seconds or so; None
        when nothing came in them.
        """
        if not 0 <= now_ms - self._noted_ms < 2 * SPAN_MS:
            return None
        recent = [lag_ms for lag_ms in (self._least_ms, self._before_ms) if lag_ms is not None]
        return min(recent) - self.usual_ms if recent else None

    def ends_ms(self, alive_ms: int | None) -> int | None:
        """Up to when everything that upstream told is here: as far as the data reaches, and not
        beyond the last sign of life.
        """
        if self._newest_ms is None:
            return alive_ms
        ends_ms = self._newest_ms + min(self.usual_ms, 0)
        return ends_ms if alive_ms is None else min(ends_ms, alive_ms)

    def begins_ms(self, now_ms: int) -> int:
        """From when on everything is here, if it is delivered again from now on."""
        if self._resumed:
            # Not every source is told times, and then this one would be its end for ever.
            self._newest_ms, self._resumed = None, False
        elif self._newest_ms is not None:
            self._newest_ms = max(self._newest_ms, now_ms - self.usual_ms)
        return now_ms - min(self.usual_ms, 0)
