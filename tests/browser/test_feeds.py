"""The pages of fills, liquidations and analytics in a real browser, on a real daemon whose sources
say what a test tells them.

What is shown is compared with what REST answers.
"""

import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from playwright.sync_api import Browser, Page

from tests.browser.kit import DESKTOP, PHONE, Witness, ask, shows, start, stop, until
from tests.edge.process import Flowd, toml

pytestmark = [pytest.mark.browser, pytest.mark.timeout(240)]

SPAN_S = 60 if os.environ.get("CI") == "true" else 15
"""How long the page must hold out under load."""
RATE = 200
ROWS = 5_000
HEAP_GROWTH_MAX = 3_000_000
SOURCES = ("all-fills", "liquidations", "analytics", "liquidation-analytics")
ADDRESS = "0x1234" + "0" * 32 + "abcd"
HASH = "0x9876" + "0" * 56 + "fedc"
PLAIN = {
    **{"symbol": "ETH", "side": "SELL", "price": "3187.25", "quantity": "2", "notional": "6374.5"},
    **{"time_ms": 1_700_000_001_000, "address": ADDRESS, "dir": "Close Long", "pnl": "-12.5"},
    **{"fee": "0.255", "fee_token": "USDC"},
}
"""Without a transaction: each has one of its own, else they would be one row."""
IDS = """
    Array.from({length: flowdFeed.feed.size}, (_, at) => flowdFeed.feed.at(at))
        .flatMap((row) => row.missed ? [undefined] : row.fills.map(({id}) => id).reverse())
"""
HOSTILE = "<img src=x onerror=pwned()>"
HOUR_MS = 3_600_000
MINUS = "\N{MINUS SIGN}"


class Feeds(Flowd):
    """A daemon whose sources are scripted, all or some of them."""

    def __init__(self, folder: Path, names: tuple[str, ...], extra: str) -> None:
        self.names = names
        self.witness = Witness(("WebSocket", "ERR_"))
        plugins = Path(__file__).parent / "scripted"
        super().__init__(folder, "", extra=extra, arguments=["--plugins-dir", str(plugins)])

    def write(self) -> None:
        """Write the configuration as it is now."""
        lines = ["[flowd]", *(f"{key} = {toml(value)}" for key, value in self.settings.items())]
        for name in self.names:
            kind = "scripted-sums" if "analytics" in name else "scripted-fills"
            lines += [f"[sources.{name}]", f'kind = "{kind}"', 'restart_delay = "60s"']
        kinds = {"script": "scripted-script", "http": "http", "websocket": "websocket"}
        for name, kind in kinds.items():
            lines += [f"[sinks.{name}]", f'kind = "{kind}"']
        lines += ["[sinks.pages]", 'kind = "pages"']
        self.config.write_text("\n".join([*lines, self.extra, ""]))

    def begin(self) -> None:
        """Start it, on the port that it had before if it had one."""
        start(self)
        until(lambda: self.ask("/health")["status"] == "ok", "all sources deliver")

    def end(self) -> None:
        """Stop it in order."""
        stop(self)

    def ask(self, path: str, body: object = None) -> Any:
        """What it answers: JSON, or the text."""
        return ask(self, path, body)

    def say(self, *fills: dict[str, object], name: str = "all-fills") -> None:
        """Fills that differ from the plain one in this."""
        assert self.ask(f"/say/{name}", [{**PLAIN, **fill} for fill in fills]) == "said"

    def many(self, count: int, name: str = "all-fills") -> None:
        """So many made-up fills."""
        assert self.ask(f"/many/{name}/{count}", []) == "said"

    def sums(self, name: str = "analytics", **said: object) -> None:
        """Rankings, minutes, hours, or the largest."""
        assert self.ask(f"/sum/{name}", said) == "said"

    def ids(self, name: str = "all-fills") -> list[str]:
        """The ids of a stream, newest first, by REST."""
        records = self.ask(f"/streams/{name}?limit={ROWS}")["records"]
        return [record["value"]["id"] for record in reversed(records)]

    def open(self, page: Page, path: str = "/all-fills") -> Page:
        """Open a page, and wait until it is live."""
        self.witness.watch(page).goto(f"http://127.0.0.1:{self.port}{path}")
        page.wait_for_selector("#connection[data-status=connected]")
        return page


