"""One daemon that has every page and something to show on each, made of the scripted plugins; and
where each of the pages is.
"""

import time
from pathlib import Path
from typing import Any

import flowd_pages
from playwright.sync_api import Page, Route
from quart import Quart

from tests.browser.kit import Witness, ask, begin
from tests.browser.test_heatmap import OBSERVED, column, told
from tests.browser.test_traders import account, event, position, standing, who
from tests.edge.process import ADMIN, ADMIN_TOKEN, Flowd

SCRIPTED = str(Path(__file__).parent / "scripted")
EXTRA = """
[sources.all-fills]
kind = "scripted-fills"

[sources.liquidations]
kind = "scripted-fills"

[sources.orders]
kind = "scripted-forced"

[sources.candles]
kind = "scripted-prices"

[sources.traders]
kind = "scripted-traders"

[sources.positions]
kind = "scripted-positions"

[sources.leaderboard]
kind = "scripted-leaderboard"

[sources.heatmap]
kind = "scripted-map"

[sources.observed]
kind = "scripted-observed"

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
input = "orders"
every = "100ms"

[sinks.charts]
kind = "liquidation-websocket"
orders = "orders"
volume = "volume"

[sinks.prices]
kind = "candles"
inputs = ["candles"]

[sinks.maps]
kind = "heatmap-websocket"
observed = "observed"

[sinks.script]
kind = "scripted-script"

[sinks.speaker]
kind = "scripted-speaker"

[sinks.teller]
kind = "scripted-teller"

[sinks.maps-teller]
kind = "scripted-maps-teller"

[sinks.pages]
kind = "pages"
"""
STEP_MS = 300_000
TRADER = who(1)
BESIDES = {"/assets/<path:name>", "/favicon.ico", "/chart", "/chart/", "/heatmap", "/heatmap/"}
"""What pages are made of, and shorter addresses of two of them."""
ADDRESSES = {
    "/": "/",
    "/operate": "/operate",
    "/chart/<symbol>": "/chart/BTCUSDT?timeframe=5m",
    "/heatmap/<symbol>": "/heatmap/BTCUSDT",
    "/all-fills": "/all-fills",
    "/liquidations": "/liquidations",
    "/analytics": "/analytics",
    "/traders": "/traders",
    "/traders/<address>": f"/traders/{TRADER}",
}
"""One address of each page, by its rule."""
ERRORS = {
    "no such page": "/nosuch",
    "no symbol": "/chart/no,symbol",
    "no trader": "/traders/nobody",
}
READY = {
    "/": "#largest tbody tr:not(.ghost)",
    "/operate": "#components tbody tr:not(.ghost)",
    "/all-fills": "#rows .line:not(.spare)",
    "/liquidations": "#rows .line:not(.spare)",
    "/analytics": "#heat tbody tr:not(.ghost)",
    "/traders": "#rows .line:not(.spare)",
    "/traders/<address>": "#positions-table tbody tr:not(.ghost)",
}
"""What is there once a page shows its data."""
LOADED = {"/chart/<symbol>": "flowdChart.ready()", "/heatmap/<symbol>": "flowdHeatmap.ready()"}
"""What the two that draw promise."""
_WORDS = {"role": "edge", "clients": 1203, "rss_bytes": 171_000_000, "behind": 0, "lag_ms": 14}
_RUNS = {"state": "running", "error": None, "restarts": 0, "uptime_s": 7260.0, "healthy": True}
_ENDS = {"pid": None, "uptime_s": None, "healthy": False, "restarts": 12}
PROCESSES = [
    {**_RUNS, "name": "server", "pid": 4242},
    {**_RUNS, **_WORDS, "name": "ingest", "pid": 4243, "role": "ingest+edge", "clients": 0},
    {**_RUNS, **_WORDS, "name": "edge-1", "pid": 4244, "healthy": False},
    {**_RUNS, "name": "edge-2", "pid": 4245, "healthy": False},
    {**_RUNS, **_ENDS, "name": "edge-3", "state": "starting", "error": "was ended by SIGKILL"},
    {
        **{**_RUNS, **_ENDS, "name": "edge-4", "state": "backoff"},
        "error": "cannot be started: Resource temporarily unavailable",
    },
]
"""How several processes may be, in `/status`."""


