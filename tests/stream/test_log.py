"""The log and its readers: nothing is ever lost unannounced."""

from collections.abc import Callable
from typing import Any
from weakref import ref

import pytest
import trio
from attrs import field, frozen
from hypothesis import given, settings
from hypothesis import strategies as st
from trio.testing import MockClock, wait_all_tasks_blocked

from flowd.stream.cursor import Cursor, Mark
from flowd.stream.cut import Saved
from flowd.stream.held import Retain
from flowd.stream.log import Stream
from flowd.stream.seen import SEEN_MAX
from flowd.values import filters
from flowd.values.record import Batch, Gap, Position, Record


@frozen
class Tick:
    symbol: str = "BTC"
    price: int = 0
    seen_ms: int = field(default=0, eq=False)


class Ticking:
    """A wall clock that moves when it is told to."""

    def __init__(self, now_ms: int = 1_000_000) -> None:
        self.now_ms = now_ms

    def __call__(self) -> int:
        return self.now_ms


def make(
    count: int = 5000,
    age_s: float | None = None,
    *,
    clock: Callable[[], int] | None = None,
    name: str = "ticks",
    epoch: str = "e",
) -> Stream[Tick]:
    return Stream(name, Tick, clock=clock or Ticking(), epoch=epoch, retain=Retain(count, age_s))


def noting(read: list[int]) -> Mark:
    """The mark of a cursor whose place is kept here."""
    return Mark(on_read=lambda mark, seq: read.append(seq))


def fill(stream: Stream[Tick], count: int) -> None:
    for _ in range(count):
        stream.append(Tick(price=stream.seq + 1))


def seqs(records: list[Record[Tick]]) -> list[int]:
    return [record.seq for record in records]


def only(symbol: str) -> filters.Filter:
    return filters.parse(Tick, {"symbol": symbol})


# -- a history


def test_records_are_numbered_from_one_and_stamped_with_the_time() -> None:
    clock = Ticking(5)
    stream = make(clock=clock)

    first = stream.append(Tick(price=1))
    clock.now_ms = 8
    second = stream.append(Tick(price=1))

    assert first is not None
    assert second is not None
    assert (first.seq, first.time_ms, second.seq, second.time_ms) == (1, 5, 2, 8)
    assert stream.head == Position("e", 2)
    assert stream.newest_record is second


def test_the_time_of_records_never_runs_backwards() -> None:
    clock = Ticking(100)
    stream = make(clock=clock)
    stream.append(Tick())

    clock.now_ms = 50
    late = stream.append(Tick())

    assert late is not None
    assert late.time_ms == 100


def test_the_time_of_records_follows_a_clock_that_was_a_day_ahead_and_is_set_right() -> None:
    clock = Ticking(1_000_000)
    stream = make(clock=clock)
    stream.append(Tick(price=1))
    clock.now_ms += 86_400_000
    stream.append(Tick(price=2))

    clock.now_ms = 1_001_000
    stream.append(Tick(price=3))
    again = restored(stream, clock).append(Tick(price=4))

    assert [record.time_ms for record in stream.after(0)] == [1_000_000, 87_400_000, 1_001_000]
    assert again is not None
    assert again.time_ms == 1_001_000


def test_a_new_stream_is_empty() -> None:
    stream = make()

    batch = stream.cursor().read()

    assert (batch.records, batch.position, batch.first) == ([], Position("e", 0), True)
    assert len(stream) == 0
    assert stream.newest_record is None


def test_equal_values_without_a_key_are_all_kept() -> None:
    stream = make()

    for _ in range(3):
        stream.append(Tick("BTC", 1))

    assert len(stream) == 3


def test_only_the_newest_records_are_retained() -> None:
    stream = make(3)

    fill(stream, 10)

    assert seqs(stream.after(0)) == [8, 9, 10]
    assert (len(stream), stream.floor, stream.seq) == (3, 7, 10)


def test_a_stream_may_retain_a_single_record() -> None:
    stream = make(1)

    fill(stream, 1000)

    assert seqs(stream.after(0)) == [1000]


def test_records_older_than_the_age_fall_off_at_the_next_append() -> None:
    clock = Ticking(0)
    stream = make(age_s=10, clock=clock)
    fill(stream, 2)
    clock.now_ms = 5_000
    fill(stream, 1)

    clock.now_ms = 10_001
    fill(stream, 1)

    assert seqs(stream.after(0)) == [3, 4]
    assert stream.floor == 2


def test_records_older_than_the_age_are_not_read_though_nothing_is_appended() -> None:
    clock = Ticking(0)
    stream = make(age_s=10, clock=clock)
    fill(stream, 3)

    clock.now_ms = 10_001
    batch = stream.read(1)

    assert batch.records == []
    assert (batch.gap, batch.position.seq) == (Gap(2, 3), 3)


