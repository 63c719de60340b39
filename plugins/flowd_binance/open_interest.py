"""A flowd source: Binance's open interest, asked for again and again, with its history.

The stream is a table of samples that only grows newer: what is missing of a symbol is fetched
before its next sample is published. So whoever sees a sample behind a full five minutes knows that
nothing older will follow, and need not wait.
"""

from importlib import import_module
from operator import attrgetter
from typing import Any

import trio
from attrs import Factory, field, frozen

from flowd.market import OpenInterest
from flowd.plugin import (
    Feed,
    Seconds,
    Unusable,
    UpstreamError,
    UpstreamSilent,
    UserError,
    validators,
)
from flowd_binance import connection
from flowd_binance.parse import open_interest, past_interest
from flowd_binance.recovery import Recovery
from flowd_binance.rest import HISTORY_PER_MINUTE, PERIOD_MS, SAMPLES_MAX, Rejected, Rest
from flowd_binance.samples import Samples

KEPT_MAX = 1_000_000
"""Samples of all symbols together that one source may keep."""
HISTORY_MAX = 8600
"""Samples that lie within the 30 days of which Binance tells, and some minutes to ask for them."""
LEAD_MS = 2000
"""So long before a full five minutes the last sample for it is taken."""
APART_MS = 100
"""Between the samples of two symbols, where there is room for it."""
LATE_MS = 240_000
"""So long the history may lack a full five minutes that are over; later they are Binance's own
hole. By then their successor is near, and the sample for that must not wait.
"""
WRONG_MS = 86_400_000
"""No two clocks differ by so much: a sample from there would keep out all that follow."""
REJECTED_S = 3600.0
SILENT_S = 180.0
SILENT_POLLS = 3
FAILED_POLLS = 2
PORTION = 50
"""Samples that are published in one step."""


def _every(_: object, attribute: Any, every: Seconds) -> None:
    if not 5 <= every <= 300 or PERIOD_MS % (every * 1000):
        raise ValueError(f"every = {every:g}s: expected a part of five minutes, from 5s to 5m")


@frozen
class Config:
    """Each symbol is asked for `every` so long, and so that one sample is taken just before each
    full five minutes. `history` samples, five minutes apart, are fetched at first and after an
    absence; `keep` are kept of each symbol.

    `weight_per_minute` is as the candles'.
    """

    symbols: list[str] = field(
        default=Factory(lambda: ["BTCUSDT"]),
        validator=connection.symbols("Binance tells of one symbol at a time"),
    )
    every: Seconds = field(default=Seconds(60.0), validator=_every)
    rest_url: str = field(default="https://fapi.binance.com", validator=validators.http_url)
    history: int = 2016
    keep: int = 12_000
    weight_per_minute: int = field(default=1200, validator=validators.between(20, 2400))

    def __attrs_post_init__(self) -> None:
        # Only who configures open interest pays for it, and before the loop turns.
        import_module("httpx2")
        if not 1 <= self.history <= min(self.keep, HISTORY_MAX):
            raise ValueError(f"history = {self.history}: expected 1 to {HISTORY_MAX}, at most keep")
        if self.keep * len(self.names) > KEPT_MAX:
            raise ValueError(
                f"keep = {self.keep}: {len(self.names)} symbols of these would be more than "
                f"{KEPT_MAX} samples"
            )
        if len(self.names) * 60 / self.every > self.weight_per_minute:
            raise ValueError(
                f"every = {self.every:g}s: {len(self.names)} symbols so often are more than "
                f"weight_per_minute = {self.weight_per_minute}"
            )

    @property
    def names(self) -> list[str]:
        """The symbols as Binance writes them, each once."""
        return list(dict.fromkeys(symbol.upper() for symbol in self.symbols))


async def samples(config: Config, feed: Feed[OpenInterest]) -> None:
    """Ask for the open interest of each symbol, for ever. UpstreamSilent when no answer brought
    anything for a while.
    """
    retain, needed = feed.retain, config.keep * len(config.names)
    if retain.age_s is not None or retain.count < needed:
        raise UserError(
            f"sources.{feed.name}.retain: {len(config.names)} symbols with keep = {config.keep} "
            f"are {needed} samples; leave retain out"
        )
    polls = Polls(config, feed)
    async with trio.open_nursery() as nursery:
        for number, symbol in enumerate(config.names):
            nursery.start_soon(polls.follow, symbol, number)
        await polls.watch()


