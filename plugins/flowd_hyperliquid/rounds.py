"""Whose turn it is to be visited: who was never, then who was longest ago."""

from heapq import heapify, heappop, heappush


class Rounds:
    """All traders in the order of their last visit; who never was, in the order of discovery.

    Ties go by first sight, then by address, so that every daemon visits in the same order.
    """

    def __init__(self) -> None:
        self._due: dict[str, tuple[int, int, str]] = {}
        self._heap: list[tuple[int, int, str]] = []
        self._away: set[str] = set()
        self.waiting = 0
        """How many were never visited."""

    def __len__(self) -> int:
        return len(self._due)

    def __contains__(self, address: str) -> bool:
        return address in self._due

    def add(self, address: str, first_seen_ms: int, visited_ms: int | None = None) -> None:
        """Somebody new. None for who was never visited."""
        if address not in self._due:
            self._put((-1 if visited_ms is None else visited_ms, first_seen_ms, address))

    def take(self) -> str | None:
        """Whose turn it is: nobody else's until `visited` or `drop` says what became of
        it. None when everybody is on the way.
        """
        while self._heap:
            turn = heappop(self._heap)
            address = turn[2]
            if self._due.get(address) == turn and address not in self._away:
                self._away.add(address)
                return address
        return None

    def visited(self, address: str, time_ms: int) -> None:
        """Back of the queue: visited, or tried in vain."""
        turn = self._due.get(address)
        if turn is not None:
            self.waiting -= turn[0] < 0
            self._put((time_ms, turn[1], address))

    def drop(self, address: str) -> None:
        """This one is of no interest any more."""
        self._away.discard(address)
        turn = self._due.pop(address, None)
        self.waiting -= turn is not None and turn[0] < 0

    @property
    def oldest_ms(self) -> int | None:
        """When the one was visited whose visit is longest ago; None when there is none."""
        return min((turn[0] for turn in self._due.values() if turn[0] >= 0), default=None)

    def _put(self, turn: tuple[int, int, str]) -> None:
        self._away.discard(turn[2])
        self._due[turn[2]] = turn
        self.waiting += turn[0] < 0
        heappush(self._heap, turn)
        if len(self._heap) > 2 * len(self._due) + 64:
            self._heap = [turn for turn in self._due.values() if turn[2] not in self._away]
            heapify(self._heap)
