"""One writer loop for all live clients of a stream and filter: encode once, pack once, queue
nothing per client.

A client's place in a channel is a number. While it keeps up, the channel's pass writes the shared
bytes straight to its socket. The first short write moves it to a catch-up task of its own, which
goes on from that number when the socket drains, and lets it rejoin once it is level. So a stalled
client costs the rest of one message and nothing else, whatever it does.

Knows sockets only as something that takes bytes, and wire formats only as functions.
"""

import logging
from collections import OrderedDict
from collections.abc import Callable, Iterable
from typing import Any, Protocol

import trio
from attrs import define, frozen

from flowd.channel.packing import Pack
from flowd.stream.log import Stream
from flowd.values.clock import Stopwatch, stopwatch
from flowd.values.errors import BadRequest
from flowd.values.filters import ALL, Filter
from flowd.values.record import Batch, Position

logger = logging.getLogger("flowd.channel")

Encode = Callable[[Batch[Any]], bytes | list[bytes]]
Warn = Callable[[str, int], bytes]

CHUNK_RECORDS = 500
CHUNK_BYTES = 128 * 1024
"""A message holds at most so many records, and ends with the one that passes so many bytes."""
URGENT_MAX = 64 * 1024
"""Bytes of answers that may wait for a client who does not read; above, it is dropped."""
CHANNELS_MAX = 2000
PLACES_MAX = 100
"""Streams that one connection may follow."""
CACHE_BYTES = 32 * 1024 * 1024
CACHE_ENTRY_BYTES = 1024
"""What an entry of the cache costs beside its bytes: tiny ones must not fill the memory."""
SLICE_S = 0.002
"""A pass gives way to other tasks after so long."""
PACE_CLIENTS = 32
"""A channel of so many clients keeps to `Limits.pace_s`."""


@frozen
class Limits:
    """When a client counts as slow, and when it is given up, in seconds; how often clients hear
    something; how far apart the passes over many clients are: in a burst the records of `pace_s`
    travel together, at the price of one.
    """

    slow_consumer_timeout_s: float = 1.0
    slow_consumer_limit_s: float = 60.0
    heartbeat_s: float = 15.0
    pace_s: float = 0.005


class Socket(Protocol):
    """What a channel needs of a connection."""

    def send(self, data: bytes | memoryview, /) -> int:
        """Take what fits now. BlockingIOError when nothing does, another OSError when the peer is
        gone.
        """
        ...

    async def writable(self) -> None:
        """Wait until `send` may take something."""
        ...

    def close(self) -> None:
        """Let go of the connection at once."""
        ...


@define(eq=False)
class Counts:
    """What all channels did since the start, for `/status`."""

    delivered: int = 0
    slow: int = 0
    gone_slow: int = 0
    gaps: int = 0


@define(eq=False)
class Place:
    """Where one client is in one channel: everything up to `seq` has been written, or lies in the
    client's rest. It is ahead of the channel if it was served elsewhere what is not passed on yet.
    """

    client: "Client"
    channel: "Channel"
    seq: int
    first: bool = False
    reset: bool = False


