"""The commands as a person types them: what they say, and what they exit with."""

import json
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import trio
import typer
from rich.console import Console
from typer.testing import CliRunner, Result

from flowd import __version__, cli
from flowd.operate import terminal
from tests.edge.exchange import Exchange
from tests.edge.process import Flowd, command, free_port
from tests.edge.redis import program

ROOT = Path(__file__).parent.parent
EXAMPLE = ROOT / "flowd.toml.example"
WAIT_S = 20.0

SOURCE = '[sources.orders]\nkind = "binance-force-order"\nsymbols = ["*"]\n'
SINKS = '[sinks.http]\nkind = "http"\n[sinks.websocket]\nkind = "websocket"\n'


@pytest.fixture(autouse=True)
def logs_as_before() -> Iterator[None]:
    """`run` and `tail` set up logging for a process of their own."""
    handlers, level = logging.root.handlers[:], logging.root.level
    yield
    logging.disable(logging.NOTSET)
    logging.root.handlers[:] = handlers
    logging.root.setLevel(level)


def flowd(*arguments: str | Path, **env: str) -> Result:
    return CliRunner().invoke(cli.app, [str(argument) for argument in arguments], env=env)


def words(text: str) -> str:
    """Without the line breaks that a narrow terminal makes."""
    return " ".join(text.split())


def written(folder: Path, text: str) -> Path:
    file = folder / "flowd.toml"
    file.write_text(text, encoding="utf-8")
    return file


# -- flowd itself --


def test_the_version_is_one_line() -> None:
    found = flowd("--version")

    assert (found.exit_code, found.stdout) == (0, f"flowd {__version__}\n")


def test_help_names_every_command_and_where_to_begin() -> None:
    found = words(flowd("--help").stdout)

    for name in ("run", "check", "plugins", "status", "tail", "init"):
        assert f" {name} " in found
    assert "Begin with" in found


def test_without_a_command_help_is_shown() -> None:
    assert "Commands" in flowd().output


def test_an_unknown_command_exits_2() -> None:
    found = flowd("frobnicate")

    assert found.exit_code == 2
    assert "frobnicate" in found.stderr


def test_every_command_and_option_says_what_it_does() -> None:
    group: Any = typer.main.get_command(cli.app)

    silent = [
        f"{name} {parameter.name}"
        for name, one in group.commands.items()
        for parameter in one.params
        if not parameter.help
    ]

    assert not silent
    assert all(one.help for one in group.commands.values())


@pytest.mark.edge
def test_plugins_add_commands() -> None:
    found = command("--help", env={"COLUMNS": "80"})

    assert found.returncode == 0
    assert "simulate" in found.stdout


# -- check --


def test_check_says_what_a_public_address_lacks(tmp_path: Path) -> None:
    listen = '[flowd]\nlisten = "0.0.0.0:4200"\nallow_origins = ["*"]\n'

    found = flowd("check", "-c", written(tmp_path, listen + SOURCE + SINKS))

    assert found.exit_code == 0
    (note,) = [line for line in found.stdout.splitlines() if line.startswith("note:")]
    assert "flowd.admin_token" in note
    assert "flowd.allow_origins" in note
    assert "is good" in found.stdout


def test_check_shows_what_would_run_and_starts_nothing(tmp_path: Path) -> None:
    port = free_port()
    listen = f'[flowd]\nlisten = "127.0.0.1:{port}"\nstate = "{tmp_path / "state.db"}"\n'

    found = flowd("check", "-c", written(tmp_path, listen + SOURCE + SINKS))

    assert found.exit_code == 0
    assert "sources.orders" in found.stdout
    assert "binance-force-order" in found.stdout
    assert "Liquidation" in found.stdout
    assert f"listens on 127.0.0.1:{port}" in words(found.stdout)
    assert "note:" not in found.stdout
    assert "is good" in found.stdout
    assert not (tmp_path / "state.db").exists()


def test_check_says_what_is_from_the_environment_and_not_what_it_is(tmp_path: Path) -> None:
    text = SOURCE.replace("[sources.orders]", '[sources.orders]\nretain = "${RETAIN_ORDERS}"')

    file = written(tmp_path, text + SINKS)
    found = flowd("check", "-c", file, RETAIN_ORDERS="1234h", FLOWD__STATE="elsewhere.db")

    assert found.exit_code == 0
    assert "sources.orders.retain is from RETAIN_ORDERS" in found.stdout
    assert "flowd.state is from FLOWD__STATE" in found.stdout
    assert "keeps its state in elsewhere.db" in words(found.stdout)


