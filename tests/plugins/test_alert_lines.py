"""Alert lines that the daemon keeps: what a crossing is, and what is said of it, once."""

from decimal import Decimal
from typing import Any

import pytest
import trio
from flowd_alerts.crossing import Step, crossed
from flowd_alerts.lines import AlertLine, Answered, Ask, Config, LineAlert, Wanted
from flowd_alerts.watching import EVERY_S, Watch, watching
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import wait_all_tasks_blocked

from flowd import testing
from flowd.market import Candle, Trade
from flowd.plugin import Outage, Seconds
from flowd.stream.log import Stream

T = testing.START_MS // 60_000 * 60_000 + 60_000
"""A whole minute, soon after the tests begin."""
MINUTE = 60_000

Nursery = trio.Nursery


def trade(price: str, at_ms: int = T, symbol: str = "BTCUSDT") -> Trade:
    value = Decimal(price)
    return Trade(symbol, "BUY", value, Decimal(1), value, at_ms, f"{at_ms}/{price}", "test")


def candle(back: int, open: str, low: str, high: str, close: str, *, closed: bool = True) -> Candle:
    """A candle of a minute, so many before that of T."""
    zero, at = Decimal(0), T - back * MINUTE
    prices = map(Decimal, (open, high, low, close))
    more = (zero, zero, 0, zero, zero, closed)
    return Candle("BTCUSDT", "1m", at, at + MINUTE - 1, *prices, *more)


class Rig:
    """A watch of one stream, whose prices come as the test says, on a clock that it moves."""

    def __init__(self, config: Config | None = None, **wanted: Any) -> None:
        self.now_ms = T
        self.config = config or Config("prices")
        self.prices: Stream[Any] = testing.stream("prices", record=Trade)
        self.outages: Stream[Outage] = testing.stream("outages", record=Outage)
        self.feed = testing.feed(record=LineAlert, name="alert-lines", clock=lambda: self.now_ms)
        self.count = 0
        self.restart()

    def restart(self) -> None:
        self.watch = Watch(self.config, testing.streams(self.prices, self.outages), self.feed)

    def see(
        self, price: str | Candle, after_ms: int = 1000, told_ms: int | None = None
    ) -> list[str]:
        """What is said of a price that comes so much later."""
        self.now_ms += after_ms
        before = self.feed.stream.head.seq
        value = trade(price, self.now_ms) if isinstance(price, str) else price
        self.watch.look("prices", value, self.now_ms if told_ms is None else told_ms)
        self.watch.save()
        return [record.value.text for record in self.feed.stream.after(before)]

    def ask(self, what: str, id: str = "", **wanted: Any) -> Answered:
        self.count += 1
        self.watch.answer(Ask(str(self.count), what, id, Wanted(**wanted)).written())
        found: Answered | None = self.feed.tables["answers"].get(str(self.count))
        assert found is not None
        return found

    def add(self, price: str, **wanted: Any) -> str:
        told = self.ask("add", symbol="BTCUSDT", price=price, **wanted)
        assert told.status == 200, told.message
        return told.line

    def line(self, id: str) -> AlertLine:
        found: AlertLine | None = self.feed.tables["lines"].get(id)
        assert found is not None
        return found

    @property
    def alerts(self) -> list[LineAlert]:
        return self.feed.values


@pytest.fixture
def rig() -> Rig:
    """A rig that knows a price: 100."""
    made = Rig()
    made.see("100")
    return made


# -- what a crossing is --

PRICES = st.integers(1, 20).map(Decimal)


@given(PRICES, st.lists(PRICES, min_size=2, max_size=6))
def test_what_is_called_a_crossing_happened_on_every_way_that_the_price_can_have_gone(
    line: Decimal, path: list[Decimal]
) -> None:
    step = Step(path[0], min(path), max(path), path[-1], T, T, T, T)

    ways = crossed(line, step)

    pairs = [(a, b) for i, a in enumerate(path) for b in path[i + 1 :]]
    assert "up" not in ways or any(a < line <= b for a, b in pairs)
    assert "down" not in ways or any(a > line >= b for a, b in pairs)
    if path[0] != line and min(path) <= line <= max(path):
        assert ways, "it was there"