def cells(page: Page, index: int = 0) -> dict[str, str]:
    """What is written in a row, by column."""
    row = page.locator(f"#rows .line[aria-rowindex='{index + 2}'] .cell:not(.note)")
    found: list[list[str]] = row.evaluate_all(
        "cells => cells.map((cell) => [cell.classList[1], cell.textContent])"
    )
    return {name: text for name, text in found}


SEEN = """
    [...document.querySelectorAll('#rows .line:not(.spare)')].every((line) => {
        const { value } = flowdFeed.feed.at(line.getAttribute('aria-rowindex') - 2);
        return line.querySelector('.coin').textContent === value.symbol
            && line.querySelector('.trader').title === value.address;
    })
"""
"""Whether each element shows the row whose place it has."""


def until_ids(page: Page, site: Feeds, name: str = "all-fills") -> list[str]:
    """Wait until the page has exactly the rows that REST has."""
    found: list[str] = until(
        lambda: (ids := page.evaluate(IDS)) == site.ids(name) and ids, "the page has what REST has"
    )
    assert len(set(found)) == len(found)
    return found


@pytest.fixture
def page(page: Page) -> Page:
    """A page that notices when a text becomes a script."""
    page.context.add_init_script("window.pwned = () => { window.wasPwned = true; }")
    return page


Make = Callable[..., Feeds]


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    """Makes the daemon of a test, and sees at the end that the browser complained of nothing."""
    sites: list[Feeds] = []

    def made(names: tuple[str, ...] = SOURCES, extra: str = "") -> Feeds:
        site = Feeds(tmp_path / "site", names, extra)
        sites.append(site)
        site.begin()
        return site

    yield made
    for site in sites:
        site.witness.conclude(site)


@pytest.fixture
def site(make: Make) -> Feeds:
    """A daemon that has everything, and has heard nothing yet."""
    return make()


# -- rows


def test_a_fill_is_a_row_in_the_forms_of_the_specification(page: Page, site: Feeds) -> None:
    site.say(
        {"price": "0.0234567", "quantity": "100.00005", "notional": "1234567.891", "taker": True}
    )

    site.open(page)

    shows(page, "document.querySelectorAll('#rows .line').length === 1")
    assert cells(page) == {
        **{"time": "14 Nov 22:13", "coin": "ETH", "side": "Sell", "role": "taker"},
        **{"dir": "Close Long"},
        **{"price": "0.0234567", "size": "100.00005", "value": "$1,234,567.89"},
        **{"pnl": f"{MINUS}$12.50", "fee": "$0.26", "trader": "0x1234…abcd"},
    }
    head = page.locator("#head").inner_text().split("\n")
    assert " ".join(head) == "Time▼ Coin Side As Action Price Size Value PnL Fee Trader"
    assert "sell" in (page.locator("#rows .cell.pnl").get_attribute("class") or "").split()


def test_a_liquidation_has_its_wallet_and_its_transaction(page: Page, site: Feeds) -> None:
    forced = {"role": "liquidated", "liquidated_user": ADDRESS, "pnl": "0", "method": "market"}
    forced["hash"] = HASH
    other = {"role": "counterparty", "liquidated_user": ADDRESS, "side": "BUY"}
    site.say(other, {**forced, "hash": "0x" + "0" * 64}, forced, name="liquidations")

    site.open(page, "/liquidations")

    shows(page, "document.querySelectorAll('#rows .line').length === 3")
    head = page.locator("#head").inner_text().split("\n")
    assert " ".join(head) == "Time▼ Coin What Price Size Value Method PnL Fee Wallet Tx Hash"
    assert [cells(page)[name] for name in ("pnl", "trader", "hash")] == [
        *("\N{EN DASH}", "0x1234…abcd", "0x9876…fedc")
    ]
    assert cells(page, 1)["hash"] == "\N{EN DASH}"
    assert cells(page)["side"] == "Long liquidated"
    assert cells(page, 2)["side"] == "Took over long ↔", "the other side of a liquidation is marked"


def test_new_rows_come_on_top_and_are_marked_for_a_second(browser: Browser, site: Feeds) -> None:
    context = browser.new_context(viewport=DESKTOP, reduced_motion="no-preference")
    page = site.open(context.new_page())
    shows(page, "flowdFeed.feed.newestMs === null && !document.querySelector('#feed-empty').hidden")
    assert "No fill yet" in page.locator("#feed-empty").inner_text()

    site.say({"symbol": "OLD"}, {"symbol": "NEW"})

    shows(page, "document.querySelectorAll('#rows .line.fresh').length === 2")
    assert (cells(page)["coin"], cells(page, 1)["coin"]) == ("NEW", "OLD")
    assert "fresh-row" in page.evaluate(
        "getComputedStyle(document.querySelector('#rows .line')).animationName"
    )
    page.reload()
    shows(page, "document.querySelectorAll('#rows .line').length === 2")
    assert page.locator("#rows .line.fresh").count() == 0, "what was there before is not new"
    context.close()


