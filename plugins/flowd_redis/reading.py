"""What an edge asks Redis: bounded in bytes and time, and failing in one way, UpstreamError."""

import logging
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from attrs import define, field

from flowd_redis.copying import Entries, Unreadable
from flowd_redis.layout import Keys, Malformed, Meta
from flowd_redis.refusals import WRONGTYPE, Refused
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
        self._told: dict[str, str] = {}
        """What the log was told of streams that cannot be read."""

    async def names(self) -> set[str]:
        """All streams that there are."""
        key = self._keys.streams
        try:
            found = await self._server.ask(self._client.smembers(key))
        except Refused as error:
            if error.code != WRONGTYPE:
                raise
            raise Refused(await self._in_the_way(key), WRONGTYPE) from None
        return {name.decode() for name in found}

    async def metas(self, streams: Iterable[str]) -> dict[str, Meta | Unreadable | None]:
        """What the hashes of these say, asked together; None where there is none, Unreadable where
        it cannot be read, which the log says too.
        """
        asked = list(streams)
        told = await self._each([self._keys.meta(name) for name in asked], _hgetall)
        found: dict[str, Meta | Unreadable | None] = {}
        for name, fields in zip(asked, told, strict=True):
            found[name] = await self._meta(name, fields)
            self._log(name, found[name])
        return found

    async def meta(self, stream: str) -> Meta | None:
        """What its hash says; None where there is none."""
        # No pipeline, which has a connection for itself: of these there are few.
        key = self._keys.meta(stream)
        fields = await self._of(stream, key, self._client.hgetall(key))
        meta = await self._meta(stream, fields)
        if isinstance(meta, Unreadable):
            raise meta
        return meta

    async def page(self, stream: str, epoch: str, after: bytes) -> Entries:
        """The entries behind this id, so many that others can be asked for at the same time."""
        portions = self._portions.setdefault(stream, Portions(PAGE_BYTES))
        key, count = self._keys.entries(stream, epoch), portions.count()
        reading = self._client.xrange(key, b"(" + after, b"+", count=count)
        found = await self._of(stream, key, reading)
        entries = [_entry(one) for one in found]
        portions.note(entries)
        return entries

    async def gone(self, stream: str, epoch: str) -> bool:
        """Whether it has no entries' key, which an empty stream has. Who may not ask believes that
        it is there.
        """
        return await self._type(self._keys.entries(stream, epoch)) == "none"

    async def table(self, stream: str, epoch: str) -> Mapping[bytes, bytes]:
        """The JSON of each key, as it was at some time while this was read."""
        key, cursor = self._keys.table(stream, epoch), 0
        found: dict[bytes, bytes] = {}
        while True:
            scan = self._client.hscan(key, cursor=cursor, count=TABLE_COUNT)
            cursor, part = await self._of(stream, key, scan)
            found |= part
            if not cursor:
                return found

    async def news(
        self, places: Mapping[tuple[str, str], bytes], block_ms: int
    ) -> dict[str, Entries | Unreadable]:
        """What came behind these ids, by stream, as soon as something comes; nothing after so
        long. Where some cannot be read, which these are and why.
        """
        names = {self._keys.entries(*at).encode(): at[0] for at in places}
        asked = {self._keys.entries(*at): id for at, id in places.items()}
        count = min(NEWS_MAX, self._news.count())
        reading = self._client.xread(asked, count=count, block=block_ms)
        try:
            found = await self._server.ask(reading, block_ms / 1000)
        except Refused as error:
            if error.code != WRONGTYPE:
                raise
            return await self._no_streams(places)
        news: dict[str, Entries] = {
            names[key]: [_entry(one) for one in part] for key, part in (found or {}).items()
        }
        self._news.note([entry for entries in news.values() for entry in entries])
        return {**news}

    async def _no_streams(
        self, places: Iterable[tuple[str, str]]
    ) -> dict[str, Entries | Unreadable]:
        """Of which of these the entries' key is something else: who reads all of them together is
        not told.
        """
        keys = {self._keys.entries(*at): at[0] for at in places}
        told = await self._each(list(keys), _nothing)
        return {
            name: await self._unreadable(name, key)
            for (key, name), one in zip(keys.items(), told, strict=True)
            if isinstance(one, Exception)
        }

    async def _each(
        self, keys: list[str], ask: Callable[[Any, str], Any]
    ) -> list[Mapping[bytes, bytes] | Exception]:
        """What is answered for each of these keys, asked together; an exception for one that is of
        another type.
        """
        from coredis.exceptions import WrongTypeError

        async def all_of_them() -> list[Any]:
            async with self._client.pipeline(transaction=False, raise_on_error=False) as pipe:
                coming = [ask(pipe, key) for key in keys]
            found: list[Any] = []
            for one in coming:
                try:
                    found.append(await one)
                except WrongTypeError as error:
                    found.append(error)
            return found

        return await self._server.ask(all_of_them())

    async def _of(self, stream: str, key: str, request: Any) -> Any:
        """What is answered to a question about one stream: where a key is in the way, it is no
        other one's trouble.
        """
        try:
            return await self._server.ask(request)
        except Refused as error:
            if error.code != WRONGTYPE:
                raise
        raise await self._unreadable(stream, key)

    async def _unreadable(self, stream: str, key: str) -> Unreadable:
        return Unreadable(
            f"{stream} cannot be read: {await self._in_the_way(key)}, and the ingest daemon sends "
            "again what belongs there"
        )

    async def _in_the_way(self, key: str) -> str:
        found = await self._type(key)
        what = "something else" if found in ("", "none") else f"a {found}"
        return f"at {self._server.where} the key {key} is {what}, and not flowd's: delete it"

    async def _type(self, key: str) -> str:
        """What a key is, "none" where there is none, "" where we may not ask."""
        try:
            found = await self._server.ask(self._client.type(key))
        except Refused:
            return ""
        return found.decode() if found else "none"

    async def _meta(
        self, stream: str, fields: Mapping[bytes, bytes] | Exception
    ) -> Meta | Unreadable | None:
        key = self._keys.meta(stream)
        if isinstance(fields, Exception):
            return await self._unreadable(stream, key)
        try:
            return Meta.decode(fields)
        except Malformed as error:
            return Unreadable(
                f"{self._server.where}: {stream}: {error}. Delete {key}, and the ingest daemon "
                "sends the stream again"
            )

    def _log(self, stream: str, found: Meta | Unreadable | None) -> None:
        why = str(found) if isinstance(found, Unreadable) else ""
        if why and self._told.get(stream) != why:
            logger.warning("%s", why)
        self._told[stream] = why


def _hgetall(pipe: Any, key: str) -> Any:
    return pipe.hgetall(key)


def _nothing(pipe: Any, key: str) -> Any:
    """No entry, from the end to the beginning, which only a stream has."""
    return pipe.xrange(key, b"+", b"-", count=1)


def _entry(found: Any) -> tuple[bytes, Mapping[bytes, bytes]]:
    return found.identifier, found.field_values
