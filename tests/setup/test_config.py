"""The configuration: each kind of mistake is told with its key and a remedy."""

from decimal import Decimal
from pathlib import Path
from typing import Any, Literal

import pytest
from attrs import field, frozen, validators

from flowd.plugin import Sink, Source, StreamName, Transform
from flowd.setup import checks, config
from flowd.setup.config import Config, Settings, parse_address, state_path
from flowd.setup.registry import Found, Registry
from flowd.setup.supervisor import Restart
from flowd.stream.held import RETAIN_MAX, Retain
from flowd.values.errors import UserError
from flowd.values.settings import Seconds, Secret, Size


@frozen
class Tick:
    price: int


def _even(instance: object, attribute: object, value: int) -> None:
    if value % 2:
        raise ValueError(f"even = {value}: literally not an even number")


@frozen
class SourceConfig:
    symbols: list[str]
    url: str = "wss://h"
    side: Literal["BUY", "SELL"] = "BUY"
    size: Size = Size(1)
    wait: Seconds = Seconds(1.0)
    least: Decimal = Decimal(0)
    count: int = 0
    even: int = field(default=0, validator=_even)
    fast: bool = False
    api_key: Secret | None = None
    depth: int | None = None


@frozen
class SinkConfig:
    path: str = "/x"


@frozen
class TransformConfig:
    input: StreamName
    retain: str = "its own"


async def run(*args: Any) -> None:
    """Never called here."""


def registry() -> Registry:
    made = Registry()
    made.sources["feed"] = Source("feed", run, SourceConfig, record=Tick)
    made.sources["long"] = Source("long", run, SinkConfig, record=Tick, retain=77)
    made.transforms["volume"] = Transform("volume", run, TransformConfig, record=Tick)
    made.sinks["page"] = Sink("page", SinkConfig, run=run)
    return made


def parse(text: str) -> Config:
    return config.parse(text, registry())


def source(*lines: str) -> Any:
    """The one source that these lines configure."""
    return parse("\n".join(('[sources.a]\nkind = "feed"\nsymbols = ["X"]', *lines))).components[0]


def settings(*lines: str) -> Settings:
    return parse("\n".join(("[flowd]", *lines))).settings


# -- what is right


def test_an_empty_configuration_has_the_defaults() -> None:
    found = parse("")

    assert found == Config(Settings(), [])
    assert found.settings.addresses == ["127.0.0.1:4200"]


def test_settings_are_read_as_they_are_meant() -> None:
    found = settings(
        'listen = ["127.0.0.1:1", "unix:/run/x"]',
        'save_every = "250ms"',
        'send_buffer = "16KiB"',
        'trusted_proxies = ["::1", "10.0.0.1"]',
        "max_clients = 7",
        'log_level = "debug"',
    )

    assert found.addresses == ["127.0.0.1:1", "unix:/run/x"]
    assert (found.save_every, found.send_buffer, found.max_clients) == (0.25, 16384, 7)
    assert found.trusted_proxies == ["::1", "10.0.0.1"]


def test_a_component_is_its_plugins_own_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KEY", "hunter2")

    part = source(
        'side = "SELL"',
        'size = "1KiB"',
        'wait = "1m"',
        'least = "0.10"',
        "fast = true",
        'api_key = { env = "KEY" }',
        "depth = 5",
    )

    assert (part.table, part.name, part.kind, part.where) == ("sources", "a", "feed", "sources.a")
    assert part.settings.symbols == ["X"]
    assert (part.settings.side, part.settings.size, part.settings.wait) == ("SELL", 1024, 60)
    assert (str(part.settings.least), part.settings.fast, part.settings.depth) == ("0.10", True, 5)
    assert part.settings.api_key.reveal() == "hunter2"
    assert "hunter2" not in repr(part)


@pytest.mark.parametrize(("line", "least"), [("least = 5", "5"), ("least = 0.5", "0.5")])
def test_numbers_will_do_for_decimals(line: str, least: str) -> None:
    assert source(line).settings.least == Decimal(least)


