"""Hyperliquid's messages, and their trades as records: pure functions. What cannot be used is
refused with its reason, item by item.
"""

import json
import re
from decimal import Decimal
from typing import Any, Literal

import msgspec
from attrs import field, frozen

from flowd.market import EXACT, Side, Trade, trimmed
from flowd.plugin import Unusable
from flowd.traders import address_of

VENUE = "hyperliquid"
SIDES: dict[str, Side] = {"B": "BUY", "A": "SELL"}
COIN_MAX = 64
NOBODY = "0x" + "0" * 40
"""The address that is nobody's."""
TIME_MIN_MS, TIME_MAX_MS = 10**12, 10**14
"""Outside of these a time was not given in milliseconds."""

_amount = re.compile(r"[0-9]{1,18}(?:\.[0-9]{1,18})?", re.ASCII).fullmatch


class Sent(msgspec.Struct, gc=False):
    """A trade as sent. `users` are buyer and seller; captures of 2024 lack them."""

    coin: str
    px: str
    sz: str
    side: str
    time: int
    tid: int
    users: tuple[str, str] | None = None


class _Trades(msgspec.Struct):
    channel: Literal["trades"]
    data: list[Sent]


@frozen
class Bad:
    """An item that cannot be used, and why."""

    reason: str
    item: object


@frozen
class Message:
    """Any message: its channel and what that carries; of `trades` those that can be read, and those
    that cannot.
    """

    channel: str
    data: object = None
    trades: list[Sent] = field(factory=list)
    bad: list[Bad] = field(factory=list)


@frozen
class Echo:
    """What upstream says it has done: `subscribe` or `unsubscribe`, of which type, for whom."""

    method: str
    type: str
    coin: str | None


@frozen
class Objection:
    """An error text: what kind it is, and which coin it is about, as far as it says."""

    kind: Literal["already subscribed", "refused", "other"]
    type: str | None
    coin: str | None


_decode_trades = msgspec.json.Decoder(_Trades).decode
_REASONS = {
    "px": "bad number",
    "sz": "bad number",
    "side": "unknown side",
    "time": "bad time",
    "coin": "bad coin",
    "tid": "bad tid",
    "users": "bad users",
}
_FIELD = re.compile(r"\$\.(\w+)|required field `(\w+)`")


def message(text: str | bytes) -> Message:
    """What a message says. Trades in which all fits are decoded at once; whatever else it is costs
    a second look. Unusable: `not JSON`, `not an object`, `not a list`.
    """
    try:
        return Message("trades", trades=_decode_trades(text).data)
    except (ValueError, RecursionError):
        pass
    try:
        # Python's own decoder takes what is no JSON, as half a surrogate pair: so one such item
        # does not cost the others of its message.
        found = json.loads(text)
    except (ValueError, RecursionError):
        raise Unusable("not JSON") from None
    if not isinstance(found, dict):
        raise Unusable("not an object")
    channel, data = found.get("channel"), found.get("data")
    if channel != "trades":
        return Message(channel if isinstance(channel, str) else "", data)
    if not isinstance(data, list):
        raise Unusable("not a list")
    told = Message("trades")
    for one in data:
        try:
            told.trades.append(msgspec.convert(one, Sent))
        except ValueError as error:  # also names that are no Unicode
            found_field = _FIELD.search(str(error))
            name = (found_field[1] or found_field[2]) if found_field else ""
            told.bad.append(Bad(_REASONS.get(name, "malformed"), one))
    return told


def trade(sent: Sent, *, backfilled: bool = False) -> Trade:
    """The trade as a record. A party that is no address is None.

    Unusable: `bad coin`, `unknown side`, `bad number`, `not positive`, `bad time`, `bad tid`.
    """
    coin, time_ms, tid = sent.coin, sent.time, sent.tid
    if not coin or len(coin) > COIN_MAX or not coin.isprintable():
        raise Unusable("bad coin")
    side = SIDES.get(sent.side)
    if side is None:
        raise Unusable("unknown side")
    if not _amount(sent.px) or not _amount(sent.sz):
        raise Unusable("bad number")
    price, quantity = Decimal(sent.px), Decimal(sent.sz)
    if not price or not quantity:
        raise Unusable("not positive")
    if not TIME_MIN_MS <= time_ms < TIME_MAX_MS:
        raise Unusable("bad time")
    if not 0 <= tid < 2**63:
        raise Unusable("bad tid")
    buyer, seller = (None, None) if sent.users is None else map(address_of, sent.users)
    return Trade(
        coin,
        side,
        price,
        quantity,
        trimmed(EXACT.multiply(price, quantity)),
        time_ms,
        f"hl:{time_ms}:{coin}:{tid}",
        VENUE,
        buyer,
        seller,
        backfilled,
    )


def echo(data: object) -> Echo:
    """What a `subscriptionResponse` confirms: its text may differ from what was sent. Unusable:
    `malformed`.
    """
    if isinstance(data, dict) and isinstance(method := data.get("method"), str):
        type, coin = _subscription(data.get("subscription"))
        if type is not None:
            return Echo(method, type, coin)
    raise Unusable("malformed")


def objection(data: object) -> Objection:
    """What an `error` is about: the rejected subscription, or the whole request with it, is part of
    the text.
    """
    text = data if isinstance(data, str) else ""
    type, coin = _subscription(_embedded(text))
    if text.startswith("Already subscribed"):
        return Objection("already subscribed", type, coin)
    if text.startswith(("Invalid subscription", "Error parsing JSON")):
        return Objection("refused", type, coin)
    return Objection("other", type, coin)


def _embedded(text: str) -> object:
    start = text.find("{")
    try:
        found = json.loads(text[start:]) if start >= 0 else None
    except (ValueError, RecursionError):
        return None
    return found.get("subscription", found) if isinstance(found, dict) else None


def _subscription(found: Any) -> tuple[str | None, str | None]:
    if not isinstance(found, dict):
        return None, None
    type, coin = found.get("type"), found.get("coin")
    return type if isinstance(type, str) else None, coin if isinstance(coin, str) else None
