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


def test_a_hook_that_is_misspelt_is_a_user_error(folder: Path) -> None:
    (folder / "flowd_typo.py").write_text(
        SOURCE.format(kind="x").replace("flowd_sources", "flowd_sauces")
    )

    with pytest.raises(UserError, match=r"plugin flowd_typo .*flowd_typo\.py.*flowd_sauces"):
        load(folder)


def test_a_hook_with_an_argument_that_does_not_exist_is_a_user_error(folder: Path) -> None:
    (folder / "flowd_argument.py").write_text(
        SOURCE.format(kind="x").replace("flowd_sources()", "flowd_sources(config)")
    )

    with pytest.raises(UserError, match=r"(?s)plugin flowd_argument .*config"):
        load(folder)


@pytest.mark.parametrize(
    ("body", "error"),
    [
        ("return 1 / 0", "ZeroDivisionError"),
        ('return ["bitstamp"]', "expected a Source, got 'bitstamp'"),
        ("return None", "TypeError"),
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


def test_the_same_kind_twice_is_a_user_error_that_names_both(folder: Path) -> None:
    for name in ("flowd_one", "flowd_two"):
        (folder / f"{name}.py").write_text(SOURCE.format(kind="bitstamp"))

    with pytest.raises(UserError, match="plugins flowd_one and flowd_two both bring a source of"):
        load(folder)


def test_a_kind_that_an_installed_plugin_brings_is_taken(folder: Path) -> None:
    (folder / "flowd_mine.py").write_text(SOURCE.format(kind="binance-force-order"))

    with pytest.raises(UserError, match="plugins binance and flowd_mine both bring"):
        load(folder)


def test_sources_and_sinks_may_be_of_the_same_kind(folder: Path) -> None:
    (folder / "flowd_mine.py").write_text(SOURCE.format(kind="sse"))

    loaded = load(folder)

    assert "sse" in loaded.sources
    assert "sse" in loaded.sinks


def test_a_plugin_of_a_name_that_is_taken_is_a_user_error_that_names_both(folder: Path) -> None:
    (folder / "binance.py").write_text(SOURCE.format(kind="mine"))

    with pytest.raises(UserError, match=r"two plugins are called binance: flowd-daemon and .*py"):
        load(folder)


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
