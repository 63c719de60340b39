"""Everything but fan-out: polls, ingest, memory, the most work at once, start and stop."""

import time
from pathlib import Path
from typing import Any

from attrs import frozen

from . import contenders, machine, wire
from .contenders import FLOWD, RETAIN, Bench, Contender, flowd_command, start_flowd
from .fanout import Scene, connect, emit
from .process import BenchError, Helper, Server, end, launch

STREAM = "/streams/force-orders"
CONNECTIONS = 32
FULL_SPEED = None


@frozen
class Polls:
    """Polls answered: per second of server CPU, and per second on the clock."""

    per_cpu_s: float
    per_s: float
    busy: float
    body_bytes: int
    plain_bytes: int


def fill(bench: Bench, server: Server, count: int) -> None:
    """Send the daemon records at full speed, and wait until they are in its stream."""
    before = newest(server.port)
    bench.feeder.ask(do="emit", to="exchange", count=count, rate=FULL_SPEED)
    bench.feeder.answer()
    contenders.wait_until(
        lambda: newest(server.port) >= before + count, 30.0, f"flowd has {count} more records"
    )


def newest(port: int) -> int:
    """The seq of the newest record: what follows the last dot of the position."""
    position = contenders.get_json(port, f"{STREAM}?limit=0")["position"]
    return int(str(position).rpartition(".")[2])


def snapshot_body(bench: Bench, server: Server) -> Path:
    """The daemon's own full snapshot as a file, for the peers to serve the same."""
    status, body = contenders.get(server.port, STREAM)
    records = body.count(wire.RECORD_TOKEN.encode())
    if status != 200 or records != RETAIN:
        raise BenchError(f"GET {STREAM} gave {status} and {records} records")
    path = bench.directory / "snapshot.json"
    path.write_bytes(body)
    return path


def polls(
    bench: Bench, server: Server, path: str, seconds: float, *, gzip: bool = True, etag: str = ""
) -> Polls:
    """Load a server with polls over 32 keep-alive connections; the first answer is checked."""
    lines = [f"GET {path} HTTP/1.1", f"Host: 127.0.0.1:{server.port}"]
    if gzip:
        lines.append("Accept-Encoding: gzip")
    if etag:
        lines.append(f"If-None-Match: {etag}")
    request: dict[str, Any] = {
        "do": "polls",
        "port": server.port,
        "head": "\r\n".join([*lines, "", ""]),
        "connections": CONNECTIONS,
        "limit": 10_000_000,
    }
    with Helper.start("bench.load", bench.cores.others) as (load, _ready):
        load.ask(seconds=0.3, **request)
        before = server.cpu()
        result = load.ask(seconds=seconds, **request)
        spent = server.cpu().since(before)
    expected = (304, 0) if etag else (200, RETAIN)
    if (result["status"], result["records"]) != expected:
        raise BenchError(
            f"{server.name}: {path} answered {result['status']} with {result['records']} records"
        )
    return Polls(
        per_cpu_s=result["answered"] / spent.total_s,
        per_s=result["answered"] / result["seconds"],
        busy=spent.total_s / result["seconds"],
        body_bytes=result["body_bytes"],
        plain_bytes=result["plain_bytes"],
    )


def etag_of(bench: Bench, server: Server, path: str) -> str:
    """The ETag with which a server answers, for conditional polls."""
    head = f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept-Encoding: gzip\r\n\r\n"
    with Helper.start("bench.load", bench.cores.others) as (load, _ready):
        result = load.ask(
            do="polls", port=server.port, head=head, connections=1, seconds=0.1, limit=1
        )
    if not result["etag"]:
        raise BenchError(f"{server.name}: {path} has no ETag")
    return str(result["etag"])


@frozen
class Ingest:
    """What one upstream frame costs the daemon, from its socket to the appended record."""

    cost_us: float
    per_s: float


def ingest(bench: Bench, count: int, rate: float | None) -> Ingest:
    """Frames over a real loopback WebSocket, with no client connected: only the way in."""
    with start_flowd(bench, "") as server:
        fill(bench, server, 500)
        first = newest(server.port)
        before = server.cpu()
        bench.feeder.ask(do="emit", to="exchange", count=count, rate=rate)
        started = bench.feeder.answer()["started"]
        contenders.wait_until(
            lambda: newest(server.port) >= first + count, 60.0, f"flowd has {count} more records"
        )
        took = time.monotonic() - started
        spent = server.cpu().since(before)
        return Ingest(cost_us=spent.total_s / count * 1e6, per_s=count / took)


