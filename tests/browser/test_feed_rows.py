"""The rows of the feeds in a real browser: what is one of them, which columns they have, their
order, their weight and their sound.
"""

import time
from typing import Any

import pytest
from playwright.sync_api import Browser, Page

from tests.browser.kit import DESKTOP, PHONE, shows, until
from tests.browser.test_feeds import ADDRESS, HASH, Feeds, Make, cells, make, page, site

__all__ = ["make", "page", "site"]
pytestmark = [pytest.mark.browser, pytest.mark.timeout(240)]

OTHER = "0x" + "ef" * 20
SEVEN = [
    {"price": price, "quantity": size, "notional": value, "hash": HASH, "pnl": "-10"}
    | {"role": "liquidated", "liquidated_user": ADDRESS, "method": "market", "mark_price": "3190"}
    for price, size, value in [("3187.25", "100", "318725")] * 6 + [("3180", "100", "318000")]
]


def forced(symbol: str, side: str, value: str, time_ms: int, **more: object) -> dict[str, object]:
    """A forced order as Binance tells it."""
    given = {"symbol": symbol, "side": side, "price": "100", "quantity": "1", "notional": value}
    return {**given, "time_ms": time_ms, "id": f"{symbol}{time_ms}", **more}


def sources(make: Make, *kinds: tuple[str, str]) -> Feeds:
    """A daemon that has only these sources."""
    return make(
        (), "\n".join(f'[sources.{name}]\nkind = "scripted-{kind}"' for name, kind in kinds)
    )


def heads(page: Page) -> str:
    """The names of the columns."""
    return " ".join(page.locator("#head .cell").all_inner_texts())


def rows(page: Page, column: str) -> list[str]:
    """What stands in a column, from the top."""
    found: list[str] = page.evaluate(
        """(column) => [...document.querySelectorAll('#rows .line:not(.spare)')]
            .sort((a, b) => a.ariaRowIndex - b.ariaRowIndex)
            .map((line) => line.querySelector(`.cell.${column}`).textContent)""",
        column,
    )
    return found


# -- one order is one row


def test_one_liquidation_is_one_row_which_opens_to_its_fills(page: Page, site: Feeds) -> None:
    site.say(*SEVEN, name="liquidations")
    site.open(page, "/liquidations")

    until(lambda: page.locator("#row-count").inner_text() == "1", "one row")
    row = cells(page)
    assert (row["side"], row["value"], row["fills"]) == (
        "Long liquidated",
        "$2,230,350.00",
        "7 fills ▸",
    )
    assert (row["price"], row["size"]) == ("≈ 3,186.21", "700")
    assert (row["markprice"], row["method"]) == ("3,190", "market")
    assert row["pnl"].endswith("$70.00")
    line = page.locator("#rows .line[aria-rowindex='2']")
    assert line.get_attribute("aria-expanded") == "false"

    line.locator(".value").click()
    until(lambda: len(rows(page, "value")) == 8, "its fills")
    assert rows(page, "value")[1:3] == ["$318,000.00", "$318,725.00"]
    assert page.locator("#rows .part").first.get_attribute("aria-level") == "2"
    assert page.locator("#row-count").inner_text() == "1", "its fills are no rows of their own"
    line.locator(".value").click()
    until(lambda: len(rows(page, "value")) == 1, "closed")


def test_a_row_opens_and_closes_by_the_arrows(page: Page, site: Feeds) -> None:
    site.say(*SEVEN, {"symbol": "BTC"}, name="liquidations")
    site.open(page, "/liquidations")
    until(lambda: len(rows(page, "value")) == 2, "both rows")

    page.focus("#grid")
    for key in ("ArrowDown", "ArrowDown", "ArrowRight"):
        page.keyboard.press(key)
    until(lambda: len(rows(page, "value")) == 9, "open")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowLeft")
    until(lambda: len(rows(page, "value")) == 2, "closed from within")
    shows(page, "document.querySelector('#rows .active').getAttribute('aria-rowindex') === '3'")


