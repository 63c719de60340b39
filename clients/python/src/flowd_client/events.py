"""Server-Sent Events out of bytes, however these were cut."""

import zlib
from collections.abc import Callable
from typing import NamedTuple

EVENT_MAX = 64 << 20
"""No event is larger: what holds so much without an end is none."""


class Garbled(Exception):
    """What came is not what a flowd sends. The connection is given up, and another one made."""


def unpacker(encoding: str) -> Callable[[bytes], bytes]:
    """What makes a body's next bytes plain, as they come. It raises Garbled."""
    if encoding.strip().lower() in ("", "identity"):
        return bytes
    if encoding.strip().lower() != "gzip":
        raise Garbled(f"an answer in {encoding!r:.80}, which nobody asked for")
    gzip = zlib.decompressobj(zlib.MAX_WBITS | 16)

    def unpack(data: bytes) -> bytes:
        try:
            return gzip.decompress(data)
        except zlib.error as wrong:
            raise Garbled(f"what is no gzip: {wrong}") from wrong

    return unpack


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
