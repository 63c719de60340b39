"""All that is wrong with a configuration is told at once, before anything runs."""

from pathlib import Path

import flowd_binance
import flowd_hydromancer
import flowd_hyperliquid
import flowd_pages
import flowd_totals
import flowd_webhook
import pytest
import trio
from attrs import evolve

from flowd import testing
from flowd.plugin import UpstreamError
from flowd.setup import checks
from flowd.setup.config import parse
from flowd.setup.registry import Registry
from flowd.upstream.http import Services
from flowd.values.errors import UserError

PLUGINS = (
    *(flowd_binance, flowd_hydromancer, flowd_hyperliquid),
    *(flowd_pages, flowd_totals, flowd_webhook),
)
CANDLES = '[sources.candles-5m]\nkind = "binance-candles"\ninterval = "5m"\n'
ORDERS = '[sources.orders]\nkind = "binance-force-order"\nsymbols = ["*"]\n'
PAGES = '[sinks.pages]\nkind = "pages"\n'


def registry() -> Registry:
    return testing.registry(*PLUGINS)


def mistakes(text: str, folder: Path) -> list[str]:
    file = folder / "flowd.toml"
    file.write_text(text, encoding="utf-8")
    return checks.look(file, registry()).mistakes


def test_all_mistakes_are_told_at_once(tmp_path: Path) -> None:
    text = (
        '[flow]\n[flowd]\nlisten = "nowhere"\nmax_clients = 0\nsave_every = "never"\n'
        '[sources.a]\nkind = "binance-force-order"\nurl = 5\nretain = 0\nsilence = "x"\n'
        '[sources.b]\nkind = "nosuch"\n'
        '[transforms.t]\nkind = "totals"\ninput = "c"\n'
        '[sinks.a]\nkind = "webhook"\nurl = "x"\nbatch = "y"\n'
    )

    found = "\n".join(mistakes(text, tmp_path))

    for told in (
        'there is no table [flow]. Did you mean "flowd"?',
        'flowd.save_every = "never"',
        "[sources.a]: symbols = … is missing",
        "sources.a.url = 5",
        'sources.a.silence = "x"',
        "sources.a.retain = 0",
        'sources.b.kind = "nosuch"',
        'transforms.t.input = "c": there is no such stream',
        'sinks.a.batch = "y"',
    ):
        assert told in found


def test_mistakes_of_the_daemon_itself_are_told_together(tmp_path: Path) -> None:
    text = '[flowd]\nlisten = "nowhere"\nmax_clients = 0\nheartbeat = "1ms"\n' + ORDERS

    assert len(mistakes(text, tmp_path)) == 3


def test_a_stream_whose_writer_is_wrong_itself_is_not_said_to_be_missing(tmp_path: Path) -> None:
    text = (
        '[sources.fills]\nkind = "hydromancer"\nsubscription = "all"\n'
        '[transforms.sums]\nkind = "totals"\ninput = "fills"\n'
        '[transforms.hours]\nkind = "totals"\ninput = "fills.trades"\n'
    )

    found = mistakes(text, tmp_path)

    assert found
    assert all(one.startswith(("sources.fills", "[sources.fills]")) for one in found)


def test_a_key_that_is_nearly_the_missing_one_is_one_mistake(tmp_path: Path) -> None:
    text = '[sources.a]\nkind = "binance-force-order"\nsymbol = ["*"]\n'

    assert len(mistakes(text, tmp_path)) == 1


def test_one_mistake_is_a_line_and_several_are_a_list() -> None:
    path = Path("flowd.toml")

    assert checks.told(path, ["a: wrong"]) == "flowd.toml: a: wrong"
    assert (
        checks.told(path, ["a: wrong", "b: too"]) == "flowd.toml: 2 mistakes\n  a: wrong\n  b: too"
    )