def test_a_record_of_exactly_the_age_is_still_there() -> None:
    clock = Ticking(0)
    stream = make(age_s=10, clock=clock)
    fill(stream, 1)

    clock.now_ms = 10_000

    assert seqs(stream.read(0).records) == [1]


def test_the_memory_of_what_fell_off_is_given_back() -> None:
    stream = make(10)

    fill(stream, 10_000)

    assert len(stream._log) < 200


@given(st.integers(1, 5), st.integers(0, 400), st.integers(0, 400))
def test_after_answers_what_is_newer_and_not_beyond(count: int, low: int, high: int) -> None:
    stream = make(count * 50)
    fill(stream, 300)

    found = seqs(stream.after(low, upto=high))

    assert found == [seq for seq in range(301) if max(low, stream.floor) < seq <= high]


# -- a table


def test_a_key_supersedes_its_earlier_record() -> None:
    stream = make()

    stream.append(Tick("BTC", 1), key="BTC")
    stream.append(Tick("ETH", 2), key="ETH")
    stream.append(Tick("BTC", 3), key="BTC")

    assert [(r.seq, r.key, r.value.price) for r in stream.after(0)] == [
        (2, "ETH", 2),
        (3, "BTC", 3),
    ]
    assert len(stream) == 2
    assert stream.get("BTC") == Tick("BTC", 3)
    assert stream.get("SOL") is None


def test_an_equal_value_of_a_key_is_no_news() -> None:
    stream = make()
    stream.append(Tick("BTC", 1, seen_ms=5), key="BTC")

    again = stream.append(Tick("BTC", 1, seen_ms=9), key="BTC")

    assert again is None
    assert stream.seq == 1


def test_a_value_that_returns_is_news() -> None:
    stream = make()

    for price in (1, 2, 1):
        stream.append(Tick("BTC", price), key="BTC")

    assert (stream.seq, len(stream)) == (3, 1)


def test_superseding_is_no_gap() -> None:
    stream = make()
    for price in range(500):
        stream.append(Tick("BTC", price), key="BTC")

    batch = stream.cursor(Position("e", 1)).read()

    assert seqs(batch.records) == [500]
    assert batch.gap is None


def test_who_lags_behind_a_table_finds_the_newest_value_per_key_only() -> None:
    stream = make()
    cursor = stream.cursor()
    cursor.read()

    for price in range(300):
        stream.append(Tick("BTC", price), key="BTC")
        stream.append(Tick("ETH", price), key="ETH")

    assert [(r.key, r.value.price) for r in cursor.read().records] == [("BTC", 299), ("ETH", 299)]


def test_a_table_retains_the_most_recently_changed_keys() -> None:
    stream = make(2)

    for key in ("A", "B", "A", "C"):
        stream.append(Tick(key, stream.seq), key=key)

    assert [record.key for record in stream.after(0)] == ["A", "C"]
    assert stream.get("B") is None
    assert stream.floor == 2


def test_a_key_that_fell_off_may_come_back() -> None:
    stream = make(1)
    stream.append(Tick("A"), key="A")
    stream.append(Tick("B"), key="B")

    back = stream.append(Tick("A"), key="A")

    assert back is not None
    assert [record.key for record in stream.after(0)] == ["A"]


def test_a_forgotten_key_is_gone_and_readers_are_not_told() -> None:
    stream = make()
    stream.append(Tick("A"), key="A")
    stream.append(Tick("B"), key="B")

    stream.forget("A")

    batch = stream.read(0)
    assert [record.key for record in batch.records] == ["B"]
    assert (batch.gap, stream.get("A"), len(stream), stream.seq) == (None, None, 1, 2)


def test_forgetting_what_is_not_there_does_nothing() -> None:
    stream = make()
    stream.append(Tick("A"), key="A")

    stream.forget("B")
    stream.forget("A")
    stream.forget("A")

    assert (len(stream), stream.cut(0, 0).forgotten) == (0, ["A"])


def test_a_forgotten_key_may_have_the_same_value_again() -> None:
    stream = make()
    stream.append(Tick("A"), key="A")
    stream.forget("A")

    again = stream.append(Tick("A"), key="A")

    assert again is not None
    assert stream.cut(0, 0).forgotten == []


def test_the_memory_of_superseded_records_is_given_back() -> None:
    stream = make()

    for price in range(10_000):
        stream.append(Tick("A", price), key="A")
    for key in range(1000):
        stream.append(Tick("B"), key=f"k{key}")
        stream.forget(f"k{key}")

    assert len(stream) == 1
    assert len(stream._log) < 200


