"""What a source or transform may do: publish to its stream, keep tables, dial upstream.

With the streams it may read (`flowd.stream.inputs`) this is all that it sees of flowd, so that
whoever reads its signature knows what it can touch.
"""

import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from types import MappingProxyType
from typing import Any, Final, Generic, NoReturn, TypeVar

import trio

from flowd.stream.held import Retain
from flowd.stream.log import Stream
from flowd.stream.mirror import Mirror, Mirrored
from flowd.upstream.asked import Asked
from flowd.upstream.budget import Budget
from flowd.upstream.connection import PING_EVERY_S, SILENCE_S, Dial, Upstream, open_upstream
from flowd.upstream.http import Services
from flowd.upstream.reach import Reach
from flowd.upstream.renewal import Renewal, Run, here
from flowd.values.clock import Clock
from flowd.values.errors import UserError, did_you_mean
from flowd.values.peers import Peers
from flowd.values.record import Record
from flowd.values.tally import Tally

T = TypeVar("T")
V = TypeVar("V")

PORTION: Final = 100
"""Records of a table that are replaced in one step: fewer than a millisecond's work."""


async def _never(why: str) -> NoReturn:
    raise AssertionError(f"nobody would start over: {why}")


class Feed(Generic[T]):
    """What one source or transform may do: publish to its own stream, keep tables, dial upstream.

    The feed outlives the component's runs. `publish`, `get`, `forget`, `drop`, `delivering` and
    `lost` never wait and may be called at any time while the component runs, from any of its tasks;
    what is not of the stream's class, or cannot be written as JSON, raises and leaves no trace. The
    component neither closes its stream nor retries anything: whatever it raises ends this run, its
    connections are closed on the way out, and the supervisor starts it again after a while, with
    the same feed. The daemon closes the stream after the component has ended for good.
    """

    def __init__(
        self,
        name: str,
        stream: Stream[T],
        *,
        clock: Clock,
        dial: Dial,
        table: Callable[[str, type[Any]], Stream[Any]],
        on_delivering: Callable[[int], None] = lambda from_ms: None,
        on_lost: Callable[[str, int, int | None], None] = lambda reason, from_ms, to_ms: None,
        on_recovered: Callable[[int, int, int], None] = lambda from_ms, to_ms, count: None,
        services: Services | None = None,
        mirrored: Mapping[str, Stream[Any]] = MappingProxyType({}),
        there: Mapping[str, Mirrored] = MappingProxyType({}),
        left_out: Mapping[str, str] = MappingProxyType({}),
        on_start_over: Callable[[str], Awaitable[NoReturn]] = _never,
        on_away: Callable[[str, int], None] = lambda reason, from_ms: None,
        peers: Peers | None = None,
    ) -> None:
        self.name = name
        self.clock = clock
        self.log = logging.getLogger(f"flowd.{name}")
        self.tally = Tally()
        self.reach = Reach()
        self.peers = peers or Peers()
        """This daemon among others, for sources that connect them."""
        self._services = services or Services(clock)
        self.http = self._services.http(self.tally)
        """The client for REST services: `await feed.http.get(url)`, `post(url, json=...)`."""
        self._asked = Asked(self.tally)
        self._stream = stream
        self._dial = dial
        self._table = table
        self._on_delivering = on_delivering
        self._on_lost = on_lost
        self._on_recovered = on_recovered
        self._on_start_over = on_start_over
        self._on_away = on_away
        self._renewal = Renewal(name, self.log, clock, self.reach, self.lost)
        self.mirrors: Mapping[str, Mirror[Any]] = {
            key: Mirror(one, there[key], on_taken=self._taken, on_lost=self._missed)
            for key, one in mirrored.items()
        }
        """The streams of another daemon that this source carries, by name."""
        self.left_out = left_out
        """Those that cannot be here, and why; the log says it."""
        for why in left_out.values():
            self.log.warning("%s: left out: %s", name, why)
        self.upstreams: list[Upstream] = []
        """The connections that are open now."""
        self._slept = False
        self._fruitful = False
        self._answered_ms: int | None = None
        """When data came last without a connection: to who asked for it."""

    def publish(
        self, value: T, *, key: str | None = None, id: str | None = None, past: bool = False
    ) -> Record[T] | None:
        """Append to the component's stream; see `Stream.append`. None when it was no news.

        `past` says that upstream told it late, or as its history: how old it is says nothing of how
        late the data comes.
        """
        tally = self.tally
        if self._slept:
            self.delivering()
        record = self._stream.append(value, key=key, id=id)
        if record is None:
            tally.duplicates += 1
        else:
            tally.published += 1
            tally.last_record_ms = record.time_ms
            # What has a key is a state, and its time may be when that began, as a candle's.
            if key is None and type(happened_ms := getattr(value, "time_ms", None)) is int:
                if not past:
                    self.reach.note(happened_ms, record.time_ms)
                self._renewal.told(happened_ms, record.time_ms)
        return record

    def _taken(self, record: Record[Any]) -> None:
        self.tally.published += 1
        self.tally.last_record_ms = self.clock()

    def mirror(self, name: str) -> Mirror[Any]:
        """One of the streams of another daemon that this source carries, as its definition's
        `streams` answered at the start. UserError for a name that was not among them.
        """
        if name not in self.mirrors:
            near = did_you_mean(name, sorted(self.mirrors))
            raise UserError(f"{self.name} carries no stream {name!r}{near}")
        return self.mirrors[name]

    async def start_over(self, why: str) -> NoReturn:
        """Have the daemon end in order and start again in the same process: the streams that it
        carries are not those that it was wired for. Clients get their usual goodbye. Rarely needed,
        and not done in the first 10 s of a daemon's life; does not return.
        """
        await self._on_start_over(why)

    def get(self, key: str) -> T | None:
        """The newest value published under `key`, None if there is none."""
        return self._stream.get(key)

    def records(self) -> list[Record[T]]:
        """All that was published and is retained, oldest first; also by earlier runs."""
        return self._stream.after(0)

    @property
    def retain(self) -> Retain:
        """How much of what is published is kept: `count` records, none older than `age_s`."""
        return self._stream.retain

    def forget(self, key: str) -> None:
        """Drop what was published under `key`: it has outlived its retention."""
        self._stream.forget(key)

    async def replace(self, records: Mapping[str, T]) -> set[str]:
        """Make these, by key, all that the stream holds under keys: for who is told a whole list.
        The keys of which something changed.

        What is equal to what was there is no news. Then all other keys are forgotten, also those
        of earlier runs. A record that cannot be published raises, as `publish` does: those before
        it are published, and nothing is forgotten. Others run between portions, so for a moment a
        reader may see old and new beside each other, and misses none that is in both.
        """
        changed: set[str] = set()
        for number, (key, value) in enumerate(records.items(), 1):
            if self.publish(value, key=key) is not None:
                changed.add(key)
            if not number % PORTION:
                await trio.lowlevel.checkpoint()
        gone = [r.key for r in self.records() if r.key is not None and r.key not in records]
        for number, key in enumerate(gone, 1):
            self.forget(key)
            if not number % PORTION:
                await trio.lowlevel.checkpoint()
        return changed | set(gone)

    def budget(self, name: str, *, per_minute: int, share: int | None = None) -> Budget:
        """The budget of weight of a REST service that counts by our address: one for each name in
        the whole daemon, whoever asks. Of several `per_minute` the lowest counts; this component
        spends at most its `share` of it. UserError for less than 1.
        """
        return self._services.budgets.budget(self.name, name, per_minute, share)

    def ask(self, what: str) -> None:
        """Put a question to this component, which may take it by `asked`: what readers of its
        stream do by `Input.ask`.
        """
        self._asked.put(what)

    async def asked(self) -> str:
        """What a reader of this component's stream asks of it, by `Input.ask`: waits for a
        question, and takes it. Nothing is answered: what comes of it is published.
        """
        return await self._asked.take()

    def table(self, name: str, record: type[V]) -> Stream[V]:
        """A further stream of the component, for state that must survive: saved like any other.

        It is private, unless the component's definition names it among its `tables`.
        """
        return self._table(name, record)

    def drop(self, reason: str, sample: object = None) -> None:
        """Count something unusable by reason. Each reason is logged at most once a minute, with
        the sample.
        """
        self.tally.drop(self.name, reason, sample, self.clock())

    def problem(self, why: str | None) -> None:
        """Say in a sentence what is wrong though the component runs, and what can be done; None
        when it is over. It makes it unhealthy: `/health` and `/status` tell it.
        """
        if why is not None and self.tally.problem is None:
            self.log.warning("%s: %s", self.name, why)
        elif why is None and self.tally.problem is not None:
            self.log.info("%s: all is well again", self.name)
        self.tally.problem = why

    def delivering(self, upto_ms: int | None = None) -> None:
        """Say that data is arriving: ends the outage, if one is open. Upstream messages say it by
        themselves unless the connection was opened with `delivers=False`.

        `upto_ms` is for who knows it: by upstream's clock, everything until then has been told.
        Records that are published without a key say the same with their `time_ms`. Where the data
        ends, the next outage begins.
        """
        if upto_ms is not None:
            self._renewal.told(upto_ms, self.clock())
        self._slept = False
        self._fruitful = True
        if not self.tally.open:
            self._answered_ms = self.clock()
        if not self.tally.delivering:
            self.tally.delivering = True
            self._on_delivering(self.reach.begins_ms(self.clock()))

    def away(self, why: str, from_ms: int) -> None:
        """Say in a sentence that since then nothing comes, though all is connected and the
        component goes on: an outage until `delivering`, and a `problem` until that is told anew.
        """
        self.tally.delivering = self._slept = False
        self._on_away(why, from_ms)
        self.problem(why)

    def fruitful(self) -> bool:
        """Whether data arrived since this was asked last."""
        fruitful, self._fruitful = self._fruitful, False
        return fruitful

    @property
    def ends_ms(self) -> int | None:
        """Up to when everything that upstream told is here: where an outage begins that is noticed
        now. None before anything came.
        """
        alive_ms = self.tally.last_alive_ms
        return self.reach.ends_ms(self._answered_ms if alive_ms is None else alive_ms)

    @property
    def saved_ms(self) -> int | None:
        """The same if nothing is wrong, and this process ends now. Who only asks now and then, and
        was answered, lacks nothing before it should have asked again.
        """
        asks = self.tally.last_alive_ms is None and self.tally.delivering
        return self.clock() if asks and self.reach.ends_ms(None) is None else self.ends_ms

    def slept(self) -> None:
        """This process did not run for a while: nobody knows whether data arrives, until some does.
        What was connected and delivered before need not say so again.
        """
        self.tally.delivering = False
        self._slept = True

    def lost(self, reason: str, from_ms: int) -> None:
        """Say that upstream left something out, between `from_ms` and now, that will not come: an
        outage that is over. It is logged and counted too.
        """
        self.tally.drop(self.name, reason, None, self.clock())
        self._on_lost(reason, from_ms, None)

    def _missed(self, reason: str, from_ms: int, to_ms: int | None) -> None:
        """A stream of another daemon has a gap: counted as one of many, and told in full."""
        self.tally.drop(self.name, "records missing", reason, self.clock())
        self._on_lost(reason, from_ms, to_ms)

    def recovered(self, from_ms: int, to_ms: int, count: int) -> None:
        """Say that all which was missed between these times, by this machine's clock, has come
        after all: `count` records, by a replay or from a history. Outages tell it from what is
        lost.
        """
        ahead_ms = min(self.reach.usual_ms, 0)
        self._on_recovered(from_ms + ahead_ms, to_ms - ahead_ms, count)

    def websocket(
        self,
        url: str,
        *,
        silence_s: float = SILENCE_S,
        ping_every_s: float = PING_EVERY_S,
        pongs_count: bool = True,
        delivers: bool = True,
        headers: list[tuple[bytes, bytes]] | None = None,
        shown: str | None = None,
    ) -> AbstractAsyncContextManager[Upstream]:
        """Dial a WebSocket: `async with feed.websocket(url) as upstream`, then send and iterate.

        Pings go out every 15 s. `UpstreamSilent` after `silence_s` without a frame, or without a
        message if `pongs_count` is false. `delivers=False` when a message alone does not prove
        that data flows: the source then calls `feed.delivering()` itself. `shown` replaces the
        address in logs when it holds a secret.
        """
        return _noted(
            self,
            open_upstream(
                url,
                dial=self._dial,
                silence_s=silence_s,
                ping_every_s=ping_every_s,
                pongs_count=pongs_count,
                headers=headers,
                shown=shown,
                # Where a pong does not count, it must not hide when the data stopped.
                on_frame=self._alive if pongs_count else self._frame,
                on_message=self._message_delivering if delivers else self._message,
            ),
        )

    async def renew(
        self,
        session: Run,
        *,
        every_s: float,
        overlap_s: float = 5.0,
        retry_s: float = 60.0,
    ) -> None:
        """Run `session(ready)` for ever, and before each `every_s` is over start its successor
        beside it.

        The old one ends when the new one has lived `overlap_s` beside it, so records must be
        published with ids. Its connection says goodbye then, and what was still under way to it is
        taken. A successor that fails before is tried again after `retry_s` while the old one lives
        on.
        """
        await self._renewal.run(session, every_s, overlap_s, retry_s)

    def _frame(self) -> None:
        self.tally.last_frame_ms = self.clock()

    def _alive(self) -> None:
        self.tally.last_frame_ms = self.tally.last_alive_ms = self.clock()

    def _message(self) -> None:
        tally = self.tally
        tally.messages += 1
        tally.last_message_ms = tally.last_frame_ms = tally.last_alive_ms = self.clock()

    def _message_delivering(self) -> None:
        self._message()
        self.delivering()


@asynccontextmanager
async def _noted(
    feed: Feed[Any], opening: AbstractAsyncContextManager[Upstream]
) -> AsyncGenerator[Upstream, None]:
    """An upstream whose opening and end the feed takes note of."""
    tally, session = feed.tally, here.get()
    async with opening as upstream:
        if session is not None:
            session.upstreams.append(upstream)
        feed.upstreams.append(upstream)
        tally.connections += 1
        tally.open += 1
        feed.log.info("%s: connected to %s", feed.name, upstream.url)
        try:
            yield upstream
        finally:
            feed.upstreams.remove(upstream)
            tally.open -= 1
            if not tally.open:
                tally.delivering = feed._slept = False
