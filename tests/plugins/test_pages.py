"""The pages as they are served: what they hold, what they may load, and what they are made of.

What runs in the browser is tested by node's own runner and checked by tsc; both are called here.
"""

import base64
import gzip
import hashlib
import json
import os
import re
import shutil
import subprocess
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import quote, urljoin

import flowd_http
import flowd_pages
import flowd_websocket
import jinja2
import pytest
import trio
from attrs import frozen
from flowd_pages import fetch
from flowd_pages.assets import Assets, read, uncommented

from flowd.market import Fill, Liquidation, Trade
from flowd.plugin import Feed, Source
from flowd.testing import Answer, Daemon, daemon, registry
from flowd.traders import PositionEvent
from flowd.values.errors import UserError

HERE = Path(flowd_pages.__file__).parent
LOCK = json.loads((HERE / "package-lock.json").read_text())
PACKAGE = json.loads((HERE / "package.json").read_text())
CONFIG = '[sinks.pages]\nkind = "pages"\n'

PAGES = [
    *("/", "/chart/BTCUSDT", "/heatmap", "/all-fills", "/liquidations", "/analytics", "/traders"),
    "/operate",
]
STYLES = [path for path in (HERE / "static").rglob("*.css") if path.name != "tokens.css"]

ADDRESS = "0x" + "ab" * 20
HOSTILE = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "' onload='alert(1)",
    "{{ 7 * 7 }}",
    "javascript:alert(1)",
    "&lt;b&gt;",
    "../../etc/passwd",
    "BTC USDT",
    "A" * 41,
    "\u202eTDSU",
]


@frozen
class NoConfig:
    pass


@frozen
class Ranking:
    total: int


async def quiet(config: NoConfig, feed: Feed[Any]) -> None:
    await trio.sleep_forever()


SOURCES = SimpleNamespace(
    flowd_sources=lambda: [
        Source("fills", quiet, NoConfig, record=Fill),
        Source("sums", quiet, NoConfig, record=Ranking),
        Source("changes", quiet, NoConfig, record=PositionEvent),
        Source("forced", quiet, NoConfig, record=Liquidation),
        Source("trades", quiet, NoConfig, record=Trade),
    ]
)
MODULES: list[Any] = [flowd_pages, flowd_http, flowd_websocket, SOURCES]


def needs(*programs: str) -> None:
    """Skip where a program is missing, and fail where CI runs: there everything is there."""
    missing = [program for program in programs if shutil.which(program) is None]
    if missing:
        message = f"{', '.join(missing)} not installed: install Node.js with npm"
        assert os.environ.get("CI") != "true", message
        pytest.skip(message)


def needs_packages(*, development: bool = False) -> None:
    """Fetch the front-end packages if they are not there."""
    needs("node", "npm")
    said = fetch.fetch(HERE, development=development)
    if not (HERE / "vendor" / "stamp").is_file():
        assert os.environ.get("CI") != "true", said
        pytest.skip(said)


async def get(path: str, config: str = CONFIG, **headers: str) -> Answer:
    async with daemon(config, registry=registry(*MODULES)) as served:
        return await served.get(path, headers)


async def page(path: str, config: str = CONFIG) -> str:
    answer = await get(path, config)
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    return answer.body.decode()


def assets_of(html: str) -> list[str]:
    return re.findall(r'(?:src|href)="(/assets/[^"]+)"', html)


async def every_asset(served: Daemon) -> dict[str, Answer]:
    """All that the pages load, and what the modules among it load in turn."""
    found: dict[str, Answer] = {}
    todo = []
    for path in (*PAGES, "/chart/not one", f"/traders/{ADDRESS}"):
        todo += assets_of((await served.get(path)).body.decode())
    while todo:
        path = todo.pop()
        if path not in found:
            found[path] = await served.get(path)
            text = found[path].body.decode()
            if path.endswith(".js") and "/vendor/" not in path:
                for name in re.findall(r"(?:from|import) '(\.[^']+)'", text):
                    todo.append(urljoin(path, name))
    return found


# -- pages


