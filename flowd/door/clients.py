"""The live clients: taken in, listened to, kept awake, and told goodbye. None of them costs a task.

One loop reads for all of them; the channels write. A client gets a task of its own only while it is
behind, and a last one when it is parting.
"""

import contextlib
import logging
import selectors
import socket
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

import trio
from attrs import frozen

from flowd.channel import packing
from flowd.channel.channel import SLICE_S, Channels, Client
from flowd.door.head import Head
from flowd.door.paths import Live, Session, follow_path
from flowd.door.visit import Visit
from flowd.door.websocket import PING, POLICY, Conversation
from flowd.stream.log import Stream
from flowd.values.clock import Clock
from flowd.values.errors import BadRequest

logger = logging.getLogger("flowd.guests")

LINGER_S = 1.0
"""How long the other side has to close after our goodbye."""
QUIET_ROUNDS = 2
"""Rounds of heartbeats without a message, after which a sink says that it is still there."""
MESSAGES_PER_S = 20.0
MESSAGES_BURST = 100.0
PER_ADDRESS = 100
TCP_USER_TIMEOUT = getattr(socket, "TCP_USER_TIMEOUT", None)
INTERNAL_ERROR = 1011


@frozen
class Limits:
    """How many live clients there may be, and how long one may stall."""

    max_clients: int = 1000
    max_clients_per_address: int | None = None
    """None: 100, and no limit for this machine's own addresses, where a proxy may speak for many.
    """
    trusted_proxies: frozenset[str] = frozenset()
    stall_s: float = 60.0
    heartbeat_s: float = 15.0


class Line:
    """A live client's socket, outside Trio's streams: channels write to it and never wait."""

    __slots__ = ("raw", "send")

    raw: socket.socket
    send: Callable[[bytes | memoryview], int]

    def open(self, raw: socket.socket, stall_s: float) -> None:
        """Write to this socket, which may stall for so long."""
        raw.setblocking(False)
        self.raw = raw
        self.send = raw.send
        if TCP_USER_TIMEOUT is not None and raw.family in (socket.AF_INET, socket.AF_INET6):
            # The listener's own value is for polls; a live client may stall as long as we let it.
            raw.setsockopt(socket.IPPROTO_TCP, TCP_USER_TIMEOUT, int(stall_s * 1000))

    async def writable(self) -> None:
        """Wait until there is room."""
        await trio.lowlevel.wait_writable(self.raw)

    def close(self) -> None:
        """Let go, and wake whoever waits for room."""
        trio.lowlevel.notify_closing(self.raw)
        self.raw.close()


class Guest:
    """One live client: its connection, where it came from, and what it says."""

    __slots__ = (
        "address",
        "client",
        "conversation",
        "line",
        "parting",
        "session",
        "spoke_at",
    )

    def __init__(self, line: Line, address: str, conversation: Conversation | None) -> None:
        self.line = line
        self.address = address
        self.conversation = conversation
        self.parting = False
        self.spoke_at = trio.current_time()
        self.client: Client
        self.session: Session