@pytest.mark.parametrize(
    ("setting", "told"),
    [
        ('fills = "candles-5m"', "carries Candle, but pages reads Fill"),
        ('fills = "nosuch"', 'sinks.pages.fills = "nosuch": there is no such stream'),
        ('liquidations = "candles-5m"', "carries Candle, but pages reads"),
        ('analytics = "candles-5m"', "carries Candle, but pages reads Ranking"),
        ('liquidation_analytics = "orders"', "carries Liquidation, but pages reads Ranking"),
        ('traders = "orders"', "carries Liquidation, but pages reads Trader"),
    ],
)
def test_a_page_takes_the_streams_that_it_can_show(setting: str, told: str, tmp_path: Path) -> None:
    (found,) = mistakes(CANDLES + ORDERS + PAGES + setting, tmp_path)

    assert told in found


def test_sums_are_what_the_analytics_show(tmp_path: Path) -> None:
    sums = '[transforms.sums]\nkind = "totals"\ninput = "orders"\n'

    assert mistakes(ORDERS + sums + PAGES + 'liquidation_analytics = "sums"', tmp_path) == []


def test_trades_and_forced_orders_are_what_feeds_show(tmp_path: Path) -> None:
    trades = '[sources.traders]\nkind = "hyperliquid-discovery"\ncoins = ["BTC"]\n'
    shown = 'fills = "traders.trades"\nliquidations = "orders"\n'

    assert mistakes(ORDERS + trades + PAGES + shown, tmp_path) == []
    assert len(mistakes(ORDERS + PAGES + 'fills = "orders"', tmp_path)) == 1


# -- what a daemon would start without --


def test_a_secret_without_a_value_is_told_with_its_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CHECKS_KEY", raising=False)
    monkeypatch.setenv("CHECKS_URL", "https://example.org/hook")
    text = (
        '[sources.fills]\nkind = "hydromancer"\nsubscription = "allFills"\n'
        'api_key = { env = "CHECKS_KEY" }\n'
        '[sinks.hook]\nkind = "webhook"\ninput = "fills"\n'
        'url = { env = "CHECKS_URL" }\nsecret = { file = "/nowhere/secret" }\n'
    )

    found = checks.lacks(parse(text, registry()))

    assert found == [
        "sources.fills.api_key: environment variable CHECKS_KEY is not set, and hydromancer cannot "
        "run without it",
        "sinks.hook.secret: file /nowhere/secret is not set, and webhook cannot run without it",
    ]


def test_a_configuration_of_nothing_is_not_good() -> None:
    (line,) = checks.lacks(parse("", registry()))

    assert "configures nothing" in line
    assert "flowd init" in line


def test_what_a_daemon_can_start_without_does_not_keep_it_from_starting(tmp_path: Path) -> None:
    file = tmp_path / "flowd.toml"
    file.write_text("")

    assert checks.load(file, registry()).components == []


# -- what upstreams say --


async def test_a_probe_that_fails_of_its_own_stops_nobody(autojump_clock: object) -> None:
    async def breaks(config: object, http: object) -> list[str]:
        await trio.lowlevel.checkpoint()
        raise ZeroDivisionError("a bug")

    async def refuses(config: object, http: object) -> list[str]:
        await trio.lowlevel.checkpoint()
        raise UpstreamError("cannot be asked: not today")

    config = parse(CANDLES + ORDERS, registry())
    candles, orders = config.components
    changed = [
        evolve(candles, definition=evolve(candles.definition, probe=breaks)),
        evolve(orders, definition=evolve(orders.definition, probe=refuses)),
    ]

    found = await checks.probe(evolve(config, components=changed), Services(lambda: 0))

    assert found == [
        "sources.candles-5m: its plugin's probe failed: ZeroDivisionError('a bug')",
        "sources.orders: its upstream cannot be asked: not today",
    ]


def test_a_file_that_cannot_start_names_itself(tmp_path: Path) -> None:
    file = tmp_path / "flowd.toml"
    file.write_text(ORDERS + "nosuch = 1\n")

    with pytest.raises(UserError, match=r"flowd\.toml: \[sources\.orders\]: there is no key"):
        checks.load(file, registry())
