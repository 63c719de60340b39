"""The real `flowd` as a child process: started, waited for, asked, stopped and killed by its id."""

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any

import trio

from tests.edge.peers import GONE, WAIT_S, Answer, fetch

START_S = 120.0
STOP_S = 10.0
"""flowd promises to be gone within so long after SIGTERM, whatever its clients do."""
COMMAND = (sys.executable, "-m", "flowd.cli")
SINKS = ("http", "sse", "websocket")


def free_port() -> int:
    """One of loopback where nobody listens at the moment."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port


class Raw(str):
    """A piece of TOML that is written as it stands."""

    __slots__ = ()


ADMIN_TOKEN = Raw('{ env = "EDGE_ADMIN_TOKEN" }')
ADMIN = {"EDGE_ADMIN_TOKEN": "correct horse battery staple"}


def toml(value: object) -> str:
    """A value as TOML writes it."""
    return value if isinstance(value, Raw) else json.dumps(value)


class Flowd:
    """One configuration and its state file; `start` and `stop` as often as the test likes.

    The source `orders` follows the exchange at `url`; without one, all sources are in `extra`.
    """

    def __init__(
        self,
        folder: Path,
        url: str | None,
        *,
        settings: Mapping[str, object] | None = None,
        source: Mapping[str, object] | None = None,
        extra: str = "",
        env: Mapping[str, str] | None = None,
        arguments: Sequence[str] = (),
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.state = folder / "flowd.db"
        self.config = folder / "flowd.toml"
        self.log_file = folder / "log"
        self.process: subprocess.Popen[bytes] | None = None
        self.port = 0
        self.env = dict(env or {})
        self.arguments = list(arguments)
        self.settings: dict[str, object] = {
            "listen": "127.0.0.1:0",
            "state": str(self.state),
            "save_every": "100ms",
            **(settings or {}),
        }
        self.source: dict[str, object] = {
            "kind": "binance-force-order",
            "symbols": ["BTCUSDT", "ETHUSDT"],
            "url": url,
            "restart_delay": "200ms",
            "restart_delay_max": "200ms",
            **(source or {}),
        }
        self.extra = extra
        self.write()

    def write(self) -> None:
        """Write the configuration as it is now."""
        tables = {"flowd": self.settings}
        if self.source["url"] is not None:
            tables["sources.orders"] = self.source
        tables |= {f"sinks.{kind}": {"kind": kind} for kind in SINKS}
        lines: list[str] = []
        for name, keys in tables.items():
            lines.append(f"[{name}]")
            lines += [f"{key} = {toml(value)}" for key, value in keys.items()]
        self.config.write_text("\n".join([*lines, self.extra, ""]))

    def __enter__(self) -> "Flowd":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait(WAIT_S)
        if error is not None and self.log_file.exists():
            sys.stderr.write(f"--- {self.log_file}\n{self.log}\n")

    @property
    def log(self) -> str:
        """All that it ever wrote to standard error."""
        return self.log_file.read_text()

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    def spawn(self, command: Sequence[str] | None = None, **options: Any) -> None:
        """Start the process and look no further."""
        assert self.process is None or self.process.poll() is not None
        with self.log_file.open("ab") as log:
            self.process = subprocess.Popen(
                command or [*COMMAND, "run", "-c", str(self.config), *self.arguments],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, **self.env},
                # Ctrl-C is for whoever runs it, who then ends it in order.
                **{"process_group": 0, **options},
            )

    async def start(
        self, *, delivering: bool = True, words: str = "serves on", **options: Any
    ) -> "Flowd":
        """Start, and wait until it says these words of its port, and its source delivers."""
        seen = len(self.log) if self.log_file.exists() else 0
        self.spawn(**options)
        with trio.fail_after(START_S):
            while not (found := re.search(rf"{words} http://[^ ]*?:(\d+)/", self.log[seen:])):
                assert self.process is not None
                assert self.process.poll() is None, self.log[seen:]
                await trio.sleep(0.05)
            self.port = int(found[1])
        if delivering:
            await self.until(partial(self.get, "/health"), lambda answer: answer.status == 200)
        return self

    async def ended(self, within_s: float = STOP_S) -> int:
        """Wait for the end; the exit code."""
        assert self.process is not None
        process = self.process

        async def code() -> int | None:
            await trio.lowlevel.checkpoint()
            return process.poll()

        found: int = await self.until(code, lambda code: code is not None, within_s)
        return found

    def tell(self, number: int) -> None:
        """Send a signal."""
        assert self.process is not None
        self.process.send_signal(number)

    async def stop(self, number: int = signal.SIGTERM) -> None:
        """Ask it to end, and see that it does so in order."""
        self.tell(number)
        assert await self.ended() == 0, self.log

    async def kill(self) -> None:
        """`kill -9`."""
        self.tell(signal.SIGKILL)
        assert await self.ended() == -signal.SIGKILL

    async def get(self, path: str, **headers: str) -> Answer:
        """GET on a connection of its own."""
        return await fetch(self.port, path, headers=headers)

    async def status(self) -> dict[str, Any]:
        """`/status`."""
        return (await self.get("/status")).json

    async def poll(self, query: str = "", stream: str = "orders") -> dict[str, Any]:
        """`/streams/NAME`."""
        return (await self.get(f"/streams/{stream}{query}")).json

    async def reached(self, ordinal: int, within_s: float = WAIT_S) -> dict[str, Any]:
        """Wait until the nth order is served; the poll that has it."""

        def there(found: dict[str, Any]) -> bool:
            return bool(found["records"]) and prices(found)[-1] >= ordinal

        return await self.until(self.poll, there, within_s)

    async def until(
        self, ask: Callable[[], Any], good: Callable[[Any], object], within_s: float = WAIT_S
    ) -> Any:
        """Ask until the answer is good; that answer."""
        return await until(ask, good, within_s)

    async def settled(
        self, good: Callable[[dict[str, Any]], object], within_s: float = WAIT_S
    ) -> Any:
        """Wait until `/status` is as wanted; that status."""
        return await self.until(self.status, good, within_s)

    async def paired(
        self, good: Callable[[dict[str, Any]], object], within_s: float = 30.0
    ) -> dict[str, Any]:
        """Wait until what it tells of its pair is as wanted; that."""
        return dict(await self.until(self.pair, good, within_s))

    async def pair(self) -> dict[str, Any]:
        """What it tells of its pair; nothing where it gives no answer."""
        found = await self.asked("/status")
        return {} if found is None else dict(found.json["pair"])

    async def well(self) -> bool:
        """Whether it says that it is well, at the moment."""
        found = await self.asked("/health")
        return found is not None and found.status == 200

    async def asked(self, path: str) -> Answer | None:
        """What it answers. None where it does not, as in the moment in which it turns from standby
        to leader, or back.
        """
        try:
            return await self.get(path)
        except GONE:
            return None

    def memory(self) -> int:
        """Resident bytes."""
        with open(f"/proc/{self.pid}/statm") as statm:
            return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    def files(self) -> int:
        """How many files it has open."""
        return len(os.listdir(f"/proc/{self.pid}/fd"))


async def until(
    ask: Callable[[], Any],
    good: Callable[[Any], object],
    within_s: float = WAIT_S,
    every_s: float = 0.01,
) -> Any:
    """Ask another process, which cannot wake us, until its answer is good; that answer. One that
    lacks what is looked for, as an error does, is not good yet.
    """
    found = None
    with trio.move_on_after(within_s):
        while True:
            with contextlib.suppress(LookupError):
                found = await ask()
                if good(found):
                    return found
            await trio.sleep(every_s)
    raise AssertionError(f"not within {within_s:g}s; last seen: {found}")


def prices(found: dict[str, Any]) -> list[int]:
    """Which orders a message or an answer holds, by their number."""
    return [int(record["value"]["price"]) for record in found["records"]]


def command(
    *arguments: str, env: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run `flowd ...` to its end."""
    return subprocess.run(
        [*COMMAND, *arguments],
        capture_output=True,
        text=True,
        timeout=START_S,
        stdin=subprocess.DEVNULL,
        env={**os.environ, "NO_COLOR": "1", "COLUMNS": "200", **(env or {})},
        check=False,
    )
