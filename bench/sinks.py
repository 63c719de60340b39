"""What it costs a daemon to send each record to a broker: Redis, NATS JetStream and Kafka, beside a
daemon that sends it to nobody.

`python -m bench --only sinks`. A whole daemon in a process of its own publishes liquidations at a
pace; what it spends on each, threads of its libraries included, is what differs. Kafka is the mock
cluster of librdkafka, in the bench's own process, so how fast a real one answers is not told.
"""

import argparse
import contextlib
import sys
import time
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest
import trio
from attrs import frozen

from flowd.process import settle
from tests.edge.jetstream import JetStreamServer
from tests.edge.mockkafka import MockKafka

from . import edges, whole
from .contenders import FLOWD, Bench
from .edges import REDIS
from .journal import SOURCE
from .process import BenchError, alone
from .report import Row
from .run import Run

NONE, NATS, KAFKA = "no broker", "NATS JetStream", "Kafka (mock)"
RATE, SECONDS, WARM_S = 1_000, 3.0, 1.0
KINDS = {"redis": "url", "nats": "url", "kafka": "servers"}
CONFIG = """\
[flowd]
listen = "127.0.0.1:0"
save_every = "10m"

[sources.orders]
kind = "bench-orders"
rate = {rate}
"""
SINK = """
[sinks.broker]
kind = "{kind}"
inputs = ["orders"]
{setting} = "{where}"
"""


@frozen
class Found:
    """Microseconds of CPU per record; how many the broker had not got when the measure ended."""

    cpu_us: float
    behind: int


async def measure(directory: Path, kind: str, where: str, rate: int, seconds: float) -> Found:
    """Run the daemon, let it come to speed, and watch it for so many seconds."""
    text, plugins = CONFIG.format(rate=rate), []
    if kind:
        text += SINK.format(kind=kind, setting=KINDS[kind], where=where)
        plugins = [import_module(f"flowd_{kind}")]
    async with whole.daemon(text, directory, SOURCE, *plugins) as daemon:
        await trio.sleep(WARM_S)
        settle()
        stream = daemon.streams["orders"]
        first, spent = stream.seq, time.process_time()
        await trio.sleep(seconds)
        spent, records = time.process_time() - spent, stream.seq - first
        behind = daemon.readings["broker"][0].behind if kind else 0
    return Found(spent / records * 1e6, behind)


def rows(run: Run) -> Iterator[Row]:
    """The same records to each of them, in turns."""
    if REDIS in edges.missing():
        raise BenchError(edges.missing()[REDIS])
    row = Row(f"a daemon of {RATE} records/s that sends each to Redis", "µs of CPU per record")
    with contextlib.ExitStack() as stack:
        brokers = started(run.bench, stack)

        def take(name: str) -> tuple[float, str]:
            kind, where = brokers[name]
            found = run_once(kind, where)
            late = found.behind > RATE
            return found.cpu_us, f"did not keep up: {found.behind} are waiting" if late else ""

        yield run.rounds(row, list(brokers), take)


def started(bench: Bench, stack: contextlib.ExitStack) -> dict[str, tuple[str, str]]:
    """Those that are here, each with the sink's kind and where it is."""
    redis = stack.enter_context(edges.start_redis(bench))
    found = {FLOWD: ("redis", f"redis://127.0.0.1:{redis.port}/0"), NONE: ("", "")}
    with contextlib.suppress(pytest.skip.Exception):
        folder = bench.log(NATS).with_suffix("")
        folder.mkdir()
        found[NATS] = "nats", stack.enter_context(JetStreamServer(folder)).start().url
    kafka = stack.enter_context(MockKafka())
    kafka.create("flowd.orders")
    found[KAFKA] = "kafka", kafka.servers
    return found


def run_once(kind: str, where: str) -> Found:
    """One run, in a process of its own."""
    wanted = ["--kind", kind, "--where", where, "--rate", str(RATE), "--seconds", str(SECONDS)]
    return Found(**alone("bench.sinks", *wanted, timeout_s=SECONDS + 60))


def child() -> None:
    """One run in this process; what it came to, as a line of JSON."""
    parser = whole.parser("bench.sinks", __doc__, RATE, SECONDS)
    parser.add_argument("--kind", choices=["", *KINDS], default="", help=argparse.SUPPRESS)
    parser.add_argument("--where", default="", help=argparse.SUPPRESS)
    given = parser.parse_args()
    whole.answer(measure, given.kind, given.where, given.rate, given.seconds)


if __name__ == "__main__":
    assert "--child" in sys.argv, "python -m bench --only sinks"
    child()
