"""Budgets of REST services: never more than the limit in any minute, in a fair order."""

from typing import Any

import pytest
import trio
import trio.testing
from hypothesis import given, settings
from hypothesis import strategies as st

from flowd.plugin import Budget, UserError
from flowd.upstream.budget import WAITING_MAX, Budgets


def budget(per_minute: int = 100, who: str = "one", share: int | None = None) -> Budget:
    return Budgets().budget(who, "venue", per_minute, share)


async def ask(one: Budget, weight: int, order: list[str], name: str, priority: int = 0) -> None:
    spent = await one.spend(weight, priority)
    order.append(name)
    spent.settle()


async def test_what_fits_is_had_at_once(autojump_clock: Any) -> None:
    one = budget()

    await one.spend(60)
    await one.spend(40)

    assert (trio.current_time(), one.used, one.headroom) == (0, 100, 0)


async def test_what_does_not_fit_waits_until_a_minute_after_the_answer(
    autojump_clock: Any,
) -> None:
    one = budget()
    first = await one.spend(60)
    await trio.sleep(5)
    first.settle()

    await one.spend(50)

    assert trio.current_time() == 65


async def test_an_answer_that_never_came_counts_until_it_is_settled(
    autojump_clock: Any, nursery: trio.Nursery
) -> None:
    one = budget()
    first = await one.spend(60)
    order: list[str] = []
    nursery.start_soon(ask, one, 50, order, "second")

    await trio.sleep(300)
    early = list(order)
    first.settle()
    await trio.sleep(61)

    assert (early, order) == ([], ["second"])


async def test_what_it_really_cost_is_given_back_or_charged(autojump_clock: Any) -> None:
    one = budget()
    spent = await one.spend(60)

    spent.settle(20)
    less = one.used
    spent.settle(90)

    assert (less, one.used) == (20, 90)


async def test_lower_priorities_come_first_then_who_came_first(
    autojump_clock: Any, nursery: trio.Nursery
) -> None:
    one, order = budget(), list[str]()
    (await one.spend(100)).settle()
    for name, priority in (("c", 2), ("a", 1), ("b", 1), ("urgent", 0)):
        nursery.start_soon(ask, one, 60, order, name, priority)
        await trio.testing.wait_all_tasks_blocked()

    await trio.sleep(241)

    assert order == ["urgent", "a", "b", "c"]


async def test_a_heavy_question_is_not_passed_by_lighter_ones(
    autojump_clock: Any, nursery: trio.Nursery
) -> None:
    one, order = budget(), list[str]()
    (await one.spend(50)).settle()
    nursery.start_soon(ask, one, 90, order, "heavy")
    await trio.testing.wait_all_tasks_blocked()
    nursery.start_soon(ask, one, 20, order, "light")

    await trio.sleep(59)
    early = list(order)
    await trio.sleep(62)

    assert (early, order) == ([], ["heavy", "light"])


async def test_who_has_used_its_share_up_holds_nobody_up(
    autojump_clock: Any, nursery: trio.Nursery
) -> None:
    budgets, order = Budgets(), list[str]()
    small = budgets.budget("small", "venue", 100, 20)
    other = budgets.budget("other", "venue", 100)
    (await small.spend(20)).settle()
    nursery.start_soon(ask, small, 10, order, "small")
    await trio.testing.wait_all_tasks_blocked()

    await ask(other, 50, order, "other")
    at = trio.current_time()
    await trio.sleep(61)

    assert (at, order) == (0, ["other", "small"])


async def test_components_share_one_budget_and_the_lowest_limit_counts() -> None:
    budgets = Budgets()
    one = budgets.budget("one", "venue", 100)
    two = budgets.budget("two", "venue", 40)
    another = budgets.budget("two", "elsewhere", 40)

    await one.spend(30)

    assert (one.limit, two.used, two.headroom, another.used) == (40, 30, 10, 0)


async def test_what_can_never_be_had_is_refused() -> None:
    with pytest.raises(ValueError, match="101 can never be had of 100"):
        await budget().spend(101)
    with pytest.raises(ValueError, match="21 can never be had of 20"):
        await budget(share=20).spend(21)
    with pytest.raises(UserError, match="at least 1"):
        budget(0)


