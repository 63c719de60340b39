"""A stream that another daemon numbers: what is taken, skipped and filled is as it was there, and
comes back after any end, in a crash as well.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from random import Random
from typing import Any

import pytest
import trio
from attrs import evolve, field, frozen
from hypothesis import given, settings
from hypothesis import strategies as st
from trio.testing import wait_all_tasks_blocked

from flowd.stream.held import Behind, Retain
from flowd.stream.log import Stream
from flowd.stream.memory import Memory
from flowd.stream.mirror import Mirror, Mirrored
from flowd.stream.snapshot import Store
from flowd.stream.stores import SqliteStore
from flowd.stream.volatile import MemoryStore
from flowd.values.record import Gap, Position, Record

EPOCH = "ingest1"
NOW_MS = 1_700_000_000_000


@frozen
class Tick:
    price: int = 0
    note: str = ""


@frozen
class Strict:
    """What a later version of a plugin makes of `Tick`."""

    price: int = field(validator=lambda tick, attribute, value: 1 // value)
    note: str = ""


def there(count: int = 0, *, retain: int = 5000, keys: int = 0) -> Stream[Tick]:
    """The stream as the other daemon has it, with so many records."""
    made: Stream[Tick] = Stream(
        "ticks", Tick, clock=lambda: NOW_MS, epoch=EPOCH, retain=Retain(retain)
    )
    for number in range(1, count + 1):
        made.append(Tick(number, "é"), key=f"k{number % keys}" if keys else None, id=f"id{number}")
    return made


def here(
    *, retain: int = 5000, table: bool = False, record: Any = Tick, behind: Behind | None = None
) -> Mirror[Any]:
    made: Stream[Any] = Stream(
        "ticks",
        record,
        clock=lambda: NOW_MS + 5,
        epoch=EPOCH,
        retain=Retain(retain),
        behind=behind,
        mirrored=True,
    )
    return Mirror(made, Mirrored(record.__name__, EPOCH, retain, table=table))


def stream_of(mirror: Mirror[Any]) -> Stream[Any]:
    return mirror._stream


def copy(
    source: Stream[Tick], mirror: Mirror[Any], after: int = 0, upto: int | None = None
) -> None:
    for record in source.after(after, upto=upto):
        assert mirror.take(record.json, id=f"id{record.seq}") is not None


def jsons(stream: Stream[Any], after: int = 0) -> list[bytes]:
    return [record.json for record in stream.after(after)]


# -- taking


def test_what_is_taken_has_the_number_the_time_the_key_and_the_bytes_that_it_had() -> None:
    source, mirror = there(3, keys=2), here(table=True)

    copy(source, mirror)

    assert jsons(stream_of(mirror)) == jsons(source)
    assert [(r.seq, r.time_ms, r.key, r.value) for r in stream_of(mirror).after(0)] == [
        (2, NOW_MS, "k0", Tick(2, "é")),
        (3, NOW_MS, "k1", Tick(3, "é")),
    ]
    assert mirror.head == source.head


def test_bytes_that_this_daemon_would_write_otherwise_are_kept() -> None:
    json = b'{ "value": {"note": "", "price": 7}, "time_ms": 12, "seq": 1, "more": [] }'
    mirror = here()

    mirror.take(json)

    assert jsons(stream_of(mirror)) == [json]
    assert stream_of(mirror).after(0)[0].value == Tick(7)


def test_what_is_here_already_is_taken_once() -> None:
    source, mirror = there(2), here()
    copy(source, mirror)

    again = mirror.take(source.after(0)[0].json)

    assert again is None
    assert len(stream_of(mirror)) == 2


def test_a_history_has_no_hole_that_nobody_told_of() -> None:
    source, mirror = there(3), here()
    copy(source, mirror, upto=1)

    with pytest.raises(ValueError, match="after record 1 comes 3: skip"):
        mirror.take(source.after(2)[0].json)

    assert mirror.head.seq == 1


@pytest.mark.parametrize(
    "json",
    [
        b"",
        b"[]",
        b"7",
        b"nonsense",
        b'{"seq":1,"time_ms":5}',
        b'{"seq":0,"time_ms":5,"value":{}}',
        b'{"seq":true,"time_ms":5,"value":{}}',
        b'{"seq":1,"time_ms":5.5,"value":{}}',
        b'{"seq":1000000000000000000,"time_ms":5,"value":{}}',
        b'{"seq":1,"time_ms":5,"key":7,"value":{}}',
        b'{"seq":1,"time_ms":5,"value":{"price":"much"}}',
        b'{"seq":1,"time_ms":5,\n"value":{}}',
    ],
)
def test_what_is_no_record_is_refused_and_leaves_no_trace(json: bytes) -> None:
    mirror = here()

    with pytest.raises(ValueError, match=r"."):
        mirror.take(json, id="a")

    assert mirror.head.seq == 0
    assert len(stream_of(mirror).seen) == 0


def test_ids_are_known_here_too() -> None:
    mirror = here()
    copy(there(3), mirror)

    assert "id3" in stream_of(mirror).seen


def test_a_value_that_does_not_belong_is_refused() -> None:
    with pytest.raises(TypeError, match="carries Tick"):
        stream_of(here()).take(Record(1, 5, "something"))


# -- skipping


def test_who_is_level_is_told_exactly_what_is_missing() -> None:
    source, mirror = there(10), here()
    copy(source, mirror, upto=4)
    cursor = stream_of(mirror).cursor(after=Position(EPOCH, 4))

    mirror.skip(7)
    copy(source, mirror, after=7)
    batch = cursor.read()

    assert batch.gap == Gap(5, 7)
    assert [record.seq for record in batch.records] == [8, 9, 10]


def test_who_is_behind_is_told_of_all_that_it_does_not_get() -> None:
    source, mirror = there(10), here()
    copy(source, mirror, upto=4)
    cursor = stream_of(mirror).cursor(after=Position(EPOCH, 2), held=True)

    mirror.skip(7)
    batch = cursor.read()

    assert (batch.gap, batch.records, batch.position.seq) == (Gap(3, 7), [], 7)


def test_what_was_held_for_readers_within_goes_too_so_that_there_is_no_hole() -> None:
    source, mirror = there(10), here(retain=1)
    stream = stream_of(mirror)
    stream.held.join(lambda: 0)
    copy(source, mirror, upto=4)
    assert len(stream.held) == 3

    mirror.skip(7)
    copy(source, mirror, after=7, upto=8)
    batch = stream.read(0, held=True)

    assert (batch.gap, [r.seq for r in batch.records]) == (Gap(1, 7), [8])
    assert (len(stream.held), stream.held.bytes) == (0, 0)


async def test_a_gap_wakes_who_waits(nursery: trio.Nursery) -> None:
    mirror = here()
    copy(there(2), mirror)
    gaps: list[Gap | None] = []

    async def read() -> None:
        async for batch in stream_of(mirror).cursor(after=Position(EPOCH, 2)):
            gaps.append(batch.gap)

    nursery.start_soon(read)
    await wait_all_tasks_blocked()
    mirror.skip(9)
    await wait_all_tasks_blocked()
    stream_of(mirror).close()
    await wait_all_tasks_blocked()

    assert gaps == [Gap(3, 9)]


def test_skipping_to_where_the_head_is_says_nothing() -> None:
    told: list[Any] = []
    mirror = here()
    copy(there(3), mirror)
    mirror._on_lost = lambda *what: told.append(what)

    mirror.skip(3)

    assert (mirror.head.seq, len(stream_of(mirror)), told) == (3, 3, [])


def test_what_is_missing_is_told_with_the_times_between_which_it_was() -> None:
    told: list[Any] = []
    mirror = here()
    mirror._on_lost = lambda *what: told.append(what)
    mirror.skip(4)  # Here was nothing before, so nobody lacks anything.
    mirror.take(b'{"seq":5,"time_ms":500,"value":{}}')

    mirror.skip(8, to_ms=900)

    assert told == [("records 6 to 8 of ticks are missing", 500, 900)]


def test_of_two_gaps_one_right_behind_the_other_both_are_told() -> None:
    told: list[Any] = []
    mirror = here()
    mirror._on_lost = lambda *what: told.append(what)
    mirror.take(b'{"seq":1,"time_ms":500,"value":{}}')

    mirror.skip(4)
    mirror.skip(6)
    mirror.take(b'{"seq":7,"time_ms":800,"value":{}}')
    mirror.skip(9)

    assert told == [
        ("records 2 to 4 of ticks are missing", 500, None),
        ("records 5 to 6 of ticks are missing", 500, None),
        ("records 8 to 9 of ticks are missing", 800, None),
    ]


# -- who comes from another daemon


def test_who_knows_more_than_is_here_yet_waits_for_it() -> None:
    source, mirror = there(6), here()
    copy(source, mirror, upto=3)
    cursor = stream_of(mirror).cursor(after=Position(EPOCH, 5))

    before = cursor.read()
    copy(source, mirror, after=3)
    after = cursor.read()

    assert (before.records, before.reset, before.gap, before.position.seq) == ([], False, None, 5)
    assert [record.seq for record in after.records] == [6]
    assert after.gap is None


def test_of_a_gap_it_is_told_what_it_does_not_know() -> None:
    mirror = here()
    copy(there(3), mirror)
    cursor = stream_of(mirror).cursor(after=Position(EPOCH, 5))

    mirror.skip(9)

    assert cursor.read().gap == Gap(6, 9)


def test_another_epoch_is_another_log() -> None:
    assert stream_of(here()).cursor(after=Position("other", 1)).read().reset


# -- tables


async def test_a_table_is_filled_with_its_newest_and_nobody_lacks_anything() -> None:
    source, mirror = there(9, keys=3), here(table=True)
    copy(source, mirror, upto=7)
    level = stream_of(mirror).cursor(after=Position(EPOCH, mirror.head.seq))
    for number in range(10, 14):
        source.append(Tick(number), key=f"k{number % 2}")
    source.forget("k2")

    await mirror.fill([(r.json, None) for r in source.after(0)][::-1], source.seq)
    batch = level.read()

    assert jsons(stream_of(mirror)) == jsons(source)
    assert batch.gap is None
    assert [record.seq for record in batch.records] == [12, 13]
    assert mirror.head == source.head


async def test_a_table_whose_newest_was_forgotten_has_the_head_that_it_has_there() -> None:
    source, mirror = there(4, keys=4), here(table=True)
    source.forget("k0")

    await mirror.fill([(r.json, None) for r in source.after(0)], source.seq)

    assert mirror.head == source.head
    assert mirror.keys == ["k1", "k2", "k3"]
    assert stream_of(mirror).version == source.version


async def test_a_fill_lets_others_run_and_goes_on_where_it_was_cut_short() -> None:
    source, mirror = there(250, keys=250), here(table=True)
    newest = [(r.json, f"id{r.seq}") for r in source.after(0)]
    with trio.CancelScope() as scope:
        scope.cancel()
        await mirror.fill(newest, source.seq)
    assert mirror.head.seq == 100

    await mirror.fill(newest, source.seq)

    assert jsons(stream_of(mirror)) == jsons(source)


# -- what comes back

Reopen = Callable[..., Awaitable[Store]]


@pytest.fixture(params=["memory", "sqlite"])
async def reopen(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Reopen]:
    """Opens the same store again and again, as one daemon after the other does."""
    memory = MemoryStore()
    opened: list[Store] = []

    async def again(boot: str = "one") -> Store:
        if opened:
            await opened[-1].close()
        memory.boot = boot
        sqlite = request.param == "sqlite"
        store = SqliteStore(tmp_path / "flowd.db", boot=boot) if sqlite else memory
        opened.append(store)
        return store

    yield again
    for store in opened:
        await store.close()


async def remember(
    store: Store, *, epoch: str = EPOCH, record: Any = Tick, retain: int = 5
) -> tuple[Memory, Mirror[Any]]:
    """A daemon's memory, with a stream of another daemon in it."""
    memory = Memory(store, lambda: NOW_MS, Random(1))
    await memory.load()
    stream = memory.open("ticks", record, Retain(retain), epoch=epoch)
    return memory, Mirror(stream, Mirrored("Tick", stream.epoch))


