"""A flowd plugin: Binance USD-M futures. Forced orders (liquidations); candles and open
interest with their history; what is listed.

What Binance sends of forced orders is a sample, at most one order per symbol and second: sums of
it are a lower bound. There is no replay and no history, so an outage here is lost for good and is
recorded as such.
"""

from collections.abc import Callable

from attrs import field, frozen

from flowd.market import Candle, Instrument, Liquidation, OpenInterest
from flowd.plugin import Feed, Http, Seconds, Sink, Source, hookimpl, validators
from flowd_binance import asked, candles, connection, instruments, open_interest, page, probe
from flowd_binance.connection import Session

__all__ = ["Config", "Session", "flowd_sinks", "flowd_sources", "follow", "force_orders"]


@frozen
class Config:
    """`symbols` to follow, `["*"]` for all. `url` is the routed base: everything lies below it.

    `companion` is a stream that is always busy: Binance accepts subscriptions on paths where
    nothing is delivered, and liquidations may be quiet for minutes, so this one proves that the
    connection lives.
    """

    symbols: list[str] = field(validator=connection.symbols())
    url: str = field(default="wss://fstream.binance.com/market", validator=validators.websocket_url)
    companion: str = "btcusdt@markPrice@1s"
    silence: Seconds = Seconds(60.0)
    ping_every: Seconds = Seconds(15.0)
    renew_every: Seconds = Seconds(23.5 * 3600)
    renew_overlap: Seconds = Seconds(5.0)

    @property
    def streams(self) -> list[str]:
        """What to subscribe to, in Binance's names; without the companion."""
        if self.symbols == ["*"]:
            return ["!forceOrder@arr"]
        return [f"{symbol.lower()}@forceOrder" for symbol in dict.fromkeys(self.symbols)]


async def force_orders(config: Config, feed: Feed[Liquidation]) -> None:
    """Follow the forced orders; a new connection replaces each before Binance ends it after 24
    hours.
    """
    await connection.keep(config, feed)


async def follow(config: Config, feed: Feed[Liquidation], ready: Callable[[], None]) -> None:
    """One connection, from the dial to its end; says ready when data was seen to flow."""
    await connection.follow(config, feed, ready)


async def _listed(config: candles.Config | open_interest.Config, http: Http) -> list[str]:
    return await probe.unlisted(config.rest_url, config.symbols, http)


@hookimpl
def flowd_sources() -> list[Source]:
    """The kinds `binance-force-order`, `binance-candles`, `binance-open-interest` and
    `binance-instruments`.
    """
    return [
        Source(
            "binance-force-order",
            force_orders,
            Config,
            record=Liquidation,
            probe=lambda config, http: probe.unfollowed(config.url, config.symbols, http),
            standby=True,
        ),
        Source(
            "binance-candles",
            candles.candles,
            candles.Config,
            record=Candle,
            retain=candles.CANDLES_MAX,
            tables={asked.CANDLES: Candle, asked.SYMBOLS: asked.AskedSymbols},
            tables_retain={asked.CANDLES: asked.CANDLES_MAX, asked.SYMBOLS: 1},
            probe=_listed,
        ),
        Source(
            "binance-open-interest",
            open_interest.samples,
            open_interest.Config,
            record=OpenInterest,
            retain=open_interest.KEPT_MAX,
            probe=_listed,
        ),
        Source(
            "binance-instruments",
            instruments.instruments,
            instruments.Config,
            record=Instrument,
            retain=instruments.KEPT_MAX,
        ),
    ]


@hookimpl
def flowd_sinks() -> list[Sink]:
    """The kind `candles`."""
    return [Sink("candles", page.Config, routes=page.routes, reads=Candle, asks=True)]
