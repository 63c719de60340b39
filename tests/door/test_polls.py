"""Answers to polls: prepared once for all who ask the same, and true while they are kept."""

import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import pytest
import trio
from attrs import field, frozen
from hypothesis import given, settings
from hypothesis import strategies as st
from trio.testing import MockClock

from flowd import testing
from flowd.door.polls import FEW_RECORDS, LOOK_AT_ONCE, Query, newest
from flowd.door.turns import WAITING_MAX
from flowd.plugin import (
    Asked,
    BadRequest,
    Batch,
    Feed,
    Gap,
    Hot,
    Position,
    Record,
    Sink,
    Source,
    Tail,
)
from flowd.values import filters


@frozen
class Config:
    pass


@frozen
class Tick:
    price: int


@frozen
class Broken:
    """A sink's `Hot`, whose parts fail when told to."""

    fails: set[str] = field(factory=set)
    rendered: list[int] = field(factory=list)

    def hot(self, config: Config) -> Hot:
        return Hot(
            "/hot/{stream}",
            self.render,
            prepare=self.prepare,
            tail=self.tail,
            instead=self.instead,
        )

    def _maybe(self, what: str) -> None:
        if what in self.fails:
            raise RuntimeError(f"{what} fails")

    def prepare(self, record: Record[Any]) -> None:
        self._maybe("prepare")

    def render(self, batch: Batch[Any]) -> bytes:
        self._maybe("render")
        self.rendered.append(batch.position.seq)
        return b"[%d," % len(batch.records)

    def tail(self, streams: Any, now_ms: int) -> Tail:
        self._maybe("tail")
        return Tail(self.ending)

    def ending(self) -> bytes:
        self._maybe("tail's body")
        return b"0]"

    def instead(self, query: Any, streams: Any, now_ms: int) -> bytes | None:
        self._maybe("instead")
        if query.get("refuse"):
            raise BadRequest("not this", parameter="refuse")
        return None


async def idle(config: Config, feed: Feed[Tick]) -> None:
    await trio.sleep_forever()


def plain(config: Config) -> Hot:
    return Hot("/plain/{stream}", lambda batch: b"%d" % len(batch.records))


@asynccontextmanager
async def serving(
    broken: Broken | None = None, more: str = "", **how: Any
) -> AsyncGenerator[testing.Daemon, None]:
    kinds = SimpleNamespace(
        flowd_sources=lambda: [Source("idle", idle, Config, record=Tick)],
        flowd_sinks=lambda: [
            Sink("broken", Config, hot=(broken or Broken()).hot),
            Sink("plain", Config, hot=plain),
        ],
    )
    config = f"""
        [sources.ticks]
        kind = "idle"
        {more}
        [sinks.broken]
        kind = "broken"
        [sinks.plain]
        kind = "plain"
    """
    async with testing.daemon(config, registry=testing.registry(kinds), **how) as daemon:
        yield daemon


def fill(daemon: testing.Daemon, count: int = 1, **how: Any) -> None:
    for number in range(count):
        daemon.streams["ticks"].append(Tick(number), **how)


# -- turns


async def test_who_asks_for_the_newest_few_waits_for_nobody_who_asks_for_much(
    autojump_clock: MockClock,
) -> None:
    async with serving() as daemon:
        fill(daemon, 2 * FEW_RECORDS)
        daemon.door.polls._turns._waiting["203.0.113.7"] = WAITING_MAX
        few = await daemon.get("/plain/ticks?limit=20")
        much = await daemon.get(f"/plain/ticks?limit={FEW_RECORDS + 1}")

    assert (few.status, few.body) == (200, b"20")
    assert much.status == 503


# -- a sink that fails


@pytest.mark.parametrize("what", ["prepare", "render", "tail", "tail's body", "instead"])
async def test_a_sink_that_fails_answers_500_and_nobody_else_notices(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture, what: str
) -> None:
    broken = Broken({what})

    async with serving(broken) as daemon:
        fill(daemon, 3)
        answers = [await daemon.get("/hot/ticks") for _ in range(5)]
        other = await daemon.get("/plain/ticks")
        broken.fails.clear()
        mended = await daemon.get("/hot/ticks")

    assert {answer.status for answer in answers} == {500}
    assert answers[0].json()["error"]["code"] == "INTERNAL_ERROR"
    assert (other.status, other.body) == (200, b"3")
    assert (mended.status, mended.body) == (200, b"[3,0]")
    assert caplog.text.count(f"a sink's {what} failed") == 1


async def test_a_sink_may_refuse_what_a_poll_asks_for(autojump_clock: MockClock) -> None:
    async with serving() as daemon:
        answer = await daemon.get("/hot/ticks?refuse=1")

    assert (answer.status, answer.json()["error"]["message"]) == (400, "not this")


# -- prepared once


