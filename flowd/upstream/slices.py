"""Many messages in one step of the event loop: how the reader of a WebSocket gives way.

trio-websocket's reader lets all others run after each message, and never between frames that make
none. So a message costs a pass of the event loop, which is dear where there are many tasks, and a
handful of bytes may hold it. Here the reader gives way when its slice of time is over, whatever
came in it.

The connection stays trio-websocket's: it shakes hands, answers pings, puts pieces together, closes.
Two of its parts are wrapped: the protocol that says what was read, and the channel that messages go
into. Both are private there, so pyproject.toml pins its minor version, and
`tests/upstream/test_slices.py` holds this way against the plain one.
"""

import re
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, Final

import trio
import trio_websocket
from wsproto.events import CloseConnection

SLICE_S: Final = 0.00075
"""For so long a task takes what is there before it lets others run. Reader and source each do so in
every pass of the event loop, and who was first in one pass may be last in the next: others wait for
three milliseconds at most.
"""
READ_MAX: Final = 64 * 1024
"""Bytes taken from the socket at once."""
SMALL: Final = 128
"""Characters: an unfinished piece of a message that has fewer brings it no nearer to its end."""
IDLE_PER_S: Final = 1000
"""Frames that say nothing (pings, pongs, small pieces) which an upstream may send in a second."""
IDLE_MAX: Final = 5000
"""How many more than that may come at once; beyond it the connection is broken off."""

_SWITCHED: Final = re.compile(rb"HTTP/1\.[0-9] 101 .*?\n\r?\n", re.DOTALL)
"""The head of the answer after which frames follow."""
_WHOLE_TEXT: Final = 0x81
"""The first byte of a frame that is a message of text, with nothing to be said about it."""

_MORE: Final = b"more"
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
    once after the others had their turn; once `flooded`, it is broken for its reader. Behind the
    handshake nothing is read until the reader was `wrapped`.
    """

    def __init__(self, stream: trio.abc.Stream) -> None:
        self.slice = Slice()
        self.left = False
        self.full = False
        """There was no room for a message: the reader waits until all before it were taken."""
        self.flooded = False
        self.wrapped = trio.Event()
        self.heard = self.slice.began
        """When the last message came, or whatever else is a sign of life."""
        self._stream = stream
        self._head: bytes | None = b""
        self._frames = b""
        self._waits = trio.lowlevel.ParkingLot()

    async def receive_some(self, _max_bytes: int | None = None) -> bytes:
        """What came; `_MORE` while something is left."""
        if self.flooded:
            raise trio.BrokenResourceError("more frames that say nothing than are allowed")
        if self.full:
            await self._waits.park()
            data = _MORE
        elif self.left:
            await trio.lowlevel.checkpoint()
            data = _MORE
        elif self._head is not None:
            data = await self._handshake(self._head)
        elif self._frames or not self.wrapped.is_set():
            await self.wrapped.wait()
            data, self._frames = self._frames, b""
            data = data or bytes(await self._stream.receive_some(READ_MAX))
        else:
            data = bytes(await self._stream.receive_some(READ_MAX))
        self.slice.begin()
        return data

    def emptied(self) -> None:
        """All messages were taken: there is room."""
        self.full = False
        self._waits.unpark_all()

    async def _handshake(self, before: bytes) -> bytes:
        data = bytes(await self._stream.receive_some(READ_MAX))
        self._head = before + data
        if head := _SWITCHED.match(self._head):
            end = head.end() - len(before)
            data, self._frames, self._head = data[:end], data[end:], None
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
        self._say: Callable[[Any], Awaitable[None]] = inside._send
        self._wire = wire
        self._channel: trio.MemoryReceiveChannel[str | bytes] = inside._recv_channel
        self._take: Callable[[], str | bytes] = self._channel.receive_nowait
        self._room = _Room(inside._send_channel, wire)
        # Its receiving end too: closing that one would lose what has come before.
        inside._send_channel = inside._recv_channel = self._room
        inside._wsproto = _Frames(inside._wsproto, wire, self._room, inside._max_message_size)
        wire.wrapped.set()

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
            if self._wire.full:
                self._wire.emptied()
        message: str | bytes = await self._channel.receive()
        mine.begin()
        return message

    async def leave(self) -> None:
        """Say goodbye. What upstream says before it answers still comes; then nothing more does."""
        await self._say(CloseConnection(code=1000))

    async def end(self) -> None:
        """Nothing more is to come; what has come can still be taken."""
        await self._room.aclose()


class _Room:
    """Where trio-websocket's reader puts messages: it waits only when there is no room."""

    def __init__(self, channel: trio.MemorySendChannel[str | bytes], wire: Wire) -> None:
        self.put: Callable[[str | bytes], None] = channel.send_nowait
        self._wire = wire
        self._channel = channel

    async def send(self, message: str | bytes) -> None:
        wire = self._wire
        wire.heard = wire.slice.began
        try:
            self.put(message)
        except trio.WouldBlock:
            await self._channel.send(message)
            wire.slice.begin()

    async def aclose(self) -> None:
        await self._channel.aclose()


