"""The documented shapes of the two feeds: rows, and what is said about the feed beside them.

Numbers are JSON numbers, written with exactly the digits that came from upstream.
"""

from decimal import Decimal
from typing import Any

import msgspec
from attrs import frozen

from flowd.market import Fill, Total
from flowd.plugin import Batch, Delivery, Record, Streams, Tail, codec

ROWS_MAX = 5000
"""The most rows of an answer, and how many a poll gets that does not say."""
HEALTHY_MS = 60_000
"""A feed is healthy if its upstream said anything within this time."""

CONNECTING, OPEN, CLOSED = 0, 1, 3
"""States of a WebSocket, in the numbers that browsers use."""

_SIDES = {"BUY": "B", "SELL": "A"}


def row(fill: Fill, *, liquidations: bool) -> bytes:
    """One row, as JSON."""
    found: dict[str, Any] = {
        "id": fill.id,
        "address": fill.address,
        "coin": fill.symbol,
        "price": _number(fill.price),
        "size": _number(fill.quantity),
        "side": _SIDES[fill.side],
        "time": fill.time_ms,
        "value": _number(fill.notional),
        "fee": _number(fill.fee),
        "pnl": _number(fill.pnl),
        "dir": fill.dir,
        "hash": fill.hash,
    }
    if liquidations:
        found["liquidated_user"] = fill.liquidated_user
        found["method"] = fill.method
        found["mark_price"] = None if fill.mark_price is None else _number(fill.mark_price)
        found["role"] = fill.role
    else:
        found["isLong"] = "Long" in fill.dir
    return codec.encode(found)


def _number(value: Decimal) -> msgspec.Raw:
    return msgspec.Raw(format(value, "f").encode())


class Rows:
    """The rows of the newest records, each made once."""

    def __init__(self, *, liquidations: bool) -> None:
        self._liquidations = liquidations
        self._made: dict[int, bytes] = {}

    def __len__(self) -> int:
        return len(self._made)

    def of(self, record: Record[Fill]) -> bytes:
        """A record's row."""
        made = self._made.get(record.seq)
        if made is None:
            made = self._made[record.seq] = row(record.value, liquidations=self._liquidations)
            if len(self._made) > 2 * ROWS_MAX:
                for seq in list(self._made)[:ROWS_MAX]:
                    del self._made[seq]
        return made


def render(items: str, rows: Rows, batch: Batch[Fill]) -> bytes:
    """The body up to its tail: the rows, newest first, and the position to ask for more with."""
    gap = None if batch.gap is None else {"first": batch.gap.first, "last": batch.gap.last}
    return b'{"%b":[%b],"position":"%b","gap":%b,"reset":%b,' % (
        items.encode(),
        b",".join([rows.of(record) for record in reversed(batch.records)]),
        str(batch.position).encode(),
        codec.encode(gap),
        codec.encode(batch.reset),
    )


@frozen
class State:
    """How a feed stands at one instant."""

    items: str
    now_ms: int
    delivery: Delivery
    rows: int
    total: Total | None

    @classmethod
    def of(cls, stream: str, items: str, streams: Streams, now_ms: int) -> "State":
        """The state of this stream's feed at this time."""
        totals = f"{stream}.totals"
        return cls(
            items,
            now_ms,
            streams[stream].delivery(),
            min(len(streams[stream]), ROWS_MAX),
            streams[totals].get("total") if totals in streams else None,
        )

    @property
    def websocket(self) -> int:
        """`wsState`: that of the connection to the upstream."""
        if self.delivery.connected:
            return OPEN
        return CONNECTING if self.delivery.connecting else CLOSED

    def tail(self) -> Tail:
        """What is said after the rows."""
        live = self.delivery.delivering
        total = self.total
        fields = {
            "isConnected": live,
            "timestamp": self.now_ms,
            "lastMessageAgo": self._ago_ms(self.delivery.last_frame_ms),
            "lastEventAgo": self._ago_ms(self.delivery.last_record_ms),
            f"total{self.items.capitalize()}": self.rows,
            "stats": {
                "totalVol": _number(Decimal(0) if total is None else total.volume),
                "tradeCount": 0 if total is None else total.count,
            },
        }
        return Tail(codec.encode(fields)[1:], "live" if live else "offline")

    def health(self) -> dict[str, object]:
        """The answer to `?health=true`."""
        ago_ms = self._ago_ms(self.delivery.last_frame_ms)
        live = self.delivery.delivering
        fresh = ago_ms is not None and ago_ms < HEALTHY_MS
        return {
            "healthy": live and self.websocket == OPEN and fresh,
            "isConnected": live,
            "isConnecting": self.websocket == CONNECTING,
            "wsState": self.websocket,
            "lastMessageAgo": ago_ms,
            "lastEventAgo": self._ago_ms(self.delivery.last_record_ms),
            f"total{self.items.capitalize()}": self.rows,
            "timestamp": self.now_ms,
        }

    def _ago_ms(self, then_ms: int | None) -> int | None:
        return None if then_ms is None else max(0, self.now_ms - then_ms)