def test_who_wants_no_motion_gets_none(page: Page, site: Feeds) -> None:
    site.open(page)
    site.say({})

    shows(page, "document.querySelectorAll('#rows .line.fresh').length === 1")
    assert (
        page.evaluate("getComputedStyle(document.querySelector('#rows .line')).animationName")
        == "none"
    )


def test_the_volume_counts_each_trade_once_and_says_since_when(page: Page, site: Feeds) -> None:
    taken = {"taker": True}
    site.say({"notional": "1000000", **taken}, {"notional": "234567.5", **taken}, {"taker": False})
    site.open(page)

    until(lambda: page.locator("#total-volume").inner_text() == "$1.23M", "the volume")
    assert page.locator("#total-volume").get_attribute("title") == "$1,234,567.50"
    site.say({"notional": "0.5", **taken})
    until(lambda: page.locator("#total-count").inner_text() == "3", "each trade once")
    until(lambda: page.locator("#row-count").inner_text() == "4", "the rows")
    assert page.locator("#total-since").inner_text().startswith("since 14 Nov 2023 22:13")
    assert "each trade once" in page.locator(".feed-facts").inner_text()


def test_the_age_is_in_seconds_and_then_late(page: Page, site: Feeds) -> None:
    site.open(page)
    site.say({})
    until(lambda: page.locator("#age").inner_text() in ("0 s ago", "1 s ago"), "just now")

    until(lambda: page.locator("#age.late").count() == 1, "late")

    assert page.locator("#age").inner_text().endswith(" s ago")
    assert int(page.locator("#age").inner_text().split()[0]) >= 5


def test_everything_comes_over_one_websocket_and_nothing_is_polled(page: Page, site: Feeds) -> None:
    asked: list[str] = []
    site.open(page)
    page.on("request", lambda request: asked.append(request.url))

    site.say({})
    shows(page, "document.querySelectorAll('#rows .line').length === 1")
    site.say({})
    shows(page, "document.querySelectorAll('#rows .line').length === 2")

    assert len(site.witness.sockets) == 1
    assert asked == []


# -- filters


def test_filters_hold_together_and_live_in_the_address(page: Page, site: Feeds) -> None:
    site.say(
        {"symbol": "BTC", "notional": "50000", "side": "BUY"},
        {"symbol": "ETH", "notional": "9999.99", "side": "SELL"},
        {"symbol": "ETH", "notional": "10000", "side": "SELL"},
        {"symbol": "ETH", "notional": "20000", "side": "BUY"},
    )
    site.open(page)
    count = page.locator("#row-count")
    until(lambda: count.inner_text() == "4", "all rows")

    page.fill("#filter-text", "eT")
    until(lambda: count.inner_text() == "3 of 4", "by coin")
    page.fill("#filter-least", "10k")
    until(lambda: count.inner_text() == "2 of 4", "by value")
    page.click("#filter-side [data-value=SELL]")
    until(lambda: count.inner_text() == "1 of 4", "by side")
    assert cells(page)["value"] == "$10,000.00"
    shows(page, "location.search === '?q=eT&min=10k&side=SELL'")
    assert page.evaluate("history.length") <= 2, "filters make no history"

    page.reload()
    until(lambda: count.inner_text() == "1 of 4", "the same after loading again")
    assert page.input_value("#filter-text") == "eT"
    site.say({"symbol": "ETH", "notional": "1"}, {"symbol": "ETH", "notional": "30000"})
    until(lambda: count.inner_text() == "2 of 6", "new rows are filtered too")
    page.fill("#filter-text", ADDRESS[-4:].upper())
    until(lambda: count.inner_text() == "2 of 6", "by address")
    page.click("#filter-reset")
    until(lambda: count.inner_text() == "6", "all rows again")
    shows(page, "location.search === ''")


