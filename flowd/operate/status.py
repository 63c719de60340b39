"""One Status value of everything that runs. JSON, the terminal's table and Prometheus' text are
made from it.
"""

from collections.abc import Mapping
from typing import Any

import trio
from attrs import define, field, frozen

from flowd.setup.supervisor import TASK as COMPONENT
from flowd.stream.log import Stream
from flowd.values.clock import Stopwatch, processor_time, stopwatch
from flowd.values.peers import ALONE

RECENT_S = 10.0
SHORT_S = 0.001
"""Steps up to here hold nobody."""
HELD_S = 1.0
"""A component that holds the loop for longer is not healthy …"""
HELD_FOR_S = 60.0
"""… for so long."""


@define(eq=False)
class Holds:
    """How often one component held the loop for over `HELD_S`, when last, and how long at most of
    late.
    """

    count: int = 0
    last: float = 0.0
    longest_s: float = 0.0


LAGS = 10
"""Who is behind by more than this part of what is held for it is not healthy."""


class LoopMeter(trio.abc.Instrument):
    """Measures how long single steps of tasks hold the event loop: what every reader waits for.

    Holds are told in wall time, and the longest also in processor time: where that is less, another
    process had the processor.
    """

    def __init__(self, watch: Stopwatch = stopwatch, work: Stopwatch = processor_time) -> None:
        self.steps = 0
        self.longest_s = 0.0
        self.longest_work_s = 0.0
        self.longest_task = ""
        self._watch = watch
        self._work = work
        self._began = self._since = watch()
        self._worked, self._looked = work(), self._began
        self._recent_s = [0.0, 0.0]
        self._task: trio.lowlevel.Task | None = None
        self._holds: dict[str, Holds] = {}

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        """A task begins to hold the loop."""
        began = self._began = self._watch()
        self._task = task
        # Processor time costs more than many a step: so it is asked for once in a while, and what
        # short steps took since then is counted with a long one.
        if began - self._looked >= SHORT_S:
            self._worked, self._looked = self._work(), began

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        """It gives it back."""
        now = self._watch()
        held_s = now - self._began
        self._task = None
        self.steps += 1
        if now - self._since > RECENT_S:
            self._recent_s = [0.0, self._recent_s[0]]
            self._since = now
        if held_s > self._recent_s[0]:
            self._recent_s[0] = held_s
            if held_s > self.longest_s:
                self.longest_s = held_s
                self.longest_task = task.name
        if held_s >= SHORT_S:
            worked = self._work()
            self.longest_work_s = max(self.longest_work_s, worked - self._worked)
            self._worked, self._looked = worked, now
        if held_s > HELD_S:
            self._note(owner(task), now, held_s)

    def _note(self, name: str, now: float, held_s: float) -> None:
        holds = self._holds.setdefault(name, Holds())
        of_late = now - holds.last <= HELD_FOR_S and holds.count
        holds.count += 1
        holds.last = now
        holds.longest_s = max(held_s, holds.longest_s) if of_late else held_s

    def holder(self) -> tuple[str, float] | None:
        """Who is in the middle of a step, and for how many seconds. May be asked from any
        thread.
        """
        task, began = self._task, self._began
        return None if task is None else (task_name(task), self._watch() - began)

    def holds_of(self, component: str) -> dict[str, Any]:
        """How a component held the loop: how often for over a second, and how long at most within
        the last minute, None if it did not.
        """
        holds = self._holds.get(f"{COMPONENT}{component}", Holds())
        lately = holds.count and self._watch() - holds.last <= HELD_FOR_S
        return {
            "loop_holds": holds.count,
            "loop_held_s": round(holds.longest_s, 1) if lately else None,
        }

    @property
    def recent_s(self) -> float:
        """The longest hold of the last `RECENT_S` to twice `RECENT_S` seconds."""
        return max(self._recent_s)

    def figures(self) -> dict[str, Any]:
        """How long the loop was held, for `/status`."""
        return {
            "longest_hold_ms": round(self.longest_s * 1000, 2),
            "longest_hold_task": self.longest_task,
            "longest_work_ms": round(self.longest_work_s * 1000, 2),
            "recent_hold_ms": round(self.recent_s * 1000, 2),
            "steps": self.steps,
        }

    def reset(self) -> None:
        """Measure anew: the daemon's start is not what readers wait for."""
        self.longest_s = self.longest_work_s = 0.0
        self.longest_task = ""
        self._recent_s = [0.0, 0.0]
        self._holds.clear()


def owner(task: trio.lowlevel.Task) -> str:
    """The name of the component's task that a task belongs to, or its own if it belongs to none."""
    above: trio.lowlevel.Task | None = task
    while above is not None:
        if above.name.startswith(COMPONENT):
            return above.name
        above = None if above.parent_nursery is None else above.parent_nursery.parent_task
    return task.name


def task_name(task: trio.lowlevel.Task) -> str:
    """A task as it is told to people: with the component that it belongs to."""
    whose = owner(task)
    return task.name if whose == task.name else f"{whose}, in {task.name},"


