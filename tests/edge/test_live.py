"""Clients that stay: snapshots, live records, resumption, filters, compression, goodbyes."""

import zlib
from functools import partial
from resource import RLIMIT_NOFILE, prlimit

import pytest
import trio
from websockets.exceptions import InvalidStatus
from websockets.extensions.permessage_deflate import ClientPerMessageDeflateFactory
from websockets.frames import Frame, Opcode
from websockets.trio.client import connect as library_connect

from flowd.setup.config import Settings
from tests.edge.conftest import Start
from tests.edge.exchange import Exchange
from tests.edge.peers import WAIT_S, connect, frame, reset, sse, websocket
from tests.edge.process import Flowd, prices

# -- Server-Sent Events --


async def test_an_event_stream_begins_with_retry_and_the_newest_records(
    flowd: Start, exchange: Exchange
) -> None:
    with flowd() as daemon:
        await daemon.start()
        await daemon.reached(exchange.say(5)[-1])
        epoch = (await daemon.poll())["position"].partition(".")[0]

        async with sse(daemon.port, "/sse/orders?limit=3") as events:
            snapshot = [await events.next() for _ in range(3)]
            exchange.say()
            live = await events.next()

        assert events.headers["content-type"] == "text/event-stream; charset=utf-8"
        assert snapshot[0].retry == 2000
        assert [event.ordinal for event in [*snapshot, live]] == [3, 4, 5, 6]
        assert [event.id for event in [*snapshot, live]] == [f"{epoch}.{n}" for n in (3, 4, 5, 6)]


async def test_an_event_stream_resumes_by_last_event_id_and_by_after(
    flowd: Start, exchange: Exchange
) -> None:
    with flowd() as daemon:
        await daemon.start()
        await daemon.reached(exchange.say(9)[-1])
        async with sse(daemon.port) as events:
            fourth = (await events.upto(4))[-1].id
        assert fourth is not None

        async with sse(daemon.port, headers={"Last-Event-ID": fourth}) as events:
            by_header = await events.upto(9)
        async with sse(daemon.port, f"/sse/orders?after={fourth}") as events:
            by_address = await events.upto(9)
        both = {"Last-Event-ID": f"{fourth[:-1]}7"}
        async with sse(daemon.port, f"/sse/orders?after={fourth}&limit=1", headers=both) as events:
            header_wins = await events.upto(9)

        for found in (by_header, by_address):
            assert [event.ordinal for event in found if event.data] == [5, 6, 7, 8, 9]
        assert [event.ordinal for event in header_wins if event.data] == [8, 9]


async def test_an_event_stream_comes_gzipped_to_who_accepts_it_and_each_event_at_once(
    flowd: Start, exchange: Exchange
) -> None:
    with flowd() as daemon:
        await daemon.start()
        await daemon.reached(exchange.say(50)[-1])

        gzip = {"Accept-Encoding": "gzip"}
        async with sse(daemon.port, headers=gzip) as events:
            await events.upto(50)
            for ordinal in (51, 52, 53):
                exchange.say()
                assert (await events.next()).ordinal == ordinal

        assert events.headers["content-encoding"] == "gzip"


async def test_quiet_clients_hear_something_so_that_dead_ones_are_found(shared: Flowd) -> None:
    async with sse(shared.port, "/sse/outages") as events, websocket(shared.port) as ws:
        heard = 0
        while heard < 2:
            heard += (await events.event()).comment is not None
        await ws.control(Opcode.PING)
        await ws.control(Opcode.PING)


def test_clients_hear_something_every_fifteen_seconds_and_may_be_a_thousand_by_default() -> None:
    assert Settings().heartbeat == 15.0
    assert Settings().max_clients == 1000


async def test_an_event_stream_who_talks_is_not_listened_to_and_costs_nothing(
    flowd: Start, exchange: Exchange
) -> None:
    with flowd() as daemon:
        await daemon.start()
        async with sse(daemon.port) as events:
            before = daemon.memory()

            with trio.fail_after(WAIT_S):
                for _ in range(200):
                    await events.stream.send_all(b"x" * 100_000)
            exchange.say()

            assert (await events.next()).ordinal == 1
            assert daemon.memory() - before < 8_000_000


