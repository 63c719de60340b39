"""A stream as it is copied from Redis: the same bytes under the same numbers, and never over a hole
that nobody told.
"""

from collections.abc import Iterator
from random import Random
from typing import Any

import pytest
from attrs import frozen
from flowd_redis.copying import Anew, Copying, Hole

from flowd import testing
from flowd.plugin import Gap, Mirror, Mirrored, Record, UpstreamError
from flowd.stream.held import Retain
from flowd.stream.log import Stream
from tests.plugins.redis_kit import Shelf


@frozen
class Order:
    name: str
    number: int = 0


def ingest(*, retain: int = 100) -> Stream[Order]:
    """The stream at the ingest daemon."""
    return Stream("orders", Order, clock=testing.clock, epoch="e1", retain=Retain(retain))


def edge(*, retain: int = 100, epoch: str = "e1") -> Stream[Order]:
    """The stream here."""
    stream = Stream(
        "orders", Order, clock=testing.clock, epoch=epoch, retain=Retain(retain), mirrored=True
    )
    return stream


def copying(stream: Stream[Order], *, table: bool = False) -> Copying:
    return Copying(Mirror(stream, Mirrored("Order", stream.epoch, table=table)))


def told(stream: Stream[Any]) -> list[bytes]:
    """What readers get, byte by byte."""
    return [record.json for record in stream.after(0)]


def orders(stream: Stream[Order], count: int, *, keys: int | None = None) -> None:
    for number in range(count):
        key = None if keys is None else f"k{number % keys}"
        stream.append(Order(f"o{stream.seq}", stream.seq), key=key)


async def test_a_history_is_here_as_it_is_there() -> None:
    there, here, redis = ingest(), edge(), Shelf()
    orders(there, 10)
    redis.begin("orders")
    redis.carry(there)

    await copying(here).fill(redis)

    assert told(here) == told(there)
    assert here.head == there.head


async def test_what_comes_is_taken_as_it_comes() -> None:
    there, here, redis = ingest(), edge(), Shelf()
    redis.begin("orders")
    copy = copying(here)
    await copy.fill(redis)

    for _ in range(5):
        orders(there, 2)
        redis.carry(there, after=there.seq - 2)
        await copy.apply(await redis.page("orders", "e1", copy.at))

    assert told(here) == told(there)
    assert copy.last_ms == there.after(0)[-1].time_ms


async def test_a_second_fill_takes_nothing_twice() -> None:
    there, here, redis = ingest(), edge(), Shelf()
    orders(there, 10)
    redis.begin("orders")
    redis.carry(there)
    await copying(here).fill(redis)
    orders(there, 3)
    redis.carry(there, after=10)

    await copying(here).fill(redis)

    assert told(here) == told(there)


async def test_who_begins_behind_what_redis_let_go_of_begins_there() -> None:
    there, here, redis = ingest(), edge(), Shelf()
    orders(there, 10)
    redis.begin("orders")
    redis.carry(there)
    redis.trim("orders", 4)

    await copying(here).fill(redis)

    assert told(here) == told(there)[6:]
    assert here.read(2).gap == Gap(3, 6)
    assert here.read(6).gap is None


async def test_what_redis_let_go_of_meanwhile_is_told_exactly() -> None:
    there, here, redis = ingest(), edge(), Shelf()
    orders(there, 3)
    redis.begin("orders")
    redis.carry(there)
    await copying(here).fill(redis)
    orders(there, 10)
    redis.carry(there, after=3)
    redis.trim("orders", 4)

    await copying(here).fill(redis)

    assert here.read(3).gap == Gap(4, 9)
    assert told(here) == told(there)[9:]


async def test_where_all_has_become_too_old_all_is_missing() -> None:
    there, here, redis = ingest(), edge(), Shelf()
    orders(there, 3)
    redis.begin("orders")
    redis.carry(there)
    await copying(here).fill(redis)
    orders(there, 5)
    redis.carry(there, after=3)
    redis.trim("orders", 0)

    copy = copying(here)
    await copy.fill(redis)

    assert (here.head, here.read(3).gap) == (there.head, Gap(4, 8))
    assert copy.at == b"8-0"


async def test_a_first_batch_hides_no_hole() -> None:
    """What an ingest daemon sends after Redis was emptied says that nothing came before it."""
    there, here, redis = ingest(retain=4), edge(), Shelf()
    orders(there, 3)
    redis.begin("orders")
    redis.carry(there)
    await copying(here).fill(redis)
    orders(there, 7)
    redis.begin("orders")
    redis.carry(there)

    await copying(here).fill(redis)

    assert redis.kept["orders"].entries[0][1][b"after"] == b"0"
    assert here.read(3).gap == Gap(4, 6)
    assert told(here) == told(there)


