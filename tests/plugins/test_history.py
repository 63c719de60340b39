"""The history as it is written: every record once, every gap, whatever fails in between.

SQLite works in threads here, so these tests run on the real clock, and wait for events only.
"""

import logging
import re
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, closing
from itertools import count
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import flowd_history
import pytest
import trio
from attrs import evolve, fields, frozen
from flowd_history import Config, keep
from flowd_history.columns import columns_of
from flowd_history.recorder import Pace
from flowd_history.retention import STEP_ROWS, tidy, used_bytes
from flowd_history.store import SCHEMA, Store

from flowd import testing
from flowd.market import Liquidation
from flowd.plugin import Feed, Outage, Position, Record, Source, Stream, UserError, codec
from flowd.setup.config import Common, parse
from flowd.values.errors import unwrap
from tests.plugins.recorded import (
    AT_ONCE,
    Bar,
    T,
    ask,
    config,
    gaps,
    making,
    order,
    orders,
    record,
    rows,
    seqs,
)

DAY_MS = 86_400_000
ROOT = Path(__file__).parent.parent.parent


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "history.db"


def numbers(path: Path) -> list[int]:
    """Which orders the file has."""
    return [int(row["value"]["price"]) for row in rows(path)]


# -- what is written --


async def test_what_a_stream_held_is_in_the_file_as_it_was_served(path: Path) -> None:
    stream = orders(20)

    await record(path, stream)

    served = [codec.decode(record.json) for record in stream.after(0)]
    assert rows(path) == served
    assert [row["seq"] for row in served] == list(range(1, 21))


async def test_a_second_run_writes_nothing_twice(path: Path) -> None:
    stream = orders(20)
    await record(path, stream)

    await record(path, stream)

    assert seqs(path) == list(range(1, 21))
    assert gaps(path) == []


async def test_records_that_come_while_it_runs_are_written_when_the_stream_ends(
    path: Path, nursery: trio.Nursery
) -> None:
    stream = orders(3)
    store = Told(path)
    nursery.start_soon(making(store, stream).run)
    await store.reached(3)

    for number in range(3, 50):
        stream.append(order(number))
    await store.reached(50)
    stream.append(order(50))
    stream.close()
    await store.closed.wait()

    assert numbers(path) == list(range(51))


async def test_what_it_found_in_the_stream_is_behind_it(path: Path, nursery: trio.Nursery) -> None:
    stream, places = orders(5), {"orders": 2}  # a place of which the file knows nothing
    store = Told(path)

    nursery.start_soon(making(store, stream, places=places).run)
    await store.reached(5)
    stream.close()
    await store.closed.wait()

    assert (numbers(path), places) == ([0, 1, 2, 3, 4], {"orders": 5})


async def test_rows_say_when_and_of_what(path: Path) -> None:
    stream = orders(2)

    await record(path, stream)

    (first, _) = ask(path, "SELECT epoch, seq, recorded_ms, time_ms, symbol, key FROM orders")
    recorded_ms = stream.after(0)[0].time_ms
    assert first == ("test", 1, recorded_ms, T, "BTCUSDT", None)


async def test_a_value_without_a_time_has_that_of_its_record(path: Path) -> None:
    stream = testing.stream("bars", [Bar("BTCUSDT", 1)], record=Bar)

    await record(path, stream)

    ((recorded_ms, time_ms),) = ask(path, "SELECT recorded_ms, time_ms FROM bars")
    assert time_ms == recorded_ms


@pytest.mark.parametrize("odd", [2**63, "soon", 1.5, True])
async def test_a_time_that_is_none_is_not_believed(path: Path, odd: object) -> None:
    value = SimpleNamespace(time_ms=odd, symbol=7)
    stream = testing.stream("odd", [], record=object)
    made = Record(1, 1000, value)
    made._json = b'{"seq":1,"time_ms":1000,"value":{}}'
    store = Store(path)
    store.open()
    store.add("odd", columns_of(stream.record))

    store.write("odd", Position("test", 1), [made])

    store.close()
    assert ask(path, "SELECT time_ms, symbol FROM odd") == [(1000, None)]


async def test_sqlite_is_never_asked_on_the_loop(path: Path) -> None:
    threads: set[int] = set()
    traced: list[sqlite3.Connection] = []

    class Watched(Store):
        def open(self) -> None:
            super().open()
            self.db.conn.set_trace_callback(lambda sql: threads.add(threading.get_ident()))
            traced.append(self.db.conn)

    stream = orders(100)
    stream.close()

    await making(Watched(path), stream).run()

    assert traced
    assert threads
    assert threading.get_ident() not in threads


