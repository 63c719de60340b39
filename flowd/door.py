"""One port for everybody: live clients stay here, hot polls are answered here, the rest goes to
Hypercorn and Quart.

The door reads each request's head, then decides. A live client costs no task: one loop reads for
all of them, the channels write. What the door answers by itself is what the plugins' `Live` and
`Hot` definitions say.
"""

import contextlib
import logging
import re
import selectors
import socket
from collections import Counter, OrderedDict
from collections.abc import Mapping
from typing import Any, Protocol

import trio
from attrs import define, field, frozen

from flowd import filter as filters
from flowd import wire
from flowd.channel import Channels, Client
from flowd.clock import Clock
from flowd.errors import BadRequest
from flowd.http import HEAD_MAX, BadHead, Head, parse_head, refusal, response
from flowd.live import Hot, Live, Session, count, follow_path, position, visible
from flowd.record import Batch, Gap, Position
from flowd.stream import Stream
from flowd.websocket import GOING_AWAY, PING, POLICY, Conversation, accept

logger = logging.getLogger("flowd.door")

HEAD_TIMEOUT_S = 10.0
KEEP_ALIVE_S = 75.0
LINGER_S = 1.0
"""How long the other side has to close after our goodbye."""
SEND_TIMEOUT_S = 15.0
CONNECTIONS_SPARE = 200
"""Connections beyond `max_clients` that may be open for polls and pages at the same time."""
MESSAGES_PER_S = 20.0
MESSAGES_BURST = 100.0
HOT_CACHE_BYTES = 64 * 1024 * 1024
TCP_USER_TIMEOUT = getattr(socket, "TCP_USER_TIMEOUT", None)


@frozen
class Limits:
    """How many clients the door takes, and how big their sockets' buffers are."""

    max_clients: int = 1000
    max_clients_per_address: int | None = None
    """None: 100, and no limit for this machine's own addresses, where a reverse proxy may speak
    for many.
    """
    trusted_proxies: frozenset[str] = frozenset()
    send_buffer: int = 128 * 1024
    stall_s: float = 60.0
    heartbeat_s: float = 15.0


@define(eq=False)
class Counts:
    """What the door saw since the start, for `/status`."""

    connections: int = 0
    requests: Counter[str] = field(factory=Counter)
    refused: Counter[str] = field(factory=Counter)
    gone: Counter[str] = field(factory=Counter)


class App(Protocol):
    """What serves the requests that are not the door's own."""

    async def serve(self, stream: "Passage") -> None:
        """Serve requests from this stream until it ends."""
        ...


class _Line:
    """A live client's socket, outside Trio's stream classes: written to by channels, never
    waiting.
    """

    __slots__ = ("raw", "send")

    def __init__(self, raw: socket.socket) -> None:
        self.raw = raw
        self.send = raw.send

    async def writable(self) -> None:
        await trio.lowlevel.wait_writable(self.raw)

    def close(self) -> None:
        trio.lowlevel.notify_closing(self.raw)
        self.raw.close()


class Guest:
    """One live client at the door: its connection, where it came from, and what it says."""

    __slots__ = ("address", "client", "conversation", "line", "parting", "session")

    def __init__(self, line: _Line, address: str, conversation: Conversation | None) -> None:
        self.line = line
        self.address = address
        self.conversation = conversation
        self.parting = False
        self.client: Client
        self.session: Session


class Route:
    """A path with `{names}`, and what it leads to."""

    def __init__(self, path: str, leads_to: Live | Hot) -> None:
        self.path = path
        self.leads_to = leads_to
        parts = re.split(r"\{([a-z_]+)\}", path)
        pattern = "".join(
            f"(?P<{part}>[^/]+)" if index % 2 else re.escape(part)
            for index, part in enumerate(parts)
        )
        self._match = re.compile(pattern).fullmatch

    def match(self, path: str) -> dict[str, str] | None:
        """The values of the names, None when the path is another."""
        found = self._match(path)
        return None if found is None else found.groupdict()


