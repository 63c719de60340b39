"""Serving WebSockets without I/O, with the client half of `websockets` as the other side."""

import os

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st
from websockets.client import ClientProtocol
from websockets.exceptions import InvalidStatus
from websockets.extensions.permessage_deflate import ClientPerMessageDeflateFactory
from websockets.frames import Frame, Opcode
from websockets.protocol import State
from websockets.uri import parse_uri

from flowd.channel import packing
from flowd.door.head import Head, parse_head
from flowd.door.websocket import GOING_AWAY, MESSAGE_MAX, PING, WebSocket, accept

KEY = "dGhlIHNhbXBsZSBub25jZQ=="


def connect(*, deflate: ClientPerMessageDeflateFactory | None = None) -> ClientProtocol:
    return ClientProtocol(parse_uri("ws://h/ws"), extensions=None if deflate is None else [deflate])


def ask(client: ClientProtocol) -> Head:
    client.send_request(client.connect())
    return parse_head(b"".join(client.data_to_send()))


def open_pair(*, deflate: bool = False) -> tuple[ClientProtocol, WebSocket]:
    """A client and the socket that flowd has with it, after their handshake."""
    client = connect(deflate=ClientPerMessageDeflateFactory() if deflate else None)
    answer, protocol = accept(ask(client))
    assert protocol is not None
    client.receive_data(answer)
    client.events_received()
    assert client.state is State.OPEN
    return client, WebSocket(protocol)


def said(client: ClientProtocol) -> bytes:
    return b"".join(client.data_to_send())


def heard(client: ClientProtocol, data: bytes) -> list[Frame]:
    client.receive_data(data)
    return [event for event in client.events_received() if isinstance(event, Frame)]


def handshake(*lines: str, path: str = "/ws") -> Head:
    text = "\r\n".join((f"GET {path} HTTP/1.1", "Host: h", *lines, "", ""))
    return parse_head(text.encode())


def wishes(extensions: str) -> Head:
    return handshake(
        "Upgrade: websocket",
        "Connection: Upgrade",
        f"Sec-WebSocket-Key: {KEY}",
        "Sec-WebSocket-Version: 13",
        f"Sec-WebSocket-Extensions: {extensions}",
    )


# -- the handshake


def test_a_handshake_is_accepted() -> None:
    client = connect()

    answer, protocol = accept(ask(client))
    client.receive_data(answer)

    assert protocol is not None
    assert client.state is State.OPEN
    assert client.handshake_exc is None
    assert not WebSocket(protocol).deflated


def test_compression_is_agreed_without_context() -> None:
    client = connect(deflate=ClientPerMessageDeflateFactory(client_max_window_bits=True))

    answer, protocol = accept(ask(client))
    client.receive_data(answer)

    assert protocol is not None
    assert WebSocket(protocol).deflated
    assert client.state is State.OPEN
    assert b"server_no_context_takeover" in answer
    assert b"client_no_context_takeover" in answer


@pytest.mark.parametrize(
    ("extensions", "deflated"),
    [
        ("permessage-deflate", True),
        ("permessage-deflate; client_max_window_bits", True),
        ("permessage-deflate; client_max_window_bits=10", True),
        ("permessage-deflate; server_no_context_takeover", True),
        ("permessage-deflate; server_max_window_bits=10", False),
        ("permessage-deflate; server_max_window_bits = 10", False),
        ("x-webkit-deflate-frame", False),
    ],
)
def test_who_insists_on_a_smaller_window_is_served_uncompressed(
    extensions: str, deflated: bool
) -> None:
    answer, protocol = accept(wishes(extensions))

    assert answer.startswith(b"HTTP/1.1 101")
    assert protocol is not None
    assert WebSocket(protocol).deflated is deflated
    assert (b"permessage-deflate" in answer) is deflated


@pytest.mark.parametrize(
    "lines",
    [
        (),
        ("Upgrade: websocket",),
        ("Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 13"),
        ("Upgrade: websocket", "Connection: Upgrade", f"Sec-WebSocket-Key: {KEY}"),
        (
            "Upgrade: websocket",
            "Connection: Upgrade",
            "Sec-WebSocket-Key: short",
            "Sec-WebSocket-Version: 13",
        ),
        (
            "Upgrade: websocket",
            "Connection: Upgrade",
            f"Sec-WebSocket-Key: {KEY}",
            "Sec-WebSocket-Version: 8",
        ),
        (
            "Upgrade: h2c",
            "Connection: Upgrade",
            f"Sec-WebSocket-Key: {KEY}",
            "Sec-WebSocket-Version: 13",
        ),
    ],
)
def test_a_handshake_that_is_none_is_refused(lines: tuple[str, ...]) -> None:
    answer, protocol = accept(handshake(*lines))

    assert protocol is None
    assert answer.startswith(b"HTTP/1.1 4")
    assert answer.count(b"\r\n\r\n") == 1


