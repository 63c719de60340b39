"""Bybit's one REST call that is needed: what is listed, page by page."""

from collections.abc import Mapping
from typing import Any, Final

import trio

from flowd.market import Instrument
from flowd.plugin import BadBody, Budget, Clock, Feed, Http, NoAnswer, RateLimited, UpstreamError
from flowd_bybit.parse import page

PATH: Final = "/v5/market/instruments-info"
PAGE: Final = 1000
"""Instruments in one answer, the most there are. Bybit gives 500 where nobody says, which is less
than there are.
"""
PAGES_MAX: Final = 20
PER_MINUTE: Final = 600
"""Requests; Bybit allows ten times as many."""
RETRIES: Final = 3
REFUSED_S: Final = 600.0
"""After 403, which is for a region that is not served, or for having asked far too much."""


class Refused(UpstreamError):
    """Bybit wants nothing to do with this address, and is to be left alone for long."""

    def __init__(self, what: str) -> None:
        super().__init__(
            f"refused: Bybit answers {what} with HTTP 403, as it does where it does not serve a "
            "region; asked again in 10 minutes. Another host may serve yours: see url and rest_url",
            retry_s=REFUSED_S,
        )


def rest_of(url: str, feed: Feed[Any]) -> "Rest":
    """The call, within the daemon's budget for Bybit."""
    return Rest(url, feed.http, feed.clock, feed.budget("bybit", per_minute=PER_MINUTE))


class Rest:
    """The call, within a budget if there is one."""

    def __init__(self, url: str, http: Http, clock: Clock, budget: Budget | None = None) -> None:
        self._url = f"{url.rstrip('/')}{PATH}"
        self._http = http
        self._clock = clock
        self._budget = budget

    async def instruments(self) -> list[Instrument]:
        """All linear USDT perpetuals that are traded, by symbol. UpstreamError when Bybit does not
        tell them; `Refused` where asking soon again is of no use.
        """
        found: dict[str, Instrument] = {}
        cursor = ""
        for _ in range(PAGES_MAX):
            query = {"category": "linear", "limit": str(PAGE)}
            if cursor:
                query["cursor"] = cursor
            instruments, cursor = await self._page(query)
            found |= {one.symbol: one for one in instruments}
            if not cursor:
                break
            await trio.lowlevel.checkpoint()
        if not found:
            raise UpstreamError("Bybit lists no linear USDT perpetual; is rest_url right?")
        return [found[symbol] for symbol in sorted(found)]

    async def _page(self, query: Mapping[str, str]) -> tuple[list[Instrument], str]:
        try:
            answer = await self._http.get(
                self._url, query=query, budget=self._budget, retries=RETRIES
            )
        except (NoAnswer, BadBody) as error:
            raise UpstreamError(f"Bybit: {error}") from None
        except RateLimited as error:
            raise UpstreamError(f"Bybit: {error}", retry_s=error.after_s or 0.0) from None
        if answer.status == 403:
            raise Refused(PATH)
        if answer.status != 200:
            raise UpstreamError(f"Bybit: HTTP {answer.status} for {PATH}; is rest_url right?")
        try:
            told = answer.json()
            if isinstance(told, dict) and told.get("retCode") != 0:
                code, words = told.get("retCode"), str(told.get("retMsg"))
                raise ValueError(f"it says {code} {words:.200}")
            return page(told, self._clock())
        except ValueError as error:
            raise UpstreamError(f"Bybit: {error} ({PATH})") from None
