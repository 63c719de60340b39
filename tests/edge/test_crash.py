"""Ends of the process at any moment, under load, with clients who come back by other ways."""

import os
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
import trio

from tests.edge.process import until

ROOT = Path(__file__).parents[2]
CYCLES = 30
LONG_S = 900.0
"""A minute and a half on a machine with nothing else to do."""


@pytest.mark.timeout(LONG_S + 60)
def test_no_promise_is_broken_by_thirty_ends_of_the_process(tmp_path: Path) -> None:
    line = [sys.executable, "-m", "tests.crash", "--cycles", str(CYCLES), "--seed", "1"]

    with subprocess.Popen(
        [*line, "--folder", str(tmp_path)], cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as run:
        try:
            said, _ = run.communicate(timeout=LONG_S)
        finally:
            # It ends what it started.
            run.terminate()

    assert run.returncode == 0, said


async def test_who_is_told_to_end_leaves_nobody_behind(tmp_path: Path) -> None:
    line = [sys.executable, "-m", "tests.crash", "--cycles", "1000", "--folder", str(tmp_path)]
    started_so = partial(subprocess.Popen, start_new_session=True, stderr=subprocess.PIPE)
    with started_so(line, cwd=ROOT) as run:

        async def started() -> set[int]:
            await trio.lowlevel.checkpoint()
            return of_session(run.pid) - {run.pid}

        # An exchange and a daemon.
        await until(started, lambda pids: len(pids) == 2)
        run.terminate()
        _, said = await trio.to_thread.run_sync(run.communicate)

    left = of_session(run.pid)
    for pid in left:
        os.kill(pid, signal.SIGKILL)
    assert (run.returncode, left) == (130, set()), said.decode()
    assert "Traceback" not in said.decode()


def of_session(leader: int) -> set[int]:
    """The processes of a session that run."""
    found = set[int]()
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            pid, _, rest = stat.read_text().partition(" (")
        except OSError:
            continue
        state, _, _, session = rest.rpartition(") ")[2].split()[:4]
        if state != "Z" and int(session) == leader:
            found.add(int(pid))
    return found
