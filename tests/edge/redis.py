"""A real Redis of a test's own, on a Unix socket and a port, that fails as the test likes."""

import os
import shutil
import signal
import socket
import subprocess
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import trio

from tests.edge.peers import WAIT_S
from tests.edge.process import free_port, until
from tests.needed import lacking


def program() -> str:
    """Its name; the test is skipped where there is none."""
    found = shutil.which("redis-server") or shutil.which("valkey-server")
    if found is None:
        lacking("there is no redis-server here; `apt-get install redis-server` brings it")
    return found


class RedisServer:
    """One folder and one port; started and ended as often as the test likes. It saves each write
    (`appendfsync always`), unless it is told otherwise.
    """

    def __init__(
        self, folder: Path, *options: str, host: str = "127.0.0.1", within: Sequence[str] = ()
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.port = free_port()
        self.socket = folder / "redis.sock"
        self.host = host
        self.within = list(within)
        """What comes before its command, and runs it elsewhere."""
        self.url = f"redis://{host}:{self.port}/0"
        self.options = list(options)
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> "RedisServer":
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    async def start(self) -> "RedisServer":
        """Start, and wait until it answers."""
        line = [*self.within, program(), "--port", str(self.port), "--bind", self.host]
        line += ["--save", "", "--protected-mode", "no"]
        line += ["--dir", str(self.folder), "--unixsocket", str(self.socket)]
        line += ["--appendonly", "yes", "--appendfsync", "always", "--loglevel", "warning"]
        line += self.options
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(  # noqa: ASYNC220
                line, stdout=log, stderr=log, process_group=0
            )
        await until(self._alive, lambda answer: answer.startswith(("+PONG", "-NOAUTH")))
        return self

    async def _alive(self) -> str:
        assert self._process is not None
        assert self._process.poll() is None, (self.folder / "log").read_text()
        return await trio.to_thread.run_sync(partial(self.answers, "PING"))

    def answers(self, *command: str) -> str:
        """What it answers to a command, "" when it does not."""
        with suppress(OSError), socket.create_connection((self.host, self.port), 5) as found:
            found.sendall(wire(command))
            return found.recv(65536).decode()
        return ""

    async def clients(self) -> str:
        """What it says of its clients."""
        return await trio.to_thread.run_sync(partial(self.answers, "INFO", "clients"))

    @asynccontextmanager
    async def client(self) -> AsyncIterator[Any]:
        """Somebody else who asks it."""
        import coredis

        async with coredis.Redis(self.host, self.port) as found:
            yield found

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def kill(self) -> None:
        """As a power failure ends it, if it runs."""
        if self._process is not None and self._process.poll() is None:
            os.kill(self.pid, signal.SIGCONT)
            self._process.kill()
            self._process.wait(WAIT_S)

    def pause(self) -> None:
        """It hears, and says nothing."""
        os.kill(self.pid, signal.SIGSTOP)

    def wake(self) -> None:
        """It does all that it was asked meanwhile."""
        os.kill(self.pid, signal.SIGCONT)

    def forget_all(self) -> None:
        """Take its data away while it does not run."""
        for found in self.folder.glob("appendonlydir/*"):
            found.unlink()


def wire(command: Sequence[str]) -> bytes:
    parts = [part.encode() for part in command]
    return b"*%d\r\n" % len(parts) + b"".join(b"$%d\r\n%s\r\n" % (len(p), p) for p in parts)
