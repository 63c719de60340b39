"""OKX's two REST calls that are needed: what is listed, and what was liquidated lately.

OKX says most of what goes wrong in the body's `code`, also where the status is 200.
"""

from collections.abc import Mapping
from typing import Any, Final

from flowd.plugin import (
    Answer,
    BadBody,
    Budget,
    Clock,
    Feed,
    Http,
    NoAnswer,
    RateLimited,
    UpstreamError,
)
from flowd_okx.parse import KIND, Swap, swaps

PER_MINUTE: Final = 300
"""Requests, five a second; OKX allows more."""
ATTEMPTS: Final = 4
RETRIES: Final = 2
REFUSED_S: Final = 600.0
ROWS: Final = 100
"""Orders in one answer, the most there are."""
INSTRUMENTS: Final = "/api/v5/public/instruments"
ORDERS: Final = "/api/v5/public/liquidation-orders"
TOO_MUCH: Final = "50011"
NOT_HERE: Final = "51155"


class Refused(UpstreamError):
    """OKX does not serve this address, and is to be left alone for long."""

    def __init__(self, words: str) -> None:
        super().__init__(
            f"refused: {words}; OKX does not serve every region; asked again in 10 minutes. "
            "Another host may serve yours: see url and rest_url",
            retry_s=REFUSED_S,
        )


class Rejected(UpstreamError):
    """OKX understood what was asked and will not answer it: asking again is of no use."""


def rest_of(url: str, feed: Feed[Any]) -> "Rest":
    """The calls, within the daemon's budget for OKX."""
    return Rest(url, feed.http, feed.clock, feed.budget("okx", per_minute=PER_MINUTE))


class Rest:
    """The calls, within a budget if there is one. UpstreamError when there is no answer, after some
    attempts; `Rejected` and `Refused` where more of them are of no use.
    """

    def __init__(self, url: str, http: Http, clock: Clock, budget: Budget | None = None) -> None:
        self._url = url.rstrip("/")
        self._http = http
        self._clock = clock
        self._budget = budget

    async def swaps(self) -> list[Swap]:
        """All perpetual contracts, linear and others, by name."""
        rows = await self._ask(INSTRUMENTS, {"instType": KIND})
        try:
            found = {one.id: one for one in swaps(rows, self._clock())}
        except ValueError as error:
            raise UpstreamError(f"OKX: {error}") from None
        if not found:
            raise UpstreamError("OKX lists no perpetual contract; is rest_url right?")
        return [found[id] for id in sorted(found)]

    async def liquidations(self, family: str, older_than_ms: int | None) -> object:
        """The newest orders of a family, or those before a time: items as the channel has them."""
        query = {"instType": KIND, "state": "filled", "instFamily": family, "limit": str(ROWS)}
        if older_than_ms is not None:
            query["after"] = str(older_than_ms)
        return await self._ask(ORDERS, query)

    async def _ask(self, path: str, query: Mapping[str, str]) -> object:
        for _ in range(ATTEMPTS):
            try:
                answer = await self._http.get(
                    f"{self._url}{path}", query=query, budget=self._budget, retries=RETRIES
                )
            except (NoAnswer, BadBody) as error:
                raise UpstreamError(f"OKX: {error} ({path})") from None
            except RateLimited:
                if self._budget is None:
                    break
                continue  # The budget is closed for a while, and so the next attempt waits.
            code, words, data = _read(answer, path)
            if code == "0":
                return data
            if code == TOO_MUCH:
                if self._budget is None:
                    break
                self._budget.refused()
                continue
            if code == NOT_HERE:
                raise Refused(f"OKX answers {code} {words}")
            raise Rejected(f"OKX: {code} {words} ({path})")
        raise UpstreamError(f"OKX: asked too much, again and again ({path})")


def _read(answer: Answer, path: str) -> tuple[str, str, object]:
    """Code, words and data of an answer."""
    try:
        told = answer.json()
    except ValueError:
        told = None
    if isinstance(told, dict) and isinstance(told.get("code"), str):
        return told["code"], str(told.get("msg"))[:200], told.get("data")
    if answer.status == 403:
        raise Refused(f"OKX answers {path} with HTTP 403")
    if 400 <= answer.status < 500:
        raise Rejected(f"OKX: HTTP {answer.status} for {path}")
    raise UpstreamError(f"OKX: HTTP {answer.status} for {path}, {answer.text!r:.80}")
