"""What a heatmap is made of, or its file, fails for a while, for a daemon in a process: it says so,
goes on with what there is, and comes to the map that it would have drawn without.
"""

import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from pathlib import Path
from random import Random

import pytest
from flowd_heatmap.records import Column

from flowd.market import Candle
from tests.edge.futures import SYMBOL, Futures, columns, component, differing, inputs, now_ms, whole
from tests.edge.process import Flowd
from tests.needed import lacking
from tests.plugins.heatmap_kit import kept
from tests.plugins.test_heatmap_store import held

HISTORY = 200
WIDTH_MS = 300_000
LONG_S = 120.0

pytestmark = pytest.mark.timeout(LONG_S)


@pytest.fixture(scope="module")
def futures() -> Iterator[Futures]:
    with Futures() as found:
        yield found


async def health(daemon: Flowd) -> dict[str, str]:
    """What is wrong, by component."""
    found: dict[str, str] = (await daemon.get("/health")).json["problems"]
    return found


async def is_whole(daemon: Flowd) -> None:
    """Wait until all history is drawn and nothing is wrong: then nothing is missing, and the map is
    the one of an undisturbed run.
    """
    await daemon.until(partial(health, daemon), lambda found: not found)
    await daemon.until(partial(columns, daemon), lambda count: count >= HISTORY - 2)
    candles, samples = await inputs(daemon)
    drawn = await whole(daemon, "heatmap.columns", Column)
    for found in (candles, [one for one in samples if not one.time_ms % WIDTH_MS], drawn):
        times = sorted(one.time_ms for one in found)
        assert times == list(range(times[0], times[-1] + 1, WIDTH_MS))
    assert await differing(drawn, candles, samples) == []
    assert not any(one.oi_missing for one in drawn)
    assert "Traceback" not in daemon.log


# -- open interest --


@pytest.mark.parametrize(
    ("status", "says"),
    [
        (503, "Binance is overloaded or down (HTTP 503)"),
        (403, "Binance's firewall refuses this address (HTTP 403)"),
    ],
    ids=str,
)
async def test_while_open_interest_fails_it_is_said_and_then_the_map_is_whole(
    futures: Futures, tmp_path: Path, status: int, says: str
) -> None:
    refuse, only = futures.exchange.rest.refuse, "openInterest"
    futures.act(partial(refuse, status, only=only))
    with futures.daemon(tmp_path, history=HISTORY) as flowd:
        await flowd.start(delivering=False)
        await flowd.until(partial(inputs, flowd), lambda found: len(found[0]) >= HISTORY)

        told = await flowd.until(partial(health, flowd), lambda found: says in str(found))
        source = await component(flowd, "open-interest")
        futures.act(partial(refuse, None, only=only))
        await is_whole(flowd)
        await flowd.stop()

    assert list(told) == ["open-interest"]
    assert "asked again every 5s; what is missed is fetched then" in told["open-interest"]
    assert source["dropped"] == {"poll failed": 1}
    assert flowd.log.count(f"open-interest: no open interest of {SYMBOL}: {says}") == 1
    assert "open-interest: all is well again" in flowd.log


# -- candles --


async def test_candles_that_come_late_repeated_and_in_any_order_make_the_same_map(
    futures: Futures, tmp_path: Path
) -> None:
    refuse, only, random = futures.exchange.rest.refuse, "klines", Random(5)
    futures.act(partial(refuse, 403, only=only))
    futures.act(partial(setattr, futures.faults, "duplicate", 0.5))
    try:
        with futures.daemon(tmp_path, history=HISTORY) as flowd:
            await flowd.start(delivering=False)
            await flowd.until(partial(whole, flowd, "candles-5m", Candle), bool)
            tell = partial(futures.exchange.tell_candle, SYMBOL, "5m")
            for past in random.choices(range(1, HISTORY), k=HISTORY):
                futures.act(partial(tell, now_ms() - past * WIDTH_MS))
            await flowd.until(partial(columns, flowd), lambda count: count > 10)
            before = await columns(flowd)
            futures.act(futures.exchange.drop_all)

            futures.act(partial(refuse, None, only=only))
            await flowd.until(partial(columns, flowd), lambda count: count >= HISTORY - 2)
            for past in random.choices(range(1, HISTORY), k=HISTORY):
                futures.act(partial(tell, now_ms() - past * WIDTH_MS))
            futures.act(futures.exchange.drop_all)
            await is_whole(flowd)
            source = await component(flowd, "candles-5m")
            await flowd.stop()
    finally:
        futures.act(partial(setattr, futures.faults, "duplicate", 0.0))

    assert before < HISTORY - 2
    assert source["dropped"].get("history failed", 0) >= 1
    assert source["connections"] >= 2
    assert "candles-5m: dropped (history failed, 1 so far)" in flowd.log


