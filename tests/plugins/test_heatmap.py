"""The transform `liquidation-heatmap`: what it publishes, and what it remembers."""

import re
from random import Random

import flowd_heatmap
import pytest
import trio
from attrs import evolve
from flowd_heatmap import Config
from flowd_heatmap.columns import DENSITIES, codes, pack, unpack
from flowd_heatmap.saved import AT_ONCE
from flowd_heatmap.side import Book
from trio.testing import wait_all_tasks_blocked

from flowd import testing
from flowd.market import Candle, LiquidationMap, OpenInterest
from tests.plugins.heatmap_kit import OI, WIDTH_MS, A, B, C, T, at, candle

FLAT = 'dated = "today"\n["*"]\nrows = [[125, "1e15", "0.004", "0"]]\n'


@pytest.fixture
def config(tmp_path):
    (tmp_path / "flat.toml").write_text(FLAT, encoding="utf-8")
    return Config(
        candles="candles",
        open_interest="oi",
        brackets=str(tmp_path / "flat.toml"),
        bin={"BTCUSDT": 100.0},
    )


class World:
    """Two inputs and the feed of one transform; `start` begins a run of it, as after a restart."""

    def __init__(self, config):
        self.config = config
        self.candles = testing.stream("candles", record=Candle)
        self.oi = testing.stream("oi", record=OpenInterest)
        self.feed = testing.feed(record=LiquidationMap, name="heatmap")

    async def run(self):
        await flowd_heatmap.heatmap(self.config, testing.streams(self.candles, self.oi), self.feed)

    def candle(self, *candles):
        for one in candles:
            self.candles.append(one, key=one.key)

    def interest(self, *samples):
        for one in samples:
            self.oi.append(one, key=one.key)

    @property
    def map(self):
        return self.feed.get("BTCUSDT")


def example(world):
    world.interest(*(at(number, text) for number, text in enumerate(OI)))
    world.candle(A, B, C)


def columns(world):
    return [record.value for record in world.feed.tables["columns"].after(0)]


def levels(told):
    return {int(one.price): (one.long, one.short) for one in told.levels}


async def test_the_example_becomes_a_map(config, autojump_clock, nursery):
    world = World(config)
    example(world)
    nursery.start_soon(world.run)

    await trio.sleep(1000)

    told = world.map
    assert (told.source, told.venue, told.bin, told.side_model) == (
        "estimated", "binance", 100, "both",
    )  # fmt: skip
    assert (told.created, told.consumed) == (20, 2)
    assert levels(told)[80300] == (150_000, 0)
    assert levels(told)[119500] == (0, 120_000)
    assert len(told.levels) == 18
    assert told.mark_price == 98_500
    assert told.time_ms == T + 3 * WIDTH_MS
    assert (told.candle_ms, told.history_from_ms) == (C.time_ms, A.time_ms)


async def test_what_a_map_is_made_with_is_told_beside_it(config, autojump_clock, nursery):
    world = World(evolve(config, leverage="10:1,20:3", typical_notional=5000, half_life=7200.0))
    example(world)
    nursery.start_soon(world.run)

    await trio.sleep(1000)

    told = world.feed.tables["model"].get("BTCUSDT")
    tiers = [(tier.leverage, str(tier.weight)) for tier in told.leverage]
    assert tiers == [(10, "0.25"), (20, "0.75")]
    assert (told.side_model, told.typical_notional, told.half_life_ms) == ("both", 5000, 7_200_000)
    assert (told.brackets, told.brackets_assumed) == ("today", True)
    assert (told.since_ms, told.backfill_days) == (A.time_ms, 7)
    assert len(world.feed.tables["model"].after(0)) == 1
    assert world.feed.tables["model"].head.seq == 1, "what did not change is not told again"


async def test_after_a_restart_the_settings_are_those_of_now(config, autojump_clock):
    world = World(config)
    example(world)
    await run_for(world, 20)

    world.config = evolve(config, backfill_days=9)
    await run_for(world, 1)

    assert world.feed.tables["model"].get("BTCUSDT").backfill_days == 9


