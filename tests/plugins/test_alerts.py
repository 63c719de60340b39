"""Alerts when much was liquidated: by threshold, by what is usual, once, also after a crash."""

import math
from decimal import Decimal
from statistics import median, pstdev
from typing import Any

import flowd_alerts
import pytest
import trio
from attrs import evolve, frozen
from flowd_alerts import Alert, Config, Watch, alerts
from flowd_alerts.robust import usual
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import wait_all_tasks_blocked

from flowd import testing
from flowd.market import Bucket, VenueSum
from flowd.plugin import Seconds, Source

FIVE_MINUTES_MS = 300_000
NOW_MS = testing.START_MS // FIVE_MINUTES_MS * FIVE_MINUTES_MS
"""The beginning of the bucket that is open when a test begins."""
MILLION = Config("volume", threshold=Decimal(1_000_000), z=Decimal(0))
UNUSUAL = Config("volume", log=False, min_buckets=5)

Clock = trio.testing.MockClock
Nursery = trio.Nursery


def bucket(total: int | str, back: int = 0, **changes: Any) -> Bucket:
    """A bucket, so many spans before the one that is open."""
    given: dict[str, Any] = {"symbol": "BTCUSDT", "timeframe": "5m", "buy": Decimal(0)} | changes
    time_ms = NOW_MS - back * FIVE_MINUTES_MS
    return Bucket(time_ms=time_ms, sell=Decimal(total), count=1, **given)


class Rig:
    """A table of buckets, and a watch that looks at each as it comes."""

    def __init__(self, config: Config) -> None:
        self.buckets = testing.stream("volume", record=Bucket)
        self.feed = testing.feed(record=Alert)
        self.config = config
        self.places: dict[str, int] = {}
        self.restart()

    def restart(self) -> None:
        streams = testing.streams(self.buckets, places=self.places)
        self.watch = Watch(self.config, streams["volume"], self.feed)

    def past(self, *totals: int | str, **changes: Any) -> None:
        """What came before the open bucket, the newest last; unseen by the watch."""
        for back, total in enumerate(reversed(totals), 1):
            self.append(bucket(total, back, **changes))

    def append(self, one: Bucket) -> None:
        self.buckets.append(one, key=f"{one.symbol}/{one.timeframe}/{one.time_ms}")

    def see(self, one: Bucket) -> list[Alert]:
        """What is said of a bucket that comes now."""
        before = self.feed.stream.head.seq
        self.append(one)
        self.watch.look(one)
        return [record.value for record in self.feed.stream.after(before)]


@pytest.fixture
def rig(request: pytest.FixtureRequest) -> Rig:
    return Rig(getattr(request, "param", MILLION))


# -- how unusual --


def test_the_score_is_iglewicz_and_hoaglins() -> None:
    past = usual([Decimal(n) for n in (1, 2, 3, 4, 100)], log=False)

    assert past is not None
    assert (past.centre, past.mad) == (3, 1)
    assert past.z(Decimal(5)) == pytest.approx(0.6745 * 2 / 1)
    assert past.z(Decimal(1)) == pytest.approx(-0.6745 * 2 / 1)


def test_a_mad_of_zero_is_replaced_by_the_mean_deviation() -> None:
    past = usual([Decimal(n) for n in (5, 5, 5, 5, 10)], log=False)

    assert past is not None
    assert (past.mad, past.mean_ad) == (0, 1)
    assert past.z(Decimal(10)) == pytest.approx(math.sqrt(2 / math.pi) * 5)


@pytest.mark.parametrize("log", [False, True])
@pytest.mark.parametrize("text", ["5", "0.1", "123456.789"])
def test_where_all_are_the_same_nothing_can_be_said(text: str, log: bool) -> None:
    past = usual([Decimal(text)] * 50, log=log)

    assert past is not None
    assert past.z(Decimal(10**9)) is None


def test_nothing_is_usual_where_nothing_was() -> None:
    assert usual([]) is None
    assert usual([Decimal(0)] * 5) is None


