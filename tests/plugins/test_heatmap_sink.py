"""Maps for those who stay and for those who poll, through the real door."""

import json
from base64 import b64decode
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from decimal import Decimal
from types import SimpleNamespace
from typing import Any

import flowd_heatmap
import msgspec
import numpy as np
import pytest
import trio
from attrs import evolve, frozen
from flowd_heatmap.columns import DENSITIES, codes, pack
from flowd_heatmap.decoder import Decoder
from flowd_heatmap.leverage import parse
from flowd_heatmap.picture import draw, runs
from flowd_heatmap.records import Column, MapModel, Score
from flowd_heatmap.shapes import Snapshots
from trio.testing import wait_all_tasks_blocked

from flowd import testing
from flowd.market import Candle, Level, LiquidationMap, OpenInterest
from flowd.plugin import Batch, Position, Record, Source

D = Decimal
CONFIG = """
[sources.candles]
kind = "quiet-candles"
[sources.oi]
kind = "quiet-oi"
[sources.observed]
kind = "quiet-maps"
[transforms.heatmap]
kind = "liquidation-heatmap"
candles = "candles"
open_interest = "oi"
[sinks.maps]
kind = "heatmap-websocket"
observed = "observed"
"""
NOW_MS = testing.START_MS


@frozen
class NoConfig:
    pass


async def quiet(config: NoConfig, feed: Any) -> None:
    await trio.sleep_forever()


QUIET = SimpleNamespace(
    flowd_sources=lambda: [
        Source("quiet-candles", quiet, NoConfig, record=Candle),
        Source("quiet-oi", quiet, NoConfig, record=OpenInterest),
        Source("quiet-maps", quiet, NoConfig, record=LiquidationMap),
    ]
)


def told(symbol: str = "BTCUSDT", price: str = "98450", **more: Any) -> LiquidationMap:
    """A map of two levels."""
    levels = (
        Level(D(96300), D("250000"), D(0)),
        Level(D(100500), D(0), D("80000.125")),
    )
    one = LiquidationMap(
        symbol, "binance", "estimated", NOW_MS - 100_000, D(price), D(100), levels, D(5), D(0),
        D(0), 1.0, None, 1, 0, 2, 10, 2, NOW_MS - 400_000, NOW_MS - 900_000, "both", False, 10, 2,
    )  # fmt: skip
    return evolve(one, **more)


def column(
    number: int, *, first: int = 960, long: tuple[int, ...] = (), close: str = "98500"
) -> Column:
    """The column of the candle that opened so many candles ago."""
    cells = np.array(long, np.uint8)
    return Column(
        "BTCUSDT", NOW_MS // 300_000 * 300_000 - number * 300_000, D(100), first, pack(cells),
        pack(np.zeros(len(cells), np.uint8)), D("98400"), D("98600"), D(close),
    )  # fmt: skip


@asynccontextmanager
async def serving(*maps: LiquidationMap) -> AsyncGenerator[testing.Daemon, None]:
    kinds = testing.registry(flowd_heatmap, QUIET)
    async with testing.daemon(CONFIG, registry=kinds) as daemon:
        await wait_all_tasks_blocked()
        for one in maps:
            name = "heatmap" if one.source == "estimated" else "observed"
            daemon.streams[name].append(one, key=one.symbol)
        yield daemon


def said(client: testing.Client) -> list[dict[str, Any]]:
    """What it was told since this was last asked."""
    return client.messages()


def subscribe(*symbols: str, **more: Any) -> str:
    return json.dumps({"action": "subscribe", "symbols": list(symbols), **more})


# -- who stays --


async def test_who_subscribes_gets_a_snapshot_at_once_and_no_other_answer(autojump_clock):
    async with serving(told()) as daemon:
        client = daemon.connect("/ws/heatmap")

        client.say(subscribe("BTCUSDT"))
        await trio.sleep(0.1)

        (first,) = said(client)
        assert first["type"] == "snapshot"
        assert first["symbol"] == "BTCUSDT"
        assert first["timestamp"] == "2023-11-14T22:11:40Z"
        assert first["data"]["levels"] == [
            {"price": 96300, "long_density": 250000, "short_density": 0},
            {"price": 100500, "long_density": 0, "short_density": 80000.125},
        ]
        assert first["data"]["current_price"] == 98450
        assert first["data"]["positions_created"] == 10
        assert first["data"]["source"] == "estimated"
        assert first["data"]["history_from"] == NOW_MS - 900_000
        assert first["data"]["outside_long"] == 5


