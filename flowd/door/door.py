"""One port for everybody: live clients stay, hot polls are answered here, the rest goes to
Hypercorn.

The door reads each request's head, then decides. What it answers by itself is what the plugins'
`Live` and `Hot` definitions say.
"""

import logging
from collections import Counter
from collections.abc import Mapping
from functools import partial
from typing import Any, Protocol

import trio
from attrs import asdict, define, field

from flowd.channel import packing
from flowd.channel.guard import SinkFailed
from flowd.door.addresses import counted, is_local, who
from flowd.door.beyond import Beyond, Nobody
from flowd.door.clients import Clients
from flowd.door.head import HEAD_MAX, BadHead, Head, Heads, preflight, refusal, response
from flowd.door.loan import Loan
from flowd.door.outgoing import Outgoing
from flowd.door.paths import Hot, Live, visible
from flowd.door.polls import Polls
from flowd.door.room import Room
from flowd.door.routes import Route
from flowd.door.rules import READING, Rules
from flowd.door.visit import Visit
from flowd.door.websocket import GOING_AWAY, WebSocket, accept
from flowd.stream.log import Stream
from flowd.values.buckets import Buckets
from flowd.values.errors import BadRequest

logger = logging.getLogger("flowd.door")

FIRST_REQUEST_S = 0.5
"""How long the first request of a connection may take to come when the daemon stops."""
REQUESTS_PER_S = 200
BURST_S = 5
"""An address that was quiet may ask at once what it may ask in so long."""
GUESSES_PER_S = 1 / 6
GUESSES_MAX = 10
"""Wrong tokens that an address may try at once."""


@define(eq=False)
class Counts:
    """What the door saw since the start, for `/status`."""

    connections: int = 0
    requests: Counter[str] = field(factory=Counter)
    refused: Counter[str] = field(factory=Counter)


class App(Protocol):
    """What serves the requests that are not the door's own."""

    async def serve(self, stream: Loan) -> None:
        """Serve requests from this stream until it ends."""
        ...

    def methods(self, path: str) -> list[str]:
        """The methods that it answers at this path."""
        ...


