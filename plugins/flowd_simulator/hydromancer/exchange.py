"""The service itself: who may come in, who hears what, who comes back, and what goes wrong."""

from random import Random
from typing import Any, Final
from urllib.parse import parse_qsl

import trio
from trio_websocket import WebSocketConnection

from flowd_simulator.chain.accounts import digits
from flowd_simulator.chain.live import Chain
from flowd_simulator.chain.rows import Block, Row, row
from flowd_simulator.faults import Faults
from flowd_simulator.hydromancer import texts
from flowd_simulator.hydromancer.client import POLICY, Client
from flowd_simulator.hydromancer.garbage import GARBAGE
from flowd_simulator.hydromancer.history import History, place
from flowd_simulator.hydromancer.terms import Terms
from flowd_simulator.hydromancer.visits import Visit, Visits
from flowd_simulator.hydromancer.wish import Wish
from flowd_simulator.session import Clock, Limits, Session, guarded, shake_hands
from flowd_simulator.web import loopback, serve_streams

PATH: Final = "/ws"


class Hydromancer:
    """A simulated Hydromancer.

    `serve` plays it on loopback. Tests run `run` in a nursery instead, or not at all, and give
    `serve_websocket` one end of a stream; `block` then speaks at once.
    It tells of the `chain`, which others may tell of too: then somebody else runs it.
    """

    def __init__(
        self,
        seed: int,
        clock: Clock,
        *,
        fills_per_s: float = 0.0,
        chain: Chain | None = None,
        terms: Terms | None = None,
        faults: Faults | None = None,
        limits: Limits | None = None,
    ) -> None:
        self.clock = clock
        self.terms = terms or Terms()
        self.faults = faults or Faults()
        self.limits = limits or Limits(messages_per_s=1000)
        self._own = chain is None
        self.chain = chain or Chain(seed, clock, fills_per_s=fills_per_s)
        self.chain.listeners.append(self._happen)
        self.clients: list[Client] = []
        """In the order in which they came."""
        self.accepted = 0
        """How many connections were ever accepted."""
        self.handshake_status: int | None = None
        """Set to refuse new connections with this HTTP status, as 429 or 503."""
        self._history = History()
        self._random = Random(f"{seed}/service")
        self._visits = Visits(self.terms, clock, self._random)
        self._chance = Random(f"{seed}/hydromancer/faults")

    # What a test or an operator can make happen

    def block(self, *pairs: tuple[str, dict[str, Any]]) -> Block:
        """Have these fills happen, each an address with what the chain says, and tell of them."""
        made = self.chain.tape.seal(self.clock(), [row(address, fill) for address, fill in pairs])
        self._happen(made)
        return made

    def trade(self, seconds: float = 1.0) -> list[Row]:
        """Have the trading of so many seconds happen in one block, now."""
        return list(self.chain.advance(seconds).rows)

    def send(self, raw_text: str) -> None:
        """Send every client this text, as it is."""
        for client in self.clients:
            client.session.send(raw_text)

    def error(self, message: str, feed: str | None = None) -> None:
        """Tell every client of an error."""
        self.send(texts.error(message, feed))

    def lose(self, messages: int = 1) -> None:
        """Let so many of the next messages with rows get lost on the way, for every client."""
        for client in self.clients:
            client.lost += messages

    def drop_all(self) -> int:
        """Cut every connection without a goodbye; how many there were."""
        for client in self.clients:
            client.session.drop()
        return len(self.clients)

    def close_all(self, code: int = 1001, reason: str = "") -> None:
        """End every connection with a close frame."""
        for client in self.clients:
            client.session.close(code, reason)

    def stall(self) -> None:
        """Say nothing more; what would be said is lost, and is only replayed."""
        self.faults.stalled = True

    def resume(self) -> None:
        """Speak again."""
        self.faults.stalled = False

    # Running

    async def serve(
        self,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        task_status: trio.TaskStatus[str] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """Play on a loopback port until cancelled; port 0 takes a free one. Reports the address,
        flowd's `url`.
        """
        host = loopback(host)
        async with trio.open_nursery() as nursery:
            at = await nursery.start(serve_streams, self.serve_websocket, host, port)
            nursery.start_soon(self.run)
            task_status.started(f"ws://{at}{PATH}")

    async def run(self) -> None:
        """Let the trading go on, and the scheduled faults happen, until cancelled."""
        async with trio.open_nursery() as nursery:
            if self._own:
                nursery.start_soon(self.chain.run)
            nursery.start_soon(self.faults.run, "Hydromancer", self.drop_all)

    async def serve_websocket(self, stream: trio.abc.Stream) -> None:
        """Serve one client over any stream, until it or the service ends the connection.

        Closes the stream. What goes wrong with a client is logged and ends here.
        """
        await guarded(lambda stream: shake_hands(stream, self._status, self._seat), stream)

    def _status(self, target: str) -> int | None:
        """The HTTP status to refuse a handshake with."""
        path, query = _parts(target)
        if self.handshake_status is not None or path != PATH:
            return self.handshake_status or 404
        token = query.get("token")
        wrong = token is not None and token not in self.terms.keys
        return 401 if wrong and not self.terms.in_band else None

    async def _seat(self, connection: WebSocketConnection, target: str) -> None:
        """Serve one client until it goes."""
        _, query = _parts(target)
        session = Session(connection, self.limits, self.faults, self.clock)
        client = Client(session, self, chunked=query.get("liveFormat") == texts.CHUNKED)
        self.accepted += 1
        self.clients.append(client)
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(client.expect_login)
                nursery.start_soon(client.expect_pongs)
                if "token" in query:
                    self._enter(client, query)
                await client.session.run(client.receive)
                nursery.cancel_scope.cancel()
        finally:
            self.clients.remove(client)
            if client.visit is not None:
                client.visit.left_ms = self.clock()
                client.visit.block = self._history.newest

    # Who may come in

    def login(self, client: Client, key: str) -> bool:
        """Take a key that was told in a message; False when it is no good."""
        if key not in self.terms.keys:
            return False
        self._welcome(client, key)
        return True

    def subscriptions(self, key: str, feed: str | None = None) -> int:
        """How many subscriptions all clients with a key have."""
        return sum(
            wish.feed == feed or feed is None
            for client in self.clients
            if client.visit is not None and client.visit.key == key
            for wish in client.visit.wishes.values()
        )

    def _enter(self, client: Client, query: dict[str, str]) -> None:
        """Welcome a client that has told its key in the address."""
        key, id = query["token"], query.get("sessionId")
        if key not in self.terms.keys:
            client.refuse(texts.AUTHENTICATION_FAILED)
            return
        visit = None if id is None else self._visits.find(id, key)
        if id is not None and visit is None and self.terms.sessions == "refused":
            client.refuse(texts.SESSION_UNKNOWN)
        elif visit is None:
            self._welcome(client, key)
        else:
            self._return(client, visit, query.get("cursor"))

    def _welcome(self, client: Client, key: str) -> None:
        others = sum(one.visit is not None and one.visit.key == key for one in self.clients)
        if others >= self.terms.connections:
            client.session.send(texts.error(texts.CONNECTION_LIMIT))
            client.session.close_after_sending(POLICY, "connection limit exceeded")
            return
        visit = client.visit = self._visits.begin(key)
        name = digits(self._random.getrandbits(64), 12)
        client.session.send(texts.connected(name, visit.id, resumed=False, chunked=client.chunked))

    def _return(self, client: Client, visit: Visit, cursor: str | None) -> None:
        """Go on with a session: an older connection of it ends, and what was missed is replayed."""
        for other in self.clients:
            if other.visit is visit:
                other.visit = None
                visit.block = self._history.newest
                other.session.close(POLICY, "session resumed elsewhere")
        client.visit, visit.left_ms = visit, None
        client.session.send(texts.connected("", visit.id, resumed=True, chunked=client.chunked))
        number = None if cursor is None else place(cursor)
        self._history.trim(self.clock() - round(self.terms.replay_s * 1000))
        after = visit.block if number is None else number
        blocks, gap = self._history.after(after, self.terms.overlap)
        for wish in visit.wishes.values():
            self._replay(client, wish, blocks, gap=gap)

    def _replay(self, client: Client, wish: Wish, blocks: list[Block], *, gap: bool) -> None:
        missed = [(block, rows) for block in blocks if (rows := self._shown(wish, block))]
        cursor = missed[-1][0].cursor if missed else f"{self._history.newest}:{self.clock()}:0"
        if self.terms.replay == "data":
            every = [one for _, rows in missed for one in rows]
            client.session.send(texts.replay(wish, cursor, every, gap=gap))
            return
        client.session.send(texts.replay_header(wish, cursor, len(missed), gap=gap))
        for block, rows in missed:
            client.tell(wish, block, rows)

    # Who hears what

    def _happen(self, block: Block) -> None:
        self._history.add(block)
        self._history.trim(block.time_ms - round(self.terms.replay_s * 1000))
        chosen: dict[str, list[bytes]] = {}
        for client in self.clients:
            for wish in () if client.visit is None else list(client.visit.wishes.values()):
                if wish.text not in chosen:
                    chosen[wish.text] = self._shown(wish, block)
                if chosen[wish.text]:
                    client.tell(wish, block, chosen[wish.text])

    def _shown(self, wish: Wish, block: Block) -> list[bytes]:
        both = self.terms.both_sides
        return [one.json for one in block.rows if wish.shows(one, both_sides=both)]

    def say(self, client: Client, text: str) -> None:
        """Send a message, with whatever faults are on."""
        for frame in self.faults.frames(text, self._chance, GARBAGE):
            client.session.send(frame)


def _parts(target: str) -> tuple[str, dict[str, str]]:
    """A path, and its query."""
    path, _, text = target.partition("?")
    return path, dict(parse_qsl(text))
