"""`python -m bench`: run the measures, show the table, and write `docs/performance.md`."""

import argparse
import contextlib
import datetime
import json
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from attrs import evolve
from rich.console import Console

from . import (
    carrying,
    contenders,
    crowds,
    discovery,
    executables,
    fanout,
    heatmap,
    history,
    hydromancer,
    intake,
    journal,
    latency,
    leaderboard,
    machine,
    pages,
    postgres,
    report,
    scaling,
    single,
    sinks,
    totals,
    tracking,
    volume,
)
from .contenders import (
    BARE,
    CONTENDERS,
    FASTAPI,
    FLOWD,
    NATS,
    NCHAN,
    NODE_GZIP,
    NODE_PLAIN,
    PUSHPIN,
    QUART,
    WEBSOCKETS,
    Bench,
)
from .process import ROOT, BenchError, Helper
from .report import Goal, Row
from .run import Plan, Run

PAGE = ROOT / "docs" / "performance.md"
STEADY = [Goal(1.15, BARE), Goal(1.0, NCHAN)]


def steady(
    run: Run, name: str, shape: str, goals: list[Goal], everybody: list[str]
) -> Iterator[Row]:
    """The price of one message to one client: to 500, and as many messages in all to a crowd."""
    plan = run.plan
    yield run.fan_out(
        f"{name}, 500 clients, 100 records/s",
        goals,
        [*everybody, PUSHPIN],
        run.scene(shape, 500, 100.0, plan.steady_s),
        plan.more_rounds,
    )
    yield run.fan_out(
        f"{name}, {plan.crowd} clients, {50_000 / plan.crowd:g} records/s",
        goals,
        everybody,
        run.scene(shape, plan.crowd, 50_000 / plan.crowd, plan.steady_s),
    )


def websocket(run: Run) -> Iterator[Row]:
    """Steady fan-out over WebSocket."""
    everybody, plan = [FLOWD, BARE, NCHAN, NATS, WEBSOCKETS, FASTAPI], run.plan
    yield from steady(run, "WebSocket", "websocket", STEADY, everybody)
    yield run.fan_out(
        f"WebSocket, {plan.crowd} clients, 100 records/s",
        STEADY,
        everybody[:5],
        run.scene("websocket", plan.crowd, 100.0, plan.steady_s / 2.5),
    )


def burst(run: Run) -> Iterator[Row]:
    """More records than anybody can send one by one: here it pays to send several at once."""
    goals = [Goal(0.25, NCHAN)]
    yield run.fan_out(
        "WebSocket burst, 500 clients, 2 000 records/s",
        goals,
        [FLOWD, BARE, NCHAN, NATS, WEBSOCKETS, FASTAPI],
        run.scene("websocket", 500, 2_000.0, run.plan.burst_s),
    )
    yield run.fan_out(
        f"WebSocket burst, {run.plan.crowd} clients, 2 000 records/s",
        goals,
        [FLOWD, BARE, NCHAN, NATS],
        run.scene("websocket", run.plan.crowd, 2_000.0, run.plan.burst_s / 2),
    )


def sse(run: Run) -> Iterator[Row]:
    """The same over Server-Sent Events, and a burst."""
    peers = [FLOWD, BARE, NCHAN]
    yield from steady(run, "SSE", "sse", [Goal(1.15, BARE)], peers)
    yield run.fan_out(
        "SSE burst, 500 clients, 2 000 records/s",
        [],
        peers,
        run.scene("sse", 500, 2_000.0, run.plan.burst_s),
    )


def deflate(run: Run) -> Iterator[Row]:
    """WebSocket with permessage-deflate negotiated by every client."""
    yield run.fan_out(
        "WebSocket compressed, 500 clients, 100 records/s",
        [],
        [FLOWD, WEBSOCKETS],
        run.scene("deflate", 500, 100.0, run.plan.steady_s / 2),
    )


