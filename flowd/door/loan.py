"""A connection that is lent to Hypercorn, one request at a time."""

import re
from collections.abc import Callable

import trio

from flowd.door.head import BadHead, Head
from flowd.door.outgoing import Outgoing
from flowd.door.visit import Visit
from flowd.values.errors import BadRequest


class Loan(trio.abc.HalfCloseableStream):
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
        on_answer: Callable[[Head, int], None],
        outgoing: Outgoing,
    ) -> None:
        self.socket = visit.stream.socket
        self._visit = visit
        self._owns = owns
        self._on_request = on_request
        self._on_answer = on_answer
        self._outgoing = outgoing
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
        """Send, counted like all that is being sent; the deadline is the guard's."""
        data = bytes(data)
        if (found := _STATUS.match(data)) is not None:
            self._on_answer(self._head, int(found[1]))
        try:
            await self._outgoing.send(self._visit.stream, [data])
        except BadRequest as error:
            # The answer has begun, or it is large: there is no other way to say it.
            raise trio.BrokenResourceError(str(error)) from None
        await trio.lowlevel.checkpoint()

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


_STATUS = re.compile(rb"HTTP/1\.1 (\d{3}) ")
_UPGRADE = re.compile(rb"\r\n(?:upgrade|http2-settings):[^\r\n]*", re.IGNORECASE)


def _for_hypercorn(head: Head) -> bytes:
    """The head as Hypercorn gets it.

    Never an upgrade (HTTP/2 has no back-pressure there), and no further request on a connection
    where a body was sent, since the door does not see where it ends.
    """
    raw = _UPGRADE.sub(b"", head.raw)
    return raw[:-2] + b"Connection: close\r\n\r\n" if head.has_body else raw
