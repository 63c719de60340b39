"""Bad traffic at the port. Whatever comes in, the daemon answers the next client."""

import re
from random import Random
from typing import Any

import pytest
import trio

from tests.edge.conftest import Start
from tests.edge.exchange import Exchange
from tests.edge.peers import (
    UPGRADE,
    WAIT_S,
    connect,
    fetch,
    frame,
    http,
    request,
    reset,
    sse,
    websocket,
)
from tests.edge.process import Flowd, until

HOT, APP, LIVE = "/streams/orders", "/status", "/sse/orders"
H2C = {
    "Connection": "Upgrade, HTTP2-Settings",
    "Upgrade": "h2c",
    "HTTP2-Settings": "AAMAAABkAAQAoAAAAAIAAAAA",
}
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\4\0\0\0\0\0"
CLIENT_HELLO = bytes.fromhex("16030100c8010000c40303") + bytes(range(192))
JUNK = Random(31).randbytes(4000)


def without(name: str) -> dict[str, str]:
    return {key: value for key, value in UPGRADE.items() if key != name}


def head(line: str, *lines: str) -> bytes:
    return "\r\n".join([line, *lines, "", ""]).encode("latin-1")


REFUSED: list[tuple[str, bytes, set[int]]] = [
    ("garbage", JUNK + b"\r\n\r\n", {400}),
    ("zeros", bytes(4000) + b"\r\n\r\n", {400}),
    ("TLS", CLIENT_HELLO + b"\r\n\r\n", {400}),
    ("a huge head", request(HOT, headers={"X": "x" * 20_000}), {431}),
    ("a huge target", request("/" + "x" * 20_000), {431}),
    ("a head without end", b"GET / HTTP/1.1\r\nX: " + b"x" * 40_000, {431}),
    ("ten thousand headers", head("GET / HTTP/1.1", *["A: b"] * 10_000), {431}),
    ("the preface of HTTP/2", PREFACE, {505}),
    ("HTTP/3", head("GET /status HTTP/3.0", "Host: x"), {505}),
    ("HTTP/0.9", b"GET /status\r\n\r\n", {400}),
    ("no method", head(" /status HTTP/1.1", "Host: x"), {400}),
    ("no host", head("GET /status HTTP/1.1"), {400}),
    ("two hosts", head("GET /status HTTP/1.1", "Host: x", "Host: y"), {400}),
    ("a space before the colon", head("GET /status HTTP/1.1", "Host : x"), {400}),
    ("no colon", head("GET /status HTTP/1.1", "Host: x", "nothing"), {400}),
    ("a zero in the target", head("GET /sta\0tus HTTP/1.1", "Host: x"), {400}),
    ("a zero in a header", head("GET /status HTTP/1.1", "Host: x\0y"), {400}),
    ("a length that is no number", head("GET /x HTTP/1.1", "Host: x", "Content-Length: x"), {400}),
    ("a negative length", head("GET /x HTTP/1.1", "Host: x", "Content-Length: -1"), {400}),
    (
        "two lengths",
        head("POST /status HTTP/1.1", "Host: x", "Content-Length: 1", "Content-Length: 2"),
        {400},
    ),
    ("another coding", head("POST /x HTTP/1.1", "Host: x", "Transfer-Encoding: gzip"), {501, 400}),
    ("bytes that are no text in a path", request("/%ff%fe"), {400}),
    ("bytes that are no text in a query", request(f"{HOT}?symbol=%ff"), {400}),
    ("a thousand parameters", request(f"{HOT}?" + "&".join(["a=1"] * 1000)), {400}),
    ("a body for a poll", request(HOT, body=b"hello"), {405}),
    ("a body for a stream", request(LIVE, body=b"hello"), {405}),
    (
        "chunks for a poll",
        request(HOT, headers={"Transfer-Encoding": "chunked"}) + b"5\r\nhello\r\n0\r\n\r\n",
        {405},
    ),
    ("a post to a poll", request(HOT, "POST", body=b"hello"), {405}),
    (
        "a post that never sends its body",
        request(APP, "POST", headers={"Content-Length": "9"}),
        {405},
    ),
    (
        "a post of a terabyte",
        request("/components/orders/reconnect", "POST", headers={"Content-Length": str(10**12)}),
        {401, 413},
    ),
    (
        "chunks that are none",
        request(APP, "POST", headers={"Transfer-Encoding": "chunked"}) + b"zz\r\n" + JUNK,
        {400, 405},
    ),
    ("a tunnel", head("CONNECT example.org:443 HTTP/1.1", "Host: localhost"), {400, 404, 405}),
    ("another method", request(APP, "BREW"), {405}),
    ("a WebSocket to a page", request(APP, headers=UPGRADE), {404}),
    ("a WebSocket to a poll", request(HOT, headers=UPGRADE), {200}),
    ("a WebSocket without a key", request("/ws", headers=without("Sec-WebSocket-Key")), {400}),
    (
        "a WebSocket of another version",
        request("/ws", headers={**UPGRADE, "Sec-WebSocket-Version": "8"}),
        {400, 426},
    ),
    ("a WebSocket by POST", request("/ws", "POST", headers=UPGRADE), {405, 400}),
    ("a WebSocket without the word", request("/ws"), {426}),
    ("a WebSocket without Connection", request("/ws", headers=without("Connection")), {400, 426}),
]


