"""Windows that end now, and the steps in which they move on.

Each window has steps of a 48th of its length or somewhat more. Steps of one width divide those of
every larger one, so that old steps can be put together to larger ones.
"""

import re
from collections.abc import Iterable
from itertools import pairwise

from attrs import frozen

SHORTEST_MS = 60_000
LONGEST_MS = 7 * 86_400_000
STEPS = 48

_UNITS_MS = {"m": 60_000, "h": 3_600_000, "d": 86_400_000}
_NAME = re.compile(r"([1-9][0-9]{0,4})([mhd])", re.ASCII)
_WIDTHS_MS = [s * 1000 for s in (1, 2, 10, 30, 60, 120, 360, 1800, 3600, 7200, 21_600)]
assert all(wide % narrow == 0 for narrow, wide in pairwise(_WIDTHS_MS))


@frozen
class Window:
    """The time from `width_ms` ago until now, in steps of `step_ms`."""

    name: str
    width_ms: int
    step_ms: int


@frozen
class Level:
    """Steps of one width, and for how long they are kept before they become part of larger ones."""

    step_ms: int
    keep_ms: int


def parse(name: str) -> Window:
    """The window of this name; ValueError that says how they look."""
    match = _NAME.fullmatch(name)
    width_ms = int(match[1]) * _UNITS_MS[match[2]] if match else 0
    if not SHORTEST_MS <= width_ms <= LONGEST_MS:
        raise ValueError(f"windows: {name!r:.20} is none; they look like 5m, 1h, 7d, from 1m to 7d")
    step_ms = next(step_ms for step_ms in _WIDTHS_MS if step_ms * STEPS >= width_ms)
    return Window(name, width_ms, step_ms)


def levels(windows: Iterable[Window]) -> list[Level]:
    """All widths of steps that these windows need, the finest first."""
    keep_ms: dict[int, int] = {}
    for window in windows:
        keep_ms[window.step_ms] = max(window.width_ms, keep_ms.get(window.step_ms, 0))
    found: list[Level] = []
    for step_ms in _WIDTHS_MS:
        if min(keep_ms) <= step_ms <= max(keep_ms):
            kept_ms = found[-1].keep_ms if found else 0
            found.append(Level(step_ms, keep_ms.get(step_ms, kept_ms)))
    return found
