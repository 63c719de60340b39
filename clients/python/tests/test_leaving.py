"""Who stops, is cancelled or fails leaves no connection, and may go on later."""

from collections.abc import Awaitable, Callable

import anyio
import pytest
from flowd_client import connect, follow

from tests.edge.exchange import Exchange

from .conftest import Daemon

pytestmark = pytest.mark.edge

Make = Callable[..., Daemon]
Act = Callable[[], Awaitable[None]]


@pytest.fixture(params=["trio", "asyncio"])
def run(request: pytest.FixtureRequest) -> Callable[[Act], None]:
    """Runs an async function to its end."""
    return lambda act: anyio.run(act, backend=request.param)


def test_a_loop_that_is_left_closes_and_the_next_one_goes_on(
    daemon: Make, exchange: Exchange
) -> None:
    running = daemon()
    running.reached(exchange.say(5)[-1])
    following = follow(running.url, "orders")

    for batch in following:
        assert batch.records[-1].seq == 5
        break
    running.settled(live=0)
    running.reached(exchange.say(1)[-1])
    again = next(iter(following))

    assert following.status.state == "disconnected"
    assert [record.seq for record in again.records] == [6]
    assert not again.first
    running.settled(live=0)


def test_a_loop_that_raises_closes(daemon: Make) -> None:
    running = daemon()

    with pytest.raises(ZeroDivisionError):
        [1 / 0 for _ in follow(running.url, "orders")]

    running.settled(live=0)


def test_a_wait_that_is_cancelled_closes_and_the_next_one_goes_on(
    run: Callable[[Act], None], daemon: Make, exchange: Exchange
) -> None:
    running = daemon()
    running.reached(exchange.say(5)[-1])

    async def act() -> None:
        async with connect(running.url) as flowd:
            following = flowd.follow("orders")
            first = await anext(following)
            assert following.status.state == "connected"
            with anyio.move_on_after(0.2) as scope:
                await anext(following)
            assert scope.cancelled_caught
            assert following.status.state == "disconnected"
            await anyio.to_thread.run_sync(lambda: running.settled(live=0))
            exchange.say(1)
            second = await anext(following)

        assert [record.seq for record in first.records] == [1, 2, 3, 4, 5]
        assert [record.seq for record in second.records] == [6]
        assert following.position == second.position

    run(act)


def test_the_end_of_the_block_closes_what_is_followed(
    run: Callable[[Act], None], daemon: Make, exchange: Exchange
) -> None:
    running = daemon()
    running.reached(exchange.say(5)[-1])

    async def act() -> None:
        async with connect(running.url) as flowd:
            orders, outages = flowd.follow("orders"), flowd.follow("outages")
            assert (await anext(orders)).first
            assert (await anext(outages)).first
            await anyio.to_thread.run_sync(lambda: running.settled(live=2))
        await anyio.to_thread.run_sync(lambda: running.settled(live=0))

    run(act)


def test_many_streams_are_followed_at_once(
    run: Callable[[Act], None], daemon: Make, exchange: Exchange
) -> None:
    running = daemon()
    running.reached(exchange.say(5)[-1])
    seen: list[int] = []

    async def act() -> None:
        async with connect(running.url) as flowd:

            async def one() -> None:
                batch = await anext(flowd.follow("orders"))
                seen.append(batch.records[-1].seq)

            async with anyio.create_task_group() as tasks:
                for _ in range(120):
                    tasks.start_soon(one)
            await anyio.to_thread.run_sync(lambda: running.settled(live=120))

    run(act)
    assert seen == [5] * 120
    running.settled(live=0)


def test_two_tasks_may_not_share_a_place(run: Callable[[Act], None], daemon: Make) -> None:
    running = daemon()

    async def act() -> None:
        async with connect(running.url) as flowd:
            following = flowd.follow("orders")
            await anext(following)
            async with anyio.create_task_group() as tasks:

                async def wait() -> None:
                    await anext(following)

                tasks.start_soon(wait)
                await anyio.wait_all_tasks_blocked()
                with pytest.raises(anyio.BusyResourceError, match="following this stream"):
                    await anext(following)
                tasks.cancel_scope.cancel()

    run(act)
