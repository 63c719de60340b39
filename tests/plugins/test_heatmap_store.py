"""The file beside the streams of the heatmap: what is in it, whatever fails in between.

Threads work here, so these tests run on the real clock, and wait for events only.
"""

import json
import logging
import os
import sqlite3
import subprocess
import sys
import threading
from collections import Counter
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

import flowd_heatmap
import pytest
import trio
from attrs import evolve
from flowd_heatmap import Config, store
from flowd_heatmap.engines import engine_of
from flowd_heatmap.files import File, Unusable
from flowd_heatmap.rows import CANDLES
from flowd_heatmap.store import Store, uncut

from flowd import testing
from flowd.market import Candle, LiquidationMap, OpenInterest
from tests.needed import DUCKDB, lacking
from tests.plugins.heatmap_kit import OI, WIDTH_MS, A, B, C, T, at, candle, kept

ROOT = Path(__file__).parent.parent.parent
KINDS = [DUCKDB, "market.db"]
NOW_MS = T + 10 * WIDTH_MS


@pytest.fixture(params=KINDS)
def path(request, tmp_path):
    if request.param.endswith(".duckdb"):
        pytest.importorskip("duckdb")
    return tmp_path / request.param


@pytest.fixture(autouse=True)
def soon(monkeypatch):
    """Nobody waits for seconds here."""
    monkeypatch.setattr(store, "EVERY_S", 0.01)
    monkeypatch.setattr(store, "RETRY_S", 0.01)