def test_a_superseded_value_is_let_go_of_at_once_and_not_taken_from_who_reads_it() -> None:
    stream = make()
    values = [Tick("A", 1), Tick("B", 1)]
    for value in values:
        stream.append(value, key=value.symbol)
    ghosts = [ref(value) for value in values]
    del values, value
    (read,) = stream.read(1).records

    stream.append(Tick("A", 2), key="A")
    stream.append(Tick("B", 2), key="B")

    assert [ghost() for ghost in ghosts] == [None, Tick("B", 1)]
    assert read.value == Tick("B", 1)
    assert [record.value.price for record in stream.after(0)] == [2, 2]


TABLE_STEPS = st.lists(
    st.tuples(
        st.sampled_from(["put", "put", "put", "forget"]), st.integers(0, 90), st.integers(0, 3)
    ),
    max_size=400,
)


@given(st.integers(1, 60), TABLE_STEPS)
@settings(max_examples=60)
def test_a_table_is_a_dict_in_order_of_change(count: int, steps: list[Any]) -> None:
    stream = make(count)
    model: dict[str, int] = {}

    for what, number, price in steps:
        key = f"k{number}"
        if what == "forget":
            stream.forget(key)
            model.pop(key, None)
        elif model.get(key) != price:
            assert stream.append(Tick(key, price), key=key) is not None
            model.pop(key, None)
            model[key] = price
            while len(model) > count:
                del model[next(iter(model))]
        else:
            assert stream.append(Tick(key, price), key=key) is None

    assert [(r.key, r.value.price) for r in stream.after(0)] == list(model.items())
    assert len(stream) == len(model)
    assert all(stream.get(key) == Tick(key, price) for key, price in model.items())


# -- ids


def test_an_id_that_was_seen_is_no_news() -> None:
    stream = make()

    first = stream.append(Tick(price=1), id="b:1")
    again = stream.append(Tick(price=2), id="b:1")
    other = stream.append(Tick(price=1), id="b:2")

    assert first is not None
    assert again is None
    assert other is not None
    assert (stream.seq, len(stream.seen), stream.seen.total) == (2, 2, 2)


def test_an_id_is_remembered_though_its_record_fell_off() -> None:
    stream = make(1)
    stream.append(Tick(), id="old")
    stream.append(Tick(), id="new")

    assert stream.append(Tick(), id="old") is None


def test_an_id_is_remembered_though_its_value_was_no_news() -> None:
    stream = make()
    stream.append(Tick(price=1), key="A", id="1")

    equal = stream.append(Tick(price=1), key="A", id="2")
    again = stream.append(Tick(price=2), key="A", id="2")

    assert (equal, again) == (None, None)


def test_the_oldest_ids_are_forgotten_first() -> None:
    stream = make(1)

    for number in range(SEEN_MAX + 1):
        stream.append(Tick(), id=str(number))

    assert len(stream.seen) == SEEN_MAX
    assert stream.append(Tick(), id="1") is None
    assert stream.append(Tick(), id="0") is not None


# -- what cannot be written


@pytest.mark.parametrize(
    "bad",
    [
        {"value": Tick("\ud800")},
        {"value": Tick(), "key": "\ud800"},
        {"value": Tick(), "id": "\ud800"},
        {"value": Tick("\ud800"), "key": "A", "id": "new"},
    ],
)
def test_what_cannot_be_written_is_refused_and_leaves_no_trace(bad: dict[str, Any]) -> None:
    stream = make()
    stream.append(Tick(price=1), key="A", id="old")

    with pytest.raises(UnicodeEncodeError):
        stream.append(**bad)
    after = stream.append(Tick(price=2), key="A", id="new")

    assert after is not None
    assert [(r.seq, r.key, r.value.price) for r in stream.after(0)] == [(2, "A", 2)]
    assert (stream.seq, len(stream), len(stream.seen)) == (2, 1, 2)


# -- cursors


def test_a_new_reader_gets_all_that_is_retained_without_a_gap() -> None:
    stream = make(3)
    fill(stream, 10)

    batch = stream.cursor().read()

    assert seqs(batch.records) == [8, 9, 10]
    assert (batch.first, batch.gap, batch.reset) == (True, None, False)
    assert (batch.stream, batch.position) == ("ticks", Position("e", 10))


def test_a_reader_then_gets_only_what_is_new() -> None:
    stream = make()
    fill(stream, 2)
    cursor = stream.cursor()
    cursor.read()

    fill(stream, 2)
    second, third = cursor.read(), cursor.read()

    assert (seqs(second.records), second.first) == ([3, 4], False)
    assert (third.records, third.position.seq) == ([], 4)


def test_a_reader_resumes_where_it_was() -> None:
    stream = make()
    fill(stream, 10)

    batch = stream.cursor(Position("e", 7)).read()

    assert seqs(batch.records) == [8, 9, 10]
    assert (batch.first, batch.gap, batch.reset) == (False, None, False)


