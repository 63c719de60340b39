"""The history as it is asked for: what lies in a range, page by page, none twice, none left out."""

import base64
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import flowd_history
import pytest
import trio
from attrs import evolve
from flowd_history import query
from flowd_history.query import LIMIT_MAX, File, moment, parse, token
from flowd_history.store import Store
from hypothesis import given, settings
from hypothesis import strategies as st

from flowd import testing
from flowd.history import LIMIT, Query
from flowd.market import Liquidation
from flowd.plugin import BadRequest, Outage, codec
from tests.plugins.recorded import Bar, T, order, orders, page, record
from tests.plugins.test_history import BY_HAND, publish, written

COUNT = 60


def several_at_a_time(number: int) -> Liquidation:
    """Orders of which up to four share one millisecond."""
    return evolve(order(number), time_ms=T + number // 4)


VALUES = [several_at_a_time(number) for number in range(COUNT)]


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with sixty orders of three symbols, for all tests that only read."""
    path = tmp_path_factory.mktemp("kept") / "history.db"
    trio.run(_fill, path)
    return path


async def _fill(path: Path) -> None:
    await record(path, testing.stream("orders", VALUES, record=Liquidation))


def asked(**wanted: str) -> Query:
    return parse("orders", Liquidation, wanted)


def found(path: Path, wanted: Query) -> list[int]:
    """Which orders a query answers, all pages of it."""
    numbers: list[int] = []
    while True:
        one = page(path, wanted)
        numbers += [int(codec.decode(json)["value"]["price"]) for _, json in one.records]
        if one.next is None:
            return numbers
        cursor = token(wanted, one.next)
        order = "desc" if wanted.newest_first else "asc"
        again = parse("orders", Liquidation, {"cursor": cursor, "order": order})
        wanted = evolve(wanted, place=again.place)


# -- what a client may ask --


@pytest.mark.parametrize(
    ("text", "ms"),
    [
        ("1790000000000", 1_790_000_000_000),
        ("0", 0),
        ("-1000", -1000),
        ("1970-01-02", 86_400_000),
        ("2026-09-21T13:33:20Z", 1_789_997_600_000),
        ("2026-09-21T13:33:20.123456", 1_789_997_600_123),
        ("2026-09-21T15:33:20+02:00", 1_789_997_600_000),
        ("2026-09-21T15:33:20 02:00", 1_789_997_600_000),
        ("2026-09-21 13:33", 1_789_997_580_000),
        ("1969-12-31T23:59:59.999Z", -1),
    ],
)
def test_a_time_is_milliseconds_or_iso_8601(text: str, ms: int) -> None:
    assert moment("start", text) == ms


@pytest.mark.parametrize(
    ("wanted", "parameter"),
    [
        ({"start": "yesterday"}, "start"),
        ({"start": "99999999999999999999"}, "start"),
        ({"end": ""}, "end"),
        ({"start": "2000", "end": "1000"}, "end"),
        ({"limit": "0"}, "limit"),
        ({"limit": "10001"}, "limit"),
        ({"limit": "-1"}, "limit"),
        ({"limit": "many"}, "limit"),
        ({"order": "up"}, "order"),
        ({"cursor": "x"}, "cursor"),
        ({"cursor": "€"}, "cursor"),
        ({"cursor": ""}, "cursor"),
        ({"side": "UP"}, "side"),
        ({"min_price": "much"}, "min_price"),
        ({"symbol": ","}, "symbol"),
        ({"colour": "red"}, "colour"),
        ({"after": "k3v9.1"}, "after"),
    ],
)
def test_a_mistake_is_told_with_what_is_allowed(wanted: dict[str, str], parameter: str) -> None:
    with pytest.raises(BadRequest) as mistake:
        asked(**wanted)

    assert mistake.value.parameter == parameter
    assert mistake.value.value == wanted[parameter]
    assert mistake.value.allowed


def test_who_asks_for_something_unknown_is_told_all_that_there_is() -> None:
    with pytest.raises(BadRequest) as mistake:
        asked(colour="red")

    assert {"start", "end", "order", "limit", "cursor", "symbol", "min_price"} <= {
        *mistake.value.allowed
    }


def test_a_cursor_is_of_one_stream_and_order_only() -> None:
    cursor = token(Query("orders"), (T, 5))

    assert asked(cursor=cursor).place == (T, 5)
    with pytest.raises(BadRequest):
        asked(cursor=cursor, order="desc")
    with pytest.raises(BadRequest):
        parse("fills", Liquidation, {"cursor": cursor})


@given(st.text(max_size=40))
def test_no_cursor_is_a_bug(text: str) -> None:
    with pytest.raises(BadRequest):
        asked(cursor=text)


@given(st.lists(st.one_of(st.integers(), st.text(), st.none(), st.floats()), max_size=5))
def test_no_forged_cursor_is_a_bug(parts: list[object]) -> None:
    forged = base64.urlsafe_b64encode(codec.encode(["orders", "asc", *parts])).decode()
    try:
        place = asked(cursor=forged).place
    except BadRequest:
        return

    assert [type(part) for part in place or ()] == [int, int]


# -- ranges and pages --


def test_the_start_is_included_and_the_end_is_not(kept: Path) -> None:
    assert found(kept, asked(start=str(T + 1), end=str(T + 3))) == list(range(4, 12))
    assert found(kept, asked(start=str(T + 3), end=str(T + 3))) == []


def test_without_a_range_all_is_answered_oldest_first(kept: Path) -> None:
    assert found(kept, asked()) == list(range(COUNT))


def test_a_page_has_a_thousand_records_unless_asked_otherwise() -> None:
    assert asked().limit == LIMIT == 1000
    assert asked(limit="10000").limit == LIMIT_MAX


@settings(max_examples=150, deadline=None)
@given(
    st.integers(1, COUNT + 1),
    st.sampled_from(["asc", "desc"]),
    st.sampled_from(["", "BTCUSDT", "ETHUSDT,BTCUSDT", "BTCUSDT,ETHUSDT,SOLUSDT", "XRPUSDT"]),
    st.none() | st.integers(-1, COUNT // 4 + 1),
    st.none() | st.integers(-1, COUNT // 4 + 1),
    st.none() | st.integers(0, COUNT),
    st.integers(1, COUNT + 1),
)
def test_the_pages_together_are_the_range_each_record_once(
    kept: Path,
    limit: int,
    order: str,
    symbols: str,
    start: int | None,
    end: int | None,
    min_price: int | None,
    scan: int,
) -> None:
    wanted = {"limit": str(limit), "order": order}
    expected = VALUES
    if symbols:
        wanted["symbol"] = symbols
        expected = [value for value in expected if value.symbol in symbols.split(",")]
    if start is not None:
        wanted["start"] = str(T + start)
        expected = [value for value in expected if value.time_ms >= T + start]
    if end is not None and (start is None or end >= start):
        wanted["end"] = str(T + end)
        expected = [value for value in expected if value.time_ms < T + end]
    if min_price is not None:
        wanted["min_price"] = str(min_price)
        expected = [value for value in expected if value.price >= min_price]

    numbers = found(kept, evolve(asked(**wanted), scan=scan))

    assert numbers == [int(one.price) for one in (expected[::-1] if order == "desc" else expected)]


def test_a_page_is_full_as_long_as_there_is_more(kept: Path) -> None:
    first = page(kept, asked(limit="7"))
    last = page(kept, asked(limit=str(COUNT)))

    assert (len(first.records), first.next is None) == (7, False)
    assert (len(last.records), last.next) == (COUNT, None)


def test_a_filter_that_few_fit_makes_a_short_page_that_says_where_to_go_on(kept: Path) -> None:
    one = page(kept, evolve(asked(min_price="59"), scan=50))

    assert one.records == []
    assert one.next is not None
    assert found(kept, evolve(asked(min_price="59"), scan=50)) == [59]


async def test_a_cursor_survives_a_restart_and_what_comes_meanwhile(tmp_path: Path) -> None:
    path = tmp_path / "history.db"
    await record(path, orders(10))
    first = page(path, asked(limit="4"))
    assert first.next is not None
    await record(path, orders(20))

    rest = found(path, evolve(asked(), place=first.next))

    assert rest == list(range(4, 20))


async def test_a_cursor_stays_good_when_what_it_points_to_is_forgotten(tmp_path: Path) -> None:
    path = tmp_path / "history.db"
    await record(path, orders(20))
    first = page(path, asked(limit="4"))
    with closing(sqlite3.connect(path)) as other:
        other.execute("DELETE FROM orders WHERE seq <= 10")
        other.commit()

    assert found(path, evolve(asked(), place=first.next)) == list(range(10, 20))


async def test_records_that_come_late_are_at_their_time(tmp_path: Path) -> None:
    path = tmp_path / "history.db"
    values = [order(3), order(1), order(2)]

    await record(path, testing.stream("orders", values, record=Liquidation))

    assert found(path, asked()) == [1, 2, 3]


async def test_a_record_that_no_longer_fits_its_class_is_served_but_not_filtered(
    tmp_path: Path,
) -> None:
    path = tmp_path / "history.db"
    orders = testing.stream("orders", [Bar("BTCUSDT", 1), order(1)])
    orders.record = Liquidation
    await record(path, orders)

    everything = page(path, asked())
    filtered = page(path, asked(side="SELL"))

    assert len(everything.records) == 2
    assert len(filtered.records) == 1


@pytest.mark.parametrize(
    ("wanted", "index"),
    [
        ({}, "(time_ms"),
        ({"start": "1", "cursor": token(Query("orders"), (T, 5))}, "(time_ms>?"),
        ({"symbol": "BTCUSDT"}, "(symbol=?"),
        ({"symbol": "BTCUSDT", "start": "1", "end": "2"}, "(symbol=? AND time_ms>? AND time_ms<?"),
        ({"symbol": "A,B", "order": "desc"}, "(symbol=?"),
    ],
)
def test_every_query_is_answered_by_an_index(
    kept: Path, wanted: dict[str, str], index: str
) -> None:
    with query.reading(kept) as connection:
        for sql, values in query._selects(asked(**wanted), "json", ordered=True):
            ((*_, plan),) = connection.execute(f"EXPLAIN QUERY PLAN {sql}", values)

            assert "USING INDEX" in plan
            assert index in plan or not wanted


def test_a_writer_does_not_hold_up_a_reader_nor_the_other_way_round(kept: Path) -> None:
    with closing(sqlite3.connect(kept, isolation_level=None, timeout=0)) as writer:
        writer.execute("BEGIN IMMEDIATE")
        writer.execute("UPDATE orders SET symbol = 'X'")

        with query.reading(kept) as connection:
            read = query.page(connection, asked(symbol="BTCUSDT"))
            writer.execute("ROLLBACK")

    assert len(read.records) == 20


def test_who_reads_cannot_write(kept: Path) -> None:
    with query.reading(kept) as connection, pytest.raises(sqlite3.OperationalError, match="readon"):
        connection.execute("DELETE FROM orders")


# -- gaps --


@pytest.fixture
def gappy(tmp_path: Path) -> Path:
    """A file with orders at 0, 10, ... 90 ms, and gaps between 20 and 30, and after 70."""
    path = tmp_path / "history.db"

    async def fill() -> None:
        await record(path, orders(10))

    trio.run(fill)
    with closing(sqlite3.connect(path)) as other:
        for seq, since, until in ((1, T + 20, T + 30), (2, T + 70, None)):
            other.execute(
                'INSERT INTO "flowd:gaps" VALUES (?, ?, ?, ?, ?, ?, ?)',
                ["orders", "test", seq, seq, since, until, "because"],
            )
        other.commit()
    return path


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ({}, [1, 2]),
        ({"end": str(T + 10)}, []),
        ({"end": str(T + 25)}, [1]),
        ({"start": str(T + 25), "end": str(T + 26)}, [1]),
        ({"start": str(T + 31)}, [2]),
        ({"limit": "2"}, []),
        ({"limit": "3"}, [1]),
        ({"limit": "1", "cursor": token(Query("orders"), (T + 20, 3))}, [1]),
        ({"limit": "1", "cursor": token(Query("orders"), (T + 40, 5))}, []),
        ({"order": "desc", "limit": "2"}, [2]),
        ({"order": "desc", "limit": "8"}, [1, 2]),
    ],
)
def test_a_page_tells_the_gaps_that_touch_it(
    gappy: Path, wanted: dict[str, str], expected: list[int]
) -> None:
    assert [gap["first"] for gap in page(gappy, asked(**wanted)).gaps] == expected


# -- over HTTP --

DAEMON = """
[sources.orders]
kind = "by-hand"
[sources.fills]
kind = "by-hand"
[sinks.history]
kind = "history"
inputs = ["orders", "outages"]
path = "{folder}/history.db"
every = 0
[sinks.more]
kind = "history"
inputs = ["fills"]
path = "{folder}/more.db"
every = 0
"""


def serving(folder: Path) -> Any:
    kinds = testing.registry(BY_HAND, flowd_history)
    return testing.daemon(DAEMON.format(folder=folder), registry=kinds)


async def test_a_client_gets_the_records_as_they_were_served_live(tmp_path: Path) -> None:
    async with serving(tmp_path) as daemon:
        publish(daemon, *range(5))
        await written(daemon, 4)

        answer = await daemon.get("/streams/orders/history?limit=2")

        live = [codec.decode(record.json) for record in daemon.streams["orders"].after(0)]
    body = answer.json()
    assert answer.headers["content-type"] == "application/json"
    assert list(body) == ["stream", "records", "next", "gaps"]
    assert (body["stream"], body["records"], body["gaps"]) == ("orders", live[:2], [])
    assert isinstance(body["next"], str)


async def test_a_client_follows_next_to_the_end(tmp_path: Path) -> None:
    async with serving(tmp_path) as daemon:
        publish(daemon, *range(25))
        await written(daemon, 24)
        numbers: list[int] = []
        cursor, pages = "", 0

        while cursor is not None:
            more = f"&cursor={cursor}" if cursor else ""
            target = f"/streams/orders/history?limit=10&order=desc&side=SELL{more}"
            body = (await daemon.get(target)).json()
            numbers += [int(row["value"]["price"]) for row in body["records"]]
            cursor, pages = body["next"], pages + 1

    assert numbers == list(range(24, -1, -1))
    assert pages == 3


async def test_a_client_who_asks_wrongly_is_told_what_is_right(tmp_path: Path) -> None:
    async with serving(tmp_path) as daemon:
        answer = await daemon.get("/streams/orders/history?start=soon")

    error = answer.json()["error"]
    assert answer.status == 400
    assert (error["parameter"], error["value"]) == ("start", "soon")
    assert "ISO 8601" in error["allowed"]


async def test_a_stream_that_is_not_kept_has_no_history(tmp_path: Path) -> None:
    async with serving(tmp_path) as daemon:
        answer = await daemon.get("/streams/nope/history")

    error = answer.json()["error"]
    assert (answer.status, error["code"]) == (404, "UNKNOWN_STREAM")
    assert "orders" in error["allowed"]


async def test_two_histories_serve_their_own_streams(tmp_path: Path) -> None:
    async with serving(tmp_path) as daemon:
        publish(daemon, 1)
        await written(daemon, 1)

        answers = [
            await daemon.get(f"/streams/{name}/history") for name in ("orders", "outages", "fills")
        ]

    assert [answer.status for answer in answers] == [200, 200, 200]
    assert [len(answer.json()["records"]) for answer in answers] == [1, 0, 0]


async def test_outages_are_history_too(tmp_path: Path) -> None:
    async with serving(tmp_path) as daemon:
        daemon.outages.open("orders", "thunder")

    with query.reading(tmp_path / "history.db") as connection:
        kept = query.page(connection, parse("outages", Outage, {"component": "orders"}))
    (record,) = (codec.decode(json) for _, json in kept.records)
    assert (record["value"]["reason"], record["value"]["to_ms"]) == ("thunder", None)


async def test_a_history_that_cannot_be_read_says_so(tmp_path: Path) -> None:
    (tmp_path / "history.db").write_bytes(b"my diary, " * 1000)
    async with serving(tmp_path) as daemon:
        answer = await daemon.get("/streams/orders/history")

    error = answer.json()["error"]
    assert (answer.status, error["code"]) == (503, "UNAVAILABLE")


async def test_a_stream_that_the_sink_has_not_come_to_is_empty(tmp_path: Path) -> None:
    path = tmp_path / "history.db"
    store = Store(path)
    store.open()
    store.close()

    answer = codec.decode(query.answer(File(path), asked()))

    assert answer == {"stream": "orders", "records": [], "next": None, "gaps": []}