async def test_the_index_is_a_page_where_pages_are_configured() -> None:
    assert "<h2" in await page("/")


async def test_a_page_is_compiled_in_a_thread_and_only_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    compiled: list[threading.Thread] = []
    compile = jinja2.Environment.compile

    def noted(*arguments: Any, **more: Any) -> Any:
        compiled.append(threading.current_thread())
        return compile(*arguments, **more)

    monkeypatch.setattr(jinja2.Environment, "compile", noted)
    async with daemon(CONFIG, registry=registry(*MODULES)) as served:
        first = await served.get("/")
        times = len(compiled)
        again = await served.get("/")

    assert first.body == again.body
    assert len(compiled) == times > 1, "what it is based on, too"
    assert threading.main_thread() not in compiled


async def test_the_core_has_its_own_index_where_they_are_not() -> None:
    answer = await get("/", '[sinks.http]\nkind = "http"\n')

    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    assert b"/streams/{stream}" in answer.body


async def test_the_chart_page_knows_its_symbol() -> None:
    html = await page("/chart/ethusdt")

    assert 'data-symbol="ETHUSDT"' in html
    assert "<title>ETHUSDT · flowd</title>" in html


@pytest.mark.parametrize("path", ["/chart", "/chart/"])
async def test_a_chart_of_nothing_shows_the_configured_symbol(path: str) -> None:
    assert 'data-symbol="SOLUSDT"' in await page(path, f'{CONFIG}symbol = "SOLUSDT"\n')


@pytest.mark.parametrize("symbol", ["kPEPE", "xyz:TSLA", "@107", "#1", "A"])
async def test_a_symbol_is_kept_as_the_exchange_writes_it(symbol: str) -> None:
    html = await page(f"/chart/{quote(symbol, safe='')}")

    assert f'data-symbol="{symbol}"' in html


async def test_links_to_an_odd_symbol_lead_to_it() -> None:
    html = await page("/", f'{CONFIG}symbol = "#1"\n')

    assert 'href="/chart/%231"' in html


async def test_symbols_need_not_be_ascii() -> None:
    html = await page("/chart/%E5%B8%81%E5%AE%89%E4%BA%BA%E7%94%9FUSDT")

    assert 'data-symbol="币安人生USDT"' in html


async def test_a_configured_symbol_that_cannot_be_is_refused() -> None:
    with pytest.raises(UserError, match="expected a symbol such as BTCUSDT"):
        await page("/", f'{CONFIG}symbol = "<b>"\n')


@pytest.mark.parametrize("text", HOSTILE)
async def test_what_is_no_symbol_is_said_to_be_none_and_never_becomes_html(text: str) -> None:
    answer = await get(f"/chart/{quote(text, safe='')}")

    html = answer.body.decode()
    assert answer.status == 404
    for dangerous in ("<script>alert", "<img", "onload='", "onerror=alert(1)>", ">49<"):
        assert dangerous not in html
    if "/" not in text:
        assert "cannot be a symbol" in html
        assert re.findall(r"<script[^>]*>", html) == re.findall(
            r'<script [^>]*src="/as[^>]*>', html
        )


async def test_the_page_of_a_trader_knows_its_address_in_lower_case() -> None:
    html = await page(f"/traders/0x{'AB' * 20}")

    assert f'data-address="{ADDRESS}"' in html
    assert "<title>0xabab…abab · flowd</title>" in html
    assert f'href="https://www.flowscan.xyz/address/{ADDRESS}" target="_blank" rel="noop' in html


@pytest.mark.parametrize("text", [*HOSTILE, f"{ADDRESS}0", ADDRESS[:-1], ADDRESS[:-1] + "g"])
async def test_what_is_no_address_is_said_to_be_none_and_never_becomes_html(text: str) -> None:
    answer = await get(f"/traders/{quote(text, safe='')}")

    html = answer.body.decode()
    assert answer.status == 404
    for dangerous in ("<script>alert", "<img", "onload='", "onerror=alert(1)>", ">49<"):
        assert dangerous not in html
    if "/" not in text:
        assert "is no address" in html


