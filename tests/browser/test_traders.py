"""The pages of traders in a real browser, on a real daemon whose streams carry what a test tells
them.
"""

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from playwright.sync_api import Browser, Page

from tests.browser.kit import PHONE, Witness, ask, shows, start, until
from tests.edge.process import Flowd, toml

pytestmark = [pytest.mark.browser, pytest.mark.timeout(240)]

STREAMS = ("traders", "positions", "leaderboard")
DASH = "\N{EN DASH}"
HOSTILE = "<img src=x onerror=pwned()>"
NOW_MS = int(time.time() * 1000)


def who(number: int) -> str:
    return f"0x{number:040x}"


SHARES = {"win_rate": 0.2, "volume": 0.1, "max_drawdown": 0.15, "risk_ratio": 0.1}
PLAIN: dict[str, Any] = {
    **{"venue": "hyperliquid", "rank": 1, "score": 0.6, "shares": {**SHARES, "max_profit": 0.05}},
    **{"win_rate": 0.6, "win_rate_source": "fills", "volume": "1500000"},
    **{"volume_source": "portfolio", "account_age_days": 400, "account_age_source": "portfolio"},
    **{"risk_ratio": 1.5, "max_drawdown": 0.25, "max_drawdown_source": "account_value"},
    **{"max_profit": "12000", "max_loss": "800", "trips": 40, "partial_trips": 2},
    **{"equity": "50000", "unrealized_pnl": "-1250", "first_seen_ms": NOW_MS - 86_400_000},
    **{"last_seen_ms": NOW_MS - 60_000, "tracked_ms": NOW_MS - 30_000, "population": 2},
    **{"time_ms": NOW_MS - 120_000},
}
UNKNOWN: dict[str, Any] = {
    **dict.fromkeys(name for name in PLAIN if name.endswith("_source")),
    **dict.fromkeys(["rank", "score", "shares", "win_rate", "volume", "account_age_days"]),
    **dict.fromkeys(["risk_ratio", "max_drawdown", "max_profit", "max_loss", "equity"]),
    **{"unrealized_pnl": None, "tracked_ms": None, "trips": 0, "partial_trips": 1},
}


def standing(number: int, **said: object) -> dict[str, object]:
    return {**PLAIN, "address": who(number), **said}


def event(name: str, number: int = 1, **said: object) -> dict[str, object]:
    plain: dict[str, object] = {
        **{"id": name, "address": who(number), "venue": "hyperliquid", "symbol": "BTC"},
        **{"event": "OPEN", "side": "LONG", "prev_size": "0", "size": "0.5"},
        **{"prev_entry_price": None, "entry_price": "64000", "implied_price": "64000"},
        **{"mark_price": "64100", "notional": "32050", "from_ms": NOW_MS - 75_000},
        **{"time_ms": NOW_MS, "detected_ms": NOW_MS, "sampled": True, "liquidated": False},
    }
    return {**plain, **said}


def position(symbol: str, **said: object) -> dict[str, object]:
    plain: dict[str, object] = {
        **{"symbol": symbol, "size": "0.5", "entry_price": "63000", "notional": "32000"},
        **{"unrealized_pnl": "500", "liquidation_price": "48000", "leverage": 20},
        **{"isolated": False, "margin": "1600", "max_leverage": 40, "funding": "-3"},
    }
    return {**plain, **said}


def account(number: int, *positions: dict[str, object], **said: object) -> dict[str, object]:
    plain: dict[str, object] = {
        **{"address": who(number), "venue": "hyperliquid", "time_ms": NOW_MS, "equity": "51234.5"},
        **{"notional": "64000", "margin_used": "3200", "withdrawable": "48000"},
    }
    return {**plain, "positions": list(positions), **said}