@pytest.mark.parametrize(
    ("environment", "why"), [({}, "is not set"), ({"RETAIN_ORDERS": ""}, "is empty")]
)
def test_check_says_of_a_default_that_its_variable_is_not_there_and_what_to_do(
    environment: dict[str, str], why: str, tmp_path: Path
) -> None:
    text = SOURCE.replace("[sources.orders]", '[sources.orders]\nretain = "${RETAIN_ORDERS:-9h}"')

    found = flowd("check", "-c", written(tmp_path, text + SINKS), **environment)

    assert found.exit_code == 0
    assert "is from RETAIN_ORDERS" not in found.stdout
    assert (
        f"sources.orders.retain has the default that the file gives, since RETAIN_ORDERS {why}; "
        "set RETAIN_ORDERS where it is to be another"
    ) in found.stdout


def test_a_default_that_is_wrong_is_not_laid_to_a_variable_that_is_not_there(
    tmp_path: Path,
) -> None:
    text = SOURCE.replace("[sources.orders]", '[sources.orders]\nretain = "${RETAIN_ORDERS:-x}"')

    found = flowd("check", "-c", written(tmp_path, text + SINKS))

    assert found.exit_code == 2
    assert "set by" not in words(found.stderr)
    assert "(the default in the file: RETAIN_ORDERS is not set)" in words(found.stderr)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[flowd", "not valid TOML"),
        ("[flow]\n", 'there is no table [flow]. Did you mean "flowd"?'),
        ('[flowd]\nlissten = "x"\n', 'Did you mean "listen"?'),
        ('[flowd]\nlisten = "somewhere"\n', 'expected "host:port" such as "127.0.0.1:4200"'),
        ('[flowd]\nlisten = "127.0.0.1:99999"\n', 'expected "host:port"'),
        ("[flowd]\nmax_clients = 0\n", "expected a number from 1 up"),
        ('[flowd]\nmax_clients = "many"\n', "expected a whole number, got 'many'"),
        ('[flowd]\nheartbeat = "15 parsecs"\n', 'a duration such as "5s", "15m" or "24h"'),
        ('[flowd]\nheartbeat = "1ms"\n', "expected at least 50ms"),
        ('[flowd]\nsend_buffer = "big"\n', 'a size such as "128KiB" or "16MiB"'),
        ('[flowd]\nlog_level = "loud"\n', "expected one of"),
        ('[flowd]\ntrusted_proxies = ["nginx"]\n', '"nginx" is not an IP address'),
        ('[flowd]\nadmin_token = "hunter2"\n', "a secret does not belong into this file"),
        ('[sources.orders]\nsymbols = ["*"]\n', 'needs kind = "…"'),
        ('[sources.orders]\nkind = "binance-force-orders"\n', 'mean "binance-force-order"?'),
        ('[sources.orders]\nkind = "binance-force-order"\n', "symbols = … is missing"),
        (SOURCE + 'symbol = "BTCUSDT"\n', 'Did you mean "symbols"?'),
        (SOURCE + 'restart = "sometimes"\n', "expected one of"),
        (SOURCE + "retain = 0\n", "expected a number of records from 1"),
        (SOURCE + 'url = "fstream.binance.com"\n', 'such as "wss://'),
        ('[sources."a b"]\nkind = "binance-force-order"\n', "a name is made of letters"),
        (SOURCE.replace("orders", "outages"), "flowd has a stream of this name itself"),
        (SOURCE + '[sinks.orders]\nkind = "http"\n', "sources.orders has the same name"),
    ],
)
def test_check_names_the_mistake_and_a_remedy(text: str, told: str, tmp_path: Path) -> None:
    file = written(tmp_path, text)

    found = flowd("check", "-c", file)

    assert found.exit_code == 2
    assert found.stderr.startswith(f"error: {file}: ")
    assert found.stderr.count("\n") == 1
    assert told in found.stderr
    assert "hunter2" not in found.output


