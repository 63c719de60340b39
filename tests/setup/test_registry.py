"""Finding plugins, and saying plainly what is wrong with one."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from flowd.setup import registry
from flowd.setup.registry import Found, Registry, load
from flowd.values.errors import UserError

SOURCE = """
from attrs import frozen
from flowd.plugin import Feed, Source, hookimpl

@frozen
class Config:
    pair: str = "btcusd"

@frozen
class Trade:
    pair: str

async def trades(config: Config, feed: Feed[Trade]) -> None:
    feed.publish(Trade(config.pair))

@hookimpl
def flowd_sources():
    return [Source("{kind}", trades, Config, record=Trade)]
"""


@pytest.fixture(autouse=True)
def _modules_are_forgotten() -> Iterator[None]:
    before = dict(sys.modules)
    yield
    sys.modules.clear()
    sys.modules.update(before)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "plugins"
    made.mkdir()
    return made


def found(loaded: Registry, name: str) -> Found:
    (one,) = [plugin for plugin in loaded.found if plugin.name == name]
    return one


def test_the_plugins_that_are_installed_are_found() -> None:
    loaded = load()

    assert "binance-force-order" in loaded.sources
    assert {"http", "sse", "websocket"} <= set(loaded.sinks)
    assert found(loaded, "binance").origin == "flowd-daemon"
    assert "source binance-force-order" in found(loaded, "binance").kinds
    assert all(plugin.error is None for plugin in loaded.found)


def test_commands_of_plugins_are_found() -> None:
    loaded = load()

    assert loaded.commands
    assert found(loaded, "simulator").commands == 1


def test_a_module_in_the_folder_is_a_plugin(folder: Path) -> None:
    (folder / "flowd_bitstamp_x.py").write_text(SOURCE.format(kind="bitstamp"))

    loaded = load(folder)

    assert loaded.sources["bitstamp"].record.__name__ == "Trade"
    assert found(loaded, "flowd_bitstamp_x") == Found(
        "flowd_bitstamp_x", str(folder / "flowd_bitstamp_x.py"), ["source bitstamp"]
    )


def test_a_package_in_the_folder_is_a_plugin(folder: Path) -> None:
    package = folder / "flowd_bitstamp_y"
    package.mkdir()
    (package / "__init__.py").write_text(
        "from flowd_bitstamp_y.parts import KIND\n" + SOURCE.replace('"{kind}"', "KIND")
    )
    (package / "parts.py").write_text('KIND = "bitstamp"')

    loaded = load(folder)

    assert found(loaded, "flowd_bitstamp_y").error is None
    assert "bitstamp" in loaded.sources


def test_what_is_no_module_is_left_alone(folder: Path) -> None:
    (folder / "README.md").write_text("no plugin")
    (folder / "__init__.py").write_text("1 / 0")
    (folder / "data").mkdir()
    (folder / "__pycache__").mkdir()

    assert len(load(folder).found) == len(load().found)


def test_a_module_without_hooks_is_listed_and_brings_nothing(folder: Path) -> None:
    (folder / "flowd_empty.py").write_text("")

    assert found(load(folder), "flowd_empty") == Found(
        "flowd_empty", str(folder / "flowd_empty.py")
    )


@pytest.mark.parametrize(
    ("content", "error"),
    [
        ("import no_such_module_at_all", "ModuleNotFoundError"),
        ("def broken(:", "SyntaxError"),
        ("1 / 0", "ZeroDivisionError"),
        ("raise SystemExit(3)", "SystemExit"),
        ("class Odd(BaseException): pass\nraise Odd", "Odd"),
    ],
)
def test_a_plugin_that_does_not_import_is_reported_and_left_out(
    folder: Path, caplog: pytest.LogCaptureFixture, content: str, error: str
) -> None:
    (folder / "flowd_a_broken.py").write_text(content)
    (folder / "flowd_b_whole.py").write_text(SOURCE.format(kind="whole"))

    loaded = load(folder)

    assert f"does not import: {error}" in str(found(loaded, "flowd_a_broken").error)
    assert "whole" in loaded.sources
    assert "flowd_a_broken" not in sys.modules
    assert "does not import" in caplog.text


def test_a_plugin_that_does_not_import_leaves_a_module_of_its_name_alone(folder: Path) -> None:
    import colorsys

    (folder / "colorsys.py").write_text("1 / 0")

    load(folder)

    assert sys.modules["colorsys"] is colorsys


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        ("flowd_sources", "flowd_sauces", "its hook flowd_sauces is misspelt, or for another"),
        ("flowd_sources", "flowd_sauces", 'Did you mean "flowd_sources"?'),
        ("flowd_sources()", "flowd_sources(config)", "a hook takes what there is not"),
        ("def flowd_sources", "async def flowd_sources", "flowd_sources is async; write def"),
        ("async def trades", "def trades", "source 'x': its run is not async"),
        ("trades, Config", "trades, dict", "source 'x': its config <class 'dict'> is no attrs"),
        ('pair: str = "btcusd"', "pair: str = 5", "pair = 5: the default is no str"),
        ('pair: str = "btcusd"', 'pair: "Missing" = 5', "types of its settings cannot be read"),
        ("record=Trade", "record=list[int]", "its record is list[int]; expected a class"),
        ("record=Trade", "record=Trade, retain=0", "retain=0; expected a number up to"),
        (
            "record=Trade",
            'record=Trade, tables={"all": Trade}, tables_retain={"all": 0}',
            "retain=0; expected a number up to",
        ),
        (
            "record=Trade",
            'record=Trade, tables_retain={"all": 1}',
            "its tables_retain names 'all', which is none of its tables",
        ),
        (
            "record=Trade",
            "record=Trade, standby=1",
            "standby=1; expected True, False or a function",
        ),
        ("record=Trade", "record=Trade, standby=trades", "its standby is async"),
        (
            "record=Trade",
            "record=Trade, standby=True, streams=trades",
            "it carries streams of another daemon",
        ),
        ("record=Trade", "record=Trade, replay=1", "it was made for another flowd than"),
        ('Source("x"', 'Source(""', "a kind has a name"),
    ],
)
def test_a_plugin_that_cannot_be_used_is_left_out_with_a_sentence(
    folder: Path, caplog: pytest.LogCaptureFixture, before: str, after: str, told: str
) -> None:
    assert before in SOURCE.format(kind="x")
    wrong = SOURCE.format(kind="x").replace(before, after)
    (folder / "flowd_a_wrong.py").write_text(wrong)
    (folder / "flowd_b_whole.py").write_text(SOURCE.format(kind="whole"))

    loaded = load(folder)

    assert told in str(found(loaded, "flowd_a_wrong").error)
    assert "x" not in loaded.sources
    assert "whole" in loaded.sources
    assert f"plugin flowd_a_wrong ({folder / 'flowd_a_wrong.py'}) is left out" in caplog.text
    assert 'disable = ["flowd_a_wrong"] in flowd.plugins' in caplog.text
    with pytest.raises(UserError, match="failed to load: flowd_a_wrong"):
        loaded.kind("sources", "x", "sources.orders")


def test_a_hook_of_a_newer_flowd_may_be_optional(folder: Path) -> None:
    newer = "@hookimpl(optionalhook=True)\ndef flowd_of_tomorrow():\n    return []\n"
    (folder / "flowd_mine.py").write_text(SOURCE.format(kind="mine") + newer)

    loaded = load(folder)

    assert found(loaded, "flowd_mine").error is None
    assert "mine" in loaded.sources


@pytest.mark.parametrize(
    ("body", "error"),
    [
        ('return ["bitstamp"]', "flowd_sources: expected a Source, got 'bitstamp'"),
        ("return None", "flowd_sources answered None; expected a list of Source"),
        ('return "bitstamp"', "answered 'bitstamp'; expected a list of Source"),
    ],
)
def test_a_hook_that_answers_no_list_of_kinds_is_told_what_one_is(
    folder: Path, body: str, error: str
) -> None:
    (folder / "flowd_hook.py").write_text(
        f"from flowd.plugin import hookimpl\n@hookimpl\ndef flowd_sources():\n    {body}"
    )

    assert error in str(found(load(folder), "flowd_hook").error)


@pytest.mark.parametrize(
    ("content", "remedy"),
    [
        ("import no_such.module", "install what it needs beside flowd, such as: pip install no_s"),
        ("from flowd.plugin import Tomorrow", "it was made for another flowd than"),
        ("import flowd.tomorrow", "it was made for another flowd than"),
    ],
)
def test_a_plugin_that_does_not_import_is_told_with_a_remedy(
    folder: Path, content: str, remedy: str
) -> None:
    (folder / "flowd_mine.py").write_text(content)

    assert remedy in str(found(load(folder), "flowd_mine").error)


def test_what_is_taken_from_a_plugin_is_all_or_nothing(folder: Path) -> None:
    more = "@hookimpl\ndef flowd_sinks():\n    return [Sink('nothing', Config)]\n"
    text = SOURCE.format(kind="mine").replace("Feed,", "Feed, Sink,") + more
    (folder / "flowd_mine.py").write_text(text)

    loaded = load(folder)

    assert found(loaded, "flowd_mine").error == (
        "sink 'nothing' does nothing; give it one of run, routes, live, hot"
    )
    assert "mine" not in loaded.sources


def test_ctrl_c_while_a_plugin_is_imported_is_for_flowd(folder: Path) -> None:
    (folder / "flowd_slow.py").write_text("raise KeyboardInterrupt")

    with pytest.raises(KeyboardInterrupt):
        load(folder)


def test_a_plugin_that_is_disabled_is_not_even_imported(folder: Path) -> None:
    (folder / "flowd_deadly.py").write_text("import os; os._exit(7)")

    loaded = load(folder, disable=["flowd_deadly", "binance"])

    assert found(loaded, "flowd_deadly").disabled
    assert found(loaded, "flowd_deadly").error is None
    assert "binance-force-order" not in loaded.sources
    with pytest.raises(UserError, match=r"disabled by flowd\.plugins: binance, flowd_deadly"):
        loaded.kind("sources", "binance-force-order", "sources.orders")


@pytest.mark.parametrize(
    ("body", "error"),
    [
        ("return 1 / 0", "ZeroDivisionError"),
        ("raise SystemExit", "SystemExit"),
        ("yield 1 / 0", "ZeroDivisionError"),
    ],
)
def test_a_hook_that_fails_is_reported_and_left_out(
    folder: Path, caplog: pytest.LogCaptureFixture, body: str, error: str
) -> None:
    (folder / "flowd_a_hook.py").write_text(
        f"from flowd.plugin import hookimpl\n@hookimpl\ndef flowd_sources():\n    {body}"
    )
    (folder / "flowd_b_whole.py").write_text(SOURCE.format(kind="whole"))

    loaded = load(folder)

    assert "its hook failed" in str(found(loaded, "flowd_a_hook").error)
    assert error in str(found(loaded, "flowd_a_hook").error)
    assert "whole" in loaded.sources
    assert "flowd_a_hook" in caplog.text


def test_a_kind_that_another_brings_leaves_the_second_out(folder: Path) -> None:
    for name in ("flowd_one", "flowd_two"):
        (folder / f"{name}.py").write_text(SOURCE.format(kind="bitstamp"))

    loaded = load(folder)

    assert found(loaded, "flowd_one").kinds == ["source bitstamp"]
    assert found(loaded, "flowd_two").error == (
        f"source bitstamp is what plugin flowd_one ({folder / 'flowd_one.py'}) brings already; "
        "rename the kind, or remove one of the two"
    )


def test_a_plugin_that_brings_a_kind_twice_is_left_out(folder: Path) -> None:
    text = SOURCE.format(kind="x").replace("record=Trade)]", "record=Trade)] * 2")
    (folder / "flowd_mine.py").write_text(text)

    assert "it brings the source x twice" in str(found(load(folder), "flowd_mine").error)


def test_a_kind_that_an_installed_plugin_brings_is_taken(folder: Path) -> None:
    (folder / "flowd_mine.py").write_text(SOURCE.format(kind="binance-force-order"))

    loaded = load(folder)

    assert "what plugin binance (flowd-daemon) brings" in str(found(loaded, "flowd_mine").error)
    assert loaded.sources["binance-force-order"].record.__name__ == "Liquidation"


def test_what_flowd_ships_comes_before_whatever_else_is_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "aaa_mine.py").write_text(SOURCE.format(kind="binance-force-order"))
    package = tmp_path / "aaa_mine-1.0.dist-info"
    package.mkdir()
    (package / "METADATA").write_text("Metadata-Version: 2.1\nName: aaa-mine\nVersion: 1.0\n")
    (package / "entry_points.txt").write_text("[flowd]\naaa = aaa_mine\n")
    monkeypatch.syspath_prepend(tmp_path)

    loaded = load()

    assert "what plugin binance (flowd-daemon) brings" in str(found(loaded, "aaa").error)
    assert loaded.sources["binance-force-order"].record.__name__ == "Liquidation"


COMMAND = """
import typer
from flowd.plugin import hookimpl