@pytest.mark.parametrize("clean", [True, False])
async def test_after_any_end_it_goes_on_where_it_was(reopen: Reopen, *, clean: bool) -> None:
    source = there(9)
    memory, mirror = await remember(await reopen())
    copy(source, mirror, upto=3)
    if clean:
        mirror.skip(6)
        copy(source, mirror, after=6, upto=8)
        await memory.snapshots.save(clean=True)
    else:
        await memory.snapshots.save()
        mirror.skip(6)
        copy(source, mirror, after=6, upto=8)
        memory.journal.flush()

    _, again = await remember(await reopen())

    assert again.head == Position(EPOCH, 8)
    assert jsons(stream_of(again)) == jsons(source)[6:8]
    assert stream_of(again).read(3).gap == Gap(4, 6)
    assert "id8" in stream_of(again).seen
    copy(source, again, after=8)


async def test_a_head_that_moved_over_nothing_comes_back(reopen: Reopen) -> None:
    memory, mirror = await remember(await reopen())
    copy(there(2), mirror)
    stream_of(mirror).skip(7, lost=False)
    memory.journal.flush()

    _, again = await remember(await reopen())

    assert (again.head.seq, len(stream_of(again)), stream_of(again).floor) == (7, 2, 0)


@pytest.mark.parametrize("saved", [True, False])
async def test_of_another_epoch_nothing_comes_back(reopen: Reopen, *, saved: bool) -> None:
    memory, mirror = await remember(await reopen())
    copy(there(4), mirror)
    memory.join("sums")["ticks"] = 4
    await memory.snapshots.save(clean=True)

    memory, mirror = await remember(await reopen(), epoch="ingest2")
    assert (mirror.head, len(stream_of(mirror)), memory.join("sums")) == (
        Position("ingest2", 0),
        0,
        {},
    )
    mirror.skip(2)
    mirror.take(b'{"seq":3,"time_ms":5,"value":{"price":3,"note":"new"}}', id="new")
    memory.journal.flush()
    if saved:
        await memory.snapshots.save()
    memory, again = await remember(await reopen(), epoch="ingest2")

    assert again.head == Position("ingest2", 3)
    assert [record.value for record in stream_of(again).after(0)] == [Tick(3, "new")]
    assert memory.join("sums") == {}, "a place among other records says nothing of these"
    assert "id4" not in stream_of(again).seen
    assert "new" in stream_of(again).seen


