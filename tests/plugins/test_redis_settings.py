"""What a sink and a source for Redis are told in their settings."""

import sys
from typing import Any

import pytest
from flowd_redis import source
from flowd_redis.server import Address
from flowd_redis.sink import Config

from flowd.plugin import Seconds, Secret, Size, StreamName

URL = "redis://redis.example:6379/0"
LOTS = [StreamName("lots")]


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"inputs": []}, "name at least one stream"),
        ({"prefix": "my {flow}"}, "prefix"),
        ({"prefix": ""}, "prefix"),
        ({"batch": 0}, "expected 1 to 5000"),
        ({"batch_size": Size(10)}, "at least 1KiB"),
        ({"timeout": Seconds(0.0)}, "timeout"),
        ({"url": "redis://me:secret@redis.example"}, "a password does not belong there"),
        ({"url": "ftp://redis.example"}, "expected an address"),
    ],
)
def test_settings_that_cannot_work_are_refused(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words) as told:
        Config(**{"url": URL, "inputs": LOTS, **settings})
    assert "secret@" not in str(told.value)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"streams": []}, "name at least one"),
        ({"prefix": "my {flow}"}, "prefix"),
        ({"prefix": ""}, "prefix"),
        ({"timeout": Seconds(0.0)}, "timeout"),
    ],
)
def test_so_are_those_of_an_edge(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        source.Config(**{"url": URL, **settings})


def test_without_coredis_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "coredis", None)

    with pytest.raises(ValueError, match=r"pip install 'flowd-daemon\[redis\]'"):
        Config(URL, LOTS)


def test_a_secret_address_may_hold_a_password() -> None:
    config = Config(Secret("a test", "redis://me:pass@redis.example/1"), LOTS)

    assert config.login.address() == Address(
        (("redis.example", 6379),), 1, username="me", password="pass"
    )