class Door:
    """Takes connections, keeps live clients, answers polls, and says goodbye."""

    def __init__(
        self,
        streams: Mapping[str, Stream[Any]],
        channels: Channels,
        app: App,
        clock: Clock,
        *,
        limits: Limits | None = None,
    ) -> None:
        self.limits = limits or Limits()
        self.counts = Counts()
        self.routes: list[Route] = []
        self.guests: dict[Client, Guest] = {}
        self.open_connections = 0
        self._streams = streams
        self._channels = channels
        self._app = app
        self._clock = clock
        self._per_address: Counter[str] = Counter()
        self._hot: OrderedDict[tuple[Any, ...], _Prepared] = OrderedDict()
        self.hot_bytes = 0
        """Bytes of prepared answers to polls."""
        self._preparing: dict[tuple[Any, ...], trio.Event] = {}
        self._selector = selectors.DefaultSelector()
        self._closing = False

    # -- coming in --

    async def serve(self, listeners: list[trio.SocketListener]) -> None:
        """Take connections from these listeners for ever, and read for the live clients."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._read_loop, name="door reader")
            nursery.start_soon(self._heartbeat, name="door heartbeat")
            await trio.serve_listeners(self._connection, listeners, handler_nursery=nursery)

    async def _connection(self, stream: trio.SocketStream) -> None:
        """One connection, from its first byte to its end or until a live client stays."""
        self.counts.connections += 1
        if self.open_connections >= self.limits.max_clients + CONNECTIONS_SPARE - len(self.guests):
            self.counts.refused["connections"] += 1
            await trio.aclose_forcefully(stream)
            return
        self.open_connections += 1
        visit = Visit(stream)
        try:
            while not self._closing and await self._request(visit):
                pass
        except (trio.BrokenResourceError, trio.ClosedResourceError, OSError):
            pass
        except Exception:
            logger.exception("a connection failed; the others go on")
        finally:
            self.open_connections -= 1
            if not visit.taken:
                await trio.aclose_forcefully(stream)

    async def _request(self, visit: "Visit") -> bool:
        """Answer one request; False when this connection is done with."""
        try:
            head = await visit.next_head()
        except BadHead as error:
            self.counts.refused["bad head"] += 1
            bad = BadRequest(
                str(error), parameter="request", allowed="HTTP/1.1", status=error.status
            )
            await visit.send(refusal(bad, close=True))
            return False
        if head is None:
            return False
        for route in self.routes:
            path = route.match(head.path)
            if path is not None:
                break
        else:
            if head.wants_websocket:
                return await self._refuse(visit, head, self._no_such_path(head), close=True)
            self.counts.requests["app"] += 1
            await self._app.serve(Passage(self, visit, head))
            return not visit.ended
        if head.has_body or head.method not in ("GET", "HEAD"):
            wrong = BadRequest(
                f"{head.method} is not for {head.path}",
                parameter="method",
                value=head.method,
                allowed="GET",
                code="METHOD_NOT_ALLOWED",
                status=405,
            )
            return await self._refuse(visit, head, wrong, close=True)
        if isinstance(route.leads_to, Hot):
            self.counts.requests["hot"] += 1
            return await self._poll(visit, head, route.leads_to, path)
        self.counts.requests["live"] += 1
        return await self._stay(visit, head, route.leads_to, path)

    def _no_such_path(self, head: Head) -> BadRequest:
        paths = [
            r.path for r in self.routes if isinstance(r.leads_to, Live) and r.leads_to.websocket
        ]
        return BadRequest(
            f"no WebSocket at {head.path}",
            parameter="path",
            value=head.path,
            allowed=paths,
            code="NOT_FOUND",
            status=404,
        )

    def owns(self, head: Head) -> bool:
        """Whether a request is the door's own business."""
        return head.wants_websocket or any(route.match(head.path) for route in self.routes)

    async def _refuse(
        self, visit: "Visit", head: Head, error: BadRequest, *, close: bool = False
    ) -> bool:
        self.counts.refused[error.code] += 1
        close = close or not head.keep_alive
        await visit.send(refusal(error, close=close))
        return not close

    # -- polls --

    async def _poll(self, visit: "Visit", head: Head, hot: Hot, path: dict[str, str]) -> bool:
        """Answer from prepared bytes; prepare them when the position has moved."""
        close = not head.keep_alive
        name = hot.stream or path["stream"]
        try:
            stream = visible(self._streams, name)
            etag = f'"{stream.head}"'
            if _matches(head.headers.get("if-none-match"), etag):
                data = response(304, headers=(("ETag", etag), *HOT_HEADERS), close=close)
            else:
                data = await self._prepared(head, hot, stream)
        except BadRequest as error:
            return await self._refuse(visit, head, error)
        if head.method == "HEAD":
            data = data[: data.index(b"\r\n\r\n") + 4]
        if close and data.startswith(b"HTTP/1.1 200"):
            data = data.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n", 1)
        await visit.send(data)
        return not close

    async def _prepared(self, head: Head, hot: Hot, stream: Stream[Any]) -> bytes:
        """The whole answer for this query at the stream's present position; made once, whoever
        asks first.
        """
        key = (hot.path, stream.name, head.gzip, head.query)
        while key in self._preparing:
            await self._preparing[key].wait()
        kept = self._hot.get(key)
        if kept is not None and kept.position == stream.head:
            self._hot.move_to_end(key)
            return kept.data
        wanted = head.parameters()
        after, limit = position(wanted.pop("after", None)), count(wanted.pop("limit", None))
        batch = snapshot(stream, filters.parse(stream.record, wanted), after, limit)
        made = self._preparing[key] = trio.Event()
        try:
            data = await _answer(hot.render(batch), f'"{batch.position}"', gzip=head.gzip)
        finally:
            made.set()
            del self._preparing[key]
        self._keep(key, _Prepared(batch.position, data))
        return data

    def _keep(self, key: tuple[Any, ...], prepared: "_Prepared") -> None:
        before = self._hot.pop(key, None)
        self.hot_bytes += len(prepared.data) - (0 if before is None else len(before.data))
        self._hot[key] = prepared
        while self.hot_bytes > HOT_CACHE_BYTES and len(self._hot) > 1:
            _, old = self._hot.popitem(last=False)
            self.hot_bytes -= len(old.data)

    # -- live clients --

    async def _stay(self, visit: "Visit", head: Head, live: Live, path: dict[str, str]) -> bool:
        """Let a live client in, if there is room; from here on channels and the reader loop serve
        it.
        """
        address = self._address(visit, head)
        try:
            self._room_for(address)
            query = head.parameters()
        except BadRequest as error:
            return await self._refuse(visit, head, error)
        conversation: Conversation | None = None
        if live.websocket:
            if not head.wants_websocket:
                upgrade = BadRequest(
                    f"{head.path} speaks WebSocket",
                    parameter="Upgrade",
                    value=head.headers.get("upgrade"),
                    allowed="a WebSocket client, for example: websocat ws://HOST" + head.path,
                    code="UPGRADE_REQUIRED",
                    status=426,
                )
                return await self._refuse(visit, head, upgrade)
            opening, protocol = accept(head)
            if protocol is None:
                self.counts.refused["handshake"] += 1
                await visit.send(opening)
                return False
            conversation = Conversation(protocol)
            pack = wire.deflated_frames if conversation.deflated else wire.frames
        elif live.gzip and head.gzip:
            opening = live.head.replace(b"\r\n\r\n", b"\r\nContent-Encoding: gzip\r\n\r\n", 1)
            opening += wire.GZIP_HEAD
            pack = wire.gzip_blocks
        else:
            opening, pack = live.head, wire.plain
        guest = Guest(visit.line(self.limits), address, conversation)
        welcome = pack([live.welcome]) if live.welcome else b""
        guest.client = Client(self._channels, guest.line, pack, self._gone, opening + welcome)
        guest.session = Session(
            live,
            guest.client,
            self._streams,
            self._clock,
            self._end,
            path=path,
            query=query,
            headers=head.headers,
        )
        try:
            (live.open or follow_path)(guest.session)
        except BadRequest as error:
            if conversation is None:
                # Nothing is sent yet: a status can still say what is wrong.
                guest.client.abandon()
                visit.taken = False
                return await self._refuse(visit, head, error)
            guest.session.refuse(error)
        self._enter(guest)
        guest.client.start()
        self._hear(guest, visit.rest())
        return False

    def _enter(self, guest: Guest) -> None:
        self.guests[guest.client] = guest
        self._per_address[guest.address] += 1
        self._selector.register(guest.line.raw, selectors.EVENT_READ, guest)

    def _room_for(self, address: str) -> None:
        if len(self.guests) >= self.limits.max_clients:
            raise BadRequest(
                f"{len(self.guests)} clients are connected, which is as many as this daemon takes",
                parameter="max_clients",
                value=self.limits.max_clients,
                allowed="try again later, or poll /streams/NAME",
                code="TOO_MANY_CLIENTS",
                status=503,
            )
        most = self.limits.max_clients_per_address
        if most is None:
            most = self.limits.max_clients if _is_local(address) else 100
        if self._per_address[address] >= most:
            raise BadRequest(
                f"{address} has {self._per_address[address]} connections, as many as one may have",
                parameter="max_clients_per_address",
                value=most,
                allowed="follow several streams on one WebSocket",
                code="TOO_MANY_FROM_ADDRESS",
                status=503,
            )

    def _address(self, visit: "Visit", head: Head) -> str:
        """Who this client is for the limits: its address, or what a trusted proxy says of it."""
        address = visit.address
        if address in self.limits.trusted_proxies:
            for part in reversed(head.headers.get("x-forwarded-for", "").split(",")):
                if part.strip():
                    address = part.strip()[:64]
                    if address not in self.limits.trusted_proxies:
                        break
        return address

    def _gone(self, client: Client, reason: str) -> None:
        guest = self.guests.pop(client, None)
        if guest is not None:
            # A closed descriptor leaves epoll by itself; the selector must be told all the same.
            self._selector.unregister(guest.line.raw)
            self.counts.gone[reason] += 1
            self._per_address[guest.address] -= 1
            if not self._per_address[guest.address]:
                del self._per_address[guest.address]

    async def _read_loop(self) -> None:
        """Read what live clients say, one loop for all: an idle client costs no task."""
        while True:
            await trio.lowlevel.wait_readable(self._selector.fileno())
            for key, _ in self._selector.select(0):
                guest: Guest = key.data
                if guest.client.gone:
                    continue
                try:
                    data = guest.line.raw.recv(65536)
                except BlockingIOError:
                    continue
                except OSError:
                    data = b""
                if data:
                    self._hear(guest, data)
                else:
                    guest.client.drop("left")
            await trio.lowlevel.checkpoint()

    def _hear(self, guest: Guest, data: bytes) -> None:
        """A WebSocket client said something. What others say is not for us."""
        conversation, session = guest.conversation, guest.session
        if not data or conversation is None:
            return
        for text in conversation.receive(data):
            if guest.client.gone or conversation.closed:
                break
            if not self._may_speak(session):
                self._end(session, POLICY, f"more than {MESSAGES_PER_S:g} messages per second")
            elif session.live.receive is not None:
                try:
                    session.live.receive(session, text)
                except BadRequest as error:
                    session.refuse(error)
                except Exception:
                    logger.exception("a sink failed on a client's message; the client is let go")
                    self._end(session, 1011, "internal error")
        answers = conversation.answers()
        if answers:
            guest.client.write(answers)
        if conversation.closed:
            self._part(guest, "said goodbye")

    def _may_speak(self, session: Session) -> bool:
        """A token bucket per client: `MESSAGES_PER_S` on average, `MESSAGES_BURST` at once."""
        now = trio.current_time()
        tokens, then = session.tokens or (MESSAGES_BURST, now)
        tokens = min(MESSAGES_BURST, tokens + (now - then) * MESSAGES_PER_S) - 1
        session.tokens = (tokens, now)
        return tokens >= 0

    def _end(self, session: Session, code: int, reason: str) -> None:
        """Say goodbye to one WebSocket client and let it go."""
        guest = self.guests.get(session.client)
        if guest is not None and guest.conversation is not None:
            guest.client.write(guest.conversation.close(code, reason))
            self._part(guest, reason)

    def _part(self, guest: Guest, reason: str) -> None:
        """End a connection so that the last words arrive: we write no more, and wait a little for
        the other side.
        """
        client = guest.client
        for stream in list(client.places):
            client.unfollow(stream)
        if client.gone or guest.parting:
            return
        guest.parting = True
        if client.behind:
            client.drop(reason)
            return
        with contextlib.suppress(OSError):
            guest.line.raw.shutdown(socket.SHUT_WR)
        self._channels.nursery.start_soon(self._linger, client, reason, name="goodbye")

    async def _linger(self, client: Client, reason: str) -> None:
        await trio.sleep(LINGER_S)
        client.drop(reason)

    async def _heartbeat(self) -> None:
        """Every now and then something for everybody: dead peers are found when it is not
        acknowledged.
        """
        while True:
            await trio.sleep(self.limits.heartbeat_s)
            for index, guest in enumerate(list(self.guests.values())):
                if not guest.client.gone and not guest.client.behind:
                    idle = guest.session.live.idle
                    if guest.conversation is not None:
                        guest.client.write(PING)
                    elif idle:
                        guest.client.write(guest.client.pack([idle]))
                if index % 64 == 63:
                    await trio.lowlevel.checkpoint()

    # -- going --

    async def close(self, grace_s: float, code: int = GOING_AWAY) -> None:
        """Say goodbye to all live clients, within `grace_s`: who is behind is waited for, then all
        are let go.
        """
        self._closing = True
        with trio.move_on_after(grace_s):
            while self._channels.behind:
                await trio.sleep(0.02)
        for guest in list(self.guests.values()):
            if guest.conversation is not None:
                goodbye = guest.conversation.close(code, "the daemon is stopping; come back soon")
            else:
                goodbye = guest.client.pack([guest.session.live.goodbye])
            guest.client.write(goodbye)
            self._part(guest, "shutdown")
        with trio.move_on_after(LINGER_S):
            while self.guests:
                await trio.sleep(0.02)
        for client in list(self.guests):
            client.drop("shutdown")


