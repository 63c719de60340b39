"""The documentation is true: its code runs here, and nothing is left undescribed."""

import importlib.util
import inspect
import json
import re
import shlex
import threading
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from random import Random
from types import ModuleType
from typing import Any
from urllib.parse import urlsplit

import attrs
import pytest
import trio
import trio_websocket
import typer
from quart_trio import QuartTrio
from trio.testing import wait_all_tasks_blocked
from typer.testing import CliRunner

from flowd import cli, market, plugin, testing, traders
from flowd.door.desk import bind
from flowd.door.paths import Hot, Live
from flowd.door.readers import Readers
from flowd.operate import web
from flowd.operate.status import ComponentStatus, Status
from flowd.setup import checks, config, registry, wiring
from flowd.upstream import outages as outage
from flowd.values import settings as setting
from flowd.values.record import Batch, Gap, Position, Record
from tests.edge.exchange import Exchange
from tests.edge.peers import connect
from tests.edge.process import Flowd, command

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
REFERENCE = DOCS / "reference"
EXAMPLES = DOCS / "examples"
AT_THE_TOP = [ROOT / name for name in ("README.md", "CHANGELOG.md", "CONTRIBUTING.md")]
CLIENTS = sorted((ROOT / "clients").glob("*/README.md"))
PAGES = [*AT_THE_TOP, *sorted(DOCS.rglob("*.md")), *CLIENTS]
OURS = registry.load()
ALL = registry.load(EXAMPLES)


def example(name: str) -> ModuleType:
    """A module of docs/examples, as `--plugins-dir` imports it."""
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


flowd_bigfish = example("flowd_bigfish")
flowd_bitstamp = example("flowd_bitstamp")
flowd_ndjson = example("flowd_ndjson")
flowd_volume = example("flowd_volume")

SUBSCRIBED = '{"event": "bts:subscription_succeeded", "channel": "live_trades_btcusd", "data": {}}'
TRADE = """{"event": "trade", "channel": "live_trades_btcusd", "data": {"id": 318290114, "type": 0,
  "amount": 0.25, "amount_str": "0.25", "price": 43000.5, "price_str": "43000.5",
  "timestamp": "1700000001", "microtimestamp": "1700000001123000"}}"""


def liquidation(number: int, side: Any = "SELL", symbol: str = "BTCUSDT") -> market.Liquidation:
    notional = Decimal(number)
    return market.Liquidation(
        symbol, side, notional, Decimal(1), notional, 1_700_000_000_000 + number, f"id-{number}"
    )


# -- the examples, each on its own --


async def test_a_trade_becomes_a_record(autojump_clock, nursery):
    feed = testing.feed(testing.says(SUBSCRIBED, TRADE, TRADE))
    nursery.start_soon(flowd_bitstamp.trades, flowd_bitstamp.Config(), feed)

    await wait_all_tasks_blocked()

    (record,) = feed.stream.cursor().read().records
    assert record.value == flowd_bitstamp.Trade("btcusd", Decimal("43000.5"), Decimal("0.25"))
    nursery.cancel_scope.cancel()


async def test_the_source_subscribes_to_its_pair(autojump_clock, nursery):
    feed = testing.feed(testing.hears())
    nursery.start_soon(flowd_bitstamp.trades, flowd_bitstamp.Config(pair="etheur"), feed)

    await wait_all_tasks_blocked()

    (said,) = feed.upstream.heard
    assert json.loads(said)["data"] == {"channel": "live_trades_etheur"}
    nursery.cancel_scope.cancel()


async def test_volume_adds_up_per_symbol_and_minute_and_side(autojump_clock):
    orders = testing.stream(
        "orders",
        [liquidation(1), liquidation(2, "BUY"), liquidation(3), liquidation(60_004)],
        record=market.Liquidation,
    )
    feed = testing.feed(record=flowd_volume.Bucket)
    orders.close()

    settings = flowd_volume.Config("orders")
    await flowd_volume.volume(settings, testing.streams(orders), feed)

    first, second = feed.values
    assert (first.sell, first.buy, first.count) == (4, 2, 3)
    assert (second.sell, second.count) == (60_004, 1)
    assert second.time_ms - first.time_ms == 60_000