@pytest.mark.parametrize("saved", [True, False])
async def test_who_numbers_it_himself_now_does_so_in_an_epoch_of_his_own(
    reopen: Reopen, *, saved: bool
) -> None:
    memory, mirror = await remember(await reopen())
    copy(there(4), mirror)
    memory.journal.flush()
    if saved:
        await memory.snapshots.save(clean=True)

    memory = Memory(await reopen(), lambda: NOW_MS, Random(1))
    await memory.load()
    own = memory.open("ticks", Tick, Retain(5))
    assert (own.epoch != EPOCH, own.seq) == (True, 4), "what is here stays, for readers are reset"
    own.append(Tick(5, "ours"))
    memory.journal.flush()
    if saved:
        await memory.snapshots.save(clean=True)
    _, again = await remember(await reopen())

    assert again.head == Position(EPOCH, 0), "for its fifth record may be another one there"


async def test_where_the_machine_lost_what_was_saved_it_begins_anew(reopen: Reopen) -> None:
    memory, mirror = await remember(await reopen())
    copy(there(4), mirror)
    await memory.snapshots.save()

    _, again = await remember(await reopen("another boot"))

    assert again.head == Position(EPOCH, 0)
    copy(there(4), again)


async def test_with_a_record_that_no_longer_fits_it_begins_anew(reopen: Reopen) -> None:
    memory, mirror = await remember(await reopen())
    mirror.take(b'{"seq":1,"time_ms":5,"value":{"price":0}}')
    mirror.take(b'{"seq":2,"time_ms":5,"value":{"price":1}}')
    await memory.snapshots.save(clean=True)

    _, again = await remember(await reopen(), record=Strict)

    assert (again.head.seq, len(stream_of(again))) == (0, 0)


