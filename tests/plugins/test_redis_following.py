"""All streams of an edge together: followed, compared with what Redis says, and told about."""

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any

import pytest
import trio
from attrs import evolve, frozen
from flowd_redis.copying import Anew
from flowd_redis.following import BEHIND_S, Follower
from flowd_redis.layout import Meta, mirrored

from flowd import testing
from flowd.plugin import Feed, Gap, UpstreamError
from flowd.stream.held import Retain
from flowd.stream.log import Stream
from flowd.values.errors import unwrap
from tests.plugins.redis_kit import Shelf

Clock = trio.testing.MockClock


@frozen
class Order:
    name: str
    number: int = 0


def ingest(name: str, values: int = 0, *, keys: int | None = None) -> Stream[Any]:
    made: Stream[Any] = Stream(name, Order, clock=testing.clock, epoch="e1", retain=Retain(100))
    more(made, values, keys)
    return made


def more(stream: Stream[Any], values: int, keys: int | None = None) -> None:
    for _ in range(values):
        key = None if keys is None else f"k{stream.seq % keys}"
        stream.append(Order(stream.name, stream.seq), key=key)


class Edge:
    """The streams here, and who follows."""

    def __init__(self, shelf: Shelf, left_out: Mapping[str, str] = MappingProxyType({})) -> None:
        self.shelf = shelf
        self.streams = {
            name: Stream(name, Order, clock=testing.clock, epoch="e1", mirrored=True)
            for name in shelf.kept
        }
        self.recovered: list[tuple[int, int, int]] = []
        self.lost: list[str] = []
        own: Stream[Any] = Stream("upstream", object, clock=testing.clock, epoch="e1")
        self.feed: Feed[Any] = Feed(
            "upstream",
            own,
            clock=testing.clock,
            dial=testing.upstream().dial,
            table=lambda name, record: own,
            on_lost=lambda reason, from_ms, to_ms: self.lost.append(reason),
            on_recovered=lambda *told: self.recovered.append(told),
            mirrored=self.streams,
            there={name: mirrored(kept.meta) for name, kept in shelf.kept.items()},
            left_out=left_out,
        )

    def follower(self, *chosen: str) -> Follower:
        return Follower(self.shelf, self.feed, lambda names: names & set(chosen or names))

    @property
    def figures(self) -> Mapping[str, int]:
        return self.feed.tally.figures

    @property
    def problem(self) -> str | None:
        return self.feed.tally.problem


SLOW_S = 3.0


class SlowAnswers(Shelf):
    """What it says of all streams was so when it was asked."""

    async def metas(self, streams: Iterable[str]) -> dict[str, Meta | None]:
        found = await super().metas(streams)
        await trio.sleep(SLOW_S)
        return found


def told(stream: Stream[Any]) -> list[bytes]:
    return [record.json for record in stream.after(0)]


async def test_several_streams_are_followed_together(
    autojump_clock: Clock, nursery: trio.Nursery
) -> None:
    shelf = Shelf()
    trades, board = ingest("trades", 5), ingest("board", 9, keys=3)
    shelf.begin("trades")
    shelf.begin("board", table=True)
    shelf.carry(trades)
    shelf.carry(board)
    edge = Edge(shelf)

    nursery.start_soon(edge.follower().run)
    await trio.sleep(1)
    more(trades, 4)
    more(board, 4, keys=2)
    shelf.carry(trades, after=5)
    shelf.carry(board, after=9)
    await trio.sleep(3)

    assert told(edge.streams["trades"]) == told(trades)
    assert told(edge.streams["board"]) == told(board)
    assert edge.feed.tally.delivering
    assert (edge.figures["behind"], edge.figures["lag_ms"], edge.problem) == (0, 0, None)


async def test_a_second_life_that_lacks_nothing_says_so(
    autojump_clock: Clock, nursery: trio.Nursery
) -> None:
    shelf, trades = Shelf(), ingest("trades", 5)
    shelf.begin("trades")
    shelf.carry(trades)
    edge = Edge(shelf)
    shelf.error = None

    async def falls() -> None:
        await trio.sleep(5)
        shelf.error = UpstreamError("Redis is gone")

    nursery.start_soon(falls)
    with pytest.RaisesGroup(UpstreamError, flatten_subgroups=True, allow_unwrapped=True):
        await edge.follower().run()
    fell_ms = edge.feed.ends_ms
    shelf.error = None
    await trio.sleep(60)
    more(trades, 7)
    shelf.carry(trades, after=5)

    nursery.start_soon(edge.follower().run)
    await trio.sleep(1)

    assert told(edge.streams["trades"]) == told(trades)
    ((from_ms, to_ms, count),) = edge.recovered
    assert (from_ms, count) == (fell_ms, 7)
    assert to_ms >= testing.clock() - 2000


async def test_a_second_life_that_lacks_something_says_that(
    autojump_clock: Clock, nursery: trio.Nursery
) -> None:
    shelf, trades = Shelf(), ingest("trades", 5)
    shelf.begin("trades")
    shelf.carry(trades)
    edge = Edge(shelf)
    with trio.move_on_after(5):
        await edge.follower().run()
    more(trades, 7)
    shelf.carry(trades, after=5)
    shelf.trim("trades", 2)

    nursery.start_soon(edge.follower().run)
    await trio.sleep(1)

    assert edge.recovered == []
    assert edge.lost == ["records 6 to 10 of trades are missing"]
    assert edge.streams["trades"].read(5).gap == Gap(6, 10)


