"""The heatmap in a real browser, on a real daemon whose maps a test tells.

What is drawn is read out of the canvas.
"""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page

from tests.browser.kit import PHONE, Witness, ask, begin, shows, start, stop, until
from tests.edge.process import Flowd, Raw, toml

pytestmark = [pytest.mark.browser, pytest.mark.timeout(240)]

STEP_MS = 300_000
COLUMNS = 40
NOW_MS = int(time.time() * 1000) // STEP_MS * STEP_MS
FIRST_MS = NOW_MS - COLUMNS * STEP_MS
MISSING, BLIND = 20, 30
"""Of which column there is none, and which was made without open interest."""
MAPS = """
[sources.heatmap]
kind = "scripted-map"
[sources.observed]
kind = "scripted-observed"
[sources.orders]
kind = "scripted-orders"
[sinks.teller]
kind = "scripted-maps-teller"
"""
SINK = """
[sinks.maps]
kind = "heatmap-websocket"
observed = "observed"
"""
DENSE = 161
"""The code of 2^20, which is about a million."""


def column(index: int, **said: object) -> dict[str, object]:
    """Longs at 95 000 and, fewer, at 96 000; shorts at 105 000."""
    plain: dict[str, object] = {
        **{"symbol": "BTCUSDT", "time_ms": FIRST_MS + index * STEP_MS, "bin": "100"},
        **{"long": {"950": DENSE, "960": DENSE - 32}, "short": {"1050": DENSE}},
        **{"low": "99900", "high": "100100", "close": "100000", "oi_missing": index == BLIND},
    }
    return {**plain, **said}


def level(price: int, long: int = 0, short: int = 0) -> dict[str, object]:
    return {"price": price, "long": long, "short": short}


LEVELS = [
    level(95_000, long=1_048_576),
    level(96_000, long=65_536),
    level(105_000, short=1_048_576),
]


def told(symbol: str = "BTCUSDT", **said: object) -> dict[str, object]:
    plain: dict[str, object] = {
        **{"symbol": symbol, "venue": "binance", "source": "estimated", "time_ms": NOW_MS + 1000},
        **{"mark_price": "100000", "bin": "100", "levels": LEVELS, "outside_long": "0"},
        **{"outside_short": "0", "unplaced": "0", "derived": 0, "coverage": None, "oi_sides": 2},
        **{"accounts": 0, "positions": 0, "created": 10, "consumed": 0, "side_model": "both"},
        **{"history_from_ms": FIRST_MS, "candle_ms": NOW_MS - STEP_MS, "created_ever": 10},
    }
    return {**plain, **said}


OBSERVED = told(
    "BTC", source="observed", venue="hyperliquid", coverage=0.4, accounts=1234, side_model=""
)


class Site(Flowd):
    """A daemon whose maps are scripted."""

    def __init__(self, folder: Path, extra: str = MAPS + SINK) -> None:
        self.witness = Witness(("WebSocket", "ERR_", "getImageData"))
        plugins = Path(__file__).parent / "scripted"
        super().__init__(folder, None, extra=extra, arguments=["--plugins-dir", str(plugins)])

    def write(self) -> None:
        """Write the configuration as it is now."""
        lines = ["[flowd]", *(f"{key} = {toml(value)}" for key, value in self.settings.items())]
        for kind in ("http", "websocket", "pages"):
            lines += [f"[sinks.{kind}]", f'kind = "{kind}"']
        self.config.write_text("\n".join([*lines, self.extra, ""]))

    def tell(self, name: str, *said: dict[str, object]) -> None:
        """Let a stream carry this."""
        assert ask(self, f"/tell-maps/{name}", list(said)) == "told"

    def open(self, page: Page, path: str = "/heatmap/BTCUSDT") -> Page:
        """Open a page, wait until it is loaded, and look at the columns that there are."""
        self.witness.watch(page).goto(f"http://127.0.0.1:{self.port}{path}")
        page.wait_for_selector("#connection[data-status=connected]")
        page.evaluate("flowdHeatmap.ready()")
        look(page, FIRST_MS - 5 * STEP_MS, NOW_MS + 3 * STEP_MS)
        return page


