"""Who takes part: how each server is started, where its clients connect and how it is fed."""

import contextlib
import http.client
import importlib.util
import json
import shutil
import sys
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import Any

from attrs import define, frozen

from . import machine, wire
from .process import ROOT, BenchError, Helper, Server, launch, serving

FLOWD, BARE, NCHAN = "flowd", "bare loop", "Nchan"
WEBSOCKETS, FASTAPI = "websockets", "FastAPI"
NATS, PUSHPIN = "nats-server", "pushpin"
CRYPTOFEED = "cryptofeed"
NODE_GZIP, NODE_PLAIN, QUART = "Node gzip", "Node plain", "Quart"
RETAIN = 5_000
DEFLATE = "permessage-deflate; server_no_context_takeover; client_no_context_takeover"
NCHAN_MODULE = Path("/usr/lib/nginx/modules/ngx_nchan_module.so")
FLOWD_CONFIG = """\
[flowd]
listen = "127.0.0.1:{port}"
state = "{state}"
max_clients = 11000
max_clients_per_address = 11000
max_connections_per_address = 11000

[sources.force-orders]
kind = "binance-force-order"
symbols = ["*"]
url = "ws://127.0.0.1:{feed}/market"
retain = 5000

[sinks.http]
kind = "http"

[sinks.sse]
kind = "sse"

[sinks.websocket]
kind = "websocket"
"""
ANOTHER_STREAM = """
[sources.more-{number}]
kind = "binance-force-order"
symbols = ["*"]
url = "ws://127.0.0.1:{feed}/market"
retain = 5000
"""
NATS_CONFIG = """\
listen: "127.0.0.1:{own}"
max_connections: 20000
websocket {{ listen: "127.0.0.1:{port}", no_tls: true, compression: false }}
"""


@define
class Bench:
    """What every measure needs: the cores, the feeder, and a directory that is gone afterwards."""

    cores: machine.Cores
    feeder: Helper
    exchange_port: int
    line_port: int
    directory: Path
    started: int = 0

    def log(self, name: str) -> Path:
        """A fresh log file for each process, so that an error quotes the right one."""
        self.started += 1
        return self.directory / f"{self.started:03}-{name.replace(' ', '-')}.log"


Start = Callable[[Bench, str], AbstractContextManager[Server]]


@frozen
class Contender:
    """A server that passes messages on: how to start it, how it is fed, where its clients go."""

    name: str
    start: Start
    feed: str
    paths: dict[str, str]
    hello: bytes = b""
    """What a client says once it is connected."""

    def head(self, shape: str, port: int) -> str:
        """The request head of a client; for WebSocket with the key from RFC 6455's example."""
        lines = [f"GET {self.paths[shape]} HTTP/1.1", f"Host: 127.0.0.1:{port}"]
        if shape == "sse":
            lines.append("Accept: text/event-stream")
        else:
            lines += [
                "Upgrade: websocket",
                "Connection: Upgrade",
                "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
                "Sec-WebSocket-Version: 13",
            ]
        if shape == "deflate":
            lines.append(f"Sec-WebSocket-Extensions: {DEFLATE}")
        return "\r\n".join([*lines, "", ""])


@contextlib.contextmanager
def start_flowd(
    bench: Bench,
    _shape: str,
    state: Path | None = None,
    streams: int = 1,
    cores: Collection[int] = (),
) -> Iterator[Server]:
    """The daemon, connected to the feeder as its exchange; with several `streams` so many times."""
    port = machine.free_port()
    command = flowd_command(bench, port, state, streams)
    log, cores = bench.log(FLOWD), cores or (bench.cores.server,)
    with serving(launch(FLOWD, command, port, cores, log, cwd=bench.directory)) as running:
        ready = bench.feeder.ask(do="wait", to="exchange", timeout_s=15.0)
        if not ready["ready"]:
            said = "\n  ".join(machine.lines_of(running.log, 8))
            raise BenchError(f"flowd did not connect to its upstream:\n  {said}")
        yield running


