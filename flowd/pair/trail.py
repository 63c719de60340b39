"""For how long one daemon has been behind another."""

from collections import deque
from itertools import islice

MARKS = 4096
"""When there are more, every second one is forgotten."""


class Trail:
    """At which frame the daemon that leads was when, for as long as the other one does not know
    it. Both are heard of now and then, and so exact is the answer.
    """

    def __init__(self) -> None:
        self._marks: deque[tuple[int, float]] = deque()

    def note(self, frame: int, now: float) -> None:
        """The one that leads is at this frame."""
        if not self._marks or frame > self._marks[-1][0]:
            self._marks.append((frame, now))
        if len(self._marks) > MARKS:
            self._marks = deque(islice(self._marks, 0, None, 2))

    def behind_s(self, known: int, now: float) -> float:
        """For how long there has been a frame behind `known`; 0 where there is none."""
        while self._marks and self._marks[0][0] <= known:
            self._marks.popleft()
        return now - self._marks[0][1] if self._marks else 0.0

    def clear(self) -> None:
        """Frames are counted anew, or nobody follows."""
        self._marks.clear()
