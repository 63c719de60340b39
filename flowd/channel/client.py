"""One live client: its socket, its place in each stream it follows, and how it catches up.

A client is level, and then the channels' passes write to it and it costs no task; or it is behind,
and then one task of its own writes what is left of a message and what it missed, until it is level
again. Nothing is queued for it either way: what it holds is a number per stream, and the rest of
one message.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import Any, Protocol

import trio
from attrs import define

from flowd.channel.guard import SinkFailed
from flowd.channel.packing import Pack
from flowd.stream.log import Stream
from flowd.values.errors import BadRequest
from flowd.values.limits import Limits

URGENT_MAX = 64 * 1024
"""Bytes of answers that may wait for a client who does not read; above, it is dropped."""
PLACES_MAX = 100
"""Streams that one connection may follow."""
AT_ONCE = 8
"""Chunks that a client gets when it begins to follow, before it becomes a task."""


class Socket(Protocol):
    """What a client's connection must do. The client closes it, and nobody else."""

    def send(self, data: bytes | memoryview, /) -> int:
        """Take what fits now. BlockingIOError when nothing does, another OSError when the peer is
        gone.
        """
        ...

    async def writable(self) -> None:
        """Wait until `send` may take something."""
        ...

    def finish(self) -> None:
        """Say that nothing more will be written; what was taken still arrives."""
        ...

    def close(self) -> None:
        """Let go of the connection at once."""
        ...


class Followed(Protocol):
    """What a client needs of a channel that it follows."""

    seq: int
    stream: Stream[Any]
    spoke_at: float
    """When a message last went out, in Trio's time."""

    def chunk(self, place: "Place") -> bytes:
        """The next bytes for a place that is not level, none while its beginning is looked for;
        moves it past them.
        """
        ...

    def costly(self, place: "Place") -> bool:
        """Whether `chunk` will take milliseconds."""
        ...

    def warning(self, place: "Place") -> bytes:
        """What the sink says to a client who was stalled; empty when it says nothing."""
        ...

    def carry(self, place: "Place") -> None:
        """This place is level: from here on the pass writes to it."""
        ...

    def release(self, place: "Place") -> None:
        """Its client is behind: the pass writes to it no more, and its `seq` is true again."""
        ...

    def leave(self, place: "Place") -> None:
        """Its client follows no more."""
        ...


@define(eq=False)
class Place:
    """Where one client is in one channel.

    While its client is behind, everything up to `seq` has been written, or lies in the client's
    rest. While the channel carries it, its place is the channel's own, and `seq` is where that
    began.
    """

    client: "Client"
    channel: Followed
    seq: int
    name: str
    """Under which its client knows it: the stream's, unless it follows one stream several times."""
    first: bool = False
    reset: bool = False
    seek: Iterator[int | None] | None = None
    """Where its snapshot begins, while that is still being looked for."""


@define(eq=False)
class Counts:
    """What all live clients did since the start, for `/status`."""

    delivered: int = 0
    slow: int = 0
    gone_slow: int = 0
    gaps: int = 0


class Crowd:
    """What all live clients have in common: the nursery of their tasks, their limits, what is
    counted of them, and who is behind.
    """

    def __init__(self, nursery: trio.Nursery, limits: Limits) -> None:
        self.nursery = nursery
        self.limits = limits
        self.counts = Counts()
        self.behind: set[Client] = set()
        self.packer = trio.Lock()
        """Held for what takes milliseconds: of that there is one in each turn of the loop, however
        many clients ask for it.
        """
        self._level = trio.lowlevel.ParkingLot()

    def is_level(self, client: "Client") -> None:
        """Note that a client is behind no more: it has caught up, or gone."""
        self.behind.discard(client)
        if not self.behind:
            self._level.unpark_all()

    async def all_level(self) -> None:
        """Wait until no client is behind."""
        while self.behind:
            await self._level.park()


