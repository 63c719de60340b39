"""One connection to Bybit, from the dial to its end: subscribing in portions, some of which are
refused as a whole, and proof of life by pings of its own kind.
"""

import re
from collections.abc import Iterable, Sequence
from typing import Any, Final, Protocol

import trio

from flowd.market import Liquidation
from flowd.plugin import (
    Feed,
    Remembered,
    Seconds,
    Unusable,
    Upstream,
    UpstreamError,
    UpstreamSilent,
    codec,
)
from flowd_bybit.listed import RETRY_S, Listed
from flowd_bybit.parse import TOPIC, is_pong, liquidations
from flowd_bybit.rest import Refused

TOPICS_MAX: Final = 100
"""Topics in one request: one that Bybit does not know costs all of them."""
ARGS_MAX: Final = 20_000
"""Bytes of all topics in a request; Bybit takes 21 000."""
ACK_TIMEOUT_S: Final = 15.0
UNANSWERED_MAX: Final = 2
"""So many pings without an answer, and the connection is dead."""
LATE_MS: Final = 1500
"""What happens is told in batches, every half second."""
_NAMED = re.compile(r"opic:\s*([^\s,]+)")


class Settings(Protocol):
    """What a source's configuration says about its connection."""

    @property
    def symbols(self) -> list[str]:
        """What to follow; `["*"]` for all."""

    @property
    def url(self) -> str:
        """The public stream of linear contracts."""

    @property
    def silence(self) -> Seconds:
        """After so long without a message the connection is dead."""

    @property
    def ping_every(self) -> Seconds:
        """Between our pings."""


Listing = Remembered[Listed]


async def follow(config: Settings, feed: Feed[Liquidation], listing: Listing | None) -> None:
    """Follow these symbols, or all of a listing, until the connection ends, which raises an
    UpstreamError: `Refused`, when asking again soon is of no use.
    """
    named = config.symbols if listing is None else (await listing.get()).symbols
    symbols = list(dict.fromkeys(named))
    ends: list[UpstreamError] = []
    try:
        async with feed.websocket(
            config.url, silence_s=config.silence, pongs_count=False, delivers=False
        ) as upstream:
            session = Session(config, feed, upstream)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(session.subscribe_to, symbols, listing)
                nursery.start_soon(session.prove_life)
                async for text in upstream:
                    session.receive(text)
    except* UpstreamError as group:
        ends.append(_first(group))
    if str(ends[0]).startswith("refused with HTTP 403"):
        raise Refused("the handshake")
    raise ends[0]