async def test_a_journal_that_lies_costs_it_no_epoch(reopen: Reopen) -> None:
    memory, mirror = await remember(await reopen())
    own = memory.open("own", Tick, Retain(5))
    before = own.epoch

    memory._new_epochs()

    assert mirror.head.epoch == EPOCH
    assert own.epoch != before


# -- against a model


@frozen
class Model:
    """A history as a reader may know it: numbers `floor` + 1 to `head` are here, and no others."""

    head: int = 0
    floor: int = 0

    def took(self, retain: int) -> "Model":
        head = self.head + 1
        return evolve(self, head=head, floor=max(self.floor, head - retain))


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("take"), st.integers(1, 9)),
        st.tuples(st.just("skip"), st.integers(1, 4)),
        st.tuples(st.sampled_from(["read", "save", "crash", "stop"]), st.just(0)),
    ),
    max_size=30,
)


@given(STEPS, st.integers(1, 7))
@settings(max_examples=150)
def test_whatever_happens_it_is_what_the_model_says(
    steps: list[tuple[str, int]], retain: int
) -> None:
    source = there(300)
    written = {record.seq: record.json for record in source.after(0)}

    async def run() -> None:
        store, model, place = MemoryStore(), Model(), 0
        seen: list[int] = []
        missed: list[int] = []
        memory, mirror = await remember(store, retain=retain)
        for what, count in steps:
            if what == "take":
                for _ in range(count):
                    assert mirror.take(written[model.head + 1]) is not None
                    model = model.took(retain)
            elif what == "skip":
                model = Model(model.head + count, model.head + count)
                mirror.skip(model.head)
            elif what == "read":
                batch = stream_of(mirror).read(place)
                if batch.gap is not None:
                    assert batch.gap == Gap(place + 1, model.floor)
                    missed += range(batch.gap.first, batch.gap.last + 1)
                assert all(record.json == written[record.seq] for record in batch.records)
                seen += [record.seq for record in batch.records]
                place = batch.position.seq
                assert place == model.head
                assert sorted(seen + missed) == list(range(1, place + 1)), "once, or told"
            elif what == "save":
                await memory.snapshots.save()
            else:
                memory.journal.flush()  # What was shown; here, all of it.
                if what == "stop":
                    await memory.snapshots.save(clean=True)
                memory, mirror = await remember(store, retain=retain)
            stream = stream_of(mirror)
            assert (stream.epoch, stream.seq, stream.floor) == (EPOCH, model.head, model.floor)
            assert jsons(stream) == [written[n] for n in range(model.floor + 1, model.head + 1)]

    trio.run(run)


