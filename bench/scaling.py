"""Many daemons behind one stream: what an edge's delivery costs, how late it comes there, and how
many deliveries a second one, two and three edges make on the cores there are.

`python -m bench --only scaling`. One ingest follows the feeder and writes to Redis, edges follow
Redis, clients follow edges: all real processes. The same clients at one daemon alone, and at nginx
with Nchan fed through Redis, take part in the same run.
"""

import contextlib
import statistics
from collections.abc import Iterator, Sequence
from functools import partial

from attrs import frozen

from . import contenders, edges, fanout, latency
from .contenders import FLOWD, Bench
from .edges import ALONE, CONTENDERS, NCHAN_EDGE, REDIS, Layout
from .fanout import WARM_RECORDS, Scene, connect, emit
from .machine import Cpu
from .plugged.probe import ARRIVED
from .process import BenchError, Helper, Server
from .report import Row
from .run import Run, remark_on

EDGES_MAX = 3
RATES = (10.0, 100.0, 1_000.0, 5_000.0)
"""Records a second of which it is measured how late they are at an edge."""
WATCHING = 20
"""Clients of the edge meanwhile."""
FULL_CLIENTS, FULL_RATE = 1_000, 1_000.0
"""More deliveries than the cores of a small machine make."""


@frozen
class Late:
    """From the ingest's ring to that of an edge, and from there on to its clients, in ms."""

    ring_p50: float
    ring_p99: float
    client_p50: float
    client_p99: float


@frozen
class Carried:
    """Deliveries of several daemons together: a second on the clock, and what they cost, in µs of
    CPU. Of Redis and the ingest it is the price of a record.
    """

    per_s: float
    cost_us: float
    redis_us: float
    ingest_us: float


def rows(run: Run) -> Iterator[Row]:
    """Everything about deliveries."""
    if REDIS in edges.missing():
        raise BenchError(edges.missing()[REDIS])
    run.absent.update(edges.missing())
    yield from fan_out(run)
    yield from lateness(run)
    yield from late_by_rate(run)
    yield from deliveries(run)


def fan_out(run: Run) -> Iterator[Row]:
    """What a delivery costs an edge, beside a daemon that has no Redis before it."""
    scene = run.scene("websocket", 500, 100.0, run.plan.steady_s)
    row = Row("edge behind Redis, WebSocket, 500 clients, 100 records/s", "µs per record")

    def measure(name: str) -> tuple[float, str]:
        found = fanout.run(run.bench, CONTENDERS[name], scene)
        run.foreign.append(found.foreign)
        return found.cost_us, remark_on(found)

    yield run.rounds(row, run.present(FLOWD, ALONE, NCHAN_EDGE), measure)


def lateness(run: Run) -> Iterator[Row]:
    """From upstream's byte to a client's, through Redis and without."""
    scene = run.scene("websocket", 500, 40.0, max(run.plan.steady_s, 2.0))
    what = "edge behind Redis, WebSocket, 500 clients, 40 records/s: upstream's byte to a client's"
    half, most = Row(f"{what}, p50", "ms"), Row(f"{what}, p99", "ms")

    def measure(name: str) -> tuple[float, str]:
        found = latency.measure(run.bench, CONTENDERS[name], scene)
        most.add(name, found.p99_ms)
        return found.p50_ms, ""

    yield run.rounds(half, run.present(FLOWD, ALONE, NCHAN_EDGE), measure)
    yield most


def late_by_rate(run: Run) -> Iterator[Row]:
    """How late a record is at the edge's ring, and at a client's, by how many there are."""
    found = {
        rate: [
            Row(f"from the ingest's stream, {rate:g} records/s, to {place}, {part}", "ms")
            for place in ("an edge's stream", "an edge's client")
            for part in ("p50", "p99")
        ]
        for rate in RATES
    }
    seconds = min(run.plan.steady_s, 2.0)
    for _ in range(run.plan.rounds):
        for rate, late in late_at(run.bench, RATES, seconds).items():
            run.say(f"{rate:g} records/s: at the edge after {late.ring_p50:.2f} ms (p50)")
            values = (late.ring_p50, late.ring_p99, late.client_p50, late.client_p99)
            for row, value in zip(found[rate], values, strict=True):
                row.add(FLOWD, value)
    for rows in found.values():
        yield from rows


def late_at(bench: Bench, rates: Sequence[float], seconds: float) -> dict[float, Late]:
    """At each pace: when each record was in the ingest's stream, the edge's, and with clients."""
    scene = Scene("websocket", WATCHING, rates[0], 0, {})
    taken: dict[float, tuple[int, list[list[float]]]] = {}
    with (
        edges.start_fleet(bench, Layout(arrivals=True)) as fleet,
        Helper.start("bench.load", bench.cores.others) as (load, _ready),
    ):
        contender = CONTENDERS[FLOWD]
        connect(load, fleet.edges[0], contender, scene)
        emit(bench, load, contender, scene, WARM_RECORDS, 100.0)
        for rate in rates:
            count = max(20, round(rate * seconds))
            first = edges.length_of(fleet.redis) + 1
            load.tell(do="time", count=count, sampled=WATCHING, timeout_s=seconds + 20.0)
            bench.feeder.ask(do="emit", to="exchange", count=count, rate=rate)
            bench.feeder.answer()
            taken[rate] = first, load.answer()["read"]
        fleet.check()
        there = arrivals(bench, fleet.ingest)
        here = arrivals(bench, fleet.edges[0])
    return {rate: late_of(first, read, there, here) for rate, (first, read) in taken.items()}


