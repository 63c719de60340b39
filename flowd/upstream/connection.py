"""One WebSocket to an exchange: dialled, kept alive by pings, and known to be dead when it says
nothing.

There is no reconnect loop here or in any source: whatever goes wrong is an `UpstreamError`, the
source ends, and the supervisor starts it again.
"""

import ssl
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any, cast
from urllib.parse import SplitResult, urlsplit

import h11
import trio
import trio_websocket

from flowd.upstream.slices import IDLE_PER_S, Messages, Wire
from flowd.values.errors import UpstreamError, UpstreamSilent, UserError, unwrap

CONNECT_TIMEOUT_S = 10.0
PING_EVERY_S = 15.0
SILENCE_S = 60.0
LOOK_S = 1.0
"""How long we look once more before we believe in silence: while a process stands still, what its
upstream says waits in the socket.
"""
MESSAGE_MAX = 16 * 1024 * 1024
"""The largest message taken from an upstream, in bytes; a larger one ends the connection."""
QUEUE_MAX = 1024
"""Messages that may wait between the socket and the source before the socket is read no more."""

Dial = Callable[[SplitResult], Awaitable[trio.abc.Stream]]
"""Opens the byte stream to where a URL points; tests hand in one that answers from memory."""


async def dial(url: SplitResult) -> trio.abc.Stream:
    """A TCP connection to the URL's host, wrapped in TLS for `wss` and `https`."""
    assert url.hostname is not None
    secure = url.scheme in ("wss", "https")
    port = url.port or (443 if secure else 80)
    tcp = await trio.open_tcp_stream(url.hostname, port, happy_eyeballs_delay=0.25)
    if not secure:
        return tcp
    tls = trio.SSLStream(
        tcp, ssl.create_default_context(), server_hostname=url.hostname, https_compatible=True
    )
    try:
        await tls.do_handshake()
    except BaseException:
        await trio.aclose_forcefully(tcp)
        raise
    return tls


class Upstream:
    """An open connection: `send` text, iterate for messages.

    Iteration takes what has come without letting others run, for a slice of about a millisecond
    at a time. When all was taken it raises `UpstreamError` if the connection has ended, and
    `UpstreamSilent` after `silence_s` without a sign of life: any frame, or only messages if
    `pongs_count` is false.
    """

    def __init__(
        self,
        url: str,
        connection: trio_websocket.WebSocketConnection,
        wire: Wire,
        *,
        silence_s: float,
        pongs_count: bool,
        on_frame: Callable[[], None],
        on_message: Callable[[], None],
    ) -> None:
        self.url = url
        self._connection = connection
        self._wire = wire
        self._messages = Messages(connection, wire)
        self._next = self._messages.next
        self._silence_s = silence_s
        self._silent = False
        self._left = False
        self._pongs_count = pongs_count
        self._on_frame = on_frame
        self._on_message = on_message

    async def send(self, text: str | bytes) -> None:
        """Send one message; UpstreamError when the connection is gone."""
        try:
            await self._connection.send_message(text)
        except trio_websocket.ConnectionClosed as error:
            raise self._ended(error.reason) from None

    async def leave(self) -> None:
        """Say goodbye. What upstream had under way before it heard of that still comes; then the
        messages end.
        """
        with suppress(trio_websocket.ConnectionClosed):
            await self._messages.leave()
            self._left = True

    @property
    def answered(self) -> bool:
        """Whether upstream has answered our goodbye: what it had said before is all here."""
        reason = self._connection.closed
        return self._left and reason is not None and reason.code != 1006

    def __aiter__(self) -> "Upstream":
        return self

    async def __anext__(self) -> str | bytes:
        try:
            message = await self._next()
        except trio.EndOfChannel:
            if self._silent:
                silence = f"upstream silent for {self._silence_s:g}s ({self.url})"
                raise UpstreamSilent(silence) from None
            raise self._ended(self._connection.closed) from None
        self._on_message()
        return message

    async def watch(self) -> None:
        """End the messages after the silence that is allowed. What has come is taken before."""
        wire, look_s = self._wire, min(LOOK_S, self._silence_s / 2)
        while not self._silent:
            heard, now = wire.heard, trio.current_time()
            last_look = heard + self._silence_s - look_s
            if now < last_look:
                await trio.sleep_until(last_look)
                continue
            due = max(heard + self._silence_s, now + look_s)
            await trio.sleep_until(due)
            now = trio.current_time()
            if self._messages.waiting:
                # It is the source that is behind: perhaps the socket is read no more because of it.
                wire.heard = now
            elif wire.heard == heard:
                # A look that ended late was interrupted by a standstill, and is taken again.
                self._silent = now - due < look_s / 2
        await self._messages.end()

    async def ping(self, every_s: float) -> None:
        """Ping for ever; each pong is a sign of life."""
        while True:
            await trio.sleep(every_s)
            try:
                await self._connection.ping()
            except trio_websocket.ConnectionClosed:
                return
            self._on_frame()
            if self._pongs_count:
                self._wire.heard = trio.current_time()

    def _ended(self, reason: trio_websocket.CloseReason | None) -> UpstreamError:
        if self._wire.flooded:
            return UpstreamError(f"over {IDLE_PER_S} frames a second that say nothing ({self.url})")
        if reason is None or reason.code == 1006:
            return UpstreamError(f"connection lost ({self.url})")
        words = f" {reason.reason}" if reason.reason else ""
        return UpstreamError(f"closed by upstream with {reason.code}{words} ({self.url})")


