"""Many messages in one step of the event loop: how the reader of a WebSocket gives way.

trio-websocket's reader lets all others run after each message, and never between frames that make
none. So a message costs a pass of the event loop, which is dear where there are many tasks, and a
handful of bytes may hold it. Here the reader gives way when its slice of time is over, whatever
came in it.

The connection stays trio-websocket's; two of its parts are wrapped: the protocol that says what was
read, and the channel that messages go into. Both are private there, so pyproject.toml pins its
minor version, and `tests/upstream/test_slices.py` holds this way against the plain one.
"""

from collections.abc import Callable, Iterator
from typing import Any, Final

import trio
import trio_websocket

SLICE_S: Final = 0.0005
"""For so long a task takes what is there before it lets others run. Reader and source each do so in
every pass of the event loop, and who was first in one pass may be last in the next: others wait for
two milliseconds at most.
"""
READ_MAX: Final = 64 * 1024
"""Bytes taken from the socket at once."""
HANDSHAKE_READ_MAX: Final = 1024
"""The same while nothing is wrapped, so that what is sent right behind the handshake holds nobody
up.
"""
SMALL: Final = 128
"""Characters: an unfinished piece of a message that has fewer brings it no nearer to its end."""
IDLE_PER_S: Final = 1000
"""Frames that say nothing (pings, pongs, small pieces) which an upstream may send in a second."""
IDLE_MAX: Final = 5000
"""How many more than that may come at once; beyond it the connection is broken off."""

_MORE: Final = bytearray(b"more")
"""What is read as long as there are frames left of what was read before."""


class Slice:
    """A task's time until it lets others run. Trio's clock measures it: in tests it moves with
    everything else.
    """

    def __init__(self) -> None:
        self.now = trio.lowlevel.current_clock().current_time
        self.begin()

    def begin(self) -> None:
        """The others have just had their turn."""
        self.began = self.now()
        self.end = self.began + SLICE_S


class Wire:
    """The stream below a connection. While frames are `left` of what was read before, it answers at
    once after the others had their turn; once `flooded`, it is broken for its reader.
    """

    def __init__(self, stream: trio.abc.Stream) -> None:
        self.slice = Slice()
        self.read_max = HANDSHAKE_READ_MAX
        self.left = False
        self.flooded = False
        self.heard = self.slice.began
        """When the last message came, or whatever else is a sign of life."""
        self._stream = stream

    async def receive_some(self, _max_bytes: int | None = None) -> bytes | bytearray:
        """What came; `_MORE` while something is left."""
        if self.flooded:
            raise trio.BrokenResourceError("more frames that say nothing than are allowed")
        if self.left:
            await trio.lowlevel.checkpoint()
            data: bytes | bytearray = _MORE
        else:
            data = await self._stream.receive_some(self.read_max)
        self.slice.begin()
        return data

    async def send_all(self, data: bytes) -> None:
        """As the stream does."""
        await self._stream.send_all(data)

    async def aclose(self) -> None:
        """As the stream does."""
        await self._stream.aclose()


class Messages:
    """What the connection over `wire` brings, in order. Wraps its reader: once, after the
    handshake, before any message was taken.
    """

    def __init__(self, connection: trio_websocket.WebSocketConnection, wire: Wire) -> None:
        inside: Any = connection
        self._slice = Slice()
        self._channel: trio.MemoryReceiveChannel[str | bytes] = inside._recv_channel
        self._take: Callable[[], str | bytes] = self._channel.receive_nowait
        self._room = _Room(inside._send_channel, wire)
        # Its receiving end too: closing that one would lose what has come before.
        inside._send_channel = inside._recv_channel = self._room
        inside._wsproto = _Frames(inside._wsproto, wire)
        wire.read_max = READ_MAX

    @property
    def waiting(self) -> int:
        """How many have come and were not taken."""
        return self._channel.statistics().current_buffer_used

    async def next(self) -> str | bytes:
        """The next one. Lets others run when there is none, or when a slice is over.

        EndOfChannel when the connection has ended and all was taken.
        """
        mine = self._slice
        if mine.now() >= mine.end:
            await trio.lowlevel.checkpoint()
            mine.begin()
        try:
            return self._take()
        except trio.WouldBlock:
            pass
        message: str | bytes = await self._channel.receive()
        mine.begin()
        return message

    async def end(self) -> None:
        """Nothing more is to come; what has come can still be taken."""
        await self._room.aclose()


class _Room:
    """Where trio-websocket's reader puts messages: it waits only when there is no room."""

    def __init__(self, channel: trio.MemorySendChannel[str | bytes], wire: Wire) -> None:
        self._wire = wire
        self._channel = channel
        self._put = channel.send_nowait

    async def send(self, message: str | bytes) -> None:
        wire = self._wire
        wire.heard = wire.slice.began
        try:
            self._put(message)
        except trio.WouldBlock:
            await self._channel.send(message)
            wire.slice.begin()

    async def aclose(self) -> None:
        await self._channel.aclose()


class _Frames:
    """The protocol under trio-websocket's reader. It tells no more events than fit into a slice,
    and none of an upstream that floods.
    """

    def __init__(self, protocol: Any, wire: Wire) -> None:
        self._protocol = protocol
        self._wire = wire
        self._idle = 0.0
        self._idle_at = wire.slice.began

    @property
    def client(self) -> bool:
        return bool(self._protocol.client)

    @property
    def state(self) -> object:
        return self._protocol.state

    def send(self, event: object) -> bytes:
        sent: bytes = self._protocol.send(event)
        return sent

    def receive_data(self, data: bytes | bytearray) -> None:
        if data is not _MORE:
            self._protocol.receive_data(data)

    def events(self) -> Iterator[object]:
        wire = self._wire
        mine = wire.slice
        wire.left = False
        for event in self._protocol.events():
            # Only pieces of messages have this attribute: control frames have not.
            whole = getattr(event, "message_finished", None)
            if not whole and (whole is None or len(event.data) < SMALL):
                self._count()
                if wire.flooded:
                    return
            yield event
            if mine.now() >= mine.end:
                wire.left = True
                return

    def _count(self) -> None:
        """One more frame that says nothing, into a bucket that so many run out of in a second."""
        at = self._wire.slice.began
        self._idle = max(0.0, self._idle - (at - self._idle_at) * IDLE_PER_S) + 1
        self._idle_at = at
        self._wire.flooded = self._idle > IDLE_MAX
