"""Logs: standard `logging` in all code, one line per change of state, rendered here as text or as
JSON.

Under systemd, text lines begin with the level as journald reads it (`<4>`) and leave the time to
the journal.
"""

import contextlib
import logging
import os
import re
import sys
import traceback
from collections.abc import Callable, Collection
from datetime import UTC, datetime
from functools import partial
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import Literal, TextIO

import trio

from flowd.operate.status import owner
from flowd.setup.supervisor import TASK as COMPONENT
from flowd.values import codec
from flowd.values.errors import UserError

_JOURNAL = {"CRITICAL": 2, "ERROR": 3, "WARNING": 4, "INFO": 6, "DEBUG": 7}


def configure(
    level: str = "info",
    form: Literal["auto", "text", "json"] = "auto",
    to: TextIO | None = None,
    *,
    process: str = "",
) -> None:
    """Send all logs to standard error in one form; `auto` is text. Of several processes that write
    there, each line says which it is from.
    """
    out = to or sys.stderr
    handler = logging.StreamHandler(out)
    journal = os.environ.get("JOURNAL_STREAM")
    render = _json if form == "json" else _journal if journal else _text
    handler.setFormatter(_Form(partial(render, process=process)))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for chatty in ("trio-websocket", "websockets", "hypercorn", "httpx2", "httpcore2", "quart"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    logging.getLogger("trio.serve_listeners").filters[:] = [_once_a_minute()]


DAEMON = "flowd"
"""Whose file holds what no component said."""
_whose = re.compile(r"([A-Za-z0-9_.-]+): ").match


class Files(logging.Handler):
    """Log files, one for each component and one for the daemon, in a folder: `NAME.log`, and the
    one before as `NAME.log.1`, at most `bytes_max` both together.

    A disk that is full costs lines, never the daemon: the first failure is said on standard error.
    """

    def __init__(self, folder: Path, names: Collection[str], bytes_max: int) -> None:
        super().__init__()
        self._folder = folder
        self._names = frozenset(names)
        self._bytes_max = bytes_max
        self._files: dict[str, RotatingFileHandler] = {}
        self._failed = False
        self.setFormatter(_Form(_text))

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record to the file of whom it is about."""
        try:
            text = self.format(record)
            self._file(component_of(record, self._names) or DAEMON).emit(_plain(record, text))
        except Exception:
            self.handleError(record)

    def handleError(self, record: logging.LogRecord) -> None:
        """Say once that files cannot be written; logging would write a traceback for each line."""
        if not self._failed:
            self._failed = True
            error = sys.exc_info()[1]
            with contextlib.suppress(OSError, ValueError):
                sys.stderr.write(f"flowd.log_dir: {self._folder} cannot be written: {error}\n")

    def close(self) -> None:
        """Close all files."""
        for file in self._files.values():
            file.close()
        super().close()

    def _file(self, name: str) -> RotatingFileHandler:
        file = self._files.get(name)
        if file is None:
            path = self._folder / f"{name}.log"
            file = RotatingFileHandler(
                path, maxBytes=self._bytes_max // 2, backupCount=1, encoding="utf-8"
            )
            file.handleError = self.handleError  # type: ignore[method-assign]  # one for all
            self._files[name] = file
        return file


def keep(folder: Path, names: Collection[str], bytes_max: int) -> Files:
    """Write all logs to files too, from here on; UserError when the folder cannot be had."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / f"{DAEMON}.log"
        probe.touch()
    except OSError as error:
        raise UserError(
            f'flowd.log_dir = "{folder}": cannot be written: {error.strerror or error}'
        ) from None
    files = Files(folder, names, bytes_max)
    logging.getLogger().addHandler(files)
    return files


def component_of(record: logging.LogRecord, names: Collection[str]) -> str | None:
    """Which of these components a line is about: the one that it begins with, else the one whose
    task says it.
    """
    found = _whose(record.getMessage())
    if found is not None and found[1] in names:
        return found[1]
    try:
        task = owner(trio.lowlevel.current_task())
    except RuntimeError:
        return None
    name = task.removeprefix(COMPONENT)
    return name if task.startswith(COMPONENT) and name in names else None


def _plain(record: logging.LogRecord, text: str) -> logging.LogRecord:
    """What is written, as the file's own handler wants it."""
    return logging.LogRecord(record.name, record.levelno, "", 0, text, None, None)


def _once_a_minute() -> Callable[[logging.LogRecord], bool]:
    """Without a free file, Trio logs ten tracebacks a second; a line a minute will do."""
    again = 0.0

    def passes(record: logging.LogRecord) -> bool:
        nonlocal again
        if record.created < again:
            return False
        again = record.created + 60
        record.exc_info = None
        return True

    return passes


class _Form(logging.Formatter):
    """A function from record to text, as logging wants it. It fills no fields of the record, which
    other handlers share.
    """

    def __init__(self, render: Callable[[logging.LogRecord], str]) -> None:
        super().__init__()
        self._render = render

    def format(self, record: logging.LogRecord) -> str:
        """What is written of a record, without the last newline."""
        return self._render(record)


def _json(record: logging.LogRecord, process: str = "") -> str:
    time = datetime.fromtimestamp(record.created, UTC)
    fields = {
        "level": record.levelname.lower(),
        "logger": record.name,
        "timestamp": time.isoformat(timespec="microseconds").replace("+00:00", "Z"),
    }
    if process:
        fields["process"] = process
    if trace := _trace(record):
        fields["exception"] = trace
    if record.stack_info:
        fields["stack_info"] = record.stack_info
    fields["message"] = record.getMessage()
    return codec.encode(fields).decode()


def _text(record: logging.LogRecord, process: str = "") -> str:
    time = datetime.fromtimestamp(record.created)
    return f"{time:%Y-%m-%d %H:%M:%S} {record.levelname:<7} {_from(process)}{_words(record)}"


def _from(process: str) -> str:
    return f"[{process}] " if process else ""


def _journal(record: logging.LogRecord, process: str = "") -> str:
    """Each line by itself, as the journal takes them. Those below the first say whose they are, by
    which `flowd logs` finds them.
    """
    level = _JOURNAL.get(record.levelname, 6)
    first, *others = _words(record).splitlines() or [""]
    found = _whose(first)
    whose = f"{found[0]}  " if found is not None else ""
    lines = (first, *(f"{whose}{one}" for one in others))
    return "\n".join(f"<{level}>{_from(process)}{line}" for line in lines)


def _words(record: logging.LogRecord) -> str:
    trace = _trace(record)
    return f"{record.getMessage()}\n{trace}" if trace else record.getMessage()


def _trace(record: logging.LogRecord) -> str:
    """The traceback that a record has with it, if any."""
    error = record.exc_info[1] if record.exc_info else None
    if error is None:
        return ""
    return "".join(traceback.format_exception(error)).removesuffix("\n")
