"""Scripted REST services: what they answer at each path, and when they go wrong. The client is the
real one, so limits, timeouts and unpacking are too.
"""

from collections.abc import Callable, Mapping
from typing import Any

import httpx2
import trio
from attrs import field, frozen

from flowd.values import codec


@frozen
class Reply:
    """An answer: its status, its body (bytes, text, an `httpx2.AsyncByteStream`, or what becomes
    JSON), further headers.
    """

    status: int = 200
    body: Any = b""
    headers: Mapping[str, str] = field(factory=dict)

    @property
    def content(self) -> bytes:
        """The body's bytes."""
        if isinstance(self.body, bytes):
            return self.body
        return self.body.encode() if isinstance(self.body, str) else codec.encode(self.body)


@frozen
class Request:
    """What was asked. `json` is None where the body is none."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The body's plain values."""
        try:
            return codec.decode(self.body)
        except ValueError:
            return None


class Silence:
    """Nothing is answered, ever."""


SILENT = Silence()


class Rest(httpx2.AsyncBaseTransport):
    """A service that answers by a script, and remembers what it was asked."""

    def __init__(self, answers: Mapping[str, Any] | httpx2.AsyncBaseTransport) -> None:
        self.requests: list[Request] = []
        """What was asked, in order."""
        self._behind: httpx2.AsyncBaseTransport | None = None
        self._answers: dict[str, Any] = {}
        if isinstance(answers, httpx2.AsyncBaseTransport):
            self._behind = answers
        else:
            self._answers |= answers
        self._turns: dict[str, int] = {}

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Answer one request."""
        asked = Request(
            request.method,
            request.url.path,
            dict(request.url.params.items()),
            dict(request.headers.items()),
            await request.aread(),
        )
        self.requests.append(asked)
        if self._behind is not None:
            return await self._behind.handle_async_request(request)
        await trio.lowlevel.checkpoint()
        answer = self._answers.get(asked.path, Reply(404, "no such path"))
        if isinstance(answer, Turns):
            turn = self._turns.get(asked.path, 0)
            self._turns[asked.path] = turn + 1
            answer = answer.answers[min(turn, len(answer.answers) - 1)]
        if callable(answer):
            answer = answer(asked)
        if isinstance(answer, Silence):
            await trio.sleep_forever()
        if isinstance(answer, Exception):
            # As the client's own transport words what the system said.
            raise httpx2.ConnectError(str(answer), request=request) from answer
        reply = answer if isinstance(answer, Reply) else Reply(200, answer)
        body = reply.body if isinstance(reply.body, httpx2.AsyncByteStream) else _Body(reply)
        return httpx2.Response(reply.status, headers=dict(reply.headers), stream=body)


class _Body(httpx2.AsyncByteStream):
    """A body as it comes from a socket: piece by piece."""

    def __init__(self, reply: Reply) -> None:
        self._content = reply.content

    async def __aiter__(self) -> Any:
        for start in range(0, len(self._content), 65536):
            yield self._content[start : start + 65536]


@frozen
class Turns:
    """One answer after the other; the last again for all further requests."""

    answers: tuple[Any, ...]


def turns(*answers: Any) -> Turns:
    """One answer after the other; the last again for all further requests."""
    return Turns(answers)


Script = Mapping[str, Any | Callable[[Request], Any]]


def rest(answers: Script | httpx2.AsyncBaseTransport) -> Rest:
    """A service that answers so at each path: with a `Reply`, bytes, text, or plain values that
    become JSON; an exception for a connection that fails, `SILENT` for no answer; `turns(...)` of
    these, or a function of the `Request` that gives one. Instead of answers it may be another
    transport, such as one to an app.
    """
    return Rest(answers)
