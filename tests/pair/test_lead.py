"""The lease in a real daemon: what it publishes waits for it, and what it loses with it."""

from typing import Any

import pytest
import trio
from trio.testing import MockClock

from flowd.pair.lead import Lead, Suspension
from flowd.pair.ledger import Claim, Follower
from flowd.pair.standby import Standby
from flowd.stream.handover import Known
from flowd.stream.volatile import MemoryReplica, MemoryStore
from flowd.testing.ledgers import MemoryLedger


async def lead_of(ledger: MemoryLedger, name: str = "a") -> Lead:
    there = await ledger.take(Follower(name, Known()), Claim.ANEW)
    assert there.token is not None
    return Lead(ledger, there.token, name, trio.current_time)


@pytest.fixture
async def ledger() -> MemoryLedger:
    return MemoryLedger()


@pytest.fixture
async def lead(ledger: MemoryLedger) -> Lead:
    """It has the lease, and nothing runs yet."""
    return await lead_of(ledger)


@pytest.fixture
async def store(lead: Lead, nursery: trio.Nursery) -> MemoryStore:
    """That of `lead`, which runs."""
    return await begun(lead, nursery)


async def begun(lead: Lead, nursery: trio.Nursery) -> MemoryStore:
    store = MemoryStore()
    await store.load()
    lead.begin(store.journal, store)
    lead.serve()
    nursery.start_soon(lead.run)
    return store


def change(store: MemoryStore) -> None:
    """Something that is journaled."""
    store.journal.move("sums", "orders", store.journal.frame)
    store.journal.flush()


