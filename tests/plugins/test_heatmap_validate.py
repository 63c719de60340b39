"""How well a map knew: what is planted is recovered, and of nothing, nothing is said."""

import json
from collections import Counter
from decimal import Decimal
from functools import cache

import numpy as np
import pytest
import typer
from flowd_heatmap.assumptions import Assumptions
from flowd_heatmap.columns import codes
from flowd_heatmap.engines import engine_of
from flowd_heatmap.files import File
from flowd_heatmap.leverage import DEFAULT, parse
from flowd_heatmap.replay import Replayed, replay
from flowd_heatmap.rows import CANDLES, INTEREST
from flowd_heatmap.validate import (
    DAY_MS,
    HOUR_MS,
    Event,
    Lift,
    Moment,
    Moments,
    event_of,
    interval,
    lift_of,
    rank,
    score,
    spearman,
)
from flowd_heatmap.validating import validate_heatmap
from typer.testing import CliRunner

from tests.plugins.heatmap_crowd import Crowd
from tests.plugins.heatmap_kit import flat

DAYS = 10
AGE_MS = 600_000
SPAN = Decimal("0.3")


@cache
def crowd(seed: int, planted: bool) -> tuple[Crowd, Replayed]:
    one = Crowd(seed, DAYS, planted)
    return one, replay(
        one.candles,
        one.interest,
        Assumptions(parse(DEFAULT)),
        flat(),
        Decimal(100),
        span=SPAN,
        positions_for_ms=30 * DAY_MS,
    )


def lift(seed: int, planted: bool, horizon_ms: int) -> Lift:
    one, replayed = crowd(seed, planted)
    events = [event_of(each) for each in one.liquidations]
    scored = score(
        events, Moments(replayed.moments), horizon_ms=horizon_ms, age_ms=AGE_MS, span=float(SPAN)
    )
    assert scored.events + scored.dropped.total() == len(events)
    return interval(scored.blocks)


# -- what is known of simulated markets --


@pytest.mark.parametrize("horizon_ms", [0, HOUR_MS])
@pytest.mark.parametrize("seed", [1, 2])
def test_planted_levels_are_recovered(seed, horizon_ms):
    found = lift(seed, True, horizon_ms)

    assert found.holds
    assert found.lift is not None
    assert found.lift > 0.05
    assert found.events > 1000


@pytest.mark.parametrize("horizon_ms", [0, HOUR_MS])
@pytest.mark.parametrize("seed", [1, 2])
def test_of_liquidations_that_come_from_nowhere_nothing_is_claimed(seed, horizon_ms):
    found = lift(seed, False, horizon_ms)

    assert not found.holds
    assert found.low is not None
    assert found.high is not None
    assert found.low < 0 < found.high
    assert found.events > 100


@pytest.mark.parametrize(("planted", "least", "most"), [(True, 0.3, 1), (False, -0.1, 0.1)])
def test_volumes_go_together_only_where_levels_are_real(planted, least, most):
    one, replayed = crowd(1, planted)
    events = [event_of(each) for each in one.liquidations]

    for side in ("LONG", "SHORT"):
        rho = spearman(replayed.consumed(side), replayed.liquidated(side, events))

        assert rho is not None
        assert least < rho < most


def test_an_interval_is_the_same_each_time():
    blocks = {number: (number % 3 + 1, (number % 7 - 3) / 5) for number in range(100)}

    assert interval(blocks) == interval(blocks)


# -- one event --


def moment(time_ms: int, long: list[float], first: int = 900, mark: float = 100_050) -> Moment:
    """A map with bins of 100; the price lies in bin 1000."""
    found = codes(np.array(long, np.float64))
    return Moment(time_ms, mark, 100, first, found, found[:0])


def test_a_dense_bin_ranks_high_and_an_empty_one_low():
    densities = [10.0] * 100
    densities[80], densities[69:72] = 1e6, [0.0] * 3
    one = moment(0, densities)

    dense, empty = rank(one, "LONG", 0.02), rank(one, "LONG", 0.03)

    assert dense is not None
    assert dense > 0.9
    assert empty is not None
    assert empty < 0.1


def test_where_all_are_alike_every_bin_is_as_good_as_any():
    assert rank(moment(0, [10.0] * 100), "LONG", 0.05) == 0.5
    assert rank(moment(0, []), "LONG", 0.05) == 0.5


def test_a_side_lies_on_one_side_of_the_price():
    assert rank(moment(0, [10.0] * 100), "LONG", -0.01) is None


def test_the_same_in_each_map_is_no_lift():
    densities = [float(each * each) for each in range(100)]
    moments = Moments([moment(day * DAY_MS, densities) for day in range(4)])

    found = lift_of(
        Event("LONG", DAY_MS, 98_000.0, 1.0), moments, horizon_ms=0, age_ms=AGE_MS, span=0.3
    )

    assert found == pytest.approx(0)