def memory(bench: Bench, contender: Contender, steps: list[int]) -> dict[int, float]:
    """Bytes of resident memory per idle WebSocket client, at each number of clients.

    A hundred clients come and stay first, so that what a server loads once is not charged to them.
    """
    scene = Scene("websocket", 0, 1.0, 0, {})
    found = {}
    with (
        contender.start(bench, scene.shape) as server,
        Helper.start("bench.load", bench.cores.others) as (load, _ready),
    ):
        connect(load, server, contender, scene, 100)
        time.sleep(0.5)
        base, connected = server.rss(), 0
        for step in steps:
            connect(load, server, contender, scene, step - connected)
            connected = step
            time.sleep(0.5)
            found[step] = (server.rss() - base) / connected
        server.check()
    return found


@frozen
class Hold:
    """The most work of the loop at once, in processor time, as the daemon tells it: once all are
    connected, and at the end.
    """

    connecting_ms: float
    longest_ms: float
    complete: bool


def hold(bench: Bench, contender: Contender, clients: int, rate: float, count: int) -> Hold:
    """Connect so many clients, pass records to them, and ask the daemon how much it did at once."""
    scene = Scene("websocket", clients, rate, count, {})
    with (
        contender.start(bench, scene.shape) as server,
        Helper.start("bench.load", bench.cores.others) as (load, _ready),
    ):
        connect(load, server, contender, scene)
        connecting_ms = most_work_ms(server.port)
        _started, result = emit(bench, load, contender, scene, count, rate)
        return Hold(connecting_ms, most_work_ms(server.port), bool(result["complete"]))


def most_work_ms(port: int) -> float:
    """The most processor time that a step has had at once since the daemon's start."""
    return float(contenders.get_json(port, "/status")["loop"]["longest_work_ms"])


@frozen
class Restart:
    """Seconds until the restarted daemon answers, with what it remembered."""

    answers_s: float
    restored: int


def restart(bench: Bench, streams: int) -> Restart:
    """Fill a daemon's streams, stop it, start it again over the same state, ask until it
    answers.
    """
    state = bench.directory / f"restart-{machine.free_port()}.db"
    with start_flowd(bench, "", state, streams) as server:
        fill(bench, server, RETAIN)
        contenders.wait_until(
            lambda: retained(server.port) >= streams * RETAIN, 30.0, "all streams are full"
        )
    port = machine.free_port()
    command = flowd_command(bench, port, state, streams)
    started = time.monotonic()
    again = launch(FLOWD, command, port, bench.cores.server, bench.log(FLOWD), cwd=bench.directory)
    try:
        contenders.wait_until(lambda: answers(again), 20.0, "flowd answers /health", pause_s=0.002)
        took = time.monotonic() - started
        return Restart(took, retained(port))
    finally:
        end(again.process, grace_s=20.0)


def retained(port: int) -> int:
    """How many forced orders the daemon's streams hold."""
    streams = contenders.get_json(port, "/status")["streams"]
    return sum(one["records"] for one in streams if one["record"] == "Liquidation")


def answers(server: Server) -> bool:
    """Whether the daemon answers `/health` by now."""
    server.check()
    try:
        return contenders.get(server.port, "/health", timeout_s=2.0)[0] in (200, 503)
    except OSError:
        return False


def stop_with_stalled(bench: Bench, contender: Contender, clients: int) -> float:
    """Seconds from SIGTERM to the daemon's exit while clients read nothing.

    The clients' receive buffers are tiny, and more is sent than any socket holds.
    """
    with (
        contender.start(bench, "websocket") as server,
        Helper.start("bench.load", bench.cores.others) as (load, _ready),
    ):
        load.ask(
            do="connect",
            port=server.port,
            head=contender.head("websocket", server.port),
            count=clients,
            token=wire.RECORD_TOKEN,
            shape="websocket",
            receive_bytes=4_096,
        )
        fill(bench, server, 4_000)
        contenders.wait_until(
            lambda: contenders.get_json(server.port, "/status")["clients"]["behind"] >= clients,
            10.0,
            f"{clients} clients are behind",
        )
        took = end(server.process, grace_s=30.0)
        if server.process.returncode not in (0, None):
            raise BenchError(f"flowd ended with {server.process.returncode}")
        return took