@pytest.mark.parametrize("leave", ["close", "reset"])
async def test_who_leaves_a_quiet_stream_is_noticed_at_once(flowd: Start, leave: str) -> None:
    with flowd(heartbeat="1h") as daemon:
        await daemon.start()
        async with sse(daemon.port) as events, websocket(daemon.port, "/ws?streams=orders") as ws:
            await events.event()
            await ws.message()
            await daemon.settled(lambda found: found["clients"]["live"] == 2)
            for stream in (events.stream, ws.stream):
                if leave == "close":
                    await stream.aclose()
                else:
                    reset(stream)

            await daemon.settled(lambda found: found["clients"]["live"] == 0)


# -- WebSocket --


async def test_a_websocket_gets_a_snapshot_then_each_record_once(
    flowd: Start, exchange: Exchange
) -> None:
    with flowd() as daemon:
        await daemon.start()
        await daemon.reached(exchange.say(4)[-1])

        async with websocket(daemon.port, "/ws?streams=orders&limit=2") as ws:
            snapshot = await ws.message()
            exchange.say()
            live = await ws.message()

        assert (snapshot["type"], snapshot["stream"]) == ("records", "orders")
        assert (snapshot["first"], prices(snapshot)) == (True, [3, 4])
        assert (live["first"], prices(live)) == (False, [5])
        assert live["position"].endswith(".5")


async def test_a_websocket_resumes_by_position(flowd: Start, exchange: Exchange) -> None:
    with flowd() as daemon:
        await daemon.start()
        await daemon.reached(exchange.say(6)[-1])
        position = (await daemon.poll())["position"].replace(".6", ".2")

        async with websocket(daemon.port, f"/ws?streams=orders&after={position}") as ws:
            by_address = await ws.upto(6)
        async with websocket(daemon.port) as ws:
            after = {"orders": position}
            await ws.say({"action": "subscribe", "streams": ["orders"], "after": after})
            by_message = await ws.upto(6)

        for found in (by_address, by_message):
            assert [prices(message) for message in found] == [[3, 4, 5, 6]]
            assert found[0]["first"] is False


async def test_one_websocket_carries_several_streams(flowd: Start, exchange: Exchange) -> None:
    with flowd() as daemon:
        await daemon.start()
        async with websocket(daemon.port) as ws:
            await ws.say({"action": "subscribe", "streams": ["orders", "outages"]})
            streams = {(await ws.message())["stream"] for _ in range(2)}
            exchange.say()
            assert prices(await ws.next("records")) == [1]
            exchange.cut()
            assert (await ws.next("records"))["stream"] == "outages"

        assert streams == {"orders", "outages"}


async def test_unsubscribing_ends_one_stream_and_keeps_the_connection(
    flowd: Start, exchange: Exchange
) -> None:
    with flowd() as daemon:
        await daemon.start()
        async with websocket(daemon.port, "/ws?streams=orders") as ws:
            await ws.next("records")
            await ws.say({"action": "unsubscribe", "streams": ["orders"]})
            await ws.say({"action": "ping", "id": "before"})
            assert (await ws.next("pong"))["id"] == "before"
            await daemon.reached(exchange.say()[-1])

            await ws.say({"action": "ping", "id": 7})

            answer = await ws.message()
            assert (answer["type"], answer["id"]) == ("pong", 7)


async def test_a_filtered_websocket_sees_its_symbol_and_its_position_moves_on(
    flowd: Start, exchange: Exchange
) -> None:
    with flowd(heartbeat="200ms") as daemon:
        await daemon.start()
        async with websocket(daemon.port, "/ws?streams=orders&symbol=ETHUSDT") as ws:
            await ws.next("records")
            exchange.say(3, "BTCUSDT")

            untold = await ws.next("records")
            exchange.say(1, "ETHUSDT")
            told = await ws.next("records")

        assert (untold["records"], untold["position"][-2:]) == ([], ".3")
        assert prices(told) == [4]


CHARTS = """
[transforms.volume]
kind = "liquidation-volume"
input = "orders"

[sinks.charts]
kind = "liquidation-websocket"
orders = "orders"
volume = "volume"
"""


async def test_a_quiet_symbol_has_its_heartbeat_while_others_are_busy(
    flowd: Start, exchange: Exchange
) -> None:
    with flowd(heartbeat="200ms", extra=CHARTS) as daemon:
        await daemon.start()
        async with websocket(daemon.port, "/api/v1/ws/liquidations/ETHUSDT") as ws:
            await ws.next("liquidation_order")

            async with trio.open_nursery() as busy:
                busy.start_soon(keep_busy, exchange, "BTCUSDT")
                heartbeat = await ws.message()
                busy.cancel_scope.cancel()

        assert (heartbeat["type"], heartbeat["symbol"]) == ("heartbeat", "ETHUSDT")


