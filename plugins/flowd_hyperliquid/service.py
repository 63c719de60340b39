"""Hyperliquid's `/info`, as tracking asks it: within the budget, and with a word in `/health` while
it answers nothing that is of use.
"""

from typing import Any

from flowd.plugin import BadBody, Budget, Feed, NoAnswer, RateLimited, UpstreamError

FAILURES = 3
"""So many in a row are no account's own trouble."""


class Service:
    """Counts what fails. A refusal is told at once, since nobody asks for a while after it."""

    def __init__(self, feed: Feed[Any], url: str, budget: Budget) -> None:
        self._feed = feed
        self._url = url
        self._budget = budget
        self._failures = 0
        feed.problem(None)

    async def ask(
        self, question: dict[str, str], *, weight: int, priority: int, body_max: int
    ) -> bytes:
        """The body of an answer; UpstreamError for every status but 200. Whoever asks says what
        became of it: `good` or `bad`.
        """
        answer = await self._feed.http.post(
            self._url,
            json=question,
            budget=self._budget,
            weight=weight,
            priority=priority,
            body_max=body_max,
        )
        if answer.status != 200:
            raise UpstreamError(f"status {answer.status}: {answer.text:.40}")
        return answer.body

    def good(self) -> None:
        """An answer was of use."""
        self._failures = 0
        self._feed.problem(None)

    def bad(self, error: UpstreamError | ValueError) -> None:
        """An answer was of none, or did not come."""
        self._failures += 1
        if self._failures >= FAILURES or isinstance(error, RateLimited):
            self._feed.problem(f"Hyperliquid's /info: {error}; {_remedy(error)}")


def _remedy(error: Exception) -> str:
    if isinstance(error, RateLimited):
        return (
            "it goes on by itself; if this comes often, others ask from this address too: lower "
            "weight_per_minute"
        )
    if isinstance(error, NoAnswer):
        return "it is asked again; see whether info_url can be reached from this machine"
    if isinstance(error, BadBody | ValueError):
        return "it is asked again; see whether info_url is that of Hyperliquid's /info"
    return "it is asked again, and goes on by itself when it answers"
