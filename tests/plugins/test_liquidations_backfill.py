"""Liquidation volume from elsewhere: what lies before our own, once, and nothing holds up the
rest.
"""

from typing import Any

import httpx2
import pytest
import trio
from attrs import evolve
from flowd_liquidations import shapes, sink, timeframe
from flowd_liquidations.accumulator import Accumulator
from flowd_liquidations.answer import read
from flowd_liquidations.backfill import Backfill, Gaps
from flowd_liquidations.shelf import Shelf
from quart import Response, request
from quart_trio import QuartTrio

from flowd import testing
from flowd.market import Liquidation
from flowd.plugin import codec
from flowd.upstream.outages import Outage
from tests.plugins.liquidations_kit import (
    FRAMES,
    NOW_MS,
    WORKED_EXAMPLE,
    Rig,
    accumulate,
    accumulator,
    add,
    order,
)

OWN = order(1700000045000, "BUY", "1", "7")
LATER = order(1700000345000, "BUY", "1", "7")
MINUTE_MS = 60_000
DAY_MS = 86_400_000


class Elsewhere:
    """Another flowd's REST endpoint, in memory; may be told to refuse."""

    def __init__(self, rig: Rig) -> None:
        config = sink.Config("orders", "volume")
        self.outages = rig.stream("outages", Outage)
        streams = testing.streams(rig.buckets, self.outages)
        desk = testing.desk(clock=lambda: rig.now_ms)
        self.app = QuartTrio("elsewhere")
        self.app.register_blueprint(sink.routes(config, streams, desk))
        self.refusals: list[tuple[int, dict[str, str]]] = []
        self.refused: dict[str, tuple[int, str]] = {}
        """What is said of a timeframe instead of its bars, always."""
        self.asked: list[str] = []

        @self.app.before_request
        async def refuse() -> Response | None:
            self.asked.append(request.full_path)
            frame = request.path.rpartition("/")[2]
            if frame in self.refused:
                status, text = self.refused[frame]
                return Response(text, status)
            if not self.refusals:
                return None
            status, headers = self.refusals.pop(0)
            return Response("<html>", status, headers)

    @property
    def transport(self) -> httpx2.ASGITransport:
        return httpx2.ASGITransport(app=self.app)  # type: ignore[arg-type]  # Quart's own ASGI types


async def backfilled(
    rig: Rig, elsewhere: Elsewhere, own: list[Liquidation], *, seconds: float = 7200
) -> Accumulator:
    """The transform's parts, with so long to fill what is missing."""
    shelf = Shelf(FRAMES, rig.feed)
    adding = Accumulator(FRAMES, shelf, rig.feed)
    rig.elsewhere = elsewhere.transport
    backfill = Backfill("http://elsewhere", shelf, rig.feed)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(backfill.run)
        seq = rig.orders.seq
        rig.happen(own)
        add(adding, rig, seq)
        await trio.sleep(seconds)
        nursery.cancel_scope.cancel()
    return adding


async def test_backfill_fills_what_lies_before_our_own_and_marks_it(autojump_clock: Any) -> None:
    elsewhere = Elsewhere(accumulate(WORKED_EXAMPLE))
    rig = Rig()

    await backfilled(rig, elsewhere, [OWN])

    older = rig.buckets.get(timeframe.key("BTCUSDT", "1m", 1699999980000))
    assert older is not None
    assert older.backfilled
    assert shapes.point(older)["backfilled"] is True
    assert rig.bar("1m", 1699999980000) == ("10000", "5000", 3)
    # The minute in which our own began stays our own, and so does every wider bucket around it.
    assert rig.bar("1m", 1700000040000) == ("7", "0", 1)
    assert rig.bar("5m", 1699999800000) == ("7", "0", 1)


async def test_backfill_obeys_retry_after_and_comes_back_after_errors(autojump_clock: Any) -> None:
    elsewhere = Elsewhere(accumulate(WORKED_EXAMPLE))
    elsewhere.refusals = [(429, {"Retry-After": "7"}), (502, {}), (408, {}), (200, {})]
    rig = Rig()

    await backfilled(rig, elsewhere, [OWN], seconds=6.9)
    asked = len(elsewhere.asked)
    await backfilled(rig, elsewhere, [])

    assert asked == 1
    assert rig.bar("1m", 1699999980000) == ("10000", "5000", 3)
    assert rig.feed.tally.dropped == {"backfill failed": 3, "backfill refused": 1}