async def test_what_the_ingest_could_not_send_is_a_gap() -> None:
    there, here, redis = ingest(), edge(), Shelf()
    orders(there, 8)
    redis.begin("orders")
    for record in there.after(0, upto=3):
        redis.write("orders", record)
    redis.gap("orders", 4, 6)
    redis.carry(there, after=6)
    copy = copying(here)

    await copy.fill(redis)

    assert here.read(3).gap == Gap(4, 6)
    assert told(here) == told(there)[6:]


async def test_redis_that_lost_its_data_takes_nothing_away() -> None:
    there, here, redis = ingest(), edge(), Shelf()
    orders(there, 10)
    redis.begin("orders")
    redis.carry(there)
    await copying(here).fill(redis)
    before = told(here)
    redis.kept.clear()

    copy = copying(here)
    await copy.fill(redis)
    redis.begin("orders")
    for record in there.after(0, upto=5):
        redis.write("orders", record)
    await copy.fill(redis)
    redis.carry(there, after=5)
    orders(there, 1)
    redis.carry(there, after=10)
    await copy.apply(await redis.page("orders", "e1", copy.at))

    assert before == told(there)[:10]
    assert told(here) == told(there)
    assert here.floor == 0


async def test_another_epoch_begins_all_anew() -> None:
    redis = Shelf()
    redis.begin("orders", epoch="e2")

    with pytest.raises(Anew, match="orders is numbered anew, in epoch e2"):
        await copying(edge()).fill(redis)


@pytest.mark.parametrize("filled", [False, True])
async def test_what_was_empty_turns_out_a_table(filled: bool) -> None:
    there, here, redis = ingest(), edge(), Shelf()
    redis.begin("orders")
    copy = copying(here)
    await copy.fill(redis)
    orders(there, 9, keys=4)
    redis.begin("orders", table=True)
    redis.carry(there)

    if filled:
        await copy.fill(redis)
    else:
        await copy.apply(redis.kept["orders"].entries)

    assert told(here) == told(there)
    assert here.read(0).gap is None


@pytest.mark.parametrize(
    "bad",
    [
        {b"json": b"{}"},
        {b"json": b'{"seq":4,"time_ms":1,"value":{"name":7,"number":"x"}}'},
        {b"json": b'{"seq":9,"time_ms":1,"value":{"name":"a","number":1}}'},
    ],
)
async def test_what_does_not_fit_is_a_gap_of_its_own(bad: dict[bytes, bytes]) -> None:
    there, here, redis = ingest(), edge(), Shelf()
    orders(there, 6)
    redis.begin("orders")
    redis.carry(there)
    redis.kept["orders"].entries[3] = (b"4-0", bad)
    copy = copying(here)

    await copy.fill(redis)

    assert copy.malformed == 1
    assert here.read(3).gap == Gap(4, 4)
    assert told(here) == told(there)[4:]


# -- tables --


async def test_a_table_is_filled_with_its_newest_records() -> None:
    there, here, redis = ingest(), edge(), Shelf()
    orders(there, 30, keys=7)
    redis.begin("orders", table=True)
    redis.carry(there)
    redis.trim("orders", 2)

    await copying(here, table=True).fill(redis)

    assert told(here) == told(there)
    assert here.head == there.head


async def test_a_table_whose_entries_fell_out_of_redis_is_filled_from_its_hash() -> None:
    there, here, redis = ingest(), edge(), Shelf()
    orders(there, 10, keys=5)
    redis.begin("orders", table=True)
    redis.carry(there)
    copy = copying(here, table=True)
    await copy.fill(redis)
    orders(there, 10, keys=3)
    redis.carry(there, after=10)
    there.forget("k4")
    redis.forget("orders", "k4")
    redis.trim("orders", 3)

    with pytest.raises(Hole):
        await copy.apply(await redis.page("orders", "e1", copy.at))
    await copy.fill(redis)

    assert told(here) == told(there)
    assert here.read(10).gap is None


async def test_what_is_forgotten_there_is_forgotten_here() -> None:
    there, here, redis = ingest(), edge(), Shelf()
    orders(there, 6, keys=3)
    redis.begin("orders", table=True)
    redis.carry(there)
    copy = copying(here, table=True)
    await copy.fill(redis)
    there.forget("k1")
    redis.forget("orders", "k1")

    await copy.apply(await redis.page("orders", "e1", copy.at))

    assert told(here) == told(there)
    assert here.get("k1") is None


async def test_a_key_that_came_again_is_not_forgotten_by_an_older_word() -> None:
    there, here, redis = ingest(), edge(), Shelf()
    orders(there, 6, keys=3)
    redis.begin("orders", table=True)
    redis.carry(there)
    there.forget("k1")
    redis.forget("orders", "k1")
    there.append(Order("again"), key="k1")
    redis.carry(there, after=6)

    copy = copying(here, table=True)
    await copy.fill(redis)
    copy.at = b"0-0"
    await copy.apply(redis.kept["orders"].entries)

    assert told(here) == told(there)


