"""`make picture`: the picture in README.md, of the demo that `make run` is.

Runs the demo on ports of its own, waits until the chart has its past and some liquidations, and
writes docs/picture.png.
"""

import argparse
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from demo import run as demo  # noqa: E402

BYTES_MAX = 300_000
WIDTH, HEIGHT = 1280, 760


def main() -> int:
    """Take the picture; 0 when it was written."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--page", default="/chart/BTCUSDT?timeframe=15m")
    parser.add_argument("--minutes", type=float, default=6.0, help="how long the demo runs before")
    parser.add_argument("--output", type=Path, default=ROOT / "docs/picture.png")
    options = parser.parse_args()
    with demonstration() as port:
        ready(port)
        time.sleep(options.minutes * 60)
        taken = photograph(f"http://127.0.0.1:{port}{options.page}")
    if len(taken) > BYTES_MAX:
        print(f"{len(taken)} bytes are more than {BYTES_MAX}", file=sys.stderr)
        return 1
    options.output.write_bytes(taken)
    print(f"{options.output}: {len(taken)} bytes")
    return 0


@contextlib.contextmanager
def demonstration() -> Iterator[int]:
    """The demo on a free port, with a past of its own that goes with it."""
    (port,) = demo.free(1)
    with tempfile.TemporaryDirectory() as folder:
        process = subprocess.Popen(
            [sys.executable, str(ROOT / "demo/run.py"), "--port", str(port)],
            env={**os.environ, "FLOWD_DEMO": folder},
            start_new_session=True,
        )
        try:
            yield port
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(30)


def ready(port: int, within_s: float = 300.0) -> None:
    """Wait until candles and liquidations are there."""
    ends = time.monotonic() + within_s
    while time.monotonic() < ends:
        with contextlib.suppress(OSError, ValueError, urllib.error.URLError):
            if all(records(port, stream) for stream in ("candles-1m", "force-orders", "volume")):
                return
        time.sleep(1)
    raise SystemExit("the demo shows nothing")


def records(port: int, stream: str) -> list[Any]:
    """The newest records of a stream."""
    address = f"http://127.0.0.1:{port}/streams/{stream}?limit=5"
    with urllib.request.urlopen(address, timeout=10) as answer:
        found: list[Any] = json.load(answer)["records"]
        return found


def photograph(address: str) -> bytes:
    """A page as Chromium shows it once it is quiet, as PNG."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"))
        page = browser.new_page(
            viewport={"width": WIDTH, "height": HEIGHT}, color_scheme="dark", timezone_id="UTC"
        )
        page.goto(address)
        page.wait_for_timeout(5000)
        taken: bytes = page.screenshot(type="png")
        browser.close()
        return taken


if __name__ == "__main__":
    sys.exit(main())
