"""The examples of the documentation work against a real daemon."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.edge.exchange import Exchange

from .conftest import WAIT_S, Daemon

pytestmark = pytest.mark.edge

CLIENT = Path(__file__).parent.parent
EXAMPLES = CLIENT / "examples"
ORDERS = """
[sources.force-orders]
kind = "binance-force-order"
symbols = ["BTCUSDT", "ETHUSDT"]
url = "{url}"
"""


def lines(url: str, name: str, *arguments: str, until: str) -> list[str]:
    """What an example prints, up to and with a line that begins so; then it is ended."""
    paths = os.pathsep.join([str(CLIENT / "src"), os.environ.get("PYTHONPATH", "")])
    text = (EXAMPLES / name).read_text(encoding="utf-8").replace("http://127.0.0.1:4200", url)
    command = [sys.executable, "-c", text, *arguments]
    found: list[str] = []
    with subprocess.Popen(
        command, env={**os.environ, "PYTHONPATH": paths}, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            found.append(line.strip())
            if line.startswith(until):
                break
        process.kill()
        process.wait(WAIT_S)
    return found


def test_the_examples_print_what_comes(
    daemon: Callable[..., Daemon], exchange: Exchange, tmp_path: Path
) -> None:
    running = daemon(extra=ORDERS.format(url=exchange.url))
    running.reached(exchange.say(5)[-1])
    place = str(tmp_path / "position")

    shortest = lines(running.url, "shortest.py", until="5 ")
    loop = lines(running.url, "in_a_loop.py", running.url, place, until="5 ")
    trio = lines(running.url, "with_trio.py", running.url, until="BTCUSDT 5")

    assert shortest == [f"{n} {n}" for n in range(1, 6)]
    assert loop == [f"{n} SELL {n}" for n in range(1, 6)]
    assert [line for line in trio if line.startswith("BTC")] == [f"BTCUSDT {n}" for n in (3, 4, 5)]
