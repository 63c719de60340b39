"""Request heads and small answers, for what the door answers itself. h11 does the parsing, with
strict limits.
"""

from collections.abc import Iterable, Mapping
from functools import cached_property
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qsl, unquote

import h11
import trio
from attrs import frozen

from flowd.channel.prepared import Prepared
from flowd.door import base
from flowd.values import codec
from flowd.values.errors import BadRequest

HEAD_MAX = 16 * 1024
"""The largest request head taken, in bytes."""
HEADERS_MAX = 100
PARAMETERS_MAX = 50
REMEMBERED_MAX = 4096
"""Longer heads are not remembered: who sends those does not poll with them."""
PARSED_AT_ONCE = 2
"""Heads that are new, in one turn of the loop: each may take a millisecond or two."""
PART_BYTES = 300
"""What a header or parameter takes beside its text, once it is parsed."""


@frozen
class Head:
    """The head of one HTTP/1.1 request; header names in lower case, `raw` its bytes. Neither `path`
    nor `raw` has the path below which a proxy has the daemon.

    What it says is made out when it is first asked for: who polls sends the same head again.
    """

    method: str
    path: str
    query: tuple[tuple[str, str], ...]
    headers: Mapping[str, str]
    http_11: bool
    raw: bytes

    @cached_property
    def keep_alive(self) -> bool:
        """Whether the client wants to send another request on this connection."""
        connection = self.headers.get("connection", "").lower()
        return self.http_11 and "close" not in connection

    @cached_property
    def has_body(self) -> bool:
        """Whether bytes of a body follow the head."""
        return "transfer-encoding" in self.headers or self.headers.get("content-length", "0") != "0"

    @cached_property
    def gzip(self) -> bool:
        """Whether the client takes gzip; what it says of `*` counts only if it does not name it."""
        takes: dict[str, bool] = {}
        for part in self.headers.get("accept-encoding", "").lower().split(","):
            name, _, weight = part.strip().partition(";")
            refused = weight.replace(" ", "") in ("q=0", "q=0.0", "q=0.00", "q=0.000")
            takes[name.strip()] = not refused
        return takes.get("gzip", takes.get("*", False))

    @cached_property
    def wants_websocket(self) -> bool:
        """Whether this is a request to become a WebSocket."""
        return self.headers.get("upgrade", "").lower() == "websocket"

    @property
    def wants_page(self) -> bool:
        """Whether a browser asks for something to show."""
        return "text/html" in self.headers.get("accept", "")

    def parameters(self) -> dict[str, str]:
        """The query, each name once; BadRequest when a name is repeated."""
        found: dict[str, str] = {}
        for name, value in self.query:
            if name in found:
                raise BadRequest(
                    f"{name} is given twice",
                    parameter=name,
                    value=value,
                    allowed="each parameter once; several values separated by commas",
                )
            found[name] = value
        return found


class BadHead(Exception):
    """A request that no HTTP/1.1 server should answer; `status` says why."""

    def __init__(self, status: int, why: str) -> None:
        super().__init__(why)
        self.status = status


class Heads:
    """Parsed heads, remembered by their bytes: who polls sends the same head every time, and
    parsing is most of what a 304 costs. They take `most_bytes` at most.
    """

    def __init__(self, most_bytes: int, base_path: str = "") -> None:
        self._base = base_path.encode()
        self._kept: Prepared[Head] = Prepared(most_bytes)
        self._turns = trio.Semaphore(PARSED_AT_ONCE)

    async def read(self, raw: bytes) -> Head:
        """The head that `raw` writes, as `parse` says. One that is new waits for those before it,
        so that however many come at once, the loop goes round, and known ones pass by.
        """
        head = self._kept.get(raw)
        if head is not None:
            return head
        async with self._turns:
            return self.parse(raw)

    def parse(self, raw: bytes) -> Head:
        """The head that `raw` writes, as `parse_head` says."""
        head = self._kept.get(raw)
        if head is None:
            head = parse_head(raw, self._base)
            if len(raw) <= REMEMBERED_MAX:
                parts = len(head.headers) + len(head.query)
                # Its bytes, and twice its text: in Python's strings, and in the tables of them.
                self._kept.keep(raw, head, 3 * len(raw) + PART_BYTES * parts)
        return head

    def figures(self) -> dict[str, Any]:
        """What they take of the memory, for `/status`."""
        return {"heads_bytes": self._kept.bytes}


