"""What Bybit lists: the market's linear contracts, and some of other kinds beside them."""

import json
from collections.abc import Iterable, Mapping
from typing import Any, Final

from flowd_simulator.bybit.terms import Terms
from flowd_simulator.door import Answer
from flowd_simulator.instruments import Instrument

PATH: Final = "/v5/market/instruments-info"
DATED: Final = "26DEC26"

Row = dict[str, Any]  # Any: JSON


def linear(instruments: Iterable[Instrument]) -> list[Row]:
    """Rows of all linear contracts: of each coin the USDT perpetual; of the first also the USDC
    perpetual and one that ends some day, as they stand among the others.
    """
    rows = []
    for number, one in enumerate(instruments):
        rows.append(_row(one, one.symbol))
        if not number:
            rows.append(_row(one, f"{one.base}PERP", quoteCoin="USDC", settleCoin="USDC"))
            dated = f"{one.symbol}-{DATED}"
            rows.append(_row(one, dated, contractType="LinearFutures"))
    return sorted(rows, key=lambda row: str(row["symbol"]))


def answer(rows: list[Row], query: Mapping[str, str], terms: Terms, now_ms: int) -> Answer:
    """One page of them."""
    if query.get("category") != "linear":
        return said(10001, "params error: Invalid category", {}, now_ms)
    try:
        limit = int(query.get("limit", terms.instruments_usual))
        start = int(query.get("cursor") or 0)
    except ValueError:
        return said(10001, "params error: Invalid limit", {}, now_ms)
    limit = min(max(limit, 1), terms.instruments_max)
    wanted = [row for row in rows if query.get("symbol") in (None, "", row["symbol"])]
    cursor = str(start + limit) if start + limit < len(wanted) else ""
    page = wanted[start : start + limit]
    return said(0, "OK", {"category": "linear", "list": page, "nextPageCursor": cursor}, now_ms)


def said(code: int, words: str, result: object, now_ms: int) -> Answer:
    """An answer in Bybit's form."""
    body = {"retCode": code, "retMsg": words, "result": result, "retExtInfo": {}, "time": now_ms}
    return Answer(200, json.dumps(body, ensure_ascii=False).encode())


def _row(one: Instrument, symbol: str, **changes: str) -> Row:
    return {
        "symbol": symbol,
        "contractType": "LinearPerpetual",
        "status": "Trading",
        "baseCoin": one.base,
        "quoteCoin": one.quote,
        "settleCoin": one.quote,
        "priceFilter": {"tickSize": f"{one.tick:f}"},
        "lotSizeFilter": {"qtyStep": f"{one.step:f}", "minOrderQty": f"{one.step:f}"},
        **changes,
    }