class Site(Flowd):
    """A daemon whose streams of traders are scripted, all or some of them."""

    def __init__(self, folder: Path, names: tuple[str, ...], extra: str) -> None:
        self.names = names
        self.witness = Witness(("WebSocket", "ERR_", "404"))
        plugins = Path(__file__).parent / "scripted"
        super().__init__(folder, "", extra=extra, arguments=["--plugins-dir", str(plugins)])

    def write(self) -> None:
        """Write the configuration as it is now."""
        lines = ["[flowd]", *(f"{key} = {toml(value)}" for key, value in self.settings.items())]
        for name in self.names:
            lines += [f"[sources.{name}]", f'kind = "scripted-{name}"', "retain = 20000"]
        kinds = {"teller": "scripted-teller", "http": "http", "websocket": "websocket"}
        for name, kind in {**kinds, "pages": "pages"}.items():
            lines += [f"[sinks.{name}]", f'kind = "{kind}"']
        self.config.write_text("\n".join([*lines, self.extra, ""]))

    def tell(self, stream: str, *said: dict[str, object]) -> None:
        """Let a stream carry this."""
        assert ask(self, f"/tell/{stream}", list(said)) == "told"

    def open(self, page: Page, path: str = "/traders") -> Page:
        """Open a page, and wait until it is live."""
        self.witness.watch(page).goto(f"http://127.0.0.1:{self.port}{path}")
        page.wait_for_selector("#connection[data-status=connected]")
        return page


Make = Callable[..., Site]


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    """Makes the daemon of a test, and sees at the end that the browser complained of nothing."""
    sites: list[Site] = []

    def made(names: tuple[str, ...] = STREAMS, extra: str = "") -> Site:
        site = Site(tmp_path / "site", names, extra)
        sites.append(site)
        start(site)
        until(lambda: ask(site, "/health")["status"] == "ok" or not names, "all is there")
        return site

    yield made
    for site in sites:
        site.witness.conclude(site)


@pytest.fixture
def site(make: Make) -> Site:
    """A daemon that has everything, and has heard nothing yet."""
    return make()


@pytest.fixture
def page(page: Page) -> Page:
    """A page that notices when a text becomes a script."""
    page.context.add_init_script("window.pwned = () => { window.wasPwned = true; }")
    return page


def order(page: Page) -> list[int]:
    """The numbers of the traders in the order in which they are shown."""
    found: list[str] = page.evaluate(
        "Array.from({length: flowdTraders.board.size}, (_, at) => flowdTraders.board.at(at).value)"
        ".map((value) => value.address)"
    )
    return [int(address, 16) for address in found]


def cells(page: Page, index: int = 0) -> dict[str, str]:
    """What is written in a row, by column."""
    row = page.locator(f"#rows .line[aria-rowindex='{index + 2}'] .cell:not(.note)")
    found: list[list[str]] = row.evaluate_all(
        "cells => cells.map((cell) => [cell.classList[1], cell.firstChild.textContent])"
    )
    return {name: text for name, text in found}


# -- the leaderboard


def test_a_standing_is_a_row_with_its_sources_and_its_unknowns(page: Page, site: Site) -> None:
    site.tell("leaderboard", standing(1), standing(2, **UNKNOWN))

    site.open(page)

    until(lambda: order(page) == [1, 2], "both, the unknown last")
    row = cells(page)
    assert (row["score"], row["win_rate"], row["total_volume_usd"]) == ("0.6000", "60.0%", "$1.5M")
    volume = page.locator("#rows .line[aria-rowindex='2'] .total_volume_usd")
    assert volume.locator(".from").inner_text() == "P"
    assert "the venue's own portfolio" in (volume.get_attribute("title") or "")
    unknown = page.locator("#rows .line[aria-rowindex='3'] .win_rate")
    assert unknown.inner_text() == DASH
    assert unknown.get_attribute("title") == "Unknown: no completed trip is known"
    widths = page.locator("#rows .line[aria-rowindex='2'] .five i").evaluate_all(
        "parts => parts.map((part) => part.style.width)"
    )
    assert widths == ["20%", "15%", "10%", "10%", "5%"]
    wide = page.locator("#rows .line >> nth=0").evaluate(
        "one => [one.scrollWidth, one.clientWidth]"
    )
    assert wide[0] <= wide[1], "no column is cut off"
    assert "win rate 0.200, small drawdown 0.150" in (
        page.locator("#rows .line[aria-rowindex='2'] .score .sr").inner_text()
    )


def test_every_column_sorts_by_pointer_and_by_keyboard(page: Page, site: Site) -> None:
    site.tell(
        "leaderboard",
        standing(1, volume="10", trips=3),
        standing(2, volume="30", trips=2),
        standing(3, **UNKNOWN),
    )
    site.open(page)
    until(lambda: len(order(page)) == 3, "all rows")

    page.click("#head [data-sort=total_volume_usd]")
    assert order(page) == [2, 1, 3]
    page.keyboard.press("Enter")
    assert order(page) == [1, 2, 3], "the unknown stays last"
    assert page.locator("#head [aria-sort=ascending]").inner_text().startswith("Volume")
    shows(page, "location.search === '?sort=total_volume_usd&order=asc'")
    for button in page.locator("#head button").all():
        button.focus()
        page.keyboard.press("Space")
        assert order(page)[-1] == 3 or button.get_attribute("data-sort") in (
            *("trader_address", "trips", "partial_trips", "last_seen_at"),
        )


