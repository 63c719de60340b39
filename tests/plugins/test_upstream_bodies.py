"""Bodies from upstream are limited while they are read, for both who ask by HTTP."""

import gzip
import tracemalloc
from collections.abc import AsyncIterator
from types import ModuleType

import flowd_binance.body
import flowd_liquidations.body
import httpx2
import pytest
import trio
from flowd_binance.budget import Budget
from flowd_binance.rest import ATTEMPTS, TIMEOUT_S, Rest, Unanswered
from trio.testing import MockClock

from flowd import testing
from flowd.plugin import UpstreamError

ENDLESS = 200 * 1024 * 1024

both = pytest.mark.parametrize("body", [flowd_binance.body, flowd_liquidations.body])


class Pieces(httpx2.AsyncByteStream):
    """A body that comes in pieces, each after a while; the last one for ever if it is endless."""

    def __init__(self, *pieces: bytes, every_s: float = 0, endless: bool = False) -> None:
        self.sent = 0
        self._pieces = pieces
        self._every_s = every_s
        self._endless = endless

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for piece in self._pieces:
            yield await self._send(piece)
        while self._endless:
            yield await self._send(self._pieces[-1])

    async def _send(self, piece: bytes) -> bytes:
        await trio.sleep(self._every_s)
        self.sent += len(piece)
        assert self.sent < ENDLESS, "somebody reads this to its end"
        return piece


def answering(pieces: Pieces, **headers: str) -> httpx2.AsyncClient:
    named = {name.replace("_", "-"): value for name, value in headers.items()}

    def answer(request: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(200, headers=named, stream=pieces)

    return httpx2.AsyncClient(transport=httpx2.MockTransport(answer))


@both
async def test_a_body_is_read_packed_or_not(autojump_clock: MockClock, body: ModuleType) -> None:
    packed = gzip.compress(b"[1, 2]" * 1000)
    client = answering(Pieces(packed[:9], packed[9:]), Content_Encoding="gzip")

    assert (await body.get(client, "http://there/", {}))[1] == b"[1, 2]" * 1000
    assert (await body.get(answering(Pieces(b"[", b"]")), "http://there/", {}))[1] == b"[]"


@both
async def test_an_endless_body_is_not_read_to_its_end(
    autojump_clock: MockClock, body: ModuleType
) -> None:
    pieces = Pieces(bytes(100_000), endless=True)

    with pytest.raises(body.BadBody, match="more than"):
        await body.get(answering(pieces), "http://there/", {})

    assert pieces.sent <= body.BODY_MAX + 100_000


@both
async def test_what_unpacks_to_gigabytes_is_not_unpacked(
    autojump_clock: MockClock, body: ModuleType
) -> None:
    bomb = gzip.compress(bytes(100 * 1024 * 1024))
    tracemalloc.start()

    with pytest.raises(body.BadBody, match="more than"):
        await body.get(answering(Pieces(bomb), Content_Encoding="gzip"), "http://there/", {})

    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 4 * body.BODY_MAX


@both
async def test_whoever_asks_has_the_only_timeout(
    autojump_clock: MockClock, body: ModuleType
) -> None:
    asked: list[httpx2.Request] = []

    def answer(request: httpx2.Request) -> httpx2.Response:
        asked.append(request)
        return httpx2.Response(200, stream=Pieces(b"[]"))

    client = httpx2.AsyncClient(transport=httpx2.MockTransport(answer))
    await body.get(client, "http://there/", {})

    assert set(asked[0].extensions["timeout"].values()) == {None}


@both
@pytest.mark.parametrize(("coding", "data"), [("br", b"x"), ("gzip", b"no gzip at all")])
async def test_what_is_packed_otherwise_is_refused(
    autojump_clock: MockClock, body: ModuleType, coding: str, data: bytes
) -> None:
    client = answering(Pieces(data), Content_Encoding=coding)

    with pytest.raises(body.BadBody):
        await body.get(client, "http://there/", {})


async def test_binance_has_ten_seconds_for_its_whole_answer(autojump_clock: MockClock) -> None:
    pieces = Pieces(b" ", every_s=4.0, endless=True)
    rest = Rest("http://there", answering(pieces), Budget(2400), testing.clock)
    began = trio.current_time()

    with pytest.raises(Unanswered, match="within 10s"):
        await rest.klines("BTCUSDT", "5m", limit=10)

    took_s = trio.current_time() - began
    assert ATTEMPTS * TIMEOUT_S <= took_s < ATTEMPTS * TIMEOUT_S + 15


async def test_a_body_that_is_too_large_is_an_upstream_s_fault(autojump_clock: MockClock) -> None:
    pieces = Pieces(bytes(1_000_000), endless=True)
    rest = Rest("http://there", answering(pieces), Budget(2400), testing.clock)

    with pytest.raises(UpstreamError, match="is rest_url right"):
        await rest.klines("BTCUSDT", "5m", limit=10)