async def test_each_candle_leaves_a_column_of_what_was_there(config, autojump_clock, nursery):
    world = World(config)
    example(world)
    nursery.start_soon(world.run)

    await trio.sleep(1000)

    first, second, _ = [record.value for record in world.feed.tables["columns"].after(0)]
    long, short = unpack(first.long), unpack(first.short)
    assert (first.first, len(long), first.close) == (803, 393, 100_000)
    assert DENSITIES[long[0]] == pytest.approx(150_000, rel=0.045)
    assert DENSITIES[short[-1]] == pytest.approx(150_000, rel=0.045)
    assert int(unpack(second.long)[0]) == int(long[0])
    assert sum(unpack(second.long) > 0) == 3


def test_a_code_stands_for_what_was_written_within_a_sixteenth_of_a_doubling():
    import numpy as np

    written = np.array([0.0, 0.5, 1.0, 3.0, 1234.5, 9e8, 1e12])

    read = DENSITIES[unpack(pack(codes(written)))]

    assert list(read[:3]) == [0, 0, 1]
    assert np.all(np.abs(np.log2(read[2:6] / written[2:6])) <= 1 / 16 + 1e-9)
    assert read[-1] == DENSITIES[255]


async def test_a_candle_waits_for_the_open_interest_of_its_end(config, autojump_clock, nursery):
    world = World(config)
    world.interest(at(0, "1000"))
    world.candle(A)
    nursery.start_soon(world.run)
    await trio.sleep(150)  # A is over since 50 s.
    assert world.map is None

    world.interest(at(1.01, "1020"), at(0.99, "1010"))
    await trio.sleep(12)

    assert world.map.created == 10
    assert levels(world.map)[80300] == (150_000, 0)


async def test_without_open_interest_a_candle_is_applied_after_half_of_another(
    config, autojump_clock, nursery
):
    world = World(config)
    world.interest(at(0, "1000"), at(1, "1010"))
    world.candle(A, B)
    nursery.start_soon(world.run)
    await trio.sleep(500)  # B ended 100 s ago.
    assert world.map.candle_ms == A.time_ms

    await trio.sleep(100)

    assert world.map.candle_ms == B.time_ms
    assert world.map.oi_missing


async def test_prices_under_way_consume_at_once_and_only_once(config, autojump_clock, nursery):
    world = World(config)
    world.interest(at(0, "1000"), at(1, "1010"))
    world.candle(A)
    nursery.start_soon(world.run)
    await trio.sleep(5)

    world.candle(candle(1, "100000", "100000", "99390", "99500", closed=False))
    await trio.sleep(12)

    assert (world.map.consumed, world.map.consumed_ever) == (1, 1)
    assert 99300 not in levels(world.map)
    world.interest(at(2, "1008"))
    world.candle(B)
    await trio.sleep(12)
    assert (world.map.consumed, world.map.consumed_ever) == (1, 2)
    assert levels(world.map)[100500] == (0, 80_000)


async def test_what_changes_nothing_is_not_told_again(config, autojump_clock, nursery):
    world = World(config)
    example(world)
    nursery.start_soon(world.run)
    await trio.sleep(20)
    head = world.feed.stream.head

    world.candle(candle(3, "98500", "98520", "98500", "98510", closed=False))
    await trio.sleep(60)

    assert world.feed.stream.head == head


async def test_a_missing_candle_is_waited_for_and_then_done_without(
    config, autojump_clock, nursery
):
    world = World(config)
    world.interest(*(at(number, text) for number, text in enumerate(OI)))
    world.candle(A, C)
    nursery.start_soon(world.run)
    await trio.sleep(900)
    assert world.map.candle_ms == A.time_ms

    await trio.sleep(500)

    assert world.map.candle_ms == C.time_ms
    assert world.map.oi_missing
    assert world.feed.tally.figures["candles_missing"] == 1


async def test_a_missing_candle_that_comes_is_applied_in_its_turn(config, autojump_clock, nursery):
    world = World(config)
    world.interest(*(at(number, text) for number, text in enumerate(OI)))
    world.candle(A, C)
    nursery.start_soon(world.run)
    await trio.sleep(20)

    world.candle(B)
    await trio.sleep(20)

    assert (world.map.created_ever, world.map.consumed_ever) == (20, 2)


async def test_history_that_comes_late_makes_the_model_anew(config, autojump_clock, nursery):
    world = World(config)
    world.interest(at(2, "1008"), at(3, "1013"))
    world.candle(C)
    nursery.start_soon(world.run)
    await trio.sleep(20)
    assert world.map.history_from_ms == C.time_ms

    world.candle(A, B)
    world.interest(at(0, "1000"), at(1, "1010"))
    await trio.sleep(20)

    assert world.map.history_from_ms == A.time_ms
    assert len(world.map.levels) == 18
    assert len(world.feed.tables["columns"]) == 3


