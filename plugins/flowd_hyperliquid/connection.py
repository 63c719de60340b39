"""One connection to Hyperliquid, from the dial to its end: the trades of some coins."""

from itertools import groupby
from operator import attrgetter
from typing import Any, Final

import trio

from flowd.market import Trade
from flowd.plugin import Feed, Stream, Unusable, Upstream, UpstreamError, UpstreamSilent, codec
from flowd_hyperliquid import parse
from flowd_hyperliquid.gap import Gap
from flowd_hyperliquid.intake import Intake
from flowd_hyperliquid.newest import Newest
from flowd_hyperliquid.parse import Message, Sent
from flowd_hyperliquid.subscriptions import ECHO_S, Subscriptions

PACE_S: Final = 0.04
"""Between two subscriptions: 25 a second."""
AGAIN_S: Final = 60.0
"""After so long a coin is asked for again that was not confirmed."""
PING_S: Final = 30.0
"""A connection on which nothing came for so long is asked whether it lives; to one that hears
nothing from us for 60 s upstream says goodbye.
"""
ANSWER_S: Final = 10.0
OLD_S: Final = 10.0
"""How long we wait for the old trades after the last subscription; also how much newer than it
a trade may be, by this machine's clock, and pass for old.
"""
LATE_MS: Final = 1000
"""The trades of one block come in several messages."""
BUSY: Final = frozenset({"BTC", "ETH"})
"""Coins of which one always trades."""