def test_filters_live_in_the_address(page: Page, site: Site) -> None:
    site.tell("leaderboard", standing(0xA1, trips=50), standing(0xA2), standing(0xB3, volume="5"))
    site.open(page, "/traders?min_volume=1k")
    until(lambda: order(page) == [0xA1, 0xA2], "by volume")

    page.fill("#filter-trips", "45")
    until(lambda: order(page) == [0xA1], "by trips")
    page.fill("#filter-trips", "")
    page.fill("#filter-text", "A2")
    until(lambda: order(page) == [0xA2], "by address")
    shows(page, "location.search === '?min_volume=1k&q=A2'")
    page.fill("#filter-text", who(0xFFFF))
    page.wait_for_selector("#traders-empty:not([hidden])")
    link = page.locator("#traders-empty a")
    assert link.get_attribute("href") == f"/traders/{who(0xFFFF)}"
    page.click("#traders-empty button")
    until(lambda: len(order(page)) == 3, "all again")


def test_changed_rows_and_events_flash_in(browser: Browser, site: Site) -> None:
    context = browser.new_context(reduced_motion="no-preference")
    page = context.new_page()
    site.tell("leaderboard", standing(1, score=0.9), standing(2, score=0.5))
    site.open(page)
    until(lambda: order(page) == [1, 2], "both")
    assert page.locator("#rows .line.fresh").count() == 0
    shows(page, "!document.querySelector('#events-empty').hidden")

    site.tell("positions", event("a"), event("b", 2, event="CLOSE", liquidated=True))
    shows(page, "document.querySelectorAll('#events .event.fresh').length === 2")
    site.tell("leaderboard", standing(2, score=0.95))
    shows(page, "document.querySelectorAll('#rows .line.fresh').length === 1")

    assert order(page) == [2, 1]
    newest = page.locator("#events .event >> nth=0")
    assert "liquidated" in newest.inner_text()
    assert "two states were compared" in (newest.get_attribute("title") or "")
    assert len(site.witness.sockets) == 1
    context.close()


def test_the_page_tells_population_age_and_how_far_tracking_has_come(
    page: Page, site: Site
) -> None:
    site.tell("leaderboard", standing(1))
    computed = {"time_ms": NOW_MS - 3_600_000, "population": 120, "listed": 4000, "unlisted": 0}
    site.tell("leaderboard.computed", computed)
    site.tell(
        "positions.round",
        {
            **{"venue": "hyperliquid", "time_ms": NOW_MS, "traders": 5000, "tracked": 1200},
            **{"waiting": 3800, "oldest_tracked_ms": NOW_MS - 7_200_000, "round_s": 7500.0},
            **{"events": 7, "weight_used": 80, "weight_per_minute": 1200},
        },
    )

    site.open(page)

    until(lambda: page.locator("#fact-population").inner_text() == "120", "the population")
    assert page.locator("#fact-age").inner_text().startswith("1 h")
    until(lambda: page.locator("#fact-tracked").inner_text() == "1,200", "the visits")
    assert page.locator("#fact-traders").inner_text() == "of 5,000 traders"
    assert page.locator("#fact-oldest").inner_text().startswith("2 h")
    page.click(".score-note summary")
    assert "is no advice" in page.locator(".score-words").inner_text()
    assert page.locator("#evidence li").count() == 5


def test_without_the_streams_the_page_says_which_lines_to_add(page: Page, make: Make) -> None:
    site = make(names=("traders",))

    site.open(page)

    page.wait_for_selector("#traders-empty pre")
    lines = page.locator("#traders-empty pre").inner_text()
    assert "hyperliquid-tracking" in lines
    assert 'kind = "leaderboard"' in lines
    assert "hyperliquid-discovery" not in lines, "that is there"
    assert "hyperliquid-tracking" in page.locator("#events-empty pre").inner_text()