async def test_backfill_is_not_done_twice(autojump_clock: Any) -> None:
    elsewhere = Elsewhere(accumulate(WORKED_EXAMPLE))
    rig = Rig()
    await backfilled(rig, elsewhere, [OWN])
    asked = len(elsewhere.asked)

    await backfilled(rig, elsewhere, [])

    assert asked >= len(FRAMES)
    assert len(elsewhere.asked) == asked


async def test_a_late_order_does_not_come_on_top_of_what_was_backfilled(
    autojump_clock: Any,
) -> None:
    elsewhere = Elsewhere(accumulate(WORKED_EXAMPLE))
    rig = Rig()
    adding = await backfilled(rig, elsewhere, [OWN])

    rig.happen([WORKED_EXAMPLE[0]])
    add(adding, rig, 1)

    assert rig.bar("1m", 1699999980000) == ("10000", "5000", 3)
    assert rig.feed.tally.dropped["older than our own history"] == 1


async def test_what_is_backfilled_comes_late_to_who_is_watching(autojump_clock: Any) -> None:
    elsewhere = Elsewhere(accumulate(WORKED_EXAMPLE))
    rig = Rig()

    await backfilled(rig, elsewhere, [OWN])

    older = [record.value for record in rig.buckets.after(0) if record.value.backfilled]
    assert older
    assert all(bucket.late for bucket in older)


@pytest.mark.parametrize(
    ("status", "text"), [(400, "{}"), (404, "{}"), (301, ""), (200, "[]"), (200, "<html>")]
)
async def test_a_series_that_is_refused_holds_up_no_other(
    status: int, text: str, autojump_clock: Any
) -> None:
    elsewhere = Elsewhere(accumulate(WORKED_EXAMPLE))
    elsewhere.refused["1m"] = (status, text)
    rig = Rig(LATER.time_ms)

    await backfilled(rig, elsewhere, [LATER], seconds=3000)

    assert rig.bar("1m", 1699999980000) is None
    assert rig.bar("5m", 1699999800000) == ("10000", "5693", 4)
    assert sum("/1m?" in path for path in elsewhere.asked) == 1
    assert rig.feed.tally.dropped == {"backfill refused": 1}


async def test_a_series_that_fails_again_and_again_holds_up_no_other(autojump_clock: Any) -> None:
    elsewhere = Elsewhere(accumulate(WORKED_EXAMPLE))
    elsewhere.refused["1m"] = (500, "")
    rig = Rig(LATER.time_ms)

    await backfilled(rig, elsewhere, [LATER], seconds=3000)

    assert rig.bar("5m", 1699999800000) == ("10000", "5693", 4)
    # After 30, 60, 120, 240 and 480 seconds, and then every ten minutes.
    assert sum("/1m?" in path for path in elsewhere.asked) == 9


async def test_a_series_that_was_refused_is_asked_for_again_in_an_hour(autojump_clock: Any) -> None:
    elsewhere = Elsewhere(accumulate(WORKED_EXAMPLE))
    elsewhere.refusals = [(400, {})]
    rig = Rig()

    await backfilled(rig, elsewhere, [OWN])

    assert rig.bar("1m", 1699999980000) == ("10000", "5000", 3)


async def test_what_is_still_to_be_filled_is_told_but_not_what_failed(autojump_clock: Any) -> None:
    elsewhere = Elsewhere(accumulate(WORKED_EXAMPLE))
    elsewhere.refused["1h"] = 404, "not here"
    rig = Rig()
    rig.elsewhere = elsewhere.transport
    told: list[tuple[bool, float]] = []
    shelf = Shelf(FRAMES, rig.feed)
    backfill = Backfill(
        "http://elsewhere", shelf, rig.feed, lambda now: told.append((now, trio.current_time()))
    )
    began = trio.current_time()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(backfill.run)
        rig.happen([OWN])
        add(Accumulator(FRAMES, shelf, rig.feed), rig)
        await trio.sleep(1800)
        nursery.cancel_scope.cancel()

    assert [now for now, _ in told] == [False, True, False]
    assert 0 < told[-1][1] - began < 1800, "a series that is refused is tried again in an hour"