def test_a_reader_who_is_level_resumes_with_nothing() -> None:
    stream = make()
    fill(stream, 3)

    batch = stream.cursor(stream.head).read()

    assert (batch.records, batch.first, batch.gap) == ([], False, None)


def test_a_reader_whose_next_record_is_the_oldest_has_no_gap() -> None:
    stream = make(3)
    fill(stream, 10)

    assert stream.cursor(Position("e", 7)).read().gap is None
    assert stream.cursor(Position("e", 6)).read().gap == Gap(7, 7)


def test_a_reader_is_told_what_fell_off_before_it_came_by() -> None:
    stream = make(3)
    fill(stream, 2)
    cursor = stream.cursor()
    cursor.read()

    fill(stream, 10)
    batch = cursor.read()

    assert batch.gap == Gap(3, 9)
    assert seqs(batch.records) == [10, 11, 12]
    assert cursor.read().gap is None


@pytest.mark.parametrize("after", [Position("other", 2), Position("e", 11), Position("e", 10**17)])
def test_a_position_that_means_nothing_here_is_a_reset(after: Position) -> None:
    stream = make(3)
    fill(stream, 10)

    batch = stream.cursor(after).read()

    assert (batch.reset, batch.first, batch.gap) == (True, True, None)
    assert seqs(batch.records) == [8, 9, 10]


def test_a_reset_is_told_once() -> None:
    stream = make()
    fill(stream, 1)
    cursor = stream.cursor(Position("other", 0))
    cursor.read()

    fill(stream, 1)
    batch = cursor.read()

    assert (batch.reset, batch.first, seqs(batch.records)) == (False, False, [2])


def test_a_reader_may_ask_for_the_newest_few() -> None:
    stream = make()
    fill(stream, 10)

    assert seqs(stream.cursor(limit=3).read().records) == [8, 9, 10]
    assert seqs(stream.cursor(limit=30).read().records) == list(range(1, 11))
    assert stream.cursor(limit=0).read().records == []


def test_the_newest_few_are_counted_among_those_that_match() -> None:
    stream = make()
    for symbol in ("A", "B", "B", "A", "B", "A", "B"):
        stream.append(Tick(symbol))

    batch = stream.cursor(limit=2, filter=only("A")).read()

    assert seqs(batch.records) == [4, 6]
    assert batch.position.seq == 7


def test_the_newest_few_of_a_table_are_keys() -> None:
    stream = make()
    for key in ("A", "B", "C", "C", "C"):
        stream.append(Tick(key, stream.seq), key=key)

    assert [r.key for r in stream.cursor(limit=2).read().records] == ["B", "C"]


def test_a_limit_does_not_shorten_a_resume() -> None:
    stream = make()
    fill(stream, 10)

    assert len(stream.cursor(Position("e", 2), limit=3).read().records) == 8


def test_the_newest_few_after_a_reset() -> None:
    stream = make()
    fill(stream, 10)

    batch = stream.cursor(Position("other", 2), limit=3).read()

    assert (seqs(batch.records), batch.reset) == ([8, 9, 10], True)


def test_a_read_with_a_limit_goes_on_where_it_ended() -> None:
    stream = make()
    fill(stream, 10)
    cursor = stream.cursor()

    batches = [cursor.read(limit=4) for _ in range(4)]

    assert [seqs(batch.records) for batch in batches] == [
        [1, 2, 3, 4],
        [5, 6, 7, 8],
        [9, 10],
        [],
    ]
    assert [batch.position.seq for batch in batches] == [4, 8, 10, 10]
    assert [batch.first for batch in batches] == [True, False, False, False]


def test_the_position_moves_past_what_a_filter_hides() -> None:
    stream = make()
    for symbol in ("A", "B", "B"):
        stream.append(Tick(symbol))
    cursor = stream.cursor(filter=only("A"))

    batch = cursor.read()

    assert (seqs(batch.records), batch.position.seq) == ([1], 3)
    assert cursor.position == Position("e", 3)


def test_a_gap_ends_where_the_read_does() -> None:
    stream = make(2)
    fill(stream, 10)

    assert stream.read(1, upto=5).gap == Gap(2, 5)
    assert stream.read(1, upto=5).position.seq == 5
    assert stream.read(1, upto=9).gap == Gap(2, 8)


async def test_iterating_begins_at_once_though_the_stream_is_empty() -> None:
    stream = make()

    batch = await anext(stream.cursor())

    assert (batch.first, batch.records) == (True, [])


