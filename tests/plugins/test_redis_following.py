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
        self.away: list[tuple[str, int]] = []
        own: Stream[Any] = Stream("upstream", object, clock=testing.clock, epoch="e1")
        self.feed: Feed[Any] = Feed(
            "upstream",
            own,
            clock=testing.clock,
            dial=testing.upstream().dial,
            table=lambda name, record: own,
            on_lost=lambda reason, from_ms, to_ms: self.lost.append(reason),
            on_away=lambda *told: self.away.append(told),
            on_recovered=lambda *told: self.recovered.append(told),
            mirrored=self.streams,
            there={name: mirrored(kept.meta) for name, kept in shelf.kept.items()},
            left_out=left_out,
        )

    def follower(self, *chosen: str) -> Follower:
        shelf = self.shelf
        return Follower(shelf, self.feed, shelf, lambda names: names & set(chosen or names))

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
    edge.feed.tally.delivering = False  # As the daemon says of who fell.
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


async def test_an_edge_that_stays_behind_is_unwell(
    autojump_clock: Clock, nursery: trio.Nursery
) -> None:
    shelf, trades = Shelf(), ingest("trades", 5)
    shelf.begin("trades")
    edge = Edge(shelf)
    nursery.start_soon(edge.follower().run)
    await trio.sleep(1.5)  # Not just when it asks for news.
    shelf.held = True
    shelf.carry(trades)

    await trio.sleep(2)
    soon = edge.problem
    await trio.sleep(BEHIND_S)

    assert soon is None
    assert str(edge.problem).startswith("5 records behind the ingest")
    assert edge.figures["behind"] == 5

    shelf.held = False
    await trio.sleep(3)
    assert edge.problem is None
    assert told(edge.streams["trades"]) == told(trades)


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


