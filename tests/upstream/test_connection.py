"""One WebSocket to an exchange, over memory streams with the real codec on both sides."""

import ssl
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, cast
from urllib.parse import SplitResult

import pytest
import trio
import trio_websocket
import trustme
from attrs import define, field
from trio.testing import MockClock, memory_stream_pair, wait_all_tasks_blocked
from trio_websocket import ConnectionClosed, WebSocketConnection, WebSocketRequest
from wsproto import ConnectionType, WSConnection
from wsproto.events import AcceptConnection

from flowd.upstream.connection import (
    CONNECT_TIMEOUT_S,
    MESSAGE_MAX,
    Dial,
    dial,
    open_upstream,
    websocket_url,
)
from flowd.values.errors import UpstreamError, UpstreamSilent, UserError

URL = "wss://exchange.example/ws?streams=a"

Serve = Callable[[WebSocketConnection], Awaitable[None]]


@define
class Exchange:
    """The other side: what it says is `serve`, what it was asked is in `requests`."""

    nursery: trio.Nursery
    serve: Serve
    requests: list[WebSocketRequest] = field(factory=list)
    dialled: list[SplitResult] = field(factory=list)
    closed_with: list[int | None] = field(factory=list)

    async def dial(self, url: SplitResult) -> trio.abc.Stream:
        ours, theirs = memory_stream_pair()
        self.dialled.append(url)
        self.nursery.start_soon(self._answer, theirs)
        await trio.lowlevel.checkpoint()
        return ours

    async def _answer(self, stream: trio.abc.Stream) -> None:
        async with trio.open_nursery() as nursery:
            request = await trio_websocket.wrap_server_stream(nursery, cast(Any, stream))
            self.requests.append(request)
            connection = await request.accept()
            try:
                await self.serve(connection)
                await connection.aclose()
            except ConnectionClosed as closed:
                self.closed_with.append(None if closed.reason is None else closed.reason.code)
            nursery.cancel_scope.cancel()


async def listen(connection: WebSocketConnection) -> None:
    while True:
        await connection.get_message()


def answering(answer: Callable[[trio.abc.Stream], Awaitable[None]], nursery: trio.Nursery) -> Dial:
    """A dial whose other side is `answer`, on plain bytes."""

    async def dial(url: SplitResult) -> trio.abc.Stream:
        ours, theirs = memory_stream_pair()
        nursery.start_soon(answer, theirs)
        await trio.lowlevel.checkpoint()
        return ours

    return dial


async def handshake_only(stream: trio.abc.Stream) -> None:
    """Accept, and from then on neither read nor write: not even pongs."""
    server = WSConnection(ConnectionType.SERVER)
    server.receive_data(bytes(await stream.receive_some()))
    list(server.events())
    await stream.send_all(server.send(AcceptConnection()))
    await trio.sleep_forever()


def host_of(request: WebSocketRequest) -> str:
    return str(request._event.host)  # which is not among its headers


# -- messages


async def test_messages_come_in_order_as_text_or_bytes(nursery: trio.Nursery) -> None:
    async def serve(connection: WebSocketConnection) -> None:
        await connection.send_message("one")
        await connection.send_message(b"two")
        await connection.send_message("drei: ä")
        await listen(connection)

    exchange = Exchange(nursery, serve)

    async with open_upstream(URL, dial=exchange.dial) as upstream:
        messages = [await anext(upstream) for _ in range(3)]

    assert messages == ["one", b"two", "drei: ä"]


async def test_what_is_sent_arrives(nursery: trio.Nursery) -> None:
    async def echo(connection: WebSocketConnection) -> None:
        while True:
            await connection.send_message(await connection.get_message())

    exchange = Exchange(nursery, echo)

    async with open_upstream(URL, dial=exchange.dial) as upstream:
        await upstream.send('{"method":"SUBSCRIBE"}')
        answer = await anext(upstream)

    assert answer == '{"method":"SUBSCRIBE"}'


async def test_the_request_says_host_path_query_and_headers(nursery: trio.Nursery) -> None:
    exchange = Exchange(nursery, listen)
    headers = [(b"X-Key", b"hunter2")]

    async with open_upstream(URL, dial=exchange.dial, headers=headers):
        pass

    (request,) = exchange.requests
    assert request.path == "/ws?streams=a"
    assert host_of(request) == "exchange.example"
    assert dict(request.headers)[b"x-key"] == b"hunter2"


@pytest.mark.parametrize(
    ("url", "host", "path"),
    [
        ("ws://h", "h", "/"),
        ("ws://h:8080?a=b", "h:8080", "/?a=b"),
        ("ws://user:secret@h/x", "h", "/x"),
        ("ws://[::1]:99/x", "[::1]:99", "/x"),
    ],
)
async def test_the_address_is_taken_apart(
    nursery: trio.Nursery, url: str, host: str, path: str
) -> None:
    exchange = Exchange(nursery, listen)

    async with open_upstream(url, dial=exchange.dial):
        pass

    (request,) = exchange.requests
    assert (host_of(request), request.path) == (host, path)


