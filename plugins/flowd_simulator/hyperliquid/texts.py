"""Everything that the exchange says on its WebSocket, as text."""

import json
from collections.abc import Iterable
from typing import Any

from flowd_simulator.chain.rows import Row

PONG = '{"channel":"pong"}'
TOO_MANY_SUBSCRIPTIONS = "Cannot track more than {} total subscriptions."
TOO_MANY_MESSAGES = "Too many messages in the last minute."

Json = dict[str, Any]  # Any: JSON


def text(value: object) -> str:
    """JSON without blanks."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def said(channel: str, data: object) -> str:
    """A message."""
    return text({"channel": channel, "data": data})


def error(words: str, about: object = None) -> str:
    """What is wrong, with what it is about as JSON within."""
    return said("error", words if about is None else f"{words}{text(about)}")


def trades_of(rows: Iterable[Row], *, users: bool) -> dict[str, list[Json]]:
    """The trades that these rows are the two sides of, by coin: the taker's row comes first."""
    found: dict[str, list[Json]] = {}
    taker: Row | None = None
    for row in rows:
        if taker is None:
            taker = row
            continue
        if (taker.fill["tid"], taker.coin) != (row.fill["tid"], row.coin):
            taker = row
            continue
        fill = taker.fill
        trade = {name: fill[name] for name in ("coin", "side", "px", "sz", "time", "hash", "tid")}
        if users:
            both = [taker.address, row.address]
            trade["users"] = both if fill["side"] == "B" else both[::-1]
        found.setdefault(taker.coin, []).append(trade)
        taker = None
    return found