@pytest.mark.parametrize(
    ("prices", "said"),
    [
        (["101"], 1),  # to the line is there
        (["102"], 1),  # and over it too
        (["100.99"], 0),
        (["99", "100.5"], 0),
        (["102", "99", "102"], 1),  # once
    ],
)
def test_a_line_is_told_of_once_when_the_price_is_there(
    prices: list[str], said: int, rig: Rig
) -> None:
    id = rig.add("101")

    texts = [text for price in prices for text in rig.see(price)]

    assert len(texts) == said
    assert rig.line(id).state == ("reached" if said else "watched")


def test_an_alert_says_what_happened_in_a_sentence(rig: Rig) -> None:
    id = rig.add("101", text="entry")

    (text,) = rig.see("101.5")

    assert text == ("entry: BTCUSDT crossed 101 from below at 22:14:02 UTC: 100 before, 101.5 then")
    (alert,) = rig.alerts
    assert (alert.line, alert.direction, alert.blind, alert.fired) == (id, "up", False, 1)
    assert (alert.before, alert.value, alert.time_ms) == (100, Decimal("101.5"), rig.now_ms)


def test_a_price_that_begins_on_the_line_has_to_come_to_it_first(rig: Rig) -> None:
    id = rig.add("100")

    assert rig.line(id).side == "on"
    assert rig.see("101") == []
    assert len(rig.see("100")) == 1


def test_a_line_on_the_wrong_side_waits_until_the_price_can_come_from_there(rig: Rig) -> None:
    id = rig.add("99", direction="up")

    said = [rig.see(price) for price in ("98", "98.5", "99")]

    assert rig.line(id).side == "above"
    assert [len(texts) for texts in said] == [0, 0, 1]
    assert rig.alerts[0].direction == "up"


def test_several_lines_are_told_of_each_by_itself(rig: Rig) -> None:
    first, second, third = rig.add("101"), rig.add("101", text="again"), rig.add("103")
    rig.add("99")

    assert len(rig.see("105")) == 3
    assert {alert.line for alert in rig.alerts} == {first, second, third}


def test_lines_of_other_symbols_are_left_alone(rig: Rig) -> None:
    rig.add("101")

    rig.watch.look("prices", trade("200", symbol="ETHUSDT"), T)

    assert rig.alerts == []


def test_a_line_that_repeats_is_armed_again_when_the_price_has_gone_far_enough(rig: Rig) -> None:
    id = rig.add("101", repeat=True, hysteresis="0.01", direction="up")

    said = [len(rig.see(price)) for price in ("101", "100.5", "101.5", "99.9", "101")]

    assert said == [1, 0, 0, 0, 1]
    assert [alert.fired for alert in rig.alerts] == [1, 2]
    assert (rig.line(id).armed, rig.line(id).state) == (False, "watched")


def test_one_for_both_ways_is_armed_on_either_side(rig: Rig) -> None:
    rig.add("101", repeat=True, hysteresis="0.01")

    said = [len(rig.see(price)) for price in ("101", "103", "100.8", "99", "102")]

    assert said == [1, 0, 1, 0, 1]
    assert [alert.direction for alert in rig.alerts] == ["up", "down", "up"]


def test_a_price_that_jumps_far_over_a_line_may_come_back_at_once(rig: Rig) -> None:
    rig.add("101", repeat=True, hysteresis="0.01")

    assert [len(rig.see(price)) for price in ("105", "100.9", "101.1")] == [1, 1, 0]


def test_without_hysteresis_it_is_armed_as_soon_as_the_price_has_left(rig: Rig) -> None:
    rig.add("101", repeat=True, hysteresis="0", direction="up")

    assert [len(rig.see(price)) for price in ("101", "101", "100.99", "101")] == [1, 0, 0, 1]


