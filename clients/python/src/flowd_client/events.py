"""Server-Sent Events out of bytes, however these were cut."""

from typing import NamedTuple

EVENT_MAX = 64 << 20
"""No event is larger: what holds so much without an end is none."""


class Garbled(Exception):
    """What came is not what a flowd sends. The connection is given up, and another one made."""


class Event(NamedTuple):
    """One event. An `id` alone is one too: with flowd it moves the reader's place."""

    name: str
    id: str | None
    data: bytes | None


class Events:
    """Cuts what comes into events, and holds what is not yet one."""

    def __init__(self) -> None:
        self._held = bytearray()

    def feed(self, data: bytes) -> list[Event]:
        """The events that `data` completes."""
        looked_at = max(len(self._held) - 1, 0)
        self._held += data
        end = self._held.rfind(b"\n\n", looked_at)
        if end < 0:
            if len(self._held) > EVENT_MAX:
                raise Garbled(f"an event of more than {EVENT_MAX} bytes")
            return []
        whole = bytes(self._held[:end])
        del self._held[: end + 2]
        return [event for block in whole.split(b"\n\n") if (event := _event(block)) is not None]


def _event(block: bytes) -> Event | None:
    """An event from its lines; None when all of them are comments."""
    name, id, data = "message", None, None
    for line in block.split(b"\n"):
        field, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if field == b"data":
            data = value if data is None else data + b"\n" + value
        elif field == b"id":
            id = value.decode("utf-8", "replace")
        elif field == b"event":
            name = value.decode("utf-8", "replace")
    if data is None and id is None:
        return None
    return Event(name, id, data)
