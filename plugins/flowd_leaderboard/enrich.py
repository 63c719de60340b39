"""What streams do not tell is asked for: the past of the accounts that were seen to trade most.

One account at a time, within this component's share of the weight that everybody has to share.
Nothing of an account changes before all of its answers are here. An account that could not be asked
about stays as it is, and is asked about later.
"""

from collections.abc import Awaitable, Callable, Iterable
from decimal import Decimal
from typing import Any, Final

import trio
from attrs import evolve

from flowd.market import EXACT
from flowd.plugin import Answer, Feed, UpstreamError
from flowd_leaderboard import legs
from flowd_leaderboard.chain import Leg
from flowd_leaderboard.config import FILLS_WEIGHT, PAGE, PAGE_WEIGHT, PORTFOLIO_WEIGHT
from flowd_leaderboard.figures import DAY_MS, Portfolio
from flowd_leaderboard.ledger import Ledger
from flowd_leaderboard.portfolio import Portfolios, read
from flowd_leaderboard.trips import Trips

PAGES_MAX: Final = 6
"""Only the newest 10 000 fills can be had; the last page is short."""
PARSE_SLICE: Final = 100

HOUR_MS: Final = 3_600_000
MUCH: Final = 2
"""Who was seen to trade so many times what had been seen when it was asked about, is asked about
again before a day is over.
"""
LATER_MS: Final = 600_000
"""An account that could not be asked about waits for so long."""
TRIES: Final = 3
PAUSE_S: Final = 5.0
FAILURES: Final = 3
"""So many accounts in a row that could not be asked about are no account's own trouble."""
STIRRED_MAX: Final = 50_000

Ask = Callable[[dict[str, Any], int], Awaitable[Answer]]
"""Ask for this, which weighs at most so much. UpstreamError when there is no answer."""


