"""One connection before it is decided what becomes of it."""

import socket
from functools import cached_property

import trio
from attrs import define, field

from flowd.door.head import HEAD_MAX, BadHead, Head, Heads

HEAD_TIMEOUT_S = 10.0
KEEP_ALIVE_S = 75.0
SEND_TIMEOUT_S = 15.0


@define(eq=False)
class Waiting:
    """The connections whose next request is waited for, each in the order in which that began: who
    `rest`s has had an answer and not begun to ask again, whose head is `coming` has not.
    """

    rest: "dict[Visit, None]" = field(factory=dict)
    coming: "dict[Visit, float]" = field(factory=dict)


class Visit:
    """A connection at the door: its stream, and the bytes that were read ahead."""

    def __init__(self, stream: trio.SocketStream, heads: Heads, waiting: Waiting) -> None:
        self.stream = stream
        self.ended = False
        self.answered = False
        self._heads = heads
        self._waiting = waiting
        self._wait = trio.CancelScope()
        self._dismissed = False
        self._buffer = bytearray()
        self._asked = False
        self._again: Head | None = None
        try:
            peer = stream.socket.getpeername()
        except OSError:
            peer = ""
        self.address = str(peer[0]) if isinstance(peer, tuple) else "local"

    @cached_property
    def bound(self) -> str:
        """Our own address, at which this connection arrived; empty where that is no address."""
        try:
            own = self.stream.socket.getsockname()
        except OSError:
            own = ""
        return str(own[0]) if isinstance(own, tuple) else ""

    def dismiss(self) -> None:
        """This connection waits for a request while another needs its room: end it. Nobody is cut
        off in the middle of an answer.
        """
        self._dismissed = True
        self._wait.cancel()

    async def next_head(self) -> Head | None:
        """The next request's head, None when the client has gone; BadHead when it is none."""
        if (again := self._again) is not None:
            self._again = None
            await trio.lowlevel.checkpoint()
            return again
        rests, self._asked = self._asked, True
        began = trio.current_time()
        if self._buffer:
            # Who asks ahead waits for nothing, and others are to be let run in between.
            await trio.lowlevel.checkpoint()
        try:
            while (end := self._buffer.find(b"\r\n\r\n")) < 0:
                if len(self._buffer) > HEAD_MAX:
                    raise BadHead(431, f"a request head is at most {HEAD_MAX} bytes")
                if rests and self._buffer:
                    rests, began = False, trio.current_time()
                data = await self._more(began, rests=rests)
                if not data:
                    return None
                self._buffer += data
        finally:
            self._waiting.rest.pop(self, None)
            self._waiting.coming.pop(self, None)
        raw = bytes(self._buffer[: end + 4])
        if len(raw) > HEAD_MAX:
            raise BadHead(431, f"a request head is at most {HEAD_MAX} bytes")
        head = await self._heads.read(raw)
        del self._buffer[: end + 4]
        return head

    async def _more(self, began: float, *, rests: bool) -> bytes:
        """More of a head; empty when none will come, BadHead when half of one is there."""
        if rests:
            self._waiting.rest[self] = None
        else:
            self._waiting.rest.pop(self, None)
            self._waiting.coming.setdefault(self, began)
        timeout_s = KEEP_ALIVE_S if rests else HEAD_TIMEOUT_S
        with trio.move_on_at(began + timeout_s) as self._wait:
            if self._dismissed:
                self._wait.cancel()
            return bytes(await self.stream.receive_some(65536))
        if self._buffer:
            raise BadHead(408, f"the request head did not come within {timeout_s:g}s")
        return b""

    async def read_ahead(self) -> bool:
        """Read what comes before its turn; False when the client has gone."""
        if len(self._buffer) > HEAD_MAX:
            await trio.sleep_forever()
        data = await self.stream.receive_some(65536)
        self._buffer += data
        return bool(data)

    def put_back(self, head: Head) -> None:
        """This request was not for whoever asked for the next one."""
        self._again = head

    async def send(self, data: bytes) -> None:
        """Send a small answer; who takes too long over it is let go."""
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
