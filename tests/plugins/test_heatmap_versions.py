"""The file beside the streams of the heatmap, written by one major version of DuckDB and opened by
another: whoever upgrades, or must go back, keeps it.

Each version works in processes of its own.
"""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.needed import OLD_DUCKDB, lacking
from tests.plugins.heatmap_kit import WIDTH_MS, T

ROOT = Path(__file__).parent.parent.parent
BOTH = [("old", "new"), ("new", "old")]

pytestmark = pytest.mark.edge

ACT = """
import json, os, signal, sys
from collections import Counter
from itertools import chain
from pathlib import Path
import duckdb
from flowd_heatmap.engines import engine_of
from flowd_heatmap.files import File, Unusable
from flowd_heatmap.rows import CANDLES
from tests.plugins.heatmap_kit import candle

def act(what, path, number):
    if what == "make in the newest format":
        settings = {"storage_compatibility_version": "latest"}
        return duckdb.connect(str(path), config=settings).close()
    if what == "make by itself":
        return duckdb.connect(str(path)).close()
    file = File(path, engine_of(path))
    try:
        file.open(read_only=what == "read")
        if what == "read":
            reader = file.reader(CANDLES, 0)
            found = [one.time_ms for one in chain.from_iterable(iter(reader.page, None))]
            reader.close()
            return found
        file.write(CANDLES, [candle(number, "2", "2", "2", "2")], Counter())
        if what == "write and be killed":
            os.kill(os.getpid(), signal.SIGKILL)
    except Unusable as error:
        return str(error)
    finally:
        file.close()

print(json.dumps(duckdb.__version__), flush=True)
for line in sys.stdin:
    what, path, number = json.loads(line)
    print(json.dumps(act(what, Path(path), number)), flush=True)
"""


class Peer:
    """A process with one version of DuckDB, which does what it is told. Ended at the end of `with`,
    begun anew after it was killed.
    """

    def __init__(self, version: str) -> None:
        self.version = ""
        self._folders = [str(OLD_DUCKDB)] * (version == "old") + [str(ROOT), *sys.path]
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> "Peer":
        return self

    def __exit__(self, *error: object) -> None:
        if self._process is not None:
            self._process.communicate(timeout=30)

    def act(self, what: str, path: Path, number: int = 0) -> Any:
        """Do this with a file: the times that it reads, or why it is refused."""
        if self._process is None:
            environment = {**os.environ, "PYTHONPATH": os.pathsep.join(self._folders)}
            command = [sys.executable, "-c", ACT]
            self._process = subprocess.Popen(
                command, stdin=-1, stdout=-1, text=True, env=environment
            )
            self.version = self._read(self._process)
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps([what, str(path), number]) + "\n")
        self._process.stdin.flush()
        if what != "write and be killed":
            return self._read(self._process)
        self._process.communicate(timeout=30)
        assert self._process.returncode == -signal.SIGKILL
        self._process = None
        return None

    def _read(self, process: "subprocess.Popen[str]") -> Any:
        assert process.stdout is not None
        return json.loads(process.stdout.readline())


@pytest.fixture(scope="module")
def peers() -> Iterator[dict[str, Peer]]:
    pytest.importorskip("duckdb")
    if not (OLD_DUCKDB / "stamp").exists():
        lacking("the older DuckDB is not there: make edge")
    with Peer("old") as old, Peer("new") as new:
        yield {"old": old, "new": new}
        assert old.version.startswith("1.4.")
        assert not new.version.startswith("1.")


def times(*numbers: int) -> list[int]:
    return [T + number * WIDTH_MS for number in numbers]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "market.duckdb"


@pytest.mark.parametrize(("first", "second"), BOTH)
def test_what_one_duckdb_wrote_the_other_goes_on_with_and_back(
    peers: dict[str, Peer], path: Path, first: str, second: str
) -> None:
    peers[first].act("write", path, 0)
    peers[second].act("write", path, 1)
    peers[first].act("write", path, 2)

    assert peers[second].act("read", path) == times(0, 1, 2)


@pytest.mark.parametrize(("first", "second"), BOTH)
def test_what_one_duckdb_left_when_it_was_killed_the_other_goes_on_with(
    peers: dict[str, Peer], path: Path, first: str, second: str
) -> None:
    peers[first].act("write and be killed", path, 0)
    assert path.with_suffix(".duckdb.wal").exists()

    assert peers[second].act("read", path) == times(0)
    peers[second].act("write", path, 1)

    assert peers[first].act("read", path) == times(0, 1)


def test_a_file_that_an_older_duckdb_made_by_itself_stays_one_that_it_reads(
    peers: dict[str, Peer], path: Path
) -> None:
    peers["old"].act("make by itself", path)

    peers["new"].act("write", path, 0)

    assert peers["old"].act("read", path) == times(0)


@pytest.mark.parametrize("what", ["read", "write"])
def test_a_file_of_a_newer_format_is_refused_by_an_older_duckdb_which_says_what_to_do(
    peers: dict[str, Peer], path: Path, what: str
) -> None:
    peers["new"].act("make in the newest format", path)
    before = path.read_bytes()

    refused = peers["old"].act(what, path)

    assert refused.startswith(f"{path} cannot be opened: ")
    assert "a newer DuckDB wrote it: pip install --upgrade duckdb" in refused
    assert path.read_bytes() == before
