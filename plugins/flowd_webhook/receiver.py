"""The receiver of a webhook: posts until it answers, waits as it asks, and knows what is final."""

import logging
from collections.abc import Callable
from random import Random
from urllib.parse import urlsplit

import trio

from flowd.plugin import BadBody, Clock, Http, NoAnswer, RateLimited, UpstreamError
from flowd_webhook.signature import HEADER, sign

RETRY_AFTER_MAX_S = 3600.0
ANSWER_MAX = 64 * 1024
"""Bytes of an answer that are read; nothing in it is of interest."""

logger = logging.getLogger("flowd.webhook")


class Undelivered(UpstreamError):
    """The receiver did not take it this time. `wait_s` is when it asked to be asked again."""

    def __init__(self, message: str, wait_s: float | None = None) -> None:
        super().__init__(message)
        self.wait_s = wait_s


class Refused(UpstreamError):
    """The receiver will never take it."""


class Receiver:
    """Where a webhook's bodies go, one at a time for each who sends."""

    def __init__(
        self,
        url: str,
        http: Http,
        secret: str | None,
        now_ms: Clock,
        drop: Callable[..., None],
        *,
        timeout_s: float,
        retry_max_s: float,
    ) -> None:
        self._url = url
        self._name = urlsplit(url).hostname  # The path of a webhook is often a secret.
        self._http = http
        self._secret = secret
        self._now_ms = now_ms
        self._drop = drop
        self._timeout_s = timeout_s
        self._retry_max_s = retry_max_s
        self._down = False
        # Another in each daemon, so that they do not all post at once, and the same in each test.
        self._random = Random(now_ms())

    async def send(self, body: bytes, key: str, count: int) -> bool:
        """Post until it is taken; what is refused for good is counted, logged and let go: False."""
        taken = True
        try:
            await self._post(body, key)
        except Refused as error:
            taken = False
            self._drop(f"refused: {error}", key, count=count)
        if self._down:
            self._down = False
            logger.info("webhook %s: answers again", self._name)
        return taken

    async def _post(self, body: bytes, key: str) -> None:
        """Post until it is taken; raise `Refused` where it never will be. Each wait is as long as
        the receiver asks for, or else twice the last, up to `retry_max_s`.
        """
        wait_s = 1.0
        while True:
            try:
                return await self._post_once(body, key)
            except Undelivered as error:
                asked_s = error.wait_s
            ours_s = min(wait_s + self._random.random(), self._retry_max_s)
            await trio.sleep(ours_s if asked_s is None else asked_s)
            wait_s = min(2 * wait_s, self._retry_max_s)

    async def _post_once(self, body: bytes, key: str) -> None:
        headers = {"Content-Type": "application/json", "Idempotency-Key": key}
        if self._secret is not None:
            headers[HEADER] = sign(self._secret, body, self._now_ms())
        try:
            answer = await self._http.post(
                self._url,
                content=body,
                headers=headers,
                timeout_s=self._timeout_s,
                body_max=ANSWER_MAX,
            )
        except NoAnswer as error:
            raise self._undelivered(str(error)) from None
        except (BadBody, RateLimited) as error:
            answer = error.answer  # What it says there is of no interest, only its status.
        status, after_s = answer.status, answer.after_s
        if status in (408, 429) or status >= 500:
            wait_s = None if after_s is None else min(after_s, RETRY_AFTER_MAX_S)
            raise self._undelivered(f"HTTP {status}", wait_s)
        if not 200 <= status < 300:
            raise Refused(f"HTTP {status}")

    def _undelivered(self, why: str, wait_s: float | None = None) -> Undelivered:
        if not self._down:
            self._down = True
            logger.warning("webhook %s: %s; trying until it answers", self._name, why)
        return Undelivered(why, wait_s)
