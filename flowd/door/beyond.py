"""What another process of this daemon answers: a request is passed on to it as it came, and the
answer as it comes, however long it is.
"""

from contextlib import suppress
from pathlib import Path

import trio

from flowd.door.head import Head, refusal
from flowd.door.visit import Visit
from flowd.values.errors import BadRequest

PIECE = 64 * 1024
READ_HERE = ("GET", "HEAD")
_OURS = (b"connection:", b"x-forwarded-for:", b"keep-alive:")


class Beyond:
    """The process behind a Unix socket, which serves all that this one does not."""

    def __init__(self, socket: Path) -> None:
        self._socket = socket

    def wants(self, head: Head, methods: list[str]) -> bool:
        """Whether a request is for it, where the app here answers `methods` at its path: whatever
        changes something, and what nobody reads here.
        """
        return head.method not in READ_HERE or "GET" not in methods

    async def answer(self, visit: Visit, head: Head, address: str) -> None:
        """Pass a request on, on behalf of this address, and its answer back; the connection is of
        no more use then. Who gets no answer is told that nobody is there to give one.
        """
        visit.ended = True
        heard = 0
        try:
            async with await trio.open_unix_socket(str(self._socket)) as there:
                await there.send_all(passed_on(head, address) + visit.rest())
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(_say, visit, there)
                    while data := await _more(there):
                        heard += len(data)
                        await visit.stream.send_all(data)
                    nursery.cancel_scope.cancel()
        except* (OSError, trio.BrokenResourceError, trio.ClosedResourceError):
            pass  # One of the two is gone: so is the answer.
        if not heard:
            await visit.send(refusal(_away(head), close=True))


AT_ALL_TIMES = ("/health", "/status", "/metrics")
"""What is answered also by a daemon that serves nobody."""


class Nobody:
    """For a daemon that serves nobody, for this reason: whoever asks for more than how it is, is
    told so.
    """

    def __init__(self, why: str) -> None:
        self._why = why

    def wants(self, head: Head, methods: list[str]) -> bool:
        """Whether a request is for nobody."""
        return head.path not in AT_ALL_TIMES or head.method not in READ_HERE

    async def answer(self, visit: Visit, head: Head, address: str) -> None:
        """Say why."""
        visit.ended = True
        error = BadRequest(
            self._why,
            parameter="path",
            value=head.path,
            allowed=AT_ALL_TIMES,
            code="STANDBY",
            status=503,
        )
        await visit.send(refusal(error, close=True))


async def _more(there: trio.SocketStream) -> bytes:
    """More of the answer; empty when that process has ended, or is done."""
    try:
        return bytes(await there.receive_some(PIECE))
    except trio.BrokenResourceError:
        return b""


async def _say(visit: Visit, there: trio.SocketStream) -> None:
    """What the client goes on to say: a body, or frames. Whoever of both is gone, it ends with the
    answer.
    """
    with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
        while data := await visit.stream.receive_some(PIECE):
            await there.send_all(data)
        await there.send_eof()


def _away(head: Head) -> BadRequest:
    return BadRequest(
        "the process that answers this is being started",
        parameter="path",
        value=head.path,
        allowed="the same again in a few seconds; streams are served meanwhile",
        code="UNAVAILABLE",
        status=503,
    )


def passed_on(head: Head, address: str) -> bytes:
    """The head as that process gets it: for one request, and with whom it is for. A WebSocket's
    keeps its `Connection`, by which it becomes one.
    """
    first, *lines = head.raw.removesuffix(b"\r\n\r\n").split(b"\r\n")
    said = _OURS[1:] if head.wants_websocket else _OURS
    kept = [line for line in lines if not line.lower().startswith(said)]
    ours = [b"X-Forwarded-For: " + address.encode("ascii", "replace")]
    if not head.wants_websocket:
        ours.append(b"Connection: close")
    return b"\r\n".join((first, *kept, *ours)) + b"\r\n\r\n"