async def test_a_backlog_is_written_in_pieces(path: Path) -> None:
    stream = orders(20)
    stream.close()
    store = Told(path)

    await making(store, stream, pace=evolve(AT_ONCE, batch=6)).run()

    assert store.sizes == [6, 6, 6, 2, 0]


# -- tables --


async def test_of_a_table_the_file_has_the_newest_of_each_key(path: Path) -> None:
    bars = table(("BTC/1", 1), ("ETH/1", 2), ("BTC/1", 3))
    await record(path, bars)
    bars = again(bars)
    bars.append(Bar("ETH", 4), key="ETH/1")

    await record(path, bars)

    found = [(row["key"], row["value"]["total"]) for row in rows(path, "bars")]
    assert found == [("BTC/1", 3), ("ETH/1", 4)]


async def test_of_a_table_the_file_has_all_versions_if_it_is_told_to(path: Path) -> None:
    bars = table(("BTC/1", 1), ("ETH/1", 2))
    await record(path, bars, tables="versions")
    bars = again(bars)
    bars.append(Bar("ETH", 4), key="ETH/1")

    await record(path, bars, tables="versions")

    found = [(row["key"], row["value"]["total"]) for row in rows(path, "bars")]
    assert found == [("BTC/1", 1), ("ETH/1", 2), ("ETH/1", 4)]


async def test_a_stream_that_knows_less_after_a_crash_takes_nothing_back(path: Path) -> None:
    bars = table(("BTC/1", 1))
    before = again(bars, epoch="later")
    await testing_time()
    bars.append(Bar("BTC", 2), key="BTC/1")
    await record(path, bars)

    await record(path, before)

    assert [row["value"]["total"] for row in rows(path, "bars")] == [2]


def table(*entries: tuple[str, int]) -> Stream[Bar]:
    bars = testing.stream("bars", record=Bar)
    for key, total in entries:
        bars.append(Bar(key[:3], total), key=key)
    return bars


def again(stream: Stream[Any], *, epoch: str = "test") -> Stream[Any]:
    """The same stream after a restart: its records are its own, with their numbers and times."""
    newer: Stream[Any] = Stream(stream.name, stream.record, clock=testing.clock, epoch=epoch)
    newer.seq, newer._time_ms = stream.seq, stream._time_ms
    newer._log = stream.after(0)
    newer._latest = {one.key: one for one in newer._log if one.key is not None}
    return newer


async def testing_time() -> None:
    """Wait until the clock of the streams has moved."""
    before = testing.clock()
    while testing.clock() == before:
        await trio.lowlevel.checkpoint()


# -- the stream that never ends --


def outage(number: int) -> Outage:
    return Outage("orders", number, None, "")


async def test_a_stream_is_followed_until_it_ends_whatever_the_others_do(path: Path) -> None:
    stream, outages = orders(3), testing.stream("outages", [outage(1)], record=Outage)
    stream.close()
    store = Told(path)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(making(store, stream, outages).run)
        await store.reached(3)
        outages.append(outage(2))
        outages.close()

    assert [row["value"]["from_ms"] for row in rows(path, "outages")] == [1, 2]


# -- gaps --


async def test_what_fell_off_before_it_was_written_is_a_gap(path: Path) -> None:
    stream = orders(3, retain=5)
    stream_of_before = again(stream)
    await record(path, stream_of_before)
    for number in range(3, 20):
        stream.append(order(number))

    await record(path, stream)

    (gap,) = gaps(path)
    last, first = (row["time_ms"] for row in rows(path)[2:4])
    assert seqs(path) == [1, 2, 3, 16, 17, 18, 19, 20]
    assert (gap["first"], gap["last"]) == (4, 15)
    assert (gap["from_ms"], gap["to_ms"]) == (last, first)
    assert gap["epoch"] == "test"
    assert "retain" in gap["reason"]


@pytest.mark.parametrize("before", [0, 2])
async def test_what_falls_off_while_the_store_is_opened_is_written(
    before: int, path: Path, nursery: trio.Nursery
) -> None:
    stream = orders(before, retain=2)
    store = Late(path)
    nursery.start_soon(making(store, stream).run)
    await trio.testing.wait_all_tasks_blocked()
    for number in range(before, 50):
        stream.append(order(number))

    store.opens.set()
    await store.reached(50)

    assert numbers(path)[-50 + before :] == list(range(before, 50))
    assert gaps(path) == []


