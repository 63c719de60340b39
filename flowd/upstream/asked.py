"""What other components ask of one: a short line of texts, and nothing is answered. What comes of
it is in the streams.
"""

from collections import OrderedDict

import trio

from flowd.values.tally import Tally

ASKED_MAX = 100
"""Questions that wait for one component; the oldest make room."""
ASKED_CHARACTERS = 200


class Asked:
    """The questions that wait for a component, each once, oldest first."""

    def __init__(self, tally: Tally) -> None:
        self._tally = tally
        self._waiting: OrderedDict[str, None] = OrderedDict()
        self._news = trio.lowlevel.ParkingLot()

    def put(self, what: str) -> None:
        """Ask. Nothing when it waits already; what is longer than `ASKED_CHARACTERS` is no
        question.
        """
        if len(what) > ASKED_CHARACTERS or what in self._waiting:
            return
        self._waiting[what] = None
        if len(self._waiting) > ASKED_MAX:
            self._waiting.popitem(last=False)
            self._tally.dropped["asked for too much at once"] += 1
        self._news.unpark_all()

    async def take(self) -> str:
        """The oldest question, which waits no more; waits for one."""
        await trio.lowlevel.checkpoint()
        while not self._waiting:
            await self._news.park()
        return self._waiting.popitem(last=False)[0]