def test_the_logarithm_makes_multiples_count_and_the_median_stays_an_amount() -> None:
    past = usual([Decimal(10) ** n for n in range(1, 6)])

    assert past is not None
    assert past.median == 1000
    assert past.z(Decimal(10**6)) == pytest.approx(0.6745 * 3 / 1)
    assert past.z(Decimal(0)) is None


@given(st.lists(st.integers(1, 10**12), min_size=3, max_size=50), st.booleans())
def test_a_score_rises_with_the_amount_and_is_nothing_at_the_centre(
    amounts: list[int], log: bool
) -> None:
    past = usual([Decimal(amount) for amount in amounts], log=log)

    assert past is not None
    assert past.median == Decimal(median(amounts)).quantize(Decimal("0.1"))
    scores = [past.z(Decimal(10) ** n) for n in range(14)]
    assert scores == sorted(scores, key=lambda z: z or 0.0)
    if len(amounts) % 2:
        assert past.z(past.median) in (None, pytest.approx(0, abs=1e-9))


def test_of_normal_data_the_score_reads_like_standard_deviations() -> None:
    from random import Random

    random = Random(7)
    amounts = [1000 + random.gauss(0, 50) for _ in range(5000)]
    past = usual([Decimal(amount) for amount in amounts], log=False)

    assert past is not None
    assert past.z(Decimal(1100)) == pytest.approx(100 / pstdev(amounts), rel=0.05)


# -- the threshold --


async def test_an_alert_says_of_which_venue_its_bucket_is(rig: Rig, autojump_clock: Clock) -> None:
    (alert,) = rig.see(bucket("1000000", venue="bybit"))

    assert alert.venue == "bybit"


async def test_a_bucket_that_reaches_the_threshold_is_told_of(
    rig: Rig, autojump_clock: Clock
) -> None:
    assert rig.see(bucket("999999.99")) == []

    (alert,) = rig.see(bucket("1000000", buy=Decimal("234567.8"), venue="binance"))

    assert alert == Alert(
        symbol="BTCUSDT",
        timeframe="5m",
        time_ms=NOW_MS,
        rule="threshold",
        level=0,
        value=Decimal("1234567.8"),
        threshold=Decimal(1_000_000),
        z=None,
        median=None,
        past=None,
        text="BTCUSDT, 5m from 22:10 UTC: at least 1,234,568 liquidated on binance "
        "(longs 1,000,000, shorts 234,568): reached 1,000,000",
        venue="binance",
        venues=("binance",),
        lower_bound=True,
        approximate=False,
        input="volume",
    )


BYBIT = VenueSum("bybit", Decimal(0), Decimal(1_000_000), 1, "bankruptcy", "all")
HYPERLIQUID = VenueSum("hyperliquid", Decimal(0), Decimal(1_000_000), 1, "fill", "all")
OKX = VenueSum("okx", Decimal(0), Decimal(1_000_000), 1, "mark", "sampled")


@pytest.mark.parametrize(
    ("venues", "words"),
    [
        ((BYBIT,), "UTC: about 1,000,000 liquidated on bybit ("),
        ((HYPERLIQUID,), "UTC: 1,000,000 liquidated on hyperliquid ("),
        ((HYPERLIQUID, OKX), "UTC: at least 1,000,000 liquidated on hyperliquid, okx ("),
        ((BYBIT, OKX), "UTC: at least about 1,000,000 liquidated on bybit, okx ("),
    ],
)
async def test_an_alert_says_in_words_what_its_sum_is_worth(
    venues: tuple[VenueSum, ...], words: str, rig: Rig, autojump_clock: Clock
) -> None:
    (alert,) = rig.see(bucket(1_000_000, venues=venues))

    assert words in alert.text
    assert alert.venues == tuple(part.venue for part in venues)
    assert (alert.approximate, alert.lower_bound) == ("about" in words, "at least" in words)


