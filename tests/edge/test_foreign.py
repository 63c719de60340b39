"""Real processes with a plugin in them that does what no plugin should, and real signals."""

import re
import signal
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import trio

from tests.edge.conftest import Start
from tests.edge.exchange import Exchange
from tests.edge.process import Flowd, until

PLUGIN = """
import time
from pathlib import Path
import trio
from attrs import frozen
from quart import Blueprint
from flowd.plugin import Sink, hookimpl

@frozen
class Config:
    folder: str

def hold(folder):
    (Path(folder) / "there").touch()
    while not (Path(folder) / "free").exists():
        time.sleep(0.01)

async def holds(config, streams):
    hold(config.folder)

async def deaf(config, streams):
    (Path(config.folder) / "there").touch()
    while True:
        try:
            await trio.sleep(0.1)
        except trio.Cancelled:
            pass

def routes(config, streams):
    hold(config.folder)
    return Blueprint("slow", __name__)

@hookimpl
def flowd_sinks():
    return [
        Sink("holds", Config, run=holds),
        Sink("deaf", Config, run=deaf),
        Sink("slow", Config, routes=routes),
    ]
"""

Foreign = Callable[..., Flowd]


@pytest.fixture
def foreign(flowd: Start, tmp_path: Path) -> Foreign:
    """Makes a daemon with a sink of a kind of the plugin above: `foreign("holds")`."""

    def make(kind: str, content: str = PLUGIN) -> Flowd:
        plugins = tmp_path / "plugins"
        plugins.mkdir()
        (plugins / "foreign.py").write_text(content)
        sink = f'[sinks.foreign]\nkind = "{kind}"\nfolder = "{tmp_path}"'
        return flowd(extra=sink, arguments=["--plugins-dir", str(plugins)])

    return make


async def there(tmp_path: Path) -> None:
    """Wait until the plugin is where it was to go."""
    await until(trio.Path(tmp_path / "there").exists, bool)


async def logged(daemon: Flowd, pattern: str) -> None:
    """Wait until the log has it."""

    async def log() -> Any:
        await trio.lowlevel.checkpoint()
        return re.search(pattern, daemon.log)

    await until(log, bool)


async def test_who_holds_the_loop_is_named_with_its_stack_and_keeps_nobody_from_ending(
    foreign: Foreign, tmp_path: Path
) -> None:
    with foreign("holds") as daemon:
        daemon.spawn()
        await there(tmp_path)

        await logged(daemon, r"component foreign has held the event loop for 5\.\ds")
        await logged(daemon, r"plugins/foreign\.py\", line \d+, in hold\n")
        daemon.tell(signal.SIGTERM)
        await trio.sleep(0.1)
        daemon.tell(signal.SIGTERM)

        assert await daemon.ended(5) == 1
        assert "told twice: ending at once" in daemon.log


async def test_who_catches_cancelled_is_named_and_the_daemon_ends_saved(
    foreign: Foreign, exchange: Exchange, tmp_path: Path
) -> None:
    with foreign("deaf") as daemon:
        await daemon.start()
        await there(tmp_path)

        began = time.monotonic()
        daemon.tell(signal.SIGTERM)

        assert await daemon.ended(15) == 0
        assert time.monotonic() - began < 15
        assert "foreign: does not end: it catches Trio's Cancelled" in daemon.log
        assert "stopped; state saved" in daemon.log


async def test_a_signal_while_plugins_are_imported_ends_it_with_0(
    foreign: Foreign, tmp_path: Path
) -> None:
    content = f"{PLUGIN}\nhold({str(tmp_path)!r})\n"
    with foreign("holds", content) as daemon:
        daemon.spawn()
        await there(tmp_path)

        daemon.tell(signal.SIGTERM)

        assert await daemon.ended(5) == 0
        assert "stopped before it had started" in daemon.log


async def test_a_signal_while_it_is_built_ends_it_in_order(
    foreign: Foreign, tmp_path: Path
) -> None:
    with foreign("slow") as daemon:
        daemon.spawn()
        await there(tmp_path)

        daemon.tell(signal.SIGTERM)
        (tmp_path / "free").touch()

        assert await daemon.ended() == 0
        assert "stopped; state saved" in daemon.log


async def test_sighup_ends_it_in_order(flowd: Start) -> None:
    with flowd() as daemon:
        await daemon.start()

        await daemon.stop(signal.SIGHUP)

        assert "stopped; state saved" in daemon.log


async def test_an_end_without_a_last_save_exits_1(flowd: Start, exchange: Exchange) -> None:
    with flowd() as daemon:
        await daemon.start()
        blocker = sqlite3.connect(daemon.state, isolation_level=None)
        blocker.execute("BEGIN EXCLUSIVE")
        await daemon.settled(lambda found: found["snapshot"]["error"])

        daemon.tell(signal.SIGTERM)

        assert await daemon.ended(20) == 1
        blocker.close()
        assert "stopped; state could not be saved: " in daemon.log
