"""What OKX grants to a client, where it is, and the broken frames it can send."""

import json
from collections.abc import Callable
from typing import Any, Final

from attrs import define

from flowd_simulator.faults import NONSENSE, Spoil


@define
class Terms:
    """As documented. All of it may be changed while the exchange runs."""

    silence_s: float = 30.0
    """Who gets nothing for so long is let go; pings of the codec are nothing."""
    notice_s: float = 60.0
    """So long before its end a connection is told of it."""
    one_per_second: bool = True
    """Whether of a contract and second one order is told; the history always has all."""
    late: float = 0.01
    """Share of the orders that are told minutes later."""
    one_way: float = 0.02
    """Share of the positions that are `net`."""
    rows_max: int = 100
    """Of the history, in one answer."""
    asks_per_2s: int = 40
    """Requests; more get code 50011 with HTTP 200."""


def _with(**members: object) -> Spoil:
    return lambda text: _changed(text, lambda one: one.update(members))


def _changed(text: str, change: Callable[[dict[str, Any]], None]) -> str:
    # Any: JSON. The frame after a change to its first order.
    frame = json.loads(text)
    change(frame["data"][0]["details"][0])
    return json.dumps(frame, ensure_ascii=False, separators=(",", ":"))


GARBAGE: Final[dict[str, Spoil]] = {
    **NONSENSE,
    "not-numbers": _with(bkPx=float("nan"), sz=float("inf")),
    "not-number-texts": _with(bkPx="NaN", sz="Infinity"),
    "negative": _with(sz="-8.55"),
    "unknown-side": _with(side="hold"),
    "tomorrow": _with(ts="99999999999999"),
    "time-as-number": _with(ts=1_790_000_000_000),
    "missing-fields": lambda text: _changed(text, lambda one: one.clear()),
    "unknown-channel": lambda text: '{"arg":{"channel":"brandNew"},"data":[]}',
    "no-details": lambda text: text.replace('"details"', '"more"'),
}
