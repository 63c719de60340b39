"""Request heads, strictly, and small answers."""

import json
from itertools import pairwise

import h11
import pytest
import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st

from flowd.door.head import (
    HEAD_MAX,
    HEADERS_MAX,
    PARAMETERS_MAX,
    PARSED_AT_ONCE,
    BadHead,
    Head,
    Heads,
    parse_head,
    refusal,
    response,
)
from flowd.door.visit import Visit, Waiting
from flowd.values.errors import BadRequest


def head(target: str = "/", *lines: str, method: str = "GET", version: str = "1.1") -> Head:
    host = () if any(line.lower().startswith("host:") for line in lines) else ("Host: h",)
    text = "\r\n".join((f"{method} {target} HTTP/{version}", *host, *lines, "", ""))
    return parse_head(text.encode("latin-1"))


def read(data: bytes, method: str = "GET") -> tuple[h11.Response, bytes]:
    """A response as a client reads it."""
    client = h11.Connection(h11.CLIENT)
    client.send(h11.Request(method=method, target="/", headers=[("Host", "h")]))
    client.send(h11.EndOfMessage())
    client.receive_data(data)
    answer = client.next_event()
    assert isinstance(answer, h11.Response)
    body = b""
    while isinstance(event := client.next_event(), h11.Data):
        body += bytes(event.data)
    assert isinstance(event, h11.EndOfMessage)
    assert client.trailing_data == (b"", False)
    return answer, body


def attempt(raw: bytes) -> Head | BadHead:
    try:
        return parse_head(raw)
    except BadHead as refusal:
        return refusal


# -- heads


def test_a_head_says_method_path_query_and_headers() -> None:
    found = head("/streams/orders?symbol=BTCUSDT&limit=5", "X-Thing: a b")

    assert (found.method, found.path, found.http_11) == ("GET", "/streams/orders", True)
    assert found.query == (("symbol", "BTCUSDT"), ("limit", "5"))
    assert found.headers["x-thing"] == "a b"
    assert found.raw.startswith(b"GET /streams")


def test_paths_and_queries_are_unquoted() -> None:
    found = head("/a%20b/%C3%A4?x=%E2%82%AC&y=a+b&z=")

    assert found.path == "/a b/ä"
    assert found.query == (("x", "€"), ("y", "a b"), ("z", ""))


def test_headers_that_come_several_times_are_joined() -> None:
    assert head("/", "A: 1", "a: 2").headers["a"] == "1, 2"


@pytest.mark.parametrize(
    ("raw", "status"),
    [
        (b"\r\n\r\n", 400),
        (b"nonsense\r\n\r\n", 400),
        (b"\x16\x03\x01\x02\x00\x01\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nbad header\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX: a\x00b\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n", 501),
        (b"GET /\xff HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"GET /%ff HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"GET /?a=%ff HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a", 400),
        (b"PRI * HTTP/2.0\r\n\r\n", 505),
        (b"GET / HTTP/3.0\r\nHost: a\r\n\r\n", 505),
        (b"GET / HTTP/0.9\r\nHost: a\r\n\r\n", 505),
    ],
)
def test_what_is_no_http_head_is_refused(raw: bytes, status: int) -> None:
    with pytest.raises(BadHead) as caught:
        parse_head(raw)

    assert caught.value.status == status
    assert str(caught.value)


def test_a_head_has_at_most_so_many_parameters() -> None:
    fits = "&".join(f"p{n}=1" for n in range(PARAMETERS_MAX))

    assert len(head(f"/?{fits}").query) == PARAMETERS_MAX
    with pytest.raises(BadHead, match="bad request target"):
        head(f"/?{fits}&more=1")


@given(st.binary(max_size=200))
def test_any_bytes_are_a_head_or_a_bad_head(data: bytes) -> None:
    raw = b"GET /" + data + b" HTTP/1.1\r\nHost: h\r\n\r\n"

    found = attempt(raw)

    assert found.status in (400, 431) if isinstance(found, BadHead) else found.raw == raw


@given(st.binary(max_size=300))
def test_no_garbage_makes_the_parser_fail_in_another_way(data: bytes) -> None:
    found = attempt(data + b"\r\n\r\n")

    assert isinstance(found, Head) or found.status in (400, 431, 501, 505)


