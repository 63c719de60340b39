"""Answers to polls, prepared once for all who ask the same, until what a stream retains changes.

An answer is the parts that it is sent in. The body is one of them, the same bytes for all.
"""

from collections import deque
from collections.abc import Hashable, Mapping
from functools import lru_cache
from typing import Any

import trio
from attrs import evolve, frozen

from flowd.channel import packing
from flowd.channel.guard import Guard
from flowd.channel.prepared import Prepared
from flowd.door.head import Head, response, response_head
from flowd.door.outgoing import SMALL_BYTES, Outgoing
from flowd.door.parameters import count, position
from flowd.door.paths import Asked, Hot, Instead, Tail
from flowd.door.turns import Turns
from flowd.stream.held import RETAIN_MAX
from flowd.stream.inputs import Streams
from flowd.stream.log import Stream
from flowd.values import filters
from flowd.values.clock import Clock
from flowd.values.errors import BadRequest
from flowd.values.record import Batch, Gap, Position, Record

IN_THREAD_BYTES = 32 * 1024
"""Bodies longer than this are compressed in a thread, so that they do not hold the loop."""
PREPARE_AT_ONCE = 500
"""Records that are prepared before others are let run."""
FEW_RECORDS = 1000
"""So many are prepared at once for anybody; whoever wants more, in a way of its own, takes turns.
"""
LOOK_AT_ONCE = 5000
"""Records that are looked at before others are let run."""
Headers = tuple[tuple[str, str], ...]

HEADERS: Headers = (("Cache-Control", "no-cache"), ("Vary", "Accept-Encoding"))
SHARED_HEADERS: Headers = (("Cache-Control", "no-cache"), ("Vary", "Accept, Accept-Encoding"))
"""Where a browser gets a page."""

NO_TAIL = Tail(b"")
NOTHING_NAMED: Mapping[str, str] = {}


Parts = tuple[bytes, ...]
"""What an answer is sent in, its head first. A body that is not small stands by itself."""


@frozen
class Answer:
    """What was prepared of one version of a stream: whole, or a body that wants its tail."""

    version: str
    seq: int
    parts: Parts
    body: packing.Open | None = None

    @property
    def bytes(self) -> int:
        """What it takes of the cache."""
        return sum(map(len, self.parts)) + (0 if self.body is None else len(self.body.data))


@frozen
class Query:
    """What a poll asks for, checked."""

    filter: filters.Filter
    after: Position | None
    limit: int | None
    options: tuple[tuple[str, str], ...] = ()

    @classmethod
    def of(cls, wanted: dict[str, str], hot: Hot, stream: Stream[Any]) -> "Query":
        """BadRequest names what is wrong with it."""
        least = 0 if hot.limit_max == RETAIN_MAX else 1
        limit = count(wanted.pop("limit", None), least=least, most=hot.limit_max)
        if limit is None:
            limit = _limit(hot)
        if hot.options:
            options = tuple((name, _option(name, hot, wanted)) for name in hot.options)
            return cls(filters.parse(stream.record, wanted), None, limit, options)
        after = position(wanted.pop("after", None))
        return cls(filters.parse(stream.record, wanted), after, limit)

    def is_common(self, hot: Hot) -> bool:
        """Whether it is what all ask who ask for nothing of their own."""
        usual = all(value == hot.options[name][0] for name, value in self.options)
        return usual and not self.filter and self.after is None and self.limit == _limit(hot)

    def is_small(self, stream: Stream[Any]) -> bool:
        """Whether few records are looked at for it, and make its body."""
        if self.options:
            return len(stream) <= FEW_RECORDS
        if not self.filter and self.limit is not None and self.limit <= FEW_RECORDS:
            return True
        since = 0
        if self.after is not None and stream.knows(self.after):
            since = self.after.seq
        return min(len(stream), stream.seq - since) <= FEW_RECORDS


