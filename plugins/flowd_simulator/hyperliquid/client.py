"""One WebSocket client: what it follows, and what it may ask."""

import json
from typing import Any, Final, Protocol

import trio

from flowd_simulator.chain.coins import BY_NAME
from flowd_simulator.hyperliquid import texts
from flowd_simulator.hyperliquid.markets import DEXES
from flowd_simulator.session import Session

FEEDS: Final = ("trades", "activeAssetCtx", "allMids")

Wish = tuple[str, str]
"""What is followed: a feed, and a coin or a dex."""


class Service(Protocol):
    """What a client needs to know of the exchange."""

    def may_ask(self, address: str) -> bool:
        """Count a message of an address; False when it is one too many."""

    def may_follow(self, address: str) -> str | None:
        """Why an address may not subscribe to more; None when it may."""

    def begin(self, client: "Client", wish: Wish) -> None:
        """Tell a client what it is told first."""

    def silence_s(self) -> float:
        """How long a connection lives to which nothing is sent."""


class Client:
    """A session, with what it follows."""

    def __init__(self, session: Session, address: str, service: Service) -> None:
        self.session = session
        self.address = address
        self.wishes: set[Wish] = set()
        self._service = service
        self._said_at = trio.current_time()

    def say(self, text: str) -> None:
        """Send a message."""
        self._said_at = trio.current_time()
        self.session.send(text)

    def receive(self, message: str | bytes) -> None:
        """Do what a message asks for."""
        if not self._service.may_ask(self.address):
            self.say(texts.error(texts.TOO_MANY_MESSAGES))
            return
        try:
            asked = json.loads(message)
        except ValueError:
            asked = str(message)
        method = asked.get("method") if isinstance(asked, dict) else None
        if method == "ping":
            self.say(texts.PONG)
        elif method in ("subscribe", "unsubscribe"):
            self._change(method, asked)
        else:
            self._unclear(asked)

    async def expect_something(self) -> None:
        """Cut the connection off once nothing was said on it for too long."""
        while True:
            left_s = self._said_at + self._service.silence_s() - trio.current_time()
            if left_s <= 0:
                return self.session.close(1000, "Inactive")
            await trio.sleep(left_s)

    def _change(self, method: str, asked: dict[str, Any]) -> None:
        # Any: what a client sends is anything.
        subscription = asked.get("subscription")
        kind = subscription.get("type") if isinstance(subscription, dict) else None
        if kind not in FEEDS or not isinstance(subscription, dict):
            self._unclear(asked)
            return
        wish = _wish(subscription)
        if wish is None:
            self.say(texts.error("Invalid subscription ", subscription))
            return
        plain = _normalised(wish)
        if (wish in self.wishes) == (method == "subscribe"):
            self.say(texts.error(f"Already {method}d: ", plain))
            return
        refusal = self._service.may_follow(self.address) if method == "subscribe" else None
        if refusal is not None:
            self.say(texts.error(refusal))
            return
        echo = {"method": method, "subscription": plain}
        self.say(texts.said("subscriptionResponse", echo))
        if method == "subscribe":
            self.wishes.add(wish)
            self._service.begin(self, wish)
        else:
            self.wishes.discard(wish)

    def _unclear(self, asked: object) -> None:
        self.say(texts.error("Error parsing JSON into valid websocket request: ", asked))


def _wish(subscription: dict[str, Any]) -> Wish | None:
    feed = str(subscription["type"])
    if feed == "allMids":
        dex = subscription.get("dex") or ""
        return (feed, dex) if dex in ("", *DEXES) else None
    coin = subscription.get("coin")
    return (feed, coin) if isinstance(coin, str) and coin in BY_NAME else None


def _normalised(wish: Wish) -> dict[str, Any]:
    """The subscription as the exchange writes it."""
    feed, what = wish
    if feed == "allMids":
        return {"type": feed, "dex": what or None}
    return {"type": feed, "coin": what}
