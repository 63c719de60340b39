"""What Bybit lists: a source of its own, for precisions; and, remembered from run to run, what "all
symbols" are.
"""

from collections.abc import Sequence
from importlib import import_module
from typing import Any, Final

import trio
from attrs import field, frozen

from flowd.market import Instrument
from flowd.plugin import Feed, Http, Seconds, UpstreamError, suggestion, validators
from flowd_bybit.rest import Rest, rest_of

FRESH_MS: Final = 3_600_000
"""The list is asked for again so often: new contracts begin without notice."""
OLD_MS: Final = 7 * 86_400_000
"""A list that is older than this is not believed."""
TABLE: Final = "listed"
KEY: Final = "linear"


@frozen
class Config:
    """The list is asked for `every` so long."""

    rest_url: str = field(default="https://api.bybit.com", validator=validators.http_url)
    every: Seconds = field(default=Seconds(3600.0), validator=validators.between("1m", "24h"))

    def __attrs_post_init__(self) -> None:
        # Only who configures it pays for the client, and before the loop turns.
        import_module("httpx2")


async def instruments(config: Config, feed: Feed[Instrument]) -> None:
    """Keep the table of what is listed. UpstreamError when Bybit does not tell it."""
    rest = rest_of(config.rest_url, feed)
    while True:
        await feed.replace({one.key: one for one in await rest.instruments()})
        feed.delivering()
        await trio.sleep(config.every)


@frozen
class Listed:
    """Which symbols there were at this time."""

    time_ms: int
    symbols: tuple[str, ...]


class Listing:
    """All symbols, asked for hourly and remembered: a connection that is dialled again does not
    wait for REST, nor fails with it.
    """

    def __init__(self, rest_url: str, feed: Feed[Any]) -> None:
        self._rest = rest_of(rest_url, feed)
        self._feed = feed
        self._table = feed.table(TABLE, Listed)

    @property
    def due_s(self) -> float:
        """In how many seconds the list is to be asked for again; 0 for at once."""
        known = self._table.get(KEY)
        age_ms = FRESH_MS if known is None else self._feed.clock() - known.time_ms
        return min(max(0, FRESH_MS - age_ms), FRESH_MS) / 1000

    async def symbols(self) -> list[str]:
        """All symbols, anew if it is time. UpstreamError when they are not to be had, and no list
        is young enough to do without.
        """
        known = self._table.get(KEY)
        if known is not None and self.due_s > 0:
            return list(known.symbols)
        try:
            found = [one.symbol for one in await self._rest.instruments()]
        except UpstreamError as error:
            if known is None or self._feed.clock() - known.time_ms > OLD_MS:
                raise
            self._feed.drop("no list of instruments", str(error))
            return list(known.symbols)
        self._table.append(Listed(self._feed.clock(), tuple(found)), key=KEY)
        return found


async def unlisted(rest_url: str, symbols: Sequence[str], http: Http) -> list[str]:
    """What is wrong with symbols, each in a sentence: for `flowd check --probe`. UpstreamError when
    Bybit does not tell what it lists.
    """
    if "*" in symbols:
        return []
    # Nobody looks at when these instruments were told.
    listed = [one.symbol for one in await Rest(rest_url, http, lambda: 0).instruments()]
    return [_wrong(symbol, listed) for symbol in dict.fromkeys(symbols) if symbol not in listed]


def _wrong(symbol: str, listed: Sequence[str]) -> str:
    remedy = suggestion(symbol, listed)
    return f"symbols: Bybit does not list {symbol} among its linear USDT perpetuals{remedy}"
