"""Broken messages, made from good ones."""

import json
from collections.abc import Callable
from typing import Final

from flowd_simulator.faults import NONSENSE, Json, Spoil


def _changed(text: str, change: Callable[[Json], None]) -> str:
    """The message after a change to its first trade, or to its data."""
    frame = json.loads(text)
    data = frame.get("data")
    if isinstance(data, list) and data:
        change(data[0])
    elif isinstance(data, dict):
        change(data)
    return json.dumps(frame, separators=(",", ":"))


def _with(**members: object) -> Spoil:
    return lambda text: _changed(text, lambda one: one.update(members))


GARBAGE: Final[dict[str, Spoil]] = {
    **NONSENSE,
    "not-numbers": _with(px=float("nan"), sz=float("inf")),
    "not-number-texts": _with(px="NaN", sz="Infinity"),
    "negative": _with(sz="-1.5"),
    "unknown-side": _with(side="HOLD"),
    "seconds": _with(time=1_790_000_000),
    "no-addresses": _with(users=["0x12", None]),
    "half-a-pair": _with(coin="\ud800"),
    "huge": _with(hash="0x" + "f" * 100_000),
    "missing-fields": lambda text: _changed(text, lambda one: one.clear()),
    "no-list": lambda text: '{"channel":"trades","data":{"a":1}}',
    "unknown-channel": lambda text: '{"channel":"brandNew","data":[]}',
}
