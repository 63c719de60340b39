"""Those who stay: taken in, listened to, kept awake, and told goodbye. None of them costs a task.

One loop reads for all of them; the channels write. A client gets a task of its own only while it is
behind, and a last one when it is parting.
"""

import contextlib
import socket
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

import trio

from flowd.channel import packing
from flowd.channel.channel import SLICE_S
from flowd.channel.channels import Channels
from flowd.channel.client import Client, Socket
from flowd.channel.guard import SinkFailed
from flowd.door.addresses import is_local, most
from flowd.door.paths import Live, Session, follow_path
from flowd.door.readable import Readable
from flowd.door.readers import Readers
from flowd.door.silence import Silence
from flowd.door.websocket import INTERNAL_ERROR, MESSAGE_MAX, PING, POLICY, WebSocket
from flowd.stream.log import Stream
from flowd.values.buckets import Bucket
from flowd.values.clock import Clock
from flowd.values.errors import BadRequest

LINGER_S = 1.0
"""How long the other side has to close after our goodbye."""
QUIET_HEARTBEATS = 2
"""So long without a message, and a sink says that it is still there."""
MESSAGES_PER_S = 20.0
MESSAGES_BURST = 100.0
FRAMES_PER_S = 20.0
FRAMES_BURST = 200.0
"""Of frames that complete no message, beside its messages."""
READ_BYTES = 1024
"""Read of one client in a turn: some hundred frames at most, which take a millisecond."""
PER_ADDRESS = 100
GOODBYE = "the daemon is stopping; come back soon"
TCP_USER_TIMEOUT = getattr(socket, "TCP_USER_TIMEOUT", None)


class LiveSocket:
    """A live client's socket, outside Trio's streams: channels write to it and never wait, and the
    one reader of all learns from `readable` when it has something to say.
    """

    __slots__ = ("_readable", "raw", "send")

    raw: socket.socket
    send: Callable[[bytes | memoryview], int]

    def __init__(
        self,
        raw: socket.socket,
        readable: Readable[Session],
        session: Session,
        stall_s: float,
    ) -> None:
        """Take over this socket, which may stall for so long."""
        raw.setblocking(False)
        self.raw = raw
        self.send = raw.send
        self._readable = readable
        if TCP_USER_TIMEOUT is not None and raw.family in (socket.AF_INET, socket.AF_INET6):
            # The listener's own value is for polls; a live client may stall as long as we let it.
            raw.setsockopt(socket.IPPROTO_TCP, TCP_USER_TIMEOUT, int(stall_s * 1000))
        readable.add(raw, session)

    async def writable(self) -> None:
        """Wait until there is room."""
        await trio.lowlevel.wait_writable(self.raw)

    def finish(self) -> None:
        """Say that nothing more will be written."""
        with contextlib.suppress(OSError):
            self.raw.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        """Let go, and wake whoever waits for room."""
        self._readable.remove(self.raw)
        trio.lowlevel.notify_closing(self.raw)
        self.raw.close()


