"""What the browser tests share: waiting, a daemon that is started and asked without a Trio, and
what the browser complained of.
"""

import contextlib
import json
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from typing import Any

from attrs import Factory, define
from playwright.sync_api import ConsoleMessage, Page, ViewportSize

from tests.edge.process import Flowd

DESKTOP: ViewportSize = {"width": 1280, "height": 800}
PHONE: ViewportSize = {"width": 390, "height": 844}
PATIENCE_S = 20.0


def until(good: Callable[[], Any], what: str) -> Any:
    """Ask until the answer is good; that answer. One that lacks what is looked for, as an error
    does, is not good yet.
    """
    ends = time.monotonic() + PATIENCE_S
    while time.monotonic() < ends:
        with contextlib.suppress(LookupError):
            if found := good():
                return found
        time.sleep(0.05)
    raise AssertionError(f"not within {PATIENCE_S:g}s: {what}")


def shows(page: Page, expression: str) -> None:
    """Wait until an expression is true. The page's policy forbids Playwright's own way, `eval`."""
    until(lambda: page.evaluate(expression), expression)


def start(flowd: Flowd) -> None:
    """Start it, on the port that it had before if it had one, and wait until it serves."""
    seen = len(flowd.log) if flowd.log_file.exists() else 0
    flowd.spawn()

    def served() -> str:
        port, slash, _ = flowd.log[seen:].partition("serves on http://127.0.0.1:")[2].partition("/")
        return port if slash else ""

    flowd.port = int(until(served, "the daemon serves"))
    if flowd.settings["listen"] == "127.0.0.1:0":
        flowd.settings["listen"] = f"127.0.0.1:{flowd.port}"
        flowd.write()


def begin(flowd: Flowd) -> None:
    """Start it, and wait until all of its sources deliver."""
    start(flowd)
    until(lambda: ask(flowd, "/health")["status"] == "ok", "all sources deliver")


def stop(flowd: Flowd) -> None:
    """Stop it in order."""
    assert flowd.process is not None
    flowd.process.terminate()
    assert flowd.process.wait(10) == 0


def ask(flowd: Flowd, path: str, body: object = None) -> Any:
    """What it answers: JSON, or the text."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(f"http://127.0.0.1:{flowd.port}{path}", data)
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            text = answer.read()
    except urllib.error.HTTPError as error:
        text = error.read()
    try:
        return json.loads(text)
    except ValueError:
        return text.decode()


@define
class Witness:
    """What the browser said of the pages that were watched, but for `harmless` words in it."""

    harmless: tuple[str, ...]
    complaints: list[str] = Factory(list)
    sockets: list[str] = Factory(list)
    """Where WebSockets were opened."""

    def watch(self, page: Page) -> Page:
        """Look at this page from now on."""

        def heard(message: ConsoleMessage) -> None:
            harmless = any(words in message.text for words in self.harmless)
            if message.type in ("error", "warning") and not harmless:
                self.complaints.append(message.text)

        page.on("console", heard)
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("websocket", lambda socket: self.sockets.append(socket.url))
        return page

    def conclude(self, flowd: Flowd) -> None:
        """The end of a test: stop the daemon if it runs, and see that nobody complained."""
        if flowd.process is not None and flowd.process.poll() is None:
            stop(flowd)
        assert self.complaints == []
        assert "Traceback" not in flowd.log