def test_components_come_table_by_table_in_the_files_order() -> None:
    found = parse(
        '[sinks.z]\nkind = "page"\n[sources.b]\nkind = "long"\n[sources.a]\nkind = "long"\n'
    )

    assert [part.where for part in found.components] == ["sources.b", "sources.a", "sinks.z"]
    assert [part.name for part in found.of("sources")] == ["b", "a"]


@pytest.mark.parametrize(
    ("line", "retain"),
    [
        ("", Retain(5000)),
        ("retain = 1", Retain(1)),
        (f"retain = {RETAIN_MAX}", Retain(RETAIN_MAX)),
        ('retain = "1h"', Retain(RETAIN_MAX, 3600)),
    ],
)
def test_how_much_is_retained(line: str, retain: Retain) -> None:
    assert source(line).retain == retain


def test_a_kind_may_retain_more_or_less_by_itself() -> None:
    assert parse('[sources.a]\nkind = "long"').components[0].retain == Retain(77)
    assert parse('[sources.a]\nkind = "long"\nretain = 5').components[0].retain == Retain(5)


def test_a_plugins_own_key_goes_before_the_common_one() -> None:
    part = parse('[transforms.v]\nkind = "volume"\ninput = "a"\nretain = "mine"').components[0]

    assert part.settings.retain == "mine"
    assert part.retain == Retain(5000)


def test_restarts_are_configured_in_the_supervisors_words() -> None:
    part = source(
        'restart = "on-failure"',
        'restart_delay = "2s"',
        'restart_delay_max = "1s"',
        "restart_limit = 0",
        'restart_window = "1m"',
    )

    assert part.restart == Restart("on-failure", 2.0, 2.0, limit=0, window_s=60.0)


def test_what_is_not_said_about_restarts_has_a_default_that_works() -> None:
    restart = source().restart

    assert restart == Restart("always", 5.0, 60.0, healthy_s=60.0, limit=None, window_s=600.0)
    assert restart == Restart()


def test_clients_are_slow_after_a_second_and_gone_after_a_minute() -> None:
    found = settings()

    assert (found.slow_consumer_timeout, found.slow_consumer_limit) == (1.0, 60.0)
    assert (found.save_every, found.heartbeat, found.send_buffer) == (5.0, 15.0, 131_072)


def test_sources_are_tried_for_ever_and_all_others_ten_times() -> None:
    found = parse('[sources.a]\nkind = "long"\n[sinks.b]\nkind = "page"')

    assert [part.restart.limit for part in found.components] == [None, 10]


@pytest.mark.parametrize(
    ("address", "parts"),
    [
        ("127.0.0.1:4200", ("127.0.0.1", 4200)),
        ("localhost:0", ("localhost", 0)),
        ("[::1]:80", ("::1", 80)),
        (":4200", ("0.0.0.0", 4200)),
        ("unix:/run/flowd.sock", ("unix:/run/flowd.sock", 0)),
    ],
)
def test_addresses(address: str, parts: tuple[str, int]) -> None:
    assert parse_address(address) == parts


def test_the_state_lies_in_systemds_folder_if_there_is_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("STATE_DIRECTORY", raising=False)
    plain = state_path(Settings())
    monkeypatch.setenv("STATE_DIRECTORY", "/var/lib/flowd:/var/lib/other")
    below = state_path(Settings())
    absolute = state_path(Settings(state="/elsewhere/x.db"))

    assert [str(path) for path in (plain, below, absolute)] == [
        "flowd.db",
        "/var/lib/flowd/flowd.db",
        "/elsewhere/x.db",
    ]


def test_the_example_is_right(tmp_path: Path) -> None:
    from flowd.setup import registry as plugins

    example = Path(__file__).parents[2] / "flowd.toml.example"

    found = checks.load(example, plugins.load())

    assert found.of("sources")


