"""What `make dist` builds for machines without Python: run in an empty root, in which there is the
C library and nothing else. `make executable` builds it and runs this.
"""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import trio

from demo import run as demo
from tests.edge.peers import GONE, Answer, fetch
from tests.edge.process import until
from tests.edge.redis import program
from tests.needed import lacking

ROOT = Path(__file__).parents[2]
LOADER = Path("/lib64/ld-linux-x86-64.so.2")
LIBRARIES = ("libc", "libdl", "libm", "libpthread", "librt", "libutil", "libz", "libresolv")
"""What every Linux has; PyInstaller ships all else."""
CONFIG = """
[flowd]
listen = "127.0.0.1:{port}"
state = "/var/flowd.db"
save_every = "200ms"

[sources.orders]
kind = "binance-force-order"
symbols = ["*"]
url = "ws://127.0.0.1:{exchange}/market"

[transforms.per-minute]
kind = "volume-per-minute"
input = "orders"

[sinks.http]
kind = "http"

[sinks.pages]
kind = "pages"
liquidations = "orders"
"""
START_S = 80.0


class Empty:
    """A root directory with one of the two forms in it, and what it takes to run it there."""

    def __init__(self, folder: Path, built: Path, form: str) -> None:
        self.folder = folder
        (wheel,) = built.glob("flowd_daemon-*.whl")
        self.wheel = wheel
        if form == "folder":
            (archive,) = built.glob("flowd-*.tar.gz")
            with tarfile.open(archive) as packed:
                packed.extractall(folder / "opt", filter="tar")
            (self.program,) = (f"/{one.relative_to(folder)}" for one in folder.glob("opt/*/flowd"))
        else:
            (one,) = (path for path in built.glob("flowd-*") if path.suffix != ".gz")
            (folder / "opt").mkdir()
            shutil.copy2(one, folder / "opt/flowd")
            self.program = "/opt/flowd"
        for name in ("tmp", "var", "etc", "plugins"):
            (folder / name).mkdir()
        shutil.copy2(ROOT / "docs/examples/flowd_volume.py", folder / "plugins")
        self._copy(LOADER)
        listed = subprocess.run(["ldconfig", "-p"], capture_output=True, text=True, check=True)
        for name in LIBRARIES:
            if found := re.search(rf"\s{name}\.so\.\d+ \(libc6,x86-64.*\) => (.*)", listed.stdout):
                self._copy(Path(found[1]))

    def _copy(self, file: Path) -> None:
        place = self.folder / file.relative_to("/")
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(file.resolve(), place)

    def bring(self, *programs: str) -> None:
        """Have these programs of this machine there, with what they need."""
        for name in programs:
            self._copy(Path(name))
            listed = subprocess.run(["ldd", name], capture_output=True, text=True, check=True)
            for library in re.findall(r" => (/\S+)", listed.stdout):
                self._copy(Path(library))
        # A file will do that is empty.
        (self.folder / "dev").mkdir(exist_ok=True)
        (self.folder / "dev/null").touch()

    def living(self) -> set[int]:
        """The processes that have it for their root."""
        found = set[int]()
        for process in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                if (process / "root").readlink() == self.folder:
                    found.add(int(process.name))
        return found

    def command(self, *words: str) -> list[str]:
        return [*into(self.folder), self.program, *words]

    def run(self, *words: str, **env: str) -> "subprocess.CompletedProcess[str]":
        command = self.command(*words)
        return subprocess.run(command, capture_output=True, text=True, timeout=80, env=env)


def into(folder: Path) -> list[str]:
    """What begins a command that is to have this folder for its root."""
    if os.geteuid() == 0:
        return ["/usr/sbin/chroot", str(folder)]
    return ["unshare", "--user", "--map-root-user", "--root", str(folder)]


