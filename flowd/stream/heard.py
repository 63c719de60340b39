"""What a standby's stream was told, held until the leader is known to have written it as well.

Two daemons that follow one upstream are told the same, each by a connection of its own. What has an
id is the same record in both, so what one of them did not write can be filled from what the other
one heard, and nothing counts twice.
"""

from collections import deque
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any, Final

from attrs import frozen

from flowd.stream.seen import SEEN_MAX, Seen

HEARD_BYTES: Final = 16 * 1024 * 1024
"""How much is held of one stream: JSON, ids, and what it takes to hold them."""
HEARD_MAX: Final = SEEN_MAX * 9 // 10
"""How many records of one stream: not more than of whose ids the other daemon can be sure."""
ENTRY_BYTES: Final = 200
"""What it takes to hold one, beside its JSON and its id."""


@frozen
class Told:
    """A record that was heard at `time_ms`, as it was written, with its id."""

    time_ms: int
    json: bytes
    id: str


class Heard:
    """The newest records of a stream that came with an id and without a key, in their order. What
    has neither cannot be told apart from what the other daemon wrote; what has a key is a state.

    A stream that is told to `journal` here notes each change.
    """

    def __init__(self, *, limit_bytes: int = HEARD_BYTES, limit: int = HEARD_MAX) -> None:
        self.bytes = 0
        self.limit_bytes = limit_bytes
        self.lost_ms: int | None = None
        """When the newest record was heard that made room since; None while all are here."""
        self._limit = limit
        self._told: deque[Told] = deque()
        self._first = 0
        """So many have made room."""

    def __len__(self) -> int:
        return len(self._told)

    @property
    def end(self) -> int:
        """The number of the next one that is heard."""
        return self._first + len(self._told)

    def append(self, change: Sequence[Any], /) -> None:
        """The stream has changed."""
        if len(change) != 6:
            return
        _, seq, time_ms, key, json, id = change
        if not seq or key is not None or id is None:
            return
        self._told.append(Told(time_ms, json, id))
        self.bytes += _size(json, id)
        while len(self._told) > self._limit or self.bytes > self.limit_bytes:
            self._make_room()

    def _make_room(self) -> None:
        oldest = self._told.popleft()
        self.bytes -= _size(oldest.json, oldest.id)
        self.lost_ms = oldest.time_ms
        self._first += 1

    def since(self, number: int) -> Iterator[Told]:
        """Those from this number on, oldest first. Nothing may be heard meanwhile."""
        return islice(self._told, max(0, number - self._first), None)

    def start(self, seen: Seen, newest_ms: int | None) -> int:
        """The number from which on none can have been written and forgotten by a stream that has
        `seen` these ids, and whose newest record is of `newest_ms`.

        It remembers so many ids and no more. Those that were told after one that it is sure to
        remember, it remembers as well, if it had them. Where it knows none of them, only what came
        after all that it has is sure.
        """
        if len(seen) == seen.total:
            return self._first  # It has never forgotten any.
        sure = frozenset(seen.since(seen.total - HEARD_MAX))
        for number, one in enumerate(self._told, self._first):
            if one.id in sure:
                return number
        for number, one in enumerate(self._told, self._first):
            if newest_ms is None or one.time_ms > newest_ms:
                return number
        return self.end


def _size(json: bytes, id: str) -> int:
    return len(json) + len(id) + ENTRY_BYTES
