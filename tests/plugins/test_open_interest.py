"""Binance's open interest: asked for in time, with its history before it, and never backwards."""

import re
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from itertools import pairwise
from typing import Any

import attrs
import pytest
import trio
from flowd_binance import flowd_sources
from flowd_binance.open_interest import KEPT_MAX, LATE_MS, Config, samples
from flowd_binance.rest import HISTORY_PER_MINUTE

from flowd import testing
from flowd.market import OpenInterest
from flowd.plugin import Seconds, UpstreamSilent, UserError, unwrap
from flowd.stream.held import Retain
from tests.plugins.test_binance_rest import HTML

SPAN_MS = 300_000
LIVE = "/fapi/v1/openInterest"
HISTORY = "/futures/data/openInterestHist"
BTC = Config(["BTCUSDT"], history=10, keep=50)
BOTH = attrs.evolve(BTC, symbols=["BTCUSDT", "ETHUSDT"])
FULL_MS = testing.START_MS // SPAN_MS * SPAN_MS
"""The full five minutes before the test clock begins, 200 s into them."""

Clock = trio.testing.MockClock
Feed = testing.ScriptedFeed[OpenInterest]
Answer = Callable[[testing.Request], Any]


def contracts(symbol: str, time_ms: int) -> str:
    """What is open at a time: as good as any function of it."""
    return f"{len(symbol) * 1000 + time_ms // 1000 % 5000}.250"


