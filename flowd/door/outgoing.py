"""Answers on their way to who asked: sent in slices of the bytes that all share, and counted.

What a socket takes at once was never on its way, and for most answers that is all of it. Of the
others a body that many are sent counts once. When there is no room for another, whoever has not
taken a byte for a while makes room; else the newest request is refused.
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import trio
from attrs import define, field

from flowd.values.errors import BadRequest

AT_ONCE_BYTES = 256 * 1024
"""Given to a socket before others are let run: copying much more would hold the loop."""
SLICE_BYTES = 64 * 1024
"""Sent at once when there is waiting: whoever takes one, has moved on."""
SMALL_BYTES = 64 * 1024
"""What a socket's own buffer takes, if it is empty. The last quarter is for answers of this size,
so that large ones shut nobody out who asks for little.
"""
SEND_TIMEOUT_S = 15.0
"""A whole answer may take so long."""
STALLED_S = 1.0
"""Who took no byte for so long goes where room is needed."""


@define(eq=False)
class Sending:
    """One answer on its way."""

    parts: Sequence[bytes]
    moved_at: float
    scope: trio.CancelScope = field(factory=trio.CancelScope)


class Outgoing:
    """All answers that are being sent, within `most_bytes`."""

    def __init__(self, most_bytes: int) -> None:
        self.most_bytes = most_bytes
        self.bytes = 0
        self.refused = 0
        self.cut = 0
        self._holders: dict[int, int] = {}
        """How many are being sent this object, by its id: it lives for as long as it is here."""
        self._sending: dict[Sending, None] = {}
        """In the order in which they last moved."""

    async def send(self, stream: trio.abc.SendStream, parts: Sequence[bytes]) -> None:
        """Send all parts; nobody else is let run when the socket takes them at once. BadRequest,
        before the first byte, when there is no room for them; BrokenResourceError when the client
        takes too long, is gone, or was in the way of others.
        """
        holders = self._holders
        self.check_room(sum([len(part) for part in parts if id(part) not in holders]))
        left = _written(stream, parts) if isinstance(stream, trio.SocketStream) else parts
        if not left:
            return
        with self._counted(parts) as sending:
            with sending.scope:
                sending.scope.deadline = trio.current_time() + SEND_TIMEOUT_S
                if sum(map(len, left)) <= SLICE_BYTES:
                    await stream.send_all(left[0] if len(left) == 1 else b"".join(left))
                    return
                for part in left:
                    view = memoryview(part)
                    for start in range(0, len(part), SLICE_BYTES):
                        await stream.send_all(view[start : start + SLICE_BYTES])
                        self._moved(sending)
                return
            raise trio.BrokenResourceError("the client does not read")

    def check_room(self, size: int = 0) -> None:
        """BadRequest when an answer of so many bytes more has no room. Who is stalled goes
        first.
        """
        most = self.most_bytes if size <= SMALL_BYTES else self.most_bytes * 3 // 4
        now = trio.current_time()
        while self.bytes + size > most:
            stalled = next(iter(self._sending), None)
            if stalled is None or now - stalled.moved_at < STALLED_S:
                self.refused += 1
                raise BadRequest(
                    "too much is being sent at the moment",
                    parameter="memory_budget",
                    allowed="try again a little later; ask for less with after= or limit=",
                    code="BUSY",
                    status=503,
                )
            self.cut += 1
            stalled.scope.cancel()
            self._release(stalled)

    @contextmanager
    def _counted(self, parts: Sequence[bytes]) -> Iterator[Sending]:
        holders = self._holders
        for part in parts:
            held = holders.get(id(part), 0)
            holders[id(part)] = held + 1
            self.bytes += 0 if held else len(part)
        sending = Sending(parts, trio.current_time())
        self._sending[sending] = None
        try:
            yield sending
        finally:
            self._release(sending)

    def _release(self, sending: Sending) -> None:
        if sending not in self._sending:
            return
        del self._sending[sending]
        for part in sending.parts:
            left = self._holders[id(part)] - 1
            if left:
                self._holders[id(part)] = left
            else:
                del self._holders[id(part)]
                self.bytes -= len(part)

    def _moved(self, sending: Sending) -> None:
        if sending in self._sending:
            del self._sending[sending]
            self._sending[sending] = None
            sending.moved_at = trio.current_time()

    def figures(self) -> dict[str, Any]:
        """What is being sent, and who had no room, for `/status`."""
        return {
            "outgoing_bytes": self.bytes,
            "outgoing_refused": self.refused,
            "outgoing_cut": self.cut,
        }

    def bounds(self) -> dict[str, Any]:
        """The limit that it keeps, for `/status`."""
        return {"outgoing_bytes": self.most_bytes}


def _written(stream: trio.SocketStream, parts: Sequence[bytes]) -> Sequence[bytes | memoryview]:
    """Write what the socket takes without waiting; what is left of the parts."""
    try:
        taken = os.writev(stream.socket.fileno(), _first(parts, AT_ONCE_BYTES))
    except BlockingIOError:
        return parts
    except OSError as error:
        raise trio.BrokenResourceError(str(error)) from error
    if taken == sum(map(len, parts)):
        return ()
    left: list[bytes | memoryview] = []
    for part in parts:
        if taken < len(part):
            left.append(memoryview(part)[taken:] if taken else part)
        taken = max(0, taken - len(part))
    return left


def _first(parts: Sequence[bytes], most: int) -> Sequence[bytes | memoryview]:
    """So many bytes of the parts, from their beginning."""
    if sum(map(len, parts)) <= most:
        return parts
    some: list[bytes | memoryview] = []
    for part in parts:
        some.append(part if len(part) <= most else memoryview(part)[:most])
        most -= len(some[-1])
    return some
