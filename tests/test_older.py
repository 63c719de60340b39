"""What an older flowd left behind is read: its state goes on in its epochs, its history keeps its
rows. Files are real, and so is the clock.
"""

import csv
import io
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal

import flowd_history
import pytest
from attrs import evolve, frozen
from flowd_history import query
from typer.testing import CliRunner

from flowd import testing
from flowd.market import Liquidation
from flowd.stream.cut import Cut
from flowd.stream.snapshot import Save
from flowd.stream.stores import SqliteStore
from flowd.values import codec
from flowd.values.record import Record
from tests.plugins import recorded

CONFIG = """
    [sources]
    orders = { kind = "binance-force-order", symbols = ["*"] }
    fills = { kind = "hydromancer", subscription = "liquidationFills", api_key.env = "KEY" }
    candles = { kind = "binance-candles", symbols = ["BTCUSDT"], interval = "1m" }
    [transforms]
    volume = { kind = "liquidation-volume", input = "orders" }
    alerts = { kind = "alerts", input = "volume", threshold = 1 }
    [sinks]
    http = { kind = "http" }
"""
BEFORE_VENUES: dict[str, tuple[str | None, bytes]] = {
    "orders": (
        None,
        b'{"symbol":"BTCUSDT","side":"BUY","price":"84488.2","quantity":"0.100",'
        b'"notional":"8448.82","time_ms":1795908525613,'
        b'"id":"b:BTCUSDT:1795908525613:BUY:0.1:84488.2"}',
    ),
    "fills": (
        None,
        b'{"symbol":"BTC","side":"SELL","price":"84488.2","quantity":"0.00508",'
        b'"notional":"429.200056","time_ms":1795908530837,"id":"h:1795908530837:BTC:7:0xcb",'
        b'"address":"0xcb","dir":"Close Long","pnl":"-21.449399","fee":"0.19314",'
        b'"fee_token":"USDC","taker":true,"hash":"0x65","role":"liquidated",'
        b'"liquidated_user":"0xcb","mark_price":"84486.2","method":"market","inferred":false}',
    ),
    "fills.totals": (
        "total",
        b'{"volume":"429.200056","count":1,"since_ms":1795908525939}',
    ),
    "candles": (
        "BTCUSDT/1m/1795905540000",
        b'{"symbol":"BTCUSDT","interval":"1m","time_ms":1795905540000,'
        b'"close_time_ms":1795905599999,"open":"91530.90","high":"91537.60","low":"91460.60",'
        b'"close":"91482.60","volume":"83.003","quote_volume":"7593985.97150","trades":509,'
        b'"taker_buy_volume":"27.783","taker_buy_quote_volume":"2541880.56150","closed":true}',
    ),
    "volume": (
        "BTCUSDT/1d/1795824000000",
        b'{"symbol":"BTCUSDT","timeframe":"1d","time_ms":1795824000000,"buy":"8448.82",'
        b'"sell":"0","count":1,"late":false,"backfilled":false,"incomplete":false}',
    ),
    "alerts": (
        "BTCUSDT/5m/1795908300000/threshold",
        b'{"symbol":"BTCUSDT","timeframe":"5m","time_ms":1795908300000,"rule":"threshold",'
        b'"level":0,"value":"8448.82","threshold":"1","z":null,"median":null,"past":null,'
        b'"text":"reached 1"}',
    ),
}
"""One row of each stream, keys and values as they were saved before there were venues."""
PLACES = {("volume", "orders"): 1, ("volume", "orders#wide"): 1, ("alerts", "volume"): 1}


async def leave(path: Path) -> None:
    """A state as a flowd of before left it, stopped in order."""
    store = SqliteStore(path)
    await store.load()
    cuts = []
    for name, (key, value) in BEFORE_VENUES.items():
        keyed = b"" if key is None else b',"key":"%b"' % key.encode()
        json = b'{"seq":1,"time_ms":1795908531000%b,"value":%b}' % (keyed, value)
        record = Record.written(1, 1_795_908_531_000, key, json)
        cuts.append(Cut(name, "older", 1, 0, [record], [], [], 0, 1))
    frame, life = store.journal.cut(again=False), store.journal.life
    await store.save(Save(cuts, PLACES, 1_795_908_531_000, True, frame, life))
    await store.close()