async def test_a_bucket_that_grows_on_is_told_of_once(rig: Rig, autojump_clock: Clock) -> None:
    told = [rig.see(bucket(total)) for total in range(900_000, 2_000_000, 100_000)]

    assert [len(alerts) for alerts in told] == [0, 1] + [0] * 9


async def test_each_bucket_symbol_and_timeframe_is_told_of_by_itself(
    autojump_clock: Clock,
) -> None:
    rig = Rig(Config("volume", ["5m", "1h"], threshold=Decimal(10), z=Decimal(0)))

    for one in (
        bucket(10),
        bucket(10, 1),
        bucket(10, symbol="ETHUSDT"),
        bucket(10, timeframe="1h"),
        bucket(10, timeframe="1d"),
    ):
        rig.see(one)

    assert len(rig.feed.values) == 4


async def test_only_the_symbols_that_were_asked_for_are_told_of(autojump_clock: Clock) -> None:
    rig = Rig(Config("volume", symbols=["ethusdt"], threshold=Decimal(10)))

    assert rig.see(bucket(10)) == []
    assert len(rig.see(bucket(10, symbol="ETHUSDT"))) == 1


@pytest.mark.parametrize(
    ("one", "why"),
    [
        (bucket(2_000_000, 14), "it was over more than an hour ago"),
        (bucket(2_000_000, backfilled=True), "it is another daemon's"),
    ],
)
async def test_what_is_no_news_is_not_told(
    one: Bucket, why: str, rig: Rig, autojump_clock: Clock
) -> None:
    assert rig.see(one) == [], why


async def test_a_late_order_can_still_raise_an_alert(rig: Rig, autojump_clock: Clock) -> None:
    rig.see(bucket(10))

    (alert,) = rig.see(bucket(2_000_000, 3, late=True))

    assert alert.time_ms == NOW_MS - 3 * FIVE_MINUTES_MS


# -- escalation and cooldown --


async def test_an_escalation_is_told_once_and_supersedes(autojump_clock: Clock) -> None:
    rig = Rig(
        Config("volume", threshold=Decimal(100), z=Decimal(0), escalate=[Decimal(2), Decimal(5)])
    )

    told = [rig.see(bucket(total)) for total in (100, 150, 200, 210, 1000, 2000)]

    assert [[alert.level for alert in alerts] for alerts in told] == [[0], [], [1], [], [2], []]
    assert [alert.threshold for alert in rig.feed.values] == [500]


async def test_a_leap_over_several_levels_tells_the_highest_only(autojump_clock: Clock) -> None:
    rig = Rig(
        Config("volume", threshold=Decimal(100), z=Decimal(0), escalate=[Decimal(2), Decimal(5)])
    )

    told = [rig.see(bucket(total)) for total in (600, 700)]

    assert [[alert.level for alert in alerts] for alerts in told] == [[2], []]


async def test_within_the_cooldown_only_an_escalation_is_told(autojump_clock: Clock) -> None:
    config = Config(
        "volume",
        threshold=Decimal(100),
        z=Decimal(0),
        cooldown=Seconds(600.0),
        escalate=[Decimal(5)],
    )
    rig = Rig(config)
    rig.see(bucket(100, 1))
    await trio.sleep(599)

    assert rig.see(bucket(100)) == []
    assert rig.see(bucket(100, symbol="ETHUSDT")) != [], "it cools down by itself"
    assert [alert.level for alert in rig.see(bucket(500, 1))] == [1]

    await trio.sleep(599)
    assert rig.see(bucket(150)) == [], "the escalation began it anew"
    await trio.sleep(1)
    assert len(rig.see(bucket(151))) == 1


async def test_the_cooldown_outlives_a_restart(autojump_clock: Clock) -> None:
    rig = Rig(Config("volume", threshold=Decimal(100), z=Decimal(0), cooldown=Seconds(600.0)))
    rig.see(bucket(100, 1))

    rig.restart()

    assert rig.see(bucket(100)) == []


# -- what is unusual --