@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("put"), st.integers(0, 5)),
            st.tuples(st.just("forget"), st.integers(0, 5)),
            st.tuples(st.sampled_from(["cut off", "crash", "save"]), st.just(0)),
        ),
        max_size=40,
    )
)
@settings(max_examples=150)
def test_a_table_is_the_same_here_and_there_however_often_it_is_cut_off(
    steps: list[tuple[str, int]],
) -> None:
    async def run() -> None:
        source, store, cut_off = there(), MemoryStore(), False
        memory, mirror = await remember(store, retain=100)
        mirror.table = True
        for what, key in steps:
            if what == "put":
                record = source.append(Tick(source.seq), key=f"k{key}")
                assert record is not None
                if not cut_off:
                    mirror.take(record.json)
            elif what == "forget":
                source.forget(f"k{key}")
                if not cut_off:
                    mirror.forget(f"k{key}")
            elif what == "cut off":
                if cut_off:
                    await mirror.fill([(r.json, None) for r in source.after(0)], source.seq)
                cut_off = not cut_off
            elif what == "save":
                await memory.snapshots.save()
            else:
                memory.journal.flush()
                memory, mirror = await remember(store, retain=100)
                mirror.table = True
            if not cut_off:
                assert jsons(stream_of(mirror)) == jsons(source)
                assert mirror.head == source.head

    trio.run(run)