def test_a_refused_client_learns_the_status() -> None:
    client = connect()
    ask(client)

    client.receive_data(accept(handshake())[0])
    client.receive_eof()

    assert isinstance(client.handshake_exc, InvalidStatus)


# -- what a client says


@pytest.mark.parametrize("deflate", [False, True])
def test_messages_of_a_client_are_heard(deflate: bool) -> None:
    client, socket = open_pair(deflate=deflate)

    client.send_text("ä€𝄞".encode())
    client.send_text(b"x" * 1000)
    client.send_text(b"")

    assert socket.receive(said(client)) == ["ä€𝄞", "x" * 1000, ""]
    assert socket.answers() == b""


def test_binary_messages_are_heard_as_text() -> None:
    client, socket = open_pair()

    client.send_binary(b'{"action":"ping"}')

    assert socket.receive(said(client)) == ['{"action":"ping"}']


@pytest.mark.parametrize("deflate", [False, True])
def test_a_message_in_fragments_is_heard_when_its_last_one_came(deflate: bool) -> None:
    client, socket = open_pair(deflate=deflate)
    euro = "€".encode()

    client.send_text(b"a" + euro[:1], fin=False)
    first = socket.receive(said(client))
    client.send_ping(b"in between")
    client.send_continuation(euro[1:2], fin=False)
    second = socket.receive(said(client))
    client.send_continuation(euro[2:] + b"b", fin=True)

    assert (first, second) == ([], [])
    assert socket.receive(said(client)) == ["a€b"]


@given(
    st.booleans(),
    st.lists(st.lists(st.text(max_size=50), min_size=1, max_size=4), max_size=5),
    st.integers(1, 60),
)
def test_messages_are_heard_however_they_are_cut(
    deflate: bool, messages: list[list[str]], step: int
) -> None:
    client, socket = open_pair(deflate=deflate)
    for parts in messages:
        for index, part in enumerate(parts):
            send = client.send_text if index == 0 else client.send_continuation
            send(part.encode(), fin=index == len(parts) - 1)
    data = said(client)

    texts: list[str] = []
    for start in range(0, len(data), step):
        texts += socket.receive(data[start : start + step])

    assert texts == ["".join(parts) for parts in messages]


def test_a_ping_is_answered() -> None:
    client, socket = open_pair()

    client.send_ping(b"are you there?")
    texts = socket.receive(said(client))
    (pong,) = heard(client, socket.answers())

    assert texts == []
    assert (pong.opcode, bytes(pong.data)) == (Opcode.PONG, b"are you there?")


def test_our_ping_is_answered_by_any_client() -> None:
    client, socket = open_pair()

    heard(client, PING)

    assert socket.receive(said(client)) == []
    assert not socket.closed


def test_a_goodbye_is_answered_and_ends_the_socket() -> None:
    client, socket = open_pair()

    client.send_close(1000, "bye")
    texts = socket.receive(said(client))
    heard(client, socket.answers())

    assert (texts, socket.closed) == ([], True)
    assert (client.close_rcvd and client.close_rcvd.code) == 1000


def test_last_words_before_a_goodbye_in_the_same_breath_are_not_acted_on() -> None:
    client, socket = open_pair()

    client.send_text(b"subscribe")
    client.send_close(1000, "bye")

    assert socket.receive(said(client)) == []
    assert socket.closed


# -- what a client must not say


def closed_with(client: ClientProtocol, socket: WebSocket) -> int | None:
    client.receive_data(socket.answers())
    assert socket.closed
    return None if client.close_rcvd is None else client.close_rcvd.code


@pytest.mark.parametrize("data", [b"\xff\xfe", b"ok \xc3", "€".encode()[:2]])
def test_text_that_is_no_utf_8_ends_the_socket(data: bytes) -> None:
    client, socket = open_pair()

    client.send_text(data)
    client.send_text(b"more")

    assert socket.receive(said(client)) == []
    assert closed_with(client, socket) == 1007


def test_what_was_said_before_the_mistake_is_heard() -> None:
    client, socket = open_pair()

    client.send_text(b"good")
    client.send_text(b"\xff")

    assert socket.receive(said(client)) == ["good"]


