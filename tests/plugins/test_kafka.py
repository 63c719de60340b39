"""The settings of the sink `kafka`. What it does with a cluster is in tests/edge."""

import sys
from typing import Any

import pytest
from flowd_kafka import OURS, Config
from flowd_kafka.broker import late
from flowd_kafka.cluster import Message, Sending

from flowd.plugin import Position, Secret


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"inputs": []}, "no inputs"),
        ({"prefix": ""}, "prefix"),
        ({"prefix": "a/b"}, "prefix"),
        ({"timeout": 0.0}, "timeout"),
    ],
)
def test_a_setting_that_cannot_be_is_told(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Config(**{"inputs": ["orders"], **settings})


@pytest.mark.parametrize("option", sorted(OURS))
def test_what_makes_it_exact_and_bounded_cannot_be_set(option: str) -> None:
    with pytest.raises(ValueError, match=OURS[option]) as told:
        Config(["orders"], options={option: Secret("here", "hush")})

    assert "hush" not in str(told.value)


def test_the_largest_record_is_librdkafka_s_unless_it_is_set() -> None:
    assert Config(["orders"]).most == 1_000_000
    assert Config(["orders"], options={"message.max.bytes": 5_000_000}).most == 5_000_000
    assert Config(["orders"], options={"message.max.bytes": "5000"}).most == 5000


def test_what_is_refused_while_something_behind_it_is_taken_is_told_late() -> None:
    headers = [{"Flowd-Position": f"k3v9.{number}"} for number in (7, 8, 9, 10)]
    values = [b"7", b"8", None, b"10"]
    key = b"BTC"
    messages = [Message(key, *one) for one in zip(values, headers, strict=True)]
    sending = Sending(None, messages, general=(1,))
    sending.tell(1, None, Stored())
    for number in (0, 2, 3):
        sending.tell(number, Refusal(number), Stored())

    found = [late(message, Position("k3v9", 8)) for message in sending.missed]

    assert sending.settled
    assert sending.error.code() == 0
    assert found == [
        Message(b"flowd-gap", None, {"Flowd-Position": "k3v9.8", "Flowd-Gap": "7-7"}),
    ]
    assert late(messages[2], Position("k3v9", 10)).headers == {"Flowd-Position": "k3v9.10"}


class Stored:
    """What librdkafka tells of a record that was stored."""

    def offset(self) -> int:
        return 41


class Refusal:
    """What it tells of one that was not."""

    def __init__(self, number: int) -> None:
        self._number = number

    def code(self) -> int:
        return self._number


def test_without_the_library_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "confluent_kafka", None)

    with pytest.raises(ValueError, match=r"pip install 'flowd-daemon\[kafka\]'"):
        Config(["orders"])
