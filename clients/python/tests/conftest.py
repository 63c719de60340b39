"""The three ways to follow, each in a thread of its own, and who is followed."""

import asyncio
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path
from queue import Queue
from typing import Any

import anyio
import pytest
import trio
from flowd_client import Batch, Status, connect, follow

from tests.edge.exchange import Exchange
from tests.edge.process import Flowd

WAIT_S = 30.0
WAYS = ("blocking", "trio", "asyncio")


class Enough(Exception):
    """A follower is told to stop."""


class Follower:
    """Follows in a thread until `stop`, and reads on while it is `open`."""

    def __init__(self, way: str, url: str, stream: str = "orders", **wish: Any) -> None:
        self.batches: Queue[Batch[Any] | BaseException | None] = Queue()
        self.told: list[Status] = []
        self.open = threading.Event()
        self.open.set()
        self._way, self._url, self._stream, self._wish = way, url, stream, wish
        self._stopping = False
        self._cancel: Callable[[], object] = lambda: None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def wait(self, within_s: float = WAIT_S) -> Batch[Any]:
        """The next batch; what ended it, if that is why there is none."""
        found = self.batches.get(timeout=within_s)
        if isinstance(found, BaseException):
            raise found
        assert found is not None
        return found

    def upto(self, seq: int) -> list[Batch[Any]]:
        """All batches up to the one that has this record."""
        found = [self.wait()]
        while not any(record.seq >= seq for record in found[-1].records):
            found.append(self.wait())
        return found

    def stop(self) -> None:
        """See that it ends. A plain loop does at the next change of its status, and is not waited
        for: nothing wakes a thread that reads.
        """
        self._stopping = True
        self.open.set()
        if self._way != "blocking":
            with suppress(RuntimeError, trio.RunFinishedError):
                self._cancel()
            self._thread.join(WAIT_S)
            assert not self._thread.is_alive()

    def _take(self, batch: Batch[Any]) -> None:
        self.batches.put(batch)
        self.open.wait(WAIT_S)

    def _tell(self, status: Status) -> None:
        self.told.append(status)
        if self._stopping and self._way == "blocking":
            raise Enough

    def _run(self) -> None:
        try:
            if self._way == "blocking":
                self._block()
            else:
                anyio.run(self._follow, backend=self._way)
        except Enough:
            pass
        except BaseException as error:
            self.batches.put(error)

    def _block(self) -> None:
        wish = {"on_status": self._tell, **self._wish}
        for batch in follow(self._url, self._stream, **wish):
            self._take(batch)

    async def _follow(self) -> None:
        wish = {"on_status": self._tell, **self._wish}
        given = {key: wish.pop(key) for key in ("token", "silence_s") if key in wish}
        with anyio.CancelScope() as scope:
            self._cancel = canceller(self._way, scope)
            async with connect(self._url, **given) as flowd:
                async for batch in flowd.follow(self._stream, **wish):
                    self._take(batch)


def canceller(way: str, scope: anyio.CancelScope) -> Callable[[], object]:
    """What cancels this thread's scope from another one."""
    if way == "trio":
        return partial(trio.lowlevel.current_trio_token().run_sync_soon, scope.cancel)
    return partial(asyncio.get_running_loop().call_soon_threadsafe, scope.cancel)


Start = Callable[..., list[Follower]]


@pytest.fixture
def start() -> Iterator[Start]:
    """Begins to follow in all three ways at once."""
    followers: list[Follower] = []

    def begin(url: str, stream: str = "orders", **wish: Any) -> list[Follower]:
        begun = [Follower(way, url, stream, **wish) for way in WAYS]
        followers.extend(begun)
        return begun

    yield begin
    for follower in followers:
        follower.stop()


@pytest.fixture(params=WAYS)
def begin(request: pytest.FixtureRequest) -> Iterator[Callable[..., Follower]]:
    """Begins to follow, in each of the three ways."""
    followers: list[Follower] = []

    def one(url: str, stream: str = "orders", **wish: Any) -> Follower:
        followers.append(Follower(request.param, url, stream, **wish))
        return followers[-1]

    yield one
    for follower in followers:
        follower.stop()


@pytest.fixture
def exchange() -> Iterator[Exchange]:
    with Exchange() as found:
        yield found


class Daemon:
    """A real daemon with one address for all its lives, for tests that are no coroutines."""

    def __init__(self, flowd: Flowd) -> None:
        self.flowd = flowd

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.flowd.port}"

    def start(self) -> None:
        """Start it, where it was."""
        if self.flowd.port:
            self.flowd.settings["listen"] = f"127.0.0.1:{self.flowd.port}"
            self.flowd.write()
        trio.run(self.flowd.start)

    def stop(self) -> None:
        """Have it end in order."""
        trio.run(self.flowd.stop)

    def kill(self) -> None:
        """`kill -9`."""
        trio.run(self.flowd.kill)

    def reached(self, ordinal: int) -> str:
        """Wait until it serves the nth order; the position of that."""
        return str(trio.run(self.flowd.reached, ordinal)["position"])

    def clients(self) -> Any:
        """What its `/status` says of its clients."""
        return trio.run(self.flowd.settled, lambda found: True)["clients"]

    def settled(self, **clients: int) -> None:
        """Wait until its `/status` says this of its clients."""
        trio.run(self.flowd.settled, lambda found: clients.items() <= found["clients"].items())


@pytest.fixture
def daemon(exchange: Exchange, tmp_path: Path) -> Iterator[Callable[..., Daemon]]:
    """Starts a daemon of this test's own, ended with it."""
    with ExitStack() as stack:

        def make(**options: Any) -> Daemon:
            own = {key: options.pop(key) for key in ("source", "env", "extra") if key in options}
            flowd = Flowd(tmp_path / "flowd", exchange.url, settings=options, **own)
            made = Daemon(stack.enter_context(flowd))
            made.start()
            return made

        yield make


class Script:
    """A server on loopback that gives each connection the next of its answers, word for word. After
    the last one it listens no more.
    """

    def __init__(self, *answers: bytes) -> None:
        self.requests: list[str] = []
        self._answers = answers
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._kept: list[socket.socket] = []
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def close(self) -> None:
        # A thread that waits in accept is not woken by a close.
        with suppress(OSError), self._listener:
            self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join(WAIT_S)
        for connection in self._kept:
            connection.close()

    def _serve(self) -> None:
        with suppress(OSError):
            for answer in self._answers:
                connection, _ = self._listener.accept()
                self._kept.append(connection)
                said = b""
                while b"\r\n\r\n" not in said:
                    said += connection.recv(65536)
                self.requests.append(said.decode())
                connection.sendall(answer.removesuffix(STAY))
                if not answer.endswith(STAY):
                    connection.shutdown(socket.SHUT_RDWR)


STAY = b": and stay\n\n"
"""An answer that ends so is not followed by the connection's end."""
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"


@pytest.fixture
def script() -> Iterator[Callable[..., Script]]:
    with ExitStack() as stack:

        def make(*answers: bytes) -> Script:
            made = Script(*answers)
            stack.callback(made.close)
            return made

        yield make
