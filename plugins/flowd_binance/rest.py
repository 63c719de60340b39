"""Binance's public REST calls, within a budget of weight and by Binance's rules.

A call that may go better is tried again here; all else is an UpstreamError that says what happened.
429 and 418 close the budget for as long as Binance says, so that nothing else is asked meanwhile
either.
"""

import logging
import re
from collections.abc import Mapping
from contextlib import suppress
from random import Random
from typing import TYPE_CHECKING

import trio

from flowd.plugin import Clock, UpstreamError, codec
from flowd_binance.body import BadBody, get
from flowd_binance.budget import Budget

if TYPE_CHECKING:
    import httpx2

TIMEOUT_S = 10.0
ATTEMPTS = 4
RETRY_AFTER_S = 60.0
"""After 429 and 418 that do not say how long."""
RETRY_AFTER_MAX_S = 4 * 86_400.0
KLINES_MAX = 1500

_BANNED = re.compile(r"banned until ([0-9]{13})")
_USED = "X-MBX-USED-WEIGHT-1M"

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
        self, url: str, client: "httpx2.AsyncClient", budget: Budget, clock: Clock
    ) -> None:
        self.budget = budget
        self._url = url.rstrip("/")
        self._client = client
        self._clock = clock
        # Another in each daemon, so that they do not all ask at once, and the same in each test.
        self._random = Random(clock())

    async def klines(
        self, symbol: str, interval: str, *, limit: int, start_ms: int | None = None
    ) -> list[object]:
        """At most `limit` rows, oldest first: from `start_ms` on, or else the newest. The last one
        may still be open.
        """
        assert 0 < limit <= KLINES_MAX
        query = {"symbol": symbol, "interval": interval, "limit": str(limit)}
        if start_ms is not None:
            query["startTime"] = str(start_ms)
        rows = await self._ask("/fapi/v1/klines", query, klines_weight(limit))
        if not isinstance(rows, list):
            raise UpstreamError(f"Binance: expected a list of klines, got {rows!r:.100}")
        return rows

    async def _ask(self, path: str, query: Mapping[str, str], weight: int) -> object:
        """The answer, which has been decoded. `Unanswered` when the last of the attempts was."""
        for attempt in range(ATTEMPTS - 1):
            with suppress(Unanswered):
                return await self._ask_once(path, query, weight)
            await trio.sleep(2.0**attempt + self._random.random())
        return await self._ask_once(path, query, weight)

    async def _ask_once(self, path: str, query: Mapping[str, str], weight: int) -> object:
        import httpx2  # The configuration has loaded it already.

        await self.budget.spend(weight)
        try:
            with trio.fail_after(TIMEOUT_S):
                answer, body = await get(self._client, f"{self._url}{path}", query)
        except trio.TooSlowError:
            raise Unanswered(f"Binance: no answer within {TIMEOUT_S:g}s ({path})") from None
        except BadBody as error:
            raise UpstreamError(f"Binance: {error} ({path}); is rest_url right?") from None
        except httpx2.RequestError as error:
            why = str(error) or type(error).__name__
            raise Unanswered(f"Binance cannot be asked: {why} ({self._url})") from None
        used = answer.headers.get(_USED, "")
        if used.isascii() and used.isdigit():
            self.budget.told(int(used))
        if answer.status_code != 200:
            raise self._refusal(answer, body)
        try:
            found: object = codec.decode(body)
        except ValueError:
            raise Unanswered(f"Binance: expected JSON, got {_text(body)!r:.80}") from None
        return found

    def _refusal(self, answer: "httpx2.Response", body: bytes) -> UpstreamError:
        """What an answer other than 200 means, in words."""
        status, said = answer.status_code, _said(body)
        if status in (418, 429):
            wait_s = self._retry_after_s(answer, body)
            self.budget.close(wait_s)
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

    def _retry_after_s(self, answer: "httpx2.Response", body: bytes) -> float:
        """How long to ask nothing: by the header, else by the text of a ban."""
        header = answer.headers.get("Retry-After", "")
        if header.isascii() and header.isdigit():
            return min(max(float(header), 1.0), RETRY_AFTER_MAX_S)
        until = _BANNED.search(_text(body))
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
