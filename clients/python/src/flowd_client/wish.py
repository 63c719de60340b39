"""What to follow, as a request says it."""

from collections.abc import Iterable, Mapping
from decimal import Decimal
from urllib.parse import quote

import httpx2

from flowd_client.errors import BadAddress, FlowdError

One = str | int | float | Decimal
Filter = One | Iterable[One]
"""One value, or several of which any will do."""

PATH = "/sse/{stream}"
NAME = "{stream}"


class Wish:
    """A stream and what of it. `after` and `limit` say where to begin."""

    def __init__(
        self,
        url: str,
        stream: str,
        filters: Mapping[str, Filter],
        *,
        after: str | None = None,
        limit: int | None = None,
        token: str | None = None,
    ) -> None:
        self.url = address(url).replace(NAME, quote(stream, safe=""))
        self.stream = stream
        self.after = after
        self.has_token = token is not None
        self.headers = {"Accept": "text/event-stream", "Accept-Encoding": "gzip"}
        if token is not None:
            if (
                not token
                or not token.isascii()
                or not token.isprintable()
                or token != token.strip()
            ):
                raise FlowdError(
                    "this token cannot be one; was it read with the end of its line? strip() it"
                )
            self.headers["Authorization"] = f"Bearer {token}"
        self._filters = {name: written(value) for name, value in filters.items()}
        self._limit = limit

    def query(self, position: str | None) -> dict[str, str]:
        """The request's parameters. `limit` is for who has no position yet."""
        if position is not None:
            return {**self._filters, "after": position}
        found = dict(self._filters)
        if self.after is not None:
            found["after"] = self.after
        if self._limit is not None:
            found["limit"] = str(self._limit)
        return found


def address(url: str) -> str:
    """Where streams are followed under a daemon's address: in its `sse` sink's default path, unless
    the address has a `{stream}` itself.
    """
    try:
        parts = httpx2.URL(url)
    except httpx2.InvalidURL:
        parts = httpx2.URL()
    if parts.scheme not in ("http", "https") or not parts.host or parts.query:
        raise BadAddress(f"{url!r} is no address of a flowd; say http://HOST:PORT or https://HOST")
    return url if NAME in url else url.rstrip("/") + PATH


def written(value: Filter) -> str:
    """A filter's value as a request has it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return value.replace("\\", "\\\\").replace(",", "\\,")
    if isinstance(value, int | float | Decimal):
        return f"{value:f}" if isinstance(value, Decimal) else str(value)
    return ",".join(map(written, value))