def test_when_nothing_matches_the_page_says_so_and_offers_to_clear(page: Page, site: Feeds) -> None:
    site.say({})
    site.open(page, "/all-fills?q=nobody")

    page.wait_for_selector("#feed-empty:not([hidden]) button")
    assert "None of the 1 fills" in page.locator("#feed-empty").inner_text()
    page.click("#feed-empty button")

    shows(page, "document.querySelectorAll('#rows .line:not(.spare)').length === 1")
    assert page.locator("#feed-empty").is_hidden()


def test_what_is_no_amount_is_said_to_be_none_and_changes_nothing(page: Page, site: Feeds) -> None:
    site.say({})
    site.open(page)

    page.fill("#filter-least", "10k")
    until(lambda: page.locator("#row-count").inner_text() == "0 of 1", "filtered")
    page.fill("#filter-least", "much")

    assert page.locator("#filter-least").get_attribute("aria-invalid") == "true"
    said = page.locator("#least-why").inner_text()
    assert "is no amount: write 10000 or 10k" in said
    assert "Still from $10k" in said, "the filter is not dropped in silence"
    assert page.locator("#row-count").inner_text() == "0 of 1"
    shows(page, "location.search === '?min=10k'")
    page.fill("#filter-least", "5k")
    until(lambda: page.locator("#row-count").inner_text() == "1", "the row")
    assert page.locator("#least-why").is_hidden()

    site.open(page, "/all-fills?min=much")
    assert "is no amount" in page.locator("#least-why").inner_text()


# -- links


def test_addresses_and_transactions_lead_to_the_explorer(page: Page, site: Feeds) -> None:
    site.say({"address": "not an address", "hash": "0x12"}, {"hash": HASH}, name="liquidations")

    site.open(page, "/liquidations")

    shows(page, "document.querySelectorAll('#rows .line').length === 2")
    links = page.locator("#rows :is(.trader, .hash) a[href]").evaluate_all(
        "links => links.map((link) => [link.href, link.target, link.rel])"
    )
    assert links == [
        [f"https://www.flowscan.xyz/{place}", "_blank", "noopener noreferrer"]
        for place in (f"address/{ADDRESS}", f"tx/{HASH}")
    ]
    assert cells(page, 1)["trader"] == "not an…ress"


@pytest.mark.parametrize("field", ["symbol", "dir", "hash", "address", "fee_token", "side_words"])
def test_what_an_upstream_says_is_text(page: Page, site: Feeds, field: str) -> None:
    hostile = {field: HOSTILE} if field != "side_words" else {"symbol": "javascript:pwned()"}
    name = "liquidations" if field == "hash" else "all-fills"
    site.say(hostile, {"address": f"javascript:pwned()//{ADDRESS}"}, name=name)

    site.open(page, f"/{name}")

    shows(page, "document.querySelectorAll('#rows .line').length === 2")
    assert page.locator("#rows img, #rows script").count() == 0
    assert page.locator("#rows a[href^=javascript]").count() == 0
    assert page.evaluate("window.wasPwned") is None
    if field in ("symbol", "dir"):
        assert HOSTILE in cells(page, 1).values()


def test_a_hostile_address_of_the_page_is_only_text(page: Page, site: Feeds) -> None:
    site.say({})

    site.open(page, f"/all-fills?q={quote(HOSTILE)}&min={quote(HOSTILE)}&side={quote(HOSTILE)}")

    page.wait_for_selector("#feed-empty:not([hidden])")
    assert page.input_value("#filter-text") == HOSTILE
    assert page.locator("main img").count() == 0
    assert page.evaluate("window.wasPwned") is None


# -- keyboard, and holding still


def test_p_and_space_hold_the_table_still(page: Page, site: Feeds) -> None:
    site.say({"symbol": "ONE"})
    site.open(page)
    shows(page, "document.querySelectorAll('#rows .line').length === 1")

    page.keyboard.press("p")
    site.say({"symbol": "TWO"}, {"symbol": "THREE"})

    until(lambda: page.locator("#waiting").inner_text() == "2 new rows ↑", "the notice")
    assert cells(page)["coin"] == "ONE"
    assert page.locator("#pause").get_attribute("aria-pressed") == "true"
    page.keyboard.press("Space")
    shows(page, "document.querySelectorAll('#rows .line').length === 3")
    assert cells(page)["coin"] == "THREE"
    assert page.locator("#pause").get_attribute("aria-pressed") == "false"
    page.focus("#filter-text")
    page.keyboard.type("p p")
    assert page.locator("#pause").get_attribute("aria-pressed") == "false", "typing is typing"