async def test_an_edge_that_stays_behind_is_unwell(autojump_clock: Clock) -> None:
    shelf, trades = Shelf(), ingest("trades", 5)
    shelf.begin("trades")
    edge = Edge(shelf)
    follower = edge.follower()
    await trio.sleep(1)
    shelf.carry(trades)
    metas, had = await shelf.metas(["trades"]), {"trades": 0}

    follower.look(metas, had)
    soon = edge.problem
    await trio.sleep(BEHIND_S)
    follower.look(metas, had)

    assert soon is None
    assert str(edge.problem).startswith("5 records behind the ingest")
    assert edge.figures["behind"] == 5

    await follower.copies["trades"].fill(shelf)
    follower.look(metas, {"trades": 5})
    assert edge.problem is None


async def test_what_comes_while_redis_is_asked_is_not_what_it_lost(
    autojump_clock: Clock, nursery: trio.Nursery
) -> None:
    shelf, trades = SlowAnswers(), ingest("trades", 5)
    shelf.begin("trades")
    shelf.carry(trades)
    edge = Edge(shelf)
    nursery.start_soon(edge.follower().run)
    await trio.sleep(SLOW_S / 2)
    more(trades, 4)
    shelf.carry(trades, after=5)
    await trio.sleep(SLOW_S)

    assert told(edge.streams["trades"]) == told(trades)
    assert edge.problem is None


async def test_redis_that_lost_its_data_is_told_until_it_has_it_again(
    autojump_clock: Clock, nursery: trio.Nursery
) -> None:
    shelf, trades, board = Shelf(), ingest("trades", 5), ingest("board", 6, keys=3)
    shelf.begin("trades")
    shelf.begin("board", table=True)
    shelf.carry(trades)
    shelf.carry(board)
    edge = Edge(shelf)
    nursery.start_soon(edge.follower().run)
    await trio.sleep(2)
    shelf.kept.clear()
    await trio.sleep(3)
    lacking = edge.problem
    board.forget("k1")  # While nobody could be told.
    more(trades, 2)
    for stream, table in ((trades, False), (board, True)):
        shelf.begin(stream.name, table=table)
        shelf.carry(stream)
    await trio.sleep(5)

    assert str(lacking).startswith("Redis lost what it had of")
    assert edge.problem is None
    assert told(edge.streams["trades"]) == told(trades)
    assert told(edge.streams["board"]) == told(board)
    assert edge.lost == []


@pytest.mark.parametrize("change", ["epoch", "streams", "protected", "record", "retain"])
async def test_an_ingest_that_is_another_one_begins_all_anew(
    change: str, autojump_clock: Clock
) -> None:
    shelf = Shelf()
    shelf.begin("trades")
    edge = Edge(shelf)
    others: dict[str, dict[str, Any]] = {
        "protected": {"protected": True},
        "record": {"record": "Trade"},
        "retain": {"retain": 9},
    }

    async def changes() -> None:
        await trio.sleep(5)
        trades = shelf.kept["trades"]
        if change == "epoch":
            shelf.begin("trades", epoch="e2")
        elif change == "streams":
            shelf.begin("more")
        else:
            trades.meta = evolve(trades.meta, **others[change])

    async def together() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(changes)
            nursery.start_soon(edge.follower().run)

    with pytest.raises(BaseExceptionGroup) as caught:
        await together()

    why = {
        "epoch": "epoch e2",
        "streams": "more streams now: more",
        "protected": "protected is True, not False",
        "record": "record is Trade, not Order",
        "retain": "retain is 9, not 5000",
    }
    assert isinstance(unwrap(caught.value), Anew)
    assert why[change] in str(unwrap(caught.value))


async def test_who_names_its_streams_does_not_mind_others(
    autojump_clock: Clock, nursery: trio.Nursery
) -> None:
    shelf = Shelf()
    shelf.begin("trades")
    edge = Edge(shelf)
    nursery.start_soon(edge.follower("trades").run)
    await trio.sleep(1)
    shelf.begin("more")
    await trio.sleep(5)

    assert edge.feed.tally.delivering


async def test_what_was_left_out_is_no_news(
    autojump_clock: Clock, nursery: trio.Nursery, caplog: pytest.LogCaptureFixture
) -> None:
    shelf = Shelf()
    shelf.begin("trades")
    edge = Edge(shelf, {"strange": "nobody knows it"})
    shelf.begin("strange")
    nursery.start_soon(edge.follower().run)
    await trio.sleep(5)

    assert edge.feed.tally.delivering
    assert (edge.figures["left_out"], edge.problem) == (1, None)
    assert "upstream: left out: nobody knows it" in caplog.text


async def test_a_hole_in_a_table_is_filled_while_it_is_followed(
    autojump_clock: Clock, nursery: trio.Nursery
) -> None:
    shelf, board = Shelf(), ingest("board", 6, keys=3)
    shelf.begin("board", table=True)
    shelf.carry(board)
    edge = Edge(shelf)
    nursery.start_soon(edge.follower().run)
    await trio.sleep(2)
    more(board, 20, keys=5)
    shelf.carry(board, after=6)
    shelf.trim("board", 2)
    await trio.sleep(3)

    assert told(edge.streams["board"]) == told(board)