@pytest.mark.parametrize("path", ["/heatmap/btcusdt", "/heatmap/kPEPE", "/heatmap", "/heatmap/"])
async def test_the_heatmap_is_of_a_symbol_or_of_the_first_there_is(path: str) -> None:
    html = await page(path)

    symbol = path.partition("/heatmap/")[2].replace("btcusdt", "BTCUSDT")
    assert f'aria-label="{symbol}"' in html
    assert f"<title>{symbol or 'Heatmap'} · flowd</title>" in html


@pytest.mark.parametrize("text", HOSTILE)
async def test_no_heatmap_is_of_what_is_no_symbol(text: str) -> None:
    answer = await get(f"/heatmap/{quote(text, safe='')}")

    assert answer.status == 404
    for dangerous in ("<script>alert", "<img", "onload='", "onerror=alert(1)>", ">49<"):
        assert dangerous not in answer.body.decode()


@pytest.mark.parametrize("known", [True, False])
async def test_pages_know_whether_there_are_traders(known: bool) -> None:
    source = '[sources.positions]\nkind = "changes"\n' if known else ""

    for path in PAGES:
        assert ('data-traders="/traders/"' in await page(path, source + CONFIG)) is known


async def test_every_page_has_the_bar_with_the_place_marked() -> None:
    names = ["Overview", "Chart", "Heatmap", "Fills", "Liquidations", "Analytics", "Traders"]
    for path, current in zip(PAGES, [*names, "Operate"], strict=True):
        html = await page(path)
        marked = re.findall(r'<a href="[^"]+" aria-current="page">([^<]+)</a>', html)
        assert marked == [current]
        assert re.findall(r'<li><a href="([^"]+)"[^>]*>([^<]+)', html) == [
            *zip(["/", "/chart", *PAGES[2:-1]], names, strict=True)
        ]


async def test_the_foot_leads_people_to_pages_and_says_what_is_for_programs() -> None:
    async with daemon(CONFIG, registry=registry(*MODULES)) as served:
        html = (await served.get("/chart")).body.decode()
        foot = re.search(
            r'<span class="foot-end">(.*?) <span>for programs: (.*?)</footer>', html, re.S
        )
        assert foot is not None
        people, programs = (re.findall(r'href="([^"]+)"', part) for part in foot.groups())
        for address in people:
            path, _, place = address.partition("#")
            found = await served.get(path)
            assert found.headers["content-type"].startswith("text/html")
            assert f'id="{place or "main"}"' in found.body.decode()
        kinds = {(await served.get(path)).headers["content-type"] for path in programs}

    assert people == ["/operate", "/operate#streams-title"]
    assert kinds == {"application/json", "text/plain; version=0.0.4"}


@pytest.mark.parametrize("address", [ADDRESS, "nobody"])
async def test_the_bar_marks_the_page_that_a_trader_belongs_to(address: str) -> None:
    html = (await get(f"/traders/{address}")).body.decode()

    assert re.findall(r'aria-current="([^"]+)">([^<]+)</a>', html) == [("true", "Traders")]


async def test_the_overview_leads_to_what_can_be_seen() -> None:
    doors = re.search(r'<nav class="doors".*?</nav>', await page("/"), re.DOTALL)

    assert doors is not None
    assert re.findall(r'<a href="([^"]+)"', doors[0]) == PAGES[1:-1]


@pytest.mark.parametrize(
    ("path", "stream", "title"),
    [
        ("/all-fills", "all-fills", "Fills"),
        ("/liquidations", "liquidations", "Liquidations"),
    ],
)
async def test_a_feed_knows_its_stream_and_its_name(path: str, stream: str, title: str) -> None:
    html = await page(path)

    assert f'data-page="{path[1:]}" data-stream="{stream}"' in html
    assert f"<title>{title} · flowd</title>" in html
    assert 'role="treegrid"' in html


