"""A request that another process answers, over a real Unix socket."""

from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
import trio

from flowd.door.beyond import Beyond
from flowd.door.head import Heads
from flowd.door.visit import Visit, Waiting
from tests.edge.peers import WAIT_S

Process = Callable[[trio.SocketStream], Awaitable[None]]

ASKED = b"POST /lines HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nbo"
"""A request whose body has come in part."""
LARGE = 3_000_000


async def answered(folder: Path, process: Process | None, more: bytes = b"dy") -> bytes:
    """What a client gets to `ASKED` and `more` that it says then, up to the end."""
    path = folder / "ingest.sock"
    client, server = trio.socket.socketpair()
    async with trio.open_nursery() as nursery:
        if process is not None:
            listening = trio.socket.socket(trio.socket.AF_UNIX)
            await listening.bind(str(path))
            listening.listen()
            nursery.start_soon(trio.serve_listeners, process, [trio.SocketListener(listening)])
        visit = Visit(trio.SocketStream(server), Heads(1000), Waiting())
        asking = trio.SocketStream(client)
        await asking.send_all(ASKED)
        head = await visit.next_head()
        assert head is not None

        async def pass_on() -> None:
            await Beyond(path).answer(visit, head, "192.0.2.7")
            await visit.stream.aclose()

        nursery.start_soon(pass_on)
        if more:
            await asking.send_all(more)
        with trio.fail_after(WAIT_S):
            async with asking:
                found = b"".join([piece async for piece in asking])
        nursery.cancel_scope.cancel()
    return found


async def test_a_body_goes_there_and_an_answer_of_any_length_comes_back(tmp_path: Path) -> None:
    heard = bytearray()

    async def process(stream: trio.SocketStream) -> None:
        async with stream:
            while not heard.endswith(b"body"):
                heard.extend(await stream.receive_some())
            await stream.send_all(b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * LARGE)

    found = await answered(tmp_path, process)

    assert found == b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * LARGE
    assert b"X-Forwarded-For: 192.0.2.7\r\n" in heard
    assert heard.endswith(b"\r\n\r\nbody")


async def dies(stream: trio.SocketStream) -> None:
    await stream.receive_some()
    await stream.aclose()


@pytest.mark.parametrize("process", [None, dies])
async def test_who_gets_no_answer_is_told_so(process: Process | None, tmp_path: Path) -> None:
    found = await answered(tmp_path, process, more=b"")

    assert found.startswith(b"HTTP/1.1 503 ")
    assert b'"UNAVAILABLE"' in found
    assert b"Connection: close\r\n" in found


async def test_an_answer_that_breaks_off_is_no_other_answer(tmp_path: Path) -> None:
    async def process(stream: trio.SocketStream) -> None:
        await stream.receive_some()
        await stream.send_all(b"HTTP/1.1 200 OK\r\n\r\nhal")
        await stream.aclose()

    assert await answered(tmp_path, process) == b"HTTP/1.1 200 OK\r\n\r\nhal"