class Polls:
    """What is asked of all symbols, each by a task of its own."""

    def __init__(self, config: Config, feed: Feed[OpenInterest]) -> None:
        budget = feed.budget("binance", per_minute=config.weight_per_minute)
        history = feed.budget("binance-history", per_minute=HISTORY_PER_MINUTE)
        self._config = config
        self._feed = feed
        self._rest = Rest(config.rest_url, feed.http, budget, feed.clock, history)
        self._budget = budget
        self._samples = Samples(feed, config.names, config.keep)
        self._recovery = Recovery(feed, config.history * PERIOD_MS)
        self._every_ms = round(config.every * 1000)
        self._apart_ms = min(APART_MS, self._every_ms // 2 // len(config.names))
        self._refused: set[str] = set()
        self._failing: dict[str, int] = {}
        """How often in a row the symbols failed that did."""
        self._news_at = trio.current_time()
        self._why = "nothing new is told"

    async def follow(self, symbol: str, number: int) -> None:
        """Ask for one symbol, for ever: at once, and then at its times. What fails is counted."""
        await trio.sleep(number * self._apart_ms / 1000)
        while True:
            try:
                await self._poll(symbol)
            except Rejected as error:
                self._tell("refused", symbol, error)
                self._refused.add(symbol)
                self._recovery.done(symbol)
                await trio.sleep(REJECTED_S)
                self._refused.remove(symbol)
            except UpstreamError as error:
                self._tell("poll failed", symbol, error)
                self._failed(symbol)
            else:
                self._answered(symbol)
            await trio.sleep(self._pause_s(number))

    async def watch(self) -> None:
        """Wait until nothing new has come of any symbol for too long, and raise. Who only has
        symbols that Binance refuses waits with them.
        """
        silent_s = max(SILENT_S, SILENT_POLLS * self._config.every)
        while True:
            await trio.sleep_until(self._news_at + silent_s)
            if trio.current_time() < self._news_at + silent_s:
                continue
            if self._feed.tally.delivering or len(self._refused) < len(self._config.names):
                closed_s = self._budget.closed_s
                why = f"Binance wants no request for {closed_s:.0f}s" if closed_s else self._why
                raise UpstreamSilent(f"no open interest for {silent_s:g}s: {why}", retry_s=closed_s)
            self._news_at = trio.current_time()

    def _failed(self, symbol: str) -> None:
        """Once more. It is a problem where nothing is told at all, or for the second time."""
        count = self._failing[symbol] = self._failing.get(symbol, 0) + 1
        if self._feed.tally.delivering and count < FAILED_POLLS:
            return
        others = len(self._failing) - 1
        more = f" (and {others} other symbol{'s' * (others > 1)})" * (others > 0)
        self._feed.problem(
            f"no open interest of {self._why}{more}; asked again every {self._config.every:g}s; "
            "what is missed is fetched then"
        )

    def _answered(self, symbol: str) -> None:
        self._failing.pop(symbol, None)
        if not self._failing:
            self._feed.problem(None)

    def _pause_s(self, number: int) -> float:
        """How long until the next full span by the wall clock, less the lead. The later symbols
        come earlier, so that all are there in time.
        """
        early_ms = LEAD_MS + number * self._apart_ms
        pause_ms = self._every_ms - (self._feed.clock() + early_ms) % self._every_ms
        # Woken a moment early, it would be the same time once more.
        return (pause_ms if pause_ms > APART_MS else pause_ms + self._every_ms) / 1000

    async def _poll(self, symbol: str) -> None:
        """Ask what is open now, fetch what is missing before it, and publish both in order."""
        answer = await self._rest.open_interest(symbol)
        try:
            sample = open_interest(symbol, answer)
            if abs(sample.time_ms - self._feed.clock()) > WRONG_MS:
                raise Unusable("bad time")
        except Unusable as error:
            self._tell(error.reason, symbol, answer)
            return
        newest_ms = self._samples.newest_ms(symbol)
        if newest_ms is not None and sample.time_ms <= newest_ms:
            return
        self._recovery.begin(name for name in self._config.names if name not in self._refused)
        answered = await self._fill(symbol, self._missing(sample))
        missing = self._missing(sample)
        if answered and missing and sample.time_ms - missing[-1] < LATE_MS:
            self._news_at = trio.current_time()
            return
        self._publish(sample)
        self._feed.delivering(sample.time_ms)
        self._recovery.done(symbol)

    async def _fill(self, symbol: str, missing: range) -> bool:
        """Fetch these times, page by page, and publish them. False when Binance refuses that."""
        for first in range(0, len(missing), SAMPLES_MAX):
            page = missing[first : first + SAMPLES_MAX]
            try:
                rows = await self._rest.open_interest_history(
                    symbol, start_ms=page[0], end_ms=page[-1]
                )
            except Rejected as error:
                self._tell("history refused", symbol, error)
                return False
            except UpstreamError as error:
                raise UpstreamError(f"its history: {error}") from None
            found = self._read(symbol, rows, page)
            for start in range(0, len(found), PORTION):
                for sample in found[start : start + PORTION]:
                    self._recovery.add(self._publish(sample))
                await trio.lowlevel.checkpoint()
        return True

    def _read(self, symbol: str, rows: list[object], page: range) -> list[OpenInterest]:
        """Rows of a history as samples of these times, oldest first. What lies elsewhere was not
        asked for.
        """
        found: list[OpenInterest] = []
        for row in rows:
            try:
                sample = past_interest(symbol, row)
                if not page[0] <= sample.time_ms <= page[-1]:
                    raise Unusable("not asked for")
                found.append(sample)
            except Unusable as error:
                self._tell(f"history: {error.reason}", symbol, row)
        return sorted(found, key=attrgetter("time_ms"))

    def _publish(self, sample: OpenInterest) -> bool:
        """Whether it was news."""
        self._news_at = trio.current_time()
        return self._samples.put(sample)

    def _missing(self, sample: OpenInterest) -> range:
        """The full five minutes before this sample that are not known."""
        return self._samples.missing(sample.symbol, sample.time_ms, self._config.history)

    def _tell(self, reason: str, symbol: str, why: object) -> None:
        self._why = f"{symbol}: {why!s:.300}"
        self._feed.drop(reason, f"{symbol}: {why}")