class Session:
    """What one connection has asked for and been told."""

    def __init__(self, config: Settings, feed: Feed[Liquidation], upstream: Upstream) -> None:
        self._config = config
        self._feed = feed
        self._upstream = upstream
        self._number = 0
        self._asked: dict[str, trio.Event] = {}
        self._answers: dict[str, dict[str, Any]] = {}
        self._symbols: set[str] = set()
        """What was asked for and not refused."""
        self._unknown: set[str] = set()
        self._subscribed = False
        self._pings: list[int] = []
        """When those pings were sent that nobody answered yet, in wall time."""

    async def subscribe_to(self, symbols: Sequence[str], listing: Listing | None) -> None:
        """Subscribe, and if there is a listing, also to what is listed from then on."""
        await self._subscribe(symbols)
        self._subscribed = True
        self._feed.delivering()
        self._tell_unknown(symbols if listing is None else ())
        if not self._symbols:
            # A connection without a topic brings nothing, whatever is pinged on it.
            raise UpstreamError("Bybit knows none of these symbols", retry_s=RETRY_S)
        while listing is not None:
            listed = await listing.next()
            new = set(listed.symbols) - self._symbols - self._unknown
            if new:
                self._feed.log.info(
                    "%s: %d new symbols: %.200s", self._feed.name, len(new), ", ".join(sorted(new))
                )
                await self._subscribe(sorted(new))

    async def prove_life(self) -> None:
        """Ping for ever; UpstreamSilent when nobody answers."""
        while True:
            await trio.sleep(self._config.ping_every)
            if len(self._pings) >= UNANSWERED_MAX:
                raise UpstreamSilent(
                    f"{len(self._pings)} pings without an answer ({self._upstream.url})"
                )
            self._pings.append(self._feed.clock())
            try:
                await self._say("ping")
            except UpstreamError:
                return  # The reader tells of it.

    def receive(self, text: str | bytes) -> None:
        """One message from Bybit. What cannot be used is counted, never fatal."""
        try:
            found = codec.decode_object(text)
        except Unusable as error:
            self._feed.drop(error.reason, text)
            return
        if "topic" in found:
            self._events(found, text)
        elif is_pong(found):
            self._ponged()
        elif found.get("op") == "subscribe":
            self._answered(found, text)
        else:
            self._feed.drop("unknown message", text)

    def _events(self, found: dict[str, Any], text: str | bytes) -> None:
        wanted = self._symbols.__contains__
        for one in liquidations(found, self._feed.clock(), wanted):
            if isinstance(one, Unusable):
                self._feed.drop(one.reason, text)
            else:
                self._feed.publish(one, id=one.id)

    def _ponged(self) -> None:
        """What happened before it heard our ping, but for a batch, came before its pong."""
        if self._pings:
            asked_ms = self._pings[0]
            self._pings.clear()
            if self._subscribed:
                self._feed.delivering(asked_ms - LATE_MS)

    # Subscribing

    async def _subscribe(self, symbols: Iterable[str]) -> None:
        for portion in portions(symbols):
            self._symbols |= set(portion)
            await self._take(portion)

    async def _take(self, portion: list[str]) -> None:
        """Subscribe to all of these that Bybit knows. One that it does not costs all of them: the
        one that it names is taken out, else the portion is halved, until only good ones are left.
        """
        waiting = [portion]
        while waiting:
            part = waiting.pop()
            answer = await self._ask(part)
            if answer.get("success") is True:
                continue
            words = str(answer.get("ret_msg"))
            bad = _named(words, part)
            if bad is None and len(part) > 1:
                half = len(part) // 2
                waiting += [part[half:], part[:half]]
                continue
            bad = bad or part[0]
            self._symbols.discard(bad)
            self._unknown.add(bad)
            self._feed.drop("not subscribable", f"{bad}: {words:.200}")
            rest = [symbol for symbol in part if symbol != bad]
            if rest:
                waiting.append(rest)

    async def _ask(self, symbols: list[str]) -> dict[str, Any]:
        args = [TOPIC + symbol for symbol in symbols]
        id = str(self._number + 1)
        done = self._asked[id] = trio.Event()
        await self._say("subscribe", args)
        with trio.move_on_after(ACK_TIMEOUT_S):
            await done.wait()
            return self._answers.pop(id)
        raise UpstreamSilent(
            f"subscribing was not answered within {ACK_TIMEOUT_S:g}s ({self._upstream.url})"
        )

    def _answered(self, found: dict[str, Any], text: str | bytes) -> None:
        id = found.get("req_id")
        done = self._asked.pop(id, None) if isinstance(id, str) else None
        if done is None or not isinstance(id, str):
            self._feed.drop("unknown message", text)
            return
        self._answers[id] = found
        done.set()

    def _tell_unknown(self, named: Iterable[str]) -> None:
        """Who named a symbol that does not exist hears of it for as long as it is so."""
        unknown = [symbol for symbol in named if symbol in self._unknown]
        self._feed.problem(
            f"Bybit does not know {', '.join(unknown):.300}: take it out of symbols, or write it "
            "as Bybit does"
            if unknown
            else None
        )

    async def _say(self, op: str, args: list[str] | None = None) -> None:
        self._number += 1
        said: dict[str, Any] = {"req_id": str(self._number), "op": op}
        if args is not None:
            said["args"] = args
        await self._upstream.send(codec.encode(said).decode())


def portions(symbols: Iterable[str]) -> list[list[str]]:
    """These symbols in as many requests as it takes, in their order."""
    found: list[list[str]] = []
    size = 0
    for symbol in symbols:
        length = len((TOPIC + symbol).encode()) + 3
        if not found or len(found[-1]) == TOPICS_MAX or size + length > ARGS_MAX:
            found.append([])
            size = 0
        found[-1].append(symbol)
        size += length
    return found


def _named(words: str, part: list[str]) -> str | None:
    """The symbol whose topic a refusal names, if it is one of these."""
    match = _NAMED.search(words)
    symbol = None if match is None else match[1].removeprefix(TOPIC)
    return symbol if symbol in part else None


def _first(group: BaseExceptionGroup[UpstreamError]) -> UpstreamError:
    """What a connection ended of, where two tasks noticed at once."""
    error = group.exceptions[0]
    return _first(error) if isinstance(error, BaseExceptionGroup) else error