@frozen
class _Prepared:
    """A whole answer to a poll, and the position it is true for."""

    position: Position
    data: bytes


class Visit:
    """One connection before it is decided what becomes of it: its stream, and bytes read ahead."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self.stream = stream
        self.taken = False
        self.ended = False
        self._buffer = bytearray()
        self._asked = False
        try:
            peer = stream.socket.getpeername()
        except OSError:
            peer = ""
        self.address = str(peer[0]) if isinstance(peer, tuple) else "local"

    async def next_head(self) -> Head | None:
        """The next request's head, None when the client has gone; BadHead when it is none."""
        timeout_s = KEEP_ALIVE_S if self._asked else HEAD_TIMEOUT_S
        self._asked = True
        began = trio.current_time()
        while (end := self._buffer.find(b"\r\n\r\n")) < 0:
            if len(self._buffer) > HEAD_MAX:
                raise BadHead(431, f"a request head is at most {HEAD_MAX} bytes")
            if self._buffer:
                timeout_s = HEAD_TIMEOUT_S
            data = b""
            with trio.move_on_at(began + timeout_s) as waited:
                data = await self.stream.receive_some(65536)
            if waited.cancelled_caught and self._buffer:
                raise BadHead(408, f"the request head did not come within {timeout_s:g}s")
            if not data:
                return None
            if not self._buffer:
                began = trio.current_time()
            self._buffer += data
        raw = bytes(self._buffer[: end + 4])
        if len(raw) > HEAD_MAX:
            raise BadHead(431, f"a request head is at most {HEAD_MAX} bytes")
        del self._buffer[: end + 4]
        return parse_head(raw)

    async def read_ahead(self) -> bool:
        """Read what comes before its turn; False when the client has gone."""
        if len(self._buffer) > HEAD_MAX:
            await trio.sleep_forever()
        data = await self.stream.receive_some(65536)
        self._buffer += data
        return bool(data)

    def put_back(self, head: Head) -> None:
        """This request was not for whoever asked for the next one."""
        self._buffer[:0] = head.raw

    async def send(self, data: bytes) -> None:
        """Send an answer; who takes too long over it is let go."""
        with trio.move_on_after(SEND_TIMEOUT_S) as waited:
            await self.stream.send_all(data)
        if waited.cancelled_caught:
            raise trio.BrokenResourceError("the client does not read")

    def rest(self) -> bytes:
        """What was read beyond the last head."""
        rest = bytes(self._buffer)
        self._buffer.clear()
        return rest

    def line(self, limits: Limits) -> _Line:
        """Take the socket out of Trio's hands, for a live client."""
        self.taken = True
        raw: socket.socket = self.stream.socket._sock  # type: ignore[attr-defined]
        if TCP_USER_TIMEOUT is not None and raw.family in (socket.AF_INET, socket.AF_INET6):
            raw.setsockopt(socket.IPPROTO_TCP, TCP_USER_TIMEOUT, int(limits.stall_s * 1000))
        return _Line(raw)