async def test_iterating_waits_for_news(nursery: trio.Nursery) -> None:
    stream = make()
    fill(stream, 1)
    got: list[Batch[Tick]] = []

    async def read() -> None:
        async for batch in stream.cursor():
            got.append(batch)

    nursery.start_soon(read)
    await wait_all_tasks_blocked()
    fill(stream, 3)
    await wait_all_tasks_blocked()

    assert [seqs(batch.records) for batch in got] == [[1], [2, 3, 4]]
    nursery.cancel_scope.cancel()


async def test_iterating_skips_batches_that_the_filter_leaves_empty(nursery: trio.Nursery) -> None:
    stream = make()
    got: list[Batch[Tick]] = []

    async def read() -> None:
        async for batch in stream.cursor(stream.head, filter=only("A")):
            got.append(batch)

    nursery.start_soon(read)
    for symbol in ("B", "A", "B"):
        await wait_all_tasks_blocked()
        stream.append(Tick(symbol))
    await wait_all_tasks_blocked()

    assert [(seqs(batch.records), batch.position.seq) for batch in got] == [([2], 2)]
    nursery.cancel_scope.cancel()


async def test_one_append_wakes_every_reader(nursery: trio.Nursery) -> None:
    stream = make()
    got: list[int] = []

    async def read(number: int) -> None:
        await anext(stream.cursor(stream.head))
        got.append(number)

    for number in range(5):
        nursery.start_soon(read, number)
    await wait_all_tasks_blocked()
    fill(stream, 1)
    await wait_all_tasks_blocked()

    assert sorted(got) == [0, 1, 2, 3, 4]


async def test_closing_ends_every_loop_after_its_last_batch(nursery: trio.Nursery) -> None:
    stream = make()
    ends: list[tuple[str, list[int]]] = []

    async def read(name: str, cursor: Cursor[Tick]) -> None:
        found = [seq async for batch in cursor for seq in seqs(batch.records)]
        ends.append((name, found))

    nursery.start_soon(read, "waiting", stream.cursor())
    await wait_all_tasks_blocked()
    fill(stream, 2)
    stream.close()
    nursery.start_soon(read, "late", stream.cursor())
    nursery.start_soon(read, "level", stream.cursor(stream.head))
    await wait_all_tasks_blocked()

    assert sorted(ends) == [("late", [1, 2]), ("level", []), ("waiting", [1, 2])]


def test_nothing_is_appended_to_a_closed_stream() -> None:
    stream = make()
    stream.close()

    with pytest.raises(AssertionError):
        stream.append(Tick())


async def test_news_is_true_at_once_when_there_is_some() -> None:
    stream = make()
    fill(stream, 1)

    assert await stream.news(0)


async def test_a_batch_counts_as_read_when_the_next_one_is_asked_for(
    nursery: trio.Nursery,
) -> None:
    stream = make()
    fill(stream, 2)
    read: list[int] = []
    cursor = Cursor(stream, 0, mark=noting(read))

    await anext(cursor)
    before = list(read)
    nursery.start_soon(anext, cursor)
    await wait_all_tasks_blocked()

    assert (before, read) == ([], [2])
    nursery.cancel_scope.cancel()


def test_a_gap_is_told_to_who_keeps_count() -> None:
    stream = make(2)
    gaps: list[Gap] = []
    cursor = Cursor(stream, 1, on_gap=lambda gap, since_ms: gaps.append(gap))
    fill(stream, 10)

    cursor.read()
    cursor.read()

    assert gaps == [Gap(2, 8)]


def test_who_polls_says_by_hand_what_has_been_dealt_with() -> None:
    stream = make()
    fill(stream, 3)
    read: list[int] = []
    cursor = Cursor(stream, 0, mark=noting(read))

    cursor.read()
    before = list(read)
    cursor.done()

    assert (before, read) == ([], [3])


def test_who_keeps_no_count_may_say_done_too() -> None:
    cursor = make().cursor()

    cursor.done()

    assert cursor.position.seq == 0


async def test_the_end_of_a_stream_is_waited_for_through_all_its_news(
    nursery: trio.Nursery,
) -> None:
    stream = make()
    ended = trio.Event()

    async def wait() -> None:
        await stream.ended()
        ended.set()

    nursery.start_soon(wait)
    await wait_all_tasks_blocked()
    fill(stream, 3)
    await wait_all_tasks_blocked()
    before = ended.is_set()
    stream.close()
    await ended.wait()
    await stream.ended()

    assert not before


async def test_reading_without_news_lets_others_run() -> None:
    stream = make()
    fill(stream, 1)
    cursor = stream.cursor()
    ran = False

    async def other() -> None:
        nonlocal ran
        ran = True

    async with trio.open_nursery() as nursery:
        nursery.start_soon(other)
        await anext(cursor)

    assert ran


# -- what must hold whatever happens