@pytest.mark.parametrize("rig", [UNUSUAL], indirect=True)
async def test_what_is_far_beyond_its_own_past_is_told_of(rig: Rig, autojump_clock: Clock) -> None:
    rig.past(100, 90, 110, 105, 95, 120, 80)
    # Median 100, MAD 10: the cutoff of 3.5 lies at 151.89.

    assert rig.see(bucket("151.8")) == []
    (alert,) = rig.see(bucket("152"))

    assert (alert.rule, alert.past) == ("unusual", 7)
    assert (alert.z, alert.median) == (Decimal("3.51"), Decimal(100))
    assert alert.threshold is None
    assert alert.text.endswith(": unusual, z 3.5, the median is 100")
    assert rig.see(bucket(500)) == []


@pytest.mark.parametrize("rig", [UNUSUAL], indirect=True)
async def test_what_is_small_is_never_unusual(rig: Rig, autojump_clock: Clock) -> None:
    rig.past(100, 90, 110, 105, 95, 120, 80)

    assert rig.see(bucket(1)) == []


@pytest.mark.parametrize("rig", [UNUSUAL], indirect=True)
async def test_with_too_short_a_past_nothing_is_unusual(rig: Rig, autojump_clock: Clock) -> None:
    rig.past(100, 90, 110, 105)

    assert rig.see(bucket(10_000)) == []


@pytest.mark.parametrize("rig", [UNUSUAL], indirect=True)
async def test_a_bucket_does_not_count_as_its_own_past_nor_do_other_symbols(
    rig: Rig, autojump_clock: Clock
) -> None:
    rig.past(100, 90, 110, 105)
    rig.past(100, 90, 110, 105, symbol="ETHUSDT")
    rig.past(100, 90, 110, 105, timeframe="15m")
    for total in range(90, 200, 10):
        rig.see(bucket(total))

    assert rig.feed.values == []


async def test_only_the_window_is_remembered(autojump_clock: Clock) -> None:
    rig = Rig(Config("volume", log=False, min_buckets=5, window=5))
    rig.past(*[100_000] * 50, 100, 90, 110, 105, 95)

    assert len(rig.see(bucket(1000))) == 1


async def test_quiet_spans_leave_no_mark_on_what_is_usual(autojump_clock: Clock) -> None:
    rig = Rig(Config("volume", log=False, min_buckets=5, window=100))
    for back, total in zip(
        (1, 20, 40, 60, 80, 99, 101), (100, 90, 110, 105, 95, 99, 1), strict=True
    ):
        rig.append(bucket(total, back))

    (alert,) = rig.see(bucket(1000))

    assert alert.past == 6


async def test_another_daemons_history_counts_as_past(autojump_clock: Clock) -> None:
    rig = Rig(UNUSUAL)
    rig.past(100, 90, 110, 105, 95, backfilled=True)

    assert len(rig.see(bucket(1000))) == 1


async def test_a_late_order_changes_what_is_usual(autojump_clock: Clock) -> None:
    rig = Rig(UNUSUAL)
    rig.past(100, 90, 110, 105, 95)
    rig.see(bucket(100))
    rig.see(bucket(1_000_000, 1))
    rig.see(bucket(1_000_000, 2))

    alerts = rig.see(bucket(200))

    assert alerts == [], "the median deviation is larger now"


async def test_amounts_below_the_floor_are_never_unusual(autojump_clock: Clock) -> None:
    rig = Rig(Config("volume", log=False, min_buckets=5, floor=Decimal(1000)))
    rig.past(1, 2, 3, 4, 5)

    assert rig.see(bucket(999)) == []
    assert len(rig.see(bucket(1000))) == 1


async def test_by_default_amounts_count_by_their_logarithm(autojump_clock: Clock) -> None:
    rig = Rig(Config("volume", min_buckets=5))
    rig.past(10, 100, 1000, 10_000, 100_000)

    assert rig.see(bucket(10**8)) == [], "on the amounts themselves the score would be 68130"
    assert len(rig.see(bucket(10**9))) == 1