async def test_a_mix_subscribes_what_there_is_and_names_the_rest(autojump_clock):
    async with serving(told()) as daemon:
        client = daemon.connect("/ws/heatmap")

        client.say(subscribe("BTCUSDT", "NOPE", "NADA"))
        await trio.sleep(0.1)

        kinds = {one["type"]: one for one in said(client)}
        assert kinds["snapshot"]["symbol"] == "BTCUSDT"
        assert kinds["error"]["code"] == "INVALID_SYMBOL"
        assert "NOPE, NADA" in kinds["error"]["message"]
        assert kinds["error"]["allowed"] == ["BTCUSDT"]


@pytest.mark.parametrize(
    ("text", "code", "wrong"),
    [
        ("nonsense", "INVALID_MESSAGE", "JSON object"),
        ("[1]", "INVALID_MESSAGE", "JSON object"),
        ('{"action": "dance"}', "INVALID_ACTION", "dance"),
        ('{"action": "subscribe"}', "INVALID_MESSAGE", "list of symbols"),
        ('{"action": "subscribe", "symbols": []}', "INVALID_MESSAGE", "list of symbols"),
        (subscribe(*"ABCDEFGHIJK"), "INVALID_MESSAGE", "list of symbols"),
        (subscribe("BTCUSDT", update_interval="soon"), "INVALID_MESSAGE", "number of seconds"),
        (subscribe("BTCUSDT", after={"BTCUSDT": "x"}), "INVALID_MESSAGE", "position"),
        (subscribe("BTCUSDT", source="guessed"), "INVALID_MESSAGE", "no source 'guessed'"),
        (subscribe("BTCUSDT", source=["observed"]), "INVALID_MESSAGE", "no source"),
        (subscribe("BTCUSDT", source="observed"), "INVALID_SYMBOL", "no observed map of BTCUSDT"),
        ('{"action": "unsubscribe", "symbols": ["BTCUSDT"]}', "INVALID_SYMBOL", "BTCUSDT"),
    ],
)
async def test_a_mistake_is_named_and_the_connection_stays(text, code, wrong, autojump_clock):
    async with serving(told()) as daemon:
        client = daemon.connect("/ws/heatmap")

        client.say(text)
        client.say('{"action": "ping"}')
        await trio.sleep(0.1)

        error, pong = said(client)
        assert (error["type"], error["code"]) == ("error", code)
        assert wrong in error["message"]
        assert pong["type"] == "pong"
        assert pong["timestamp"].startswith("2023-11-14T22:13:20")


async def test_changes_come_at_the_clients_own_pace_and_only_the_newest(autojump_clock):
    async with serving(told()) as daemon:
        quick, calm = daemon.connect("/ws/heatmap"), daemon.connect("/ws/heatmap")
        quick.say(subscribe("BTCUSDT", update_interval=1))
        calm.say(subscribe("BTCUSDT", update_interval=10))
        await trio.sleep(10)

        for number in range(10):
            one = told(price=str(98500 + number), created=0, consumed=1, consumed_ever=3 + number)
            daemon.streams["heatmap"].append(one, key="BTCUSDT")
            await trio.sleep(1.5)
        await trio.sleep(20)

        heard = [said(client)[1:] for client in (quick, calm)]
        assert len(heard[0]) == 10
        assert 2 <= len(heard[1]) <= 3
        consumed = [sum(one["data"]["positions_consumed"] for one in each) for each in heard]
        assert consumed == [10, 10]


async def test_intervals_beyond_the_bounds_are_brought_within(autojump_clock):
    async with serving(told()) as daemon:
        client = daemon.connect("/ws/heatmap")

        client.say(subscribe("BTCUSDT", update_interval=0))
        client.say(subscribe("BTCUSDT", update_interval=1e9))
        await trio.sleep(1)

        assert {one["type"] for one in said(client)} == {"snapshot"}


