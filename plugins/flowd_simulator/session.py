"""One client of a simulated exchange: the WebSocket it holds, and how that connection ends.

Knows frames and deadlines but no exchange: what to say is given by whoever serves the client.
"""

import logging
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Final

import trio
from attrs import frozen
from trio_websocket import ConnectionClosed, WebSocketConnection, wrap_server_stream

from flowd_simulator.faults import Faults

logger = logging.getLogger(__name__)

OUTBOX_MAX: Final = 10_000
"""Frames which a client may leave unread before it is cut off."""
GOODBYE_S: Final = 5.0
HANDSHAKE_S: Final = 10.0

Clock = Callable[[], int]
"""Milliseconds since the epoch."""


@frozen
class Limits:
    """How long and how much an exchange puts up with a client."""

    lifetime_s: float = 24 * 3600.0
    ping_every_s: float = 180.0
    pong_within_s: float = 600.0
    messages_per_s: int = 10
    streams: int = 1024


class Session:
    """A connected client. `send` never waits; `run` lasts until the connection shall end."""

    def __init__(
        self, connection: WebSocketConnection, limits: Limits, faults: Faults, clock: Clock
    ) -> None:
        self.goodbye: tuple[int, str] | None = None
        """The close code and reason to end with; without it, the connection is just cut."""
        self._connection = connection
        self._limits = limits
        self._faults = faults
        self._clock = clock
        self._life = trio.CancelScope()
        self._outbox, self._unsent = trio.open_memory_channel[tuple[float, str]](OUTBOX_MAX)

    def send(self, text: str) -> None:
        """Queue a frame. A client with too many of them unread is cut off, as by the exchange."""
        try:
            self._outbox.send_nowait((trio.current_time() + self._faults.slow_s, text))
        except trio.ClosedResourceError:
            return  # It is on its way out.
        except trio.WouldBlock:
            logger.warning("client cut off: %d frames unread", OUTBOX_MAX)
            self.drop()

    def drop(self) -> None:
        """End without a word."""
        self._life.cancel()

    def close(self, code: int, reason: str) -> None:
        """End with a close frame."""
        self.goodbye = self.goodbye or (code, reason)
        self._life.cancel()

    def close_after_sending(self, code: int, reason: str) -> None:
        """End with a close frame once everything that was said has been sent."""
        self.goodbye = self.goodbye or (code, reason)
        self._outbox.close()

    async def run(self, receive: Callable[[str | bytes], None]) -> None:
        """Serve until the client leaves or `drop` or `close` was called; messages go to `receive`.

        A client that leaves ends this with an exception group which holds `ConnectionClosed`.
        """
        with self._life:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._write)
                nursery.start_soon(self._keep_alive, nursery)
                nursery.start_soon(self._grow_old)
                await self._read(receive)
        if self.goodbye is not None:
            with trio.move_on_after(GOODBYE_S):
                await self._connection.aclose(*self.goodbye)

    async def _read(self, receive: Callable[[str | bytes], None]) -> None:
        arrivals: deque[float] = deque(maxlen=self._limits.messages_per_s)
        while True:
            message = await self._connection.get_message()
            now = trio.current_time()
            if len(arrivals) == arrivals.maxlen and now - arrivals[0] < 1:
                self.close(1008, "Too many requests")
            arrivals.append(now)
            receive(message)

    async def _write(self) -> None:
        async for due, text in self._unsent:
            if due > trio.current_time():
                await trio.sleep_until(due)
            if not self._faults.stalled:
                await self._connection.send_message(text)
        self._life.cancel()

    async def _keep_alive(self, nursery: trio.Nursery) -> None:
        count = 0
        while True:
            await trio.sleep(self._limits.ping_every_s)
            if not self._faults.stalled:
                count += 1
                nursery.start_soon(self._ping, f"{self._clock()}-{count}".encode())

    async def _ping(self, payload: bytes) -> None:
        with trio.move_on_after(self._limits.pong_within_s) as scope:
            await self._connection.ping(payload)
        if scope.cancelled_caught:
            logger.info("client cut off: no pong within %gs", self._limits.pong_within_s)
            self.drop()

    async def _grow_old(self) -> None:
        await trio.sleep(self._limits.lifetime_s)
        self.close(1001, "Connection lifetime reached")


async def shake_hands(
    stream: trio.abc.Stream,
    refusal: Callable[[str], int | None],
    seat: Callable[[WebSocketConnection, str], Awaitable[None]],
) -> None:
    """Open a WebSocket, and have it served by `seat` until that ends; both get the path with its
    query. `refusal` gives the HTTP status to refuse one with, None to let it in.
    """
    async with trio.open_nursery() as codec:
        path, connection = "", None
        with trio.move_on_after(HANDSHAKE_S) as handshake:
            request = await wrap_server_stream(codec, stream, message_queue_size=64)
            path = request.path
            status = refusal(path)
            if status is not None:
                await request.reject(status)
            else:
                connection = await request.accept()
        if connection is not None and not handshake.cancelled_caught:
            await seat(connection, path)
        codec.cancel_scope.cancel()


async def guarded(
    serve: Callable[[trio.abc.Stream], Awaitable[None]], stream: trio.abc.Stream
) -> None:
    """Serve one client, and close its stream. What goes wrong with it is logged and ends here."""
    try:
        await serve(stream)
    except* Exception as errors:
        _, bugs = errors.split(left)
        if bugs is not None:
            logger.exception("a client's connection failed", exc_info=bugs)
    finally:
        await trio.aclose_forcefully(stream)


def left(error: BaseException) -> bool:
    """Whether this is how clients come and go, and no bug."""
    return isinstance(error, (ConnectionClosed, trio.BrokenResourceError, trio.ClosedResourceError))