VOLUME = '[transforms.volume]\nkind = "volume-per-minute"\ninput = "{}"\n'


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (SOURCE + VOLUME.format("order"), 'there is no such stream. Did you mean "orders"?'),
        (SOURCE + VOLUME.format("outages"), "carries Outage, but volume-per-minute reads Liq"),
        (SOURCE + VOLUME.format("volume"), "carries Bucket, but volume-per-minute reads Liq"),
        (SINKS + SINKS.replace("sinks.", "sinks.a-"), "/streams/{stream} is sinks.http's already"),
        (SINKS.replace('kind = "http"', 'kind = "sse"\npath = "/health/{stream}"'), "flowd's own"),
    ],
)
def test_check_refuses_what_does_not_fit_together(text: str, told: str, tmp_path: Path) -> None:
    examples = ("--plugins-dir", ROOT / "docs/examples")

    found = flowd("check", "-c", written(tmp_path, text), *examples)

    assert found.exit_code == 2
    assert told in found.stderr


def test_check_finds_several_processes_good_that_can_be_joined(tmp_path: Path) -> None:
    program()
    file = written(tmp_path, "[flowd]\nedges = 2\n" + SOURCE + SINKS)

    found = flowd("check", "-c", file)

    assert found.exit_code == 0, found.output
    assert "serves with edges = 2" in words(found.stdout)
    assert list(tmp_path.iterdir()) == [file]


def test_check_tells_all_mistakes_at_once_and_which_secrets_are_missing(tmp_path: Path) -> None:
    fills = '[sources.fills]\nkind = "hydromancer"\nsubscription = "allFills"\n'
    key = 'api_key = { env = "CLI_NO_KEY" }\n'
    pages = '[sinks.pages]\nkind = "pages"\nfills = "orders"\nanalytics = "nosuch"\n'

    found = flowd("check", "-c", written(tmp_path, SOURCE + fills + key + pages))

    first, *others = found.stderr.splitlines()
    assert found.exit_code == 2
    assert first.endswith("flowd.toml: 3 mistakes")
    assert any("carries Liquidation, but pages reads" in one for one in others)
    assert any("nosuch" in one for one in others)
    assert any("environment variable CLI_NO_KEY is not set" in one for one in others)


def test_an_empty_configuration_is_not_good(tmp_path: Path) -> None:
    found = flowd("check", "-c", written(tmp_path, ""))

    assert found.exit_code == 2
    assert "it configures nothing that would run; `flowd init` writes one" in found.stderr
    assert "is good" not in found.stdout


def test_check_asks_the_exchanges_only_when_it_is_told_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    async def probe(config: Any, services: object) -> list[str]:
        await trio.lowlevel.checkpoint()
        asked.append(config.components[0].name)
        return ["sources.orders: symbols: nobody knows NOSUCH"]

    monkeypatch.setattr("flowd.setup.checks.probe", probe)
    file = written(tmp_path, SOURCE)

    quiet, told = flowd("check", "-c", file), flowd("check", "-c", file, "--probe")

    assert (quiet.exit_code, told.exit_code, asked) == (0, 2, ["orders"])
    assert "nobody knows NOSUCH" in told.stderr


def test_check_says_when_there_is_no_file(tmp_path: Path) -> None:
    found = flowd("check", "-c", tmp_path / "none.toml")

    assert found.exit_code == 2
    assert "there is no such file; `flowd init` writes one" in found.stderr


# -- plugins --


def test_plugins_lists_what_each_brings_and_where_it_is_from() -> None:
    found = flowd("plugins", "--plugins-dir", ROOT / "docs/examples")

    rows = {line.split()[0]: line for line in found.stdout.splitlines() if line[:1].strip()}
    assert found.exit_code == 0
    assert "source binance-force-order" in rows["binance"]
    assert "flowd-daemon" in rows["binance"]
    assert "sink ndjson" in words(found.stdout)
    assert {"flowd_bitstamp", "flowd_bigfish", "flowd_ndjson", "flowd_volume"} <= set(rows)


def test_plugins_shows_what_failed_and_lists_the_others(tmp_path: Path) -> None:
    (tmp_path / "broken.py").write_text("import nothing_of_this_name\n")

    found = flowd("plugins", "--plugins-dir", tmp_path)

    assert found.exit_code == 0
    *rows, trouble = found.stdout.splitlines()
    assert trouble.startswith("broken: does not import: ModuleNotFoundError(")
    assert any(row.split()[0] == "binance" for row in rows)


