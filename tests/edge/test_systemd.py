"""systemd: what the daemon tells it, the sockets it is handed, and the units we ship."""

import fcntl
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio
from attrs import frozen

from flowd.door.door import FIRST_REQUEST_S
from flowd.setup.config import Settings, parse
from flowd.setup.registry import Registry
from flowd.setup.shares import Share
from flowd.sockets import listen
from flowd.values.settings import size
from tests.edge.conftest import Start
from tests.edge.exchange import Exchange
from tests.edge.peers import WAIT_S, connect, fetch, http, request, sse, websocket
from tests.edge.process import Flowd, prices, until
from tests.needed import lacking

ROOT = Path(__file__).parents[2]
UNITS = ROOT / "systemd"
PAGES = [(ROOT / "docs" / name).read_text("utf-8") for name in ("systemd.md", "how-to.md")]
DROP_INS = re.findall(r"^```ini (\S+)\n(.*?)^```$", PAGES[0], re.MULTILINE | re.DOTALL)


class Systemd:
    """The end of the notification socket that systemd holds."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.heard: list[tuple[float, str]] = []
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        self._socket.bind(name.replace("@", "\0", 1))

    def close(self) -> None:
        self._socket.close()

    async def hear(self) -> list[str]:
        """All lines so far."""
        await trio.lowlevel.checkpoint()
        try:
            while True:
                self.heard.append((time.monotonic(), self._socket.recv(4096).decode()))
        except BlockingIOError:
            return [line for _, text in self.heard for line in text.splitlines()]

    async def wait_for(self, line: str, count: int = 1) -> None:
        await until(self.hear, lambda lines: lines.count(line) >= count)


@pytest.fixture(params=["path", "abstract"])
def systemd(request: pytest.FixtureRequest) -> Iterator[Systemd]:
    """A notification socket, in the file system or in Linux's abstract names."""
    with tempfile.TemporaryDirectory(prefix="flowd") as folder:
        abstract = f"@flowd-edge-{os.getpid()}-{time.monotonic_ns()}"
        found = Systemd(abstract if request.param == "abstract" else f"{folder}/n")
        yield found
        found.close()


SHIM = """
import os, sys

fds, count = sys.argv[1], int(sys.argv[2])
for number, fd in enumerate(filter(None, fds.split(",")), 3):
    os.dup2(int(fd), number)
for assignment in sys.argv[3 : 3 + count]:
    name, _, value = assignment.partition("=")
    os.environ[name] = value.replace("PID", str(os.getpid()))
os.execv(sys.executable, [sys.executable, *sys.argv[3 + count :]])
"""


def below_systemd(daemon: Flowd, *assignments: str, fds: Sequence[int] = ()) -> dict[str, Any]:
    """How to start the daemon with variables that name its own process id, and these files from
    number 3 on.
    """
    run = ["-m", "flowd.cli", "run", "-c", str(daemon.config), *daemon.arguments]
    given = [",".join(map(str, fds)), str(len(assignments)), *assignments]
    return {"command": [sys.executable, "-c", SHIM, *given, *run], "pass_fds": fds}


async def test_it_says_ready_when_it_serves_signs_of_life_and_stopping(
    flowd: Start, systemd: Systemd
) -> None:
    with flowd(env={"NOTIFY_SOCKET": systemd.name}) as daemon:
        watch = ("WATCHDOG_USEC=200000", "WATCHDOG_PID=PID")
        await daemon.start(**below_systemd(daemon, *watch))
        await systemd.wait_for("READY=1")
        lines = await systemd.hear()
        assert lines.index("READY=1") == 0 or lines[0] == "WATCHDOG=1"
        await systemd.wait_for("WATCHDOG=1", 10)
        assert "STOPPING=1" not in await systemd.hear()
        await daemon.stop()

        lines = await systemd.hear()
        assert lines.count("READY=1") == lines.count("STOPPING=1") == 1
        assert any(line.startswith("STATUS=") for line in lines)


async def test_ready_is_said_only_when_a_client_is_answered(flowd: Start, systemd: Systemd) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with flowd(listen=f"127.0.0.1:{port}", env={"NOTIFY_SOCKET": systemd.name}) as daemon:
        daemon.spawn()
        await systemd.wait_for("READY=1")

        assert (await fetch(port, "/status")).status == 200


@pytest.mark.parametrize("watch", [(), ("WATCHDOG_USEC=100000", "WATCHDOG_PID=1")])
async def test_without_a_watchdog_of_its_own_it_gives_no_signs_of_life(
    flowd: Start, systemd: Systemd, watch: tuple[str, ...]
) -> None:
    with flowd(env={"NOTIFY_SOCKET": systemd.name}) as daemon:
        await daemon.start(**below_systemd(daemon, *watch))
        await systemd.wait_for("READY=1")
        await daemon.stop()

        assert "WATCHDOG=1" not in await systemd.hear()


