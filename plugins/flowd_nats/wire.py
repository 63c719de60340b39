"""A connection to a NATS server: its text protocol over a stream of Trio's, and nothing that goes
on behind the caller's back.

It does not reconnect, resend or buffer: whoever holds it is told at once that it broke, asks the
server how far it is, and begins a new one. What it remembers is bounded by what is asked at once.
"""

import json
import os
import ssl
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from urllib.parse import SplitResult, unquote, urlsplit

import trio
from attrs import define, evolve, field, frozen

from flowd.plugin import UpstreamError

LINE_MAX = 64 * 1024
"""A line of the protocol is not longer than this; a message's own limit is the server's."""
PORT = 4222
NO_RESPONDERS = 503


class Broken(UpstreamError):
    """The server cannot be reached, refuses us, or does not answer."""


@frozen
class Login:
    """How we say who we are. `sign` makes what the server asks for of its nonce."""

    user: str | None = None
    password: str | None = None
    token: str | None = None
    sign: Callable[[bytes], dict[str, str]] | None = None
    tls: ssl.SSLContext | None = None


@frozen
class Message:
    """What came to our inbox: `status` is a number where the server itself answers."""

    body: bytes
    status: int | None = None


@define(eq=False)
class Reply:
    """An answer that is still to come."""

    came: trio.Event = field(factory=trio.Event)
    message: Message | None = None


class Connection:
    """One connection. `listen` owns it and closes it; many tasks may ask at once."""

    def __init__(self, stream: trio.abc.Stream, hello: dict[str, Any]) -> None:
        self.max_payload = int(hello.get("max_payload", 1024 * 1024))
        """How many bytes of headers and body together the server takes."""
        self.version = str(hello.get("version", ""))
        self._stream = stream
        # Nobody else on this server has this name: it needs no dice.
        self._inbox = f"_INBOX.{hello.get('server_id', 'x')}.{hello.get('client_id', 0)}"
        self._asked = 0
        self._waiting: dict[int, Reply] = {}
        self._sending = trio.Lock()
        self._why: str | None = None
        self._listening = trio.CancelScope()

    @property
    def broken(self) -> bool:
        """Whether nothing can be asked any more."""
        return self._why is not None

    def leave(self) -> None:
        """Have it closed: what was sent and not answered may still be done."""
        self._why = self._why or "was left"
        self._listening.cancel()

    async def begin(self) -> None:
        """Have answers sent here."""
        await self._send(b"SUB %b.* 1\r\n" % self._inbox.encode())

    async def ask(self, subject: str, body: bytes = b"") -> Message:
        """A request and its answer; Broken when none can come."""
        (answer,) = await self.ask_all([(subject, b"", body)])
        return answer

    async def ask_all(self, requests: Sequence[tuple[str, bytes, bytes]]) -> list[Message]:
        """Send all of these (a subject, headers or nothing, a body) in this order, in one piece,
        and wait for all answers. Without an answer, Broken says so: who calls sets the time.
        """
        first = self._asked
        self._asked += len(requests)
        numbers = range(first, self._asked)
        parts: list[bytes] = []
        for number, (subject, headers, body) in zip(numbers, requests, strict=True):
            self._waiting[number] = Reply()
            to = f"{subject} {self._inbox}.{number} ".encode()
            if headers:
                sizes = b"%d %d\r\n" % (len(headers), len(headers) + len(body))
                parts += (b"HPUB ", to, sizes, headers, body, b"\r\n")
            else:
                parts += (b"PUB ", to, b"%d\r\n" % len(body), body, b"\r\n")
        try:
            await self._send(b"".join(parts))
            return [await self._answer(self._waiting[number]) for number in numbers]
        finally:
            for number in numbers:
                self._waiting.pop(number, None)

    async def _answer(self, reply: Reply) -> Message:
        await reply.came.wait()
        if reply.message is None:
            raise Broken(self._why or "closed the connection")
        return reply.message

    async def _send(self, data: bytes) -> None:
        if self._why is not None:
            raise Broken(self._why)
        try:
            async with self._sending:
                await self._stream.send_all(data)
        except (OSError, trio.BrokenResourceError, trio.ClosedResourceError):
            raise Broken(self._why or "closed the connection") from None

    async def listen(self, lines: "Lines") -> None:
        """Take what comes until the connection ends, and then tell all who wait."""
        try:
            with self._listening:
                while True:
                    await self._hear(lines)
        except Broken as error:
            self._why = str(error)
        except (ValueError, IndexError):
            self._why = "does not speak NATS"
        finally:
            self._why = self._why or "closed the connection"
            for reply in self._waiting.values():
                reply.came.set()
            await trio.aclose_forcefully(self._stream)

    async def _hear(self, lines: "Lines") -> None:
        verb, *words = (await lines.line()).split()
        if verb == b"PING":
            await self._send(b"PONG\r\n")
        elif verb in (b"MSG", b"HMSG"):
            await self._take(verb, words, lines)
        elif verb == b"-ERR":
            said = b" ".join(words).decode(errors="replace").strip("'")
            raise Broken(f"refuses us: {said}")
        # INFO is about other servers of a cluster, PONG and +OK are of no interest.

    async def _take(self, verb: bytes, words: list[bytes], lines: "Lines") -> None:
        subject, size = words[0].decode(), int(words[-1])
        if not 0 <= size <= 2 * self.max_payload + LINE_MAX:
            raise Broken(f"sent a message of {size} bytes")
        body = (await lines.exactly(size + 2))[:size]
        status = None
        if verb == b"HMSG":
            head = int(words[-2])
            said = body[:head].split(b"\r\n", 1)[0].split()
            status, body = int(said[1]) if len(said) > 1 else None, body[head:]
        reply = self._waiting.get(int(subject.rpartition(".")[2]))
        if reply is not None:
            reply.message = Message(body, status)
            reply.came.set()


