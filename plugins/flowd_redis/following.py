"""All streams of an edge as they are followed: filled, then read together as they come, compared
with what Redis says of them, and told about.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol

import trio

from flowd.plugin import Feed
from flowd_redis.copying import Anew, Copying, Entries, Hole, Reader
from flowd_redis.layout import Meta

BLOCK_MS = 1000
"""How long Redis is asked to wait for news."""
LOOK_S = 1.0
"""How often what is here is compared with what Redis says there is."""
BEHIND_S = 5.0
"""An edge that is behind for longer is unwell."""


class News(Reader, Protocol):
    """What is asked about all streams together."""

    async def names(self) -> set[str]:
        """All streams that there are."""
        ...

    async def metas(self, streams: Iterable[str]) -> dict[str, Meta | None]:
        """What the hashes of these say."""
        ...

    async def news(
        self, places: Mapping[tuple[str, str], bytes], block_ms: int
    ) -> dict[str, Entries]:
        """What came behind these ids, by stream, as soon as something comes."""
        ...


class Follower:
    """One life of the source: until Redis fails, or has something else than it was wired for."""

    def __init__(
        self,
        reader: News,
        feed: Feed[Any],
        chosen: Callable[[set[str]], set[str]] = lambda names: names,
    ) -> None:
        self.copies = {name: Copying(mirror) for name, mirror in feed.mirrors.items()}
        self._reader = reader
        self._feed = feed
        self._chosen = chosen
        self._stale: set[str] = set()
        """Streams of which Redis had less than is here: what it forgot meanwhile is not known."""
        self._refill: set[str] = set()
        self._behind_since: float | None = None
        self._anew: str | None = None

    async def run(self) -> None:
        """Fill all, then follow. UpstreamError when Redis fails, Anew as in `Copying`."""
        since_ms, before = self._feed.ends_ms, self._feed.tally.published
        heads = {name: copy.mirror.head.seq for name, copy in self.copies.items()}
        lost = self._feed.tally.dropped.total()
        for copy in self.copies.values():
            await copy.fill(self._reader)
        self._feed.delivering()
        if (
            since_ms is not None
            and any(heads.values())
            and lost == self._feed.tally.dropped.total()
        ):
            count = self._feed.tally.published - before
            self._feed.recovered(since_ms, self._feed.clock(), count)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._follow)
            nursery.start_soon(self._watch)

    async def _follow(self) -> None:
        while True:
            while self._refill:
                await self.copies[self._refill.pop()].fill(self._reader)
            places = {(copy.name, copy.epoch): copy.at for copy in self.copies.values()}
            found = await self._reader.news(places, BLOCK_MS)
            for name, entries in found.items():
                await self._apply(self.copies[name], entries)
            self._feed.delivering()

    async def _apply(self, copy: Copying, entries: Entries) -> None:
        before = copy.at
        try:
            await copy.apply(entries)
        except Hole as hole:
            self._feed.log.info("%s; it is filled again", hole)
            await copy.fill(self._reader)
        if copy.last_ms is not None and copy.at != before:
            figures = self._feed.tally.figures
            figures["delay_ms"] = max(0, self._feed.clock() - copy.last_ms)

    async def _watch(self) -> None:
        while True:
            names = self._chosen(await self._reader.names())
            # Both go on while the answer is under way.
            had = {name: copy.mirror.head.seq for name, copy in self.copies.items()}
            self.look(await self._reader.metas({*names, *self.copies}), had)
            await trio.sleep(LOOK_S)

    def look(self, found: Mapping[str, Meta | None], had: Mapping[str, int]) -> None:
        """Compare what Redis says of these streams, all of ours among them, with what we `had` when
        it was asked. Anew when it says so twice: a daemon that begins tells of its streams one by
        one.
        """
        metas = {name: found[name] for name in self.copies}
        known = metas.keys() | self._feed.left_out.keys()
        new = sorted(name for name, meta in found.items() if meta and name not in known)
        why = self._other(metas, new)
        if why is not None and why == self._anew:
            raise Anew(why)
        self._anew = why
        away = [name for name, meta in metas.items() if self._lacks(name, meta, had[name])]
        back = [name for name in self._stale if name not in away]
        self._stale = set(away)
        self._refill |= {name for name in back if self.copies[name].mirror.table}
        self._tell(metas, away)

    def _lacks(self, name: str, meta: Meta | None, had: int) -> bool:
        return meta is None or (meta.epoch == self.copies[name].epoch and meta.seq < had)

    def _other(self, metas: Mapping[str, Meta | None], new: list[str]) -> str | None:
        for name, meta in metas.items():
            if meta is not None:
                try:
                    self.copies[name].check(meta)
                except Anew as anew:
                    return str(anew)
        return f"Redis has more streams now: {', '.join(new[:10])}" if new else None

    def _tell(self, metas: Mapping[str, Meta | None], away: list[str]) -> None:
        behind, lag_ms = 0, 0
        for name, meta in metas.items():
            copy = self.copies[name]
            same = meta is not None and meta.epoch == copy.epoch
            if meta is not None and same and meta.seq > copy.mirror.head.seq:
                behind += meta.seq - copy.mirror.head.seq
                lag_ms = max(lag_ms, meta.time_ms - (copy.last_ms or meta.time_ms))
        figures = self._feed.tally.figures
        figures["behind"], figures["lag_ms"] = behind, lag_ms
        figures["left_out"] = len(self._feed.left_out)
        figures["malformed"] = sum(copy.malformed for copy in self.copies.values())
        now = trio.current_time()
        if not behind:
            self._behind_since = None
        elif self._behind_since is None:
            self._behind_since = now
        self._feed.problem(self._problem(behind, lag_ms, away, now))

    def _problem(self, behind: int, lag_ms: int, away: list[str], now: float) -> str | None:
        missing = [name for name in away if self.copies[name].mirror.head.seq]
        if missing:
            return (
                f"Redis lost what it had of {', '.join(missing[:5])}"
                f"{' and others' if missing[5:] else ''}: what is here is served, and the ingest "
                "daemon has to send it again"
            )
        if self._behind_since is not None and now - self._behind_since >= BEHIND_S:
            return (
                f"{behind} records behind the ingest daemon, {lag_ms / 1000:.1f}s: is this machine "
                "or the network too slow?"
            )
        return None
