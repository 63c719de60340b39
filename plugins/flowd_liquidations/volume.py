"""A transform: liquidations to volume buckets. Accumulated, never replaced; exact; each order
once.

It adds up what is new as it comes. Once a second it publishes the changed buckets as full totals
and says that it is done, all in one step: so a restart at any moment neither loses an order nor
counts one twice, and the stream itself is all the state there is.

Of several inputs each has its own place, and all of them are read by one task: what is published
together, and how far each was read, belong to one step.

A lone order changes one bucket in each timeframe, and publishing costs far more than adding. So
wide buckets, of which it is a small part, are published less often: at once after a quiet time,
and then no more for a while, in which what comes is gathered. Since a place belongs to what is
published, they have one of their own.
"""

import math
import os
from importlib import import_module
from typing import Any
from urllib.parse import urlsplit

import trio
from attrs import Factory, evolve, field, frozen

from flowd.market import Bucket
from flowd.plugin import Feed, Input, Seconds, Stream, StreamName, Streams, news_of
from flowd_liquidations.accumulator import Accumulator
from flowd_liquidations.backfill import Backfill
from flowd_liquidations.orders import Orders, Reached
from flowd_liquidations.shelf import Shelf
from flowd_liquidations.timeframe import STANDARD, Timeframes, ordered, parse

SLICE = 100
"""Orders added up in one step; the rest waits for the next, so that a backlog holds nobody up."""
CHANGED_MAX = 400
"""With so many changed buckets it is time to publish, so that publishing holds nobody up."""
PAUSE_S = 0.05
"""Between reads, so that a busy input is read in slices and not order by order."""
WIDE_MS = 300_000
"""Buckets of this width and wider are published less often than the narrow ones."""
WIDER = 5
"""So many times less often."""
BUCKETS_MAX = 1_000_000
BASE_URL = "LIQUIDATION_API_BASE_URL"


def _timeframes(_: object, attribute: Any, names: list[str]) -> None:
    if not names:
        raise ValueError("timeframes = []: name at least one, such as 1m")
    for name in names:
        parse(name)
    if len(set(names)) < len(names):
        raise ValueError(f"timeframes = {names}: name each once")


def _retain(_: object, attribute: Any, retain: int | str | None) -> None:
    if retain is not None:
        raise ValueError(
            f"retain = {retain!r}: buckets are kept for as long as their timeframe says, and one "
            "that fell off sooner would begin anew; leave retain out"
        )


@frozen
class Config:
    """`input` or `inputs` are streams of liquidations or of fills; `every` how often changed
    buckets are published at most, and a fifth as often those of five minutes and wider.

    `backfill_from` is another flowd, whose buckets fill the time before our own; without it the
    environment's LIQUIDATION_API_BASE_URL, if set. `retain` cannot be chosen here.
    """

    input: StreamName | None = None
    inputs: list[StreamName] = field(factory=list)
    timeframes: list[str] = field(default=Factory(lambda: list(STANDARD)), validator=_timeframes)
    every: Seconds = Seconds(1.0)
    backfill_from: str | None = None
    retain: int | str | None = field(default=None, validator=_retain)

    def __attrs_post_init__(self) -> None:
        if not self.names:
            raise ValueError("neither input nor inputs: name a stream of liquidations, or several")
        name = "backfill_from" if self.backfill_from else BASE_URL
        address = urlsplit(self.history or "http://none")
        if address.scheme not in ("http", "https") or not address.hostname:
            raise ValueError(
                f'{name} = "{self.history}": expected an address such as '
                '"https://flowd.example.org"'
            )
        if self.history is not None:
            # Only who has another flowd to ask pays for it, and before the loop turns.
            import_module("httpx2")

    @property
    def names(self) -> list[str]:
        """All streams that are added up, each once."""
        return list(dict.fromkeys([*([self.input] if self.input else []), *self.inputs]))

    @property
    def wide(self) -> float:
        """How often wide buckets are published."""
        return WIDER * self.every

    @property
    def history(self) -> str | None:
        """Where older buckets are asked for, None for nowhere."""
        return self.backfill_from or os.environ.get(BASE_URL) or None


