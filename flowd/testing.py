"""The test kit, for plugins and for flowd itself: scripted upstreams, a daemon in memory, and
clients of every temper.

Everything here runs without network, disk or threads, so that it is at home under Trio's mock
clock; the codecs are the real ones. A source is tested like this:

    feed = testing.feed(testing.says('{"event": "subscribed"}', TRADE))
    nursery.start_soon(my_plugin.trades, my_plugin.Config(), feed)
    await wait_all_tasks_blocked()
    assert feed.stream.cursor().read().records[0].value == ...
"""

import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from random import Random
from typing import Any, Generic, TypeVar, cast
from urllib.parse import SplitResult, parse_qsl, quote, urlsplit

import h11
import trio
import trio.testing
import trio_websocket
from attrs import define, field, frozen
from websockets.frames import Frame, Opcode
from websockets.protocol import Protocol, Side, State

from flowd import daemon as root
from flowd.channel import packing
from flowd.channel.channel import Client
from flowd.door.paths import Live, Session, follow_path
from flowd.setup import registry as plugins
from flowd.setup.config import parse
from flowd.setup.registry import Registry
from flowd.stream.inputs import Streams
from flowd.stream.log import Retain, Stream
from flowd.stream.snapshot import MemoryStore, Store
from flowd.upstream.connection import Dial
from flowd.upstream.feed import Feed
from flowd.values import codec
from flowd.values.clock import Clock, Stopwatch
from flowd.values.errors import BadRequest, unwrap

__all__ = [
    "Answer",
    "Connection",
    "Daemon",
    "FakeSocket",
    "MemoryStore",
    "Script",
    "ScriptedFeed",
    "ScriptedUpstream",
    "Visitor",
    "answers",
    "clock",
    "closes",
    "daemon",
    "drops",
    "falls_silent",
    "feed",
    "hangs",
    "hears",
    "plays",
    "refuses",
    "registry",
    "says",
    "sends_garbage",
    "stream",
    "streams",
    "unreachable",
    "upstream",
    "waits",
]

logger = logging.getLogger("flowd.testing")

T = TypeVar("T")

START_MS = 1_700_000_000_000
"""What `clock` says at Trio's zero, where a MockClock begins: 2023-11-14, 22:13:20 UTC."""
EPOCH = "test"


def clock() -> int:
    """Wall time in milliseconds: moves with Trio's clock, and goes on from daemon to daemon.

    Outside of Trio it stands still, for tests of plain functions.
    """
    return START_MS + (round(trio.current_time() * 1000) if trio.lowlevel.in_trio_run() else 0)


# -- scripted upstreams --


class Connection:
    """An upstream's side of one connection, for scripts that `plays` runs."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.headers: dict[str, str] = {}
        self.heard: list[str] = []
        """All messages that the client sent on this connection."""
        self._taken = 0
        self._news = trio.lowlevel.ParkingLot()
        self._answers: list[Callable[[str], str | None]] = []
        self._pipe: trio.StapledStream[Any, Any]
        self._codec: trio_websocket.WebSocketConnection

    async def say(self, text: str | bytes) -> None:
        """Send one message."""
        await self._codec.send_message(text)

    async def hear(self) -> str:
        """The client's next message; waits for it."""
        while len(self.heard) <= self._taken:
            await self._news.park()
        self._taken += 1
        return self.heard[self._taken - 1]

    async def close(self, code: int = 1000, reason: str = "") -> None:
        """Say goodbye with a close frame."""
        await self._codec.aclose(code, reason)

    async def drop(self) -> None:
        """Cut the connection without a word."""
        await trio.aclose_forcefully(self._pipe)

    def fall_silent(self) -> None:
        """From here on no byte leaves, not even a pong; the connection stays open."""
        self._pipe.send_stream.send_all_hook = None

    async def send_bytes(self, data: bytes) -> None:
        """Put bytes on the wire that the codec knows nothing of."""
        while True:
            try:
                await self._pipe.send_all(data)
                return
            except trio.BusyResourceError:  # The codec is just sending.
                await trio.lowlevel.checkpoint()

    def answer(self, reply: Callable[[str], str | None]) -> None:
        """Say `reply(message)` to each message that comes from here on; nothing for None."""
        self._answers.append(reply)

    async def _listen(self) -> None:
        while True:
            message = await self._codec.get_message()
            text = message if isinstance(message, str) else message.decode()
            self.heard.append(text)
            self._news.unpark_all()
            for reply in self._answers:
                said = reply(text)
                if said is not None:
                    await self.say(said)


Play = Callable[[Connection], Awaitable[None]]


