"""Ends of a daemon that draws a heatmap, at any moment: it goes on to the map that it would have
drawn without them.
"""

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

import pytest
import trio
from flowd_heatmap import Config, heatmap
from flowd_heatmap.records import Column

from flowd import testing
from flowd.market import Candle, LiquidationMap, OpenInterest
from flowd.plugin import StreamName
from flowd.values import codec
from tests.edge.process import Flowd

KILLS = 4
HISTORY = 500
LONG_S = 240.0
"""On a machine with much else to do: each start wants seconds of a processor."""

Json = dict[str, Any]


@contextmanager
def exchange() -> Iterator[dict[str, str]]:
    """The simulated Binance as a process; its addresses."""
    command = [sys.executable, "-m", "flowd.cli", "simulate", "--port=0", "--rest-port=0"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        found: dict[str, str] = {}
        for line in process.stdout:
            name, _, value = line.strip().partition(" = ")
            if name in ("url", "rest"):
                found[name] = value
            if len(found) == 2:
                break
        yield found
    finally:
        process.terminate()
        process.communicate(timeout=30)


def daemon(folder: Path, addresses: dict[str, str]) -> Flowd:
    """A heatmap of one symbol, and what it is made of."""
    text = f"""
[sources.candles-5m]
kind = "binance-candles"
interval = "5m"
symbols = ["BTCUSDT"]
url = {addresses["url"]}
rest_url = {addresses["rest"]}
history = {HISTORY}
keep = 1000

[sources.open-interest]
kind = "binance-open-interest"
symbols = ["BTCUSDT"]
rest_url = {addresses["rest"]}
history = {HISTORY}

[transforms.heatmap]
kind = "liquidation-heatmap"
candles = "candles-5m"
open_interest = "open-interest"
"""
    return Flowd(folder, None, settings={"save_every": "700ms"}, extra=text)


async def whole(daemon: Flowd, stream: str, kind: type[Any]) -> list[Any]:
    """All values that a stream has."""
    answer = await daemon.poll(stream=stream)
    return [codec.loads(codec.encode(one["value"]), kind) for one in answer["records"]]


async def progress(daemon: Flowd) -> tuple[int, int]:
    """How many columns there are, and how many candles wait to be applied."""
    parts = {part["name"]: part for part in (await daemon.status())["components"]}
    figures = parts["heatmap"]["figures"]
    return int(figures.get("columns", 0)), int(figures.get("candles_waiting", -1))


async def drawn_at_once(candles: list[Candle], samples: list[OpenInterest]) -> Any:
    """The columns that a transform draws of these, in one run."""
    feed = testing.feed(record=LiquidationMap, name="heatmap", clock=now_ms)
    inputs = testing.stream("candles", record=Candle), testing.stream("oi", record=OpenInterest)
    for stream, values in zip(inputs, (candles, samples), strict=True):
        for value in values:
            stream.append(value, key=value.key)
    config = Config(candles=StreamName("candles"), open_interest=StreamName("oi"))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(heatmap, config, testing.streams(*inputs), feed)
        while feed.get("BTCUSDT") is None:  # noqa: ASYNC110
            await trio.sleep(0.01)
        nursery.cancel_scope.cancel()
    return [record.value for record in feed.tables["columns"].after(0)]


def now_ms() -> int:
    return time.time_ns() // 1_000_000


@pytest.mark.timeout(LONG_S)
async def test_kill_9_while_a_heatmap_is_drawn_leaves_the_map_as_it_would_have_been(
    tmp_path: Path,
) -> None:
    random = Random(3)
    with exchange() as addresses, daemon(tmp_path, addresses) as flowd:
        for _ in range(KILLS):
            await flowd.start(delivering=False)
            await trio.sleep(random.random() * 1.5)
            await flowd.kill()
        await flowd.start(delivering=False)
        found = await flowd.until(partial(progress, flowd), lambda now: now[0] >= HISTORY - 2)
        candles = await whole(flowd, "candles-5m", Candle)
        samples = await whole(flowd, "open-interest", OpenInterest)
        columns = await whole(flowd, "heatmap.columns", Column)
        await flowd.stop()

    assert found[0] >= HISTORY - 2
    assert "Traceback" not in flowd.log
    expected = {one.time_ms: one for one in await drawn_at_once(candles, samples)}
    assert len(columns) >= HISTORY - 2
    assert [one for one in columns if one != expected.get(one.time_ms)] == []