async def test_volume_that_is_started_again_counts_nothing_twice(autojump_clock):
    orders = testing.stream("orders", [liquidation(1), liquidation(2)], record=market.Liquidation)
    feed, places = testing.feed(record=flowd_volume.Bucket), dict[str, int]()
    run = partial(flowd_volume.volume, flowd_volume.Config("orders"))
    with trio.move_on_after(1):
        await run(testing.streams(orders, places=places), feed)

    orders.append(liquidation(4))
    with trio.move_on_after(1):
        await run(testing.streams(orders, places=places), feed)

    (bucket,) = feed.values
    assert (bucket.sell, bucket.count) == (7, 3)


def test_ndjson_is_one_line_per_record():
    records = [Record(n, 1, {"n": n}) for n in (1, 2)]

    lines = flowd_ndjson.lines(Batch("s", records, Position("e", 2))).splitlines()

    assert [json.loads(line)["seq"] for line in lines] == [1, 2]


# -- the examples in a real daemon --


@pytest.mark.edge
def test_the_plugins_directory_is_found():
    found = command("plugins", "--plugins-dir", str(EXAMPLES))

    assert found.returncode == 0
    for brings in ("source bitstamp-trades", "sink bigfish", "sink ndjson", "volume-per-minute"):
        assert brings in found.stdout


@contextmanager
def webhook() -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """A web server on loopback, and what was posted to it."""
    posted: list[dict[str, Any]] = []

    class Receiver(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            assert self.headers["Content-Type"] == "application/json"
            posted.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *words: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Receiver) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/bigfish", posted
        finally:
            server.shutdown()
            thread.join(10)


async def bitstamp(request: trio_websocket.WebSocketRequest) -> None:
    """Bitstamp, on loopback: acknowledges, tells one trade twice and then another."""
    try:
        connection = await request.accept()
        wish = json.loads(await connection.get_message())
        assert wish == {"event": "bts:subscribe", "data": {"channel": "live_trades_btcusd"}}
        for text in (SUBSCRIBED, TRADE, TRADE, TRADE.replace("318290114", "318290115")):
            await connection.send_message(text)
        await trio.sleep_forever()
    except trio_websocket.ConnectionClosed:
        pass


def on_loopback(bitstamp_url: str, binance_url: str, webhook_url: str) -> str:
    """examples.toml, word for word but for where its upstreams are and how large is large."""
    text = (EXAMPLES / "examples.toml").read_text(encoding="utf-8")
    for line, instead in (
        ('pair = "btcusd"', f'pair = "btcusd"\nurl = "{bitstamp_url}"'),
        ('symbols = ["*"]', f'symbols = ["*"]\nurl = "{binance_url}"'),
        ('webhook = "http://127.0.0.1:9000/bigfish"', f'webhook = "{webhook_url}"'),
        ("at_least_usd = 1_000_000", "at_least_usd = 4"),
    ):
        assert text.count(line) == 1
        text = text.replace(line, instead)
    return text


