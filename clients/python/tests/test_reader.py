"""What a reader makes of bytes, of answers and of time, without any of the three."""

import zlib
from typing import Any

import pytest
from flowd_client.errors import BadAddress, FlowdError, Refused
from flowd_client.events import EVENT_MAX, Garbled
from flowd_client.reader import Reader
from flowd_client.values import Batch, Gap, Status
from flowd_client.wish import Wish

URL = "http://flowd.example"


class World:
    """A clock that stands still, and a reader."""

    def __init__(self, chance: float = 1.0, filters: Any = None, **wish: Any) -> None:
        self.now = 0.0
        self.told: list[Status] = []
        self.reader: Reader[Any] = Reader(
            Wish(URL, "orders", filters or {}, **wish),
            on_status=self.told.append,
            clock=lambda: self.now,
            wall=lambda: 1_790_000_000 + self.now,
            chance=lambda: chance,
        )

    def open(self) -> "World":
        self.reader.opened({"content-type": "text/event-stream; charset=utf-8"})
        return self

    def hears(self, data: bytes) -> list[Batch[Any]]:
        self.reader.heard(data)
        return self.taken()

    def taken(self) -> list[Batch[Any]]:
        found = []
        while (batch := self.reader.take()) is not None:
            found.append(batch)
        return found


def record(seq: int, epoch: str = "e") -> bytes:
    return b'id: %b.%d\ndata: {"seq":%d,"time_ms":1,"value":{"n":%d}}\n\n' % (
        *(epoch.encode(), seq),
        *(seq, seq),
    )


def gap(first: int, last: int) -> bytes:
    told = b'{"first":%d,"last":%d}' % (first, last)
    return b"event: gap\nid: e.%d\ndata: %b\n\n" % (last, told)


RESET = b'event: reset\ndata: {"position":"f.9"}\n\n'
QUIET = b": still here\n\n"


def seqs(batches: list[Batch[Any]]) -> list[int]:
    return [record.seq for batch in batches for record in batch.records]


def test_what_came_in_one_read_is_one_batch() -> None:
    world = World().open()

    (batch,) = world.hears(b"retry: 2000\n" + record(1) + record(2) + QUIET + record(4))

    assert seqs([batch]) == [1, 2, 4]
    assert batch.records[0].value == {"n": 1}
    assert (batch.position, batch.first, batch.gap, batch.reset) == ("e.4", True, None, False)


def test_bytes_may_be_cut_anywhere() -> None:
    said = record(1) + gap(2, 5) + QUIET + record(6) + RESET + record(9, "f")

    for size in (1, 2, 3, 7, 50):
        world = World().open()
        found = []
        for begin in range(0, len(said), size):
            found += world.hears(said[begin : begin + size])

        assert seqs(found) == [1, 6, 9]
        assert [batch.gap for batch in found if batch.gap] == [Gap(2, 5)]
        assert [batch.position for batch in found if batch.reset] == ["f.9"]


def test_a_gap_lies_before_the_records_of_its_batch() -> None:
    world = World(after="e.1").open()

    before, after = world.hears(record(2) + gap(3, 5) + record(6))

    assert (seqs([before]), before.gap) == ([2], None)
    assert (seqs([after]), after.gap, after.first) == ([6], Gap(3, 5), False)


def test_what_a_filter_hides_moves_the_position_and_tells_nothing() -> None:
    world = World().open()
    world.hears(record(1))

    found = world.hears(b"id: e.7\n\n")

    assert found == []
    assert world.reader.position == "e.7"
    assert world.reader.query() == {"after": "e.7"}


def test_the_position_is_of_what_was_handed_out() -> None:
    world = World().open()
    world.reader.heard(record(1) + gap(2, 3) + record(4))

    assert world.reader.position is None
    world.reader.take()
    assert world.reader.position == "e.1"
    world.reader.take()
    assert world.reader.position == "e.4"


def test_a_limit_is_for_the_beginning_only() -> None:
    world = World(limit=10, filters={"symbol": ["A", "B,C"], "taker": True})
    wanted = {"symbol": "A,B\\,C", "taker": "true"}

    assert world.reader.query() == {**wanted, "limit": "10"}
    world.open()
    world.reader.lost("before anything came")
    assert world.reader.query() == {**wanted, "limit": "10"}
    world.open().hears(record(1))
    assert world.reader.query() == {**wanted, "after": "e.1"}


def test_a_limit_beside_a_position_is_for_the_first_connection_only() -> None:
    world = World(limit=10, after="e.5")

    assert world.reader.query() == {"after": "e.5", "limit": "10"}
    world.open()
    world.reader.lost("with nothing new")
    assert world.reader.query() == {"after": "e.5"}


def test_a_reset_that_was_cut_off_is_told_once() -> None:
    world = World(after="e.5").open()

    assert world.hears(RESET) == []
    world.reader.lost("cut")
    assert world.reader.query() == {"after": "e.5"}
    (batch,) = world.open().hears(RESET + record(9, "f"))

    assert (batch.reset, batch.first, batch.position) == (True, True, "f.9")


@pytest.mark.parametrize(
    "garbage",
    [
        b"id: e.3\ndata: {\n\n",
        b"id: e.3\ndata: []\n\n",
        b'data: {"seq":3,"time_ms":1,"value":1}\n\n',
        b'id: 3\ndata: {"seq":3,"time_ms":1,"value":1}\n\n',
        b'id: e.4\ndata: {"seq":3,"time_ms":1,"value":1}\n\n',
        b"id: e.\xff\n\n",
        record(2),
        record(1),
        record(3, "another"),
        b"id: e.1\n\n",
        gap(1, 2),
        b"event: gap\nid: e.5\ndata: {}\n\n",
        b"event: gap\nid: e.5\ndata: nothing\n\n",
        b"event: warning\ndata: [1]\n\n",
    ],
)
def test_what_no_flowd_sends_is_garbled_and_what_came_before_counts(garbage: bytes) -> None:
    world = World().open()

    with pytest.raises(Garbled):
        world.reader.heard(record(1) + record(2) + garbage)

    assert seqs(world.taken()) == [1, 2]
    assert world.reader.query() == {"after": "e.2"}


