"""Two daemons of which one carries the other's streams: whoever moves between them loses nothing,
gets nothing twice, or is told exactly what is missing.
"""

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random
from types import SimpleNamespace
from typing import Any

import flowd_http
import flowd_sse
import flowd_websocket
import pytest
import trio
from attrs import define, field, frozen
from trio.testing import MockClock, wait_all_tasks_blocked

from flowd import process, sockets, testing
from flowd.operate.watchdog import Watchdog
from flowd.plugin import Sink, StreamName
from flowd.setup import config
from flowd.values import codec
from tests.edge.process import free_port
from tests.ferry import Ferry, Order

SERVES = """
[sinks.http]
kind = "http"
[sinks.sse]
kind = "sse"
[sinks.websocket]
kind = "websocket"
"""
THERE = "[sources.orders]\nkind = 'hand'\nretain = 40\n" + SERVES
HERE = "[sources.upstream]\nkind = 'ferry'\n" + SERVES
SINKS = (flowd_http, flowd_sse, flowd_websocket)
READER = "[sinks.out]\nkind = 'reader'\ninputs = ['orders']\n"


@frozen
class Inputs:
    inputs: list[StreamName]


READS = SimpleNamespace(flowd_sinks=lambda: [Sink("reader", Inputs, run=wait, reads=Order)])


async def wait(config: Inputs, streams: Any) -> None:
    await trio.sleep_forever()


@asynccontextmanager
async def two(
    ferry: Ferry, *names: str, store: testing.MemoryStore | None = None
) -> AsyncIterator[tuple[testing.Daemon, testing.Daemon]]:
    """The daemon that has the streams, and one that carries them."""
    registry = ferry.registry(*SINKS)
    async with testing.daemon(THERE, registry=registry) as there:
        ferry.streams = {name: there.streams[name] for name in names or ("orders",)}
        async with testing.daemon(HERE, registry=registry, store=store, seed=1) as here:
            await wait_all_tasks_blocked()
            yield there, here


def publish(daemon: testing.Daemon, count: int) -> None:
    for _ in range(count):
        number = daemon.streams["orders"].seq + 1
        daemon.streams["orders"].append(Order("BTCUSDT", number))


async def test_both_answer_the_same_bytes_at_the_same_positions(
    autojump_clock: MockClock,
) -> None:
    ferry = Ferry()
    async with two(ferry) as (there, here):
        publish(there, 50)
        ferry.move("orders")

        answers = [await one.get("/streams/orders?limit=7") for one in (there, here)]

    assert answers[0].body == answers[1].body
    assert answers[0].headers["etag"] == answers[1].headers["etag"]


async def test_who_writes_a_stream_is_told_wherever_it_is_read(
    autojump_clock: MockClock,
) -> None:
    async with two(Ferry(), "orders", "outages") as daemons:
        for daemon in daemons:
            said = codec.decode((await daemon.get("/status")).body)
            kinds = {stream["name"]: stream["kind"] for stream in said["streams"]}
            assert (kinds["orders"], kinds["outages"]) == ("hand", "")


async def test_a_stream_that_is_carried_is_documented_and_its_source_counts_what_it_takes(
    autojump_clock: MockClock,
) -> None:
    ferry = Ferry()
    async with two(ferry) as (there, here):
        publish(there, 3)
        ferry.move("orders")
        status = (await here.get("/status")).json()
        health = await here.get("/health")

    (upstream,) = [part for part in status["components"] if part["name"] == "upstream"]
    assert (upstream["published"], upstream["delivering"]) == (3, True)
    assert "upstream" not in {stream["name"] for stream in status["streams"]}
    assert {stream["name"] for stream in status["streams"]} >= {"orders", "outages"}
    assert health.status == 200


# -- who moves