app = typer.Typer()

@app.command()
def {name}() -> None:
    return None

@hookimpl
def flowd_commands():
    return [app]
"""


@pytest.mark.parametrize(
    ("name", "whose"), [("status", "flowd itself"), ("simulate", "plugin simulator")]
)
def test_a_command_that_is_taken_is_left_out_and_the_rest_stays(
    folder: Path, name: str, whose: str
) -> None:
    text = COMMAND.format(name=name) + SOURCE.format(kind="mine")
    (folder / "flowd_mine.py").write_text(text)

    loaded = load(folder, taken={"status"})

    assert found(loaded, "flowd_mine").error == (
        f'its command "{name}" is left out: {whose} has one; rename it'
    )
    assert found(loaded, "flowd_mine").kinds == ["source mine"]
    assert len(loaded.commands) == len(load().commands)


def test_a_command_that_cannot_be_made_is_found_here(folder: Path) -> None:
    text = COMMAND.format(name="fine").replace("def fine()", "def fine(x: list[list[int]])")
    (folder / "flowd_mine.py").write_text(text)

    assert "its hook failed: AssertionError" in str(found(load(folder), "flowd_mine").error)


def test_sources_and_sinks_may_be_of_the_same_kind(folder: Path) -> None:
    (folder / "flowd_mine.py").write_text(SOURCE.format(kind="sse"))

    loaded = load(folder)

    assert "sse" in loaded.sources
    assert "sse" in loaded.sinks


def test_a_plugin_of_a_name_that_is_taken_is_left_out(folder: Path) -> None:
    (folder / "binance.py").write_text(SOURCE.format(kind="mine"))

    loaded = load(folder)

    ours, mine = (plugin for plugin in loaded.found if plugin.name == "binance")
    assert ours.error is None
    assert mine.error == "another plugin has this name, from flowd-daemon; rename one"
    assert "mine" not in loaded.sources


def test_a_folder_that_is_not_there_is_a_user_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"--plugins-dir .*nowhere: there is no such directory"):
        load(tmp_path / "nowhere")


def test_the_kinds_there_are_are_answered(folder: Path) -> None:
    (folder / "flowd_mine.py").write_text(SOURCE.format(kind="bitstamp"))
    loaded = load(folder)

    assert loaded.kind("sources", "bitstamp", "sources.a").kind == "bitstamp"
    with pytest.raises(UserError, match=r'sources.a.kind = "bitstmap": .*Did you mean "bitstamp"'):
        loaded.kind("sources", "bitstmap", "sources.a")


def test_an_empty_registry_says_that_there_are_none() -> None:
    with pytest.raises(UserError, match="no plugin brings such a transform; there are: none"):
        registry.Registry().kind("transforms", "volume", "transforms.v")
