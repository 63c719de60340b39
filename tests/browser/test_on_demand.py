"""The chart of a symbol that no source is configured with, on a daemon that follows the simulated
exchange.
"""

import socket
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from playwright.sync_api import Page

from tests.browser.kit import Witness, ask, begin, shows, until
from tests.browser.test_chart import VOLUME, chart_library
from tests.edge.process import COMMAND, Flowd

__all__ = ["chart_library"]
pytestmark = [pytest.mark.browser, pytest.mark.timeout(240)]

EXCHANGES = ("port", "rest-port", "hydromancer-port", "hyperliquid-port", "bybit-port", "okx-port")
EXTRA = """
[sinks.pages]
kind = "pages"

[sources.candles-1m]
kind = "binance-candles"
interval = "1m"
symbols = ["BTCUSDT"]
url = "ws://127.0.0.1:{port}/market"
rest_url = "http://127.0.0.1:{rest}"
history = 200
asked_symbols = 1

[sources.instruments]
kind = "binance-instruments"
rest_url = "http://127.0.0.1:{rest}"

[sinks.candles]
kind = "candles"
inputs = ["candles-1m"]
"""
CANDLES = "flowdChart.loading.candles.size"


@pytest.fixture
def flowd(tmp_path: Path, chart_library: None) -> Iterator[Flowd]:
    """A daemon whose candles are configured for bitcoin alone, with room for one symbol more."""
    with ExitStack() as stack:
        taken = [stack.enter_context(socket.socket()) for _ in EXCHANGES]
        for one in taken:
            one.bind(("127.0.0.1", 0))
        ports = [one.getsockname()[1] for one in taken]
    options = [f"--{name}={port}" for name, port in zip(EXCHANGES, ports, strict=True)]
    exchange = subprocess.Popen(
        [*COMMAND, "simulate", *options, "--rate=20"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    made = Flowd(
        tmp_path / "site",
        f"ws://127.0.0.1:{ports[0]}/market",
        source={"symbols": ["*"]},
        extra=EXTRA.format(port=ports[0], rest=ports[1]) + VOLUME,
    )
    try:
        with made:
            begin(made)
            yield made
    finally:
        exchange.terminate()
        exchange.wait(10)


def test_any_symbol_that_is_listed_has_a_chart(flowd: Flowd, page: Page) -> None:
    witness = Witness(())
    base = f"http://127.0.0.1:{flowd.port}"
    witness.watch(page).goto(f"{base}/chart/BTCUSDT?timeframe=1m")
    page.evaluate("flowdChart.ready()")
    assert page.locator("#demanded").is_hidden()

    page.fill("#symbol", "doge")
    until(lambda: page.locator("#symbols li").count() > 0, "symbols are offered")
    page.locator("#symbols li", has_text="DOGEUSDT").click()
    shows(page, f"flowdChart.loading.loaded && flowdChart.symbol === 'DOGEUSDT' && {CANDLES} > 100")

    assert page.locator("#demanded").is_visible()
    assert ask(flowd, "/api/v1/candles")["on_demand"]["symbols"] == ["DOGEUSDT"]
    page.locator("#demanded summary").click()
    words = page.locator("#demanded-words").inner_text()
    assert words.startswith("No source is configured with DOGEUSDT")
    assert "are kept until" in words
    page.keyboard.press("Escape")

    # It goes on by itself, and a wider timeframe is built of it.
    before = page.evaluate("JSON.stringify(flowdChart.loading.candlesInOrder().at(-1))")
    shows(page, f"JSON.stringify(flowdChart.loading.candlesInOrder().at(-1)) !== {before!r}")
    page.locator("#timeframes").get_by_text("5m", exact=True).click()
    shows(page, f"flowdChart.loading.loaded && flowdChart.frame.name === '5m' && {CANDLES} > 20")
    witness.conclude(flowd)


def test_a_symbol_that_is_not_listed_or_has_no_room_says_so(flowd: Flowd, page: Page) -> None:
    witness = Witness(("status of 429",))
    base = f"http://127.0.0.1:{flowd.port}"
    witness.watch(page).goto(f"{base}/chart/DOGUSDT?timeframe=1m")
    page.evaluate("flowdChart.ready()")
    words = page.locator("#legend-volume").inner_text()
    assert 'Binance does not list it. Did you mean "DOGEUSDT"?' in words

    page.goto(f"{base}/chart/DOGEUSDT?timeframe=1m")
    shows(page, f"{CANDLES} > 100")
    page.goto(f"{base}/chart/ETHUSDT?timeframe=1m")
    shows(page, "flowdChart.loading.loaded")
    words = page.locator("#legend-volume").inner_text()
    assert "1 of at most 1 symbols are followed on demand" in words
    witness.conclude(flowd)