@frozen
class Script:
    """What an upstream does on one connection. Scripts add up: `says(ACK) + waits(30) + drops()`.

    Where a script ends, the connection stays open: nothing more is said, and pings are answered.
    """

    plays: tuple[Play, ...] = ()
    refuse: int | None = None
    """The HTTP status that the handshake is refused with."""
    dial: str = "answers"
    """What becomes of the dial: `answers`, `fails`, or `hangs`."""

    def __add__(self, other: "Script") -> "Script":
        assert other.dial == "answers"
        assert other.refuse is None
        return Script(self.plays + other.plays, self.refuse, self.dial)


def plays(*functions: Play) -> Script:
    """Run async functions of yours with the `Connection`, one after the other."""
    return Script(functions)


def says(*texts: str | bytes) -> Script:
    """Send these messages at once."""

    async def play(connection: Connection) -> None:
        for text in texts:
            await connection.say(text)

    return Script((play,))


def hears(count: int = 1) -> Script:
    """Wait until the client has said so many more messages."""

    async def play(connection: Connection) -> None:
        for _ in range(count):
            await connection.hear()

    return Script((play,))


def answers(reply: Callable[[str], str | None]) -> Script:
    """From here on, answer each message of the client with `reply(message)`, or not at all."""

    async def play(connection: Connection) -> None:
        connection.answer(reply)
        await trio.lowlevel.checkpoint()

    return Script((play,))


def waits(seconds: float) -> Script:
    """Let time go by; pings are answered."""

    async def play(connection: Connection) -> None:
        await trio.sleep(seconds)

    return Script((play,))


def closes(code: int = 1000, reason: str = "") -> Script:
    """End the connection with a close frame."""

    async def play(connection: Connection) -> None:
        await connection.close(code, reason)

    return Script((play,))


def drops() -> Script:
    """Cut the connection without a word."""
    return Script((Connection.drop,))


def falls_silent() -> Script:
    """Stay connected and send nothing any more, not even pongs: a dead peer."""

    async def play(connection: Connection) -> None:
        connection.fall_silent()
        await trio.sleep_forever()

    return Script((play,))


def sends_garbage(data: bytes = b"\xff\xff\xff\xff not a frame") -> Script:
    """Put bytes on the wire that are no WebSocket frame. For nonsense within frames use `says`."""

    async def play(connection: Connection) -> None:
        await connection.send_bytes(data)

    return Script((play,))


def refuses(status: int = 503) -> Script:
    """Answer the handshake with this HTTP status."""
    return Script(refuse=status)


def unreachable() -> Script:
    """Nobody takes the connection."""
    return Script(dial="fails")


def hangs() -> Script:
    """The connection is taken, and then nothing comes back."""
    return Script(dial="hangs")


class ScriptedUpstream:
    """Answers each dial with the next script, and further ones with the last; none at all without
    scripts.

    Hand its `dial` to a daemon, or let `feed` make one. It speaks the real WebSocket codec.
    """

    def __init__(self, *scripts: Script) -> None:
        self.connections: list[Connection] = []
        """One for each dial, in order."""
        self.failures: list[Exception] = []
        """What scripts of yours raised; the next dial raises the first of them too."""
        self._scripts = scripts or (unreachable(),)

    @property
    def heard(self) -> list[str]:
        """All messages that came in, connection by connection."""
        return [text for connection in self.connections for text in connection.heard]

    @property
    def urls(self) -> list[str]:
        """What was dialled, in order."""
        return [connection.url for connection in self.connections]

    async def dial(self, url: SplitResult) -> trio.abc.Stream:
        """The byte stream to this upstream, whatever the URL."""
        if self.failures:
            raise self.failures[0]
        script = self._scripts[min(len(self.connections), len(self._scripts) - 1)]
        connection = Connection(url.geturl())
        self.connections.append(connection)
        await trio.lowlevel.checkpoint()
        if script.dial == "fails":
            raise ConnectionRefusedError("nobody there")
        ours, connection._pipe = trio.testing.memory_stream_pair()
        if script.dial == "answers":
            # A system task, so that a feed needs no nursery; it ends with the connection.
            trio.lowlevel.spawn_system_task(self._serve, connection, script)
        return ours

    async def _serve(self, connection: Connection, script: Script) -> None:
        try:
            async with trio.open_nursery() as nursery:
                # trio-websocket is typed for sockets and works on any stream.
                pipe = cast(Any, connection._pipe)
                request = await trio_websocket.wrap_server_stream(nursery, pipe)
                connection.headers = {n.decode(): v.decode() for n, v in request.headers}
                if script.refuse is not None:
                    await request.reject(script.refuse)
                else:
                    connection._codec = await request.accept()
                    nursery.start_soon(connection._listen)
                    for play in script.plays:
                        await play(connection)
                    await trio.sleep_forever()
                nursery.cancel_scope.cancel()
        except* (
            trio_websocket.ConnectionClosed,
            trio.BrokenResourceError,
            trio.ClosedResourceError,
        ):
            pass
        except* Exception as group:
            self.failures += [error for error in group.exceptions if isinstance(error, Exception)]
            logger.error("a script failed", exc_info=group)
        finally:
            await trio.aclose_forcefully(connection._pipe)