@define
class Moving:
    """A client who follows `orders` at one daemon after the other, and keeps count."""

    kind: str
    position: str | None = None
    seen: list[int] = field(factory=list)
    missed: list[int] = field(factory=list)
    resets: int = 0
    client: testing.Client | None = None

    async def follow(self, daemon: testing.Daemon) -> None:
        """Leave, and go on at this one with the position that it holds."""
        self.read()
        if self.client is not None:
            self.client.leave()
            self.client = None
        if self.kind == "sse":
            headers = {"last-event-id": self.position} if self.position else {}
            self.client = daemon.connect("/sse/orders", headers=headers)
        elif self.kind == "websocket":
            after = f"&after={self.position}" if self.position else ""
            self.client = daemon.connect(f"/ws?streams=orders{after}")
        else:
            after = f"?after={self.position}" if self.position else ""
            answer = (await daemon.get(f"/streams/orders{after}")).json()
            self._note(answer)

    def read(self) -> None:
        """Take in what came."""
        if self.client is None:
            return
        if self.kind == "websocket":
            for message in self.client.messages():
                assert message["type"] in ("subscribed", "records", "gap"), message
                if message["type"] != "subscribed":
                    self._note(message)
            return
        text = self.client.news().decode()
        if text.startswith("HTTP"):
            text = text.partition("\r\n\r\n")[2]
        for event in text.split("\n\n"):
            told = dict(line.split(": ", 1) for line in event.splitlines() if ": " in line)
            data = codec.decode(told["data"]) if "data" in told else None
            if told.get("event") == "gap":
                self.missed += range(data["first"], data["last"] + 1)
            elif told.get("event") == "reset":
                self.resets += 1
            elif data is not None:
                self.seen.append(data["seq"])
            self.position = told.get("id", self.position)

    def _note(self, told: dict[str, Any]) -> None:
        if told.get("gap"):
            self.missed += range(told["gap"]["first"], told["gap"]["last"] + 1)
        self.resets += bool(told.get("reset"))
        self.seen += [record["seq"] for record in told.get("records", ())]
        self.position = told["position"]


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("kind", ["sse", "websocket", "poll"])
async def test_who_moves_between_two_daemons_gets_each_number_once_or_is_told(
    autojump_clock: MockClock, kind: str, seed: int
) -> None:
    random, ferry = Random(f"{kind}{seed}"), Ferry()
    async with two(ferry) as both:
        there, here = both
        clients = [Moving(kind) for _ in range(4)]
        for client in clients:
            await client.follow(random.choice(both))
        for _ in range(40):
            act = random.random()
            if act < 0.4:
                publish(there, random.randint(1, 9))
            elif act < 0.65:
                # Behind at times, also by more than the other one retains.
                head = there.streams["orders"].seq
                ferry.move("orders", random.choice((None, head - random.randint(0, 5))))
            else:
                await random.choice(clients).follow(random.choice(both))
            await trio.sleep(random.choice((0, 0.1)))
            for client in clients:
                client.read()
        ferry.move("orders")
        await trio.sleep(1)
        last = there.streams["orders"].seq
        for client in clients:
            client.read()
            if kind == "poll":
                await client.follow(here)

    for client in clients:
        assert client.resets == 0
        assert len(client.seen + client.missed) == len({*client.seen, *client.missed}), "once"
        assert sorted(client.seen) == client.seen, "in order"
        first = min([*client.seen, *client.missed])
        assert sorted(client.seen + client.missed) == list(range(first, last + 1))
    assert last > 40, "more than is retained"


async def test_what_was_lost_on_the_way_is_the_source_s_outage_and_nobody_else_s(
    autojump_clock: MockClock,
) -> None:
    ferry = Ferry()
    async with two(ferry) as (there, here):
        publish(there, 5)
        ferry.move("orders")
        await trio.sleep(60)
        publish(there, 60)
        ferry.move("orders")
        outages = [record.value for record in here.streams["outages"].after(0)]
        health = await here.get("/health")

    (outage,) = outages
    assert outage.component == "upstream"
    assert outage.reason == "records 6 to 25 of orders are missing"
    assert (outage.to_ms or 0) - outage.from_ms == pytest.approx(60_000, abs=10)
    assert health.status == 200


async def test_outages_of_the_other_daemon_are_carried_and_own_ones_are_beside_them(
    autojump_clock: MockClock,
) -> None:
    ferry = Ferry(tables={"outages"})
    async with two(ferry, "orders", "outages") as (there, here):
        there.outages.past("orders", "of the exchange", 1000)
        ferry.move("outages")
        here.outages.past("upstream", "of the broker", 1000)
        carried = (await here.get("/streams/outages")).json()
        own = (await here.get("/streams/outages.edge")).json()

    assert [one["value"]["reason"] for one in carried["records"]] == ["of the exchange"]
    assert carried["position"].split(".")[0] == there.streams["outages"].epoch
    assert [one["value"]["reason"] for one in own["records"]] == ["of the broker"]


# -- what is kept