async def test_streams_may_have_other_names() -> None:
    config = f"""{CONFIG}
fills = "my.fills"
liquidations = "forced_2"
analytics = "sums"
liquidation_analytics = "forced-sums"
[sources]
"my.fills" = {{ kind = "fills" }}
forced_2 = {{ kind = "fills" }}
sums = {{ kind = "sums" }}
forced-sums = {{ kind = "sums" }}
"""
    assert 'data-stream="my.fills"' in await page("/all-fills", config)
    assert 'data-stream="forced_2"' in await page("/liquidations", config)
    html = await page("/analytics", config)
    assert 'data-fills="my.fills" data-liquidations="forced_2"' in html
    assert 'data-analytics="sums" data-liquidation-analytics="forced-sums"' in html


@pytest.mark.parametrize("key", ["fills", "liquidations", "analytics", "liquidation_analytics"])
@pytest.mark.parametrize("name", ["", "<b>", "a b", "x" * 201, "other-fills"])
async def test_a_name_that_no_stream_has_is_refused(key: str, name: str) -> None:
    with pytest.raises(UserError, match=f"{key} = .*: there is no such stream"):
        await page("/", f'{CONFIG}{key} = "{name}"\n')


async def test_without_all_fills_the_page_of_fills_shows_public_trades() -> None:
    source = '[sources.public]\nkind = "trades"\n'

    html = await page("/all-fills", source + CONFIG)

    assert 'data-stream="public" data-record="Trade"' in html
    assert 'id="filter-role"' not in html, "a public trade is its taker's"
    more = f'{source}[sources.all-fills]\nkind = "fills"\n'
    html = await page("/all-fills", more + CONFIG)
    assert 'data-stream="all-fills" data-record="Fill"' in html
    assert 'id="filter-role"' in html


async def test_without_a_stream_of_that_name_liquidations_are_those_of_all_venues() -> None:
    sources = "".join(f'[sources.{name}]\nkind = "forced"\n' for name in ("binance", "bybit"))

    html = await page("/liquidations", f'{sources}[sources.other]\nkind = "fills"\n{CONFIG}')

    assert 'data-stream="binance bybit" data-record="Liquidation"' in html


async def test_liquidations_of_several_venues_may_be_named() -> None:
    sources = '[sources.a]\nkind = "forced"\n[sources.b]\nkind = "fills"\n'

    config = f'{sources}{CONFIG}liquidations = ["a", "b"]\n'

    assert 'data-stream="a b" data-record="Liquidation Fill"' in await page("/liquidations", config)
    assert 'data-liquidations="a b"' in await page("/analytics", config)
    with pytest.raises(UserError, match=r'"c": there is no such stream'):
        await page("/", f'{sources}{CONFIG}liquidations = ["a", "c"]\n')


@pytest.mark.parametrize(
    ("key", "others"), [("fills", "Fill or Trade"), ("liquidations", "Fill or Liquidation")]
)
async def test_a_feed_of_something_else_is_refused(key: str, others: str) -> None:
    with pytest.raises(
        UserError, match=f'{key} = "sums": carries Ranking, but pages reads {others}'
    ):
        await page("/", f'{CONFIG}{key} = "sums"\n[sources.sums]\nkind = "sums"\n')


BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"


async def test_who_looks_for_a_page_that_is_not_there_gets_a_way_back() -> None:
    answer = await get("/nowhere/%3Cimg%20src=x%3E", Accept=BROWSER)

    html = answer.body.decode()
    assert (answer.status, answer.headers["content-type"]) == (404, "text/html; charset=utf-8")
    assert "<h1>No such page</h1>" in html
    assert '<a class="action" href="/">' in html
    assert "<img" not in html
    assert answer.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize("accept", ["*/*", "application/json", "application/json, text/html", ""])
async def test_a_program_is_told_the_error_as_before(accept: str) -> None:
    answer = await get("/nowhere", Accept=accept)

    assert (answer.status, answer.json()["error"]["code"]) == (404, "NOT_FOUND")


async def test_what_an_api_does_not_have_is_told_by_the_api_to_a_browser_too() -> None:
    answer = await get("/health/nobody", Accept=BROWSER)

    assert (answer.status, answer.json()["error"]["code"]) == (404, "UNKNOWN_COMPONENT")