def look(page: Page, start_ms: int, end_ms: int) -> None:
    page.evaluate(
        "([from, to]) => { const { stage } = flowdHeatmap; "
        "stage.view = { ...stage.view, from, to }; stage.render(); }",
        [start_ms, end_ms],
    )


WHERE = """([time, price]) => {
    const { view, boxes: { plot } } = flowdHeatmap.stage;
    return [plot.left + (time - view.from) / (view.to - view.from) * plot.width,
            plot.top + (view.high - price) / (view.high - view.low) * plot.height];
}"""
PIXELS = """([x, y, size]) => {
    const canvas = document.querySelector('#map-canvas');
    const ratio = canvas.width / canvas.getBoundingClientRect().width;
    const half = Math.floor(size / 2);
    const [left, top] = [Math.round(x * ratio) - half, Math.round(y * ratio) - half];
    const { data } = canvas.getContext('2d').getImageData(left, top, size, size);
    const found = [];
    for (let at = 0; at < data.length; at += 4) found.push([...data.slice(at, at + 3)]);
    return found;
}"""


def pixels(page: Page, column: float, price: float, size: int = 1) -> list[list[int]]:
    """What is drawn around a place in the picture."""
    x, y = page.evaluate(WHERE, [FIRST_MS + (column + 0.5) * STEP_MS, price + 50])
    found: list[list[int]] = page.evaluate(PIXELS, [x, y, size])
    return found


def light(page: Page, column: float, price: float) -> int:
    """How light the picture is there."""
    return sum(pixels(page, column, price)[0])


def hatched(page: Page, column: float, price: float) -> bool:
    """Whether there are lines: more than one colour, all grey."""
    found = pixels(page, column, price, 9)
    grey = all(max(colour) - min(colour) < 40 for colour in found)
    return grey and len({tuple(colour) for colour in found}) > 1


@pytest.fixture
def bare(tmp_path: Path) -> Iterator[Site]:
    """A daemon that draws no maps."""
    site = Site(tmp_path / "site", "")
    site.witness.harmless += ("404",)
    start(site)
    yield site
    site.witness.conclude(site)


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    """A daemon with some hours of one map, and the present of two more."""
    site = Site(tmp_path / "site")
    begin(site)
    site.tell("columns", *[column(index) for index in range(COLUMNS) if index != MISSING])
    site.tell("columns", column(10, symbol="ETHUSDT"))
    site.tell("heatmap", told("ETHUSDT"), told())
    site.tell("observed", OBSERVED)
    yield site
    site.witness.conclude(site)


def test_levels_are_bright_and_what_is_not_known_is_hatched(page: Page, site: Site) -> None:
    site.open(page)

    empty = light(page, 10, 97_000)
    assert light(page, 10, 95_000) > light(page, 10, 96_000) > empty
    assert light(page, 10, 105_000) > empty
    assert not hatched(page, 10, 97_000)
    assert hatched(page, MISSING, 97_000), "a candle is missing"
    assert hatched(page, -3, 97_000), "before the map begins"
    assert hatched(page, BLIND, 97_000), "open interest was missing"
    assert len({tuple(one) for one in pixels(page, COLUMNS + 2, 97_000, 9)}) == 1, "still to come"
    assert light(page, COLUMNS, 95_000) > empty, "the newest column is the map of now"


