"""Two daemons, one of which leads: whatever happens to them, numbers go on, and none is two
records.
"""

from collections.abc import Callable

import pytest
import trio
from trio.testing import MockClock

from tests.pair.world import TTL_S, Node, World


@pytest.fixture
async def world() -> World:
    """Where nobody runs yet."""
    return World()


async def until(good: Callable[[], object], within_s: float = 60.0) -> None:
    with trio.fail_after(within_s):
        while not good():  # noqa: ASYNC110
            await trio.sleep(0.05)


async def settled(world: World, nursery: trio.Nursery) -> tuple[Node, Node]:
    """One leads, the other one knows what it knows; the leader first."""
    nursery.start_soon(world.trade)
    for node in (world.a, world.b):
        nursery.start_soon(node.run)
    return await calm(world)


async def calm(world: World) -> tuple[Node, Node]:
    """The same, once it is so."""
    nodes = (world.a, world.b)

    def found() -> tuple[Node, Node] | None:
        lease = world.ledger.lease
        for leader, other in (nodes, nodes[::-1]):
            leads = lease is not None and lease.name == leader.name and leader.memory is not None
            if leads and other.memory is None and follows(other):
                return leader, other
        return None

    await until(found)
    pair = found()
    assert pair is not None
    return pair


def follows(node: Node) -> bool:
    """Whether it stands by and is near."""
    behind = None if node.standby is None else node.standby.figures()["behind"]
    return behind is not None and behind < 20


