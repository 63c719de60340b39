"""The trader's overview in a real browser, on a real daemon whose sources say what a test tells."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Locator, Page

from tests.browser.kit import DESKTOP, PHONE, Witness, ask, begin, shows, until
from tests.browser.whole import Whole
from tests.edge.process import Flowd

pytestmark = [pytest.mark.browser, pytest.mark.timeout(180)]

SCRIPTED = str(Path(__file__).parent / "scripted")
TELLER = '\n[sinks.teller]\nkind = "scripted-speaker"\n[sinks.pages]\nkind = "pages"\n'
ORDERS = '\n[sources.orders]\nkind = "scripted-forced"\n'
SUMS = """
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
[sources.candles]
kind = "scripted-prices"

[sinks.prices]
kind = "candles"
inputs = ["candles"]
"""
FILLS = """
[sources.liquidations]
kind = "scripted-fills"

[sinks.script]
kind = "scripted-script"
"""
HOSTILE = "<img src=x onerror=pwned()>"
HOUR_MS = 3_600_000
NOTHING = "\N{EN DASH}"


class House(Flowd):
    """The daemon and what the browser said of it."""

    def __init__(self, folder: Path, extra: str) -> None:
        self.witness = Witness(("WebSocket", "ERR_"))
        super().__init__(folder, None, extra=extra + TELLER, arguments=["--plugins-dir", SCRIPTED])

    def say(self, *orders: dict[str, object], name: str = "orders") -> None:
        """Forced orders."""
        assert ask(self, f"/orders/{name}", list(orders)) == "said"

    def open(self, page: Page, query: str = "") -> Page:
        """Open the page, and wait until it knows what there is."""
        self.witness.watch(page).goto(f"http://127.0.0.1:{self.port}/{query}")
        page.wait_for_selector("#connection[data-status=connected]")
        return page


Make = Callable[..., House]


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    made: list[House] = []

    def made_of(extra: str = ORDERS + SUMS) -> House:
        house = House(tmp_path / "flowd", extra)
        made.append(house)
        begin(house)
        return house

    yield made_of
    for house in made:
        house.witness.conclude(house)


def table(page: Page, name: str) -> list[list[str]]:
    """What stands in a table, row by row."""
    rows: list[list[str]] = page.locator(f"#{name} tbody tr:not(.ghost)").evaluate_all(
        "rows => rows.map((row) => [...row.children].map((cell) => cell.textContent))"
    )
    return rows


def shown(page: Page, name: str, first: str) -> list[list[str]]:
    """Wait until a table's first row begins so; all of it."""
    return until(  # type: ignore[no-any-return]
        lambda: (rows := table(page, name)) and rows[0][0] == first and rows,
        f"#{name} begins with {first}",
    )


def test_sums_stand_by_window_and_side_and_say_since_when(page: Page, make: Make) -> None:
    began = time.gmtime()
    house = make()
    house.say({"notional": "3000", "side": "BUY"}, {"notional": "1000"})
    house.open(page)

    rows = shown(page, "sums", "1h")

    assert [row[0] for row in rows] == ["1h", "4h", "12h", "24h"]
    for row in rows:
        assert row[1:6] == ["≥$3K", "≥$1K", "≥$4K", "≥2", NOTHING]
        words = row[6].removeprefix("since ")
        assert time.strftime("%H:%M", began) <= words <= time.strftime("%H:%M", time.gmtime()), (
            "what was before the daemon is not called nothing"
        )
    assert "Binance" in page.inner_text("#sums-words")
    words = page.inner_text("#sums-words")
    assert "Binance tells only some of its liquidations" in words, "not on hover only"
    facts = [page.inner_text(f"#fact-{name}") for name in ("total", "shorts", "longs", "orders")]
    assert facts == ["≥$4K", "≥$3K", "≥$1K", "≥2"], "a side of a lower bound is one too"


def test_of_several_venues_each_has_its_part(page: Page, make: Make) -> None:
    house = make()
    house.say({"notional": "3000"}, {"notional": "500", "venue": "hyperliquid", "symbol": "BTC"})
    house.open(page)

    rows = shown(page, "sums", "1h")

    assert [row[0] for row in rows[:3]] == ["1h", "Binance", "Hyperliquid"]
    assert [row[3] for row in rows[:3]] == ["≥$3.5K", "≥$3K", "$500.00"]
    words = page.inner_text("#sums-words")
    assert "Binance tells only some of its liquidations" in words, "the other tells all"