def test_a_head_that_comes_again_is_not_parsed_again() -> None:
    heads, raw = Heads(100_000), b"GET /again HTTP/1.1\r\nHost: h\r\n\r\n"

    assert heads.parse(raw) is heads.parse(bytes(bytearray(raw)))


async def test_however_many_new_heads_come_at_once_a_known_one_passes_by() -> None:
    heads = Heads(100_000)
    known = b"GET /known HTTP/1.1\r\nHost: h\r\n\r\n"
    heads.parse(known)
    read: list[str] = []

    async def ask(raw: bytes) -> None:
        read.append((await heads.read(raw)).path)

    turns = Turns(read)
    trio.lowlevel.add_instrument(turns)
    async with trio.open_nursery() as nursery:
        for number in range(20):
            nursery.start_soon(ask, known.replace(b"/known", b"/%d" % number))
        nursery.start_soon(ask, known)
    trio.lowlevel.remove_instrument(turns)

    assert read[0] == "/known"
    assert len(read) == 21
    assert max(after - before for before, after in pairwise(turns.done)) <= PARSED_AT_ONCE


class Turns(trio.abc.Instrument):
    """How much was done after each turn of the loop."""

    def __init__(self, work: list[str]) -> None:
        self.done = [0]
        self._work = work

    def before_io_wait(self, timeout: float) -> None:
        self.done.append(len(self._work))


def test_heads_that_are_remembered_take_so_many_bytes_and_no_more() -> None:
    heads = Heads(100_000)

    heads.parse(b"GET / HTTP/1.1\r\nHost: h\r\nX: %b\r\n\r\n" % (b"x" * 3000))
    one = heads.figures()["heads_bytes"]
    for number in range(1000):
        heads.parse(b"GET /%d HTTP/1.1\r\nHost: h\r\nX: %b\r\n\r\n" % (number, b"x" * 3000))

    assert one > 3 * 3000, "its bytes, and its text in Python's strings"
    assert 50_000 < heads.figures()["heads_bytes"] <= 100_000


def test_a_head_has_at_most_so_many_headers() -> None:
    lines = [f"X{number}: y" for number in range(HEADERS_MAX - 1)]

    assert len(head("/", *lines).headers) == HEADERS_MAX
    with pytest.raises(BadHead, match="at most 100 headers") as caught:
        head("/", *lines, "One: more")
    assert caught.value.status == 431


@pytest.mark.parametrize(
    "raw",
    [
        b"GET / HTTP/1.1\nHost: h\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: h\nX: y\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: h\n\nGET /b HTTP/1.1\r\nHost: h\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: h\rX: y\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: h\r\nX: y\r\n z\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: h\r\nX: y\r\n\tz\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: h\r\nX: \xe4\r\n\r\n",
    ],
)
def test_a_head_that_two_parsers_may_read_differently_is_refused(raw: bytes) -> None:
    with pytest.raises(BadHead) as caught:
        parse_head(raw)

    assert caught.value.status == 400


@pytest.mark.parametrize(
    ("lines", "version", "keeps"),
    [
        ((), "1.1", True),
        (("Connection: keep-alive",), "1.1", True),
        (("Connection: close",), "1.1", False),
        (("Connection: Close",), "1.1", False),
        (("Connection: keep-alive, close",), "1.1", False),
        ((), "1.0", False),
        (("Connection: keep-alive",), "1.0", False),
    ],
)
def test_who_keeps_its_connection(lines: tuple[str, ...], version: str, keeps: bool) -> None:
    assert head("/", *lines, version=version).keep_alive is keeps


@pytest.mark.parametrize(
    ("line", "has_body"),
    [
        ("X: y", False),
        ("Content-Length: 0", False),
        ("Content-Length: 5", True),
        ("Transfer-Encoding: chunked", True),
    ],
)
def test_whether_a_body_follows(line: str, has_body: bool) -> None:
    assert head("/", line, method="POST").has_body is has_body