def polls(run: Run) -> Iterator[Row]:
    """Full snapshots of 5 000 records, polled; and polls that find nothing new."""
    bench, plan = run.bench, run.plan
    full = Row(
        "polls of 5 000 records, gzip",
        "per second of server CPU",
        [Goal(150, NODE_GZIP, at_least=True), Goal(5, QUART, at_least=True)],
    )
    unchanged = Row("polls that find nothing new (304)", "per second of server CPU")

    with contenders.start_flowd(bench, "") as server:
        single.fill(bench, server, contenders.RETAIN)
        body = single.snapshot_body(bench, server)
        run.say(f"the snapshot has {body.stat().st_size} bytes of JSON")

    def measure(name: str, conditional: bool) -> tuple[float, str]:
        with contextlib.ExitStack() as stack:
            if name == FLOWD:
                server = stack.enter_context(contenders.start_flowd(bench, ""))
                single.fill(bench, server, contenders.RETAIN)
                path = single.STREAM
            elif name == QUART:
                server = stack.enter_context(contenders.start_quart(bench, body))
                path = single.STREAM
            else:
                server = stack.enter_context(contenders.start_node(bench, body))
                path = "/gzip" if name == NODE_GZIP else "/plain"
            etag = single.etag_of(bench, server, path) if conditional else ""
            found = single.polls(
                bench, server, path, plan.polls_s, gzip=name != NODE_PLAIN, etag=etag
            )
            run.say(
                f"  {name}: {found.per_s:.0f}/s on the clock, server {found.busy:.0%} busy,"
                f" {found.body_bytes} bytes of {found.plain_bytes}"
            )
            return found.per_cpu_s, ""

    names = run.present(FLOWD, NODE_GZIP, NODE_PLAIN, QUART)
    yield run.rounds(full, names, lambda name: measure(name, conditional=False))
    yield run.rounds(unchanged, [FLOWD, QUART], lambda name: measure(name, conditional=True))