async def test_a_daemon_that_is_killed_goes_on_in_the_epoch_of_the_other(
    autojump_clock: MockClock,
) -> None:
    ferry, store = Ferry(), testing.MemoryStore()
    registry = ferry.registry(*SINKS)
    async with testing.daemon(THERE, registry=registry) as there:
        ferry.streams = {"orders": there.streams["orders"]}
        client = Moving("sse")
        async with testing.daemon(HERE, registry=registry, store=store, crash=True) as here:
            await wait_all_tasks_blocked()
            await client.follow(here)
            publish(there, 6)
            ferry.move("orders")
            await trio.sleep(1)
            client.read()
        async with testing.daemon(HERE, registry=registry, store=store, seed=1) as here:
            await wait_all_tasks_blocked()
            assert here.streams["orders"].head == there.streams["orders"].head
            client.client = None
            await client.follow(here)
            publish(there, 2)
            ferry.move("orders")
            await trio.sleep(1)
            client.read()

    assert client.seen == list(range(1, 9))
    assert (client.missed, client.resets) == ([], 0)


# -- starting over


class Ended(Watchdog):
    """A watchdog that the test tells to end the process."""

    def __init__(self) -> None:
        super().__init__()
        self.watching = trio.Event()

    def watch(self, stop: Any, meter: Any) -> None:
        self.stop = stop
        self.watching.set()


