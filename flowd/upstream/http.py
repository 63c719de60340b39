"""The one HTTP client: asks REST services with limits of size and time, counted, and within their
budgets of weight.
"""

import math
import zlib
from collections.abc import Mapping
from contextlib import aclosing
from datetime import UTC
from email.utils import parsedate_to_datetime
from random import Random
from typing import TYPE_CHECKING, Any

import trio
from attrs import define, frozen

from flowd.upstream.budget import ASKED_FOR_MAX_S, Budget, Budgets, Spent
from flowd.values import codec
from flowd.values.clock import Clock
from flowd.values.errors import UpstreamError
from flowd.values.tally import Tally

if TYPE_CHECKING:
    import ssl

    import httpx2

TIMEOUT_S = 20.0
BODY_MAX = 16 * 1024 * 1024
"""Bytes of an answer, after decompression."""
AT_ONCE = 20
"""Requests of one component that are under way together."""


class NoAnswer(UpstreamError):
    """The service did not answer this time. It may the next."""


@define(eq=False)
class Answer:
    """What a service answered: any status. `headers` are in lower case, `after_s` is in how many
    seconds it wants to be asked again; None where it does not say.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes
    after_s: float | None = None
    _spent: Spent | None = None

    def json(self) -> Any:
        """The body as plain values; ValueError when it is no JSON."""
        return codec.decode(self.body)

    @property
    def text(self) -> str:
        """The body as text, whatever it is."""
        return self.body.decode(errors="replace")

    def cost(self, weight: int) -> None:
        """What this answer really weighed: the difference is given back, or charged."""
        if self._spent is not None:
            self._spent.settle(weight)


class BadBody(UpstreamError):
    """A body that was not read to its end: too large, or packed in a way that was not asked for.
    The `answer` is what came before it.
    """

    def __init__(self, message: str, answer: Answer) -> None:
        super().__init__(message)
        self.answer = answer


class RateLimited(UpstreamError):
    """The service refuses us for having asked too much; `after_s` is for how long we ask nothing,
    None where there is no budget that would keep us from it and the service did not say. The
    `answer` says so.
    """

    def __init__(self, message: str, answer: Answer, after_s: float | None) -> None:
        super().__init__(message)
        self.answer = answer
        self.after_s = after_s


@frozen
class Question:
    """What is asked."""

    method: str
    url: str
    query: Mapping[str, str | int] | None
    content: bytes | None
    headers: Mapping[str, str]


class Trust:
    """Whose certificates are believed: looked up once for all clients, and in a thread, since that
    takes a tenth of a second.
    """

    def __init__(self) -> None:
        self._context: ssl.SSLContext | None = None
        self._looking = trio.Lock()

    async def context(self) -> "ssl.SSLContext":
        """What `httpx2` verifies with."""
        import httpx2

        async with self._looking:
            if self._context is None:
                self._context = await trio.to_thread.run_sync(httpx2.create_ssl_context)
        return self._context


class Services:
    """The REST services that components ask: a client for each component, and the budgets that
    they share. `transport` is what requests go over; None for the network.
    """

    def __init__(self, clock: Clock, transport: "httpx2.AsyncBaseTransport | None" = None) -> None:
        self.budgets = Budgets()
        self._clock = clock
        self._transport = transport
        self._trust = Trust()
        self._clients: list[Http] = []

    def http(self, tally: Tally) -> "Http":
        """A client, which counts there."""
        made = Http(tally, self._clock, self._trust, self._transport)
        self._clients.append(made)
        return made

    async def aclose(self) -> None:
        """Close all connections. The daemon does, at its end."""
        for client in self._clients:
            await client.aclose()


class Http:
    """A component's HTTP client: `feed.http`, `desk.http`. Its connections are kept between
    requests, and closed with the daemon.

    Any number of tasks may ask at once. Nothing is followed, no cookies are kept.
    """

    def __init__(
        self,
        tally: Tally,
        clock: Clock,
        trust: Trust,
        transport: "httpx2.AsyncBaseTransport | None" = None,
    ) -> None:
        self._tally = tally
        self._clock = clock
        self._trust = trust
        self._transport = transport
        self._client: httpx2.AsyncClient | None = None
        self._turns = trio.Semaphore(AT_ONCE)
        # Another in each daemon, so that they do not all ask at once, and the same in each test.
        self._random = Random(clock())

    async def get(
        self, url: str, *, query: Mapping[str, str | int] | None = None, **options: Any
    ) -> Answer:
        """`request("GET", ...)`."""
        return await self.request("GET", url, query=query, **options)

    async def post(
        self, url: str, *, json: object = None, content: bytes | None = None, **options: Any
    ) -> Answer:
        """`request("POST", ...)`, with JSON or with bytes."""
        return await self.request("POST", url, json=json, content=content, **options)

    async def request(
        self,
        method: str,
        url: str,
        *,
        query: Mapping[str, str | int] | None = None,
        json: object = None,
        content: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        timeout_s: float = TIMEOUT_S,
        body_max: int = BODY_MAX,
        retries: int = 0,
        budget: Budget | None = None,
        weight: int = 1,
        priority: int = 0,
    ) -> Answer:
        """The answer, of any status. `weight` is reserved of the `budget` before anything is sent.

        `NoAnswer` when there was none within `timeout_s`, or the connection failed, after so many
        `retries`; also answers of status 408 and 500 and above are asked for again, and the last is
        given. `RateLimited` for 429 and 418: the budget is closed for as long as the service says.
        `BadBody` when the body is more than `body_max` bytes, or cannot be unpacked.
        """
        sent = dict(headers or {})
        if json is not None:
            content = codec.encode(json)
            sent.setdefault("Content-Type", "application/json")
        question = Question(method, url, query, content, sent)
        for attempt in range(retries + 1):
            last = attempt == retries
            try:
                answer = await self._once(question, timeout_s, body_max, budget, weight, priority)
            except NoAnswer:
                if last:
                    raise
            else:
                if last or not (answer.status == 408 or answer.status >= 500):
                    return answer
            self._count("retries")
            await trio.sleep(2.0**attempt + self._random.random())
        raise AssertionError("the last attempt answers or raises")

    async def aclose(self) -> None:
        """Close what connections there are."""
        client, self._client = self._client, None
        if client is not None:
            await client.aclose()

    async def _once(
        self,
        question: Question,
        timeout_s: float,
        body_max: int,
        budget: Budget | None,
        weight: int,
        priority: int,
    ) -> Answer:
        spent = None if budget is None else await budget.spend(weight, priority)
        try:
            async with self._turns:
                self._count("requests")
                answer = await self._ask(question, timeout_s, body_max)
        finally:
            if spent is not None:
                spent.settle()
        answer._spent = spent
        if answer.status in (418, 429):
            self._count("rate_limited")
            after_s = answer.after_s if budget is None else budget.refused(answer.after_s)
            again = "" if after_s is None else f"; again in {math.ceil(after_s)}s"
            raise RateLimited(f"asked too much (HTTP {answer.status}){again}", answer, after_s)
        if budget is not None and answer.status < 500:
            budget.accepted()
        return answer

    async def _ask(self, question: Question, timeout_s: float, body_max: int) -> Answer:
        # Whoever asks nobody does not wait for this library to load.
        import httpx2

        if self._client is None:
            # A transport that is given does not look at this.
            verify = self._transport is not None or await self._trust.context()
            if self._client is None:
                self._client = httpx2.AsyncClient(
                    transport=self._transport, verify=verify, timeout=None
                )
        try:
            with trio.fail_after(timeout_s):
                return await self._read(self._client, question, body_max)
        except trio.TooSlowError:
            self._count("failures")
            raise NoAnswer(f"no answer within {timeout_s:g}s ({host(question.url)})") from None
        except (httpx2.HTTPError, httpx2.InvalidURL) as error:
            self._count("failures")
            why = str(error) or type(error).__name__
            raise NoAnswer(f"cannot be asked: {why} ({host(question.url)})") from None

    async def _read(
        self, client: "httpx2.AsyncClient", question: Question, body_max: int
    ) -> Answer:
        headers = {"Accept-Encoding": "gzip", "User-Agent": "flowd", **question.headers}
        async with (
            client.stream(
                question.method,
                question.url,
                params=question.query,
                content=question.content,
                headers=headers,
            ) as answer,
            aclosing(answer.aiter_raw()) as pieces,
        ):
            coding = answer.headers.get("Content-Encoding", "identity").lower()
            after_s = retry_after_s(answer.headers.get("Retry-After", ""), self._clock())
            told = Answer(answer.status_code, dict(answer.headers), b"", after_s)
            if coding not in ("gzip", "identity"):
                raise self._bad(f"expected gzip, got {coding:.20}", question, told)
            unpack = zlib.decompressobj(31) if coding == "gzip" else None
            body = bytearray()
            async for piece in pieces:
                try:
                    body += unpack.decompress(piece, body_max + 1 - len(body)) if unpack else piece
                except zlib.error as error:
                    raise self._bad(f"bad gzip: {error}", question, told) from None
                if len(body) > body_max:
                    raise self._bad(f"more than {body_max} bytes", question, told)
            self._count("bytes", len(body))
            told.body = bytes(body)
            return told

    def _bad(self, why: str, question: Question, told: Answer) -> BadBody:
        self._count("failures")
        return BadBody(f"{why} ({host(question.url)})", told)

    def _count(self, name: str, number: int = 1) -> None:
        figures, full = self._tally.figures, f"http_{name}"
        figures[full] = figures.get(full, 0) + number


def host(url: str) -> str:
    """Whom an address names: its path may hold a secret."""
    return url.partition("://")[2].partition("/")[0].rpartition("@")[2] or "no host"


def retry_after_s(text: str, now_ms: int) -> float | None:
    """The seconds that a `Retry-After` means, as a number or a date; None when it says nothing."""
    if text.isascii() and text.isdigit():
        return min(max(float(text), 1.0), ASKED_FOR_MAX_S)
    try:
        at = parsedate_to_datetime(text)
    except ValueError:
        return None
    at = at if at.tzinfo is not None else at.replace(tzinfo=UTC)
    return min(max(at.timestamp() - now_ms / 1000, 1.0), ASKED_FOR_MAX_S)