async def test_the_mark_is_where_browsers_look_for_it() -> None:
    answer = await get("/favicon.ico")

    assert (answer.status, answer.headers["content-type"]) == (200, "image/svg+xml")


async def test_every_page_has_one_heading_and_landmarks_that_differ() -> None:
    for path in (*PAGES, "/chart/%3Cb%3E", f"/traders/{ADDRESS}"):
        html = await page_of(path)
        assert html.count("<h1") == 1, path
        assert (
            html.count("<main") == html.count('<header class="bar"') == html.count("<footer") == 1
        ), path
        names = re.findall(r'<(?:nav|aside|section)[^>]* aria-label(?:ledby)?="([^"]+)"', html)
        assert len(names) == len(set(names)), path


async def page_of(path: str) -> str:
    return (await get(path)).body.decode()


async def test_pages_hold_no_inline_script_style_or_handler() -> None:
    for path in (*PAGES, "/chart/%3Cb%3E"):
        html = await page(path)
        assert re.findall(r"<script(?![^>]*\bsrc=)", html) == []
        assert re.findall(r"<style|\sstyle=|\son\w+=", html) == []


async def test_pages_load_nothing_from_elsewhere() -> None:
    for path in PAGES:
        html = await page(path)
        loaded = re.findall(r'<(?:script|link|img|iframe)[^>]*(?:src|href)="([^"]+)"', html)
        assert loaded
        assert all(address.startswith("/assets/") for address in loaded)


@pytest.mark.parametrize("path", PAGES)
async def test_the_policy_allows_ourselves_and_nothing_else(path: str) -> None:
    answer = await get(path, Host="flowd.example:4200")

    policy = dict(
        part.strip().partition(" ")[::2]
        for part in answer.headers["content-security-policy"].split(";")
    )
    assert policy["default-src"] == "'none'"
    assert policy["script-src"] == "'self'"
    assert policy["connect-src"] == "'self' ws://flowd.example:4200 wss://flowd.example:4200"
    assert policy["frame-ancestors"] == policy["base-uri"] == "'none'"
    assert "unsafe" not in answer.headers["content-security-policy"]
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["referrer-policy"] == "no-referrer"


@pytest.mark.parametrize("host", ["evil.example; script-src *", "a b", "x\ty", "*", "[::1"])
def test_a_host_that_is_none_adds_nothing_to_the_policy(host: str) -> None:
    policy = flowd_pages.policy(host)

    assert "connect-src 'self'; base-uri" in policy
    assert host not in policy.replace("'none'", "")


def test_the_one_style_that_is_allowed_is_the_logo_of_the_chart_library() -> None:
    needs_packages()
    library = next((HERE / "vendor").glob("*/lightweight-charts.js")).read_text()

    styles = re.findall(r'\.innerText="(a#tv[^"]*)"', library)

    digests = [base64.b64encode(hashlib.sha256(style.encode()).digest()) for style in styles]
    assert [f"'sha256-{digest.decode()}'" for digest in digests] == [flowd_pages.LOGO_STYLE]


# -- assets


async def test_everything_that_pages_load_is_there_with_its_type_and_for_ever() -> None:
    types = {
        "js": "text/javascript",
        "css": "text/css",
        "svg": "image/svg+xml",
        "txt": "text/plain",
    }
    async with daemon(CONFIG, registry=registry(*MODULES)) as served:
        found = await every_asset(served)

    assert {path.rpartition("/")[2] for path in found} >= {
        *("theme.js", "tokens.css", "app.css", "overview.js", "flowd-client.js"),
        *("chart.js", "loading.js", "drawing.js", "view.js", "paint.js", "model.js", "mark.svg"),
        *("feed.js", "feed.css", "groups.js", "table.js", "analytics.js", "analytics.css"),
        *("traders.js", "traders.css", "board.js", "trader.js", "trader.css", "account.js"),
        *("heatmap.js", "heatmap.css", "flowd-heatmap.js", "picture.js", "bitmap.js", "stage.js"),
    }
    for path, answer in found.items():
        assert answer.status == 200, path
        assert answer.headers["content-type"].partition(";")[0] == types[path.rpartition(".")[2]]
        assert answer.headers["cache-control"] == "public, max-age=31536000, immutable"
        assert answer.headers["x-content-type-options"] == "nosniff"


