"""Asking the other daemon: once for all who ask alike, bounded, and what did not change only by its
name. Telling it what is to be done: once, for each who wants it.
"""

from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping

import trio
from attrs import evolve, field, frozen

from flowd.plugin import Answer, BadBody, BadRequest, Desk, NoAnswer, RateLimited

PASSED_ON = ("content-type", "etag", "cache-control", "vary", "retry-after", "content-disposition")
"""The headers of an answer that are its client's."""
OVERHEAD = 512
"""Bytes that an answer in the cache takes beside its body, about."""


@frozen
class Target:
    """What is asked for. Two that are equal get the same answer; `sent` are further headers, by
    which no answer is another.
    """

    url: str
    accept: str = ""
    authorization: str = ""
    sent: tuple[tuple[str, str], ...] = field(default=(), eq=False)

    @property
    def headers(self) -> dict[str, str]:
        """The headers of the request."""
        named = {"Accept": self.accept, "Authorization": self.authorization}
        return {name: value for name, value in (*named.items(), *self.sent) if value}


@frozen
class Told:
    """What the daemon answered."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def etag(self) -> str | None:
        """What names the body, if anything does."""
        return self.headers.get("etag") if self.status == 200 else None


class _Asking:
    """A request under way, and what all who wait for it are told."""

    def __init__(self) -> None:
        self.done = trio.Event()
        self.outcome: Told | BadRequest | None = None
        """None at the end where the one who asked has left."""


class Asker:
    """Asks for whatever a client asks for.

    BadRequest where the daemon did not answer, or with too much, or too many wait. Any status that
    it answered is an answer. Nothing is asked for twice at the same time, and nobody waits for
    ever.
    """

    def __init__(
        self,
        desk: Desk,
        *,
        timeout_s: float,
        body_max: int,
        cache_max: int,
        at_once: int,
        waiting: int,
    ) -> None:
        self._desk = desk
        self._timeout_s = timeout_s
        self._body_max = body_max
        self._cache_max = cache_max
        self._waiting_max = waiting
        self._limiter = trio.CapacityLimiter(at_once)
        self._kept: OrderedDict[Target, Told] = OrderedDict()
        self._asking: dict[Target, _Asking] = {}
        self._telling = 0
        self.kept_bytes = 0

    async def ask(self, target: Target) -> Told:
        """The answer."""
        self._count("relayed")
        while (under_way := self._asking.get(target)) is not None:
            await under_way.done.wait()
            if isinstance(under_way.outcome, BadRequest):
                raise under_way.outcome
            if under_way.outcome is not None:
                self._count("shared")
                return under_way.outcome
        self._check_room()
        asking = self._asking[target] = _Asking()
        try:
            told = asking.outcome = await self._in_turn(lambda: self._once(target))
        except BadRequest as error:
            asking.outcome = error
            raise
        finally:
            del self._asking[target]
            asking.done.set()
        return told

    async def tell(self, method: str, target: Target, content: bytes) -> Told:
        """Have something done there, and the answer. It is sent once: without an answer nobody
        knows whether it was done, as the BadRequest says.
        """
        self._count("told")
        self._check_room()
        self._telling += 1
        try:
            return await self._in_turn(lambda: self._done(method, target, content))
        finally:
            self._telling -= 1

    async def _done(self, method: str, target: Target, content: bytes) -> Told:
        try:
            answer = await self._answer(method, target, target.headers, content)
        except NoAnswer as error:
            raise _later(
                "UNAVAILABLE",
                f"the daemon behind this one: {error}. It may have done this, or may do it yet",
                "looking whether it was done, and asking again if it was not",
            ) from None
        return _passed_on(answer)

    def _check_room(self) -> None:
        """BadRequest when too many wait."""
        most = self._limiter.total_tokens + self._waiting_max
        if len(self._asking) + self._telling >= most:
            raise _later("BUSY", "too many wait for the daemon that is asked for this")

    async def _in_turn(self, act: Callable[[], Awaitable[Told]]) -> Told:
        with trio.move_on_after(self._timeout_s) as waited:
            await self._limiter.acquire()
        if waited.cancelled_caught:
            raise _later("BUSY", "the daemon that is asked for this is slow")
        try:
            return await act()
        finally:
            self._limiter.release()

    async def _once(self, target: Target) -> Told:
        had = self._kept.get(target)
        headers = target.headers
        if had is not None and had.etag is not None:
            headers["If-None-Match"] = had.etag
        try:
            answer = await self._answer("GET", target, headers)
        except NoAnswer as error:
            raise _later("UNAVAILABLE", f"the daemon behind this one: {error}") from None
        if answer.status == 304 and had is not None:
            self._count("unchanged")
            self._kept.move_to_end(target)
            return had
        return self._keep(target, _passed_on(answer))

    async def _answer(
        self, method: str, target: Target, headers: dict[str, str], content: bytes | None = None
    ) -> Answer:
        """The answer, of any status. NoAnswer, which is counted; BadRequest for one that is too
        large.
        """
        try:
            return await self._desk.http.request(
                method,
                target.url,
                content=content,
                headers=headers,
                timeout_s=self._timeout_s,
                body_max=self._body_max,
            )
        except RateLimited as error:
            return error.answer
        except NoAnswer as error:
            self._desk.drop("unreachable", str(error))
            raise
        except BadBody as error:
            self._desk.drop("bad body", str(error))
            raise BadRequest(
                f"the daemon behind this one: {error}",
                parameter="path",
                allowed="a smaller range; or that daemon itself",
                code="BAD_ANSWER",
                status=502,
            ) from None

    def _keep(self, target: Target, told: Told) -> Told:
        self._forget(target)
        size = len(told.body) + OVERHEAD
        private = "no-store" in told.headers.get("cache-control", "")
        if told.etag is not None and not private and size <= self._cache_max:
            # From which address it was asked for says nothing about it.
            self._kept[evolve(target, sent=())] = told
            self.kept_bytes += size
            while self.kept_bytes > self._cache_max:
                self._forget(next(iter(self._kept)))
        self._desk.tally.figures["kept_bytes"] = self.kept_bytes
        return told

    def _forget(self, target: Target) -> None:
        if (had := self._kept.pop(target, None)) is not None:
            self.kept_bytes -= len(had.body) + OVERHEAD

    def _count(self, name: str) -> None:
        figures = self._desk.tally.figures
        figures[name] = figures.get(name, 0) + 1


def _passed_on(answer: Answer) -> Told:
    """An answer as the client gets it."""
    headers = {name: answer.headers[name] for name in PASSED_ON if name in answer.headers}
    return Told(answer.status, headers, answer.body)


def _later(
    code: str,
    why: str,
    allowed: str = "the same again in a few seconds; all other paths work meanwhile",
) -> BadRequest:
    return BadRequest(why, parameter="path", allowed=allowed, code=code, status=503)