class World:
    """Two streams, and the store beside them; `run` is one life of it, until they end."""

    def __init__(self, path: Path, symbols: tuple[str, ...] = ()) -> None:
        self.path, self.symbols = path, list(symbols)
        self.candles = testing.stream("candles", record=Candle)
        self.interest = testing.stream("oi", record=OpenInterest)
        self.feed = testing.feed(record=LiquidationMap, name="heatmap", clock=lambda: NOW_MS)
        self.taken: list[Any] = []
        self.begun = trio.Event()

    def put(self, *values: Candle | OpenInterest) -> None:
        for one in values:
            into = self.candles if isinstance(one, Candle) else self.interest
            into.append(one, key=one.key)

    async def run(self) -> None:
        streams = testing.streams(self.candles, self.interest)
        one = Store(self.path, streams["candles"], streams["oi"], self.symbols, self.feed)
        one.begin()
        await one.read(0, (self.taken.append, self.taken.append))
        self.begun.set()
        await one.run(0, (self.taken.append, self.taken.append))

    def end(self) -> None:
        self.candles.close()
        self.interest.close()

    async def live(self, *values: Candle | OpenInterest) -> None:
        """One life, in which these come."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.run)
            await self.begun.wait()
            self.put(*values)
            self.end()

    async def until(self, condition) -> None:
        with trio.fail_after(20):
            while not condition():  # noqa: ASYNC110 - threads set it
                await trio.sleep(0.005)

    @property
    def problem(self) -> str | None:
        return self.feed.tally.problem


def written(*values: Candle | OpenInterest) -> list[Any]:
    """The same as a file gives it back: without a venue."""
    return [evolve(one, venue="") for one in values]


# -- what is in it --


async def test_what_comes_is_in_the_file(path):
    world = World(path)
    world.put(at(0, OI[0]), A)

    await world.live(at(1, OI[1]), B, candle(2, "1", "1", "1", "1", closed=False))

    assert kept(path) == written(at(0, OI[0]), at(1, OI[1]), A, B)


async def test_a_second_life_writes_nothing_twice(path):
    world = World(path)
    await world.live(at(0, OI[0]), A)
    again = World(path)
    again.put(at(0, OI[0]), A)

    await again.live(B)

    assert kept(path) == written(at(0, OI[0]), A, B)
    assert again.taken == written(at(0, OI[0]), A)


async def test_only_the_symbols_that_are_drawn_are_kept(path):
    world = World(path, ("ETHUSDT",))

    await world.live(A, evolve(A, symbol="ETHUSDT"))

    assert [one.symbol for one in kept(path)] == ["ETHUSDT"]


async def test_all_digits_come_back(path):
    fine = evolve(
        A,
        open=Decimal("0.00000123"),
        high=Decimal("0.00000123"),
        low=Decimal("0.00000001"),
        close=Decimal("0.00000123"),
        volume=Decimal("999999999999.12345678"),
    )

    await World(path).live(fine)

    assert kept(path) == written(fine)


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        ({"low": Decimal(99_600)}, "low lies above"),
        ({"high": Decimal(99_900)}, "high lies below"),
        ({"low": Decimal(0)}, "without a price"),
        ({"volume": Decimal(-1)}, "volume below zero"),
        ({"interval": "1m"}, "another interval than 5m"),
        ({"quote_volume": Decimal(10**12)}, "too large"),
    ],
)
async def test_a_candle_that_cannot_be_is_refused_and_counted(path, wrong, why):
    world = World(path)

    await world.live(evolve(A, **wrong), B)

    assert kept(path) == written(B)
    ((reason, count),) = world.feed.tally.dropped.items()
    assert why in reason
    assert count == 1


async def test_no_volume_is_a_candle(path):
    await World(path).live(evolve(A, volume=Decimal(0)))

    assert len(kept(path)) == 1


@pytest.mark.duckdb
def test_duckdb_has_the_columns_and_scales_that_others_know(tmp_path):
    duckdb = pytest.importorskip("duckdb")
    path = tmp_path / "market.duckdb"
    file = File(path, engine_of(path))
    file.open()
    file.close()

    with duckdb.connect(str(path)) as connection:
        types = {
            row[1]: row[2]
            for row in connection.execute("PRAGMA table_info('klines_5m_history')").fetchall()
        }
    assert types["open_time"] == "BIGINT"
    assert types["low"] == "DECIMAL(18,8)"
    assert types["taker_buy_quote_volume"] == "DECIMAL(20,8)"


# -- the map that is made of it --


def heatmap_config(tmp_path: Path, database: str | None) -> Config:
    flat = 'dated = "today"\n["*"]\nrows = [[125, "1e15", "0.004", "0"]]\n'
    (tmp_path / "flat.toml").write_text(flat, encoding="utf-8")
    return Config(
        candles="candles",
        open_interest="oi",
        database=database,
        brackets=str(tmp_path / "flat.toml"),
        every=0.2,
    )


async def map_of(world: World, config: Config) -> LiquidationMap:
    """Run the transform until it has a map of three candles."""

    def drawn() -> bool:
        found = world.feed.get("BTCUSDT")
        return found is not None and found.candle_ms == C.time_ms

    streams = testing.streams(world.candles, world.interest)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(flowd_heatmap.heatmap, config, streams, world.feed)
        await world.until(drawn)
        nursery.cancel_scope.cancel()
    found = world.feed.get("BTCUSDT")
    assert found is not None
    return found


async def test_what_the_streams_lack_is_read_from_the_file(path, tmp_path):
    await World(path).live(*(at(number, text) for number, text in enumerate(OI)), A, B)
    empty = World(path)
    empty.put(C)

    found = await map_of(empty, heatmap_config(tmp_path, str(path)))

    assert found.history_from_ms == A.time_ms
    assert (found.created_ever, found.consumed_ever) == (20, 2)


async def test_a_file_that_is_free_only_later_makes_the_map_anew(path, tmp_path, monkeypatch):
    monkeypatch.setattr("flowd_heatmap.transform.SETTLE_S", 0.1)
    await World(path).live(at(0, OI[0]), at(1, OI[1]), A)
    world = World(path)
    world.put(at(1, OI[1]), at(2, OI[2]), at(3, OI[3]), B, C)
    config = heatmap_config(tmp_path, str(path))

    with held(path) as let_go:
        before = await map_of(world, config)
        assert "in use" in (world.problem or "") or "lock" in (world.problem or "")
        streams = testing.streams(world.candles, world.interest)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(flowd_heatmap.heatmap, config, streams, world.feed)
            let_go()
            await world.until(
                lambda: (world.feed.get("BTCUSDT") or before).history_from_ms == A.time_ms
            )
            nursery.cancel_scope.cancel()

    assert before.history_from_ms == B.time_ms


async def test_without_a_file_the_streams_are_the_past(tmp_path, caplog):
    caplog.set_level(logging.INFO)
    world = World(tmp_path / "none")
    world.put(*(at(number, text) for number, text in enumerate(OI)), A, B, C)

    await map_of(world, heatmap_config(tmp_path, None))

    assert 'no "database" is named' in caplog.text


async def test_without_duckdb_the_streams_are_the_past(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "duckdb", None)
    world = World(tmp_path / "none")
    world.put(*(at(number, text) for number, text in enumerate(OI)), A, B, C)

    await map_of(world, heatmap_config(tmp_path, str(tmp_path / "market.duckdb")))

    assert world.problem is None
    assert not (tmp_path / "market.duckdb").exists()


# -- somebody else's file --


def theirs(path: Path) -> None:
    """A file as the project had it that this map comes from: one symbol, keys by time alone."""
    klines = (
        "CREATE TABLE klines_5m_history (open_time {time} PRIMARY KEY, symbol VARCHAR, "
        "open {n}, high {n}, low {n}, close {n}, volume {n}, close_time {time}, "
        "quote_volume {n}, count INTEGER, taker_buy_volume {n}, taker_buy_quote_volume {n})"
    )
    interest = (
        "CREATE TABLE open_interest_history (id INTEGER PRIMARY KEY, timestamp {time}, "
        "symbol VARCHAR, open_interest_value {n}, open_interest_contracts {n}, oi_delta {n}, "
        "source VARCHAR)"
    )
    if path.suffix == ".duckdb":
        import duckdb

        connection, types = duckdb.connect(str(path)), {"time": "TIMESTAMP", "n": "DECIMAL(20,8)"}
    else:
        connection, types = sqlite3.connect(path), {"time": "TEXT", "n": "TEXT"}
    connection.execute(klines.format(**types))
    connection.execute(interest.format(**types))
    connection.execute(
        "INSERT INTO klines_5m_history VALUES ('2023-11-14 22:10:00', 'BTCUSDT', 99500, 100200, "
        "99400, 100000, 1, '2023-11-14 22:14:59', 1, 2, 0.5, 1), "
        "('2023-11-14 22:15:00', 'BTCUSDT', 5, 6, 7, 8, 1, '2023-11-14 22:19:59', 1, 2, 0.5, 1)"
    )
    connection.execute(
        "INSERT INTO open_interest_history VALUES "
        "(1, '2023-11-14 22:10:00', 'BTCUSDT', 5, 1000, 0, 'binance_csv'), "
        "(2, '2023-11-14 22:15:00', 'BTCUSDT', 5, NULL, 0, 'binance_csv')"
    )
    connection.commit()
    connection.close()


async def test_a_file_of_somebody_else_is_read_and_left_as_it_is(path, caplog):
    theirs(path)
    before = path.read_bytes()
    world = World(path)

    await world.live(B, at(1, OI[1]))

    assert path.read_bytes() == before
    assert world.taken == written(evolve(at(0, "1000"), value=Decimal(5)), A)
    assert caplog.text.count("was made by somebody else") == 1
    assert "klines_5m_history knows its rows by open_time, not by symbol, open_time" in caplog.text
    assert world.problem is None
    assert world.feed.tally.dropped == {
        "stored candle whose low lies above its open or close": 1,
        "stored open interest without contracts": 1,
    }


async def test_a_file_of_somebody_else_is_let_go_of(path):
    theirs(path)
    world = World(path)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(world.run)
        await world.begun.wait()

        with held(path):
            world.end()


# -- what goes wrong --

HOLD = """
import sqlite3, sys
path = sys.argv[1]
if path.endswith(".duckdb"):
    import duckdb
    connection = duckdb.connect(path)
