"""The snapshot: what is saved comes back, and what was lost is not pretended to be there.

The contract is one for both stores. Files are real, and so is the clock where threads write them.
"""

import contextlib
import logging
import sqlite3
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from random import Random
from typing import Any

import pytest
import trio
from attrs import evolve, field, frozen
from trio.testing import MockClock, wait_all_tasks_blocked

from flowd.stream import stores
from flowd.stream.held import Retain
from flowd.stream.log import Stream
from flowd.stream.rows import SCHEMA
from flowd.stream.seen import SEEN_MAX
from flowd.stream.segments import DiskSegments, size_bytes
from flowd.stream.snapshot import Loaded, Rows, Save, Snapshots, Store
from flowd.stream.stores import SqliteStore
from flowd.stream.volatile import MemoryStore
from flowd.values.errors import UserError
from flowd.values.record import Gap, Position


@frozen
class Tick:
    symbol: str = "BTC"
    price: int = 0


@frozen
class StrictTick:
    """What a later version of a plugin makes of `Tick`."""

    symbol: str
    price: int = field(validator=lambda tick, attribute, value: 1 // value)


class Ticking:
    def __init__(self) -> None:
        self.now_ms = 1_000

    def __call__(self) -> int:
        self.now_ms += 1
        return self.now_ms


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


def make_stream(
    name: str = "ticks", epoch: str = "first", retain: int = 5000, record: Any = Tick
) -> Stream[Any]:
    return Stream(name, record, clock=Ticking(), epoch=epoch, retain=Retain(retain))


class Life:
    """One daemon's life on a store: what it loaded, its streams, and its snapshots."""

    def __init__(self, store: Store, loaded: Loaded, *streams: Stream[Any]) -> None:
        self.store = store
        self.loaded = loaded
        self.streams = {stream.name: stream for stream in streams}
        self.places: dict[str, dict[str, int]] = {}
        self.snapshots = Snapshots(store, self.streams, self.places, Ticking())
        for stream in streams:
            self.snapshots.restore(stream, loaded)
            store.journal.add(stream)

    def show(self) -> None:
        """Somebody is shown what happened so far."""
        self.store.journal.flush()


async def live(reopen: Reopen, *streams: Stream[Any], boot: str = "one") -> Life:
    store = await reopen(boot)
    return Life(store, await store.load(), *streams)


def content(stream: Stream[Any]) -> list[tuple[int, int, str | None, Any]]:
    return [(r.seq, r.time_ms, r.key, r.value) for r in stream.after(0)]


# -- the contract


async def test_a_new_store_is_empty(reopen: Reopen) -> None:
    loaded = await (await reopen()).load()

    assert (loaded.clean, loaded.saved_ms, loaded.streams, loaded.places) == (False, None, {}, {})


async def test_a_history_comes_back_as_it_was(reopen: Reopen) -> None:
    stream = make_stream(retain=3)
    first = await live(reopen, stream)
    for price in range(5):
        stream.append(Tick(price=price), id=f"id{price}")
    await first.snapshots.save(clean=True)

    again = make_stream(epoch="second", retain=3)
    await live(reopen, again)

    assert content(again) == content(stream)
    assert (again.epoch, again.seq, again.floor) == ("first", 5, 2)
    assert again.append(Tick(), id="id0") is None
    assert again.seen.total == 5


async def test_a_table_comes_back_as_it_was(reopen: Reopen) -> None:
    stream = make_stream()
    first = await live(reopen, stream)
    for number in range(10):
        stream.append(Tick(price=number), key=f"k{number % 4}")
    await first.snapshots.save()
    stream.append(Tick(price=99), key="k0")
    stream.forget("k1")
    await first.snapshots.save(clean=True)

    again = make_stream(epoch="second")
    await live(reopen, again)

    assert content(again) == content(stream)
    assert (len(again), again.get("k0"), again.get("k1")) == (3, Tick(price=99), None)


async def test_odd_keys_and_ids_come_back(reopen: Reopen) -> None:
    stream = make_stream()
    first = await live(reopen, stream)
    keys = ["", "5", "s5", "ks5", 'a"b', "ä€𝄞", "nul\x00nul", " ", "'; DROP TABLE records; --"]
    for key in keys:
        stream.append(Tick(key), key=key, id=key)
    await first.snapshots.save(clean=True)

    again = make_stream()
    await live(reopen, again)

    assert [record.key for record in again.after(0)] == keys
    assert all(again.append(Tick("x"), key=key, id=key) is None for key in keys)


async def test_a_stream_may_hold_records_with_and_without_keys(reopen: Reopen) -> None:
    stream = make_stream()
    first = await live(reopen, stream)
    stream.append(Tick(price=1))
    stream.append(Tick(price=2), key="1")
    stream.append(Tick(price=3), key="s1")
    await first.snapshots.save(clean=True)

    again = make_stream()
    await live(reopen, again)

    assert content(again) == content(stream)


async def test_closed_cleanly_clients_go_on_as_if_nothing_happened(reopen: Reopen) -> None:
    stream = make_stream()
    first = await live(reopen, stream)
    for _ in range(5):
        stream.append(Tick())
    held = Position(stream.epoch, 3)
    await first.snapshots.save(clean=True)

    again = make_stream(epoch="second")
    second = await live(reopen, again)
    batch = again.cursor(held).read()

    assert second.loaded.clean
    assert (batch.reset, batch.gap, [record.seq for record in batch.records]) == (
        False,
        None,
        [4, 5],
    )


async def test_after_a_crash_a_stream_goes_on_with_all_that_anybody_was_shown(
    reopen: Reopen,
) -> None:
    stream = make_stream()
    first = await live(reopen, stream)
    for _ in range(5):
        stream.append(Tick())
    await first.snapshots.save()
    stream.append(Tick(price=6), id="six")
    first.show()
    stream.append(Tick(price=7))

    again = make_stream(epoch="second")
    second = await live(reopen, again)
    batch = again.cursor(Position("first", 4)).read()

    assert not second.loaded.clean
    assert (again.head, batch.reset, batch.gap) == (Position("first", 6), False, None)
    assert [record.value.price for record in batch.records] == [0, 6]
    assert again.append(Tick(), id="six") is None


async def test_after_the_machine_died_the_epoch_is_new_and_the_seq_goes_on(
    reopen: Reopen,
) -> None:
    stream = make_stream()
    first = await live(reopen, stream)
    for _ in range(5):
        stream.append(Tick())
    await first.snapshots.save()
    stream.append(Tick())
    first.show()

    again = make_stream(epoch="second")
    second = await live(reopen, again, boot="two")
    batch = again.cursor(stream.head).read()

    assert second.loaded.why == "the machine was restarted without an orderly stop"
    assert (again.head, batch.reset) == (Position("second", 5), True)
    assert [record.seq for record in batch.records] == [1, 2, 3, 4, 5]


async def test_after_an_orderly_stop_the_machine_may_be_restarted(reopen: Reopen) -> None:
    stream = make_stream()
    first = await live(reopen, stream)
    stream.append(Tick())
    await first.snapshots.save(clean=True)

    again = make_stream(epoch="second")
    await live(reopen, again, boot="two")

    assert again.head == Position("first", 1)


async def test_what_a_crash_left_in_the_journal_is_there_after_the_next_crash_too(
    reopen: Reopen,
) -> None:
    epochs = []
    for life in range(5):
        stream, table = make_stream(epoch=f"e{life}"), make_stream("table", epoch=f"e{life}")
        daemon = await live(reopen, stream, table)
        stream.append(Tick(price=life), id=str(life))
        table.append(Tick(price=life), key=str(life))
        table.forget(str(life - 1))
        daemon.store.journal.move("reader", "ticks", stream.seq)
        daemon.show()
        epochs.append(stream.epoch)

    last = make_stream(epoch="last"), make_stream("table", epoch="last")
    end = await live(reopen, *last)

    assert epochs == ["e0"] * 5
    assert [record.value.price for record in last[0].after(0)] == [0, 1, 2, 3, 4]
    assert [record.key for record in last[1].after(0)] == ["4"]
    assert end.loaded.places == {("reader", "ticks"): 5}
    assert len(last[0].seen) == 5


async def test_a_store_that_was_only_opened_is_not_clean_any_more(reopen: Reopen) -> None:
    stream = make_stream()
    first = await live(reopen, stream)
    stream.append(Tick())
    await first.snapshots.save(clean=True)
    await live(reopen, make_stream())

    third = await live(reopen, make_stream(epoch="third"), boot="two")

    assert not third.loaded.clean
    assert third.streams["ticks"].head == Position("third", 1)


async def test_after_the_last_save_nothing_is_saved_any_more(reopen: Reopen) -> None:
    stream = make_stream()
    first = await live(reopen, stream)
    await first.snapshots.save(clean=True)
    saved = await first.snapshots.save()

    second = await live(reopen, make_stream())

    assert not saved
    assert second.loaded.clean


async def test_a_stream_that_was_not_configured_after_a_crash_keeps_its_epoch(
    reopen: Reopen,
) -> None:
    gone, kept = make_stream("gone"), make_stream("kept")
    first = await live(reopen, gone, kept)
    for stream in (gone, kept):
        stream.append(Tick())
    first.show()
    await live(reopen, make_stream("kept", epoch="second"))

    back = make_stream("gone", epoch="third")
    await live(reopen, back)

    assert back.head == Position("first", 1)


async def test_a_stream_that_was_not_configured_when_the_machine_died_has_lost_its_epoch(
    reopen: Reopen,
) -> None:
    gone, kept = make_stream("gone"), make_stream("kept")
    first = await live(reopen, gone, kept)
    for stream in (gone, kept):
        stream.append(Tick())
    await first.snapshots.save()
    second = await live(reopen, make_stream("kept", epoch="second"), boot="two")
    await second.snapshots.save(clean=True)

    back, still = make_stream("gone", epoch="third"), make_stream("kept", epoch="third")
    third = await live(reopen, back, still, boot="two")

    assert third.loaded.clean
    assert (still.epoch, back.epoch) == ("second", "third")
    assert back.seq == 1


async def test_a_stream_that_was_not_configured_for_a_while_keeps_its_epoch_if_all_was_clean(
    reopen: Reopen,
) -> None:
    gone = make_stream("gone")
    first = await live(reopen, gone)
    gone.append(Tick())
    await first.snapshots.save(clean=True)
    second = await live(reopen, make_stream("kept"))
    await second.snapshots.save(clean=True)

    back = make_stream("gone", epoch="third")
    await live(reopen, back)

    assert back.head == Position("first", 1)


async def test_places_come_back(reopen: Reopen) -> None:
    first = await live(reopen, make_stream())
    first.places.update({"volume": {"ticks": 3, "other": 9}, "sink": {"ticks": 1}})
    await first.snapshots.save()
    del first.places["sink"]
    first.places["volume"]["ticks"] = 4
    await first.snapshots.save()

    second = await live(reopen, make_stream())

    assert second.loaded.places == {("volume", "ticks"): 4, ("volume", "other"): 9}


async def test_the_time_of_the_last_save_comes_back(reopen: Reopen) -> None:
    first = await live(reopen, make_stream())
    await first.snapshots.save()
    await first.snapshots.save()

    second = await live(reopen, make_stream())

    assert second.loaded.saved_ms == first.snapshots.saved_ms


async def test_ids_come_back_once_each_however_often_the_daemon_crashed(reopen: Reopen) -> None:
    stream = make_stream()
    first = await live(reopen, stream)
    for number in range(10):
        stream.append(Tick(), id=str(number))
    await first.snapshots.save()
    for life in range(3):
        again = make_stream(epoch=f"e{life}")
        crashed = await live(reopen, again)
        again.append(Tick(), id=f"life{life}")
        await crashed.snapshots.save()

    last = await live(reopen, make_stream())

    ids = [*map(str, range(10)), "life0", "life1", "life2"]
    assert last.loaded.streams["ticks"].seen == ids
    assert last.loaded.streams["ticks"].seen_total == 13


async def test_no_more_ids_are_kept_than_are_remembered(reopen: Reopen) -> None:
    stream = make_stream(retain=1)
    first = await live(reopen, stream)
    for number in range(SEEN_MAX):
        stream.append(Tick(), id=str(number))
    await first.snapshots.save()
    for number in range(SEEN_MAX, SEEN_MAX + 5):
        stream.append(Tick(), id=str(number))
    await first.snapshots.save(clean=True)

    again = make_stream()
    second = await live(reopen, again)

    assert second.loaded.streams["ticks"].seen == [str(n) for n in range(5, SEEN_MAX + 5)]
    assert (len(again.seen), again.seen.total) == (SEEN_MAX, SEEN_MAX + 5)


async def test_what_fell_off_is_not_kept(reopen: Reopen) -> None:
    stream = make_stream(retain=3)
    first = await live(reopen, stream)
    for _ in range(4):
        for _ in range(10):
            stream.append(Tick())
        await first.snapshots.save()

    second = await live(reopen, make_stream())

    rows = second.loaded.streams["ticks"]
    assert [row[0] for row in rows.records] == [38, 39, 40]
    assert (rows.seq, rows.floor) == (40, 37)


async def test_a_smaller_retain_is_obeyed_at_the_next_start_and_kept_no_longer(
    reopen: Reopen,
) -> None:
    stream = make_stream()
    first = await live(reopen, stream)
    for _ in range(20):
        stream.append(Tick())
    await first.snapshots.save(clean=True)

    smaller = make_stream(retain=5)
    second = await live(reopen, smaller)
    batch = smaller.cursor(Position("first", 2)).read()
    await second.snapshots.save(clean=True)
    third = await live(reopen, make_stream())

    assert batch.gap == Gap(3, 15)
    assert [row[0] for row in third.loaded.streams["ticks"].records] == [16, 17, 18, 19, 20]


async def test_a_key_that_was_forgotten_and_came_back_between_saves_is_there(
    reopen: Reopen,
) -> None:
    stream = make_stream()
    first = await live(reopen, stream)
    stream.append(Tick(price=1), key="k")
    await first.snapshots.save()
    stream.forget("k")
    stream.append(Tick(price=2), key="k")
    await first.snapshots.save()

    again = make_stream()
    await live(reopen, again)

    assert again.get("k") == Tick(price=2)


async def test_rows_that_no_longer_fit_are_dropped_and_counted(
    reopen: Reopen, caplog: pytest.LogCaptureFixture
) -> None:
    stream = make_stream()
    first = await live(reopen, stream)
    for price in (0, 1, 0, 2):
        stream.append(Tick(price=price))
    await first.snapshots.save(clean=True)

    again = make_stream(record=StrictTick)
    second = await live(reopen, again)

    assert [record.value.price for record in again.after(0)] == [1, 2]
    assert (again.seq, second.snapshots.dropped_rows) == (4, 2)
    assert len([m for m in caplog.messages if "a saved record no longer fits" in m]) == 1


async def test_a_stream_of_another_kind_altogether_begins_empty_and_goes_on(
    reopen: Reopen,
) -> None:
    @frozen
    class Other:
        size: float

    stream = make_stream()
    first = await live(reopen, stream)
    stream.append(Tick())
    await first.snapshots.save(clean=True)

    other = make_stream(record=Other)
    await live(reopen, other)
    record = other.append(Other(1.5))

    assert record is not None
    assert (record.seq, len(other)) == (2, 1)


@pytest.mark.parametrize("seed", range(12))
async def test_whatever_happens_the_next_life_has_what_anybody_was_shown(
    reopen: Reopen, seed: int
) -> None:
    random = Random(seed)
    shown: tuple[Any, ...] = ([], [], 0, {})
    saved = shown
    epoch, boot, end = "", 0, "stop"

    for life in range(8):
        boot += end == "machine"
        history = make_stream("history", epoch=f"e{life}", retain=20)
        table = make_stream("table", epoch=f"e{life}", retain=15)
        daemon = await live(reopen, history, table, boot=str(boot))
        places = {("reader", "history"): history.seq}

        def now() -> tuple[Any, ...]:
            found = dict(places)  # noqa: B023  # called within this life
            return content(history), content(table), history.seq, found  # noqa: B023

        if life:
            expected = saved if end == "machine" else shown
            assert (content(history), content(table), history.seq) == expected[:3]
            assert daemon.loaded.places == expected[3]
            assert history.epoch == (f"e{life}" if end == "machine" else epoch)
            shown = saved = expected  # for good: opening a store saves what its journal has
        epoch = history.epoch
        daemon.places["reader"] = {}
        for _ in range(random.randint(1, 40)):
            for _ in range(random.choice([1, 1, 3, 30])):
                history.append(Tick(price=random.randint(0, 9)), id=str(random.random()))
                key = f"k{random.randint(0, 25)}"
                if random.random() < 0.3:
                    table.forget(key)
                else:
                    table.append(Tick(price=random.randint(0, 3)), key=key)
                if random.random() < 0.3:
                    places = {("reader", "history"): history.seq}
                    daemon.places["reader"]["history"] = history.seq
                    daemon.store.journal.move("reader", "history", history.seq)
            if random.random() < 0.2:
                assert await daemon.snapshots.save()
                shown = saved = (*now()[:3], dict(daemon.loaded.places) | _flat(daemon.places))
            else:
                daemon.show()
                shown = (*now()[:3], dict(daemon.loaded.places) | _flat(daemon.places))
        end = random.choice(["kill", "kill", "machine", "stop"])
        if end == "stop":
            await daemon.snapshots.save(clean=True)
            saved = shown
        else:
            history.append(Tick(price=77))  # nobody was shown it
            table.append(Tick(price=77), key="lost")


def _flat(places: dict[str, dict[str, int]]) -> dict[tuple[str, str], int]:
    return {(who, what): seq for who, seqs in places.items() for what, seq in seqs.items()}


# -- saving


class Troubled(MemoryStore):
    """A store whose disk fails when it is told to, and that can be held up."""

    def __init__(self) -> None:
        super().__init__()
        self.trouble: Exception | None = None
        self.hold: trio.Event | None = None
        self.taken: list[Save] = []

    async def save(self, save: Save) -> None:
        self.taken.append(save)
        if self.hold is not None:
            await self.hold.wait()
        if self.trouble is not None:
            raise self.trouble
        await super().save(save)


def life_on(store: Store, *streams: Stream[Any]) -> Life:
    return Life(store, Loaded(), *streams)


async def test_only_what_is_new_is_saved() -> None:
    store, stream = Troubled(), make_stream()
    life = life_on(store, stream)
    stream.append(Tick(), id="a")
    await life.snapshots.save()
    stream.append(Tick(), id="b")
    await life.snapshots.save()
    await life.snapshots.save()

    seqs = [[record.seq for record in save.cuts[0].records] for save in store.taken]

    assert seqs == [[1], [2], []]
    assert [save.cuts[0].seen for save in store.taken] == [["a"], ["b"], []]


async def test_after_a_clean_start_only_what_is_new_is_saved() -> None:
    store, stream = Troubled(), make_stream()
    first = life_on(store, stream)
    stream.append(Tick(), id="a")
    await first.snapshots.save(clean=True)

    again = make_stream()
    second = Life(store, await store.load(), again)
    again.append(Tick(), id="b")
    await second.snapshots.save()

    assert [record.seq for record in store.taken[-1].cuts[0].records] == [2]
    assert store.rows["ticks"].seen == ["a", "b"]


async def test_what_happens_during_a_save_is_for_the_next_one(nursery: trio.Nursery) -> None:
    store, stream = Troubled(), make_stream()
    life = life_on(store, stream)
    stream.append(Tick("A"), key="A")
    stream.append(Tick("B"), key="B")
    store.hold = trio.Event()

    nursery.start_soon(life.snapshots.save)
    await wait_all_tasks_blocked()
    stream.append(Tick("C"), key="C")
    stream.forget("A")
    life.places["late"] = {"ticks": 3}
    store.hold.set()
    await wait_all_tasks_blocked()
    first = store.rows["ticks"], dict(store.places)
    await life.snapshots.save()

    assert ([row[2] for row in first[0].records], first[0].seq, first[1]) == (["A", "B"], 2, {})
    assert [row[2] for row in store.rows["ticks"].records] == ["B", "C"]
    assert store.places == {("late", "ticks"): 3}


async def test_what_belongs_to_the_same_instant_is_noted_before_each_save() -> None:
    store, stream = Troubled(), make_stream()

    def note() -> None:
        stream.append(Tick(price=stream.seq))

    snapshots = Snapshots(store, {"ticks": stream}, {}, Ticking(), note)

    await snapshots.save()
    await snapshots.save()

    assert [save.cuts[0].seq for save in store.taken] == [1, 2]


async def test_saves_take_turns(nursery: trio.Nursery) -> None:
    store, stream = Troubled(), make_stream()
    life = life_on(store, stream)
    store.hold = trio.Event()

    nursery.start_soon(life.snapshots.save)
    nursery.start_soon(life.snapshots.save)
    await wait_all_tasks_blocked()
    before = len(store.taken)
    store.hold.set()
    await wait_all_tasks_blocked()

    assert (before, len(store.taken)) == (1, 2)


@pytest.mark.parametrize(
    "trouble",
    [OSError(28, "No space left on device"), sqlite3.OperationalError("database is locked")],
)
async def test_a_save_that_fails_is_told_once_and_made_up_for_by_the_next(
    trouble: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    store, stream = Troubled(), make_stream()
    life = life_on(store, stream)
    stream.append(Tick("A"), key="A", id="a")
    await life.snapshots.save()

    store.trouble = trouble
    stream.forget("A")
    stream.append(Tick("B"), key="B", id="b")
    failed = [await life.snapshots.save() for _ in range(3)]
    during = (life.snapshots.failures, life.snapshots.error)
    store.trouble = None
    saved = await life.snapshots.save()

    assert (failed, saved) == ([False] * 3, True)
    assert during == (3, str(trouble))
    assert (life.snapshots.error, life.snapshots.saves) == (None, 2)
    assert [row[2] for row in store.rows["ticks"].records] == ["B"]
    assert store.rows["ticks"].seen == ["a", "b"]
    assert [message for message in caplog.messages if "state" in message] == [
        f"state cannot be saved: {trouble}; trying again with every save",
        "state is saved again",
    ]


async def test_saves_are_as_far_apart_as_asked_for(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    store, stream = Troubled(), make_stream()
    life = life_on(store, stream)

    nursery.start_soon(life.snapshots.run, 5)
    await trio.sleep(26)

    assert (store.saves, life.snapshots.saves) == (5, 5)
    assert life.snapshots.took_ms is not None


# -- files


async def opened(path: Path) -> SqliteStore:
    store = SqliteStore(path)
    await store.load()
    return store


async def test_the_file_and_its_folder_are_made_if_need_be(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "flowd.db"

    store = await opened(path)
    await store.close()

    assert path.is_file()
    assert size_bytes(path) > 0


async def test_the_files_of_a_journal_that_is_saved_are_given_back_beside_the_loop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream, dropped_by = make_stream(), set[int]()
    drop = DiskSegments.drop_before

    def note(segments: DiskSegments, segment: int) -> None:
        dropped_by.add(threading.get_ident())
        drop(segments, segment)

    monkeypatch.setattr(DiskSegments, "drop_before", note)
    store = await opened(tmp_path / "flowd.db")
    life = life_on(store, stream)
    stream.append(Tick())
    life.show()
    await life.snapshots.save()
    left = [path.name for path in DiskSegments(tmp_path / "flowd.db").paths()]
    await store.close()

    assert left == ["flowd.db.journal-00000002"]
    assert dropped_by
    assert threading.get_ident() not in dropped_by


async def test_records_that_only_a_save_still_has_are_given_back_beside_the_loop(
    tmp_path: Path,
) -> None:
    stream = make_stream(retain=10)
    store = await opened(tmp_path / "flowd.db")
    life_on(store, stream)
    for price in range(5000):
        stream.append(Tick(price=price))
    cut = stream.cut(0, 0)
    await store.save(Save([cut], {}, 1, False, life=store.journal.life))
    await store.close()

    assert (cut.records, cut.seq) == ([], 5000)
    assert len(stream) == 10


@pytest.mark.parametrize("content", [b"this is no database at all, it is a letter" * 50, b"SQLite"])
async def test_a_file_that_is_no_state_is_a_user_error_and_left_alone(
    tmp_path: Path, content: bytes
) -> None:
    path = tmp_path / "flowd.db"
    path.write_bytes(content)

    with pytest.raises(UserError, match=r"flowd\.db cannot be used: .*move the file away"):
        await SqliteStore(path).load()

    assert path.read_bytes() == content


async def test_a_damaged_file_is_a_user_error(tmp_path: Path) -> None:
    path = tmp_path / "flowd.db"
    stream = make_stream()
    store = SqliteStore(path)
    life = Life(store, await store.load(), stream)
    for _ in range(3000):
        stream.append(Tick("x" * 50))
    await life.snapshots.save(clean=True)
    await store.close()
    whole = path.read_bytes()
    path.write_bytes(whole[:4096] + bytes(reversed(whole[4096:])))

    with pytest.raises(UserError, match="cannot be used"):
        await SqliteStore(path).load()


async def test_a_file_by_a_newer_flowd_is_a_user_error(tmp_path: Path) -> None:
    path = tmp_path / "flowd.db"
    await (await opened(path)).close()
    connection = sqlite3.connect(path)
    connection.execute(f"PRAGMA user_version = {SCHEMA + 1}")
    connection.close()

    with pytest.raises(UserError, match=f"written by a newer flowd .format {SCHEMA + 1}"):
        await SqliteStore(path).load()


async def test_a_path_that_cannot_be_is_a_user_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    with pytest.raises(UserError, match="cannot be used"):
        await SqliteStore(tmp_path).load()
    with pytest.raises(UserError, match="cannot be used"):
        await SqliteStore(tmp_path / "file" / "flowd.db").load()


def contents(folder: Path) -> dict[Path, bytes]:
    return {file: file.read_bytes() for file in folder.iterdir()}


def put_back(files: dict[Path, bytes], instead_of: dict[Path, bytes]) -> None:
    """The state itself into the file that is there: one that is made anew may get its number."""
    for file in instead_of.keys() - files.keys():
        file.unlink()
    for file, data in files.items():
        file.write_bytes(data)


async def test_that_a_life_has_begun_is_on_the_disk_before_it_shows_anything(
    tmp_path: Path,
) -> None:
    path, synced = tmp_path / "flowd.db", tmp_path / "synced.db"
    first = await opened(path)
    await Life(first, Loaded(), make_stream()).snapshots.save(clean=True)
    await first.close()
    second = await opened(path)

    # Without its write-ahead log, which nobody syncs: so the machine's death would leave it.
    synced.write_bytes(path.read_bytes())
    with contextlib.closing(sqlite3.connect(synced)) as left:
        meta = dict(left.execute("SELECT name, value FROM meta"))
    await second.close()

    assert meta["clean"] == 0


async def test_a_copy_of_all_files_that_is_put_back_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "flowd.db"
    kept: dict[Path, bytes] = {}
    for _ in range(2):
        store, ticks = SqliteStore(path), make_stream()
        life = Life(store, await store.load(), ticks)
        ticks.append(Tick())
        await life.snapshots.save(clean=True)
        await store.close()
        kept = kept or contents(tmp_path)

    put_back(kept, contents(tmp_path))
    store = SqliteStore(path)
    loaded = await store.load()
    await store.close()

    assert loaded.why is not None


async def test_a_second_daemon_on_the_same_file_is_a_user_error(tmp_path: Path) -> None:
    path = tmp_path / "flowd.db"
    store = await opened(path)

    with pytest.raises(UserError, match="in use by another flowd"):
        await SqliteStore(path).load()
    still_saves = await Life(store, Loaded(), make_stream()).snapshots.save()
    await store.close()
    third = await opened(path)

    await third.close()
    assert still_saves


async def test_a_second_name_of_the_file_lets_no_second_daemon_in(tmp_path: Path) -> None:
    path, link = tmp_path / "flowd.db", tmp_path / "second.db"
    store = await opened(path)
    link.symlink_to(path)

    with pytest.raises(UserError, match="in use by another flowd"):
        await SqliteStore(link).load()
    await store.close()


async def test_a_failed_start_lets_go_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "flowd.db"
    path.write_text("no database" * 100)
    failed = SqliteStore(path)
    with pytest.raises(UserError):
        await failed.load()

    path.unlink()
    store = await opened(path)

    await store.close()


async def test_closing_twice_and_without_opening_is_harmless(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "flowd.db")
    await store.close()
    await store.load()

    await store.close()
    await store.close()

    again = await opened(tmp_path / "flowd.db")
    await again.close()


async def test_a_reader_who_keeps_the_write_ahead_log_from_being_emptied_is_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stores, "WAL_BYTES", 100_000)
    path = tmp_path / "flowd.db"
    store, ticks = SqliteStore(path), make_stream()
    life = Life(store, await store.load(), ticks)
    kept: list[int] = []

    async def save() -> None:
        for _ in range(2000):
            ticks.append(Tick())
        await life.snapshots.save()
        kept.append(store.figures()["kept_bytes"])

    with contextlib.closing(sqlite3.connect(path)) as reader:
        await save()
        reader.execute("BEGIN").execute("SELECT * FROM meta").fetchall()
        await save()
        await save()
    await save()
    await save()
    taken = size_bytes(path) - path.stat().st_size
    await store.close()

    assert [size > 0 for size in kept] == [False, True, True, False, False]
    assert taken < 1_000_000


async def test_a_save_is_all_or_nothing(tmp_path: Path) -> None:
    path = tmp_path / "flowd.db"
    stream = make_stream()
    store = SqliteStore(path)
    life = Life(store, await store.load(), stream)
    stream.append(Tick(price=1))
    await life.snapshots.save()
    stream.append(Tick(price=2))
    good = Save([stream.cut(1, 0)], {("a", "ticks"): 2}, 5, True)
    bad: Any = {("a", "ticks"): object()}

    with pytest.raises(sqlite3.Error):
        await store.save(evolve(good, places=bad))
    await store.close()

    again = SqliteStore(path)
    loaded = await again.load()
    await again.close()
    assert [row[0] for row in loaded.streams["ticks"].records] == [1]
    assert (loaded.clean, loaded.places) == (False, {})


async def test_a_disk_that_is_full_fails_the_save_and_not_the_daemon(tmp_path: Path) -> None:
    path = tmp_path / "flowd.db"
    stream = make_stream()
    store = SqliteStore(path)
    life = Life(store, await store.load(), stream)
    assert store._db is not None
    pages = store._db.execute("PRAGMA page_count").fetchone()[0]
    store._db.execute(f"PRAGMA max_page_count = {pages + 1}")
    for _ in range(200):
        stream.append(Tick("x" * 500))

    failed = await life.snapshots.save()
    error = life.snapshots.error
    store._db.execute("PRAGMA max_page_count = 1000000")
    saved = await life.snapshots.save(clean=True)
    await store.close()
    again = SqliteStore(path)
    loaded = await again.load()
    await again.close()

    assert (failed, saved) == (False, True)
    assert error is not None
    assert "full" in error
    assert len(loaded.streams["ticks"].records) == 200


async def test_the_json_of_a_record_is_the_same_before_and_after(tmp_path: Path) -> None:
    path = tmp_path / "flowd.db"
    stream = make_stream()
    store = SqliteStore(path)
    life = Life(store, await store.load(), stream)
    stream.append(Tick("ä", 5), key="k")
    await life.snapshots.save(clean=True)
    await store.close()

    again = make_stream()
    store = SqliteStore(path)
    Life(store, await store.load(), again)
    await store.close()

    assert [r.json for r in again.after(0)] == [r.json for r in stream.after(0)]


def test_the_size_of_no_file_is_nothing(tmp_path: Path) -> None:
    assert size_bytes(tmp_path / "nothing.db") == 0


def test_rows_that_nobody_filled_are_empty() -> None:
    rows = Rows("e", 0, 0)

    assert (rows.records, rows.seen, rows.seen_total) == ([], [], 0)


async def test_nobody_else_may_read_the_file(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "flowd.db")

    await store.load()

    modes = {path.name: path.stat().st_mode & 0o077 for path in tmp_path.glob("flowd.db*")}  # noqa: ASYNC240
    await store.close()
    assert modes["flowd.db"] == modes.get("flowd.db-wal", 0) == 0