STUCK = """
import time
from pathlib import Path
from attrs import frozen
from flowd.plugin import Sink, StreamName, hookimpl

@frozen
class Config:
    input: StreamName
    folder: str

async def hold(config, streams):
    folder = Path(config.folder)
    async for batch in streams[config.input].cursor():
        if batch.records:
            (folder / "stuck").touch()
            for _ in range(3000):
                if (folder / "free").exists():
                    break
                time.sleep(0.01)

@hookimpl
def flowd_sinks():
    return [Sink("stuck", Config, run=hold)]
"""


async def test_a_loop_that_is_stuck_gives_no_signs_of_life(
    flowd: Start, exchange: Exchange, systemd: Systemd, tmp_path: Path
) -> None:
    plugins = tmp_path / "plugins"
    plugins.mkdir()
    (plugins / "stuck.py").write_text(STUCK)
    sink = f'[sinks.stuck]\nkind = "stuck"\ninput = "orders"\nfolder = "{tmp_path}"'
    arguments = ["--plugins-dir", str(plugins)]
    env = {"NOTIFY_SOCKET": systemd.name}
    with flowd(extra=sink, arguments=arguments, env=env) as daemon:
        watch = ("WATCHDOG_USEC=200000", "WATCHDOG_PID=PID")
        await daemon.start(**below_systemd(daemon, *watch))
        await systemd.wait_for("WATCHDOG=1", 3)
        exchange.say()
        await until(trio.Path(tmp_path / "stuck").exists, bool)
        held = await systemd.hear()
        # Three signs of life long.
        await trio.sleep(0.3)

        assert await systemd.hear() == held
        (tmp_path / "free").touch()
        await systemd.wait_for("WATCHDOG=1", held.count("WATCHDOG=1") + 3)


# -- socket activation --


@frozen
class Activation:
    """Listening sockets as systemd opens them, and how a daemon is started with them."""

    port: int
    options: dict[str, Any]


@contextmanager
def activated(daemon: Flowd, unix: Path | None = None) -> Iterator[Activation]:
    """A TCP socket, and perhaps a Unix socket, that stay open while daemons come and go."""
    sockets = [socket.create_server(("127.0.0.1", 0), backlog=4096)]
    if unix is not None:
        sockets.append(socket.socket(socket.AF_UNIX))
        sockets[1].bind(str(unix))
        sockets[1].listen(4096)
    # Numbers above those that the daemon gets them under.
    fds = [fcntl.fcntl(one.fileno(), fcntl.F_DUPFD, 50) for one in sockets]
    options = below_systemd(daemon, f"LISTEN_FDS={len(fds)}", "LISTEN_PID=PID", fds=fds)
    try:
        yield Activation(sockets[0].getsockname()[1], options)
    finally:
        for one in sockets:
            one.close()
        for fd in fds:
            os.close(fd)


async def test_it_serves_on_the_sockets_it_was_handed(flowd: Start, exchange: Exchange) -> None:
    with tempfile.TemporaryDirectory(prefix="flowd") as folder, flowd(listen="x:1") as daemon:
        path = Path(folder) / "s"
        with activated(daemon, path) as handed:
            await daemon.start(**handed.options)
            exchange.say(3)

            assert daemon.port == handed.port
            assert prices(await daemon.reached(3)) == [1, 2, 3]
            async with sse(0, stream=await trio.open_unix_socket(str(path))) as events:
                await events.upto(3)
            await daemon.stop()
            assert path.exists()


async def test_sockets_meant_for_another_process_are_not_taken(flowd: Start) -> None:
    with flowd() as daemon:
        await daemon.start(**below_systemd(daemon, "LISTEN_FDS=1", "LISTEN_PID=1"))

        assert (await daemon.get("/health")).status == 200


@pytest.mark.parametrize(("name", "takes"), [("ingest", 0), ("edge-1", 1)])
async def test_of_several_processes_only_edges_take_who_comes_to_a_socket_handed_over(
    tmp_path: Path, name: str, takes: int
) -> None:
    # Who comes to the ingest is believed what an edge says.
    config = parse(f'[flowd]\nlisten = "unix:{tmp_path}/own"', Registry())
    with socket.create_server(("127.0.0.1", 0)) as handed:
        fds = [handed.fileno()]
        share = Share(name, "", 1, tmp_path, "", listen=[], inherit=fds, streams=[])

        listeners = await listen(config, share)

        families = [one.socket.family for one in listeners]
        for one in listeners:
            one.socket.close()
    assert families == [socket.AF_UNIX, *[socket.AF_INET] * takes]