def test_a_misspelt_hook_is_told_with_its_name(tmp_path: Path) -> None:
    (tmp_path / "typo.py").write_text(
        "from flowd.plugin import hookimpl\n@hookimpl\ndef flowd_source():\n    return []\n"
    )

    found = flowd("plugins", "--plugins-dir", tmp_path)

    assert found.exit_code == 0
    assert "typo: its hook flowd_source is misspelt" in found.stdout


def test_plugins_shows_what_the_configuration_disables(tmp_path: Path) -> None:
    (tmp_path / "deadly.py").write_text("import os; os._exit(7)\n")
    file = written(tmp_path, '[flowd]\nplugins = { disable = ["deadly", "webhook"] }\n')

    found = flowd("plugins", "-c", file, "--plugins-dir", tmp_path)

    rows = {line.split()[0]: line for line in found.stdout.splitlines() if line[:1].strip()}
    assert found.exit_code == 0
    assert "disabled" in rows["deadly"]
    assert "disabled" in rows["webhook"]


def test_the_configuration_says_what_is_left_alone_before_anything_is_loaded(
    tmp_path: Path,
) -> None:
    (tmp_path / "deadly.py").write_text("import os; os._exit(7)\n")
    file = written(tmp_path, '[flowd]\nplugins = { disable = ["deadly"] }\n' + SOURCE)

    found = flowd("check", "-c", file, "--plugins-dir", tmp_path)

    assert found.exit_code == 0


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ("run", "flowd.toml"),
        ("run -c x.toml", "x.toml"),
        ("run --config x.toml --plugins-dir y", "x.toml"),
        ("run --config=x.toml", "x.toml"),
        ("run -cx.toml", "x.toml"),
    ],
)
def test_the_configuration_is_known_before_there_is_a_parser(arguments: str, named: str) -> None:
    assert cli._config_named(arguments.split()) == Path(named)


@pytest.mark.edge
def test_an_installed_plugin_hurts_no_command_of_flowds_own(tmp_path: Path) -> None:
    (tmp_path / "foreign.py").write_text(
        "import typer\nfrom flowd.plugin import hookimpl\napp = typer.Typer()\n"
        "@app.command()\ndef plugins():\n    print('mine')\n"
        "@hookimpl\ndef flowd_commands():\n    return [app]\n"
    )
    (tmp_path / "deadly.py").write_text("raise SystemExit(9)\n")
    package = tmp_path / "foreign-1.0.dist-info"
    package.mkdir()
    (package / "METADATA").write_text("Metadata-Version: 2.1\nName: foreign\nVersion: 1.0\n")
    (package / "entry_points.txt").write_text("[flowd]\nforeign = foreign\ndeadly = deadly\n")
    env = {"PYTHONPATH": os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])}

    version, listed = command("--version", env=env), command("plugins", env=env)

    assert (version.returncode, version.stderr) == (0, "")
    assert 'foreign: its command "plugins" is left out: flowd itself has one' in listed.stdout
    assert "deadly: does not import: SystemExit(9)" in listed.stdout


def test_a_plugins_directory_that_is_none_is_told() -> None:
    found = flowd("plugins", "--plugins-dir", "/nowhere/at/all")

    assert found.exit_code == 2
    assert "there is no such directory" in found.stderr


# -- init --


def test_init_writes_a_configuration_that_check_finds_good(tmp_path: Path) -> None:
    file = tmp_path / "new.toml"

    found = flowd("init", file)

    assert found.exit_code == 0
    assert f"flowd check -c {file}" in found.stdout
    assert file.read_text() == EXAMPLE.read_text()
    assert flowd("check", "-c", file).exit_code == 0


def test_what_commands_take_by_themselves_is_not_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    wrote, good = flowd("init"), flowd("check")

    assert wrote.stdout == "Wrote flowd.toml. Next: flowd check, then flowd run\n"
    assert good.stdout.endswith("flowd.toml is good. Start it with: flowd run\n")
    assert "\n\n\n" not in (tmp_path / "flowd.toml").read_text()


def test_init_does_not_overwrite_unless_told_to(tmp_path: Path) -> None:
    file = written(tmp_path, "# mine\n")

    refused = flowd("init", file)

    assert refused.exit_code == 2
    assert "exists" in refused.stderr
    assert file.read_text() == "# mine\n"
    assert flowd("init", file, "--force").exit_code == 0
    assert file.read_text() == EXAMPLE.read_text()