async def volume(config: Config, streams: Streams, feed: Feed[Bucket]) -> None:
    """Read, add up, publish; ends when its input does."""
    names = ordered(config.timeframes)
    frames = [parse(name) for name in names]
    inputs: list[Input[Any]] = [streams[name] for name in config.names]
    shelf = Shelf(frames, feed, alone=len(inputs) == 1)
    offer: Stream[Timeframes] = feed.table("timeframes", Timeframes)
    offer.append(offered(names, offer.get("timeframes"), shelf, feed.clock()), key="timeframes")
    table = feed.table("reached", Reached)

    def filling(now: bool) -> None:
        known = offer.get("timeframes")
        if known is not None and known.filling != now:
            offer.append(evolve(known, filling=now), key="timeframes")

    async with trio.open_nursery() as nursery:
        if config.history is not None:
            nursery.start_soon(Backfill(config.history, shelf, feed, filling).run)
        # Each has places of its own, and goes on from them also without timeframes: who configures
        # one later must not count anew what the others have.
        paces = []
        for place, wide, every_s in (("", False, config.every), ("wide", True, config.wide)):
            own = [frame for frame in frames if (not 0 < frame.width_ms < WIDE_MS) == wide]
            orders = Orders(inputs, place, table, shelf.newest_ms)
            paces.append(Pace(orders, Accumulator(own, shelf, feed), every_s))
        await accumulate(inputs, paces)
        nursery.cancel_scope.cancel()


def offered(names: list[str], before: Timeframes | None, shelf: Shelf, now_ms: int) -> Timeframes:
    """These timeframes, and since when each is counted: as `before`, where it was among them then.
    What was counted before this was noted is as old as its oldest bucket.
    """
    known = Timeframes([]) if before is None else before
    since_ms = {
        name: known.since_ms.get(name, shelf.oldest_ms(name) or now_ms)
        if name in known.timeframes
        else now_ms
        for name in names
    }
    return Timeframes(names, since_ms)


class Pace:
    """Some timeframes that are published equally often, and how far their orders were read."""

    def __init__(self, orders: Orders, accumulator: Accumulator, every_s: float) -> None:
        self.orders = orders
        self._accumulator = accumulator
        self._every_s = every_s
        self._due = trio.current_time()

    @property
    def due(self) -> float:
        """When there is something to publish, by Trio's clock; never, where nothing is."""
        return self._due if self.orders.pending else math.inf

    def turn(self) -> bool:
        """Add a slice of what came of each input, and publish if it is time; true when there was so
        much that others should run before the next turn.
        """
        now = trio.current_time()
        if not self.orders.pending:
            self._due = max(self._due, now)
        level = self.orders.add_to(self._accumulator, SLICE)
        full = self._accumulator.changed >= CHANGED_MAX
        # What came together is shown together, unless it does not end.
        late = now >= (self._due if level else self._due + self._every_s)
        if full or (late and self.orders.pending):
            self.publish()
        return full or not level

    def publish(self) -> None:
        """Publish what changed: buckets and places belong to the same instant."""
        self._accumulator.publish()
        self.orders.done()
        self._due = trio.current_time() + self._every_s


async def accumulate(inputs: list[Input[Any]], paces: list[Pace]) -> None:
    """Add up what comes at once, and publish what changed once in a while; ends with its inputs.

    Waking up costs far more than an order, so one task serves all paces, and an order that comes
    alone wakes it once.
    """
    soonest = trio.current_time()
    while True:
        with trio.move_on_at(min(pace.due for pace in paces)) as waiting:
            seqs = [min(reached) for reached in zip(*(p.orders.seqs for p in paces), strict=True)]
            if not await news_of(inputs, seqs):
                break
        if not waiting.cancelled_caught:
            await pause(inputs, soonest - trio.current_time())
        soonest = trio.current_time() + PAUSE_S
        for pace in paces:
            while pace.turn():
                await trio.lowlevel.checkpoint()
    for pace in paces:
        pace.publish()


async def pause(inputs: list[Input[Any]], seconds: float) -> None:
    """Sleep, but not beyond the end of the inputs."""
    if seconds > 0:
        with trio.move_on_after(seconds):
            for one in inputs:
                await one.ended()