else:
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA journal_mode = DELETE")
    connection.execute("BEGIN EXCLUSIVE")
print("held", flush=True)
sys.stdin.readline()
"""


@contextmanager
def held(path: Path):
    """Another process has the file, until it is let go."""
    child = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path)], stdin=-1, stdout=-1, stderr=-1, text=True
    )
    assert child.stdin is not None
    assert child.stdout is not None
    assert child.stderr is not None
    try:
        assert child.stdout.readline() == "held\n", child.stderr.read()
        yield child.stdin.close
    finally:
        child.stdin.close()
        child.wait(10)
        child.stdout.close()
        child.stderr.close()


async def test_a_file_that_another_process_has_is_waited_for(path, monkeypatch):
    monkeypatch.setattr("flowd_heatmap.engines.BUSY_S", 0.01)
    await World(path).live(A)
    world = World(path)

    with held(path) as let_go:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(world.run)
            await world.until(lambda: world.problem)
            assert "lock" in world.problem
            assert "stop who has it open" in world.problem
            world.put(at(0, OI[0]), B)

            let_go()

            await world.until(lambda: world.problem is None)
            world.end()
    assert kept(path) == written(at(0, OI[0]), A, B)
    assert world.taken == written(A)


async def test_an_empty_file_that_another_process_has_is_waited_for(path, monkeypatch):
    monkeypatch.setattr("flowd_heatmap.engines.BUSY_S", 0.01)
    world = World(path)
    world.put(A)

    with held(path) as let_go:
        before = path.stat().st_ino
        async with trio.open_nursery() as nursery:
            nursery.start_soon(world.run)
            await world.until(lambda: world.problem)
            assert "stop who has it open" in world.problem
            let_go()
            await world.until(lambda: world.problem is None)
            world.end()

    assert path.stat().st_ino == before
    assert kept(path) == written(A)


async def test_what_fell_off_the_stream_meanwhile_is_written_too(path, monkeypatch):
    monkeypatch.setattr("flowd_heatmap.engines.BUSY_S", 0.01)
    await World(path).live(at(0, OI[0]))
    world = World(path)
    world.candles = testing.stream("candles", record=Candle, retain=5)
    many = [candle(number, "2", "2", "2", "2") for number in range(50)]

    with held(path) as let_go:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(world.run)
            await world.until(lambda: world.problem)
            for one in many:
                world.put(one)
            assert len(world.candles) == 5

            let_go()

            await world.until(lambda: world.problem is None)
            world.end()
    assert kept(path)[1:] == written(*many)


async def test_a_damaged_file_says_what_to_do_and_a_new_one_has_everything(path):
    path.write_bytes(b"nothing that anybody could read" * 1000)
    world = World(path)
    world.put(A)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(world.run)
        await world.until(lambda: world.problem)
        assert "move it away" in world.problem
        world.put(B)
        path.unlink()
        await world.until(lambda: world.problem is None)
        world.end()

    assert kept(path) == written(A, B)


async def test_a_file_that_is_taken_away_is_made_anew_with_everything(path):
    world = World(path)
    world.put(A)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(world.run)
        await world.until(lambda: world.feed.tally.figures.get("stored"))
        for each in path.parent.iterdir():
            each.unlink()
        world.put(B)
        await world.until(lambda: world.feed.tally.figures["stored"] == 3)
        world.end()

    assert kept(path) == written(A, B)


async def test_an_empty_file_is_a_new_one(path):
    path.touch()

    await World(path).live(A)

    assert kept(path) == written(A)


@contextmanager
def unwritable(folder: Path):
    """Nobody may write to this folder; for root that takes a file system of its own."""
    folder.mkdir()
    if os.geteuid():
        folder.chmod(0o555)
        for one in folder.iterdir():
            one.chmod(0o444)
        yield lambda: folder.chmod(0o755)
        return
    mount = ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(folder)]
    if subprocess.run(mount, capture_output=True).returncode:
        lacking("no file system can be mounted here")
    try:
        subprocess.run(["mount", "-o", "remount,ro", str(folder)], check=True)
        yield lambda: subprocess.run(["mount", "-o", "remount,rw", str(folder)], check=True)
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


async def test_where_nothing_can_be_written_it_says_so_and_goes_on(path):
    with unwritable(path.parent / "there") as allow:
        world = World(path.parent / "there" / path.name)
        world.put(A)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(world.run)
            await world.until(lambda: world.problem)
            allow()
            await world.until(lambda: world.problem is None)
            world.end()

        assert kept(world.path) == written(A)


LIFE = """
import json, resource, sys
from pathlib import Path
import trio
from flowd_heatmap import store
from tests.plugins.heatmap_kit import candle
from tests.plugins.test_heatmap_store import World