async def test_both_rules_speak_for_themselves(autojump_clock: Clock) -> None:
    rig = Rig(Config("volume", log=False, min_buckets=5, threshold=Decimal(1000)))
    rig.past(100, 90, 110, 105, 95)

    assert [alert.rule for alert in rig.see(bucket(1000))] == ["threshold", "unusual"]


async def test_a_score_beyond_all_measure_is_still_a_number(autojump_clock: Clock) -> None:
    rig = Rig(UNUSUAL)
    rig.past("0.00000001", "0.00000002", "0.00000003", "0.00000004", "0.00000005")

    (alert,) = rig.see(bucket(10**24))

    assert alert.z == 10**9


# -- as a transform --

Places = dict[str, int]


async def test_it_reads_what_came_before_it_and_what_comes(
    rig: Rig, autojump_clock: Clock, nursery: Nursery
) -> None:
    rig.append(bucket(2_000_000, 1))
    nursery.start_soon(alerts, MILLION, testing.streams(rig.buckets), rig.feed)
    await wait_all_tasks_blocked()
    assert len(rig.feed.values) == 1

    rig.append(bucket(3_000_000))
    await wait_all_tasks_blocked()

    assert len(rig.feed.values) == 2


@frozen
class Offer:
    timeframes: list[str]


@pytest.mark.parametrize(("offered", "dropped"), [(["1m"], {"no buckets of 5m": 1}), (["5m"], {})])
async def test_a_timeframe_that_the_input_has_not_is_counted(
    offered: list[str],
    dropped: dict[str, int],
    rig: Rig,
    autojump_clock: Clock,
    nursery: Nursery,
) -> None:
    offer = testing.stream("volume.timeframes", record=Offer)
    nursery.start_soon(alerts, MILLION, testing.streams(rig.buckets, offer), rig.feed)
    await wait_all_tasks_blocked()

    offer.append(Offer(offered), key="timeframes")
    rig.append(bucket(1, timeframe="1m"))
    rig.append(bucket(2, timeframe="1m"))
    await wait_all_tasks_blocked()

    assert rig.feed.tally.dropped == dropped


async def test_it_ends_when_its_input_does(rig: Rig, autojump_clock: Clock) -> None:
    rig.append(bucket(2_000_000))
    rig.buckets.close()

    await alerts(MILLION, testing.streams(rig.buckets), rig.feed)

    assert len(rig.feed.values) == 1


@pytest.mark.parametrize("forgotten", [False, True], ids=["goes on", "reads all again"])
async def test_a_restart_at_any_moment_tells_nothing_twice_and_misses_nothing(
    forgotten: bool, rig: Rig, autojump_clock: Clock
) -> None:
    for number in range(40):
        rig.append(bucket(2_000_000, symbol=f"A{number}USDT"))
        places: Places = {} if forgotten else rig.places
        async with trio.open_nursery() as nursery:
            streams = testing.streams(rig.buckets, places=places)
            nursery.start_soon(alerts, MILLION, streams, rig.feed)
            for _ in range(number % 7):
                await trio.lowlevel.checkpoint()
            nursery.cancel_scope.cancel()
    rig.buckets.close()
    await alerts(MILLION, testing.streams(rig.buckets, places=rig.places), rig.feed)

    assert rig.feed.stream.head.seq == 40
    assert len({alert.symbol for alert in rig.feed.values}) == 40


async def several(rig: Rig, other: Any, config: Config) -> None:
    """A life of the transform over these inputs, over all that they have."""
    async with trio.open_nursery() as nursery:
        streams = testing.streams(rig.buckets, other, places=rig.places)
        nursery.start_soon(alerts, config, streams, rig.feed)
        await wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()