async def test_the_other_daemons_gaps_are_no_zeros_here(autojump_clock: Any) -> None:
    first = WORKED_EXAMPLE[0].time_ms
    there = accumulate([order(first - 600_000, "BUY", "1", "5"), WORKED_EXAMPLE[0]])
    elsewhere = Elsewhere(there)
    elsewhere.outages.append(Outage("orders", first - 400_000, first - 100_000, "gone"), key="1")
    elsewhere.outages.append(Outage("orders", first + 10_000, None, "gone"), key="2")
    rig, here = Rig(), sink.Config("orders", "volume")

    await backfilled(rig, elsewhere, [OWN])

    app = QuartTrio("here")
    streams = testing.streams(rig.buckets, rig.tables["gaps"], rig.stream("outages", Outage))
    desk = testing.desk(clock=lambda: rig.now_ms)
    app.register_blueprint(sink.routes(here, streams, desk))
    async with app.test_request_context("/api/v1/liquidation-volume/BTCUSDT/1m"):
        answer = await app.full_dispatch_request()
        body = codec.decode(await answer.get_data(as_text=False))
    # Of our own minute on we know better, though the other daemon does not.
    until = FRAMES[0].start(OWN.time_ms)
    assert body["gaps"] == [[first - 400_000, first - 100_000], [first + 10_000, until]]
    counts = [bar["count"] for bar in body["data"]]
    assert counts == [1, 0, 0, 0, 0, 0, 1, 1]


async def test_gaps_that_are_told_again_are_kept_once(autojump_clock: Any) -> None:
    elsewhere = Elsewhere(accumulate(WORKED_EXAMPLE))
    times = (NOW_MS - 22 * 3_600_000, NOW_MS - 3_600_000)
    elsewhere.outages.append(Outage("orders", *times, "gone"), key="1")
    rig = Rig()

    await backfilled(rig, elsewhere, [OWN])

    assert sum("/1m?" in path for path in elsewhere.asked) == 2
    assert rig.tables["gaps"].get("BTCUSDT/1m") == Gaps("BTCUSDT", "1m", [times])


async def test_what_was_backfilled_is_forgotten_when_it_has_outlived_its_retention(
    autojump_clock: Any,
) -> None:
    elsewhere = Elsewhere(accumulate(WORKED_EXAMPLE))
    rig = Rig()
    adding = await backfilled(rig, elsewhere, [OWN])

    rig.now_ms += 2 * DAY_MS
    rig.happen([order(rig.now_ms, "BUY", "1", "10")])
    add(adding, rig, 1)

    assert rig.bar("1m", 1699999980000) is None


async def test_backfill_that_is_switched_on_later_fills_each_timeframe_up_to_our_own(
    autojump_clock: Any,
) -> None:
    hours = [order(NOW_MS - hour * 3_600_000, "SELL", "1", str(hour)) for hour in range(1, 6)]
    elsewhere = Elsewhere(accumulate(hours))
    rig = Rig()
    rig.happen([OWN])
    add(accumulator(rig), rig)

    await backfilled(rig, elsewhere, [])

    for hour in hours:
        minute = FRAMES[0].start(hour.time_ms)
        assert rig.bar("1m", minute) == ("0", shapes.plain(hour.notional), 1)
    assert rig.bar("1d", FRAMES[-1].start(OWN.time_ms)) == ("7", "0", 1)


async def test_a_thousand_empty_minutes_are_not_the_end_of_history(autojump_clock: Any) -> None:
    old = order(NOW_MS - 20 * 3_600_000, "SELL", "1", "5")
    elsewhere = Elsewhere(accumulate([old]))
    rig = Rig()

    await backfilled(rig, elsewhere, [OWN])

    assert rig.bar("1m", FRAMES[0].start(old.time_ms)) == ("0", "5", 1)


async def test_a_timeframe_of_ours_that_begins_later_is_filled_too(autojump_clock: Any) -> None:
    elsewhere = Elsewhere(accumulate(WORKED_EXAMPLE))
    rig = Rig()
    rig.happen([OWN])
    add(accumulator(rig, FRAMES[1:]), rig)

    await backfilled(rig, elsewhere, [order(OWN.time_ms + MINUTE_MS, "BUY", "1", "9")])

    assert rig.bar("1m", 1699999980000) == ("10000", "5000", 3)
    assert rig.bar("1m", 1700000040000) == ("0", "693", 1)