# -- the file --

Mend = Callable[[], object]
Broken = Callable[[Path], AbstractContextManager[Mend]]


@contextmanager
def locked(path: Path) -> Iterator[Mend]:
    with held(path) as let_go:
        yield let_go


@contextmanager
def corrupted(path: Path) -> Iterator[Mend]:
    path.write_bytes(b"nothing that anybody could read" * 1000)
    yield path.unlink


@contextmanager
def read_only(path: Path) -> Iterator[Mend]:
    with mounted(path.parent, "8m"):
        mount(path.parent, "remount,ro")
        yield partial(mount, path.parent, "remount,rw")


@contextmanager
def full(path: Path) -> Iterator[Mend]:
    """There is room for a beginning; SQLite's is larger."""
    with mounted(path.parent, "24k" if path.suffix == ".duckdb" else "64k"):
        yield partial(mount, path.parent, "remount,size=64m")


@contextmanager
def mounted(folder: Path, size: str) -> Iterator[None]:
    """A file system of its own, which takes root."""
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    if os.geteuid() or subprocess.run(command, capture_output=True, check=False).returncode:
        lacking("no file system can be mounted here")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def mount(folder: Path, options: str) -> None:
    subprocess.run(["mount", "-o", options, str(folder)], check=True)


@pytest.mark.parametrize(
    ("name", "broken", "says", "remedy"),
    [
        ("market.duckdb", locked, "lock", "stop who has it open"),
        ("market.db", locked, "lock", "stop who has it open"),
        ("market.duckdb", corrupted, "cannot be opened", "move it away to begin a new one"),
        ("market.duckdb", read_only, "cannot be", "let flowd's user write to it"),
        ("market.duckdb", full, "cannot be", "make room on its disk"),
        ("market.db", full, "cannot be", "make room on its disk"),
    ],
)
async def test_while_the_file_fails_it_is_said_and_then_it_has_everything(
    futures: Futures, tmp_path: Path, name: str, broken: Broken, says: str, remedy: str
) -> None:
    pytest.importorskip("duckdb")
    path = tmp_path / "there" / name
    path.parent.mkdir()
    with (
        broken(path) as mend,
        futures.daemon(tmp_path, history=HISTORY, database=path) as flowd,
    ):
        await flowd.start(delivering=False)

        told = await flowd.until(partial(health, flowd), lambda found: "heatmap" in found)
        await flowd.until(partial(columns, flowd), lambda count: count >= HISTORY - 2)
        still = await health(flowd)
        mend()
        await is_whole(flowd)
        candles, samples = await inputs(flowd)
        await flowd.stop()
        there = kept(path)

    assert list(still) == ["heatmap"]
    for text in (told["heatmap"], flowd.log):
        assert f"{path} cannot be" in text
        assert says in text
        assert remedy in text
    assert "The map goes on with what the streams have" in told["heatmap"]
    assert "heatmap: all is well again" in flowd.log
    wanted = [*samples, *(one for one in candles if one.closed)]
    known = {(type(one), one.time_ms) for one in there}
    assert [one for one in wanted if (type(one), one.time_ms) not in known] == []
    assert len(known) == len(there)
