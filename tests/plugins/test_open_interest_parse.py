"""Binance's open interest as it is told: what is recorded, and what cannot be."""

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from flowd_binance.parse import open_interest, past_interest
from hypothesis import given
from hypothesis import strategies as st

from flowd.market import OpenInterest
from flowd.plugin import Unusable

UPSTREAM = Path(__file__).parents[1] / "frames"
SPAN_MS = 300_000


def recorded(name: str) -> list[str]:
    path = UPSTREAM / f"binance_rest_open_interest{name}.jsonl"
    return path.read_text(encoding="utf-8").splitlines()


def test_recorded_answers_are_read_whatever_the_order_of_their_keys() -> None:
    found = [open_interest("BTCUSDT", json.loads(text)) for text in recorded("")]

    assert found == [
        OpenInterest("BTCUSDT", 1790488140644, Decimal("94034.253")),
        OpenInterest("BTCUSDT", 1589437530011, Decimal("10659.509")),
    ]


def test_a_recorded_history_is_read_with_times_as_numbers_and_as_text() -> None:
    (number,), (text,) = recorded("_history"), recorded("_history_documented")

    (real,) = [past_interest("BTCUSDT", row) for row in json.loads(number)]
    documented = [past_interest("BTCUSDT", row) for row in json.loads(text)]

    assert real == OpenInterest(
        "BTCUSDT", 1642179900000, Decimal("75375.617"), Decimal("3248828883.71251440")
    )
    assert [one.time_ms for one in documented] == [1583127900000, 1583128200000]


def test_a_history_that_does_not_tell_a_value_has_none() -> None:
    row = {"symbol": "BTCUSDT", "sumOpenInterest": "1", "timestamp": SPAN_MS}

    assert past_interest("BTCUSDT", row).value is None


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"symbol": "ETHUSDT"}, "not asked for"),
        ({"symbol": None}, "not asked for"),
        ({"timestamp": None}, "bad time"),
        ({"timestamp": True}, "bad time"),
        ({"timestamp": -5}, "bad time"),
        ({"timestamp": 10**14}, "bad time"),
        ({"timestamp": "soon"}, "bad time"),
        ({"timestamp": "\u0661"}, "bad time"),
        ({"timestamp": "9" * 5000}, "bad time"),
        ({"timestamp": 1.5}, "bad time"),
        ({"sumOpenInterest": None}, "bad number"),
        ({"sumOpenInterest": 5}, "bad number"),
        ({"sumOpenInterest": "-1"}, "bad number"),
        ({"sumOpenInterest": "NaN"}, "bad number"),
        ({"sumOpenInterestValue": "1e5"}, "bad number"),
    ],
)
def test_a_sample_that_cannot_be_is_refused(change: dict[str, Any], reason: str) -> None:
    (row,) = json.loads(recorded("_history")[0])

    with pytest.raises(Unusable, match=f"^{reason}$"):
        past_interest("BTCUSDT", row | change)


@given(
    st.none()
    | st.integers()
    | st.text()
    | st.lists(st.none())
    | st.dictionaries(st.text(), st.text())
)
def test_no_answer_is_a_bug(answer: object) -> None:
    with pytest.raises(Unusable):
        open_interest("BTCUSDT", answer)
