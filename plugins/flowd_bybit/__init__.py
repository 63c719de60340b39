"""A flowd plugin: Bybit's linear perpetuals. All liquidations, at their bankruptcy prices, and what
is listed.

Bybit tells every liquidation, within half a second, and none twice: there is no replay and no
history, so an outage here is lost for good and is recorded as such.
"""

from importlib import import_module

from attrs import field, frozen

from flowd.market import Instrument, Liquidation
from flowd.plugin import Feed, Seconds, Source, hookimpl, validators
from flowd_bybit import listed
from flowd_bybit.connection import follow

__all__ = ["Config", "all_liquidations", "flowd_sources"]

SYMBOLS_MAX = 2000
INSTRUMENTS_MAX = 10_000


@frozen
class Config:
    """`symbols` to follow, `["*"]` for all linear USDT perpetuals, which `rest_url` lists. `url` is
    the public stream of linear contracts.

    Liquidations may be quiet for long, so pings alone prove that the connection lives.
    """

    symbols: list[str] = field(
        validator=validators.symbols(
            "[^ .,:/-]*USDT", "no linear USDT perpetual; one looks like BTCUSDT", most=SYMBOLS_MAX
        )
    )
    url: str = field(
        default="wss://stream.bybit.com/v5/public/linear", validator=validators.websocket_url
    )
    rest_url: str = field(default="https://api.bybit.com", validator=validators.http_url)
    silence: Seconds = Seconds(60.0)
    ping_every: Seconds = field(
        default=Seconds(20.0), validator=validators.between("1s", "60s", "Bybit asks for 20s")
    )

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
    await follow(config, feed, listed.listing(config.rest_url, feed) if config.everything else None)


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
            standby=True,
        ),
        Source(
            "bybit-instruments",
            listed.instruments,
            listed.Config,
            record=Instrument,
            retain=INSTRUMENTS_MAX,
        ),
    ]
