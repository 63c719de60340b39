"""The settings of the transform `totals`."""

from importlib import import_module
from typing import Any

from attrs import field, frozen

from flowd.plugin import Seconds, StreamName
from flowd_totals.records import Counted
from flowd_totals.window import parse

TOP_MAX = 100
WINDOWS = ("5m", "1h", "4h", "12h", "24h")
WINDOWS_MAX = 8
EVERY_MIN_S = 0.1


def _windows(_: object, attribute: Any, names: list[str]) -> None:
    if not 1 <= len(names) <= WINDOWS_MAX or len(set(names)) < len(names):
        raise ValueError(f"windows = {names}: name 1 to {WINDOWS_MAX}, each once, such as 5m")
    for name in names:
        parse(name)


@frozen
class Config:
    """`input` or `inputs` are streams of fills, trades or liquidations; `count` which of their
    fills make up the market's volume.

    `top` is how many rows a ranking has, `every` how often what changed is published.
    """

    input: StreamName | None = None
    inputs: list[StreamName] = field(factory=list, kw_only=True)
    windows: list[str] = field(factory=lambda: list(WINDOWS), validator=_windows)
    top: int = 20
    every: Seconds = Seconds(2.0)
    count: Counted = "takers"

    def __attrs_post_init__(self) -> None:
        if not self.names:
            raise ValueError(
                "neither input nor inputs: name a stream of fills, trades or liquidations, or "
                "several"
            )
        if not 1 <= self.top <= TOP_MAX:
            raise ValueError(f"top = {self.top}: expected a number from 1 to {TOP_MAX}")
        if self.every < EVERY_MIN_S:
            raise ValueError(f"every = {self.every:g}s: expected at least 100ms")
        # It brings numpy: only who configures totals pays for that, and before the loop turns.
        import_module("flowd_totals.board")

    @property
    def names(self) -> list[str]:
        """All streams that are summed up, each once."""
        return list(dict.fromkeys([*([self.input] if self.input else []), *self.inputs]))
