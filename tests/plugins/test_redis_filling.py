"""Streams of an edge as they are filled: several at once, each in its own order, and one that
cannot be read is no other one's trouble.
"""

from collections.abc import Mapping
from contextlib import contextmanager
from typing import Any

import pytest
import trio
from flowd_redis import copying
from flowd_redis.copying import Entries
from flowd_redis.filling import AGAIN_S, AT_ONCE

from flowd.plugin import Gap, UpstreamError
from tests.plugins.redis_kit import Shelf
from tests.plugins.test_redis_following import Edge, ingest, more, told

Clock = trio.testing.MockClock

PAGE_S = 1.0


class Slow(Shelf):
    """Each answer about one stream takes a second."""

    def __init__(self) -> None:
        super().__init__()
        self.now: dict[str, int] = {"page": 0, "table": 0}
        self.most = dict(self.now)

    async def page(self, stream: str, epoch: str, after: bytes) -> Entries:
        with self._counted("page"):
            await trio.sleep(PAGE_S)
            return await super().page(stream, epoch, after)

    async def table(self, stream: str, epoch: str) -> Mapping[bytes, bytes]:
        with self._counted("table"):
            await trio.sleep(PAGE_S)
            return await super().table(stream, epoch)

    @contextmanager
    def _counted(self, what: str) -> Any:
        self.now[what] += 1
        self.most[what] = max(self.most[what], self.now[what])
        yield
        self.now[what] -= 1


def filled(shelf: Shelf, name: str, values: int = 2, *, keys: int | None = None) -> Any:
    """A stream that is in Redis."""
    made = ingest(name, values, keys=keys)
    shelf.begin(name, table=keys is not None)
    shelf.carry(made)
    return made


async def test_several_streams_are_filled_at_once_but_not_all(
    autojump_clock: Clock, nursery: trio.Nursery
) -> None:
    shelf = Slow()
    streams = [filled(shelf, f"s{number:03}") for number in range(8 * AT_ONCE)]
    edge = Edge(shelf)
    nursery.start_soon(edge.follower().run)

    await trio.sleep(8 * PAGE_S + 0.5)

    assert shelf.most["page"] == AT_ONCE
    assert [told(edge.streams[one.name]) for one in streams] == [told(one) for one in streams]
    assert (edge.feed.tally.delivering, edge.problem, edge.figures["filling"]) == (True, None, 0)


async def test_an_edge_that_is_being_filled_says_so_and_follows_what_is(
    autojump_clock: Clock, nursery: trio.Nursery
) -> None:
    shelf = Slow()
    streams = [filled(shelf, f"s{number:03}", 6) for number in range(8 * AT_ONCE)]
    edge = Edge(shelf)
    nursery.start_soon(edge.follower().run)
    await trio.sleep(4 * PAGE_S + 0.5)  # Each takes two of them.
    first = next(one for one in streams if told(edge.streams[one.name]) == told(one))
    more(first, 3)
    shelf.carry(first, after=6)
    await trio.sleep(3 * PAGE_S)

    assert edge.problem == f"{3 * AT_ONCE} of {8 * AT_ONCE} streams are filled from Redis so far"
    assert edge.figures["filling"] == 5 * AT_ONCE
    assert edge.feed.peers.own.problem == edge.problem
    assert not edge.feed.tally.delivering
    assert told(edge.streams[first.name]) == told(first)
    # It takes longer than who is behind otherwise has, and is no more delivering for that.
    await trio.sleep(8 * PAGE_S)
    assert not edge.feed.tally.delivering
    await trio.sleep(2 * PAGE_S)
    assert (edge.feed.tally.delivering, edge.problem) == (True, None)


async def test_what_comes_while_a_stream_is_filled_is_here_once_and_in_order(
    autojump_clock: Clock, nursery: trio.Nursery
) -> None:
    shelf = Slow()
    streams = [filled(shelf, f"s{number:03}", 7) for number in range(2 * AT_ONCE)]
    streams.append(filled(shelf, "board", 9, keys=3))
    edge = Edge(shelf)
    nursery.start_soon(edge.follower().run)
    for _ in range(80):
        await trio.sleep(0.3)
        for one in streams:
            more(one, 1, 3 if one.name == "board" else None)
            shelf.carry(one, after=one.seq - 1)
    # It came faster than a page of three goes.
    assert edge.feed.tally.delivering
    await trio.sleep(10)

    assert [told(edge.streams[one.name]) for one in streams] == [told(one) for one in streams]
    assert (edge.lost, edge.problem) == ([], None)


async def test_gaps_of_streams_that_are_filled_together_are_each_its_own(
    autojump_clock: Clock, nursery: trio.Nursery
) -> None:
    shelf = Slow()
    streams = [filled(shelf, f"s{number}", 5) for number in range(AT_ONCE)]
    edge = Edge(shelf)
    with trio.move_on_after(10):
        await edge.follower().run()
    for number, one in enumerate(streams):
        more(one, 10)
        shelf.carry(one, after=5)
        shelf.trim(one.name, number % 9 + 1)
    nursery.start_soon(edge.follower().run)
    await trio.sleep(10)

    gaps = [edge.streams[one.name].read(5).gap for one in streams]
    assert gaps == [Gap(6, 15 - number % 9 - 1) for number in range(AT_ONCE)]
    assert sorted(edge.lost) == sorted(
        f"records {gap.first} to {gap.last} of {one.name} are missing"
        for one, gap in zip(streams, gaps, strict=True)
        if gap is not None
    )