class Channels:
    """All channels of the daemon. Runs their loops and the catch-up tasks in one nursery."""

    def __init__(
        self,
        nursery: trio.Nursery,
        limits: Limits | None = None,
        stopwatch: Stopwatch = stopwatch,
    ) -> None:
        self.nursery = nursery
        self.limits = limits or Limits()
        self.stopwatch = stopwatch
        self.counts = Counts()
        self.behind: set[Client] = set()
        self._channels: dict[tuple[str, Filter, Encode], Channel] = {}
        self._packed: OrderedDict[tuple[Any, ...], tuple[bytes, int]] = OrderedDict()
        self._packed_bytes = 0
        self._level = trio.lowlevel.ParkingLot()

    def __len__(self) -> int:
        return len(self._channels)

    @property
    def cached_bytes(self) -> int:
        """Bytes of prepared chunks kept for clients who start or resume together."""
        return self._packed_bytes

    def is_level(self, client: "Client") -> None:
        """Note that a client is behind no more: it has caught up, or gone."""
        self.behind.discard(client)
        if not self.behind:
            self._level.unpark_all()

    async def all_level(self) -> None:
        """Wait until no client is behind and no channel has anything left to pass on."""
        channels = self._channels
        while self.behind or any(c.passing or c.seq < c.stream.seq for c in channels.values()):
            if self.behind:
                await self._level.park()
            else:
                await trio.sleep(0.001)  # Who has something to pass on never waits long.

    def open(
        self, stream: Stream[Any], filter: Filter, encode: Encode, warn: Warn | None
    ) -> "Channel":
        """The channel of this stream, filter and wire format; made when nobody has asked for it
        before.
        """
        key = (stream.name, filter, encode)
        channel = self._channels.get(key)
        if channel is None:
            if len(self._channels) >= CHANNELS_MAX:
                raise BadRequest(
                    "too many different filters are in use at the moment",
                    parameter="filter",
                    value=str(filter),
                    allowed="a filter that others use, or none; or try again later",
                    code="TOO_MANY_FILTERS",
                    status=503,
                )
            channel = self._channels[key] = Channel(self, stream, filter, encode, warn)
            self.nursery.start_soon(channel.run, name=f"channel {stream.name} {filter}")
        return channel

    def discard(self, channel: "Channel") -> None:
        """Forget a channel that nobody follows any more."""
        del self._channels[channel.stream.name, channel.filter, channel.encode]

    def packed(self, key: tuple[Any, ...]) -> tuple[bytes, int] | None:
        """A prepared chunk (bytes, the seq it leads to), if somebody was served the same one
        lately.
        """
        found = self._packed.get(key)
        if found is not None:
            self._packed.move_to_end(key)
        return found

    def keep(self, key: tuple[Any, ...], data: bytes, seq: int) -> None:
        """Keep a prepared chunk for the next client; the least used ones make room."""
        self._packed[key] = (data, seq)
        self._packed_bytes += len(data) + CACHE_ENTRY_BYTES
        while self._packed_bytes > CACHE_BYTES:
            _, (old, _) = self._packed.popitem(last=False)
            self._packed_bytes -= len(old) + CACHE_ENTRY_BYTES