class Guests:
    """All live clients of the daemon."""

    def __init__(
        self,
        streams: Mapping[str, Stream[Any]],
        channels: Channels,
        clock: Clock,
        limits: Limits,
    ) -> None:
        self.limits = limits
        self.gone: Counter[str] = Counter()
        self._streams = streams
        self._channels = channels
        self._clock = clock
        self._guests: dict[Client, Guest] = {}
        self._per_address: Counter[str] = Counter()
        self._selector = selectors.DefaultSelector()
        self._leaving = trio.lowlevel.ParkingLot()

    def __len__(self) -> int:
        return len(self._guests)

    def welcome(
        self,
        visit: Visit,
        head: Head,
        live: Live,
        path: dict[str, str],
        query: dict[str, str],
        opening: bytes,
        conversation: Conversation | None,
    ) -> None:
        """Let a client stay: from here on the channels write to it and `listen` reads.

        BadRequest, and nothing is sent, when it cannot follow what its address says; a WebSocket
        client is told so in a message instead.
        """
        pack = _packing(head, live, conversation)
        opening += pack([live.welcome]) if live.welcome else b""
        guest = Guest(Line(), self.address(visit, head), conversation)
        guest.client = Client(self._channels, guest.line, pack, self._gone, opening)
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
                guest.client.abandon()
                raise
            guest.session.refuse(error)
        guest.line.open(visit.take(), self.limits.stall_s)
        self._guests[guest.client] = guest
        self._per_address[guest.address] += 1
        self._selector.register(guest.line.raw, selectors.EVENT_READ, guest)
        guest.client.start()
        if guest.session.ended is not None:
            self._end(guest.session, *guest.session.ended)
        self._hear(guest, visit.rest())

    def room_for(self, address: str) -> None:
        """BadRequest when there is no room for one more from this address."""
        if len(self._guests) >= self.limits.max_clients:
            raise BadRequest(
                f"{len(self._guests)} clients are connected, which is as many as this daemon takes",
                parameter="max_clients",
                value=self.limits.max_clients,
                allowed="try again later, or poll /streams/NAME",
                code="TOO_MANY_CLIENTS",
                status=503,
            )
        most = self.limits.max_clients_per_address
        if most is None:
            most = self.limits.max_clients if _is_local(address) else PER_ADDRESS
        if self._per_address[address] >= most:
            raise BadRequest(
                f"{address} has {self._per_address[address]} connections, as many as one may have",
                parameter="max_clients_per_address",
                value=most,
                allowed="follow several streams on one WebSocket",
                code="TOO_MANY_FROM_ADDRESS",
                status=503,
            )

    def address(self, visit: "Visit", head: Head) -> str:
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
        guest = self._guests.pop(client, None)
        if guest is not None:
            # A closed descriptor leaves epoll by itself; the selector must be told all the same.
            self._selector.unregister(guest.line.raw)
            self.gone[reason] += 1
            self._leaving.unpark_all()
            self._per_address[guest.address] -= 1
            if not self._per_address[guest.address]:
                del self._per_address[guest.address]

    async def listen(self) -> None:
        """Read what live clients say, one loop for all: an idle client costs no task."""
        watch = self._channels.stopwatch
        while True:
            await trio.lowlevel.wait_readable(self._selector.fileno())
            began = watch()
            for key, _ in self._selector.select(0):
                if watch() - began > SLICE_S:
                    await trio.lowlevel.checkpoint()
                    began = watch()
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
                    self._end(session, INTERNAL_ERROR, "internal error")
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
        guest = self._guests.get(session.client)
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

    async def keep_awake(self) -> None:
        """Every now and then something for everybody: dead peers are found when it is not
        acknowledged.
        """
        while True:
            await trio.sleep(self.limits.heartbeat_s)
            for index, guest in enumerate(list(self._guests.values())):
                if not guest.client.gone and not guest.client.behind:
                    idle = guest.session.live.idle
                    if guest.conversation is not None:
                        guest.client.write(PING)
                        self._speak_up(guest)
                    elif idle:
                        guest.client.write(guest.client.pack([idle]))
                if index % 64 == 63:
                    await trio.lowlevel.checkpoint()

    def _speak_up(self, guest: Guest) -> None:
        """Say the sink's heartbeat to a client who was sent no message for so long."""
        heartbeat = guest.session.live.heartbeat
        if heartbeat is None:
            return
        now = trio.current_time()
        spoke_at = max([p.channel.spoke_at for p in guest.client.places.values()], default=0.0)
        if now - max(spoke_at, guest.spoke_at) >= QUIET_ROUNDS * self.limits.heartbeat_s:
            guest.spoke_at = now
            guest.session.say(heartbeat(guest.session))

    async def close(self, grace_s: float, code: int) -> None:
        """Say goodbye to all live clients, within `grace_s`: who is behind is waited for, then all
        are let go.
        """
        with trio.move_on_after(grace_s):
            await self._channels.all_level()
        for guest in list(self._guests.values()):
            if guest.conversation is not None:
                goodbye = guest.conversation.close(code, "the daemon is stopping; come back soon")
            else:
                goodbye = guest.client.pack([guest.session.live.goodbye])
            guest.client.write(goodbye)
            self._part(guest, "shutdown")
        with trio.move_on_after(LINGER_S):
            while self._guests:
                await self._leaving.park()
        for client in list(self._guests):
            client.drop("shutdown")


def _packing(head: Head, live: Live, conversation: Conversation | None) -> packing.Pack:
    """How payloads become bytes for this client, as was agreed with it."""
    if conversation is not None:
        return packing.deflated_frames if conversation.deflated else packing.frames
    return packing.gzip_blocks if live.gzip and head.gzip else packing.plain


def _is_local(address: str) -> bool:
    return address in ("local", "::1") or address.startswith(("127.", "::ffff:127."))
