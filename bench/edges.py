"""One ingest daemon, Redis, and edges that follow it, each a process; what Redis says of itself.

The ingest follows the feeder as every other flowd here. What is measured has the server's core for
itself, all else shares the other one.
"""

import contextlib
import shutil
import socket
import sys
from collections.abc import Collection, Iterator
from pathlib import Path

from attrs import frozen

from . import contenders, machine
from .contenders import FLOWD, NCHAN, NCHAN_MODULE, Bench, Contender, filled, find
from .process import ROOT, BenchError, Server, launch, serving

REDIS = "Redis"
NOTHING = b"$-1"
"""What it answers where there is nothing."""
STREAM = "force-orders"
RETAIN = 5_000
HEAD = """\
[flowd]
listen = "127.0.0.1:{port}"
state = "{state}"
max_clients = 21000
max_clients_per_address = 21000
max_connections_per_address = 21000

[sinks.http]
kind = "http"

[sinks.sse]
kind = "sse"

[sinks.websocket]
kind = "websocket"
"""
EXCHANGE = """
[sources.force-orders]
kind = "binance-force-order"
symbols = ["*"]
url = "ws://127.0.0.1:{feed}/market"
retain = {retain}
"""
LINES = """
[sources.force-orders]
kind = "bench-lines"
port = {feed}
retain = {retain}
"""
TO_REDIS = """
[sinks.redis]
kind = "redis"
inputs = ["force-orders"]
url = "redis://127.0.0.1:{redis}/0"
"""
FROM_REDIS = """
[sources.upstream]
kind = "redis"
url = "redis://127.0.0.1:{redis}/0"
streams = ["force-orders"]
"""
ARRIVALS = """
[sinks.arrivals]
kind = "bench-arrivals"
input = "force-orders"
path = "{path}"
"""


@frozen
class Fleet:
    """All processes of a run."""

    redis: Server
    ingest: Server
    edges: list[Server]

    def check(self) -> None:
        """BenchError when one of them has ended."""
        for server in (self.redis, self.ingest, *self.edges):
            server.check()


@frozen
class Layout:
    """What a fleet is to be: how many edges, of what records, on which cores."""

    edges: int = 1
    lines: bool = False
    """Records of any length, instead of an exchange's."""
    retain: int = RETAIN
    arrivals: bool = False
    """Ingest and edges note when each record was there, in files beside their configuration."""
    edge_cores: Collection[int] = ()
    """Where edges run; empty is the server's core."""
    other_cores: Collection[int] = ()
    """Where Redis and the ingest run; empty is the other one."""


@contextlib.contextmanager
def start_redis(bench: Bench, cores: Collection[int] = ()) -> Iterator[Server]:
    """A Redis that saves each second what was written, as one does whose data are to be kept."""
    program = redis_program()
    if program is None:
        raise BenchError(missing()[REDIS])
    port = machine.free_port()
    folder = bench.log(REDIS).with_suffix("")
    folder.mkdir()
    command = [program, "--port", str(port), "--bind", "127.0.0.1", "--dir", str(folder)]
    command += ["--save", "", "--appendonly", "yes", "--appendfsync", "everysec"]
    command += ["--auto-aof-rewrite-percentage", "0"]
    cores = cores or (bench.cores.others,)
    with serving(launch(REDIS, command, port, cores, bench.log(REDIS))) as running:
        yield running


@contextlib.contextmanager
def start_fleet(bench: Bench, layout: Layout | None = None) -> Iterator[Fleet]:
    """Redis, the ingest connected to the feeder, and edges that have followed it."""
    layout = layout or Layout()
    others = layout.other_cores or (bench.cores.others,)
    with contextlib.ExitStack() as stack:
        redis = stack.enter_context(start_redis(bench, others))
        feed = bench.line_port if layout.lines else bench.exchange_port
        source = LINES if layout.lines else EXCHANGE
        text = source.format(feed=feed, retain=layout.retain) + TO_REDIS.format(redis=redis.port)
        ingest = stack.enter_context(start_daemon(bench, "ingest", text, layout, others))
        to = "line" if layout.lines else "exchange"
        if not bench.feeder.ask(do="wait", to=to, timeout_s=15.0)["ready"]:
            raise BenchError(f"the ingest did not connect to its feed:\n{said_by(ingest)}")
        if layout.lines:
            bench.feeder.ask(do="emit", to=to, count=1, rate=None, shape="plain", length=100)
        else:
            bench.feeder.ask(do="emit", to=to, count=1, rate=None)
        bench.feeder.answer()
        contenders.wait_until(
            lambda: length_of(redis) >= 1, 15.0, f"Redis has a record:\n{said_by(ingest)}"
        )
        text = FROM_REDIS.format(redis=redis.port)
        cores = layout.edge_cores or (bench.cores.server,)
        edges = [
            stack.enter_context(start_daemon(bench, f"edge-{number}", text, layout, cores))
            for number in range(layout.edges)
        ]
        yield Fleet(redis, ingest, edges)


@contextlib.contextmanager
def start_daemon(
    bench: Bench, name: str, text: str, layout: Layout, cores: Collection[int]
) -> Iterator[Server]:
    """A daemon with these components."""
    port = machine.free_port()
    config = bench.directory / f"{name}-{port}.toml"
    text = HEAD.format(port=port, state=config.with_suffix(".db")) + text
    if layout.arrivals:
        text += ARRIVALS.format(path=arrivals_of(config))
    config.write_text(text, encoding="utf-8")
    command = [sys.executable, "-m", "flowd.cli", "run", "-c", str(config)]
    command += ["--plugins-dir", str(ROOT / "bench" / "plugged")]
    log = bench.log(name)
    with serving(launch(name, command, port, cores, log, cwd=bench.directory)) as running:
        yield running


