"""A connection that is renewed before upstream ends it: for a while two live side by side, and what
the old one has still to bring is not forgotten over what the new one says already.
"""

import logging
from collections.abc import Awaitable, Callable
from contextvars import ContextVar

import trio

from flowd.upstream.connection import Upstream
from flowd.upstream.reach import Reach
from flowd.values.clock import Clock
from flowd.values.errors import UpstreamError, unwrap

LEAVE_S = 30.0
"""How long after its goodbye a connection that was renewed may take to bring what was under way."""
LOST = "the connection that was renewed ended before all of it had come"

Run = Callable[[Callable[[], None]], Awaitable[None]]
"""Connects and follows; calls what it is given once data flows."""

here: ContextVar["Session | None"] = ContextVar("session", default=None)
"""Whose task this is."""


class Session:
    """One of the overlapping lives of a renewed connection."""

    def __init__(self, run: Run, before: "Session | None" = None) -> None:
        self.scope = trio.CancelScope()
        self.spare = before is not None
        """Whether there is another one: then the end of this one costs nothing."""
        self.ended = trio.Event()
        self.error: BaseException | None = None
        """What it ended of."""
        self.upstreams: list[Upstream] = []
        """What it has dialled."""
        self.before = before
        """Whose successor it is, as long as that one may still bring what this one came too late
        for.
        """
        self.successor: Session | None = None
        self.began_ms = 0
        """What upstream said after this time has come to this one too."""
        self.upto_ms = 0
        """By upstream's clock, what it has brought reaches up to here."""
        self.done = False
        """Whatever it has not brought, its successor has."""
        self._run = run

    async def run(self, *, task_status: trio.TaskStatus[None]) -> None:
        """Until upstream ends it; an UpstreamError, unless there is another one."""
        ready = False

        def on_ready() -> None:
            nonlocal ready
            if not ready:
                ready = True
                task_status.started()

        here.set(self)
        with self.scope:
            try:
                await self._run(on_ready)
                # Else the renewing would wait for hours beside a connection that is gone.
                raise UpstreamError("ended")
            except* UpstreamError as group:
                self.error = unwrap(group)
                self.ended.set()
                if not (ready and self.spare):
                    raise

    async def leave(self) -> bool:
        """End it, once all has come that upstream had under way to it: after the goodbye nothing is
        sent to it that its successor does not get. Whether it is sure that all came.
        """
        if self.ended.is_set():
            return False
        self.spare = True
        with trio.move_on_after(LEAVE_S if self.upstreams else 0):
            for upstream in self.upstreams:
                await upstream.leave()
            await self.ended.wait()
        self.scope.cancel()
        return all(upstream.answered for upstream in self.upstreams)

    @property
    def counts(self) -> bool:
        """Whether what it brings tells how far the data reaches: not while one before it may still
        bring what happened earlier.
        """
        while self.before is not None and self.before.done:
            self.before = self.before.before
        return self.before is None


class Renewal:
    """The sessions of one source, and how far their data reaches together."""

    def __init__(
        self,
        name: str,
        log: logging.Logger,
        clock: Clock,
        reach: Reach,
        on_lost: Callable[[str, int], None],
    ) -> None:
        self._name = name
        self._log = log
        self._clock = clock
        self._reach = reach
        self._on_lost = on_lost

    def told(self, upto_ms: int, now_ms: int) -> None:
        """By upstream's clock, all that happened until then has been told: in this task, so by its
        session, if it has one.
        """
        session = here.get()
        if session is None:
            self._reach.upto(upto_ms, now_ms)
        else:
            session.upto_ms = max(session.upto_ms, upto_ms)
            if session.counts:
                self._advance(session, now_ms)

    def _advance(self, session: Session | None, now_ms: int) -> None:
        while session is not None and session.counts:
            if session.upto_ms:
                self._reach.upto(session.upto_ms, now_ms)
            newer = session.successor
            if newer is not None and newer.began_ms and session.upto_ms >= newer.began_ms:
                session.done = True
            session = newer

    async def run(self, run: Run, every_s: float, overlap_s: float, retry_s: float) -> None:
        """One session after the other, for ever; see `Feed.renew`."""
        async with trio.open_nursery() as nursery:
            current = Session(run)
            await nursery.start(current.run)
            while True:
                await trio.sleep(every_s)
                newer = await self._successor(nursery, run, current, overlap_s, retry_s)
                self._log.info("%s: connection renewed", self._name)
                nursery.start_soon(self._leave, current)
                current = newer

    async def _leave(self, old: Session) -> None:
        all_came = await old.leave()
        if not old.done:
            ends_ms = self._reach.ends_ms(None)
            if not all_came and ends_ms is not None:
                self._on_lost(LOST, ends_ms)
            old.done = True
            self._advance(old.successor, self._clock())

    async def _successor(
        self, nursery: trio.Nursery, run: Run, current: Session, overlap_s: float, retry_s: float
    ) -> Session:
        """A session that has proved itself beside the current one, which is then needed no more."""
        while True:
            newer = current.successor = Session(run, current)
            why: BaseException | None = None
            try:
                with trio.fail_after(retry_s):
                    await nursery.start(newer.run)
            except* trio.TooSlowError:
                why = UpstreamError(f"not ready within {retry_s:g}s")
            except* UpstreamError as group:
                why = unwrap(group)
            if why is None:
                newer.began_ms = self._clock() - min(self._reach.usual_ms, 0)
                current.spare = True
                with trio.move_on_after(overlap_s):
                    await newer.ended.wait()
                current.spare = newer.spare = False
                why = newer.error
                if why is None:
                    return newer
                if current.error is not None:
                    raise why
            current.successor, current.done = None, False
            self._log.warning("%s: cannot renew yet: %s; again in %gs", self._name, why, retry_s)
            await trio.sleep(retry_s)