@pytest.mark.edge
async def test_the_example_plugins_work_in_a_real_daemon(nursery, tmp_path):
    upstream = await nursery.start(trio_websocket.serve_websocket, bitstamp, "127.0.0.1", 0, None)
    with Exchange() as exchange, webhook() as (address, posted):
        text = on_loopback(f"ws://127.0.0.1:{upstream.port}", exchange.url, address)
        arguments = ["--plugins-dir", str(EXAMPLES)]
        with Flowd(tmp_path / "flowd", exchange.url, arguments=arguments) as daemon:
            settings = f'[flowd]\nlisten = "127.0.0.1:0"\nstate = "{daemon.state}"\n'
            daemon.config.write_text(settings + text)
            await daemon.start()
            exchange.say(5)

            lines = await follow(daemon, "/ndjson/force-orders", 5)
            volume = await daemon.until(partial(daemon.poll, "", "volume"), counted(5))
            await daemon.until(lambda: posts(posted), lambda found: len(found) == 2)
            trades = await daemon.poll("", "trades")

            assert [line["value"]["price"] for line in lines] == ["1", "2", "3", "4", "5"]
            assert [record["key"] for record in volume["records"]] == ["BTCUSDT/1789999980000"]
            assert volume["records"][0]["value"]["sell"] == "15"
            assert [record["value"]["price"] for record in posted] == ["4", "5"]
            assert posted == lines[3:]
            amounts = [record["value"]["amount"] for record in trades["records"]]
            assert amounts == ["0.25", "0.25"]

            await daemon.stop()
            await daemon.start()
            exchange.say(1)

            volume = await daemon.until(partial(daemon.poll, "", "volume"), counted(6))
            assert volume["records"][0]["value"]["sell"] == "21"
            await daemon.stop()
    nursery.cancel_scope.cancel()


async def follow(daemon: Flowd, path: str, count: int) -> list[dict[str, Any]]:
    """The first lines of an endless response, as `curl -N` shows them."""
    head, body = b"", b""
    stream = await connect(daemon.port)
    async with stream:
        await stream.send_all(f"GET {path} HTTP/1.1\r\nHost: flowd\r\n\r\n".encode())
        with trio.fail_after(10):
            while len(lines := [line for line in body.splitlines() if line]) < count:
                head += await stream.receive_some()
                body = head.partition(b"\r\n\r\n")[2]
    return [json.loads(line) for line in lines[:count]]


async def posts(posted: list[dict[str, Any]]) -> list[dict[str, Any]]:
    await trio.lowlevel.checkpoint()
    return posted


def counted(count: int) -> Any:
    return lambda found: sum(record["value"]["count"] for record in found["records"]) == count


# -- code in the docs --

BLOCK = re.compile(
    r"(?:<!-- file: (\S+) -->\n)?^```(\w+)?[^\n]*\n(.*?)^```$", re.MULTILINE | re.DOTALL
)
"""A block of code: the file it is from, its language, its text."""


def blocks(*languages: str) -> list[Any]:
    return [
        pytest.param(page, file or None, text, id=f"{page.relative_to(ROOT)}-{number}")
        for page in PAGES
        for number, (file, language, text) in enumerate(BLOCK.findall(page.read_text("utf-8")), 1)
        if language in languages
    ]


def source(reference: str) -> str:
    """The file, or the one function in it, that `PATH` or `PATH#name` refers to."""
    path, _, name = reference.partition("#")
    if not name:
        return (ROOT / path).read_text(encoding="utf-8")
    assert path == f"tests/{Path(__file__).name}"
    return inspect.getsource(globals()[name])


@pytest.mark.parametrize(("page", "file", "text"), blocks("python"))
def test_python_in_the_docs_is_a_file_that_is_tested(page, file, text):
    assert file is not None, "begin it with <!-- file: docs/examples/… -->"
    assert text.strip() == source(file).strip()


@pytest.mark.parametrize(("page", "file", "text"), blocks("toml"))
def test_toml_in_the_docs_is_a_good_configuration(page, file, text):
    if file is not None:
        assert text.strip() == source(file).strip()
    if "[project]" in text:
        assert "flowd" in tomllib.loads(text)["project"]["entry-points"]
    else:
        config.parse(text, ALL)


