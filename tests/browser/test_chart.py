"""The chart page in a real browser, on a real daemon that follows an exchange on loopback.

What is drawn is read out of the chart's own interface and compared with what REST answers.
"""

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import flowd_pages
import pytest
from flowd_pages import fetch
from playwright.sync_api import Browser, Page

from tests.browser.kit import DESKTOP, PHONE, Witness, ask, shows, start, stop, until
from tests.edge.exchange import Exchange, order
from tests.edge.process import ADMIN, ADMIN_TOKEN, Flowd
from tests.needed import lacking

pytestmark = [pytest.mark.browser, pytest.mark.timeout(180)]

MINUTE_MS = 60_000

PAGES = '[sinks.pages]\nkind = "pages"'
VOLUME = """
[transforms.volume]
kind = "liquidation-volume"
input = "orders"
every = "100ms"

[sinks.charts]
kind = "liquidation-websocket"
orders = "orders"
volume = "volume"
"""
CANDLES = """
[sources.candles-1m]
kind = "scripted-candles"

[sinks.candles-page]
kind = "scripted-candles-page"
input = "candles-1m"
"""
CANDLES_5M = """
[sources.candles-5m]
kind = "scripted-candles"
interval = "5m"

[sinks.script]
kind = "scripted-candles-page"
input = "candles-5m"
path = "/script/<symbol>/<interval>"

[sinks.candles]
kind = "candles"
inputs = ["candles-5m"]
"""
CANDLES_PLUGIN = '''
"""A source of candles which a test says by POST, and their history."""

import json
from decimal import Decimal

import trio
from attrs import frozen
from quart import Blueprint, request

from flowd.market import Candle
from flowd.plugin import BadRequest, Sink, Source, StreamName, hookimpl

feeds = []


@frozen
class Config:
    interval: str = "1m"


@frozen
class PageConfig:
    input: StreamName
    path: str = "/api/v1/candles/<symbol>/<interval>"


async def candles(config, feed):
    feeds[:] = [(feed, config.interval)]
    feed.delivering()
    await trio.sleep_forever()


def routes(config, streams):
    blueprint = Blueprint("candles", __name__)

    @blueprint.post("/say-candles")
    async def say():
        ((feed, interval),) = feeds
        for time_ms, close, closed in json.loads(await request.get_data()):
            price = Decimal(close)
            candle = Candle(
                "BTCUSDT", interval, time_ms, time_ms + 59_999, price - 1, price + 2, price - 2,
                price, Decimal(time_ms % 977 + len(close)), price, 1, price, price, closed,
            )
            feed.publish(candle, key=f"BTCUSDT/{interval}/{time_ms}")
        return "said"

    @blueprint.get(config.path)
    async def history(symbol, interval):
        if (symbol, interval) != ("BTCUSDT", "1m"):
            raise BadRequest(f"there are no {interval} candles of {symbol}", parameter="symbol")
        found = [record.value for record in streams[config.input].read(0).records]
        data = [
            {
                "time": one.time_ms // 1000, "timestamp_ms": one.time_ms, "closed": one.closed,
                "open": str(one.open), "high": str(one.high), "low": str(one.low),
                "close": str(one.close), "volume": str(one.volume),
            }
            for one in sorted(found, key=lambda one: one.time_ms)
        ]
        return {"symbol": symbol, "interval": interval, "data": data}

    return blueprint


@hookimpl
def flowd_sources():
    return [Source("scripted-candles", candles, Config, record=Candle)]


@hookimpl
def flowd_sinks():
    return [Sink("scripted-candles-page", PageConfig, routes=routes)]
'''


def now_ms() -> int:
    return int(time.time() * 1000)


class Site:
    """A daemon with pages, the exchange that feeds it, and what the browser complained of."""

    def __init__(
        self, folder: Path, exchange: Exchange, extra: str, *, admin: bool = False
    ) -> None:
        plugins = folder / "plugins"
        plugins.mkdir(parents=True)
        (plugins / "scripted_candles.py").write_text(CANDLES_PLUGIN)
        self.exchange = exchange
        self.flowd = Flowd(
            folder,
            exchange.url,
            source={"symbols": ["*"]},
            settings={"admin_token": ADMIN_TOKEN} if admin else {},
            env=ADMIN if admin else {},
            extra=f"{PAGES}\n{extra}",
            arguments=["--plugins-dir", str(plugins)],
        )
        self.witness = Witness(("ERR_CONNECTION_REFUSED", "WebSocket"))
        self.said = 0

    def start(self) -> None:
        """Start it, on the port that it had before if it had one."""
        start(self.flowd)
        until(lambda: self.ask("/health/orders")["delivering"], "the source delivers")

    def stop(self) -> None:
        stop(self.flowd)

    def ask(self, path: str, body: object = None) -> Any:
        return ask(self.flowd, path, body)

    def say(self, *orders: tuple[int, str, str], symbol: str = "BTCUSDT") -> None:
        """Forced orders: when, which side, at which price; each of one unit."""
        texts = []
        for time_ms, side, price in orders:
            self.said += 1
            frame = order(self.said, symbol, side)
            frame["data"]["E"] = time_ms
            frame["data"]["o"] |= {"T": time_ms, "ap": price, "z": "1"}
            texts.append(json.dumps(frame))
        self.exchange.send(texts)

    def summed(self, symbol: str) -> None:
        """Wait until a symbol's sum of the day is told; sums are, twice a second."""
        path = f"/streams/volume?timeframe=1d&symbol={quote(symbol)}"
        until(lambda: self.ask(path)["records"], "the sum")

    def candles(self, *candles: tuple[int, str, bool]) -> None:
        assert self.ask("/say-candles", candles) == "said"

    def open(self, page: Page, path: str = "/chart/BTCUSDT?timeframe=1m") -> Page:
        self.witness.watch(page).goto(f"http://127.0.0.1:{self.flowd.port}{path}")
        if path.startswith("/chart"):
            page.evaluate("flowdChart.ready()")
        return page


def floor(time_ms: int) -> int:
    return time_ms // MINUTE_MS * MINUTE_MS


def drawn(page: Page) -> list[list[Any]]:
    """The bars that the chart holds, by its own account."""
    found: list[list[Any]] = page.evaluate(
        "flowdChart.view.volume.data().map((bar) => [bar.time, bar.buy, bar.sell, bar.count])"
    )
    return found


