"""The history in a real PostgreSQL: what is written, by how many, and what is read back."""

import os
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from pathlib import Path
from typing import Any

import psycopg
import pytest
from attrs import evolve
from flowd_history.columns import columns_of
from flowd_history.recorder import Pace, Recorder
from flowd_postgres import DATABASE
from flowd_postgres.reading import ROWS
from psycopg import sql

from flowd import testing
from flowd.history import Away, Page, Query, Settings, Store
from flowd.market import Liquidation
from flowd.plugin import Desk, Gap, Position, Record, Stream, UserError, codec, filters
from tests.edge.conftest import Start
from tests.edge.exchange import Exchange
from tests.edge.postgres import Cluster
from tests.edge.process import until
from tests.plugins.recorded import AT_ONCE, Bar, T, order, orders
from tests.plugins.test_history import again, table, testing_time

DAY_MS = 86_400_000


@pytest.fixture
def db(shared_cluster: Cluster) -> str:
    """A database of the test's own."""
    return shared_cluster.database()


@pytest.fixture
def spill(tmp_path: Path) -> Path:
    return tmp_path / "history.spill"


async def record(
    db: str, spill: Path, *streams: Stream[Any], pace: Pace = AT_ONCE, **options: Any
) -> Desk:
    """Close these streams, and write them to the database."""
    for stream in streams:
        stream.close()
    retain = {"retain_ms": options.pop("retain_ms", None)}
    desk = testing.desk()
    store = DATABASE.store(db, Settings(spill=spill, **options))
    names = [stream.name for stream in streams]
    await Recorder(
        store, names, testing.streams(*streams), desk, **retain, max_size=1024**3, pace=pace
    ).run()
    return desk


def page(db: str, wanted: Query | None = None, **options: Any) -> Page:
    with DATABASE.archive(db).reading() as reading:
        return reading.page(evolve(wanted or Query("orders", limit=10_000), **options))


def rows(db: str, stream: str = "orders", **options: Any) -> list[Any]:
    return [
        codec.decode(json) for _, json in page(db, Query(stream, limit=10_000, **options)).records
    ]


def seqs(db: str, stream: str = "orders", **options: Any) -> list[int]:
    return [row["seq"] for row in rows(db, stream, **options)]


def opened(db: str, spill: Path, **options: Any) -> Store:
    store = DATABASE.store(db, Settings(spill=spill, **options))
    store.open()
    return store


def made(seq: int, value: object, time_ms: int = T, key: str | None = None) -> Record[Any]:
    return Record(seq, time_ms, value, key)


# -- what is written --


async def test_what_a_stream_held_is_there_byte_for_byte(
    db: str, spill: Path, tmp_path: Path
) -> None:
    stream = orders(20)

    await record(db, spill, stream)

    assert [json for _, json in page(db).records] == [one.json for one in stream.after(0)]
    assert {epoch for epoch, _ in page(db).records} == {"test"}
    assert not os.listdir(tmp_path)


async def test_a_second_run_writes_nothing_twice(db: str, spill: Path) -> None:
    stream = orders(20)
    await record(db, spill, stream)

    await record(db, spill, stream)

    assert seqs(db) == list(range(1, 21))
    assert page(db).gaps == []


async def test_two_daemons_that_write_the_same_stream_write_nothing_twice(
    db: str, tmp_path: Path
) -> None:
    stream = orders(40)
    one, other = opened(db, tmp_path / "one"), opened(db, tmp_path / "other")
    for store in (one, other):
        store.add("orders", columns_of(Liquidation))
    records = stream.after(0)

    one.write("orders", Position("test", 20), records[:20])
    other.write("orders", Position("test", 40), records[:40])
    one.write("orders", Position("test", 30), records[20:30])

    assert seqs(db) == list(range(1, 41))
    late = opened(db, tmp_path / "late")
    late.add("orders", [])
    assert late.place("orders") == Position("test", 40)
    for store in (one, other, late):
        store.close()


async def test_what_another_daemon_wrote_is_not_missing(db: str, tmp_path: Path) -> None:
    records = orders(40).after(0)
    one, other = opened(db, tmp_path / "one"), opened(db, tmp_path / "other")
    for store in (one, other):
        store.add("orders", [])
    one.write("orders", Position("test", 20), records[:20])

    other.write("orders", Position("test", 30), records[20:30], gap=Gap(1, 20))
    other.write("orders", Position("test", 40), records[35:], gap=Gap(31, 35))

    (gap,) = page(db).gaps
    assert (gap["first"], gap["last"], gap["to_ms"]) == (31, 35, records[35].time_ms)
    one.close()
    other.close()