def ingest(run: Run) -> Iterator[Row]:
    """From an upstream's frame to a record in the stream."""
    speed = Row("ingest at full speed", "records per second")
    cost = Row("ingest at full speed", "µs of CPU per frame")
    steady = Row("ingest at 1 000 frames/s", "µs of CPU per frame")
    frames = run.plan.frames

    def at_full_speed(_name: str) -> tuple[float, str]:
        found = single.ingest(run.bench, frames, single.FULL_SPEED)
        speed.add(FLOWD, found.per_s)
        return found.cost_us, ""

    def at_a_pace(_name: str) -> tuple[float, str]:
        return single.ingest(run.bench, frames // 10, 1_000.0).cost_us, ""

    yield run.rounds(cost, [FLOWD], at_full_speed)
    yield speed
    yield run.rounds(steady, [FLOWD], at_a_pace)


def memory(run: Run) -> Iterator[Row]:
    """What an idle client costs in resident memory."""
    steps = [1_000, 4_000]
    rows = {
        step: Row(f"memory per idle WebSocket client, {step} clients", "KiB", [Goal(8.0)])
        for step in steps
    }
    for name in run.present(FLOWD, WEBSOCKETS, FASTAPI):
        try:
            found = single.memory(run.bench, CONTENDERS[name], steps)
        except (BenchError, OSError) as error:
            for row in rows.values():
                row.fail(name, f"was not measured ({error})")
            run.say(f"[red]memory: {name}: {error}[/red]")
            continue
        for step, size in found.items():
            rows[step].add(name, size / 1024)
            run.say(f"memory: {name} {size / 1024:.1f} KiB per client of {step}")
    yield from rows.values()


def hold(run: Run) -> Iterator[Row]:
    """The most work that one thing did at once, while 4 000 clients come and are served."""
    clients, rate = 4_000, 10.0
    row = Row(
        f"most work of the loop at once, {clients} clients come, then {rate:g} records/s",
        "ms",
        [Goal(5.0)],
    )

    def measure(_name: str) -> tuple[float, str]:
        found = single.hold(
            run.bench, CONTENDERS[FLOWD], clients, rate, round(rate * run.plan.steady_s)
        )
        run.say(f"  {found.connecting_ms:.1f} ms once connected, then {found.longest_ms:.1f} ms")
        return found.longest_ms, "" if found.complete else "did not reach all with every record"

    yield run.rounds(row, [FLOWD], measure)


def restart(run: Run) -> Iterator[Row]:
    """Start with full streams to restore, and stop with clients who read nothing."""
    streams = 6
    start = Row(
        f"start until /health answers, {streams} streams of 5 000 restored", "s", [Goal(0.5)]
    )
    stop = Row("SIGTERM until exit, 100 stalled clients", "s")

    def measure_start(_name: str) -> tuple[float, str]:
        found = single.restart(run.bench, streams)
        whole = found.restored == streams * contenders.RETAIN
        lost = "" if whole else f"restored {found.restored} records"
        return found.answers_s, lost

    def measure_stop(_name: str) -> tuple[float, str]:
        return single.stop_with_stalled(run.bench, CONTENDERS[FLOWD], 100), ""

    yield run.rounds(start, [FLOWD], measure_start)
    yield run.rounds(stop, [FLOWD], measure_stop)


MEASURES: dict[str, Callable[[Run], Iterator[Row]]] = {
    "websocket": websocket,
    "burst": burst,
    "sse": sse,
    "latency": latency.rows,
    "deflate": deflate,
    "polls": polls,
    "ingest": ingest,
    "intake": intake.rows,
    "journal": journal.rows,
    "memory": memory,
    "hold": hold,
    "restart": restart,
    "history": history.rows,
    "postgres": postgres.rows,
    "volume": volume.rows,
    "hydromancer": hydromancer.rows,
    "discovery": discovery.rows,
    "totals": totals.rows,
    "leaderboard": leaderboard.rows,
    "heatmap": heatmap.rows,
    "tracking": tracking.rows,
    "scaling": scaling.rows,
    "carrying": carrying.rows,
    "crowds": crowds.rows,
    "sinks": sinks.rows,
    "pages": pages.rows,
    "executables": executables.rows,
}


def main() -> None:
    """Take the measures that are asked for, one after the other; one that fails leaves a gap."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one short round, writes no page")
    parser.add_argument("--only", action="append", choices=MEASURES, help="measure only this")
    parser.add_argument("--skip", action="append", default=[], help="leave out this contender")
    parser.add_argument("--rounds", type=int, help="repeat each measure so often")
    parser.add_argument("--json", type=Path, help="write every figure to this file")
    parser.add_argument("--page", type=Path, help="write the page here, whatever was measured")
    given = parser.parse_args()
    console = Console(stderr=True)
    plan = Plan.of(given.quick)
    if given.rounds:
        plan = evolve(plan, rounds=given.rounds)
    machine.raise_file_limit()
    cores = machine.Cores.choose()
    absent = {**contenders.missing(), **{name: f"{name} was left out." for name in given.skip}}
    started = time.monotonic()
    os.sched_setaffinity(0, {cores.others})
    rows: list[Row] = []
    foreign: list[float] = []
    lengths: dict[str, int] = {}
    with tempfile.TemporaryDirectory(prefix="flowd-bench-") as directory:
        os.chmod(directory, 0o755)  # nginx's worker is somebody else.
        for name in given.only or MEASURES:
            try:
                # A folder and a feeder each: one that ends has spoilt one measure.
                (folder := Path(directory, name)).mkdir(mode=0o755)
                with Helper.start("bench.feeder", cores.others) as (feeder, ports):
                    told = ports["exchange"], ports["line"]
                    bench = Bench(cores, feeder, *told, folder)
                    run = Run(bench, plan, absent, console, lengths, foreign, started)
                    for row in MEASURES[name](run):
                        rows.append(row)
            except (BenchError, OSError, ValueError, KeyError) as error:
                console.print(f"[red]{name}: {error}[/red]", highlight=False)
    notes = list(dict.fromkeys(absent.values()))
    if not cores.apart:
        notes.append("There was only one core: server and clients shared it, compare with care.")
    crowded = sorted(foreign)[len(foreign) // 2] if foreign else 0.0
    if crowded > fanout.FOREIGN_MAX:
        notes.append(
            f"Something else used {crowded:.0%} of a core during this run (median), although each"
            " measure of fan-out was tried up to three times: compare with care."
        )
    about = report.about() | {
        "rounds": plan.rounds,
        "minutes": max(1.0, (time.monotonic() - started) / 60),
        "date": datetime.date.today().isoformat(),
    }
    report.show(Console(width=150), rows, notes)
    if given.json:
        figures = [
            {"what": row.what, "unit": row.unit, **{n: c.values for n, c in row.cells.items()}}
            for row in rows
        ]
        given.json.write_text(json.dumps(figures, indent=1, ensure_ascii=False), encoding="utf-8")
    whole = not (given.quick or given.only or given.skip)
    if given.page or whole:
        report.write(given.page or PAGE, rows, notes, about)
        console.print(f"wrote {given.page or PAGE}", highlight=False)


if __name__ == "__main__":
    main()
