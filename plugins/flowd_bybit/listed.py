"""What Bybit lists: a source of its own, for precisions; and, remembered from run to run, what "all
symbols" are.
"""

from collections.abc import Sequence
from importlib import import_module
from typing import Any, Final

import trio
from attrs import field, frozen

from flowd.market import Instrument
from flowd.plugin import Feed, Http, Remembered, Seconds, suggestion, validators
from flowd_bybit.rest import Rest, rest_of

FRESH_S: Final = 3600.0
"""The list is asked for again so often: new contracts begin without notice."""
OLD_S: Final = 7 * 86_400.0
"""A list that is older than this is not believed."""
RETRY_S: Final = 300.0
"""After an hourly list that could not be had."""
TABLE: Final = "listed"


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


def listing(rest_url: str, feed: Feed[Any]) -> Remembered[Listed]:
    """All symbols, asked for hourly."""
    rest = rest_of(rest_url, feed)

    async def ask() -> Listed:
        found = await rest.instruments()
        return Listed(feed.clock(), tuple(one.symbol for one in found))

    return Remembered(
        feed,
        TABLE,
        Listed,
        ask,
        what="list of instruments",
        fresh_s=FRESH_S,
        old_s=OLD_S,
        retry_s=RETRY_S,
    )


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
