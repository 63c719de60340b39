"""The analytics in a real browser: one control of time, sums by symbol, and what is not known."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page

from tests.browser.kit import PHONE, Witness, ask, begin, until
from tests.edge.process import Flowd

pytestmark = [pytest.mark.browser, pytest.mark.timeout(180)]

SCRIPTED = str(Path(__file__).parent / "scripted")
EXTRA = """
[sources.all-fills]
kind = "scripted-fills"
restart_delay = "60s"

[transforms.analytics]
kind = "totals"
input = "all-fills"
every = "200ms"

[sources.liquidations]
kind = "scripted-forced"

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

[sinks.script]
kind = "scripted-script"

[sinks.speaker]
kind = "scripted-speaker"

[sinks.pages]
kind = "pages"
"""
HOUR_MS = 3_600_000


class House(Flowd):
    """The daemon and what the browser said of it."""

    def __init__(self, folder: Path) -> None:
        self.witness = Witness(("WebSocket", "ERR_"))
        super().__init__(folder, None, extra=EXTRA, arguments=["--plugins-dir", SCRIPTED])

    def say(self, *orders: dict[str, object]) -> None:
        """Forced orders."""
        assert ask(self, "/orders/liquidations", list(orders)) == "said"

    def trade(self, notional: str, ago_ms: int = 0) -> None:
        """A taker's fill."""
        time_ms = int(time.time() * 1000) - ago_ms
        fill = {"taker": True, "role": None, "symbol": "ETH", "notional": notional}
        assert ask(self, "/say/all-fills", [{**fill, "time_ms": time_ms}]) == "said"

    def open(self, page: Page, query: str = "") -> Page:
        """Open the page, and wait until it is live."""
        self.witness.watch(page).goto(f"http://127.0.0.1:{self.port}/analytics{query}")
        page.wait_for_selector("#connection[data-status=connected]")
        return page


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    with House(tmp_path / "flowd") as house:
        begin(house)
        yield house
        house.witness.conclude(house)


def rows(page: Page, name: str) -> list[list[str]]:
    """What stands in a table, row by row."""
    found: list[list[str]] = page.locator(f"#{name} tbody tr:not(.ghost):not(.spare)").evaluate_all(
        "rows => rows.map((row) => [...row.children].map((cell) => cell.textContent))"
    )
    return found


def until_rows(page: Page, name: str, good: Callable[[list[list[str]]], Any]) -> list[list[str]]:
    """Wait until the rows of a table are good; those."""
    return until(  # type: ignore[no-any-return]
        lambda: (found := rows(page, name)) and good(found) and found, f"the rows of #{name}"
    )


def test_one_control_of_time_drives_all_there_is(page: Page, house: House) -> None:
    house.trade("1000")
    house.trade("5000", ago_ms=2 * HOUR_MS)
    house.say({"notional": "700"}, {"notional": "900", "ago_ms": 2 * HOUR_MS})
    house.open(page)
    until(lambda: page.inner_text("#fact-volume") == "$1K", "an hour")
    assert page.inner_text("#counted-trades") == "each trade once"
    assert page.inner_text("#counted-liquidations").startswith("each order or fill once")
    until_rows(page, "largest", lambda found: [row[3] for row in found] == ["$700.00"])

    page.click("#window [data-value='4h']")

    until(lambda: page.inner_text("#fact-volume") == "$6K", "four hours")
    until_rows(page, "largest", lambda found: [row[3] for row in found] == ["$900.00", "$700.00"])
    until(lambda: "last 4h" in page.inner_text("#volume-legend"), "the bars span it too")
    labels = "[...document.querySelectorAll('[role=radiogroup]')].map((group) => group.id)"
    assert page.evaluate(labels) == ["window", "side", "heat-day"]
    assert page.url.endswith("?window=4h")


def test_symbols_have_all_windows_side_by_side_and_are_sorted_by_any(
    page: Page, house: House
) -> None:
    house.say(
        {"symbol": "A", "notional": "100", "side": "BUY"},
        {"symbol": "A", "notional": "800", "ago_ms": 2 * HOUR_MS},
        {"symbol": "B", "notional": "300"},
    )
    house.open(page)
    until_rows(page, "windows", lambda found: [row[0] for row in found] == ["B", "A"])

    page.click("#windows th[data-sort='4h'] button")

    found = until_rows(page, "windows", lambda found: found[0][0] == "A")
    assert found[0][1:5] == ["≥$100.00", "≥$900.00", "≥$900.00", "≥$900.00"]
    page.click("#side [data-value='buy']")
    found = until_rows(page, "windows", lambda found: found[0][1:3] == ["≥$100.00", "≥$100.00"])
    assert found[1][1] == "≥$0.00", "of B only a long was liquidated"
    assert "lower bound" not in page.inner_text("#windows-words")
    assert "Binance tells only some" in page.inner_text("#windows-words")


