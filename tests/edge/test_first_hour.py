"""What a newcomer does first: `make run`, and `flowd init` with what it writes."""

import fcntl
import json
import os
import re
import signal
import socket
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from functools import partial
from operator import eq
from pathlib import Path
from typing import Any

import pytest
import trio
from typer.testing import CliRunner

from demo import run as demo
from flowd import cli
from tests.edge.peers import fetch, http
from tests.edge.process import Flowd, toml, until

ROOT = Path(__file__).parents[2]
LONG_S = 80.0
EXCHANGES = {
    "binance-force-order": {"url": "ws://127.0.0.1:{--port}/market"},
    "binance-candles": {
        "url": "ws://127.0.0.1:{--port}/market",
        "rest_url": "http://127.0.0.1:{--rest-port}",
        "history": "10",
    },
    "binance-open-interest": {"rest_url": "http://127.0.0.1:{--rest-port}", "history": "10"},
    "binance-instruments": {"rest_url": "http://127.0.0.1:{--rest-port}"},
    "bybit-instruments": {"rest_url": "http://127.0.0.1:{--bybit-port}"},
    "okx-instruments": {"rest_url": "http://127.0.0.1:{--okx-port}"},
    "bybit-liquidations": {
        "url": "ws://127.0.0.1:{--bybit-port}/v5/public/linear",
        "rest_url": "http://127.0.0.1:{--bybit-port}",
    },
    "okx-liquidations": {
        "url": "ws://127.0.0.1:{--okx-port}/ws/v5/public",
        "rest_url": "http://127.0.0.1:{--okx-port}",
    },
    "hyperliquid-discovery": {"url": "ws://127.0.0.1:{--hyperliquid-port}/ws"},
    "hyperliquid-tracking": {"info_url": "http://127.0.0.1:{--hyperliquid-port}/info"},
    "leaderboard": {"info_url": "http://127.0.0.1:{--hyperliquid-port}/info"},
}
"""Where each kind finds its exchange, as the simulator has it; and a past that is soon there."""
PAGES = ("/", "/chart", "/heatmap", "/all-fills", "/liquidations", "/analytics", "/traders")


@pytest.fixture(scope="module")
def ports() -> Iterator[dict[str, int]]:
    """The simulated exchanges of the demo, by the options that say their ports."""
    found = dict(zip(demo.PORTS, demo.free(len(demo.PORTS)), strict=True))
    with demo.exchanges(found, "--rate=240", "--symbols=BTCUSDT,ETHUSDT,SOLUSDT") as running:
        assert running
        yield found


def aimed(text: str, ports: dict[str, int], folder: Path) -> str:
    """A configuration whose upstreams are the simulated ones, and all else as it was."""
    written = set[str]()
    lines: list[str] = []
    for line in text.splitlines():
        key, _, value = line.partition(" = ")
        if key == "listen":
            line = 'listen = "127.0.0.1:0"'
        elif key == "state":
            line = f'state = "{folder / "first.db"}"'
        elif key == "kind":
            kind = value.split('"')[1]
            written = set(EXCHANGES.get(kind, {}))
            lines.append(line)
            for name, address in EXCHANGES.get(kind, {}).items():
                for option, port in ports.items():
                    address = address.replace(f"{{{option}}}", str(port))
                lines.append(f"{name} = {toml(int(address) if address.isdigit() else address)}")
            continue
        elif key in written:
            continue
        lines.append(line)
    return "\n".join(lines)


