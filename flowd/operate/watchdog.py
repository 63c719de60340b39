"""A thread beside the event loop: it hears the signals, and says who holds the loop, also while
somebody does.

A signal's number comes over a socket into which the interpreter writes it from the signal handler
itself, whatever the main thread is doing. Only code that neither returns nor lets other threads run
is beyond this thread, too: below systemd, its watchdog ends that.
"""

import contextlib
import logging
import os
import select
import signal
import socket
import sys
import threading
import traceback
from collections.abc import Callable
from types import FrameType
from typing import Any, Protocol

import trio
from attrs import frozen

from flowd.values.clock import stopwatch

logger = logging.getLogger("flowd.watchdog")

ENDING = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
LOOK_EVERY_S = 0.5
HOLD_S = 5.0
"""So long may a step hold the loop before it is named."""
STOP_HOLD_S = 1.0
"""The same while the daemon is to stop."""
STOP_S = 11.0
"""So long after it was told to stop, a daemon whose loop is held ends unsaved: systemd kills 15 s
after.
"""


class Meter(Protocol):
    """Knows who holds the loop."""

    def holder(self) -> tuple[str, float] | None:
        """The task that is in the middle of a step, and for how many seconds it has been."""
        ...


@frozen
class Loop:
    """The running loop: how to stop the daemon from another thread, and who holds it."""

    token: trio.lowlevel.TrioToken
    stop: Callable[[], None]
    meter: Meter


class Watchdog:
    """`with` it around the whole life of the process, in its main thread, and `watch` once there is
    a loop.

    The first of SIGTERM, SIGINT and SIGHUP stops the daemon in order; before there is one it ends
    the process, with 0. The second ends the process at once, with 1. What was ignored when the
    process began, as SIGHUP is below `nohup`, is ignored.
    """

    def __init__(self, leave: Callable[[int], Any] = os._exit) -> None:
        self._heard: socket.socket
        self._bell: socket.socket
        self._leave = leave
        self._main = threading.get_ident()
        self._loop: Loop | None = None
        self._asked_at: float | None = None
        self._told = 0.0
        self._before: dict[signal.Signals, Any] = {}
        self._thread = threading.Thread(target=self._run, name="flowd watchdog", daemon=True)

    def __enter__(self) -> "Watchdog":
        self._heard, self._bell = socket.socketpair()
        self._bell.setblocking(False)
        for number in ENDING:
            if signal.getsignal(number) is not signal.SIG_IGN:
                self._before[number] = signal.signal(number, self._pass_on)
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._bell.close()
        self._thread.join()
        self._heard.close()

    def watch(self, stop: Callable[[], None], meter: Meter) -> None:
        """From now on the signals stop a daemon: `stop` is called in the loop that runs here."""
        # Trio has the interpreter wake it for a signal. This thread does so from now on: a signal
        # that somebody else waits for still wakes the loop.
        with _without_signals():
            self._loop = Loop(trio.lowlevel.current_trio_token(), stop, meter)
            signal.set_wakeup_fd(self._bell.fileno(), warn_on_full_buffer=False)

    def _pass_on(self, number: int, frame: FrameType | None) -> None:
        """The handler, for as long as the interpreter does not write by itself."""
        if self._loop is None:
            with contextlib.suppress(OSError):
                self._bell.send(bytes([number]))

    # -- in the thread

    def _run(self) -> None:
        while True:
            ready, _, _ = select.select([self._heard], [], [], LOOK_EVERY_S)
            if ready:
                numbers = self._heard.recv(64)
                if not numbers:
                    return
                for number in numbers:
                    if number in self._before:
                        self._end(number)
                self._wake(lambda: None)
            self._look()

    def _end(self, number: int) -> None:
        if self._loop is None:
            self._leave_saying(0, "stopped before it had started")
        elif self._asked_at is not None:
            self._leave_saying(1, "told twice: ending at once")
        else:
            self._asked_at = stopwatch()
            self._wake(self._loop.stop)

    def _wake(self, what: Callable[[], None]) -> None:
        if self._loop is not None:
            with contextlib.suppress(trio.RunFinishedError):
                self._loop.token.run_sync_soon(what)

    def _look(self) -> None:
        """Say once of each hold who it is, and do not let it keep a daemon that is to stop."""
        held = None if self._loop is None else self._loop.meter.holder()
        if held is None:
            return
        task, held_s = held
        now = stopwatch()
        began, limit_s = now - held_s, HOLD_S if self._asked_at is None else STOP_HOLD_S
        if held_s < limit_s:
            return
        if began > self._told + LOOK_EVERY_S:
            self._told = began
            _say(
                logging.ERROR,
                f"{task} has held the event loop for {held_s:.1f}s, and nobody is served until it "
                f"gives way. It is here:\n{_stack(self._main)}",
            )
        if self._asked_at is not None and now - self._asked_at > STOP_S:
            self._leave_saying(1, f"{task} does not let the daemon stop: ending without saving")

    def _leave_saying(self, code: int, why: str) -> None:
        _say(logging.WARNING, why)
        self._leave(code)


def _say(level: int, words: str) -> None:
    """Log aside, and not wait long for it: whoever holds the loop may be held by the log itself."""
    teller = threading.Thread(target=logger.log, args=(level, "%s", words), daemon=True)
    teller.start()
    teller.join(0.5)


def _stack(thread: int) -> str:
    """Where a thread is, from the task's own first line on."""
    frame = sys._current_frames().get(thread)
    frames = [] if frame is None else traceback.extract_stack(frame)
    trios = [i for i, one in enumerate(frames) if one.filename.endswith("trio/_core/_run.py")]
    return "".join(traceback.format_list(frames[trios[-1] + 1 if trios else 0 :])).rstrip()


@contextlib.contextmanager
def _without_signals() -> Any:
    """No signal comes within."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ENDING)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