async def test_of_a_table_there_is_the_newest_of_each_key(db: str, spill: Path) -> None:
    bars = table(("BTC/1", 1), ("ETH/1", 2), ("BTC/1", 3))
    await record(db, spill, bars)
    bars = again(bars)
    bars.append(Bar("ETH", 4), key="ETH/1")

    await record(db, spill, bars)

    found = [(row["key"], row["value"]["total"]) for row in rows(db, "bars")]
    assert found == [("BTC/1", 3), ("ETH/1", 4)]


async def test_of_a_table_there_are_all_versions_where_that_is_wanted(db: str, spill: Path) -> None:
    bars = table(("BTC/1", 1), ("ETH/1", 2))
    await record(db, spill, bars, versions=True)
    bars = again(bars)
    bars.append(Bar("ETH", 4), key="ETH/1")

    await record(db, spill, bars, versions=True)

    found = [(row["key"], row["value"]["total"]) for row in rows(db, "bars")]
    assert found == [("BTC/1", 1), ("ETH/1", 2), ("ETH/1", 4)]
    with DATABASE.archive(db).reading() as reading:
        assert reading.is_keyed("bars")


async def test_a_stream_that_knows_less_after_a_crash_takes_nothing_back(
    db: str, spill: Path
) -> None:
    bars = table(("BTC/1", 1))
    before = again(bars, epoch="later")
    await testing_time()
    bars.append(Bar("BTC", 2), key="BTC/1")
    await record(db, spill, bars)

    await record(db, spill, before)

    assert [row["value"]["total"] for row in rows(db, "bars")] == [2]


async def test_after_a_crash_what_comes_again_is_known_by_its_id(db: str, spill: Path) -> None:
    await record(db, spill, orders(20))
    later = Stream("orders", Liquidation, clock=testing.clock, epoch="later")
    for number in range(18, 25):
        later.append(order(number))

    await record(db, spill, later)

    assert [int(row["value"]["price"]) for row in rows(db)] == list(range(25))
    (gap,) = page(db).gaps
    assert "without saving" in str(gap["reason"])
    assert gap["epoch"] == "later"


async def test_what_fell_off_before_it_was_written_is_a_gap(db: str, spill: Path) -> None:
    stream = orders(3, retain=5)
    await record(db, spill, again(stream))
    for number in range(3, 20):
        stream.append(order(number))

    await record(db, spill, stream)

    (gap,) = page(db).gaps
    last, first = (row["time_ms"] for row in rows(db)[2:4])
    assert seqs(db) == [1, 2, 3, 16, 17, 18, 19, 20]
    assert (gap["first"], gap["last"]) == (4, 15)
    assert (gap["from_ms"], gap["to_ms"]) == (last, first)