def test_ten_thousand_rows_are_a_few_elements_and_scroll(page: Page, site: Site) -> None:
    assert ask(site, "/crowd/10000", standing(0)) == "told"
    site.open(page)
    until(lambda: page.locator("#row-count").inner_text() == "10,000", "all rows")

    page.click("#head [data-sort=total_volume_usd]")
    assert order(page)[:2] == [9999, 9998]
    frames_ms = page.evaluate(
        """(async () => {
            const grid = document.querySelector('#grid');
            const frames = [];
            for (let at = 0; at < 60; at++) {
                const begun = performance.now();
                grid.scrollTop += 72;
                await new Promise((done) => requestAnimationFrame(done));
                frames.push(performance.now() - begun);
            }
            return frames;
        })()"""
    )
    assert sorted(frames_ms)[30] < 50, "near a frame, whatever else this machine does"
    assert page.locator("#rows .line").count() < 120


def test_what_an_upstream_says_is_text(page: Page, site: Site) -> None:
    site.tell("leaderboard", standing(1, win_rate_source="fills"))
    site.tell("positions", event("a", symbol=HOSTILE, address=HOSTILE))

    site.open(page)

    until(lambda: HOSTILE in page.locator("#events").inner_text(), "the text")
    assert page.locator("main img").count() == 0
    assert page.evaluate("window.wasPwned") is None


@pytest.mark.parametrize("scheme", ["dark", "light"])
def test_a_phone_is_wide_enough(browser: Browser, site: Site, scheme: Any) -> None:
    site.tell("leaderboard", standing(1), standing(2, **UNKNOWN))
    site.tell("positions", event("a"))
    context = browser.new_context(viewport=PHONE, color_scheme=scheme)
    page = site.open(context.new_page())

    until(lambda: order(page) == [1, 2], "the rows")

    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    assert page.locator("#sort").is_visible()
    page.select_option("#sort", "trader_address")
    assert order(page) == [1, 2]
    context.close()


# -- one trader

FILLS = """
[sources.all-fills]
kind = "scripted-fills"
[sinks.say]
kind = "scripted-script"
"""
ASKED = '[sinks.traders-api]\nkind = "traders-http"'


def rows_of(page: Page, name: str) -> list[list[str]]:
    """What is written in a table."""
    found: list[list[str]] = page.locator(f"#{name} tbody tr").evaluate_all(
        "rows => rows.map((row) => [...row.children].map((cell) => cell.textContent))"
    )
    return found


def test_what_a_figure_is_and_why_it_is_not_known_is_read_without_a_pointer(
    page: Page, site: Site
) -> None:
    site.tell("leaderboard", standing(1, **UNKNOWN), standing(2))
    site.open(page, f"/traders/{who(1)}")
    page.wait_for_selector("#standing summary")

    page.focus("#standing summary")
    page.keyboard.press("Enter")

    words = page.inner_text("#standing details ul")
    assert "Wins Completed trips with a net above 0, of all completed trips." in words
    assert "Here: Unknown: no completed trip is known." in words
    site.tell("leaderboard", standing(1, trips=77))
    until(lambda: "77" in page.inner_text("#standing .figures"), "it is drawn anew")
    assert "of 77 completed trips" in page.inner_text("#standing details ul"), "and stays open"


def test_positions_have_their_mark_and_how_far_liquidation_is(page: Page, site: Site) -> None:
    near = position("ETH", size="-10", notional="31000", liquidation_price="3255", isolated=True)
    site.tell("positions.accounts", account(1, position("BTC"), near), account(2))
    site.tell("leaderboard", standing(1), standing(2))

    site.open(page, f"/traders/{who(1)}")

    until(lambda: len(rows_of(page, "positions-table")) == 2, "both positions")
    btc, eth = rows_of(page, "positions-table")
    assert btc == [
        *("BTC", "LONG", "0.5", "$32K", "63,000", "64,000.00", "48,000", "25.0%"),
        *("+$500.00", "20x cross"),
    ]
    assert (eth[1], eth[2], eth[7], eth[9]) == ("SHORT", "10", "5.0%", "20x isolated")
    assert page.locator("#positions-table .near .meter").get_attribute("aria-label") == (
        "Liquidation is 5.0% above the mark"
    )
    assert page.locator("#fact-equity").inner_text() == "$51.23K"
    assert page.locator("#fact-pnl").inner_text() == "+$1K"
    assert "ago" in page.locator("#as-of-age").inner_text()
    assert "Rank 1 of 2" in page.locator("#standing").inner_text()
    assert page.locator("#standing .score-parts li").count() == 5
    assert page.locator(".trader-links a >> nth=0").get_attribute("href") == (
        f"https://www.flowscan.xyz/address/{who(1)}"
    )