async def test_a_restart_with_sockets_handed_over_refuses_nobody_and_loses_nothing(
    flowd: Start, exchange: Exchange
) -> None:
    with flowd(heartbeat="100ms") as daemon, activated(daemon) as handed:
        await daemon.start(**handed.options)
        port = handed.port
        asked = 0
        failures: list[tuple[str, Exception]] = []
        got: list[list[int]] = []
        over = trio.Event()

        async def poll(path: str) -> None:
            nonlocal asked
            while not over.is_set():
                asked += 1
                try:
                    assert (await fetch(port, path)).status in (200, 503)
                except Exception as error:
                    failures.append((path, error))

        async def follow(kind: str) -> None:
            after = ""
            numbers: list[int] = []
            got.append(numbers)
            while not over.is_set():
                try:
                    if kind == "sse":
                        async with sse(port, f"/sse/orders?after={after}") as events:
                            while True:
                                event = await events.event()
                                after = event.id or after
                                assert event.name in ("message", "goodbye")
                                if event.name == "message" and event.data:
                                    numbers.append(event.ordinal)
                    else:
                        path = f"/ws?streams=orders&after={after}"
                        async with websocket(port, path) as ws:
                            while True:
                                message = await ws.message()
                                assert message["type"] == "records"
                                after = message["position"]
                                numbers.extend(prices(message))
                except EOFError:
                    pass
                except Exception as error:
                    failures.append((kind, error))

        async with trio.open_nursery() as nursery:
            for path in ("/streams/orders?limit=1", "/status", "/health"):
                nursery.start_soon(poll, path)
            for kind in ("sse", "websocket"):
                nursery.start_soon(follow, kind)
            for _ in range(3):
                await daemon.reached(exchange.say(20)[-1])
                await daemon.stop()
                await daemon.start(**handed.options)
            last = exchange.say(5)[-1]
            await daemon.reached(last)
            with trio.fail_after(WAIT_S):
                while not all(numbers and numbers[-1] == last for numbers in got):  # noqa: ASYNC110
                    await trio.sleep(0.01)
            over.set()
            nursery.cancel_scope.cancel()

        assert failures == []
        assert asked > 50
        assert got == [list(range(1, last + 1))] * 2


@pytest.mark.parametrize("path", ["/streams/orders", "/status", "/sse/orders"])
async def test_who_was_let_in_before_the_end_is_answered(flowd: Start, path: str) -> None:
    # The rest of a request is waited for half a second: slower than that we prove nothing, and
    # try again.
    for _ in range(10):
        with flowd() as daemon:
            await daemon.start()
            async with http(daemon.port) as peer:
                whole = request(path)
                await peer.stream.send_all(whole[:8])
                await daemon.settled(lambda found: found["clients"]["connections_open"] == 2)
                told = time.monotonic()
                daemon.tell(signal.SIGTERM)
                await until(partial(refused, daemon.port), bool)
                with suppress(trio.BrokenResourceError):
                    await peer.stream.send_all(whole[8:])
                if time.monotonic() - told > FIRST_REQUEST_S / 2:
                    continue
                with trio.fail_after(WAIT_S):
                    answer = await peer.stream.receive_some(65536)

                assert answer.startswith(b"HTTP/1.1 200 ")
            assert await daemon.ended() == 0
            return
    pytest.fail("this machine is too slow to try")


async def refused(port: int) -> bool:
    """Whether nobody listens any more."""
    try:
        (await connect(port)).socket.close()
    except OSError:
        return True
    return False


NO_WRITABLE_CODE = """
import ctypes, os, sys

PR_SET_MDWE = 65
if ctypes.CDLL(None).prctl(PR_SET_MDWE, 1, 0, 0, 0):
    sys.exit(77)
os.execv(sys.executable, [sys.executable, *sys.argv[1:]])
"""


async def test_it_runs_where_no_memory_is_writable_and_executable(
    flowd: Start, exchange: Exchange
) -> None:
    with flowd() as daemon:
        run = ["-m", "flowd.cli", "run", "-c", str(daemon.config)]
        command = [sys.executable, "-c", NO_WRITABLE_CODE, *run]
        try:
            await daemon.start(command=command)
        except AssertionError:
            if daemon.process is not None and daemon.process.poll() == 77:
                pytest.skip("this kernel cannot deny it")
            raise
        exchange.say(3)

        async with (
            websocket(daemon.port, "/ws?streams=orders", deflate=True) as ws,
            sse(daemon.port, headers={"Accept-Encoding": "gzip"}) as events,
        ):
            await ws.upto(3)
            await events.upto(3)
        for page in ("/status", "/metrics", "/openapi.json", "/streams/orders"):
            assert (await daemon.get(page, Accept_Encoding="gzip")).status == 200
        await daemon.stop()


