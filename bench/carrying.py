"""What a record costs on its way between daemons: the ingest that sends it, Redis that has it, the
edge that takes it; how many bytes it is there; and what each further edge costs Redis.

`python -m bench --only carrying`. There are no clients: what they cost is measured by `scaling`.
"""

import statistics
import time
from collections.abc import Iterator

from attrs import frozen

from . import contenders, edges
from .contenders import FLOWD, Bench
from .edges import REDIS, Fleet, Layout
from .machine import Cpu
from .process import BenchError, Helper, Server
from .report import Row
from .run import Run
from .single import newest

PACES: dict[str, float | None] = {
    "100 a second": 100.0,
    "1 000 a second": 1_000.0,
    "full speed": None,
}
MEMORY_RECORDS = 100_000
LINE_BYTES = 200
READERS = (0, 1, 10, 30)
READ_RATES = (100.0, 1_000.0)
ALONE = "without Redis"
UNIT = "µs of CPU per record"


@frozen
class Way:
    """Microseconds of CPU per record in each process, and records a second on the clock, from the
    first until the edge has the last one.
    """

    ingest_us: float
    redis_us: float
    edge_us: float
    per_s: float


def rows(run: Run) -> Iterator[Row]:
    """Everything about records on their way."""
    if REDIS in edges.missing():
        raise BenchError(edges.missing()[REDIS])
    yield from way(run)
    yield from memory(run)
    yield from readers(run)


def way(run: Run) -> Iterator[Row]:
    """Each process's part, beside a daemon that gets the same records and sends them to nobody."""
    for what, rate in PACES.items():
        title = f"from the ingest through Redis to an edge, {what}"
        made = [
            *(Row(f"{title}: {part}'s part", UNIT) for part in ("the ingest", "Redis", "the edge")),
            Row(title, "records/s"),
        ]
        count = run.plan.frames if rate is None else round(rate * min(run.plan.steady_s, 2.0))
        for _ in range(run.plan.rounds):
            found = sent(run.bench, count, rate)
            alone = kept(run.bench, count, rate)
            values = (found.ingest_us, found.redis_us, found.edge_us, found.per_s)
            for row, value in zip(made, values, strict=True):
                row.add(FLOWD, value)
            made[0].add(ALONE, alone)
            run.say(f"{title}: {values[0]:.1f}, {values[1]:.1f}, {values[2]:.1f} {UNIT}")
        yield from made


def sent(bench: Bench, count: int, rate: float | None) -> Way:
    """One run through all three."""
    with edges.start_fleet(bench, Layout()) as fleet:
        processes = (fleet.ingest, fleet.redis, fleet.edges[0])
        took, spent = fed(bench, fleet.edges[0], processes, count, rate)
        fleet.check()
    each = [one / count * 1e6 for one in spent]
    return Way(each[0], each[1], each[2], count / took)


def kept(bench: Bench, count: int, rate: float | None) -> float:
    """The same records at a daemon alone, with the core that the ingest would have."""
    with contenders.start_flowd(bench, "", cores=(bench.cores.others,)) as alone:
        bench.feeder.ask(do="emit", to="exchange", count=1, rate=None)
        bench.feeder.answer()
        contenders.wait_until(lambda: newest(alone.port) >= 1, 15.0, "flowd has a record")
        _took, spent = fed(bench, alone, (alone,), count, rate)
    return spent[0] / count * 1e6


def fed(
    bench: Bench, last: Server, processes: tuple[Server, ...], count: int, rate: float | None
) -> tuple[float, list[float]]:
    """Feed so many records: how long until the last daemon has them, and what each process spent.
    To ask it costs it something: it is asked ten times a second.
    """
    upto = newest(last.port) + count
    before = [Cpu.of(one.pids).total_s for one in processes]
    bench.feeder.ask(do="emit", to="exchange", count=count, rate=rate)
    told = bench.feeder.answer()
    limit_s = 60.0 + (count / rate if rate else 0.0)
    contenders.wait_until(
        lambda: newest(last.port) >= upto, limit_s, f"{last.name} has {count} more records", 0.1
    )
    spent = [Cpu.of(one.pids).total_s - then for one, then in zip(processes, before, strict=True)]
    return time.monotonic() - told["started"], spent


