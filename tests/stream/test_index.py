"""Records found by what they are about, which are not looked for each time."""

from bisect import insort
from collections.abc import Iterable

import pytest
import trio
from attrs import frozen
from hypothesis import given, settings
from hypothesis import strategies as st

from flowd import testing
from flowd.plugin import BadRequest
from flowd.stream.held import Retain
from flowd.stream.index import AT_ONCE, Index
from flowd.stream.inputs import Input
from flowd.stream.log import Stream


@frozen
class Deed:
    by: str
    at: int
    what: int = 0


def deeds(retain: int = 100_000, age_s: float | None = None) -> Stream[Deed]:
    return Stream("deeds", Deed, clock=testing.clock, epoch="k3v9", retain=Retain(retain, age_s))


def in_order(stream: Stream[Deed]) -> Index[Deed, str]:
    return Index(Input(stream, {}), lambda deed: deed.by)


def in_time(stream: Stream[Deed]) -> Index[Deed, str]:
    return Index(Input(stream, {}), lambda deed: deed.by, lambda deed: deed.at)


def do(stream: Stream[Deed], by: str, times: Iterable[int]) -> None:
    for at in times:
        stream.append(Deed(by, at))


def keep(stream: Stream[Deed], by: str, at: int, what: int = 0) -> None:
    """As a table does: by its key, which the newest holds."""
    stream.append(Deed(by, at, what), key=f"{by}/{at}")


async def test_the_newest_of_a_group_come_first_and_are_at_most_so_many() -> None:
    stream = deeds()
    index = in_order(stream)
    for at in range(5):
        do(stream, "a", [at])
        do(stream, "b", [-at])
    await index.update()

    newest = {by: index.find(by, most=3, backward=True) for by in "abc"}

    assert {by: [one.value.at for one in found] for by, found in newest.items()} == {
        "a": [4, 3, 2],
        "b": [-4, -3, -2],
        "c": [],
    }


async def test_what_came_since_is_there_after_the_next_update() -> None:
    stream = deeds()
    index = in_order(stream)
    do(stream, "a", [1])
    await index.update()
    do(stream, "a", [2])

    assert [one.value.at for one in index.find("a")] == [1]
    await index.update()
    assert [one.value.at for one in index.find("a")] == [1, 2]


async def test_what_comes_late_lies_in_its_place() -> None:
    stream = deeds()
    index = in_time(stream)
    for at in (10, 40, 20, 30, 0):
        keep(stream, "a", at)
    await index.update()

    def times(*span: float, **more: int | bool) -> list[int]:
        return [one.value.at for one in index.find("a", *span, **more)]  # type: ignore[arg-type]

    assert times() == [0, 10, 20, 30, 40]
    assert times(10, 30) == [10, 20, 30]
    assert times(11, 29) == [20]
    assert times(10, most=2) == [10, 20]
    assert times(high=30, most=2, backward=True) == [30, 20]
    assert times(41) == times(30, 10) == times(most=0) == []


async def test_a_newer_state_takes_the_place_of_the_older() -> None:
    stream = deeds()
    index = in_time(stream)
    for what in range(3):
        keep(stream, "a", 5, what)
        await index.update()

        assert [one.value.what for one in index.find("a")] == [what]


async def test_what_the_stream_let_go_is_found_no_more() -> None:
    stream = deeds(retain=3)
    index = in_time(stream)
    keep(stream, "a", 1)
    for at in (1, 2, 3):
        keep(stream, "b", at)
    await index.update()
    assert index.groups() == ["b"]

    stream.forget("b/2")

    assert [one.value.at for one in index.find("b")] == [1, 3]
    assert [one.value.at for one in index.find("b", most=2, backward=True)] == [3, 1]


async def test_what_is_too_old_is_found_no_more_though_nothing_new_came() -> None:
    now = [0]
    stream = Stream(
        "deeds", Deed, clock=lambda: now[0], epoch="k3v9", retain=Retain(100, age_s=10.0)
    )
    index = in_order(stream)
    do(stream, "a", [1])
    await index.update()
    assert index.groups() == ["a"]

    now[0] = 10_001
    await index.update()

    assert not index.find("a")
    assert not index.groups()


