"""Asks a running daemon how it is, once or again every second."""

import os
import sys
import time
from typing import Any

import httpx2
from rich.live import Live

from flowd.operate import dashboard
from flowd.operate.terminal import out

EVERY_S = 1.0
TIMEOUT_S = 10.0


class Absent(Exception):
    """Nobody answers there, or not as flowd does; the message says why."""


def status(url: str) -> dict[str, Any]:
    """`/status`; `Absent` when nobody answers."""
    found: dict[str, Any] = _get(f"{url.rstrip('/')}/status")
    return found


def gaps(url: str) -> list[dict[str, Any]]:
    """The newest gaps; none where they cannot be read: behind a token, or without a sink for it."""
    try:
        answer = _get(f"{url.rstrip('/')}/streams/outages?limit={dashboard.GAPS}")
        return [record["value"] for record in answer["records"]]
    except (Absent, LookupError, TypeError):
        return []


def watch(url: str) -> dict[str, Any]:
    """Show the status every second, until Ctrl-C or until nobody reads; the last one. A terminal
    gets the dashboard, a pipe a line each time. `Absent` when nobody answers.
    """
    found = status(url)
    try:
        if out.is_terminal:
            with Live(console=out, auto_refresh=False, screen=True) as live:
                while True:
                    live.update(dashboard.dashboard(found, gaps(url)), refresh=True)
                    time.sleep(EVERY_S)
                    found = status(url)
        while True:
            sys.stdout.write(dashboard.line(found) + "\n")
            sys.stdout.flush()
            time.sleep(EVERY_S)
            found = status(url)
    except KeyboardInterrupt:
        pass
    except BrokenPipeError:
        # Whoever read our output has enough. Python would complain again as it ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return found


def _get(address: str) -> Any:
    try:
        answer = httpx2.get(address, timeout=TIMEOUT_S)
        answer.raise_for_status()
        return answer.json()
    except (httpx2.HTTPError, httpx2.InvalidURL, ValueError) as error:
        raise Absent(str(error) or repr(error)) from None