class Client:
    """One live connection. Made before anything is sent; `start` gives it its socket.

    Whoever made it calls `start` or `abandon`, once. After `start` it closes its socket itself, in
    `drop`: when the peer is gone, takes no byte for too long, or is to be let go. `on_gone` is then
    called once, with the reason. None of its methods raises what a socket raises.
    """

    __slots__ = (
        "__weakref__",
        "_crowd",
        "_on_gone",
        "_stalled_at",
        "_told_slow",
        "_urgent",
        "behind",
        "counts_for",
        "gone",
        "pack",
        "places",
        "rest",
        "socket",
    )

    socket: Socket

    def __init__(
        self,
        crowd: Crowd,
        pack: Pack,
        on_gone: Callable[["Client", str], None],
        opening: bytes = b"",
        counts_for: str | None = None,
    ) -> None:
        """Nothing is written, neither `opening` nor what the client follows, before `start`."""
        self.pack = pack
        self.counts_for = counts_for
        """The address that its filters count for, None for one that speaks for many."""
        self.places: dict[str, Place] = {}
        self.behind = True
        """Its catch-up task serves all its places; every channel's pass skips it."""
        self.gone = False
        self.rest: bytes | memoryview | None = opening or None
        self._urgent: list[bytes] = []
        self._stalled_at: float | None = None
        self._told_slow = False
        self._crowd = crowd
        self._on_gone = on_gone

    def start(self, socket: Socket) -> None:
        """Begin to write, to this socket; it is the client's to close from here on."""
        self.socket = socket
        self.hurry()

    def abandon(self) -> None:
        """Follow nothing after all; there is no socket, and nobody is told."""
        self.gone = True
        for stream in list(self.places):
            self.unfollow(stream)

    def check_room(self, streams: Iterable[str]) -> None:
        """BadRequest when this client would follow too many streams with these."""
        if len(self.places.keys() | streams) > PLACES_MAX:
            raise BadRequest(
                f"one connection follows at most {PLACES_MAX} streams",
                parameter="streams",
                value=list(streams),
                allowed="unsubscribe from others first, or open another connection",
            )

    def take(self, place: Place) -> None:
        """Follow a stream at this place, instead of the one of the same name."""
        self.unfollow(place.name)
        self.places[place.name] = place
        if not self.behind:
            self.hurry()

    def unfollow(self, name: str) -> bool:
        """Stop following what has this name; False when nothing has."""
        place = self.places.pop(name, None)
        if place is not None:
            place.channel.leave(place)
        return place is not None

    def write(self, data: bytes) -> None:
        """Send bytes of this client's own (an answer, a pong), between messages and in order.

        Who does not read them is dropped once `URGENT_MAX` bytes wait.
        """
        if self.gone:
            return
        if self.behind:
            self._urgent.append(data)
            if sum(map(len, self._urgent)) > URGENT_MAX:
                self.drop("does not read its answers")
            return
        sent = self._send(data)
        if not self.gone and sent < len(data):
            self.fall_behind(memoryview(data)[sent:])

    def fall_behind(self, rest: memoryview | None) -> None:
        """The socket is full: from here on a task of its own serves this client, beginning with
        `rest`.
        """
        self._be_behind()
        self.rest = rest
        self._stalled_at = trio.current_time()
        self._crowd.nursery.start_soon(self._catch_up, name="catch-up")

    def drop(self, reason: str) -> None:
        """Let the connection go at once."""
        if not self.gone:
            self.gone = True
            self.rest = None
            self._urgent.clear()
            for stream in list(self.places):
                self.unfollow(stream)
            self._crowd.is_level(self)
            self.socket.close()
            self._on_gone(self, reason)

    def hurry(self) -> None:
        """Bring a new place level at once if the socket takes it; else leave it to a task."""
        self._be_behind()
        for _ in range(AT_ONCE):
            if self._costly():
                break
            data = self._next()
            if data is None:
                return
            sent = self._send(data)
            if self.gone:
                return
            if sent < len(data):
                return self.fall_behind(memoryview(data)[sent:])
        self._crowd.nursery.start_soon(self._catch_up, name="catch-up")

    def _be_behind(self) -> None:
        if not self.behind:
            for place in self.places.values():
                place.channel.release(place)
        self.behind = True
        self._crowd.behind.add(self)

    def _be_level(self) -> None:
        self.behind = False
        self._stalled_at = None
        self._told_slow = False
        for place in self.places.values():
            place.channel.carry(place)
        self._crowd.is_level(self)

    async def _catch_up(self) -> None:
        """Write what is left and what was missed until every place is level with its channel."""
        while not self.gone:
            if self._costly():
                async with self._crowd.packer:
                    data = None if self.gone else self._next()
            else:
                data = self._next()
            if data is None:
                return
            sent = self._send(data)
            if sent < len(data):
                self.rest = memoryview(data)[sent:]
                await self._writable()
            else:
                await trio.lowlevel.checkpoint()

    def _next(self) -> bytes | memoryview | None:
        """What this client is to be sent next; None when there is nothing, for it is level, or a
        sink failed and it is gone.
        """
        if self.rest is not None:
            data, self.rest = self.rest, None
            return data
        if self._urgent:
            data = b"".join(self._urgent)
            self._urgent.clear()
            return data
        place = self._due()
        if place is None:
            self._be_level()
            return None
        try:
            return self._slow_warning(place) + place.channel.chunk(place)
        except SinkFailed:
            self.drop("internal error")
            return None

    def _due(self) -> Place | None:
        """The first place that is not level."""
        for place in self.places.values():
            if place.seq < place.channel.seq or place.first:
                return place
        return None

    def _costly(self) -> bool:
        """Whether what comes next takes milliseconds."""
        if self.rest is not None or self._urgent:
            return False
        place = self._due()
        return place is not None and place.channel.costly(place)

    def _slow_warning(self, place: Place) -> bytes:
        """Said once for each time that a client was stalled for too long, before it goes on."""
        stalled_at, limits = self._stalled_at, self._crowd.limits
        if self._told_slow or stalled_at is None:
            return b""
        if trio.current_time() - stalled_at < limits.slow_consumer_timeout_s:
            return b""
        self._told_slow = True
        self._crowd.counts.slow += 1
        return place.channel.warning(place)

    def _send(self, data: bytes | memoryview) -> int:
        """How much of `data` the socket took. A lost connection takes everything."""
        try:
            return self.socket.send(data)
        except BlockingIOError:
            return 0
        except OSError:
            self.drop("connection lost")
            return len(data)

    async def _writable(self) -> None:
        if self._stalled_at is None:
            self._stalled_at = trio.current_time()
        with trio.move_on_after(self._crowd.limits.slow_consumer_limit_s) as waited:
            try:
                await self.socket.writable()
            except (OSError, trio.ClosedResourceError):
                self.drop("connection lost")
        if waited.cancelled_caught and not self.gone:
            self._crowd.counts.gone_slow += 1
            self.drop("slow consumer: took no byte for too long")
