"""Hydromancer's messages as they stand on the wire. What does not fit is told apart from what does,
item by item.
"""

import json
import re
from typing import Any

import msgspec
from attrs import frozen

from flowd.plugin import Unusable


class Stamp(msgspec.Struct, rename="camel", gc=False):
    """What a fill says about the liquidation that it was part of."""

    liquidated_user: str
    mark_px: str | None = None
    method: str | None = None


class Row(msgspec.Struct, rename="camel", gc=False):
    """A fill as sent. What a record cannot do without is required."""

    coin: str
    px: str
    sz: str
    side: str
    time: int
    dir: str = ""
    closed_pnl: str | None = None
    fee: str | None = None
    fee_token: str | None = None
    start_position: str | None = None
    hash: str | None = None
    oid: int | None = None
    tid: int | None = None
    tx_index: int | None = None
    crossed: bool | None = None
    liquidation: Stamp | None = None


Item = tuple[str, Row]
"""The address, and its fill."""


class Frame(msgspec.Struct, rename="camel"):
    """Any message: what it does not say is None."""

    type: str | None = None
    channel: str | None = None
    seq: int | None = None
    cursor: str | None = None
    fills: list[Item] | None = None
    data: list[Item] | None = None
    count: int | None = None
    has_gap: bool | None = None
    chunk: int | None = None
    total_chunks: int | None = None
    batch_id: int | None = None
    session_id: str | None = None
    live_format: str | None = None
    # Whose forms differ from client to client:
    message: Any = None
    code: Any = None
    subscription: Any = None
    subscribed: Any = None
    failed: Any = None

    @property
    def kind(self) -> str:
        """What it is about: `type` and `channel` carry the same word, but for replays."""
        return self.type or self.channel or ""

    @property
    def items(self) -> list[Item]:
        """What it carries, under either name."""
        return self.fills or self.data or []


@frozen
class Bad:
    """An item that cannot be used, and why."""

    reason: str
    item: object


_decoder = msgspec.json.Decoder(Frame)
_PLAIN: dict[str, type] = {
    **dict.fromkeys(("type", "channel", "cursor", "session_id", "live_format"), str),
    **dict.fromkeys(("seq", "count", "chunk", "total_chunks", "batch_id"), int),
    "has_gap": bool,
}
_WIRE = dict(zip(Frame.__struct_fields__, Frame.__struct_encode_fields__, strict=True))
_REASONS = {
    **dict.fromkeys(("px", "sz", "closedPnl", "fee"), "bad number"),
    **dict.fromkeys(("liquidation", "liquidatedUser", "markPx", "method"), "bad liquidation"),
    "side": "unknown side",
    "time": "bad time",
    "coin": "bad coin",
}
_FIELD = re.compile(r"\$\.(\w+)|required field `(\w+)`")


def decode(text: str | bytes) -> tuple[Frame, list[Bad]]:
    """The frame, and those of its items that cannot be used. Unusable when it is no frame at all.

    A frame in which all fits is decoded at once; another one costs a second look.
    """
    try:
        return _decoder.decode(text), []
    except (ValueError, RecursionError):
        return _leniently(text)


def _leniently(text: str | bytes) -> tuple[Frame, list[Bad]]:
    """Python's own decoder takes what is no JSON, as NaN or half a surrogate pair: so one such item
    does not cost all others of its frame.
    """
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        raise Unusable("not JSON") from None
    if not isinstance(found, dict):
        raise Unusable("not an object")
    frame, bad = Frame(), list[Bad]()
    for name, wire in _WIRE.items():
        value = found.get(wire)
        if name in ("fills", "data"):
            setattr(frame, name, _items(value, bad))
        elif name not in _PLAIN or type(value) is _PLAIN[name]:
            setattr(frame, name, value)
    return frame, bad


def _items(found: object, bad: list[Bad]) -> list[Item] | None:
    if not isinstance(found, list):
        if found is not None:
            bad.append(Bad("not a list", found))
        return None
    good: list[Item] = []
    for one in found:
        try:
            good.append(_item(one))
        except Unusable as error:
            bad.append(Bad(error.reason, one))
    return good


def _item(found: object) -> Item:
    if not isinstance(found, list) or len(found) != 2:
        raise Unusable("not a pair")
    address, row = found
    if not isinstance(address, str):
        raise Unusable("bad address")
    try:
        return address, msgspec.convert(row, Row)
    except ValueError as error:  # also names that are no Unicode
        field = _FIELD.search(str(error))
        name = (field[1] or field[2]) if field else ""
        raise Unusable(_REASONS.get(name, "malformed")) from None