async def test_what_init_writes_fills_every_page_without_a_key(
    ports: dict[str, int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HYDROMANCER_API_KEY", raising=False)
    file = tmp_path / "flowd.toml"
    assert CliRunner().invoke(cli.app, ["init", str(file)]).exit_code == 0
    text = aimed(file.read_text(), ports, tmp_path)
    pages = tomllib.loads(text)["sinks"]["pages"]

    with Flowd(tmp_path / "first", None) as daemon:
        daemon.config.write_text(text)
        await daemon.start(delivering=False)

        async def records(stream: str) -> list[Any]:
            found: list[Any] = (await daemon.poll("?limit=5", stream))["records"]
            return found

        for stream in (
            *(pages[key] for key in ("fills", "analytics", "liquidation_analytics")),
            *pages["liquidations"],
            *("candles-1m", "candles-5m", "candles-1h", "candles-1d"),
            *("binance-instruments", "bybit-instruments", "okx-instruments"),
            *("open-interest", "volume", "traders", "positions.accounts", "heatmap"),
        ):
            await daemon.until(partial(records, stream), bool, LONG_S)
        for path in PAGES:
            answer = await daemon.get(path, Accept="text/html")
            assert (answer.status, path) == (200, path)
            assert answer.headers["content-type"].startswith("text/html")
        status = await daemon.settled(
            lambda status: not [c for c in status["components"] if c["state"] != "running"], LONG_S
        )
        assert {c["error"] for c in status["components"]} == {None}
        await daemon.stop()


@pytest.fixture
def demonstration(tmp_path: Path) -> Iterator[tuple[int, "subprocess.Popen[str]"]]:
    """`make run` on a port of its own, ended with the test."""
    (port,) = demo.free(1)
    with subprocess.Popen(
        [sys.executable, "demo/run.py", "--port", str(port)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "FLOWD_DEMO": str(tmp_path)},
        text=True,
        process_group=0,
    ) as process:
        try:
            yield port, process
        finally:
            if process.poll() is None:
                process.kill()


async def test_the_demo_is_where_it_says_keeps_each_venues_liquidations_and_ends_in_order(
    demonstration: tuple[int, "subprocess.Popen[str]"], tmp_path: Path
) -> None:
    port, process = demonstration
    assert process.stdout is not None

    told = await trio.to_thread.run_sync(process.stdout.readline)
    address = re.search(r"http://127\.0\.0\.1:(\d+)/", told)

    assert address is not None
    assert int(address[1]) == port
    assert (await fetch(port, "/")).status == 200, "it was said before it was so"
    admin = await trio.to_thread.run_sync(process.stdout.readline)
    token = re.search(r" is (\w+)\.$", admin)
    assert token is not None

    async def kept(stream: str) -> Any:
        return json.loads((await fetch(port, f"/streams/{stream}/history?limit=1")).body)["records"]

    for stream in ("force-orders", "bybit-liquidations", "okx-liquidations"):
        await until(partial(kept, stream), bool, LONG_S)
    await until(partial(kept_line, port, token[1]), partial(eq, 201), LONG_S)
    process.send_signal(signal.SIGTERM)
    assert await trio.to_thread.run_sync(process.wait, 30) == 0
    export = [sys.executable, "-m", "flowd.cli", "export", "okx-liquidations", "--db"]
    exported = await trio.run_process(
        [*export, str(tmp_path / "history.db")], cwd=ROOT, capture_stdout=True
    )
    assert b'"venue":"okx"' in exported.stdout


async def kept_line(port: int, token: str) -> int:
    """The status with which an alert line is answered, as an admin sets it."""
    wanted = b'{"symbol": "BTCUSDT", "price": "1"}'
    async with http(port) as client:
        asked = client.ask(
            "/api/v1/alert-lines",
            "POST",
            headers={"Authorization": f"Bearer {token}"},
            body=wanted,
        )
        return (await asked).status


def test_a_second_demo_in_one_folder_is_told_how_to_have_its_own(tmp_path: Path) -> None:
    (port,) = demo.free(1)
    command = [sys.executable, "demo/run.py", "--port", str(port)]
    with (tmp_path / "state.db").open("wb") as state:
        fcntl.flock(state, fcntl.LOCK_EX)
        found = subprocess.run(
            command,
            cwd=ROOT,
            env={**os.environ, "FLOWD_DEMO": str(tmp_path)},
            capture_output=True,
            text=True,
            timeout=30,
        )

    assert (found.returncode, found.stdout) == (2, "")
    assert f"{tmp_path}/state.db is in use by another demo" in found.stderr
    assert re.search(rf"FLOWD_DEMO=\S+ make run PORT={port + 1}$", found.stderr.strip())


def test_a_port_that_is_taken_is_told_with_a_way_out(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        command = [sys.executable, "demo/run.py", "--port", str(port)]
        found = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=30)

    assert found.returncode == 2
    assert f"make run PORT={port + 1}" in found.stderr
