"""What is carried to a broker that fails in every way is there once, in order, or told as a gap."""

import logging
from collections.abc import Collection, Sequence
from contextlib import suppress
from random import Random
from typing import Any

import pytest
import trio
from attrs import evolve, frozen
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from trio.testing import MockClock, wait_all_tasks_blocked

from flowd import testing
from flowd.door.carry import Pace, carry, marked
from flowd.plugin import Batch, Gap, Input, Position, Record, UpstreamError
from flowd.stream.held import Behind
from flowd.stream.log import Stream

PACE = Pace(count=10)


@frozen
class Lot:
    number: int
    text: str = ""


class Broker:
    """Keeps what it is sent, and fails as it is told: `fails` is asked before and after each act.

    It takes a batch only where it stands, as the protocol wants; so what it takes late, long after
    the sender gave up, does no harm. `log` has what a reader of it would read.
    """

    def __init__(self) -> None:
        self.at: Position | None = None
        self.log: list[Record[Any] | Gap] = []
        self.table: dict[str, bytes] = {}
        self.batches: list[Batch[Any]] = []
        self.forgotten: list[str] = []
        self.down: str | None = None
        self.slow_s = 0.0
        self.acts = 0
        self.places = 0
        self.weather: Random | None = None
        self.late: list[Any] = []
        self.most = 0

    async def _act(self, *what: Any) -> None:
        """Do it now, later, twice or never, and say that it is done, or not."""
        self.acts += 1
        await trio.sleep(self.slow_s)
        if self.down is not None:
            raise UpstreamError(self.down)
        roll = 1.0 if self.weather is None else self.weather.random()
        if roll < 0.1:
            raise UpstreamError("never came")
        if roll < 0.2:
            self.late.append(what)
            raise UpstreamError("comes late")
        self._take(*what)
        if roll < 0.3:
            raise UpstreamError("done, and the answer was lost")
        while self.late and roll < 0.5:
            with suppress(UpstreamError):  # Nobody waits for it any more.
                self._take(*self.late.pop(0))

    def _take(self, place: Position | None, act: Any) -> None:
        if place != self.at:
            raise UpstreamError(f"is at {self.at}, not at {place}")
        act()

    async def place(self, input: Input[Any]) -> Position | None:
        self.places += 1
        await trio.sleep(self.slow_s)
        if self.down is not None:
            raise UpstreamError(self.down)
        return self.at

    async def keys(self, input: Input[Any]) -> Collection[str]:
        await trio.lowlevel.checkpoint()
        return list(self.table)

    async def send(self, batch: Batch[Any]) -> None:
        self.most = max(self.most, sum(len(record.json) for record in batch.records))
        after = self.at if batch.first else Position(batch.position.epoch, batch.after)

        def add() -> None:
            if batch.first:
                self.log, self.table = [], {}
            self.batches.append(batch)
            self.at = batch.position
            for record in batch.records:
                self.log.append(record)
                if record.key is not None:
                    self.table[record.key] = record.json

        await self._act(after, add)

    async def gap(self, stream: str, gap: Gap, after: Position) -> None:
        def add() -> None:
            self.log.append(gap)
            self.at = evolve(after, seq=gap.last)

        await self._act(after, add)

    async def forget(self, stream: str, keys: Sequence[str], after: Position) -> None:
        def add() -> None:
            for key in keys:
                self.table.pop(key, None)
            self.forgotten += keys

        await self._act(after, add)

    @property
    def seqs(self) -> list[int]:
        return [entry.seq for entry in self.log if isinstance(entry, Record)]

    @property
    def gaps(self) -> list[Gap]:
        return [entry for entry in self.log if isinstance(entry, Gap)]