def test_what_the_example_shows_has_all_its_venues_and_the_windows_that_pages_offer() -> None:
    from flowd.setup import registry as plugins

    example = Path(__file__).parents[2] / "flowd.toml.example"

    found = {part.name: part.settings for part in checks.load(example, plugins.load()).components}

    assert found["pages"].liquidations == found["volume"].inputs
    assert len(found["volume"].inputs) == 3
    assert {"1h", "4h", "12h", "24h"} <= set(found["analytics"].windows)


# -- what is wrong


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("listen = ", "not valid TOML"),
        ("[flowd]\na = 1\na = 2", "not valid TOML"),
        ("[flow]", r"there is no table \[flow\]. Did you mean \"flowd\"\?"),
        (
            "[zebra]",
            r"there is no table \[zebra\]; there are: flowd, pair, sources, transforms, sinks",
        ),
        ("flowd = 5", r"flowd: expected a table, written \[flowd\], got 5"),
        ("sources = 5", r"sources: expected a table"),
        ("[sources]\na = 5", r"sources.a: expected a table, written \[sources.a\]"),
        ("[sources.a]", r"\[sources.a\]: needs kind"),
        ("[sources.a]\nkind = 5", r"\[sources.a\]: needs kind = .*flowd plugins"),
        ('[sources.a]\nkind = "fed"', r'kind = "fed": .*Did you mean "feed"\?'),
        ('[sources.a]\nkind = "zzz"', "there are: feed, long"),
        ('[sinks.a]\nkind = "feed"', "no plugin brings such a sink; there are: page"),
        ('[sources."a/b"]\nkind = "long"', "a name is made of letters, digits"),
        ('[sources.""]\nkind = "long"', "a name is made of letters, digits"),
        ('[sources."ä"]\nkind = "long"', "a name is made of letters, digits"),
        ('[sources.outages]\nkind = "long"', "flowd has a stream of this name itself"),
        (
            '[sources.a]\nkind = "long"\n[sinks.a]\nkind = "page"',
            r"\[sinks.a\]: sources.a has the same name",
        ),
    ],
)
def test_mistakes_in_the_file_as_a_whole(text: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        parse(text)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("lisen = 5", r'\[flowd\]: there is no key \'lisen\'. Did you mean "listen"\?'),
        ("zebra = 5", r"there is no key 'zebra'; there are: listen, state"),
        ("listen = 5", "flowd.listen = 5: expected a text, got 5 or expected a list, got 5"),
        ("listen = [5]", r"flowd.listen = \[5\]: .*expected a text, got 5"),
        ("listen = []", r"flowd.listen = \[\]: expected at least one address"),
        ('listen = "localhost"', 'flowd.listen = "localhost": expected "host:port"'),
        ('listen = "h:99999"', 'flowd.listen = "h:99999": expected "host:port"'),
        ('listen = "h:"', 'flowd.listen = "h:": expected "host:port"'),
        ('listen = "h:٣"', 'expected "host:port"'),
        ('listen = "unix:"', 'flowd.listen = "unix:": .*unix:/run/flowd.sock'),
        ('listen = ["127.0.0.1:1", "x"]', 'flowd.listen = "x"'),
        ('save_every = "5 parsecs"', 'flowd.save_every = "5 parsecs": expected a duration such'),
        ('save_every = "1ms"', "flowd.save_every: expected at least 50ms"),
        ("heartbeat = 0", "flowd.heartbeat: expected at least 50ms"),
        ('slow_consumer_limit = "0s"', "flowd.slow_consumer_limit: expected at least 50ms"),
        ('send_buffer = "1 barrel"', 'flowd.send_buffer = "1 barrel": expected a size such'),
        ("max_clients = 0", "flowd.max_clients = 0: expected a number from 1 up"),
        ("max_clients_per_address = -1", "flowd.max_clients_per_address = -1"),
        ("max_clients = true", "flowd.max_clients = True: expected a whole number"),
        ("max_clients = 1.5", "flowd.max_clients = 1.5: expected a whole number"),
        ('max_clients = "7"', 'flowd.max_clients = "7": expected a whole number'),
        ('log_level = "loud"', "flowd.log_level = \"loud\": expected one of 'debug', 'info'"),
        ('trusted_proxies = ["proxy"]', 'flowd.trusted_proxies: "proxy" is not an IP address'),
        ('trusted_proxies = "::1"', 'flowd.trusted_proxies = "::1": expected a list'),
        ('admin_token = "hunter2"', "flowd.admin_token = …: a secret does not belong into"),
        ("admin_token = 5", "flowd.admin_token = …: expected { env"),
        ('admin_token = { vault = "x" }', "flowd.admin_token = …: expected { env"),
        ("state = 5", "flowd.state = 5: expected a text"),
    ],
)
def test_mistakes_in_the_settings(line: str, message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        settings(line)

    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("symbol = 5", r'\[sources.a\]: there is no key \'symbol\'. Did you mean "symbols"\?'),
        ("restat = 5", r'Did you mean "restart"\?'),
        ("count = true", "sources.a.count = True: expected a whole number, got True"),
        ('fast = "yes"', 'sources.a.fast = "yes": expected true or false'),
        ("url = 5", "sources.a.url = 5: expected a text"),
        ('side = "HOLD"', "sources.a.side = \"HOLD\": expected one of 'BUY', 'SELL'"),
        ('least = "many"', 'sources.a.least = "many": expected a number'),
        ('wait = "long"', 'sources.a.wait = "long": expected a duration'),
        ('size = "big"', 'sources.a.size = "big": expected a size'),
        ("even = 3", r"\[sources.a\]: even = 3: literally not an even number"),
        ('api_key = "hunter2"', "sources.a.api_key = …: a secret does not belong"),
        ('read_token = "hunter2"', "sources.a.read_token = …: a secret does not belong"),
        ('depth = "x"', 'sources.a.depth = "x": expected a whole number'),
        ("retain = 0", "sources.a.retain = 0: expected a number of records from 1 to"),
        ("retain = -5", "sources.a.retain = -5"),
        (f"retain = {RETAIN_MAX + 1}", f"from 1 to {RETAIN_MAX}"),
        ("retain = true", "sources.a.retain = True"),
        ('retain = "a lot"', 'sources.a.retain = .a lot.: .*an age such as "1h"'),
        ('retain = "0s"', "sources.a.retain = .0s.: expected"),
        ("retain = 1.5", "sources.a.retain = 1.5"),
        ('restart = "sometimes"', "sources.a.restart = \"sometimes\": expected one of 'always'"),
        ('restart_delay = "x"', 'sources.a.restart_delay = "x": expected a duration'),
        ("restart_limit = -1", "sources.a.restart_limit = -1: expected a number from 0 to 1000"),
        ("restart_limit = 1001", "expected a number from 0 to 1000"),
        ('restart_delay = "0s"', "sources.a.restart_delay: expected at least 0.05s"),
        ('restart_limit = "x"', "sources.a.restart_limit"),
    ],
)
def test_mistakes_in_a_component(line: str, message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        source(line)

    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    ("symbols", "message"),
    [
        ("", r"\[sources.a\]: symbols = … is missing"),
        ('symbols = "BTCUSDT"', 'sources.a.symbols = "BTCUSDT": expected a list'),
        ("symbols = [5]", r"sources.a.symbols = \[5\]: expected a text, got 5"),
        ("symbols = {}", "sources.a.symbols = …: expected a list"),
    ],
)
def test_mistakes_in_a_list(symbols: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        parse(f'[sources.a]\nkind = "feed"\n{symbols}')


def test_a_kind_that_is_missing_names_the_plugins_that_failed_to_load() -> None:
    plugins = registry()
    plugins.found.append(Found("bitstamp", "/plugins/bitstamp.py", error="does not import: x"))

    failed = r"These plugins failed to load: bitstamp \(does not import: x\)"
    with pytest.raises(UserError, match=rf"there are: feed, long\. {failed}"):
        config.parse('[sources.a]\nkind = "bitstamp-trades"', plugins)
    with pytest.raises(UserError, match=rf'Did you mean "feed"\? {failed}'):
        config.parse('[sources.a]\nkind = "fed"', plugins)


@pytest.mark.parametrize("where", ['[sources.a]\nkind = "long"', '[sinks.a]\nkind = "plain"'])
def test_only_who_reads_records_can_skip_one(where: str) -> None:
    plugins = registry()
    plugins.sinks["plain"] = Sink("plain", SinkConfig, routes=lambda config, streams: Any)

    with pytest.raises(UserError, match="on_error is about a record that is read"):
        config.parse(f'{where}\non_error = "skip"', plugins)


def test_who_skips_says_so() -> None:
    text = '[sinks.a]\nkind = "page"\n[sinks.b]\nkind = "page"\non_error = "skip"'

    assert [part.skips for part in parse(text).components] == [False, True]


def test_mistakes_in_a_file_name_the_file(tmp_path: Path) -> None:
    path = tmp_path / "flowd.toml"
    path.write_text("[flowd]\nlisten = 5")

    with pytest.raises(UserError, match=r"flowd\.toml: flowd\.listen = 5"):
        checks.load(path, registry())


def test_a_file_that_is_not_there_is_easily_made(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="there is no such file; `flowd init` writes one"):
        checks.load(tmp_path / "flowd.toml", registry())


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "latin.toml").write_bytes(b"# \xe4")

    with pytest.raises(UserError, match=r"latin\.toml: cannot be read"):
        checks.load(tmp_path / "latin.toml", registry())
    with pytest.raises(UserError, match="cannot be read"):
        checks.load(tmp_path, registry())