async def test_after_a_refusal_nobody_asks_for_as_long_as_was_said(
    autojump_clock: Any,
) -> None:
    one = budget()
    one.refused(33)

    await one.spend(1)

    assert trio.current_time() == 33


async def test_without_a_time_each_refusal_in_a_row_is_twice_as_long(
    autojump_clock: Any,
) -> None:
    one, waits = budget(), list[float]()
    for _ in range(5):
        waits.append(one.refused())
        await trio.sleep(61)
    one.accepted()
    waits.append(one.refused())

    assert waits == [10, 20, 40, 60, 60, 10]


async def test_questions_that_are_refused_together_are_one_refusal(autojump_clock: Any) -> None:
    one = budget()

    waits = [one.refused() for _ in range(4)]
    await trio.sleep(10)
    waits.append(one.refused())

    assert waits == [10, 10, 10, 10, 20]
    assert one.closed_s == 20


async def test_what_other_programs_spend_is_learned_from_the_service(
    autojump_clock: Any,
) -> None:
    one = budget()
    (await one.spend(10)).settle()

    one.told(95)
    used = one.used
    one.told(20)

    assert (used, one.used) == (95, 95)


async def test_whoever_is_cancelled_in_the_queue_leaves_no_trace(
    autojump_clock: Any, nursery: trio.Nursery
) -> None:
    one, order = budget(), list[str]()
    (await one.spend(100)).settle()
    with trio.move_on_after(5):
        await one.spend(100)
    nursery.start_soon(ask, one, 10, order, "next")

    await trio.sleep(56)

    assert order == ["next"]
    assert one.used == 10


async def test_the_queue_is_bounded(nursery: trio.Nursery) -> None:
    one = budget()
    await one.spend(100)
    for _ in range(WAITING_MAX):
        nursery.start_soon(one.spend, 1)
    await trio.testing.wait_all_tasks_blocked()

    with pytest.raises(ValueError, match="wait already"):
        await one.spend(1)
    nursery.cancel_scope.cancel()


async def test_figures_tell_who_spent_what(autojump_clock: Any) -> None:
    budgets = Budgets()
    (await budgets.budget("tracking", "venue", 100).spend(10)).settle()
    (await budgets.budget("board", "venue", 100).spend(20)).settle()
    early = budgets.figures()["venue"]
    await trio.sleep(61)

    late = budgets.figures()["venue"]
    assert (early["used"], early["headroom"]) == (30, 70)
    assert early["by"] == {"board": 20, "tracking": 10}
    assert (late["used"], late["by"]) == (0, {})
    assert late["spent"] == {"board": 20, "tracking": 10}


Step = tuple[float, int, int, float]


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from([0.0, 0.5, 7.0, 31.0, 90.0]),
            st.integers(1, 50),
            st.integers(0, 2),
            st.sampled_from([0.0, 0.1, 3.0, 20.0]),
        ),
        max_size=40,
    )
)
def test_in_no_minute_is_more_asked_than_the_limit(steps: list[Step]) -> None:
    """Whenever between question and answer the service counts: at the worst moment it may."""
    asked: list[tuple[float, float, int]] = []

    async def one_question(one: Budget, weight: int, priority: int, takes_s: float) -> None:
        spent = await one.spend(weight, priority)
        began = trio.current_time()
        await trio.sleep(takes_s)
        asked.append((began, trio.current_time(), weight))
        spent.settle()

    async def run() -> None:
        one = budget()
        async with trio.open_nursery() as nursery:
            for wait_s, weight, priority, takes_s in steps:
                await trio.sleep(wait_s)
                if weight == 13:
                    one.refused()
                nursery.start_soon(one_question, one, weight, priority, takes_s)

    trio.run(run, clock=trio.testing.MockClock(autojump_threshold=0))

    assert len(asked) == len(steps)
    for began, _, _ in asked:
        # The last question of a minute: all others of it may have been counted in it, too.
        together = sum(w for b, e, w in asked if b <= began < e + 60)
        assert together <= 100
