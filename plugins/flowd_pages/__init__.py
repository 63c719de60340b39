"""A flowd sink: the pages that people look at, and the browser client that they are made with.

Plain HTML, one set of named design tokens, ES modules without a bundler. Nothing is loaded from
another host, and nothing that an upstream said is ever put into a page as HTML.
"""

import re
from pathlib import Path
from typing import Any

import trio
from attrs import field, frozen
from jinja2 import Environment, PackageLoader, StrictUndefined
from quart import Blueprint, Response, request

from flowd.market import Fill, Liquidation, Trade
from flowd.plugin import Sink, StreamName, Streams, hookimpl
from flowd.traders import PositionEvent, Standing, Trader
from flowd_pages.assets import Assets
from flowd_pages.assets import page as served

HERE = Path(__file__).parent

LOGO_STYLE = "'sha256-3pRED1tOXas1FXFoPb9TGCjmYe9XQsmO9OV23khV2nY='"
"""The one style element that a page may hold: lightweight-charts adds it for its attribution logo.
"""

_HOST = re.compile(r"[A-Za-z0-9.-]{1,253}(:[0-9]{1,5})?|\[[0-9A-Fa-f:.]{2,45}\](:[0-9]{1,5})?")
WAY = "outages.edge"
"""The stream in which a daemon that follows another one tells what it did not get from there."""
_ADDRESS = re.compile(r"0[xX][0-9a-fA-F]{40}")


@frozen
class Page:
    """One entry of the navigation bar."""

    name: str
    path: str
    title: str


NAVIGATION = [
    Page("overview", "/", "Overview"),
    Page("chart", "/chart", "Chart"),
    Page("heatmap", "/heatmap", "Heatmap"),
    Page("all-fills", "/all-fills", "Fills"),
    Page("liquidations", "/liquidations", "Liquidations"),
    Page("analytics", "/analytics", "Analytics"),
    Page("traders", "/traders", "Traders"),
]
"""A page joins by standing here and by a template that extends `base.html`."""


def _check_symbol(_: object, attribute: Any, value: str) -> None:
    if symbol_of(value) is None:
        raise ValueError(f'symbol = "{value}": expected a symbol such as BTCUSDT')


def _stream(default: str, reads: type | str | tuple[type, ...]) -> Any:
    """A stream that its page does without."""
    return field(default=StreamName(default), metadata={"reads": reads, "optional": True})


FILLS = (Fill, Trade)
LIQUIDATIONS = (Fill, Liquidation)
"""What the two feeds can show."""


@frozen
class Followed:
    """The streams that a feed shows, and what their records are, as its page is told."""

    streams: str
    records: str
    roles: bool
    """Whether its records are of takers and of makers."""


def followed(names: list[str], streams: Streams) -> Followed:
    """What a feed of these streams is, those that are not there among them."""
    records = [streams[name].record.__name__ for name in names if name in streams]
    return Followed(" ".join(names), " ".join(dict.fromkeys(records)), "Fill" in records)


def fills_of(config: "Config", streams: Streams) -> list[str]:
    """The stream of all fills. Where nobody named one and the default is not there: of trades."""
    if config.fills in streams:
        return [config.fills]
    trades = [name for name in streams if streams[name].record is Trade]
    return trades[:1] or [config.fills]


def liquidations_of(config: "Config", streams: Streams) -> list[str]:
    """The streams of liquidations. Where nobody named any and the default is not there: of all
    venues that there are.
    """
    named = config.liquidations
    names: list[str] = [named] if isinstance(named, str) else list(named)
    if any(name in streams for name in names):
        return names
    return [name for name in streams if streams[name].record is Liquidation] or names


@frozen
class Config:
    """`symbol` is what `/chart` shows to who names none; the others are the streams that the feeds,
    the analytics and the traders show. Where the daemon has none of a default's name, its page says
    so.
    """

    symbol: str = field(default="BTCUSDT", validator=_check_symbol)
    fills: StreamName = _stream("all-fills", reads=FILLS)
    liquidations: StreamName | list[StreamName] = _stream("liquidations", reads=LIQUIDATIONS)
    analytics: StreamName = _stream("analytics", reads="Ranking")
    liquidation_analytics: StreamName = _stream("liquidation-analytics", reads="Ranking")
    traders: StreamName = _stream("traders", reads=Trader)
    positions: StreamName = _stream("positions", reads=PositionEvent)
    leaderboard: StreamName = _stream("leaderboard", reads=Standing)
    alert_lines: StreamName = _stream("alert-lines", reads="LineAlert")

    @property
    def liquidated(self) -> str:
        """The first of the streams of liquidations."""
        return self.liquidations if isinstance(self.liquidations, str) else self.liquidations[0]


def symbol_of(text: str) -> str | None:
    """A symbol as exchanges write it, None when it cannot be one.

    Small letters are a shorthand for capital ones, unless both are used, as in kPEPE.
    """
    symbol = text.upper() if text.islower() else text
    fits = 1 <= len(symbol) <= 40 and all(c.isalnum() or c in "_-:@#" for c in symbol)
    return symbol if fits else None