def test_an_address_that_nobody_visited_is_asked_for_until_it_is(page: Page, make: Make) -> None:
    site = make(extra=ASKED)
    address = who(0xABC)

    site.open(page, f"/traders/{address.upper().replace('0X', '0x')}")

    until(lambda: address in ask(site, "/asked"), "tracking is asked")
    until(lambda: page.locator("#as-of").inner_text() == "Being visited", "the page hears of it")
    assert page.locator("#trader-note").is_hidden()
    site.tell("positions.accounts", account(0xABC))
    until(lambda: "Flat" in page.locator("#positions-empty").inner_text(), "the state")
    site.tell("positions.accounts", account(0xABC, position("BTC")))
    until(lambda: len(rows_of(page, "positions-table")) == 1, "the next one, without a reload")
    assert page.locator("#positions-empty").is_hidden()


def test_where_nobody_asks_the_page_says_which_lines_do(page: Page, site: Site) -> None:
    site.open(page, f"/traders/{who(7)}")

    page.wait_for_selector("#trader-note:not([hidden]) pre")
    assert 'kind = "traders-http"' in page.locator("#trader-note").inner_text()
    assert page.locator("#as-of").inner_text() == "Not visited yet"
    assert page.locator("#coins-words").inner_text() == "Not known without fills."
    assert "stream of all fills" in page.locator("#fills-empty").inner_text()


def test_events_equity_and_fills_come_as_they_happen(page: Page, make: Make) -> None:
    site = make(extra=FILLS)
    site.open(page, f"/traders/{who(1)}")
    until(lambda: "No event" in page.locator("#events-empty").inner_text(), "nothing yet")

    site.tell("positions", event("a"), event("b", 2), event("c", event="CLOSE"))
    points = " ".join(f"{NOW_MS - at * 75_000}:{50_000 - at * 10}" for at in range(50, -1, -1))
    equity = {"address": who(1), "venue": "hyperliquid", "points": points}
    site.tell("positions.equity", equity)
    fills = [{"address": who(1), "symbol": coin, "pnl": "5", "notional": "100"} for coin in "AAB"]
    assert ask(site, "/say/all-fills", [*fills, {"address": who(2)}]) == "said"

    until(lambda: page.locator("#events .event").count() == 2, "only its own")
    until(lambda: len(rows_of(page, "fills")) == 3, "only its own")
    assert [row[:2] + row[3:] for row in rows_of(page, "coins")] == [
        ["A", "2", "+$10.00"],
        ["B", "1", "+$5.00"],
    ]
    assert "from the 3 newest fills" in page.locator("#coins-words").inner_text()
    assert "+$500.00" in page.locator("#equity-legend").inner_text()
    page.focus("#equity")
    page.keyboard.press("Home")
    assert page.locator("#equity-spoken").inner_text().endswith("$49,500.00")
    assert len(site.witness.sockets) == 1


# -- what it did, on a price

CANDLES = """
[sources.candles]
kind = "scripted-candles"
[sinks.candles-api]
kind = "candles"
inputs = ["candles"]
"""
MINUTE_MS = 60_000
PRESENT_MS = NOW_MS // MINUTE_MS * MINUTE_MS


def candle(minutes_ago: int, close: str = "64000", **said: object) -> dict[str, object]:
    begun_ms = PRESENT_MS - minutes_ago * MINUTE_MS
    plain: dict[str, object] = {
        **{"symbol": "BTCUSDT", "interval": "1m", "time_ms": begun_ms},
        **{"close_time_ms": begun_ms + 59_999, "open": "64000", "high": "64200", "low": "63900"},
        **{"close": close, "volume": "5", "quote_volume": "320000", "trades": 9},
        **{"taker_buy_volume": "2", "taker_buy_quote_volume": "128000", "closed": True},
    }
    return {**plain, **said}


def earlier(minutes: int) -> dict[str, int]:
    """When an event was that lies so far back."""
    time_ms = NOW_MS - minutes * MINUTE_MS
    return {"from_ms": time_ms - 75_000, "time_ms": time_ms, "detected_ms": time_ms}