class _Frames:
    """The protocol under trio-websocket's reader. It tells no more events than fit into a slice,
    and none of an upstream that floods.

    Nearly all that comes are texts, each whole in one frame: such a frame is opened here, and goes
    into the room; when that is full, the reader waits until it is empty, so that it and the source
    need not take turns for each message. Every other frame is handed to the protocol, and so is one
    whose text is none.
    """

    def __init__(self, protocol: Any, wire: Wire, room: _Room, message_max: int) -> None:
        self._protocol = protocol
        self._wire = wire
        self._put = room.put
        self._message_max = message_max
        self._data = b""
        self._at = 0
        """Up to here all is dealt with."""
        self._handed = 0
        """So many bytes of the frame that the protocol has in part are still to come."""
        self._fed = True
        """The protocol may have events to tell."""
        self._in_pieces = False
        self._idle = 0.0
        self._idle_at = wire.slice.began

    @property
    def client(self) -> bool:
        return bool(self._protocol.client)

    @property
    def state(self) -> Any:
        return self._protocol.state

    def send(self, event: object) -> bytes:
        # Nothing may follow a goodbye, also when a ping wants to be answered.
        sent: bytes = b"" if self.state.name == "LOCAL_CLOSING" else self._protocol.send(event)
        return sent

    def receive_data(self, data: bytes) -> None:
        if data is not _MORE:
            self._data, self._at = self._data[self._at :] + data, 0

    def events(self) -> Iterator[object]:
        wire = self._wire
        mine = wire.slice
        wire.left = False
        while True:
            if self._fed:
                for event in self._protocol.events():
                    self._note(event)
                    if wire.flooded:
                        return
                    yield event
                    if mine.now() >= mine.end:
                        wire.left = True
                        return
                self._fed = False
            if self._take():
                wire.left = True
                return
            self._fed = self._hand()
            if not self._fed:
                return

    def _take(self) -> bool:
        """Open the frames that are whole texts, up to one that is not; true when the slice was over
        before.
        """
        if self._handed or self._in_pieces:
            return False
        put, mine, data, at = self._put, self._wire.slice, self._data, self._at
        size, over = len(data), False
        while not over and size - at > 4 and data[at] == _WHOLE_TEXT:
            start, length = at + 2, data[at + 1]
            if length == 126:
                start, length = at + 4, data[at + 2] << 8 | data[at + 3]
                if length < 126:
                    break
            elif length > 126:
                break
            end = start + length
            if end > size or length > self._message_max:
                break
            try:
                put(data[start:end].decode())
            except trio.WouldBlock:
                over = self._wire.full = True
                break
            except (ValueError, trio.BrokenResourceError, trio.ClosedResourceError):
                break
            at = end
            over = mine.now() >= mine.end
        if at != self._at:
            self._at, self._wire.heard = at, mine.began
        return over

    def _hand(self) -> bool:
        """Hand the next frame to the protocol, as far as it has come; false when nothing has."""
        left = len(self._data) - self._at
        if not left or self._protocol.state.name == "CLOSED":
            return False
        if not self._handed:
            length = self._length()
            if length is None or (left < length < READ_MAX and self._data[self._at] == _WHOLE_TEXT):
                return False
            self._handed = length
        part = self._data[self._at : self._at + self._handed]
        self._at += len(part)
        self._handed -= len(part)
        self._protocol.receive_data(part)
        return True

    def _length(self) -> int | None:
        """Of the frame that comes next, with its head; None when that is not here yet."""
        head = self._data[self._at : self._at + 14]
        if len(head) < 2:
            return None
        mask, length = head[1] >> 7, head[1] & 127
        wide = {126: 2, 127: 8}.get(length, 0)
        if len(head) < 2 + wide:
            return None
        return 2 + wide + 4 * mask + (int.from_bytes(head[2 : 2 + wide]) if wide else length)

    def _note(self, event: Any) -> None:
        """Whether a message is in pieces, and whether an upstream floods: frames that say nothing
        go into a bucket that `IDLE_PER_S` run out of.
        """
        # Only messages and their pieces have this attribute: control frames have not.
        whole: bool | None = getattr(event, "message_finished", None)
        if whole is not None:
            self._in_pieces = not whole
        if whole or (whole is False and len(event.data) >= SMALL):
            return
        at = self._wire.slice.began
        self._idle = max(0.0, self._idle - (at - self._idle_at) * IDLE_PER_S) + 1
        self._idle_at = at
        self._wire.flooded = self._idle > IDLE_MAX