@pytest.mark.parametrize(
    ("accepts", "gzip"),
    [
        ("gzip", True),
        ("GZIP", True),
        ("deflate, gzip;q=1.0, *;q=0.5", True),
        ("br, *", True),
        ("gzip; q=0.5", True),
        ("*;q=0, gzip", True),
        ("", False),
        ("identity", False),
        ("gzip;q=0", False),
        ("gzip; q=0.000", False),
        ("*;q=0", False),
        ("gzip;q=0, *", False),
        ("x-gzip-like", False),
    ],
)
def test_who_takes_gzip(accepts: str, gzip: bool) -> None:
    assert head("/", f"Accept-Encoding: {accepts}").gzip is gzip


def test_who_says_nothing_of_encodings_is_not_sent_gzip() -> None:
    assert not head("/").gzip


def test_who_wants_to_be_a_websocket() -> None:
    assert head("/", "Upgrade: WebSocket", "Connection: Upgrade").wants_websocket
    assert not head("/", "Upgrade: h2c").wants_websocket
    assert not head("/").wants_websocket


def test_parameters_come_by_name() -> None:
    assert head("/?a=1&b=2").parameters() == {"a": "1", "b": "2"}


def test_a_parameter_that_is_given_twice_is_refused() -> None:
    with pytest.raises(BadRequest, match="symbol is given twice") as caught:
        head("/?symbol=A&symbol=B").parameters()

    assert (caught.value.parameter, caught.value.value) == ("symbol", "B")


# -- answers


def test_a_response_is_read_as_it_was_meant() -> None:
    answer, body = read(response(200, b'{"a":1}', headers=(("ETag", '"e.1"'),)))

    headers = dict(answer.headers)
    assert (answer.status_code, answer.reason, body) == (200, b"OK", b'{"a":1}')
    assert headers[b"etag"] == b'"e.1"'
    assert headers[b"content-type"] == b"application/json"
    assert headers[b"access-control-allow-origin"] == b"*"
    assert headers[b"x-content-type-options"] == b"nosniff"
    assert b"connection" not in headers


def test_a_response_may_be_the_last_one() -> None:
    answer, _ = read(response(200, b"x", kind="text/plain", close=True))

    assert dict(answer.headers)[b"connection"] == b"close"
    assert dict(answer.headers)[b"content-type"] == b"text/plain"


def test_nothing_new_has_no_body_and_no_length() -> None:
    answer, body = read(response(304, headers=(("ETag", '"e.1"'),)))

    assert (answer.status_code, body) == (304, b"")
    assert b"content-length" not in dict(answer.headers)


@pytest.mark.parametrize("status", [400, 404, 405, 408, 426, 431, 501, 503, 505])
def test_a_refusal_says_in_json_what_was_wrong(status: int) -> None:
    error = BadRequest("no such thing", parameter="stream", value="x", allowed=["a"], status=status)

    answer, body = read(refusal(error))

    assert answer.status_code == status
    assert json.loads(body) == {"error": error.body()}


def test_who_comes_at_a_bad_moment_is_told_when_to_come_again() -> None:
    busy, _ = read(refusal(BadRequest("full", parameter="max_clients", status=503)))
    wrong, _ = read(refusal(BadRequest("no", parameter="limit")))

    assert dict(busy.headers)[b"retry-after"] == b"5"
    assert b"retry-after" not in dict(wrong.headers)


def test_the_largest_head_is_known_to_the_parser() -> None:
    fits = head("/" + "a" * (HEAD_MAX - 200))

    assert len(fits.raw) < HEAD_MAX
    assert fits.path.endswith("aaa")


@pytest.mark.parametrize(
    ("status", "header"),
    [(405, b"Allow: GET, HEAD"), (426, b"Upgrade: websocket"), (503, b"Retry-After: 5")],
)
def test_a_refusal_says_in_a_header_what_would_work(status: int, header: bytes) -> None:
    answer = refusal(BadRequest("no", parameter="x", status=status))

    assert header in answer.partition(b"\r\n\r\n")[0].split(b"\r\n")


async def test_who_asks_much_ahead_lets_others_run_between_its_requests() -> None:
    ours, theirs = trio.socket.socketpair()
    with ours, theirs:
        visit = Visit(trio.SocketStream(ours), Heads(100_000), Waiting())
        await theirs.send(3 * b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")

        for _ in range(3):
            with trio.testing.assert_checkpoints():
                assert await visit.next_head() is not None
