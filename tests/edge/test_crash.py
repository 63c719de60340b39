"""Ends of the process at any moment, under load, with clients who come back by other ways."""

import subprocess
import sys
from pathlib import Path

import pytest

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
