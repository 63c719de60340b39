"""Bugs and traps of the libraries we stand on: one test for each that is not met elsewhere here.

Met elsewhere: HTTP/2 without back-pressure (`test_abuse`, the preface and h2c), shutdown without a
word (`test_restart`, the goodbye), clients whose leaving is not noticed and inbound messages that
pile up (`test_live`), compressors that cost 100 KB a client (`test_live`), six connections per
browser (`test_live`, several streams on one WebSocket; `test_chart`, one WebSocket for a page),
charts that throw on late data (`test_chart`, a late bucket).
"""

import ctypes
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import flowd_binance
import pytest
import trio
import trio.testing
import trio_websocket
from hypercorn.config import Config as HypercornConfig
from hypercorn.trio.tcp_server import TCPServer
from hypercorn.trio.worker_context import WorkerContext
from hypercorn.utils import wrap_app
from quart import websocket as quart_websocket
from quart_trio import QuartTrio

from flowd.door.head import Heads, parse_head
from flowd.door.loan import Loan
from flowd.door.outgoing import Outgoing
from flowd.door.visit import Visit, Waiting
from flowd.operate.web import GuardedServer
from flowd.setup.config import parse
from flowd.setup.registry import Registry
from flowd.sockets import listen
from flowd.stream.cut import Cut
from flowd.stream.snapshot import Save
from flowd.stream.stores import SqliteStore
from flowd.upstream.connection import dial, open_upstream
from tests.edge.conftest import Start
from tests.edge.exchange import Exchange
from tests.edge.peers import UPGRADE, WAIT_S, Http, connect, frame, http, request, sse
from tests.edge.process import START_S, Flowd, until

ROOT = Path(__file__).parents[2]


# -- Hypercorn: a byte after the handshake raises out of the connection, and ends the process --


def silent() -> HypercornConfig:
    """A configuration with which Hypercorn leaves the process's loggers alone."""
    config = HypercornConfig()
    config.errorlog = None
    return config


async def served(server: type[TCPServer], sent: bytes) -> None:
    """Serve one connection, on which this is sent and then nothing more, with a WebSocket app."""
    app = QuartTrio("app")

    @app.websocket("/ws")
    async def talk() -> None:
        await quart_websocket.send("hello")

    ours, theirs = trio.socket.socketpair()
    wrapped = wrap_app(app, 1000, None)
    stream: Any = trio.SocketStream(ours)
    with theirs:
        await theirs.send(sent)
        theirs.shutdown(socket.SHUT_WR)
        with trio.fail_after(WAIT_S):
            await server(wrapped, silent(), WorkerContext(None), {}, stream).run()


async def test_hypercorn_still_raises_for_a_byte_after_the_handshake() -> None:
    # When this fails, Hypercorn is mended, and the guard may have become needless.
    with pytest.raises(ExceptionGroup):
        await served(TCPServer, request("/ws", headers=UPGRADE) + b"\0")


async def test_a_byte_after_the_handshake_ends_no_more_than_its_connection() -> None:
    await served(GuardedServer, request("/ws", headers=UPGRADE) + b"\0")


# -- Hypercorn: a write is shielded, and a client who does not read holds it for ever --


class Unread:
    """A stream to a client who asks once, and reads nothing for an hour."""

    def __init__(self, its_socket: trio.socket.SocketType) -> None:
        self.socket = its_socket
        self.asked = False
        self.closed = trio.Event()

    async def receive_some(self, limit: int | None = None) -> bytes:
        if not self.asked:
            self.asked = True
            return request("/")
        await self.closed.wait()
        return b""

    async def send_all(self, data: bytes) -> None:
        await trio.sleep(3600)

    async def send_eof(self) -> None:
        await trio.lowlevel.checkpoint()

    async def aclose(self) -> None:
        self.closed.set()
        await trio.lowlevel.checkpoint()


@pytest.mark.parametrize(("server", "held_s"), [(TCPServer, 3600), (GuardedServer, 10)])
async def test_who_does_not_read_an_answer_holds_hypercorn_no_longer_than_the_guard_allows(
    autojump_clock: trio.testing.MockClock, server: type[TCPServer], held_s: float
) -> None:
    app = QuartTrio("app")

    @app.get("/")
    async def answer() -> str:
        return "hello"

    ours, theirs = trio.socket.socketpair()
    with ours, theirs:
        stream: Any = Unread(ours)
        wrapped = wrap_app(app, 1000, None)
        serving = server(wrapped, silent(), WorkerContext(None), {}, stream)
        began = trio.current_time()
        with trio.move_on_after(1):
            await serving.run()

    # The deadline of one second fires in neither case: only what is inside the shield can.
    assert held_s <= trio.current_time() - began < held_s + 5