@pytest.mark.parametrize(
    ("sent", "statuses"), [each[1:] for each in REFUSED], ids=[each[0] for each in REFUSED]
)
async def test_a_bad_request_is_answered_and_hurts_nobody(
    shared: Flowd, sent: bytes, statuses: set[int]
) -> None:
    async with http(shared.port) as peer:
        await peer.stream.send_all(sent)
        with trio.fail_after(WAIT_S):
            answer = await peer.stream.receive_some(65536)

        assert int(answer.split(b" ")[1]) in statuses, answer
        assert b"Traceback" not in answer
    assert (await shared.get("/health")).status == 200


@pytest.mark.parametrize(
    "sent",
    [
        b"",
        b"GET /stat",
        b"\r\n\r\n\r\n\r\n",
        b"GET /status HTTP/1.1\nHost: x\n\n",
        request(APP),
        request(HOT),
        request(LIVE),
        request(APP, "POST", headers={"Content-Length": "100"}) + b"half",
        request("/ws", headers=UPGRADE),
        request("/ws", headers=UPGRADE) + frame(0x81, b"{}")[:3],
    ],
)
@pytest.mark.parametrize("leave", ["close", "reset", "end of writing"])
async def test_who_leaves_halfway_hurts_nobody(shared: Flowd, sent: bytes, leave: str) -> None:
    stream = await connect(shared.port)
    await stream.send_all(sent)

    if leave == "reset":
        reset(stream)
    elif leave == "close":
        await stream.aclose()
    else:
        await stream.send_eof()

    try:
        gone = await shared.settled(
            lambda found: (
                found["clients"]["live"] == 0 and found["clients"]["connections_open"] <= 1
            ),
            # Less than a head that does not come is waited for.
            within_s=9,
        )
    finally:
        await trio.aclose_forcefully(stream)
    assert gone["healthy"] is True


BROKEN: list[tuple[str, bytes, int]] = [
    ("an unmasked frame", frame(0x81, b"{}", mask=False), 1002),
    ("a reserved opcode", frame(0x83, b"{}"), 1002),
    ("a reserved control opcode", frame(0x8B), 1002),
    ("a reserved bit", frame(0xA1, b"{}"), 1002),
    ("a compressed frame where none was agreed", frame(0xC1, b"{}"), 1002),
    ("a message that is too long", frame(0x81, b" " * 17_000), 1009),
    ("the announcement of an exabyte", b"\x81\xff" + (10**18).to_bytes(8), 1009),
    ("fragments without end", frame(0x01, b" " * 9000) + frame(0x00, b" " * 9000), 1009),
    ("a control frame in pieces", frame(0x09, b"half"), 1002),
    ("a control frame that is too long", frame(0x89, b"x" * 126), 1002),
    ("a continuation of nothing", frame(0x80, b"{}"), 1002),
    ("a message within a message", frame(0x01, b"{") + frame(0x81, b"}"), 1002),
    ("text that is none", frame(0x81, b"\xff\xfe"), 1007),
    ("a goodbye of one byte", frame(0x88, b"\x03"), 1002),
    ("a goodbye with a code that is none", frame(0x88, (999).to_bytes(2)), 1002),
    ("a goodbye with words that are none", frame(0x88, (1000).to_bytes(2) + b"\xff"), 1007),
    ("garbage", JUNK, 1002),
]


@pytest.mark.parametrize("when", ["after", "within"])
@pytest.mark.parametrize(
    ("sent", "code"), [each[1:] for each in BROKEN], ids=[each[0] for each in BROKEN]
)
async def test_a_broken_frame_closes_its_connection_alone(
    shared: Flowd, sent: bytes, code: int, when: str
) -> None:
    path = "/ws?streams=orders"
    async with websocket(shared.port, path) as other:
        more = sent if when == "within" else b""
        async with websocket(shared.port, path, more=more) as ws:
            if when == "after":
                await ws.message()
                await ws.stream.send_all(sent)

            assert (await ws.goodbye())[0] == code
        await other.say({"action": "ping"})
        await other.next("pong")
    assert (await shared.get("/health")).status == 200