class Polls:
    """Answers polls; what is prepared for one is there for the next."""

    def __init__(
        self, streams: Streams, clock: Clock, guard: Guard, prepared: Prepared[Any]
    ) -> None:
        self._streams = streams
        self._clock = clock
        self._guard = guard
        self._prepared = prepared
        self._preparing: dict[Hashable, trio.Event] = {}
        self._turns = Turns()

    async def answer(
        self,
        head: Head,
        hot: Hot,
        stream: Stream[Any],
        address: str,
        outgoing: Outgoing,
        named: Mapping[str, str] = NOTHING_NAMED,
    ) -> Parts:
        """The whole HTTP answer to a poll; `named` are the values of the path's names. BadRequest
        when its query is wrong or there is no room for what it wants, SinkFailed when the sink
        fails to word it.
        """
        close = not head.keep_alive
        seen, headers = head.headers.get("if-none-match"), _headers(hot)
        instead = await self._instead(head, hot, named)
        if isinstance(instead, Tail):
            etag = f'"{instead.state}"'
            if _matches(seen, etag):
                return _unchanged(etag, headers, close=close)
            body = self._guard.payload(hot.path, "instead", instead.made)
            parts = _whole(packing.Open(body), b"", etag, headers)
        elif instead is not None:
            parts = _parts(packing.Open(instead), b"", headers)
        else:
            tail = self._tail(hot)
            etag = _etag(stream.version, tail)
            if _matches(seen, etag):
                return _unchanged(etag, headers, close=close)
            answer = await self._answer(head, hot, stream, address, outgoing, named)
            parts = answer.parts
            if answer.body is not None:
                # Asked again: preparing took time, and the stream may have gone on.
                tail = self._tail(hot)
                ending = self._guard.payload(hot.path, "tail's body", tail.made)
                parts = _whole(answer.body, ending, _etag(answer.version, tail), headers)
        first, *others = parts
        if head.method == "HEAD":
            first, others = first[: first.index(b"\r\n\r\n") + 4], []
        if close:
            first = first.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n", 1)
        return (first, *others)

    def _tail(self, hot: Hot) -> Tail:
        if hot.tail is None:
            return NO_TAIL
        return self._guard.ask(hot.path, "tail", hot.tail, self._streams, self._clock())

    async def _instead(self, head: Head, hot: Hot, named: Mapping[str, str]) -> Instead:
        if hot.instead is None:
            return None
        query = {**head.parameters(), **named}
        found = self._guard.ask(
            hot.path, "instead", hot.instead, query, self._streams, self._clock()
        )
        if found is None or isinstance(found, bytes | Tail):
            return found
        return await self._guard.wait(hot.path, "instead", found)

    async def _answer(
        self,
        head: Head,
        hot: Hot,
        stream: Stream[Any],
        address: str,
        outgoing: Outgoing,
        named: Mapping[str, str],
    ) -> Answer:
        wanted = head.parameters()
        wanted |= {name: value for name, value in named.items() if name != "stream"}
        query = Query.of(wanted, hot, stream)
        key = ("poll", hot.path, stream.name, query, head.gzip)
        version, seq = stream.version, stream.seq
        while True:
            kept: Answer | None = self._prepared.get(key)
            # While a stream moves, what is as new as the question is new enough: else each would
            # wait for the one before, and prepare for itself alone.
            if kept is not None and (kept.version == version or kept.seq > seq):
                return kept
            ready = self._preparing.get(key)
            if ready is None:
                break
            await ready.wait()
        ready = self._preparing[key] = trio.Event()
        try:
            if query.is_common(hot) or query.is_small(stream):
                answer = await self._prepare(query, hot, stream, gzip=head.gzip)
            else:
                async with self._turns.turn(address):
                    outgoing.check_room(SMALL_BYTES + 1)
                    answer = await self._prepare(query, hot, stream, gzip=head.gzip)
        finally:
            ready.set()
            del self._preparing[key]
        self._prepared.keep(key, answer, answer.bytes)
        return answer

    async def _prepare(self, query: Query, hot: Hot, stream: Stream[Any], *, gzip: bool) -> Answer:
        batch = await newest(stream, evolve(query, limit=None) if query.options else query)
        version, seq = stream.version, stream.seq
        for index, record in enumerate(batch.records):
            self._guard.call(hot.path, "prepare", hot.prepare, record)
            if index % PREPARE_AT_ONCE == PREPARE_AT_ONCE - 1:
                await trio.lowlevel.checkpoint()
        asked = (Asked(dict(query.options), query.limit),) if query.options else ()
        made = self._guard.payload(hot.path, "render", hot.render, batch, *asked)
        body = await _open(made, gzip=gzip)
        if hot.tail is not None:
            return Answer(version, seq, (), body)
        whole = _whole(body, b"", _etag(version, NO_TAIL), _headers(hot))
        return Answer(version, seq, whole)


