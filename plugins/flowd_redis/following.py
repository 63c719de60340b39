"""All streams of an edge as they are followed: read together as they come once they are filled,
compared with what Redis says of them, and told about.
"""

from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol

import trio
from attrs import frozen

from flowd.plugin import Feed
from flowd_redis.beats import BEAT_S, Heard
from flowd_redis.copying import Anew, Copying, Entries, Hole, Reader, Unreadable
from flowd_redis.filling import Filling
from flowd_redis.ingest import EDGE, Ingest
from flowd_redis.layout import Meta

BLOCK_MS = 1000
"""How long Redis is asked to wait for news, and …"""
BLOCK_FILLING_MS = 200
"""… while some are filled, which are then to be asked for too."""
LOOK_S = 1.0
"""How often what is here is compared with what Redis says there is."""
BEHIND_S = 5.0
"""An edge that is behind for longer is unwell."""
DELAYS_S, DELAYS_MAX = 60.0, 1000
"""Delays that are remembered, for so long and so many."""


class News(Reader, Protocol):
    """What is asked about all streams together."""

    async def names(self) -> set[str]:
        """All streams that there are."""
        ...

    async def metas(self, streams: Iterable[str]) -> dict[str, Meta | Unreadable | None]:
        """What the hashes of these say."""
        ...

    async def news(
        self, places: Mapping[tuple[str, str], bytes], block_ms: int
    ) -> dict[str, Entries | Unreadable]:
        """What came behind these ids, by stream, as soon as something comes."""
        ...


class Beating(Protocol):
    """Who tells others of this daemon, and hears of them: `flowd_redis.beats`."""

    clock_ms: int
    trouble: str | None
    """Why nobody can be heard of; None where one can."""

    async def beat(self) -> Sequence[Heard]:
        """Tell, and hear."""
        ...