def test_sides_scale_and_threshold_change_the_picture_and_the_address(
    page: Page, site: Site
) -> None:
    site.open(page)
    empty = light(page, 10, 97_000)

    page.click("#side [data-value=short]")
    until(lambda: light(page, 10, 95_000) == empty, "longs are gone")
    assert light(page, 10, 105_000) > empty
    page.click("#side [data-value=both]")
    until(lambda: light(page, 10, 95_000) > empty, "longs are back")

    root = light(page, 10, 96_000)
    page.click("#scale [data-value=log]")
    until(lambda: light(page, 10, 96_000) > root, "small levels are brighter")
    page.click("#scale [data-value=linear]")
    until(lambda: light(page, 10, 96_000) < root, "small levels are darker")

    page.fill("#least", "30")
    until(lambda: light(page, 10, 96_000) == empty, "what is below the threshold is not shown")
    assert light(page, 10, 95_000) > empty
    assert page.inner_text("#least-words") == "from $314.57K"
    assert page.url.endswith("/heatmap/BTCUSDT?scale=linear&least=30")
    page.reload()
    page.evaluate("flowdHeatmap.ready()")
    assert page.input_value("#least") == "30"


def test_the_crosshair_says_price_time_density_and_distance(page: Page, site: Site) -> None:
    site.open(page)
    box = page.locator("#map").bounding_box()
    assert box is not None

    x, y = page.evaluate(WHERE, [FIRST_MS + 10.5 * STEP_MS, 95_050])
    page.mouse.move(box["x"] + x, box["y"] + y)

    page.wait_for_selector("#readout:not([hidden])")
    text = page.inner_text("#readout")
    assert "▼ longs about $1M" in text
    assert "▲ shorts nothing" in text
    assert "% from the price then" in text
    assert time.strftime("%H:%M", time.gmtime(FIRST_MS / 1000 + 3000)) in text

    x, y = page.evaluate(WHERE, [FIRST_MS + (MISSING + 0.5) * STEP_MS, 95_050])
    page.mouse.move(box["x"] + x, box["y"] + y)
    until(lambda: "nothing is known" in page.inner_text("#readout"), "the hole is told")

    page.mouse.move(box["x"] + x, box["y"] + 3)
    page.mouse.move(5, 5)
    page.wait_for_selector("#readout", state="hidden")


def test_a_live_map_is_the_profile_and_the_newest_column(page: Page, site: Site) -> None:
    site.open(page)
    assert page.inner_text("#fact-longs") == "$1.11M"
    dark = light(page, COLUMNS, 98_000)

    levels = [level(98_000, long=4_000_000), level(105_000, short=1_048_576)]
    site.tell("heatmap", told(levels=levels, mark_price="101000", time_ms=NOW_MS + 2000))

    until(lambda: page.inner_text("#fact-longs") == "$4M", "the sum is the new one")
    assert page.inner_text("#fact-mark") == "101,000.00"
    until(lambda: light(page, COLUMNS, 98_000) > dark, "the column is the new one")
    assert light(page, 10, 98_000) <= dark, "the past stays"


def test_after_a_lost_connection_the_past_is_asked_for_again(page: Page, site: Site) -> None:
    site.open(page)
    site.tell("columns", column(MISSING))
    assert hatched(page, MISSING, 97_000), "nobody told the page"

    stop(site)
    page.wait_for_selector("#offline:not([hidden])")
    start(site)
    page.wait_for_selector("#connection[data-status=connected]", timeout=40_000)

    until(lambda: not hatched(page, MISSING, 97_000), "the column is drawn")


FIRST_OF = """async ([token, symbol, source]) => {
    const { HeatmapWebSocket } = await import('/assets/flowd-heatmap.js');
    const ticket = async () => {
        const headers = { Authorization: `Bearer ${token}` };
        return (await (await fetch('/tickets', { method: 'POST', headers })).json()).ticket;
    };
    const maps = new HeatmapWebSocket({ ticket });
    maps.subscribe([symbol], source);
    return new Promise((resolve) => {
        maps.addEventListener('snapshot', ({ detail }) => resolve(detail.data.source));
        maps.addEventListener('error', ({ detail }) => resolve(detail.code));
    });
}"""