class Rig:
    """A stream, and a broker that it is carried to by a sink that can be started again."""

    def __init__(self, nursery: trio.Nursery, *, retain: int = 1000, held: int = 0) -> None:
        self.lots: Stream[Any] = testing.stream("lots", record=Lot, retain=retain)
        self.lots.held.limit = Behind(count=held)
        self.broker = Broker()
        self.desk = testing.desk("broker")
        self.places: dict[str, int] = {}
        self.pace = PACE
        self._nursery = nursery
        self._scope = trio.CancelScope()
        self.ended = trio.Event()

    def happen(self, count: int = 1, *, key: str | None = None) -> None:
        for _ in range(count):
            self.lots.append(Lot(self.lots.seq + 1), key=key)

    def start(self) -> None:
        self._scope = trio.CancelScope()
        self._nursery.start_soon(self._run, self._scope)

    async def _run(self, scope: trio.CancelScope) -> None:
        with scope:
            streams = testing.streams(self.lots, places=self.places)
            await carry([streams["lots"]], self.broker, self.desk, self.pace)
            self.ended.set()

    async def again(self) -> None:
        self._scope.cancel()
        await wait_all_tasks_blocked()
        self.start()

    async def end(self) -> None:
        self.lots.close()
        with trio.fail_after(3600):
            await self.ended.wait()

    @property
    def figures(self) -> dict[str, float]:
        return self.desk.tally.told()


@pytest.fixture
async def rig(nursery: trio.Nursery) -> Rig:
    """All of a stream is retained, and nothing has begun."""
    return Rig(nursery)


# -- what is sent --


async def test_what_is_retained_is_sent_and_then_what_comes(
    rig: Rig, autojump_clock: MockClock
) -> None:
    rig.happen(3)
    rig.start()
    await wait_all_tasks_blocked()
    before = rig.broker.seqs
    rig.happen(2)
    await rig.end()

    assert (before, rig.broker.seqs) == ([1, 2, 3], [1, 2, 3, 4, 5])
    first, second = rig.broker.batches
    assert (first.first, first.after, str(first.position)) == (True, 0, "test.3")
    assert (second.first, second.after, str(second.position)) == (False, 3, "test.5")
    assert rig.desk.tally.published == 5


async def test_a_stream_without_records_is_begun_too(rig: Rig, autojump_clock: MockClock) -> None:
    rig.start()
    await rig.end()

    (batch,) = rig.broker.batches
    assert (batch.first, batch.records, str(batch.position)) == (True, [], "test.0")


