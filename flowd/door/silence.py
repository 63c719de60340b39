"""Who is due to hear that the daemon is still there, and when: one entry for each, in the order of
time.
"""

import heapq
from itertools import count

import trio

from flowd.door.paths import Session


class Silence:
    """The clients of sinks that have a heartbeat. Each is due `after_s` after what it was sent
    last; when that was is looked at when it was due, so being sent something costs nothing here.
    """

    def __init__(self, after_s: float) -> None:
        self._after_s = after_s
        self._due: list[tuple[float, int, Session]] = []
        self._numbers = count()

    def add(self, session: Session) -> None:
        """A client has come."""
        if session.live.heartbeat is not None:
            self._put(session, session.spoke_at + self._after_s)

    async def next(self) -> Session:
        """Wait until somebody was sent nothing for so long, and is not behind; to be told, and to
        be added again.
        """
        await trio.lowlevel.checkpoint()
        while True:
            # Who comes meanwhile is due later than all who are here.
            now = trio.current_time()
            at = self._due[0][0] if self._due else now + self._after_s
            if at > now:
                await trio.sleep_until(at)
                continue
            session = heapq.heappop(self._due)[2]
            if session.client.gone:
                continue
            places = session.client.places.values()
            spoke_at = max((place.channel.spoke_at for place in places), default=0.0)
            due = max(spoke_at, session.spoke_at) + self._after_s
            if due > now:
                self._put(session, due)
            elif session.client.behind:
                self._put(session, now + self._after_s)  # It has something to read.
            else:
                return session

    def _put(self, session: Session, due: float) -> None:
        heapq.heappush(self._due, (due, next(self._numbers), session))
