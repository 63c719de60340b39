"""Binance's public REST calls, within a budget of weight and by Binance's rules.

A call that may go better is tried again here; all else is an UpstreamError that says what happened.
After 429 and 418 nobody spends of the budget for as long as Binance says, so that nothing else is
asked meanwhile either.
"""

import logging
import re
from collections.abc import Mapping
from random import Random

import trio

from flowd.plugin import (
    Answer,
    BadBody,
    Budget,
    Clock,
    Http,
    NoAnswer,
    RateLimited,
    UpstreamError,
    codec,
)

BODY_MAX = 8 * 1024 * 1024
"""Bytes of an answer. The largest that is asked for, the list of symbols, has some 2 MB."""
TIMEOUT_S = 10.0
ATTEMPTS = 4
RETRY_AFTER_S = 60.0
"""After 429 and 418 that do not say how long."""
RETRY_AFTER_MAX_S = 4 * 86_400.0
KLINES_MAX = 1500
PERIOD_MS = 300_000
"""Between two samples of a history of open interest."""
SAMPLES_MAX = 500
"""Samples of such a history in one answer."""
HISTORY_PER_MINUTE = 160
"""Requests for such histories, of the 1000 in five minutes that Binance grants an address."""

_BANNED = re.compile(r"banned until ([0-9]{13})")
_USED = "x-mbx-used-weight-1m"

logger = logging.getLogger("flowd.binance")


class Rejected(UpstreamError):
    """Binance understood what was asked and will not answer it: asking again is of no use."""


class Unanswered(UpstreamError):
    """Binance did not answer this time. It may the next."""


def klines_weight(limit: int) -> int:
    """What a call for so many klines costs."""
    if limit < 100:
        return 1
    if limit < 500:
        return 2
    return 5 if limit <= 1000 else 10


