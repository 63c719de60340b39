"""Keeps each component running on its own: one nursery, one cancel scope and one restart policy
per child.

Knows nothing of streams or sockets. What a child does is an async function; that it ends or raises
is all that counts here. The words for policies are systemd's, since the reader's other supervisor
is systemd.
"""

import inspect
import logging
import math
from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from decimal import InvalidOperation
from enum import Enum
from random import Random
from typing import Any, Literal

import trio
from attrs import define, field, frozen

from flowd.values.errors import BadRequest, NotSet, UpstreamError, UserError, unwrap
from flowd.values.installing import lacking

logger = logging.getLogger("flowd.supervisor")

Run = Callable[[], Awaitable[None]]

TASK = "component "
"""How the name of each child's task begins."""
REDIAL_S = 1.0
"""Within so long a child is started again that had borne fruit before its upstream ended it."""


class State(Enum):
    """Where a child is in its life."""

    STARTING = "starting"
    RUNNING = "running"
    BACKOFF = "backoff"
    FAILED = "failed"
    STOPPED = "stopped"


@frozen
class Restart:
    """When a child that ended is started again, and how soon.

    The first restart waits `delay_s`, each further one twice as long up to `delay_max_s`, plus up
    to a fifth of it by chance. A run of at least `healthy_s` clears the count. More than `limit`
    failures within `window_s` and the child is failed for good (no limit: it is tried for ever).

    That is for what is broken. A run that bore fruit until its upstream ended it clears the count
    too, and the next one begins within a second, though this happens once in `delay_s` at most:
    where each life is short, every other one waits.
    """

    policy: Literal["always", "on-failure", "never"] = "always"
    delay_s: float = 5.0
    delay_max_s: float = 60.0
    healthy_s: float = 60.0
    limit: int | None = None
    window_s: float = 600.0


@define(eq=False)
class Child:
    """One supervised component, as `/status` shows it."""

    name: str
    run: Run
    restart: Restart
    state: State = State.STARTING
    restarts: int = 0
    in_a_row: int = 0
    error: str | None = None
    retry_at: float | None = None
    """Trio time of the next start, while in backoff."""
    redialled_at: float = -math.inf
    """Trio time of the last start that came within a second."""
    fruitful: Callable[[], bool] = lambda: False
    """Asked once after each run whether it bore fruit. What that is, is the owner's business."""
    failures: deque[float] = field(factory=lambda: deque(maxlen=1001))
    scope: trio.CancelScope | None = None
    kicked: bool = False
    stopping: bool = False
    ended: trio.Event = field(factory=trio.Event)
    on_failure: Callable[[str], str] = lambda error: ""
    """Called when it failed, and it was no weather; what it knows more is told with the error."""

    @property
    def down(self) -> bool:
        """Whether it does not run, or is started anew."""
        anew = self.state is State.STARTING and self.restarts > 0
        return anew or self.kicked or self.state in (State.BACKOFF, State.FAILED, State.STOPPED)

    @property
    def why(self) -> str | None:
        """What it ended of; None where it was stopped."""
        return None if self.stopping else self.error or "ended"

    def figures(self) -> dict[str, Any]:
        """How it is, for `/status`."""
        retry_in_s = None
        if self.retry_at is not None and self.state is State.BACKOFF:
            retry_in_s = round(max(0.0, self.retry_at - trio.current_time()), 1)
        return {
            "state": self.state.value,
            "error": self.error,
            "restarts": self.restarts,
            "retry_in_s": retry_in_s,
        }