async def test_after_unsubscribing_nothing_more_comes_of_it(autojump_clock):
    async with serving(told(), told("ETHUSDT")) as daemon:
        client = daemon.connect("/ws/heatmap")
        client.say(subscribe("BTCUSDT", "ETHUSDT", update_interval=1))
        await trio.sleep(2)
        client.say('{"action": "unsubscribe", "symbols": ["BTCUSDT"]}')
        await trio.sleep(2)
        said(client)

        for symbol in ("BTCUSDT", "ETHUSDT"):
            daemon.streams["heatmap"].append(told(symbol, price="98600"), key=symbol)
        await trio.sleep(5)

        assert [one["symbol"] for one in said(client)] == ["ETHUSDT"]


async def test_who_comes_back_with_a_position_gets_only_what_changed(autojump_clock):
    async with serving(told(), told("ETHUSDT")) as daemon:
        client = daemon.connect("/ws/heatmap")
        client.say(subscribe("BTCUSDT", "ETHUSDT"))
        await trio.sleep(1)
        held = {one["symbol"]: one["position"] for one in said(client)}
        daemon.streams["heatmap"].append(told("ETHUSDT", price="98600"), key="ETHUSDT")

        again = daemon.connect("/ws/heatmap")
        again.say(subscribe("BTCUSDT", "ETHUSDT", after=held))
        await trio.sleep(10)

        assert [one["symbol"] for one in said(again)] == ["ETHUSDT"]


async def test_a_position_of_another_life_is_told_before_the_newest_map(autojump_clock):
    async with serving(told()) as daemon:
        client = daemon.connect("/ws/heatmap?symbols=BTCUSDT&after=zz.5")
        await trio.sleep(1)

        warning, snapshot = said(client)
        assert (warning["type"], warning["code"]) == ("warning", "CONNECTION_UNSTABLE")
        assert snapshot["type"] == "snapshot"


async def test_an_observed_map_is_followed_by_its_own_symbol_and_names_its_source(autojump_clock):
    observed = told("BTC", source="observed", venue="hyperliquid", coverage=0.25, oi_sides=2)
    async with serving(told(), observed) as daemon:
        client = daemon.connect("/ws/heatmap")

        client.say(subscribe("BTC", "BTCUSDT"))
        await trio.sleep(1)

        sources = {one["symbol"]: one["data"] for one in said(client)}
        assert sources["BTC"]["source"] == "observed"
        assert sources["BTC"]["coverage"] == 0.25
        assert "coverage" not in sources["BTCUSDT"]


def both() -> tuple[LiquidationMap, LiquidationMap]:
    """Two maps of one symbol."""
    return told("BTC", venue="binance"), told("BTC", source="observed", venue="hyperliquid")


def sources(client: testing.Client) -> list[str]:
    return [one["data"]["source"] for one in said(client)]


async def test_of_two_maps_of_a_symbol_the_estimated_comes_unless_the_other_is_named(
    autojump_clock,
):
    async with serving(*both()) as daemon:
        silent, estimated, observed = (daemon.connect("/ws/heatmap") for _ in range(3))
        address = daemon.connect("/ws/heatmap?symbols=BTC&source=observed")

        silent.say(subscribe("BTC"))
        estimated.say(subscribe("BTC", source="estimated"))
        observed.say(subscribe("BTC", source="observed"))
        await trio.sleep(1)

        heard = [sources(client) for client in (silent, estimated, observed, address)]
        assert heard == [["estimated"], ["estimated"], ["observed"], ["observed"]]


async def test_an_observed_map_comes_as_it_changes_and_the_other_does_not(autojump_clock):
    async with serving(*both()) as daemon:
        client = daemon.connect("/ws/heatmap")
        client.say(subscribe("BTC", source="observed", update_interval=1))
        await trio.sleep(2)
        said(client)

        for name, one in zip(("heatmap", "observed"), both(), strict=True):
            daemon.streams[name].append(evolve(one, mark_price=D(98_600)), key="BTC")
        await trio.sleep(3)

        assert sources(client) == ["observed"]