def test_init_says_where_it_cannot_write(tmp_path: Path) -> None:
    found = flowd("init", tmp_path / "no" / "flowd.toml")

    assert found.exit_code == 2
    assert "cannot be written" in found.stderr


# -- run --


def test_run_exits_2_on_a_mistake_in_the_configuration(tmp_path: Path) -> None:
    found = flowd("run", "-c", written(tmp_path, "[flowd]\nlissten = 1\n"))

    assert found.exit_code == 2
    assert 'Did you mean "listen"?' in found.stderr


PAIR = '[pair]\nkind = "redis"\nurl = "redis://127.0.0.1:6379/0"\n'


@pytest.mark.parametrize(
    ("text", "command"),
    [
        ("[flowd]\nedges = 2\n", ["check"]),
        ("[flowd]\nedges = 2\n", ["run"]),
        ("", ["run", "--edges", "2"]),
    ],
)
def test_edges_have_no_ingest_that_stands_by(text: str, command: list[str], tmp_path: Path) -> None:
    found = flowd(*command, "-c", written(tmp_path, text + PAIR + SOURCE + SINKS))

    assert found.exit_code == 2
    assert "edges = 2: an ingest with a [pair] serves nobody while it stands by" in found.stderr
    assert "run edges as daemons of their own" in found.stderr
    assert list(tmp_path.iterdir()) == [tmp_path / "flowd.toml"]


@pytest.mark.edge
def test_run_exits_2_when_its_address_is_taken(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        text = f'[flowd]\nlisten = "127.0.0.1:{port}"\nstate = "{tmp_path / "s.db"}"\n'

        found = command("run", "-c", str(written(tmp_path, text)))

    assert found.returncode == 2
    assert "is another flowd running there?" in found.stderr
    assert "Traceback" not in found.stderr


@pytest.mark.edge
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_run_exits_0_when_it_is_told_to_stop(number: int, tmp_path: Path) -> None:
    with Exchange() as exchange, Flowd(tmp_path / "flowd", exchange.url) as daemon:
        trio.run(daemon.start)

        trio.run(daemon.stop, number)

        assert "stopped; state saved" in daemon.log


# -- a running daemon --


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Flowd]:
    """A daemon that retains the last eight of ten orders."""
    with Exchange() as exchange:
        folder = tmp_path_factory.mktemp("cli")
        with Flowd(folder, exchange.url, source={"retain": 8}) as found:
            trio.run(found.start)
            exchange.say(9, "BTCUSDT")
            trio.run(found.reached, exchange.say(1, "ETHUSDT", "BUY")[-1])
            yield found
            trio.run(found.stop)


def url(daemon: Flowd) -> str:
    return f"http://127.0.0.1:{daemon.port}"


@pytest.mark.edge
def test_status_shows_a_row_per_component_and_exits_0(daemon: Flowd) -> None:
    found = flowd("status", "--url", url(daemon))

    assert found.exit_code == 0
    lines = found.stdout.splitlines()
    assert lines[0].startswith(f"flowd {__version__}: healthy, up ")
    assert lines[1].split() == [
        "component",
        "state",
        "rate/s",
        "lag",
        "last",
        "published",
        "dropped",
    ]
    assert [line.split()[:2] for line in lines[2:6]] == [
        ["orders", "running"],
        ["http", "running"],
        ["sse", "running"],
        ["websocket", "running"],
    ]
    assert "live clients" in lines[6]


@pytest.mark.edge
def test_status_takes_the_address_from_the_environment(daemon: Flowd) -> None:
    assert flowd("status", FLOWD_URL=url(daemon)).exit_code == 0


@pytest.mark.edge
def test_status_as_json_is_the_whole_status(daemon: Flowd) -> None:
    found = flowd("status", "--json", "--url", url(daemon))

    status = json.loads(found.stdout)
    assert found.exit_code == 0
    assert status["healthy"] is True
    assert status["version"] == __version__
    assert {part["name"] for part in status["components"]} == {"orders", "http", "sse", "websocket"}


@pytest.mark.edge
def test_status_of_a_degraded_daemon_exits_1_and_says_why(tmp_path: Path) -> None:
    nobody = f"ws://127.0.0.1:{free_port()}/market"
    with Flowd(tmp_path / "flowd", nobody) as daemon:
        trio.run(lambda: daemon.start(delivering=False))
        trio.run(daemon.settled, lambda status: status["components"][0]["state"] == "backoff")

        found = flowd("status", "--url", url(daemon))

        assert found.exit_code == 1
        assert "degraded" in found.stdout
        assert "orders: cannot connect: " in words(found.stdout)