def test_the_readme_and_the_example_configuration_would_run(tmp_path):
    ((readme,),) = [
        [text for _, language, text in BLOCK.findall(page.read_text("utf-8")) if language == "toml"]
        for page in PAGES[:1]
    ]
    example = (ROOT / "flowd.toml.example").read_text(encoding="utf-8")

    for text in (readme, example):
        file = tmp_path / "flowd.toml"
        file.write_text(text, encoding="utf-8")
        checks.load(file, OURS)
        assert CliRunner().invoke(cli.app, ["check", "-c", str(file)]).exit_code == 0
    assert len(readme.splitlines()) == 5


def test_the_example_configuration_shows_every_key_of_the_daemon():
    text = (ROOT / "flowd.toml.example").read_text(encoding="utf-8")

    for attribute in attrs.fields(config.Settings):
        assert re.search(rf"^(# )?{attribute.name} = ", text, re.MULTILINE), attribute.name


@pytest.mark.parametrize(("page", "file", "text"), blocks("json"))
def test_json_in_the_docs_is_json(page, file, text):
    try:
        json.loads(text)
    except ValueError:
        for line in text.splitlines():
            json.loads(line)


@pytest.mark.parametrize(("page", "file", "text"), blocks("console"))
def test_commands_in_the_docs_exist(page, file, text):
    known = commands()
    for line in re.findall(r"^\$ (.*)$", text, re.MULTILINE):
        words = shlex.split(line, comments=True)
        if words[0] == "flowd":
            options = {option for one in known[words[1]].params for option in one.opts}
            assert {word for word in words[2:] if word.startswith("-")} <= options | {"|"}
        elif words[0] == "make":
            assert re.search(rf"^{words[1]}:", source("Makefile"), re.MULTILINE)
        for word in words:
            if word.startswith(("http://127", "ws://127")):
                served(urlsplit(word).path)


def served(path: str) -> None:
    patterns = [*endpoints(), "/ndjson/{stream}"]
    assert any(re.fullmatch(re.sub(r"{\w+}", "[^/]+", known), path) for known in patterns), path


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
        if target.startswith(("http://", "https://")):
            continue
        name, _, anchor = target.partition("#")
        file = (page.parent / name).resolve() if name else page
        assert file.exists(), target
        if anchor:
            assert anchor in {slug(title) for title in headings(file)}, target


def test_each_promise_names_tests_that_exist():
    text = (DOCS / "promises.md").read_text(encoding="utf-8")
    rows = [line for line in re.findall(r"^\| .*$", text, re.M) if "| held by |" not in line]

    assert len(rows) > 50
    for row in rows:
        named = re.findall(r"`(tests/[\w/]+\.py)::(test_\w+)`", row)
        assert named, row
        for file, name in named:
            there = (ROOT / file).read_text(encoding="utf-8")
            assert re.search(rf"^(async )?def {name}\(", there, re.M), f"{file}::{name}"


def headings(page: Path) -> list[str]:
    return re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)


def slug(heading: str) -> str:
    """A heading's anchor, as GitHub makes it."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def test_who_wants_to_change_something_finds_every_folder_and_no_file_that_is_gone():
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")

    named = set(re.findall(r"`((?:flowd|plugins|tests|docs)/[\w/.]*)`", text))

    assert not {path for path in named if not (ROOT / path).exists()}
    assert named >= {f"flowd/{path.parent.name}/" for path in (ROOT / "flowd").glob("*/*.py")}
    assert len(text.splitlines()) <= 100, "it is read in one go"


# -- nothing is left undescribed --


def section(page: Path, heading: str) -> str:
    """What stands below a heading, up to the next of its rank."""
    text = page.read_text(encoding="utf-8")
    match = re.search(rf"^(#+) {re.escape(heading)}\n", text, re.MULTILINE)
    assert match is not None, f'{page.relative_to(ROOT)} has no section "{heading}"'
    rest = text[match.end() :]
    end = re.search(rf"^#{{1,{len(match[1])}}} ", rest, re.MULTILINE)
    return rest[: end.start()] if end else rest


def rows(text: str) -> dict[str, str]:
    """The words in backticks that begin the rows of a section's tables, with what the row says."""
    found: dict[str, str] = {}
    for line in text.splitlines():
        if line.startswith("|"):
            first, *others = (cell.strip() for cell in line.strip("|").split("|"))
            found |= dict.fromkeys(re.findall(r"`([^`]+)`", first), " ".join(others).strip())
    return found


