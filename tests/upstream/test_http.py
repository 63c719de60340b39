"""The one HTTP client: limits, budgets, retries, and what it counts."""

import gzip
import ssl
import threading
import zlib
from collections.abc import AsyncIterator
from typing import Any

import httpx2
import pytest
import trio

from flowd import testing
from flowd.plugin import BadBody, NoAnswer, RateLimited
from flowd.upstream.http import Http, Services, host, retry_after_s
from flowd.values.tally import Tally

URL = "http://service/path"


async def test_an_answer_is_given_whatever_its_status() -> None:
    feed = testing.feed(rest=testing.rest({"/path": testing.Reply(404, {"code": 1})}))

    answer = await feed.http.get(URL, query={"a": 1, "b": "x y"})

    assert (answer.status, answer.json()) == (404, {"code": 1})
    (asked,) = feed.rest.requests
    assert (asked.method, asked.path, asked.query) == ("GET", "/path", {"a": "1", "b": "x y"})


async def test_json_is_posted_as_such() -> None:
    feed = testing.feed(rest=testing.rest({"/path": lambda request: request.json["type"]}))

    answer = await feed.http.post(URL, json={"type": "meta"})

    assert answer.text == "meta"
    assert feed.rest.requests[0].headers["content-type"] == "application/json"


async def test_what_is_no_json_is_a_value_error() -> None:
    feed = testing.feed(rest=testing.rest({"/path": "<html>"}))

    answer = await feed.http.get(URL)

    with pytest.raises(ValueError, match="malformed"):
        answer.json()


async def test_a_body_that_is_packed_is_unpacked() -> None:
    packed = testing.Reply(200, gzip.compress(b"hello"), {"Content-Encoding": "gzip"})
    feed = testing.feed(rest=testing.rest({"/path": packed}))

    assert (await feed.http.get(URL)).body == b"hello"


@pytest.mark.parametrize(
    "reply",
    [
        testing.Reply(200, b"x" * 2000),
        testing.Reply(200, gzip.compress(b"x" * 10**7), {"Content-Encoding": "gzip"}),
        testing.Reply(200, b"not gzip", {"Content-Encoding": "gzip"}),
        testing.Reply(200, b"x", {"Content-Encoding": "br"}),
    ],
    ids=["too large", "too large when unpacked", "badly packed", "packed otherwise"],
)
async def test_a_body_is_read_no_further_than_it_may_be(reply: testing.Reply) -> None:
    feed = testing.feed(rest=testing.rest({"/path": reply}))

    with pytest.raises(BadBody, match="service"):
        await feed.http.get(URL, body_max=1000)

    assert feed.tally.figures["http_failures"] == 1


async def test_a_service_that_is_silent_is_left_after_the_timeout(autojump_clock: Any) -> None:
    feed = testing.feed(rest=testing.rest({"/path": testing.SILENT}))

    with pytest.raises(NoAnswer, match="no answer within 20s"):
        await feed.http.get(URL)

    assert trio.current_time() == 20


async def test_a_connection_that_fails_is_no_answer() -> None:
    feed = testing.feed(rest=testing.rest({"/path": ConnectionRefusedError("nobody there")}))

    with pytest.raises(NoAnswer, match="nobody there"):
        await feed.http.get(URL)


async def test_what_may_go_better_is_asked_again_as_often_as_was_said(autojump_clock: Any) -> None:
    turns = testing.turns(ConnectionResetError("gone"), testing.Reply(502, "<html>"), "fine")
    feed = testing.feed(rest=testing.rest({"/path": turns}))

    answer = await feed.http.get(URL, retries=2)

    assert answer.body == b"fine"
    assert feed.tally.figures["http_retries"] == 2


async def test_the_last_attempt_counts(autojump_clock: Any) -> None:
    feed = testing.feed(rest=testing.rest({"/path": testing.Reply(503, "down")}))

    answer = await feed.http.get(URL, retries=1)

    assert answer.status == 503
    assert len(feed.rest.requests) == 2


async def test_a_refusal_closes_the_budget_for_as_long_as_the_service_says(
    autojump_clock: Any,
) -> None:
    turns = testing.turns(testing.Reply(429, "null", {"Retry-After": "7"}), "fine")
    feed = testing.feed(rest=testing.rest({"/path": turns}))
    budget = feed.budget("venue", per_minute=100)

    with pytest.raises(RateLimited, match="again in 7s") as caught:
        await feed.http.get(URL, budget=budget, weight=20, retries=3)
    answer = await feed.http.get(URL, budget=budget, weight=20)

    assert caught.value.after_s == 7
    assert (answer.body, trio.current_time()) == (b"fine", 7)
    assert len(feed.rest.requests) == 2


