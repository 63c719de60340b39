"""The score of the running map: what came is held against the map of the candle before it."""

from decimal import Decimal
from random import Random

import flowd_heatmap
import pytest
import trio
from attrs import evolve
from flowd_heatmap import Config
from flowd_heatmap.records import Score

from flowd import testing
from flowd.market import Candle, Liquidation, LiquidationMap, OpenInterest
from tests.plugins.heatmap_crowd import Crowd
from tests.plugins.heatmap_kit import WIDTH_MS, T

FLAT = 'dated = "today"\n["*"]\nrows = [[125, "1e15", "0.004", "0"]]\n'
DAYS = 5
AFTER_MS = T + DAYS * 288 * WIDTH_MS
HOUR_S = 3600


class World:
    """Some days of a market, all of it told at once; `run_for` is one life of the transform."""

    def __init__(self, tmp_path, planted: bool) -> None:
        (tmp_path / "flat.toml").write_text(FLAT, encoding="utf-8")
        self.config = Config(
            candles="candles",
            open_interest="oi",
            liquidations="real",
            brackets=str(tmp_path / "flat.toml"),
            every=1.0,
        )
        self.crowd = Crowd(2, DAYS, planted)
        self.streams = [
            testing.stream("candles", record=Candle),
            testing.stream("oi", record=OpenInterest),
            testing.stream("real", record=Liquidation),
        ]
        for stream, values in zip(
            self.streams, (self.crowd.candles, self.crowd.interest), strict=False
        ):
            for one in values:
                stream.append(one, key=one.key)
        # One for all lives, since it remembers their places.
        self.inputs = testing.streams(*self.streams)
        self.feed = testing.feed(
            record=LiquidationMap,
            name="heatmap",
            clock=lambda: testing.clock() + AFTER_MS - testing.START_MS,
        )

    def happen(self, *liquidations: Liquidation) -> None:
        for one in liquidations:
            self.streams[2].append(one, id=one.id)

    async def run_for(self, seconds: float) -> None:
        with trio.move_on_after(seconds):
            await flowd_heatmap.heatmap(self.config, self.inputs, self.feed)

    @property
    def score(self) -> Score | None:
        return self.feed.tables["score"].get("BTCUSDT")


@pytest.fixture
def world(tmp_path):
    return World(tmp_path, True)


async def test_the_score_of_the_running_map_is_published_each_hour(world, autojump_clock):
    world.happen(*world.crowd.liquidations)

    await world.run_for(HOUR_S / 2)

    assert world.score is not None
    assert world.score.events + world.score.dropped == len(world.crowd.liquidations)
    assert world.score.low is not None
    assert world.score.low > 0
    assert world.score.since_ms <= world.crowd.liquidations[0].time_ms


async def test_a_restart_counts_nothing_twice_and_goes_on(world, autojump_clock):
    half = len(world.crowd.liquidations) // 2
    world.happen(*world.crowd.liquidations[:half])
    await world.run_for(HOUR_S / 2)

    world.happen(*world.crowd.liquidations[half:])
    await world.run_for(HOUR_S / 2)

    assert world.score is not None
    assert world.score.events + world.score.dropped == len(world.crowd.liquidations)


async def test_of_what_comes_by_chance_nothing_is_claimed(tmp_path, autojump_clock):
    world = World(tmp_path, False)
    world.happen(*world.crowd.liquidations)

    await world.run_for(HOUR_S / 2)

    assert world.score is not None
    assert world.score.low is not None
    assert world.score.low < 0


async def test_other_assumptions_begin_another_score(world, autojump_clock):
    world.happen(*world.crowd.liquidations[:50])
    await world.run_for(HOUR_S / 2)

    world.config = evolve(world.config, side_model="taker")
    world.happen(*world.crowd.liquidations[-10:])
    await world.run_for(HOUR_S / 2)

    assert world.score is not None
    assert world.score.events + world.score.dropped == 10


async def test_what_is_not_drawn_is_not_scored(world, autojump_clock):
    chance = Random(1)
    world.happen(
        *(
            evolve(one, symbol="ETHUSDT", price=Decimal(chance.randrange(1, 9)))
            for one in world.crowd.liquidations[:20]
        )
    )

    await world.run_for(HOUR_S / 2)

    assert not world.feed.tables["score"].after(0)


async def test_without_a_stream_of_liquidations_there_is_no_score(world, autojump_clock):
    world.inputs = testing.streams(*world.streams[:2])

    await world.run_for(HOUR_S / 2)

    assert world.feed.get("BTCUSDT") is not None
    assert "score" not in world.feed.tables
