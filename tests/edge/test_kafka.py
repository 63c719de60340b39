"""The sink `kafka` and librdkafka's mock of a cluster, which another consumer asks what it has."""

import json
from collections.abc import Iterator
from contextlib import AbstractAsyncContextManager
from typing import Any

import pytest
import trio
from flowd_kafka import Config, kafka

from flowd import testing
from flowd.plugin import Desk, Secret, Stream, UserError
from tests.edge.carrying import (
    AGAIN,
    at_work,
    figures,
    fill,
    killed_again_and_again,
    problem,
    sent,
    well,
)
from tests.edge.conftest import Start
from tests.edge.exchange import Exchange
from tests.edge.mockkafka import (
    NOT_AUTHORIZED,
    NOT_ENOUGH_REPLICAS,
    TOO_LARGE,
    UNKNOWN_TOPIC,
    MockKafka,
)
from tests.edge.process import until

QUICK = 2.0
"""Seconds that the sink waits for an answer, where none comes."""


@pytest.fixture
def cluster() -> Iterator[MockKafka]:
    with MockKafka() as found:
        found.create("flowd.orders")
        yield found


def carried(
    cluster: MockKafka, *streams: Stream[Any], **options: Any
) -> AbstractAsyncContextManager[Desk]:
    """The sink at work on these streams; its desk."""
    names = [stream.name for stream in streams]
    config = Config(names, cluster.servers, timeout=options.pop("timeout", QUICK), **options)
    return at_work(kafka, config, *streams)


async def numbers(cluster: MockKafka, topic: str = "flowd.orders") -> list[Any]:
    """The numbers of its records, in their order, and what stands for a gap."""
    found = await cluster.read(topic)
    return [
        one.headers["Flowd-Gap"] if one.value is None else json.loads(one.value)["seq"]
        for one in found
    ]


def accounted(found: list[Any]) -> list[int]:
    """Every number that is there or told to be missing, as often as it is."""
    every: list[int] = []
    for one in found:
        first, last = (one, one) if isinstance(one, int) else map(int, one.split("-"))
        every += range(first, last + 1)
    return sorted(every)


async def test_each_record_is_one_of_kafka_s_with_its_json_its_key_and_its_position(
    cluster: MockKafka,
) -> None:
    table = testing.stream("orders")
    table.append("1", key="BTC")
    table.append("2", key="ETH")

    async with carried(cluster, table) as desk:
        await sent(desk, 2)

    found = await cluster.read("flowd.orders")
    assert [one.value for one in found] == [record.json for record in table.read(0).records]
    assert [one.key for one in found] == [b"BTC", b"ETH"]
    assert [one.position for one in found] == [f"{table.epoch}.1", f"{table.epoch}.2"]


async def test_who_starts_again_goes_on_where_the_cluster_is(cluster: MockKafka) -> None:
    stream = testing.stream("orders")
    fill(stream, 700)
    async with carried(cluster, stream) as desk:
        await sent(desk, 700)
    fill(stream, 700)

    async with carried(cluster, stream) as desk:
        await sent(desk, 700)

    assert desk.tally.published == 700
    assert await numbers(cluster) == [*range(1, 1401)]


async def test_while_the_cluster_is_gone_records_wait(cluster: MockKafka) -> None:
    stream = testing.stream("orders")
    fill(stream, 100)
    async with carried(cluster, stream) as desk:
        await sent(desk, 100)
        for _ in range(AGAIN):
            cluster.down()
            fill(stream, 100)

            said = await problem(desk, "refused")
            fill(stream, 100)
            cluster.up()
            await well(desk)

            assert cluster.servers in said
    assert await numbers(cluster) == [*range(1, 101 + 200 * AGAIN)]


async def test_a_cluster_that_is_slower_than_we_wait_gets_everything_once(
    cluster: MockKafka,
) -> None:
    stream = testing.stream("orders")
    fill(stream, 10)
    async with carried(cluster, stream) as desk:
        await sent(desk, 10)
        cluster.slow(5000)
        fill(stream, 200)
        await problem(desk, "not acknowledged")

        cluster.slow(0)
        await well(desk)

    assert await numbers(cluster) == [*range(1, 211)]