# -- Hypercorn: its idle clock also runs while nothing is idle --


class Dawdling(Loan):
    """A request that comes when Hypercorn has had time for everything else."""

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        await trio.testing.wait_all_tasks_blocked()
        return await super().receive_some(max_bytes)


class Reset(Loan):
    """A client who goes, with a reset, in the moment in which its answer is complete."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.asked = False
        self.gone = trio.Event()

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        if not self.asked:
            self.asked = True
            return await super().receive_some(max_bytes)
        await self.gone.wait()
        raise trio.BrokenResourceError

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        await super().send_all(data)
        if not data:
            self.gone.set()
            await trio.testing.wait_all_tasks_blocked()


async def answered(kind: type[Loan], context: WorkerContext) -> tuple[bytes, float]:
    """What is sent to such a client, and after how many seconds its connection is let go."""
    app = QuartTrio("app")

    @app.get("/")
    async def answer() -> str:
        return "hello"

    ours, theirs = trio.socket.socketpair()
    with ours, theirs:
        visit = Visit(trio.SocketStream(ours), Heads(1000), Waiting())
        head = parse_head(request("/"))
        stream: Any = kind(
            visit, head, lambda head: False, lambda: None, lambda head, status: None, Outgoing(1000)
        )
        began = trio.current_time()
        wrapped = wrap_app(app, 1000, None)
        await GuardedServer(wrapped, silent(), context, {}, stream).run()
        took_s = trio.current_time() - began
        ours.shutdown(socket.SHUT_WR)
        return await theirs.recv(65536), took_s


async def test_a_request_that_was_let_in_before_the_end_is_answered_and_not_cut_off(
    autojump_clock: trio.testing.MockClock,
) -> None:
    ending = WorkerContext(None)
    await ending.terminated.set()

    answer, _ = await answered(Dawdling, ending)

    assert answer.startswith(b"HTTP/1.1 200 ")


async def test_the_connection_of_who_has_gone_is_not_kept_until_it_would_be_idle(
    autojump_clock: trio.testing.MockClock,
) -> None:
    answer, took_s = await answered(Reset, WorkerContext(None))

    assert answer.startswith(b"HTTP/1.1 200 ")
    assert took_s < 1


async def test_hypercorn_never_sees_a_websocket_of_ours(shared: Flowd) -> None:
    for path, status in (("/status", 404), ("/nowhere", 404), ("/ws", 101)):
        async with http(shared.port) as peer:
            await peer.stream.send_all(request(path, headers=UPGRADE) + b"\0")
            with trio.fail_after(WAIT_S):
                answer = await peer.stream.receive_some(65536)

            assert answer.startswith(b"HTTP/1.1 %d " % status)
    assert (await shared.get("/health")).status == 200


# -- Dead peers: nobody waits for pongs, so what is sent must be acknowledged --


async def test_accepted_sockets_give_up_peers_who_acknowledge_nothing(tmp_path: Path) -> None:
    config = parse('[flowd]\nlisten = "127.0.0.1:0"\nsend_buffer = "64KiB"', Registry())
    (listener,) = await listen(config)
    async with listener:
        client = await connect(listener.socket.getsockname()[1])
        accepted = await listener.accept()
        async with client, accepted:
            timeout = accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT)
            buffer = accepted.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF)

    assert timeout == 15_000
    assert buffer == 2 * 64 * 1024


CLONE_NEWNET = 0x40000000
UNSHARE, NSENTER, IP = (shutil.which(name) for name in ("unshare", "nsenter", "ip"))


def may_unshare() -> bool:
    if not (UNSHARE and NSENTER and IP):
        return False
    line = [UNSHARE, "--net", IP, "link", "set", "lo", "up"]
    return subprocess.run(line, capture_output=True, timeout=10, check=False).returncode == 0


def within(pid: int, act: Callable[[], socket.socket]) -> socket.socket:
    """What `act` makes in the network of another process."""
    made: list[socket.socket] = []

    def run() -> None:
        namespace = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY)
        # For this thread alone, which ends right after.
        assert ctypes.CDLL(None, use_errno=True).setns(namespace, CLONE_NEWNET) == 0
        os.close(namespace)
        made.append(act())

    thread = threading.Thread(target=run)
    thread.start()
    thread.join(WAIT_S)
    return made[0]


@pytest.mark.skipif(not may_unshare(), reason="may not make a network of its own")
async def test_a_client_whose_network_is_cut_is_noticed(flowd: Start) -> None:
    assert UNSHARE is not None
    assert NSENTER is not None
    assert IP is not None
    with tempfile.TemporaryDirectory(prefix="flowd") as folder:
        path = f"{folder}/s"
        limits = {"heartbeat": "200ms", "slow_consumer_limit": "1s"}
        with flowd(listen=["127.0.0.1:0", f"unix:{path}"], **limits) as daemon:
            run = ["-m", "flowd.cli", "run", "-c", str(daemon.config)]
            up = f'"{IP}" link set lo up && exec "$@"'
            command = [UNSHARE, "--net", "sh", "-c", up, "sh", sys.executable, *run]
            daemon.spawn(command)

            async def live() -> int:
                try:
                    stream = await trio.open_unix_socket(path)
                except OSError:
                    return -1
                async with stream:
                    found = (await Http(stream).ask("/status")).json
                    return int(found["clients"]["live"])

            await until(live, lambda count: count == 0, START_S)
            port = int(daemon.log.partition("http://127.0.0.1:")[2].partition("/")[0])

            def join() -> socket.socket:
                return socket.create_connection(("127.0.0.1", port), WAIT_S)

            client = within(daemon.pid, join)
            with client:
                client.sendall(request("/sse/orders"))
                await until(live, lambda count: count == 1)
                cut = [NSENTER, f"--net=/proc/{daemon.pid}/ns/net", IP, "link", "set", "lo", "down"]
                await trio.run_process(cut)

                await until(live, lambda count: count == 0)


# -- Quart: a response that lasts longer than a minute is cut --


async def test_streams_are_not_served_by_quart(shared: Flowd) -> None:
    async def by_the_app() -> int:
        return int((await shared.status())["clients"]["requests"]["app"])

    before = await by_the_app()
    async with sse(shared.port) as events:
        await events.upto(100)

        assert await by_the_app() == before + 1


# -- A yield inside a nursery in an async generator --


def test_no_async_generator_yields_inside_a_nursery() -> None:
    line = [
        sys.executable,
        "-m",
        "ruff",
        "check",
        "--quiet",
        "--preview",
        "--select",
        "ASYNC119",
        "--isolated",
    ]
    bad = "async def f():\n    async with g() as x:\n        yield x\n"

    def check(*paths: str, text: str | None = None) -> int:
        return subprocess.run(
            [*line, *paths],
            input=text,
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        ).returncode

    assert check("-", text=bad) == 1
    assert check("flowd", "plugins") == 0


# -- trio-websocket: pings are not answered while its queue is full, leaving may wait for a reader


@pytest.fixture
def busy() -> Callable[..., Awaitable[Any]]:
    """Starts an upstream that says 500 things at once, then pings, and notes the pong."""

    async def start(nursery: trio.Nursery, pong: trio.Event) -> str:
        async def talk(asked: trio_websocket.WebSocketRequest) -> None:
            connection = await asked.accept()
            try:
                for number in range(500):
                    await connection.send_message(f"message {number}")
                await connection.ping(b"there?")
                pong.set()
                while True:
                    await connection.send_message("more")
            except* (trio_websocket.ConnectionClosed, OSError, trio.ClosedResourceError):
                pass

        server = await nursery.start(trio_websocket.serve_websocket, talk, "127.0.0.1", 0, None)
        return f"ws://127.0.0.1:{server.port}/"

    return start


async def test_pings_of_an_upstream_are_answered_while_its_messages_wait(
    busy: Callable[..., Awaitable[Any]], nursery: trio.Nursery
) -> None:
    pong = trio.Event()
    url = await busy(nursery, pong)

    async with open_upstream(url, dial=dial):
        with trio.fail_after(WAIT_S):
            await pong.wait()
    nursery.cancel_scope.cancel()


async def test_an_upstream_whose_messages_are_not_read_is_left_at_once(
    busy: Callable[..., Awaitable[Any]], nursery: trio.Nursery
) -> None:
    pong = trio.Event()
    url = await busy(nursery, pong)

    with trio.fail_after(WAIT_S):
        async with open_upstream(url, dial=dial) as upstream:
            await upstream.__anext__()
            await pong.wait()
    nursery.cancel_scope.cancel()


# -- websockets.trio and quart-trio's test client: leaving a stream that goes on hangs --


@pytest.mark.parametrize(
    ("hangs", "folders"),
    [("websockets.trio", ("flowd", "plugins")), ("test_client(", ("flowd", "plugins", "tests"))],
)
def test_what_hangs_when_it_is_left_is_not_used(hangs: str, folders: tuple[str, ...]) -> None:
    files = [file for folder in folders for file in (ROOT / folder).rglob("*.py")]

    guilty = [file for file in files if hangs in file.read_text(encoding="utf-8")]

    assert set(guilty) <= {Path(__file__)}
    assert len(files) > 40


# -- SQLite: a connection belongs to the thread that made it, and to one at a time --


async def test_saves_may_come_from_any_thread_and_never_two_at_once(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "flowd.db")
    await store.load()
    hold, held = threading.Event(), []

    async def occupy() -> None:
        # The thread that loaded is the first to be taken, so that the saves get others.
        await trio.to_thread.run_sync(lambda: (held.append(1), hold.wait(WAIT_S)))

    async def save(number: int) -> None:
        # So much that saves would overlap.
        ids = [f"{number} {each}" for each in range(10_000)]
        cut = Cut(f"s{number}", "e", number, 0, [], [], ids, len(ids), 0)
        await store.save(Save([cut], {}, number, False))

    async with trio.open_nursery() as nursery:
        for _ in range(5):
            nursery.start_soon(occupy)
        with trio.fail_after(WAIT_S):
            while len(held) < 5:  # noqa: ASYNC110
                await trio.sleep(0.01)
        async with trio.open_nursery() as saves:
            for number in range(20):
                saves.start_soon(save, number)
        hold.set()
    await store.close()

    again = SqliteStore(tmp_path / "flowd.db")
    loaded = await again.load()
    await again.close()
    assert {name: rows.seq for name, rows in loaded.streams.items()} == {
        f"s{number}": number for number in range(20)
    }


# -- asyncio: many libraries reach for it --

SPY = """
import sys
from attrs import frozen
from quart import Blueprint
from flowd.plugin import Sink, hookimpl