@frozen
class ComponentStatus:
    """One component.

    `lag_ms` is how old the newest record's event was when it was appended, where values have a
    time and no key; `problem` what is wrong though it runs, in a sentence; `behind` how many
    records of its inputs a transform or sink has still to read, and `behind_max` how many are held
    for it beyond what is retained; `overtaken` what it missed lately since that was not enough;
    `rate_per_s` records published over the last minute; `figures` what else its plugin counts and
    limits.
    """

    name: str
    table: str
    kind: str
    state: str
    error: str | None = None
    problem: str | None = None
    restarts: int = 0
    retry_in_s: float | None = None
    delivering: bool | None = None
    outage_since_ms: int | None = None
    connections: int = 0
    connected: bool | None = None
    messages: int = 0
    published: int = 0
    duplicates: int = 0
    dropped: dict[str, int] = field(factory=dict)
    figures: dict[str, float] = field(factory=dict)
    missed: int = 0
    rate_per_s: float = 0.0
    lag_ms: int | None = None
    behind: int = 0
    behind_max: int | None = None
    overtaken: str | None = None
    last_message_ago_ms: int | None = None
    last_record_ago_ms: int | None = None
    loop_holds: int = 0
    loop_held_s: float | None = None

    @property
    def healthy(self) -> bool:
        """Whether this component does what it is for, and lets others do so."""
        runs = self.state == "running" and self.delivering is not False
        well = self.problem is None and self.loop_held_s is None and self.overtaken is None
        return runs and well and not self.lags

    @property
    def lags(self) -> bool:
        """Whether it is so far behind that it may come to miss something."""
        return self.behind_max is not None and self.behind * LAGS > self.behind_max


@frozen
class StreamStatus:
    """One stream: where it is, what it retains, what limits it, and how many records are `held`
    beyond that for readers within the daemon. `kind` is that of the component that writes it, here
    or where it comes from; empty where flowd does, or nobody knows.
    """

    name: str
    record: str
    position: str
    records: int
    retain: int
    retain_age_s: float | None
    oldest_seq: int
    seen_ids: int
    held: int = 0
    kind: str = ""

    @classmethod
    def of(cls, stream: Stream[Any], kind: str = "") -> "StreamStatus":
        """How a stream is at this instant."""
        return cls(
            name=stream.name,
            record=stream.record.__name__,
            position=str(stream.head),
            records=len(stream),
            retain=stream.retain.count,
            retain_age_s=stream.retain.age_s,
            oldest_seq=stream.floor + 1,
            seen_ids=len(stream.seen),
            held=len(stream.held),
            kind=kind,
        )


@frozen
class Status:
    """The daemon at one instant, all parts of it.

    `role`, `behind`, `lag_ms` and `peers` are what plugins tell: what it is among other daemons, by
    how many records and how long it is behind as such, and who else there is, each as a `Peer`.
    `pair` is how it leads where another daemon stands by, or how it does so; else it is empty.
    """

    version: str
    healthy: bool
    started_ms: int
    uptime_s: float
    time_ms: int
    components: list[ComponentStatus]
    streams: list[StreamStatus]
    clients: dict[str, Any]
    snapshot: dict[str, Any]
    budgets: dict[str, Any]
    loop: dict[str, Any]
    memory: dict[str, Any]
    limits: dict[str, Any]
    plugins: list[dict[str, Any]]
    role: str = ALONE
    behind: int | None = None
    lag_ms: int | None = None
    peers: list[dict[str, Any]] = field(factory=list)
    pair: dict[str, Any] = field(factory=dict)

    def component(self, name: str) -> ComponentStatus | None:
        """One component by name."""
        return next((part for part in self.components if part.name == name), None)

    def health(self) -> dict[str, Any]:
        """The small answer of `/health`: healthy or why not."""
        wrong = {part.name: _why(part) for part in self.components if not part.healthy}
        trouble = trouble_with(self.snapshot)
        if trouble is not None:
            wrong["snapshot"] = trouble
        if self.pair.get("problem"):
            wrong["pair"] = self.pair["problem"]
        return {"status": "ok" if self.healthy else "degraded", "problems": wrong}


def trouble_with(snapshot: Mapping[str, Any]) -> str | None:
    """What is wrong with how state is kept, by its figures, in a sentence; None when nothing is."""
    if snapshot.get("error"):
        return f"state cannot be saved: {snapshot['error']}"
    if snapshot.get("journal_error"):
        return f"the journal {snapshot['journal_error']}: after a crash, clients would start anew"
    if snapshot.get("kept_bytes"):
        kept_mib = snapshot["kept_bytes"] >> 20
        return (
            "somebody reads the state file in a transaction that does not end: "
            f"{kept_mib} MiB of its write-ahead log cannot be given back"
        )
    return None


def _why(part: ComponentStatus) -> str:
    if part.state != "running":
        return f"{part.state}: {part.error}" if part.error else part.state
    if part.loop_held_s is not None:
        return f"held the event loop for {part.loop_held_s}s a moment ago: nobody was served"
    if part.delivering is False and part.problem is None:
        return "connected, but nothing is delivered" if part.connected else "connecting"
    if part.problem is not None:
        return part.problem
    if part.overtaken is not None:
        return part.overtaken
    return f"{part.behind} records behind, and {part.behind_max} are held for it"


class Rate:
    """Events per second over the last minute or so, from a counter looked at now and then."""

    def __init__(self) -> None:
        self._points: list[tuple[float, int]] = []

    def note(self, now: float, count: int) -> None:
        """The counter stands at `count` now."""
        self._points.append((now, count))
        while len(self._points) > 2 and self._points[1][0] <= now - 60:
            self._points.pop(0)

    def per_s(self, now: float, count: int) -> float:
        """The rate up to now."""
        if not self._points or now <= self._points[0][0]:
            return 0.0
        then, before = self._points[0]
        return round((count - before) / (now - then), 3)