async def test_what_is_to_be_published_waits_until_it_is_shipped(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    ledger = MemoryLedger(delay_s=0.1)
    lead = await lead_of(ledger)
    store = await begun(lead, nursery)
    change(store)
    began = trio.current_time()

    await lead.reached()

    assert trio.current_time() - began >= 0.2
    assert [frame.number for frame in ledger.frames] == [1]
    change(store)
    ledger.away = True
    with trio.move_on_after(30) as waited:
        await lead.reached()
    assert waited.cancelled_caught
    ledger.away = False
    await lead.reached()


async def test_for_how_long_who_stands_by_has_been_behind_is_told(
    ledger: MemoryLedger, lead: Lead, store: MemoryStore, autojump_clock: MockClock
) -> None:
    change(store)
    await lead.reached()
    assert lead.figures()["standby_behind_s"] is None, "nobody stands by"
    known = Known(store.journal.lineage, store.journal.frame)

    async def heard_of_for(seconds: int) -> None:
        for _ in range(4 * seconds):
            await ledger.take(Follower("b", known), Claim.KNOWING)
            await trio.sleep(0.25)

    await heard_of_for(5)
    assert lead.figures()["standby_behind_s"] == 0
    change(store)
    await heard_of_for(20)

    assert lead.figures()["standby_behind"] == 1
    assert 18 < lead.figures()["standby_behind_s"] <= 20
    known = Known(store.journal.lineage, store.journal.frame)
    await heard_of_for(2)
    assert lead.figures()["standby_behind_s"] == 0


async def test_frames_that_wait_for_too_long_are_let_go_of_and_the_rest_begins_anew(
    ledger: MemoryLedger, lead: Lead, store: MemoryStore, autojump_clock: MockClock
) -> None:
    change(store)
    await lead.reached()
    lead._shipping.limit_bytes = 2000
    ledger.away = True
    for _ in range(50):
        change(store)
    assert lead.figures()["frames_waiting_bytes"] <= 2000
    ledger.away = False
    await lead.reached()

    assert ledger.last == store.journal.frame
    assert ledger.first > 2
    assert lead.figures()["frames_begun_anew"] >= 1


async def test_a_journal_that_failed_holds_back_what_it_lost_until_it_is_written_again(
    ledger: MemoryLedger, lead: Lead, store: MemoryStore, autojump_clock: MockClock
) -> None:
    change(store)
    await lead.reached()
    store.segments.full = True
    change(store)
    with trio.move_on_after(30) as waited:
        await lead.reached()
    assert waited.cancelled_caught

    store.segments.full = False
    store.journal.cut(again=True)
    change(store)
    await lead.reached()

    assert ledger.last == store.journal.frame
    assert ledger.first == store.journal.frame


async def test_a_larger_token_deposes_whatever_it_is_noticed_by(
    ledger: MemoryLedger, autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    first = await lead_of(ledger)
    told: list[str] = []
    store = await begun(first, nursery)
    first.on_deposed = told.append
    ledger.lease = None
    second = await lead_of(ledger, "b")
    await trio.sleep(2)

    assert second.token > first.token
    assert told == ["another daemon leads"]
    assert not store.led


async def test_a_lease_that_ran_out_and_that_nobody_took_is_had_again(
    ledger: MemoryLedger, lead: Lead, autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    await begun(lead, nursery)
    ledger.away = True
    await trio.sleep(60)
    assert lead.left_s < 0
    assert "lease ran out" in str(lead.trouble())
    ledger.forget_all()
    ledger.away = False
    await trio.sleep(2)

    assert lead.deposed is None
    assert lead.trouble() is None
    assert ledger.lease is not None


async def test_tokens_grow_also_where_the_ledger_forgot_them(
    ledger: MemoryLedger, autojump_clock: MockClock
) -> None:
    await trio.sleep(1)
    first = await lead_of(ledger)
    await trio.sleep(1)
    ledger.forget_all()

    assert (await lead_of(ledger)).token > first.token


async def test_who_nothing_ran_in_for_longer_than_its_lease_is_deposed_before_anything_runs(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    now = 0.0
    lead = Lead(MemoryLedger(), 1, "a", lambda: now, 0.0)
    store = await begun_only(lead)
    told: list[str] = []
    lead.on_deposed = told.append
    watch = Suspension(lead, 3.0, lambda: now)
    now = 10.0
    watch.after_io_wait(0)
    assert told == [], "it starts, and harms nobody"
    lead.serve()
    now = 20.0
    watch.after_io_wait(0)

    assert told == ["was suspended for 10.0s, and its lease ran out meanwhile"]
    assert store.led, "nobody may have taken it"


async def test_who_starts_has_time_until_it_serves(
    ledger: MemoryLedger, lead: Lead, autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    assert ledger.lease is not None
    assert ledger.lease.until == ledger.first_s
    nursery.start_soon(lead.run)
    await trio.sleep(4)
    assert ledger.lease.until == ledger.first_s, "it is not renewed before there is a need"
    assert lead.left_s > 0

    store = MemoryStore()
    await store.load()
    lead.begin(store.journal, store)
    lead.serve()
    await trio.sleep(1)
    assert ledger.lease.until <= trio.current_time() + ledger.ttl_s


async def begun_only(lead: Lead) -> MemoryStore:
    store = MemoryStore()
    await store.load()
    lead.begin(store.journal, store)
    return store


async def test_who_is_there_for_nothing_gets_no_handover(
    ledger: MemoryLedger, store: MemoryStore, autojump_clock: MockClock
) -> None:
    store.life = None
    await ledger.take(Follower("b", Known(), "h1"), Claim.KNOWING)

    found: Any = None
    with trio.fail_after(10):
        while found is None:
            await ledger.take(Follower("b", Known(), "h1"), Claim.KNOWING)
            found = await ledger.next_part("h1", 1.0)
    assert found == b"N"


async def test_an_end_without_the_ledger_is_told_and_takes_no_longer_than_it_may(
    ledger: MemoryLedger, lead: Lead, autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    await begun(lead, nursery)
    ledger.away = True
    began = trio.current_time()

    await lead.end()

    assert trio.current_time() - began <= 2


async def test_who_cannot_keep_what_it_knows_lets_another_one_lead(
    ledger: MemoryLedger,
    lead: Lead,
    store: MemoryStore,
    autojump_clock: MockClock,
    nursery: trio.Nursery,
) -> None:
    change(store)
    await lead.reached()
    full = MemoryReplica(MemoryStore("b"))
    standby = Standby(ledger, full, "b", 1e6, trio.current_time)
    nursery.start_soon(standby.run)
    with trio.fail_after(30):
        while standby.figures()["behind"] != 0:  # noqa: ASYNC110
            await trio.sleep(0.1)

    async def refuse(frames: object) -> None:
        await trio.lowlevel.checkpoint()
        raise OSError("No space left on device")

    full.apply = refuse  # type: ignore[method-assign]
    change(store)
    await lead.reached()
    await lead.end()
    await trio.sleep(3)

    assert ledger.lease is None
    assert standby.figures()["role"] == "standby"
