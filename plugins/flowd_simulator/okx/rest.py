"""OKX's REST calls: what is listed, and what was liquidated lately. Most of what goes wrong is said
in `code`, with HTTP 200.
"""

import json
from collections import deque
from collections.abc import Iterable, Mapping
from typing import Any, Final

from flowd_simulator.door import Answer
from flowd_simulator.okx.contracts import Contract
from flowd_simulator.okx.terms import Terms
from flowd_simulator.session import Clock

INSTRUMENTS: Final = "/api/v5/public/instruments"
ORDERS: Final = "/api/v5/public/liquidation-orders"
WORDS: Final = {
    "50011": "Too Many Requests",
    "51155": "Local compliance restrictions",
    "51000": "Parameter {} error",
}
KEPT_MAX: Final = 1000
"""Orders of a family that the history has."""

Row = dict[str, Any]  # Any: JSON
Query = Mapping[str, str]


class Rest:
    """The calls. `history` has the orders of each family, oldest first."""

    def __init__(self, contracts: Iterable[Contract], clock: Clock, terms: Terms) -> None:
        self.code: str | None = None
        """Set to answer all requests with this code: 50011, 51155."""
        self.status: int | None = None
        """Set to answer all requests with this HTTP status: 403, 502."""
        self.has_history = True
        """Unset to have no such call any more: 404."""
        self.history: dict[str, deque[Row]] = {
            one.family: deque(maxlen=KEPT_MAX) for one in contracts
        }
        self._contracts = {one.family: one for one in contracts}
        self._clock = clock
        self._terms = terms
        self._asked_ms: deque[int] = deque()

    def answer(self, path: str, query: Query) -> Answer:
        """The answer to a request."""
        if self.status is not None:
            return Answer(self.status, b"<html></html>", "text/html")
        if (path == ORDERS and not self.has_history) or path not in (INSTRUMENTS, ORDERS):
            return Answer(404, b'{"msg":"Not Found","code":404}')
        if self.code is not None or self._too_much():
            return refused(self.code or "50011")
        if query.get("instType") != "SWAP":
            return refused("51000", "instType")
        if path == INSTRUMENTS:
            rows = [one.row() for one in self._contracts.values()]
            return said([row for row in rows if query.get("instId") in (None, row["instId"])])
        return self._orders(query)

    def _orders(self, query: Query) -> Answer:
        family = query.get("instFamily") or query.get("uly") or ""
        if family not in self.history:
            return refused("51000", "instFamily")
        if query.get("state") not in ("filled", "unfilled"):
            return refused("51000", "state")
        try:
            limit = int(query.get("limit", self._terms.rows_max))
            after, before = int(query.get("after") or 10**15), int(query.get("before") or 0)
        except ValueError:
            return refused("51000", "limit")
        limit = min(max(limit, 1), self._terms.rows_max)
        orders = [] if query["state"] == "unfilled" else self.history[family]
        newest_first = sorted(orders, key=lambda one: -int(one["ts"]))
        page = [one for one in newest_first if before < int(one["ts"]) < after][:limit]
        if not page:
            return said([])
        rows = [{**one, "time": int(one["ts"])} for one in page]
        return said([{**item(self._contracts[family], rows), "totalLoss": "0"}])

    def _too_much(self) -> bool:
        """Count a request; whether it is one too many."""
        now_ms, asked_ms = self._clock(), self._asked_ms
        while asked_ms and asked_ms[0] <= now_ms - 2000:
            asked_ms.popleft()
        if len(asked_ms) >= self._terms.asks_per_2s:
            return True
        asked_ms.append(now_ms)
        return False


def item(contract: Contract, details: list[Row]) -> Row:
    """Orders of one contract, as the channel and REST have them."""
    return {
        "details": details,
        "instFamily": contract.family,
        "instId": contract.id,
        "instType": "SWAP",
        "uly": contract.family,
    }


def said(rows: list[Row]) -> Answer:
    """A good answer."""
    body = {"code": "0", "data": rows, "msg": ""}
    return Answer(200, json.dumps(body, ensure_ascii=False).encode())


def refused(code: str, what: str = "") -> Answer:
    """Another one, which is HTTP 200 all the same."""
    return Answer(
        200, json.dumps({"code": code, "data": [], "msg": WORDS[code].format(what)}).encode()
    )