@pytest.mark.parametrize("oldest_first", [True, False], ids=["the oldest go", "every other goes"])
async def test_memory_is_bounded_by_what_the_stream_retains(oldest_first: bool) -> None:
    stream = deeds(retain=1000 if oldest_first else 100_000)
    index = in_time(stream)
    for number in range(20_000):
        keep(stream, f"{number % 7}", number)
        if not oldest_first and number % 2:
            stream.forget(f"{number % 7}/{number}")
        if number % 300 == 0:
            await index.update()
            assert len(index) <= 1.5 * len(stream) + AT_ONCE


async def test_a_state_that_changes_all_the_time_takes_one_place() -> None:
    stream = deeds()
    index = in_time(stream)
    for what in range(5000):
        keep(stream, "a", 5, what)
        await index.update()

    assert len(index) <= 2


async def test_groups_without_records_take_no_memory() -> None:
    stream = deeds(retain=10)
    index = in_order(stream)
    for number in range(5 * AT_ONCE):
        do(stream, f"{number}", [number])
        await index.update()

    assert len(index._groups) == len(index) <= 20


async def test_a_long_past_is_read_in_portions_by_whoever_asks() -> None:
    stream = deeds()
    index = in_order(stream)
    do(stream, "a", range(10 * AT_ONCE))
    answers: list[int] = []
    steps = 0

    async def ask() -> None:
        await index.update()
        answers.append(len(index.find("a")))

    async with trio.open_nursery() as nursery:
        for _ in range(3):
            nursery.start_soon(ask)
        while len(answers) < 3:
            steps += 1
            await trio.lowlevel.checkpoint()

    assert steps > 2, "others were let run"
    assert answers == [10 * AT_ONCE] * 3
    assert len(index) == 10 * AT_ONCE, "each was taken once"


async def test_a_stream_that_moves_on_does_not_keep_who_asks_waiting() -> None:
    stream = deeds()
    index = in_order(stream)
    do(stream, "a", range(3 * AT_ONCE))
    found: list[int] = []

    async def ask() -> None:
        await index.update()
        found.append(len(index.find("a")))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(ask)
        turns = 0
        while not found and turns < 50:
            turns += 1
            do(stream, "b", range(2 * AT_ONCE))
            await trio.lowlevel.checkpoint()

    assert found == [3 * AT_ONCE]
    assert turns < 50


async def test_who_may_not_read_the_stream_may_not_ask_the_index() -> None:
    def refused(stream: str) -> None:
        raise BadRequest("no", parameter="stream", value=stream, allowed="")

    stream = deeds()
    index = Index(Input(stream, {}, check=refused), lambda deed: deed.by)

    with pytest.raises(BadRequest):
        await index.update()


STEP = st.one_of(
    st.tuples(st.just("keep"), st.sampled_from("ab"), st.integers(0, 9), st.integers(0, 3)),
    st.tuples(st.just("forget"), st.sampled_from("ab"), st.integers(0, 9), st.just(0)),
    st.tuples(st.just("update"), st.just(""), st.just(0), st.just(0)),
)


@given(st.lists(STEP, max_size=60), st.integers(1, 8), st.integers(0, 9), st.integers(0, 9))
@settings(deadline=None)
def test_whatever_happens_it_finds_what_looking_at_all_would(
    steps: list[tuple[str, str, int, int]], retain: int, low: int, high: int
) -> None:
    async def run() -> None:
        stream = deeds(retain)
        index = in_time(stream)
        for step, by, at, what in steps:
            if step == "keep":
                keep(stream, by, at, what)
            elif step == "forget":
                stream.forget(f"{by}/{at}")
            else:
                await index.update()
        await index.update()
        wanted: dict[str, list[tuple[int, int]]] = {}
        for record in stream.after(0):
            insort(wanted.setdefault(record.value.by, []), (record.value.at, record.value.what))
        assert set(index.groups()) == set(wanted)
        for by in "ab":
            within = [one for one in wanted.get(by, []) if low <= one[0] <= high]
            found = [(one.value.at, one.value.what) for one in index.find(by, low, high)]
            assert found == within
        assert len(index) <= len(stream) * 1.5 + AT_ONCE

    trio.run(run)
