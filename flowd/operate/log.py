"""Logs: standard `logging` in all code, one line per change of state, rendered here as text or as
JSON.

Under systemd, text lines begin with the level as journald reads it (`<4>`) and leave the time to
the journal.
"""

import logging
import os
import sys
import traceback
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Literal, TextIO

from flowd.values import codec

_JOURNAL = {"CRITICAL": 2, "ERROR": 3, "WARNING": 4, "INFO": 6, "DEBUG": 7}


def configure(
    level: str = "info",
    form: Literal["auto", "text", "json"] = "auto",
    to: TextIO | None = None,
) -> None:
    """Send all logs to standard error in one form; `auto` is text."""
    out = to or sys.stderr
    handler = logging.StreamHandler(out)
    if form == "json":
        handler.setFormatter(_Form(_json))
    elif os.environ.get("JOURNAL_STREAM"):
        handler.setFormatter(_Form(_journal))
    else:
        handler.setFormatter(_Form(_text))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for chatty in ("trio-websocket", "websockets", "hypercorn", "httpx2", "httpcore2", "quart"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    logging.getLogger("trio.serve_listeners").filters[:] = [_once_a_minute()]


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


def _json(record: logging.LogRecord) -> str:
    time = datetime.fromtimestamp(record.created, UTC)
    fields = {
        "level": record.levelname.lower(),
        "logger": record.name,
        "timestamp": time.isoformat(timespec="microseconds").replace("+00:00", "Z"),
    }
    if trace := _trace(record):
        fields["exception"] = trace
    if record.stack_info:
        fields["stack_info"] = record.stack_info
    fields["message"] = record.getMessage()
    return codec.encode(fields).decode()


def _text(record: logging.LogRecord) -> str:
    time = datetime.fromtimestamp(record.created)
    return f"{time:%Y-%m-%d %H:%M:%S} {record.levelname:<7} {_words(record)}"


def _journal(record: logging.LogRecord) -> str:
    level = _JOURNAL.get(record.levelname, 6)
    return "\n".join(f"<{level}>{line}" for line in _words(record).splitlines())


def _words(record: logging.LogRecord) -> str:
    trace = _trace(record)
    return f"{record.getMessage()}\n{trace}" if trace else record.getMessage()


def _trace(record: logging.LogRecord) -> str:
    """The traceback that a record has with it, if any."""
    error = record.exc_info[1] if record.exc_info else None
    if error is None:
        return ""
    return "".join(traceback.format_exception(error)).removesuffix("\n")