def as_several(page: Page) -> Page:
    """From now on this page is told that the daemon is several processes, not all of them well."""

    def told(route: Route) -> None:
        answer = route.fetch()
        status = answer.json() | {"healthy": False, "processes": PROCESSES}
        route.fulfill(response=answer, json=status)

    page.route("**/status?*", told)
    return page


def rules() -> set[str]:
    """The rules of all pages that the plugin serves."""
    app = Quart("whole")
    app.register_blueprint(flowd_pages.routes(flowd_pages.Config(), {}))
    return {
        rule.rule for rule in app.url_map.iter_rules() if rule.endpoint.startswith("flowd_pages.")
    }


class Whole(Flowd):
    """The daemon, its data, and what the browser said of it."""

    def __init__(self, folder: Path) -> None:
        self.witness = Witness(("WebSocket", "ERR_", "404", "getImageData"))
        super().__init__(
            folder,
            None,
            settings={"admin_token": ADMIN_TOKEN},
            extra=EXTRA,
            env=ADMIN,
            arguments=["--plugins-dir", SCRIPTED],
        )

    def begin(self) -> None:
        """Start it, and tell it something for each page."""
        begin(self)
        self._trades()
        self._forced()
        self._traders()
        self._maps()

    def tell(self, path: str, *said: object) -> None:
        """Let a source say this."""
        assert ask(self, path, list(said)) in ("said", "told"), path

    def rate(self, rows_per_s: int) -> None:
        """So many made-up fills a second from now on."""
        assert ask(self, f"/rate/{rows_per_s}", []) == "said"

    def address(self, path: str) -> str:
        """Where a page is."""
        return f"http://127.0.0.1:{self.port}{path}"

    def open(self, page: Page, rule: str) -> Page:
        """Open one of the pages, and wait until it shows what there is."""
        self.witness.watch(page).goto(self.address(ADDRESSES[rule]))
        page.wait_for_selector("#connection[data-status=connected]")
        if rule in READY:
            page.wait_for_selector(READY[rule], state="attached")
        if rule in LOADED:
            page.evaluate(LOADED[rule])
        return page

    def _trades(self) -> None:
        assert ask(self, "/many/all-fills/400", []) == "said"
        forced: dict[str, Any] = {"role": "liquidated", "method": "market", "mark_price": "3190"}
        fills = [
            {
                **forced,
                "liquidated_user": who(number % 7),
                "notional": str(10 ** (number % 7) + number),
                "hash": f"0x{number // 2 + 1:064x}",
                "side": "BUY" if number % 3 else "SELL",
            }
            for number in range(40)
        ]
        self.tell("/say/liquidations", *fills, {**fills[0], "role": "counterparty"})

    def _forced(self) -> None:
        venues = ["binance", "bybit", "okx"]
        self.tell(
            "/orders/orders",
            *(
                {
                    "notional": str(1000 * (number % 50 + 1)),
                    "symbol": "ETHUSDT" if number % 4 else "BTCUSDT",
                    "side": "BUY" if number % 3 else "SELL",
                    "venue": venues[number % 3],
                    "ago_ms": number * 60_000,
                }
                for number in range(120)
            ),
        )
        now_ms = int(time.time() * 1000) // STEP_MS * STEP_MS
        self.tell(
            "/candles/candles",
            *(
                {
                    "symbol": symbol,
                    "time_ms": now_ms - (40 - number) * STEP_MS,
                    "open": str(price * (1000 + number % 7) // 1000),
                    "close": str(price * (1000 + number % 5) // 1000),
                }
                for symbol, price in (("BTCUSDT", 100_000), ("ETHUSDT", 3_000))
                for number in range(41)
            ),
        )

    def _traders(self) -> None:
        self.tell("/tell/leaderboard", *(standing(number, rank=number) for number in range(1, 30)))
        self.tell("/tell/positions", *(event(f"e{number}", number % 5) for number in range(30)))
        held = [position("BTC"), position("ETH", size="-3", liquidation_price=None)]
        self.tell("/tell/positions.accounts", account(1, *held))

    def _maps(self) -> None:
        self.tell("/tell-maps/columns", *(column(number) for number in range(40) if number != 20))
        self.tell("/tell-maps/heatmap", told())
        self.tell("/tell-maps/observed", OBSERVED)
