"""A real nats-server of a test's own, and what NATS's official client reads from it."""

import asyncio
import json
import shutil
import signal
import socket
import subprocess
from contextlib import suppress
from pathlib import Path
from typing import Any

import trio
from attrs import frozen

from tests.edge.peers import WAIT_S
from tests.edge.process import free_port
from tests.needed import lacking


@frozen
class Message:
    """A message as the official client has it."""

    subject: str
    headers: dict[str, str]
    data: bytes

    @property
    def position(self) -> str:
        return self.headers["Flowd-Position"]


class JetStreamServer:
    """One server with JetStream, on a port and in a folder of its own; it keeps both when it is
    started again.
    """

    def __init__(self, folder: Path, settings: str = "", *, jetstream: bool = True) -> None:
        found = shutil.which("nats-server") or shutil.which("nats-server", path="/usr/sbin")
        if found is None:
            lacking("there is no nats-server here; `apt-get install nats-server` brings it")
        self._program = found
        self._config = folder / "nats.conf"
        self._process: subprocess.Popen[bytes] | None = None
        self.port = free_port()
        store = f'jetstream {{ store_dir: "{folder / "store"}" }}' if jetstream else ""
        self._config.write_text(f'listen: "127.0.0.1:{self.port}"\n{store}\n{settings}\n')

    def __enter__(self) -> "JetStreamServer":
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is not None:
            self.tell(signal.SIGKILL)

    @property
    def url(self) -> str:
        return f"nats://127.0.0.1:{self.port}"

    def start(self) -> "JetStreamServer":
        """Start it, and wait until it listens."""
        self._process = subprocess.Popen(
            [self._program, "-c", str(self._config)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        for _ in range(int(WAIT_S / 0.02)):
            with suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
                return self
            assert self._process.poll() is None, "it did not start"
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(0.02)
        raise AssertionError("it does not listen")

    def tell(self, number: int) -> None:
        """Send it a signal; what ends it has ended it."""
        assert self._process is not None
        self._process.send_signal(number)
        if number in (signal.SIGKILL, signal.SIGTERM):
            self._process.wait(WAIT_S)
            self._process = None

    async def read(self, subject: str, **options: Any) -> list[Message]:
        """All messages of a subject, in their order."""

        async def all_of_it(client: Any) -> list[Message]:
            jetstream = client.jetstream()
            name = subject.replace(".", "+")
            count = (await jetstream.stream_info(name)).state.messages
            found: list[Message] = []
            if count:
                follow = await jetstream.subscribe(subject, ordered_consumer=True)
                while len(found) < count:
                    one = await follow.next_msg(WAIT_S)
                    found.append(Message(one.subject, dict(one.headers or {}), one.data))
            return found

        found: list[Message] = await self.do(all_of_it, **options)
        return found

    async def numbers(self, subject: str) -> list[int]:
        """The numbers of the records there, in their order."""
        return [json.loads(one.data)["seq"] for one in await self.read(subject)]

    async def create(self, subject: str, **limits: Any) -> None:
        """A stream as who runs the server makes it."""

        async def made(client: Any) -> None:
            name = limits.pop("name", subject.replace(".", "+"))
            await client.jetstream().add_stream(name=name, subjects=[subject], **limits)

        await self.do(made)

    async def do(self, act: Any, **options: Any) -> Any:
        """Something with the official client, which needs asyncio."""
        import nats

        async def with_client() -> Any:
            client = await nats.connect(self.url, **options)
            try:
                return await act(client)
            finally:
                await client.close()

        return await trio.to_thread.run_sync(lambda: asyncio.run(with_client()))