async def test_open_interest_that_comes_long_after_its_candles_is_in_the_map(
    config, autojump_clock, nursery
):
    world = World(config)
    world.candle(A, B, C)
    nursery.start_soon(world.run)
    await trio.sleep(2000)
    assert world.map is None

    world.interest(*(at(number, text) for number, text in enumerate(OI)))
    await trio.sleep(20)

    assert (world.map.created_ever, world.map.consumed_ever) == (20, 2)
    assert not world.map.oi_missing
    assert len(world.feed.tables["columns"]) == 3


async def test_candles_that_were_applied_without_open_interest_are_so_anew_when_it_is_known(
    config, autojump_clock, nursery
):
    world, calm = World(config), World(config)
    example(calm)
    world.interest(at(0, OI[0]), at(1, OI[1]))
    world.candle(A, B, C)
    nursery.start_soon(calm.run)
    nursery.start_soon(world.run)
    await trio.sleep(2000)
    assert world.map.candle_ms == C.time_ms
    assert world.map.oi_missing

    world.interest(at(2, OI[2]), at(3, OI[3]))
    await trio.sleep(20)

    assert evolve(world.map, created=0, consumed=0) == evolve(calm.map, created=0, consumed=0)
    assert columns(world) == columns(calm)


async def test_what_was_applied_without_open_interest_is_known_after_a_restart(
    config, autojump_clock
):
    world, calm = World(config), World(config)
    example(calm)
    world.interest(at(0, OI[0]), at(1, OI[1]))
    world.candle(A, B, C)
    for each in (world, calm):
        with trio.move_on_after(2000):
            await each.run()
    assert world.map.oi_missing

    world.interest(at(2, OI[2]), at(3, OI[3]))
    with trio.move_on_after(20):
        await world.run()

    assert columns(world) == columns(calm)


async def test_a_candle_that_was_given_up_is_applied_when_it_comes_after_all(
    config, autojump_clock, nursery
):
    world, calm = World(config), World(config)
    example(calm)
    world.interest(*(at(number, text) for number, text in enumerate(OI)))
    world.candle(A, C)
    nursery.start_soon(calm.run)
    nursery.start_soon(world.run)
    await trio.sleep(2000)
    assert world.map.oi_missing

    world.candle(B)
    await trio.sleep(20)

    assert columns(world) == columns(calm)


async def test_what_stays_unknown_makes_nothing_anew(config, autojump_clock, nursery, caplog):
    caplog.set_level("INFO")
    world = World(config)
    world.interest(at(0, OI[0]), at(1, OI[1]), at(3, OI[3]))
    world.candle(A, B, C)
    for _ in range(3):
        with trio.move_on_after(2000):
            await world.run()
    world.candle(A, B, C)
    world.interest(at(0.9, "1009"), at(1.4, "1010"))
    with trio.move_on_after(2000):
        await world.run()

    assert [one.oi_missing for one in columns(world)] == [False, True, True]
    assert "made anew" not in caplog.text


async def test_after_a_restart_candles_wait_for_their_open_interest(config, autojump_clock):
    world = World(config)
    world.interest(at(0, OI[0]), at(1, OI[1]))
    world.candle(A)
    with trio.move_on_after(20):
        await world.run()
    await trio.sleep(3600)
    world.candle(B, C)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(world.run)
        await trio.sleep(100)
        assert world.map.candle_ms == A.time_ms
        head = world.feed.tables["columns"].head.seq
        world.interest(at(2, OI[2]), at(3, OI[3]))
        await trio.sleep(20)
        nursery.cancel_scope.cancel()

    assert (world.map.created_ever, world.map.consumed_ever) == (20, 2)
    assert world.feed.tables["columns"].head.seq == head + 2


async def test_symbols_that_are_not_asked_for_are_left_alone(config, autojump_clock, nursery):
    world = World(evolve(config, symbols=["ETHUSDT"]))
    example(world)
    nursery.start_soon(world.run)

    await trio.sleep(20)

    assert world.map is None


async def test_a_candle_of_another_interval_is_dropped_and_counted(config, autojump_clock, nursery):
    world = World(config)
    example(world)
    world.candle(evolve(candle(4, "1", "1", "1", "1"), close_time_ms=T + 4 * WIDTH_MS + 59_999))
    nursery.start_soon(world.run)

    await trio.sleep(20)

    assert world.feed.tally.dropped["candle of another interval"] == 1


