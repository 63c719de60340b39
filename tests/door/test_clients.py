"""Those who stay: what a sink's code may do to them, and to nobody else."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import pytest
import trio
from attrs import field, frozen
from trio.testing import MockClock, wait_all_tasks_blocked

from flowd import testing
from flowd.door.websocket import WebSocket
from flowd.plugin import BadRequest, Batch, Feed, Live, Session, Sink, Source, follow_path

PONG = b"\x8a\x80\0\0\0\0"


@frozen
class Config:
    pass


@frozen
class Tick:
    price: int


def seqs(batch: Batch[Any]) -> bytes:
    return b"[%s]" % b",".join(b"%d" % record.seq for record in batch.records)


@frozen
class Broken:
    """A sink's `Live`, whose callbacks fail when told to."""

    websocket: bool
    fails: set[str] = field(factory=set)

    def live(self, config: Config) -> Live:
        return Live(
            "/broken/{stream}",
            self.encode,
            head=b"" if self.websocket else b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n",
            websocket=self.websocket,
            warn=self.warn,
            error=self.error,
            heartbeat=self.heartbeat,
            open=self.open,
            receive=self.receive,
        )

    def _maybe(self, what: str) -> None:
        if what in self.fails:
            raise RuntimeError(f"{what} fails")

    def encode(self, batch: Batch[Any]) -> bytes:
        self._maybe("encode")
        return seqs(batch)

    def warn(self, stream: str, behind: int) -> bytes:
        self._maybe("warn")
        return b"%d" % behind

    def error(self, mistake: BadRequest) -> bytes:
        self._maybe("error")
        return b'"mistake"'

    def heartbeat(self, session: Session) -> bytes:
        self._maybe("heartbeat")
        return b'"still here"'

    def open(self, session: Session) -> None:
        follow_path(session)
        self._maybe("open")

    def receive(self, session: Session, text: str) -> None:
        self._maybe("receive")
        raise BadRequest("what?", parameter="text")


async def idle(config: Config, feed: Feed[Tick]) -> None:
    await trio.sleep_forever()


@asynccontextmanager
async def serving(broken: Broken) -> AsyncGenerator[testing.Daemon, None]:
    good = Live("/good/{stream}", seqs, websocket=True)
    kinds = SimpleNamespace(
        flowd_sources=lambda: [Source("idle", idle, Config, record=Tick)],
        flowd_sinks=lambda: [
            Sink("broken", Config, live=broken.live),
            Sink("good", Config, live=lambda config: good),
        ],
    )
    config = """
        [sources.ticks]
        kind = "idle"
        [sinks.broken]
        kind = "broken"
        [sinks.good]
        kind = "good"
    """
    async with testing.daemon(config, registry=testing.registry(kinds)) as daemon:
        yield daemon


def fill(daemon: testing.Daemon, count: int = 1) -> None:
    for number in range(count):
        daemon.streams["ticks"].append(Tick(number))


def stall(daemon: testing.Daemon, client: testing.Client) -> None:
    client.socket.blocks()
    fill(daemon)


ACTS = {
    "encode": lambda daemon, client: fill(daemon),
    "warn": stall,
    "error": lambda daemon, client: client.say("something"),
    "receive": lambda daemon, client: client.say("something"),
    "heartbeat": lambda daemon, client: None,
}
"""What makes the daemon call each callback."""


@pytest.mark.parametrize("what", ACTS)
async def test_a_callback_that_fails_costs_its_client_and_no_other(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture, what: str
) -> None:
    broken = Broken(websocket=True, fails={what})

    async with serving(broken) as daemon:
        fill(daemon)
        good = daemon.connect("/good/ticks")
        broken.fails.clear()
        client = daemon.connect("/broken/ticks")
        await wait_all_tasks_blocked()
        broken.fails.add(what)
        ACTS[what](daemon, client)
        await trio.sleep(50)
        fill(daemon)
        client.socket.recovers()
        await trio.sleep(50)
        fill(daemon)
        await wait_all_tasks_blocked()
        told = [seq for message in good.messages() for seq in message]

        assert client.gone is not None
        assert client.socket.closed
        assert good.gone is None
        assert told == list(range(1, daemon.streams["ticks"].seq + 1))
        assert len(daemon.door.clients) == 1
    assert caplog.text.count(f"a sink's {what} failed") == 1


@pytest.mark.parametrize("what", ["error", "receive", "heartbeat"])
async def test_a_websocket_client_is_told_that_it_is_not_to_blame(
    autojump_clock: MockClock, what: str
) -> None:
    broken = Broken(websocket=True, fails={what})

    async with serving(broken) as daemon:
        client = daemon.connect("/broken/ticks")
        ACTS[what](daemon, client)
        await trio.sleep(50)

    assert client.goodbye == (1011, "internal error")


async def test_who_is_sent_nothing_hears_the_heartbeat_every_thirty_seconds_to_the_second(
    autojump_clock: MockClock,
) -> None:
    heard: dict[int, list[int]] = {0: [], 1: []}
    async with serving(Broken(websocket=True)) as daemon:
        began = trio.current_time()
        clients = {0: daemon.connect("/broken/ticks")}
        await trio.sleep_until(began + 4)
        clients[1] = daemon.connect("/broken/ticks")
        for second in range(4, 130):
            await trio.sleep_until(began + second + 0.1)
            if second == 75:
                fill(daemon)
            await trio.sleep_until(began + second + 0.5)
            for number, client in clients.items():
                if "still here" in client.messages():
                    heard[number].append(second)

    assert heard == {0: [30, 60, 105], 1: [34, 64, 105]}


async def test_who_floods_is_not_listened_to_after_the_goodbye(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard: list[bytes] = []
    receive = WebSocket.receive

    def note(self: WebSocket, data: bytes) -> list[str]:
        heard.append(data)
        return receive(self, data)

    monkeypatch.setattr(WebSocket, "receive", note)

    async with serving(Broken(websocket=True)) as daemon:
        client = daemon.connect("/good/ticks")
        for _ in range(10):
            daemon.door.clients.hear(client.session, PONG * 300)
        await trio.sleep(2)

    assert client.goodbye == (1008, "more than 20 frames per second")
    assert client.gone == "more than 20 frames per second"
    assert len(heard) == 1


@pytest.mark.parametrize("websocket", [True, False])
async def test_who_cannot_be_let_in_for_a_sink_s_bug_leaves_nothing_behind(
    autojump_clock: MockClock, websocket: bool
) -> None:
    broken = Broken(websocket, fails={"open"})
    headers = {
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
    }

    async with serving(broken) as daemon:
        answer = await daemon.get("/broken/ticks", headers if websocket else None)
        await wait_all_tasks_blocked()

        assert (answer.status, answer.json()["error"]["code"]) == (500, "INTERNAL_ERROR")
        assert len(daemon.door.clients) == len(daemon.channels) == 0
        assert not daemon.channels.crowd.behind