async def test_the_client_has_an_address_that_stays_and_is_asked_for_each_time() -> None:
    async with daemon(CONFIG, registry=registry(*MODULES)) as served:
        first = await served.get("/assets/flowd-client.js")
        again = await served.get(
            "/assets/flowd-client.js", {"If-None-Match": first.headers["etag"]}
        )
        other = await served.get("/assets/flowd-client.js", {"If-None-Match": '"other"'})

    assert (first.status, first.headers["cache-control"]) == (200, "no-cache")
    assert (again.status, again.body, again.headers["etag"]) == (304, b"", first.headers["etag"])
    assert (other.status, other.body) == (200, first.body)


async def test_a_page_of_the_version_before_gets_the_files_of_today_uncached() -> None:
    answer = await get(f"/assets/{'0' * 16}/chart/chart.js")

    assert (answer.status, answer.headers["cache-control"]) == (200, "no-cache")


async def test_a_page_is_gzipped_for_who_accepts_that() -> None:
    async with daemon(CONFIG, registry=registry(*MODULES)) as served:
        plain = await served.get("/operate")
        packed = await served.get("/operate", {"Accept-Encoding": "gzip"})

    assert gzip.decompress(packed.body) == plain.body
    assert packed.headers["content-encoding"] == "gzip"
    assert "content-encoding" not in plain.headers
    assert plain.headers["vary"] == packed.headers["vary"] == "Accept-Encoding"


def test_comments_are_not_served_and_lines_keep_their_numbers() -> None:
    kept = "/** @type {{A}} */ (a).b;\n{}const a = '// kept'; // kept\n{}const b = `\n`;\n"
    whole = kept.format("/**\n * Words.\n */\n", "  // gone\n  /* gone */\n")

    assert uncommented(whole) == kept.format("\n\n\n", "\n\n")


def test_nothing_else_of_a_module_is_taken_for_a_comment() -> None:
    begins = ("/*", "*", "//")
    for path in (HERE / "static").rglob("*.js"):
        whole = path.read_text().split("\n")
        served = read(path, ours=True).body.decode().split("\n")
        gone = [one for one, other in zip(whole, served, strict=True) if one != other]
        assert [one for one in gone if not one.strip().startswith(begins)] == [], path.name
        assert bool(gone) != path.name.startswith("flowd-"), "clients are read by who uses them"


async def test_gzip_comes_to_who_accepts_it_and_either_tag_will_do() -> None:
    async with daemon(CONFIG, registry=registry(*MODULES)) as served:
        plain = await served.get("/assets/app.css")
        packed = await served.get("/assets/app.css", {"Accept-Encoding": "br, gzip"})
        tag = packed.headers["etag"]
        again = await served.get("/assets/app.css", {"If-None-Match": tag})

    assert gzip.decompress(packed.body) == plain.body
    assert packed.headers["content-encoding"] == "gzip"
    assert packed.headers["vary"] == plain.headers["vary"] == "Accept-Encoding"
    assert tag != plain.headers["etag"]
    assert again.status == 304


@pytest.mark.parametrize(
    "name",
    [
        *("../__init__.py", "..%2f__init__.py", "%2e%2e/__init__.py", "....//__init__.py"),
        *("/etc/passwd", "%2fetc%2fpasswd", "chart/../../package.json", "vendor/../package.json"),
        *("__init__.py", "package.json", "templates/base.html", "vendor/stamp", "vendor"),
        *("vendor/notices.json", "", "chart", "chart/", "nothing.js", "app.css%00", "app.css/"),
        *("0000000000000000/../fetch.py", "0000000000000000/", "APP.CSS"),
    ],
)
async def test_only_known_files_are_served(name: str) -> None:
    answer = await get(f"/assets/{name}")

    assert answer.status in (308, 404), answer.body[:200]
    assert b"import" not in answer.body