async def test_another_source_takes_the_place_of_the_one_before(autojump_clock):
    async with serving(*both()) as daemon:
        client = daemon.connect("/ws/heatmap")
        client.say(subscribe("BTC", update_interval=1))
        await trio.sleep(2)

        client.say(subscribe("BTC", source="observed", update_interval=1))
        await trio.sleep(2)
        daemon.streams["heatmap"].append(evolve(both()[0], mark_price=D(98_600)), key="BTC")
        await trio.sleep(2)
        client.say('{"action": "unsubscribe", "symbols": ["BTC"]}')
        daemon.streams["observed"].append(evolve(both()[1], mark_price=D(98_600)), key="BTC")
        await trio.sleep(3)

        assert sources(client) == ["estimated", "observed"]


async def test_a_named_source_is_not_replaced_by_the_other(autojump_clock):
    async with serving(told("BTC", source="observed"), told()) as daemon:
        client = daemon.connect("/ws/heatmap")

        client.say(subscribe("BTC", "BTCUSDT", source="estimated"))
        await trio.sleep(1)

        kinds = {one["type"]: one for one in said(client)}
        assert kinds["snapshot"]["symbol"] == "BTCUSDT"
        assert kinds["error"]["message"] == "there is no estimated map of BTC"
        assert kinds["error"]["allowed"] == ["BTCUSDT"]


async def test_a_source_that_there_is_not_is_told_by_the_address_too(autojump_clock):
    async with serving(*both()) as daemon:
        client = daemon.connect("/ws/heatmap?symbols=BTC&source=guessed")
        await trio.sleep(1)

        (error,) = said(client)
        assert (error["code"], error["parameter"]) == ("INVALID_MESSAGE", "source")
        assert error["allowed"] == ["estimated", "observed"]


async def test_clients_and_messages_are_counted_by_symbol(autojump_clock):
    async with serving(told(), told("ETHUSDT")) as daemon:
        client = daemon.connect("/ws/heatmap")
        client.say(subscribe("BTCUSDT", "ETHUSDT", update_interval=1))
        await trio.sleep(2)
        daemon.streams["heatmap"].append(told(price="98600"), key="BTCUSDT")
        await trio.sleep(2)

        text = (await daemon.get("/metrics")).body.decode()

        labels = '{path="/ws/heatmap",symbol="BTCUSDT"}'
        assert f"ws_active_connections{labels} 1.0" in text
        assert f"ws_messages_sent_total{labels} 2.0" in text
        assert f"ws_broadcast_duration_seconds_count{labels} 1.0" in text


def test_the_counters_of_a_late_reader_are_since_the_map_that_it_was_sent():
    words = Snapshots()

    def batch(after: int, seq: int, created: int) -> Batch[LiquidationMap]:
        record = Record(seq, 1, told(created=1, created_ever=created, consumed=0), "BTCUSDT")
        return Batch("heatmap", [record], Position("e", seq), after=after)

    made = [
        json.loads(words(one)[0])["data"]["positions_created"]
        for one in (batch(0, 1, 5), batch(1, 2, 9), batch(2, 4, 20), batch(1, 4, 20))
    ]

    assert made == [1, 4, 11, 15]


# -- who polls --


async def test_the_newest_map_is_polled_and_unchanged_it_is_a_304(autojump_clock):
    async with serving(told()) as daemon:
        answer = await daemon.get("/api/v1/heatmap/BTCUSDT")
        again = await daemon.get(
            "/api/v1/heatmap/BTCUSDT", headers={"If-None-Match": answer.headers["etag"]}
        )

        assert answer.json()["data"]["levels"][0]["price"] == 96300
        assert again.status == 304


async def test_a_source_can_be_asked_for_and_what_there_is_not_is_a_404(autojump_clock):
    observed = told("BTC", source="observed")
    async with serving(told(), observed) as daemon:
        seen = (await daemon.get("/api/v1/heatmap/BTC?source=observed")).json()
        without = (await daemon.get("/api/v1/heatmap/BTC")).json()
        wrong = await daemon.get("/api/v1/heatmap/BTC?source=estimated")
        unknown = await daemon.get("/api/v1/heatmap/NOPE")

        assert seen["data"]["source"] == without["data"]["source"] == "observed"
        assert (wrong.status, unknown.status) == (404, 404)
        assert unknown.json()["error"]["allowed"] == ["BTC", "BTCUSDT"]


