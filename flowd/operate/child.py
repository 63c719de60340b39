"""One process of several, as the parent has it: started, told what it is to be, and heard.

A flowd says READY=1 and WATCHDOG=1 to its parent as it would to systemd. It has a pipe from it as
its standard input, by whose end it knows that the parent is gone. A server, which knows nothing of
all that, has somebody beside it who ends it then, and is ready when it listens.
"""

import contextlib
import logging
import os
import signal
import socket
import subprocess
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import trio
from attrs import define, field

from flowd.operate import notify

logger = logging.getLogger("flowd")

SILENT_S = 30.0
"""Who says nothing for so long is stuck."""
ABORT_S = 3.0
"""For so long it may write down where."""
SERVER_UP_S = 15.0
LINE_MAX = 2000
_GUARD = 'exec 3<&0; { cat <&3 >/dev/null; kill $$; } & exec "$@" 3<&- </dev/null'
GUARDED = ("/bin/sh", "-c", _GUARD, "flowd")
"""A shell that becomes a server, and has beside it who ends that with the pipe."""

Ready = Callable[["Child"], Awaitable[None]]
"""Is told that a process is ready."""


@define(eq=False)
class Child(ABC):
    """One process, which `command` runs. `folder` is where all have their sockets."""

    name: str
    folder: Path
    command: Sequence[str]
    state: str = field(default="waiting", init=False)
    error: str | None = field(default=None, init=False)
    restarts: int = field(default=0, init=False)
    stopping: bool = field(default=False, init=False)
    ready: trio.Event = field(factory=trio.Event, init=False)
    ended: trio.Event = field(factory=trio.Event, init=False)
    began: float = field(default=0.0, init=False)
    _process: trio.Process | None = field(default=None, init=False)

    @abstractmethod
    async def tell_to_end(self) -> None:
        """Have it end in order."""

    @abstractmethod
    def look(self) -> None:
        """End it if it is stuck."""

    @property
    def code(self) -> int | None:
        """How its last life ended, None while it runs or has not begun."""
        return None if self._process is None else self._process.returncode

    @property
    def runs(self) -> bool:
        """Whether there is a process."""
        return self._process is not None and self._process.returncode is None

    def row(self, now: float) -> dict[str, Any]:
        """What is said of it to who asks."""
        return {
            "name": self.name,
            "pid": self._process.pid if self._process is not None and self.runs else None,
            "state": self.state,
            "error": self.error,
            "restarts": self.restarts,
            "uptime_s": round(now - self.began, 1) if self.runs else None,
        }

    def signal(self, number: int) -> None:
        """Send a signal, if it runs."""
        if self._process is not None:
            self._process.send_signal(number)

    async def live(
        self, environment: Mapping[str, str], inherit: Sequence[int], on_ready: Ready
    ) -> int:
        """One life: its exit code, that of a signal negative. OSError when it cannot be started."""
        self.state, self.began = "starting", trio.current_time()
        return await self._live(environment, inherit, on_ready)

    @abstractmethod
    async def _live(
        self, environment: Mapping[str, str], inherit: Sequence[int], on_ready: Ready
    ) -> int:
        """The life of its kind."""

    async def _run(
        self,
        command: Sequence[str],
        environment: Mapping[str, str],
        inherit: Sequence[int],
        attend: Callable[[trio.Process], Awaitable[None]],
        output: int | None = None,
    ) -> int:
        """Run a process to its end, and `attend` to it meanwhile; its exit code."""
        # A group of its own: Ctrl-C is for the parent, which ends them in order.
        process = self._process = await trio.lowlevel.open_process(
            command,
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=None if output is None else subprocess.STDOUT,
            pass_fds=inherit,
            env=environment,
            process_group=0,
        )
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(attend, process)
                code = await process.wait()
                nursery.cancel_scope.cancel()
        finally:
            with trio.CancelScope(shield=True):
                await self._close_pipe()
            # Who is beside a server: the group has its number for as long as somebody is there.
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)
        return code

    async def _close_pipe(self) -> None:
        if self._process is not None and self._process.stdin is not None:
            await self._process.stdin.aclose()


