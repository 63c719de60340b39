"""One client: who it is, what it follows, and what it may ask."""

import json
from collections import deque
from typing import Any, Final, Protocol

import trio

from flowd_simulator.chain.rows import Block
from flowd_simulator.hydromancer import texts
from flowd_simulator.hydromancer.terms import Terms
from flowd_simulator.hydromancer.visits import Visit
from flowd_simulator.hydromancer.wish import Wish, wish
from flowd_simulator.session import Session

POLICY: Final = 1008


class Service(Protocol):
    """What a client needs to know of the service."""

    terms: Terms

    def login(self, client: "Client", key: str) -> bool:
        """Take a key that was told in a message; False when it is no good."""

    def subscriptions(self, key: str, feed: str | None = None) -> int:
        """How many subscriptions all clients with a key have."""

    def say(self, client: "Client", text: str) -> None:
        """Send a message, with whatever faults are on."""


class Client:
    """A session with what it follows. It becomes somebody by a key, which may come later."""

    def __init__(self, session: Session, service: Service, *, chunked: bool = False) -> None:
        self.session = session
        self.visit: Visit | None = None
        self.chunked = chunked
        self.lost = 0
        """So many of the next messages do not arrive."""
        self._service = service
        self._seqs: dict[str, int] = {}
        self._arrivals: deque[float] = deque()
        self._ponged = trio.Event()

    # -- what it asks --

    def receive(self, message: str | bytes) -> None:
        """Do what a message asks for."""
        try:
            asked = json.loads(message)
        except ValueError:
            asked = None
        if not isinstance(asked, dict):
            self._error("invalid message")
            return
        if self._is_too_much():
            self._error(texts.MESSAGE_RATE)
            return
        kind = asked.get("type") or asked.get("method")
        if kind == "pong":
            self._ponged.set()
        elif kind == "ping":
            self.session.send(texts.say("pong"))
        elif kind == "auth":
            if self.visit is None and not self._service.login(self, str(asked.get("apiKey"))):
                self.refuse(texts.AUTHENTICATION_FAILED)
        elif kind in ("subscribe", "unsubscribe") and self.visit is not None:
            self._change(self.visit, kind, asked.get("subscription"))
        else:
            self._error("unknown message type")

    def refuse(self, message: str) -> None:
        """Say what is wrong and end the connection."""
        self._error(message)
        self.session.close_after_sending(POLICY, message)

    async def expect_login(self) -> None:
        """End the connection unless a key is told in time."""
        await trio.sleep(self._service.terms.login_within_s)
        if self.visit is None:
            self.refuse(texts.AUTHENTICATION_TIMEOUT)

    async def expect_pongs(self) -> None:
        """Ping for ever; who does not answer is cut off."""
        while True:
            await trio.sleep(self._service.terms.ping_every_s)
            self._ponged = trio.Event()
            self.session.send(texts.say("ping"))
            with trio.move_on_after(self._service.terms.pong_within_s):
                await self._ponged.wait()
                continue
            self.session.close(POLICY, "ping timeout")

    def _is_too_much(self) -> bool:
        now = trio.current_time()
        while self._arrivals and self._arrivals[0] <= now - 60:
            self._arrivals.popleft()
        self._arrivals.append(now)
        return len(self._arrivals) > self._service.terms.messages_per_min

    def _change(self, visit: Visit, kind: str, subscription: Any) -> None:
        # Any: what a client sends is anything.
        form = self._service.terms.acknowledge
        try:
            asked = wish(subscription if isinstance(subscription, dict) else {})
        except ValueError as error:
            self._error(str(error))
            return
        if kind == "unsubscribe":
            visit.wishes.pop(asked.text, None)
            answer = texts.update(form, unsubscribed=asked.feed)
        else:
            refusal = self._refusal(visit, asked)
            if refusal is not None:
                if form != "never":
                    self.session.send(texts.update(form, failed=asked.feed))
                self._error(refusal, asked.feed)
                return
            visit.wishes[asked.text] = asked
            answer = texts.update(form, subscribed=asked.feed)
        if form != "never":
            self.session.send(answer)

    def _refusal(self, visit: Visit, asked: Wish) -> str | None:
        """Why this subscription cannot be had."""
        terms, count = self._service.terms, self._service.subscriptions
        if asked.feed in terms.refused:
            return terms.refused[asked.feed]
        if asked.text in visit.wishes:
            return None
        if asked.feed == "allFills" and not asked.coins and not terms.all_fills:
            return texts.NO_PERMISSION
        if len(asked.coins) > terms.coins:
            return texts.TOO_MANY_COINS
        if count(visit.key) >= terms.subscriptions:
            return texts.SUBSCRIPTION_LIMIT
        most = terms.liquidation_subscriptions
        if asked.feed == "liquidationFills" and count(visit.key, asked.feed) >= most:
            return texts.limit(asked.feed)
        return None

    def _error(self, message: str, feed: str | None = None) -> None:
        self.session.send(texts.error(message, feed))

    # -- what it is told --

    def tell(self, wish: Wish, block: Block, rows: list[bytes]) -> None:
        """Send the rows of a block, in parts if that was agreed and they are many."""
        size = self._service.terms.chunk_items
        if not self.chunked or len(rows) <= size:
            self._send(texts.rows(wish, block, self._seq(wish), rows))
            return
        parts = [rows[start : start + size] for start in range(0, len(rows), size)]
        for number, part in enumerate(parts, 1):
            text = texts.rows(wish, block, self._seq(wish), part, (number, len(parts)))
            self._send(text)

    def _seq(self, wish: Wish) -> int:
        seq = self._seqs[wish.text] = self._seqs.get(wish.text, 0) + 1
        return seq

    def _send(self, text: str) -> None:
        if self.lost:
            self.lost -= 1
        else:
            self._service.say(self, text)