def policy(host: str) -> str:
    """The Content-Security-Policy of a page that was asked for at this host: ourselves only.

    `'self'` covers WebSockets in today's browsers; older ones want the address spelled out.
    """
    sockets = f" ws://{host} wss://{host}" if _HOST.fullmatch(host) else ""
    return "; ".join(
        [
            "default-src 'none'",
            "script-src 'self'",
            f"style-src 'self' {LOGO_STYLE}",
            "img-src 'self' data:",
            f"connect-src 'self'{sockets}",
            "base-uri 'none'",
            "form-action 'self'",
            "frame-ancestors 'none'",
        ]
    )


def routes(config: Config, streams: Streams) -> Blueprint:
    """`/`, the chart, the heatmap, the two feeds, `/analytics`, the traders, and `/assets/`."""
    assets = Assets(HERE / "static", HERE / "vendor")
    templates = Environment(
        loader=PackageLoader("flowd_pages"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    blueprint = Blueprint("flowd_pages", __name__)

    compiled: set[str] = set()

    async def page(name: str, status: int = 200, within: str = "", **values: object) -> Response:
        # Where a proxy has us: what the page loads and leads to is below that.
        base = request.root_path

        def render() -> str:
            return templates.get_template(f"{name}.html").render(
                page=name,
                current=within or name,
                navigation=NAVIGATION,
                traders=config.positions in streams,
                way=WAY if WAY in streams else "",
                base=base,
                assets=base + assets.base,
                charts=assets.charts and base + assets.charts,
                notices=assets.notices,
                licence=assets.licence and base + assets.licence,
                **values,
            )

        # The first time it is compiled, which would hold the loop for many milliseconds.
        html = render() if name in compiled else await trio.to_thread.run_sync(render)
        compiled.add(name)
        answer = served(html, status, request)
        answer.headers["Content-Security-Policy"] = policy(request.host)
        answer.headers["Referrer-Policy"] = "no-referrer"
        answer.headers["Cross-Origin-Opener-Policy"] = "same-origin"
        return answer

    @blueprint.get("/")
    async def overview() -> Response:
        """What was liquidated, where, and how unusual that is, as a page."""
        return await page("overview", symbol=config.symbol, streams=config)

    @blueprint.get("/operate")
    async def operate() -> Response:
        """How the daemon and each of its parts do, as a page."""
        return await page("operate")

    @blueprint.get("/chart")
    @blueprint.get("/chart/", defaults={"symbol": ""})
    @blueprint.get("/chart/<symbol>")
    async def chart(symbol: str = "") -> Response:
        """Candles and liquidation volume of one symbol, as a page."""
        known = symbol_of(symbol or config.symbol)
        if known is None:
            return await page("unknown", 404, symbol=symbol[:60], example=config.symbol)
        there = config.alert_lines in streams
        return await page("chart", symbol=known, alert_lines=config.alert_lines if there else "")

    @blueprint.get("/heatmap")
    @blueprint.get("/heatmap/", defaults={"symbol": ""})
    @blueprint.get("/heatmap/<symbol>")
    async def heatmap(symbol: str = "") -> Response:
        """Where positions would be liquidated, by price and over time, as a page."""
        known = symbol_of(symbol) if symbol else ""
        if known is None:
            return await page("unknown", 404, symbol=symbol[:60], example=config.symbol)
        return await page("heatmap", symbol=known, usual=config.symbol)

    @blueprint.get("/all-fills")
    async def all_fills() -> Response:
        """The newest fills, as a page."""
        return await page("all-fills", feed=followed(fills_of(config, streams), streams))

    @blueprint.get("/liquidations")
    async def liquidations() -> Response:
        """The newest liquidations, as a page."""
        feed = followed(liquidations_of(config, streams), streams)
        return await page("liquidations", feed=feed)

    @blueprint.get("/analytics")
    async def analytics() -> Response:
        """Volume, top traders and coins, as a page."""
        forced = " ".join(liquidations_of(config, streams))
        return await page("analytics", streams=config, forced=forced)

    @blueprint.get("/traders")
    async def traders() -> Response:
        """The leaderboard, as a page."""
        return await page("traders", streams=config)

    @blueprint.get("/traders/<address>")
    async def trader(address: str) -> Response:
        """What one account holds and did, as a page."""
        if not _ADDRESS.fullmatch(address):
            return await page("unknown-trader", 404, within="traders", address=address[:60])
        return await page("trader", within="traders", address=address.lower(), streams=config)

    @blueprint.get("/favicon.ico")
    async def favicon() -> Response:
        """The mark of flowd, for browsers that ask for it where they always did."""
        return assets.answer("mark.svg", request)

    @blueprint.after_app_request
    async def lost(answer: Response) -> Response:
        """Somebody who looks for a page that is not there gets one with a way back; programs get
        the error as it is.
        """
        # Where the address leads nowhere at all: what is not there of an API is told by its path.
        nowhere = answer.status_code == 404 and request.url_rule is None
        if not nowhere or request.method != "GET" or not request.accept_mimetypes.accept_html:
            return answer
        if request.accept_mimetypes.quality("text/html") <= request.accept_mimetypes.quality(
            "application/json"
        ):
            return answer
        return await page("lost", 404, path=request.path[:200])

    @blueprint.get("/assets/<path:name>")
    async def asset(name: str) -> Response:
        """What pages are made of."""
        return assets.answer(name, request)

    return blueprint


@hookimpl
def flowd_sinks() -> list[Sink]:
    """The kind `pages`."""
    return [Sink("pages", Config, routes=routes)]
