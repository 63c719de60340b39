"""Who trades on Hyperliquid: a table of accounts, and the public trades that tell of them."""

from typing import Any, Final

import trio
from attrs import field, frozen

from flowd.market import Fill, Trade
from flowd.plugin import Feed, Seconds, StreamName, Streams, validators
from flowd.traders import Account, Trader, address_of
from flowd_hyperliquid.census import Census
from flowd_hyperliquid.connection import Connection
from flowd_hyperliquid.newest import Newest
from flowd_hyperliquid.parse import COIN_MAX, NOBODY

SUBSCRIPTIONS_MAX: Final = 1000
"""So many Hyperliquid allows to one address of ours, over all its connections."""
LIVES_MAX: Final = 3
"""So many lives a pair of daemons may have at one address of ours: one that has just died, one that
takes over, and its standby.
"""
TRADERS_MAX: Final = 100_000
TRADES: Final = "trades"
TRADES_RETAIN: Final = 20_000


def _coins(_: object, attribute: Any, coins: list[str]) -> None:
    if not coins:
        raise ValueError('coins = []: name at least one, as ["BTC", "ETH"]; there is no wildcard')
    if len(coins) > SUBSCRIPTIONS_MAX:
        raise ValueError(
            f"coins: {len(coins)} are more than the {SUBSCRIPTIONS_MAX} subscriptions that "
            "Hyperliquid allows to one address; leave some out"
        )
    seen = set[str]()
    for coin in coins:
        if not coin or len(coin) > COIN_MAX or not coin.isprintable() or " " in coin or coin == "*":
            raise ValueError(
                f'coins: {coin!r:.80} is no coin; one looks like "BTC", "kPEPE", "xyz:TSLA" or '
                '"@107", as /info tells them for {"type": "meta"}'
            )
        if coin in seen:
            raise ValueError(f"coins: {coin!r} is there twice; leave one out")
        seen.add(coin)


def _addresses(_: object, attribute: Any, addresses: list[str]) -> None:
    for text in addresses:
        if address_of(text) is None:
            raise ValueError(
                f"{attribute.name}: {text!r:.80} is no address; one is 0x and 40 digits from 0 to "
                "f, 42 characters in all"
            )


def _reads(default: str, record: type) -> Any:
    return field(default=StreamName(default), metadata={"reads": record, "optional": True})


@frozen
class Config:
    """`coins` to follow, as Hyperliquid writes them. `exclude` are accounts that are no traders,
    such as the vaults of the protocol. `fills` and `liquidations` are streams in which more
    accounts are found; `accounts` tells who holds a position and is not to be forgotten.

    `silence` is for feeds with a coin that always trades: without any trade for so long they are
    dead, though their pings are answered.
    """

    coins: list[str] = field(validator=_coins)
    url: str = field(default="wss://api.hyperliquid.xyz/ws", validator=validators.websocket_url)
    exclude: list[str] = field(factory=list, validator=_addresses)
    max_traders: int = 50_000
    silence: Seconds = Seconds(120.0)
    fills: StreamName = _reads("all-fills", Fill)
    liquidations: StreamName = _reads("liquidations", Fill)
    accounts: StreamName = _reads("positions.accounts", Account)

    def __attrs_post_init__(self) -> None:
        if not 1 <= self.max_traders <= TRADERS_MAX:
            raise ValueError(
                f"max_traders = {self.max_traders}: expected a number from 1 to {TRADERS_MAX}"
            )
        if self.silence < 60:
            raise ValueError('silence: expected at least "60s"; a coin may rest for some seconds')

    @property
    def excluded(self) -> frozenset[str]:
        """Accounts that nobody is told of: those named, and the address that is nobody's."""
        return frozenset({NOBODY, *(text.lower() for text in self.exclude)})


def may_stand_by(config: Config) -> bool:
    """Whether there are subscriptions for a standby too."""
    return len(config.coins) * LIVES_MAX <= SUBSCRIPTIONS_MAX


async def discover(config: Config, streams: Streams, feed: Feed[Trader]) -> None:
    """Follow the trades of some coins until the connection ends, and keep the table of those who
    made them.

    The table is what the trades that were published add up to, also after a crash: it is counted
    by reading them, once a second, and how far it was counted is kept with it.
    """
    trades = feed.table(TRADES, Trade)
    newest = Newest(feed)
    census = Census(
        feed,
        trades,
        newest,
        coins=frozenset(config.coins),
        excluded=config.excluded,
        max_traders=config.max_traders,
        fills=_there(streams, config.fills, Fill),
        liquidations=_there(streams, config.liquidations, Fill),
        accounts=_there(streams, config.accounts, Account),
    )
    await census.resume()
    connection = Connection(
        feed, trades, newest, coins=config.coins, url=config.url, silence_s=config.silence
    )
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(census.run)
            await connection.run()
    finally:
        census.finish()


def _there(streams: Streams, name: StreamName, record: type) -> Any:
    """The stream of this name; None where there is none, or one of something else."""
    if name not in streams or not issubclass(streams[name].record, record):
        return None
    return streams[name]