def test_the_pointer_over_the_table_holds_it_still(page: Page, site: Feeds) -> None:
    site.say({"symbol": "ONE"})
    site.open(page)
    shows(page, "document.querySelectorAll('#rows .line').length === 1")

    page.mouse.move(300, 500)
    site.say({"symbol": "TWO"})

    until(lambda: page.locator("#waiting").inner_text() == "1 new row ↑", "the notice")
    assert page.locator("#pause-why").inner_text() == "Paused under the pointer"
    assert cells(page)["coin"] == "ONE"
    page.mouse.move(300, 10)
    shows(page, "document.querySelectorAll('#rows .line').length === 2")


def test_who_reads_older_rows_is_not_moved(page: Page, site: Feeds) -> None:
    site.many(300)
    site.open(page)
    until(lambda: page.locator("#row-count").inner_text() == "300", "all rows")

    page.evaluate("document.querySelector('#grid').scrollTop = 2400")
    shows(page, "document.querySelector('#pause').getAttribute('aria-pressed') === 'true'")
    before = cells(page, 105)
    site.many(40)
    until(lambda: page.locator("#waiting").inner_text() == "40 new rows ↑", "the notice")

    assert cells(page, 105) == before
    page.click("#waiting")
    until(lambda: page.locator("#row-count").inner_text() == "340", "all rows")
    assert page.evaluate("document.querySelector('#grid').scrollTop") == 0
    until_ids(page, site)
    for top in (5_000, 4_900, 300, 7_000, 0):
        page.evaluate("(top) => { document.querySelector('#grid').scrollTop = top; }", top)
        page.wait_for_timeout(100)
        assert page.evaluate(SEEN), f"scrolled to {top}"


def test_rows_are_chosen_and_opened_with_the_keyboard_alone(page: Page, site: Feeds) -> None:
    site.many(300)
    site.open(page)
    until(lambda: page.locator("#row-count").inner_text() == "300", "all rows")
    grid = page.locator("#grid")
    chosen: Callable[[], int] = lambda: int(  # noqa: E731
        page.evaluate(
            "Number(document.getElementById(document.querySelector('#grid')"
            ".getAttribute('aria-activedescendant'))?.getAttribute('aria-rowindex') ?? 0)"
        )
    )
    assert grid.get_attribute("aria-rowcount") == "301"

    grid.focus()
    for key, wanted in (("ArrowDown", 2), ("ArrowDown", 3), ("ArrowUp", 2), ("End", 301)):
        page.keyboard.press(key)
        until(lambda wanted=wanted: chosen() == wanted, f"{key}: row {wanted}")
    page.keyboard.press("PageUp")
    until(lambda: 250 < chosen() < 300, "a page up")
    page.keyboard.press("Home")
    until(lambda: chosen() == 2, "the first row")
    site.many(1)
    until(lambda: page.locator("#waiting").inner_text() == "1 new row ↑", "it is held still")
    page.context.route("https://www.flowscan.xyz/**", lambda route: route.fulfill(body="there"))
    with page.context.expect_page() as opened:
        page.keyboard.press("Enter")
    assert opened.value.url.startswith("https://www.flowscan.xyz/address/0x")
    opened.value.close()
    page.keyboard.press("Escape")
    until(lambda: page.locator("#row-count").inner_text() == "301", "it goes on")


# -- connections


def test_offline_and_live_again_without_a_missing_or_repeated_row(page: Page, site: Feeds) -> None:
    site.many(120)
    site.open(page)
    until_ids(page, site)

    site.end()
    until(lambda: page.locator("#connection").inner_text() == "Offline", "offline")
    until(lambda: page.locator("#offline").is_visible(), "the banner")
    assert page.evaluate("flowdFeed.feed.size") == 120, "what was known stays to be seen"

    site.begin()
    site.many(30)
    page.wait_for_selector("#connection[data-status=connected]", timeout=40_000)
    until(lambda: page.locator("#connection").inner_text() == "Live", "live again")
    assert len(until_ids(page, site)) == 150
    site.many(30)
    assert len(until_ids(page, site)) == 180
    assert page.locator("#rows .hole").count() == 0


def test_a_source_that_fails_is_offline_though_we_are_connected(page: Page, site: Feeds) -> None:
    site.open(page)
    until(lambda: page.locator("#connection").inner_text() == "Live", "live")

    site.ask("/break/all-fills", [])

    until(lambda: page.locator("#connection").inner_text() == "Source down", "the one lamp")
    assert "the test pulled the plug" in page.locator("#silent").inner_text()
    assert page.locator("[data-status=connected], .pulse").count() == 0, "no other says live"