def test_a_line_that_is_moved_is_watched_anew(rig: Rig) -> None:
    id = rig.add("101")
    rig.see("102")

    rig.ask("change", id, price="103")

    assert (rig.line(id).state, rig.line(id).fired_ms) == ("watched", None)
    assert len(rig.see("104")) == 1
    assert rig.line(id).fired == 2


def test_another_text_alone_starts_nothing_anew(rig: Rig) -> None:
    id = rig.add("101")
    rig.see("102")
    before = rig.line(id)

    rig.ask("change", id, text="exit")

    assert rig.line(id).text == "exit"
    assert (rig.line(id).state, rig.line(id).set_ms) == ("reached", before.set_ms)


def test_a_line_that_was_removed_says_nothing_and_is_told_as_removed(rig: Rig) -> None:
    id = rig.add("101")

    rig.ask("remove", id)

    assert rig.see("102") == []
    assert rig.line(id).removed
    assert rig.ask("remove", id).code == "UNKNOWN_LINE"
    assert rig.ask("change", id, price="5").code == "UNKNOWN_LINE"


def test_what_was_removed_is_forgotten_after_a_day(rig: Rig) -> None:
    id = rig.add("101")
    rig.ask("remove", id)

    rig.now_ms += 86_400_001
    rig.watch.tick()

    assert rig.feed.tables["lines"].get(id) is None


# -- what is not known --


def test_a_price_that_comes_back_on_the_other_side_crossed_while_none_was_known(rig: Rig) -> None:
    rig.add("101")
    rig.outages.append(Outage("prices", rig.now_ms + 1, rig.now_ms + 360_000))

    (text,) = rig.see("102", after_ms=361_000)

    assert "between 22:14:01 and 22:20:02 UTC, while no price was known" in text
    (alert,) = rig.alerts
    assert (alert.blind, alert.time_ms - alert.from_ms) == (True, 361_000)


def test_an_outage_of_another_component_leaves_it_exact(rig: Rig) -> None:
    rig.add("101")
    rig.outages.append(Outage("others", rig.now_ms + 1, rig.now_ms + 360_000))

    (text,) = rig.see("102", after_ms=361_000)

    assert "at 22:20:02 UTC:" in text
    assert rig.alerts[0].blind is False


def test_a_symbol_of_which_nothing_is_heard_for_long_has_no_price(rig: Rig) -> None:
    id = rig.add("101")
    rig.now_ms += 600_001
    rig.watch.tick()

    assert (rig.line(id).state, rig.line(id).known_ms) == ("blind", T + 1000)
    (text,) = rig.see("102")
    assert "while no price was known" in text


def test_while_nothing_comes_lines_are_blind_until_the_next_price(rig: Rig) -> None:
    id = rig.add("101")
    rig.now_ms += 15_001
    rig.watch.tick()  # nobody delivers in this rig

    assert rig.line(id).state == "blind"
    assert rig.see("100") == []
    assert (rig.line(id).state, rig.line(id).known_ms) == ("watched", None)


def test_a_line_that_is_set_while_no_price_is_known_waits_for_one(rig: Rig) -> None:
    rig.outages.append(Outage("prices", rig.now_ms + 1, rig.now_ms + 60_000))
    rig.now_ms += 30_000
    id = rig.add("101")

    assert (rig.line(id).state, rig.line(id).side) == ("blind", None)
    assert rig.see("102", after_ms=31_000) == []  # it may have been there before
    assert len(rig.see("101")) == 1


def test_a_line_whose_stream_is_gone_is_blind_and_stays(rig: Rig) -> None:
    id = rig.add("101")
    rig.config = Config("others")
    rig.restart()

    rig.watch.tick()

    assert rig.line(id).state == "blind"


# -- candles --


def test_how_far_a_candle_went_counts_though_it_came_back() -> None:
    rig = Rig()
    rig.see(candle(0, "100", "100", "100", "100", closed=False))
    rig.add("101")

    (text,) = rig.see(candle(0, "100", "100", "101.5", "100.2", closed=False))

    assert "101 from below at 22:14:02 UTC: 100 before, 100.2 then" in text