async def test_a_state_of_before_venues_goes_on_in_its_epochs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KEY", "secret")
    await leave(tmp_path / "flowd.db")
    state = SqliteStore(tmp_path / "flowd.db")

    async with testing.daemon(CONFIG, store=state) as daemon:
        answers = {
            name: (await daemon.get(f"/streams/{name}?after=older.0")).json()
            for name in BEFORE_VENUES
        }
        status = (await daemon.get("/status")).json()

    venues = {
        name: [record["value"]["venue"] for record in answer["records"]]
        for name, answer in answers.items()
    }
    assert {answer["position"].split(".")[0] for answer in answers.values()} == {"older"}
    assert not any(answer["reset"] for answer in answers.values())
    assert status["snapshot"]["dropped_rows"] == 0
    assert venues == {
        "orders": ["binance"],
        "fills": ["hyperliquid"],
        "fills.totals": ["hyperliquid"],
        "candles": ["binance"],
        "volume": [""],
        "alerts": [""],
    }


async def test_what_is_older_than_venues_is_found_by_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KEY", "secret")
    await leave(tmp_path / "flowd.db")
    state = SqliteStore(tmp_path / "flowd.db")

    async with testing.daemon(CONFIG, store=state) as daemon:
        here = (await daemon.get("/streams/orders?venue=binance&coverage=sampled")).json()
        elsewhere = (await daemon.get("/streams/orders?venue=hyperliquid")).json()

    assert [record["seq"] for record in here["records"]] == [1]
    assert elsewhere["records"] == []


async def test_a_bucket_of_before_venues_counts_what_comes_and_nothing_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KEY", "secret")
    await leave(tmp_path / "flowd.db")
    _, value = BEFORE_VENUES["orders"]
    again = codec.loads(value, Liquidation)
    new = evolve(again, id="b:BTCUSDT:1795908540000:BUY:0.1:84488.2", time_ms=1_795_908_540_000)

    async with testing.daemon(CONFIG, store=SqliteStore(tmp_path / "flowd.db")) as daemon:
        daemon.feeds["orders"].publish(new, id=new.id)
    async with testing.daemon(CONFIG, store=SqliteStore(tmp_path / "flowd.db")) as daemon:
        answer = (await daemon.get("/streams/volume?timeframe=1d")).json()

    (bucket,) = [record["value"] for record in answer["records"]]
    assert (bucket["buy"], bucket["count"], bucket["venue"]) == ("16897.64", 2, "binance")


@frozen
class OlderLiquidation:
    """The record class as it was."""

    symbol: str
    side: Literal["BUY", "SELL"]
    price: Decimal
    quantity: Decimal
    notional: Decimal
    time_ms: int
    id: str


def older(number: int) -> OlderLiquidation:
    now = recorded.order(number)
    told = (now.symbol, now.side, now.price, now.quantity, now.notional, now.time_ms, now.id)
    return OlderLiquidation(*told)


async def went_on(path: Path) -> Path:
    """A history with two rows of before venues and one of after."""
    values = [older(0), older(1)]
    await recorded.record(path, testing.stream("orders", values, record=OlderLiquidation))
    await recorded.record(path, recorded.orders(3))
    return path


def exported(path: Path) -> list[dict[str, str]]:
    app, _ = flowd_history.flowd_commands()
    result = CliRunner().invoke(app, ["orders", "--db", str(path), "--format", "csv"])
    return list(csv.DictReader(io.StringIO(result.stdout, newline="")))


async def test_a_history_of_before_venues_goes_on_without_a_gap(tmp_path: Path) -> None:
    path = await went_on(tmp_path / "history.db")

    rows = recorded.rows(path)

    assert [row["seq"] for row in rows] == [1, 2, 3]
    assert ["venue" in row["value"] for row in rows] == [False, False, True]
    assert recorded.gaps(path) == []


async def test_the_rows_of_an_older_history_are_found_by_their_venue(tmp_path: Path) -> None:
    path = await went_on(tmp_path / "history.db")

    def found(**wanted: Any) -> int:
        return len(recorded.page(path, query.parse("orders", Liquidation, wanted)).records)

    assert (found(venue="binance"), found(venue="bybit")) == (3, 0)
    assert found(price_kind="fill", coverage="sampled") == 3


async def test_an_export_of_an_older_history_has_the_new_columns_empty_where_nothing_was_written(
    tmp_path: Path,
) -> None:
    path = await went_on(tmp_path / "history.db")

    rows = exported(path)

    assert [row["venue"] for row in rows] == ["", "", "binance"]
    assert [row["coverage"] for row in rows] == ["", "", "sampled"]
    assert [row["price"] for row in rows] == ["0", "1", "2"]
