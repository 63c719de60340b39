"""Clients who do not read: they cost little, hurt nobody, and learn exactly what they missed."""

import trio

from tests.edge.conftest import Start
from tests.edge.exchange import Exchange
from tests.edge.peers import UPGRADE, connect, request, sse, websocket

SMALL = 4096


async def test_a_stalled_websocket_is_warned_told_the_exact_gap_and_goes_on(
    flowd: Start, exchange: Exchange
) -> None:
    settings = {"send_buffer": "4KiB", "slow_consumer_timeout": "100ms"}
    with flowd(source={"retain": 300}, **settings) as daemon:
        await daemon.start()
        path = "/ws?streams=orders"
        async with websocket(daemon.port, path, receive_buffer=SMALL) as ws:
            await daemon.reached(exchange.say(1500)[-1])
            await daemon.settled(lambda found: found["clients"]["behind"] == 1)
            await trio.sleep(0.2)
            # The first ones may all be on their way to it, as one message; these are not.
            await daemon.reached(exchange.say(1500)[-1])
            found = await ws.upto(3000)
            exchange.say(2)
            found += await ws.upto(3002)
            status = await daemon.status()

        expected, warnings = 1, []
        for message in found:
            if message["type"] == "warning":
                warnings.append(message)
            elif message["type"] == "gap":
                assert message["gap"]["first"] == expected
                expected = message["gap"]["last"] + 1
            else:
                for record in message["records"]:
                    assert record["seq"] == expected
                    expected += 1
                assert message["position"].endswith(f".{expected - 1}")
        assert expected == 3003
        assert [warning["code"] for warning in warnings] == ["SLOW_CONSUMER"]
        assert 0 < warnings[0]["behind"] <= 3000
        gaps = sum(message["type"] == "gap" for message in found)
        assert gaps > 0
        assert (status["clients"]["slow"], status["clients"]["gaps"]) == (1, gaps)
        assert status["clients"]["behind"] == 0


async def test_a_stalled_event_stream_is_warned_told_the_exact_gap_and_goes_on(
    flowd: Start, exchange: Exchange
) -> None:
    settings = {"send_buffer": "4KiB", "slow_consumer_timeout": "100ms"}
    with flowd(source={"retain": 300}, **settings) as daemon:
        await daemon.start()
        async with sse(daemon.port, receive_buffer=SMALL) as events:
            await daemon.reached(exchange.say(1500)[-1])
            await daemon.settled(lambda found: found["clients"]["behind"] == 1)
            await trio.sleep(0.2)
            # The first ones may all be on their way to it, as one message; these are not.
            await daemon.reached(exchange.say(1500)[-1])
            found = await events.upto(3000)
            exchange.say(2)
            found += await events.upto(3002)

        expected = 1
        for event in found:
            if event.name == "gap":
                assert event.json["first"] == expected
                expected = event.json["last"] + 1
                assert event.id is not None
                assert event.id.endswith(f".{expected - 1}")
            elif event.name == "message" and event.data:
                assert event.json["seq"] == expected
                expected += 1
        assert expected == 3003
        warnings = [event.json for event in found if event.name == "warning"]
        assert [warning["code"] for warning in warnings] == ["SLOW_CONSUMER"]


async def test_who_stalls_shortly_is_not_warned_and_misses_nothing(
    flowd: Start, exchange: Exchange
) -> None:
    with flowd(send_buffer="4KiB", slow_consumer_timeout="1h") as daemon:
        await daemon.start()
        path = "/ws?streams=orders"
        async with websocket(daemon.port, path, receive_buffer=SMALL) as ws:
            await daemon.reached(exchange.say(3000)[-1])
            await daemon.settled(lambda found: found["clients"]["behind"] == 1)

            found = await ws.upto(3000)

        assert {message["type"] for message in found} == {"records"}
        seqs = [record["seq"] for message in found for record in message["records"]]
        assert seqs == list(range(1, 3001))


async def test_who_takes_no_byte_for_too_long_is_let_go(flowd: Start, exchange: Exchange) -> None:
    with flowd(send_buffer="4KiB", slow_consumer_limit="1s") as daemon:
        await daemon.start()
        path = "/ws?streams=orders"
        async with (
            websocket(daemon.port, path, receive_buffer=SMALL),
            sse(daemon.port, receive_buffer=SMALL),
            websocket(daemon.port, path) as reader,
        ):
            exchange.say(2000)
            await reader.upto(2000)

            found = await daemon.settled(lambda found: found["clients"]["gone_slow"] == 2)

            exchange.say()
            await reader.upto(2001)
        assert found["clients"]["live"] == 1


async def test_fifty_who_never_read_cost_little_and_delay_nobody(
    flowd: Start, exchange: Exchange
) -> None:
    with flowd(source={"retain": 1000}, slow_consumer_limit="1h") as daemon:
        await daemon.start()
        await daemon.reached(exchange.say(1000)[-1])
        stalled = []
        for number in range(50):
            stream = await connect(daemon.port, receive_buffer=SMALL)
            if number % 2:
                await stream.send_all(request("/sse/orders"))
            else:
                await stream.send_all(request("/ws?streams=orders", headers=UPGRADE))
            stalled.append(stream)
        await daemon.settled(lambda found: found["clients"]["live"] == 50)
        async with websocket(daemon.port, "/ws?streams=orders") as ws:
            before = daemon.memory()
            for _ in range(5):
                said = exchange.say(2000)
                await ws.upto(said[-1])
            grown = daemon.memory() - before
            status = await daemon.status()

        assert status["clients"]["behind"] == 50
        assert grown < 25_000_000
        for stream in stalled:
            await trio.aclose_forcefully(stream)
        await daemon.settled(lambda found: found["clients"]["live"] == 0)


async def test_a_poller_who_never_reads_its_answer_is_let_go_and_delays_nobody(
    flowd: Start, exchange: Exchange
) -> None:
    with flowd(send_buffer="4KiB") as daemon:
        await daemon.start()
        await daemon.reached(exchange.say(3000)[-1])
        before = daemon.memory()
        stalled = [await connect(daemon.port, receive_buffer=SMALL) for _ in range(50)]
        for stream in stalled:
            await stream.send_all(request("/streams/orders"))

        await daemon.settled(lambda found: found["clients"]["connections_open"] >= 50)
        answer = await daemon.get("/streams/orders")

        assert len(answer.json["records"]) == 3000
        assert daemon.memory() - before < 15_000_000
        for stream in stalled:
            await trio.aclose_forcefully(stream)
        await daemon.settled(lambda found: found["clients"]["connections_open"] <= 1)