def memory(run: Run) -> Iterator[Row]:
    """Bytes in Redis per record, beside the bytes of its JSON."""
    title = f"memory of Redis, {MEMORY_RECORDS} records of {LINE_BYTES} bytes"
    row = Row(title, "bytes per record")
    layout = Layout(0, lines=True, retain=MEMORY_RECORDS)
    with edges.start_fleet(run.bench, layout) as fleet:
        before, first = edges.figure_of(fleet.redis, "memory", "used_memory"), 1
        run.bench.feeder.ask(
            do="emit",
            to="line",
            count=MEMORY_RECORDS - first,
            rate=None,
            shape="plain",
            length=LINE_BYTES,
        )
        run.bench.feeder.answer()
        contenders.wait_until(
            lambda: edges.length_of(fleet.redis) >= MEMORY_RECORDS, 120.0, "Redis has all", 0.2
        )
        grown = edges.figure_of(fleet.redis, "memory", "used_memory") - before
        newest_one = edges.ask(fleet.redis, "MEMORY", "USAGE", edges.entries_key(fleet.redis))
        run.say(f"{title}: the stream's key itself: {newest_one.decode().strip()}")
    row.add(FLOWD, grown / MEMORY_RECORDS)
    row.add("its JSON", LINE_BYTES + JSON_AROUND)
    yield row


JSON_AROUND = len('{"seq":100000,"time_ms":1790000000000,"value":{"text":""}}')


def readers(run: Run) -> Iterator[Row]:
    """What Redis spends on each record while so many edges follow it."""
    made = {
        rate: (
            Row(f"Redis' part of {rate:g} records/s, {READERS[-1]} edges follow", UNIT),
            Row(f"Redis' part of {rate:g} records/s, for each further edge", UNIT),
        )
        for rate in READ_RATES
    }
    with (
        edges.start_fleet(run.bench, Layout(0)) as fleet,
        Helper.start("bench.followers", run.bench.cores.server) as (followers, _ready),
    ):
        for _ in range(run.plan.rounds):
            for rate, (row, each) in made.items():
                count = round(rate * min(run.plan.steady_s, 2.0))
                found = {n: read_by(run.bench, fleet, followers, n, rate, count) for n in READERS}
                for number, cost in found.items():
                    row.add(FLOWD if number == READERS[-1] else f"{number} edges", cost)
                each.add(FLOWD, slope(found))
                run.say(f"{each.what}: {slope(found):.2f} {UNIT}")
    for pair in made.values():
        yield from pair


def slope(found: dict[int, float]) -> float:
    """What each reader adds: the median of what it is between all pairs (Theil and Sen)."""
    pairs = [(a, b) for a in found for b in found if a < b]
    return statistics.median((found[b] - found[a]) / (b - a) for a, b in pairs)


def read_by(
    bench: Bench, fleet: Fleet, followers: Helper, number: int, rate: float, count: int
) -> float:
    """Redis' CPU per record at this pace, with so many readers."""
    redis, first = fleet.redis, edges.length_of(fleet.redis)
    followers.tell(
        port=redis.port,
        key=edges.entries_key(redis),
        after=first,
        readers=number,
        until=first + count,
        timeout_s=count / rate + 20.0,
    )
    followers.answer()
    before = edges.cpu_of(redis)
    bench.feeder.ask(do="emit", to="exchange", count=count, rate=rate)
    bench.feeder.answer()
    contenders.wait_until(
        lambda: edges.length_of(redis) >= first + count, 30.0, "Redis has all", 0.1
    )
    if not followers.answer()["complete"]:
        raise BenchError(f"{number} readers did not get {count} records")
    return (edges.cpu_of(redis) - before) / count * 1e6
