"""Answers on their way: counted once however many are sent them, and bounded."""

from typing import Any

import pytest
import trio
import trio.testing
from trio.testing import MockClock, wait_all_tasks_blocked

from flowd.door.outgoing import SEND_TIMEOUT_S, SLICE_BYTES, SMALL_BYTES, STALLED_S, Outgoing
from flowd.values.errors import BadRequest

BODY = 4 * SLICE_BYTES


class Pipe(trio.abc.SendStream):
    """Takes slices for as long as there is room."""

    def __init__(self, room: float = 0) -> None:
        self.taken: list[bytes | bytearray | memoryview] = []
        self.room = room
        self._changed = trio.lowlevel.ParkingLot()

    def takes(self, slices: float) -> None:
        self.room += slices
        self._changed.unpark_all()

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        await trio.lowlevel.checkpoint()
        while not self.room:
            await self._changed.park()
        self.room -= 1
        self.taken.append(data)

    async def wait_send_all_might_not_block(self) -> None:
        await trio.lowlevel.checkpoint()

    async def aclose(self) -> None:
        await trio.lowlevel.checkpoint()


async def lost(outgoing: Outgoing, pipe: trio.abc.SendStream, *parts: bytes) -> None:
    with pytest.raises(trio.BrokenResourceError):
        await outgoing.send(pipe, parts)


async def test_what_is_sent_arrives_and_counts_no_more(autojump_clock: MockClock) -> None:
    outgoing, pipe = Outgoing(10 * BODY), Pipe(float("inf"))

    await outgoing.send(pipe, [b"head", b"x" * BODY, b"tail"])

    assert b"".join(pipe.taken) == b"head" + b"x" * BODY + b"tail"
    assert outgoing.bytes == 0


async def test_a_body_counts_once_and_is_never_copied(autojump_clock: MockClock) -> None:
    outgoing, body = Outgoing(10 * BODY), bytes(BODY)
    pipes = [Pipe(2) for _ in range(100)]

    async with trio.open_nursery() as nursery:
        for pipe in pipes:
            nursery.start_soon(lost, outgoing, pipe, b"head", body)
        await wait_all_tasks_blocked()
        held = outgoing.bytes
        nursery.cancel_scope.cancel()

    assert held == BODY + len(b"head")
    views: list[Any] = [pipe.taken[1] for pipe in pipes]
    assert all(view.obj is body for view in views)


async def test_where_there_is_no_room_the_newest_is_refused(autojump_clock: MockClock) -> None:
    outgoing = Outgoing(2 * BODY)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(lost, outgoing, Pipe(), bytes(BODY))
        await wait_all_tasks_blocked()
        with pytest.raises(BadRequest) as caught:
            await outgoing.send(Pipe(), [bytes(BODY)])
        nursery.cancel_scope.cancel()

    assert (caught.value.status, caught.value.code) == (503, "BUSY")
    assert outgoing.refused == 1


async def test_who_asks_for_little_has_room_where_large_answers_have_none(
    autojump_clock: MockClock,
) -> None:
    outgoing, pipe = Outgoing(2 * BODY), Pipe(float("inf"))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(lost, outgoing, Pipe(), bytes(BODY + BODY // 2))
        await wait_all_tasks_blocked()
        with pytest.raises(BadRequest):
            outgoing.check_room(SMALL_BYTES + 1)
        await outgoing.send(pipe, [bytes(SMALL_BYTES)])
        nursery.cancel_scope.cancel()

    assert len(pipe.taken) == 1


async def test_who_is_stalled_makes_room_and_who_moves_does_not(autojump_clock: MockClock) -> None:
    outgoing, moving, stalled = Outgoing(4 * BODY), Pipe(1), Pipe(1)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(outgoing.send, moving, [b"m" * BODY])
        nursery.start_soon(lost, outgoing, stalled, b"s" * BODY)
        await trio.sleep(STALLED_S)
        moving.takes(1)
        await wait_all_tasks_blocked()
        other = Pipe(float("inf"))
        await outgoing.send(other, [b"o" * (BODY + BODY // 2)])
        moving.takes(2)

    assert sum(map(len, other.taken)) == BODY + BODY // 2
    assert len(moving.taken) == 4
    assert (outgoing.cut, outgoing.bytes) == (1, 0)


async def test_who_takes_too_long_over_an_answer_is_let_go(autojump_clock: MockClock) -> None:
    outgoing, began = Outgoing(10 * BODY), trio.current_time()

    await lost(outgoing, Pipe(), bytes(BODY))

    assert trio.current_time() - began == pytest.approx(SEND_TIMEOUT_S)
    assert outgoing.bytes == 0


async def test_what_a_socket_takes_at_once_waits_for_nobody() -> None:
    outgoing = Outgoing(10 * BODY)
    ours, theirs = trio.socket.socketpair()
    with ours, theirs:
        stream = trio.SocketStream(ours)

        with trio.testing.assert_no_checkpoints():
            await outgoing.send(stream, [b"head", b"body"])

        assert await theirs.recv(65536) == b"headbody"


async def test_what_a_socket_does_not_take_at_once_counts_until_it_has_taken_it() -> None:
    outgoing, parts = Outgoing(100 * BODY), [b"head", b"x" * (20 * BODY), b"tail"]
    ours, theirs = trio.socket.socketpair()
    with ours, theirs:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(outgoing.send, trio.SocketStream(ours), parts)
            await wait_all_tasks_blocked()
            held, came = outgoing.bytes, b""
            while len(came) < held:
                came += await theirs.recv(65536)

    assert came == b"".join(parts)
    assert held == len(came)
    assert outgoing.bytes == 0


async def test_a_socket_that_is_gone_is_a_broken_one() -> None:
    ours, theirs = trio.socket.socketpair()
    with ours:
        theirs.close()

        await lost(Outgoing(BODY), trio.SocketStream(ours), b"answer")