def test_an_event_without_an_end_is_garbled() -> None:
    world = World().open()
    world.reader.heard(b"x" * EVENT_MAX)

    with pytest.raises(Garbled):
        world.reader.heard(b"x")


def test_what_is_packed_is_unpacked_as_it_comes() -> None:
    world = World()
    world.reader.opened({"content-type": "text/event-stream", "content-encoding": "gzip"})
    gzip = zlib.compressobj(wbits=zlib.MAX_WBITS | 16)

    for seq in (1, 2, 3):
        packed = gzip.compress(record(seq)) + gzip.flush(zlib.Z_SYNC_FLUSH)
        assert seqs(world.hears(packed[:5]) + world.hears(packed[5:])) == [seq]


def test_events_that_are_not_known_are_passed_over() -> None:
    assert seqs(World().open().hears(b"event: news\ndata: 1\n\n" + record(1))) == [1]


# -- waiting --


def pauses(world: World, count: int) -> list[float]:
    found = []
    for _ in range(count):
        world.reader.lost("refused")
        found.append(world.reader.pause_s())
        world.now += world.reader.pause_s()
    return found


def test_each_pause_is_twice_as_long_and_half_of_it_is_chance() -> None:
    assert pauses(World(chance=1.0), 8) == [0.5, 1, 2, 4, 8, 16, 30, 30]
    assert pauses(World(chance=0.0), 8) == [0.25, 0.5, 1, 2, 4, 8, 15, 15]


def test_a_connection_that_lasted_makes_the_next_pause_short() -> None:
    world = World()
    pauses(world, 6)

    world.open()
    world.now += 4
    assert pauses(world, 1) == [30]
    world.open()
    world.now += 5
    assert pauses(world, 1) == [0.5]


def test_retry_after_is_obeyed_and_the_pause_comes_on_top() -> None:
    world = World()

    world.reader.refused(
        503, {"retry-after": "5"}, b'{"error": {"code": "BUSY", "message": "too many"}}'
    )

    assert world.reader.pause_s() == 5.5
    assert world.told[-1].reason == "503: too many"
    assert world.told[-1].retry_in_s == 5.5


@pytest.mark.parametrize("said", ["", "soon", "-1", "Fri, 01 Jan 2027 00:00:00 GMT"])
def test_a_retry_after_that_is_no_number_is_none(said: str) -> None:
    world = World()

    world.reader.refused(502, {"retry-after": said}, b"<html>")

    assert world.reader.pause_s() == 0.5


def test_who_gave_up_a_connection_need_not_wait() -> None:
    world = World().open()

    world.reader.left()

    assert world.reader.pause_s() == 0
    assert world.told[-1].state == "disconnected"


# -- refusals --


@pytest.mark.parametrize("status", [301, 400, 401, 403, 404, 405])
def test_what_would_be_refused_again_is_raised(status: int) -> None:
    with pytest.raises(Refused) as told:
        World().reader.refused(status, {}, b"not JSON")

    assert told.value.status == status
    assert str(told.value).startswith(f"{URL}/sse/orders: answered with {status}; ")


def test_what_is_no_stream_of_events_is_no_flowd() -> None:
    with pytest.raises(BadAddress, match="answers with text/html"):
        World().reader.opened({"content-type": "text/html; charset=utf-8"})


@pytest.mark.parametrize("url", ["", "flowd", "ws://flowd/ws", "http://", "http://h:x"])
def test_an_address_that_is_none_is_refused_before_anything_is_asked(url: str) -> None:
    with pytest.raises(BadAddress, match="no address of a flowd"):
        Wish(url, "orders", {})


@pytest.mark.parametrize("token", ["", " x", "x\n", "Schlüssel"])
def test_a_token_that_no_header_may_have_is_refused(token: str) -> None:
    with pytest.raises(FlowdError, match="token"):
        Wish(URL, "orders", {}, token=token)


def test_the_path_may_be_another_one() -> None:
    assert Wish(URL + "/", "a b", {}).url == f"{URL}/sse/a%20b"
    assert Wish(URL + "/live/{stream}/now", "a/b", {}).url == f"{URL}/live/a%2Fb/now"


# -- status --


def test_slow_is_told_with_how_far_and_passes() -> None:
    world = World().open()
    warning = b'event: warning\ndata: {"code":"SLOW_CONSUMER","stream":"orders","behind":70}\n\n'

    world.now = 1
    world.hears(record(1) + warning + record(2))
    world.now = 10.9
    world.hears(QUIET)
    world.now = 11
    world.hears(QUIET)

    assert [(status.state, status.behind) for status in world.told] == [
        *[("connected", None), ("slow", 70), ("connected", None)]
    ]
    assert world.told[1].since_ms == 1_790_000_001_000


def test_a_goodbye_is_the_reason_of_the_end() -> None:
    world = World().open()

    world.hears(b'event: goodbye\nretry: 2000\ndata: {"reason":"the daemon is stopping"}\n\n')
    world.reader.lost("the connection ended")

    assert world.told[-1].reason == "the daemon is stopping"


def test_connections_after_the_first_are_counted() -> None:
    world = World()

    for _ in range(3):
        world.reader.lost("refused")
        world.open()

    assert [status.reconnects for status in world.told] == [0, 0, 0, 1, 1, 2]