class Door:
    """Takes connections and decides about each request."""

    def __init__(
        self,
        streams: Mapping[str, Stream[Any]],
        clients: Clients,
        polls: Polls,
        app: App,
        rules: Rules,
        base_path: str = "",
    ) -> None:
        self.counts = Counts()
        self.routes: list[Route] = []
        self.clients = clients
        self.polls = polls
        limits = clients.limits
        self.heads = Heads(limits.heads_bytes, base_path)
        self.room = Room(limits)
        self.outgoing = Outgoing(limits.outgoing_bytes)
        self.memory = (self.heads.figures, self.outgoing.figures)
        """What it takes of the memory, for `/status`."""
        self._limits = limits
        self._readers = clients.readers
        self._rules = rules
        self._base = base_path
        self.beyond: Beyond | Nobody | None = None
        """Who answers what is for nobody here, if anybody does."""
        pace = limits.max_requests_per_s or REQUESTS_PER_S
        self._requests = Buckets(pace, BURST_S * pace)
        self._guesses = Buckets(GUESSES_PER_S, GUESSES_MAX)
        self._streams = streams
        self._app = app
        self._closing = False
        self._unanswered = 0
        """Connections that wait for the answer to their first request."""
        self._answered = trio.lowlevel.ParkingLot()
        self._accepting = trio.CancelScope()

    async def serve(self, listeners: list[trio.SocketListener]) -> None:
        """Take connections from these listeners for ever."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.clients.listen, name="door reader")
            nursery.start_soon(self.clients.keep_awake, name="door heartbeat")
            nursery.start_soon(self.clients.break_silence, name="door silence")
            with self._accepting:
                await trio.serve_listeners(self._connection, listeners, handler_nursery=nursery)

    async def close(self, grace_s: float, code: int = GOING_AWAY) -> None:
        """Let nobody in any more, answer who was let in, and say goodbye to the live clients within
        `grace_s`.
        """
        self._closing = True
        self._accepting.cancel()
        # With sockets from systemd a restart refuses nobody: so who was let in gets an answer.
        with trio.move_on_after(FIRST_REQUEST_S):
            while self._unanswered:
                await self._answered.park()
        await self.clients.close(grace_s, code)

    def owns(self, head: Head) -> bool:
        """Whether a request is the door's own business."""
        return (
            head.wants_websocket
            or self._is_beyond(head)
            or any(
                route.serves(head) is not None and not self._for_page(route, head)
                for route in self.routes
            )
        )

    def _is_beyond(self, head: Head) -> bool:
        """Whether another process answers a request that no route here is for."""
        return self.beyond is not None and self.beyond.wants(head, self._app.methods(head.path))

    def _for_page(self, route: Route, head: Head) -> bool:
        """Whether a browser asks at a poll's path for the page that the app has there."""
        hot = route.leads_to
        if not (isinstance(hot, Hot) and hot.page and head.wants_page):
            return False
        return "GET" in self._app.methods(head.path)

    async def _connection(self, stream: trio.SocketStream) -> None:
        """One connection, from its first byte to its end or until a live client stays."""
        self.counts.connections += 1
        visit = Visit(stream, self.heads, self.room.waiting)
        try:
            here = self.clients.from_address(counted(visit.address))
            self.room.enter(visit, len(self.clients), here)
        except BadRequest as error:
            self.counts.refused["connections"] += 1
            await self.room.say_farewell(stream, refusal(error, close=True))
            return
        self._unanswered += 1
        try:
            while await self._request(visit) and not self._closing:
                self._in_good_hands(visit)
        except (trio.BrokenResourceError, trio.ClosedResourceError, OSError):
            pass
        except Exception:
            logger.exception("a connection failed; the others go on")
        finally:
            self.room.leave(visit)
            self._in_good_hands(visit)
            await trio.aclose_forcefully(stream)

    def _in_good_hands(self, visit: Visit) -> None:
        """This connection's first request was answered, or the app will, or nobody waits for it."""
        if not visit.answered:
            visit.answered = True
            self._unanswered -= 1
            self._answered.unpark_all()

    async def _request(self, visit: Visit) -> bool:
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
        head = self._readers.unveil(head)
        address = who(visit.address, head, self._limits)
        try:
            return await self._decide(visit, head, address)
        except BadRequest as error:
            self.counts.refused[error.code] += 1
            if error.status == 401:
                self._guessed(address, head)
            close = head.has_body or not head.keep_alive
            await visit.send(refusal(error, close=close))
            return not close
        except SinkFailed:
            self.counts.refused[INTERNAL.code] += 1
            await visit.send(refusal(INTERNAL, close=True))
            return False

    async def _decide(self, visit: Visit, head: Head, address: str) -> bool:
        """Whose business is this request? BadRequest when it is nobody's, or not allowed."""
        self._rules.check(head, visit.bound)
        self._check_pace(address, head)
        for route in self.routes:
            path = route.serves(head)
            if path is not None and not self._for_page(route, head):
                break
        else:
            if self.beyond is not None and self._is_beyond(head):
                self.counts.requests["beyond"] += 1
                self._in_good_hands(visit)
                await self.beyond.answer(visit, head, address)
                return False
            if head.wants_websocket:
                raise self._no_websocket(head)
            return await self._lend(visit, head, address)
        if head.method == "OPTIONS" and not head.has_body:
            others = isinstance(route.leads_to, Hot) and route.leads_to.others
            allowed = preflight(self._app.methods(head.path) if others else ())
            await visit.send(response(200, headers=allowed, close=not head.keep_alive))
            return head.keep_alive
        if head.has_body or head.method not in ("GET", "HEAD"):
            raise _wrong_method(head)
        if isinstance(route.leads_to, Hot):
            self.counts.requests["hot"] += 1
            stream = visible(self._streams, route.leads_to.stream or path["stream"])
            shown = head.headers.get("authorization", "")
            self._readers.check(shown, stream.name, *route.reads)
            answer = await self.polls.answer(
                head, route.leads_to, stream, address, self.outgoing, path
            )
            await self.outgoing.send(visit.stream, answer)
            return head.keep_alive
        self.counts.requests["live"] += 1
        return await self._stay(visit, head, route.leads_to, path, address)

    def _check_pace(self, address: str, head: Head) -> None:
        """BadRequest when an address asks too often, or tried too many tokens that are wrong."""
        now = trio.current_time()
        if not self._exempt(address) and not self._requests.take(address, now):
            raise _too_many("max_requests_per_second", f"{address} asks too often")
        if "authorization" in head.headers and not self._guesses.holds(address, now):
            raise _too_many("Authorization", f"{address} tried too many tokens that are wrong")

    def _exempt(self, address: str) -> bool:
        return self._limits.max_requests_per_s is None and is_local(address)

    async def _lend(self, visit: Visit, head: Head, address: str) -> bool:
        """Let the app serve this request, and those after it that need none of our checks."""
        self._count_app()
        self._in_good_hands(visit)
        self.outgoing.check_room()

        def ours(head: Head) -> bool:
            paced = self._exempt(address) or self._requests.take(address, trio.current_time())
            checked = head.method not in READING or "authorization" in head.headers
            checked = checked or self._readers.carries_ticket(head)
            return checked or not paced or self.owns(head)

        answered = partial(self._answered_with, address)
        loan = Loan(visit, head, ours, self._count_app, answered, self.outgoing)
        await self._app.serve(loan)
        return not visit.ended

    def _answered_with(self, address: str, head: Head, status: int) -> None:
        """The app answered a request so."""
        if status == 401:
            self.counts.refused["UNAUTHORIZED"] += 1
            self._guessed(address, head)

    def _guessed(self, address: str, head: Head) -> None:
        """A token was refused: one that is none of ours is a guess."""
        shown = head.headers.get("authorization")
        if shown is not None and not self._readers.knows(shown):
            self._guesses.take(address, trio.current_time())

    async def _stay(
        self, visit: Visit, head: Head, live: Live, path: dict[str, str], address: str
    ) -> bool:
        """Let a live client in, if there is room."""
        self.clients.room_for(address)
        query = head.parameters()
        websocket: WebSocket | None = None
        gzip = False
        if live.websocket:
            if not head.wants_websocket:
                raise _upgrade_required(head, self._base)
            self._readers.check_known(head.headers.get("authorization", ""))
            opening, protocol = accept(head)
            if protocol is None:
                self.counts.refused["handshake"] += 1
                await visit.send(opening)
                return False
            websocket = WebSocket(protocol)
        elif gzip := live.gzip and head.gzip:
            opening = live.head.replace(b"\r\n\r\n", b"\r\nContent-Encoding: gzip\r\n\r\n", 1)
            opening += packing.GZIP_HEAD
        else:
            opening = live.head
        session = self.clients.welcome(
            live,
            path=path,
            query=query,
            headers=head.headers,
            address=address,
            websocket=websocket,
            gzip=gzip,
            opening=opening,
        )
        self.clients.stay(session, visit.take(), visit.rest())
        return False

    def _count_app(self) -> None:
        self.counts.requests["app"] += 1

    def _no_websocket(self, head: Head) -> BadRequest:
        lives = [route.leads_to for route in self.routes if isinstance(route.leads_to, Live)]
        return BadRequest(
            f"no WebSocket at {head.path}",
            parameter="path",
            value=head.path,
            allowed=[self._base + live.path for live in lives if live.websocket],
            code="NOT_FOUND",
            status=404,
        )

    def figures(self) -> dict[str, Any]:
        """What is open now, and came so far, for `/status`."""
        lives = [route.leads_to for route in self.routes if isinstance(route.leads_to, Live)]
        told = {live.path: live.audience.figures() for live in lives if live.audience is not None}
        return {**self.room.figures(), **asdict(self.counts), "audiences": told}

    def bounds(self) -> dict[str, Any]:
        """The limits that something can run into here, for `/status`."""
        return {
            **self.room.bounds(),
            **self.outgoing.bounds(),
            "memory_budget": self._limits.memory_budget,
            "requests_per_s": self._limits.max_requests_per_s or REQUESTS_PER_S,
            "request_head_bytes": HEAD_MAX,
        }


INTERNAL = BadRequest(
    "this is a bug in a plugin; the daemon's log says more",
    parameter="path",
    allowed="other paths: they work as before",
    code="INTERNAL_ERROR",
    status=500,
)


def _too_many(parameter: str, why: str) -> BadRequest:
    return BadRequest(
        why,
        parameter=parameter,
        allowed="try again in a few seconds",
        code="TOO_MANY_REQUESTS",
        status=429,
    )


def _wrong_method(head: Head) -> BadRequest:
    return BadRequest(
        f"{head.method} is not for {head.path}",
        parameter="method",
        value=head.method,
        allowed="GET, without a body",
        code="METHOD_NOT_ALLOWED",
        status=405,
    )


def _upgrade_required(head: Head, base_path: str) -> BadRequest:
    return BadRequest(
        f"{head.path} speaks WebSocket",
        parameter="Upgrade",
        value=head.headers.get("upgrade"),
        allowed=f"a WebSocket client, for example: websocat ws://HOST{base_path}{head.path}",
        code="UPGRADE_REQUIRED",
        status=426,
    )