@pytest.mark.parametrize(
    "wrong", [{"low": "0"}, {"low": "-1"}, {"high": "98400"}, {"volume": "-1"}]
)
async def test_an_impossible_candle_is_dropped_and_counted(config, autojump_clock, nursery, wrong):
    world = World(config)
    example(world)
    texts = {"open": "98500", "high": "98600", "low": "98400", "close": "98500", **wrong}
    world.candle(candle(3, **texts))
    nursery.start_soon(world.run)

    await trio.sleep(20)

    assert world.feed.tally.dropped["impossible candle"] == 1
    assert world.map.candle_ms == C.time_ms


async def test_open_interest_below_nothing_is_dropped_and_counted(config, autojump_clock, nursery):
    world = World(config)
    world.interest(at(0, "1000"), at(1, "-5"))
    world.candle(A)
    nursery.start_soon(world.run)

    await trio.sleep(20)

    assert world.feed.tally.dropped["impossible open interest"] == 1


# -- between two runs --


async def test_a_symbol_that_is_left_out_takes_its_map_and_its_past_with_it(config, autojump_clock):
    world = World(config)
    example(world)
    await run_for(world, 20)

    world.config = evolve(config, symbols=["ETHUSDT"])
    await run_for(world, 20)

    assert world.map is None
    assert not any(len(world.feed.tables[name]) for name in ("heads", "hours", "columns", "model"))


async def run_for(world, seconds):
    with trio.move_on_after(seconds):
        await world.run()


async def test_a_restart_goes_on_exactly(config, autojump_clock):
    one, other = World(config), World(config)
    example(one)
    await run_for(one, 20)
    other.interest(*(at(number, text) for number, text in enumerate(OI[:3])))
    other.candle(A, B)
    await run_for(other, 20)

    other.candle(C)
    other.interest(at(3, OI[3]))
    await run_for(other, 20)

    assert other.map.levels == one.map.levels
    assert other.map.created_ever == one.map.created_ever
    assert [each.value for each in other.feed.tables["columns"].after(0)] == [
        each.value for each in one.feed.tables["columns"].after(0)
    ]


async def test_a_long_past_is_restored_in_portions_between_which_others_run(
    config, autojump_clock, monkeypatch
):
    """Nothing is consumed, so all that ten hours opened is there still."""
    restored = [0]

    class Portions(trio.abc.Instrument):
        def before_task_step(self, task):
            restored.append(0)

    def noted(book, time_ms, opened):
        restored[-1] += 1
        restore(book, time_ms, opened)

    world = World(config)
    world.interest(at(0, "1000"))
    for number in range(120):
        world.candle(candle(number, "100000", "100000", "100000", "100000"))
        world.interest(at(number + 1, f"{1010 + 10 * number}"))
    await run_for(world, 60)
    before, restore = world.map, Book.restore
    monkeypatch.setattr(Book, "restore", noted)
    trio.lowlevel.add_instrument(Portions())

    await run_for(world, 20)

    assert sum(restored) == 240, "long and short"
    assert max(restored) <= 2 * AT_ONCE
    assert world.map == before


async def test_a_restart_without_news_publishes_nothing(config, autojump_clock):
    world = World(config)
    example(world)
    await run_for(world, 20)
    head = world.feed.stream.head

    await run_for(world, 20)

    assert world.feed.stream.head == head


async def test_what_was_consumed_under_way_is_remembered(config, autojump_clock):
    world = World(config)
    world.interest(at(0, "1000"), at(1, "1010"))
    world.candle(A)
    await run_for(world, 5)
    world.candle(candle(1, "100000", "100000", "98350", "98600", closed=False))
    await run_for(world, 20)
    assert world.map.consumed_ever == 2

    world.interest(at(2, "1008"))
    world.candle(B)
    await run_for(world, 20)

    assert world.map.consumed_ever == 2
    assert levels(world.map)[80300] == (150_000, 0)
    assert levels(world.map)[119500] == (0, 120_000)


async def test_other_assumptions_make_another_model(config, autojump_clock):
    world = World(config)
    example(world)
    await run_for(world, 20)

    world.config = evolve(config, side_model="candle")
    await run_for(world, 20)

    assert world.map.side_model == "candle"
    assert sum(one.long for one in world.map.levels) == 700_000
    assert sum(one.short for one in world.map.levels) == 492_500