def test_a_fill_that_comes_later_joins_its_row(page: Page, site: Feeds) -> None:
    site.say(SEVEN[0], name="liquidations")
    site.open(page, "/liquidations")
    until(lambda: rows(page, "value") == ["$318,725.00"], "the first fill")

    site.say(SEVEN[1], name="liquidations")

    until(lambda: rows(page, "value") == ["$637,450.00"], "both in one row")
    assert cells(page)["fills"] == "2 fills ▸", "the column came with the first row that needs it"


# -- columns that fit


def test_a_feed_of_forced_orders_has_totals_order_and_no_column_of_dashes(
    page: Page, make: Make
) -> None:
    site = sources(make, ("force-orders", "liquidations"))
    now = int(time.time() * 1000)
    orders = [
        forced("BTCUSDT", "SELL", "1000", now - 1000),
        forced("ETHUSDT", "BUY", "500.5", now),
        forced("SOLUSDT", "SELL", "2", now - 2000),
    ]
    assert site.ask("/forced/force-orders", orders) == "said"

    site.open(page, "/liquidations")

    until(lambda: len(rows(page, "coin")) == 3, "all rows")
    assert heads(page) == "Time▼ Coin What Price Size Value Venue"
    assert rows(page, "coin") == ["ETHUSDT", "BTCUSDT", "SOLUSDT"], "by time, not as they came"
    assert page.locator("#total-volume").inner_text() == "≥ $1.5K"
    assert page.locator("#total-count").inner_text() == "≥ 3"
    assert page.locator("#total-since").inner_text().startswith("since ")
    assert page.locator("#doubt").inner_text() == "lower bound"
    assert "at least this" in page.locator("#doubt-why").inner_text(), "not only on hover"
    late = forced("XRPUSDT", "SELL", "3", now - 1500)
    site.ask("/forced/force-orders", [late])
    until(lambda: rows(page, "coin")[2:3] == ["XRPUSDT"], "what comes late is where it belongs")


def test_the_venues_of_liquidations_are_in_one_view(page: Page, make: Make) -> None:
    site = sources(make, ("binance", "liquidations"), ("bybit", "liquidations"))
    now = int(time.time() * 1000)
    site.ask("/forced/binance", [forced("BTCUSDT", "SELL", "10", now)])
    told = {"venue": "bybit", "price_kind": "bankruptcy", "coverage": "all"}
    site.ask("/forced/bybit", [forced("BTCUSDT", "BUY", "20", now + 1, **told)])

    site.open(page, "/liquidations")

    until(lambda: rows(page, "venue") == ["Bybit", "Binance"], "both")
    assert rows(page, "price") == ["≈ 100", "100"]
    until(lambda: page.locator("#total-volume").inner_text() == "≥≈ $30.00", "their sum")
    assert page.locator("#doubt").inner_text() == "lower bound, approximate"
    page.fill("#filter-text", "byb")
    until(lambda: rows(page, "venue") == ["Bybit"], "by venue")


def test_public_trades_are_fills_too_by_taker_and_maker(page: Page, make: Make) -> None:
    site = sources(make, ("public", "trades"))
    trade = {"symbol": "BTC", "side": "SELL", "price": "64000.5", "quantity": "0.1"}
    trade |= {"notional": "6400.05", "time_ms": int(time.time() * 1000), "venue": "hyperliquid"}
    accounts = [(ADDRESS, OTHER), (OTHER, OTHER)]
    said = [
        {**trade, "id": str(at), "buyer": buyer, "seller": seller}
        for at, (buyer, seller) in enumerate(accounts)
    ]
    assert site.ask("/trades/public", said) == "said"

    site.open(page)

    until(lambda: len(rows(page, "coin")) == 1, "two trades of one taker are one row")
    assert heads(page) == "Time▼ Coin Side Price Size Value Fills Taker Maker Venue"
    row = cells(page)
    assert (row["side"], row["price"], row["size"]) == ("Sell", "64,000.5", "0.2")
    assert (row["trader"], row["maker"], row["fills"]) == ("0xefef…efef", "2 accounts", "2 fills ▸")
    assert page.locator("#total-volume").inner_text() == "$12.8K"
    assert page.locator("#total-count").inner_text() == "2"
    assert page.locator("#filter-role").count() == 0


