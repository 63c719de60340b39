"""Addresses and stream names: what a client may dial, and what it may subscribe to."""

from collections.abc import Callable
from typing import Final, Literal
from urllib.parse import unquote

from attrs import frozen

from flowd_simulator.intervals import INTERVALS

ALL_FORCED_ORDERS: Final = "!forceOrder@arr"
Kind = Literal["forceOrder", "markPrice", "kline", "aggTrade"]


@frozen
class Route:
    """What the path of a connection means."""

    carries_market: bool
    """False under `/public`, and under the retired paths: those accept everything and say
    nothing."""
    combined: bool
    streams: tuple[str, ...]


@frozen
class Stream:
    """A market stream of one symbol."""

    symbol: str
    kind: Kind
    option: str = ""
    """The interval of a kline; `1s` for the fast mark price."""


def route(target: str) -> Route | None:
    """The meaning of a request target, or None where the exchange serves nothing."""
    path, _, query = target.partition("?")
    first, _, rest = path.removeprefix("/").partition("/")
    carries_market = first == "market"
    if first in ("market", "public"):
        first, _, rest = rest.partition("/")
    if first == "ws" and not query:
        return Route(carries_market, combined=False, streams=_names(rest))
    if first == "stream" and not rest:
        key, _, value = query.partition("=")
        return Route(carries_market, True, _names(value)) if key in ("", "streams") else None
    return None


def _names(text: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(unquote(name) for name in text.split("/") if name))


def parse_stream(name: str, symbol_of: Callable[[str], str | None]) -> Stream | None:
    """The stream of this name, or None: the exchange subscribes to any name and then says nothing.

    `symbol_of` finds the symbol for its lower-case form; names in other cases are not found.
    """
    lower, _, suffix = name.partition("@")
    symbol = symbol_of(lower)
    if symbol is None:
        return None
    if suffix == "forceOrder":
        return Stream(symbol, "forceOrder")
    if suffix in ("markPrice", "markPrice@1s"):
        return Stream(symbol, "markPrice", suffix.removeprefix("markPrice").removeprefix("@"))
    if suffix == "aggTrade":
        return Stream(symbol, "aggTrade")
    kind, _, interval = suffix.partition("_")
    if kind == "kline" and interval in INTERVALS:
        return Stream(symbol, "kline", interval)
    return None