def answered(site: Site, symbol: str = "BTCUSDT", frame: str = "1m") -> list[list[Any]]:
    """The same bars by REST."""
    points = site.ask(f"/api/v1/liquidation-volume/{symbol}/{frame}")["data"]
    return [[p["time"], p["buy_volume"], p["sell_volume"], p["count"]] for p in points]


def agree(page: Page, site: Site, count: int, frame: str = "1m") -> list[list[Any]]:
    """Wait until REST has counted so many orders and the chart shows exactly its bars."""

    def same() -> list[list[Any]] | None:
        bars = answered(site, frame=frame)
        enough = sum(bar[3] for bar in bars) == count
        return bars if enough and drawn(page) == bars else None

    try:
        found: list[list[Any]] = until(same, f"{count} orders are drawn")
    except AssertionError:
        raise AssertionError(f"REST: {answered(site)}\ndrawn: {drawn(page)}") from None
    return found


@pytest.fixture(scope="module")
def chart_library(browser: Browser) -> None:
    """The front-end package that draws, fetched if it is not there."""
    said = fetch.fetch()
    if not (Path(flowd_pages.__file__).parent / "vendor" / "stamp").is_file():
        lacking(said)


Make = Callable[..., Site]


@pytest.fixture
def make(tmp_path: Path, chart_library: None) -> Iterator[Make]:
    """Makes the site of a test, and sees at the end that the browser complained of nothing."""
    sites: list[Site] = []

    with Exchange() as exchange:

        def made(extra: str, *, admin: bool = False) -> Site:
            site = Site(tmp_path / "site", exchange, extra, admin=admin)
            sites.append(site)
            site.start()
            return site

        yield made
        for site in sites:
            site.witness.conclude(site.flowd)


@pytest.fixture
def site(make: Make) -> Site:
    """A daemon with all that a chart is made of, and some minutes of it."""
    site = make(VOLUME + CANDLES)
    at = floor(now_ms()) - 20 * MINUTE_MS
    site.say(
        (at + 1, "BUY", "5000"),
        (at + 2, "BUY", "5001"),
        (at + 3, "SELL", "5000"),
        (at + 5 * MINUTE_MS, "SELL", "693"),
        (at + 9 * MINUTE_MS, "BUY", "120.5"),
    )
    site.candles(*[(at + n * MINUTE_MS, f"{50_000 + n}.5", n < 20) for n in range(21)])
    until(lambda: sum(bar[3] for bar in answered(site)) == 5, "the orders are counted")
    return site


def test_the_bars_are_those_of_rest_before_during_and_after_a_restart(
    page: Page, site: Site
) -> None:
    site.open(page)
    bars = agree(page, site, 5)
    assert bars[0][1:] == ["10001", "5000", 3]
    assert bars[1][1:] == ["0", "0", 0]

    site.say((now_ms(), "SELL", "700"), (now_ms(), "BUY", "300"))
    agree(page, site, 7)

    site.stop()
    page.wait_for_selector("#offline:not([hidden])")
    assert page.locator("#connection").get_attribute("data-status") == "disconnected"
    assert sum(bar[3] for bar in drawn(page)) == 7, "what was known stays to be seen"

    site.start()
    page.wait_for_selector("#connection[data-status=connected]", timeout=40_000)
    assert page.locator("#offline").is_hidden()
    agree(page, site, 7)
    site.say((now_ms(), "SELL", "42"))
    agree(page, site, 8)
    assert page.evaluate("flowdChart.timeline.gaps.length") >= 1, "the restart is shaded"


def test_everything_live_comes_over_one_websocket(page: Page, site: Site) -> None:
    site.open(page)
    for name in ("5m", "1h", "1m"):
        page.click(f"#timeframes [data-value='{name}']")
        page.evaluate("flowdChart.ready()")
    page.fill("#symbol", "ETHUSDT")
    page.keyboard.press("Enter")
    page.wait_for_url("**/chart/ETHUSDT?timeframe=1m")
    page.evaluate("flowdChart.ready()")
    site.say((now_ms(), "BUY", "9"), symbol="ETHUSDT")

    until(lambda: [bar[3] for bar in drawn(page)] == [1], "the order of the other symbol is drawn")
    assert len(site.witness.sockets) == 1
    page.go_back()
    agree(page, site, 5)


def test_the_client_says_why_a_subscription_is_refused(page: Page, site: Site) -> None:
    site.open(page)

    mistake = page.evaluate(
        """new Promise((error) => {
            flowdChart.client.follow("nothing", {}, { error });
            flowdChart.client.follow("nobody", {});
        })"""
    )

    assert (mistake["code"], mistake["value"]) == ("UNKNOWN_STREAM", "nothing")


def test_a_late_bucket_is_drawn_where_it_belongs(page: Page, site: Site) -> None:
    site.open(page)
    agree(page, site, 5)
    newest = floor(now_ms())
    site.say((newest, "BUY", "10"))
    agree(page, site, 6)

    site.say((newest - 14 * MINUTE_MS, "SELL", "20"))
    agree(page, site, 7)
    site.say((newest - 90 * MINUTE_MS, "SELL", "30"), (newest - 13 * MINUTE_MS, "BUY", "40"))
    agree(page, site, 9)
    site.say((newest + 1, "SELL", "50"))
    agree(page, site, 10)


def test_each_timeframe_shows_the_same_orders(page: Page, site: Site) -> None:
    site.open(page)

    for name in ("5m", "15m", "30m", "1h", "4h", "1d"):
        page.click(f"#timeframes [data-value='{name}']")
        page.evaluate("flowdChart.ready()")
        day_ms = 86_400_000
        start = now_ms() - (365 if name == "1d" else 3) * day_ms + 60_000
        points = site.ask(
            f"/api/v1/liquidation-volume/BTCUSDT/{name}?start={start}&end={now_ms()}"
        )["data"]
        wanted = [[p["time"], p["buy_volume"], p["sell_volume"], p["count"]] for p in points]
        assert drawn(page) == wanted
        assert sum(bar[3] for bar in wanted) == 5