def flowd_command(
    bench: Bench, port: int, state: Path | None = None, streams: int = 1
) -> list[str]:
    """The command line for a daemon on this port; without `state`, one that remembers nothing."""
    state = state or bench.directory / f"flowd-{port}.db"
    config = bench.directory / f"flowd-{port}.toml"
    text = FLOWD_CONFIG.format(port=port, state=state, feed=bench.exchange_port)
    for number in range(2, streams + 1):
        text += ANOTHER_STREAM.format(number=number, feed=bench.exchange_port)
    config.write_text(text, encoding="utf-8")
    return [sys.executable, "-m", "flowd.cli", "run", "-c", str(config)]


@contextlib.contextmanager
def start_python(
    bench: Bench, shape: str, name: str, module: str, shaped: bool = False
) -> Iterator[Server]:
    """One of the Python peers, connected to the feeder's lines."""
    port = machine.free_port()
    command = [sys.executable, "-m", f"bench.peers.{module}"]
    command += ["--port", str(port), "--feed", str(bench.line_port)]
    if shaped:
        command += ["--shape", shape]
    with serving(launch(name, command, port, bench.cores.server, bench.log(name))) as running:
        if not bench.feeder.ask(do="wait", to="line", timeout_s=10.0)["ready"]:
            raise BenchError(f"{name} did not connect to its feed")
        yield running


@contextlib.contextmanager
def start_nchan(bench: Bench, _shape: str) -> Iterator[Server]:
    """nginx with Nchan, and the feeder as its publisher."""
    port = machine.free_port()
    log = bench.log(NCHAN)
    config = filled("nchan.conf", log.with_suffix(""), module=NCHAN_MODULE, port=port)
    directory = config.parent
    nginx = find("nginx")
    assert nginx
    command = [nginx, "-p", str(directory), "-c", str(config), "-e", str(directory / "error.log")]
    with serving(launch(NCHAN, command, port, bench.cores.server, log, of_workers=True)) as running:
        bench.feeder.ask(do="publish_to", port=port, form="nchan")
        yield running


def filled(template: str, directory: Path, **places: object) -> Path:
    """A peer's configuration in a new directory of its own, with its places filled in."""
    directory.mkdir(mode=0o755)
    text = (ROOT / "bench" / "peers" / template).read_text(encoding="utf-8")
    for name, value in {**places, "dir": directory}.items():
        text = text.replace(f"@{name.upper()}@", str(value))
    path = directory / template
    path.write_text(text, encoding="utf-8")
    return path


@contextlib.contextmanager
def start_nats(bench: Bench, _shape: str) -> Iterator[Server]:
    """NATS with its WebSocket listener, and the feeder as its publisher."""
    port, own = machine.free_port(), machine.free_port()
    log = bench.log(NATS)
    config = log.with_suffix(".conf")
    config.write_text(NATS_CONFIG.format(port=port, own=own), encoding="utf-8")
    nats = find(NATS)
    assert nats
    with serving(launch(NATS, [nats, "-c", str(config)], port, bench.cores.server, log)) as running:
        bench.feeder.ask(do="publish_to", port=own, form="nats")
        yield running


@contextlib.contextmanager
def start_pushpin(bench: Bench, _shape: str) -> Iterator[Server]:
    """Pushpin with the back end that it asks once for each client, and the feeder as its
    publisher.
    """
    port, publish, backend = (machine.free_port() for _ in range(3))
    log = bench.log(PUSHPIN)
    config = filled("pushpin.conf", log.with_suffix(""), port=port, publish=publish)
    (config.parent / "routes").write_text(f"* 127.0.0.1:{backend},over_http\n", encoding="utf-8")
    pushpin = find(PUSHPIN)
    assert pushpin
    command = [sys.executable, "-m", "bench.peers.grip", "--port", str(backend)]
    behind = launch("grip", command, backend, bench.cores.others, bench.log("grip"))
    command = [pushpin, f"--config={config}", "--loglevel=0"]
    running = launch(PUSHPIN, command, port, bench.cores.server, log, of_workers=True)
    with serving(behind), serving(running):
        bench.feeder.ask(do="publish_to", port=publish, form="pushpin")
        yield running


