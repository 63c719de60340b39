"""What the candles sink does for symbols that no source was configured with: it has them asked for,
waits for the first candles, and says in time what cannot be had.
"""

from collections.abc import Sequence

import trio
from attrs import frozen

from flowd.market import Candle, Instrument
from flowd.plugin import BadRequest, Index, Input, StreamName, Streams, suggestion
from flowd_binance.asked import CANDLES, SYMBOLS, AskedSymbol, AskedSymbols, is_symbol
from flowd_binance.parse import INTERVALS
from flowd_binance.wider import widest

WAIT_S = 10.0
"""So long who asks waits for the first candles of a symbol."""
WAITING_MAX = 100
"""Requests that wait for them at once."""


@frozen
class Offer:
    """A source that may be asked, and where what it then follows is found."""

    told: Input[AskedSymbols]
    candles: Index[Candle, tuple[str, str]]

    @property
    def state(self) -> AskedSymbols | None:
        """What it follows now; None before it first ran, or where it takes no questions."""
        state = self.told.get("symbols")
        return state if state is not None and state.most > 0 else None


class Listing:
    """What Binance lists, as far as a stream of instruments says it."""

    def __init__(self, listed: Input[Instrument]) -> None:
        self._listed = listed
        self._seq = -1
        self._names: list[str] = []

    def names(self) -> list[str]:
        """In order; empty where it says nothing of Binance, or nothing to who asks."""
        try:
            seq = self._listed.head.seq
            records = self._listed.read(
                self._listed.head.seq if seq == self._seq else 0, first=True
            )
        except BadRequest:
            return []
        if seq != self._seq:
            self._seq = seq
            found = {one.value.symbol for one in records.records if one.value.venue == "binance"}
            self._names = sorted(found)
        return self._names


class Demand:
    """The sources that may be asked for further symbols, of all that a sink reads."""

    def __init__(self, inputs: Sequence[StreamName], streams: Streams) -> None:
        self._offers = [
            Offer(
                streams[f"{name}.{SYMBOLS}"],
                Index(
                    streams[f"{name}.{CANDLES}"],
                    lambda candle: (candle.symbol, candle.interval),
                    lambda candle: candle.time_ms,
                ),
            )
            for name in inputs
            if f"{name}.{SYMBOLS}" in streams
        ]
        self._listings = [
            Listing(streams[name]) for name in streams if streams[name].record is Instrument
        ]
        self._waiting = 0

    def intervals(self) -> list[str]:
        """The intervals in which any symbol can be asked for, the narrowest first."""
        there = [state.interval for offer in self._offers if (state := offer.state)]
        return [name for name in INTERVALS if name in there or widest(there, name) is not None]

    def symbols(self) -> list[str]:
        """The symbols that are followed because somebody asked."""
        states = [state for offer in self._offers if (state := offer.state)]
        return sorted({one.symbol for state in states for one in state.followed})

    def unlisted(self, symbol: str) -> str | None:
        """Why asking for a symbol is of no use, now or later; None as far as nobody knows."""
        names = self._names()
        if self.intervals() and names and symbol not in names:
            return str(self._unknown(symbol, "Binance does not list it"))
        return None

    def offer(self, symbol: str, interval: str) -> tuple[Offer, str] | None:
        """Who is asked for a symbol's candles of this interval, or of the widest narrower one that
        they can be built of, and which interval that is. None when nobody is.
        """
        if interval not in INTERVALS:
            return None
        offers = {
            state.interval: offer
            for offer in self._offers
            if (state := offer.state) and symbol not in state.configured
        }
        narrow = interval if interval in offers else widest(offers, interval)
        return None if narrow is None else (offers[narrow], narrow)

    async def fetch(self, offer: Offer, symbol: str, now_ms: int) -> AskedSymbol:
        """Ask for a symbol, and wait until its candles are in the offer's index. BadRequest that
        says why there will be none, or none yet.
        """
        self._check(offer, symbol, now_ms)
        offer.told.ask(symbol)
        if self._waiting >= WAITING_MAX:
            raise _later(f"{symbol} was asked for, and too many wait for candles already", symbol)
        self._waiting += 1
        try:
            with trio.move_on_after(WAIT_S):
                found = await self._wait(offer, symbol, now_ms)
                await offer.candles.update()
                if found.state == "followed" or offer.candles.find(
                    (symbol, found.interval), most=1, backward=True
                ):
                    return found
                raise _later(f"the candles of {symbol} cannot be had now: {found.why}", symbol)
        finally:
            self._waiting -= 1
        raise _later(f"the candles of {symbol} are still being fetched", symbol)

    async def _wait(self, offer: Offer, symbol: str, now_ms: int) -> AskedSymbol:
        """How a symbol stands, once that is known; waits for ever where nobody says. What was over
        before now does not count.
        """
        await trio.lowlevel.checkpoint()
        while True:
            seq, state = offer.told.head.seq, offer.state
            found = state.find(symbol) if state is not None else None
            if found is not None and found.until_ms > now_ms and found.state != "fetching":
                if found.state == "refused":
                    raise self._unknown(symbol, str(found.why))
                return found
            if not await offer.told.news(seq):
                raise _later("the daemon is stopping", symbol)

    def _check(self, offer: Offer, symbol: str, now_ms: int) -> None:
        """BadRequest where asking is of no use, so that nobody is asked."""
        state = offer.state
        assert state is not None, "only who takes questions is an offer"
        known = state.find(symbol)
        if known is not None and known.until_ms > now_ms:
            if known.state == "refused":
                raise self._unknown(symbol, str(known.why))
            return
        if not is_symbol(symbol):
            raise self._unknown(symbol, "a symbol has 1 to 40 letters, digits, - and _")
        names = self._names()
        if names and symbol not in names:
            raise self._unknown(symbol, "Binance does not list it")
        if not state.room(now_ms):
            followed = sorted(one.symbol for one in state.followed)
            full = f"{len(followed)} of at most {state.most} symbols are followed on demand"
            raise BadRequest(
                f"{full}, and there is no room for {symbol} at this moment",
                parameter="symbol",
                value=symbol,
                allowed=followed,
                code="TOO_MANY_SYMBOLS",
                status=429,
            )

    def _names(self) -> list[str]:
        return next((names for one in self._listings if (names := one.names())), [])

    def _unknown(self, symbol: str, why: str) -> BadRequest:
        names = self._names()
        return BadRequest(
            f"there are no candles of {symbol!r:.60}: {why}{suggestion(symbol[:40], names)}",
            parameter="symbol",
            value=symbol,
            allowed=names[:200],
            code="UNKNOWN_SYMBOL",
        )


def _later(message: str, symbol: str) -> BadRequest:
    return BadRequest(
        message, parameter="symbol", value=symbol, allowed="later", code="UNAVAILABLE", status=503
    )
