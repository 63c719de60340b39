"""What a sink may do with its live clients, and how their wishes are checked."""

import json
from collections.abc import Mapping
from typing import Any

import pytest
import trio
from attrs import frozen
from trio.testing import wait_all_tasks_blocked

from flowd.channel import packing
from flowd.channel.channels import Channels
from flowd.channel.client import Client
from flowd.door.parameters import count, position
from flowd.door.paths import ERRORS_MAX, Live, Session, follow_path, visible
from flowd.stream.held import RETAIN_MAX
from flowd.stream.log import Stream
from flowd.testing import FakeSocket
from flowd.values.errors import BadRequest
from flowd.values.record import Batch, Position


@frozen
class Tick:
    symbol: str = "BTC"


def seqs(batch: Batch[Any]) -> bytes:
    return b"%s %s\n" % (
        batch.stream.encode(),
        ",".join(str(r.seq) for r in batch.records).encode(),
    )


def error(mistake: BadRequest) -> bytes:
    return json.dumps(mistake.body()).encode() + b"\n"


def make_stream(name: str, *, private: bool = False, count: int = 5) -> Stream[Any]:
    stream = Stream(name, Tick, clock=lambda: 1, epoch="e", private=private)
    for number in range(count):
        stream.append(Tick("BTC" if number % 2 else "ETH"), key=f"k{number}")
    return stream


class Room:
    """A session with everything around it."""

    def __init__(
        self, nursery: trio.Nursery, path: Mapping[str, str] = {}, query: Mapping[str, str] = {}
    ) -> None:
        self.streams = {
            name: make_stream(name, private="/" in name)
            for name in ("orders", "trades", "orders/state")
        }
        self.socket = FakeSocket()
        self.closed: list[tuple[int, str]] = []
        channels = Channels(nursery)
        self.client = Client(channels.crowd, packing.plain, lambda client, why: None)
        self.session = Session(
            Live("/x/{stream}", seqs, error=error),
            self.client,
            None,
            channels,
            self.streams,
            lambda: 42,
            lambda session, code, reason: self.closed.append((code, reason)),
            path=dict(path),
            query=dict(query),
            headers={},
        )

    @property
    def lines(self) -> list[str]:
        return bytes(self.socket.taken).decode().splitlines()


# -- a session


async def test_a_session_knows_the_public_streams_their_filters_and_the_time(
    nursery: trio.Nursery,
) -> None:
    session = Room(nursery).session

    assert session.streams == ["orders", "trades"]
    assert session.filters("orders") == ["symbol"]
    assert session.follows == []
    assert session.now_ms() == 42


async def test_a_session_may_look_into_a_stream(nursery: trio.Nursery) -> None:
    session = Room(nursery).session

    assert session.get("orders")("k1") == Tick("BTC")
    assert session.get("orders")("k99") is None
    assert len(session.values("orders")) == 5


@pytest.mark.parametrize("name", ["nothing", "orders/state", ""])
async def test_what_a_session_cannot_see_is_not_there(nursery: trio.Nursery, name: str) -> None:
    session = Room(nursery).session

    for look in (session.filters, session.get, session.values, session.wish):
        with pytest.raises(BadRequest, match="there is no stream"):
            look(name)


async def test_a_wish_that_is_granted_is_followed(nursery: trio.Nursery) -> None:
    room = Room(nursery)
    room.client.start(room.socket)

    room.session.follow(
        room.session.wish("orders", filter={"symbol": "ETH"}, after="e.1", limit="9")
    )
    room.streams["orders"].append(Tick("ETH"))
    await wait_all_tasks_blocked()

    assert room.lines == ["orders 3,5", "orders 6"]
    assert room.session.follows == ["orders"]


async def test_a_wish_may_bring_its_own_words(nursery: trio.Nursery) -> None:
    room = Room(nursery)
    room.client.start(room.socket)

    room.session.follow(room.session.wish("orders", encode=lambda batch: b"mine\n"))

    assert room.lines == ["mine"]


@pytest.mark.parametrize(
    ("wish", "parameter"),
    [
        ({"filter": {"coin": "BTC"}}, "coin"),
        ({"filter": {"symbol": ""}}, "symbol"),
        ({"after": "nonsense"}, "after"),
        ({"limit": "many"}, "limit"),
    ],
)
async def test_a_wish_that_cannot_be_is_refused_before_anything_is_followed(
    nursery: trio.Nursery, wish: dict[str, Any], parameter: str
) -> None:
    session = Room(nursery).session

    with pytest.raises(BadRequest) as caught:
        session.wish("orders", **wish)

    assert caught.value.parameter == parameter
    assert session.follows == []


