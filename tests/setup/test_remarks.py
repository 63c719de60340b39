"""What is said of a configuration that works and may not be meant."""

import sys
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import flowd_heatmap
import pytest
from attrs import frozen

from flowd import testing
from flowd.plugin import Feed, Source
from flowd.setup.config import parse, parse_address
from flowd.setup.remarks import remarks


def said(settings: str, *listens: str) -> list[str]:
    config = parse(f"[flowd]\n{settings}", testing.registry())
    return remarks(config, map(parse_address, listens))


@pytest.fixture(autouse=True)
def token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REMARKS_TOKEN", "sesame")
    monkeypatch.delenv("REMARKS_NOTHING", raising=False)


ADMIN = 'admin_token = { env = "REMARKS_TOKEN" }\n'
LOOPBACK = ["127.0.0.1:4200", "127.1.2.3:0", "[::1]:4200", "localhost:4200", "unix:/run/f.sock"]
PUBLIC = ["0.0.0.0:4200", "[::]:4200", ":4200", "192.0.2.7:80", "[2001:db8::1]:1", "example.org:1"]
WIDE = 'allow_origins = ["*"]\nallow_hosts = ["*"]\n'


@pytest.mark.parametrize("address", LOOPBACK)
def test_nothing_is_said_of_what_only_this_machine_can_reach(address: str) -> None:
    assert said(WIDE, address) == []


@pytest.mark.parametrize("address", PUBLIC)
def test_a_public_address_without_an_admin_is_said_in_one_line(address: str) -> None:
    (line,) = said("", "127.0.0.1:4200", address)

    assert "flowd.admin_token" in line
    assert "127.0.0.1" not in line
    assert "\n" not in line


@pytest.mark.parametrize("address", PUBLIC)
def test_a_public_address_that_is_closed_enough_is_not_spoken_of(address: str) -> None:
    assert said(f'{ADMIN}allow_origins = ["https://example.org"]', address) == []


def test_a_token_without_a_value_is_none() -> None:
    (line,) = said('admin_token = { env = "REMARKS_NOTHING" }', "0.0.0.0:4200")

    assert "set flowd.admin_token" in line


@pytest.mark.parametrize("key", ["allow_origins", "allow_hosts"])
def test_a_public_address_that_is_open_to_all_pages_names_the_key(key: str) -> None:
    (line,) = said(f'{ADMIN}{key} = ["*"]', "0.0.0.0:4200")

    assert f"flowd.{key}" in line
    assert "0.0.0.0:4200" in line


def test_all_of_it_is_one_line() -> None:
    (line,) = said(WIDE, *PUBLIC)

    assert all(key in line for key in ("admin_token", "allow_origins", "allow_hosts"))
    assert "sesame" not in line


def test_a_read_token_without_a_value_names_where_it_was_looked_for() -> None:
    lines = said(f'{ADMIN}read_token = {{ env = "REMARKS_NOTHING" }}', "127.0.0.1:4200")

    assert lines == [
        "flowd.read_token: environment variable REMARKS_NOTHING is not set, so that only the admin "
        "can read what it is for"
    ]


# -- of components --


@frozen
class Settings:
    depth: int = 1


async def follow(settings: Settings, feed: Feed[Any]) -> None:
    raise NotImplementedError


def of_a_plugin(remark: Callable[[Any], Any]) -> list[str]:
    kind = Source("deep", follow, Settings, record=int, remarks=remark)
    plugin = SimpleNamespace(flowd_sources=lambda: [kind])
    found = parse('[sources.well]\nkind = "deep"\ndepth = 7', testing.registry(plugin))
    return remarks(found, [])


def test_what_a_plugin_remarks_names_the_component() -> None:
    found = of_a_plugin(lambda settings: [f"depth = {settings.depth}: more than there is"])

    assert found == ["sources.well: depth = 7: more than there is"]


def test_a_plugin_may_have_nothing_to_remark() -> None:
    assert of_a_plugin(lambda settings: ()) == []


@pytest.mark.parametrize("answer", ["a text", None, [1]])
def test_a_remark_that_is_none_is_the_plugins_mistake(answer: object) -> None:
    (line,) = of_a_plugin(lambda settings: answer)

    assert line.startswith("sources.well: its plugin's remarks cannot be told: ")
    assert "expected a list of texts" in line


def test_a_plugin_that_fails_at_its_remarks_is_told_and_stops_nobody() -> None:
    (line,) = of_a_plugin(lambda settings: 1 // 0)

    assert "sources.well: its plugin's remarks cannot be told: ZeroDivisionError" in line


def test_a_heatmap_whose_file_needs_what_is_not_installed_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "duckdb", None)
    text = '[transforms.heatmap]\nkind = "liquidation-heatmap"\ncandles = "c"\nopen_interest = "o"'

    def found(database: str) -> list[str]:
        config = parse(f"{text}\n{database}", testing.registry(flowd_heatmap))
        return remarks(config, [])

    (line,) = found('database = "market.duckdb"')
    assert line.startswith('transforms.heatmap: database = "market.duckdb" ')
    assert "pip install 'flowd-daemon[duckdb]'" in line
    assert found('database = "market.db"') == found("") == []