class Connection:
    """What one connection has asked for and been told. `run` always raises: an UpstreamError when
    the connection ends.
    """

    def __init__(
        self,
        feed: Feed[Any],
        trades: Stream[Trade],
        newest: Newest,
        *,
        coins: list[str],
        url: str,
        silence_s: float,
    ) -> None:
        self._feed = feed
        self._intake = Intake(feed, trades, newest)
        self._url = url
        self._silence_s = silence_s
        self._busy = not BUSY.isdisjoint(coins)
        self._subscriptions = Subscriptions(feed, coins)
        since_ms = feed.ends_ms
        self._gap = None if since_ms is None else Gap(since_ms, coins, newest)
        self._asked_ms: dict[str, int] = {}
        self._heard_at = self._traded_at = 0.0
        self._pinged_ms: int | None = None
        self._first = True

    async def run(self) -> None:
        """Follow until the connection ends."""
        async with (
            self._feed.websocket(
                self._url,
                silence_s=PING_S + ANSWER_S,
                # Pongs of the codec do not prove that the service behind it lives.
                pongs_count=False,
                delivers=False,
            ) as upstream,
            trio.open_nursery() as nursery,
        ):
            self._heard_at = self._traded_at = trio.current_time()
            nursery.start_soon(self._subscribe, upstream)
            nursery.start_soon(self._prove_life, upstream)
            async for text in upstream:
                self._heard_at = trio.current_time()
                await self.receive(text)

    # -- asking

    async def _subscribe(self, upstream: Upstream) -> None:
        await self._ask(upstream, list(self._subscriptions))
        await trio.sleep(ECHO_S)
        self._check()
        await trio.sleep(OLD_S)
        self._close_gap(wait=False)
        while True:
            await trio.sleep(AGAIN_S - ECHO_S)
            await self._ask(upstream, self._subscriptions.of("late"))
            await trio.sleep(ECHO_S)
            self._check()

    async def _ask(self, upstream: Upstream, coins: list[str]) -> None:
        for coin in coins:
            self.asked(coin)
            wanted = {"type": "trades", "coin": coin}
            if not await _say(upstream, {"method": "subscribe", "subscription": wanted}):
                return
            await trio.sleep(PACE_S)
            self._check()

    def asked(self, coin: str) -> None:
        """A subscription is on its way."""
        self._subscriptions.asked(coin, trio.current_time())
        self._asked_ms[coin] = self._feed.clock()

    def _check(self) -> None:
        """Coins that are not confirmed in time cost the others nothing, unless there is none."""
        late = self._subscriptions.late(trio.current_time())
        if late and not self._subscriptions.of("confirmed"):
            raise UpstreamError(
                f"no subscription was confirmed within {ECHO_S:g}s: {', '.join(late):.80} "
                f"({self._url})"
            )
        if late:
            self._settled()

    async def _prove_life(self, upstream: Upstream) -> None:
        """Ask a quiet connection whether it lives; the silence after it is upstream's end."""
        while True:
            await trio.sleep_until(self._heard_at + PING_S)
            now = trio.current_time()
            if now >= self._heard_at + PING_S:
                self._pinged_ms = self._feed.clock()
                if not await _say(upstream, {"method": "ping"}):
                    return
                await trio.sleep(ANSWER_S)
            if self._busy and trio.current_time() - self._traded_at >= self._silence_s:
                raise UpstreamSilent(f"no trades for {self._silence_s:g}s ({self._url})")

    # -- being told

    async def receive(self, text: str | bytes) -> None:
        """One message. What cannot be used is counted, never fatal."""
        first, self._first = self._first, False
        try:
            message = parse.message(text)
            match message.channel:
                case "trades":
                    await self._told(message)
                case "subscriptionResponse":
                    self._echoed(message.data)
                case "error":
                    self._objected(message.data)
                case "pong":
                    self._ponged()
                case _:
                    raise Unusable("unknown message")
        except Unusable as error:
            # The service used to greet in plain words.
            if not (first and error.reason == "not JSON"):
                self._feed.drop(error.reason, text)

    def _echoed(self, data: object) -> None:
        echo = parse.echo(data)
        if echo.method != "subscribe" or echo.type != "trades":
            raise Unusable("not asked for")
        if not self._subscriptions.confirm(echo.coin):
            raise Unusable("not asked for")
        self._settled()

    def _objected(self, data: object) -> None:
        objection = parse.objection(data)
        if objection.kind == "already subscribed" and self._subscriptions.confirm(objection.coin):
            self._settled()
        elif objection.kind == "refused" and self._subscriptions.refuse(objection.coin, data):
            refused = self._subscriptions.of("refused")
            if len(refused) == len(self._subscriptions):
                raise UpstreamError(
                    f"Hyperliquid refuses every coin: {', '.join(refused):.80} ({self._url})",
                    retry_s=AGAIN_S,
                )
            self._settled()
            if self._gap is not None:
                self._gap.refused(refused)
                self._close_gap(wait=True)
        else:
            self._feed.drop("error from upstream", data)

    def _ponged(self) -> None:
        """What was told before it heard our ping came before its pong."""
        if self._pinged_ms is not None and self._subscriptions.settled:
            self._feed.delivering(self._pinged_ms - LATE_MS)

    def _settled(self) -> None:
        """Once every coin is answered for, data flows, or could."""
        if self._subscriptions.settled:
            self._feed.delivering()

    async def _told(self, message: Message) -> None:
        """Trades of one coin, or of several."""
        for bad in message.bad:
            self._feed.drop(bad.reason, bad.item)
        self._traded_at = trio.current_time()
        for coin, group in groupby(message.trades, attrgetter("coin")):
            sent = list(group)
            if coin not in self._subscriptions:
                self._feed.drop("not asked for", coin)
            elif self._subscriptions.first(coin):
                await self._take_old(coin, sent)
            else:
                await self._take(sent)

    async def _take(self, sent: list[Sent]) -> None:
        """Trades as they happen."""
        newest_ms = await self._intake.live(sent)
        if newest_ms is not None and self._subscriptions.settled:
            self._feed.reach.note(newest_ms, self._feed.clock())
            self._feed.delivering(newest_ms - LATE_MS)

    async def _take_old(self, coin: str, sent: list[Sent]) -> None:
        """A coin's first message: what happened before we asked, unless it is so new that it cannot
        have.
        """
        upto_ms = self._asked_ms[coin] + round(OLD_S * 1000)
        since_ms = 0 if self._gap is None else self._gap.since_ms
        old, missed = await self._intake.old(sent, upto_ms, since_ms)
        self._settled()
        if self._gap is not None:
            self._gap.told(coin, old, missed)
            self._close_gap(wait=True)

    def _close_gap(self, *, wait: bool) -> None:
        """Say so if nothing of the time before is missing: once all old trades have come, or when
        there is no use to `wait` any longer.
        """
        gap = self._gap
        if gap is None or (wait and not gap.told_all):
            return
        self._gap = None
        if gap.closed():
            self._feed.recovered(gap.since_ms, self._feed.clock(), gap.recovered)


async def _say(upstream: Upstream, message: dict[str, Any]) -> bool:
    """Send it; False when the connection is gone, of which the reader tells."""
    try:
        await upstream.send(codec.encode(message).decode())
    except UpstreamError:
        return False
    return True