async def test_a_restart_while_a_stream_is_met_is_no_gap(path: Path) -> None:
    stream = orders(20)
    stream.close()
    store = Store(path)
    store.open()
    store.add("orders", [])
    store.write("orders", Position("test", 7), stream.after(0, upto=7), retained=True)
    store.close()

    await record(path, stream)

    assert seqs(path) == list(range(1, 21))
    assert gaps(path) == []


async def test_a_crash_while_a_stream_is_met_is_a_gap(path: Path) -> None:
    stream = orders(20)
    store = Store(path)
    store.open()
    store.add("orders", [])
    store.write("orders", Position("test", 7), stream.after(0, upto=7), retained=True)
    store.close()

    await record(path, again(stream, epoch="later"))

    assert seqs(path) == list(range(1, 21))
    assert len(gaps(path)) == 1


async def test_a_new_history_misses_nothing_that_it_never_saw(path: Path) -> None:
    stream = orders(20, retain=5)

    await record(path, stream)

    assert seqs(path) == [16, 17, 18, 19, 20]
    assert gaps(path) == []


# -- restarts and crashes of the daemon --


@frozen
class NoConfig:
    """Nothing to set."""


async def by_hand(config: NoConfig, feed: Feed[Any]) -> None:
    await trio.sleep_forever()


SEEDS = count()
"""Each daemon has an epoch of its own."""
BY_HAND = SimpleNamespace(
    flowd_sources=lambda: [Source("by-hand", by_hand, NoConfig, record=Liquidation)]
)


@asynccontextmanager
async def daemon(
    path: Path, state: testing.MemoryStore, *, crash: bool = False, more: str = ""
) -> AsyncIterator[testing.Daemon]:
    """A daemon with a stream that the test writes, and its history."""
    text = f"""
        [flowd]
        save_every = "1h"
        [sources.orders]
        kind = "by-hand"
        [sinks.history]
        kind = "history"
        inputs = ["orders", "outages"]
        path = "{path}"
        every = 0
        {more}
    """
    kinds = testing.registry(BY_HAND, flowd_history)
    async with testing.daemon(
        text, registry=kinds, store=state, crash=crash, seed=next(SEEDS)
    ) as running:
        yield running


def publish(daemon: testing.Daemon, *numbers: int) -> None:
    for number in numbers:
        daemon.feeds["orders"].publish(order(number), id=f"order-{number}")


async def written(daemon: testing.Daemon, last: int) -> list[Any]:
    """Wait until the history answers this order; all that it answers."""
    with trio.fail_after(20):
        while True:
            answer = await daemon.get("/streams/orders/history")
            found = answer.json().get("records", [])
            if found and found[-1]["value"]["id"] == f"order-{last}":
                return list(found)


async def test_the_last_batch_is_written_when_the_daemon_stops(path: Path) -> None:
    async with daemon(path, testing.MemoryStore()) as running:
        publish(running, *range(300))

    assert numbers(path) == list(range(300))


async def test_a_clean_restart_goes_on_without_a_gap(path: Path) -> None:
    state = testing.MemoryStore()
    async with daemon(path, state) as running:
        publish(running, *range(10))

    async with daemon(path, state) as running:
        publish(running, *range(10, 20))

    assert numbers(path) == list(range(20))
    assert gaps(path) == []


async def test_what_another_daemon_writes_is_answered_and_not_written(path: Path) -> None:
    async with daemon(path, testing.MemoryStore()) as running:
        publish(running, *range(10))
        await written(running, 9)
        once, again = testing.MemoryStore(), "record = false"
        async with daemon(path, once, more=again) as reading:
            publish(reading, *range(50, 60))
            publish(running, *range(10, 20))
            found = await written(reading, 19)
            (history,) = [
                one
                for one in (await reading.get("/status")).json()["components"]
                if one["name"] == "history"
            ]

    assert [int(one["value"]["price"]) for one in found] == list(range(20))
    assert numbers(path) == list(range(20))
    assert (history["state"], history["problem"]) == ("running", None)
    assert (history["behind"], history["published"]) == (0, 0)