BAR = {
    "timestamp_ms": 1699999980000,
    "buy_volume": "10",
    "sell_volume": "0",
    "count": 1,
}


@pytest.mark.parametrize(
    "bar",
    [
        None,
        [],
        {},
        BAR | {"timestamp_ms": 1699999980001},
        BAR | {"timestamp_ms": "1699999980000"},
        BAR | {"timestamp_ms": 10**20},
        BAR | {"buy_volume": "-1"},
        BAR | {"buy_volume": 10},
        BAR | {"sell_volume": "NaN"},
        BAR | {"count": -1},
        BAR | {"count": True},
    ],
)
def test_a_bar_that_makes_no_sense_costs_only_itself(bar: object) -> None:
    answer = read(codec.encode({"data": [bar, BAR]}), FRAMES[0])

    assert [found.time_ms for found in answer.bars] == [1699999980000]
    assert answer.bad == [bar]


@pytest.mark.parametrize("gap", [None, [], [1], [2, 1], [1, 1], ["1", "2"], [1, 10**20], {}])
def test_a_gap_that_makes_no_sense_costs_only_itself(gap: object) -> None:
    answer = read(codec.encode({"data": [BAR], "gaps": [gap, [1, 2]]}), FRAMES[0])

    assert answer.gaps == [(1, 2)]
    assert answer.bad == [gap]


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b"{}", b'{"data": null}', b"1"])
def test_what_is_no_answer_is_said_to_be_none(body: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        read(body, FRAMES[0])


async def test_an_exchange_whose_clock_is_ahead_of_ours_is_filled_all_the_same(
    autojump_clock: Any,
) -> None:
    elsewhere = Elsewhere(accumulate(WORKED_EXAMPLE))
    rig = Rig(FRAMES[1].start(LATER.time_ms) - 1000)

    await backfilled(rig, elsewhere, [LATER])

    assert rig.bar("5m", 1699999800000) == ("10000", "5693", 4)
    assert rig.feed.tally.dropped == {}


async def test_a_daemon_that_never_had_data_leaves_no_zero_before_our_own(
    autojump_clock: Any,
) -> None:
    elsewhere = Elsewhere(accumulate([]))
    elsewhere.outages.append(Outage("orders", NOW_MS - 2 * DAY_MS, None, "gone"), key="1")
    rig = Rig()

    await backfilled(rig, elsewhere, [OWN])

    until = FRAMES[0].start(OWN.time_ms)
    found = rig.tables["gaps"].get("BTCUSDT/1m")
    assert found.gaps == [(NOW_MS - 2 * DAY_MS, until)]


async def test_what_venues_told_elsewhere_is_taken_over_as_it_is(autojump_clock: Any) -> None:
    there = Rig()
    one = WORKED_EXAMPLE[0]
    there.happen([one, evolve(one, id="y:1", venue="bybit", price_kind="bankruptcy")])
    add(accumulator(there), there)
    rig = Rig()

    await backfilled(rig, Elsewhere(there), [OWN])

    name = timeframe.key("BTCUSDT", "1m", 1699999980000)
    (here, elsewhere) = rig.buckets.get(name), there.buckets.get(name)
    assert here is not None
    assert elsewhere is not None
    assert here.venues == elsewhere.venues
    assert (here.backfilled, here.approximate, len(here.venues)) == (True, True, 2)


def told(**changes: object) -> bytes:
    part: dict[str, object] = {"buy": "1", "sell": "2", "count": 3}
    part |= {"price_kind": "fill", "coverage": "all"} | changes
    bar: dict[str, object] = {"timestamp_ms": 0, "buy_volume": "1", "sell_volume": "2", "count": 3}
    return codec.encode({"data": [bar | {"venues": {"bybit": part}}]})


def test_a_bar_whose_venues_make_no_sense_or_are_not_the_whole_is_not_taken() -> None:
    frame = FRAMES[0]

    (good,) = read(told(), frame).bars
    assert good.venues[0].venue == "bybit"
    for changes in (
        {"buy": "2"},
        {"count": 2},
        {"count": True},
        {"price_kind": "guess"},
        {"coverage": None},
        {"sell": "-2"},
        {"sell": None},
    ):
        found = read(told(**changes), frame)
        assert (found.bars, len(found.bad)) == ([], 1), changes
