"""Whose answer is prepared next."""

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from flowd.door.turns import AT_ONCE, WAITING_HERE_MAX, WAITING_MAX, Turns
from flowd.values.errors import BadRequest


async def test_few_have_a_turn_at_the_same_time(autojump_clock: MockClock) -> None:
    turns, now, most = Turns(), 0, 0

    async def prepare(address: str) -> None:
        nonlocal now, most
        async with turns.turn(address):
            now += 1
            most = max(most, now)
            await trio.sleep(1)
            now -= 1

    async with trio.open_nursery() as nursery:
        for number in range(20):
            nursery.start_soon(prepare, f"192.0.2.{number}")

    assert most == AT_ONCE


async def test_who_asks_for_much_waits_behind_who_asks_for_little(
    autojump_clock: MockClock,
) -> None:
    turns, done = Turns(), list[str]()

    async def prepare(address: str) -> None:
        async with turns.turn(address):
            await trio.sleep(1)
            done.append(address)

    async with trio.open_nursery() as nursery:
        for _ in range(WAITING_HERE_MAX):
            nursery.start_soon(prepare, "192.0.2.1")
        await wait_all_tasks_blocked()
        for number in range(2, 5):
            nursery.start_soon(prepare, f"192.0.2.{number}")

    assert set(done[: 4 + AT_ONCE]) > {f"192.0.2.{number}" for number in range(2, 5)}


@pytest.mark.parametrize(
    ("address", "most"), [("192.0.2.1", WAITING_HERE_MAX), ("127.0.0.1", WAITING_MAX)]
)
async def test_whoever_would_wait_long_is_told_to_come_again(
    autojump_clock: MockClock, address: str, most: int
) -> None:
    turns = Turns()

    async def prepare() -> None:
        async with turns.turn(address):
            await trio.sleep_forever()

    async with trio.open_nursery() as nursery:
        for _ in range(most):
            nursery.start_soon(prepare)
        await wait_all_tasks_blocked()
        with pytest.raises(BadRequest) as caught, trio.fail_after(1):
            async with turns.turn(address):
                pass
        nursery.cancel_scope.cancel()

    assert (caught.value.status, caught.value.code) == (503, "BUSY")
    assert not turns._waiting
