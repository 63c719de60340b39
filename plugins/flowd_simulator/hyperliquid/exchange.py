"""The exchange itself: who is connected, who hears what, and what goes wrong."""

import math
from collections import defaultdict, deque
from random import Random
from typing import Any, Final

import trio
from trio_websocket import WebSocketConnection

from flowd_simulator.chain.coins import BY_NAME
from flowd_simulator.chain.live import Chain
from flowd_simulator.chain.rows import Block, Row
from flowd_simulator.door import Answer, address_of, opened, serve_http
from flowd_simulator.faults import Faults, InfoFault
from flowd_simulator.hyperliquid import markets, texts
from flowd_simulator.hyperliquid.answers import Answers
from flowd_simulator.hyperliquid.client import Client, Wish
from flowd_simulator.hyperliquid.garbage import GARBAGE
from flowd_simulator.hyperliquid.terms import Addresses, Terms
from flowd_simulator.hyperliquid.troubles import ANSWERS
from flowd_simulator.hyperliquid.weights import Count
from flowd_simulator.session import Clock, Limits, Session, guarded, shake_hands
from flowd_simulator.web import loopback, serve_streams

TICK_S: Final = 1.0
RECENT_MAX: Final = 1000
LIMITS: Final = Limits(ping_every_s=math.inf, messages_per_s=100_000)
"""The exchange sends no pings, and counts messages by the minute."""

Json = dict[str, Any]  # Any: JSON


