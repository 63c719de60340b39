"""Scripted upstreams: what an exchange says, and when it goes wrong, one script for each dial."""

import logging
from collections.abc import Awaitable, Callable
from typing import Any, cast
from urllib.parse import SplitResult

import trio
import trio.testing
import trio_websocket
from attrs import frozen

logger = logging.getLogger("flowd.testing")


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
