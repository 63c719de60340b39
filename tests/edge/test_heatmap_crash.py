"""Ends of a daemon that draws a heatmap, at any moment: it goes on to the map that it would have
drawn without them, and its file has all that it was made of.
"""

from functools import partial
from pathlib import Path
from random import Random

import pytest
import trio
from flowd_heatmap.records import Column

from tests.edge.futures import Futures, columns, differing, inputs, whole
from tests.plugins.heatmap_kit import kept

KILLS = 3
HISTORY = 500
LONG_S = 240.0
"""On a machine with much else to do: each start wants seconds of a processor."""


@pytest.mark.timeout(LONG_S)
@pytest.mark.parametrize("name", [None, "market.duckdb"])
async def test_kill_9_while_a_heatmap_is_drawn_leaves_the_map_as_it_would_have_been(
    tmp_path: Path, name: str | None
) -> None:
    if name is not None:
        pytest.importorskip("duckdb")
    random = Random(3)
    database = None if name is None else tmp_path / name
    with (
        Futures() as futures,
        futures.daemon(tmp_path, history=HISTORY, database=database) as flowd,
    ):
        for _ in range(KILLS):
            await flowd.start(delivering=False)
            await trio.sleep(random.random() * 1.5)
            await flowd.kill()
        await flowd.start(delivering=False)
        await flowd.until(partial(columns, flowd), lambda count: count >= HISTORY - 2)
        candles, samples = await inputs(flowd)
        drawn = await whole(flowd, "heatmap.columns", Column)
        await flowd.stop()

    assert "Traceback" not in flowd.log
    assert len(drawn) >= HISTORY - 2
    assert await differing(drawn, candles, samples) == []
    if database is not None:
        there = {(type(one), one.symbol, one.time_ms) for one in kept(database)}
        told = [*samples, *(one for one in candles if one.closed)]
        assert [one for one in told if (type(one), one.symbol, one.time_ms) not in there] == []
