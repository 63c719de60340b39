"""The ids that a stream has seen, to know a repeated event when it sees one."""

from collections import deque
from collections.abc import Sequence
from itertools import islice
from typing import Any

SEEN_MAX = 20_000
"""How many are remembered."""


class Seen:
    """The newest ids, and how many there ever were."""

    def __init__(self) -> None:
        self.total = 0
        self._ids: set[str] = set()
        self._order: deque[str] = deque()

    def __len__(self) -> int:
        return len(self._order)

    def __contains__(self, id: str) -> bool:
        return id in self._ids

    def remember(self, id: str) -> None:
        """One more; the oldest makes room."""
        self._ids.add(id)
        self._order.append(id)
        self.total += 1
        if len(self._order) > SEEN_MAX:
            self._ids.discard(self._order.popleft())

    def since(self, total: int) -> list[str]:
        """Those that came after so many, oldest first, as far as they are remembered."""
        new = min(self.total - total, len(self._order))
        return list(islice(reversed(self._order), new))[::-1]

    def restore(self, ids: Sequence[str], total: int) -> None:
        """Go on from these, of so many."""
        self._order = deque(ids[-SEEN_MAX:])
        self._ids = set(self._order)
        self.total = total

    def bounds(self) -> dict[str, Any]:
        """The limit that every stream has, for `/status`."""
        return {"seen_ids_per_stream": SEEN_MAX}