class Passage(trio.abc.HalfCloseableStream):
    """A connection lent to Hypercorn. It sees one request at a time, and the door looks at each
    head first.

    When the next request is the door's own business, Hypercorn is told that the stream has ended,
    and the door goes on with the connection.
    """

    def __init__(self, door: Door, visit: Visit, head: Head) -> None:
        self.socket = visit.stream.socket
        self._door = door
        self._visit = visit
        self._next = head
        self._given = False
        self._handed_back = False
        self._closed = False
        self._idle = False
        self._reading = trio.CancelScope()

    def became_idle(self) -> None:
        """The response is complete: the next request may be looked at."""
        self._idle = True
        self._reading.cancel()

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        if self._closed:
            raise trio.ClosedResourceError
        if not self._given:
            self._given = True
            return _for_hypercorn(self._next)
        if self._next.has_body:
            return self._visit.rest() or bytes(await self._visit.stream.receive_some(65536))
        while not self._idle:
            with trio.CancelScope() as self._reading:
                if not await self._visit.read_ahead():
                    return b""
        with trio.CancelScope() as self._reading:
            return await self._next_request()
        raise trio.ClosedResourceError

    async def _next_request(self) -> bytes:
        try:
            head = await self._visit.next_head()
        except BadHead:
            return b""
        if head is None:
            return b""
        if self._door.owns(head):
            self._visit.put_back(head)
            self._handed_back = True
            return b""
        self._door.counts.requests["app"] += 1
        self._next, self._idle = head, False
        return _for_hypercorn(head)

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        await self._visit.stream.send_all(data)

    async def wait_send_all_might_not_block(self) -> None:
        await self._visit.stream.wait_send_all_might_not_block()

    async def send_eof(self) -> None:
        await trio.lowlevel.checkpoint()

    async def aclose(self) -> None:
        self._closed = True
        if not self._handed_back:
            self._visit.ended = True
        if self._idle:
            self._reading.cancel()
        await trio.lowlevel.checkpoint()


