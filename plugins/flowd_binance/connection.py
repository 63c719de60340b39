"""One connection to Binance's market streams, from the dial to its end: what every source here
shares.

A source says which streams it wants and what it makes of an event; subscribing, acknowledgements,
proof of life, goodbyes and the change-over before Binance's 24 hours are over happen here.
"""

import contextlib
import json
from collections.abc import Callable
from typing import Any, Protocol
from urllib.parse import quote

import trio

from flowd.plugin import (
    Feed,
    Seconds,
    Unusable,
    Upstream,
    UpstreamError,
    UpstreamSilent,
    unwrap,
    validators,
)
from flowd_binance.parse import forced_order, message

STREAMS_MAX = 1024
"""Streams that one connection may carry, by Binance's rules."""
PARAMS_MAX = 200
"""Streams named in one SUBSCRIBE."""
MESSAGES_EVERY_S = 0.25
"""Between control messages: four a second, where Binance closes above ten (pings and pongs count
too).
"""
ACK_TIMEOUT_S = 15.0
GOODBYE_S = 0.5
LATE_MS = 2000
"""An order is told up to a second after it happened, and streams may overtake each other."""

Take = Callable[[Feed[Any], dict[str, Any]], bool]
"""Publishes what an event holds; False when it is none of this source's kind, Unusable when it is
broken.
"""


class Settings(Protocol):
    """What a source's configuration says about its connection."""

    @property
    def url(self) -> str:
        """The routed base, below which all streams lie."""

    @property
    def streams(self) -> list[str]:
        """What to subscribe to, in Binance's names."""

    @property
    def companion(self) -> str:
        """The stream in the address: one that is busy by itself, and so proves that the connection
        lives.
        """

    @property
    def silence(self) -> Seconds:
        """After so long without a message the connection is dead."""

    @property
    def ping_every(self) -> Seconds:
        """Between our pings."""

    @property
    def renew_every(self) -> Seconds:
        """The age at which a connection is replaced."""

    @property
    def renew_overlap(self) -> Seconds:
        """How long the old connection is kept beside the new one."""


def symbols(wildcard: str = "") -> validators.Validator:
    """A setting's validator: as many symbols as one connection carries, or all of them, unless
    `wildcard` says why that cannot be.
    """
    wrong = "no symbol; one looks like BTCUSDT"
    return validators.symbols("[^/@?& ]+", wrong, most=STREAMS_MAX - 1, wildcard=wildcard)


def take_forced_order(feed: Feed[Any], event: dict[str, Any]) -> bool:
    """Publish the liquidation in a `forceOrder` event, once however often it comes."""
    if event.get("e") != "forceOrder":
        return False
    liquidation = forced_order(event)
    feed.publish(liquidation, id=liquidation.id)
    return True


async def follow(
    config: Settings, feed: Feed[Any], ready: Callable[[], None], take: Take = take_forced_order
) -> None:
    """One connection, from the dial to its end; says ready when data was seen to flow."""
    address = f"{config.url.rstrip('/')}/stream?streams={quote(config.companion, safe='@!/')}"
    async with feed.websocket(
        address,
        silence_s=config.silence,
        ping_every_s=config.ping_every,
        pongs_count=False,
        delivers=False,
    ) as upstream:
        session = Session(config, feed, ready, take)
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(session.subscribe, upstream)
                async for text in upstream:
                    session.receive(text)
        except* UpstreamSilent as group:
            if session.flowed:
                raise
            raise UpstreamSilent(
                f"{unwrap(group)}: subscribed, but nothing ever came; "
                "url must end in the routed path, /market"
            ) from None
        finally:
            with trio.move_on_after(GOODBYE_S, shield=True):
                await session.unsubscribe(upstream)


async def keep(
    config: Settings,
    feed: Feed[Any],
    take: Take = take_forced_order,
    on_ready: Callable[[], None] = lambda: None,
) -> None:
    """Follow for ever; a new connection replaces each before Binance ends it. `on_ready` is called
    whenever one begins to deliver.
    """

    async def session(ready: Callable[[], None]) -> None:
        def both() -> None:
            ready()
            on_ready()

        await follow(config, feed, both, take)

    await feed.renew(session, every_s=config.renew_every, overlap_s=config.renew_overlap)


class Session:
    """What one connection has asked for and been told."""

    def __init__(
        self,
        config: Settings,
        feed: Feed[Any],
        ready: Callable[[], None],
        take: Take = take_forced_order,
    ) -> None:
        self._config = config
        self._feed = feed
        self._ready = ready
        self._take = take
        self._waiting: set[int] = set()
        self._acknowledged = trio.Event()
        self.flowed = False
        """Whether any data has come."""
        self._said_ready = False

    async def subscribe(self, upstream: Upstream) -> None:
        """Subscribe live, in portions and slowly enough for Binance; UpstreamSilent when it is not
        acknowledged.
        """
        streams = self._config.streams
        portions = [streams[i : i + PARAMS_MAX] for i in range(0, len(streams), PARAMS_MAX)]
        self._waiting = set(range(1, len(portions) + 1))
        for id, portion in enumerate(portions, 1):
            await upstream.send(
                json.dumps({"method": "SUBSCRIBE", "params": portion, "id": id}, ensure_ascii=False)
            )
            await trio.sleep(MESSAGES_EVERY_S)
        with trio.move_on_after(ACK_TIMEOUT_S):
            await self._acknowledged.wait()
            return
        raise UpstreamSilent(f"SUBSCRIBE was not acknowledged within {ACK_TIMEOUT_S:g}s")

    async def unsubscribe(self, upstream: Upstream) -> None:
        """Tell Binance that we are leaving, if the connection still takes it."""
        streams = self._config.streams[:PARAMS_MAX]
        with contextlib.suppress(UpstreamError):
            await upstream.send(
                json.dumps(
                    {"method": "UNSUBSCRIBE", "params": streams, "id": 0}, ensure_ascii=False
                )
            )

    def receive(self, text: str | bytes) -> None:
        """One message from Binance. What cannot be used is counted, never fatal."""
        try:
            stream, event = message(text)
            if stream is None and "e" not in event:
                self._control(event)
                return
            if not self._take(self._feed, event) and stream != self._config.companion:
                raise Unusable(f"unknown event {str(event.get('e'))[:30]}")
        except Unusable as error:
            self._feed.drop(error.reason, text)
            return
        self.flowed = True
        time_ms = event.get("E")
        self._delivers(time_ms - LATE_MS if type(time_ms) is int else None)

    def _control(self, answer: dict[str, Any]) -> None:
        """An acknowledgement, or an error in either of the forms that Binance uses."""
        error = answer.get("error", answer)
        if isinstance(error, dict) and "code" in error:
            raise UpstreamError(
                f"Binance refused: {error.get('code')} {str(error.get('msg'))[:200]}"
            )
        if "result" not in answer:
            raise Unusable("unknown message")
        id = answer.get("id")
        if isinstance(id, int):  # A list, say, could not even be looked for.
            self._waiting.discard(id)
        if not self._waiting:
            self._acknowledged.set()
            self._delivers()

    def _delivers(self, upto_ms: int | None = None) -> None:
        """Data flows and everything is subscribed: whatever was down is over."""
        if self._acknowledged.is_set() and self.flowed:
            self._feed.delivering(upto_ms)
            if not self._said_ready:
                self._said_ready = True
                self._ready()
