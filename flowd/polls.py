"""Answers to polls, prepared once for all who ask the same, until the stream's position moves."""

from collections import OrderedDict
from typing import Any

import trio
from attrs import frozen

from flowd import filter as filters
from flowd import wire
from flowd.http import Head, response
from flowd.live import Hot, count, position
from flowd.record import Batch, Gap, Position
from flowd.stream import Stream

CACHE_BYTES = 64 * 1024 * 1024
IN_THREAD_BYTES = 32 * 1024
"""Bodies longer than this are compressed in a thread, so that they do not hold the loop."""
HEADERS = (("Cache-Control", "no-cache"), ("Vary", "Accept-Encoding"))

Key = tuple[Any, ...]


@frozen
class _Prepared:
    """A whole answer, and the position it is true for."""

    position: Position
    data: bytes


class Polls:
    """The prepared answers, the least used ones making room."""

    def __init__(self) -> None:
        self.bytes = 0
        self._kept: OrderedDict[Key, _Prepared] = OrderedDict()
        self._preparing: dict[Key, trio.Event] = {}

    async def answer(self, head: Head, hot: Hot, stream: Stream[Any]) -> bytes:
        """The whole HTTP answer to a poll; BadRequest when its query is wrong."""
        close = not head.keep_alive
        etag = f'"{stream.head}"'
        if _matches(head.headers.get("if-none-match"), etag):
            return response(304, headers=(("ETag", etag), *HEADERS), close=close)
        data = await self._prepared(head, hot, stream)
        if head.method == "HEAD":
            data = data[: data.index(b"\r\n\r\n") + 4]
        if close:
            data = data.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n", 1)
        return data

    async def _prepared(self, head: Head, hot: Hot, stream: Stream[Any]) -> bytes:
        key = (hot.path, stream.name, head.gzip, head.query)
        while key in self._preparing:
            await self._preparing[key].wait()
        kept = self._kept.get(key)
        if kept is not None and kept.position == stream.head:
            self._kept.move_to_end(key)
            return kept.data
        wanted = head.parameters()
        after, limit = position(wanted.pop("after", None)), count(wanted.pop("limit", None))
        batch = snapshot(stream, filters.parse(stream.record, wanted), after, limit)
        ready = self._preparing[key] = trio.Event()
        try:
            for index, record in enumerate(batch.records):
                if record.json and index % 500 == 499:
                    await trio.lowlevel.checkpoint()
            data = await _answer(hot.render(batch), f'"{batch.position}"', gzip=head.gzip)
        finally:
            ready.set()
            del self._preparing[key]
        self._keep(key, _Prepared(batch.position, data))
        return data

    def _keep(self, key: Key, prepared: _Prepared) -> None:
        before = self._kept.pop(key, None)
        self.bytes += len(prepared.data) - (0 if before is None else len(before.data))
        self._kept[key] = prepared
        while self.bytes > CACHE_BYTES and len(self._kept) > 1:
            _, old = self._kept.popitem(last=False)
            self.bytes -= len(old.data)


async def _answer(body: bytes, etag: str, *, gzip: bool) -> bytes:
    headers: tuple[tuple[str, str], ...] = (("ETag", etag), *HEADERS)
    if gzip:
        headers = (*headers, ("Content-Encoding", "gzip"))
        if len(body) > IN_THREAD_BYTES:
            body = await trio.to_thread.run_sync(wire.gzip_body, body)
        else:
            body = wire.gzip_body(body)
    return response(200, body, headers=headers)


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
