"""One connection to OKX, from the dial to its end, and the change-over to the next one when OKX
announces that it will close it.
"""

from collections.abc import Callable
from typing import Any, Final, Protocol

import trio

from flowd.market import Liquidation
from flowd.plugin import (
    Feed,
    Seconds,
    Unusable,
    Upstream,
    UpstreamError,
    UpstreamSilent,
    codec,
    unwrap,
)
from flowd_okx.intake import LATE_MS, Intake
from flowd_okx.parse import CHANNEL, KIND, told
from flowd_okx.rest import NOT_HERE, Refused

ACK_TIMEOUT_S: Final = 15.0
UNANSWERED_MAX: Final = 2
"""So many pings without any frame after them, and the connection is dead."""
NOTICE: Final = "64008"
"""The code of an announcement that the connection will be closed, a minute ahead."""
LEAVE_S: Final = 30.0
RETRY_S: Final = 5.0
"""After a connection that could not take the place of the old one."""
SUBSCRIBE: Final = {
    "id": "1",
    "op": "subscribe",
    "args": [{"channel": CHANNEL, "instType": KIND}],
}


class Settings(Protocol):
    """What a source's configuration says about its connection."""

    @property
    def url(self) -> str:
        """The public WebSocket."""

    @property
    def silence(self) -> Seconds:
        """After so long without a message the connection is dead."""

    @property
    def ping_every(self) -> Seconds:
        """After so long without a message we ping."""


OnGap = Callable[[int, int], None]
"""Told from when to when nothing was delivered."""


async def keep(config: Settings, feed: Feed[Liquidation], intake: Intake, on_gap: OnGap) -> None:
    """Follow until the connection ends, which raises an UpstreamError: `Refused`, when asking again
    soon is of no use. One that OKX is about to close is replaced before.
    """
    async with trio.open_nursery() as nursery:
        current = Session(config, feed, intake, on_gap)
        await nursery.start(current.run)
        while True:
            await current.noticed.wait()
            newer = await _successor(nursery, Session(config, feed, intake, on_gap), feed)
            if newer is not None:
                feed.log.info("%s: changed over, since OKX is about to close", feed.name)
                current.retired = True
                nursery.start_soon(current.leave)
                current = newer


async def _successor(
    nursery: trio.Nursery, newer: "Session", feed: Feed[Liquidation]
) -> "Session | None":
    """The session, once it follows; None if it could not, after a pause."""
    try:
        await nursery.start(newer.run)
    except* UpstreamError as group:
        why = unwrap(group)
        feed.log.warning("%s: cannot change over yet: %s", feed.name, why)
    if newer.acknowledged.is_set():
        return newer
    await trio.sleep(RETRY_S)
    return None


class Session:
    """What one connection has asked for and been told."""

    def __init__(
        self, config: Settings, feed: Feed[Liquidation], intake: Intake, on_gap: OnGap
    ) -> None:
        self.acknowledged = trio.Event()
        self.noticed = trio.Event()
        """Set when OKX says that it will close this connection."""
        self.retired = False
        """Whether another connection has taken its place: then its end costs nothing."""
        self._config = config
        self._feed = feed
        self._intake = intake
        self._on_gap = on_gap
        self._since_ms = feed.ends_ms
        """Where the data ended before."""
        self._scope = trio.CancelScope()
        self._ended = trio.Event()
        self._upstream: Upstream | None = None
        self._heard_at = 0.0
        self._pings: list[int] = []
        """When those pings were sent since which nothing came, in wall time."""

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Follow until the connection ends. Started once it is acknowledged."""
        ends: list[UpstreamError] = []
        with self._scope:
            try:
                await self._follow(task_status)
            except* UpstreamError as group:
                ends.append(_first(group))
        self._ended.set()
        if ends and str(ends[0]).startswith("refused with HTTP 403"):
            raise Refused("OKX answers the handshake with HTTP 403")
        if ends and not self.retired:
            raise ends[0]

    async def leave(self) -> None:
        """End it, once all has come that OKX had under way to it."""
        assert self.retired
        assert self._upstream is not None
        with trio.move_on_after(LEAVE_S):
            await self._upstream.leave()
            await self._ended.wait()
        self._scope.cancel()

    async def _follow(self, task_status: trio.TaskStatus[None]) -> None:
        config = self._config
        async with (
            self._feed.websocket(
                config.url, silence_s=config.silence, pongs_count=False, delivers=False
            ) as upstream,
            trio.open_nursery() as nursery,
        ):
            self._upstream = upstream
            self._heard_at = trio.current_time()
            await upstream.send(codec.encode(SUBSCRIBE).decode())
            nursery.start_soon(self._expect_answer, upstream, task_status)
            nursery.start_soon(self._prove_life, upstream)
            async for text in upstream:
                self._receive(text)

    async def _expect_answer(self, upstream: Upstream, task_status: trio.TaskStatus[None]) -> None:
        with trio.move_on_after(ACK_TIMEOUT_S):
            await self.acknowledged.wait()
            task_status.started()
            return
        raise UpstreamSilent(
            f"subscribing was not answered within {ACK_TIMEOUT_S:g}s ({upstream.url})"
        )

    async def _prove_life(self, upstream: Upstream) -> None:
        """Ping whenever it was quiet for a while; UpstreamSilent when nothing comes back. OKX
        closes what is quiet for half a minute, and does not count pings of the codec.
        """
        every_s = self._config.ping_every
        while True:
            due = self._heard_at + every_s * (1 + len(self._pings))
            if trio.current_time() < due:
                await trio.sleep_until(due)
                continue
            if len(self._pings) >= UNANSWERED_MAX:
                raise UpstreamSilent(f"{UNANSWERED_MAX} pings without an answer ({upstream.url})")
            self._pings.append(self._feed.clock())
            try:
                await upstream.send("ping")
            except UpstreamError:
                return  # The reader tells of it.

    def _receive(self, text: str | bytes) -> None:
        """One message from OKX. What cannot be used is counted, never fatal."""
        asked_ms = self._pings[0] if self._pings else None
        self._heard_at = trio.current_time()
        self._pings.clear()
        if text in ("pong", b"pong"):
            if asked_ms is not None and self.acknowledged.is_set():
                # What happened a while before it heard our ping came before its pong.
                self._feed.delivering(asked_ms - LATE_MS)
            return
        try:
            found = codec.decode_object(text)
        except Unusable as error:
            self._feed.drop(error.reason, text)
            return
        if "event" in found:
            self._control(found, text)
        elif "arg" in found:
            self._intake.take(told(found, self._feed.clock()), text)
        else:
            self._feed.drop("unknown message", text)

    def _control(self, found: dict[str, Any], text: str | bytes) -> None:
        event, code, words = found["event"], found.get("code"), str(found.get("msg"))[:200]
        if event == "subscribe" and not self.acknowledged.is_set():
            if not self._feed.tally.delivering and self._since_ms is not None:
                self._on_gap(self._since_ms, self._feed.clock())
            self._feed.delivering()
            self.acknowledged.set()
        elif event == "notice" and code == NOTICE:
            self.noticed.set()
        elif event == "error" and code == NOT_HERE:
            raise Refused(f"OKX answers {code} {words}")
        elif event == "error":
            raise UpstreamError(f"OKX refused: {code} {words}")
        else:
            self._feed.drop("unknown message", text)


def _first(group: BaseExceptionGroup[UpstreamError]) -> UpstreamError:
    """What a connection ended of, where two tasks noticed at once."""
    error = group.exceptions[0]
    return _first(error) if isinstance(error, BaseExceptionGroup) else error