def test_a_venue_is_chosen_by_name(page: Page, house: House) -> None:
    house.say(
        {"symbol": "A", "notional": "100"},
        {"symbol": "B", "notional": "40", "venue": "hyperliquid"},
    )
    house.open(page)
    until_rows(page, "windows", lambda found: found[0][:2] == ["A", "≥$100.00"])

    page.select_option("#windows-venue", "hyperliquid")

    until_rows(page, "windows", lambda found: found[0][:2] == ["B", "$40.00"])
    words = page.inner_text("#windows-words")
    assert words.startswith("Hyperliquid since ")
    assert "Binance" not in words, "what another tells in part says nothing of this"


def test_sums_of_several_venues_name_them_and_can_be_taken_apart(page: Page, house: House) -> None:
    house.say(
        {"symbol": "BTCUSDT", "notional": "100"},
        {"symbol": "BTCUSDT", "notional": "900", "venue": "bybit"},
        {"symbol": "BTC", "notional": "40", "venue": "hyperliquid"},
    )
    house.open(page)

    until(lambda: page.inner_text("#fact-liquidated") == "≥≈$1.04K", "all venues in one sum")
    assert page.inner_text("#since-liquidated").startswith("Binance, Bybit, Hyperliquid")
    largest = until_rows(page, "largest", lambda found: len(found) == 3)
    assert [row[3] for row in largest] == ["≈$900.00", "$100.00", "$40.00"]
    assert [row[4].split()[0] for row in largest] == ["Bybit", "Binance", "Hyperliquid"]
    heat = until_rows(page, "heat", lambda found: len(found) == 2)
    assert [(row[0], row[-1]) for row in heat] == [("BTCUSDT", "$1K"), ("BTCHyperliquid", "$40.00")]
    words = page.inner_text("#heat-words")
    assert words.startswith("Binance since ")
    assert "at least this" in words
    assert "about this" in words

    page.select_option("#heat-venue", "bybit")

    until_rows(
        page, "heat", lambda found: [(row[0], row[-1]) for row in found] == [("BTCUSDT", "$900.00")]
    )
    assert page.inner_text("#heat-words").startswith("Bybit since ")
    assert "at least this" not in page.inner_text("#heat-words")


def test_sums_without_a_venue_are_said_beside_those_of_venues(page: Page, house: House) -> None:
    house.say({"notional": "100"}, {"notional": "40", "venue": ""})
    house.open(page)

    words = "$40.00 of the last 24h was filled in without venues, and is in no venue's sum."
    until(lambda: words in page.inner_text("#windows-words"), "what no venue has")


def test_an_outage_is_marked_and_sums_are_not_called_exact_after_it(
    page: Page, house: House
) -> None:
    house.trade("1000", ago_ms=HOUR_MS + 120_000)
    house.trade("1000")
    house.open(page)
    until(lambda: page.inner_text("#coins-error") == "These sums are exact.", "nothing is missing")

    assert ask(house, "/away/all-fills/300000", []) == "said"

    until(lambda: "5 min of it are missing" in page.inner_text("#coins-error"), "the word is back")
    assert "exact" not in page.inner_text("#coins-error")
    assert "but for 5 min" in page.inner_text("#since-volume")
    assert "not known for 5 min" in page.inner_text("#volume-legend")


def test_what_was_before_the_daemon_is_not_called_nothing(page: Page, house: House) -> None:
    house.trade("1000")
    house.say({"notional": "700"})
    house.open(page)

    until(lambda: page.inner_text("#coins-error").startswith("Known since "), "the ranking")
    assert page.inner_text("#since-volume").startswith("since ")
    until(lambda: "not known for" in page.inner_text("#volume-legend"), "the bars")
    page.focus("#volume")
    page.keyboard.press("Home")
    until(lambda: "not known for 1 min" in page.inner_text("#volume-spoken"), "read out")


def test_the_heat_map_has_sides_and_the_day_before(page: Page, house: House) -> None:
    house.say(
        {"symbol": "A", "notional": "100", "side": "BUY"},
        {"symbol": "B", "notional": "300"},
        {"symbol": "C", "notional": "500", "ago_ms": 30 * HOUR_MS},
    )
    house.open(page)
    until_rows(page, "heat", lambda found: [row[0] for row in found] == ["B", "A"])
    date = time.strftime("%d %b", time.gmtime(time.time())).lstrip("0")
    assert date in page.inner_text("#heat thead") or time.gmtime().tm_hour == 23

    page.click("#side [data-value='buy']")
    until_rows(page, "heat", lambda found: [row[0] for row in found] == ["A"])
    page.click("#side [data-value='both']")
    page.click("#heat-day [data-value='1']")

    until_rows(page, "heat", lambda found: [row[0] for row in found] == ["C"])


def test_on_a_phone_nothing_is_wider_than_the_screen(browser: Browser, house: House) -> None:
    house.say({"symbol": "A", "notional": "100"})
    context = browser.new_context(viewport=PHONE, color_scheme="light")
    page = house.open(context.new_page())
    until_rows(page, "windows", bool)

    assert page.evaluate("document.documentElement.scrollWidth") == 390
    context.close()
