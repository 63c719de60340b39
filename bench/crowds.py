"""What many clients come to: memory of the daemon and of the kernel for each that is connected, the
price of a delivery by its bytes, and how soon all are back when their edge has died.

`python -m bench --only crowds`.
"""

import time
from collections.abc import Iterator
from pathlib import Path

from attrs import frozen

from . import edges
from .contenders import FLOWD, Bench
from .edges import CONTENDERS, REDIS, Layout
from .fanout import Scene, connect, emit
from .machine import Cpu
from .process import BenchError, Helper
from .report import Row
from .run import Run

IDLE = (1_000, 5_000, 10_000)
SIZES = (200, 1_000, 4_000, 16_000)
SIZED_CLIENTS, SIZED_RATE = 200, 50.0
STRANDED, MISSED = 2_000, 50
SLAB = Path("/proc/slabinfo")
SOCKETS = ("TCP", "sock_inode_cache", "filp", "eventpoll_epi", "dentry")
"""What the kernel keeps for each connection, apart from the bytes in it."""


@frozen
class Storm:
    """All clients of an edge that was killed come to another one: until the last one is connected,
    until it has what it missed, and what each cost the edge.
    """

    connected_s: float
    whole_s: float
    cost_us: float


def rows(run: Run) -> Iterator[Row]:
    """Everything about crowds."""
    if REDIS in edges.missing():
        raise BenchError(edges.missing()[REDIS])
    yield from idle(run)
    yield from sizes(run)
    yield from storm(run)


def idle(run: Run) -> Iterator[Row]:
    """Clients who are connected and get nothing. The first hundred are not counted."""
    with (
        edges.start_fleet(run.bench) as fleet,
        Helper.start("bench.load", run.bench.cores.others) as (load, _ready),
    ):
        edge, scene = fleet.edges[0], Scene("websocket", 0, 1.0, 0, {})
        connect(load, edge, CONTENDERS[FLOWD], scene, 100)
        time.sleep(0.5)
        base, kernel, connected = edge.rss(), sockets_bytes(), 0
        for step in IDLE if run.plan.rounds > 1 else IDLE[:1]:
            connect(load, edge, CONTENDERS[FLOWD], scene, step - connected)
            connected = step
            time.sleep(0.5)
            row = Row(f"memory of an edge per idle WebSocket client, {step} clients", "KiB")
            row.add(FLOWD, (edge.rss() - base) / connected / 1024)
            if kernel is not None and (now := sockets_bytes()) is not None:
                # Both ends of each connection are in this kernel.
                row.add("the kernel's", (now - kernel) / 2 / connected / 1024)
            run.say(f"{row.what}: {row.columns[1]} beside {row.columns[2]}")
            yield row
        edge.check()


def sockets_bytes() -> int | None:
    """What the kernel keeps for sockets; None where only root of the machine may know."""
    try:
        lines = SLAB.read_text().splitlines()
    except OSError:
        return None
    found = [line.split() for line in lines]
    return sum(int(one[1]) * int(one[3]) for one in found if one[0] in SOCKETS)


def sizes(run: Run) -> Iterator[Row]:
    """The price of a delivery by its length, each record sent alone."""
    what = f"{SIZED_CLIENTS} clients, {SIZED_RATE:g} records/s"
    found = {size: Row(f"edge, {what} of {size} bytes", "µs per record") for size in SIZES}
    for _ in range(run.plan.rounds):
        for size, row in found.items():
            row.add(FLOWD, sized(run.bench, size, min(run.plan.steady_s, 2.0)))
            run.say(f"{row.what}: {row.columns[1]}")
    yield from found.values()


def sized(bench: Bench, size: int, seconds: float) -> float:
    """One run with records of one length."""
    count = round(SIZED_RATE * seconds)
    scene = Scene("websocket", SIZED_CLIENTS, SIZED_RATE, count, {})
    with (
        edges.start_fleet(bench, Layout(lines=True)) as fleet,
        Helper.start("bench.load", bench.cores.others) as (load, _ready),
    ):
        edge = fleet.edges[0]
        connect(load, edge, CONTENDERS[FLOWD], scene)
        before = edge.cpu()
        load.tell(do="collect", count=count, timeout_s=seconds + 20.0)
        bench.feeder.ask(
            do="emit", to="line", count=count, rate=SIZED_RATE, shape="plain", length=size
        )
        bench.feeder.answer()
        found = load.answer()
        if not found["complete"]:
            raise BenchError(f"clients got {found['fewest']} to {found['most']} of {count}")
        spent = edge.cpu().since(before)
    return spent.total_s / int(found["records"]) * 1e6


def storm(run: Run) -> Iterator[Row]:
    """An edge is killed, and all its clients come to one other with their positions."""
    what = f"{STRANDED} clients whose edge was killed come to another, {MISSED} records behind"
    made = [
        Row(f"{what}: all connected", "s"),
        Row(f"{what}: all have what they missed", "s"),
        Row(f"{what}: the edge's part", "µs of CPU per client"),
    ]
    for _ in range(run.plan.rounds):
        found = stranded(run.bench)
        values = (found.connected_s, found.whole_s, found.cost_us)
        for row, value in zip(made, values, strict=True):
            row.add(FLOWD, value)
        run.say(f"{what}: {found.connected_s:.2f} s, {found.whole_s:.2f} s")
    yield from made


def stranded(bench: Bench) -> Storm:
    """One run: connect to one edge, kill it, and come to the other one."""
    scene, others = Scene("websocket", STRANDED, 100.0, MISSED, {}), bench.cores.others
    contender = CONTENDERS[FLOWD]
    with edges.start_fleet(bench, Layout(2)) as fleet:
        dying, other = fleet.edges
        with Helper.start("bench.load", others) as (before, _ready):
            connect(before, dying, contender, scene)
            after = edges.position_of(fleet.redis)
            emit(bench, before, contender, scene, MISSED, 100.0)
            dying.process.kill()
            dying.process.wait(10.0)
        with Helper.start("bench.load", others) as (load, _ready):
            spent = Cpu.of(other.pids).total_s
            began = time.monotonic()
            head = contender.head("websocket", other.port).replace("limit=0", f"after={after}")
            load.ask(
                do="connect",
                port=other.port,
                head=head,
                count=STRANDED,
                token=scene.token,
                shape="websocket",
            )
            connected = time.monotonic()
            found = load.ask(do="drain", quiet_s=1.0)
            spent = Cpu.of(other.pids).total_s - spent
            seen = [sample["records"] for sample in load.ask(do="verify")["sampled"]]
    if found["clients"] != STRANDED or set(seen) != {MISSED}:
        raise BenchError(f"{found['clients']} of {STRANDED} clients are back, with {seen} records")
    return Storm(connected - began, max(connected, found["last"]) - began, spent / STRANDED * 1e6)
