"""What OKX lists: a source of its own, for precisions; and, remembered from run to run, how large a
contract is.
"""

from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Any, Final

import trio
from attrs import field, frozen

from flowd.market import Instrument
from flowd.plugin import Feed, Http, Remembered, Seconds, suggestion, validators
from flowd_okx.parse import Swap
from flowd_okx.rest import Rest, rest_of

FRESH_S: Final = 86_400.0
"""The list is asked for again so often: sizes of contracts change, rarely."""
OLD_S: Final = 7 * 86_400.0
"""A list that is older than this is not believed."""
APART_S: Final = 60.0
"""Between two lists that are asked for because of an unknown contract."""
RETRY_S: Final = 600.0
"""After a daily list that could not be had."""
TABLE: Final = "listed"


@frozen
class Config:
    """The list is asked for `every` so long."""

    rest_url: str = field(default="https://openapi.okx.com", validator=validators.http_url)
    every: Seconds = field(default=Seconds(3600.0), validator=validators.between("1m", "24h"))

    def __attrs_post_init__(self) -> None:
        # Only who configures it pays for the client, and before the loop turns.
        import_module("httpx2")


async def instruments(config: Config, feed: Feed[Instrument]) -> None:
    """Keep the table of what is listed. UpstreamError when OKX does not tell it."""
    rest = rest_of(config.rest_url, feed)
    while True:
        told = [swap.instrument for swap in await rest.swaps()]
        await feed.replace({one.key: one for one in told if one is not None})
        feed.delivering()
        await trio.sleep(config.every)


@frozen
class Listed:
    """Which contracts there were at this time."""

    time_ms: int
    swaps: tuple[Swap, ...]


class Listing:
    """All perpetual contracts by name, asked for daily and remembered: a connection that is dialled
    again does not wait for REST, nor fails with it.
    """

    def __init__(self, rest: Rest, feed: Feed[Any]) -> None:
        self._rest = rest
        self._feed = feed
        self._list = Remembered(
            feed,
            TABLE,
            Listed,
            self._ask,
            what="list of instruments",
            fresh_s=FRESH_S,
            old_s=OLD_S,
            retry_s=RETRY_S,
        )
        self._asked_at = float("-inf")
        known = self._list.known
        self._swaps = {} if known is None else {one.id: one for one in known.swaps}

    def get(self, contract: str) -> Swap | None:
        """A contract; None where nobody told of it."""
        return self._swaps.get(contract)

    @property
    def symbols(self) -> set[str]:
        """Of all linear USDT perpetuals."""
        return {one.instrument.symbol for one in self._swaps.values() if one.instrument is not None}

    def families(self, wanted: Callable[[str], bool]) -> list[str]:
        """Those of the linear USDT perpetuals that are wanted, by symbol."""
        return [
            one.family
            for one in self._swaps.values()
            if one.instrument is not None and wanted(one.instrument.symbol)
        ]

    async def begin(self) -> None:
        """See that there is a list. UpstreamError when there is none that is young enough, and none
        to be had.
        """
        await self._list.get()

    async def refresh(self) -> None:
        """Ask for the list; UpstreamError when it is not to be had."""
        await self._list.refresh()

    async def _ask(self) -> Listed:
        self._asked_at = trio.current_time()
        found = await self._rest.swaps()
        self._swaps = {one.id: one for one in found}
        return Listed(self._feed.clock(), tuple(found))

    @property
    def may_ask(self) -> bool:
        """Whether the last list is so long ago that an unknown contract is worth another."""
        return trio.current_time() >= self._asked_at + APART_S

    async def keep_fresh(self) -> None:
        """Ask for the list daily, for ever."""
        while True:
            await self._list.next()


async def unlisted(rest_url: str, symbols: Sequence[str], http: Http) -> list[str]:
    """What is wrong with symbols, each in a sentence: for `flowd check --probe`. UpstreamError when
    OKX does not tell what it lists.
    """
    if "*" in symbols:
        return []
    # Nobody looks at when these instruments were told.
    told = [swap.instrument for swap in await Rest(rest_url, http, lambda: 0).swaps()]
    listed = {one.symbol for one in told if one is not None}
    return [_wrong(symbol, listed) for symbol in dict.fromkeys(symbols) if symbol not in listed]


def _wrong(symbol: str, listed: set[str]) -> str:
    remedy = suggestion(symbol, sorted(listed))
    return f"symbols: OKX does not list {symbol} among its linear USDT perpetuals{remedy}"