class Clients:
    """All live clients of the daemon.

    One comes in three steps: `room_for` its address, `welcome` (nothing is sent yet, and what it
    wants may be refused), and `stay` with its socket, which from then on is closed from here.
    """

    def __init__(
        self,
        streams: Mapping[str, Stream[Any]],
        channels: Channels,
        clock: Clock,
        readers: Readers,
    ) -> None:
        self.limits = channels.limits
        self.readers = readers
        self.gone: Counter[str] = Counter()
        self._streams = streams
        self._channels = channels
        self._guard = channels.guard
        self._clock = clock
        self._sessions: dict[Client, Session] = {}
        self._per_address: Counter[str] = Counter()
        self._readable: Readable[Session] = Readable()
        self._leaving = trio.lowlevel.ParkingLot()
        self._silence = Silence(QUIET_HEARTBEATS * self.limits.heartbeat_s)

    def __len__(self) -> int:
        return len(self._sessions)

    # -- coming

    def room_for(self, address: str) -> None:
        """BadRequest when there is no room for one more from this address."""
        if len(self) >= self.limits.max_clients:
            raise BadRequest(
                f"{len(self)} clients are connected, which is as many as this daemon takes",
                parameter="max_clients",
                value=self.limits.max_clients,
                allowed="try again later, or poll /streams/NAME",
                code="TOO_MANY_CLIENTS",
                status=503,
            )
        wanted, everybody = self.limits.max_clients_per_address, self.limits.max_clients
        here = most(address, wanted, PER_ADDRESS, everybody)
        if self._per_address[address] >= here:
            raise BadRequest(
                f"{address} has {self._per_address[address]} connections, as many as one may have",
                parameter="max_clients_per_address",
                value=here,
                allowed="follow several streams on one WebSocket",
                code="TOO_MANY_FROM_ADDRESS",
                status=503,
            )

    def from_address(self, address: str) -> int:
        """How many live clients there are from this address."""
        return self._per_address[address]

    def welcome(
        self,
        live: Live,
        *,
        path: dict[str, str],
        query: dict[str, str],
        headers: Mapping[str, str],
        address: str = "local",
        websocket: WebSocket | None = None,
        gzip: bool = False,
        opening: bytes = b"",
    ) -> Session:
        """A new client, following what it asked for; nothing is sent before it may `start`.

        BadRequest when it cannot follow what its address says; a WebSocket client is told so in a
        message instead. SinkFailed when the sink does.
        """
        pack = _packing(websocket, gzip=gzip)
        opening += pack([live.welcome]) if live.welcome else b""
        counts_for = None if is_local(address) else address
        client = Client(self._channels.crowd, pack, self._gone, opening, counts_for)
        session = Session(
            live,
            client,
            websocket,
            self._channels,
            self._streams,
            self._clock,
            self._end,
            path=path,
            query=query,
            headers=headers,
            address=address,
            check=self.readers.pass_for(headers.get("authorization", "")),
        )
        try:
            self._guard.ask(live.path, "open", live.open or follow_path, session)
        except BadRequest as error:
            if websocket is None:
                client.abandon()
                raise
            session.refuse(error)
        except SinkFailed:
            client.abandon()
            raise
        return session

    def start(self, session: Session, socket: Socket) -> None:
        """Let the channels write to this client, through this socket."""
        self._sessions[session.client] = session
        self._per_address[session.address] += 1
        self._silence.add(session)
        session.client.start(socket)
        if session.ended is not None:
            self._end(session, *session.ended)

    def stay(self, session: Session, raw: socket.socket, said: bytes) -> None:
        """Let a client stay on this socket, which is closed from here on; `said` was read ahead."""
        stall_s = self.limits.slow_consumer_limit_s
        self.start(session, LiveSocket(raw, self._readable, session, stall_s))
        for start in range(0, len(said), READ_BYTES):
            self.hear(session, said[start : start + READ_BYTES])

    def _gone(self, client: Client, reason: str) -> None:
        session = self._sessions.pop(client)
        session.gone = reason
        self.gone[reason] += 1
        self._leaving.unpark_all()
        self._per_address[session.address] -= 1
        if not self._per_address[session.address]:
            del self._per_address[session.address]

    # -- what they say

    async def listen(self) -> None:
        """Read what live clients say, one loop for all: an idle client costs no task."""
        watch = self._channels.stopwatch
        while True:
            await trio.lowlevel.wait_readable(self._readable.fileno())
            began = watch()
            for raw, session in self._readable.now():
                if watch() - began > SLICE_S:
                    await trio.lowlevel.checkpoint()
                    began = watch()
                if session.client.gone:
                    continue
                try:
                    data = raw.recv(READ_BYTES)
                except BlockingIOError:
                    continue
                except OSError:
                    data = b""
                if data:
                    self.hear(session, data)
                else:
                    session.client.drop(session.ended[1] if session.ended else "left")
            await trio.lowlevel.checkpoint()

    def hear(self, session: Session, data: bytes) -> None:
        """A WebSocket client said something. What others say is not for us, nor what is said after
        the goodbye: who floods is not listened to for as long as its connection takes to end.
        """
        websocket, client = session.websocket, session.client
        if not data or websocket is None or client.gone or session.parting:
            return
        pieces = websocket.pieces
        texts = websocket.receive(data)
        if websocket.pieces > pieces and not _may_send(session, websocket.pieces - pieces):
            return self._end(session, POLICY, f"more than {FRAMES_PER_S:g} frames per second")
        for text in texts:
            if client.gone or websocket.closed:
                break
            if not _may_speak(session):
                self._end(session, POLICY, f"more than {MESSAGES_PER_S:g} messages per second")
            elif session.live.receive is not None:
                try:
                    self._guard.ask(
                        session.live.path, "receive", session.live.receive, session, text
                    )
                except BadRequest as error:
                    session.refuse(error)
                except SinkFailed:
                    self._end(session, INTERNAL_ERROR, "internal error")
        answers = websocket.answers()
        if answers:
            client.write(answers)
        if websocket.closed:
            self._part(session, "said goodbye")

    # -- staying

    async def keep_awake(self) -> None:
        """Every now and then something for everybody: dead peers are found when it is not
        acknowledged.
        """
        while True:
            await trio.sleep(self.limits.heartbeat_s)
            for index, session in enumerate(list(self._sessions.values())):
                client, idle = session.client, session.live.idle
                if not client.gone and not client.behind:
                    if session.websocket is not None:
                        client.write(PING)
                    elif idle:
                        client.write(client.pack([idle]))
                if index % 64 == 63:
                    await trio.lowlevel.checkpoint()

    async def break_silence(self) -> None:
        """Say the sink's heartbeat to whoever was sent no message for two `heartbeat`s."""
        while True:
            session = await self._silence.next()
            said = session.live.heartbeat
            assert said is not None
            session.spoke_at = trio.current_time()
            self._silence.add(session)
            try:
                session.say(self._guard.payload(session.live.path, "heartbeat", said, session))
            except SinkFailed:
                self._end(session, INTERNAL_ERROR, "internal error")

    # -- leaving

    def _end(self, session: Session, code: int, reason: str) -> None:
        """Say goodbye to one WebSocket client and let it go."""
        if session.client in self._sessions and session.websocket is not None:
            session.ended = session.ended or (code, reason)
            session.client.write(session.websocket.close(code, reason))
            self._part(session, reason)

    def _part(self, session: Session, reason: str) -> None:
        """End a connection so that the last words arrive: we write no more, and wait a little for
        the other side.
        """
        client = session.client
        for stream in list(client.places):
            client.unfollow(stream)
        if client.gone or session.parting:
            return
        session.parting = True
        if client.behind:
            client.drop(reason)
            return
        client.socket.finish()
        self._channels.crowd.nursery.start_soon(self._linger, client, reason, name="goodbye")

    async def _linger(self, client: Client, reason: str) -> None:
        await trio.sleep(LINGER_S)
        client.drop(reason)

    async def close(self, grace_s: float, code: int) -> None:
        """Say goodbye to all live clients, within `grace_s`: who is behind is waited for, then all
        are let go.
        """
        with trio.move_on_after(grace_s):
            await self._channels.all_level()
        for session in list(self._sessions.values()):
            client = session.client
            if session.websocket is not None:
                client.write(session.websocket.close(code, GOODBYE))
            else:
                client.write(client.pack([session.live.goodbye]))
            self._part(session, "shutdown")
        with trio.move_on_after(LINGER_S):
            while self._sessions:
                await self._leaving.park()
        for client in list(self._sessions):
            client.drop("shutdown")

    def figures(self) -> dict[str, Any]:
        """Who is here now, and why others went, for `/status`."""
        return {"live": len(self), "gone": dict(self.gone)}

    def bounds(self) -> dict[str, Any]:
        """The limits that something can run into here, for `/status`."""
        return {
            "max_clients": self.limits.max_clients,
            "max_clients_per_address": self.limits.max_clients_per_address,
            "client_message_bytes": MESSAGE_MAX,
            "client_messages_per_s": MESSAGES_PER_S,
            "client_frames_per_s": FRAMES_PER_S,
        }


def _may_speak(session: Session) -> bool:
    """Whether this client may say one message more."""
    now = trio.current_time()
    if session.tokens is None:
        session.tokens = Bucket.full(MESSAGES_PER_S, MESSAGES_BURST, now)
    return session.tokens.take(now)


def _may_send(session: Session, frames: int) -> bool:
    """Whether this client may send so many frames that complete no message."""
    now = trio.current_time()
    if session.frames is None:
        session.frames = Bucket.full(FRAMES_PER_S, FRAMES_BURST, now)
    return session.frames.take(now, frames)


def _packing(websocket: WebSocket | None, *, gzip: bool) -> packing.Pack:
    """How payloads become bytes for this client, as was agreed with it."""
    if websocket is not None:
        return packing.deflated_frames if websocket.deflated else packing.frames
    return packing.gzip_blocks if gzip else packing.plain