HOT_HEADERS = (("Cache-Control", "no-cache"), ("Vary", "Accept-Encoding"))
IN_THREAD_BYTES = 32 * 1024
"""Bodies longer than this are compressed in a thread, so that they do not hold the loop."""


async def _answer(body: bytes, etag: str, *, gzip: bool) -> bytes:
    headers: tuple[tuple[str, str], ...] = (("ETag", etag), *HOT_HEADERS)
    if gzip:
        headers = (*headers, ("Content-Encoding", "gzip"))
        if len(body) > IN_THREAD_BYTES:
            body = await trio.to_thread.run_sync(wire.gzip_body, body)
        else:
            body = wire.gzip_body(body)
    return response(200, body, headers=headers)


def snapshot(
    stream: Stream[Any], filter: filters.Filter, after: Position | None, limit: int | None
) -> Batch[Any]:
    """What a poll gets: the newest `limit` of what is newer than `after`. What is left out between
    is a gap.
    """
    batch = stream.cursor(after, filter=filter).read()
    if limit is None or len(batch.records) <= limit:
        return batch
    records = batch.records[len(batch.records) - limit :]
    gap = batch.gap
    if not batch.first:
        assert after is not None
        last = records[0].seq - 1 if records else batch.position.seq
        gap = Gap(after.seq + 1, last)
    return Batch(batch.stream, records, batch.position, batch.first, gap, batch.reset)


def _matches(wanted: str | None, etag: str) -> bool:
    if wanted is None:
        return False
    tags = [tag.strip().removeprefix("W/") for tag in wanted.split(",")]
    return etag in tags or "*" in tags


def _is_local(address: str) -> bool:
    return address in ("local", "::1") or address.startswith(("127.", "::ffff:127."))


_UPGRADE = re.compile(rb"\r\n(?:upgrade|http2-settings):[^\r\n]*", re.IGNORECASE)


def _for_hypercorn(head: Head) -> bytes:
    """The head as Hypercorn gets it: never an upgrade (HTTP/2 has no back-pressure there), and no
    further request on a connection where a body was sent, since the door does not see where it
    ends.
    """
    raw = _UPGRADE.sub(b"", head.raw)
    return raw[:-2] + b"Connection: close\r\n\r\n" if head.has_body else raw