async def test_what_was_sent_and_not_acknowledged_is_waited_for_before_anything_else(
    cluster: MockKafka,
) -> None:
    stream = testing.stream("orders")
    fill(stream, 10)
    async with carried(cluster, stream) as desk:
        await sent(desk, 10)
        cluster.down()
        fill(stream, 10)
        await until(lambda: figures(desk), lambda found: found["retries"] >= 3)
        fill(stream, 10)
        cluster.up()
        await well(desk)

        # One producer: none had to be given up, so none can come late.
        assert desk.tally.connections == 1
    assert await numbers(cluster) == [*range(1, 31)]


async def test_where_there_are_too_few_replicas_for_a_while_it_is_sent_again(
    cluster: MockKafka,
) -> None:
    stream = testing.stream("orders")
    fill(stream, 50)
    cluster.refuse(*[NOT_ENOUGH_REPLICAS] * 3)

    async with carried(cluster, stream, timeout=5.0) as desk:
        await sent(desk, 50)

    assert desk.tally.connections == 1
    assert await numbers(cluster) == [*range(1, 51)]


async def test_what_is_refused_stops_what_is_behind_it(cluster: MockKafka) -> None:
    stream = testing.stream("orders")
    fill(stream, 300)
    cluster.refuse(NOT_AUTHORIZED)

    async with carried(cluster, stream) as desk:
        await problem(desk, "Topic authorization failed")
        await well(desk)

    assert desk.tally.connections == 2
    assert accounted(await numbers(cluster)) == [*range(1, 301)]


async def test_records_that_are_too_large_together_are_sent_one_by_one(cluster: MockKafka) -> None:
    stream = testing.stream("orders")
    fill(stream, 20)
    cluster.refuse(TOO_LARGE)

    async with carried(cluster, stream) as desk:
        await problem(desk, "too large")
        await well(desk)

    assert accounted(await numbers(cluster)) == [*range(1, 21)]


async def test_what_is_found_too_large_after_we_stopped_waiting_is_sent_one_by_one_too(
    cluster: MockKafka,
) -> None:
    stream = testing.stream("orders")
    fill(stream, 20)
    async with carried(cluster, stream, timeout=0.5, options={"linger.ms": 0}) as desk:
        await until(lambda: numbers(cluster), lambda found: len(found) == 20)
        await well(desk)
        cluster.slow(1500)
        cluster.refuse(TOO_LARGE)
        fill(stream, 20)
        await problem(desk, "not acknowledged")
        cluster.slow(0)
        await well(desk)

    # What was under way behind the refused one may be there; then that is told to be missing.
    assert accounted(await numbers(cluster)) == [*range(1, 41)]
    assert desk.tally.connections == 2


async def test_a_record_that_the_cluster_finds_too_large_by_itself_is_told_as_a_gap(
    cluster: MockKafka,
) -> None:
    stream = testing.stream("orders")
    fill(stream, 20)
    cluster.refuse(TOO_LARGE, TOO_LARGE)

    async with carried(cluster, stream) as desk:
        await problem(desk, "too large")
        await well(desk)

    assert await numbers(cluster) == ["1-1", *range(2, 21)]
    assert desk.tally.dropped == {"larger than Kafka takes": 1}


async def test_a_record_larger_than_librdkafka_takes_is_told_as_a_gap(cluster: MockKafka) -> None:
    stream = testing.stream("orders", ["small", "large" * 1000, "small"])

    async with carried(cluster, stream, options={"message.max.bytes": 4096}) as desk:
        await sent(desk, 3)

    assert await numbers(cluster) == [1, "2-2", 3]


async def test_what_fell_off_before_it_was_sent_is_told_as_a_gap(cluster: MockKafka) -> None:
    early, stream = testing.stream("orders"), testing.stream("orders", retain=10)
    fill(early, 5)
    fill(stream, 105)
    async with carried(cluster, early) as desk:
        await sent(desk, 5)

    async with carried(cluster, stream) as desk:
        await sent(desk, 10)

    assert await numbers(cluster) == [*range(1, 6), "6-95", *range(96, 106)]


