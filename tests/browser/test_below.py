"""All pages in a real browser, behind the documented nginx which has flowd below a path."""

import json
import os
import re
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from attrs import Factory, define
from playwright.sync_api import Page, Request

from tests.browser.kit import Witness, ask, begin, shows, until
from tests.browser.test_heatmap import COLUMNS, MAPS, OBSERVED, SINK, column, told
from tests.browser.test_traders import account, event, position, standing, who
from tests.edge.nginx import command, written
from tests.edge.process import COMMAND, Flowd, free_port
from tests.edge.test_nginx import EXAMPLE, PAGE

pytestmark = [pytest.mark.browser, pytest.mark.timeout(180)]

(PLACES,) = re.findall(r"^```text\n(location /flowd/ .*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
STRIPPED, KEPT = "proxy_pass http://flowd/;", "proxy_pass http://flowd;"
SCRIPTED = str(Path(__file__).parent / "scripted")
KINDS = {
    "sources.all-fills": "scripted-fills",
    "sources.liquidations": "scripted-forced",
    "sources.candles": "scripted-prices",
    "sources.traders": "scripted-traders",
    "sources.positions": "scripted-positions",
    "sources.leaderboard": "scripted-leaderboard",
    "sinks.script": "scripted-script",
    "sinks.speaker": "scripted-speaker",
    "sinks.tells": "scripted-teller",
    "sinks.pages": "pages",
}
SUMS = """
[sinks.prices]
kind = "candles"
inputs = ["candles"]
[transforms.analytics]
kind = "totals"
input = "all-fills"
every = "200ms"
[transforms.liquidation-analytics]
kind = "totals"
input = "liquidations"
count = "liquidated"
every = "200ms"
[transforms.volume]
kind = "liquidation-volume"
input = "liquidations"
every = "100ms"
[sinks.charts]
kind = "liquidation-websocket"
orders = "liquidations"
volume = "volume"
"""
TRADER = who(1)
CLIENT = str(Path(__file__).parents[2] / "clients/python/src")
ENVIRONMENT = {
    **os.environ,
    "PYTHONPATH": os.pathsep.join([CLIENT, *filter(None, [os.environ.get("PYTHONPATH")])]),
}
FOLLOW = """
import json, sys
from flowd_client import follow

for batch in follow(sys.argv[1], "all-fills", limit=1):
    print(json.dumps({"value": batch.records[0].value}), flush=True)
"""


@define
class Site:
    """A daemon, the nginx in front of it, and what the browser asked for."""

    daemon: Flowd
    origin: str
    witness: Witness = Factory(lambda: Witness(()))
    asked: list[str] = Factory(list)

    def watch(self, page: Page) -> Page:
        """Look at what this page loads from now on."""

        def noted(request: Request) -> None:
            self.asked.append(request.url)

        page.on("request", noted)
        return self.witness.watch(page)

    def liquidate(self, notional: str) -> None:
        """A forced order, now."""
        assert ask(self.daemon, "/orders/liquidations", [{"notional": notional}]) == "said"

    def trade(self, notional: str) -> None:
        """A fill, now."""
        fill = {"symbol": "ETH", "notional": notional, "time_ms": int(time.time() * 1000)}
        assert ask(self.daemon, "/say/all-fills", [fill]) == "said"

    def outside(self) -> list[str]:
        """What was asked for that is not below the path."""
        here = (f"{self.origin}/flowd/", f"{self.origin.replace('http', 'ws')}/flowd/", "data:")
        return [url for url in self.asked + self.witness.sockets if not url.startswith(here)]


@pytest.fixture(params=[STRIPPED, KEPT], ids=["stripped", "kept"])
def site(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Site]:
    """Every page has something to show. nginx takes the path away, or keeps it."""
    extra = SUMS + MAPS + SINK
    extra += "".join(f'[{name}]\nkind = "{kind}"\n' for name, kind in KINDS.items())
    daemon = Flowd(
        tmp_path / "flowd",
        None,
        settings={"base_path": "/flowd"},
        extra=extra,
        arguments=["--plugins-dir", SCRIPTED],
    )
    with daemon:
        begin(daemon)
        tell(daemon)
        port = free_port()
        line = command(written(tmp_path / "nginx", example(daemon, port, request.param)))
        with subprocess.Popen(line, stderr=subprocess.DEVNULL) as nginx:
            try:
                found = Site(daemon, f"http://127.0.0.1:{port}")
                until(lambda: answers(f"{found.origin}/flowd/health"), "nginx serves")
                yield found
                found.witness.conclude(daemon)
            finally:
                nginx.terminate()


def example(daemon: Flowd, port: int, pass_on: str) -> str:
    """The documented nginx, without TLS, with the documented places below a path."""
    before, found, _ = EXAMPLE.partition("    # Polls and pages")
    assert found
    assert STRIPPED in PLACES
    text = before + PLACES.replace(STRIPPED, pass_on) + "}\n"
    for old, new in {
        "server 127.0.0.1:4200;": f"server 127.0.0.1:{daemon.port};",
        "listen 443 ssl http2;": f"listen 127.0.0.1:{port};",
    }.items():
        assert old in text
        text = text.replace(old, new)
    return text


def answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def tell(daemon: Flowd) -> None:
    """What there is before anybody looks."""
    five = 300_000
    begins = int(time.time() * 1000) // five * five
    candle = {"symbol": "BTCUSDT", "open": "100", "close": "101"}
    candles = [{**candle, "time_ms": begins - ago * five} for ago in range(20, 0, -1)]
    assert ask(daemon, "/candles/candles", candles) == "said"
    for path, said in {
        "/tell/leaderboard": [standing(1), standing(2, rank=2)],
        "/tell/positions.accounts": [account(1, position("BTC"))],
        "/tell/positions": [event("a")],
        "/tell-maps/columns": [column(index) for index in range(COLUMNS)],
        "/tell-maps/heatmap": [told()],
        "/tell-maps/observed": [OBSERVED],
    }.items():
        assert ask(daemon, path, said) == "told", path


def at(page: Page, path: str) -> None:
    """Wait until this page is live."""
    shows(page, f"location.pathname === '/flowd{path}'")
    page.wait_for_selector("#connection[data-status=connected]")


def test_every_page_is_there_and_live_and_nothing_is_asked_for_outside(
    page: Page, site: Site
) -> None:
    site.watch(page).goto(f"{site.origin}/flowd/")
    at(page, "/")
    links = page.locator("nav[aria-label=Pages] a, .operate-link a")
    for number in range(links.count()):
        link = links.nth(number)
        path = str(link.get_attribute("href")).removeprefix("/flowd")
        link.click()
        at(page, path)
        look(page, site, path)

    assert links.count() == 8
    assert site.outside() == []
    assert len(site.witness.sockets) >= 9, "a line for each page, and the heatmap's own"


def look(page: Page, site: Site, path: str) -> None:
    """What is said now is shown now."""
    if path == "/":
        site.liquidate("54321")
        shows(page, "document.querySelector('#tape').textContent.includes('108,642')")
    elif path == "/chart":
        site.liquidate("43210")
        shows(page, "document.querySelector('#orders').textContent.includes('86,420')")
    elif path == "/all-fills":
        site.trade("65432.1")
        shows(page, "document.querySelector('#rows').textContent.includes('65,432.1')")
    elif path == "/liquidations":
        site.liquidate("76543")
        shows(page, "document.querySelector('#rows').textContent.includes('76,543')")


def test_links_and_addresses_that_scripts_write_stay_below_it(page: Page, site: Site) -> None:
    site.trade("65432.1")
    site.watch(page).goto(f"{site.origin}/flowd/traders")
    page.click(f"#rows a[href='/flowd/traders/{TRADER}']")
    at(page, f"/traders/{TRADER}")
    page.goto(f"{site.origin}/flowd/all-fills")
    page.click("#rows a[href='/flowd/chart/ETHUSDT']")
    at(page, "/chart/ETHUSDT")
    page.goto(f"{site.origin}/flowd/heatmap")
    at(page, "/heatmap/BTCUSDT")
    page.goto(f"{site.origin}/flowd/chart/BTCUSDT")
    page.fill("#symbol", "ETHUSDT")
    page.press("#symbol", "Enter")
    at(page, "/chart/ETHUSDT")
    shows(page, "document.title.startsWith('ETHUSDT')")
    page.go_back()
    at(page, "/chart/BTCUSDT")
    shows(page, "document.title.startsWith('BTCUSDT')")

    assert site.outside() == []


def test_commands_and_clients_get_the_whole_address(site: Site) -> None:
    site.trade("65432.1")
    url = f"{site.origin}/flowd"
    status = [*COMMAND, "status", "--json", "--url", url]
    tail = [*COMMAND, "tail", "all-fills", "--url", url]
    client = [sys.executable, "-c", FOLLOW, url]

    found = json.loads(subprocess.run(status, capture_output=True, timeout=60, check=True).stdout)

    assert "all-fills" in [stream["name"] for stream in found["streams"]]
    for line in (tail, client):
        with subprocess.Popen(line, stdout=subprocess.PIPE, env=ENVIRONMENT) as process:
            assert process.stdout is not None
            assert json.loads(process.stdout.readline())["value"]["notional"] == "65432.1"
            process.terminate()


def test_who_is_lost_finds_back(page: Page, site: Site) -> None:
    site.witness.harmless = ("404",)
    site.watch(page).goto(f"{site.origin}/flowd/no/such/page")
    page.click("text=Back to the overview")
    at(page, "/")

    assert site.outside() == []
