"""A flowd source: fills and liquidations of Hyperliquid, by Hydromancer.

Hydromancer replays up to thirty seconds to a session that comes back, so a short loss of the
connection costs nothing. All that is longer is lost for good and is recorded as an outage.
"""

import math

import trio

from flowd.market import Fill, Total
from flowd.plugin import Feed, Source, hookimpl
from flowd_hydromancer.config import Config
from flowd_hydromancer.connection import Connection
from flowd_hydromancer.intake import Intake
from flowd_hydromancer.place import Place
from flowd_hydromancer.refusal import Redial, Refused
from flowd_hydromancer.veil import Veil

__all__ = ["Config", "fills", "flowd_sources"]

MEND_EVERY_S = 60.0
"""Between two connections that are given up for a hole in the numbers of their messages."""


async def fills(config: Config, feed: Feed[Fill]) -> None:
    """Follow one of Hydromancer's feeds until its connection ends.

    Connections that another one mends are replaced at once; where the service refuses the feed, it
    is not asked again for long.
    """
    key = config.api_key.reveal()
    place = Place(feed, config.url, config.wanted)
    veil = Veil(key, lambda: place.secrets)
    chosen = config.dex is not None or config.coins or config.outcome_markets is not None
    intake = Intake(
        feed,
        place,
        veil,
        liquidations=config.liquidations,
        where=config.shows if chosen else None,
        counterparties=config.include_counterparty,
        infer=config.infer_from_counterparty,
    )
    async with trio.open_nursery() as nursery:
        if config.infer_from_counterparty:
            nursery.start_soon(intake.infer)
        mended_at = -math.inf

        def mend() -> bool:
            can_resume = config.login == "query"
            return can_resume and trio.current_time() - mended_at >= MEND_EVERY_S

        while True:
            try:
                await Connection(config, feed, key, place, intake, veil, mend=mend).run()
            except Redial as error:
                feed.log.info("%s: %s; connecting again at once", feed.name, error)
                mended_at = trio.current_time()
            except Refused as error:
                feed.drop(f"refused ({error.kind})")
                raise


@hookimpl
def flowd_sources() -> list[Source]:
    """The kind `hydromancer`."""
    return [Source("hydromancer", fills, Config, record=Fill, tables={"totals": Total})]
