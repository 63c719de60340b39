"""One writer loop for all live clients of a stream and filter: encode once, pack once, queue
nothing per client.

A channel knows the one place where all its level clients are, and for each kind of packing the list
of their sockets' `send`: its pass writes the same bytes to one after the other, and does nothing
else. The first short write takes a client out of the list (`flowd.channel.client`); once level, it
is back. So a stalled client costs the rest of one message, whatever it does.

Knows sockets only as something that takes bytes, and wire formats only as functions.
"""

from collections import Counter
from collections.abc import Callable, Hashable
from typing import Any

import trio
from attrs import asdict, evolve

from flowd.channel.client import PLACES_MAX, URGENT_MAX, Client, Crowd, Place
from flowd.channel.guard import Guard, SinkFailed
from flowd.channel.packing import COMPRESSING, Pack
from flowd.channel.prepared import Prepared
from flowd.channel.row import Row, Send
from flowd.stream.log import Stream
from flowd.values.clock import Stopwatch, stopwatch
from flowd.values.errors import BadRequest
from flowd.values.filters import ALL, Filter
from flowd.values.limits import Limits
from flowd.values.record import Batch, Position

Encode = Callable[[Batch[Any]], bytes | list[bytes]]
Warn = Callable[[str, int], bytes]
Chunk = tuple[bytes, int]
"""Prepared bytes, and the seq that they lead to."""

CHUNK_RECORDS = 500
CHUNK_BYTES = 128 * 1024
"""A message holds at most so many records, and ends with the one that passes so many bytes."""
FILTERED_MAX = 2000
"""Channels with a filter, of all; one without can always be had."""
FILTERED_PER_ADDRESS = 200
FEW_RECORDS = 50
"""So many are packed in no time, however they are packed."""
SLICE_S = 0.002
"""A pass gives way to other tasks after so long."""
SLICE_CLIENTS = 16
"""A pass looks at the clock once for so many clients."""
PACE_CLIENTS = 32
"""A channel of so many clients keeps to `Limits.pace_s`."""


class Channels:
    """All channels of the daemon. Runs their loops and the catch-up tasks in one nursery."""

    def __init__(
        self,
        nursery: trio.Nursery,
        limits: Limits | None = None,
        stopwatch: Stopwatch = stopwatch,
        guard: Guard | None = None,
        prepared: Prepared[Any] | None = None,
    ) -> None:
        self.limits = limits or Limits()
        self.crowd = Crowd(nursery, self.limits)
        self.stopwatch = stopwatch
        self.guard = guard or Guard()
        self.prepared: Prepared[Any] = prepared or Prepared(self.limits.prepared_bytes)
        self._channels: dict[tuple[str, Filter, Encode], Channel] = {}
        self._filtered: Counter[str | None] = Counter()
        """Channels with a filter, by who was the first to ask for it."""

    def __len__(self) -> int:
        return len(self._channels)

    async def all_level(self) -> None:
        """Wait until no client is behind and no channel has anything left to pass on."""
        channels = self._channels
        while True:
            await self.crowd.all_level()
            if not any(c.passing or c.seq < c.stream.seq for c in channels.values()):
                return
            await trio.sleep(0.001)  # Who has something to pass on never waits long.

    def follow(
        self,
        client: Client,
        stream: Stream[Any],
        encode: Encode,
        *,
        warn: Warn | None = None,
        filter: Filter = ALL,
        after: Position | None = None,
        limit: int | None = None,
    ) -> None:
        """Let a client follow a stream from a position, or from a snapshot of its newest `limit`;
        instead of how it did before. BadRequest when it or the daemon has no room for more.
        """
        if client.gone:
            return
        client.check_room([stream.name])
        channel = self._open(stream, filter, encode, warn, client.counts_for)
        client.take(channel.join(client, after, limit))

    def discard(self, channel: "Channel") -> None:
        """Forget a channel that nobody follows any more."""
        del self._channels[channel.stream.name, channel.filter, channel.encode]
        if channel.filter:
            self._filtered[channel.asked_by] -= 1
            self._filtered += Counter()  # which forgets those at zero

    def _open(
        self,
        stream: Stream[Any],
        filter: Filter,
        encode: Encode,
        warn: Warn | None,
        asked_by: str | None,
    ) -> "Channel":
        """The channel of this stream, filter and wire format; made when nobody has asked for it
        before.
        """
        key = (stream.name, filter, encode)
        channel = self._channels.get(key)
        if channel is None:
            if filter:
                self._check_filters(filter, asked_by)
                self._filtered[asked_by] += 1
            channel = self._channels[key] = Channel(self, stream, filter, encode, warn, asked_by)
            name = f"channel {stream.name} {filter}"
            self.crowd.nursery.start_soon(channel.run, name=name)
        return channel

    def _check_filters(self, filter: Filter, asked_by: str | None) -> None:
        """BadRequest when nobody, or not this address, may have one more filter of its own."""
        here = 0 if asked_by is None else self._filtered[asked_by]
        if here >= FILTERED_PER_ADDRESS or self._filtered.total() >= FILTERED_MAX:
            raise BadRequest(
                "too many different filters are in use at the moment",
                parameter="filter",
                value=str(filter),
                allowed="a filter that others use, or none; or try again later",
                code="TOO_MANY_FILTERS",
                status=503,
            )

    def figures(self) -> dict[str, Any]:
        """What there is now, and was so far, for `/status`."""
        return {
            "behind": len(self.crowd.behind),
            "channels": len(self),
            **asdict(self.crowd.counts),
        }

    def bounds(self) -> dict[str, Any]:
        """The limits that something can run into here, for `/status`."""
        return {
            "slow_consumer_timeout_s": self.limits.slow_consumer_timeout_s,
            "slow_consumer_limit_s": self.limits.slow_consumer_limit_s,
            "filters": FILTERED_MAX,
            "filters_per_address": FILTERED_PER_ADDRESS,
            "streams_per_connection": PLACES_MAX,
            "unread_answers_bytes": URGENT_MAX,
        }