@pytest.mark.parametrize(
    ("event", "why"),
    [
        (Event("LONG", -1, 99_000.0, 1.0), "no map from before it"),
        (Event("LONG", AGE_MS + 1, 99_000.0, 1.0), "no map from before it"),
        (Event("LONG", 1, 102_000.0, 1.0), "on the other side of the price"),
        (Event("LONG", 1, 60_000.0, 1.0), "further away than the map reaches"),
        (Event("LONG", 1, 99_000.0, 1.0), "no map of another day"),
    ],
)
def test_why_an_event_is_dropped_is_said(event, why):
    moments = Moments([moment(0, [10.0] * 100)])

    assert lift_of(event, moments, horizon_ms=0, age_ms=AGE_MS, span=0.3) == why


def test_a_map_of_the_very_moment_is_from_before():
    one = moment(5, [1.0])

    assert Moments([one]).before(5, 0) is one


def test_of_no_events_and_of_one_hour_nothing_can_be_said():
    assert interval({}) == Lift(0, None, None, None)
    assert not interval({0: (1000, 400.0)}).holds


def test_ranks_of_ties_are_their_middle():
    assert spearman(np.array([1.0, 2, 2, 3]), np.array([10.0, 20, 20, 30])) == pytest.approx(1)
    assert spearman(np.array([1.0, 2, 3]), np.array([3.0, 2, 1])) == pytest.approx(-1)
    assert spearman(np.array([1.0, 1, 1]), np.array([3.0, 2, 1])) is None


# -- the command --


@pytest.fixture
def stored(tmp_path):
    """A database, and what happened, as exports have it."""
    one, _ = crowd(1, True)
    file = File(tmp_path / "market.db", engine_of(tmp_path / "market.db"))
    file.open()
    file.write(CANDLES, one.candles, Counter())
    file.write(INTEREST, one.interest, Counter())
    file.close()
    plain = [
        {
            "symbol": each.symbol,
            "side": each.side,
            "price": str(each.price),
            "notional": str(each.notional),
            "time_ms": each.time_ms,
        }
        for each in one.liquidations
    ]
    (tmp_path / "real.jsonl").write_text(
        "".join(json.dumps({"seq": 1, "value": each}) + "\n" for each in plain)
    )
    (tmp_path / "real.csv").write_text(
        "seq,symbol,side,price,notional,time_ms\n"
        + "".join(f"1,{','.join(map(str, each.values()))}\n" for each in plain)
    )
    return tmp_path


def run(folder, *arguments):
    app = typer.Typer()
    app.command()(validate_heatmap)
    given = ["--database", str(folder / "market.db"), *map(str, arguments)]
    return CliRunner().invoke(app, given, env={"COLUMNS": "200"})


@pytest.mark.parametrize("name", ["real.jsonl", "real.csv"])
def test_stored_data_is_scored_by_symbol_and_horizon(stored, name):
    result = run(stored, "--liquidations", stored / name, "--bin", "100", "--horizons", "0s,1h")

    assert result.exit_code == 0, result.stderr
    rows = [line for line in result.stdout.splitlines() if "BTCUSDT" in line]
    assert [("0s" in line, "1h" in line) for line in rows] == [(True, False), (False, True)]
    assert all("yes" in line for line in rows)
    assert "consumed by the model and liquidated, long, candle by candle" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--liquidations", "gone.jsonl"], "there is no such file; `flowd export"),
        (["--liquidations", "real.jsonl", "--symbol", "ETHUSDT"], "no liquidation of ETHUSDT"),
        (["--liquidations", "bad.jsonl"], "bad.jsonl, row 1: no liquidation: expected symbol"),
        (["--liquidations", "none.jsonl"], "bad.jsonl, row 1: no JSON object"),
        (["--liquidations", "real.jsonl", "--leverage", "5"], "leverage:weight"),
        (["--liquidations", "real.jsonl", "--horizons", "9d"], "up to a day"),
        (["--liquidations", "real.jsonl", "--database", "gone.db"], "gone.db cannot be opened"),
    ],
)
def test_a_mistake_names_its_remedy(stored, arguments, told, monkeypatch):
    monkeypatch.chdir(stored)
    (stored / "bad.jsonl").write_text('{"symbol": "BTCUSDT", "side": "LONG"}\n')
    (stored / "none.jsonl").write_text("[1]\n")

    result = run(stored, *arguments)

    assert result.exit_code == 2
    assert told.replace("bad.jsonl, row 1: no JSON", "none.jsonl, row 1: no JSON") in result.stderr
