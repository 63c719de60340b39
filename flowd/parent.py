"""The parent of several processes that are one daemon: starts them in order, starts again who dies,
says which there are, and ends them in order.
"""

import contextlib
import logging
import shutil
import signal
import socket
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from functools import partial
from typing import Any

import trio
from attrs import evolve, frozen

from flowd.operate import notify
from flowd.operate.child import Child, Member, Server, how
from flowd.operate.siblings import CONTROL, Siblings
from flowd.setup.shares import INGEST, SERVER, Share, followed, names
from flowd.values import codec
from flowd.values.clock import Clock, system_clock

logger = logging.getLogger("flowd")

CANNOT = 2
"""How a process ends that cannot start, having said why."""
AGAIN_S, AGAIN_MAX_S = 0.25, 10.0
"""How soon who died is started again: each time in a row twice as late."""
WELL_S = 60.0
"""Who ran for so long begins that row anew."""
LOOK_S = 0.5
EDGES_S, INGEST_S, SERVER_S = 7.0, 12.0, 2.0
"""How long they may take to end."""
END_S = EDGES_S + INGEST_S + SERVER_S + 1.0
"""All of them, one after the other."""
TELL_S = 1.0


class CannotStart(Exception):
    """A process cannot start, and has said why."""


@frozen
class Family:
    """What is started: `share` is what all are told alike, `command` runs one of them, with its
    name behind it, and `server` the server between them, where none is there already.
    """

    share: Share
    command: Sequence[str]
    server: Sequence[str] | None
    environment: Mapping[str, str]