def test_where_streams_are_locked_a_ticket_opens_the_maps(page: Page, tmp_path: Path) -> None:
    site = Site(tmp_path / "site")
    site.witness.harmless += ("404",)  # an icon, where there is no page
    token = site.env["MAPS_READ_TOKEN"] = "open sesame"
    site.settings["read_token"] = Raw('{ env = "MAPS_READ_TOKEN" }')
    site.write()
    begin(site)
    site.tell("heatmap", told())
    site.tell("observed", told(source="observed"))
    assert "UNAUTHORIZED" in str(ask(site, "/streams/heatmap"))
    site.witness.watch(page).goto(f"http://127.0.0.1:{site.port}/health")

    heard = [
        page.evaluate(FIRST_OF, [token, "BTCUSDT", source]) for source in ("estimated", "observed")
    ]

    assert heard == ["estimated", "observed"]
    site.witness.conclude(site)


def test_symbol_and_model_stand_in_the_address(page: Page, site: Site) -> None:
    site.open(page, "/heatmap")
    shows(page, "location.pathname === '/heatmap/BTCUSDT'")
    assert "Estimated from open interest and an assumed leverage mix" in page.inner_text("#claim")

    page.select_option("#symbol", "ETHUSDT")
    page.wait_for_url("**/heatmap/ETHUSDT")
    until(lambda: page.title() == "ETHUSDT heatmap · flowd", "the other map is shown")
    page.go_back()
    until(lambda: page.title() == "BTCUSDT heatmap · flowd", "the first one again")

    page.click("#model [data-value=observed]")
    page.wait_for_url("**/heatmap/BTC?model=observed")
    until(lambda: "1,234 tracked accounts, 40%" in page.inner_text("#claim"), "its coverage")
    look(page, NOW_MS - 20 * STEP_MS, NOW_MS + 3 * STEP_MS)
    assert hatched(page, COLUMNS - 5, 97_000), "an observed map has no past"
    assert light(page, COLUMNS, 95_000) > light(page, COLUMNS, 97_000)


def test_the_keyboard_moves_and_zooms(page: Page, site: Site) -> None:
    site.open(page)
    page.focus("#map")

    def width() -> float:
        found: float = page.evaluate("flowdHeatmap.stage.view.to - flowdHeatmap.stage.view.from")
        return found

    page.keyboard.press("ArrowLeft")
    page.wait_for_selector("#readout:not([hidden])")
    before = page.inner_text("#readout")
    page.keyboard.press("ArrowUp")
    until(lambda: page.inner_text("#readout") != before, "the next cell is told")
    until(lambda: page.inner_text("#spoken") != "", "and read out")
    page.keyboard.press("Escape")
    page.wait_for_selector("#readout", state="hidden")

    wide = width()
    page.keyboard.press("+")
    assert width() < wide
    page.keyboard.press("-")
    assert abs(width() - wide) < 1
    page.keyboard.press("0")
    assert width() > 6 * 86_400_000, "the week that was asked for"
    page.keyboard.press("+")
    page.keyboard.press("Home")
    # In milliseconds since 1970 a part of one is a matter of rounding.
    shows(page, "Math.abs(flowdHeatmap.stage.view.from - flowdHeatmap.stage.bounds.from) < 1")
    page.keyboard.press("End")
    shows(page, "Math.abs(flowdHeatmap.stage.view.to - flowdHeatmap.stage.bounds.to) < 1")


def test_the_wheel_zooms_where_the_pointer_is_and_dragging_moves(page: Page, site: Site) -> None:
    site.open(page)
    box = page.locator("#map").bounding_box()
    assert box is not None

    def view() -> dict[str, float]:
        found: dict[str, float] = page.evaluate("({ ...flowdHeatmap.stage.view })")
        return found

    before = view()
    page.mouse.move(box["x"] + 300, box["y"] + 200)
    page.mouse.wheel(0, -300)
    until(lambda: view()["to"] - view()["from"] < before["to"] - before["from"], "it is nearer")
    near = view()
    assert (near["low"], near["high"]) == (before["low"], before["high"])

    page.mouse.down()
    page.mouse.move(box["x"] + 400, box["y"] + 200, steps=4)
    page.mouse.up()
    until(lambda: view()["from"] < near["from"], "an earlier time is seen")