@pytest.mark.usefixtures("work_at_once")
async def test_a_daemon_whose_streams_are_others_now_ends_in_order_and_starts_again(
    autojump_clock: MockClock, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    ferry, watchdog = Ferry(), Ended()
    registry = ferry.registry(*SINKS)
    ferry.streams = {"orders": testing.stream("orders", record=Order)}
    settings = config.parse('[flowd]\nlisten = "127.0.0.1:0"\n' + HERE, registry)
    started: list[float] = []
    saved: list[bool] = []

    async def serve() -> None:
        def ready(addresses: list[str]) -> None:
            started.append(trio.current_time())

        saved.append(
            await process.serve(settings, registry, tmp_path / "flowd.db", watchdog, ready)
        )

    async with trio.open_nursery() as nursery:
        nursery.start_soon(serve)
        await ferry.runs[0].wait()
        ferry.streams["orders"].append(Order("BTCUSDT", 1))
        ferry.move("orders")
        ferry.streams["more"] = testing.stream("more", record=Order)
        ferry.start_over("there is a stream more")
        await ferry.runs[1].wait()
        assert set(ferry.feeds[-1].mirrors) == {"orders", "more"}
        assert str(ferry.feeds[-1].mirror("orders").head) == "test.1"
        watchdog.stop()

    assert saved == [True]
    assert started[1] - started[0] >= 10, "however often it is asked for"
    assert "there is a stream more: flowd starts over" in caplog.text


@asynccontextmanager
async def between_two_daemons(ferry: Ferry, state: Path, listen: str) -> AsyncIterator[Any]:
    """In a process whose daemon has ended to start over, and whose next one waits for the streams
    of the other; what it calls when one serves. It ends with the block.
    """
    watchdog, served = Ended(), trio.Event()
    registry = ferry.registry(*SINKS)
    ferry.streams = {"orders": testing.stream("orders", record=Order)}
    settings = config.parse(f'[flowd]\nlisten = "{listen}"\n' + HERE, registry)

    def ready(addresses: list[str]) -> None:
        if ferry.asked > 1:
            served.set()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(process.serve, settings, registry, state, watchdog, ready)
        await ferry.runs[0].wait()
        ferry.reachable = False
        ferry.start_over("there is a stream more")
        await ferry.missed.wait()
        yield served
        watchdog.stop()


async def ask(stream: trio.SocketStream) -> bytes:
    await stream.send_all(b"GET /streams/orders HTTP/1.1\r\nHost: localhost\r\n\r\n")
    return bytes(await stream.receive_some())


@pytest.mark.usefixtures("work_at_once")
async def test_who_connects_while_it_starts_over_is_served_by_the_next_one(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    ferry, port = Ferry(), free_port()
    async with between_two_daemons(ferry, tmp_path / "flowd.db", f"127.0.0.1:{port}") as served:
        client = await trio.open_tcp_stream("127.0.0.1", port)
        assert not served.is_set()
        ferry.reachable = True
        async with client:
            answer = await ask(client)

    assert answer.startswith(b"HTTP/1.1 200 ")


@pytest.mark.usefixtures("work_at_once")
async def test_where_that_takes_long_he_is_refused_and_others_are_until_it_serves(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    ferry, port = Ferry(), free_port()
    async with between_two_daemons(ferry, tmp_path / "flowd.db", f"127.0.0.1:{port}") as served:
        async with await trio.open_tcp_stream("127.0.0.1", port) as client:
            with pytest.raises(trio.BrokenResourceError), trio.fail_after(sockets.UNATTENDED_S + 5):
                await ask(client)
        with pytest.raises(OSError, match="all attempts to connect"):
            await trio.open_tcp_stream("127.0.0.1", port)
        ferry.reachable = True
        await served.wait()
        async with await trio.open_tcp_stream("127.0.0.1", port) as client:
            answer = await ask(client)

    assert answer.startswith(b"HTTP/1.1 200 ")


@pytest.mark.usefixtures("work_at_once")
async def test_a_process_that_is_to_end_refuses_who_connects(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    ferry, watchdog, port = Ferry(), Ended(), free_port()
    registry = ferry.registry(*SINKS)
    settings = config.parse(f'[flowd]\nlisten = "127.0.0.1:{port}"\n' + HERE, registry)
    refused = False

    async with trio.open_nursery() as nursery:
        nursery.start_soon(
            process.serve, settings, registry, tmp_path / "flowd.db", watchdog, lambda _: None
        )
        await ferry.runs[0].wait()
        async with await trio.open_tcp_stream("127.0.0.1", port) as client:
            # As long as he has not sent his request, the end waits for him.
            await client.send_all(b"GET /streams/outages HTTP/1.1\r\n")
            await trio.sleep(0.1)
            watchdog.stop()
            await trio.sleep(0.1)
            try:
                await trio.open_tcp_stream("127.0.0.1", port)
            except OSError:
                refused = True
            await client.send_all(b"Host: localhost\r\n\r\n")
            answer = bytes(await client.receive_some())

    assert refused
    assert answer.startswith(b"HTTP/1.1 200 ")


@pytest.mark.usefixtures("work_at_once")
async def test_who_cannot_be_reached_is_waited_for(
    autojump_clock: MockClock, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    ferry, watchdog = Ferry(reachable=False), Ended()
    registry = ferry.registry(*SINKS)
    settings = config.parse('[flowd]\nlisten = "127.0.0.1:0"\n' + HERE, registry)
    ready = trio.Event()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(
            process.serve,
            *(settings, registry, tmp_path / "flowd.db", watchdog, lambda addresses: ready.set()),
        )
        await watchdog.watching.wait()
        await trio.sleep(60)
        assert not ready.is_set()
        assert ferry.asked > 20
        ferry.reachable = True
        await ready.wait()
        watchdog.stop()

    waits = [r for r in caplog.records if r.levelno == logging.WARNING and "waiting" in r.message]
    assert len(waits) == 1, "and told once"
    assert "sources.upstream: cannot be reached" in waits[0].message


@pytest.mark.usefixtures("work_at_once")
async def test_what_is_read_here_and_not_there_yet_is_waited_for(
    autojump_clock: MockClock, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    ferry, watchdog = Ferry({"more": testing.stream("more", record=Order)}), Ended()
    registry = ferry.registry(*SINKS, READS)
    text = '[flowd]\nlisten = "127.0.0.1:0"\n' + HERE + READER
    settings, ready = config.parse(text, registry), trio.Event()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(
            process.serve,
            *(settings, registry, tmp_path / "flowd.db", watchdog, lambda addresses: ready.set()),
        )
        await watchdog.watching.wait()
        await trio.sleep(60)
        assert not ready.is_set()
        ferry.streams["orders"] = testing.stream("orders", record=Order)
        await ready.wait()
        watchdog.stop()

    assert 'sinks.out.inputs = "orders": there is no such stream' in caplog.text


async def test_what_cannot_be_here_ends_nobody(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    ferry = Ferry(protected={"secret"})
    ferry.streams = {name: testing.stream(name, record=Order) for name in ("orders", "secret")}

    async with testing.daemon(HERE, registry=ferry.registry(*SINKS)) as daemon:
        await ferry.runs[0].wait()
        assert set(ferry.feeds[-1].mirrors) == {"orders"}
        assert set(ferry.feeds[-1].left_out) == {"secret"}
        assert (await daemon.get("/streams/secret")).status == 404

    assert "upstream: left out: the stream secret is read with a token" in caplog.text


@pytest.mark.usefixtures("work_at_once")
async def test_the_waiting_ends_when_the_process_is_to_end(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    ferry, watchdog = Ferry(reachable=False), Ended()
    registry = ferry.registry(*SINKS)
    settings = config.parse(HERE, registry)
    ended: list[bool] = []

    async def serve() -> None:
        ended.append(
            await process.serve(settings, registry, tmp_path / "flowd.db", watchdog, print)
        )

    async with trio.open_nursery() as nursery:
        nursery.start_soon(serve)
        await watchdog.watching.wait()
        await trio.sleep(5)
        watchdog.stop()

    assert ended == [True]