def test_what_was_missed_is_a_row_that_says_how_much(page: Page, make: Make) -> None:
    site = make((), "fills = 'few'\n[sources.few]\nkind = 'scripted-fills'\nretain = 50")
    site.many(20, "few")
    site.open(page)
    until(lambda: page.locator("#row-count").inner_text() == "20", "all rows")

    page.context.set_offline(True)
    site.end()
    site.begin()
    site.many(130, "few")
    page.context.set_offline(False)

    until(lambda: page.locator("#row-count").inner_text() == "70", "all that there is")
    hole = page.locator("#rows .hole")
    page.evaluate("document.querySelector('#grid').scrollTop = 800")
    until(lambda: hole.count() == 1, "the row")
    assert hole.inner_text() == "80 rows were missed here"
    assert "80 rows were missed" in page.locator("#notice").inner_text()


def test_after_a_crash_the_rows_go_on(page: Page, site: Feeds) -> None:
    site.many(40)
    site.open(page)
    until_ids(page, site)
    assert site.process is not None

    site.process.kill()
    site.process.wait(10)
    site.begin()
    site.many(5)

    until_ids(page, site)
    assert "lost its past" not in page.locator("#notice").inner_text()


def test_a_stream_that_is_not_there_says_what_to_configure(page: Page, make: Make) -> None:
    site = make(("other",))

    site.open(page, "/liquidations")

    page.wait_for_selector("#feed-empty:not([hidden]) pre")
    lines = page.locator("#feed-empty pre").inner_text()
    assert "[sources.liquidations]" in lines
    assert 'kind = "binance-force-order"' in lines, "what needs no key"
    assert "api_key" not in lines
    assert "other" in page.locator("#feed-empty").inner_text()


def test_a_feed_may_have_another_name(page: Page, make: Make) -> None:
    site = make(("other",), 'fills = "other"')
    site.many(3, "other")

    site.open(page)

    until_ids(page, site, "other")


# -- how it holds out


def test_five_thousand_rows_at_two_hundred_a_second(browser: Browser, site: Feeds) -> None:
    context = browser.new_context(viewport=DESKTOP, reduced_motion="no-preference")
    site.many(ROWS)
    page = site.open(context.new_page())
    until(lambda: page.evaluate("flowdFeed.feed.fills") == ROWS, "all rows")
    session = page.context.new_cdp_session(page)
    session.send("HeapProfiler.enable")

    def heap() -> int:
        session.send("HeapProfiler.collectGarbage")
        return int(session.send("Runtime.getHeapUsage")["usedSize"])

    site.ask(f"/rate/{RATE}", [])
    page.wait_for_timeout(3_000)
    before, elements = heap(), page.evaluate("document.querySelectorAll('*').length")
    told = page.evaluate(
        """(span) => new Promise((resolve) => {
            const start = performance.now();
            const { records, frames: drawn } = flowdFeed;
            let frames = 0;
            const tick = (now) => {
                frames++;
                if (now - start < span) requestAnimationFrame(tick);
                else resolve({
                    frames,
                    ms: now - start,
                    records: flowdFeed.records - records,
                    drawn: flowdFeed.frames - drawn,
                });
            };
            requestAnimationFrame(tick);
        })""",
        SPAN_S * 1000,
    )
    after = heap()
    site.ask("/rate/0", [])

    sys.stdout.write(f"{told}, heap {before} to {after}, {elements} elements\n")
    assert told["records"] > RATE * SPAN_S / 2, "the rows came"
    assert told["frames"] >= told["records"] * 30 / RATE
    assert told["drawn"] <= told["frames"] + 1, "never drawn twice in a frame"
    assert after - before < HEAP_GROWTH_MAX
    assert page.evaluate("document.querySelectorAll('*').length") - elements < 20 * 13
    assert page.evaluate("flowdFeed.feed.fills") == ROWS
    until_ids(page, site)
    assert page.evaluate(SEEN)
    context.close()


@pytest.mark.parametrize("path", ["/all-fills", "/liquidations", "/analytics"])
def test_nothing_jumps_while_a_page_loads(page: Page, site: Feeds, path: str) -> None:
    site.many(60)
    site.many(60, "liquidations")
    summed(site)
    page.add_init_script(
        """window.shift = 0;
        new PerformanceObserver((list) => {
            for (const entry of list.getEntries()) window.shift += entry.value;
        }).observe({ type: 'layout-shift', buffered: true });"""
    )

    site.open(page, path)
    page.wait_for_timeout(1_500)

    assert page.evaluate("shift") < 0.02