class Hyperliquid:
    """A simulated Hyperliquid.

    `serve` plays it on loopback. Tests run `run` in a nursery instead, or not at all: they give
    `serve_stream` one end of a stream, ask `info` directly, and `advance` or `tell` speak at once.
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
        limits: Limits = LIMITS,
    ) -> None:
        self.clock = clock
        self.terms = terms or Terms()
        self.faults = faults or Faults()
        self.limits = limits
        self._own = chain is None
        self.chain = chain or Chain(seed, clock, fills_per_s=fills_per_s)
        self.chain.listeners.append(self._happen)
        self.clients: list[Client] = []
        """In the order in which they came."""
        self.accepted = 0
        """How many connections were ever accepted."""
        self.handshake_status: int | None = None
        """Set to refuse new connections with this HTTP status, as 429 or 503."""
        self.answering = 0
        """Requests that came and are not answered yet."""
        self.weights: defaultdict[str, Count] = defaultdict(lambda: Count(clock))
        """What was asked for, by network address; memory is `memory`."""
        self._messages: defaultdict[str, Count] = defaultdict(lambda: Count(clock))
        self._arrivals: defaultdict[str, Count] = defaultdict(lambda: Count(clock))
        self._begun = False
        self._answers = Answers(self.chain.tape, clock, self.terms)
        self._recent: defaultdict[str, deque[Json]] = defaultdict(lambda: deque(maxlen=RECENT_MAX))
        self._chance = Random(f"{seed}/hyperliquid/faults")

    # What a test or an operator can make happen

    def advance(self, seconds: float = 1.0) -> list[Row]:
        """Have the trading of so many seconds happen in one block, now."""
        return list(self.chain.advance(seconds).rows)

    def tell(self, *trades: Json) -> None:
        """Tell of these trades, as they are, to who follows their coins."""
        by_coin: dict[str, list[Json]] = {}
        for trade in trades:
            by_coin.setdefault(str(trade["coin"]), []).append(trade)
        self._publish(by_coin)

    def info(self, body: bytes, address: str = "memory") -> Answer:
        """The answer to a request, without a connection."""
        self._begin()
        good = self._answers.answer(body, self.weights[address])
        trouble = self.faults.info
        return ANSWERS[trouble](good) if trouble in ANSWERS else good

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

    def stall(self) -> None:
        """Say nothing more; what would be said is lost."""
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
        task_status: trio.TaskStatus[Addresses] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """Play on a loopback port until cancelled; port 0 takes a free one."""
        host = loopback(host)
        async with trio.open_nursery() as nursery:
            at = await nursery.start(serve_streams, self.serve_stream, host, port)
            nursery.start_soon(self.run)
            task_status.started(Addresses(at))

    async def run(self) -> None:
        """Let the trading go on, and the scheduled faults happen, until cancelled."""
        self._begin()
        async with trio.open_nursery() as nursery:
            if self._own:
                nursery.start_soon(self.chain.run)
            nursery.start_soon(self._tick)
            nursery.start_soon(self.faults.run, "Hyperliquid", self.drop_all)

    async def serve_stream(self, stream: trio.abc.Stream) -> None:
        """Serve one connection over any stream: a WebSocket on `/ws`, or requests to `/info`.

        Closes the stream. What goes wrong with a client is logged and ends here.
        """
        await guarded(self._serve_connection, stream)

    async def _serve_connection(self, stream: trio.abc.Stream) -> None:
        self._begin()
        address = address_of(stream)
        found = await opened(stream)
        if found is None:
            return
        again, websocket = found
        if websocket:
            await self._serve_client(again, address)
            return

        async def respond(method: str, target: str, body: bytes) -> Answer | None:
            path = target.partition("?")[0]
            self.answering += 1
            try:
                await trio.sleep(self.faults.slow_s)
                return await self._respond(method, path, body, address)
            finally:
                self.answering -= 1

        await serve_http(again, respond)

    async def _respond(self, method: str, path: str, body: bytes, address: str) -> Answer | None:
        """The answer to a request; None cuts the connection."""
        if self.faults.info is InfoFault.silent:
            await trio.sleep_forever()
        if self.faults.info is InfoFault.cut:
            return None
        if path != "/info" or method != "POST":
            return Answer(404 if path != "/info" else 405, b"", "text/plain")
        return self.info(body, address)

    async def _serve_client(self, stream: trio.abc.Stream, address: str) -> None:
        async def seat(connection: WebSocketConnection, path: str) -> None:
            session = Session(connection, self.limits, self.faults, self.clock)
            await self._seat(Client(session, address, self))

        await shake_hands(stream, lambda path: self._status(path, address), seat)

    def _status(self, path: str, address: str) -> int | None:
        """The HTTP status to refuse a handshake with."""
        if self.handshake_status is not None or path != "/ws":
            return self.handshake_status or 404
        here = sum(client.address == address for client in self.clients)
        fresh = self._arrivals[address].within(self.terms.connections_per_min)
        return None if fresh and here < self.terms.connections else 429

    async def _seat(self, client: Client) -> None:
        """Serve one client until it goes."""
        self.accepted += 1
        self.clients.append(client)
        if self.terms.greeting is not None:
            client.say(self.terms.greeting)
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(client.expect_something)
                await client.session.run(client.receive)
                nursery.cancel_scope.cancel()
        finally:
            self.clients.remove(client)

    # What clients may ask

    def may_ask(self, address: str) -> bool:
        """Count a message of an address; False when it is one too many."""
        return self._messages[address].within(self.terms.messages_per_min)

    def may_follow(self, address: str) -> str | None:
        """Why an address may not subscribe to more; None when it may."""
        most = self.terms.subscriptions
        here = sum(len(one.wishes) for one in self.clients if one.address == address)
        return None if here < most else texts.TOO_MANY_SUBSCRIPTIONS.format(most)

    def silence_s(self) -> float:
        """How long a connection lives to which nothing is sent."""
        return self.terms.silence_s

    def begin(self, client: Client, wish: Wish) -> None:
        """Tell a client what it is told first: recent trades, without a mark, or how it stands."""
        feed, coin = wish
        if feed != "trades":
            client.say(self._standing(wish))
        elif recent := list(self._recent[coin])[-self.terms.recent :]:
            client.say(texts.said("trades", recent))

    # Who hears what

    def _begin(self) -> None:
        """Have the past happen, if nobody has looked before."""
        if not self._begun:
            self._begun = True
            self.chain.tape.begin(self.clock())
            self._remember(texts.trades_of(self.chain.tape.past_rows, users=self.terms.users))

    def _happen(self, block: Block) -> None:
        self._begin()
        self._publish(texts.trades_of(block.rows, users=self.terms.users))

    def _remember(self, by_coin: dict[str, list[Json]]) -> None:
        for coin, trades in by_coin.items():
            self._recent[coin] += trades

    def _publish(self, by_coin: dict[str, list[Json]]) -> None:
        self._remember(by_coin)
        for coin, trades in by_coin.items():
            self._say(("trades", coin), texts.said("trades", trades))

    def _say(self, wish: Wish, text: str) -> None:
        """Send a message to who asked for it, with whatever faults are on."""
        for client in self.clients:
            if wish in client.wishes:
                for frame in self.faults.frames(text, self._chance, GARBAGE):
                    client.say(frame)

    def _standing(self, wish: Wish) -> str:
        feed, what = wish
        tape, now_ms = self.chain.tape, self.clock()
        if feed == "allMids":
            return texts.said("allMids", {"mids": markets.mids(tape, what, now_ms)})
        coin = BY_NAME[what]
        channel = "activeSpotAssetCtx" if coin.spot else "activeAssetCtx"
        ctx = markets.context(tape, coin, now_ms)
        return texts.said(channel, {"coin": what, "ctx": ctx})

    async def _tick(self) -> None:
        """What is told once a second."""
        while True:
            await trio.sleep(TICK_S)
            wanted = {wish for client in self.clients for wish in client.wishes}
            for wish in sorted(wanted):
                if wish[0] != "trades":
                    self._say(wish, self._standing(wish))