# -- the units --


def analyze(*line: str | Path) -> subprocess.CompletedProcess[str]:
    """What `systemd-analyze` says. Without it the test is skipped, but not where all must run."""
    program = shutil.which("systemd-analyze")
    if program is None:
        lacking("there is no systemd-analyze here; `apt-get install systemd` brings it")
    return subprocess.run(
        [program, *line],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "SYSTEMD_LOG_LEVEL": "warning"},
        check=False,
    )


@pytest.mark.parametrize("drop_ins", [[], DROP_INS], ids=["as shipped", "with those of the docs"])
def test_the_units_are_good(tmp_path: Path, drop_ins: list[tuple[str, str]]) -> None:
    files = [(name, (UNITS / name).read_text()) for name in ("flowd.service", "flowd.socket")]
    files += [(f"{unit}.d/{n}.conf", text) for n, (unit, text) in enumerate(drop_ins)]
    for name, text in files:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        # systemd looks whether there is such a program.
        (tmp_path / name).write_text(text.replace("/opt/flowd/bin/flowd", sys.executable))

    units = (tmp_path / "flowd.service", tmp_path / "flowd.socket")
    found = analyze("verify", "--man=no", *units)

    complaints = [line for line in found.stderr.splitlines() if "flowd" in line]
    assert (found.returncode, complaints) == (0, []), found.stderr


def test_the_unit_of_several_instances_is_good(tmp_path: Path) -> None:
    text = (UNITS / "flowd@.service").read_text().replace("/opt/flowd/bin/flowd", sys.executable)
    (tmp_path / "flowd@.service").write_text(text)
    # The instance that is looked at.
    (tmp_path / "flowd@edge-1.service").symlink_to("flowd@.service")

    found = analyze("verify", "--man=no", tmp_path / "flowd@edge-1.service")

    complaints = [line for line in found.stderr.splitlines() if "flowd" in line]
    assert (found.returncode, complaints) == (0, []), found.stderr


def test_an_instance_has_all_of_the_one_service_and_what_is_its_own() -> None:
    one, many = (
        {line for line in (UNITS / name).read_text().splitlines() if line[:1] not in ("#", "")}
        for name in ("flowd.service", "flowd@.service")
    )

    assert {line.partition("=")[0] for line in one - many} == {
        *("Description", "Requires", "After", "ExecStart", "StateDirectory", "Also"),
        "RuntimeDirectory",
    }
    assert many - one == {
        "Description=flowd %i: one connection to each exchange, any number of readers",
        "ExecStart=/opt/flowd/bin/flowd run -c /etc/flowd/%i.toml",
        "EnvironmentFile=-/etc/flowd/%i.env",
        "StateDirectory=flowd-%i",
        "RuntimeDirectory=flowd-%i",
    }


@pytest.mark.parametrize("unit", ["flowd.service", "flowd@.service"])
def test_the_service_is_hardened(unit: str) -> None:
    found = analyze("security", "--offline=true", "--threshold=12", UNITS / unit)

    assert found.returncode == 0, found.stdout + found.stderr


def test_the_credentials_of_the_docs_are_loaded_by_the_unit_or_by_a_drop_in_of_the_docs() -> None:
    texts = [(UNITS / "flowd.service").read_text(), *(text for _, text in DROP_INS)]
    loaded = re.findall(r"^LoadCredential=(\w+):", "\n".join(texts), re.MULTILINE)

    named = re.findall(r'credential = "([^"]+)"', "\n".join(PAGES))

    assert len(named) > 2
    assert set(named) == set(loaded)


def test_the_service_may_take_twice_what_waits_for_clients_and_not_the_machine() -> None:
    text = (UNITS / "flowd.service").read_text()
    settings = Settings()

    (memory_max,) = re.findall(r"^MemoryMax=(\w+)$", text, re.MULTILINE)

    clients = settings.memory_budget + settings.max_clients * settings.send_buffer
    assert 2 * clients < size(f"{memory_max}iB") <= 1024**3


def test_the_service_says_what_the_daemon_needs() -> None:
    text = (UNITS / "flowd.service").read_text()

    for line in (
        "Type=notify",
        "WatchdogSec=",
        "DynamicUser=yes",
        "StateDirectory=flowd",
        "LoadCredential=",
        "Restart=on-failure",
        "TimeoutStopSec=15",
        "LimitNOFILE=",
        "OOMPolicy=continue",
        "Documentation=",
        "Requires=flowd.socket",
    ):
        assert line in text
