"""One value says how everything is: its parts, its rates, and how long the loop was held."""

from typing import Any

import pytest
import trio
from attrs import evolve

from flowd.operate.status import (
    HELD_FOR_S,
    RECENT_S,
    SHORT_S,
    ComponentStatus,
    LoopMeter,
    Rate,
    Status,
)
from flowd.values import codec


def part(name: str = "orders", **more: Any) -> ComponentStatus:
    return evolve(ComponentStatus(name, "sources", "fake", "running", delivering=True), **more)


def status(*parts: ComponentStatus, **more: Any) -> Status:
    made = Status(
        version="1",
        healthy=all(one.healthy for one in parts),
        started_ms=0,
        uptime_s=1.0,
        time_ms=1000,
        components=list(parts),
        streams=[],
        clients={},
        snapshot={"error": None},
        budgets={},
        loop={},
        memory={},
        limits={},
        plugins=[],
    )
    return evolve(made, **more)


# -- health


@pytest.mark.parametrize(
    ("state", "delivering", "healthy"),
    [
        ("running", True, True),
        ("running", None, True),
        ("running", False, False),
        ("backoff", True, False),
        ("failed", None, False),
        ("stopped", None, False),
        ("starting", None, False),
    ],
)
def test_a_component_is_healthy_when_it_does_what_it_is_for(
    state: str, delivering: bool | None, healthy: bool
) -> None:
    assert part(state=state, delivering=delivering).healthy is healthy


def test_when_all_is_well_there_is_nothing_to_say() -> None:
    assert status(part()).health() == {"status": "ok", "problems": {}}


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        ({"state": "backoff", "error": "connection lost"}, "backoff: connection lost"),
        ({"state": "failed"}, "failed"),
        ({"delivering": False, "connected": False}, "connecting"),
        ({"loop_held_s": 3.2}, "held the event loop for 3.2s a moment ago: nobody was served"),
        ({"delivering": False, "connected": True}, "connected, but nothing is delivered"),
        ({"delivering": False, "problem": "it is asked in vain"}, "it is asked in vain"),
    ],
)
def test_what_is_wrong_is_said_by_name(wrong: dict[str, Any], why: str) -> None:
    found = status(part("good"), part("bad", **wrong)).health()

    assert found == {"status": "degraded", "problems": {"bad": why}}


def test_state_that_cannot_be_saved_is_a_problem() -> None:
    found = status(part(), healthy=False, snapshot={"error": "disk full"}).health()

    assert found["problems"] == {"snapshot": "state cannot be saved: disk full"}


def test_a_reader_who_keeps_the_write_ahead_log_is_a_problem() -> None:
    found = status(part(), healthy=False, snapshot={"kept_bytes": 300 << 20}).health()

    assert found["problems"]["snapshot"].endswith(
        "300 MiB of its write-ahead log cannot be given back"
    )


def test_components_are_found_by_name() -> None:
    found = status(part("a"), part("b"))

    assert found.component("b") == part("b")
    assert found.component("c") is None


def test_the_status_is_json() -> None:
    found = codec.to_plain(status(part(dropped={"not JSON": 3})))

    assert found["components"][0]["dropped"] == {"not JSON": 3}
    assert codec.decode(codec.encode(found)) == found


# -- rates


def test_a_rate_is_what_was_counted_over_the_last_minute() -> None:
    rate = Rate()
    for second in range(0, 301, 5):
        rate.note(second, second * 2 if second <= 200 else 400 + (second - 200) * 10)

    assert rate.per_s(300, 1400) == pytest.approx(10)


def test_a_young_rate_is_over_the_time_there_was() -> None:
    rate = Rate()
    rate.note(100, 50)

    assert rate.per_s(110, 70) == 2


def test_without_a_past_there_is_no_rate() -> None:
    rate = Rate()

    before = rate.per_s(5, 100)
    rate.note(5, 100)

    assert (before, rate.per_s(5, 100)) == (0, 0)


def test_a_rate_remembers_little() -> None:
    rate = Rate()
    for second in range(100_000):
        rate.note(second, second)

    assert len(rate._points) < 70


# -- the loop


class Watch:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def task() -> Any:
    class Named:
        name = "slow one"
        parent_nursery = None

    return Named()