@define(eq=False)
class Member(Child):
    """A process that is a flowd. It `says` what that is told, as it comes to be known."""

    says: Callable[[], AsyncIterator[bytes]]
    _heard: float = field(default=0.0, init=False)

    async def _live(
        self, environment: Mapping[str, str], inherit: Sequence[int], on_ready: Ready
    ) -> int:
        with self._ear() as ear:
            told = {
                **environment,
                "NOTIFY_SOCKET": str(self._ear_at),
                "WATCHDOG_USEC": str(round(SILENT_S * 1e6)),
            }
            attend = partial(self._attend, ear, on_ready)
            return await self._run(self.command, told, inherit, attend)

    async def tell_to_end(self) -> None:
        """Have it end in order."""
        self.signal(signal.SIGTERM)

    def look(self) -> None:
        """End it if it has been silent for too long: first so that it says where it is."""
        silent_s = trio.current_time() - self._heard
        if self.state == "running" and silent_s > SILENT_S:
            logger.error("%s has said nothing for %.0fs: it is ended", self.name, silent_s)
            self.state = "stuck"
            self.signal(signal.SIGABRT)
        elif self.state == "stuck" and silent_s > SILENT_S + ABORT_S:
            self.signal(signal.SIGKILL)

    @property
    def _ear_at(self) -> Path:
        return self.folder / f"{self.name}.notify"

    def _ear(self) -> trio.socket.SocketType:
        """The socket at which it says how it is."""
        self._ear_at.unlink(missing_ok=True)
        ear = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        ear.bind(str(self._ear_at))
        ear.setblocking(False)
        return trio.socket.from_stdlib_socket(ear)

    async def _attend(
        self, ear: trio.socket.SocketType, on_ready: Ready, process: trio.Process
    ) -> None:
        self._heard = trio.current_time()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._hear, ear, on_ready)
            nursery.start_soon(self._say, process)

    async def _hear(self, ear: trio.socket.SocketType, on_ready: Ready) -> None:
        while True:
            said = (await ear.recv(4096)).decode(errors="replace").splitlines()
            self._heard = trio.current_time()
            if "READY=1" in said:
                await on_ready(self)
            elif "STOPPING=1" in said:
                self.state = "stopping"
            for line in said:
                if line.startswith("EXTEND_TIMEOUT_USEC="):
                    notify.notify(line)

    async def _say(self, process: trio.Process) -> None:
        """Say what it is to be; the pipe stays open for as long as there is a parent."""
        assert process.stdin is not None
        # Who has ended before it heard all says why by itself.
        with contextlib.suppress(trio.BrokenResourceError):
            async for line in self.says():
                await process.stdin.send_all(line)


@define(eq=False)
class Server(Child):
    """A process that is told nothing, and `listens` at a path."""

    listens: Path

    async def _live(
        self, environment: Mapping[str, str], inherit: Sequence[int], on_ready: Ready
    ) -> int:
        attend = partial(self._attend, on_ready)
        command = [*GUARDED, *self.command]
        return await self._run(command, environment, inherit, attend, subprocess.PIPE)

    async def tell_to_end(self) -> None:
        """Have it ended by who is beside it."""
        await self._close_pipe()

    def look(self) -> None:
        """It says nothing of itself: whether it is stuck is not known."""

    async def _attend(self, on_ready: Ready, process: trio.Process) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._relay, process)
            nursery.start_soon(self._wait_for_it, on_ready)

    async def _relay(self, process: trio.Process) -> None:
        """What a server says goes into our log."""
        assert process.stdout is not None
        rest = b""
        async for data in process.stdout:
            *lines, rest = (rest + data).split(b"\n")
            for line in lines:
                logger.info("%s: %s", self.name, line.decode(errors="replace")[:LINE_MAX])
            rest = rest[-LINE_MAX:]

    async def _wait_for_it(self, on_ready: Ready) -> None:
        """A server is ready when it listens. One that does not is ended."""
        with trio.move_on_after(SERVER_UP_S):
            while not await _listens(self.listens):  # noqa: ASYNC110  # it cannot wake us
                await trio.sleep(0.02)
            await on_ready(self)
            return
        logger.error("%s does not listen after %gs: it is ended", self.name, SERVER_UP_S)
        self.signal(signal.SIGKILL)


async def _listens(path: Path) -> bool:
    try:
        await (await trio.open_unix_socket(str(path))).aclose()
    except OSError:
        return False
    return True


def how(code: int) -> str:
    """How a process ended, in words."""
    if code < 0:
        return f"was ended by {signal.Signals(-code).name}"
    return f"ended with {code}"
