"""History from elsewhere: fills the buckets that lie wholly before the first order that flowd saw
itself.

It asks another flowd, or any service with the same REST endpoint, one range after the other and
slowly. How far it came is kept in a private table, so that a restart goes on there. What it fills
is marked, and never touches a bucket of our own.
"""

from decimal import Decimal
from typing import Any
from urllib.parse import quote

import httpx2
import trio
from attrs import evolve, frozen

from flowd.market import Bucket, number, trimmed
from flowd.plugin import Feed, Stream, codec
from flowd_liquidations.timeframe import Timeframe, key

PATH = "/api/v1/liquidation-volume"
EVERY_S = 0.5
"""Between requests: two a second at most."""
RETRY_S = 30.0
RETRY_MAX_S = 600.0
TIMEOUT_S = 20.0
BARS_MAX = 1000
"""Bars asked for at once."""


@frozen
class Progress:
    """How far one series is filled: from `until_ms` (our own begins there) back to `reached_ms`."""

    symbol: str
    timeframe: str
    until_ms: int
    reached_ms: int
    done: bool = False


class Backfill:
    """Fills the past of each symbol that turns up, once."""

    def __init__(
        self,
        base: str,
        timeframes: list[Timeframe],
        feed: Feed[Bucket],
        transport: httpx2.AsyncBaseTransport | None = None,
    ) -> None:
        self._transport = transport
        self._base = base.rstrip("/")
        self._frames = {frame.name: frame for frame in timeframes}
        self._feed = feed
        self._table: Stream[Progress] = feed.table("backfill", Progress)
        self._more = trio.Event()

    def first_seen(self, symbol: str, time_ms: int) -> None:
        """Our own history of a symbol begins here. Known already when that was said before."""
        for frame in self._frames.values():
            name = f"{symbol}/{frame.name}"
            if self._table.get(name) is None:
                until_ms = frame.start(time_ms)
                self._table.append(Progress(symbol, frame.name, until_ms, until_ms), key=name)
        self._more.set()

    async def run(self) -> None:
        """Fill whatever is not yet filled, for ever. What fails is tried again later."""
        wait_s = RETRY_S
        async with httpx2.AsyncClient(timeout=TIMEOUT_S, transport=self._transport) as client:
            while True:
                self._more = trio.Event()
                try:
                    for progress in self._open():
                        await self._fill(client, progress)
                    wait_s = RETRY_S
                    await self._more.wait()
                except (httpx2.HTTPError, ValueError, KeyError, TypeError) as error:
                    self._feed.drop("backfill failed", f"{error!r}; again in {wait_s:g}s")
                    await trio.sleep(wait_s)
                    wait_s = min(wait_s * 2, RETRY_MAX_S)

    def _open(self) -> list[Progress]:
        found = [record.value for record in self._table.after(0)]
        return [one for one in found if not one.done and one.timeframe in self._frames]

    async def _fill(self, client: httpx2.AsyncClient, progress: Progress) -> None:
        """Go back through one series, range by range, to the end of its retention."""
        frame = self._frames[progress.timeframe]
        while not progress.done:
            oldest_ms = self._feed.clock() - frame.keep_ms
            end_ms = progress.reached_ms - 1
            width_ms = frame.width_ms or 31 * 86_400_000
            start_ms = max(end_ms - BARS_MAX * width_ms, oldest_ms)
            if start_ms >= end_ms:
                progress = evolve(progress, done=True)
                self._note(progress)
                return
            bars = await self._ask(client, progress, start_ms, end_ms)
            # Bars and progress belong to the same instant: no checkpoint between them.
            for bar in bars:
                self._put(bar, frame, progress)
            done = not bars or start_ms == oldest_ms
            progress = evolve(progress, reached_ms=frame.start(start_ms), done=done)
            self._note(progress)
            await trio.sleep(EVERY_S)

    async def _ask(
        self, client: httpx2.AsyncClient, progress: Progress, start_ms: int, end_ms: int
    ) -> list[dict[str, Any]]:
        path = f"{PATH}/{quote(progress.symbol, safe='')}/{progress.timeframe}"
        while True:
            answer = await client.get(
                f"{self._base}{path}", params={"start": start_ms, "end": end_ms}
            )
            if answer.status_code != 429:
                break
            text = answer.headers.get("retry-after", "")
            await trio.sleep(min(float(text), RETRY_MAX_S) if text.isdigit() else RETRY_S)
        answer.raise_for_status()
        data = codec.decode(answer.content)["data"]
        if not isinstance(data, list):
            raise ValueError(f"expected a list of bars, got {data!r:.60}")
        return data

    def _put(self, bar: dict[str, Any], frame: Timeframe, progress: Progress) -> None:
        time_ms, count = bar["timestamp_ms"], bar["count"]
        if type(time_ms) is not int or type(count) is not int or frame.start(time_ms) != time_ms:
            self._feed.drop("backfill: bad bar", bar)
            return
        if count <= 0 or frame.following(time_ms) > progress.until_ms:
            return
        buy, sell = _amount(bar["buy_volume"]), _amount(bar["sell_volume"])
        name = key(progress.symbol, frame.name, time_ms)
        if self._feed.get(name) is None:
            bucket = Bucket(progress.symbol, frame.name, time_ms, buy, sell, count, backfilled=True)
            self._feed.publish(bucket, key=name)

    def _note(self, progress: Progress) -> None:
        self._table.append(progress, key=f"{progress.symbol}/{progress.timeframe}")


def _amount(text: object) -> Decimal:
    amount = trimmed(number(text))
    if amount < 0:
        raise ValueError(f"a volume is not negative, got {text!r}")
    return amount