def step(meter: LoopMeter, wall: Watch, work: Watch, task: Any, held: float, busy: float) -> None:
    meter.before_task_step(task)
    wall.now += held
    work.now += busy
    meter.after_task_step(task)


def test_the_longest_step_and_its_task_are_noted(task: Any) -> None:
    wall, work = Watch(), Watch()
    meter = LoopMeter(wall, work)

    for held in (0.001, 0.5, 0.002):
        step(meter, wall, work, task, held, held / 2)

    assert (meter.steps, meter.longest_s, meter.longest_task) == (3, 0.5, "slow one")
    assert meter.longest_work_s == 0.25


def test_a_long_step_that_had_no_processor_does_not_hide_one_that_worked(task: Any) -> None:
    wall, work = Watch(), Watch()
    meter = LoopMeter(wall, work)

    for held, busy in ((0.5, 0.001), (0.1, 0.1), (0.05, 0.05)):
        step(meter, wall, work, task, held, busy)

    assert (meter.longest_s, meter.longest_work_s) == (0.5, pytest.approx(0.1))


def test_the_work_of_short_steps_is_hardly_counted_with_a_long_one(task: Any) -> None:
    wall, work = Watch(), Watch()
    meter = LoopMeter(wall, work)

    for held in (*[SHORT_S / 2] * 100, 0.1):
        step(meter, wall, work, task, held, held)

    assert 0.1 <= meter.longest_work_s <= 0.1 + 2 * SHORT_S


def test_time_between_steps_does_not_count(task: Any) -> None:
    wall, work = Watch(), Watch()
    meter = LoopMeter(wall, work)

    for _ in range(3):
        step(meter, wall, work, task, 0.001, 0.001)
        wall.now += 3600

    assert meter.longest_s == pytest.approx(0.001)


def test_recent_holds_are_forgotten_after_a_while(task: Any) -> None:
    wall, work = Watch(), Watch()
    meter = LoopMeter(wall, work)
    step(meter, wall, work, task, 0.5, 0)

    recent = [meter.recent_s]
    for _ in range(4):
        wall.now += RECENT_S
        step(meter, wall, work, task, 0.001, 0)
        recent.append(meter.recent_s)

    assert recent[:2] == [0.5, 0.5]
    assert recent[-1] == pytest.approx(0.001)
    assert meter.longest_s == 0.5


def test_the_meter_begins_anew(task: Any) -> None:
    wall, work = Watch(), Watch()
    meter = LoopMeter(wall, work)
    step(meter, wall, work, task, 0.5, 0.5)

    meter.reset()

    assert (meter.longest_s, meter.longest_work_s, meter.recent_s) == (0, 0, 0)
    assert meter.longest_task == ""


def test_who_is_in_the_middle_of_a_step_is_known_and_for_how_long(task: Any) -> None:
    wall = Watch()
    meter = LoopMeter(wall, Watch())
    before = meter.holder()

    meter.before_task_step(task)
    wall.now += 7
    within = meter.holder()
    meter.after_task_step(task)

    assert (before, within, meter.holder()) == (None, ("slow one", 7.0), None)


async def test_a_component_that_held_the_loop_is_known_for_a_minute() -> None:
    wall = Watch()
    meter = LoopMeter(wall, Watch())

    async def step(held_s: float) -> None:
        wall.now += held_s
        await trio.lowlevel.checkpoint()

    async def component() -> None:
        async with trio.open_nursery() as own:
            for held_s in (3.0, 1.5, 0.9):
                own.start_soon(step, held_s, name="a task of its own")

    trio.lowlevel.add_instrument(meter)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(component, name="component slow")
    trio.lowlevel.remove_instrument(meter)

    found = [meter.holds_of("slow"), meter.holds_of("other")]
    wall.now += HELD_FOR_S + 0.1
    later = meter.holds_of("slow")
    assert found == [
        {"loop_holds": 2, "loop_held_s": 3.0},
        {"loop_holds": 0, "loop_held_s": None},
    ]
    assert later == {"loop_holds": 2, "loop_held_s": None}


async def test_the_meter_measures_trios_own_steps() -> None:
    wall = Watch()
    meter = LoopMeter(wall, Watch())

    async def busy() -> None:
        wall.now += 0.25

    trio.lowlevel.add_instrument(meter)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(busy, name="busy")
    trio.lowlevel.remove_instrument(meter)

    assert (meter.longest_s, meter.longest_task) == (0.25, "busy")
