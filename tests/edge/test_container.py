"""What the image's health check says of a real daemon, without Docker."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.edge.conftest import Start
from tests.edge.process import free_port

DOCKERFILE = (Path(__file__).parents[2] / "Dockerfile").read_text("utf-8")
(CHECK,) = re.findall(r"^HEALTHCHECK .*\\\n +CMD (.*)$", DOCKERFILE, re.MULTILINE)


def checked(port: int, folder: Path) -> int:
    """The exit status of the check, as Docker has a shell run it."""
    command = folder / "flowd"
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m flowd.cli "$@"\n')
    command.chmod(0o755)
    path = f"{folder}:{os.environ['PATH']}"
    env = {**os.environ, "FLOWD_URL": f"http://127.0.0.1:{port}", "PATH": path}
    return subprocess.run(["/bin/sh", "-c", CHECK], env=env, timeout=60, check=False).returncode


async def test_a_daemon_that_serves_is_healthy_even_if_an_exchange_is_not(
    flowd: Start, tmp_path: Path
) -> None:
    daemon = await flowd().start()
    gone = await flowd(source={"url": "ws://127.0.0.1:9"}).start(delivering=False)

    assert (await gone.get("/health")).status == 503
    assert checked(daemon.port, tmp_path) == 0
    assert checked(gone.port, tmp_path) == 0


@pytest.mark.usefixtures("exchange")
def test_a_daemon_that_does_not_answer_is_not_healthy(tmp_path: Path) -> None:
    assert checked(free_port(), tmp_path) == 1