def drawn(page: Page) -> Any:
    """What the chart shows, once it does."""
    shows(page, "flowdTrader.chart.shown !== null")
    return page.evaluate("flowdTrader.chart.shown")


@pytest.fixture
def priced(make: Make) -> Site:
    """A daemon with an hour of candles of BTC, of which ten minutes are missing."""
    site = make(extra=FILLS + CANDLES)
    # Which candles there are is learnt from the refusal of what cannot be.
    site.witness.harmless += ("400",)
    site.tell("candles", *[candle(ago) for ago in range(60, -1, -1) if not 30 <= ago < 40])
    return site


def test_events_stand_on_the_candles_of_their_coin(page: Page, priced: Site) -> None:
    priced.tell("positions", event("a", symbol="ETH", **earlier(50)), event("b", **earlier(20)))
    priced.tell("positions.accounts", account(1, position("BTC", entry_price="64010")))

    priced.open(page, f"/traders/{who(1)}")

    shown = drawn(page)
    assert page.input_value("#chart-coin") == "BTC", "the coin of the newest event"
    assert (shown["plan"]["interval"], len(shown["candles"])) == ("1m", 51)
    before, hole = shown["gaps"][:2]
    assert before == [shown["plan"]["start"] * 1000, PRESENT_MS - 60 * MINUTE_MS]
    assert hole == [PRESENT_MS - 39 * MINUTE_MS, PRESENT_MS - 29 * MINUTE_MS]
    assert [one["id"] for one in shown["events"]] == ["b"]
    until(lambda: "Binance" in page.locator("#price-words").inner_text(), "the venue")
    assert "1m candles of BTCUSDT" in page.locator("#price-words").inner_text()
    legend = page.locator("#price-legend")
    until(lambda: "entry 64,010" in legend.inner_text(), "where its position began")
    assert "liquidation 48,000 ↓ below what is seen" in legend.inner_text()
    assert page.locator("#glyphs li").count() == 7
    assert page.locator("#events .event").count() == 2, "the list has them all"


def test_without_candles_prices_are_its_own_and_said_to_be(page: Page, priced: Site) -> None:
    fill = {"address": who(1), "symbol": "ETH", "price": "3100", "time_ms": NOW_MS - 1_800_000}
    assert ask(priced, "/say/all-fills", [fill]) == "said"
    unknown = {"implied_price": None, "mark_price": None}
    priced.tell("positions", event("a", **earlier(50)), event("c", symbol="ETH", **unknown))
    priced.tell("positions", event("b", symbol="ETH", implied_price="3000", **earlier(10)))

    priced.open(page, f"/traders/{who(1)}?coin=ETH")

    shown = drawn(page)
    assert (shown["candles"], shown["gaps"]) == ([], [])
    assert [one["value"] for one in shown["points"]] == [3100, 3000]
    assert "no candles of ETH here" in page.locator("#price-words").inner_text()
    page.select_option("#chart-coin", "BTC")
    shows(page, "flowdTrader.chart.shown.candles.length === 51")
    shows(page, "location.search === '?coin=BTC'")


def test_the_keyboard_goes_from_event_to_event(page: Page, priced: Site) -> None:
    forced = event("b", event="CLOSE", liquidated=True, sampled=False, **earlier(9))
    priced.tell("positions", event("a", **earlier(20)), forced)
    priced.open(page, f"/traders/{who(1)}")
    drawn(page)

    page.focus("#price-chart")
    page.keyboard.press("End")
    told = page.locator("#event-told")
    until(lambda: "BTC liquidated LONG $32.05K at 64,000" in told.inner_text(), "the last")
    page.keyboard.press("ArrowLeft")
    until(lambda: "two states were compared" in told.inner_text(), "the one before")
    wide = "flowdTrader.chart.chart.chart.timeScale().getVisibleLogicalRange()"
    before = page.evaluate(wide)
    page.keyboard.press("+")
    until(lambda: page.evaluate(wide)["from"] > before["from"] + 1, "less is seen")
    page.keyboard.press("0")
    until(lambda: page.evaluate(wide) == pytest.approx(before, abs=0.5), "all of it again")
    page.keyboard.press("Escape")
    until(lambda: told.inner_text().startswith("Point at a shape"), "none")


