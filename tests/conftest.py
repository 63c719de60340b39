"""What holds for every test: the same run is the same run, on a slow machine too; and an async test
that hangs fails alone, and says where.
"""

import gc
import threading
import traceback
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from importlib.metadata import version
from typing import Any

import pytest
import trio
from hypothesis import settings

settings.register_profile("house", derandomize=True, deadline=None, print_blob=True)
settings.load_profile("house")

LIMIT_S = 90.0
"""How long an async test may take in real time, whatever its own clock says."""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--duckdb", metavar="VERSION", help="fail unless this DuckDB is in use")
    parser.addoption("--executable", metavar="FOLDER", help="test what `make dist` has built there")


def pytest_configure(config: pytest.Config) -> None:
    wanted = config.getoption("--duckdb")
    if wanted is not None and not f"{version('duckdb')}.".startswith(f"{wanted}."):
        raise pytest.UsageError(f"DuckDB {version('duckdb')} is in use, not {wanted}")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if terminalreporter.config.getoption("--duckdb") is not None:
        terminalreporter.write_line(f"with DuckDB {version('duckdb')}")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Have async tests run by `run`: pytest-trio asks the nearest marker. One that may last longer
    is given up a little before pytest-timeout does it.
    """
    for item in items:
        if item.get_closest_marker("trio") is not None:
            longer = item.get_closest_marker("timeout")
            limit_s = LIMIT_S if longer is None else 0.95 * longer.args[0]
            item.add_marker(pytest.mark.trio(run=partial(run, limit_s=limit_s)), append=False)


def pytest_collection_finish() -> None:
    """Spare the collector what is there for good: it would look through all modules and tests again
    and again, which is a tenth of the time that the fast tests take.
    """
    gc.collect()
    gc.freeze()


@pytest.fixture
def work_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a thread would do is done in the loop: for a test with a simulated clock and a real
    file, since such a clock runs on while a thread works, and time limits pass before the disk.
    """

    async def here(work: Callable[..., Any], *about: Any, **_: Any) -> Any:
        await trio.lowlevel.checkpoint()
        return work(*about)

    monkeypatch.setattr(trio.to_thread, "run_sync", here)


def run(act: Callable[[], Awaitable[Any]], *, limit_s: float = LIMIT_S, **options: Any) -> Any:
    """`trio.run`, but TimeoutError after so much real time.

    pytest-timeout, which is there for the rest, raises in the midst of Trio's loop. That leaves
    nurseries behind, and their complaints fail tests that have done nothing wrong.
    """
    __tracebackhide__ = True
    hung: list[str] = []

    async def limited() -> Any:
        with trio.CancelScope() as scope:

            def give_up() -> None:
                hung.append(whereabouts())
                scope.cancel()

            def soon(token: trio.lowlevel.TrioToken) -> None:
                with suppress(trio.RunFinishedError):
                    token.run_sync_soon(give_up)

            timer = threading.Timer(limit_s, soon, [trio.lowlevel.current_trio_token()])
            timer.daemon = True
            timer.start()
            try:
                return await act()
            finally:
                timer.cancel()

    try:
        return trio.run(limited, **options)
    finally:
        if hung:
            raise TimeoutError(f"not ended within {limit_s:g}s; its tasks were at\n{hung[0]}")


def whereabouts() -> str:
    """Where each task is, in lines of ours."""
    found: list[str] = []
    tasks = [trio.lowlevel.current_root_task()]
    while tasks:
        task = tasks.pop()
        assert task is not None
        tasks += [child for nursery in task.child_nurseries for child in nursery.child_tasks]
        frames = traceback.StackSummary.extract(task.iter_await_frames())
        ours = [frame for frame in frames if "site-packages" not in frame.filename]
        if ours:
            found += [task.name, *traceback.format_list(ours)]
    return "\n".join(line.rstrip() for line in found)
