"""How a connection is made, which Trio, asyncio and plain threads have in common."""

from typing import Any

import httpx2

from flowd_client.reader import Reader
from flowd_client.values import T

OPEN_WITHIN_S = 10.0
SILENCE_S = 60.0
"""The daemon says something four times as often, by default."""
BROKEN = (httpx2.HTTPError, OSError)
"""What is weather: the connection is made again."""

BODY_MAX = 65536
"""So much is read of an answer that says what is wrong."""

LIMITS = httpx2.Limits(max_connections=None, max_keepalive_connections=0)


def timeout(silence_s: float) -> httpx2.Timeout:
    """A connection that is not there within a while, or silent for so long, is dead."""
    return httpx2.Timeout(OPEN_WITHIN_S, read=silence_s)


def asked(reader: Reader[T]) -> dict[str, Any]:
    """The request that a reader has now."""
    return {"url": reader.wish.url, "params": reader.query(), "headers": reader.wish.headers}


def why(error: Exception) -> str:
    """An error in a word or more."""
    return str(error) or type(error).__name__
