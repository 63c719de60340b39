"""Broken messages, made from good ones."""

import json
from collections.abc import Callable
from typing import Final

from flowd_simulator.faults import NONSENSE, Json, Spoil


def _changed(text: str, change: Callable[[Json], None]) -> str:
    """The message after a change to its first fill."""
    frame = json.loads(text)
    change(frame["fills"][0][1])
    return json.dumps(frame, separators=(",", ":"))


def _with(**members: object) -> Spoil:
    return lambda text: _changed(text, lambda fill: fill.update(members))


def _fills(text: str, fills: object) -> str:
    return json.dumps({**json.loads(text), "fills": fills}, separators=(",", ":"))


GARBAGE: Final[dict[str, Spoil]] = {
    **NONSENSE,
    "not-numbers": _with(px=float("nan"), sz=float("inf")),
    "not-number-texts": _with(px="NaN", sz="Infinity"),
    "numbers": _with(px=100.5, sz=2),
    "negative": _with(sz="-1.5"),
    "nothing": _with(sz="0.0"),
    "unknown-side": _with(side="HOLD"),
    "seconds": _with(time=1_790_000_000),
    "control-characters": _with(coin="BTC\u0000\u001b[31m"),
    "half-a-pair": _with(coin="\ud800"),
    "huge": _with(dir="x" * 100_000),
    "missing-fields": lambda text: _changed(text, lambda fill: fill.clear()),
    "no-pairs": lambda text: _fills(text, [["0x12"], {}, None, 5, [1, 2, 3]]),
    "no-list": lambda text: _fills(text, {"a": 1}),
    "unknown-type": lambda text: '{"type":"brandNew","channel":"brandNew"}',
}