async def test_two_inputs_are_watched_each_for_itself_and_told_of_once_whatever_is_configured(
    rig: Rig, autojump_clock: Clock
) -> None:
    other = testing.stream("other", record=Bucket)
    alone = evolve(MILLION, input="volume", inputs=[])
    both = evolve(MILLION, input=None, inputs=["volume", "other"])
    rig.append(bucket(2_000_000))
    await several(rig, other, alone)
    other.append(bucket(600_000), key="1")
    rig.append(bucket(2_100_000))
    await several(rig, other, both)
    nothing_more = rig.feed.stream.head.seq
    other.append(bucket(1_700_000), key="1")
    rig.append(bucket(2_200_000))
    await several(rig, other, both)
    rig.append(bucket(2_300_000))
    await several(rig, other, alone)
    await several(rig, other, evolve(both, inputs=["other", "volume"]))

    told = [(alert.input, alert.value) for alert in rig.feed.values]
    assert nothing_more == 1
    assert told == [("volume", Decimal(2_000_000)), ("other", Decimal(1_700_000))]


async def test_cooldown_is_each_inputs_own_also_after_a_restart(autojump_clock: Clock) -> None:
    config = evolve(MILLION, input=None, inputs=["volume", "other"], cooldown=Seconds(900.0))
    rig, other = Rig(config), testing.stream("other", record=Bucket)
    rig.append(bucket(2_000_000, 1))
    await several(rig, other, config)
    rig.append(bucket(2_000_000))
    other.append(bucket(2_000_000), key="1")
    await several(rig, other, config)

    assert [alert.input for alert in rig.feed.values] == ["volume", "other"]


CONFIG = """
[sources.volume]
kind = "buckets"

[transforms.alerts]
kind = "alerts"
input = "volume"
threshold = 1000000
"""


@pytest.mark.parametrize("crash", [False, True])
async def test_a_daemon_that_comes_back_does_not_repeat_its_alerts(
    crash: bool, autojump_clock: Clock
) -> None:
    @frozen
    class Nothing:
        pass

    async def buckets(config: Nothing, feed: Any) -> None:
        one = bucket(2_000_000)
        feed.publish(one, key=f"{one.symbol}/{one.timeframe}/{one.time_ms}")
        await trio.sleep_forever()

    class Plugin:
        @staticmethod
        def flowd_sources() -> list[Source]:
            return [Source("buckets", buckets, Nothing, record=Bucket)]

    kinds = testing.registry(Plugin, flowd_alerts)
    store = testing.MemoryStore()
    async with testing.daemon(CONFIG, registry=kinds, store=store, crash=crash) as daemon:
        await trio.sleep(11)
        first = [record.value for record in daemon.streams["alerts"].after(0)]

    async with testing.daemon(CONFIG, registry=kinds, store=store) as daemon:
        await trio.sleep(11)
        again = [record.value for record in daemon.streams["alerts"].after(0)]

        assert len(first) == 1
        assert again == first
        assert daemon.streams["alerts"].seq == 1


# -- the configuration --


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"z": Decimal(0)}, "neither threshold nor z"),
        ({"threshold": Decimal(0)}, "threshold = 0"),
        ({"z": Decimal(-1)}, "from 0 up"),
        ({"timeframes": []}, "name at least one"),
        ({"timeframes": ["1M"]}, "'1M' is none"),
        ({"timeframes": ["5"]}, "'5' is none"),
        ({"timeframes": ["7m"]}, "no buckets of '7m'"),
        ({"timeframes": ["25h"]}, "no buckets of '25h'"),
        ({"timeframes": ["2w"]}, "no buckets of '2w'"),
        ({"symbols": []}, "name at least one symbol"),
        ({"window": 1, "min_buckets": 1}, "expected 2 or more"),
        ({"window": 10}, "min_buckets = 30"),
        ({"window": 5001}, "at most 5000"),
        ({"escalate": [Decimal(5), Decimal(2)]}, "rising multiples"),
        ({"escalate": [Decimal(1)]}, "rising multiples"),
    ],
)
def test_a_configuration_that_cannot_work_is_refused_with_words(
    settings: dict[str, Any], words: str
) -> None:
    with pytest.raises(ValueError, match=words):
        Config("volume", **settings)


def test_a_week_and_what_divides_a_day_are_timeframes() -> None:
    assert Config("volume", timeframes=["1w", "1d", "8h", "90m"]).timeframes[0] == "1w"