async def test_who_asks_while_a_stream_moves_shares_what_is_prepared(
    autojump_clock: MockClock,
) -> None:
    broken = Broken()
    bodies: list[bytes] = []

    async with serving(broken) as daemon, trio.open_nursery() as nursery:
        fill(daemon, 5000)

        async def poll() -> None:
            bodies.append((await daemon.get("/hot/ticks")).body)

        for _ in range(40):
            nursery.start_soon(poll)
        for _ in range(100):
            fill(daemon)
            await trio.lowlevel.checkpoint()

    assert len(bodies) == 40
    assert len(broken.rendered) < 10


async def test_an_answer_is_as_new_as_the_question(autojump_clock: MockClock) -> None:
    async with serving() as daemon:
        bodies = []
        for _ in range(20):
            fill(daemon)
            bodies.append((await daemon.get("/plain/ticks")).body)

    assert bodies == [b"%d" % number for number in range(1, 21)]


# -- kept for as long as it is true


async def test_what_has_aged_out_is_served_no_more(autojump_clock: MockClock) -> None:
    async with serving(more='retain = "10s"') as daemon:
        fill(daemon, 3)
        before = await daemon.get("/plain/ticks")
        same = await daemon.get("/plain/ticks", {"If-None-Match": before.headers["etag"]})
        await trio.sleep(60)
        after = await daemon.get("/plain/ticks", {"If-None-Match": before.headers["etag"]})

    assert (before.body, same.status) == (b"3", 304)
    assert (after.status, after.body) == (200, b"0")


async def test_what_was_forgotten_is_served_no_more(autojump_clock: MockClock) -> None:
    async with serving() as daemon:
        fill(daemon, key="a")
        fill(daemon, key="b")
        before = await daemon.get("/plain/ticks")
        daemon.streams["ticks"].forget("a")
        after = await daemon.get("/plain/ticks", {"If-None-Match": before.headers["etag"]})

    assert before.body == b"2"
    assert (after.status, after.body) == (200, b"1")


async def test_an_etag_of_a_history_is_its_position(autojump_clock: MockClock) -> None:
    async with serving(more="retain = 5") as daemon:
        fill(daemon, 20)
        answer = await daemon.get("/plain/ticks")
        head = daemon.streams["ticks"].head

    assert answer.headers["etag"] == f'"{head}"'


@pytest.mark.parametrize("more", ["", 'retain = "1h"'])
async def test_an_etag_still_fits_after_a_restart(autojump_clock: MockClock, more: str) -> None:
    store = testing.MemoryStore()

    async with serving(more=more, store=store) as daemon:
        fill(daemon, key="a")
        fill(daemon, key="b")
        daemon.streams["ticks"].forget("a")
        before = await daemon.get("/plain/ticks")
    async with serving(more=more, store=store) as daemon:
        after = await daemon.get("/plain/ticks", {"If-None-Match": before.headers["etag"]})

    assert after.status == 304


# -- a filter that has to look at everything


class Looks(trio.abc.Instrument):
    """A filter that finds nothing, and how many records it looks at in one step."""

    def __init__(self) -> None:
        self.now = self.most = 0
        self.filter = filters.Filter((("price", ("none",)),), self.look)

    def look(self, value: Any) -> bool:
        self.now += 1
        return False

    def after_task_step(self, task: Any) -> None:
        self.most, self.now = max(self.most, self.now), 0


async def test_a_filter_that_finds_nothing_lets_others_run(autojump_clock: MockClock) -> None:
    stream = testing.stream("ticks", map(Tick, range(60_000)), retain=60_000)
    looks = Looks()
    trio.lowlevel.add_instrument(looks)

    batch = await newest(stream, Query(looks.filter, None, 1))

    assert (batch.records, str(batch.position), batch.first) == ([], "test.60000", True)
    assert 0 < looks.most <= LOOK_AT_ONCE + 1


