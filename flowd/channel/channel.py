"""One writer loop for all live clients of a stream and filter: encode once, pack once, queue
nothing per client.

A channel knows the one place where all its level clients are, and for each kind of packing the list
of their sockets' `send`: its pass writes the same bytes to one after the other, and does nothing
else. The first short write takes a client out of the list (`flowd.channel.client`); once level, it
is back. So a stalled client costs the rest of one message, whatever it does.

Knows sockets only as something that takes bytes, and wire formats only as functions.
"""

from collections.abc import Callable, Hashable
from typing import Any

import trio
from attrs import evolve, frozen

from flowd.channel.audience import Audience
from flowd.channel.client import Client, Crowd, Place
from flowd.channel.guard import Guard, SinkFailed
from flowd.channel.packing import COMPRESSING, Pack
from flowd.channel.prepared import Prepared
from flowd.channel.row import Row, Send
from flowd.stream.log import Stream
from flowd.stream.seek import seek
from flowd.values.clock import Stopwatch
from flowd.values.filters import Filter
from flowd.values.limits import Limits
from flowd.values.record import Batch, Position

Encode = Callable[[Batch[Any]], bytes | list[bytes]]
Warn = Callable[[str, int], bytes]
Chunk = tuple[bytes, int, tuple[str, ...]]
"""Prepared bytes, the seq that they lead to, and what they are about for the audience."""

CHUNK_RECORDS = 500
CHUNK_BYTES = 128 * 1024
"""A message holds at most so many records, and ends with the one that passes so many bytes."""
FEW_RECORDS = 50
"""So many are packed in no time, however they are packed."""
SLICE_S = 0.002
"""A pass gives way to other tasks after so long."""
SLICE_CLIENTS = 16
"""A pass looks at the clock once for so many clients."""
PACE_CLIENTS = 32
"""A channel of so many clients keeps to `Limits.pace_s`."""


@frozen
class Shared:
    """What all channels have in common."""

    crowd: Crowd
    limits: Limits
    stopwatch: Stopwatch
    guard: Guard
    prepared: Prepared[Any]


