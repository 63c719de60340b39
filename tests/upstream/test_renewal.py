"""A connection that is renewed while what upstream says is long under way."""

import logging
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import trio
import trio_websocket
from trio.testing import MockClock

from flowd import testing
from flowd.upstream.feed import Feed
from flowd.upstream.reach import Reach
from flowd.upstream.renewal import LEAVE_S, LOST, Renewal, Session, here
from flowd.values.errors import UpstreamError
from tests.simulation.parts import Line


class Exchange:
    """Tells the time every second to whoever is connected. The line of the first one takes
    `late_s`, after the handshake.
    """

    def __init__(self, nursery: trio.Nursery, late_s: float) -> None:
        self.log: list[tuple[str, float]] = []
        self._late_s = late_s
        self._nursery = nursery

    async def dial(self, url: object) -> trio.abc.Stream:
        await trio.lowlevel.checkpoint()
        way: Any = SimpleNamespace(late_s=0)
        line = Line(way)
        self._nursery.start_soon(line.run)
        self._nursery.start_soon(self._serve, line.theirs, way)
        return line.ours

    async def _serve(self, stream: Any, way: Any) -> None:
        async with trio.open_nursery() as nursery:
            request = await trio_websocket.wrap_server_stream(nursery, stream)
            connection = await request.accept()
            self.log.append(("begins", trio.current_time()))
            await trio.sleep(0.5)  # for the answer to the handshake
            way.late_s, self._late_s = self._late_s, 0.0
            try:
                while True:
                    await connection.send_message(str(int(trio.current_time())))
                    await trio.sleep(1)
            except trio_websocket.ConnectionClosed:
                pass
            nursery.cancel_scope.cancel()


async def hear(exchange: Exchange, seconds: float, every_s: float, overlap_s: float) -> list[int]:
    stream = testing.stream("seconds", record=int)
    feed: Feed[int] = Feed(
        "seconds", stream, clock=testing.clock, dial=exchange.dial, table=lambda name, kind: stream
    )

    async def session(ready: Any) -> None:
        async with feed.websocket("ws://exchange.test/", silence_s=500) as upstream:
            try:
                async for text in upstream:
                    ready()
                    feed.publish(int(text), id=str(text))
            finally:
                exchange.log.append(("ends", trio.current_time()))

    with trio.move_on_after(seconds):
        await feed.renew(session, every_s=every_s, overlap_s=overlap_s)
    return [record.value for record in stream.after(0)]


@pytest.mark.parametrize("late_s", [0, 5, 20])
async def test_what_is_under_way_when_a_connection_is_renewed_still_comes(
    autojump_clock: MockClock, nursery: trio.Nursery, late_s: float
) -> None:
    exchange = Exchange(nursery, late_s)

    heard = await hear(exchange, 300, every_s=50, overlap_s=3)

    assert sorted(heard) == list(range(len(heard)))
    assert len(heard) > 200
    nursery.cancel_scope.cancel()


async def test_one_that_does_not_answer_a_goodbye_is_let_go_after_a_while(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    exchange = Exchange(nursery, late_s=LEAVE_S + 100)

    await hear(exchange, 400, every_s=60, overlap_s=3)

    began = [time for what, time in exchange.log if what == "begins"]
    ended = [time for what, time in exchange.log if what == "ends"]
    assert ended[0] == pytest.approx(began[1] + 3 + LEAVE_S, abs=2)
    nursery.cancel_scope.cancel()


class Backlog:
    """A feed with two sessions side by side: the old one has not brought all that it was told."""

    def __init__(self, end: Callable[[Session], None]) -> None:
        self.lost: list[tuple[str, int]] = []
        self.reach = Reach()
        self.renewal = Renewal(
            "orders",
            logging.getLogger("test"),
            testing.clock,
            self.reach,
            lambda reason, from_ms: self.lost.append((reason, from_ms)),
        )
        self.began: list[Session] = []
        self._end = end

    async def session(self, ready: Callable[[], None]) -> None:
        mine = here.get()
        assert mine is not None
        self.began.append(mine)
        ready()
        if len(self.began) == 1:
            self.renewal.told(testing.clock() - 1000, testing.clock())
            await trio.sleep(12)
            self._end(mine)
        else:
            self.renewal.told(testing.clock() + 1000, testing.clock())
        await trio.sleep_forever()

    def ends_s(self) -> float | None:
        ends_ms = self.reach.ends_ms(None)
        return None if ends_ms is None else (ends_ms - testing.START_MS) / 1000


def dies(session: Session) -> None:
    raise UpstreamError("connection lost")


def catches_up(session: Session) -> None:
    pass


async def test_data_ends_where_the_old_connection_has_come_to_while_both_live(
    autojump_clock: MockClock,
) -> None:
    feed = Backlog(catches_up)

    with trio.move_on_after(13):
        await feed.renewal.run(feed.session, every_s=10, overlap_s=5, retry_s=60)

    assert len(feed.began) == 2
    assert (feed.ends_s(), feed.lost) == (-1, [])


async def test_an_old_connection_that_dies_with_a_backlog_is_told_as_a_loss(
    autojump_clock: MockClock,
) -> None:
    feed = Backlog(dies)

    with trio.move_on_after(20):
        await feed.renewal.run(feed.session, every_s=10, overlap_s=5, retry_s=60)

    assert feed.lost == [(LOST, testing.START_MS - 1000)]
    assert feed.ends_s() == 11


async def test_an_old_connection_that_has_caught_up_may_die(autojump_clock: MockClock) -> None:
    feed = Backlog(dies)

    async def caught_up(ready: Callable[[], None]) -> None:
        with trio.move_on_after(11):
            await feed.session(ready)
        feed.renewal.told(testing.clock() + 500, testing.clock())
        await trio.sleep(1)
        raise UpstreamError("connection lost")

    with trio.move_on_after(20):
        await feed.renewal.run(caught_up, every_s=10, overlap_s=5, retry_s=60)

    assert feed.lost == []
