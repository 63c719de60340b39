"""What one component counts, for `/status`: what it published, and what it had to drop and why."""

import logging
from collections import Counter
from collections.abc import Callable

from attrs import define, field

DROP_LOG_EVERY_MS = 60_000
DROP_LOG_MOST_MS = 3_600_000
"""What is dropped all the time is logged half as often each time, down to once in so long."""
REASONS_MAX = 64
"""Different reasons for dropping that are counted by name; further ones are counted as `other`."""


@define(eq=False)
class Tally:
    """What a component did so far, for `/status`. Counts begin with the process; times are wall
    milliseconds.
    """

    published: int = 0
    duplicates: int = 0
    messages: int = 0
    connections: int = 0
    open: int = 0
    """Upstream connections open now; two for a moment while one is renewed."""
    delivering: bool = False
    last_frame_ms: int | None = None
    """Any sign of life from upstream, also a pong."""
    last_message_ms: int | None = None
    last_alive_ms: int | None = None
    """When something came that proves that data can come."""
    last_record_ms: int | None = None
    missed: int = 0
    dropped: Counter[str] = field(factory=Counter)
    problem: str | None = None
    """What is wrong though it runs, as the component says."""
    figures: dict[str, float] = field(factory=dict)
    """What else the component itself counts and limits, by name."""
    refresh: Callable[[], None] = lambda: None
    """Called before the figures are told: it sets those that cost something to find out."""
    _logged: dict[str, tuple[int, int]] = field(factory=dict, init=False)
    """When each reason was logged, and for how long it is then not."""

    def told(self) -> dict[str, float]:
        """The figures as they are now."""
        self.refresh()
        return dict(self.figures)

    def drop(self, name: str, reason: str, sample: object, now_ms: int, count: int = 1) -> None:
        """Count something unusable. Each reason is logged at most once a minute, with the
        sample, and the more seldom the longer it goes on: some exchanges mix in what nobody wants.
        """
        dropped = self.dropped
        if reason not in dropped and len(dropped) >= REASONS_MAX:
            reason = "other"
        dropped[reason] += count
        logged_ms, pause_ms = self._logged.get(reason, (None, DROP_LOG_EVERY_MS))
        if logged_ms is None or now_ms - logged_ms >= pause_ms:
            if logged_ms is not None:
                went_on = now_ms - logged_ms < 2 * pause_ms
                pause_ms = min(2 * pause_ms, DROP_LOG_MOST_MS) if went_on else DROP_LOG_EVERY_MS
            self._logged[reason] = now_ms, pause_ms
            text = "" if sample is None else f": {sample!r:.200}"
            logging.getLogger(f"flowd.{name}").warning(
                "%s: dropped (%s, %d so far)%s", name, reason, dropped[reason], text
            )
