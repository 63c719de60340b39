"""Addresses and stream names: what a client may dial, and what it may subscribe to."""

from collections.abc import Callable
from typing import Final, Literal
from urllib.parse import unquote

from attrs import frozen

from flowd_simulator.intervals import INTERVALS

ALL_FORCED_ORDERS: Final = "!forceOrder@arr"
ALL_MARK_PRICES: Final = "!markPrice@arr"
PERPETUAL: Final = "_perpetual"
Kind = Literal[
    "forceOrder", "markPrice", "markPrices", "kline", "continuousKline", "aggTrade", "trade"
]
Carrier = Literal["market", "public", "private"]


@frozen
class Route:
    """What the path of a connection means."""

    carries: Carrier
    """What it delivers; a connection accepts every other stream too, and says nothing about it.
    The retired paths carry what `/public` does, `/private` nothing that anybody may hear.
    """
    combined: bool
    streams: tuple[str, ...]


@frozen
class Stream:
    """A market stream of one symbol; of all of them, that has no symbol."""

    symbol: str
    kind: Kind
    option: str = ""
    """The interval of a kline; `1s` for the fast mark prices."""


def route(target: str) -> Route | None:
    """The meaning of a request target, or None where the exchange serves nothing."""
    path, _, query = target.partition("?")
    first, _, rest = path.removeprefix("/").partition("/")
    carries: Carrier = "public"
    if first in ("market", "public", "private"):
        carries = "market" if first == "market" else "private" if first == "private" else "public"
        first, _, rest = rest.partition("/")
    if carries == "private" and first in ("ws", "stream"):
        return Route(carries, combined=first == "stream", streams=())
    if first == "ws" and not query:
        return Route(carries, combined=False, streams=_names(rest))
    if first == "stream" and not rest:
        key, _, value = query.partition("=")
        return Route(carries, True, _names(value)) if key in ("", "streams") else None
    return None


def carrier(name: str) -> Carrier:
    """Where a stream of this name is carried."""
    return "public" if name.endswith("@trade") else "market"


def _names(text: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(unquote(name) for name in text.split("/") if name))


def parse_stream(name: str, symbol_of: Callable[[str], str | None]) -> Stream | None:
    """The stream of this name, or None: the exchange subscribes to any name and then says nothing.

    `symbol_of` finds the symbol for its lower-case form; names in other cases are not found.
    """
    lower, _, suffix = name.partition("@")
    if name in (ALL_MARK_PRICES, f"{ALL_MARK_PRICES}@1s"):
        return Stream("", "markPrices", name.removeprefix(ALL_MARK_PRICES).removeprefix("@"))
    kind, _, interval = suffix.partition("_")
    if kind == "continuousKline" and lower.endswith(PERPETUAL) and interval in INTERVALS:
        pair = symbol_of(lower.removesuffix(PERPETUAL))
        return None if pair is None else Stream(pair, "continuousKline", interval)
    symbol = symbol_of(lower)
    if symbol is None:
        return None
    if suffix == "forceOrder":
        return Stream(symbol, "forceOrder")
    if suffix in ("markPrice", "markPrice@1s"):
        return Stream(symbol, "markPrice", suffix.removeprefix("markPrice").removeprefix("@"))
    if suffix == "aggTrade":
        return Stream(symbol, "aggTrade")
    if suffix == "trade":
        return Stream(symbol, "trade")
    if kind == "kline" and interval in INTERVALS:
        return Stream(symbol, "kline", interval)
    return None