def upstream(*scripts: Script) -> ScriptedUpstream:
    """An upstream that plays one script for each dial; the last one again for all further dials."""
    return ScriptedUpstream(*scripts)


# -- what components get --


class ScriptedFeed(Feed[T], Generic[T]):
    """A feed whose `websocket` dials the `upstream`. What was published is in its `stream`."""

    def __init__(
        self, upstream: ScriptedUpstream, stream: Stream[T], clock: Clock, retain: Retain
    ) -> None:
        super().__init__(stream.name, stream, clock=clock, dial=upstream.dial, table=self._keep)
        self.upstream = upstream
        self.tables: dict[str, Stream[Any]] = {}
        """The private tables that the component asked for."""
        self._retain = retain

    @property
    def values(self) -> list[T]:
        """What was published and is retained, oldest first."""
        return [record.value for record in self.stream.after(0)]

    def _keep(self, name: str, record: type[Any]) -> Stream[Any]:
        if name not in self.tables:
            self.tables[name] = Stream(
                name, record, clock=self.clock, epoch=EPOCH, retain=self._retain, private=True
            )
        return self.tables[name]


def feed(
    *scripts: Script,
    record: type[Any] = object,
    clock: Clock = clock,
    retain: int = 5000,
    name: str = "test",
) -> ScriptedFeed[Any]:
    """A feed for a source or transform under test, whose upstream plays these scripts."""
    kept = Retain(retain)
    own: Stream[Any] = Stream(name, record, clock=clock, epoch=EPOCH, retain=kept)
    return ScriptedFeed(upstream(*scripts), own, clock, kept)


def stream(
    name: str, values: Iterable[Any] = (), *, record: type[Any] = object, retain: int = 5000
) -> Stream[Any]:
    """A stream that holds these values; append more as the test goes on, close it to end it."""
    made: Stream[Any] = Stream(name, record, clock=clock, epoch=EPOCH, retain=Retain(retain))
    for value in values:
        made.append(value)
    return made


def streams(*inputs: Stream[Any], places: dict[str, int] | None = None) -> Streams:
    """These streams as a transform or sink gets them. Who reads on from `places` was restarted."""
    return Streams({one.name: one for one in inputs}, places, clock=clock)


def registry(*modules: Any) -> Registry:
    """A registry of these plugins alone: modules, or whatever else has the hooks."""
    found = Registry()
    kinds: dict[str, dict[str, Any]] = {
        "flowd_sources": found.sources,
        "flowd_transforms": found.transforms,
        "flowd_sinks": found.sinks,
    }
    for module in modules:
        for hook, known in kinds.items():
            known |= {one.kind: one for one in getattr(module, hook, list)()}
    return found


# -- a whole daemon --


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
    """A daemon in memory: `get` goes through its real door, `visit` follows its live paths."""

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
        wanted = {"Host": "flowd", "Connection": "close", **(headers or {})}
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

    def visit(
        self,
        target: str,
        *,
        headers: Mapping[str, str] | None = None,
        socket: "FakeSocket | None" = None,
    ) -> "Visitor":
        """A live client of the path that `target` names, with the query that it carries.

        BadRequest when an HTTP client asks for what cannot be; a WebSocket client is told in a
        message.
        """
        parts = urlsplit(target)
        for route in self.door.routes:
            path = route.match(parts.path)
            if path is not None and isinstance(route.leads_to, Live):
                query = dict(parse_qsl(parts.query, keep_blank_values=True, strict_parsing=True))
                return Visitor(
                    self, route.leads_to, path, query, headers or {}, socket or FakeSocket()
                )
        raise LookupError(f"nobody lives at {parts.path}: {[r.path for r in self.door.routes]}")