class Enrichment:
    """Asks about accounts, the one that was seen to trade most first."""

    def __init__(
        self,
        feed: Feed[Any],
        ask: Ask,
        ledger: Ledger,
        portfolios: Portfolios,
        save: Callable[[], None],
        live: bool,
    ) -> None:
        self._feed = feed
        self._ask = ask
        self._ledger = ledger
        self._portfolios = portfolios
        self._save = save
        self._live = live
        """The ledger is told of all fills: their past is asked for once."""
        self._queue: list[tuple[Decimal, str]] = []
        self._queued = trio.Event()
        self._waits_ms: dict[str, int] = {}
        self._stirred: dict[str, Decimal] = {}
        self._failures = 0
        """Since the last account that could be asked about."""
        self.asked = 0
        self.failed = 0

    @property
    def waiting(self) -> int:
        """How many accounts are to be asked about next."""
        return len(self._queue)

    def stir(self, address: str, amount: Decimal) -> None:
        """An account's positions changed by so much."""
        if address in self._stirred or len(self._stirred) < STIRRED_MAX:
            self._stirred[address] = EXACT.add(self._stirred.get(address, Decimal(0)), amount)

    def due(self, address: str, seen: Decimal, now_ms: int) -> bool:
        """Whether to ask about an account that was seen to trade so much."""
        if self._waits_ms.get(address, 0) > now_ms:
            return False
        known = self._portfolios.get(address)
        if known is None or now_ms - known.time_ms >= DAY_MS:
            return True
        if now_ms - known.time_ms < HOUR_MS:
            return False
        traded = EXACT.add(seen, self._stirred.get(address, Decimal(0)))
        return known.seen > 0 and traded >= MUCH * known.seen

    def queue(self, accounts: Iterable[tuple[Decimal, str]]) -> None:
        """Whom to ask about next: what each was seen to trade, and its address, least first."""
        self._queue = list(accounts)
        self._queued.set()
        now_ms = self._feed.clock()
        self._waits_ms = {one: at for one, at in self._waits_ms.items() if at > now_ms}

    async def run(self) -> None:
        """Ask for ever."""
        while True:
            if not self._queue:
                self._queued = trio.Event()
                await self._queued.wait()
                continue
            seen, address = self._queue.pop()
            if not self.due(address, seen, self._feed.clock()):
                await trio.lowlevel.checkpoint()
                continue
            try:
                await self.about(address, seen)
                self._failures = 0
                self._feed.problem(None)
            except (UpstreamError, ValueError) as error:
                self._fail(address, error)
            finally:
                self._ledger.unwatch(address)

    def _fail(self, address: str, error: Exception) -> None:
        self.failed += 1
        self._failures += 1
        self._waits_ms[address] = self._feed.clock() + LATER_MS
        self._feed.drop("an account's past was not told", f"{address}: {error}")
        if self._failures >= FAILURES:
            self._feed.problem(
                f"Hyperliquid's /info does not tell accounts' pasts: {error}; others are "
                "asked about, and it again; see whether info_url can be reached from here"
            )

    async def about(self, address: str, seen: Decimal) -> None:
        """Ask about one account, and keep what is told.

        UpstreamError or ValueError when it cannot be had: then nothing has changed.
        """
        now_ms = self._feed.clock()
        plain, _ = await self._try({"type": "portfolio", "user": address}, PORTFOLIO_WEIGHT)
        told = read(plain, address, now_ms)
        if self._live and self._ledger.asked_ms(address) is not None:
            self._keep(told, seen)
            return
        self._ledger.watch(address)
        known = self._ledger.get(address)
        # Without a stream of fills what was asked for goes on where it ended.
        trips = Trips() if self._live or known is None else known.copy()
        seen_ms = 0 if known is None else known.sums.last_ms
        upto_ms = await self._fills(address, trips)
        if upto_ms < seen_ms:
            raise UpstreamError(f"fills are told up to {upto_ms}, and one of {seen_ms} is known")
        if self._live:
            # A fill of this very millisecond that comes by the stream is here already.
            trips.settle(upto_ms + 1)
        # No checkpoint from here on: both are of one instant.
        self._ledger.replace(address, trips, upto_ms, now_ms)
        self._keep(told, max(seen, trips.sums.volume))

    def _keep(self, told: Portfolio, seen: Decimal) -> None:
        self._portfolios.put(evolve(told, seen=seen))
        self._save()
        self._stirred.pop(told.address, None)
        self.asked += 1

    async def _fills(self, address: str, trips: Trips) -> int:
        """Add an account's fills to trips, page by page; answers the newest one's time."""
        newest_ms = start_ms = trips.sums.last_ms
        for _ in range(PAGES_MAX):
            question = {"type": "userFillsByTime", "user": address, "startTime": start_ms}
            rows, answer = await self._try(question, PAGE_WEIGHT)
            if not isinstance(rows, list):
                raise ValueError(f"no fills: {rows!r:.60}")
            answer.cost(FILLS_WEIGHT + len(rows) // 20)
            await self._add(rows, trips)
            newest_ms = max(newest_ms, legs.newest_ms(rows))
            if len(rows) < PAGE:
                break
            # The last millisecond may go on in the next page; what comes again is told apart.
            start_ms = newest_ms if newest_ms > start_ms else start_ms + 1
        return newest_ms

    async def _add(self, rows: list[Any], trips: Trips) -> None:
        found: list[tuple[str, Leg]] = []
        for start in range(0, len(rows), PARSE_SLICE):
            for row in rows[start : start + PARSE_SLICE]:
                try:
                    one = legs.of_row(row)
                except ValueError as error:
                    self._feed.drop("unusable fill", str(error))
                    continue
                if one is not None:
                    found.append(one)
            await trio.lowlevel.checkpoint()
        found.sort(key=lambda one: one[1].time_ms)
        for start in range(0, len(found), PARSE_SLICE):
            for symbol, leg in found[start : start + PARSE_SLICE]:
                trips.add(symbol, leg)
            await trio.lowlevel.checkpoint()

    async def _try(self, question: dict[str, Any], weight: int) -> tuple[Any, Answer]:
        """The plain answer. What is none, or no JSON, is asked for again; UpstreamError at last.

        The client's own `retries` know failed connections and statuses. Here a refusal for having
        asked too much and a 200 that is a page of HTML are asked for again, too.
        """
        for attempt in range(1, TRIES + 1):
            try:
                answer = await self._ask(question, weight)
                if answer.status != 200:
                    raise UpstreamError(f"HTTP {answer.status}")
                return answer.json(), answer
            except (UpstreamError, ValueError) as error:
                if attempt == TRIES:
                    raise UpstreamError(f"{question['type']}: {error}") from None
            await trio.sleep(PAUSE_S * 2 ** (attempt - 1))
        raise AssertionError("the last attempt answers or raises")
