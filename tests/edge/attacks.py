"""Clients that mean harm, in a process of their own: `python -m tests.edge.attacks NAME PORT`.

Each goes on until it is ended, and opens again what the daemon closes. They come from a loopback
address, for which the limits per address do not hold, since a proxy may speak from there for many.
"""

import os
import sys
from collections.abc import Awaitable, Callable
from itertools import count

import trio
from websockets.exceptions import InvalidHandshake

from tests.edge.peers import UPGRADE, connect, frame, reset, websocket
from tests.edge.peers import request as words

HERE = "127.0.0.66"
SLOT = {"Accept-Encoding": "identity"}
numbers = count(1)


Attack = Callable[[int], Awaitable[None]]


async def many(port: int, how_many: int, every_s: float, attack: Attack) -> None:
    """So many of one kind, one after the other; each is begun again when it ends."""

    async def again() -> None:
        while True:
            try:
                await attack(port)
            except* (OSError, EOFError, trio.BrokenResourceError, trio.ClosedResourceError):
                pass
            except* InvalidHandshake:
                pass  # There is no room for one more at the moment.
            await trio.sleep(0.2)

    async with trio.open_nursery() as nursery:
        for _ in range(how_many):
            nursery.start_soon(again)
            await trio.sleep(every_s)


async def unread(port: int) -> None:
    """Ask for megabytes of one's own, and read nothing."""
    stream = await connect(port, source=HERE, receive_buffer=4096)
    try:
        path = f"/streams/orders?min_price={next(numbers) / 1e6:f}"
        await stream.send_all(words(path, headers=SLOT))
        await stream.receive_some(1)
        await trio.sleep(5)
    finally:
        reset(stream)


async def heads(port: int) -> None:
    """Heads that are all different, with much in them."""
    stream = await connect(port, source=HERE)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(drain, stream)
        while True:
            number = next(numbers)
            headers = {f"X{n}": f"{number}" * 8 for n in range(90)}
            more = {"If-None-Match": "*", **headers}
            await stream.send_all(words("/streams/orders", headers=more))


async def idle(port: int) -> None:
    """Ask once, and keep the connection."""
    stream = await connect(port, source=HERE)
    await stream.send_all(words("/streams/orders?limit=1"))
    await drain(stream)


async def packed(port: int) -> None:
    """Have something packed that nobody else asks for, again and again."""
    stream = await connect(port, source=HERE)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(drain, stream)
        while True:
            path = f"/streams/orders?min_price={next(numbers) / 1e6:f}"
            await stream.send_all(words(path, headers={"Accept-Encoding": "gzip"}))
            await trio.sleep(0.2)


async def pieces(port: int) -> None:
    """Frames that complete no message."""
    async with websocket(port, source=HERE) as peer, trio.open_nursery() as nursery:
        nursery.start_soon(drain, peer.stream)
        await peer.stream.send_all(frame(0x01, b""))
        kind = frame(0x00) if next(numbers) % 2 else frame(0x8A)
        while True:
            await peer.stream.send_all(kind * 2000)


async def resubscribe(port: int) -> None:
    """Begin anew, deflated, as often as one may speak."""
    async with (
        websocket(port, source=HERE, deflate=True) as peer,
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(drain, peer.stream)
        while True:
            await peer.say({"action": "subscribe", "streams": ["orders"]})
            await trio.sleep(0.06)


async def deep(port: int) -> None:
    """JSON of brackets."""
    async with websocket(port, source=HERE) as peer, trio.open_nursery() as nursery:
        nursery.start_soon(drain, peer.stream)
        while True:
            await peer.say("[" * 16_000)
            await trio.sleep(0.06)


async def lines(port: int) -> None:
    """Heads that two parsers read differently, handshakes among them."""
    upgrade = words("/ws", headers=UPGRADE)
    for raw in (
        upgrade.replace(b"\r\n", b"\n", 1),
        upgrade.replace(b"\r\n\r\n", b"\r\nX: y\r\n z\r\n\r\n"),
        upgrade.replace(b"\r\n\r\n", b"\r\nX: \xe4\r\n\r\n"),
        words("/").replace(b"\r\n\r\n", b"\n\nGET /b HTTP/1.1\r\nHost: b\r\n\r\n"),
    ):
        stream = await connect(port, source=HERE)
        await stream.send_all(raw)
        await drain(stream)


async def drain(stream: trio.SocketStream) -> None:
    """Read to the end."""
    while await stream.receive_some(1 << 20):
        pass
    reset(stream)
    raise EOFError


ATTACKS: dict[str, tuple[int, float, Attack]] = {
    "unread": (300, 0.002, unread),
    "heads": (60, 0, heads),
    "idle": (600, 0.002, idle),
    "packed": (50, 0, packed),
    "pieces": (50, 0, pieces),
    "resubscribe": (20, 0, resubscribe),
    "deep": (20, 0, deep),
    "lines": (20, 0, lines),
}

if __name__ == "__main__":
    # What is measured beside us is not to be our own use of the processor.
    os.nice(10)
    trio.run(many, int(sys.argv[2]), *ATTACKS[sys.argv[1]])