def commands() -> dict[str, Any]:
    """All commands of `flowd`, those of our plugins too."""
    found: dict[str, Any] = {}
    for app in (cli.app, *OURS.commands):
        one: Any = typer.main.get_command(app)
        found |= getattr(one, "commands", {one.name: one})
    return found


def kinds() -> dict[str, type]:
    """The settings of every kind of component that comes with flowd."""
    tables = (OURS.sources, OURS.transforms, OURS.sinks)
    return {one.kind: one.config for table in tables for one in table.values()}


def keys(settings: type) -> set[str]:
    return {attribute.name for attribute in attrs.fields(settings)}


def test_every_key_of_a_source_that_a_sink_is_named_like_is_described():
    told = rows(section(REFERENCE / "config.md", "`redis` as a source"))

    assert set(told) == keys(OURS.sources["redis"].config)
    assert all(told.values())


def test_every_hook_has_a_paragraph():
    hooks = {name for name in vars(plugin) if name.startswith("flowd_")}

    for hook in hooks:
        assert len(section(REFERENCE / "plugins.md", f"`{hook}`").split()) > 15


def test_every_name_of_the_plugin_api_is_described():
    told = rows(section(REFERENCE / "plugins.md", "`flowd.plugin`"))

    assert set(plugin.__all__) - set(told) == set()
    assert all(told[name] for name in plugin.__all__)


def test_every_field_of_live_is_described():
    told = rows(section(REFERENCE / "plugins.md", "Live"))

    assert set(told) == keys(Live)


def test_every_key_of_the_daemon_is_described():
    told = rows(section(REFERENCE / "config.md", "`[flowd]`"))

    assert set(told) == keys(config.Settings)
    assert all(told.values())


def test_every_key_that_components_share_is_described():
    told = rows(section(REFERENCE / "config.md", "Keys of every source and transform"))

    assert set(told) == keys(config.Common) | {"kind"}


@pytest.mark.parametrize("kind", sorted(kinds()))
def test_every_key_of_every_kind_is_described(kind):
    told = rows(section(REFERENCE / "config.md", f"`{kind}`"))

    assert set(told) == keys(kinds()[kind])
    for attribute in attrs.fields(kinds()[kind]):
        default = told[attribute.name].split()[0]
        assert told[attribute.name].split(maxsplit=1)[1:], attribute.name
        assert (default == "required") == (attribute.default is attrs.NOTHING), attribute.name
        if isinstance(attribute.default, str | int) and not isinstance(attribute.default, bool):
            shown = re.match(r"`(.*?)`", told[attribute.name])
            assert shown is not None, attribute.name
            toml = f"sinks.x = {{ kind = 'x', x = {shown[1]} }}"
            value = tomllib.loads(toml)["sinks"]["x"]["x"]
            same = value == attribute.default
            assert same or setting.size(value) == attribute.default, attribute.name


def test_every_command_and_option_is_described():
    for name, one in commands().items():
        text = section(REFERENCE / "cli.md", f"`flowd {name}`")
        assert len(text.split()) > 15
        # A single command is an app of its own here, with the options that are for one's shell.
        for parameter in (p for p in one.params if "completion" not in p.name):
            words = parameter.opts if parameter.opts[0].startswith("-") else [parameter.name]
            for word in words:
                assert f"`{word}`" in text, f"{name} {word}"