def test_takers_can_be_told_from_makers(page: Page, site: Feeds) -> None:
    site.say({"symbol": "A", "taker": True}, {"symbol": "B", "taker": False})
    site.open(page)
    until(lambda: rows(page, "role") == ["maker", "taker"], "both")

    page.click("#filter-role [data-value=TAKER]")

    until(lambda: rows(page, "coin") == ["A"], "takers")
    shows(page, "location.search === '?role=taker'")


# -- links, order


def test_a_coin_leads_to_its_chart_and_an_account_to_its_page(page: Page, make: Make) -> None:
    site = make(("all-fills",))
    site.say({"symbol": "kPEPE"}, {"symbol": "xyz:TSLA"})
    site.open(page)
    until(lambda: len(rows(page, "coin")) == 2, "both rows")

    links = page.locator("#rows .coin a[href]").evaluate_all(
        "links => links.map((a) => [a.getAttribute('href'), a.target, a.parentNode.title])"
    )

    assert links == [["/chart/1000PEPEUSDT", "", "Chart of 1000PEPEUSDT"]], "where there is one"


def test_any_column_sorts_by_click_and_by_keyboard(page: Page, site: Feeds) -> None:
    values = [("BTC", "5"), ("SOL", "300"), ("ETH", "20")]
    site.say(*({"symbol": symbol, "notional": value} for symbol, value in values))
    site.open(page)
    until(lambda: rows(page, "coin") == ["ETH", "SOL", "BTC"], "newest first")

    page.click("#head [data-sort=value]")
    until(lambda: rows(page, "coin") == ["SOL", "ETH", "BTC"], "the most first")
    assert page.locator("#head .value").get_attribute("aria-sort") == "descending"
    shows(page, "location.search === '?sort=value'")
    page.keyboard.press("Enter")
    until(lambda: rows(page, "coin") == ["BTC", "ETH", "SOL"], "turned round, by the keyboard")
    site.say({"symbol": "HYPE", "notional": "7"})
    until(lambda: rows(page, "coin") == ["BTC", "HYPE", "ETH", "SOL"], "new rows where they belong")
    page.reload()
    until(lambda: rows(page, "coin") == ["BTC", "HYPE", "ETH", "SOL"], "it stands in the address")
    page.focus("#head [data-sort=time]")
    page.keyboard.press("Enter")
    until(lambda: rows(page, "coin") == ["HYPE", "ETH", "SOL", "BTC"], "the newest first again")


# -- weight, mark and sound


def test_size_has_weight_and_only_the_large_are_marked_when_many_come(
    browser: Browser, site: Feeds
) -> None:
    context = browser.new_context(viewport=DESKTOP, reduced_motion="no-preference")
    page = site.open(context.new_page())
    shows(page, "!document.querySelector('#feed-empty').hidden")

    small: list[dict[str, Any]] = [{"notional": "500"}] * 8
    site.say(*small, {"notional": "150000", "side": "BUY"}, {"notional": "2000000"})

    shows(page, "document.querySelectorAll('#rows .line:not(.spare)').length === 10")
    kinds = page.evaluate(
        """[...document.querySelectorAll('#rows .line:not(.spare)')]
            .sort((a, b) => a.ariaRowIndex - b.ariaRowIndex)
            .map((line) => [...line.classList].filter((name) => /^w|up|down|fresh/.test(name)))"""
    )
    assert [kind[-2:] for kind in kinds[:2]] == [["w4", "down"], ["w3", "up"]]
    assert all("fresh" in kind for kind in kinds[:2])
    assert kinds[2:] == [["w0"]] * 8, "dust is not marked"
    page.fill("#large", "400")
    shows(page, "document.querySelectorAll('#rows .w3').length === 8")
    page.reload()
    shows(page, "document.querySelectorAll('#rows .w3').length === 8")
    assert page.input_value("#large") == "400", "it is kept"
    context.close()


