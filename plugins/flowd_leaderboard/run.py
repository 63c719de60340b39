"""The tasks of the transform `leaderboard`: each reads one stream, and one computes every so often.

Trips are saved in one step with the place up to which fills were read, so a restart at any moment
neither loses a fill nor counts one twice. Everything else follows from tables, or is not made worse
by being told again.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final

import trio
from attrs import frozen

from flowd.market import Fill
from flowd.plugin import Answer, Cursor, Feed, Input, Streams, UserError
from flowd.traders import Account, PositionEvent, Standing, Trader
from flowd_leaderboard import legs
from flowd_leaderboard.config import Config
from flowd_leaderboard.drawdowns import Drawdowns
from flowd_leaderboard.enrich import Enrichment
from flowd_leaderboard.figures import Portfolio
from flowd_leaderboard.ledger import Ledger
from flowd_leaderboard.mirror import Mirror
from flowd_leaderboard.portfolio import Portfolios
from flowd_leaderboard.records import Computation
from flowd_leaderboard.saved import SavedTrips
from flowd_leaderboard.standings import (
    Evidence,
    Measured,
    in_slices,
    publish,
    standings,
    to_ask,
)

BUDGET: Final = "hyperliquid"
WEIGHT_PER_MINUTE: Final = 1200
PRIORITY: Final = 3
BODY_MAX: Final = 4 * 1024 * 1024
FIRST_S: Final = 10.0
"""After a start: what was read by then is in the first standings."""
SAVE_EVERY_S: Final = 2.0
BATCH: Final = 16
"""Fills taken without letting other tasks run."""
CHANGED_MAX: Final = 16
"""With so many changed accounts it is time to save, so that saving holds nobody up."""
PAUSE_S: Final = 0.05
"""Between reads, so that a busy stream is read in batches and not fill by fill."""


async def run(config: Config, streams: Streams, feed: Feed[Standing]) -> None:
    """Read, save, ask, compute and publish; ends when its inputs do. UserError without any."""
    inputs = _Inputs.of(config, streams)
    feed.log.info("%s: reads %s", feed.name, ", ".join(inputs.names))
    ledger = Ledger(feed, feed.table("trips", SavedTrips))
    await ledger.load()
    cursor = None if inputs.fills is None else inputs.fills.cursor()

    def save() -> None:
        # No checkpoint in between: trips and place belong to the same instant.
        ledger.save()
        if cursor is not None:
            cursor.done()

    portfolios = Portfolios(feed.table("portfolios", Portfolio))
    drawdowns = Drawdowns(feed, inputs.equity)
    ask = _asker(config, feed)
    enrichment = Enrichment(feed, ask, ledger, portfolios, save, cursor is not None)
    board = Board(config, feed, inputs, ledger, portfolios, drawdowns, enrichment)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(board.run)
        if config.enrich_weight_per_min:
            nursery.start_soon(enrichment.run)
        async with trio.open_nursery() as reading:
            for one in (inputs.positions, inputs.traders):
                if one is not None:
                    reading.start_soon(one.ended)
            if inputs.positions is not None:
                reading.start_soon(_positions, inputs.positions, enrichment)
            if inputs.accounts is not None:
                reading.start_soon(drawdowns.run, inputs.accounts)
            if inputs.fills is not None and cursor is not None:
                reading.start_soon(_fills, inputs.fills, cursor, ledger, save, feed)
        nursery.cancel_scope.cancel()


@frozen
class _Inputs:
    """What there is of what may be read."""

    positions: Input[PositionEvent] | None
    traders: Input[Trader] | None
    accounts: Input[Account] | None
    equity: Input[Any] | None
    fills: Input[Fill] | None
    names: list[str]

    @classmethod
    def of(cls, config: Config, streams: Streams) -> "_Inputs":
        names = (config.positions, config.traders, config.accounts, config.equity, config.fills)
        there = {name: streams[name] for name in names if name in streams}
        if not there:
            raise UserError(
                f"there is none of the streams that it reads ({', '.join(names)}): configure a "
                "hyperliquid-discovery, a hyperliquid-tracking, or hydromancer's allFills"
            )
        positions, traders, accounts, equity, fills = (there.get(name) for name in names)
        return cls(positions, traders, accounts, equity, fills, list(there))


class Board:
    """Computes and publishes the standings, over and over."""

    def __init__(
        self,
        config: Config,
        feed: Feed[Standing],
        inputs: _Inputs,
        ledger: Ledger,
        portfolios: Portfolios,
        drawdowns: Drawdowns,
        enrichment: Enrichment,
    ) -> None:
        self._config = config
        self._feed = feed
        self._traders: Mirror[Trader] = Mirror(inputs.traders)
        self._accounts: Mirror[Account] = Mirror(inputs.accounts)
        self._ledger = ledger
        self._portfolios = portfolios
        self._drawdowns = drawdowns
        self._enrichment = enrichment
        self._computed = feed.table("computed", Computation)
        self._measured: Mapping[str, Measured] = {}

    async def run(self) -> None:
        """Compute for ever."""
        due = trio.current_time() + FIRST_S
        while True:
            await trio.sleep_until(due)
            due = trio.current_time() + self._config.every
            await self.compute()

    async def compute(self) -> None:
        """Compute once, and publish."""
        config, feed = self._config, self._feed
        await self._traders.catch_up()
        await self._accounts.catch_up()
        # No checkpoint in between: all of it is of one instant.
        evidence = Evidence(
            feed.clock(),
            self._traders.copy(),
            self._accounts.copy(),
            self._ledger.copy(),
            self._portfolios.copy(),
            self._drawdowns.copy(),
        )
        await trio.lowlevel.checkpoint()
        found = await in_slices(
            standings(
                evidence,
                config.min_trips,
                config.weights,
                config.volume_scale,
                feed.retain.count,
                self._measured,
            )
        )
        self._measured = found.listed
        await in_slices(publish(feed, found))
        computed = found.computation
        self._computed.append(computed, key="leaderboard")
        if config.enrich_weight_per_min:
            due = partial(self._enrichment.due, now_ms=evidence.time_ms)
            self._enrichment.queue(await in_slices(to_ask(found.listed, due)))
        feed.tally.figures |= {
            "population": computed.population,
            "listed": computed.listed,
            "unlisted": computed.unlisted,
            "accounts": len(self._ledger),
            "accounts_bytes": self._ledger.bytes,
            "accounts_forgotten": self._ledger.forgotten,
            "portfolios": len(self._portfolios),
            "asked": self._enrichment.asked,
            "asked_in_vain": self._enrichment.failed,
            "to_ask": self._enrichment.waiting,
        }


def _asker(config: Config, feed: Feed[Standing]) -> Callable[[dict[str, Any], int], Any]:
    share = config.enrich_weight_per_min
    budget = feed.budget(BUDGET, per_minute=WEIGHT_PER_MINUTE, share=share) if share else None

    async def ask(question: dict[str, Any], weight: int) -> Answer:
        return await feed.http.post(
            config.info_url,
            json=question,
            budget=budget,
            weight=weight,
            priority=PRIORITY,
            body_max=BODY_MAX,
        )

    return ask


async def _positions(positions: Input[PositionEvent], enrichment: Enrichment) -> None:
    async for record in positions.cursor().records():
        enrichment.stir(record.value.address, record.value.notional)


async def _fills(
    fills: Input[Fill],
    cursor: Cursor[Fill],
    ledger: Ledger,
    save: Callable[[], None],
    feed: Feed[Standing],
) -> None:
    """Take all fills; ends when they do."""
    due = trio.current_time() + SAVE_EVERY_S
    more = True
    while more:
        with trio.move_on_at(due):
            more = await fills.news(cursor.position.seq)
        for record in cursor.read(limit=BATCH).records:
            fill = record.value
            leg = legs.of_fill(fill)
            if leg is not None and not ledger.add(fill.address, fill.symbol, leg):
                feed.drop("fill that is late or known")
        if trio.current_time() >= due or ledger.changed >= CHANGED_MAX or not more:
            save()
            due = trio.current_time() + SAVE_EVERY_S
        if cursor.position == fills.head:
            with trio.move_on_after(PAUSE_S):
                await fills.ended()
        else:
            await trio.lowlevel.checkpoint()