ALL_OF_IT = """
sources.orders = { kind = "binance-force-order", symbols = ["*"] }
sources.candles = { kind = "binance-candles", symbols = ["BTCUSDT"], interval = "1m" }
sources.open-interest = { kind = "binance-open-interest" }
sources.binance-instruments = { kind = "binance-instruments" }
sources.bybit = { kind = "bybit-liquidations", symbols = ["*"] }
sources.bybit-listed = { kind = "bybit-instruments" }
sources.okx = { kind = "okx-liquidations", symbols = ["*"] }
sources.okx-listed = { kind = "okx-instruments" }
transforms.volume = { kind = "liquidation-volume", input = "orders" }
sources.fills = { kind = "hydromancer", subscription = "allFills", api_key = { env = "KEY" } }
sources.traders = { kind = "hyperliquid-discovery", coins = ["BTC"] }
transforms.positions = { kind = "hyperliquid-tracking", input = "traders" }
transforms.totals = { kind = "totals", input = "fills" }
transforms.leaderboard = { kind = "leaderboard", fills = "fills" }
sinks.a = { kind = "http" }
sinks.feed = { kind = "http-feed", path = "/api/all-fills", input = "fills", items = "fills" }
sinks.b = { kind = "sse" }
sinks.c = { kind = "websocket" }
sinks.d = { kind = "liquidation-websocket", orders = "orders", volume = "volume" }
sinks.e = { kind = "candles", inputs = ["candles"] }
sinks.f = { kind = "pages" }
sinks.g = { kind = "history", inputs = ["orders"] }
sinks.pg = { kind = "history", inputs = ["orders"], database = "postgresql://localhost/market" }
sinks.i = { kind = "traders-http" }
sinks.j = { kind = "heatmap-websocket" }
sinks.relay = { kind = "relay", url = "http://127.0.0.1:4201" }
sinks.h = { kind = "webhook", input = "orders", url = "http://127.0.0.1:9000/" }
sinks.kafka = { kind = "kafka", inputs = ["orders"] }
sinks.nats = { kind = "nats", inputs = ["orders"] }
transforms.whales = { kind = "position-alerts", input = "positions", events = ["FLIP"] }
transforms.alerts = { kind = "alerts", input = "volume" }
transforms.alert-lines = { kind = "alert-lines", input = "candles" }
sinks.k = { kind = "alert-lines-http" }
sinks.redis = { kind = "redis", inputs = ["orders"], url = "redis://127.0.0.1:6379/0" }
[transforms.heatmap]
kind = "liquidation-heatmap"
candles = "candles"
open_interest = "open-interest"
"""
"""One component of each kind that comes with flowd."""