class Channel:
    """All live clients of one stream with one filter and one wire format."""

    def __init__(
        self,
        channels: Channels,
        stream: Stream[Any],
        filter: Filter,
        encode: Encode,
        warn: Warn | None,
        asked_by: str | None = None,
    ) -> None:
        self.stream = stream
        self.asked_by = asked_by
        self.filter = filter
        self.encode = encode
        self.warn = warn
        self.seq = stream.seq
        """Every client who keeps up has been sent everything up to here."""
        self.told = self.seq
        """The newest position that a message said."""
        self.passing = False
        self._told_at = self._passed_at = self.spoke_at = trio.current_time()
        self._channels = channels
        self._places: dict[Place, None] = {}
        self._rows: dict[Pack, Row] = {}
        self._ahead: dict[Place, None] = {}
        """Clients who were served elsewhere what is not passed on here yet."""
        self._start = self.seq
        """Where the pass that is under way began: who was not reached yet is still there."""
        self._scope = trio.CancelScope()

    def __len__(self) -> int:
        return len(self._places)

    # -- who is where

    def join(self, client: Client, after: Position | None, limit: int | None) -> Place:
        """Give a client its place: after its position, or at the start of a snapshot of the newest
        `limit`.
        """
        if after is not None and self.stream.knows(after):
            place = Place(client, self, after.seq)
        else:
            seq = 0 if limit is None else min(self.stream.newest(limit, self.filter), self.seq)
            place = Place(client, self, seq, first=True, reset=after is not None)
        self._places[place] = None
        return place

    def leave(self, place: Place) -> None:
        """Take a client out. A channel without clients ends."""
        del self._places[place]
        self._put_down(place)
        if not self._places:
            self._channels.discard(self)
            self._scope.cancel()

    def carry(self, place: Place) -> None:
        """This place is level: from here on the pass writes to it."""
        if place.seq > self.seq:
            self._ahead[place] = None
        else:
            self._rows.setdefault(place.client.pack, Row()).add(place)

    def release(self, place: Place) -> None:
        """Its client is behind: the pass writes to it no more, and its `seq` is true again."""
        if self._put_down(place):
            reached = not self.passing or place.seq == self.seq
            place.seq = self.seq if reached else self._start

    def _put_down(self, place: Place) -> bool:
        """Whether it was one that the pass writes to."""
        if place in self._ahead:
            del self._ahead[place]
            return False
        row = self._rows.get(place.client.pack)
        if row is None or place not in row:
            return False
        row.discard(place)
        return True

    # -- the pass

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
                say = bool(batch.records) or batch.gap is not None or untold
                await self._pass(batch, say=say)

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
                return evolve(batch, records=records, position=position)
        return batch

    async def _pass(self, batch: Batch[Any], *, say: bool) -> None:
        """Write one batch to every client who keeps up."""
        guard, counts = self._channels.guard, self._channels.crowd.counts
        try:
            payloads = guard.payloads(self.stream.name, self.encode, batch) if say else []
        except SinkFailed:
            for place in list(self._places):
                place.client.drop("internal error")
            await trio.lowlevel.checkpoint()  # where a channel that nobody follows ends
            return
        self._start, self.seq = self.seq, batch.position.seq
        if say:
            self.told, self._told_at = self.seq, trio.current_time()
        if payloads:  # A sink may have nothing to say of what it was given.
            self.spoke_at = trio.current_time()
            self.passing = True
            try:
                delivered = await self._write(payloads)
            finally:
                self.passing = False
            counts.delivered += delivered * len(batch.records)
            counts.gaps += 0 if batch.gap is None else delivered
        for place in [place for place in self._ahead if place.seq <= self.seq]:
            place.client.hurry()
        if self.stream.seq > self.seq:
            # There is more already, so the loop will not wait: let others run before it goes on.
            await trio.lowlevel.checkpoint()

    async def _write(self, payloads: list[bytes]) -> int:
        """Send one message to all level clients; answers to how many."""
        watch, delivered = self._channels.stopwatch, 0
        reached: list[tuple[Row, list[Place]]] = []
        began = watch()
        for pack, row in list(self._rows.items()):
            data = pack(payloads)
            sends, places = row.ready(), row.places
            index = 0
            while index < len(sends):
                end = index + SLICE_CLIENTS
                delivered += self._send(data, places[index:end], sends[index:end])
                reached.append((row, places[index:end]))
                index = end
                if watch() - began <= SLICE_S:
                    continue
                # Others run now, and may ask where a client is: say who was reached, and is still
                # level.
                for its_row, some in reached:
                    for place in some:
                        if place in its_row:
                            place.seq = self.seq
                reached.clear()
                await trio.lowlevel.checkpoint()
                began = watch()
                if row.sends is not sends:
                    # Somebody came or went. Who came back has been reached on its way.
                    there = [p for p in places[index:] if p in row and p.seq < self.seq]
                    sends, places, index = [p.client.socket.send for p in there], there, 0
        return delivered

    def _send(
        self,
        data: bytes,
        places: list[Place],
        sends: list[Send],
    ) -> int:
        """Send to some; answers how many took at least a part."""
        size, delivered = len(data), len(sends)
        short: list[tuple[int, int]] = []
        for index, send in enumerate(sends):
            try:
                sent = send(data)
            except BlockingIOError:
                sent = 0
            except OSError:
                sent = -1
            if sent != size:
                short.append((index, sent))
        for index, sent in short:
            place = places[index]
            if sent < 0:
                place.client.drop("connection lost")
            elif sent:
                place.seq = self.seq
                place.client.fall_behind(memoryview(data)[sent:])
            else:
                place.client.fall_behind(None)
            delivered -= sent <= 0
        return delivered

    # -- catching up

    def chunk(self, place: Place) -> bytes:
        """The next bytes for a place that is not level; moves it past them. SinkFailed when the
        sink cannot word them.
        """
        prepared, pack, key = self._channels.prepared, place.client.pack, self._key(place)
        found: Chunk | None = prepared.get(key)
        if found is None:
            batch = self._read(place.seq, self.seq, first=place.first)
            if place.reset:
                batch = evolve(batch, first=True, gap=None, reset=True)
            payloads = self._channels.guard.payloads(self.stream.name, self.encode, batch)
            found = (pack(payloads), batch.position.seq)
            if batch.gap is None:
                prepared.keep(key, found, len(found[0]))
            else:
                self._channels.crowd.counts.gaps += 1
        data, place.seq = found
        place.first = place.reset = False
        return data

    def costly(self, place: Place) -> bool:
        """Whether the next bytes are still to be packed, and that takes milliseconds."""
        return (
            place.client.pack in COMPRESSING
            and min(self.seq - place.seq, len(self.stream)) > FEW_RECORDS
            and self._channels.prepared.get(self._key(place)) is None
        )

    def _key(self, place: Place) -> Hashable:
        asked = (self.encode, place.client.pack, place.seq, self.seq, place.first, place.reset)
        return ("chunk", self.stream.name, self.stream.version, self.filter, *asked)

    def warning(self, place: Place) -> bytes:
        """What the sink says to a client who was stalled; empty when it says nothing. SinkFailed
        when the sink cannot word it.
        """
        if self.warn is None:
            return b""
        name, behind = self.stream.name, self.seq - place.seq
        said = self._channels.guard.payload(name, "warn", self.warn, name, behind)
        return place.client.pack([said])
