"""One connection to Hydromancer, from the dial to its end: login, subscription, proof of life, and
going on where the last one ended.
"""

from collections.abc import Callable
from typing import Any, Final
from urllib.parse import quote, urlencode

import trio

from flowd.market import Fill
from flowd.plugin import Feed, Unusable, Upstream, UpstreamError, UpstreamSilent, codec
from flowd_hydromancer.config import Config
from flowd_hydromancer.frames import Bad, Frame, decode
from flowd_hydromancer.intake import Intake
from flowd_hydromancer.objections import Objections
from flowd_hydromancer.place import Place, Sequence
from flowd_hydromancer.refusal import Redial
from flowd_hydromancer.veil import Veil

CHUNKED: Final = "chunked-v1"
WELCOME_S: Final = 10.0
PING_S: Final = 30.0
"""Between our pings, which are answered by a message: a proof of life that quiet feeds lack."""
HOLD_S: Final = 5.0
"""After a resumption live messages may come before the replay: for so long only the replay moves
the cursor.
"""
LATE_MS: Final = 5000
"""A block may be told so long after its time."""
REPLAY_S: Final = 30.0
"""For so long after its header messages may be part of a replay."""


class Connection:
    """What one connection has asked for and been told. `mend` answers whether a hole is worth
    another one.
    """

    def __init__(
        self,
        config: Config,
        feed: Feed[Fill],
        key: str,
        place: Place,
        intake: Intake,
        veil: Veil,
        *,
        mend: Callable[[], bool],
    ) -> None:
        self._config = config
        self._feed = feed
        self._key = key
        self._place = place
        self._intake = intake
        self._veil = veil
        self._mend = mend
        self._objections = Objections(feed, config.subscription, place, veil)
        self._sequence = Sequence()
        self._greeted = trio.Event()
        self._hold_until = 0.0
        self._replayed = 0
        """So many of the next messages may be replayed ones."""
        self._replayed_until = 0.0
        self._old_numbers = False
        self._since_ms = feed.ends_ms
        """Where the data ended before: a replay without a gap goes on from there."""
        self._published = 0
        self._asked_ms: int | None = None
        self._data_at = 0.0
        self._data_ms = feed.tally.last_record_ms or feed.clock()
        """When data came last, in wall time: what is missing is missing since then."""

    async def run(self) -> None:
        """Follow the feed until the connection ends, which raises an UpstreamError: `Refused`, when
        asking again soon is useless, `Redial`, when it should be done at once.
        """
        ended: list[UpstreamError] = []
        try:
            await self._follow()
        except* UpstreamError as group:
            ended += _leaves(group)
        # Outside, so that what may show a secret is not even its context.
        raise self._objections.reason(ended)

    def _address(self) -> str:
        query: dict[str, str] = {}
        if self._config.login == "query":
            query = {"token": self._key, **self._place.ask()}
            if self._config.chunked:
                query["liveFormat"] = CHUNKED
        return self._config.url + (f"?{urlencode(query, quote_via=quote)}" if query else "")

    async def _follow(self) -> None:
        config = self._config
        async with (
            self._feed.websocket(
                self._address(),
                silence_s=config.silence,
                ping_every_s=config.ping_every,
                # Pongs of the codec do not prove that the service behind it lives.
                pongs_count=False,
                delivers=False,
                shown=config.url,
            ) as upstream,
            trio.open_nursery() as nursery,
        ):
            if config.login == "message":
                await _say(upstream, {"type": "auth", "apiKey": self._key})
            nursery.start_soon(self._expect_greeting)
            nursery.start_soon(self._objections.expect_reason)
            nursery.start_soon(self._prove_life, upstream)
            async for text in upstream:
                await self._receive(upstream, text)

    async def _expect_greeting(self) -> None:
        with trio.move_on_after(WELCOME_S):
            await self._greeted.wait()
            return
        raise UpstreamError(f"not welcomed within {WELCOME_S:g}s ({self._config.url})")

    async def _prove_life(self, upstream: Upstream) -> None:
        silence_s = self._config.silence
        await self._greeted.wait()
        self._data_at = trio.current_time()
        while True:
            await trio.sleep(min(PING_S, silence_s / 3))
            asked_ms = self._feed.clock()
            try:
                await _say(upstream, {"type": "ping"})
            except UpstreamError:
                return  # The reader tells of it.
            self._asked_ms = asked_ms
            if self._config.busy and trio.current_time() - self._data_at >= silence_s:
                raise UpstreamSilent(f"no fills for {silence_s:g}s ({self._config.url})")

    async def _receive(self, upstream: Upstream, text: str | bytes) -> None:
        """One message. What cannot be used is counted, never fatal."""
        try:
            frame, bad = decode(text)
        except Unusable as error:
            self._feed.drop(error.reason, self._veil.sample(text))
            return
        match frame.kind:
            case self._config.subscription:
                await self._data(frame, bad)
            case "replay":
                await self._replay(frame, bad)
            case "ping":
                await _say(upstream, {"type": "pong"})
            case "pong":
                self._ponged()
            case "connected" | "welcome":
                await self._welcome(upstream, frame)
            case "reconnected":
                self._resumed(frame)
            case "subscriptionUpdate":
                if self._objections.update(frame):
                    self._delivers()
            case "error":
                self._objections.error(frame)
            case _:
                self._feed.drop("unknown message", self._veil.sample(text))

    async def _welcome(self, upstream: Upstream, frame: Frame) -> None:
        if self._greeted.is_set():
            self._feed.drop("welcomed twice")
            return
        self._greet(frame, resumed=False)
        if self._place.asked:
            self._feed.log.info(
                "%s: the session was not resumed; what came meanwhile is missing", self._feed.name
            )
        await _say(upstream, {"type": "subscribe", "subscription": self._config.wanted})

    def _resumed(self, frame: Frame) -> None:
        """The subscription is restored, and what was missed will be replayed."""
        self._greet(frame, resumed=True)
        self._feed.log.info("%s: session resumed", self._feed.name)
        self._hold_until = trio.current_time() + HOLD_S
        self._published = self._feed.tally.published
        self._delivers()

    def _greet(self, frame: Frame, *, resumed: bool) -> None:
        self._place.begin(frame.session_id, resumed=resumed)
        self._objections.welcomed = True
        self._greeted.set()

    async def _data(self, frame: Frame, bad: list[Bad]) -> None:
        since_ms, replaying = self._data_ms, self._replayed
        self._delivers()
        lost = 0 if self._is_replayed(frame) else self._sequence.missing(frame)
        await self._intake.take(frame.items, bad)
        if replaying and not self._replayed and trio.current_time() < self._replayed_until:
            self._recovered()
        if lost:
            self._hole(lost, since_ms)
        if trio.current_time() >= self._hold_until:
            self._place.move(frame.cursor)

    def _hole(self, lost: int, since_ms: int) -> None:
        """Messages are missing. Once in a while a new connection is worth it, with the cursor of
        before: then they are replayed.
        """
        if self._place.resumable and self._mend():
            self._feed.drop("hole in seq", f"{lost} messages")
            raise Redial(f"{lost} messages are missing")
        self._feed.lost("hole in seq", since_ms)

    async def _replay(self, frame: Frame, bad: list[Bad]) -> None:
        """Either the rows themselves, or a header for as many ordinary messages."""
        if frame.channel not in (None, self._config.subscription):
            self._feed.drop("not asked for", frame.channel)
            return
        if frame.has_gap:
            self._feed.lost("gap in replay", self._data_ms)
            self._since_ms = None
        if frame.fills is None and frame.data is None:
            self._replayed = max(0, frame.count or 0)
            self._replayed_until = trio.current_time() + REPLAY_S
            self._old_numbers = False
            if not self._replayed:
                self._recovered()
            return
        self._delivers()
        await self._intake.take(frame.items, bad)
        self._place.move(frame.cursor)
        self._recovered()

    def _recovered(self) -> None:
        """The replay is over, and had no gap: nothing is missing of the time between."""
        if self._since_ms is not None and self._hold_until:
            count = self._feed.tally.published - self._published
            self._feed.recovered(self._since_ms, self._feed.clock(), count)
            self._since_ms = None

    def _ponged(self) -> None:
        """What was told before it heard our ping came before its pong."""
        replays = self._replayed or trio.current_time() < self._hold_until
        if self._asked_ms is not None and self._objections.subscribed and not replays:
            self._feed.delivering(self._asked_ms - LATE_MS)

    def _is_replayed(self, frame: Frame) -> bool:
        """Whether this may be one of the messages after a header, which have the numbers of another
        connection, or none. If they go on from this one's, they are counted like any.
        """
        if trio.current_time() >= self._replayed_until:
            self._replayed = 0
        if not self._replayed:
            return False
        foreign = self._sequence.is_foreign(frame)
        self._old_numbers = self._old_numbers or foreign
        if foreign or not self._old_numbers:
            self._replayed -= 1
        return foreign

    def _delivers(self) -> None:
        self._data_at = trio.current_time()
        self._data_ms = self._feed.clock()
        self._objections.subscribed = True
        self._feed.delivering()


async def _say(upstream: Upstream, message: dict[str, Any]) -> None:
    await upstream.send(codec.encode(message).decode())


def _leaves(group: BaseExceptionGroup[UpstreamError]) -> list[UpstreamError]:
    found: list[UpstreamError] = []
    for error in group.exceptions:
        found += _leaves(error) if isinstance(error, BaseExceptionGroup) else [error]
    return found