async def test_a_key_that_is_forgotten_is_a_record_without_a_value(cluster: MockKafka) -> None:
    table = testing.stream("orders")
    table.append("1", key="BTC")
    table.append("2", key="ETH")
    async with carried(cluster, table) as desk:
        await sent(desk, 2)
        table.forget("BTC")
        found = await until(lambda: cluster.read("flowd.orders"), lambda found: len(found) == 3)

    assert (found[-1].key, found[-1].value) == (b"BTC", None)
    assert found[-1].position == f"{table.epoch}.2"


async def test_a_topic_that_somebody_else_fills_is_left_alone(cluster: MockKafka) -> None:
    cluster.write("flowd.orders", b"{}")

    async with carried(cluster, testing.stream("orders", ["a"])) as desk:
        await problem(desk, "flowd did not write")

    assert [one.value for one in await cluster.read("flowd.orders")] == [b"{}"]


async def test_where_another_daemon_has_written_meanwhile_it_is_said_at_the_next_trouble(
    cluster: MockKafka,
) -> None:
    ours = testing.stream("orders", ["ours"])
    theirs: Stream[Any] = Stream("orders", str, clock=testing.clock, epoch="other")
    theirs.append("theirs")
    async with carried(cluster, ours) as desk:
        await sent(desk, 1)
        async with carried(cluster, theirs) as other:
            await sent(other, 1)
        cluster.refuse(NOT_AUTHORIZED)
        ours.append("ours again")

        await problem(desk, "another daemon writes")

    found = [json.loads(one.value or b"")["value"] for one in await cluster.read("flowd.orders")]
    assert found == ["ours", "theirs"]


async def test_several_streams_are_carried_when_one_of_them_is_refused(cluster: MockKafka) -> None:
    streams = [testing.stream(f"s{number}") for number in range(4)]
    for stream in streams:
        cluster.create(f"flowd.{stream.name}")
        fill(stream, 200)
    cluster.refuse(NOT_AUTHORIZED)

    async with carried(cluster, *streams) as desk:
        await problem(desk)
        await well(desk)

    for stream in streams:
        found = await numbers(cluster, f"flowd.{stream.name}")
        assert accounted(found) == [*range(1, 201)]


async def test_an_option_that_librdkafka_does_not_know_is_said(cluster: MockKafka) -> None:
    with pytest.RaisesGroup(pytest.RaisesExc(UserError, match="no.such"), flatten_subgroups=True):
        async with carried(
            cluster, testing.stream("orders"), options={"no.such": Secret("here", "x")}
        ):
            await trio.sleep_forever()


async def test_a_topic_that_is_not_there_is_said_and_waited_for(cluster: MockKafka) -> None:
    cluster.spoil("flowd.orders", UNKNOWN_TOPIC)
    async with carried(cluster, testing.stream("orders", ["a"])) as desk:
        await problem(desk, "create it with one partition")

        cluster.spoil("flowd.orders", 0)
        await sent(desk, 1)

    assert await numbers(cluster) == [1]


async def test_of_a_topic_with_many_partitions_the_first_has_the_whole_order(
    cluster: MockKafka,
) -> None:
    cluster.create("flowd.many", partitions=4)
    table = testing.stream("many")
    for number in range(50):
        table.append(number, key=f"key-{number}")

    async with carried(cluster, table) as desk:
        await sent(desk, 50)

    assert await numbers(cluster, "flowd.many") == [*range(1, 51)]


async def test_it_ends_at_once_though_records_wait_for_a_cluster_that_is_gone(
    cluster: MockKafka,
) -> None:
    stream = testing.stream("orders", ["a"])
    async with carried(cluster, stream) as desk:
        await sent(desk, 1)
        cluster.down()
        fill(stream, 500)
        await problem(desk)
        began = trio.current_time()

    assert trio.current_time() - began < 2.0


async def test_a_daemon_that_is_killed_leaves_nothing_out_and_nothing_twice(
    flowd: Start, exchange: Exchange, cluster: MockKafka
) -> None:
    sink = f'[sinks.kafka]\nkind = "kafka"\nservers = "{cluster.servers}"\ninputs = ["orders"]\n'

    async def there() -> list[Any]:
        return [json.loads(one.value or b"") for one in await cluster.read("flowd.orders")]

    await killed_again_and_again(flowd(extra=sink), exchange, there)
