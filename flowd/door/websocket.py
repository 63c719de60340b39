"""Serving WebSockets without doing any I/O: the handshake, what came in, and what to answer to it.

All of the protocol is the sans-I/O half of `websockets`; this adds how flowd uses it.
"""

import logging

from websockets.extensions.permessage_deflate import ServerPerMessageDeflateFactory
from websockets.frames import CloseCode, Frame, Opcode
from websockets.http11 import Request
from websockets.protocol import Protocol, Side, State
from websockets.server import ServerProtocol

from flowd.door.head import Head, response

MESSAGE_MAX = 16 * 1024
"""The largest message taken from a client, in bytes; a larger one closes the connection with 1009.
"""

REASON_MAX = 123
"""The longest reason that a closing frame holds, in bytes."""

NORMAL = int(CloseCode.NORMAL_CLOSURE)
GOING_AWAY = int(CloseCode.GOING_AWAY)
POLICY = int(CloseCode.POLICY_VIOLATION)
INTERNAL_ERROR = int(CloseCode.INTERNAL_ERROR)

PING = Frame(Opcode.PING, b"").serialize(mask=False)
"""A ping, the same bytes for every client."""

_CONTROL = (Opcode.PING, Opcode.PONG, Opcode.CLOSE)

_quiet = logging.getLogger("flowd.websocket")
_quiet.setLevel(logging.CRITICAL)


def accept(head: Head) -> tuple[bytes, Protocol | None]:
    """The bytes that answer a handshake, and the open connection, None when it was refused.

    permessage-deflate is agreed without context takeover and with the full window, since
    compressed messages are shared by all clients; who insists on a smaller window is served
    uncompressed.
    """
    offered = head.headers.get("sec-websocket-extensions", "")
    deflate = ServerPerMessageDeflateFactory(
        server_no_context_takeover=True, client_no_context_takeover=True
    )
    server = ServerProtocol(
        extensions=None if "server_max_window_bits" in offered else [deflate], logger=_quiet
    )
    server.receive_data(head.raw)
    requests = [event for event in server.events_received() if isinstance(event, Request)]
    if not requests:
        return b"".join(server.data_to_send()) or response(400, close=True), None
    server.send_response(server.accept(requests[0]))
    answer = b"".join(server.data_to_send())
    if server.state is not State.OPEN:
        return answer, None
    # The handshake's objects are several kilobytes that an idle client need not cost.
    lean = Protocol(Side.SERVER, state=State.OPEN, max_size=MESSAGE_MAX, logger=_quiet)
    lean.extensions = server.extensions
    return answer, lean


class WebSocket:
    """One WebSocket's protocol, without any I/O: what its client says, put together from frames.
    Pings and closes answer themselves.
    """

    __slots__ = ("_parts", "_protocol", "pieces")

    def __init__(self, protocol: Protocol) -> None:
        self.pieces = 0
        """Frames so far that completed no message: pings, pongs, fragments."""
        self._protocol = protocol
        self._parts: list[bytes] = []

    @property
    def deflated(self) -> bool:
        """Whether messages to this client may be compressed."""
        return bool(self._protocol.extensions)

    @property
    def closed(self) -> bool:
        """Whether one side has said that this is the end."""
        return self._protocol.state is not State.OPEN

    def receive(self, data: bytes) -> list[str]:
        """The messages that `data` completes. Answers that the protocol wants sent are in
        `answers`.
        """
        self._protocol.receive_data(data)
        texts: list[str] = []
        for event in self._protocol.events_received():
            if self.closed or not isinstance(event, Frame):
                break
            self.pieces += not (event.fin and event.opcode not in _CONTROL)
            if event.opcode in (Opcode.TEXT, Opcode.BINARY, Opcode.CONT):
                self._parts.append(bytes(event.data))
                if event.fin:
                    whole = b"".join(self._parts)
                    self._parts.clear()
                    try:
                        texts.append(whole.decode())
                    except UnicodeDecodeError:
                        self._protocol.fail(CloseCode.INVALID_DATA, "not UTF-8")
                        break
        return texts

    def answers(self) -> bytes:
        """Bytes to send now: pongs, and the answer to a close."""
        return b"".join(self._protocol.data_to_send())

    def close(self, code: int, reason: str) -> bytes:
        """The bytes that say goodbye; empty when that was said already."""
        if self.closed:
            return b""
        self._protocol.send_close(code, reason.encode()[:REASON_MAX].decode(errors="ignore"))
        return self.answers()
