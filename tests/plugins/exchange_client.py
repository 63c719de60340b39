"""A client of a simulated exchange: real frames over memory, and what they say."""

import json
from collections.abc import Awaitable, Callable
from typing import Any, cast

import trio
import trio.testing
from trio_websocket import ConnectionClosed, WebSocketConnection, wrap_client_stream


async def connect(
    serve: Callable[[trio.abc.Stream], Awaitable[None]],
    nursery: trio.Nursery,
    target: str,
    *,
    queue: int = 100_000,
) -> WebSocketConnection:
    """A connection to who serves the other end; `queue` messages wait for their reader."""
    ours, theirs = trio.testing.memory_stream_pair()
    nursery.start_soon(serve, theirs)
    # Typed for sockets, but made for any stream.
    socket = cast(trio.SocketStream, ours)
    return await wrap_client_stream(nursery, socket, "exchange", target, message_queue_size=queue)


async def hear(connection: WebSocketConnection, within_s: float = 10) -> Any:
    """The next message."""
    with trio.fail_after(within_s):
        return json.loads(await connection.get_message())


async def texts_for(connection: WebSocketConnection, seconds: float) -> list[str]:
    """What the connection brings within this time. It must not end meanwhile."""
    heard: list[str] = []
    with trio.move_on_after(seconds):
        while True:
            heard.append(str(await connection.get_message()))
    return heard


async def hear_for(connection: WebSocketConnection, seconds: float) -> list[Any]:
    """The same messages, decoded."""
    return [json.loads(text) for text in await texts_for(connection, seconds)]


async def end_of(connection: WebSocketConnection, within_s: float = 10) -> tuple[int, str | None]:
    """The close code and reason with which the connection ends, whatever comes before."""
    with trio.fail_after(within_s):
        while True:
            try:
                await connection.get_message()
            except ConnectionClosed:
                break
    assert connection.closed is not None
    return connection.closed.code, connection.closed.reason
