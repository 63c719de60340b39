"""A reader's place in a stream, over as many connections as it takes; the I/O is somebody else's.

Whoever has the connection says `opened`, `heard` and `lost`, asks `pause_s` and `query` before the
next one, and hands out what `take` gives.
"""

import logging
import random
import time
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, Generic

import msgspec

from flowd_client.errors import BadAddress, Unfit, may_pass, refused
from flowd_client.events import Event, Events, Garbled, unpacker
from flowd_client.values import Batch, Gap, Position, Record, Status, T
from flowd_client.wish import Wish

BACKOFF_FIRST_S = 0.5
"""The first wait is at most so long, each further one twice as long."""
BACKOFF_MOST_S = 30.0
RETRY_AFTER_MOST_S = 3600
"""A server that asks for a longer pause is asked again nevertheless."""
STABLE_AFTER_S = 5.0
"""A connection that lasted so long was a good one: the next wait is short again."""
SLOW_FOR_S = 10.0
"""How long the status stays `slow` after the daemon's last warning."""

log = logging.getLogger("flowd_client")

_any = msgspec.json.Decoder(Record[Any])
_object = msgspec.json.Decoder(dict[str, Any])
_gap = msgspec.json.Decoder(dict[str, int])


class Reader(Generic[T]):
    """One caller's, who hands out all that there is before more is read."""

    def __init__(
        self,
        wish: Wish,
        of: Any = Any,
        on_status: Callable[[Status], object] | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self.wish = wish
        self._of = of
        self._decoder: msgspec.json.Decoder[Record[T]] = msgspec.json.Decoder(Record[of])
        self._on_status = on_status
        self._clock, self._wall, self._chance = clock, wall, chance
        self.status = Status("disconnected", self._now_ms(), reason="not connected yet")
        self._ready: deque[Batch[T]] = deque()
        self._unfit: Unfit | None = None
        self._events = Events()
        self._unpack = unpacker("")
        self._position: Position | None = None
        self._handed = wish.after
        self._begun = wish.after is not None
        """Whether what comes next is no snapshot."""
        self._attempt = self._connections = 0
        self._opened_at = self._retry_at = self._warned_at = clock()
        self._goodbye = ""
        self._records: list[Record[T]] = []
        self._gap: Gap | None = None
        self._first = self._reset = False

    @property
    def position(self) -> str | None:
        """Up to here all was handed out, or hidden by a filter."""
        if self._ready or self._unfit or self._position is None:
            return self._handed
        return str(self._position)

    def take(self) -> Batch[T] | None:
        """The next batch; None when more has to be read. Unfit when a value is not what it should
        be `of`, after all that came before it.
        """
        if self._ready:
            batch = self._ready.popleft()
            self._handed = batch.position
            return batch
        if self._unfit is not None:
            raise self._unfit
        return None

    # -- connections

    def query(self) -> dict[str, str]:
        """What to ask for now."""
        return self.wish.query(None if self._position is None else str(self._position))

    def pause_s(self) -> float:
        """How long to wait before that."""
        return max(0.0, self._retry_at - self._clock())

    def opened(self, headers: Mapping[str, str]) -> None:
        """The daemon sends. BadAddress when what it sends is no event stream."""
        kind = headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind != "text/event-stream":
            raise BadAddress(
                f"{self.wish.url} answers with {kind or 'something'} and not with a stream; "
                "give the address of a flowd, http://HOST:PORT"
            )
        if self._position is None and self.wish.after is not None:
            # It was taken: from now on a shorter beginning (`limit`) is no longer what is wanted.
            with suppress(ValueError):
                self._position = Position.parse(self.wish.after)
        self._events = Events()
        self._unpack = unpacker(headers.get("content-encoding", ""))
        self._goodbye = ""
        self._connections += 1
        self._opened_at = self._clock()
        if self._connections > 1:
            log.info("%s: connected again", self.wish.url)
        self._tell("connected")

    def refused(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        """The daemon does not send. Refused unless it may do so later."""
        with suppress(Garbled):
            body = unpacker(headers.get("content-encoding", ""))(body)
        why = refused(self.wish.url, status, body, token=self.wish.has_token)
        if not may_pass(status):
            raise why
        wait = headers.get("retry-after", "").strip()
        wait_s = min(int(wait), RETRY_AFTER_MOST_S) if wait.isdecimal() else 0
        self.lost(f"{status}: {why.message}", wait_s)

    def lost(self, reason: str, not_before_s: float = 0.0) -> None:
        """The connection is no more, or there was none: another one is wanted, after a pause that
        doubles, with half of it left to chance, so that not all readers come back in one instant.
        """
        now = self._clock()
        if self.status.state != "disconnected" and now - self._opened_at >= STABLE_AFTER_S:
            self._attempt = 0
        span = min(BACKOFF_MOST_S, BACKOFF_FIRST_S * 2 ** min(self._attempt, 30))
        wait_s = not_before_s + span / 2 + self._chance() * span / 2
        self._attempt += 1
        self._retry_at = now + wait_s
        self._begin_anew()
        reason = self._goodbye or reason
        log.warning("%s: %s; again in %.1fs", self.wish.url, reason, wait_s)
        self._tell("disconnected", reason=reason, retry_in_s=round(wait_s, 3))

    def left(self) -> None:
        """The connection was given up by us; the next one needs no pause."""
        self._begin_anew()
        if self.status.state != "disconnected":
            self._tell("disconnected", reason="nobody reads")

    # -- what comes

    def heard(self, data: bytes) -> None:
        """Make of these bytes what `take` gives. Garbled when they are none of a flowd's; what came
        before that counts.
        """
        if self.status.state == "slow" and self._clock() - self._warned_at >= SLOW_FOR_S:
            self._tell("connected")
        try:
            for event in self._events.feed(self._unpack(data)):
                self._take_in(event)
        except Unfit as wrong:
            self._unfit = wrong
        finally:
            self._close_batch()

    def _take_in(self, event: Event) -> None:
        if event.name == "message":
            self._message(event)
        elif event.name == "reset":
            self._close_batch()
            self._reset = True
        elif event.name == "gap":
            self._close_batch()
            self._told_gap(event)
        elif event.name == "warning":
            behind = _decoded(_object, event).get("behind")
            self._warned_at = self._clock()
            self._tell("slow", behind=behind if isinstance(behind, int) else None)
        elif event.name == "goodbye":
            self._goodbye = str(_decoded(_object, event).get("reason", "goodbye"))

    def _message(self, event: Event) -> None:
        position = _position(event)
        if event.data is None:
            # An id alone may repeat where we are; a record may not.
            self._move(position, further=False)
            return
        record = self._record(event.data)
        if record.seq != position.seq:
            raise Garbled(f"record {record.seq} came as {position}")
        self._move(position)
        self._records.append(record)

    def _told_gap(self, event: Event) -> None:
        told, position = _decoded(_gap, event), _position(event)
        first, last = told.get("first", 0), told.get("last", -1)
        if not first <= last == position.seq:
            raise Garbled(f"a gap from {first} to {last} came as {position}")
        self._move(position)
        self._gap = Gap(first, last)

    def _move(self, position: Position, *, further: bool = True) -> None:
        """Go on to this position. Within an epoch there is no way back, and into another one only
        by a reset.
        """
        held = self._position
        if held is not None and not self._reset:
            forth = position.epoch == held.epoch and position.seq >= held.seq + further
            if not forth:
                raise Garbled(f"{position} came after {held}")
        if self._reset or not self._begun:
            self._first = True
        self._begun = True
        self._position = position

    def _record(self, data: bytes) -> Record[T]:
        try:
            return self._decoder.decode(data)
        except (msgspec.MsgspecError, ValueError) as wrong:
            try:
                seq = _any.decode(data).seq
            except (msgspec.MsgspecError, ValueError):
                raise Garbled(f"a record that is none: {data[:80]!r}") from wrong
            raise Unfit(
                f"{self.wish.url}: record {seq} is not of {self._of!r}: {wrong}; "
                "mend that type, or leave out of=..."
            ) from wrong

    def _close_batch(self) -> None:
        """Make ready what belongs together. A reset waits for its first position: only then would
        the next connection not be told of it again.
        """
        if not (self._records or self._gap or self._first):
            return
        records = tuple(self._records)
        batch = Batch(records, str(self._position), self._first, self._gap, self._reset)
        self._ready.append(batch)
        self._begin_batch()

    def _begin_batch(self) -> None:
        self._records, self._gap, self._first, self._reset = [], None, False, False

    def _begin_anew(self) -> None:
        self._events = Events()
        self._begin_batch()

    # -- status

    def _tell(self, state: Any, **more: Any) -> None:
        reconnects = max(0, self._connections - 1)
        self.status = Status(state, self._now_ms(), reconnects, **more)
        if self._on_status is not None:
            self._on_status(self.status)

    def _now_ms(self) -> int:
        return int(self._wall() * 1000)


def _position(event: Event) -> Position:
    try:
        return Position.parse(event.id or "")
    except ValueError as wrong:
        raise Garbled(str(wrong)) from wrong


def _decoded(decoder: msgspec.json.Decoder[dict[str, T]], event: Event) -> dict[str, T]:
    try:
        return decoder.decode(event.data or b"")
    except (msgspec.MsgspecError, ValueError) as wrong:
        raise Garbled(f"the event {event.name}: {wrong}") from wrong