async def test_who_only_answers_says_while_nothing_can_be_read(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(flowd_history, "LOOK_S", 0)
    told, said = trio.open_memory_channel[str | None](1000)
    desk, stream = testing.desk(), orders(0)
    monkeypatch.setattr(desk, "problem", told.send_nowait)

    async with trio.open_nursery() as nursery:
        reads = config(path, record=False)
        nursery.start_soon(keep, reads, testing.streams(stream), desk)
        why = await said.receive()
        await record(path, orders(3))
        while await said.receive() is not None:
            pass
        stream.close()

    assert why == f"{path} cannot be read: unable to open database file"


async def test_a_crash_is_nothing_to_the_history(path: Path) -> None:
    state = testing.MemoryStore()
    async with daemon(path, state, crash=True) as running:
        publish(running, *range(10))
        await written(running, 9)

    async with daemon(path, state) as running:
        publish(running, *range(10, 20))
        await written(running, 19)

    assert seqs(path) == list(range(1, 21))
    assert gaps(path) == []


async def test_the_end_of_the_machine_costs_the_history_nothing_that_it_had(path: Path) -> None:
    state = testing.MemoryStore()
    async with daemon(path, state, crash=True) as running:
        publish(running, *range(10))
        await written(running, 9)
        await running.snapshots.save()
        publish(running, *range(10, 20))
        await written(running, 19)

    state.boot = "another"
    async with daemon(path, state) as running:
        assert len(running.streams["orders"]) == 10
        publish(running, *range(20, 25))
        await written(running, 24)

    epochs = [epoch for (epoch,) in ask(path, "SELECT DISTINCT epoch FROM orders ORDER BY row")]
    assert numbers(path) == list(range(25))
    assert seqs(path)[-5:] == [11, 12, 13, 14, 15], "the numbers of what the daemon lost"
    assert len(epochs) == 2


async def test_the_end_of_the_machine_leaves_a_gap_of_unknown_size_until_the_next_record(
    path: Path,
) -> None:
    state = testing.MemoryStore()
    async with daemon(path, state, crash=True) as running:
        publish(running, *range(10))
        await written(running, 9)
        await running.snapshots.save()

    state.boot = "another"
    async with daemon(path, state) as running:
        (open_gap,) = await crashed(running)
        await testing_time()
        publish(running, 10)
        await written(running, 10)

    (gap,) = gaps(path)
    last, next = (row["time_ms"] for row in rows(path)[-2:])
    assert open_gap["to_ms"] is None
    assert (gap["first"], gap["last"]) == (None, None)
    assert (gap["from_ms"], gap["to_ms"]) == (last, next)
    assert "without saving" in gap["reason"]


async def test_a_record_that_comes_while_the_gap_is_noted_ends_it(path: Path) -> None:
    class Late(Store):
        def meet(self, name: str, epoch: str) -> None:
            super().meet(name, epoch)
            trio.from_thread.run_sync(again.append, order(20))
            trio.from_thread.run_sync(again.close)

    await record(path, orders(5))
    again: Stream[Any] = orders(2)
    again.epoch = "another"

    await making(Late(path), again).run()

    (gap,) = gaps(path)
    assert gap["to_ms"] == again.after(2)[0].time_ms


async def crashed(daemon: testing.Daemon) -> list[Any]:
    """The gaps, as soon as there is one."""
    with trio.fail_after(20):
        while True:
            found: list[Any] = (await daemon.get("/streams/orders/history")).json()["gaps"]
            if found:
                return found


async def test_an_event_that_is_delivered_again_after_a_crash_is_there_once(path: Path) -> None:
    state = testing.MemoryStore()
    async with daemon(path, state, crash=True) as running:
        publish(running, *range(20))
        await written(running, 19)

    async with daemon(path, state, crash=True) as running:
        publish(running, *range(15, 25))
        await written(running, 24)

    async with daemon(path, state) as running:
        publish(running, *range(10, 30))
        await written(running, 29)

    assert numbers(path) == list(range(30))


async def test_a_field_that_names_no_event_can_be_left_out_of_account(path: Path) -> None:
    state = testing.MemoryStore()
    async with daemon(path, state, crash=True, more='unique = ""') as running:
        publish(running, 1)
        await written(running, 1)
    await testing_time()

    again = testing.MemoryStore()
    again.saves = 1
    async with daemon(path, again, more='unique = ""') as running:
        publish(running, 1, 2)
        await written(running, 2)

    assert numbers(path) == [1, 1, 2]


async def test_a_history_that_is_moved_away_begins_with_what_is_retained(path: Path) -> None:
    state = testing.MemoryStore()
    async with daemon(path, state) as running:
        publish(running, *range(10))
    await trio.Path(path).unlink()

    async with daemon(path, state) as running:
        publish(running, 10)

    assert numbers(path) == list(range(11))
    assert gaps(path) == []


async def test_a_daemon_that_forgot_everything_adds_to_the_history(path: Path) -> None:
    async with daemon(path, testing.MemoryStore()) as running:
        publish(running, *range(10))

    async with daemon(path, testing.MemoryStore()) as running:
        publish(running, *range(10, 20))

    assert numbers(path) == list(range(20))
    assert len(gaps(path)) == 1


# -- what goes wrong --


class Told(Store):
    """A store that tells the test how far it has come."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, busy_s=0.01)
        self.sizes: list[int] = []
        self.closed = trio.Event()
        self._token = trio.lowlevel.current_trio_token()
        self._seq = 0
        self._news = trio.lowlevel.ParkingLot()

    def write(
        self, name: str, upto: Position, records: Sequence[Record[Any]], **options: Any
    ) -> None:
        super().write(name, upto, records, **options)
        self.sizes.append(len(records))
        self._seq = max(self._seq, upto.seq)
        self._token.run_sync_soon(self._news.unpark_all)

    def close(self) -> None:
        super().close()
        self._token.run_sync_soon(self.closed.set)

    async def reached(self, seq: int) -> None:
        with trio.fail_after(20):
            while self._seq < seq:
                await self._news.park()


class Late(Told):
    """A store that is not open before the test wants it."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.opens = threading.Event()

    def open(self) -> None:
        assert self.opens.wait(20)
        super().open()


async def test_a_batch_that_fails_in_the_middle_leaves_nothing_and_is_written_again(
    path: Path,
) -> None:
    class PowerCut(Store):
        def _rows(self, *arguments: Any) -> Iterator[tuple[object, ...]]:
            for row in super()._rows(*arguments):
                if row[1] == 10:
                    raise RuntimeError("power cut")
                yield row

    stream = orders(20)
    stream.close()
    with pytest.raises(BaseExceptionGroup) as failure:
        await making(PowerCut(path), stream).run()
    after_the_cut = seqs(path)

    await record(path, stream)

    assert str(unwrap(failure.value)) == "power cut"
    assert after_the_cut == list(range(1, 8))
    assert seqs(path) == list(range(1, 21))


KILLED = """
import sys, trio
from pathlib import Path
from tests.plugins.recorded import making, order, orders
from tests.plugins.test_history import Told

async def main():
    stream = orders(1, retain=100_000)
    store = Told(Path(sys.argv[1]))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(making(store, stream).run)
        await store.reached(1)
        for number in range(1, 100_000):
            stream.append(order(number))
            if number == 1000:
                await store.reached(500)
                print("written", flush=True)
            await trio.lowlevel.checkpoint()

trio.run(main)
"""


@pytest.mark.edge
def test_a_killed_process_leaves_whole_batches_and_the_place_where_they_end(path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", KILLED, str(path)], cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "written\n"
        process.send_signal(signal.SIGKILL)

    found = seqs(path)
    ((seq,),) = ask(path, 'SELECT seq FROM "flowd:streams"')
    assert found == list(range(1, seq + 1))
    assert seq >= 500


async def test_a_lock_of_somebody_else_is_waited_for(
    path: Path, nursery: trio.Nursery, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    stream, store = orders(3), Told(path)
    nursery.start_soon(making(store, stream).run)
    await store.reached(3)
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        stream.append(order(3))
        await said(caplog, "cannot be written: database is locked; trying again")
        other.execute("ROLLBACK")

    await store.reached(4)
    stream.close()
    await store.closed.wait()

    assert numbers(path) == [0, 1, 2, 3]
    assert "is written again" in caplog.text


async def said(caplog: pytest.LogCaptureFixture, words: str) -> None:
    with trio.fail_after(20):
        while words not in caplog.text:
            await trio.lowlevel.checkpoint()


async def test_who_cannot_write_for_long_fails_and_says_why(path: Path) -> None:
    stream = orders(3)
    await record(path, stream)
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")

        with pytest.raises(UserError, match="cannot be written: database is locked"):
            await making(Told(path), stream, pace=Pace(retry_s=0.001, patience_s=0.01)).run()


def test_a_disk_that_stays_full_does_not_end_the_sink_for_good() -> None:
    """The supervisor gives up a sink that fails more than ten times in ten minutes."""
    shared, at, failures = Common(), 0.0, []
    for number in range(100):
        at += Pace().patience_s
        failures.append(at)
        at += min(shared.restart_delay * 2**number, shared.restart_delay_max)

    most = max(sum(since - 600 <= one <= since for one in failures) for since in failures)

    assert most <= 10


async def test_a_full_disk_costs_nothing_once_there_is_room_again(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    class Full(Store):
        failures = 0

        def add(self, *arguments: Any) -> Any:
            kept = super().add(*arguments)
            self.db.conn.execute("PRAGMA max_page_count = 1")  # SQLite takes: what there is now
            return kept

        def write(self, *arguments: Any, **options: Any) -> None:
            try:
                super().write(*arguments, **options)
            except sqlite3.OperationalError:
                self.failures += 1
                if self.failures == 3:
                    self.db.conn.execute("PRAGMA max_page_count = 100000")
                raise

    stream = orders(500)
    stream.close()
    store = Full(path)

    await making(store, stream, pace=evolve(AT_ONCE, batch=200)).run()

    assert store.failures == 3
    assert seqs(path) == list(range(1, 501))
    assert caplog.text.count("database or disk is full; trying again") == 1


async def test_a_file_that_is_no_database_is_left_alone(path: Path) -> None:
    file = trio.Path(path)
    await file.write_bytes(b"my diary, " * 1000)

    with pytest.raises(UserError, match="damaged or no database"):
        await record(path, orders(3))

    assert (await file.read_bytes()).startswith(b"my diary, my diary")


async def test_a_database_of_something_else_is_left_alone(path: Path) -> None:
    with closing(sqlite3.connect(path)) as other:
        other.execute("CREATE TABLE diary (day)")

    with pytest.raises(UserError, match="a database of something else"):
        await record(path, orders(3))

    assert ask(path, "SELECT name FROM sqlite_master") == [("diary",)]


async def test_a_file_that_was_damaged_is_reported_as_such(path: Path) -> None:
    await record(path, orders(3000))
    file = trio.Path(path)
    data = bytearray(await file.read_bytes())
    for start in range(4096 * 3, len(data), 4096):
        data[start : start + 100] = b"\xff" * 100
    await file.write_bytes(data)

    with pytest.raises((UserError, BaseExceptionGroup)) as failure:
        await record(path, orders(3010))

    assert isinstance(unwrap(failure.value), UserError)
    assert "damaged" in str(unwrap(failure.value))


async def test_a_file_of_a_newer_flowd_is_not_touched(path: Path) -> None:
    await record(path, orders(3))
    with closing(sqlite3.connect(path)) as other:
        other.execute(f"PRAGMA user_version = {SCHEMA + 1}")

    with pytest.raises(UserError, match="written by a newer flowd"):
        await record(path, orders(5))

    assert seqs(path) == [1, 2, 3]


async def test_two_histories_do_not_share_a_file(path: Path, nursery: trio.Nursery) -> None:
    stream, store = orders(3), Told(path)
    nursery.start_soon(making(store, stream).run)
    await store.reached(3)

    with pytest.raises(UserError, match="in use by another history"):
        await record(path, again(stream))

    nursery.cancel_scope.cancel()


async def test_a_directory_that_cannot_be_made_is_a_mistake(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(UserError, match="cannot be opened"):
        await record(tmp_path / "file" / "history.db", orders(3))


@pytest.mark.parametrize("name", ["ORDERS", "sqlite_orders"])
async def test_names_that_sqlite_cannot_tell_apart_are_refused(path: Path, name: str) -> None:
    await record(path, orders(3))

    with pytest.raises(UserError, match=f"cannot have a table called '{name}'"):
        await record(path, testing.stream(name, record=Liquidation))


async def test_who_is_cancelled_lets_go_of_the_file(path: Path) -> None:
    stream = orders(3)
    async with trio.open_nursery() as nursery:
        store = Told(path)
        nursery.start_soon(making(store, stream).run)
        await store.reached(3)
        nursery.cancel_scope.cancel()

    await record(path, stream)

    assert seqs(path) == [1, 2, 3]


# -- what is forgotten --


def filled(path: Path, *streams: str, total: int, every_ms: int = 1, size: int = 0) -> Store:
    """An open store with so many records of each stream."""
    store = Store(path)
    store.open()
    for name in streams:
        fill(store, name, total, T, every_ms, size)
    return store


def fill(store: Store, name: str, total: int, since_ms: int, every_ms: int, size: int) -> None:
    store.add(name, [])
    records = []
    for seq in range(1, total + 1):
        made = Record(seq, since_ms + seq * every_ms, None)
        made._json = b'{"seq":%d,"value":"%b"}' % (seq, b"x" * size)
        records.append(made)
    store.write(name, Position("test", total), records)


def test_what_is_too_old_goes_a_step_at_a_time(path: Path) -> None:
    store = filled(path, "orders", total=STEP_ROWS * 2, every_ms=1000)

    steps = 1
    while tidy(store, 10_000, 1024**3):
        steps += 1

    store.close()
    assert steps == 2
    assert ask(path, "SELECT min(seq), max(seq) FROM orders") == [(3990, 4000)]


def test_age_is_counted_from_the_newest_record_of_all(path: Path) -> None:
    store = filled(path, "orders", "quiet", total=10, every_ms=1000)
    store.write("orders", Position("test", 11), [Record(11, T + 60_000, Bar("", 0))])

    tidy(store, 55_000, 1024**3)

    store.close()
    assert ask(path, "SELECT min(seq), max(seq) FROM orders") == [(5, 11)]
    assert ask(path, "SELECT min(seq), max(seq) FROM quiet") == [(5, 10)]


def test_what_is_too_much_goes_oldest_first_whatever_the_stream(path: Path) -> None:
    store = filled(path, "early", total=6000, size=300)
    fill(store, "late", 6000, T + 5000, 1, 300)
    limit = used_bytes(store) // 2

    while tidy(store, None, limit):
        pass

    used = used_bytes(store)
    store.close()
    ((early, late),) = ask(path, "SELECT (SELECT count(*) FROM early), (SELECT count(*) FROM late)")
    assert used <= limit
    assert early == 0, "of the last thousand, too, others were older"
    assert 4000 <= late < 6000


def test_the_room_of_what_went_is_given_back_in_pieces(path: Path) -> None:
    store = filled(path, "orders", total=20_000, size=300)
    store.db.conn.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    before = path.stat().st_size

    while tidy(store, 1000, 1024**3):
        pass

    store.db.conn.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    free = store.db.conn.execute("PRAGMA freelist_count").fetchone()[0]
    store.close()
    assert path.stat().st_size < before / 4
    assert 0 < free <= 256
    assert ask(path, "PRAGMA auto_vacuum") == [(2,)]


def test_nothing_is_forgotten_for_ever_unless_it_is_too_much(path: Path) -> None:
    store = filled(path, "orders", total=10, every_ms=400 * DAY_MS)

    assert not tidy(store, None, 1024**3)

    store.close()
    assert ask(path, "SELECT count(*) FROM orders") == [(10,)]


async def test_gaps_are_forgotten_with_what_was_around_them(path: Path) -> None:
    stream = orders(3, retain=5)
    await record(path, again(stream))
    for number in range(3, 20):
        stream.append(order(number))
    await record(path, stream)
    store = Store(path)
    store.open()
    store.add("orders", [])
    store.write("orders", Position("test", 21), [Record(21, testing.clock() + DAY_MS, Bar("", 0))])

    tidy(store, 1000, 1024**3)

    store.close()
    assert ask(path, 'SELECT * FROM "flowd:gaps"') == []


async def test_the_recorder_forgets_while_it_runs(path: Path, nursery: trio.Nursery) -> None:
    filled(path, "orders", total=100, every_ms=1).close()
    stream: Stream[Any] = Stream("orders", Bar, clock=lambda: T + DAY_MS, epoch="test")
    stream.seq = 100
    store = Told(path)
    run = evolve(AT_ONCE, tidy_every_s=0.001)
    recorder = making(store, stream, pace=run)
    recorder._retain_ms = 1000
    nursery.start_soon(recorder.run)

    stream.append(Bar("BTC", 1))

    with trio.fail_after(20):
        while ask(path, "SELECT count(*) FROM orders") != [(1,)]:
            await trio.lowlevel.checkpoint()
    nursery.cancel_scope.cancel()


# -- the configuration --


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"inputs": []}, "name at least one stream"),
        ({"path": ""}, "name a file"),
        ({"retain": 5000}, "keeps by age"),
        ({"retain": "soon"}, "expected a duration"),
        ({"retain": "10ms"}, "at least a second"),
        ({"max_size": 5}, "at least 1MiB"),
        ({"every": 5.0}, "at most 1s"),
        ({"batch": 0}, "from 1 to"),
        ({"unique": "no field"}, "the name of a field"),
    ],
)
def test_a_mistake_in_the_configuration_is_explained(options: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        Config(**{"inputs": ["orders"], **options})


def test_the_file_lies_where_flowd_keeps_its_state(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STATE_DIRECTORY", "/var/lib/flowd:/elsewhere")

    assert Config(["orders"]).file == Path("/var/lib/flowd/history.db")
    assert Config(["orders"], path="/srv/history.db").file == Path("/srv/history.db")


def test_an_age_may_be_for_ever() -> None:
    assert Config(["orders"], retain="forever").retain_ms is None
    assert Config(["orders"]).retain_ms == 90 * DAY_MS


def test_the_example_configuration_has_a_history_to_take_the_comment_signs_off() -> None:
    example = (ROOT / "flowd.toml.example").read_text(encoding="utf-8")
    _, heading, keys = example.partition("# [sinks.history]")
    section = "".join(
        line.removeprefix("# ") + "\n" for line in (heading + keys).split("\n\n")[0].splitlines()
    )
    kinds = testing.registry(BY_HAND, flowd_history)

    (_, history) = parse(f'[sources.force-orders]\nkind = "by-hand"\n{section}', kinds).components

    assert history.settings == Config(["force-orders", "outages"])
    assert all(re.search(rf"^(# )?{key.name} = ", section, re.MULTILINE) for key in fields(Config))


async def test_a_stream_named_twice_is_written_once(path: Path) -> None:
    stream = orders(3)
    stream.close()

    await keep(config(path, "orders", "orders"), testing.streams(stream), testing.desk())

    assert seqs(path) == [1, 2, 3]


def test_nobody_else_may_read_the_file(tmp_path: Path) -> None:
    store = Store(tmp_path / "history.db")

    store.open()

    mode = (tmp_path / "history.db").stat().st_mode
    store.close()
    assert mode & 0o077 == 0


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ('database = "mysql://host/name"', "installed plugins know: .*postgresql://"),
        ('database = "history.db"', "expected an address such as postgresql://"),
        ('database = "postgresql://[half"', "this address cannot be read"),
        ('spill = ""', "spill: name a file"),
        ("spill_max = 100", "spill_max of at least 1MiB"),
    ],
)
def test_a_database_that_cannot_be_is_refused_before_anything_starts(keys: str, said: str) -> None:
    kinds = testing.registry(BY_HAND, flowd_history)
    text = f'[sources.orders]\nkind = "by-hand"\n[sinks.a]\nkind = "history"\n{keys}\n'

    with pytest.raises(UserError, match=said) as caught:
        parse(f'{text}inputs = ["orders"]', kinds)

    assert "half" not in str(caught.value)


def test_a_database_whose_address_is_a_secret_is_known_when_it_is_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    kinds = testing.registry(BY_HAND, flowd_history)
    text = '[sources.orders]\nkind = "by-hand"\n[sinks.a]\nkind = "history"\n'
    monkeypatch.setenv("HISTORY", "postgresql://me:secret@host/name")

    (_, found) = parse(
        f'{text}inputs = ["orders"]\ndatabase = {{ env = "HISTORY" }}', kinds
    ).components

    assert isinstance(found.settings, Config)
    assert found.settings.store().where == "postgresql://me@host/name"
    assert found.settings.archive().where == "postgresql://me@host/name"
    assert "secret" not in repr(found.settings)


def test_without_psycopg_it_is_said_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "flowd_postgres.connecting")
    monkeypatch.setitem(sys.modules, "psycopg", None)
    kinds = testing.registry(BY_HAND, flowd_history)
    text = '[sources.orders]\nkind = "by-hand"\n[sinks.a]\nkind = "history"\n'

    with pytest.raises(UserError, match=r"pip install 'flowd-daemon\[postgres\]'"):
        parse(f'{text}inputs = ["orders"]\ndatabase = "postgresql://host/name"', kinds)
