"""One process of several, as its parent sees it."""

import signal
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import trio

from flowd.operate.child import ABORT_S, SILENT_S, Child, Member, Server


async def nothing() -> AsyncIterator[bytes]:
    await trio.lowlevel.checkpoint()
    yield b""


@pytest.fixture
def signals(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """What it is sent."""
    sent: list[int] = []
    monkeypatch.setattr(Child, "signal", lambda child, number: sent.append(number))
    return sent


async def test_a_flowd_that_says_nothing_is_asked_where_it_is_and_then_killed(
    signals: list[int], tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    child = Member("edge-1", tmp_path, ["flowd"], nothing)
    child.state = "running"

    for seconds in (SILENT_S, 1.0, ABORT_S):
        await trio.sleep(seconds)
        child.look()

    assert signals == [signal.SIGABRT, signal.SIGKILL]
    assert child.state == "stuck"


async def test_a_flowd_that_starts_may_be_silent_for_as_long_as_it_takes(
    signals: list[int], tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    child = Member("edge-1", tmp_path, ["flowd"], nothing)
    child.state = "starting"

    await trio.sleep(10 * SILENT_S)
    child.look()

    assert signals == []


async def test_a_server_has_nothing_to_say(
    signals: list[int], tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    child = Server("server", tmp_path, ["redis-server"], tmp_path / "server.sock")
    child.state = "running"

    await trio.sleep(10 * SILENT_S)
    child.look()

    assert signals == []


async def test_a_server_is_ready_when_it_listens_and_ends_with_its_pipe(tmp_path: Path) -> None:
    child = Server("server", tmp_path, ["sleep", "60"], tmp_path / "server.sock")
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(str(child.listens))
    listening.listen()

    async def end(ready: Child) -> None:
        assert ready.runs
        await ready.tell_to_end()

    with listening, trio.fail_after(10):
        code = await child.live({"PATH": "/usr/bin:/bin"}, [], end)

    assert code == child.code == -signal.SIGTERM
    assert not child.runs