async def keep_busy(exchange: Exchange, symbol: str) -> None:
    while True:
        exchange.say(1, symbol)
        await trio.sleep(0.05)


async def test_pings_are_answered(shared: Flowd) -> None:
    async with websocket(shared.port) as ws:
        ws.protocol.send_ping(b"are you there")
        await ws.flush()

        assert (await ws.control(Opcode.PONG)).data == b"are you there"


async def test_a_message_in_fragments_is_put_together_also_around_a_ping(shared: Flowd) -> None:
    text = b'{"action": "ping", "id": "in pieces"}'
    async with websocket(shared.port) as ws:
        pieces = [text[:5], text[5:9], text[9:]]
        parts = [
            Frame(Opcode.TEXT, pieces[0], fin=False),
            Frame(Opcode.PING, b"between"),
            Frame(Opcode.CONT, pieces[1], fin=False),
            Frame(Opcode.CONT, pieces[2]),
        ]
        for frame in parts:
            for byte in frame.serialize(mask=True):
                await ws.stream.send_all(bytes([byte]))

        assert (await ws.message())["id"] == "in pieces"
        assert (await ws.control(Opcode.PONG)).data == b"between"


async def test_a_client_who_says_goodbye_is_answered(shared: Flowd) -> None:
    async with websocket(shared.port, "/ws?streams=orders&limit=0") as ws:
        ws.protocol.send_close(1000, "enough")
        await ws.flush()

        assert await ws.goodbye() == (1000, "enough")


async def test_the_common_library_gets_compressed_records_and_a_proper_goodbye(
    flowd: Start, exchange: Exchange
) -> None:
    with flowd() as daemon:
        await daemon.start()
        await daemon.reached(exchange.say(100)[-1])
        got: list[str] = []
        async with trio.open_nursery() as nursery:

            async def stay(*, task_status: trio.TaskStatus[None]) -> None:
                address = f"ws://127.0.0.1:{daemon.port}/ws?streams=orders"
                async with library_connect(address, proxy=None) as client:
                    extensions = [one.name for one in client.protocol.extensions]
                    assert extensions == ["permessage-deflate"]
                    got.append(str(await client.recv()))
                    task_status.started()
                    async for message in client:
                        got.append(str(message))
                    assert client.protocol.close_code == 1001

            await nursery.start(stay)
            exchange.say()
            await daemon.reached(101)
            await daemon.stop()

        assert got[0].count('"seq"') == 100
        assert '"price":"101"' in got[1]


async def test_messages_are_compressed_once_for_all_clients(
    flowd: Start, exchange: Exchange
) -> None:
    with flowd() as daemon:
        await daemon.start()
        path = "/ws?streams=orders"
        async with (
            websocket(daemon.port, path, deflate=True) as one,
            websocket(daemon.port, path, deflate=True) as other,
            websocket(daemon.port, path) as plain,
        ):
            exchange.say(3)
            for ws in (one, other, plain):
                await ws.upto(3)
                ws.bytes_read = b""
            exchange.say(100)
            said = [await ws.upto(103) for ws in (one, other, plain)]

        assert said[0] == said[1] == said[2]
        assert one.bytes_read == other.bytes_read
        assert len(one.bytes_read) < len(plain.bytes_read)
        answer = one.handshake["Sec-WebSocket-Extensions"]
        assert "server_no_context_takeover" in answer


async def test_who_insists_on_a_small_window_is_served_uncompressed(
    flowd: Start, exchange: Exchange
) -> None:
    with flowd() as daemon:
        await daemon.start()
        small = ClientPerMessageDeflateFactory(server_max_window_bits=10)
        path = "/ws?streams=orders"
        async with websocket(daemon.port, path, extensions=[small]) as ws:
            exchange.say(50)
            await ws.upto(50)

        assert "Sec-WebSocket-Extensions" not in ws.handshake
        assert b'"price":"50"' in ws.bytes_read


async def test_a_compressed_message_of_a_client_is_understood_and_a_bomb_is_not(
    shared: Flowd,
) -> None:
    async with websocket(shared.port, deflate=True) as ws:
        await ws.say({"action": "ping", "id": "x" * 200})
        assert (await ws.next("pong"))["id"] == "x" * 200

        packer = zlib.compressobj(9, zlib.DEFLATED, -15)
        bomb = packer.compress(b" " * 50_000_000) + packer.flush(zlib.Z_SYNC_FLUSH)
        await ws.stream.send_all(frame(0xC1, bomb[:-4]))

        assert (await ws.goodbye())[0] == 1009


