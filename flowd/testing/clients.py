"""Live clients of every temper, in memory: welcomed, written to and heard by the real code."""

from collections.abc import Mapping
from typing import Any

import trio
from attrs import define, field
from websockets.frames import Frame, Opcode
from websockets.protocol import Protocol, Side, State

from flowd.door.clients import Clients
from flowd.door.paths import Live
from flowd.door.websocket import WebSocket
from flowd.values import codec


@define(eq=False)
class FakeSocket:
    """A client's connection, as channels see it: takes everything, until it is told otherwise.

    `takes(100)` makes room for a hundred bytes and no more, `blocks` for none, `recovers` for any
    number; `breaks` is a peer that is gone.
    """

    taken: bytearray = field(factory=bytearray)
    room: int | None = None
    broken: bool = False
    finished: bool = False
    """Nothing more will be written to it."""
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

    def finish(self) -> None:
        """Nothing more will be written."""
        self.finished = True

    def close(self) -> None:
        """Let go of the connection."""
        self.closed = True
        self._changed.unpark_all()


class Client:
    """A live client in memory: what it follows is written to its `socket` by the real channels."""

    def __init__(
        self,
        clients: Clients,
        live: Live,
        path: dict[str, str],
        query: dict[str, str],
        headers: Mapping[str, str],
        socket: FakeSocket | None = None,
    ) -> None:
        self.socket = socket or FakeSocket()
        self._clients = clients
        self._read = 0
        self._codec = Protocol(Side.CLIENT, state=State.OPEN, max_size=None)
        served = Protocol(Side.SERVER, state=State.OPEN)
        self.session = clients.welcome(
            live,
            path=path,
            query=query,
            headers=headers,
            websocket=WebSocket(served) if live.websocket else None,
            opening=live.head,
        )
        clients.start(self.session, self.socket)

    @property
    def gone(self) -> str | None:
        """Why the daemon let go of this client."""
        return self.session.gone

    @property
    def goodbye(self) -> tuple[int, str] | None:
        """The WebSocket close code and reason, once it was said."""
        return self.session.ended

    def say(self, message: str | Mapping[str, Any]) -> None:
        """Send a WebSocket message; what is no text is sent as JSON. Who was told goodbye, says
        nothing any more.
        """
        if self._codec.state is not State.OPEN:
            return
        text = message.encode() if isinstance(message, str) else codec.encode(message)
        self._codec.send_text(text)
        self._clients.hear(self.session, b"".join(self._codec.data_to_send()))

    def news(self) -> bytes:
        """The bytes that came since this was last asked; of a WebSocket use `messages`."""
        data = bytes(memoryview(self.socket.taken)[self._read :])
        self._read += len(data)
        return data

    def messages(self) -> list[Any]:
        """The WebSocket messages, decoded, that came since this was last asked."""
        assert self.session.websocket is not None
        self._codec.receive_data(self.news())
        frames = [event for event in self._codec.events_received() if isinstance(event, Frame)]
        return [codec.decode(frame.data) for frame in frames if frame.opcode is Opcode.TEXT]

    def leave(self) -> None:
        """Go, without a word."""
        self.session.client.drop("left")