class Rest:
    """The calls. One object for all who share a budget."""

    def __init__(
        self, url: str, http: Http, budget: Budget, clock: Clock, history: Budget | None = None
    ) -> None:
        self.budget = budget
        self._history = history
        self._url = url.rstrip("/")
        self._http = http
        self._clock = clock
        # Another in each daemon, so that they do not all ask at once, and the same in each test.
        self._random = Random(clock())

    async def klines(
        self,
        symbol: str,
        interval: str,
        *,
        limit: int,
        start_ms: int | None = None,
        priority: int = 0,
    ) -> list[object]:
        """At most `limit` rows, oldest first: from `start_ms` on, or else the newest. The last one
        may still be open. A higher `priority` waits for what else is to be asked.
        """
        assert 0 < limit <= KLINES_MAX
        query = {"symbol": symbol, "interval": interval, "limit": str(limit)}
        if start_ms is not None:
            query["startTime"] = str(start_ms)
        rows = await self._ask("/fapi/v1/klines", query, klines_weight(limit), priority=priority)
        if not isinstance(rows, list):
            raise UpstreamError(f"Binance: expected a list of klines, got {rows!r:.100}")
        return rows

    async def exchange_info(self) -> list[object]:
        """All that is listed, a row for each symbol."""
        found = await self._ask("/fapi/v1/exchangeInfo", {}, 1)
        rows = found.get("symbols") if isinstance(found, dict) else None
        if not isinstance(rows, list) or not rows:
            raise UpstreamError(f"Binance: expected a list of symbols, got {found!r:.100}")
        return rows

    async def open_interest(self, symbol: str) -> object:
        """What is open now. Asked before all else: it is of this moment, and a history is not."""
        return await self._ask("/fapi/v1/openInterest", {"symbol": symbol}, 1, priority=-1)

    async def open_interest_history(
        self, symbol: str, *, start_ms: int, end_ms: int
    ) -> list[object]:
        """What was open at each full five minutes between these, both included, oldest first.

        Binance counts these requests apart from all weight. They are counted here in both budgets,
        so that none is made while Binance wants to be left alone.
        """
        assert self._history is not None, "who asks for a history has a budget for it"
        assert 0 <= end_ms - start_ms < SAMPLES_MAX * PERIOD_MS
        query = {
            "symbol": symbol,
            "period": "5m",
            "limit": str(SAMPLES_MAX),
            "startTime": str(start_ms),
            "endTime": str(end_ms),
        }
        rows = await self._ask("/futures/data/openInterestHist", query, 1, also=self._history)
        if not isinstance(rows, list):
            raise UpstreamError(f"Binance: expected a list of samples, got {rows!r:.100}")
        return rows

    async def _ask(
        self,
        path: str,
        query: Mapping[str, str],
        weight: int,
        *,
        priority: int = 0,
        also: Budget | None = None,
    ) -> object:
        """The answer, which has been decoded. `Unanswered` when the last of the attempts was. Each
        of them costs one of a second budget too, if there is one.

        The client's own `retries` would not do: each answer tells the weight that was used, also
        one that failed, and what is no JSON or a ban is asked for again as well.
        """
        for attempt in range(ATTEMPTS):
            if attempt:
                await trio.sleep(2.0 ** (attempt - 1) + self._random.random())
            spent = None if also is None else await also.spend(1)
            try:
                return await self._ask_once(path, query, weight, priority)
            except Unanswered:
                if attempt == ATTEMPTS - 1:
                    raise
            finally:
                if spent is not None:
                    spent.settle()
        raise AssertionError("the last attempt answers or raises")

    async def _ask_once(
        self, path: str, query: Mapping[str, str], weight: int, priority: int
    ) -> object:
        url = f"{self._url}{path}"
        try:
            answer = await self._http.get(
                url,
                query=query,
                budget=self.budget,
                weight=weight,
                priority=priority,
                timeout_s=TIMEOUT_S,
                body_max=BODY_MAX,
            )
        except BadBody as error:
            raise UpstreamError(f"Binance: {error} ({path}); is rest_url right?") from None
        except NoAnswer as error:
            raise Unanswered(f"Binance: {error} ({path})") from None
        except RateLimited as error:
            answer = error.answer
        used = answer.headers.get(_USED, "")
        if used.isascii() and used.isdigit():
            self.budget.told(int(used))
        if answer.status != 200:
            raise self._refusal(answer)
        try:
            found: object = answer.json()
        except ValueError:
            raise Unanswered(f"Binance: expected JSON, got {_text(answer.body)!r:.80}") from None
        return found

    def _refusal(self, answer: Answer) -> UpstreamError:
        """What an answer other than 200 means, in words."""
        status, said = answer.status, _said(answer.body)
        if status in (418, 429):
            wait_s = self._retry_after_s(answer)
            if answer.after_s is None:
                # The client has closed the budget, but knows nothing of a ban's own words.
                self.budget.refused(wait_s)
            why = "banned" if status == 418 else "asked too much"
            logger.warning("Binance: %s (HTTP %d); asking again in %gs", why, status, wait_s)
            return Unanswered(f"Binance: {why} (HTTP {status}) for {wait_s:g}s: {said}")
        if status == 403:
            return UpstreamError(f"Binance's firewall refuses this address (HTTP 403): {said}")
        if status == 451:
            return UpstreamError(f"Binance does not serve this region (HTTP 451): {said}")
        if status == 408 or status >= 500:
            return Unanswered(f"Binance is overloaded or down (HTTP {status}): {said}")
        if status >= 400:
            return Rejected(f"Binance refused (HTTP {status}): {said}")
        return UpstreamError(f"Binance: unexpected HTTP {status}; is rest_url right?")

    def _retry_after_s(self, answer: Answer) -> float:
        """How long to ask nothing: by the header, else by the text of a ban."""
        if answer.after_s is not None:
            return answer.after_s
        until = _BANNED.search(_text(answer.body))
        if until is not None:
            wait_s = (int(until[1]) - self._clock()) / 1000
            return min(max(wait_s, 1.0), RETRY_AFTER_MAX_S)
        return RETRY_AFTER_S


def _text(body: bytes) -> str:
    return body.decode(errors="replace")


def _said(body: bytes) -> str:
    """Binance's own code and words, or the beginning of what a firewall says instead."""
    try:
        said = codec.decode(body)
    except ValueError:
        return f"not JSON: {' '.join(_text(body).split())[:80]!r}"
    if isinstance(said, dict) and "code" in said:
        return f"{said['code']} {str(said.get('msg'))[:200]}"
    return repr(said)[:80]
