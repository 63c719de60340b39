"""A flowd source: what Binance's USD-M futures list, as a table: precisions and names for who shows
them.

It is asked for once an hour, all in one answer of some two megabytes, which costs next to nothing
of the weight. A list that does not come leaves the last one where it is.
"""

from decimal import Decimal
from importlib import import_module
from typing import Any

import trio
from attrs import field, frozen

from flowd.market import Instrument, number, trimmed
from flowd.plugin import Feed, Seconds, validators
from flowd_binance.rest import Rest

KEPT_MAX = 20_000
"""Instruments that are kept. Binance lists some eight hundred."""
PORTION = 100
"""Rows that are read in one step."""


@frozen
class Config:
    """The list is asked for `every` so long, within the weight that all of Binance's components
    share.
    """

    rest_url: str = field(default="https://fapi.binance.com", validator=validators.http_url)
    every: Seconds = field(default=Seconds(3600.0), validator=validators.between("1m", "24h"))
    weight_per_minute: int = field(default=1200, validator=validators.between(20, 2400))

    def __attrs_post_init__(self) -> None:
        # Only who configures it pays for that, and before the loop turns.
        import_module("httpx2")


async def instruments(config: Config, feed: Feed[Instrument]) -> None:
    """Keep the table of what is listed. UpstreamError when Binance does not tell it."""
    budget = feed.budget("binance", per_minute=config.weight_per_minute)
    rest = Rest(config.rest_url, feed.http, budget, feed.clock)
    while True:
        found = await _read(await rest.exchange_info(), feed)
        if found:  # An answer of which nothing can be read says nothing of what is gone.
            await feed.replace(found)
        feed.delivering()
        await trio.sleep(config.every)


async def _read(rows: list[object], feed: Feed[Instrument]) -> dict[str, Instrument]:
    """What these rows list, by key. One that cannot be read is counted, and left out."""
    now_ms = feed.clock()
    found: dict[str, Instrument] = {}
    for count, row in enumerate(rows, 1):
        try:
            one = instrument(row, now_ms)
        except ValueError as error:
            feed.drop(f"instrument: {error}", row)
        else:
            found[one.key] = one
        if not count % PORTION:
            await trio.lowlevel.checkpoint()
    return found


def instrument(row: object, time_ms: int) -> Instrument:
    """One of the `symbols` of `exchangeInfo`; ValueError that says what is wrong with it."""
    if not isinstance(row, dict):
        raise ValueError("no object")
    texts = [row.get(name) for name in ("symbol", "baseAsset", "quoteAsset", "status")]
    if not all(isinstance(text, str) and 0 < len(text) <= 60 for text in texts):
        raise ValueError("no symbol, base, quote or status")
    symbol, base, quote, status = map(str, texts)
    settle = row.get("marginAsset")
    return Instrument(
        symbol,
        "binance",
        base,
        quote,
        _filtered(row, "PRICE_FILTER", "tickSize"),
        _filtered(row, "LOT_SIZE", "stepSize"),
        None,
        settle if isinstance(settle, str) else quote,
        status,
        time_ms,
    )


def _filtered(row: dict[str, Any], kind: str, name: str) -> Decimal | None:
    """What a filter of the symbol says, None where it is not there or says nothing."""
    filters = row.get("filters")
    for one in filters if isinstance(filters, list) else ():
        if isinstance(one, dict) and one.get("filterType") == kind:
            try:
                size = number(one.get(name))
            except ValueError:
                raise ValueError(f"{name} is no number") from None
            return trimmed(size) if size > 0 else None
    return None