class Channel:
    """All live clients of one stream with one filter and one wire format."""

    def __init__(
        self,
        channels: Channels,
        stream: Stream[Any],
        filter: Filter,
        encode: Encode,
        warn: Warn | None,
    ) -> None:
        self.stream = stream
        self.filter = filter
        self.encode = encode
        self.warn = warn
        self.seq = stream.seq
        """Every client who keeps up has been sent everything up to here."""
        self.told = self.seq
        """The newest position that a message said."""
        self._told_at = self._passed_at = self.spoke_at = trio.current_time()
        self._channels = channels
        self._places: dict[Place, None] = {}
        self._order: list[Place] | None = None
        self._scope = trio.CancelScope()
        self.passing = False

    def __len__(self) -> int:
        return len(self._places)

    def join(self, client: "Client", after: Position | None, limit: int | None) -> Place:
        """Give a client its place: after its position, or at the start of a snapshot of the newest
        `limit`.
        """
        if after is not None and self.stream.knows(after):
            place = Place(client, self, after.seq)
        else:
            seq = 0 if limit is None else min(self.stream.newest(limit, self.filter), self.seq)
            place = Place(client, self, seq, first=True, reset=after is not None)
        self._places[place] = None
        self._order = None
        return place

    def leave(self, place: Place) -> None:
        """Take a client out. A channel without clients ends."""
        del self._places[place]
        place.seq = -1  # A pass under way must not write to it any more.
        self._order = None
        if not self._places:
            self._channels.discard(self)
            self._scope.cancel()

    async def run(self) -> None:
        """Pass on what is new until the stream is closed or the last client has left."""
        heartbeat_s = self._channels.limits.heartbeat_s
        with self._scope:
            while True:
                with trio.move_on_after(heartbeat_s):
                    if not await self.stream.news(self.seq):
                        return
                    next_at = self._passed_at + self._channels.limits.pace_s
                    if len(self._places) >= PACE_CLIENTS and next_at > trio.current_time():
                        await trio.sleep_until(next_at)
                self._passed_at = trio.current_time()
                batch = self._read(self.seq, self.stream.seq)
                # A filter that hides everything must not leave its clients with a position that
                # grows old, be the stream quiet or busy.
                silent_s = trio.current_time() - self._told_at
                untold = self.told < batch.position.seq and silent_s >= heartbeat_s
                self.passing = True
                await self._pass(batch, say=bool(batch.records) or batch.gap is not None or untold)
                self.passing = False

    def _read(self, after: int, upto: int, *, first: bool = False) -> Batch[Any]:
        """The next message's worth of records."""
        batch = self.stream.read(
            after, first=first, upto=upto, limit=CHUNK_RECORDS, filter=self.filter
        )
        size = 0
        for index, record in enumerate(batch.records):
            size += len(record.json)
            if size > CHUNK_BYTES and index + 1 < len(batch.records):
                records = batch.records[: index + 1]
                position = Position(batch.position.epoch, record.seq)
                return Batch(batch.stream, records, position, first, batch.gap)
        return batch

    async def _pass(self, batch: Batch[Any], *, say: bool) -> None:
        """Write one batch to every client who keeps up."""
        payloads = self._payloads(batch) if say else []
        if payloads is None:
            for place in list(self._places):
                place.client.drop("internal error")
            await trio.lowlevel.checkpoint()  # where a channel that nobody follows ends
            return
        packed: dict[Pack, bytes] = {}
        start, self.seq = self.seq, batch.position.seq
        target = self.seq
        if say:
            self.told, self._told_at = target, trio.current_time()
        say = bool(payloads)  # A sink may have nothing to say of what it was given.
        if say:
            self.spoke_at = trio.current_time()
        if self._order is None:
            self._order = list(self._places)
        watch = self._channels.stopwatch
        began = watch()
        delivered = 0
        for index, place in enumerate(self._order):
            client = place.client
            if place.seq != start or client.behind:
                if start < place.seq < target and not client.behind:
                    client.hurry()  # It was ahead, and is not any more. One who has left is at -1.
                continue
            if say:
                pack = client.pack
                data = packed.get(pack)
                if data is None:
                    data = packed[pack] = pack(payloads)
                try:
                    sent = client.socket.send(data)
                except BlockingIOError:
                    client.fall_behind(None)
                    continue
                except OSError:
                    client.drop("connection lost")
                    continue
                delivered += 1
                place.seq = target
                if sent < len(data):
                    client.fall_behind(memoryview(data)[sent:])
            else:
                place.seq = target
            if index & 15 == 15 and watch() - began > SLICE_S:
                await trio.lowlevel.checkpoint()
                began = watch()
        self._channels.counts.delivered += delivered * len(batch.records)
        self._channels.counts.gaps += 0 if batch.gap is None else delivered
        if self.stream.seq > target:
            # There is more already, so the loop will not wait: let others run before it goes on.
            await trio.lowlevel.checkpoint()

    def _payloads(self, batch: Batch[Any]) -> list[bytes] | None:
        """The batch in the sink's words; None when the sink fails: that costs its clients alone."""
        try:
            made = self.encode(batch)
        except Exception:
            logger.exception("%s: a sink failed; its clients are let go", batch.stream)
            return None
        return [made] if isinstance(made, bytes) else made

    def chunk(self, place: Place) -> bytes:
        """The next bytes for a client who is not level with the channel; moves its place past
        them.
        """
        client = place.client
        key = (self, client.pack, place.seq, self.seq, place.first, place.reset)
        found = self._channels.packed(key)
        if found is None:
            batch = self._read(place.seq, self.seq, first=place.first)
            if place.reset:
                batch = Batch(batch.stream, batch.records, batch.position, True, None, reset=True)
            if batch.gap is not None:
                self._channels.counts.gaps += 1
            payloads = self._payloads(batch)
            if payloads is None:
                client.drop("internal error")
                return b""
            data = client.pack(payloads)
            found = (data, batch.position.seq)
            if batch.gap is None:
                self._channels.keep(key, data, batch.position.seq)
        data, place.seq = found
        place.first = place.reset = False
        return data


