"""Live clients of every temper, in memory."""

from collections.abc import Mapping
from typing import Any

import trio
from attrs import define, field
from websockets.frames import Frame, Opcode
from websockets.protocol import Protocol, Side, State

from flowd import daemon as root
from flowd.channel import packing
from flowd.channel.channel import Client
from flowd.door.paths import Live, Session, follow_path
from flowd.values import codec
from flowd.values.errors import BadRequest


@define(eq=False)
class FakeSocket:
    """A client's connection, as channels see it: takes everything, until it is told otherwise.

    `takes(100)` makes room for a hundred bytes and no more, `blocks` for none, `recovers` for any
    number; `breaks` is a peer that is gone.
    """

    taken: bytearray = field(factory=bytearray)
    room: int | None = None
    broken: bool = False
    closed: bool = False
    _changed: trio.lowlevel.ParkingLot = field(factory=trio.lowlevel.ParkingLot, init=False)

    def takes(self, count: int | None) -> None:
        """There is room for so many bytes now; without limit for None."""
        self.room = count
        self._changed.unpark_all()

    def blocks(self) -> None:
        """Take nothing any more."""
        self.takes(0)

    def recovers(self) -> None:
        """Take everything again."""
        self.takes(None)

    def breaks(self) -> None:
        """The peer is gone."""
        self.broken = True
        self._changed.unpark_all()

    def send(self, data: bytes | memoryview, /) -> int:
        """Take what there is room for."""
        if self.broken or self.closed:
            raise BrokenPipeError("the peer is gone")
        count = len(data) if self.room is None else min(self.room, len(data))
        if data and not count:
            raise BlockingIOError
        self.taken += data[:count]
        if self.room is not None:
            self.room -= count
        return count

    async def writable(self) -> None:
        """Wait for room."""
        await trio.lowlevel.checkpoint()
        while self.room == 0 and not self.broken and not self.closed:
            await self._changed.park()
        if self.closed:
            raise trio.ClosedResourceError

    def close(self) -> None:
        """Let go of the connection."""
        self.closed = True
        self._changed.unpark_all()


class Visitor:
    """A live client in memory: what it follows is written to its `socket` by the real channels."""

    def __init__(
        self,
        daemon: root.Daemon,
        live: Live,
        path: dict[str, str],
        query: dict[str, str],
        headers: Mapping[str, str],
        socket: FakeSocket,
    ) -> None:
        self.socket = socket
        self.gone: str | None = None
        """Why the daemon let go of this client."""
        self.goodbye: tuple[int, str] | None = None
        """The WebSocket close code and reason, once the sink has closed the session."""
        self._live = live
        self._read = 0
        self._codec = Protocol(Side.CLIENT, state=State.OPEN, max_size=None)
        pack = packing.frames if live.websocket else packing.plain
        opening = live.head + (pack([live.welcome]) if live.welcome else b"")
        self.client = Client(daemon.channels, socket, pack, self._on_gone, opening)
        self.session = Session(
            live,
            self.client,
            daemon.streams,
            daemon.machine.clock,
            self._on_close,
            path=path,
            query=query,
            headers=headers,
        )
        try:
            (live.open or follow_path)(self.session)
        except BadRequest as error:
            if not live.websocket:
                self.client.abandon()
                raise
            self.session.refuse(error)
        self.client.start()

    def say(self, message: str | Mapping[str, Any]) -> None:
        """Send a WebSocket message; what is no text is sent as JSON."""
        assert self._live.receive is not None
        text = message if isinstance(message, str) else codec.encode(message).decode()
        try:
            self._live.receive(self.session, text)
        except BadRequest as error:
            self.session.refuse(error)

    def news(self) -> bytes:
        """The bytes that came since this was last asked; of a WebSocket use `messages`."""
        data = bytes(memoryview(self.socket.taken)[self._read :])
        self._read += len(data)
        return data

    def messages(self) -> list[Any]:
        """The WebSocket messages, decoded, that came since this was last asked."""
        assert self._live.websocket
        self._codec.receive_data(self.news())
        frames = [event for event in self._codec.events_received() if isinstance(event, Frame)]
        return [codec.decode(frame.data) for frame in frames if frame.opcode is Opcode.TEXT]

    def leave(self) -> None:
        """Go, without a word."""
        self.client.drop("left")

    def _on_gone(self, client: Client, reason: str) -> None:
        self.gone = reason

    def _on_close(self, session: Session, code: int, reason: str) -> None:
        self.goodbye = self.goodbye or (code, reason)
        self.client.drop(reason)