def test_files_of_other_kinds_are_not_served(tmp_path: Path) -> None:
    for name in ("a.js", "b.py", "c.map", "d"):
        (tmp_path / name).write_text("x")
    (tmp_path / "e.js").mkdir()

    assets = Assets(tmp_path, tmp_path / "no vendor")

    assert list(assets._files) == ["a.js"]
    assert (assets.charts, assets.notices) == (None, [])


def test_any_change_changes_the_address_of_all(tmp_path: Path) -> None:
    (tmp_path / "a.js").write_text("import './b.js';")
    (tmp_path / "b.js").write_text("1")
    before = Assets(tmp_path, tmp_path / "none").base

    (tmp_path / "b.js").write_text("2")

    assert Assets(tmp_path, tmp_path / "none").base != before


# -- third parties


@pytest.mark.parametrize("path", ["/chart/BTCUSDT", f"/traders/{ADDRESS}"])
async def test_the_notice_of_the_chart_library_is_on_each_page_with_a_chart(path: str) -> None:
    needs_packages()
    version = PACKAGE["dependencies"]["lightweight-charts"]

    html = await page(path)

    assert f"{version} © TradingView, Inc." in html
    assert 'href="https://www.tradingview.com/"' in html
    assert f"fancy-canvas {PACKAGE['dependencies']['fancy-canvas']}, MIT" in html
    licence = await get(f"/assets/vendor/lightweight-charts-{version}/LICENSE.txt")
    assert b"Apache License" in licence.body


def test_the_logo_of_the_chart_library_is_on() -> None:
    assert "attributionLogo: true" in (HERE / "static/chart/paint.js").read_text()
    for view in ("chart/view.js", "traders/pricechart.js"):
        assert "applyOptions(dressed(" in (HERE / "static" / view).read_text()


def test_what_is_served_is_what_the_lock_file_says() -> None:
    needs_packages()
    for name, version in PACKAGE["dependencies"].items():
        assert LOCK["packages"][f"node_modules/{name}"]["version"] == version
    served = {path.name for path in (HERE / "vendor").iterdir() if path.is_dir()}
    assert served == {f"lightweight-charts-{PACKAGE['dependencies']['lightweight-charts']}"}
    library = next((HERE / "vendor").glob("*/lightweight-charts.js")).read_text()
    assert f"v{PACKAGE['dependencies']['lightweight-charts']}" in library[:200]


def test_every_package_is_pinned_with_integrity_and_without_a_host() -> None:
    exact = re.compile(r"\d+\.\d+\.\d+")
    for kind in ("dependencies", "devDependencies"):
        assert all(exact.fullmatch(version) for version in PACKAGE[kind].values())
    packages = {name: found for name, found in LOCK["packages"].items() if name}
    for name, found in packages.items():
        assert found["integrity"].startswith("sha512-"), name
        assert found.get("resolved", "https://registry.npmjs.org/").startswith(
            "https://registry.npmjs.org/"
        )


def test_no_third_partys_code_is_kept() -> None:
    needs("git")
    tracked = subprocess.run(
        ["git", "ls-files", "."], cwd=HERE, capture_output=True, text=True, check=False
    )
    if tracked.returncode != 0:
        pytest.skip("this is no git checkout")
    names = tracked.stdout.split()
    assert not [name for name in names if name.startswith(("vendor/", "node_modules/"))]


async def test_without_the_chart_library_the_page_is_served_and_says_so_to_the_script(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(flowd_pages, "Assets", lambda static, vendor: Assets(static, tmp_path))

    html = await page("/chart/BTCUSDT")

    assert 'data-charts=""' in html
    assert "Lightweight Charts" not in html


def test_a_build_without_npm_goes_on_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = copied(tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))

    assert "npm is not installed" in fetch.fetch(folder)
    assert not (folder / "vendor").exists()


