"""Answers to polls, prepared once for all who ask the same, until the stream's position moves."""

from collections import OrderedDict
from typing import Any

import trio
from attrs import frozen

from flowd.channel import packing
from flowd.door.head import Head, response
from flowd.door.paths import Hot, Tail, count, position
from flowd.stream.inputs import Streams
from flowd.stream.log import RETAIN_MAX, Stream
from flowd.values import filters
from flowd.values.record import Batch, Gap, Position

CACHE_BYTES = 64 * 1024 * 1024
IN_THREAD_BYTES = 32 * 1024
"""Bodies longer than this are compressed in a thread, so that they do not hold the loop."""
HEADERS = (("Cache-Control", "no-cache"), ("Vary", "Accept-Encoding"))

NO_TAIL = Tail(b"")

Key = tuple[Any, ...]


@frozen
class _Prepared:
    """An answer, and the position it is true for: whole, or a body that wants its tail."""

    position: Position
    data: bytes
    body: packing.Open | None = None

    @property
    def bytes(self) -> int:
        """What it takes of the cache."""
        return len(self.data) + (0 if self.body is None else len(self.body.data))


class Polls:
    """The prepared answers, the least used ones making room."""

    def __init__(self, streams: Streams) -> None:
        self._streams = streams
        self.bytes = 0
        self._kept: OrderedDict[Key, _Prepared] = OrderedDict()
        self._preparing: dict[Key, trio.Event] = {}

    async def answer(self, head: Head, hot: Hot, stream: Stream[Any]) -> bytes:
        """The whole HTTP answer to a poll; BadRequest when its query is wrong."""
        close = not head.keep_alive
        tail = NO_TAIL if hot.tail is None else hot.tail(self._streams)
        if _matches(head.headers.get("if-none-match"), _etag(stream.head, tail)):
            tags = (("ETag", _etag(stream.head, tail)), *HEADERS)
            return response(304, headers=tags, close=close)
        instead = None if hot.instead is None else hot.instead(head.parameters(), self._streams)
        if instead is not None:
            data = response(200, instead, headers=HEADERS)
        else:
            prepared = await self._prepared(head, hot, stream)
            data = prepared.data
            if prepared.body is not None and hot.tail is not None:
                # Asked again: preparing took time, and the stream may have gone on.
                tail = hot.tail(self._streams)
                data = _answer(prepared.body, tail.body, _etag(prepared.position, tail))
        if head.method == "HEAD":
            data = data[: data.index(b"\r\n\r\n") + 4]
        if close:
            data = data.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n", 1)
        return data

    async def _prepared(self, head: Head, hot: Hot, stream: Stream[Any]) -> _Prepared:
        key = (hot.path, stream.name, head.gzip, head.query)
        while key in self._preparing:
            await self._preparing[key].wait()
        kept = self._kept.get(key)
        if kept is not None and kept.position == stream.head:
            self._kept.move_to_end(key)
            return kept
        wanted = head.parameters()
        least = 0 if hot.limit_max == RETAIN_MAX else 1
        after = position(wanted.pop("after", None))
        limit = count(wanted.pop("limit", None), least=least, most=hot.limit_max)
        if limit is None and least:
            limit = hot.limit_max
        batch = snapshot(stream, filters.parse(stream.record, wanted), after, limit)
        ready = self._preparing[key] = trio.Event()
        try:
            for index, record in enumerate(batch.records):
                hot.prepare(record)
                if index % 500 == 499:
                    await trio.lowlevel.checkpoint()
            body = await _open(hot.render(batch), gzip=head.gzip)
        finally:
            ready.set()
            del self._preparing[key]
        if hot.tail is None:
            etag = _etag(batch.position, NO_TAIL)
            prepared = _Prepared(batch.position, _answer(body, b"", etag))
        else:
            prepared = _Prepared(batch.position, b"", body)
        self._keep(key, prepared)
        return prepared

    def _keep(self, key: Key, prepared: _Prepared) -> None:
        before = self._kept.pop(key, None)
        self.bytes += prepared.bytes - (0 if before is None else before.bytes)
        self._kept[key] = prepared
        while self.bytes > CACHE_BYTES and len(self._kept) > 1:
            _, old = self._kept.popitem(last=False)
            self.bytes -= old.bytes


async def _open(body: bytes, *, gzip: bool) -> packing.Open:
    if not gzip:
        return packing.Open(body)
    if len(body) > IN_THREAD_BYTES:
        return await trio.to_thread.run_sync(packing.gzip_open, body)
    return packing.gzip_open(body)


def _answer(body: packing.Open, tail: bytes, etag: str) -> bytes:
    headers: tuple[tuple[str, str], ...] = (("ETag", etag), *HEADERS)
    if body.gzip:
        headers = (*headers, ("Content-Encoding", "gzip"))
    return response(200, body.ended(tail), headers=headers)


def _etag(position: Position, tail: Tail) -> str:
    return f'"{position}-{tail.state}"' if tail.state else f'"{position}"'


def snapshot(
    stream: Stream[Any], filter: filters.Filter, after: Position | None, limit: int | None
) -> Batch[Any]:
    """What a poll gets: the newest `limit` of what is newer than `after`.

    What is left out between is a gap.
    """
    batch = stream.cursor(after, filter=filter).read()
    if limit is None or len(batch.records) <= limit:
        return batch
    records = batch.records[len(batch.records) - limit :]
    gap = batch.gap
    if not batch.first:
        assert after is not None
        last = records[0].seq - 1 if records else batch.position.seq
        gap = Gap(after.seq + 1, last)
    return Batch(batch.stream, records, batch.position, batch.first, gap, batch.reset)


def _matches(wanted: str | None, etag: str) -> bool:
    if wanted is None:
        return False
    tags = [tag.strip().removeprefix("W/") for tag in wanted.split(",")]
    return etag in tags or "*" in tags
