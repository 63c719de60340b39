"""Each component is kept running on its own, by its policy."""

import logging
from collections.abc import Awaitable, Callable
from decimal import ConversionSyntax, InvalidOperation
from random import Random
from typing import Any

import pytest
import trio
from attrs import define, field
from trio.testing import MockClock, wait_all_tasks_blocked

from flowd.setup.supervisor import Child, Restart, Run, State, Supervisor
from flowd.values.errors import BadRequest, NotSet, UpstreamError, UpstreamSilent, UserError

FAST = Restart(delay_s=1, delay_max_s=8)


@define
class Life:
    """What a child did, and what it shall do: each entry of `script` is one of its lives."""

    script: list[Callable[[], Awaitable[None]]]
    starts: list[float] = field(factory=list)
    ends: int = 0

    async def run(self) -> None:
        self.starts.append(trio.current_time())
        turn = min(len(self.starts), len(self.script)) - 1
        try:
            await self.script[turn]()
        finally:
            self.ends += 1


def fails(error: Exception | None = None, after_s: float = 0) -> Run:
    async def life() -> None:
        await trio.sleep(after_s)
        raise error or UpstreamError("connection lost")

    return life


def ends(after_s: float = 0) -> Run:
    async def life() -> None:
        await trio.sleep(after_s)

    return life


def begin(
    nursery: trio.Nursery,
    *script: Run,
    restart: Restart = FAST,
    seed: int = 1,
    on_change: Callable[[Child], None] = lambda child: None,
    fruitful: Callable[[], bool] = lambda: False,
) -> tuple[Supervisor, Child, Life]:
    supervisor = Supervisor(Random(seed), on_change)
    life = Life(list(script))
    child = supervisor.add("orders", life.run, restart)
    child.fruitful = fruitful
    supervisor.start("orders", nursery)
    return supervisor, child, life


def waits(life: Life) -> list[float]:
    return [later - before for before, later in zip(life.starts, life.starts[1:], strict=False)]