def _end(connection: h11.Connection) -> bytes:
    return connection.send(h11.EndOfMessage()) or b""


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
    crash: bool = False,
) -> AsyncGenerator[Daemon, None]:
    """A running daemon, configured by a TOML text; at the end of the block it is stopped.

    With `crash` it is abandoned there instead, with nothing saved or said. A `store` that is given
    outlives it, so that the next daemon goes on from it. Plugins are the installed ones unless a
    `registry` is given, upstreams are unreachable unless `dial` reaches them.
    """
    kinds = plugins.load() if registry is None else registry
    machine = root.Machine(clock, Random(seed), dial or upstream().dial, stopwatch)
    made = Daemon(parse(config, kinds), kinds, store=store, machine=machine)
    made._listener = _Listener()
    try:
        async with trio.open_nursery() as nursery:
            await nursery.start(made.run, [made._listener])
            yield made
            if not crash:
                made.stop()
                await made.ended.wait()
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


# -- clients --


@define(eq=False)
class FakeSocket:
    """A client's connection, as channels see it: takes everything, until it is told otherwise.

    `takes(100)` makes room for a hundred bytes and no more, `blocks` for none, `recovers` for any
    number; `breaks` is a peer that is gone.
    """

    taken: bytearray = field(factory=bytearray)
    room: int | None = None
    broken: bool = False
    closed: bool = False
    _changed: trio.lowlevel.ParkingLot = field(factory=trio.lowlevel.ParkingLot, init=False)

    def takes(self, count: int | None) -> None:
        """There is room for so many bytes now; without limit for None."""
        self.room = count
        self._changed.unpark_all()

    def blocks(self) -> None:
        """Take nothing any more."""
        self.takes(0)

    def recovers(self) -> None:
        """Take everything again."""
        self.takes(None)

    def breaks(self) -> None:
        """The peer is gone."""
        self.broken = True
        self._changed.unpark_all()

    def send(self, data: bytes | memoryview, /) -> int:
        """Take what there is room for."""
        if self.broken or self.closed:
            raise BrokenPipeError("the peer is gone")
        count = len(data) if self.room is None else min(self.room, len(data))
        if data and not count:
            raise BlockingIOError
        self.taken += data[:count]
        if self.room is not None:
            self.room -= count
        return count

    async def writable(self) -> None:
        """Wait for room."""
        await trio.lowlevel.checkpoint()
        while self.room == 0 and not self.broken and not self.closed:
            await self._changed.park()
        if self.closed:
            raise trio.ClosedResourceError

    def close(self) -> None:
        """Let go of the connection."""
        self.closed = True
        self._changed.unpark_all()


class Visitor:
    """A live client in memory: what it follows is written to its `socket` by the real channels."""

    def __init__(
        self,
        daemon: Daemon,
        live: Live,
        path: dict[str, str],
        query: dict[str, str],
        headers: Mapping[str, str],
        socket: FakeSocket,
    ) -> None:
        self.socket = socket
        self.gone: str | None = None
        """Why the daemon let go of this client."""
        self.goodbye: tuple[int, str] | None = None
        """The WebSocket close code and reason, once the sink has closed the session."""
        self._live = live
        self._read = 0
        self._codec = Protocol(Side.CLIENT, state=State.OPEN, max_size=None)
        pack = packing.frames if live.websocket else packing.plain
        opening = live.head + (pack([live.welcome]) if live.welcome else b"")
        self.client = Client(daemon.channels, socket, pack, self._on_gone, opening)
        self.session = Session(
            live,
            self.client,
            daemon.streams,
            daemon.machine.clock,
            self._on_close,
            path=path,
            query=query,
            headers=headers,
        )
        try:
            (live.open or follow_path)(self.session)
        except BadRequest as error:
            if not live.websocket:
                self.client.abandon()
                raise
            self.session.refuse(error)
        self.client.start()

    def say(self, message: str | Mapping[str, Any]) -> None:
        """Send a WebSocket message; what is no text is sent as JSON."""
        assert self._live.receive is not None
        text = message if isinstance(message, str) else codec.encode(message).decode()
        try:
            self._live.receive(self.session, text)
        except BadRequest as error:
            self.session.refuse(error)

    def news(self) -> bytes:
        """The bytes that came since this was last asked; of a WebSocket use `messages`."""
        data = bytes(memoryview(self.socket.taken)[self._read :])
        self._read += len(data)
        return data

    def messages(self) -> list[Any]:
        """The WebSocket messages, decoded, that came since this was last asked."""
        assert self._live.websocket
        self._codec.receive_data(self.news())
        frames = [event for event in self._codec.events_received() if isinstance(event, Frame)]
        return [codec.decode(frame.data) for frame in frames if frame.opcode is Opcode.TEXT]

    def leave(self) -> None:
        """Go, without a word."""
        self.client.drop("left")

    def _on_gone(self, client: Client, reason: str) -> None:
        self.gone = reason

    def _on_close(self, session: Session, code: int, reason: str) -> None:
        self.goodbye = self.goodbye or (code, reason)
        self.client.drop(reason)