class Delays:
    """How long records were under way in the last minute, as far as that was noted: a thousand
    times at most.
    """

    def __init__(self) -> None:
        self._noted: deque[tuple[float, int]] = deque(maxlen=DELAYS_MAX)

    def note(self, delay_ms: int) -> None:
        """One that came now."""
        self._noted.append((trio.current_time(), delay_ms))

    def figures(self) -> dict[str, int]:
        """The middle one, and the one of a hundred that took longest; nothing where none came."""
        since = trio.current_time() - DELAYS_S
        while self._noted and self._noted[0][0] < since:
            self._noted.popleft()
        delays = sorted(delay_ms for _, delay_ms in self._noted)
        if not delays:
            return {"delay_p50_ms": 0, "delay_p99_ms": 0}
        last = len(delays) - 1
        return {"delay_p50_ms": delays[last // 2], "delay_p99_ms": delays[round(last * 0.99)]}


@frozen
class Owed:
    """What is to be told of an outage once it is over: whether nothing was lost in it."""

    from_ms: int
    published: int
    dropped: int

    @classmethod
    def by(cls, feed: Feed[Any], from_ms: int) -> "Owed":
        """An outage that began then, and is noticed now."""
        return cls(from_ms, feed.tally.published, feed.tally.dropped.total())

    def settle(self, feed: Feed[Any]) -> None:
        """It is over: all is here that came meanwhile."""
        if self.dropped == feed.tally.dropped.total():
            feed.recovered(self.from_ms, feed.clock(), feed.tally.published - self.published)


class Follower:
    """One life of the source: until Redis fails, or has something else than it was wired for.

    What is in Redis says nothing of whether somebody still writes there: the feed delivers while
    something comes, or the ingest daemon is heard of.
    """

    def __init__(
        self,
        reader: News,
        feed: Feed[Any],
        beats: Beating,
        chosen: Callable[[set[str]], set[str]] = lambda names: names,
        where: str = "Redis",
    ) -> None:
        self.copies = {name: Copying(mirror) for name, mirror in feed.mirrors.items()}
        self._reader = reader
        self._feed = feed
        self._chosen = chosen
        self._stale: set[str] = set()
        """Streams of which Redis had less than is here: what it forgot meanwhile is not known."""
        self._filling = Filling(reader, self.copies)
        self._unreadable: dict[str, str] = {}
        """Why these cannot be read, as of the last look."""
        self._beats = beats
        self._ingest = Ingest(where)
        self._owed: Owed | None = None
        self._upto: dict[str, int] | None = None
        """What is to be here before an outage is over; None while it lasts."""
        self._back_at = 0.0
        self._delays = Delays()
        self._behind_since: float | None = None
        self._anew: str | None = None

    async def run(self) -> None:
        """Fill all, and follow what is filled. UpstreamError when Redis fails, Anew as in
        `Copying`.
        """
        since_ms = self._feed.ends_ms
        if since_ms is not None and any(copy.mirror.head.seq for copy in self.copies.values()):
            self._owed = Owed.by(self._feed, since_ms)
        self._filling.want(self.copies)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._follow, nursery)
            nursery.start_soon(self._watch)

    async def _follow(self, nursery: trio.Nursery) -> None:
        while True:
            # Between two answers, so that nobody fills what one is applied to.
            self._filling.start(nursery)
            copies = [copy for name, copy in self.copies.items() if self._filling.follows(name)]
            block_ms = BLOCK_FILLING_MS if self._filling.left else BLOCK_MS
            if not copies:
                await self._filling.pause(block_ms / 1000)
                continue
            places = {(copy.name, copy.epoch): copy.at for copy in copies}
            for name, entries in (await self._reader.news(places, block_ms)).items():
                if isinstance(entries, Unreadable):
                    self._filling.refuse(name, entries)
                else:
                    await self._apply(self.copies[name], entries)
                    self._ingest.came()
            if self._feed.tally.delivering:
                self._feed.delivering()

    async def _apply(self, copy: Copying, entries: Entries) -> None:
        before = copy.at
        try:
            await copy.apply(entries)
        except Hole as hole:
            self._feed.log.info("%s; it is filled again", hole)
            self._filling.want([copy.name])
        if copy.last_ms is not None and copy.at != before:
            ahead_ms = self._beats.clock_ms - self._ingest.clock_ms
            delay_ms = max(0, self._feed.clock() - ahead_ms - copy.last_ms)
            self._feed.tally.figures["delay_ms"] = delay_ms
            self._delays.note(delay_ms)

    async def _watch(self) -> None:
        beaten = -BEAT_S
        while True:
            # Who waits for the ingest daemon looks more often.
            if trio.current_time() - beaten >= (BEAT_S if self._feed.tally.delivering else LOOK_S):
                beaten = trio.current_time()
                self._ingest.hear(await self._beats.beat())
            names = self._chosen(await self._reader.names())
            # Both go on while the answer is under way.
            had = {name: copy.mirror.head.seq for name, copy in self.copies.items()}
            self.look(await self._reader.metas({*names, *self.copies}), had)
            await self._filling.pause(LOOK_S)

    def look(self, told: Mapping[str, Meta | Unreadable | None], had: Mapping[str, int]) -> None:
        """Compare what Redis says of these streams, all of ours among them, with what we `had` when
        it was asked. Anew when it says so twice: a daemon that begins tells of its streams one by
        one.
        """
        found = {n: None if isinstance(meta, Unreadable) else meta for n, meta in told.items()}
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
        filling = self._filling
        filling.want([name for name in back if self.copies[name].mirror.table])
        filling.want([n for n, meta in metas.items() if meta and self.copies[n].astray(meta)])
        filling.again(lambda name: metas[name] is not None)
        wrong = {name: str(one) for name, one in told.items() if isinstance(one, Unreadable)}
        left_out = self._feed.left_out
        self._unreadable = {n: why for n, why in wrong.items() if n not in left_out}
        self._unreadable |= {n: w for n, w in filling.unreadable.items() if n not in wrong}
        self._notice(metas)
        self._tell(metas, [name for name in away if name not in self._unreadable])

    def _notice(self, metas: Mapping[str, Meta | None]) -> None:
        """Whether something is delivered. What came to Redis during an outage is here first."""
        feed = self._feed
        if self._ingest.publishes and not feed.tally.delivering and not self._filling.left:
            now = trio.current_time()
            if self._upto is None:
                self._upto = {n: meta.seq for n, meta in metas.items() if meta is not None}
                self._back_at = now
            missing = {n for n, seq in self._upto.items() if self.copies[n].mirror.head.seq < seq}
            level = missing <= self._unreadable.keys()
            # Who stays behind is told so by other words.
            if level or now - self._back_at >= BEHIND_S:
                feed.delivering()
                if self._owed is not None and not self._unreadable:
                    self._owed.settle(feed)
                self._owed = None
        elif not self._ingest.publishes:
            self._upto = None

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
        figures["filling"] = self._filling.left
        figures["left_out"] = len(self._feed.left_out)
        figures["malformed"] = sum(copy.malformed for copy in self.copies.values())
        figures["clock_ms"] = self._beats.clock_ms - self._ingest.clock_ms
        figures |= self._delays.figures()
        now = trio.current_time()
        if not behind:
            self._behind_since = None
        elif self._behind_since is None:
            self._behind_since = now
        problem = self._problem(behind, lag_ms, away, now) or self._beats.trouble
        trouble = self._ingest.trouble
        if trouble is not None:
            silent_ms = round(self._ingest.silent_s * 1000)
            self._away(problem or trouble, silent_ms)
            lag_ms = max(lag_ms, silent_ms)
        else:
            self._feed.problem(problem)
        lag_ms = max(lag_ms, round(figures.get("delay_ms", 0)))
        why = problem or trouble
        self._feed.peers.tell(self._feed.name, EDGE, behind=behind, lag_ms=lag_ms, problem=why)

    def _away(self, why: str, silent_ms: int) -> None:
        from_ms = self._feed.clock() - silent_ms
        if self._owed is None:
            self._owed = Owed.by(self._feed, from_ms)
        self._feed.away(why, from_ms)

    def _problem(self, behind: int, lag_ms: int, away: list[str], now: float) -> str | None:
        if self._unreadable:
            why, others = self._unreadable[min(self._unreadable)], len(self._unreadable) - 1
            return f"{why} ({others} more cannot be read)" if others else why
        missing = [name for name in away if self.copies[name].mirror.head.seq]
        if missing:
            return (
                f"Redis lost what it had of {', '.join(missing[:5])}"
                f"{' and others' if missing[5:] else ''}: what is here is served, and the ingest "
                "daemon has to send it again"
            )
        if self._filling.lasts_s >= LOOK_S:
            here = len(self.copies) - self._filling.left
            return f"{here} of {len(self.copies)} streams are filled from Redis so far"
        if self._behind_since is not None and now - self._behind_since >= BEHIND_S:
            return (
                f"{behind} records behind the ingest daemon, {lag_ms / 1000:.1f}s: is this machine "
                "or the network too slow?"
            )
        return None