async def test_a_byte_right_after_the_handshake_is_the_beginning_of_the_first_message(
    shared: Flowd,
) -> None:
    ping = frame(0x81, b'{"action":"ping","id":1}')
    for path in ("/ws", "/ws?streams=orders&limit=1"):
        async with websocket(shared.port, path, more=ping[:1]) as ws:
            await ws.stream.send_all(ping[1:])

            assert (await ws.next("pong"))["id"] == 1


async def test_a_binary_message_is_read_as_text(shared: Flowd) -> None:
    async with websocket(shared.port) as ws:
        await ws.stream.send_all(frame(0x82, b'{"action":"ping","id":1}'))

        assert (await ws.message())["id"] == 1


async def test_h2c_is_not_taken_up(shared: Flowd) -> None:
    for path in (APP, HOT):
        async with http(shared.port) as peer:
            answer = await peer.ask(path, headers=H2C)
            again = await peer.ask(path)

            assert (answer.status, again.status) == (200, 200)


async def test_an_absolute_target_and_an_asterisk_are_answered(shared: Flowd) -> None:
    for target, method in (("http://x/health", "GET"), ("*", "OPTIONS")):
        answer = await fetch(shared.port, target, method)

        assert answer.status < 500


async def test_who_waits_for_a_continue_gets_an_answer(shared: Flowd) -> None:
    headers = {"Expect": "100-continue", "Content-Length": "5"}
    async with http(shared.port) as peer:
        await peer.stream.send_all(request("/components/orders/reconnect", "POST", headers=headers))
        first = await peer.answer("POST")
        final = await peer.answer("POST") if first.status == 100 else first

    assert final.status == 401


async def test_a_head_that_does_not_come_is_given_up_after_ten_seconds(shared: Flowd) -> None:
    async def silent(sent: bytes, trickle: bytes = b"") -> None:
        async with http(shared.port) as peer:
            await peer.stream.send_all(sent)
            with trio.fail_after(WAIT_S):
                async with trio.open_nursery() as nursery:
                    if trickle:
                        nursery.start_soon(drip, peer.stream, trickle)
                    answers.append(await peer.stream.receive_some(65536))
                    nursery.cancel_scope.cancel()

    async def drip(stream: trio.SocketStream, byte: bytes) -> None:
        while True:
            await trio.sleep(0.5)
            await stream.send_all(byte)

    answers: list[bytes] = []
    async with trio.open_nursery() as nursery:
        nursery.start_soon(silent, b"")
        nursery.start_soon(silent, b"GET /status HTTP/1.1\r\n")
        nursery.start_soon(silent, b"GET /status HTTP/1.1\r\nX: ", b"x")

    assert [answer[:12] for answer in sorted(answers)] == [b"", *[b"HTTP/1.1 408"] * 2]


async def test_a_storm_of_resets_ends_nobody(flowd: Start, exchange: Exchange) -> None:
    with flowd() as daemon:
        await daemon.start()
        random = Random(5)
        upgrade = request("/ws?streams=orders", headers=UPGRADE)
        wholes = [request(HOT), request(APP), request(LIVE), upgrade, upgrade + JUNK, PREFACE, JUNK]
        async with sse(daemon.port) as events:
            for _ in range(10):
                streams = [await connect(daemon.port) for _ in range(60)]
                for stream in streams:
                    whole = random.choice(wholes)
                    await stream.send_all(whole[: random.randint(0, len(whole))])
                exchange.say()
                for stream in streams:
                    reset(stream)

            found = await daemon.settled(
                lambda found: (
                    found["clients"]["live"] == 1 and found["clients"]["connections_open"] <= 1
                )
            )
            assert (await events.upto(10))[-1].ordinal == 10
        await daemon.stop()

        assert found["healthy"] is True
        assert not re.search("ERROR|Traceback", daemon.log)


async def test_more_connections_than_there_is_room_for_are_told_so_and_room_comes_back(
    flowd: Start,
) -> None:
    with flowd(max_clients=10) as daemon:
        await daemon.start()
        streams = [await connect(daemon.port) for _ in range(300)]
        for stream in streams[:200]:
            await stream.send_all(b"GET ")
        # Ten live clients and 200 others are let in, in the order in which they came.
        for stream in streams[220:]:
            with trio.fail_after(WAIT_S):
                assert (await stream.receive_some(12)) == b"HTTP/1.1 503"
        with trio.move_on_after(0.1) as waited:
            await streams[0].receive_some(10)
        assert waited.cancelled_caught
        for stream in streams:
            reset(stream)

        async def room() -> dict[str, Any]:
            try:
                return await daemon.status()
            except (EOFError, trio.BrokenResourceError):
                return {}

        found = await until(room, lambda found: found and found["clients"]["connections_open"] <= 1)

        assert found["clients"]["refused"]["connections"] >= 80
