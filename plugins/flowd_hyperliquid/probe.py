"""What Hyperliquid lists, asked before anything is started: for `flowd check --probe`."""

from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from flowd.plugin import Http, UpstreamError, suggestion

SCHEMES = {"ws": "http", "wss": "https"}


async def unlisted(url: str, coins: Sequence[str], http: Http) -> list[str]:
    """What is wrong with coins, each in a sentence. Nothing is said of those of a builder's dex
    (`xyz:TSLA`) and of the spot market (`@107`), which are in other lists.

    `url` is the WebSocket's, whose host has `/info` too. UpstreamError when that does not answer,
    or not with what Hyperliquid documents.
    """
    wanted = [coin for coin in coins if ":" not in coin and not coin.startswith("@")]
    parts = urlsplit(url)
    info = urlunsplit((SCHEMES[parts.scheme], parts.netloc, "/info", "", ""))
    answer = await http.post(info, json={"type": "meta"}, retries=2)
    if answer.status != 200:
        raise UpstreamError(f"Hyperliquid answered HTTP {answer.status}: {answer.text[:80]!r}")
    try:
        found: Any = answer.json()
        states = {str(one["name"]): bool(one.get("isDelisted")) for one in found["universe"]}
    except (ValueError, LookupError, TypeError, AttributeError):
        raise UpstreamError(
            f"Hyperliquid: expected its list of coins, got {answer.text[:80]!r}; is url right?"
        ) from None
    return [said for coin in wanted if (said := _wrong(coin, states))]


def _wrong(coin: str, delisted: dict[str, bool]) -> str | None:
    if delisted.get(coin):
        return f"coins: {coin} was delisted by Hyperliquid"
    if coin in delisted:
        return None
    remedy = suggestion(coin, list(delisted))
    return f"coins: Hyperliquid does not list {coin} among its perpetuals{remedy}"
