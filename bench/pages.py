"""The pages in Chromium: how soon each paints, and how many frames it draws while data comes or
somebody drags it, beside an empty page in the same browser.

`python -m bench.pages` measures on its own; `rows` is for `python -m bench`. The daemon, its
scripted sources and what they tell are those of the browser tests. The browser and the daemon have
all cores, as on a reader's machine; there is no graphics card.
"""

import contextlib
import json
import os
import shutil
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from attrs import frozen
from playwright.sync_api import Browser, Page, sync_playwright

from tests.browser.conftest import FLAGS
from tests.browser.kit import DESKTOP
from tests.browser.whole import ADDRESSES, Whole

from .contenders import FLOWD
from .process import BenchError, alone
from .report import Goal, Row
from .run import Run

EMPTY = "empty page"
NOTHING = b"<!doctype html><meta charset=utf-8><title>Empty</title><p>Nothing moves here.</p>"
RATE = 200
TIMES = 3
"""How often each page is painted in one run."""
SPAN_S = 4.0
WARM_UP_S = 1.5
PAINT_MS = 300.0
SHARE = 0.95
"""Of the frames that an empty page has at the same time."""
FED = ("/all-fills", "/liquidations", "/")
DRAGGED = {"/chart/<symbol>": "#canvas", "/heatmap/<symbol>": "#map"}
PAINTED = """
    new Promise((resolve) => {
        const look = () => {
            const [first] = performance.getEntriesByName('first-contentful-paint');
            if (first) resolve(first.startTime);
            else setTimeout(look, 5);
        };
        look();
    })
"""
COUNT = """
    (span) => {
        window.counted = new Promise((resolve) => {
            const times = [];
            const tick = (now) => {
                times.push(now);
                if (now - times[0] < span) requestAnimationFrame(tick);
                else resolve((times.length - 1) / (now - times[0]) * 1000);
            };
            requestAnimationFrame(tick);
        });
        return null;
    }
"""
COUNTED = "window.counted"


@frozen
class Visit:
    """How a page is opened in an empty tab, and what is dragged there, if anything."""

    open: Callable[[Page], object]
    dragged: str


class Nothing(BaseHTTPRequestHandler):
    """Serves the page that does nothing."""

    def do_GET(self) -> None:
        """Answer every request with it."""
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.send_header("Content-Length", str(len(NOTHING)))
        self.end_headers()
        with contextlib.suppress(OSError):  # Who closed the tab does not wait for it.
            self.wfile.write(NOTHING)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing either."""


def paints(browser: Browser, address: str) -> tuple[float, float]:
    """Milliseconds from the navigation to the first content, with nothing cached and with all."""
    context = browser.new_context(viewport=DESKTOP)
    found = []
    for _ in range(2):
        page = context.new_page()
        page.goto(address)
        found.append(float(page.evaluate(PAINTED)))
        page.close()
    context.close()
    return found[0], found[1]


def frames(browser: Browser, visit: Visit, *, drag: bool) -> float:
    """Frames per second while data comes, or while the pointer drags to and fro."""
    context = browser.new_context(viewport=DESKTOP)
    page = context.new_page()
    visit.open(page)
    page.wait_for_timeout(WARM_UP_S * 1000)
    box = page.locator(visit.dragged).bounding_box()
    if box is None:
        raise BenchError(f"{visit.dragged} cannot be seen")
    page.evaluate(COUNT, SPAN_S * 1000)
    if drag:
        sway(page, box["x"] + box["width"] / 2, box["y"] + min(box["height"] / 2, 200))
    found = float(page.evaluate(COUNTED))
    context.close()
    return found


def sway(page: Page, x: float, y: float) -> None:
    """Hold the pointer down and move it to and fro for as long as frames are counted."""
    page.mouse.move(x, y)
    page.mouse.down()
    ends, step = time.monotonic() + SPAN_S, 0
    while time.monotonic() < ends:
        step += 1
        page.mouse.move(x + abs(step % 80 - 40) * 5 - 100, y)
    page.mouse.up()


def measure(whole: Whole, browser: Browser, empty: str) -> dict[str, dict[str, float]]:
    """Each figure of flowd and of the empty page, which takes its turn before each of flowd's."""
    found: dict[str, dict[str, float]] = {}
    for rule, path in ADDRESSES.items():
        tries = [
            (paints(browser, empty), paints(browser, whole.address(path))) for _ in range(TIMES)
        ]
        for index, name in enumerate(("cold", "warm")):
            found[f"{name} {rule}"] = {
                EMPTY: statistics.median(nothing[index] for nothing, _ in tries),
                FLOWD: statistics.median(ours[index] for _, ours in tries),
            }

    def beside(rule: str, dragged: str | None) -> dict[str, float]:
        nothing = Visit(lambda page: page.goto(empty), "html")
        ours = Visit(lambda page: whole.open(page, rule), dragged or "html")
        return {
            EMPTY: frames(browser, nothing, drag=dragged is not None),
            FLOWD: frames(browser, ours, drag=dragged is not None),
        }

    whole.rate(RATE)
    for rule in FED:
        found[f"fed {rule}"] = beside(rule, None)
    whole.rate(0)
    for rule, dragged in DRAGGED.items():
        found[f"dragged {rule}"] = beside(rule, dragged)
    return found