@contextlib.contextmanager
def start_quart(bench: Bench, body: Path) -> Iterator[Server]:
    """Quart on Hypercorn, serving `body`."""
    port = machine.free_port()
    command = [sys.executable, "-m", "bench.peers.quart_app"]
    command += ["--port", str(port), "--body", str(body)]
    with serving(launch(QUART, command, port, bench.cores.server, bench.log(QUART))) as running:
        yield running


@contextlib.contextmanager
def start_node(bench: Bench, body: Path) -> Iterator[Server]:
    """Node's HTTP server, serving `body`."""
    port = machine.free_port()
    node = shutil.which("node")
    assert node
    command = [node, str(ROOT / "bench" / "peers" / "node_snapshot.js"), str(port), str(body)]
    with serving(launch("node", command, port, bench.cores.server, bench.log("node"))) as running:
        yield running


CONTENDERS = {
    FLOWD: Contender(
        FLOWD,
        start_flowd,
        "exchange",
        {
            "websocket": "/ws?streams=force-orders&limit=0",
            "deflate": "/ws?streams=force-orders&limit=0",
            "sse": "/sse/force-orders?limit=0",
        },
    ),
    BARE: Contender(
        BARE,
        partial(start_python, name=BARE, module="bare", shaped=True),
        "line",
        {"websocket": "/", "sse": "/"},
    ),
    NCHAN: Contender(NCHAN, start_nchan, "publish", {"websocket": "/sub", "sse": "/sub"}),
    NATS: Contender(
        NATS, start_nats, "publish", {"websocket": "/"}, hello=wire.masked(wire.NATS_FOLLOW)
    ),
    PUSHPIN: Contender(PUSHPIN, start_pushpin, "publish", {"websocket": "/", "sse": "/"}),
    WEBSOCKETS: Contender(
        WEBSOCKETS,
        partial(start_python, name=WEBSOCKETS, module="broadcast", shaped=True),
        "line",
        {"websocket": "/", "deflate": "/"},
    ),
    FASTAPI: Contender(
        FASTAPI,
        partial(start_python, name=FASTAPI, module="fastapi_app"),
        "line",
        {"websocket": "/ws"},
    ),
}


def find(program: str) -> str | None:
    """A program, which Debian may keep where only root's path looks."""
    return shutil.which(program) or shutil.which(program, path="/usr/sbin")


def missing() -> dict[str, str]:
    """Peers that cannot take part, each with a sentence why."""
    absent = {}
    if not (find("nginx") and NCHAN_MODULE.exists()):
        absent[NCHAN] = left_out(NCHAN, "nginx libnginx-mod-nchan")
    for name in (NATS, PUSHPIN):
        if not find(name):
            absent[name] = left_out(name, name)
    if not shutil.which("node"):
        absent[NODE_GZIP] = absent[NODE_PLAIN] = "Node was left out: no `node` on the path."
    return absent | missing_packages()


def left_out(name: str, packages: str) -> str:
    """Why a peer of Debian's takes no part."""
    return f"{name} was left out: `scripts/install-system {packages}` needs Debian and root."


def missing_packages() -> dict[str, str]:
    """The same of those that come with the `bench` extra."""
    needed = {FASTAPI: ("fastapi", "uvicorn"), CRYPTOFEED: ("cryptofeed", "uvloop")}
    return {
        name: f"{name} was left out: install the `bench` extra."
        for name, packages in needed.items()
        if not all(importlib.util.find_spec(package) for package in packages)
    }


def get(port: int, path: str, timeout_s: float = 10.0) -> tuple[int, bytes]:
    """One GET without compression: status and body."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout_s)
    try:
        connection.request("GET", path, headers={"Accept-Encoding": "identity"})
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


def get_json(port: int, path: str) -> Any:
    """What a GET answers, healthy or degraded."""
    status, body = get(port, path)
    if status not in (200, 503):
        raise BenchError(f"GET {path} answered {status}: {body[:200]!r}")
    return json.loads(body)


def wait_until(
    ready: Callable[[], bool], timeout_s: float, what: str, pause_s: float = 0.05
) -> None:
    """Ask again and again; BenchError when the time is over."""
    deadline = time.monotonic() + timeout_s
    while not ready():
        if time.monotonic() > deadline:
            raise BenchError(f"waited {timeout_s:.0f} s in vain until {what}")
        time.sleep(pause_s)