async def test_a_child_that_fails_is_started_again_after_its_delay(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    _, child, life = begin(nursery, fails(), trio.sleep_forever)

    await trio.sleep(1.3)

    assert child.state is State.RUNNING
    assert len(life.starts) == 2
    assert 1 <= waits(life)[0] <= 1.2
    assert child.restarts == 1


async def test_each_delay_is_twice_the_last_up_to_the_longest_and_a_fifth(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    _, _, life = begin(nursery, fails())

    await trio.sleep(60)

    for waited, delay_s in zip(waits(life), [1, 2, 4, 8, 8, 8], strict=False):
        assert delay_s <= waited <= delay_s * 1.2


def bears_fruit(*lives: bool) -> Callable[[], bool]:
    """What is answered after each life; the last one goes on."""
    answers = list(lives)
    return lambda: answers.pop(0) if len(answers) > 1 else answers[0]


async def test_a_child_that_bore_fruit_is_back_within_a_second_and_its_count_is_cleared(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    fruitful = bears_fruit(False, False, True, False, False)
    restart = Restart(delay_s=5)
    _, _, life = begin(nursery, fails(after_s=10), restart=restart, fruitful=fruitful)

    await trio.sleep(100)

    lasted = [wait - 10 for wait in waits(life)]
    assert len(lasted) >= 4
    for waited, (least, most) in zip(lasted, [(5, 6), (10, 12), (0.2, 1), (5, 6)], strict=False):
        assert least <= waited <= most


async def test_where_each_life_is_short_only_every_other_is_followed_at_once(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    restart = Restart(delay_s=5)
    _, _, life = begin(nursery, fails(after_s=1), restart=restart, fruitful=lambda: True)

    await trio.sleep(60)

    at_once = [wait < 2.1 for wait in waits(life)]
    assert at_once[:6] == [True, False, True, False, True, False]
    assert max(waits(life)) <= 1 + 5 * 1.2, "nor do the others wait longer and longer"


async def test_a_bug_is_not_excused_by_fruit(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    restart = Restart(delay_s=5)
    _, _, life = begin(
        nursery, fails(ValueError("a bug"), 10), restart=restart, fruitful=lambda: True
    )

    await trio.sleep(80)

    assert [wait > 15 for wait in waits(life)] == [True, True, True]


async def test_an_upstream_that_asks_to_be_left_alone_is_left_alone_all_the_same(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    error = UpstreamError("refused with HTTP 429", retry_s=60)
    _, _, life = begin(nursery, fails(error), trio.sleep_forever, fruitful=lambda: True)

    await trio.sleep(100)

    assert waits(life) == [60]


async def test_the_same_seed_gives_the_same_delays(autojump_clock: MockClock) -> None:
    async def delays(seed: int) -> list[float]:
        async with trio.open_nursery() as nursery:
            _, _, life = begin(nursery, fails(), seed=seed)
            await trio.sleep(100)
            nursery.cancel_scope.cancel()
        return [round(wait, 6) for wait in waits(life)]

    first, again, other = await delays(7), await delays(7), await delays(8)

    assert first == again
    assert first != other
    assert len({wait for wait in first if wait > 8}) > 3


async def test_hundreds_of_failures_in_a_row_do_not_overflow_the_delay(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    _, child, _ = begin(nursery, fails(), restart=Restart(delay_s=0.001, delay_max_s=0.001))

    await trio.sleep(2)

    assert child.in_a_row > 1000
    assert child.state in (State.BACKOFF, State.RUNNING)


async def test_a_healthy_minute_clears_the_count(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    _, child, life = begin(nursery, fails(), fails(), fails(after_s=60), trio.sleep_forever)

    await trio.sleep(120)

    assert 1 <= waits(life)[2] - 60 <= 1.2
    assert child.in_a_row == 1
    assert child.restarts == 3


async def test_a_run_just_short_of_healthy_does_not_clear_the_count(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    _, child, life = begin(nursery, fails(), fails(), fails(after_s=59.9), trio.sleep_forever)

    await trio.sleep(120)

    assert 4 <= waits(life)[2] - 59.9 <= 4.8
    assert child.in_a_row == 3


async def test_always_starts_a_child_again_that_just_ended(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    _, child, life = begin(nursery, ends(), trio.sleep_forever)

    await wait_all_tasks_blocked()
    state, error = child.state, child.error
    await trio.sleep(2)

    assert (state, error) == (State.BACKOFF, "ended")
    assert len(life.starts) == 2


async def test_on_failure_leaves_a_child_alone_that_just_ended(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    supervisor, child, life = begin(nursery, ends(), restart=Restart("on-failure"))

    await supervisor.stopped("orders")
    await trio.sleep(600)

    assert child.state is State.STOPPED
    assert len(life.starts) == 1
    assert not supervisor.degraded


async def test_on_failure_starts_a_child_again_that_failed(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    _, child, life = begin(
        nursery, fails(), trio.sleep_forever, restart=Restart("on-failure", delay_s=1)
    )

    await trio.sleep(2)

    assert child.state is State.RUNNING
    assert len(life.starts) == 2


async def test_never_leaves_a_child_failed(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    supervisor, child, life = begin(nursery, fails(), restart=Restart("never"))

    await trio.sleep(600)

    assert (child.state, child.error) == (State.FAILED, "connection lost")
    assert len(life.starts) == 1
    assert supervisor.degraded


async def test_too_many_failures_within_the_window_are_for_good(
    autojump_clock: MockClock, nursery: trio.Nursery, caplog: pytest.LogCaptureFixture
) -> None:
    restart = Restart(delay_s=1, delay_max_s=1, limit=3, window_s=60)
    supervisor, child, life = begin(nursery, fails(), restart=restart)

    await trio.sleep(600)

    assert child.state is State.FAILED
    assert len(life.starts) == 4
    assert supervisor.degraded
    assert "orders: failed for good: more than 3 failures within 60s" in caplog.text


async def test_failures_further_apart_than_the_window_are_not_too_many(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    restart = Restart(delay_s=1, delay_max_s=1, limit=3, window_s=60)
    _, child, life = begin(nursery, fails(after_s=30), restart=restart)

    await trio.sleep(1000)

    assert len(life.starts) > 20
    assert child.state is not State.FAILED


async def test_without_a_limit_a_child_is_tried_for_ever(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    _, _, life = begin(nursery, fails(), restart=Restart())

    await trio.sleep(24 * 3600)

    assert len(life.starts) > 1000


async def test_one_that_fails_costs_the_others_nothing(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    supervisor, _, _ = begin(nursery, fails(ValueError("a bug")), restart=Restart("never"))
    other = Life([trio.sleep_forever])
    child = supervisor.add("other", other.run, FAST)
    supervisor.start("other", nursery)

    await trio.sleep(600)

    assert (child.state, other.starts, other.ends) == (State.RUNNING, [0], 0)


# -- what is said


async def test_an_upstream_error_costs_one_warning_and_no_traceback(
    autojump_clock: MockClock, nursery: trio.Nursery, caplog: pytest.LogCaptureFixture
) -> None:
    begin(nursery, fails(UpstreamSilent("upstream silent for 60s")), trio.sleep_forever)

    await trio.sleep(2)

    (line,) = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert line.getMessage().startswith("orders: upstream silent for 60s; again in 1.")
    assert line.exc_info is None


async def test_the_line_counts_failures_in_a_row(
    autojump_clock: MockClock, nursery: trio.Nursery, caplog: pytest.LogCaptureFixture
) -> None:
    begin(nursery, fails(), restart=Restart(delay_s=1, delay_max_s=1))

    await trio.sleep(40)

    lines = [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING]
    assert "in a row" not in lines[0]
    for index, words in [(1, "2nd"), (2, "3rd"), (3, "4th"), (10, "11th"), (11, "12th")]:
        assert f"({words} in a row)" in lines[index]
    assert "(21st in a row)" in lines[20]
    assert "(22nd in a row)" in lines[21]


async def test_a_bug_costs_a_traceback_and_a_restart(
    autojump_clock: MockClock, nursery: trio.Nursery, caplog: pytest.LogCaptureFixture
) -> None:
    error = ValueError("a bug")
    _, child, life = begin(nursery, fails(error), trio.sleep_forever)

    await trio.sleep(2)

    (line,) = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert line.getMessage() == "orders: failed: ValueError('a bug')"
    assert line.exc_info is not None
    assert line.exc_info[1] is error
    assert (len(life.starts), child.state) == (2, State.RUNNING)


async def test_a_failed_assertion_is_a_bug_like_any_other(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    _, child, life = begin(nursery, fails(AssertionError()), trio.sleep_forever)

    await wait_all_tasks_blocked()
    error = child.error
    await trio.sleep(2)

    assert error == "AssertionError()"
    assert len(life.starts) == 2


async def test_what_nurseries_wrapped_is_shown_unwrapped(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    async def wrapped() -> None:
        async with trio.open_nursery() as outer, trio.open_nursery():
            outer.start_soon(fails(UpstreamError("closed by upstream")))

    _, child, _ = begin(nursery, wrapped)

    await wait_all_tasks_blocked()

    assert child.error == "closed by upstream"
    assert child.state is State.BACKOFF


async def test_a_user_error_while_running_costs_one_line_without_a_traceback(
    autojump_clock: MockClock, nursery: trio.Nursery, caplog: pytest.LogCaptureFixture
) -> None:
    begin(nursery, fails(UserError("url is no address")), restart=Restart("never"))

    await wait_all_tasks_blocked()

    said = [record for record in caplog.records if "url is no address" in record.getMessage()]
    assert said
    assert all(record.exc_info is None for record in caplog.records)


async def test_a_secret_that_is_not_set_is_told_once_and_not_waited_for(
    autojump_clock: MockClock, nursery: trio.Nursery, caplog: pytest.LogCaptureFixture
) -> None:
    supervisor, child, life = begin(nursery, fails(NotSet("environment variable KEY is not set")))

    await trio.sleep(3600)

    assert child.state is State.FAILED
    assert child.error == "environment variable KEY is not set"
    assert len(life.starts) == 1
    assert supervisor.degraded
    (said,) = [record.getMessage() for record in caplog.records if "KEY" in record.getMessage()]
    assert "orders: failed for good" in said
    assert "set it and start flowd again" in said
    assert all(record.exc_info is None for record in caplog.records)


async def test_changes_of_state_are_told_once_each(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    states: list[State] = []
    supervisor, _, _ = begin(
        nursery,
        fails(),
        trio.sleep_forever,
        on_change=lambda child: states.append(child.state),
    )

    await trio.sleep(2)
    supervisor.kick("orders")
    await wait_all_tasks_blocked()
    supervisor.stop("orders")
    await supervisor.stopped("orders")

    assert [state.value for state in states] == [
        "running",
        "backoff",
        "starting",
        "running",
        "starting",
        "running",
        "stopped",
    ]


async def test_the_time_of_the_next_start_is_known_during_backoff_only(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    _, child, _ = begin(nursery, fails(), trio.sleep_forever)

    await wait_all_tasks_blocked()
    during = child.retry_at
    await trio.sleep(2)

    assert during is not None
    assert 1 <= during <= 1.2
    assert child.retry_at is None


async def test_a_child_that_runs_again_after_an_error_keeps_it_to_be_seen(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    _, child, _ = begin(nursery, fails(), trio.sleep_forever)

    await trio.sleep(2)

    assert (child.state, child.error) == (State.RUNNING, "connection lost")


async def test_an_upstream_that_asks_for_time_gets_it(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    later = UpstreamError("come back later", retry_s=300)
    _, child, life = begin(nursery, fails(later), trio.sleep_forever)

    await trio.sleep(301)

    assert life.starts == [0, 300]
    assert child.state is State.RUNNING


# -- kick


async def test_a_kick_ends_a_run_and_starts_it_again_at_once(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    supervisor, child, life = begin(nursery, trio.sleep_forever)
    await trio.sleep(5)

    supervisor.kick("orders", "asked for")
    await wait_all_tasks_blocked()

    assert life.starts == [0, 5]
    assert (life.ends, child.restarts, child.state) == (1, 1, State.RUNNING)
    assert (child.error, child.kicked) == ("asked for", False)


async def test_a_kick_ends_the_wait_of_a_backoff(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    supervisor, child, life = begin(
        nursery, fails(), trio.sleep_forever, restart=Restart(delay_s=100, delay_max_s=100)
    )
    await trio.sleep(5)

    supervisor.kick("orders")
    await wait_all_tasks_blocked()

    assert life.starts == [0, 5]
    assert (child.state, child.restarts) == (State.RUNNING, 1)


async def test_a_kick_gives_a_failed_child_another_life_and_a_clean_record(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    restart = Restart(delay_s=1, delay_max_s=1, limit=2, window_s=10_000)
    supervisor, child, life = begin(nursery, fails(), restart=restart)
    await trio.sleep(100)
    failed = child.state

    supervisor.kick("orders")
    await trio.sleep(100)

    assert failed is State.FAILED
    assert len(life.starts) == 6
    assert child.state is State.FAILED


async def test_every_start_after_the_first_is_a_restart_also_that_of_a_failed_child(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    supervisor, child, life = begin(nursery, fails(), trio.sleep_forever, restart=Restart("never"))
    await trio.sleep(1)

    supervisor.kick("orders")
    await wait_all_tasks_blocked()

    assert len(life.starts) == 2
    assert child.restarts == 1


async def test_a_kick_of_a_child_that_never_restarts_starts_it_all_the_same(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    supervisor, _, life = begin(nursery, trio.sleep_forever, restart=Restart("never"))
    await trio.sleep(1)

    supervisor.kick("orders")
    await wait_all_tasks_blocked()

    assert life.starts == [0, 1]


async def test_a_kick_before_the_start_is_forgotten_by_the_first_run(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    supervisor, child, life = begin(nursery, fails(after_s=1), trio.sleep_forever)

    supervisor.kick("orders")
    await trio.sleep(1.5)

    assert life.starts == [0]
    assert (child.state, child.error) == (State.BACKOFF, "connection lost")


async def test_a_kick_of_a_stopped_child_does_nothing(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    supervisor, child, life = begin(nursery, trio.sleep_forever)
    await trio.sleep(1)
    supervisor.stop("orders")
    await supervisor.stopped("orders")

    supervisor.kick("orders")
    await trio.sleep(100)

    assert (child.state, life.starts) == (State.STOPPED, [0])


async def test_who_asks_for_another_start_is_told_when_there_is_nothing_to_start(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    supervisor, _, life = begin(nursery, trio.sleep_forever)
    await trio.sleep(1)

    supervisor.start_again("orders")
    await trio.sleep(1)
    with pytest.raises(BadRequest) as unknown:
        supervisor.start_again("nobody")
    supervisor.stop("orders")
    await supervisor.stopped("orders")
    with pytest.raises(BadRequest) as ended:
        supervisor.start_again("orders")

    assert life.starts == [0, 1]
    assert (unknown.value.code, unknown.value.allowed) == ("UNKNOWN_COMPONENT", ["orders"])
    assert (ended.value.code, ended.value.status) == ("ENDED", 409)


async def test_a_kick_meets_a_child_that_fails_in_the_same_moment(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    async def stubborn() -> None:
        try:
            await trio.sleep_forever()
        finally:
            raise UpstreamError("while closing")

    supervisor, child, life = begin(nursery, stubborn, trio.sleep_forever)
    await trio.sleep(1)

    supervisor.kick("orders", "asked for")
    await wait_all_tasks_blocked()

    assert life.starts == [0, 1]
    assert (child.state, child.error) == (State.RUNNING, "asked for")


# -- stop and finish


async def test_stopping_ends_a_run_for_good(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    supervisor, child, life = begin(nursery, trio.sleep_forever)
    await trio.sleep(1)

    supervisor.stop("orders")
    await supervisor.stopped("orders")

    assert (child.state, life.starts, life.ends) == (State.STOPPED, [0], 1)
    assert trio.current_time() == 1


@pytest.mark.parametrize("how", [Supervisor.stop, Supervisor.finish])
@pytest.mark.parametrize("policy", ["always", "never"])
async def test_stopping_ends_a_wait_in_backoff_or_failed(
    autojump_clock: MockClock,
    nursery: trio.Nursery,
    how: Callable[[Supervisor, str], None],
    policy: str,
) -> None:
    restart = Restart("always" if policy == "always" else "never", delay_s=100, delay_max_s=100)
    supervisor, child, life = begin(nursery, fails(), restart=restart)
    await trio.sleep(1)

    how(supervisor, "orders")
    await supervisor.stopped("orders")

    assert (child.state, life.starts) == (State.STOPPED, [0])
    assert trio.current_time() == 1
    assert not supervisor.degraded


@pytest.mark.parametrize("how", [Supervisor.stop, Supervisor.finish])
async def test_a_child_that_is_stopped_before_its_start_never_runs(
    nursery: trio.Nursery, how: Callable[[Supervisor, str], None]
) -> None:
    supervisor, child, life = begin(nursery, trio.sleep_forever)

    how(supervisor, "orders")
    await supervisor.stopped("orders")

    assert (child.state, life.starts) == (State.STOPPED, [])


async def test_finishing_lets_a_run_end_by_itself_and_does_not_start_it_again(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    supervisor, child, life = begin(nursery, ends(after_s=10))
    await trio.sleep(1)

    supervisor.finish("orders")
    await supervisor.stopped("orders")

    assert trio.current_time() == 10
    assert (child.state, life.starts) == (State.STOPPED, [0])


async def test_finishing_does_not_start_a_run_again_that_fails(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    supervisor, child, life = begin(nursery, fails(after_s=10))
    await trio.sleep(1)

    supervisor.finish("orders")
    await supervisor.stopped("orders")

    assert (child.state, child.error, life.starts) == (State.STOPPED, "connection lost", [0])


async def test_a_cancelled_nursery_ends_its_children(
    autojump_clock: MockClock,
) -> None:
    async with trio.open_nursery() as nursery:
        _, child, _ = begin(nursery, trio.sleep_forever)
        await trio.sleep(1)

        nursery.cancel_scope.cancel()

    assert child.state is State.STOPPED
    assert child.ended.is_set()


async def test_a_keyboard_interrupt_is_nobodys_business_here() -> None:
    async def interrupted() -> None:
        raise KeyboardInterrupt

    with pytest.RaisesGroup(KeyboardInterrupt):
        async with trio.open_nursery() as nursery:
            begin(nursery, interrupted)


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (SystemExit(3), "it called exit(): SystemExit(3)"),
        (RuntimeError("no running event loop"), "it uses an asyncio library, and flowd runs on"),
        (ModuleNotFoundError("No module named 'x'", name="x.y"), "such as: pip install x"),
        (InvalidOperation([ConversionSyntax]), "what should be a number is none: "),
    ],
)
async def test_what_a_child_died_of_is_told_in_words(
    autojump_clock: MockClock, nursery: trio.Nursery, error: BaseException, told: str
) -> None:
    async def dies() -> None:
        await trio.lowlevel.checkpoint()
        raise error

    _, child, _ = begin(nursery, dies)

    await wait_all_tasks_blocked()

    assert child.state is State.BACKOFF
    assert told in str(child.error)


async def test_who_calls_exit_in_a_task_of_its_own_ends_itself_alone(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    async def leaves() -> None:
        async with trio.open_nursery() as own:
            own.start_soon(trio.sleep_forever)
            await trio.sleep(1)
            raise SystemExit

    _, child, life = begin(nursery, leaves)

    await trio.sleep(4)

    assert child.state is State.BACKOFF
    assert len(life.starts) == 2


async def test_a_run_that_is_not_async_is_an_error_that_says_so(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    supervisor = Supervisor(Random(1))
    plain: Any = lambda: 5  # noqa: E731
    child = supervisor.add("orders", plain, FAST)

    supervisor.start("orders", nursery)
    await wait_all_tasks_blocked()

    assert (child.state, child.error) == (
        State.BACKOFF,
        "its run is not async: it answered 5",
    )


def test_names_are_given_once() -> None:
    supervisor = Supervisor(Random(1))
    supervisor.add("orders", trio.sleep_forever, FAST)

    with pytest.raises(AssertionError):
        supervisor.add("orders", trio.sleep_forever, FAST)
