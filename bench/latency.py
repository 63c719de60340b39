"""From an upstream's byte to a client's: how long a record takes through a server, for most clients
and for the last of them.

Each record is timed when it leaves the feeder and when it is read at some of the clients, spread
over all that are connected: the clock is the same. The load generator's own share, from the arrival
of the bytes in its socket, as the kernel noted it, to its reading them, is told beside it.
"""

import statistics
from collections.abc import Iterator

from attrs import frozen

from .contenders import BARE, CONTENDERS, FLOWD, NATS, NCHAN, PUSHPIN, Bench, Contender
from .fanout import WARM_RECORDS, Scene, connect, emit
from .process import BenchError, Helper
from .report import Row
from .run import Run

SAMPLED = 200
PEERS = {"websocket": [FLOWD, BARE, NCHAN, NATS], "sse": [FLOWD, BARE, NCHAN]}
PER_S = 20_000
"""Records that reach clients in each second, together: such that every record is alone."""


@frozen
class Latency:
    """What one run came to, in milliseconds."""

    p50_ms: float
    p99_ms: float
    own_ms: float
    """The generator's share of p99."""


def measure(bench: Bench, contender: Contender, scene: Scene) -> Latency:
    """One run: start the server, connect the clients, warm up, time."""
    with (
        contender.start(bench, scene.shape) as server,
        Helper.start("bench.load", bench.cores.others) as (load, _ready),
    ):
        connect(load, server, contender, scene)
        emit(bench, load, contender, scene, WARM_RECORDS // 5, scene.rate)
        load.tell(do="time", count=scene.count, sampled=SAMPLED, timeout_s=scene.seconds + 10.0)
        bench.feeder.ask(
            do="emit",
            to=contender.feed,
            count=scene.count,
            rate=scene.rate,
            shape=scene.shape,
            length=scene.lengths.get(scene.shape, 300),
            times=True,
        )
        left = bench.feeder.answer()["left"]
        found = load.answer()
        server.check()
    if any(len(read) != scene.count for read in found["read"]):
        raise BenchError(f"{contender.name}: a timed client did not get every record")
    took = [at - then for read in found["read"] for at, then in zip(read, left, strict=True)]
    own = [
        late - came
        for read, arrived in zip(found["read"], found["came"], strict=True)
        for late, came in zip(read, arrived, strict=True)
    ]
    return Latency(
        statistics.median(took) * 1000, worst_of(took) * 1000, max(0.0, worst_of(own)) * 1000
    )


def worst_of(values: list[float]) -> float:
    """The value that one in a hundred exceeds."""
    return sorted(values)[len(values) * 99 // 100]


def rows(run: Run) -> Iterator[Row]:
    """A thousand clients and ten thousand, over WebSocket and SSE."""
    few, many = (1_000, 10_000) if run.plan.rounds > 1 else (200, 1_000)
    for shape, title in (("websocket", "WebSocket"), ("sse", "SSE")):
        for clients in (few, many):
            rate = PER_S / clients
            scene = run.scene(shape, clients, rate, max(run.plan.steady_s, 10 / rate))
            what = f"{title}, {clients} clients, {rate:g} records/s: upstream's byte to a client's"
            half, most = Row(f"{what}, p50", "ms"), Row(f"{what}, p99", "ms")
            own = Row(f"{what}, p99 of the generator's own share", "ms")

            def take(
                name: str, scene: Scene = scene, most: Row = most, own: Row = own
            ) -> tuple[float, str]:
                found = measure(run.bench, CONTENDERS[name], scene)
                most.add(name, found.p99_ms)
                own.add(name, found.own_ms)
                return found.p50_ms, ""

            peers = PEERS[shape] + ([PUSHPIN] if (shape, clients) == ("sse", few) else [])
            yield run.rounds(half, run.present(*peers), take)
            yield from (most, own)
