"""A flowd source: Binance USD-M futures, forced orders (liquidations).

What Binance sends is a sample, at most one order per symbol and second: sums of it are a lower
bound. There is no replay and no history, so an outage here is lost for good and is recorded as
such.
"""

import contextlib
import json
from typing import Any

import trio
from attrs import field, frozen

from flowd.market import Liquidation
from flowd.plugin import (
    Feed,
    Seconds,
    Source,
    Upstream,
    UpstreamError,
    UpstreamSilent,
    hookimpl,
    unwrap,
)
from flowd_binance.parse import Unusable, forced_order, message

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


def _symbols(_: object, attribute: Any, symbols: list[str]) -> None:
    if not symbols:
        raise ValueError('symbols = []: name at least one symbol, or ["*"] for all')
    if "*" in symbols and len(symbols) > 1:
        raise ValueError('symbols: "*" already means all; leave the others out')
    if len(symbols) >= STREAMS_MAX:
        raise ValueError(
            f'symbols: at most {STREAMS_MAX - 1} fit on a connection; use ["*"] for all'
        )
    for symbol in symbols:
        if not symbol or any(c in symbol for c in "/@?& "):
            raise ValueError(f"symbols: {symbol!r} is no symbol; one looks like BTCUSDT")


@frozen
class Config:
    """`symbols` to follow, `["*"]` for all. `url` is the routed base: everything lies below it.

    `companion` is a stream that is always busy: Binance accepts subscriptions on paths where
    nothing is delivered, and liquidations may be quiet for minutes, so this one proves that the
    connection lives.
    """

    symbols: list[str] = field(validator=_symbols)
    url: str = "wss://fstream.binance.com/market"
    companion: str = "btcusdt@markPrice@1s"
    silence: Seconds = Seconds(60.0)
    ping_every: Seconds = Seconds(15.0)
    renew_every: Seconds = Seconds(23.5 * 3600)
    renew_overlap: Seconds = Seconds(5.0)

    def __attrs_post_init__(self) -> None:
        if not self.url.startswith(("ws://", "wss://")):
            raise ValueError(f'url = "{self.url}": expected "wss://fstream.binance.com/market"')

    @property
    def streams(self) -> list[str]:
        """What to subscribe to, in Binance's names; without the companion."""
        if self.symbols == ["*"]:
            return ["!forceOrder@arr"]
        return [f"{symbol.lower()}@forceOrder" for symbol in dict.fromkeys(self.symbols)]


async def force_orders(config: Config, feed: Feed[Liquidation]) -> None:
    """Follow the forced orders; a new connection replaces each before Binance ends it after 24
    hours.
    """

    async def session(ready: Any) -> None:
        await follow(config, feed, ready)

    await feed.renew(session, every_s=config.renew_every, overlap_s=config.renew_overlap)


async def follow(config: Config, feed: Feed[Liquidation], ready: Any) -> None:
    """One connection, from the dial to its end; says ready when data was seen to flow."""
    address = f"{config.url.rstrip('/')}/stream?streams={config.companion}"
    async with feed.websocket(
        address,
        silence_s=config.silence,
        ping_every_s=config.ping_every,
        pongs_count=False,
        delivers=False,
    ) as upstream:
        session = Session(config, feed, ready)
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


class Session:
    """What one connection has asked for and been told."""

    def __init__(self, config: Config, feed: Feed[Liquidation], ready: Any) -> None:
        self._config = config
        self._feed = feed
        self._ready = ready
        self._waiting: set[int] = set()
        self._acknowledged = trio.Event()
        self.flowed = False
        """Whether any data has come."""

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
            kind = event.get("e")
            if kind == "forceOrder":
                liquidation = forced_order(event)
                self._feed.publish(liquidation, id=liquidation.id)
            elif stream != self._config.companion:
                raise Unusable(f"unknown event {str(kind)[:30]}")
        except Unusable as error:
            self._feed.drop(error.reason, text)
            return
        if not self.flowed:
            self.flowed = True
            self._delivers()

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
        if isinstance(id, int):
            self._waiting.discard(id)
        if not self._waiting:
            self._acknowledged.set()
            self._delivers()

    def _delivers(self) -> None:
        """Data flows and everything is subscribed: whatever was down is over."""
        if self._acknowledged.is_set() and self.flowed:
            self._feed.delivering()
            self._ready()


@hookimpl
def flowd_sources() -> list[Source]:
    """The kind `binance-force-order`."""
    return [Source("binance-force-order", force_orders, Config, record=Liquidation)]