def test_large_rows_can_be_heard_and_are_not_unless_somebody_asks(page: Page, site: Feeds) -> None:
    page.add_init_script("""
        window.tones = [];
        window.AudioContext = class {
            currentTime = 0;
            resume() {}
            close() {}
            createGain() {
                const gain = { setValueAtTime() {}, exponentialRampToValueAtTime() {} };
                return { gain, connect: (next) => next };
            }
            createOscillator() {
                const tone = { frequency: { value: 0 }, connect: (next) => next, stop() {} };
                tone.start = () => window.tones.push(tone.frequency.value);
                return tone;
            }
        };
    """)
    large = {"notional": "100000"}
    site.say(large)
    site.open(page)
    site.say({**large, "side": "BUY"})
    until(lambda: len(rows(page, "coin")) == 2, "both rows")
    assert page.evaluate("tones") == [], "off by default"

    page.click("#sound")
    assert page.locator("#sound").get_attribute("aria-pressed") == "true"
    site.say({"notional": "99999"})
    site.say({**large, "side": "BUY"})
    until(lambda: page.evaluate("tones") == [880], "a buy")
    page.wait_for_timeout(200)
    site.say({**large, "side": "SELL"})
    until(lambda: page.evaluate("tones") == [880, 440], "a sell")


@pytest.mark.parametrize("path", ["/all-fills", "/liquidations"])
def test_on_a_phone_the_first_screen_is_rows(browser: Browser, site: Feeds, path: str) -> None:
    site.say(*SEVEN, *[{}] * 30, name=path[1:])
    context = browser.new_context(viewport=PHONE, has_touch=True, is_mobile=True)
    page = site.open(context.new_page(), path)

    page.wait_for_selector("#rows .line[aria-rowindex='2']")

    box = page.locator("#grid").bounding_box()
    assert box is not None
    assert box["y"] < PHONE["height"] * 0.36, "what is above the rows takes a third at most"
    context.close()


def test_what_the_signs_mean_is_read_without_a_pointer(page: Page, site: Feeds) -> None:
    site.say(*SEVEN, {"symbol": "BTC", "role": "counterparty"}, name="liquidations")
    site.open(page, "/liquidations")
    until(lambda: len(rows(page, "value")) == 2, "both rows")

    page.focus("#signs summary")
    page.keyboard.press("Enter")

    words = page.inner_text("#signs-list")
    assert "↔ behind a side: counterparty: the account that took the position over" in words
    assert "≈ before a price: not what was paid: the average of a" in words
    assert "backstop: taken over by the venue" in words, "there is a column of methods"
    assert "taker" not in words, "there is none of roles"
    shows(page, "grid.getBoundingClientRect().bottom <= signs.getBoundingClientRect().top + 1")


def test_on_a_phone_the_signs_open_by_a_finger_beside_rows(browser: Browser, site: Feeds) -> None:
    site.say(*[{}] * 60, {"method": "market", "role": "liquidated"}, name="liquidations")
    context = browser.new_context(viewport=PHONE, has_touch=True, is_mobile=True)
    page = site.open(context.new_page(), "/liquidations")
    page.wait_for_selector("#rows .line[aria-rowindex='2']")

    page.tap("#signs summary")

    assert page.locator("#signs-list").is_visible()
    box = page.locator("#grid").bounding_box()
    assert box is not None
    assert box["height"] > 200
    assert page.evaluate("document.documentElement.scrollWidth") == PHONE["width"]
    context.close()