class Client:
    """One live connection: its socket, its places, and the unsent rest of a message, if there is
    one.
    """

    __slots__ = (
        "__weakref__",
        "_channels",
        "_on_gone",
        "_stalled_at",
        "_told_slow",
        "_urgent",
        "behind",
        "gone",
        "pack",
        "places",
        "rest",
        "socket",
    )

    def __init__(
        self,
        channels: Channels,
        socket: Socket,
        pack: Pack,
        on_gone: Callable[["Client", str], None],
        opening: bytes = b"",
    ) -> None:
        """Nothing is written, neither `opening` nor what the client follows, before `start`."""
        self.socket = socket
        self.pack = pack
        self.places: dict[str, Place] = {}
        self.behind = True
        """Its catch-up task serves all its places; every channel's pass skips it."""
        self.gone = False
        self.rest: bytes | memoryview | None = opening or None
        self._urgent: list[bytes] = []
        self._stalled_at: float | None = None
        self._told_slow = False
        self._channels = channels
        self._on_gone = on_gone

    def follow(
        self,
        stream: Stream[Any],
        encode: Encode,
        *,
        warn: Warn | None = None,
        filter: Filter = ALL,
        after: Position | None = None,
        limit: int | None = None,
    ) -> None:
        """Follow a stream from a position, or from a snapshot of its newest `limit`; instead of
        how it did before.
        """
        if self.gone:
            return
        self.check_room([stream.name])
        channel = self._channels.open(stream, filter, encode, warn)
        place = channel.join(self, after, limit)
        self.unfollow(stream.name)
        self.places[stream.name] = place
        if not self.behind:
            self.hurry()

    def check_room(self, streams: Iterable[str]) -> None:
        """BadRequest when this client would follow too many streams with these."""
        if len(self.places.keys() | streams) > PLACES_MAX:
            raise BadRequest(
                f"one connection follows at most {PLACES_MAX} streams",
                parameter="streams",
                value=list(streams),
                allowed="unsubscribe from others first, or open another connection",
            )

    def start(self) -> None:
        """Begin to write."""
        self.hurry()

    def abandon(self) -> None:
        """Follow nothing after all; the socket is left alone."""
        self.gone = True
        for stream in list(self.places):
            self.unfollow(stream)

    def unfollow(self, stream: str) -> bool:
        """Stop following a stream; False when it was not followed."""
        place = self.places.pop(stream, None)
        if place is not None:
            place.channel.leave(place)
        return place is not None

    def write(self, data: bytes) -> None:
        """Send bytes of this client's own (an answer, a pong), between messages and in order."""
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
        """The socket is full: from here on the catch-up task serves this client, beginning with
        `rest`.
        """
        self.rest = rest
        self._be_behind()
        self._stalled_at = trio.current_time()
        self._channels.nursery.start_soon(self._catch_up, name="catch-up")

    def drop(self, reason: str) -> None:
        """Let the connection go at once."""
        if not self.gone:
            self.gone = True
            self.rest = None
            self._urgent.clear()
            for stream in list(self.places):
                self.unfollow(stream)
            self._channels.is_level(self)
            self.socket.close()
            self._on_gone(self, reason)

    def _be_behind(self) -> None:
        self.behind = True
        self._channels.behind.add(self)

    def hurry(self) -> None:
        """Bring a new place level at once if the socket takes it; else leave it to a catch-up
        task.
        """
        self._be_behind()
        for _ in range(8):
            data = self._next()
            if data is None:
                return
            sent = self._send(data)
            if self.gone:
                return
            if sent < len(data):
                return self.fall_behind(memoryview(data)[sent:])
        self._channels.nursery.start_soon(self._catch_up, name="catch-up")

    async def _catch_up(self) -> None:
        """Write what is left and what was missed until every place is level with its channel."""
        while not self.gone and (data := self._next()) is not None:
            sent = self._send(data)
            if sent < len(data):
                self.rest = memoryview(data)[sent:]
                await self._writable()
            else:
                await trio.lowlevel.checkpoint()

    def _next(self) -> bytes | memoryview | None:
        """What this client is to be sent next; None when it is level, which ends its being
        behind.
        """
        if self.rest is not None:
            data, self.rest = self.rest, None
            return data
        if self._urgent:
            data = b"".join(self._urgent)
            self._urgent.clear()
            return data
        for place in self.places.values():
            if place.seq < place.channel.seq or place.first:
                return self._slow_warning(place) + place.channel.chunk(place)
        self.behind = False
        self._stalled_at = None
        self._told_slow = False
        self._channels.is_level(self)
        return None

    def _slow_warning(self, place: Place) -> bytes:
        """Said once for each time that a client was stalled for too long, before it goes on."""
        limits = self._channels.limits
        if (
            self._told_slow
            or self._stalled_at is None
            or trio.current_time() - self._stalled_at < limits.slow_consumer_timeout_s
        ):
            return b""
        self._told_slow = True
        self._channels.counts.slow += 1
        if place.channel.warn is None:
            return b""
        behind = place.channel.seq - place.seq
        return self.pack([place.channel.warn(place.channel.stream.name, behind)])

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
        with trio.move_on_after(self._channels.limits.slow_consumer_limit_s) as waited:
            try:
                await self.socket.writable()
            except (OSError, trio.ClosedResourceError):
                self.drop("connection lost")
        if waited.cancelled_caught and not self.gone:
            self._channels.counts.gone_slow += 1
            self.drop("slow consumer: took no byte for too long")
