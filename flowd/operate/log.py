"""Logs: standard `logging` in all code, one line per change of state, rendered here as text or as
JSON.

Under systemd, text lines begin with the level as journald reads it (`<4>`) and leave the time to
the journal.
"""

import logging
import os
import sys
from collections.abc import Callable
from typing import Any, Literal, TextIO

import structlog
from structlog.typing import EventDict

from flowd.values import codec

_JOURNAL = {"critical": 2, "error": 3, "warning": 4, "info": 6, "debug": 7}


def configure(
    level: str = "info",
    form: Literal["auto", "text", "json"] = "auto",
    to: TextIO | None = None,
) -> None:
    """Send all logs to standard error in one form; `auto` is text."""
    out = to or sys.stderr
    handler = logging.StreamHandler(out)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.add_log_level, structlog.stdlib.add_logger_name],
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                *(_json() if form == "json" else _text()),
            ],
        )
    )
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


def _json() -> list[Any]:
    return [
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
        structlog.processors.EventRenamer("message"),
        structlog.processors.JSONRenderer(lambda value, **_: codec.encode(_plain(value)).decode()),
    ]


def _plain(value: dict[str, Any]) -> dict[str, Any]:
    fits = (str, int, float, bool, type(None))
    return {key: part if isinstance(part, fits) else repr(part) for key, part in value.items()}


def _text() -> list[Any]:
    if os.environ.get("JOURNAL_STREAM"):
        return [structlog.processors.format_exc_info, _journal]
    return [
        structlog.processors.TimeStamper(fmt="%Y-%m-%d %H:%M:%S", utc=False),
        structlog.processors.format_exc_info,
        _line,
    ]


def _line(logger: Any, name: str, event: EventDict) -> str:
    trace = event.get("exception")
    line = f"{event['timestamp']} {event['level'].upper():<7} {event['event']}"
    return f"{line}\n{trace}" if trace else line


def _journal(logger: Any, name: str, event: EventDict) -> str:
    level = _JOURNAL.get(event["level"], 6)
    trace = event.get("exception")
    text = f"{event['event']}\n{trace}" if trace else str(event["event"])
    return "\n".join(f"<{level}>{line}" for line in text.splitlines())