@pytest.mark.parametrize("source", ["estimated", "observed"])
async def test_a_map_of_the_same_moment_with_another_price_is_another_answer(
    source, autojump_clock
):
    target = f"/api/v1/heatmap/BTCUSDT?source={source}"
    async with serving(told(source=source)) as daemon:
        first = await daemon.get(target)
        name = "heatmap" if source == "estimated" else "observed"
        daemon.streams[name].append(told(source=source, price="98600"), key="BTCUSDT")

        second = await daemon.get(target, headers={"If-None-Match": first.headers["etag"]})

        assert second.status == 200
        assert second.json()["data"]["current_price"] == 98600


async def test_the_maps_that_there_are_can_be_listed(autojump_clock):
    async with serving(told(), told("BTC", source="observed")) as daemon:
        found = (await daemon.get("/api/v1/heatmap")).json()

        assert [one["symbol"] for one in found["estimated"]] == ["BTCUSDT"]
        assert [one["symbol"] for one in found["observed"]] == ["BTC"]
        assert found["score"] == found["model"] == {}


async def test_the_score_of_a_map_is_told_where_there_is_one(autojump_clock):
    async with serving(told()) as daemon:
        before = await daemon.get("/api/v1/heatmap")
        score = Score("BTCUSDT", 5, 100, 7, 0.1, 0.05, 0.15)
        daemon.streams["heatmap.score"].append(score, key="BTCUSDT")

        after = await daemon.get("/api/v1/heatmap")

        assert after.json()["score"]["BTCUSDT"] == {
            "since": 5,
            "events": 100,
            "dropped": 7,
            "lift": 0.1,
            "low": 0.05,
            "high": 0.15,
        }
        assert after.headers["etag"] != before.headers["etag"]


async def test_what_a_map_is_made_with_is_told_where_it_is_known(autojump_clock):
    async with serving(told()) as daemon:
        before = await daemon.get("/api/v1/heatmap")
        tiers = parse("10:1,20:3")
        model = MapModel(
            "BTCUSDT", 5, "taker", tiers, D(5000), "2024-10-24", True, 7_200_000, 86_400_000, 1, 30
        )
        daemon.streams["heatmap.model"].append(model, key="BTCUSDT")

        after = await daemon.get("/api/v1/heatmap")

        assert after.json()["model"]["BTCUSDT"] == {
            "since": 5,
            "side_model": "taker",
            "leverage": [{"leverage": 10, "share": 0.25}, {"leverage": 20, "share": 0.75}],
            "typical_notional": 5000,
            "brackets": "2024-10-24",
            "brackets_assumed": True,
            "half_life_s": 7200,
            "positions_for_s": 86400,
            "backfill_days": 1,
            "span_pct": 30,
        }
        assert after.headers["etag"] != before.headers["etag"]


# -- the past as a picture --


def cells(picture: dict[str, Any], side: str) -> Any:
    """What a reader makes of an answer: rows by columns."""
    found = np.frombuffer(b64decode(picture[side]["codes"]), np.uint8)
    lengths = np.frombuffer(b64decode(picture[side]["lengths"]), "<u2")
    return np.repeat(found, lengths).reshape(picture["bins"], len(picture["times"]))


async def past(daemon: testing.Daemon) -> None:
    for one in (column(3, long=(90, 0, 90)), column(2, long=(90, 0, 80)), column(0, long=(90,))):
        daemon.streams["heatmap.columns"].append(one, key=one.key)


async def test_a_picture_has_a_row_for_each_bin_and_a_column_for_each_candle(autojump_clock):
    async with serving() as daemon:
        await past(daemon)

        answer = await daemon.get("/api/v1/heatmap/BTCUSDT/timeseries?low=96000&high=96400")

        picture = answer.json()
        assert (picture["base"], picture["bin"], picture["bins"]) == (96000, 100, 5)
        assert picture["interval_ms"] == 300_000
        assert len(picture["times"]) == 3
        assert cells(picture, "long").tolist() == [
            [90, 90, 90], [0, 0, 0], [90, 80, 0], [0, 0, 0], [0, 0, 0],
        ]  # fmt: skip
        assert not cells(picture, "short").any()
        assert picture["close"] == [98500, 98500, 98500]