HISTORY_STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("append"), st.integers(1, 40), st.none()),
        st.tuples(st.just("read"), st.integers(0, 3), st.none() | st.integers(1, 30)),
        st.tuples(st.just("later"), st.integers(0, 5000), st.none()),
        st.tuples(st.just("resume"), st.integers(0, 3), st.none()),
    ),
    max_size=80,
)


@given(st.integers(1, 50), st.none() | st.integers(0, 10), HISTORY_STEPS)
@settings(max_examples=150)
def test_seen_and_missed_together_are_the_position(
    count: int, age_s: int | None, steps: list[Any]
) -> None:
    clock = Ticking()
    stream = make(count, age_s, clock=clock)
    cursors = [stream.cursor(Position("e", 0)) for _ in range(4)]
    seen: list[list[int]] = [[] for _ in cursors]
    missed = [0] * len(cursors)

    for what, number, limit in steps:
        if what == "append":
            fill(stream, number)
        elif what == "later":
            clock.now_ms += number
        elif what == "resume":
            cursors[number] = stream.cursor(cursors[number].position)
        else:
            batch = cursors[number].read(limit)
            seen[number] += seqs(batch.records)
            missed[number] += 0 if batch.gap is None else batch.gap.last - batch.gap.first + 1
            assert not batch.reset
            assert len(batch.records) <= (limit or count)
            assert len(seen[number]) + missed[number] == batch.position.seq
            assert batch.gap is None or not (
                set(range(batch.gap.first, batch.gap.last + 1)) & set(seen[number])
            )

    for found in seen:
        assert found == sorted(set(found))
    assert len(stream) <= count


@given(
    st.integers(1, 50),
    st.lists(st.tuples(st.sampled_from("AB"), st.integers(0, 1)), max_size=120),
    st.integers(1, 9),
)
def test_a_filtered_reader_sees_what_matches_of_what_it_did_not_miss(
    count: int, steps: list[tuple[str, int]], limit: int
) -> None:
    stream = make(count)
    cursor = stream.cursor(Position("e", 0), filter=only("A"))
    appended: dict[int, str] = {}
    got: list[int] = []
    lost: set[int] = set()

    for symbol, read in steps:
        record = stream.append(Tick(symbol))
        assert record is not None
        appended[record.seq] = symbol
        if read:
            batch = cursor.read(limit)
            got += seqs(batch.records)
            if batch.gap is not None:
                lost |= set(range(batch.gap.first, batch.gap.last + 1))

    assert got == [
        seq
        for seq, symbol in appended.items()
        if symbol == "A" and seq <= cursor.position.seq and seq not in lost
    ]


@given(
    st.integers(0, 30),
    st.lists(st.sampled_from("AB"), max_size=60),
    st.integers(1, 40),
    st.booleans(),
)
def test_newest_answers_where_exactly_so_many_begin(
    limit: int, symbols: list[str], count: int, filtered: bool
) -> None:
    stream = make(count)
    for symbol in symbols:
        stream.append(Tick(symbol))
    filter = only("A") if filtered else filters.ALL

    found = stream.read(stream.newest(limit, filter), first=True, filter=filter).records

    matching = [r for r in stream.after(0) if not filtered or r.value.symbol == "A"]
    assert found == matching[max(0, len(matching) - limit) :]


# -- one record at a time


async def test_records_come_one_at_a_time_and_in_order() -> None:
    stream = make()
    fill(stream, 250)
    stream.close()

    found = [record.seq async for record in stream.cursor().records()]

    assert found == list(range(1, 251))


async def test_a_record_counts_as_read_when_the_loop_body_is_done_with_it() -> None:
    stream = make()
    fill(stream, 3)
    read: list[int] = []
    during: list[list[int]] = []

    async for record in Cursor(stream, 0, mark=noting(read)).records():
        during.append(list(read))
        if record.seq == 3:
            break

    assert during == [[], [1], [1, 2]]
    assert read == [1, 2]


async def test_a_record_whose_loop_body_fails_does_not_count_as_read() -> None:
    stream = make()
    fill(stream, 3)
    read: list[int] = []

    async def component() -> None:
        async for record in Cursor(stream, 0, mark=noting(read)).records():
            if record.seq == 2:
                raise ValueError("a bug")

    with pytest.raises(ValueError, match="a bug"):
        await component()

    assert read == [1]


async def test_what_a_filter_hides_counts_as_read(nursery: trio.Nursery) -> None:
    stream = make()
    for symbol in ("A", "B", "B"):
        stream.append(Tick(symbol))
    read: list[int] = []
    records = Cursor(stream, 0, filter=only("A"), mark=noting(read)).records()

    await anext(records)
    nursery.start_soon(anext, records)
    await wait_all_tasks_blocked()

    assert read == [1, 3]
    nursery.cancel_scope.cancel()