def test_candles_share_the_time_scale_and_move_with_it(page: Page, site: Site) -> None:
    site.open(page)
    closes: Callable[[], Any] = lambda: page.evaluate(  # noqa: E731
        "flowdChart.view.candles.data().map((one) => [one.time, one.close])"
    )
    assert len(closes()) == 21

    at = floor(now_ms())
    site.candles((at, "50123.25", False))

    until(lambda: closes()[-1] == [at // 1000, 50123.25], "the candle is drawn")
    site.candles((at - 3 * MINUTE_MS, "49000.75", True))
    until(lambda: [(at - 180_000) // 1000, 49000.75] in closes(), "the late candle is drawn")
    assert closes() == sorted(closes())
    assert page.evaluate("flowdChart.view.chart.panes().length") == 2


def test_the_table_shows_the_newest_fifty_newest_first(page: Page, site: Site) -> None:
    site.open(page)
    shows(page, "document.querySelectorAll('#orders tbody tr[data-id]').length === 5")
    first = page.locator("#orders tbody tr").first.inner_text().split("\t")
    assert first[1:] == ["▲ Short", "120.5", "1", "$120.50"]

    at = now_ms()
    site.say(*[(at + n, "SELL", str(1000 + n)) for n in range(60)])

    shows(page, "document.querySelector('#orders tbody tr').innerText.includes('1,059')")
    assert page.locator("#orders tbody tr").count() == 50
    assert page.locator("#orders tbody tr").last.inner_text().split("\t")[2] == "1,010"
    assert page.locator("#orders tbody tr .sell b").first.inner_text() == "▼"


def test_an_order_that_comes_late_stands_where_it_happened(page: Page, site: Site) -> None:
    site.open(page)
    at = now_ms()
    site.say((at, "SELL", "111"))
    shows(page, "document.querySelector('#orders tbody tr').innerText.includes('111')")

    site.say((at - 5000, "SELL", "222"), (at + 1, "SELL", "333"))

    shows(page, "document.querySelector('#orders tbody tr').innerText.includes('333')")
    prices = [row.split("\t")[2] for row in page.locator("#orders tbody tr").all_inner_texts()]
    assert prices[:3] == ["333", "111", "222"]


def pixels(page: Page, colour: str, time_ms: int) -> tuple[int, int]:
    """How many pixels of a colour stand above and below the line, in the column of a time."""
    return tuple(
        page.evaluate(
            """([colour, seconds]) => {
                const { view } = flowdChart;
                const shot = view.chart.takeScreenshot();
                const scale = shot.width / document.querySelector("#canvas").clientWidth;
                const pane = view.pane(view.chart.panes().length - 1);
                const zero = Math.round((pane.top + view.volume.priceToCoordinate(0)) * scale);
                const x = Math.round(view.chart.timeScale().timeToCoordinate(seconds) * scale);
                const probe = document.createElement("i");
                probe.style.color = `var(--${colour})`;
                document.body.append(probe);
                const wanted = getComputedStyle(probe).color.match(/\\d+/g).map(Number);
                probe.remove();
                const top = Math.round(pane.top * scale);
                const height = Math.round(pane.height * scale);
                const { data } = shot.getContext("2d").getImageData(x, top, 1, height);
                const found = [0, 0];
                for (let y = 0; y < height; y++)
                    if (wanted.every((part, index) => Math.abs(data[4 * y + index] - part) < 3))
                        found[top + y < zero ? 0 : 1]++;
                return found;
            }""",
            [colour, time_ms // 1000],
        )
    )


def test_both_sides_of_a_bar_are_drawn_also_where_they_are_equal(page: Page, site: Site) -> None:
    at = floor(now_ms())
    site.say((at, "BUY", "9000"), (at, "SELL", "9000"))
    site.open(page)
    agree(page, site, 7)

    until(lambda: pixels(page, "buy", at)[0] > 30, "shorts stand above the line")
    assert pixels(page, "sell-soft", at)[1] > 30
    assert pixels(page, "buy", at)[1] == 0
    assert pixels(page, "sell-soft", at)[0] == 0
    legend = page.locator("#legend-volume").inner_text()
    assert "Shorts ▲ $9K" in legend
    assert "Longs ▼ $9K" in legend


def test_the_net_is_a_line_on_request_and_that_is_remembered(page: Page, site: Site) -> None:
    at = floor(now_ms())
    site.say((at, "BUY", "9000"), (at, "SELL", "3000"))
    site.open(page)
    agree(page, site, 7)
    until(lambda: pixels(page, "buy", at)[0] > 30, "the bar is drawn")
    assert pixels(page, "text", at) == (0, 0)

    page.click("#net")
    until(lambda: pixels(page, "text", at)[0] > 0, "the line of the net is above zero")

    page.reload()
    page.evaluate("flowdChart.ready()")
    assert page.locator("#net").get_attribute("aria-pressed") == "true"
    until(lambda: pixels(page, "text", at)[0] > 0, "it is still there")


def since_of(site: Site, symbol: str = "BTCUSDT") -> str:
    since = site.ask(f"/api/v1/liquidation-volume/{symbol}/1m")["since"]
    return time.strftime("%H:%M", time.gmtime(since / 1000))


def test_before_anything_was_counted_nothing_is_known_and_sums_say_since_when(
    page: Page, make: Make
) -> None:
    site = make(VOLUME)
    site.say((now_ms(), "BUY", "500"))
    until(lambda: answered(site), "it is counted")
    site.open(page)
    since = since_of(site)
    first, begins = page.evaluate(
        "[flowdChart.view.shading.before.span, flowdChart.timeline.begins]"
    )
    assert first[1] == begins
    assert begins - first[0] > 23 * 3_600_000, "the rest of the day is hatched"

    for name in ("buy", "sell", "net", "count"):
        until(
            lambda n=name: f"since {since}" in page.locator(f"[data-fact={n}]").inner_text(), name
        )
    page.focus("#chart")
    for _ in range(3):
        page.keyboard.press("ArrowLeft")
    assert "not known" in page.locator("#spoken").inner_text()
    assert "nothing was counted yet" in page.locator("#legend-volume").inner_text()


def test_a_symbol_without_orders_is_not_said_to_have_had_none_all_day(
    page: Page, site: Site
) -> None:
    site.open(page, "/chart/FOOBAR?timeframe=1m")

    words = page.locator("#overlay").inner_text()

    assert f"No forced order of FOOBAR since {since_of(site)}, when counting began" in words
    assert "24 hours" not in words


def test_comparing_says_why_there_is_nothing_to_compare_with(page: Page, site: Site) -> None:
    site.open(page, "/chart/BTCUSDT?timeframe=5m")

    page.click("#comparison [data-value=day]")

    until(
        lambda: (
            "Nothing to compare with 1 day earlier: counted since"
            in page.locator("#compare-note").inner_text()
        ),
        "why",
    )
    page.click("#comparison [data-value=off]")
    until(lambda: page.locator("#compare-note").inner_text() == "", "nothing to say")


def test_the_sums_say_that_they_are_lower_bounds(page: Page, site: Site) -> None:
    site.open(page)

    page.click("#sampled summary")

    assert "at least what is shown" in page.locator("#sampled .pop").inner_text()
    until(
        lambda: page.locator("[data-fact=buy]").inner_text().startswith("▲ ≥ $10.12K"),
        "the sum of the visible span",
    )
    assert page.locator("[data-fact=sell]").inner_text().startswith("▼ ≥ $5.69K")
    assert page.locator("[data-fact=net]").inner_text().startswith("≈ +$4.43K")


def test_the_same_span_a_day_earlier_is_a_line_beside(page: Page, site: Site) -> None:
    before = floor(now_ms()) - 86_400_000
    site.say((before - 10 * MINUTE_MS, "BUY", "2000"))
    until(lambda: len(answered(site, frame="5m")) > 0, "it is counted")
    site.open(page)
    disabled = page.locator("#comparison [data-value=day]")
    assert disabled.get_attribute("aria-disabled") == "true"
    assert "choose 5m or longer" in (disabled.get_attribute("title") or "")

    page.click("#timeframes [data-value='5m']")
    page.evaluate("flowdChart.ready()")
    page.click("#comparison [data-value=day]")

    width = 300
    wanted = (before - 10 * MINUTE_MS) // 1000 // width * width + 86_400
    line = "flowdChart.view.earlier[0].data().map((one) => [one.time, one.value])"
    until(lambda: [wanted, 2000] in page.evaluate(line), "the line of the day before")
    until(lambda: "vs $2K" in page.locator("[data-fact=buy]").inner_text(), "its sum beside ours")


def test_the_day_before_goes_on_as_time_does(page: Page, site: Site) -> None:
    site.say((now_ms() - 86_400_000 + 8 * MINUTE_MS, "BUY", "2000"))
    until(lambda: sum(bar[3] for bar in answered(site, frame="1h")) >= 1, "it is counted")
    page.clock.install()
    site.open(page, "/chart/BTCUSDT?timeframe=5m")
    page.click("#comparison [data-value=day]")
    line = "flowdChart.view.earlier[0].data().map((one) => one.value)"
    assert 2000 not in page.evaluate(line), "that is still to come"

    page.clock.fast_forward(15 * MINUTE_MS)

    until(lambda: 2000 in page.evaluate(line), "the bar of the day before")


def test_only_configured_timeframes_are_offered(page: Page, make: Make) -> None:
    site = make(VOLUME.replace("every =", 'timeframes = ["2h", "5m", "1w"]\nevery ='))
    site.say((now_ms(), "SELL", "10"))
    until(lambda: answered(site, frame="5m"), "it is counted")

    site.open(page, "/chart/BTCUSDT?timeframe=1m")

    assert page.locator("#timeframes button").all_inner_texts() == ["5m", "2h"]
    assert page.locator("#timeframes [aria-checked=true]").inner_text() == "5m"
    page.click("#timeframes [data-value='2h']")
    page.evaluate("flowdChart.ready()")
    agree(page, site, 1, frame="2h")


def test_who_chose_no_timeframe_sees_the_first_that_has_candles(page: Page, make: Make) -> None:
    site = make(VOLUME + CANDLES_5M)
    site.candles((floor(now_ms()) // 300_000 * 300_000, "50000.5", False))

    site.open(page, "/chart/BTCUSDT")

    assert page.evaluate("flowdChart.frame.name") == "5m"
    assert page.evaluate("flowdChart.view.candles.data().length") == 1
    page.goto(f"http://127.0.0.1:{site.flowd.port}/chart/BTCUSDT?timeframe=1m")
    page.evaluate("flowdChart.ready()")
    assert page.evaluate("flowdChart.frame.name") == "1m"
    words = page.locator("#legend-volume").inner_text()
    assert "there are no 1m candles of BTCUSDT; there are 5m" in words


def test_candles_that_nothing_serves_are_said_with_the_lines_that_help(
    page: Page, make: Make
) -> None:
    site = make(VOLUME + CANDLES_5M.partition("[sinks")[0])
    site.witness.harmless += ("status of 404",)
    site.say((now_ms(), "SELL", "10"))
    until(lambda: answered(site), "it is counted")

    site.open(page, "/chart/BTCUSDT")

    assert "candles are not served" in page.locator("#legend-volume").inner_text()
    page.click("#candleless summary")
    lines = page.locator("#candleless pre").inner_text()
    assert lines == '[sinks.candles]\nkind = "candles"\ninputs = ["candles-5m"]'
    agree(page, site, 1)
    page.set_viewport_size(PHONE)
    box = page.locator("#candleless .pop").bounding_box()
    assert box is not None
    assert box["x"] >= 0


@pytest.mark.parametrize("path", ["/", "/chart/BTCUSDT", "/all-fills", "/analytics"])
def test_without_the_websocket_every_page_says_which_lines_to_add(
    page: Page, make: Make, path: str
) -> None:
    site = make(VOLUME)
    site.stop()
    text = site.flowd.config.read_text()
    site.flowd.config.write_text(text.replace('[sinks.websocket]\nkind = "websocket"\n', ""))
    site.start()

    site.witness.watch(page).goto(f"http://127.0.0.1:{site.flowd.port}{path}")

    page.wait_for_selector("#offline:not([hidden]) pre")
    assert page.locator("#offline pre").inner_text() == '[sinks.websocket]\nkind = "websocket"'
    ghosts = page.locator(".ghost, .ghost-line, .skeleton").all()
    assert [ghost for ghost in ghosts if ghost.is_visible()] == []


def test_a_source_that_delivers_nothing_is_said_beside_a_good_connection(
    page: Page, site: Site
) -> None:
    site.stop()
    site.flowd.source |= {"restart_delay": "60s", "restart_delay_max": "60s"}
    site.flowd.write()
    site.start()
    site.open(page)
    badge = page.locator("#connection")
    page.wait_for_selector("#connection[data-status=connected]")

    site.exchange.cut()

    page.wait_for_selector("#connection[data-status=silent]")
    assert badge.inner_text() == "Source down"
    assert "orders delivers nothing: " in (badge.get_attribute("title") or "")


def test_a_symbol_in_both_cases_is_found_and_stays(page: Page, site: Site) -> None:
    site.say((now_ms(), "BUY", "9"), symbol="kPEPE")
    site.open(page, "/chart/kPEPE?timeframe=1m")
    until(lambda: [bar[3] for bar in drawn(page)] == [1], "its order is drawn")
    page.fill("#symbol", "kpepe")
    page.keyboard.press("Enter")
    page.evaluate("flowdChart.ready()")

    assert page.evaluate("flowdChart.symbol") == "kPEPE", "whether or not its sum is told yet"
    page.reload()
    page.evaluate("flowdChart.ready()")
    assert [bar[3] for bar in drawn(page)] == [1]
    site.summed("kPEPE")
    site.open(page)
    page.fill("#symbol", "kpepe")
    page.keyboard.press("Enter")
    shows(page, "flowdChart.symbol === 'kPEPE'")


@pytest.mark.parametrize("reloaded", [False, True])
def test_back_to_the_plain_address_is_back_to_its_symbol(
    page: Page, site: Site, reloaded: bool
) -> None:
    site.open(page, "/chart")
    page.fill("#symbol", "ETHUSDT")
    page.press("#symbol", "Enter")
    shows(page, "flowdChart.symbol === 'ETHUSDT' && flowdChart.loading.loaded")
    page.click("#timeframes [data-value='5m']")
    if reloaded:
        page.reload()

    page.go_back()

    shows(page, "flowdChart.symbol === 'BTCUSDT' && flowdChart.loading.loaded")
    assert page.title().startswith("BTCUSDT")
    assert page.input_value("#symbol") == "BTCUSDT"
    assert page.url.endswith("/chart")
    page.go_forward()
    shows(page, "flowdChart.symbol === 'ETHUSDT' && flowdChart.loading.loaded")


def test_an_order_of_another_day_says_which(page: Page, site: Site) -> None:
    site.open(page)
    shows(page, "document.querySelectorAll('#orders tbody tr[data-id]').length === 5")
    late = now_ms() - 86_400_000
    site.say((late, "SELL", "20"))
    shows(page, "document.querySelectorAll('#orders tbody tr[data-id]').length === 6")

    time_of = page.locator("#orders tbody tr").last.locator("td").first.inner_text()

    assert time_of == time.strftime("%-d %b %H:%M:%S", time.gmtime(late / 1000))


@pytest.mark.parametrize("name", ["<img src=x onerror=pwned()>", "\"'><b>B</b>", "币安人生USDT"])
def test_what_an_upstream_says_is_text(page: Page, site: Site, name: str) -> None:
    site.say((now_ms(), "BUY", "77777"), symbol=name)
    site.summed(name)
    page.add_init_script("window.pwned = () => { window.wasPwned = true; }")
    site.open(page)
    shown = name.upper() if name.isalnum() else name

    page.focus("#symbol")
    page.wait_for_selector("#symbols [role=option]")
    until(
        lambda: any(shown in text for text in page.locator("#symbols li").all_inner_texts()),
        "the search lists it",
    )
    page.goto(f"http://127.0.0.1:{site.flowd.port}/")
    until(lambda: shown in page.locator("#active tbody").inner_text(), "the overview lists it")

    assert page.locator("main img, main tbody b").count() == 0
    assert page.evaluate("window.wasPwned") is None


def test_a_page_of_a_hostile_address_does_nothing(page: Page, site: Site) -> None:
    site.witness.harmless += ("status of 404",)
    page.add_init_script("window.pwned = () => { window.wasPwned = true; }")

    site.witness.watch(page).goto(
        f"http://127.0.0.1:{site.flowd.port}/chart/%22%3E%3Cimg%20src=x%20onerror=pwned()%3E"
    )

    assert page.locator("h1").inner_text() == "No such symbol"
    assert page.locator("main img").count() == 0
    assert page.evaluate("window.wasPwned") is None


def test_without_volume_the_page_says_which_lines_to_add(page: Page, make: Make) -> None:
    site = make("")
    site.witness.watch(page).goto(f"http://127.0.0.1:{site.flowd.port}/chart/BTCUSDT")

    page.wait_for_selector("#overlay:not([hidden])")

    assert 'kind = "liquidation-volume"' in page.locator("#overlay pre").inner_text()
    site.say((now_ms(), "SELL", "10"))
    page.wait_for_selector("#orders tbody tr[data-id]")


def test_without_candles_the_histogram_stands_alone(page: Page, make: Make) -> None:
    site = make(VOLUME)
    site.say((now_ms(), "SELL", "10"))
    until(lambda: answered(site), "it is counted")

    site.open(page)

    assert page.evaluate("flowdChart.view.chart.panes().length") == 1
    assert "no candle source is configured" in page.locator("#legend-volume").inner_text()
    agree(page, site, 1)


def test_a_timeframe_without_candles_is_a_histogram_that_says_so(page: Page, site: Site) -> None:
    site.open(page)
    assert page.evaluate("flowdChart.view.chart.panes().length") == 2

    page.click("#timeframes [data-value='5m']")
    page.evaluate("flowdChart.ready()")

    assert page.evaluate("flowdChart.view.chart.panes().length") == 1
    assert "there are no 5m candles of BTCUSDT" in page.locator("#legend-volume").inner_text()
    page.click("#timeframes [data-value='1m']")
    page.evaluate("flowdChart.ready()")
    assert page.evaluate("flowdChart.view.candles.data().length") == 21
    agree(page, site, 5)


def test_without_the_chart_library_the_page_says_what_to_install(page: Page, site: Site) -> None:
    def bare(route: Any) -> None:
        answer = route.fetch()
        body = answer.text().replace('data-charts="/assets', 'data-charts="" data-x="/assets')
        route.fulfill(response=answer, body=body)

    page.route("**/chart/BTCUSDT", bare)
    site.witness.watch(page).goto(f"http://127.0.0.1:{site.flowd.port}/chart/BTCUSDT")

    page.wait_for_selector("#overlay:not([hidden])")

    assert "make pages" in page.locator("#overlay").inner_text()


def test_a_symbol_without_orders_is_empty_and_not_broken(page: Page, site: Site) -> None:
    site.open(page, "/chart/NOBODYUSDT")

    assert "No forced order of NOBODYUSDT" in page.locator("#overlay").inner_text()
    page.wait_for_selector("#orders-empty:not([hidden])")
    site.say((now_ms(), "BUY", "9"), symbol="NOBODYUSDT")
    page.wait_for_selector("#overlay", state="hidden")
    until(lambda: [bar[3] for bar in drawn(page)] == [1], "its first order is drawn")


def test_a_daemon_that_is_not_there_yet_is_waited_for(page: Page, site: Site) -> None:
    port = site.flowd.port
    page.goto(f"http://127.0.0.1:{port}/chart/BTCUSDT?timeframe=1m")
    page.evaluate("flowdChart.ready()")
    site.stop()
    page.wait_for_selector("#offline:not([hidden])")
    page.click("#timeframes [data-value='5m']")
    page.wait_for_selector("#overlay h2")
    assert page.locator("#overlay h2").inner_text() == "The daemon does not answer"

    site.start()
    # It may have come back by itself by now, and then the button is hidden.
    page.evaluate("document.querySelector('#offline-retry').click()")

    page.evaluate("flowdChart.ready()")
    assert page.locator("#overlay").is_hidden()
    assert sum(bar[3] for bar in drawn(page)) == 5


def test_it_can_be_used_with_the_keyboard_alone(page: Page, site: Site) -> None:
    site.open(page)
    page.keyboard.press("/")
    assert page.evaluate("document.activeElement.id") == "symbol"
    page.keyboard.press("Escape")
    page.focus("#timeframes [aria-checked=true]")
    page.keyboard.press("ArrowRight")
    page.evaluate("flowdChart.ready()")
    assert page.evaluate("flowdChart.frame.name") == "5m"
    page.focus("#chart")
    for _ in range(3):
        page.keyboard.press("ArrowLeft")
    spoken = page.locator("#spoken").inner_text()
    page.keyboard.press("ArrowLeft")

    assert re_time(spoken)
    assert page.locator("#spoken").inner_text() != spoken


def re_time(text: str) -> bool:
    return ":" in text and "UTC" not in text


@pytest.mark.parametrize("path", ["/", "/chart/BTCUSDT"])
def test_on_a_phone_nothing_is_wider_than_the_screen(
    browser: Browser, site: Site, path: str
) -> None:
    context = browser.new_context(viewport=PHONE, has_touch=True, is_mobile=True)
    page = site.open(context.new_page(), path)
    page.wait_for_selector("tbody tr:not(.ghost)")

    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    assert page.evaluate("document.querySelector('main').scrollWidth") <= PHONE["width"]
    context.close()


def test_the_theme_is_the_systems_until_one_is_chosen_and_then_remembered(
    browser: Browser, site: Site
) -> None:
    context = browser.new_context(viewport=DESKTOP, color_scheme="light")
    page = site.open(context.new_page())
    ground = "getComputedStyle(document.documentElement).backgroundColor"
    light = page.evaluate(ground)

    page.click("#theme")

    dark = page.evaluate(ground)
    assert dark != light
    assert page.locator("#theme").get_attribute("aria-label") == "Theme: dark"
    layout = page.evaluate("flowdChart.view.chart.options().layout.background.color")
    assert layout == page.evaluate(
        "getComputedStyle(document.querySelector('.panel')).backgroundColor"
    )
    page.reload()
    assert page.evaluate(ground) == dark
    context.close()


def test_what_was_traded_stands_below_the_candles(page: Page, site: Site) -> None:
    site.open(page)

    volumes = page.evaluate("flowdChart.view.market.data().map((one) => [one.time, one.value])")
    wanted = site.ask("/api/v1/candles/BTCUSDT/1m")["data"]

    assert volumes == [[one["time"], float(one["volume"])] for one in wanted]


def test_prices_are_the_exchanges_own_with_separators(page: Page, site: Site) -> None:
    at = floor(now_ms())
    site.candles((at, "50123.25", False))
    site.open(page)

    legend = page.locator("#legend-price").inner_text()

    assert "H 50,125.25" in legend
    assert "C 50,123.25" in legend
    axis = "flowdChart.view.candles.priceFormatter().format(50123.25)"
    assert page.evaluate(axis) == "50,123.25"


def markers(page: Page) -> list[list[Any]]:
    found: list[list[Any]] = page.evaluate(
        "flowdChart.view.markers.markers().map((one) => [one.price, one.shape, one.text])"
    )
    return found


def test_large_liquidations_are_marked_on_the_price_from_a_value_that_is_kept(
    page: Page, site: Site
) -> None:
    site.open(page)
    assert markers(page) == []

    page.click("#options-button")
    page.fill("#marks", "5k")
    page.keyboard.press("Tab")
    until(
        lambda: markers(page) == [[5001, "arrowUp", "$5K"], [5000, "arrowDown", ""]], "remembered"
    )
    site.say((floor(now_ms()), "SELL", "123456"))
    until(lambda: [123456, "arrowDown", "$123.46K"] in markers(page), "live")

    page.reload()
    page.evaluate("flowdChart.ready()")
    until(lambda: len(markers(page)) == 3, "the value was kept")
    page.click("#options-button")
    page.fill("#marks", "lots")
    page.keyboard.press("Tab")
    assert "lots is no amount" in page.locator("#marks-words").inner_text()
    assert len(markers(page)) == 3, "nothing changes"


def test_an_alert_line_is_dragged_kept_and_told_once_the_price_is_there(
    page: Page, site: Site
) -> None:
    site.open(page)
    page.focus("#chart")
    page.keyboard.press("a")
    lines = "flowdChart.drawing.lines.alerts.lines.map((line) => [line.price, line.fired])"
    assert page.evaluate(lines) == [["50020.5", None]]

    box = page.locator("#canvas").bounding_box()
    assert box is not None
    y = box["y"] + page.evaluate("flowdChart.view.y(50020.5)")
    before = page.evaluate("flowdChart.view.visible()")
    page.mouse.move(box["x"] + 300, y)
    page.mouse.down()
    page.mouse.move(box["x"] + 250, y - 30)
    page.mouse.move(box["x"] + 200, y - 60)
    page.mouse.up()
    ((price, fired),) = page.evaluate(lines)
    assert float(price) > 50_021
    assert fired is None
    assert page.evaluate("flowdChart.view.visible()") == before, "the chart stays where it was"

    page.reload()
    page.evaluate("flowdChart.ready()")
    assert page.evaluate(lines) == [[price, None]]
    at = floor(now_ms())
    site.candles((at, "50020.5", False))
    assert page.locator(".notice").count() == 0
    site.candles((at, f"{int(float(price)) + 5}.0000", False))
    page.wait_for_selector(".notice")
    assert "BTCUSDT was at" in page.locator(".notice").inner_text()
    page.click(".notice button")
    assert page.locator(".notice").count() == 0
    site.candles((at, "50020.50000000", False))
    assert page.locator(".notice").count() == 0

    page.click("#options-button")
    assert "reached" in page.locator("#alert-list").inner_text()
    page.fill("#alert-list input", "nothing")
    page.keyboard.press("Tab")
    assert "nothing is no price" in page.locator("#alert-words").inner_text()
    page.click("#alert-list button")
    assert page.evaluate(lines) == []


LINES = """
[transforms.alert-lines]
kind = "alert-lines"
input = "candles-1m"

[sinks.alert-lines-api]
kind = "alert-lines-http"
"""


def test_an_alert_line_on_the_daemon_is_dragged_seen_elsewhere_and_told_of_to_all(
    page: Page, browser: Browser, make: Make
) -> None:
    site = make(VOLUME + CANDLES + LINES, admin=True)
    site.witness.harmless += ("status of 401",)
    minute = floor(now_ms())
    site.candles((minute - MINUTE_MS, "50019.5", True), (minute, "50020.5", False))
    site.open(page)
    other = site.open(browser.new_context(viewport=DESKTOP).new_page())
    lines = "flowdChart.drawing.lines.lines.map((line) => [line.price, Boolean(line.kept)])"
    page.focus("#chart")
    page.keyboard.press("a")
    page.click("#options-button")

    page.select_option("#alert-list select", "daemon")
    page.fill("#admin-token", "a wrong one")
    page.keyboard.press("Enter")
    until(lambda: "not the admin token" in page.inner_text("#admin-words"), "it was refused")
    page.fill("#admin-token", ADMIN["EDGE_ADMIN_TOKEN"])
    page.keyboard.press("Enter")
    for each in (page, other):
        until(lambda each=each: each.evaluate(lines) == [["50020.5", True]], "both see it")  # type: ignore[misc]

    page.keyboard.press("Escape")
    box = page.locator("#canvas").bounding_box()
    assert box is not None
    y = box["y"] + page.evaluate("flowdChart.view.y(50020.5)")
    page.mouse.move(box["x"] + 300, y)
    page.mouse.down()
    page.mouse.move(box["x"] + 250, y - 10)
    page.mouse.move(box["x"] + 200, y - 20)
    page.mouse.up()
    ((price, _),) = page.evaluate(lines)
    assert float(price) > 50_020.5
    until(lambda: other.evaluate(lines) == [[price, True]], "it moved there too")
    ((told,),) = [site.ask("/api/v1/alert-lines")["lines"]]
    assert told["price"] == price

    site.candles((minute, f"{int(float(price)) + 1}.5", False))
    for each in (page, other):
        each.wait_for_selector(".notice")
        assert f"BTCUSDT crossed {float(price):,.1f}" in each.locator(".notice").inner_text()
    page.click("#options-button")
    assert "reached" in page.inner_text("#alert-list")
    kept = "JSON.stringify([{...localStorage}, {...sessionStorage}, document.cookie])"
    assert ADMIN["EDGE_ADMIN_TOKEN"] not in page.evaluate(kept)

    page.select_option("#alert-list select", "here")
    until(lambda: other.evaluate(lines) == [], "the daemon let go of it")
    until(lambda: page.evaluate(lines) == [[price, False]], "it is the browser's alone again")
    other.context.close()


def test_times_are_those_of_the_zone_that_was_chosen(browser: Browser, site: Site) -> None:
    context = browser.new_context(viewport=DESKTOP, timezone_id="Asia/Kathmandu")
    page = site.open(context.new_page())
    shows(page, "document.querySelectorAll('#orders tbody tr[data-id]').length === 5")
    newest = page.locator("#orders tbody tr").first.locator("td").first
    utc = newest.inner_text()
    assert page.locator(".foot > span").first.inner_text() == "All times UTC"

    page.click("#options-button")
    page.select_option("#zone", "local")

    until(lambda: newest.inner_text() != utc, "the orders' times")
    minutes = [int(text.split(" ")[-1].split(":")[1]) for text in (utc, newest.inner_text())]
    assert (minutes[1] - minutes[0]) % 60 == 45
    page.reload()
    page.evaluate("flowdChart.ready()")
    assert "Times UTC+5:45 (" in page.locator(".foot > span").first.inner_text()
    page.click("#options-button")
    page.focus("#zone")
    assert page.locator("#zone option").count() > 100
    page.select_option("#zone", "America/New_York")
    assert "(America/New_York)" in page.locator(".foot > span").first.inner_text()
    context.close()


def test_the_chart_is_kept_as_a_picture_and_printed(page: Page, site: Site) -> None:
    page.add_init_script("window.print = () => { window.printed = true; }")
    site.open(page)
    page.click("#options-button")

    with page.expect_download() as download:
        page.click("#png")

    assert download.value.suggested_filename.startswith("BTCUSDT-1m-")
    assert download.value.path().read_bytes().startswith(b"\x89PNG\r\n\x1a\n")
    page.click("#print-button")
    shows(page, "window.printed === true")
    corner = page.evaluate(
        "[...document.querySelector('#print canvas').getContext('2d')"
        ".getImageData(2, 2, 1, 1).data].slice(0, 3)"
    )
    assert corner == [255, 255, 255], "paper is white in the dark theme too"
    page.emulate_media(media="print")
    assert page.locator(".tools").is_hidden()
    assert page.locator("#print canvas").is_visible()


def overlapping(page: Page, selector: str) -> list[str]:
    """Pairs of visible elements that lie on one another."""
    found: list[str] = page.evaluate(
        """(selector) => {
            const boxes = [...document.querySelectorAll(selector)]
                .filter((one) => one.checkVisibility())
                .map((one) => [one.id || one.textContent, one.getBoundingClientRect()]);
            const pairs = [];
            for (const [index, [name, a]] of boxes.entries())
                for (const [other, b] of boxes.slice(index + 1))
                    if (Math.min(a.right, b.right) - Math.max(a.left, b.left) > 1 &&
                        Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top) > 1)
                        pairs.push(`${name} on ${other}`);
            return pairs;
        }""",
        selector,
    )
    return found


@pytest.mark.parametrize("width", [1280, 1000, 800, 600, 390])
def test_no_control_lies_on_another(browser: Browser, site: Site, width: int) -> None:
    context = browser.new_context(viewport={"width": width, "height": 800})
    page = site.open(context.new_page())
    controls = ".search input, .segments button, .toggle, .chip"

    assert overlapping(page, controls) == []
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.click("#options-button")
    assert overlapping(page, f"#options-panel :is({controls}, input, select)") == []
    page.keyboard.press("Escape")
    assert page.locator("#options-panel").is_hidden()
    assert page.evaluate("document.activeElement.id") == "options-button"
    context.close()


def test_on_a_phone_the_picture_is_in_the_first_screen(browser: Browser, site: Site) -> None:
    context = browser.new_context(viewport=PHONE, has_touch=True, is_mobile=True)
    page = site.open(context.new_page())

    chart = page.locator("#chart").bounding_box()

    assert chart is not None
    assert chart["y"] < PHONE["height"] * 0.2, "above it stand the bar and two lines"
    assert chart["y"] + chart["height"] <= PHONE["height"]
    assert chart["height"] > PHONE["height"] * 0.6
    context.close()


def test_what_cannot_be_chosen_says_why_when_it_is_tapped(page: Page, site: Site) -> None:
    site.open(page)

    page.click("#comparison [data-value=day]", force=True)

    assert "choose 5m or longer" in page.locator("#compare-why").inner_text()


def test_bars_and_candles_of_which_parts_are_missing_are_marked_and_say_so(
    page: Page, site: Site
) -> None:
    at = floor(now_ms()) - 9 * MINUTE_MS
    site.say((at, "BUY", "9000"), (at, "SELL", "8000"))
    until(lambda: sum(bar[3] for bar in answered(site)) == 7, "the orders are counted")

    def incomplete(route: Any) -> None:
        answer = route.fetch()
        history = answer.json()
        for one in history["data"]:
            if one["time"] == at // 1000:
                one["incomplete"] = True
        route.fulfill(response=answer, json=history)

    page.route("**/api/v1/liquidation-volume/**", incomplete)
    page.route("**/api/v1/candles/**", incomplete)
    # The stream would say again that they are whole.
    page.route_web_socket("**/ws", lambda _: None)
    site.open(page)
    agree(page, site, 7)

    until(lambda: pixels(page, "warn", at) == (2, 2), "yellow on the line")
    assert pixels(page, "warn", at + MINUTE_MS) == (0, 0)
    colours = page.evaluate(
        """(time) => flowdChart.view.candles.data().filter((one) => one.color)
            .map((one) => [one.time === time, one.color === flowdChart.view.colours["sell-faint"]
                || one.color === flowdChart.view.colours["buy-faint"]])""",
        at // 1000,
    )
    assert colours == [[True, True]]
    until(
        lambda: page.locator("[data-fact=buy]").inner_text().startswith("▲ ≥ "),
        "sums of what can be seen are lower bounds",
    )

    bars_back = (floor(now_ms()) - at) // MINUTE_MS
    page.locator("#chart").focus()
    for _ in range(bars_back + 1):
        page.keyboard.press("ArrowLeft")
        if "incomplete" in page.locator("#legend-volume").inner_text():
            break
    assert "its source was away for a part of it" in page.locator("#legend-volume").inner_text()
    assert "are missing" in page.locator("#legend-price").inner_text()
    assert "incomplete" in page.locator("#spoken").inner_text()


def test_bars_are_filled_by_venue_where_there_are_several(page: Page, site: Site) -> None:
    at = floor(now_ms())
    site.say((at, "BUY", "9000"), (at, "SELL", "8000"))
    until(lambda: sum(bar[3] for bar in answered(site)) == 7, "the orders are counted")

    def two_venues(route: Any) -> None:
        answer = route.fetch()
        history = answer.json()
        for bar in history["data"]:
            sums = {
                "buy": str(float(bar["buy_volume"]) / 2),
                "sell": str(float(bar["sell_volume"]) / 2),
                "count": bar["count"] // 2,
            }
            bar["venues"] = {"binance": sums, "bybit": sums}
            bar["approximate"] = True
        route.fulfill(response=answer, json=history)

    site.open(page)
    assert page.locator("#split").is_hidden(), "with one venue there is nothing to split by"
    page.route("**/api/v1/liquidation-volume/**", two_venues)
    # The stream would say again that there is one.
    page.route_web_socket("**/ws", lambda _: None)
    page.reload()
    page.evaluate("flowdChart.ready()")
    agree(page, site, 7)
    legend = page.locator("#legend-volume").inner_text()
    assert "Binance ▲ $4.5K ▼ $4K" in legend
    assert "Bybit ▲ $4.5K ▼ $4K" in legend
    until(
        lambda: page.locator("[data-fact=buy]").inner_text().startswith("▲ ≥≈ "),
        "the sum is a lower bound, and approximate",
    )
    assert pixels(page, "part-1", at) == (0, 0)

    page.click("#split")

    until(lambda: pixels(page, "part-1", at)[0] > 10, "shorts of the first venue")
    for colour in ("part-1", "part-3"):
        above, below = pixels(page, colour, at)
        assert above > 10
        assert below > 10
    assert pixels(page, "buy", at) == (0, 0)