async def test_what_falls_off_while_it_looks_is_part_of_the_gap(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    stream = testing.stream("ticks", map(Tick, range(20_000)), retain=20_000)
    even = filters.Filter((("price", ("even",)),), lambda tick: tick.price % 2 == 0)

    async def go_on() -> None:
        for price in range(20_000, 32_000):
            stream.append(Tick(price))
        await trio.lowlevel.checkpoint()

    nursery.start_soon(go_on)
    batch = await newest(stream, Query(even, Position("test", 0), None))

    assert batch.gap == Gap(1, 12_000)
    assert [record.seq for record in batch.records] == [*range(12_001, 32_001, 2)]


async def test_a_key_that_changes_while_it_looks_is_there_once(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    stream = testing.stream("ticks", retain=20_000)
    for price in range(12_000):
        stream.append(Tick(price), key=f"k{price}")

    async def go_on() -> None:
        for price in (0, 11_999):
            stream.append(Tick(price + 50_000), key=f"k{price}")
        await trio.lowlevel.checkpoint()

    nursery.start_soon(go_on)
    batch = await newest(stream, Query(filters.ALL, None, None))

    keys = [record.key for record in batch.records]
    assert len(keys) == len(set(keys)) == 12_000
    assert batch.position == stream.head


@given(st.integers(0, 12), st.none() | st.integers(0, 12), st.none() | st.integers(1, 12))
@settings(deadline=None)
async def test_the_newest_are_told_with_a_gap_for_what_is_left_out(
    count: int, after: int | None, limit: int | None
) -> None:
    stream = testing.stream("ticks", map(Tick, range(count)), retain=8)
    place = None if after is None else Position("test", after)

    batch = await newest(stream, Query(filters.ALL, place, limit))

    whole = stream.cursor(place).read()
    seqs = [record.seq for record in whole.records]
    told = [record.seq for record in batch.records]
    assert told == seqs[-limit if limit else 0 :]
    assert (batch.first, batch.reset, batch.position) == (whole.first, whole.reset, whole.position)
    if batch.first:
        assert batch.gap is None
    else:
        missed = 0 if batch.gap is None else batch.gap.last - batch.gap.first + 1
        assert after is not None
        assert missed + len(told) == count - after


# -- what is arranged as it is asked for


def arranged(config: Config) -> list[Hot]:
    def prices(batch: Batch[Any], asked: Asked) -> bytes:
        found = sorted(record.value.price for record in batch.records)
        if asked.options["order"] == "desc":
            found.reverse()
        return json.dumps(found[: asked.limit]).encode()

    def named(query: Any, streams: Any, now_ms: int) -> Tail | None:
        return Tail(b"one", "one") if query["price"] == "1" else None

    return [
        Hot("/sorted", prices, stream="ticks", options={"order": ("asc", "desc")}, limit=2),
        Hot("/of/{min_price}", plain(config).render, stream="ticks"),
        Hot("/named/{price}", plain(config).render, stream="ticks", instead=named),
        Hot("/slowly/{price}", plain(config).render, stream="ticks", instead=slowly),
    ]


async def slowly(query: Any, streams: Any, now_ms: int) -> Tail | None:
    await trio.sleep(1)
    if query["price"] == "0":
        raise BadRequest("not this", parameter="price")
    if query["price"] == "2":
        raise RuntimeError("fails before")

    def body() -> bytes:
        if query["price"] == "3":
            raise RuntimeError("fails after")
        made.append(query["price"])
        return b"made"

    return Tail(body, "same")


made: list[str] = []


@asynccontextmanager
async def arranging() -> AsyncGenerator[testing.Daemon, None]:
    kinds = SimpleNamespace(
        flowd_sources=lambda: [Source("idle", idle, Config, record=Tick)],
        flowd_sinks=lambda: [Sink("arranged", Config, hot=arranged)],
    )
    config = '[sources.ticks]\nkind = "idle"\n[sinks.arranged]\nkind = "arranged"\n'
    async with testing.daemon(config, registry=testing.registry(kinds)) as daemon:
        fill(daemon, 5)
        yield daemon


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("", [0, 1]),
        ("?order=desc", [4, 3]),
        ("?order=desc&limit=1", [4]),
        ("?min_price=2", [2, 3]),
    ],
)
async def test_a_sink_arranges_all_and_cuts_by_itself(
    query: str, found: list[int], autojump_clock: MockClock
) -> None:
    async with arranging() as daemon:
        answer = await daemon.get(f"/sorted{query}")

    assert answer.json() == found


async def test_an_option_that_there_is_not_is_a_400_that_lists_them(
    autojump_clock: MockClock,
) -> None:
    async with arranging() as daemon:
        answer = await daemon.get("/sorted?order=random")

    assert answer.status == 400
    assert answer.json()["error"]["allowed"] == ["asc", "desc"]


async def test_a_name_in_the_path_is_a_filter(autojump_clock: MockClock) -> None:
    async with arranging() as daemon:
        answer = await daemon.get("/of/3")

    assert answer.body == b"2"


async def test_what_is_answered_instead_may_have_an_etag(autojump_clock: MockClock) -> None:
    async with arranging() as daemon:
        first = await daemon.get("/named/1")
        again = await daemon.get("/named/1", headers={"If-None-Match": first.headers["etag"]})
        other = await daemon.get("/named/2")

    assert (first.body, first.headers["etag"], again.status) == (b"one", '"one"', 304)
    assert other.status == 400


async def test_a_body_is_made_only_for_who_has_not_got_it(autojump_clock: MockClock) -> None:
    made.clear()

    async with arranging() as daemon:
        first = await daemon.get("/slowly/1")
        again = await daemon.get("/slowly/1", headers={"If-None-Match": first.headers["etag"]})

    assert (first.body, again.status, made) == (b"made", 304, ["1"])


@pytest.mark.parametrize(("price", "status"), [(0, 400), (2, 500), (3, 500)])
async def test_what_takes_its_time_may_refuse_and_may_fail(
    autojump_clock: MockClock, price: int, status: int
) -> None:
    async with arranging() as daemon:
        answer = await daemon.get(f"/slowly/{price}")
        other = await daemon.get("/of/3")

    assert (answer.status, other.status) == (status, 200)