async def test_an_unchanged_picture_is_a_304_and_a_new_column_makes_it_another(autojump_clock):
    target = "/api/v1/heatmap/BTCUSDT/timeseries"
    async with serving() as daemon:
        await past(daemon)
        first = await daemon.get(target)
        same = await daemon.get(target, headers={"If-None-Match": first.headers["etag"]})
        await trio.sleep(400)
        one = column(-1, long=(1, 2, 3))
        daemon.streams["heatmap.columns"].append(one, key=one.key)

        other = await daemon.get(target, headers={"If-None-Match": first.headers["etag"]})

        assert (same.status, other.status) == (304, 200)
        assert len(other.json()["times"]) == 4


async def test_a_picture_comes_as_messagepack_for_who_accepts_it(autojump_clock):
    async with serving() as daemon:
        await past(daemon)

        answer = await daemon.get(
            "/api/v1/heatmap/BTCUSDT/timeseries?low=96000&high=96400",
            headers={"Accept": "application/vnd.msgpack"},
        )

        picture = msgspec.msgpack.decode(answer.body)
        assert answer.headers["content-type"] == "application/vnd.msgpack"
        assert picture["long"]["codes"][0] == 90


async def test_a_picture_comes_as_arrow_for_who_accepts_it(autojump_clock):
    import pyarrow.ipc as ipc

    async with serving() as daemon:
        await past(daemon)

        answer = await daemon.get(
            "/api/v1/heatmap/BTCUSDT/timeseries?low=96000&high=96400",
            headers={"Accept": "application/vnd.apache.arrow.stream"},
        )

        table = ipc.open_stream(answer.body).read_all()
        picture = json.loads(table.schema.metadata[b"picture"])
        long = [row for row in table.to_pylist() if row["side"] == "long"]
        assert picture["bins"] == 5
        assert sum(row["length"] for row in long) == 15
        assert long[0] == {"side": "long", "code": 90, "length": 3}


@pytest.mark.parametrize(
    ("query", "parameter"),
    [
        ("start=5&end=4", "start"),
        ("start=yesterday", "start"),
        ("bins=1", "bins"),
        ("bins=100000", "bins"),
        ("low=-1", "low"),
        ("low=NaN", "low"),
        ("low=5&high=4", "low"),
        ("colour=red", "colour"),
    ],
)
async def test_a_mistake_in_the_query_is_named(query, parameter, autojump_clock):
    async with serving() as daemon:
        await past(daemon)

        answer = await daemon.get(f"/api/v1/heatmap/BTCUSDT/timeseries?{query}")

        assert answer.status == 400
        assert answer.json()["error"]["parameter"] == parameter


async def test_a_symbol_without_a_past_is_a_404_that_lists_the_others(autojump_clock):
    async with serving() as daemon:
        await past(daemon)

        answer = await daemon.get("/api/v1/heatmap/NOPE/timeseries")

        assert answer.status == 404
        assert answer.json()["error"]["allowed"] == ["BTCUSDT"]


def drawn(*columns: Column, bins: int = 300, **more: Any) -> Any:
    return draw("BTCUSDT", Decoder().decode(list(columns)), bins, **more)


def test_rows_of_several_bins_hold_their_sum():
    code = int(codes(np.array([1000.0]))[0])

    picture = drawn(column(0, long=(code, code, code, code)), bins=3, low=D(96000), high=D(96390))

    assert picture.bin == 200
    sums = DENSITIES[picture.long.reshape(picture.bins, 1)[:, 0]]
    assert sums[:2] == pytest.approx([2000, 2000], rel=0.06)


def test_bins_of_another_width_lie_at_their_prices():
    wide = evolve(column(1, first=96, long=(90,)), bin=D(1000))

    picture = drawn(wide, column(0, first=960, long=(90,)), low=D(95900), high=D(97000))

    rows, columns = np.nonzero(picture.long.reshape(picture.bins, 2))
    assert sorted(zip(columns, 95900 + rows * 100, strict=True)) == [(0, 96500), (1, 96000)]


def test_runs_longer_than_a_number_holds_are_split():
    found, lengths = runs(np.zeros(200_001, np.uint8))

    assert found.tolist() == [0, 0, 0, 0]
    assert lengths.tolist() == [65_535, 65_535, 65_535, 3396]
