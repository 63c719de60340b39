"""The streams that components read, and their places in them."""

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from flowd.stream.inputs import Delivery, Input, Streams
from flowd.values.errors import UserError
from flowd.values.record import Gap, Position
from tests.upstream.test_feed import Tick, make_stream


def test_streams_are_found_by_name_and_can_only_be_looked_at() -> None:
    a, b = Input(make_stream("a"), {}), Input(make_stream("b"), {})

    streams = Streams([a, b])

    assert dict(streams) == {"a": a, "b": b}
    assert len(streams) == 2
    assert "a" in streams
    assert "c" not in streams
    assert {name for name in dir(streams) if not name.startswith("_")} == {
        *("get", "items", "keys", "values")
    }


def test_an_unknown_stream_is_a_user_error_that_lists_the_others() -> None:
    streams = Streams([Input(make_stream("a"), {})])

    with pytest.raises(UserError, match="there are: a"):
        streams["c"]


def test_an_input_reads_what_its_stream_holds() -> None:
    stream = make_stream()
    for price in (1, 2, 3):
        stream.append(Tick(price), key=f"k{price}")

    found = Input(stream, {})

    assert found.head == Position("e", 3)
    assert found.get("k2") == Tick(2)
    assert [record.seq for record in found.read(1).records] == [2, 3]
    assert [record.seq for record in found.read(0, limit=1).records] == [1]


def test_an_input_says_what_it_holds_and_of_which_class() -> None:
    stream = make_stream(retain=2)
    for price in (1, 2, 3):
        stream.append(Tick(price))

    found = Input(stream, {})

    assert (found.name, found.record, len(found)) == ("orders", Tick, 2)
    assert found.knows(Position("e", 1))
    assert not found.knows(Position("e", 4))
    assert not found.knows(Position("f", 1))


def test_who_starts_to_read_is_told_of_no_gap_and_may_read_up_to_a_place() -> None:
    stream = make_stream(retain=3)
    for price in range(5):
        stream.append(Tick(price))

    batch = Input(stream, {}).read(0, first=True, upto=4)

    assert (batch.gap, [record.seq for record in batch.records]) == (None, [3, 4])


async def test_a_component_waits_for_news_until_there_are_no_more(nursery: trio.Nursery) -> None:
    stream = make_stream()
    found = Input(stream, {})
    told: list[object] = []

    async def wait() -> None:
        told.append(await found.news(0))
        told.append(await found.news(1))

    async def wait_for_the_end() -> None:
        await found.ended()
        told.append("ended")

    nursery.start_soon(wait)
    nursery.start_soon(wait_for_the_end)
    await wait_all_tasks_blocked()
    assert told == []

    stream.append(Tick(1))
    await wait_all_tasks_blocked()
    assert told == [True]

    stream.close()
    await wait_all_tasks_blocked()
    assert sorted(map(str, told)) == ["False", "True", "ended"]


def test_a_component_has_nothing_by_which_it_could_change_what_it_reads() -> None:
    found = Input(make_stream(), {})

    offered = {name for name in (*dir(found), *dir(found.cursor())) if not name.startswith("_")}

    assert offered == {
        *(
            "name",
            "retain",
            "record",
            "head",
            "get",
            "read",
            "cursor",
            "news",
            "knows",
            "retains",
            "ended",
            "delivery",
            "ask",
        ),
        *("position", "done", "records"),
    }


async def test_a_component_goes_on_where_it_last_was() -> None:
    stream = make_stream()
    for price in range(5):
        stream.append(Tick(price))
    places: dict[str, int] = {}

    async for record in Input(stream, places).cursor().records():
        if record.seq == 3:
            break
    again = Input(stream, places).cursor().read()

    assert places == {"orders": 2}
    assert [record.seq for record in again.records] == [3, 4, 5]
    assert not again.first


async def test_the_place_of_a_component_never_goes_back() -> None:
    stream = make_stream()
    for price in range(5):
        stream.append(Tick(price))
    places = {"orders": 4}

    cursor = Input(stream, places).cursor(Position("e", 0))
    cursor.read(limit=1)
    cursor.done()

    assert places == {"orders": 4}


def test_a_component_without_a_place_gets_all_that_is_retained() -> None:
    stream = make_stream(retain=2)
    for price in range(5):
        stream.append(Tick(price))
    gaps: list[Gap] = []

    batch = Input(stream, {}, lambda gap, since_ms: gaps.append(gap)).cursor().read()

    assert ([record.seq for record in batch.records], batch.first) == ([4, 5], True)
    assert gaps == []


def test_a_component_may_begin_with_the_newest_few() -> None:
    stream = make_stream()
    for price in range(5):
        stream.append(Tick(price))

    batch = Input(stream, {}).cursor(limit=2).read()

    assert [record.seq for record in batch.records] == [4, 5]


def test_a_component_may_begin_where_it_likes() -> None:
    stream = make_stream()
    for price in range(5):
        stream.append(Tick(price))

    batch = Input(stream, {"orders": 1}).cursor(after=stream.head).read()

    assert (batch.records, batch.first) == ([], False)


def test_a_component_whose_own_position_means_nothing_any_more_is_told_so() -> None:
    stream = make_stream(retain=2)
    for price in range(5):
        stream.append(Tick(price))

    batch = Input(stream, {}).cursor(after=Position("old", 3)).read()

    assert (batch.reset, batch.first, batch.gap) == (True, True, None)
    assert [record.seq for record in batch.records] == [4, 5]


def test_what_a_component_missed_is_told() -> None:
    stream = make_stream(retain=2)
    for price in range(9):
        stream.append(Tick(price))
    gaps: list[Gap] = []

    batch = Input(stream, {"orders": 3}, lambda gap, since_ms: gaps.append(gap)).cursor().read()

    assert gaps == [Gap(4, 7)]
    assert batch.gap == Gap(4, 7)


async def test_two_components_have_places_of_their_own(nursery: trio.Nursery) -> None:
    stream = make_stream()
    for price in range(3):
        stream.append(Tick(price))
    places: list[dict[str, int]] = [{}, {}]

    async def read(mine: dict[str, int], upto: int) -> None:
        async for record in Input(stream, mine).cursor().records():
            if record.seq == upto:
                await trio.sleep_forever()

    nursery.start_soon(read, places[0], 2)
    nursery.start_soon(read, places[1], 3)
    await wait_all_tasks_blocked()

    assert places == [{"orders": 1}, {"orders": 2}]
    nursery.cancel_scope.cancel()


def test_who_was_told_nothing_of_the_components_sees_none_deliver() -> None:
    assert Input(make_stream(), {}).delivery() == Delivery()


def test_a_component_may_ask_how_the_writer_of_a_stream_stands() -> None:
    told = Delivery(delivering=True, connected=True, last_frame_ms=5)

    found = Input(make_stream(), {}, delivery=lambda: told)

    assert found.delivery() is told