@pytest.mark.parametrize("path", ["/all-fills", "/liquidations", "/analytics"])
def test_on_a_phone_nothing_is_wider_than_the_screen(
    browser: Browser, site: Feeds, path: str
) -> None:
    site.many(60)
    site.many(60, "liquidations")
    summed(site)
    context = browser.new_context(viewport=PHONE, has_touch=True, is_mobile=True)
    page = site.open(context.new_page(), path)
    page.wait_for_timeout(500)

    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    assert page.evaluate("document.querySelector('main').scrollWidth") <= PHONE["width"]
    wide = "[...document.querySelectorAll('.bar a, .table-area, .feed-tools, .feed-facts')]"
    edges = page.evaluate(f"{wide}.map((one) => one.getBoundingClientRect().right)")
    assert max(edges) <= PHONE["width"]
    if path != "/analytics":
        page.wait_for_selector("#rows .line .cell.pnl")
        assert page.locator("#rows .line >> nth=0").bounding_box()["height"] == 44  # type: ignore[index]
    context.close()


# -- analytics


def summed(site: Feeds) -> None:
    """Something of everything that is summed up."""
    now = int(time.time() * 1000)
    minute, hour = now // 60_000 * 60_000, now // HOUR_MS * HOUR_MS

    def ranking(by: str, window: str, error: str, *names: str) -> dict[str, object]:
        rows = [
            {"name": name, "volume": str(1000 * 4**-at), "buy": str(750 * 4**-at), "sell": "1"}
            for at, name in enumerate(names)
        ]
        given = {"by": by, "window": window, "time_ms": now, "volume": "2000", "count": 42}
        return {**given, "error": error, "rows": rows}

    site.sums(
        rankings=[
            ranking("coins", "1h", "0", "ETH", HOSTILE, "BTC"),
            ranking("coins", "24h", "0", "SOL"),
            ranking("traders", "1h", "12.5", ADDRESS, HOSTILE),
        ],
        minutes=[
            {"time_ms": minute - at * 60_000, "buy": "100", "sell": "50", "count": 2}
            for at in range(1, 50)
        ],
    )
    site.sums(
        "liquidation-analytics",
        rankings=[ranking("coins", "1h", "0", "ETH")],
        hours=[
            {"symbol": "ETH", "time_ms": hour, "buy": "1000", "sell": "500", "count": 3},
            {"symbol": "BTC", "time_ms": hour, "buy": "0", "sell": "90000", "count": 9},
            {"symbol": HOSTILE, "time_ms": hour - HOUR_MS, "buy": "1", "sell": "1", "count": 1},
        ],
        largest=[{"window": "1h", "time_ms": now, "rows": [PLAIN, {**PLAIN, "symbol": HOSTILE}]}],
    )


def rows_of(page: Page, name: str) -> list[list[str]]:
    """The rows of a table that are in use."""
    found: list[list[str]] = page.locator(f"#{name} tbody tr:not(.spare):not(.ghost)").evaluate_all(
        "rows => rows.map((row) => [...row.children].map((cell) => cell.textContent))"
    )
    return found


def test_rankings_follow_the_window(page: Page, site: Feeds) -> None:
    summed(site)
    site.open(page, "/analytics")

    until(lambda: len(rows_of(page, "coins")) == 3, "the coins")
    assert rows_of(page, "coins")[0] == ["1", "ETH", "$1K", "100%"]
    assert rows_of(page, "traders")[0][1:3] == ["0x1234…abcd", "$1K"]
    assert page.locator("#coins-error").inner_text().startswith("Known since ")
    assert "at most $12.50 (0.63% of all) too low" in page.locator("#traders-error").inner_text()
    assert page.locator("#fact-volume").inner_text() == "$2K"
    assert page.locator("#traders a[href]").evaluate_all(
        "links => links.map((link) => [link.href, link.target, link.rel])"
    ) == [[f"https://www.flowscan.xyz/address/{ADDRESS}", "_blank", "noopener noreferrer"]]

    page.click("#window [data-value='24h']")
    until(lambda: [row[1] for row in rows_of(page, "coins")] == ["SOL"], "those of a day")
    shows(page, "location.search === '?window=24h'")
    assert page.locator("#traders-empty").is_visible()
    page.click("#window [data-value='1h']")
    page.click("#coins tbody a >> nth=0")
    page.wait_for_url("**/all-fills?q=ETH")