@pytest.fixture(scope="module", params=["file", "folder"])
def empty(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Empty:
    where = request.config.getoption("--executable")
    if where is None:
        pytest.skip("`make executable` builds what this tests")
    if sys.platform != "linux" or not LOADER.exists():
        lacking("the empty root is made of the libraries of Linux on x86-64")
    return Empty(tmp_path_factory.mktemp(request.param), Path(where).resolve(), request.param)


@pytest.fixture(scope="module")
def exchange() -> Iterator[int]:
    ports = dict(zip(demo.PORTS, demo.free(len(demo.PORTS)), strict=True))
    with demo.exchanges(ports, "--rate=600", "--symbols=BTCUSDT,ETHUSDT,SOLUSDT") as running:
        assert running
        yield ports["--port"]


def test_there_is_no_python_in_the_empty_root(empty: Empty) -> None:
    found = subprocess.run(
        [*into(empty.folder), "/usr/bin/python3"], capture_output=True, text=True
    )

    assert found.returncode in (126, 127)
    assert not list(empty.folder.glob("**/bin/python*"))


def test_it_has_the_plugins_that_the_wheel_has(empty: Empty, tmp_path: Path) -> None:
    told = [sys.executable, "-m", "flowd.cli", "plugins", "-c", "/none"]
    env = {**os.environ, "PYTHONPATH": str(empty.wheel)}
    wide = {"COLUMNS": "300"}
    installed = subprocess.run(
        told, capture_output=True, text=True, timeout=80, env=env | wide, cwd=tmp_path
    )

    found = empty.run("plugins", "-c", "/none", **wide)

    assert found.returncode == 0, found.stderr
    assert "failed" not in found.stdout
    assert sorted(found.stdout.splitlines()) == sorted(installed.stdout.splitlines())


def test_init_check_and_help_work(empty: Empty) -> None:
    init, check = empty.run("init", "/etc/new.toml"), empty.run("check", "-c", "/etc/new.toml")

    assert (init.returncode, check.returncode) == (0, 0), init.stderr + check.stderr
    assert "/etc/new.toml is good." in check.stdout
    assert "simulate" in empty.run("--help").stdout


class Daemon:
    """`flowd run` in the empty root."""

    def __init__(self, empty: Empty, port: int) -> None:
        self.empty = empty
        self.port = port
        self.log = empty.folder / "log"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, *, fd: int | None = None, **env: str) -> None:
        """Begin it; with a listening socket of ours as systemd would pass it, if there is one."""
        command = self.empty.command("run", "-c", "/etc/flowd.toml", "--plugins-dir", "/plugins")
        passed = ""
        if fd is not None:
            passed = f"export LISTEN_PID=$$ LISTEN_FDS=1 WATCHDOG_PID=$$; exec 3<&{fd}; "
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                ["bash", "-c", f'{passed}exec "$@"', "bash", *command],
                env=env,
                stdout=log,
                stderr=log,
                process_group=0,
                pass_fds=() if fd is None else (fd,),
            )

    async def until(self, path: str) -> Answer:
        """Ask until it is answered with 200 and, of a stream, with records."""

        async def ask() -> Answer | None:
            assert self.process is not None
            assert self.process.poll() is None, self.log.read_text()
            try:
                return await fetch(self.port, path)
            except GONE:
                return None

        def good(answer: Answer | None) -> bool:
            there = answer is not None and answer.status == 200
            return there and (answer is not None and b'"records":[]' not in answer.body)

        found: Answer = await until(ask, good, START_S)
        return found

    async def stop(self) -> int:
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        return await trio.to_thread.run_sync(self.process.wait, 20)

    def kill(self) -> None:
        if self.process is not None and self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait(10)


@pytest.fixture
def daemon(empty: Empty, exchange: int) -> Iterator[Daemon]:
    (port,) = demo.free(1)
    (empty.folder / "etc/flowd.toml").write_text(CONFIG.format(port=port, exchange=exchange))
    made = Daemon(empty, port)
    made.log.touch()
    yield made
    made.kill()
    sys.stderr.write(made.log.read_text())  # Shown where the test failed.