async def test_what_was_forgotten_while_redis_had_nothing_is_forgotten_by_the_next_fill() -> None:
    there, here, redis = ingest(), edge(), Shelf()
    orders(there, 6, keys=3)
    redis.begin("orders", table=True)
    redis.carry(there)
    copy = copying(here, table=True)
    await copy.fill(redis)
    there.forget("k1")
    redis.begin("orders", table=True)
    redis.carry(there)

    await copy.fill(redis)

    assert told(here) == told(there)


async def test_a_hash_that_changes_while_it_is_read_loses_nothing() -> None:
    there, here, redis = ingest(), edge(), Shelf()
    orders(there, 12, keys=6)
    redis.begin("orders", table=True)
    redis.carry(there)

    def meanwhile() -> None:
        # A key that was read already, one that was not, a new one, and one that goes.
        for key in ("k0", "k5", "new", "k0"):
            there.append(Order(key, there.seq), key=key)
            redis.carry(there, after=there.seq - 1)
        there.forget("k1")
        redis.forget("orders", "k1")

    redis.during.append(meanwhile)
    await copying(here, table=True).fill(redis)

    assert told(here) == told(there)
    assert here.head == there.head


async def test_a_table_whose_hash_is_not_whole_is_not_taken_for_all() -> None:
    there, redis = ingest(), Shelf()
    orders(there, 12, keys=6)
    redis.begin("orders", table=True)
    redis.carry(there)
    redis.kept["orders"].table.popitem()

    with pytest.raises(UpstreamError, match="its table has 5 keys, and should have 6"):
        await copying(edge(), table=True).fill(redis)


async def test_a_table_that_redis_lets_go_of_too_fast_is_an_error_and_no_endless_loop() -> None:
    there, redis = ingest(), Shelf()
    orders(there, 12, keys=6)
    redis.begin("orders", table=True)
    redis.carry(there)

    def meanwhile() -> None:
        orders(there, 5, keys=2)
        redis.carry(there, after=there.seq - 5)
        redis.trim("orders", 1)
        redis.during.append(meanwhile)

    redis.during.append(meanwhile)

    with pytest.raises(UpstreamError, match="cannot be read whole"):
        await copying(edge(), table=True).fill(redis)


@pytest.mark.parametrize("seed", range(60))
@pytest.mark.parametrize("table", [False, True], ids=["history", "table"])
async def test_whatever_happens_every_number_is_here_once_or_told_missing(
    seed: int, table: bool
) -> None:
    random = Random(seed)
    there, here, redis = (
        ingest(retain=random.randrange(5, 40)),
        edge(),
        Shelf(random.randrange(1, 9)),
    )
    redis.begin("orders", table=table)
    copy, sent, lives = copying(here, table=table), 0, 0
    everything: dict[int, Record[Order]] = {}
    level = reader(here)

    for _ in range(200):
        step = random.random()
        if step < 0.45:
            keys = random.randrange(1, 9) if table else None
            orders(there, random.randrange(1, 5), keys=keys)
            everything |= {record.seq: record for record in there.after(0)}
        elif step < 0.5 and table and len(there):
            key = random.choice([record.key for record in there.after(0) if record.key])
            redis.carry(there, after=sent)
            sent = there.seq
            there.forget(key)
            redis.forget("orders", key)
        elif step < 0.7:
            fallen = there.read(sent).gap
            if fallen is not None:
                redis.gap("orders", fallen.first, fallen.last)
                sent = fallen.last
            redis.carry(there, after=sent)
            sent = there.seq
        elif step < 0.75:
            redis.trim("orders", random.randrange(0, 10))
        elif step < 0.77:
            redis.begin("orders", table=table)
            sent = 0
        elif step < 0.8:
            copy = copying(here, table=table)
            await copy.fill(redis)
            lives += 1
        else:
            try:
                await copy.apply(await redis.page("orders", "e1", copy.at))
            except Hole:
                await copy.fill(redis)
        next(level)

    for record in here.after(0):
        assert record.json == everything[record.seq].json
    redis.carry(there, after=sent)
    await copying(here, table=table).fill(redis)
    next(level)
    assert here.head == there.head
    if table:
        assert told(here) == told(there)
    assert lives > 0


def reader(stream: Stream[Order]) -> Iterator[None]:
    """One who is level: it sees each number once, or is told that it will not."""
    at = 0
    while True:
        batch = stream.read(at)
        numbers = [record.seq for record in batch.records]
        if batch.gap is not None:
            assert batch.gap.first == at + 1
            at = batch.gap.last
        for seq in numbers:
            assert seq > at
            if all(record.key is None for record in batch.records):
                assert seq == at + 1, f"{at + 1} is missing, and nobody said so"
            at = seq
        at = max(at, batch.position.seq)
        yield
