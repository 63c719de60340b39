"""Starting, commanding and ending the processes of a run, each on its own core, each by its pid."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

from attrs import define

from . import machine

ROOT = Path(__file__).resolve().parent.parent
START_S = 20.0
STOP_S = 20.0


class BenchError(Exception):
    """A measure could not be taken; the text says why, and the other measures go on."""


def alone(module: str, *arguments: str, timeout_s: float) -> dict[str, Any]:
    """What a module's `--child` prints last, a line of JSON: a measure in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-m", module, "--child", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
    )
    if done.returncode:
        raise BenchError(f"{module} failed: {done.stderr[-2000:]}")
    sys.stderr.write(done.stderr)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


@contextlib.contextmanager
def pinned(core: int | Collection[int]) -> Iterator[None]:
    """Children started inside inherit the core, or cores, with every thread they will ever have."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core} if isinstance(core, int) else core)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


@define
class Helper:
    """A process of this package that is commanded by lines of JSON: the feeder or the clients."""

    module: str
    process: subprocess.Popen[str]

    @classmethod
    @contextlib.contextmanager
    def start(
        cls, module: str, core: int | Collection[int]
    ) -> Iterator["tuple[Helper, dict[str, Any]]"]:
        """Yields the helper and the first thing it said."""
        with cls.run(module, core) as helper:
            yield helper, helper.answer()

    @classmethod
    @contextlib.contextmanager
    def run(cls, module: str, core: int | Collection[int], *arguments: str) -> Iterator["Helper"]:
        """Yields the helper, which has said nothing yet."""
        with pinned(core):
            process = subprocess.Popen(
                [sys.executable, "-m", module, *arguments],
                cwd=ROOT,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
        try:
            yield cls(module, process)
        finally:
            end(process, grace_s=2.0)

    @property
    def pid(self) -> int:
        """The helper's process."""
        return self.process.pid

    def tell(self, **command: Any) -> None:
        """Send a command; `answer` brings what it says."""
        assert self.process.stdin
        try:
            self.process.stdin.write(json.dumps(command) + "\n")
            self.process.stdin.flush()
        except OSError as error:
            raise BenchError(f"{self.module} is gone") from error

    def answer(self) -> dict[str, Any]:
        """The helper's next line; BenchError when it reports an error or is gone."""
        assert self.process.stdout
        line = self.process.stdout.readline()
        if not line:
            raise BenchError(f"{self.module} ended without an answer")
        value: dict[str, Any] = json.loads(line)
        if "error" in value:
            raise BenchError(value["error"])
        return value

    def ask(self, **command: Any) -> dict[str, Any]:
        """A command and its answer."""
        self.tell(**command)
        return self.answer()


@define
class Server:
    """A process under test, alone on its core."""

    name: str
    process: subprocess.Popen[bytes]
    port: int
    log: Path
    of_workers: bool = False

    @property
    def pids(self) -> list[int]:
        """The processes whose cost counts: of nginx the workers, of everybody else the one."""
        pid = self.process.pid
        return machine.children_of(pid) if self.of_workers else [pid]

    def cpu(self) -> machine.Cpu:
        """CPU time used so far."""
        return machine.Cpu.of(self.pids)

    def rss(self) -> int:
        """Resident memory, in bytes."""
        return machine.rss_bytes(self.pids)

    def check(self) -> None:
        """BenchError, with the end of its log, when the server has ended."""
        if self.process.poll() is not None:
            said = "\n  ".join(machine.lines_of(self.log, 8))
            raise BenchError(f"{self.name} ended with {self.process.returncode}:\n  {said}")


@contextlib.contextmanager
def serving(running: Server) -> Iterator[Server]:
    """Wait until a server that was launched accepts connections; end it afterwards."""
    try:
        wait_for_port(running)
        yield running
    finally:
        end(running.process, grace_s=STOP_S)


def launch(
    name: str,
    command: list[str],
    port: int,
    core: int | Collection[int],
    log: Path,
    *,
    of_workers: bool = False,
    cwd: Path = ROOT,
) -> Server:
    """Start a server on its core, without waiting for anything."""
    # What is installed has its bytecode. Where Python is told to write none, as here and there in
    # development, a start would compile all that it imports of a checkout, each time.
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    with pinned(core), log.open("ab") as out:
        process = subprocess.Popen(
            command,
            cwd=cwd,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
        )
    return Server(name, process, port, log, of_workers)


def wait_for_port(running: Server) -> None:
    """Wait until the server accepts connections."""
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline:
        running.check()
        with contextlib.suppress(OSError):
            socket.create_connection(("127.0.0.1", running.port), timeout=1.0).close()
            return
        time.sleep(0.02)
    raise BenchError(f"{running.name} did not listen on {running.port} within {START_S:.0f} s")


def end(process: "subprocess.Popen[Any]", grace_s: float) -> float:
    """SIGTERM, then SIGKILL after the grace; returns how long it took."""
    started = time.monotonic()
    if process.stdin:
        with contextlib.suppress(OSError):
            process.stdin.close()
    elif process.poll() is None:
        process.send_signal(signal.SIGTERM)
    try:
        process.wait(grace_s)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait(5.0)
    if process.stdout:
        process.stdout.close()
    return time.monotonic() - started
