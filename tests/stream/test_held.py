"""What fell off a stream and readers within the daemon have still to read."""

from itertools import pairwise

import pytest

from flowd.stream.held import COMPACT_FROM, DROP_FOR_ONE, Behind, Retain
from flowd.stream.inputs import Input
from flowd.stream.log import Saved, Stream
from flowd.stream.reading import Reading
from flowd.values.clock import Clock
from flowd.values.record import Gap
from tests.upstream.test_feed import Tick


def make(
    retain: Retain | None = None, behind: Behind | None = None, clock: Clock = lambda: 0
) -> Stream[Tick]:
    return Stream(
        "orders", Tick, clock=clock, epoch="e", retain=retain or Retain(10), behind=behind
    )


def fill(stream: Stream[Tick], count: int) -> None:
    for _ in range(count):
        stream.append(Tick(stream.seq + 1))


def reader(stream: Stream[Tick], places: dict[str, int]) -> Input[Tick]:
    return Input(stream, places, reading=Reading(stream, places, reads=True))


def test_what_a_component_has_not_read_is_held_beyond_what_is_retained() -> None:
    stream = make()
    cursor = Input(stream, {}).cursor()
    fill(stream, 1000)

    batch = cursor.read()

    assert (batch.gap, [record.seq for record in batch.records]) == (None, [*range(1, 1001)])


def test_clients_go_back_no_further_than_what_is_retained() -> None:
    stream = make()
    held = Input(stream, {}).cursor()
    fill(stream, 1000)

    first, resumed = stream.cursor().read(), stream.read(500)

    assert [record.seq for record in first.records] == [*range(991, 1001)]
    assert resumed.gap == Gap(501, 990)
    assert len(stream) == 10
    assert stream.newest(5000) == 0
    assert held.position.seq == 0


def test_a_backlog_is_read_in_slices() -> None:
    stream = make()
    cursor = Input(stream, {}).cursor()
    fill(stream, 95)

    slices = [[record.seq for record in cursor.read(limit=30).records] for _ in range(4)]

    assert slices == [[*range(1, 31)], [*range(31, 61)], [*range(61, 91)], [*range(91, 96)]]


