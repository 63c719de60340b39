"""The body of an upstream's answer, limited while it is read: whoever answers may be broken, or may
not be who we think.
"""

import zlib
from collections.abc import Mapping
from contextlib import aclosing
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import httpx2

BODY_MAX = 16 * 1024 * 1024
"""Bytes, after decompression. A thousand bars have some 400 kB."""


class BadBody(Exception):
    """A body that is not read to its end: too large, or packed in a way that was not asked for."""


async def get(
    client: "httpx2.AsyncClient", url: str, query: Mapping[str, str | int]
) -> "tuple[httpx2.Response, bytes]":
    """The answer to a GET, and its body. BadBody, or what `httpx2` raises. There is no timeout
    here: whoever asks, has one.
    """
    packed = {"Accept-Encoding": "gzip"}
    async with (
        client.stream("GET", url, params=query, headers=packed, timeout=None) as answer,
        aclosing(answer.aiter_raw()) as pieces,
    ):
        coding = answer.headers.get("Content-Encoding", "identity").lower()
        if coding not in ("gzip", "identity"):
            raise BadBody(f"expected gzip, got {coding:.20}")
        unpack = zlib.decompressobj(31) if coding == "gzip" else None
        body = bytearray()
        async for piece in pieces:
            try:
                body += unpack.decompress(piece, BODY_MAX + 1 - len(body)) if unpack else piece
            except zlib.error as error:
                raise BadBody(f"bad gzip: {error}") from None
            if len(body) > BODY_MAX:
                raise BadBody(f"more than {BODY_MAX} bytes")
        return answer, bytes(body)