def test_an_event_and_a_candle_appear_as_they_come(page: Page, priced: Site) -> None:
    priced.open(page, f"/traders/{who(1)}")
    until(lambda: "No event" in page.locator("#chart-empty").inner_text(), "nothing yet")

    priced.tell("positions", event("a", **earlier(5)))
    shows(page, "flowdTrader.chart.shown?.events.length === 1")
    priced.tell("positions", event("b", event="INCREASE"), event("c", symbol="ETH"))
    priced.tell("candles", candle(0, "64150", volume="6"))

    shows(page, "flowdTrader.chart.shown.events.length === 2")
    shows(page, "flowdTrader.chart.shown.candles.at(-1).close === 64150")
    assert page.input_value("#chart-coin") == "BTC", "nobody is taken elsewhere"
    assert len(priced.witness.sockets) == 1


def test_a_tap_tells_of_an_event_on_a_phone(browser: Browser, priced: Site) -> None:
    priced.tell("positions", event("a", symbol=HOSTILE, **earlier(30)), event("b", **earlier(20)))
    context = browser.new_context(viewport=PHONE, has_touch=True)
    page = priced.open(context.new_page(), f"/traders/{who(1)}")
    drawn(page)

    page.locator("#price-canvas").scroll_into_view_if_needed()
    x, y, left, top = page.evaluate(
        """(() => {
            const marks = flowdTrader.chart.chart.events;
            const {event, price} = marks.marks[0];
            const {left, top} = document.querySelector('#price-canvas').getBoundingClientRect();
            return [marks.toX(event.time_ms), marks.toY(price), left, top];
        })()"""
    )
    page.touchscreen.tap(left + x, top + y)

    until(lambda: "BTC opened LONG" in page.locator("#event-told").inner_text(), "its words")
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    page.select_option("#chart-coin", HOSTILE)
    until(lambda: HOSTILE in page.locator("#price-words").inner_text(), "as text")
    assert page.locator("main img").count() == 0
    context.close()


@pytest.mark.parametrize("text", ["0x12", who(1) + "0", "nobody", HOSTILE.replace("/", "")])
def test_what_is_no_address_is_said_to_be_none(page: Page, site: Site, text: str) -> None:
    site.witness.watch(page).goto(f"http://127.0.0.1:{site.port}/traders/{quote(text)}")

    assert "is no address" in page.locator("main").inner_text()
    assert text[:60] in page.locator("main code >> nth=0").inner_text()
    assert page.locator("main img").count() == 0


def test_the_page_of_a_trader_fits_a_phone(browser: Browser, site: Site) -> None:
    site.tell("positions.accounts", account(1, position("BTC"), position(HOSTILE)))
    site.tell("leaderboard", standing(1))
    context = browser.new_context(viewport=PHONE)
    page = site.open(context.new_page(), f"/traders/{who(1)}")

    until(lambda: len(rows_of(page, "positions-table")) == 2, "the positions")

    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    assert page.locator("main img").count() == 0
    context.close()


def test_the_bar_with_all_its_pages_fits_a_phone(browser: Browser, site: Site) -> None:
    context = browser.new_context(viewport=PHONE)
    page = context.new_page()

    for path in ("/", "/chart", "/all-fills", "/liquidations", "/analytics", "/traders"):
        site.open(page, path)
        edges = page.locator(".bar a").evaluate_all(
            "links => links.map((link) => link.getBoundingClientRect().right)"
        )
        assert max(edges) <= PHONE["width"], path
    context.close()


# -- the links of other pages


@pytest.mark.parametrize("known", [True, False], ids=["traders", "no traders"])
def test_wallets_lead_to_the_page_of_a_trader_where_there_are_traders(
    page: Page, make: Make, known: bool
) -> None:
    site = make(names=STREAMS if known else (), extra=FILLS)
    assert ask(site, "/say/all-fills", [{"address": f"0x{'AB' * 20}"}, {"address": "x"}]) == "said"

    site.open(page, "/all-fills")

    shows(page, "document.querySelectorAll('#rows .line').length === 2")
    explorer = f"https://www.flowscan.xyz/address/0x{'AB' * 20}"
    links = page.locator("#rows a[href*='0x']").evaluate_all(
        "links => links.map((link) => [link.getAttribute('href'), link.target])"
    )
    ours = [[f"/traders/0x{'ab' * 20}", ""]] if known else []
    assert links == [*ours, [explorer, "_blank"]]