async def test_records_wait_for_news_and_end_with_the_stream(nursery: trio.Nursery) -> None:
    stream = make()
    found: list[int] = []
    ended = trio.Event()

    async def read() -> None:
        async for record in stream.cursor().records():
            found.append(record.seq)
        ended.set()

    nursery.start_soon(read)
    await wait_all_tasks_blocked()
    fill(stream, 2)
    await wait_all_tasks_blocked()
    before = list(found)
    fill(stream, 1)
    stream.close()
    await ended.wait()

    assert (before, found) == ([1, 2], [1, 2, 3])


async def test_a_backlog_holds_nobody_up() -> None:
    stream = make()
    fill(stream, 1000)
    turns = 0

    async def other() -> None:
        nonlocal turns
        while True:
            turns += 1
            await trio.lowlevel.checkpoint()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(other)
        async for record in stream.cursor().records():
            if record.seq == 1000:
                break
        nursery.cancel_scope.cancel()

    assert turns >= 9


async def test_a_reader_that_was_cancelled_while_it_waited_loses_no_record() -> None:
    stream = make()
    fill(stream, 500)
    stream.close()
    records = stream.cursor().records()
    found: list[int] = []

    for _ in range(500):
        with trio.CancelScope() as scope:
            async for record in records:
                found.append(record.seq)
                scope.cancel()

    assert found == list(range(1, 501))


async def test_records_that_fell_off_while_a_batch_was_dealt_with_are_told() -> None:
    stream = make(10)
    fill(stream, 5)
    gaps: list[Gap] = []
    found: list[int] = []

    async for record in Cursor(stream, 0, on_gap=lambda gap, since_ms: gaps.append(gap)).records():
        found.append(record.seq)
        if record.seq == 1:
            fill(stream, 100)
            stream.close()

    assert found == [1, 2, 3, 4, 5, *range(96, 106)]
    assert gaps == [Gap(6, 95)]


@given(st.lists(st.integers(0, 30), max_size=12), st.integers(5, 40))
@settings(max_examples=40)
async def test_a_restarted_reader_deals_with_every_record_exactly_once(
    lives: list[int], count: int
) -> None:
    stream = make(10_000)
    place = 0
    done: list[int] = []

    def on_read(mark: Mark, seq: int) -> None:
        nonlocal place
        place = max(place, seq)

    mark = Mark(on_read=on_read)
    for life in lives:
        fill(stream, count)
        left = life
        async for record in Cursor(stream, place, mark=mark).records():
            if not left:
                break  # fails before it has dealt with this one
            left -= 1
            done.append(record.seq)
            if record.seq == stream.seq:
                mark.done(record.seq)  # as if the next one had been asked for
                break

    assert done == list(range(1, len(done) + 1))


# -- the snapshot


def test_a_cut_holds_what_came_after_the_last_save() -> None:
    stream = make()
    fill(stream, 3)
    stream.append(Tick("A"), key="A", id="x")
    saved = stream.cut(0, 0)
    stream.append(Tick("B"), key="B", id="y")
    stream.forget("A")

    cut = stream.cut(saved.seq, saved.seen_total)

    assert [record.seq for record in saved.records] == [1, 2, 3, 4]
    assert (saved.stream, saved.epoch, saved.seq, saved.floor) == ("ticks", "e", 4, 0)
    assert (saved.seen, saved.seen_total) == (["x"], 1)
    assert [record.key for record in cut.records] == ["B"]
    assert (cut.forgotten, cut.seen, cut.seen_total) == (["A"], ["y"], 2)


def test_a_cut_of_what_was_just_saved_is_empty() -> None:
    stream = make()
    stream.append(Tick(), id="x")
    saved = stream.cut(0, 0)

    cut = stream.cut(saved.seq, saved.seen_total)

    assert (cut.records, cut.seen, cut.forgotten) == ([], [], [])


def test_a_cut_holds_no_more_ids_than_are_remembered() -> None:
    stream = make(1)
    for number in range(SEEN_MAX + 10):
        stream.append(Tick(), id=str(number))

    cut = stream.cut(0, 0)

    assert (len(cut.seen), cut.seen[0], cut.seen_total) == (SEEN_MAX, "10", SEEN_MAX + 10)


def test_keys_are_reported_as_forgotten_until_they_were_saved() -> None:
    stream = make()
    stream.append(Tick("A"), key="A")
    stream.append(Tick("B"), key="B")
    stream.forget("A")
    failed = stream.cut(0, 0)
    cut = stream.cut(0, 0)

    stream.forget("B")
    stream.was_saved(cut)

    assert failed.forgotten == ["A"]
    assert stream.cut(0, 0).forgotten == ["B"]


