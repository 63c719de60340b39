"""What a source's configuration says, and what of it is for the service and what for us."""

from typing import Any, Literal

from attrs import field, frozen

from flowd.market import Fill
from flowd.plugin import Seconds, Secret

COINS_MAX = 1000


def _url(_: object, attribute: Any, url: str) -> None:
    # It is not shown: somebody may have written the key into it.
    if not url.startswith(("ws://", "wss://")) or "?" in url or "#" in url or "@" in url:
        raise ValueError(
            'url: expected an address such as "wss://api.hydromancer.xyz/ws", without a query: '
            "the key belongs into api_key"
        )


@frozen
class Config:
    """`subscription` is the feed: `allFills`, or `liquidationFills`, where `dex` and `coins` are
    looked for here, since the service does not.

    `include_counterparty` publishes the other side of liquidations too; `infer_from_counterparty`
    lets it stand in for a liquidated row that never comes.
    """

    subscription: Literal["allFills", "liquidationFills"]
    api_key: Secret
    dex: str | None = None
    coins: list[str] = field(factory=list)
    outcome_markets: Literal["exclude", "only"] | None = None
    aggregate_by_time: bool | None = None
    include_counterparty: bool = False
    infer_from_counterparty: bool = False
    url: str = field(default="wss://api.hydromancer.xyz/ws", validator=_url)
    login: Literal["query", "message"] = "query"
    chunked: bool = False
    silence: Seconds = Seconds(95.0)
    ping_every: Seconds = Seconds(15.0)

    def __attrs_post_init__(self) -> None:
        if not self.liquidations and (self.include_counterparty or self.infer_from_counterparty):
            raise ValueError(
                "include_counterparty and infer_from_counterparty are for liquidationFills; "
                "allFills has both sides anyway"
            )
        if self.chunked and self.login == "message":
            raise ValueError('chunked = true: needs login = "query"')
        if self.dex is not None and not _is_name(self.dex):
            raise ValueError(f'dex = {self.dex!r:.80}: expected a name such as "main" or "xyz"')
        if len(self.coins) > COINS_MAX or not all(map(_is_name, self.coins)):
            raise ValueError(f'coins: expected at most {COINS_MAX} names such as "BTC"')
        if self.silence < 1 or self.ping_every < 1:
            raise ValueError('silence and ping_every: expected at least "1s"')

    @property
    def liquidations(self) -> bool:
        """Whether only liquidations are followed."""
        return self.subscription == "liquidationFills"

    @property
    def busy(self) -> bool:
        """All fills of everything, or of the main dex, are never silent for long."""
        everything = self.dex in (None, "main") and self.outcome_markets != "only"
        return not self.liquidations and not self.coins and everything

    @property
    def wanted(self) -> dict[str, Any]:
        """The subscription as it is sent. The one for liquidations takes no filters."""
        wanted: dict[str, Any] = {"type": self.subscription}
        if not self.liquidations:
            wanted |= {"dex": self.dex, "outcomeMarkets": self.outcome_markets}
            wanted["coins"] = list(dict.fromkeys(self.coins)) or None
        wanted["aggregateByTime"] = self.aggregate_by_time
        return {name: value for name, value in wanted.items() if value is not None}

    def shows(self, fill: Fill) -> bool:
        """Whether this row is one of those asked for, where the service does not choose."""
        coin = fill.symbol
        outcome = coin.startswith("#")
        if self.outcome_markets is not None and outcome != (self.outcome_markets == "only"):
            return False
        if self.coins and coin not in self.coins:
            return False
        return self.dex is None or self.dex == _dex(coin)


def _is_name(text: str) -> bool:
    return 0 < len(text) <= 64 and text.isprintable()


def _dex(coin: str) -> str | None:
    """The dex whose perpetual this is; None for spot and outcome markets."""
    if coin.startswith(("@", "#")) or "/" in coin:
        return None
    dex, colon, _ = coin.partition(":")
    return dex if colon else "main"