async def test_a_model_that_ends_too_long_ago_is_made_anew(config, autojump_clock):
    world = World(config)
    example(world)
    await run_for(world, 20)
    await trio.sleep(8 * 86_400)
    later = round(trio.current_time() * 1000) // WIDTH_MS - 2

    world.interest(at(later, "500"), at(later + 1, "510"))
    world.candle(candle(later, "100", "100", "100", "100"))
    await run_for(world, 2000)

    assert world.map.history_from_ms == T + later * WIDTH_MS
    assert world.map.created_ever == 10


@pytest.mark.parametrize("seed", range(5))
async def test_a_crash_after_any_step_loses_nothing(config, autojump_clock, seed):
    """Along a random path, stopped and begun again at random moments: the same as without."""
    chance = Random(seed)
    whole, broken = World(config), World(config)
    price, contracts, steps = 100_000.0, 1000.0, []
    for number in range(60):
        moved = price * (1 + chance.gauss(0, 0.004))
        high, low = max(price, moved) * 1.001, min(price, moved) * 0.999
        texts = [f"{each:.1f}" for each in (price, high, low, moved)]
        contracts = max(1.0, contracts + chance.gauss(0, 30))
        steps.append((candle(number, *texts), at(number + 1, f"{contracts:.3f}")))
        price = float(texts[3])
    for world in (whole, broken):
        world.interest(at(0, "1000"))
    for each, sample in steps:
        whole.interest(sample)
        whole.candle(each)
    await run_for(whole, 60)

    for each, sample in steps:
        for world_step in (lambda s=sample: broken.interest(s), lambda c=each: broken.candle(c)):
            world_step()
            if chance.random() < 0.3:
                await run_for(broken, chance.choice([0, 1.5, 12]))
    await run_for(broken, 60)

    assert broken.map.levels == whole.map.levels
    assert broken.map.consumed_ever == whole.map.consumed_ever
    assert [one.value for one in broken.feed.tables["columns"].after(0)] == [
        one.value for one in whole.feed.tables["columns"].after(0)
    ]


async def test_between_a_candle_and_its_map_others_run_and_a_crash_loses_nothing(
    config, autojump_clock
):
    async def begun():
        world = World(config)
        world.interest(*(at(number, text) for number, text in enumerate(OI[:3])))
        world.candle(A, B)
        await run_for(world, 20)
        world.interest(at(3, OI[3]))
        world.candle(C)
        return world

    whole = await begun()
    await run_for(whole, 20)
    between = 0
    for turns in range(30):
        world = await begun()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(world.run)
            for _ in range(turns):
                await trio.lowlevel.checkpoint()
            nursery.cancel_scope.cancel()
        applied = world.feed.tables["columns"].get(f"BTCUSDT/{C.time_ms}") is not None
        between += applied and world.map.candle_ms == B.time_ms
        await run_for(world, 20)

        assert world.map == whole.map
        for table in ("heads", "hours", "columns"):
            found, wanted = (
                [one.value for one in each.feed.tables[table].after(0)] for each in (world, whole)
            )
            assert found == wanted
    assert between > 0


async def test_the_run_ends_with_its_inputs(config, autojump_clock, nursery):
    world = World(config)
    example(world)

    with trio.fail_after(100):
        async with trio.open_nursery() as running:
            running.start_soon(world.run)
            await wait_all_tasks_blocked()
            world.candles.close()
            world.oi.close()

    assert world.map is not None


# -- mistakes --


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"side_model": "net"}, "both, taker, candle"),
        ({"leverage": "5:15,500:10"}, "allows at most 100x"),
        ({"leverage": "5"}, "leverage:weight"),
        ({"typical_notional": 0}, "1 or more"),
        ({"span_pct": 0}, "1 to 100"),
        ({"backfill_days": 31}, "1 to 30"),
        ({"bin": {"BTCUSDT": 0.0}}, "bin.BTCUSDT"),
        ({"brackets": "/nowhere.toml"}, "brackets"),
        ({"symbols": [f"S{n}" for n in range(101)]}, "at most 100"),
    ],
)
def test_a_mistake_in_the_settings_names_its_remedy(wrong, told):
    settings = {"candles": "candles", "open_interest": "oi", "symbols": ["SOLUSDT"], **wrong}

    with pytest.raises(ValueError, match=re.escape(told)):
        Config(**settings)