def test_what_is_of_no_known_venue_is_a_part_of_its_own(page: Page, make: Make) -> None:
    house = make()
    house.say({"notional": "3000"}, {"notional": "500", "venue": ""})
    house.open(page)

    rows = shown(page, "sums", "1h")

    assert [row[0] for row in rows[:3]] == ["1h", "Binance", "Venue not known"]
    assert [row[3] for row in rows[:3]] == ["≥$3.5K", "≥$3K", "≥$500.00"], "parts are the whole"
    assert rows[2][6] == "filled in without venues"


def test_the_window_is_chosen_once_and_stands_in_the_address(page: Page, make: Make) -> None:
    house = make()
    house.say({"notional": "1000"}, {"notional": "9000", "ago_ms": 2 * HOUR_MS})
    house.open(page)
    until(lambda: page.inner_text("#fact-total") == "≥$1K", "an hour's sum")
    assert [row[3] for row in table(page, "largest")] == ["$1K"]

    page.get_by_role("radio", name="The last 4 hours").click()

    until(lambda: page.inner_text("#fact-total") == "≥$10K", "four hours' sum")
    assert page.url.endswith("?window=4h")
    until(lambda: [row[3] for row in table(page, "largest")] == ["$9K", "$1K"], "of the window")
    assert page.locator("[role=radiogroup]").count() == 1, "there is one choice of time"


def test_new_orders_come_on_top_of_the_tape(page: Page, make: Make) -> None:
    house = make()
    house.say({"notional": "1000", "symbol": "ETHUSDT"})
    house.open(page)
    until(lambda: [row[1] for row in table(page, "tape")] == ["ETHUSDT"], "what was before")

    house.say({"notional": "2000000", "symbol": "SOLUSDT", "side": "BUY"})

    until(lambda: [r[1] for r in table(page, "tape")] == ["SOLUSDT", "ETHUSDT"], "newest first")
    assert table(page, "tape")[0][2:4] == ["▲ Short", "$2M"]
    weights = "[...document.querySelectorAll('#tape tbody tr')].map((row) => row.dataset.weight)"
    assert page.evaluate(weights) == ["4", "1"]