def parse_head(raw: bytes, base_path: bytes = b"") -> Head:
    """The head that `raw`, ending in an empty line, writes; BadHead when it is not HTTP/1.1, or is
    written in a way about which two parsers may disagree.
    """
    _check_lines(raw)
    connection = h11.Connection(h11.SERVER, max_incomplete_event_size=HEAD_MAX)
    try:
        connection.receive_data(raw)
        event = connection.next_event()
    except h11.RemoteProtocolError as error:
        raise BadHead(error.error_status_hint, str(error)) from None
    if not isinstance(event, h11.Request):
        raise BadHead(400, "not a request")
    if event.http_version not in (b"1.0", b"1.1"):
        raise BadHead(505, "this port speaks HTTP/1.1; HTTP/2 belongs into the reverse proxy")
    target = base.stripped(event.target, base_path)
    if target != event.target:
        raw = raw.replace(b" " + event.target, b" " + target, 1)
    headers: dict[str, str] = {}
    for name, value in event.headers:
        key, text = name.decode("ascii"), value.decode("latin-1")
        headers[key] = f"{headers[key]}, {text}" if key in headers else text
    try:
        path, _, query = target.decode("ascii").partition("?")
        pairs = parse_qsl(
            query, keep_blank_values=True, errors="strict", max_num_fields=PARAMETERS_MAX
        )
        path = unquote(path, errors="strict")
    except ValueError as error:
        raise BadHead(400, f"bad request target: {error}") from None
    return Head(
        event.method.decode("ascii"), path, tuple(pairs), headers, event.http_version >= b"1.1", raw
    )


def _check_lines(raw: bytes) -> None:
    """Only CRLF ends a line, a line is never continued, and all of it is ASCII: elsewhere the same
    bytes would be read as another request.
    """
    lines = raw.count(b"\r\n")
    if raw.count(b"\n") != lines or raw.count(b"\r") != lines:
        raise BadHead(400, "a line ends with CR and LF, and neither stands alone")
    if b"\r\n " in raw or b"\r\n\t" in raw:
        raise BadHead(400, "a header is written on one line")
    if not raw.isascii():
        raise BadHead(400, "a request head is ASCII; other text is percent-encoded")
    if lines > HEADERS_MAX + 2:
        raise BadHead(431, f"a request has at most {HEADERS_MAX} headers")


def response(
    status: int,
    body: bytes = b"",
    *,
    headers: tuple[tuple[str, str], ...] = (),
    kind: str = "application/json",
    close: bool = False,
) -> bytes:
    """A whole HTTP/1.1 response."""
    return response_head(status, len(body), headers=headers, kind=kind, close=close) + body


def response_head(
    status: int,
    size: int,
    *,
    headers: tuple[tuple[str, str], ...] = (),
    kind: str = "application/json",
    close: bool = False,
) -> bytes:
    """The head of a response with a body of so many bytes."""
    lines = [f"HTTP/1.1 {status} {HTTPStatus(status).phrase}"]
    if status != 304:
        lines += [f"Content-Type: {kind}", f"Content-Length: {size}"]
    lines += [f"{name}: {value}" for name, value in (*headers, *COMMON_HEADERS)]
    if close:
        lines.append("Connection: close")
    return "\r\n".join((*lines, "", "")).encode("latin-1")


COMMON_HEADERS = (
    ("Access-Control-Allow-Origin", "*"),
    ("Access-Control-Expose-Headers", "ETag"),
    ("X-Content-Type-Options", "nosniff"),
)
"""Said with every answer: what flowd serves is public market data, readable from any page."""


def preflight(others: Iterable[str] = ()) -> tuple[tuple[str, str], ...]:
    """What a browser asks before a page of another site may send an `If-None-Match` or a token, and
    which methods a path knows: ours, and `others`.
    """
    methods = dict.fromkeys(("GET", "HEAD", *sorted(others)))
    return (
        ("Allow", ", ".join(methods)),
        ("Access-Control-Allow-Methods", "GET, HEAD"),
        ("Access-Control-Allow-Headers", "Authorization, If-None-Match, Last-Event-ID"),
        ("Access-Control-Max-Age", "86400"),
    )


def refusal(error: BadRequest, *, close: bool = False) -> bytes:
    """The answer to a request that cannot be met: parameter, value and what is allowed, as JSON."""
    body = codec.encode({"error": error.body()})
    return response(error.status, body, headers=REMEDIES.get(error.status, ()), close=close)


REMEDIES = {
    401: (("WWW-Authenticate", "Bearer"),),
    405: (("Allow", "GET, HEAD"),),
    426: (("Upgrade", "websocket"),),
    429: (("Retry-After", "5"),),
    503: (("Retry-After", "5"),),
}
"""What HTTP wants said with a refusal, so that programs know what would work."""
