"""One connection before it is decided what becomes of it, and a connection that is lent to
Hypercorn.
"""

import re
import socket
from collections.abc import Callable

import trio

from flowd.door.head import HEAD_MAX, BadHead, Head, parse_head

HEAD_TIMEOUT_S = 10.0
KEEP_ALIVE_S = 75.0
SEND_TIMEOUT_S = 15.0


class Visit:
    """A connection at the door: its stream, and the bytes that were read ahead."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self.stream = stream
        self.ended = False
        self.answered = False
        self._buffer = bytearray()
        self._asked = False
        try:
            peer = stream.socket.getpeername()
        except OSError:
            peer = ""
        self.address = str(peer[0]) if isinstance(peer, tuple) else "local"

    async def next_head(self) -> Head | None:
        """The next request's head, None when the client has gone; BadHead when it is none."""
        timeout_s = KEEP_ALIVE_S if self._asked else HEAD_TIMEOUT_S
        self._asked = True
        began = trio.current_time()
        while (end := self._buffer.find(b"\r\n\r\n")) < 0:
            if len(self._buffer) > HEAD_MAX:
                raise BadHead(431, f"a request head is at most {HEAD_MAX} bytes")
            if self._buffer:
                timeout_s = HEAD_TIMEOUT_S
            data = b""
            with trio.move_on_at(began + timeout_s) as waited:
                data = await self.stream.receive_some(65536)
            if waited.cancelled_caught and self._buffer:
                raise BadHead(408, f"the request head did not come within {timeout_s:g}s")
            if not data:
                return None
            if not self._buffer:
                began = trio.current_time()
            self._buffer += data
        raw = bytes(self._buffer[: end + 4])
        if len(raw) > HEAD_MAX:
            raise BadHead(431, f"a request head is at most {HEAD_MAX} bytes")
        del self._buffer[: end + 4]
        return parse_head(raw)

    async def read_ahead(self) -> bool:
        """Read what comes before its turn; False when the client has gone."""
        if len(self._buffer) > HEAD_MAX:
            await trio.sleep_forever()
        data = await self.stream.receive_some(65536)
        self._buffer += data
        return bool(data)

    def put_back(self, head: Head) -> None:
        """This request was not for whoever asked for the next one."""
        self._buffer[:0] = head.raw

    async def send(self, data: bytes) -> None:
        """Send an answer; who takes too long over it is let go."""
        with trio.move_on_after(SEND_TIMEOUT_S) as waited:
            await self.stream.send_all(data)
        if waited.cancelled_caught:
            raise trio.BrokenResourceError("the client does not read")

    def rest(self) -> bytes:
        """What was read beyond the last head."""
        rest = bytes(self._buffer)
        self._buffer.clear()
        return rest

    def take(self) -> socket.socket:
        """The bare socket, out of Trio's hands from here on: for a live client.

        It is detached, since `trio.serve_listeners` closes whatever stream it gave us.
        """
        return socket.socket(fileno=self.stream.socket.detach())


class Passage(trio.abc.HalfCloseableStream):
    """A connection lent to Hypercorn. It sees one request at a time, and the door each head first.

    When the next request is the door's own business (`owns`), Hypercorn is told that the stream has
    ended, and the door goes on with the connection.
    """

    def __init__(
        self,
        visit: Visit,
        head: Head,
        owns: Callable[[Head], bool],
        on_request: Callable[[], None],
    ) -> None:
        self.socket = visit.stream.socket
        self._visit = visit
        self._owns = owns
        self._on_request = on_request
        self._head = head
        self._given = False
        self._handed_back = False
        self._closed = False
        self._idle = False
        self._reading = trio.CancelScope()

    def became_idle(self) -> None:
        """The response is complete: the next request may be looked at."""
        self._idle = True
        self._reading.cancel()

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """The head of the next request, or a body's bytes; empty when Hypercorn is done here."""
        if self._closed:
            raise trio.ClosedResourceError
        if not self._given:
            self._given = True
            return _for_hypercorn(self._head)
        while not self._closed:
            with trio.CancelScope() as self._reading:
                if self._head.has_body:
                    return self._visit.rest() or bytes(await self._visit.stream.receive_some(65536))
                if self._idle:
                    return await self._next_request()
                if not await self._visit.read_ahead():
                    return b""
        raise trio.ClosedResourceError

    async def _next_request(self) -> bytes:
        try:
            head = await self._visit.next_head()
        except BadHead:
            return b""
        if head is None:
            return b""
        if self._owns(head):
            self._visit.put_back(head)
            self._handed_back = True
            return b""
        self._on_request()
        self._head, self._idle = head, False
        return _for_hypercorn(head)

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Send; the deadline is the guard's."""
        await self._visit.stream.send_all(data)

    async def wait_send_all_might_not_block(self) -> None:
        """Wait until there is room."""
        await self._visit.stream.wait_send_all_might_not_block()

    async def send_eof(self) -> None:
        """Nothing: the connection may go on after Hypercorn."""
        await trio.lowlevel.checkpoint()

    async def aclose(self) -> None:
        """Hypercorn is done: for good, unless the next request was handed back to the door."""
        self._closed = True
        if not self._handed_back:
            self._visit.ended = True
        self._reading.cancel()
        await trio.lowlevel.checkpoint()

    async def cut(self) -> None:
        """End the connection at once, also under a write that waits."""
        await trio.aclose_forcefully(self._visit.stream)


_UPGRADE = re.compile(rb"\r\n(?:upgrade|http2-settings):[^\r\n]*", re.IGNORECASE)


def _for_hypercorn(head: Head) -> bytes:
    """The head as Hypercorn gets it.

    Never an upgrade (HTTP/2 has no back-pressure there), and no further request on a connection
    where a body was sent, since the door does not see where it ends.
    """
    raw = _UPGRADE.sub(b"", head.raw)
    return raw[:-2] + b"Connection: close\r\n\r\n" if head.has_body else raw