path, count, room = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
store.EVERY_S = store.RETRY_S = 0.01
store.BATCH = 50

async def main():
    world = World(path)
    for number in range(count):
        world.put(candle(number, "2", "2", "2", "2"))
    if room:
        hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
        resource.setrlimit(resource.RLIMIT_FSIZE, (room, hard))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(world.run)
        if room:
            await world.until(lambda: world.problem)
            print(json.dumps(world.problem), flush=True)
            resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
            await world.until(lambda: world.problem is None)
        else:
            await world.until(lambda: world.feed.tally.figures.get("stored"))
            print("begun", flush=True)
        world.end()

trio.run(main)
"""


def life(path: Path, count: int, room: int = 0) -> subprocess.Popen[str]:
    """A process of its own that writes so many candles."""
    path_of_ours = os.pathsep.join([str(ROOT), *sys.path])
    environment = {**os.environ, "PYTHONPATH": path_of_ours}
    command = [sys.executable, "-c", LIFE, str(path), str(count), str(room)]
    return subprocess.Popen(command, stdout=-1, stderr=-1, text=True, env=environment)


@pytest.mark.edge
def test_a_full_disk_is_waited_for(path):
    file = File(path, engine_of(path))
    file.open()
    file.close()

    child = life(path, 5000, path.stat().st_size + 20_000)
    out, err = child.communicate(timeout=60)

    assert child.returncode == 0, err
    assert "cannot be" in json.loads(out)
    assert [one.time_ms for one in kept(path)] == [T + n * WIDTH_MS for n in range(5000)]


@pytest.mark.edge
@pytest.mark.parametrize("after", [0, 0.05, 0.2])
async def test_a_kill_in_the_middle_leaves_what_can_be_gone_on_with(path, after):
    count = 5000
    child = life(path, count)
    assert child.stdout is not None
    assert child.stderr is not None
    assert child.stdout.readline() == "begun\n", child.stderr.read()
    await trio.sleep(after)
    child.kill()
    child.wait(10)
    child.stdout.close()
    child.stderr.close()
    many = [candle(number, "2", "2", "2", "2") for number in range(count)]
    there = kept(path)
    assert there == written(*many[: len(there)])
    assert len(there) % 50 == 0

    world = World(path)
    world.candles = testing.stream("candles", record=Candle, retain=count)
    world.put(*many)
    await world.live()

    assert kept(path) == written(*many)


def test_what_is_no_table_of_candles_is_told(path):
    theirs(path)
    file = File(path, engine_of(path))
    if path.suffix == ".duckdb":
        import duckdb

        connection = duckdb.connect(str(path))
    else:
        connection = sqlite3.connect(path)
    connection.execute("ALTER TABLE klines_5m_history RENAME COLUMN low TO lowest")
    connection.commit()
    connection.close()
    file.open()

    with pytest.raises(Unusable, match="klines_5m_history has no low"):
        file.reader(CANDLES, 0)

    file.close()


def test_all_of_a_batch_is_written_or_nothing(path):
    file = File(path, engine_of(path))
    file.open()
    refused: Counter[str] = Counter()
    file.write(CANDLES, [A], refused)

    # Past what Python checks, as another program's mistake would be.
    broken = evolve(CANDLES, row=lambda one: [*CANDLES.row(one)[:4], "0", *CANDLES.row(one)[5:]])
    with pytest.raises(Unusable, match="cannot be written"):
        file.write(broken, [B, C], refused)

    assert kept(path) == written(A)


# -- threads --


async def test_who_is_cancelled_interrupts_its_thread_and_waits_for_it():
    stop, ended = threading.Event(), threading.Event()

    def work() -> None:
        stop.wait(10)
        ended.set()

    with trio.move_on_after(0.01):
        await uncut(work, stop.set, trio.CapacityLimiter(1))

    assert ended.is_set()


@pytest.mark.duckdb
async def test_a_query_is_interrupted(tmp_path):
    duckdb = pytest.importorskip("duckdb")
    with duckdb.connect() as connection:

        def work() -> None:
            connection.execute(
                "SELECT sum(a.range * b.range) FROM range(10000000) a, range(10000000) b"
            ).fetchall()

        with trio.fail_after(30):
            with trio.move_on_after(0.2) as scope:
                await uncut(work, connection.interrupt, trio.CapacityLimiter(1))

    assert scope.cancelled_caught