class Parent:
    """Runs a family until it is told to stop."""

    def __init__(self, family: Family, clock: Clock = system_clock) -> None:
        self._family = family
        self._streams: list[str] = []
        self._known = trio.Event()
        """Set once that says which streams there are."""
        self._stop = trio.Event()
        self._failed: str | None = None
        self._began, self._began_ms = 0.0, clock()
        share = family.share
        self.servers: list[Server] = []
        """The one between them, if it is ours."""
        if family.server is not None:
            at = share.socket(SERVER)
            self.servers.append(Server(SERVER, share.folder, family.server, at))
        self.ingest = self._member(INGEST)
        self.edges = [self._member(name) for name in names(share.edges)]
        self.children: list[Child] = [*self.servers, self.ingest, *self.edges]

    def _member(self, name: str) -> Member:
        share = self._family.share

        async def says() -> AsyncIterator[bytes]:
            # Twice: by the first it knows what to load.
            yield evolve(share, name=name).told()
            if name != INGEST:
                await self._known.wait()
            yield evolve(share, name=name, streams=self._streams).told()

        return Member(name, share.folder, [*self._family.command, name], says)

    def stop(self) -> None:
        """Ask for an orderly end; `run` returns when it is done."""
        self._stop.set()

    async def run(self, ready: Callable[[], None]) -> bool:
        """Start all, serve until `stop`, end all in order: edges, the ingest, the server. Whether
        the ingest saved its state then. CannotStart when one of them cannot.
        """
        self._began = trio.current_time()
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(notify.beat)
                await nursery.start(self._control)
                nursery.start_soon(self._look)
                async with trio.open_nursery() as lives:
                    await self._start(lives, ready)
                    await self._end()
                nursery.cancel_scope.cancel()
        finally:
            for child in self.children:
                child.signal(signal.SIGKILL)
            shutil.rmtree(self._family.share.folder, ignore_errors=True)
        if self._failed is not None:
            raise CannotStart(self._failed)
        return self.ingest.code in (0, None)

    # -- the way up, and down

    async def _start(self, lives: trio.Nursery, ready: Callable[[], None]) -> None:
        """Start all, and wait until they are to end. Edges load what they need meanwhile; what they
        are to be they hear when the ingest serves.
        """
        async with trio.open_nursery() as starting:
            starting.start_soon(self._until_stop, starting.cancel_scope)
            for children in (self.servers, [self.ingest, *self.edges]):
                for child in children:
                    lives.start_soon(self._live, child)
                for child in children:
                    await child.ready.wait()
            ready()
            notify.notify(f"READY=1\nSTATUS=serving with edges = {len(self.edges)}")

    async def _until_stop(self, scope: trio.CancelScope) -> None:
        await self._stop.wait()
        scope.cancel()

    async def _end(self) -> None:
        # It may take longer than systemd waits for the end of a single daemon.
        notify.notify(f"STOPPING=1\nEXTEND_TIMEOUT_USEC={round(END_S * 1e6)}")
        logger.info("stopping")
        for child in self.children:
            child.stopping = True
        for children, within_s in (
            (self.edges, EDGES_S),
            ([self.ingest], INGEST_S),
            (self.servers, SERVER_S),
        ):
            running = [child for child in children if child.runs]
            for child in running:
                await child.tell_to_end()
            with trio.move_on_after(within_s):
                for child in running:
                    await child.ended.wait()
            for child in running:
                if child.runs:
                    logger.error("%s does not end: it is killed", child.name)
                    child.signal(signal.SIGKILL)

    # -- each of them

    async def _live(self, child: Child) -> None:
        """All lives of a process, until it is to end."""
        family, wait_s = self._family, AGAIN_S
        while not child.stopping:
            try:
                code = await child.live(family.environment, family.share.inherit, self._is_ready)
                why = how(code)
            except OSError as error:
                code, why = 1, f"cannot be started: {error.strerror or error}"
            if child.stopping:
                break
            if code == CANNOT and not child.ready.is_set():
                self._failed = self._failed or child.name
                self._stop.set()
                break
            if trio.current_time() - child.began > WELL_S:
                wait_s = AGAIN_S
            child.state, child.error = "backoff", why
            logger.error("%s %s; again in %gs", child.name, child.error, wait_s)
            with trio.move_on_after(wait_s):
                await self._stop.wait()
            wait_s = min(2 * wait_s, AGAIN_MAX_S)
            child.restarts += 1
        child.state = "ended"
        child.ended.set()

    async def _is_ready(self, child: Child) -> None:
        if child is self.ingest:
            await self._learn()
        child.state, child.error = "running", None
        if child.restarts:
            logger.info("%s is back", child.name)
        child.ready.set()

    async def _learn(self) -> None:
        """Ask the ingest which streams it has, for those that follow it: who follows others than
        there are is started again.
        """
        ask = partial(Siblings("parent", self._family.share.folder).ask_one, INGEST, "/streams")
        while (told := await ask()) is None or told[0] != 200:  # noqa: ASYNC110  # it cannot wake us
            await trio.sleep(LOOK_S)
        before = self._streams
        self._streams = followed([one["name"] for one in codec.decode(told[1])["streams"]])
        self._known.set()
        if before not in ([], self._streams):
            for edge in self.edges:
                edge.signal(signal.SIGTERM)

    async def _look(self) -> None:
        """End who is stuck: it is started again."""
        while True:
            await trio.sleep(LOOK_S)
            for child in self.children:
                child.look()

    # -- what is said of them

    async def _control(
        self, *, task_status: trio.TaskStatus[Any] = trio.TASK_STATUS_IGNORED
    ) -> None:
        """Say to whoever connects which processes there are."""
        listening = trio.socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        await listening.bind(str(self._family.share.folder / CONTROL))
        listening.listen()
        await trio.serve_listeners(
            self._tell, [trio.SocketListener(listening)], task_status=task_status
        )

    async def _tell(self, stream: trio.SocketStream) -> None:
        now = trio.current_time()
        told = {
            "started_ms": self._began_ms,
            "uptime_s": round(now - self._began, 1),
            "processes": [child.row(now) for child in self.children],
        }
        # Who asked and has gone, or does not read, is not waited for.
        with trio.move_on_after(TELL_S), contextlib.suppress(trio.BrokenResourceError):
            await stream.send_all(codec.encode(told))
