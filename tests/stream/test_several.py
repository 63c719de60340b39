"""Several streams read as one."""

from collections.abc import Callable, Iterable

import trio
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import wait_all_tasks_blocked

from flowd.stream.inputs import Input
from flowd.stream.log import Stream
from flowd.stream.several import Once, news_of
from tests.upstream.test_feed import Tick, make_stream


def inputs(*streams: Stream[Tick]) -> list[Input[Tick]]:
    return [Input(stream, {}) for stream in streams]


async def test_one_of_several_is_enough_to_be_news_and_an_ended_one_ends_nothing() -> None:
    a, b = make_stream("a"), make_stream("b")
    found: list[bool] = []

    async def wait(*seqs: int) -> None:
        found.append(await news_of(inputs(a, b), seqs))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(wait, 0, 0)
        a.close()
        await wait_all_tasks_blocked()
        before = list(found)
        b.append(Tick(1))
        await wait_all_tasks_blocked()
        nursery.start_soon(wait, 0, 1)
        b.close()

    assert (before, found) == ([], [True, False])


async def test_what_is_there_is_news_though_all_have_ended() -> None:
    a, b = make_stream("a"), make_stream("b")
    b.append(Tick(1))
    a.close()
    b.close()

    assert await news_of(inputs(a, b), [0, 0])
    assert await news_of(inputs(b), [0])
    assert not await news_of(inputs(a, b), [0, 1])


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 9)), max_size=40), st.data())
def test_each_id_is_news_once_whoever_tells_it_also_over_restarts(
    told: list[tuple[int, int]], data: st.DataObject
) -> None:
    seen: list[list[str]] = [[], [], []]
    counted: list[str] = []

    def begin() -> list[Callable[[str], bool]]:
        once = Once()
        return [once.of(ids) for ids in seen]

    news = begin()
    for which, number in told:
        if data.draw(st.booleans()):
            news = begin()
        if news[which](str(number)):
            counted.append(str(number))
        seen[which].append(str(number))

    assert sorted(counted) == sorted({str(number) for _, number in told})


def test_of_each_stream_no_more_than_the_newest_are_remembered() -> None:
    once = Once()
    a, b = once.of(numbers(range(Once.REMEMBERED))), once.of()

    assert not b("0")
    assert a("new")
    assert b("0"), "it made room"
    assert not a("0")
    assert not b("1")


def numbers(found: Iterable[int]) -> Iterable[str]:
    return map(str, found)