async def test_it_serves_stops_in_order_and_resumes(daemon: Daemon) -> None:
    daemon.start()
    first = (await daemon.until("/streams/orders?limit=1")).json
    page = await daemon.until("/liquidations")
    assets = re.findall(rb'"(/assets/[^"]+)"', page.body)
    status = daemon.empty.run("status", "--url", f"http://127.0.0.1:{daemon.port}")
    of_the_plugin = await daemon.until("/streams/per-minute?limit=1")

    assert assets
    for asset in assets[:3]:
        assert (await fetch(daemon.port, asset.decode())).status == 200
    assert status.returncode in (0, 1), status.stderr
    assert "orders" in status.stdout
    assert of_the_plugin.json["records"]
    assert await daemon.stop() == 0
    assert "state saved" in daemon.log.read_text()

    daemon.start()
    after = (await daemon.until(f"/streams/orders?after={first['position']}")).json
    assert (after["reset"], after["gap"]) == (False, None)
    assert after["position"].partition(".")[0] == first["position"].partition(".")[0]
    assert await daemon.stop() == 0


async def test_it_takes_the_socket_of_systemd_and_tells_it_when_it_is_ready(
    daemon: Daemon,
) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd, socket.socket() as given:
        systemd.bind(f"\0flowd-{os.getpid()}-{daemon.port}")
        systemd.settimeout(START_S)
        given.bind(("127.0.0.1", 0))
        given.listen()
        daemon.port = given.getsockname()[1]

        daemon.start(
            fd=given.fileno(),
            NOTIFY_SOCKET=f"@{systemd.getsockname()[1:].decode()}",
            WATCHDOG_USEC="2000000",
        )
        told = await trio.to_thread.run_sync(systemd.recv, 1000)
        page = await daemon.until("/")
        again = [await trio.to_thread.run_sync(systemd.recv, 1000) for _ in range(2)]

        assert told.startswith(b"READY=1") or told == b"WATCHDOG=1"
        assert b"<html" in page.body
        assert b"WATCHDOG=1" in (told, *again)
        assert await daemon.stop() == 0


async def test_it_is_several_processes_with_a_redis_of_this_machine(daemon: Daemon) -> None:
    file = daemon.empty.folder / "etc/flowd.toml"
    file.write_text(file.read_text().replace("[flowd]", "[flowd]\nedges = 2"))
    plugins = ("--plugins-dir", "/plugins")
    without = daemon.empty.run("run", "-c", "/etc/flowd.toml", *plugins, COLUMNS="300")
    assert without.returncode == 2
    assert "apt install redis-server" in without.stderr
    daemon.empty.bring(program(), "/bin/sh", "/bin/cat", "/usr/bin/env")

    daemon.start(PATH="/usr/bin:/bin")
    await daemon.until("/streams/orders?limit=1")

    async def rows() -> dict[str, dict[str, Any]]:
        told = (await daemon.until("/status")).json["processes"]
        return {row["name"]: row for row in told}

    def all_run(rows: dict[str, dict[str, Any]]) -> bool:
        return {row["state"] for row in rows.values()} == {"running"}

    before = await until(rows, all_run, START_S)
    assert set(before) == {"server", "ingest", "edge-1", "edge-2"}
    # A program that is not ours has its own libraries, whichever we brought.
    mapped = await trio.Path(f"/proc/{before['server']['pid']}/maps").read_text()
    assert not re.search("/_internal/|/_MEI", mapped)

    os.kill(before["edge-1"]["pid"], signal.SIGKILL)

    def again(rows: dict[str, dict[str, Any]]) -> bool:
        return all_run(rows) and rows["edge-1"]["restarts"] == 1

    await until(rows, again, START_S)
    assert await daemon.stop() == 0
    assert "[ingest] stopped; state saved" in daemon.log.read_text()
    assert daemon.empty.living() == set()