def child() -> None:
    """Measure, and print JSON: this is the process of its own."""
    program = shutil.which("chromium") or shutil.which("chromium-browser")
    if program is None:
        sys.exit("Chromium is not installed: scripts/install-system chromium")
    os.sched_setaffinity(0, range(os.cpu_count() or 1))
    server = ThreadingHTTPServer(("127.0.0.1", 0), Nothing)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    empty = f"http://127.0.0.1:{server.server_address[1]}/"
    with (
        tempfile.TemporaryDirectory(prefix="flowd-bench-") as directory,
        sync_playwright() as playwright,
        Whole(Path(directory) / "flowd") as whole,
    ):
        whole.begin()
        browser = playwright.chromium.launch(executable_path=program, args=FLAGS)
        found = measure(whole, browser, empty)
        browser.close()
    server.shutdown()
    print(json.dumps({"figures": found, "load": os.getloadavg()[0]}))


def run_once() -> dict[str, dict[str, float]]:
    """One measurement in a process of its own."""
    found = alone("bench.pages", timeout_s=600)
    sys.stderr.write(f"the machine's load was {found['load']:.1f}\n")
    figures: dict[str, dict[str, float]] = found["figures"]
    return figures


def rows(run: Run) -> Iterator[Row]:
    """First paint of every page, and the frames of those that move."""
    made: dict[str, Row] = {}
    for rule in ADDRESSES:
        for name, words in (("cold", "with nothing cached"), ("warm", "once more")):
            what = f"pages: first paint of {rule}, {words}"
            made[f"{name} {rule}"] = Row(what, "ms", [Goal(PAINT_MS)])
    share = [Goal(SHARE, EMPTY, at_least=True)]
    for rule in FED:
        made[f"fed {rule}"] = Row(f"pages: {rule} at {RATE} rows/s", "frames/s", share)
    for rule in DRAGGED:
        made[f"dragged {rule}"] = Row(f"pages: {rule} dragged to and fro", "frames/s", share)
    for _ in range(run.plan.rounds):
        for key, figures in run_once().items():
            for name, figure in figures.items():
                made[key].add(name, figure)
    run.say("pages measured")
    yield from made.values()


def main() -> None:
    """Measure once and say it."""
    for key, figures in run_once().items():
        ratio = figures[FLOWD] / figures[EMPTY]
        print(f"{key}: {figures[FLOWD]:.1f} beside {figures[EMPTY]:.1f}, {ratio:.2f} times")


if __name__ == "__main__":
    child() if "--child" in sys.argv else main()
