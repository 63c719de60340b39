"""OKX in memory: what its channel and its REST calls say, for the tests of its sources."""

import json
from typing import Any

from flowd import testing
from flowd.market import Liquidation

INSTRUMENTS = "/api/v5/public/instruments"
ORDERS = "/api/v5/public/liquidation-orders"


def detail(**changes: Any) -> dict[str, Any]:
    """An order as OKX sends it, with other values for some fields; None takes a field out."""
    fields = {
        **{"bkLoss": "0", "bkPx": "50000", "ccy": "", "posSide": "long", "side": "sell"},
        **{"sz": "10", "ts": str(testing.START_MS)},
        **changes,
    }
    return {key: value for key, value in fields.items() if value is not None}


def item(*details: dict[str, Any], family: str = "BTC-USDT", kind: str = "SWAP") -> dict[str, Any]:
    """An instrument's orders."""
    contract = f"{family}-{kind}"
    return {"details": details, "instFamily": family, "instId": contract, "instType": kind}


def frame(*items: dict[str, Any]) -> str:
    """A message of the channel."""
    arg = {"channel": "liquidation-orders", "instType": "SWAP"}
    return json.dumps({"arg": arg, "data": items}, ensure_ascii=False)


def row(family: str, size: str = "0.01", **changes: Any) -> dict[str, Any]:
    """A row of the list of instruments."""
    base, _, quote = family.partition("-")
    return {
        **{"instType": "SWAP", "instId": f"{family}-SWAP", "instFamily": family},
        **{"ctType": "linear", "ctVal": size, "ctValCcy": base, "ctMult": "1"},
        **{"settleCcy": quote, "state": "live", "tickSz": "0.1", "lotSz": "0.01"},
        **changes,
    }


INVERSE = row("BTC-USD", "100", ctType="inverse", ctValCcy="USD", settleCcy="BTC")
BTC = row("BTC-USDT")
ETH = row("ETH-USDT", "0.1")


def good(*data: Any) -> dict[str, Any]:
    """What REST answers."""
    return {"code": "0", "msg": "", "data": list(data)}


def bad(code: str, words: str = "no") -> dict[str, Any]:
    """What REST answers in its place."""
    return {"code": code, "msg": words, "data": []}


def serving(history: Any = None, listed: Any = None) -> testing.Rest:
    """OKX's REST."""
    listed = good(INVERSE, BTC, ETH) if listed is None else listed
    return testing.rest({INSTRUMENTS: listed, ORDERS: good() if history is None else history})


def okx() -> testing.Script:
    """OKX, which acknowledges and pongs."""

    def answer(text: str) -> str | None:
        if text == "ping":
            return "pong"
        said = json.loads(text)
        return json.dumps({"id": said["id"], "event": "subscribe", "arg": said["args"][0]})

    return testing.answers(answer)


def feed(*scripts: testing.Script, rest: testing.Rest | None = None) -> Any:
    """A feed whose upstream and REST are OKX."""
    return testing.feed(*scripts, record=Liquidation, rest=rest or serving())
