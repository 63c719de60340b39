"""An exchange that has WebSocket and REST on one port: who is connected, and what goes wrong."""

from collections.abc import Awaitable, Callable, Mapping
from random import Random
from typing import Generic, Protocol, TypeVar
from urllib.parse import parse_qsl, urlsplit

import trio
from attrs import frozen
from trio_websocket import WebSocketConnection

from flowd_simulator.door import Answer, opened, serve_http
from flowd_simulator.faults import Faults, Spoil
from flowd_simulator.session import Clock, Limits, Session, guarded, shake_hands
from flowd_simulator.web import loopback, serve_streams

Query = Mapping[str, str]


class Client(Protocol):
    """One WebSocket client of an exchange."""

    @property
    def session(self) -> Session:
        """Its connection."""

    def say(self, text: str) -> None:
        """Send it a message."""

    def receive(self, message: str | bytes) -> None:
        """Do what a message asks for."""

    async def watch(self) -> None:
        """End the connection when it is time to."""


C = TypeVar("C", bound=Client)


@frozen
class Addresses:
    """Where the exchange listens: one port for both."""

    at: str
    path: str

    @property
    def websocket(self) -> str:
        """flowd's `url`."""
        return f"ws://{self.at}{self.path}"

    @property
    def rest(self) -> str:
        """flowd's `rest_url`."""
        return f"http://{self.at}"


class House(Generic[C]):
    """Serves clients at a path, each made by `make` of its session, and answers requests."""

    def __init__(
        self,
        name: str,
        path: str,
        make: Callable[[Session], C],
        respond: Callable[[str, Query], Answer],
        *,
        clock: Clock,
        faults: Faults,
        limits: Limits,
        garbage: Mapping[str, Spoil],
        chance: Random,
    ) -> None:
        self.clients: list[C] = []
        """In the order in which they came."""
        self.accepted = 0
        """How many connections were ever accepted."""
        self.handshake_status: int | None = None
        """Set to refuse new connections with this HTTP status, as 403."""
        self._name = name
        self._path = path
        self._make = make
        self._respond = respond
        self._clock = clock
        self._faults = faults
        self._limits = limits
        self._garbage = garbage
        self._chance = chance

    def tell(self, client: C, text: str) -> None:
        """Send a client a message, with whatever faults are on."""
        for frame in self._faults.frames(text, self._chance, self._garbage):
            client.say(frame)

    def send(self, raw_text: str) -> None:
        """Send every client this text, as it is."""
        for client in self.clients:
            client.say(raw_text)

    def drop_all(self) -> int:
        """Cut every connection without a goodbye; how many there were."""
        for client in self.clients:
            client.session.drop()
        return len(self.clients)

    def close_all(self, code: int = 1001, reason: str = "") -> None:
        """End every connection with a close frame."""
        for client in self.clients:
            client.session.close(code, reason)

    async def serve(
        self,
        trade: Callable[[], Awaitable[None]],
        host: str,
        port: int,
        *,
        task_status: trio.TaskStatus[Addresses],
    ) -> None:
        """Listen on a loopback port until cancelled, while the market goes on; port 0 takes a free
        one.
        """
        host = loopback(host)
        async with trio.open_nursery() as nursery:
            at = await nursery.start(serve_streams, self.serve_stream, host, port)
            nursery.start_soon(self.run, trade)
            task_status.started(Addresses(at, self._path))

    async def run(self, trade: Callable[[], Awaitable[None]]) -> None:
        """Let the market go on, and the scheduled faults happen, until cancelled."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trade)
            nursery.start_soon(self._faults.run, self._name, self.drop_all)

    async def serve_stream(self, stream: trio.abc.Stream) -> None:
        """Serve one connection over any stream: a WebSocket, or requests.

        Closes the stream. What goes wrong with a client is logged and ends here.
        """
        await guarded(self._serve_connection, stream)

    async def _serve_connection(self, stream: trio.abc.Stream) -> None:
        found = await opened(stream)
        if found is None:
            return
        again, websocket = found
        if websocket:
            await shake_hands(again, self._status, self._seat)
        else:
            await serve_http(again, self._answer)

    async def _answer(self, method: str, target: str, body: bytes) -> Answer | None:
        await trio.sleep(self._faults.slow_s)
        parts = urlsplit(target)
        if method != "GET":
            return Answer(405, b"", "text/plain")
        return self._respond(parts.path, dict(parse_qsl(parts.query, keep_blank_values=True)))

    def _status(self, path: str) -> int | None:
        """The HTTP status to refuse a handshake with."""
        return self.handshake_status or (None if path == self._path else 404)

    async def _seat(self, connection: WebSocketConnection, path: str) -> None:
        """Serve one client until it goes."""
        client = self._make(Session(connection, self._limits, self._faults, self._clock))
        self.accepted += 1
        self.clients.append(client)
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(client.watch)
                await client.session.run(client.receive)
                nursery.cancel_scope.cancel()
        finally:
            self.clients.remove(client)