@pytest.mark.parametrize("large", [False, True])
async def test_of_large_tables_one_is_held_at_a_time(
    large: bool, autojump_clock: Clock, nursery: trio.Nursery, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(copying, "LARGE_KEYS", 3 if large else 100)
    shelf = Slow()
    boards = [filled(shelf, f"board{number}", 9, keys=4) for number in range(3)]
    edge = Edge(shelf)
    nursery.start_soon(edge.follower().run)
    await trio.sleep(10)

    assert shelf.most["table"] == (1 if large else 3)
    assert [told(edge.streams[one.name]) for one in boards] == [told(one) for one in boards]


async def test_a_redis_that_fails_while_several_are_filled_is_one_failure(
    autojump_clock: Clock,
) -> None:
    shelf = Slow()
    for number in range(AT_ONCE):
        filled(shelf, f"s{number}")
    edge = Edge(shelf)
    shelf.error = UpstreamError("Redis is gone")

    with pytest.RaisesGroup(UpstreamError, flatten_subgroups=True) as caught:
        await edge.follower().run()

    assert str(caught.value.exceptions[0]) == "Redis is gone"


# -- one that cannot be read --


@pytest.mark.parametrize("begins", [False, True], ids=["followed", "filled"])
@pytest.mark.parametrize("what", ["hash", "entries", "table"])
async def test_a_key_in_the_way_of_one_stream_leaves_the_others_alone(
    what: str, begins: bool, autojump_clock: Clock, nursery: trio.Nursery
) -> None:
    shelf = Shelf()
    trades, board = filled(shelf, "trades", 5), filled(shelf, "board", 9, keys=3)
    edge = Edge(shelf)
    if begins:
        shelf.strange.add((what, "board"))
    nursery.start_soon(edge.follower().run)
    await trio.sleep(3)
    shelf.strange.add((what, "board"))
    more(trades, 4)
    shelf.carry(trades, after=5)
    await trio.sleep(2 * AGAIN_S)

    assert told(edge.streams["trades"]) == told(trades)
    assert edge.feed.tally.delivering
    # Of a table that is filled nobody reads the hash any more.
    unread = what == "table" and not begins
    assert edge.problem == (None if unread else f"board cannot be read: its {what} is a string")

    shelf.strange.clear()
    more(board, 4, 3)
    shelf.carry(board, after=9)
    await trio.sleep(2 * AGAIN_S)
    assert told(edge.streams["board"]) == told(board)
    assert (edge.problem, edge.lost) == (None, [])


async def test_of_several_that_cannot_be_read_one_is_told_and_how_many_more(
    autojump_clock: Clock, nursery: trio.Nursery
) -> None:
    shelf = Shelf()
    for name in ("a", "b", "c"):
        filled(shelf, name)
    edge = Edge(shelf)
    shelf.strange |= {("hash", "b"), ("entries", "c")}
    nursery.start_soon(edge.follower().run)
    await trio.sleep(3)

    assert edge.problem == "b cannot be read: its hash is a string (1 more cannot be read)"


async def test_a_table_of_which_keys_were_lost_waits_for_them_and_others_do_not(
    autojump_clock: Clock, nursery: trio.Nursery
) -> None:
    shelf = Shelf()
    trades, board = filled(shelf, "trades", 5), filled(shelf, "board", 9, keys=3)
    lost = shelf.kept["board"].table.popitem()
    edge = Edge(shelf)
    nursery.start_soon(edge.follower().run)
    await trio.sleep(3)

    assert told(edge.streams["trades"]) == told(trades)
    assert "its table has 2 keys, and should have 3" in str(edge.problem)
    shelf.kept["board"].table |= dict([lost])
    await trio.sleep(2 * AGAIN_S)
    assert told(edge.streams["board"]) == told(board)
    assert edge.problem is None


async def test_entries_that_were_taken_away_are_awaited_and_no_gap(
    autojump_clock: Clock, nursery: trio.Nursery
) -> None:
    shelf = Shelf()
    trades = filled(shelf, "trades", 5)
    entries, shelf.kept["trades"].entries = shelf.kept["trades"].entries, []
    shelf.lost.add("trades")
    edge = Edge(shelf)
    nursery.start_soon(edge.follower().run)
    await trio.sleep(3)

    assert edge.problem == (
        "Redis lost the entries of trades: the ingest daemon has to send them again"
    )
    shelf.lost.clear()
    shelf.kept["trades"].entries = entries
    await trio.sleep(2 * AGAIN_S)
    assert told(edge.streams["trades"]) == told(trades)
    assert (edge.problem, edge.lost) == (None, [])


async def test_who_cannot_read_a_stream_after_an_outage_does_not_say_that_all_has_come(
    autojump_clock: Clock, nursery: trio.Nursery
) -> None:
    shelf = Shelf()
    trades, orders = filled(shelf, "trades", 5), filled(shelf, "orders", 5)
    edge = Edge(shelf)
    with trio.move_on_after(5):
        await edge.follower().run()
    edge.feed.tally.delivering = False
    for one in (trades, orders):
        more(one, 7)
        shelf.carry(one, after=5)
    shelf.strange.add(("entries", "orders"))
    nursery.start_soon(edge.follower().run)
    await trio.sleep(3)

    assert edge.feed.tally.delivering
    assert told(edge.streams["trades"]) == told(trades)
    assert edge.recovered == []