@asynccontextmanager
async def open_upstream(
    url: str,
    *,
    dial: Dial,
    silence_s: float = SILENCE_S,
    ping_every_s: float = PING_EVERY_S,
    pongs_count: bool = True,
    headers: list[tuple[bytes, bytes]] | None = None,
    shown: str | None = None,
    on_frame: Callable[[], None] = lambda: None,
    on_message: Callable[[], None] = lambda: None,
) -> AsyncGenerator[Upstream, None]:
    """Dial `url` (`shown` is what logs say of it, when it holds a secret) and keep the connection
    for the block.
    """
    shown = shown or url
    parts = websocket_url(url, shown)
    stream: trio.abc.Stream | None = None
    try:
        async with trio.open_nursery() as nursery:
            try:
                with trio.fail_after(CONNECT_TIMEOUT_S):
                    stream = await dial(parts)
                    wire = Wire(stream)
                    connection = await _handshake(nursery, wire, parts, headers)
            except trio.TooSlowError:
                raise UpstreamError(f"no answer within {CONNECT_TIMEOUT_S:g}s ({shown})") from None
            except (OSError, ssl.SSLError, trio.BrokenResourceError) as error:
                raise UpstreamError(f"cannot connect: {_reason(error)} ({shown})") from None
            upstream = Upstream(
                shown,
                connection,
                wire,
                silence_s=silence_s,
                pongs_count=pongs_count,
                on_frame=on_frame,
                on_message=on_message,
            )
            nursery.start_soon(upstream.ping, ping_every_s)
            nursery.start_soon(upstream.watch)
            yield upstream
            nursery.cancel_scope.cancel()
    except BaseExceptionGroup as group:
        # What the body raised, or the codec's own task: a refused handshake is told there.
        raise _plainly(unwrap(group), shown) from None
    finally:
        # Not in the nursery: once that is cancelled, a checkpoint would replace what was raised.
        if stream is not None:
            await trio.aclose_forcefully(stream)


def _plainly(error: BaseException, shown: str) -> BaseException:
    """The codec's errors in flowd's words; all others as they are."""
    if isinstance(error, trio_websocket.ConnectionRejected):
        return UpstreamError(f"refused with HTTP {error.status_code} ({shown})")
    if isinstance(
        error, trio_websocket.HandshakeError | trio_websocket.ConnectionClosed | h11.ProtocolError
    ):
        return UpstreamError(f"handshake failed: {error!r} ({shown})")
    return error


def _reason(error: Exception) -> str:
    """Why there is no connection: TLS' own words are below what Trio says of a broken stream."""
    if isinstance(error, trio.BrokenResourceError) and isinstance(error.__cause__, OSError):
        error = error.__cause__
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"certificate not trusted: {getattr(error, 'verify_message', '') or error}"
    return str(error) or type(error).__name__


def websocket_url(url: str, shown: str) -> SplitResult:
    """The parts of a `ws://` or `wss://` address; UserError for anything else."""
    try:
        parts = urlsplit(url)
        fits = parts.scheme in ("ws", "wss") and parts.hostname and parts.port != 0
    except ValueError:
        fits = False
    if not fits:
        raise UserError(f'url = "{shown}": expected an address like "wss://host/path"')
    return parts


async def _handshake(
    nursery: trio.Nursery,
    wire: Wire,
    url: SplitResult,
    headers: list[tuple[bytes, bytes]] | None,
) -> trio_websocket.WebSocketConnection:
    resource = (url.path or "/") + (f"?{url.query}" if url.query else "")
    return await trio_websocket.wrap_client_stream(
        nursery,
        # trio-websocket is typed for sockets and works on whatever sends, receives and closes.
        cast(Any, wire),
        url.netloc.rpartition("@")[2],
        resource,
        extra_headers=headers,
        message_queue_size=QUEUE_MAX,
        max_message_size=MESSAGE_MAX,
    )