def arrivals_of(config: Path) -> Path:
    """Where a daemon notes when each record was there."""
    return config.with_suffix(".arrivals")


def said_by(server: Server) -> str:
    """The end of its log, indented."""
    return "\n".join(f"  {line}" for line in machine.lines_of(server.log, 8))


# -- as contenders of fan-out and latency --


@contextlib.contextmanager
def start_edge(bench: Bench, _shape: str) -> Iterator[Server]:
    """An edge, whose cost is measured; all that feeds it is on the other core."""
    with start_fleet(bench) as fleet:
        yield fleet.edges[0]


@contextlib.contextmanager
def start_nchan_edge(bench: Bench, _shape: str) -> Iterator[Server]:
    """The same of Nchan: one nginx takes what is posted, Redis passes it on, another one has the
    subscribers.
    """
    with start_redis(bench) as redis, contextlib.ExitStack() as stack:
        cores = {"taking": bench.cores.others, "serving": bench.cores.server}
        taking, serving_one = (
            stack.enter_context(start_nginx(bench, f"{NCHAN} {name}", redis, core))
            for name, core in cores.items()
        )
        bench.feeder.ask(do="publish_to", port=taking.port, form="nchan")
        yield serving_one


@contextlib.contextmanager
def start_nginx(bench: Bench, name: str, redis: Server, core: int) -> Iterator[Server]:
    """One nginx with Nchan that shares its channels through Redis."""
    port, log = machine.free_port(), bench.log(name)
    config = filled(
        "nchan-redis.conf", log.with_suffix(""), module=NCHAN_MODULE, port=port, redis=redis.port
    )
    nginx = find("nginx")
    assert nginx
    folder = config.parent
    command = [nginx, "-p", str(folder), "-c", str(config), "-e", str(folder / "error.log")]
    with serving(launch(name, command, port, core, log, of_workers=True)) as running:
        yield running


NCHAN_EDGE, ALONE = "Nchan through Redis", "one daemon"
PATHS = contenders.CONTENDERS[FLOWD].paths
CONTENDERS = {
    FLOWD: Contender(FLOWD, start_edge, "exchange", PATHS),
    NCHAN_EDGE: Contender(
        NCHAN_EDGE, start_nchan_edge, "publish", {"websocket": "/sub", "sse": "/sub"}
    ),
    ALONE: contenders.CONTENDERS[FLOWD],
}


# -- what Redis says --


def ask(redis: Server, *command: str) -> bytes:
    """One answer of Redis', raw: a line, or a text with its length before it."""
    parts = [part.encode() for part in command]
    wire = b"*%d\r\n" % len(parts) + b"".join(b"$%d\r\n%s\r\n" % (len(p), p) for p in parts)
    with socket.create_connection(("127.0.0.1", redis.port), 10) as asked:
        asked.sendall(wire)
        answer = b""
        while not whole(answer):
            data = asked.recv(65_536)
            if not data:
                raise BenchError("Redis closed a connection")
            answer += data
    if answer.startswith(b"-"):
        raise BenchError(f"Redis refuses {command[0]}: {answer.decode().strip()}")
    return answer


def whole(answer: bytes) -> bool:
    """Whether a line, or a text of the length that it tells, is there to its end."""
    head, end, rest = answer.partition(b"\r\n")
    if not end or not head.startswith(b"$"):
        return bool(end)
    return len(rest) >= int(head[1:]) + 2 if head != NOTHING else True


def text_of(answer: bytes) -> str:
    """The text without its length; empty where there is nothing."""
    return answer.partition(b"\r\n")[2].strip().decode()


def figure_of(redis: Server, section: str, name: str) -> float:
    """A figure of `INFO`."""
    for line in ask(redis, "INFO", section).splitlines():
        key, _, value = line.partition(b":")
        if key.decode() == name:
            return float(value)
    raise BenchError(f"Redis' INFO {section} has no {name}")


def cpu_of(redis: Server) -> float:
    """Seconds of CPU so far, by INFO: the server's own, without children that rewrite files."""
    return sum(figure_of(redis, "cpu", f"used_cpu_{kind}") for kind in ("sys", "user"))


def entries_key(redis: Server) -> str:
    """The key of the stream's entries."""
    return f"flowd:{{{STREAM}}}:{epoch_of(redis)}"


def epoch_of(redis: Server) -> str:
    """The stream's epoch."""
    return text_of(ask(redis, "HGET", f"flowd:{{{STREAM}}}", "epoch"))


def position_of(redis: Server) -> str:
    """Up to where Redis has the stream, as clients say it."""
    return f"{epoch_of(redis)}.{length_of(redis)}"


def length_of(redis: Server) -> int:
    """The number of the newest record in Redis, 0 before the first."""
    return int(text_of(ask(redis, "HGET", f"flowd:{{{STREAM}}}", "seq")) or 0)


def redis_program() -> str | None:
    """Redis or Valkey, where there is one."""
    return shutil.which("redis-server") or shutil.which("valkey-server")


def missing() -> dict[str, str]:
    """Who cannot take part, each with a sentence why."""
    absent = {}
    if redis_program() is None:
        absent[REDIS] = contenders.left_out("Scaling through Redis", "redis-server")
    if NCHAN in contenders.missing():
        absent[NCHAN_EDGE] = contenders.missing()[NCHAN]
    return absent