async def test_unfollowing_what_is_not_followed_is_refused(nursery: trio.Nursery) -> None:
    session = Room(nursery).session
    session.follow(session.wish("orders"))

    session.unfollow("orders")

    with pytest.raises(BadRequest, match="you do not follow 'orders'") as caught:
        session.unfollow("orders")
    assert caught.value.code == "NOT_FOLLOWED"


async def test_a_client_is_told_of_its_mistakes_and_let_go_after_too_many(
    nursery: trio.Nursery,
) -> None:
    room = Room(nursery)
    room.client.start(room.socket)

    for _ in range(ERRORS_MAX):
        room.session.refuse(BadRequest("no", parameter="action"))
    before = list(room.closed)
    room.session.refuse(BadRequest("no", parameter="action"))

    assert before == []
    assert room.closed == [(1008, "too many mistakes")]
    assert room.session.ended == (1008, "too many mistakes")
    assert json.loads(room.lines[0])["parameter"] == "action"
    assert len(room.lines) == ERRORS_MAX + 1


async def test_a_session_may_say_something_and_end(nursery: trio.Nursery) -> None:
    room = Room(nursery)
    room.client.start(room.socket)

    room.session.say(b"hello\n")
    room.session.close(1000, "done")

    assert room.lines == ["hello"]
    assert room.closed == [(1000, "done")]


# -- following the path


async def test_the_path_and_the_query_say_what_is_followed(nursery: trio.Nursery) -> None:
    room = Room(nursery, {"stream": "orders"}, {"symbol": "BTC", "after": "e.0", "limit": "1"})

    follow_path(room.session)
    room.client.start(room.socket)

    assert room.lines == ["orders 2,4"]


async def test_a_limit_in_the_query_shortens_the_snapshot(nursery: trio.Nursery) -> None:
    room = Room(nursery, {"stream": "orders"}, {"limit": "2"})

    follow_path(room.session)
    room.client.start(room.socket)

    assert room.lines == ["orders 4,5"]


@pytest.mark.parametrize(
    ("path", "query"),
    [
        ({"stream": "nothing"}, {}),
        ({"stream": "orders"}, {"zebra": "1"}),
        ({"stream": "orders"}, {"after": "x"}),
        ({"stream": "orders"}, {"limit": "-1"}),
    ],
)
async def test_a_path_or_query_that_cannot_be_is_refused(
    nursery: trio.Nursery, path: dict[str, str], query: dict[str, str]
) -> None:
    room = Room(nursery, path, query)

    with pytest.raises(BadRequest):
        follow_path(room.session)

    assert room.session.follows == []


# -- single words


def test_a_stream_that_is_not_there_is_refused_with_those_there_are() -> None:
    streams = {name: make_stream(name, private="/" in name) for name in ("a", "a/b", "c")}

    with pytest.raises(BadRequest) as caught:
        visible(streams, "x" * 500)

    assert (caught.value.status, caught.value.code) == (404, "UNKNOWN_STREAM")
    assert caught.value.allowed == ["a", "c"]
    assert len(str(caught.value)) < 100


@pytest.mark.parametrize("name", [["orders"], {"a": 1}, None, 5])
def test_a_name_that_is_no_text_is_no_stream(name: Any) -> None:
    with pytest.raises(BadRequest, match="there is no stream"):
        visible({"orders": make_stream("orders")}, name)


@pytest.mark.parametrize("text", [None, ""])
def test_no_position_is_none(text: object) -> None:
    assert position(text) is None


def test_a_position_is_read() -> None:
    assert position("k3v9.5") == Position("k3v9", 5)


@pytest.mark.parametrize("text", ["5", "k3v9", 5, True, ["k3v9.5"], {"seq": 5}])
def test_what_is_no_position_is_refused(text: object) -> None:
    with pytest.raises(BadRequest, match="a position looks like") as caught:
        position(text)

    assert (caught.value.parameter, caught.value.value) == ("after", text)


@pytest.mark.parametrize(
    ("text", "number"),
    [(None, None), ("0", 0), ("7", 7), (7, 7), ("007", 7), (str(RETAIN_MAX), RETAIN_MAX)],
)
def test_a_limit_is_read(text: object, number: int | None) -> None:
    assert count(text) == number


@pytest.mark.parametrize(
    "text", ["", "-1", "1.5", "many", " 5", "٣", "9" * 5000, RETAIN_MAX + 1, -1, 1.5, True, [5]]
)
def test_what_is_no_limit_is_refused(text: object) -> None:
    with pytest.raises(BadRequest, match="limit must be a whole number") as caught:
        count(text)

    assert caught.value.parameter == "limit"