@pytest.mark.edge
def test_a_watched_status_writes_lines_into_a_pipe(daemon: Flowd) -> None:
    command = [sys.executable, "-m", "flowd.cli", "status", "--watch", "--url", url(daemon)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        deadline = threading.Timer(WAIT_S, process.kill)
        deadline.start()
        try:
            assert process.stdout is not None
            found = [process.stdout.readline() for _ in range(2)]
            process.send_signal(signal.SIGINT)
            code = process.wait(WAIT_S)
        finally:
            process.kill()
            deadline.cancel()

    assert code == 0
    assert all(" healthy, 4 of 4 components running, " in line for line in found)


def test_status_of_a_daemon_that_is_not_there_is_one_line_and_exits_3() -> None:
    address = f"http://127.0.0.1:{free_port()}"

    found = flowd("status", "--url", address)

    assert found.exit_code == 3
    assert found.stdout == ""
    assert found.stderr.startswith(f"flowd is not answering at {address}: ")
    assert found.stderr.count("\n") == 1


@pytest.mark.parametrize("arguments", [("status",), ("tail", "orders")])
def test_an_address_that_is_none_exits_2_and_shows_one(arguments: tuple[str, ...]) -> None:
    found = flowd(*arguments, "--url", "localhost")

    assert found.exit_code == 2
    assert 'expected an address such as "http://127.0.0.1:4200"' in found.stderr


def part(name: str, **more: Any) -> dict[str, Any]:
    plain = {
        **{"name": name, "table": "sources", "state": "running", "error": None},
        **{"delivering": True, "connected": True, "rate_per_s": 12.345678, "lag_ms": 1016},
        **{"last_message_ago_ms": 171, "published": 1234567, "dropped": {"COIN-M": 12}},
    }
    return {**plain, **more}


def shown(*parts: dict[str, Any], columns: int = 80) -> list[str]:
    status = {
        **{"version": "0.1.0", "healthy": False, "uptime_s": 93784.2, "components": parts},
        "clients": {"live": 812, "behind": 3, "delivered": 123456789},
        "memory": {"rss_bytes": 84_000_000},
        **{"loop": {"longest_hold_ms": 4.25}, "snapshot": {"error": None}},
    }
    with open(os.devnull, "w") as nowhere:
        console = Console(width=columns, record=True, file=nowhere)
        console.print(terminal.status(status))
    return [line.rstrip() for line in console.export_text().splitlines()]


def test_the_status_table_fits_80_columns_and_cuts_no_name() -> None:
    lines = shown(part("binance-forced-orders"), part("x"))

    assert max(map(len, lines)) <= 80
    assert lines[2].startswith("binance-forced-orders ")
    assert "…" not in "".join(lines)
    assert lines[2].split()[1:] == ["running", "12.3", "1.0s", "171ms", "1234567", "12"]


def test_a_long_name_stays_whole_in_a_narrow_terminal() -> None:
    name = "liquidations-of-all-exchanges"

    lines = shown(part(name), columns=72)

    assert any(line.startswith(f"{name} ") for line in lines)


def test_what_is_wrong_stands_below_the_table_in_full() -> None:
    why = "upstream silent for 60s (wss://fstream.binance.com/market/stream)"

    lines = shown(part("orders", state="backoff", error=why, delivering=False))

    assert f"orders: {why}" in words("\n".join(lines))


def test_what_is_wrong_with_a_component_that_runs_is_said_too() -> None:
    lines = shown(part("orders", problem="nobody lists NOSUCH"), part("candles"))

    assert "orders: nobody lists NOSUCH" in lines
    assert not any(line.startswith("candles:") for line in lines)


def test_a_source_that_runs_without_data_is_not_called_running() -> None:
    connecting = shown(part("orders", delivering=False, connected=False))[2]
    connected = shown(part("orders", delivering=False, connected=True))[2]

    assert connecting.split()[1] == "connecting"
    assert connected.split()[1] == "connected"


def test_a_sink_has_no_rate() -> None:
    sink = part("sse", table="sinks", delivering=None, lag_ms=None, last_message_ago_ms=None)

    assert shown(sink)[2].split() == ["sse", "running", "-", "-", "-", "-", "-"]


# -- tail --


@contextmanager
def tailing(daemon: Flowd, *arguments: str) -> Iterator["subprocess.Popen[str]"]:
    """`flowd tail orders …` as a process, ended with Ctrl-C, and in any case after a while."""
    process = subprocess.Popen(
        [sys.executable, "-m", "flowd.cli", "tail", "orders", *arguments, "--url", url(daemon)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        stdin=subprocess.DEVNULL,
        text=True,
    )
    deadline = threading.Timer(WAIT_S, process.kill)
    deadline.start()
    try:
        yield process
    finally:
        process.kill()
        process.communicate(timeout=WAIT_S)
        deadline.cancel()


def lines(process: "subprocess.Popen[str]", count: int) -> list[dict[str, Any]]:
    assert process.stdout is not None
    return [json.loads(process.stdout.readline()) for _ in range(count)]


def marks(process: "subprocess.Popen[str]", count: int) -> list[str]:
    assert process.stderr is not None
    return [process.stderr.readline().rstrip("\n") for _ in range(count)]


def seqs(records: list[dict[str, Any]]) -> list[int]:
    return [record["seq"] for record in records]


@pytest.mark.edge
def test_tail_begins_with_the_newest_and_ends_with_ctrl_c(daemon: Flowd) -> None:
    with tailing(daemon, "-n", "3") as process:
        found = lines(process, 3)
        process.send_signal(signal.SIGINT)

        assert process.wait(WAIT_S) == 0
    assert seqs(found) == [8, 9, 10]
    assert set(found[0]) == {"seq", "time_ms", "value"}


@pytest.mark.edge
def test_tail_shows_only_what_the_filter_lets_through(daemon: Flowd) -> None:
    with tailing(daemon, "-f", "symbol=BTCUSDT", "-f", "min_price=8") as process:
        assert seqs(lines(process, 2)) == [8, 9]


@pytest.mark.edge
def test_tail_after_a_position_marks_the_gap(daemon: Flowd) -> None:
    position = trio.run(daemon.poll)["position"]
    epoch = position.partition(".")[0]

    with tailing(daemon, "--after", f"{epoch}.1") as process:
        assert seqs(lines(process, 8)) == list(range(3, 11))
        (mark,) = marks(process, 1)

    gap = json.loads(mark.removeprefix("-- "))
    assert (gap["type"], gap["gap"]) == ("gap", {"first": 2, "last": 2})


@pytest.mark.edge
def test_tail_after_a_position_of_another_epoch_marks_the_reset(daemon: Flowd) -> None:
    with tailing(daemon, "--after", "another.5") as process:
        assert seqs(lines(process, 8)) == list(range(3, 11))
        (mark,) = marks(process, 1)

    assert json.loads(mark.removeprefix("-- "))["type"] == "reset"


@pytest.mark.edge
def test_tail_ends_in_peace_when_nobody_reads_it_any_more(daemon: Flowd) -> None:
    with tailing(daemon, "-n", "3") as process:
        assert process.stdout is not None
        process.stdout.close()
        process.stdout = None

        assert process.wait(WAIT_S) == 0
        assert process.stderr is not None
        assert process.stderr.read() == ""


@pytest.mark.edge
@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("nothing",), 'there is no stream \'nothing\'; allowed: ["orders","outages"]'),
        (("orders", "-f", "colour=red"), "no filter is called 'colour'"),
        (("orders", "-f", "side=UP"), 'allowed: ["BUY","SELL"]'),
        (("orders", "-f", "symbol"), "expected NAME=VALUE"),
        (("orders", "--after", "yesterday"), 'a position looks like "k3v9.18231"'),
        (("orders", "-n", "-1"), "should be greater than or equal to"),
    ],
)
def test_tail_exits_2_on_what_cannot_be_followed(
    arguments: tuple[str, ...], told: str, daemon: Flowd
) -> None:
    found = flowd("tail", *arguments, "--url", url(daemon))

    assert found.exit_code == 2
    assert told in words(found.stderr.replace("│", ""))


def test_tail_of_a_daemon_that_is_not_there_exits_3_with_one_line() -> None:
    found = flowd("tail", "orders", "--url", f"http://127.0.0.1:{free_port()}")

    assert found.exit_code == 3
    assert found.stderr.count("\n") == 1