def endpoints() -> list[str]:
    """All paths that flowd and its sinks serve, written as in the docs."""
    every = config.parse(ALL_OF_IT, OURS)
    core = web.build(
        status=testing.feed,
        streams={},
        describe=dict,
        check_admin=print,
        readers=Readers({}, None, testing.clock, Random(0)),
        reconnect=print,
    )
    pages = QuartTrio("sinks", static_folder=None)
    plan = wiring.plan(every)
    streams = testing.streams(*(testing.stream(n, record=r) for n, r in plan.records.items()))
    paths: list[str] = []
    for sink in every.of("sinks"):
        for make in (sink.definition.live, sink.definition.hot):
            made: Live | Hot | list[Live | Hot] = make(sink.settings) if make else []
            paths += [one.path for one in (made if isinstance(made, list) else [made])]
        if sink.definition.routes is not None:
            routes = bind(sink.definition.routes, sink.settings, streams, testing.desk())
            pages.register_blueprint(routes())
    rules = [str(rule) for app in (core, pages) for rule in app.url_map.iter_rules()]
    return [re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", path) for path in [*paths, *rules]]


def test_every_kind_is_looked_at():
    every = config.parse(ALL_OF_IT, OURS)

    missing = set(kinds()) - {component.kind for component in every.components}

    assert not missing, "add a component of this kind to ALL_OF_IT"


def test_every_endpoint_is_described():
    text = (REFERENCE / "http.md").read_text(encoding="utf-8")
    # A history has an address per stream beside the general one, and some pages one with a slash.
    same = {
        "/streams/orders/history": "/streams/{name}/history",
        "/chart/": "/chart",
        "/heatmap/": "/heatmap",
    }

    for path in endpoints():
        assert re.search(
            rf"^\| .*`(GET|POST|PUT) {re.escape(same.get(path, path))}`", text, re.M
        ), path


def test_every_error_code_is_described():
    told = rows(section(REFERENCE / "http.md", "Errors"))
    written = {
        code
        for folder in ("flowd", "plugins")
        for file in (ROOT / folder).rglob("*.py")
        for code in re.findall(r'code(?:: str)? ?= ?"([A-Z_]+)"', file.read_text("utf-8"))
    }

    assert written | {"INTERNAL_ERROR", "UNKNOWN_COMPONENT"} <= set(told)


SHARED = [
    value
    for module in (market, traders)
    for value in vars(module).values()
    if isinstance(value, type) and attrs.has(value) and value.__module__ == module.__name__
]


@pytest.mark.parametrize(
    "record",
    [*SHARED, outage.Outage],
    ids=lambda record: record.__name__,
)
def test_every_field_of_the_shared_records_is_described(record):
    told = rows(section(REFERENCE / "records.md", f"`{record.__name__}`"))

    assert list(told) == [attribute.name for attribute in attrs.fields(record)]


def test_every_shared_record_is_described():
    records = {record.__name__ for record in SHARED}

    assert {"Liquidation", "Standing"} <= records
    assert records <= {title.strip("`") for title in headings(REFERENCE / "records.md")}


async def test_every_field_of_the_status_is_described(autojump_clock):
    text = section(REFERENCE / "http.md", "Status")
    async with testing.daemon('sources.o = {kind = "binance-force-order", symbols = ["*"]}') as one:
        found = (await one.get("/status")).json()

    told = set(re.findall(r"`(\w+)`", text))
    assert {a.name for kind in (Status, ComponentStatus) for a in attrs.fields(kind)} <= told
    for part in ("clients", "snapshot", "loop", "memory"):
        assert set(found[part]) <= told
    assert {key for stream in found["streams"] for key in stream} <= told


async def test_the_metrics_that_the_docs_alert_on_exist(autojump_clock):
    async with testing.daemon('sources.o = {kind = "binance-force-order", symbols = ["*"]}') as one:
        found = (await one.get("/metrics")).body.decode()

    known = set(re.findall(r"^# TYPE (\w+)", found, re.MULTILINE))
    told = re.findall(
        r"\b(flowd_[a-z_]+)", section(DOCS / "how-to.md", "Watch it: metrics and alerts")
    )
    assert len(told) > 2
    assert set(told) <= known


# -- wire formats: the examples have exactly the fields that are sent --


def samples(page: str, heading: str) -> list[dict[str, Any]]:
    """The JSON examples of a section."""
    found: list[dict[str, Any]] = []
    for _, language, text in BLOCK.findall(section(REFERENCE / page, heading)):
        if language == "json":
            try:
                found.append(json.loads(text))
            except ValueError:
                found += [json.loads(line) for line in text.splitlines()]
    return found


def shape(value: Any) -> Any:
    """The names of the fields, in order, all the way down."""
    return {key: shape(part) for key, part in value.items()} if isinstance(value, dict) else None


def by_type(messages: list[dict[str, Any]]) -> dict[str, Any]:
    return {message["type"]: shape({**message, "gap": None}) for message in messages}


CONFIG = """
sources.force-orders = { kind = "binance-force-order", symbols = ["*"], retain = 3 }
sinks.http = { kind = "http" }
sinks.websocket = { kind = "websocket" }
"""


async def test_polls_look_as_described(autojump_clock):
    async with testing.daemon(CONFIG) as daemon:
        daemon.streams["force-orders"].append(liquidation(1))
        answer = (await daemon.get("/streams/force-orders")).json()
        refused = (await daemon.get("/streams/nope")).json()
        health = (await daemon.get("/health")).json()

    (told,) = samples("http.md", "Polls")
    assert shape(answer) == shape(told)
    assert [shape(refused)] == list(map(shape, samples("http.md", "Errors")))
    assert list(health) == list(samples("http.md", "Health")[0])
    (record,) = samples("records.md", "Records")[:1]
    assert shape(answer["records"][0]) == shape(record)
    readme = BLOCK.findall((ROOT / "README.md").read_text("utf-8"))
    (shown,) = [json.loads(text) for _, language, text in readme if language == "json"]
    assert shape(shown) == shape(answer)
    assert shape(shown["records"][0]) == shape(record)


async def test_websocket_messages_look_as_described(autojump_clock):
    async with testing.daemon(CONFIG) as daemon:
        stream = daemon.streams["force-orders"]
        for number in range(1, 6):
            stream.append(liquidation(number))
        late = daemon.connect(f"/ws?streams=force-orders&after={stream.epoch}.1")
        lost = daemon.connect("/ws?streams=force-orders&after=other.1")
        lost.say({"action": "ping", "id": 1})
        lost.say({"action": "subscribe", "streams": "nope", "id": 2})
        await wait_all_tasks_blocked()
        heard = late.messages() + lost.messages()
        warn = daemon.door.routes[-1].leads_to.warn
        heard.append(json.loads(warn("force-orders", 1234)))

    assert by_type(heard) == by_type(samples("websocket.md", "What you hear"))


async def test_what_the_docs_say_to_a_websocket_is_understood(autojump_clock):
    async with testing.daemon(CONFIG) as daemon:
        client = daemon.connect("/ws")
        for message in samples("websocket.md", "What you may say"):
            client.say(message)
        await wait_all_tasks_blocked()

        assert "error" not in {message["type"] for message in client.messages()}
        assert client.session.follows == ["force-orders"]


async def test_sse_events_are_the_described_ones():
    told = set(rows(section(REFERENCE / "sse.md", "Events")))
    (sse,) = [one.live(one.config()) for one in OURS.sinks.values() if one.kind == "sse"]
    batch = Batch("s", [], Position("e", 9), gap=Gap(1, 9), reset=True)

    sent = sse.encode(batch) + sse.warn("s", 1) + sse.goodbye

    events = set(re.findall(rb"^event: (\w+)$", sent, re.MULTILINE))
    assert {event.decode() for event in events} == {"gap", "reset", "warning", "goodbye"}
    assert {event.decode() for event in events} <= told


def test_charts_look_as_described():
    from flowd_binance.page import bar
    from flowd_liquidations import shapes

    one = Decimal(1)
    bucket = market.Bucket("BTCUSDT", "1m", 0, one, one, 1)
    candle = market.Candle(
        "BTCUSDT", "1m", 0, 59_999, one, one, one, one, one, one, 1, one, one, True
    )

    (volume,) = samples("http.md", "Liquidation volume")
    candles, offered = samples("http.md", "Candles")
    orders = samples("websocket.md", "Charts")
    assert list(volume["data"][0]) == list(shapes.point(bucket))
    assert list(candles["data"][0]) == list(bar(candle))
    assert [list(one) for one in offered["intervals"]] == 2 * [
        ["interval", "streams", "stored", "built"]
    ]
    first = Batch("s", [], Position("e", 0), first=True)
    sent = shapes.Orders("BTCUSDT", clock=lambda: 0)(first)
    sent += shapes.Volumes("BTCUSDT", "1m", (0, 1), history=list, clock=lambda: 0)(first)
    sent += [shapes.heartbeat("BTCUSDT", 0), shapes.error("…", 0)]
    assert [shape(json.loads(message)) for message in sent] == list(map(shape, orders))