@pytest.mark.parametrize("change", ["epoch", "streams", "protected", "record", "kind", "retain"])
async def test_an_ingest_that_is_another_one_begins_all_anew(
    change: str, autojump_clock: Clock
) -> None:
    shelf = Shelf()
    shelf.begin("trades")
    edge = Edge(shelf)
    others: dict[str, dict[str, Any]] = {
        "protected": {"protected": True},
        "record": {"record": "Trade"},
        "kind": {"kind": "trades"},
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
        "record": "record is 'Trade', not 'Order'",
        "kind": "kind is 'trades', not ''",
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


async def test_an_entry_of_somebody_else_does_not_lead_an_edge_astray(
    autojump_clock: Clock, nursery: trio.Nursery
) -> None:
    shelf, trades = Shelf(), ingest("trades", 5)
    shelf.begin("trades")
    shelf.carry(trades)
    edge = Edge(shelf)
    nursery.start_soon(edge.follower().run)
    await trio.sleep(2)
    strange = (b"1790000000000-0", {b"by": b"hand"})
    shelf.kept["trades"].entries.append(strange)
    await trio.sleep(2)
    shelf.kept["trades"].entries.remove(strange)
    more(trades, 4)
    shelf.carry(trades, after=5)
    await trio.sleep(3)

    assert told(edge.streams["trades"]) == told(trades)
    assert edge.problem is None


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


# -- the ingest daemon --


async def test_an_ingest_that_is_gone_is_an_outage_within_six_seconds(
    autojump_clock: Clock, nursery: trio.Nursery
) -> None:
    shelf, trades = Shelf(), ingest("trades", 5)
    shelf.begin("trades")
    shelf.carry(trades)
    edge = Edge(shelf)
    nursery.start_soon(edge.follower().run)
    await trio.sleep(20)
    assert edge.feed.tally.delivering
    shelf.silence()
    fell_ms = testing.clock()
    await trio.sleep(4.9)
    assert edge.problem is None
    await trio.sleep(1.2)

    assert not edge.feed.tally.delivering
    assert "the ingest daemon at http://one:4200/ was last heard of " in str(edge.problem)
    why, from_ms = edge.away[0]
    assert "Does it run, and does it reach Redis?" in why
    assert abs(from_ms - fell_ms) <= 10
    assert edge.feed.peers.figures()["lag_ms"] >= 5000
    assert edge.feed.peers.own.problem == edge.problem


async def test_one_that_comes_back_has_cost_nothing_but_time(
    autojump_clock: Clock, nursery: trio.Nursery
) -> None:
    shelf, trades = Shelf(), ingest("trades", 5)
    shelf.begin("trades")
    shelf.carry(trades)
    edge = Edge(shelf)
    nursery.start_soon(edge.follower().run)
    await trio.sleep(20)
    shelf.silence()
    fell_ms = testing.clock()
    await trio.sleep(90)
    forgotten = edge.problem
    more(trades, 7)
    shelf.carry(trades, after=5)
    shelf.silent_since = None
    await trio.sleep(5)

    assert "was last heard of" in str(forgotten)
    assert (edge.feed.tally.delivering, edge.problem) == (True, None)
    ((from_ms, to_ms, count),) = edge.recovered
    assert (count, edge.lost) == (7, [])
    assert abs(from_ms - fell_ms) <= 10
    assert to_ms >= fell_ms + 90_000


async def test_one_that_is_not_heard_of_and_publishes_is_not_gone(
    autojump_clock: Clock, nursery: trio.Nursery
) -> None:
    shelf, trades = Shelf(), ingest("trades", 5)
    shelf.begin("trades")
    shelf.carry(trades)
    shelf.silence()
    edge = Edge(shelf)
    nursery.start_soon(edge.follower().run)
    for _ in range(20):
        await trio.sleep(3)
        more(trades, 1)
        shelf.carry(trades, after=trades.seq - 1)

    assert (edge.feed.tally.delivering, edge.away) == (True, [])


async def test_an_edge_that_begins_where_nobody_publishes_does_not_deliver(
    autojump_clock: Clock, nursery: trio.Nursery
) -> None:
    shelf, trades = Shelf(), ingest("trades", 5)
    shelf.begin("trades")
    shelf.carry(trades)
    shelf.silent_since = -100.0
    edge = Edge(shelf)
    nursery.start_soon(edge.follower().run)
    await trio.sleep(3)
    assert (edge.feed.tally.delivering, edge.problem) == (False, None)
    await trio.sleep(3)

    assert str(edge.problem).startswith("no ingest daemon publishes at Redis: what is here is serv")
    assert told(edge.streams["trades"]) == told(trades)


async def test_an_ingest_that_can_send_nothing_is_told_with_its_reason(
    autojump_clock: Clock, nursery: trio.Nursery
) -> None:
    shelf, trades = Shelf(), ingest("trades", 5)
    shelf.begin("trades")
    shelf.carry(trades)
    edge = Edge(shelf)
    nursery.start_soon(edge.follower().run)
    await trio.sleep(10)
    well = shelf.ingest
    shelf.ingest = evolve(well, problem="its memory is full", lag_ms=4000, behind=9)
    await trio.sleep(10)
    soon = edge.problem
    shelf.ingest = evolve(well, problem="its memory is full", lag_ms=14_000, behind=9)
    await trio.sleep(10)
    stuck = edge.problem
    more(trades, 9)
    shelf.carry(trades, after=5)
    shelf.ingest = well
    await trio.sleep(3)

    assert soon is None
    assert stuck == "the ingest daemon at http://one:4200/ cannot send: its memory is full"
    assert len({from_ms for _, from_ms in edge.away[:1]}) == 1
    assert [count for _, _, count in edge.recovered] == [9]
    assert edge.problem is None


async def test_a_delay_is_told_by_one_clock(autojump_clock: Clock, nursery: trio.Nursery) -> None:
    shelf, trades = Shelf(), ingest("trades", 1)
    shelf.begin("trades")
    shelf.carry(trades)
    shelf.clock_ms, shelf.ahead_ms = 1_000_000, 1_000_000 - 250
    edge = Edge(shelf)
    nursery.start_soon(edge.follower().run)
    await trio.sleep(5)
    for _ in range(30):
        more(trades, 1)
        await trio.sleep(1.3)
        shelf.carry(trades, after=trades.seq - 1)
    await trio.sleep(2)

    # Two seconds at most until it is asked for, and 1300 - 250 ms of the difference.
    assert edge.figures["clock_ms"] == 250
    assert 1000 <= edge.figures["delay_p50_ms"] <= 2100
    assert edge.figures["delay_p50_ms"] <= edge.figures["delay_p99_ms"]
    assert edge.feed.peers.figures()["lag_ms"] == edge.figures["delay_ms"]
    await trio.sleep(90)
    assert edge.figures["delay_p99_ms"] == 0


async def test_an_edge_tells_what_it_is(autojump_clock: Clock, nursery: trio.Nursery) -> None:
    shelf = Shelf()
    shelf.begin("trades")
    edge = Edge(shelf)
    nursery.start_soon(edge.follower().run)
    await trio.sleep(1)

    figures = edge.feed.peers.figures()
    assert (figures["role"], figures["behind"], figures["lag_ms"]) == ("edge", 0, 0)