def test_an_error_of_the_plugins_own_words_is_told_as_it_is() -> None:
    @frozen
    class Picky:
        symbols: list[str] = field(factory=list)

        def __attrs_post_init__(self) -> None:
            raise ValueError('symbols = []: name at least one, or ["*"] for all')

    plugins = registry()
    plugins.sources["picky"] = Source("picky", run, Picky, record=Tick)

    with pytest.raises(UserError, match=r"\[sources.a\]: symbols = \[\]: name at least one"):
        config.parse('[sources.a]\nkind = "picky"', plugins)


def _raises(instance: object, attribute: object, value: int) -> None:
    raise KeyError("BTCUSDT")


@frozen
class Nested:
    depth: int = 1


@frozen
class Validated:
    count: int = field(default=1, validator=validators.in_([1, 2]))
    odd: int = field(default=1, validator=validators.optional(_raises))
    nested: Nested = Nested()


def picky(line: str) -> Any:
    plugins = registry()
    plugins.sources["picky"] = Source("picky", run, Validated, record=Tick)
    return config.parse(f'[sources.a]\nkind = "picky"\n{line}', plugins).components[0].settings


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("count = 5", r"^sources\.a\.count: 'count' must be in \[1, 2\] \(got 5\)$"),
        ("odd = 5", r"^\[sources\.a\]: KeyError\('BTCUSDT'\)$"),
        ("nested = { depth = 1.5 }", r"^sources\.a\.nested\.depth = 1\.5: expected a whole number"),
        ("nested = { deep = 1 }", r"^\[sources\.a\.nested\]: there is no key 'deep'. Did you mean"),
        ("nested = 5", r"^sources\.a\.nested: expected a table"),
    ],
)
def test_a_validator_is_told_in_words_whatever_it_raises(line: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        picky(line)


def test_plugins_are_disabled_by_name() -> None:
    found = settings('plugins = { disable = ["okx"] }')

    assert found.plugins.disable == ["okx"]
    with pytest.raises(UserError, match=r"\[flowd\.plugins\]: .*Did you mean \"disable\""):
        settings('plugins = { disabled = ["okx"] }')


@pytest.mark.parametrize("text", ["[flowd", "flowd = 5", "[flowd]", "[flowd]\nplugins = 5"])
def test_what_is_disabled_is_nothing_where_the_file_cannot_say(text: str, tmp_path: Path) -> None:
    file = tmp_path / "flowd.toml"
    file.write_text(text)

    assert config.disabled(file) == frozenset()
    assert config.disabled(tmp_path / "none.toml") == frozenset()
