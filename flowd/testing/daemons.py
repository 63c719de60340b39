"""A whole daemon in memory: its real door, and nothing of the machine."""

from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from functools import cache
from random import Random
from types import MappingProxyType
from typing import Any, cast
from urllib.parse import parse_qsl, quote, urlsplit

import h11
import httpx2
import trio
import trio.testing
from attrs import frozen

from flowd import daemon as root
from flowd.door.paths import Live
from flowd.setup import registry as plugins
from flowd.setup.carried import ask
from flowd.setup.config import parse
from flowd.setup.machine import Machine
from flowd.setup.registry import Registry
from flowd.setup.warm import Spare
from flowd.stream.snapshot import Store
from flowd.stream.volatile import MemoryStore
from flowd.testing.clients import Client, FakeSocket
from flowd.testing.components import clock
from flowd.testing.rest import Rest
from flowd.testing.scripts import upstream
from flowd.upstream.connection import Dial
from flowd.values import codec
from flowd.values.clock import Clock, Stopwatch
from flowd.values.errors import unwrap


@frozen
class Answer:
    """An HTTP response."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        """The body, decoded."""
        return codec.decode(self.body)


class Daemon(root.Daemon):
    """A daemon in memory: `get` goes through its real door, `connect` follows its live paths."""

    _listener: "_Listener"

    async def get(self, target: str, headers: Mapping[str, str] | None = None) -> Answer:
        """The answer to one GET, on a connection of its own."""
        return await self.request("GET", target, headers)

    async def request(
        self,
        method: str,
        target: str,
        headers: Mapping[str, str] | None = None,
        body: bytes = b"",
    ) -> Answer:
        """The answer to one request, on a connection of its own."""
        ours, theirs = trio.testing.memory_stream_pair()
        await self._listener.arrive(theirs)
        connection = h11.Connection(h11.CLIENT)
        wanted = {"Host": "localhost", "Connection": "close", **(headers or {})}
        if body:
            wanted["Content-Length"] = str(len(body))
        quoted = quote(target, safe="/?&=%,.:+~")
        request = h11.Request(method=method, target=quoted, headers=list(wanted.items()))
        parts = [connection.send(request)]
        if body:
            parts.append(connection.send(h11.Data(data=body)))
        await ours.send_all(b"".join(part or b"" for part in parts) + _end(connection))
        status, found, content = 0, dict[str, str](), bytearray()
        while not isinstance(event := connection.next_event(), h11.EndOfMessage):
            if event is h11.NEED_DATA:
                connection.receive_data(bytes(await ours.receive_some()))
            elif isinstance(event, h11.Response):
                status = event.status_code
                found = {name.decode(): value.decode() for name, value in event.headers}
            elif isinstance(event, h11.Data):
                content += event.data
        await trio.aclose_forcefully(ours)
        return Answer(status, found, bytes(content))

    def connect(
        self,
        target: str,
        *,
        headers: Mapping[str, str] | None = None,
        socket: FakeSocket | None = None,
    ) -> Client:
        """A live client of the path that `target` names, with the query that it carries: welcomed
        and listened to like one that came through the door, but for its socket.

        BadRequest when an HTTP client asks for what cannot be; a WebSocket client is told in a
        message.
        """
        parts = urlsplit(target)
        for route in self.door.routes:
            path = route.match(parts.path)
            if path is not None and isinstance(route.leads_to, Live):
                query = dict(parse_qsl(parts.query, keep_blank_values=True, strict_parsing=True))
                found = headers or {}
                return Client(self.door.clients, route.leads_to, path, query, found, socket)
        raise LookupError(f"nobody lives at {parts.path}: {[r.path for r in self.door.routes]}")


def _end(connection: h11.Connection) -> bytes:
    return connection.send(h11.EndOfMessage()) or b""


@cache
def installed() -> Registry:
    """The installed plugins, asked once: what they bring is the same for every daemon."""
    return plugins.load()


@asynccontextmanager
async def daemon(
    config: str = "",
    *,
    registry: Registry | None = None,
    dial: Dial | None = None,
    store: Store | None = None,
    seed: int = 0,
    clock: Clock = clock,
    stopwatch: Stopwatch = trio.current_time,
    uptime: Stopwatch = trio.current_time,
    rest: httpx2.AsyncBaseTransport | None = None,
    crash: bool = False,
    spares: Mapping[str, Spare] = MappingProxyType({}),
) -> AsyncGenerator[Daemon, None]:
    """A running daemon, configured by a TOML text; at the end of the block it is stopped.

    With `crash` it is abandoned there instead, with nothing saved or said: its tasks still come to
    an end, and leave no trace in a `MemoryStore`. A `store` that is given
    outlives it, so that the next daemon goes on from it. Plugins are the installed ones unless a
    `registry` is given, upstreams are unreachable unless `dial` reaches them, and REST services
    answer 404 but where `rest` says otherwise. `spares` are of a standby that it takes over from.
    """
    kinds = installed() if registry is None else registry
    machine = Machine(
        clock, Random(seed), dial or upstream().dial, stopwatch, uptime, rest or Rest({}), "test"
    )
    found = parse(config, kinds)
    carried = await ask(found, kinds)
    made = Daemon(found, kinds, store=store, machine=machine, carried=carried, spares=spares)
    made._listener = _Listener()
    try:
        async with trio.open_nursery() as nursery:
            await nursery.start(made.run, [made._listener])
            yield made
            if not crash:
                made.stop()
                await made.ended.wait()
            elif isinstance(store, MemoryStore):
                store.freeze()
            nursery.cancel_scope.cancel()
    except BaseExceptionGroup as group:
        raise unwrap(group) from None


class _Listener(trio.abc.Listener[Any]):
    """Where connections in memory arrive."""

    def __init__(self) -> None:
        self._send, self._receive = trio.open_memory_channel[trio.abc.Stream](0)

    async def arrive(self, pipe: trio.StapledStream[Any, Any]) -> None:
        # The door asks the socket below for its addresses; a pipe in memory has none.
        cast(Any, pipe).socket = _Address()
        await self._send.send(pipe)

    async def accept(self) -> trio.abc.Stream:
        return await self._receive.receive()

    async def aclose(self) -> None:
        await self._receive.aclose()


class _Address:
    """All that the door and Hypercorn ask the socket below a connection."""

    family = trio.socket.AF_INET

    def getpeername(self) -> tuple[str, int]:
        return "127.0.0.1", 50000

    def getsockname(self) -> tuple[str, int]:
        return "127.0.0.1", 4200
