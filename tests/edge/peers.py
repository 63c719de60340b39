"""Clients with nothing hidden: bytes on a socket, and just enough protocol to read the answers."""

import gzip
import json
import socket
import zlib
from collections import deque
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Any

import h11
import trio
from attrs import define, field, frozen
from websockets.client import ClientProtocol
from websockets.exceptions import InvalidHandshake, InvalidState, InvalidStatus
from websockets.extensions.permessage_deflate import ClientPerMessageDeflateFactory
from websockets.frames import Frame, Opcode
from websockets.protocol import State
from websockets.uri import parse_uri

GONE = (
    *(OSError, EOFError, trio.BrokenResourceError, trio.ClosedResourceError),
    *(h11.RemoteProtocolError, InvalidHandshake, InvalidState),
)
"""What a connection ends with when the process at its other end is killed."""

WAIT_S = 30.0
"""How long a test waits for what comes at once, on a machine that has much else to do."""
UPGRADE = {
    "Connection": "Upgrade",
    "Upgrade": "websocket",
    "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
    "Sec-WebSocket-Version": "13",
}
DEFLATE = ClientPerMessageDeflateFactory(compress_settings={"memLevel": 5})


async def connect(
    port: int, *, source: str | None = None, receive_buffer: int | None = None
) -> trio.SocketStream:
    """A TCP connection to the daemon, perhaps from another loopback address."""
    raw = trio.socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        if receive_buffer is not None:
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        if source is not None:
            await raw.bind((source, 0))
        with trio.fail_after(WAIT_S):
            await raw.connect(("127.0.0.1", port))
    except BaseException:
        raw.close()
        raise
    return trio.SocketStream(raw)


def reset(stream: trio.SocketStream) -> None:
    """Leave with RST."""
    stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    stream.socket.close()


@frozen
class Answer:
    """One HTTP response."""

    status: int
    headers: dict[str, str]
    raw_body: bytes

    @property
    def body(self) -> bytes:
        """The body, decoded."""
        gzipped = self.headers.get("content-encoding") == "gzip"
        return gzip.decompress(self.raw_body) if gzipped else self.raw_body

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def error(self) -> dict[str, Any]:
        """What the answer says is wrong."""
        found: dict[str, Any] = self.json["error"]
        return found