async def test_an_idle_compressed_client_costs_no_compressor_of_its_own(flowd: Start) -> None:
    with flowd() as daemon:
        await daemon.start()
        async with trio.open_nursery() as nursery:

            async def stay(*, task_status: trio.TaskStatus[None]) -> None:
                async with websocket(daemon.port, "/ws?streams=orders", deflate=True) as ws:
                    await ws.message()
                    task_status.started()
                    await trio.sleep_forever()

            for _ in range(50):
                await nursery.start(stay)
            before = daemon.memory()
            for _ in range(200):
                await nursery.start(stay)
            each = (daemon.memory() - before) / 200
            nursery.cancel_scope.cancel()

        assert each < 30_000


# -- mistakes --


@pytest.mark.parametrize(
    ("said", "parameter"),
    [
        ("not json", "message"),
        ("[1]", "message"),
        ({"action": "shout"}, "action"),
        ({}, "action"),
        ({"action": "subscribe"}, "streams"),
        ({"action": "subscribe", "streams": [7]}, "streams"),
        ({"action": "subscribe", "streams": ["order"]}, "stream"),
        ({"action": "subscribe", "streams": ["orders"], "colour": "red"}, "colour"),
        ({"action": "subscribe", "streams": ["orders"], "filter": {"colour": "red"}}, "colour"),
        ({"action": "subscribe", "streams": ["orders"], "filter": "BTCUSDT"}, "filter"),
        ({"action": "subscribe", "streams": ["orders"], "after": {"orders": "x"}}, "after"),
        ({"action": "subscribe", "streams": ["orders"], "after": {"outages": "a.1"}}, "after"),
        ({"action": "subscribe", "streams": ["orders"], "limit": "ten"}, "limit"),
        ({"action": "unsubscribe", "streams": ["orders"]}, "streams"),
    ],
)
async def test_a_mistake_is_named_and_the_connection_kept(
    shared: Flowd, said: object, parameter: str
) -> None:
    async with websocket(shared.port) as ws:
        await ws.say({**said, "id": "mine"} if isinstance(said, dict) else said)

        answer = await ws.message()
        await ws.say({"action": "ping"})

        assert (answer["type"], answer["parameter"]) == ("error", parameter)
        assert "allowed" in answer
        assert answer["message"]
        assert isinstance(said, str) or answer["id"] == "mine"
        assert (await ws.message())["type"] == "pong"


async def test_a_mistake_in_the_address_is_told_in_a_message(shared: Flowd) -> None:
    async with websocket(shared.port, "/ws?streams=orders&after=yesterday") as ws:
        answer = await ws.message()

        assert (answer["type"], answer["parameter"]) == ("error", "after")


async def test_a_mistake_in_a_subscription_changes_nothing(
    flowd: Start, exchange: Exchange
) -> None:
    with flowd() as daemon:
        await daemon.start()
        async with websocket(daemon.port, "/ws?streams=orders") as ws:
            await ws.next("records")
            wrong = {"streams": ["orders", "nothing"], "filter": {"symbol": "ETHUSDT"}}
            await ws.say({"action": "subscribe", **wrong})
            await ws.next("error")

            exchange.say()

            assert prices(await ws.next("records")) == [1]


async def test_who_makes_mistake_after_mistake_is_closed_with_1008(shared: Flowd) -> None:
    async with websocket(shared.port) as ws:
        for _ in range(21):
            await ws.say("nonsense")

        code, reason = await ws.goodbye()

        assert (code, reason) == (1008, "too many mistakes")


async def test_a_flood_of_messages_is_closed_with_1008(shared: Flowd) -> None:
    async with websocket(shared.port) as ws:
        ping = Frame(Opcode.TEXT, b'{"action": "ping"}').serialize(mask=True)
        await ws.stream.send_all(ping * 150)

        code, reason = await ws.goodbye()

        assert code == 1008
        assert "messages per second" in (reason or "")


async def test_a_client_who_says_little_for_long_stays(shared: Flowd) -> None:
    async with websocket(shared.port, "/ws?streams=orders&limit=0") as ws:
        for number in range(90):
            await ws.say({"action": "ping", "id": number})
            assert (await ws.next("pong"))["id"] == number