def test_rankings_change_as_they_come(page: Page, site: Feeds) -> None:
    site.open(page, "/analytics")
    page.wait_for_selector("#coins-empty:not([hidden])")

    summed(site)

    until(lambda: len(rows_of(page, "coins")) == 3, "the coins")
    assert page.locator("#coins-empty").is_hidden()
    assert len(site.witness.sockets) == 1


def test_bars_are_bought_against_sold_and_can_be_read_one_by_one(page: Page, site: Feeds) -> None:
    summed(site)
    site.open(page, "/analytics")

    legend = page.locator("#volume-legend")
    until(lambda: "$4.9K" in legend.inner_text() and "$2.45K" in legend.inner_text(), "the sums")
    assert "bought $4.9K, sold $2.45K, 98 trades" in (
        page.locator("#volume").get_attribute("aria-label") or ""
    )
    page.focus("#volume")
    page.keyboard.press("End")
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("ArrowLeft")
    until(lambda: "$100.00" in legend.inner_text(), "one bar")
    assert "bought $100.00, sold $50.00, 2 trades" in page.locator("#volume-spoken").inner_text()
    page.click("#window [data-value='24h']")
    until(lambda: "last 24h" in legend.inner_text(), "a day")
    painted = page.evaluate(
        """(() => {
            const canvas = document.querySelector('#volume-canvas');
            const pixels = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
            return new Set(new Uint32Array(pixels.data.buffer)).size;
        })()"""
    )
    assert painted > 3


def test_the_heat_map_says_in_words_what_its_colours_say(page: Page, site: Feeds) -> None:
    summed(site)
    site.open(page, "/analytics")

    until(lambda: len(rows_of(page, "heat")) == 3, "the coins")
    btc, eth, _ = rows_of(page, "heat")
    assert (btc[0], btc[24], btc[25]) == ("BTC", "90K", "$90K")
    assert (eth[0], eth[24]) == ("ETH", "1.5K")
    newest = page.locator("#heat tbody tr >> nth=1 >> td >> nth=23")
    assert newest.get_attribute("class") == "heat-1"
    assert "$1.5K, longs $500.00, shorts $1K, 3 orders" in (
        newest.get_attribute("aria-label") or ""
    )
    assert page.locator("#heat tbody .heat-6").count() == 1
    assert page.locator("#heat-legend .swatch").count() == 6


def test_what_is_ranked_is_text(page: Page, site: Feeds) -> None:
    summed(site)
    site.open(page, "/analytics")
    until(lambda: len(rows_of(page, "heat")) == 3, "the heat map")
    until(lambda: len(rows_of(page, "largest")) == 2, "the largest")

    for name in ("coins", "heat", "largest"):
        assert any(HOSTILE in row for row in rows_of(page, name))
    assert page.locator("main img, main script").count() == 0
    assert page.evaluate("window.wasPwned") is None


def test_without_the_transforms_the_analytics_say_which_lines_to_add(
    page: Page, make: Make
) -> None:
    site = make(("all-fills",))

    site.open(page, "/analytics")

    page.wait_for_selector("#heat-empty pre")
    assert "[transforms.analytics]" in page.locator("#volume-empty pre").inner_text()
    assert 'input = "liquidations"' in page.locator("#heat-empty pre").inner_text()
    for name in ("coins", "traders", "largest"):
        assert "Not configured" in page.locator(f"#{name}-empty").inner_text()


def test_analytics_say_when_they_are_offline_and_go_on_afterwards(page: Page, site: Feeds) -> None:
    summed(site)
    site.open(page, "/analytics")
    until(lambda: len(rows_of(page, "coins")) == 3, "the coins")

    site.end()
    page.wait_for_selector("#offline:not([hidden])")
    assert len(rows_of(page, "coins")) == 3, "what was known stays to be seen"
    site.begin()
    page.wait_for_selector("#connection[data-status=connected]", timeout=40_000)

    now = int(time.time() * 1000)
    site.sums(
        rankings=[
            {
                **{"by": "coins", "window": "1h", "time_ms": now, "volume": "5", "count": 1},
                **{"error": "0", "rows": [{"name": "X", "volume": "5", "buy": "5", "sell": "0"}]},
            }
        ]
    )
    until(lambda: [row[1] for row in rows_of(page, "coins")] == ["X"], "the new ranking")