class Channel:
    """All live clients of one stream with one filter and one wire format."""

    def __init__(
        self,
        shared: Shared,
        on_empty: Callable[["Channel"], None],
        stream: Stream[Any],
        filter: Filter,
        encode: Encode,
        warn: Warn | None,
        asked_by: str | None = None,
        *,
        every_s: float = 0.0,
        audience: Audience | None = None,
    ) -> None:
        self.stream = stream
        self.asked_by = asked_by
        self.filter = filter
        self.encode = encode
        self.warn = warn
        self.every_s = every_s
        self.audience = audience
        self.seq = stream.seq
        """Every client who keeps up has been sent everything up to here."""
        self.told = self.seq
        """The newest position that a message said."""
        self.passing = False
        self._told_at = self._passed_at = self.spoke_at = trio.current_time()
        self._shared = shared
        self._on_empty = on_empty
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

    def join(self, client: Client, after: Position | None, limit: int | None, name: str) -> Place:
        """Give a client its place: after its position, or at the start of a snapshot of the newest
        `limit`.
        """
        if after is not None and self.stream.knows(after):
            place = Place(client, self, after.seq, name)
        else:
            begins = None if limit is None else seek(self.stream, limit, self.filter)
            again = after is not None
            place = Place(client, self, 0, name, first=True, reset=again, seek=begins)
        self._places[place] = None
        if self.audience is not None:
            self.audience.came(self.filter)
        return place

    def leave(self, place: Place) -> None:
        """Take a client out. A channel without clients ends."""
        del self._places[place]
        self._put_down(place)
        if self.audience is not None:
            self.audience.went(self.filter)
        if not self._places:
            self._on_empty(self)
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
        heartbeat_s = self._shared.limits.heartbeat_s
        with self._scope:
            while True:
                with trio.move_on_after(heartbeat_s):
                    if not await self.stream.news(self.seq):
                        return
                if self.stream.seq > self.seq:
                    await self._keep_pace()
                    self._passed_at = trio.current_time()
                batch = self._read(self.seq, self.stream.seq)
                # A filter that hides everything must not leave its clients with a position that
                # grows old, be the stream quiet or busy.
                silent_s = trio.current_time() - self._told_at
                untold = self.told < batch.position.seq and silent_s >= heartbeat_s
                say = bool(batch.records) or batch.gap is not None or untold
                await self._pass(batch, say=say)

    async def _keep_pace(self) -> None:
        """Wait as long as there is to be between two passes."""
        pace_s = self._shared.limits.pace_s if len(self._places) >= PACE_CLIENTS else 0.0
        next_at = self._passed_at + max(pace_s, self.every_s)
        if next_at > trio.current_time():
            # Nobody waits for the last records of a stream that has ended.
            with trio.move_on_at(next_at):
                await self.stream.ended()

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
        guard, counts = self._shared.guard, self._shared.crowd.counts
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
            began = self._shared.stopwatch()
            try:
                delivered = await self._write(payloads)
            finally:
                self.passing = False
            if self.audience is not None:
                took_s = self._shared.stopwatch() - began
                self.audience.delivered(self.audience.values(batch), delivered, took_s)
            counts.delivered += delivered * len(batch.records)
            counts.gaps += 0 if batch.gap is None else delivered
        for place in [place for place in self._ahead if place.seq <= self.seq]:
            place.client.hurry()
        if self.stream.seq > self.seq:
            # There is more already, so the loop will not wait: let others run before it goes on.
            await trio.lowlevel.checkpoint()

    async def _write(self, payloads: list[bytes]) -> int:
        """Send one message to all level clients; answers to how many."""
        watch, delivered = self._shared.stopwatch, 0
        reached: list[tuple[Row, list[Place]]] = []
        began = watch()
        # All of them before the first send: who comes level while others are served has been
        # reached on its way.
        rows = [(pack, row, row.ready(), row.places) for pack, row in self._rows.items()]
        for pack, row, sends, places in rows:
            data = pack(payloads)
            if row.sends is not sends:
                sends, places = self._left(row, places)
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
                    sends, places = self._left(row, places[index:])
                    index = 0
        return delivered

    def _left(self, row: Row, places: list[Place]) -> tuple[list[Send], list[Place]]:
        """Who of these is still to be reached, after somebody came or went."""
        there = [place for place in places if place in row and place.seq < self.seq]
        return [place.client.socket.send for place in there], there

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
        """The next bytes for a place that is not level, none while its beginning is looked for;
        moves it past them. SinkFailed when the sink cannot word them.
        """
        if place.seek is not None:
            begins = next(place.seek)
            if begins is None:
                return b""
            place.seq, place.seek = min(begins, self.seq), None
        prepared, pack, key = self._shared.prepared, place.client.pack, self._key(place)
        found: Chunk | None = prepared.get(key)
        if found is None:
            # Who comes to a stream that is passed on once in a while, sees how it is now.
            upto = self.stream.seq if place.first and self.every_s else self.seq
            batch = self._read(place.seq, upto, first=place.first)
            if place.reset:
                batch = evolve(batch, first=True, gap=None, reset=True)
            payloads = self._shared.guard.payloads(self.stream.name, self.encode, batch)
            about = () if self.audience is None else tuple(self.audience.values(batch))
            found = (pack(payloads), batch.position.seq, about)
            if batch.gap is None:
                prepared.keep(key, found, len(found[0]))
            else:
                self._shared.crowd.counts.gaps += 1
        data, place.seq, about = found
        if self.audience is not None:
            self.audience.delivered(about, 1)
        place.first = place.reset = False
        return data

    def costly(self, place: Place) -> bool:
        """Whether the next bytes are still to be packed, and that takes milliseconds."""
        return (
            place.client.pack in COMPRESSING
            and place.seek is None
            and min(self.seq - place.seq, len(self.stream)) > FEW_RECORDS
            and self._shared.prepared.get(self._key(place)) is None
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
        if self.audience is not None:
            self.audience.was_slow(self.filter)
        said = self._shared.guard.payload(name, "warn", self.warn, name, behind)
        return place.client.pack([said])
