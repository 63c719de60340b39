"""What Binance lists, asked before anything is started: for `flowd check --probe`."""

from collections.abc import Iterable, Sequence
from typing import Any
from urllib.parse import urlsplit

from flowd.plugin import Answer, Http, UpstreamError, suggestion

REST_OF = {"fstream.binance.com": "https://fapi.binance.com"}
"""Where the REST calls are that belong to a host of streams. Of another host it is not known."""
BODY_MAX = 8 * 1024 * 1024


async def unlisted(rest_url: str, symbols: Sequence[str], http: Http) -> list[str]:
    """What is wrong with symbols, each in a sentence: one that is not listed, or not traded now.

    UpstreamError when Binance does not answer, or not with what it documents.
    """
    answer = await http.get(
        f"{rest_url.rstrip('/')}/fapi/v1/exchangeInfo", retries=2, body_max=BODY_MAX
    )
    states = _states(answer)
    return [said for symbol in dict.fromkeys(symbols) if (said := _wrong(symbol, states))]


async def unfollowed(url: str, symbols: Sequence[str], http: Http) -> list[str]:
    """The same for a source that is told a host of streams only; nothing is said of a host that is
    not Binance's own, nor of `"*"`.
    """
    rest_url = REST_OF.get(urlsplit(url).hostname or "")
    if rest_url is None or "*" in symbols:
        return []
    return await unlisted(rest_url, symbols, http)


def _states(answer: Answer) -> dict[str, str]:
    """Each listed symbol, with whether it is traded."""
    if answer.status != 200:
        raise UpstreamError(f"Binance answered HTTP {answer.status}: {answer.text[:80]!r}")
    try:
        found: Any = answer.json()
        listed: Iterable[Any] = found["symbols"]
        return {str(one["symbol"]): str(one["status"]) for one in listed}
    except (ValueError, LookupError, TypeError):
        raise UpstreamError(
            f"Binance: expected its list of symbols, got {answer.text[:80]!r}; is rest_url right?"
        ) from None


def _wrong(symbol: str, states: dict[str, str]) -> str | None:
    state = states.get(symbol.upper())
    if state == "TRADING":
        return None
    if state is not None:
        return f"symbols: {symbol} is listed and not traded now ({state})"
    remedy = suggestion(symbol.upper(), list(states))
    return f"symbols: Binance does not list {symbol} among its USD-M futures{remedy}"
