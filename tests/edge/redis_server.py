"""A real Redis server of a test's own: on a free port of loopback, stopped by its process id."""

import os
import shutil
import signal
import socket
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

import pytest
import trio

WAIT_S = 20.0


def needed() -> str:
    """Where the server is; the test is skipped where it is not, and fails where CI=true."""
    found = shutil.which("redis-server")
    if found is None:
        why = "redis-server is not installed: apt-get install redis-server"
        if os.environ.get("CI") == "true":
            pytest.fail(why)
        pytest.skip(why)
    return found


class RedisServer:
    """One server and its folder; `start` as often as the test likes, with what it saved there."""

    def __init__(self, folder: Path, *options: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._options = options
        self._program = needed()
        self._process: subprocess.Popen[bytes] | None = None
        self.port = free_port()

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def __enter__(self) -> "RedisServer":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.kill()

    async def start(self) -> "RedisServer":
        """Start it, and wait until it answers."""
        assert self._process is None
        command = [self._program, "--port", str(self.port), "--bind", "127.0.0.1"]
        command += ["--dir", str(self._folder), "--save", "", "--appendonly", "no", *self._options]
        self._spawn(command)
        with trio.fail_after(WAIT_S):
            while True:
                try:
                    stream = await trio.open_tcp_stream("127.0.0.1", self.port)
                    break
                except OSError:
                    await trio.sleep(0.01)
        await stream.aclose()
        return self

    def _spawn(self, command: list[str]) -> None:
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, process_group=0
            )

    def kill(self) -> None:
        """SIGKILL: what was not written to disk is gone."""
        process, self._process = self._process, None
        if process is not None and process.poll() is None:
            process.kill()
            process.wait(WAIT_S)

    def pause(self) -> None:
        """It does nothing until `resume`."""
        assert self._process is not None
        os.kill(self._process.pid, signal.SIGSTOP)

    def resume(self) -> None:
        assert self._process is not None
        os.kill(self._process.pid, signal.SIGCONT)

    @asynccontextmanager
    async def client(self) -> AsyncIterator[Any]:
        """Somebody else who asks it."""
        import coredis

        async with coredis.Redis("127.0.0.1", self.port) as found:
            yield found


def free_port() -> int:
    """One on which nobody listens at the moment."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port
