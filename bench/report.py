"""Figures become one table: medians, ratios to the peers of the same run, what was to be reached.

The same rows are printed to the terminal and written to the page.
"""

import statistics
import textwrap
from pathlib import Path
from typing import Any

from attrs import define, field, frozen
from rich.console import Console
from rich.table import Table

from . import machine
from .contenders import FLOWD

# By name, because they look like other characters.
TIMES = "\N{MULTIPLICATION SIGN}"
NOTHING = TO = "\N{EN DASH}"
REASONS = Path(__file__).with_name("reasons.md")
"""Why what is not reached is not: written by who looked into it, and part of every page."""
PACKAGES = (
    "trio",
    "websockets",
    "quart",
    "hypercorn",
    "fastapi",
    "uvicorn",
    "uvloop",
    "cryptofeed",
    "msgspec",
)


@frozen
class Goal:
    """What flowd's figure should be: times a peer's (`than`), or a number of its own."""

    limit: float
    than: str | None = None
    at_least: bool = False

    def __str__(self) -> str:
        sign = "≥" if self.at_least else "≤"
        return f"{sign} {self.limit:g}" + (f" {TIMES} {self.than}" if self.than else "")


@define
class Cell:
    """What one contender came to, each round a value; remarks are said under the table."""

    values: list[float] = field(factory=list)
    remarks: list[str] = field(factory=list)

    @property
    def median(self) -> float:
        """The figure that is quoted."""
        return statistics.median(self.values)

    def __str__(self) -> str:
        if not self.values:
            return NOTHING
        low, high = figure(min(self.values)), figure(max(self.values))
        spread = f" ({low}{TO}{high})" if low != high else ""
        return figure(self.median) + spread + (" †" if self.remarks else "")


@define
class Row:
    """One line of the table."""

    what: str
    unit: str
    goals: list[Goal] = field(factory=list)
    cells: dict[str, Cell] = field(factory=dict)

    def add(self, name: str, value: float, remark: str = "") -> None:
        """Note one round's value, and what is to be said about it."""
        cell = self.cells.setdefault(name, Cell())
        cell.values.append(value)
        if remark:
            cell.remarks.append(remark)

    def fail(self, name: str, remark: str) -> None:
        """Note that a round gave no value."""
        self.cells.setdefault(name, Cell()).remarks.append(remark)

    @property
    def peers(self) -> list[str]:
        """The peers' figures, in words."""
        return [f"{name} {cell}" for name, cell in self.cells.items() if name != FLOWD]

    @property
    def ratios(self) -> list[str]:
        """Against those that have a goal; against every peer where none has."""
        wanted = [goal.than for goal in self.goals if goal.than]
        names = wanted or [name for name in self.cells if name != FLOWD]
        ratios = [(name, self.ratio(name)) for name in names]
        return [f"{figure(ratio)} {TIMES} {name}" for name, ratio in ratios if ratio is not None]

    def ratio(self, name: str) -> float | None:
        """flowd's median by this peer's, None when either is missing."""
        ours, theirs = self.cells.get(FLOWD), self.cells.get(name)
        if not ours or not ours.values or not theirs or not theirs.values:
            return None
        return ours.median / theirs.median

    def reached(self, goal: Goal) -> bool | None:
        """None when it could not be measured."""
        ours = self.cells.get(FLOWD)
        value = self.ratio(goal.than) if goal.than else None
        if goal.than is None and ours and ours.values:
            value = ours.median
        if value is None:
            return None
        return value >= goal.limit if goal.at_least else value <= goal.limit

    @property
    def verdict(self) -> str:
        """Whether each goal was reached."""
        words = {True: "yes", False: "**no**", None: "not measured"}
        return ", ".join(words[self.reached(goal)] for goal in self.goals)

    @property
    def missed(self) -> str:
        """What was to be reached and was not, beside what was; empty when there is no such."""
        failed = [goal for goal in self.goals if self.reached(goal) is False]
        return "; ".join(
            f"{goal} was to be reached, and it is {figure(self.against(goal))}" for goal in failed
        )

    def against(self, goal: Goal) -> float:
        """flowd's figure as this goal looks at it."""
        value = self.ratio(goal.than) if goal.than else self.cells[FLOWD].median
        assert value is not None
        return value

    @property
    def columns(self) -> list[str]:
        """The line as the table shows it."""
        return [
            f"{self.what}, {self.unit}",
            str(self.cells.get(FLOWD, Cell())),
            "; ".join(self.peers),
            "; ".join(self.ratios),
            ", ".join(str(goal) for goal in self.goals),
            self.verdict,
        ]

    @property
    def notes(self) -> list[str]:
        """One line for each contender that needs one."""
        return [
            f"{self.what}: {name} {'; '.join(dict.fromkeys(cell.remarks))}."
            for name, cell in self.cells.items()
            if cell.remarks
        ]