def test_one_liquidation_is_one_row_however_many_fills_it_has(page: Page, make: Make) -> None:
    house = make(FILLS)
    plain = {"symbol": "kPEPE", "side": "SELL", "role": "liquidated", "dir": "Close Long"}

    def fill(notional: str, name: str, who: str = "a") -> dict[str, object]:
        told = {"price": "2", "quantity": str(int(notional) // 2), "notional": notional}
        return {**plain, **told, "id": name, "address": "0x" + who * 40, "hash": "0x" + who * 64}

    before = [fill("12000", "1"), fill("400", "2"), fill("11000", "3", "b")]
    large = [fill(str(20_000 + n), f"large{n}", f"{n}") for n in range(10)]
    small = [fill("10", f"small{n}", "c") for n in range(100)]
    assert ask(house, "/say/liquidations", [*before, *large, *small]) == "said"
    house.open(page)
    until(lambda: len(table(page, "largest")) == 12, "as many as there is room for")
    until(lambda: table(page, "largest")[10][3] == "$12.4K", "the small fill of a large order, too")

    later = [fill("30000", "4", "d"), fill("600", "5", "d")]
    assert ask(house, "/say/liquidations", later) == "said"

    until(lambda: table(page, "largest")[0][3] == "$30.6K", "and all that comes")
    until(lambda: table(page, "tape")[0][3] == "$30.6K", "on the tape, one row")
    chart = page.get_attribute("#largest tbody a >> nth=0", "href")
    assert chart == "/chart/1000PEPEUSDT", "the chart that there is of it"


def test_a_source_that_is_down_has_no_green_light(page: Page, make: Make) -> None:
    house = make(FILLS)
    house.open(page)
    until(lambda: page.inner_text("#connection") == "Live", "all is well")

    assert ask(house, "/break/liquidations", []) == "said"

    until(lambda: page.inner_text("#connection") == "Source down", "the light is out")
    assert "the test pulled the plug" in (page.get_attribute("#connection", "title") or "")
    until(lambda: page.inner_text("#connection") == "Live", "it is back")


def test_heads_sort_by_pointer_and_by_keyboard(page: Page, make: Make) -> None:
    house = make()
    house.say(
        {"notional": "100", "symbol": "A", "side": "BUY"},
        {"notional": "300", "symbol": "B"},
        {"notional": "200", "symbol": "C"},
    )
    house.open(page)
    shown(page, "active", "B")

    page.get_by_role("button", name="Shorts").click()
    assert shown(page, "active", "A")
    page.locator("#active th[data-sort=total] button").focus()
    page.keyboard.press("Enter")
    page.keyboard.press("Enter")

    least_first = ["A", "C", "B"]
    until(lambda: [row[0] for row in shown(page, "active", "A")] == least_first, "they are sorted")
    assert page.get_attribute("#active th[data-sort=total]", "aria-sort") == "ascending"
    assert page.get_attribute("#active tbody a >> nth=0", "href") == "/chart/A"


def test_movers_say_how_far_prices_went_in_the_window(page: Page, make: Make) -> None:
    house = make(ORDERS + SUMS + CANDLES)
    house.say({"notional": "100", "symbol": "BTCUSDT"}, {"notional": "100", "symbol": "ETHUSDT"})
    five, now = 300_000, int(time.time() * 1000)
    for symbol, closes in (("BTCUSDT", "101"), ("ETHUSDT", "90")):
        first = -(-(now - HOUR_MS) // five) * five
        bars = [
            {"symbol": symbol, "time_ms": at, "open": "100", "close": closes}
            for at in range(first, now, five)
        ]
        assert ask(house, "/candles/candles", bars) == "said"

    house.open(page)

    rows = shown(page, "movers", "ETHUSDT")
    assert [row[:3] for row in rows] == [
        ["ETHUSDT", "90", "\N{MINUS SIGN}10.0%"],
        ["BTCUSDT", "101", "+1.00%"],
    ]


def test_without_what_sums_need_the_page_says_which_lines_add_it(page: Page, make: Make) -> None:
    house = make(ORDERS)
    house.say({"notional": "1000"})
    house.open(page)

    until(lambda: "liquidation-volume" in page.inner_text("#sums-empty"), "the lines")

    lines = page.inner_text("#sums-empty pre")
    assert 'input = "orders"' in lines
    assert 'kind = "liquidation-websocket"' in lines
    until(lambda: len(table(page, "tape")) == 1, "the rest works")


def test_it_says_what_each_venue_tells_and_how_to_add_others(page: Page, make: Make) -> None:
    house = make()
    house.open(page)

    until(lambda: table(page, "venues"), "the venues")

    assert "delivers" in table(page, "venues")[0][1]
    words = page.inner_text("#more summary")
    assert "Bybit" in words
    assert "OKX" in words
    page.click("#more summary")
    assert 'kind = "bybit-liquidations"' in page.inner_text("#more pre")


def test_what_an_upstream_says_is_text(page: Page, make: Make) -> None:
    house = make()
    page.add_init_script("window.pwned = () => { window.wasPwned = true; }")
    house.say({"notional": "1000", "symbol": HOSTILE})

    house.open(page)

    until(lambda: HOSTILE in page.inner_text("#active"), "it is listed")
    until(lambda: HOSTILE in page.inner_text("#tape"), "it is on the tape")
    assert page.locator("main img").count() == 0
    assert page.evaluate("window.wasPwned") is None


@pytest.mark.parametrize("size", [PHONE, {"width": 800, "height": 600}, DESKTOP])
def test_nothing_is_wider_than_the_screen(
    browser: Browser, make: Make, size: dict[str, int]
) -> None:
    house = make()
    house.say(*[{"notional": str(10**n), "symbol": f"A{n}USDT"} for n in range(1, 9)])
    context = browser.new_context(viewport=size, color_scheme="light")  # type: ignore[arg-type]
    page = house.open(context.new_page())
    until(lambda: table(page, "active"), "something to show")

    shows(page, f"document.documentElement.scrollWidth <= {size['width']}")
    assert page.evaluate("document.querySelectorAll('h1').length") == 1
    total = page.locator("#fact-total").bounding_box()
    assert total is not None
    assert total["y"] < size["height"] / 2, "the sum is in the first screen"
    context.close()


@pytest.mark.parametrize("name", ["sums", "active", "venues", "largest"])
def test_on_a_phone_no_table_is_scrolled_sideways(
    browser: Browser, whole: Whole, name: str
) -> None:
    context = browser.new_context(viewport=PHONE, has_touch=True, is_mobile=True)
    page = whole.open(context.new_page(), "/")
    until(lambda: table(page, name), "something to show")

    wide = f"(table => [table.scrollWidth, table.clientWidth])({name}.parentElement)"
    whole_width, seen = page.evaluate(wide)
    cells = page.locator(f"#{name} tbody tr:not(.ghost)").first.locator("td")
    ends = [box["x"] + box["width"] for box in map(Locator.bounding_box, cells.all()) if box]
    context.close()
    assert whole_width <= seen
    assert max(ends) <= PHONE["width"]