def test_what_has_been_dealt_with_is_held_no_longer() -> None:
    stream = make()
    cursor = Input(stream, {}).cursor()
    fill(stream, 1000)
    cursor.read(limit=600)
    cursor.done()

    fill(stream, 600 // DROP_FOR_ONE)

    assert (stream.held.lost, len(stream.held)) == (600, 450)


def test_a_backlog_that_was_dealt_with_is_let_go_of_a_few_at_a_time() -> None:
    stream = make()
    cursor = Input(stream, {}).cursor()
    fill(stream, 5000)
    cursor.read()
    cursor.done()
    held, kept = [], []

    while len(stream.held):
        held.append(len(stream.held))
        kept.append(len(stream.held._records))
        fill(stream, 1)
        cursor.read()
        cursor.done()

    assert max(before - after for before, after in pairwise(held)) <= DROP_FOR_ONE
    assert max(before - after for before, after in pairwise(kept)) <= COMPACT_FROM + DROP_FOR_ONE


def test_what_is_held_has_no_hole_while_it_is_let_go_of() -> None:
    stream = make()
    cursor = Input(stream, {}).cursor()
    fill(stream, 500)
    cursor.read()
    cursor.done()
    wrong: list[int] = []

    while len(stream.held):
        fill(stream, 1)
        cursor.read()
        cursor.done()
        if stream.held.lost + len(stream.held) != stream.floor:
            wrong.append(stream.seq)

    # A snapshot that counts its rows would miss some, and take the stream for damaged.
    assert not wrong


def test_what_has_been_dealt_with_is_given_back_when_nothing_more_comes() -> None:
    stream = make()
    cursor = Input(stream, {}).cursor()
    fill(stream, 1000)
    cursor.read()
    cursor.done()

    cut = stream.cut(0, 0)

    assert (len(stream.held), cut.floor, len(cut.records)) == (0, 990, 10)


def test_a_place_from_before_holds_until_the_component_comes_back() -> None:
    stream = make()
    found = reader(stream, {"orders": 3})
    fill(stream, 100)

    batch = found.cursor().read()

    assert (batch.gap, len(batch.records)) == (None, 97)


def test_a_component_that_does_not_read_the_stream_any_more_holds_nothing() -> None:
    stream = make()
    other = Input(stream, {"orders": 3})

    fill(stream, 100)

    assert len(stream.held) == 0
    assert other.cursor().read().gap == Gap(4, 90)


def test_a_reader_who_is_gone_holds_nothing() -> None:
    stream = make()
    Input(stream, {}).cursor().read()

    fill(stream, 100)

    assert len(stream.held) == 0


def test_who_starts_reads_what_is_retained_and_not_what_is_held_for_others() -> None:
    stream = make()
    slow = Input(stream, {}).cursor()
    fill(stream, 100)

    batch = Input(stream, {}).cursor().read()

    assert [record.seq for record in batch.records] == [*range(91, 101)]
    assert batch.first
    assert slow.position.seq == 0


@pytest.mark.parametrize(
    ("behind", "first"),
    [
        (Behind(count=50), 141),
        (Behind(bytes=50 * len(b'{"seq":150,"time_ms":0,"value":{"price":150}}')), 141),
    ],
)
def test_above_the_limit_the_oldest_fall_off_and_are_told(behind: Behind, first: int) -> None:
    stream = make(behind=behind)
    cursor = Input(stream, {}).cursor()
    fill(stream, 101)
    cursor.read()
    # All records from here on are of one size.
    cursor.done()
    fill(stream, 99)

    batch = cursor.read()

    assert batch.gap == Gap(102, first - 1)
    assert [record.seq for record in batch.records] == [*range(first, 201)]


def test_who_never_reads_holds_no_more_than_the_limit() -> None:
    stream = make(behind=Behind(count=50))
    stuck = Input(stream, {}).cursor()

    fill(stream, 10_000)

    assert (len(stream.held), stuck.position.seq) == (50, 0)
    assert stream.held.bytes == sum(len(r.json) for r in stream.held.after(0, 10_000))


def test_a_clock_that_jumps_takes_nothing_from_a_reader() -> None:
    now_ms = 0
    stream = make(clock=lambda: now_ms, retain=Retain(1000, age_s=60.0))
    cursor = Input(stream, {}).cursor()
    fill(stream, 100)

    now_ms = 86_400_000
    fill(stream, 1)

    assert len(stream) == 1
    assert [record.seq for record in cursor.read().records] == [*range(1, 102)]


def test_a_key_that_fell_off_a_table_is_held_too() -> None:
    stream = make(Retain(2))
    cursor = Input(stream, {}).cursor()
    for price in range(1, 5):
        stream.append(Tick(price), key=f"k{price}")

    batch = cursor.read()

    assert [record.key for record in batch.records] == ["k1", "k2", "k3", "k4"]
    assert stream.get("k1") is None


def test_of_two_cursors_the_slower_ones_place_counts() -> None:
    stream, places = make(), dict[str, int]()
    found = Input(stream, places)
    fast, slow = found.cursor(), found.cursor()
    fill(stream, 100)
    slow.read(limit=20)
    slow.done()

    fast.read()
    fast.done()

    assert places == {"orders": 20}
    assert Input(stream, places).cursor().read().records[0].seq == 21


def test_a_cursor_that_nobody_has_any_more_does_not_count() -> None:
    stream, places = make(), dict[str, int]()
    found = Input(stream, places)
    fast, slow = found.cursor(), found.cursor()
    fill(stream, 9)
    fast.read()
    fast.done()

    del slow
    fast.done()

    assert places == {"orders": 9}


def test_cursors_of_an_earlier_life_do_not_count() -> None:
    stream, places = make(), dict[str, int]()
    reading = Reading(stream, places)
    found = Input(stream, places, reading=reading)
    earlier = found.cursor()  # as the traceback of what it died of holds it
    fill(stream, 9)

    reading.begin()
    cursor = found.cursor()
    cursor.read()
    cursor.done()

    assert places == {"orders": 9}
    assert earlier.position.seq == 0


def test_a_cursor_with_a_name_has_a_place_of_its_own_from_where_the_component_was() -> None:
    stream, places = make(), {"orders": 3}
    found = Input(stream, places)
    fill(stream, 9)
    wide, narrow = found.cursor(place="wide"), found.cursor()

    narrow.read()
    narrow.done()
    wide.read(limit=2)
    wide.done()
    fill(stream, 100)

    assert places == {"orders": 9, "orders#wide": 5}
    assert stream.held.lost == 5


def test_what_is_held_survives_a_restart_with_the_place() -> None:
    stream, places = make(), {"orders": 3}
    reader(stream, places)
    fill(stream, 100)
    cut = stream.cut(0, 0)

    again = make()
    again.restore(Saved(cut.seq, cut.floor, cut.records, [], 0))  # type: ignore[arg-type]
    cursor = reader(again, places).cursor()
    fill(again, 10)

    assert [record.seq for record in cursor.read().records] == [*range(4, 111)]
    assert again.floor == 100