async def test_the_one_that_stands_by_goes_on_within_five_seconds_of_a_crash(
    world: World, nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    leader, other = await settled(world, nursery)
    await trio.sleep(20)
    leader.kill()
    killed_at = trio.current_time()
    await until(lambda: other.memory is not None)
    assert trio.current_time() - killed_at < 5
    seen = len(world.edge.ids)
    await until(lambda: len(world.edge.ids) > seen + 50)
    world.check()

    assert [len(found) for found in world.edge.epochs.values()] == [1, 1]


async def test_an_orderly_stop_gives_the_lease_up_at_once(
    world: World, nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    leader, other = await settled(world, nursery)
    leader.stop()
    stopped_at = trio.current_time()
    await until(lambda: other.memory is not None)
    assert trio.current_time() - stopped_at < 1
    world.check()

    assert [len(found) for found in world.edge.epochs.values()] == [1, 1]


async def test_who_was_killed_comes_back_stands_by_and_leads_again(
    world: World, nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    leader, other = await settled(world, nursery)
    for _ in range(4):
        leader.kill()
        await until(lambda: other.memory is not None)  # noqa: B023
        nursery.start_soon(leader.run)
        await until(lambda: follows(leader))  # noqa: B023
        assert leader.replica is not None
        leader, other = other, leader
        world.check()

    assert [len(found) for found in world.edge.epochs.values()] == [1, 1]


async def test_who_is_cut_off_publishes_nothing_that_the_other_does_not_know(
    world: World, nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    leader, other = await settled(world, nursery)
    leader.link.cut = True
    await until(lambda: other.memory is not None)
    assert leader.memory is not None, "it cannot know"
    assert leader.lead is not None
    assert "lease ran out" in (leader.lead.trouble() or "")
    await trio.sleep(5)
    leader.link.cut = False
    await until(lambda: leader.standby is not None)
    await until(lambda: follows(leader))
    world.check()

    assert leader.ends == ["another daemon leads"]
    assert not leader.store.led
    assert [len(found) for found in world.edge.epochs.values()] == [1, 1]


async def test_without_the_ledger_the_leader_goes_on_and_leads_again_when_it_is_back(
    world: World, nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    leader, other = await settled(world, nursery)
    world.ledger.away = True
    await trio.sleep(30)
    assert (leader.led, other.led) == (1, 0)
    assert other.standby is not None
    assert other.standby.figures()["behind"] is None, "which nobody knows at the moment"
    silent_s = trio.current_time() - world.edge.last_at
    assert silent_s > 25, "what the standby could not know was published"
    world.ledger.away = False
    seen = len(world.edge.ids)
    await until(lambda: len(world.edge.ids) > seen + 200)
    await until(lambda: follows(other))
    assert (leader.led, other.led) == (1, 0)
    world.check()

    assert leader.ends == []


async def test_a_ledger_that_lost_all_it_had_changes_nothing(
    world: World, nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    leader, other = await settled(world, nursery)
    world.ledger.away = True
    await trio.sleep(2)
    world.ledger.forget_all()
    world.ledger.away = False
    await until(lambda: follows(other))
    await trio.sleep(10)
    assert (leader.led, other.led) == (1, 0)
    leader.kill()
    await until(lambda: other.memory is not None)
    await trio.sleep(5)
    world.check()

    assert [len(found) for found in world.edge.epochs.values()] == [1, 1]


async def test_of_two_that_were_down_the_one_with_the_newest_state_leads(
    world: World, nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    leader, other = await settled(world, nursery)
    other.kill()
    await trio.sleep(10)
    leader.kill()
    nursery.start_soon(other.run)
    await trio.sleep(30)
    assert other.memory is None
    assert other.standby is not None
    assert "does not know frame" in (other.standby.problem() or "")
    nursery.start_soon(leader.run)
    await until(lambda: leader.memory is not None)
    await until(lambda: follows(other))
    world.check()

    assert [len(found) for found in world.edge.epochs.values()] == [1, 1]


async def test_who_waited_in_vain_for_one_that_knows_all_begins_new_epochs(
    autojump_clock: MockClock,
) -> None:
    world = World(patience_s=120)
    async with trio.open_nursery() as nursery:
        leader, other = await settled(world, nursery)
        other.kill()
        await trio.sleep(10)
        leader.kill()
        killed_at = trio.current_time()
        nursery.start_soon(other.run)
        await until(lambda: other.memory is not None, 200)
        assert 120 <= trio.current_time() - killed_at < 126
        nursery.start_soon(leader.run)
        await until(lambda: follows(leader))
        await until(lambda: all(len(found) == 2 for found in world.edge.epochs.values()))
        nursery.cancel_scope.cancel()

    assert other.anew == ["nobody leads for 120s who knows all that there was"]
    assert leader.anew == ["there is nothing to go on with"]
    assert all(len(set(found)) == 2 for found in world.edge.epochs.values())


async def test_two_that_have_nothing_begin_soon(
    world: World, nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    nursery.start_soon(world.a.run)
    nursery.start_soon(world.b.run)
    await until(lambda: world.leader is not None)
    assert trio.current_time() < 3 * TTL_S


async def test_who_led_alone_goes_before_who_has_nothing(
    world: World, nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    nursery.start_soon(world.trade)
    nursery.start_soon(world.a.run)
    await until(lambda: len(world.edge.ids) > 100)
    world.a.stop()
    await trio.sleep(1)
    world.ledger.forget_all()
    nursery.start_soon(world.b.run)
    await trio.sleep(1)
    nursery.start_soon(world.a.run)
    await until(lambda: world.leader is not None)
    assert world.leader is world.a


@pytest.mark.parametrize("seed", range(4))
async def test_whatever_befalls_them_numbers_go_on(seed: int, autojump_clock: MockClock) -> None:
    """Killed at any frame, stopped, cut off, the ledger away, slow or emptied, one after the other;
    only never both gone while one of them knows less.
    """
    world = World(seed)
    random = world.random
    async with trio.open_nursery() as nursery:
        leader, other = await settled(world, nursery)
        for _ in range(10):
            await trio.sleep(random.uniform(0, 4))
            world.ledger.delay_s = random.choice([0, 0, 0.001, 0.05])
            what = random.choice(["kill", "stop", "cut", "away", "empty", "kill other"])
            if what in ("kill", "stop"):
                getattr(leader, what)()
                await until(lambda: other.memory is not None)  # noqa: B023
                await trio.sleep(random.uniform(0, 3))
                nursery.start_soon(leader.run)
            elif what == "kill other":
                other.kill()
                await trio.sleep(random.uniform(0, 3))
                nursery.start_soon(other.run)
            elif what == "cut":
                leader.link.cut = True
                await trio.sleep(random.uniform(0, 8))
                leader.link.cut = False
            else:
                world.ledger.away = True
                await trio.sleep(random.uniform(0, 8))
                if what == "empty":
                    world.ledger.forget_all()
                world.ledger.away = False
            await trio.sleep(2)
            leader, other = await calm(world)
            world.check()
        seen = len(world.edge.ids)
        await until(lambda: len(world.edge.ids) > seen + 50)
        nursery.cancel_scope.cancel()

    assert [len(found) for found in world.edge.epochs.values()] == [1, 1]
    assert world.edge.ids == set(range(1, max(world.edge.ids) + 1)), "an order is missing"