@pytest.mark.parametrize("deflate", [False, True])
def test_the_largest_message_is_heard(deflate: bool) -> None:
    client, socket = open_pair(deflate=deflate)

    client.send_text(b"x" * MESSAGE_MAX)

    assert socket.receive(said(client)) == ["x" * MESSAGE_MAX]


def test_a_message_that_is_too_large_ends_the_socket() -> None:
    client, socket = open_pair()

    client.send_text(os.urandom(MESSAGE_MAX // 2 + 1).hex().encode())

    assert socket.receive(said(client)) == []
    assert closed_with(client, socket) == 1009


def test_a_message_that_is_too_large_once_inflated_ends_the_socket() -> None:
    client, socket = open_pair(deflate=True)

    client.send_text(b"\x00" * (MESSAGE_MAX * 500))
    data = said(client)

    assert len(data) < MESSAGE_MAX
    assert socket.receive(data) == []
    assert closed_with(client, socket) == 1009


def test_a_message_that_is_too_large_in_fragments_ends_the_socket() -> None:
    client, socket = open_pair()

    client.send_text(b"x" * 10_000, fin=False)
    socket.receive(said(client))
    client.send_continuation(b"x" * 10_000, fin=True)

    assert socket.receive(said(client)) == []
    assert closed_with(client, socket) == 1009


def test_frames_that_are_not_masked_end_the_socket() -> None:
    client, socket = open_pair()

    texts = socket.receive(Frame(Opcode.TEXT, b"hello").serialize(mask=False))

    assert texts == []
    assert closed_with(client, socket) == 1002


@given(st.binary(min_size=1, max_size=300))
def test_garbage_never_raises(data: bytes) -> None:
    _, socket = open_pair(deflate=True)

    texts = socket.receive(data)
    socket.answers()
    socket.receive(data)

    assert all(isinstance(text, str) for text in texts)


# -- what we say


def test_prepared_messages_are_read_by_a_client_who_agreed_to_deflate() -> None:
    client, _ = open_pair(deflate=True)
    payloads = [b'{"n":%d}' % n * 100 for n in range(3)]

    frames = heard(client, packing.deflated_frames(payloads))

    assert [bytes(frame.data) for frame in frames] == payloads


def test_our_goodbye_says_code_and_reason_once() -> None:
    client, socket = open_pair()

    goodbye = socket.close(GOING_AWAY, "the daemon is stopping")
    again = socket.close(GOING_AWAY, "again")
    heard(client, goodbye)

    assert client.close_rcvd is not None
    assert (client.close_rcvd.code, client.close_rcvd.reason) == (1001, "the daemon is stopping")
    assert again == b""
    assert socket.closed


@pytest.mark.parametrize(
    "reason", ["x" * 500, "ä" * 120, "€" * 80, "𝄞" * 31], ids=["ascii", "two", "three", "four"]
)
def test_a_long_reason_is_cut_to_what_a_goodbye_holds(reason: str) -> None:
    client, socket = open_pair()

    heard(client, socket.close(1008, reason))

    assert client.close_rcvd is not None
    assert reason.startswith(client.close_rcvd.reason)
    assert len(client.close_rcvd.reason.encode()) > 115


def test_after_our_goodbye_nothing_is_heard() -> None:
    client, socket = open_pair()
    socket.close(1000, "bye")

    client.send_text(b"but")

    assert socket.receive(said(client)) == []


def test_the_answer_to_our_goodbye_ends_it_quietly() -> None:
    client, socket = open_pair()
    heard(client, socket.close(1000, "bye"))

    texts = socket.receive(said(client))

    assert (texts, socket.answers()) == ([], b"")


def test_frames_that_complete_no_message_are_counted() -> None:
    client, server = open_pair()
    client.send_ping(b"a")
    client.send_pong(b"b")
    client.send_text(b"one ", fin=False)
    for _ in range(5):
        client.send_continuation(b"", fin=False)
    client.send_continuation(b"two", fin=True)
    client.send_text(b"three")

    assert server.receive(said(client)) == ["one two", "three"]
    assert server.pieces == 8


def test_a_handshake_that_nobody_can_read_is_answered() -> None:
    head = handshake("Upgrade: websocket", "Connection: Upgrade")
    strange = evolve(head, raw=b"GET /ws HTTP/1.1\nHost: h\n\n")

    answer, protocol = accept(strange)

    assert protocol is None
    assert answer.startswith(b"HTTP/1.1 400 ")
