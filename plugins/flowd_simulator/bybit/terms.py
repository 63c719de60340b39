"""What Bybit grants to a client, and the broken frames it can send."""

import json
from collections.abc import Callable
from typing import Any, Final

from attrs import define

from flowd_simulator.faults import NONSENSE, Spoil


@define
class Terms:
    """As documented. All of it may be changed while the exchange runs."""

    args_max: int = 21_000
    """Characters of all topics in a request."""
    silence_s: float = 600.0
    """Who says nothing for so long is cut off; pings of the codec do not count."""
    instruments_usual: int = 500
    instruments_max: int = 1000
    """In one answer: where nobody says, and at most."""


def _with(**members: object) -> Spoil:
    return lambda text: _changed(text, lambda one: one.update(members))


def _changed(text: str, change: Callable[[dict[str, Any]], None]) -> str:
    # Any: JSON. The frame after a change to its first event.
    frame = json.loads(text)
    change(frame["data"][0])
    return json.dumps(frame, ensure_ascii=False, separators=(",", ":"))


GARBAGE: Final[dict[str, Spoil]] = {
    **NONSENSE,
    "not-numbers": _with(p=float("nan"), v=float("inf")),
    "not-number-texts": _with(p="NaN", v="Infinity"),
    "nothing": _with(v="0"),
    "unknown-side": _with(S="HOLD"),
    "tomorrow": _with(T=99_999_999_999_999),
    "another-symbol": _with(s="NOBODYUSDT"),
    "missing-fields": lambda text: _changed(text, lambda one: one.clear()),
    "unknown-topic": lambda text: '{"topic":"brandNew.BTCUSDT","type":"snapshot","data":[]}',
}