class Binance:
    """The service; may lack samples, be late with them, or refuse."""

    def __init__(self) -> None:
        self.skipped_ms = 0
        """Wall time that went by at once."""
        self.asked: list[tuple[float, testing.Request]] = []
        self.late_ms = 0
        self.holes: set[int] = set()
        self.instead: dict[str, Any] = {}
        """What is answered at a path, whatever is asked."""
        self.unknown: set[str] = set()
        self.frozen_ms: int | None = None
        self.rest = testing.rest({LIVE: self._answer(self.live), HISTORY: self._answer(self.past)})

    def clock(self) -> int:
        return testing.clock() + self.skipped_ms

    def _answer(self, usual: Answer) -> Answer:
        def answer(request: testing.Request) -> Any:
            self.asked.append((trio.current_time(), request))
            if request.path in self.instead:
                return self.instead[request.path]
            if request.query["symbol"] in self.unknown:
                return testing.Reply(400, {"code": -1121, "msg": "Invalid symbol."})
            return usual(request)

        return answer

    def live(self, request: testing.Request) -> Any:
        symbol, time_ms = request.query["symbol"], self.frozen_ms or self.clock()
        return {"openInterest": contracts(symbol, time_ms), "symbol": symbol, "time": time_ms}

    def past(self, request: testing.Request) -> Any:
        symbol, limit = request.query["symbol"], int(request.query["limit"])
        first_ms, last_ms = int(request.query["startTime"]), int(request.query["endTime"])
        now_ms = self.clock()
        if first_ms < now_ms - 30 * 86_400_000 or last_ms - first_ms >= limit * SPAN_MS:
            return testing.Reply(400, {"code": -1130, "msg": "startTime is not valid."})
        return [
            {
                "symbol": symbol,
                "sumOpenInterest": f"{contracts(symbol, time_ms)}00000",
                "sumOpenInterestValue": "150570784.07809979",
                "timestamp": str(time_ms) if symbol == "ETHUSDT" else time_ms,
            }
            for time_ms in range(-(-first_ms // SPAN_MS) * SPAN_MS, last_ms + 1, SPAN_MS)
            if time_ms + self.late_ms <= now_ms and time_ms not in self.holes
        ]

    def times(self, path: str, symbol: str = "BTCUSDT") -> list[float]:
        """When was asked."""
        wanted = (path, symbol)
        return [at for at, one in self.asked if (one.path, one.query["symbol"]) == wanted]

    def feed(self, retain: Retain | None = None) -> Feed:
        kept = retain or Retain(KEPT_MAX)
        stream = testing.stream("open-interest", record=OpenInterest, retain=kept.count)
        stream.retain = kept
        return testing.ScriptedFeed(testing.upstream(), stream, self.clock, kept, self.rest)


@asynccontextmanager
async def running(feed: Feed, config: Config = BTC) -> AsyncIterator[None]:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(samples, config, feed)
        yield
        nursery.cancel_scope.cancel()


def held(feed: Feed, symbol: str = "BTCUSDT") -> list[OpenInterest]:
    """What the table holds of a symbol, in the order in which it came."""
    return [one for one in feed.values if one.symbol == symbol]


def spans(found: list[OpenInterest]) -> list[int]:
    """Which samples of the history are there, counted from the test clock's beginning."""
    return [
        (one.time_ms - FULL_MS) // SPAN_MS
        for one in found
        if one.time_ms % SPAN_MS == 0 and one.value is not None
    ]


def assert_known(found: list[OpenInterest]) -> None:
    """In order of time, and each full five minutes between the first and the last is known."""
    times = [one.time_ms for one in found]
    assert all(earlier < later for earlier, later in pairwise(times))
    for full_ms in range(-(-times[0] // SPAN_MS) * SPAN_MS, times[-1], SPAN_MS):
        assert any(full_ms - SPAN_MS // 2 <= time_ms <= full_ms for time_ms in times)


# -- start --


async def test_the_history_is_there_before_the_first_live_sample(autojump_clock: Clock) -> None:
    binance = Binance()
    feed = binance.feed()
    async with running(feed, BOTH):
        await trio.sleep(5)

        for symbol in BOTH.symbols:
            found = held(feed, symbol)
            assert spans(found) == list(range(-9, 1))
            assert len(found) == 11
            assert found[-1].time_ms >= testing.START_MS
            assert found[-1].value is None
            assert_known(found)
        assert feed.tally.delivering
        assert feed.recoveries == []


async def test_a_long_history_is_fetched_page_by_page(autojump_clock: Clock) -> None:
    binance = Binance()
    feed = binance.feed()
    async with running(feed, attrs.evolve(BTC, history=2016, keep=12_000)):
        await trio.sleep(5)

        assert spans(held(feed)) == list(range(-2015, 1))
        assert len(binance.times(HISTORY)) == 5
        assert_known(held(feed))


async def test_a_month_is_fetched_and_no_more_is_asked_for(autojump_clock: Clock) -> None:
    binance = Binance()
    feed = binance.feed()
    async with running(feed, attrs.evolve(BTC, history=8600, keep=9000)):
        await trio.sleep(60)

        assert len(spans(held(feed))) == 8600
        assert feed.tally.dropped == {}


async def test_a_market_that_is_younger_than_the_history_has_what_there_is(
    autojump_clock: Clock,
) -> None:
    binance = Binance()
    binance.holes = {FULL_MS - number * SPAN_MS for number in range(3, 3000)}
    feed = binance.feed()
    async with running(feed, attrs.evolve(BTC, history=2016, keep=12_000)):
        await trio.sleep(5)

        assert spans(held(feed)) == [-2, -1, 0]
        assert len(held(feed)) == 4


async def test_symbols_are_asked_for_one_after_the_other(autojump_clock: Clock) -> None:
    binance = Binance()
    feed = binance.feed()
    names = [f"A{number}USDT" for number in range(100)]
    async with running(feed, attrs.evolve(BTC, symbols=names)):
        await trio.sleep(600)

        seconds = Counter(int(at) for at, one in binance.asked if one.path == LIVE)
        assert max(seconds.values()) <= 11
        for name in names:
            assert_known(held(feed, name))
            assert len(binance.times(HISTORY, name)) == 1


async def test_histories_are_asked_for_within_what_binance_grants(autojump_clock: Clock) -> None:
    binance = Binance()
    feed = binance.feed()
    names = [f"A{number}USDT" for number in range(100)]
    async with running(feed, attrs.evolve(BTC, symbols=names, history=2016, keep=2100)):
        await trio.sleep(300)

        times = [at for at, one in binance.asked if one.path == HISTORY]
        assert len(times) == 500
        for at in times:
            assert len([one for one in times if at - 59.9 < one <= at]) <= HISTORY_PER_MINUTE


# -- time --


async def test_a_sample_is_taken_just_before_each_full_five_minutes(autojump_clock: Clock) -> None:
    binance = Binance()
    feed = binance.feed()
    async with running(feed):
        await trio.sleep(3600)

        live = [one.time_ms for one in held(feed) if one.value is None][1:]
        assert {time_ms % 60_000 for time_ms in live} == {58_000}
        assert {later - earlier for earlier, later in pairwise(live)} == {60_000}
        assert len(binance.times(HISTORY)) == 1
        assert_known(held(feed))


@pytest.mark.parametrize("every_s", [5, 7.5, 60, 150, 300])
async def test_however_often_is_asked_no_full_five_minutes_is_missed(
    every_s: float, autojump_clock: Clock
) -> None:
    binance = Binance()
    feed = binance.feed()
    async with running(feed, attrs.evolve(BTC, every=Seconds(every_s), keep=5000)):
        await trio.sleep(3600)

        assert len(binance.times(HISTORY)) == 1
        assert_known(held(feed))


@pytest.mark.parametrize("skip_ms", [7_200_000, 17_000, 301_000])
async def test_time_that_went_by_at_once_is_fetched(skip_ms: int, autojump_clock: Clock) -> None:
    binance = Binance()
    feed = binance.feed()
    async with running(feed, attrs.evolve(BTC, history=100, keep=500)):
        await trio.sleep(400)
        binance.skipped_ms = skip_ms
        await trio.sleep(1000)

        assert_known(held(feed))
        assert held(feed)[-1].time_ms > binance.clock() - 61_000


@pytest.mark.parametrize("ahead_ms", [3_600_000, -3_600_000, 31_000, -31_000])
async def test_this_machine_s_clock_may_be_set(ahead_ms: int, autojump_clock: Clock) -> None:
    binance = Binance()
    feed = binance.feed()
    async with running(feed):
        await trio.sleep(500)
        feed.clock = lambda: binance.clock() + ahead_ms
        await trio.sleep(1000)

        assert_known(held(feed))
        assert binance.clock() - 61_000 < held(feed)[-1].time_ms <= binance.clock()


async def test_a_time_that_no_clock_can_show_keeps_nothing_out(autojump_clock: Clock) -> None:
    binance = Binance()
    feed = binance.feed()
    async with running(feed):
        await trio.sleep(30)
        binance.frozen_ms = testing.START_MS + 10 * 86_400_000
        await trio.sleep(60)
        binance.frozen_ms = None
        await trio.sleep(600)

        assert feed.tally.dropped == {"bad time": 1}
        assert_known(held(feed))
        assert held(feed)[-1].time_ms > binance.clock() - 61_000


async def test_a_sample_that_was_told_before_is_no_news(autojump_clock: Clock) -> None:
    binance = Binance()
    feed = binance.feed()
    async with running(feed):
        await trio.sleep(5)
        seq = feed.stream.head.seq
        binance.frozen_ms = held(feed)[-1].time_ms
        await trio.sleep(120)
        binance.frozen_ms -= 60_000
        await trio.sleep(50)

        assert feed.stream.head.seq == seq
        assert feed.tally.dropped == {}


# -- holes --


async def test_what_was_missed_is_published_before_the_next_sample(autojump_clock: Clock) -> None:
    binance = Binance()
    feed = binance.feed()
    async with running(feed):
        await trio.sleep(5)
    binance.skipped_ms = 20 * 60_000
    async with running(feed):
        await trio.sleep(5)

        assert spans(held(feed)) == [*range(-9, 1), 2, 3, 4], "1 was told of by a live sample"
        assert len(held(feed)) == 10 + 1 + 3 + 1
        assert_known(held(feed))


async def test_a_restart_between_two_full_five_minutes_asks_for_no_history(
    autojump_clock: Clock,
) -> None:
    binance = Binance()
    feed = binance.feed()
    async with running(feed):
        await trio.sleep(5)
    await trio.sleep(30)
    async with running(feed):
        await trio.sleep(5)

        assert len(binance.times(HISTORY)) == 1
        assert_known(held(feed))


async def test_after_a_long_absence_as_much_is_fetched_as_at_first(autojump_clock: Clock) -> None:
    binance = Binance()
    feed = binance.feed()
    async with running(feed):
        await trio.sleep(5)
    binance.skipped_ms = 40 * 86_400_000
    async with running(feed):
        await trio.sleep(5)

        found = held(feed)[11:]
        assert len(found) == 11
        assert_known(found)
        assert feed.tally.dropped == {}


async def test_the_oldest_are_forgotten_beyond_what_is_kept(autojump_clock: Clock) -> None:
    binance = Binance()
    feed = binance.feed()
    async with running(feed, BOTH):
        await trio.sleep(7200)

        for symbol in BOTH.symbols:
            assert len(held(feed, symbol)) == 50
        assert held(feed)[-1].time_ms > binance.clock() - 61_000


async def test_what_is_no_longer_asked_for_is_forgotten(autojump_clock: Clock) -> None:
    binance = Binance()
    feed = binance.feed()
    async with running(feed, BOTH):
        await trio.sleep(5)
    async with running(feed, attrs.evolve(BTC, keep=10)):
        await trio.testing.wait_all_tasks_blocked()

        assert held(feed, "ETHUSDT") == []
        assert len(held(feed)) == 10


async def test_one_poll_that_fails_misses_nothing(autojump_clock: Clock) -> None:
    binance = Binance()
    feed = binance.feed()
    async with running(feed):
        await trio.sleep(30)
        binance.instead[LIVE] = testing.Reply(503)
        await trio.sleep(60)
        del binance.instead[LIVE]
        await trio.sleep(300)

        assert feed.tally.dropped == {"poll failed": 1}
        assert len(binance.times(HISTORY)) == 1
        assert_known(held(feed))


async def test_a_hole_of_binance_s_own_is_left_and_asked_for_once(autojump_clock: Clock) -> None:
    binance = Binance()
    binance.holes = {FULL_MS - 3 * SPAN_MS}
    feed = binance.feed()
    async with running(feed):
        await trio.sleep(600)

        assert spans(held(feed)) == [-9, -8, -7, -6, -5, -4, -2, -1, 0]
        assert len(binance.times(HISTORY)) == 1


async def test_a_history_that_is_late_is_waited_for(autojump_clock: Clock) -> None:
    binance = Binance()
    binance.late_ms = 150_000
    feed = binance.feed()
    await trio.sleep(110)  # Ten seconds into the next five minutes.
    async with running(feed):
        await trio.sleep(100)
        early = held(feed)
        await trio.sleep(100)

        assert spans(early) == list(range(-8, 1))
        assert len(early) == 9, "no live sample, since more is to come before it"
        assert spans(held(feed)) == list(range(-8, 2))
        assert_known(held(feed))


async def test_a_history_that_never_has_it_is_not_waited_for_too_long(
    autojump_clock: Clock,
) -> None:
    binance = Binance()
    binance.holes = {FULL_MS + SPAN_MS}
    feed = binance.feed()
    await trio.sleep(101)
    async with running(feed):
        await trio.sleep(LATE_MS / 1000 - 20)
        early = held(feed)
        await trio.sleep(120)

        assert len(early) == 9
        assert held(feed)[9].time_ms == FULL_MS + 2 * SPAN_MS - 2000


# -- failures --


async def test_while_the_history_fails_nothing_live_is_published(autojump_clock: Clock) -> None:
    binance = Binance()
    binance.instead[HISTORY] = testing.Reply(503, HTML)
    feed = binance.feed()
    async with running(feed):
        await trio.sleep(150)
        early = held(feed)
        del binance.instead[HISTORY]
        await trio.sleep(60)

        assert early == []
        assert feed.tally.dropped["poll failed"] >= 2
        assert_known(held(feed))
        assert len(spans(held(feed))) == 10


async def test_a_page_that_fails_is_gone_on_from(autojump_clock: Clock) -> None:
    binance = Binance()
    feed = binance.feed()
    config = attrs.evolve(BTC, history=1000, keep=2000)
    pages: list[Any] = []

    def second_fails(request: testing.Request) -> Any:
        pages.append(request)
        return testing.Reply(403, HTML) if len(pages) == 2 else binance.past(request)

    binance.instead[HISTORY] = testing.Reply(500)
    binance.rest._answers[HISTORY] = second_fails
    async with running(feed, config):
        await trio.sleep(20)
        assert len(held(feed)) == 500
        await trio.sleep(80)

        assert len(spans(held(feed))) == 1000
        assert_known(held(feed))
        assert len(pages) == 3


async def test_a_history_that_binance_refuses_is_gone_without(autojump_clock: Clock) -> None:
    binance = Binance()
    binance.instead[HISTORY] = testing.Reply(404, HTML)
    feed = binance.feed()
    async with running(feed):
        await trio.sleep(300)

        assert feed.tally.dropped == {"history refused": 1}
        assert len(held(feed)) == 6
        assert feed.tally.delivering


async def test_rows_that_cannot_be_read_are_counted_and_left(autojump_clock: Clock) -> None:
    binance = Binance()
    feed = binance.feed()

    def spoilt(request: testing.Request) -> Any:
        first, second, third, *others = binance.past(request)
        first["sumOpenInterest"] = "many"
        second["symbol"] = "ETHUSDT"
        third["timestamp"] = FULL_MS + SPAN_MS
        return [None, first, second, third, *reversed(others)]

    binance.rest._answers[HISTORY] = spoilt
    async with running(feed):
        await trio.sleep(5)

        assert feed.tally.dropped == {
            "history: malformed": 1,
            "history: bad number": 1,
            "history: not asked for": 2,
        }
        assert spans(held(feed)) == list(range(-6, 1))


@pytest.mark.parametrize("status", [429, 418])
async def test_nothing_is_asked_while_binance_wants_to_be_left_alone(
    status: int, autojump_clock: Clock
) -> None:
    binance = Binance()
    feed = binance.feed()
    async with running(feed, BOTH):
        await trio.sleep(5)
        binance.instead[LIVE] = testing.Reply(status, "{}", {"Retry-After": "90"})
        await trio.sleep(36)
        refused_at, asked = trio.current_time(), len(binance.asked)
        binance.instead.clear()
        await trio.sleep(85)
        assert len(binance.asked) == asked
        await trio.sleep(100)

        assert refused_at < binance.asked[asked][0]
        for symbol in BOTH.symbols:
            assert_known(held(feed, symbol))


async def test_a_service_that_fails_is_a_problem_until_it_answers(autojump_clock: Clock) -> None:
    binance = Binance()
    binance.instead[LIVE] = testing.Reply(503, '{"code": -1001, "msg": "Internal error"}')
    feed = binance.feed()
    async with running(feed):
        await trio.sleep(30)
        first = feed.tally.problem
        binance.instead.clear()
        await trio.sleep(90)

        assert first is not None
        assert "BTCUSDT: Binance is overloaded or down (HTTP 503): -1001 Internal error" in first
        assert "asked again every 60s; what is missed is fetched then" in first
        assert feed.tally.problem is None


async def test_one_failure_among_good_answers_is_no_problem_but_many_are(
    autojump_clock: Clock,
) -> None:
    binance = Binance()
    feed = binance.feed()
    async with running(feed, BOTH):
        await trio.sleep(10)
        binance.instead[LIVE] = testing.Reply(503)
        await trio.sleep(75)
        assert feed.tally.dropped == {"poll failed": 2}
        assert feed.tally.problem is None
        await trio.sleep(50)
        assert feed.tally.problem is not None
        assert "and 1 other symbol" in feed.tally.problem
        binance.instead.clear()
        await trio.sleep(60)

        assert feed.tally.problem is None


async def test_a_source_that_begins_anew_begins_without_a_problem(autojump_clock: Clock) -> None:
    binance = Binance()
    feed = binance.feed()
    feed.problem("of the run before")
    async with running(feed):
        await trio.sleep(5)

        assert feed.tally.problem is None


async def test_html_where_json_should_be_is_counted_and_asked_for_again(
    autojump_clock: Clock,
) -> None:
    binance = Binance()
    binance.instead[LIVE] = HTML
    feed = binance.feed()
    async with running(feed):
        await trio.sleep(60)
        binance.instead.clear()
        await trio.sleep(60)

        assert feed.tally.dropped == {"poll failed": 2}
        assert_known(held(feed))


async def test_a_symbol_that_binance_does_not_know_waits_an_hour_and_costs_no_other(
    autojump_clock: Clock,
) -> None:
    binance = Binance()
    binance.unknown = {"NOSUCHUSDT"}
    feed = binance.feed()
    async with running(feed, attrs.evolve(BTC, symbols=["NOSUCHUSDT", "BTCUSDT"])):
        await trio.sleep(3590)

        assert len(binance.times(LIVE, "NOSUCHUSDT")) == 1
        assert feed.tally.dropped == {"refused": 1}
        assert_known(held(feed))
        await trio.sleep(100)
        assert len(binance.times(LIVE, "NOSUCHUSDT")) == 2


async def test_who_only_has_unknown_symbols_waits_with_them(autojump_clock: Clock) -> None:
    binance = Binance()
    binance.unknown = {"BTCUSDT"}
    feed = binance.feed()
    async with running(feed):
        await trio.sleep(3500)

        assert len(binance.asked) == 1
        assert not feed.tally.delivering


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (testing.Reply(503, HTML), r"BTCUSDT: Binance is overloaded or down \(HTTP 503\)"),
        (ConnectionRefusedError("nobody there"), "BTCUSDT: Binance: cannot be asked: nobody"),
        (testing.Reply(451, "{}"), "BTCUSDT: Binance does not serve this region"),
        (testing.Reply(418, "{}", {"Retry-After": "7200"}), "Binance wants no request for 70"),
    ],
)
async def test_a_service_that_brings_nothing_new_is_a_dead_upstream(
    answer: Any, words: str, autojump_clock: Clock, nursery: trio.Nursery
) -> None:
    binance = Binance()
    feed = binance.feed()

    async def fail() -> None:
        await trio.sleep(5)
        binance.instead[LIVE] = answer

    nursery.start_soon(fail)
    with pytest.raises(ExceptionGroup) as caught:
        await samples(BTC, feed)

    assert trio.current_time() < 400
    error = unwrap(caught.value)
    assert isinstance(error, UpstreamSilent)
    assert (error.retry_s > 6900) == ("wants no request" in words)
    assert re.match(f"no open interest for 180s: {words}", str(error))


# -- as a component --


class Ours:
    """Only this source."""

    @staticmethod
    def flowd_sources() -> list[Any]:
        return [one for one in flowd_sources() if one.kind == "binance-open-interest"]


async def test_an_outage_is_told_and_recovered(autojump_clock: Clock) -> None:
    binance = Binance()
    document = """
    [sources.open-interest]
    kind = "binance-open-interest"
    symbols = ["BTCUSDT", "ETHUSDT"]
    history = 10
    keep = 100
    """
    registry = testing.registry(Ours)
    async with testing.daemon(document, registry=registry, rest=binance.rest) as daemon:
        await trio.sleep(60)
        (before,) = (await daemon.get("/status")).json()["components"]
        binance.instead[LIVE] = testing.Reply(503)
        await trio.sleep(900)
        (during,) = (await daemon.get("/status")).json()["components"]
        binance.instead.clear()
        await trio.sleep(120)
        (after,) = (await daemon.get("/status")).json()["components"]
        outages = [record.value for record in daemon.streams["outages"].after(0)]

    assert before["delivering"]
    assert after["delivering"]
    assert not during["delivering"]
    assert during["outage_since_ms"] == FULL_MS + 238_000
    assert during["error"].startswith("no open interest for 180s: ")
    (outage,) = [one for one in outages if one.from_ms == FULL_MS + 238_000]
    assert outage.to_ms is not None
    assert outage.to_ms >= FULL_MS + 1_160_000
    assert outage.recovered == 4, "two full five minutes of both symbols"
    assert all(one.to_ms is not None for one in outages)


# -- the configuration --


def test_without_symbols_bitcoin_is_asked_for() -> None:
    assert Config().names == ["BTCUSDT"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"symbols": []}, "name at least one symbol"),
        ({"symbols": ["*"]}, "one symbol at a time"),
        ({"symbols": ["BTC/USDT"]}, "is no symbol"),
        ({"every": Seconds(45.0)}, "every = 45s: expected a part of five minutes"),
        ({"every": Seconds(1.0)}, "every = 1s: expected a part of five minutes"),
        ({"every": Seconds(600.0)}, "every = 600s: expected a part of five minutes"),
        ({"rest_url": "fapi.binance.com"}, 'such as "https://'),
        ({"history": 51}, "history = 51"),
        ({"history": 0}, "history = 0"),
        ({"history": 9000, "keep": 9000}, "expected 1 to 8600"),
        ({"keep": 3_000_000}, "more than 1000000 samples"),
        ({"weight_per_minute": 3000}, "expected 20 to 2400"),
        (
            {"symbols": ["A", "B", "C"], "every": Seconds(5.0), "weight_per_minute": 30},
            "3 symbols so often are more than weight_per_minute = 30",
        ),
    ],
)
def test_a_configuration_that_cannot_work_is_refused_with_words(
    change: dict[str, Any], words: str
) -> None:
    with pytest.raises(ValueError, match=words):
        attrs.evolve(BTC, **change)


@pytest.mark.parametrize("retain", [Retain(49), Retain(KEPT_MAX, age_s=60)])
async def test_a_stream_too_short_for_what_is_kept_is_refused(
    retain: Retain, autojump_clock: Clock
) -> None:
    with pytest.raises(UserError, match="leave retain out"):
        await samples(BTC, Binance().feed(retain))
