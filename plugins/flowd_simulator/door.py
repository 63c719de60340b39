"""One port for WebSocket and REST, as some exchanges have it: the head of a request decides."""

from collections.abc import Awaitable, Callable
from typing import Final

import h11
import trio
from attrs import frozen

JSON: Final = "application/json"

HEAD_MAX: Final = 64 * 1024
BODY_MAX: Final = 1024 * 1024
PATIENCE_S: Final = 10.0
IDLE_S: Final = 75.0
CHUNK: Final = 64 * 1024


@frozen
class Answer:
    """What a request is answered with."""

    status: int
    body: bytes
    content_type: str = JSON
    headers: tuple[tuple[str, str], ...] = ()


Respond = Callable[[str, str, bytes], Awaitable[Answer | None]]
"""Method, target (a path, maybe with a query) and body to an answer; None cuts the connection
without a word.
"""


class Opened(trio.abc.Stream):
    """A stream of which the beginning was read already, and is read again."""

    def __init__(self, stream: trio.abc.Stream, beginning: bytes) -> None:
        self._stream = stream
        self._beginning = beginning

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        """The beginning first."""
        if self._beginning:
            await trio.lowlevel.checkpoint()
            beginning, self._beginning = self._beginning, b""
            return beginning
        return await self._stream.receive_some(max_bytes)

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Goes through."""
        await self._stream.send_all(data)

    async def wait_send_all_might_not_block(self) -> None:
        """Goes through."""
        await self._stream.wait_send_all_might_not_block()

    async def aclose(self) -> None:
        """Goes through."""
        await self._stream.aclose()


def address_of(stream: trio.abc.Stream) -> str:
    """Whose connection this is; all of memory is one address."""
    if isinstance(stream, trio.SocketStream):
        return str(stream.socket.getpeername()[0])
    return "memory"


async def opened(stream: trio.abc.Stream) -> tuple[Opened, bool] | None:
    """The stream again once the head of a request is there, and whether it asks for a WebSocket.
    None when no head comes.
    """
    head = b""
    with trio.move_on_after(PATIENCE_S):
        while b"\r\n\r\n" not in head:
            more = await stream.receive_some(CHUNK)
            head += more
            if not more or len(head) > HEAD_MAX:
                return None
        return Opened(stream, head), b"upgrade: websocket" in head.lower()
    return None


async def serve_http(stream: trio.abc.Stream, respond: Respond) -> None:
    """Answer one request after the other. Whoever calls closes the stream."""
    connection = h11.Connection(h11.SERVER, max_incomplete_event_size=HEAD_MAX)
    while True:
        try:
            request = await _request(connection, stream)
        except h11.RemoteProtocolError:
            return
        if request is None:
            return
        answer = await respond(*request)
        if answer is None:
            return
        head = h11.Response(
            status_code=answer.status,
            headers=[
                ("Content-Type", answer.content_type),
                ("Content-Length", str(len(answer.body))),
                *answer.headers,
            ],
        )
        for event in (head, h11.Data(data=answer.body), h11.EndOfMessage()):
            data = connection.send(event)
            if data:
                await stream.send_all(data)
        if connection.our_state is not h11.DONE or connection.their_state is not h11.DONE:
            return
        connection.start_next_cycle()


async def _request(
    connection: h11.Connection, stream: trio.abc.Stream
) -> tuple[str, str, bytes] | None:
    method, target, body = "", "", b""
    with trio.move_on_after(IDLE_S):
        while True:
            event = connection.next_event()
            if event is h11.NEED_DATA:
                if connection.they_are_waiting_for_100_continue:
                    going_on = h11.InformationalResponse(status_code=100, headers=[])
                    await stream.send_all(connection.send(going_on) or b"")
                connection.receive_data(bytes(await stream.receive_some(CHUNK)))
            elif isinstance(event, h11.Request):
                method, target = event.method.decode(), event.target.decode()
            elif isinstance(event, h11.Data):
                body += bytes(event.data)
                if len(body) > BODY_MAX:
                    return None
            elif isinstance(event, h11.EndOfMessage):
                return method, target, body
            else:
                return None
    return None