@frozen
class Config:
    path: str = "/spy"

def routes(config, streams):
    blueprint = Blueprint("spy", __name__)

    @blueprint.get(config.path)
    async def spy():
        asyncio = sys.modules.get("asyncio")
        ours = [name for name in sys.modules if name.partition(".")[0].partition("_")[0] == "flowd"]
        guilty = [
            f"{name}.{key}"
            for name in ours
            for key, value in vars(sys.modules[name]).items()
            if str(getattr(value, "__module__", None) or getattr(value, "__name__", "")).startswith(
                "asyncio"
            )
            or value is asyncio
        ]
        running = asyncio is not None and asyncio._get_running_loop() is not None
        return {"ours": len(ours), "guilty": guilty, "running": running}

    return blueprint

@hookimpl
def flowd_sinks():
    return [Sink("spy", Config, routes=routes)]
"""


async def test_no_module_of_ours_uses_asyncio_and_no_loop_of_it_runs(
    flowd: Start, exchange: Exchange, tmp_path: Path
) -> None:
    plugins = tmp_path / "plugins"
    plugins.mkdir()
    (plugins / "spy.py").write_text(SPY)
    arguments = ["--plugins-dir", str(plugins)]
    with flowd(extra='[sinks.spy]\nkind = "spy"', arguments=arguments) as daemon:
        await daemon.start()
        await daemon.reached(exchange.say()[-1])

        found = (await daemon.get("/spy")).json

        assert found["ours"] > 20
        assert (found["guilty"], found["running"]) == ([], False)


# -- Binance: the old address accepts everything and delivers nothing --


async def test_a_subscription_that_never_delivers_is_an_alarm(
    flowd: Start, exchange: Exchange
) -> None:
    with flowd(source={"silence": "500ms"}) as daemon:
        daemon.source["url"] = exchange.old_url
        daemon.write()
        await daemon.start(delivering=False)

        answer = await daemon.until(
            lambda: daemon.get("/health"),
            lambda answer: "nothing ever came" in str(answer.json["problems"]),
        )

        assert answer.status == 503
        assert "url must end in the routed path, /market" in daemon.log
        outage = (await daemon.poll(stream="outages"))["records"][-1]["value"]
        assert (outage["component"], outage["to_ms"]) == ("orders", None)


def test_the_address_of_binance_is_the_routed_one() -> None:
    config = flowd_binance.Config(symbols=["*"])

    assert config.url == "wss://fstream.binance.com/market"


def test_the_kit_makes_frames_as_a_client_does() -> None:
    assert frame(0x81, b"{}") == b"\x81\x82\0\0\0\0{}"