async def test_messages_and_frames_are_taken_note_of(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    async def serve(connection: WebSocketConnection) -> None:
        await connection.send_message("one")
        await listen(connection)

    noted: list[str] = []

    async with open_upstream(
        URL,
        dial=Exchange(nursery, serve).dial,
        on_frame=lambda: noted.append("frame"),
        on_message=lambda: noted.append("message"),
    ) as upstream:
        await anext(upstream)
        await trio.sleep(31)

    assert noted == ["message", "frame", "frame"]


async def test_leaving_the_block_ends_the_connection_at_once_and_leaves_no_task_behind(
    autojump_clock: MockClock,
) -> None:
    async with trio.open_nursery() as nursery:
        exchange = Exchange(nursery, listen)

        async with open_upstream(URL, dial=exchange.dial):
            pass

    assert len(exchange.closed_with) == 1
    assert trio.current_time() == 0


# -- ends


async def test_a_close_by_the_upstream_names_its_code_and_words(nursery: trio.Nursery) -> None:
    async def serve(connection: WebSocketConnection) -> None:
        await connection.aclose(1008, "too many streams")

    async with open_upstream(URL, dial=Exchange(nursery, serve).dial) as upstream:
        with pytest.raises(UpstreamError) as caught:
            await anext(upstream)

    assert str(caught.value) == f"closed by upstream with 1008 too many streams ({URL})"


async def test_messages_before_the_close_are_not_lost(nursery: trio.Nursery) -> None:
    async def serve(connection: WebSocketConnection) -> None:
        for number in range(10):
            await connection.send_message(str(number))
        await connection.aclose(1000)

    async with open_upstream(URL, dial=Exchange(nursery, serve).dial) as upstream:
        await trio.testing.wait_all_tasks_blocked()
        messages = [await anext(upstream) for _ in range(10)]
        with pytest.raises(UpstreamError, match="closed by upstream with 1000"):
            await anext(upstream)

    assert messages == [str(number) for number in range(10)]


async def test_a_connection_that_breaks_is_lost(nursery: trio.Nursery) -> None:
    async def serve(connection: WebSocketConnection) -> None:
        await connection._stream.aclose()

    async with open_upstream(URL, dial=Exchange(nursery, serve).dial) as upstream:
        with pytest.raises(UpstreamError, match=r"connection lost \(wss://exchange"):
            await anext(upstream)


async def test_sending_on_a_closed_connection_is_an_upstream_error(nursery: trio.Nursery) -> None:
    async def serve(connection: WebSocketConnection) -> None:
        await connection.aclose(1001)

    async with open_upstream(URL, dial=Exchange(nursery, serve).dial) as upstream:
        await trio.testing.wait_all_tasks_blocked()
        with pytest.raises(UpstreamError, match="closed by upstream with 1001"):
            await upstream.send("anybody there?")


async def test_a_message_that_is_too_large_ends_the_connection(nursery: trio.Nursery) -> None:
    async def serve(connection: WebSocketConnection) -> None:
        await connection.send_message("x" * (MESSAGE_MAX + 1))
        await listen(connection)

    async with open_upstream(URL, dial=Exchange(nursery, serve).dial) as upstream:
        with pytest.raises(UpstreamError, match="1009"):
            await anext(upstream)


async def test_what_the_block_raises_comes_out_as_it_is(nursery: trio.Nursery) -> None:
    error = ValueError("a bug in the source")

    with pytest.raises(ValueError, match="a bug in the source") as caught:
        async with open_upstream(URL, dial=Exchange(nursery, listen).dial):
            raise error

    assert caught.value is error


async def test_a_cancelled_block_is_just_cancelled(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    with trio.move_on_after(5) as scope:
        async with open_upstream(URL, dial=Exchange(nursery, listen).dial) as upstream:
            await anext(upstream)

    assert scope.cancelled_caught
    assert trio.current_time() == 5


# -- silence


async def test_silence_for_a_minute_is_a_dead_upstream(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    async with open_upstream(URL, dial=answering(handshake_only, nursery)) as upstream:
        with pytest.raises(UpstreamSilent, match=r"upstream silent for 60s \(wss://exchange"):
            await anext(upstream)

    assert trio.current_time() == 60


async def test_pongs_are_a_sign_of_life(autojump_clock: MockClock, nursery: trio.Nursery) -> None:
    async with open_upstream(URL, dial=Exchange(nursery, listen).dial) as upstream:
        with trio.move_on_after(3600) as scope:
            await anext(upstream)

    assert scope.cancelled_caught


async def test_pongs_prove_nothing_where_only_messages_count(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    exchange = Exchange(nursery, listen)

    async with open_upstream(URL, dial=exchange.dial, pongs_count=False) as upstream:
        with pytest.raises(UpstreamSilent):
            await anext(upstream)

    assert trio.current_time() == 60


async def test_each_message_begins_the_wait_anew(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    async def serve(connection: WebSocketConnection) -> None:
        for _ in range(5):
            await trio.sleep(59)
            await connection.send_message("tick")
        await listen(connection)

    exchange = Exchange(nursery, serve)

    async with open_upstream(URL, dial=exchange.dial, pongs_count=False) as upstream:
        messages = [await anext(upstream) for _ in range(5)]
        with pytest.raises(UpstreamSilent):
            await anext(upstream)

    assert messages == ["tick"] * 5
    assert trio.current_time() == 5 * 59 + 60


@pytest.mark.parametrize("pongs_count", [True, False])
async def test_what_has_come_is_read_before_silence_is_believed(
    autojump_clock: MockClock, nursery: trio.Nursery, pongs_count: bool
) -> None:
    async def serve(connection: WebSocketConnection) -> None:
        for number in range(3):
            await connection.send_message(str(number))
        await trio.sleep_forever()

    dial = Exchange(nursery, serve).dial

    async with open_upstream(URL, dial=dial, pongs_count=pongs_count) as upstream:
        await trio.sleep(600)
        messages = [await anext(upstream) for _ in range(3)]
        with trio.move_on_after(3600):
            with pytest.raises(UpstreamSilent):
                await anext(upstream)
            assert not pongs_count

    assert messages == ["0", "1", "2"]


@pytest.mark.parametrize("stopped_at", [1.0, 59.5])
async def test_what_came_while_the_process_was_stopped_is_read_before_silence_is_believed(
    nursery: trio.Nursery, mock_clock: MockClock, stopped_at: float
) -> None:
    goes_on = trio.Event()

    async def serve(connection: WebSocketConnection) -> None:
        await goes_on.wait()
        for _ in range(5):
            await trio.lowlevel.checkpoint()  # The socket is seen to later than the clock.
        await connection.send_message("while you were away")
        await listen(connection)

    heard: list[str | bytes] = []
    dial = Exchange(nursery, serve).dial
    async with open_upstream(URL, dial=dial, ping_every_s=1e9) as upstream:

        async def read() -> None:
            heard.append(await anext(upstream))

        async with trio.open_nursery() as reading:
            reading.start_soon(read)
            await wait_all_tasks_blocked()
            for at in (stopped_at, stopped_at + 300):
                mock_clock.jump(at - trio.current_time())
                if at > 60:
                    goes_on.set()
                await wait_all_tasks_blocked()

    assert heard == ["while you were away"]


async def test_a_source_that_is_behind_does_not_make_its_upstream_silent(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    async def serve(connection: WebSocketConnection) -> None:
        for number in range(5_000):
            await connection.send_message(str(number))
        await listen(connection)

    dial = Exchange(nursery, serve).dial

    async with open_upstream(URL, dial=dial, pongs_count=False) as upstream:
        await trio.sleep(600)
        messages = [await anext(upstream) for _ in range(5_000)]

    assert messages[-1] == "4999"


async def test_the_silence_that_is_allowed_may_be_chosen(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    dial = answering(handshake_only, nursery)

    async with open_upstream(URL, dial=dial, silence_s=2.5) as upstream:
        with pytest.raises(UpstreamSilent, match=r"silent for 2\.5s"):
            await anext(upstream)

    assert trio.current_time() == 2.5


async def test_pings_go_out_as_often_as_asked_for(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    at: list[float] = []
    dial = Exchange(nursery, listen).dial

    async with open_upstream(
        URL, dial=dial, ping_every_s=10, on_frame=lambda: at.append(trio.current_time())
    ):
        await trio.sleep(35)

    assert at == [10, 20, 30]


# -- no connection


async def test_a_refusal_names_its_status(nursery: trio.Nursery) -> None:
    async def refuse(stream: trio.abc.Stream) -> None:
        await stream.receive_some()
        await stream.send_all(b"HTTP/1.1 429 Too Many\r\nContent-Length: 0\r\n\r\n")

    with pytest.raises(UpstreamError, match=r"refused with HTTP 429 \(wss://exchange"):
        async with open_upstream(URL, dial=answering(refuse, nursery)):
            pass


async def test_an_upstream_that_speaks_something_else_fails_the_handshake(
    nursery: trio.Nursery,
) -> None:
    async def nonsense(stream: trio.abc.Stream) -> None:
        await stream.receive_some()
        await stream.send_all(b"SSH-2.0-OpenSSH_9.6\r\n\r\n")
        await stream.aclose()

    with pytest.raises(UpstreamError, match="handshake failed"):
        async with open_upstream(URL, dial=answering(nonsense, nursery)):
            pass


async def test_an_upstream_that_hangs_up_during_the_handshake_is_an_upstream_error(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    async def hang_up(stream: trio.abc.Stream) -> None:
        await stream.aclose()

    with pytest.raises(UpstreamError):
        async with open_upstream(URL, dial=answering(hang_up, nursery)):
            pass


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (ConnectionRefusedError(111, "Connection refused"), "Connection refused"),
        (OSError(), "OSError"),
        (ssl.SSLCertVerificationError("certificate has expired"), "certificate has expired"),
        (trio.BrokenResourceError(), "BrokenResourceError"),
    ],
)
async def test_a_dial_that_fails_is_an_upstream_error(error: Exception, words: str) -> None:
    async def dial(url: SplitResult) -> trio.abc.Stream:
        raise error

    with pytest.raises(UpstreamError, match="cannot connect") as caught:
        async with open_upstream(URL, dial=dial):
            pass

    assert words in str(caught.value)
    assert URL in str(caught.value)


async def test_a_dial_without_an_answer_is_given_up(autojump_clock: MockClock) -> None:
    async def dial(url: SplitResult) -> trio.abc.Stream:
        await trio.sleep_forever()
        raise AssertionError

    with pytest.raises(UpstreamError, match="no answer within 10s"):
        async with open_upstream(URL, dial=dial):
            pass

    assert trio.current_time() == CONNECT_TIMEOUT_S


async def test_a_handshake_without_an_answer_is_given_up(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    async def mute(stream: trio.abc.Stream) -> None:
        await trio.sleep_forever()

    with pytest.raises(UpstreamError, match="no answer within 10s"):
        async with open_upstream(URL, dial=answering(mute, nursery)):
            pass

    assert trio.current_time() == CONNECT_TIMEOUT_S


async def test_a_secret_in_the_address_shows_nowhere(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    async def refuse(stream: trio.abc.Stream) -> None:
        await stream.receive_some()
        await stream.send_all(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")

    secret, shown = "wss://h/ws?key=hunter2", "wss://h/ws?key=***"
    said: list[str] = []

    async def close(connection: WebSocketConnection) -> None:
        await connection.aclose(1008, "bad key")

    for way in (
        answering(refuse, nursery),
        answering(handshake_only, nursery),
        Exchange(nursery, close).dial,
    ):
        with pytest.raises(UpstreamError) as caught:
            async with open_upstream(secret, dial=way, shown=shown) as upstream:
                await anext(upstream)
        said.append(str(caught.value))

    assert all(shown in text and "hunter2" not in text for text in said)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "exchange.example",
        "https://exchange.example",
        "wss://",
        "wss:///path",
        "ws://[::1",
        "ws://h:port",
        "ws://h:99999",
        "ws://h:0",
    ],
)
async def test_what_is_no_websocket_address_is_a_user_error(url: str) -> None:
    with pytest.raises(UserError, match='expected an address like "wss://host/path"'):
        websocket_url(url, url)


def test_the_error_about_an_address_shows_what_may_be_shown() -> None:
    with pytest.raises(UserError) as caught:
        websocket_url("https://h?key=hunter2", "https://h?key=***")

    assert "hunter2" not in str(caught.value)


# -- the real dial, on this machine's own address


async def test_dialling_opens_a_tcp_connection(nursery: trio.Nursery) -> None:
    async def hello(stream: trio.SocketStream) -> None:
        await stream.send_all(b"hello")

    listeners: list[Any] = await nursery.start(partial(trio.serve_tcp, hello, 0, host="127.0.0.1"))
    port = listeners[0].socket.getsockname()[1]

    stream = await dial(websocket_url(f"ws://127.0.0.1:{port}/", ""))

    async with stream:
        assert await stream.receive_some() == b"hello"
    nursery.cancel_scope.cancel()


async def test_dialling_wss_refuses_a_certificate_that_nobody_vouches_for(
    nursery: trio.Nursery,
) -> None:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    trustme.CA().issue_cert("127.0.0.1").configure_cert(context)

    async def serve(stream: trio.SSLStream[trio.SocketStream]) -> None:
        try:
            await stream.do_handshake()
        except trio.BrokenResourceError:
            pass
        finally:
            await trio.aclose_forcefully(stream)

    listeners: list[Any] = await trio.open_ssl_over_tcp_listeners(0, context, host="127.0.0.1")
    nursery.start_soon(trio.serve_listeners, serve, listeners)
    port = listeners[0].transport_listener.socket.getsockname()[1]

    with pytest.raises(UpstreamError, match="cannot connect") as caught:
        async with open_upstream(f"wss://127.0.0.1:{port}/", dial=dial):
            pass

    assert "certificate not trusted: unable to get local issuer" in str(caught.value)
    nursery.cancel_scope.cancel()