class Supervisor:
    """Runs children until they are told to stop. One that fails costs the others nothing."""

    def __init__(
        self, random: Random, on_change: Callable[[Child], None] = lambda child: None
    ) -> None:
        self.children: dict[str, Child] = {}
        self.stuck: list[str] = []
        """Who was told to end for good and did not."""
        self._over = False
        self._random = random
        self._on_change = on_change

    def add(self, name: str, run: Run, restart: Restart) -> Child:
        """Declare a child; it runs once `start` is called for it."""
        assert name not in self.children
        child = self.children[name] = Child(name, run, restart, stopping=self._over)
        return child

    def start(self, name: str, nursery: trio.Nursery) -> None:
        """Run a declared child in this nursery."""
        nursery.start_soon(self._keep, self.children[name], name=f"{TASK}{name}")

    def kick(self, name: str, reason: str = "reconnect asked for") -> None:
        """End a child's run, or its wait, and start it again at once. A failed child gets another
        life too.
        """
        child = self.children[name]
        child.kicked = True
        child.error = reason
        if child.scope is not None:
            child.scope.cancel()

    def start_again(self, name: str) -> None:
        """`kick`, for who may ask for anything: BadRequest when there is nothing to start."""
        child = self.children.get(name)
        if child is None:
            raise BadRequest(
                f"there is no component {name!r:.60}",
                parameter="component",
                value=name,
                allowed=list(self.children),
                code="UNKNOWN_COMPONENT",
                status=404,
            )
        if child.state is State.STOPPED:
            raise BadRequest(
                f"{name} has ended for good",
                parameter="component",
                value=name,
                allowed="a component that runs or is to run again; this one starts with the daemon",
                code="ENDED",
                status=409,
            )
        self.kick(name)

    def stop(self, name: str) -> None:
        """End a child for good."""
        child = self.children[name]
        child.stopping = True
        if child.scope is not None:
            child.scope.cancel()

    def stop_all(self) -> None:
        """End all children for good, in this very step, and those that are added later before they
        begin.
        """
        self._over = True
        for name in self.children:
            self.stop(name)

    def finish(self, name: str) -> None:
        """Let a child end by itself, and do not start it again."""
        child = self.children[name]
        child.stopping = True
        if child.state is not State.RUNNING and child.scope is not None:
            child.scope.cancel()

    async def stopped(self, name: str) -> None:
        """Wait until a child has ended for good."""
        await self.children[name].ended.wait()

    async def end(self, names: Iterable[str], within_s: float) -> None:
        """End children for good. Who has not ended after so long is named in the log and in
        `stuck`, and not waited for.
        """
        ending = [self.children[name] for name in names]
        for child in ending:
            self.stop(child.name)
        with trio.move_on_after(within_s):
            for child in ending:
                await child.ended.wait()
        for child in ending:
            if not child.ended.is_set():
                self.stuck.append(child.name)
                logger.error(
                    "%s: does not end: it catches Trio's Cancelled, or shields itself from it; "
                    "flowd stops without it",
                    child.name,
                )

    @property
    def degraded(self) -> bool:
        """Whether any child is failed for good."""
        return any(child.state is State.FAILED for child in self.children.values())

    async def _keep(self, child: Child) -> None:
        try:
            while not child.stopping:
                began = trio.current_time()
                error = await self._run_once(child)
                fruitful = child.fruitful()
                if child.stopping:
                    break
                if trio.current_time() - began >= child.restart.healthy_s:
                    child.in_a_row = 0
                if child.kicked:
                    child.kicked = False
                    child.restarts += 1
                    self._change(child, State.STARTING)
                    logger.info("%s: started again: %s", child.name, child.error)
                    continue
                if error is None and child.restart.policy != "always":
                    break
                if error is not None and child.restart.policy == "never":
                    await self._fail(child, f"{child.error}, and its restart policy is never")
                elif isinstance(error, NotSet):
                    # Nothing that is waited for would change it: it is looked up at the start.
                    await self._fail(child, f"{child.error}; set it and start flowd again")
                elif self._too_many(child, error):
                    limit, window_s = child.restart.limit, child.restart.window_s
                    await self._fail(child, f"more than {limit} failures within {window_s:g}s")
                else:
                    weather = error is None or isinstance(error, UpstreamError)
                    await self._back_off(child, error, fruitful=fruitful and weather)
        finally:
            self._change(child, State.STOPPED)
            child.ended.set()

    async def _run_once(self, child: Child) -> BaseException | None:
        """One life of a child. Answers what it died of, None if it just ended."""
        error: BaseException | None = None
        more = ""
        child.kicked = False  # One that came before the start has what it wants.
        with trio.CancelScope() as child.scope:
            self._change(child, State.RUNNING)
            try:
                running = child.run()
                if not inspect.isawaitable(running):
                    raise TypeError(f"its run is not async: it answered {running!r:.60}")
                await running
            except* NotSet as group:
                error = unwrap(group)  # Told once, when it is given up.
            except* UserError as group:
                error = unwrap(group)
                logger.error("%s: %s", child.name, error)
            except* UpstreamError as group:
                error = unwrap(group)
            except* (Exception, SystemExit) as group:
                error = unwrap(group)
                more = child.on_failure(_told(error))
                logger.error("%s: failed: %r%s", child.name, error, more, exc_info=error)
        child.scope = None
        if not child.kicked:
            child.error = None if error is None else f"{_told(error)}{more}"
        return error

    def _too_many(self, child: Child, error: BaseException | None) -> bool:
        now = trio.current_time()
        if error is not None:
            child.failures.append(now)
        while child.failures and child.failures[0] < now - child.restart.window_s:
            child.failures.popleft()
        return child.restart.limit is not None and len(child.failures) > child.restart.limit

    async def _back_off(self, child: Child, error: BaseException | None, *, fruitful: bool) -> None:
        restart, now = child.restart, trio.current_time()
        child.in_a_row = 1 if fruitful else child.in_a_row + 1
        child.restarts += 1
        delay_s = min(restart.delay_s * 2 ** min(child.in_a_row - 1, 30), restart.delay_max_s)
        delay_s *= 1 + self._random.random() / 5
        if fruitful and now - child.redialled_at >= restart.delay_s:
            child.redialled_at, child.in_a_row = now, 0
            delay_s = min(delay_s, REDIAL_S * (0.2 + 0.8 * self._random.random()))
        if isinstance(error, UpstreamError):
            delay_s = max(delay_s, error.retry_s)
        child.retry_at = now + delay_s
        why = child.error or "ended"
        if child.error is None:
            child.error = why
        self._change(child, State.BACKOFF)
        logger.warning(
            "%s: %s; again in %.1fs%s", child.name, why, delay_s, _in_a_row(child.in_a_row)
        )
        await self._wait(child, delay_s)
        child.retry_at = None
        if not child.stopping:
            self._change(child, State.STARTING)

    async def _fail(self, child: Child, why: str) -> None:
        self._change(child, State.FAILED)
        logger.error("%s: failed for good: %s; the others go on without it", child.name, why)
        await self._wait(child, float("inf"))
        child.failures.clear()
        if not child.stopping:
            child.restarts += 1

    async def _wait(self, child: Child, seconds: float) -> None:
        """Wait, unless the child is kicked or stopped meanwhile."""
        with trio.CancelScope() as child.scope:
            if not child.kicked and not child.stopping:
                await trio.sleep(seconds)
        child.scope = None
        if child.kicked:
            child.kicked = False
            logger.info("%s: started again: %s", child.name, child.error)

    def _change(self, child: Child, state: State) -> None:
        if child.state is not state:
            child.state = state
            logger.debug("%s: %s", child.name, state.value)
            self._on_change(child)


def _told(error: BaseException) -> str:
    """An error in words that say what to do, where its own say nothing to who did not write it."""
    words = str(error) or repr(error)
    if isinstance(error, SystemExit):
        return f"it called exit(): {error!r}"
    if isinstance(error, InvalidOperation):
        return f"what should be a number is none: {error!r}"
    if isinstance(error, RuntimeError) and "no running event loop" in words:
        return f"{words}: it uses an asyncio library, and flowd runs on Trio; find one for Trio"
    if isinstance(error, ModuleNotFoundError) and error.name:
        return f"{words}; {lacking(error.name)}"
    return words


def _in_a_row(count: int) -> str:
    if count < 2:
        return ""
    ending = {1: "st", 2: "nd", 3: "rd"}.get(
        count % 10 if count % 100 not in (11, 12, 13) else 0, "th"
    )
    return f" ({count}{ending} in a row)"
