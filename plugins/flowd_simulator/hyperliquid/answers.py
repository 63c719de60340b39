"""`POST /info`: what may be asked, what it weighs, and the answers."""

import re
from collections.abc import Callable
from typing import Any, Final

import msgspec

from flowd_simulator.chain.accounts import Account
from flowd_simulator.chain.coins import money
from flowd_simulator.chain.tape import Tape
from flowd_simulator.door import Answer
from flowd_simulator.hyperliquid import markets, states
from flowd_simulator.hyperliquid.terms import NOT_UNDERSTOOD, TOO_MUCH, Terms
from flowd_simulator.hyperliquid.weights import Count
from flowd_simulator.intervals import HOUR_MS
from flowd_simulator.session import Clock

LIGHT: Final = {
    *("clearinghouseState", "spotClearinghouseState", "allMids", "l2Book"),
    *("orderStatus", "exchangeStatus"),
}
"""These weigh 2, the others 20, and one more for each so many items of:"""
ITEMS: Final = {"userFills": 20, "userFillsByTime": 20}
FOREVER_MS: Final = 2**62
ADDRESS = re.compile(r"0x[0-9a-fA-F]{40}", re.ASCII)
Asked = dict[str, Any]  # Any: what a client sends is anything


class Unclear(Exception):
    """The request is none that there is."""


class Answers:
    """All answers, from a chain as it is now."""

    def __init__(self, tape: Tape, clock: Clock, terms: Terms) -> None:
        self._tape = tape
        self._clock = clock
        self._terms = terms
        self._calls: dict[str, Callable[[Asked], Any]] = {
            "meta": lambda asked: markets.meta(_dex(asked)),
            "metaAndAssetCtxs": self._contexts,
            "allMids": lambda asked: markets.mids(tape, _dex(asked), clock()),
            "perpDexs": lambda asked: [None, *({"name": name} for name in markets.DEXES)],
            "spotMeta": lambda asked: markets.spot_meta(),
            "clearinghouseState": self._state,
            "spotClearinghouseState": lambda asked: _user(asked) and {"balances": []},
            "userFills": self._fills,
            "userFillsByTime": self._fills_by_time,
            "portfolio": self._portfolio,
            "openOrders": lambda asked: _user(asked) and [],
            "frontendOpenOrders": lambda asked: _user(asked) and [],
            "userRateLimit": self._rate_limit,
            "exchangeStatus": lambda asked: {"time": clock(), "specialStatuses": None},
        }

    def answer(self, body: bytes, spent: Count) -> Answer:
        """The answer to a request; what it weighs is added to what its address has spent."""
        try:
            asked = msgspec.json.decode(body)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            asked = None
        kind = str(asked.get("type")) if isinstance(asked, dict) else ""
        call = self._calls.get(kind)
        if not spent.within(self._terms.weight_per_min, 2 if kind in LIGHT else 20):
            return TOO_MUCH
        if call is None:
            return NOT_UNDERSTOOD
        try:
            found = call(asked)
        except Unclear:
            return NOT_UNDERSTOOD
        if kind in ITEMS:
            spent.add(len(found) // ITEMS[kind])
        return Answer(200, msgspec.json.encode(found))

    def _account(self, asked: Asked) -> Account | None:
        return self._tape.accounts.known.get(_user(asked))

    def _contexts(self, asked: Asked) -> list[Any]:
        dex = _dex(asked)
        return [markets.meta(dex), markets.contexts(self._tape, dex, self._clock())]

    def _state(self, asked: Asked) -> dict[str, Any]:
        dex, account, now_ms = _dex(asked), self._account(asked), self._clock()
        marks = self._tape.prices.marks(now_ms)
        if account is not None:
            account.pay_funding(self._tape.prices, now_ms // HOUR_MS)
        return states.state(account, dex, marks, now_ms, self._terms.padding)

    def _fills(self, asked: Asked) -> list[Any]:
        return states.fills(self._account(asked), 0, FOREVER_MS, self._terms.fills_max)

    def _fills_by_time(self, asked: Asked) -> list[Any]:
        start_ms, end_ms = asked.get("startTime"), asked.get("endTime")
        end_ms = FOREVER_MS if end_ms is None else end_ms
        if type(start_ms) is not int or type(end_ms) is not int:
            raise Unclear
        return states.fills_from(self._account(asked), start_ms, end_ms, self._terms.fills_max)

    def _portfolio(self, asked: Asked) -> list[Any]:
        account, now_ms = self._account(asked), self._clock()
        now = None if account is None else account.sample(now_ms, self._tape.prices.marks(now_ms))
        return states.portfolio(account, now)

    def _rate_limit(self, asked: Asked) -> dict[str, Any]:
        account = self._account(asked)
        volume = 0 if account is None else account.volume
        cap = 10_000 + volume // 1_000_000
        return {"cumVlm": money(volume), "nRequestsUsed": 0, "nRequestsCap": cap}


def _user(asked: Asked) -> str:
    user = asked.get("user")
    if not isinstance(user, str) or not ADDRESS.fullmatch(user):
        raise Unclear
    return user.lower()


def _dex(asked: Asked) -> str:
    dex = asked.get("dex") or ""
    if dex and dex not in markets.DEXES:
        raise Unclear
    return str(dex)
