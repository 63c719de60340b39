"""What components missed is an outage, and is told for a while."""

from typing import Any

import trio

from flowd import testing
from flowd.stream.log import Stream
from flowd.upstream.misses import TOLD_S, Misses
from flowd.upstream.outages import TOGETHER_MS, Outage, Outages
from flowd.values.clock import Clock
from flowd.values.record import Gap


def make(clock: Clock = testing.clock) -> tuple[Misses, Stream[Any]]:
    stream = testing.stream("outages", record=Outage)
    return Misses(Outages(stream, clock), clock), stream


async def test_what_was_missed_is_an_outage_of_the_component(autojump_clock: Any) -> None:
    misses, stream = make()
    await trio.sleep(10)

    misses.note("volume", "orders", Gap(101, 1000), testing.START_MS)

    now_ms = testing.START_MS + 10_000
    (record,) = stream.after(0)
    assert record.value == Outage(
        "volume", testing.START_MS, now_ms, "missed 900 records of orders (101 to 1000)"
    )
    assert misses.lately("volume") == "missed 900 records of orders"
    assert misses.lately("other") is None


async def test_it_is_told_for_an_hour_or_until_somebody_has_seen_it(autojump_clock: Any) -> None:
    misses, _ = make()
    misses.note("volume", "orders", Gap(1, 9), None)
    misses.note("totals", "orders", Gap(1, 9), None)

    misses.acknowledge("totals")
    told = misses.lately("volume"), misses.lately("totals")
    await trio.sleep(TOLD_S)

    assert told == ("missed 9 records of orders", None)
    assert misses.lately("volume") is None


async def test_what_is_missed_again_and_again_is_one_outage(autojump_clock: Any) -> None:
    misses, stream = make()

    counts = [misses.note("volume", "orders", gap, None) for gap in (Gap(1, 9), Gap(20, 29))]

    (record,) = stream.after(0)
    assert counts == [9, 10]
    assert record.value.reason == "missed 19 records of orders (1 to 29)"


async def test_what_is_missed_much_later_is_another_outage(autojump_clock: Any) -> None:
    misses, stream = make()
    misses.note("volume", "orders", Gap(1, 9), None)

    await trio.sleep(TOGETHER_MS / 1000 + 1)
    misses.note("volume", "orders", Gap(20, 29), None)

    assert len(stream.after(0)) == 2


async def test_what_two_cursors_missed_is_counted_once(autojump_clock: Any) -> None:
    misses, _ = make()

    counts = [misses.note("volume", "orders", gap, None) for gap in (Gap(1, 9), Gap(3, 12))]

    assert counts == [9, 3]
    assert misses.lately("volume") == "missed 12 records of orders"


async def test_a_table_that_is_full_says_what_falls_off(autojump_clock: Any) -> None:
    misses, stream = make()
    table = testing.stream("volume/sums", record=int, retain=3)
    table.on_full = lambda: misses.full("volume", "sums", 3)

    for number in range(8):
        table.append(number, key=f"key {number}")

    (record,) = stream.after(0)
    assert record.value.component == "volume"
    assert record.value.reason == "its table sums is full, at 3 keys: the oldest fall off"
    assert misses.lately("volume") == "its table sums is full, 5 keys fell off"


async def test_a_key_that_is_forgotten_or_replaced_is_no_loss(autojump_clock: Any) -> None:
    misses, stream = make()
    table = testing.stream("volume/sums", record=int, retain=3)
    table.on_full = lambda: misses.full("volume", "sums", 3)

    for number in range(8):
        table.append(number, key="same")
    table.forget("same")

    assert (stream.after(0), misses.lately("volume")) == ([], None)