def order(index: int, price: str = "98050") -> dict[str, object]:
    """A long that was liquidated in the middle of a column."""
    return {
        **{"symbol": "BTCUSDT", "side": "SELL", "price": price, "quantity": "1", "notional": price},
        **{"time_ms": FIRST_MS + index * STEP_MS + STEP_MS // 2, "id": f"order {index}"},
    }


def test_liquidations_lie_on_top_until_they_are_switched_off(page: Page, site: Site) -> None:
    site.tell("orders", order(10))
    site.open(page)
    empty = pixels(page, 5, 98_000)[0]

    until(lambda: pixels(page, 10, 98_000)[0] != empty, "it is drawn")
    red, green, _ = pixels(page, 10, 98_000)[0]
    assert red > green, "a long that was liquidated"
    assert page.locator("#sampled").is_visible()
    since = time.strftime("%H:%M", time.gmtime(int(str(order(10)["time_ms"])) / 1000))
    assert page.inner_text("#part").endswith(f"{since} only")

    page.click("#dots")
    until(lambda: pixels(page, 10, 98_000)[0] == empty, "it is not drawn")
    assert page.locator("#sampled").is_hidden()
    assert page.locator("#part").is_hidden()
    assert page.url.endswith("?dots=off")


def test_liquidations_that_the_stream_forgot_come_from_the_history(
    page: Page, tmp_path: Path
) -> None:
    kept = f"""
[sinks.history]
kind = "history"
inputs = ["orders"]
path = "{tmp_path / "history.db"}"
"""
    maps = MAPS.replace('kind = "scripted-orders"', 'kind = "scripted-orders"\nretain = 1')
    site = Site(tmp_path / "site", maps + SINK + kept)
    begin(site)
    site.tell("columns", *[column(index) for index in range(COLUMNS)])
    site.tell("heatmap", told())
    site.tell("orders", {**order(-1), "symbol": "ETHUSDT"})
    for index in (10, 15):
        site.tell("orders", order(index))
    assert len(ask(site, "/streams/orders")["records"]) == 1
    until(lambda: len(ask(site, "/streams/orders/history")["records"]) == 3, "all are kept")
    site.open(page)

    empty = pixels(page, 5, 98_000)[0]
    for index in (10, 15):
        until(lambda index=index: pixels(page, index, 98_000)[0] != empty, f"{index} is drawn")
    assert page.locator("#part").is_hidden(), "the history is older than the map"
    site.witness.conclude(site)


def test_a_light_page_goes_the_other_way_round(page: Page, site: Site) -> None:
    site.open(page)
    assert light(page, 10, 95_000) > light(page, 10, 97_000)

    page.emulate_media(color_scheme="light")

    until(lambda: light(page, 10, 95_000) < light(page, 10, 97_000), "the densest is the darkest")


def test_what_is_seen_can_be_kept(page: Page, site: Site) -> None:
    site.open(page)

    with page.expect_download() as download:
        page.click("#png")

    assert download.value.suggested_filename.startswith("BTCUSDT-estimated-")
    assert Path(download.value.path()).read_bytes().startswith(b"\x89PNG\r\n")


def test_the_model_and_its_limits_are_one_click_away(page: Page, site: Site) -> None:
    site.open(page)

    page.click("#about summary")

    words = page.inner_text(".map-pop")
    assert "both: each contract has a long and a short" in words
    assert "Leverage, size, entry and margin mode are assumptions" in words


SCORE = {
    **{"symbol": "BTCUSDT", "since_ms": FIRST_MS, "events": 5210, "dropped": 3},
    **{"lift": 0.04, "low": 0.01, "high": 0.07},
}
MODEL = {
    **{"symbol": "BTCUSDT", "since_ms": FIRST_MS, "side_model": "both", "span_pct": 30},
    **{"leverage": [{"leverage": 10, "weight": "0.4"}, {"leverage": 20, "weight": "0.6"}]},
    **{"typical_notional": "5000", "brackets": "2024-10-24", "brackets_assumed": False},
    **{"half_life_ms": None, "positions_for_ms": 2_592_000_000, "backfill_days": 7},
}


def test_the_score_is_in_sight_and_what_it_rests_on_one_click_away(page: Page, site: Site) -> None:
    site.tell("score", SCORE)
    site.tell("model", MODEL)
    site.open(page)
    assert page.inner_text("#score") == "Score: better than chance so far"

    page.click("#score")

    words = page.inner_text(".map-pop")
    assert "+4 of 100 ranks, 95% sure between +1 and +7" in words
    assert "5,210 liquidations since" in words
    assert "10x 40%, 20x 60%" in words
    assert "$5K a position" in words
    assert "as of 2024-10-24" in words
    page.click("#map")
    assert page.locator(".map-pop").is_hidden()


def test_a_map_without_a_score_says_so_and_an_observed_one_claims_none(
    page: Page, site: Site
) -> None:
    site.tell("score", {**SCORE, "symbol": "ETHUSDT", "low": -0.01})
    site.open(page)
    assert page.inner_text("#score") == "Score: not scored yet"

    page.select_option("#symbol", "ETHUSDT")
    until(lambda: page.inner_text("#score") == "Score: no better than chance so far", "the other's")
    page.goto(f"http://127.0.0.1:{site.port}/heatmap/BTC?model=observed")
    page.evaluate("flowdHeatmap.ready()")
    assert page.locator("#score").is_hidden()


def test_of_two_maps_of_a_symbol_the_chosen_one_is_followed_live(page: Page, site: Site) -> None:
    site.tell("observed", told("ETHUSDT", source="observed"))
    site.open(page, "/heatmap/ETHUSDT?model=observed")
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))

    for name, source in (("heatmap", "estimated"), ("observed", "observed")):
        levels = [level(98_000, long=4_000_000 if source == "observed" else 9)]
        site.tell(name, told("ETHUSDT", source=source, levels=levels, time_ms=NOW_MS + 2000))

    until(lambda: page.inner_text("#fact-longs") == "$4M", "it is the new one")
    assert not [url for url in asked if "/api/v1/heatmap" in url], "nobody polls"


