"""A flowd plugin: OKX's linear perpetuals. Liquidations at the mark price, and what is listed.

What OKX tells is a sample: sums of it are a lower bound. What it told while nobody listened is
fetched from its history, and recorded as recovered.
"""

from importlib import import_module
from typing import Any

import trio
from attrs import field, frozen

from flowd.market import Instrument, Liquidation
from flowd.plugin import Feed, Seconds, Source, hookimpl, validators
from flowd_okx import connection, listed
from flowd_okx.backfill import Backfill
from flowd_okx.intake import Intake
from flowd_okx.listed import Listing
from flowd_okx.rest import rest_of

__all__ = ["Config", "flowd_sources", "liquidation_orders"]

SYMBOLS_MAX = 2000
INSTRUMENTS_MAX = 10_000


def _open_port(_: object, attribute: Any, url: str) -> None:
    if ":8443" in url:
        raise ValueError(
            f'url = "{url}": OKX closed port 8443; expected "wss://ws.okx.com/ws/v5/public"'
        )


@frozen
class Config:
    """`symbols` to follow, `["*"]` for all linear USDT perpetuals. `url` is the public WebSocket,
    which tells of all; `rest_url` lists how large contracts are, and has the history.

    Liquidations may be quiet for long, so pings alone prove that the connection lives.
    """

    symbols: list[str] = field(
        validator=validators.symbols(
            "[^ .,:/-]*USDT",
            "no linear USDT perpetual; BTC-USDT-SWAP is BTCUSDT here",
            most=SYMBOLS_MAX,
        )
    )
    url: str = field(
        default="wss://ws.okx.com/ws/v5/public", validator=[validators.websocket_url, _open_port]
    )
    rest_url: str = field(default="https://openapi.okx.com", validator=validators.http_url)
    silence: Seconds = Seconds(60.0)
    ping_every: Seconds = field(
        default=Seconds(20.0), validator=validators.between("1s", "25s", "OKX waits for 30s")
    )

    def __attrs_post_init__(self) -> None:
        # Only who configures it pays for the client, and before the loop turns.
        import_module("httpx2")
        if self.silence <= self.ping_every:
            raise ValueError(
                f"silence = {self.silence:g}s: expected more than ping_every, {self.ping_every:g}s"
            )

    def wants(self, symbol: str) -> bool:
        """Whether this symbol is followed."""
        return self.symbols == ["*"] or symbol in self.symbols


async def liquidation_orders(config: Config, feed: Feed[Liquidation]) -> None:
    """Follow the liquidations, until the connection ends."""
    rest = rest_of(config.rest_url, feed)
    listing = Listing(rest, feed)
    await listing.begin()
    _tell_unknown(config, feed, listing)
    intake = Intake(feed, listing, config.wants)
    backfill = Backfill(rest, feed, listing, intake)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(listing.keep_fresh)
        nursery.start_soon(intake.settle)
        nursery.start_soon(backfill.run)
        await connection.keep(config, feed, intake, backfill.note)


def _tell_unknown(config: Config, feed: Feed[Liquidation], listing: Listing) -> None:
    """Who named a symbol that does not exist hears of it for as long as it is so."""
    known = listing.symbols
    unknown = [one for one in config.symbols if one != "*" and one not in known]
    feed.problem(
        f"OKX does not list {', '.join(unknown):.300}: take it out of symbols, or write it as base "
        "and quote, such as BTCUSDT for BTC-USDT-SWAP"
        if unknown
        else None
    )


@hookimpl
def flowd_sources() -> list[Source]:
    """The kinds `okx-liquidations` and `okx-instruments`."""
    return [
        Source(
            "okx-liquidations",
            liquidation_orders,
            Config,
            record=Liquidation,
            probe=lambda config, http: listed.unlisted(config.rest_url, config.symbols, http),
            standby=True,
        ),
        Source(
            "okx-instruments",
            listed.instruments,
            listed.Config,
            record=Instrument,
            retain=INSTRUMENTS_MAX,
        ),
    ]