HEADINGS = ["what", "flowd", "beside it", "ratio", "to reach", "reached"]


def figure(value: float) -> str:
    """Three digits that mean something."""
    if abs(value) >= 100:
        return f"{value:,.0f}".replace(",", " ")
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def show(console: Console, rows: list[Row], notes: list[str]) -> None:
    """Print the table and its notes."""
    table = Table(*HEADINGS, show_lines=True)
    for row in rows:
        table.add_row(*(cell.replace("**", "") for cell in row.columns))
    console.print(table)
    for note in [*(note for row in rows for note in row.notes), *notes]:
        console.print(f"† {note}", highlight=False)


def page(rows: list[Row], notes: list[str], about: dict[str, Any]) -> str:
    """The whole of `docs/performance.md`."""
    remarks = [note for row in rows for note in row.notes]
    parts = [
        "# Performance",
        *map(fold, INTRODUCTION.format(**about).split("\n\n")),
        "\n".join(
            [
                "| " + " | ".join(HEADINGS) + " |",
                "|" + "---|" * len(HEADINGS),
                *("| " + " | ".join(row.columns) + " |" for row in rows),
            ]
        ),
    ]
    if remarks:
        parts += ["† Did not keep up, or was not measured:", bullets(remarks)]
    meanings = [*MEANINGS.strip().split("\n\n"), *notes]
    parts += ["## What the figures mean", bullets(meanings)]
    missed = [f"{row.what}: {row.missed}." for row in rows if row.missed]
    reasons = REASONS.read_text(encoding="utf-8").strip()
    parts += ["## What is not reached, and why", bullets(missed or ["All was reached."]), reasons]
    return "\n\n".join(parts) + "\n"


def fold(text: str, indent: str = "") -> str:
    """A paragraph in lines of at most 100 columns."""
    return textwrap.fill(
        " ".join(text.split()),
        100,
        initial_indent=indent and "* ",
        subsequent_indent=indent,
        break_long_words=False,
        break_on_hyphens=False,
    )


def bullets(texts: list[str]) -> str:
    """A list, one item for each text."""
    return "\n".join(fold(text, "  ") for text in texts)


INTRODUCTION = """
Written by `python -m bench`; do not edit. flowd is measured beside real peers in one run: the same
messages, the same number of clients, one server process at a time on a core of its own, clients and
upstream on another core. Absolute figures belong to this machine; look at the ratios.

To repeat it: `make bench`, about {minutes:.0f} minutes. It installs what it measures besides: the
`bench` extra, and as root Debian's `nginx`, `libnginx-mod-nchan`, `nats-server`, `pushpin`,
`chromium` and Node.js.
`python -m bench --quick` gives a first impression.

Measured on {date}: {cpu}, {cores} cores, {memory_gib} GB, Linux {kernel}, Python {python},
{packages}. Medians of {rounds} or more interleaved rounds, lowest and highest in brackets (a peer
without a goal takes part in every other round).
"""