async def test_who_is_new_is_told_where_the_stream_begins_and_of_no_gap(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    rig = Rig(nursery, retain=5)
    rig.happen(20)
    rig.start()
    await rig.end()

    assert (rig.broker.seqs, rig.broker.gaps) == ([16, 17, 18, 19, 20], [])
    assert rig.broker.batches[0].after == 15


async def test_another_epoch_is_begun_anew(rig: Rig, autojump_clock: MockClock) -> None:
    rig.broker.at = Position("before", 812)
    rig.happen(3)
    rig.start()
    await rig.end()

    assert (rig.broker.seqs, rig.broker.batches[0].first) == ([1, 2, 3], True)


async def test_a_batch_is_bounded_in_records_and_in_bytes(
    rig: Rig, autojump_clock: MockClock
) -> None:
    rig.pace = Pace(count=10, bytes=400)
    for size in (10, 10, 300, 900, 10):
        rig.lots.append(Lot(1, "x" * size))
    rig.happen(30)
    rig.start()
    await rig.end()

    batches = rig.broker.batches
    assert rig.broker.seqs == list(range(1, 36))
    assert max(len(batch.records) for batch in batches) <= 10
    assert [batch.after for batch in batches] == [0, *[b.position.seq for b in batches[:-1]]]
    (large,) = [batch for batch in batches if sum(len(r.json) for r in batch.records) > 400]
    assert [record.seq for record in large.records] == [4]  # Alone, since it cannot be less.


async def test_a_second_life_sends_nothing_twice(rig: Rig, autojump_clock: MockClock) -> None:
    rig.happen(7)
    rig.start()
    await wait_all_tasks_blocked()
    await rig.again()
    rig.happen(2)
    await rig.end()

    assert rig.broker.seqs == list(range(1, 10))
    assert rig.desk.tally.published == 9


async def test_what_is_alone_goes_at_once_and_of_many_some_go_together(
    rig: Rig, autojump_clock: MockClock
) -> None:
    rig.start()
    await trio.sleep(1)
    rig.happen()
    await wait_all_tasks_blocked()
    alone = rig.broker.seqs

    for _ in range(100):
        rig.happen()
        await trio.sleep(0.001)
    sent = len(rig.broker.batches)
    await rig.end()

    assert alone == [1]
    assert rig.broker.seqs == list(range(1, 102))
    assert 15 <= sent <= 25


async def test_full_batches_wait_for_nothing(
    rig: Rig, autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    rig.happen(1000)
    began = trio.current_time()
    rig.start()
    await wait_all_tasks_blocked()

    assert len(rig.broker.seqs) == 1000
    assert trio.current_time() - began < rig.pace.every_s
    nursery.cancel_scope.cancel()


# -- the broker fails --


async def test_a_broker_that_is_away_is_told_of_and_asked_ever_more_seldom(
    rig: Rig, autojump_clock: MockClock, nursery: trio.Nursery, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    rig.happen(3)
    rig.broker.down = "127.0.0.1:6379 cannot be reached"
    rig.start()
    await trio.sleep(60)

    assert rig.desk.tally.problem == "127.0.0.1:6379 cannot be reached"
    assert 8 <= rig.broker.places <= 20
    assert rig.figures["retries"] == rig.broker.places
    assert rig.figures["behind"] == 3
    assert rig.figures["lag_ms"] > 45_000

    rig.broker.down = None
    await trio.sleep(10)
    assert rig.desk.tally.problem is None
    assert rig.broker.seqs == [1, 2, 3]
    assert (rig.figures["behind"], rig.figures["lag_ms"]) == (0, 0)
    assert [record.getMessage() for record in caplog.records] == [
        "broker: 127.0.0.1:6379 cannot be reached",
        "broker: all is well again",
    ]
    nursery.cancel_scope.cancel()


async def test_one_that_takes_nothing_is_not_well_for_being_there(
    rig: Rig, autojump_clock: MockClock, nursery: trio.Nursery, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    rig.happen(3)

    async def refuse(batch: Batch[Any]) -> None:
        raise UpstreamError("out of memory")

    rig.broker.send = refuse  # type: ignore[method-assign]
    rig.start()
    await trio.sleep(60)

    assert [record.getMessage() for record in caplog.records] == ["broker: out of memory"]
    assert rig.broker.places <= 20
    nursery.cancel_scope.cancel()


async def test_it_is_asked_no_sooner_than_it_wants(
    rig: Rig, autojump_clock: MockClock, nursery: trio.Nursery
) -> None:

    async def refuse(input: Input[Any]) -> None:
        rig.broker.places += 1
        raise UpstreamError("busy", retry_s=30)

    rig.broker.place = refuse  # type: ignore[method-assign]
    rig.start()
    await trio.sleep(100)

    assert rig.broker.places == 4
    nursery.cancel_scope.cancel()


async def test_what_is_held_bridges_an_outage_and_what_is_not_is_a_gap(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    rig = Rig(nursery, retain=5, held=5)
    rig.happen(3)
    rig.start()
    await wait_all_tasks_blocked()
    rig.broker.down = "away"
    rig.happen(10)
    await trio.sleep(60)
    rig.broker.down = None
    await trio.sleep(10)
    bridged = rig.broker.seqs
    rig.broker.down = "away"
    rig.happen(20)
    await trio.sleep(60)
    rig.broker.down = None
    await rig.end()

    assert (bridged, rig.broker.gaps) == (list(range(1, 14)), [Gap(14, 23)])
    assert rig.broker.seqs == [*bridged, *range(24, 34)]


async def test_a_broker_that_lost_everything_gets_all_that_is_retained(
    rig: Rig, autojump_clock: MockClock
) -> None:
    rig.happen(12)
    rig.start()
    await wait_all_tasks_blocked()
    broker = rig.broker
    broker.at, broker.log, broker.table = None, [], {}
    rig.happen()
    await rig.end()

    assert broker.seqs == list(range(1, 14))


async def test_a_broker_that_lost_everything_while_nothing_came_gets_it_too(
    rig: Rig, autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    rig.happen(12)
    rig.start()
    await wait_all_tasks_blocked()
    broker = rig.broker
    broker.at, broker.log = None, []
    await trio.sleep(11)

    assert broker.seqs == list(range(1, 13))
    assert rig.desk.tally.problem is None
    nursery.cancel_scope.cancel()


async def test_a_broker_that_lost_its_newest_gets_them_again(
    rig: Rig, autojump_clock: MockClock
) -> None:
    rig.happen(12)
    rig.start()
    await wait_all_tasks_blocked()
    rig.broker.at, rig.broker.log = Position("test", 4), rig.broker.log[:4]
    rig.happen()
    await rig.end()

    assert rig.broker.seqs == list(range(1, 14))


async def test_one_that_has_more_than_the_stream_is_left_alone(
    rig: Rig, autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    rig.happen(3)
    rig.broker.at = Position("test", 812)
    rig.start()
    await trio.sleep(60)

    assert rig.broker.acts == 0
    assert "it has lots up to test.812, which is more than this daemon has (test.3)" in str(
        rig.desk.tally.problem
    )
    nursery.cancel_scope.cancel()


async def test_where_another_daemon_writes_too_the_one_that_notices_sends_nothing(
    rig: Rig, autojump_clock: MockClock
) -> None:
    rig.happen(3)
    rig.start()
    await wait_all_tasks_blocked()
    acts = rig.broker.acts
    rig.broker.at = Position("other", 2)
    rig.happen()
    await trio.sleep(60)
    told, still = rig.desk.tally.problem, rig.broker.acts - acts
    await rig.again()
    await rig.end()

    assert str(told).startswith("another daemon writes lots there, as epoch other: stop one of")
    assert still == 1, "the batch that was refused"
    assert (rig.broker.seqs, rig.broker.batches[-1].first) == ([1, 2, 3, 4], True)


async def test_where_another_daemon_writes_before_this_one_sends_it_is_noticed_too(
    rig: Rig, autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    rig.happen(3)
    rig.broker.at = Position("test", 3)
    rig.start()
    await wait_all_tasks_blocked()
    rig.broker.at = Position("other", 2)
    await trio.sleep(60)

    assert "as epoch other" in str(rig.desk.tally.problem)
    assert rig.broker.acts == 0
    nursery.cancel_scope.cancel()


def test_what_stands_beside_a_record_in_a_log_leads_from_one_to_the_next() -> None:
    lots = testing.stream("lots", [Lot(number) for number in range(5)], record=Lot)
    sent = [record for record in lots.after(0) if record.seq in (2, 3, 5)]

    begun = list(marked(Batch("lots", sent, Position("e", 5), first=True, after=0)))
    going_on = list(marked(Batch("lots", sent, Position("e", 5), first=False, after=0)))

    assert [record for record, _ in begun] == sent
    assert [said for _, said in begun] == [
        {"Flowd-Position": "e.2"},
        {"Flowd-Position": "e.3"},
        {"Flowd-Position": "e.5", "Flowd-After": "3"},
    ]
    assert going_on[0][1] == {"Flowd-Position": "e.2", "Flowd-After": "0"}
    assert going_on[1:] == begun[1:]


async def test_what_is_no_weather_ends_the_sink(rig: Rig) -> None:
    streams = testing.streams(rig.lots)

    async def fall(batch: Batch[Any]) -> None:
        raise ZeroDivisionError

    rig.broker.send = fall  # type: ignore[method-assign]
    with pytest.RaisesGroup(ZeroDivisionError):
        await carry([streams["lots"]], rig.broker, rig.desk)
    assert rig.desk.tally.problem is None


async def test_one_stream_in_trouble_holds_up_no_other(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    good, bad = Rig(nursery), Rig(nursery)
    bad.broker.down = "wrong type of key"
    other = testing.stream("others", [Lot(1)], record=Lot)

    class Both(Broker):
        async def place(self, input: Input[Any]) -> Position | None:
            return await (good if input.name == "others" else bad).broker.place(input)

        async def send(self, batch: Batch[Any]) -> None:
            await good.broker.send(batch)

    streams = testing.streams(bad.lots, other)
    nursery.start_soon(carry, list(streams.values()), Both(), good.desk)
    await trio.sleep(30)

    assert good.broker.seqs == [1]
    assert good.desk.tally.problem == "wrong type of key"
    nursery.cancel_scope.cancel()


async def test_how_far_it_is_is_looked_at_when_somebody_asks(
    rig: Rig, autojump_clock: MockClock
) -> None:
    rig.broker.slow_s = 3600
    rig.start()
    await wait_all_tasks_blocked()
    rig.happen(2)
    await trio.sleep(5)
    waiting = rig.figures
    rig.happen()
    more = rig.figures
    rig.broker.slow_s = 0
    await rig.end()

    assert (waiting["behind"], waiting["lag_ms"]) == (2, 5000)
    assert (more["behind"], more["lag_ms"]) == (3, 5000)
    assert (rig.figures["behind"], rig.figures["lag_ms"]) == (0, 0)


# -- tables --


async def test_a_key_that_was_forgotten_is_forgotten_there_within_a_second(
    rig: Rig, autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    rig.happen(key="a")
    rig.happen(key="b")
    rig.start()
    await trio.sleep(5)
    rig.lots.forget("a")
    await trio.sleep(1.1)

    assert (list(rig.broker.table), rig.broker.forgotten) == (["b"], ["a"])
    nursery.cancel_scope.cancel()


async def test_keys_that_come_and_go_all_the_time_are_compared_once_a_second(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    rig = Rig(nursery, retain=3)
    rig.start()
    for number in range(100):
        rig.happen(key=str(number))
        await trio.sleep(0.1)
    await trio.sleep(2)

    assert list(rig.broker.table) == ["97", "98", "99"]
    assert len(rig.broker.forgotten) == 97
    assert rig.broker.acts - len(rig.broker.batches) <= 12
    nursery.cancel_scope.cancel()


async def test_a_key_that_fell_off_while_nobody_ran_is_forgotten_at_the_start(
    rig: Rig, autojump_clock: MockClock
) -> None:
    for key in "abc":
        rig.happen(key=key)
    rig.start()
    await wait_all_tasks_blocked()
    rig.lots.forget("b")
    rig.happen(key="d")
    await rig.again()
    await rig.end()

    assert list(rig.broker.table) == ["a", "c", "d"]


async def test_a_number_that_was_superseded_is_no_gap_and_the_chain_says_so(
    rig: Rig, autojump_clock: MockClock
) -> None:
    rig.happen(2, key="a")
    rig.start()
    await wait_all_tasks_blocked()
    rig.broker.down = "away"
    rig.happen(5, key="a")
    await trio.sleep(5)
    rig.lots.forget("a")
    rig.broker.down = None
    await trio.sleep(10)
    rig.happen(key="b")
    await rig.end()

    assert (rig.broker.seqs, rig.broker.gaps) == ([2, 8], [])
    assert [batch.after for batch in rig.broker.batches] == [0, 2]


# -- whatever happens --


@given(seed=st.integers(0, 10**9), keyed=st.booleans())
@hypothesis_settings(max_examples=120)
def test_whatever_fails_it_ends_with_each_record_once_or_a_gap(seed: int, keyed: bool) -> None:
    async def world() -> None:
        random = Random(seed)
        async with trio.open_nursery() as nursery:
            rig = Rig(nursery, retain=random.choice([5, 50]), held=random.choice([0, 20]))
            broker = rig.broker
            broker.weather = Random(seed)
            broker.slow_s = random.choice([0.0, 0.01, 0.5])
            began = 0
            rig.start()
            for _ in range(random.randrange(1, 60)):
                act = random.random()
                key = random.choice("abcdefghij") if keyed else None
                if act < 0.6:
                    rig.happen(random.randrange(1, 12), key=key)
                elif act < 0.7 and key is not None:
                    rig.lots.forget(key)
                elif act < 0.75:
                    await rig.again()
                elif act < 0.8:
                    broker.down = None if broker.down else "away"
                elif act < 0.83:
                    broker.at, broker.log, broker.table, broker.late = None, [], {}, []
                await trio.sleep(random.choice([0.0, 0.001, 0.1, 2.0]))
            broker.down = None
            await rig.end()

            lots = rig.lots
            assert broker.at is not None
            assert not lots.after(broker.at.seq), "the newest were not sent"
            assert rig.figures["behind"] == 0
            if broker.batches:
                began = next(b.after for b in reversed(broker.batches) if b.first)
            seen = began
            for entry in broker.log:
                first = entry.seq if isinstance(entry, Record) else entry.first
                assert first > seen
                assert keyed or first == seen + 1, "a hole that nobody told of"
                seen = entry.seq if isinstance(entry, Record) else entry.last
            assert keyed or seen == lots.seq
            assert broker.table == {r.key: r.json for r in lots.after(0) if r.key is not None}

    trio.run(world, clock=MockClock(autojump_threshold=0))