def test_a_record_that_it_does_not_take_costs_no_other(
    db: str, spill: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store = opened(db, spill)
    store.add("bars", [])
    records = [made(seq, Bar("BTC", seq)) for seq in range(1, 20)]
    records[7] = made(8, Bar("B" * 1_000_000, 8))  # more than an index takes, even packed
    records[7]._json = b'{"seq":8,"value":not json}'

    store.write("bars", Position("test", 19), records)

    assert seqs(db, "bars") == [seq for seq in range(1, 20) if seq != 8]
    assert store.figures()["refused"] == 1
    assert "does not take a record of bars" in caplog.text
    store.add("bars", [])
    assert store.place("bars") == Position("test", 19)
    store.close()


def test_a_text_with_a_nul_is_kept(db: str, spill: Path) -> None:
    store = opened(db, spill)
    store.add("bars", [])

    store.write("bars", Position("test", 1), [made(1, Bar("B\0C", 1), key="B\0C")])

    assert [row["value"]["symbol"] for row in rows(db, "bars", symbols=("B\0C",))] == ["B\0C"]
    store.close()


# -- days --


def test_each_day_has_a_partition_and_goes_as_a_whole(
    db: str, spill: Path, shared_cluster: Cluster
) -> None:
    store = opened(db, spill)
    store.add("bars", [])
    records = [made(seq, Bar("BTC", seq), T + seq * DAY_MS) for seq in range(1, 11)]
    store.write("bars", Position("test", 10), records)
    partitions = "SELECT count(*) FROM pg_inherits WHERE inhparent = 'flowd.records'::regclass"
    assert shared_cluster.ask(partitions, db) == [(10,)]

    while store.tidy(3 * DAY_MS, 1024**3):
        pass

    assert seqs(db, "bars") == [7, 8, 9, 10]
    assert shared_cluster.ask(partitions, db) == [(4,)]
    store.write("bars", Position("test", 11), [made(11, Bar("BTC", 11), T + DAY_MS)])
    assert seqs(db, "bars") == [11, 7, 8, 9, 10]
    store.close()


def test_who_keeps_for_an_hour_does_not_wait_for_the_day_to_end(db: str, spill: Path) -> None:
    store = opened(db, spill)
    store.add("bars", [])
    noon = T - T % DAY_MS + DAY_MS // 2
    records = [made(seq, Bar("BTC", seq), noon + seq * 60_000) for seq in range(1, 121)]
    store.write("bars", Position("test", 120), records)
    store.write("bars", Position("test", 121), [made(121, Bar("B", 0), noon, key="old")])

    while store.tidy(3_600_000, 1024**3):
        pass

    assert seqs(db, "bars") == list(range(60, 121))
    store.close()


def test_the_oldest_days_go_while_it_is_too_large_but_never_today(db: str, spill: Path) -> None:
    store = opened(db, spill)
    store.add("bars", [])
    records = [made(seq, Bar("BTC", seq), T + seq * DAY_MS) for seq in range(1, 6)]
    store.write("bars", Position("test", 5), records)

    while store.tidy(None, 1):
        pass

    assert seqs(db, "bars") == [5]
    store.close()


# -- versions of the tables --


def test_tables_of_a_newer_flowd_are_left_alone(
    db: str, spill: Path, shared_cluster: Cluster
) -> None:
    opened(db, spill).close()
    shared_cluster.ask("UPDATE flowd.version SET version = 99", db)

    with pytest.raises(UserError, match="written by a newer flowd"):
        opened(db, spill)


def test_a_database_of_another_encoding_is_refused(shared_cluster: Cluster, spill: Path) -> None:
    shared_cluster.ask("CREATE DATABASE latin TEMPLATE template0 ENCODING 'LATIN1'")

    with pytest.raises(UserError, match="LATIN1"):
        opened(shared_cluster.address("latin"), spill)


def test_several_daemons_may_make_the_tables_at_once(db: str, tmp_path: Path) -> None:
    def begin(number: int) -> Store:
        store = opened(db, tmp_path / str(number))
        store.add("bars", [])
        store.write("bars", Position("test", number), [made(number, Bar("BTC", number))])
        return store

    with ThreadPoolExecutor(6) as pool:
        stores = list(pool.map(begin, range(1, 7)))

    assert sorted(seqs(db, "bars")) == [1, 2, 3, 4, 5, 6]
    assert all(store.problem() is None for store in stores)
    for store in stores:
        store.close()


# -- what is read --


@pytest.fixture
def full(db: str, spill: Path) -> str:
    """A hundred orders, some of the same time, on three days."""
    store = opened(db, spill)
    store.add("orders", columns_of(Liquidation))
    values = [evolve(order(n), time_ms=T + n // 3 * 1000) for n in range(100)]
    records = [made(n + 1, value, T + n % 3 * DAY_MS + n) for n, value in enumerate(values)]
    store.write("orders", Position("test", 100), records)
    store.close()
    return db


@pytest.mark.parametrize("newest_first", [False, True])
@pytest.mark.parametrize("symbols", [(), ("BTCUSDT",), ("BTCUSDT", "SOLUSDT", "NONE")])
def test_pages_that_follow_each_other_are_the_whole_range(
    full: str, symbols: tuple[str, ...], newest_first: bool
) -> None:
    query = Query("orders", T + 2000, T + 30_000, symbols, 7, newest_first)
    found: list[Any] = []

    while True:
        one = page(full, query)
        found += [codec.decode(json)["value"] for _, json in one.records]
        assert len(one.records) == 7 or one.next is None
        if one.next is None:
            break
        query = evolve(query, place=one.next)

    wanted = [evolve(order(n), time_ms=T + n // 3 * 1000) for n in range(6, 90)]
    ids = [value.id for value in wanted if not symbols or value.symbol in symbols]
    times = [value["time_ms"] for value in found]
    assert sorted(value["id"] for value in found) == sorted(ids)
    assert times == sorted(times, reverse=newest_first)
    with DATABASE.archive(full).reading() as reading:
        assert reading.count(evolve(query, place=None)) == len(found)
        assert reading.symbols("orders") == ["BTCUSDT", "ETHUSDT", "SOLUSDT"]


def test_a_page_is_read_in_the_order_of_an_index_also_of_a_day_that_nobody_analyzed(
    full: str, shared_cluster: Cluster
) -> None:
    shared_cluster.ask(
        "INSERT INTO flowd.records (stream, recorded_ms, seq, time_ms, epoch, json) "
        f"SELECT 1, {T} + n, 1000 + n, {T} + n * 7919 % 50000, 'test', to_json(repeat('x', 200)) "
        "FROM generate_series(1, 50000) AS n",
        full,
    )
    with DATABASE.archive(full).reading() as reading:
        connection: psycopg.Connection = vars(reading)["_connection"]
        select = sql.SQL(ROWS).format(
            sql.Identifier("flowd", "records"),
            sql.SQL("stream = 1"),
            sql.SQL("ORDER BY time_ms, number LIMIT 1001"),
        )
        plan = [line for (line,) in connection.execute(sql.SQL("EXPLAIN ") + select)]

    assert sum("Index Scan using" in line for line in plan) == 3, plan


def test_a_filter_that_few_fit_makes_short_pages(full: str) -> None:
    filter = filters.parse(Liquidation, {"min_notional": "90"})
    query = Query("orders", filter=filter, record=Liquidation, scan=40, limit=5)

    pages = [first := page(full, query)]
    while (last := pages[-1]).next is not None:
        pages.append(page(full, evolve(query, place=last.next)))

    assert first.records == []
    found = [codec.decode(json)["value"]["price"] for one in pages for _, json in one.records]
    assert [Decimal(price) for price in found] == [Decimal(n) for n in range(90, 100)]


def test_volumes_are_sums_in_sql(full: str, shared_cluster: Cluster) -> None:
    found = shared_cluster.ask(
        f"SELECT * FROM flowd.volume('orders', 10000, {T}, {T + 20_000})", full
    )

    values = [evolve(order(n), time_ms=T + n // 3 * 1000) for n in range(60)]
    sums: dict[tuple[str, int], Decimal] = {}
    for value in values:
        bucket = value.symbol, value.time_ms - value.time_ms % 10_000
        sums[bucket] = sums.get(bucket, Decimal(0)) + value.notional
    assert {(row[0], row[1]): row[4] for row in found} == sums
    assert all(row[3] == 0 for row in found)


def test_a_database_without_tables_has_no_streams(db: str) -> None:
    with DATABASE.archive(db).reading() as reading:
        assert reading.kept() == {}


def test_a_reader_cannot_write(full: str) -> None:
    def write() -> None:
        with DATABASE.archive(full).reading() as reading:
            connection: psycopg.Connection = vars(reading)["_connection"]
            connection.execute("DELETE FROM flowd.records")

    with pytest.raises(Away, match="read-only"):
        write()


# -- the whole daemon --


async def test_a_daemon_keeps_its_history_there_and_says_when_it_cannot(
    cluster: Cluster, exchange: Exchange, flowd: Start
) -> None:
    sink = (
        '[sinks.history]\nkind = "history"\ninputs = ["orders"]\nspill = "waiting"\n'
        'database = { env = "HISTORY" }\n'
    )
    daemon = flowd(extra=sink, env={"HISTORY": cluster.database()})
    await daemon.start()
    told = exchange.say(30)
    await daemon.reached(told[-1])
    path = "/streams/orders/history?limit=1000"
    await until(lambda: daemon.get(path), lambda found: len(found.json["records"]) == 30)
    served = (await daemon.poll())["records"]
    assert (await daemon.get(path)).json["records"] == served

    cluster.stop()
    told = exchange.say(20)
    await daemon.reached(told[-1])

    health = await until(lambda: daemon.get("/health"), lambda found: found.status == 503)
    assert "cannot be written" in health.body.decode()
    away = await daemon.get(path)
    assert (away.status, away.error["code"]) == (503, "UNAVAILABLE")
    cluster.start()
    await until(lambda: daemon.get("/health"), lambda found: found.status == 200)
    assert len((await daemon.get(path)).json["records"]) == 50