def late_of(
    first: int, read: list[list[float]], there: dict[int, float], here: dict[int, float]
) -> Late:
    """What the notes of one pace come to; numbers tell which records are meant."""
    count = len(read[0])
    if any(len(one) != count for one in read):
        raise BenchError(f"clients of the edge got {sorted({len(one) for one in read})} records")
    numbers = range(first, first + count)
    ring = [(here[number] - there[number]) * 1000 for number in numbers]
    clients = [
        (at - there[number]) * 1000 for one in read for number, at in zip(numbers, one, strict=True)
    ]
    return Late(
        statistics.median(ring),
        latency.worst_of(ring),
        statistics.median(clients),
        latency.worst_of(clients),
    )


def arrivals(bench: Bench, server: Server) -> dict[int, float]:
    """When each record was in a daemon's stream."""
    (path,) = bench.directory.glob(f"*-{server.port}.arrivals")
    noted = path.read_bytes()
    return dict(ARRIVED.iter_unpack(noted[: len(noted) // ARRIVED.size * ARRIVED.size]))


def deliveries(run: Run) -> Iterator[Row]:
    """As many as there can be: all clients at one daemon, and shared out among edges."""
    what = f"{FULL_CLIENTS} clients, {FULL_RATE:g} records/s, on {len(run.bench.cores.every)} cores"
    speed = Row(f"deliveries by {EDGES_MAX} edges, {what}", "per second")
    cost = Row(f"deliveries by {EDGES_MAX} edges, {what}, the edges' part", "µs of CPU per record")
    way = Row(f"on the way to {EDGES_MAX} edges, Redis' part", "µs of CPU per record")
    ingest = Row(f"on the way to {EDGES_MAX} edges, the ingest's part", "µs of CPU per record")
    names = {FLOWD: EDGES_MAX, ALONE: 0}
    names |= {f"{n} edge{'s' if n > 1 else ''}": n for n in range(1, EDGES_MAX)}

    def measure(name: str) -> tuple[float, str]:
        found = carried_to(run, names[name])
        cost.add(name, found.cost_us)
        if names[name]:
            way.add(name, found.redis_us)
            ingest.add(name, found.ingest_us)
        return found.per_s, ""

    yield run.rounds(speed, list(names), measure)
    yield from (cost, way, ingest)


def carried_to(run: Run, number: int) -> Carried:
    """One run: so many edges that share the clients; none is one daemon alone."""
    bench, every = run.bench, run.bench.cores.every
    count = round(FULL_RATE * min(run.plan.steady_s, 2.0))
    scene = Scene("websocket", FULL_CLIENTS, FULL_RATE, count, {})
    with contextlib.ExitStack() as stack:
        way: tuple[Server, ...] = ()
        if number:
            layout = Layout(number, edge_cores=every, other_cores=every)
            fleet = stack.enter_context(edges.start_fleet(bench, layout))
            serving, way = fleet.edges, (fleet.redis, fleet.ingest)
        else:
            start = partial(contenders.start_flowd, cores=every)
            serving = [stack.enter_context(start(bench, ""))]
        loads = [stack.enter_context(Helper.start("bench.load", every))[0] for _ in serving]
        contender = CONTENDERS[FLOWD]
        for place, (load, server) in enumerate(zip(loads, serving, strict=True)):
            share = FULL_CLIENTS // len(serving) + (place < FULL_CLIENTS % len(serving))
            connect(load, server, contender, scene, share)
        before = [Cpu.of(one.pids).total_s for one in (*way, *serving)]
        for load in loads:
            load.tell(do="collect", count=count, timeout_s=60.0)
        bench.feeder.ask(do="emit", to="exchange", count=count, rate=FULL_RATE)
        started = bench.feeder.answer()["started"]
        found = [load.answer() for load in loads]
        spent = [
            Cpu.of(one.pids).total_s - then
            for one, then in zip((*way, *serving), before, strict=True)
        ]
        _all_well(serving, found)
    delivered = sum(one["records"] for one in found)
    took = max(one["last"] for one in found) - started
    redis_s, ingest_s = spent[: len(way)] or (0.0, 0.0)
    return Carried(
        delivered / took,
        sum(spent[len(way) :]) / delivered * 1e6,
        redis_s / count * 1e6,
        ingest_s / count * 1e6,
    )


def _all_well(serving: list[Server], found: list[dict[str, int]]) -> None:
    """BenchError unless every client has every record."""
    for server in serving:
        server.check()
    if not all(one["complete"] for one in found):
        raise BenchError(f"not every client got every record: {found}")
