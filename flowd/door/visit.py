"""One connection before it is decided what becomes of it."""

import socket

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