class Lines:
    """What a stream sends, by lines and by counts; Broken at its end."""

    def __init__(self, stream: trio.abc.Stream, left: bytes = b"") -> None:
        self._stream = stream
        self._left = bytearray(left)

    async def line(self) -> bytes:
        """The next line that is not empty, without its end."""
        while True:
            line, found, rest = self._left.partition(b"\r\n")
            if not found:
                if len(self._left) > LINE_MAX:
                    raise Broken("does not speak NATS")
                await self._more()
            else:
                self._left = rest
                if line.strip():
                    return bytes(line)

    async def exactly(self, count: int) -> bytes:
        """So many bytes."""
        while len(self._left) < count:
            await self._more()
        found = bytes(self._left[:count])
        del self._left[:count]
        return found

    async def _more(self) -> None:
        try:
            data = await self._stream.receive_some()
        except (OSError, trio.BrokenResourceError, trio.ClosedResourceError):
            data = b""
        if not data:
            raise Broken("closed the connection")
        self._left += data


async def connect(url: str, login: Login, timeout_s: float) -> tuple[Connection, Lines]:
    """A connection that has been greeted, and what its `listen` takes, which must run from now on;
    Broken where none can be had.
    """
    parts = urlsplit(url)
    host = parts.hostname or "127.0.0.1"
    with within(timeout_s, "does not answer"):
        try:
            plain = await trio.open_tcp_stream(host, parts.port or PORT)
        except OSError as error:
            raise Broken(f"cannot be reached: {reason(error)}") from None
        stream: trio.abc.Stream = plain
        try:
            lines = Lines(plain)
            hello = await _hello(lines)
            if parts.scheme == "tls" or hello.get("tls_required") or login.tls is not None:
                stream = await _encrypted(plain, host, login.tls)
                lines = Lines(stream)
            await _introduce(stream, lines, hello, _named(parts, login))
            connection = Connection(stream, hello)
            await connection.begin()
        except BaseException:
            await trio.aclose_forcefully(stream)
            raise
    return connection, lines


async def _hello(lines: Lines) -> dict[str, Any]:
    verb, _, told = (await lines.line()).partition(b" ")
    if verb != b"INFO":
        raise Broken("does not speak NATS")
    try:
        hello = json.loads(told)
    except ValueError:
        hello = None
    if not isinstance(hello, dict):
        raise Broken("does not speak NATS")
    if not hello.get("headers"):
        raise Broken("is too old: it does not know headers (NATS 2.2 does)")
    return hello


async def _encrypted(
    plain: trio.SocketStream, host: str, context: ssl.SSLContext | None
) -> trio.abc.Stream:
    context = context or ssl.create_default_context()
    stream = trio.SSLStream(plain, context, server_hostname=host, https_compatible=True)
    try:
        await stream.do_handshake()
    except trio.BrokenResourceError as error:
        raise Broken(f"cannot be trusted: {error.__cause__ or error}") from None
    return stream


async def _introduce(
    stream: trio.abc.Stream, lines: Lines, hello: dict[str, Any], login: Login
) -> None:
    told: dict[str, object] = {
        **{"verbose": False, "pedantic": False, "headers": True, "no_responders": True},
        **{"lang": "flowd", "version": "1", "protocol": 1, "name": "flowd"},
    }
    if login.user is not None:
        told |= {"user": login.user, "pass": login.password or ""}
    if login.token is not None:
        told["auth_token"] = login.token
    if login.sign is not None:
        told |= login.sign(str(hello.get("nonce", "")).encode())
    try:
        await stream.send_all(b"CONNECT %b\r\nPING\r\n" % json.dumps(told).encode())
    except (trio.BrokenResourceError, trio.ClosedResourceError):
        raise Broken("closed the connection") from None
    while (line := await lines.line()) != b"PONG":
        if line.startswith(b"-ERR"):
            raise Broken(f"refuses us: {line[4:].decode(errors='replace').strip(chr(39) + ' ')}")


def _named(parts: SplitResult, login: Login) -> Login:
    """With the user of the address, which stands before the `@`, where there is one."""
    if parts.username is None:
        return login
    if parts.password is None:
        return evolve(login, token=unquote(parts.username))
    return evolve(login, user=unquote(parts.username), password=unquote(parts.password))


def reason(error: BaseException) -> str:
    """Why nobody could be called, in words: of several attempts the last one's."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[-1]
    if isinstance(error, OSError) and error.errno is None and error.__cause__ is not None:
        return reason(error.__cause__)
    number = getattr(error, "errno", None)
    return os.strerror(number).lower() if isinstance(number, int) and number > 0 else str(error)


@contextmanager
def within(seconds: float, otherwise: str) -> Iterator[None]:
    """Broken with these words, when the block takes longer."""
    try:
        with trio.fail_after(seconds):
            yield
    except trio.TooSlowError:
        raise Broken(otherwise) from None