class Http:
    """One HTTP/1.1 connection: requests one after the other, or bytes as they please."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self.stream = stream
        self.read_ahead = b""

    async def ask(
        self,
        path: str,
        method: str = "GET",
        *,
        headers: Mapping[str, str] | None = None,
        body: bytes = b"",
    ) -> Answer:
        """Send a request and read its answer."""
        await self.stream.send_all(request(path, method, headers=headers, body=body))
        return await self.answer(method)

    async def answer(self, method: str = "GET") -> Answer:
        """Read one answer to a request made with this method."""
        with trio.fail_after(WAIT_S):
            return await self._answer(method)

    async def _answer(self, method: str) -> Answer:
        parser = h11.Connection(h11.CLIENT, max_incomplete_event_size=1 << 20)
        parser.send(h11.Request(method=method, target="/", headers=[("Host", "x")]))
        parser.send(h11.EndOfMessage())
        if self.read_ahead:
            parser.receive_data(self.read_ahead)
        status, headers, body = 0, {}, b""
        while True:
            event = parser.next_event()
            if event is h11.NEED_DATA:
                data = bytes(await self.stream.receive_some(65536))
                if not data and not status:
                    raise EOFError("closed without an answer")
                parser.receive_data(data)
            elif isinstance(event, h11.Response | h11.InformationalResponse):
                status = event.status_code
                headers = {n.decode(): v.decode("latin-1") for n, v in event.headers}
                if isinstance(event, h11.InformationalResponse) and status == 101:
                    break
            elif isinstance(event, h11.Data):
                body += bytes(event.data)
            elif isinstance(event, h11.EndOfMessage):
                break
            else:
                break
        self.read_ahead = parser.trailing_data[0]
        return Answer(status, headers, body)

    async def ended(self) -> bytes:
        """Wait for the other side to close; what came before that."""
        found = self.read_ahead
        with trio.fail_after(WAIT_S):
            try:
                while data := await self.stream.receive_some(65536):
                    found += data
            except trio.BrokenResourceError:
                pass
        return found


def request(
    path: str,
    method: str = "GET",
    *,
    headers: Mapping[str, str] | None = None,
    body: bytes = b"",
) -> bytes:
    """The bytes of a request."""
    lines = [f"{method} {path} HTTP/1.1", "Host: localhost"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in (headers or {}).items()]
    if body:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode() + body


@asynccontextmanager
async def http(
    port: int, *, source: str | None = None, receive_buffer: int | None = None
) -> AsyncGenerator[Http, None]:
    """A connection for the block."""
    stream = await connect(port, source=source, receive_buffer=receive_buffer)
    try:
        yield Http(stream)
    finally:
        await trio.aclose_forcefully(stream)


async def fetch(
    port: int,
    path: str,
    method: str = "GET",
    *,
    headers: Mapping[str, str] | None = None,
    body: bytes = b"",
    source: str | None = None,
) -> Answer:
    """One request on a connection of its own."""
    async with http(port, source=source) as peer:
        return await peer.ask(path, method, headers=headers, body=body)


@define
class WebSocket:
    """A WebSocket client that reads only when asked to."""

    stream: trio.SocketStream
    protocol: ClientProtocol
    handshake: dict[str, str] = field(factory=dict)
    frames: list[Frame] = field(factory=list)
    """Control frames that came."""
    bytes_read: bytes = b""
    """All that came after the handshake."""
    _texts: deque[str] = field(factory=deque)
    _parts: list[bytes] = field(factory=list)

    async def message(self, within_s: float = WAIT_S) -> dict[str, Any]:
        """The next message; EOFError, with the close code, when there will be none."""
        found: dict[str, Any] = json.loads(await self.text(within_s))
        return found

    async def text(self, within_s: float = WAIT_S) -> str:
        """The next message as it came."""
        if not self._texts:
            with trio.fail_after(within_s):
                while not self._texts:
                    if not await self._read():
                        raise EOFError(self.protocol.close_code)
        return self._texts.popleft()

    async def next(self, kind: str, within_s: float = WAIT_S) -> dict[str, Any]:
        """The next message of this type; others are passed over."""
        with trio.fail_after(within_s):
            while (found := await self.message())["type"] != kind:
                pass
        return found

    async def upto(self, ordinal: int, within_s: float = WAIT_S) -> list[dict[str, Any]]:
        """All messages up to the one that holds the nth order."""
        found: list[dict[str, Any]] = []
        with trio.fail_after(within_s):
            while True:
                found.append(await self.message())
                records = found[-1].get("records") or []
                if records and int(records[-1]["value"]["price"]) >= ordinal:
                    return found

    async def control(self, opcode: Opcode) -> Frame:
        """The next control frame of this kind."""
        with trio.fail_after(WAIT_S):
            while True:
                for frame in self.frames:
                    if frame.opcode is opcode:
                        self.frames.remove(frame)
                        return frame
                if not await self._read():
                    raise EOFError(self.protocol.close_code)

    async def goodbye(self, within_s: float = WAIT_S) -> tuple[int | None, str | None]:
        """Read to the end; the close code and reason."""
        with trio.fail_after(within_s):
            while await self._read():
                pass
        return self.protocol.close_code, self.protocol.close_reason

    async def say(self, what: object) -> None:
        """Send a message."""
        text = what if isinstance(what, str) else json.dumps(what)
        self.protocol.send_text(text.encode())
        await self.flush()

    async def flush(self) -> None:
        """Send what the protocol has to send."""
        for data in self.protocol.data_to_send():
            if data:
                await self.stream.send_all(data)

    async def _read(self) -> bool:
        try:
            data = await self.stream.receive_some(65536)
        except trio.BrokenResourceError:
            data = b""
        self.bytes_read += data
        if data:
            self.protocol.receive_data(data)
        elif self.protocol.state is not State.CLOSED:
            self.protocol.receive_eof()
        self.take()
        if data:
            with suppress(trio.BrokenResourceError):
                await self.flush()
        return bool(data)

    def take(self) -> None:
        """Sort what came."""
        for event in self.protocol.events_received():
            assert isinstance(event, Frame)
            if event.opcode in (Opcode.TEXT, Opcode.CONT):
                self._parts.append(bytes(event.data))
                if event.fin:
                    self._texts.append(b"".join(self._parts).decode())
                    self._parts.clear()
            else:
                self.frames.append(event)


def frame(first: int, payload: bytes = b"", *, mask: bool = True) -> bytes:
    """A frame as no library would make it: its first byte as it stands."""
    size = len(payload)
    if size < 126:
        length = bytes([size | 128 * mask])
    elif size < 65536:
        length = bytes([126 | 128 * mask]) + size.to_bytes(2)
    else:
        length = bytes([127 | 128 * mask]) + size.to_bytes(8)
    return bytes([first]) + length + (bytes(4) if mask else b"") + payload


@asynccontextmanager
async def websocket(
    port: int,
    path: str = "/ws",
    *,
    deflate: bool = False,
    extensions: list[ClientPerMessageDeflateFactory] | None = None,
    headers: Mapping[str, str] | None = None,
    source: str | None = None,
    receive_buffer: int | None = None,
    stream: trio.SocketStream | None = None,
    more: bytes = b"",
) -> AsyncGenerator[WebSocket, None]:
    """An open WebSocket for the block; InvalidStatus when it was refused. `more` is sent in one go
    with the handshake.
    """
    if stream is None:
        stream = await connect(port, source=source, receive_buffer=receive_buffer)
    try:
        offered = [DEFLATE] if deflate else extensions
        protocol = ClientProtocol(
            parse_uri(f"ws://127.0.0.1:{port}{path}"), extensions=offered, max_size=None
        )
        asked = protocol.connect()
        for name, value in (headers or {}).items():
            asked.headers[name] = value
        protocol.send_request(asked)
        await stream.send_all(b"".join(protocol.data_to_send()) + more)
        peer = WebSocket(stream, protocol)
        with trio.fail_after(WAIT_S):
            while protocol.state is State.CONNECTING and protocol.handshake_exc is None:
                data = await stream.receive_some(65536)
                protocol.receive_data(data) if data else protocol.receive_eof()
        if protocol.handshake_exc is not None:
            raise protocol.handshake_exc
        answer = protocol.events_received()
        peer.handshake = dict(answer[0].headers.raw_items())  # type: ignore[union-attr]
        protocol.events.extend(answer[1:])
        peer.take()
        yield peer
    finally:
        await trio.aclose_forcefully(stream)


@frozen
class Event:
    """One Server-Sent Event, or a comment."""

    name: str = "message"
    id: str | None = None
    data: str | None = None
    retry: int | None = None
    comment: str | None = None

    @property
    def json(self) -> Any:
        assert self.data is not None
        return json.loads(self.data)

    @property
    def ordinal(self) -> int:
        """Which order it is."""
        return int(self.json["value"]["price"])


class Chunks:
    """The pieces of a body that a proxy sends in chunks, which end wherever they like."""

    def __init__(self) -> None:
        self._data = b""
        self._left = 0
        """Of the chunk that is under way, with the line end behind it."""

    def take(self, data: bytes) -> bytes:
        """What these bytes of the connection have of the body."""
        self._data += data
        found = b""
        while self._data:
            if not self._left:
                size, end, rest = self._data.partition(b"\r\n")
                if not end:
                    break
                self._data, self._left = rest, int(size, 16) + 2
            part, self._data = self._data[: self._left], self._data[self._left :]
            found += part[: max(0, self._left - 2)]
            self._left -= len(part)
        return found


@define
class EventStream:
    """An SSE client that reads only when asked to."""

    stream: trio.SocketStream
    status: int
    headers: dict[str, str]
    _steps: list[Callable[[bytes], bytes]]
    """What is done to the bytes of the connection, one after the other."""
    _text: bytes = b""

    def take(self, data: bytes) -> None:
        """What came."""
        for step in self._steps:
            data = step(data)
        self._text += data

    async def event(self, within_s: float = WAIT_S) -> Event:
        """The next event or comment; EOFError when there will be none."""
        if b"\n\n" not in self._text:
            with trio.fail_after(within_s):
                await self._fetch()
        block, _, self._text = self._text.partition(b"\n\n")
        return _event(block.decode())

    async def _fetch(self) -> None:
        while b"\n\n" not in self._text:
            data = await self.stream.receive_some(65536)
            if not data:
                raise EOFError
            self.take(data)

    async def next(self, name: str = "message", within_s: float = WAIT_S) -> Event:
        """The next event of this name that has data."""
        with trio.fail_after(within_s):
            while (found := await self.event()).name != name or found.data is None:
                pass
        return found

    async def upto(self, ordinal: int, within_s: float = WAIT_S) -> list[Event]:
        """All events up to the nth order."""
        found: list[Event] = []
        with trio.fail_after(within_s):
            while True:
                found.append(event := await self.event())
                if event.name == "message" and event.data and event.ordinal >= ordinal:
                    return found

    async def rest(self, within_s: float = WAIT_S) -> list[Event]:
        """All events to the end."""
        found: list[Event] = []
        try:
            while True:
                found.append(await self.event(within_s))
        except EOFError:
            return found


def _event(block: str) -> Event:
    found: dict[str, Any] = {}
    for line in block.split("\n"):
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if name == "":
            found["comment"] = value
        elif name == "event":
            found["name"] = value
        elif name == "retry":
            found["retry"] = int(value)
        else:
            assert name in ("id", "data"), line
            found[name] = value
    return Event(**found)


@asynccontextmanager
async def sse(
    port: int,
    path: str = "/sse/orders",
    *,
    headers: Mapping[str, str] | None = None,
    source: str | None = None,
    receive_buffer: int | None = None,
    stream: trio.SocketStream | None = None,
) -> AsyncGenerator[EventStream, None]:
    """An event stream for the block."""
    if stream is None:
        stream = await connect(port, source=source, receive_buffer=receive_buffer)
    try:
        await stream.send_all(request(path, headers=headers))
        text = b""
        with trio.fail_after(WAIT_S):
            while b"\r\n\r\n" not in text:
                data = await stream.receive_some(65536)
                if not data:
                    raise EOFError("closed without an answer")
                text += data
        head, _, body = text.partition(b"\r\n\r\n")
        first, *lines = head.decode().split("\r\n")
        found = {k.lower(): v.strip() for k, _, v in (line.partition(":") for line in lines)}
        steps: list[Callable[[bytes], bytes]] = []
        if found.get("transfer-encoding") == "chunked":
            steps.append(Chunks().take)
        if found.get("content-encoding") == "gzip":
            steps.append(zlib.decompressobj(31).decompress)
        peer = EventStream(stream, int(first.split()[1]), found, steps)
        peer.take(body)
        yield peer
    finally:
        await trio.aclose_forcefully(stream)


def refused_with(error: InvalidStatus) -> tuple[int, dict[str, Any]]:
    """The status of a refused handshake, and what it says is wrong."""
    body = error.response.body or b""
    return error.response.status_code, json.loads(body)["error"]
