"""What a start brings along: a daemon has in it what its configuration needs, and no more."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

CONFIG = """\
[flowd]
listen = "127.0.0.1:0"
state = "{state}"

[sources.force-orders]
kind = "binance-force-order"
symbols = ["*"]
url = "ws://127.0.0.1:9/market"

[sinks.http]
kind = "http"

[sinks.websocket]
kind = "websocket"
"""
TELLING = """\
import atexit, sys
from flowd.cli import main
atexit.register(lambda: print(*sys.modules))
main()
"""
HEAVY = {
    "confluent_kafka": "Kafka",
    "datasketches": "totals",
    "duckdb": "an export to Parquet",
    "flowd_simulator.binance": "flowd simulate",
    "httpx2": "candles, webhooks and flowd status",
    "nacl": "credentials of NATS",
    "numpy": "totals and the making of tables",
    "pydantic": "options that are not the usual ones",
    "rich": "what is shown in a terminal",
    "sqlite_utils": "the making of tables",
}

pytestmark = pytest.mark.edge


def loaded(*arguments: str) -> set[str]:
    """What `flowd` with these arguments has imported by its end; a daemon is ended once it
    serves.
    """
    command = [sys.executable, "-c", TELLING, *arguments]
    with subprocess.Popen(command, stdout=-1, stderr=-1, text=True) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if "serves on" in line:
                process.send_signal(signal.SIGTERM)
        assert process.stdout is not None
        modules = set(process.stdout.read().split())
    assert process.returncode == 0
    return modules


def test_a_daemon_loads_no_library_that_none_of_its_components_needs(tmp_path: Path) -> None:
    config = tmp_path / "flowd.toml"
    config.write_text(CONFIG.format(state=tmp_path / "flowd.db"))
    loaded("run", "-c", str(config))

    modules = loaded("run", "-c", str(config))

    assert "quart" in modules
    assert {name: what for name, what in HEAVY.items() if name in modules} == {}


def test_help_and_check_load_neither_the_daemon_nor_what_it_serves_with(tmp_path: Path) -> None:
    config = tmp_path / "flowd.toml"
    config.write_text(CONFIG.format(state=tmp_path / "flowd.db"))

    for words in (["--help"], ["check", "-c", str(config)]):
        modules = loaded(*words)

        assert "flowd.plugin" in modules
        assert not modules & {"flowd.daemon", "httpx2", "numpy", "sqlite_utils"}
