"""One run of the benchmark: how much is measured, by whom, and what was found."""

import time
from collections.abc import Callable

from attrs import define, frozen
from rich.console import Console

from . import fanout, report
from .contenders import CONTENDERS, FLOWD, Bench
from .fanout import Delivery, Scene
from .process import BenchError
from .report import Goal, Row


@frozen
class Plan:
    """How much to measure: `--quick` gives an impression, a full run figures to quote."""

    rounds: int
    steady_s: float
    burst_s: float
    polls_s: float
    frames: int
    crowd: int

    @property
    def more_rounds(self) -> int:
        """For the two rows whose figures lie closest to what is to be reached."""
        return self.rounds + 2 if self.rounds > 1 else 1

    @classmethod
    def of(cls, quick: bool) -> "Plan":
        """A plan for a first impression, or the full one."""
        if quick:
            return cls(1, 2.0, 0.3, 1.0, 5_000, 1_000)
        return cls(3, 3.0, 0.6, 1.5, 30_000, 2_000)


@define
class Run:
    """One run of the benchmark: what to measure with, who is absent, what was found."""

    bench: Bench
    plan: Plan
    absent: dict[str, str]
    console: Console
    lengths: dict[str, int]
    foreign: list[float]
    started: float

    def say(self, text: str) -> None:
        """One line of progress."""
        clock = time.strftime("%M:%S", time.gmtime(time.monotonic() - self.started))
        self.console.print(f"[dim]{clock}[/dim] {text}", highlight=False)

    def present(self, *names: str) -> list[str]:
        """Those of the names that take part."""
        return [name for name in names if name not in self.absent]

    def measured_lengths(self) -> dict[str, int]:
        """The lengths of flowd's messages, measured once; without flowd, what they are about."""
        if not self.lengths:
            if FLOWD in self.absent:
                self.lengths = {"websocket": 300, "sse": 200}
            else:
                self.lengths = fanout.measure_lengths(self.bench, CONTENDERS[FLOWD])
            self.say(f"message lengths {self.lengths}")
        return self.lengths

    def rounds(
        self,
        row: Row,
        names: list[str],
        measure: Callable[[str], tuple[float, str]],
        rounds: int = 0,
    ) -> Row:
        """Measure everybody in turn, several times over, so that drift hits all alike.

        Who is not in a goal takes part in every other round only.
        """
        rounds = rounds or self.plan.rounds
        wanted = {FLOWD, *(goal.than for goal in row.goals)} if row.goals else set(names)
        for number in range(rounds):
            for name in names if number % 2 == 0 else [n for n in names if n in wanted]:
                try:
                    value, remark = measure(name)
                except (BenchError, OSError, ValueError, KeyError) as error:
                    row.fail(name, f"was not measured ({error})")
                    self.say(f"[red]{row.what}: {name}: {error}[/red]")
                    continue
                row.add(name, value, remark)
                self.say(
                    f"{row.what}: {name} {report.figure(value)} {row.unit}"
                    f" ({number + 1}/{rounds}) {remark}"
                )
        return row

    def fan_out(
        self, what: str, goals: list[Goal], names: list[str], scene: Scene, rounds: int = 0
    ) -> Row:
        """One row of fan-out: everybody under the same load, in turn."""

        def measure(name: str) -> tuple[float, str]:
            found = fanout.run(self.bench, CONTENDERS[name], scene)
            self.foreign.append(found.foreign)
            return found.cost_us, remark_on(found)

        row = Row(what, "µs per record", goals)
        return self.rounds(row, self.present(*names), measure, rounds)

    def scene(self, shape: str, clients: int, rate: float, seconds: float) -> Scene:
        """A load for so many seconds, with messages as long as flowd's."""
        count = max(1, round(rate * seconds))
        return Scene(shape, clients, rate, count, self.measured_lengths())


def remark_on(found: Delivery) -> str:
    """Words for a run that did not keep up, or none."""
    if found.kept_up:
        return ""
    if found.arrived < 1.0:
        return f"did not keep up: {found.arrived:.0%} of the records arrived"
    return f"did not keep up: {found.share:.0%} of the pace"
