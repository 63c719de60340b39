"""What an edge asks Redis: bounded in bytes and time, and failing in one way, UpstreamError."""

import logging
from collections.abc import Iterable, Mapping
from typing import Any

from attrs import define, field

from flowd.plugin import UpstreamError
from flowd_redis.copying import Entries
from flowd_redis.layout import Keys, Malformed, Meta
from flowd_redis.server import Server

logger = logging.getLogger("flowd.redis")

COUNT_MAX = 500
NEWS_MAX = 100
"""Entries of one stream that are asked for at once, where all streams are."""
TARGET_BYTES = 1024 * 1024
"""About so many bytes of entries are asked for at once."""
PAGE_BYTES = 256 * 1024
"""The same, of one stream that is filled: several are, and all have the time of one answer."""
TABLE_COUNT = 500
"""Keys of a hash that are asked for at once."""


@define(eq=False)
class Portions:
    """How many entries to ask for, so that an answer has about the bytes that are wanted."""

    target: int = TARGET_BYTES
    each: float = field(init=False)
    """Bytes of an entry, as they were of late."""

    def __attrs_post_init__(self) -> None:
        self.each = self.target / 16

    def count(self, streams: int = 1) -> int:
        """Entries of each of so many streams."""
        return max(1, min(COUNT_MAX, int(self.target / self.each / streams)))

    def note(self, entries: Entries) -> None:
        """What came. Small ones are believed slowly: a large one may follow."""
        if entries:
            size = sum(len(one) for _, fields in entries for one in fields.values())
            self.each = max(64.0, size / len(entries), self.each / 2)


class RedisReader:
    """The questions, in the words of the layout."""

    def __init__(self, server: Server, keys: Keys) -> None:
        self._server = server
        self._client = server.client
        self._keys = keys
        self._portions: dict[str, Portions] = {}
        self._news = Portions()
        self._malformed: set[str] = set()

    async def names(self) -> set[str]:
        """All streams that there are."""
        found = await self._server.ask(self._client.smembers(self._keys.streams))
        return {name.decode() for name in found}

    async def metas(self, streams: Iterable[str]) -> dict[str, Meta | None]:
        """What the hashes of these say, asked together; None where there is none that can be read,
        which the log says.
        """
        asked = list(streams)

        async def all_of_them() -> list[Mapping[bytes, bytes]]:
            async with self._client.pipeline(transaction=False) as pipe:
                coming = [pipe.hgetall(self._keys.meta(name)) for name in asked]
            return [await one for one in coming]

        told = await self._server.ask(all_of_them())
        found: dict[str, Meta | None] = {}
        for name, fields in zip(asked, told, strict=True):
            try:
                found[name] = self._meta(name, fields)
            except UpstreamError as error:
                # The others are not to blame for it.
                if name not in self._malformed:
                    logger.warning("%s", error)
                self._malformed.add(name)
                found[name] = None
        return found

    async def meta(self, stream: str) -> Meta | None:
        """What its hash says; None where there is none."""
        found = await self._server.ask(self._client.hgetall(self._keys.meta(stream)))
        return self._meta(stream, found)

    async def page(self, stream: str, epoch: str, after: bytes) -> Entries:
        """The entries behind this id, so many that others can be asked for at the same time."""
        portions = self._portions.setdefault(stream, Portions(PAGE_BYTES))
        key, count = self._keys.entries(stream, epoch), portions.count()
        found = await self._server.ask(self._client.xrange(key, b"(" + after, b"+", count=count))
        entries = [_entry(one) for one in found]
        portions.note(entries)
        return entries

    async def table(self, stream: str, epoch: str) -> Mapping[bytes, bytes]:
        """The JSON of each key, as it was at some time while this was read."""
        key, cursor = self._keys.table(stream, epoch), 0
        found: dict[bytes, bytes] = {}
        while True:
            scan = self._client.hscan(key, cursor=cursor, count=TABLE_COUNT)
            cursor, part = await self._server.ask(scan)
            found |= part
            if not cursor:
                return found

    async def news(
        self, places: Mapping[tuple[str, str], bytes], block_ms: int
    ) -> dict[str, Entries]:
        """What came behind these ids, by stream, as soon as something comes; nothing after so
        long.
        """
        names = {self._keys.entries(*at).encode(): at[0] for at in places}
        asked = {self._keys.entries(*at): id for at, id in places.items()}
        count = min(NEWS_MAX, self._news.count())
        reading = self._client.xread(asked, count=count, block=block_ms)
        found = await self._server.ask(reading, block_ms / 1000)
        news: dict[str, Entries] = {
            names[key]: [_entry(one) for one in part] for key, part in (found or {}).items()
        }
        self._news.note([entry for entries in news.values() for entry in entries])
        return news

    def _meta(self, stream: str, fields: Mapping[bytes, bytes]) -> Meta | None:
        try:
            return Meta.decode(fields)
        except Malformed as error:
            raise UpstreamError(f"{self._server.where}: {stream}: {error}") from None


def _entry(found: Any) -> tuple[bytes, Mapping[bytes, bytes]]:
    return found.identifier, found.field_values