def test_how_far_it_went_before_the_line_was_set_does_not_count() -> None:
    rig = Rig()
    rig.see(candle(0, "100", "99", "105", "100", closed=False))
    rig.add("101")

    assert rig.see(candle(0, "100", "99", "105", "100.5", closed=False)) == []
    assert len(rig.see(candle(0, "100", "99", "105", "101", closed=False))) == 1


def test_an_outage_within_a_candle_hides_nothing_since_it_says_how_far_it_went() -> None:
    rig = Rig()
    rig.see(candle(0, "100", "100", "100", "100", closed=False))
    rig.add("101")
    rig.outages.append(Outage("prices", rig.now_ms + 1, rig.now_ms + 29_000))

    (text,) = rig.see(candle(0, "100", "100", "102", "100", closed=False), after_ms=30_000)

    assert "between 22:14:01 and 22:14:31 UTC: 100 before" in text
    assert not rig.alerts[0].blind


def test_a_history_that_comes_after_an_outage_says_when_the_price_was_there() -> None:
    rig = Rig()
    rig.see(candle(10, "100", "100", "100", "100", closed=False), told_ms=T - 10 * MINUTE + 1)
    rig.now_ms = T - 10 * MINUTE + 2
    id = rig.add("101")
    rig.outages.append(Outage("prices", rig.now_ms, T))
    rig.now_ms = T

    live = rig.see(candle(0, "100", "100", "100", "100", closed=False))
    history = [text for back in (9, 8) for text in rig.see(candle(back, "100", "99", "100", "100"))]
    (text,) = rig.see(candle(7, "100", "99", "101", "100"))

    assert (live, history) == ([], [])
    assert "between 22:07:00 and 22:08:00 UTC: 100 before" in text
    assert rig.line(id).state == "reached"
    assert rig.see(candle(6, "100", "99", "101", "100")) == []


def test_a_history_of_before_the_line_says_nothing_of_it() -> None:
    rig = Rig()
    rig.see(candle(0, "100", "100", "100", "100", closed=False))
    rig.add("101", repeat=True)

    assert rig.see(candle(5, "100", "90", "110", "100")) == []


def test_a_hole_between_candles_in_an_outage_is_a_time_without_a_price() -> None:
    rig = Rig()
    rig.see(candle(10, "100", "100", "100", "100"), told_ms=T - 9 * MINUTE)
    rig.now_ms = T - 9 * MINUTE
    rig.add("101")
    rig.outages.append(Outage("prices", T - 9 * MINUTE + 1, T))
    rig.now_ms = T

    (text,) = rig.see(candle(0, "102", "102", "102", "102", closed=False))

    assert "between 22:05:00 and 22:14:01 UTC, while no price was known" in text


def test_wider_candles_in_the_same_stream_say_nothing() -> None:
    rig = Rig()
    rig.see(candle(0, "100", "100", "100", "100", closed=False))
    rig.add("101")
    zero, price = Decimal(0), Decimal(100)
    wide = Candle(
        "BTCUSDT", "1h", T, T + 3_599_999, price, price * 2, price, price, *[zero] * 2, 0,
        *[zero] * 2, closed=False,
    )  # fmt: skip

    assert rig.see(wide) == []


# -- what survives --


def test_a_restart_goes_on_from_the_price_that_was_looked_at_last(rig: Rig) -> None:
    rig.add("101")
    rig.see("100.5")

    rig.restart()

    (text,) = rig.see("101")
    assert "100.5 before, 101 then" in text


def test_what_was_told_is_not_told_again_by_who_was_restarted(rig: Rig) -> None:
    rig.add("101")
    rig.see("101")

    rig.restart()

    assert [rig.see(price) for price in ("100", "101")] == [[], []]