MEANINGS = """
**µs per record** is the server's user and system CPU time, from the first record until every client
has the last one, divided by the records that arrived at clients. flowd's includes receiving,
decoding and storing the record; the peers get finished messages of the same length, Nchan by HTTP
POST, NATS by its own protocol, Pushpin by ZeroMQ, the others as lines of text.

**The bare loop** is Trio with one non-blocking `send` per client and nothing else: no resume, no
care for slow clients. **websockets** is that library's asyncio server and its `broadcast`.
**FastAPI** runs on uvicorn and sends to one client after the other, with a deadline of 1 s each.
**nats-server** is Debian's, with its WebSocket listener; its clients speak NATS over WebSocket and
get the same JSON as the payload of a `MSG`. Like the bare loop it remembers nothing, so nobody can
resume there; it speaks no SSE, so it has no figure in those rows. **pushpin** is Debian's too: a
proxy that holds connections open for a back end, which it asks once for each client (that one runs
on the other core, and is not counted). Its figure is that of its processes together, which pass
every message to every client on from one to the other. It takes part with 500 clients, and in the
latency of SSE with the fewer: tried in a burst, of 200 records to 1 000 clients each one had one
when the time was over, and of 10 000 SSE clients it closed connections.

**Kept up** means that every client had every record at most 0.25 s after the last was due. Where
one did not, the share is what it achieved of the commanded pace.

**From upstream's byte to a client's** is timed from the moment at which the feeder sends a record
until each of 200 clients, spread over all, has read it: p50 is the middle of all these times, p99
what one in a hundred exceeds. The others' records wait in the kernel meanwhile, so that the load
generator, on the other core, is not what is measured; what it adds all the same, from the arrival
of the bytes in its socket, as the kernel noted it, to its reading them, is its own share, told
beside. With 10 000 clients a pass over all of them takes 10 000 times the price of one delivery,
and p50 is half of it.

Every client's records are counted; four clients of each run are decoded fully, and must have them
all in order.

**Polls** are counted per second of server CPU, so that the load generator's speed does not matter;
the first answer of each run is unpacked and must hold all 5 000 records. 32 keep-alive connections.

**Behind Redis** one ingest daemon, Redis and the edges are processes of their own: what is measured
is the edge, on a core of its own, and all that feeds it is on the other. **One daemon** is flowd
without any of that, with the same clients. **Nchan through Redis** is one nginx that takes what is
posted and another one that has the clients, with Redis between them. Times **from the ingest's
stream** begin when a record can be read there. **Deliveries by edges** are made on all cores that
there are, by all processes together with the clients: where there are fewer cores than processes,
more edges cannot make more deliveries, and the row shows what they cost instead.

**On the way** from the ingest's exchange to an edge without clients each process's CPU is counted
by itself; *without Redis* is the same daemon with the same records, which sends them to nobody.
Redis saves what it is sent each second (`appendfsync everysec`). What a further edge costs Redis is
the slope over 0 to 30 readers, which ask as edges do. **Idle clients** get nothing: the daemon's
part is the growth of its resident memory, the kernel's is what it keeps for sockets, files and
epoll, half of it, since both ends are here; bytes under way are in neither.

**The most work at once** is the processor time of a step, as the daemon says of itself in
`GET /status` from its start on, so it includes the arrival of all clients. On the clock a hold may
be longer, by whatever else had the processor.

**Intake** is a source alone in its process, from the socket to the appended record with its JSON.
cryptofeed gets the same frames, without TLS, up to a callback that does nothing: it checks less,
and remembers nothing.

**The journal's price** is the difference between two whole daemons that are fed from within, one
with the journal and one without any state file, which remembers nothing; no save falls
into a run. Records that come alone are a frame, and so a `write`, each; at full speed 32 share one.
With `durability = "disk"` each frame also waits for the disk, which takes time on the clock and
little of the processor: the row of records per second tells it.

**Pages** are opened in Chromium without a graphics card, beside an empty page in the same browser,
which takes its turn before each; daemon and browser share all cores. The first paint is counted
from the navigation, three times in each round, of which the median is told. Frames are those that
the browser draws in 4 s, while rows come or while the pointer drags the chart.

**Memory** is the growth of resident memory divided by the clients, after a first hundred of them;
the kernel's socket buffers are not in it.
"""


def write(path: Path, rows: list[Row], notes: list[str], about: dict[str, Any]) -> None:
    """Write the page."""
    path.parent.mkdir(exist_ok=True)
    path.write_text(page(rows, notes, about), encoding="utf-8")


def about() -> dict[str, Any]:
    """What the page says about the machine and its packages."""
    found = machine.versions(*PACKAGES)
    packages = ", ".join(f"{name} {version}" for name, version in found.items())
    return {**machine.describe(), "packages": packages}