def restored(stream: Stream[Tick], clock: Ticking | None = None, count: int = 5000) -> Stream[Tick]:
    cut = stream.cut(0, 0)
    records: list[Any] = cut.records
    copy = make(count, clock=clock)
    copy.restore(Saved(cut.seq, cut.floor, records, cut.seen, cut.seen_total))
    return copy


def test_a_restored_stream_goes_on_where_it_was() -> None:
    stream = make(4)
    for number in range(6):
        stream.append(Tick(price=number), id=str(number))

    copy = restored(stream, count=4)
    again = copy.append(Tick(), id="0")
    record = copy.append(Tick(price=9), id="9")

    assert again is None
    assert record is not None
    assert record.seq == 7
    assert seqs(copy.after(0)) == [4, 5, 6, 7]
    assert (copy.floor, copy.seen.total) == (3, 7)
    assert copy.cursor(Position("e", 1)).read().gap == Gap(2, 3)


def test_a_restored_table_supersedes_its_keys() -> None:
    stream = make()
    for key in ("A", "B", "A"):
        stream.append(Tick(key, stream.seq), key=key)

    copy = restored(stream)
    equal = copy.append(Tick("B", 1), key="B")
    copy.append(Tick("B", 9), key="B")

    assert equal is None
    assert [(r.key, r.seq) for r in copy.after(0)] == [("A", 3), ("B", 4)]
    assert len(copy) == 2


def test_a_restored_stream_retains_no_more_than_it_is_told_to() -> None:
    stream = make(100)
    fill(stream, 50)

    copy = restored(stream, count=10)

    assert seqs(copy.after(0)) == list(range(41, 51))
    assert copy.floor == 40


def test_the_time_of_a_restored_stream_does_not_run_backwards() -> None:
    stream = make(clock=Ticking(500))
    fill(stream, 1)

    copy = restored(stream, Ticking(100))
    record = copy.append(Tick())

    assert record is not None
    assert record.time_ms == 500


def test_a_restored_stream_that_was_empty_keeps_its_seq() -> None:
    copy = make()
    copy.restore(Saved(17, 17, [], [], 0))

    record = copy.append(Tick())

    assert record is not None
    assert record.seq == 18
    assert copy.cursor(Position("e", 3)).read().gap == Gap(4, 17)


def test_only_a_new_stream_is_restored() -> None:
    stream = make()
    fill(stream, 1)

    with pytest.raises(AssertionError):
        stream.restore(Saved(1, 0, [], [], 0))


@given(st.integers(1, 60), TABLE_STEPS, st.booleans())
@settings(max_examples=60)
def test_a_restored_stream_reads_like_the_one_that_was_saved(
    count: int, steps: list[Any], keyed: bool
) -> None:
    stream = make(count)
    for what, number, price in steps:
        if keyed and what == "forget":
            stream.forget(f"k{number}")
        else:
            key = f"k{number}" if keyed else None
            stream.append(Tick(price=price), key=key, id=f"{number}/{price}")

    copy = restored(stream, count=count)

    assert seqs(copy.after(0)) == seqs(stream.after(0))
    assert (copy.seq, copy.floor, len(copy)) == (stream.seq, stream.floor, len(stream))
    assert all(copy.get(f"k{n}") == stream.get(f"k{n}") for n in range(91))
    assert copy.cut(0, 0).seen == stream.cut(0, 0).seen


async def test_a_slow_reader_never_slows_the_writer(autojump_clock: MockClock) -> None:
    stream = make(100)
    got: list[Batch[Tick]] = []

    async def slow() -> None:
        async for batch in stream.cursor(Position("e", 0)):
            got.append(batch)
            await trio.sleep(60)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(slow)
        for _ in range(600):
            fill(stream, 1)
            await trio.sleep(1)
        stream.close()

    seen = sum(len(batch.records) for batch in got)
    missed = sum(batch.gap.last - batch.gap.first + 1 for batch in got if batch.gap)
    assert seen + missed == stream.seq == 600
    assert len(got) == 11


@given(st.lists(st.tuples(st.sampled_from(["append", "forget"]), st.integers(0, 30))))
def test_a_tables_log_is_in_order_however_often_it_was_tidied_up(
    steps: list[tuple[str, int]],
) -> None:
    stream: Stream[int] = Stream("table", int, clock=lambda: 0, epoch="e", retain=Retain(25))
    known: dict[str, int] = {}
    for number, (step, key) in enumerate(steps * 20):
        if step == "forget":
            stream.forget(str(key))
            known.pop(str(key), None)
        else:
            record = stream.append(number, key=str(key))
            assert record is not None
            known.pop(str(key), None)
            known[str(key)] = record.seq
            if len(known) > 25:
                del known[next(iter(known))]

    assert [record.seq for record in stream.after(0)] == list(known.values())
    assert [record.key for record in stream.after(0)] == list(known)