async def test_a_client_who_pings_without_end_and_reads_nothing_is_let_go(flowd: Start) -> None:
    with flowd(send_buffer="4KiB") as daemon:
        await daemon.start()
        async with websocket(daemon.port, receive_buffer=4096) as ws:
            ping = Frame(Opcode.PING, b"x" * 125).serialize(mask=True)

            async def flood() -> None:
                with trio.move_on_after(WAIT_S):
                    while True:
                        await ws.stream.send_all(ping * 100)

            with pytest.raises(trio.BrokenResourceError):
                await flood()
            found = await daemon.settled(lambda found: found["clients"]["live"] == 0)
            assert found["clients"]["gone"] == {"more than 20 frames per second": 1}


# -- limits --


async def test_more_than_max_clients_get_a_503_and_places_become_free_again(
    flowd: Start,
) -> None:
    with flowd(max_clients=3) as daemon:
        await daemon.start()
        async with (
            sse(daemon.port),
            websocket(daemon.port),
            websocket(daemon.port, "/ws?streams=orders") as leaving,
        ):
            await daemon.settled(lambda found: found["clients"]["live"] == 3)
            answer = await daemon.get("/sse/orders")
            with pytest.raises(InvalidStatus) as refused:
                async with websocket(daemon.port):
                    pass
            polled = await daemon.get("/streams/orders")

            await leaving.stream.aclose()
            await daemon.settled(lambda found: found["clients"]["live"] == 2)
            async with websocket(daemon.port) as ws:
                await ws.say({"action": "ping"})
                await ws.next("pong")

        assert (answer.status, answer.error["parameter"]) == (503, "max_clients")
        assert answer.headers["retry-after"]
        assert refused.value.response.status_code == 503
        assert polled.status == 200


async def test_one_address_may_have_only_so_many_clients(flowd: Start) -> None:
    with flowd(max_clients_per_address=2) as daemon:
        await daemon.start()
        async with sse(daemon.port) as leaving, websocket(daemon.port):
            answer = await daemon.get("/sse/orders")
            async with sse(daemon.port, source="127.0.0.2") as other:
                assert other.status == 200
            await leaving.stream.aclose()
            await daemon.settled(lambda found: found["clients"]["live"] == 1)
            async with sse(daemon.port) as again:
                assert again.status == 200

        assert (answer.status, answer.error["parameter"]) == (503, "max_clients_per_address")


async def test_a_trusted_proxy_says_who_its_clients_are_and_others_are_not_believed(
    flowd: Start,
) -> None:
    settings = {"max_clients_per_address": 1, "trusted_proxies": ["127.0.0.1", "10.9.9.9"]}
    with flowd(**settings) as daemon:
        await daemon.start()
        ask = partial(sse, daemon.port)
        async with (
            ask(headers={"X-Forwarded-For": "198.51.100.1"}),
            ask(headers={"X-Forwarded-For": "198.51.100.1, 198.51.100.2"}),
            ask(headers={"X-Forwarded-For": "198.51.100.3, 10.9.9.9"}),
            ask(source="127.0.0.2", headers={"X-Forwarded-For": "198.51.100.4"}),
        ):
            for source, forwarded, status in [
                ("127.0.0.1", "198.51.100.1", 503),
                ("127.0.0.1", "198.51.100.9, 198.51.100.2", 503),
                ("127.0.0.1", "198.51.100.3", 503),
                ("127.0.0.2", "198.51.100.5", 503),
                ("127.0.0.1", "198.51.100.5", 200),
            ]:
                headers = {"X-Forwarded-For": forwarded}
                async with ask(source=source, headers=headers) as events:
                    assert events.status == status, forwarded


async def test_running_out_of_files_refuses_some_and_ends_nobody(
    flowd: Start, exchange: Exchange
) -> None:
    with flowd() as daemon:
        await daemon.start()
        async with sse(daemon.port) as events:
            await events.event()
            limit = daemon.files() + 10
            before = prlimit(daemon.pid, RLIMIT_NOFILE)
            prlimit(daemon.pid, RLIMIT_NOFILE, (limit, before[1]))
            idle = [await connect(daemon.port) for _ in range(60)]

            await daemon.until(
                lambda: trio.to_thread.run_sync(lambda: daemon.log), lambda log: "EMFILE" in log
            )
            # Long enough for several tries to accept.
            await trio.sleep(0.5)
            exchange.say()
            assert (await events.next()).ordinal == 1

            for stream in idle:
                reset(stream)
            prlimit(daemon.pid, RLIMIT_NOFILE, before)
            assert (await daemon.get("/health")).status == 200
            exchange.say()
            assert (await events.next()).ordinal == 2
        assert "Traceback" not in daemon.log
        assert daemon.log.count("EMFILE") == 1
