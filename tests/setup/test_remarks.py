"""What is said of a configuration that works and may not be meant."""

import pytest

from flowd import testing
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
