"""A flowd plugin: Bybit's linear perpetuals. All liquidations, at their bankruptcy prices, and what
is listed.

Bybit tells every liquidation, within half a second, and none twice: there is no replay and no
history, so an outage here is lost for good and is recorded as such.
"""

from importlib import import_module
from typing import Any

from attrs import field, frozen

from flowd.market import Instrument, Liquidation
from flowd.plugin import Feed, Seconds, Source, hookimpl
from flowd_bybit import listed
from flowd_bybit.connection import follow
from flowd_bybit.listed import Listing, check_rest_url

__all__ = ["Config", "all_liquidations", "flowd_sources"]

SYMBOLS_MAX = 2000
INSTRUMENTS_MAX = 10_000


def _symbols(_: object, attribute: Any, symbols: list[str]) -> None:
    if not symbols:
        raise ValueError('symbols = []: name at least one symbol, or ["*"] for all')
    if "*" in symbols and len(symbols) > 1:
        raise ValueError('symbols: "*" already means all; leave the others out')
    if len(symbols) > SYMBOLS_MAX:
        raise ValueError(f'symbols: at most {SYMBOLS_MAX}; use ["*"] for all')
    for symbol in symbols:
        if symbol != "*" and (not symbol.endswith("USDT") or any(c in symbol for c in " .,:/-")):
            raise ValueError(
                f"symbols: {symbol!r} is no linear USDT perpetual; one looks like BTCUSDT"
            )


def _url(_: object, attribute: Any, url: str) -> None:
    if not url.startswith(("ws://", "wss://")):
        raise ValueError(f'url = "{url}": expected "wss://stream.bybit.com/v5/public/linear"')


def _ping_every(_: object, attribute: Any, every: Seconds) -> None:
    if not 1 <= every <= 60:
        raise ValueError(f"ping_every = {every:g}s: expected 1s to 60s; Bybit asks for 20s")


@frozen
class Config:
    """`symbols` to follow, `["*"]` for all linear USDT perpetuals, which `rest_url` lists. `url` is
    the public stream of linear contracts.

    Liquidations may be quiet for long, so pings alone prove that the connection lives.
    """

    symbols: list[str] = field(validator=_symbols)
    url: str = field(default="wss://stream.bybit.com/v5/public/linear", validator=_url)
    rest_url: str = field(default="https://api.bybit.com", validator=check_rest_url)
    silence: Seconds = Seconds(60.0)
    ping_every: Seconds = field(default=Seconds(20.0), validator=_ping_every)

    def __attrs_post_init__(self) -> None:
        if self.silence <= self.ping_every:
            raise ValueError(
                f"silence = {self.silence:g}s: expected more than ping_every, {self.ping_every:g}s"
            )
        if self.everything:
            # Only who asks for a list pays for the client, and before the loop turns.
            import_module("httpx2")

    @property
    def everything(self) -> bool:
        """Whether all that is listed is followed."""
        return self.symbols == ["*"]


async def all_liquidations(config: Config, feed: Feed[Liquidation]) -> None:
    """Follow the liquidations, until the connection ends."""
    await follow(config, feed, Listing(config.rest_url, feed) if config.everything else None)


@hookimpl
def flowd_sources() -> list[Source]:
    """The kinds `bybit-liquidations` and `bybit-instruments`."""
    return [
        Source(
            "bybit-liquidations",
            all_liquidations,
            Config,
            record=Liquidation,
            probe=lambda config, http: listed.unlisted(config.rest_url, config.symbols, http),
        ),
        Source(
            "bybit-instruments",
            listed.instruments,
            listed.Config,
            record=Instrument,
            retain=INSTRUMENTS_MAX,
        ),
    ]