async def test_without_a_budget_a_refusal_says_what_the_service_said() -> None:
    feed = testing.feed(rest=testing.rest({"/path": testing.Reply(418, "")}))

    with pytest.raises(RateLimited) as caught:
        await feed.http.get(URL)

    assert caught.value.after_s is None


async def test_weight_is_reserved_and_corrected_by_what_it_really_cost() -> None:
    feed = testing.feed(rest=testing.rest({"/path": "fine"}))
    budget = feed.budget("venue", per_minute=100)

    answer = await feed.http.get(URL, budget=budget, weight=60)
    before = budget.used
    answer.cost(25)

    assert (before, budget.used) == (60, 25)


async def test_a_question_that_fails_has_cost_its_weight() -> None:
    feed = testing.feed(rest=testing.rest({"/path": ConnectionResetError("gone")}))
    budget = feed.budget("venue", per_minute=100)

    with pytest.raises(NoAnswer):
        await feed.http.get(URL, budget=budget, weight=60)

    assert budget.used == 60


async def test_a_sink_has_the_same_client() -> None:
    desk = testing.desk(rest=testing.rest({"/path": "fine"}))

    assert (await desk.http.post(URL, content=b"x")).body == b"fine"
    assert desk.tally.figures["http_requests"] == 1


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("7", 7),
        ("0", 1),
        ("", None),
        ("soon", None),
        ("-5", None),
        ("Tue, 14 Nov 2023 22:14:20 GMT", 60),
        ("Tue, 14 Nov 2023 22:14:20 -0000", 60),
        ("99999999999", 4 * 86_400),
    ],
)
def test_retry_after_is_seconds_or_a_date(text: str, seconds: float | None) -> None:
    assert retry_after_s(text, testing.START_MS) == seconds


def test_a_path_is_never_named_in_an_error() -> None:
    assert host("https://user:secret@service.example:8080/secret?key=1") == "service.example:8080"


class Endless(httpx2.AsyncByteStream):
    """A body that never ends: a piece, a while, and the next."""

    def __init__(self, piece: bytes, every_s: float = 0.0) -> None:
        self.piece = piece
        self.every_s = every_s
        self.given = 0

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for _ in range(1000):
            await trio.sleep(self.every_s)
            self.given += len(self.piece)
            yield self.piece
        raise AssertionError("somebody reads this to its end")


async def test_an_endless_body_is_not_read_to_its_end(autojump_clock: Any) -> None:
    endless = Endless(bytes(100_000))
    feed = testing.feed(rest=testing.rest({"/path": testing.Reply(200, endless)}))

    with pytest.raises(BadBody, match="more than 1000000 bytes"):
        await feed.http.get(URL, body_max=1_000_000)

    assert endless.given <= 1_100_000


async def test_what_unpacks_to_gigabytes_is_not_unpacked(autojump_clock: Any) -> None:
    pack = zlib.compressobj(wbits=31)
    piece = pack.compress(bytes(50_000_000)) + pack.flush(zlib.Z_SYNC_FLUSH)
    packed = testing.Reply(200, Endless(piece), {"Content-Encoding": "gzip"})
    feed = testing.feed(rest=testing.rest({"/path": packed}))

    with pytest.raises(BadBody, match="more than 1000000 bytes"):
        await feed.http.get(URL, body_max=1_000_000)


@pytest.mark.parametrize("every_s", [4.0, 30.0])
async def test_whoever_asks_has_the_only_timeout(every_s: float, autojump_clock: Any) -> None:
    slow = testing.Reply(200, Endless(b" ", every_s))
    feed = testing.feed(rest=testing.rest({"/path": slow}))

    with pytest.raises(NoAnswer, match="within 100s"):
        await feed.http.get(URL, timeout_s=100)

    assert trio.current_time() == 100


async def test_whose_certificates_are_believed_is_looked_up_once_and_beside_the_loop(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    looked_up_in = []
    context = httpx2.create_ssl_context()

    def look_up() -> ssl.SSLContext:
        looked_up_in.append(threading.current_thread())
        return context

    monkeypatch.setattr(httpx2, "create_ssl_context", look_up)
    services = Services(testing.clock)
    clients = [services.http(Tally()) for _ in range(2)]

    async def ask(client: Http) -> None:
        with pytest.raises(NoAnswer):
            await client.get("http://127.0.0.1:1/nothing-listens")

    async with trio.open_nursery() as nursery:
        for client in clients * 2:
            nursery.start_soon(ask, client)
    await services.aclose()

    (where,) = looked_up_in
    assert where is not threading.main_thread()
