"""What a component had in hand when it failed is known, whichever way it reads."""

from typing import Any

import pytest
import trio
from trio.testing import MockClock

from flowd import testing
from flowd.stream.inputs import Input
from flowd.stream.log import Stream
from flowd.stream.reading import Reading


@pytest.fixture
def stream() -> Stream[Any]:
    return testing.stream("orders", range(1, 6))


def reader(stream: Stream[Any]) -> tuple[Input[Any], Reading, dict[str, int]]:
    places: dict[str, int] = {}
    reading = Reading(stream, places)
    return Input(stream, places, reading=reading), reading, places


async def test_a_batch_that_was_read_and_is_not_done_is_in_hand(stream: Stream[Any]) -> None:
    orders, reading, _ = reader(stream)
    cursor = orders.cursor()
    before = reading.taken

    cursor.read(3)
    within = reading.taken
    cursor.done()

    assert (before, str(within)) == (None, "records 1 to 3 of orders")
    assert reading.taken is None


async def test_what_the_loop_has_gone_past_is_not_in_hand(
    autojump_clock: MockClock, stream: Stream[Any]
) -> None:
    orders, reading, _ = reader(stream)
    batches = orders.cursor()
    with trio.move_on_after(1):
        async for _ in batches:
            pass
    after_batches = reading.taken
    one_by_one = orders.cursor().records()
    with trio.move_on_after(1):
        async for _ in one_by_one:
            pass

    assert (after_batches, reading.taken) == (None, None)


async def test_a_batch_comes_again_record_by_record_and_then_in_batches(
    autojump_clock: MockClock, stream: Stream[Any]
) -> None:
    orders, reading, places = reader(stream)
    await anext(aiter(orders.cursor()))
    skips = reading.failed(skip=True)
    stream.append(6)
    stream.append(7)
    sizes: list[int] = []

    with trio.move_on_after(1):
        async for batch in orders.cursor():
            sizes.append(len(batch.records))

    assert sizes == [1, 1, 1, 1, 1, 2]
    assert (places, skips) == ({"orders": 7}, False)


async def test_a_record_in_hand_at_two_failures_in_a_row_is_passed_by_if_asked(
    stream: Stream[Any],
) -> None:
    orders, reading, places = reader(stream)
    await anext(orders.cursor().records())

    kept = [reading.failed(skip=False) for _ in range(3)]
    skipped = reading.failed(skip=True)

    assert (kept, skipped, places) == ([False] * 3, True, {"orders": 1})
    assert (await anext(orders.cursor().records())).seq == 2


async def test_another_record_begins_the_count_anew(stream: Stream[Any]) -> None:
    orders, reading, places = reader(stream)
    records = orders.cursor().records()
    skips = []

    for _ in range(3):
        await anext(records)
        skips.append(reading.failed(skip=True))

    assert (skips, places) == ([False] * 3, {"orders": 2})


async def test_what_an_earlier_life_held_is_out_of_hand(stream: Stream[Any]) -> None:
    orders, reading, _ = reader(stream)
    records = orders.cursor().records()
    await anext(records)

    reading.begin()

    assert reading.taken is None