def test_a_build_whose_npm_fails_goes_on_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = copied(tmp_path)
    npm = tmp_path / "npm"
    npm.write_text("#!/bin/sh\necho 'no network' >&2\nexit 1\n")
    npm.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")

    assert fetch.fetch(folder).endswith("the pages are built without charts: no network")
    assert not (folder / "vendor").exists()


def copied(tmp_path: Path) -> Path:
    folder = tmp_path / "pages"
    folder.mkdir()
    for name in ("package.json", "package-lock.json", "fetch.py"):
        shutil.copy(HERE / name, folder / name)
    return folder


# -- the style, and what runs in the browser


def test_colours_are_said_in_the_tokens_and_nowhere_else() -> None:
    text = "".join(path.read_text() for path in STYLES)
    rules = re.findall(r":\s*([^;{}]+);", text)
    assert len(rules) > 500
    assert [rule for rule in rules if re.search(r"#[0-9a-f]{3}|\b(rgb|hsl|oklch)", rule)] == []

    quoted = re.compile(r"""['"`](#[0-9a-fA-F]{3,8}|(?:rgb|hsl)a?\([^'"`]*)['"`]""")
    for file in (HERE / "static").rglob("*.js"):
        assert quoted.findall(file.read_text()) == [], file.name


def test_every_token_that_is_used_is_defined() -> None:
    defined = set(re.findall(r"(--[\w-]+):", (HERE / "static/tokens.css").read_text()))

    for path in STYLES:
        assert set(re.findall(r"var\((--[\w-]+)\)", path.read_text())) <= defined, path.name


def contrast(one: str, other: str) -> float:
    """By the formula of WCAG 2."""

    def luminance(colour: str) -> float:
        parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
        linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("theme", [0, 1], ids=["light", "dark"])
def test_words_can_be_read_on_every_surface(theme: int) -> None:
    text = (HERE / "static/tokens.css").read_text()
    tokens = {
        name: values[theme]
        for name, *values in re.findall(r"--([\w-]+): light-dark\((#\w{6}), (#\w{6})\)", text)
    }
    for word in ("text", "muted", "buy", "sell", "warn", "accent"):
        softly = ("buy-soft", "sell-soft", "warn-soft", "accent-soft")
        for surface in ("ground", "panel", "raised", "hover", *softly):
            assert contrast(tokens[word], tokens[surface]) >= 4.5, (word, surface)
    assert contrast(tokens["on-accent"], tokens["accent"]) >= 4.5
    for step in range(1, 7):
        assert contrast(tokens["text"], tokens[f"heat-{step}"]) >= 4.5, step


def test_no_string_is_ever_read_as_html() -> None:
    forbidden = re.compile(
        r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|createContextualFragment"
        r"|\beval\(|new Function|DOMParser|setAttribute\('on|\.srcdoc"
    )
    for file in (HERE / "static").rglob("*.js"):
        assert not forbidden.search(file.read_text()), file.name


def test_every_link_to_elsewhere_keeps_who_follows_it_to_themselves() -> None:
    for file in (HERE / "static").rglob("*.js"):
        for call in re.findall(r"h\('a', \{[^}]*_blank[^}]*\}", file.read_text()):
            assert "rel: 'noopener noreferrer'" in call, file.name


def run(command: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, cwd=HERE, capture_output=True, text=True, timeout=100, check=False
    )


@pytest.mark.edge
def test_the_types_of_the_modules_are_right() -> None:
    needs_packages(development=True)

    done = run(["node_modules/.bin/tsc"])

    assert done.returncode == 0, done.stdout


@pytest.mark.edge
def test_the_modules_pass_their_own_tests() -> None:
    needs("node")

    done = run(["node", "--test", "--test-reporter=spec", "tests/"])

    assert done.returncode == 0, done.stdout[-4000:] + done.stderr
    assert found(done.stdout, "pass") >= 90
    assert found(done.stdout, "fail") == found(done.stdout, "skipped") == 0


def found(report: str, word: str) -> int:
    match: Any = re.search(rf"{word} (\d+)", report)
    return int(match[1])