async def _open(body: bytes, *, gzip: bool) -> packing.Open:
    if not gzip:
        return packing.Open(body)
    if len(body) > IN_THREAD_BYTES:
        return await trio.to_thread.run_sync(packing.gzip_open, body)
    return packing.gzip_open(body)


@lru_cache(maxsize=1024)
def _unchanged(etag: str, headers: Headers, *, close: bool) -> Parts:
    return (response(304, headers=(("ETag", etag), *headers), close=close),)


def _headers(hot: Hot) -> Headers:
    return SHARED_HEADERS if hot.page else HEADERS


def _limit(hot: Hot) -> int | None:
    """How many records are given to who names no limit; None for all."""
    return hot.limit or (None if hot.limit_max == RETAIN_MAX else hot.limit_max)


def _option(name: str, hot: Hot, wanted: dict[str, str]) -> str:
    """What the query says of an option, or the first that it may be."""
    allowed = hot.options[name]
    value = wanted.pop(name, allowed[0])
    if value not in allowed:
        raise BadRequest(
            f"{name} is never {value!r:.60}", parameter=name, value=value, allowed=allowed
        )
    return value


def _whole(body: packing.Open, tail: bytes, etag: str, headers: Headers) -> Parts:
    return _parts(body, tail, (("ETag", etag), *headers))


def _parts(body: packing.Open, tail: bytes, headers: Headers) -> Parts:
    if body.gzip:
        headers = (*headers, ("Content-Encoding", "gzip"))
    ending = body.ending(tail)
    size = len(body.data) + len(ending)
    first = response_head(200, size, headers=headers)
    if size <= SMALL_BYTES:
        return (b"".join((first, body.data, ending)),)
    return (first, body.data, ending) if ending else (first, body.data)


def _etag(version: str, tail: Tail) -> str:
    return f'"{version}-{tail.state}"' if tail.state else f'"{version}"'


async def newest(stream: Stream[Any], query: Query) -> Batch[Any]:
    """What a poll gets: the newest `limit` of what is newer than `after`, up to the head.

    What is left out between is a gap. Others are let run now and then, since a filter has to look
    at everything.
    """
    first = query.after is None or not stream.knows(query.after)
    after = begins = 0 if query.after is None or first else query.after.seq
    if query.limit is not None and query.filter.where is None:
        begins = max(after, stream.newest(query.limit))
    left_out = begins > after and (
        stream.floor > after or bool(stream.after(after, upto=begins, most=1))
    )
    found: deque[Record[Any]] = deque(maxlen=query.limit)
    seq, matched, gone = begins, 0, 0
    while True:
        batch = stream.read(seq, limit=LOOK_AT_ONCE, filter=query.filter)
        if batch.gap is not None and not (first and seq == begins):
            # It fell off before we came by: the answer is of what follows.
            found.clear()
            matched, gone = 0, batch.gap.last
        found.extend(batch.records)
        matched += len(batch.records)
        seq = batch.position.seq
        if seq >= stream.seq:
            break
        await trio.lowlevel.checkpoint()
    records = [record for record in found if stream.alive(record)]
    left_out = left_out or (query.limit is not None and matched > query.limit)
    gap = None
    if left_out and not first:
        gap = Gap(after + 1, records[0].seq - 1 if records else seq)
    elif gone and not first:
        gap = Gap(after + 1, gone)
    place = Position(stream.epoch, seq)
    return Batch(stream.name, records, place, first, gap, first and query.after is not None)


def _matches(wanted: str | None, etag: str) -> bool:
    if wanted is None:
        return False
    tags = [tag.strip().removeprefix("W/") for tag in wanted.split(",")]
    return etag in tags or "*" in tags