def test_a_phone_shows_the_picture_on_its_first_screen(browser: Browser, site: Site) -> None:
    context = browser.new_context(viewport=PHONE, has_touch=True, device_scale_factor=2)
    page = site.open(context.new_page())

    box = page.locator("#map").bounding_box()
    assert box is not None
    assert box["y"] + box["height"] <= PHONE["height"]
    assert box["height"] > 350
    assert page.evaluate("document.documentElement.scrollWidth") == PHONE["width"]
    page.touchscreen.tap(box["x"] + 100, box["y"] + 200)
    page.wait_for_selector("#readout:not([hidden])")
    context.close()


def test_a_daemon_without_maps_says_which_lines_add_them(page: Page, bare: Site) -> None:
    bare.witness.watch(page).goto(f"http://127.0.0.1:{bare.port}/heatmap")

    page.wait_for_selector("#overlay:not([hidden])")
    assert 'kind = "liquidation-heatmap"' in page.inner_text("#overlay")


def test_a_symbol_without_a_map_says_which_have_one(page: Page, site: Site) -> None:
    site.witness.watch(page).goto(f"http://127.0.0.1:{site.port}/heatmap/XUSDT")

    page.wait_for_selector("#overlay:not([hidden])")
    assert "There is one of BTCUSDT, ETHUSDT" in page.inner_text("#overlay")