async def test_it_goes_on_where_it_was_in_the_stream(
    autojump_clock: trio.testing.MockClock, nursery: Nursery
) -> None:
    prices: Stream[Trade] = testing.stream("prices", [trade("100")], record=Trade)
    feed = testing.feed(record=LineAlert, name="alert-lines")
    places: dict[str, int] = {}
    run = Config("prices"), testing.streams(prices, places=places), feed
    async with trio.open_nursery() as first:
        first.start_soon(watching, *run)
        await wait_all_tasks_blocked()
        feed.ask(Ask("1", "add", wanted=Wanted("BTCUSDT", "101")).written())
        await trio.sleep(1)
        first.cancel_scope.cancel()
    prices.append(trade("102"))

    nursery.start_soon(watching, Config("prices"), testing.streams(prices, places=places), feed)
    await trio.sleep(EVERY_S)

    assert [alert.before for alert in feed.values] == [100]
    nursery.cancel_scope.cancel()


async def test_prices_of_symbols_without_a_line_are_known_again_after_a_restart(
    autojump_clock: trio.testing.MockClock, nursery: Nursery
) -> None:
    values = [trade("100"), trade("5", symbol="SOLUSDT")]
    prices: Stream[Trade] = testing.stream("prices", values, record=Trade)
    feed = testing.feed(record=LineAlert, name="alert-lines")
    streams = testing.streams(prices, places={"prices": 2})
    nursery.start_soon(watching, Config("prices"), streams, feed)
    await wait_all_tasks_blocked()

    feed.ask(Ask("1", "add", wanted=Wanted("SOLUSDT", "6")).written())
    await trio.sleep(1)

    assert feed.tables["answers"].get("1").code == ""
    nursery.cancel_scope.cancel()


# -- what cannot be --


def test_a_symbol_without_a_price_is_refused_with_the_nearest_name(rig: Rig) -> None:
    told = rig.ask("add", symbol="BTCUSD", price="1")

    assert (told.code, told.status) == ("UNKNOWN_SYMBOL", 400)
    assert 'Did you mean "BTCUSDT"?' in told.message


def test_there_are_only_so_many_lines_in_all_and_of_a_symbol() -> None:
    rig = Rig(Config("prices", most=21))
    rig.see("100")
    rig.watch.look("prices", trade("5", symbol="SOLUSDT"), T)
    for _ in range(20):
        rig.add("101")

    of_symbol = rig.ask("add", symbol="BTCUSDT", price="1")
    last = rig.ask("add", symbol="SOLUSDT", price="1")
    in_all = rig.ask("add", symbol="SOLUSDT", price="2")

    assert (of_symbol.code, last.code, in_all.code) == ("TOO_MANY_LINES", "", "TOO_MANY_LINES")
    assert "the most for one symbol" in of_symbol.message
    assert "all that there may be" in in_all.message
    rig.ask("remove", last.line)
    assert rig.ask("add", symbol="SOLUSDT", price="2").code == ""


def test_a_stream_that_is_not_looked_at_is_refused_with_those_that_are(rig: Rig) -> None:
    told = rig.ask("add", symbol="BTCUSDT", price="1", input="nope")

    assert (told.parameter, told.allowed) == ("input", ("prices",))


@pytest.mark.parametrize(
    "text",
    ["", "{}", "[]", '["1","add",""]', '["1","add","","BTCUSDT","NaN",null,null,null,null,null]'],
)
def test_what_makes_no_sense_is_dropped_and_counted(text: str, rig: Rig) -> None:
    rig.watch.answer(text)

    assert sum(rig.feed.tally.dropped.values()) == 1
    assert len(rig.feed.tables["lines"]) == 0


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"input": None}, "name a stream"),
        ({"most": 0}, "expected 1 to 2000"),
        ({"hysteresis": Decimal(1)}, "a share of the price"),
        ({"stale": Seconds(1)}, "30s"),
    ],
)
def test_a_wrong_setting_is_refused_with_what_would_be_right(
    changes: dict[str, Any], words: str
) -> None:
    with pytest.raises(ValueError, match=words):
        Config(**{"input": "prices", **changes})
